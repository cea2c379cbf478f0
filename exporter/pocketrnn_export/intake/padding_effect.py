"""Measure how padding changes a module's answers: inside a text, in a batch with other texts, and before or after a
text.

A module that finds the padding by its id (`lengths = (x != 0).sum(1)`) cannot tell it from a word of that id. If it
then pools the unpacked sequence, or cuts the batch to its longest text, the answer to a text with such an id inside
depends on the other texts. If a module reads padding like words, its answer depends on the amount of padding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.answer_rows import split_by_text
from pocketrnn_export.comparing.logit_comparison import Reference, are_texts_independent
from pocketrnn_export.comparing.proof_inputs import Case, Ids, Logits, Run, Widths
from pocketrnn_export.intake.last_activation_removal import Activation, apply_activation

# The padding ids that are added to each of the first texts, as in a batch of similar lengths; and to the longest of
# all texts in one batch, as beside a much longer text.
_EACH: Final = (1, 3, 10, 30)
_BEYOND: Final = (1, 30, 100, 300)
# The most ids in a batch, with the padding.
_IDS_OF_A_BATCH: Final = 50_000
# A smaller change of a probability is rounding.
_ROUNDING: Final = 1e-5
# The widths of the batches on which an id is tried; a convolution needs the wider one.
_WIDTHS: Final = (7, 31)
# Vocabularies put the ids for padding, unknown words and the like first.
_FIRST: Final = 8
# The most ids that are tried: each takes several runs of the module.
_MOST: Final = 96
_MOST_TEXTS: Final = 64
_MOST_EACH: Final = 16


def find_candidate_ids(module: nn.Module, *, ids: int, special: Iterable[int]) -> list[int]:
    """Return the ids that a module may treat as padding: special ids, the first ids and the last id, ids in
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
    known: Collection[int] = (),
    ids: int,
    padding_id: int,
    widths: Widths,
    ragged: bool,
    activation: Activation,
) -> dict[int, float] | None:
    """Return the candidates with which a text's answer depends on the other texts of the batch.

    Args:
        reference: the module.
        candidates: the ids that are tried.
        known: ids that are known to do so, which no tried text contains.
        ids: how many ids there are.
        padding_id: the id that pads a row after its length.
        widths: how many tokens a text can have.
        ragged: whether to try them in texts that are padded to a longer one; else in texts of one length.
        activation: what makes probabilities of its logits.

    Returns:
        the ids, each with the largest change seen in a probability; infinity where the module fails on such a batch.
        None if they could not be tried: texts without them, too, get other answers in a batch than alone.
    """
    if not candidates:
        return {}
    plain, reference = (
        _choose_likely_word_ids(ids, candidates, known, padding_id),
        replace(reference, run=_cache_run(reference.run)),
    )
    for width in dict.fromkeys(map(widths.clip, _WIDTHS)):
        beside = _make_rows(plain, 2, width)
        if not _are_texts_independent(reference, _add_neighbour_rows(beside, beside[:0], padding_id)):
            # It fails on this few tokens; or it mixes all texts, which another check finds.
            continue
        short = max(width - 2, 1) if ragged else width
        held = {i: _keep_answered_rows(reference.run, _make_rows_with_id(i, plain, short)) for i in candidates}
        if not any(len(rows) for rows in held.values()):
            continue
        # Nearly always no id has the effect: one batch of all shows that.
        if _are_texts_independent(
            reference, _add_neighbour_rows(beside, np.concatenate(list(held.values())), padding_id)
        ):
            return {}
        cases = {i: _add_neighbour_rows(beside, rows, padding_id) for i, rows in sorted(held.items()) if len(rows)}
        told = (i for i, case in cases.items() if not _are_texts_independent(reference, case))
        return {i: _measure_batch_effect(reference.run, cases[i], activation=activation) for i in told}
    return None


def keep_answered_ids(run: Run, candidates: Sequence[int], width: int) -> list[int]:
    """Return the ids for which the module answers a text of this id only. A module may fail on a text that is only
    padding."""
    rows = np.repeat(np.array(candidates, np.int64)[:, None], width, axis=1)
    return [int(row[0]) for row in _keep_answered_rows(run, rows)]


def _cache_run(run: Run) -> Run:
    """Return a run that remembers its answers. Each text is compared twice, but runs alone only once."""
    known: dict[tuple[Any, ...], Logits] = {}

    def run_with_cache(tokens: Ids, lengths: Ids) -> Logits:
        asked = (tokens.shape, tokens.tobytes(), lengths.tobytes())
        if asked not in known:
            known[asked] = run(tokens, lengths)
        return known[asked]

    return run_with_cache


