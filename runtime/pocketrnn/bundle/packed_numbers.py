"""A classifier of numbers as a packed file; docs/packed-format.md defines it."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Limits, Manifest, NumberExample, document_of, of_document
from pocketrnn.bundle.packed_codes import Section
from pocketrnn.bundle.packed_file import (
    LARGEST,
    PACK_AGAIN,
    PackedProgram,
    assembled,
    compact_document,
    document_of_packed,
    header_words,
    holds_integers,
    section_of,
)
from pocketrnn.bundle.packed_strings import strings, words
from pocketrnn.errors import BundleError
from pocketrnn.numbers.number_input import NumberInput

__all__ = ["number_manifest_of", "to_packed_numbers"]

# The sections that `_stated_sections` makes.
_STATED: Final = (Section.LABELS, Section.RULES, Section.STOPS, Section.VOCABULARY, Section.EXAMPLES)
_ACTIVATIONS: Final = ("softmax", "sigmoid", "values")
_INTEGER_SCALE: Final = 1
_MEAN: Final = 2
_SCALE: Final = 4
_CLIP: Final = 8
_MISSING: Final = 16
_PADDED: Final = 32
_PADDED_LEFT: Final = 64
_TRAINING_RANGE: Final = 128


def to_packed_numbers(manifest: Manifest, program: PackedProgram) -> bytes:
    """The bytes of a packed file.

    Args:
        manifest: what it says; its graph is described by `graph_entry`.
        program: from samples to logits.

    Raises:
        BundleError: it would be larger than 2 GiB.
    """
    labels, rules, stops, channels, examples = _stated_sections(manifest)
    # The section of the examples holds them in a third of the bytes that they take as JSON.
    document = {name: value for name, value in document_of(manifest).items() if name != "examples"}
    parts = [
        compact_document(document), labels, rules, stops, channels, program.values, program.ops,
        program.weights, examples, *([program.step] if program.step else []),
    ]  # fmt: skip
    first, last = _stated_numbers(manifest)
    return assembled([*first, *program.numbers, *last], parts)


def number_manifest_of(content: mmap.mmap, path: Path) -> Manifest:
    """What a packed file says, after the engine has opened it: nothing points out of the file.

    Args:
        content: the file's bytes.
        path: for messages.

    Raises:
        BundleError: the document is not valid, or says other than the sections that the engine reads.
    """
    document = document_of_packed(content, path)
    if "examples" in document:
        raise BundleError(f"{path} holds no valid document.", PACK_AGAIN)
    manifest = of_document({**document, "digest": "0" * 64, "examples": _examples_of(content)}, path)
    sections = [section_of(content, name) for name in _STATED]
    header = header_words(content)
    if _stated_sections(manifest) != sections or _stated_numbers(manifest) != (header[:5], header[9:]):
        raise BundleError(f"{path} contradicts itself: its document is not what its engine reads.", PACK_AGAIN)
    # A file of integers that does not say so would be shown as proven equal.
    if holds_integers(section_of(content, Section.VALUES)) != any(
        line.is_of_integers for line in manifest.parity.comparisons
    ):
        raise BundleError(f"{path} contradicts itself: its document is not what its engine reads.", PACK_AGAIN)
    step = section_of(content, Section.STEP)
    state_size = struct.unpack_from("<I", step)[0] if step else None
    if state_size != (None if manifest.stream is None else manifest.stream.state_size):
        raise BundleError(f"{path} contradicts itself: its document is not what its engine reads.", PACK_AGAIN)
    return manifest


def _stated_sections(manifest: Manifest) -> list[bytes]:
    """What a manifest says that the engine reads: labels, rules, no stop words, channels, golden examples."""
    return [
        strings(manifest.labels),
        _rules(manifest.numbers),
        strings((), looked_up=True),
        strings(manifest.numbers.channels),
        b"".join(map(_example, manifest.sequences)),
    ]


def _stated_numbers(manifest: Manifest) -> tuple[list[int], list[int]]:
    """The words of the header in front of what the program says, and those behind it."""
    limits, rules = manifest.graph.limits or Limits(), manifest.numbers
    least, most = rules.steps or limits.min_tokens or 1, rules.steps or limits.max_tokens or LARGEST
    first = [len(manifest.labels), _ACTIVATIONS.index(manifest.output.activation), 0, least, most]
    return first, [len(manifest.examples), 0, len(rules.channels)]


def _rules(rules: NumberInput) -> bytes:
    members = (
        (_INTEGER_SCALE, rules.integer_scale),
        (_MEAN, rules.mean),
        (_SCALE, rules.scale),
        (_CLIP, rules.clip),
        (_MISSING, None if rules.missing is None else (rules.missing,)),
        (_TRAINING_RANGE, None if rules.training_range is None else tuple(chain(*rules.training_range))),
    )
    flags = sum(flag for flag, value in members if value is not None)
    flags |= 0 if rules.pad_side is None else _PADDED
    flags |= _PADDED_LEFT if rules.pad_side == "left" else 0
    head = words([flags, rules.steps or 0, rules.window or 0, rules.hop or rules.window or 0])
    numbers = [number for _, value in members for number in value or ()]
    return head + struct.pack("<f", rules.pad_value) + _doubles(numbers)


def _doubles(numbers: Sequence[float]) -> bytes:
    return np.array(numbers, "<f8").tobytes()


def _examples_of(content: mmap.mmap) -> list[dict[str, Any]]:
    """The golden examples of a file that the engine has opened, as classifier.json says them."""
    section, header = section_of(content, Section.EXAMPLES), header_words(content)
    labels, count, channels = header[0], header[9], header[11]
    examples, at = [], 0
    for _ in range(count):
        steps = struct.unpack_from("<2I", section, at)[1]
        samples = np.frombuffer(section, "<f4", steps * channels, at + 8).reshape(steps, channels)
        at += 8 + samples.nbytes
        logits = np.frombuffer(section, "<f4", labels, at)
        at += logits.nbytes
        # The fewest digits that are the number again, as `export` writes them.
        rows = [[float(str(number)) for number in row] for row in samples]
        examples.append({"samples": rows, "logits": [float(str(number)) for number in logits]})
    return examples


def _example(example: NumberExample) -> bytes:
    # What float32 cannot hold is no number of the engine's, and not equal to one.
    with np.errstate(over="ignore"):
        samples, logits = np.array(example.samples, "<f4"), np.array(example.logits, "<f4")
    return words([0, len(samples)]) + samples.tobytes() + logits.tobytes()
