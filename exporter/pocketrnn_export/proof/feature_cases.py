"""Make the cases for the proof of a module that takes features in addition to a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.text.features import Category, Features, Number, make_feature_marks
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.feature_call import draw_feature_numbers

# The sizes of numbers in ordinary cases, each as often as the others; and those that each number is given by itself,
# as the graph is given them.
_SIZES: Final = (0.0, 1e-3, 1.0, 1.0, 1.0, 10.0, 1e3)
_ALONE: Final = (0.0, 1e-3, 0.5, 1.0, -1.0, 3.0, -3.0, 10.0, -10.0, 100.0, -100.0, 1e3, -1e3, 1e4, -1e4)
# The owner's own numbers, before mean and scale.
_OWN: Final = (0.0, 1.0, -1.0, 5.0, 100.0)
# The tokens of the texts that have many features, one after the other; and the most rows of a batch.
_TOKENS: Final = (1, 6, 20)
_ROWS: Final = 256
_DRAWN: Final = 33


def add_features(
    cases: Mapping[str, Sequence[Case]], features: Features, fitted: Callable[[Case], Case], *, most: int | None
) -> dict[str, list[Case]]:
    """Add random features to the cases of a proof, and batches of one text that differ in features only.

    Args:
        cases: the inputs without features, as the graph takes them.
        features: the features.
        fitted: fits a case of one row to the sizes that the graph takes.
        most: the most rows of a batch; None for any number.

    Returns:
        the same cases with numbers of many sizes and all categories; and the kind `features`: every id of each
        category, and each number by itself at many sizes.
    """
    generator = np.random.default_rng(6)
    made = {
        kind: [_add_marks_to_case(case, _draw_rows(features, generator, case)) for case in some]
        for kind, some in cases.items()
    }
    rows = min(_ROWS, most or _ROWS)
    alone: list[Case] = []
    for name, numbers in _list_feature_rows(features, generator):
        for start in range(0, len(numbers), rows):
            some = numbers[start : start + rows]
            tokens = np.full((1, _TOKENS[len(alone) % len(_TOKENS)]), 1, np.int64)
            text = fitted(
                Case(
                    "text", generator.integers(0, _find_highest_id(cases) + 1, tokens.shape), np.array(tokens.shape[1:])
                )
            )
            repeated = Case(name, np.repeat(text.tokens, len(some), 0), np.repeat(text.lengths, len(some)))
            alone.append(_add_marks_to_case(repeated, some))
    return {**made, "features": alone}


def make_example_features(features: Features, rows: int) -> list[dict[str, Any]]:
    """Make feature values for some texts, in the owner's units: numbers around the mean, and each category in turn."""
    generator = np.random.default_rng(7)

    def make_value(feature: Number | Category, row: int) -> Any:
        if isinstance(feature, Category):
            return list(feature.values)[row % len(feature.values)]
        return round(feature.mean + feature.scale * float(generator.normal()), 3)

    return [{name: make_value(feature, row) for name, feature in features} for row in range(rows)]


def _find_highest_id(cases: Mapping[str, Sequence[Case]]) -> int:
    return max(int(case.tokens.max()) for some in cases.values() for case in some)


def _add_marks_to_case(case: Case, numbers: NDArray[np.float32]) -> Case:
    tokens = np.concatenate([make_feature_marks(numbers), case.tokens], axis=1)
    return Case(case.name, tokens, case.lengths + numbers.shape[1])


def _draw_rows(features: Features, generator: np.random.Generator, case: Case) -> NDArray[np.float32]:
    """Draw features for the rows of a case. Each row's numbers are scaled by one of `_SIZES`."""
    numbers: NDArray[np.float32] = draw_feature_numbers(features, generator.integers(0, 1 << 40, len(case.tokens)))
    sizes = generator.choice(_SIZES, len(case.tokens)).astype(np.float32)
    for column, (_, feature) in enumerate(features):
        if not isinstance(feature, Category):
            numbers[:, column] *= sizes
    return numbers


def _list_feature_rows(features: Features, generator: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield batches of features, each with the name of its case."""

    def draw_feature_rows(rows: int) -> NDArray[np.float32]:
        numbers: NDArray[np.float32] = draw_feature_numbers(features, generator.integers(0, 1 << 40, rows))
        return numbers

    yield "rows that differ in features only", draw_feature_rows(_DRAWN)
    for column, (name, feature) in enumerate(features):
        if isinstance(feature, Category):
            values: Any = feature.ids
        else:
            values = [*_ALONE, *((own - feature.mean) / feature.scale for own in _OWN)]
        numbers = draw_feature_rows(len(values))
        numbers[:, column] = np.array(values, np.float32)
        yield f"{name} of each {'id' if isinstance(feature, Category) else 'size'}", numbers
