"""Classifiers by their address on a model hub that speaks as Hugging Face's: `hf://user/name@revision`.

Its library keeps what it has downloaded, asks nothing twice, and finds it again without a network. Only the files that
classifier.json names are downloaded, whatever else the repository holds.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import CLASSIFIER_JSON
from pocketrnn.errors import BundleError, InputError, first_line, require

__all__ = ["SCHEME", "HubAddress", "address_of", "asked_of_hub", "downloaded", "hub"]

_log = logging.getLogger(__name__)

SCHEME: Final = "hf://"
_FORM: Final = "An address is hf://user/name, or hf://user/name@revision."
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS: Final = re.compile(rf"(?P<name>{_NAME}/{_NAME})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")


@dataclass(frozen=True)
class HubAddress:
    """A repository of a hub, and a revision: a commit, a tag or a branch. Without one it is the newest of `main`."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + ("" if self.revision is None else f"@{self.revision}")


def address_of(given: str) -> HubAddress:
    """Read an address.

    Raises:
        InputError: it is none.

    Example:
        >>> address_of("hf://someone/news@v1.2")
        HubAddress(name='someone/news', revision='v1.2')
    """
    found = _ADDRESS.fullmatch(given.removeprefix(SCHEME))
    if found is None or ".." in given:
        raise InputError(f"{given} is not an address of a repository.", _FORM)
    return HubAddress(found["name"], found["revision"])


def downloaded(address: HubAddress) -> Path:
    """The folder of a bundle, or the packed file, of a repository, downloaded where it is not there yet.

    A repository may move on: without a revision, its commit is logged, which pins it.

    Raises:
        MissingExtraError: the hub's library is not installed.
        BundleError: there is no such repository or revision, it may not be read, the hub cannot be reached, or it holds
            no classifier.

    Example:
        >>> downloaded(address_of("hf://someone/news"))  # doctest: +SKIP
    """
    library = hub()
    folder = _folder_of_bundle(library, address)
    if folder is not None:
        commit = folder.name
        for name in manifests.files_of(manifests.read(folder))[1:]:
            with asked_of_hub(address):
                library.hf_hub_download(address.name, name, revision=commit)
        found = folder
    else:
        with asked_of_hub(address):
            folder = Path(library.snapshot_download(address.name, revision=address.revision, allow_patterns="*.prnn"))
        packed = sorted(folder.glob("*.prnn"))
        if len(packed) != 1:
            held = f"{len(packed)} packed files" if packed else f"neither {CLASSIFIER_JSON} nor a packed file"
            raise BundleError(f"{address} holds {held}.", "Give a repository that `pocketrnn push` wrote.")
        (found,) = packed
    if address.revision is None:
        _log.info("%s is at a commit that %s@%s pins", address, address, folder.name)
    return found


def _folder_of_bundle(library: Any, address: HubAddress) -> Path | None:
    """The folder of a commit with its classifier.json; None where it holds none."""
    with asked_of_hub(address):
        try:
            return Path(library.hf_hub_download(address.name, CLASSIFIER_JSON, revision=address.revision)).parent
        except library.errors.EntryNotFoundError:
            return None


def hub() -> Any:
    """The hub's library.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("huggingface_hub", "hub")


@contextlib.contextmanager
def asked_of_hub(address: HubAddress) -> Iterator[None]:
    """Raise an error of the hub or its library as one sentence.

    Raises:
        BundleError: the hub or its library failed.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise BundleError(f"{address} is open to some only.", "Ask its owner, and log in: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise BundleError(f"{address} has no such revision.", "Give a commit, a tag or a branch.") from error
    except errors.RepositoryNotFoundError as error:
        raise BundleError(
            f"{address} is not a repository that you may read.", "Check its name; if it is private: hf auth login"
        ) from error
    # Errors of the network are those of the client that the library uses, which differs from release to release.
    except Exception as error:
        raise BundleError(
            f"{address} cannot be reached: {first_line(error)}.", "Try again, or give a folder of this machine."
        ) from error
