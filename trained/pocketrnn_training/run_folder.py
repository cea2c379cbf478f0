"""The folder of a run: its best checkpoint, its history, the state to resume from, and at the end its report.

It is the folder of a checkpoint (`config.json`, `weights.safetensors`) that also holds

- `history.csv`: a line for each epoch,
- `resume.safetensors`: until the run is over, the weights and the optimizers' tensors after the last epoch,
- `report.md` and its pictures: once the run is over.

After every epoch the whole folder is written again and replaces the one before, so that all its files are of the same
epoch.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors
from torch import Tensor

from pocketrnn.errors import CheckpointError
from pocketrnn.folder import put_back, written_whole
from pocketrnn_training import checkpoint as checkpoints
from pocketrnn_training.progress import Epoch
from pocketrnn_training.training import State

__all__ = ["HISTORY", "RESUME", "finish", "is_unfinished", "keep", "read_state"]

HISTORY: Final = "history.csv"
RESUME: Final = "resume.safetensors"
_TRAIN_ANEW: Final = "Train anew, with --force to replace it."


def keep(state: State, folder: Path, *, force: bool) -> None:
    """Write the folder after an epoch.

    Args:
        state: the run after the epoch.
        folder: the folder to write.
        force: replace a checkpoint that is there.

    Raises:
        CheckpointError: the checkpoint holds what a reader would refuse.
        OutputError: the folder is taken or cannot be written.
    """
    with written_whole(folder, force=force, made_by=checkpoints.CONFIG_JSON) as work:
        _write(state, work)
        metadata = {"task": state.task, "history": json.dumps([dataclasses.asdict(epoch) for epoch in state.history])}
        digest = _digest(metadata, state.tensors)
        safetensors.save_file(dict(state.tensors), work / RESUME, metadata=metadata | {"sha256": digest})


def finish(state: State, folder: Path, report: Callable[[Path], None]) -> None:
    """Write the folder of a run that is over.

    Args:
        state: the run after its last epoch.
        folder: the folder to write.
        report: called with a folder to write the files of the report into.

    Raises:
        OutputError: the folder cannot be written.
    """
    with written_whole(folder, force=True, made_by=checkpoints.CONFIG_JSON) as work:
        _write(state, work)
        report(work)


def is_unfinished(folder: Path) -> bool:
    """Whether the folder holds an interrupted run."""
    put_back(folder)
    return (folder / RESUME).is_file()


def read_state(folder: Path) -> State:
    """Read the state that `keep` wrote last.

    Raises:
        CheckpointError: the folder holds no interrupted run, or its files are damaged.
    """
    best = checkpoints.read(folder)
    path = folder / RESUME
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        if metadata.pop("sha256") != _digest(metadata, tensors):
            raise ValueError("its sha256 is not the one it states")
        history = tuple(Epoch(**epoch) for epoch in json.loads(metadata["history"]))
        return State(metadata["task"], history, best, tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}.", _TRAIN_ANEW) from None


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(state: State, work: Path) -> None:
    checkpoints.write_files(state.best, work)
    table = io.StringIO()
    rows: list[dict[str, Any]] = [dataclasses.asdict(epoch) for epoch in state.history]
    writer = csv.DictWriter(table, [field.name for field in dataclasses.fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (work / HISTORY).write_text(table.getvalue(), encoding="ascii")
