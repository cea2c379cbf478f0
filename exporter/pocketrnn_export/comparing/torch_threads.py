"""Set the number of threads that torch uses, for the time of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

# The number of threads before each active `use_one_thread`.
_before: list[int] = []


@contextlib.contextmanager
def use_one_thread() -> Iterator[None]:
    """While the block runs, let torch use one thread. The products of single steps of a text are too small to share: on
    two busy cores they took ten times as long with two threads."""
    before = torch.get_num_threads()
    _before.append(before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _before.pop()
        torch.set_num_threads(before)


@contextlib.contextmanager
def lift_one_thread_limit() -> Iterator[None]:
    """While the block runs inside a block of `use_one_thread`, let torch use as many threads as before that outer
    block, as the owner's own runs do."""
    now = torch.get_num_threads()
    torch.set_num_threads(_before[0] if _before else now)
    try:
        yield
    finally:
        torch.set_num_threads(now)
