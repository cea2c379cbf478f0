"""Run one export at a time, turn every exception into an `ExportError`, and export for one text at a time where a graph
for batches is not possible."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import torch
from torch import nn

from pocketrnn.errors import ExportError, InputError, PocketRNNError, Terminated, first_line
from pocketrnn_export.comparing.torch_threads import use_one_thread
from pocketrnn_export.diagnose.first_difference import add_first_difference_to_error
from pocketrnn_export.intake.module_preparation import ExportableModule
from pocketrnn_export.module_runs.state_restoration import keep_module_unchanged
from pocketrnn_export.tracing.sizes.condition_log import UntraceableError

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")

# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
_lock: Final = threading.Lock()


@contextlib.contextmanager
def lock_exports() -> Iterator[None]:
    """Make other exports wait, and limit torch to one core while the block runs.

    Small batches run many thousand times. With two cores, an export that takes 11 s took 93 s on a busy machine.

    Code that `torch.compile` has wrapped runs without compilation: compiled for each size it would take minutes, and a
    trace could not see into it.
    """
    with _lock, use_one_thread(), torch.compiler.set_stance("force_eager"):
        yield


def run_with_single_text_fallback(
    prepared: ExportableModule,
    make: Callable[[ExportableModule], _Made],
    prepare: Callable[..., ExportableModule],
    *,
    batches_only: bool = False,
) -> _Made:
    """Make a result from a prepared module. If that fails for batches, prepare the module for one text at a time, and
    try again.

    Args:
        prepared: the prepared module.
        make: makes the result from a prepared module.
        prepare: prepares the module, with the argument `one_text`.
        batches_only: do not try `make` for one text at a time.

    Raises:
        UntraceableError: both fail.
    """
    try:
        return make(prepared)
    except UntraceableError as error:
        if prepared.one_text or batches_only:
            raise
        try:
            made = make(prepare(one_text=True))
        except (ExportError, InputError):
            raise error from error.__cause__
        _log.warning(
            "Exported for one text at a time, which is slower for many texts: a graph for batches is not possible. %s",
            error.problem,
        )
        return made


@contextlib.contextmanager
def convert_exceptions(module: nn.Module) -> Iterator[None]:
    """Keep the module unchanged, and convert every unexpected exception to an `ExportError` with its name."""
    try:
        with add_first_difference_to_error(), keep_module_unchanged(module):
            yield
    except (PocketRNNError, OSError, KeyboardInterrupt, Terminated):
        raise
    # A user's code may raise what is not an Exception.
    except BaseException as error:
        raise ExportError(
            f"{type(module).__name__} cannot be exported: {type(error).__name__}: {first_line(error).rstrip('.')}.",
            "If its forward does not raise that itself, it is a bug in pocketrnn: report it with the module.",
        ) from error
