"""Some of a classifier's labels, each with a weight: an engine that answers for these alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np

from pocketrnn.answers import Answers
from pocketrnn.bundle.output import Priors
from pocketrnn.engines.engine import Answered, Engine, Floats, Ids, ReadsTexts, Steps
from pocketrnn.errors import InputError, did_you_mean, shown

__all__ = ["ChosenLabels", "chosen_among", "chosen_engine", "weighed"]

# The label of what is none of the others, by ISO 639: it stays among those that are chosen.
UNDETERMINED = "und"
# So many labels are named where one is none.
_SHOWN = 20


@dataclass(frozen=True)
class ChosenLabels:
    """Some of a classifier's labels.

    Attributes:
        places: where they are among the labels of the engine, in their order.
        weights: what is added to the logit of each: the logarithm of how often it is expected.

    Example:
        >>> ChosenLabels((0, 2), (0.0, 0.0)).of_row([0.5, 1.5, 2.5])
        [0.5, 2.5]
    """

    places: tuple[int, ...]
    weights: tuple[float, ...]

    def of_row(self, logits: Sequence[float]) -> list[float]:
        """Their logits, of the logits of all."""
        return [logits[place] + weight for place, weight in zip(self.places, self.weights, strict=True)]

    def of_rows(self, logits: Floats) -> Floats:
        """float32 [texts, chosen labels], of float32 [texts, labels]."""
        chosen: Floats = logits[:, list(self.places)] + np.array(self.weights, np.float32)
        return chosen

    def within(self, outer: ChosenLabels | None) -> ChosenLabels:
        """The same labels as places of the engine, where these are places among those of `outer`."""
        if outer is None:
            return self
        weights = (outer.weights[place] + weight for place, weight in zip(self.places, self.weights, strict=True))
        return ChosenLabels(tuple(outer.places[place] for place in self.places), tuple(weights))

    def answers(self, all_labels: Answers) -> Answers:
        """The meaning of the chosen logits; `all_labels` is the meaning of all logits."""
        thresholds = all_labels.thresholds
        return Answers(
            all_labels.name,
            tuple(all_labels.labels[place] for place in self.places),
            all_labels.activation,
            None if thresholds is None else tuple(thresholds[place] for place in self.places),
        )


def chosen_among(answers: Answers, among: Iterable[str]) -> ChosenLabels:
    """The labels that are named, in the classifier's order; and `und`, where the classifier has it.

    Args:
        answers: of the classifier.
        among: labels. One after a minus is left out: "-und", or "-la" for all but Latin.

    Raises:
        InputError: there is no such label, none is left, or a text may have several labels or none.

    Example:
        >>> chosen_among(Answers("tongue", ("de", "en", "und"), "softmax"), ["en"]).places
        (1, 2)
    """
    if isinstance(among, str):
        raise InputError(f"among is {shown(among, 40)}, which is one string.", 'Use a list of labels: ["en", "de"].')
    _check_one_label(answers, "among")
    named, left_out = set[str](), set[str]()
    for label in among:
        if label in answers.labels:
            named.add(label)
        elif isinstance(label, str) and label[:1] == "-" and label[1:] in answers.labels:
            left_out.add(label[1:])
        else:
            raise _no_label(answers, label)
    if both := named & left_out:
        raise InputError(f"among has {min(both)} and -{min(both)}.", "Name it once, to keep it or to leave it out.")
    # Where labels are only left out, it is all the others.
    kept = (named | {UNDETERMINED} if named or not left_out else set(answers.labels)) - left_out
    places = tuple(place for place, label in enumerate(answers.labels) if label in kept)
    if not places or not (named or left_out):
        raise InputError("among leaves no label.", f"Name some of: {_some_of(answers)}.")
    return ChosenLabels(places, (0.0,) * len(places))


def weighed(answers: Answers, prior: str | Mapping[str, float], named: Priors) -> ChosenLabels:
    """All labels, each by how often it is expected; those that `prior` does not name together as often as the rarest
    that it does.

    A classifier that learnt from as many texts of each label gives, with them, the probabilities of texts that come so.

    Args:
        answers: of the classifier.
        prior: for labels, a number from 0: how often each is expected, in any unit. Or a name in `named`.
        named: the priors that the classifier has.

    Raises:
        InputError: there is no such name or label, a number is none from 0, all are 0, or a text may have several
            labels or none.

    Example:
        >>> weighed(Answers("tongue", ("de", "en"), "softmax"), {"de": 1, "en": 1}, {}).weights
        (0.0, 0.0)
    """
    _check_one_label(answers, "prior")
    if isinstance(prior, str):
        if prior not in named:
            has = f"Its priors: {', '.join(named)}." if named else "It has none: give a map of labels."
            raise InputError(f"{answers.name} has no prior {shown(prior, 40)}.", has)
        prior = named[prior]
    if not isinstance(prior, Mapping):
        raise InputError(f"prior is {shown(prior, 40)}, which is no map.", 'Give {"en": 70, "de": 30}, or a name.')
    for label, weight in prior.items():
        if label not in answers.labels:
            raise _no_label(answers, label)
        if not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
            raise InputError(f"The prior of {label} is {shown(weight, 40)}.", "Use a number from 0.")
    expected = [weight for weight in prior.values() if weight > 0]
    if not expected:
        raise InputError("The prior expects no label.", "Give a number above 0 to one at least.")
    # From the most expected one on, so that a logit grows by nothing.
    weights = {label: log(w / max(expected)) if w > 0 else -float("inf") for label, w in prior.items()}
    others = max(1, len(answers.labels) - len(weights))
    rare = log(min(expected) / max(expected) / others)
    return ChosenLabels(tuple(range(len(answers.labels))), tuple(weights.get(label, rare) for label in answers.labels))


def _check_one_label(answers: Answers, name: str) -> None:
    if answers.activation != "softmax":
        raise InputError(
            f"{name} is for classifiers of which one label is right, and {answers.name} is another one.",
            "Choose among the probabilities of predict_proba() yourself."
            if answers.activation == "sigmoid"
            else "Choose among the values yourself.",
        )


def _some_of(answers: Answers) -> str:
    more = len(answers.labels) - _SHOWN
    return f"{', '.join(answers.labels[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"


def _no_label(answers: Answers, label: object) -> InputError:
    near = did_you_mean(str(label).removeprefix("-"), answers.labels) or f"Its labels: {_some_of(answers)}."
    return InputError(f"{answers.name} has no label {shown(label, 40)}.", near)


def chosen_engine(engine: Engine, chosen: ChosenLabels) -> Engine:
    """An engine that gives the logits of the chosen labels alone.

    Example:
        >>> chosen_engine(engine, ChosenLabels((0, 2), (0.0, 0.0))).logits_of_one(np.array([[17]]))
        [0.5, 2.5]
    """
    return _ChosenOfTexts(engine, chosen) if isinstance(engine, ReadsTexts) else _Chosen(engine, chosen)


class _Chosen:
    """An engine that gives another one's answers for the chosen labels; see `Engine`."""

    def __init__(self, engine: Any, chosen: ChosenLabels) -> None:
        self._engine, self._chosen = engine, chosen

    def __getattr__(self, name: str) -> Any:
        # Attributes that do not depend on labels, and the step: a stream saves all its logits and chooses from them
        # itself.
        return getattr(self._engine, name)

    def logits_of_one(self, steps: Steps) -> list[float]:
        return self._chosen.of_row(self._engine.logits_of_one(steps))

    def logits(self, steps: Steps, lengths: Ids) -> Answered:
        logits, refused = self._engine.logits(steps, lengths)
        return Answered(self._chosen.of_rows(logits), refused)


class _ChosenOfTexts(_Chosen):
    """The same of an engine that reads texts; see `ReadsTexts`."""

    def logits_of_text(self, text: str) -> list[float] | None:
        logits = self._engine.logits_of_text(text)
        return None if logits is None else self._chosen.of_row(logits)

    def logits_of_texts(self, texts: Sequence[str]) -> Answered:
        logits, refused = self._engine.logits_of_texts(texts)
        return Answered(self._chosen.of_rows(logits), refused)

    def stop(self) -> None:
        self._engine.stop()
