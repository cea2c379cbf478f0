"""How long proofs take in tests: whole where slow tests run too; else short, with the smallest cases of each kind only,
as also where a test is about something else."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest
from slow_case_sampling import SLOW_TOO

__all__ = [
    "fewer_sizes_are_asked",
    "scant_proofs",
    "short_proofs",
    "short_proofs_in_one_test",
    "short_sizes",
    "usual_proofs",
    "whole_proofs",
]

_Cases = Callable[..., list[Any]]
_CHOSEN: Final = ("make_cases_for_grid_of_shapes", "make_cases_of_random_shapes", "make_cases_that_often_show_errors")

# So many of 20 shapes, 16 drawn ones and 13 hazards are left: the others take nine tenths of the time.
_SMALLEST: Final = 5
# The sizes of a proof, by the module that has them. They are the exporter's own but for the lengths and batches at
# which a module is compared with its program: 512 and 64 take about 2 s of every export. A test of such lengths or
# batches has no short proofs.
_WHOLE: Final = {
    "proof.every_size_comparison": {"MOST_TOKENS": 40, "MOST_TEXTS": 25, "SECONDS": 5.0},
    "proof.loop_iteration_comparison": {"MOST_STEPS": 200},
    "comparing.proof_inputs": {
        "SEQUENCES": (1, 2, 17, 64, 257),
        "LONGEST": 3_000,
        "_DRAWN": 16,
        "_REPEATED": (1, 7, 30, 300),
    },
    "intake.state_between_calls": {"LONGEST": 3_000, "_LONG": 150, "_LONGER": 400, "_LONGEST": 1_500, "_SECONDS": 2.0},
    "intake.exported_copy_comparison": {"_SECONDS": 1.0},
    "proof.traced_program_checks": {"SECONDS": 5.0},
    "proof.operator_comparison": {"_SECONDS": 4.0},
    "proof.text_dependence_of_numbers": {"_ROWS": (16, 32)},
    "proof.padding_and_tied_values": {"_DRAWS": 12, "_LENGTHS": (3, 40), "_STEPS": (2, 9, 40)},
    # A refusal is one export then, and not one for each rule.
    "diagnosis": {"SECONDS": 0.0},
}
# Without the longest rows, which are half of the time. Whole proofs test the findings of these rows.
_FAST: Final = {
    "comparing.proof_inputs": {"SEQUENCES": (1, 2, 17, 64), "LONGEST": 300, "_DRAWN": 6, "_REPEATED": (1, 7, 30)},
    "intake.state_between_calls": {**_WHOLE["intake.state_between_calls"], "LONGEST": 300},
    "intake.exported_copy_comparison": {"_SECONDS": 0.1},
}
# And with fewer drawn numbers and shorter texts, where a single operator or a single call is looked at.
_SHORT: Final = {
    **_WHOLE,
    **_FAST,
    "proof.every_size_comparison": {"MOST_TOKENS": 12, "MOST_TEXTS": 6, "SECONDS": 5.0},
    "intake.state_between_calls": {"LONGEST": 60, "_LONG": 20, "_LONGER": 30, "_LONGEST": 60, "_SECONDS": 2.0},
    "proof.padding_and_tied_values": {"_DRAWS": 4, "_LENGTHS": (3, 9), "_STEPS": (2, 9)},
}
# The forms beside the module only: nothing is looked for that no case shows.
_SCANT: Final = {
    **_SHORT,
    "proof.every_size_comparison": {"MOST_TOKENS": 12, "MOST_TEXTS": 6, "SECONDS": 0.0},
    "intake.state_between_calls": {"LONGEST": 60, "_LONG": 20, "_LONGER": 30, "_LONGEST": 60, "_SECONDS": 0.0},
    "proof.traced_program_checks": {"SECONDS": 0.0},
    "proof.operator_comparison": {"_SECONDS": 0.0},
    "proof.text_dependence_of_numbers": {"_ROWS": ()},
    "proof.padding_and_tied_values": {"_DRAWS": 4, "_LENGTHS": (), "_STEPS": ()},
}
# How often all weights are moved to see how far rounding may move an answer.
_DRAWS, _FEW_DRAWS = 8, 2


@pytest.fixture(scope="session", autouse=True)
def fewer_sizes_are_asked() -> Iterator[None]:
    """Every export of a test has short proofs, which take 60 % of the time of longer ones; where slow tests run too,
    whole ones."""
    if SLOW_TOO in os.environ or importlib.util.find_spec("torch") is None:
        with _sizes(_usual()):
            yield
    else:
        with short_sizes():
            yield


@pytest.fixture(scope="module")
def short_proofs() -> Iterator[None]:
    """Proofs of every kind of case, without long rows and large batches.

    For tests of the surroundings of a proof: files, commands, options, refusals, also where slow tests run. Tests of a
    proof's findings have longer ones.
    """
    with short_sizes():
        yield


@pytest.fixture
def short_proofs_in_one_test() -> Iterator[None]:
    """Short proofs in one test of a file: `short_proofs` holds from the first test that has it to the file's last."""
    with short_sizes():
        yield


@pytest.fixture(scope="module")
def scant_proofs() -> Iterator[None]:
    """Short proofs that only compare the forms with the module, which takes 80 % of the time of other short ones; where
    slow tests run too, short ones.

    For tests of what is done with a bundle, whose modules are plain.
    """
    with short_sizes(), _sizes({} if SLOW_TOO in os.environ else _SCANT):
        yield


@pytest.fixture
def usual_proofs() -> Iterator[None]:
    """Proofs with all cases, without the longest rows, for a test of what only these find: whole where slow tests run
    too."""
    with _sizes(_usual()), _proofs(lambda chosen: chosen, _DRAWS):
        yield


@pytest.fixture
def whole_proofs() -> Iterator[None]:
    """Proofs with all rows, always: for a test of what only a long one finds."""
    with _sizes(_WHOLE), _proofs(lambda chosen: chosen, _DRAWS):
        yield


def _usual() -> Mapping[str, Mapping[str, Any]]:
    return _WHOLE if SLOW_TOO in os.environ else {**_WHOLE, **_FAST}


@contextmanager
def short_sizes() -> Iterator[None]:
    """Short proofs, also for `scripts/record_exports`."""
    with _sizes(_SHORT), _proofs(_smallest, _FEW_DRAWS):
        yield


@contextmanager
def _sizes(sizes: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    # Also where there is no PyTorch.
    if importlib.util.find_spec("torch") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for module, values in sizes.items():
            for name, value in values.items():
                patch.setattr(importlib.import_module(f"pocketrnn_export.{module}"), name, value)
        yield


@contextmanager
def _proofs(of: Callable[[_Cases], _Cases], draws: int) -> Iterator[None]:
    # Not above: conftest.py imports this file, also where there is no PyTorch.
    from pocketrnn_export.comparing import answer_spread_by_rounding
    from pocketrnn_export.comparing import proof_inputs as cases
    from pocketrnn_export.proof import case_selection

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHOSEN:
            patch.setattr(case_selection, name, of(getattr(cases, name)))
        spread = answer_spread_by_rounding
        for moved in (spread.make_perturbed_module_runs, spread.make_perturbed_graph_runs):
            patch.setitem(moved.__kwdefaults__, "draws", draws)
        yield


def _smallest(chosen: _Cases) -> _Cases:
    def few(*arguments: Any, **more: Any) -> list[Any]:
        return sorted(chosen(*arguments, **more), key=lambda case: case.tokens.size)[:_SMALLEST]

    return few
