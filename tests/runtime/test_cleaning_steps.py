"""Rules like those of real notebooks give what the notebooks' own code gives; none grows without end."""

from __future__ import annotations

import json
import re
import string
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules, basic_english, make_rules_document, rules_of
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import (
    MOST_GROWTH,
    CleaningStep,
    Keep,
    Lowercase,
    Replace,
    ReplaceRuns,
    build_steps_from_documents,
    check_step_count_and_growth,
    cleaning_function,
    make_step_documents,
)
from pocketrnn.text.code_point_patterns import Run, RunPart

WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
PIECES = [
    *string.printable,
    *WHITE_SPACE,
    *"İßẞΣσςéÉ\u0301\u0000\ufeff\u200b\ud800😀中²½Ⅷ_",
    "<br />", "can't", "It's", "WE'LL", "they've", " U.S. ", "http://x.y/?z", "...", "  ",
]  # fmt: skip
STRINGS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=60))
STOP_WORDS = ("the", "a", "an", "is", "it", "and", "")


def clean_str(text: str) -> str:
    """Written anew after what the function of this name does in many repositories."""
    text = re.sub(r"[^A-Za-z0-9(),!?\'\`]", " ", text)
    for ending in ("'s", "'ve", "n't", "'re", "'d", "'ll"):
        text = re.sub(re.escape(ending), f" {ending}", text)
    text = re.sub(r",", " , ", text)
    text = re.sub(r"!", " ! ", text)
    for mark in ("(", ")", "?"):
        text = re.sub(re.escape(mark), rf" \\{mark} ", text)
    return re.sub(r"\s{2,}", " ", text).strip().lower()


def keras_words(text: str) -> list[str]:
    """As keras.preprocessing.text.text_to_word_sequence with its defaults."""
    filters = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
    text = text.lower().translate({ord(point): " " for point in filters})
    return [word for word in text.split(" ") if word]


def without_punctuation(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c not in string.punctuation).split()


def spaced(text: str) -> list[str]:
    return re.sub(rf"([{re.escape(string.punctuation)}])", r" \1 ", text).split()


def no_stop_words(text: str) -> list[str]:
    return [word for word in re.sub("[^a-zA-Z]", " ", text).lower().split() if word not in STOP_WORDS]


# A notebook's functions, and the rules that do the same.
NOTEBOOKS: dict[str, tuple[Callable[[str], list[str]], TextRules]] = {
    "split": (str.split, TextRules("whitespace", lowercase=False)),
    "split at a space": (lambda text: text.lower().split(" "), TextRules("space")),
    "list": (list, TextRules("characters", lowercase=False)),
    "string.punctuation removed": (
        without_punctuation,
        TextRules("whitespace", steps=cleaning("remove_punctuation")),
    ),
    "string.punctuation to spaces": (
        lambda text: text.translate(str.maketrans(string.punctuation, " " * 32)).split(),
        TextRules("whitespace", lowercase=False, steps=cleaning("punctuation_to_space")),
    ),
    "a space around punctuation": (
        spaced,
        TextRules("whitespace", lowercase=False, steps=cleaning("space_around_punctuation")),
    ),
    "letters only, then lower": (
        no_stop_words,
        TextRules("whitespace", lowercase=False, steps=cleaning("letters", "lowercase"), stop_words=STOP_WORDS),
    ),
    "letters and white space kept": (
        lambda text: re.sub(r"[^a-zA-Z\s]", "", text).split(),
        TextRules("whitespace", lowercase=False, steps=(Keep(("az", "AZ", *WHITE_SPACE)),)),
    ),
    "letters and digits": (
        lambda text: re.sub(r"[^a-z0-9]+", " ", text.lower()).strip().split(),
        TextRules("whitespace", steps=cleaning("letters_and_digits")),
    ),
    "no digits": (
        lambda text: re.sub("[0-9]", "", text.lower()).split(),
        TextRules("whitespace", steps=cleaning("remove_digits")),
    ),
    "word characters": (
        lambda text: re.sub(r"[^\w\s]", "", text.lower()).split(),
        TextRules("whitespace", steps=cleaning("word_characters")),
    ),
    "clean_str": (
        lambda text: clean_str(text).split(),
        TextRules("whitespace", lowercase=False, steps=cleaning("clean_str")),
    ),
    "keras": (keras_words, TextRules("space", steps=cleaning("keras_filters"), stop_words=("",))),
    "contractions": (
        lambda text: text.lower().replace("can't", "can not").replace("n't", " not").replace("&", " and ").split(),
        TextRules("whitespace", steps=cleaning(("can't", "can not"), ("n't", " not"), ("&", " and "))),
    ),
    "cleaned before basic_english": (
        lambda text: basic_english(text.lower().replace("<br />", "").replace("-", " ")),
        TextRules(steps=cleaning(("<br />", ""), ("-", " "))),
    ),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
@settings(max_examples=examples(40, 1000), deadline=None)
@given(text=STRINGS)
def test_rules_give_the_tokens_of_the_notebooks_own_code(name: str, text: str) -> None:
    owner, rules = NOTEBOOKS[name]
    assert TextEncoder(rules, ["<unk>"]).tokens(text) == owner(text)


@settings(max_examples=examples(35, 1000), deadline=None)
@given(STRINGS)
def test_basic_english_is_one_list_of_replacements(text: str) -> None:
    as_steps = TextRules("whitespace", steps=cleaning("basic_english"))
    assert TextEncoder(as_steps, ["<unk>"]).tokens(text) == basic_english(text)


CHARACTERS = st.characters(exclude_categories=["Cs"])
SHORT = st.text(st.one_of(st.sampled_from("ab,A İΣ😀"), CHARACTERS), min_size=1, max_size=3)
RANGES = st.lists(st.tuples(CHARACTERS, CHARACTERS).map(lambda ends: "".join(sorted(ends))), min_size=1, max_size=4)
PARTS = st.builds(RunPart, RANGES.map(tuple), st.sampled_from([0, 1, 2]), st.sampled_from([None, 2, 3]))
RUNS = st.lists(
    st.builds(
        lambda ranges, before, many, then: Run(tuple(ranges), before, *many, then=tuple(then)),
        RANGES, st.sampled_from([(), ("a",)]), st.sampled_from([(1, None), (1, 1), (2, 3)]),
        st.lists(PARTS, max_size=2),
    ),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.builds(Replace, SHORT, st.one_of(st.just(""), SHORT)),
        st.builds(Keep, RANGES.map(tuple), st.sampled_from(["", " ", "a", "ab"])),
        st.builds(ReplaceRuns, RUNS, st.one_of(st.just(""), SHORT, st.just("a a"))),
        st.just(Lowercase()),
    ),
    max_size=6,
)


