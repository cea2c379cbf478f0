"""scikit-learn's tools take a Classifier as the estimator that it is."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pocketrnn import Classifier
from pocketrnn.errors import InputError

pytest.importorskip("sklearn", "1.6")
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import check_is_fitted

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = ["NASA probe nears Saturn", "Oil prices rise again", "Striker scores twice", "Peace talks resume"] * 3
LABELS = np.array(["Sci/Tech", "Business", "Sports", "World"] * 3)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("ag_news")


def test_the_classes_are_the_labels_in_the_order_of_the_probabilities(classifier: Classifier) -> None:
    assert classifier.classes_.tolist() == list(classifier.labels)
    likeliest = classifier.classes_[classifier.predict_proba(TEXTS).argmax(axis=1)]
    assert likeliest.tolist() == classifier.predict(TEXTS)


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"])
def test_scorers_take_a_classifier(classifier: Classifier, score: str) -> None:
    assert np.isfinite(get_scorer(score)(classifier, TEXTS, LABELS))


def test_a_score_is_that_of_the_answers(classifier: Classifier) -> None:
    shuffled = np.roll(LABELS, 1)
    for labels in (LABELS, shuffled):
        scored = get_scorer("accuracy")(classifier, TEXTS, labels)
        assert scored == accuracy_score(labels, classifier.predict(TEXTS))


def test_displays_take_a_classifier(classifier: Classifier) -> None:
    from matplotlib.figure import Figure

    shown = ConfusionMatrixDisplay.from_estimator(classifier, TEXTS, LABELS, ax=Figure().subplots())
    assert shown.confusion_matrix.sum() == len(TEXTS)
    assert sorted(shown.display_labels) == sorted(classifier.labels)


def test_a_classifier_counts_as_fitted_and_refuses_to_be_fitted(classifier: Classifier) -> None:
    check_is_fitted(classifier)
    with pytest.raises(InputError, match="FrozenEstimator"):
        classifier.fit(TEXTS, LABELS)


def test_a_frozen_classifier_goes_through_cross_validation_and_calibration(classifier: Classifier) -> None:
    frozen = FrozenEstimator(classifier)
    assert cross_val_score(frozen, TEXTS, LABELS, cv=3, scoring="accuracy").shape == (3,)
    calibrated = CalibratedClassifierCV(frozen, cv=3).fit(TEXTS, LABELS)
    assert calibrated.predict_proba(TEXTS).shape == (len(TEXTS), 4)


def test_the_examples_pipeline_cleans_and_classifies(monkeypatch: pytest.MonkeyPatch, classifier: Classifier) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from scikit_learn import pipeline

    cleaned = pipeline()
    assert cleaned.predict(["<b>Oil</b> prices rise"]) == classifier.predict([" Oil  prices rise"])
    assert cleaned.fit(TEXTS, LABELS).predict_proba(TEXTS).shape == (len(TEXTS), 4)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "scikit_learn.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "accuracy: 1.000" in printed
    assert "macro avg" in printed


def test_the_runtime_alone_never_imports_scikit_learn() -> None:
    code = "import sys; from pocketrnn import Classifier; Classifier.load('ag_news').predict(['a']); print(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "'sklearn" not in done.stdout
