"""Texts are divided into few runs of the graph, within the limit of tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.engines.batching import MAX_TOKENS, divide_into_runs, pad_rows

LENGTHS = st.one_of(
    st.lists(st.integers(1, 60), max_size=300),
    st.lists(st.sampled_from([1, 2, 3, 40, 41, 500, MAX_TOKENS - 1, MAX_TOKENS, MAX_TOKENS + 1, 10**6]), max_size=200),
).map(lambda lengths: np.array(lengths, np.int64))


@settings(max_examples=examples(62, 1000), deadline=None)
@given(LENGTHS, st.booleans())
def test_every_text_is_in_one_run_once(lengths: np.ndarray, padding: bool) -> None:
    places = [place for run in divide_into_runs(lengths, padding=padding) for place in run.tolist()]
    assert sorted(places) == list(range(len(lengths)))


@settings(max_examples=examples(62, 1000), deadline=None)
@given(LENGTHS, st.booleans(), st.sampled_from([1, 100, MAX_TOKENS]))
def test_a_run_keeps_the_bound_unless_it_is_one_text(lengths: np.ndarray, padding: bool, most: int) -> None:
    for run in divide_into_runs(lengths, padding=padding, max_tokens=most):
        assert len(run) == 1 or len(run) * lengths[run].max() <= most


@settings(max_examples=examples(37, 1000), deadline=None)
@given(LENGTHS, st.booleans(), st.integers(1, 9))
def test_a_run_holds_no_more_texts_than_it_may(lengths: np.ndarray, padding: bool, most: int) -> None:
    shared = list(divide_into_runs(lengths, padding=padding, max_texts=most))
    assert all(1 <= len(run) <= most for run in shared)
    assert sorted(place for run in shared for place in run.tolist()) == list(range(len(lengths)))


@settings(max_examples=examples(62, 1000), deadline=None)
@given(LENGTHS)
def test_texts_of_several_lengths_never_meet_where_padding_would_leak(lengths: np.ndarray) -> None:
    assert all(len(set(lengths[run].tolist())) == 1 for run in divide_into_runs(lengths, padding=False))


@settings(max_examples=examples(62, 1000), deadline=None)
@given(LENGTHS)
def test_padding_is_a_fifth_of_a_row_or_eight_tokens_at_most(lengths: np.ndarray) -> None:
    for run in divide_into_runs(lengths, padding=True):
        width = lengths[run].max()
        assert (width - lengths[run] <= max(0.2 * width + 1, 8)).all()


def test_texts_of_like_length_share_a_run() -> None:
    assert [run.tolist() for run in divide_into_runs(np.array([3, 40, 5, 38]), padding=True)] == [[1, 3], [2, 0]]


@settings(max_examples=examples(37, 1000), deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**40), min_size=1, max_size=9), min_size=1, max_size=9), st.integers(0, 9))
def test_a_rectangle_is_as_wide_as_its_longest_row_and_filled_at_the_ends(rows: list[list[int]], filler: int) -> None:
    width = max(map(len, rows))
    lengths = np.array(list(map(len, rows)), np.int64)
    ids = np.array([i for row in rows for i in row], np.int64)
    tokens = pad_rows(ids, np.cumsum(lengths) - lengths, lengths, filler)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [row + [filler] * (width - len(row)) for row in rows]
