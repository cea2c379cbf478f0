"""Files that are exported from small modules, and what `check` says of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketrnn_export import Verdict, check


class Words(nn.Module):
    """A classifier of 20 ids with 3 labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(20, 5)
        self.rnn = nn.GRU(5, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, text: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        return self.out(states.mean(1))


class Steps(nn.Module):
    """A module of sequences of two numbers a step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.rnn = nn.LSTM(2, 3, batch_first=True)
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0][:, -1])


TOKENS = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(1))


def written(
    module: nn.Module,
    path: Path,
    *inputs: Tensor,
    names: Sequence[str] = ("text",),
    fixed: Sequence[int] = (),
    axes: dict[str, dict[int, str]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Path:
    """The file that torch's exporter makes; the axes in `fixed` keep their traced size."""
    axes = axes or {
        name: {axis: f"axis {axis}" for axis in range(min(2, value.dim())) if axis not in fixed}
        for name, value in zip(names, inputs, strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            path,
            input_names=list(names),
            output_names=outputs,
            dynamic_axes=axes,
            dynamo=False,
        )
    return path


def traced(module: nn.Module, path: Path, *inputs: Tensor) -> Path:
    """A TorchScript file: traced on the inputs, or scripted where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (torch.jit.trace(module.eval(), inputs) if inputs else torch.jit.script(module.eval())).save(path)
    return path


def checked(module: nn.Module, file: Path, **more: Any) -> Verdict:
    return check(module, file, progress=False, **more)
