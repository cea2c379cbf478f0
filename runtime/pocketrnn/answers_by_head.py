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
    """Make the `Answers` of a classifier from its bundle's manifest; with several heads, its `HeadAnswers`."""
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
    """The meaning of the logits of a classifier with several heads.

    The answer to a text is a dict from the name of each head to the answer of that head. `labels` has the labels of all
    heads.
    """

    def iterate_heads(self) -> Iterator[tuple[str, Answers, slice]]:
        """Yield the name, the `Answers` and the columns of logits of each head."""
        start = 0
        for name, head in self.heads.items():
            end = start + len(head.labels)
            yield name, head, slice(start, end)
            start = end

    def restrict_to_labels(self, indices: Sequence[int]) -> Answers:
        """Return `Answers` with only the labels at these indices, which all belong to one head."""
        for _, head, columns in self.iterate_heads():
            if columns.start <= indices[0] < columns.stop:
                return head.restrict_to_labels([index - columns.start for index in indices])
        raise IndexError(f"The index {indices[0]} is beyond the labels of all heads.")

    def require_single_head(self, capability: str) -> None:
        """Raise the error for a method or an option, `capability`, that needs a single set of labels.

        Raises:
            InputError: always.
        """
        name = next(iter(self.heads))
        raise InputError(
            f"{self.name} has the heads {', '.join(self.heads)}, but {capability} works only with one head.",
            f"Choose a head: head({name!r}), on the command line --head {name}.",
        )

    def probabilities(self, logits: Floats) -> Any:
        """Convert logits to the probabilities of each head: a dict from the head's name to float32 [texts, labels]."""
        return {name: head.probabilities(logits[:, columns]) for name, head, columns in self.iterate_heads()}

    def make_prediction(self, logits: Sequence[float], top: int = 1) -> Any:
        """Convert one row of logits to a dict from each head's name to its `Prediction`.

        A head with fewer labels than `top` gives all its labels.
        """
        return {
            name: head.make_prediction(logits[columns], min(top, len(head.labels)))
            for name, head, columns in self.iterate_heads()
        }

    def list_reached_labels(self, probabilities: Any, threshold: float | None = None) -> Any:
        """List for each text a dict from each head's name to its labels that reach their threshold."""
        found = {
            name: head.list_reached_labels(probabilities[name], threshold) for name, head, _ in self.iterate_heads()
        }
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def find_likeliest_labels(self, chunks: Iterable[LogitsAndSkipped]) -> Any:
        """List for each text a dict from each head's name to its likeliest label; None for a skipped text."""
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
        """Check `top`, the number of labels to give of each head.

        Raises:
            InputError: `top` is not a whole number from 1 to the number of labels of the largest head.
        """
        max(self.heads.values(), key=lambda head: len(head.labels)).check_top(top)

    def check_finite(self, logits: Floats) -> None:
        """Check that logits are neither NaN nor infinite; see `Answers.check_finite`.

        Raises:
            PocketRNNError: the logits of a head are refused.
        """
        for _, head, columns in self.iterate_heads():
            head.check_finite(logits[:, columns])


def choose_labels_of_head(answers: Answers, name: str) -> ChosenLabels:
    """Choose the labels of the head `name` among the labels of all heads.

    Raises:
        InputError: there is no such head.
    """
    if not isinstance(answers, HeadAnswers):
        raise InputError(f"{answers.name} has no heads: it answers with one set of labels.", "Leave the head out.")
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
    """Join the likeliest labels of one row of logits, one for each head, with commas."""
    return ", ".join(answers.labels[i] for i in find_likeliest_label_indices(answers, np.array([logits]))[0].tolist())
