"""How long a proof takes in a test that is about something else: only the smallest cases of each kind are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["SIZES", "short_proofs", "whole_proofs"]

_Cases = Callable[..., list[Any]]
_CHOSEN = ("shape_grid", "drawn_cases", "hazard_cases")

# Of 20 shapes, 16 drawn ones and 13 hazards: all but a tenth of the time.
_SMALLEST = 5
# At how many lengths and batches a module is asked beside its program: of 512 and 64. A test of what is so long, or of
# so many texts, has no short proofs.
SIZES = {"MOST_TOKENS": 40, "MOST_TEXTS": 25}
_FEWER_SIZES = {"MOST_TOKENS": 12, "MOST_TEXTS": 6}
# How often all weights are moved to see how far rounding may move an answer: of 8. The tokens of the longest text after
# which is looked whether a module is as it was: of 3,000.
_DRAWS, _LONGEST = 2, 300


@pytest.fixture(scope="module")
def short_proofs() -> Iterator[None]:
    """Proofs of every kind of case, without long rows and large batches.

    For a module whose subject is what surrounds a proof: files, commands, options, refusals. What a proof finds is
    tested with whole ones.
    """
    with _proofs(_smallest, _FEWER_SIZES, draws=_DRAWS, longest=_LONGEST):
        yield


@pytest.fixture
def whole_proofs() -> Iterator[None]:
    """Proofs as they are, for a test of a module that has short ones."""
    from pocketrnn_export.proof import spread

    with _proofs(lambda chosen: chosen, SIZES, draws=spread.DRAWS, longest=10 * _LONGEST):
        yield


@contextmanager
def _proofs(of: Callable[[_Cases], _Cases], sizes: dict[str, int], *, draws: int, longest: int) -> Iterator[None]:
    # Not above: conftest.py imports this file, also where there is no PyTorch.
    from pocketrnn_export.intake import exportable
    from pocketrnn_export.proof import cases, chosen_cases, spread
    from pocketrnn_export.tracing import every_size

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHOSEN:
            patch.setattr(chosen_cases, name, of(getattr(cases, name)))
        for name, most in sizes.items():
            patch.setattr(every_size, name, most)
        for moved in (spread.moved_modules, spread.moved_graphs):
            patch.setitem(moved.__kwdefaults__, "draws", draws)
        patch.setattr(exportable, "_LONGEST", longest)
        yield


def _smallest(chosen: _Cases) -> _Cases:
    def few(*arguments: Any, **more: Any) -> list[Any]:
        return sorted(chosen(*arguments, **more), key=lambda case: case.tokens.size)[:_SMALLEST]

    return few
