"""Sequences of numbers are checked, scaled and padded by the rules before the graph gets them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import DataError, InputError, SequenceError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.recording_stream import NumberStream
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


COUNTS = NumberInput(TWO_AXES, integer_scale=(0.5, 0.25), missing=7.0)


@pytest.mark.parametrize(
    "given",
    [
        [[2, 4], [None, 8]],
        np.ma.MaskedArray(np.array([[2, 4], [9, 8]], np.int16), [[False, False], [True, False]]),
        pd.DataFrame({"ay": [4, 8], "ax": [2, None]}),
        pa.table({"ay": pa.array([4, 8], pa.int16()), "ax": pa.array([2, None], pa.int16())}),
        pa.array([[2, 4], [None, 8]]),
        np.ma.MaskedArray([[1.0, 1.0], [np.inf, 2.0]], [[False, False], [True, False]]),
    ],
    ids=["list", "masked", "pandas", "arrow-table", "arrow-lists", "masked-floats"],
)
def test_a_gap_does_not_make_a_sensors_integers_numbers_in_the_channels_unit(given: Any) -> None:
    assert COUNTS.prepared(given).tolist() == [[1.0, 1.0], [7.0, 2.0]]
    with pytest.raises(SequenceError, match=r"'ax' .* step 1"):
        NumberInput(TWO_AXES, integer_scale=(0.5, 0.25)).prepared(given)
    # Without a scale for integers, they are floats.
    assert NumberInput(TWO_AXES, missing=7.0).prepared(given)[1, 0] == 7.0


@pytest.mark.parametrize(
    ("rows", "scale", "expected"),
    [
        ("2,4\n,8\n", (0.5, 0.25), [[1, 1], [7, 2]]),
        ("2,4\nNaN,8\n", (0.5, 0.25), [[1, 1], [7, 2]]),
        (",4\n,8\n", (0.5, 0.25), [[7, 1], [7, 2]]),
        # Decimal numbers count where they would be multiplied, too.
        ("2,4\n3,8.5\n", (0.5, 1.0), [[1, 4], [1.5, 8.5]]),
        ("2,4\n3,8.5\n", (0.5, 0.25), [[2, 4], [3, 8.5]]),
        ("2,4.0\n,8\n", (0.5, 0.25), [[2, 4], [7, 8]]),
    ],
)
def test_whole_numbers_of_a_file_are_a_sensors_beside_empty_fields(
    rows: str, scale: tuple[float, float], expected: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "walk.csv").write_text(f"ax,ay\n{rows}", encoding="utf-8")
    columns = read_columns(str(tmp_path / "walk.csv"), "csv", TWO_AXES)
    samples = stack_channels(columns, TWO_AXES, "walk.csv", scale)
    assert NumberInput(TWO_AXES, integer_scale=scale, missing=7.0).prepared(samples).tolist() == expected


def test_integers_with_gaps_of_a_parquet_file_stay_integers(tmp_path: Path) -> None:
    table = pa.table({name: pa.array(values, pa.int32()) for name, values in (("ax", [2, None]), ("ay", [4, 8]))})
    pq.write_table(table, tmp_path / "walk.parquet")
    columns = read_columns(str(tmp_path / "walk.parquet"), "parquet", TWO_AXES)
    samples = stack_channels(columns, TWO_AXES, "walk.parquet", COUNTS.integer_scale)
    assert COUNTS.prepared(samples).tolist() == [[1.0, 1.0], [7.0, 2.0]]


class _Echo:
    """In place of the engine and the answers: the samples of each window."""

    input = COUNTS
    check_numbers = None

    def check_arriving_samples(self, samples: Any, first_step: int) -> None:
        COUNTS.check_samples(samples, first_step)

    def prepared(self, sequence: object) -> Any:
        return COUNTS.prepared(sequence)

    def compute_logits_of_prepared_sequences(self, sequences: list[Any]) -> list[Any]:
        return sequences

    def make_predictions_or_values(self, answers: list[Any], top: int) -> list[Any]:  # noqa: ARG002
        return answers


def test_a_gap_in_one_piece_of_a_stream_leaves_the_other_pieces_as_they_are() -> None:
    echo: Any = _Echo()
    stream = NumberStream(echo, echo, 3, 2, 1)
    pieces: list[Any] = [[2, 4], [[None, 8]], np.array([[6, 0], [8, 4]], np.int16), [[2, None]]]
    windows = [window.answer.tolist() for piece in pieces for window in stream.push(piece)]
    assert windows == [[[1, 1], [7, 2], [3, 0]], [[3, 0], [4, 1], [1, 7]]]
    with pytest.raises(SequenceError, match="the type float64"):
        stream.push([0.5, 0.5])
