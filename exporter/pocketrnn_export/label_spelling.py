"""Say which spellings of a label are the same."""

from __future__ import annotations


def fold_label(label: str) -> str:
    """Return the form of a label that is equal for all its spellings: in lower case, with single spaces, without blanks
    around it."""
    return " ".join(label.split()).casefold()
