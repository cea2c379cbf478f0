"""A run as a program drives it, without the command line: what it writes, keeps, resumes and refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from training_data import LABELS, QUICK, easy_texts, write_csv

from pocketrnn.errors import InputError, OutputError
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint_file_names import holds_interrupted_run
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.training_events import Epoch, Notice, Progress
from pocketrnn_training.training_run import TrainingRun


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    return DataSource((str(write_csv(tmp_path / "reviews.csv", easy_texts(60))),))


def interrupt_after(epoch: int) -> Callable[[Progress | Epoch | Notice], None]:
    def report(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Epoch) and event.epoch == epoch:
            raise KeyboardInterrupt

    return report


def test_a_run_reads_trains_reports_and_writes_its_folder(source: DataSource, tmp_path: Path) -> None:
    events: list[Progress | Epoch | Notice] = []
    run = TrainingRun(source, tmp_path / "c", QUICK)
    assert (run.state, run.has_kept) == (None, False)
    best = run.train(events.append)
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3]
    assert (best.name, best.labels) == ("c", LABELS)
    assert checkpoints.read(tmp_path / "c").metrics == best.metrics
    assert (tmp_path / "c/report.md").read_text().startswith("# c\n")
    assert not holds_interrupted_run(tmp_path / "c")


def test_a_run_validates_with_the_files_it_is_given(source: DataSource, tmp_path: Path) -> None:
    held_out = write_csv(tmp_path / "held_out.csv", easy_texts(30, seed=1))
    best = TrainingRun(source, tmp_path / "c", replace(QUICK, epochs=1), name="easy", validation=(held_out,)).train()
    assert best.name == "easy"
    assert (best.data["training_rows"], best.data["validation_rows"]) == (60, 30)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_files(source: DataSource, tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=4)
    interrupted = TrainingRun(source, tmp_path / "c", settings, name="easy")
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(interrupt_after(2))
    assert interrupted.has_kept
    assert interrupted.state is not None
    assert len(interrupted.state.history) == 2
    assert not (tmp_path / "c/report.md").exists()
    resumed = TrainingRun(source, tmp_path / "c", settings, name="easy", resume=True)
    assert resumed.state is not None
    assert not resumed.has_kept
    resumed.train()
    TrainingRun(source, tmp_path / "unbroken", settings, name="easy").train()
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_run_refuses_its_folder_before_any_work(source: DataSource, tmp_path: Path) -> None:
    missing = DataSource((str(tmp_path / "missing.csv"),))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        TrainingRun(missing, tmp_path / "mine", QUICK)
    with pytest.raises(InputError, match=r"no interrupted run .*--resume"):
        TrainingRun(missing, tmp_path / "c", QUICK, resume=True)
    with pytest.raises(KeyboardInterrupt):
        TrainingRun(source, tmp_path / "c", QUICK).train(interrupt_after(1))
    with pytest.raises(InputError, match="hidden_dim 8, not 9"):
        TrainingRun(missing, tmp_path / "c", replace(QUICK, hidden_dim=9), resume=True)


@pytest.mark.slow
def test_a_run_needs_neither_click_nor_a_terminal_library(source: DataSource, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "from pathlib import Path\n"
        "from pocketrnn_training import TextSettings\n"
        "from pocketrnn_training.rows.data_source import DataSource\n"
        "from pocketrnn_training.training_run import TrainingRun\n"
        "settings = TextSettings(epochs=1, min_freq=1, hidden_dim=8, embedding_dim=8, device='cpu')\n"
        "run = TrainingRun(DataSource((sys.argv[1],)), Path(sys.argv[2]), settings)\n"
        "print(run.train().labels)"
    )
    command = [sys.executable, "-c", code, source.names[0], str(tmp_path / "c")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(LABELS)
