"""Some of many like cases run always; `scripts/test --all` runs them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["SLOW_TOO", "examples", "mostly_slow"]

# Set by conftest.py where slow tests run too.
SLOW_TOO = "POCKETRNN_SLOW_TESTS"


def mostly_slow(cases: Sequence[Any], every: int, first: int = 0, *, several: bool = False) -> list[Any]:
    """The cases, of which all but every n-th, from one on, are marked slow; `several`, where each is a tuple of the
    arguments of a test."""
    fast = range(first, len(cases), every)
    return [
        case if i in fast else pytest.param(*(case if several else (case,)), marks=pytest.mark.slow)
        for i, case in enumerate(cases)
    ]


def examples(few: int, many: int) -> int:
    """How many examples hypothesis draws: a few in the fast suite, and many where slow tests run too."""
    return many if SLOW_TOO in os.environ else few
