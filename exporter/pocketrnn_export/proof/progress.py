"""How far long work is: what `pocketrnn export` shows where nothing else was said for some seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["PROGRESS", "each"]

# The logger. Its records are of the level DEBUG: whoever listens chooses how often.
PROGRESS: Final = "pocketrnn_export.progress"

Item = TypeVar("Item")


def each(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """The items, each after a record of what is done with them, and with how many of them it was done.

    Example:
        >>> [case.name for case in each(cases, "Comparing onnx on hazards")]
        ['3000 tokens', 'many rows']
    """
    items, log = list(items), logging.getLogger(PROGRESS)
    for i, item in enumerate(items):
        log.debug("%s: %d of %d", doing, i, len(items))
        yield item
