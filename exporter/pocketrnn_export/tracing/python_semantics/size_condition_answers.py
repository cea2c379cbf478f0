"""Answer a module's conditions on the sizes of its input during a trace, and record the conditions with their lines.

A condition is the truth of a relation (`if x.size(1) > 512`), a size that Python uses as a plain number, or a
restriction by an operation of PyTorch. On a `Branch`, the conditions in the module's own code are answered for the
branch's sizes, and do not restrict sizes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import sympy
import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_line,
    find_size_reading_frame,
    is_library_frame,
    is_user_file,
    is_user_frame,
    read_line_of_module_code,
)
from pocketrnn_export.torch_internals import (
    find_guard_location,
    find_shape_environment,
    list_guards,
    read_guard_relation,
    read_size_expression,
    replace_answers_to_size_conditions,
    size_functions,
)
from pocketrnn_export.tracing.python_semantics.sizes_as_plain_numbers import replace_methods_that_need_plain_numbers
from pocketrnn_export.tracing.sizes.printed_sizes import find_use_of_current_value
from pocketrnn_export.tracing.sizes.size_conditions import (
    TOKENS,
    Condition,
    UnsolvableError,
    compute_value_at,
    rename_size_symbols_to_ours,
)
from pocketrnn_export.tracing.sizes.size_question_log import Question, TraceLog
from pocketrnn_export.tracing.trace_session import TraceSession, find_current_session

# The methods by which a size becomes part of a text: `"%d" % n` calls `__index__`.
_IN_TEXTS: Final = frozenset({"__repr__", "__str__", "__format__", "__index__", "__int__", "__float__"})


@contextlib.contextmanager
def record_size_conditions(session: TraceSession) -> Iterator[None]:
    """While the block runs, answer and record the conditions on sizes that forward tests in a trace, such as
    `if x.size(1) > 512`. At the end, also record the restrictions on sizes that torch.export made in the trace."""

    with replace_answers_to_size_conditions(functools.partial(_answer_condition_on_sizes, session)):
        try:
            with replace_methods_that_need_plain_numbers(functools.partial(_answer_with_plain_number, session)):
                yield
        finally:
            # Also for a trace that failed: its guards show the sizes that were used as plain numbers.
            for guard in list_guards(session.environment):
                record_guard(session, guard)


def _answer_condition_on_sizes(session: TraceSession, asked: Any, shipped: Callable[[Any], bool]) -> bool:
    """Return whether a condition on sizes is true in a trace. If user code tested the condition, record it, and answer
    for the sizes for which the trace is made.

    Args:
        asked: the condition, a torch.SymBool.
        shipped: torch's own method, which answers conditions in other code.
    """
    log, frame = session.log, find_size_reading_frame(sys._getframe(2))
    if find_current_session() is not session or session.names is None or frame is None or not is_user_frame(frame):
        return shipped(asked)
    condition = session.make_condition_on_sizes(read_size_expression(asked))
    if condition is None:
        try:
            return shipped(asked)
        except Exception:
            log.raised.append(describe_line(frame))
            raise
    question = Question(condition, True, *read_line_of_module_code(frame))
    if not log.record_question_if_it_varies(question):
        return shipped(asked)
    if session.branch is not None:
        return question.holds(session.branch.sizes)
    guards = list_guards(session.environment)
    before = len(guards)
    answer = shipped(asked)
    # The answer makes a guard on sizes, which is the same condition or its negation.
    log.answered.update(str(read_guard_relation(guard)) for guard in guards[before:])
    return answer


def _answer_with_plain_number(session: TraceSession, size: Any, frame: FrameType, method: str) -> Any:
    """Return the value of a size as a plain number, for the sizes for which the trace is made, if user code needs it.
    Also record the condition that the size has this value. Return None for other code, which gets torch's own result.

    Args:
        size: the symbolic size.
        frame: the frame that called the method of the size.
        method: the name of this method, such as `__index__`.
    """
    log, caller = session.log, find_size_reading_frame(frame)
    if find_current_session() is None and caller is not None and is_user_frame(caller):
        raise log.record_refusal(_make_error_for_size_in_other_thread(caller))
    if find_current_session() is not session or session.names is None or caller is None or not is_user_frame(caller):
        return None
    # A library that wants a dict key, such as einops, works without one.
    if method == "__hash__" and is_library_frame(caller):
        return None
    expression = rename_size_symbols_to_ours(read_size_expression(size), session.names)
    if expression is None:
        return None
    sizes = session.example if session.branch is None else session.branch.sizes
    try:
        value = compute_value_at(expression, sizes)
    except UnsolvableError as error:
        raise log.record_refusal(_make_error_for_size_of_unknown_value(caller)) from error
    if method in _IN_TEXTS and (output := find_use_of_current_value(caller)):
        if output == "raised":
            log.said.append(describe_line(caller))
        return value
    truth = isinstance(size, torch.SymBool)
    relation = (
        expression if truth and value else sympy.Not(expression) if truth else make_equality_relation(expression, value)
    )
    log.record_question_if_it_varies(
        Question(Condition(relation), True, *read_line_of_module_code(caller), number=True)
    )
    return value


def make_equality_relation(expression: Any, value: Any) -> Any:
    """Return the SymPy relation that an expression equals a number."""
    number = sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
    return sympy.Eq(expression, number, evaluate=False)


def _make_error_for_size_in_other_thread(frame: FrameType) -> ExportError:
    """Return the error for a size that user code in another thread than forward's uses as a plain number."""
    return ExportError(
        f"The module uses a size as a plain number in another thread than forward's: {describe_line(frame)}.",
        "Use sizes only in the thread in which forward runs.",
    )


