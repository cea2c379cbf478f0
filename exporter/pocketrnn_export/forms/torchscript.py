"""The TorchScript twin of a module."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError

__all__ = ["read_back", "saved", "torchscript"]


def torchscript(module: nn.Module, example: tuple[Tensor, ...]) -> tuple[bytes, torch.jit.ScriptModule]:
    """Trace a module, packing and all, and read it back from what will lie on disk.

    TorchScript is deprecated: its warnings (a FutureWarning in torch 2.15) are silenced here and only here, and it does
    not support Python 3.14, where a bundle is made without it.

    Args:
        module: in eval mode, on the CPU.
        example: (tokens,) or (tokens, lengths); rows sorted by falling length, for modules that pack only such.

    Returns:
        the file's bytes, and the module read back from them.

    Raises:
        ExportError: the module cannot be traced.
    """
    with _no_deprecations(), torch.no_grad():
        try:
            # The check would run the module once more on one shape; the proof runs it on all of them.
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            content = saved(traced)
            return content, read_back(content)
        # Tracing fails with errors of many classes, among them the module's own.
        except Exception as error:
            raise ExportError(
                f"TorchScript cannot trace the module: {str(error).strip().splitlines()[0] if str(error) else error!r}",
                "Export without the TorchScript file: torchscript=False, or --no-torchscript.",
            ) from error


def saved(script: torch.jit.ScriptModule) -> bytes:
    """A TorchScript module as the bytes of its file."""
    buffer = io.BytesIO()
    with _no_deprecations():
        torch.jit.save(script, buffer)
    return buffer.getvalue()


def read_back(content: bytes) -> torch.jit.ScriptModule:
    """The TorchScript module of a file's bytes, on the CPU.

    Raises:
        RuntimeError: the bytes are no such file.
    """
    with _no_deprecations():
        script: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return script


@contextlib.contextmanager
def _no_deprecations() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
