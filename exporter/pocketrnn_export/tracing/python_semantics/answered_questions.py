"""Questions of a module about its input's sizes while it is traced: answered, and noted with the line that asked.

They are the truth of a relation (`if x.size(1) > 512`), a size that Python takes for a plain number, and restrictions
by operations of PyTorch. On a `Branch` the questions of the module's own code are answered for its sizes, and restrict
none.
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
from pocketrnn_export.intake.user_frames import (
    asking,
    code_line_of,
    is_library,
    is_users,
    is_users_file,
    place_of,
)
from pocketrnn_export.torch_internals import (
    environment_of,
    expression_of,
    guards_of,
    made_at,
    relation_of,
    size_functions,
    truths_of_sizes,
)
from pocketrnn_export.tracing.python_semantics.sizes_as_plain_numbers import plain_numbers
from pocketrnn_export.tracing.session import TraceSession, current
from pocketrnn_export.tracing.sizes.conditions import TOKENS, Condition, UnsolvableError, renamed_sizes, value_at
from pocketrnn_export.tracing.sizes.printed_sizes import output_of
from pocketrnn_export.tracing.sizes.questions import Question, TraceLog

__all__ = ["equals", "note_guard", "note_program", "sizes_watched"]

# By what a size becomes part of a text: `"%d" % n` asks for an index.
_IN_TEXTS: Final = frozenset({"__repr__", "__str__", "__format__", "__index__", "__int__", "__float__"})


@contextlib.contextmanager
def sizes_watched(session: TraceSession) -> Iterator[None]:
    """While the block runs, questions about sizes are answered and noted; at its end, what the trace restricts."""

    with truths_of_sizes(functools.partial(_answer, session)):
        try:
            with plain_numbers(functools.partial(_plain_number, session)):
                yield
        finally:
            # A trace that failed has told why: among its guards are the sizes that it took for plain numbers.
            for guard in guards_of(session.environment):
                note_guard(session, guard)


def _answer(session: TraceSession, asked: Any, shipped: Callable[[Any], bool]) -> bool:
    """`bool(size > 512)` while tracing: what the trace is to assume, noted if the module's own code asked."""
    log, frame = session.log, asking(sys._getframe(2))
    if current() is not session or session.names is None or frame is None or not is_users(frame):
        return shipped(asked)
    condition = session.condition(expression_of(asked))
    if condition is None:
        try:
            return shipped(asked)
        except Exception:
            log.raised.append(place_of(frame))
            raise
    question = Question(condition, True, *code_line_of(frame))
    if not log.note(question):
        return shipped(asked)
    if session.branch is not None:
        return question.holds(session.branch.sizes)
    guards = guards_of(session.environment)
    before = len(guards)
    answer = shipped(asked)
    # The answer restricts sizes; that is this question again, or its opposite.
    log.answered.update(str(relation_of(guard)) for guard in guards[before:])
    return answer


def _plain_number(session: TraceSession, size: Any, frame: FrameType, method: str) -> Any:
    """The plain number that Python takes a size for: that of the branch. It is noted as a question, is it this one?"""
    log, caller = session.log, asking(frame)
    if current() is None and caller is not None and is_users(caller):
        raise log.refuse(_in_a_thread(caller))
    if current() is not session or session.names is None or caller is None or not is_users(caller):
        return None
    # A library that wants a key goes on without one, such as einops.
    if method == "__hash__" and is_library(caller):
        return None
    expression = renamed_sizes(expression_of(size), session.names)
    if expression is None:
        return None
    sizes = session.example if session.branch is None else session.branch.sizes
    try:
        value = value_at(expression, sizes)
    except UnsolvableError as error:
        raise log.refuse(_not_a_number(caller)) from error
    if method in _IN_TEXTS and (output := output_of(caller)):
        if output == "raised":
            log.said.append(place_of(caller))
        return value
    truth = isinstance(size, torch.SymBool)
    relation = expression if truth and value else sympy.Not(expression) if truth else equals(expression, value)
    log.note(Question(Condition(relation), True, *code_line_of(caller), number=True))
    return value


def equals(expression: Any, value: Any) -> Any:
    """That an expression is a number."""
    number = sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
    return sympy.Eq(expression, number, evaluate=False)


def _in_a_thread(frame: FrameType) -> ExportError:
    return ExportError(
        f"The module takes a size for a plain number in another thread than its forward's: {place_of(frame)}.",
        "Ask about sizes in forward itself, or compare them with numbers.",
    )


def _not_a_number(frame: FrameType) -> ExportError:
    return ExportError(
        f"The module takes a size for a plain number that is not known: {place_of(frame)}.",
        "Compute with sizes, and give none to str(), hash() or a table.",
    )


def note_guard(session: TraceSession, guard: Any, asked_at: tuple[str, int, str] | None = None) -> None:
    """Note a restriction that `torch.export` has made, unless it holds for all sizes that a graph is run with."""
    condition = session.condition(relation_of(guard))
    if condition is None or str(relation_of(guard)) in session.log.answered:
        return
    if asked_at is None:
        file, number = made_at(guard)
        line = linecache.getline(file, number).strip()
        asked_at = (file, number, line) if line and is_users_file(file) else ("", 0, "")
    session.log.note(Question(condition, False, *asked_at))


def note_program(session: TraceSession, program: torch.export.ExportedProgram) -> None:
    """Note what a traced program restricts beside: guards that no operation was seen to make, and its clamps."""
    _note_position_tables(session.log, program)
    environment = None
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if str(node.target).startswith("pocketrnn.recurrence"):
            _note_steps(session, node.args[0].meta["val"])
        sizes = [value] if isinstance(value, torch.SymInt) else list(value.shape) if isinstance(value, Tensor) else []
        for size in sizes:
            if isinstance(size, torch.SymInt):
                environment = environment_of(size)
                _note_clamps(session, expression_of(size))
    for guard in guards_of(environment):
        note_guard(session, guard)


def _note_steps(session: TraceSession, x: Tensor) -> None:
    for size in x.shape[:2]:
        expression = session.renamed(size)
        if expression is not None:
            session.log.steps.append(Question(Condition(sympy.Ge(expression, 1)), branch=False))


def _note_position_tables(log: TraceLog, program: torch.export.ExportedProgram) -> None:
    """A table that positions look up ends somewhere, and PyTorch fails beyond; no guard says so."""
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
                log.note(Question(Condition(sympy.Le(TOKENS, value.shape[0])), False))


def _note_clamps(session: TraceSession, expression: Any) -> None:
    """A Min or a Max restricts nothing; but where its arguments meet, a graph has something to get wrong. So it has at
    each remainder of a division."""
    renamed = renamed_sizes(expression, session.names or {})
    if renamed is None:
        return
    # A set has no order: sorted, so that a refusal names the same line each time.
    for clamp in sorted(renamed.atoms(size_functions.Min, size_functions.Max), key=str):
        for first, second in itertools.pairwise(clamp.args):
            relation = sympy.Lt(first, second)
            if relation.free_symbols:
                session.log.note(Question(Condition(relation), False))
    for division in renamed.atoms(size_functions.Mod, size_functions.PythonMod, size_functions.FloorDiv):
        if division.args[1].is_Integer:
            session.log.periods.add(abs(int(division.args[1])))
