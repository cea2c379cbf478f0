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
from pocketrnn_export.intake.user_code_lines_for_messages import describe_line, is_user_frame
from pocketrnn_export.intake.wrappers_for_trace import free_width
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import call_on_cpu, replace_gpu_tensor_types_by_cpu_types
from pocketrnn_export.progress import log_step
from pocketrnn_export.torch_internals import (
    LOGGERS,
    avoid_kernel_choices,
    make_unknown_size_mode,
    make_unknown_size_tensor,
    replace_methods,
    replace_tolist,
)
from pocketrnn_export.tracing.layers.recurrence import (
    refuse_initial_states_of_other_batch_sizes,
    run_recurrent_layers_as_one_operator,
)
from pocketrnn_export.tracing.layers.transformer_encoders_and_decoders import make_transformers_answer_as_fast_path
from pocketrnn_export.tracing.layers.weights_in_onnx_gate_order import add_onnx_weights
from pocketrnn_export.tracing.loops.cell_recognition import NotALayer
from pocketrnn_export.tracing.loops.loops_as_layers import make_module_with_layers_in_place_of_loops
from pocketrnn_export.tracing.python_semantics.caught_errors import record_error_lines
from pocketrnn_export.tracing.python_semantics.globals_replaced_during_trace import replace_globals_of_user_files
from pocketrnn_export.tracing.python_semantics.size_arithmetic import refuse_numbers_rounded_otherwise_in_graph
from pocketrnn_export.tracing.python_semantics.size_condition_answers import (
    record_program_restrictions,
    record_size_conditions,
)
from pocketrnn_export.tracing.python_semantics.size_keyed_caches import bypass_caches_keyed_by_sizes
from pocketrnn_export.tracing.python_semantics.trace_hidden_from_user_code import hide_trace
from pocketrnn_export.tracing.python_semantics.traced_arrays import refuse_traced_numbers_as_dict_keys
from pocketrnn_export.tracing.rules.asserts_and_equality_tests import ASSERTS
from pocketrnn_export.tracing.rules.embedding_bags import EMBEDDING_BAGS
from pocketrnn_export.tracing.rules.evenly_spaced_numbers import SPACED
from pocketrnn_export.tracing.rules.integer_overflow import WHOLE_NUMBERS, refuse_integer_products_and_powers
from pocketrnn_export.tracing.rules.interpolation import INTERPOLATION
from pocketrnn_export.tracing.rules.lengths import (
    LENGTHS,
    answer_tolist_with_array_in_trace,
    record_how_result_follows_from_lengths,
    run_call_without_stand_ins,
)
from pocketrnn_export.tracing.rules.loop_iterations_over_sizes import LOOPS
from pocketrnn_export.tracing.rules.order_statistics_and_search import ORDER_STATISTICS
from pocketrnn_export.tracing.rules.pooling import POOLING
from pocketrnn_export.tracing.rules.slices_pads_and_given_sizes import SLICING
from pocketrnn_export.tracing.rules.tensor_new_and_squeeze import NEW_AND_SQUEEZE
from pocketrnn_export.tracing.rules.tensor_string_refusal import TEXTS
from pocketrnn_export.tracing.rules.type_promotion import MIXED_NUMBERS
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog, UntraceableError
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import Branch, TracePlan
from pocketrnn_export.tracing.sort_with_equal_values_reversed import find_sort_operators
from pocketrnn_export.tracing.trace_session import Call, Loop, Topic, TraceSession, takes_two_texts

# The rules for functions of Python, numpy and old PyTorch, in a form that a graph can express.
PYTHON: Final = Topic(
    (
        *(*ASSERTS, *LENGTHS, *NEW_AND_SQUEEZE, *EMBEDDING_BAGS, *POOLING, *SPACED, *INTERPOLATION),
        *(*ORDER_STATISTICS, *MIXED_NUMBERS, *WHOLE_NUMBERS, *TEXTS),
    ),
    around=run_call_without_stand_ins,
    after=record_how_result_follows_from_lengths,
)
DEVICE: Final = Topic(
    around=lambda _, call, proceed: call_on_cpu(call.func, call.args, call.kwargs, lambda *new: proceed(Call(*new)))
)

