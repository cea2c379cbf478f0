"""What a module asks about the sizes of its input while it is traced, and cuts that hold for every size.

`torch.export` follows one branch: each question about a size (`if x.size(1) > 512`, the end of a slice, the number of
chunks of a split) is answered for the example, and the answer restricts the sizes that the traced program is right for.
While a module is traced, `watched` notes every such question with the line of the module that asked it. On a
`Branch` it also

- answers the questions of the module's own code for chosen sizes, without restricting anything;
- runs slices, `narrow` and `split` along such an axis as `pocketrnn::cut`, one Slice of ONNX, which holds for every
  size because it clamps its ends, as PyTorch does. `x[:, :512]` is then right at 600 steps (2e-7) where the plain trace
  is 0.6 off.

Which of these programs is right where is another matter: see `pocketrnn_export.tracing.restrictions`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

import sympy
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pocketrnn.errors import ExportError
from pocketrnn_export.tracing.conditions import (
    BATCH,
    TOKENS,
    Condition,
    Sizes,
    UnsolvableError,
    renamed_sizes,
    value_at,
)
from pocketrnn_export.tracing.identity import compared_by_identity
from pocketrnn_export.tracing.output_only import output_of
from pocketrnn_export.tracing.plain_numbers import plain_numbers
from pocketrnn_export.tracing.torch_internals import (
    environment_of,
    expression_of,
    guards_of,
    hint_of,
    made_at,
    relation_of,
    statically_known_true,
    symbol_of,
    truths_of_sizes,
)
from pocketrnn_export.tracing.torch_internals import size_functions as of_torch
from pocketrnn_export.tracing.users_code import (
    OWN,
    asking,
    code_line_of,
    is_library,
    is_users,
    is_users_file,
    line_of,
    place_of,
)

__all__ = [
    "CUT",
    "CUT_TO_LONGEST",
    "SIZE",
    "Branch",
    "Question",
    "TraceLog",
    "cut_to_longest",
    "errors_in",
    "given_whole",
    "note_guard",
    "note_program",
    "watched",
]

# What ONNX's Slice takes for "to the end".
_END: Final = 2**62


# torch does not annotate these.
_sym_min: Callable[..., Any] = torch.sym_min
_sym_max: Callable[..., Any] = torch.sym_max
_sym_ite: Callable[..., Any] = torch.sym_ite


@torch.library.custom_op("pocketrnn::cut", mutates_args=())
def _cut(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """`x[start:end:step]` along an axis, its ends clamped as Python and ONNX clamp them."""
    raise NotImplementedError("pocketrnn::cut exists to be traced, not to be run")


@_cut.register_fake
def _(x: Tensor, axis: int, start: Any, end: Any, step: int) -> Tensor:
    size = x.shape[axis]

    def clamped(index: Any) -> Any:
        """`index` as a position in 0..size; a size minus something may be negative, and then counts from the end."""
        if not isinstance(index, torch.SymInt):
            return _sym_min(index, size) if index >= 0 else _sym_max(size + index, 0)
        if statically_known_true(index >= 0):
            return _sym_min(index, size)
        from_end = _sym_max(size + index, 0)
        return _sym_ite(index >= 0, _sym_min(index, size), from_end)

    first, last = clamped(start), size if isinstance(end, int) and end >= _END else clamped(end)
    length = last if isinstance(first, int) and first == 0 else _sym_max(last - first, 0)
    if step != 1:
        length = (length + step - 1) // step
    return x.new_empty([length if i == axis else other for i, other in enumerate(x.shape)])


@torch.library.custom_op("pocketrnn::size", mutates_args=())
def _size(x: Tensor, axis: int) -> Tensor:
    """The size of an axis as a tensor int64 [], which torch.export makes no constant of."""
    raise NotImplementedError("pocketrnn::size exists to be traced, not to be run")


@_size.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    del axis
    return x.new_empty((), dtype=torch.int64)


@torch.library.custom_op("pocketrnn::cut_to_longest", mutates_args=())
def _cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """x [sequence, batch, ...] up to the largest of the lengths [batch]."""
    raise NotImplementedError("pocketrnn::cut_to_longest exists to be traced, not to be run")


@_cut_to_longest.register_fake
def _(x: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    return x.new_empty((torch.library.get_ctx().new_dynamic_size(min=1), *x.shape[1:]))


CUT_TO_LONGEST: Final = torch.ops.pocketrnn.cut_to_longest.default
CUT: Final = torch.ops.pocketrnn.cut.default
SIZE: Final = torch.ops.pocketrnn.size.default


@dataclass(frozen=True)
class Question:
    """Something that a module, or PyTorch on its behalf, asked about sizes while it was traced.

    Attributes:
        condition: what was asked.
        branch: whether the module's own code asked, rather than an operation that it called.
        file, line, source: where in the module's code; empty, 0 and empty where that is not known.
        number: whether Python took a size for a plain number: the condition is that it is this one.
    """

    condition: Condition
    branch: bool
    file: str = ""
    line: int = 0
    source: str = ""
    number: bool = False

    def holds(self, sizes: Sizes) -> bool:
        """The answer for these sizes."""
        return self.condition.holds(sizes)

    @property
    def where(self) -> str:
        """The line of the module's code, as one shows it in an error."""
        return f"{self.file}:{self.line}: `{self.source}`" if self.line else "a line that is not known"


