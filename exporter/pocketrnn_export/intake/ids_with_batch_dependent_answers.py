"""Find the ids with which a text's answer depends on the other texts of its batch, and explain the refusal of a module
with such answers.

A module that finds the padding by its id (`lengths = (x != 0).sum(1)`) cannot tell it from a word of that id. If it
then pools the unpacked sequence, or cuts the batch to its longest text, the answer to a text with such an id inside
depends on the other texts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.logit_comparison import Reference, are_rows_independent_up_to_rounding
from pocketrnn_export.comparing.proof_inputs import Case, Ids, Logits, Run, Widths
from pocketrnn_export.intake.last_activation_removal import Activation, apply_activation
from pocketrnn_export.torch_internals import FunctionMode

# The widths of the batches on which an id is tried; a convolution needs the wider one.
_WIDTHS: Final = (7, 31)
# Vocabularies put the ids for padding, unknown words and the like first.
_FIRST: Final = 8
# The most ids that are tried: each takes several runs of the module.
_MOST: Final = 96


def list_possible_padding_ids(module: nn.Module, *, ids: int, special: Iterable[int]) -> list[int]:
    """Return the ids that a module may treat as padding: the special ids, the first ids and the last id, ids in
    attributes (`self.pad_idx`), and ids with an embedding of zeros."""
    found = [*special, *range(_FIRST), ids - 1]
    for layer in module.modules():
        if isinstance(layer, torch.jit.ScriptModule):
            continue
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            found += [] if layer.padding_idx is None else [layer.padding_idx]
            found += (layer.weight == 0).all(1).nonzero().flatten()[:_FIRST].tolist()
        for value in (*vars(layer).values(), *layer.buffers(recurse=False)):
            found += [value] if type(value) is int else []
            if isinstance(value, Tensor) and not value.is_floating_point() and value.numel() <= _FIRST:
                found += value.flatten().tolist()
    return [i for i in dict.fromkeys(map(int, found)) if 0 <= i < ids][:_MOST]


def find_batch_dependent_ids(
    reference: Reference,
    candidates: Sequence[int],
    *,
    known_dependent_ids: Collection[int] = (),
    ids: int,
    padding_id: int,
    widths: Widths,
    ragged: bool,
    activation: Activation,
) -> dict[int, float] | None:
    """Find the ids that make a text's answer depend on the other texts of its batch.

    Args:
        candidates: the ids to try.
        known_dependent_ids: ids that were already found; no tried text contains them.
        ids: how many ids there are.
        padding_id: the id that pads a row after its length.
        widths: how many tokens a text can have.
        ragged: whether to try each id in texts that are padded to a longer text. If not, all texts of a batch have the
            same length.
        activation: the function that converts logits to probabilities.

    Returns:
        a dict from each such id to the largest change seen in a probability; infinity if the module fails on such a
            batch. None if the ids could not be tried, because texts without them also get other answers in a batch than
            alone.
    """
    if not candidates:
        return {}
    words, reference = (
        _choose_likely_word_ids(ids, candidates, known_dependent_ids, padding_id),
        replace(reference, run=make_run_with_cache(reference.run)),
    )
    for width in dict.fromkeys(map(widths.clip, _WIDTHS)):
        beside = _make_rows_of_words(words, 2, width)
        if not _are_texts_independent(reference, _make_case_with_neighbours(beside, beside[:0], padding_id)):
            # It fails on this few tokens; or it mixes all texts, which another check finds.
            continue
        short = max(width - 2, 1) if ragged else width
        held = {i: _select_answered_rows(reference.run, _make_rows_with_id(i, words, short)) for i in candidates}
        if not any(len(rows) for rows in held.values()):
            continue
        # Nearly always no id has the effect: one batch of all shows that.
        if _are_texts_independent(
            reference, _make_case_with_neighbours(beside, np.concatenate(list(held.values())), padding_id)
        ):
            return {}
        cases = {
            i: _make_case_with_neighbours(beside, rows, padding_id) for i, rows in sorted(held.items()) if len(rows)
        }
        told = (i for i, case in cases.items() if not _are_texts_independent(reference, case))
        return {i: _measure_batch_effect(reference.run, cases[i], activation=activation) for i in told}
    return None


def select_answered_ids(run: Run, candidates: Sequence[int], width: int) -> list[int]:
    """Run the module on a text for each candidate, which consists of this id, repeated `width` times. Return the ids
    whose texts get finite numbers. Others are left out, since a module may fail on a text of only padding."""
    rows = np.repeat(np.array(candidates, np.int64)[:, None], width, axis=1)
    return [int(row[0]) for row in _select_answered_rows(run, rows)]


def make_run_with_cache(run: Run) -> Run:
    """Return a run of the module that stores its answers, since each text that runs alone is compared twice."""
    known: dict[tuple[Any, ...], Logits] = {}

    def run_with_cache(tokens: Ids, lengths: Ids) -> Logits:
        asked = (tokens.shape, tokens.tobytes(), lengths.tobytes())
        if asked not in known:
            known[asked] = run(tokens, lengths)
        return known[asked]

    return run_with_cache


def _choose_likely_word_ids(
    ids: int, candidates: Sequence[int], known_dependent_ids: Collection[int], padding_id: int
) -> Ids:
    """Return ids that are probably words. Known dependent ids are left out, and so are candidates, unless no other ids
    remain."""
    chosen = np.setdiff1d(np.arange(ids), [*candidates, *known_dependent_ids])
    # With few ids, all are candidates; the last ones are more likely words than the first.
    return chosen if len(chosen) else np.setdiff1d(np.arange(ids // 2, ids), [padding_id, *known_dependent_ids])


def _make_rows_of_words(words: Ids, rows: int, width: int) -> Ids:
    """Return rows [rows, width] that are filled with the ids of words in turn."""
    return np.resize(np.roll(words, -3), (rows, width)).astype(np.int64)


def _make_rows_with_id(token: int, words: Ids, width: int) -> Ids:
    """Return six rows of words that also contain the id `token`: in the middle; inside and at the end; at the start;
    everywhere but in the middle; everywhere; at the end."""
    rows, some = _make_rows_of_words(words[::-1], 6, width), max(1, width // 3)
    rows[0, width // 2] = token
    rows[1, [some, *range(width - some, width)]] = token
    rows[2, :some] = token
    rows[3, np.arange(width) != width // 2] = token
    rows[4] = token
    rows[5, width - some :] = token
    return rows


def _select_answered_rows(run: Run, rows: Ids) -> Ids:
    """Run the module on each row alone. Return the rows for which it gives finite numbers."""
    kept = []
    for i, row in enumerate(rows):
        try:
            if np.isfinite(run(row[None], np.array([len(row)], np.int64)).max(1)).any():
                kept.append(i)
        except ExportError:
            continue
    return rows[kept]


def _make_case_with_neighbours(full_rows: Ids, rows: Ids, padding_id: int) -> Case:
    """Make a case of full rows and other rows. The other rows are padded to the width of the full rows."""
    (some, width), (more, length) = full_rows.shape, rows.shape
    padded = np.pad(rows, ((0, 0), (0, width - length)), constant_values=padding_id)
    return Case(
        "beside others", np.concatenate([full_rows, padded]), np.array([width] * some + [length] * more, np.int64)
    )


def _are_texts_independent(reference: Reference, case: Case) -> bool:
    """Return whether each row of a case gets the same answer in the case as alone. Return False if the module fails on
    the case."""
    try:
        return are_rows_independent_up_to_rounding(reference, [case])
    except ExportError:
        return False


def _measure_batch_effect(run: Run, case: Case, *, activation: Activation) -> float:
    """Return the largest change of a probability that the other rows of a batch cause. Return infinity if the module
    fails."""
    try:
        together = run(case.tokens, case.lengths)
        alone = [run(case.tokens[i : i + 1, :length], case.lengths[i : i + 1]) for i, length in enumerate(case.lengths)]
    except ExportError:
        return float("inf")
    return compute_largest_probability_difference(together, np.concatenate(alone), activation=activation)


def compute_largest_probability_difference(one: Logits, other: Logits, *, activation: Activation) -> float:
    """Return the largest difference between the probabilities of two arrays of logits. Infinite and NaN differences are
    left out."""
    exact = (torch.from_numpy(np.asarray(logits, np.float64)) for logits in (one, other))
    first, second = (apply_activation(activation, logits).numpy() for logits in exact)
    differences = np.abs(first - second)
    return float(differences[np.isfinite(differences)].max(initial=0.0))


_NARROW: Final = (torch.bfloat16, torch.float16)


def explain_batch_dependence(run_module: Callable[[], object]) -> tuple[str, str]:
    """Explain why a module's answer to a text depends on the other texts of the batch. Return the problem and the
    remedy, both as sentences for an error.

    Args:
        run_module: runs the module once, so that it can be seen whether the module computes in a narrow type: a sum in
            bfloat16 has an error of 1e-2, which changes with the size of the batch. It may raise any exception.
    """
    with contextlib.suppress(Exception), _NarrowDtypeRecorder() as seen:
        run_module()
    if seen.narrow:
        kinds = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in seen.narrow))
        return (
            f"The module computes in {kinds}, so that a text's answer is rounded differently beside other texts.",
            "Leave torch.autocast, .bfloat16() and .half() out of forward: a bundle computes in float32.",
        )
    return (
        "The module answers a text differently beside other texts of the same length.",
        "Do not compute across the batch or branch on values: each row may depend on its own tokens only. If you run "
        "it on one text at a time, export it so: --one-text, or one_text=True.",
    )


class _NarrowDtypeRecorder(FunctionMode):
    """Records the dtypes of results that are narrower than float32."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = set[torch.dtype]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in _NARROW:
            self.narrow.add(result.dtype)
        return result
