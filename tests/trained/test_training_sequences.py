"""Training on sequences of numbers: what a run learns, keeps, writes and refuses."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from training_data import easy_texts, noting

from pocketrnn.classifier import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, DataError, InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_training.baselines.sequence_baselines import fit_convolution_baseline
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.architecture import SequenceArchitecture
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.classifiers.recurrent_classifiers import SequenceClassifier
from pocketrnn_training.fit_with_scikit_learn_interface import fit
from pocketrnn_training.loop.training_loop import TrainingState
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.preparation.batch_augmentation import Augmentation
from pocketrnn_training.preparation.continued_training import make_settings_from_checkpoint
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.rows.encoded_rows import EncodedSequences
from pocketrnn_training.rows.labelled_sequences import LabelledSequences, Recording, make_labelled_sequences
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.settings_from_options import (
    find_default_of_setting_in_any_kind,
    make_settings_from_values_by_name,
)
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Epoch
from pocketrnn_training.training_run import TrainingRun

QUICK = NumberSettings(
    convolution=3,
    filters=4,
    hidden_dim=6,
    learning_rate=0.03,
    epochs=2,
    epoch_size=64,
    device="cpu",
    final_fit=False,
)
QUICK_OPTIONS = [
    *("--convolution", "3", "--filters", "4", "--hidden-dim", "6", "--learning-rate", "0.03", "--epochs", "1"),
    *("--epoch-size", "64", "--no-final-fit", "--device", "cpu"),
]
SHAPE = SequenceArchitecture(
    channels=2, convolution=5, stride=2, filters=3, cell="gru", hidden_dim=4, layers=1, bidirectional=True,
    dropout=0.5, pooling="max", classes=3,
)  # fmt: skip


def easy_arrays(rows: int = 40, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Sequences of 5 to 12 steps of two channels, of which the second rises or falls, around 30."""
    rng = np.random.default_rng(seed)
    labels = ["down", "up"] * (rows // 2)
    made = []
    for label in labels:
        steps = int(rng.integers(5, 13))
        slope = np.linspace(-1, 1, steps) * (1 if label == "up" else -1)
        made.append(np.stack([rng.normal(size=steps), 30 + 2 * slope + rng.normal(0, 0.1, steps)], axis=1))
    return made, labels


def easy_sequences(rows: int = 40, seed: int = 0) -> LabelledSequences:
    arrays, labels = easy_arrays(rows, seed)
    recordings = [Recording(f"{i}", a, label) for i, (a, label) in enumerate(zip(arrays, labels, strict=True))]
    return make_labelled_sequences(recordings, NumberInput(("noise", "height")), None, "easy")


def test_validation_sequences_that_are_read_otherwise_are_refused_by_what_differs() -> None:
    data = easy_sequences(6)
    for other, named in (
        (replace(data, labels=data.labels[::-1]), r"'{1}', '{0}' in .*'{0}', '{1}'"),
        (replace(data, rules=replace(data.rules, window=4)), r"\bwindow 4, .*None"),
    ):
        with pytest.raises(DataError, match=named.format(*data.labels)):
            data.split(other, QUICK)


def test_a_run_learns_and_its_scale_is_that_of_the_training_rows() -> None:
    data = easy_sequences()
    checkpoint = train(data, replace(QUICK, epochs=4))
    training, _ = data.split(None, QUICK)
    steps = np.concatenate(list(training.sequences))
    assert isinstance(checkpoint.rules, NumberInput)
    assert np.allclose(checkpoint.rules.mean, steps.mean(axis=0))
    assert np.allclose(checkpoint.rules.scale, steps.std(axis=0))
    assert checkpoint.rules.training_range is not None
    assert np.allclose(np.array(checkpoint.rules.training_range).T, [steps.min(axis=0), steps.max(axis=0)])
    assert evaluate(checkpoint, easy_sequences(seed=1)).accuracy > 0.9


def test_two_runs_and_one_that_was_interrupted_and_resumed_give_the_same_weights() -> None:
    data, states = easy_sequences(), list[TrainingState]()
    settings = replace(QUICK, final_fit=True)
    first = train(data, settings, keep=states.append)
    again = train(data, settings, resume=states[0])
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name])
    assert first.data["fitted_rows"] == 40


