"""A run as a whole: resumed after any death, in several processes, its folder, its report, its notices."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from slow_case_sampling import mostly_slow
from training_data import LABELS, QUICK, answer_rows, easy_texts, noting, write_csv

from pocketrnn.bundle.atomic_writing import repair_interrupted_write
from pocketrnn.bundle.manifest import read_manifest as read_manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, InputError
from pocketrnn_training import run_folder, training
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint_file_names import RESUME, holds_interrupted_run
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits, encode_rows
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier
from pocketrnn_training.loop import running_metrics
from pocketrnn_training.loop.training_processes import ProcessError
from pocketrnn_training.measures.temperature_scaling import compute_calibration_error, fit_temperature
from pocketrnn_training.report import report_pictures
from pocketrnn_training.report import run_report as report
from pocketrnn_training.report.run_report import render_markdown_as_html_page
from pocketrnn_training.rows.epoch_batches import draw_epoch_row_numbers
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.training import TrainingState, train
from pocketrnn_training.training_events import Epoch, Notice, Progress

OPTIONS = [
    *("--hidden-dim", "8", "--embedding-dim", "8", "--batch-size", "16", "--learning-rate", "0.03", "--dropout", "0.2"),
    *("--min-freq", "1", "--device", "cpu", "--patience", "0", "--adversarial", "0.1", "--no-final-fit"),
]
# A model that exports faster: one layer of one direction, which reads padded texts.
SIMPLE = [*OPTIONS, "--padded", "--one-direction"]


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_csv(tmp_path / "reviews.csv", easy_texts(90))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


# Resuming


def states_of(data: LabelledTexts, settings: object = QUICK) -> list[TrainingState]:
    states: list[TrainingState] = []
    train(data, settings, keep=states.append)  # type: ignore[arg-type]
    return states


@pytest.mark.parametrize(
    "change",
    mostly_slow(
        [
            {},
            {"tokenizer": "bpe", "vocabulary_size": 60},
            {"packed": False},
            {"epoch_size": 100},
            {"adversarial": 0.2, "layers": 2},
            {"patience": 1},
        ],
        6,
    ),
)
def test_a_run_resumed_after_any_epoch_gives_the_weights_of_an_unbroken_one(
    tmp_path: Path, change: dict[str, object]
) -> None:
    data, settings = easy_texts(60), replace(QUICK, dropout=0.3, epochs=3, **change)
    unbroken = states_of(data, settings)
    for after, state in enumerate(unbroken[:-1], start=1):
        folder = tmp_path / str(after)
        run_folder.write_epoch(state, folder, force=False)
        resumed: list[TrainingState] = []
        torch.rand(3)
        best = train(data, settings, resume=run_folder.read_state(folder), keep=resumed.append)
        assert len(resumed) == len(unbroken) - after
        for name, tensor in unbroken[-1].tensors.items():
            assert torch.equal(resumed[-1].tensors[name], tensor), name
        for name, tensor in unbroken[-1].best.module.state_dict().items():
            assert torch.equal(best.module.state_dict()[name], tensor), name
        assert best.metrics == unbroken[-1].best.metrics
        assert [replace(e, seconds=0) for e in resumed[-1].history] == [
            replace(e, seconds=0) for e in unbroken[-1].history
        ]


def test_a_run_is_not_resumed_with_other_data_or_settings() -> None:
    settings = replace(QUICK, epochs=2)
    state = states_of(easy_texts(60), settings)[0]
    with pytest.raises(InputError, match="other data"):
        train(easy_texts(60, seed=1), settings, resume=state)
    with pytest.raises(InputError, match=rf"batch_size {QUICK.batch_size}, not 8"):
        train(easy_texts(60), replace(settings, batch_size=8), resume=state)
    train(easy_texts(60), replace(settings, report_every=7), resume=state)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_run_that_is_killed_goes_on_to_the_same_files(reviews: Path) -> None:
    command = ["train", str(reviews), *OPTIONS, "--epochs", "8", "--name", "c"]
    with subprocess.Popen(
        [sys.executable, "-m", "pocketrnn", *command, "-o", "killed"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3  validation"):
                process.kill()
                break
        process.wait()
    assert process.returncode == -signal.SIGKILL
    resumed = run(*command, "-o", "killed", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "epoch 1/8" not in resumed.stderr
    unbroken = run(*command, "-o", "unbroken")
    assert unbroken.exit_code == 0
    for name in ("weights.safetensors", "config.json"):
        assert Path("killed", name).read_bytes() == Path("unbroken", name).read_bytes()
    assert not list(Path().glob(".killed*"))


def test_the_command_resumes_only_what_was_broken_off_and_the_same(
    reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", str(reviews), "-o", "c", *OPTIONS, "--epochs", "2"]
    nothing = run(*command, "--resume")
    assert nothing.exit_code == 2
    assert "c holds no interrupted run" in nothing.stderr

    progress = running_metrics.RunningMetrics.progress

    def interrupted(self: running_metrics.RunningMetrics, epoch: int, epochs: int, row: int, rows: int) -> Progress:
        if epoch == 2:
            raise KeyboardInterrupt
        return progress(self, epoch, epochs, row, rows)

    with monkeypatch.context() as patched:
        patched.setattr(running_metrics.RunningMetrics, "progress", interrupted)
        broken = run(*command)
    assert broken.exit_code == 130
    assert "same command and --resume." in broken.stderr
    assert holds_interrupted_run(Path("c"))
    files = {path.name: path.read_bytes() for path in Path("c").iterdir()}
    other = run(*command, "--resume", "--hidden-dim", "9")
    assert other.exit_code == 2
    assert "other settings: --hidden-dim 8, not 9" in other.stderr
    write_csv(reviews.with_name("others.csv"), easy_texts(90, seed=1))
    changed = run("train", str(reviews.with_name("others.csv")), *command[2:], "--resume")
    assert "other data" in changed.stderr
    assert "same command and --resume." not in changed.stderr
    assert {path.name: path.read_bytes() for path in Path("c").iterdir()} == files

    assert run(*command, "--resume").exit_code == 0
    over = run(*command, "--resume")
    assert over.exit_code == 2
    assert "c holds no interrupted run" in over.stderr


@pytest.mark.parametrize("content", mostly_slow([b"", b"\x00" * 64, b"not a tensor file at all"], 3))
def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "c"
    run_folder.write_epoch(states_of(easy_texts(60), replace(QUICK, epochs=1))[0], folder, force=False)
    whole = (folder / RESUME).read_bytes()
    other_loss = re.sub(rb'training_loss\\": \d', lambda m: m[0][:-1] + (b"7" if m[0][-1:] != b"7" else b"8"), whole)
    renamed = whole.replace(b"module.fc.bias", b"module.fc.bjas", 1)
    for damaged in (content, whole[:-9], whole.replace(b"history", b"mystery", 1), other_loss, renamed):
        assert damaged != whole
        (folder / RESUME).write_bytes(damaged)
        with pytest.raises(CheckpointError, match="missing or damaged"):
            run_folder.read_state(folder)


def test_a_kill_between_the_two_renames_is_undone(tmp_path: Path) -> None:
    aside = tmp_path / ".c.abcd1234.old"
    (aside / "c").mkdir(parents=True)
    (aside / "c/config.json").write_text("{}")
    left_behind, others = (
        (".c.left_beh.partial",),
        (".c.2.abcd1234.old", ".c.2.abcd1234.partial", ".c.alive123.partial"),
    )
    for name in (*left_behind, *others):
        (tmp_path / name / "c.2").mkdir(parents=True)
    for name in (*left_behind, *others[:2]):
        for path in (tmp_path / name / "c.2", tmp_path / name):
            os.utime(path, (0, 0))
    repair_interrupted_write(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*others, "c"]
    assert (tmp_path / "c/config.json").read_text() == "{}"


@given(rows=st.integers(1, 30), size=st.integers(1, 70), seed=st.integers(0, 5), epochs=st.integers(1, 6))
def test_every_row_is_drawn_once_before_any_is_drawn_again(rows: int, size: int, seed: int, epochs: int) -> None:
    drawn = np.concatenate([draw_epoch_row_numbers(rows, size, epoch, seed) for epoch in range(1, epochs + 1)])
    assert len(drawn) == size * epochs
    for start in range(0, len(drawn), rows):
        part = drawn[start : start + rows]
        assert len(set(part.tolist())) == len(part)
        assert set(part.tolist()) <= set(range(rows))


# Several processes


def curve_of(settings: object) -> list[float]:
    losses = []

    def report_to(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Progress):
            losses.append(event.loss)

    train(easy_texts(250), settings, report=report_to)  # type: ignore[arg-type]
    return losses


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_with_twice_the_batch() -> None:
    # Dropout is drawn in each process for itself. The last batch of an epoch is odd: 225 rows.
    settings = replace(QUICK, dropout=0.0, word_dropout=0.0, epochs=2, report_every=50, class_weights="balanced")
    one = curve_of(settings)
    two = curve_of(replace(settings, processes=2, batch_size=8))
    assert len(one) == len(two) > 6
    np.testing.assert_allclose(two, one, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_stops_several_processes_and_keeps_the_best(reviews: Path) -> None:
    command = [sys.executable, "-m", "pocketrnn", "train", str(reviews), "-o", "c", *OPTIONS]
    with subprocess.Popen(
        [*command, "--processes", "2", "--epochs", "400"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 20 "):
                # As a terminal does: to the whole group.
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130, rest
    assert "so far is in c" in rest
    assert "Traceback" not in rest
    assert checkpoints.read(Path("c")).metrics["epoch"] >= 1
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process is left over")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_processes_end_with_the_one_that_started_them(reviews: Path) -> None:
    command = [sys.executable, "-m", "pocketrnn", "train", str(reviews), "-o", "c", *OPTIONS]
    with subprocess.Popen(
        [*command, "--processes", "2", "--epochs", "400"], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 20 "):
                process.kill()
                break
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process is left over")


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_here() -> None:
    settings = replace(QUICK, processes=2, cell="rnn_relu", layers=3, learning_rate=1e30, epochs=5)
    with pytest.raises(training.TrainingError, match=r"in epoch 1, .*learning rate"):
        train(easy_texts(60), settings)


@pytest.mark.slow
def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        """Unpickled in the new process, this ends it."""

        def __reduce__(self) -> tuple[object, tuple[int]]:
            return os._exit, (9,)

    monkeypatch.setattr("pocketrnn_training.loop.training_processes._SilentFabric", Dying)
    with pytest.raises(ProcessError, match=r"process ended: .*__main__"):
        train(easy_texts(60), replace(QUICK, processes=2))


@pytest.mark.slow
def test_bf16_trains_and_its_checkpoint_is_float32() -> None:
    checkpoint = train(easy_texts(480), replace(QUICK, precision="bf16", epochs=6))
    assert checkpoint.metrics["validation_accuracy"] > 0.7
    assert {tensor.dtype for tensor in checkpoint.module.state_dict().values()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_what_a_cpu_learns() -> None:
    accuracy = {
        device: train(easy_texts(480), replace(QUICK, device=device, epochs=6)).metrics["validation_accuracy"]
        for device in ("cpu", "cuda")
    }
    assert abs(accuracy["cuda"] - accuracy["cpu"]) < 0.1


# The folder and its report


def test_a_run_folder_holds_all_that_is_asked_of_it(reviews: Path) -> None:
    result = run("train", str(reviews), "-o", "c", *OPTIONS, "--epochs", "2", "--logger", "tensorboard")
    assert result.exit_code == 0, result.output
    pictures = ["accuracy_by_length.png", "confusion.png", "learning_curve.png"]
    files = ["config.json", "history.csv", "report.html", "report.md", "weights.safetensors"]
    assert sorted(path.name for path in Path("c").iterdir()) == sorted(files + pictures)
    for picture in pictures:
        assert Path("c", picture).read_bytes().startswith(b"\x89PNG")
        assert f"({picture})" in Path("c/report.md").read_text()
    assert Path("c/report.html").read_text().count('src="data:image/png;base64,iVBOR') == len(pictures)
    history = list(csv.DictReader(Path("c/history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert all(0 <= float(row["validation_accuracy"]) <= 1 and float(row["training_loss"]) > 0 for row in history)
    written = Path("c/report.md").read_text()
    for part in ("Learning curve", "Classes", "Accuracy by length", "The worst mistakes", "Data", "Settings"):
        assert f"\n## {part}\n" in written
    assert list(Path("c.tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.slow
@pytest.mark.usefixtures("fine_pictures")
def test_the_report_shows_any_label_and_any_text_as_it_is(tmp_path: Path) -> None:
    labels = ("Sci/Tech", "日本", "a|b\n# c")
    data = easy_texts(90)
    hostile = ["<script>alert(1)</script>", "| cell |", "[link](http://x)", "\ud800 half", "\x1b[31mred\n\n# head", ""]
    data = LabelledTexts([*data.texts, *hostile], np.append(data.targets, [0, 1, 2, 0, 1, 2]), labels, "a_b*c")
    states = states_of(data, replace(QUICK, epochs=1, learning_rate=1e-4, linear=False))
    validation = LabelledTexts(hostile, np.array([0, 1, 2, 0, 1, 2]), labels, "hostile")
    others = report.OtherResults([Notice("a <b>notice</b>")])
    answers = answer_rows(states[-1].best, validation)
    report.write_report(tmp_path, states[-1].best, states[-1].history, validation, answers, others)
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "日本" in written
    assert "<" not in written.replace("\\<", "")
    assert "\x1b" not in written
    assert not re.search(r"(?m)^# head", written)
    assert "\\# head" in written
    mistakes = written.partition("## The worst mistakes")[2].partition("## Data")[0]
    _, head, *rows = [line for line in mistakes.splitlines() if line.startswith("|") or "rows are given" in line]
    assert head == "| class given | probability | true class | text |"
    assert len(rows) > 1
    # A bar in a text or a label ends no cell.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    page = Page.of((tmp_path / "report.html").read_text(encoding="ascii"))
    wrong = [text for text in hostile[:3] if report._shorten_and_escape(text) in mistakes]
    assert wrong
    assert {*wrong, "Sci/Tech", "日本"} <= set(page.cells)
    assert "script" not in page.tags
    assert not {"a", "link"} & set(page.tags)


class Page(HTMLParser):
    """The tags of a page, and what its cells hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.in_cell = False

    @classmethod
    def of(cls, text: str) -> Page:
        page = cls()
        page.feed(text)
        return page

    def handle_starttag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.cells += [""] * (tag == "td")
        self.in_cell = tag == "td"

    def handle_endtag(self, _tag: str) -> None:
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.cells[-1] += data


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Co", "Cn"])))
def test_the_page_shows_what_the_markdown_shows(text: str) -> None:
    lines = [
        "# a",
        "",
        "| | |",
        "|---|---:|",
        f"| {report._shorten_and_escape(text)} | {report._shorten_and_escape(text)} |",
    ]
    assert Page.of(render_markdown_as_html_page(lines, {})).cells == [text] * 2
    assert "<p><strong>9.50 %</strong> &amp; <code>--a</code>" in render_markdown_as_html_page(
        ["# a", "", "**9.50 %** & `--a`"], {}
    )