def is_refused(steps: list[CleaningStep]) -> bool:
    try:
        check_step_count_and_growth(steps)
    except InputError:
        return True
    return False


@settings(max_examples=examples(50, 1500), deadline=None)
@given(steps=STEPS, text=st.text(st.one_of(st.sampled_from("ab,A İΣ😀"), CHARACTERS), max_size=40))
def test_steps_that_are_allowed_make_no_text_more_than_64_times_as_long(steps: list[CleaningStep], text: str) -> None:
    if not is_refused(steps):
        assert len(cleaning_function(steps)(text)) <= MOST_GROWTH * len(text)


@settings(max_examples=examples(50, 1000), deadline=None)
@given(STEPS)
def test_steps_survive_the_file(steps: list[CleaningStep]) -> None:
    assert build_steps_from_documents(json.loads(json.dumps(make_step_documents(steps)))) == tuple(steps)


@settings(max_examples=examples(35, 1000), deadline=None)
@given(ranges=RANGES, text=st.text(max_size=40))
def test_what_is_kept_is_within_a_range(ranges: list[str], text: str) -> None:
    expected = "".join(point if any(r[0] <= point <= r[-1] for r in ranges) else "-" for point in text)
    assert cleaning_function([Keep(tuple(ranges), "-")])(text) == expected


