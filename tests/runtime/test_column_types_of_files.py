"""Values of the columns beside the text, from one kind of file to another: kept, or refused in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pocketrnn.commands.cli import main

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

LARGE = str(2**63)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def classified(bundle: Path, given: str, output: str) -> Result:
    return CliRunner().invoke(main, ["classify", "-b", str(bundle), "-i", given, "-o", output])


def refused(bundle: Path, given: str, output: str) -> str:
    """The message for a file that is refused; nothing may be left behind."""
    result = classified(bundle, given, output)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in Path.cwd().iterdir()] == [given]
    return result.stderr


@pytest.fixture
def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows are read at once: fewer than elsewhere. They decide the types of columns."""
    monkeypatch.setattr("pocketrnn.tables.row_reader.BATCH_ROWS", 20)
    return 20


@pytest.mark.parametrize("before", [0, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("member", "earlier", "problem"),
    [
        (r'"m": "\ud800"', '"m": ""', "'m'.*half of a surrogate pair"),
        (r'"m": [{"x": "a\udfff"}]', '"m": [{"x": ""}]', "'m'.*half of a surrogate pair"),
        (r'"m": 1, "text": "a\udfff"', '"m": 1', "'text'.*half of a surrogate pair"),
        (f'"m": {LARGE}', '"m": 1', "'m'.*2\\^63"),
        (f'"m": -{LARGE}9', '"m": 1', "'m'.*2\\^63"),
        (f'"m": [{LARGE}]', '"m": [1]', "'m'.*2\\^63"),
        (f'"m": {"1" * 4000}', '"m": 1', "'m'.*2\\^63"),
        ('"m": [1, "x"]', '"m": [1]', "'m'"),
        ('"m": [1, {"x": 1}]', '"m": [1]', "'m'"),
        ('"m": [{"x": 1}, [1]]', '"m": [{"x": 1}]', "'m'"),
        ('"m": {}', '"m": {}', "'m'"),
    ],
)
def test_what_parquet_cannot_hold_is_said_with_its_column(
    padded: Path, member: str, earlier: str, problem: str, before: int
) -> None:
    lines = [f'{{"text": "a", {earlier}}}'] * before + [f'{{"text": "a", {member}}}']
    Path("in.jsonl").write_text("\n".join(lines))
    said = refused(padded, "in.jsonl", "out.parquet")
    assert re.search(problem, said)
    assert "--output-format jsonl" in said


def test_a_column_whose_name_has_no_utf8_form_is_said(padded: Path) -> None:
    Path("in.jsonl").write_text(r'{"text": "a", "\ud800": 1}')
    assert "half of a surrogate pair" in refused(padded, "in.jsonl", "out.parquet")


@pytest.mark.parametrize(
    ("first", "later"),
    [("1", "1.5"), ("[1]", "[2.5]"), ('{"x": 1}', '{"x": 1, "y": 2}'), ('[{"x": 1}]', '[{"x": 0.5}]')],
)
def test_no_value_is_cut_to_fit_the_column_of_the_first_rows(
    padded: Path, few_rows_at_once: int, first: str, later: str
) -> None:
    lines = [f'{{"text": "a", "m": {first}}}'] * few_rows_at_once + [f'{{"text": "a", "m": {later}}}']
    Path("in.jsonl").write_text("\n".join(lines))
    assert "'m'" in refused(padded, "in.jsonl", "out.parquet")


def test_values_that_fit_the_column_of_the_first_rows_are_kept(padded: Path, few_rows_at_once: int) -> None:
    later = [{"m": 2, "o": None, "s": None}, {"m": None, "o": {"x": [], "y": None}, "s": "é"}]
    first = {"m": 1.5, "o": {"x": [1], "y": "z"}, "s": "b"}
    rows = [{"text": "a", **first}] * few_rows_at_once + [{"text": "a", **row} for row in later]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert classified(padded, "in.jsonl", "out.parquet").exit_code == 0
    assert parquet.read_table("out.parquet").select(["text", "m", "o", "s"]).to_pylist() == rows


# Each is a valid Parquet value that Python's dates, times and dicts cannot hold.
BEYOND_PYTHON: dict[str, Any] = {
    "a year above 9999": lambda: arrow.array([253402300800000000], arrow.timestamp("us")),
    "a year of 146 million": lambda: arrow.array([2**62], arrow.timestamp("ms")),
    "an unknown time zone": lambda: arrow.array([1], arrow.timestamp("us", "Mars/Olympus")),
    "an offset that is none": lambda: arrow.array([1], arrow.timestamp("us", "+25:99")),
    "a huge date32": lambda: arrow.array([2**31 - 1], arrow.date32()),
    "a low date32": lambda: arrow.array([-(2**31)], arrow.date32()),
    "a huge date64": lambda: arrow.array([86_400_000 * 10**9], arrow.date64()),
    "a huge duration": lambda: arrow.array([2**63 - 1], arrow.duration("s")),
    "a time beyond a day": lambda: arrow.array([2**60], arrow.time64("us")),
    "a date in a list": lambda: arrow.array([[2**31 - 1]], arrow.list_(arrow.date32())),
    "a name twice in a struct": lambda: arrow.StructArray.from_arrays([arrow.array([1])] * 2, names=["x", "x"]),
}


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl"])
@pytest.mark.parametrize("kind", BEYOND_PYTHON)
def test_a_parquet_value_without_a_form_in_python_is_said_with_its_column(padded: Path, kind: str, output: str) -> None:
    parquet.write_table(arrow.table({"text": ["a"], "m": BEYOND_PYTHON[kind]()}), "in.parquet")
    said = refused(padded, "in.parquet", output)
    assert "The column 'm'" in said
    assert "Write Parquet" in said


@pytest.mark.parametrize("kind", BEYOND_PYTHON)
def test_from_parquet_to_parquet_every_value_is_kept(padded: Path, kind: str) -> None:
    parquet.write_table(arrow.table({"text": ["a"], "m": BEYOND_PYTHON[kind]()}), "in.parquet")
    assert classified(padded, "in.parquet", "out.parquet").exit_code == 0
    assert parquet.read_table("out.parquet").column("m").equals(parquet.read_table("in.parquet").column("m"))


@pytest.mark.parametrize("raw", [[b"\xff"], [[b"x"]], [{"a": b"x"}]], ids=["bytes", "list", "struct"])
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_bytes_are_refused_wherever_they_stand(padded: Path, raw: list[Any], output: str) -> None:
    parquet.write_table(arrow.table({"text": ["a"], "m": raw}), "in.parquet")
    assert "column of bytes" in refused(padded, "in.parquet", output)


def test_other_types_have_a_form_in_json(padded: Path) -> None:
    table = {
        "text": ["a"],
        "decimal": arrow.array([150], arrow.int64()).cast(arrow.decimal128(21, 2)),
        "duration": arrow.array([5], arrow.duration("us")),
        "dictionary": arrow.array(["x"]).dictionary_encode(),
        "struct": [{"a": {"b": [1, None]}}],
        "map": arrow.array([[("k", 1)]], arrow.map_(arrow.string(), arrow.int32())),
        "unsigned": arrow.array([2**64 - 1], arrow.uint64()),
        "zone": arrow.array([1], arrow.timestamp("us", "UTC")),
    }
    parquet.write_table(arrow.table(table), "in.parquet")
    assert classified(padded, "in.parquet", "out.jsonl").exit_code == 0
    row = json.loads(Path("out.jsonl").read_text())
    assert {name: row[name] for name in table} == {
        "text": "a",
        "decimal": "150.00",
        "duration": "0:00:00.000005",
        "dictionary": "x",
        "struct": {"a": {"b": [1, None]}},
        "map": [["k", 1]],
        "unsigned": 2**64 - 1,
        "zone": "1970-01-01 00:00:00.000001+00:00",
    }
