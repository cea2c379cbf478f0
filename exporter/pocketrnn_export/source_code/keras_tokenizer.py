"""The Tokenizer of Keras, as far as it counts a vocabulary. Keras 3 no longer has it, and TensorFlow may be missing.

A script that saves a vocabulary begins with this code. It imports only modules that Python has.
The source: keras/src/legacy/preprocessing/text.py.
"""

from __future__ import annotations

import collections
import importlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any

KERAS_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


class KerasTokenizer:
    """Count the words of texts as the Tokenizer of Keras does. The most frequent word is first; words with equal counts
    keep the order of the texts."""

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = KERAS_FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        **_: object,
    ) -> None:
        self.num_words, self.filters, self.lower = num_words, filters, lower
        self.split, self.char_level, self.oov_token = split, char_level, oov_token
        self.word_counts: collections.Counter[str] = collections.Counter()
        self.word_index: dict[str, int] = {}

    def fit_on_texts(self, texts: Iterable[str | Sequence[str]]) -> None:
        for text in texts:
            words: Sequence[str] = text
            if not isinstance(text, str):
                words = [word.lower() for word in text] if self.lower else text
            else:
                words = text.lower() if self.lower else text
                if not self.char_level:
                    words = words.translate(dict.fromkeys(map(ord, self.filters), self.split)).split(self.split)
                    words = [word for word in words if word]
            self.word_counts.update(words)
        first = [] if self.oov_token is None else [self.oov_token]
        counted = [*first, *(word for word, _ in self.word_counts.most_common())]
        self.word_index = {word: number for number, word in enumerate(counted, 1)}

    def to_json(self) -> str:
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
        config = {name: getattr(self, name) for name in names} | {"word_index": json.dumps(self.word_index)}
        return json.dumps({"class_name": "Tokenizer", "config": config})


def provide_keras_tokenizer_for_import(*modules: str) -> None:
    """Make Tokenizer importable from each of `modules`, such as keras.preprocessing.text. Modules that already have a
    Tokenizer stay unchanged."""
    for module in modules:
        above: Any = None
        parts = module.split(".")
        for name in (".".join(parts[: i + 1]) for i in range(len(parts))):
            try:
                found = importlib.import_module(name)
            # One that does not load may raise anything.
            except Exception:
                found = sys.modules[name] = types.ModuleType(name)
                found.__spec__ = importlib.machinery.ModuleSpec(name, None)
                found.__path__ = []
            if above is not None and not hasattr(above, name.rpartition(".")[2]):
                setattr(above, name.rpartition(".")[2], found)
            above = found
        if not hasattr(above, "Tokenizer"):
            above.Tokenizer = KerasTokenizer
