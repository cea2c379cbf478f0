"""Check whether an output with one number for each label holds the logits of the labels, and describe the outputs that
are left out.

A module with several outputs may be exported with the labels of another output. Another output with numbers for each
text is left out with a warning, unless the program shows that it is not an answer of its own: the answer is computed
only from it, it is computed only from the answer, or it is a state. In the opposite case the labels may belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_failures import FailedCall, Reason
from pocketrnn_export.intake.call_discovery.logits_location import (
    Known,
    OutputCounts,
    count_numbers_per_output,
    find_unsearched_values,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.tensor_dependencies import FlowRecorder


@dataclass(frozen=True)
class RefusedOutput:
    """Why one output of a module is not the answer, and the code that reads the right output (`other`, empty if it is
    unknown)."""

    fails: FailedCall
    other: str = ""


def explain_unsuitable_output(
    facts: ModuleFacts, flow: FlowRecorder, known: Sequence[Known], line: str, suffix: str
) -> RefusedOutput | None:
    """Return the reason why the output that the code `suffix` reads is not the answer, although it has one number for
    each label. Return None if it may be the answer."""
    theirs = f'say so: --call "{line}{suffix}", or call=.'
    if facts.classes in flow.table_rows | {facts.ids} and facts.labels_are_words and not facts.samples:
        problem = (
            f"The module gives {facts.classes} numbers, one for each token id, so it may predict the next token: the "
            f"{facts.classes} labels need not be labels of a text"
        )
        advice = f"If each text has one of {facts.classes} labels, or the next token is its label, {theirs}"
        return RefusedOutput(FailedCall(line, Reason.OTHER_ANSWER, problem, advice))
    own, counts = flow.leaves.get(suffix), count_numbers_per_output(facts, known)
    for other in _list_other_outputs(flow, counts, suffix):
        if counts.may_count_tokens(suffix) and other.numbers is not None and not facts.of_tokens:
            why: str | None = "may hold one number for each token: the module answers only texts of that length"
        else:
            why = None if own is None else _explain_why_other_is_answer(flow, own, counts.fixed.get(suffix), other)
        if why is not None:
            place = f"answer{other.suffix}"
            problem = (
                f"The module gives {other.describe_shape(known[0][0])}, but there are {facts.classes} "
                f"{facts.number_word} ({place}); answer{suffix}, which has as many numbers, {why.format(place)}"
            )
            advice = f"Give the {facts.number_word} of {place}. If your code uses answer{suffix}, {theirs}"
            if other.numbers is None:
                advice = f"Say which output your code uses. If it is answer{suffix}, {theirs}"
            return RefusedOutput(FailedCall(line, Reason.OTHER_ANSWER, problem, advice), other.suffix)
    return None


def describe_omitted_outputs(facts: ModuleFacts, flow: FlowRecorder, known: Sequence[Known], *suffixes: str) -> str:
    """Describe the other outputs that may be answers, and the parts of the answer that were not searched. Return an
    empty string if there are none."""
    own = [flow.leaves[suffix] for suffix in suffixes if suffix in flow.leaves]
    found = [
        f"answer{other.suffix}, {other.describe_shape(known[0][0])}"
        for other in _list_other_outputs(flow, count_numbers_per_output(facts, known), *suffixes)
        if not any(_is_intermediate_result(flow, one, other) for one in own)
    ]
    said = []
    if found:
        beside = " and ".join(f"answer{suffix}" for suffix in suffixes)
        said.append(
            f"The bundle uses {beside} of forward. Forward also gives {'; '.join(found)}, which is not needed for "
            "that and is left out: this is usual for states and attention weights. If it has labels of its own, "
            "export it, too, by --call or call=; or export all outputs in one bundle: --head, or heads=."
        )
    if unread := [f"answer{other} ({kind})" for other, kind in find_unsearched_values(flow.answer)]:
        said.append(
            f"Some parts of forward's answer were not searched: {', '.join(unread)}. If they hold the numbers of "
            f"these {facts.number_word}, give the call: --call, or call=."
        )
    return " ".join(said)


@dataclass(frozen=True)
class _OtherOutput:
    """Another output of the module: the code that reads it, its tensor, and its count of numbers for each text. The
    count is None for an output with numbers for each token."""

    suffix: str
    leaf: Tensor
    numbers: int | None

    def describe_shape(self, tokens: Tensor) -> str:
        """Describe in words how many numbers the output has for each text; else its shape."""
        if self.numbers is not None:
            return f"{self.numbers} number{'s' * (self.numbers != 1)} for each text"
        return f"{list(self.leaf.shape)} for {len(tokens)} texts of {tokens.shape[1]} tokens"


def _list_other_outputs(flow: FlowRecorder, counts: OutputCounts, *suffixes: str) -> Iterator[_OtherOutput]:
    """Yield the module's outputs besides those in `suffixes`, except outputs with as many numbers as the answer and
    single numbers, such as a loss."""
    # An output of as many numbers may be the answer itself; beside several heads it is another output.
    own = counts.fixed.get(suffixes[0]) if len(suffixes) == 1 else None
    for other, leaf in flow.leaves.items():
        numbers = None if counts.may_count_tokens(other) else counts.fixed.get(other)
        if other not in suffixes and leaf.dim() > 0 and (numbers is None or numbers != own):
            yield _OtherOutput(other, leaf, numbers)


def _explain_why_other_is_answer(
    flow: FlowRecorder, own_leaf: Tensor, units: int | None, other: _OtherOutput
) -> str | None:
    """Return why another output is the answer instead of the tensor `own_leaf`, which has `units` numbers for each
    text. Return None if `own_leaf` may be the answer."""
    leaf, numbers = other.leaf, other.numbers
    if flow.is_only_source(own_leaf, leaf):
        return "is used to compute {}" if flow.has_weights_between(own_leaf, leaf) else None
    if (
        flow.is_state_or_embedding(own_leaf)
        and flow.is_computed_with_weights(leaf)
        and not flow.is_state_or_embedding(leaf)
    ):
        return "is a state of a layer"
    if numbers is None:
        return None
    if flow.is_only_source(leaf, own_leaf):
        return None if flow.has_weights_between(leaf, own_leaf) else "is computed from {}"
    if flow.is_computed_with_weights(leaf) and not flow.is_computed_with_weights(own_leaf):
        return "is computed without weights"
    if (
        units is not None
        and flow.comes_from_layer_of_size(leaf, numbers)
        and not flow.comes_from_layer_of_size(own_leaf, units)
    ):
        return "is not the output of a layer of that size"
    return None


def _is_intermediate_result(flow: FlowRecorder, own_leaf: Tensor, other: _OtherOutput) -> bool:
    """Return whether another output is only an intermediate result: a state, attention weights, a part of the answer's
    computation, or a tensor made without weights, such as lengths."""
    leaf, numbers = other.leaf, other.numbers
    if numbers is None and not flow.was_recorded(leaf):
        return True
    is_of_a_layer = numbers is not None and flow.comes_from_layer_of_size(leaf, numbers)
    if not is_of_a_layer and (flow.leads_from_last_layer_of(leaf, own_leaf) or flow.leads_to(own_leaf, leaf)):
        return True
    alone = flow.is_only_source(own_leaf, leaf) or flow.is_only_source(leaf, own_leaf)
    return alone or flow.is_state_or_embedding(leaf) or not flow.is_computed_with_weights(leaf)
