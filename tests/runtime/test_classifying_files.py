"""`pocketrnn classify` for files of rows: every row comes back whole, with its answer, or the file does not."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn import Classifier
from pocketrnn.commands.classify_file import _Progress
from pocketrnn.commands.cli import main
from pocketrnn.install_commands import make_extra_install_command
from pocketrnn.tables import row_reader as table_reader
from pocketrnn.tables.row_batches import BATCH_ROWS, RowBatch, RowSource

COMMAND = [sys.executable, "-m", "pocketrnn"]
NAMES = ["id", "text", "note"]
ROWS = [["1", "the oil", "a,b"], ["2", 'the "team"\nwins', ""], ["3", "", "\x00\u2028é"]]


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["classify", *map(str, arguments)], input=stdin)


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "classify", *map(str, arguments)], **{"capture_output": True, "timeout": 60, **options}
    )


def as_csv(rows: list[list[str]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def from_csv(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter, strict=True))


def answers(classifier: Classifier, texts: list[str]) -> list[list[str]]:
    return [[(a := classifier.classify(text)).label, str(round(a.probability, 6))] for text in texts]


def same_answers(given: list[list[str]], expected: list[list[str]]) -> bool:
    return [row[0] for row in given] == [row[0] for row in expected] and [float(row[1]) for row in given] == (
        pytest.approx([float(row[1]) for row in expected], abs=2e-6)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_rows_of_csv_and_tsv_come_back_with_two_columns_more(
    folder: Path, padded: Path, classifier: Classifier, kind: str, delimiter: str
) -> None:
    Path(f"in.{kind}").write_bytes(b"\xef\xbb\xbf" + as_csv([NAMES, *ROWS], delimiter).encode())
    result = run("-b", padded, "-i", f"in.{kind}", "-o", f"out.{kind}")
    assert (result.exit_code, result.output) == (0, "")
    head, *rows = from_csv(Path(f"out.{kind}").read_bytes(), delimiter)
    assert head == [*NAMES, "label", "probability"]
    assert [row[:3] for row in rows] == ROWS
    assert same_answers([row[3:] for row in rows], answers(classifier, [row[1] for row in ROWS]))
    assert sorted(path.name for path in folder.iterdir()) == [f"in.{kind}", f"out.{kind}"]


def test_a_line_of_json_keeps_its_bytes_and_gets_two_members(
    folder: Path, padded: Path, classifier: Classifier
) -> None:
    lines = [
        '{"text": "the oil", "n": 1.50, "big": 123456789012345678901234567890, "e": "\\u00e9"}',
        '{ "n":[1, {"a": null}] ,"text":"\\ud800 team" }',
        '{"text":""}',
    ]
    Path("in.jsonl").write_text("\n".join([lines[0], "", f"  {lines[1]}\t\r", lines[2]]))
    assert run("-b", padded, "-i", "in.jsonl", "-o", "out.ndjson").exit_code == 0
    written = Path("out.ndjson").read_text().splitlines()
    for line, before in zip(written, lines, strict=True):
        assert line.startswith(before[:-1])
        row, text = json.loads(line), json.loads(before)["text"]
        answer = classifier.classify(text)
        assert {**json.loads(before), "label": answer.label} == {k: v for k, v in row.items() if k != "probability"}
        assert row["probability"] == pytest.approx(answer.probability, abs=2e-6)


def test_a_parquet_column_keeps_its_type_and_the_rest_its_metadata(
    folder: Path, padded: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    # So that some are read after others.
    monkeypatch.setattr(table_reader, "BATCH_ROWS", 400)
    texts = [f"the oil {i % 17}" for i in range(900)]
    table = arrow.table(
        {
            "id": arrow.array(range(900), arrow.int16()),
            "when": arrow.array([None, *range(899)], arrow.timestamp("us", "UTC")),
            "text": arrow.array(texts, arrow.large_string()).dictionary_encode(),
            "list": arrow.array([[i, None] for i in range(900)], arrow.list_(arrow.float32())),
        }
    ).replace_schema_metadata({"made": "by hand"})
    parquet.write_table(table, "in.parquet", row_group_size=250)
    assert run("-b", padded, "-i", "in.parquet", "-o", "out.parquet", "--threads", 2).exit_code == 0
    written = parquet.read_table("out.parquet")
    assert written.drop_columns(["label", "probability"]).equals(parquet.read_table("in.parquet"))
    assert written.schema.metadata[b"made"] == b"by hand"
    assert written.schema.field("probability").type == arrow.float64()
    assert written.column("label").to_pylist() == classifier.predict(texts)
    assert parquet.ParquetFile("out.parquet").num_row_groups == 1


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl", "parquet"])
def test_any_kind_becomes_any_other(
    folder: Path, padded: Path, classifier: Classifier, source: str, target: str
) -> None:
    pytest.importorskip("pyarrow")
    rows = [["the oil", "x\r\ny"], ["a team\twins", ""], ["", "é"]]
    Path("in.csv").write_bytes(as_csv([["text", "note"], *rows]).encode())
    steps = [
        ("in.csv", f"1.{source}", "l1", "p1"),
        (f"1.{source}", f"2.{target}", "l2", "p2"),
        (f"2.{target}", "3.csv", "l3", "p3"),
    ]
    for given_file, output, label, probability in steps:
        result = run(
            "-b", padded, "-i", given_file, "-o", output, "--label-column", label, "--probability-column", probability
        )
        assert result.exit_code == 0, result.output
    head, *written = from_csv(Path("3.csv").read_bytes())
    assert head == ["text", "note", "l1", "p1", "l2", "p2", "l3", "p3"]
    assert [row[:2] for row in written] == rows
    expected = answers(classifier, [row[0] for row in rows])
    assert all(same_answers([row[at : at + 2] for row in written], expected) for at in (2, 4, 6))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=examples(15, 40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8), newline=st.sampled_from(["\n", "\r\n"]))
def test_whatever_the_fields_hold_they_come_back(padded: Path, rows: list[tuple[str, ...]], newline: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows([["a", "text", "b"], *rows])
    arguments = ["-b", padded, "--input-format", "csv"]
    result = run(*arguments, stdin=text.getvalue().encode())
    assert result.exit_code == 0, result.output
    _, *written = from_csv(result.stdout_bytes)
    assert [tuple(row[:3]) for row in written] == rows
    lines = (
        run(*arguments, "--output-format", "jsonl", stdin=text.getvalue().encode()).stdout_bytes.decode().split("\n")
    )
    assert [tuple(json.loads(line)[name] for name in ("a", "text", "b")) for line in lines[:-1]] == rows


def test_top_adds_numbered_columns_in_the_order_of_their_probability(
    folder: Path, padded: Path, classifier: Classifier
) -> None:
    Path("in.csv").write_text("text\nthe oil\n")
    (head, row) = from_csv(run("-b", padded, "-i", "in.csv", "--top", 3).stdout_bytes)
    assert head[1:] == ["label", "probability", "label_2", "probability_2", "label_3", "probability_3"]
    assert row[1::2] == [label for label, _ in classifier.classify("the oil", top=3).top]
    assert run("-b", padded, "-i", "in.csv", "--top", 5).exit_code == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"in\.csv is empty\. Give a file with a header line\."),
        (b"\n\n", r"in\.csv is empty\."),
        (b"id;words\n1;a\n", r"has no column 'text'; its columns are 'id', 'words'\."),
        (b"id,words\n1,a\n", r"has no column 'text'; its columns are 'id', 'words'\. .* --text-column"),
        (b"id,text,id\n1,a,2\n", r"has the column 'id' twice"),
        (b"text,label\na,b\n", r"has a column 'label' already.*--label-column"),
        (b"text,n\na,1\n\nb\n", r"Row 2 of in\.csv \(line 4\) has 1 fields where the header has 2\."),
        (b"text,n\na,1,2\n", r"Row 1 of in\.csv \(line 2\) has 3 fields"),
        (b'text,n\na,1\n"b\nc', r"Row 2 of in\.csv \(line 4\) cannot be read: unexpected end of data\."),
        (b'text,n\na,1\n"b"c,2\n', r"Row 2 of in\.csv \(line 3\) cannot be read: ',' expected"),
        (b"text,n\na\rb,1\n", r"Row 1 of in\.csv \(line 2\) cannot be read: new-line character"),
        (b"text,n\na,1\nb\xe9,2\n", r"Row 2 of in\.csv \(line 3\) is not UTF-8\."),
        ("text,n\na,1\n".encode("utf-16"), r"header line of in\.csv is not UTF-8\."),
        (b"PAR1\x00\x00", r"has no column 'text'"),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_wrong_with_a_csv_file_is_said_and_nothing_is_written(
    folder: Path, padded: Path, content: bytes, problem: str
) -> None:
    Path("in.csv").write_bytes(content)
    result = run("-b", padded, "-i", "in.csv", "-o", "out.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    # A line to copy follows the sentence.
    assert result.stderr.partition("\nWrite: ")[0].rstrip("\n").count("\n") == 0
    assert re.search(problem, result.stderr), result.stderr
    assert [path.name for path in folder.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_file_of_another_delimiter_is_read_by_its_header_and_written_as_it_came(
    folder: Path, padded: Path, mark: str
) -> None:
    Path("in.csv").write_text(f'\nid{mark}text\n1{mark}the oil, and more\n2{mark}"the{mark} team"\n')
    assert run("-b", padded, "-i", "in.csv", "-o", "out.csv").exit_code == 0
    kept = "," if mark == "\t" else mark
    rows = list(csv.reader(Path("out.csv").read_text().splitlines(), delimiter=kept))
    assert [row[:2] for row in rows] == [["id", "text"], ["1", "the oil, and more"], ["2", f"the{mark} team"]]
    assert rows[0][2] == "label"


def test_a_file_that_is_missing_is_told_as_missing_whatever_its_ending(folder: Path, padded: Path) -> None:
    result = run("-b", padded, "-i", "in.txt")
    assert result.exit_code == 2
    assert "in.txt cannot be read" in result.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_file_in_another_encoding_is_read_by_its_name_and_written_as_utf8(
    folder: Path, padded: Path, encoding: str
) -> None:
    text = "text,note\nthe oil,caf\u00e9\nthe team,na\u00efve\n"
    Path("in.csv").write_bytes(text.encode(encoding))
    done = run("-b", padded, "-i", "in.csv", "-o", "out.csv", "--encoding", encoding)
    assert done.exit_code == 0, done.output
    assert [row[:2] for row in from_csv(Path("out.csv").read_bytes())] == [row.split(",") for row in text.splitlines()]
    # From a pipe, too.
    assert from_csv(
        run("-b", padded, "--input-format", "csv", "--encoding", encoding, stdin=text.encode(encoding)).stdout_bytes
    ) == from_csv(Path("out.csv").read_bytes())
    Path("in.csv").write_text(text, "utf-8")
    refused = run("-b", padded, "-i", "in.csv", "-o", "new.csv", "--encoding", encoding)
    assert refused.exit_code == 2
    assert re.search(r"is UTF-8, so that --encoding|is not in the encoding", refused.stderr)
    assert not Path("new.csv").exists()
    assert "There is no encoding 'cp12522'" in run("-b", padded, "-i", "in.csv", "--encoding", "cp12522").stderr


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nonsense", r"\(line 2\) is not JSON: Expecting value"),
        (b"[1, 2]", r"\(line 2\) is not a JSON object"),
        (b"[" * 100_000, r"\(line 2\) is not JSON: "),
        (b"1" * 5000, r"\(line 2\) is not JSON: "),
        (b"\xff\xfe", r"\(line 2\) is not UTF-8"),
        (b'{"words": "a"}', r"has no 'text'"),
        (b'{"text": null}', r"has nothing in 'text'"),
        (b'{"text": 5}', r"has 5 in 'text', not text"),
        (b"{}", r"has no 'text'"),
    ],
    ids=range(9),
)
def test_a_dirty_line_of_json_is_named_or_passed_over(
    folder: Path, padded: Path, classifier: Classifier, line: bytes, problem: str
) -> None:
    Path("in.jsonl").write_bytes(b'{"text": "the oil"}\n' + line + b'\n{"text": "the team"}\n')
    result = run("-b", padded, "-i", "in.jsonl", "-o", "out.jsonl")
    assert result.exit_code == 2
    assert re.match(r"Error: Row 2 of in\.jsonl " + problem, result.stderr), result.stderr
    assert not Path("out.jsonl").exists()
    result = run("-b", padded, "-i", "in.jsonl", "-o", "out.jsonl", "--on-error", "skip")
    assert result.exit_code == 0
    assert "1 of 3 rows skipped" in result.stderr
    assert "Row 2 of in.jsonl " in result.stderr
    rows = [json.loads(text) for text in Path("out.jsonl").read_text().splitlines()]
    kept = line.startswith(b"{")
    labels: list[str | None] = list(classifier.predict(["the oil", "the team"]))
    assert [row["label"] for row in rows] == ([*labels[:1], None, *labels[1:]] if kept else labels)
    if kept:
        assert rows[1] == {**json.loads(line), "label": None, "probability": None}


def test_rows_that_cannot_be_read_are_left_out_and_counted(folder: Path, padded: Path) -> None:
    Path("in.csv").write_bytes(b'text,n\na,1\nb\n\xff,3\n"d"e,4\nf,5\n"g')
    result = run("-b", padded, "-i", "in.csv", "-o", "out.csv", "--on-error", "skip")
    assert result.exit_code == 0
    assert [row[:2] for row in from_csv(Path("out.csv").read_bytes())[1:]] == [["a", "1"], ["f", "5"]]
    assert result.stderr.startswith("4 of 6 rows skipped: 0 without a text, 4 left out. Row 2 of in.csv (line 3) has")


def test_null_and_broken_texts_of_parquet_are_named_or_passed_over(folder: Path, padded: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    broken = arrow.array([b"the oil", None, b"\xff"]).view(arrow.string())
    parquet.write_table(arrow.table({"text": broken}), "in.parquet")
    result = run("-b", padded, "-i", "in.parquet", "-o", "out.parquet")
    assert (result.exit_code, result.stderr.split(". ")[0]) == (2, "Error: Row 2 of in.parquet has nothing in 'text'")
    assert not Path("out.parquet").exists()
    result = run("-b", padded, "-i", "in.parquet", "-o", "out.parquet", "--on-error", "skip")
    assert result.stderr.startswith("2 of 3 rows skipped: 2 without a text, 0 left out.")
    assert parquet.read_table("out.parquet").column("label").to_pylist()[1:] == [None, None]
    refused = run("-b", padded, "-i", "in.parquet", "--output-format", "csv", "--on-error", "skip")
    assert refused.exit_code == 2
    assert "not UTF-8" in refused.stderr


def test_a_parquet_file_that_is_none_or_has_no_text_is_refused(folder: Path, padded: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    Path("in.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    assert re.search(r"in\.parquet .*as Parquet", run("-b", padded, "-i", "in.parquet").stderr)
    parquet.write_table(arrow.table({"text": [1, 2]}), "in.parquet")
    assert "holds int64, not text" in run("-b", padded, "-i", "in.parquet").stderr
    parquet.write_table(arrow.table({"text": arrow.array([], arrow.string())}), "in.parquet")
    assert run("-b", padded, "-i", "in.parquet", "-o", "out.parquet").exit_code == 0
    assert parquet.read_table("out.parquet").column_names == ["text", "label", "probability"]


def test_without_pyarrow_parquet_names_the_extra_that_brings_it(
    folder: Path, padded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_NoPyarrow(), *sys.meta_path])
    Path("in.parquet").write_bytes(b"PAR1")
    Path("in.csv").write_text("text\na\n")
    for arguments in (["-i", "in.parquet"], ["-i", "in.csv", "-o", "out.parquet"]):
        result = run("-b", padded, *arguments)
        assert result.exit_code == 1
        assert result.stderr.rstrip().endswith(f"Install it with: {make_extra_install_command('parquet')}")
    assert run("-b", padded, "-i", "in.csv").exit_code == 0
    assert not Path("out.parquet").exists()


class _NoPyarrow:
    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_files_without_rows_are_answered_with_none(folder: Path, padded: Path) -> None:
    assert run("-b", padded, "--input-format", "csv", stdin=b"text,n").stdout == "text,n,label,probability\n"
    assert run("-b", padded, "--input-format", "jsonl", stdin=b"\n").stdout == ""
    options = ["--input-format", "jsonl", "--output-format", "csv"]
    assert run("-b", padded, *options, stdin=b"").stdout == "text,label,probability\n"


def test_a_field_of_ten_million_characters_is_a_text_and_an_open_quotation_mark_is_named(
    folder: Path, padded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = csv.field_size_limit()
    Path("in.csv").write_text("text,n\n" + "x" * 10_000_000 + ",1\nb,2\n")
    assert run("-b", padded, "-i", "in.csv", "-o", "out.csv").exit_code == 0
    assert Path("out.csv").stat().st_size > 10_000_000
    monkeypatch.setattr(table_reader, "_LARGEST_FIELD", 1000)
    Path("in.csv").write_text('text,n\na,1\n"b,2\n' + "c,3\n" * 1000)
    result = run("-b", padded, "-i", "in.csv")
    assert "Row 2 of in.csv" in result.stderr
    assert "quotation mark" in result.stderr
    assert csv.field_size_limit() == before


def test_rows_of_other_members_than_the_first_do_not_fit_into_columns(folder: Path, padded: Path) -> None:
    Path("in.jsonl").write_text('{"text": "a", "n": {"x": [1, NaN]}}\n{"text": "b"}\n')
    rows = from_csv(run("-b", padded, "-i", "in.jsonl", "--output-format", "csv").stdout_bytes)
    assert [row[:2] for row in rows] == [["text", "n"], ["a", '{"x": [1, null]}'], ["b", ""]]
    Path("in.jsonl").write_text('{"text": "a"}\n{"text": "b", "m": true}\n')
    result = run("-b", padded, "-i", "in.jsonl", "-o", "out.csv")
    assert result.exit_code == 2
    assert re.search(r"member 'm', .*--output-format jsonl", result.stderr)
    assert not Path("out.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ('{"text": "b", "n": "x"}', "cannot be written as Parquet"),
        pytest.param('{"text": 1}', f"Row {BATCH_ROWS + 1}", marks=pytest.mark.slow),
    ],
)
def test_rows_that_do_not_fit_a_parquet_column_are_refused_without_noise(
    folder: Path, padded: Path, odd: str, problem: str
) -> None:
    pytest.importorskip("pyarrow")
    Path("in.jsonl").write_text("\n".join([*['{"text": "a", "n": 1}'] * BATCH_ROWS, odd]))
    result = process("-b", padded, "-i", "in.jsonl", "-o", "out.parquet")
    assert result.returncode == 2
    assert problem in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1
    assert [path.name for path in folder.iterdir()] == ["in.jsonl"]


def test_what_has_no_form_in_json_is_said(folder: Path, padded: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {"text": ["a"], "x": [float("nan")], "d": arrow.array([0], arrow.date32())}
    parquet.write_table(arrow.table(table), "in.parquet")
    row = json.loads(run("-b", padded, "-i", "in.parquet", "--output-format", "jsonl").stdout)
    assert (row["x"], row["d"]) == (None, "1970-01-01")
    parquet.write_table(arrow.table({"text": ["a"], "raw": [b"\xff"]}), "in.parquet")
    for kind in ("csv", "jsonl"):
        assert "column of bytes" in run("-b", padded, "-i", "in.parquet", "--output-format", kind).stderr


def test_an_output_that_stands_there_is_replaced_only_with_force(folder: Path, padded: Path) -> None:
    Path("in.csv").write_text("text\na\n")
    Path("out.csv").write_text("mine")
    Path("out.csv").chmod(0o640)
    refused = run("-b", padded, "-i", "in.csv", "-o", "out.csv")
    assert refused.exit_code == 2
    assert "replace it with --force" in refused.stderr
    assert Path("out.csv").read_text() == "mine"
    assert run("-b", padded, "-i", "in.csv", "-o", "out.csv", "--force").exit_code == 0
    assert Path("out.csv").read_text().startswith("text,label")
    assert Path("out.csv").stat().st_mode & 0o777 == 0o640


def test_the_input_is_never_the_output(folder: Path, padded: Path) -> None:
    Path("in.csv").write_text("text\na\n")
    Path("link.csv").symlink_to("in.csv")
    for output in ("in.csv", "link.csv", folder / "." / "in.csv"):
        result = run("-b", padded, "-i", "in.csv", "-o", output, "--force")
        assert result.exit_code == 2
        assert f"The output file {output} is also" in result.stderr
    with Path("in.csv").open("ab") as same:
        result = process("-b", padded, "-i", "in.csv", stdout=same, capture_output=False, stderr=subprocess.PIPE)
    assert b"Standard output goes to the input file" in result.stderr
    assert Path("in.csv").read_text() == "text\na\n"


@pytest.mark.parametrize("output", ["nowhere/out.csv", pytest.param(".", marks=pytest.mark.slow), "in.csv/out.csv"])
def test_an_output_that_cannot_be_written_is_said(folder: Path, padded: Path, output: str) -> None:
    Path("in.csv").write_text("text\na\n")
    result = run("-b", padded, "-i", "in.csv", "-o", output, "--output-format", "csv", "--force")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert [path.name for path in folder.iterdir()] == ["in.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_no_file(folder: Path, padded: Path) -> None:
    Path("in.csv").write_text("text\na\n")
    with Path("/dev/full").open("wb") as full:
        result = process("-b", padded, "-i", "in.csv", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr.startswith(b"Error: There is no room to write the answer.")


def test_a_line_to_copy_names_columns_that_the_file_does_not_have(folder: Path, padded: Path) -> None:
    Path("in.csv").write_text("text,label,predicted_label\na,b,c\n")
    lines = run("-b", padded, "-i", "in.csv", "-o", "out.csv").stderr.splitlines()
    line = next(line for line in lines if line.startswith("Write: ")).removeprefix("Write: ")
    assert line.count("predicted_again_") == 2
    assert run(*shlex.split(line)[2:]).exit_code == 0
    assert Path("out.csv").read_text().startswith("text,label,predicted_label,predicted_again_label,")


@pytest.mark.parametrize(
    ("columns", "given"),
    [
        ("id,Review", ["--text-column Review"]),
        ("review_text,label", ["--text-column review_text", "--label-column predicted_label"]),
        # Several may be meant, or a row is in place of the header.
        ("review_id,review", []),
        ("a good review,1", []),
    ],
)
def test_a_line_to_copy_names_the_only_column_that_is_named_after_texts(
    columns: str, given: list[str], folder: Path, padded: Path
) -> None:
    Path("in.csv").write_text(f"{columns}\na,b\n")
    result = run("-b", padded, "-i", "in.csv")
    line = result.stderr.partition("Write: ")[2]
    assert result.exit_code == 2
    assert bool(line) == bool(given)
    assert all(one in line for one in given)
    assert not given or run(*shlex.split(line)[2:]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-i", "notes.txt"], "does not show the format of the file"),
        (["-o", "out.csv"], "--input-format"),
        (["-i", "absent.csv"], "absent.csv cannot be read: No such file or directory"),
        (["-i", "."], "cannot be read: Is a directory"),
        (["-i", ".", "--input-format", "csv"], "cannot be read: Is a directory"),
        (["-i", "in.csv", "--label-column", "x", "--probability-column", "x"], "would have the same name"),
        (["-i", "in.csv", "--label-column", "text"], "has a column 'text' already"),
        (["-i", "in.csv", "--json"], "--json cannot be used"),
        (["-i", "in.csv", "oil"], "TEXTS cannot be used"),
        (["-i", "in.csv", "--explain"], "--explain cannot be used"),
        (["-i", "in.csv", "--threshold", "0.5", "--top", "2"], "cannot be used together"),
        (["-i", "in.csv", "--threshold", "nan"], "--threshold is nan"),
    ],
    ids=range(12),
)
def test_options_that_do_not_fit_are_status_2(folder: Path, padded: Path, arguments: list[str], problem: str) -> None:
    Path("in.csv").write_text("text\na\n")
    Path("notes.txt").write_text("a\n")
    result = run("-b", padded, *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("csv", [b"text\n", b"oil\n", b"team\n"]),
        pytest.param("jsonl", [b'{"text": "x"}\n'] * 2, marks=pytest.mark.slow),
    ],
)
def test_rows_of_a_pipe_are_answered_as_they_arrive(padded: Path, kind: str, rows: list[bytes]) -> None:
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded), "--input-format", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        if kind == "csv":
            running.stdin.write(rows.pop(0))
        for place, row in enumerate(rows):
            running.stdin.write(row)
            running.stdin.flush()
            if kind == "csv" and not place:
                assert running.stdout.readline() == b"text,label,probability\n"
            assert running.stdout.readline().startswith(row.strip(b"}\n"))
        running.stdin.close()
        assert running.wait(30) == 0


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_closed_pipe_ends_it_silently(padded: Path, kind: str) -> None:
    pytest.importorskip("pyarrow")
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded), "--input-format", "csv", "--output-format", kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stdin.write(b"text\na\n")
        running.stdin.close()
        assert running.wait(30) == 141
        assert running.stderr.read() == b""


def test_ctrl_c_ends_it_and_leaves_no_file(folder: Path, padded: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded), "--input-format", "csv", "-o", "out.csv"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(b"text\na\n")
        running.stdin.flush()
        until = time.monotonic() + 30
        while not list(folder.glob(".out.csv.*")) and time.monotonic() < until:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert b"Traceback" not in running.stderr.read()
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_parquet_goes_through_pipes(folder: Path, padded: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = io.BytesIO()
    parquet.write_table(arrow.table({"text": ["a", "b"]}), content)
    result = process("-b", padded, "--input-format", "parquet", input=content.getvalue())
    assert result.returncode == 0, result.stderr
    assert parquet.read_table(io.BytesIO(result.stdout)).column("text").to_pylist() == ["a", "b"]


def test_memory_does_not_grow_with_the_file(folder: Path, padded: Path) -> None:
    held: list[int] = []

    class Counting(io.RawIOBase):
        def __init__(self) -> None:
            self.given = 0

        def read1(self, size: int) -> bytes:
            self.given += 1
            return b"" if self.given > 5 else b"text\n" + b"the oil of the team\n" * (size // 20 - 1)

    stream = Counting()
    source = RowSource("endless", "csv")
    batches: Iterator[RowBatch] = table_reader.read_batches(stream, source, "text", live=False)  # type: ignore[arg-type]
    for number, batch in enumerate(batches):
        held.append(len(batch.texts))
        # A chunk of 1 MiB holds 12 batches of these rows: it is not read before the one before it is answered.
        assert stream.given <= number // 12 + 2
    assert max(held) == 4096
    assert source.rows == sum(held) > 250_000


def test_progress_is_told_on_a_terminal_when_it_takes_long(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    now = iter([0.0, 1.0, 3.0, 3.1, 6.0, 0.0, 9.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    source = RowSource("x", "csv", size=100, rows=1000)
    with _Progress(source, hidden=False) as progress:
        progress.show(10)
        assert terminal.getvalue() == ""
        progress.show(25)
        progress.show(30)
        progress.show(75)
    shown = [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert shown == [
        "[#####---------------]  25%  1,000 rows, 333 a second, 9 s left",
        "[###############-----]  75%  1,000 rows, 167 a second, 2 s left",
    ]
    with _Progress(source, hidden=True) as hidden:
        before = terminal.getvalue()
        hidden.show(50)
    assert terminal.getvalue() == before


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_quick_file_shows_no_progress_on_a_terminal(folder: Path, padded: Path) -> None:
    Path("in.csv").write_text("text\na\n")
    outer, inner = os.openpty()
    try:
        result = process("-b", padded, "-i", "in.csv", "-o", "out.csv", capture_output=False, stderr=inner)
        os.write(inner, b"END")
        assert os.read(outer, 1000) == b"END"
    finally:
        os.close(outer)
        os.close(inner)
    assert result.returncode == 0
