"""Download classifiers from a model hub such as Hugging Face, by an address `hf://user/name@revision`.

The hub's library caches what it has downloaded and finds it again without a network. Only the files that
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
from pocketrnn.errors import BundleError, InputError, first_line, require_module

__all__ = [
    "SCHEME",
    "HubAddress",
    "download_bundle",
    "import_hub_library",
    "parse_hub_address",
    "translate_hub_errors",
]

_log = logging.getLogger(__name__)

SCHEME: Final = "hf://"
_FORM: Final = "Write it as hf://user/name or hf://user/name@revision."
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS: Final = re.compile(rf"(?P<name>{_NAME}/{_NAME})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")


@dataclass(frozen=True)
class HubAddress:
    """The address of a repository on a hub: its name `user/name`, and a revision, which is a commit, a tag or a branch.
    The revision None means the newest commit."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + ("" if self.revision is None else f"@{self.revision}")


def parse_hub_address(address: str) -> HubAddress:
    """Parse the address of a repository on a hub, such as `hf://user/name@revision`. Raise an InputError if `address`
    does not have this form."""
    found = _ADDRESS.fullmatch(address.removeprefix(SCHEME))
    if found is None or ".." in address:
        raise InputError(f"{address} is not an address of a repository on a model hub.", _FORM)
    return HubAddress(found["name"], found["revision"])


def download_bundle(address: HubAddress) -> Path:
    """Download a repository's bundle or packed file, unless it was downloaded before; return its path on this machine.

    Without a revision in the address, log the commit that was downloaded, so that the user can ask for the same commit
    again.

    Raises:
        MissingExtraError: the library `huggingface_hub` is not installed.
        BundleError: the repository or revision does not exist or may not be read; the repository does not hold exactly
            one classifier; or the hub cannot be reached.
    """
    library = import_hub_library()
    folder = _download_manifest(library, address)
    if folder is not None:
        commit = folder.name
        for name in manifests.list_bundle_files(manifests.read_manifest(folder))[1:]:
            with translate_hub_errors(address):
                library.hf_hub_download(address.name, name, revision=commit)
        found = folder
    else:
        with translate_hub_errors(address):
            folder = Path(library.snapshot_download(address.name, revision=address.revision, allow_patterns="*.prnn"))
        packed = sorted(folder.glob("*.prnn"))
        if len(packed) != 1:
            held = f"{len(packed)} packed files" if packed else f"neither {CLASSIFIER_JSON} nor a packed file"
            raise BundleError(f"{address} holds {held}.", "Give a repository that `pocketrnn push` wrote.")
        (found,) = packed
    if address.revision is None:
        _log.info("The newest commit was read. To read the same commit again, give %s@%s", address, folder.name)
    return found


def _download_manifest(library: Any, address: HubAddress) -> Path | None:
    """Download classifier.json, and return the folder of the downloaded file; None if the repository has no
    classifier.json."""
    with translate_hub_errors(address):
        try:
            return Path(library.hf_hub_download(address.name, CLASSIFIER_JSON, revision=address.revision)).parent
        except library.errors.EntryNotFoundError:
            return None


def import_hub_library() -> Any:
    """Import the library `huggingface_hub`. Raise a MissingExtraError if the library is not installed."""
    return require_module("huggingface_hub", "hub")


@contextlib.contextmanager
def translate_hub_errors(address: HubAddress) -> Iterator[None]:
    """Convert the errors that the hub and its library raise in the block to BundleErrors of one sentence. Raise a
    BundleError if the code in the block failed."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise BundleError(
            f"{address} may be read only by users whom its owner has accepted.",
            "Ask for access on the page of the repository, and log in: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BundleError(
            f"The repository {SCHEME}{address.name} has no revision {address.revision}.",
            "Give a commit, a tag or a branch of the repository after the @.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BundleError(
            f"{address} does not exist, or you may not read it.",
            "Check the name. For a private repository, log in first: hf auth login",
        ) from error
    # Network errors have the class of the library's HTTP client, which differs from release to release.
    except Exception as error:
        raise BundleError(
            f"The library huggingface_hub failed on {address}: {first_line(error)}.",
            "Check the network and your permissions for the repository, and try again.",
        ) from error
