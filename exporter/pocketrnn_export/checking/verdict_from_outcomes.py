"""Make the verdict of `check` from the outcomes of its cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from pocketrnn.bundle.manifest import Comparison
from pocketrnn_export.checking.answer_comparison import ComparedFile, Outcome
from pocketrnn_export.checking.exported_file import Array, find_missing_matrices
from pocketrnn_export.checking.forward_call_recording import draw_case, record_call, record_inputs
from pocketrnn_export.checking.input_output_matching import make_file_inputs
from pocketrnn_export.checking.sizes_with_correct_answers import Bounds
from pocketrnn_export.checking.verdict import Shown, Verdict
from pocketrnn_export.comparing.logit_comparison import summarize_differences
from pocketrnn_export.comparing.proof_inputs import Case, split_cases_into_single_rows


def make_verdict(compared: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]], bounds: Bounds | None) -> Verdict:
    """Make the verdict on a file from the comparisons with its module.

    Args:
        outcomes: the result of each compared batch, by kind of batches; at least one.
        bounds: the sizes for which the file is right; None if no such bounds were found.
    """
    every = [outcome for some in outcomes.values() for outcome in some]
    file, name, unit = compared.file, compared.called.name, compared.called.unit
    shapes = _describe_shape_differences(every)
    verdict = Verdict(
        str(file.path), "right", f"{file.path} answers as {name} does{', in another shape' * bool(shapes)}.",
        name=name,
        inputs={fed.port.name: fed.name for fed in compared.fed},
        outputs={file.get_output_name(number): own for number, own in compared.outputs},
        comparisons=summarize_outcomes(name, outcomes),
        numbers_changed=max((one.numbers_off for one in every), default=0.0),
        looked_at=_describe_compared_sizes(every, unit),
        notes=(
            *_describe_transposed_inputs(compared), *_write_note_on_limited_numbers(compared),
            *_describe_compared_outputs(compared), *shapes,
        ),
    )  # fmt: skip
    wrong = [outcome for outcome in every if not outcome.is_same]
    if compared.activations:
        return _report_activation_on_one_side_only(compared, every, replace(verdict, kind="wrong"))
    if not wrong:
        found = compared.compare_in_double_precision(every)
        notes = (*verdict.notes, *filter(None, [found.why_not]))
        verdict = replace(verdict, float64_difference=found.largest, notes=notes)
        if found.differing is None:
            return _report_size_limit(compared, every, verdict)
        wrong = [found.differing]
    differing = [outcome for outcome in wrong if not outcome.error]
    shown, case = find_shortest_failing_input(compared, differing or wrong)
    verdict = replace(verdict, sizes="" if bounds is None else bounds.describe_bounds(unit or "tokens"), shown=shown)
    if len(wrong) == len(every) and not differing:
        reason = f"{file.path} fails on each of {len(every)} batches that {name} answers: {wrong[0].error}."
        return replace(verdict, kind="not comparable", reason=reason)
    if not differing:
        reason = f"{file.path} fails on {len(wrong)} of {len(every)} batches, where {name} answers."
        return _report_size_limit(compared, every, replace(verdict, kind="some sizes", reason=reason))
    verdict = replace(verdict, kind="wrong", reason=f"{file.path} gives other answers than {name}.")
    lacking, has_weights = _describe_missing_weights(compared)
    return replace(
        verdict,
        notes=(*lacking, *verdict.notes),
        departs=_describe_differing_operation(compared, case) if has_weights else "",
    )


def report_half_precision_rounding(
    compared: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]], verdict: Verdict
) -> Verdict:
    """Return the verdict on a file in half precision, with a note on how far its answers are from the module's. A
    verdict `right` becomes `changed` if rounding changes labels. If the file is wrong or not comparable, the note only
    says that the module's weights were rounded to half precision, too. `outcomes` has the result of each compared
    batch, by kind of batches."""
    if verdict.kind not in ("right", "some sizes"):
        note = (
            "The file is in half precision: it was compared with the module with its weights rounded to half precision."
        )
        return replace(verdict, notes=(*verdict.notes, note))
    apart = {
        inputs: [replace(one, difference=compared.measure_difference_on_case(one.case)) for one in some if one.is_same]
        for inputs, some in outcomes.items()
    }
    lines = summarize_outcomes(verdict.name, {inputs: some for inputs, some in apart.items() if some})
    verdict = replace(verdict, comparisons=lines)
    largest = max(line.largest_difference for line in lines)
    said = f"is in half precision: its answers are up to {largest:.2g} apart from {verdict.name}'s, as rounding allows"
    if verdict.labels_changed and verdict.kind == "right":
        reason = f"{verdict.file} {said}, but the label of {verdict.labels_changed:.2%} of the rows changes."
        return replace(verdict, kind="changed", reason=reason)
    return replace(verdict, notes=(*verdict.notes, f"The file {said}."))


def _report_activation_on_one_side_only(
    compared: ComparedFile, outcomes: Sequence[Outcome], verdict: Verdict
) -> Verdict:
    """Return the verdict with another reason: only the file, or only the module, ends with an activation such as
    softmax. The reason also says whether the answers are equal if this activation is added to the other side.
    `outcomes` has the result of each compared batch, with the activation on both sides."""
    side, activation = next(iter(compared.activations.values()))
    more, plain = (
        (compared.file.path, compared.called.name) if side == "module" else (compared.called.name, compared.file.path)
    )
    said = f"{more} gives the {activation.name} of the numbers that {plain} gives"
    as_given = replace(compared, activations={})
    case = min((one.case for one in outcomes), key=lambda case: int(case.tokens.size))
    found = as_given.compare_case(case)
    shown = None if found is None else find_shortest_failing_input(as_given, [found])[0]
    same = all(outcome.is_same for outcome in outcomes)
    departs = _describe_differing_operation(as_given, case) if same and side == "module" else ""
    reason = f"{said}; with it on both sides, the answers {'are equal' if same else 'still differ'}."
    return replace(verdict, reason=reason, shown=shown, departs=departs, activation=said)


def _report_size_limit(compared: ComparedFile, outcomes: Sequence[Outcome], verdict: Verdict) -> Verdict:
    """Return the verdict with the note "some sizes" if the file and its module were compared only on some sizes: on
    batches of one row, since neither runs on more, or on the sizes that the file declares. Otherwise, return it
    unchanged. `outcomes` has the result of each compared batch."""
    called, file = compared.called, compared.file
    if called.only_these:
        reason = f"{file.path} answers as {called.name} does at the sizes that it declares; {called.name} takes others."
        reason = reason if verdict.is_right else verdict.reason
        return replace(verdict, kind="some sizes", sizes=f"{called.only_these} only", reason=reason)
    if any(len(outcome.case.lengths) > 1 for outcome in outcomes):
        return verdict
    first = called.sizes[0]
    if called.one_row:
        given = record_call(called, draw_case(called, *first)).inputs
        limited = all(1 in array.shape for array in given.values())
    else:
        given = record_inputs(called, draw_case(called, 2, first[1]))
        takes_one = any(declared == 1 for fed in compared.fed for declared, _ in fed.declared_sizes)
        limited = isinstance(file.compute_outputs(make_file_inputs(compared.fed, given)), str) if given else takes_one
    if not limited:
        return verdict
    sizes = f"batch 1 only{f' and {verdict.sizes}' * bool(verdict.sizes)}"
    if verdict.kind != "right":
        return replace(verdict, sizes=sizes)
    reason = f"{file.path} answers as {called.name} does for one row, but neither ran on more rows."
    return replace(verdict, kind="some sizes", sizes=sizes, reason=reason)


def summarize_outcomes(module_name: str, outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[Comparison, ...]:
    """Return an entry of the report for each kind of batches: how many batches and rows were compared, and their
    largest difference. `module_name` is the reference in it."""
    return tuple(
        summarize_differences(
            [one.difference for one in some],
            reference=module_name,
            inputs=inputs,
            rows=sum(len(one.case.lengths) for one in some),
        ).line
        for inputs, some in outcomes.items()
    )


class _MissingWeights(NamedTuple):
    """The weight matrices of the module that the file lacks.

    Attributes:
        notes: a note that the file lacks some; empty if it lacks none.
        has_others: whether the file has any of the module's matrices.
    """

    notes: list[str]
    has_others: bool


def _describe_missing_weights(compared: ComparedFile) -> _MissingWeights:
    """Return a note if the file lacks weight matrices of the module, and whether the file has any of the matrices."""
    matrices = {
        name: w.numpy() for name, w in compared.called.module.named_parameters() if w.dim() > 1 and w.numel() > 1
    }
    lacking = find_missing_matrices(compared.file, matrices)
    if not lacking:
        return _MissingWeights([], True)
    if len(lacking) == len(matrices):
        said = "The file holds none of the module's matrices: it was made with other weights, or with rounded ones."
        return _MissingWeights([said], False)
    held = f"The file holds {len(matrices) - len(lacking)} of the module's {len(matrices)} matrices"
    return _MissingWeights([f"{held}, but {lacking[0]} is not among them: it may be made with other weights."], True)


def _describe_compared_sizes(outcomes: Sequence[Outcome], unit: str) -> str:
    """Return a sentence on how many batches were compared, and of how many rows and steps. `unit` is "tokens" or
    "steps", or "" if the inputs do not have a sequence axis."""
    shapes = np.array([outcome.case.tokens.shape for outcome in outcomes])
    (least_rows, least), (most_rows, most) = shapes.min(0), shapes.max(0)
    rows = _format_range(least_rows, most_rows, "rows")
    if not unit:
        return f"Looked at {len(outcomes)} batches, of {rows}."
    return f"Looked at {len(outcomes)} batches, of {rows} and of {_format_range(least, most, unit)} a row."


def _format_range(least: int, most: int, unit: str) -> str:
    if least < most:
        return f"{least:,} to {most:,} {unit}"
    return f"{most:,} {unit if most > 1 else unit.removesuffix('s')}"


def _describe_differing_operation(compared: ComparedFile, failing_case: Case) -> str:
    """Return a sentence on the first operation in which file and module differ, or "" if it is not found. It is
    searched for on an ordinary batch if file and module differ there, else on `failing_case`: short texts hide
    differences, as between the mean and the sum of one token."""
    ordinary = compared.compare_case(draw_case(compared.called, *compared.called.sizes[0]))
    return compared.describe_first_differing_operation(
        failing_case if ordinary is None or ordinary.is_same or ordinary.error else ordinary.case
    )


def _describe_shape_differences(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a list with a note if the file gives an answer of another shape than the module; else an empty list."""
    odd = next((outcome for outcome in outcomes if outcome.shapes), None)
    if odd is None:
        return []
    return [f"For a batch of {len(odd.case.lengths)} the file gives {odd.shapes}: only the numbers are compared."]


