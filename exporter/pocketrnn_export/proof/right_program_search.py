"""Find a program for a module that is right for every batch size and sequence length, or up to a stated limit; or
refuse the module.

A module is traced, and forward's conditions on sizes are recorded. If there are none, the one trace is right for all
sizes, except for loops, lengths that forward counts itself, and sorts: these are compared with the module. Otherwise,
`sizes/right_program_for_each_size.py` finds a program that agrees with the module in every region of sizes.

The caller decides how a program is run for the comparison: as the graph of a form, or, by default, in PyTorch, where
each operator of pocketrnn has a plain implementation. So a trace can be checked without any form.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.intake.user_code_lines_for_messages import is_user_frame
from pocketrnn_export.intake.wrappers_for_trace import free_width
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.proof.errors_caught_for_some_texts import refuse_caught_errors_of_rare_texts
from pocketrnn_export.proof.every_size_comparison import APART
from pocketrnn_export.proof.forward_values_and_choices import ForwardValues, record_choosing_operators_and_read_weights
from pocketrnn_export.proof.fresh_copies_and_random_inputs import FreshCopyModule, resize_example
from pocketrnn_export.proof.loop_iteration_comparison import (
    MOST_SHORT_STEPS,
    loops_over_steps,
    refuse_loop_with_unequal_steps,
)
from pocketrnn_export.proof.program_runs_and_nodes import (
    Answers,
    RunnableProgram,
    compute_answer_or_none,
    make_runnable_program,
)
from pocketrnn_export.proof.traced_program_checks import (
    find_harmful_padding_ids,
    refuse_answers_changed_by_earlier_runs,
    refuse_answers_that_depend_on_other_texts,
    refuse_answers_that_depend_on_tie_order,
    refuse_caught_trace_errors,
    refuse_differences_at_other_sizes,
    refuse_graph_wrong_for_lengths_that_forward_computes,
    refuse_size_tests_in_loops,
    refuse_unequal_iterations,
)
from pocketrnn_export.torch_internals import replace_program_weights
from pocketrnn_export.tracing.layers.weights_in_onnx_gate_order import add_onnx_weights
from pocketrnn_export.tracing.module_trace import TracedProgram, find_exception_of_forward_at_sizes, trace_program
from pocketrnn_export.tracing.python_semantics.caught_errors import find_files_that_may_catch_errors
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import (
    AnswerJudge,
    ProgramAttempt,
    compute_largest_difference,
    describe_sizes,
    is_within_limits,
)
from pocketrnn_export.tracing.sizes.right_program_for_each_size import find_program_for_all_sizes
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.size_question_log import Question, TraceLog
from pocketrnn_export.tracing.sizes.size_regions import FollowedRun
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import TracePlan
from pocketrnn_export.tracing.trace_session import takes_two_texts

# The time for following one path through forward. A function that calls itself for halves of a long text may not end.
_SECONDS_A_WAY: Final = 15
# The most tokens of a run that looks for caught errors if no file of the user seems to catch any.
_SMALL: Final = 4_096
_NO_STEPS: Final = "For {}, the module calls a recurrent layer with a sequence of no steps."


def find_program_right_for_all_sizes(
    module: nn.Module,
    example: tuple[Tensor, ...],
    make_form: Callable[[TracedProgram], RunnableProgram] = make_runnable_program,
    *,
    one_text: bool = False,
) -> TracedProgram:
    """Trace a module with dynamic batch and sequence axes, and return a program that is right for all sizes.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: the module's inputs: token ids int64 [batch, sequence], and perhaps a second tensor [batch, ...]; at
            least two rows and steps.
        make_form: a function that converts a program to what will be shipped, such as an ONNX graph; raises ExportError
            if it cannot. The answers of the result are compared with the module's. By default, the program runs in
            PyTorch.
        one_text: whether to keep the batch size of the example, which is 1, and make only the sequence axis dynamic.

    Raises:
        ExportError: there is no program with the module's answers; the message names the line of the module's code.
    """
    # The ids of random inputs are rows of each embedding.
    ids = min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=1)
    compared = FreshCopyModule(module, example, ids)
    usual = compared.draw_inputs(Sizes(len(example[0]), USUAL.tokens))
    before = compute_answer_or_none(compared, usual)
    found = _find_program_with_answers_of_module(compared, make_form, one_text=one_text)
    if before is not None:
        refuse_answers_changed_by_earlier_runs(compared, found, usual, before)
    most = LARGEST if find_files_that_may_catch_errors(module) else _SMALL
    bounds = [
        sizes for sizes in found.bounds if is_within_limits(found.limits, sizes) and sizes.batch * sizes.tokens <= most
    ]
    refuse_caught_errors_of_rare_texts(compared.module, [usual, *map(compared.draw_inputs, bounds)])
    return found


def _find_program_with_answers_of_module(
    compared: FreshCopyModule, make_form: Callable[[TracedProgram], RunnableProgram], *, one_text: bool
) -> TracedProgram:
    """Find a program that gives the module's answers for all sizes. Raise an ExportError if there is none. The caller
    must still refuse modules that store values between calls, and modules that catch their own errors.

    Args:
        make_form: a function that converts a program to what will be shipped, such as an ONNX graph.
        one_text: whether the batch size is always 1.
    """
    made, log = functools.cache(make_form), TraceLog()

    def trace_with_log(plan: TracePlan | None, log: TraceLog, **how: bool) -> TracedProgram:
        example = compared.example if plan is None else resize_example(compared.example, plan.example)
        found = trace_program(compared.module, example, plan, log, one_text=one_text, **how)
        made(found)
        return found

    plain = _trace_fixed_width_loops(trace_with_log, compared) or _trace_with_branches_of_example(trace_with_log, log)
    refuse_size_tests_in_loops(log)
    if takes_two_texts(compared.example):
        log = replace(log, questions=find_conditions_that_program_may_disobey(compared, plain, log.questions))
        _refuse_size_tests_of_two_texts(plain, log)
    if isinstance(plain, TracedProgram):
        graph = made(plain)
        compared = (compared if graph.ids is None else replace(compared, ids=graph.ids)).add_compared_ids(plain.program)
        _refuse_ordinary_trace_faults(compared, plain, graph.run, log)
        if not log.questions:
            refuse_answers_that_depend_on_other_texts(compared, plain)
            notes = plain.notes + refuse_differences_at_other_sizes(compared, plain, graph.run)
            return replace(plain, notes=notes, padding_tells=find_harmful_padding_ids(compared, plain))

    non_forgetting = _NonForgettingModule.make_copy(compared)

    def make_attempt(program: TracedProgram, log: TraceLog) -> ProgramAttempt[TracedProgram]:
        def run_program(sizes: Sizes) -> Any:
            # onnxruntime kills the process for a recurrent layer without a step.
            if not all(question.holds(sizes) for question in log.steps):
                raise ExportError(_NO_STEPS.format(describe_sizes(sizes)), "Call the layer with at least one step.")
            return made(program).run(compared.draw_inputs(sizes))

        non_forgetting_run = None if non_forgetting is None else non_forgetting.make_run(program)
        return ProgramAttempt(program, log, run_program, program.plan, non_forgetting_run)

    def trace_plan(plan: TracePlan) -> ProgramAttempt[TracedProgram]:
        log = TraceLog()
        return make_attempt(trace_with_log(plan, log), log)

    found = find_program_for_all_sizes(
        make_attempt(plain, log) if isinstance(plain, TracedProgram) else plain,
        log.questions,
        _make_recorder_of_size_conditions(compared, trace_plan),
        trace_plan,
        lambda sizes: compared(compared.draw_inputs(sizes)),
        compared.compute_float64_logits,
        batch=1 if one_text else None,
        non_forgetting=None if non_forgetting is None else non_forgetting.make_answer_judge(1 if one_text else None),
        choices=lambda sizes: record_choosing_operators_and_read_weights(compared.module, compared.draw_inputs(sizes)),
        computes_values=_make_check_of_values_at_other_sizes(compared),
    )
    if non_forgetting is not None:
        non_forgetting.refuse_incomplete_form(found.traced, make_form, found.bounds)
    settled = replace(found.traced, limits=found.limits, bounds=found.bounds)
    compared = compared.add_compared_ids(settled.program)
    refuse_answers_that_depend_on_other_texts(compared, settled)
    notes = refuse_differences_at_other_sizes(compared, settled, made(found.traced).run)
    return replace(settled, notes=notes, padding_tells=find_harmful_padding_ids(compared, settled))


def _make_check_of_values_at_other_sizes(compared: FreshCopyModule) -> Callable[[TracedProgram, Sizes, Sizes], bool]:
    """Return a function of a program, the sizes that it was traced for, and other sizes. It returns whether the program
    computes all values that the module's forward computes for the other sizes."""
    values = ForwardValues(compared.module)
    return lambda program, own, sizes: values.are_computed_by_program(
        program, compared.draw_inputs(own), compared.draw_inputs(sizes)
    )


