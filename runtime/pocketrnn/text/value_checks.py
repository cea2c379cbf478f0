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
        value: the value.
        value_name: the name of the value, as the beginning of a sentence.
        least, most: the fewest and the most code points.

    Raises:
        InputError: the value is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{value_name} is {short_repr(value)}, which is not a string.", "Give a string.")
    if not least <= len(value) <= most:
        raise InputError(f"{value_name} has {len(value)} characters.", f"Give {least} to {most} characters.")
    if any("\ud800" <= point <= "\udfff" for point in value):
        # In languages with UTF-16 strings it would match half of a character.
        raise InputError(f"{value_name} holds half of a surrogate pair.", "Give whole characters.")


def is_whole_number(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number of Python or numpy. A truth value is not a number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_flags(owner: object, *names: str) -> None:
    """Check that the attributes `names` of an object are True or False.

    Raises:
        InputError: one of them is something else.
    """
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise InputError(f"{name} is {short_repr(getattr(owner, name))}.", "Use true or false.")


def check_feature_or_character_id(number: object, whose: str) -> int:
    """Check the id of a category's value or of a character, and return it.

    Args:
        number: the id.
        whose: what the id is for, after the words "The id".

    Raises:
        InputError: the id is not a whole number from 0, or too large for a float32.
    """
    if not is_whole_number(number) or not 0 <= number < _MOST_IDS:
        raise InputError(
            f"The id {whose} is {short_repr(number)}.", f"Give a whole number from 0 to {_MOST_IDS - 1:,}."
        )
    return int(number)


def convert_list_to_tuple(value: Any) -> tuple[Any, ...]:
    """Convert a list of classifier.json to a tuple; refuse a string.

    A string would become a tuple of its characters.

    Raises:
        InputError: the value is not a list.
    """
    if not isinstance(value, list):
        raise InputError(f"{short_repr(value)} is not a list.", "Write a list, as docs/format.md shows.")
    return tuple(value)
