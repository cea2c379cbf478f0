"""The accuracy of a linear model on the same rows: the figure that a classifier has to be compared with."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pocketrnn_training.baselines.baseline import Baseline
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.measures.logit_measures import micro_f1
from pocketrnn_training.rows.data import LabelledTexts
from pocketrnn_training.rows.labelled_rows import fold_of_rows

__all__ = ["LinearBaseline", "linear_baseline", "linear_model", "text_baseline"]

# 20,000 news texts take 17 s of processor time; 120,000 would take longer than a classifier of them.
MOST_ROWS: Final = 20_000
# A score for each class and each count, 1 GiB: with 10,000 classes there would be several times as many.
_MOST_NUMBERS: Final = 1 << 27
# A linear model learns little from the rest of a longer text.
_MOST_CHARACTERS: Final = 10_000


class LinearBaseline(Baseline):
    """A linear model of words and characters."""

    MODEL = "A linear model (scikit-learn's LinearSVC on TF-IDF of words, pairs of words and characters, not tuned)"
    ADVICE = (
        "Word vectors (`--vectors`), more rows, or a teacher (`--teacher`) may bring this classifier further; if not, "
        "use the linear model."
    )


def linear_model(*, characters: bool = True, several_labels: bool = False) -> Any:
    """A linear support vector machine on TF-IDF of words, pairs of words, and 2 to 5 characters of a word; not fitted.

    scikit-learn's users write it in two lines (Wang and Manning, "Baselines and bigrams", 2012, use a linear model of
    such counts). Nothing of it is tuned.

    Args:
        characters: count characters, too.
        several_labels: one such model for each label, of which a text can have several.

    Example:
        >>> linear_model().fit(["so good", "so bad"], [1, 0]).predict(["good"]).tolist()
        [1]
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    counts: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    words = TfidfVectorizer(ngram_range=(1, 2), **counts)
    by_characters = TfidfVectorizer(ngram_range=(2, 5), analyzer="char_wb", **counts)
    linear: Any = LinearSVC(C=0.5, random_state=0)
    if several_labels:
        from sklearn.multiclass import OneVsRestClassifier

        linear = OneVsRestClassifier(linear)
    return make_pipeline(make_union(words, by_characters) if characters else words, linear)


def linear_baseline(training: LabelledTexts, validation: LabelledTexts) -> LinearBaseline | None:
    """Fit `linear_model` and measure it on the validation rows.

    Args:
        training: the rows to learn from. Those without a label are left out; of more than 20,000, so many are drawn.
        validation: the rows to measure with, with the same labels.

    Returns:
        what it reaches; None where there is no such model: the training rows have one class only, or no word, or it
        would be too large.

    Example:
        >>> linear_baseline(training, validation)
        LinearBaseline(accuracy=0.886, rows=4906)
    """
    from sklearn.exceptions import ConvergenceWarning

    labelled = np.flatnonzero(training.labelled)
    if len(labelled) > MOST_ROWS:
        labelled = np.sort(np.random.default_rng(0).choice(labelled, MOST_ROWS, replace=False))
    some = training.rows(labelled)
    if (some.counts() > 0).sum() < 2:
        return None
    model = linear_model(several_labels=some.several_labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A label that no drawn row has.
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        try:
            counted = model[0].fit_transform(_cut(some))
        except ValueError:
            # "empty vocabulary": not one text has a word.
            return None
        if counted.shape[1] * len(some.labels) > _MOST_NUMBERS:
            return None
        model[1].fit(counted, some.targets)
    given = model.predict(_cut(validation))
    if validation.several_labels:
        right = (given == validation.targets).all(axis=1)
        return LinearBaseline(float(right.mean()), len(some), micro_f1(validation.targets, given > 0))
    return LinearBaseline(float((given == validation.targets).mean()), len(some))


def text_baseline(training: LabelledTexts, validation: LabelledTexts, checkpoint: Checkpoint) -> LinearBaseline | None:
    """As `linear_baseline`; where the classifier was measured by folds of all rows, by the same folds.

    Example:
        >>> text_baseline(training, validation, checkpoint)
        LinearBaseline(accuracy=0.886, rows=4906)
    """
    if not checkpoint.measured_by_folds:
        return linear_baseline(training, validation)
    folds, seed = int(checkpoint.metrics["folds"]), checkpoint.training["seed"]
    fold_of, found = fold_of_rows(training, folds, np.random.default_rng(seed)), []
    for fold in range(folds):
        others, rows = (training.rows(np.flatnonzero(some)) for some in (fold_of != fold, fold_of == fold))
        if (one := linear_baseline(others, rows)) is None:
            return None
        found.append(one)
    accuracy = np.average([one.accuracy for one in found], weights=np.bincount(fold_of))
    return replace(found[0], accuracy=float(accuracy), rows=len(training), folds=folds)


def _cut(data: LabelledTexts) -> list[str]:
    return [text[:_MOST_CHARACTERS] for text in data.texts]
