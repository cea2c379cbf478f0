"""Refuse a path that is not a file, and name the file with the most similar path. PyTorch is not needed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError

# How much of a file shows whether it is text, and the endings of files of text. An old pickle is ASCII, too.
_BEGINNING: Final = 512
_TEXTS: Final = (".csv", ".ipynb", ".md", ".py", ".toml", ".tsv", ".txt", ".yaml", ".yml")


def check_file_exists(
    path: Path,
    suffixes: tuple[str, ...] = (".py", ".ipynb"),
    remedy: str = "Give the Python file or notebook that defines the module.",
) -> None:
    """Raise an InputError if there is no file at a path. The error names the file with the most similar path, or gives
    the advice `remedy`."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return
    raise InputError(f"{path} is not a file.", suggest_near_file(path, suffixes) or remedy)


def check_weights_exist(path: Path) -> None:
    """Raise an InputError if there is no file of weights at a path, or if the file contains text."""
    ends = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", path.suffix.lower())
    check_file_exists(path, ends, "Give a .safetensors file or a saved state_dict.")
    if kind := find_kind_of_text(path):
        raise InputError(
            f"{path} is {kind}, so it cannot be a file of weights.",
            "Give a .safetensors file, or a file of torch.save(module.state_dict(), ...).",
        )


def find_kind_of_text(path: Path) -> str:
    """Return `JSON text` or `text` if a file contains text, so that it cannot be a file of weights. Return an empty
    string for other files."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        begin = file.read(_BEGINNING).lstrip()
        # The last character may be cut.
        written = begin.decode(errors="ignore").translate(dict.fromkeys(b"\n\r\t"))
        is_json = begin[:1] in (b"{", b"[")
        if written.isprintable() and (is_json or path.suffix.lower() in _TEXTS):
            return "JSON text" if is_json else "text"
    return ""
