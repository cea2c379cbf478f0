"""Call an owner's function with a text, and read the tokens or ids of the text from its result.

Many take a list of texts, or the vocabulary beside the text, and give an array of one row, padded or not, or the ids
and their number. A few texts of words of the vocabulary show which call gives these words.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.errors import InputError, first_line, short_repr
from pocketrnn_export.vocabularies.vocabulary import Vocabulary
from pocketrnn_export.vocabularies.words_as_vocabulary_object import WordIds, is_vocabulary_name

# An argument after one that is given by name is keyword-only.
_SINGLE: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
_TRIED_TEXTS: Final = 8
# The texts that show whether a function takes plain texts.
_TEXTS_TO_RAISE_ON: Final = 20
_LEFT_OUT_WORDS: Final = 100
_NAMES_TEXTS: Final = re.compile(
    r"(texts|sentences|reviews|documents|docs|comments|tweets|lines|batch)$", re.IGNORECASE
)
# A text that code which cleans texts changes.
_UNLIKE: Final = "An, odd <TEXT>!"
_UNKNOWN: Final = "qzxqzx"

# A file with a function `words` that an export wrote says by this name that the user's code leaves out the words that
# the vocabulary has not.
LEAVES_OUT_UNKNOWN: Final = "LEAVES_OUT_UNKNOWN_WORDS"
# And by this name, the id that these words get.
UNKNOWN_ID: Final = "UNKNOWN_WORD_ID"


class OwnersFunction:
    """Wraps the owner's function that splits texts as a function that takes one text and returns a list of its tokens
    or ids. The owner's function is called only once for each text, since it may be slow.

    Args:
        function: the owner's function.
        text: the name of the argument that takes the text; empty if the text is the only argument.
        arguments: the other arguments, such as the vocabulary, by their names.
        takes_list: whether the function takes a list of texts.

    Attributes:
        function, arguments, takes_list: as given.
        gives_ids: whether the function returns ids, and not tokens.
        has_own_ids: whether the function returns ids although it does not get the vocabulary.
        gives_string: whether the last result of the function was a string. The tokens are then the words or the
            characters of the string.
        reads_characters: whether the tokens are the characters of such a string, and not the words.
        stated_rules: the rule for unknown words that the file of the function states, such as {"unknown_id": 0}; empty
            if the file states none.
        results: the tokens or ids of each text with which the function was called.
        seconds: how long all calls of the function have taken.
    """

    gives_ids = False
    gives_string = False
    reads_characters = False

    def __init__(
        self, function: Callable[..., Any], text: str, arguments: Mapping[str, Any], *, takes_list: bool
    ) -> None:
        self.function, self._text, self.arguments, self.takes_list = function, text, arguments, takes_list
        self.results: dict[str, list[Any]] = {}
        self.seconds = 0.0
        self.stated_rules: dict[str, int | None] = {}

    @property
    def has_own_ids(self) -> bool:
        """Whether the function returns ids although it does not get the vocabulary."""
        return self.gives_ids and not self._text

    @property
    def takes_only_text(self) -> bool:
        """Whether the function is called with one string and nothing else."""
        return not self._text and not self.takes_list

    def bind(self, text: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments with which the function is called for one text."""
        given = [text] if self.takes_list else text
        return ([], {**self.arguments, self._text: given}) if self._text else ([given], {**self.arguments})

    def __call__(self, text: str) -> list[Any]:
        # It is also called with the words of a text, to find out what it takes.
        """Return the tokens or ids of one text. A result that is already known is returned without a call."""
        if isinstance(text, str) and text in self.results:
            return self.results[text][:]
        args, kwargs = self.bind(text)
        started = time.monotonic()
        try:
            given = self.function(*args, **kwargs)
        finally:
            self.seconds += time.monotonic() - started
        self.gives_string = isinstance(given, str)
        is_spelled = self.gives_string and self.reads_characters
        found = list(given) if is_spelled else _read_tokens_or_ids(given, takes_list=self.takes_list)
        if isinstance(text, str) and isinstance(found, list):
            self.results[text] = found[:]
        return found


def read_unknown_word_rule_from_names(names: Mapping[str, Any], size: float = math.inf) -> dict[str, int | None]:
    """Return the rule for unknown words that a Python file states by the name `UNKNOWN_WORD_ID` or
    `LEAVES_OUT_UNKNOWN_WORDS`. It is a member of text rules: {"unknown_id": 3}, or {"unknown_id": None} if unknown
    words are left out. Return an empty dict if the file has neither name.

    Args:
        names: the names that the file defines, with their values.
        size: the size of the vocabulary. An `UNKNOWN_WORD_ID` of this size or more is ignored.

    Example:
        >>> read_unknown_word_rule_from_names({"UNKNOWN_WORD_ID": 0})
        {'unknown_id': 0}
        >>> read_unknown_word_rule_from_names({"LEAVES_OUT_UNKNOWN_WORDS": True})
        {'unknown_id': None}
    """
    unknown = names.get(UNKNOWN_ID)
    if names.get(LEAVES_OUT_UNKNOWN):
        return {"unknown_id": None}
    return {"unknown_id": unknown} if type(unknown) is int and 0 <= unknown < size else {}


