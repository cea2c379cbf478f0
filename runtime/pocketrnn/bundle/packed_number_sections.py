"""Encode and decode the rules and golden examples of a classifier of numbers in a packed file."""

from __future__ import annotations

import struct
from itertools import chain
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import NumberExample
from pocketrnn.bundle.packed_strings import encode_as_32_bit_words
from pocketrnn.numbers.number_input import NumberInput

__all__ = ["decode_number_examples", "encode_number_example", "encode_number_rules"]

_INTEGER_SCALE: Final = 1
_MEAN: Final = 2
_SCALE: Final = 4
_CLIP: Final = 8
_MISSING: Final = 16
_PADDED: Final = 32
_PADDED_LEFT: Final = 64
_TRAINING_RANGE: Final = 128


def encode_number_rules(rules: NumberInput) -> bytes:
    """Encode the rules for sequences of numbers as the rules section of a packed file."""
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
    head = encode_as_32_bit_words([flags, rules.steps or 0, rules.window or 0, rules.hop or rules.window or 0])
    numbers = [number for _, value in members for number in value or ()]
    return head + struct.pack("<f", rules.pad_value) + np.array(numbers, "<f8").tobytes()


def decode_number_examples(section: bytes, count: int, labels: int, channels: int) -> list[dict[str, Any]]:
    """Decode the section of golden examples of a classifier of numbers. Return each example as its object in
    classifier.json. The engine must have checked the section before."""
    examples, at = [], 0
    for _ in range(count):
        steps = struct.unpack_from("<2I", section, at)[1]
        samples = np.frombuffer(section, "<f4", steps * channels, at + 8).reshape(steps, channels)
        at += 8 + samples.nbytes
        logits = np.frombuffer(section, "<f4", labels, at)
        at += logits.nbytes
        # The fewest digits that parse to the same number, as `export` writes them.
        rows = [[float(str(number)) for number in row] for row in samples]
        examples.append({"samples": rows, "logits": [float(str(number)) for number in logits]})
    return examples


def encode_number_example(example: NumberExample) -> bytes:
    """Encode one golden example of a classifier of numbers: the number of steps, the samples and the logits."""
    # A number beyond the range of float32 becomes infinite and thus differs from every number of the engine.
    with np.errstate(over="ignore"):
        samples, logits = np.array(example.samples, "<f4"), np.array(example.logits, "<f4")
    return encode_as_32_bit_words([0, len(samples)]) + samples.tobytes() + logits.tobytes()
