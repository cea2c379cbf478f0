"""Encode one text as ids: a string, or a list of its tokens or ids. The user's own tokenizer may split a string.

A list of strings is one text as tokens, a list of whole numbers one text as ids. Nothing about such a list is guessed:
an ambiguous list, or one that the bundle's rules could not produce, is refused.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from pocketrnn.errors import InputError, TextError, first_line, short_repr
from pocketrnn.text.added_ids_and_width import cut_and_pad_ids
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import EXTERNAL

__all__ = ["Text", "TextRowEncoder", "Tokenizer", "write_remedy_of_missing_file", "write_remedy_of_tokenizer_error"]

# One text: a string, its tokens, or its token ids.
Text: TypeAlias = str | Sequence[str] | Sequence[int]
Tokenizer: TypeAlias = Callable[[str], Sequence[str] | Sequence[int]]
# The line that an error of NLTK names, if data that a function needs are missing.
_NLTK_DOWNLOAD: Final = re.compile(r"nltk\.download\('[\w.-]+'\)")


class TextRowEncoder:
    """Encodes one text as ids. The text is a string, which the bundle's or the caller's tokenizer splits, or a list of
    tokens or ids.

    Args:
        rows: the number of embedding rows; every id is below it.
        tokenizer: a function that takes a text and returns its tokens or ids, or a string with the tokens between white
            space; None for the bundle's own tokenizer.
        files: the files of the tokenizer function with which the bundle was exported, to name them in the message if
            `tokenizer` is missing; empty for a bundle with its own tokenizer.

    Raises:
        InputError: the tokenizer is not a function.
    """

    def __init__(
        self, name: str, encoder: TextEncoder, rows: int, tokenizer: Tokenizer | None = None, files: Sequence[str] = ()
    ) -> None:
        if tokenizer is not None and not callable(tokenizer):
            raise InputError(
                f"tokenizer is {short_repr(tokenizer)}, but it must be a function.",
                "Give a function that takes a text and returns a list of its tokens or ids.",
            )
        self.tokenizer, self._files = tokenizer, tuple(files)
        self._name, self._encoder, self._rows, self._rules = name, encoder, rows, encoder.rules
        self._splits_strings = tokenizer is None and encoder.rules.tokenizer != EXTERNAL
        # Whether strings are left to the encoder.
        self.splits = self._splits_strings
        # The text or ids that replace an item that is passed over.
        self.blank: str | list[int] = "" if self.splits else encoder.encode_tokens([])

    def encode_text(self, text: object, text_name: str = "The text") -> list[int]:
        """Encode one text as ids; there is at least one.

        Args:
            text: a string, or a list, tuple, array or tensor of strings or of whole numbers.
            text_name: the name of the text, with which messages begin.

        Raises:
            TextError: the text is neither a string nor such a list, an id is out of range, or the text rules cannot
                produce these tokens or ids.
            InputError: the text is a string and there is no tokenizer; or the tokenizer fails or returns another type.
        """
        if isinstance(text, str):
            return (
                self._encoder.encode(text)
                if self._splits_strings
                else self._encode_with_callers_tokenizer(text, text_name)
            )
        return self._check_and_encode_tokens_or_ids(_convert_text_items_to_list(text, text_name), text_name)

    def get_tokens(self, text: object, text_name: str = "The text") -> list[str]:
        """Return the tokens of a text: those that are given, or those into which the tokenizer splits a string.

        Args:
            text_name: the name of the text, with which messages begin.

        Raises:
            TextError: the text is given as ids, is neither a string nor a list, or holds tokens that are not valid.
            InputError: the tokenizer is missing, fails, or returns ids.
        """
        values = self._call_tokenizer(text) if isinstance(text, str) else _convert_text_items_to_list(text, text_name)
        self._check_and_encode_tokens_or_ids(values, text_name)
        if not all(isinstance(value, str) for value in values):
            raise TextError(f"{text_name} is given as ids, but its words are needed.", "Give a list of its words.")
        return values

    def check_words(self, text: object, text_name: str = "The text") -> list[str]:
        """Return the words of a text that is given as a list of words. A word may be any string. Raise a TextError if
        the text is neither a list nor an array, or holds something that is not a string."""
        values = _convert_text_items_to_list(text, text_name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise _make_mixed_list_error(value, index, text_name, "words")
        return values

    def _encode_with_callers_tokenizer(self, text: str, text_name: str) -> list[int]:
        """Split a string by the caller's tokenizer, and encode its tokens as ids."""
        try:
            return self._check_and_encode_tokens_or_ids(self._call_tokenizer(text), text_name, of_function=True)
        except TextError as error:
            raise InputError(
                f"The function `tokenizer` returns a result for {short_repr(text, 40)} that cannot be used: "
                f"{error.problem}",
                error.remedy,
            ) from None

    def _call_tokenizer(self, text: str) -> list[Any]:
        """Call the caller's tokenizer on a text, and return the tokens or ids as a list. If the tokenizer returns a
        string, split it at white space, as the exporter does."""
        if self.tokenizer is None:
            files = " and ".join(self._files)
            need = (
                f"The tokenizer function with which it was exported needs {files}: copy these files. " if files else ""
            )
            raise InputError(
                f"{self._name} does not split texts into tokens: its tokenizer is not part of the bundle.",
                f"{need}Load the classifier with tokenizer=function, or give each text as a list of its tokens or "
                "ids. On the command line, add --tokenizer file.py:function or --tokens.",
            )
        try:
            made = self.tokenizer(text)
        # The caller's function may raise any exception.
        except Exception as error:
            raise InputError(
                f"The function `tokenizer` raises {type(error).__name__} on {short_repr(text, 40)}: "
                f"{first_line(error)}.",
                write_remedy_of_tokenizer_error(error),
            ) from error
        if isinstance(made, str):
            return made.split()
        try:
            return _convert_text_items_to_list(made, "Its result")
        except TextError:
            raise InputError(
                f"The function `tokenizer` returns {_describe_type(made)} for {short_repr(text, 40)}, but it must "
                "return a list of tokens or ids.",
                "Let it return such a list, for example text.split().",
            ) from None

    def _check_and_encode_tokens_or_ids(
        self, values: list[Any], text_name: str, *, of_function: bool = False
    ) -> list[int]:
        """Check the tokens or ids of a text, and return its ids.

        With `of_function`, `values` come from the caller's tokenizer. Ids are then cut and padded by the text rules,
        unless the rules add ids before or after them.

        Raises:
            TextError: an item is neither a token nor an id, tokens and ids are mixed, an id is out of range, or the
                text rules cannot produce these ids.
        """
        if not values:
            return self._encoder.encode_tokens([])
        if isinstance(values[0], str):
            for index, value in enumerate(values):
                if not isinstance(value, str):
                    raise _make_mixed_list_error(value, index, text_name, "tokens")
            if not of_function:
                self._refuse_tokens_that_would_be_split(values, text_name)
            return self._encoder.encode_tokens(values)
        ids = []
        for index, value in enumerate(values):
            # True is not an id, and neither is 3.0.
            if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
                raise _make_mixed_list_error(value, index, text_name, "ids")
            ids.append(operator.index(value))
            if not 0 <= ids[-1] < self._rows:
                raise TextError(
                    f"{text_name} has the id {short_repr(ids[-1], 30)} at index {index}, but the ids of {self._name} "
                    f"are 0 to {self._rows - 1:,}.",
                    "Make the ids with the vocabulary that the classifier was trained with.",
                )
        if of_function and not (self._rules.first_ids or self._rules.last_ids):
            ids = cut_and_pad_ids(ids, self._rules)
        if fault := self._rules.explain_impossible_ids(ids):
            raise TextError(
                f"{text_name} {fault}.",
                "Give all ids of a text, as Classifier.encode returns them, or give its tokens.",
            )
        return ids

    def _refuse_tokens_that_would_be_split(self, tokens: Sequence[str], text_name: str) -> None:
        """Raise a TextError for a list that seems to hold several texts, not the tokens of one text.

        For the bundle's tokenizer, this is a list with an unknown item that the tokenizer would split. The caller's
        tokenizer may return any tokens: then it is a list of two items or more, all unknown and of several words.
        """
        if not self._splits_strings and (self.tokenizer is None or len(tokens) < 2):
            return
        kind = self._rules.tokenizer if self._splits_strings else "whitespace"
        split = [one for one in tokens if not self._encoder.holds(one) and _would_split_token(one, kind)]
        if split and (self._splits_strings or len(split) == len(tokens)):
            by = kind if self._splits_strings else "the tokenizer"
            raise TextError(
                f"{text_name} has the token {short_repr(split[0], 40)}, which {by} would split.",
                "A list of strings is taken as the tokens of one text. Give several texts to predict() as a list, or "
                "one text as a string.",
            )


