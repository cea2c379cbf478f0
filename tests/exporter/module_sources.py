"""Make the module of a user's file that a test holds as text."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["make_net", "run_source"]


def run_source(source: str) -> dict[str, Any]:
    """The names that a source defines."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - a test's own text
    return names


def make_net(source: str, *arguments: Any) -> nn.Module:
    """The class `Net` of a source, made with these arguments and always the same weights."""
    kind = run_source(source)["Net"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = kind(*arguments)
    return made
