"""torch.onnx.export(dynamo=True) of torch 2.13 makes what follows an LSTM or a GRU for the traced number of steps: the
exported program says that the layer's output has 5 steps, though its input has any number. A file whose layer is
time-major, or comes before another layer, fails for other lengths, or takes five rows of three steps for three rows of
five. There is no warning. If one layer has `batch_first=True` and only its last step is read, the file is right. With
torch 2.15 the output has as many steps as the input."""

import warnings

import onnxruntime
import torch
from torch import nn


class Pooled(nn.Module):
    """The largest outputs of a layer that takes the steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x.transpose(0, 1))[0].amax(0)


warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)
free = torch.export.Dim.DYNAMIC
module = Pooled().eval()
shapes = ({0: free, 1: free},)
program = torch.onnx.export(module, (torch.zeros(3, 5, 2),), dynamic_shapes=shapes, dynamo=True, verbose=False)
node = next(node for node in program.exported_program.graph.nodes if node.target == torch.ops.aten.lstm.input)
print(f"torch {torch.__version__}: the output of the LSTM is said to be {list(node.meta['val'][0].shape)}")
session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
for rows, steps in ((3, 5), (2, 3), (5, 3)):
    x = torch.randn(rows, steps, 2)
    try:
        given = list(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].shape)
    except Exception as error:
        given = type(error).__name__
    print(f"{rows} rows of {steps} steps: module {list(module(x).shape)}, file {given}")
