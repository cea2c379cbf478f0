"""Restrict a classifier to some of its labels, or weight its labels by how often each is expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np

from pocketrnn.bundle.output_kinds import Priors
from pocketrnn.engines.engine import Engine, EngineAnswer, Floats, Ids, Steps, TextEngine
from pocketrnn.errors import InputError, short_repr, suggest_similar_name
from pocketrnn.predictions_from_logits import Answers

__all__ = ["ChosenLabels", "choose_labels", "weight_labels_by_prior", "wrap_engine_for_labels"]

# The label for texts that are none of the others, by ISO 639: it stays among the chosen labels.
UNDETERMINED = "und"
# How many labels a message about an unknown label lists.
_SHOWN = 20


@dataclass(frozen=True)
class ChosenLabels:
    """The labels that a user chose among those of a classifier, and a weight for each.

    Attributes:
        indices: the indices of the chosen labels among the labels of the engine, in increasing order.
        weights: for each chosen label, the number that is added to its logit: the logarithm of how often the label is
            expected.
    """

    indices: tuple[int, ...]
    weights: tuple[float, ...]

    def select_and_weight_logits_of_row(self, logits: Sequence[float]) -> list[float]:
        """Select the logits of the chosen labels from one row with the logits of all labels, and add the weights."""
        return [logits[index] + weight for index, weight in zip(self.indices, self.weights, strict=True)]

    def select_and_weight_logits_of_rows(self, logits: Floats) -> Floats:
        """Select the logits of the chosen labels from float32 [texts, labels], and add the weights: float32 [texts,
        chosen labels]."""
        chosen: Floats = logits[:, list(self.indices)] + np.array(self.weights, np.float32)
        return chosen

    def combine_with_earlier_choice(self, already_chosen: ChosenLabels | None) -> ChosenLabels:
        """Combine this choice, whose indices count the labels of an earlier choice, with that earlier choice. Return a
        choice whose indices count the labels of the engine, with the sums of both weights.

        Args:
            already_chosen: the earlier choice; None if there was none.
        """
        if already_chosen is None:
            return self
        weights = (
            already_chosen.weights[index] + weight for index, weight in zip(self.indices, self.weights, strict=True)
        )
        return ChosenLabels(tuple(already_chosen.indices[index] for index in self.indices), tuple(weights))


def choose_labels(answers: Answers, among: Iterable[str]) -> ChosenLabels:
    """Choose some labels of a classifier, in the classifier's order and without weights.

    The label `und` (undetermined) is chosen, too, unless `among` has "-und".

    Args:
        answers: the labels and the activation of the classifier.
        among: the labels to choose. A label after a minus is left out; if all labels have a minus, all others are
            chosen, as in ["-la"] for all but Latin.

    Raises:
        InputError: a label is unknown, no label is left, or the classifier has several heads, several labels for a
            text, or values.
    """
    if isinstance(among, str):
        raise InputError(
            f"among is the string {short_repr(among, 40)}, but it must be a list of labels.",
            'Give a list such as ["en", "de"].',
        )
    _require_exactly_one_label(answers, "among")
    named, left_out = set[str](), set[str]()
    for label in among:
        if label in answers.labels:
            named.add(label)
        elif isinstance(label, str) and label[:1] == "-" and label[1:] in answers.labels:
            left_out.add(label[1:])
        else:
            raise _make_unknown_label_error(answers, label)
    if both := named & left_out:
        raise InputError(
            f"among has both {min(both)} and -{min(both)}.",
            f"Give only one of them: {min(both)} keeps the label, -{min(both)} leaves it out.",
        )
    # Where `among` only leaves labels out, all others are kept.
    kept = (named | {UNDETERMINED} if named or not left_out else set(answers.labels)) - left_out
    indices = tuple(index for index, label in enumerate(answers.labels) if label in kept)
    if not indices or not (named or left_out):
        problem = "among leaves out all labels." if left_out else "among is an empty list."
        raise InputError(problem, f"Give some of these labels: {_format_first_labels(answers)}.")
    return ChosenLabels(indices, (0.0,) * len(indices))


def weight_labels_by_prior(answers: Answers, prior: str | Mapping[str, float], bundle_priors: Priors) -> ChosenLabels:
    """Choose all labels of a classifier, with weights by how often each is expected.

    All labels that `prior` does not name are together expected as often as the rarest label that it names. If the
    classifier was trained on equally many texts of each label, its weighted probabilities are those for this prior.

    Args:
        answers: the labels and the activation of the classifier.
        prior: how often each label is expected, as numbers of 0 or more in any unit; or the name of a prior in
            `bundle_priors`.

    Raises:
        InputError: a name or a label is unknown; a number is below 0 or not finite, or all are 0; or the classifier has
            several heads, several labels for a text, or values.
    """
    _require_exactly_one_label(answers, "prior")
    if isinstance(prior, str):
        if prior not in bundle_priors:
            has = (
                f"Give one of its priors: {', '.join(bundle_priors)}."
                if bundle_priors
                else "It has none. Give a map from labels to numbers."
            )
            raise InputError(f"{answers.name} has no prior {short_repr(prior, 40)}.", has)
        prior = bundle_priors[prior]
    if not isinstance(prior, Mapping):
        raise InputError(
            f"prior is {short_repr(prior, 40)}, but it must be a dict or a string.",
            'Give a dict such as {"en": 70, "de": 30}, or the name of a prior in the bundle.',
        )
    for label, weight in prior.items():
        if label not in answers.labels:
            raise _make_unknown_label_error(answers, label)
        if not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
            raise InputError(
                f"The prior of {label} is {short_repr(weight, 40)}, but it must be a finite number of 0 or more.",
                "Give a number that says how often the label is expected, such as 70.",
            )
    expected = [weight for weight in prior.values() if weight > 0]
    if not expected:
        raise InputError("The prior of every label is 0.", "Give at least one label a number above 0.")
    # Relative to the label that is expected most, so that no logit grows.
    weights = {label: log(w / max(expected)) if w > 0 else -float("inf") for label, w in prior.items()}
    others = max(1, len(answers.labels) - len(weights))
    rare = log(min(expected) / max(expected) / others)
    return ChosenLabels(tuple(range(len(answers.labels))), tuple(weights.get(label, rare) for label in answers.labels))


def _require_exactly_one_label(answers: Answers, option: str) -> None:
    """Raise an InputError if the classifier has several heads, or gives several labels or values for a text. `option`
    is the argument that cannot be used with such a classifier, `among` or `prior`."""
    answers.require_single_head(option)
    if answers.activation != "softmax":
        raise InputError(
            f"`{option}` works only for classifiers that give exactly one label, but {answers.name} gives "
            f"{'any number of labels' if answers.activation == 'sigmoid' else 'values'}.",
            f"Leave `{option}` out. "
            + (
                "Choose among the probabilities of predict_proba() yourself."
                if answers.activation == "sigmoid"
                else "Choose among the values yourself."
            ),
        )


def _format_first_labels(answers: Answers) -> str:
    """Join the first 20 labels with commas for a message, and say how many more there are."""
    more = len(answers.labels) - _SHOWN
    return f"{', '.join(answers.labels[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"


def _make_unknown_label_error(answers: Answers, label: object) -> InputError:
    """Make the error for a label that the classifier does not have. It suggests a similar label, or lists the
    labels."""
    near = (
        suggest_similar_name(str(label).removeprefix("-"), answers.labels)
        or f"Its labels: {_format_first_labels(answers)}."
    )
    return InputError(f"{answers.name} has no label {short_repr(label, 40)}.", near)


def wrap_engine_for_labels(engine: Engine, chosen: ChosenLabels) -> Engine:
    """Return an engine that gives the logits of the chosen labels only, with their weights added, and computes them
    with `engine`."""
    return (
        _ChosenLabelsTextEngine(engine, chosen)
        if isinstance(engine, TextEngine)
        else _ChosenLabelsEngine(engine, chosen)
    )


class _ChosenLabelsEngine:
    """Wraps an engine: gives the logits of the chosen labels only, with their weights added. Everything else is done by
    the wrapped engine."""

    def __init__(self, engine: Any, chosen: ChosenLabels) -> None:
        self._engine, self._chosen = engine, chosen

    def __getattr__(self, name: str) -> Any:
        # For attributes that do not depend on labels, and for the step: a stream saves the logits of all labels and
        # chooses from them itself.
        return getattr(self._engine, name)

    def compute_item_logits(self, steps: Steps) -> list[float]:
        return self._chosen.select_and_weight_logits_of_row(self._engine.compute_item_logits(steps))

    def logits(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        logits, refused = self._engine.logits(steps, lengths)
        return EngineAnswer(self._chosen.select_and_weight_logits_of_rows(logits), refused)


class _ChosenLabelsTextEngine(_ChosenLabelsEngine):
    """Wraps an engine that encodes texts itself (`TextEngine`) in the same way."""

    def compute_logits_of_text(self, text: str) -> list[float] | None:
        logits = self._engine.compute_logits_of_text(text)
        return None if logits is None else self._chosen.select_and_weight_logits_of_row(logits)

    def logits_of_texts(self, texts: Sequence[str]) -> EngineAnswer:
        logits, refused = self._engine.logits_of_texts(texts)
        return EngineAnswer(self._chosen.select_and_weight_logits_of_rows(logits), refused)

    def stop(self) -> None:
        self._engine.stop()
