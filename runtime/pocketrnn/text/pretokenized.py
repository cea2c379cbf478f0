"""Texts that come as tokens or as ids, since somebody else has split them; and the tokenizer that a caller gives.

A list of strings is one text as tokens, a list of whole numbers one text as ids. Nothing about such a list is guessed:
what cannot be told apart, or what the bundle's rules could not give, is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from pocketrnn.errors import InputError, PocketRNNError, TextError, first_line, shown
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import EXTERNAL

__all__ = ["GIVE_TEXTS", "ReadyTexts", "Text", "Tokenizer"]

# One text: a string, its tokens, or its token ids.
Text: TypeAlias = str | Sequence[str] | Sequence[int]
Tokenizer: TypeAlias = Callable[[str], Sequence[str] | Sequence[int]]

GIVE_TEXTS: Final = "Give a string, or a list of its tokens or token ids"


class ReadyTexts:
    """Makes ids of texts that the bundle does not split itself.

    Args:
        name: what the classifier is called.
        encoder: the text rules and the vocabulary.
        rows: every id is below this.
        tokenizer: text -> tokens or ids; None to leave strings to the bundle's own tokenizer.

    Raises:
        InputError: the tokenizer is not a function.

    Example:
        >>> ready = ReadyTexts("mood", TextEncoder(TextRules(), ["<unk>", "good"]), rows=2)
        >>> ready.ids(["good", "film"]), ready.ids([1, 0, 1])
        ([1, 0], [1, 0, 1])
    """

    def __init__(self, name: str, encoder: TextEncoder, rows: int, tokenizer: Tokenizer | None = None) -> None:
        if tokenizer is not None and not callable(tokenizer):
            raise InputError(
                f"tokenizer is {shown(tokenizer)}, which is not a function.",
                "Give a function that takes a text and returns its tokens or ids.",
            )
        self.tokenizer = tokenizer
        self._name, self._encoder, self._rows, self._rules = name, encoder, rows, encoder.rules
        # Whether strings are left to the encoder.
        self.splits = tokenizer is None and encoder.rules.tokenizer != EXTERNAL
        # The text or ids in place of an item that is passed over.
        self.blank: str | list[int] = "" if self.splits else encoder.encode_tokens([])

    def ids(self, text: object, which: str = "The text") -> list[int]:
        """The ids of one text; never empty.

        Args:
            text: a string, or a list, tuple, array or tensor of strings or of whole numbers.
            which: which text it is, as the begin of a sentence.

        Raises:
            TextError: it is neither, an id is out of range, or the rules could give no such text.
            InputError: it is a string that nothing here can split; the tokenizer fails, or gives something else.
        """
        if isinstance(text, str):
            return self._encoder.encode(text) if self.splits else self._split(text, which)
        return self._checked(_values(text, which), which)

    def tokens(self, text: object, which: str = "The text") -> list[str]:
        """The tokens of one text that is given as tokens, or that the tokenizer splits into such.

        Args:
            text, which: as in `ids`.

        Raises:
            TextError: it is given as ids, or as `ids` says.
            InputError: the tokenizer fails, or gives ids.
        """
        values = self._called(text) if isinstance(text, str) else _values(text, which)
        self._checked(values, which)
        if not all(isinstance(value, str) for value in values):
            raise TextError(f"{which} is given as ids, so that its words are not known.", "Give its tokens.")
        return values

    def words(self, text: object, which: str = "The text") -> list[str]:
        """The words of a text that is given as a list of them, whatever these are.

        Raises:
            TextError: it is neither a list nor an array, or holds something that is not a string.
        """
        values = _values(text, which)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise _odd(value, index, which, "words")
        return values

    def _split(self, text: str, which: str) -> list[int]:
        try:
            return self._checked(self._called(text), which)
        except TextError as error:
            raise InputError(
                f"tokenizer gives what is not a text for {shown(text, 40)}: {error.problem}", error.remedy
            ) from None

    def _called(self, text: str) -> list[Any]:
        if self.tokenizer is None:
            raise InputError(
                f"{self._name} does not split texts: its tokenizer is external.",
                "Give each text as a list of its tokens or ids, or load it with tokenizer=function (on the command "
                "line, --tokens).",
            )
        try:
            return _values(self.tokenizer(text), "Its result")
        except PocketRNNError as error:
            raise InputError(
                f"tokenizer gives no tokens for {shown(text, 40)}: {error.problem}", error.remedy
            ) from None
        # Whatever the caller's function raises.
        except Exception as error:
            raise InputError(
                f"tokenizer raises {type(error).__name__} on {shown(text, 40)}: {first_line(error)}.",
                "Give a function that takes any text and returns its tokens or ids.",
            ) from error

    def _checked(self, values: list[Any], which: str) -> list[int]:
        if not values:
            return self._encoder.encode_tokens([])
        if isinstance(values[0], str):
            for index, value in enumerate(values):
                if not isinstance(value, str):
                    raise _odd(value, index, which, "tokens")
            self._check_tokens(values, which)
            return self._encoder.encode_tokens(values)
        ids = []
        for index, value in enumerate(values):
            # True is not an id, and neither is 3.0.
            if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
                raise _odd(value, index, which, "ids")
            ids.append(operator.index(value))
            if not 0 <= ids[-1] < self._rows:
                raise TextError(
                    f"{which} has the id {shown(ids[-1], 30)} at index {index}, and the ids of {self._name} are 0 to "
                    f"{self._rows - 1:,}.",
                    "Give the ids that it was trained with.",
                )
        if fault := self._rules.fault_of(ids):
            raise TextError(
                f"{which} {fault}.", "Give all ids of a text, as Classifier.encode does, or give its tokens."
            )
        return ids

    def _check_tokens(self, tokens: Sequence[str], which: str) -> None:
        """Refuse several texts given as one text's tokens: the bundle's tokenizer gives no such token.

        A tokenizer that is not the bundle's may give any.
        """
        if not self.splits:
            return
        for token in tokens:
            if not self._encoder.holds(token) and _is_a_text(token, self._rules.tokenizer):
                raise TextError(
                    f"{which} has the token {shown(token, 40)}, which {self._rules.tokenizer} would cut.",
                    "A list of strings is one text as tokens: give several texts to predict, as a list of strings.",
                )


def _is_a_text(token: str, tokenizer: str) -> bool:
    if tokenizer == "characters":
        return len(token) > 1
    return " " in token.strip() if tokenizer == "space" else len(token.split()) > 1


def _odd(value: object, index: int, which: str, kind: str) -> TextError:
    return TextError(
        f"{which} is a list of {kind} with {shown(value, 40)} at index {index}.",
        "Give strings only, which are tokens, or whole numbers only, which are ids.",
    )


def _values(text: object, which: str) -> list[Any]:
    """The values of a list, tuple, array or tensor."""
    if isinstance(text, (list, tuple)):
        return list(text)
    dimensions = getattr(text, "ndim", 1)
    if isinstance(text, (bytes, bytearray, memoryview)) or not hasattr(text, "tolist") or dimensions != 1:
        kind = type(text).__name__ + ("" if dimensions == 1 else f" of {dimensions} dimensions")
        raise TextError(f"{which} is not a string but {kind}.", f"{GIVE_TEXTS}.")
    values: list[Any] = text.tolist()
    return values
