"""Make the step graph of a classifier of numbers. It takes a state and the next steps, and answers for all steps so
far."""

from __future__ import annotations

from pocketrnn.bundle.manifest import Limits, StepGraph, explain_why_no_answer_after_each_step
from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.form import sha256
from pocketrnn_export.forms.onnx.nan_propagation import add_nan_guards_for_any_input, remove_nan_guards
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph
from pocketrnn_export.forms.step_graph_that_continues_from_state import STEP_FILE


def refuse_rules_that_cannot_stream(rules: NumberInput, limits: Limits | None) -> None:
    """Refuse rules and limits with which a bundle cannot answer after each sample of a recording.

    Args:
        rules: the rules for numbers.
        limits: the limits of the bundle's graph; None if it has none.

    Raises:
        InputError: the rules contain windows or a fixed number of steps, or the graph needs a minimum number of steps.
    """
    if held := explain_why_no_answer_after_each_step(rules, limits or Limits()):
        raise InputError(
            f"The bundle cannot answer while samples arrive: {held}.",
            "Leave streaming out; or remove what the message names from the rules or from the module.",
        )


def make_step_graph_of_samples(content: bytes, limits: Limits | None) -> tuple[StepGraph, bytes]:
    """Make the step graph from a graph that takes whole recordings. The step graph takes the next samples and a state,
    and answers for all samples so far. Return its entry in classifier.json, and the bytes of its file.

    Args:
        content: the ONNX file of the graph for whole recordings.
        limits: the limits of that graph; None if it has none.

    Raises:
        ExportError: the graph needs later samples, or has an operator that cannot continue from a state.
    """
    bare = remove_nan_guards(content)
    made, size = convert_to_step_graph(bare, most=None if limits is None else limits.max_tokens)
    # A state holds NaN where an earlier step had it.
    made = made if bare == content else add_nan_guards_for_any_input(made)
    return StepGraph(STEP_FILE, sha256(made), size), made
