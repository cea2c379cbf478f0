"""torch.onnx.export(dynamo=False) keeps the traced length of `max_pool1d(x, x.size(2))`: longer texts are pooled over
their first steps only, and no error or warning says so."""

import io
import warnings

import onnxruntime
import torch
from torch import nn


class Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool1d(x, x.size(2))[:, :, 0]


warnings.simplefilter("ignore")
file = io.BytesIO()
axes = {"x": {0: "batch", 2: "sequence"}}
torch.onnx.export(Pooled(), (torch.zeros(2, 1, 4),), file, input_names=["x"], dynamic_axes=axes, dynamo=False)
session = onnxruntime.InferenceSession(file.getvalue())
for steps in (4, 5, 8):
    x = torch.arange(steps, dtype=torch.float32).reshape(1, 1, steps)
    given = session.run(None, {"x": x.numpy()})[0].item()
    print(f"torch {torch.__version__}, {steps} steps: module {Pooled()(x).item()}, file {given}")
