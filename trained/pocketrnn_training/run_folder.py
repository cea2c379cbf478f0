"""Lock, write and read the folder of a run: its best checkpoint, its history, its state for resuming, and its report.

It is the folder of a checkpoint (`config.json`, `weights.safetensors`) that also holds

- `history.csv`: a line for each epoch,
- `resume.safetensors`: until the run is over, the weights and the optimizers' tensors after the last epoch,
- `report.md` and its pictures, and `report.html`: once the run is over.

After every epoch the whole folder is written again and replaces the one before, so that all its files belong to the
same epoch.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors
from torch import Tensor

from pocketrnn.bundle.atomic_writing import write_whole_folder
from pocketrnn.errors import CheckpointError, OutputError
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint_file_names import CONFIG_JSON, RESUME
from pocketrnn_training.loop.training_loop import TrainingState
from pocketrnn_training.training_events import Epoch

__all__ = ["HISTORY", "lock_folder", "read_state", "write_epoch", "write_finished_run"]

HISTORY: Final = "history.csv"
_TRAIN_ANEW: Final = "Train anew, with --force to replace it."


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Prevent other training runs from writing the folder while the `with` block runs.

    The file `.NAME.lock` next to the folder is locked. The system releases the lock if the process dies. On a file
    system without locks, nothing is locked.

    Raises:
        OutputError: another run has locked the folder, or the file of the lock cannot be written.
    """
    path = folder.absolute()
    path = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked_file(path)
    except BlockingIOError:
        raise OutputError(
            f"Another training run is writing {folder}.",
            "Give another output folder, or wait until that run is over.",
        ) from None
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}.",
            "Check the access rights of its folder, or give another output folder.",
        ) from error
    try:
        yield
    finally:
        # Deleted before it is unlocked: a process that locks it later sees that it is no longer the file at `path`.
        if os.name == "posix":
            with suppress(OSError):
                path.unlink()
        os.close(file)
        if os.name != "posix":
            with suppress(OSError):
                path.unlink()


def _open_locked_file(path: Path) -> int:
    """Create and lock the file at `path`, and return its descriptor."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_file(file)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        # The last owner deleted the file between our two calls.
        os.close(file)


def _lock_file(file: int) -> None:
    """Lock an open file, unless its file system has no locks.

    Raises:
        BlockingIOError: another process has locked the file.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise


def write_epoch(state: TrainingState, folder: Path, *, force: bool) -> None:
    """Write the folder of a run after an epoch: the best checkpoint, the history, and the state to resume from.

    Args:
        state: the run after the epoch.
        folder: the folder to write.
        force: whether to replace a checkpoint that the folder holds.

    Raises:
        CheckpointError: the checkpoint holds a value that `read_checkpoint` would refuse, such as a weight of NaN.
        OutputError: the folder exists and must not be replaced, or it cannot be written.
    """
    with write_whole_folder(folder, force=force, marker_file=CONFIG_JSON) as work:
        _write_checkpoint_and_history(state, work)
        metadata = {
            "task": state.task,
            "fitted": str(state.fitted),
            "history": json.dumps([dataclasses.asdict(epoch) for epoch in state.history]),
        }
        digest = _compute_digest(metadata, state.tensors)
        safetensors.save_file(dict(state.tensors), work / RESUME, metadata=metadata | {"sha256": digest})


def write_finished_run(state: TrainingState, folder: Path, write_report: Callable[[Path], None]) -> None:
    """Write the folder of a run that has ended: the checkpoint, the history and the report.

    Args:
        state: the run after its last epoch.
        folder: the folder to write.
        write_report: the function that writes the files of the report into the folder that it is given.

    Raises:
        OutputError: the folder cannot be written.
    """
    with write_whole_folder(folder, force=True, marker_file=CONFIG_JSON) as work:
        _write_checkpoint_and_history(state, work)
        write_report(work)


def read_state(folder: Path) -> TrainingState:
    """Read from the folder of an interrupted run the state after its last whole epoch, to resume the run.

    Raises:
        CheckpointError: the folder holds no interrupted run, or its files are damaged.
    """
    best = checkpoints.read(folder)
    path = folder / RESUME
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dictionary
        if metadata.pop("sha256") != _compute_digest(metadata, tensors):
            raise ValueError("its content does not match the SHA-256 in its metadata")
        history = tuple(Epoch(**epoch) for epoch in json.loads(metadata["history"]))
        return TrainingState(metadata["task"], history, best, tensors, int(metadata["fitted"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}.", _TRAIN_ANEW) from None


def _compute_digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of the metadata and tensors of `resume.safetensors`, as hexadecimal digits.

    Args:
        metadata: the metadata of the file, without the SHA-256 itself.
        tensors: the tensors of the file, by name.
    """
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write_checkpoint_and_history(state: TrainingState, work: Path) -> None:
    """Write the best checkpoint and `history.csv` of a run into the folder `work`."""
    checkpoints.write_files(state.best, work)
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in dataclasses.fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, state.history))
    (work / HISTORY).write_text(table.getvalue(), encoding="ascii")
