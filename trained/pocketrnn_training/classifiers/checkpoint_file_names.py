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
    "check_run_can_write_folder",
    "holds_interrupted_run",
    "read_checkpoint_file",
]

CONFIG_JSON: Final = "config.json"
WEIGHTS: Final = "weights.safetensors"
# The state to resume from, which is there until the run is over.
RESUME: Final = "resume.safetensors"

MAKE_AGAIN: Final = (
    "The file is damaged or was changed: copy the checkpoint again from where it was made, or train again."
)


def read_checkpoint_file(folder: Path, name: str) -> bytes:
    """Read a file of a checkpoint's folder.

    Raises:
        CheckpointError: the file or the folder is missing or cannot be read.
    """
    path = folder / name
    try:
        # A device may have no end.
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} is not a regular file: it is a folder, a device or a pipe.",
                "Give the folder that `pocketrnn train` wrote.",
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if (folder / CLASSIFIER_JSON).is_file():
            raise CheckpointError(
                f"{folder} is a bundle, not a checkpoint.",
                "Give the folder that `pocketrnn train` wrote, not the one that `pocketrnn export` wrote.",
            ) from None
        problem = f"{folder} holds no {path.name}" if folder.is_dir() else f"{folder} is not a folder"
        raise CheckpointError(f"{problem}.", "Give the folder that `pocketrnn train` wrote.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its access rights."
        ) from None


def holds_interrupted_run(folder: Path) -> bool:
    """Return whether the folder holds a training run that was interrupted and can be resumed.

    If a process was killed while it replaced the folder, this function first moves the old folder back to its place.
    """
    repair_interrupted_write(folder)
    return (folder / RESUME).is_file()


def check_run_can_write_folder(folder: Path, *, force: bool, resume: bool) -> None:
    """Check before the training starts that a run can write its output folder.

    Args:
        folder: the output folder.
        force: whether the run may replace a checkpoint in the folder.
        resume: whether the run continues the interrupted run in the folder.

    Raises:
        OutputError: the folder holds files that the run may not replace, or it cannot be written.
        InputError: `resume` is true, but the folder does not hold an interrupted run.
    """
    if resume:
        if not holds_interrupted_run(folder):
            raise InputError(
                f"{folder} holds no interrupted run that could be resumed.",
                "Leave out --resume to train anew, or give the folder of the interrupted run.",
            )
        return
    try:
        check_output_folder(folder, force=force, marker_file=CONFIG_JSON)
    except OutputError:
        if not force and folder.is_dir() and holds_interrupted_run(folder):
            raise OutputError(
                f"{folder} holds a training run that was interrupted.",
                "Add --resume to continue that run, or --force to replace it.",
            ) from None
        raise
