"""Make names from paths: a classifier's name, the default folder of its bundle, the name under which Python imports a
file, and a similar name that exists."""

from __future__ import annotations

import re
import sys
import sysconfig
import unicodedata
from collections.abc import Iterable
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path
from typing import Final

from pocketrnn.errors import find_similar_name, suggest_similar_name

__all__ = [
    "choose_default_bundle_folder",
    "choose_import_name",
    "choose_python_file_beside_bundle",
    "find_near_file",
    "make_classifier_name",
    "suggest_near_file",
]

# Usual endings of the names of checkpoints, bundles and packed files. They are not part of a classifier's name.
_ENDS = (".ck", ".ckpt", ".checkpoint", ".bundle", ".prnn")
# A suggestion lists so many numbered files at most.
_MOST_LISTED = 4

# How deep, and in how many folders of a depth, a file is looked for that lies below its path.
_DEEPEST: Final = 3
_MOST_FOLDERS: Final = 200
# The similarity of a name that is taken for the meant one: chars.json is not vocab.json, which has 0.6.
_MEANT: Final = 0.75


def make_classifier_name(path: Path) -> str:
    """Make the name of a classifier from its output path, without endings such as `.bundle`; an empty string for the
    root of a file system."""
    name = path.absolute().name
    while (shorter := name.removesuffix(next((end for end in _ENDS if name.endswith(end)), ""))) not in ("", name):
        name = shorter
    return name


def choose_python_file_beside_bundle(output: Path, kind: str) -> Path:
    """Choose the path of the Python file that belongs to a bundle or packed file and lies beside it. Without `.py`, the
    file's name is a valid module name.

    Args:
        kind: the end of the file's name, which says what the file holds.

    Example:
        >>> str(choose_python_file_beside_bundle(Path("my-model.bundle"), "words"))
        'my_model_words.py'
    """
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", f"{make_classifier_name(output)}_{kind}"))
    return output.with_name(f"{name if name.isidentifier() else f'_{name}'}.py")


def choose_default_bundle_folder(checkpoint: Path) -> Path:
    """Choose the output folder for the bundle of a checkpoint if the user names none: beside the checkpoint, with its
    name and `.bundle`."""
    return checkpoint.parent / f"{make_classifier_name(checkpoint) or 'classifier'}.bundle"


def choose_import_name(path: Path, package: str = "") -> str:
    """Choose the module name under which a user's file is imported: the file's own name, which then stands in messages
    and pickles. If that name is not an identifier, or belongs to a loaded module or a library, make another name.

    Args:
        path: a Python file or a notebook.
        package: the package that contains the file; empty without a package.

    Example:
        >>> choose_import_name(Path("split_texts.py")), choose_import_name(Path("tokenize.py")).startswith("file_")
        ('split_texts', True)
    """
    # A Python file of the same name may be in a notebook's folder.
    name = f"{path.stem}_ipynb" if path.suffix == ".ipynb" else path.stem
    inside = f"{package}." if package else ""
    libraries = [sysconfig.get_path(one) for one in ("purelib", "platlib")]
    is_library = name in sys.stdlib_module_names or PathFinder.find_spec(name, libraries) is not None
    is_taken = f"{inside}{name}" in sys.modules or not name.isidentifier() or (not package and is_library)
    return f"{inside}file_{abs(hash(path))}" if is_taken else f"{inside}{name}"


def suggest_near_file(
    path: Path, ends: tuple[str, ...] = (), *, folders_with: tuple[str, ...] = (), other_names: Iterable[str] = ()
) -> str:
    """Return a sentence that suggests an existing file in place of a missing file: the file of the same name in a
    subfolder, or a file with a similar name in the same folder. Return an empty string if there is no such file.

    If several names in the folder differ from the missing name only in digits, such as those of other epochs, the
    sentence lists them.

    Args:
        ends: the endings of the names to suggest, such as `.py`; by default, the ending of `path`.
        folders_with: also suggest a folder that holds a file with one of these names.
        other_names: names to suggest wherever `path` lies.
    """
    beside = _list_names_beside(path, ends, folders_with)
    if len(numbered := _list_names_that_differ_only_in_digits(path, beside)) > 1:
        listed = ", ".join(numbered[:_MOST_LISTED]) + (", ..." if len(numbered) > _MOST_LISTED else "")
        return f"Did you mean one of {listed}?"
    if (below := _find_file_of_same_name_in_subfolders(path)) is not None:
        return f"Did you mean {below}?"
    return suggest_similar_name(path.name, [*beside, *other_names])


def find_near_file(path: Path, ends: tuple[str, ...] = ()) -> Path | None:
    """Return the existing file that the user probably means by the path of a missing file; None if there is no such
    file, or more than one.

    This is the file that `suggest_near_file` suggests, or a file of the same name below the working folder. A backslash
    in the path counts as a slash, too, as in Windows.

    Args:
        ends: the endings of the names to consider; by default, the ending of `path`.
    """
    parts = Path(str(path).replace("\\", "/").strip())
    for meant in (parts, Path(parts.name)):
        if meant != path and meant.is_file():
            return meant
    beside = _list_names_beside(path, ends)
    if len(_list_names_that_differ_only_in_digits(path, beside)) > 1:
        return None
    if (
        below := _find_file_of_same_name_in_subfolders(path) or _find_file_of_same_name_in_subfolders(Path(parts.name))
    ) is not None:
        return below
    name = find_similar_name(path.name, beside, least=_MEANT)
    return path.with_name(name) if name and path.with_name(name).is_file() else None


def _list_names_beside(path: Path, ends: tuple[str, ...], folders_with: tuple[str, ...] = ()) -> list[str]:
    """List the other names in the folder of a missing file that have one of the endings, or belong to a folder with one
    of the files `folders_with`."""
    # Numbered files have other endings than the missing one: model.epoch10 and model.epoch2.
    endings = {_replace_digits(end) for end in ends or (path.suffix.lower(),)}
    try:
        return [
            other.name
            for other in path.absolute().parent.iterdir()
            # A broken link has the missing path's own name.
            if other.name != path.name
            and (
                _replace_digits(other.suffix.lower()) in endings
                or any((other / name).is_file() for name in folders_with)
            )
        ]
    except (OSError, ValueError):
        return []


def _list_names_that_differ_only_in_digits(path: Path, names: Iterable[str]) -> list[str]:
    """List the names that differ from the name of `path` only in their digits; the name itself counts, too."""
    return sorted(name for name in names if _replace_digits(name) == _replace_digits(path.name))


def _find_file_of_same_name_in_subfolders(path: Path) -> Path | None:
    """Return the one file with the name of a missing file in the subfolders of its folder. If that folder does not
    exist, search the nearest folder above that does. Return None if there is no such file, or more than one. Hidden
    folders are left out."""
    found: list[Path] = []
    try:
        folder = next((one for one in path.parents if one.is_dir()), None)
        waiting = [] if folder is None else [folder]
        for depth in range(_DEEPEST + 1):
            found += [one / path.name for one in waiting if depth and (one / path.name).is_file()]
            inside = (one for at in waiting for one in at.iterdir() if one.is_dir() and not one.is_symlink())
            waiting = [one for one in islice(inside, _MOST_FOLDERS) if not one.name.startswith(".")]
    except (OSError, ValueError):
        pass
    return found[0] if len(found) == 1 else None


def _replace_digits(name: str) -> str:
    """Replace each run of digits in a name by 0, so that names that differ only in digits become equal."""
    return re.sub(r"[0-9]+", "0", name)
