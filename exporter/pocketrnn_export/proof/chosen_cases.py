"""Which cases a proof takes, by the text rules of the bundle and the limits of its graph."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pocketrnn.bundle.manifest import MAKE_AGAIN, Graph, Limits
from pocketrnn.errors import BundleError
from pocketrnn.text import AnyTextRules
from pocketrnn_export.comparing.cases import (
    LARGEST,
    Case,
    Widths,
    apart,
    bound_cases,
    drawn_cases,
    hazard_cases,
    pair_cases,
    shape_grid,
    within,
)
from pocketrnn_export.proof.asked_ids import MOST_ASKED, cases_of_asked_ids
from pocketrnn_export.proof.every_id import cases_of_every_id

__all__ = [
    "ASKED_IDS",
    "ASKED_SIZES",
    "asked_ids_of",
    "asked_sizes",
    "cases_for",
    "cases_for_graph",
    "noted_ids",
    "noted_sizes",
    "widths_of",
]

# The member of a bundle's provenance with the sizes on both sides of what its module asks about a size: what is made
# of the bundle is asked about them, too.
ASKED_SIZES: Final = "asked_sizes"
# That with the ids which its program compares words with.
ASKED_IDS: Final = "asked_ids"
# No more than the export's own proof has; a stranger's bundle may state any.
_MOST_SIZES: Final = 10_000
# At most so many turns above so many tokens are tried: a text of 50,000 takes a minute in all the runs of a proof.
_LONG: Final = 5_000
_LONG_TURNS: Final = 4
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
    tried: Sequence[int] = (),
    phrase: Sequence[int] = (),
    two_texts: bool = False,
) -> dict[str, list[Case]]:
    """The inputs of a proof but for the texts, by kind.

    Args:
        rules: the text rules, whose special ids occur more often.
        ids: how many ids the graph takes.
        ragged: rows of several lengths; else all rows are full.
        limits: what the graph takes; rows beyond are cut or repeated.
        bounds: (batch, sequence) on both sides of everything that forward asks about a size.
        one_row: the graph takes one text a run: fewer and longer rows hold every id then.
        alone: a text that holds one of these ids takes a run of its own.
        loud: ids whose vectors are the largest; see `proof.loud_ids`.
        tried: ids that the module may take for padding, and of which it answers a text of nothing else.
        phrase: ids that its program compares words with; see `proof.asked_ids`.
        two_texts: the rows are pairs of texts.

    Example:
        >>> list(cases_for(TextRules(), ids=8000, ragged=True))
        ['shapes', 'drawn shapes', 'hazards', 'every id']
    """
    padding_id = rules.padding_id
    widths = widths_of(rules)
    special = [i for i in (rules.unknown_id, rules.empty_id, *rules.first_ids, *rules.last_ids) if i is not None]
    limits = limits or Limits()
    # Three tokens a row, so that each still shows in the answer. With one text a run, 5,000 rows would take 10 s.
    width = widths.clip(min(max(64 if one_row else 3, limits.min_tokens or 1), limits.max_tokens or sys.maxsize))
    cases = {
        "shapes": shape_grid(ids, padding_id, ragged=ragged),
        "drawn shapes": drawn_cases(ids, padding_id, ragged=ragged),
        "bounds": bound_cases(bounds, ids, padding_id, ragged=ragged),
        "hazards": hazard_cases(ids, special, padding_id, ragged=ragged, loud=loud, tried=tried),
        "every id": cases_of_every_id(ids, batch=limits.max_batch or 2048, width=width),
        "asked ids": cases_of_asked_ids(phrase, ids, padding_id, ragged=ragged),
    }
    if two_texts:
        cases = pair_cases(cases, ids, padding_id, ragged=ragged)
    inside = {inputs: within(widths.fitted(some, padding_id), limits, padding_id) for inputs, some in cases.items()}
    # All rows of special ids and those of every id, and two of each other case.
    most = {"hazards": _EVERY_ROW, "every id": _EVERY_ROW}
    asked = {inputs: apart(some, alone, ids, most=most.get(inputs, 2)) for inputs, some in inside.items()}
    return {inputs: some for inputs, some in asked.items() if some}


def cases_for_graph(
    rules: AnyTextRules,
    graph: Graph,
    provenance: Mapping[str, Any],
    *,
    turns: Iterable[int] = (),
    ids: int | None = None,
) -> dict[str, list[Case]]:
    """The inputs of a proof of a form that is made of a graph, but for the texts, by kind; see `cases_for`.

    Args:
        rules: the text rules of its bundle.
        graph: what the bundle says of the graph.
        provenance: that of the bundle, with the sizes that its module asks about.
        turns: further numbers of tokens to ask about.
        ids: how many there are; None for as many as the graph has rows.

    Raises:
        BundleError: the provenance says of the sizes what no export writes.

    Example:
        >>> list(cases_for_graph(manifest.text.rules, manifest.graph, manifest.provenance))
        ['shapes', 'drawn shapes', 'hazards', 'every id']
    """
    return cases_for(
        rules,
        ids=graph.embedding_rows if ids is None else ids,
        ragged=graph.padding,
        limits=graph.limits,
        bounds=asked_sizes(provenance, turns),
        one_row=graph.batch == 1,
        alone=graph.alone,
        phrase=asked_ids_of(provenance, graph.embedding_rows if ids is None else ids),
        two_texts="second_tokens" in graph.inputs,
    )


def asked_ids_of(provenance: Mapping[str, Any], ids: int) -> list[int]:
    """The ids that a bundle's module compares words with, which forms of the bundle are asked about.

    Raises:
        BundleError: the provenance says of them what no export writes.

    Example:
        >>> asked_ids_of({"asked_ids": [38, 37]}, 40)
        [38, 37]
    """
    stated = provenance.get(ASKED_IDS, [])
    plain = isinstance(stated, list) and len(stated) <= MOST_ASKED and all(type(i) is int for i in stated)
    if not plain or not all(0 <= i < ids for i in stated):
        raise BundleError(f"provenance.{ASKED_IDS} of classifier.json is not a list of ids.", MAKE_AGAIN)
    return list(stated)


def noted_ids(asked: Sequence[int]) -> dict[str, list[int]]:
    """The entry in a bundle's provenance for the ids that its module compares words with; empty where there are none.

    Example:
        >>> noted_ids([38, 37])
        {'asked_ids': [38, 37]}
    """
    return {ASKED_IDS: list(asked)} if asked else {}


def noted_sizes(bounds: Iterable[tuple[int, int]]) -> dict[str, list[list[int]]]:
    """The entry in a bundle's provenance for the sizes on both sides of each condition on a size; empty where the
    module has no such condition.

    Example:
        >>> noted_sizes([(3, 512), (3, 513)])
        {'asked_sizes': [[3, 512], [3, 513]]}
    """
    sizes = [list(size) for size in bounds]
    return {ASKED_SIZES: sizes} if sizes else {}


def asked_sizes(provenance: Mapping[str, Any], turns: Iterable[int] = ()) -> list[tuple[int, int]]:
    """The sizes, (batch, tokens), that a form of a bundle is asked about beside the usual ones.

    Args:
        provenance: that of the bundle.
        turns: further numbers of tokens, each of one text.

    Raises:
        BundleError: the provenance says of them what no export writes.

    Example:
        >>> asked_sizes({"asked_sizes": [[3, 512]]}, [620])
        [(3, 512), (1, 620)]
    """
    stated = provenance.get(ASKED_SIZES, [])
    plain = isinstance(stated, list) and len(stated) <= _MOST_SIZES
    for size in stated if plain else ():
        whole = isinstance(size, list) and len(size) == 2 and all(type(number) is int for number in size)
        plain = plain and whole and min(size) >= 1 and size[0] * size[1] <= LARGEST
    if not plain:
        raise BundleError(f"provenance.{ASKED_SIZES} of classifier.json is not a list of sizes.", MAKE_AGAIN)
    few = sorted(turns)
    long = [tokens for tokens in few if _LONG < tokens <= LARGEST][:_LONG_TURNS]
    further = [*(tokens for tokens in few if tokens <= _LONG), *long]
    return [*((batch, tokens) for batch, tokens in stated), *((1, tokens) for tokens in further)]


def widths_of(rules: AnyTextRules) -> Widths:
    """How many tokens a text can have by the rules."""
    return Widths(rules.min_width or 1, rules.max_width, pad_left=rules.pad_side == "left")