@dataclass(frozen=True)
class Branch:
    """What a general trace assumes.

    Attributes:
        sizes: branches on a size are answered for these, without a restriction.
        pads_from_zero: take the amounts of `F.pad` as at least 0. On the path of `if size < n` they are, and the pad
            then does nothing on longer texts, as the module does.
        least, most: the tokens of the sizes that take this branch. Where two branches are computed and one answer is
            taken, each is given tokens of its own sizes, since it may fail on others.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    least: int | None = None
    most: int | None = None

    def fitted(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The inputs, padded to `least` tokens or cut to `most`: the same for sizes that take this branch."""
        tokens, *second = inputs
        if self.most is not None:
            tokens = CUT(tokens, 1, 0, self.most, 1)
            second = [value.clamp(max=self.most) if value.dim() == 1 else value for value in second]
        if self.least is not None:
            tokens = nn.functional.pad(tokens, (0, _sym_max(self.least - tokens.shape[1], 0)))
        return (tokens, *second)


@dataclass
class TraceLog:
    """What a trace has shown so far.

    Attributes:
        questions: each once.
        raised: the lines whose torch functions raised an error.
        pads: how many pads by a size it met.
        counted_lengths: whether the module unpacks by lengths that it was not given.
        steps: whether each recurrent layer has a row and a step. onnxruntime ends the process where one has none.
        answered: restrictions that answer a question of the module's own.
        refused: why a question cannot be answered, however the module goes on.
        said: lines that made the text of a size for an error to be raised.
        periods: what sizes are divided by.
    """

    questions: list[Question] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    pads: int = 0
    counted_lengths: bool = False
    steps: list[Question] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    refused: list[ExportError] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    periods: set[int] = field(default_factory=set)

    def note(self, question: Question) -> bool:
        """Note a question that has more than one answer among the sizes that a graph is run with; whether it has.

        Of an operation's own, one that cannot be solved has none.

        Raises:
            ExportError: that cannot be found out.
        """
        try:
            varies = question.condition.varies
        except UnsolvableError as error:
            if not question.branch:
                return False
            self.refused.append(
                ExportError(
                    f"The module asks about a size what cannot be solved, {error}: {question.where}.",
                    "Ask by sums, products, whole divisions and comparisons with plain numbers.",
                )
            )
            raise self.refused[-1] from error
        if varies and all(known.condition != question.condition for known in self.questions):
            self.questions.append(question)
        return varies

    def check_answered(self) -> None:
        """Refuse a trace that came to its end, but asked what has no answer.

        Raises:
            ExportError: it asked what could not be answered, and went on after the error.
        """
        if self.refused:
            raise self.refused[0]
        if self.said:
            raise ExportError(
                f"The module raises an error with a size in its text, and catches it: {self.said[0]}.",
                "Ask about the size itself, as in x.size(1) > 512.",
            )


class _Watching(threading.local):
    """What the tracing thread knows; every other thread sees `seen` None and PyTorch as it is."""

    log: TraceLog | None = None
    names: dict[str, str] | None = None
    branch: Branch | None = None
    # The sizes of the example.
    example: Sizes = Sizes(3, 7)
    environment: Any = None
    # The lengths that the module was given, and what keeps the longest of them.
    given: tuple[Tensor, ...] = ()
    cut_counted: bool = True


