"""`pocketrnn export --channels`, and what answers from its bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from pocketrnn import Classifier
from pocketrnn.bundle.output_kinds import ValueOutput
from pocketrnn.commands.cli import main as command_line
from pocketrnn.errors import InputError

MODEL = f"{Path(__file__).with_name('number_modules.py')}:LastStep"
RECORDING = np.random.default_rng(0).normal(0, 2, (23, 3)).round(3)

pytestmark = pytest.mark.usefixtures("scant_proofs")


def run(*arguments: object, input: str | None = None) -> Result:  # noqa: A002 - click's name
    return CliRunner().invoke(command_line, [str(a) for a in arguments], input=input)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    np.savez(folder / "scaler.npz", mean=[1.0, 2.0, 3.0], scale=[2.0, 1.0, 4.0])
    np.save(folder / "real.npy", np.stack([RECORDING[:10], RECORDING[10:20]]))
    given = ["export", MODEL, "--random-weights", "--channels", "x,y,z", "--labels", "a,b,c,d"]
    result = run(*given, "--scaler", folder / "scaler.npz", "--window", 10, "--hop", 6, "--sequences",
                 folder / "real.npy", "-o", folder / "b")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "proven equal to the PyTorch module" in result.output
    assert "sequences of yours" in result.output
    text = "\n".join(["t,z,x,y,s", *(f"{i},{z},{x},{y},{'ab'[i % 2]}" for i, (x, y, z) in enumerate(RECORDING))])
    (folder / "r.csv").write_text(text)
    (folder / "r.tsv").write_text(text.replace(",", "\t"))
    rows = [dict(zip("xyz", row, strict=True)) for row in RECORDING.tolist()]
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), folder / "r.parquet")
    return folder


@pytest.mark.parametrize("end", [pytest.param("csv", marks=pytest.mark.slow), "tsv", "jsonl", "parquet"])
def test_a_recording_is_answered_in_windows_from_any_file(end: str, folder: Path) -> None:
    result = run("classify", "-b", folder / "b", "--input", folder / f"r.{end}", "--json")
    found = [json.loads(line) for line in result.output.splitlines()]
    wanted = Classifier.load(folder / "b").recording(RECORDING)  # type: ignore[attr-defined]
    assert [line["sequence"] for line in found] == ["0-9", "6-15", "12-21"]
    assert [line["label"] for line in found] == [window.answer.label for window in wanted]


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "parquet"])
def test_rows_are_parted_by_a_column_and_answers_written_as_a_table(end: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{end}"
    result = run("classify", "-b", folder / "b", "--input", folder / "r.csv", "--sequence-column", "s", "--top", 2,
                 "--output", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = {
        "csv": lambda: list(csv.DictReader(out.read_text().splitlines())),
        "tsv": lambda: list(csv.DictReader(out.read_text().splitlines(), delimiter="\t")),
        "jsonl": lambda: list(map(json.loads, out.read_text().splitlines())),
        "parquet": lambda: pq.read_table(out).to_pylist(),
    }[end]()
    assert list(rows[0]) == ["s", "label", "probability", "label_2", "probability_2"]
    assert [row["s"] for row in rows] == ["a", "b"]
    predicted = Classifier.load(folder / "b").predict([RECORDING[::2], RECORDING[1::2]])  # type: ignore[list-item]
    assert [row["label"] for row in rows] == predicted


def test_windows_are_rows_of_a_table_on_standard_output(folder: Path) -> None:
    result = run("classify", "-b", folder / "b", "--input", folder / "r.csv", "--output-format", "csv")
    assert result.output.splitlines()[0] == "window,label,probability"
    assert [line.split(",")[0] for line in result.output.splitlines()[1:]] == ["0-9", "6-15", "12-21"]


def test_sequences_are_given_as_json(folder: Path) -> None:
    sequence = json.dumps(RECORDING[:4].tolist())
    (label,) = Classifier.load(folder / "b").predict([RECORDING[:4]])  # type: ignore[list-item]
    assert run("classify", "-b", folder / "b", sequence).output.split("\t")[0] == label
    assert run("classify", "-b", folder / "b", input=f"{sequence}\n{sequence}\n").output.count(str(label)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["[[1, 2]]"], "Sequence 1 has the shape"),
        (["text"], "must be a JSON list"),
        (["[[1, 2, NaN]]"], "missing"),
        (["[[1, 2, Infinity]]"], "must be a JSON list"),
        (["--stream", "[[1, 2, 3]]"], "--stream"),
        (["--input", "none.csv"], "none.csv cannot be read"),
        (["--input", "bad.csv"], "no column 'z'"),
        (["--input", "words.csv"], "'one' is not a number"),
        (["--input", "ragged.csv"], "Line 3 of ragged.csv has 2 fields"),
        (["--input", "empty.csv"], "no rows"),
        (["--input", "broken.parquet"], "broken.parquet cannot be read"),
        (["--input", "short.csv"], "but a window needs"),
        (["--sequence-column", "s", "[[1, 2, 3]]"], "--sequence-column"),
        (["--input", "words.csv", "--output", "out.csv"], "not a number"),
        (["--input", "good.csv", "--output", "out.txt"], "--output-format"),
        (["--input", "good.csv", "--output", "out.csv", "--json"], "--json"),
        (["--input", "good.csv", "--output", "good.csv", "--force"], "is also the input file"),
        (["--input", "good.csv", "--output", "out.csv", "--label-column", "window"], "name 'window'"),
        (["--input", "good.csv", "--output", "out.csv", "--label-column", "probability"], "would have the same name"),
    ],
)
def test_bad_sequences_are_refused_in_a_sentence(
    arguments: list[str], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("x,y\n1,2\n")
    Path("words.csv").write_text("x,y,z\n1,2,one\n")
    Path("ragged.csv").write_text('x,y,"z\n"\n1,2\n')
    Path("empty.csv").write_text("x,y,z\n")
    Path("good.csv").write_text("x,y,z\n" + "1,2,3\n" * 10)
    Path("short.csv").write_text("x,y,z\n1,2,3\n")
    Path("broken.parquet").write_bytes(b"PAR1")
    result = run("classify", "-b", folder / "b", *arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert "Traceback" not in result.output
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--channels", "3"], "--labels", marks=pytest.mark.slow),
        (["--channels", "3", "--labels", "a,b,c,d", "--values", "v"], "--labels"),
        (["--channels", "x,x,z", "--labels", "a,b,c,d"], "twice"),
        (["--channels", "3", "--labels", "a,b,c,d", "--mean", "1,2"], "mean has 2 values"),
        (["--channels", "3", "--labels", "a,b,c,d", "--mean", "1,b,2"], "--mean"),
        (["--channels", "3", "--labels", "a,b,c,d", "--scaler", "none.npz"], "none.npz"),
        (["--channels", "3", "--labels", "a,b,c,d", "--numbers", "{"], "not a JSON object"),
        (["--channels", "3", "--labels", "a,b,c,d", "--numbers", '{"speed": 3}'], "speed"),
        (["--channels", "3", "--labels", "a,b,c,d", "--numbers", '{"steps": 3}', "--steps", "3"], "--steps"),
        (["--channels", "3", "--labels", "a,b,c,d", "--sequences", "none.npy"], "none.npy"),
        (["--channels", "3", "--labels", "a,b,c,d", "--vocabulary", "v.txt"], "--vocabulary"),
        (["--labels", "a,b,c,d", "--window", "9"], "--channels"),
        pytest.param(["--channels", "2", "--labels", "a,b,c,d"], "takes 3 channels", marks=pytest.mark.slow),
        pytest.param(["--labels", "a,b,c,d"], "--channels", marks=pytest.mark.slow),
    ],
)
def test_bad_options_of_an_export_are_refused_in_a_sentence(options: list[str], said: str, tmp_path: Path) -> None:
    result = run("export", MODEL, "--random-weights", *options, "-o", tmp_path / "b")
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "b").exists()


def test_inspect_and_verify_say_what_a_bundle_of_numbers_is(folder: Path) -> None:
    shown = run("inspect", folder / "b").output
    assert "3: x, y, z" in shown
    assert "proven equal" in shown
    assert json.loads(run("inspect", "--json", folder / "b").output)["numbers"]["window"] == 10
    assert "OK: b answers here" in run("verify", folder / "b").output
    assert run("verify", folder / "b", "--html", folder / "p.html").exit_code == 2


@pytest.mark.parametrize("command", ["compress", "bench"])
def test_commands_of_texts_say_that_it_takes_numbers(command: str, folder: Path, tmp_path: Path) -> None:
    arguments = [folder / "b"] if command == "bench" else [folder / "b", "-o", tmp_path / "out"]
    result = run(command, *arguments)
    assert (result.exit_code, "numbers" in result.output) == (2, True), result.output


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("values") / "b"
    model = MODEL.replace("LastStep", "Forecast")
    result = run("export", model, "--random-weights", "--channels", 3, "--values", "speed:m/s", "-o", bundle)
    assert result.exit_code == 0, result.output
    return bundle


@pytest.mark.slow
def test_values_with_units_are_exported_by_name(values: Path, tmp_path: Path) -> None:
    assert "speed (m/s)" in run("inspect", values).output
    assert len(run("classify", "-b", values, "[[1, 2, 3]]").output.split("\t")) == 2
    channels = Classifier.load(values).manifest.numbers.channels
    (tmp_path / "r.csv").write_text(f"{','.join(channels)}\n1,2,3\n")
    table = run("classify", "-b", values, "--input", tmp_path / "r.csv", "--output-format", "csv").output
    assert table.startswith("sequence,speed")


@pytest.mark.slow
def test_values_are_no_labels(values: Path) -> None:
    classifier = Classifier.load(values)
    sequences = [np.ones((4, 3)), np.zeros((9, 3))]
    assert classifier.manifest.output == ValueOutput(("speed",), ("m/s",))
    assert np.array_equal(classifier.predict(sequences), classifier.values(sequences))
    for call in (classifier.classify, classifier.predict_proba, classifier.predict_labels):
        with pytest.raises(InputError, match="values"):
            call(sequences)
    # A regression is no probability, so that nothing is asked or undone where its numbers lie between 0 and 1.
    assert "values" in str(classifier.manifest.provenance["gives"])
