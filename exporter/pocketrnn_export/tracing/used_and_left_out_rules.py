"""Record which rules and translations an export uses. To search for a fault, one of them can be switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final


@dataclass
class _Uses:
    """The names of the rules that were used, in the order of their first use, and the name of the rule that is switched
    off, or ""."""

    names: dict[str, None] = field(default_factory=dict)
    left_out: str = ""


_uses: Final[ContextVar[_Uses | None]] = ContextVar("uses", default=None)


@contextlib.contextmanager
def record_rules_used() -> Iterator[dict[str, None]]:
    """Record the names of the rules and translations that are used while the block runs. The names are the keys of the
    yielded dict."""
    noted = _Uses()
    token = _uses.set(noted)
    try:
        yield noted.names
    finally:
        _uses.reset(token)


@contextlib.contextmanager
def leave_out_rule(name: str) -> Iterator[None]:
    """While the block runs, switch off the rule or translation with this name: PyTorch's own function is used
    instead."""
    token = _uses.set(_Uses(left_out=name))
    try:
        yield
    finally:
        _uses.reset(token)


def record_rule_use(name: str) -> None:
    """Record that an export used the rule or translation with this name. A rule rewrites a call of a torch function in
    a trace; a translation writes an operator in ONNX. Do nothing outside of `record_rules_used`."""
    if (noted := _uses.get()) is not None:
        noted.names.setdefault(name)


def is_rule_left_out(name: str) -> bool:
    """Return whether `leave_out_rule` has switched off the rule or translation with this name."""
    noted = _uses.get()
    return noted is not None and noted.left_out == name
