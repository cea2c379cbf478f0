"""The rules and translations of ours that an export has used, and the one that is left out while the fault is looked
for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

__all__ = ["is_left_out", "note_use", "rule_left_out", "uses_noted"]


@dataclass
class _Uses:
    """The names of what was used, each once, in the order of the first times; and of what may not be used."""

    names: dict[str, None] = field(default_factory=dict)
    left_out: str = ""


_uses: Final[ContextVar[_Uses | None]] = ContextVar("uses", default=None)


@contextlib.contextmanager
def uses_noted() -> Iterator[dict[str, None]]:
    """While the block runs, the names of rules and translations that are used become keys of what it gives.

    Example:
        >>> with uses_noted() as used:
        ...     right_program(module, example)
        >>> list(used)
        ['order_statistics.median']
    """
    noted = _Uses()
    token = _uses.set(noted)
    try:
        yield noted.names
    finally:
        _uses.reset(token)


@contextlib.contextmanager
def rule_left_out(name: str) -> Iterator[None]:
    """While the block runs, PyTorch's own stands in the place of a rule or translation."""
    token = _uses.set(_Uses(left_out=name))
    try:
        yield
    finally:
        _uses.reset(token)


def note_use(name: str) -> None:
    """Note that a rule or translation was used."""
    if (noted := _uses.get()) is not None:
        noted.names.setdefault(name)


def is_left_out(name: str) -> bool:
    """Whether a rule or translation may not be used at present.

    Example:
        >>> with rule_left_out("order_statistics.median"):
        ...     is_left_out("order_statistics.median")
        True
    """
    noted = _uses.get()
    return noted is not None and noted.left_out == name
