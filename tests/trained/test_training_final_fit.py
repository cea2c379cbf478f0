"""The final fit: once more, on all rows, after validation has said what can be expected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from training_data import QUICK, easy_texts, write_csv

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_training import run_folder
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import FITTED_ROWS
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import TrainingState, train
from pocketrnn_training.training_events import Epoch, Notice, Progress

FITTED = replace(QUICK, final_fit=True)


def states_of(settings: TextSettings, data: LabelledTexts | None = None, **more: object) -> list[TrainingState]:
    states: list[TrainingState] = []
    train(data or easy_texts(60), settings, keep=states.append, **more)  # type: ignore[arg-type]
    return states


@pytest.mark.parametrize(
    "change", mostly_slow([{"epoch_size": 30}, {}, {"tokenizer": "bpe", "vocabulary_size": 60}], 3)
)
def test_a_run_resumed_in_either_fit_gives_the_weights_of_an_unbroken_one(
    tmp_path: Path, change: dict[str, object]
) -> None:
    settings = replace(FITTED, dropout=0.3, epochs=2, **change)
    unbroken = states_of(settings)
    assert [(len(state.history), state.fitted) for state in unbroken] == [(1, 0), (2, 0), (2, 1), (2, 2)]
    for after, state in enumerate(unbroken):
        run_folder.write_epoch(state, tmp_path / str(after), force=False)
        resumed: list[TrainingState] = []
        made = train(easy_texts(60), settings, resume=run_folder.read_state(tmp_path / str(after)), keep=resumed.append)
        assert len(resumed) == len(unbroken) - after - 1
        for name, tensor in unbroken[-1].best.module.state_dict().items():
            assert torch.equal(made.module.state_dict()[name], tensor), name


@pytest.mark.slow
def test_the_figures_are_of_the_last_epoch_before_it_and_the_weights_are_of_all_rows() -> None:
    events: list[Progress | Epoch | Notice] = []
    states = states_of(FITTED, report=events.append)
    before, made = states[2].best, states[-1].best
    assert made.metrics == before.metrics
    assert made.metrics["epoch"] == 3
    assert made.data == {**before.data, FITTED_ROWS: 60}
    assert not torch.equal(made.module.fc.weight, before.module.fc.weight)
    assert all(state.best.module is before.module for state in states[3:-1])
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.epoch, event.epochs, event.rows) for event in progress] == [
        *((epoch, 6, before.data["training_rows"]) for epoch in (1, 2, 3)),
        *((epoch, 6, 60) for epoch in (4, 5, 6)),
    ]
    assert len([event for event in events if isinstance(event, Epoch)]) == 3


@pytest.mark.slow
def test_after_patience_it_reads_as_many_epochs_as_were_kept(tmp_path: Path) -> None:
    events: list[Progress | Epoch | Notice] = []
    settings = replace(FITTED, epochs=30, patience=1, learning_rate=0.1)
    states = states_of(settings, easy_texts(60), report=events.append)
    first, kept = len(states[-1].history), states[-1].best.metrics["epoch"]
    assert kept < first < 30
    assert [state.fitted for state in states[first:]] == list(range(1, kept + 1))
    progress = [(event.epoch, event.epochs) for event in events if isinstance(event, Progress)]
    assert progress[first:] == [(first + epoch, first + kept) for epoch in range(1, kept + 1)]
    assert any("as many as were kept" in event.text for event in events if isinstance(event, Notice))
    # Interrupted between the fits, it goes on with the same number of epochs.
    run_folder.write_epoch(states[first - 1], tmp_path / "between", force=False)
    made = train(easy_texts(60), settings, resume=run_folder.read_state(tmp_path / "between"))
    for name, tensor in states[-1].best.module.state_dict().items():
        assert torch.equal(made.module.state_dict()[name], tensor), name


def test_it_reads_the_rows_that_were_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every validation row is of one class, which its words tell; no training row is.
    data = easy_texts(60)
    held = LabelledTexts(["seldom never ever"] * 30, np.full(30, 2), data.labels, "held out")
    settings = replace(FITTED, epochs=6, min_freq=1, word_dropout=0.0)
    more = replace(data, texts=[*data.texts, "seldom never ever"], targets=np.append(data.targets, 0))
    monkeypatch.setattr(LabelledTexts, "split", lambda *_: (more, held))
    before = states_of(settings, more)
    assert before[5].best.metrics["validation_accuracy"] == 0.0
    encoder_rows = before[-1].best
    tokens = torch.tensor([[encoder_rows.vocabulary.index(word) for word in ("seldom", "never", "ever")]])
    assert int(encoder_rows.module(tokens, torch.tensor([3])).argmax()) == 2


def test_there_is_none_where_validation_rows_or_a_teacher_are_given() -> None:
    data = easy_texts(60)
    answers = TeacherAnswers.of(np.eye(3)[data.targets])
    for more in ({"validation": easy_texts(30, seed=1)}, {"teacher": answers}):
        states = states_of(replace(QUICK, final_fit=None, epochs=1), data, **more)
        assert [state.fitted for state in states] == [0]
        assert states[-1].best.training["final_fit"] is False
        with pytest.raises(InputError, match="--final-fit"):
            states_of(replace(FITTED, epochs=1), data, **more)


def test_small_data_has_one_and_large_data_does_not() -> None:
    assert [TextSettings().fill_missing_values(rows, 3).final_fit for rows in (19_999, 20_000)] == [True, False]
    assert TextSettings(final_fit=True).fill_missing_values(20_000, 3).final_fit


def test_the_command_and_the_report_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(Path("rows.csv"), easy_texts(60))
    size = ["--hidden-dim", "8", "--embedding-dim", "8", "--epochs", "1", "--batch-size", "16"]
    done = CliRunner().invoke(main, ["train", "rows.csv", "-o", "made", *size])
    assert done.exit_code == 0, done.output
    assert "all 60 rows" in done.output
    assert "about 0:00:0" in done.stderr
    assert "all 60 rows" in Path("made/report.md").read_text()
    assert checkpoints.read(Path("made")).data[FITTED_ROWS] == 60


@pytest.mark.slow
def test_several_processes_fit_all_rows_too() -> None:
    states = states_of(replace(FITTED, epochs=1, processes=2))
    assert [state.fitted for state in states] == [0, 1]
