"""Calls of `re.sub` that are written as cleaning steps do the same to every text; what no step can do is refused."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples, mostly_slow

from pocketrnn.errors import InputError
from pocketrnn.text import Keep, Replace, ReplaceRuns, TextEncoder, TextRules, cleaning
from pocketrnn.text.cleaning_steps import build_steps_from_documents, cleaning_function, make_step_documents
from pocketrnn.text.cleaning_steps_from_re_sub import convert_sub_to_steps
from pocketrnn.text.code_point_patterns import Run
from pocketrnn.text.subword_splits import SplitAtRuns

# Patterns of public notebooks.
PATTERNS = (
    r"https?://\S+|www\.\S+", r"http\S+", r"https?:\/\/.*[\r\n]*", r"(https?|ftp)://\S+", r"https?://(?:www\.)?\S+",
    r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+", r"pic\.twitter\.com/\S+",
    "<.*?>", "<[^>]+>", "<[^<>]*>", "<.+?>", "<br ?/?>", r"<[^>]*>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});", r"&\w+;",
    r"@\w+", r"@[A-Za-z0-9_]+", r"@[^\s]+", r"#\w+", r"#", r"^RT"[1:] + r"[\s]+", r"\$\w*", r"(@\w+|#\w+)",
    r"\S+@\S+", r"\S*@\S*\s?", r"[\w\.-]+@[\w\.-]+", r"\w*\d\w*", r"\w*\d+\w*", r"\d+", r"[0-9]{5,}", r"[0-9]{4}",
    r"\d+(\.\d+)?", r"\s+", r"\s{2,}", r" +", r"\n|\t|\r", r"[\n\r]+", r"\s+[a-zA-Z]\s+", r"\[.*?\]", r"\(.*?\)",
    "[^a-zA-Z]", "[^a-z0-9'!? ]+", r"[^\w\s]", r"[^\w\s]|_", r"[!?]{2,}", "\\.{2,}", "n't", r"\'s", r"[^\x00-\x7F]+",
    "[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff]+", r"(\s)+", r"[-()\"#/@;:<>{}=~|.?,]", r"\?\?\?|!!!|\.\.\.",
    "<.*?>+", r"https*\S+", r"@\S+|https?:\S+|http?:\S|[^A-Za-z0-9]+",
    r"(@[A-Za-z0-9]+)|([^0-9A-Za-z \t])|(\w+:\/\/\S+)",
    "x?(b|c)", "[ab]{1,2}(b|c)", "a+?", r"[\x5c\u00e9\b]+",
    r"\b(a|an|the)\b", r"\b\w{1,2}\b", r"\bhttp\S+", r"\bhttps?://\S+\b", r"\b[a-z]\b", r"n['’]t\b", r"\b\w*\d\w*\b",
    r"\b\d{3}[-.]?\d{4}\b", r"#[0-9a-f]{3,6}\b", r"\W*\b\w\b", r"\b[\w.-]+@[\w.-]+\b", r"\b - \b|\b -\b|\b- \b",
    r"@\w+\b", r"\b(\w+)\b", r"\b[^\W\d_]+?\b", r"\b(?:\d+(?:st|th)|&)\b", r"\b[a-z]\s+\b", r"\S+\b",
    r"[a-z]*\b'", r"^\s+", r"\s+$", r"^\s+|\s+$", r"^RT[\s]+", r"\A[a-z]|\w+\Z", r"(^|\s)a", r"n\s*$", r"\S+1\S+\Z",
)  # fmt: skip
# With an empty replacement, a match of nothing changes nothing.
DELETED = (r"\bb?\d*\b", "a*", "|a", "a*?", r"^\s*|\s*$", "(<|)a?", r"\w*\Z", r"\b", "^$", "")
PIECES = st.sampled_from([
    *"ab<>@#&;.,!?'\"()[]/$ \n\r\t\\09_-é中😀\x1c\u2028٣\ud83d\ude00",
    "http://", "https://a.b/c?d=e%20f", "www.x", "<br />", "<a href='x'>", "a@b.c", "&amp;", "12345", "n't", "RT ", "ftp://",
    "pic.twitter.com/", "...", "&#12;", "n't", "the", "an", "#a1b2", "e\u0301", "1st", "555-1234", " - ",
])  # fmt: skip
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@pytest.mark.parametrize("pattern", mostly_slow(PATTERNS, 87))
@settings(max_examples=examples(25, 500), deadline=None)
@given(text=TEXTS, by=st.sampled_from(["", " ", "url", "\\n", r"a\\b"]))
def test_a_notebooks_pattern_gives_what_the_notebook_gives(pattern: str, text: str, by: str) -> None:
    assert cleaning_function(convert_sub_to_steps(pattern, by))(text) == re.sub(pattern, by, text)


@pytest.mark.parametrize("pattern", DELETED)
@settings(max_examples=examples(25, 500), deadline=None)
@given(text=TEXTS)
def test_a_deleted_pattern_may_match_nothing(pattern: str, text: str) -> None:
    assert cleaning_function(convert_sub_to_steps(pattern, ""))(text) == re.sub(pattern, "", text)


ATOMS = st.sampled_from([
    "a", "b", "<", ">", " ", r"\b", r"\b", r"\.", "[ab]", "[^a]", "[^>\n]", ".", r"\s", r"\S", r"\w", r"\d", r"\W",
    r"\D", "[a-c<]", "@", "\n", r"[\w@]", "1", "é", "😀", r"[^\W\d]", "[]a-]", r"\u00e9",
    "^", "$", r"\A", r"\Z",
])  # fmt: skip
SIGNS = st.sampled_from(["", "", "", "", "?", "*", "+", "{2}", "{1,2}", "{2,}", "{,2}", "*?", "+?", "{2,}?"])
DRAWN = st.recursive(
    st.tuples(ATOMS, SIGNS).map("".join),
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=4).map("".join),
        st.lists(parts, min_size=1, max_size=3).map("|".join),
        st.tuples(st.sampled_from(["(", "(?:"]), parts, st.sampled_from([")", ")", ")?", ")+"])).map("".join),
    ),
    max_leaves=6,
)


@settings(max_examples=examples(200, 20_000), deadline=None)
@given(
    pattern=DRAWN,
    by=st.sampled_from(["-", "-", "", r"\g<0>-", r"-\1"]),
    texts=st.lists(st.text("aabb<> .@1\n\té😀_c\ud800\u0301", max_size=14), min_size=8, max_size=8),
)
def test_a_drawn_pattern_gives_what_re_gives_or_is_refused(pattern: str, by: str, texts: list[str]) -> None:
    try:
        clean = cleaning_function(convert_sub_to_steps(pattern, by))
    except InputError:
        return
    assert [clean(text) for text in texts] == [re.sub(pattern, by, text) for text in texts]


@pytest.mark.parametrize(
    ("pattern", "by", "steps"),
    [
        ("[^a-z]", " ", (Keep(("az",), " "),)),
        ("[^a-z]+", "", (Keep(("az",), ""),)),
        (r"\.\.\.", "…", (Replace("...", "…"),)),
        ("a{3}", "b", (Replace("aaa", "b"),)),
        ("(?:&amp;)", "and", (Replace("&amp;", "and"),)),
        (r"([.,])", r" \1 ", (Replace(",", " , "), Replace(".", " . "))),
        (r"([.,])", r" \g<1>", (Replace(",", " ,"), Replace(".", " ."))),
        ("n't", r" \g<0>", (Replace("n't", " n't"),)),
        (r"\'s|\'re", "", None),
    ],
)
def test_the_simplest_step_is_taken(pattern: str, by: str, steps: tuple[Keep | Replace, ...] | None) -> None:
    made = convert_sub_to_steps(pattern, by)
    assert made == steps if steps else isinstance(made[0], ReplaceRuns)
    assert cleaning("lowercase", ("sub", pattern, by))[1:] == made


@pytest.mark.parametrize(
    ("pattern", "by", "part"),
    [
        ("a^b", "", r"'\^'"),
        (r"\Za", "", "Z'"),
        (r"^\bthe", "", r"\^"),
        (" +$", "", r"'\$'"),
        (r"^\s*$", "-", r"\^"),
        ("a$", "", r"'\$'"),
        (r"\Bthe", "", r"B'"),
        (r"\S+\b\S", "", r"\\\\S\+\\\\b'"),
        (r"@.*?\b", "", r"\.\*\?\\\\b'"),
        (r"\b", "-", r"b'"),
        (r"(\b|a*)", "-", r"\(\\\\b\|a\*\)'"),
        pytest.param("x" + "a?@?" * 10 + r"\b", "", "'a'", marks=pytest.mark.slow),
        (r"(.)\1+", r"\1", r"1'"),
        ("(?i)url", "", r"'\(\?i\)'"),
        ("(?<=a)b", "", r"'\(\?<='"),
        ("a++b", "", r"'a\+\+'"),
        ("(ab)+", "", r"'\(ab\)\+'"),
        ("a*", "-", r"'a\*'"),
        (r"\w+\d", "", r"'\\\\w\+\\\\d'"),
        ("<!--.*?-->", "", r"\.\*\?-->"),
        ("<.*>", "", r"'\.\*>'"),
        ("a{65}", "", "65"),
        ("a??b", "", r"a\?\?"),
        ("[\ud83c-\ud83e]", "", "surrogate"),
        (r"([a-z]+)", r" \1 ", r"1'"),
        (r"([.,])", r".\1", r"1'"),
        (r"(a)(b)", r"\2\1", r"2'"),
        (r"(a)x(?:b)", r"\1", r"1'"),
        ("a" * 257 + "b?", "b", "256"),
        ("x+(y" * 17 + ")" * 17, "", "x+"),
        ("|".join(f"{a}{b}" for a in "abcde" for b in "1234"), "", "16"),
        ("<a.*?(>|b1)", "", r"\.\*\?"),
        ("a" * 40 + "b+", "", "32"),
        (r"[^\s\S]a", "", "no character"),
        (r"\N{EM DASH}", "", "N"),
    ],
)
def test_the_part_that_no_step_can_do_is_named(pattern: str, by: str, part: str) -> None:
    with pytest.raises(InputError, match=part) as told:
        convert_sub_to_steps(pattern, by)
    assert "--tokenizer external" in str(told.value)


@pytest.mark.parametrize(
    ("pattern", "by"),
    [
        ("(a", ""),
        ("[b-a]", ""),
        ("a", "\\1"),
        ("a", "\\g<x>"),
        ("a", "\\q"),
        (1, ""),
        ("a", ["b"]),
        ("(" * 350 + "a" + ")" * 350, "b"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, by: str) -> None:
    with pytest.raises(InputError):
        convert_sub_to_steps(pattern, by)
    with pytest.raises(InputError):
        cleaning(("sub", pattern, by))


LINES = {
    "remove_urls": (r"https?://\S+|www\.\S+", ""),
    "remove_html_tags": ("<.*?>", ""),
    "html_tags_to_space": ("<.*?>", " "),
    "remove_mentions": (r"@\w+", ""),
    "remove_hashtags": (r"#\w+", ""),
    "remove_numbers": (r"\d+", ""),
    "collapse_spaces": (r"\s+", " "),
    "word_characters": (r"[^\w\s]", ""),
    "letters": ("[^a-zA-Z]", " "),
    "letters_and_digits": ("[^a-zA-Z0-9]", " "),
    "remove_digits": ("[0-9]", ""),
}


@pytest.mark.parametrize("name", LINES)
def test_a_named_step_is_the_line_that_it_is_documented_with(name: str) -> None:
    text = "".join(map(chr, range(0x3000))) + "see http://a.b/c?d or www.e.f, <b>@you</b> #x_1 23"
    assert cleaning_function(cleaning(name))(text) == re.sub(*LINES[name], text)


def test_many_begins_without_an_end_take_linear_time() -> None:
    rules = TextRules(
        "characters", steps=cleaning("remove_html_tags", ("sub", r"\S+@\S+", ""), ("sub", r"\[.*?\]", ""))
    )
    text, start = "<[a" * examples(40_000, 300_000), time.perf_counter()
    assert "".join(TextEncoder(rules, ["<unk>"]).tokens(text)) == text
    assert time.perf_counter() - start < 20


def test_many_begins_without_a_boundary_take_linear_time() -> None:
    steps = cleaning(("sub", r"[a-z]+\b", ""), ("sub", r"-\S+\b", ""))
    text, start = "a" * examples(40_000, 300_000) + "9" + "-" * examples(40_000, 300_000), time.perf_counter()
    assert cleaning_function(steps)(text) == text
    assert time.perf_counter() - start < 20


def test_boundaries_of_words_stand_in_the_document_and_need_the_set_of_a_word() -> None:
    (step,) = cleaning(("sub", r"\bn't\b", " "))
    (document,) = make_step_documents([step])
    (run,) = document["replace_runs"]
    assert (run["from_boundary"], run["then"][-1]["to_boundary"]) == (True, True)
    assert build_steps_from_documents([document]) == (step,)
    for wrong in (
        {**document, "word": []},
        {**document, "replace_runs": [{"ranges": ["a"]}]},
        {**document, "word": "az"},
        {**document, "replace_runs": [{"ranges": ["a"], "from_boundary": False}]},
    ):
        with pytest.raises(InputError):
            build_steps_from_documents([wrong])
    with pytest.raises(InputError):
        SplitAtRuns((Run(("a",), to_boundary=True),), "removed")
