"""JSON from people's files: every name once, no NaN, an error in one sentence."""

from __future__ import annotations

import json
from typing import Any

from pocketrnn.errors import DataError, shown

__all__ = ["brief", "parsed_json"]


def parsed_json(text: str, source: str, remedy: str, *, strict: bool = True) -> Any:
    """What a JSON text holds.

    Args:
        text: the whole text.
        source: what it is called in messages: a file's path, or that and a line.
        remedy: the sentence that says what to give instead.
        strict: refuse NaN, and an object that holds a name twice, of which Python would keep the last.

    Raises:
        DataError: it is not valid JSON, holds NaN or an infinity, is nested too deep, or holds a name twice.

    Example:
        >>> parsed_json('{"oil": 0}', "vocab.json", "Give a JSON object.")
        {'oil': 0}
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if strict and len(members) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(f"{source} holds {brief(twice)} twice.", "Give every name once.")
        return members

    def refused(constant: str) -> float:
        if not strict:
            return float(constant)
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not valid JSON: {error}.", remedy) from None


def brief(value: Any) -> str:
    """A value from a file for a message. A container is only named: it may be large, or hold itself.

    Example:
        >>> brief("oil"), brief([1, 2])
        ("'oil'", 'a list')
    """
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, int) and value.bit_length() > 64:
        return "an enormous number"
    elif not isinstance(value, int | float | None):
        return f"a {type(value).__name__}"
    return shown(value)
