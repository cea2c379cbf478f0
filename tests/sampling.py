"""Every n-th of many like cases runs always; `scripts/test --all` runs them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["mostly_slow"]


def mostly_slow(cases: Sequence[Any], every: int) -> list[Any]:
    """The cases, of which all but every n-th are marked slow."""
    return [case if i % every == 0 else pytest.param(case, marks=pytest.mark.slow) for i, case in enumerate(cases)]
