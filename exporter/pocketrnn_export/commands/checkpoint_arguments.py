"""Read a checkpoint from disk as arguments of the function `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_checkpoint_arguments(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read the module in a checkpoint's folder, and the other arguments of the function `export`.

    Raises:
        CheckpointError: the folder is not a checkpoint, or is damaged.
    """
    from pocketrnn_export.checkpoint_export import make_arguments_from_checkpoint
    from pocketrnn_training.classifiers import checkpoint

    return make_arguments_from_checkpoint(checkpoint.read(folder))
