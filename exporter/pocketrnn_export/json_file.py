"""JSON from people's files: every name once, no NaN, an error in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from pocketrnn.errors import DataError, shown

__all__ = ["brief", "parsed_json", "serde_float"]

_TENS: Final = tuple(float(f"1e{i}") for i in range(309))


def parsed_json(
    text: str, source: str, remedy: str, *, strict: bool = True, number: Callable[[str], float] = float
) -> Any:
    """The value that a JSON text holds.

    Args:
        text: the whole text.
        source: what it is called in messages: a file's path, or that and a line.
        remedy: the sentence that says what to give instead.
        strict: refuse NaN, and an object that holds a name twice, where Python would keep the last.
        number: reads a number that is not a whole number.

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
        return json.loads(text, object_pairs_hook=once, parse_constant=refused, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not valid JSON: {error}.", remedy) from None


def serde_float(text: str) -> float:
    """A number as the JSON reader of Hugging Face's `tokenizers` reads it: serde_json (src/de.rs, `f64_from_parts`).

    Its digits become a whole number below 2^64, what follows is dropped, and that is multiplied or divided by a power
    of ten; each step is rounded. So the number may be next to the one that is written, as are 8,334 of the 32,100
    scores of T5. That decides between two ways to cut a text into the same pieces in another order.

    Example:
        >>> serde_float("-9.030416488647461"), float("-9.030416488647461")
        (-9.03041648864746, -9.030416488647461)
    """
    digits, _, power = text.lower().removeprefix("-").partition("e")
    whole, _, part = digits.partition(".")
    exponent = int(power or "0") - len(part)
    value = int(whole + part)
    if value >= 1 << 64:
        dropped = 0
        while value >= 1 << 64:
            value //= 10
            dropped += 1
        exponent += dropped
    made = float(value)
    while made and exponent < -308:
        made /= 1e308
        exponent += 308
    if exponent > 308:
        made *= float("inf") if made else 1.0
    elif made:
        made = made * _TENS[exponent] if exponent >= 0 else made / _TENS[-exponent]
    return -made if text.startswith("-") else made


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
