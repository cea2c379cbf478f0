"""Files of labelled sequences of numbers: what is read of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pocketrnn.errors import DataError, InputError
from pocketrnn_training.rows.sequence_files import read_sequences
from pocketrnn_training.settings.sequence_reading_options import SequenceOptions

HEAD = "# a comment\n@problemName walks\n@timeStamps false\n@univariate false\n@classLabel true up down\n@data\n"


def written(tmp_path: Path, text: str, name: str = "walks.ts") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ts_files_hold_sequences_of_any_length_with_gaps(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "1,2,?:4,5,NaN:up\n\n 7 : 8e-1 : down \n")
    data = read_sequences([path], SequenceOptions(missing=0.0))
    assert [sequence.tolist() for sequence in data.sequences][1] == [[7.0, 0.8]]
    assert np.isnan(data.sequences[0][2]).all()
    assert (data.labels, data.targets.tolist(), data.rules.channels) == (
        ("down", "up"),
        [1, 0],
        ("channel_1", "channel_2"),
    )
    assert data.format_row(1) == f"line 9 of {path}: 1 step"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line @data"),
        ("1,2:up\n", "before the line @data"),
        (HEAD, "holds no sequences"),
        (HEAD + "1,2:3,4:up\n", "same label, 'up'"),
        (HEAD + "1,2:3:up\n", "samples: 2, 1"),
        (HEAD + "1,2:3,x:up\n", "'x' in line 7"),
        (HEAD + "1,:3,4:up\n", "'' in line 7"),
        (HEAD + "1,2:3,4:side\n", "The label 'side'"),
        (HEAD + "1,2:3,4:\n", "[Ll]ine .* colon"),
        (HEAD + "1,2\n", "colon and"),
        (HEAD + "1:2:up\n1:down\n", "has 1 channels"),
        (HEAD + "1:inf:up\n", "infinite"),
        (HEAD + "1:?:up\n", "missing"),
        (HEAD.replace("@timeStamps false", "@timeStamps true"), "have time stamps"),
        (HEAD.replace("@timeStamps false", "@timeStamps maybe"), "true or false"),
        (HEAD.replace("@timeStamps false", "@targetLabel true"), "@targetLabel true"),
        (HEAD.replace("@classLabel true up down", "@classLabel false"), "not declare .*labels"),
        (HEAD.replace("@univariate false", "@dimensions two"), "whole number"),
        (HEAD.replace("@univariate false", "@dimensions 3") + "1:2:up\n", "has 2 channels"),
        (HEAD.replace("@univariate false", "@univariate true") + "1:2:up\n", "has 2 channels"),
        (HEAD.replace("@univariate false", "@equalLength true\n@seriesLength 3") + "1,2:1,2:up\n", "every line has 3"),
        (HEAD.replace("@univariate false", "@missing false") + "1:?:up\n", "@missing false"),
    ],
)
def test_ts_files_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_sequences([written(tmp_path, text)])


def test_npz_files_hold_arrays_with_or_without_lengths(tmp_path: Path) -> None:
    x = np.arange(12).reshape(2, 3, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([3, 4]), lengths=np.array([2, 3]))
    data = read_sequences([tmp_path / "a.npz"], SequenceOptions(("ax", "ay"), rate=50.0))
    assert [sequence.tolist() for sequence in data.sequences] == [x[0, :2].tolist(), x[1].tolist()]
    assert (data.labels, data.rules.channels, data.rules.rate) == (("3", "4"), ("ax", "ay"), 50.0)
    np.savez(tmp_path / "b.npz", x=np.ones((2, 5), np.float32), y=np.array(["up", "down"]))
    assert read_sequences([tmp_path / "b.npz"]).sequences[0].shape == (5, 1)
    with pytest.raises(DataError, match="has 1 channels, but sequence 0"):
        read_sequences([tmp_path / "a.npz", tmp_path / "b.npz"])
    with pytest.raises(InputError, match="names 3 channels"):
        read_sequences([tmp_path / "a.npz"], SequenceOptions(("a", "b", "c")))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((2, 3))}, "no array 'y'"),
        ({"y": [1, 2]}, "no array 'x'"),
        ({"x": np.ones(3), "y": [1]}, r"shape \[3\]"),
        ({"x": np.ones((2, 0, 1)), "y": [1, 2]}, "shape"),
        ({"x": np.array([["a"]]), "y": [1]}, "shape"),
        ({"x": np.ones((2, 3)), "y": [1.5, 2]}, "y of"),
        ({"x": np.ones((2, 3)), "y": ["a", ""]}, "empty label"),
        ({"x": np.ones((2, 3)), "y": [1]}, "y has 1"),
        ({"x": np.ones((2, 3)), "y": [1, 2], "lengths": [3, 4]}, "lengths of"),
        ({"x": np.ones((2, 3)), "y": [1, 2], "lengths": [0, 3]}, "lengths of"),
        ({"x": np.ones((2, 3)), "y": [1, 2], "lengths": [3]}, "lengths has 1"),
        ({"x": np.array([np.ones(2), np.ones(3)], dtype=object), "y": [1, 2]}, "Python objects"),
    ],
)
def test_npz_files_that_cannot_be_meant_are_refused(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        read_sequences([tmp_path / "a.npz"])


def test_a_damaged_or_missing_npz_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_sequences([tmp_path / "a.npz"])
    written(tmp_path, "x,y\n", "a.npz")
    with pytest.raises(DataError, match=r"a\.npz.*`x` \[sequences"):
        read_sequences([tmp_path / "a.npz"])


def test_tables_have_a_column_for_each_channel_and_one_that_parts_the_sequences(tmp_path: Path) -> None:
    rows = {"walk": ["b", "b", "a", "a"], "ax": [1, 2, 3, 4], "ay": [0.5, 0.5, 0.25, 0.0], "label": [7, 7, 8, 8]}
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values(), strict=True))]
    pyarrow.parquet.write_table(pa.table(rows), tmp_path / "walks.parquet")
    options = SequenceOptions(("ay", "ax"), "walk")
    for path in (written(tmp_path, "\n".join(lines), "walks.csv"), tmp_path / "walks.parquet"):
        data = read_sequences([path], options)
        assert [sequence.tolist() for sequence in data.sequences] == [[[0.5, 1], [0.5, 2]], [[0.25, 3], [0.0, 4]]]
        assert (data.labels, data.names[1]) == (("7", "8"), f"sequence a of {path}")
    whole = read_sequences([tmp_path / "walks.csv"], SequenceOptions(("ax",), window=2))
    assert [sequence.tolist() for sequence in whole.sequences] == [[[1], [2]], [[3], [4]]]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("ax,label\n1,a\n", SequenceOptions(), "walks.csv .*columns.* channels"),
        ("ax,label\n1,a\n", SequenceOptions(("az",)), "no column 'az'"),
        ("ax,label\n1,a\n", SequenceOptions(("label",)), "as a channel"),
        ("ax,label\n1,a\n", SequenceOptions(("ax",), "ax"), "as a channel"),
        ("ax,label\n1,a\n", SequenceOptions(("ax",), "walk"), "no column 'walk'"),
        ("ax,label\n1,a\n2,\n", SequenceOptions(("ax",)), "Row 2 .* has no label"),
        ("ax,label\nx,a\n", SequenceOptions(("ax",)), "'x' .*number"),
        ("ax,label\n", SequenceOptions(("ax",)), "has no rows"),
        ("ax,label\n1,a\n2,b\n", SequenceOptions(("ax",)), "has several labels"),
        ("ax,label\n1,a\n2,b\n", SequenceOptions(("ax",), window=2), "A window has 2 steps"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(
    tmp_path: Path, text: str, options: SequenceOptions, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_sequences([written(tmp_path, text, "walks.csv")], options)


def test_a_file_of_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"walks\.arff .*\.csv"):
        read_sequences([written(tmp_path, "", "walks.arff")])


def arrays(tmp_path: Path, shape: tuple[int, ...], **more: Any) -> Path:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(np.prod(shape)).reshape(shape), y=np.array(["up", "down"] * (shape[0] // 2)), **more)
    return path


def test_arrays_with_channels_first_are_turned_where_that_is_said_or_sure_and_else_told(tmp_path: Path) -> None:
    path = arrays(tmp_path, (2, 3, 10))
    told = read_sequences([path])
    assert told.sequences[0].shape == (3, 10)
    assert "--channels-first" in told.notes[0]
    for options in (SequenceOptions(channels_first=True), SequenceOptions(("a", "b", "c"))):
        turned = read_sequences([path], options)
        assert turned.sequences[1].tolist() == told.sequences[1].T.tolist()
    assert "size 3, which is the number of named channels" in turned.notes[0]
    # As they are meant here.
    assert read_sequences([arrays(tmp_path, (2, 10, 3))]).notes == ()
    assert read_sequences([arrays(tmp_path, (2, 3, 3))], SequenceOptions(("a", "b", "c"))).notes == ()


def test_steps_are_put_in_the_order_of_their_times(tmp_path: Path) -> None:
    rows = "who,when,x,label\nb,2024-05-01T10:00:03Z,4,down\na,{},2,up\nb,2024-05-01T10:00:01Z,3,down\na,{},1,up\n"
    path = written(tmp_path, rows.format("2024-05-01T10:00:02.5Z", "2024-05-01T10:00:02.25Z"), "steps.csv")
    options = SequenceOptions(("x",), "who", time_column="when")
    data = read_sequences([path], options)
    assert sorted(s[:, 0].tolist() for s in data.sequences) == [[1, 2], [3, 4]]
    numbers = written(tmp_path, "t,x,label\n30,3,up\n4,1,up\n4,2,up\n", "numbers.csv")
    other = written(tmp_path, "t,x,label\n1,0,down\n", "other.csv")
    ordered = read_sequences([numbers, other], SequenceOptions(("x",), time_column="t"))
    assert ordered.sequences[0][:, 0].tolist() == [1, 2, 3]
    for text, said in (("t,x,label\nnoon,1,up\n", "'noon'"), ("t,x,label\n1,1,up\nnan,1,up\n", "Row 2 .*'t'")):
        with pytest.raises(DataError, match=said):
            read_sequences([written(tmp_path, text, "wrong.csv")], SequenceOptions(("x",), time_column="t"))


def test_whole_numbers_of_a_sensor_have_a_scale_and_units(tmp_path: Path) -> None:
    data = read_sequences([arrays(tmp_path, (2, 4, 1))], SequenceOptions(integer_scale=(0.5,), units=("g",)))
    assert (data.rules.integer_scale, data.rules.units) == ((0.5,), ("g",))
    assert data.rules.convert_to_channel_units(data.sequences[0]).tolist() == [[0.0], [0.5], [1.0], [1.5]]
    with pytest.raises(InputError, match="integer_scale"):
        read_sequences([arrays(tmp_path, (2, 4, 3))], SequenceOptions(integer_scale=(0.5, 0.5)))
