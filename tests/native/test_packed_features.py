"""Packed files of texts with features: the engine's own package answers and refuses as pocketrnn's Classifier does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from input_output_vectors import FEATURES, WITH_FEATURES
from packing_tools import logits_of
from slow_case_sampling import examples

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.bundle.packed_features import decode_features, encode_features
from pocketrnn.bundle.packed_strings import decode_strings, encode_strings
from pocketrnn.errors import InputError, TextError
from pocketrnn.text.features_beside_text import Category, Number, make_features, make_features_document
from pocketrnn_native import EngineError, Packed, _engine

FILE = Path(__file__).parents[1] / "vectors" / "packed" / "features.prnn"
TEXT, VALUES = WITH_FEATURES[0]


def test_the_package_of_the_engine_answers_texts_with_features_as_the_runtime(
    alone: pocketrnn_native.Classifier, runtime: Classifier
) -> None:
    assert alone.predict(WITH_FEATURES) == runtime.predict(WITH_FEATURES)
    for item in WITH_FEATURES:
        found, expected = alone.classify(item, 3), runtime.classify(item, 3)
        assert found.label == expected.label
        assert found.probability == pytest.approx(expected.probability, abs=1e-6)


WRONG: dict[str, tuple[Any, str]] = {
    "a text alone": (TEXT, "features"),
    "two texts": ((TEXT, TEXT), "features"),
    "a feature is missing": ((TEXT, {"kind": "film", "user": "ada", "stars": 1}), "price"),
    "a feature is None": ((TEXT, {**VALUES, "stars": None}), "stars"),
    "an unknown feature": ((TEXT, {**VALUES, "colour": 1}), "colour"),
    "a number that is a string": ((TEXT, {**VALUES, "price": "3"}), "price"),
    "a number that is a truth value": ((TEXT, {**VALUES, "price": True}), "price"),
    "a number that is missing": ((TEXT, {**VALUES, "price": math.nan}), "price"),
    "a number that is infinite": ((TEXT, {**VALUES, "price": -math.inf}), "price"),
    "a number beyond float32": ((TEXT, {**VALUES, "stars": 1e39}), "stars"),
    "a number beyond float64": ((TEXT, {**VALUES, "stars": 10**400}), "stars"),
    "a category that is a number": ((TEXT, {**VALUES, "kind": 0.5}), "kind"),
    "an unknown value": ((TEXT, {**VALUES, "kind": "song"}), "song"),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_the_runtime_refuses_the_package_of_the_engine_refuses(
    why: str, alone: pocketrnn_native.Classifier, runtime: Classifier
) -> None:
    item, named = WRONG[why]
    with pytest.raises(TextError, match=named):
        runtime.classify(item)
    with pytest.raises((ValueError, TypeError), match=named):
        alone.classify(item)
    with pytest.raises((ValueError, TypeError), match=r"position 1"):
        alone.predict([WITH_FEATURES[0], item])


@given(values=st.lists(st.floats(width=64) | st.text(max_size=3), min_size=4, max_size=4))
@settings(max_examples=examples(100, 1000), deadline=None)
def test_features_are_made_as_in_python_to_the_last_bit(values: list[float | str]) -> None:
    packed = Packed(FILE.read_bytes())
    for index, ((name, feature), value) in enumerate(zip(FEATURES, values, strict=True)):
        if isinstance(value, str) != isinstance(feature, Category):
            with pytest.raises(EngineError) as error:
                packed.feature(index, value)
            assert error.value.args[0] == _engine.ARGUMENT
            continue
        try:
            expected = float(np.float32(feature.encode(value, name)))
        except TextError:
            with pytest.raises(EngineError) as error:
                packed.feature(index, value)
            assert error.value.args[0] in (_engine.UNKNOWN, _engine.NOT_FINITE)
        else:
            assert packed.feature(index, value) == expected


def test_rows_that_no_text_has_are_refused_by_a_status(runtime: Classifier) -> None:
    packed = Packed(FILE.read_bytes())
    row = np.array(runtime.encode(WITH_FEATURES[0]), np.int64)
    np.testing.assert_allclose(logits_of(packed, row), runtime.logits([WITH_FEATURES[0]])[0], atol=1e-6)
    infinite = ~int(np.array([np.inf], np.float32).view(np.uint32)[0])
    for wrong, status in (
        (row[:3], _engine.TOO_SHORT),
        (row[:4], _engine.TOO_SHORT),
        ([infinite, *row[1:]], _engine.NOT_FINITE),
        ([*row, -1], _engine.ID),
        ([*row, 10**6], _engine.ID),
        ([row[0], ~int(np.array([4], np.float32).view(np.uint32)[0]), *row[2:]], _engine.ID),
    ):
        ids, statuses = np.array(wrong).astype(np.int32), bytearray(1)
        packed.logits_of_ids(ids, np.array([len(ids)]), np.empty((1, 3), np.float32), statuses)
        assert statuses[0] == status
    for refused in (lambda: packed.logits("oil"), lambda: packed.logits_beside("oil", "gas")):
        with pytest.raises(EngineError) as error:
            refused()
        assert error.value.args[0] == _engine.INPUT


def test_methods_of_a_text_alone_are_refused(runtime: Classifier) -> None:
    for refused in (lambda: runtime.stream(), lambda: runtime.embed(["oil"]), lambda: runtime.explain("oil")):
        with pytest.raises(InputError, match="classify"):
            refused()


def test_the_section_of_features_is_read_as_it_was_written() -> None:
    many = {f"a{i}": i for i in range(40_000)}
    features = make_features(
        {"big": Category(many), "n": Number(-1e-9, 1e300), "one": Category({"": 5, "\ud800\U0001f600": 1}, unknown=9)}
    )
    assert decode_features(encode_features(features)) == make_features_document(features)
    for strings in ([], ["a"] * 63, ["ab"] * 64, ["abc"] * 65, list(many)):
        section = encode_strings(strings, looked_up=len(set(strings)) == len(strings))
        assert decode_strings(b"1234" + section, 4) == (strings, 4 + len(section))