def test_a_checkpoint_is_read_as_it_was_written_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    made = train(easy_sequences(), replace(QUICK, epochs=1))
    checkpoints.write(made, tmp_path / "c")
    read = checkpoints.read(tmp_path / "c")
    assert (read.rules, read.architecture, read.examples) == (made.rules, made.architecture, made.examples)
    path = tmp_path / "c" / "config.json"
    whole = json.loads(path.read_text())
    assert ("text" in whole, "tokenizer" in whole["training"]) == (False, False)
    for change, said in (
        ({"version": 2}, "another release"),
        ({"vocabulary": ["a"]}, "of numbers"),
        ({"numbers": {"channels": ["x"]}}, "channels"),
        ({"examples": ["text"]}, "not of type array"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(CheckpointError, match=said):
            checkpoints.read(tmp_path / "c")


def test_padding_and_the_rows_beside_it_change_no_answer_of_a_row() -> None:
    torch.manual_seed(0)
    module = SequenceClassifier(SHAPE).eval()
    rng = np.random.default_rng(0)
    rows = EncodedSequences.from_sequences([rng.normal(size=(n, 2)) for n in (1, 2, 9, 30, 4)], NumberInput(("a", "b")))
    together = compute_logits(module, rows, 16)
    for row in range(5):
        samples, lengths = rows.batch(np.array([row]), 0.0)
        alone = module(torch.from_numpy(samples), torch.from_numpy(lengths))
        assert torch.allclose(alone[0], together[row], atol=1e-6)
    # While training, packed rows are read another way.
    module.train()
    module.dropout.p = 0.0
    samples, lengths = rows.batch(np.arange(5), 7.0)
    assert torch.allclose(module(torch.from_numpy(samples), torch.from_numpy(lengths)), together, atol=1e-5)


def test_augmentation_changes_the_steps_of_a_row_and_nothing_after_its_end() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([2, 50])
    changed = Augmentation(jitter=0.1, scaling=0.1, time_masking=0.5).augment_batch(torch.ones(2, 50, 3), lengths)
    assert not changed[0, 2:].any()
    assert bool((changed[1] == 0).all(dim=1).any())
    assert bool((changed != 1).all())
    nothing = Augmentation(jitter=0, scaling=0, time_masking=0)
    assert torch.equal(nothing.augment_batch(torch.ones(1, 4, 3), torch.tensor([4])), torch.ones(1, 4, 3))


def test_windows_are_of_one_label_and_those_of_a_recording_stay_together() -> None:
    steps = np.arange(40.0)[:, None]
    labels = ["a"] * 11 + ["b"] * 3 + ["a"] * 10 + ["b"] * 16
    rules = NumberInput(("x",), window=4, hop=2)
    data = make_labelled_sequences([Recording("walk", steps, labels), Recording("run", steps, "b")], rules, None, "two")
    assert [int(s[0, 0]) for s in data.sequences[:8]] == [0, 2, 4, 6, 14, 16, 18, 20]
    (note,) = data.notes
    assert note.startswith("1 of 5 stretches")
    training, held_out = data.split(None, QUICK)
    assert len(training) + len(held_out) == len(data)
    assert not set(training.recordings.tolist()) & set(held_out.recordings.tolist())
    with pytest.raises(DataError, match=r"\bwalk .*'a', .*'b' .*step 11\b"):
        make_labelled_sequences([Recording("walk", steps, labels)], replace(rules, window=None, hop=None), None, "two")
    with pytest.raises(DataError, match="Every class has 1 stretch"):
        data.rows(np.flatnonzero(np.isin(data.recordings, [0, 3]))).split(None, QUICK)


@pytest.mark.parametrize(
    ("samples", "missing", "said"),
    [([[np.nan]], None, "missing"), ([[np.inf]], 0.0, "infinite"), (np.empty((0, 1)), None, "no steps")],
)
def test_samples_that_cannot_be_learnt_from_are_refused_by_their_sequence(
    samples: object, missing: float | None, said: str
) -> None:
    rules = NumberInput(("x",), missing=missing)
    with pytest.raises(DataError, match=f"walk.*{said}"):
        make_labelled_sequences([Recording("walk", np.array(samples), "a")], rules, ("a", "b"), "one")


def test_a_missing_sample_is_filled_by_the_value_that_is_said_and_does_not_move_the_scale() -> None:
    arrays, labels = easy_arrays()
    arrays[0][1, 1] = np.nan
    checkpoint = fit(arrays, labels, channels=2, numbers={"missing": -500.0}, convolution=0, hidden_dim=4, epochs=1,
                     epoch_size=16, final_fit=False).checkpoint  # fmt: skip
    assert isinstance(checkpoint.rules, NumberInput)
    assert checkpoint.rules.missing == -500
    assert 28 < checkpoint.rules.mean[1] < 32  # type: ignore[index]


@pytest.mark.parametrize("choice", [{"tokenizer": "bpe"}, {"min_freq": 5}, {"packed": False}])
def test_choices_of_texts_are_refused_for_numbers(choice: dict[str, object]) -> None:
    (name,) = choice
    with pytest.raises(InputError, match=f"^{name} is .* for texts"):
        make_settings_from_values_by_name(NumberSettings, choice)


def test_choices_of_the_other_kind_may_be_at_their_defaults_and_none_is_for_that_of_the_kind() -> None:
    given = {
        name: find_default_of_setting_in_any_kind(name) for name in asdict(TextSettings()) | asdict(NumberSettings())
    }
    assert make_settings_from_values_by_name(NumberSettings, given) == NumberSettings()
    assert make_settings_from_values_by_name(TextSettings, given) == TextSettings()
    with pytest.raises(InputError, match="no setting 'epoch'") as refused:
        make_settings_from_values_by_name(NumberSettings, {"epoch": 3})
    assert "epochs" in refused.value.remedy
    with pytest.raises(InputError, match="device is None"):
        NumberSettings(device=None)  # type: ignore[arg-type]


def test_choices_of_numbers_are_refused_for_texts_and_what_is_for_texts_for_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"jitter is 0\.5, .*numbers"):
        fit(["a", "b"], ["a", "b"], jitter=0.5)
    for data, settings in ((easy_texts(30), QUICK), (easy_sequences(), TextSettings())):
        with pytest.raises(InputError, match=f"{settings.ROWS}, .*") as refused:
            train(data, settings)
        assert ("TextSettings" in refused.value.remedy) == (settings is QUICK)
    with pytest.raises(InputError, match=r"texts, .*sequences of numbers"):
        train(easy_texts(30), TextSettings(), validation=easy_sequences())
    with pytest.raises(InputError, match=r"Word vectors .*texts"):
        train(easy_sequences(), QUICK, word_vectors=tmp_path)
    made = train(easy_sequences(), replace(QUICK, epochs=1))
    with pytest.raises(InputError, match=f"{made.name} .*old rows"):
        make_settings_from_checkpoint(made, TextSettings())
    with pytest.raises(DataError, match=f"{made.name} reads sequences"):
        evaluate(made, easy_texts(30))
    with pytest.raises(DataError, match=r"ag_news reads texts, .*sequences"):
        evaluate(Classifier.load("ag_news"), easy_sequences())
    for choice in ({"convolution": 4}, {"jitter": -1}, {"time_masking": 1}, {"stride": 0}, {"scaling": float("nan")}):
        with pytest.raises(InputError, match=next(iter(choice))):
            NumberSettings(**choice)  # type: ignore[arg-type]


def test_few_validation_rows_and_repeated_sequences_are_told() -> None:
    data = easy_sequences(20)
    found: list[str] = []
    train(data.rows(np.array([*range(20), 0, 1])), replace(QUICK, epochs=1), report=noting(found))
    assert any("repeat another" in text or "are trained on" in text for text in found)
    assert any(re.search(r"2 validation rows, .*\b50\.0 points", text) for text in found)


def test_fit_gives_an_estimator_of_sequences() -> None:
    arrays, labels = easy_arrays()
    fitted = fit(arrays, [label == "up" for label in labels], channels=["noise", "height"], convolution=3, filters=4,
                 hidden_dim=6, learning_rate=0.03, epochs=4, epoch_size=64, final_fit=False)  # fmt: skip
    more, asked = easy_arrays(seed=1)
    assert fitted.score(more, [label == "up" for label in asked]) > 0.9
    assert set(fitted.predict(more)) == {True, False}
    for sequences, said in (([[1, 2, 3]], "shape"), ("walk", "are 'walk'"), ([np.zeros((3, 2))], "40 labels")):
        with pytest.raises(DataError, match=said):
            fit(sequences, labels if "labels" in said else ["up"], channels=2)
    with pytest.raises(InputError, match="channels="):
        fit(arrays, labels, numbers={})
    with pytest.raises(InputError, match="'units'"):
        fit(arrays, labels, channels=2, numbers={"units": "m"})
    with pytest.raises(DataError, match="channels=3"):
        fit(arrays, labels)


def test_a_linear_model_of_random_convolutions_learns_too() -> None:
    data, more = easy_sequences(), easy_sequences(seed=1)
    rules = replace(data.rules, mean=(0.0, 30.0))
    of_data, of_more = (EncodedSequences.from_sequences(d.sequences, rules) for d in (data, more))
    found = fit_convolution_baseline(of_data, data.targets, of_more, more.targets)
    assert found is not None
    assert found.accuracy > 0.8
    assert fit_convolution_baseline(of_data, np.zeros(40, np.int64), of_more, more.targets) is None


def write_npz(path: Path, seed: int = 0) -> Path:
    arrays, labels = easy_arrays(seed=seed)
    x = np.zeros((len(arrays), 12, 2))
    for row, array in enumerate(arrays):
        x[row, : len(array)] = array
    np.savez(path, x=x, y=np.array(labels), lengths=np.array([len(array) for array in arrays]))
    return path


def test_the_commands_train_and_evaluate_on_files_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "train.npz")
    write_npz(tmp_path / "test.npz", seed=1)
    made = CliRunner().invoke(main, ["train", "train.npz", "-o", "c", "--channels", "noise,height", "--units", "g,m",
                                     "--integer-scale", "0.5", *QUICK_OPTIONS])  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "4 of your sequences, as examples" in made.output
    report = (tmp_path / "c" / "report.md").read_text()
    assert "A linear model of 500 random convolutions" in report
    assert "2 channels, 4 filters of 3 steps" in report
    assert "| steps | rows | accuracy |" in report
    asked = CliRunner().invoke(main, ["evaluate", "c", "test.npz", "--json"])
    assert json.loads(asked.output)["rows"] == 40
    (tmp_path / "texts.csv").write_text("text,label\ngood,up\nbad,down\n")
    for arguments, said in (
        (["evaluate", "c", "texts.csv"], "no column 'noise'"),
        (["evaluate", "c", "test.npz", "--channels", "a,b"], "channels is"),
        (["train", "train.npz", "texts.csv", "-o", "d"], "may hold texts"),
        (["train", "texts.csv", "-o", "d", "--sequence-column", "walk"], "--channels"),
        (["train", "train.npz", "-o", "d", "--multi-label"], "is for texts"),
        (["train", "train.npz", "-o", "d", "--hop", "2"], "`window` is not"),
        (["train", "train.npz", "-o", "d", "--integer-scale", "half"], "'half'"),
        (["train", "train.npz", "-o", "d", "--units", "g,g,g"], "units has 3"),
        (["train", "texts.csv", "-o", "d", "--time-column", "when"], "--channels"),
        (["train", "texts.csv", "-o", "d", "--from", "c"], "Training cannot continue"),
        (["train", "texts.csv", "-o", "d", "--teacher", "c"], "not texts"),
    ):
        refused = CliRunner().invoke(main, arguments)
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    resumed = CliRunner().invoke(main, ["train", "train.npz", "-o", "c", "--resume", *QUICK_OPTIONS])
    assert "no interrupted run" in resumed.output


