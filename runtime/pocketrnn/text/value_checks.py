"""The checks of values that text rules, features and characters share: strings, flags, ids, and lists of JSON."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

import numpy as np

from pocketrnn.errors import InputError, short_repr

__all__ = ["check_feature_or_character_id", "check_flags", "check_string", "convert_list_to_tuple", "is_whole_number"]

_LONGEST: Final = 256
# Every whole number up to this one is also a float32 number: a category's id is one of the graph's floats.
_MOST_IDS: Final = 1 << 24


def check_string(value: Any, value_name: str, least: int, most: int = _LONGEST) -> None:
    """Check that a value is a string of an allowed length, without half of a surrogate pair.

    Args:
        value_name: the name of the value, with which messages begin.
        least, most: the smallest and the largest allowed number of code points.

    Raises:
        InputError: the value is not a string, has another length, or contains half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise InputError(f"{value_name} is {short_repr(value)}, but it must be a string.", "Give a string.")
    if not least <= len(value) <= most:
        raise InputError(
            f"{value_name} has {len(value):,} characters, but it must have {least} to {most}.",
            "Give a string of such a length.",
        )
    if any("\ud800" <= point <= "\udfff" for point in value):
        # In languages with UTF-16 strings it would match half of a character.
        raise InputError(
            f"{value_name} contains half of a UTF-16 surrogate pair (U+D800 to U+DFFF), which is not a character.",
            "Give a string of whole characters.",
        )


def is_whole_number(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer of Python or numpy. A boolean is not an integer."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_flags(owner: object, *names: str) -> None:
    """Check that the attributes `names` of an object are True or False. Raise an InputError if one of them is something
    else."""
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise InputError(
                f"`{name}` is {short_repr(getattr(owner, name))}, but it must be true or false.", "Give one of these."
            )


def check_feature_or_character_id(number: object, whose: str) -> int:
    """Check the id of a category's value or of a character, and return it.

    Args:
        whose: the end of the phrase "The id ..." in messages, such as "of the character 'a'".

    Raises:
        InputError: the id is not a whole number of 0 or more, or is too large for a float32.
    """
    if not is_whole_number(number) or not 0 <= number < _MOST_IDS:
        raise InputError(
            f"The id {whose} is {short_repr(number)}, but it must be a whole number from 0 to {_MOST_IDS - 1:,}.",
            "Give the id that was used in training.",
        )
    return int(number)


def convert_list_to_tuple(value: Any) -> tuple[Any, ...]:
    """Convert a list of classifier.json to a tuple. Raise an InputError for any other value, such as a string, of which
    `tuple` would take the characters."""
    if not isinstance(value, list):
        raise InputError(
            f"The text rules have {short_repr(value)} where a list is expected.",
            "Write a list, as docs/format.md shows for this rule.",
        )
    return tuple(value)
