"""Packed taggers: the engine in C gives the tokens, places, labels and probabilities that Python gives."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tag_vectors
from hypothesis import example, given, settings
from hypothesis import strategies as st
from installed_engine import PACKED, lines_of
from packing_tools import packed_tagger, tagger_program
from refused_packed import File
from slow_case_sampling import examples, mostly_slow
from tag_vectors import CRF, LABELS, as_rows

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.manifest import Limits
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.bundle.packed_enums import Section
from pocketrnn.errors import BundleError, InputError, LimitError
from pocketrnn.text import AnyTextRules, Replace, SubwordRules, TextRules, cleaning
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS
from pocketrnn.text.subword_models import Unigram, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import PrependTo, SplitAt
from pocketrnn.text.subword_steps import LowercaseEach, Normalize, Prepend
from pocketrnn_native import EngineError, Packed, _engine

WORDS = (
    *("<unk>", "<pad>", "<w2>", "<w3>", "<w4>", "<w5>", "oil", "prices", "i", "\u0307", "'", "s", ".", "a", "&", "the"),
    *("\U0001f600", "\u03c2"),
)
# Characters that change their length in lower case, join the one before them, or are two code units elsewhere.
POINTS = (
    "oil PRICES\t'\".,!?;:()<br />\u0130\u03a3\u03c3\xdf\u017f\u0301\u0307\U0001f600\ufb01&amp;\u023a\xa0\u3000\ud800"
)
TEXTS = st.text(st.sampled_from(POINTS) | st.characters(), max_size=40)
PIECES = (
    *("[UNK]", "[PAD]", "oil", "pri", "##ces", "##s", "##i", "a", ".", ",", "!", "\u2581", "\u2581oil", "\u2581a", "i"),
    *("s", "p", "'"),
)
SUBWORDS = {
    "pieces of words": SubwordRules(
        WordPiece(), 0, padding_id=1, first_ids=(7,), last_ids=(8,), max_tokens=6, steps=(LowercaseEach(),),
        splits=(SplitAt((" ", "\t"), "removed"), SplitAt((".", ",", "!", "'"), "isolated")),
    ),
    "scores": SubwordRules(
        Unigram(tuple(-float(i) for i in range(len(PIECES)))), 0, padding_id=1,
        steps=(Prepend("\u2581"), Replace(" ", "\u2581")),
    ),
    "normal forms": SubwordRules(
        WordPiece(), 0, padding_id=1, max_width=8, cut_side="left", min_width=3,
        steps=(Normalize("NFKC"), LowercaseEach()), splits=(SplitAt((" ", "\xa0", "\u3000"), "removed"),),
        added=(AddedToken(7, strip_left=True), AddedToken(8)),
    ),
    "the first word marked": SubwordRules(
        WordPiece(), 0, padding_id=1, splits=(PrependTo("\u2581", first=True), SplitAt((" ",), "with_next")),
    ),
}  # fmt: skip


def status_of(refused: Callable[[], object]) -> int:
    """The status with which the engine refuses something."""
    with pytest.raises(EngineError) as error:
        refused()
    return int(error.value.args[0])


class Both:
    """A packed tagger in C and in Python."""

    def __init__(self, content: bytes, path: Path) -> None:
        path.write_bytes(content)
        self.packed, self.in_place = Packed(content), Packed(content, 0, True)
        self.runtime = Classifier.load(path)

    def check(self, given: str | list[str]) -> list[Any] | None:
        """The rows of the engine, which are those of the runtime; None if both refuse them."""
        try:
            expected = as_rows(self.runtime.tag(given), self.runtime.labels)
        except LimitError:
            assert status_of(lambda: self.packed.tag(given)) in (_engine.TOO_SHORT, _engine.TOO_LONG, _engine.NO_WORD)
            return None
        except InputError:
            assert status_of(lambda: self.packed.tag(given)) == _engine.PLACES
            return None
        for engine in (self.packed, self.in_place):
            found = [list(row) for row in engine.tag(given)]
            assert [row[:3] for row in found] == [row[:3] for row in expected]
            for one, other in zip(found, expected, strict=True):
                assert one[3] == pytest.approx(other[3], abs=1e-6)
        return expected


class Maker:
    """Makes taggers of one program."""

    def __init__(self, folder: Path) -> None:
        assert len(WORDS) == len(PIECES)
        self.folder, self._program = folder, tagger_program(len(WORDS), len(LABELS))

    def content(self, rules: AnyTextRules, crf: Crf | None = None, **options: Any) -> bytes:
        tokens = WORDS if isinstance(rules, TextRules) else PIECES
        return packed_tagger(self._program, rules, tokens, TagOutput(LABELS, crf), **options)

    def __call__(self, rules: AnyTextRules, crf: Crf | None = None, **options: Any) -> Both:
        return Both(self.content(rules, crf, **options), self.folder / "tagger.prnn")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("taggers"))


@pytest.fixture(scope="module")
def words(tagger: Maker) -> bytes:
    return tagger.content(TextRules())


KINDS = [
    *itertools.product(["basic_english"], [None, *sorted(NAMED_STEPS)]),
    *itertools.product(["whitespace", "space", "characters"], [None, "clean_str"]),
]


@pytest.mark.parametrize("kind", mostly_slow(KINDS, 25, first=4))
def test_tokens_of_words_stand_where_they_stand_in_python(kind: tuple[str, str | None], tagger: Maker) -> None:
    tokenizer, step = kind
    steps = () if step is None else cleaning(step)
    steps += cleaning(("&amp;", "&"), ("oil", "the oil"), ("\ufb01", "fi"), ("\xdf", "\u1e9e"), ("..", "."))
    rules = TextRules(
        tokenizer, steps=steps, stop_words=("the",), unknown_id=None if tokenizer == "space" else 0, padding_id=1,
        max_tokens=9, last_id=7, cut_side="left" if tokenizer == "whitespace" else "right",
    )  # fmt: skip
    both = tagger(rules, CRF)

    @given(text=TEXTS)
    @example(text="\u0130\u0130 oil's <br />\u03a3 the \ufb01x &amp; \xdf")
    @example(text="")
    @example(text="\u039f\u03a3'")
    @settings(max_examples=examples(40, 400))
    def check(text: str) -> None:
        both.check(text)

    check()


@pytest.mark.parametrize("kind", SUBWORDS)
def test_words_of_subwords_are_labelled_by_their_first_piece(kind: str, tagger: Maker) -> None:
    both = tagger(SUBWORDS[kind], replace(CRF, over_tokens=True))

    @given(text=TEXTS)
    @example(text="oil. prices!a ,  ")
    @example(text=" \ta.a")
    @settings(max_examples=examples(40, 400))
    def check(text: str) -> None:
        both.check(text)

    check()
    assert both.check("oils a") is not None


@pytest.mark.parametrize("kind", ["words", *SUBWORDS])
def test_tokens_that_are_given_are_tagged_by_their_numbers(kind: str, tagger: Maker) -> None:
    both = tagger(TextRules(stop_words=("the",), max_tokens=3) if kind == "words" else SUBWORDS[kind], CRF)

    # A token of words has no space in it, or Python takes it for a text.
    odd = "\u0301" if kind == "words" else "x y"

    @given(tokens=st.lists(st.sampled_from(["oil", "prices", "the", "a", odd, "\U0001f600", "Oil."]), max_size=5))
    @settings(max_examples=examples(25, 200))
    def check(tokens: list[str]) -> None:
        both.check(tokens)

    check()
    rows = both.check(["oil", "a"])
    assert rows is not None
    assert [row[:2] for row in rows] == [[0, 1], [1, 2]]


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 9), scale=st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=examples(25, 200), deadline=None)
def test_a_crf_is_decoded_as_in_python(seed: int, tokens: int, scale: float, tagger: Maker, words: bytes) -> None:
    generator = np.random.default_rng(seed)
    count = len(LABELS)
    numbers = generator.normal(0, scale, (count + 2, count)).round(2)
    numbers[generator.random(numbers.shape) < 0.2] = -1e4
    over_tokens = seed % 2 == 1
    content = with_tags(words, struct.pack("<2I", 1 + over_tokens, 0) + numbers.astype("<f8").tobytes())
    both = Both(content, tagger.folder / "crf.prnn")
    rows = both.check(" ".join(generator.choice(WORDS, tokens)))
    assert rows is not None
    assert both.runtime.manifest.output == TagOutput(
        LABELS,
        Crf(
            tuple(numbers[0]),
            tuple(numbers[-1]),
            tuple(map(tuple, numbers[1:-1].tolist())),
            over_tokens=over_tokens,
        ),
    )


def with_tags(content: bytes, section: bytes) -> bytes:
    """A packed file with another section of tags."""
    file = File(bytearray(content + bytes(-len(content) % 64)))
    at = len(file.content)
    file.content += section + bytes(-len(section) % 4)
    file.put(8, len(file.content))
    file.put(128 + 8 * Section.TAGS, at, len(section))
    file.make_sums_fit()
    return bytes(file.content)


TAGS_OF_CRF = struct.pack("<2I", 1, 0) + bytes(8 * (len(LABELS) + 2) * len(LABELS))


@pytest.mark.parametrize(
    "section",
    [
        struct.pack("<I", 0),
        struct.pack("<2I", 3, 0),
        struct.pack("<2I", 0, 1),
        struct.pack("<2I", 0, 0xFFFFFFFF),
        struct.pack("<4I", 0, 1, 0x80, 0x81),
        TAGS_OF_CRF[:-8],
        TAGS_OF_CRF + bytes(8),
        TAGS_OF_CRF[:-8] + struct.pack("<d", float("inf")),
        TAGS_OF_CRF[:-8] + struct.pack("<d", float("nan")),
    ],
    ids=["a word", "a third way", "marks that are not there", "many marks", "marks of words", "too few numbers",
         "too many", "infinity", "NaN"],
)  # fmt: skip
def test_a_section_that_cannot_be_meant_is_refused(section: bytes, words: bytes) -> None:
    for in_place in (False, True):
        with pytest.raises(EngineError) as error:
            Packed(with_tags(words, section), 0, in_place)
        assert error.value.args[0] == _engine.CONTENT


@pytest.mark.parametrize("marks", [(5, 4), (4, 9, 9, 10), (4, 0x110000), (9, 9, 4, 4)])
def test_marks_out_of_order_are_refused(marks: tuple[int, ...], tagger: Maker) -> None:
    content = tagger.content(SUBWORDS["pieces of words"])
    section = struct.pack(f"<{2 + len(marks)}I", 0, len(marks) // 2, *marks)
    with pytest.raises(EngineError):
        Packed(with_tags(content, section))
    assert Packed(with_tags(content, struct.pack("<4I", 0, 1, 4, 9))).labels_tokens()


def test_a_file_of_texts_is_none_of_tokens_and_the_other_way_round(tagger: Maker, news: Path) -> None:
    both = tagger(TextRules())
    whole, one = Packed(news.read_bytes()), np.zeros(2, np.int64) + 1
    assert (both.packed.labels_tokens(), whole.labels_tokens()) == (True, False)
    assert status_of(lambda: whole.tag("oil")) == status_of(lambda: whole.tag(["oil"])) == _engine.LABELS
    assert status_of(lambda: both.packed.logits("oil")) == _engine.LABELS
    assert status_of(lambda: _engine.Stream(both.packed)) == _engine.NO_STREAM
    statuses = bytearray(2)
    both.packed.logits_of_texts(["oil", ""], np.empty((2, len(LABELS)), np.float32), statuses)
    assert set(statuses) == {_engine.LABELS}
    with pytest.raises(ValueError, match="buffers"):
        both.packed.logits_of_ids(np.zeros(3, np.int32), one, np.empty((2, len(LABELS)), np.float32), statuses)
    assert not both.packed.embedding_size()


def test_the_package_of_the_engine_gives_the_tags_of_the_runtime(tagger: Maker) -> None:
    both = tagger(TextRules(max_tokens=3), CRF)
    alone = pocketrnn_native.Classifier.load(tagger.folder / "tagger.prnn")
    for text in ("Oil \U0001f600, the the", ["oil", "the"]):
        tags, expected = alone.tag(text), both.runtime.tag(text)
        tagged = [(tag.token, tag.label, tag.start, tag.end) for tag in tags if tag.label is not None]
        assert tagged == [(tag.token, tag.label, tag.start, tag.end) for tag in expected]
        assert [(tag.token, tag.start, tag.end) for tag in tags if tag.label is None] == list(expected.untagged)


def test_texts_beyond_the_limits_are_refused_in_both(tagger: Maker) -> None:
    both = tagger(TextRules(), text="oil a", limits=Limits(min_tokens=2, max_tokens=4))
    given = ("oil", "oil a", "oil a oil a", "oil a oil a oil")
    assert [both.check(text) is None for text in given] == [
        True,
        False,
        False,
        True,
    ]


def test_a_stated_crf_must_be_the_one_that_is_read(tagger: Maker, words: bytes) -> None:
    path = tagger.folder / "stated.prnn"
    content = bytearray(words)
    at = content.index(b',"labels_of":"tokens"')
    content[at : at + 22] = b" " * 22
    file = File(content)
    file.make_sums_fit()
    path.write_bytes(file.content)
    with pytest.raises(BundleError):
        Classifier.load(path)


def test_a_long_text_is_tagged_and_may_be_stopped(tagger: Maker) -> None:
    both = tagger(replace(SUBWORDS["pieces of words"], max_tokens=None), CRF)
    rows = both.check("oil prices, " * 300)
    assert rows is not None
    assert len(rows) == 900


@pytest.mark.parametrize("name", tag_vectors.FILES)
def test_the_vectors_are_answered_as_they_say(name: str, tagger: Maker) -> None:
    # test_packed_vectors.py holds that the files are current.
    both = Both((PACKED / f"{name}.prnn").read_bytes(), tagger.folder / f"{name}.prnn")
    for vector in lines_of(PACKED / f"{name}.jsonl"):
        assert (both.check(vector["text"]) is None) == ("said" in vector)
        assert both.packed.encode(vector["text"]) == vector["ids"]