_USERS_CODE: Final = (
    lambda _: replace_gpu_tensor_types_by_cpu_types(),
    replace_globals_of_user_files,
    bypass_caches_keyed_by_sizes,
    refuse_traced_numbers_as_dict_keys,
    lambda session: replace_tolist(lambda x, shipped: answer_tolist_with_array_in_trace(session, x, shipped)),
    hide_trace,
    make_transformers_answer_as_fast_path,
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
    """Return a session, which holds the rules and patches of one trace, that traces a user's module for torch.export.

    Args:
        module: the module to trace.
        log: the record of the conditions on sizes that forward tests.
        branches: chosen sizes for which forward is run, one after the other; empty to run it for the example.
        conditions_between_branches: one condition on sizes for each branch except the first. The graph returns the
            answer of the branch whose condition is true, or else that of the first branch.
        cut_counted: whether to cut unpacked tensors to the longest length if forward computes the lengths itself.
    """
    return TraceSession(
        module,
        (LOOPS, PYTHON, DEVICE, SLICING),
        (
            lambda _: preserve_node_meta(),
            run_recurrent_layers_as_one_operator,
            *_USERS_CODE,
            record_size_conditions,
            record_error_lines,
        ),
        log=log,
        branches=branches,
        choices=conditions_between_branches,
        cut_counted=cut_counted,
    )


def make_session_for_rerolled_module(module: nn.Module, log: TraceLog, *, cut_counted: bool) -> TraceSession:
    """Return a session that traces, for torch.export, a module in which `make_module_with_layers_in_place_of_loops` has
    replaced the loops. It contains no user code.

    Args:
        module: the module to trace.
        log: the record of the conditions on sizes that forward tests.
        cut_counted: whether to cut unpacked tensors to the longest length if forward computes the lengths itself.
    """
    return TraceSession(
        module,
        (SLICING,),
        (run_recurrent_layers_as_one_operator, record_size_conditions),
        log=log,
        cut_counted=cut_counted,
    )


def make_torchscript_session(module: nn.Module) -> TraceSession:
    """Return a session, which holds the rules and patches of one trace, that traces a user's module for TorchScript."""
    return TraceSession(
        module, (PYTHON, DEVICE), (refuse_initial_states_of_other_batch_sizes, *_USERS_CODE), scripted=True
    )


def find_lines_of_caught_errors(module: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """Run a module on inputs, and return the lines of its code at which an error was raised or passed on before forward
    caught it."""
    with TraceSession(module, (SLICING,), (record_error_lines,)) as session:
        module(*inputs)
    return session.log.raised


@dataclass(frozen=True, eq=False)
class TracedProgram:
    """A program of torch.export that was traced from a module.

    Attributes:
        program: the program, with every batch and sequence axis dynamic.
        plan: the sizes for which forward's conditions on sizes were answered in the trace; None for those of the
            example.
        cut_counted: whether unpacked tensors were cut to the longest of the lengths that forward computes itself.
        rolled: whether loops over a fixed width were traced as loops over any width, and not step by step.
        loops: the lines of the loops over the steps of a text, of which a few iterations were traced.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: sizes around each condition on a size that forward tests, at which the proof compares the program with
            the module. Some are outside of `limits`. Empty if there is no condition.
        notes: sentences on what was not compared with the module.
        padding_tells: padding ids that may change a text's answer in a batch when they follow the text, each with the
            line of code that reads them; see `proof/padding_and_tied_values.py`.
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
    """Trace a module once as a program of torch.export. Forward's conditions on sizes are answered for the sizes of the
    example or of a plan.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: the example inputs.
        plan: the sizes for which the conditions are answered; None for those of the example.
        log: the record of the conditions on sizes that forward tests.
        one_text: whether to keep the batch size of the example, which is 1, and make only the sequence axis dynamic.
        cut_counted: whether to cut unpacked tensors to the longest of the lengths that forward computes itself.
        rolled: whether to trace a module whose texts all have the same number of tokens as if this number were free, so
            that a loop over the steps becomes a layer. The number is fixed afterwards, and conditions on sizes have
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
                whole = make_module_with_layers_in_place_of_loops(program, session.loops, width)
                with make_session_for_rerolled_module(whole, log, cut_counted=cut_counted) as again:
                    program = torch.export.export(whole, example, dynamic_shapes=axes, strict=False)
                    record_program_restrictions(again, program)
        except PocketRNNError:
            raise
        except NotALayer as reason:
            raise _make_loop_error(session.loops, reason, module) from reason
        # torch.export raises exceptions of many unrelated classes, including the module's own and those of sys.exit.
        except (Exception, SystemExit) as error:
            raise _make_error_for_failed_trace(error, module) from error
    loops = tuple(dict.fromkeys(loop.where for loop in session.loops))
    return TracedProgram(program, plan, cut_counted, rolled, loops)


def _make_error_for_failed_trace(error: BaseException, module: nn.Module) -> ExportError:
    """Return the error for an exception that stopped a trace. It names the line of user code, and advises how to change
    that line."""
    if cell := _advise_on_recurrent_cell(module):
        return ExportError(
            f"The loop that runs the module's {cell.description} cannot be traced: "
            f"{read_message_of_first_cause(error)}.",
            cell.advice,
        )
    line, cause = _find_last_line_of_user_code(error), read_message_of_first_cause(error)
    if "data-dependent" in cause or "data dependent" in cause:
        advice = (
            "Do not test values of tensors in forward, and do not slice by them. Use torch.where to choose between two "
            "values for each text, and torch.arange(x.size(1)) < lengths[:, None] as the mask of lengths."
        )
        if re.search(r"\bis(nan|inf|finite)\(", line):
            advice = (
                "Replace NaN and infinity without a test of values: torch.nan_to_num(x), or "
                "torch.where(torch.isfinite(x), x, torch.zeros_like(x))."
            )
        elif re.search(r"\bfloat\(", line) and not re.search(r"\b(if|while|range)\b", line):
            advice = (
                "Do not read a number from a tensor: float(x.min()) is one number for all texts, but "
                "x.amin(1, keepdim=True) gives one number for each text."
            )
        return UntraceableError(
            f"The module branches on values of a tensor, or reads them as Python numbers{line}. A graph cannot do so.",
            advice,
        )
    if "TracedArray" in cause:
        return UntraceableError(
            f"The module converts a tensor to a list or an array, and computes with the values in Python{line}. A "
            "graph would use the values of one text for all texts.",
            "Use torch tensors instead of lists and NumPy arrays: (x == 7).any(1) instead of 7 in row, and torch.where "
            "for a choice.",
        )
    if "Cannot call numel()" in cause:
        return UntraceableError(
            f"The module reads the number of bytes of a tensor{line}, which a graph cannot compute.",
            "Compute this number from the sizes: x.size(0) * x.size(1) * x.element_size().",
        )
    return UntraceableError(
        f"torch.export cannot trace the module for batches of any size and texts of any length{line}: {cause}.",
        "Compute sizes from the shapes of tensors and not from their values. Avoid loops over the steps of a text.",
    )


def find_exception_of_forward_at_sizes(
    module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes, log: TraceLog
) -> BaseException | None:
    """Run forward for chosen sizes in a trace that makes no program. Return the exception that forward, or PyTorch in
    it, raised, or None if forward reached its end.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        inputs: inputs of these sizes. Their values are not used.
        sizes: the sizes for which conditions on sizes are answered. A size of 1 is a plain number, as for PyTorch.
        log: the record of the conditions on sizes that forward tests.
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


def _find_last_line_of_user_code(error: BaseException) -> str:
    """Return the last line of user code in the tracebacks of an error and of its causes, formatted as ", at LINE".
    Return "" if there is none."""
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
    """A description of a recurrent cell, such as "nn.GRUCell `cell`", and the advice to use a layer instead."""

    description: str
    advice: str


def _advise_on_recurrent_cell(module: nn.Module) -> _CellAdvice | None:
    """Return a description of the first recurrent cell of a module, such as an nn.GRUCell, and the advice to use a
    layer instead. Return None if the module has no such cell."""
    for path, layer in module.named_modules():
        for cell, whole in _CELLS.items():
            if isinstance(layer, cell):
                return _CellAdvice(
                    f"nn.{cell.__name__} `{path or 'self'}`",
                    f"If only this cell changes the state, use {whole} instead: weight_ih, weight_hh, bias_ih and "
                    "bias_hh become weight_ih_l0, weight_hh_l0, bias_ih_l0 and bias_hh_l0, unchanged. Compute all else "
                    f"for all steps at once, before or after {whole}.",
                )
    return None


def _make_loop_error(loops: list[Loop], reason: NotALayer, module: nn.Module) -> ExportError:
    """Return the error for a loop that cannot become a recurrent layer. It names the loop's line and the reason, and
    advises what to write instead."""
    cell = _advise_on_recurrent_cell(module)
    advice = "Use nn.RNN, nn.LSTM or nn.GRU. Or, if no step uses the result of another step, compute all steps at once."
    if "computes with its counter" in str(reason) or "iterations differ" in str(reason):
        advice += (
            " If weights depend on the counter, use a tensor of weights: "
            "(x * (0.9 ** torch.arange(n))[:, None]).sum(1)."
        )
    one_length = (
        " Or pad and cut all texts to the same number of tokens (set min_width and max_width of the text rules to that "
        "number): then the graph contains every step of the loop."
    )
    return UntraceableError(
        f"The module loops over the steps of a text, {loops[reason.loop or 0].where}, but the loop cannot become a "
        f"recurrent layer: {reason}.",
        (advice if cell is None else cell.advice) + one_length,
    )


def read_message_of_first_cause(error: BaseException) -> str:
    """Return the first line of the message of an error's first cause: follow `__cause__` to the error that has none."""
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
