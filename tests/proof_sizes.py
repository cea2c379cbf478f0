"""How long a proof takes in a test that is about something else: only the smallest cases of each kind are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["short_proofs", "whole_proofs"]

_CHOSEN = ("shape_grid", "drawn_cases", "hazard_cases")

# Of 20 shapes, 16 drawn ones and 13 hazards: all but a tenth of the time.
_SMALLEST = 5


@pytest.fixture(scope="module")
def short_proofs() -> Iterator[None]:
    """Proofs of every kind of case, without long rows and large batches.

    For a module whose subject is what surrounds a proof: files, commands, options, refusals. What a proof finds is
    tested with whole ones.
    """
    # Not above: conftest.py imports this file, also where there is no PyTorch.
    from pocketrnn_export.proof import cases, chosen_cases

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHOSEN:
            patch.setattr(chosen_cases, name, _smallest(getattr(cases, name)))
        yield


@pytest.fixture
def whole_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs as they are, for a test of a module that has short ones."""
    from pocketrnn_export.proof import cases, chosen_cases

    for name in _CHOSEN:
        monkeypatch.setattr(chosen_cases, name, getattr(cases, name))


def _smallest(chosen: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def few(*arguments: Any, **more: Any) -> list[Any]:
        return sorted(chosen(*arguments, **more), key=lambda case: case.tokens.size)[:_SMALLEST]

    return few
