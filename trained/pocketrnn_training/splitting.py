"""Rows in two parts, every class by the same share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn_training.labelled_rows import LabelledRows

__all__ = ["split", "split_classes"]


def split(
    data: LabelledRows, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the rows in two, every class by the same share, in whatever order the labels stand.

    Rows without a label go to the first part. Of several labels, the rarest is split first, each label's rows as far as
    they are in no part yet (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011). The
    only row of a label goes to the first part.

    Args:
        data: the rows.
        share: the share of each class that goes to the second part. Each part has at least one row of each class that
            has two; the only row of a class goes to the first part.
        rng: decides which rows.

    Returns:
        The row numbers of the first and of the second part, int64, ascending.

    Raises:
        DataError: no class has two rows; no row has a label.
    """
    if data.several_labels:
        return _split_by_labels(data, share, rng)
    return split_classes(data.targets, data.labels, share, rng)


def split_classes(
    targets: npt.NDArray[np.int64],
    labels: tuple[str, ...],
    share: float,
    rng: np.random.Generator,
    *,
    what: str = "row",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `split`, of rows that are known by their classes.

    Args:
        targets: int64 [rows], the index of each row's class in `labels`, or -1.
        labels: the classes.
        share: the share of each class that goes to the second part.
        rng: decides which rows.
        what: what a row is, for the error.

    Raises:
        DataError: as `split`.
    """
    second = []
    for _, target in sorted(zip(labels, range(len(labels)), strict=True)):
        rows = np.flatnonzero(targets == target)
        if not len(rows):
            continue
        if len(rows) == 1:
            continue
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        second.append(rng.permutation(rows)[:count])
    if not second:
        found = f"Every class has 1 {what}" if (targets >= 0).any() else "No row has a label"
        raise DataError(
            f"{found}, so that none can be held out to validate with.",
            "Give more rows of each class, with their labels, or rows to validate with: --validation.",
        )
    held_out = np.zeros(len(targets), dtype=bool)
    held_out[np.concatenate(second)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _split_by_labels(
    data: LabelledRows, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    unsplit, second = np.ones(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    counts = data.counts()
    # How many rows of each label are not in the second part.
    left = counts.copy()

    def take(rows: npt.NDArray[np.int64], wanted: int) -> None:
        """Put so many of the rows into the second part, but for those that are the last of a label elsewhere."""
        for row in rows.tolist():
            if wanted <= 0:
                break
            if (left[data.targets[row]] > 1).all():
                second[row], wanted = True, wanted - 1
                np.subtract(left, data.targets[row], out=left)
        unsplit[rows] = False

    for target in sorted(range(len(data.labels)), key=lambda i: (counts[i], data.labels[i])):
        of_label = data.targets[:, target]
        wanted = max(1, round(share * counts[target])) - int((of_label & second).sum())
        take(rng.permutation(np.flatnonzero(of_label & unsplit)), wanted)
    without = rng.permutation(np.flatnonzero(unsplit))
    take(without, round(share * len(without)))
    if not second.any() or second.all():
        raise DataError(
            f"{len(data)} rows cannot be split in two parts.", "Give more rows, or rows to validate with: --validation."
        )
    return np.flatnonzero(~second), np.flatnonzero(second)