@dataclass(frozen=True)
class _NonForgettingModule:
    """A copy of a module whose recurrent layers forget nothing, and its weights by their names in a program."""

    compared: FreshCopyModule
    weights: dict[str, Tensor]

    @classmethod
    def make_copy(cls, compared: FreshCopyModule) -> _NonForgettingModule | None:
        """Copy a module, and set weights with which the copy's recurrent layers keep their states. Return None if the
        module does not have such layers."""
        module = copy_with_layers_that_forget_nothing(compared.module)
        if module is None:
            return None
        named = copy_without_comparison(module)
        add_onnx_weights(named)
        return cls(replace(compared, module=module), named.state_dict())

    def make_run(self, program: TracedProgram) -> Callable[[Sizes], Any] | None:
        """Return a function that runs a program with this module's weights, on random inputs of the sizes that the
        function gets. Return None if the program has weights that this module does not have."""
        if not self.weights.keys() >= program.program.state_dict.keys():
            return None
        run = make_runnable_program(program, self.weights).run
        return lambda sizes: run(self.compared.draw_inputs(sizes))

    def refuse_incomplete_form(
        self,
        program: TracedProgram,
        make_form: Callable[[TracedProgram], RunnableProgram],
        compared_sizes: Iterable[Sizes],
    ) -> None:
        """Raise an ExportError if an exported graph lacks a part of its program: with weights by which recurrent layers
        forget nothing, the two give different answers.

        Args:
            make_form: a function that exports a program, such as to an ONNX graph.
            compared_sizes: the sizes of the random inputs on which the two are compared.
        """
        if (run := self.make_run(program)) is None:
            return
        form = make_form(replace(program, program=replace_program_weights(program.program, self.weights))).run
        for sizes in compared_sizes:
            inputs = self.compared.draw_inputs(sizes)
            # onnxruntime kills the process for a recurrent layer without a step; PyTorch raises an error.
            if compute_answer_or_none(self.compared, inputs) is None:
                continue
            expected = compute_answer_or_none(run, sizes)
            if expected is not None and compute_largest_difference(form(inputs), expected) > APART:
                raise ExportError(
                    f"For {describe_sizes(sizes)} and random test weights, the exported graph gives another answer "
                    "than the module.",
                    "This is a fault of pocketrnn: report it with the module.",
                )

    def make_answer_judge(self, batch: int | None) -> AnswerJudge:
        """Return an object that compares the answers of programs with those of this module. `batch` is a fixed number
        of texts, or None for any number."""
        return AnswerJudge(
            lambda sizes: self.compared(self.compared.draw_inputs(sizes)), self.compared.compute_float64_logits, batch
        )


