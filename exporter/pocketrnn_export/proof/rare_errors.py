"""The errors that only some texts meet and forward catches: `try: F.one_hot(k, 2) except RuntimeError: h = -h`.

A trace meets no error that depends on the values of tensors, so its program holds what forward does without one. So
each call of torch that may fail by what a text holds, and each assert about it, is made to fail while the module runs,
wherever something on the way to forward may catch that. If forward then answers by other operators, the error is an
answer that no graph gives.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.intake.user_frames import is_installed_file, is_users, place_of
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu
from pocketrnn_export.module_runs.operations import SHAPES, Operations, Program, same_program
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.proof.every_step import scripted_as_written
from pocketrnn_export.torch_internals import FunctionMode, flattened
from pocketrnn_export.tracing.rules.asserts import TRUTHS, in_an_assert

__all__ = ["refuse_rare_errors"]

_TEXT: Final = "text"
# Functions that fail by whole numbers: parts of their names, or whole names. `x[i]` fails by `i` and not by `x`.
_INDEXED: Final = ("__getitem__", "__setitem__", "gather", "scatter", "index_", "index.", "take_along", "put_",
                   "nll_loss", "cross_entropy", "margin_loss", "ctc_loss", "unpool", "segment_reduce", "unravel_index",
                   "searchsorted")  # fmt: skip
_INDEXED_NAMES: Final = frozenset({"take", "put"})
# Whole numbers have no quotient by zero.
_DIVIDING: Final = ("floordiv", "floor_divide", "remainder", "fmod", "__mod__", "__imod__", "__rmod__")
# Functions that fail by any of the whole numbers that they are given.
_WHOLE: Final = ("embedding", "one_hot", "bincount", "pack_padded_sequence", "repeat_interleave", "sparse_", "__rfloor",
                 "__rmod__")  # fmt: skip
# Those that fail by numbers of any kind, and those whose result has a size that others fail by.
_ALGEBRA: Final = ("linalg_", "inverse", "cholesky", "svd", "lobpcg", "lstsq")
_ALGEBRA_NAMES: Final = frozenset({"lu", "lu_solve", "lu_unpack", "triangular_solve", "symeig", "matrix_rank"})
_NEVER: Final = frozenset({"linalg_vector_norm", "linalg_norm", "linalg_cross", "linalg_multi_dot", "linalg_matmul",
                           "linalg_vecdot", "linalg_diagonal", "linalg_det", "linalg_slogdet"})  # fmt: skip
_NUMBERS: Final = ("multinomial", "bernoulli", "poisson", "binomial", "binary_cross_entropy", "histc", "histogram",
                   "quantile", "nonzero", "masked_select", "argwhere", "unique", "_assert", "_check")  # fmt: skip
_LEAVES_TORCH: Final = frozenset({"numpy", "__array__", "tolist", "item", "__int__", "__float__", "__index__"})
# The texts that handlers may look for in an error.
_SAID: Final = (
    "index out of range in self: index 7 is out of bounds for dimension 0 with size 2; class values must be smaller "
    "than num_classes; length of all samples has to be greater than 0; the input matrix is singular"
)

# Where a call stands: the code and the place in it of each frame up to forward.
_Site = tuple[tuple[CodeType, int], ...]


@dataclass(frozen=True)
class _Met:
    """A call that may fail: where it stands, that line, and the errors that it may raise."""

    site: _Site
    line: str
    errors: tuple[type[Exception], ...]


@dataclass(frozen=True)
class _Answer:
    """The operators by which a module answers, None where it raises; the errors that it may meet; and the error that it
    was given."""

    program: Program | None
    met: tuple[_Met, ...]
    error: Exception | None


def refuse_rare_errors(module: nn.Module, runs: Sequence[tuple[Tensor, ...]]) -> None:
    """Refuse a module that catches an error which depends on what a text holds, and answers by it.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
        runs: what it takes, at sizes that take all its ways.

    Raises:
        ExportError: it does; names the call and the line that catches its error.
    """
    done: set[tuple[_Site, type[Exception]]] = set()
    for inputs in runs:
        if not _may_catch(module, inputs) or (usual := _answer(module, inputs)).program is None:
            continue
        for met in usual.met:
            for kind in met.errors:
                if (met.site, kind) in done:
                    continue
                done.add((met.site, kind))
                failed = _answer(module, inputs, met.site, kind)
                if failed.error and failed.program is not None and not same_program(usual.program, failed.program):
                    raise _refusal(met, failed.error)


def _refusal(met: _Met, error: Exception) -> ExportError:
    catches = "code around it"
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if is_users(frame) and (line := _catching_line(frame.f_code, trace.tb_lasti)):
            catches = place_of(frame, line)
            break
        trace = trace.tb_next
    if isinstance(error, AssertionError):
        return ExportError(
            f"The module answers some texts by an assert that fails, {met.line}: its error is caught, {catches}.",
            "Take one of two values by the same condition, as in torch.where(rare, one, other), without assert and "
            "try.",
        )
    return ExportError(
        f"The module answers some texts by an error, that of {met.line}, which depends on what a text holds and is "
        f"caught: {catches}.",
        "Leave the try out: bring the numbers into the range that the call takes, such as by clamp, and take one of "
        "two values by torch.where(in_range, one, other).",
    )


def _may_catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a call that may fail by some numbers stands where something may catch that: nearly no module has one."""
    calls = _Calls(None)
    with torch.no_grad(), calls, _surroundings(module):
        _run(copied_again(module), inputs)
    return bool(calls.met)


