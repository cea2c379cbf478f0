"""Rules of subwords answer a text that arrives in pieces as the text so far is answered, or are refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn import Classifier, verify
from pocketrnn.errors import BundleError, InputError
from pocketrnn.text import Keep, Replace, SubwordRules, TextEncoder
from pocketrnn.text.subword_models import Bpe, Unigram, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import Pattern, PrependTo, SplitAt, SplitAtText
from pocketrnn.text.subword_steps import (
    BYTE_CHARACTERS,
    WHITE_SPACE,
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    Surround,
)
from pocketrnn.text.subword_stream_cuts import MOST_WAITING, find_stream_obstacle

SPACES = tuple(WHITE_SPACE)
MARK = "\u2581"
WORDS = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "un", "##able", "able", "a", "##b", "the", "!", "\u4e2d")
BERT = SubwordRules(
    WordPiece(), unknown_id=0, padding_id=1, max_tokens=9, first_ids=(2,), last_ids=(3,),
    steps=(
        Keep(("\t", "\n", " \U0010ffff"), ""), Fold(SPACES, 1, " "), Surround(("\u4e00\u9fff",)),
        Normalize("NFD"), Strip(), LowercaseEach(),
    ),
    splits=(SplitAt(SPACES, "removed"), SplitAt(("!/",), "isolated")),
    added=(AddedToken(2), AddedToken(4, strip_left=True, strip_right=True)), outside=(1,),
)  # fmt: skip
PIECES = (*BYTE_CHARACTERS, "<|end|>", "th", "\u0120th", "ab", "\u0120a", "\u0120ab")
GPT2 = SubwordRules(
    Bpe((PIECES.index("t"), PIECES.index("h"), PIECES.index("\u0120"), 257, PIECES.index("a"), PIECES.index("b"),
         PIECES.index("\u0120"), PIECES.index("a"), PIECES.index("\u0120"), 259)),
    unknown_id=None, empty_id=256, padding_id=256, added=(AddedToken(256),), outside=(256,),
    steps=(Normalize("NFKC"),),
    splits=(PrependTo(" "), Pattern("gpt2", ("az", "AZ", "\u00c0\u024f", "\u4e00\u9fff"), ("09",)), Bytes()),
)  # fmt: skip
LLAMA_PIECES = ("<unk>", "<s>", MARK, *"abteh", MARK * 2, f"{MARK}t", "th", f"{MARK}th")
LLAMA = SubwordRules(
    Bpe((2, 2, 2, 5, 5, 7, 2, 10), fuse_unknown=True), unknown_id=0, added=(AddedToken(1),), outside=(0, 1),
    first_ids=(1,), steps=(Prepend(MARK), Replace(" ", MARK)),
)  # fmt: skip
MARKED = replace(
    LLAMA, steps=(), splits=(Replace(" ", MARK), PrependTo(MARK, first=True), SplitAt((MARK,), "with_next"))
)
RULES = {
    "BERT": (BERT, WORDS),
    "GPT-2": (GPT2, PIECES),
    "Llama": (LLAMA, LLAMA_PIECES),
    "marked": (MARKED, LLAMA_PIECES),
    "bytes": (replace(GPT2, steps=(Normalize("NFKC"), Bytes()), splits=()), PIECES),
}
PARTS = (
    *("unable", "able", "a", "b", "ab", "the", "th", "The", "!", "'s", "12", " ", "  ", "\t", "\n", " \r\n", "\u00a0"),
    *(
        "[MASK]",
        "[CLS]",
        "<s>",
        "<|end|>",
        "<|end",
        "[MA",
        "\u4e2d",
        "e\u0301",
        "\u0301",
        "\u2017",
        MARK,
        "\ud83d",
        "\ude00",
    ),
)
TEXTS = st.lists(st.sampled_from(PARTS), max_size=14).map("".join)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("subword-streams")
    return {
        name: bundle_maker.make(
            folder / name, name=name, rules=rules, vocabulary=tokens, stream=True, torchscript=False,
            texts=("unable the", " a  b!", ""),
        )
        for name, (rules, tokens) in RULES.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def classifiers(bundles: dict[str, Path]) -> dict[str, Classifier]:
    return {name: Classifier.load(bundle) for name, bundle in bundles.items()}


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None, max_examples=examples(12, 150))
@given(text=TEXTS, data=st.data())
def test_a_text_in_pieces_is_answered_as_the_text_so_far(
    name: str, classifiers: dict[str, Classifier], text: str, data: st.DataObject
) -> None:
    classifier = classifiers[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream, so_far = classifier.stream(), ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        so_far += text[start:end]
        np.testing.assert_allclose(stream.logits(text[start:end]), classifier.logits([so_far])[0], atol=1e-5)
        if data.draw(st.booleans()):
            stream = classifier.stream(stream.save())


@pytest.mark.parametrize("name", RULES)
def test_a_push_reads_the_words_since_the_last_space(name: str, classifiers: dict[str, Classifier]) -> None:
    stream = classifiers[name].stream()
    for _ in range(300):
        stream.push("ab the un")
    assert len(stream._position.tail) < 20


@pytest.mark.parametrize("name", RULES)
def test_verify_replays_the_examples_as_streams(name: str, bundles: dict[str, Path]) -> None:
    assert [replay.how for replay in verify(bundles[name]).replays][-1] == "each as a stream"


def test_what_waits_without_a_space_is_bounded(classifiers: dict[str, Classifier]) -> None:
    stream = classifiers["GPT-2"].stream()
    before = stream.push("ab")
    with pytest.raises(InputError, match="without a space"):
        stream.push("\u4e2d" * MOST_WAITING)
    assert stream.push("") == before


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (replace(BERT, steps=(), splits=()), "for one word"),
        (replace(BERT, cut_side="left"), "`cut_side` left"),
        (replace(BERT, min_width=4), "`min_width`"),
        (replace(BERT, added=(AddedToken(4, after_steps=True),)), "after the steps"),
        (replace(BERT, steps=(Replace("a ", "b"),)), "replaces a space"),
        (replace(BERT, steps=(Keep(("az",), ""),)), "removes spaces"),
        (replace(BERT, steps=(), splits=(SplitAt(("!",), "removed"),)), "for one word"),
        (replace(BERT, steps=(), splits=(SplitAtText("a ", "removed"),)), "at each space"),
        (replace(BERT, steps=(), splits=(SplitAt((" ",), "runs"),)), "at a word"),
        (replace(GPT2, steps=(Strip(),)), "strips the text's ends"),
        (replace(GPT2, steps=(Fold((" ",), 2, " "),)), "Fold"),
        (
            replace(GPT2, steps=(Bytes(), LowercaseEach()), splits=(SplitAtText("\u0120", "with_next"),)),
            "LowercaseEach",
        ),
        (replace(GPT2, splits=(PrependTo("_"), *GPT2.splits[1:])), "before each text"),
        (replace(LLAMA, model=Bpe((2, 2, 2, 5, 5, 7, 2, 10), whole_words=True)), "for one word"),
    ],
)
def test_what_a_stream_cannot_follow_is_refused_by_its_name(rules: SubwordRules, named: str, tmp_path: Path) -> None:
    tokens: tuple[str, ...] = WORDS if isinstance(rules.model, WordPiece) else PIECES
    tokens = LLAMA_PIECES if rules.empty_id == 0 and tokens == PIECES else tokens
    assert named in find_stream_obstacle(rules, tokens)
    with pytest.raises(BundleError, match=re.escape(named)):
        bundle_maker.make(tmp_path / "made", rules=rules, vocabulary=tokens, stream=True, torchscript=False)


def test_scores_summed_over_a_whole_text_are_refused() -> None:
    """Their sums are rounded: which of two ways to cut a word is better may depend on all that stands before it."""
    rules: Any = SubwordRules(Unigram((0.0, -1.0, -2.0)), unknown_id=0, steps=(Replace(" ", MARK),))
    assert "whole text" in find_stream_obstacle(rules, ["<unk>", MARK, f"{MARK}a"])
    assert TextEncoder(rules, ["<unk>", MARK, f"{MARK}a"]).encode(" a") == [2]
