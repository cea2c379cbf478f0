"""How many processor cores PyTorch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["limited"]


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let torch use so many cores within the block, in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