def _make_error_for_size_of_unknown_value(frame: FrameType) -> ExportError:
    """Return the error for a size that user code needs as a plain number, but whose value cannot be computed."""
    return ExportError(
        "The module uses a size as a plain number, but computes the size in a way that pocketrnn cannot evaluate: "
        f"{describe_line(frame)}.",
        "Compute only with arithmetic and comparisons of sizes. Do not pass sizes to str(), hash() or a dict.",
    )


def record_guard(session: TraceSession, guard: Any, file_number_and_line: tuple[str, int, str] | None = None) -> None:
    """Record in the session's log a guard, which is a restriction on sizes that `torch.export` made, unless it holds
    for all sizes with which a graph is run.

    Args:
        guard: the guard of torch.
        file_number_and_line: the file, the line's number and its text where user code caused the guard; None to look
            them up in the guard.
    """
    condition = session.make_condition_on_sizes(read_guard_relation(guard))
    if condition is None or str(read_guard_relation(guard)) in session.log.answered:
        return
    if file_number_and_line is None:
        file, number = find_guard_location(guard)
        line = linecache.getline(file, number).strip()
        file_number_and_line = (file, number, line) if line and is_user_file(file) else ("", 0, "")
    session.log.record_question_if_it_varies(Question(condition, False, *file_number_and_line))


def record_program_restrictions(session: TraceSession, program: torch.export.ExportedProgram) -> None:
    """Record the conditions on sizes that are known only after the trace: the rows of tables of positions, the step and
    the row that recurrent layers need, the sizes at which a minimum or maximum of sizes changes, and the guards of
    torch.export."""
    _record_limits_of_position_tables(session.log, program)
    environment = None
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if str(node.target).startswith("pocketrnn.recurrence"):
            _record_that_step_and_row_are_needed(session, node.args[0].meta["val"])
        sizes = [value] if isinstance(value, torch.SymInt) else list(value.shape) if isinstance(value, Tensor) else []
        for size in sizes:
            if isinstance(size, torch.SymInt):
                environment = find_shape_environment(size)
                _record_clamps_and_divisors(session, read_size_expression(size))
    for guard in list_guards(environment):
        record_guard(session, guard)


def _record_that_step_and_row_are_needed(session: TraceSession, x: Tensor) -> None:
    """Record that a recurrent layer needs at least one step and one row. x is the layer's input."""
    for size in x.shape[:2]:
        expression = session.express_size_by_batch_and_tokens(size)
        if expression is not None:
            session.log.steps.append(Question(Condition(sympy.Ge(expression, 1)), branch=False))


def _record_limits_of_position_tables(log: TraceLog, program: torch.export.ExportedProgram) -> None:
    """Record for each table that is indexed by positions that a text must have at most as many tokens as the table has
    rows. PyTorch makes no guard for this."""
    counted: set[Any] = set()
    for node in program.graph.nodes:
        name = str(node.target)
        starts = name.startswith("aten.cumsum") or (name.startswith("aten.arange") and node.all_input_nodes)
        if starts or any(source in counted for source in node.all_input_nodes):
            counted.add(node)
        if name.startswith(("aten.embedding", "aten.index.", "aten.index_select", "aten.gather")):
            table, indices = node.args[0], [n for n in node.all_input_nodes[1:] if n in counted]
            value = table.meta.get("val")
            if indices and table not in counted and isinstance(value, Tensor) and isinstance(value.shape[0], int):
                log.record_question_if_it_varies(Question(Condition(sympy.Le(TOKENS, value.shape[0])), False))


def _record_clamps_and_divisors(session: TraceSession, expression: Any) -> None:
    """Record the sizes at which a minimum or maximum in `expression` changes, and the integers by which sizes are
    divided. The module runs at all these sizes, but its graph may be wrong beyond one of them, or for some remainder.
    So the proof compares both there."""
    renamed = rename_size_symbols_to_ours(expression, session.names or {})
    if renamed is None:
        return
    # Sort the set, so that a refusal names the same line each time.
    for clamp in sorted(renamed.atoms(size_functions.Min, size_functions.Max), key=str):
        for first, second in itertools.pairwise(clamp.args):
            relation = sympy.Lt(first, second)
            if relation.free_symbols:
                session.log.record_question_if_it_varies(Question(Condition(relation), False))
    for division in renamed.atoms(size_functions.Mod, size_functions.PythonMod, size_functions.FloorDiv):
        if division.args[1].is_Integer:
            session.log.periods.add(abs(int(division.args[1])))
