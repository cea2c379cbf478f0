"""Text rules that do what an owner's cleaning function does, read out of its source and compared with it."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import re
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.commands.tokenizer_function import load_tokenizer_function
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules, cleaning
from pocketrnn_export.commands.tokenizer_function_written_to_file import write_code_file
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.source_code.text_function_in_own_file import write_computing_text_function
from pocketrnn_export.vocabularies.rules_from_code import read_rules_in_code
from pocketrnn_export.vocabularies.rules_from_function import (
    generate_texts_for_tokenizer_comparison,
    has_ordinary_characters,
    list_compared_texts,
    read_split_in_code,
)
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.text_rules_file import parse_rules_json_with_name
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

STOP_WORDS = {"the", "a", "of"}
PATTERN = re.compile(r"[^a-z0-9' ]")
WORDS = ["<pad>", "<unk>", *re.findall(r"\S+", "oil film good bad movie great don't it's 42 running user_1 cafe so")]
KNOWN = read_vocabulary(WORDS)


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("return re.sub('[.]', '', text).lower().split()", ["ab,", "c"]),
        ("return re.sub('[.]', '', text).split()", ["Ab,", "c"]),
        ("return text.lower().split()[:9]", ["a.b,", "c"]),
        ("return stem(text.lower().split())", None),
    ],
)
def test_code_shows_the_rules_that_split_as_it_does(line: str, tokens: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "cut.py").write_text(f"import re\ndef words(text):\n    {line}\n")
    padded = TextRules("basic_english", max_width=9, min_width=9, pad_side="left")
    code = write_computing_text_function(tmp_path / "cut.py", "words")
    found = None if code is None else read_split_in_code(code, padded)
    assert (None if found is None else TextEncoder(found, WORDS).tokens("A.b, c")) == tokens
    assert found is None or (found.max_tokens, found.min_width, found.pad_side) == (None, 9, "left")


@pytest.mark.parametrize(
    "code",
    [
        "open('ran', 'w')\n    return text.split()",
        "return text.split(mark())\ndef mark():\n    import pathlib\n    pathlib.Path('ran').touch()",
        "return text.split(SEP)\nSEP = (lambda: [None, open('ran', 'w')][0])()",
        "return text.split(*().__class__.__base__.__subclasses__()[:0])",
        "return text.split()[:getattr(re, 'x', 9)]",
        "import typing\n    typing.contextlib.os.system('touch ran')\n    return text.split()",
        "import typing\n    typing.contextlib.os.environ.clear()\n    return text.split()",
        "import typing\n    made = typing.sys\n    return text.split()",
        "from typing import sys\n    sys.exit()\n    return text.split()",
    ],
)
def test_code_that_nobody_named_and_that_does_more_than_compute_is_not_run(code: str, tmp_path: Path) -> None:
    (tmp_path / "cut.py").write_text(f"import re\ndef words(text):\n    {code}\n")
    assert write_computing_text_function(tmp_path / "cut.py", "words") is None


def remove_links(text: str) -> str:
    return re.sub(r"http\S+|www\S+", "", text, flags=re.MULTILINE)


def stop_words_and_lengths(text: str) -> list[str]:
    """The function of a reader's training script."""
    text = text.lower()
    text = re.sub(r"<[^>]+>", " ", text)
    text = re.sub(r"https?://\S+", " ", text)
    text = re.sub(r"[^a-z0-9' ]", " ", text)
    text = re.sub(r"\s+", " ", text).strip()
    return [w for w in text.split() if w not in STOP_WORDS and len(w) > 1]


def joined_again(text: Any) -> str:
    if not text:
        return ""
    text = str(text)
    text = re.sub(r"[\n\r\t\f\v]+", " ", text).lower()
    text = remove_links(text)
    text = re.sub(r"\S+@\S+", "", text)
    text = re.sub("[^a-zA-Z\\s]", "", text)
    words = text.split()
    return " ".join([word for word in words if word and word not in STOP_WORDS and (len(word) > 2)])


