"""Whether the output that has as many numbers as there are labels is the answer to them.

A module that gives several outputs may be exported with the labels of another one. Another output of some numbers for
each text is left out with a warning, unless the program says that it is no answer of its own: the answer is made of it
alone, it is made of the answer alone, or it is a state. Where it is the other way round, the labels may be of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from pocketrnn_export.intake.call_discovery.answer_flow import FlowSeen
from pocketrnn_export.intake.call_discovery.asked import Asked
from pocketrnn_export.intake.call_discovery.reading import Counts, Known, counts_of, leaves_of
from pocketrnn_export.intake.call_discovery.refusals import Fails

__all__ = ["NoAnswer", "left_out_of", "refused_output"]


@dataclass(frozen=True)
class NoAnswer:
    """Why an output is not the answer to the labels, and which output is; empty where none is known."""

    fails: Fails
    other: str = ""


def refused_output(asked: Asked, flow: FlowSeen, known: Sequence[Known], line: str, suffix: str) -> NoAnswer | None:
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
    own, counts = dict(leaves_of(flow.answer)).get(suffix), counts_of(asked, known)
    for other, n, leaf in _others(flow, counts, suffix):
        if counts.may_follow(suffix):
            why: str | None = "may hold one for each token: the module answers texts of that length only"
        else:
            why = None if own is None else _why_no_answer(flow, own, counts.fixed.get(suffix), leaf, n)
        if why is not None:
            why = why.format(f"answer{other}")
            problem = (
                f"The module gives {n} number{'s' * (n != 1)} for each text, and there are {asked.classes} "
                f"{asked.names} (answer{other}); answer{suffix}, which fits these, {why}"
            )
            advice = f"Give the {asked.names} of answer{other}. If answer{suffix} is what your code takes, {theirs}"
            return NoAnswer(Fails(line, 4, problem, advice), other)
    return None


def left_out_of(asked: Asked, flow: FlowSeen, known: Sequence[Known], suffix: str) -> str:
    """The outputs beside the answer that may be answers too, in a sentence; empty where there are none."""
    own = dict(leaves_of(flow.answer)).get(suffix)
    found = [
        f"answer{other}, {n} number{'s' * (n != 1)} for each text"
        for other, n, leaf in _others(flow, counts_of(asked, known), suffix)
        if own is None or not _belongs_to(flow, own, leaf)
    ]
    if not found:
        return ""
    return (
        f"The bundle leaves out what forward gives beside answer{suffix}: {'; '.join(found)}. Export that with its own "
        f"{asked.names}, by --call or call=."
    )


def _others(flow: FlowSeen, counts: Counts, suffix: str) -> Iterator[tuple[str, int, Tensor]]:
    """The other outputs of some numbers for each text, with how many."""
    leaves = dict(leaves_of(flow.answer))
    for other, n in counts.fixed.items():
        if other in leaves and n != counts.fixed.get(suffix) and not counts.may_follow(other):
            yield other, n, leaves[other]


def _why_no_answer(flow: FlowSeen, own: Tensor, units: int | None, other: Tensor, numbers: int) -> str | None:
    """Why another output of some numbers is the answer, and not this one of `units`; None where this one may be."""
    if flow.makes_alone(own, other):
        return "is what {} is made of" if flow.has_weights_between(own, other) else None
    if flow.makes_alone(other, own):
        return None if flow.has_weights_between(other, own) else "is made of {}"
    if flow.has_weights(other) and not flow.has_weights(own):
        return "is made without weights"
    if flow.is_state(own) and not flow.is_state(other):
        return "is a state of a layer"
    if units is not None and flow.is_of_a_layer(other, numbers) and not flow.is_of_a_layer(own, units):
        return "is not what a layer of as many outputs gives"
    return None


def _belongs_to(flow: FlowSeen, own: Tensor, other: Tensor) -> bool:
    """Whether another output is no answer of its own: a state, what is made of the answer alone or makes it alone, or
    what is made without weights, as the lengths are."""
    alone = flow.makes_alone(own, other) or flow.makes_alone(other, own)
    return alone or flow.is_state(other) or not flow.has_weights(other)
