"""The owner's answers and those of a bundle or a module, and how far they are from each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.output_kinds import decides_between_two_labels
from pocketrnn.classifier import Classifier, compute_logits_of_engine_input, get_answers_of_chosen_labels
from pocketrnn.errors import LimitError
from pocketrnn.text.text_row_encoder import Text
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.owner_texts_and_answers import Answer

# The allowed difference from the owner's probability, which may be rounded, or computed on a GPU.
TOLERANCE: Final = 1e-3
# The same where all of the owner's are rounded to two decimals.
_OF_TWO_DECIMALS: Final = 6e-3
# A column is another label's if its probabilities are so many times farther away than those of the own column, which
# may be as near as float32 rounds.
_TIMES_NEARER: Final = 10
_ROUNDING: Final = 1e-7
# Fewer texts may have one label each by chance.
_TEXTS_TO_TELL_BY: Final = 8
Probabilities: TypeAlias = NDArray[np.float64]
Row: TypeAlias = "tuple[AnsweredText, Probabilities]"


@dataclass(frozen=True)
class AnsweredText:
    """A text with the answer that the owner's classifier gives to it. The owner is the user who exports a classifier.

    Attributes:
        text: the text.
        read: what the bundle gets for this text: the text itself, or its tokens or ids if the owner's own code splits
            it.
        answer: the owner's answer: a tuple of labels, or a dict from labels to probabilities.
        ids_agree: whether the bundle gives this text the ids that the owner's code gives it.
        names: whether the owner gave the answer by names of labels, and not as a list of numbers in the order of the
            logits.
        head: the output head of the module that gave the answer; empty if the module has one set of labels.
        label: the labels that the owner gave beside probabilities, which may be none of them; None if not given.
    """

    text: str
    read: Text
    answer: Answer
    ids_agree: bool = False
    names: bool = True
    head: str = ""
    label: tuple[str, ...] | None = None


@dataclass(frozen=True)
class AnswerSource:
    """A bundle or a module whose answers are compared with the answers of the owner's classifier.

    Attributes:
        name: `bundle` or `module`, for messages.
        labels: the labels, in the order of the logits.
        activation: `softmax` if each text has exactly one label; `sigmoid` if each label is decided by itself.
        text: the text rules and the vocabulary.
        encode: converts a text to ids.
        answer_ids: converts the ids of a text to the probability of each label. It may raise a PocketRNNError.
        answer_text: converts a text to the probability of each label.
        thresholds: for each label, the probability from which a text has this label; None for the default thresholds.
        has_one_output: whether the module gives one number for each text, of which the logits of two labels are made.
        rows: the number of rows of the module's embedding; 0 if it is not known.
        lengths: the lengths of texts that the owner's code and files name, such as `max_len`.
        stop_words: a list of stop words for each of the owner's files that has some.
        other: the same source with the other activation; None if it has only this one.
        gives_likeliest: whether each text has the likeliest label, although the activation is a sigmoid.
        weights: the path of the module's weights; empty if it is not known.
        gives: in one of the `readings`, how it takes the module's numbers: `logits` or `probabilities`; else empty.
        reach: the smallest and the largest probability that can occur.
        readings: the same module with its numbers taken otherwise: its probabilities as logits, or the reverse.
    """

    name: str
    labels: Sequence[str]
    activation: str
    text: Any
    encode: Callable[[Text], list[int]]
    answer_ids: Callable[[Sequence[int]], Probabilities]
    answer_text: Callable[[Text], Probabilities]
    thresholds: Sequence[float] | None = None
    has_one_output: bool = False
    rows: int = 0
    lengths: Sequence[NamedLength] = ()
    stop_words: Sequence[Sequence[str]] = ()
    other: AnswerSource | None = None
    gives_likeliest: bool = False
    weights: str = ""
    gives: str = ""
    reach: tuple[float, float] = (0.0, 1.0)
    readings: tuple[AnswerSource, ...] = ()

    @classmethod
    def from_bundle(cls, classifier: Classifier) -> AnswerSource:
        """Make an `AnswerSource` that gives the answers of a loaded bundle."""
        chosen = get_answers_of_chosen_labels(classifier)

        def answer_ids(ids: Sequence[int]) -> Probabilities:
            return np.asarray(chosen.probabilities(compute_logits_of_engine_input(classifier, [ids]))[0], np.float64)

        return cls(
            "bundle", classifier.labels, chosen.activation, classifier.manifest.text,
            lambda text: classifier.encode(text), answer_ids,
            lambda text: np.asarray(classifier.predict_proba([text])[0], np.float64), classifier.thresholds,
        )  # fmt: skip


def choose_likeliest_label_or_thresholds_as_owner(source: AnswerSource, rows: Sequence[Row]) -> AnswerSource:
    """Find out whether the owner's classifier always gives the likeliest label, although the source has a sigmoid. This
    is so if each answer with labels has exactly one label, and if these labels agree with the likeliest labels more
    often than with the labels that reach their thresholds. If so, return a copy of the source with `gives_likeliest`.
    Otherwise, return the source unchanged.

    Args:
        source: the bundle or the module.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
    """
    with_labels = [(one, found) for one, found in rows if one.label is not None or not isinstance(one.answer, Mapping)]
    given = [(tuple(one.answer) if one.label is None else one.label, found) for one, found in with_labels]
    are_few = len(given) < _TEXTS_TO_TELL_BY
    if source.activation == "softmax" or are_few or any(len(labels) != 1 for labels, _ in given):
        return source
    likeliest = replace(source, gives_likeliest=True)
    by_thresholds, by_likeliest = (
        sum(measure_distance(labels, found, one) > TOLERANCE for labels, found in given) for one in (source, likeliest)
    )
    return likeliest if by_likeliest < by_thresholds else source


def may_give_answers(source: AnswerSource, answered: Sequence[AnsweredText]) -> bool:
    """Return whether a way to take the module's numbers may give the owner's probabilities: its own numbers for the
    first texts are probabilities, and all of the owner's are within its reach. Return False if the owner's answers have
    no probabilities, since these alone can show the difference.

    Args:
        source: one of the `readings` of a source.
        answered: the texts with the owner's answers.
    """
    answers = [one.answer for one in answered]
    some = [predict_probabilities(source, one.read) for one in answered[:_TEXTS_TO_TELL_BY]]
    numbers = np.array([found for found in some if found is not None])
    if not numbers.size or not any(isinstance(one, Mapping) for one in answers):
        return False
    off = np.abs(numbers.sum(1) - 1) if source.activation == "softmax" else np.zeros(1)
    are_probabilities = numbers.min() >= -_ROUNDING and max(numbers.max() - 1, off.max()) <= TOLERANCE
    return bool(are_probabilities) and are_within_reach(answers, source.reach)


def are_within_reach(answers: Sequence[Answer], reach: tuple[float, float]) -> bool:
    """Return whether all probabilities among the owner's answers are from the smallest to the largest one of `reach`,
    also if they are rounded to two decimals."""
    given = [number for one in answers if isinstance(one, Mapping) for number in one.values()]
    return all(reach[0] - _OF_TWO_DECIMALS <= number <= reach[1] + _OF_TWO_DECIMALS for number in given)


def find_reach_of_probabilities_as_logits(label_count: int, *, multi_label: bool) -> tuple[float, float]:
    """Return the smallest and the largest probability that a softmax gives for probabilities in place of logits, or a
    sigmoid with `multi_label`. `label_count` is the number of labels.

    Example:
        >>> find_reach_of_probabilities_as_logits(3, multi_label=True)
        (0.5, 0.7310585786300049)
    """
    raised = np.exp(1.0)
    if multi_label:
        return 0.5, float(raised / (1 + raised))
    return float(1 / (raised + label_count - 1)), float(raised / (raised + label_count - 1))


def find_possible_columns(
    source: AnswerSource, rows: Sequence[Row], tolerance: float, *, own_columns_show_precision: bool = False
) -> dict[str, set[int]]:
    """Return, for each label, the set of those columns of the logits that may belong to it. A column may belong to a
    label if its probabilities agree with all of the owner's answers for this label.

    Args:
        source: the bundle or the module, with its labels.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        tolerance: the largest difference between two probabilities that agree.
        own_columns_show_precision: whether to lower the tolerance of each label to ten times the largest difference in
            the column that the label has now.
    """
    may = {}
    for own, label in enumerate(source.labels):
        columns, nearest = np.ones(len(source.labels), bool), tolerance
        apart = [
            (isinstance(one.answer, Mapping), measure_label_distance(one.answer, label, slice(None), found, source))
            for one, found in rows
        ]
        if own_columns_show_precision:
            of_own = max((each[own] for of_number, each in apart if of_number), default=0.0)
            nearest = min(tolerance, max(_TIMES_NEARER * of_own, _ROUNDING))
        for of_number, each in apart:
            columns &= each <= (nearest if of_number else tolerance)
        may[label] = set(np.flatnonzero(columns).tolist())
    return may


def choose_tolerance(rows: Sequence[Row]) -> float:
    """Return the largest allowed difference between a probability of the owner and the predicted one: 0.006 if all of
    the owner's probabilities are rounded to two decimals, and 0.001 otherwise."""
    numbers = [number for one, _ in rows if isinstance(one.answer, Mapping) for number in one.answer.values()]
    # Zeros and ones are not rounded probabilities but labels.
    of_two = all(round(number, 2) == number for number in numbers) and any(
        round(number, 1) != number for number in numbers
    )
    return _OF_TWO_DECIMALS if of_two else TOLERANCE