def characters_left_out(text: str) -> list[str]:
    text = "".join([c for c in text.lower() if c not in string.punctuation])
    return text.split()


def encoded(text: str) -> list[str]:
    return text.encode("iso-8859-1", errors="replace").decode("latin1").lower().split()


def translated(text: str) -> list[str]:
    return text.translate(str.maketrans("", "", string.punctuation)).lower().split()


def a_loop_over_words(text: str, most: int = 5) -> list[str]:
    kept = []
    for word in PATTERN.sub("", text.lower()).split():
        if word in STOP_WORDS:
            continue
        kept.append(word)
    if len(kept) > most:
        kept = kept[-most:]
    return kept


def found_words(text: str) -> list[str]:
    return list(filter(lambda w: len(w) < 20 and w not in STOP_WORDS, re.findall(r"[a-z0-9']+", text.lower())))


def a_list_of_replacements(text: str) -> list[str]:
    for what, by in [("won't", "will not"), ("n't", " not"), ("'s", " is")]:
        text = text.replace(what, by)
    return re.sub(r"\W+", " ", text.lower()).split()


class OwnTokenizer:
    def __init__(self, pattern: str) -> None:
        self.pattern = re.compile(pattern)

    def __call__(self, text: str) -> list[str]:
        return self.split(self.pattern.sub(" ", text))

    def split(self, text: str) -> list[str]:
        return [word.lower() for word in text.split() if not word.isdigit()]


def ids(text: str) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 1 for word in remove_links(text.lower()).split()][:4]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(stop_words_and_lengths, marks=pytest.mark.slow),
        pytest.param(joined_again, marks=pytest.mark.slow),
        pytest.param(characters_left_out, marks=pytest.mark.slow),
        encoded,
        pytest.param(translated, marks=pytest.mark.slow),
        pytest.param(a_loop_over_words, marks=pytest.mark.slow),
        pytest.param(functools.partial(a_loop_over_words, most=2), marks=pytest.mark.slow),
        pytest.param(found_words, marks=pytest.mark.slow),
        pytest.param(a_list_of_replacements, marks=pytest.mark.slow),
        OwnTokenizer("[^a-zA-Z0-9]"),
        pytest.param(ids, marks=pytest.mark.slow),
        pytest.param(lambda text: re.sub("[^a-zA-Z]", " ", text).lower().split(), marks=pytest.mark.slow),
    ],
)
def test_rules_are_read_out_of_the_source_of_a_function(
    function: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    rules = choose_rules(KNOWN, None, function, [], [])
    assert isinstance(rules, TextRules)
    encoder, others = (
        TextEncoder(rules, KNOWN.tokens),
        generate_texts_for_tokenizer_comparison(["good", "the", "a", "x1", "movies"]),
    )
    for text in filter(has_ordinary_characters, others):
        made = function(text)
        tokens = made.split() if isinstance(made, str) else made
        theirs = tokens if function is ids else encoder.look_up(tokens)
        assert encoder.encode(text) == (theirs or [rules.empty_id])
    assert "rules and your tokenizer split" in caplog.text


def test_a_filter_of_empty_words_is_read_as_a_rule() -> None:
    found = read_rules_in_code(lambda text: list(filter(None, re.split(r"\W+", text.lower()))))
    assert found is not None
    assert not found.unsaid


def test_the_rules_are_written_as_they_are_typed(caplog: pytest.LogCaptureFixture) -> None:
    choose_rules(KNOWN, None, OwnTokenizer("[^a-zA-Z0-9]"), [], [])
    assert (
        '--rules \'{"tokenizer": "whitespace", "lowercase": false, "steps": [{"sub": ["[^a-zA-Z0-9]", " "]}'
        in caplog.text
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda text: list(text.strip().lower()),
        pytest.param(lambda text: list(re.sub(r"\s+", " ", text.rstrip(" \n"))), marks=pytest.mark.slow),
        pytest.param(lambda text: [c for c in text.lstrip("-^]\\ ") if c != "!"], marks=pytest.mark.slow),
        pytest.param(lambda text: text.strip().split(" "), marks=pytest.mark.slow),
    ],
)
def test_blanks_at_the_ends_are_removed_before_letters(function: Callable[[str], list[str]]) -> None:
    letters = read_vocabulary(["<pad>", "<unk>", *string.ascii_lowercase, " ", "-", "\\", ""])
    rules = choose_rules(letters, None, function, [], [" -good film ", "\n \\ a- \n", "\xa0bad!\x1c"])
    encoder = TextEncoder(rules, letters.tokens)
    for text in ("  a\t", "a", " \n", "a b ", "-^a", "\u3000a \u2028", "", " a  b!"):
        assert encoder.encode(text) == (encoder.look_up(function(text)) or [rules.empty_id]), text