def test_classes_are_named_in_the_picture_and_those_confused_most_are_drawn() -> None:
    assert [report_pictures.make_tick_label(0, name) for name in ("so good", "日本", "a\nb", " ", "x" * 31)] == [
        *("so good", "1", "1", "1", f"{'x' * 30}... (1)"),
    ]
    counts = np.eye(200, dtype=np.int64)
    counts[150, 160] = counts[7, 199] = 3
    drawn = report_pictures._find_most_confused_classes(counts).tolist()
    assert len(drawn) == 80
    assert {7, 150, 160, 199} <= set(drawn)
    assert drawn == sorted(drawn)


@pytest.mark.usefixtures("fine_pictures")
@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 97])
def test_a_report_of_many_classes_and_one_length_is_drawn(tmp_path: Path, classes: int) -> None:
    labels = tuple(f"class {i}" for i in range(classes))
    targets = np.arange(classes * 4) % classes
    data = LabelledTexts([f"word{target} it" for target in targets], targets, labels, "one length")
    states = states_of(data, replace(QUICK, epochs=1))
    # One row is wrong, whatever is learnt of it: its text has the other class elsewhere.
    wrong = replace(data, targets=np.append(1, targets[1:]))
    answers = answer_rows(states[-1].best, wrong)
    report.write_report(tmp_path, states[-1].best, states[-1].history, wrong, answers, report.OtherResults())
    written = (tmp_path / "report.md").read_text()
    assert f"| {classes} | class {classes - 1} |" in written
    assert ("The picture has the 80 of" in written) == (classes > 80)
    assert ("| true class | class given | rows |" in written) == (classes > 80)


