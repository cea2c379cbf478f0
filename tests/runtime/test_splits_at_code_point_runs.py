"""Runs of code points, at which words of subwords are cut."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import InputError
from pocketrnn.text.code_point_patterns import Run, RunPart
from pocketrnn.text.subword_splits import (
    SplitAtRuns,
    build_splits_from_documents,
    make_split_documents,
    make_split_function,
)

_SET = st.sampled_from((("a",), ("ab",), ("b", "x"), (" ",), ("\n", " "), ("ax",)))
_MAYBE = st.one_of(st.just(()), _SET)
_PARTS = st.lists(
    st.sampled_from((0, 1, 2)).flatmap(
        lambda least: st.builds(RunPart, _SET, st.just(least), st.sampled_from((None, max(least, 1), 3)))
    ),
    max_size=3,
).map(tuple)
_RUNS = st.builds(
    lambda ranges, before, many, ends_at, not_before, then: Run(ranges, before, *many, ends_at, not_before, then),
    _SET, _MAYBE, st.sampled_from(((1, None), (1, 1), (2, None), (1, 3))), _MAYBE, _MAYBE, _PARTS,
)  # fmt: skip


def holds(ranges: tuple[str, ...], point: str) -> bool:
    return any(some[0] <= point <= some[-1] for some in ranges)


def taken(word: str, ranges: tuple[str, ...], most: int | None) -> int:
    count = 0
    while count < len(word) and (most is None or count < most) and holds(ranges, word[count]):
        count += 1
    return count


def length(run: Run, word: str) -> int:
    """How long the run is whose own code points begin a word, step by step as in docs/format.md; 0 if it is none."""
    count = taken(word, run.ranges, run.most)
    while run.ends_at and count and not holds(run.ends_at, word[count - 1]):
        count -= 1
    count -= bool(count and word[count:] and holds(run.not_before, word[count]))
    if count < run.least:
        return 0
    for part in run.then:
        more = taken(word[count:], part.ranges, part.most)
        if more < part.least:
            return 0
        count += more
    return count


def cuts(runs: tuple[Run, ...], word: str) -> list[str]:
    places, at = [0], 0
    while at < len(word):
        size = 0
        for run in runs:
            behind = length(run, word[at + 1 :]) if holds(run.before, word[at]) else 0
            size = behind + 1 if behind else length(run, word[at:])
            if size:
                break
        places += [at, at + size] if size else []
        at += size or 1
    return [word[start:end] for start, end in pairwise([*places, len(word)]) if start < end]


@given(st.lists(_RUNS, min_size=1, max_size=3).map(tuple), st.text("ab x\n", max_size=30))
def test_a_word_is_cut_where_the_first_run_stands(runs: tuple[Run, ...], word: str) -> None:
    split = SplitAtRuns(runs, "isolated")
    assert make_split_function(split)([word] if word else []) == cuts(runs, word)
    assert build_splits_from_documents(make_split_documents([split])) == (split,)


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (Run(("<",), most=1, then=(RunPart(("\0=", "?\uffff"), 1, None), RunPart((">",)))), "<"),
        (Run(("ab",), then=(RunPart(("c",)),)), "ab"),
        (Run((" ", "\n"), ends_at=("\n",)), " "),
        (Run(("a",), ("a",), then=(RunPart(("a",), 0, None), RunPart(("b",)))), "a"),
        # Behind a long part comes another one, which is short, and a text that has an end for each.
        (Run(("a",), then=(RunPart(("b",), 1, None), RunPart(("c",)))), "a" * 9000 + "bd"),
        (Run(("a",), most=1, then=(RunPart(("a",), 0, None), RunPart(("b",)), RunPart(("c",)))), "a" * 9000 + "bd"),
        (Run(("<",), most=1, then=(RunPart(("a",), 1, None), RunPart(("ab", "<"), 1, None), RunPart((">",)))), "<ab"),
    ],
)
def test_a_long_run_that_stands_in_vain_takes_linear_time(run: Run, word: str) -> None:
    cut = make_split_function(SplitAtRuns((run,), "isolated"))
    start = time.perf_counter()
    times = examples(60_000, 300_000) // len(word) + 1
    assert cut([word * times]) == [word * times]
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunPart(("a",), -1),
        lambda: RunPart(("a",), 0, 0),
        lambda: RunPart((), 1),
        lambda: Run(("a",), then=("a",)),  # type: ignore[arg-type]
        lambda: Run(("a",), then=32 * (RunPart(("a",)),)),
        lambda: Run(("a",), ends_at=("ba",)),
        lambda: Run(("a",), least=0),
        lambda: build_splits_from_documents(
            [{"at_runs": [{"ranges": ["a"], "then": [{"ranges": ["a"]}]}], "how": "removed"}]
        ),
        lambda: build_splits_from_documents([{"at_runs": [{"ranges": ["a"], "behind": ["b"]}], "how": "removed"}]),
    ],
)
def test_what_is_no_run_is_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]
