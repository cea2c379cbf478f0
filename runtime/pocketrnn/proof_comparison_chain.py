"""The chain of comparisons in a bundle's proof: from the module to each form that was made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pocketrnn.bundle.manifest import Comparison

__all__ = ["ProofLink", "group_comparisons_into_links"]


@dataclass(frozen=True)
class ProofLink:
    """A link in the chain of a proof: all comparisons of one form of a classifier, such as ONNX, with the form that it
    was made from.

    Attributes:
        line: one comparison that sums the link up: the sums of the counts, and the largest of the differences.
        each: the comparisons, one for each kind of inputs.
    """

    line: Comparison
    each: tuple[Comparison, ...]


def group_comparisons_into_links(comparisons: Iterable[Comparison]) -> list[ProofLink]:
    """Group the comparisons of a proof into links. Consecutive comparisons of the same candidate with the same
    reference form a link."""
    chain: list[list[Comparison]] = []
    for line in comparisons:
        if chain and (chain[-1][0].reference, chain[-1][0].candidate) == (line.reference, line.candidate):
            chain[-1].append(line)
        else:
            chain.append([line])
    return [ProofLink(_join_comparisons(lines), tuple(lines)) for lines in chain]


def _join_comparisons(lines: list[Comparison]) -> Comparison:
    """Join the comparisons of a link to one, with the sums of their counts and the largest of their differences."""
    spreads = [line.spreads for line in lines if line.spreads is not None]
    return replace(
        lines[0],
        inputs=lines[0].inputs if len(lines) == 1 else f"{len(lines)} kinds",
        cases=sum(line.cases for line in lines),
        rows=sum(line.rows for line in lines),
        largest_difference=max(line.largest_difference for line in lines),
        labels_differing=sum(line.labels_differing for line in lines),
        spreads=max(spreads, default=None),
    )
