"""Run one export at a time, and turn every unexpected exception into an `ExportError`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

from pocketrnn.errors import ExportError, PocketRNNError, Terminated, first_line
from pocketrnn_export.comparing.torch_threads import use_one_thread
from pocketrnn_export.diagnosis import add_first_difference_to_error
from pocketrnn_export.module_runs.state_restoration import keep_module_unchanged

# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
_lock: Final = threading.Lock()


@contextlib.contextmanager
def run_one_export_on_one_core() -> Iterator[None]:
    """While the block runs, make other exports wait, and limit torch to one core.

    Small batches run many thousand times. With two cores, an export that takes 11 s took 93 s on a busy machine.

    Code that `torch.compile` has wrapped runs uncompiled: compiling it for each size would take minutes, and a trace
    cannot see into compiled code.
    """
    with _lock, use_one_thread(), torch.compiler.set_stance("force_eager"):
        yield


@contextlib.contextmanager
def keep_module_and_convert_exceptions(module: nn.Module) -> Iterator[None]:
    """While the block runs, keep the module unchanged. Convert every exception that is not one of pocketrnn's, such as
    one of the module's code, to an `ExportError`."""
    try:
        with add_first_difference_to_error(), keep_module_unchanged(module):
            yield
    except (PocketRNNError, OSError, KeyboardInterrupt, Terminated):
        raise
    # A user's code may raise what is not an Exception.
    except BaseException as error:
        raise ExportError(
            f"{type(module).__name__} cannot be exported: {type(error).__name__}: {first_line(error).rstrip('.')}.",
            "Call the module yourself on a batch of ids. If it raises the same error, correct it; otherwise, "
            "report this as a bug of pocketrnn, with the code of the module.",
        ) from error