def _refuse_size_tests_of_two_texts(plain: TracedProgram | ExportError, log: TraceLog) -> None:
    """Raise an ExportError if a module that takes two texts tests the size of a text: its other branches cannot be
    traced.

    Args:
        plain: the program, or the error with which the trace failed, which is then raised.
        log: the trace's record of forward's conditions on sizes.
    """
    if log.questions:
        # A condition in the module's own code tells more than one inside PyTorch.
        question = max(log.questions, key=lambda one: (one.branch, one.line > 0))
        raise ExportError(
            f"The module takes two texts and tests the size of one of them, {question.where} ({question.condition}), "
            "but a bundle for two texts must compute the same for all sizes.",
            "Compute the same for all sizes: no if on x.size(1), no cut to a fixed number of tokens, and no shape that "
            "requires the same number of tokens in both texts.",
        )
    if isinstance(plain, ExportError):
        raise plain


def _refuse_ordinary_trace_faults(
    compared: FreshCopyModule, plain: TracedProgram, graph: Answers, log: TraceLog
) -> None:
    """Raise an ExportError if the module catches an error that only tracing raises, if its graph is wrong for lengths
    that forward computes itself, if the iterations of its loop differ, or if its answer depends on the order of equal
    values.

    Args:
        plain: the program that was traced with the module's example.
        graph: a function that computes the answers of what was exported from this program.
        log: the record of the trace.
    """
    few = replace(compared, ids=1)
    refuse_caught_trace_errors(
        compared.module, log, few.draw_inputs(Sizes(len(compared.example[0]), compared.example[0].shape[1]))
    )
    if log.counted_lengths:
        refuse_graph_wrong_for_lengths_that_forward_computes(compared, graph)
    if plain.loops and not log.questions:
        refuse_unequal_iterations(compared, graph, plain)
    if plain.sort_operators:
        refuse_answers_that_depend_on_tie_order(compared, plain)


