"""Trace a module as a program of torch.export. This file also defines the order of the rules.

There are three kinds of session: a user's module for torch.export, the module made from a trace with rerolled loops,
and a user's module for TorchScript. Each is a list of topics and a list of patches, below.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.traceback import preserve_node_meta

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.intake.user_frames import describe_line, is_user_frame
from pocketrnn_export.intake.wrappers_for_trace import free_width
from pocketrnn_export.module_runs.complete_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import call_on_cpu, replace_gpu_types
from pocketrnn_export.progress import log_step
from pocketrnn_export.torch_internals import (
    LOGGERS,
    avoid_kernel_choices,
    make_unknown_size_mode,
    make_unknown_size_tensor,
    replace_methods,
    replace_tolist,
)
from pocketrnn_export.tracing.layers.recurrence import refuse_initial_states_of_other_batch_sizes, trace_recurrence
from pocketrnn_export.tracing.layers.transformer_encoders_and_decoders import trace_transformers
from pocketrnn_export.tracing.layers.weights_in_onnx_gate_order import add_onnx_weights
from pocketrnn_export.tracing.loops.cell_recognition import NotALayer
from pocketrnn_export.tracing.loops.loops_as_layers import reroll_loops
from pocketrnn_export.tracing.python_semantics.caught_errors import record_error_lines
from pocketrnn_export.tracing.python_semantics.hidden_trace import hide_trace
from pocketrnn_export.tracing.python_semantics.patched_globals import patch_globals
from pocketrnn_export.tracing.python_semantics.size_arithmetic import refuse_numbers_rounded_otherwise_in_graph
from pocketrnn_export.tracing.python_semantics.size_condition_answers import (
    record_program_restrictions,
    record_size_conditions,
)
from pocketrnn_export.tracing.python_semantics.size_keyed_caches import bypass_caches
from pocketrnn_export.tracing.python_semantics.traced_arrays import refuse_number_hashes
from pocketrnn_export.tracing.reversed_tie_sort import find_sort_operators
from pocketrnn_export.tracing.rules.asserts_and_equality_tests import ASSERTS
from pocketrnn_export.tracing.rules.embedding_bags import EMBEDDING_BAGS
from pocketrnn_export.tracing.rules.evenly_spaced_numbers import SPACED
from pocketrnn_export.tracing.rules.integer_overflow import WHOLE_NUMBERS, refuse_integer_products_and_powers
from pocketrnn_export.tracing.rules.interpolation import INTERPOLATION
from pocketrnn_export.tracing.rules.lengths import (
    LENGTHS,
    make_array_in_place_of_list,
    record_lengths,
    run_unwrapped_call,
)
from pocketrnn_export.tracing.rules.new_and_squeeze import NEW_AND_SQUEEZE
from pocketrnn_export.tracing.rules.order_statistics_and_search import ORDER_STATISTICS
from pocketrnn_export.tracing.rules.pooling import POOLING
from pocketrnn_export.tracing.rules.slices_pads_and_given_sizes import SLICING
from pocketrnn_export.tracing.rules.steps_of_loops import LOOPS
from pocketrnn_export.tracing.rules.tensor_string_refusal import TEXTS
from pocketrnn_export.tracing.rules.type_promotion import MIXED_NUMBERS
from pocketrnn_export.tracing.session import Call, Loop, Topic, TraceSession, takes_two_texts
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog, UntraceableError
from pocketrnn_export.tracing.sizes.trace_branches import Branch, TracePlan

# The rules for functions of Python, numpy and old PyTorch, in a form that a graph can express.
PYTHON: Final = Topic(
    (
        *(*ASSERTS, *LENGTHS, *NEW_AND_SQUEEZE, *EMBEDDING_BAGS, *POOLING, *SPACED, *INTERPOLATION),
        *(*ORDER_STATISTICS, *MIXED_NUMBERS, *WHOLE_NUMBERS, *TEXTS),
    ),
    around=run_unwrapped_call,
    after=record_lengths,
)
DEVICE: Final = Topic(
    around=lambda _, call, proceed: call_on_cpu(call.func, call.args, call.kwargs, lambda *new: proceed(Call(*new)))
)

_USERS_CODE: Final = (
    lambda _: replace_gpu_types(),
    patch_globals,
    bypass_caches,
    refuse_number_hashes,
    lambda session: replace_tolist(lambda x, shipped: make_array_in_place_of_list(session, x, shipped)),
    hide_trace,
    trace_transformers,
    # A distribution checks the values of logits, by which a graph cannot fail.
    lambda _: replace_methods({(torch.distributions.Distribution, "_validate_args"): False}),
)


def make_export_session(
    module: nn.Module,
    log: TraceLog,
    branches: Sequence[Branch] = (),
    conditions_between_branches: Sequence[Any] = (),
    *,
    cut_counted: bool = True,
) -> TraceSession:
    """Return a session that traces a user's module for torch.export. A session holds the rules and patches of a trace.

    Args:
        module: the module to trace.
        log: records forward's conditions on sizes.
        branches, conditions_between_branches: as `branches` and `choices` of `TraceSession`.
        cut_counted: cut unpacked tensors to the longest of the lengths that forward computes itself.
    """
    return TraceSession(
        module,
        (LOOPS, PYTHON, DEVICE, SLICING),
        (lambda _: preserve_node_meta(), trace_recurrence, *_USERS_CODE, record_size_conditions, record_error_lines),
        log=log,
        branches=branches,
        choices=conditions_between_branches,
        cut_counted=cut_counted,
    )


def make_rerolled_session(module: nn.Module, log: TraceLog, *, cut_counted: bool) -> TraceSession:
    """Return a session that traces, for torch.export, a module whose loops have become layers (`reroll_loops`). That
    module contains no user code."""
    return TraceSession(
        module, (SLICING,), (trace_recurrence, record_size_conditions), log=log, cut_counted=cut_counted
    )


def make_script_session(module: nn.Module) -> TraceSession:
    """Return a session that traces a user's module for TorchScript."""
    return TraceSession(
        module, (PYTHON, DEVICE), (refuse_initial_states_of_other_batch_sizes, *_USERS_CODE), scripted=True
    )


