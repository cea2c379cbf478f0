"""Save TorchScript modules as bytes, and load them from bytes and files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from pocketrnn.errors import InputError, first_line
from pocketrnn_export.intake.pytorch_file_memory_check import check_archive_entries

# The most bytes of expanded tensors, which store few numbers; a copy of one stores all of them.
_LARGEST_REPEATED: Final = 1 << 30


def save_to_bytes(script: torch.jit.ScriptModule) -> bytes:
    """Return a TorchScript module as the bytes of a file."""
    buffer = io.BytesIO()
    with ignore_warnings():
        torch.jit.save(script, buffer)
    return buffer.getvalue()


def load_from_bytes(content: bytes) -> torch.jit.ScriptModule:
    """Load a TorchScript module from the bytes of its file, on the CPU.

    Raises:
        RuntimeError: the bytes are not a TorchScript file.
    """
    with ignore_warnings():
        script: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return script


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Load a module that `torch.jit.save` wrote, on the CPU.

    Raises:
        InputError: torch cannot load the file, or its entries or tensors claim more data than the file holds.
    """
    check_archive_entries(path)
    try:
        script = load_from_bytes(path.read_bytes())
    # torch.jit.load fails on damaged files with errors of many classes.
    except Exception as error:
        raise InputError(
            f"{path} is not a TorchScript file: {first_line(error)}.",
            "Save the module again: torch.jit.save(script, path).",
        ) from None
    repeated = [(_count_bytes(tensor), name) for name, tensor in script.state_dict().items() if _is_expanded(tensor)]
    if sum(size for size, _ in repeated) > _LARGEST_REPEATED:
        size, name = max(repeated)
        raise InputError(
            f"The tensor {name[:80]} in {path} repeats a few stored numbers until they are {size:,} bytes.",
            "Make this tensor in forward, with expand, and save the module again.",
        )
    return script


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor has more numbers than its memory holds, as after `expand`."""
    return tensor.layout is torch.strided and _count_bytes(tensor) > tensor.untyped_storage().nbytes()


def _count_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextlib.contextmanager
def ignore_warnings() -> Iterator[None]:
    """While the block runs, ignore warnings: torch 2.15 warns that TorchScript is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
