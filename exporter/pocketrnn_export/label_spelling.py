"""Say which spellings of a label are the same."""

from __future__ import annotations


def normalize_label_spelling(label: str) -> str:
    """Return a form of a label that is equal for all spellings that differ only in case or blanks: in lower case, with
    single spaces, without blanks at its ends."""
    return " ".join(label.split()).casefold()
