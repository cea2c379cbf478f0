"""Each token has its position in the original text, whatever the text rules change."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules, cleaning
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS
from pocketrnn.text.subword_models import Unigram, WordPiece
from pocketrnn.text.subword_rules import SubwordRules
from pocketrnn.text.subword_splits import PrependTo, SplitAt
from pocketrnn.text.subword_steps import LowercaseEach, Normalize, Prepend
from pocketrnn.text.token_positions import locate_split_tokens, locate_text_tokens

WORDS = ("<unk>", "<pad>", "oil", "prices", "i", "\u0307", "'", "s", ".", "a", "&", "the")
# Characters that change their length in lower case, join the one before them, or are two code units elsewhere.
POINTS = "oil PRICES\t'\".,!?;:()<br />İΣσßſ\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT ABOVE}😀ﬁ&amp;"
TEXTS = st.text(st.sampled_from(POINTS) | st.characters(exclude_categories=["Cs"]), max_size=40)


def places(encoder: TextEncoder, text: str) -> list[tuple[str, int]]:
    return [(token.token, token.start) for token in locate_text_tokens(encoder, text).tokens]


@pytest.mark.parametrize("tokenizer", ["basic_english", "whitespace", "space", "characters"])
@pytest.mark.parametrize("step", [None, *sorted(NAMED_STEPS)])
@given(text=TEXTS)
@example(text="İİ oil's <br />Σ")
@settings(max_examples=examples(8, 100))
def test_tokens_stand_in_their_order_and_make_the_ids_of_the_text(tokenizer: str, step: str | None, text: str) -> None:
    steps = () if step is None else cleaning(step, ("&amp;", "&"), ("oil", "the oil"))
    encoder = TextEncoder(TextRules(tokenizer, steps=steps, stop_words=("the",), last_id=1), WORDS)
    placed = locate_text_tokens(encoder, text)
    assert placed.ids == encoder.encode(text)
    assert all(text[token.start : token.end] == token.token for token in placed.tokens)
    assert [token.start for token in placed.tokens] == sorted(token.start for token in placed.tokens)
    assert [token.step for token in placed.tokens] == list(range(len(placed.tokens)))


@given(text=st.text(st.sampled_from("oil pİé😀\n\t") | st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=examples(60, 400))
def test_words_between_white_space_are_the_texts_own(text: str) -> None:
    encoder = TextEncoder(TextRules("whitespace", lowercase=True), WORDS)
    assert [
        token.token for token in locate_text_tokens(encoder, text).tokens
    ] == text.split() or text.lower().split() != [word.lower() for word in text.split()]


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        (TextRules(), "It's <br />OIL!", [("It", 0), ("'", 2), ("s", 3), ("OIL", 11), ("!", 14)]),
        (TextRules("whitespace"), "İ oil", [("İ", 0), ("oil", 2)]),
        (TextRules("whitespace"), "😀 cafe\u0301 x",
         [("😀", 0), ("cafe\u0301", 2), ("x", 8)]),
        (TextRules("whitespace", steps=cleaning(("&amp;", "&"), ("ﬁ", "fi"))), "a &amp; ﬁx b",
         [("a", 0), ("&amp;", 2), ("ﬁx", 8), ("b", 11)]),
        (TextRules("whitespace", steps=cleaning(("isn't", "is not"))), "It isn't so",
         [("It", 0), ("is", 3), ("n't", 5), ("so", 9)]),
        (TextRules("whitespace", steps=cleaning("clean_str")), "It's (oil)",
         [("It", 0), ("'s", 2), ("(", 5), ("oil", 6), (")", 9)]),
        (TextRules("space", lowercase=False), "a  b", [("a", 0), ("", 2), ("b", 3)]),
        (TextRules("characters", lowercase=True), "İa", [("İ", 0), ("İ", 0), ("a", 1)]),
        (TextRules("whitespace", steps=cleaning("remove_punctuation")), "o,i.l !? the", [("o,i.l", 0), ("the", 9)]),
    ],
)  # fmt: skip
def test_a_token_has_the_place_of_what_it_was_made_of(
    rules: TextRules, text: str, expected: list[tuple[str, int]]
) -> None:
    assert places(TextEncoder(rules, WORDS), text) == expected


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        (TextRules(first_id=1, last_id=1), [1, 2, 3]),
        (TextRules(max_tokens=2), [0, 1, None]),
        (TextRules(max_tokens=2, cut_side="left"), [None, 0, 1]),
        (TextRules(first_id=1, max_width=3), [1, 2, None]),
        (TextRules(min_width=5, pad_side="left"), [2, 3, 4]),
        (TextRules(unknown_id=None), [0, None, 1]),
        (TextRules(unknown_id=None, max_tokens=2), [0, None, None]),
    ],
)
def test_the_ids_around_a_text_and_its_cuts_move_the_steps(rules: TextRules, steps: list[int | None]) -> None:
    encoder = TextEncoder(rules, WORDS)
    for placed in (
        locate_text_tokens(encoder, "oil what prices"),
        locate_split_tokens(encoder, ["oil", "what", "prices"]),
    ):
        assert [token.step for token in placed.tokens] == steps
        assert placed.ids == encoder.encode("oil what prices")
        for token, i in zip(placed.tokens, encoder.look_up(["oil", "prices"])[:1], strict=False):
            assert token.step is None or placed.ids[token.step] == i


PIECES = ("[UNK]", "[CLS]", "[SEP]", "new", "yo", "##rk", "cafe", ".", ",", "\N{LATIN SMALL LETTER E WITH ACUTE}")
BERT = SubwordRules(
    WordPiece(),
    unknown_id=0,
    steps=(LowercaseEach(), Normalize("NFD")),
    splits=(SplitAt((" ", "\t"), "removed"), SplitAt((".", ","), "isolated")),
    first_ids=(1,),
    last_ids=(2,),
)


def test_a_word_of_subwords_has_the_step_of_its_first_piece() -> None:
    encoder = TextEncoder(BERT, PIECES)
    text = "New  YORK., 😀 york"
    placed = locate_text_tokens(encoder, text)
    assert placed.ids == encoder.encode(text) == [1, 3, 4, 5, 7, 8, 0, 4, 5, 2]
    assert [(token.token, token.start, token.step) for token in placed.tokens] == [
        ("New", 0, 1), ("YORK", 5, 2), (".", 9, 4), (",", 10, 5), ("😀", 12, 6), ("york", 14, 7),
    ]  # fmt: skip


def test_words_of_subwords_may_be_given_as_a_list() -> None:
    encoder = TextEncoder(BERT, PIECES)
    placed = locate_split_tokens(encoder, ["New", "York."])
    assert placed.ids == encoder.encode("New York.")
    assert [(token.token, token.start, token.step) for token in placed.tokens] == [("New", 0, 1), ("York.", 1, 2)]


def test_a_word_whose_first_piece_is_cut_off_has_no_step() -> None:
    rules = SubwordRules(WordPiece(), unknown_id=0, splits=BERT.splits, max_tokens=3, cut_side="left")
    placed = locate_text_tokens(TextEncoder(rules, PIECES), "york yo york")
    assert [token.step for token in placed.tokens] == [None, 0, 1]


def test_pieces_after_sentencepieces_way_are_of_words_between_spaces() -> None:
    pieces = ("<unk>", "\u2581", "\u2581new", "\u2581yo", "rk", ".", "n", "e", "w")
    rules = SubwordRules(
        Unigram((0.0, -9.0, -1.0, -1.0, -2.0, -2.0, -9.0, -9.0, -9.0)),
        unknown_id=0,
        steps=(Prepend("\u2581"),),
        splits=(SplitAt((" ",), "removed"), PrependTo("\u2581")),
    )
    placed = locate_text_tokens(TextEncoder(rules, pieces), "new york.")
    # A mark behind a word would be a word of its own, with other pieces.
    assert [(token.token, token.step) for token in placed.tokens] == [("new", 0), ("york.", 1)]


def test_a_tokenizer_that_joins_words_is_refused() -> None:
    # Without a space between them, the words become other pieces.
    rules = SubwordRules(WordPiece(), unknown_id=0, splits=(SplitAt((".",), "removed"),))
    encoder = TextEncoder(rules, ("[UNK]", "new york", "new", "york", "##york", "## york", " york"))
    with pytest.raises(InputError, match="'new york'"):
        locate_text_tokens(encoder, "new york")
