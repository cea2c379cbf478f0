"""Whether the output that has as many numbers as there are labels is the answer to them.

A module that gives several outputs may be exported with the labels of another one. Another output of some numbers for
each text is left out with a warning, unless the program says that it is not an answer of its own: the answer is made of
it alone, it is made of the answer alone, or it is a state. Where it is the other way round, the labels may be of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from pocketrnn_export.intake.call_discovery.answer_flow import FlowSeen
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.reading import Counts, Known, counts_of, unread_in
from pocketrnn_export.intake.call_discovery.refusals import Fails

__all__ = ["NoAnswer", "left_out_of", "refused_output"]


@dataclass(frozen=True)
class NoAnswer:
    """Why an output is not the answer to the labels, and which output is; empty where none is known."""

    fails: Fails
    other: str = ""


def refused_output(
    asked: ModuleFacts, flow: FlowSeen, known: Sequence[Known], line: str, suffix: str
) -> NoAnswer | None:
    """Why an output is not the answer to the labels, although it has as many numbers; None where it may be.

    Args:
        asked: the module, and what is known of it.
        flow: what its answer is made of.
        known: its answers to texts of several lengths.
        line: how it is called.
        suffix: where in its answer the output is.
    """
    theirs = f'say so: --call "{line}{suffix}", or call=.'
    if asked.classes in flow.table_rows | {asked.ids} and not asked.samples:
        problem = (
            f"The module gives a number for each of its {asked.classes} ids, as one that tells the next token does, "
            f"and there are {asked.classes} labels"
        )
        advice = f"If each text has one of {asked.classes} labels, or the next token is its label, {theirs}"
        return NoAnswer(Fails(line, 4, problem, advice))
    own, counts = flow.leaves.get(suffix), counts_of(asked, known)
    for other in _others(flow, counts, suffix):
        if counts.may_follow(suffix) and other.numbers is not None and not asked.of_tokens:
            why: str | None = "may hold one for each token: the module answers texts of that length only"
        else:
            why = None if own is None else _why_no_answer(flow, own, counts.fixed.get(suffix), other)
        if why is not None:
            place = f"answer{other.suffix}"
            problem = (
                f"The module gives {other.said(known[0][0])}, and there are {asked.classes} {asked.names} ({place}); "
                f"answer{suffix}, which fits these, {why.format(place)}"
            )
            advice = f"Give the {asked.names} of {place}. If answer{suffix} is what your code takes, {theirs}"
            if other.numbers is None:
                advice = f"Say which your code takes. If it is answer{suffix}, {theirs}"
            return NoAnswer(Fails(line, 4, problem, advice), other.suffix)
    return None


def left_out_of(asked: ModuleFacts, flow: FlowSeen, known: Sequence[Known], suffix: str) -> str:
    """The outputs beside the answer that may be answers too, and what else is in it that was not looked into, in a
    sentence each; empty where there are none."""
    own = flow.leaves.get(suffix)
    found = [
        f"answer{other.suffix}, {other.said(known[0][0])}"
        for other in _others(flow, counts_of(asked, known), suffix)
        if own is None or not _belongs_to(flow, own, other)
    ]
    said = []
    if found:
        said.append(
            f"The bundle leaves out what forward gives beside answer{suffix}: {'; '.join(found)}. Export that with its "
            f"own {asked.names}, by --call or call=."
        )
    if unread := [f"answer{other} ({kind})" for other, kind in unread_in(flow.answer)]:
        said.append(
            f"There is more in forward's answer, which was not looked into: {', '.join(unread)}. If that holds the "
            f"numbers of these {asked.names}, say so with --call or call=."
        )
    return " ".join(said)


@dataclass(frozen=True)
class _Other:
    """Another output: where it is, and how many numbers it has for each text; None where it has none of its own."""

    suffix: str
    leaf: Tensor
    numbers: int | None

    def said(self, tokens: Tensor) -> str:
        """A description of its numbers."""
        if self.numbers is not None:
            return f"{self.numbers} number{'s' * (self.numbers != 1)} for each text"
        return f"{list(self.leaf.shape)} for {len(tokens)} texts of {tokens.shape[1]} tokens"


def _others(flow: FlowSeen, counts: Counts, suffix: str) -> Iterator[_Other]:
    """The other outputs of other numbers, but for single numbers such as a loss."""
    for other, leaf in flow.leaves.items():
        numbers = None if counts.may_follow(other) else counts.fixed.get(other)
        if other != suffix and leaf.dim() > 0 and (numbers is None or numbers != counts.fixed.get(suffix)):
            yield _Other(other, leaf, numbers)


def _why_no_answer(flow: FlowSeen, own: Tensor, units: int | None, other: _Other) -> str | None:
    """Why another output is the answer, and not this one of `units`; None where this one may be."""
    leaf, numbers = other.leaf, other.numbers
    if flow.makes_alone(own, leaf):
        return "is what {} is made of" if flow.has_weights_between(own, leaf) else None
    if flow.is_state(own) and flow.has_weights(leaf) and not flow.is_state(leaf):
        return "is a state of a layer"
    if numbers is None:
        return None
    if flow.makes_alone(leaf, own):
        return None if flow.has_weights_between(leaf, own) else "is made of {}"
    if flow.has_weights(leaf) and not flow.has_weights(own):
        return "is made without weights"
    if units is not None and flow.is_of_a_layer(leaf, numbers) and not flow.is_of_a_layer(own, units):
        return "is not what a layer of as many outputs gives"
    return None


def _belongs_to(flow: FlowSeen, own: Tensor, other: _Other) -> bool:
    """Whether another output is not an answer of its own: a state, a value made of the answer alone or that makes it
    alone, or a value made without weights, as the lengths are. An output that is not of a layer with as many outputs
    may also be an input of the answer, as attention weights are."""
    leaf, numbers = other.leaf, other.numbers
    if numbers is None and not flow.is_seen(leaf):
        return True
    is_of_a_layer = numbers is not None and flow.is_of_a_layer(leaf, numbers)
    if not is_of_a_layer and (flow.shares(leaf, own) or flow.makes(own, leaf)):
        return True
    alone = flow.makes_alone(own, leaf) or flow.makes_alone(leaf, own)
    return alone or flow.is_state(leaf) or not flow.has_weights(leaf)
