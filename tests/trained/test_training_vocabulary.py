"""The vocabulary's order, and batches of encoded texts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketrnn.errors import DataError, InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.epoch_batches import cut_into_batches, make_similar_length_batches
from pocketrnn_training.texts.vocabulary import SPECIALS, build

RULES = TextRules(tokenizer="whitespace", padding_id=1)
TEXTS = st.lists(st.text(st.sampled_from("aabbcdé <>unkpad")), min_size=1, max_size=30)


def torchtexts_order(texts: list[str], rules: TextRules, min_freq: int, max_size: int | None) -> tuple[str, ...]:
    """build_vocab_from_iterator (torchtext 0.18, vocab/vocab_factory.py) with specials that no text holds."""
    counter: Counter[str] = Counter()
    for text in texts:
        counter.update(TextEncoder(rules, ()).tokens(text))
    for special in SPECIALS:
        counter.pop(special, None)
    in_order = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    ordered = dict(in_order if max_size is None else in_order[: max_size - len(SPECIALS)])
    return (*SPECIALS, *(token for token, count in ordered.items() if count >= min_freq))


def test_the_most_frequent_come_first_and_equal_ones_by_code_points() -> None:
    vocabulary, _ = build(["b a c", "c ä é", "c a b z"], RULES)
    assert vocabulary == ("<unk>", "<pad>", "c", "a", "b", "z", "ä", "é")


@given(TEXTS, st.integers(1, 3), st.one_of(st.none(), st.integers(3, 12)), st.integers(1, 3))
def test_order_and_ids_are_torchtexts(texts: list[str], min_freq: int, max_size: int | None, ngrams: int) -> None:
    rules = TextRules(tokenizer="whitespace", padding_id=1, ngrams=ngrams)
    expected = torchtexts_order(texts, rules, min_freq, max_size)
    if len(expected) == len(SPECIALS):
        with pytest.raises(DataError):
            build(texts, rules, min_freq=min_freq, max_size=max_size)
        return
    vocabulary, encoded = build(texts, rules, min_freq=min_freq, max_size=max_size)
    assert vocabulary == expected
    by_encoder = EncodedTexts.from_texts(texts, TextEncoder(rules, vocabulary))
    assert np.array_equal(encoded.ids, by_encoder.ids)
    assert np.array_equal(encoded.offsets, by_encoder.offsets)


def test_texts_without_tokens_become_the_unknown_token() -> None:
    _, encoded = build(["", "a", "  "], RULES)
    assert encoded.lengths.tolist() == [1, 1, 1]
    assert encoded.ids.tolist() == [0, 2, 0]


def test_no_token_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="Not one"):
        build(["", " \n"], RULES)
    with pytest.raises(DataError, match="at least 2 times"):
        build(["a b"], RULES, min_freq=2)


@pytest.mark.parametrize("sizes", [{"min_freq": 0}, {"max_size": 2}])
def test_sizes_out_of_range_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError):
        build(["a"], RULES, **sizes)


ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=20)


def encoded_of(rows: list[list[int]]) -> EncodedTexts:
    ids = np.array([i for row in rows for i in row], dtype=np.int32)
    return EncodedTexts.from_lengths(ids, np.array([len(row) for row in rows]))


@given(ROWS, st.data())
def test_a_batch_is_its_rows_padded_to_the_longest(rows: list[list[int]], drawn: st.DataObject) -> None:
    chosen = drawn.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    tokens, lengths = encoded_of(rows).batch(np.array(chosen), padding=7)
    width = max(len(rows[i]) for i in chosen)
    assert tokens.tolist() == [rows[i] + [7] * (width - len(rows[i])) for i in chosen]
    assert lengths.tolist() == [len(rows[i]) for i in chosen]
    assert (tokens.dtype, lengths.dtype) == (np.int64, np.int64)


@given(ROWS, st.integers(1, 7), st.integers(0, 9))
def test_batches_hold_every_row_once(rows: list[list[int]], batch_size: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    lengths = encoded_of(rows).lengths
    for batches in (
        cut_into_batches(order, batch_size),
        make_similar_length_batches(order, lengths, batch_size, np.random.default_rng(seed)),
    ):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
        assert max(map(len, batches)) <= batch_size
    assert np.array_equal(np.concatenate(cut_into_batches(order, batch_size)), order)


def test_batches_of_similar_length_have_little_padding_and_no_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 2048)
    batches = make_similar_length_batches(rng.permutation(2048), lengths, 16, rng)
    widths = [lengths[batch].max() for batch in batches]
    assert sum(width * 16 for width in widths) < 1.1 * lengths.sum()
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3
