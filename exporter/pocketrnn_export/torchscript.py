"""The TorchScript twin of a module."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError

__all__ = ["torchscript"]


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
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            # The check would run the module once more on one shape; the proof runs it on all of them.
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer)
            content = buffer.getvalue()
            return content, torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ExportError(
                f"TorchScript cannot trace the module: {str(error).strip().splitlines()[0] if str(error) else error!r}",
                "Export without the TorchScript file: torchscript=False, or --no-torchscript.",
            ) from error
