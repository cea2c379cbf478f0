"""A run in several processes of this machine, which this one starts, listens to and stops."""

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
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric

from pocketrnn.errors import PocketRNNError
from pocketrnn_training.batches import EncodedTexts
from pocketrnn_training.preparation import Task

__all__ = ["ProcessError", "fabric_quiet", "in_processes"]

_LISTEN_SECONDS: Final = 0.2
_NUMBERS: Final = ("ids", "offsets")


class ProcessError(PocketRNNError):
    """One of several training processes ended before its work was done."""


def in_processes(fabric: Fabric, fit: Callable[..., None], run: tuple[Any, ...], emit: Callable[[Any], None]) -> None:
    """Call `fit(fabric, *run, emit, stopped)` in every process of `fabric`; what the first emits is emitted here.

    Args:
        fabric: knows how many processes there are, and how they speak to each other.
        fit: a function that a new process can import by its name.
        run: its arguments; the first is a Task, whose ids the processes read from files and not through a pipe.
        emit: is called in this thread. What it raises, and Ctrl-C, stops the processes first.

    Raises:
        PocketRNNError: what the first process raised.
        ProcessError: a process ended otherwise.
    """
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    stop = context.Event()
    failures: list[BaseException] = []
    with tempfile.TemporaryDirectory(prefix="pocketrnn-") as folder:
        task: Task = run[0]
        for part in ("texts", "validation_texts"):
            for numbers in _NUMBERS:
                np.save(Path(folder) / f"{part}.{numbers}.npy", getattr(getattr(task, part), numbers))
        nothing = EncodedTexts(np.empty(0, np.int32), np.zeros(1, np.int64))
        light = dataclasses.replace(task, texts=nothing, validation_texts=nothing)
        # As bytes: Fabric would walk through the arguments in search of modules, and refuses frozen dataclasses.
        work = pickle.dumps((fit, light, run[1:]))

        def launch() -> None:
            # Ctrl-C goes to every process of a terminal. The new ones inherit this thread's mask, and never hear it;
            # this process decides.
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                fabric.launch(_in_process, folder, work, events, stop, _QuietFabric())  # type: ignore[arg-type]
            except BaseException as error:
                failures.append(error)

        launcher = threading.Thread(target=launch, daemon=True)
        launcher.start()
        try:
            _listen(launcher, events, emit)
        finally:
            # A process that has something to say cannot end before it is heard.
            stop.set()
            _listen(launcher, events, lambda _: None)
            launcher.join()
    if failures:
        last_line = str(failures[0]).strip().splitlines()[-1].rstrip(".")
        raise ProcessError(
            f"A training process ended: {last_line}.",
            'In a script, train under `if __name__ == "__main__":`; else train with one process to see more.',
        ) from failures[0]


def _listen(launcher: threading.Thread, events: Any, emit: Callable[[Any], None]) -> None:
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
def fabric_quiet() -> Iterator[None]:
    """Keep Fabric from announcing on standard error what it was asked for."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _QuietFabric:
    """Quiets Fabric in the process that unpickles it: it speaks there before it calls our function."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _quiet, ()


def _quiet() -> None:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _end_with_parent(folder: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _in_process(fabric: Fabric, folder: str, work: bytes, events: Any, stop: Any, _quiet: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    fit, light, others = pickle.loads(work)  # noqa: S301 - from the process that started this one
    parts = {
        part: EncodedTexts(*(np.load(Path(folder) / f"{part}.{numbers}.npy", mmap_mode="r") for numbers in _NUMBERS))
        for part in ("texts", "validation_texts")
    }

    def emit(event: object) -> None:
        if fabric.global_rank == 0:
            # As bytes: torch would hand tensors over in shared memory, which ends with this process.
            events.put(pickle.dumps(event))

    def stopped() -> bool:
        # All at the same step: a process that stops alone leaves the others waiting for its gradients.
        return bool(fabric.all_reduce(torch.tensor(float(stop.is_set())), reduce_op="sum"))

    try:
        fit(fabric, dataclasses.replace(light, **parts), *others, emit, stopped)
    except PocketRNNError as error:
        emit(error)