@pytest.mark.slow
def test_train_goes_all_the_way_to_a_bundle(reviews: Path) -> None:
    result = run("train", str(reviews), "-o", "c", *SIMPLE, "--epochs", "1", "--export", "bundle")
    assert result.exit_code == 0, result.output
    assert "Text rules: those that it was trained with." in result.stdout
    bundle = read_manifest(Path("bundle"))
    assert bundle.labels == LABELS
    assert bundle.provenance["metrics"]["temperature"] == checkpoints.read(Path("c")).metrics["temperature"]
    taken = run("train", str(reviews), "-o", "d", *OPTIONS, "--export", "bundle")
    assert taken.exit_code == 2
    assert "bundle exists already" in taken.stderr
    assert not Path("d").exists()


# Calibration


@given(st.floats(0.4, 3.0), st.integers(0, 5))
def test_the_temperature_that_was_put_in_is_found(temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (probabilities.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    sharpened = torch.tensor(logits * temperature, dtype=torch.float32)
    found = fit_temperature(sharpened, torch.from_numpy(targets))
    assert found == pytest.approx(temperature, rel=0.12)
    assert compute_calibration_error(sharpened / found, torch.from_numpy(targets)) < 0.035


def test_a_few_rows_that_are_all_right_do_not_make_every_answer_certain() -> None:
    logits = torch.eye(3).repeat(4, 1)
    assert fit_temperature(logits, torch.arange(3).repeat(4)) > 0.2


def test_the_calibration_error_is_the_distance_of_probability_and_accuracy() -> None:
    # Ten rows at 0.75 of which five are right, ten at 0.95 of which all are.
    odds = torch.tensor([[0.75, 0.25]] * 10 + [[0.95, 0.05]] * 10)
    targets = torch.tensor([0] * 5 + [1] * 5 + [0] * 10)
    assert compute_calibration_error(odds.log(), targets) == pytest.approx((0.25 * 10 + 0.05 * 10) / 20)


@pytest.mark.slow
def test_a_checkpoints_probabilities_are_calibrated_on_its_validation_rows() -> None:
    rng = np.random.default_rng(0)
    noisy = easy_texts(300)
    targets = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), noisy.targets)
    checkpoint = train(LabelledTexts(noisy.texts, targets, LABELS, "noisy"), replace(QUICK, epochs=10, patience=None))
    metrics = checkpoint.metrics
    assert metrics["temperature"] != 1.0
    # The temperature makes the loss least. The calibration error of 30 rows may still grow, by chance.
    assert metrics["calibrated_validation_loss"] < metrics["validation_loss"]


