"""A bundle of an earlier version of the format, written as this version writes it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pocketrnn.bundle.folder import check_free, written_whole
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, LARGEST_FILE, Manifest, file_content, to_bytes
from pocketrnn.bundle.packed_file import is_packed
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.errors import InputError, ParityError
from pocketrnn.numbers import manifest as numbers
from pocketrnn.verification import Verification, verify

__all__ = ["Upgrade", "upgrade"]


@dataclass(frozen=True)
class Upgrade:
    """What was written.

    Attributes:
        before: the version of the format that the old bundle says.
        after: that of the new one: the oldest that can say what is in it, so that older readers take it too.
        changed: whether classifier.json has other bytes than before; no other file has.
        verification: what was found right of the new bundle.
    """

    before: int
    after: int
    changed: bool
    verification: Verification


def upgrade(bundle: str | os.PathLike[str], output: str | os.PathLike[str], *, force: bool = False) -> Upgrade:
    """Verify a bundle of any version that can be read, and write it as this pocketrnn writes bundles.

    Every version since the first is read as it is, so that no bundle has to be upgraded to be asked. The new one is
    what an export would write today of the same graph, and is verified on this machine: it gives the same numbers as
    the old one. What only an export can add, such as a comparison that was not made then, is not added: nobody asked
    the module. Other files of the folder are copied as they are.

    Args:
        bundle: the folder of the old bundle, a shipped classifier's name or an address on a hub.
        output: the folder to write, whole or not at all.
        force: replace a bundle at `output`.

    Raises:
        BundleError: the bundle is missing, damaged, or of a newer version than can be read.
        InputError: it is a packed file.
        OutputError: `output` is taken, or cannot be written.
        ParityError: it answers differently here than where it was made. Nothing was written.

    Example:
        >>> upgrade("ag_news", "news").after
        1
    """
    folder, path = bundle_folder(bundle), Path(output)
    check_free(path, force=force, made_by=CLASSIFIER_JSON)
    if is_packed(folder):
        raise InputError(
            f"{folder} is a packed file. It is of the oldest version that can say what is in it already, which every "
            "later engine reads.",
            "Ask it as it is; or pack its bundle again: pocketrnn pack BUNDLE -o FILE.",
        )
    before = verify(folder)
    old, new = file_content(folder / CLASSIFIER_JSON, LARGEST_FILE), _as_written_today(before.manifest)
    with written_whole(path, force=force, made_by=CLASSIFIER_JSON) as work:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                (work / file.name).write_bytes(file_content(file, LARGEST_FILE))
        (work / CLASSIFIER_JSON).write_bytes(new)
        after = verify(work)
        if after.replays != before.replays:
            raise ParityError(
                f"The new bundle answers other numbers than {folder}.",
                "Nothing was written. If nobody wrote to the old one meanwhile, it is a fault of pocketrnn: report it.",
            )
    return Upgrade(_version(old), _version(new), old != new, after)


def _as_written_today(manifest: Manifest | numbers.NumberManifest) -> bytes:
    return to_bytes(manifest) if isinstance(manifest, Manifest) else numbers.to_bytes(manifest)


def _version(content: bytes) -> int:
    return int(json.loads(content)["version"])
