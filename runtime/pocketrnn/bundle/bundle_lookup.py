"""Find a bundle or a packed file by its path, by the name of a shipped classifier, or by its address on a model hub."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

from pocketrnn.bundle.hub_download import SCHEME, download_bundle, parse_hub_address
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, FORMAT, GIVE_A_BUNDLE, suggest_bundle_with_similar_name
from pocketrnn.errors import BundleError, InputError

__all__ = ["find_or_download_bundle", "is_bundle", "list_bundles_of_folder"]

# Data only: each classifier has a folder with its bundle in the folder `bundle`. There is no __init__.py, so that
# several distributions can add classifiers.
_ZOO: Final = "pocketrnn_zoo"
# Classifiers that are installed from another distribution, and how. Their data is for non-commercial use.
_APART: Final = dict.fromkeys(
    ("ag_news", "ag_news-small"),
    "Install it from a clone of the repository: pip install ./trained. Its data is for non-commercial use.",
)


def _list_shipped_classifiers() -> dict[str, Path]:
    """Return the bundle folders of the installed classifiers that ship with pocketrnn, by their names."""
    spec = importlib.util.find_spec(_ZOO)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [bundle for folder in folders for bundle in Path(folder).glob("*/bundle") if _is_bundle_folder(bundle)]
    return {bundle.parent.name: bundle for bundle in sorted(found)}


def find_or_download_bundle(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the path of a bundle's folder or of a packed file, from a path, the name of a shipped classifier, or an
    address on a model hub (`hf://user/name`).

    A bundle's folder is preferred to a shipped classifier of the same name. A repository on a hub is downloaded unless
    it is cached. The files are not read, and a path with a slash is returned even if it does not exist.

    Raises:
        InputError: the argument is neither a string nor a path, or is not a valid address of a repository.
        MissingExtraError: the argument is an address, and the hub's library is not installed.
        BundleError: neither a folder nor a shipped classifier has this name; the classifier is not installed; or the
            repository cannot be read.
    """
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise InputError(
            f"The bundle is given as {type(path_or_name).__name__}, but it must be a string or a path.",
            GIVE_A_BUNDLE,
        )
    given = os.fspath(path_or_name)
    if given.startswith(SCHEME):
        return download_bundle(parse_hub_address(given))
    if "://" in given:
        raise BundleError(
            f"{given} is an address on the web, but a bundle is read only from this machine or from a model hub.",
            "Download the bundle and give its path, or give an address of the form hf://user/name.",
        )
    folder = Path(given)
    if _is_bundle_folder(folder) or folder.name != given:
        return folder
    shipped = _list_shipped_classifiers()
    if given in shipped:
        return shipped[given]
    if os.path.lexists(folder):
        return folder
    if given in _APART:
        raise BundleError(f"The classifier {given!r} is not installed.", _APART[given])
    names = ", ".join(shipped) or "none is installed"
    raise BundleError(
        f"There is no file or folder {given!r}, and it is not a classifier that ships with pocketrnn ({names}).",
        suggest_bundle_with_similar_name(folder, shipped)
        or GIVE_A_BUNDLE.removesuffix(".") + ", or a shipped classifier's name.",
    )


def list_bundles_of_folder(folder: Path) -> list[str]:
    """List the names of the bundles and packed files in a folder, sorted; empty for a folder that cannot be read."""
    try:
        return sorted(one.name for one in folder.iterdir() if is_bundle(one) and _may_be_written_by_pocketrnn(one))
    except OSError:
        return []


def _may_be_written_by_pocketrnn(path: Path) -> bool:
    """Return whether a path is a file, or a folder whose classifier.json mentions pocketrnn's format. Other programs
    write files of the name classifier.json, too."""
    try:
        return not path.is_dir() or FORMAT.encode() in (path / CLASSIFIER_JSON).read_bytes()
    except OSError:
        return False


def is_bundle(path: Path) -> bool:
    """Return whether a path is that of a bundle's folder or of a packed file, judged by the names of files."""
    return (path.suffix == ".prnn" and os.path.lexists(path)) or _is_bundle_folder(path)


def _is_bundle_folder(folder: Path) -> bool:
    """Return whether a folder holds a classifier.json."""
    try:
        return (folder / CLASSIFIER_JSON).is_file()
    except OSError:
        # A folder without read permission: the reader of the bundle reports it.
        return False
