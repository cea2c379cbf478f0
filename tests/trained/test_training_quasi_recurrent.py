"""The cell `qrnn`: a GRU whose recurrent weights are zero, and stay so in all that trains and keeps a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors
from training_data import QUICK, easy_texts

from pocketrnn.errors import CheckpointError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_training import Checkpoint, NumberSettings, TeacherAnswers, TextSettings, train
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.recurrent_classifiers import is_recurrent_weight
from pocketrnn_training.loop.training_loop import TrainingState
from pocketrnn_training.rows.labelled_sequences import Recording, make_labelled_sequences

SETTINGS = replace(QUICK, cell="qrnn", epochs=1)
ROWS = easy_texts(60)


def recurrent_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {n: w for n, w in checkpoint.module.state_dict().items() if is_recurrent_weight(n)}


def taught() -> Checkpoint:
    answers = np.full((len(ROWS), len(ROWS.labels)), 1 / len(ROWS.labels))
    return train(ROWS, SETTINGS, teacher=TeacherAnswers.of(answers))


def gone_on() -> Checkpoint:
    return train(ROWS, SETTINGS, before=train(ROWS, SETTINGS))


def resumed() -> Checkpoint:
    states: list[TrainingState] = []
    train(ROWS, replace(SETTINGS, epochs=2), keep=states.append)
    return train(ROWS, replace(SETTINGS, epochs=2), resume=states[0])


def of_numbers() -> Checkpoint:
    rng = np.random.default_rng(0)
    recordings = [Recording(str(i), rng.normal(size=(9, 2)).astype(np.float32), f"{i % 2}") for i in range(20)]
    data = make_labelled_sequences(recordings, NumberInput(("x", "y")), None, "drawn")
    return train(data, NumberSettings(cell="qrnn", epochs=1, epoch_size=32, hidden_dim=4, filters=3, device="cpu"))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: train(ROWS, replace(SETTINGS, layers=2, final_fit=True)), id="fitted once more"),
        pytest.param(lambda: train(ROWS, replace(SETTINGS, adversarial=0.1)), id="adversarial"),
        pytest.param(lambda: train(ROWS, replace(SETTINGS, packed=False)), id="padded"),
        taught,
        gone_on,
        resumed,
        of_numbers,
    ],
)
def test_the_recurrent_weights_stay_zero_and_the_others_learn(made: Callable[[], Checkpoint]) -> None:
    checkpoint = made()
    kept = recurrent_weights(checkpoint)
    # A weight and a bias for each layer and direction.
    assert len(kept) == checkpoint.architecture.layers * 4
    assert not any(weight.any() for weight in kept.values())
    read = checkpoint.module.rnn.weight_ih_l0
    given = checkpoint.architecture.input_dim
    reset, update, new = read.detach().split(checkpoint.architecture.hidden_dim)
    assert not reset.any()
    assert all(weight[:, part].any() for weight in (update, new) for part in (slice(given), slice(given, None)))


def test_its_state_is_larger_where_no_size_is_named() -> None:
    sizes = [TextSettings(cell=cell).fill_missing_values(1000, classes=2).hidden_dim for cell in ("gru", "qrnn")]
    assert sizes == [96, 128]
    assert TextSettings(cell="qrnn", hidden_dim=64).fill_missing_values(1000, classes=2).hidden_dim == 64


def test_it_learns_which_word_follows_which() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=200)
    # "a b" or "b a" among noise: the order of two neighbours is all that tells the classes apart.
    texts = []
    for target in targets:
        noise, place = [f"n{i}" for i in rng.integers(0, 5, 4)], rng.integers(0, 5)
        texts.append(" ".join([*noise[:place], "a b" if target else "b a", *noise[place:]]))
    data = replace(ROWS, texts=texts, targets=targets, labels=("no", "yes"))
    made = train(data, replace(SETTINGS, epochs=6, linear=False, spelling=False, final_fit=False))
    assert made.metrics["validation_accuracy"] > 0.9


def test_a_checkpoint_with_other_recurrent_weights_than_zeros_is_refused(tmp_path: Path) -> None:
    made = train(ROWS, SETTINGS)
    checkpoints.write(made, tmp_path / "c")
    assert not any(weight.requires_grad for weight in recurrent_weights(checkpoints.read(tmp_path / "c")).values())
    weights = safetensors.load_file(tmp_path / "c/weights.safetensors")
    weights["rnn.bias_hh_l0_reverse"][3] = 1e-6
    safetensors.save_file(weights, tmp_path / "c/weights.safetensors")
    with pytest.raises(CheckpointError, match="bias_hh_l0_reverse"):
        checkpoints.read(tmp_path / "c")
    made.module.load_state_dict(weights)
    with pytest.raises(CheckpointError, match="bias_hh_l0_reverse"):
        checkpoints.write(made, tmp_path / "other")
