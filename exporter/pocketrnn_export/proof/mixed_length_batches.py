"""Compare a module's answer to a text alone with its answers to the same text in batches with longer texts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import Run
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.proof import every_size_comparison
from pocketrnn_export.proof.every_size_comparison import SHORT_TEXT, is_answer_near_expected, list_sizes_to_try
from pocketrnn_export.proof.program_runs_and_nodes import compute_answer_or_none
from pocketrnn_export.tracing.layers.memoryless_layers import use_memoryless_layers
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import is_within_limits
from pocketrnn_export.tracing.sizes.size_conditions import Sizes

# The largest number in a condition on a length that is tried; and the largest number of bounds.
_LONGEST: Final = 20_000
_MOST_BOUNDS: Final = 60
# The number of texts in a batch, the tokens of the longest text, and those of the last text.
_MixedBatchSizes = tuple[int, int, int]


def refuse_answers_that_depend_on_batch(
    run: Run,
    ids: Sequence[int],
    padding_id: int,
    limits: Limits | None,
    *,
    ragged: bool,
    bounds: Iterable[tuple[int, int]] = (),
    numbers: Iterable[int] = (),
) -> None:
    """Raise an ExportError if a module's answer to a text depends on the length of another text in its batch, or on the
    batch size.

    Args:
        run: a function that computes the module's answers from tokens and lengths; may raise anything.
        ids: the ids of random texts.
        padding_id: the id that fills the places after a text that is shorter than others.
        limits: the limits of the graph's sizes; other sizes are skipped.
        ragged: whether a batch may hold texts of several lengths.
        bounds: sizes (texts, tokens) near each condition on a size in forward, which are tried, too.
        numbers: the numbers that the graph may compare a length with; these lengths are tried, too.
    """
    generator, limits = np.random.default_rng(0), limits or Limits()
    texts: dict[int, Any] = {SHORT_TEXT: generator.choice(ids, SHORT_TEXT)}
    alone: dict[int, Any] = {}

    def compare_in_batch_and_alone(rows: int, steps: int, length: int) -> None:
        if (
            not is_within_limits(limits, Sizes(rows, steps))
            or not limits.allows_length(length)
            or not (ragged or steps == length)
        ):
            return
        if length not in texts:
            texts[length] = texts[SHORT_TEXT][:length] if length < SHORT_TEXT else generator.choice(ids, length)
        tokens = generator.choice(ids, (rows, steps))
        tokens[-1], tokens[-1, :length] = padding_id, texts[length]
        lengths = np.array([*[steps] * (rows - 1), length])
        text = np.ascontiguousarray(tokens[-1:, :length]), lengths[-1:]
        with use_memoryless_layers():
            if length not in alone:
                alone[length] = compute_answer_or_none(run, *text)
            together = compute_answer_or_none(run, tokens, lengths)
        if _is_text_answered_alike(together, alone[length]) or _is_text_answered_alike(
            compute_answer_or_none(run, tokens, lengths), compute_answer_or_none(run, *text)
        ):
            return
        raise ExportError(
            f"The module gives a text of {length} tokens another answer in a batch of {rows} texts, padded to {steps} "
            "tokens, than alone.",
            "Change forward so that a text's answer depends only on its own tokens, and not on a size of the batch. Or "
            "export the module for one text at a time: --one-text, or one_text=True.",
        )

    asked = (
        (max(2, s.batch), s.tokens, min(s.tokens, SHORT_TEXT))
        for s in list_sizes_to_try(every_size_comparison.MOST_TEXTS, one_text=False)
    )
    for sizes in (_list_batch_sizes_around_bounds(bounds, numbers), list(asked)):
        started = time.process_time()
        for rows, steps, length in log_item_progress(sizes, "Running texts in batches with others"):
            if time.process_time() - started > every_size_comparison.SECONDS:
                break
            compare_in_batch_and_alone(rows, steps, length)


def _list_batch_sizes_around_bounds(
    sizes_near_conditions: Iterable[tuple[int, int]], compared_numbers: Iterable[int]
) -> list[_MixedBatchSizes]:
    """Return sizes of batches (texts, tokens of the longest text, tokens of the last text) in which the two lengths lie
    on different sides of a condition on a length.

    Args:
        sizes_near_conditions: sizes (texts, tokens) near each condition on a size.
        compared_numbers: the numbers that the graph may compare a length with.
    """
    asked = {tokens for _, tokens in sizes_near_conditions if tokens > 1}
    # All shorter lengths are tried beside a short text anyway.
    asked |= {number for number in compared_numbers if every_size_comparison.MOST_TOKENS < number <= _LONGEST}
    widths = sorted(asked)[:_MOST_BOUNDS]
    near = [(2, steps, before) for before, steps in itertools.pairwise(widths)]
    return [*((2, steps, SHORT_TEXT) for steps in widths if steps >= SHORT_TEXT), *near]


def _is_text_answered_alike(together: Any, alone: Any) -> bool:
    """Return whether the last text of a batch has nearly the same answer in the batch, whose answers are `together`, as
    alone. Return True if one of the two is None, because the run failed."""
    return together is None or alone is None or is_answer_near_expected(together[-len(alone) :], alone)
