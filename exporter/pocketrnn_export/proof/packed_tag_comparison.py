"""Compare the tags that the engine computes in C with those that the runtime computes in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.classifier import Classifier
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import InputError, ParityError, short_repr

# The tolerance for probabilities from float32 logits, summed in float32 and in double precision.
_NEAR: Final = 1e-6
_SpanLabelProbability = tuple[int, int, int | None, float | None]


def compare_tags(file: Path, texts: Sequence[str]) -> Comparison:
    """Compare the engine's tokens, positions, labels and probabilities with the runtime's, from the same logits. Return
    the result as a line of the proof.

    Raises:
        ParityError: the tags differ.
    """
    packed, classifier = import_native_module().Packed(file.read_bytes()), Classifier.load(file)
    largest, rows = 0.0, 0
    for text in texts:
        found, expected = _compute_engine_tags(packed, text), _compute_runtime_tags(classifier, text)
        apart = [abs(one[3] - other[3]) for one, other in zip(found, expected, strict=False) if one[3] and other[3]]
        if [row[:3] for row in found] != [row[:3] for row in expected] or not max(apart, default=0.0) <= _NEAR:
            raise ParityError(
                f"The engine and the runtime give the text {short_repr(text, 40)} different tags.",
                "This is a fault of pocketrnn. Report it with the bundle's classifier.json and the text.",
            )
        largest, rows = max([largest, *apart]), rows + len(expected)
    return Comparison("tags in Python", "tags in C", "texts", len(texts), rows, largest, 0)


def _compute_engine_tags(packed: Any, text: str) -> list[_SpanLabelProbability]:
    """Return the engine's tags of a text as rows (start, end, index of the label, probability); an empty list if the
    positions are unknown."""
    module = import_native_module()
    try:
        rows: list[_SpanLabelProbability] = packed.tag(text)
    except module.EngineError as error:
        if error.args[0] != module.PLACES:
            raise
        return []
    return rows


def _compute_runtime_tags(classifier: Classifier, text: str) -> list[_SpanLabelProbability]:
    """Return the runtime's tags of a text, in order, as rows (start, end, index of the label, probability); an empty
    list if the positions are unknown."""
    try:
        tags = classifier.tag(text)
    except InputError:
        return []
    rows: list[_SpanLabelProbability] = [
        (tag.start, tag.end, classifier.labels.index(tag.label), tag.probability) for tag in tags
    ]
    rows += [(start, end, None, None) for _, start, end in tags.untagged]
    return sorted(rows, key=lambda row: row[:2])
