"""Results that several tests of a file need are made once, also where the file's modules are exported."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

__all__ = ["made_once"]

Key = TypeVar("Key")
Made = TypeVar("Made")


def made_once(make: Callable[[Key], Made]) -> Callable[[Key], Made]:
    """`functools.cache` for a file of tests that holds modules: an export empties the caches of a module's file."""
    made: dict[Key, Made] = {}

    @functools.wraps(make)
    def first_made(key: Key) -> Made:
        if key not in made:
            made[key] = make(key)
        return made[key]

    return first_made
