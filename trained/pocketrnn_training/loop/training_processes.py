"""Train in several processes on this machine: start the processes, receive their events, and stop them."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import pickle
import queue
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric

from pocketrnn.errors import PocketRNNError
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.rows.encoded_rows import EncodedTexts

__all__ = ["Loop", "ProcessError", "run_in_processes", "silence_fabric"]

_LISTEN_SECONDS: Final = 0.2
_ARRAYS: Final = ("values", "offsets")
_ANSWERS: Final = "answers.npy"


class ProcessError(PocketRNNError):
    """A training process ended before the training was over."""


class Loop(Protocol):
    """The interface of a training that several processes can run, such as `TrainingLoop`."""

    @property
    def task(self) -> Task:
        """The prepared data to train on."""

    def replace_task(self, task: Task) -> Loop:
        """Return a copy of the training with other prepared data."""

    def fit(self, fabric: Fabric, emit: Callable[[Any], None], stopped: Callable[[], bool]) -> None:
        """Train in one process. Call `emit` with each event, and end early when `stopped` returns True."""


def run_in_processes(fabric: Fabric, loop: Loop, emit: Callable[[Any], None]) -> None:
    """Call `loop.fit` in every process of `fabric`, and pass the events of the first process to `emit`.

    The processes read the rows and a teacher's answers from memory-mapped files, not through a pipe.

    Args:
        fabric: the number of processes, and how they communicate.
        loop: the training to run.
        emit: the function to call in this thread with each event. If it raises an error, or on Ctrl-C, the processes
            are stopped, and then the error is raised.

    Raises:
        PocketRNNError: the error that the first process raised.
        ProcessError: a process ended before its work was done.
    """
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    stop = context.Event()
    failures: list[BaseException] = []
    with tempfile.TemporaryDirectory(prefix="pocketrnn-") as folder:
        task = loop.task
        nothing = EncodedTexts(np.empty(0, np.int32), np.zeros(1, np.int64))
        none = type(task.rows)(task.rows.values[:0], np.zeros(1, np.int64))
        parts = {"rows": task.rows, "validation_rows": task.validation_rows}
        words = task.words
        if words is not None:
            parts["words"] = words.rows
            words = dataclasses.replace(words, rows=nothing)
        for part, rows in parts.items():
            for name in _ARRAYS:
                np.save(Path(folder) / f"{part}.{name}.npy", getattr(rows, name))
        teaching = task.teaching
        if teaching is not None:
            np.save(Path(folder) / _ANSWERS, teaching.answers.values)
            teaching = teaching.replace_values(np.empty((0, len(task.labels)), np.float32))
        light = loop.replace_task(
            dataclasses.replace(task, rows=none, validation_rows=none, words=words, teaching=teaching)
        )
        # As bytes: Fabric searches the arguments for modules, and refuses frozen dataclasses.
        work = pickle.dumps(light)

        def launch_processes() -> None:
            # Ctrl-C goes to every process of a terminal. The new processes inherit this thread's signal mask and
            # ignore it; this process stops them.
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                fabric.launch(_train_in_new_process, folder, work, events, stop, _SilentFabric())  # type: ignore[arg-type]
            except BaseException as error:
                failures.append(error)

        launcher = threading.Thread(target=launch_processes, daemon=True)
        launcher.start()
        try:
            _pass_queued_events_until_thread_ends(launcher, events, emit)
        finally:
            # A process cannot end before its events are read.
            stop.set()
            _pass_queued_events_until_thread_ends(launcher, events, lambda _: None)
            launcher.join()
    if failures:
        last_line = str(failures[0]).strip().splitlines()[-1].rstrip(".")
        raise ProcessError(
            f"A training process ended before the training was over: {last_line}.",
            'A script must call the training under `if __name__ == "__main__":`. If yours does, train with one process '
            "(--processes 1), which shows the whole error.",
        ) from failures[0]


def _pass_queued_events_until_thread_ends(launcher: threading.Thread, events: Any, emit: Callable[[Any], None]) -> None:
    """Call `emit` with each event of a queue until the thread `launcher` has ended; raise an event that is an error."""
    while True:
        is_over = not launcher.is_alive()
        try:
            event = pickle.loads(events.get(timeout=_LISTEN_SECONDS))  # noqa: S301 - from a process of our own
        except queue.Empty:
            if is_over:
                return
            continue
        if isinstance(event, PocketRNNError):
            raise event
        emit(event)


@contextmanager
def silence_fabric() -> Iterator[None]:
    """Prevent Fabric from logging its settings to standard error."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _SilentFabric:
    """Silences Fabric in each new process, when that process unpickles it: Fabric logs before it calls our function."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _silence_fabric_logging, ()


def _silence_fabric_logging() -> None:
    """Let Fabric log only warnings in this process."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _end_process_and_delete_folder_with_parent(folder: str) -> None:
    """Wait until the parent process has ended; then delete the folder of memory-mapped arrays, and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _train_in_new_process(fabric: Fabric, folder: str, work: bytes, events: Any, stop: Any, _silencer: None) -> None:
    """Train in a new process until the training ends, or `stop` is set.

    Args:
        fabric: the device and the processes.
        folder: the folder of the memory-mapped rows and teacher's answers.
        work: a pickled `Loop` without these arrays.
        events: the queue for pickled events; only the first process fills it.
        stop: an event of multiprocessing that ends the training.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_process_and_delete_folder_with_parent, args=(folder,), daemon=True).start()
    loop: Loop = pickle.loads(work)  # noqa: S301 - from the process that started this one

    def map_values_and_offsets(file_prefix: str) -> Iterator[Any]:
        return (np.load(Path(folder) / f"{file_prefix}.{name}.npy", mmap_mode="r") for name in _ARRAYS)

    teaching = loop.task.teaching
    if teaching is not None:
        teaching = teaching.replace_values(np.load(Path(folder) / _ANSWERS, mmap_mode="r"))
    words = loop.task.words
    if words is not None:
        words = dataclasses.replace(words, rows=EncodedTexts(*map_values_and_offsets("words")))
    kind = type(loop.task.rows)
    rows, validation_rows = kind(*map_values_and_offsets("rows")), kind(*map_values_and_offsets("validation_rows"))
    task = dataclasses.replace(loop.task, rows=rows, validation_rows=validation_rows, words=words, teaching=teaching)

    def emit(event: object) -> None:
        if fabric.global_rank == 0:
            # As bytes: torch would pass tensors in shared memory, which ends with this process.
            events.put(pickle.dumps(event))

    def stopped() -> bool:
        # All at the same step: if one process stopped alone, the others would wait for its gradients forever.
        return bool(fabric.all_reduce(torch.tensor(float(stop.is_set())), reduce_op="sum"))

    try:
        loop.replace_task(task).fit(fabric, emit, stopped)
    except PocketRNNError as error:
        emit(error)
