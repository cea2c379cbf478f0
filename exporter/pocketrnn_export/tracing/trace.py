"""A module as a program of torch.export, and the order of the rules by which it is traced.

Three kinds of session: a user's module for torch.export, the module that a rerolled loop is, and a user's module for
TorchScript. Each is a list of topics and a list of patches, below.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx.traceback import preserve_node_meta

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.intake.user_frames import is_users, place_of
from pocketrnn_export.module_runs.cpu_run import gpu_types_on_cpu, on_cpu
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.torch_internals import LOGGERS, lists_of_traced, methods_replaced, of_unknown_sizes, unknown_sizes
from pocketrnn_export.tracing.layers.encoders import encoders_traced
from pocketrnn_export.tracing.layers.layer_weights import add_onnx_weights
from pocketrnn_export.tracing.layers.recurrence import recurrence_traced, states_checked
from pocketrnn_export.tracing.loops.cell_recognition import NotALayer
from pocketrnn_export.tracing.loops.reroll import rerolled
from pocketrnn_export.tracing.python_semantics.answered_questions import note_program, sizes_watched
from pocketrnn_export.tracing.python_semantics.arrays import hashes_of_numbers_refused
from pocketrnn_export.tracing.python_semantics.caches import caches_aside
from pocketrnn_export.tracing.python_semantics.caught_errors import errors_noted
from pocketrnn_export.tracing.python_semantics.hidden_trace import trace_hidden
from pocketrnn_export.tracing.python_semantics.math_of_sizes import refuse_rounded
from pocketrnn_export.tracing.python_semantics.patched_globals import globals_patched
from pocketrnn_export.tracing.rules.asserts import ASSERTS
from pocketrnn_export.tracing.rules.constructors import CONSTRUCTORS
from pocketrnn_export.tracing.rules.lengths import LENGTHS, lists_as_arrays, note_order, with_tensors
from pocketrnn_export.tracing.rules.loops import LOOPS
from pocketrnn_export.tracing.rules.mixed_numbers import MIXED_NUMBERS
from pocketrnn_export.tracing.rules.order_statistics import ORDER_STATISTICS
from pocketrnn_export.tracing.rules.pooling import POOLING
from pocketrnn_export.tracing.rules.slicing import SLICING
from pocketrnn_export.tracing.rules.spaced import SPACED
from pocketrnn_export.tracing.rules.tensor_strings import TEXTS
from pocketrnn_export.tracing.rules.whole_numbers import WHOLE_NUMBERS, refuse_products_of_whole_numbers
from pocketrnn_export.tracing.session import Call, Loop, Topic, TraceSession, of_two_texts
from pocketrnn_export.tracing.sizes.conditions import Sizes
from pocketrnn_export.tracing.sizes.questions import Branch, TraceLog, UntraceableError
from pocketrnn_export.tracing.sizes.trace_plan import TracePlan
from pocketrnn_export.tracing.unstable_sort import orders_in

__all__ = ["TracedProgram", "errors_in", "first_cause", "followed_for", "quiet", "script_session", "traced_program"]


def _on_cpu(_: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    return on_cpu(call.func, call.args, call.kwargs, lambda *changed: proceed(Call(*changed)))


# The functions of Python, numpy and old PyTorch, in a form that a graph can follow.
PYTHON: Final = Topic(
    (*ASSERTS, *LENGTHS, *CONSTRUCTORS, *POOLING, *SPACED, *ORDER_STATISTICS, *MIXED_NUMBERS, *WHOLE_NUMBERS, *TEXTS),
    around=with_tensors,
    after=note_order,
)
DEVICE: Final = Topic(around=_on_cpu)

_USERS_CODE: Final = (
    lambda _: gpu_types_on_cpu(),
    globals_patched,
    caches_aside,
    hashes_of_numbers_refused,
    lambda session: lists_of_traced(lambda x, shipped: lists_as_arrays(session, x, shipped)),
    trace_hidden,
    encoders_traced,
    # A graph cannot fail by the values of logits, which a distribution asks about.
    lambda _: methods_replaced({(torch.distributions.Distribution, "_validate_args"): False}),
)


def export_session(
    module: nn.Module,
    log: TraceLog,
    branches: Sequence[Branch] = (),
    choices: Sequence[Any] = (),
    *,
    cut_counted: bool = True,
) -> TraceSession:
    """A user's module for torch.export."""
    return TraceSession(
        module,
        (LOOPS, PYTHON, DEVICE, SLICING),
        (lambda _: preserve_node_meta(), recurrence_traced, *_USERS_CODE, sizes_watched, errors_noted),
        log=log,
        branches=branches,
        choices=choices,
        cut_counted=cut_counted,
    )


