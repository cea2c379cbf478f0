"""The commands `train` and `evaluate`: what they say, write and refuse."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from training_data import LABELS, easy_texts, write_csv

from pocketrnn.commands.cli import main
from pocketrnn_training import training
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.commands.evaluate import evaluate
from pocketrnn_training.commands.train import train
from pocketrnn_training.loop import running_metrics
from pocketrnn_training.measures.evaluation import score_classes
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training_events import Epoch, Progress, StageNotice
from pocketrnn_training.training_events_as_text import EventLines

QUICK = [
    *("--hidden-dim", "8", "--embedding-dim", "8", "--batch-size", "16", "--learning-rate", "0.03"),
    *("--epochs", "2", "--min-freq", "1", "--device", "cpu", "--no-final-fit"),
]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", easy_texts(90))
    write_csv(tmp_path / "test.csv", easy_texts(60, seed=1))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def refused(*arguments: str, status: int = 2) -> str:
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "nothing.csv", "-o", "c"], "nothing.csv does not exist."),
        (["train", "reviews.csv", "-o", "c", "--text-column", "words"], "reviews.csv has no column 'words'"),
        (["train", "reviews.csv", "-o", "c", "--validation", "no.csv"], "no.csv does not exist."),
        (["train", "reviews.csv", "-o", "taken"], "taken exists already."),
        (["train", "reviews.csv", "-o", "c", "--resume"], "c holds no interrupted run"),
        (["train", "reviews.csv", "-o", "c", "--from", "b"], "b is not a folder."),
        (["train", "motions.ts", "-o", "c"], "motions.ts does not exist."),
        (["evaluate", "taken", "nothing.csv"], "nothing.csv does not exist."),
        (["export", "nothing", "-o", "b"], "nothing does not exist."),
        (["export", "model.py:Net", "-o", "b"], "model.py is not a file."),
        (["export", "taken", "-o", "taken"], "taken holds no config.json"),
    ],
)
def test_what_can_be_seen_without_pytorch_is_said_before_it_is_imported(
    command: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").mkdir()
    Path("taken/file").touch()
    # None: as if it were not installed.
    monkeypatch.setitem(sys.modules, "torch", None)
    assert said in refused(*command)


def test_a_run_that_is_redirected_has_a_line_for_each_epoch() -> None:
    result = run("train", "reviews.csv", "-o", "fitted", *QUICK, "--final-fit")
    assert result.exit_code == 0, result.output
    fitted = result.stderr
    assert not re.search(r"^epoch [12] .* row ", fitted, re.M)
    assert "of the recurrent part" in fitted
    assert re.search(r"Note: 2 epochs of 81 rows, .*all rows: about \d", fitted)
    assert [line[:9] for line in fitted.splitlines() if line.startswith("epoch")] == [
        "epoch 1  ",
        "epoch 2  ",
        "epoch 3/4",
        "epoch 4/4",
    ]


@pytest.mark.slow
def test_a_quiet_run_says_nothing_of_its_epochs() -> None:
    assert run("train", "reviews.csv", "-o", "none", *QUICK, "--quiet").stderr == ""


def test_of_many_epochs_about_twenty_have_a_line() -> None:
    shown: list[str] = []
    lines = EventLines(shown.append)
    for epoch in range(1, 61):
        lines.show_event(Progress(epoch, 120, 10, 10, 0.5, 0.5, 100.0))
        lines.show_event(Epoch(epoch, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, best=False))
    for epoch in range(61, 121):
        lines.show_event(Progress(epoch, 120, 10, 10, 0.5, 0.5, 100.0))
    lines.show_event(StageNotice("It is over."))
    assert len(shown) == 21
    assert [line[:9] for line in (shown[0], shown[9], shown[19])] == ["epoch 6  ", "epoch 60 ", "epoch 120"]


def test_train_then_evaluate() -> None:
    trained = run("train", "reviews.csv", "-o", "c", *QUICK, "--report-every", "40")
    assert trained.exit_code == 0, trained.output
    assert re.search(
        r"^epoch 1/2  row \d\d/81  training loss \d\.\d+  accuracy [\d.]+%  [\d,]+ rows/s  at most [\d:]+ left$",
        trained.stderr,
        re.M,
    )
    assert re.search(r"^epoch 2  validation loss \d\.\d+  accuracy [\d.]+%", trained.stderr, re.M)
    assert re.search(
        r"^The checkpoint .* in c: accuracy [\d.]+% on 9 validation rows, after epoch \d\.$",
        trained.stdout,
        re.M,
    )
    assert "pocketrnn export c -o c.bundle" in trained.stdout
    assert checkpoints.read(Path("c")).name == "c"

    shown = run("evaluate", "c", "test.csv")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"^accuracy [\d.]+% of 60 rows, mean F1 [\d.]+%$", shown.stdout, re.M)
    for label in LABELS:
        assert re.search(rf"^\d  {label} +[\d.]+% +[\d.]+% +[\d.]+% +20$", shown.stdout, re.M)
    told = json.loads(run("evaluate", "--json", "c", "test.csv").stdout)
    assert [c["label"] for c in told["classes"]] == list(LABELS)
    assert sum(map(sum, told["confusion"])) == told["rows"] == 60
    assert f"accuracy {told['accuracy']:.2%}" in shown.stdout


def test_evaluate_reads_other_rows_as_those_that_were_trained_on(somewhere_else: Path) -> None:
    rows = Path("reviews.csv").read_text().splitlines()[1:]
    Path("tickets.csv").write_text(
        "\n".join(["Queue,Body", *(row if i % 7 else row.upper() for i, row in enumerate(rows))])
    )
    columns = ("--text-column", "Body", "--label-column", "Queue")
    told = run("train", "tickets.csv", "-o", "c", *columns, *QUICK, "--epochs", "1")
    assert told.exit_code == 0, told.output
    assert "'CAT'" in told.stderr
    assert "--join-labels" in told.stderr
    told = run("train", "tickets.csv", "-o", "c", "--force", *columns, "--join-labels", *QUICK, "--epochs", "1")
    assert told.exit_code == 0, told.output
    assert "--join-labels" not in told.stderr
    assert checkpoints.read(Path("c")).labels == LABELS
    assert run("evaluate", "c", "tickets.csv").exit_code == 0
    assert "'Body'" in refused("evaluate", "c", "test.csv")
    assert run("evaluate", "c", "test.csv", "--text-column", "text", "--label-column", "label").exit_code == 0
    # A file that somebody changed is refused by who reads it whole.
    Path("c/config.json").write_text('{"data": {"columns": [7]}}')
    assert "config.json" in refused("evaluate", "c", "test.csv")


def examples_in_the_help(command: click.Command) -> list[str]:
    assert command.help is not None
    return re.findall(r"^\s*pocketrnn (.+)$", command.help, re.M)


@pytest.mark.parametrize(
    "example",
    [
        # test_training_runs.py exports what it trains, in the fast suite, and test_training_sequences.py trains on
        # numbers. Every third of the others is run there.
        pytest.param(example, marks=pytest.mark.slow if "--export" in example or "--window" in example or i % 3 else ())
        for i, example in enumerate(examples_in_the_help(train))
    ],
)
def test_the_helps_examples_of_train_run(example: str, somewhere_else: Path) -> None:
    easy = easy_texts(60)
    for name in ("one.tsv", "two.tsv"):
        lines = (f"{LABELS[target]}\t{text}" for target, text in zip(easy.targets, easy.texts, strict=True))
        (somewhere_else / name).write_text("\n".join(["topic\ttitle", *lines]))
    (somewhere_else / "glove.6B.100d.txt.gz").write_text("")
    (somewhere_else / "more.csv").write_text("text\nnoise cat0\n")
    tags = [[], ["sad"], ["long", "sad"], ["long"]] * 10
    tagged = [json.dumps({"text": f"a {' '.join(some)} film", "label": some}) for some in tags]
    (somewhere_else / "tags.jsonl").write_text("\n".join(tagged) + "\n")
    columns = "\t_\t{}\t_" + "\t_" * 5
    lines = [f"{1 + i % 2}\t{'ab'[i % 2]}{columns.format('XY'[i % 2])}\n{i % 2 * chr(10)}" for i in range(40)]
    for name in ("en-train.conllu", "en-dev.conllu"):
        (somewhere_else / name).write_text("".join(lines))
    (somewhere_else / "nli.csv").write_text(
        "premise,hypothesis,label\n" + "a cat sits,a cat,yes\na cat sits,an emu,no\n" * 20
    )
    # For the rows of reviews.csv and for that text.
    answers = pa.table({label: [1.0 if label == "cat" else 0.0] * 91 for label in LABELS})
    pyarrow.parquet.write_table(answers, somewhere_else / "probabilities.parquet")
    arguments = shlex.split(example)
    if "ag_news" in arguments:
        numbered = "\n".join(f'"{i % 4 + 1}","title{i % 4}","words {i}"' for i in range(40))
        (somewhere_else / "train.csv").write_text(numbered)
        (somewhere_else / "glove.6B.100d.txt.gz").write_bytes(gzip.compress(b"words 0.1 0.2 0.3\n"))
        arguments += ["--data-dir", str(somewhere_else)]
    if "--from" in arguments:
        (somewhere_else / "new.csv").write_text("label,text\n" + "emu,an emu\ncat,a cat0\n" * 10)
        small = ("--epochs", "1", "--min-freq", "1", "--hidden-dim", "8", "--embedding-dim", "8")
        assert run("train", "reviews.csv", "-o", "reviews.checkpoint", *small).exit_code == 0
    if of_numbers := arguments[1] in ("BasicMotions_TRAIN.ts", "walks.csv"):
        head = "@problemName motions\n@timeStamps false\n@univariate false\n@classLabel true up down\n@data\n"
        rows = [f"{i % 3},{i % 5},1:0,{i % 7},{i % 2}:{'up' if i % 2 else 'down'}" for i in range(40)]
        (somewhere_else / "BasicMotions_TRAIN.ts").write_text(head + "\n".join(rows) + "\n")
        steps = [f"{i % 3},{i % 5},{i % 7},{i // 60},{'up' if i // 60 % 2 else 'down'}" for i in range(1200)]
        (somewhere_else / "walks.csv").write_text("\n".join(["ax,ay,az,walk,label", *steps]) + "\n")
    words = ("--min-freq", "1")
    # That of the vectors, where there are some.
    embedding = () if "--vectors" in arguments else ("--embedding-dim", "8")
    result = run(*arguments, "--epochs", "1", "--hidden-dim", "8", *(() if of_numbers else (*words, *embedding)))
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_the_helps_first_example_of_evaluate_runs() -> None:
    assert run("train", "reviews.csv", "-o", "reviews.checkpoint", *QUICK).exit_code == 0
    example = examples_in_the_help(evaluate)[0]
    assert run(*shlex.split(example)).exit_code == 0


@pytest.mark.parametrize("command", [train, evaluate])
def test_every_option_has_help(command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help


def test_the_help_needs_no_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['pyarrow'] = None; from pocketrnn.commands.cli import main; "
        "main(['train', '--help'], standalone_mode=False); import pocketrnn_training; "
        "assert pocketrnn_training.TextSettings; "
        "from pocketrnn.errors import MissingExtraError\n"
        "try: pocketrnn_training.train\n"
        "except MissingExtraError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--epoch-size" in result.stdout
    assert re.search(r"pip install .*\[train\]", result.stdout)


def test_the_data_is_read_before_any_work_and_the_output_before_the_data() -> None:
    Path("c").mkdir()
    Path("c/mine.txt").write_text("mine")
    assert "c exists already" in refused("train", "missing.csv", "-o", "c")
    Path("c/resume.safetensors").touch()
    assert "--resume" in refused("train", "missing.csv", "-o", "c")
    assert "pocketrnn did not write it" in refused("train", "missing.csv", "-o", "c", "--force")
    assert "missing.csv does not exist" in refused("train", "missing.csv", "-o", "d")
    assert Path("c/mine.txt").read_text() == "mine"
    assert not Path("d").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reviews.csv", "--text-column", "body"], "no column 'body'"),
        (["reviews.csv", "ag_news"], "DATA names ag_news together with other data"),
        (["reviews.csv", "--data-dir", "."], "--data-dir is for ag_news only"),
        (["ag_news", "--data-dir", "."], "train.csv does not exist"),
        (["reviews.csv", "--vectors", "none.txt"], "none.txt does not exist"),
        (["reviews.csv", "--validation", "none.csv"], "none.csv does not exist"),
        (["reviews.csv", "--cell", "sru"], "sru"),
        (["reviews.csv", "--dropout", "1"], "--dropout"),
        (["reviews.csv", "--epochs", "0"], "--epochs"),
        (["reviews.csv", "--learning-rate", "0"], "--learning-rate"),
        (["reviews.csv", "--max-vocabulary", "1"], "--max-vocabulary is 1"),
        (["reviews.csv", "--min-freq", "100000"], "Not one token of the texts occurs at least 100000 times"),
        ([], "DATA"),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], says: str) -> None:
    assert says in refused("train", *arguments, "-o", "c")
    assert not Path("c").exists()


def test_the_only_row_of_a_class_is_trained_on_and_named() -> None:
    with Path("reviews.csv").open("a") as file:
        file.write("fox,fox0\n")
    result = run("train", "reviews.csv", "-o", "c", *QUICK, "--epochs", "1")
    assert result.exit_code == 0, result.output
    said = "The class 'fox' has 1 row, which is trained on: no validation row is left to measure it with."
    assert said in result.stderr
    assert "No validation row" not in result.stderr
    assert checkpoints.read(Path("c")).labels == ("cat", "dog", "elk", "fox")


def test_unknown_labels_are_refused(somewhere_else: Path) -> None:
    (somewhere_else / "other.csv").write_text("label,text\nfox,a\n")
    assert "'fox', which is not one of" in refused("train", "reviews.csv", "--validation", "other.csv", "-o", "c")
    checkpoints.write(training.train(easy_texts(60), TextSettings(epochs=1, hidden_dim=8, device="cpu")), Path("c"))
    assert "'fox', which is not one of" in refused("evaluate", "c", "other.csv")


def test_no_classifier_is_refused() -> None:
    assert refused("evaluate", "none", "test.csv")
    Path("empty").mkdir()
    assert refused("evaluate", "empty", "test.csv")
    Path("empty/config.json").write_text("{}")
    assert "is not a pocketrnn-checkpoint file" in refused("evaluate", "empty", "test.csv")


def test_an_unpacked_checkpoint_is_evaluated_as_it_was_trained(somewhere_else: Path) -> None:
    assert run("train", "reviews.csv", "-o", "c", "--padded", *QUICK, "--epochs", "1").exit_code == 0
    assert run("evaluate", "c", "test.csv").exit_code == 0
    config = json.loads(Path("c/config.json").read_text())
    del config["training"]["batch_size"]
    Path("c/config.json").write_text(json.dumps(config))
    assert "batch size of its training" in refused("evaluate", "c", "test.csv")


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, fault: BaseException) -> None:
    """Let a run end with `fault` when it first tells of `epoch`."""
    real = running_metrics.RunningMetrics.progress

    def progress(self: running_metrics.RunningMetrics, at: int, epochs: int, row: int, rows: int) -> Progress:
        if at == epoch:
            raise fault
        return real(self, at, epochs, row, rows)

    monkeypatch.setattr(running_metrics.RunningMetrics, "progress", progress)


def test_ctrl_c_in_the_first_epoch_keeps_the_old_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("train", "reviews.csv", "-o", "c", *QUICK, "--epochs", "1").exit_code == 0
    before = {path.name: path.read_bytes() for path in Path("c").iterdir()}
    interrupt_at(monkeypatch, 1, KeyboardInterrupt())
    result = run("train", "reviews.csv", "-o", "c", "--force", "--name", "other", *QUICK)
    assert result.exit_code == 130
    assert {path.name: path.read_bytes() for path in Path("c").iterdir()} == before


def test_ctrl_c_later_leaves_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 2, KeyboardInterrupt())
    result = run("train", "reviews.csv", "-o", "c", *QUICK)
    assert result.exit_code == 130
    assert re.search(r"so far is in c: .* epoch 1\.", result.stderr)
    assert checkpoints.read(Path("c")).metrics["epoch"] == 1


def test_a_run_that_fails_later_leaves_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 2, training.TrainingError("It failed.", "Try again."))
    assert "so far is in c" in refused("train", "reviews.csv", "-o", "c", *QUICK, status=1)
    assert checkpoints.read(Path("c")).metrics["epoch"] == 1


def test_no_room_on_the_disk_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, somewhere_else: Path) -> None:
    before = sorted(path.name for path in somewhere_else.iterdir())

    def write_bytes(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert "no room on the disk" in refused("train", "reviews.csv", "-o", "c", *QUICK)
    assert sorted(path.name for path in somewhere_else.iterdir()) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_real_sigint_leaves_a_whole_checkpoint() -> None:
    arguments = ["train", "reviews.csv", "-o", "c", *QUICK, "--epochs", "400", "--patience", "0"]
    command = [sys.executable, "-m", "pocketrnn", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            # With so many epochs, every twentieth has a line.
            if line.startswith("epoch 20 "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130, rest
    assert "so far is in c" in rest
    assert "Traceback" not in rest
    assert checkpoints.read(Path("c")).metrics["epoch"] >= 1
    assert not list(Path().glob(".c*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="opens a pseudo-terminal")
def test_a_terminal_gets_a_live_bar() -> None:
    import pty

    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "pocketrnn", "train", "reviews.csv", "-o", "c", *QUICK, "--epochs", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=writer, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(writer)
        shown = b"".join(chunks_of(reader))
        assert process.stdout is not None
        assert b"The checkpoint and its report are in c" in process.stdout.read()
    assert process.returncode == 0
    assert b"\x1b[" in shown
    assert b"rows/s" in shown
    assert b"validation loss" in shown


def chunks_of(terminal: int) -> Iterator[bytes]:
    # Read while the command runs: a terminal that nobody reads holds 4 KiB, and then its writer waits.
    try:
        while chunk := os.read(terminal, 65536):
            yield chunk
    except OSError as error:
        # Linux's error when the other end is closed.
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(terminal)


def test_scores_are_scikit_learns_and_safe_where_a_class_is_missing() -> None:
    result = score_classes(("a", "b", "c"), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    assert result.accuracy == 0.75
    assert [c.precision for c in result.classes] == [1.0, pytest.approx(2 / 3), 0.0]
    assert [c.recall for c in result.classes] == [0.5, 1.0, 0.0]
    assert [c.rows for c in result.classes] == [2, 2, 0]
    assert result.confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 0))


@pytest.mark.slow
def test_many_classes_are_shown_by_their_largest_confusions(somewhere_else: Path) -> None:
    lines = [f"class{i % 30:02},word{i % 30} word{i}" for i in range(120)]
    (somewhere_else / "many.csv").write_text("\n".join(["label,text", *lines]))
    assert run("train", "many.csv", "-o", "c", *QUICK, "--epochs", "1").exit_code == 0
    shown = run("evaluate", "c", "many.csv").stdout
    assert "--json gives the whole matrix" in shown
    assert max(map(len, shown.splitlines())) < 100