_watching = _Watching()


@contextlib.contextmanager
def watched(
    module: nn.Module,
    log: TraceLog,
    branches: Sequence[Branch] = (),
    choices: Sequence[Condition] = (),
    *,
    cut_counted: bool = True,
) -> Iterator[None]:
    """While the block runs, note what the forward of `module` asks about sizes in this thread.

    Args:
        module: a copy to be traced; its `forward` is wrapped, and given back after.
        log: what is noted.
        branches: one branch to trace in general; several, of which each but the first is taken where its choice
            holds; or none, to trace as torch.export does.
        choices: what chooses each path but the first.
        cut_counted: whether `cut_to_longest` cuts.
    """
    forward = module.forward
    own = "forward" in module.__dict__

    @functools.wraps(forward)
    def watched_forward(*args: Any, **kwargs: Any) -> Any:
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        _watching.names, _watching.example = _names_of_sizes(inputs), _sizes_of(inputs[0])
        _watching.environment = _environment(inputs)
        _watching.given, _watching.cut_counted = tuple(inputs[1:2]), cut_counted
        answers = []
        for branch in branches or (None,):
            _watching.branch = branch
            fitted = args
            if branch is not None and (branch.least is not None or branch.most is not None):
                fitted = branch.fitted(args)
                _watching.given += tuple(fitted[1:2])
            with _Operations(log, branch):
                answers.append(forward(*fitted, **kwargs))
        answer = answers[0]
        if choices:
            batch, tokens = SIZE(inputs[0], 0), SIZE(inputs[0], 1)
            for condition, other in zip(choices, answers[1:], strict=True):
                answer = torch.where(condition.over(batch, tokens), other, answer)
        return answer

    _watching.log, _watching.branch, _watching.names, _watching.environment = log, None, None, None
    module.forward = watched_forward
    noticed = functools.partial(_note_identity, log)
    try:
        with truths_of_sizes(_answer):
            try:
                with plain_numbers(_plain_number), compared_by_identity(module, noticed):
                    yield
            finally:
                # A trace that failed has told why: among its guards are the sizes that it took for plain numbers.
                for guard in guards_of(_watching.environment):
                    note_guard(log, guard)
    finally:
        _watching.log = _watching.branch = _watching.names = _watching.environment = None
        _watching.given = ()
        if own:
            module.forward = forward
        else:
            del module.__dict__["forward"]


def _names_of_sizes(inputs: list[Tensor]) -> dict[str, str]:
    """Which symbols are the batch and the tokens: every input's first axis is the batch, the tokens' second theirs."""
    names: dict[str, str] = {}
    for axis, name in ((0, "batch"), (1, "tokens")):
        for value in inputs[:1] if axis else inputs:
            size = value.shape[axis] if value.dim() > axis else None
            if isinstance(size, torch.SymInt):
                names[symbol_of(size)] = name
    return names


def _sizes_of(tokens: Tensor) -> Sizes:
    """The sizes of an example, which its symbols stand for."""
    return Sizes(*(hint_of(size) if isinstance(size, torch.SymInt) else size for size in tokens.shape[:2]))


def _renamed(size: Any) -> Any:
    """A size as an expression of `batch` and `tokens`; None where it is none, or depends on something else."""
    return renamed_sizes(expression_of(size), _watching.names or {}) if isinstance(size, torch.SymInt) else None


def _condition(relation: Any) -> Condition | None:
    """A relation of torch's as one of `batch` and `tokens`; None where it depends on something else too, or on none."""
    renamed = renamed_sizes(relation, _watching.names or {})
    return None if renamed is None else Condition(renamed)


def _answer(asked: Any, shipped: Callable[[Any], bool]) -> bool:
    """`bool(size > 512)` while tracing: what the trace is to assume, noted if the module's own code asked."""
    log, frame = _watching.log, asking(sys._getframe(2))
    if log is None or _watching.names is None or frame is None or not is_users(frame):
        return shipped(asked)
    condition = _condition(expression_of(asked))
    if condition is None:
        try:
            return shipped(asked)
        except Exception:
            log.raised.append(place_of(frame))
            raise
    question = Question(condition, True, *code_line_of(frame))
    if not log.note(question):
        return shipped(asked)
    if _watching.branch is not None:
        return question.holds(_watching.branch.sizes)
    guards = guards_of(_watching.environment)
    before = len(guards)
    answer = shipped(asked)
    # The answer restricts sizes; that is this question again, or its opposite.
    log.answered.update(str(relation_of(guard)) for guard in guards[before:])
    return answer


