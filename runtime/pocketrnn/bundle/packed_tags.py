"""Labels of tokens in a packed file: the CRF's numbers, and the marks at which words of subwords end."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output import TagOutput
from pocketrnn.bundle.packed_strings import merged_ranges, words
from pocketrnn.text import TextRules

__all__ = ["Marks", "marks_of", "tags_section", "with_crf"]

# The first and the last code point of each range, one after the other.
Marks = Sequence[int]


def tags_section(manifest: Manifest, marks: Marks | None = None) -> bytes:
    """The section of a packed file; empty where labels are of texts.

    Args:
        manifest: what the file says.
        marks: those of a file; None for those of this Python's Unicode.

    Example:
        >>> tags_section(Classifier.load("ag_news").manifest)
        b''
    """
    output = manifest.output
    if not isinstance(output, TagOutput):
        return b""
    if marks is None:
        marks = () if isinstance(manifest.text.rules, TextRules) else _marks_of_unicode()
    crf = b""
    if output.crf is not None:
        parts = (output.crf.start, *output.crf.transitions, output.crf.end)
        crf = np.array([number for part in parts for number in part], "<f8").tobytes()
    return words([int(output.crf is not None), len(marks) // 2, *marks]) + crf


def marks_of(section: bytes) -> Marks:
    """The marks that a file's section has.

    Example:
        >>> marks_of(bytes(8))
        ()
    """
    count = int.from_bytes(section[4:8], "little")
    return tuple(np.frombuffer(section, "<u4", 2 * count, 8).tolist())


def with_crf(document: Mapping[str, Any], section: bytes, labels: int) -> dict[str, Any]:
    """A packed file's document with the CRF's numbers, which stand in the section, and not in the document.

    Args:
        document: the document.
        section: as the engine has checked it.
        labels: how many there are.

    Example:
        >>> with_crf({}, bytes(8), 3)
        {}
    """
    if not section[0]:
        return {**document}
    numbers = np.frombuffer(section[8 + 4 * len(marks_of(section)) :], "<f8").reshape(labels + 2, labels)
    start, *transitions, end = numbers.tolist()
    return {**document, "crf": {"start": start, "end": end, "transitions": transitions}}


@lru_cache(maxsize=1)
def _marks_of_unicode() -> tuple[int, ...]:
    """The marks of punctuation beyond ASCII. Those of ASCII every reader knows."""
    marks = (code for code in range(0x80, sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P"))
    return tuple(end for some in merged_ranges((code, code) for code in marks) for end in some)
