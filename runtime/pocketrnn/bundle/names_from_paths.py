"""Make names from paths: a classifier's name, the default folder of its bundle, and a similar name that exists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pocketrnn.errors import suggest_similar_name

__all__ = ["choose_default_bundle_folder", "make_classifier_name", "suggest_near_file"]

# Usual endings of the names of checkpoints, bundles and packed files. They are not part of a classifier's name.
_ENDS = (".ck", ".ckpt", ".checkpoint", ".bundle", ".prnn")


def make_classifier_name(path: Path) -> str:
    """Make the name of a classifier from its output path; empty for the root of a file system."""
    name = path.absolute().name
    while (shorter := name.removesuffix(next((end for end in _ENDS if name.endswith(end)), ""))) not in ("", name):
        name = shorter
    return name


def choose_default_bundle_folder(checkpoint: Path) -> Path:
    """Choose the default output folder for the bundle of a checkpoint: beside the checkpoint, named after the
    classifier."""
    return checkpoint.parent / f"{make_classifier_name(checkpoint) or 'classifier'}.bundle"


def suggest_near_file(
    path: Path, ends: tuple[str, ...] = (), *, folders_with: tuple[str, ...] = (), other_names: Iterable[str] = ()
) -> str:
    """Suggest, in a sentence, an existing file whose name is similar to the name of a missing file.

    Empty if there is none.

    Args:
        path: the path of a file that does not exist.
        ends: the endings of names to suggest, such as `.py`; by default, the path's own.
        folders_with: also suggest folders that hold a file with one of these names.
        other_names: names to suggest wherever the path lies.
    """
    ends = ends or (path.suffix.lower(),)
    try:
        beside = [
            other.name
            for other in path.absolute().parent.iterdir()
            # A broken link has the missing path's own name.
            if other.name != path.name
            and (other.suffix.lower() in ends or any((other / name).is_file() for name in folders_with))
        ]
    except (OSError, ValueError):
        beside = []
    return suggest_similar_name(path.name, [*beside, *other_names])
