"""Labelled texts. Each text has one label; or, in a multi-label data set, any number of labels.

Some texts may lack a label. Some may belong to none of the classes: they are kept apart from the labelled ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn.tables.column_and_label_checks import check_same_labels, list_first_names
from pocketrnn_training.rows.class_labels import convert_codes_to_targets
from pocketrnn_training.rows.disk_backed_data import StoredTexts
from pocketrnn_training.rows.labelled_rows import LabelledRows, check_labelled, split_rows
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.settings.settings_of_all_runs import Settings

__all__ = [
    "OUTSIDE_OF_SEVERAL",
    "LabelledTexts",
    "make_multi_label_texts",
    "select_texts",
    "separate_outside_rows",
]

# The most rows times labels where a text can have several labels: each takes a byte of memory.
_MOST_ANSWERS: Final = 2**31
# The problem and the remedy if `outside` is given, but a text can have several labels.
OUTSIDE_OF_SEVERAL: Final = (
    "--outside cannot be used together with several labels for a text: a text of none of the classes then has an empty "
    "list of labels.",
    "Leave out --outside, and give the texts that belong to none of the classes an empty list of labels.",
)


_Rows = TypeVar("_Rows", bound="LabelledTexts")


@dataclass(frozen=True)
class LabelledTexts(LabelledRows):
    """Texts, each with one class or with any number of labels.

    Attributes:
        texts: the text of each row.
        targets: if each text has one class, int64 [rows]: its index in `labels`, or -1 for a row without a label, from
            which training learns only the teacher's answer. If a text can have several labels, bool [rows, labels].
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows; None if it is not known.
        answers: a teacher's class probabilities for the rows; None without a teacher.
        outside: further texts that belong to none of the classes and are not rows.

    Example:
        >>> data = LabelledTexts(["so good", "so bad"], np.array([1, 0]), ("bad", "good"), "two reviews")
        >>> len(data), data.labels[data.targets[0]]
        (2, 'good')
    """

    ROW: ClassVar[str] = "text"
    STEPS: ClassVar[str] = "tokens"

    texts: Sequence[str] = field(repr=False)
    targets: npt.NDArray[Any] = field(repr=False)
    labels: tuple[str, ...]
    source: str
    licence: str | None = None
    answers: TeacherAnswers | None = field(default=None, repr=False)
    outside: Sequence[str] = field(default=(), repr=False)

    @property
    def inputs(self) -> Sequence[str]:
        """The input of the classifier for each row: its text."""
        return self.texts

    @property
    def single_texts(self) -> LabelledTexts:
        """The rows with one text each: these rows themselves. `LabelledPairs` returns two rows for each pair.

        Example:
            >>> data.single_texts is data
            True
        """
        return self

    @property
    def hashes(self) -> npt.NDArray[np.int64]:
        """A hash of each input, int64 [rows]; equal inputs have the same hash.

        The chance that any two of 3,000,000 different inputs have the same hash is one in 4,000,000.

        Example:
            >>> first, second = LabelledTexts(["a", "a"], np.array([0, 1]), ("no", "yes"), "two rows").hashes
            >>> bool(first == second)
            True
        """
        return np.fromiter(map(hash, self.inputs), dtype=np.int64, count=len(self))

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each row, int64 [rows]. Rows with the same text are one group.

        Example:
            >>> LabelledTexts(["a", "a"], np.array([0, 1]), ("no", "yes"), "two rows").groups.shape
            (2,)
        """
        return self.hashes

    def format_row(self, row: int) -> str:
        """Return the text of a row, for a report.

        Example:
            >>> LabelledTexts(["good"], np.array([0]), ("yes",), "a row").format_row(0)
            'good'
        """
        return self.texts[row]

    def split(self, validation: LabelledTexts | None, settings: Settings) -> tuple[LabelledTexts, LabelledTexts]:
        """Return the training rows and the validation rows of a run.

        If `validation` is given, it becomes the validation rows. Otherwise a part of each class is held out. A held-out
        row whose text is also a training text becomes a training row, unless its class would then have no validation
        row. Training rows without a label are left out if their text is also a validation text.

        Raises:
            DataError: the validation rows have other labels than these rows, or no labels; or `validation` is None,
                and every class has fewer than two rows.

        Example:
            >>> rows = LabelledTexts(["a", "b", "c", "d"], np.array([0, 1, 0, 1]), ("no", "yes"), source="four rows")
            >>> training, held_out = rows.split(None, TextSettings())
            >>> len(training), len(held_out)
            (2, 2)
        """
        hashes = self.hashes
        if validation is not None:
            remedy = "Read them with the labels of the training rows."
            check_same_labels(validation.labels, self.labels, "The validation rows have other labels", remedy)
            if validation.several_labels != self.several_labels:
                raise DataError(
                    f"Each validation row has {'any number of labels' if validation.several_labels else 'one label'}, "
                    f"but each training row has {'any number of labels' if self.several_labels else 'one label'}.",
                    f"Read the validation rows with the argument multi_label={self.several_labels}.",
                )
            check_labelled(validation, "validation row", "Validate with labelled rows only.")
            copies = ~self.labelled & np.isin(hashes, validation.hashes)
            return self.rows(np.flatnonzero(~copies)) if copies.any() else self, validation
        training_rows, held_out = split_rows(self, settings.validation_share, np.random.default_rng(settings.seed))
        labelled = self.labelled[training_rows]
        leaks = held_out[np.isin(hashes[held_out], hashes[training_rows[labelled]])]
        if len(leaks):
            others = self.counts(np.setdiff1d(held_out, leaks)) > 0
            of_leaks = self.targets[leaks]
            leaks = leaks[(others | ~of_leaks).all(axis=1) if self.several_labels else others[of_leaks]]
            training_rows = np.sort(np.concatenate((training_rows, leaks)))
            held_out = np.setdiff1d(held_out, leaks)
        copies = ~self.labelled[training_rows] & np.isin(hashes[training_rows], hashes[held_out])
        training_rows = training_rows[~copies]
        return self.rows(training_rows), replace(self.rows(held_out), outside=())

    def rows(self, chosen: npt.NDArray[np.int64]) -> Self:
        """Return the chosen rows, int64 [chosen], in the given order. `labels` stays the same.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, 0]), ("no", "yes"), source="two rows")
            >>> data.rows(np.array([1])).texts
            ['bad']
        """
        answers = None if self.answers is None else self.answers.rows(chosen)
        return replace(self, texts=select_texts(self.texts, chosen), targets=self.targets[chosen], answers=answers)

    def add_teacher_answers(self, answers: TeacherAnswers) -> LabelledTexts:
        """Return the same rows with a teacher's class probabilities, so that training learns from them, too.

        Raises:
            DataError: `answers` has another number of rows or of classes than the data.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, -1]), ("no", "yes"), source="two rows")
            >>> taught = data.add_teacher_answers(TeacherAnswers.of([[0.1, 0.9], [0.8, 0.2]]))
            >>> taught.answers.likeliest_classes().tolist()
            [1, 0]
        """
        if len(answers) != len(self) or answers.values.shape[1] != len(self.labels):
            raise DataError(
                f"The teacher's answers have {len(answers):,} rows and {answers.values.shape[1]} columns, but the data "
                f"has {len(self):,} rows and {len(self.labels)} labels.",
                "Give one row of answers for each row of the data, and one column of answers for each label.",
            )
        return replace(self, answers=answers)


