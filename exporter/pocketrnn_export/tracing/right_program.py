"""The program of a module that is right for every batch and sequence length, or up to a stated limit; or a refusal.

A module is traced, and what forward asks about sizes on the way is noted. If it asks nothing, the one trace is right
for all sizes, as far as its loops, its own lengths and its sorting let it: those are compared with the module. If it
asks, `pocketrnn_export.tracing.restrictions` finds a program that agrees with the module in every region of sizes.

How a program is run to be compared is given from outside: as the graph that a form makes of it, or, by default, in
PyTorch, where each operator of ours has a plain implementation. So "is this trace right" needs no form.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import sympy
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_frames import is_users
from pocketrnn_export.proof.cpu_run import answer_of, quietly_on_cpu
from pocketrnn_export.proof.whole_copy import copied_again
from pocketrnn_export.tracing.across_rows import place_across_rows, symbols_of_batch
from pocketrnn_export.tracing.conditions import USUAL, Sizes
from pocketrnn_export.tracing.every_size import SECONDS, answer_if_any, check_every_size
from pocketrnn_export.tracing.every_step import check_every_step
from pocketrnn_export.tracing.mixed_rows import place_of_mixed_rows
from pocketrnn_export.tracing.questions import TraceLog, UntraceableError
from pocketrnn_export.tracing.restrictions import Attempt, TracePlan, furthest, inside, settled
from pocketrnn_export.tracing.size_regions import Followed
from pocketrnn_export.tracing.trace import TracedProgram, errors_in, followed_for, traced_program
from pocketrnn_export.tracing.unstable_sort import ties_the_other_way

__all__ = ["Runnable", "example_of", "right_program", "run_in_pytorch"]


# So long one way of forward is followed: a function that calls itself for the halves of a long text has no end.
_SECONDS_A_WAY: Final = 15


@dataclass(frozen=True)
class Runnable:
    """A program as it is run to be judged.

    Attributes:
        run: of inputs as the module takes them, the logits as an array [batch, classes]; may raise anything.
        ids: how many ids it takes; None where that is not known.
    """

    run: Callable[[tuple[Tensor, ...]], Any]
    ids: int | None = None


def run_in_pytorch(traced: TracedProgram) -> Runnable:
    """A program as PyTorch runs it, operator by operator, without the checks that it is restricted by.

    Example:
        >>> run_in_pytorch(traced).run((tokens, lengths)).shape
        (3, 4)
    """
    program = traced.program
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    forward = functools.cache(lambda: _without_checks(program.graph_module))

    def run(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            answers = forward()(*_arguments(program, inputs))
        return answers[kinds.index(OutputKind.USER_OUTPUT)].numpy()

    return Runnable(run)


def _arguments(program: torch.export.ExportedProgram, inputs: tuple[Tensor, ...]) -> list[Any]:
    """What the graph of a program takes, weights among it, for what the module takes."""
    given, known = iter(inputs), {**program.constants, **program.state_dict}
    specs = program.graph_signature.input_specs
    return [next(given) if spec.kind == InputKind.USER_INPUT else known[str(spec.target)] for spec in specs]


def _without_checks(module: torch.fx.GraphModule) -> Callable[..., Any]:
    """The code of a graph without what it asserts of sizes, which is no part of any form. An interpreter of the nodes
    takes half as long again for a small classifier, which is asked at hundreds of sizes."""
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in reversed(graph.nodes):
        if "_assert" in str(node.target):
            graph.erase_node(node)
    # Not by calling the module, which prints the code of what fails.
    return torch.fx.GraphModule(module, graph).forward


class _Values(torch.fx.Interpreter):
    """What each node of a program computes. What it asserts of sizes is no part of any form."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self._program = program

    def __call__(self, inputs: tuple[Tensor, ...]) -> dict[torch.fx.Node, Any]:
        """The values for what the module takes; none where a node fails."""

        def run(*inputs: Tensor) -> Any:
            with torch.no_grad():
                return self.run(*_arguments(self._program, inputs))

        return {} if answer_if_any(run, *inputs) is None else dict(self.env)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return None if "_assert" in str(target) else super().call_function(target, args, kwargs)


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
    inputs_of = functools.partial(_inputs_of, example, ids=_ids_of(module, None))
    usual = inputs_of(Sizes(len(example[0]), USUAL.tokens))
    before = answer_if_any(_run_of_module(module), usual)
    found = _program(module, example, judged, one_text=one_text)
    if before is not None:
        _refuse_changed(module, found, inputs_of, usual, before)
    return found


