"""The labels of one text that reach their threshold, as one column of a line or of a CSV file."""

from __future__ import annotations

from pocketrnn.answers import Answers
from pocketrnn.errors import InputError, shown
from pocketrnn.tables.rows import LABEL_SEPARATOR

__all__ = ["check_separable"]


def check_separable(answers: Answers, instead: str) -> None:
    """Refuse labels that could not be told apart in one column.

    Args:
        answers: what the classifier's logits mean. Where one label is right, a column holds one at most.
        instead: what else can be done.

    Raises:
        InputError: a text can have several labels, and one of them holds the separator.

    Example:
        >>> check_separable(Answers("tags", ("sad", "long"), "sigmoid"), "use --json")
    """
    held = [label for label in answers.labels if LABEL_SEPARATOR in label]
    if held and answers.activation == "sigmoid":
        raise InputError(
            f"The label {shown(held[0], 40)} holds {LABEL_SEPARATOR!r}, which stands between the labels of one text.",
            f"To tell them apart, {instead}.",
        )
