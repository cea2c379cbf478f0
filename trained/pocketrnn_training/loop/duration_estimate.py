"""Estimate how long a run will take. Some training steps are timed before the run starts."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

import numpy as np
from lightning_fabric import Fabric

from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_loop import TrainingLoop
from pocketrnn_training.loop.training_step import Learner, read_batch_of_this_process

__all__ = ["time_steps_and_estimate_duration"]

_TIMED_STEPS: Final = 3


def time_steps_and_estimate_duration(loop: TrainingLoop, fabric: Fabric) -> str:
    """Estimate how long the epochs of a run take, and return a sentence for the user.

    The function measures some training steps of a temporary classifier on a batch of rows of about the mean length. The
    steps draw from torch's global generator.
    """
    settings, task = loop.settings, loop.task
    lengths = task.rows.lengths
    epoch_size = settings.epoch_size or len(lengths)
    batch_size = settings.batch_size_for(epoch_size)
    # The rows whose lengths are nearest to the mean.
    rows = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")[:batch_size]
    with limit_threads(settings.threads):
        learner = Learner(task, settings, fabric)
        learner.start_epoch(0)
        batch = read_batch_of_this_process(task, rows, fabric)
        # The first step warms torch up.
        learner.step(batch, 0.0)
        start = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            learner.step(batch, 0.0)
        seconds = (time.perf_counter() - start) / _TIMED_STEPS * epoch_size / len(rows) / settings.processes
    fits = f"{_describe_epoch_count(loop)} of {epoch_size:,} rows"
    epochs, done = loop.max_epochs, 0
    if task.folds is None:
        fits += f", {'the last' if loop.keeps_last_epoch else 'the best'} counts"
    if settings.final_fit and task.folds is None:
        fits += f"; then as many {'' if loop.keeps_last_epoch else 'as were kept, '}on all rows"
        epochs *= 2
    if loop.resume is not None:
        done = len(loop.resume.history) + loop.resume.fitted
        fits += f", of which {done} {'is' if done == 1 else 'are'} done"
    left = timedelta(seconds=max(1, round(seconds * (epochs - done))))
    return f"{fits}: about {left} from here on this machine."


def _describe_epoch_count(loop: TrainingLoop) -> str:
    """Return the number of epochs in words, such as "At most 8 epochs" if the training may end earlier."""
    most = "" if loop.settings.patience is None else "At most "
    return f"{most}{loop.max_epochs} epoch{'' if loop.max_epochs == 1 else 's'}"