def select_texts(texts: Sequence[str], chosen: npt.NDArray[np.int64]) -> Sequence[str]:
    """Return the texts with the row numbers `chosen`, int64 [chosen], in the given order.

    `StoredTexts` stay in their temporary file: it is not read here.
    """
    return texts.rows(chosen) if isinstance(texts, StoredTexts) else [texts[i] for i in chosen.tolist()]


def separate_outside_rows(data: _Rows, label: str) -> _Rows:
    """Move the texts of one label from the rows to the attribute `outside`, and leave the label out of the classes.

    Args:
        data: rows with one label each.
        label: the label of texts that belong to none of the classes.

    Raises:
        DataError: the label does not occur; fewer than two classes are left; or a row can have several labels.
    """
    if data.several_labels:
        raise DataError(*OUTSIDE_OF_SEVERAL)
    if label not in data.labels:
        raise DataError(
            f"--outside is {label!r}, but {data.source} has only the labels {list_first_names(data.labels)}.",
            "Give --outside the label of the rows that belong to none of the classes.",
        )
    place = data.labels.index(label)
    labels = (*data.labels[:place], *data.labels[place + 1 :])
    if len(labels) < 2:
        raise DataError(
            f"Without the label {label!r} of --outside, {data.source} has {len(labels)} label{'s' * (not labels)}, but "
            "at least two are needed.",
            "Give rows with at least two other labels.",
        )
    is_outside = data.targets == place
    kept = data.rows(np.flatnonzero(~is_outside))
    targets = kept.targets - (kept.targets > place)
    inputs = data.rows(np.flatnonzero(is_outside)).inputs
    return replace(kept, targets=targets, labels=labels, outside=inputs)


def make_multi_label_texts(
    texts: Sequence[str],
    label_codes: npt.NDArray[np.int64],
    label_counts: npt.NDArray[np.int64],
    names: tuple[str, ...],
    labels: tuple[str, ...] | None,
    source: str,
) -> LabelledTexts:
    """Make labelled rows of texts that have any number of labels each.

    Args:
        texts: one text a row.
        label_codes: int64 [labels of all rows], the labels of one row after the other; each is an index in `names`.
        label_counts: int64 [rows], how many labels each row has.
        names: the labels that occur.
        labels: the classes, in the order of the targets; None for the labels that occur, sorted.
        source: where the rows come from, in words.

    Raises:
        DataError: a name is not one of `labels`; `labels` is None and fewer than two labels occur; or the rows times
            the labels take too much memory.
    """
    if labels is None:
        labels = tuple(sorted(set(names)))
        if len(labels) < 2:
            found = f"The only label is {labels[0]!r}" if labels else "There is no label"
            raise DataError(
                f"{found} in the {len(label_counts)} rows of {source}, but at least two labels are needed.",
                "Give rows with at least two different labels. To answer a yes-or-no question, leave out "
                "--multi-label, and give each row one of two labels, such as yes and no.",
            )
    if len(label_counts) * len(labels) > _MOST_ANSWERS:
        raise DataError(
            f"The {len(label_counts):,} rows times the {len(labels):,} labels are more than {_MOST_ANSWERS:,}, which "
            "is the limit of memory.",
            "Leave out rare labels or some rows.",
        )
    places = convert_codes_to_targets(label_codes, names, labels, source)
    targets = np.zeros((len(label_counts), len(labels)), dtype=bool)
    targets[np.repeat(np.arange(len(label_counts)), label_counts), places] = True
    return LabelledTexts(texts, targets, labels, source)
