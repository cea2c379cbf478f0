"""Compare a module with its program beyond the sizes of the trace's example: refuse a program that differs, and find
where padding or the order of equal values may change an answer."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
import sympy
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.wrappers_for_trace import FeatureModule
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer, run_quietly_on_cpu
from pocketrnn_export.progress import log_step
from pocketrnn_export.proof.every_size_comparison import APART, MOST_TOKENS, SECONDS, refuse_differences_at_any_size
from pocketrnn_export.proof.fresh_copies_and_random_inputs import FreshCopyModule, is_text, set_lengths_to_full_width
from pocketrnn_export.proof.loop_iteration_comparison import Notes, refuse_loop_with_unequal_steps
from pocketrnn_export.proof.padding_and_tied_values import find_padding_sensitive_line, find_tie_sensitive_line
from pocketrnn_export.proof.program_runs_and_nodes import (
    Answers,
    NodeValues,
    compute_answer_or_none,
    find_batch_symbols,
    find_numbers_tested_for_equality,
    make_runnable_program,
)
from pocketrnn_export.proof.row_index_dependence import find_line_that_uses_row_number
from pocketrnn_export.proof.text_dependence_of_numbers import find_line_that_mixes_texts_by_runs
from pocketrnn_export.proof.texts_mixed_in_batch import find_line_that_mixes_texts_by_operators
from pocketrnn_export.tracing.module_trace import TracedProgram, find_lines_of_caught_errors
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import compute_largest_difference, is_within_limits
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog, UntraceableError
from pocketrnn_export.tracing.sort_with_equal_values_reversed import run_with_reversed_ties
from pocketrnn_export.tracing.trace_session import takes_lengths, takes_two_texts

# The ids below this, and the last id, may be padding to forward.
_COUNTED: Final = 4
_MOST_IDS: Final = 12


def refuse_answers_changed_by_earlier_runs(
    compared: FreshCopyModule, traced: TracedProgram, usual_inputs: tuple[Tensor, ...], answer_before: Any
) -> None:
    """Raise an ExportError if a module's answer to a text changes after the module has run on texts of other sizes,
    since it stores values between calls.

    Args:
        compared: the module, which has been traced and checked by now.
        traced: the program of the module. Sizes near the conditions on sizes in forward are run, too.
        usual_inputs: the inputs whose answer is compared.
        answer_before: the answer to these inputs before the trace.
    """
    changed = "texts of other sizes changed values in the module's file, classes or functions"
    copied, started = copy_without_comparison(compared.module), time.process_time()
    for sizes in (None, *traced.bounds):
        if time.process_time() - started > SECONDS:
            return
        if sizes is not None:
            if not is_within_limits(traced.limits, sizes):
                continue
            changed = f"a batch of {sizes.batch} x {sizes.tokens} tokens changes later answers"
            compute_answer_or_none(compute_answer, copied, compared.draw_inputs(sizes))
        after = compute_answer_or_none(compute_answer, copied, usual_inputs)
        if after is None or not np.allclose(after, answer_before, rtol=1e-4, atol=1e-4, equal_nan=True):
            raise ExportError(
                f"The module's answer to a text depends on earlier texts: {changed}.",
                "Change forward so that it stores no values on which later answers depend: not in the module, in "
                "global variables or in default arguments.",
            )


def refuse_size_tests_in_loops(log: TraceLog) -> None:
    """Raise an ExportError if forward tests a size in every iteration of a loop: `while t < x.size(1)`.

    A trace would contain each iteration of such a loop, thousands for a long text.
    """
    lines: dict[str, set[int]] = {}
    for question in log.questions:
        relation = question.condition.relation
        if question.branch and not isinstance(relation, sympy.Eq | sympy.Ne):
            lines.setdefault(question.where, set()).update(map(int, relation.atoms(sympy.Integer)))
    for where, numbers in lines.items():
        # No single line tries kernels of all these sizes.
        if numbers >= set(range(2, USUAL.tokens)):
            raise ExportError(
                f"The module tests a size in every iteration of a loop, {where}, so the exported graph would have the "
                "iterations for texts of only one length.",
                "Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU.",
            )


def refuse_caught_trace_errors(module: nn.Module, log: TraceLog, inputs: tuple[Tensor, ...]) -> None:
    """Raise an ExportError if a module's forward catches an error that only tracing raises, and not an ordinary run.

    Args:
        log: the trace's record, with the lines of the errors that it raised in forward.
        inputs: inputs of the trace's sizes, for the ordinary run.
    """
    if not log.raised:
        return
    with torch.no_grad(), run_quietly_on_cpu():
        met = find_lines_of_caught_errors(copy_without_comparison(module), inputs)
    if caught := [line for line in log.raised if line not in met]:
        raise ExportError(
            "The module catches an error that is raised only while it is traced for the export, and then computes "
            f"something else: {caught[0]}.",
            "Change the code that raises the error: do not read values of tensors, as .item() does, and do not pass a "
            "size to code that needs a plain number, such as Decimal, Fraction or pickle.",
        )


def refuse_graph_wrong_for_lengths_that_forward_computes(compared: FreshCopyModule, graph: Answers) -> None:
    """Raise an ExportError if a module computes the lengths for `pack_padded_sequence` itself, and its graph gives
    another answer where all these lengths are shorter than the padded batch. `graph` computes the graph's answers."""
    generator = torch.Generator().manual_seed(7)
    edges = torch.tensor([0, 1, int(compared.example[0][-1, -1]), compared.ids - 1])
    for rows, width in ((1, 6), (3, 9), (4, 40), (2, 700)):
        batch = 1 if compared.one_text else rows
        inputs = compared.draw_inputs(Sizes(batch, width))
        texts = 2 if takes_two_texts(inputs) else 1
        for i, tokens in enumerate(inputs[:texts]):
            special = torch.rand(tokens.shape, generator=generator) < 0.3
            special[:, 0] = False
            drawn = edges[torch.randint(len(edges), tokens.shape, generator=generator)]
            inputs = (*inputs[:i], torch.where(special, drawn, tokens), *inputs[i + 1 :])
        if not compared.agrees(graph, inputs):
            raise ExportError(
                "The module computes the lengths that it gives to pack_padded_sequence. If all of these lengths are "
                "less than the number of steps of the batch, the exported graph gives another answer than the module.",
                "Give pack_padded_sequence the lengths that forward gets, or call pad_packed_sequence with "
                "total_length=x.size(1).",
            )


