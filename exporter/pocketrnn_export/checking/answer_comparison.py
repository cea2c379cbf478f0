"""Compare the answers of a file and of its module to the same inputs."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.checking.exported_file import Array, CheckedFile
from pocketrnn_export.checking.forward_call_recording import ModuleCall, RecordedCall, record_call
from pocketrnn_export.checking.input_output_matching import MatchedInput, OutputPair, make_file_inputs, squeeze_shape
from pocketrnn_export.checking.joined_outputs import JoinedOutputModule, choose_column_scales, join_outputs_into_table
from pocketrnn_export.checking.missing_activation import MissingActivation
from pocketrnn_export.comparing.answer_spread_by_rounding import ExactAnswer, make_perturbed_module_runs
from pocketrnn_export.comparing.first_operation_not_in_graph import find_first_operation_missing_in_graph
from pocketrnn_export.comparing.float64_graph import convert_model_to_float64, make_function_of_float64_model
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_module_run
from pocketrnn_export.comparing.float64_proof import SPREADS, measure_distance_to_exact_answer
from pocketrnn_export.comparing.logit_comparison import LEAST_TOLERANCE, Difference, Reference, measure_difference
from pocketrnn_export.comparing.parity_decision_and_report import is_within_tolerance_or_rounding
from pocketrnn_export.comparing.proof_inputs import Case, Logits
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line_if_known

_log = logging.getLogger(__name__)
# Two answers this near are the same where there is no answer in double precision.
_NEAR: Final = 1e-4
_SMALLEST: Final = 1e-30
# How many times the spreads of rounded weights an engine may be off, within _NEAR.
_OF_ENGINE: Final = 2
_LEAST_SPREAD: Final = 2.0**-24
# After this many answers that differ by more than rounding, only the size of a further difference is measured.
_MOST_ASKED: Final = 6
# Limits of the comparison in double precision: cases, tokens in one case, and processor time for all.
_CASES_IN_DOUBLES: Final = 40
_TOKENS_IN_DOUBLES: Final = 400
_SECONDS_IN_DOUBLES: Final = 60.0
# A difference above this in double precision is looked into: float32 numbers in a file cause such differences.
_ROUNDED: Final = 1e-6
# The distance that an answer may have from the exact one, in spreads of half precision; and the same where only a
# graph's numbers are rounded.
_HALF_SPREADS: Final = 8.0
_OF_CONSTANTS: Final = 2.0


@dataclass(frozen=True)
class Outcome:
    """The result of one case: the difference between the two answers, or the error of the file.

    `shapes` describes shapes that differ only by axes of size 1. `numbers_off` is the largest difference of the numbers
    that are not scores of classes, relative to the largest of these numbers.
    """

    case: Case
    difference: Difference
    is_same: bool
    error: str = ""
    shapes: str = ""
    numbers_off: float = 0.0


class _Float64Difference(NamedTuple):
    """The difference of the two answers to a case in double precision.

    Attributes:
        difference: the difference.
        is_rounding: whether only the rounding of the file's numbers causes it.
    """

    difference: Difference
    is_rounding: bool


class OutputColumns(NamedTuple):
    """An output of a file: its name, and its columns in the table of joined outputs."""

    name: str
    columns: slice


class Float64Comparison(NamedTuple):
    """The comparison of a file with its module in double precision.

    Attributes:
        largest: the largest difference; None if the two were not compared.
        why_not: why the two were not compared; else empty.
        differing: the first case that differs by more than rounding; None if there is none.
    """

    largest: float | None
    why_not: str
    differing: Outcome | None


@dataclass(frozen=True)
class ComparedFile:
    """A file, and the module that it is compared with.

    Attributes:
        called: the module, and how it is called.
        file: the file.
        fed: which of the module's inputs each input of the file takes.
        outputs: pairs of the index of a file's output and the name of the module's output.
        largest: the largest number of each of the module's outputs in its first calls.
        scales: how many times larger each column of an output is than the smallest column. Rounding is measured
            relative to these scales, since a price of 250,000 may be off by more than the share beside it.
        classes: the names of those outputs of the module that may give a number for each class.
        values: the names of those outputs of the module that may give other numbers.
        activations: the outputs that only one side gives after an activation: the name of the side without it, `module`
            or `file`, and the activation, which is applied to that side's numbers before they are compared.
    """

    called: ModuleCall
    file: CheckedFile
    fed: tuple[MatchedInput, ...]
    outputs: tuple[OutputPair, ...]
    largest: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, Array] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    activations: Mapping[str, MissingActivation] = field(default_factory=dict)
    _asked: list[Case] = field(default_factory=list, repr=False, compare=False)

    def run_file(self, call: RecordedCall) -> list[Array] | str:
        """Run the file on the inputs of a recorded call of the module. Return the list of the file's outputs, or, if it
        fails, the error's message."""
        return self.file.compute_outputs(make_file_inputs(self.fed, call.inputs))

    def _compute_comparable_module_outputs(self, call: RecordedCall) -> list[Array]:
        """Return those outputs of the module in a recorded call that are compared with the file's. An activation, such
        as softmax, that only the file has at its end is applied to them."""
        return [self._apply_activation_missing_on("module", name, call.outputs[name]) for _, name in self.outputs]

    def _compute_comparable_file_outputs(self, call: RecordedCall) -> list[Array] | str:
        """Run the file on the inputs of a recorded call. Return those of its outputs that are compared, or the error's
        message. An activation, such as softmax, that only the module has at its end is applied to them."""
        answers = self.run_file(call)
        if isinstance(answers, str):
            return answers
        return [self._apply_activation_missing_on("file", name, answers[number]) for number, name in self.outputs]

    def _apply_activation_missing_on(self, side: str, output: str, numbers: Array) -> Array:
        found = self.activations.get(output)
        return numbers if found is None or found.side != side else found.activation.compute(numbers)

    def compare_case(self, case: Case) -> Outcome | None:
        """Run the file and the module on a batch (case), and compare their answers. If the module does not run on the
        rows as they are, the rows are sorted by decreasing length. Return None if the module fails, or if its answer
        contains only NaN and infinity."""
        found = self._call_module(case)
        if found is None and (in_order := _sort_rows_by_length(case)) is not case:
            case, found = in_order, self._call_module(in_order)
        if found is None:
            return None
        call, own = found
        rows = len(case.lengths)
        expected = join_outputs_into_table(own, rows)
        if not np.isfinite(expected).any():
            return None
        given = self._compute_comparable_file_outputs(call)
        if isinstance(given, str):
            return Outcome(case, Difference("file", case.name, math.inf, 0), False, given)
        if [squeeze_shape(one) for one in given] != [squeeze_shape(one) for one in own]:
            return Outcome(case, Difference("file", case.name, math.inf, rows), False)
        alike = [one.reshape(other.shape) for one, other in zip(given, own, strict=True)]
        # Each output has its own unit for differences: a right number of one output may be as small as an error in
        # another.
        units = [
            np.full(one.shape, self._choose_divisor_of_differences(name))
            for one, (_, name) in zip(own, self.outputs, strict=True)
        ]
        outcome = self._decide_outcome(
            case,
            np.maximum(join_outputs_into_table(units, rows), _SMALLEST),
            self._make_scale_table(own, rows),
            expected,
            join_outputs_into_table(alike, rows),
        )
        shapes = _describe_shape_difference(own, given)
        difference = replace(outcome.difference, labels_differing=self._count_different_labels(own, alike, rows))
        return replace(
            outcome, difference=difference, shapes=shapes, numbers_off=self._measure_value_difference(own, alike)
        )

    def _count_different_labels(self, module_outputs: Sequence[Array], file_outputs: Sequence[Array], rows: int) -> int:
        """Count the rows of a batch in which module and file give different labels: another largest class, or another
        integer. The outputs are in the same order and shapes on both sides."""
        differing = [
            one.argmax(-1) != other.argmax(-1) if name in self.classes else one != other
            for one, other, (_, name) in zip(module_outputs, file_outputs, self.outputs, strict=True)
            if name in self.classes or one.dtype.kind != "f"
        ]
        return int(join_outputs_into_table(differing, rows).any(1).sum()) if differing else 0

    def _measure_value_difference(self, module_outputs: Sequence[Array], file_outputs: Sequence[Array]) -> float:
        """Return the largest difference between the module's and the file's numbers, as a share of the largest number
        of the output. Only outputs that may hold other numbers than scores of classes are measured."""
        return max(
            (
                float(np.nan_to_num(np.abs(one - other)).max(initial=0.0)) / max(self.largest.get(name, 0.0), _SMALLEST)
                for one, other, (_, name) in zip(module_outputs, file_outputs, self.outputs, strict=True)
                if name in self.values
            ),
            default=0.0,
        )

    def _call_module(self, case: Case) -> tuple[RecordedCall, list[Array]] | None:
        """Call the module on a batch (case). Return the recorded call, and its outputs that are compared with the
        file's. Return None if the module fails."""
        try:
            call = record_call(self.called, case)
            return call, self._compute_comparable_module_outputs(call)
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            return None

    def _choose_divisor_of_differences(self, output: str) -> float:
        """Return the number by which differences in the module's output of this name are divided, so that errors of
        small outputs count: the output's largest number, but at most 1."""
        return min(1.0, self.largest.get(output, 0.0) or 1.0)

    def _make_scale_table(self, outputs: Sequence[Array], rows: int) -> Logits:
        """Return a table [rows, numbers] with the scale of each number in the joined outputs: how many times larger the
        numbers of its column are than those of the smallest column, at least 1. Differences are divided by these
        scales, since rounding changes large numbers more."""
        each = [
            np.broadcast_to(choose_column_scales(self.scales.get(name, np.ones(1)), one.shape), one.shape)
            for one, (_, name) in zip(outputs, self.outputs, strict=True)
        ]
        table: Logits = np.maximum(join_outputs_into_table(each, rows), 1.0)
        return table

    def _decide_outcome(self, case: Case, units: Logits, scales: Logits, expected: Logits, given: Logits) -> Outcome:
        """Decide whether the file's answer to a batch equals the module's up to rounding, and return the outcome.

        Args:
            case: the batch.
            units: the number by which each difference between the two answers is divided.
            scales: if the difference may be rounding, both answers are compared with the module's in double precision;
                these differences are divided by `scales`.
            expected: the module's answer, as one table.
            given: the file's answer, as one table.
        """
        left_out = _make_mask_of_uncompared_numbers(expected, given)
        expected, given = _replace_uncompared_by_zeros(left_out, expected, given)
        found = measure_difference("file", case.name, expected, given)
        if not math.isfinite(found.largest):
            return Outcome(case, found, False)
        relative = measure_difference("file", case.name, expected / units, given / units).largest
        least = LEAST_TOLERANCE if self.file.rounding == 1 else _HALF_SPREADS * _LEAST_SPREAD * self.file.rounding
        if relative <= least or len(self._asked) >= _MOST_ASKED:
            return Outcome(case, found, relative <= least)
        exact = self._compute_exact_answer(case)
        if exact is None:
            return Outcome(case, found, relative <= max(_NEAR, least))
        (logits,) = _replace_uncompared_by_zeros(left_out, exact.logits)
        exact = replace(exact, logits=logits, spread=np.nan_to_num(exact.spread, nan=_LEAST_SPREAD))
        expected, given = expected / scales, given / scales
        if self.file.rounding > 1:
            is_same = self._is_within_half_precision_rounding(exact, given, _HALF_SPREADS)
            self._asked.extend([] if is_same else [case])
            return Outcome(case, found, is_same)
        found = replace(found, spreads=measure_difference("file", case.name, expected, given, exact).spreads)
        is_same = is_within_tolerance_or_rounding(found, None) or (
            relative <= _NEAR and self._is_explained_by_engine_rounding(case, found)
        )
        if found.largest <= LEAST_TOLERANCE:
            # The spread of a row is that of its largest number, or of 1: small outputs are compared with the module's
            # own error.
            own, of_file = (float((np.abs(one - exact.logits) * scales / units).max()) for one in (expected, given))
            is_same = of_file <= max(_NEAR, SPREADS * own)
        if not is_same:
            self._asked.append(case)
        return Outcome(case, found, is_same)

    def _is_explained_by_engine_rounding(self, case: Case, found: Difference) -> bool:
        """Return whether onnxruntime's rounding alone explains the difference `found` on a batch. It does if the
        difference is at most twice the difference that rounding of weights explains, or if file and module agree in
        double precision. The factor is needed because onnxruntime rounds some operators, such as a sigmoid, more than
        changed weights show."""
        if found.spreads is not None and found.spreads <= _OF_ENGINE * SPREADS:
            return True
        in_doubles = self._compare_case_in_double_precision(case)
        return not isinstance(in_doubles, str) and in_doubles.is_rounding

    def _is_within_half_precision_rounding(self, exact: ExactAnswer, given: Any, most_spreads: float) -> bool:
        """Return whether the answer `given` is as near to the exact answer as half precision allows: within
        `most_spreads` times the distance by which rounding to half precision may move an answer."""
        return measure_distance_to_exact_answer("file", exact, given).spreads <= most_spreads * self.file.rounding

    def measure_difference_on_case(self, case: Case) -> Difference:
        """Measure the difference between the module's and the file's answer to a batch (case). Both must answer it."""
        call = record_call(self.called, case)
        own, given = self._compute_comparable_module_outputs(call), self._compute_comparable_file_outputs(call)
        assert not isinstance(given, str)  # noqa: S101 - both answered before
        alike = [one.reshape(other.shape) for one, other in zip(given, own, strict=True)]
        rows = len(case.lengths)
        expected, numbers = join_outputs_into_table(own, rows), join_outputs_into_table(alike, rows)
        left_out = _make_mask_of_uncompared_numbers(expected, numbers)
        found = measure_difference("file", case.name, *_replace_uncompared_by_zeros(left_out, expected, numbers))
        return replace(found, labels_differing=self._count_different_labels(own, alike, rows))

    def compute_both_answers(self, case: Case) -> tuple[Logits, Logits | str]:
        """Return the module's and the file's answer to a batch (case), each with all compared outputs joined in one
        table. If the file fails, the second is the error's message."""
        call, rows = record_call(self.called, case), len(case.lengths)
        expected = join_outputs_into_table(self._compute_comparable_module_outputs(call), rows)
        given = self._compute_comparable_file_outputs(call)
        return expected, given if isinstance(given, str) else join_outputs_into_table(given, rows)

    def find_most_differing_output(self, case: Case) -> OutputColumns:
        """Find the output in which file and module differ most on a batch (case), relative to the output's largest
        number. Return its name in the file, and its columns in a table of all joined outputs. If only one output is
        compared, or the file fails, return "" and all columns."""
        own = self._compute_comparable_module_outputs(record_call(self.called, case))
        expected, given = self.compute_both_answers(case)
        if len(own) == 1 or isinstance(given, str):
            return OutputColumns("", slice(0, None))
        ends = np.cumsum([join_outputs_into_table([one], len(case.lengths)).shape[1] for one in own]).tolist()
        columns = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        apart = np.nan_to_num(np.abs(expected.astype(float) - given.astype(float)), nan=np.inf)
        largest = [
            apart[:, some].max(initial=0.0) / self._choose_divisor_of_differences(name)
            for some, (_, name) in zip(columns, self.outputs, strict=True)
        ]
        worst = int(np.argmax(largest))
        return OutputColumns(self.file.get_output_name(self.outputs[worst][0]), columns[worst])

    def describe_shape_difference(self, case: Case) -> str:
        """If the two answers to a batch (case) cannot be compared number by number, return a phrase with their shapes;
        else return ""."""
        call = record_call(self.called, case)
        own, given = self._compute_comparable_module_outputs(call), self._compute_comparable_file_outputs(call)
        if isinstance(given, str) or [squeeze_shape(one) for one in given] == [squeeze_shape(one) for one in own]:
            return ""
        return _describe_shape_difference(own, given)

    @functools.cached_property
    def _joined_output_module(self) -> JoinedOutputModule:
        return JoinedOutputModule(self.called, tuple(name for _, name in self.outputs))

    @functools.cached_property
    def _float64_reference(self) -> Reference | str:
        """The module in double precision, or the reason why the module cannot run in double precision."""
        if not self.called.in_doubles:
            return f"{self.called.name} is a file."
        try:
            scaled = JoinedOutputModule(self.called, self._joined_output_module.outputs, self.scales)
            # Sorted rows would be other batches for a module whose rows depend on each other.
            run = make_float64_module_run(scaled, takes_lengths=True, sorts_rows=False)
        except ExportError as error:
            _log.debug("%s", error.problem)
            return f"{self.called.name} does not run in that precision."
        moved = replace(self.called, function=make_call_with_perturbed_inputs(self.called.function))
        table = JoinedOutputModule(moved, self._joined_output_module.outputs, self.scales)
        return Reference(
            "module", run, run, lambda: make_perturbed_module_runs(table, takes_lengths=True, sorts_rows=False)
        )

    def _compute_exact_answer(self, case: Case) -> ExactAnswer | None:
        """Return the module's answer to a batch (case) in double precision, with how far rounding may move it. Return
        None if the module does not run in double precision."""
        if isinstance(self._float64_reference, str):
            return None
        try:
            return self._float64_reference.compute_exact_answers([case], spreads=True)[0]
        except ExportError:
            return None

    def compare_in_double_precision(self, outcomes: Sequence[Outcome]) -> Float64Comparison:
        """Compare the file with the module in double precision, on up to 40 of the batches in `outcomes`, those of at
        most 400 tokens."""
        small = [one.case for one in outcomes if one.case.tokens.size <= _TOKENS_IN_DOUBLES]
        chosen = small[:: max(1, len(small) // _CASES_IN_DOUBLES)]
        largest = 0.0
        started = time.process_time()
        for case in chosen:
            if time.process_time() - started > _SECONDS_IN_DOUBLES:
                break
            found = self._compare_case_in_double_precision(case)
            if isinstance(found, str):
                return Float64Comparison(None, f"Not compared in double precision: {found}", None)
            apart, is_same = found
            largest = max(largest, apart.largest)
            if not is_same:
                return Float64Comparison(largest, "", Outcome(case, apart, False))
        return Float64Comparison(largest, "", None)

    def _compare_case_in_double_precision(self, case: Case) -> _Float64Difference | str:
        """Compare the file with the module in double precision on one batch (case). If this is impossible, return the
        reason as a clause for a note."""
        if isinstance(self._float64_graph, str):
            return self._float64_graph
        if isinstance(self._float64_reference, str):
            return self._float64_reference
        try:
            call = record_call(self.called, case)
            expected = self._float64_reference.run(case.tokens, case.lengths)
            names = [fed.port.name for fed in self.fed]
            answers = self._float64_graph(dict(zip(names, self._convert_inputs_to_float64(call), strict=True)))
        except ExportError as error:
            _log.debug("%s", error.problem)
            return f"{self.file.path.name} or {self.called.name} does not run in that precision."
        scales = self._make_scale_table([call.outputs[name] for _, name in self.outputs], len(case.lengths))
        table = join_outputs_into_table([answers[number] for number, _ in self.outputs], len(case.lengths)) / scales
        left_out = _make_mask_of_uncompared_numbers(expected, table)
        expected, given = _replace_uncompared_by_zeros(left_out, expected, table)
        apart = measure_difference("file, float64", case.name, expected, given)
        if apart.largest <= _ROUNDED or (exact := self._compute_exact_answer(case)) is None:
            return _Float64Difference(apart, True)
        apart = measure_difference("file, float64", case.name, expected, given, exact)
        is_same = apart.spreads is None or apart.spreads <= SPREADS
        # Numbers of the graph that are no weights are rounded to half precision, too.
        is_same = is_same or (
            self.file.rounding > 1 and self._is_within_half_precision_rounding(exact, given, _OF_CONSTANTS)
        )
        if not is_same and self._is_engine_nearer_to_exact_answer(exact.logits, table, call, scales):
            return "onnx's reference operators give another answer than onnxruntime."
        return _Float64Difference(apart, is_same)

    @functools.cached_property
    def _float64_graph(self) -> Callable[[dict[str, Array]], list[Array]] | str:
        """The file in double precision, or the reason why the file cannot run in double precision."""
        if self.file.model is None:
            return "the file is not ONNX."
        try:
            return make_function_of_float64_model(
                convert_model_to_float64(onnx.load_from_string(self.file.model.SerializeToString()))
            )
        except ExportError as error:
            _log.debug("%s", error.problem)
            return f"{self.file.path.name} does not run in that precision."

    def _is_engine_nearer_to_exact_answer(
        self, exact: Logits, by_reference: Logits, call: RecordedCall, scales: Logits
    ) -> bool:
        """Return whether onnxruntime's answer to a call is nearer to the exact answer than to that of onnx's reference
        operators. If so, these operators are wrong, and their answer shows nothing about the file.

        Args:
            exact: the module's answer in double precision.
            by_reference: the answer of onnx's reference operators.
            scales: onnxruntime's answer is divided by these, as the other two are already.
        """
        given = self._compute_comparable_file_outputs(call)
        own = by_reference if isinstance(given, str) else join_outputs_into_table(given, len(exact)) / scales
        return bool(np.abs(own - exact).max() < np.abs(own - by_reference).max())

    def _convert_inputs_to_float64(self, call: RecordedCall) -> list[Array]:
        return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in make_file_inputs(self.fed, call.inputs)]

    def describe_first_differing_operation(self, case: Case) -> str:
        """Return a sentence on the first operation of forward whose result the file lacks, with its line and the node
        of the file. It is searched for on the batch `case`. Return "" if it cannot be found."""
        if self.file.model is None or isinstance(self._float64_reference, str):
            return ""
        try:
            arrays = self._convert_inputs_to_float64(record_call(self.called, case))
            table = make_float64_copy(self._joined_output_module)
            inputs: Any = [case.tokens, case.lengths]
            content = self.file.model.SerializeToString()
            names = [fed.port.name for fed in self.fed]
            found = find_first_operation_missing_in_graph(
                table, content, inputs, _find_forward_line, given=dict(zip(names, arrays, strict=True))
            )
        except ExportError:
            return ""
        return "" if found is None else found.sentence


def _describe_shape_difference(module_outputs: Sequence[Array], file_outputs: Sequence[Array]) -> str:
    odd = [
        (one.shape, other.shape)
        for one, other in zip(file_outputs, module_outputs, strict=True)
        if one.shape != other.shape
    ]
    return f"an answer of the shape {list(odd[0][0])}, where the module's is {list(odd[0][1])}" if odd else ""


def compare_cases(compared: ComparedFile, cases: Iterable[Case]) -> list[Outcome]:
    """Compare a file with its module on batches (cases), and return the outcomes. Batches that the module does not
    answer are left out."""
    return [outcome for case in cases if (outcome := compared.compare_case(case)) is not None]


def _find_forward_line(frame: FrameType | None) -> str:
    """Return a description of the line of user code from which the function in `frame` was called. Return "" if the
    line is not known, or if our own code that joins outputs called the function."""
    inner = frame
    while inner is not None and inner.f_code is not join_outputs_into_table.__code__:
        inner = inner.f_back
    return describe_user_line_if_known(frame) if inner is None else ""


def _sort_rows_by_length(case: Case) -> Case:
    """Return a batch (case) with its rows sorted by decreasing length, as some modules require. A sorted batch is
    returned itself."""
    order = np.argsort(-case.lengths, kind="stable")
    return case if (order == np.arange(len(order))).all() else Case(case.name, case.tokens[order], case.lengths[order])


def _make_mask_of_uncompared_numbers(expected: Any, given: Any) -> Any:
    """Return a mask of the numbers that are not compared: where the module's answer, `expected`, is NaN, or where both
    answers have the same infinity."""
    is_nan = np.isnan(expected)
    return is_nan | (~np.isfinite(expected) & (expected == given)) if expected.shape == given.shape else is_nan


def _replace_uncompared_by_zeros(uncompared: Any, *tables: Any) -> list[Any]:
    return [np.where(uncompared, 0.0, one).astype(one.dtype) if uncompared.any() else one for one in tables]


# --- Inputs perturbed by rounding ---
# Move each number of a module's inputs by one float32 step, to see how far rounding may move the answers.

# One step of a float32 number below 1 is 2**-24 of the power of two above it. Multiples of 1/16 are not rounded.
_BITS: Final = 24
_EXACT: Final = 16


def make_call_with_perturbed_inputs(function: Call) -> Call:
    """Return a call that does the same as `function`, but moves each number of the module's float inputs to a
    neighbouring float32 number, up or down at random. Multiples of 1/16 are taken as exact and stay as they are.

    This shows rounding that changed weights do not show, such as in a row that is divided by its own deviation.
    """
    generator = torch.Generator().manual_seed(0)

    def perturb_value(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            step = torch.ldexp(torch.ones_like(value), torch.frexp(value).exponent - _BITS)
            sign = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
            is_rounded = value.isfinite() & (value * _EXACT != (value * _EXACT).round())
            return torch.where(is_rounded, value + sign * step, value)
        if type(value) in (list, tuple):
            return type(value)(map(perturb_value, value))
        return {name: perturb_value(one) for name, one in value.items()} if type(value) is dict else value

    def call_with_perturbed_inputs(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        hook = module.register_forward_pre_hook(
            lambda _layer, args, kwargs: (perturb_value(args), perturb_value(kwargs)), with_kwargs=True
        )
        try:
            return function(module, tokens, lengths)
        finally:
            hook.remove()

    return call_with_perturbed_inputs