def _program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    judged: Callable[[TracedProgram], Runnable],
    *,
    one_text: bool,
) -> TracedProgram:
    """The program of a module that is right for all sizes.

    Raises:
        ExportError: there is none.
    """
    made, log = functools.cache(judged), TraceLog()

    def traced(plan: TracePlan | None, asked: TraceLog, *, cut_counted: bool = True) -> TracedProgram:
        of_plan = example if plan is None else example_of(example, plan.example)
        found = traced_program(module, of_plan, plan, asked, one_text=one_text, cut_counted=cut_counted)
        made(found)
        return found

    plain = _plain_trace(traced, log)
    _refuse_counting(log)
    reference = _run_of_module(module)
    ids = _ids_of(module, made(plain) if isinstance(plain, TracedProgram) else None)

    def at_every_size(found: TracedProgram, limits: Limits) -> None:
        _check_every_size(module, reference, found, limits, made(found).run, example, ids)

    if isinstance(plain, TracedProgram):
        _check_caught(module, log, _inputs_of(example, Sizes(len(example[0]), example[0].shape[1]), 1))
        if log.counted_lengths:
            _check_counted(reference, made(plain).run, example, ids)
        if plain.loops and not log.questions:
            _check_loops(reference, made(plain).run, example, plain, ids)
        if plain.orders:
            _check_ties(reference, example, plain, ids)
        if not log.questions:
            at_every_size(_of_rows(plain, example, ids), plain.limits)
            return plain

    def attempt(program: TracedProgram, asked: TraceLog, *, is_plain: bool) -> Attempt[TracedProgram]:
        def run(sizes: Sizes) -> Any:
            # onnxruntime ends the process for a recurrent layer without a step.
            if not all(question.holds(sizes) for question in asked.steps):
                raise ExportError("A recurrent layer has no step to run.", "Give it one.")
            return made(program).run(_inputs_of(example, sizes, ids))

        return Attempt(program, asked, run, plain=is_plain)

    def trace(plan: TracePlan) -> Attempt[TracedProgram]:
        asked = TraceLog()
        return attempt(traced(plan, asked), asked, is_plain=False)

    in_doubles = _run_of_module(module, doubles=True)
    found = settled(
        attempt(plain, log, is_plain=True) if isinstance(plain, TracedProgram) else plain,
        log.questions,
        _follower(module, example, reference, ids, trace),
        trace,
        lambda sizes: reference(_inputs_of(example, sizes, ids)),
        lambda sizes: in_doubles(_inputs_of(example, sizes, ids)),
        batch=1 if one_text else None,
    )
    at_every_size(_of_rows(found.traced, example, ids), found.limits)
    return replace(found.traced, limits=found.limits, bounds=found.bounds)


def _refuse_changed(
    module: nn.Module,
    found: TracedProgram,
    inputs_of: Callable[[Sizes], tuple[Tensor, ...]],
    usual: tuple[Tensor, ...],
    before: Any,
) -> None:
    """Refuse a module that answers a text otherwise once it was asked about texts of other sizes.

    Those are what a trace and its checks ask about, and then what stands on both sides of forward's own questions.

    Args:
        module: a copy is asked.
        found: its program.
        inputs_of: random inputs of some sizes, as the module takes them.
        usual: the text.
        before: its answer, before anything else was asked.

    Raises:
        ExportError: it does.
    """
    changed = "what its file, its classes or its functions hold was changed by texts of other sizes"
    copied, started = copied_again(module), time.process_time()
    for sizes in (None, *found.bounds):
        if time.process_time() - started > SECONDS:
            return
        if sizes is not None:
            if not inside(found.limits, sizes):
                continue
            changed = f"one of {sizes.batch} x {sizes.tokens} tokens changes what comes after it"
            answer_if_any(functools.partial(answer_of, copied), inputs_of(sizes))
        after = answer_if_any(functools.partial(answer_of, copied), usual)
        if after is None or not np.allclose(after, before, rtol=1e-4, atol=1e-4, equal_nan=True):
            raise ExportError(
                f"The module's answer to a text depends on the texts that it was asked before: {changed}.",
                "Let forward keep nothing that a later answer depends on, in the module, its file or a default "
                "argument.",
            )


def _of_rows(traced: TracedProgram, example: tuple[Tensor, ...], ids: int) -> TracedProgram:
    """A program that computes each row from its own tokens.

    Raises:
        UntraceableError: it computes across the rows of a batch.
    """
    place = place_across_rows(traced.program)
    if not place and (batch := symbols_of_batch(traced.program)):
        place = place_of_mixed_rows(
            _Values(traced.program),
            lambda rows, steps: _inputs_of(example, Sizes(rows, steps), ids),
            batch,
        )
    if place:
        raise UntraceableError(
            f"The module computes across the texts of a batch, {place}, so that a text may be answered by its "
            "neighbours.",
            "Compute each text's answer from its own tokens: name the axis of a sum, a maximum or a count.",
        )
    return traced


