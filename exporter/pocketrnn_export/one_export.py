"""The frame around every export of a module: one runs at a time, and every exception becomes a sentence."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import nn

from pocketrnn.errors import ExportError, InputError, PocketRNNError, Terminated, first_line, shown
from pocketrnn_export.comparing.float64_operators import one_thread
from pocketrnn_export.comparing.verdict import write_report
from pocketrnn_export.diagnose.refusal import with_its_line
from pocketrnn_export.intake.convention import Call
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.tracing.sizes.questions import UntraceableError

__all__ = ["Wanted", "check_wanted", "one_export_at_a_time", "or_one_text", "told_in_a_sentence"]

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")

# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
_lock: Final = threading.Lock()


@dataclass(frozen=True)
class Wanted:
    """How a module is asked, and what is made of it; `export` says what each means."""

    lengths: bool | None = None
    call: str | Call | None = None
    gives: str | None = None
    one_text: bool = False
    examples: bool = True
    streaming: bool = False
    tolerance: float | None = None
    report: str | Path | None = None
    crf: bool = True
    two_texts: bool = False


@contextlib.contextmanager
def one_export_at_a_time() -> Iterator[None]:
    """Let other exports wait, and torch use one core: small batches are answered many thousand times. With two cores,
    an export that takes 11 s took 93 on a busy machine.

    Code that `torch.compile` has wrapped is run as it is written: compiled for each size it would take minutes, and a
    trace sees nothing of it.
    """
    with _lock, one_thread(), torch.compiler.set_stance("force_eager"):
        yield


def check_wanted(wanted: Wanted) -> None:
    """Refuse what no export can do, and show that the report can be written, before any work is done.

    Raises:
        InputError: something cannot be used; among them OutputError, where the report cannot be written.

    Example:
        >>> check_wanted(Wanted(tolerance=1e-5, gives="logits"))
    """
    if wanted.tolerance is not None and not 0 <= wanted.tolerance < float("inf"):
        raise InputError(f"The tolerance is {wanted.tolerance}.", "Give a finite number from 0, such as 1e-5.")
    if wanted.gives not in (None, "logits", "probabilities"):
        raise InputError(f"gives is {shown(wanted.gives)}.", "Use 'logits' or 'probabilities'.")
    if wanted.report is not None:
        write_report(wanted.report, [], wanted.tolerance)


def or_one_text(
    prepared: ExportableModule,
    make: Callable[[ExportableModule], _Made],
    ask: Callable[..., ExportableModule],
    *,
    batches_only: bool = False,
) -> _Made:
    """Make something of a module; if that fails for batches, make it for one text at a time.

    Args:
        prepared: the module as it is called.
        make: makes it of that.
        ask: finds out, with `one_text`, how the module is called.
        batches_only: whether it is not tried for one text.

    Raises:
        UntraceableError: there is neither.
    """
    try:
        return make(prepared)
    except UntraceableError as error:
        if prepared.one_text or batches_only:
            raise
        try:
            made = make(ask(one_text=True))
        except (ExportError, InputError):
            raise error from error.__cause__
        _log.warning(
            "Exported for one text at a time, so that many texts take longer: there is no graph for batches. %s",
            error.problem,
        )
        return made


@contextlib.contextmanager
def told_in_a_sentence(module: nn.Module) -> Iterator[None]:
    """Whatever else is raised on the way from a module to its bundle, as an error that says so."""
    try:
        with with_its_line():
            yield
    except (PocketRNNError, OSError, KeyboardInterrupt, Terminated):
        raise
    # A user's code may raise what is not an Exception.
    except BaseException as error:
        raise ExportError(
            f"{type(module).__name__} cannot be exported: {type(error).__name__}: {first_line(error).rstrip('.')}.",
            "If that is nothing that its forward does, it is a fault of pocketrnn: report it with the module.",
        ) from error
