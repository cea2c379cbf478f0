"""Limit the processor cores that PyTorch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["limit_threads"]


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Let torch use at most this many threads in this process while the `with` block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
