"""Find the smallest and the largest number of tokens that a module answers, and whether it answers texts of padding
only."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.proof_inputs import Case, Run, Widths, choose_non_padding_id

# Lengths of the texts of padding only that are tried. A convolution needs the longer ones.
_PADDING_WIDTHS: Final = (1, 2, 7, 31)
# Lengths that are tried where the module answers none of the cases' own lengths.
_FEW_TOKENS: Final = (12, 8, 5)


def find_least_tokens(run: Run, widths: Widths, padding_id: int, shortest: int) -> int:
    """Return the smallest number of tokens that the module answers. A standard deviation over steps needs more than
    one."""
    for tokens in range(1, shortest + 1):
        with contextlib.suppress(ExportError):
            width = widths.clip(tokens)
            if np.isfinite(run(np.full((1, width), choose_non_padding_id(padding_id)), np.array([width])).max()):
                return tokens if widths.filled else width
    # It fails on longer texts, too: the comparison that meets them reports this.
    return 1


def find_padding_fault(run: Run, widths: Widths, padding_id: int) -> str | None:
    """Return the module's error for a text that is only padding, at a length at which other texts are answered.
    Return None if the module does not fail.

    Many modules count their lengths by the ids and pack by them, which fails for a length of 0. Others divide by the
    count, or mask all steps with minus infinity, and give NaN.
    """
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


def keep_answered_lengths(run: Run, cases: Sequence[Case]) -> list[Case]:
    """Return the cases with lengths that the module answers. If there are none, return a case that is cut to such a
    length.

    A module with 40 position embeddings answers no longer text. The trace finds that limit.
    """
    widest = max(cases, key=lambda case: case.tokens.shape[1])
    longest = widest.tokens[[widest.lengths.argmax()]]
    for most in (*sorted({int(case.lengths.max()) for case in cases}, reverse=True), *_FEW_TOKENS):
        row = longest[:, :most]
        with contextlib.suppress(ExportError):
            run(row, np.array([row.shape[1]], np.int64))
            within = [case for case in cases if case.lengths.max() <= most]
            return within or [Case(c.name, c.tokens[:, :most], np.minimum(c.lengths, most)) for c in cases[:1]]
    # It fails for another reason: the next call of the module reports it.
    return list(cases)
