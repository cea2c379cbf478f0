"""Find the smallest number of tokens that a module answers, and the cases whose lengths it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import Case, Run, Widths, choose_non_padding_id

# Lengths that are tried where the module answers none of the cases' own lengths.
_FEW_TOKENS: Final = (12, 8, 5)


def find_least_tokens(run: Run, widths: Widths, padding_id: int, tried_up_to: int) -> int:
    """Return the smallest number of tokens, from 1 to `tried_up_to`, of a text that gets a finite answer. Return 1 if
    no text does. A standard deviation over steps needs 2 tokens, for example."""
    for tokens in range(1, tried_up_to + 1):
        with contextlib.suppress(ExportError):
            width = widths.clip(tokens)
            if np.isfinite(run(np.full((1, width), choose_non_padding_id(padding_id)), np.array([width])).max()):
                return tokens if widths.filled else width
    # It fails on longer texts, too: the comparison that meets them reports this.
    return 1


def select_cases_of_answered_lengths(run: Run, cases: Sequence[Case]) -> list[Case]:
    """Return the cases without texts longer than the longest length that the module answers. If there are none, return
    the first case, cut to that length. If the module answers no length, return all cases.

    A module with 40 position embeddings, for example, fails on longer texts. The trace finds that limit.
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