def find_lines_of_caught_errors(module: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """Run a module, and return the lines of its code through which an error passes before forward catches it."""
    with TraceSession(module, (SLICING,), (record_error_lines,)) as session:
        module(*inputs)
    return session.log.raised


@dataclass(frozen=True, eq=False)
class TracedProgram:
    """A program of torch.export that was traced from a module.

    Attributes:
        program: the program, with every batch and sequence axis dynamic.
        plan: the branches that were taken where forward tests a size; None for those of the example.
        cut_counted: whether unpacked tensors were cut to the longest of the lengths that forward counts itself.
        rolled: whether loops over a fixed width were traced as loops over any width, and not step by step.
        loops: the lines of the loops over the steps of a text, of which a few iterations were traced.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: the sizes around each condition on a size in forward, for the proof, including sizes outside
            the limits; empty if there is no condition.
        notes: sentences on what was not compared with the module.
        padding_tells: the padding ids that may change a text's answer in a batch when they follow it, each with the
            line where; see `proof/padding_and_tied_values.py`.
    """

    program: torch.export.ExportedProgram
    plan: TracePlan | None = None
    cut_counted: bool = True
    rolled: bool = False
    loops: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    notes: tuple[str, ...] = ()
    padding_tells: Mapping[int, str] = field(default_factory=dict)

    @property
    def sort_operators(self) -> tuple[str, ...]:
        """The names of the program's operators for which PyTorch leaves the order of equal values undefined."""
        return tuple(find_sort_operators(self.program))


def trace_program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    plan: TracePlan | None,
    log: TraceLog,
    *,
    one_text: bool = False,
    cut_counted: bool = True,
    rolled: bool = False,
) -> TracedProgram:
    """Trace a module once, for the sizes of an example or for the branches of a plan.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: the example inputs.
        plan: the branches to take if forward tests a size; None for those that the example takes.
        log: records the conditions on sizes that forward tests.
        one_text: keep the batch size of the example, which is 1, and make only the sequence dynamic.
        cut_counted: cut unpacked tensors to the longest of the lengths that forward computes itself.
        rolled: for a module whose texts all have the same number of tokens: trace it as if the number were free, so
            that its loop over the steps becomes a layer, and fix the number afterwards. Conditions on sizes have
            their results for the example.

    Raises:
        ExportError: the module cannot be traced with dynamic axes.
    """
    traced = copy_without_comparison(module)
    add_onnx_weights(traced)
    width, dynamic = free_width(traced) if rolled else None, torch.export.Dim.DYNAMIC
    texts = 2 if takes_two_texts(example) else 1
    # Behind the texts come lengths, a state or features, with one axis over the texts.
    more = len(example) - texts
    rows: dict[int, Any] = {} if one_text else {0: dynamic}
    # A layer that requires the width may fix it.
    tokens = dynamic if width is None else torch.export.Dim.AUTO
    axes: Any = ({**rows, 1: tokens},) * texts + (rows,) * more
    branches, choices = ([], []) if plan is None else plan.branches_and_conditions
    session = make_export_session(traced, log, branches, choices, cut_counted=cut_counted)
    with hide_exporter_messages(), torch.no_grad():
        try:
            log_step("Running forward with symbolic sizes")
            with session:
                program = torch.export.export(traced, example, dynamic_shapes=axes, strict=False)
                refuse_numbers_rounded_otherwise_in_graph(program)
                refuse_integer_products_and_powers(program)
                record_program_restrictions(session, program)
            log.raise_recorded_error()
            if session.loops:
                log_step("Making layers of the module's loops")
                whole = reroll_loops(program, session.loops, width)
                with make_rerolled_session(whole, log, cut_counted=cut_counted) as again:
                    program = torch.export.export(whole, example, dynamic_shapes=axes, strict=False)
                    record_program_restrictions(again, program)
        except PocketRNNError:
            raise
        except NotALayer as reason:
            raise _make_loop_error(session.loops, reason, module) from reason
        # torch.export raises exceptions of many unrelated classes, including the module's own and those of sys.exit.
        except (Exception, SystemExit) as error:
            raise _make_untraceable_error(error, module) from error
    loops = tuple(dict.fromkeys(loop.where for loop in session.loops))
    return TracedProgram(program, plan, cut_counted, rolled, loops)


