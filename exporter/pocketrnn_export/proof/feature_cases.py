"""Make cases, and example values of features, for a module that takes features in addition to a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.text.features_beside_text import Category, Features, Number, encode_numbers_as_negative_ids
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.character_pair_and_feature_calls import draw_feature_numbers

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


def add_features_and_feature_cases(
    cases: Mapping[str, Sequence[Case]], features: Features, fit_case: Callable[[Case], Case], *, most_rows: int | None
) -> dict[str, list[Case]]:
    """Return the batches of a proof with random features added to each row. Batches of a further kind, `features`, are
    added: each repeats one text with different features (random ones, every id of each category, extreme numbers).

    Args:
        cases: the batches without features, by kind.
        features: the features that the graph takes.
        fit_case: a function that fits a batch of one row to the sizes that the graph takes.
        most_rows: the most rows of a batch; None for any number.
    """
    generator = np.random.default_rng(6)
    made = {
        kind: [
            _add_features_to_case(case, _draw_feature_rows_of_many_magnitudes(features, generator, len(case.tokens)))
            for case in some
        ]
        for kind, some in cases.items()
    }
    rows = min(_ROWS, most_rows or _ROWS)
    id_count = 1 + max(int(case.tokens.max()) for some in cases.values() for case in some)
    alone: list[Case] = []
    for name, numbers in _draw_named_feature_batches(features, generator):
        for start in range(0, len(numbers), rows):
            some = numbers[start : start + rows]
            length = _TOKENS[len(alone) % len(_TOKENS)]
            text = fit_case(Case("text", generator.integers(0, id_count, (1, length)), np.array([length])))
            repeated = Case(name, np.repeat(text.tokens, len(some), 0), np.repeat(text.lengths, len(some)))
            alone.append(_add_features_to_case(repeated, some))
    return {**made, "features": alone}


def make_example_features(features: Features, rows: int) -> list[dict[str, Any]]:
    """Return a dict of feature values, by name, for each of `rows` texts, as a user gives them: numbers around the
    feature's mean, and each category in turn."""
    generator = np.random.default_rng(7)

    def make_value(feature: Number | Category, row: int) -> Any:
        if isinstance(feature, Category):
            return list(feature.values)[row % len(feature.values)]
        return round(feature.mean + feature.scale * float(generator.normal()), 3)

    return [{name: make_value(feature, row) for name, feature in features} for row in range(rows)]


def _add_features_to_case(case: Case, numbers: NDArray[np.float32]) -> Case:
    tokens = np.concatenate([encode_numbers_as_negative_ids(numbers), case.tokens], axis=1)
    return Case(case.name, tokens, case.lengths + numbers.shape[1])


def _draw_feature_rows(features: Features, generator: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Draw random features, float32 [rows, features]: numbers and ids of categories, as the graph takes them."""
    numbers: NDArray[np.float32] = draw_feature_numbers(features, generator.integers(0, 1 << 40, rows))
    return numbers


def _draw_feature_rows_of_many_magnitudes(
    features: Features, generator: np.random.Generator, rows: int
) -> NDArray[np.float32]:
    """Draw random features, float32 [rows, features], as the graph takes them. The numbers of each row are multiplied
    by a random factor between 0 and 1,000."""
    numbers = _draw_feature_rows(features, generator, rows)
    sizes = generator.choice(_SIZES, rows).astype(np.float32)
    for column, (_, feature) in enumerate(features):
        if not isinstance(feature, Category):
            numbers[:, column] *= sizes
    return numbers


def _draw_named_feature_batches(
    features: Features, generator: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield batches of features, float32 [rows, features], each with a name for the proof. The first has random
    features. Then follows a batch for each feature, in which this feature takes all ids of its category, or numbers
    from 0 to 10,000 and their negatives; the other features are random."""
    yield "rows that differ in features only", _draw_feature_rows(features, generator, _DRAWN)
    for column, (name, feature) in enumerate(features):
        if isinstance(feature, Category):
            values: Any = feature.ids
        else:
            values = [*_ALONE, *((own - feature.mean) / feature.scale for own in _OWN)]
        numbers = _draw_feature_rows(features, generator, len(values))
        numbers[:, column] = np.array(values, np.float32)
        yield f"{name} of each {'id' if isinstance(feature, Category) else 'size'}", numbers
