"""The engine in C makes the ids of subwords that the Python rules make, of any text, by any rules, in bounded time."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
import subword_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing_tools import packed_bundle, packed_manifest, program_of_folder
from slow_case_sampling import examples, mostly_slow

from pocketrnn import Classifier
from pocketrnn.bundle import packed_subwords
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import PackedProgram, encode_packed_file
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn.text import Keep, Replace, SubwordRules, TextEncoder
from pocketrnn.text.code_point_patterns import Run, RunPart
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import Pattern, PrependTo, SplitAt, SplitAtRuns, SplitAtText
from pocketrnn.text.subword_steps import Bytes, Fold, LowercaseEach, Normalize, Prepend, Strip, Surround, Table
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.packing import pack
from pocketrnn_native import Packed

try:
    from tokenizer_families import families, texts, with_added_tokens

    FAMILIES = families()
except ImportError:
    FAMILIES = {}
try:
    from sentencepiece_models import MODELS, odd_clusters, trained, with_table

    TABLES = ("nmt_nfkc", "nmt_nfkc_cf")
except ImportError:
    MODELS, TABLES = {}, ()

NAMES = sorted(subword_vectors.FILES)


@cache
def small(tokens: int) -> tuple[Manifest, PackedProgram]:
    """A bundle of so many ids, for rules to be put into its packed file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_maker.make(
            Path(folder) / "small", vocabulary=[f"w{i}" for i in range(tokens)], lengths=False, torchscript=False,
            texts=("w1",), embedding=2, hidden=1,
        )  # fmt: skip
        return program_of_folder(bundle)


def engine_of(rules: SubwordRules, tokens: tuple[str, ...]) -> Packed:
    # An embedding may have more rows than there are tokens: one of each power of two is made.
    manifest, program = small(1 << (len(tokens) - 1).bit_length())
    made = replace(packed_manifest(manifest, program), input=TextInput(rules, tokens))
    return Packed(encode_packed_file(made, program))


@cache
def both(name: str) -> tuple[TextEncoder, Packed]:
    rules, tokens = subword_vectors.FILES[name]
    return TextEncoder(rules, tokens), engine_of(rules, tokens)


# --- Any text ---

_PARTS = tuple(dict.fromkeys(piece for _, tokens in subword_vectors.FILES.values() for piece in tokens))
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(_PARTS),
        st.sampled_from(subword_vectors.TEXTS),
        st.text(max_size=8),
        st.text("ab \u0301\u0323\u1100\u1161\u11a8\uac00e\u00e9'sST1[]-\n\u2581\ud83d\ude00", max_size=12),
    ),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=examples(15, 1000), deadline=None)
@given(text=TEXTS)
def test_the_engine_makes_the_ids_of_the_rules(name: str, text: str) -> None:
    reference, engine = both(name)
    assert engine.encode(text) == reference.encode(text)


