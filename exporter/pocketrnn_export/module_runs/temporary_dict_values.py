"""Replace values in dicts for some time, such as the globals of a user's file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

# A dict, such as the globals of a file or the attributes of a layer, or a class; a name in it; the value for this name.
Entry = tuple[Any, str, Any]


@contextlib.contextmanager
def replace_dict_values(changes: Iterable[Entry]) -> Iterator[None]:
    """While the block runs, replace values in dicts, such as the globals of a file. After the block, the dicts have
    their old values.

    Args:
        changes: tuples (dict, name, temporary value); a name occurs only once for each dict.
    """
    missing: Any = object()
    shipped: list[Entry] = []
    try:
        for names, name, value in changes:
            shipped.append((names, name, names.get(name, missing)))
            names[name] = value
        yield
    finally:
        for names, name, value in shipped:
            names[name] = value
            if value is missing:
                del names[name]
