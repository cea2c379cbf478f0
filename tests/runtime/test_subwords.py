"""Subword rules encode texts as expected, also in a bundle; invalid rules are refused.

tests/exporter/test_tokenizer_json.py compares their ids with Hugging Face's library on many texts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_case_sampling import examples, mostly_slow

from pocketrnn import Classifier
from pocketrnn.errors import BundleError, InputError, short_repr
from pocketrnn.text import Keep, Replace, SubwordRules, TextEncoder, TextRules, make_rules_document, rules_of
from pocketrnn.text.subword_models import Bpe, Unigram, WholeWords, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import Pattern, PrependTo, SplitAt, SplitAtText
from pocketrnn.text.subword_steps import (
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    Surround,
    Table,
    make_subword_steps_function,
)

SPACES = SplitAt((" ",), "removed")
BERT = ("[UNK]", "[CLS]", "[SEP]", "un", "##able", "##a", "able", "a", "b", ",")
RULES = SubwordRules(
    WordPiece(most_characters=20),
    unknown_id=0,
    splits=(SPACES, SplitAt((",",), "isolated")),
    added=(AddedToken(1), AddedToken(2)),
    first_ids=(1,),
    last_ids=(2,),
)
# a b ab abc, with merges a b and ab c.
MERGED = ("<unk>", "a", "b", "c", "ab", "abc", "<0xC3>", "<0xA9>", "bc")


def ids(rules: SubwordRules, tokens: tuple[str, ...], text: str) -> list[int]:
    return TextEncoder(rules, tokens).encode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unable, able", [1, 3, 4, 9, 6, 2]),
        ("", [1, 2]),
        ("unx", [1, 0, 2]),
        ("un" + "a" * 30, [1, 0, 2]),
        ("a[SEP]b", [1, 7, 2, 8, 2]),
        ("una", [1, 3, 5, 2]),
    ],
)
def test_word_pieces_are_the_longest(text: str, expected: list[int]) -> None:
    assert ids(RULES, BERT, text) == expected


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "abc", [5]),
        ({}, "cab", [3, 4]),
        ({}, "a\u00e9\u00e9c", [1, 0, 0, 3]),
        ({"fuse_unknown": True}, "a\u00e9\u00e9c", [1, 0, 3]),
        ({"byte_fallback": True}, "a\u00e9", [1, 6, 7]),
        ({"byte_fallback": True}, "\u00fc", [0]),
        ({"whole_words": True}, "bc", [8]),
        ({}, "bc", [2, 3]),
    ],
)
def test_merges_are_done_in_their_order(options: dict[str, Any], text: str, expected: list[int]) -> None:
    rules = SubwordRules(Bpe((1, 2, 4, 3), **options), unknown_id=0)
    assert ids(rules, MERGED, text) == expected


def test_what_is_unknown_can_be_dropped() -> None:
    rules = SubwordRules(Bpe((1, 2)), unknown_id=None, empty_id=3)
    assert (ids(rules, MERGED, "xaby"), ids(rules, MERGED, "x")) == ([4], [3])


def test_the_best_sum_of_scores_wins_and_of_equal_ones_the_first() -> None:
    tokens = ("<unk>", "a", "b", "ab", "bb")
    rules = SubwordRules(Unigram((0.0, -1.0, -1.0, -1.5, -2.0)), unknown_id=0)
    assert ids(rules, tokens, "ab") == [3]
    assert ids(rules, tokens, "abb") == [3, 2]
    assert ids(rules, tokens, "axxb") == [1, 0, 2]
    # The path found first, from the left, is kept.
    assert ids(replace(rules, model=Unigram((0.0, -1.0, -1.0, -9.0, -2.0))), tokens, "bb") in ([2, 2], [4])


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (Normalize("NFKC"), "\ufb01", "fi"),
        (Normalize("NFC", ("\u0301",)), "e\u0301e\u0300", "e\u0301\u00e8"),
        (LowercaseEach(), "\u039f\u03a3 \u0130 \u1c89", "\u03bf\u03c3 i\u0307 \u1c8a"),
        (Surround(("\u4e00\u9fff",)), "a\u4e2d\u6587", "a \u4e2d  \u6587 "),
        (Strip("right"), " a\u3000\n", " a"),
        (Prepend("_"), "", ""),
        (Fold((" ",), 2, "_"), "a  b c    ", "a_b c_"),
        (Fold((" ", "\n"), 1, " "), "\n a\nb", " a b"),
        (Bytes(), "\u00e9\n", "\u00c3\u00a9\u010a"),
    ],
)
def test_a_step_does_what_it_says(step: Any, text: str, expected: str) -> None:
    assert make_subword_steps_function([step])(text) == expected
    rules = SubwordRules(WholeWords(), 0, steps=(step,))
    assert rules_of(json.loads(json.dumps(make_rules_document(rules)))) == rules


def charsmap(pairs: dict[str, str]) -> bytes:
    """A double array (darts-clone) with 256 units for each node, and the strings."""
    nodes: list[dict[int, int]] = [{}]
    ends: dict[int, str] = {}
    for key, by in pairs.items():
        at = 0
        for byte in key.encode():
            if byte not in nodes[at]:
                nodes[at][byte] = len(nodes)
                nodes.append({})
            at = nodes[at][byte]
        ends[at] = by
    strings = "\0".join(["", *ends.values(), ""]).encode()
    units = [0] * (256 * (len(nodes) + 1))
    places = [(0, 0, 0), *((256 * (i + 1) ^ b, b, child) for i, node in enumerate(nodes) for b, child in node.items())]
    for place, label, node in places:
        base = 256 * (node + 1)
        units[place] = label | (place ^ base) << 10 | (node in ends) << 8
        if node in ends:
            units[base] = strings.index(b"\0" + ends[node].encode() + b"\0") + 1 | 1 << 31
    trie = np.array(units, "<u4").tobytes()
    return len(trie).to_bytes(4, "little") + trie + strings


def test_a_table_replaces_the_longest_key_or_goes_by_clusters() -> None:
    table = charsmap({"ab": "1", "a": "2", "abc": "3", "\u00e9": "e", "a\u0301": "4", "\r\n": "5"})
    longest = make_subword_steps_function([Table(table)])
    assert [longest(text) for text in ("abcabax", "a\u0301\u00e9", "\r\n\r", "")] == ["312x", "4e", "5\r", ""]
    nothing = ("\U0010ffff",)
    sets = (("\u0300\u036f",), nothing, ("\n", "\r"), *[nothing] * 5)
    clusters = make_subword_steps_function([Table(table, sets)])
    # The shortest key that a cluster begins with stands for all of it.
    assert clusters("abc a\u0301 b\u0301") == "2bc 2 b\u0301"
    assert clusters("\u00e9\u0301\u0301\u0301 \r\n") == "e\u0301\u0301\u0301 5"
    rules = SubwordRules(WholeWords(), 0, steps=(Table(table, sets),))
    assert rules_of(json.loads(json.dumps(make_rules_document(rules)))) == rules


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, charsmap({"a": "b" * 19}), charsmap({"a": "b"})[:-9], b"\xff" * 64]
)
def test_a_damaged_table_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        Table(content)


def test_an_added_token_is_found_before_the_steps_or_behind_them() -> None:
    tokens = ("<unk>", "a", "B", "b")
    rules = SubwordRules(
        WholeWords(), 0, steps=(LowercaseEach(),), splits=(SPACES,), outside=(2,),
        added=(AddedToken(2, strip_left=True, strip_right=True),),
    )  # fmt: skip
    assert ids(rules, tokens, "a  B  a b") == [1, 2, 1, 3]
    late = replace(rules, added=(AddedToken(2, after_steps=True),))
    # The steps make b of both.
    assert ids(late, tokens, "a B") == ids(late, tokens, "a b") == [1, 2]


def test_something_is_put_before_the_first_word_only() -> None:
    tokens = ("<unk>", "_a", "a", "|")
    rules = SubwordRules(WholeWords(), 0, splits=(PrependTo("_", first=True), SPACES), added=(AddedToken(3),))
    assert ids(rules, tokens, "a a|a") == [1, 2, 3, 2]
    assert ids(rules, tokens, "|a") == [3, 2]


def test_ids_are_cut_before_the_frame_and_filled_up() -> None:
    assert ids(replace(RULES, max_tokens=1), BERT, "a b") == [1, 7, 2]
    assert ids(replace(RULES, max_tokens=1, cut_side="left"), BERT, "a b") == [1, 8, 2]
    assert ids(replace(RULES, min_width=5, padding_id=9, pad_side="left"), BERT, "a") == [9, 9, 1, 7, 2]
    assert [bool(RULES.explain_impossible_ids(some)) for some in ([7, 2], [1, 7], [1, 7, 2])] == [True, True, False]
    assert replace(RULES, max_tokens=4).sizes == (1, 6)


@given(st.text(max_size=40))
def test_a_lone_half_of_a_surrogate_pair_is_the_replacement_character(text: str) -> None:
    encoder = TextEncoder(SubwordRules(Bpe((1, 2), byte_fallback=True), 0), MERGED)
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert encoder.encode(text) == encoder.encode(joined)


def test_what_was_kept_of_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocketrnn.text.subword_encoder._MOST_KEPT", 2)
    encoder = TextEncoder(RULES, BERT)
    texts = ["unable able", "a b, a", "unable", "un a b able"] * 3
    assert [encoder.encode(text) for text in texts] == [TextEncoder(RULES, BERT).encode(text) for text in texts]


# --- In a bundle ---


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundle_maker.make(tmp_path / "subwords", rules=RULES, vocabulary=BERT)


def test_a_bundle_of_subwords_classifies(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    assert classifier.manifest.text.rules == RULES
    texts = ["unable, able", "", "nothing that is known", "a b"]
    together = classifier.logits(texts)
    alone = np.concatenate([classifier.logits([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_ids_that_are_ready_are_taken(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    assert classifier.predict([[1, 3, 4, 2]]) == classifier.predict(["unable"])
    with pytest.raises(InputError, match="does not begin"):
        classifier.predict([[3, 4, 2]])


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The bundle with another `text`, and a digest that fits."""
    document = json.loads((bundle / "classifier.json").read_text("utf-8"))
    change(document["text"])
    document["digest"] = "0" * 64
    content = json.dumps(document).encode()
    digest = hashlib.sha256(content).hexdigest()
    (bundle / "classifier.json").write_bytes(content.replace(b"0" * 64, digest.encode()))
    return bundle


