"""Training: it learns, two runs are equal, and nothing is lost when it is broken off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from training_data import LABELS, QUICK, easy_texts

from pocketrnn.errors import DataError, InputError
from pocketrnn.text import TextEncoder
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.preparation.prepared_data import OtherSources
from pocketrnn_training.preparation.text_preparation import prepare_texts
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import TrainingError, TrainingState, train
from pocketrnn_training.training_events import Epoch, Notice, Progress


@pytest.mark.parametrize("cell", mostly_slow(["rnn_tanh", "rnn_relu", "lstm", "gru"], 4, first=3))
@pytest.mark.parametrize("pooling", ["mean", pytest.param("max", marks=pytest.mark.slow)])
def test_every_cell_learns(cell: str, pooling: str) -> None:
    checkpoint = train(easy_texts(180), replace(QUICK, cell=cell, pooling=pooling, epochs=6))
    # A third would be chance.
    assert evaluate(checkpoint, easy_texts(seed=1)).accuracy > 0.7


def test_the_checkpoint_says_what_was_done() -> None:
    checkpoint = train(easy_texts(60), QUICK, name="easy")
    assert (checkpoint.name, checkpoint.labels) == ("easy", LABELS)
    assert checkpoint.data["source"] == "easy"
    assert (checkpoint.data["rows"], checkpoint.data["training_rows"], checkpoint.data["validation_rows"]) == (
        60,
        54,
        6,
    )
    assert checkpoint.training["seed"] == 0
    assert checkpoint.training["torch"] == torch.__version__
    assert 1 <= len(checkpoint.examples) <= 32
    assert set(checkpoint.examples) <= set(easy_texts(60).texts)
    assert not checkpoint.module.training
    assert not checkpoint.module.embedding.sparse


def test_the_metrics_are_those_of_the_kept_weights() -> None:
    held_out = easy_texts(60, seed=3)
    checkpoint = train(easy_texts(60), QUICK, validation=held_out)
    assert evaluate(checkpoint, held_out).accuracy == checkpoint.metrics["validation_accuracy"]


@pytest.mark.parametrize("packed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_runs_with_one_seed_write_the_same_bytes(tmp_path: Path, packed: bool) -> None:
    chosen = replace(QUICK, packed=packed, dropout=0.3, layers=2, epochs=2)
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        torch.rand(1)
        checkpoints.write(train(easy_texts(48), replace(chosen, seed=seed), name="same"), tmp_path / name)
    files = {name: (tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two", "other")}
    assert files["one"] == files["two"]
    assert files["one"] != files["other"]
    assert (tmp_path / "one/config.json").read_bytes() == (tmp_path / "two/config.json").read_bytes()


def test_the_global_generators_are_left_as_they_were() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(easy_texts(60), replace(QUICK, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_progress_is_told_every_n_rows_and_after_every_epoch() -> None:
    events: list[Progress | Epoch | Notice] = []
    train(easy_texts(), replace(QUICK, epochs=2, report_every=64), report=events.append)
    rows = [event.row for event in events if isinstance(event, Progress)]
    assert len(rows) == 8
    assert rows[3] == rows[7] == 216
    assert all(64 <= row - before < 64 + 16 for before, row in zip([0, *rows[:2]], rows[:3], strict=True))
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2]
    assert isinstance(events[-1], Epoch)
    for event in events:
        if isinstance(event, Progress):
            assert np.isfinite(event.loss)
            assert 0 <= event.accuracy <= 1


def test_an_epoch_has_the_size_asked_for() -> None:
    events: list[Progress | Epoch | Notice] = []
    train(easy_texts(60), replace(QUICK, epochs=3, epoch_size=25), report=events.append)
    assert [event.row for event in events if isinstance(event, Progress)] == [25] * 3
    events.clear()
    train(easy_texts(60), replace(QUICK, epochs=1, epoch_size=130), report=events.append)
    assert events[-2].row == 130  # type: ignore[union-attr]


def test_the_best_epoch_is_kept_and_patience_ends_the_training() -> None:
    events: list[Progress | Epoch | Notice] = []
    kept: list[TrainingState] = []
    # Far too fast: soon nothing gets better.
    chosen = replace(QUICK, epochs=50, patience=2, learning_rate=0.1)
    best = train(easy_texts(90), chosen, report=events.append, keep=kept.append)
    validations = [event for event in events if isinstance(event, Epoch)]
    assert len(validations) < 50
    assert [v.best for v in validations[-2:]] == [False, False]
    assert best is kept[-1].best
    assert kept[-1].history == tuple(validations)
    assert [v.epoch for v in validations if v.best] == sorted({s.best.metrics["epoch"] for s in kept})
    assert best.metrics["validation_accuracy"] == max(v.validation_accuracy for v in validations)


def test_what_was_kept_is_not_trained_on() -> None:
    kept: list[tuple[TrainingState, torch.Tensor, torch.Tensor]] = []

    def keep(state: TrainingState) -> None:
        kept.append((state, state.best.module.fc.weight.clone(), state.tensors["module.fc.weight"].clone()))

    train(easy_texts(60), QUICK, keep=keep)
    assert len(kept) == 3
    for state, best_weight, weight in kept:
        assert torch.equal(state.best.module.fc.weight, best_weight)
        assert torch.equal(state.tensors["module.fc.weight"], weight)


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_what_was_kept() -> None:
    kept: list[TrainingState] = []
    chosen = replace(QUICK, cell="rnn_relu", layers=3, learning_rate=1e30, epochs=5)
    with pytest.raises(TrainingError, match=r"in epoch 1, .*learning rate") as caught:
        train(easy_texts(60), chosen, keep=kept.append)
    assert caught.value.exit_status == 1
    assert not kept


def test_word_vectors_start_the_embedding(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("cat0 1 2 3 4\ndog0 -1 -2 -3 -4\nunheard 9 9 9 9\n")
    # A rate so small that the start is still to be seen.
    chosen = replace(QUICK, embedding_dim=None, epochs=1, learning_rate=1e-9)
    checkpoint = train(easy_texts(60), chosen, word_vectors=path)
    weight = checkpoint.module.embedding.weight
    index = checkpoint.vocabulary.index
    torch.testing.assert_close(weight[index("cat0")], torch.tensor([1.0, 2, 3, 4]))
    torch.testing.assert_close(weight[index("dog0")], torch.tensor([-1.0, -2, -3, -4]))
    others = [i for i, token in enumerate(checkpoint.vocabulary) if token not in ("cat0", "dog0", "unheard")]
    # The root mean square of the three vectors is 5.7.
    assert 4.5 < weight[others].std() < 7
    assert checkpoint.data["word_vectors"] == {"source": "vectors.txt", "words_found": 2, "words_added": 1}
    trained = train(easy_texts(), replace(chosen, learning_rate=0.03), word_vectors=path)
    assert (trained.module.embedding.weight[index("cat0")] - torch.tensor([1.0, 2, 3, 4])).abs().max() > 0.01


def test_words_that_only_the_vectors_know_are_known_too(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("cat0 1 2\nsea 0 1\nNO 5 5\nbirds. 5 5\nrare 2 1\nfar 2 2\nnear 3 3\n")
    data = easy_texts(60)
    data = replace(data, texts=["rare " + data.texts[0], *data.texts[1:]])
    chosen = replace(QUICK, embedding_dim=None, epochs=1, learning_rate=1e-9, min_freq=2, vector_words=3)
    checkpoint = train(data, chosen, word_vectors=path)
    # Not "NO" and "birds.", which the tokenizer never gives.
    assert checkpoint.vocabulary[-3:] == ("sea", "rare", "far")
    index = checkpoint.vocabulary.index
    torch.testing.assert_close(checkpoint.module.embedding.weight[index("far")], torch.tensor([2.0, 2.0]))
    assert len(set(checkpoint.vocabulary)) == len(checkpoint.vocabulary) == checkpoint.architecture.vocabulary_size
    # A word too rare for the data's vocabulary is read as itself.
    task = prepare_texts(data, None, chosen, lambda _: None, other_sources=OtherSources(word_vectors=path))[0]
    encoder = TextEncoder(task.rules, task.vocabulary)
    again = [i for text in data.split(None, chosen)[0].texts for i in encoder.encode(text)]
    assert task.rows.values.tolist() == again
    size = len(checkpoint.vocabulary)
    for change, kept in (({"vector_words": 0}, size - 3), ({"max_vocabulary": size - 2}, size - 2)):
        assert len(train(data, replace(chosen, **change), word_vectors=path).vocabulary) == kept


def test_another_embedding_dimension_than_the_vectors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("cat0 1 2 3 4\n")
    with pytest.raises(InputError, match=r"embedding_dim is 8, .* 4 dimensions"):
        train(easy_texts(), QUICK, word_vectors=path)


def test_no_embedding_dimension_is_64_without_vectors() -> None:
    checkpoint = train(easy_texts(60), replace(QUICK, embedding_dim=None, epochs=1, learning_rate=1e-9))
    assert checkpoint.architecture.embedding_dim == 64
    # It starts small; docs/training.md says why.
    assert 0.08 < checkpoint.module.embedding.weight.std() < 0.12


def test_examples_are_short_and_can_be_given() -> None:
    data = easy_texts(60)
    long = LabelledTexts([f"{text} {'x' * 2000}" for text in data.texts], data.targets, data.labels, "long")
    assert len(train(long, replace(QUICK, epochs=1)).examples) == 1
    given = train(data, replace(QUICK, epochs=1), examples=["my own"])
    assert given.examples == ("my own",)


def test_empty_texts_are_trained_on() -> None:
    data = easy_texts(60)
    texts = ["" if i % 3 == 0 else text for i, text in enumerate(data.texts)]
    checkpoint = train(LabelledTexts(texts, data.targets, data.labels, "some empty"), replace(QUICK, epochs=1))
    assert evaluate(checkpoint, LabelledTexts([""], np.array([0]), LABELS, "empty")).rows == 1


def test_texts_that_are_all_empty_are_refused() -> None:
    data = LabelledTexts([" "] * 6, np.array([0, 1, 2] * 2), LABELS, "empty")
    with pytest.raises(DataError, match="Not one"):
        train(data, QUICK)


def test_validation_rows_with_other_labels_are_refused() -> None:
    other = replace(easy_texts(60), labels=("dog", "cat", "elk"))
    with pytest.raises(DataError, match="'dog', 'cat', 'elk'"):
        train(easy_texts(60), QUICK, validation=other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_missing_is_told() -> None:
    with pytest.raises(InputError, match=r"no CUDA .*--device cpu"):
        train(easy_texts(60), replace(QUICK, device="cuda"))
    assert train(easy_texts(60), replace(QUICK, device="auto", epochs=1)).metrics["epoch"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"epoch_size": 0},
        {"patience": 0},
        {"report_every": 0},
        {"threads": 0},
        {"vector_words": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"validation_share": 0.0},
        {"validation_share": 1.0},
        {"seed": -1},
        {"device": "tpu"},
    ],
)
def test_a_setting_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(QUICK, **change)


def last_word_decides(rows: int, seed: int) -> LabelledTexts:
    """The last word decides the class; lengths go from 1 to 60, so that most rows of a batch are mostly padding."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(rows) % 2)
    texts = [
        " ".join([*(f"noise{i}" for i in rng.integers(0, 5, rng.integers(0, 60))), ("no", "yes")[target]])
        for target in targets
    ]
    return LabelledTexts(texts, targets.astype(np.int64), ("no", "yes"), "last word")


