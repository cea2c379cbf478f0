"""Which texts a module has an answer to: how few tokens, how many, and padding only."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.cases import Case, Run, Widths, real_id

__all__ = ["least_tokens", "of_answered_lengths", "padding_fault"]

# How long the texts of padding only are that a module is asked. A convolution needs the longer ones.
_PADDING_WIDTHS: Final = (1, 2, 7, 31)
# Where a module answers no text of as many tokens as its neighbours are compared on.
_FEW_TOKENS: Final = (12, 8, 5)


def least_tokens(run: Run, widths: Widths, padding_id: int, shortest: int) -> int:
    """The fewest tokens of a text that the module answers: a standard deviation over the steps has no value for one."""
    for tokens in range(1, shortest + 1):
        with contextlib.suppress(ExportError):
            width = widths.clip(tokens)
            if np.isfinite(run(np.full((1, width), real_id(padding_id)), np.array([width])).max()):
                return tokens if widths.filled else width
    # It fails on more than short texts, which is told where that is seen.
    return 1


def padding_fault(run: Run, widths: Widths, padding_id: int) -> str | None:
    """How the module fails on a text of padding only, of a length at which it answers another text; else None.

    Many modules count their lengths by the ids and pack by them, which fails for a length of 0. Others divide by the
    count, or mask all steps with minus infinity, and give NaN.
    """
    for width in dict.fromkeys(map(widths.clip, _PADDING_WIDTHS)):
        real, padding = (np.full((1, width), i, np.int64) for i in (real_id(padding_id), padding_id))
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


def of_answered_lengths(run: Run, cases: Sequence[Case]) -> list[Case]:
    """The cases of lengths that the module answers a text of; where it answers none of these, cut to one that it does.

    One with a table of 40 positions answers no longer text. That limit is found where it is traced.
    """
    widest = max(cases, key=lambda case: case.tokens.shape[1])
    longest = widest.tokens[[widest.lengths.argmax()]]
    for most in (*sorted({int(case.lengths.max()) for case in cases}, reverse=True), *_FEW_TOKENS):
        row = longest[:, :most]
        with contextlib.suppress(ExportError):
            run(row, np.array([row.shape[1]], np.int64))
            within = [case for case in cases if case.lengths.max() <= most]
            return within or [Case(c.name, c.tokens[:, :most], np.minimum(c.lengths, most)) for c in cases[:1]]
    # It fails for another reason, which is told where it is asked next.
    return list(cases)
