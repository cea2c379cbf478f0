"""torch.onnx.export(dynamo=True) writes `x.squeeze(0)` as a Squeeze, also where the axis is longer than 1: torch leaves
such an axis alone, and onnxruntime fails, or cannot open the file. Nothing is said at the export, and the program that
the file was made from is right. A Squeeze is needed only where the axis is known to be 1."""

import warnings

import onnxruntime
import torch
from torch import nn


class Squeezed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(0).unsqueeze(2)


warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)
x = torch.zeros(3, 5)
for name, sizes in (("free", {0: torch.export.Dim.DYNAMIC}), ("fixed", {})):
    program = torch.onnx.export(Squeezed(), (x,), dynamic_shapes=(sizes,), dynamo=True, verbose=False)
    shapes = [list(run(x).shape) for run in (Squeezed(), program.exported_program.module())]
    print(f"torch {torch.__version__}, a {name} axis: module {shapes[0]}, program {shapes[1]}")
    try:
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        print(f"file {list(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].shape)}")
    except Exception as error:
        print(f"file: {error}")
