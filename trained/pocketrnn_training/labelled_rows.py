"""Labelled rows, whatever they are: what training asks of texts and of sequences of numbers alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn_training.settings import Settings

__all__ = ["UNLABELLED", "LabelledRows", "check_labelled"]

# The target of a row without a label.
UNLABELLED: Final = -1


class LabelledRows(ABC):
    """Rows, and the class of each, or the labels. A subclass is a frozen dataclass with these members.

    Attributes:
        targets: int64 [rows], the index of a row's class in `labels`, or -1 for a row without a label. Or, where a row
            can have several labels, bool [rows, labels].
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows, where it is known.
        outside: what is of none of the classes, and not among the rows; there may be such texts.
    """

    # What a row is, and what it is made of, in words.
    ROW: ClassVar[str]
    STEPS: ClassVar[str]

    targets: npt.NDArray[Any]
    labels: tuple[str, ...]
    source: str
    licence: str | None
    outside: Sequence[Any] = ()

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Any]:
        """What a classifier is given of each row."""

    @property
    @abstractmethod
    def groups(self) -> npt.NDArray[np.int64]:
        """int64 [rows]: rows of the same number are alike, so that they are not trained on and measured with, both."""

    @abstractmethod
    def rows(self, chosen: npt.NDArray[np.int64]) -> Self:
        """The chosen rows, int64 [chosen], in the order given. All labels stay, also of classes without a row."""

    @abstractmethod
    def parts(self, validation: Self | None, settings: Settings) -> tuple[Self, Self]:
        """The training rows and the validation rows of a run; without validation rows, a part of each class is held
        out."""

    @abstractmethod
    def shown(self, row: int) -> str:
        """A row in a report."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def several_labels(self) -> bool:
        """Whether a row can have any number of the labels.

        Example:
            >>> LabelledTexts(["good"], np.array([[True, False]]), ("kind", "long"), "a row").several_labels
            True
        """
        return self.targets.ndim == 2

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: whether it is known what a row is: of several labels, that none applies is known, too.

        Example:
            >>> LabelledTexts(["good", "bad"], np.array([1, -1]), ("no", "yes"), "two rows").labelled.tolist()
            [True, False]
        """
        known: npt.NDArray[np.bool_] = self.targets != UNLABELLED
        return np.ones(len(self), dtype=bool) if self.several_labels else known

    def counts(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """int64 [labels]: how many of the rows, or of the chosen ones, have each label.

        Example:
            >>> LabelledTexts(["good", "bad"], np.array([1, -1]), ("no", "yes"), "two rows").counts().tolist()
            [0, 1]
        """
        some = self.targets if rows is None else self.targets[rows]
        if self.several_labels:
            return some.sum(axis=0, dtype=np.int64)  # type: ignore[no-any-return]
        return np.bincount(some[some != UNLABELLED], minlength=len(self.labels))


def check_labelled(data: LabelledRows, what: str, remedy: str) -> None:
    """Refuse rows without a label, of which there are some where a teacher answers.

    Args:
        data: the rows.
        what: what one of them is called, such as "validation row".
        remedy: what to do, one sentence.

    Raises:
        DataError: a row has no label; the first is named.

    Example:
        >>> check_labelled(read_files([Path("reviews.csv")]), "row", "Leave them out.")
    """
    labelled = data.labelled
    if count := int((~labelled).sum()):
        have = f"{what} has no label: row" if count == 1 else f"{what}s have no label, such as row"
        raise DataError(f"{count:,} {have} {labelled.argmin() + 1}.", remedy)