# Notices


def notices_of(data: LabelledTexts, validation: LabelledTexts | None = None, **change: object) -> str:
    found: list[str] = []
    train(data, replace(QUICK, epochs=1, **change), validation=validation, report=noting(found))
    return "\n".join(found)


def labelled(*rows: tuple[str, str]) -> LabelledTexts:
    targets = np.array([LABELS.index(label) for label, _ in rows])
    return LabelledTexts([text for _, text in rows], targets, LABELS, "rows")


def test_what_is_odd_about_the_rows_is_said() -> None:
    rows = [("cat", "a purr"), ("dog", "a bark"), ("elk", "a bell"), ("cat", "a purr"), ("dog", "a purr")]
    said = notices_of(labelled(*rows), labelled(("cat", "a purr"), ("dog", "new")))
    assert "2 of 5 training rows repeat" in said
    assert re.search(r"1 texts? of the training rows [^.]*several labels, such as 'a purr'\.", said)
    assert re.search(r"1 of 2 validation rows [^.]*trained on, such as 'a purr'", said)
    assert "The class 'elk' has 1 row, which is trained on: no validation row is left" in said
    assert notices_of(easy_texts(90)) == ""
    # A long text, and two without a word.
    more = [("cat", "a purr " * 5_000), ("dog", ""), ("dog", " ")]
    odd = notices_of(labelled(*rows, *more), labelled(("cat", "new"), ("dog", "newer"), ("elk", "newest")))
    assert re.search(r"2 of 8 training rows [^.]*empty text", odd)
    assert "1 of 8 training rows have 256 tokens or more. Only the first 256 are read; --max-tokens reads more." in odd


