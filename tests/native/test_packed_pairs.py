"""Packed files of two texts: the engine's own package answers pairs as pocketrnn's Classifier does; sizes of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from input_output_vectors import PAIRS
from packing_tools import logits_of

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.errors import InputError, TextError
from pocketrnn_export.forms.packed_file.size_dependent_values import (
    Span,
    fit_number_as_affine_in_length,
    multiply_sizes,
)
from pocketrnn_export.forms.packed_file.sizes_of_two_texts import (
    are_packed_factors_divisible,
    compute_size,
    fit_size_of_two_texts,
    pack_two_factors,
    unpack_two_factors,
)
from pocketrnn_native import EngineError, Packed, _engine

FILE = Path(__file__).parents[1] / "vectors" / "packed" / "pairs.prnn"


def test_the_package_of_the_engine_answers_pairs_as_the_runtime(
    alone: pocketrnn_native.Classifier, runtime: Classifier
) -> None:
    assert alone.predict(PAIRS) == runtime.predict(PAIRS)
    for pair in PAIRS:
        assert alone.classify(pair).probability == pytest.approx(runtime.classify(pair).probability, abs=1e-6)
    swapped = [(second, first) for first, second in PAIRS]
    assert np.abs(runtime.logits(PAIRS) - runtime.logits(swapped)).max() > 1e-3


def test_texts_of_very_different_lengths_are_answered_alike_in_both_ways_to_open_a_file(runtime: Classifier) -> None:
    generator, content = np.random.default_rng(0), FILE.read_bytes()
    engines = [Packed(content), Packed(content, 1 << 22), Packed(content, 0, True)]
    for sizes in ((1, 1), (1, 300), (300, 1), (70, 40), (40, 5000)):
        first, second = (generator.integers(0, 10, size) for size in sizes)
        row = np.array([*first, -2, *second])
        answers = [logits_of(engine, row) for engine in engines]
        for answer in answers[1:]:
            np.testing.assert_allclose(answer, answers[0], atol=1e-5)
        answered = runtime._engine.logits(row, np.array([len(row)])).logits[0]
        np.testing.assert_allclose(answers[0], answered, atol=1e-6)


def test_rows_that_are_not_two_texts_are_refused_by_a_status(
    alone: pocketrnn_native.Classifier, runtime: Classifier
) -> None:
    packed = Packed(FILE.read_bytes())
    for wrong, status in (
        ([3], _engine.TOO_SHORT),
        ([-2], _engine.TOO_SHORT),
        ([3, -2], _engine.TOO_SHORT),
        ([-2, 3], _engine.TOO_SHORT),
        ([3, 4], _engine.TOO_SHORT),
        ([3, -2, 4, -2, 5], _engine.ID),
        ([3, -2, 10], _engine.ID),
        ([10, -2, 3], _engine.ID),
    ):
        statuses = bytearray(1)
        ids, lengths = np.array(wrong, np.int32), np.array([len(wrong)], np.int64)
        packed.logits_of_ids(ids, lengths, np.empty((1, 3), np.float32), statuses)
        assert statuses[0] == status, wrong
    for refused in (lambda: packed.logits("oil"), lambda: packed.logits_beside("oil", [])):
        with pytest.raises(EngineError) as error:
            refused()
        assert error.value.args[0] == _engine.INPUT
    for item in ("oil", ("oil",), ("oil", 3), ("oil", {"stars": 1})):
        with pytest.raises(TextError):
            runtime.classify(item)
        with pytest.raises(TypeError):
            alone.classify(item)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="classify"):
        runtime.stream()


FACTORS = st.integers(-(1 << 20), 1 << 20)
LENGTHS = st.tuples(st.integers(1, 1 << 20), st.integers(1, 1 << 20))


@given(first=FACTORS, second=FACTORS, fixed=FACTORS, lengths=LENGTHS, by=st.integers(1, 64))
def test_two_factors_in_one_integer_are_added_and_multiplied_as_two(
    first: int, second: int, fixed: int, lengths: tuple[int, int], by: int
) -> None:
    factor = pack_two_factors(first, second)
    assert unpack_two_factors(factor) == (first, second)
    size = compute_size((factor, fixed), lengths)
    assert size == first * lengths[0] + second * lengths[1] + fixed
    product = multiply_sizes([(factor, fixed), (0, by)])
    assert product is not None
    assert compute_size(product, lengths) == by * size
    assert are_packed_factors_divisible(factor, by) == (first % by == second % by == 0)
    seen = [(1, 1), (1, 2), (2, 1), (7, 3), lengths]
    assert fit_number_as_affine_in_length(seen, [compute_size((factor, fixed), pair) for pair in seen]) == (
        factor,
        fixed,
    )


def test_a_size_that_is_not_of_both_lengths_is_not_fitted() -> None:
    seen = [(1, 1), (1, 2), (2, 1), (3, 5)]
    assert fit_size_of_two_texts(seen, [first * second for first, second in seen]) is None
    assert fit_size_of_two_texts(seen, [max(pair) for pair in seen]) is None
    assert fit_size_of_two_texts(seen[:2], [1, 2]) is None


def test_a_difference_of_two_lengths_has_every_sign() -> None:
    span, first, second = Span(pairs=True), (1, 0), (pack_two_factors(0, 1), 0)
    assert span.find_possible_signs_of_difference(first, second) == {-1, 0, 1}
    assert span.decide_comparison("GreaterOrEqual", (pack_two_factors(1, 1), 0), (0, 2)) is True
    assert span.decide_comparison("Less", first, second) is None
