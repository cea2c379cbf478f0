"""TorchScript files: a module as bytes, and read back from them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from pocketrnn.errors import InputError, first_line
from pocketrnn_export.intake.archive import checked_entries

__all__ = ["is_torchscript", "load_torchscript", "no_deprecations", "read_back", "saved"]

# Bytes of tensors that hold a few numbers and are said to be large; a copy of one has them all.
_LARGEST_REPEATED: Final = 1 << 30


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


def is_torchscript(path: Path) -> bool:
    """Whether a file is one that `torch.jit.save` wrote: an archive that holds code.

    Raises:
        InputError: it is a damaged archive.

    Example:
        >>> is_torchscript(Path("model.torchscript.pt"))
        True
    """
    return path.is_file() and any("/code/" in entry.filename for entry in checked_entries(path))


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """A module that `torch.jit.save` wrote, on the CPU.

    Raises:
        InputError: torch cannot load it, or its entries or tensors claim more than the file holds.

    Example:
        >>> module = load_torchscript(Path("model.torchscript.pt"))
    """
    checked_entries(path)
    try:
        script = read_back(path.read_bytes())
    # torch.jit.load fails on damaged files with errors of many classes.
    except Exception as error:
        raise InputError(f"{path} is not a TorchScript file: {first_line(error)}.", "Save it again.") from None
    repeated = [(_bytes_of(tensor), name) for name, tensor in script.state_dict().items() if _repeats(tensor)]
    if sum(size for size, _ in repeated) > _LARGEST_REPEATED:
        size, name = max(repeated)
        raise InputError(
            f"{path} repeats a few numbers of {name[:80]} until they are {size:,} bytes.",
            "Make the tensor in forward, with expand, and save the module again.",
        )
    return script


def _repeats(tensor: torch.Tensor) -> bool:
    """Whether a tensor has more numbers than it holds, as one of `expand` has."""
    return tensor.layout is torch.strided and _bytes_of(tensor) > tensor.untyped_storage().nbytes()


def _bytes_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextlib.contextmanager
def no_deprecations() -> Iterator[None]:
    """Silence what torch says of TorchScript while the block runs: it is deprecated, a FutureWarning in torch 2.15."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
