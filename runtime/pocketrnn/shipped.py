"""The classifiers that ship with pocketrnn, found by name without importing anything."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

from pocketrnn.errors import BundleError, InputError
from pocketrnn.manifest import CLASSIFIER_JSON

__all__ = ["bundle_folder", "shipped_classifiers"]

# Data only: one folder a classifier, with its bundle in the folder `bundle`.
_ZOO: Final = "pocketrnn_zoo"


def shipped_classifiers() -> dict[str, Path]:
    """The shipped classifiers' names, sorted, and the folders of their bundles; empty where none are installed."""
    spec = importlib.util.find_spec(_ZOO)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [bundle for place in places for bundle in Path(place).glob("*/bundle") if _holds_bundle(bundle)]
    return {bundle.parent.name: bundle for bundle in sorted(found)}


def bundle_folder(path_or_name: str | os.PathLike[str]) -> Path:
    """The folder that is meant by a bundle's path or a shipped classifier's name. A folder that holds a bundle wins.

    Whether the bundle is sound is left to whoever reads it.

    Raises:
        InputError: it is neither a string nor a path.
        BundleError: no such folder stands there, and no such classifier ships.
    """
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise InputError(
            f"A bundle is named by a path or a name, not by {type(path_or_name).__name__}.",
            "Give the folder that `pocketrnn export` wrote.",
        )
    given = os.fspath(path_or_name)
    folder = Path(given)
    if _holds_bundle(folder) or folder.name != given:
        return folder
    shipped = shipped_classifiers()
    if given in shipped:
        return shipped[given]
    if os.path.lexists(folder):
        return folder
    names = f"names a shipped classifier ({', '.join(shipped)})" if shipped else "names a shipped classifier (none is)"
    raise BundleError(
        f"{given!r} is neither a folder nor {names.removeprefix('names ')}.",
        "Give the folder that `pocketrnn export` wrote, or a shipped classifier's name.",
    )


def _holds_bundle(folder: Path) -> bool:
    try:
        return (folder / CLASSIFIER_JSON).is_file()
    except OSError:
        # A folder that may not be looked into: whoever reads it says why.
        return False
