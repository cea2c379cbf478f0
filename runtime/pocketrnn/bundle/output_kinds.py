"""The kinds of answers that a classifier gives: labels of a text, labels of several heads, labels of tokens, or
values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, cast

from pocketrnn.bundle.crf import Crf
from pocketrnn.errors import InputError, short_repr

__all__ = [
    "NO_PRIORS",
    "Activation",
    "HeadsOutput",
    "LabelOutput",
    "Output",
    "Priors",
    "TagOutput",
    "ValueOutput",
    "build_heads",
    "build_output",
    "decides_between_two_labels",
]

Activation = Literal["softmax", "sigmoid", "values", "heads"]
# For the name of each prior: how often each label is expected, in any unit.
Priors = Mapping[str, Mapping[str, float]]

NO_PRIORS: Final[Priors] = {}
# Two decimal numbers that add up to 1 may differ from it in binary by less than this.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class LabelOutput:
    """Labels as an answer, each with a probability.

    Attributes:
        labels: the classes, in the order of the logits.
        activation: `softmax` if exactly one label is right; `sigmoid` if each label is decided by itself.
        thresholds: for each label, the probability from which the label is given; None for a classifier without
            thresholds.
        priors: for each name that `Classifier.load(..., prior=name)` takes, how often each label is expected, in any
            unit.

    Raises:
        InputError: there are fewer than two labels; the number of thresholds is not the number of labels; there are
            priors although the activation is sigmoid; or a prior names an unknown label.

    Example:
        >>> LabelOutput(("ham", "spam"), thresholds=(0.5, 0.9)).document["thresholds"]
        (0.5, 0.9)
    """

    of_tokens: ClassVar[bool] = False

    labels: tuple[str, ...]
    activation: Literal["softmax", "sigmoid"] = "softmax"
    thresholds: tuple[float, ...] | None = None
    priors: Priors = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise InputError(
                f"A classifier needs at least 2 labels, but it has {len(self.labels)}.", "Give all labels."
            )
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            count = len(self.thresholds)
            raise InputError(
                f"{count} thresholds are given, but there are {len(self.labels)} labels.",
                "Give one threshold for each label, in the order of the labels.",
            )
        if self.priors and self.activation != "softmax":
            raise InputError(
                "Priors are given, but they work only with the activation softmax, and the activation is sigmoid.",
                "Leave the priors out.",
            )
        for name, prior in self.priors.items():
            if unknown := sorted(prior.keys() - set(self.labels)):
                raise InputError(
                    f"The prior {name!r} has the unknown label {unknown[0]!r}.",
                    f"Use only these labels: {', '.join(self.labels)}.",
                )

    @property
    def document(self) -> dict[str, Any]:
        """The output as members of classifier.json."""
        return {
            "labels": self.labels,
            "activation": self.activation,
            **({} if self.thresholds is None else {"thresholds": self.thresholds}),
            **({"priors": {name: dict(prior) for name, prior in self.priors.items()}} if self.priors else {}),
        }


@dataclass(frozen=True)
class TagOutput:
    """Exactly one label for each token of a text: the answer of a tagger.

    Attributes:
        labels: the classes, in the order of the logits.
        crf: the scores of a conditional random field for the order of labels; None if each token simply gets its
            likeliest label.

    Raises:
        InputError: there are fewer than two labels, or the CRF has another number of labels.

    Example:
        >>> TagOutput(("O", "B-PER", "I-PER")).document["labels_of"]
        'tokens'
    """

    of_tokens: ClassVar[bool] = True
    activation: ClassVar[Literal["softmax"]] = "softmax"
    thresholds: ClassVar[None] = None
    priors: ClassVar[Priors] = NO_PRIORS

    labels: tuple[str, ...]
    crf: Crf | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise InputError(
                f"A classifier needs at least 2 labels, but it has {len(self.labels)}.", "Give all labels."
            )
        if self.crf is not None and len(self.crf.start) != len(self.labels):
            raise InputError(
                f"The CRF has {len(self.crf.start)} labels, but the classifier has {len(self.labels)}.",
                "Give a CRF with a score for each label of the classifier.",
            )

    @property
    def document(self) -> dict[str, Any]:
        """The output as members of classifier.json."""
        crf = {} if self.crf is None else {"crf": self.crf.document}
        return {"labels": self.labels, "activation": self.activation, "labels_of": "tokens", **crf}


@dataclass(frozen=True)
class ValueOutput:
    """Numbers as an answer, as in regression: the numbers that the graph computes, without labels and probabilities.

    Attributes:
        names: the name of each value, in the order of the graph's output.
        units: the unit of each value, such as `1/min`; None if they are not stated.

    Raises:
        InputError: `names` is empty, or the number of units is not the number of names.

    Example:
        >>> ValueOutput(("speed",), ("1/min",)).document
        {'labels': ('speed',), 'activation': 'values', 'value_units': ('1/min',)}
    """

    of_tokens: ClassVar[bool] = False
    activation: ClassVar[Literal["values"]] = "values"
    thresholds: ClassVar[None] = None
    priors: ClassVar[Priors] = NO_PRIORS

    names: tuple[str, ...]
    units: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("There is no value: the list of names is empty.", "Give the name of each value.")
        if self.units is not None and len(self.units) != len(self.names):
            raise InputError(
                f"{len(self.units)} units are given, but there are {len(self.names)} values.",
                "Give one unit for each value, or leave the units out.",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the values, so that code that reads `labels` also works for values."""
        return self.names

    @property
    def document(self) -> dict[str, Any]:
        """The output as members of classifier.json."""
        return {
            "labels": self.names,
            "activation": self.activation,
            **({} if self.units is None else {"value_units": self.units}),
        }


