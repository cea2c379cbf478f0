"""Refuse a module whose forward catches an error that only some texts cause: `try: F.one_hot(k, 2) except RuntimeError:
h = -h`.

A trace meets no error that depends on the values of tensors, so its program holds the code without an error. So each
torch call that may fail by the contents of a text, and each assert about them, is made to fail while the module runs,
wherever a caller up to forward may catch the error. If forward then answers by other operators, a graph cannot give
that answer.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.intake.user_code_lines_for_messages import describe_line, is_installed_file, is_user_frame
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.operator_recording import (
    SHAPES,
    OperatorRecorder,
    Program,
    find_first_different_operator,
)
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.proof.scripted_functions_as_python import use_python_originals_of_scripted_functions
from pocketrnn_export.torch_internals import FunctionMode, flatten_tree
from pocketrnn_export.tracing.rules.asserts_and_equality_tests import TRUTHS, is_in_assert

_TEXT: Final = "text"
# Functions that fail by integer indices: parts of their names, or whole names. `x[i]` fails by `i` and not by `x`.
_INDEXED: Final = ("__getitem__", "__setitem__", "gather", "scatter", "index_", "index.", "take_along", "put_",
                   "nll_loss", "cross_entropy", "margin_loss", "ctc_loss", "unpool", "segment_reduce", "unravel_index",
                   "searchsorted")  # fmt: skip
_INDEXED_NAMES: Final = frozenset({"take", "put"})
# Functions that fail when an integer is divided by zero.
_DIVIDING: Final = ("floordiv", "floor_divide", "remainder", "fmod", "__mod__", "__imod__", "__rmod__")
# Functions that fail by any of their integer arguments.
_WHOLE: Final = ("embedding", "one_hot", "bincount", "pack_padded_sequence", "repeat_interleave", "sparse_", "__rfloor",
                 "__rmod__")  # fmt: skip
# Functions that fail by numbers of any kind, and functions whose result has a size by which others fail.
_ALGEBRA: Final = ("linalg_", "inverse", "cholesky", "svd", "lobpcg", "lstsq")
_ALGEBRA_NAMES: Final = frozenset({"lu", "lu_solve", "lu_unpack", "triangular_solve", "symeig", "matrix_rank"})
_NEVER: Final = frozenset({"linalg_vector_norm", "linalg_norm", "linalg_cross", "linalg_multi_dot", "linalg_matmul",
                           "linalg_vecdot", "linalg_diagonal", "linalg_det", "linalg_slogdet"})  # fmt: skip
_NUMBERS: Final = ("multinomial", "bernoulli", "poisson", "binomial", "binary_cross_entropy", "histc", "histogram",
                   "quantile", "nonzero", "masked_select", "argwhere", "unique", "_assert", "_check")  # fmt: skip
_LEAVES_TORCH: Final = frozenset({"numpy", "__array__", "tolist", "item", "__int__", "__float__", "__index__"})
# The messages that handlers may search for in an error.
_SAID: Final = (
    "index out of range in self: index 7 is out of bounds for dimension 0 with size 2; class values must be smaller "
    "than num_classes; length of all samples has to be greater than 0; the input matrix is singular"
)

# The place of a call: the code and the instruction of each frame up to forward.
_Site = tuple[tuple[CodeType, int], ...]
# Offsets in a function's code: the start and the end of a range, and the code that handles the errors of the range.
_HandlerOffsets = tuple[int, int, int]


@dataclass(frozen=True)
class _FailingCall:
    """A call that may fail for some texts: its position in the code, its line, and the errors that it may raise."""

    site: _Site
    line: str
    errors: tuple[type[Exception], ...]


@dataclass(frozen=True)
class _Answer:
    """One run of a module: the operators that compute its answer (None if the run failed), the calls that may fail, and
    the error that one of them raised."""

    program: Program | None
    met: tuple[_FailingCall, ...]
    error: Exception | None


def refuse_caught_errors_of_rare_texts(module: nn.Module, inputs_to_try: Sequence[tuple[Tensor, ...]]) -> None:
    """Raise an ExportError if a module's forward catches an error that only some texts cause, and then computes its
    answer by other operators: `try: F.one_hot(k, 2) except RuntimeError: h = -h`.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
        inputs_to_try: inputs whose sizes lead through all branches of forward.
    """
    done: set[tuple[_Site, type[Exception]]] = set()
    for inputs in inputs_to_try:
        if (
            not _calls_what_may_fail_in_catching_code(module, inputs)
            or (usual := _run_with_injected_error(module, inputs)).program is None
        ):
            continue
        for met in usual.met:
            for kind in met.errors:
                if (met.site, kind) in done:
                    continue
                done.add((met.site, kind))
                failed = _run_with_injected_error(module, inputs, met.site, kind)
                if (
                    failed.error
                    and failed.program is not None
                    and find_first_different_operator(usual.program, failed.program) is not None
                ):
                    raise _make_caught_error_refusal(met, failed.error)


def _make_caught_error_refusal(call: _FailingCall, error: Exception) -> ExportError:
    """Make the ExportError for a module that catches the error of a call. Its message names the line of the call and
    the line that catches the error.

    Args:
        call: the call that may fail for some texts.
        error: the error that the module caught, with its traceback.
    """
    catches = "code around the call"
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if is_user_frame(frame) and (line := _find_catching_line(frame.f_code, trace.tb_lasti)):
            catches = describe_line(frame, line)
            break
        trace = trace.tb_next
    if isinstance(error, AssertionError):
        return ExportError(
            f"An assert of the module fails for some texts, {call.line}, and the module catches the error: {catches}.",
            "Remove the assert and the try. Choose between two values by the same condition: "
            "torch.where(rare, one, other).",
        )
    return ExportError(
        f"The module raises an error for some texts only, {call.line}, and catches the error: {catches}.",
        "Remove the try. Bring the numbers into the range that the call accepts, for instance with clamp, and choose "
        "between two values with torch.where(in_range, one, other).",
    )


def _calls_what_may_fail_in_catching_code(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Run a module. Return whether it makes a call that may fail for some texts inside code that may catch the error,
    such as a `try` block."""
    calls = _CallRecorder(None)
    with torch.no_grad(), calls, _run_eagerly_and_suppress_errors(module):
        _run_module(copy_without_comparison(module), inputs)
    return bool(calls.met)


