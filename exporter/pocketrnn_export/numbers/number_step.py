"""The step graph of a classifier of numbers: it reads on from a state, and answers for all that it has read."""

from __future__ import annotations

from pocketrnn.bundle.manifest import Limits, StepGraph, held_against_carrying
from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.form import sha256
from pocketrnn_export.forms.onnx.kept_nans import with_guards, without_guards
from pocketrnn_export.forms.step import STEP_FILE
from pocketrnn_export.forms.step_of_graph import step_of_graph

__all__ = ["check_carrying", "step_graph"]


def check_carrying(rules: NumberInput, limits: Limits | None) -> None:
    """Refuse rules by which a recording cannot be answered step by step.

    Raises:
        InputError: they say of windows, or of how many steps a sequence has.

    Example:
        >>> check_carrying(NumberInput(("x",)), None)
    """
    if held := held_against_carrying(rules, limits or Limits()):
        raise InputError(
            f"No state is carried from sample to sample here: {held}.",
            "Leave streaming out, or leave out what says so.",
        )


def step_graph(content: bytes, *, most: int | None) -> tuple[StepGraph, bytes]:
    """The step graph of a graph that takes samples, and what classifier.json says of it.

    Args:
        content: the ONNX file.
        most: the most steps that it takes.

    Raises:
        ExportError: the graph looks ahead, or what it does is not known to go on from a state.
    """
    bare = without_guards(content)
    made, size = step_of_graph(bare, most=most)
    # A state holds NaN where a step before had it.
    made = made if bare == content else with_guards(made)
    return StepGraph(STEP_FILE, sha256(made), size), made
