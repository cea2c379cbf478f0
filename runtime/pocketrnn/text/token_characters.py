"""Encode the characters of each token as ids, cut and padded to one width, in addition to the id of the token."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.token_positions import LocatedTokens
from pocketrnn.text.value_checks import check_feature_or_character_id, is_whole_number

__all__ = [
    "CHARACTER_INPUTS",
    "Characters",
    "add_character_ids",
    "make_characters",
    "make_row_without_characters",
]

Ids = NDArray[np.int64]

# The inputs of a graph that takes the characters of each token, without lengths and with them.
CHARACTER_INPUTS: Final = (("tokens", "characters"), ("tokens", "lengths", "characters"))
_MOST_WIDTH: Final = 1_024
# The entries of a vocabulary that stand for something else than a character.
_PADDING: Final = re.compile(r"[<\[{_(]*(pad|padding)[>\]})_]*", re.IGNORECASE)
_UNKNOWN: Final = re.compile(r"[<\[{_(]*(unk|unknown|oov)[>\]})_]*", re.IGNORECASE)
_SPECIAL: Final = re.compile(r"[<\[{_(].*[>\]})_]")


@dataclass(frozen=True)
class Characters:
    """The characters that a module takes in addition to each token: int64 [batch, sequence, width].

    The characters are those of the token in the original text. They are cut to `width`, or padded at the end. The ids
    that the text rules put around a text have only padding.

    Attributes:
        vocabulary: a map character -> id, or a list in which the index of a character is its id. A name such as "<pad>"
            may be an entry, too.
        width: how many characters of a token the module takes.
        padding_id: the id that fills a row after the last character; None for the id of the entry such as "<pad>", or 0
            without such an entry.
        unknown_id: the id of all other characters; None for the id of the entry such as "<unk>". Without such an entry,
            other characters are left out.
        lowercase: whether the characters are lower-cased first.

    Raises:
        InputError: an entry is given twice or is neither a character nor a name such as "<pad>", an id is not a whole
            number of 0 or more, the padding has the id of a character, or the width is not from 1 to 1,024.

    Example:
        >>> Characters(["<pad>", "<unk>", "a", "d"], width=5).encode("Ada")
        [1, 3, 2, 0, 0]
    """

    vocabulary: Mapping[str, int] = field(hash=False, repr=False)
    width: int = 20
    padding_id: int | None = None
    unknown_id: int | None = None
    lowercase: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", _check_character_vocabulary(self.vocabulary))
        if not is_whole_number(self.width) or not 1 <= self.width <= _MOST_WIDTH:
            raise InputError(
                f"`width` of the characters is {short_repr(self.width)}, but it must be a whole number from 1 to "
                f"{_MOST_WIDTH:,}.",
                "Give the number of characters that the module takes of each token.",
            )
        if not isinstance(self.lowercase, bool):
            raise InputError(
                f"`lowercase` of the characters is {short_repr(self.lowercase)}, but it must be True or False.",
                "Give one of these.",
            )
        padding = self._find_named_id(_PADDING) if self.padding_id is None else self.padding_id
        object.__setattr__(
            self, "padding_id", check_feature_or_character_id(0 if padding is None else padding, "of padding")
        )
        taken = next((c for c, i in self.vocabulary.items() if i == self.padding_id and len(c) == 1), None)
        if taken is not None:
            raise InputError(
                f"The character {short_repr(taken)} and the padding have the same id, {self.padding_id}.",
                "Give the id that padded a token's characters in training: Characters(..., padding_id=N).",
            )
        unknown = self._find_named_id(_UNKNOWN) if self.unknown_id is None else self.unknown_id
        object.__setattr__(
            self,
            "unknown_id",
            None if unknown is None else check_feature_or_character_id(unknown, "of unknown characters"),
        )

    def _find_named_id(self, name_pattern: re.Pattern[str]) -> int | None:
        """Find the id of the first name, such as "<pad>", that the pattern matches; None without a match."""
        return next(
            (i for entry, i in self.vocabulary.items() if len(entry) > 1 and name_pattern.fullmatch(entry)), None
        )

    @property
    def padding(self) -> int:
        """The id that fills a token's row of character ids after its last character."""
        assert self.padding_id is not None  # noqa: S101 - it was set above
        return self.padding_id

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids that a module may get, in order.

        Example:
            >>> Characters({"a": 5, "b": 2}, unknown_id=1).ids
            (0, 1, 2, 5)
        """
        own = {i for entry, i in self.vocabulary.items() if len(entry) == 1}
        return tuple(sorted({*own, self.padding, *(() if self.unknown_id is None else (self.unknown_id,))}))

    @property
    def document(self) -> dict[str, Any]:
        """The characters as a member of classifier.json.

        Example:
            >>> Characters(["<pad>", "a"], width=9).document
            {'vocabulary': {'<pad>': 0, 'a': 1}, 'width': 9, 'padding_id': 0}
        """
        return {
            "vocabulary": dict(self.vocabulary),
            "width": self.width,
            "padding_id": self.padding,
            **({} if self.unknown_id is None else {"unknown_id": self.unknown_id}),
            **({"lowercase": True} if self.lowercase else {}),
        }

    def encode(self, token: str) -> list[int]:
        """Encode the characters of a token as ids; there are always `width` ids.

        Example:
            >>> Characters(["<pad>", "a", "b"], width=3).encode("abba")
            [1, 2, 2]
        """
        spelled = token.lower() if self.lowercase else token
        known = (self.vocabulary.get(point, self.unknown_id) for point in spelled)
        ids = list(itertools.islice((i for i in known if i is not None), self.width))
        return ids + [self.padding] * (self.width - len(ids))


def make_characters(given: object) -> Characters:
    """Make `Characters` from the user's argument `characters`.

    Args:
        given: a `Characters` object; or a vocabulary, which is a map character -> id or a list of characters.

    Raises:
        InputError: the vocabulary is not valid.
    """
    return given if isinstance(given, Characters) else Characters(given)  # type: ignore[arg-type]


def make_row_without_characters(characters: Characters, token_id: int) -> list[int]:
    """Make the row of an id without characters: the id, followed by padding."""
    return [token_id] + [characters.padding] * characters.width


def add_character_ids(characters: Characters, located: LocatedTokens) -> Ids:
    """Return the ids of a text, each followed by the ids of its token's characters: int64 [ids, 1 + width].

    Args:
        located: the text's ids, and its tokens as they are in the text.
    """
    steps = [make_row_without_characters(characters, token_id) for token_id in located.ids]
    for token in located.tokens:
        if token.step is not None:
            steps[token.step][1:] = characters.encode(token.token)
    return np.array(steps, np.int64)


def _check_character_vocabulary(given: object) -> dict[str, int]:
    """Check a vocabulary of characters, which is a list or a map character -> id, and return it as a map. Raise an
    InputError if it is not valid."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(
            f"The vocabulary of characters is {short_repr(given)}, but it must be a list or a map.",
            "Give a list of the characters in the order of their ids, or a map character -> id.",
        )
    pairs = given.items() if isinstance(given, Mapping) else ((entry, i) for i, entry in enumerate(given))
    found: dict[str, int] = {}
    for entry, number in pairs:
        if not isinstance(entry, str) or not entry:
            raise InputError(
                f"The vocabulary of characters has the entry {short_repr(entry, 40)}, which is not a character.",
                "Give strings of one character each.",
            )
        if entry in found:
            raise InputError(f"The character {short_repr(entry, 40)} is given twice.", "Give each character once.")
        named = _SPECIAL.fullmatch(entry) or _PADDING.fullmatch(entry) or _UNKNOWN.fullmatch(entry)
        if len(entry) > 1 and not named:
            raise InputError(
                f"The vocabulary of characters has the entry {short_repr(entry, 40)} of {len(entry):,} characters.",
                "Give entries of one character (one code point) each. Only a name such as '<pad>' may be longer.",
            )
        found[entry] = check_feature_or_character_id(number, f"of {short_repr(entry, 40)}")
    if not found:
        raise InputError("The vocabulary of characters is empty.", "Give the characters that it had in training.")
    return found
