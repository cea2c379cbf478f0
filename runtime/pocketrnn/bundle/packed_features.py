"""Encode and decode the section of a packed file for features: numbers and categories that are given with a text."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from pocketrnn.bundle.packed_strings import decode_strings, encode_as_32_bit_words, encode_strings
from pocketrnn.text.features_beside_text import Category, Features

__all__ = ["decode_features", "encode_features"]

_NUMBER, _CATEGORY = 0, 1


def encode_features(features: Features) -> bytes:
    """Encode the features of a classifier, at least one, as the section of a packed file: first all names, then each
    feature."""
    made = encode_strings([name for name, _ in features])
    for _, feature in features:
        if isinstance(feature, Category):
            ids = list(feature.values.values())
            content = encode_as_32_bit_words([-1 if feature.unknown is None else feature.unknown])
            content += encode_strings(tuple(feature.values), looked_up=True) + np.array(ids, "<u4").tobytes()
            kind = _CATEGORY
        else:
            kind, content = _NUMBER, struct.pack("<2d", feature.mean, feature.scale)
        made += encode_as_32_bit_words([kind, 2 + len(content) // 4]) + content
    return made


def decode_features(section: bytes) -> list[dict[str, Any]]:
    """Decode the section of the features into the member `features` of classifier.json. The engine must have checked
    the section before."""
    names, at = decode_strings(section, 0)
    made: list[dict[str, Any]] = []
    for name in names:
        kind, words = struct.unpack_from("<2I", section, at)
        if kind == _NUMBER:
            mean, scale = struct.unpack_from("<2d", section, at + 8)
            made.append({"name": name, "mean": mean, "scale": scale})
        else:
            (unknown,) = struct.unpack_from("<i", section, at + 8)
            values, behind = decode_strings(section, at + 12)
            ids = np.frombuffer(section, "<u4", len(values), behind).tolist()
            made.append({"name": name, "values": dict(zip(values, ids, strict=True))})
            made[-1] |= {} if unknown < 0 else {"unknown": unknown}
        at += 4 * words
    return made