def _run_with_injected_error(
    module: nn.Module, inputs: tuple[Tensor, ...], site: _Site | None = None, kind: type[Exception] | None = None
) -> _Answer:
    """Run a module while one of its calls is made to fail. Return the operators that ran, the calls that may fail for
    some texts, and the error that was raised.

    Args:
        module: the module; a copy of it is run.
        inputs: its inputs.
        site: the place in the code of the call that fails; None to let no call fail.
        kind: the class of the error.
    """
    operations = OperatorRecorder()
    operations.label_tensors(_TEXT, inputs[0])
    tokens = operations.find_steps_that_made(inputs[0])
    calls = _CallRecorder(
        lambda tensor: _classify_tensor_as_ids_or_made_from_ids(operations, tensor, tokens), site, kind
    )
    program = None
    with torch.no_grad(), calls, operations, _run_eagerly_and_suppress_errors(module):
        answer = _run_module(copy_without_comparison(module), inputs)
        answer = answer[0] if isinstance(answer, tuple) else answer
        program = operations.extract_program(operations.find_steps_that_made(answer), _TEXT)
    return _Answer(program, tuple(calls.met.values()), calls.error)


@contextlib.contextmanager
def _run_eagerly_and_suppress_errors(module: nn.Module) -> Iterator[None]:
    """While the block runs, modules run on the CPU and print nothing, and their compiled and scripted functions run as
    Python. An error in the block ends the block, and is ignored."""
    as_written = torch.compiler.set_stance("force_eager")
    with (
        run_quietly_on_cpu(),
        use_python_originals_of_scripted_functions(module),
        as_written,
        contextlib.suppress(Exception, SystemExit),
    ):
        yield