def _answer(
    module: nn.Module, inputs: tuple[Tensor, ...], site: _Site | None = None, kind: type[Exception] | None = None
) -> _Answer:
    """How a module answers, where the first call at a site raises an error of a kind."""
    operations = Operations()
    operations.label(_TEXT, inputs[0])
    tokens = operations.steps_of(inputs[0])
    calls = _Calls(lambda tensor: _is_made_of(operations, tensor, tokens), site, kind)
    program = None
    with torch.no_grad(), calls, operations, _surroundings(module):
        answer = _run(copied_again(module), inputs)
        answer = answer[0] if isinstance(answer, tuple) else answer
        program = operations.program_of(operations.steps_of(answer), _TEXT)
    return _Answer(program, tuple(calls.met.values()), calls.error)


@contextlib.contextmanager
def _surroundings(module: nn.Module) -> Iterator[None]:
    """The surroundings of a module's run, with compiled and scripted functions as they were written; any error ends the
    block."""
    as_written = torch.compiler.set_stance("force_eager")
    with quietly_on_cpu(), scripted_as_written(module), as_written, contextlib.suppress(Exception, SystemExit):
        yield


def _run(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """The module's output: the frames of its calls end here."""
    return module(*inputs)


def _is_made_of(operations: Operations, tensor: Tensor, tokens: frozenset[int]) -> str:
    """Whether numbers are `made` of a text, are its `ids`, or are neither: an empty string."""
    try:
        if _TEXT not in operations.labels_of(tensor):
            return ""
    except NotImplementedError:
        # Inside of vmap a tensor has no memory that could be looked at.
        return "made"
    return "ids" if operations.without(SHAPES, tensor, _TEXT)[0] <= tokens else "made"


class _Calls(FunctionMode):
    """While it is entered, notes the calls that may fail by a text where something may catch that, and lets one fail.

    Args:
        made: of a tensor, whether its numbers are "made" of a text, are its "ids", or neither; None to take all for
            made of it.
        site, kind: the call that raises, and what.
    """

    def __init__(
        self, made: Callable[[Tensor], str] | None, site: _Site | None = None, kind: type[Exception] | None = None
    ) -> None:
        super().__init__()
        self._made, self._site, self._kind = made or (lambda _: "made"), site, kind
        self.met: dict[_Site, _Met] = {}
        self.error: Exception | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _LEAVES_TORCH and args and self._made(args[0]):
            # A value computed from it outside of torch comes back without a trace.
            self._made = lambda _: "made"
        if errors := _errors_of(name):
            frames = list(_frames(sys._getframe(1)))
            caught = any(_catching_line(frame.f_code, frame.f_lasti) for frame in frames)
            if caught and self._depends(name, args, kwargs) and (name not in TRUTHS or in_an_assert(frames[0])):
                self._note(frames, errors)
        return func(*args, **kwargs)

    def _note(self, frames: Sequence[FrameType], errors: tuple[type[Exception], ...]) -> None:
        site = tuple((frame.f_code, frame.f_lasti) for frame in frames)
        written = [frame for frame in frames if frame.f_code.co_filename != traceable_torchscript.__file__]
        own = next((frame for frame in written if not is_installed_file(frame.f_code.co_filename)), frames[0])
        self.met.setdefault(site, _Met(site, place_of(own), errors))
        if site == self._site and self._kind is not None and self.error is None:
            self.error = self._kind(_SAID)
            raise self.error

    def _depends(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether a call may fail by numbers that are made of a text."""
        given = [tensor for tensor in flattened([args, kwargs])[0] if isinstance(tensor, Tensor)]
        others = [args[1:], {key: value for key, value in kwargs.items() if args or key not in ("input", "self")}]
        if _named(name, _DIVIDING) and any(tensor.is_floating_point() for tensor in given):
            return False
        # A mask takes one number, however much it holds.
        if name == "__setitem__" and not isinstance(args[2], Tensor):
            others = [[one for one in flattened(args[1])[0] if getattr(one, "dtype", None) != torch.bool]]
        of_any_kind = _named(name, (*_NUMBERS, *_ALGEBRA)) or name in {*TRUTHS, *_ALGEBRA_NAMES}
        if "quantile" in name or not (of_any_kind or _named(name, _WHOLE)):
            given = [tensor for tensor in flattened(others)[0] if isinstance(tensor, Tensor)]
        # No text has an id that a table of words has not.
        fails_by = ("made",) if "embedding" in name else ("made", "ids")
        return any((of_any_kind or not one.is_floating_point()) and self._made(one) in fails_by for one in given)


@functools.cache
def _errors_of(name: str) -> tuple[type[Exception], ...]:
    """The errors that a function of torch raises by the values of what it is given; none where it raises none."""
    if name in TRUTHS or name == "_assert":
        return (AssertionError,)
    if name in _NEVER:
        return ()
    if _named(name, _ALGEBRA) or name in _ALGEBRA_NAMES:
        return (torch.linalg.LinAlgError,)  # type: ignore[attr-defined]
    found = _named(name, (*_INDEXED, *_DIVIDING, *_WHOLE, *_NUMBERS)) or name in _INDEXED_NAMES
    return (IndexError, RuntimeError) if found else ()


def _named(name: str, parts: Sequence[str]) -> bool:
    return any(part in name for part in parts)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a module's own code and of libraries, from one up to `_run`: the innermost first."""
    while frame is not None and frame.f_code is not _run.__code__:
        if is_users(frame):
            yield frame
        frame = frame.f_back


def _catching_line(code: CodeType, at: int) -> int | None:
    """The line of what may catch an error that is raised at a place of code: of `except`, `finally` or `with`."""
    target = next((start for first, last, start in _handlers(code) if first <= at < last), None)
    if target is None:
        return None
    lines = [line for line, *_ in list(code.co_positions())[target // 2 : target // 2 + 3] if line is not None]
    return lines[-1] if lines else code.co_firstlineno


@functools.lru_cache(maxsize=512)
def _handlers(code: CodeType) -> tuple[tuple[int, int, int], ...]:
    """The parts of code where an error is handled: where each begins and ends, and where it is handled."""
    entries: Any = getattr(dis.Bytecode(code), "exception_entries", ())
    return tuple((one.start, one.end, one.target) for one in entries)
