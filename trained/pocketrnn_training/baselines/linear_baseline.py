"""The accuracy of a linear model on the same texts, to compare a recurrent classifier with."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.measures.logit_measures import compute_micro_f1
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_rows import assign_folds
from pocketrnn_training.rows.labelled_texts import LabelledTexts

__all__ = ["LinearBaseline", "PairBaseline", "fit_linear_baseline", "fit_text_baseline", "make_unfitted_linear_model"]

# 20,000 news texts take 17 s of processor time; 120,000 would take longer than a classifier of them.
MOST_ROWS: Final = 20_000
# There is one weight for each class and feature. They may take at most 1 GiB: 10,000 classes would need several times
# as much.
_MOST_NUMBERS: Final = 1 << 27
# A linear model learns little from the rest of a longer text.
_MOST_CHARACTERS: Final = 10_000


class LinearBaseline(Baseline):
    """The accuracy of a linear model on the words and characters of each text."""

    MODEL = "A linear model (scikit-learn's LinearSVC on TF-IDF of words, pairs of words and characters, not tuned)"
    ADVICE = (
        "Word vectors (`--vectors`), more rows, or a teacher (`--teacher`) may bring this classifier further; if not, "
        "use the linear model."
    )


class PairBaseline(LinearBaseline):
    """The accuracy of a linear model on the words and characters of two texts, and on the words that both have."""

    MODEL = (
        "A linear model (scikit-learn's LinearSVC on TF-IDF of the words, pairs of words and characters of both texts "
        "side by side, and of the words that both have; not tuned)"
    )
    ADVICE = "Word vectors (`--vectors`) or more rows may bring this classifier further; if not, use the linear model."


def make_unfitted_linear_model(*, characters: bool = True, several_labels: bool = False, pairs: bool = False) -> Any:
    """Make an unfitted linear SVM on TF-IDF of words, of pairs of words, and of 2 to 5 characters of a word.

    Its hyper-parameters are not tuned. Wang and Manning ("Baselines and bigrams", 2012) use a similar model.

    Args:
        characters: whether to use features of characters, too.
        several_labels: whether to fit one SVM for each label, for texts that can have several labels.
        pairs: whether a row is a pair of texts. If so, each text has features of its own, and so have the words that
            both texts have.

    Returns:
        A pipeline of scikit-learn.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    def make_vectorizers(get_text: Callable[[Any], str] | None, *options_of_each: dict[str, Any]) -> list[Any]:
        counts: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "preprocessor": get_text}
        return [TfidfVectorizer(**counts, **some) for some in options_of_each]

    both: tuple[dict[str, Any], ...]
    both = ({"ngram_range": (1, 2)}, *([{"ngram_range": (2, 5), "analyzer": "char_wb"}] if characters else []))
    if pairs:
        some = [
            *make_vectorizers(_get_lowercase_first_text, *both),
            *make_vectorizers(_get_lowercase_second_text, *both),
            *make_vectorizers(_join_common_words, {}),
        ]
    else:
        some = make_vectorizers(None, *both)
    linear: Any = LinearSVC(C=0.5, random_state=0)
    if several_labels:
        from sklearn.multiclass import OneVsRestClassifier

        linear = OneVsRestClassifier(linear)
    return make_pipeline(make_union(*some), linear)


def _get_lowercase_first_text(pair: tuple[str, str]) -> str:
    return pair[0].lower()


def _get_lowercase_second_text(pair: tuple[str, str]) -> str:
    return pair[1].lower()


def _join_common_words(pair: tuple[str, str]) -> str:
    """Join the words that occur in both texts of a pair, sorted, with spaces between them."""
    first, second = (set(re.findall(r"\w+", text.lower())) for text in pair)
    return " ".join(sorted(first & second))


def fit_linear_baseline(training: LabelledTexts, validation: LabelledTexts) -> LinearBaseline | None:
    """Fit a linear SVM on words and characters, and measure its accuracy on the validation rows.

    Args:
        training: the rows to learn from. Rows without a label are left out; at most 20,000 are used, drawn at random.
        validation: the rows to measure with, with the same labels.

    Returns:
        The accuracy of the model; None if it cannot be fitted: the training rows have only one class or no words, or
        the model would be too large.
    """
    from sklearn.exceptions import ConvergenceWarning

    labelled = np.flatnonzero(training.labelled)
    if len(labelled) > MOST_ROWS:
        labelled = np.sort(np.random.default_rng(0).choice(labelled, MOST_ROWS, replace=False))
    some = training.rows(labelled)
    if (some.counts() > 0).sum() < 2:
        return None
    pairs = isinstance(some, LabelledPairs)
    model = make_unfitted_linear_model(several_labels=some.several_labels, pairs=pairs)
    found = PairBaseline if pairs else LinearBaseline
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A label that no drawn row has.
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        try:
            counted = model[0].fit_transform(_truncate_long_texts(some))
        except ValueError:
            # "empty vocabulary": none of the texts has a word.
            return None
        if counted.shape[1] * len(some.labels) > _MOST_NUMBERS:
            return None
        model[1].fit(counted, some.targets)
    given = model.predict(_truncate_long_texts(validation))
    if validation.several_labels:
        right = (given == validation.targets).all(axis=1)
        return found(float(right.mean()), len(some), compute_micro_f1(validation.targets, given > 0))
    return found(float((given == validation.targets).mean()), len(some))


def fit_text_baseline(
    training: LabelledTexts, validation: LabelledTexts, checkpoint: Checkpoint
) -> LinearBaseline | None:
    """Fit a linear model to compare a trained classifier with, and measure its accuracy.

    Args:
        training: the rows to learn from.
        validation: the rows to measure with; not used if the classifier was measured by cross-validation.
        checkpoint: the trained classifier. If it was measured by cross-validation, so is the linear model, with the
            same folds.

    Returns:
        The accuracy of the model; None if it cannot be fitted, for example since all rows have one class.
    """
    if not checkpoint.measured_by_folds:
        return fit_linear_baseline(training, validation)
    folds, seed = int(checkpoint.metrics["folds"]), checkpoint.training["seed"]
    fold_of, found = assign_folds(training, folds, np.random.default_rng(seed)), []
    for fold in range(folds):
        others, rows = (training.rows(np.flatnonzero(some)) for some in (fold_of != fold, fold_of == fold))
        if (one := fit_linear_baseline(others, rows)) is None:
            return None
        found.append(one)
    accuracy = np.average([one.accuracy for one in found], weights=np.bincount(fold_of))
    return replace(found[0], accuracy=float(accuracy), rows=len(training), folds=folds)


def _truncate_long_texts(data: LabelledTexts) -> list[Any]:
    """Return each text, or both texts of each pair, cut off after a number of characters, to save time."""
    texts = [text[:_MOST_CHARACTERS] for text in data.single_texts.texts]
    return list(zip(texts[::2], texts[1::2], strict=True)) if isinstance(data, LabelledPairs) else texts
