"""Build a vocabulary from texts, in torchtext's order, and encode the texts with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_training.rows.disk_backed_data import ByteBuffer
from pocketrnn_training.rows.encoded_rows import EncodedTexts

__all__ = ["PADDING", "SPECIALS", "UNKNOWN", "build"]

UNKNOWN: Final = 0
PADDING: Final = 1
SPECIALS: Final = ("<unk>", "<pad>")
# This many ids are renumbered at a time, since the texts may be larger than memory.
_CHUNK: Final = 2**22


def build(
    texts: Iterable[str],
    rules: TextRules,
    *,
    min_freq: int = 1,
    max_size: int | None = None,
    list_more_tokens: Callable[[tuple[str, ...]], Sequence[str]] = lambda _: (),
) -> tuple[tuple[str, ...], EncodedTexts]:
    """Build a vocabulary from `texts`, and encode the texts with it. Each text is tokenized once.

    The order of the tokens is that of torchtext's `build_vocab_from_iterator(..., specials=["<unk>", "<pad>"])`: first
    the special tokens, then the tokens from the most frequent; equally frequent tokens are sorted by code points. (If a
    special token occurs in the texts, torchtext counts it twice towards `max_size`; this function counts it once.)

    Args:
        texts: the training texts.
        rules: the rules that turn a text into tokens. Their unknown, empty and padding ids must be those of `SPECIALS`.
        min_freq: how often a token must occur to be in the vocabulary.
        max_size: the largest size of the vocabulary, including the special tokens; None for no limit.
        list_more_tokens: a function that gets the vocabulary and returns new tokens to append to it.

    Returns:
        The vocabulary, and the texts as `TextEncoder(rules, vocabulary)` encodes them.

    Raises:
        InputError: `min_freq` is less than 1, or `max_size` leaves no room for tokens of the texts.
        DataError: the texts have no tokens, or no token is frequent enough.
    """
    if min_freq < 1:
        raise InputError(f"min_freq is {min_freq}, but it must be 1 or more.", "Give a whole number of 1 or more.")
    if max_size is not None and max_size <= len(SPECIALS):
        raise InputError(
            f"The argument `max_size` is {max_size}, but it must be more than {len(SPECIALS)}: {len(SPECIALS)} tokens "
            "stand for unknown words and for padding.",
            f"Give a whole number above {len(SPECIALS)}.",
        )
    if (rules.unknown_id, rules.empty_id, rules.padding_id) != (UNKNOWN, UNKNOWN, PADDING):
        raise ValueError(
            f"the argument `rules` must have unknown_id={UNKNOWN}, empty_id={UNKNOWN}, padding_id={PADDING}"
        )
    # Ids are given in the order of first occurrence and renumbered when all counts are known: one pass of the
    # tokenizer, and four bytes for each token.
    tokens_of = TextEncoder(rules, ()).tokens
    first_id_of: dict[str, int] = {token: i for i, token in enumerate(SPECIALS)}
    rows = EncodedTexts.from_rows(
        [first_id_of.setdefault(token, len(first_id_of)) for token in tokens_of(text)] or [UNKNOWN] for text in texts
    )
    names = list(first_id_of)
    if len(names) == len(SPECIALS):
        raise DataError("Not one of the texts has a word or another token.", "Give texts with words in them.")

    old_ids = rows.ids
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(old_ids), _CHUNK)]
    counts = np.zeros(len(names), dtype=np.int64)
    for chunk in chunks:
        counts += np.bincount(old_ids[chunk], minlength=len(names))
    kept = _choose_kept_ids(names, counts, min_freq, max_size)
    if not kept:
        raise DataError(
            f"Not one token of the texts occurs at least {min_freq} times, which is the value of min_freq.",
            "Set a smaller min_freq, or give more texts.",
        )
    new_ids = np.full(len(names), UNKNOWN, dtype=np.int32)
    new_ids[PADDING] = PADDING
    new_ids[kept] = np.arange(len(SPECIALS), len(SPECIALS) + len(kept), dtype=np.int32)
    vocabulary = (*SPECIALS, *(names[i] for i in kept))
    added = tuple(list_more_tokens(vocabulary))
    for new_id, token in enumerate(added, start=len(vocabulary)):
        # A token may have been in the texts, but too rare.
        if (i := first_id_of.get(token)) is not None:
            new_ids[i] = new_id
    renumbered = ByteBuffer()
    for chunk in chunks:
        renumbered.write(new_ids[old_ids[chunk]].tobytes())
    return vocabulary + added, EncodedTexts(renumbered.numbers(np.int32), rows.offsets)


def _choose_kept_ids(names: list[str], counts: npt.NDArray[np.int64], min_freq: int, max_size: int | None) -> list[int]:
    """Choose the tokens that the vocabulary keeps; return their ids, the most frequent first.

    Args:
        names: the tokens, in the order of their ids; the first two are special tokens, which are left out.
        counts: int64 [tokens], how often each token occurs.
        min_freq: how often a token must occur.
        max_size: the largest size of the vocabulary, with the special tokens; None for no limit.
    """
    occurrences = counts.tolist()
    order = sorted(range(len(SPECIALS), len(names)), key=lambda i: (-occurrences[i], names[i]))
    if max_size is not None:
        order = order[: max_size - len(SPECIALS)]
    return [i for i in order if occurrences[i] >= min_freq]