@dataclass(frozen=True)
class HeadsOutput:
    """The answers of a classifier with several heads. Each head has its own labels for the text, such as its topic and
    its mood.

    Attributes:
        heads: the output of each head by its name, in the order of the heads' logits.

    Raises:
        InputError: there are fewer than two heads; a name is not a string of 1 to 200 printable characters; or a head
            has priors.

    Example:
        >>> HeadsOutput({"topic": LabelOutput(("oil", "cup")), "mood": LabelOutput(("bad", "good"))}).labels
        ('topic: oil', 'topic: cup', 'mood: bad', 'mood: good')
    """

    of_tokens: ClassVar[bool] = False
    activation: ClassVar[Literal["heads"]] = "heads"
    thresholds: ClassVar[None] = None
    priors: ClassVar[Priors] = NO_PRIORS

    heads: Mapping[str, LabelOutput] = field(hash=False)

    def __post_init__(self) -> None:
        if len(self.heads) < 2:
            raise InputError(
                f"A classifier with several heads needs at least 2 heads, but `heads` has {len(self.heads)}.",
                "Give each head with its labels. Leave `heads` out for a single set of labels.",
            )
        for name, head in self.heads.items():
            if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
                raise InputError(
                    f"The name of a head is {short_repr(name, 40)}, which is not a string of printable characters.",
                    "Give each head a name of 1 to 200 printable characters.",
                )
            if head.priors:
                raise InputError(
                    f"The head {name!r} has priors, but priors work only without heads.", "Leave the priors out."
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all heads in the order of the logits, with the head's name in front: `topic: oil`."""
        return tuple(f"{name}: {label}" for name, head in self.heads.items() for label in head.labels)

    @property
    def document(self) -> dict[str, Any]:
        """The output as members of classifier.json."""
        return {"heads": [{"name": name, **head.document} for name, head in self.heads.items()]}


Output = LabelOutput | HeadsOutput | TagOutput | ValueOutput


def decides_between_two_labels(thresholds: Sequence[float] | None) -> bool:
    """Return whether thresholds decide between two labels: they add up to 1, so that one label of each text reaches its
    threshold. Return False for 0.5 and 0.5, which the likelier label always reaches.

    Example:
        >>> decides_between_two_labels((0.23, 0.77)), decides_between_two_labels((0.8, 0.8))
        (True, False)
    """
    return (
        thresholds is not None
        and len(thresholds) == 2
        and thresholds[0] != thresholds[1]
        and abs(sum(thresholds) - 1) < _ROUNDING
    )


def build_heads(members: Sequence[Mapping[str, Any]]) -> HeadsOutput:
    """Build the output of a classifier with several heads from the member `heads` of classifier.json. Raise an
    InputError if two heads have the same name, or the members of a head contradict each other."""
    heads: dict[str, LabelOutput] = {}
    for one in members:
        if one["name"] in heads:
            raise InputError(
                f"Two heads have the name {short_repr(one['name'], 40)}.", "Give the heads different names."
            )
        thresholds = tuple(map(float, one["thresholds"])) if "thresholds" in one else None
        heads[one["name"]] = LabelOutput(tuple(one["labels"]), one["activation"], thresholds)
    return HeadsOutput(heads)


def build_output(
    labels: tuple[str, ...],
    activation: str = "softmax",
    thresholds: tuple[float, ...] | None = None,
    value_units: tuple[str, ...] | None = None,
    priors: Priors = NO_PRIORS,
    labels_of: str = "texts",
    crf: Mapping[str, Any] | None = None,
) -> Output:
    """Build the output of a classifier without heads from members of classifier.json. The arguments have the names of
    these members; `crf` is an object with `start`, `end` and `transitions`. Raise an InputError if the members
    contradict each other, or the activation is unknown."""
    if activation == "values":
        if thresholds is not None:
            raise InputError(
                f"{len(thresholds)} thresholds are given, but a classifier with the activation `values` has none.",
                "Leave the thresholds out.",
            )
        if priors:
            raise InputError(
                f"{len(priors)} priors are given, but a classifier with the activation `values` has none.",
                "Leave the priors out.",
            )
        return ValueOutput(labels, value_units)
    if value_units is not None:
        raise InputError(
            f"{len(value_units)} units are given, but only values have units, and the activation is {activation}.",
            "Leave the units out.",
        )
    if activation not in ("softmax", "sigmoid"):
        raise InputError(
            f"activation is {activation!r}, but it must be 'softmax', 'sigmoid' or 'values'.", "Give one of these."
        )
    if labels_of == "tokens":
        if activation != "softmax" or thresholds is not None or priors:
            raise InputError(
                "A classifier that labels tokens cannot have thresholds, priors or the activation sigmoid.",
                "Leave thresholds and priors out, and use the activation softmax.",
            )
        return TagOutput(labels, None if crf is None else _build_crf(crf))
    return LabelOutput(labels, cast("Literal['softmax', 'sigmoid']", activation), thresholds, priors)


def _build_crf(members: Mapping[str, Any]) -> Crf:
    """Build a conditional random field from the member `crf` of classifier.json."""
    start, end = (tuple(map(float, members[name])) for name in ("start", "end"))
    moves = tuple(tuple(map(float, row)) for row in members["transitions"])
    return Crf(start, end, moves, over_tokens=members.get("over") == "tokens")
