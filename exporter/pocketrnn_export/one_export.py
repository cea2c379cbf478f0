"""What stands around every export of a module: one at a time, and whatever is raised in a sentence."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import nn

from pocketrnn.errors import ExportError, InputError, PocketRNNError, Terminated, first_line, shown
from pocketrnn_export.proof.float64_operators import one_thread
from pocketrnn_export.proof.verdict import write_report

__all__ = ["check_wanted", "one_export_at_a_time", "told_in_a_sentence"]

# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
_lock: Final = threading.Lock()


@contextlib.contextmanager
def one_export_at_a_time() -> Iterator[None]:
    """Let other exports wait, and torch use one core: small batches are answered many thousand times. With two cores,
    an export that takes 11 s took 93 on a busy machine.

    What `torch.compile` has wrapped in a module is run as it is written: compiled for each size it would take minutes,
    and a trace sees nothing of it.
    """
    with _lock, one_thread(), torch.compiler.set_stance("force_eager"):
        yield


def check_wanted(tolerance: float | None, gives: str | None, report: str | Path | None) -> None:
    """Refuse what no export can do, and show that the report can be written, before any work is done.

    Args:
        tolerance, gives, report: as `export` takes them.

    Raises:
        InputError: one cannot be used; among them OutputError, where the report cannot be written.

    Example:
        >>> check_wanted(1e-5, "logits", None)
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise InputError(f"The tolerance is {tolerance}.", "Give a finite number from 0, such as 1e-5.")
    if gives not in (None, "logits", "probabilities"):
        raise InputError(f"gives is {shown(gives)}.", "Use 'logits' or 'probabilities'.")
    if report is not None:
        write_report(report, [], tolerance)


@contextlib.contextmanager
def told_in_a_sentence(module: nn.Module) -> Iterator[None]:
    """Whatever else is raised on the way from a module to its bundle, as an error that says so."""
    try:
        yield
    except (PocketRNNError, OSError, KeyboardInterrupt, Terminated):
        raise
    # A user's code may raise what is no Exception.
    except BaseException as error:
        raise ExportError(
            f"{type(module).__name__} cannot be exported: {type(error).__name__}: {first_line(error).rstrip('.')}.",
            "If that is nothing that its forward does, it is a fault of pocketrnn: report it with the module.",
        ) from error
