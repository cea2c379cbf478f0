"""The program of a module that is right for every batch and sequence length, or up to a stated limit; or a refusal.

A module is traced, and what forward asks about sizes on the way is noted. If it asks nothing, the one trace is right
for all sizes, as far as its loops, its own lengths and its sorting let it: those are compared with the module. If it
asks, `sizes/restrictions.py` finds a program that agrees with the module in every region of sizes.

How a program is run to be compared is given from outside: as the graph that a form makes of it, or, by default, in
PyTorch, where each operator of ours has a plain implementation. So "is this trace right" needs no form.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.cases import LARGEST
from pocketrnn_export.intake.user_frames import is_users
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.proof.asked_module import AskedModule, example_of
from pocketrnn_export.proof.every_size import APART, Answers, answer_if_any
from pocketrnn_export.proof.lasting_states import with_lasting_states
from pocketrnn_export.proof.pair_questions import questions_left
from pocketrnn_export.proof.pytorch_run import Runnable, run_in_pytorch
from pocketrnn_export.proof.rare_errors import refuse_rare_errors
from pocketrnn_export.proof.trace_checks import (
    refuse_caught_errors,
    refuse_changed,
    refuse_counted_lengths,
    refuse_counting,
    refuse_loops,
    refuse_mixed_rows,
    refuse_other_sizes,
    refuse_ties,
    told_by_padding,
)
from pocketrnn_export.torch_internals import with_state
from pocketrnn_export.tracing.layers.layer_weights import add_onnx_weights
from pocketrnn_export.tracing.python_semantics.caught_errors import files_that_catch
from pocketrnn_export.tracing.session import of_two_texts
from pocketrnn_export.tracing.sizes.conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.module_answers import Attempt, Judge, furthest, in_words, inside
from pocketrnn_export.tracing.sizes.questions import TraceLog
from pocketrnn_export.tracing.sizes.restrictions import settled
from pocketrnn_export.tracing.sizes.size_regions import Followed
from pocketrnn_export.tracing.sizes.trace_plan import TracePlan
from pocketrnn_export.tracing.trace import TracedProgram, followed_for, traced_program

__all__ = ["right_program"]

# So long one way of forward is followed: a function that calls itself for the halves of a long text has no end.
_SECONDS_A_WAY: Final = 15
# So many tokens a run has at most in which errors are looked for that no file of the user's seems to catch.
_SMALL: Final = 4_096


def right_program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    judged: Callable[[TracedProgram], Runnable] = run_in_pytorch,
    *,
    one_text: bool = False,
) -> TracedProgram:
    """Trace a module with every batch and sequence axis dynamic, so that it is right for all sizes.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: what the module takes: token ids int64 [batch, sequence], and perhaps a second tensor [batch, ...]; of
            at least two rows and steps.
        judged: makes of a program what is compared with the module; raises ExportError where there is no such form.
        one_text: keep the batch of the example, which is one, and only the sequence dynamic.

    Raises:
        ExportError: there is no program that answers as the module does; names the line of its code.

    Example:
        >>> right_program(module.eval(), (torch.zeros(3, 7, dtype=torch.int64),)).limits
        Limits(min_tokens=1, max_tokens=None, max_batch=None, real_token=False)
    """
    asked = AskedModule(module, example, _ids_of(module))
    usual = asked.inputs(Sizes(len(example[0]), USUAL.tokens))
    before = answer_if_any(asked, usual)
    found = _program(asked, judged, one_text=one_text)
    if before is not None:
        refuse_changed(asked, found, usual, before)
    most = LARGEST if files_that_catch(module) else _SMALL
    bounds = [sizes for sizes in found.bounds if inside(found.limits, sizes) and sizes.batch * sizes.tokens <= most]
    refuse_rare_errors(asked.module, [usual, *map(asked.inputs, bounds)])
    return found


def _program(asked: AskedModule, judged: Callable[[TracedProgram], Runnable], *, one_text: bool) -> TracedProgram:
    """The program of a module that is right for all sizes.

    Raises:
        ExportError: there is none.
    """
    made, log = functools.cache(judged), TraceLog()

    def traced(plan: TracePlan | None, log: TraceLog, *, cut_counted: bool = True) -> TracedProgram:
        example = asked.example if plan is None else example_of(asked.example, plan.example)
        found = traced_program(asked.module, example, plan, log, one_text=one_text, cut_counted=cut_counted)
        made(found)
        return found

    plain = _plain_trace(traced, log)
    refuse_counting(log)
    if of_two_texts(asked.example):
        log = replace(log, questions=questions_left(asked, plain, log.questions))
        _refuse_questions(plain, log)
    if isinstance(plain, TracedProgram):
        graph = made(plain)
        asked = (asked if graph.ids is None else replace(asked, ids=graph.ids)).knowing(plain.program)
        _check_plain(asked, plain, graph.run, log)
        if not log.questions:
            refuse_mixed_rows(asked, plain)
            notes = refuse_other_sizes(asked, plain, graph.run)
            return replace(plain, notes=notes, padding_tells=told_by_padding(asked, plain))

    lasting = _Lasting.of(asked)

    def attempt(program: TracedProgram, log: TraceLog) -> Attempt[TracedProgram]:
        def run(sizes: Sizes) -> Any:
            # onnxruntime ends the process for a recurrent layer without a step.
            if not all(question.holds(sizes) for question in log.steps):
                raise ExportError("A recurrent layer has no step to run.", "Give it one.")
            return made(program).run(asked.inputs(sizes))

        return Attempt(program, log, run, program.plan, None if lasting is None else lasting.run(program))

    def trace(plan: TracePlan) -> Attempt[TracedProgram]:
        log = TraceLog()
        return attempt(traced(plan, log), log)

    found = settled(
        attempt(plain, log) if isinstance(plain, TracedProgram) else plain,
        log.questions,
        _follower(asked, trace),
        trace,
        lambda sizes: asked(asked.inputs(sizes)),
        asked.in_doubles,
        batch=1 if one_text else None,
        lasting=None if lasting is None else lasting.judge(1 if one_text else None),
    )
    if lasting is not None:
        lasting.refuse_lost(found.traced, judged, found.bounds)
    settled_program = replace(found.traced, limits=found.limits, bounds=found.bounds)
    asked = asked.knowing(settled_program.program)
    refuse_mixed_rows(asked, settled_program)
    notes = refuse_other_sizes(asked, settled_program, made(found.traced).run)
    return replace(settled_program, notes=notes, padding_tells=told_by_padding(asked, settled_program))


@dataclass(frozen=True)
class _Lasting:
    """A module with weights that forget nothing, and these by the names that a program has for them."""

    asked: AskedModule
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, asked: AskedModule) -> _Lasting | None:
        module = with_lasting_states(asked.module)
        if module is None:
            return None
        named = copied_again(module)
        add_onnx_weights(named)
        return cls(replace(asked, module=module), named.state_dict())

    def run(self, program: TracedProgram) -> Callable[[Sizes], Any] | None:
        if not self.weights.keys() >= program.program.state_dict.keys():
            return None
        run = run_in_pytorch(program, self.weights).run
        return lambda sizes: run(self.asked.inputs(sizes))

    def refuse_lost(
        self, program: TracedProgram, judged: Callable[[TracedProgram], Runnable], bounds: Iterable[Sizes]
    ) -> None:
        """Refuse a form that lost something of a program on its way from it, at sizes on both sides of what forward
        asks.

        Raises:
            ExportError: its answers are others.
        """
        if (run := self.run(program)) is None:
            return
        form = judged(replace(program, program=with_state(program.program, self.weights))).run
        for sizes in bounds:
            inputs = self.asked.inputs(sizes)
            # onnxruntime ends the process for a recurrent layer without a step, where PyTorch raises an error.
            if answer_if_any(self.asked, inputs) is None:
                continue
            expected = answer_if_any(run, sizes)
            if expected is not None and furthest(form(inputs), expected) > APART:
                raise ExportError(
                    f"The graph loses something of forward on {in_words(sizes)} where a recurrent layer keeps its "
                    "state for long.",
                    "Report the module: this is a fault of pocketrnn.",
                )

    def judge(self, batch: int | None) -> Judge:
        return Judge(lambda sizes: self.asked(self.asked.inputs(sizes)), self.asked.in_doubles, batch)


def _refuse_questions(plain: TracedProgram | ExportError, log: TraceLog) -> None:
    """Refuse a module of two texts that asks about the size of one: what is traced for a size is of one text.

    Raises:
        ExportError: it does, or there is no ordinary trace.
    """
    if log.questions:
        # A question of the module itself says more than one of PyTorch on its behalf.
        question = max(log.questions, key=lambda one: (one.branch, one.line > 0))
        raise ExportError(
            f"The module takes two texts and asks about the size of one, {question.where} ({question.condition}), "
            "which a bundle of pairs cannot follow.",
            "Compute the same for all sizes: no if by x.size(1), no cut to a fixed number of tokens, and no shape in "
            "which the two texts must have as many tokens.",
        )
    if isinstance(plain, ExportError):
        raise plain


def _check_plain(asked: AskedModule, plain: TracedProgram, graph: Answers, log: TraceLog) -> None:
    """Refuse what an ordinary trace shows to be wrong, whatever forward asks about sizes."""
    few = replace(asked, ids=1)
    refuse_caught_errors(asked.module, log, few.inputs(Sizes(len(asked.example[0]), asked.example[0].shape[1])))
    if log.counted_lengths:
        refuse_counted_lengths(asked, graph)
    if plain.loops and not log.questions:
        refuse_loops(asked, graph, plain)
    if plain.orders:
        refuse_ties(asked, plain)


def _follower(asked: AskedModule, trace: Callable[[TracePlan], Attempt[TracedProgram]]) -> Callable[[Sizes], Followed]:
    """The function that follows forward for some sizes, without a program where that is possible."""

    def follow(sizes: Sizes) -> Followed:
        log = TraceLog(until=time.process_time() + _SECONDS_A_WAY)
        error = followed_for(asked.module, example_of(asked.example, sizes), sizes, log)
        if error is None or log.refused:
            log.check_answered()
            refuse_caught_errors(asked.module, log, asked.inputs(sizes))
            return Followed(log)
        if answer_if_any(asked, asked.inputs(sizes)) is None:
            return Followed(log, fails=not _raised_by_user(error))
        # A program can be traced more ways than forward can be followed.
        return Followed(trace(TracePlan(sizes)).log)

    return follow


def _plain_trace(traced: Callable[..., TracedProgram], log: TraceLog) -> TracedProgram | ExportError:
    """The ordinary trace, which is right for all sizes if forward asks nothing about them; or why there is none.

    Raises:
        ExportError: there is none, and no size is to blame.
    """
    try:
        return traced(None, log)
    except ExportError as error:
        # An error of ours says what is wrong; one of torch.export may be about a size.
        if error.__cause__ is None:
            raise
        if log.counted_lengths:
            with contextlib.suppress(ExportError):
                return traced(None, log, cut_counted=False)
        if not log.questions:
            raise
        return error


def _raised_by_user(error: BaseException) -> bool:
    """Whether a line of forward raised an error, rather than an operation that it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and is_users(frames[-1])


def _ids_of(module: nn.Module) -> int:
    """How many ids a module is tried with, where what is made of it does not say: the rows of the smallest table."""
    return min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=1)
