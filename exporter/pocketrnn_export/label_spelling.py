"""Say which spellings of a label are the same."""

from __future__ import annotations


def fold_label(label: str) -> str:
    """Return a label without blanks around it, in the form by which its spellings are compared."""
    return " ".join(label.split()).casefold()
