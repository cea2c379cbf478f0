"""A stream as it is saved: JSON with its own digest, by which it goes on elsewhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Manifest, input_digest
from pocketrnn.engines.engine import Floats
from pocketrnn.errors import InputError

__all__ = ["damaged", "resumed", "written"]

_FORMAT: Final = "pocketrnn-stream"
_VERSION: Final = 1
_MAKE_AGAIN: Final = "Begin the stream again from its text, or its samples."


def written(manifest: Manifest, at: Mapping[str, Any], state: Floats, logits: Floats | None) -> bytes:
    """A saved stream, as bytes.

    Args:
        manifest: the bundle's.
        at: where the stream stands, as one member.
        state: float32 [1, state_size].
        logits: the answer to what was read for good; None where that is nothing.
    """
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "bundle": _bundle_digest(manifest),
        **at,
        "state": _as_text(state),
        "logits": None if logits is None else _as_text(logits),
    }
    return _json({**document, "digest": _digest_of(document)})


def resumed(saved: object, manifest: Manifest, at: str) -> tuple[Any, Floats, Floats | None]:
    """Where a saved stream stands, not checked yet; its state and its answer.

    Args:
        saved: what `written` gave.
        manifest: the bundle's that goes on.
        at: the name of the member that says where it stands.

    Raises:
        InputError: it is not a saved stream, of another version or bundle, or was changed.
    """
    document = _parsed(saved, {at, "bundle", "state", "logits"})
    if document["bundle"] != _bundle_digest(manifest):
        raise InputError(
            f"The stream was saved by another bundle than {manifest.name}.",
            "Resume it with the bundle that it was begun with, byte for byte.",
        )
    size = 0 if manifest.stream is None else manifest.stream.state_size
    logits = document["logits"]
    state = _as_floats(document["state"], size)
    return document[at], state, None if logits is None else _as_floats(logits, len(manifest.labels))


def _parsed(saved: object, members: set[str]) -> dict[str, Any]:
    """The members of a saved stream, which must be exactly these."""
    if not isinstance(saved, bytes):
        raise InputError(f"A saved stream is bytes, not {type(saved).__name__}.", "Give what Stream.save gave.")
    try:
        document = json.loads(saved)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InputError("This is not a saved stream.", "Give what Stream.save gave.")
    if document.get("version") != _VERSION:
        raise InputError(
            f"The stream was saved in version {document.get('version')!r:.40}; this pocketrnn reads {_VERSION}.",
            "Resume it with the pocketrnn that saved it.",
        )
    digest = document.pop("digest", None)
    if document.keys() != members | {"format", "version"} or digest != _digest_of(document):
        raise damaged("was changed after it was saved: its digest does not match")
    return document


def _bundle_digest(manifest: Manifest) -> str:
    """A sha256 of a bundle's step graph, labels and input, which tells its streams from another bundle's."""
    step = "" if manifest.stream is None else manifest.stream.sha256
    return hashlib.sha256(f"{step} {input_digest(manifest.labels, manifest.input)}".encode()).hexdigest()


def _as_text(numbers: Floats) -> str:
    """Numbers as text."""
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode("ascii")


def _as_floats(text: Any, size: int) -> Floats:
    """float32 [1, size] of such a text.

    Raises:
        InputError: it is none of so many finite numbers.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        content = b""
    if len(content) != 4 * size:
        raise damaged("holds a state of another size")
    numbers: Floats = np.frombuffer(content, "<f4").astype(np.float32).reshape(1, size)
    if not np.isfinite(numbers).all():
        raise damaged("holds a state that is not a number")
    return numbers


def _digest_of(document: dict[str, Any]) -> str:
    return hashlib.sha256(_json(document)).hexdigest()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def damaged(what: str) -> InputError:
    """The error that says what is wrong with a saved stream."""
    return InputError(f"The saved stream {what}.", _MAKE_AGAIN)
