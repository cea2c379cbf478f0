"""Parse JSON of users' files, and write values as JSON or as short text for messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from pocketrnn.errors import DataError, short_repr

_TENS: Final = tuple(float(f"1e{i}") for i in range(309))


def parse_json(
    text: str, source: str, remedy: str, *, strict: bool = True, parse_float: Callable[[str], float] = float
) -> Any:
    """Parse a JSON text. With `strict`, refuse NaN, infinities and repeated names.

    Args:
        text: the whole text.
        source: the name of the text in messages: the path of its file, or path and line.
        remedy: the sentence that says what to give instead.
        strict: whether to refuse NaN, infinities, and an object that has a name twice. Otherwise, the last value of
            such a name is kept.
        parse_float: parses a number that is not an integer.

    Raises:
        DataError: the text is not valid JSON, is nested too deep, or is refused because of `strict`.
    """

    def make_unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if strict and len(members) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(
                f"{source} has the name {brief_text(twice)} twice in one JSON object.", "Give every name once."
            )
        return members

    def convert_constant(constant: str) -> float:
        if not strict:
            return float(constant)
        raise ValueError(f"{constant} is not JSON, which has only finite numbers")

    try:
        return json.loads(
            text, object_pairs_hook=make_unique_members, parse_constant=convert_constant, parse_float=parse_float
        )
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not valid JSON: {error}.", remedy) from None


def format_json_for_terminal(document: Any) -> str:
    """Return a value as one line of JSON for a terminal. Characters that cannot be printed are escaped."""
    written = json.dumps(document, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in written)


def parse_serde_float(text: str) -> float:
    """Parse a number as the JSON reader of Hugging Face's `tokenizers` does, which is serde_json (src/de.rs,
    `f64_from_parts`).

    The digits of the number become an integer below 2^64, further digits are dropped, and the integer is multiplied or
    divided by a power of ten; each step is rounded. So the result may be next to the nearest float, as for 8,334 of the
    32,100 scores of T5. This difference decides between two ways to cut a text into the same pieces in another order.
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


def brief_text(value: Any) -> str:
    """Return a short text that shows a value from a file in a message: a string in quotes, cut at 60 characters, a
    number, or the type of another value, such as "a list".

    A container is only named, since it may be large or contain itself.
    """
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, int) and value.bit_length() > 64:
        return "an enormous number"
    elif not isinstance(value, int | float | None):
        return f"a {type(value).__name__}"
    return short_repr(value)
