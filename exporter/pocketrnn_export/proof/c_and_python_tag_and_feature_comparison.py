"""Compare the tags, and the features of a text, that the engine computes in C with those that the runtime computes in
Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.classifier import Classifier
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import InputError, ParityError, TextError, short_repr
from pocketrnn.text.features_beside_text import Category, Feature, Features

# The tolerance for probabilities from float32 logits, summed in float32 and in double precision.
_NEAR: Final = 1e-6
_SpanLabelProbability = tuple[int, int, int | None, float | None]


def compare_tags_of_engine_and_runtime(file: Path, texts: Sequence[str]) -> Comparison:
    """Tag texts with the engine in C and with the runtime in Python, both from the logits that a packed file gives, and
    compare the positions, labels and probabilities of the tags. Return the entry for the proof.

    Raises:
        ParityError: a position or label differs, or a probability by more than 1e-6.
    """
    packed, classifier = import_native_module().Packed(file.read_bytes()), Classifier.load(file)
    largest, rows = 0.0, 0
    for text in texts:
        found, expected = _compute_engine_tags(packed, text), _compute_runtime_tags(classifier, text)
        apart = [abs(one[3] - other[3]) for one, other in zip(found, expected, strict=False) if one[3] and other[3]]
        if [row[:3] for row in found] != [row[:3] for row in expected] or not max(apart, default=0.0) <= _NEAR:
            raise ParityError(
                f"The native engine gives the text {short_repr(text, 40)} other tags than the runtime.",
                "This is a fault of pocketrnn. Report it with the bundle's classifier.json and the text.",
            )
        largest, rows = max([largest, *apart]), rows + len(expected)
    return Comparison("tags in Python", "tags in C", "texts", len(texts), rows, largest, 0)


def _compute_engine_tags(packed: Any, text: str) -> list[_SpanLabelProbability]:
    """Return the engine's tags of a text as tuples (start, end, index of the label, probability). Return an empty list
    if the engine cannot tell the positions of the tokens in the text."""
    module = import_native_module()
    try:
        rows: list[_SpanLabelProbability] = packed.tag(text)
    except module.EngineError as error:
        if error.args[0] != module.PLACES:
            raise
        return []
    return rows


def _compute_runtime_tags(classifier: Classifier, text: str) -> list[_SpanLabelProbability]:
    """Return the runtime's tags of a text, in order, as tuples (start, end, index of the label, probability); the last
    two are None for a token without a tag. Return an empty list if the runtime cannot tag the text."""
    try:
        tags = classifier.tag(text)
    except InputError:
        return []
    rows: list[_SpanLabelProbability] = [
        (tag.start, tag.end, classifier.labels.index(tag.label), tag.probability) for tag in tags
    ]
    rows += [(start, end, None, None) for _, start, end in tags.untagged]
    return sorted(rows, key=lambda row: row[:2])


# --- Features ---

# Numbers as an owner may have them, and such that no float32 holds.
_NUMBERS: Final = (0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 1e-300, 1e6 + 0.1, 16777217.0, 3.4028235e38, 1e39, np.nan, -np.inf)
_DRAWN: Final = 200
# A value that no category has.
_OTHER: Final = "\N{REPLACEMENT CHARACTER}"


def compare_features_of_engine_and_runtime(file: Path, features: Features) -> Comparison:
    """Encode the values of features, numbers and categories, in the engine in C and in the runtime in Python, and
    compare the float32 results exactly. Return the entry for the proof.

    Raises:
        ParityError: a result differs, or only one of the two refuses a value.
    """
    packed, count = import_native_module().Packed(file.read_bytes()), 0
    for index, (name, feature) in enumerate(features):
        for value in _list_feature_values_to_try(feature):
            found, expected = _encode_in_engine(packed, index, value), _encode_in_runtime(feature, name, value)
            if found != expected:
                raise ParityError(
                    f"For the feature {name}={short_repr(value, 40)}, the native engine computes {found}, but the "
                    f"runtime computes {expected}. (None means that the value is refused.)",
                    "This is a fault of pocketrnn. Report it with the bundle's classifier.json.",
                )
            count += 1
    return Comparison("features in Python", "features in C", "features", count, count, 0.0, 0)


def _list_feature_values_to_try(feature: Feature) -> Iterator[Any]:
    """Yield the values of a feature to compare: for a category, all known values and two unknown ones; for a number,
    ordinary and extreme numbers."""
    if isinstance(feature, Category):
        yield from (*feature.values, "", _OTHER)
        return
    generator = np.random.default_rng(8)
    own = (feature.mean + feature.scale * generator.normal(size=_DRAWN)).tolist()
    yield from (*_NUMBERS, feature.mean, feature.mean + feature.scale, *own)
    yield from (generator.normal(size=_DRAWN) * 10.0 ** generator.integers(-6, 9, _DRAWN)).tolist()


def _encode_in_engine(packed: Any, index: int, value: float | str) -> float | None:
    """Return the number that the engine in C computes for a value of the feature with this index, or None if the engine
    refuses the value."""
    module = import_native_module()
    try:
        return float(packed.feature(index, value))
    except module.EngineError as error:
        if error.args[0] not in (module.UNKNOWN, module.NOT_FINITE):
            raise
        return None


def _encode_in_runtime(feature: Feature, name: str, value: float | str) -> float | None:
    try:
        return float(np.float32(feature.encode(value, name)))
    except TextError:
        return None
