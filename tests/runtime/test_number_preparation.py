"""Sequences of numbers are checked, scaled and padded by the rules before the graph gets them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import DataError, InputError, SequenceError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.tables.recording_reader import read_columns, stack_channels

TWO = ("x", "y")
TWO_AXES = ("ax", "ay")


def test_scaling_is_that_of_a_standard_scaler_rounded_once() -> None:
    numbers = np.random.default_rng(0).normal(3, 7, (50, 2))
    mean, scale = numbers.mean(0), numbers.std(0)
    rules = NumberInput(TWO, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))
    assert np.array_equal(rules.prepared(numbers), ((numbers - mean) / scale).astype(np.float32))


def test_steps_come_in_their_order_integers_missing_scale_clip() -> None:
    rules = NumberInput(("x",), integer_scale=(0.5,), missing=4.0, mean=(1.0,), scale=(2.0,), clip=(-1.0, 1.0))
    assert rules.prepared(np.array([[4], [8]], np.int16)).tolist() == [[0.5], [1.0]]
    # Numbers that are no integers are not multiplied.
    assert rules.prepared([[2.0], [math.nan], [-9.0]]).tolist() == [[0.5], [1.0], [-1.0]]


@pytest.mark.parametrize(
    "given",
    [
        np.array([[1, 2], [3, 4]], np.float32),
        [[1, 2], [3, 4]],
        ((1.0, 2.0), (3.0, 4.0)),
        pd.DataFrame({"y": [2, 4], "other": ["a", "b"], "x": [1, 3]}),
        pa.table({"y": [2.0, 4.0], "x": [1.0, 3.0]}),
        pa.array([[1.0, 2.0], [3.0, 4.0]]),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_sequence_comes_in_many_forms(given: object) -> None:
    made = NumberInput(TWO).prepared(given)
    assert (made.dtype, made.tolist()) == (np.float32, [[1.0, 2.0], [3.0, 4.0]])


def test_a_single_channel_needs_no_axis() -> None:
    assert NumberInput(("x",)).prepared([1, 2, 3]).shape == (3, 1)


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ([], "empty"),
        (np.zeros((0, 2)), "empty"),
        ([[1.0]], r"\[1, 1\].*2 channels"),
        ([1.0, 2.0, 3.0], r"2 channels"),
        (np.zeros((2, 2, 2)), "not a sequence"),
        ("1,2", "not a sequence"),
        (b"12", "not a sequence"),
        (None, "not a sequence"),
        ({"x": [1], "y": [2]}, "not a sequence"),
        ([[1, 2], [3]], "not a sequence"),
        ([["a", "b"]], "not a sequence"),
        (np.zeros((2, 2), complex), "not a sequence"),
        ([[math.nan, 1.0]], "'x' is missing.*step 0"),
        ([[1.0, None]], "'y' is missing.*step 0"),
        ([[1.0, 2.0], [1.0, -math.inf]], "'y' .*infinite at step 1"),
        ([[1e300, 0.0]], "'x' is too large"),
        (pd.DataFrame({"x": [1.0]}), "no column 'y'"),
        (pd.DataFrame({"x": ["a"], "y": ["b"]}), "not a sequence"),
    ],
)
def test_what_is_no_such_sequence_is_refused_in_a_sentence(sequence: object, said: str) -> None:
    with pytest.raises(SequenceError, match=said) as caught:
        NumberInput(TWO).prepared(sequence)
    assert "\n" not in caught.value.problem


def test_a_fixed_number_of_steps_is_filled_up_on_the_side_that_the_rules_say() -> None:
    right = NumberInput(("x",), steps=3, pad_side="right", pad_value=-1.0)
    left = NumberInput(("x",), steps=3, pad_side="left", pad_value=-1.0)
    assert right.prepared([5.0]).tolist() == [[5.0], [-1.0], [-1.0]]
    assert left.prepared([5.0]).tolist() == [[-1.0], [-1.0], [5.0]]
    for rules, sequence in ((NumberInput(("x",), steps=3), [5.0]), (right, [1.0] * 4)):
        with pytest.raises(SequenceError, match="3"):
            rules.prepared(sequence)


@pytest.mark.parametrize(
    "members",
    [
        {"channels": ()},
        {"channels": "xy"},
        {"channels": ("x", "x")},
        {"channels": ("x", "")},
        {"mean": (1.0,)},
        {"scale": (1.0, 0.0)},
        {"scale": (1.0, math.nan)},
        {"mean": (math.inf, 0.0)},
        {"integer_scale": (0.0, 1.0)},
        {"units": ("m",)},
        {"clip": (1.0, 1.0)},
        {"clip": (2.0, math.nan)},
        {"missing": math.nan},
        {"steps": 0},
        {"steps": 2.5},
        {"window": -1},
        {"hop": 3},
        {"rate": 0},
        {"pad_side": "right"},
        {"pad_side": "up", "steps": 3},
        {"window": 9, "steps": 8},
    ],
)
def test_rules_that_cannot_be_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        NumberInput(**{"channels": TWO, **members})


_NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=examples(25, 100), deadline=None)
@given(
    mean=st.none() | st.tuples(_NUMBERS, _NUMBERS),
    scale=st.none() | st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)),
    clip=st.none() | st.tuples(st.floats(-1e3, -1), st.floats(1, 1e3)),
    missing=st.none() | _NUMBERS,
    steps=st.none() | st.integers(4, 9),
    rate=st.none() | st.floats(0.1, 1e5),
)
def test_rules_are_read_as_they_were_written(**members: Any) -> None:
    rules = NumberInput(TWO, **members)
    assert NumberInput.from_document(rules.document) == rules


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("t,ax,ay\n1,0.5,-2\n2,1e-3,3\n", [[0.5, -2], [0.001, 3]]),
        ("\ufefft;ax;ay\n1;0,5;-2,0\n2;1,0e-3;\n", [[0.5, -2], [0.001, math.nan]]),
        ("t\tax\tay\n1\t0.5\t-2\n", [[0.5, -2]]),
    ],
)
def test_recordings_of_any_countrys_spreadsheet_are_read(content: str, expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / "walk.csv").write_text(content, encoding="utf-8")
    columns = read_columns(str(tmp_path / "walk.csv"), "csv", TWO_AXES)
    assert np.array_equal(stack_channels(columns, TWO_AXES, "walk.csv"), np.array(expected), equal_nan=True)


@pytest.mark.parametrize("field", ["1.234,5", "1,2,3", "a,b"])
def test_a_field_that_is_no_number_is_refused_with_semicolons_too(field: str, tmp_path: Path) -> None:
    (tmp_path / "walk.csv").write_text(f"ax;ay\n{field};1\n", encoding="utf-8")
    columns = read_columns(str(tmp_path / "walk.csv"), "csv", TWO_AXES)
    with pytest.raises(DataError, match="'ax', row 1"):
        stack_channels(columns, TWO_AXES, "walk.csv")
