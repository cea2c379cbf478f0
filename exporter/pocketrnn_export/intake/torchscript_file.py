"""TorchScript files: a module as bytes, and read back from them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch

__all__ = ["no_deprecations", "read_back", "saved"]


def saved(script: torch.jit.ScriptModule) -> bytes:
    """A TorchScript module as the bytes of its file."""
    buffer = io.BytesIO()
    with no_deprecations():
        torch.jit.save(script, buffer)
    return buffer.getvalue()


def read_back(content: bytes) -> torch.jit.ScriptModule:
    """The TorchScript module of a file's bytes, on the CPU.

    Raises:
        RuntimeError: the bytes are not a TorchScript file.
    """
    with no_deprecations():
        script: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return script


@contextlib.contextmanager
def no_deprecations() -> Iterator[None]:
    """Silence what torch says of TorchScript while the block runs: it is deprecated, a FutureWarning in torch 2.15."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