@pytest.mark.slow
def test_a_skewed_set_is_told_of_class_weights_and_they_help_the_rare_class() -> None:
    easy = easy_texts(900)
    # All rows of the first class, and every thirtieth of the others.
    rare = np.array([i for i in range(900) if easy.targets[i] == 0 or i % 30 == 0])
    skewed = easy.rows(rare)
    assert "class weights" in notices_of(skewed)
    assert "class weights" not in notices_of(skewed, class_weights="balanced")
    held_out = easy_texts(300, seed=1)
    shares = {}
    for weights in ("none", "balanced"):
        checkpoint = train(skewed, replace(QUICK, epochs=3, class_weights=weights, linear=False), validation=held_out)
        shares[weights] = checkpoint.metrics["validation_accuracy"]
    assert shares["balanced"] > shares["none"]


def test_no_text_is_held_out_that_is_also_trained_on() -> None:
    easy = easy_texts(120)
    doubled = LabelledTexts([*easy.texts] * 2, np.tile(easy.targets, 2), LABELS, "twice")
    settings = replace(QUICK, validation_share=0.3)
    training_rows, held_out = doubled.split(None, settings)
    assert not set(training_rows.texts) & set(held_out.texts)
    assert len(training_rows) + len(held_out) == 240
    assert set(held_out.targets.tolist()) == {0, 1, 2}


