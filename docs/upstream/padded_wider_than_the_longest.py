"""torch.onnx.export(dynamo=False) leaves out that `pad_packed_sequence` cuts a batch to its longest row: in a batch
that is padded wider, `out[:, -1]` is zero in the file, and the last real step in the module. Attention and means over
the steps take such zeros in, too. There is no error and no warning."""

import io
import warnings

import onnxruntime
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Last(nn.Module):
    """The number at the last step, after a layer that sums its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, 1, nonlinearity="relu", batch_first=True)
        for weight in self.rnn.parameters():
            nn.init.constant_(weight, float(weight.dim() > 1))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0][:, -1]


warnings.simplefilter("ignore")
file = io.BytesIO()
module = Last()
torch.onnx.export(
    module,
    (torch.ones(2, 4, 1), torch.tensor([4, 2])),
    file,
    input_names=["x", "lengths"],
    dynamic_axes={"x": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}},
    dynamo=False,
)
session = onnxruntime.InferenceSession(file.getvalue())
for width in (3, 4, 8):
    x, lengths = torch.ones(1, width, 1), torch.tensor([3])
    given = session.run(None, {"x": x.numpy(), "lengths": lengths.numpy()})[0].item()
    print(f"torch {torch.__version__}, 3 steps padded to {width}: module {module(x, lengths).item()}, file {given}")
