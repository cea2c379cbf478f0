"""A checkpoint on disk as the arguments of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_checkpoint_arguments(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read the module of a checkpoint, and the other arguments of `export`.

    Raises:
        CheckpointError: the folder is not a checkpoint, or is damaged.
    """
    from pocketrnn_export.checkpoint_export import make_arguments_from_checkpoint
    from pocketrnn_training.classifiers import checkpoint

    return make_arguments_from_checkpoint(checkpoint.read(folder))