def of_model(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda text: text.update(model=members)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.pop("model"), "model"),
        (lambda text: text.update(lowercase=True), "lowercase"),
        (of_model(kind="odd"), "kind"),
        (of_model(kind="bpe"), "merges"),
        (of_model(kind="bpe", merges=[7]), "merges"),
        (of_model(kind="bpe", merges=[7, 8]), "joins 'a'"),
        (of_model(kind="bpe", merges=[7, 99]), "99"),
        (of_model(kind="bpe", merges=[7, 8, 7, 8]), "twice"),
        (of_model(kind="bpe", merges=[7, -8]), "-8"),
        (of_model(kind="bpe", merges=["a", "b"]), "merges"),
        (of_model(kind="wordpiece", merges=[]), "merges"),
        (of_model(kind="wordpiece", prefix="#" * 99), "prefix"),
        (of_model(kind="unigram", scores=[1.0]), "scores"),
        (of_model(kind="unigram", scores=["a"] * 10), "scores"),
        (lambda text: text.update(first_ids=[99]), "99"),
        (lambda text: text.update(first_ids=[]), "first_ids"),
        (lambda text: text.update(outside=[99]), "99"),
        (lambda text: text.update(outside=[1, 1]), "twice"),
        (lambda text: text.update(added=[{"id": 1}, {"id": 1}]), "twice"),
        (lambda text: text.update(added=[{"id": 99}]), "99"),
        (lambda text: text.update(added=[{"id": 1, "odd": True}]), "odd"),
        (lambda text: text.update(steps=[{"normalize": "NFX"}]), "NFX"),
        (lambda text: text.update(steps=[{"normalize": "NFC", "strip": "left"}]), "step"),
        (lambda text: text.update(steps=[{"lowercase": True}]), "lowercase"),
        (lambda text: text.update(steps=[{"table": ["a"]}]), "table"),
        (lambda text: text.update(steps=[{"table": "not base64"}]), "base64"),
        (lambda text: text.update(steps=[{"table": "AAAAAAAA"}]), "table"),
        (lambda text: text.update(steps=[{"table": "BAAAAP////8="}]), "beyond its end"),
        (lambda text: text.update(steps=[{"keep": ["za"], "by": ""}]), "before it begins"),
        (lambda text: text.update(steps=[{"replace": "a", "by": "b" * 99}]), "64"),
        (lambda text: text.update(steps=[{"surround": ["az"], "by": "b" * 60}]), "64"),
        (lambda text: text.update(steps=[{"bytes": True}] * 2), "bytes"),
        (lambda text: text.update(splits=[{"at": ["az"], "how": "odd"}]), "how"),
        (lambda text: text.update(splits=[{"pattern": "gpt2", "letters": ["az"]}]), "split"),
        (lambda text: text.update(splits=[{"at": ["az"], "how": "removed"}, {"prepend": "_", "first": True}]), "first"),
        (lambda text: text.update(splits=[{"replace": "a", "by": "b" * 99}]), "64"),
        (lambda text: text.update(unknown_id=99), "99"),
        (lambda text: text.update(max_tokens=0), "max_tokens"),
        (lambda text: text.update(min_width=9, max_width=3), "min_width"),
    ],
)
def test_damaged_rules_are_refused_in_one_sentence(
    bundle: Path, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    with pytest.raises(BundleError, match=named):
        Classifier.load(rewritten(bundle, change))


def test_other_values_are_refused_in_python_too() -> None:
    for make in (
        lambda: Bpe([1, 2]),  # type: ignore[arg-type]
        lambda: Bpe((1, 2), prefix=7),  # type: ignore[arg-type]
        lambda: Unigram((float("nan"),)),
        lambda: Unigram((1.0,), byte_fallback=1),  # type: ignore[arg-type]
        lambda: WordPiece(most_characters=-1),
        lambda: SubwordRules("bpe", 0),  # type: ignore[arg-type]
        lambda: SubwordRules(Unigram((1.0,)), None),
        lambda: replace(RULES, splits=(Pattern("gpt2", (), ("09",)),)),
        lambda: replace(RULES, splits=(SplitAtText("", "removed"),)),
        lambda: replace(RULES, steps=(Keep((), ""),)),
        lambda: replace(RULES, steps=(Replace("", "a"),)),
        lambda: replace(RULES, steps=(Table(b""),)),
        lambda: AddedToken(-1),
        lambda: replace(RULES, first_ids=(True,)),
    ):
        with pytest.raises(InputError):
            make()


@pytest.mark.parametrize("value", [5, None, "09"])
@pytest.mark.parametrize(
    ("member", "document"),
    [
        ("splits", lambda value: {"pattern": "gpt2", "letters": ["az"], "numbers": value}),
        ("splits", lambda value: {"at_runs": [{"ranges": ["az"], "before": value}], "how": "removed"}),
        ("steps", lambda value: {"normalize": "NFC", "inert": value}),
        ("steps", lambda value: {"table": "BAAAAAAAAAAA", "kept": value}),
        ("steps", lambda value: {"table": "BAAAAAAAAAAA", "clusters": value}),
        ("steps", lambda value: {"table": "BAAAAAAAAAAA", "clusters": [value] * 8}),
    ],
)
def test_what_is_no_list_is_refused_where_a_list_is_wanted(
    member: str, document: Callable[[object], dict[str, Any]], value: object
) -> None:
    with pytest.raises(InputError, match=re.escape(short_repr(value))):
        rules_of({**make_rules_document(RULES), member: [document(value)]})


def test_a_bundle_of_words_is_loaded_without_what_subwords_need() -> None:
    code = (
        "import sys\n"
        "from pocketrnn import Classifier\n"
        "Classifier.load('ag_news').predict(['oil'])\n"
        "print([name for name in sys.modules if 'subword' in name or 'charsmap' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_members_of_rules_of_words_are_written_in_their_order() -> None:
    assert list(make_rules_document(TextRules(first_id=1)))[:3] == ["tokenizer", "lowercase", "ngrams"]


def summed_over_all(model: Unigram, tokens: tuple[str, ...], text: str) -> list[int]:
    """The ids of a whole text that is one word, as docs/format.md says it: sums in single precision unless `exact`."""
    number = float if model.exact else np.float32
    penalty = number(number(min(model.scores[1:])) - number(10))
    sums: list[Any] = [number(0), *[None] * len(text)]
    ways: list[tuple[int, int]] = [(0, 0)] * (len(text) + 1)
    for start in range(len(text)):
        alone = False
        for end in range(start + 1, min(len(text), start + 8) + 1):
            found = tokens.index(text[start:end]) if text[start:end] in tokens[1:] else None
            if found is None and not (end == start + 1 and not alone):
                continue
            alone |= end == start + 1 and found is not None
            total = number((penalty if found is None else number(model.scores[found])) + sums[start])
            if sums[end] is None or total > sums[end]:
                sums[end], ways[end] = total, (start, found or 0)
    path, end = [], len(text)
    while end:
        start, piece = ways[end]
        if not path or piece or path[-1]:
            path.append(piece)
        end = start
    return path[::-1]


@st.composite
def unigram_models(draw: Any) -> tuple[Unigram, tuple[str, ...]]:
    """Models of few letters, many of whose paths have nearly the same sum, or just the same."""
    words = st.text("ab\u2581", min_size=1, max_size=5).filter(lambda word: "\u2581" not in word.lstrip("\u2581"))
    tokens = ("<unk>", *dict.fromkeys(("\u2581", *draw(st.lists(words, min_size=2, max_size=14)))))
    step, noise = draw(st.sampled_from((1.0, 0.25, 0.1, 1e-3))), draw(st.sampled_from((0.0, 1e-7, 1e-5, 1e-3)))
    drawn = draw(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 1)), min_size=len(tokens), max_size=len(tokens)))
    scores = tuple(float(np.float32(-(number * step + part * noise))) for number, part in drawn)
    return Unigram(scores, exact=draw(st.booleans())), tokens