def refuse_unequal_iterations(compared: FreshCopyModule, graph: Answers, traced: TracedProgram) -> None:
    """Raise an UntraceableError if a graph gives another answer than its module for texts of 1 to 300 tokens: only the
    first iterations of the module's loops were traced, and later ones compute something else.

    Args:
        graph: a function that computes the graph's answers.
        traced: the program, with the lines of the loops.
    """
    for rows, width in ((1, 1), (2, 3), (3, 9), (2, 40), (1, 300)):
        if not compared.agrees(graph, compared.draw_inputs(Sizes(1 if compared.one_text else rows, width))):
            raise UntraceableError(
                f"The module's loop over the steps of a text, {traced.loops[0]}, computes something else in later "
                f"steps than in the first steps: for {width} tokens, a graph that repeats the first steps gives "
                "another answer than the module.",
                "Compute the same in every step of the loop, without break, or use nn.RNN, nn.LSTM or nn.GRU.",
            )


def refuse_answers_that_depend_on_tie_order(compared: FreshCopyModule, traced: TracedProgram) -> None:
    """Raise an ExportError if a module's answers depend on the order in which a sort returns equal values, which
    PyTorch leaves undefined. The module runs on texts that repeat words; `traced` names the sorts in the error."""
    for batch, width in ((1, 1), (3, 8), (4, 33), *([(1, 200)] if compared.compared_ids else [])):
        # Rows of equal length are equal values, too, but another check's task: so only single texts hold phrases.
        given = (compared if batch == 1 else replace(compared, compared_ids=())).draw_inputs(Sizes(batch, width))
        # Unchanged; the first token everywhere; each token of the first half twice.
        for apart in (1, 2 * MOST_TOKENS, 2):
            inputs = set_lengths_to_full_width(
                [value[:, torch.arange(value.shape[1]) // apart] if is_text(value) else value for value in given]
            )
            if (expected := compute_answer_or_none(compared, inputs)) is None:
                continue
            if not compute_largest_difference(run_with_reversed_ties(compared, inputs), expected) <= APART:
                raise ExportError(
                    f"The module's answers depend on the order of equal values in {', '.join(traced.sort_operators)}, "
                    "which PyTorch leaves undefined: a text that repeats a word has equal values.",
                    "Use the values and not their positions, or sort with stable=True.",
                )


def refuse_answers_that_depend_on_other_texts(compared: FreshCopyModule, traced: TracedProgram) -> None:
    """Raise an UntraceableError if a program computes the answer to a text of a batch also from other texts, or from
    the text's row number.

    Args:
        compared: the module, which makes the program's random inputs.
    """
    log_step("Looking for values that several texts of a batch change")
    place = find_line_that_mixes_texts_by_operators(traced.program)
    if not place and (batch := find_batch_symbols(traced.program)):
        place = find_line_that_mixes_texts_by_runs(traced.program, compared.draw_batch, batch)
        values = NodeValues(traced.program)
        if not place and (number := find_line_that_uses_row_number(traced.program, values, compared.draw_batch, batch)):
            raise UntraceableError(
                f"The module computes with the row number of a text in its batch, {number}, so a text may get another "
                "answer in a batch than alone.",
                "Compute each text's answer only from its own tokens. Use a row number only as an index.",
            )
    if place:
        raise UntraceableError(
            f"The module combines values across the texts of a batch, {place}, so a text's answer may depend on "
            "other texts.",
            "Compute each text's answer from its own tokens. Give the axis of a sum, a maximum or a count, and use "
            "torch.where(chosen[:, None], f(x), out) instead of out[chosen] = f(x[chosen]).",
        )


def find_harmful_padding_ids(compared: FreshCopyModule, traced: TracedProgram) -> dict[int, str]:
    """Find the ids that, as padding after a text, may change the answer to this text. Return a dict from each such id
    to the line of user code that causes it.

    If the module takes lengths, try only the padding id of its example inputs; else try up to 12 ids that forward may
    count. Return {} for a fixed batch size, and for a module that takes a state.
    """
    batch, padding_id = find_batch_symbols(traced.program), int(compared.example[0][-1, -1])
    texts = 2 if takes_two_texts(compared.example) else 1
    has_lengths = takes_lengths(compared.example)
    has_state = len(compared.example) > texts and not has_lengths and not isinstance(compared.module, FeatureModule)
    if compared.one_text or not batch or has_state:
        return {}
    bounds = [sizes.tokens for sizes in traced.bounds if is_within_limits(traced.limits, sizes)]
    ids = [padding_id]
    if not has_lengths:
        numbers = [i for i in find_numbers_tested_for_equality(traced.program) if i < compared.ids]
        ids = list(dict.fromkeys([padding_id, *numbers, *range(min(_COUNTED, compared.ids)), compared.ids - 1]))[
            :_MOST_IDS
        ]
    found = {}
    log_step("Looking for answers that padding changes")
    for i in ids:
        until = time.process_time() + SECONDS / len(ids)
        found[i] = find_padding_sensitive_line(
            traced.program, compared.draw_batch, bounds, padding_id=i, deadline=until
        )
    return {i: place for i, place in found.items() if place}


def _write_note_on_order_of_equal_values(compared: FreshCopyModule, traced: TracedProgram) -> Notes:
    """Return a note, which names the line, if the order of equal values in a sort may change an answer of a program;
    else an empty tuple. `compared` makes random inputs."""
    if not traced.sort_operators:
        return ()
    line = find_tie_sensitive_line(traced.program, compared.draw_batch, one_text=compared.one_text)
    if not line:
        return ()
    return (
        f"The order of equal values, {line}, is undefined in PyTorch, and it may change the answers to texts that "
        "repeat a word. Sort with stable=True, or use the values and not their positions.",
    )


def refuse_differences_at_other_sizes(compared: FreshCopyModule, traced: TracedProgram, exported: Answers) -> Notes:
    """Raise an ExportError if a program gives another answer than its module for some text length or batch size. Return
    notes for the user on what was not compared, such as late steps of a slow loop.

    Args:
        traced: the program, which also runs in PyTorch.
        exported: a function that computes the answers of what was exported from the program, such as an ONNX graph.
    """

    def do_answers_agree(sizes: Sizes) -> bool:
        return compared.agrees(exported, compared.draw_inputs(sizes))

    notes = _write_note_on_order_of_equal_values(compared, traced)
    # Check loops first: the error names the loop.
    if traced.loops:
        notes += refuse_loop_with_unequal_steps(
            compared.module,
            traced.limits,
            traced.loops[0],
            compared.draw_inputs,
            do_answers_agree,
            one_text=compared.one_text,
            sizes_near_conditions=traced.bounds,
        )
    in_pytorch = make_runnable_program(traced).run
    refuse_differences_at_any_size(
        compared.module, in_pytorch, traced.limits, compared.draw_inputs, do_answers_agree, one_text=compared.one_text
    )
    return notes
