"""Write how a Tokenizer of Keras splits a text, by its settings.

The source: `text_to_word_sequence` and `Tokenizer.texts_to_sequences` in keras/src/legacy/preprocessing/text.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_FILTERS: Final = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


@dataclass(frozen=True)
class KerasSplit:
    """The settings by which a Keras Tokenizer splits a text.

    Attributes:
        filters: the characters that are replaced by the string `split`.
        lower: whether texts are lower-cased.
        split: the string between two words.
        char_level: whether each character is a token.
    """

    filters: str = _FILTERS
    lower: bool = True
    split: str = " "
    char_level: bool = False

    def write_tokens(self, text: str) -> str:
        """Return a Python expression that splits a text as these settings do, such as "text.lower().split(' ')". `text`
        is the Python expression for the text."""
        text += ".lower()" * self.lower
        if self.char_level:
            return f"list({text})"
        if self.filters:
            text += f".translate(dict.fromkeys(map(ord, {self.filters!r}), {self.split!r}))"
        return f"[word for word in {text}.split({self.split!r}) if word]"


def read_keras_split(config: Mapping[str, Any]) -> KerasSplit | None:
    """Read from the settings `config` of a Keras Tokenizer how it splits texts. Return None if `filters` or `split` has
    the wrong type, or if `split` is empty.

    Example:
        >>> read_keras_split({"filters": "", "lower": False}).write_tokens("text")
        "[word for word in text.split(' ') if word]"
    """
    filters, split, lower = config.get("filters", _FILTERS) or "", config.get("split", " "), config.get("lower", True)
    if not isinstance(filters, str) or not isinstance(split, str) or not split:
        return None
    return KerasSplit(filters, bool(lower), split, bool(config.get("char_level")))