def _describe_transposed_inputs(compared: ComparedFile) -> list[str]:
    """Return a note for each input of the file that gets the module's input with its axes in another order."""
    turned = {fed.port.name: ", ".join(map(str, fed.order)) for fed in compared.fed if fed.order is not None}
    return [
        f"The file's input {name} gets the module's input with its axes in the order {o}." for name, o in turned.items()
    ]


def _write_note_on_limited_numbers(compared: ComparedFile) -> list[str]:
    """Return a list with a note if the module got only some kinds of numbers, since the module has no finite answer to
    others; else an empty list."""
    called = compared.called
    said = f"Only {called.numbers} were tried: {called.name} has no finite answer to some others."
    return [said] * bool(called.numbers)


def _describe_compared_outputs(compared: ComparedFile) -> list[str]:
    """Return sentences on which outputs were compared and which were not. Return an empty list if the file and the
    module have one output each."""
    numbers, names = ({pair[place] for pair in compared.outputs} for place in (0, 1))
    left = [port.name for number, port in enumerate(compared.file.outputs) if number not in numbers]
    lacking = [name for name in compared.largest if name not in names]
    of_both = ((left, "of the file"), (lacking, f"of {compared.called.name}, which the file lacks"))
    pairs = [(compared.file.get_output_name(number), own) for number, own in compared.outputs]
    both = [f"{one} with output {own} of {compared.called.name}" if one != own else one for one, own in pairs]
    several = len(pairs) > 1 or left or lacking
    said = [f"Compared: the output{'s' * (len(both) > 1)} {', '.join(both)}."] if several else []
    return said + [
        f"Not compared: the output{'s' * (len(some) > 1)} {', '.join(some)} {whose}." for some, whose in of_both if some
    ]