def _make_recorder_of_size_conditions(
    compared: FreshCopyModule, trace: Callable[[TracePlan], ProgramAttempt[TracedProgram]]
) -> Callable[[Sizes], FollowedRun]:
    """Return a function that runs a module's forward for the sizes that the function gets, and returns the record of
    the conditions on sizes that forward tests.

    Args:
        trace: a function that traces the module for some sizes; used where forward cannot be run with recorded
            conditions.
    """

    def follow_sizes(sizes: Sizes) -> FollowedRun:
        log = TraceLog(until=time.process_time() + _SECONDS_A_WAY)
        error = find_exception_of_forward_at_sizes(compared.module, resize_example(compared.example, sizes), sizes, log)
        if error is None or log.refused:
            log.raise_recorded_error()
            refuse_caught_trace_errors(compared.module, log, compared.draw_inputs(sizes))
            return FollowedRun(log)
        if compute_answer_or_none(compared, compared.draw_inputs(sizes)) is None:
            return FollowedRun(log, fails=not _is_raised_by_line_of_user_code(error))
        # A module that cannot be followed may still be traced.
        return FollowedRun(trace(TracePlan(sizes)).log)

    return follow_sizes


def _trace_fixed_width_loops(trace: Callable[..., TracedProgram], compared: FreshCopyModule) -> TracedProgram | None:
    """Trace a module that takes a fixed number of tokens and loops over them, as if it took any number. Then the trace
    contains the loop as one recurrent layer and not each step. Return None for all other modules, and for a loop whose
    steps do not compute the same.

    Args:
        trace: a function that traces the module.
    """
    free = copy_without_comparison(compared.module)
    width = free_width(free)
    if width is None or not loops_over_steps(free, compared.draw_inputs):
        return None
    with contextlib.suppress(ExportError):
        found = trace(None, TraceLog(), rolled=True)
        if found.loops:
            limits, one_text = Limits(max_tokens=max(width, MOST_SHORT_STEPS)), compared.one_text
            notes = refuse_loop_with_unequal_steps(
                free, limits, found.loops[0], compared.draw_inputs, None, one_text=one_text
            )
            return replace(found, loops=(), limits=Limits(width, width), notes=notes)
    return None


def _trace_with_branches_of_example(trace: Callable[..., TracedProgram], log: TraceLog) -> TracedProgram | ExportError:
    """Trace a module once, with the branches that its example inputs take. Return the program. If the trace fails
    because of a size, return the error, since a trace with other branches may succeed; raise any other error.

    Args:
        trace: a function that traces the module.
        log: where the trace records forward's conditions on sizes.
    """
    try:
        return trace(None, log)
    except ExportError as error:
        # An error of pocketrnn is final; one of torch.export may come from a size.
        if error.__cause__ is None:
            raise
        if log.counted_lengths:
            with contextlib.suppress(ExportError):
                return trace(None, log, cut_counted=False)
        if not log.questions:
            raise
        return error


