"""List the tensors in a value, such as the arguments or the result of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def list_tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield a value if it is a tensor, or the tensors in it if it is a list, a tuple or a dict, however nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from list_tensors_in(item)
