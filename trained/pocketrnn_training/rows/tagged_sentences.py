"""Sentences with a label for each word: the training rows of taggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn.tables.column_and_label_checks import check_same_labels
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.settings.settings_of_all_runs import Settings

__all__ = ["TaggedSentences"]

# A report shows this many words on each side of a word.
_SHOWN_BESIDE = 4


@dataclass(frozen=True)
class TaggedSentences(LabelledRows):
    """Sentences as lists of words, and the label of each word.

    Attributes:
        sentences: the words of each sentence, at least one word.
        targets: int64 [words of all sentences], the index of each word's label in `labels`.
        labels: the labels that a word can have.
        source: where the sentences come from, in words.
        licence: the licence of the sentences; None if it is not known.

    Example:
        >>> data = TaggedSentences([("Ada", "works")], np.array([1, 0]), ("O", "B-PER"), "a sentence")
        >>> len(data), data.counts().tolist()
        (1, [1, 1])
    """

    ROW: ClassVar[str] = "sentence"
    STEPS: ClassVar[str] = "words"
    ANSWER: ClassVar[str] = "word"

    sentences: Sequence[tuple[str, ...]] = field(repr=False)
    targets: npt.NDArray[np.int64] = field(repr=False)
    labels: tuple[str, ...]
    source: str
    licence: str | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def inputs(self) -> Sequence[tuple[str, ...]]:
        """The input of the classifier for each row: the words of its sentence."""
        return self.sentences

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of words of each sentence, int64 [sentences].

        Example:
            >>> data.lengths.tolist()
            [2]
        """
        return np.fromiter(map(len, self.sentences), np.int64, len(self))

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each sentence, int64 [sentences]. Sentences with the same words are one group.

        Example:
            >>> data.groups.tolist()
            [0]
        """
        numbers: dict[tuple[str, ...], int] = {}
        found = (numbers.setdefault(sentence, len(numbers)) for sentence in self.sentences)
        return np.fromiter(found, np.int64, len(self))

    def rows(self, chosen: npt.NDArray[np.int64]) -> TaggedSentences:
        """Return the chosen sentences, int64 [chosen], in the given order. All labels are kept.

        Example:
            >>> len(data.rows(np.array([0, 0])))
            2
        """
        parts = np.split(self.targets, np.cumsum(self.lengths)[:-1])
        return replace(
            self,
            sentences=[self.sentences[i] for i in chosen.tolist()],
            targets=np.concatenate([np.empty(0, np.int64), *(parts[i] for i in chosen.tolist())]),
        )

    def split(self, validation: TaggedSentences | None, settings: Settings) -> tuple[TaggedSentences, TaggedSentences]:
        """Return the training sentences and the validation sentences of a run.

        If `validation` is given, it becomes the validation sentences. Otherwise a part of the sentences is held out;
        sentences with the same words stay together.

        Raises:
            DataError: the validation sentences have other labels; or `validation` is None, and all sentences are the
                same.

        Example:
            >>> training, held_out = data.split(None, settings)
        """
        if validation is not None:
            check_same_labels(
                validation.labels, self.labels, "The validation sentences have other labels", "Give the same labels."
            )
            return self, validation
        groups = self.groups
        different = int(groups.max(initial=-1)) + 1
        if different < 2:
            raise DataError(
                f"{self.source} holds only one sentence, so none can be held out for validation.",
                "Write an empty line after each sentence, or give other sentences for validation with --validation.",
            )
        order = np.random.default_rng(settings.seed).permutation(different)
        held_out = np.isin(groups, order[: max(1, round(settings.validation_share * different))])
        return self.rows(np.flatnonzero(~held_out)), self.rows(np.flatnonzero(held_out))

    def format_row(self, row: int) -> str:
        """Return a word in brackets between its neighbours in the sentence, as text for a report.

        Args:
            row: the number of the word, counted through all sentences.

        Example:
            >>> data.format_row(1)
            'Ada [works]'
        """
        ends = np.cumsum(self.lengths)
        sentence = int(np.searchsorted(ends, row, side="right"))
        words = self.sentences[sentence]
        place = row - int(ends[sentence]) + len(words)
        before, after = words[max(0, place - _SHOWN_BESIDE) : place], words[place + 1 : place + 1 + _SHOWN_BESIDE]
        return " ".join((*before, f"[{words[place]}]", *after))
