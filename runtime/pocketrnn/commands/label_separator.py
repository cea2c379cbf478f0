"""Refuse labels that contain the separator of labels, if a column holds several labels."""

from __future__ import annotations

from pocketrnn.answers import Answers
from pocketrnn.errors import InputError, short_repr
from pocketrnn.tables.row_batches import LABEL_SEPARATOR

__all__ = ["check_labels_separable"]


def check_labels_separable(answers: Answers, instead: str) -> None:
    """Refuse labels that contain the separator of labels, if a column holds several labels.

    Args:
        answers: the meaning of the classifier's logits. With softmax, a column holds at most one label.
        instead: what else can be done, for the message.

    Raises:
        InputError: a text can have several labels, and one of them holds the separator.
    """
    each = (one for one in answers.heads.values() or [answers] if one.activation == "sigmoid")
    held = [label for one in each for label in one.labels if LABEL_SEPARATOR in label]
    if held:
        raise InputError(
            f"The label {short_repr(held[0], 40)} holds {LABEL_SEPARATOR!r}, which stands between the labels of one "
            "text.",
            f"To tell them apart, {instead}.",
        )