def _run_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Call a module, and return its output. The frame of this function marks where the search for user frames ends."""
    return module(*inputs)


def _classify_tensor_as_ids_or_made_from_ids(
    operations: OperatorRecorder, tensor: Tensor, tokens: frozenset[int]
) -> Literal["ids", "made", ""]:
    """Return "ids" for a tensor that holds the token ids, perhaps in another shape, "made" for a tensor that is
    computed from the ids, and "" for any other tensor.

    Args:
        operations: recorded the operators that ran so far.
        tokens: the steps of the record that made the token ids.
    """
    try:
        if _TEXT not in operations.find_labels(tensor):
            return ""
    except NotImplementedError:
        # Inside vmap a tensor has no memory to look up.
        return "made"
    return "ids" if operations.trace_back_through_operators_and_moves(SHAPES, tensor, _TEXT)[0] <= tokens else "made"


class _CallRecorder(FunctionMode):
    """A torch function mode that records the calls that may fail for some texts, inside code that may catch the error.
    It also makes one of these calls fail.

    Args:
        made: a function that returns "made" for a tensor that is computed from a text, "ids" for the text's ids, and ""
            for any other tensor. None treats all tensors as "made".
        site: the place in the code of the call that fails; None lets no call fail.
        kind: the class of the error that this call raises.
    """

    def __init__(
        self, made: Callable[[Tensor], str] | None, site: _Site | None = None, kind: type[Exception] | None = None
    ) -> None:
        super().__init__()
        self._made, self._site, self._kind = made or (lambda _: "made"), site, kind
        self.met: dict[_Site, _FailingCall] = {}
        self.error: Exception | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _LEAVES_TORCH and args and self._made(args[0]):
            # A value computed from it outside torch cannot be followed, so all tensors count as made from the text.
            self._made = lambda _: "made"
        if errors := _list_possible_errors(name):
            frames = list(_list_user_frames(sys._getframe(1)))
            caught = any(_find_catching_line(frame.f_code, frame.f_lasti) for frame in frames)
            if (
                caught
                and self._may_fail_because_of_text(name, args, kwargs)
                and (name not in TRUTHS or is_in_assert(frames[0]))
            ):
                self._record_failing_call(frames, errors)
        return func(*args, **kwargs)

    def _record_failing_call(self, frames: Sequence[FrameType], errors: tuple[type[Exception], ...]) -> None:
        """Record a call that may fail for some texts. If this call is the one that shall fail, raise its error.

        Args:
            frames: the frames of user code that lead to the call, the innermost first.
            errors: the classes of the errors that the call may raise.
        """
        site = tuple((frame.f_code, frame.f_lasti) for frame in frames)
        written = [frame for frame in frames if frame.f_code.co_filename != traceable_torchscript.__file__]
        own = next((frame for frame in written if not is_installed_file(frame.f_code.co_filename)), frames[0])
        self.met.setdefault(site, _FailingCall(site, describe_line(own), errors))
        if site == self._site and self._kind is not None and self.error is None:
            self.error = self._kind(_SAID)
            raise self.error

    def _may_fail_because_of_text(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Return whether a call of the torch function `name` may fail for some texts only: because of the values in a
        tensor argument that is computed from a text."""
        given = [tensor for tensor in flatten_tree([args, kwargs])[0] if isinstance(tensor, Tensor)]
        others = [args[1:], {key: value for key, value in kwargs.items() if args or key not in ("input", "self")}]
        if _name_contains(name, _DIVIDING) and any(tensor.is_floating_point() for tensor in given):
            return False
        # An assignment of one number to a mask never fails.
        if name == "__setitem__" and not isinstance(args[2], Tensor):
            others = [[one for one in flatten_tree(args[1])[0] if getattr(one, "dtype", None) != torch.bool]]
        of_any_kind = _name_contains(name, (*_NUMBERS, *_ALGEBRA)) or name in {*TRUTHS, *_ALGEBRA_NAMES}
        if "quantile" in name or not (of_any_kind or _name_contains(name, _WHOLE)):
            given = [tensor for tensor in flatten_tree(others)[0] if isinstance(tensor, Tensor)]
        # The ids of a text are always rows of the embedding.
        fails_by = ("made",) if "embedding" in name else ("made", "ids")
        return any((of_any_kind or not one.is_floating_point()) and self._made(one) in fails_by for one in given)


@functools.cache
def _list_possible_errors(name: str) -> tuple[type[Exception], ...]:
    """Return the classes of errors that a torch function may raise because of the values of its arguments."""
    if name in TRUTHS or name == "_assert":
        return (AssertionError,)
    if name in _NEVER:
        return ()
    if _name_contains(name, _ALGEBRA) or name in _ALGEBRA_NAMES:
        return (torch.linalg.LinAlgError,)  # type: ignore[attr-defined]
    found = _name_contains(name, (*_INDEXED, *_DIVIDING, *_WHOLE, *_NUMBERS)) or name in _INDEXED_NAMES
    return (IndexError, RuntimeError) if found else ()


def _name_contains(name: str, parts: Sequence[str]) -> bool:
    return any(part in name for part in parts)


def _list_user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames that are not PyTorch's or ours, the innermost first, from `frame` outwards to the call of the
    module."""
    while frame is not None and frame.f_code is not _run_module.__code__:
        if is_user_frame(frame):
            yield frame
        frame = frame.f_back


def _find_catching_line(code: CodeType, instruction: int) -> int | None:
    """Return the line of the `except`, `finally` or `with` that may catch the error of an instruction, or None if
    nothing in this code catches it. `instruction` is an offset in bytes, such as `frame.f_lasti`."""
    target = next((start for first, last, start in _list_error_handlers(code) if first <= instruction < last), None)
    if target is None:
        return None
    lines = [line for line, *_ in list(code.co_positions())[target // 2 : target // 2 + 3] if line is not None]
    return lines[-1] if lines else code.co_firstlineno


@functools.lru_cache(maxsize=512)
def _list_error_handlers(code: CodeType) -> tuple[_HandlerOffsets, ...]:
    """Return three offsets in bytes for each error handler in a function's code: the start and the end of the
    instructions whose errors it handles, and the start of the handler itself."""
    entries: Any = getattr(dis.Bytecode(code), "exception_entries", ())
    return tuple((one.start, one.end, one.target) for one in entries)
