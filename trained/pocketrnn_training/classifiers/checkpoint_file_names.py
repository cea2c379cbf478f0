"""The names of the files of a checkpoint's folder, and whether a run may write the folder. This needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.bundle.atomic_writing import check_output_folder, repair_interrupted_write
from pocketrnn.bundle.manifest import CLASSIFIER_JSON
from pocketrnn.errors import CheckpointError, InputError, OutputError, find_file_error_reason

__all__ = [
    "CONFIG_JSON",
    "MAKE_AGAIN",
    "RESUME",
    "WEIGHTS",
    "check_output",
    "holds_interrupted_run",
    "read_checkpoint_file",
]

CONFIG_JSON: Final = "config.json"
WEIGHTS: Final = "weights.safetensors"
# The state to resume from, which is there until the run is over.
RESUME: Final = "resume.safetensors"

MAKE_AGAIN: Final = "Copy the checkpoint again from where it was made, or train again."


def read_checkpoint_file(folder: Path, name: str) -> bytes:
    """Read a file of a checkpoint's folder.

    Raises:
        CheckpointError: the file or the folder is missing or cannot be read.
    """
    path = folder / name
    try:
        # A device may have no end.
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a regular file.", MAKE_AGAIN)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if (folder / CLASSIFIER_JSON).is_file():
            raise CheckpointError(
                f"{folder} is a bundle, not a checkpoint.",
                "Give the folder that `pocketrnn train` wrote. A bundle is exported already; `pocketrnn compress` and "
                "`pocketrnn pack` make it smaller.",
            ) from None
        problem = f"{folder} holds no {path.name}" if folder.is_dir() else f"{folder} is not a folder"
        raise CheckpointError(f"{problem}.", "Give the folder that `pocketrnn train` wrote.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its rights."
        ) from None


def holds_interrupted_run(folder: Path) -> bool:
    """Return whether the folder holds an interrupted run. A folder that a killed process has moved
    aside is moved back first."""
    repair_interrupted_write(folder)
    return (folder / RESUME).is_file()


def check_output(folder: Path, *, force: bool, resume: bool) -> None:
    """Check before the work starts that a run can write an output folder.

    Args:
        folder: the folder.
        force: replace a checkpoint that is there.
        resume: go on with the interrupted run that is there.

    Raises:
        OutputError: the folder is taken, or cannot be written.
        InputError: there is no run to resume in it.
    """
    if resume:
        if not holds_interrupted_run(folder):
            raise InputError(
                f"There is no interrupted run in {folder}.",
                "Leave --resume out to train, or give the folder of the run.",
            )
        return
    try:
        check_output_folder(folder, force=force, marker_file=CONFIG_JSON)
    except OutputError:
        if not force and folder.is_dir() and holds_interrupted_run(folder):
            raise OutputError(
                f"{folder} holds a run that was interrupted.",
                "Go on with it with --resume, or replace it with --force.",
            ) from None
        raise
