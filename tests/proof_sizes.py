"""How long a proof takes in a test that is about something else: only the smallest cases of each kind are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["SIZES", "short_proofs", "whole_proofs"]

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
    # Not above: conftest.py imports this file, also where there is no PyTorch.
    from pocketrnn_export.intake import exportable
    from pocketrnn_export.proof import cases, chosen_cases, spread
    from pocketrnn_export.tracing import every_size

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHOSEN:
            patch.setattr(chosen_cases, name, _smallest(getattr(cases, name)))
        for name, most in _FEWER_SIZES.items():
            patch.setattr(every_size, name, most)
        for moved in (spread.moved_modules, spread.moved_graphs):
            patch.setitem(moved.__kwdefaults__, "draws", _DRAWS)
        patch.setattr(exportable, "_LONGEST", _LONGEST)
        yield


@pytest.fixture
def whole_proofs() -> Iterator[None]:
    """Proofs as they are, for a test of a module that has short ones."""
    from pocketrnn_export.intake import exportable
    from pocketrnn_export.proof import cases, chosen_cases, spread
    from pocketrnn_export.tracing import every_size

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHOSEN:
            patch.setattr(chosen_cases, name, getattr(cases, name))
        for name, most in SIZES.items():
            patch.setattr(every_size, name, most)
        for moved in (spread.moved_modules, spread.moved_graphs):
            patch.setitem(moved.__kwdefaults__, "draws", spread.DRAWS)
        patch.setattr(exportable, "_LONGEST", 10 * _LONGEST)
        yield


def _smallest(chosen: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def few(*arguments: Any, **more: Any) -> list[Any]:
        return sorted(chosen(*arguments, **more), key=lambda case: case.tokens.size)[:_SMALLEST]

    return few