def _plain_number(size: Any, frame: FrameType, method: str) -> Any:
    """The plain number that Python takes a size for: that of the branch. It is noted as a question, is it this one?"""
    log, caller = _watching.log, asking(frame)
    if log is None or _watching.names is None or caller is None or not is_users(caller):
        return None
    # A library that wants a key goes on without one, such as einops.
    if method == "__hash__" and is_library(caller):
        return None
    expression = renamed_sizes(expression_of(size), _watching.names)
    if expression is None:
        return None
    sizes = _watching.example if _watching.branch is None else _watching.branch.sizes
    try:
        value = value_at(expression, sizes)
    except UnsolvableError as error:
        log.refused.append(_not_a_number(caller))
        raise log.refused[-1] from error
    if method in {"__repr__", "__str__", "__format__"} and (output := output_of(caller)):
        if output == "raised":
            log.said.append(place_of(caller))
        return value
    truth = isinstance(size, torch.SymBool)
    relation = expression if truth and value else sympy.Not(expression) if truth else _equals(expression, value)
    log.note(Question(Condition(relation), True, *code_line_of(caller), number=True))
    return value


def _equals(expression: Any, value: Any) -> Any:
    number = sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
    return sympy.Eq(expression, number, evaluate=False)


def _note_identity(log: TraceLog, frame: FrameType) -> None:
    log.refused.append(
        ExportError(
            f"The module compares a number by `is`, which a trace answers otherwise than a run: {place_of(frame)}.",
            "Compare numbers with ==.",
        )
    )


def _not_a_number(frame: FrameType) -> ExportError:
    return ExportError(
        f"The module takes a size for a plain number that is not known: {place_of(frame)}.",
        "Compute with sizes, and give none to str(), hash() or a table.",
    )


# What leaves the longest of some lengths as it is.
_KEEP_LONGEST: Final = frozenset(
    {"cpu", "to", "long", "int", "clone", "detach", "contiguous", "view", "reshape", "flatten", "sort", "index_select",
     "tolist", "type", "flip", "squeeze"}
)  # fmt: skip


