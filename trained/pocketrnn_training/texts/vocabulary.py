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
    """Build a vocabulary from `texts`; return the vocabulary and the encoded texts. Each text is tokenized once.

    The order is that of torchtext's `build_vocab_from_iterator(..., specials=["<unk>", "<pad>"])`
    (`torchtext/vocab/vocab_factory.py`): the specials first, then the most frequent first, equal ones by code points.
    (A special that occurs in the texts counts twice towards `max_size` there, and once here.)

    Args:
        texts: the training texts.
        rules: how a text becomes tokens; its unknown, empty and padding ids must be those of `SPECIALS`.
        min_freq: how often a token must occur to be in the vocabulary.
        max_size: how many tokens of the texts it may hold, the specials included, or None for all.
        list_more_tokens: called with the vocabulary; returns new tokens to append to it.

    Returns:
        The vocabulary, and the texts as `TextEncoder(rules, vocabulary)` encodes them.

    Raises:
        InputError: min_freq or max_size leave no room for tokens.
        DataError: not one text has a token, or no token is frequent enough.
    """
    if min_freq < 1:
        raise InputError(f"min_freq is {min_freq}, but it must be at least 1.", "Use a number from 1.")
    if max_size is not None and max_size <= len(SPECIALS):
        raise InputError(
            f"max_size is {max_size}, but {len(SPECIALS)} tokens are for unknown words and padding.",
            f"Use a number above {len(SPECIALS)}.",
        )
    if (rules.unknown_id, rules.empty_id, rules.padding_id) != (UNKNOWN, UNKNOWN, PADDING):
        raise ValueError(f"give rules with unknown_id and empty_id {UNKNOWN}, and padding_id {PADDING}")
    # Ids are given in the order of first occurrence and renumbered when all counts are known: one pass of the
    # tokenizer, and four bytes for each token.
    tokens_of = TextEncoder(rules, ()).tokens
    first_id_of: dict[str, int] = {token: i for i, token in enumerate(SPECIALS)}
    rows = EncodedTexts.from_rows(
        [first_id_of.setdefault(token, len(first_id_of)) for token in tokens_of(text)] or [UNKNOWN] for text in texts
    )
    names = list(first_id_of)
    if len(names) == len(SPECIALS):
        raise DataError("Not one of the texts has a token.", "Give texts with words in them.")

    old_ids = rows.ids
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(old_ids), _CHUNK)]
    counts = np.zeros(len(names), dtype=np.int64)
    for chunk in chunks:
        counts += np.bincount(old_ids[chunk], minlength=len(names))
    kept = _choose_kept_ids(names, counts, min_freq, max_size)
    if not kept:
        raise DataError(f"Not one token occurs at least {min_freq} times.", "Use a smaller min_freq, or more texts.")
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