def test_long_lists_of_replacements_that_do_not_meet_are_allowed() -> None:
    check_step_count_and_growth([Replace(chr(i), f" {chr(i)} ") for i in range(0x4E00, 0x4E00 + 4096)])
    for make in NAMED_STEPS.values():
        check_step_count_and_growth(make())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Replace("", "x"), "has 0 characters"),
        (lambda: Replace("x" * 257, ""), "has 257 characters"),
        (lambda: Replace("x", "x" * 257), "has 257 characters"),
        (lambda: Replace(1, ""), "is 1, but"),  # type: ignore[arg-type]
        (lambda: Replace("x", None), "is None, but"),  # type: ignore[arg-type]
        (lambda: Replace("\ud83d", ""), "surrogate pair"),
        (lambda: Keep(("a\udfff",)), "surrogate pair"),
        (lambda: Keep(()), "keeps is ()"),
        (lambda: Keep("az"), "keeps is 'az'"),  # type: ignore[arg-type]
        (lambda: Keep(("a",) * 4097), "keeps is"),
        (lambda: Keep(("za",)), "before it begins"),
        (lambda: Keep(("abc",)), "has 3 characters"),
        (lambda: Keep(("",)), "has 0 characters"),
        (lambda: ReplaceRuns(()), "0 runs"),
        (lambda: ReplaceRuns((Run(("a",)),) * 17), "17 runs"),
        (lambda: ReplaceRuns(("a",)), "`runs` is ('a',)"),  # type: ignore[arg-type]
        (lambda: ReplaceRuns((Run(("a",)),), "\ud83d"), "surrogate pair"),
        (
            lambda: build_steps_from_documents([{"replace_runs": [{"ranges": ["a"], "then": ["b"]}], "by": ""}]),
            "of a run",
        ),
        (lambda: TextRules(steps=(ReplaceRuns((Run(("az",)),), "ab" * 33),)), "more than 64 times"),
        (lambda: cleaning("stem"), "the name 'stem'"),
        (lambda: cleaning(("a", "b", "c")), "a cleaning step"),  # type: ignore[arg-type]
        (lambda: build_steps_from_documents([{"replace": "a"}]), "a cleaning step"),
        (lambda: build_steps_from_documents([{"lowercase": False}]), "a cleaning step"),
        (lambda: build_steps_from_documents([None]), "a cleaning step"),
        (lambda: build_steps_from_documents([{"keep": "az", "by": ""}]), "a cleaning step"),
        (lambda: TextRules(steps=[Lowercase()]), "steps is"),  # type: ignore[arg-type]
        (lambda: TextRules(steps=("lowercase",)), "steps is"),  # type: ignore[arg-type]
        (lambda: TextRules(steps=(Lowercase(),) * 4097), "4,097 cleaning steps"),
        (lambda: TextRules(steps=(Replace("a", "aa"),) * 4096), "more than 64 times"),
        (lambda: TextRules(steps=(Lowercase(),) * 7), "more than 64 times"),
        (lambda: TextRules(stop_words="a"), "stop_words is"),  # type: ignore[arg-type]
        (lambda: TextRules(stop_words={1, "a"}), "stop_words is"),  # type: ignore[arg-type]
        (lambda: TextRules(stop_words=(1,)), "stop_words is"),  # type: ignore[arg-type]
        (lambda: TextRules(stop_words=tuple(map(str, range(65537)))), "65,537 stop words"),
        (lambda: TextRules(first_id=-1), "first_id is -1"),
        (lambda: TextRules(last_id="<eos>"), "last_id is '<eos>'"),  # type: ignore[arg-type]
        (lambda: TextRules(last_id=True), "last_id is True"),
        (lambda: TextRules(max_width=0), "max_width is 0"),
        (lambda: TextRules(max_width=1.5), "max_width is 1.5"),  # type: ignore[arg-type]
        (lambda: TextRules(min_width=65537), "min_width is 65537"),
        (lambda: TextRules(min_width=9, max_width=8), "max_width is only 8"),
        (lambda: TextRules(pad_side="pre"), "pad_side is 'pre'"),  # type: ignore[arg-type]
        (lambda: TextRules(cut_side=None), "cut_side is None"),  # type: ignore[arg-type]
    ],
)
def test_hostile_values_are_refused_with_a_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        make()


VOCABULARY = ["<pad>", "<unk>", "<sos>", "<eos>", "a", "b", "c"]


