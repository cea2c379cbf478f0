"""Compare text rules that were read from a tokenizer's file with the library that reads the file, if it is
installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import TextEncoder
from pocketrnn_export.vocabularies.tokenizer_json import Subwords

Encode = Callable[[str], list[int]]

_DRAWN: Final = 1000
_ODD: Final = (
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\u0301", "\u0323", "\ufe0f", "\x00"),
    *("'s", "'RE", "12,345.6", "--", "...", "!?", "(", "\u2581", "\u0120", "##", "</s>", "[UNK]", "<unk>", "\ufffd"),
    *("\u00e9", "\u00df", "\u0130I\u0131", "\u039f\u03a3", "\ufb01", "\uff21", "\u2460", "\u1e9e", "A\u030a"),
    *("\u4e2d\u6587", "\u304c\u30ab\uff76\uff9e", "\ud55c\uad6d", "\u0e19\u0e49\u0e33", "\u0915\u094d\u0937"),
    *("\u0639\u064e", "\U0001f600", "\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f"),
)


def compare_with_library(subwords: Subwords, texts: Iterable[str]) -> int:
    """Compare the ids by the rules with the ids by the tokenizer's own library. Return the number of compared texts, or
    0 if the library is not installed.

    Args:
        subwords: the rules and tokens that were read from the file.
        texts: texts to compare, in addition to 1,000 random texts of words of the vocabulary and unusual characters.

    Raises:
        InputError: the library and the rules give different ids to a text.
    """
    encode = _make_library_encode(subwords)
    if encode is None:
        return 0
    encoder = TextEncoder(subwords.file_rules or subwords.rules, subwords.tokens)
    every = list(dict.fromkeys([*texts, *draw_texts(subwords.tokens, _DRAWN)]))
    for text in every:
        theirs, ours = encode(text) or [subwords.rules.empty_id], encoder.encode(text)
        if theirs != ours:
            raise InputError(
                f"The library {subwords.library} and the text rules that pocketrnn read from {subwords.kind} give "
                f"different ids to {short_repr(text, 60)}: {len(theirs)} and {len(ours)} ids.",
                "Report this with the tokenizer's file: it is a fault of pocketrnn, or of your release of the library. "
                "To export now, give texts with the ids of your pipeline: --pairs FILE (in Python, example_ids=).",
            )
    return len(every)


def _make_library_encode(subwords: Subwords) -> Encode | None:
    """Return the function of the tokenizer's own library that converts a text to ids. Return None if the library is not
    installed."""
    content, given = subwords.content, subwords.tokenizer
    if given is not None:
        return lambda text: list(given.encode(text).ids)
    try:
        if isinstance(content, str):
            from tokenizers import Tokenizer

            tokenizer = _load_tokenizer(Tokenizer.from_str, content, subwords.library, subwords.kind)
            return lambda text: list(tokenizer.encode(text).ids)
        from sentencepiece import SentencePieceProcessor

        processor = _load_tokenizer(
            lambda model: SentencePieceProcessor(model_proto=model), content, subwords.library, subwords.kind
        )
        return lambda text: list(processor.encode(text))
    except ImportError:
        return None


def _load_tokenizer(load: Callable[[Any], Any], content: str | bytes, library: str, kind: str) -> Any:
    """Load a tokenizer by a call of `load`, a function of its library. Raise an InputError if the call fails with any
    exception, since the library's exceptions have no common class."""
    try:
        return load(content)
    except Exception as error:
        raise InputError(
            f"The library {library} cannot read {kind}: {str(error) or type(error).__name__}.",
            "Save the tokenizer again with this library, or give texts with the ids of your pipeline: --pairs FILE (in "
            "Python, example_ids=).",
        ) from None


def draw_texts(tokens: Sequence[str], number: int) -> Iterator[str]:
    """Yield `number` random texts of the pieces of a vocabulary and of unusual characters. Every call yields the same
    texts."""
    rng = np.random.default_rng(0)
    # Without the marks for the start or middle of a word, as in texts.
    words = [token.replace("\u2581", " ").replace("\u0120", " ").removeprefix("##") for token in tokens]
    for _ in range(number):
        parts = []
        for kind in rng.random(int(rng.integers(1, 12))):
            if kind < 0.6:
                parts.append(words[rng.integers(len(words))] + " " * int(kind < 0.3))
            elif kind < 0.9:
                parts.append(_ODD[rng.integers(len(_ODD))])
            else:
                parts.append(chr(int(rng.integers(0x20, 0x3000 if kind < 0.95 else 0xD800))))
        yield "".join(parts)
