"""Choose the cases of a proof from the text rules of the bundle and the limits of its graph, and keep in its provenance
the ids and sizes of which the proofs of later forms make cases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.checked_files import MAKE_AGAIN
from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.errors import BundleError
from pocketrnn.text import AnyTextRules
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.comparing.proof_inputs import (
    LARGEST,
    Case,
    Widths,
    fit_cases_to_graph_limits,
    make_cases_for_grid_of_shapes,
    make_cases_for_module_of_two_texts,
    make_cases_of_given_sizes,
    make_cases_of_random_shapes,
    make_cases_that_often_show_errors,
    move_ids_run_alone_to_own_cases,
    replace_ids_by_other_ids,
)
from pocketrnn_export.proof.feature_cases import add_features_and_feature_cases
from pocketrnn_export.proof.ids_that_cases_must_contain import MOST_ASKED, make_cases_with_compared_ids

# The most rows of one case that are run alone.
_EVERY_ROW: Final = 64


def choose_cases_for_text_rules(
    rules: AnyTextRules,
    *,
    ids: int,
    ragged: bool,
    limits: Limits | None = None,
    condition_sizes: Iterable[tuple[int, int]] = (),
    one_row: bool = False,
    ids_run_alone: Sequence[int] = (),
    extreme_ids: Sequence[int] = (),
    possible_padding_ids: Sequence[int] = (),
    compared_ids: Sequence[int] = (),
    two_texts: bool = False,
    features: Features = (),
) -> dict[str, list[Case]]:
    """Make the batches of random and difficult texts (cases) on which a proof compares a module with its exported
    forms. Return them by kind, such as "every id" for texts that together contain every id. The user's own texts are
    not included.

    Args:
        rules: the text rules; their special ids occur more often.
        ids: the number of ids that the graph takes.
        ragged: whether a batch has texts of several lengths; otherwise all texts of a batch have the same length.
        limits: the limits of the graph's sizes; texts of other sizes are cut or repeated.
        condition_sizes: sizes (texts, tokens) near each condition on a size in forward.
        one_row: whether the graph takes one text at a time, so that fewer and longer texts hold every id.
        ids_run_alone: a text with one of these ids must run alone.
        extreme_ids: ids with the longest embedding vectors, or the largest or smallest sum.
        possible_padding_ids: ids that the module may take for padding.
        compared_ids: ids with which the program compares words.
        two_texts: whether each row is a pair of texts.
        features: the features that the graph takes beside a text.
    """
    padding_id = rules.padding_id
    widths = find_text_widths(rules)
    special = [i for i in (rules.unknown_id, rules.empty_id, *rules.first_ids, *rules.last_ids) if i is not None]
    limits = limits or Limits()
    # Three tokens a row, so that each changes the answer. With one text a run, 5,000 rows would take 10 s.
    width = widths.clip(min(max(64 if one_row else 3, limits.min_tokens or 1), limits.max_tokens or sys.maxsize))
    cases = {
        "shapes": make_cases_for_grid_of_shapes(ids, padding_id, ragged=ragged),
        "drawn shapes": make_cases_of_random_shapes(ids, padding_id, ragged=ragged),
        "bounds": make_cases_of_given_sizes(condition_sizes, ids, padding_id, ragged=ragged),
        "hazards": make_cases_that_often_show_errors(
            ids,
            special,
            padding_id,
            ragged=ragged,
            extreme_ids=extreme_ids,
            possible_padding_ids=possible_padding_ids,
        ),
        "every id": make_cases_that_contain_every_id(ids, batch=limits.max_batch, width=width),
        "asked ids": make_cases_with_compared_ids(compared_ids, ids, padding_id, ragged=ragged),
    }
    if two_texts:
        cases = make_cases_for_module_of_two_texts(cases, ids, padding_id, ragged=ragged)
    inside = {
        inputs: fit_cases_to_graph_limits(widths.fit_cases(some, padding_id), limits, padding_id)
        for inputs, some in cases.items()
    }
    # Up to 64 rows of the hazards and of the cases with every id, and two rows of each other case.
    most = {"hazards": _EVERY_ROW, "every id": _EVERY_ROW}
    asked = {
        inputs: move_ids_run_alone_to_own_cases(some, ids_run_alone, ids, most=most.get(inputs, 2))
        for inputs, some in inside.items()
    }
    found = {inputs: some for inputs, some in asked.items() if some}
    if not features:
        return found

    def fit_case(case: Case) -> Case:
        (inside,) = fit_cases_to_graph_limits(widths.fit_cases([case], padding_id), limits, padding_id)
        return replace_ids_by_other_ids([inside], ids_run_alone, ids)[0] if len(set(ids_run_alone)) < ids else inside

    return add_features_and_feature_cases(found, features, fit_case, most_rows=limits.max_batch)


def choose_cases_for_graph_of_bundle(
    rules: AnyTextRules,
    graph: Graph,
    provenance: Mapping[str, Any],
    *,
    further_tokens: Iterable[int] = (),
    ids: int | None = None,
    features: Features = (),
) -> dict[str, list[Case]]:
    """Make the batches of random and difficult texts (cases) on which the proof compares a form that is made from a
    bundle's graph. Return them by kind, such as "every id".

    Args:
        rules: the text rules of the bundle.
        graph: the bundle's description of the graph.
        provenance: the bundle's provenance. It lists sizes near the module's conditions on sizes, and ids with which
            the module compares words.
        further_tokens: further text lengths to compare.
        ids: the number of ids; None for the number of the graph's embedding rows.
        features: the features that the graph takes beside a text.

    Raises:
        BundleError: the provenance lists sizes or ids that are not valid.
    """
    return choose_cases_for_text_rules(
        rules,
        ids=graph.embedding_rows if ids is None else ids,
        ragged=graph.padding,
        limits=graph.limits,
        condition_sizes=list_sizes_to_compare_from_provenance(provenance, further_tokens),
        one_row=graph.batch == 1,
        ids_run_alone=graph.alone,
        compared_ids=read_compared_ids_of_provenance(provenance, graph.embedding_rows if ids is None else ids),
        two_texts="second_tokens" in graph.inputs,
        features=features,
    )


def find_text_widths(rules: AnyTextRules) -> Widths:
    """Return the smallest and the largest number of tokens that a text can have under the text rules, and the side on
    which shorter texts are padded."""
    return Widths(rules.min_width or 1, rules.max_width, pad_left=rules.pad_side == "left")


# --- Cases with every id: then the proof reads each row of an embedding ---

# Three tokens a row: short enough that each token changes the answer, and long enough for code that reads neighbours.
# 400,000 ids are 65 batches.
_WIDTH: Final = 3
_ROWS: Final = 2048


def make_cases_that_contain_every_id(ids: int, *, batch: int | None = None, width: int = _WIDTH) -> list[Case]:
    """Make batches of short texts that together contain every id from 0 to `ids` - 1, in random order.

    Args:
        ids: the number of ids.
        batch: the most rows of a batch, such as 1 for a graph that takes one text a run; None for 2,048.
        width: the number of tokens in a row.
    """
    order = np.random.default_rng(2).permutation(ids)
    # The last row is filled up with ids of the first rows.
    rows = np.resize(order, (-(-ids // width), width)).astype(np.int64)
    most = batch or _ROWS
    return [
        Case(f"ids {start * width} to {min(start * width + some.size, ids) - 1}", some, np.full(len(some), width))
        for start, some in ((start, rows[start : start + most]) for start in range(0, len(rows), most))
    ]


# --- Ids and sizes in provenance ---

# The key in a bundle's provenance for the sizes around each condition on a size in its module: forms made
# from the bundle are compared at these sizes, too.
ASKED_SIZES: Final = "asked_sizes"
# The key for the ids that its program compares words with.
ASKED_IDS: Final = "asked_ids"
# As many as the export's own proof has at most; a bundle from elsewhere may state any number.
_MOST_SIZES: Final = 10_000
# At most `_LONG_TURNS` sizes above `_LONG` tokens are tried: a text of 50,000 takes a minute in all runs of a proof.
_LONG: Final = 5_000
_LONG_TURNS: Final = 4


def read_compared_ids_of_provenance(provenance: Mapping[str, Any], ids: int) -> list[int]:
    """Read from a bundle's provenance the ids with which its module compares words.

    Raises:
        BundleError: the entry is not a list of at most 24 integers from 0 to `ids` - 1.
    """
    stated = provenance.get(ASKED_IDS, [])
    plain = isinstance(stated, list) and len(stated) <= MOST_ASKED and all(type(i) is int for i in stated)
    if not plain or not all(0 <= i < ids for i in stated):
        raise BundleError(
            f"The member provenance.{ASKED_IDS} of classifier.json must be a list of at most {MOST_ASKED} token ids "
            f"from 0 to {ids - 1}, but it is something else.",
            MAKE_AGAIN,
        )
    return list(stated)


def make_provenance_entry_of_compared_ids(compared_ids: Sequence[int]) -> dict[str, list[int]]:
    """Return the provenance entry for the ids with which a module compares words, or {} if there are no such ids."""
    return {ASKED_IDS: list(compared_ids)} if compared_ids else {}


def drop_compared_ids_of_cut_words(provenance: Mapping[str, Any], rows: int | None) -> dict[str, Any]:
    """Return the provenance of a bundle whose vocabulary is cut to its first words. The ids with which the module
    compares words are dropped from it if their words are cut.

    Args:
        provenance: the provenance of the bundle with all words.
        rows: the number of words that are kept; None for all.
    """
    ids = provenance.get(ASKED_IDS)
    if rows is None or not isinstance(ids, list):
        return {**provenance}
    others = {name: value for name, value in provenance.items() if name != ASKED_IDS}
    return others | make_provenance_entry_of_compared_ids([one for one in ids if type(one) is not int or one < rows])


def make_provenance_entry_of_condition_sizes(
    batch_and_token_counts: Iterable[tuple[int, int]],
) -> dict[str, list[list[int]]]:
    """Return the provenance entry that lists sizes (batch, tokens) near forward's conditions on sizes, or {} if there
    are no such sizes."""
    sizes = [list(size) for size in batch_and_token_counts]
    return {ASKED_SIZES: sizes} if sizes else {}


def list_sizes_to_compare_from_provenance(
    provenance: Mapping[str, Any], further_text_lengths: Iterable[int] = ()
) -> list[tuple[int, int]]:
    """Return the sizes (texts, tokens) at which the proof of a form that is made from a bundle compares answers: those
    that the bundle's provenance lists, and one text of each length in `further_text_lengths`. Only four of these
    lengths above 5,000 are used, and none above 50,000.

    Raises:
        BundleError: the entry in the provenance is not a list of at most 10,000 pairs of positive integers.
    """
    stated = provenance.get(ASKED_SIZES, [])
    plain = isinstance(stated, list) and len(stated) <= _MOST_SIZES
    for size in stated if plain else ():
        whole = isinstance(size, list) and len(size) == 2 and all(type(number) is int for number in size)
        plain = plain and whole and min(size) >= 1 and size[0] * size[1] <= LARGEST
    if not plain:
        raise BundleError(
            f"The member provenance.{ASKED_SIZES} of classifier.json must be a list of at most {_MOST_SIZES:,} pairs "
            f"[texts, tokens] whose product is at most {LARGEST:,}, but it is something else.",
            MAKE_AGAIN,
        )
    few = sorted(further_text_lengths)
    long = [tokens for tokens in few if _LONG < tokens <= LARGEST][:_LONG_TURNS]
    further = [*(tokens for tokens in few if tokens <= _LONG), *long]
    return [*((batch, tokens) for batch, tokens in stated), *((1, tokens) for tokens in further)]
