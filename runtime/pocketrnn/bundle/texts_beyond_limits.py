"""Find the texts that a classifier refuses, and make the errors for them.

A refused text is beyond the limits of the bundle: it has too few or too many token ids, or only padding. Or the native
engine would need more memory or time for it than it allows, or integers beyond 32 bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits, count_leading_negative_ids
from pocketrnn.errors import LimitError

__all__ = [
    "SKIP_THEM",
    "add_text_name_to_error",
    "list_possible_limit_faults",
    "make_engine_memory_or_time_error",
    "make_integer_overflow_error",
    "make_limit_error",
    "mark_texts_beyond_limits",
]

SKIP_THEM: Final = "skip such texts with on_error='skip'"


def mark_texts_beyond_limits(
    limits: Limits, ids: NDArray[np.int64], lengths: NDArray[np.int64], padding_id: int
) -> NDArray[np.bool_]:
    """Mark the texts that the graph cannot take: those with too few or too many ids, and, if the limits require an id
    other than padding, those without such an id.

    Args:
        ids: int64 [ids of all texts], one text after the other.
        lengths: int64 [texts], how many ids each text has, at least 1.

    Returns:
        bool [texts], True for a text beyond the limits.
    """
    if len(ids) and ids[0] < 0:
        # Negative ids at the beginning of a row encode features. Each row has equally many.
        lengths = lengths - count_leading_negative_ids(ids[: lengths[0]].tolist())
        ids = ids[ids >= 0]
    found: NDArray[np.bool_] = lengths < (limits.min_tokens or 1)
    if limits.max_tokens is not None:
        found |= lengths > limits.max_tokens
    if limits.real_token and len(lengths):
        starts, marks = np.cumsum(lengths) - lengths, np.flatnonzero(ids < 0)
        # A pair is two texts with a negative mark between them.
        starts = np.sort(np.concatenate([starts, marks + 1])) if len(marks) else starts
        without = ~np.logical_or.reduceat((ids != padding_id) & (ids >= 0), starts)
        found |= without.reshape(len(lengths), -1).any(1)
    return found


def list_possible_limit_faults(limits: Limits) -> list[str]:
    """List the reasons for which a text can be beyond these limits, as ends of a phrase about texts: "with too few or
    too many tokens", "without a known word"."""
    sized = limits.min_tokens is not None or limits.max_tokens is not None
    return [
        *(["with too few or too many tokens"] if sized else []),
        *(["without a known word"] if limits.real_token else []),
    ]


def add_text_name_to_error(error: LimitError, text_name: str, other_remedy: str = "") -> LimitError:
    """Return an error about "The text" with the name of the text in its place, such as "Line 3".

    Args:
        text_name: the name of the text, as the beginning of a sentence.
        other_remedy: what else the user can do, as the end of a sentence; empty for nothing.
    """
    remedy = f"{error.remedy.removesuffix('.')}, or {other_remedy}." if other_remedy else error.remedy
    return LimitError(error.problem.replace("The text", text_name, 1), remedy)


def make_engine_memory_or_time_error(name: str, row_word: str = "text") -> LimitError:
    """Make the error for a text that would take more memory or time than the native engine allows.

    Args:
        row_word: the word for an input of the classifier: `text` or `sequence`.
    """
    return LimitError(
        f"The {row_word} would need more memory or time than the engine allows for {name}.",
        f"Shorten the {row_word}. If a short {row_word} is refused, too, do not use this packed file.",
    )


def make_integer_overflow_error(name: str, row_word: str = "text") -> LimitError:
    """Make the error for a text that would make the program of a packed file compute an integer beyond 32 bits.

    Args:
        row_word: the word for an input of the classifier: `text` or `sequence`.
    """
    return LimitError(
        f"The {row_word} makes {name} compute an integer beyond 32 bits, which a packed file cannot hold.",
        f"Give the {row_word} to the bundle that the file was made from, or shorten the {row_word}.",
    )


def make_limit_error(name: str, limits: Limits, token_count: int) -> LimitError:
    """Make the error for a text that is beyond the limits of the graph.

    Args:
        token_count: how many ids the text has. If this number is within the limits, all ids are padding.
    """
    becomes = f"The text becomes {'1 token id' if token_count == 1 else f'{token_count} token ids'}, but {name} takes"
    if limits.allows_length(token_count):
        return LimitError(
            f"The text holds no known word besides padding, but {name} needs one.",
            "Give a text with at least one word of the classifier's vocabulary.",
        )
    if token_count < (limits.min_tokens or 1):
        return LimitError(f"{becomes} at least {limits.min_tokens}.", "Give a longer text.")
    return LimitError(
        f"{becomes} at most {limits.max_tokens}.",
        "Shorten the text, or export the classifier with max_tokens in its text rules.",
    )