def rerolled_session(module: nn.Module, log: TraceLog, *, cut_counted: bool) -> TraceSession:
    """The module that a trace with its loops put back is, for torch.export. It holds no code of the user's."""
    return TraceSession(module, (SLICING,), (recurrence_traced, sizes_watched), log=log, cut_counted=cut_counted)


def script_session(module: nn.Module) -> TraceSession:
    """A user's module for TorchScript.

    Example:
        >>> with script_session(module):
        ...     script = torch.jit.trace(module, example, check_trace=False)
    """
    return TraceSession(module, (PYTHON, DEVICE), (states_checked, *_USERS_CODE), scripted=True)


def errors_in(module: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """The errors that the forward of a module meets when it runs, and catches: their lines."""
    with TraceSession(module, (SLICING,), (errors_noted,)) as session:
        module(*inputs)
    return session.log.raised


@dataclass(frozen=True, eq=False)
class TracedProgram:
    """A module as torch.export gives it.

    Attributes:
        program: with every batch and sequence axis dynamic.
        plan: the branches that were taken where forward asks about sizes; None for those of the example.
        cut_counted: whether what is unpacked was cut to the longest of the lengths that forward counts itself.
        loops: the lines of the loops over the steps of a text, of which a few iterations were traced.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: sizes on both sides of everything that forward asks about a size, for the proof; none where it asks
            nothing. Those outside the limits are among them.
        notes: what was not compared with the module.
        padding_tells: the ids of padding of which what stands after a text may reach its answer in a batch, each with
            the line where; see `proof/padded_steps.py`.
    """

    program: torch.export.ExportedProgram
    plan: TracePlan | None = None
    cut_counted: bool = True
    loops: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    notes: tuple[str, ...] = ()
    padding_tells: Mapping[int, str] = field(default_factory=dict)

    @property
    def orders(self) -> tuple[str, ...]:
        """The operators in it whose order of equal values PyTorch leaves undefined."""
        return tuple(orders_in(self.program))


def traced_program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    plan: TracePlan | None,
    log: TraceLog,
    *,
    one_text: bool = False,
    cut_counted: bool = True,
) -> TracedProgram:
    """Trace a module once.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: what it is traced on.
        plan: the branches that are taken where forward asks about sizes; None for those of the example.
        log: takes note of what forward asks.
        one_text: keep the batch of the example, which is one, and only the sequence dynamic.
        cut_counted: cut what is unpacked to the longest of the lengths that forward counts or clamps itself.

    Raises:
        ExportError: the module cannot be traced with dynamic axes.

    Example:
        >>> traced_program(module, example, None, TraceLog()).program.graph.nodes
    """
    traced = copied_again(module)
    add_onnx_weights(traced)
    dynamic = torch.export.Dim.DYNAMIC
    texts = 2 if of_two_texts(example) else 1
    axes: Any = ({1: dynamic},) if one_text else ({0: dynamic, 1: dynamic},) * texts + ({0: dynamic},) * texts
    axes = axes[: len(example)]
    branches, choices = ([], []) if plan is None else plan.branches
    session = export_session(traced, log, branches, choices, cut_counted=cut_counted)
    with quiet(), torch.no_grad():
        try:
            with session:
                program = torch.export.export(traced, example, dynamic_shapes=axes, strict=False)
                refuse_rounded(program)
                refuse_products_of_whole_numbers(program)
                note_program(session, program)
            log.check_answered()
            if session.loops:
                whole = rerolled(program, session.loops)
                with rerolled_session(whole, log, cut_counted=cut_counted) as again:
                    program = torch.export.export(whole, example, dynamic_shapes=axes, strict=False)
                    note_program(again, program)
        except PocketRNNError:
            raise
        except NotALayer as reason:
            raise _refused_loop(session.loops, reason, module) from reason
        # torch.export fails with errors of many unrelated classes, among them the module's own, and sys.exit in it.
        except (Exception, SystemExit) as error:
            raise _untraceable(error, module) from error
    return TracedProgram(program, plan, cut_counted, tuple(dict.fromkeys(loop.where for loop in session.loops)))


