"""A teacher's answers for the rows of a data set: a probability for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError

__all__ = ["TeacherAnswers", "average_teacher_answers", "normalize_probabilities"]

# 77 probabilities with four decimals each are off by 0.004 at most.
_SUM_TOLERANCE: Final = 0.01


@dataclass(frozen=True)
class TeacherAnswers:
    """A teacher's probabilities for some or all rows of a data set.

    Attributes:
        values: float32 [answers, classes]; each row sums to 1.
        places: int64 [rows], the position in `values` of each row's answer, or -1 for a row without an answer.
        sources: the teachers, by name.

    Example:
        >>> answers = TeacherAnswers.of(np.array([[0.9, 0.1], [0.2, 0.8]]))
        >>> len(answers), answers.likeliest_classes().tolist()
        (2, [0, 1])
    """

    values: npt.NDArray[np.float32] = field(repr=False)
    places: npt.NDArray[np.int64] = field(repr=False)
    sources: tuple[str, ...]

    @classmethod
    def of(
        cls,
        values: npt.ArrayLike,
        *,
        answered: npt.ArrayLike | None = None,
        logits: bool = False,
        sources: Sequence[str] = ("an array",),
    ) -> TeacherAnswers:
        """Make a teacher's answers from an array of probabilities or logits.

        Args:
            values: [rows, classes], in the order of the data's rows and labels.
            answered: bool [rows], whether each row has an answer; None if all have one. The values of a row without an
                answer are not read.
            logits: whether the values are logits; otherwise they are probabilities.
            sources: the teachers, by name.

        Raises:
            DataError: the values are not numbers on two axes; a value is not finite; `logits` is false, and a row holds
                other values than probabilities that sum to 1; or `answered` has another shape or type.

        Example:
            >>> TeacherAnswers.of([[2.0, 2.0]], logits=True).values.tolist()
            [[0.5, 0.5]]
        """
        name = sources[0] if sources else "an array"
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = np.empty(0)
        if numbers.ndim != 2:
            raise DataError(
                f"The teacher's answers of {name} must be an array of numbers with exactly two axes, but they are not.",
                "Give an array with one row for each row of the data, and one column for each label.",
            )
        known = np.ones(len(numbers), dtype=bool) if answered is None else np.asarray(answered)
        if known.shape != (len(numbers),) or known.dtype != bool:
            raise DataError(
                f"The argument `answered` has the shape {list(known.shape)} and the type {known.dtype}, but it must "
                f"have the shape [{len(numbers)}] and the type bool.",
                "Give one boolean for each row: whether the teacher answers the row.",
            )
        rows = np.flatnonzero(known)
        probabilities = normalize_probabilities(numbers[rows], rows, name, logits=logits)
        return cls(probabilities, np.where(known, np.cumsum(known) - 1, -1), tuple(sources))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Return which rows have an answer, bool [rows].

        Example:
            >>> TeacherAnswers.of([[0.9, 0.1], [0, 0]], answered=[True, False]).answered.tolist()
            [True, False]
        """
        return self.places >= 0

    def rows(self, chosen: npt.NDArray[np.int64]) -> TeacherAnswers:
        """Return the answers for the chosen rows, int64 [chosen], in the given order.

        Example:
            >>> TeacherAnswers.of([[0.9, 0.1], [0.2, 0.8]]).rows(np.array([1])).likeliest_classes().tolist()
            [1]
        """
        return TeacherAnswers(self.values, self.places[chosen], self.sources)

    def probabilities(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the probabilities of the rows with the numbers `rows`, float32 [rows, classes].

        A row without an answer gets zeros.

        Example:
            >>> TeacherAnswers.of([[0.5, 0.5], [0, 0]], answered=[True, False]).probabilities(np.array([1])).tolist()
            [[0.0, 0.0]]
        """
        places = self.places[rows]
        found = np.zeros((len(rows), self.values.shape[1]), dtype=np.float32)
        found[places >= 0] = self.values[places[places >= 0]]
        return found

    def likeliest_classes(self) -> npt.NDArray[np.int64]:
        """Return the likeliest class of each row, int64 [rows]; -1 for a row without an answer.

        Example:
            >>> TeacherAnswers.of([[0.9, 0.1], [0, 0]], answered=[True, False]).likeliest_classes().tolist()
            [0, -1]
        """
        best = np.append(self.values.argmax(axis=1), -1) if len(self.values) else np.array([-1])
        return best[self.places]


def normalize_probabilities(
    values: npt.NDArray[np.float64], row_numbers: npt.NDArray[np.int64], source: str, *, logits: bool
) -> npt.NDArray[np.float32]:
    """Check a teacher's probabilities or logits, and return them as probabilities that sum to exactly 1 in each row.

    Probabilities may be off by up to 0.01 in their sum, since files hold rounded ones.

    Args:
        values: float64 [rows, classes].
        row_numbers: int64 [rows], the number of each row, from 0, for the error.
        source: where the values come from, for the error.
        logits: whether the values are logits.

    Returns:
        float32 [rows, classes].

    Raises:
        DataError: a value is not finite; or `logits` is false, and a value is negative or a row does not sum to 1.
    """

    def refuse_wrong_answers(wrong: npt.NDArray[np.bool_], problem: str, remedy: str) -> None:
        """Raise a DataError about the first row for which `wrong`, bool [rows], is true, if there is one."""
        if wrong.any():
            first = int(wrong.argmax())
            said = problem.format(**_compute_numbers_for_error_message(values[first]))
            raise DataError(f"Row {row_numbers[first] + 1} of {source} {said}.", remedy)

    refuse_wrong_answers(
        np.any(~np.isfinite(values), axis=1),
        "holds {infinite}, which is not a finite number",
        "Run the teacher again; or, if the teacher has no answer for this row, leave all its values empty.",
    )
    if logits:
        with np.errstate(over="ignore"):
            values = np.exp(values - values.max(axis=1, keepdims=True, initial=-np.inf))
    else:
        for_logits = "Give probabilities; or, if the values are logits, add --teacher-logits."
        refuse_wrong_answers(
            np.any(values < 0, axis=1), "holds the probability {least:g}, which is less than 0", for_logits
        )
        refuse_wrong_answers(
            np.any(values > 1 + _SUM_TOLERANCE, axis=1),
            "holds the probability {largest:g}, which is more than 1",
            for_logits,
        )
        refuse_wrong_answers(
            np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE,
            "holds probabilities that sum to {sum:g}, not to 1",
            "Give a probability for every label; or, if the values are logits, add --teacher-logits.",
        )
    probabilities: npt.NDArray[np.float32] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def _compute_numbers_for_error_message(answer: npt.NDArray[np.float64]) -> dict[str, float]:
    """Compute numbers of a teacher's answer, float64 [classes], for the message that refuses it; return them by name.

    "infinite" is the first value that is infinite or NaN, or 0 if there is none. "least" and "largest" are the extreme
    values, and "sum" is the sum of all.
    """
    infinite = answer[~np.isfinite(answer)]
    with np.errstate(over="ignore"):
        return {
            "infinite": float(infinite[0]) if len(infinite) else 0.0,
            "least": float(answer.min()),
            "largest": float(answer.max()),
            "sum": float(answer.sum()),
        }


def average_teacher_answers(teachers: Sequence[TeacherAnswers]) -> TeacherAnswers:
    """Average the probabilities of several teachers for the same rows.

    Each row is averaged over the teachers that answer it. A row that none of them answers gets no answer.
    """
    if len(teachers) == 1:
        return teachers[0]
    count = np.sum([teacher.answered for teacher in teachers], axis=0)
    rows = np.flatnonzero(count)
    total = np.zeros((len(rows), teachers[0].values.shape[1]))
    for teacher in teachers:
        total += teacher.probabilities(rows)
    places = np.where(count > 0, np.cumsum(count > 0) - 1, -1)
    sources = tuple(source for teacher in teachers for source in teacher.sources)
    return TeacherAnswers((total / count[rows, None]).astype(np.float32), places, sources)
