"""Questions about sizes as relations: solved on all sizes, computed in a graph; every way through forward is met."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._sympy import functions as of_torch

from pocketrnn.errors import ExportError
from pocketrnn_export.tracing.sizes import size_regions
from pocketrnn_export.tracing.sizes.size_conditions import (
    BATCH,
    LARGEST,
    TOKENS,
    Condition,
    Sizes,
    UnsolvableError,
    compute_value_at,
    make_all_sizes,
)
from pocketrnn_export.tracing.sizes.size_question_log import Question, TraceLog
from pocketrnn_export.tracing.sizes.size_regions import FollowedRun, divide_sizes_into_regions


def relations() -> st.SearchStrategy[tuple[sympy.Basic, Callable[[int, int], bool]]]:
    """Relations as sympy writes them, with what Python makes of the same."""
    small = st.integers(1, 12)
    terms = st.one_of(
        st.just((TOKENS, lambda _, n: n)),
        st.just((BATCH * TOKENS, lambda b, n: b * n)),
        small.map(lambda k: (of_torch.PythonMod(TOKENS, k), lambda _, n: n % k)),
        small.map(lambda k: (of_torch.FloorDiv(TOKENS, k), lambda _, n: n // k)),
        small.map(lambda k: (of_torch.Max(TOKENS - k, BATCH), lambda b, n: max(n - k, b))),
        small.map(lambda k: (of_torch.Min(TOKENS, sympy.Integer(k)), lambda _, n: min(n, k))),
        small.map(lambda k: (of_torch.BitwiseFn_bitwise_and(TOKENS, k), lambda _, n: n & k)),
        # torch 2.8 has no xor of sizes.
        *(
            [small.map(lambda k: (of_torch.BitwiseFn_bitwise_xor(TOKENS, k), lambda _, n: n ^ k))]
            if hasattr(of_torch, "BitwiseFn_bitwise_xor")
            else []
        ),
        small.map(lambda k: (of_torch.RShift(TOKENS, k), lambda _, n: n >> k)),
        st.just((of_torch.PowByNatural(TOKENS, 2) - BATCH, lambda b, n: n**2 - b)),
        small.map(lambda k: (of_torch.CeilToInt(of_torch.IntTrueDiv(TOKENS, k)), lambda _, n: -(-n // k))),
    )
    comparisons = st.sampled_from(((sympy.Gt, int.__gt__), (sympy.Le, int.__le__), (sympy.Eq, int.__eq__)))

    def compared(term: tuple, comparison: tuple, k: int) -> tuple:
        return comparison[0](term[0], k), lambda b, n: comparison[1](term[1](b, n), k)

    asked = st.builds(compared, terms, comparisons, st.integers(-3, 60))
    both = st.builds(
        lambda p, q: (sympy.And(p[0], sympy.Not(q[0])), lambda b, n: p[1](b, n) and not q[1](b, n)), asked, asked
    )
    return st.one_of(asked, both)


@settings(max_examples=60, deadline=None)
@given(relations(), st.integers(1, 40), st.integers(1, 90))
def test_a_relation_comes_to_what_python_makes_of_it(relation: tuple, batch: int, tokens: int) -> None:
    written, meant = relation
    condition = Condition(written)
    assert condition.holds(Sizes(batch, tokens)) == meant(batch, tokens)
    in_graph = condition.evaluate_on_sizes(torch.tensor(batch), torch.tensor(tokens))
    assert bool(in_graph) == meant(batch, tokens)


def test_every_size_of_at_most_so_many_tokens_is_looked_at_the_cheapest_first() -> None:
    sizes = make_all_sizes()
    cost = sizes.batch * sizes.tokens
    assert cost.max() == LARGEST
    assert (np.diff(cost) >= 0).all()
    assert len(sizes) == sum(LARGEST // rows for rows in range(1, LARGEST + 1))


def test_what_64_bits_do_not_hold_is_not_solved() -> None:
    with pytest.raises(UnsolvableError):
        compute_value_at(of_torch.PowByNatural(TOKENS, 5), Sizes(1, 40_000))


def following(forward: Callable[[Callable[..., bool], sympy.Symbol], None]) -> Callable[[Sizes], FollowedRun]:
    """Follow a forward that asks by `asks(relation)`."""

    def follow(sizes: Sizes) -> FollowedRun:
        log = TraceLog()

        def asks(relation: sympy.Basic, line: int = 1) -> bool:
            question = Question(Condition(relation), True, "model.py", line, "if ...")
            log.record_question_if_it_varies(question)
            return question.holds(sizes)

        forward(asks, TOKENS)
        return FollowedRun(log)

    return follow


def test_a_question_inside_branches_is_met_where_the_way_to_it_is_open() -> None:
    def forward(asks: Callable[..., bool], n: sympy.Symbol) -> None:
        if asks(n > 100) and asks(n < 1500) and asks(sympy.Eq(of_torch.PythonMod(n, 250), 33)):
            asks(sympy.Eq(n, 783))

    regions = divide_sizes_into_regions(following(forward), 1)
    assert {str(question.condition) for question in regions.questions} >= {"Eq(tokens, 783)"}
    assert (
        regions.find_region(Sizes(1, 783)) != regions.find_region(Sizes(1, 533)) != regions.find_region(Sizes(1, 534))
    )
    for region in range(len(regions)):
        assert all(regions.conditions[region].holds(sizes) for sizes in regions.list_sample_sizes(region))


def test_more_ways_than_can_be_tried_are_refused_by_the_line_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each of 80 ways asks one question more: 4 s.
    monkeypatch.setattr(size_regions, "_MOST", 12)

    def forward(asks: Callable[..., bool], n: sympy.Symbol) -> None:
        any(asks(sympy.Eq(n, k), line=7) for k in range(1, 100))

    with pytest.raises(ExportError, match=r"model\.py:7"):
        divide_sizes_into_regions(following(forward), 1)
