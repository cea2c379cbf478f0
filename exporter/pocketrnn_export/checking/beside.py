"""A file beside its module: what both answer to a case, and whether that is the same."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import onnx

from pocketrnn.errors import ExportError
from pocketrnn_export.checking.exchange import Called, Exchange, InOneTable, exchange, in_one_table
from pocketrnn_export.checking.mapping import Fed, feeds, without_ones
from pocketrnn_export.checking.other_file import Array, OtherFile
from pocketrnn_export.comparing.cases import Case, Logits
from pocketrnn_export.comparing.comparing import LEAST_TOLERANCE, Difference, Reference, difference
from pocketrnn_export.comparing.exact import SPREADS
from pocketrnn_export.comparing.first_missing_operation import departure
from pocketrnn_export.comparing.float64_graph import evaluator, in_float64
from pocketrnn_export.comparing.float64_module import doubled, float64_run_of
from pocketrnn_export.comparing.spread import Exact, moved_modules
from pocketrnn_export.comparing.verdict import passes
from pocketrnn_export.intake.user_frames import place_of_user

__all__ = ["Beside", "Outcome"]

# Where nothing is known in double precision, two answers so near are the same.
_NEAR: Final = 1e-4
# So often an answer is found to be further off than rounding; later ones are told by their size.
_MOST_ASKED: Final = 6
# Cases that are compared in double precision, the tokens of one, and processor time for all.
_CASES_IN_DOUBLES: Final = 40
_TOKENS_IN_DOUBLES: Final = 400
_SECONDS_IN_DOUBLES: Final = 60.0
# In double precision, a difference of this size is asked about: numbers that a file has in float32 make such.
_ROUNDED: Final = 1e-6
_MOST_OF_ERROR: Final = 300


@dataclass(frozen=True)
class Outcome:
    """The result of a case: how far a file's answer is from the module's, or the error that the file fails with; and
    how the shapes of the two differ, where they do by axes of one."""

    case: Case
    difference: Difference
    is_same: bool
    error: str = ""
    shapes: str = ""


@dataclass(frozen=True)
class Beside:
    """A file beside its module.

    Attributes:
        called: the module, and how it is called.
        file: the file.
        fed: what its inputs are fed with.
        outputs: its outputs by their numbers, each with the module's by its name.
    """

    called: Called
    file: OtherFile
    fed: tuple[Fed, ...]
    outputs: tuple[tuple[int, str], ...]
    _asked: list[Case] = field(default_factory=list, repr=False, compare=False)

    def answers_of_file(self, call: Exchange) -> list[Array] | None:
        """The file's outputs where a module is called so; None where it fails."""
        try:
            return self.file.run(feeds(self.fed, call.inputs))
        # An engine raises errors of many classes.
        except Exception:
            return None

    def _own(self, call: Exchange) -> list[Array]:
        """The module's outputs that are compared."""
        return [call.outputs[name] for _, name in self.outputs]

    def _of_file(self, call: Exchange) -> list[Array]:
        """The file's; raises whatever its engine raises."""
        answers = self.file.run(feeds(self.fed, call.inputs))
        return [np.asarray(answers[number]) for number, _ in self.outputs]

    def outcome(self, case: Case) -> Outcome | None:
        """Compare the two on a case; None where the module itself has no answer."""
        case = _falling(case)
        try:
            call = exchange(self.called, case)
            own = self._own(call)
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            return None
        rows = len(case.lengths)
        expected = in_one_table(own, rows)
        if not np.isfinite(expected).any():
            return None
        try:
            given = self._of_file(call)
        # An engine raises errors of many classes.
        except Exception as error:
            return Outcome(case, Difference("file", case.name, math.inf, 0), False, _said_by(error))
        if [without_ones(one) for one in given] != [without_ones(one) for one in own]:
            return Outcome(case, Difference("file", case.name, math.inf, rows), False)
        alike = [one.reshape(other.shape) for one, other in zip(given, own, strict=True)]
        outcome = self._compared(case, *_finite(expected, in_one_table(alike, rows)))
        odd = [(one.shape, other.shape) for one, other in zip(given, own, strict=True) if one.shape != other.shape]
        shapes = f"an answer of the shape {list(odd[0][0])}, where the module's is {list(odd[0][1])}" if odd else ""
        return replace(outcome, shapes=shapes)

    def _compared(self, case: Case, expected: Logits, given: Logits) -> Outcome:
        found = difference("file", case.name, expected, given)
        if found.largest <= LEAST_TOLERANCE:
            return Outcome(case, found, True)
        if not math.isfinite(found.largest) or len(self._asked) >= _MOST_ASKED:
            return Outcome(case, found, found.largest <= LEAST_TOLERANCE)
        exact = self._exact(case)
        if exact is None:
            return Outcome(case, found, found.largest <= _NEAR)
        found = difference("file", case.name, expected, given, exact)
        if not passes(found, None):
            self._asked.append(case)
        return Outcome(case, found, passes(found, None))

    def answers(self, case: Case) -> tuple[Logits, Logits | str]:
        """Both answers as tables, or the file's error."""
        case = _falling(case)
        call, rows = exchange(self.called, case), len(case.lengths)
        expected = in_one_table(self._own(call), rows)
        try:
            return expected, in_one_table(self._of_file(call), rows)
        # An engine raises errors of many classes.
        except Exception as error:
            return expected, _said_by(error)

    @functools.cached_property
    def _table(self) -> InOneTable:
        return InOneTable(self.called, tuple(name for _, name in self.outputs))

    @functools.cached_property
    def _reference(self) -> Reference | str:
        """The module in double precision, or why there is none."""
        if not self.called.in_doubles:
            return "the module is a file."
        try:
            run = float64_run_of(self._table, takes_lengths=True)
        except ExportError as error:
            return error.problem
        return Reference("module", run, run, lambda: moved_modules(self._table, takes_lengths=True))

    def _exact(self, case: Case, *, spreads: bool = True) -> Exact | None:
        if isinstance(self._reference, str):
            return None
        try:
            return self._reference.exact([case], spreads=spreads)[0]
        except ExportError:
            return None

    def in_double_precision(self, outcomes: Sequence[Outcome]) -> tuple[float | None, str, Outcome | None]:
        """The largest difference in double precision, with why there is none, and a case where it is more than
        rounding."""
        if self.file.model is None or isinstance(self._reference, str):
            why = "the file is not ONNX." if self.file.model is None else str(self._reference)
            return None, f"Not compared in double precision: {why}", None
        small = [one.case for one in outcomes if one.case.tokens.size <= _TOKENS_IN_DOUBLES]
        chosen = small[:: max(1, len(small) // _CASES_IN_DOUBLES)]
        largest = 0.0
        try:
            evaluate = evaluator(in_float64(onnx.load_from_string(self.file.model.SerializeToString())))
            started = time.process_time()
            for case in chosen:
                if time.process_time() - started > _SECONDS_IN_DOUBLES:
                    break
                call = exchange(self.called, case)
                expected = self._reference.run(case.tokens, case.lengths)
                answers = evaluate(dict(zip([fed.port.name for fed in self.fed], self._doubles(call), strict=True)))
                table = in_one_table([answers[number] for number, _ in self.outputs], len(case.lengths))
                expected, given = _finite(expected, table)
                apart = difference("file, float64", case.name, expected, given)
                largest = max(largest, apart.largest)
                if apart.largest > _ROUNDED and (exact := self._exact(case)) is not None:
                    apart = difference("file, float64", case.name, expected, given, exact)
                    if apart.spreads is None or apart.spreads <= SPREADS:
                        continue
                    if self._is_nearer_to(exact.logits, table, call):
                        return None, "Not compared in double precision: onnx's operators compute something else.", None
                    return largest, "", Outcome(case, apart, False)
        except ExportError as error:
            return None, f"Not compared in double precision: {error.problem}", None
        return largest, "", None

    def _is_nearer_to(self, exact: Logits, table: Logits, call: Exchange) -> bool:
        """Whether onnxruntime's answer is nearer to the module's exact one than to that of onnx's operators, which then
        are not those of the file."""
        own = in_one_table(self._of_file(call), len(exact))
        return bool(np.abs(own - exact).max() < np.abs(own - table).max())

    def _doubles(self, call: Exchange) -> list[Array]:
        return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in feeds(self.fed, call.inputs)]

    def departs(self, case: Case) -> str:
        """The first operation of forward whose numbers the file has not, with its line and its node; empty where that
        is not known."""
        if self.file.model is None or isinstance(self._reference, str):
            return ""
        try:
            case = _falling(case)
            arrays = self._doubles(exchange(self.called, case))
            table = doubled(self._table)
            inputs: Any = [case.tokens, case.lengths]
            content = self.file.model.SerializeToString()
            names = [fed.port.name for fed in self.fed]
            found = departure(table, content, inputs, place_of_user, given=dict(zip(names, arrays, strict=True)))
        except ExportError:
            return ""
        return "" if found is None else found.with_node


def _said_by(error: Exception) -> str:
    """An engine's error in a line: onnxruntime says in the second one which size it got."""
    said = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
    return said.partition(" Please fix either")[0][:_MOST_OF_ERROR] or repr(error)


def _falling(case: Case) -> Case:
    """A case with its rows by falling length, as some modules want them."""
    order = np.argsort(-case.lengths, kind="stable")
    return case if (order == np.arange(len(order))).all() else Case(case.name, case.tokens[order], case.lengths[order])


def _finite(expected: Any, given: Any) -> tuple[Any, Any]:
    """Both tables, with 0 where both have the same number that is not finite."""
    if expected.shape != given.shape:
        return expected, given
    same = ~np.isfinite(expected) & ((expected == given) | (np.isnan(expected) & np.isnan(given)))
    return np.where(same, 0.0, expected).astype(expected.dtype), np.where(same, 0.0, given).astype(given.dtype)