@pytest.mark.parametrize(
    ("rules", "text", "ids"),
    [
        # keras: pad_sequences(maxlen=5), whose defaults are padding="pre" and truncating="pre"
        (TextRules("space", unknown_id=None, min_width=5, max_width=5, pad_side="left", cut_side="left"), "x a b",
         [0, 0, 0, 4, 5]),
        (TextRules("space", unknown_id=None, min_width=2, max_width=2, pad_side="left", cut_side="left"), "a x b y c x",
         [5, 6]),
        (TextRules("space", unknown_id=None, min_width=3, max_width=3, pad_side="left", cut_side="left"), "x",
         [0, 0, 0]),
        # features[i, -len(row):] = row[:width]
        (TextRules("whitespace", unknown_id=1, min_width=2, max_width=2, pad_side="left"), "a b c", [4, 5]),
        (TextRules("whitespace", unknown_id=1, min_width=4, max_width=4, pad_side="left"), "a x c", [0, 4, 1, 6]),
        # ids[:width] + [0] * (width - len(ids))
        (TextRules("whitespace", unknown_id=1, min_width=4, max_width=4), "a x", [4, 1, 0, 0]),
        # torchtext's Field(init_token="<sos>", eos_token="<eos>", fix_length=5): cut to 3, then set around
        (TextRules("whitespace", unknown_id=1, max_tokens=3, first_id=2, last_id=3, min_width=5), "a b c a b",
         [2, 4, 5, 6, 3]),
        (TextRules("whitespace", unknown_id=1, max_tokens=3, first_id=2, last_id=3, min_width=5, pad_side="left"), "a",
         [0, 0, 2, 4, 3]),
        # truncate_first=True
        (TextRules("whitespace", unknown_id=1, max_tokens=3, first_id=2, last_id=3, min_width=5, cut_side="left"),
         "a b c a b", [2, 6, 4, 5, 3]),
        # ([sos] + ids + [eos])[:3]
        (TextRules("whitespace", unknown_id=1, max_width=3, first_id=2, last_id=3), "a b c", [2, 4, 5]),
        # a least width for a convolution
        (TextRules("whitespace", unknown_id=1, min_width=3), "a b c a", [4, 5, 6, 4]),
        (TextRules("whitespace", unknown_id=1, min_width=3), "a", [4, 0, 0]),
        (TextRules("whitespace", unknown_id=1, empty_id=1, min_width=3), "", [0, 0, 0]),
        (TextRules("whitespace", unknown_id=1, empty_id=1, last_id=3), "", [3]),
        (TextRules("whitespace", unknown_id=1, empty_id=1, cut_side="left"), "", [1]),
        # stop words are dropped before max_tokens counts
        (TextRules("whitespace", unknown_id=1, stop_words=("a",), max_tokens=2), "a b a c", [5, 6]),
        (TextRules("whitespace", unknown_id=1, max_tokens=9, cut_side="left"), "a b", [4, 5]),
    ],
)  # fmt: skip
def test_a_text_is_cut_and_padded_as_its_owner_does(rules: TextRules, text: str, ids: list[int]) -> None:
    encoder = TextEncoder(rules, VOCABULARY)
    assert encoder.encode(text) == ids
    assert encoder.encode_row(text).tolist() == [ids]
    flat, lengths = encoder.encode_all([text, "b", text])
    assert flat[: len(ids)].tolist() == ids
    assert lengths[0] == lengths[2] == len(ids)


IDS = st.one_of(st.none(), st.integers(0, 6))
SIDES = st.sampled_from(["left", "right"])


@settings(max_examples=examples(50, 1500), deadline=None)
@given(
    texts=st.lists(st.text("abcx ,", max_size=15), min_size=1, max_size=5),
    members=st.fixed_dictionaries(
        {},
        optional={
            "tokenizer": st.sampled_from(["basic_english", "whitespace", "characters", "space"]),
            "ngrams": st.integers(1, 3),
            "max_tokens": st.one_of(st.none(), st.integers(1, 6)),
            "unknown_id": st.sampled_from([None, 1]),
            "padding_id": st.sampled_from([0, 6]),
            "steps": STEPS.filter(lambda steps: not is_refused(steps)).map(tuple),
            "stop_words": st.sampled_from([(), ("a",), ("", "x")]),
            "first_id": IDS,
            "last_id": IDS,
            "max_width": st.one_of(st.none(), st.integers(4, 9)),
            "min_width": st.one_of(st.none(), st.integers(1, 4)),
            "cut_side": SIDES,
            "pad_side": SIDES,
        },
    ),
)
def test_every_text_has_ids_within_its_width_however_it_is_asked_for(texts: list[str], members: dict[str, Any]) -> None:
    rules = TextRules(**members)
    encoder = TextEncoder(rules, VOCABULARY)
    rows = [encoder.encode(text) for text in texts]
    flat, lengths = encoder.encode_all(texts)
    assert flat.tolist() == [i for row in rows for i in row]
    assert lengths.tolist() == [len(row) for row in rows]
    for text, row in zip(texts, rows, strict=True):
        assert encoder.encode_row(text).tolist() == [row]
        assert max(1, rules.min_width or 0) <= len(row) <= (rules.max_width or sys.maxsize)
        assert all(0 <= i < len(VOCABULARY) for i in row)
    document = json.loads(json.dumps(make_rules_document(rules)))
    assert rules_of(document) == rules
    assert rules.is_plain == (document.keys() <= make_rules_document(TextRules()).keys() and rules.tokenizer != "space")


@pytest.mark.parametrize("words", [("the", "a", "the"), ["the", "a"], {"a", "the"}, frozenset(["the", "a"])])
def test_stop_words_are_kept_once_each_whatever_holds_them(words: Any) -> None:
    rules = TextRules(stop_words=words)
    assert sorted(rules.stop_words) == ["a", "the"]
    assert isinstance(rules.stop_words, tuple)
    assert rules == TextRules(stop_words=rules.stop_words)