def _make_untraceable_error(error: BaseException, module: nn.Module) -> ExportError:
    """Return the error for an exception of torch.export, with the line of user code and advice for its cause."""
    if cell := _advise_on_recurrent_cell(module):
        return ExportError(
            f"The module's {cell.clause}, and the loop that runs it cannot be traced: "
            f"{read_message_of_first_cause(error)}.",
            cell.advice,
        )
    line, cause = _find_last_user_line(error), read_message_of_first_cause(error)
    if "data-dependent" in cause or "data dependent" in cause:
        advice = (
            "Do not test values of tensors in forward, and do not slice by them. Use torch.where to choose between two "
            "values for each text, and torch.arange(x.size(1)) < lengths[:, None] as the mask of lengths."
        )
        if re.search(r"\bis(nan|inf|finite)\(", line):
            advice = (
                "Replace NaN and infinities without a test: torch.nan_to_num(x), or "
                "torch.where(torch.isfinite(x), x, torch.zeros_like(x))."
            )
        elif re.search(r"\bfloat\(", line) and not re.search(r"\b(if|while|range)\b", line):
            advice = (
                "Do not read a number from a tensor: float(x.min()) is one number for all texts, but "
                "x.amin(1, keepdim=True) gives one number for each text."
            )
        return UntraceableError(
            f"The module branches on the values of a tensor{line}, which a graph cannot do.",
            advice,
        )
    if "TracedArray" in cause:
        return UntraceableError(
            f"The module converts a tensor to a list or an array{line}, and computes with it in Python, which a graph "
            "cannot do.",
            "Use torch tensors instead of lists and NumPy arrays: (x == 7).any(1) instead of 7 in row, and torch.where "
            "for a choice.",
        )
    if "Cannot call numel()" in cause:
        return UntraceableError(
            f"The module asks for the number of bytes of a tensor{line}, which a graph does not have.",
            "Compute this number from the sizes: x.size(0) * x.size(1) * x.element_size().",
        )
    return UntraceableError(
        f"The module cannot be traced with a dynamic batch and sequence length{line}: {cause}.",
        "Compute sizes from the shapes of tensors and not from their values. Avoid loops over steps.",
    )


