"""A tokenizer.json becomes text rules that give the ids of Hugging Face's library, or is refused by a name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import product
from typing import Any, Final

import pytest

from pocketrnn.errors import InputError
from pocketrnn.text import SubwordRules, TextEncoder, make_rules_document, rules_of
from pocketrnn_export.json_reading_and_writing import parse_serde_float
from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
from pocketrnn_export.vocabularies.tokenizer_json import Subwords, read_tokenizer_json
from pocketrnn_export.vocabularies.tokenizer_library_comparison import compare_with_library

pytest.importorskip("tokenizers")

from tokenizer_families import families, texts
from tokenizers import Tokenizer, models

FAMILIES = families()


def encoder_of(tokenizer: Tokenizer) -> TextEncoder:
    made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
    return TextEncoder(made.rules, made.tokens)


def differing(tokenizer: Tokenizer, number: int, seed: int) -> list[tuple[str, list[int], list[int]]]:
    """The texts whose ids are not the library's; a text without any becomes the one id for an empty text."""
    file = tokenizer.to_str()
    made = read_tokenizer_json(file, "tokenizer.json")
    encoder = TextEncoder(made.rules, made.tokens)
    # As the library reads the file, too: a score may change in its last digit, and two ways to cut then be as good.
    tokenizer = Tokenizer.from_str(file)
    asked = list(texts(number, seed))
    theirs = [encoding.ids or [made.rules.empty_id] for encoding in tokenizer.encode_batch(asked)]
    return [
        (text, their, ours)
        for text, their in zip(asked, theirs, strict=True)
        if (ours := encoder.encode(text)) != their
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_ids_are_those_of_the_library(name: str) -> None:
    assert differing(FAMILIES[name], 400, seed=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_ids_are_those_of_the_library_on_a_hundred_thousand_texts(name: str) -> None:
    assert differing(FAMILIES[name], 100_000, seed=1) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rules_survive_the_file(name: str) -> None:
    rules = read_tokenizer_json(FAMILIES[name].to_str(), name).rules
    assert rules_of(json.loads(json.dumps(make_rules_document(rules)))) == rules


@pytest.mark.parametrize(
    "pattern", [r"\s+", " {2,}", "  +", r"\d+", "[^a-zA-Z ]", r"\n", ".", r"[!?]{2,}", r"\p{M}", "a", r"a|\d"]
)
@pytest.mark.parametrize("by", ["", " ", "ab"])
def test_a_run_that_is_replaced_becomes_what_it_does_in_the_library(pattern: str, by: str) -> None:
    part = {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}
    tokenizer = Tokenizer.from_str(changed("GPT-2", lambda document: document.update(normalizer=part)))
    assert differing(tokenizer, 150, seed=8) == []


def test_of_a_piece_that_stands_twice_the_last_is_given_as_in_the_library() -> None:
    def twice(document: dict[str, Any]) -> None:
        vocab = document["model"]["vocab"]
        vocab += [[piece, score - 0.5] for piece, score in vocab[4:60]]
        vocab.append(["lowest", -99.0])
        document["added_tokens"].append(dict(document["added_tokens"][-1], id=len(vocab), content="<new>"))

    tokenizer = Tokenizer.from_str(changed("Unigram", twice))
    assert tokenizer.encode("<new>").ids == [tokenizer.get_vocab_size() - 1]
    assert differing(tokenizer, 1000, seed=9) == []


def test_of_an_added_token_that_stands_twice_the_last_says_how_it_is_found() -> None:
    def twice(document: dict[str, Any]) -> None:
        _add(document, {"content": "<new>", "lstrip": True})
        document["added_tokens"].append({**document["added_tokens"][-1], "lstrip": False, "rstrip": True})

    tokenizer = Tokenizer.from_str(changed("GPT-2", twice))
    assert tokenizer.encode("a <new> a").ids == encoder_of(tokenizer).encode("a <new> a")
    assert differing(tokenizer, 200, seed=10) == []


@pytest.mark.parametrize("of", [{"length": 1}, {"length": 7}, {}])
def test_words_of_one_length_are_those_of_the_library(of: dict[str, int]) -> None:
    part = {"type": "FixedLength", **of}
    tokenizer = Tokenizer.from_str(changed("Unigram", lambda document: document.update(pre_tokenizer=part)))
    assert differing(tokenizer, 200, seed=11) == []


def test_an_empty_string_cuts_into_characters_as_in_the_library() -> None:
    part = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
    tokenizer = Tokenizer.from_str(changed("whole words", lambda document: document.update(pre_tokenizer=part)))
    assert differing(tokenizer, 200, seed=12) == []


@pytest.mark.parametrize("how", ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
@pytest.mark.parametrize("at", ["a", "th", "e e"])
def test_what_stands_between_a_string_is_cut_as_in_the_library(at: str, how: str) -> None:
    part = {"type": "Split", "pattern": {"String": at}, "behavior": how, "invert": True}
    tokenizer = Tokenizer.from_str(changed("GPT-2", lambda document: document.update(pre_tokenizer=part)))
    assert differing(tokenizer, 100, seed=14) == []


def test_an_unknown_token_that_no_text_can_give_need_not_be_a_piece() -> None:
    tokenizer = Tokenizer.from_str(changed("GPT-2", lambda document: document["model"].update(unk_token="nowhere")))
    assert differing(tokenizer, 200, seed=13) == []


BYTE_LEVEL: Final = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}


@pytest.mark.parametrize("name", ["GPT-2", "BERT uncased", "Unigram", "whole words"])
def test_a_model_that_does_not_say_its_kind_is_read_as_in_the_library(name: str) -> None:
    tokenizer = Tokenizer.from_str(changed(name, lambda document: document["model"].pop("type")))
    assert differing(tokenizer, 100, seed=15) == []


@pytest.mark.parametrize("second", [BYTE_LEVEL, {"type": "BertProcessing", "cls": ["b", 3], "sep": ["b", 3]}])
def test_what_several_post_processors_put_around_a_text_is_that_of_the_library(second: dict[str, Any]) -> None:
    first = {"type": "BertProcessing", "cls": ["a", 1], "sep": ["a", 2]}
    part = {"type": "Sequence", "processors": [first, second]}
    tokenizer = Tokenizer.from_str(changed("whole words", lambda document: document.update(post_processor=part)))
    assert differing(tokenizer, 100, seed=16) == []


def tied() -> tuple[Tokenizer, list[str]]:
    """A unigram model by which many texts are cut into the same pieces in several orders, and such texts."""
    rng = random.Random(0)
    pieces = ["".join(point) for size in (1, 2, 3) for point in product("ab", repeat=size)]
    vocab = [("<unk>", 0.0), *((piece, -10.0 * len(piece) - rng.random()) for piece in pieces)]
    return Tokenizer(models.Unigram(vocab, 0)), ["".join(rng.choices("ab", k=rng.randrange(20))) for _ in range(3000)]


def test_scores_of_a_file_are_the_numbers_that_the_library_makes_of_their_digits() -> None:
    text = tied()[0].to_str()
    tokenizer, asked = Tokenizer.from_str(text), tied()[1]
    encoder = encoder_of(tied()[0])
    assert [tokenizer.encode(one).ids or [0] for one in asked] == [encoder.encode(one) for one in asked]
    plain = read_tokenizer_json(text, "tokenizer.json", parse_float=float)
    assert [TextEncoder(plain.rules, plain.tokens).encode(one) for one in asked] != [
        encoder.encode(one) for one in asked
    ]


def test_scores_of_more_digits_than_a_whole_number_has_and_of_small_powers_are_those_of_the_library() -> None:
    numbers = ["-12345678901234567890123456789e-330", "-0.1234567890123456789012345", "-1e-310", "-1e-330", "-0.0e400"]
    text = changed("Unigram", lambda d: d["model"].update(vocab=[[f"p{i}", i] for i in range(5)], unk_id=0))
    for i, number in enumerate(numbers):
        text = text.replace(f'["p{i}", {i}]', f'["p{i}", {number}]')
    made = json.loads(Tokenizer.from_str(text).to_str())["model"]["vocab"]
    assert [score for _, score in made] == [parse_serde_float(number) for number in numbers]


def test_a_tokenizer_itself_has_its_own_scores() -> None:
    tokenizer, asked = tied()
    made = read_tokenizer(tokenizer)
    encoder = TextEncoder(made.rules, made.tokens)
    assert [tokenizer.encode(one).ids or [0] for one in asked] == [encoder.encode(one) for one in asked]
    assert compare_with_library(made, asked) > 1000


def test_padding_up_to_the_longest_of_a_batch_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = Tokenizer.from_str(FAMILIES["BERT uncased"].to_str())
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    assert read(tokenizer.to_str()).rules.min_width is None
    assert "does not pad them" in caplog.text


def test_the_token_that_is_named_by_the_padding_fills_up() -> None:
    tokenizer = Tokenizer.from_str(FAMILIES["BERT uncased"].to_str())
    tokenizer.enable_padding(length=16, pad_id=1, pad_token="[PAD]", direction="left")
    tokenizer.enable_truncation(16, direction="left")
    assert differing(tokenizer, 200, seed=3) == []


# --- What is refused ---


def changed(name: str, change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(FAMILIES[name].to_str())
    change(document)
    return json.dumps(document)


def read(text: str) -> Subwords:
    return read_tokenizer_json(text, "tokenizer.json")


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("normalizer", {"type": "Odd"}, "Odd"),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a)+"}, "content": ""}, r"\(a\)"),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": ""}, "content": "x"}, "''"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Other"}]}, "Other"),
        ("pre_tokenizer", {"type": "UnicodeScripts"}, "UnicodeScripts"),
        ("pre_tokenizer", {"type": "FixedLength", "length": 65}, "FixedLength .*65"),
        ("pre_tokenizer",
         {"type": "Split", "pattern": {"Regex": r"\bhttp"}, "behavior": "Isolated", "invert": False}, "bhttp"),
        ("pre_tokenizer",
         {"type": "Split", "pattern": {"String": 33 * "ab"}, "behavior": "Removed", "invert": True}, "invert"),
        ("post_processor", {"type": "Odd"}, "Odd"),
        ("post_processor", {"type": "TemplateProcessing", "single": [], "special_tokens": {}}, "0 texts"),
        ("truncation", {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}, "2 ids"),
        ("truncation", {"max_length": 9, "strategy": "OnlySecond", "stride": 0}, "OnlySecond"),
        ("truncation", {"max_length": 9, "strategy": "OnlyFirst", "stride": 7}, "stride"),
        ("padding", {"strategy": "BatchLongest", "pad_id": 0, "pad_to_multiple_of": 8}, "multiple"),
        ("version", "2.0", "2.0"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}, {"type": "ByteLevel"}]}, "bytes"),
        ("normalizer", {"type": "Prepend", "prepend": 257 * "a"}, "257"),
    ],
)  # fmt: skip
def test_what_the_rules_cannot_say_is_refused_by_its_name_with_a_way_out(part: str, value: object, named: str) -> None:
    with pytest.raises(InputError, match=named) as refused:
        read(changed("BERT uncased", lambda document: document.update({part: value})))
    assert "external" in refused.value.remedy
    assert refused.value.problem.startswith("tokenizer.json")