def _check_every_size(
    module: nn.Module,
    reference: Callable[..., Any],
    found: TracedProgram,
    limits: Limits,
    exported: Callable[..., Any],
    example: tuple[Tensor, ...],
    ids: int,
) -> None:
    """Refuse a program that answers otherwise than its module at one size.

    Raises:
        ExportError: it does.
    """

    def agree(sizes: Sizes) -> bool:
        inputs = _inputs_of(example, sizes, ids)
        expected = answer_if_any(reference, inputs)
        return expected is None or _answers_so(exported, inputs, expected)

    inputs_of = functools.partial(_inputs_of, example, ids=ids)
    in_pytorch, one_text = run_in_pytorch(found).run, len(example[0]) == 1
    # First, since it names the loop.
    if found.loops:
        check_every_step(module, limits, found.loops[0], inputs_of, agree, one_text=one_text)
    check_every_size(module, in_pytorch, limits, inputs_of, agree, one_text=one_text)


def _follower(
    module: nn.Module,
    example: tuple[Tensor, ...],
    reference: Callable[..., Any],
    ids: int,
    trace: Callable[[TracePlan], Attempt[TracedProgram]],
) -> Callable[[Sizes], Followed]:
    """What follows forward for some sizes, without a program where that is possible."""

    def follow(sizes: Sizes) -> Followed:
        asked = TraceLog(until=time.process_time() + _SECONDS_A_WAY)
        error = followed_for(module, example_of(example, sizes), sizes, asked)
        if error is None or asked.refused:
            asked.check_answered()
            _check_caught(module, asked, _inputs_of(example, sizes, ids))
            return Followed(asked)
        if answer_if_any(reference, _inputs_of(example, sizes, ids)) is None:
            return Followed(asked, fails=not _raised_by_user(error))
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


def _refuse_counting(log: TraceLog) -> None:
    """Refuse a forward that asks about a size in every iteration of a loop: `while t < x.size(1)`.

    Each way to trace it would be unrolled, for thousands of steps where a text has so many.

    Raises:
        ExportError: it does.
    """
    lines: dict[str, set[int]] = {}
    for question in log.questions:
        relation = question.condition.relation
        if question.branch and not isinstance(relation, sympy.Eq | sympy.Ne):
            lines.setdefault(question.where, set()).update(map(int, relation.atoms(sympy.Integer)))
    for where, numbers in lines.items():
        # Kernels of all these sizes are not tried in one line.
        if numbers >= set(range(2, USUAL.tokens)):
            raise ExportError(
                f"The module asks about a size in every iteration of a loop, {where}, which a trace freezes at one "
                "length.",
                "Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU.",
            )