def join_verdicts_on_right_and_other_inputs(
    verdict: Verdict, verdict_on_others: Verdict, right_inputs: str, reason: str
) -> Verdict:
    """Join two verdicts on a file that is right for some kinds of inputs, such as masks that hide the end of rows, and
    not for others.

    Args:
        verdict: the verdict on the inputs for which the file is right.
        verdict_on_others: the verdict on the other inputs.
        right_inputs: a phrase for the inputs for which the file is right.
        reason: the reason of the joined verdict. If `verdict_on_others` is `wrong`, its own reason is kept.
    """
    joined = replace(
        verdict_on_others,
        sizes=f"{right_inputs}{f' and {verdict.sizes}' * bool(verdict.sizes)}",
        looked_at=verdict.looked_at,
        comparisons=(*verdict.comparisons, *verdict_on_others.comparisons),
        numbers_changed=max(verdict.numbers_changed, verdict_on_others.numbers_changed),
    )
    return joined if verdict_on_others.kind == "wrong" else replace(joined, kind="some sizes", reason=reason)


# --- Shortest failing input ---
# Find the shortest input for which file and module differ, by leaving out rows and tokens.

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
    """Find the shortest batch for which file and module still differ, by leaving out rows and tokens. Return a
    description of it with both answers, and the batch. `wrong` are the results of batches on which the two differ."""
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
        for shorter in _yield_shorter_cases(case):
            tried += 1
            if tried > _TRIED:
                break
            if is_still_different(shorter):
                case, shrinks = shorter, True
                break
    return _describe_input_and_both_answers(compared, case), case


def _yield_shorter_cases(case: Case) -> Iterator[Case]:
    """Yield smaller batches that are made from a batch (case): first with fewer rows, then with fewer tokens."""
    rows, steps = case.tokens.shape
    if rows > 1:
        yield from split_cases_into_single_rows([case])[:_ROWS]
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


def _describe_input_and_both_answers(compared: ComparedFile, case: Case) -> Shown:
    """Describe a batch (case), the module's answer to it, and the file's answer or error. Of long answers, the numbers
    at the largest difference are described."""
    expected, given = compared.compute_both_answers(case)
    shown = _list_input_rows_to_show(compared, case)
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


def _list_input_rows_to_show(compared: ComparedFile, case: Case) -> tuple[Any, ...]:
    """Return the first three rows of a batch (case) as the verdict shows them: ids or numbers, or the shape of a long
    row. If the module has several inputs, return the name and the numbers of each input."""
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
