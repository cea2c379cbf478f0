"""The checks that refuse a trace, even if it is right at its own size: each compares the module with its program."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
import sympy
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.module_runs.cpu_run import answer_of, quietly_on_cpu
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.proof.across_rows import compared_numbers, place_across_rows, symbols_of_batch
from pocketrnn_export.proof.asked_module import AskedModule, is_text, with_whole_lengths
from pocketrnn_export.proof.every_size import APART, MOST_TOKENS, SECONDS, Answers, answer_if_any, check_every_size
from pocketrnn_export.proof.every_step import check_every_step
from pocketrnn_export.proof.mixed_rows import place_of_mixed_rows
from pocketrnn_export.proof.padded_steps import place_of_padded_steps
from pocketrnn_export.proof.pytorch_run import ValuesOfNodes, run_in_pytorch
from pocketrnn_export.proof.row_numbers import place_of_row_numbers
from pocketrnn_export.proof.row_owners import place_of_other_owners
from pocketrnn_export.proof.tied_values import place_of_tied_values
from pocketrnn_export.tracing.session import of_two_texts
from pocketrnn_export.tracing.sizes.conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.module_answers import furthest, inside
from pocketrnn_export.tracing.sizes.questions import TraceLog, UntraceableError
from pocketrnn_export.tracing.trace import TracedProgram, errors_in
from pocketrnn_export.tracing.unstable_sort import ties_the_other_way

__all__ = [
    "refuse_caught_errors",
    "refuse_changed",
    "refuse_counted_lengths",
    "refuse_counting",
    "refuse_loops",
    "refuse_mixed_rows",
    "refuse_other_sizes",
    "refuse_ties",
    "told_by_padding",
]

# The ids below this, and the last, may be what forward counts as padding.
_COUNTED: Final = 4
_MOST_IDS: Final = 12


def refuse_changed(asked: AskedModule, found: TracedProgram, usual: tuple[Tensor, ...], before: Any) -> None:
    """Refuse a module that answers a text otherwise once it was asked about texts of other sizes.

    Those are what a trace and its checks ask about, and then what stands on both sides of forward's own questions.

    Args:
        asked: the module.
        found: its program.
        usual: the text.
        before: its answer, before anything else was asked.

    Raises:
        ExportError: it does.
    """
    changed = "what its file, its classes or its functions hold was changed by texts of other sizes"
    copied, started = copied_again(asked.module), time.process_time()
    for sizes in (None, *found.bounds):
        if time.process_time() - started > SECONDS:
            return
        if sizes is not None:
            if not inside(found.limits, sizes):
                continue
            changed = f"one of {sizes.batch} x {sizes.tokens} tokens changes what comes after it"
            answer_if_any(answer_of, copied, asked.inputs(sizes))
        after = answer_if_any(answer_of, copied, usual)
        if after is None or not np.allclose(after, before, rtol=1e-4, atol=1e-4, equal_nan=True):
            raise ExportError(
                f"The module's answer to a text depends on the texts that it was asked before: {changed}.",
                "Let forward keep nothing that a later answer depends on, in the module, its file or a default "
                "argument.",
            )


def refuse_counting(log: TraceLog) -> None:
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


def refuse_caught_errors(module: nn.Module, log: TraceLog, inputs: tuple[Tensor, ...]) -> None:
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


def refuse_counted_lengths(asked: AskedModule, graph: Answers) -> None:
    """Compare a graph of a module that packs by lengths of its own with the module, on rows that such lengths cut
    short.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = torch.Generator().manual_seed(7)
    edges = torch.tensor([0, 1, int(asked.example[0][-1, -1]), asked.ids - 1])
    for rows, width in ((1, 6), (3, 9), (4, 40), (2, 700)):
        batch = 1 if asked.one_text else rows
        inputs = asked.inputs(Sizes(batch, width))
        texts = 2 if of_two_texts(inputs) else 1
        for i, tokens in enumerate(inputs[:texts]):
            special = torch.rand(tokens.shape, generator=generator) < 0.3
            special[:, 0] = False
            drawn = edges[torch.randint(len(edges), tokens.shape, generator=generator)]
            inputs = (*inputs[:i], torch.where(special, drawn, tokens), *inputs[i + 1 :])
        if not asked.agrees(graph, inputs):
            raise ExportError(
                "The module packs by lengths that it counts or clamps itself, and the graph answers otherwise where "
                "these are shorter than the rows.",
                "Pack by the lengths that forward is given, or give pad_packed_sequence total_length=x.size(1).",
            )


def refuse_loops(asked: AskedModule, graph: Answers, traced: TracedProgram) -> None:
    """Compare a graph whose loops were traced by their first iterations with the module, at other lengths.

    Raises:
        ExportError: it answers otherwise.
    """
    for rows, width in ((1, 1), (2, 3), (3, 9), (2, 40), (1, 300)):
        if not asked.agrees(graph, asked.inputs(Sizes(1 if asked.one_text else rows, width))):
            raise UntraceableError(
                f"The module's loop over the steps of a text, {traced.loops[0]}, does not do in each step what it does "
                f"in the first ones: at {width} tokens the graph of these answers otherwise.",
                "Do the same in every step, without break and without a look at the number of the step; or use "
                "nn.RNN, nn.LSTM or nn.GRU.",
            )


