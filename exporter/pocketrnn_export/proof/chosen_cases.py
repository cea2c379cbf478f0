"""Which cases a proof takes, by the text rules of the bundle and the limits of its graph."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.text import AnyTextRules
from pocketrnn_export.proof.cases import (
    Case,
    Widths,
    apart,
    bound_cases,
    drawn_cases,
    hazard_cases,
    shape_grid,
    within,
)
from pocketrnn_export.proof.every_id import cases_of_every_id

__all__ = ["cases_for", "cases_for_graph", "widths_of"]

# How many rows of one case are asked alone at most.
_EVERY_ROW: Final = 64


def cases_for(
    rules: AnyTextRules,
    *,
    ids: int,
    ragged: bool,
    limits: Limits | None = None,
    bounds: Iterable[tuple[int, int]] = (),
    one_row: bool = False,
    alone: Sequence[int] = (),
    loud: Sequence[int] = (),
) -> dict[str, list[Case]]:
    """The inputs of a proof but for the texts, by kind.

    Args:
        rules: the text rules, whose special ids occur more often.
        ids: how many ids the graph takes.
        ragged: rows of several lengths; else all rows are full.
        limits: what the graph takes; cases beyond are left out.
        bounds: (batch, sequence) on both sides of everything that forward asks about a size.
        one_row: the graph takes one text a run: fewer and longer rows hold every id then.
        alone: a text that holds one of these ids takes a run of its own.
        loud: ids whose vectors are the largest; see `proof.loud_ids`.

    Example:
        >>> list(cases_for(TextRules(), ids=8000, ragged=True))
        ['shapes', 'drawn shapes', 'hazards', 'every id']
    """
    padding_id = rules.padding_id
    widths = widths_of(rules)
    special = [i for i in (rules.unknown_id, rules.empty_id, *rules.first_ids, *rules.last_ids) if i is not None]
    limits = limits or Limits()
    # Three tokens a row, so that each still tells in the answer. Of one text a run, 5,000 rows would take 10 s.
    width = widths.clip(min(max(64 if one_row else 3, limits.min_tokens or 1), limits.max_tokens or sys.maxsize))
    cases = {
        "shapes": shape_grid(ids, padding_id, ragged=ragged),
        "drawn shapes": drawn_cases(ids, padding_id, ragged=ragged),
        "bounds": bound_cases(bounds, ids, padding_id, ragged=ragged),
        "hazards": hazard_cases(ids, special, padding_id, ragged=ragged, loud=loud),
        "every id": cases_of_every_id(ids, batch=limits.max_batch or 2048, width=width),
    }
    inside = {inputs: within(widths.fitted(some, padding_id), limits, padding_id) for inputs, some in cases.items()}
    # All rows of special ids and those of every id, and two of each other case.
    most = {"hazards": _EVERY_ROW, "every id": _EVERY_ROW}
    asked = {inputs: apart(some, alone, ids, most=most.get(inputs, 2)) for inputs, some in inside.items()}
    return {inputs: some for inputs, some in asked.items() if some}


def cases_for_graph(rules: AnyTextRules, graph: Graph) -> dict[str, list[Case]]:
    """The inputs of a proof of a form that is made of a graph, but for the texts, by kind; see `cases_for`.

    Args:
        rules: the text rules of its bundle.
        graph: what the bundle says of the graph.

    Example:
        >>> list(cases_for_graph(manifest.text, manifest.graph))
        ['shapes', 'drawn shapes', 'hazards', 'every id']
    """
    return cases_for(
        rules,
        ids=graph.embedding_rows,
        ragged=graph.padding,
        limits=graph.limits,
        one_row=graph.batch == 1,
        alone=graph.run_alone(rules.padding_id),
    )


def widths_of(rules: AnyTextRules) -> Widths:
    """How many tokens a text can have by the rules."""
    return Widths(rules.min_width or 1, rules.max_width, pad_left=rules.pad_side == "left")