def predict_probabilities(source: AnswerSource, read: Text) -> Probabilities | None:
    """Return the probabilities that a bundle or a module gives for a text. Return None if it refuses the text because
    of a limit, such as the largest length. `read` is the text, or its tokens or ids."""
    try:
        return source.answer_text(read)
    except LimitError:
        return None


def measure_distance(answer: Answer, found: Probabilities, source: AnswerSource) -> float:
    """Return how far the predicted probabilities (`found`) are from the owner's answer. For an answer with
    probabilities, this is the largest difference. For an answer with labels, it is by how much the predicted
    probabilities would have to change to give these labels; 0 if they give them."""
    return max(float(measure_label_distance(answer, label, i, found, source)) for i, label in enumerate(source.labels))


def measure_label_distance(
    answer: Answer, label: str, columns: int | slice, found: Probabilities, source: AnswerSource
) -> Any:
    """Return how far the predicted probabilities are from the owner's answer for one label.

    Args:
        answer: the owner's answer.
        label: the label.
        columns: the index of the probability that is taken for this label; or a slice of indices, for which an array
            with one distance each is returned.
        found: the predicted probabilities.
        source: the bundle or the module, with its activation and thresholds.
    """
    value = found[columns]
    if isinstance(answer, Mapping):
        return np.abs(answer[label] - value) if label in answer else 0 * value
    thresholds = None if source.thresholds is None else np.asarray(source.thresholds)[columns]
    if (source.activation == "sigmoid" and not source.gives_likeliest) or decides_between_two_labels(source.thresholds):
        needed = 0.5 if thresholds is None else thresholds
        return np.maximum(0, needed - value if label in answer else value - needed)
    below = found.max() - value
    if answer:
        # The owner may give the likeliest label even where the bundle's thresholds give none.
        return below if label in answer else 0 * value
    return 1 + 0 * value if thresholds is None else np.where(below == 0, np.maximum(0, value - thresholds), 0)
