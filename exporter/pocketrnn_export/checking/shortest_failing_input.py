"""Find the shortest input for which file and module differ, by leaving out rows and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn_export.checking.answer_comparison import ComparedFile, Outcome
from pocketrnn_export.checking.exported_file import Array
from pocketrnn_export.checking.forward_call_recording import record_call
from pocketrnn_export.checking.verdict import Shown
from pocketrnn_export.comparing.proof_inputs import Case, make_one_row_cases

# The most shorter inputs that are tried.
_TRIED: Final = 80
_ROWS: Final = 8
# A shorter input must show at least this part of the difference.
_PART: Final = 1e-2
_NUMBERS: Final = 8
# A row of more ids, or numbers, is described by its shape.
_SHOWN: Final = 96
_SHOWN_NUMBERS: Final = 24


def find_shortest_failing_input(compared: ComparedFile, wrong: Sequence[Outcome]) -> tuple[Shown, Case]:
    """Find the shortest input for which file and module differ. Return its description with both answers, and its case.

    Args:
        compared: the file beside its module.
        wrong: cases on which the two differ.
    """
    worst = min(wrong, key=lambda one: (one.case.tokens.size, -one.difference.largest))
    least = worst.difference.largest * _PART if math.isfinite(worst.difference.largest) else 0.0

    def is_still_different(case: Case) -> bool:
        found = compared.compare_case(case)
        same_way = found is not None and not found.is_same and bool(found.error) == bool(worst.error)
        return same_way and found is not None and found.difference.largest >= least

    case, tried = worst.case, 0
    shrinks = True
    while shrinks:
        shrinks = False
        for shorter in _shorten_case(case):
            tried += 1
            if tried > _TRIED:
                break
            if is_still_different(shorter):
                case, shrinks = shorter, True
                break
    return _describe_input(compared, case), case


def _shorten_case(case: Case) -> Iterator[Case]:
    """Yield shorter cases made from a case: first with fewer rows, then with fewer tokens."""
    rows, steps = case.tokens.shape
    if rows > 1:
        yield from make_one_row_cases([case])[:_ROWS]
        # A row that is padded wider than its length may be what shows it.
        for row in range(min(rows, _ROWS) if case.lengths.max() < steps else 0):
            yield Case(case.name, case.tokens[row : row + 1], case.lengths[row : row + 1])
        for kept in {max(1, rows // 2), rows - 1} - {rows}:
            lengths = case.lengths[:kept]
            yield Case(case.name, case.tokens[:kept, : lengths.max()], lengths)
    for width in range(int(case.lengths.max()) + 1, steps):
        yield Case(case.name, case.tokens[:, :width], case.lengths)
    if (case.lengths == steps).all():
        for taken in dict.fromkeys([steps // 2, steps // 4, 1]):
            for start in range(0, steps - taken + 1, max(1, taken)) if 0 < taken < steps else ():
                tokens = np.delete(case.tokens, slice(start, start + taken), axis=1)
                yield Case(case.name, tokens, np.full(rows, steps - taken, np.int64))


def _describe_input(compared: ComparedFile, case: Case) -> Shown:
    """Describe the input of a case, the module's answer, and the file's answer or error at the largest difference."""
    expected, given = compared.compute_both_answers(case)
    shown = _list_shown_rows(compared, case)
    if isinstance(given, str):
        return Shown(shown, _round_first_numbers(expected[0]), f"fails: {given}", math.inf)
    if shapes := compared.describe_shape_difference(case):
        return Shown(shown, _round_first_numbers(expected[0]), f"gives {shapes}", math.inf)
    output, columns = compared.find_most_differing_output(case)
    expected, given = expected[:, columns], given[:, columns]
    apart = np.nan_to_num(np.abs(expected.astype(float) - given.astype(float)), nan=np.inf)
    row = int(apart.max(1).argmax())
    first = max(0, int(apart[row].argmax()) - _NUMBERS + 1)
    own, other = (_round_first_numbers(table[row][first:]) for table in (expected, given))
    return Shown(shown, own, other, float(apart.max()), output)


def _list_shown_rows(compared: ComparedFile, case: Case) -> tuple[Any, ...]:
    """Return the first rows of the input, as the verdict shows them. If the module has several inputs, return the name
    and the numbers of each."""
    samples = compared.called.samples
    most = _SHOWN if samples is None else _SHOWN_NUMBERS
    inputs = record_call(compared.called, case).inputs
    if len(inputs) > 1:
        return tuple(
            (name, *(array.tolist() if array.ndim and array.size <= most else [_describe_shape(array)]))
            for name, array in inputs.items()
        )
    rows: list[Any] = [row[:length] for row, length in zip(case.tokens, case.lengths, strict=True)]
    if samples is not None:
        rows = [samples[row % len(samples)].round(6) for row in rows]
    shown = tuple(tuple(row.tolist()) if row.size <= most else (_describe_shape(row),) for row in rows[:3])
    return (*shown, f"and {len(rows) - 3} rows more") if len(rows) > 3 else shown


def _describe_shape(array: Array) -> str:
    return f"numbers of the shape {list(array.shape)}"


def _round_first_numbers(row: Any) -> tuple[float, ...]:
    return tuple(float(f"{number:.6g}") for number in row[:_NUMBERS])
