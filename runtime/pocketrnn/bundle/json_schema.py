"""Read pocketrnn's JSON documents, and check them by JSON Schema (draft 2020-12).

A test compares the checker with the `jsonschema` library on thousands of altered documents.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import PocketRNNError

__all__ = ["find_first_fault", "parse_versioned_document"]

_KEYWORDS: Final = frozenset(
    {"$schema", "title", "description", "$defs", "$ref", "type", "const", "enum", "required", "properties",
     "minProperties", "additionalProperties", "items", "minItems", "maxItems", "uniqueItems", "minimum", "maximum",
     "minLength", "maxLength", "pattern", "if", "then", "else"}
)  # fmt: skip
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def find_first_fault(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = ""
) -> str | None:
    """Describe the first part of `value` that breaks `schema`, as the end of a sentence; None if `value` is valid.

    Args:
        value: a value as `json.loads` gives it.
        schema: the schema, or a part of it.
        root: the whole schema, whose `$defs` resolve each `$ref`.
        at: the path of `value`, for the message.

    Raises:
        NotImplementedError: the schema uses a keyword that this checker does not know.
    """
    root = schema if root is None else root
    if unknown := schema.keys() - _KEYWORDS:
        raise NotImplementedError(f"JSON Schema keywords {sorted(unknown)}")
    if "$ref" in schema:
        referred = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if fault := find_first_fault(value, referred, root, at):
            return fault
    if "if" in schema:
        branch = schema["then" if find_first_fault(value, schema["if"], root, at) is None else "else"]
        if fault := find_first_fault(value, branch, root, at):
            return fault
    here = at or "the document"
    if "const" in schema and not _is_equal_in_json(value, schema["const"]):
        return f"{here} is {_short_repr(value)}, not {_short_repr(schema['const'])}"
    if "enum" in schema and not any(_is_equal_in_json(value, allowed) for allowed in schema["enum"]):
        return f"{here} is {_short_repr(value)}, not one of {_short_repr(schema['enum'])}"
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_has_type(value, name) for name in names):
            return f"{here} is {_short_repr(value)}, not of type {' or '.join(names)}"
    if isinstance(value, dict):
        return _find_object_fault(value, schema, root, at)
    if isinstance(value, list):
        return _find_array_fault(value, schema, root, at)
    if isinstance(value, str):
        return _find_string_fault(value, schema, here)
    if "minimum" in schema and _has_type(value, "number") and not value >= schema["minimum"]:
        return f"{here} is {_short_repr(value)}, less than {schema['minimum']}"
    if "maximum" in schema and _has_type(value, "number") and not value <= schema["maximum"]:
        return f"{here} is {_short_repr(value)}, more than {schema['maximum']}"
    return None


def _find_object_fault(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> str | None:
    for name in schema.get("required", ()):
        if name not in value:
            return f"{f'{at}.' if at else ''}{name} is missing"
    if len(value) < schema.get("minProperties", 0):
        return f"{at or 'it'} has {len(value)} members, fewer than {schema['minProperties']}"
    properties = schema.get("properties", {})
    for name, member in value.items():
        path = f"{at}.{name}" if at else name
        # A property whose schema is false is refused like an unknown property.
        allowed = properties.get(name, schema.get("additionalProperties", True))
        if allowed is False:
            return f"{_short_repr(path)} is not a known member"
        if allowed is not True and (fault := find_first_fault(member, allowed, root, path)):
            return fault
    return None


def _find_array_fault(value: list[Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> str | None:
    if len(value) < schema.get("minItems", 0):
        return f"{at} has {len(value)} items, fewer than {schema['minItems']}"
    if len(value) > schema.get("maxItems", len(value)):
        return f"{at} has {len(value)} items, more than {schema['maxItems']}"
    items = schema.get("items")
    # A vocabulary of 100,000 tokens is checked in 3 ms this way, in 90 ms item by item.
    plain_strings = items is not None and items.keys() <= {"type", "description"} and items.get("type") == "string"
    if items is not None and not (
        (plain_strings and all(type(item) is str for item in value)) or _are_numbers_in_limits(value, items)
    ):
        for i, item in enumerate(value):
            if fault := find_first_fault(item, items, root, f"{at}[{i}]"):
                return fault
    plain = schema.get("uniqueItems") and all(type(item) in (str, int, float) for item in value)
    if plain and len(set(value)) < len(value):
        seen: set[str | float] = set()
        for item in value:
            if item in seen:
                return f"{at} holds {_short_repr(item)} twice"
            seen.add(item)
    return None


def _are_numbers_in_limits(value: list[Any], items: dict[str, Any]) -> bool:
    """Return whether all items are numbers within the schema's limits. Half a million merges take 20 ms."""
    if items.keys() - {"type", "minimum", "maximum"} or items.get("type") not in ("integer", "number") or not value:
        return False
    kinds = {int} if items["type"] == "integer" else {int, float}
    if not set(map(type, value)) <= kinds:
        return False
    return bool(items.get("minimum", -math.inf) <= min(value) and max(value) <= items.get("maximum", math.inf))


def _find_string_fault(value: str, schema: dict[str, Any], here: str) -> str | None:
    if len(value) < schema.get("minLength", 0):
        return f"{here} is an empty string" if not value else f"{here} is too short"
    if len(value) > schema.get("maxLength", len(value)):
        return f"{here} is longer than {schema['maxLength']} characters"
    # \Z, since $ would accept a line break at the end.
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
        return f"{here} is {_short_repr(value)}, which does not match {schema['pattern']}"
    return None


def _has_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _is_equal_in_json(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal. In JSON, true is not equal to 1."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_versioned_document(
    content: bytes,
    path: Path,
    *,
    form: str,
    version: int,
    error: type[PocketRNNError],
    written_by: str,
    remedy: str,
    again: str,
) -> dict[str, Any]:
    """Parse a JSON document of pocketrnn, and check its format and version; its schema is checked later.

    Python's reader accepts more than JSON: NaN and infinity, UTF-16 and UTF-32, a byte order mark, a member that occurs
    twice in an object. These are refused, and so is a number that is too large for a float, such as 1e999, since
    readers in other languages take it for infinity.

    Args:
        content: the file's bytes.
        path: the file's name, for the error.
        form: the format that the document must have.
        version: the version that can be read.
        error: the class of the errors to raise.
        written_by: the command that writes such files.
        remedy: what to do about a file that is not JSON.
        again: what to do about a file of another version, which another release wrote.

    Raises:
        PocketRNNError: as `error`; the file is not JSON, or has another format or version.
    """

    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_parse_finite_float,
            parse_int=_parse_integer,
            object_pairs_hook=_make_object_without_duplicates,
        )
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is not JSON: {reason}.", remedy) from None
    if not isinstance(document, dict) or document.get("format") != form:
        raise error(f"{path} is not a {form} file.", f"Give the folder that `{written_by}` wrote.")
    found = document.get("version")
    if type(found) is int and found != version:
        raise error(
            f"{path} was made by another release: it has version {found} of the format, but this pocketrnn reads "
            f"version {version}.",
            again,
        )
    return document


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parse_finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _parse_integer(digits: str) -> int:
    # 10^308 is the largest power of ten in a float, and int() takes at most 4,300 digits.
    if len(digits) > 300:
        _parse_finite_float(digits)
    return int(digits)


def _make_object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member {_short_repr(name)} stands twice in one object")
            seen.add(name)
    return members
