"""torch.export takes a free axis for one of 2 or more, and torch.onnx.export(dynamo=True) does not say so: the file
declares any size, and fails where `squeeze()` removes a batch of one row, since the `view` behind it, which gives the
row back in the module, was left out as one without effect."""

import warnings

import onnxruntime
import torch
from torch import nn


class Viewed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze().view(x.size(0), x.size(1), 2).transpose(1, 2)


warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)
free = torch.export.Dim.DYNAMIC
program = torch.onnx.export(
    Viewed(), (torch.zeros(3, 5, 2),), dynamic_shapes=({0: free, 1: free},), dynamo=True, verbose=False
)
session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
(taken,) = session.get_inputs()
print(f"torch {torch.__version__}: the file takes {taken.shape}; {program.exported_program.range_constraints}")
for rows in (2, 1):
    x = torch.randn(rows, 5, 2)
    try:
        given = list(session.run(None, {taken.name: x.numpy()})[0].shape)
    except Exception as error:
        given = type(error).__name__
    print(f"{rows} rows: module {list(Viewed()(x).shape)}, file {given}")
