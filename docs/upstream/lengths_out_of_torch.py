"""torch.onnx.export(dynamo=False) keeps the traced values of `pack_padded_sequence(x, lengths.numpy())`: every later
batch is read with the lengths of the traced one. `lengths.tolist()` and `torch.as_tensor(lengths.numpy())` do the same.
A TracerWarning says that something may be constant, and the input is gone from the file."""

import io
import warnings

import onnxruntime
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Last(nn.Module):
    """The number of the last real step of each row, after a layer that sums its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, 1, nonlinearity="relu", batch_first=True)
        for weight in self.rnn.parameters():
            nn.init.constant_(weight, float(weight.dim() > 1))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths.numpy(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0].amax(1)


warnings.simplefilter("ignore")
file = io.BytesIO()
module, lengths = Last(), torch.tensor([4, 2])
torch.onnx.export(
    module,
    (torch.ones(2, 4, 1), lengths),
    file,
    input_names=["x", "lengths"],
    dynamic_axes={"x": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}},
    dynamo=False,
)
session = onnxruntime.InferenceSession(file.getvalue())
names = [value.name for value in session.get_inputs()]
for given in ([4, 2], [3, 1], [4, 4]):
    feeds = {"x": torch.ones(2, max(given), 1), "lengths": torch.tensor(given)}
    own = module(*feeds.values()).flatten().tolist()
    try:
        answer = session.run(None, {name: feeds[name].numpy() for name in names})[0].ravel().tolist()
    except Exception as error:
        answer = str(error).split(".")[0]
    print(f"torch {torch.__version__}, lengths {given}: module {own}, file ({', '.join(names)}) {answer}")
