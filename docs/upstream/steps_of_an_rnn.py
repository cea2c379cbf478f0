"""torch.onnx.export(dynamo=True) refuses an nn.RNN with a free number of steps: "tracing inferred a static shape"
(torch 2.13 and 2.15). An nn.LSTM and an nn.GRU are exported: torch traces these two as a loop meanwhile. The operator
RNN of ONNX would do, and dynamo=False writes it."""

import warnings

import torch
from torch import nn


class Last(nn.Module):
    """The state after the last step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(2, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0][:, -1]


warnings.simplefilter("ignore")
free = torch.export.Dim.DYNAMIC
for kind in (nn.LSTM, nn.GRU, nn.RNN):
    module, shapes = Last(kind).eval(), ({0: free, 1: free},)
    try:
        program = torch.onnx.export(module, (torch.zeros(3, 5, 2),), dynamic_shapes=shapes, dynamo=True, verbose=False)
        said = f"exported as {sorted({node.op_type for node in program.model.graph})}"
    except Exception as error:
        said = next((line for line in str(error).splitlines() if "static shape" in line), type(error).__name__)
    print(f"torch {torch.__version__}, {kind.__name__}: {said}")
