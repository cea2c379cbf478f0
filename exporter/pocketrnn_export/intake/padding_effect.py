"""Measure how padding before or after a text changes a module's answers, and find how a text of padding only fails.

If a module reads padding like words, its answer depends on the amount of padding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.answer_rows_without_padding import split_answer_rows_by_text
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.proof_inputs import Ids, Run, Widths, choose_non_padding_id
from pocketrnn_export.intake.ids_with_batch_dependent_answers import (
    compute_largest_probability_difference,
    make_run_with_cache,
)
from pocketrnn_export.intake.last_activation_removal import Activation
from pocketrnn_export.progress import log_step

# The padding ids that are added to each of the first texts, as in a batch of similar lengths; and to the longest of
# all texts in one batch, as beside a much longer text.
_EACH: Final = (1, 3, 10, 30)
_BEYOND: Final = (1, 30, 100, 300)
# The most ids in a batch, with the padding.
_IDS_OF_A_BATCH: Final = 50_000
# A smaller change of a probability is rounding.
_ROUNDING: Final = 1e-5
_MOST_TEXTS: Final = 64
_MOST_EACH: Final = 16
# The widths of the texts of padding only that are tried. A convolution needs the wider ones.
_PADDING_WIDTHS: Final = (1, 2, 7, 31)


@dataclass(frozen=True)
class PaddingEffect:
    """The largest changes of a text's probabilities that padding causes.

    Attributes:
        texts: how many texts were tried.
        after: the change by padding after the text.
        ids_after: the number of padding ids that caused this change.
        before: the change by padding before the text; None if it was not measured, for example because the module takes
            lengths.
        ids_before: the number of padding ids that caused this change.
    """

    texts: int
    after: float
    ids_after: int
    before: float | None = None
    ids_before: int = 0

    @property
    def exceeds_rounding(self) -> bool:
        """Whether padding after a text changes the answers by more than rounding. If not, the module handles such
        padding, and the effect of padding before a text does not matter."""
        return self.after > _ROUNDING

    @property
    def largest(self) -> float:
        """The largest change of a probability by padding before or after a text."""
        return max(self.after, self.before or 0.0)

    @property
    def document(self) -> dict[str, Any]:
        """The measured changes as the entry for a bundle's provenance."""
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
    most_tokens: int | None,
    takes_lengths: bool,
    one_text: bool,
    activation: Activation,
) -> PaddingEffect | None:
    """Measure how padding before or after a text changes the answer. The batch also contains a text without padding.

    The first 16 texts are padded by 1 to 30 ids each. All texts together are padded, as one batch, to widths up to 300
    above the longest.

    Args:
        texts: the ids of texts; the first 64 that can be padded are tried.
        padding_id: the id of padding.
        widths: how many tokens a text can have by its rules.
        most_tokens: the most tokens that the module takes; None for any number.
        takes_lengths: whether the module gets lengths, which do not count the padding.
        one_text: whether the module answers only one text at a time.
        activation: the function that converts logits to probabilities.

    Returns:
        how far padding changes the answers. None if nothing could be measured, because the rules give every text one
            width or the module does not take padded texts.
    """
    widest = min(widths.most or most_tokens or 1 << 30, most_tokens or 1 << 30)
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
    after, ids_after = max(moved["after"], key=lambda found: found.probability)
    before, ids_before = max(moved.get("before", ()), key=lambda found: found.probability, default=(None, 0))
    return PaddingEffect(len(rows), after, ids_after, before, ids_before)


def _choose_batches(rows: Sequence[list[int]], widest: int) -> Iterator[tuple[Sequence[list[int]], int]]:
    """Yield (texts, width) for each batch to try: its texts, and the width to which they are padded."""
    for row in rows[:_MOST_EACH]:
        for width in dict.fromkeys(min(len(row) + more, widest) for more in _EACH):
            yield [row], width
    longest = max(map(len, rows))
    for width in dict.fromkeys(min(longest + beyond, widest) for beyond in _BEYOND):
        yield rows[: max(_IDS_OF_A_BATCH // width - 1, 1)], width


class _PaddingChange(NamedTuple):
    """The largest change of a probability of a text by padding, and the number of padding ids."""

    probability: float
    padding_ids: int


class _PaddedRun:
    """Runs a module on a batch of padded texts and one text without padding.

    Args:
        run: the module's run.
        padding_id: the id of padding.
        takes_lengths: whether the module gets lengths, which do not count the padding.
        one_text: whether the module answers only one text at a time.
        activation: the function that converts logits to probabilities.
    """

    def __init__(
        self, run: Run, padding_id: int, *, takes_lengths: bool, one_text: bool, activation: Activation
    ) -> None:
        # Each text is run alone once.
        self._run = make_run_with_cache(run)
        self._padding_id, self._takes_lengths = padding_id, takes_lengths
        self._one_text, self._activation = one_text, activation

    def measure_changes(self, rows: Sequence[list[int]], width: int, side: str) -> list[_PaddingChange]:
        """Pad texts to a width, before or after the text (`side`), and compare the answers with those without
        padding. For each text that the module answers, return the largest change of a probability and the number of
        padding ids."""
        if self._one_text and len(rows) > 1:
            return [found for row in rows for found in self.measure_changes([row], width, side)]
        try:
            padded = self._pad_rows_beside_text(rows, width, side)
            together = split_answer_rows_by_text(self._run(*padded), padded[1])
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
                    found.append(
                        _PaddingChange(
                            compute_largest_probability_difference(one, own, activation=self._activation),
                            width - len(row),
                        )
                    )
        return found

    def _pad_rows_beside_text(self, rows: Sequence[list[int]], width: int, side: str) -> tuple[Ids, Ids]:
        """Return the padded texts and their lengths. If the module takes several texts, one more row without padding
        repeats the first text up to the full width."""
        padded = []
        for row in rows:
            padding = [self._padding_id] * (width - len(row))
            padded.append(row + padding if side == "after" else padding + row)
        full = [] if self._one_text else [np.resize(rows[0], width).tolist()]
        lengths = [*(len(row) if self._takes_lengths else width for row in rows), *(width for _ in full)]
        return np.array([*padded, *full], np.int64), np.array(lengths, np.int64)


def find_padding_fault(run: Run, widths: Widths, padding_id: int) -> str | None:
    """Run the module on a text of only padding, at lengths at which it answers other texts. Return a phrase that says
    how it fails: with an exception, NaN or infinity. Return None if it does not fail.

    Many modules compute lengths by counting ids, and fail to pack a length of 0. Others divide by the count, or mask
    all steps with minus infinity, and give NaN.
    """
    log_step("Running texts of padding only")
    for width in dict.fromkeys(map(widths.clip, _PADDING_WIDTHS)):
        real, padding = (np.full((1, width), i, np.int64) for i in (choose_non_padding_id(padding_id), padding_id))
        lengths = np.array([width], np.int64)
        with contextlib.suppress(ExportError):
            if not np.isfinite(run(real, lengths).max()):
                continue
            try:
                if not np.isfinite(run(padding, lengths).max()):
                    return "with NaN or infinity as its answer"
            except ExportError as error:
                # Without a cause it is nothing that the module raised.
                if (cause := error.__cause__) is not None:
                    return f"with {type(cause).__name__}: {first_line(cause).rstrip('.')}"
    return None
