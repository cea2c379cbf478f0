"""Encode a stream as JSON with a digest, and decode it, so that the stream can be continued elsewhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Manifest, compute_labels_and_input_digest
from pocketrnn.engines.engine import Floats
from pocketrnn.errors import InputError

__all__ = ["decode_stream", "encode_stream", "make_damaged_stream_error"]

_FORMAT: Final = "pocketrnn-stream"
_VERSION: Final = 1
_MAKE_AGAIN: Final = "Begin a new stream, and push the whole text or recording again."


def encode_stream(
    manifest: Manifest, position_member: str, position: Any, state: Floats, logits: Floats | None
) -> bytes:
    """Encode the position, the state and the last logits of a stream as JSON.

    Args:
        position_member: the name of the JSON member for the position.
        position: how far the stream has read, as a JSON value.
        state: the state of the network, float32 [1, state_size].
        logits: the logits after the steps that the state covers, float32 [1, labels]; None before the first step.
    """
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "bundle": _compute_bundle_digest(manifest),
        position_member: position,
        "state": _encode_floats(state),
        "logits": None if logits is None else _encode_floats(logits),
    }
    return _encode_json({**document, "digest": _compute_document_digest(document)})


def decode_stream(saved: object, manifest: Manifest, position_member: str) -> tuple[Any, Floats, Floats | None]:
    """Decode a stream that `encode_stream` encoded. Return its position, which is not checked yet, its state and its
    last logits.

    Args:
        manifest: the manifest of the bundle that continues the stream.
        position_member: the name of the JSON member for the position.

    Raises:
        InputError: the bytes are not a saved stream, have another version, come from another bundle, or were changed.
    """
    document = _parse_and_check_saved_document(saved)
    if document.get("bundle") != _compute_bundle_digest(manifest):
        raise InputError(
            f"The stream was saved with another bundle than {manifest.name}.",
            "Continue the stream with the bundle with which it was saved.",
        )
    if document.keys() != {"format", "version", "bundle", position_member, "state", "logits"}:
        raise make_damaged_stream_error("lacks a member, or has one that pocketrnn does not write")
    size = 0 if manifest.stream is None else manifest.stream.state_size
    logits = document["logits"]
    state = _decode_floats(document["state"], size)
    return document[position_member], state, None if logits is None else _decode_floats(logits, len(manifest.labels))


def _parse_and_check_saved_document(saved: object) -> dict[str, Any]:
    """Parse a saved stream, and check its format, version and digest. Raise an InputError if one of them is wrong."""
    if not isinstance(saved, bytes):
        raise InputError(
            f"`saved` has the type {type(saved).__name__}, but it must be bytes.",
            "Give the bytes that the stream's method save() returned.",
        )
    try:
        document = json.loads(saved)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InputError(
            "The bytes in `saved` are not a saved stream.", "Give the bytes that the stream's method save() returned."
        )
    if document.get("version") != _VERSION:
        raise InputError(
            f"The stream was saved in version {document.get('version')!r:.40} of its format, but this pocketrnn reads "
            f"version {_VERSION}.",
            "Continue the stream with the version of pocketrnn that saved it.",
        )
    if document.pop("digest", None) != _compute_document_digest(document):
        raise make_damaged_stream_error("was changed after it was saved: its digest does not match")
    return document


def _compute_bundle_digest(manifest: Manifest) -> str:
    """Compute a sha256 that identifies a bundle: that of its step graph, labels and input rules."""
    step = "" if manifest.stream is None else manifest.stream.sha256
    return hashlib.sha256(
        f"{step} {compute_labels_and_input_digest(manifest.labels, manifest.input)}".encode()
    ).hexdigest()


def _encode_floats(numbers: Floats) -> str:
    """Encode float32 numbers as base64 text."""
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode("ascii")


def _decode_floats(text: Any, size: int) -> Floats:
    """Decode base64 text to float32 [1, size]. Raise an InputError if the text does not contain `size` finite
    numbers."""
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        content = b""
    if len(content) != 4 * size:
        raise make_damaged_stream_error("holds a state or logits of another size")
    numbers: Floats = np.frombuffer(content, "<f4").astype(np.float32).reshape(1, size)
    if not np.isfinite(numbers).all():
        raise make_damaged_stream_error("holds a number that is not finite")
    return numbers


def _compute_document_digest(document: dict[str, Any]) -> str:
    """Compute the sha256 of a JSON document without its member `digest`."""
    return hashlib.sha256(_encode_json(document)).hexdigest()


def _encode_json(document: dict[str, Any]) -> bytes:
    """Encode a document as JSON in ASCII, always with the same bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def make_damaged_stream_error(damage: str) -> InputError:
    """Make the error for a damaged saved stream.

    Args:
        damage: what is wrong, as the end of a sentence: `holds an impossible position`.
    """
    return InputError(f"The saved stream {damage}.", _MAKE_AGAIN)
