"""The answers of a classifier with several heads. One run of the graph gives an answer for each head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import HeadsOutput
from pocketrnn.errors import InputError, short_repr, suggest_similar_name
from pocketrnn.label_subset_and_prior import ChosenLabels
from pocketrnn.predictions_from_logits import Answers, Floats, LogitsAndSkipped

__all__ = [
    "HeadAnswers",
    "build_answers",
    "choose_labels_of_head",
    "find_likeliest_label_indices",
    "join_likeliest_labels",
]


def build_answers(manifest: Manifest) -> Answers:
    """Make the object that turns logits into answers: `HeadAnswers` if the manifest's output has several heads, else
    `Answers`."""
    output = manifest.output
    if not isinstance(output, HeadsOutput):
        return Answers.from_manifest(manifest)
    heads = {
        name: Answers(f"{manifest.name} ({name})", head.labels, head.activation, head.thresholds)
        for name, head in output.heads.items()
    }
    return HeadAnswers(manifest.name, output.labels, output.activation, None, heads)


@dataclass(frozen=True, slots=True)
class HeadAnswers(Answers):
    """Turns the logits of a classifier with several heads into answers: a dict from each head's name to its answer.

    `labels` holds the labels of all heads, in the order of the logits.
    """

    def iterate_heads(self) -> Iterator[tuple[str, Answers, slice]]:
        """Yield for each head its name, its `Answers`, and the slice of the columns of logits that belong to it."""
        start = 0
        for name, head in self.heads.items():
            end = start + len(head.labels)
            yield name, head, slice(start, end)
            start = end

    def restrict_to_labels(self, indices: Sequence[int]) -> Answers:
        """Return the `Answers` of one head with only the labels at these indices. The indices count the labels of all
        heads, and must belong to the same head."""
        for _, head, columns in self.iterate_heads():
            if columns.start <= indices[0] < columns.stop:
                return head.restrict_to_labels([index - columns.start for index in indices])
        raise IndexError(f"The index {indices[0]} is not the index of a label of any head.")

    def require_single_head(self, capability: str) -> None:
        """Raise an InputError: a classifier with several heads cannot do something that needs a single set of labels.

        Args:
            capability: the method or option that needs it, as the subject of a sentence: `explain()`.
        """
        name = next(iter(self.heads))
        raise InputError(
            f"{self.name} has the heads {', '.join(self.heads)}, but {capability} works only with one head.",
            f"Choose a head with head({name!r}), or on the command line with --head {name}.",
        )

    def probabilities(self, logits: Floats) -> Any:
        """Convert logits to the probabilities of each head: a dict from the head's name to float32 [texts, labels]."""
        return {name: head.probabilities(logits[:, columns]) for name, head, columns in self.iterate_heads()}

    def make_prediction(self, logits: Sequence[float], top: int = 1) -> Any:
        """Convert one row of logits to a dict from each head's name to its `Prediction` of the `top` likeliest
        labels."""
        return {
            name: head.make_prediction(logits[columns], min(top, len(head.labels)))
            for name, head, columns in self.iterate_heads()
        }

    def list_reached_labels(self, probabilities: Any, threshold: float | None = None) -> Any:
        """List for each text a dict from each head's name to the labels of that head whose probabilities reach their
        thresholds.

        Args:
            probabilities: a dict from each head's name to float32 [texts, labels], as `probabilities` returns it.
            threshold: one probability for all labels; None for each head's own thresholds.
        """
        found = {
            name: head.list_reached_labels(probabilities[name], threshold) for name, head, _ in self.iterate_heads()
        }
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def find_likeliest_labels(self, chunks: Iterable[LogitsAndSkipped]) -> Any:
        """List for each text a dict from each head's name to its likeliest label; None for a skipped text.

        Args:
            chunks: the logits of some texts, and the indices of the skipped texts among them.
        """
        labels: list[dict[str, str] | None] = []
        for logits, skipped in chunks:
            best = [
                [head.labels[i] for i in logits[:, columns].argmax(1).tolist()]
                for _, head, columns in self.iterate_heads()
            ]
            rows = [dict(zip(self.heads, row, strict=True)) for row in zip(*best, strict=True)]
            passed_over = set(skipped)
            labels += [None if i in passed_over else row for i, row in enumerate(rows)]
        return labels

    def check_top(self, top: int) -> None:
        """Check `top`, the number of likeliest labels to give for each head. Raise an InputError if `top` is not a
        whole number from 1 to the number of labels of the largest head."""
        max(self.heads.values(), key=lambda head: len(head.labels)).check_top(top)

    def check_finite(self, logits: Floats) -> None:
        """Check that the logits of all heads are neither NaN nor infinite. Raise a PocketRNNError if a logit is NaN or
        infinite."""
        for _, head, columns in self.iterate_heads():
            head.check_finite(logits[:, columns])


def choose_labels_of_head(answers: Answers, name: str) -> ChosenLabels:
    """Choose the labels of the head `name` among the labels of all heads, without a prior. Raise an InputError if the
    classifier has no heads, or none of this name."""
    if not isinstance(answers, HeadAnswers):
        raise InputError(
            f"No head can be chosen: {answers.name} has no heads, but a single set of labels.",
            "Leave the choice of a head out.",
        )
    for known, head, columns in answers.iterate_heads():
        if known == name:
            return ChosenLabels(tuple(range(columns.start, columns.stop)), (0.0,) * len(head.labels))
    near = suggest_similar_name(str(name), tuple(answers.heads)) or f"Its heads: {', '.join(answers.heads)}."
    raise InputError(f"{answers.name} has no head {short_repr(name, 40)}.", near)


def find_likeliest_label_indices(answers: Answers, logits: NDArray[Any]) -> NDArray[np.int64]:
    """Find the index of the likeliest label of each text and head, int64 [texts, heads]; int64 [texts, 1] if there are
    no heads."""
    found = [columns.start + logits[:, columns].argmax(1) for _, _, columns in answers.iterate_heads()]
    places: NDArray[np.int64] = np.stack(found, 1)
    return places


def join_likeliest_labels(answers: Answers, logits: Sequence[float]) -> str:
    """Join the likeliest label of each head with commas, for one row of logits: `topic: oil, mood: bad`. Without heads,
    return the likeliest label."""
    return ", ".join(answers.labels[i] for i in find_likeliest_label_indices(answers, np.array([logits]))[0].tolist())