def _check_caught(module: nn.Module, log: TraceLog, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a forward that went on after an error that it meets while it is traced, and not when it runs on inputs of
    the same sizes.

    Raises:
        ExportError: it did; the trace holds what it does then, and not what it does otherwise.
    """
    if not log.raised:
        return
    with torch.no_grad(), quietly_on_cpu():
        met = errors_in(copied_again(module), inputs)
    if caught := [line for line in log.raised if line not in met]:
        raise ExportError(
            f"The module catches an error that only tracing raises, and then does something else: {caught[0]}.",
            "Catch no errors there: read no values of tensors, such as by .item(), and give no size to code that wants "
            "a plain number, such as Decimal, Fraction or pickle.",
        )


def _raised_by_user(error: BaseException) -> bool:
    """Whether a line of forward raised an error, rather than an operation that it called."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and is_users(frame.tb_frame)


def _answers_so(graph: Callable[..., Any], inputs: tuple[Tensor, ...], expected: Any) -> bool:
    """Whether a graph runs and gives the module's answer."""
    given = answer_if_any(graph, inputs)
    return given is not None and given.shape == expected.shape and furthest(given, expected) <= 1e-4


def _check_counted(
    reference: Callable[..., Any], graph: Callable[..., Any], example: tuple[Tensor, ...], ids: int
) -> None:
    """Compare a graph of a module that packs by lengths of its own with the module, on rows that such lengths cut
    short.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = torch.Generator().manual_seed(7)
    edges = torch.tensor([0, 1, int(example[0][-1, -1]), ids - 1])
    one_text = len(example[0]) == 1
    for rows, width in ((1, 6), (3, 9), (4, 40), (2, 700)):
        batch = 1 if one_text else rows
        tokens, *second = _inputs_of(example, Sizes(batch, width), ids)
        special = torch.rand((batch, width), generator=generator) < 0.3
        special[:, 0] = False
        tokens = torch.where(special, edges[torch.randint(len(edges), (batch, width), generator=generator)], tokens)
        inputs = (tokens, *second)
        if (expected := answer_if_any(reference, inputs)) is None:
            continue
        if not _answers_so(graph, inputs, expected):
            raise ExportError(
                "The module packs by lengths that it counts or clamps itself, and the graph answers otherwise where "
                "these are shorter than the rows.",
                "Pack by the lengths that forward is given, or give pad_packed_sequence total_length=x.size(1).",
            )


def _check_loops(
    reference: Callable[..., Any], graph: Callable[..., Any], example: tuple[Tensor, ...], made: TracedProgram, ids: int
) -> None:
    """Compare a graph whose loops were traced by their first iterations with the module, at other lengths.

    Raises:
        ExportError: it answers otherwise.
    """
    for rows, width in ((1, 1), (2, 3), (3, 9), (2, 40), (1, 300)):
        inputs = _inputs_of(example, Sizes(1 if len(example[0]) == 1 else rows, width), ids)
        if (expected := answer_if_any(reference, inputs)) is None:
            continue
        if not _answers_so(graph, inputs, expected):
            raise UntraceableError(
                f"The module's loop over the steps of a text, {made.loops[0]}, does not do in each step what it does "
                f"in the first ones: at {width} tokens the graph of these answers otherwise.",
                "Do the same in every step, without break and without a look at the number of the step; or use "
                "nn.RNN, nn.LSTM or nn.GRU.",
            )


def _check_ties(reference: Callable[..., Any], example: tuple[Tensor, ...], traced: TracedProgram, ids: int) -> None:
    """Refuse a module whose answers change with the order of equal values, on texts that repeat their words.

    Raises:
        ExportError: they do.
    """
    for batch, width in ((1, 1), (3, 8), (4, 33)):
        tokens, *second = _inputs_of(example, Sizes(batch, width), ids)
        for repeated in (tokens, tokens[:, :1].expand_as(tokens).contiguous(), tokens[:, torch.arange(width) // 2]):
            inputs = (repeated, *(torch.full_like(v, width) if v.dim() == 1 else v for v in second))
            if (expected := answer_if_any(reference, inputs)) is None:
                continue
            if not furthest(ties_the_other_way(reference, inputs), expected) <= 1e-4:
                raise ExportError(
                    f"The module's answers depend on the order of equal values in {', '.join(traced.orders)}, which "
                    "PyTorch leaves undefined: a text that repeats a word has such.",
                    "Use the values and not their positions, or sort with stable=True.",
                )


def _ids_of(module: nn.Module, made: Runnable | None) -> int:
    """How many ids a module is tried with. Where what is made of it does not say, the rows of the smallest table do."""
    if made is not None and made.ids is not None:
        return made.ids
    return min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=1)


def example_of(example: tuple[Tensor, ...], sizes: Sizes) -> tuple[Tensor, ...]:
    """An example of other sizes, of the ids of the given one; one text stays one text."""
    sizes = sizes if len(example[0]) > 1 else replace(sizes, batch=1)
    tokens = example[0][:1, :1].expand(sizes.batch, sizes.tokens).contiguous()
    if len(example) == 1:
        return (tokens,)
    second = example[1]
    if second.dim() == 1:
        return tokens, torch.full((sizes.batch,), sizes.tokens, dtype=second.dtype)
    return tokens, second[:1].expand(sizes.batch, *second.shape[1:]).contiguous()


def _inputs_of(example: tuple[Tensor, ...], sizes: Sizes, ids: int) -> tuple[Tensor, ...]:
    """Random ids and, beside them, falling lengths from the whole width down, or a random state."""
    generator = torch.Generator().manual_seed(sizes.batch * 1_000_003 + sizes.tokens)
    # Without 0 and 1 where there are others: a module may take these for padding, and refuse a text of padding only.
    tokens = torch.randint(2 if ids > 4 else 0, ids, (sizes.batch, sizes.tokens), generator=generator)
    if len(example) == 1:
        return (tokens,)
    if example[1].dim() > 1:
        return tokens, torch.rand((sizes.batch, *example[1].shape[1:]), generator=generator).to(example[1].dtype)
    lengths = torch.randint(1, sizes.tokens + 1, (sizes.batch,), generator=generator)
    lengths[0] = sizes.tokens
    lengths = lengths.sort(descending=True).values
    # The last id of the example is after the end of its shortest row: the padding.
    tokens[torch.arange(sizes.tokens) >= lengths[:, None]] = example[0][-1, -1]
    return tokens, lengths


def _run_of_module(module: nn.Module, *, doubles: bool = False) -> Callable[[tuple[Tensor, ...]], Any]:
    """A module as it answers at first: what a run leaves behind in it is not seen by the next."""

    def run(inputs: tuple[Tensor, ...]) -> Any:
        copied = copied_again(module)
        if doubles:
            copied = copied.double()
            inputs = tuple(value.double() if value.is_floating_point() else value for value in inputs)
        answer = answer_of(copied, inputs)
        return (answer[0] if isinstance(answer, tuple) else answer).numpy()

    return run
