"""torch.onnx.export(dynamo=True) and torch.export refuse an LSTM of packed rows: the layer makes its first state for as
many rows as the first of `batch_sizes`, which is a tensor then, "type must be tuple of ints, but got FakeTensor". There
is no file. dynamo=False writes one, whose LSTM takes the lengths."""

import warnings

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Last(nn.Module):
    """The state after the last step of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2, 3, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


warnings.simplefilter("ignore")
free = torch.export.Dim.DYNAMIC
given = torch.zeros(3, 5, 2), torch.tensor([5, 2, 4])
for name, shapes in (("free", ({0: free, 1: free}, {0: free})), ("fixed", ({}, {}))):
    try:
        torch.onnx.export(Last().eval(), given, dynamic_shapes=shapes, dynamo=True, verbose=False)
        said = "exported"
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = f"{type(cause).__name__}: {str(cause).splitlines()[0]}"
    print(f"torch {torch.__version__}, {name} sizes: {said}")
