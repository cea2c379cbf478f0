"""The names of the classes of rows: compare their spellings, sort the names, and number the class of each row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn_training.rows.labelled_rows import UNLABELLED

__all__ = ["convert_codes_to_targets", "normalize_label", "sort_and_check_classes"]


def normalize_label(label: str) -> str:
    """Return a label in lower case with single spaces, to compare spellings: "Very  Good" becomes "very good"."""
    return " ".join(label.split()).casefold()


def sort_and_check_classes(names: Iterable[str], rows_in_words: str, row_word: str) -> tuple[str, ...]:
    """Sort the labels that occur in the data, and return them as the classes.

    Args:
        names: the labels that occur, at least one, each once.
        rows_in_words: the rows in words for the error, such as "40 rows of a.csv".
        row_word: what the error calls the rows: `rows`, `texts` or `sequences`.

    Raises:
        DataError: there is only one label.
    """
    labels = tuple(sorted(names))
    if len(labels) == 1:
        raise DataError(
            f"All {rows_in_words} have the same label, {labels[0]!r}.",
            f"Give {row_word} with at least two different labels.",
        )
    return labels


def convert_codes_to_targets(
    codes: npt.NDArray[np.int64], names: tuple[str, ...], labels: tuple[str, ...], source: str
) -> npt.NDArray[np.int64]:
    """Convert the label of each row from its index in `names` to its index in `labels`.

    Args:
        codes: int64 [rows]; the label of a row is names[code], and the code -1 stands for a row without a label.
        names: the labels that occur.
        labels: the classes, in the order of the targets.
        source: where the rows come from, for the error.

    Returns:
        int64 [rows], the index of each row's label in `labels`; -1 for a row without a label.

    Raises:
        DataError: a name is not one of `labels`.
    """
    index = {label: target for target, label in enumerate(labels)}
    if unknown := sorted(set(names) - index.keys()):
        joined = normalize_label(unknown[0]) in map(normalize_label, labels)
        raise DataError(
            f"{source} holds the label {unknown[0]!r}, which is not one of {list_first_names(labels)}.",
            "Add --join-labels, so that labels which differ only in case or spaces count as one label."
            if joined
            else "Give only rows with the listed labels.",
        )
    # The code -1 indexes the last item, UNLABELLED.
    return np.array([*(index[label] for label in names), UNLABELLED], dtype=np.int64)[codes]
