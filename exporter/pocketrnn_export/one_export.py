"""What stands around every export of a module: one at a time, and whatever is raised in a sentence."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from torch import nn

from pocketrnn.errors import ExportError, PocketRNNError, Terminated, first_line

__all__ = ["one_export_at_a_time", "told_in_a_sentence"]

# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
one_export_at_a_time = threading.Lock()


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
