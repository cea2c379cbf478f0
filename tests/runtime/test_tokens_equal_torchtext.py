"""The tokens of a text, compared with torchtext's own functions and with a transcription of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules, basic_english, make_ngrams_of

ROOT = Path(__file__).parents[2]
WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
PIECES = [
    *"'\".,()!?;:<>/\\ -#$&0aZ",
    *WHITE_SPACE,
    *"İıßẞΣσςŉǰΐԵΈﬁéÉ\u0301\u0307\u0000\ufeff\u200b\u200d\ud800\udfff😀中",
    "<br />", "<BR />", "<br/>", "<br  />", "br", "<br", "/>", "<b\"r />", "'s", "...", "b\u0130r", "Wall St.",
]  # fmt: skip
STRINGS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.text(st.characters(codec=None), max_size=40),
    st.text(max_size=80),
)

# torchtext 0.18, torchtext/data/utils.py, `_basic_english_normalize`.
TRANSCRIBED = [
    (r"\'", " '  "), (r"\"", ""), (r"\.", " . "), (r"<br \/>", " "), (r",", " , "), (r"\(", " ( "), (r"\)", " ) "),
    (r"\!", " ! "), (r"\?", " ? "), (r"\;", " "), (r"\:", " "), (r"\s+", " "),
]  # fmt: skip


def transcribed_basic_english(text: str) -> list[str]:
    text = text.lower()
    for pattern, replacement in TRANSCRIBED:
        text = re.sub(pattern, replacement, text)
    return text.split()


@pytest.fixture(scope="session")
def torchtext_utils() -> ModuleType:
    """torchtext/data/utils.py, loaded by its path: importing torchtext needs a torch of its own time."""
    try:
        files = importlib.metadata.files("torchtext") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the torchtext wheel is not installed; the transcription of its function is compared in any case")
    path = next(Path(str(f.locate())) for f in files if f.as_posix() == "torchtext/data/utils.py")
    spec = importlib.util.spec_from_file_location("torchtext_data_utils", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(max_examples=examples(100, 3000), deadline=None)
@given(STRINGS)
def test_basic_english_equals_the_transcription_of_torchtexts_replacements(text: str) -> None:
    assert basic_english(text) == transcribed_basic_english(text)


@settings(max_examples=examples(100, 3000), deadline=None)
@given(text=STRINGS)
def test_basic_english_equals_torchtexts_own_function(torchtext_utils: ModuleType, text: str) -> None:
    assert basic_english(text) == torchtext_utils._basic_english_normalize(text)


def test_the_transcription_is_torchtexts_list(torchtext_utils: ModuleType) -> None:
    assert [(p.pattern, r) for p, r in torchtext_utils._patterns_dict] == TRANSCRIBED


# The second folder holds news texts, where it is.
@pytest.mark.parametrize("folder", [ROOT / "tests" / "fixtures", ROOT.parent / "shared" / "fixtures"])
def test_basic_english_equals_what_torchtext_wrote(folder: Path) -> None:
    path = folder / "torchtext018" / "basic_english.jsonl"
    if not path.is_file():
        pytest.skip("the news texts are not here")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 20
    assert [row["text"] for row in rows if basic_english(row["text"]) != row["tokens"]] == []


@settings(max_examples=examples(35, 1000), deadline=None)
@given(tokens=st.lists(st.text(max_size=3), max_size=12), ngrams=st.integers(1, 15))
def test_ngrams_equal_torchtexts_iterator(torchtext_utils: ModuleType, tokens: list[str], ngrams: int) -> None:
    assert make_ngrams_of(tokens, ngrams) == list(torchtext_utils.ngrams_iterator(tokens, ngrams))


def test_ngrams_follow_the_tokens_shortest_first() -> None:
    assert make_ngrams_of(["here", "we", "are"], 3) == ["here", "we", "are", "here we", "we are", "here we are"]


def test_ngrams_longer_than_any_text_cost_nothing() -> None:
    assert make_ngrams_of(["a", "b"], 10**12) == ["a", "b", "a b"]


@pytest.mark.parametrize(
    ("rules", "text", "ids"),
    [
        (TextRules(), "B a x", [2, 1, 0]),
        (TextRules(), "", [0]),
        (TextRules(unknown_id=None, empty_id=3), "x y", [3]),
        (TextRules(unknown_id=None), "a x b", [1, 2]),
        (TextRules(max_tokens=2), "a b a", [1, 2]),
        (TextRules(max_tokens=2, ngrams=2), "a b a", [1, 2, 4]),
        (TextRules(tokenizer="whitespace", lowercase=False), "a B b.", [1, 0, 0]),
        (TextRules(tokenizer="whitespace"), "a B\u2003b", [1, 2, 2]),
        (TextRules(tokenizer="characters"), "aB ", [1, 2, 5]),
        (TextRules(tokenizer="characters", lowercase=False, unknown_id=3), "aB ", [1, 3, 5]),
        (TextRules(max_tokens=1, unknown_id=None, empty_id=4), "x a", [4]),
    ],
)
def test_a_text_becomes_ids_by_its_rules(rules: TextRules, text: str, ids: list[int]) -> None:
    assert TextEncoder(rules, ["<unk>", "a", "b", "<pad>", "a b", " "]).encode(text) == ids


@settings(max_examples=examples(50, 1000), deadline=None)
@given(
    text=STRINGS,
    tokenizer=st.sampled_from(["basic_english", "whitespace", "characters"]),
    unknown=st.sampled_from([0, None]),
    ngrams=st.integers(1, 3),
    most=st.sampled_from([None, 1, 5]),
)
def test_no_text_becomes_an_empty_or_foreign_id_list(
    text: str, tokenizer: str, unknown: int | None, ngrams: int, most: int | None
) -> None:
    rules = TextRules(tokenizer=tokenizer, unknown_id=unknown, ngrams=ngrams, max_tokens=most, empty_id=2)
    ids = TextEncoder(rules, ["<unk>", "a", "<pad>"]).encode(text)
    assert ids
    assert all(i in (0, 1, 2) for i in ids)


@settings(max_examples=examples(50, 1500), deadline=None)
@given(
    texts=st.lists(STRINGS, max_size=70),
    tokenizer=st.sampled_from(["basic_english", "whitespace", "characters"]),
    lowercase=st.booleans(),
    unknown=st.sampled_from([0, 5, None]),
    ngrams=st.sampled_from([1, 1, 2]),
    most=st.sampled_from([None, 1, 5]),
)
def test_many_texts_encoded_at_once_become_what_each_becomes_alone(
    texts: list[str], tokenizer: str, lowercase: bool, unknown: int | None, ngrams: int, most: int | None
) -> None:
    rules = TextRules(
        tokenizer=tokenizer,
        lowercase=lowercase or tokenizer == "basic_english",
        unknown_id=unknown,
        ngrams=ngrams,
        max_tokens=most,
        empty_id=7,
    )
    vocabulary = ["<unk>", "a", "A", ".", "br", "'", " ", "σ", "ς", "\0", "中", "st", "wall"]
    encoder = TextEncoder(rules, vocabulary)
    ids, lengths = encoder.encode_all(texts)
    assert (ids.dtype, lengths.dtype) == (np.int64, np.int64)
    rows = [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])] if texts else []
    assert rows == [encoder.encode(text) for text in texts]
    assert [encoder.encode_row(text).tolist() for text in texts] == [[row] for row in rows]


def test_a_text_of_upper_case_letters_is_not_taken_for_the_end_of_one() -> None:
    encoder = TextEncoder(TextRules(), ["<unk>", "a", "A"])
    ids, lengths = encoder.encode_all(["A", "A A", "", "Σ A"])
    assert (ids.tolist(), lengths.tolist()) == ([1, 1, 1, 0, 0, 1], [1, 2, 1, 2])
    cased = TextEncoder(TextRules(tokenizer="whitespace", lowercase=False), ["<unk>", "a", "A"])
    assert cased.encode_all(["A", "a A"])[0].tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tokenizer": "spacy"}, "tokenizer 'spacy' is unknown"),
        ({"lowercase": False}, "always lower-cases"),
        ({"ngrams": 0}, "ngrams is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"empty_id": -1}, "is -1, but"),
        ({"unknown_id": -1}, "is -1, but"),
        ({"padding_id": -1}, "is -1, but"),
    ],
)
def test_text_rules_out_of_range_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TextRules(**values)  # type: ignore[arg-type]


def test_a_vocabulary_that_holds_a_token_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'b' twice"):
        TextEncoder(TextRules(), ["a", "b", "b", "a"])