def follow_forward(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes, log: TraceLog) -> BaseException | None:
    """Run forward on inputs of these sizes with the rules and patches of a trace, without making a program. Return the
    exception that forward, or PyTorch in it, raised, or None if forward reached its end.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        inputs: inputs of these sizes. Their values are not used.
        sizes: the sizes. A size of 1 is a plain number, as for PyTorch.
        log: records the conditions on sizes that forward tests.
    """
    traced = copy_without_comparison(module)
    add_onnx_weights(traced)
    mode = make_unknown_size_mode()
    # The tokens have two axes of unknown size, the lengths one.
    fakes = [make_unknown_size_tensor(mode, value, 1 if i else 2) for i, value in enumerate(inputs)]
    with hide_exporter_messages(), torch.no_grad(), avoid_kernel_choices():
        try:
            with make_export_session(traced, log, [Branch(sizes)]), mode:
                traced(*fakes)
            log.raise_recorded_error()
        except (Exception, SystemExit) as error:
            return error
    return None


def _find_last_user_line(error: BaseException) -> str:
    """Return the last line of user code in the tracebacks of an error and its causes, as ", at line", or ""."""
    found = ""
    current: BaseException | None = error
    while current is not None:
        for frame, line in traceback.walk_tb(current.__traceback__):
            # The code that runs TorchScript counts as the user's but is not in the user's file: take the line that
            # calls it.
            if is_user_frame(frame) and frame.f_code.co_filename != traceable_torchscript.__file__:
                found = f", at {describe_line(frame, line)}"
        current = current.__cause__
    return found


# The cells that a Python loop runs one token at a time, and the layers that do the same for all tokens.
_CELLS: Final = {nn.RNNCell: "nn.RNN", nn.LSTMCell: "nn.LSTM", nn.GRUCell: "nn.GRU"}


class _CellAdvice(NamedTuple):
    """A clause that names a recurrent cell, and the advice to use a layer."""

    clause: str
    advice: str


def _advise_on_recurrent_cell(module: nn.Module) -> _CellAdvice | None:
    """Return advice on the first recurrent cell of a module, or None if the module has no cell."""
    for path, layer in module.named_modules():
        for cell, whole in _CELLS.items():
            if isinstance(layer, cell):
                return _CellAdvice(
                    f"{path or 'forward'} is an nn.{cell.__name__}",
                    f"If only this cell changes the state, use {whole} instead: weight_ih, weight_hh, bias_ih and "
                    "bias_hh become weight_ih_l0, weight_hh_l0, bias_ih_l0 and bias_hh_l0, unchanged. Compute all else "
                    f"for all steps at once, before or after {whole}.",
                )
    return None


def _make_loop_error(loops: list[Loop], reason: NotALayer, module: nn.Module) -> ExportError:
    """Return the error for a loop that cannot become a layer, with its line, the reason and advice."""
    cell = _advise_on_recurrent_cell(module)
    advice = "Use nn.RNN, nn.LSTM or nn.GRU. Or, if no step uses the result of another step, compute all steps at once."
    if "number of the step" in str(reason) or "iterations differ" in str(reason):
        advice += (
            " If weights depend on the step, use a tensor of weights: (x * (0.9 ** torch.arange(n))[:, None]).sum(1)."
        )
    one_length = (
        " Or give all texts the same number of tokens (min_width and max_width of the rules): then the graph contains "
        "every step of the loop."
    )
    return UntraceableError(
        f"The module loops over the steps of a text, {loops[reason.loop or 0].where}, but the loop cannot become a "
        f"recurrent layer: {reason}.",
        (advice if cell is None else cell.advice) + one_length,
    )


def read_message_of_first_cause(error: BaseException) -> str:
    """Return the first line of the message of the error that began a chain of causes."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error)


class _GraphFilter(io.TextIOBase):
    """A stream in place of stderr that drops the graph that torch.export prints when it fails."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream
        self._after_graph = False

    def write(self, text: str) -> int:
        is_graph = "def forward(self, arg" in text
        # `print` writes the end of the graph's last line by itself.
        hidden = is_graph or (self._after_graph and text == "\n")
        self._after_graph = is_graph
        return len(text) if hidden else int(self.stream.write(text) or 0)

    def flush(self) -> None:
        self.stream.flush()


@contextlib.contextmanager
def hide_exporter_messages() -> Iterator[None]:
    """While the block runs, hide all warnings, the exporters' own log records below `CRITICAL`, and the graph that
    torch.export prints when it fails."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(_GraphFilter(sys.stderr)):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