def find_how_to_call_owner_function(function: Any, vocabulary: Vocabulary, where: str = "tokenizer") -> OwnersFunction:
    """Find out how to call a function that splits texts: with a string or with a list of one text, with or without the
    vocabulary. The calls are tried on words of the vocabulary. Return a function that takes one text and makes the call
    that works.

    Args:
        function: the owner's function.
        vocabulary: the tokens.
        where: the function's name, for messages.

    Raises:
        InputError: the function needs other arguments, or takes the words of a text and not the text.

    Example:
        >>> def ids(texts, stoi):
        ...     return [[stoi[word] for word in text.split()] for text in texts]
        >>> find_how_to_call_owner_function(ids, read_vocabulary(["<unk>", "oil", "film"]))("film oil")
        [2, 1]
    """
    if isinstance(function, OwnersFunction):
        return function
    needed = _list_required_arguments(function, where)
    name = find_vocabulary_argument(needed)
    if len(needed) > 2:
        raise make_function_arguments_error(where, needed)
    words = [token for token in vocabulary.tokens if len(token) > 1 and token.isalpha()]
    words = words[:: max(1, len(words) // (2 * _TRIED_TEXTS))][: 2 * _TRIED_TEXTS]
    takes_vocabulary = len(needed) == 2
    forms = _list_ways_to_call(function, needed if takes_vocabulary else [], name, vocabulary)
    # A function may give the ids of characters, also with a vocabulary of words.
    letters = [token for token in vocabulary.tokens if len(token) == 1 and token.isalpha()] * takes_vocabulary
    scores = [0]
    for tried in (words, letters[: 2 * _TRIED_TEXTS]):
        if not any(scores):
            scores = [
                _count_found_words_and_set_gives_ids(form, tried, vocabulary, only_ids=takes_vocabulary)
                for form in forms
            ]
    if any(scores) or (not takes_vocabulary and not words):
        return forms[scores.index(max(scores))]
    plain = next(one for one in forms if not one.takes_list)
    makes_ids = takes_vocabulary or plain.gives_ids
    if makes_ids and _count_found_words_and_set_gives_ids(plain, words, vocabulary, only_ids=True, give_words=True):
        raise InputError(
            f"{where} takes the words of a text, but a tokenizer must take the text itself.",
            "Give the function that splits a text into words, --tokenizer file.py:words, or a function that splits "
            "a text and then calls this function.",
        )
    if takes_vocabulary:
        raise make_function_arguments_error(
            where, needed, "" if name is None else _describe_result_for_two_words(plain, words, name, where)
        )
    return forms[0]


def describe_exceptions(function: OwnersFunction, where: object, texts: Sequence[str], *, is_external: bool) -> str:
    """Return a sentence that says on how many texts the owner's function raises an exception, with the first one.
    Return an empty string if the function fails on at most half of the first texts; with `is_external`, if it fails on
    none of all texts.

    Args:
        function: the function.
        where: the function's name, for the sentence.
        texts: the texts. With `is_external` all of them are tried, and otherwise the first 20.
        is_external: whether the bundle has no text rules, so that only the owner's function splits texts.
    """
    raised: dict[str, BaseException] = {}
    tried = texts if is_external else texts[:_TEXTS_TO_RAISE_ON]
    for text in tried:
        try:
            function(text)
        # Whatever the owner's function raises. A word that the vocabulary lacks is not a fault of the function.
        except (Exception, SystemExit) as error:
            if is_external or not isinstance(error, LookupError | ValueError):
                raised[text] = error
    if not raised or (not is_external and 2 * len(raised) <= len(tried)):
        return ""
    first, kind = next(iter(raised.items()))
    shown = f"{type(kind).__name__}: {first_line(kind).rstrip('.')}, on {short_repr(first, 60)}"
    return f"{where} raises an exception on {len(raised)} of {len(tried)} texts of yours: {shown}."


def _list_ways_to_call(
    function: Callable[..., Any], needed: Sequence[str], vocabulary_argument: str | None, vocabulary: Vocabulary
) -> list[OwnersFunction]:
    """List the possible ways to call a function with one text: with a string, and with a list that holds the string. If
    the function needs two arguments, the argument `vocabulary_argument` gets the vocabulary; if it is None, both are
    tried."""
    held = vocabulary.word_ids
    places = [one for one in needed[::-1] if vocabulary_argument in (None, one)]
    given: list[tuple[str, dict[str, Any]]] = [
        (next(text for text in needed if text != place), {place: WordIds(held)}) for place in places
    ]
    lists: tuple[bool, ...] = (False,) if _returns_list_unchanged(function) else (False, True)
    lists = lists[::-1] if _seems_to_take_list_of_texts(function) else lists
    forms = [
        OwnersFunction(function, text, arguments, takes_list=as_list)
        for text, arguments in given or [("", {})]
        for as_list in lists
    ]
    # Code that looks up what a string consists of finds characters. Words of one letter are few in other vocabularies.
    letters = sum(len(token) == 1 for token in held)
    plain = inspect.unwrap(getattr(function, "func", function))
    for form in forms:
        form.stated_rules = read_unknown_word_rule_from_names(getattr(plain, "__globals__", {}), len(vocabulary.tokens))
        form.reads_characters = 2 * letters > len(held)
    return forms


def find_vocabulary_argument(needed: Sequence[str]) -> str | None:
    """Find which of two arguments takes the vocabulary by its name, such as `stoi`. Return None if neither or both have
    such a name.

    Example:
        >>> find_vocabulary_argument(["texts", "stoi"]), find_vocabulary_argument(["text", "stop"])
        ('stoi', None)
    """
    found = [*filter(is_vocabulary_name, needed)]
    return found[0] if len(needed) == 2 and len(found) == 1 else None


def make_function_arguments_error(where: str, needed: Sequence[str], problem: str = "") -> InputError:
    """Return the error for a function that needs other arguments than a text, or a text and the vocabulary.

    Args:
        where: the function's name.
        needed: the arguments that it needs.
        problem: how a call with the vocabulary failed; empty if there was no such call.

    Example:
        >>> make_function_arguments_error("clean.py:words", ["text", "stop"]).problem
        'clean.py:words takes text, stop, but a tokenizer is called with a text, or with a text and the vocabulary.'
    """
    name = find_vocabulary_argument(needed)
    given = [one for one in needed[1:] if not is_vocabulary_name(one)] if name is None else [name]
    called = where.rpartition(":")[2]
    wrapper = "encode" if called != "encode" else "encode_text"
    by_name = f"Give the other arguments by name, as in {where}({', '.join(f'{one}=...' for one in given or ['most'])})"
    # A method has an object, which the function would have to make.
    written = (
        ""
        if "." in called
        else f", or write a function of the text, def {wrapper}(text): return {called}(text, ...), and name it"
    )
    return InputError(
        problem
        or f"{where} takes {', '.join(needed) or 'nothing'}, but a tokenizer is called with a text, or with a text and "
        "the vocabulary.",
        f"{by_name}{written}. It returns the tokens or the ids, not a label.",
    )


def _list_required_arguments(function: Any, where: str) -> list[str]:
    """Return the names of the arguments of a function that have no default. Raise an InputError if the function takes
    no arguments; `where` is the function's name in the message."""
    try:
        parameters = inspect.signature(function).parameters.values()
    # A function of C may have no signature.
    except (ValueError, TypeError):
        return []
    if not parameters:
        raise make_function_arguments_error(where, [])
    return [one.name for one in parameters if one.default is one.empty and one.kind in _SINGLE]


def _count_found_words_and_set_gives_ids(
    form: OwnersFunction, words: Sequence[str], vocabulary: Vocabulary, *, only_ids: bool, give_words: bool = False
) -> int:
    """Call a function with texts of two words each. Return the number of texts whose result contains one of the two
    words or its id. Also set `form.gives_ids` to whether the last result has only ids.

    Args:
        form: the function, and how it is called.
        words: the words, from which the texts are made.
        vocabulary: the vocabulary, with the ids of the words.
        only_ids: whether only ids count, and not words.
        give_words: whether the function gets a list of two words in place of a text.
    """
    count = 0
    for pair in zip(words[::2], words[1::2] or words, strict=False):
        text: Any = [*pair] if give_words else " ".join(pair)
        # A table of other words gives an unknown one back as it is.
        if only_ids and not give_words and any(isinstance(one, str) for one in _try_text(form, f"{text} {_UNKNOWN}")):
            continue
        found = _try_text(form, text)
        form.gives_ids = bool(found) and all(isinstance(one, int) for one in found)
        known = {vocabulary.tokens.index(word) for word in pair} | (set() if only_ids else {*pair})
        count += any(one in known for one in found if isinstance(one, int | str))
    return count


def _try_text(form: OwnersFunction, text: Any) -> list[Any]:
    """Call the owner's function with a text. Return its tokens or ids, or an empty list if the function raises an
    exception."""
    try:
        return [*form(text)]
    except (Exception, SystemExit):
        return []


def _seems_to_take_list_of_texts(function: Any) -> bool:
    """Return whether the name or the annotation of a function's first parameter says that it takes a list of texts."""
    with contextlib.suppress(ValueError, TypeError):
        for one in inspect.signature(function).parameters.values():
            written = str(one.annotation if one.annotation is not one.empty else "").lower()
            is_list = re.search(r"(list|sequence|iterable|tuple)\[\w*\.?str|^<class 'list'>$|^list$", written)
            return is_list is not None or (not written and _NAMES_TEXTS.search(one.name) is not None)
    return False


def _returns_list_unchanged(function: Any) -> bool:
    """Return whether a function, called with a list of one string, returns an equal list, as the function `list`
    does."""
    try:
        return bool(function([_UNLIKE]) == [_UNLIKE])
    # Whatever the owner's function raises.
    except (Exception, SystemExit):
        return False


def _describe_result_for_two_words(form: OwnersFunction, words: Sequence[str], name: str, where: str) -> str:
    """Return a sentence that says what a function returns or raises for a text of two words and the vocabulary, in
    place of ids. `words` has at least two words, `name` is the parameter for the vocabulary, and `where` is the
    function's name."""
    text = " ".join(words[:2])
    try:
        does = f"gives {short_repr(form(text), 60)}"
    # Whatever the owner's function raises.
    except (Exception, SystemExit) as error:
        does = f"raises {type(error).__name__}: {first_line(error).rstrip('.')}"
    return f"With your vocabulary as {name}, {where} {does} for {short_repr(text, 60)}, and not its ids."


def _read_tokens_or_ids(found: Any, *, takes_list: bool = False) -> list[Any]:
    """Return the tokens or ids of one text in `found`, the result of the owner's function. The result may be a string
    with spaces; a list; an array or tensor of one row, one column or one-hot rows; or a tuple that contains one of
    these."""
    if isinstance(found, str):
        return found.split()
    if isinstance(found, tuple) and not all(isinstance(one, str | int) for one in found):
        rows = [_read_tokens_or_ids(one, takes_list=takes_list) for one in found if hasattr(one, "__len__")]
        return next((row for row in rows if all(isinstance(one, int) for one in row)), [*rows, []][0])
    if (numbers := _read_one_hot_rows(found)) is not None:
        return numbers
    found = found.tolist() if hasattr(found, "tolist") else found
    if not hasattr(found, "__iter__"):
        return found  # type: ignore[no-any-return]  # the caller refuses it
    values: list[Any] = list(found)
    if len(values) == 1 and (takes_list or not isinstance(values[0], str | int)) and hasattr(values[0], "__len__"):
        return _read_tokens_or_ids(values[0])
    values = [one.tolist() if hasattr(one, "tolist") else one for one in values]
    if values and all(isinstance(one, list) and len(one) == 1 and not isinstance(one[0], str) for one in values):
        values = [one[0] for one in values]
    if values and all(isinstance(one, float) and one.is_integer() for one in values):
        values = [int(one) for one in values]
    return [operator.index(one) if hasattr(one, "__index__") and type(one) is not bool else one for one in values]


def _read_one_hot_rows(found: Any) -> list[int] | None:
    """Return the ids that one-hot rows stand for, in an array or tensor [tokens, width], [tokens, 1, width] or [1,
    tokens, width]. Return None for any other value, and for a single row [1, width], which may hold ids."""
    if not hasattr(found, "tolist") or getattr(found, "ndim", 0) not in (2, 3):
        return None
    rows = np.asarray(found.tolist())
    if rows.dtype.kind not in "iuf" or rows.shape[-1] < 2 or not rows.size:
        return None
    if rows.ndim == 3 and 1 in rows.shape[:2]:
        rows = rows.reshape(-1, rows.shape[-1])
    elif rows.ndim == 3 or len(rows) < 2:
        return None
    is_one_hot = bool(((rows == 0) | (rows == 1)).all() and (rows.sum(-1) == 1).all())
    return rows.argmax(-1).tolist() if is_one_hot else None


def list_left_out_words_whose_ids_have_rows(function: OwnersFunction, vocabulary: Vocabulary) -> list[str]:
    """List the words that the vocabulary leaves out although the owner's function returns ids for them that all have a
    row in the embedding. Only the first 100 left-out words are tried."""
    rows = len(vocabulary.tokens)
    found = {word: _try_text(function, word) for word, _ in vocabulary.left_out[:_LEFT_OUT_WORDS]}
    return [word for word, ids in found.items() if all(isinstance(one, int) and one < rows for one in ids)]
