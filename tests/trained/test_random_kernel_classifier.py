"""By default, training on sequences of numbers fits random kernels, measured by folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_training_sequences import easy_arrays, easy_sequences, write_npz
from training_data import noting

from pocketrnn.classifier import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, ExportError, InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export import export_trained
from pocketrnn_export.numbers.step_graph_of_number_classifier import make_step_graph_of_samples
from pocketrnn_export.packing import pack
from pocketrnn_training.baselines.sequence_baselines import fit_statistics_baseline
from pocketrnn_training.candidates.fit_without_epochs import fit_ridge_and_choose_strength
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.classifiers.random_kernel_classifier import (
    KernelArchitecture,
    KernelClassifier,
    choose_dilation_of_each_kernel_bank,
    standardize_and_measure_channels,
)
from pocketrnn_training.fit_with_scikit_learn_interface import fit
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.rows.encoded_rows import EncodedSequences
from pocketrnn_training.rows.labelled_sequences import LabelledSequences
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.training import train

FEW = NumberSettings(kernels=84, device="cpu")
HELD_OUT = replace(FEW, validation_share=0.9)


def test_nothing_named_gives_kernels_that_learn_and_every_row_measures_them() -> None:
    notes: list[str] = []
    made = train(easy_sequences(), FEW, report=noting(notes))
    assert isinstance(made.module, KernelClassifier)
    assert evaluate(made, easy_sequences(seed=1)).accuracy > 0.9
    assert made.measured_by_folds
    assert (made.data["rows"], made.data["validation_rows"], made.data["fitted_rows"]) == (40, 40, 40)
    metrics = made.metrics
    assert (metrics["folds"], "epoch" in metrics) == (5, False)
    assert metrics["validation_accuracy"] == pytest.approx(metrics["folds_accuracy"])
    assert not any("are trained on" in note for note in notes)
    again = train(easy_sequences(), FEW)
    assert torch.equal(made.module.fc.weight, again.module.fc.weight)


def test_labels_that_mean_nothing_are_not_said_to_be_known() -> None:
    data = easy_sequences(80)
    drawn = replace(data, targets=np.random.default_rng(3).permutation(data.targets))
    assert train(drawn, FEW).metrics["validation_accuracy"] < 0.75


@pytest.mark.slow
def test_windows_of_a_recording_are_of_one_fold_and_few_recordings_make_fewer_folds() -> None:
    data = easy_sequences(40)
    # Each recording is there twelve times: with copies of a row in other folds, labels drawn at random are known.
    rows = np.repeat(np.arange(8), 12)
    drawn = replace(data, targets=np.array([0, 1, 1, 0, 0, 0, 1, 1, *data.targets[8:]]))
    made = train(replace(drawn.rows(rows), recordings=rows), FEW)
    assert made.metrics["validation_accuracy"] < 0.8
    assert train(easy_sequences(4), FEW).metrics["folds"] == 4


def test_many_rows_are_measured_by_a_part_that_is_held_out_and_then_all_are_fitted() -> None:
    data = easy_sequences(240)
    made = train(data, HELD_OUT)
    assert not made.measured_by_folds
    assert (made.data["training_rows"], made.data["validation_rows"], made.data["fitted_rows"]) == (24, 216, 240)
    other = train(data.rows(np.arange(40)), FEW, validation=data.rows(np.arange(40, 60)))
    assert (other.data["validation_rows"], "fitted_rows" in other.data) == (20, False)


@pytest.mark.parametrize("own_scale", [False, True])
def test_padding_and_the_rows_beside_it_change_no_answer_of_a_row(own_scale: bool) -> None:
    torch.manual_seed(0)
    shape = KernelArchitecture(channels=2, dilations=(1, 3), classes=3, own_scale=own_scale)
    module = KernelClassifier(shape).eval()
    rng = np.random.default_rng(0)
    rows = EncodedSequences.from_sequences([rng.normal(size=(n, 2)) for n in (1, 2, 9, 30, 4)], NumberInput(("a", "b")))
    together = compute_logits(module, rows, 16)
    for row in range(5):
        samples, lengths = rows.batch(np.array([row]), 7.0)
        assert torch.allclose(module(torch.from_numpy(samples), torch.from_numpy(lengths))[0], together[row], atol=1e-6)
    # On some processors, the last digit of a convolution depends on the size of the batch.
    assert torch.allclose(compute_logits(module, rows.select_rows(np.array([3, 0])), 16), together[[3, 0]], atol=1e-6)


@pytest.mark.parametrize("kernels", [6, 60])
def test_the_scores_of_rows_that_a_ridge_did_not_see_are_those_of_a_fit_without_them(kernels: int) -> None:
    rng = np.random.default_rng(0)
    shares, targets, weights = rng.random((40, kernels)), np.arange(40) % 3, rng.random(40) + 0.5
    found = fit_ridge_and_choose_strength(shares, targets, 3, weights, np.arange(40))
    # Rows 0 and 20 are of one part. With the mean, the deviation and the strength of all rows:
    x = (shares - np.average(shares, axis=0, weights=weights)) / shares.std(axis=0)
    y = np.where(targets[:, None] == np.arange(3), 1.0, -1.0)
    kept = np.arange(40) % 20 > 0
    ones = np.concatenate([x, np.ones((40, 1))], axis=1)
    penalty = np.diag([found.strength] * kernels + [0.0])
    weighed = ones[kept].T * weights[kept]
    solved = np.linalg.solve(weighed @ ones[kept] + penalty, weighed @ y[kept])
    assert np.allclose(found.unseen[~kept], ones[~kept] @ solved, atol=1e-8)
    every = ones.T * weights
    scores = (shares - found.mean) @ found.weights + found.bias
    assert np.allclose(scores, ones @ np.linalg.solve(every @ ones + penalty, every @ y))


def test_dilations_let_a_kernel_span_a_row_and_are_one_for_rows_of_a_step() -> None:
    dilations = choose_dilation_of_each_kernel_bank(1008, 251)
    assert (len(dilations), dilations[0], dilations[-1]) == (24, 1, 31)
    assert choose_dilation_of_each_kernel_bank(43, 1) == (1, 1)


def test_choices_of_recurrent_layers_ask_for_them_and_kernels_beside_them_are_refused() -> None:
    assert NumberSettings(hidden_dim=32).fill_missing_values(40, 2).kernels == 0
    assert NumberSettings(seed=3, class_weights="balanced").fill_missing_values(40, 2).kernels == 1008
    with pytest.raises(InputError, match=r"kernels is 84, .* but hidden_dim is 32"):
        NumberSettings(kernels=84, hidden_dim=32)


def test_a_checkpoint_is_read_as_it_was_written_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    made = train(easy_sequences(), FEW)
    checkpoints.write(made, tmp_path / "c")
    read = checkpoints.read(tmp_path / "c")
    assert (read.architecture, read.rules) == (made.architecture, made.rules)
    path = tmp_path / "c" / "config.json"
    whole = json.loads(path.read_text())
    for architecture, said in (
        ({"dilations": [1]}, "means"),
        ({"dilations": [0, 1]}, "dilations"),
        ({"dilations": [1] * 60_000}, "too few"),
        ({"cell": "gru"}, "cell"),
        ({"channels": 3}, "channels"),
    ):
        path.write_text(json.dumps(whole | {"architecture": whole["architecture"] | architecture}))
        with pytest.raises(CheckpointError, match=said):
            checkpoints.read(tmp_path / "c")


def of_every_size(rows: int = 60, seed: int = 0) -> LabelledSequences:
    """Rows whose shape tells the class, and whose sizes differ a thousandfold."""
    data = easy_sequences(rows, seed)
    sizes = 10 ** np.random.default_rng(seed).uniform(-3, 0, rows)
    return replace(data, sequences=[size * row for size, row in zip(sizes, data.sequences, strict=True)])


@pytest.mark.slow
def test_rows_of_sizes_that_differ_much_are_read_at_their_own_scale(tmp_path: Path) -> None:
    notes: list[str] = []
    made = train(of_every_size(), FEW, report=noting(notes))
    assert isinstance(made.architecture, KernelArchitecture)
    assert made.architecture.own_scale
    assert any("own deviation" in note for note in notes)
    assert evaluate(made, of_every_size(seed=1)).accuracy > 0.9
    assert made.metrics["validation_accuracy"] > 0.9
    checkpoints.write(made, tmp_path / "c")
    assert checkpoints.read(tmp_path / "c").architecture == made.architecture
    export_trained(made, tmp_path / "b")
    pack(tmp_path / "b", tmp_path / "c.prnn")
    asked = of_every_size(30, seed=2)
    expected = evaluate(made, asked).confusion
    for file in (tmp_path / "b", tmp_path / "c.prnn"):
        assert evaluate(Classifier.load(file), asked).confusion == expected


def test_rows_of_one_size_are_read_as_they_are_and_a_row_that_never_changes_has_a_steady_answer() -> None:
    made = train(easy_sequences(), FEW)
    assert isinstance(made.architecture, KernelArchitecture)
    assert not made.architecture.own_scale
    still = torch.full((1, 1, 7), 1234.567)
    scaled, sizes = standardize_and_measure_channels(still, torch.zeros(1, 1, 7, dtype=torch.bool), torch.tensor([7]))
    assert not scaled.any()
    assert sizes.tolist() == [[pytest.approx(1e-3), pytest.approx(1234.567)]]


@pytest.mark.slow
def test_the_command_says_the_accuracy_of_the_folds_with_its_spread(tmp_path: Path) -> None:
    file = str(write_npz(tmp_path / "train.npz"))
    done = CliRunner().invoke(main, ["train", file, "-o", str(tmp_path / "c"), "--kernels", "84"])
    assert done.exit_code == 0, done.output
    assert "±" in done.output
    assert "of 40 rows, by 5 folds" in done.output
    report = (tmp_path / "c" / "report.md").read_text()
    for said in ("of 40 rows, by 5 folds", "84 random kernels", "A random forest", "of the other folds"):
        assert said in report
    assert "learning_curve.png" not in report
    assert "| hidden" not in report
    assert not (tmp_path / "c" / "resume.safetensors").exists()


@pytest.mark.slow
def test_a_forest_of_statistics_is_measured_by_the_folds() -> None:
    data = easy_sequences()
    found = fit_statistics_baseline(data.sequences, data.targets, np.arange(40) % 4)
    assert found is not None
    assert found.accuracy > 0.8
    assert fit_statistics_baseline(data.sequences, np.zeros(40, np.int64), np.arange(40) % 4) is None


@pytest.mark.slow
def test_kernels_are_exported_proven_and_packed_and_say_how_a_state_is_carried(tmp_path: Path) -> None:
    arrays, labels = easy_arrays()
    fitted = fit(arrays, labels, channels=["noise", "height"], kernels=42, device="cpu")
    export_trained(fitted, tmp_path / "b")
    done = CliRunner().invoke(main, ["pack", str(tmp_path / "b"), "-o", str(tmp_path / "b.prnn")])
    assert done.exit_code == 0, done.output
    more, _ = easy_arrays(seed=1)
    for path in ("b", "b.prnn"):
        assert [label for (label,) in Classifier.load(tmp_path / path).predict_labels(more)] == fitted.predict(more)
    with pytest.raises(ExportError) as refused:
        make_step_graph_of_samples((tmp_path / "b" / "model.onnx").read_bytes(), None)
    assert "--convolution 0 --one-direction --pooling last" in refused.value.remedy
