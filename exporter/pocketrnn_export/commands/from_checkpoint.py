"""What a checkpoint holds, as the arguments of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["from_checkpoint"]


def from_checkpoint(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The module of a checkpoint, and the other arguments that `export` takes.

    Raises:
        CheckpointError: the folder holds no checkpoint, or a damaged one.
    """
    from pocketrnn.verdicts import TEXT_RULES, TextVerdict
    from pocketrnn_training import checkpoint

    trained = checkpoint.read(folder)
    return trained.module, {
        "vocabulary": trained.vocabulary,
        "labels": trained.labels,
        "rules": trained.rules,
        "lengths": trained.architecture.packed,
        "example_texts": () if trained.data.get("examples") == checkpoint.MADE_EXAMPLES else trained.examples,
        "name": trained.name,
        # Training made its ids by the same code and the same rules.
        "provenance": {"data": trained.data, "metrics": trained.metrics, TEXT_RULES: TextVerdict("trained").document},
    }
