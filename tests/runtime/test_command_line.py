"""The commands classify, verify and inspect, and the command group itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import bundle_maker
import click
import pytest
from click.testing import CliRunner, Result
from slow_case_sampling import mostly_slow

import pocketrnn.commands.cli
from pocketrnn import Classifier, __version__
from pocketrnn.bundle.manifest import read_manifest
from pocketrnn.commands.cli import _CommandError, main
from pocketrnn.commands.inspect import _describe_output
from pocketrnn.errors import InputError
from pocketrnn.install_commands import make_extra_install_command

OURS = ("bench", "classify", "inspect", "verify")
COMMAND = [sys.executable, "-m", "pocketrnn"]


def run(*arguments: object, stdin: str | bytes = b"") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*COMMAND, *map(str, arguments)], **{"capture_output": True, "timeout": 60, **options}
    )


def test_texts_are_answered_in_columns(padded: Path, classifier: Classifier) -> None:
    result = run("classify", "-b", padded, "the oil", "wall st")
    expected = [f"{(a := classifier.classify(t)).label}\t{a.probability:.4f}\t{t}" for t in ("the oil", "wall st")]
    assert result.exit_code == 0
    assert result.stdout.splitlines() == expected
    assert result.stderr == ""


def test_top_adds_columns_before_the_text(padded: Path) -> None:
    (line,) = run("classify", "-b", padded, "--top", 3, "the oil").stdout.splitlines()
    fields = line.split("\t")
    assert fields[0::2][:3] == [label for label in fields[0:6:2] if label in bundle_maker.LABELS]
    assert fields[6:] == ["the oil"]


def test_json_gives_one_object_a_line(padded: Path, classifier: Classifier) -> None:
    texts = ["the oil", "a\nb\t\0", "é", ""]
    result = run("classify", "-b", padded, "--json", "--top", 2, *texts)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == texts
    for row in rows:
        answer = classifier.classify(row["text"], top=2)
        assert list(row) == ["text", "label", "probability", "top"]
        assert row["label"] == answer.label
        assert row["probability"] == pytest.approx(answer.probability, abs=1e-6)
        assert [(t["label"], pytest.approx(t["probability"], abs=1e-6)) for t in row["top"]] == list(answer.top)


@pytest.mark.parametrize(
    ("stdin", "texts"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\nb", ["a", "b"]),
        ("a\r\n\r\nb\r\n", ["a", "", "b"]),
        ("\n\n", ["", ""]),
        ("", []),
        ("\ufeffa\n\ufeffb", ["a", "\\ufeffb"]),
        ("a\0b\x1b[31m\u2028\n", ["a\\x00b\\x1b[31m\\u2028"]),
        ("x" * 1_000_000 + "\ny", ["x" * 1_000_000, "y"]),
        ("\n".join(f"text {i}" for i in range(2_000)), [f"text {i}" for i in range(2_000)]),
    ],
    ids=range(9),
)
def test_lines_of_standard_input_are_texts(padded: Path, stdin: str, texts: list[str]) -> None:
    result = run("classify", "-b", padded, stdin=stdin.encode())
    assert result.exit_code == 0
    assert [line.split("\t")[2] for line in result.stdout.split("\n")[:-1]] == texts


def test_a_line_that_is_not_utf8_is_named_and_the_answers_before_it_stand(padded: Path) -> None:
    result = run("classify", "-b", padded, stdin=b"one\ntwo\nth\xe9\nfour\n")
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 2
    assert re.match(r"Error: Line 3 .*UTF-8: byte 3 ", result.stderr)


def test_lines_are_answered_as_they_arrive(padded: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for text in (b"first", b"second"):
            running.stdin.write(text + b"\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith(text + b"\n")
        running.stdin.close()
        assert running.wait(30) == 0


@pytest.mark.parametrize("case", mostly_slow(list(itertools.product((True, False), ("ascii", "utf-8", "latin-1"))), 6))
def test_odd_texts_are_answered_whatever_the_terminal_can_show(padded: Path, case: tuple[bool, str]) -> None:
    as_json, encoding = case
    texts = ["", " ", "?!.", "\x1b\x7f", "wall " * 20_000, "\u00fc\u20ac"]
    options = ["--json"] if as_json else []
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    result = process("classify", "-b", padded, *options, "--", *texts, env=environment)
    assert result.returncode == 0
    assert result.stderr == b""
    lines = result.stdout.decode(encoding).splitlines()
    assert len(lines) == len(texts)
    if as_json:
        assert [json.loads(line)["text"] for line in lines] == texts


def test_a_closed_pipe_ends_it_silently_as_a_signal_would(padded: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stdin.write(b"a\nb\n")
        running.stdin.close()
        assert running.wait(30) == 141
        assert running.stderr.read() == b""


def test_ctrl_c_ends_it_without_a_traceback(padded: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "classify", "-b", str(padded)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(b"a\n")
        running.stdin.flush()
        running.stdout.readline()
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert b"Traceback" not in running.stderr.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_said(padded: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = process("classify", "-b", padded, "oil", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr.startswith(b"Error: There is no room to write the answer.")
    assert result.stderr.count(b"\n") == 1


def test_closed_standard_input_is_said(padded: Path) -> None:
    line = shlex.join([*COMMAND, "classify", "-b", str(padded)]) + " <&-"
    result = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(b"Error: No text is given, and standard input is closed.")


def test_a_terminal_is_told_that_lines_are_read(padded: Path) -> None:
    pty = pytest.importorskip("pty")
    outer, inner = pty.openpty()
    try:
        os.write(outer, b"oil\n\x04")
        result = process("classify", "-b", padded, stdin=inner)
    finally:
        os.close(outer)
        os.close(inner)
    assert result.stderr == b"Reading texts, one a line, until Ctrl-D.\n"
    assert result.stdout.endswith(b"\toil\n")


@pytest.mark.parametrize(
    "arguments", [["--top", "5"], ["--top", "0"], ["--threads", "0"], ["--threads", "9999"], ["-x"]]
)
def test_wrong_usage_is_status_2_and_no_traceback(padded: Path, arguments: list[str]) -> None:
    result = run("classify", "-b", padded, *arguments, "oil")
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [["classify", "-b"], ["verify"], ["inspect"]])
def test_a_bundle_that_is_not_there_is_status_2(command: list[str], tmp_path: Path) -> None:
    result = run(*command, tmp_path / "nowhere")
    assert result.exit_code == 2
    remedy = "Give the folder that `pocketrnn export` wrote, or a packed file that `pocketrnn pack` wrote."
    assert result.stderr == f"Error: {tmp_path / 'nowhere'} does not exist. {remedy}\n"


def test_verify_prints_what_it_checked_and_ok(padded: Path) -> None:
    result = run("verify", padded)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["file", "file", "file", "golden", "golden", "OK:"]


def test_verify_of_a_damaged_bundle_is_status_2_and_of_other_answers_3(padded: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(padded, tmp_path / "damaged"))
    (damaged / "model.onnx").write_bytes(b"")
    assert run("verify", damaged).exit_code == 2
    other = bundle_maker.make(tmp_path / "other", lengths=False, padding=True, texts=["the oil team", "oil"])
    result = run("verify", other)
    assert result.exit_code == 3
    assert re.match(r"Error: small .*golden examples", result.stderr)


def test_inspect_shows_what_a_bundle_is(padded: Path) -> None:
    result = run("inspect", padded)
    assert result.exit_code == 0
    for words in (
        "World, Sports, Business, Sci/Tech", "basic_english", "30 tokens; 30 embedding rows", "opset 17",
        "1.0e-07", "licence: none", "golden examples       6", "model.torchscript.pt  60 bytes",
    ):  # fmt: skip
        assert words in result.stdout


def test_inspect_json_is_one_object(padded: Path) -> None:
    described = json.loads(run("inspect", "--json", padded).stdout)
    assert described["vocabulary_size"] == 30
    assert described["examples"] == 6
    assert described["bytes"]["model.onnx"] == (padded / "model.onnx").stat().st_size
    assert described["provenance"]["data"] == {"name": "made up", "licence": "none"}


def test_a_bundles_words_cannot_command_the_terminal(tmp_path: Path) -> None:
    folder = bundle_maker.make(tmp_path / "b", name="\x1b[2J\n", labels=["a\tb", "c\x1b", "\ud800", "é"])
    for arguments in (["inspect", folder], ["verify", folder], ["classify", "-b", folder, "--top", 4, "x"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "\x1b" not in result.output
    assert len(result.stdout.splitlines()) == 1


def test_bench_prints_a_table_of_all_contestants(padded: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("Oil prices rise\nThe team wins\n")
    bare = bundle_maker.make(tmp_path / "b", torchscript=False)
    result = run("bench", bare, tmp_path / "texts", "--rounds", 1)
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()]
    assert [row[0].split(",")[0] for row in rows] == ["", "---", "onnxruntime", "pocketrnn", "pocketrnn", "pocketrnn"]
    assert all(float(row[3].replace(",", "")) > 0 for row in rows[2:])
    assert rows[2][4] == "1.00"
    assert len(run("bench", bare, "--rounds", 1, "--threads", 1).stdout.splitlines()) == 5
    refused = run("bench", bare, "-", stdin="")
    assert refused.exit_code == 2
    assert "texts to measure is empty" in refused.stderr


def test_version_and_bare_help() -> None:
    assert run("--version").stdout == f"pocketrnn {__version__}\n"
    assert "Use a classifier:" in run("--help").stdout
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert "Examples:" in command.help
    assert command.short_help
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help  # type: ignore[attr-defined]
    assert run(name, "--help").exit_code == 0


def examples_in_help() -> list[str]:
    texts = [main.commands[name].help or "" for name in OURS]
    return [example for text in texts for example in re.findall(r"^ *(pocketrnn .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize(
    "example",
    # The golden examples are measured by the test of the table, too.
    [
        pytest.param(example, marks=pytest.mark.slow if example.endswith("bench ag_news") else ())
        for example in examples_in_help()
    ],
)
def test_the_examples_in_the_help_run(
    padded: Path, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of shipped classifiers stand folders of their names: these tests are of the runtime alone.
    for name in ("languages", "ag_news"):
        shutil.copytree(padded, tmp_path / name)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # its twin is no TorchScript, so leave torch out
    (tmp_path / "headlines.txt").write_text("Oil prices rise\nThe team wins\n")
    (tmp_path / "headlines.csv").write_text("text\nOil prices rise\n")
    (tmp_path / "headlines.jsonl").write_text('{"headline": "Oil prices rise"}\n')
    monkeypatch.chdir(tmp_path)
    words, _, file = example.partition(" < ")
    result = run(*shlex.split(words)[1:], stdin=Path(file).read_bytes() if file else b"")
    assert result.exit_code == 0, result.output
    assert result.stdout or "--output" in words


def test_inspect_names_the_sigmoid_of_a_module_with_one_number(padded: Path) -> None:
    manifest = read_manifest(padded)
    one = dataclasses.replace(manifest, provenance={"one_number": True})
    assert ("probabilities", "softmax of the logits") in _describe_output(manifest)
    assert ("probabilities", f"sigmoid of one logit, that of {manifest.labels[-1]}") in _describe_output(one)


def test_a_line_to_copy_is_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    _CommandError(InputError("It is wrong.", "Mend it. Write: pocketrnn inspect a"), None, ["Note: one."]).show()
    assert capsys.readouterr().err.splitlines()[-2:] == ["Note: one.", "Write: pocketrnn inspect a"]


def test_the_default_bundle_names_the_bundle_of_the_current_folder(
    padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pocketrnn.bundle.bundle_lookup._list_shipped_classifiers", lambda: {"languages": padded.absolute()}
    )
    monkeypatch.chdir(tmp_path)
    assert not run("classify", "a text").stderr
    # Another program's file of this name is not one of a bundle.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/classifier.json").write_text("{}")
    assert not run("classify", "a text").stderr
    shutil.copytree(padded, tmp_path / "mine")
    said = run("classify", "a text").stderr.splitlines()
    assert said[-1].strip() == "pocketrnn classify 'a text' -b mine"
    # A text that is the path of a bundle is meant as the bundle.
    for path in ("mine", "./mine"):
        said = run("classify", path, "a text", "x" * 300).stderr.splitlines()
        assert said[-1].strip() == f"pocketrnn classify 'a text' {'x' * 300} -b {path}"
    assert not run("classify", "a text", "-b", "mine").stderr
    shutil.copytree(padded, tmp_path / "languages")
    assert not run("classify", "a text").stderr


def test_a_command_of_an_absent_package_is_not_listed_and_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pocketrnn.commands.cli, "_OTHER_PACKAGES_COMMANDS", {"train": ("package_that_is_absent.cli", "train")}
    )
    assert "train" not in run("--help").stdout.split("Use a classifier:")[1].split()
    result = run("train")
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith(f"Install it with: {make_extra_install_command('train')}")


def test_a_command_of_an_installed_package_is_imported_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_that_is_there.py").write_text(
        "import click\n@click.command()\ndef train() -> None:\n    'Learn by heart.'\n    click.echo('trained')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        pocketrnn.commands.cli, "_OTHER_PACKAGES_COMMANDS", {"train": ("package_that_is_there", "train")}
    )
    assert run("verify", "--help").exit_code == 0
    assert "package_that_is_there" not in sys.modules
    assert "Learn by heart." in run("--help").stdout
    assert run("train").stdout == "trained\n"
    sys.modules.pop("package_that_is_there")


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed, so nothing can import it"
)
def test_classify_imports_none_of_the_other_packages(padded: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pocketrnn", "classify", "-b", str(padded), "oil"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "onnxruntime" in imported
    assert not imported & {"torch", "onnx", "onnxscript", "pocketrnn_training", "pocketrnn_export", "rich"}


def with_closed(closed: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """A command that a shell starts without some of its standard streams."""
    line = shlex.join([*COMMAND, *map(str, arguments)])
    return subprocess.run(["/bin/sh", "-c", f"{line} {closed}"], stdin=subprocess.DEVNULL, capture_output=True)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "case",
    # Each of the commands and each way to close, and all pairs of them in the slow tests.
    mostly_slow(
        [
            (closed, arguments)
            for arguments in (
                ["inspect", "BUNDLE"],
                ["bench", "BUNDLE", "in.csv", "--rounds", "1"],
                ["classify", "-b", "BUNDLE", "oil"],
                ["classify", "-b", "BUNDLE", "--json", "oil"],
                ["classify", "-b", "BUNDLE", "-i", "in.csv"],
                ["classify", "-b", "BUNDLE", "-i", "in.csv", "--output-format", "parquet"],
                ["classify", "-b", "BUNDLE", "-i", "in.csv", "-o", "-", "--output-format", "jsonl"],
            )
            for closed in (">&-", ">&- 2>&-", "<&- >&-", "<&- >&- 2>&-")
        ],
        28,
    ),
)
def test_answers_that_nobody_can_read_are_status_2(
    padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, list[str]]
) -> None:
    closed, arguments = case
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("text\noil\n")
    result = with_closed(closed, *(str(padded) if word == "BUNDLE" else word for word in arguments))
    assert result.returncode == 2
    assert result.stdout == b""
    said = b"Error: Standard output is closed. Send the answers to a file"
    assert result.stderr == b"" if "2>&-" in closed else result.stderr.startswith(said)
    assert result.stderr.count(b"\n") <= 1


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "case",
    mostly_slow([
            (closed, command)
            for command in (
                "verify BUNDLE", "--help", "--version", "classify -b BUNDLE -i in.csv -o out.csv --force",
            )
            for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-")
        ], 16, first=5),
)  # fmt: skip
def test_a_command_whose_work_is_not_its_output_is_done_without_standard_streams(
    padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str]
) -> None:
    closed, command = case
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("text\noil\n")
    result = with_closed(closed, *(str(padded) if word == "BUNDLE" else word for word in command.split()))
    assert (result.returncode, result.stderr) == (0, b"")
    if "-o" in command:
        assert Path("out.csv").read_text().startswith("text,label,probability\noil,")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("arguments", mostly_slow([["classify", "--nope"], ["verify", "nowhere"]], 2))
def test_an_error_is_not_written_among_the_answers_when_standard_error_is_closed(arguments: list[str]) -> None:
    result = with_closed("2>&-", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are bytes on Unix")
def test_an_argument_is_utf8_whatever_the_locale_or_it_is_refused(
    padded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's string for the bytes of an argument that the locale cannot decode.
    monkeypatch.setattr("os.fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    said = CliRunner().invoke(main, ["classify", "-b", str(padded), "--json", "caf\udcc3\udca9"])
    assert json.loads(said.stdout)["text"] == "caf\u00e9"
    for wrong in (["caf\udce9"], ["-i", "in.csv", "--text-column", "\udcff"]):
        refused = CliRunner().invoke(main, ["classify", "-b", str(padded), *wrong])
        assert refused.exit_code == 2
        assert "is not UTF-8 (byte" in refused.stderr
        assert refused.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
@pytest.mark.parametrize("given", [["-i", "/dev/zero", "--input-format", "csv"], []])
def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(
    given: list[str], padded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pocketrnn.tables.whole_lines.LONGEST_LINE", 1 << 22)
    with Path("/dev/zero").open("rb") as endless:
        result = CliRunner().invoke(main, ["classify", "-b", str(padded), *given], input=endless)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "MiB" in result.stderr


class OfAUser(BaseException):
    def __str__(self) -> str:
        raise ValueError


def test_what_nobody_foresaw_is_one_line_without_a_traceback(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, words in (
        (KeyError("BitShift"), "KeyError: 'BitShift'"),
        (MemoryError(), "memory"),
        (OfAUser(), "OfAUser"),
        (PermissionError(13, "Permission denied", "news.csv"), "news.csv"),
    ):

        def fails(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("pocketrnn.classifier.Classifier.load", fails)
        result = CliRunner().invoke(main, ["classify", "-b", str(padded), "oil"])
        assert result.exit_code == (2 if isinstance(error, OSError) else 1)
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


def test_an_error_is_one_line_of_some_screens_however_long_what_was_given(padded: Path, tmp_path: Path) -> None:
    long = "x" * 100_000
    for given in (
        ["classify", "-b", long, "oil"],
        ["classify", "-b", padded, "--top", long],
        ["classify", "-b", padded, "-i", f"{long}.csv"],
        ["verify", padded, "--html", tmp_path / long],
        [long],
        [f"--{long}"],
        ["inspect", padded, long],
    ):
        result = run(*given)
        assert result.exit_code == 2
        assert len(result.stderr) < 3000
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("Error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("case", mostly_slow([
    (">/dev/full", ["--help"]), (">/dev/full", ["--version"]), (">/dev/full 2>&1", ["inspect", "--help"]),
    ("2>/dev/full", ["verify", "nowhere"]), ("2>/dev/full", ["classify", "--nope"]), ("2>/dev/full", []),
], 6, first=3))  # fmt: skip
def test_a_full_stream_is_status_2_and_shows_no_traceback(case: tuple[str, list[str]]) -> None:
    closed, arguments = case
    result = with_closed(closed, *arguments)
    assert result.returncode == 2
    assert b"Traceback" not in result.stdout + result.stderr
    assert result.stderr.count(b"\n") <= 1


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_what_is_told_keeps_to_its_line_and_never_stops_the_work() -> None:
    code = r"import sys; sys.argv = ['x']; from pocketrnn.commands.standard_streams import print_line; "
    code += r"print_line('a\nb\x1b[31m\ud800\u00e9'); print_line('c' * 9000, err=True); print_line('d', err=True); "
    code += "print_line('end')"
    full = "2>/dev/full" if Path("/dev/full").exists() else "2>&-"
    told = subprocess.run(
        ["sh", "-c", f'"$@" {full}', "sh", sys.executable, "-c", code],
        capture_output=True, timeout=60, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert told.stdout == rb"a\nb\x1b[31m\ud800\xe9" + b"\nend\n"
    assert told.returncode == 0