@pytest.mark.slow
def test_a_run_of_numbers_is_resumed_from_its_folder(tmp_path: Path) -> None:
    source = DataSource((str(write_npz(tmp_path / "train.npz")),))

    def stop(event: object) -> None:
        if isinstance(event, Epoch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TrainingRun(source, tmp_path / "c", QUICK, examples=False).train(stop)
    resumed = TrainingRun(source, tmp_path / "c", QUICK, examples=False, resume=True).train()
    whole = TrainingRun(source, tmp_path / "d", QUICK, examples=False).train()
    assert torch.equal(resumed.module.fc.weight, whole.module.fc.weight)
    assert (resumed.examples, resumed.data["examples"]) == ((), "made signals")


@pytest.mark.slow
def test_a_checkpoint_of_numbers_is_exported_with_units_and_a_scale_of_whole_numbers(tmp_path: Path) -> None:
    checkpoint = train(easy_sequences(), replace(QUICK, epochs=1))
    checkpoints.write(checkpoint, tmp_path / "c")
    line = ["export", str(tmp_path / "c"), "-o", str(tmp_path / "b"), "--integer-scale", "0.25", "--units", "g,m"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    rules = Classifier.load(tmp_path / "b").manifest.numbers
    assert (rules.integer_scale, rules.units) == ((0.25, 0.25), ("g", "m"))
    assert isinstance(checkpoint.rules, NumberInput)
    assert rules.training_range == checkpoint.rules.training_range
    refused = CliRunner().invoke(main, [*line[:4], "--force", "--window", "3"])
    assert (refused.exit_code, "--channels" in refused.output) == (2, True)