def test_the_last_row_of_a_class_stays_held_out_though_its_text_is_trained_on() -> None:
    data = labelled(*[(label, f"the {label}") for label in LABELS for _ in range(4)])
    _, held_out = data.split(None, QUICK)
    assert sorted(held_out.targets.tolist()) == [0, 1, 2]


def test_no_row_is_lost_where_a_class_has_one_row_only() -> None:
    rows = labelled(("cat", "a"), ("cat", "b"), ("dog", "c"), ("dog", "d"), ("elk", "e"))
    training_rows, held_out = rows.split(None, QUICK)
    assert sorted([*training_rows.texts, *held_out.texts]) == list("abcde")
    assert "e" in training_rows.texts


def test_a_kept_state_holds_plain_tensors(tmp_path: Path) -> None:
    state = states_of(easy_texts(60), replace(QUICK, epochs=1))[0]
    run_folder.write_epoch(state, tmp_path / "c", force=False)
    assert set(load_file(tmp_path / "c" / RESUME)) == set(state.tensors)


def test_a_second_run_into_a_folder_is_told_before_it_reads_the_data(reviews: Path) -> None:
    Path("unread.csv").write_text("label,text\nx,a\n,b\n")
    with run_folder.lock_folder(Path("c")):
        for more in ((), ("--force",)):
            second = run("train", "unread.csv", "-o", "c", *OPTIONS, *more)
            assert second.exit_code == 2
            assert "Another training run is writing c." in second.stderr
        with run_folder.lock_folder(Path("d")):
            pass
    assert not list(Path().glob(".*.lock"))
    assert run("train", str(reviews), "-o", "c", *OPTIONS, "--epochs", "1").exit_code == 0
    assert not list(Path().glob(".*.lock"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_the_claim_of_a_run_that_was_killed_is_void(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    made = "import pathlib, os, signal\nfrom pocketrnn_training import run_folder\n"
    code = f"{made}with run_folder.lock_folder({folder!r}):"
    code = code.replace("PosixPath", "pathlib.Path") + "\n    os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".c.lock").exists()
    with run_folder.lock_folder(folder):
        pass
    assert not (tmp_path / ".c.lock").exists()


def test_the_history_and_the_checkpoint_mean_the_same_by_validation_loss(tmp_path: Path) -> None:
    state = states_of(easy_texts(60), QUICK)[-1]
    best = state.history[state.best.metrics["epoch"] - 1]
    assert state.best.metrics["validation_loss"] == best.validation_loss
    assert state.best.metrics["calibrated_validation_loss"] != best.validation_loss


@pytest.mark.slow
def test_the_report_has_the_answers_that_reading_the_validation_rows_again_would_give() -> None:
    state = states_of(easy_texts(), replace(QUICK, epochs=2))[-1]
    known = report.ValidationAnswers.from_state(state)
    _, held_out = easy_texts().split(None, QUICK)
    encoded = encode_rows(held_out.inputs, state.best)
    logits = compute_logits(state.best.module, encoded, int(state.best.training["batch_size"]))
    np.testing.assert_allclose(state.best.answers.probabilities(logits.numpy()), known.probabilities, atol=1e-5)
    np.testing.assert_array_equal(encoded.lengths, known.lengths)


def test_a_training_that_diverges_to_a_large_loss_says_so_once() -> None:
    def noted(settings: object) -> list[str]:
        found: list[str] = []
        train(easy_texts(90), settings, report=noting(found))  # type: ignore[arg-type]
        return found

    assert noted(replace(QUICK, epochs=2)) == []
    (said,) = noted(replace(QUICK, learning_rate=3.0, epochs=2))
    assert re.search(r"diverged: the loss of epoch 1 is .* guessing is 1\.10\. Train again with a lower", said)


def test_a_run_uses_the_threads_asked_for_and_leaves_torch_as_it_was() -> None:
    before, used = torch.get_num_threads(), set()
    for threads in (1, 2):
        train(
            easy_texts(60),
            replace(QUICK, epochs=1, threads=threads),
            report=lambda _: used.add(torch.get_num_threads()),
        )
    assert used == {1, 2}
    assert torch.get_num_threads() == before


# Training only


def test_adversarial_training_reads_each_row_again_where_it_hurts() -> None:
    hard = replace(QUICK, learning_rate=0.01, epochs=1, dropout=0.0)
    plain = states_of(easy_texts(60), hard)[-1].history[-1]
    against = states_of(easy_texts(60), replace(hard, adversarial=0.5))[-1].history[-1]
    # The second reading's gradient counts too, so that more is learnt of the same rows.
    assert against.training_loss != plain.training_loss


@pytest.mark.slow
def test_adversarial_training_learns() -> None:
    assert train(easy_texts(480), replace(QUICK, adversarial=0.1, epochs=6)).metrics["validation_accuracy"] > 0.9


def test_an_adversarial_shift_is_as_long_as_asked_and_raises_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float, float]] = []
    read = RecurrentClassifier.forward

    def forward(
        self: RecurrentClassifier,
        tokens: torch.Tensor,
        lengths: torch.Tensor | None = None,
        shift: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if shift is not None and not shift.requires_grad:
            with torch.no_grad():
                real = (tokens != 1).unsqueeze(2)
                length = float((self.embedding(tokens) * real)[0].norm())
                apart = (
                    torch.logsumexp(read(self, tokens, lengths, shift), 1),
                    torch.logsumexp(read(self, tokens, lengths), 1),
                )
                seen.append((float(shift[0].norm()), length, float((apart[0] - apart[1]).abs().max())))
        return read(self, tokens, lengths, shift)

    monkeypatch.setattr(RecurrentClassifier, "forward", forward)
    train(easy_texts(60), replace(QUICK, adversarial=0.3, epochs=1, dropout=0.0))
    assert seen
    for shift, length, apart in seen:
        assert shift == pytest.approx(0.3 * length, rel=1e-4)
        assert apart > 0


@pytest.mark.slow
def test_none_of_the_texts_is_in_what_is_made_without_examples(reviews: Path) -> None:
    shown = run("train", str(reviews), "-o", "shown", *OPTIONS, "--epochs", "1")
    assert "of your texts, as examples" in shown.stdout
    texts = checkpoints.read(Path("shown")).examples
    result = run("train", str(reviews), "-o", "c", *OPTIONS, "--epochs", "1", "--no-examples", "--export", "bundle")
    assert result.exit_code == 0, result.output
    assert "--no-examples" not in result.stdout
    kept = checkpoints.read(Path("c"))
    assert kept.examples
    assert not set(texts) & set(kept.examples)
    made = read_manifest(Path("bundle"))
    assert made.provenance["golden_examples"] == "made of words of the vocabulary"
    assert not set(texts) & {example.text for example in made.examples}
