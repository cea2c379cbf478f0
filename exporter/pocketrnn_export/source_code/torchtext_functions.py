"""Functions of torchtext 0.18 with which code counts a vocabulary. This release does not load beside a current PyTorch,
and torchtext 0.6, which does, has some of them in another form.

A script that saves a vocabulary begins with this code. It imports only modules that Python has.
The source: torchtext/vocab/vocab_factory.py, torchtext/vocab/vocab.py and torchtext/data/utils.py.
"""

from __future__ import annotations

import collections
import functools
import importlib
import importlib.machinery
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

TORCHTEXT_REPLACEMENTS = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        *((r"\'", " '  "), (r"\"", ""), (r"\.", " . "), (r"<br \/>", " "), (r",", " , "), (r"\(", " ( ")),
        *((r"\)", " ) "), (r"\!", " ! "), (r"\?", " ? "), (r"\;", " "), (r"\:", " "), (r"\s+", " ")),
    )
)


class TorchtextVocab:
    """Replace the Vocab of torchtext: a list of words whose positions are their ids."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._default: int | None = None
        for word in words:
            self.append_token(word)

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __getitem__(self, word: str) -> int:
        found = self._ids.get(word, self._default)
        if found is None:
            raise RuntimeError(f"The word {word!r} is not in the vocabulary, which has no default index.")
        return found

    def __call__(self, words: Iterable[str]) -> list[int]:
        return [self[word] for word in words]

    lookup_indices = forward = __call__

    def set_default_index(self, index: int | None) -> None:
        self._default = index

    def get_default_index(self) -> int | None:
        return self._default

    def append_token(self, word: str) -> None:
        self.insert_token(word, len(self._words))

    def insert_token(self, word: str, index: int) -> None:
        if word in self._ids or not 0 <= index <= len(self._words):
            raise RuntimeError(
                f"The word {word!r} cannot be inserted at {index}: it is in the vocabulary already, or the index is "
                f"not from 0 to {len(self._words)}."
            )
        self._words.insert(index, word)
        self._ids |= {one: index + i for i, one in enumerate(self._words[index:])}

    def lookup_token(self, index: int) -> str:
        if not 0 <= index < len(self._words):
            raise RuntimeError(f"{index} is not the id of a word in the vocabulary.")
        return self._words[index]

    def lookup_tokens(self, indices: Iterable[int]) -> list[str]:
        return [self.lookup_token(one) for one in indices]

    def get_stoi(self) -> dict[str, int]:
        return dict(self._ids)

    def get_itos(self) -> list[str]:
        return [*self._words]


def make_torchtext_vocab(
    ordered_dict: Mapping[str, int],
    min_freq: int = 1,
    specials: Sequence[str] | None = None,
    special_first: bool = True,
) -> TorchtextVocab:
    """Make a vocabulary from the counts of words, as torchtext's `vocab` does. Words that occur less than `min_freq`
    times are left out."""
    special = [*(specials or ())]
    words = [word for word, count in ordered_dict.items() if count >= min_freq and word not in special]
    return TorchtextVocab([*special, *words] if special_first else [*words, *special])


def build_torchtext_vocab(
    iterator: Iterable[Iterable[str]],
    min_freq: int = 1,
    specials: Sequence[str] | None = None,
    special_first: bool = True,
    max_tokens: int | None = None,
) -> TorchtextVocab:
    """Count the words in lists of tokens and make a vocabulary, as torchtext's `build_vocab_from_iterator` does."""
    counts = collections.Counter(word for words in iterator for word in words)
    most_frequent = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    if max_tokens is not None:
        # A special word among these leaves fewer words, as in torchtext.
        most_frequent = most_frequent[: max_tokens - len(specials or ())]
    return make_torchtext_vocab(dict(most_frequent), min_freq, specials, special_first)


def split_as_basic_english(line: str) -> list[str]:
    """Split a text into tokens as torchtext's tokenizer "basic_english" does."""
    line = line.lower()
    for pattern, new in TORCHTEXT_REPLACEMENTS:
        line = pattern.sub(new, line)
    return line.split()


def split_by_spacy(line: str, spacy: Any) -> list[str]:
    """Split a text into tokens by the spaCy pipeline `spacy`."""
    return [one.text for one in spacy.tokenizer(line)]


def get_torchtext_tokenizer(
    tokenizer: str | Callable[[str], list[str]] | None, language: str = "en"
) -> Callable[[str], list[str]]:
    """Return the tokenizer with this name, as torchtext's `get_tokenizer` does. A function is returned unchanged."""
    if tokenizer is None:
        return str.split
    if not isinstance(tokenizer, str):
        return tokenizer
    if tokenizer == "basic_english":
        return split_as_basic_english
    if tokenizer == "spacy":
        spacy = importlib.import_module("spacy")
        # The short names that spaCy had before its release 3.
        name = f"{language}_core_{'web' if language == 'en' else 'news'}_sm" if len(language) == 2 else language
        return functools.partial(split_by_spacy, spacy=spacy.load(name))
    split: Callable[[str], list[str]]
    if tokenizer == "moses":
        split = importlib.import_module("sacremoses").MosesTokenizer().tokenize
    elif tokenizer == "toktok":
        split = importlib.import_module("nltk.tokenize.toktok").ToktokTokenizer().tokenize
    elif tokenizer in ("revtok", "subword"):
        split = functools.partial(importlib.import_module("revtok").tokenize, decap=tokenizer == "subword")
    else:
        raise ValueError(f"torchtext has no tokenizer {tokenizer!r}.")
    return split


def list_torchtext_ngrams(token_list: Sequence[str], ngrams: int) -> Iterator[str]:
    """Yield the tokens, and all sequences of up to `ngrams` tokens joined by spaces, as torchtext's `ngrams_iterator`
    does."""
    yield from token_list
    for size in range(2, ngrams + 1):
        for one in zip(*(token_list[start:] for start in range(size)), strict=False):
            yield " ".join(one)


def provide_torchtext() -> None:
    """Make the functions of this file importable from torchtext. Functions that the installed torchtext has are not
    replaced."""
    functions = {"get_tokenizer": get_torchtext_tokenizer, "ngrams_iterator": list_torchtext_ngrams}
    vocabularies = {
        "vocab": make_torchtext_vocab,
        "build_vocab_from_iterator": build_torchtext_vocab,
        "Vocab": TorchtextVocab,
    }
    given: dict[str, dict[str, Any]] = {
        "torchtext": {},
        "torchtext.data": functions,
        "torchtext.data.utils": functions,
        "torchtext.vocab": vocabularies,
    }
    modules: dict[str, Any] = {}
    try:
        modules = {name: importlib.import_module(name) for name in given}
    # One that does not load may raise anything.
    except Exception:
        for name in given:
            modules[name] = sys.modules[name] = types.ModuleType(name)
            modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
            modules[name].__path__ = []
            modules[name].__getattr__ = functools.partial(make_function_that_reports_missing_torchtext, name)
    if "vocab" not in vars(modules["torchtext.vocab"]):
        for name, module in modules.items():
            vars(module).update(given[name])
            above, _, last = name.rpartition(".")
            if above:
                setattr(modules[above], last, module)


def make_function_that_reports_missing_torchtext(module: str, name: str) -> Callable[..., Any]:
    """Return a function that raises an ImportError when it is called. It stands for a function of torchtext that this
    file lacks, so that code may import the name."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ImportError(f"{module}.{name} needs the package torchtext, in a version that works with your PyTorch.")

    if name.startswith("__"):
        raise AttributeError(name)
    return fail
