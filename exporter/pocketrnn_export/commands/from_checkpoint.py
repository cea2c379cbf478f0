"""The contents of a checkpoint on disk as the arguments of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["from_checkpoint"]


def from_checkpoint(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The module of a checkpoint, and the other arguments that `export` takes.

    Raises:
        CheckpointError: the folder holds no checkpoint, or a damaged one.
    """
    from pocketrnn_export.trained import arguments_of
    from pocketrnn_training.classifiers import checkpoint

    return arguments_of(checkpoint.read(folder))