def _choose_likely_word_ids(ids: int, candidates: Sequence[int], known: Collection[int], padding_id: int) -> Ids:
    """Return ids that are probably words. Ids with a known effect are left out, and candidates are left out if there
    are other ids."""
    chosen = np.setdiff1d(np.arange(ids), [*candidates, *known])
    # With few ids, all are candidates; the last ones are more likely words than the first.
    return chosen if len(chosen) else np.setdiff1d(np.arange(ids // 2, ids), [padding_id, *known])


def _make_rows(plain: Ids, rows: int, width: int) -> Ids:
    return np.resize(np.roll(plain, -3), (rows, width)).astype(np.int64)


def _make_rows_with_id(token: int, plain: Ids, width: int) -> Ids:
    """Return six rows that contain an id: inside, at the start, at the end, nearly everywhere and everywhere."""
    rows, some = _make_rows(plain[::-1], 6, width), max(1, width // 3)
    rows[0, width // 2] = token
    rows[1, [some, *range(width - some, width)]] = token
    rows[2, :some] = token
    rows[3, np.arange(width) != width // 2] = token
    rows[4] = token
    rows[5, width - some :] = token
    return rows


def _keep_answered_rows(run: Run, rows: Ids) -> Ids:
    """Return the rows to which the module gives finite numbers when it gets one row. It may fail on a row that is
    only padding."""
    kept = []
    for i, row in enumerate(rows):
        try:
            if np.isfinite(run(row[None], np.array([len(row)], np.int64)).max(1)).any():
                kept.append(i)
        except ExportError:
            continue
    return rows[kept]


def _add_neighbour_rows(full: Ids, rows: Ids, padding_id: int) -> Case:
    """Make a case of rows and other rows that are as wide or wider."""
    (some, width), (more, length) = full.shape, rows.shape
    padded = np.pad(rows, ((0, 0), (0, width - length)), constant_values=padding_id)
    return Case("beside others", np.concatenate([full, padded]), np.array([width] * some + [length] * more, np.int64))


def _are_texts_independent(reference: Reference, case: Case) -> bool:
    """Return whether every row of a case gets the same answer as alone. Return False if the module fails on the
    case."""
    try:
        return are_texts_independent(reference, [case])
    except ExportError:
        return False


def _measure_batch_effect(run: Run, case: Case, *, activation: Activation) -> float:
    """Return the largest change of a probability that the other rows of a batch cause."""
    try:
        together = run(case.tokens, case.lengths)
        alone = [run(case.tokens[i : i + 1, :length], case.lengths[i : i + 1]) for i, length in enumerate(case.lengths)]
    except ExportError:
        return float("inf")
    return _compute_largest_difference(together, np.concatenate(alone), activation=activation)


def _compute_largest_difference(one: Logits, other: Logits, *, activation: Activation) -> float:
    """Return the largest difference of a probability over the rows with finite answers."""
    first, second = (_compute_row_probabilities(logits, activation=activation) for logits in (one, other))
    differences = np.abs(first - second)
    return float(differences[np.isfinite(differences)].max(initial=0.0))


def _compute_row_probabilities(logits: Any, *, activation: Activation) -> Any:
    return apply_activation(activation, torch.from_numpy(np.asarray(logits, np.float64))).numpy()


@dataclass(frozen=True)
class PaddingEffect:
    """The largest changes of a text's probabilities that padding causes.

    Attributes:
        texts: how many texts were tried.
        after: the change by padding after the text.
        ids_after: the number of padding ids that caused it.
        before: the change by padding before it; None if it was not measured, as where a module takes lengths.
        ids_before: the number of padding ids that caused it.
    """

    texts: int
    after: float
    ids_after: int
    before: float | None = None
    ids_before: int = 0

    @property
    def exceeds_rounding(self) -> bool:
        """Whether padding after a text changes the answers by more than rounding. If it does not, the module is made
        for padding after a text, and padding before a text does not matter."""
        return self.after > _ROUNDING

    @property
    def largest(self) -> float:
        """The largest change of a probability by padding before or after a text."""
        return max(self.after, self.before or 0.0)

    @property
    def document(self) -> dict[str, Any]:
        """The entry in a bundle's provenance."""
        after = {"ids": self.ids_after, "texts": self.texts, "probability_after": float(f"{self.after:.2g}")}
        if self.before is None:
            return after
        return {**after, "ids_before": self.ids_before, "probability_before": float(f"{self.before:.2g}")}


def measure_padding_effect(
    reference: Reference,
    texts: Iterable[Sequence[int]],
    *,
    padding_id: int,
    widths: Widths,
    most: int | None,
    takes_lengths: bool,
    one_text: bool,
    activation: Activation,
) -> PaddingEffect | None:
    """Measure how padding around a text changes the answer. The batch also has a text without padding.

    The first 16 texts are padded by 1 to 30 ids each, and all in one batch to widths up to 300 beyond the longest.

    Args:
        reference: the module.
        texts: the ids of texts; the first 64 that can be padded are tried.
        padding_id: the id of padding.
        widths: how many tokens a text can have by its rules.
        most: the most tokens that the module takes; None for any number.
        takes_lengths: whether it is given lengths, which do not count the padding.
        one_text: whether it answers one text at a time.
        activation: what makes probabilities of its logits.

    Returns:
        None if nothing could be measured: every text has one width, or the module does not take padded ones.
    """
    widest = min(widths.most or most or 1 << 30, most or 1 << 30)
    rows = [list(row) for row in dict.fromkeys(map(tuple, texts)) if len(row) < widest][:_MOST_TEXTS]
    if not rows or widths.fixed is not None or (one_text and takes_lengths):
        return None
    asked = _PaddedRun(reference.run, padding_id, takes_lengths=takes_lengths, one_text=one_text, activation=activation)
    moved = {
        side: [
            found
            for batch, width in _choose_batches(rows, widest)
            for found in asked.measure_changes(batch, width, side)
        ]
        for side in (("after",) if takes_lengths else ("after", "before"))
    }
    if not moved["after"]:
        return None
    after, ids_after = max(moved["after"], key=lambda found: found[0])
    before, ids_before = max(moved.get("before", ()), key=lambda found: found[0], default=(None, 0))
    return PaddingEffect(len(rows), after, ids_after, before, ids_before)


def _choose_batches(rows: Sequence[list[int]], widest: int) -> Iterator[tuple[Sequence[list[int]], int]]:
    """Yield groups of texts, each with the width to which the texts are padded."""
    for row in rows[:_MOST_EACH]:
        for width in dict.fromkeys(min(len(row) + more, widest) for more in _EACH):
            yield [row], width
    longest = max(map(len, rows))
    for width in dict.fromkeys(min(longest + beyond, widest) for beyond in _BEYOND):
        yield rows[: max(_IDS_OF_A_BATCH // width - 1, 1)], width


class _PaddedRun:
    """Runs a module on a batch of padded texts and one text without padding.

    Args:
        run: the module.
        padding_id, takes_lengths, one_text, activation: as for `measure_padding_effect`.
    """

    def __init__(
        self, run: Run, padding_id: int, *, takes_lengths: bool, one_text: bool, activation: Activation
    ) -> None:
        # Each text is run alone once.
        self._run = _cache_run(run)
        self._padding_id, self._takes_lengths = padding_id, takes_lengths
        self._one_text, self._activation = one_text, activation

    def measure_changes(self, rows: Sequence[list[int]], width: int, side: str) -> list[tuple[float, int]]:
        """Return the change of a probability, and the number of padding ids, for each text that the module answers."""
        if self._one_text and len(rows) > 1:
            return [found for row in rows for found in self.measure_changes([row], width, side)]
        try:
            padded = self._pad_rows_beside_text(rows, width, side)
            together = split_by_text(self._run(*padded), padded[1])
        except ExportError:
            # It may fail on a batch of this many.
            return (
                [found for row in rows for found in self.measure_changes([row], width, side)] if len(rows) > 1 else []
            )
        found = []
        for row, two in zip(rows, together, strict=False):
            with contextlib.suppress(ExportError):
                one = self._run(np.array([row], np.int64), np.array([len(row)], np.int64))
                # For labels of tokens, compare only the text's own tokens.
                own = two[: len(one)] if side == "after" else two[len(two) - len(one) :]
                if np.isfinite(one).all() and np.isfinite(own).all():
                    found.append((_compute_largest_difference(one, own, activation=self._activation), width - len(row)))
        return found

    def _pad_rows_beside_text(self, rows: Sequence[list[int]], width: int, side: str) -> tuple[Ids, Ids]:
        """Return padded texts with their lengths, and a row that repeats the first text up to the full width."""
        padded = []
        for row in rows:
            padding = [self._padding_id] * (width - len(row))
            padded.append(row + padding if side == "after" else padding + row)
        full = [] if self._one_text else [np.resize(rows[0], width).tolist()]
        lengths = [*(len(row) if self._takes_lengths else width for row in rows), *(width for _ in full)]
        return np.array([*padded, *full], np.int64), np.array(lengths, np.int64)
