"""Encode and decode labels of tokens in a packed file: a CRF, and the punctuation marks that end words."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.bundle.packed_strings import encode_as_32_bit_words
from pocketrnn.text import TextRules
from pocketrnn.text.code_point_ranges import merge_ranges

__all__ = ["Marks", "encode_tags_section", "read_punctuation_marks", "restore_crf"]

# The first and the last code point of each range, one after the other.
Marks = Sequence[int]
# The first word of the section: no CRF, one over all ids, one over the tokens.
_NO_CRF, _OVER_IDS, _OVER_TOKENS = range(3)


def encode_tags_section(manifest: Manifest, punctuation_ranges: Marks | None = None) -> bytes:
    """Encode the section for labels of tokens: the punctuation marks that end words, and the CRF if there is one.
    Return no bytes if the classifier labels whole texts.

    Args:
        punctuation_ranges: the first and the last code point of each range of punctuation marks; None for those of this
            Python's Unicode version.
    """
    output = manifest.output
    if not isinstance(output, TagOutput):
        return b""
    if punctuation_ranges is None:
        punctuation_ranges = (
            () if isinstance(manifest.text.rules, TextRules) else _list_punctuation_ranges_beyond_ascii()
        )
    kind, numbers = _NO_CRF, b""
    if output.crf is not None:
        kind = _OVER_TOKENS if output.crf.over_tokens else _OVER_IDS
        parts = (output.crf.start, *output.crf.transitions, output.crf.end)
        numbers = np.array([number for part in parts for number in part], "<f8").tobytes()
    return encode_as_32_bit_words([kind, len(punctuation_ranges) // 2, *punctuation_ranges]) + numbers


def read_punctuation_marks(section: bytes) -> Marks:
    """Read the punctuation marks from the section of the tags: the first and the last code point of each range."""
    count = int.from_bytes(section[4:8], "little")
    return tuple(np.frombuffer(section, "<u4", 2 * count, 8).tolist())


def restore_crf(document: Mapping[str, Any], section: bytes, label_count: int) -> dict[str, Any]:
    """Return a copy of a packed file's document with the numbers of the CRF, which the section of the tags holds.
    Without a CRF, the copy is unchanged.

    Args:
        section: the section of the tags, which the engine must have checked before.
    """
    if not section[0]:
        return {**document}
    numbers = np.frombuffer(section[8 + 4 * len(read_punctuation_marks(section)) :], "<f8").reshape(
        label_count + 2, label_count
    )
    start, *transitions, end = numbers.tolist()
    over = {"over": "tokens"} if section[0] == _OVER_TOKENS else {}
    return {**document, "crf": {"start": start, "end": end, "transitions": transitions, **over}}


@lru_cache(maxsize=1)
def _list_punctuation_ranges_beyond_ascii() -> Marks:
    """List the first and the last code point of each range of punctuation marks beyond ASCII, by this Python's Unicode
    version."""
    marks = (code for code in range(0x80, sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P"))
    return tuple(end for some in merge_ranges((code, code) for code in marks) for end in some)