def _kept_longest(func: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Note a result that has the longest of the given lengths for its longest; gives the result."""
    if not _watching.given or not args or not any(args[0] is given for given in _watching.given):
        return result
    name = getattr(func, "__name__", "")
    reordered = name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.int64
    at_least_1 = name in {"clamp", "clamp_min"} and (*args[1:], *kwargs.values()) in {(0,), (1,)}
    at_least_1 = at_least_1 and "max" not in kwargs
    if name in _KEEP_LONGEST or reordered or at_least_1:
        kept = result[0] if isinstance(result, tuple) else result
        if isinstance(kept, Tensor):
            _watching.given += (kept,)
    return result


def given_whole(lengths: Tensor) -> Tensor:
    """While tracing, take `lengths` for lengths that have the whole width for their longest; gives them back."""
    _watching.given += (lengths,)
    return lengths


def cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """While tracing, x [sequence, batch, ...] up to the longest of the lengths that a module packs by, as PyTorch cuts.

    The lengths that a module is given have the whole width for their longest, so that nothing is to be cut. Those that
    it counts from the tokens, or clamps, may all be shorter.
    """
    if _watching.log is None or any(lengths is given for given in _watching.given):
        return x
    _watching.log.counted_lengths = True
    return CUT_TO_LONGEST(x, lengths) if _watching.cut_counted else x


def errors_in(module: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """The errors that torch functions raise in the forward of a module when it runs, which it catches: their lines."""
    log = TraceLog()
    with _Operations(log, None):
        module(*inputs)
    return log.raised


class _Operations(TorchFunctionMode):
    """Sees every torch function that a module calls; notes what each restricts, and makes cuts general."""

    def __init__(self, log: TraceLog, branch: Branch | None) -> None:
        super().__init__()
        self.log, self.branch = log, branch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        environment = _environment(args)
        before = len(guards_of(environment))
        try:
            rewritten = _GENERAL.get(getattr(func, "__name__", ""))
            if self.branch is not None and rewritten is not None:
                result = rewritten(self, *args, **kwargs)
                if result is not NotImplemented:
                    return result
            return _kept_longest(func, args, kwargs, func(*args, **kwargs))
        except Exception:
            caller: FrameType | None = sys._getframe(1)
            while caller is not None and caller.f_code.co_filename.startswith(OWN):
                caller = caller.f_back
            if caller is not None and is_users(caller):
                self.log.raised.append(place_of(caller))
            raise
        finally:
            if made := guards_of(environment)[before:]:
                self._note(made)

    def _note(self, guards: list[Any]) -> None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and not is_users(frame):
            frame = frame.f_back
        for guard in guards:
            note_guard(self.log, guard, line_of(frame) if frame is not None else None)


def note_guard(log: TraceLog, guard: Any, asked_at: tuple[str, int, str] | None = None) -> None:
    """Note a restriction that `torch.export` has made, unless it holds for all sizes that a graph is run with."""
    condition = _condition(relation_of(guard))
    if condition is None or str(relation_of(guard)) in log.answered:
        return
    if asked_at is None:
        file, number = made_at(guard)
        line = linecache.getline(file, number).strip()
        asked_at = (file, number, line) if line and is_users_file(file) else ("", 0, "")
    log.note(Question(condition, False, *asked_at))


def note_program(log: TraceLog, program: torch.export.ExportedProgram) -> None:
    """Note what a traced program restricts beside: guards that no operation was seen to make, and its clamps."""
    _note_position_tables(log, program)
    environment = None
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if str(node.target).startswith("pocketrnn.recurrence"):
            _note_steps(log, node.args[0].meta["val"])
        sizes = [value] if isinstance(value, torch.SymInt) else list(value.shape) if isinstance(value, Tensor) else []
        for size in sizes:
            if isinstance(size, torch.SymInt):
                environment = environment_of(size)
                _note_clamps(log, expression_of(size))
    for guard in guards_of(environment):
        note_guard(log, guard)


def _note_steps(log: TraceLog, x: Tensor) -> None:
    for size in x.shape[:2]:
        expression = _renamed(size)
        if expression is not None:
            log.steps.append(Question(Condition(sympy.Ge(expression, 1)), branch=False))


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


def _note_clamps(log: TraceLog, expression: Any) -> None:
    """A Min or a Max restricts nothing; but where its arguments meet, a graph has something to get wrong. So it has at
    each remainder of a division."""
    renamed = renamed_sizes(expression, _watching.names or {})
    if renamed is None:
        return
    for clamp in renamed.atoms(of_torch.Min, of_torch.Max):
        for first, second in itertools.pairwise(clamp.args):
            relation = sympy.Lt(first, second)
            if relation.free_symbols:
                log.note(Question(Condition(relation), False))
    for division in renamed.atoms(of_torch.Mod, of_torch.PythonMod, of_torch.FloorDiv):
        if division.args[1].is_Integer:
            log.periods.add(abs(int(division.args[1])))


def _environment(args: Any) -> Any:
    for value in args[0] if args and isinstance(args[0], (list, tuple)) else args[:1]:
        if isinstance(value, Tensor):
            for size in value.shape:
                if isinstance(size, torch.SymInt):
                    return environment_of(size)
    return None


def _getitem(_: _Operations, /, x: Any, index: Any) -> Any:
    """`x[:, 2:n]` with its slices as cuts, and the rest of the index as it is."""
    parts = index if isinstance(index, tuple) else (index,)
    if not isinstance(x, Tensor) or not any(isinstance(part, slice) for part in parts):
        return NotImplemented
    axes = _axes_of(parts, x.dim())
    if axes is None:
        return NotImplemented
    rest, changed = list(parts), False
    for i, axis in enumerate(axes):
        part = parts[i]
        if axis is None or not isinstance(part, slice):
            continue
        numbers = (part.start, part.stop, part.step)
        if numbers[:2] == (None, None) or not all(n is None or isinstance(n, (int, torch.SymInt)) for n in numbers):
            continue
        if not any(isinstance(n, torch.SymInt) for n in (x.shape[axis], *numbers)) or not isinstance(
            part.step or 1, int
        ):
            continue
        start = 0 if part.start is None else part.start
        x = CUT(x, axis, start, _END if part.stop is None else part.stop, part.step or 1)
        rest[i], changed = slice(None), True
    if not changed:
        return NotImplemented
    if all((isinstance(part, slice) and part == slice(None)) or part is Ellipsis for part in rest):
        return x
    return x[tuple(rest)]


def _axes_of(parts: tuple[Any, ...], dimensions: int) -> list[int | None] | None:
    """The axis that each part of an index stands at; None for parts that take none or several."""
    taken = sum(
        part.dim() if isinstance(part, Tensor) and part.dtype == torch.bool else 1
        for part in parts
        if part is not None and part is not Ellipsis
    )
    if any(isinstance(part, bool) for part in parts):
        return None
    axes: list[int | None] = []
    axis = 0
    for part in parts:
        if part is None:
            axes.append(None)
        elif part is Ellipsis:
            axes.append(None)
            axis += dimensions - taken
        else:
            axes.append(axis)
            axis += part.dim() if isinstance(part, Tensor) and part.dtype == torch.bool else 1
    return axes


def _narrow(_: _Operations, /, x: Tensor, dim: int, start: Any, length: Any) -> Any:
    dim %= x.dim()
    if not isinstance(start, (int, torch.SymInt)) or not any(
        isinstance(n, torch.SymInt) for n in (x.shape[dim], start, length)
    ):
        return NotImplemented
    if isinstance(start, int) and start < 0:
        start = x.shape[dim] + start
    return CUT(x, dim, start, start + length, 1)


def _split(_: _Operations, /, x: Tensor, split_size: Any = None, dim: int = 0, **kwargs: Any) -> Any:
    """A split whose number of chunks depends on a size, as a single chunk of everything.

    That is right where the chunks are treated alike and put together again; the comparison with the module tells.
    """
    split_size = kwargs.get("split_size_or_sections", split_size)
    if not isinstance(split_size, int) or not isinstance(x.shape[dim], torch.SymInt):
        return NotImplemented
    return (x,)


def _chunk(operations: _Operations, /, x: Tensor, chunks: Any, dim: int = 0) -> Any:
    """Chunks as cuts of equal width. There are as many as for the sizes of the branch, which is a question of its
    own."""
    size = x.shape[dim]
    expression = _renamed(size)
    if not isinstance(chunks, int) or expression is None or operations.branch is None:
        return NotImplemented
    if expression == BATCH:
        return (x,)
    width = of_torch.FloorDiv(expression + (chunks - 1), chunks)
    count = of_torch.FloorDiv(expression + width - 1, width)
    many = int(value_at(count, operations.branch.sizes))
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    operations.log.note(Question(Condition(_equals(count, many)), True, *line_of(frame)))
    step = (size + chunks - 1) // chunks
    return tuple(CUT(x, dim % x.dim(), i * step, (i + 1) * step, 1) for i in range(many))


def _pad(operations: _Operations, /, x: Tensor, pad: Any, *rest: Any, **kwargs: Any) -> Any:
    unknown = [amount for amount in pad if isinstance(amount, torch.SymInt)]
    if not unknown:
        return NotImplemented
    operations.log.pads += 1
    if operations.branch is None or not operations.branch.pads_from_zero:
        return NotImplemented
    return nn.functional.pad(x, [_from_zero(n) for n in pad], *rest, **kwargs)


def _of_shape(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a tensor of a size: PyTorch fails where that is negative, so that 0 is as good there."""

    def general(_: _Operations, /, *args: Any, **kwargs: Any) -> Any:
        shape = [*args, *(part for arg in args if isinstance(arg, (tuple, list)) for part in arg)]
        if not any(isinstance(part, torch.SymInt) for part in shape):
            return NotImplemented
        from_zero = [type(arg)(map(_from_zero, arg)) if type(arg) in (tuple, list) else _from_zero(arg) for arg in args]
        return function(*from_zero, **kwargs)

    return general


def _from_zero(size: Any) -> Any:
    if not isinstance(size, torch.SymInt) or statically_known_true(size >= 0):
        return size
    return _sym_max(size, 0)


_GENERAL: Final[dict[str, Callable[..., Any]]] = {
    "__getitem__": _getitem,
    "narrow": _narrow,
    "split": _split,
    "chunk": _chunk,
    "pad": _pad,
    **{name: _of_shape(getattr(torch, name)) for name in ("zeros", "ones", "empty")},
    **{name: _of_shape(getattr(Tensor, name)) for name in ("new_zeros", "new_ones", "repeat")},
}