@given(
    made=unigram_models(), some=st.lists(st.tuples(st.text("abx\u2581", max_size=12), st.integers(1, 40)), max_size=4)
)
def test_a_text_that_is_one_word_is_cut_as_a_whole_however_its_words_are_kept(
    made: tuple[Unigram, tuple[str, ...]], some: list[tuple[str, int]]
) -> None:
    model, tokens = made
    encoder = TextEncoder(SubwordRules(model, unknown_id=0, outside=(0,)), tokens)
    for part, times in some:
        text = part * times
        assert encoder.encode(text) == (summed_over_all(model, tokens, text) or [0])


@pytest.mark.parametrize(
    "case",
    mostly_slow(list(itertools.product(("\u2581aaa", "\u2581" + "a" * 99), (True, False))), 3),
    ids=[f"{kind}-{exact}" for kind in ("two ways tie", "too long to be kept") for exact in (True, False)],
)
def test_many_words_whose_sum_before_them_decides_take_linear_time(case: tuple[str, bool]) -> None:
    word, exact = case
    tokens = ("<unk>", "\u2581", "a", "aa")
    model = Unigram((0.0, *(float(np.float32(score)) for score in (-1e-3, -2e-3, -3e-3))), exact=exact)
    encoder = TextEncoder(SubwordRules(model, unknown_id=0, outside=(0,)), tokens)
    times = examples(60_000, 200_000) // len(word)
    assert encoder.encode(word * 20) == summed_over_all(model, tokens, word * 20)
    assert len(encoder.encode(word * times)) >= 3 * times
