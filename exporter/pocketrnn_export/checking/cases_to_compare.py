"""Choose the cases on which `check` compares a file with its module.

They are those of the proof of `export`, and every small size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from torch import nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.text import TextRules
from pocketrnn_export.checking.exported_file import CheckedFile, list_reshape_sizes
from pocketrnn_export.checking.forward_call_recording import ModuleCall, RowsAndSteps, draw_case, record_inputs
from pocketrnn_export.checking.sizes_with_correct_answers import NO_PADDING, TO_LONGEST, WIDER, Bounds
from pocketrnn_export.comparing.proof_inputs import Case, make_cases_of_given_sizes, split_cases_into_single_rows
from pocketrnn_export.forms.onnx.integers_near_graph_constants import list_integers_near_constants
from pocketrnn_export.proof import every_size_comparison
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules
from pocketrnn_export.proof.ids_that_cases_must_contain import find_ids_of_extreme_vectors

# Every batch and every length up to these is compared; then sizes around the whole numbers in module and file.
_EVERY_BATCH: Final = 16
_EVERY_LENGTH: Final = 48
_MOST_ASKED: Final = 1_100
_MOST_BOUNDS: Final = 60
_ALONE: Final = 2
# Batches of so many rows, so many times as long as those that a file answers right, and the most of these.
_MOST_ROWS: Final = 8
_TIMES_AS_LONG: Final = 3
_MOST_REGROUPED: Final = 60
# The most rows, and the most batches, of sizes that a file holds.
_MOST_HELD_ROWS: Final = 64
_MOST_HELD: Final = 300


def collect_cases_to_compare(called: ModuleCall, file: CheckedFile, fixed_sizes: Bounds) -> dict[str, list[Case]]:
    """Collect the batches (cases) on which a file is compared with its module, by kind: those with which `export`
    proves a bundle, and every small batch size and length.

    Args:
        file: the exported file; sizes near the integers in it are among the batches.
        fixed_sizes: the sizes that the file declares as fixed; the batches of `export`'s proof stay inside them.
    """
    if called.one_row:
        return make_cases_within_bounds(called, fixed_sizes)
    ids, padding_id, ragged = called.ids, called.padding_id, called.ragged
    steps = [(2, n) for n in range(1, min(_EVERY_LENGTH, every_size_comparison.MOST_TOKENS) + 1)]
    rows = [(n, 5) for n in range(1, min(_EVERY_BATCH, every_size_comparison.MOST_TEXTS) + 1)]
    sweep = [*steps, *((1, n) for n in range(1, 13)), *rows]
    cases = {"every small size": make_cases_of_given_sizes(sweep, ids, padding_id, ragged=False)}
    if ragged:
        uneven = make_cases_of_given_sizes([(3, n) for n in (2, 5, 9, 21)], ids, padding_id, ragged=True)
        even = make_cases_of_given_sizes([(1, 4), (2, 6)], ids, padding_id, ragged=False)
        cases["uneven rows"] = uneven
        widened = [_add_padding_columns(case, 1 + 2 * n, padding_id) for n, case in enumerate([*even, *uneven])]
        cases["padded wider"] = [case for case in widened if not _is_cut_to_longest_row(called, case)]
    if fixed_sizes != Bounds():
        return {**make_cases_within_bounds(called, fixed_sizes), **cases}
    proof = _make_proof_cases(called, None, _list_boundary_sizes(called.module, file))
    few = [
        row
        for some in (proof["shapes"], proof["drawn shapes"])
        for case in some
        for row in split_cases_into_single_rows([case])[:_ALONE]
    ]
    return {**cases, **proof, "rows alone": few}


def _make_proof_cases(
    called: ModuleCall, limits: Limits | None, boundary_sizes: Iterable[RowsAndSteps] = ()
) -> dict[str, list[Case]]:
    """Make the batches (cases) with which `export` proves a bundle, by kind, for a module's ids and padding.

    Args:
        limits: the sizes to which the batches are limited; None for all.
        boundary_sizes: further sizes (rows, steps).
    """
    most = called.ids - 1
    rules = TextRules("external", unknown_id=min(1, most), empty_id=min(1, most), padding_id=called.padding_id)
    one_row = limits is not None and limits.max_batch == 1
    extreme = [] if called.samples is not None else find_ids_of_extreme_vectors(called.module, called.ids)
    return choose_cases_for_text_rules(
        rules,
        ids=called.ids,
        ragged=called.ragged,
        limits=limits,
        condition_sizes=boundary_sizes,
        one_row=one_row,
        extreme_ids=extreme[:12],
    )


def make_cases_within_bounds(called: ModuleCall, bounds: Bounds) -> dict[str, list[Case]]:
    """Return the padded and unpadded batches (cases) inside the bounds, among those with which `export` proves a
    bundle, as one kind named "these sizes"."""
    (least_rows, most_rows), (least, most) = bounds.rows, bounds.steps
    limits = Limits(max_batch=most_rows, min_tokens=least, max_tokens=most)
    found = [case for some in _make_proof_cases(called, limits).values() for case in some]
    if least_rows > 1:
        found = [_repeat_rows(case, least_rows) for case in found if len(case.lengths) < least_rows] + [
            case for case in found if len(case.lengths) >= least_rows
        ]
    if called.ragged:
        # The proof's rows have at least as many tokens as the least width; here they are padded to that width.
        sizes = itertools.product({least_rows, most_rows or 3}, {least, most or least + 9})
        found += [case for rows, steps in sizes for case in _draw_padded_cases(called, rows, steps)]
    inside = [case for case in found if classify_padding(case) <= bounds.padding]
    return {"these sizes": [case for case in inside if not _is_cut_to_longest_row(called, case)]}


def draw_cases_of_reshape_sizes(called: ModuleCall, file: CheckedFile) -> list[Case]:
    """Draw a batch for each pair (rows, steps) of the constant sizes in the file's Reshape operators, since the file
    may accept only the size with which it was traced. Return an empty list for inputs without a batch axis."""
    if called.one_row:
        return []
    numbers = list_reshape_sizes(file)
    pairs = itertools.product([n for n in numbers if n <= _MOST_HELD_ROWS], numbers if called.unit else (1,))
    sizes = sorted(pairs, key=lambda size: size[0] * size[1])[:_MOST_HELD]
    return [draw_case(called, r, s, ragged=False) for r, s in sizes]


def draw_cases_that_reshape_regroups(
    called: ModuleCall, right_cases: Sequence[Case], fixed_sizes: Bounds
) -> list[Case]:
    """Draw batches that a Reshape in a file, to a constant number of rows or steps, may accept although it mixes their
    rows. Example: if the file answers only rows of 8 tokens right, draw 6 rows of 4 tokens.

    Args:
        right_cases: the batches that the file answers right.
        fixed_sizes: the sizes that the file declares as fixed; no batch is outside of them.
    """
    sizes = {(len(case.lengths), case.tokens.shape[1]) for case in right_cases}
    rows, steps = ({size[place] for size in sizes} for place in (0, 1))
    if not called.unit or called.one_row or not sizes or len(rows) > 1 < len(steps):
        return []
    totals = {r * s for r, s in sizes}
    frozen = [some.pop() for some in (steps, rows) if len(some) == 1]
    grid = itertools.product(range(1, _MOST_ROWS + 1), range(1, _TIMES_AS_LONG * max(size[1] for size in sizes) + 1))
    found = {
        (r, s): (r * s not in totals, next(n for n, size in enumerate(frozen) if r * s % size == 0), r * s)
        for r, s in grid
        if (r, s) not in sizes and fixed_sizes.contains_size(r, s, padding=NO_PADDING)
        if any(r * s % size == 0 for size in frozen)
    }
    chosen = sorted(found, key=lambda size: found[size])[:_MOST_REGROUPED]
    return [draw_case(called, r, s, ragged=False) for r, s in chosen]


def _is_cut_to_longest_row(called: ModuleCall, case: Case) -> bool:
    """Return whether the user's call cuts a batch (case) that is padded beyond its longest row to the length of this
    row, before forward gets the batch. Return False for a batch without such padding."""
    if classify_padding(case) != WIDER:
        return False
    narrow = Case(case.name, case.tokens[:, : case.lengths.max()], case.lengths)
    one, other = record_inputs(called, case), record_inputs(called, narrow)
    return bool(one) and all(
        name in other and np.array_equal(value, other[name], equal_nan=value.dtype.kind == "f")
        for name, value in one.items()
    )


def _draw_padded_cases(called: ModuleCall, rows: int, steps: int) -> list[Case]:
    """Draw three batches of this size with padding: one with decreasing lengths, one with increasing lengths, and one
    whose rows all end with padding."""
    drawn = draw_case(called, rows, steps, ragged=True)
    lengths = -(-drawn.lengths // 2)
    shorter = np.where(np.arange(steps) < lengths[:, None], drawn.tokens, called.padding_id)
    return [
        drawn,
        Case(f"{drawn.name}, turned", drawn.tokens[::-1].copy(), drawn.lengths[::-1].copy()),
        Case(f"{drawn.name}, shorter", shorter, lengths),
    ]


def classify_padding(case: Case) -> int:
    """Return how a batch (case) is padded: NO_PADDING, TO_LONGEST (up to its longest row) or WIDER than this row."""
    width, longest = case.tokens.shape[1], case.lengths.max()
    return WIDER if longest < width else TO_LONGEST if case.lengths.min() < width else NO_PADDING


def _add_padding_columns(case: Case, added_columns: int, padding_id: int) -> Case:
    """Return a batch (case) with `added_columns` more columns of padding at the end, as if all batches were padded to
    one width. The lengths do not change."""
    tokens = np.pad(case.tokens, ((0, 0), (0, added_columns)), constant_values=padding_id)
    return Case(f"{case.name}, padded to {tokens.shape[1]}", tokens, case.lengths)


def _repeat_rows(case: Case, rows: int) -> Case:
    places = np.arange(rows) % len(case.lengths)
    return Case(f"{case.name}, {rows} rows", case.tokens[places], case.lengths[places])


def _list_boundary_sizes(module: nn.Module, file: CheckedFile) -> list[RowsAndSteps]:
    """List sizes (2, steps) near each integer from 49 to 1,100 in the attributes of the module's layers, in the code of
    forward, and in the file: the steps are one less, equal and one more. Conditions on lengths may compare with these
    integers."""
    numbers = [] if file.model is None else list_integers_near_constants(file.model.SerializeToString())
    for layer in module.modules():
        held = [value for value in vars(layer).values() if type(value) is int]
        code = getattr(getattr(type(layer), "forward", None), "__code__", None)
        if code is not None and not type(layer).__module__.startswith("torch."):
            held += [value for value in code.co_consts if type(value) is int]
        numbers += [near for value in held for near in (value - 1, value, value + 1)]
    asked = sorted({number for number in numbers if _EVERY_LENGTH < number <= _MOST_ASKED})
    step = max(1, math.ceil(len(asked) / _MOST_BOUNDS))
    return [(2, number) for number in asked[::step]]