def _add(document: dict[str, Any], *tokens: dict[str, Any]) -> None:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    following = len(document["model"]["vocab"])
    document["added_tokens"] += [{"id": following + i, **flags, **token} for i, token in enumerate(tokens)]


def _gap(document: dict[str, Any]) -> None:
    vocab = document["model"]["vocab"]
    vocab["far"] = len(vocab) + 1
    document["added_tokens"] = [{"id": len(vocab), "content": "<new>"}]


def _model(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["model"].update(members)


def _part(name: str, kind: str, **members: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update({name: {"type": kind, **members}})


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("GPT-2", _model(dropout=0.1), "dropout"),
        ("GPT-2", _model(merges=[["a", "nowhere"]]), "nowhere"),
        ("GPT-2", _model(merges=["a b c"]), "a b c"),
        ("GPT-2", _model(merges=[["a", 7]]), "merge 0"),
        ("GPT-2", _model(merges=7), "`merges` is 7"),
        ("GPT-2", lambda d: d["model"]["merges"].append(d["model"]["merges"][0]), "twice"),
        ("GPT-2", _model(vocab={"a": 0, "b": 0}, merges=[]), "two pieces .*id 0"),
        ("GPT-2", _model(vocab={"a": 4_000_000_000}, merges=[]), "4000000000"),
        ("whole words", lambda d: (d.update(added_tokens=[]), d["model"]["vocab"].update(far=10**8)), "100,000,000"),
        ("GPT-2", _model(vocab={"a": -1}, merges=[]), "-1"),
        ("GPT-2", _model(vocab={"a": True}, merges=[]), "True"),
        ("GPT-2", _model(vocab={}, merges=[]), "vocabulary"),
        ("GPT-2", _model(vocab=[], merges=[]), "vocabulary"),
        ("whole words", _model(unk_token="nowhere"), "nowhere"),
        ("GPT-2", lambda d: (d["model"].update(unk_token="nowhere"), d["model"]["vocab"].pop("\u0100")), "nowhere"),
        ("GPT-2", _model(type="Odd"), "Odd"),
        ("GPT-2", _model(fuse_unk="yes"), "fuse_unk"),
        ("GPT-2", _model(continuing_subword_prefix=7), "prefix"),
        ("BERT uncased", _model(unk_token=None), "unknown token"),
        ("BERT uncased", _model(max_input_chars_per_word="many"), "many"),
        ("BERT uncased", lambda d: d["added_tokens"][0].update(single_word=True), "single_word"),
        ("BERT uncased", lambda d: d["added_tokens"][0].update(id=7), "7"),
        ("BERT uncased", lambda d: d["added_tokens"][0].update(content=""), "content"),
        ("BERT uncased", lambda d: d["added_tokens"].append({"id": "x", "content": "new"}), "new"),
        # The library numbers by how many pieces there are: behind a gap, that is the id of a piece.
        ("whole words", _gap, "id .*'far' and .*'<new>'"),
        ("BERT uncased", lambda d: _add(d, *({"content": new, "normalized": True} for new in ("New", "nEW"))),
         "the same string"),
        ("BERT uncased", lambda d: _add(d, {"content": "\x01", "normalized": True}), "makes it empty"),
        ("BERT uncased", lambda d: d.update(added_tokens={"a": 1}), "added_tokens"),
        ("BERT uncased", lambda d: d.update(padding={"strategy": "BatchLongest", "pad_id": None}), "padding"),
        ("BERT uncased", lambda d: d.update(model=None), "no tokenizer"),
        ("Unigram", _model(unk_id=None), "unknown piece"),
        ("Unigram", _model(unk_id=10**6), "unk_id"),
        ("Unigram", _model(vocab=[["a", -1.0], ["a", -2.0]], unk_id=0), "twice"),
        ("Unigram", _model(vocab=[["a", "low"]], unk_id=0), "piece 0"),
        ("Unigram", _model(vocab=[["a"]], unk_id=0), "piece 0"),
        ("Unigram", _model(vocab=[], unk_id=0), "vocabulary"),
        ("Unigram", lambda d: d.update(pre_tokenizer={"type": "Metaspace", "replacement": "▁▁"}), "▁▁"),
        ("Llama, new", lambda d: d.update(normalizer={"type": "Strip", "strip_left": True, "strip_right": True}),
         "first"),
        ("GPT-2", lambda d: d["model"]["merges"].append(["b", "b"]), "makes 'bb', .*not a piece"),
        ("BERT uncased", _part("normalizer", "Precompiled", precompiled_charsmap=7), "`precompiled_charsmap` is 7"),
        ("BERT uncased", _part("normalizer", "Precompiled", precompiled_charsmap="!"), "not valid base64"),
        ("BERT uncased", _part("normalizer", "Replace", pattern={"String": "a"}, content=7), "`content` is 7"),
        ("BERT uncased", _part("normalizer", "Replace", pattern={"Odd": "a"}, content=""), "pattern of Replace"),
        ("BERT uncased", _part("pre_tokenizer", "Split", pattern={"String": "a"}, behavior="Odd"), "`behavior` is"),
        ("BERT uncased", _part("pre_tokenizer", "FixedLength", length=0), "FixedLength .*length 0"),
        ("BERT uncased", _part("pre_tokenizer", "Metaspace", replacement="_", prepend_scheme="first",
                               add_prefix_space=False), "`add_prefix_space` is false"),
        ("BERT uncased", _part("post_processor", "BertProcessing", cls=7, sep=["a", 1]), "`cls` is 7"),
        ("BERT uncased", _part("post_processor", "TemplateProcessing", single=[{"SpecialToken": {"id": "x"}}]),
         "'x', .* list of ids"),
        ("BERT uncased", _part("post_processor", "TemplateProcessing", single=[{"Sequence": {"id": "B"}}]), "'B'"),
        ("BERT uncased", lambda d: d.update(truncation={"max_length": 9, "strategy": "OnlyFirst", "direction": "Up"}),
         "direction is 'Up'"),
        ("BERT uncased", lambda d: d.update(padding=7), "`padding` is 7"),
        ("BERT uncased", lambda d: d.update(padding={"pad_id": 1, "direction": "Up"}), "direction is 'Up'"),
        ("BERT uncased", lambda d: d.update(padding={"pad_id": 1, "strategy": {"Fixed": 0}}), "Fixed"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence(name: str, change: Callable[[dict[str, Any]], object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        read(changed(name, change))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": 7}', "null", '{"a": 1, "a": 2}', "[" * 100_000])
def test_what_is_no_tokenizer_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError):
        read(text)


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_no_number_is_refused(score: str) -> None:
    text = changed("Unigram", lambda d: d["model"]["vocab"][5].__setitem__(1, 1.5))
    with pytest.raises(InputError, match=r"JSON|finite"):
        read(text.replace("1.5]", f"{score}]"))


@pytest.mark.slow
def test_a_word_of_a_million_letters_takes_linear_time() -> None:
    for name in ("GPT-2", "BERT uncased", "Unigram of a whole text", "Llama"):
        made = read(FAMILIES[name].to_str())
        assert isinstance(made.rules, SubwordRules)
        assert TextEncoder(made.rules, made.tokens).encode("ab" * 500_000)