def test_a_pattern_of_lines_is_not_one_of_the_ends_of_a_text() -> None:
    pattern = re.compile("^ +", re.MULTILINE)
    found = read_rules_in_code(lambda text: list(pattern.sub("", text)))
    assert found is None or found.unsaid


PUNCTUATION = {chr(code) for code in range(0x20, 0x30)} - {" "}


def kept_characters(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace() or c in "\u0301-'").split()


def dropped_characters(text: str) -> list[str]:
    return "".join(c for c in text if c not in PUNCTUATION).split()


def spaces_of_other_kinds(text: str) -> list[str]:
    return text.replace("\xa0", "\x85").replace("\u200b", "").replace("\U000e0001", "'").split()


@pytest.mark.parametrize("stems", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(kept_characters, marks=pytest.mark.slow),
        pytest.param(dropped_characters, marks=pytest.mark.slow),
        spaces_of_other_kinds,
    ],
)
def test_rules_that_are_printed_can_be_given_back(
    function: Callable[[str], list[str]], stems: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def stemmed(text: str) -> list[str]:
        return [word.rstrip("s") for word in function(text)]

    with contextlib.suppress(InputError) if stems else contextlib.nullcontext():
        choose_rules(KNOWN, None, stemmed if stems else function, [], ["movies"])
    shown = escape_line(caplog.text.replace("\n", " "))
    try:
        choose_rules(KNOWN, None, stemmed, [], ["movies"])
    except OptionCorrectionsError as error:
        shown += escape_line(f"{error} --rules {shlex.quote(error.nearest or '{}')}")
    encode = functools.partial(map, lambda word: WORDS.index(word) if word in WORDS else 1)
    texts = ["oil film", "oil, (film)", "it's great", "don't", "Oil", "\xa0good\xa0oil", "", "so bad (good) -"]
    pairs = [(text, list(encode(function(text))) or [0]) for text in texts]
    for rules in (make_implied_rules(KNOWN, "space"), TextRules("whitespace", steps=cleaning(("sub", r"\w", "")))):
        try:
            choose_rules(KNOWN, rules, None, pairs, [])
        except OptionCorrectionsError as error:
            shown += escape_line(f"{error} --rules {shlex.quote(error.changes.get('rules') or error.nearest or '{}')}")
    found = re.findall(r"--rules ('(?:[^']|'\"'\"')*')", shown)
    assert len(found) >= 2
    for one in found:
        assert parse_rules_json_with_name(shlex.split(one)[0])


@pytest.mark.slow
def test_a_place_that_no_rule_says_is_named_with_the_nearest_rules() -> None:
    def stemmed(text: str) -> list[str]:
        return [word.rstrip("s") for word in re.sub("[^a-z ]", "", text.lower()).split() if word not in STOP_WORDS]

    found = read_rules_in_code(stemmed)
    assert found is not None
    assert found.steps == ("lowercase", ("sub", "[^a-z ]", ""))
    assert re.search(r"test_rules_of_functions\.py, line \d+: word.rstrip\('s'\)$", found.unsaid[0])
    with pytest.raises(InputError, match=r"rstrip.*\"sub\": \[.*stop_words.*--tokenizer external"):
        choose_rules(KNOWN, None, stemmed, [], ["movies"])


def test_the_line_that_calls_a_library_is_named_and_all_else_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A library may lie outside of Python's own folders.
    Path("lib/fixer-1.0.dist-info").mkdir(parents=True)
    Path("lib/fixer.py").write_text("def fix(text):\n    return text.translate(open('x'))[nothing]\n")
    Path("own.py").write_text("def change(text):\n    return nothing[text]\n")
    Path("split.py").write_text(
        "import fixer\nfrom own import change\n\ndef words(text):\n"
        "    text = fixer.fix(text)  # expands\n    text = change(text)\n    return text.lower().split()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")
    found = read_rules_in_code(load_tokenizer_function("split.py:words"))
    assert found is not None
    assert found.unsaid == ("split.py, line 5: fixer.fix(text)", "own.py, line 2: return nothing[text]")
    assert (found.steps, found.tokenizer) == (("lowercase",), "whitespace")


def test_a_copied_line_is_named_by_its_place_in_the_owners_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("x = 1\n\ndef cut(text):\n    y = 2\n    return [w.rstrip('s') for w in text.split()]\n")
    code = "def words(text):\n    return [w.rstrip('s') for w in text.split()]\n"
    written = write_code_file(Path("out"), "words", code, Path("own.py"))
    found = read_rules_in_code(load_tokenizer_function(f"{written}:words"))
    assert found is not None
    assert found.unsaid == ("own.py, line 5: w.rstrip('s')",)


def test_words_that_no_code_names_are_not_proposed_as_stop_words() -> None:
    hidden = eval("lambda text: [w for w in text.lower().split() if w not in ('oil', 'so')]")  # noqa: S307 - no source
    with pytest.raises(OptionCorrectionsError, match="oil") as refused:
        choose_rules(KNOWN, None, hidden, [], ["so oil is good"])
    assert "stop" not in str(refused.value)
    assert "stop" not in refused.value.nearest


FULL = {"u": "good", "thx": "great"}


def a_loop_with_conditions(text: str) -> list[str]:
    """The function of a reader's script."""
    text = "".join([c for c in text.lower() if c not in '"#$-[]^'])
    kept = []
    for word in text.split():
        if (word[0] != "@") and ("http" not in word) and (not word.isdigit()):
            kept.append(word)
    return kept


def joined_conditions(text: str) -> list[str]:
    return [w for w in text.split() if ("http" not in w) & (w[:1] != "@") & (~w.isdigit())]


def no_beginning(text: str) -> list[str]:
    return [w for w in text.lower().split() if not w.startswith("@") and not (w == "rt" or "&" in w)]


# Python 3.12 and newer warn of `~` on a bool.
@pytest.mark.filterwarnings("ignore:Bitwise inversion:DeprecationWarning")
@pytest.mark.parametrize(
    ("function", "steps", "places"),
    [
        pytest.param(
            a_loop_with_conditions,
            ["lowercase", '["#$\\-\\[\\]\\^]', r"@\S*", r"http\S*", r"\b\d+\b"],
            ["word[0] != '@'", "'http' not in word", "not word.isdigit()"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            joined_conditions,
            [r"http\S*", r"@\S*", r"\b\d+\b"],
            ["'http' not in w", "w[:1] != '@'", "not w.isdigit()"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            no_beginning, ["lowercase", r"@\S*", r"\S*\&\S*"], ["not w.startswith('@')"], marks=pytest.mark.slow
        ),
        (lambda text: [FULL.get(w, w) for w in text.split()], [], ["FULL.get(w, w) (a dict of 2 words"]),
    ],
)
def test_a_condition_on_words_that_no_rule_says_exactly_is_named(
    function: Callable[[str], Any], steps: list[str], places: list[str]
) -> None:
    found = read_rules_in_code(function)
    assert found is not None
    assert [step if isinstance(step, str) else step[1] for step in found.steps] == steps
    assert [place.partition(": ")[2][: len(said)] for place, said in zip(found.unsaid, places, strict=True)] == places
    assert found.stop_words == (("rt",) if function is no_beginning else ())
    with pytest.raises(InputError, match=re.escape(places[0])) as caught:
        choose_rules(KNOWN, None, function, [], ["@oil http://x.y 10, oil@x u thx 7 7"])
    # The nearest rules are those of the code, though others agree on as many made texts.
    assert all(json.dumps(step)[1:-1] in str(caught.value) for step in steps[1:])
    assert ".." not in str(caught.value).replace("...", "")


def test_the_command_for_a_function_that_no_rules_say_keeps_the_given_widths() -> None:
    given = TextRules("whitespace", min_width=9, max_width=9)
    with pytest.raises(OptionCorrectionsError) as caught:
        choose_rules(KNOWN, given, lambda text: text.split()[::-1], [], ["oil film"])
    assert json.loads(caught.value.changes["rules"] or "") == {"tokenizer": "external", "min_width": 9, "max_width": 9}


@pytest.mark.slow
def test_a_place_that_no_compared_text_shows_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_rules(KNOWN, None, lambda text: [FULL.get(w, w) for w in text.split()], [], ["oil"])
    assert re.search(r"FULL\.get\(w, w\) \(a dict of 2 .*--pairs", caplog.text)
    caplog.clear()
    assert choose_rules(KNOWN, None, OwnTokenizer("[^a-zA-Z0-9]"), [], [])
    assert "isdigit" not in caplog.text


def a_condition_on_a_text(text: str) -> list[str]:
    if text.startswith("RT "):
        text = text[3:]
    return text.split()


def a_choice_by_a_text(text: str) -> list[str]:
    text = text.split(" ::: ")[1] if " ::: " in text else text
    return text.split()


def a_loop_with_a_name_for_words(text: str) -> list[str]:
    kept = []
    for word in text.split():
        if word in FULL:
            kept.append("name")
        else:
            kept.append(word)
    return kept


def a_match_of_the_beginning(text: str) -> list[str]:
    match text[:3]:
        case "RT ":
            text = text[3:]
    return text.split()


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (a_condition_on_a_text, "text.startswith"),
        (a_choice_by_a_text, ":::"),
        (a_loop_with_a_name_for_words, "word in FULL"),
        (lambda text: ["name" if w in FULL else w for w in text.split()], "in FULL"),
        (a_match_of_the_beginning, "match text"),
        (lambda text: re.sub(r"http\S+", "", text, count=16).split(), "re.sub"),
        (lambda text: re.sub("é+", "", text, flags=re.ASCII).split(), "re.sub"),
    ],
)
def test_a_condition_that_no_compared_text_meets_is_named(
    function: Callable[[str], list[str]], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_rules(KNOWN, None, function, [], ["oil"])
    assert f"{place}" in caplog.text.partition("No text rule does exactly")[2]


def test_a_condition_that_ordinary_texts_do_not_meet_is_not_named() -> None:
    def split(text: Any) -> list[str]:
        assert text is not None
        if not isinstance(text, str) or text is None or text == "" or len(text) == 0 or not text.strip():
            return []
        return [word if word in KNOWN.tokens else "<unk>" for word in text.split()]

    found = read_rules_in_code(split)
    assert found is not None
    assert not found.unsaid


@pytest.mark.parametrize(
    "function",
    [
        lambda text: re.sub("^rt ", "", text.strip()).split(),
        lambda text: re.sub(r"\s+a\s+", " ", text.strip()).split(),
        lambda text: text.strip().replace(" the ", " ").split(),
        lambda text: re.sub("<.*?>", " ", text, flags=re.DOTALL).split(),
        lambda text: re.sub(r"\.|[.<]x.?\n", " ", text, flags=re.DOTALL).split(),
    ],
)
def test_white_space_at_the_ends_and_in_a_pattern_are_as_in_the_code(function: Callable[[str], list[str]]) -> None:
    encoder = TextEncoder(choose_rules(KNOWN, None, function, [], []), WORDS)
    for text in (" rt oil", "rt oil", "\na good", " the oil the good ", "oil<b\n>", "oil .x\n.x-\n", "good<x\n\nbad"):
        assert encoder.tokens(text) == function(text), text


def test_white_space_at_the_ends_is_not_named_where_it_has_no_effect() -> None:
    def split(text: str) -> list[str]:
        text = re.sub(r"http\S+|@\w+", "", text.strip().lower())
        return re.sub("[^a-z']+", " ", re.sub(r"\d", "", text)).strip().split()

    found = read_rules_in_code(split)
    assert found is not None
    assert [step[1] for step in found.steps[1:]] == [r"http\S+|@\w+", r"\d", "[^a-z']+"]


def test_a_comparison_of_a_part_of_a_word_is_not_a_stop_word() -> None:
    found = read_rules_in_code(lambda text: [w for w in text.split() if w[-1] not in {"s", "."} and w[1:] != "x"])
    assert found is not None
    assert found.stop_words == ()
    assert len(found.unsaid) == 2


def test_given_rules_are_compared_on_made_texts() -> None:
    rules = TextRules("whitespace", steps=cleaning(("sub", "[^a-z]", " ")))
    with pytest.raises(InputError, match=r"'1'.*nothing more"):
        choose_rules(KNOWN, rules, lambda text: re.sub("[^a-z0-9]", " ", text.lower()).split(), [], ["oil"])


def test_a_difference_at_rare_characters_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rules = TextRules("whitespace", steps=cleaning("remove_punctuation"))
    assert choose_rules(
        KNOWN, rules, lambda text: re.sub(r"[^\w\s]", "", text.lower()).replace("_", "").split(), [], []
    )
    assert "rare characters" in caplog.text


LETTERS = read_vocabulary([*"<?abcdefghijklmnopqrstuvwxyz "])


def test_an_error_for_an_unknown_token_is_told_and_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    ids = {letter: i for i, letter in enumerate(LETTERS.tokens)}
    rules = choose_rules(LETTERS, None, lambda text: [ids[letter] for letter in text], [], ["oil", "Oil \u732b"])
    assert isinstance(rules, TextRules)
    assert (rules.tokenizer, rules.lowercase) == ("characters", False)
    compared = list_compared_texts(lambda text: [ids[letter] for letter in text], LETTERS, ["oil", "Oil \u732b"])
    assert "oil" in compared
    assert "Oil \u732b" not in compared
    assert "raises an error for tokens" in caplog.text
    assert "leaves them out" in caplog.text


def test_an_error_on_a_text_of_known_tokens_is_refused() -> None:
    ids = {letter: i for i, letter in enumerate(LETTERS.tokens) if letter != "o"}
    with pytest.raises(InputError, match="KeyError"):
        choose_rules(LETTERS, None, lambda text: [ids[letter] for letter in text], [], ["oil"])


@pytest.mark.parametrize(
    ("keeps", "written"),
    [
        (lambda word: word not in STOP_WORDS, '"stop_words": ["a", "of", "the"]'),
        pytest.param(lambda word: len(word) > 1, '{"sub": ["\\\\b\\\\w{1,1}\\\\b", ""]}', marks=pytest.mark.slow),
    ],
)
def test_pairs_show_the_words_that_are_left_out(keeps: Callable[[str], bool], written: str) -> None:
    def encode(text: str) -> list[int]:
        return [WORDS.index(word) if word in WORDS else 1 for word in text.lower().split() if keeps(word)]

    texts = [
        "the film",
        "a good film of oil",
        "The a of",
        "bad the bad x film",
        "of oil",
        "great y",
        "so a film",
        "oil a",
    ]
    texts += ["what a film", "what the film", "x of it", "so it goes", "goes x y"]
    with pytest.raises(InputError, match=f"all {len(texts)} texts") as caught:
        choose_rules(KNOWN, TextRules("whitespace", unknown_id=1), None, [(text, encode(text)) for text in texts], [])
    assert written in str(caught.value)


@pytest.mark.slow
def test_words_beyond_a_cut_are_not_taken_for_stop_words() -> None:
    letters = [*" !a7-<_Z\u00e9", *(chr(0x4E00 + i) for i in range(400))]
    known = read_vocabulary(["<unk>", "<pad>", "\n", *letters])
    drawn = random.Random(3)
    texts = ["".join(drawn.choices(letters, k=drawn.randrange(4, 20))) + "!a 7Z" for _ in range(300)]
    texts[5], texts[250] = f"{texts[5][:3]}\n{texts[5][3:6]}", f"{texts[250][:2]}\n{texts[250][2:5]}"

    def encode(text: str) -> list[int]:
        return ([known.tokens.index(letter) for letter in text.replace("\n", "")] + [1] * 12)[:12]

    pairs = [(text, encode(text)) for text in texts]
    found, agreed = find_rules_from_ids(TextRules(unknown_id=0, empty_id=0, padding_id=1), known.tokens, pairs)
    assert (found.tokenizer, found.max_width, agreed) == ("characters", 12, 300), found
    assert set(found.stop_words) <= {"\n"}
    # Where one text more cannot be said, the other words still do not become stop words.
    pairs[7] = (texts[7], encode(texts[8]))
    found, agreed = find_rules_from_ids(TextRules(unknown_id=0, empty_id=0, padding_id=1), known.tokens, pairs)
    assert set(found.stop_words) <= {"\n"}
    assert agreed >= 297


LENGTHS = ("the film is good", "so bad", "oil", "a great movie of oil in a cafe so bad")


@pytest.mark.slow
def test_a_function_of_tokens_and_padded_ids_give_the_rules_together(caplog: pytest.LogCaptureFixture) -> None:
    def encode(text: str) -> list[int]:
        known = [WORDS.index(word) if word in WORDS else 1 for word in stop_words_and_lengths(text)]
        return ([0] * (6 - len(known)) + known)[:6]

    pairs = [
        (text, encode(text)) for text in ("the film is good", "so bad", "oil", "a great movie of oil in a cafe so bad")
    ]
    rules = choose_rules(KNOWN, None, stop_words_and_lengths, pairs, [])
    assert isinstance(rules, TextRules)
    assert (rules.min_width, rules.max_width, rules.pad_side) == (6, 6, "left")
    assert "The ids of your 4 texts" in caplog.text
    # The same rules, once stated, are compared with both.
    assert choose_rules(KNOWN, rules, stop_words_and_lengths, pairs, []) == rules


@pytest.mark.slow
def test_ids_of_many_texts_give_the_rules_that_nobody_has_stated(caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"Oil, {word}! film{i}" for i, word in enumerate(WORDS[2:12] * 3)]

    def encode(text: str) -> list[int]:
        return [WORDS.index(word) if word in WORDS else 1 for word in re.findall(r"[\w']+", text.lower())]

    pairs = [(text, encode(text)) for text in texts]
    rules = choose_rules(KNOWN, None, None, pairs, [])
    assert TextEncoder(rules, KNOWN.tokens).encode("GOOD,film") == [4, 3]
    assert "The ids of your 30 texts" in caplog.text
    assert "No tokenizer is named" not in caplog.text
    # No text has a link, so that they do not show whether links are left out.
    assert re.search("Other rules agree.*differs at", caplog.text)
    with pytest.raises(InputError, match="30 texts"):
        choose_rules(KNOWN, TextRules(unknown_id=1), None, pairs, [])
    with pytest.raises(InputError, match="5 texts"):
        choose_rules(KNOWN, None, None, pairs[:5], [])


def shout_less(text: str) -> list[str]:
    return re.sub(r"([A-Z])\1+", lambda found: found[1].upper() + "a long end of it", text, flags=re.I).split()


def test_code_without_a_rule_is_shown_as_it_is_written() -> None:
    found = read_rules_in_code(shout_less)
    assert found is not None
    assert r"re.sub('([A-Z])\\1+', lambda" in found.unsaid[0]
    assert found.unsaid[0].endswith(" ...")
