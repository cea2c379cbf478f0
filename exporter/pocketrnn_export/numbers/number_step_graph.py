"""Make the step graph of a classifier of numbers. It takes a state and the next steps, and answers for all steps so
far."""

from __future__ import annotations

from pocketrnn.bundle.manifest import Limits, StepGraph, explain_why_no_answer_after_each_step
from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.form import sha256
from pocketrnn_export.forms.onnx.nan_propagation import add_nan_guards, remove_nan_guards
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph
from pocketrnn_export.forms.step_graph_form import STEP_FILE


def refuse_rules_that_cannot_stream(rules: NumberInput, limits: Limits | None) -> None:
    """Refuse rules for numbers with which the bundle cannot answer after each step of a recording.

    Raises:
        InputError: they contain windows or a number of steps.
    """
    if held := explain_why_no_answer_after_each_step(rules, limits or Limits()):
        raise InputError(
            f"With these rules, the bundle cannot answer while samples arrive: {held}.",
            "Leave streaming out, or leave this rule out.",
        )


def make_step_graph(content: bytes, limits: Limits | None) -> tuple[StepGraph, bytes]:
    """Make the step graph, which answers after each sample of a recording, from a graph that takes whole recordings.
    Return its entry in classifier.json, and its bytes.

    Raises:
        ExportError: the graph uses later samples, or has an operator that cannot continue from a state.
    """
    bare = remove_nan_guards(content)
    made, size = convert_to_step_graph(bare, most=None if limits is None else limits.max_tokens)
    # A state holds NaN where an earlier step had it.
    made = made if bare == content else add_nan_guards(made)
    return StepGraph(STEP_FILE, sha256(made), size), made
