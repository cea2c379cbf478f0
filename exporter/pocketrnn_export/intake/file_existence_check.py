"""Refuse a path that is not a file, and name the file with the most similar path. PyTorch is not needed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError


def check_file_exists(
    path: Path,
    suffixes: tuple[str, ...] = (".py", ".ipynb"),
    remedy: str = "Give the Python file or notebook that defines the module.",
) -> None:
    """Refuse a path that is not a file. The error names the file with the most similar path, or gives the remedy."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return
    raise InputError(f"{path} is not a file.", suggest_near_file(path, suffixes) or remedy)


def check_weights_exist(path: Path) -> None:
    """Refuse a path of weights that is not a file."""
    ends = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", path.suffix.lower())
    check_file_exists(path, ends, "Give a .safetensors file or a saved state_dict.")
