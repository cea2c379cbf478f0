"""The shortest input that shows a difference: rows and tokens are left out as long as it stays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn_export.checking.beside import Beside, Outcome
from pocketrnn_export.checking.verdict import Shown
from pocketrnn_export.comparing.cases import Case, each_row

__all__ = ["shown_by"]

# So many shorter inputs are tried.
_TRIED: Final = 80
_ROWS: Final = 8
# A shorter input is to show this part of a difference at least.
_PART: Final = 1e-2
_NUMBERS: Final = 8
# Rows of more ids, or numbers, are told by their shape.
_SHOWN: Final = 96
_SHOWN_NUMBERS: Final = 24


def shown_by(beside: Beside, wrong: Sequence[Outcome]) -> tuple[Shown, Case]:
    """The shortest input found, with both answers; and its case.

    Args:
        beside: the file beside its module.
        wrong: cases on which the two differ.
    """
    worst = min(wrong, key=lambda one: (one.case.tokens.size, -one.difference.largest))
    least = worst.difference.largest * _PART if math.isfinite(worst.difference.largest) else 0.0

    def still(case: Case) -> bool:
        found = beside.outcome(case)
        same_way = found is not None and not found.is_same and bool(found.error) == bool(worst.error)
        return same_way and found is not None and found.difference.largest >= least

    case, tried = worst.case, 0
    shrinks = True
    while shrinks:
        shrinks = False
        for shorter in _shorter(case):
            tried += 1
            if tried > _TRIED:
                break
            if still(shorter):
                case, shrinks = shorter, True
                break
    return _shown(beside, case), case


def _shorter(case: Case) -> Iterator[Case]:
    """The case with fewer rows, and then with fewer tokens."""
    rows, steps = case.tokens.shape
    if rows > 1:
        yield from each_row([case])[:_ROWS]
        for kept in {max(1, rows // 2), rows - 1} - {rows}:
            lengths = case.lengths[:kept]
            yield Case(case.name, case.tokens[:kept, : lengths.max()], lengths)
    if (case.lengths == steps).all():
        for taken in dict.fromkeys([steps // 2, steps // 4, 1]):
            for start in range(0, steps - taken + 1, max(1, taken)) if 0 < taken < steps else ():
                tokens = np.delete(case.tokens, slice(start, start + taken), axis=1)
                yield Case(case.name, tokens, np.full(rows, steps - taken, np.int64))


def _shown(beside: Beside, case: Case) -> Shown:
    expected, given = beside.answers(case)
    most = _SHOWN if beside.called.samples is None else _SHOWN_NUMBERS
    rows: list[Any] = [row[:length] for row, length in zip(case.tokens, case.lengths, strict=True)]
    if beside.called.samples is not None:
        rows = [beside.called.samples[row % len(beside.called.samples)].round(6) for row in rows]
    shown = tuple(tuple(row.tolist()) if row.size <= most else (f"{list(row.shape)} numbers",) for row in rows[:3])
    more = (f"and {len(rows) - 3} rows more",) if len(rows) > 3 else ()
    if isinstance(given, str):
        return Shown((*shown, *more), _numbers(expected[0]), given, math.inf)
    if given.shape != expected.shape:
        return Shown((*shown, *more), _numbers(expected[0]), _numbers(given[0]), math.inf)
    apart = np.nan_to_num(np.abs(expected.astype(float) - given.astype(float)), nan=np.inf)
    row = int(apart.max(1).argmax())
    first = max(0, int(apart[row].argmax()) - _NUMBERS + 1)
    return Shown((*shown, *more), _numbers(expected[row][first:]), _numbers(given[row][first:]), float(apart.max()))


def _numbers(row: Any) -> tuple[float, ...]:
    return tuple(float(f"{number:.6g}") for number in row[:_NUMBERS])
