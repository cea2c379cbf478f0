"""Parse pocketrnn's JSON documents, check their format and version, and refuse what Python's reader accepts beyond
JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pocketrnn.errors import PocketRNNError, short_repr

__all__ = ["parse_versioned_document"]


def parse_versioned_document(
    content: bytes,
    path: Path,
    *,
    form: str,
    version: int,
    error: type[PocketRNNError],
    written_by: str,
    remedy: str,
    version_remedy: str,
) -> dict[str, Any]:
    """Parse a JSON document of pocketrnn, and check its format and version, but not its schema.

    Python's reader accepts more than JSON: NaN and infinity, UTF-16 and UTF-32, a byte order mark, a member that occurs
    twice in an object. These are refused, and so is a number that is too large for a float, such as 1e999, since
    readers in other languages take it for infinity.

    Args:
        form: the value that the document's member `format` must have.
        version: the value that its member `version` must have.
        error: the class of the errors to raise.
        written_by: the command that writes such files, for the error.
        remedy: what to do about a file that is not JSON, as a sentence.
        version_remedy: what to do about a file of another version, which another release wrote, as a sentence.

    Raises:
        PocketRNNError: the file is not JSON, or has another format or version. Its class is `error`.
    """

    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_nan_or_infinity,
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
            f"{path} was made by another release of pocketrnn: it has version {found} of the format, but this release "
            f"reads version {version}.",
            version_remedy,
        )
    return document


def _refuse_nan_or_infinity(constant: str) -> None:
    """Refuse NaN, Infinity and -Infinity, which Python's JSON reader accepts: raise a ValueError."""
    raise ValueError(f"{constant} is not JSON")


def _parse_finite_float(digits: str) -> float:
    """Parse a number; raise a ValueError if it is too large for a float, such as 1e999."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _parse_integer(digits: str) -> int:
    # 10^308 is the largest power of ten in a float, and int() takes at most 4,300 digits.
    """Parse an integer of any size that fits into a float; raise a ValueError for a larger one."""
    if len(digits) > 300:
        _parse_finite_float(digits)
    return int(digits)


def _make_object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict for a JSON object; raise a ValueError if two of its members have the same name."""
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member {short_repr(name)} stands twice in one object")
            seen.add(name)
    return members