def accuracy_of(cell: str, pooling: str, packed: bool) -> float:
    """The mean of two runs, on rows that were not trained on."""
    chosen = replace(QUICK, cell=cell, pooling=pooling, packed=packed, bidirectional=False, dropout=0.0, epochs=2)
    checkpoints_of_seeds = [
        train(last_word_decides(600, seed=0), replace(chosen, learning_rate=0.01, seed=seed)) for seed in (0, 1)
    ]
    held_out = last_word_decides(400, seed=1)
    return sum(evaluate(checkpoint, held_out).accuracy for checkpoint in checkpoints_of_seeds) / 2


@pytest.mark.slow
def test_the_first_lesson_an_lstms_last_state_after_the_padding_has_forgotten() -> None:
    assert accuracy_of("lstm", "last", packed=True) > 0.95
    assert accuracy_of("lstm", "last", packed=False) < 0.75


@pytest.mark.slow
def test_the_second_lesson_the_mean_over_padded_states_is_mostly_padding() -> None:
    assert accuracy_of("rnn_tanh", "mean", packed=True) > accuracy_of("rnn_tanh", "mean", packed=False) + 0.05


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_in_the_order_of_the_rows(packed: bool) -> None:
    checkpoint = train(easy_texts(60), replace(QUICK, packed=packed, epochs=1))
    texts = EncodedTexts.from_texts(easy_texts(50, seed=2).texts, TextEncoder(checkpoint.rules, checkpoint.vocabulary))
    logits = compute_logits(checkpoint.module, texts, 16)
    for start in range(0, 50, 16):
        tokens, lengths = texts.batch(np.arange(start, min(start + 16, 50)), 1)
        arguments = (torch.from_numpy(tokens), torch.from_numpy(lengths))[: 2 if packed else 1]
        with torch.inference_mode():
            torch.testing.assert_close(logits[start : start + 16], checkpoint.module(*arguments))


