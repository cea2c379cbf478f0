"""List the owner's Python files near the file of a module."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MOST_FILES: Final = 60


def list_files_near(path: Path) -> list[Path]:
    """List the given file, the Python files of its folder and of the folder above, and, if the file is below the
    working folder, those of the working folder and its subfolders.

    Args:
        path: a Python file or notebook. It comes first.
    """
    here, folder = Path(), path.parent
    below = (here / path).resolve().is_relative_to(here.resolve())
    above = [] if below and folder.resolve() == here.resolve() else sorted((folder / "..").resolve().glob("*.py"))
    files = [path, *sorted(folder.glob("*.py")), *sorted(here.glob("*.py"))]
    files += sorted(here.glob("*/*.py")) if below else []
    unique = {file.resolve(): file for file in reversed([*files, *above])}
    return list(reversed(unique.values()))[:_MOST_FILES]