@pytest.mark.parametrize("name", ["subwords-unigram", "subwords-unigram-bytes"])
def test_a_file_without_a_trie_gives_the_same_ids(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, tokens = subword_vectors.FILES[name]
    reference, with_trie = both(name)
    monkeypatch.setattr(packed_subwords, "encode_pieces_trie", lambda _: b"")
    without = engine_of(rules, tokens)
    for text in (*subword_vectors.TEXTS, *map("".join, zip(_PARTS, _PARTS[1:], _PARTS[2:], strict=False))):
        assert without.encode(text) == with_trie.encode(text) == reference.encode(text)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_engine_makes_the_ids_of_the_families(name: str) -> None:
    assert_equal_ids_of_family(name, examples(40, 100))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_engine_makes_the_ids_of_the_families_on_many_texts(name: str) -> None:
    assert_equal_ids_of_family(name, 20_000)


def assert_equal_ids_of_family(name: str, number: int) -> None:
    from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json

    assert_equal_ids(read_tokenizer_json(FAMILIES[name].to_str(), name), number)


def assert_equal_ids(made: Any, number: int, *more: str) -> None:
    reference, engine = TextEncoder(made.rules, made.tokens), engine_of(made.rules, tuple(made.tokens))
    for text in (*texts(number, seed=11), *more):
        assert engine.encode(text) == reference.encode(text), ascii(text)


@pytest.mark.skipif(not FAMILIES, reason="tokenizers is not installed")
@pytest.mark.parametrize("number", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_engine_finds_added_tokens_as_the_rules_do(number: int) -> None:
    from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json

    for seed in range(number):
        tokenizer, asked = with_added_tokens(seed)
        try:
            made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
        except InputError:
            continue
        assert_equal_ids(made, 0, *asked)


@pytest.mark.parametrize("name", mostly_slow(list(MODELS), 4))
def test_the_engine_makes_the_ids_of_sentencepiece(name: str) -> None:
    assert_equal_ids_of_model(name, examples(40, 100))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_engine_makes_the_ids_of_sentencepiece_on_many_texts(name: str) -> None:
    assert_equal_ids_of_model(name, 20_000)


def assert_equal_ids_of_model(name: str, number: int) -> None:
    from pocketrnn_export.vocabularies.sentencepiece_model import read_sentencepiece

    made = read_sentencepiece(trained(**MODELS[name]), name)
    assert_equal_ids(made, number, " ".join(texts(600, seed=7)))


@pytest.mark.parametrize("rule", TABLES)
@pytest.mark.parametrize("number", [400, pytest.param(50_000, marks=pytest.mark.slow)])
def test_the_engine_follows_a_table_by_clusters(rule: str, number: int) -> None:
    from pocketrnn_export.vocabularies.sentencepiece_model import read_charsmap
    from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json

    made = read_tokenizer_json(with_table(read_charsmap(trained(normalization_rule_name=rule))).to_str(), rule)
    assert_equal_ids(made, 100, *odd_clusters(number))


# --- Any rules ---

_LETTERS = ("az", "AZ", "\u00c0\u4fff")
_SET = st.sampled_from(((" ",), ("ac",), ("'", "-"), ("\u0300\u036f",), ("\0\x1f", "\u200b"), _LETTERS))
_BY = st.sampled_from(("", " ", "a", "b\u0301", "\u2581", "--"))
_WHAT = st.sampled_from(("a", " ", "--", "ab", "aa", "\u00e9", "\u2581", "e\u0301"))
_HOW = st.sampled_from(("removed", "isolated", "with_previous", "with_next", "runs"))
_INERT = st.sampled_from((subword_vectors.INERT, (*subword_vectors.INERT, "\u0301", "e", "\u1161\u1170")))
_PATTERNS = st.sampled_from(("gpt2", "clip", "cl100k"))
_CASED = {"capitals": ("AZ", "\u00c0\u00d6"), "small": ("az", "\u00df\u00ff"), "marks": ("\u0300\u036f",)}
_PUNCTUATION = ("!/", ":@", "[`", "{~", "\u00a1\u00bf", "\u2010\u2027")
_FLAGS = st.booleans()
_MANY = st.sampled_from(((1, None), (1, 1), (1, 3), (2, None), (3, 3), (2, 4)))
_MAYBE = st.one_of(st.just(()), _SET)
_PARTS_OF_RUNS = st.lists(st.builds(RunPart, _SET, st.integers(0, 2), st.sampled_from((None, 2))), max_size=3).map(
    tuple
)
_RUNS = st.one_of(
    st.builds(lambda ranges, before, many: Run(ranges, before, *many), _SET, _MAYBE, _MANY),
    st.builds(
        lambda ranges, before, many, ends_at, not_before, then: Run(ranges, before, *many, ends_at, not_before, then),
        _SET, _MAYBE, _MANY, _MAYBE, _MAYBE, _PARTS_OF_RUNS,
    ),
)  # fmt: skip
_STEPS = st.one_of(
    st.builds(Replace, _WHAT, _BY),
    st.builds(Keep, _SET, _BY),
    st.builds(Normalize, st.sampled_from(("NFC", "NFD", "NFKC", "NFKD")), _INERT),
    st.builds(LowercaseEach),
    st.builds(Surround, _SET, st.sampled_from((" ", "ab"))),
    st.builds(Strip, st.sampled_from(("left", "right", "both")), st.sampled_from(("", "ab\u0301", "-"))),
    st.builds(Prepend, _WHAT),
    st.builds(Fold, _SET, st.sampled_from((1, 2)), _BY),
    st.sampled_from(
        [step for rules, _ in subword_vectors.FILES.values() for step in rules.steps if isinstance(step, Table)]
    ),
)
_SPLITS = st.one_of(
    st.builds(SplitAt, _SET, _HOW),
    st.builds(SplitAtText, _WHAT, _HOW),
    st.builds(Pattern, _PATTERNS, st.just(_LETTERS), st.just(("09",)), st.integers(1, 3)),
    st.builds(
        Pattern,
        st.just("o200k"),
        st.just(_LETTERS),
        st.just(("09",)),
        st.integers(1, 3),
        contractions=_FLAGS,
        **{name: st.just(ranges) for name, ranges in _CASED.items()},
    ),
    st.builds(Pattern, st.just("deepseek"), st.just(_LETTERS), punctuation=st.just(_PUNCTUATION)),
    st.builds(SplitAtRuns, st.lists(_RUNS, min_size=1, max_size=3).map(tuple), _HOW, _FLAGS),
    st.builds(PrependTo, _WHAT),
    st.builds(Replace, _WHAT, _BY),
)


def drawn_token(draw: Any, number: int) -> AddedToken:
    after = draw(_FLAGS)
    return AddedToken(number, after, draw(_FLAGS), draw(_FLAGS), as_it_stands=after and draw(_FLAGS))


@st.composite
def some_rules(draw: Any) -> tuple[SubwordRules, tuple[str, ...]]:
    rules, tokens = subword_vectors.FILES[draw(st.sampled_from(NAMES))]
    last: list[tuple[Bytes, ...]] = [(Bytes(),) if draw(_FLAGS) else () for _ in range(2)]
    added = draw(st.lists(st.integers(0, len(tokens) - 1), max_size=5, unique=True))
    try:
        made = replace(
            rules,
            steps=(*draw(st.lists(_STEPS, max_size=4)), *last[0]),
            splits=(*draw(st.lists(_SPLITS, max_size=4)), *last[1]),
            added=tuple(drawn_token(draw, i) for i in added),
            cut_side=draw(st.sampled_from(("left", "right"))),
            max_tokens=draw(st.sampled_from((None, 1, 7))),
        )
    except InputError:
        return rules, tokens
    return made, tokens


@settings(max_examples=examples(12, 1000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=some_rules(), some=st.lists(TEXTS, min_size=1, max_size=examples(6, 12)))
def test_any_rules_make_the_same_ids(made: tuple[SubwordRules, tuple[str, ...]], some: list[str]) -> None:
    rules, tokens = made
    reference, engine = TextEncoder(rules, tokens), engine_of(rules, tokens)
    for text in some:
        assert engine.encode(text) == reference.encode(text), (ascii(text), rules)


@pytest.mark.parametrize(
    "form", ["NFC", pytest.param("NFKC", marks=pytest.mark.slow), pytest.param("NFD", marks=pytest.mark.slow)]
)
def test_a_letter_that_is_left_as_it_is_is_joined_with_no_mark(form: str) -> None:
    rules, tokens = subword_vectors.FILES["subwords-ranks"]
    rules = replace(rules, steps=(Normalize(form, ("e",)),), splits=())  # type: ignore[arg-type]
    reference, engine = TextEncoder(rules, tokens), engine_of(rules, tokens)
    for text in ("e\u0323", "ae\u0301\u0323a\u0301", "\u1eb9"):
        assert engine.encode(text) == reference.encode(text), ascii(text)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_mark_that_is_left_as_it_is_has_its_place_in_a_letter(form: str) -> None:
    rules, tokens = subword_vectors.FILES["subwords-ranks"]
    rules = replace(rules, steps=(Normalize(form, ("\u0301",)),), splits=())  # type: ignore[arg-type]
    reference, engine = TextEncoder(rules, tokens), engine_of(rules, tokens)
    for text in ("\u00c9\u0323", "e\u0301\u0323", "\u1eb8\u0301", "a\u0301\u0323\u00e9\u0301"):
        assert engine.encode(text) == reference.encode(text), ascii(text)


# --- Long words, and a bundle ---

_LONG = ("a", "abc", "\u00e9", "e\u0301\u0323", "\u4e2d", "1", "\U0001f600", "'", " ", "\n", "--")


@pytest.mark.parametrize("name", mostly_slow(list(NAMES), 4))
@pytest.mark.parametrize("part", ["ab", *(pytest.param(part, marks=pytest.mark.slow) for part in _LONG)])
def test_a_word_of_many_letters_takes_the_time_of_its_length(name: str, part: str) -> None:
    reference, engine = both(name)
    text = part * (10_000 // len(part))
    assert engine.encode(text) == reference.encode(text)
    start = time.perf_counter()
    engine.encode(part * (1_000_000 // len(part)))
    # Some tenths of a second; what grows with the square would take hours.
    assert time.perf_counter() - start < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subwords-wordpiece", "subwords-ranks", "subwords-clusters"])
def test_a_bundle_of_subwords_is_packed_and_answers_the_same(name: str, tmp_path: Path) -> None:
    rules, tokens = subword_vectors.FILES[name]
    bundle = bundle_maker.make(tmp_path / "bundle", rules=rules, vocabulary=tokens, torchscript=False)
    file = tmp_path / "made.prnn"
    assert pack(bundle, file).text.rules == rules
    packed, reference = Classifier.load(file), Classifier.load(bundle)
    assert packed.manifest.text.rules == reference.manifest.text.rules
    asked = [text for text in subword_vectors.TEXTS if "\ud800" not in text]
    np.testing.assert_allclose(packed.logits(asked), reference.logits(asked), atol=1e-5)
    with pytest.raises(PocketRNNError):
        packed.stream()


@pytest.mark.parametrize("name", ["subwords-gpt2", "subwords-unigram", "subwords-ranks", "subwords-clusters"])
def test_merges_scores_and_tables_stand_in_a_packed_file_once(name: str, tmp_path: Path) -> None:
    rules, tokens = subword_vectors.FILES[name]
    bundle = bundle_maker.make(tmp_path / "bundle", rules=rules, vocabulary=tokens, torchscript=False)
    content = packed_bundle(bundle)
    assert b'"merges"' not in content
    assert b'"scores"' not in content
    assert b'"ranks"' not in content
    assert content.count(b'"table"') == content.count(b'"table":""')
    (tmp_path / "made.prnn").write_bytes(content)
    assert Classifier.load(tmp_path / "made.prnn").manifest.text.rules == rules