def _untraceable(error: BaseException, module: nn.Module) -> ExportError:
    if cell := _stepped_cell(module):
        return ExportError(
            f"The module's {cell[0]}, stepped by a loop that cannot be followed: {first_cause(error)}.", cell[1]
        )
    line, cause = _line_of(error), first_cause(error)
    if "data-dependent" in cause or "data dependent" in cause:
        advice = (
            "Ask about no values of tensors in forward, nor cut by them: torch.where takes one of two values for each "
            "text, and torch.arange(x.size(1)) < lengths[:, None] is the mask of lengths that a loop over them fills."
        )
        if re.search(r"\bis(nan|inf|finite)\(", line):
            advice = (
                "Put other numbers in their place without asking: torch.nan_to_num(x), or "
                "torch.where(torch.isfinite(x), x, torch.zeros_like(x))."
            )
        elif re.search(r"\bfloat\(", line) and not re.search(r"\b(if|while|range)\b", line):
            advice = (
                "Take no number out of a tensor: where float(x.min()) is one for all, x.amin(1, keepdim=True) is that "
                "of each text."
            )
        return UntraceableError(
            f"The module does one thing or another by the values of a tensor{line}, which a graph cannot follow.",
            advice,
        )
    if "TracedArray" in cause:
        return UntraceableError(
            f"The module takes the numbers of its words out of a tensor{line}, and computes with them in Python, which "
            "a graph cannot follow.",
            "Compute with tensors of torch in place of lists and arrays of NumPy: (x == 7).any(1) in place of 7 in "
            "row, and torch.where for a choice.",
        )
    if "Cannot call numel()" in cause:
        return UntraceableError(
            f"The module asks how many bytes a tensor takes{line}, which a graph cannot follow.",
            "Compute it from the sizes: x.size(0) * x.size(1) * x.element_size().",
        )
    return UntraceableError(
        f"The module cannot be traced with a dynamic batch and sequence length{line}: {cause}.",
        "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps.",
    )


def followed_for(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes, log: TraceLog) -> BaseException | None:
    """Follow forward for some sizes, as a trace does, but without a program.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        inputs: of these sizes. Nothing is computed with their values.
        sizes: the sizes. One of 1 is a plain number, as it is for PyTorch.
        log: takes note of what forward asks.

    Returns:
        what forward, or PyTorch on its way, raised; None where it came to its end.
    """
    traced = copied_again(module)
    add_onnx_weights(traced)
    mode = unknown_sizes()
    # The tokens have two axes of unknown size, the lengths one.
    fakes = [of_unknown_sizes(mode, value, 1 if i else 2) for i, value in enumerate(inputs)]
    with quiet(), torch.no_grad():
        try:
            with export_session(traced, log, [Branch(sizes)]), mode:
                traced(*fakes)
            log.check_answered()
        except (Exception, SystemExit) as error:
            return error
    return None


def _line_of(error: BaseException) -> str:
    """The last line of the user's own code on the way to an error or to one of its causes."""
    found = ""
    current: BaseException | None = error
    while current is not None:
        for frame, line in traceback.walk_tb(current.__traceback__):
            # Code that runs TorchScript counts as the user's, but is not a line of the user's: the line that calls it
            # is.
            if is_users(frame) and frame.f_code.co_filename != traceable_torchscript.__file__:
                found = f", at {place_of(frame, line)}"
        current = current.__cause__
    return found


# Layers that a Python loop steps, one token at a time, and the layer that does it by itself.
_CELLS: Final = {nn.RNNCell: "nn.RNN", nn.LSTMCell: "nn.LSTM", nn.GRUCell: "nn.GRU"}


def _stepped_cell(module: nn.Module) -> tuple[str, str] | None:
    """A description of the first cell in a module, and the advice on a layer to use instead; None where there is
    none."""
    for path, layer in module.named_modules():
        for cell, whole in _CELLS.items():
            if isinstance(layer, cell):
                return f"{path or 'forward'} is an nn.{cell.__name__}", (
                    f"If a step does nothing to the state but this, use {whole}: weight_ih, weight_hh, bias_ih and "
                    "bias_hh become weight_ih_l0, weight_hh_l0, bias_ih_l0 and bias_hh_l0, unchanged. Do the rest of a "
                    f"step for all steps at once, before or after {whole}."
                )
    return None


def _refused_loop(loops: list[Loop], reason: NotALayer, module: nn.Module) -> ExportError:
    cell = _stepped_cell(module)
    advice = "Write it as an nn.RNN, nn.LSTM or nn.GRU; or, where it hands nothing on, for all steps at once."
    if "number of the step" in str(reason) or "iterations differ" in str(reason):
        advice += " The weight of each step is a number of its place: (x * (0.9 ** torch.arange(n))[:, None]).sum(1)."
    return UntraceableError(
        f"The module loops over the steps of a text, {loops[reason.loop or 0].where}, and {reason}.",
        advice if cell is None else cell[1],
    )


def first_cause(error: BaseException) -> str:
    """The first line of the error that the others were raised from."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error)


class _WithoutGraphs(io.TextIOBase):
    """Standard error, without the graph so far, which torch.export prints there where it fails."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if "def forward(self, arg" in text else int(self.stream.write(text) or 0)

    def flush(self) -> None:
        self.stream.flush()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the exporters' own messages: deprecations, a missing torchvision, what they cannot fold."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(_WithoutGraphs(sys.stderr)):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
