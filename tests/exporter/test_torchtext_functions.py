"""The functions that a script brings in place of torchtext's do the same."""

from __future__ import annotations

import sys

import pytest

from pocketrnn.text import basic_english, make_ngrams_of
from pocketrnn_export.source_code.torchtext_functions import (
    build_torchtext_vocab,
    get_torchtext_tokenizer,
    list_torchtext_ngrams,
    make_torchtext_vocab,
    provide_torchtext,
)


@pytest.mark.parametrize(
    "text", ['Oil isn\'t "cheap", is it?!', "a<br />b<br/>c; d:e (f)\u00a0G.H\n\ti", "\u0130\u2028x\x1cy", "", " '\"' "]
)
def test_basic_english_is_that_of_the_runtime(text: str) -> None:
    assert get_torchtext_tokenizer("basic_english")(text) == basic_english(text)


def test_texts_are_split_by_a_function_or_a_known_name() -> None:
    assert get_torchtext_tokenizer(None)("a  b") == ["a", "b"]
    assert get_torchtext_tokenizer(list)("ab") == ["a", "b"]
    with pytest.raises(ValueError, match="unknown"):
        get_torchtext_tokenizer("unknown")
    assert [*list_torchtext_ngrams(["a", "b", "c"], 2)] == ["a", "b", "c", "a b", "b c"]
    assert [*list_torchtext_ngrams(["a", "b", "c"], 2)] == [*make_ngrams_of(["a", "b", "c"], 2)]


def test_words_are_sorted_by_count_and_then_by_letters() -> None:
    rows = [[*"bbaac", "<unk>"], [*"dcb"]]
    assert build_torchtext_vocab(rows).get_itos() == ["b", "a", "c", "<unk>", "d"]
    assert build_torchtext_vocab(rows, 2, ["<unk>"]).get_itos() == ["<unk>", "b", "a", "c"]
    assert build_torchtext_vocab(rows, specials=["<unk>"], special_first=False).get_itos()[-2:] == ["d", "<unk>"]
    # The special word is one of the four most frequent ones.
    assert build_torchtext_vocab(rows, specials=["<unk>"], max_tokens=5).get_itos() == ["<unk>", "b", "a", "c"]
    assert make_torchtext_vocab({"x": 1, "y": 3}, min_freq=1).get_itos() == ["x", "y"]


def test_a_vocabulary_has_the_methods_of_torchtexts() -> None:
    vocab = build_torchtext_vocab([["a", "b"]], specials=["<unk>"])
    with pytest.raises(RuntimeError, match="default index"):
        vocab["x"]
    vocab.set_default_index(vocab["<unk>"])
    assert vocab(["b", "x"]) == vocab.lookup_indices(["b", "x"]) == vocab.forward(["b", "x"]) == [2, 0]
    assert (len(vocab), "a" in vocab, "x" in vocab, vocab.get_default_index()) == (3, True, False, 0)
    assert vocab.lookup_tokens([1, 0]) == ["a", "<unk>"]
    vocab.insert_token("<pad>", 1)
    assert vocab.get_stoi() == {"<unk>": 0, "<pad>": 1, "a": 2, "b": 3}
    for word, place in (("a", 0), ("c", 9)):
        with pytest.raises(RuntimeError, match=word):
            vocab.insert_token(word, place)
    with pytest.raises(RuntimeError, match="9"):
        vocab.lookup_token(9)


def test_a_name_that_code_imports_and_does_not_use_fails_only_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("torchtext", "torchtext.data", "torchtext.data.utils", "torchtext.vocab"):
        # An import of it fails.
        monkeypatch.setitem(sys.modules, name, None)
    provide_torchtext()
    from torchtext.vocab import GloVe, vocab

    assert vocab is make_torchtext_vocab
    with pytest.raises(ImportError, match=r"torchtext\.vocab\.GloVe"):
        GloVe(name="6B")