def _is_raised_by_line_of_user_code(error: BaseException) -> bool:
    """Return whether an error was raised by a line of user code, and not by an operation of PyTorch that the line
    calls."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and is_user_frame(frames[-1])


# --- Conditions on the sizes of two texts that a program does not obey ---
#
# A condition in the module's own code has two branches, and a trace holds one of them. A condition inside a PyTorch
# operation (where a slice ends, which of two sizes is larger) may hold in the program for all sizes. So the program
# is compared with the module at sizes around it.

# The number of pairs in a batch, and the numbers of tokens of their first and of their second texts.
_PairSizes = tuple[int, int, int]
# The sizes of each text, combined with each size of the other: sizes near each other, and some far apart.
_SIZES: Final = (*range(1, 10), 17, 40)
_BATCHES: Final = (1, 2, 5)
# How far beyond a number in a condition sizes are tried, and how many sizes on each side of it.
_BEYOND: Final = 3
_MOST: Final = 40
# On this many of these, the values behind gates are compared, too.
_FEW: Final = 4


def find_conditions_that_program_may_disobey(
    compared: FreshCopyModule, plain: TracedProgram | ExportError, questions: Sequence[Question]
) -> list[Question]:
    """For a module that takes two texts, return the conditions on sizes for which its program may compute only one of
    the two branches.

    These are all conditions in user code; those inside PyTorch at whose sizes the module fails, or the program gives
    another answer; and those that are always true, or always false, at all sizes that are tried.

    Args:
        plain: the program of the module; or the error with which its trace failed, for which all conditions are
            returned.
        questions: the recorded conditions.
    """
    if isinstance(plain, ExportError):
        return list(questions)
    run = make_runnable_program(plain).run
    values, usual = ForwardValues(compared.module), compared.draw_inputs(USUAL)

    def may_be_disobeyed(question: Question) -> bool:
        if question.branch or question.number:
            return True
        for holds in (True, False):
            sides = [
                sizes
                for sizes in _list_pair_sizes_near_condition(question)
                if question.condition.holds_for_two_texts(*sizes) == holds
            ]
            for i, (batch, first, second) in enumerate(sides[:_MOST]):
                inputs = compared.draw_inputs_of_two_texts(batch, first, second)
                if compute_answer_or_none(compared, inputs) is None or not compared.agrees(run, inputs):
                    return True
                if i < _FEW and not values.are_computed_by_program(plain, usual, inputs):
                    return True
            if not sides:
                return True
        return False

    return list(filter(may_be_disobeyed, questions))


def _list_pair_sizes_near_condition(question: Question) -> list[_PairSizes]:
    """Return sizes of pairs, each (number of pairs, tokens of the first texts, tokens of the second texts), at which a
    program and its module are compared to test a condition on sizes. Sizes near the numbers in the condition come
    first."""
    named = [abs(int(number)) for number in question.condition.numbers]
    near = sorted({n + more for n in named for more in range(-_BEYOND, _BEYOND + 1) if n + more > 0 and n < 5_000})
    beside = (1, 4, 9)
    found = [(2, n, other) for n in near for other in beside] + [(2, other, n) for n in near for other in beside]
    found += [(2, n, n) for n in near]
    pairs = sorted(itertools.product(_SIZES, _SIZES), key=lambda pair: abs(pair[0] - pair[1]))
    return [*found, *((_BATCHES[i % len(_BATCHES)], *pair) for i, pair in enumerate(pairs))]


# --- A copy that forgets nothing ---
# Copy a module so that its recurrent layers forget nothing. Then the answer changes if the program lost a part of the
# module's code.
#
# A GRU with its initial weights halves its state in a step or two. So `x[:, -100:]` before it changes no digit of an
# answer, and a program without that slice agrees with the module on every random text; but with a trained layer that
# keeps its state over some words, it does not. Whether a program is right must not depend on the weights, so it is
# also compared with these weights.

# Its sigmoid is 0.9995: after 2,000 steps, a third of a step's change is left.
_KEPT: Final = 7.5
# The bias of an LSTM's input gate, which lets one part in 150 through; the cell adds these up.
_LET_IN: Final = -5.0
# A layer without gates keeps its state and adds a little: with large additions, tanh would forget what came before.
_PASSED_ON: Final = 0.9995
_ADDED: Final = 0.003
# With this bias, the state of a ReLU layer never falls to 0.
_RISEN: Final = 0.01


def copy_with_layers_that_forget_nothing(module: nn.Module) -> nn.Module | None:
    """Copy a module, and set weights with which the copy's recurrent layers keep their states, so that even the first
    tokens of a long text change the answer. Layers without biases stay as they are. Return None if no layer was
    changed."""
    copy, changed = copy_without_comparison(module), False
    with torch.no_grad():
        for layer in copy.modules():
            if isinstance(layer, nn.RNNBase | nn.RNNCellBase) and layer.bias:
                rectified = "relu" in str(getattr(layer, "nonlinearity", "")).lower()
                for name, weight in layer.named_parameters(recurse=False):
                    changed |= _set_non_forgetting_weight(name, weight, int(layer.hidden_size), rectified=rectified)
    return copy if changed else None


def _set_non_forgetting_weight(name: str, weight: Tensor, hidden_size: int, *, rectified: bool) -> bool:
    """Change a weight or bias of a recurrent layer in place, so that the layer keeps its state. Return False, and
    change nothing, for other parameters.

    Args:
        name: the parameter's name in its layer, such as `weight_hh_l0`.
        weight: the parameter.
        hidden_size: the hidden size of the layer.
        rectified: whether the layer uses ReLU in place of tanh.
    """
    kind = name.partition("_l")[0]
    if kind not in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        return False
    gates = {4: "ifgo", 3: "rzn", 1: "n"}[len(weight) // hidden_size]
    for gate, rows in zip(gates, torch.split(weight, hidden_size), strict=True):
        if gate in "izf":
            rows.fill_({"bias_ihi": _LET_IN, "bias_ihz": _KEPT, "bias_ihf": _KEPT}.get(kind + gate, 0.0))
        elif gates == "n" and kind.startswith("bias"):
            rows.fill_(_RISEN if rectified and kind == "bias_ih" else 0.0)
        elif gates == "n":
            square = kind == "weight_hh" and rows.shape == (hidden_size, hidden_size)
            rows.copy_(torch.eye(hidden_size) * _PASSED_ON) if square else rows.mul_(_ADDED)
    return True
