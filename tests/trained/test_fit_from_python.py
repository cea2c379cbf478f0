"""`fit` trains a classifier on texts and labels in memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import get_scorer
from training_data import CHOICES, QUICK, easy_texts

from pocketrnn.errors import DataError, InputError, PocketRNNError
from pocketrnn_training import FittedClassifier, fit, fit_with_scikit_learn_interface, read_checkpoint
from pocketrnn_training.classifiers.checkpoint import MADE_EXAMPLES
from pocketrnn_training.training import train

DATA = easy_texts(90)
TEXTS, NAMES = list(DATA.texts), [DATA.labels[target] for target in DATA.targets]


@pytest.fixture(scope="module")
def fitted() -> FittedClassifier:
    return fit(TEXTS, NAMES, **CHOICES)


def test_it_gives_the_weights_that_train_gives(fitted: FittedClassifier) -> None:
    expected = train(DATA, QUICK).module.state_dict()
    for name, tensor in fitted.checkpoint.module.state_dict().items():
        assert tensor.equal(expected[name]), name


def test_it_predicts_scores_and_is_saved(fitted: FittedClassifier, tmp_path: Path) -> None:
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (90, 3)
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-5
    assert fitted.predict(TEXTS) == [fitted.labels[i] for i in probabilities.argmax(axis=1)]
    right = float(np.mean([given == name for given, name in zip(fitted.predict(TEXTS), NAMES, strict=True)]))
    assert fitted.score(TEXTS, NAMES) == fitted.evaluate(TEXTS, NAMES).accuracy == right
    fitted.save(tmp_path / "saved")
    assert read_checkpoint(tmp_path / "saved").labels == fitted.labels == DATA.labels
    with pytest.raises(PocketRNNError):
        fitted.save(tmp_path / "saved")
    fitted.save(str(tmp_path / "saved"), force=True)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(
            lambda texts, codes: (pd.Series(texts, index=range(7, 7 + len(texts))), pd.Series(codes)),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda texts, codes: (np.array(texts), np.array(codes)), marks=pytest.mark.slow),
        # As those of pandas.
        pytest.param(lambda texts, codes: (np.array(texts, dtype=object), tuple(codes)), marks=pytest.mark.slow),
        lambda texts, codes: (pa.array(texts), pa.chunked_array([codes])),
        lambda texts, codes: (iter(texts), (code for code in codes)),
    ],
    ids=["pandas", "numpy", "objects", "arrow", "generators"],
)
def test_columns_of_any_kind_and_numbers_as_labels_are_taken_and_given_back(columns: Any) -> None:
    fitted = fit(*columns(TEXTS, DATA.targets.tolist()), **CHOICES | {"epochs": 1})
    assert fitted.labels == ("0", "1", "2")
    assert fitted.classes_.tolist() == [0, 1, 2]
    answers = fitted.predict(TEXTS)
    assert set(answers) <= {0, 1, 2}
    assert all(type(answer) is int for answer in answers)
    assert fitted.score(TEXTS, DATA.targets) == np.mean(np.array(answers) == DATA.targets)


def test_booleans_are_given_back_as_booleans() -> None:
    fitted = fit(["so good", "so bad"] * 10, [True, False] * 10, **CHOICES)
    assert all(type(answer) is bool for answer in fitted.predict(["so good", "so bad"]))


def test_scikit_learns_scorers_take_it(fitted: FittedClassifier) -> None:
    assert get_scorer("accuracy")(fitted, TEXTS, NAMES) == fitted.score(TEXTS, NAMES)
    assert np.isfinite(get_scorer("neg_log_loss")(fitted, TEXTS, NAMES))
    with pytest.raises(InputError, match="already trained"):
        fitted.fit(TEXTS, NAMES)


def test_validation_rows_and_no_examples_are_taken() -> None:
    fitted = fit(TEXTS[10:], NAMES[10:], validation=(TEXTS[:10], NAMES[:10]), examples=False, **CHOICES | {"epochs": 1})
    assert fitted.checkpoint.data["validation_rows"] == 10
    assert fitted.checkpoint.data["examples"] == MADE_EXAMPLES


def test_what_is_odd_about_the_texts_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pocketrnn_training")
    fit([*TEXTS, TEXTS[0]], [*NAMES, NAMES[0]], **CHOICES)
    said = [(record.levelno, record.message) for record in caplog.records]
    assert any(level == logging.WARNING and "repeat the text" in text for level, text in said)
    assert sum("validation loss" in text for _, text in said) == 3


def test_it_says_how_far_it_is_where_it_takes_longer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where no logging is set up: pytest has handlers of its own.
    monkeypatch.setattr(fit_with_scikit_learn_interface._log, "hasHandlers", lambda: False)
    fit(TEXTS, NAMES, **CHOICES | {"epochs": 1})
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(fit_with_scikit_learn_interface, "_SHORT", 0.0)
    fit(TEXTS, NAMES, **CHOICES | {"epochs": 1})
    said = capsys.readouterr().err
    assert "epoch 1  validation loss" in said
    assert said.startswith("Note: 1 epoch of 81 rows, the best counts: about 0:00:0")
    fit(TEXTS, NAMES, progress=False, **CHOICES | {"epochs": 1})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("texts", "labels", "named"),
    [
        (["a", "b"], ["x"], "2 texts, but 1 labels"),
        ([], [], "texts is empty"),
        ("a text", ["x"], "`texts` .*'a text'"),
        (["a", "b"], "xy", "`labels` .*'xy'"),
        (["a", None], ["x", "y"], "position 1"),
        (["a", float("nan")], ["x", "y"], "position 1"),
        (["a", "b"], ["x", None], "position 1"),
        (pd.Series(["a", "b"]), pd.Series([1.0, None]), "position 0"),
        (["a", "b"], ["x", ""], "position 1"),
        (["a", "b"], ["x", ["x", "y"]], "several labels, .*list"),
        (["a", "b"], ["x", "x"], "same label, 'x'"),
        (["a", "b"], [1, "1"], "both become '1'"),
        (["a", "b"], [1, True], "position|Every class has 1 row"),
        (["a", "b"], ["x", "y"], "Every class has 1 row"),
        (np.array([["a", "b"]]), ["x", "y"], "one dimension, .* has 2"),
        (["", " "] * 3, ["x", "y"] * 3, "token"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_a_sentence(texts: Any, labels: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        fit(texts, labels, **CHOICES)


def test_unknown_choices_labels_and_texts_are_refused(fitted: FittedClassifier) -> None:
    with pytest.raises(InputError, match="epoch") as refused:
        fit(TEXTS, NAMES, epoch=3)
    assert "epochs" in refused.value.remedy
    with pytest.raises(DataError, match="'emu'"):
        fitted.score(["an emu"], ["emu"])
    with pytest.raises(DataError, match="position 1"):
        fitted.predict(["a", 1])  # type: ignore[list-item]