def write_remedy_of_tokenizer_error(error: BaseException) -> str:
    """Write the sentence that says what to do about an exception of the caller's tokenizer: download missing data of
    NLTK, copy a missing file, or else give another function."""
    if download := _NLTK_DOWNLOAD.search(str(error)):
        return f"Data of NLTK are missing on this machine. Run in Python: import nltk; {download[0]}"
    return write_remedy_of_missing_file(error) or "Give a function that takes any text and returns its tokens or ids."


def write_remedy_of_missing_file(error: BaseException) -> str:
    """Write the sentence that says where to copy a file or module that a user's code does not find, from the exception
    or the exceptions that caused it. Return an empty string if none of them is about a missing file."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, FileNotFoundError) and isinstance(found.filename, str):
            file = Path(found.filename)
            other = "" if file.is_absolute() else f" Or start the program in the folder that has {file}."
            return f"Copy {file.name} to {file.absolute()}, where the code looks for it.{other}"
        if isinstance(found, ModuleNotFoundError) and found.name:
            module = found.name.partition(".")[0]
            return f"Copy {module}.py beside the file, or install {module}."
        found = found.__cause__ or found.__context__
    return ""


def _would_split_token(token: str, tokenizer: str) -> bool:
    """Return whether a tokenizer would split a token."""
    if tokenizer == "characters":
        return len(token) > 1
    return " " in token.strip() if tokenizer == "space" else len(token.split()) > 1


def _make_mixed_list_error(value: object, index: int, text_name: str, kind: str) -> TextError:
    return TextError(
        f"{text_name} is a list of {kind} with {short_repr(value, 40)} at index {index}, but all items must be {kind}.",
        "Give a list of strings, which are tokens, or a list of whole numbers, which are ids.",
    )


def _convert_text_items_to_list(text: object, text_name: str) -> list[Any]:
    """Convert a list, tuple, array or tensor to a list of its values."""
    if isinstance(text, (list, tuple)):
        return list(text)
    dimensions = getattr(text, "ndim", 1)
    if isinstance(text, (bytes, bytearray, memoryview)) or not hasattr(text, "tolist") or dimensions != 1:
        kind = type(text).__name__ + ("" if dimensions == 1 else f" of {dimensions} dimensions")
        raise TextError(
            f"{text_name} is not a string or a list, but has the type {kind}.",
            "Give the text as a string, or as a list of its tokens or token ids.",
        )
    values: list[Any] = text.tolist()
    return values


def _describe_type(value: Any) -> str:
    """Return the name of a value's type with its article: `an int`, `a dict`, `None`."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
