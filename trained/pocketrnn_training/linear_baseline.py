"""What a linear model reaches on the same rows: the figure that a classifier has to be compared with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pocketrnn_training.data import UNLABELLED, LabelledTexts

__all__ = ["LinearBaseline", "linear_baseline", "linear_model"]

# 20,000 news texts take 17 s of processor time; 120,000 would take longer than a classifier of them.
MOST_ROWS: Final = 20_000
# Of a longer text, a linear model learns little from the rest.
_MOST_CHARACTERS: Final = 10_000


@dataclass(frozen=True)
class LinearBaseline:
    """A linear model on the rows of a run.

    Attributes:
        accuracy: the share of the validation rows that it is right of, from 0 to 1.
        rows: how many training rows it learnt from.
    """

    accuracy: float
    rows: int


def linear_model(*, characters: bool = True) -> Any:
    """A linear support vector machine on TF-IDF of words, pairs of words, and 2 to 5 characters of a word; not fitted.

    What scikit-learn's users write in two lines (Wang and Manning, "Baselines and bigrams", 2012, use a linear model of
    such counts). Nothing of it is tuned.

    Args:
        characters: count characters, too.

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
    return make_pipeline(make_union(words, by_characters) if characters else words, LinearSVC(C=0.5, random_state=0))


def linear_baseline(training: LabelledTexts, validation: LabelledTexts) -> LinearBaseline | None:
    """What `linear_model` reaches on the validation rows.

    Args:
        training: the rows to learn from. Those without a label are left out; of more than 20,000, so many are drawn.
        validation: the rows to measure with, with the same labels.

    Returns:
        what it reaches; None where there is no such model: the training rows have one class only, or no word.

    Example:
        >>> linear_baseline(training, validation)
        LinearBaseline(accuracy=0.886, rows=4906)
    """
    from sklearn.exceptions import ConvergenceWarning

    labelled = np.flatnonzero(training.targets != UNLABELLED)
    if len(labelled) > MOST_ROWS:
        labelled = np.sort(np.random.default_rng(0).choice(labelled, MOST_ROWS, replace=False))
    some = training.rows(labelled)
    if len(np.unique(some.targets)) < 2:
        return None
    model = linear_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(_cut(some), some.targets)
        except ValueError:
            # "empty vocabulary": not one text has a word.
            return None
    given = model.predict(_cut(validation))
    return LinearBaseline(float((given == validation.targets).mean()), len(some))


def _cut(data: LabelledTexts) -> list[str]:
    return [text[:_MOST_CHARACTERS] for text in data.texts]