@pytest.mark.parametrize(
    ("rows", "classes", "epochs"),
    [
        (10, 10, 20),
        (10, 2, 20),
        (150, 6, 16),
        (500, 6, 8),
        (1_200, 10, 9),
        (5_000, 6, 8),
        (9_000, 77, 13),
        (13_000, 7, 7),
        (50_000, 4, 4),
        (3_000_000, 4, 4),
    ],
)
def test_a_small_set_is_read_more_often_than_a_large_one(rows: int, classes: int, epochs: int) -> None:
    assert TextSettings().epochs_for(rows, classes) == epochs
    assert TextSettings(epochs=3).epochs_for(rows, classes) == 3


def test_what_is_not_set_is_decided_by_the_rows_and_the_state() -> None:
    assert [TextSettings().batch_size_for(rows) for rows in (499, 500, 1_000, 19_999, 20_000)] == [16, 32, 64, 64, 128]
    assert TextSettings(batch_size=7).batch_size_for(20_000) == 7
    small = {"hidden_dim": 32, "bidirectional": False}
    assert TextSettings().dropout_for(8) == 0.5
    assert TextSettings(**small).dropout_for(8) == 0.125  # type: ignore[arg-type]
    assert TextSettings().dropout_for(1) == 0.0
    assert TextSettings(dropout=0.3, **small).dropout_for(1) == 0.3  # type: ignore[arg-type]
    decided = TextSettings(epoch_size=30_000).fill_missing_values(10, 4)
    assert (decided.batch_size, decided.epochs, decided.dropout) == (128, 4, 0.5)
    checkpoint = train(easy_texts(60), replace(QUICK, batch_size=None, dropout=None, epochs=1))
    assert [checkpoint.training[name] for name in ("batch_size", "dropout", "epochs")] == [16, 0.0, 1]
    assert checkpoint.architecture.dropout == 0.0