def refuse_ties(asked: AskedModule, traced: TracedProgram) -> None:
    """Refuse a module whose answers change with the order of equal values, on texts that repeat their words.

    Raises:
        ExportError: they do.
    """
    for batch, width in ((1, 1), (3, 8), (4, 33), *([(1, 200)] if asked.phrase else [])):
        # Rows of one length are equal values, too, which is another check's ground: phrases are asked about alone.
        given = (asked if batch == 1 else replace(asked, phrase=())).inputs(Sizes(batch, width))
        # As they are; the first token everywhere; each of the first half twice.
        for apart in (1, 2 * MOST_TOKENS, 2):
            inputs = with_whole_lengths(
                [value[:, torch.arange(value.shape[1]) // apart] if is_text(value) else value for value in given]
            )
            if (expected := answer_if_any(asked, inputs)) is None:
                continue
            if not furthest(ties_the_other_way(asked, inputs), expected) <= APART:
                raise ExportError(
                    f"The module's answers depend on the order of equal values in {', '.join(traced.orders)}, which "
                    "PyTorch leaves undefined: a text that repeats a word has such.",
                    "Use the values and not their positions, or sort with stable=True.",
                )


def refuse_mixed_rows(asked: AskedModule, traced: TracedProgram) -> None:
    """Refuse a program that does not compute each row from its own tokens.

    Raises:
        UntraceableError: it computes across the rows of a batch.
    """
    place = place_across_rows(traced.program)
    if not place and (batch := symbols_of_batch(traced.program)):
        values = ValuesOfNodes(traced.program)

        def inputs_of(rows: int, steps: int) -> tuple[Tensor, ...]:
            return asked.inputs(Sizes(rows, steps))

        place = place_of_mixed_rows(values, inputs_of, batch) or place_of_other_owners(traced.program, inputs_of, batch)
        if not place and (number := place_of_row_numbers(traced.program, values, inputs_of, batch)):
            raise UntraceableError(
                f"The module computes with the place of a text in its batch, {number}, so that a text may be answered "
                "otherwise in a batch than alone.",
                "Compute each text's answer from its own tokens: the number of a row is a position, and nothing else.",
            )
    if place:
        raise UntraceableError(
            f"The module computes across the texts of a batch, {place}, so that a text may be answered by its "
            "neighbours.",
            "Compute each text's answer from its own tokens: name the axis of a sum, a maximum or a count.",
        )


def told_by_padding(asked: AskedModule, traced: TracedProgram) -> dict[int, str]:
    """The ids of padding of which what stands after a text may reach its answer in a batch, each with the line where:
    that of the example, where lengths are given; else those that forward may count."""
    batch, padding_id = symbols_of_batch(traced.program), int(asked.example[0][-1, -1])
    texts = 2 if of_two_texts(asked.example) else 1
    takes_lengths = len(asked.example) > texts
    if asked.one_text or not batch or (takes_lengths and asked.example[texts].dim() > 1):
        return {}

    def inputs_of(rows: int, steps: int) -> tuple[Tensor, ...]:
        return asked.inputs(Sizes(rows, steps))

    bounds = [sizes.tokens for sizes in traced.bounds if inside(traced.limits, sizes)]
    ids = [padding_id]
    if not takes_lengths:
        compared = [i for i in compared_numbers(traced.program) if i < asked.ids]
        ids = list(dict.fromkeys([padding_id, *compared, *range(min(_COUNTED, asked.ids)), asked.ids - 1]))[:_MOST_IDS]
    found = {}
    for i in ids:
        until = time.process_time() + SECONDS / len(ids)
        found[i] = place_of_padded_steps(traced.program, inputs_of, bounds, padding_id=i, until=until)
    return {i: place for i, place in found.items() if place}


def _note_of_ties(asked: AskedModule, found: TracedProgram) -> tuple[str, ...]:
    """The sentence on a program in which the order of equal values may decide an answer."""
    if not found.orders:
        return ()

    def inputs_of(rows: int, steps: int) -> tuple[Tensor, ...]:
        return asked.inputs(Sizes(rows, steps))

    line = place_of_tied_values(found.program, inputs_of, one_text=asked.one_text)
    if not line:
        return ()
    return (
        f"The order of equal values, {line}, which PyTorch leaves undefined, may decide the answers to a few texts: "
        "one that repeats a word has such. Sort with stable=True, or use the values and not their positions.",
    )


def refuse_other_sizes(asked: AskedModule, found: TracedProgram, exported: Answers) -> tuple[str, ...]:
    """Refuse a program that answers otherwise than its module at one size. Gives what could not be looked at.

    Raises:
        ExportError: it does.
    """

    def agree(sizes: Sizes) -> bool:
        return asked.agrees(exported, asked.inputs(sizes))

    notes = _note_of_ties(asked, found)
    # First, since it names the loop.
    if found.loops:
        loop, one = found.loops[0], asked.one_text
        notes += check_every_step(asked.module, found.limits, loop, asked.inputs, agree, one_text=one)
    in_pytorch = run_in_pytorch(found).run
    check_every_size(asked.module, in_pytorch, found.limits, asked.inputs, agree, one_text=asked.one_text)
    return notes
