"""A `.model` of sentencepiece, and its table in a tokenizer.json, give the ids of the libraries that read them."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, rules_document, rules_of
from pocketrnn_export import read_tokenizer
from pocketrnn_export.intake.sentencepiece_model import charsmap_of, subwords_of_model
from pocketrnn_export.intake.tokenizer_json import Subwords, subwords_of_json
from pocketrnn_export.packing import check_packable

pytest.importorskip("tokenizers")
pytest.importorskip("sentencepiece")

import sentencepiece
from tokenizer_families import SENTENCES, families, texts
from tokenizers import Tokenizer

BYTES = {"byte_fallback": True, "vocab_size": 700, "character_coverage": 0.98}
MODELS: dict[str, dict[str, Any]] = {
    "T5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "ALBERT": {"normalization_rule_name": "nmt_nfkc_cf"},
    "NFKC without a prefix": {"normalization_rule_name": "nfkc", "add_dummy_prefix": False},
    "as it stands, every space": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "bytes": BYTES,
}


def trained(**options: Any) -> bytes:
    writer = io.BytesIO()
    usual: dict[str, Any] = {"vocab_size": 420, "character_coverage": 1.0, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*SENTENCES] * 20), model_writer=writer, minloglevel=2, **usual | options
    )
    return writer.getvalue()


def differing(made: Subwords, encode: Any, number: int, seed: int) -> list[tuple[str, list[int], list[int]]]:
    encoder = TextEncoder(made.rules, made.tokens)
    asked = [(text, encode(text) or [made.rules.empty_id]) for text in texts(number, seed)]
    return [(text, theirs, ours) for text, theirs in asked if (ours := encoder.encode(text)) != theirs]


@pytest.mark.parametrize("name", MODELS)
def test_the_ids_are_those_of_sentencepiece(name: str, tmp_path: Path) -> None:
    content = trained(**MODELS[name])
    (tmp_path / "spiece.model").write_bytes(content)
    made = read_tokenizer(tmp_path / "spiece.model")
    assert differing(made, sentencepiece.SentencePieceProcessor(model_proto=content).encode, 400, seed=0) == []
    assert rules_of(json.loads(json.dumps(rules_document(made.rules)))) == made.rules


def test_a_table_is_refused_before_anything_is_packed_and_a_model_without_one_is_not() -> None:
    tables = subwords_of_model(trained(**MODELS["T5"]), "T5").rules
    with pytest.raises(InputError, match="news cannot be packed"):
        check_packable(tables, "news")
    check_packable(subwords_of_model(trained(**MODELS["as it stands, every space"]), "plain").rules, "news")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_ids_are_those_of_sentencepiece_on_a_hundred_thousand_texts(name: str) -> None:
    content = trained(**MODELS[name])
    encode = sentencepiece.SentencePieceProcessor(model_proto=content).encode
    assert differing(subwords_of_model(content, name), encode, 100_000, seed=1) == []


def with_table(charsmap: bytes) -> Tokenizer:
    """XLM-R's and T5's parts."""
    document = json.loads(families()["Unigram"].to_str())
    table = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    document["normalizer"] = {"type": "Sequence", "normalizers": [table, spaces]}
    marks = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, marks]}
    return Tokenizer.from_str(json.dumps(document))


def odd_clusters(number: int) -> list[str]:
    """Texts of what grapheme clusters are made of: marks, joiners, Hangul, Indic conjuncts, flags, line ends."""
    rng = random.Random(2)
    pools = ["a\r\n \x07", "\u0301\u0308\u0600\u06dd\u200b\u200d\ufe0f\u0903", "©™❤ℹ\U0001f468\U0001f3fd", "ﬁ①㎏é"]
    pools += ["कखड़\u094d\u093c\u0995\u09cd", "\u1100\u1161\u11a8각가", "\U0001f1e6", "\U000e0100\U000e0001\U00011046"]
    return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(1, 8))) for _ in range(number)]


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nmt_nfkc_cf"])
def test_the_table_in_a_tokenizer_json_is_done_by_clusters(rule: str) -> None:
    tokenizer = with_table(charsmap_of(trained(normalization_rule_name=rule)))
    made = subwords_of_json(tokenizer.to_str(), "tokenizer.json")
    encoder = TextEncoder(made.rules, made.tokens)
    assert differing(made, lambda text: tokenizer.encode(text).ids, 400, seed=0) == []
    for text in odd_clusters(3000):
        assert encoder.encode(text) == (tokenizer.encode(text).ids or [made.rules.empty_id]), ascii(text)


@pytest.mark.slow
def test_the_table_in_a_tokenizer_json_is_done_so_on_a_hundred_thousand_texts() -> None:
    tokenizer = with_table(charsmap_of(trained()))
    made = subwords_of_json(tokenizer.to_str(), "tokenizer.json")
    assert differing(made, lambda text: tokenizer.encode(text).ids, 100_000, seed=1) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"model_type": "bpe"}, "bpe"),
        ({"model_type": "char"}, "char"),
        ({"user_defined_symbols": ["<x>"]}, "<x>"),
        ({"treat_whitespace_as_suffix": True}, "suffix"),
    ],
)
def test_what_the_rules_cannot_say_is_refused_by_its_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        subwords_of_model(trained(**options), "spiece.model")


def test_a_damaged_model_is_one_sentence() -> None:
    content = trained()
    rng = random.Random(3)
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        cut = bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.5 else changed)
        try:
            made = subwords_of_model(cut, "spiece.model")
            TextEncoder(made.rules, made.tokens).encode("Oil prices \ufb01 \u00e9\u0301")
        except InputError:
            continue


@pytest.mark.parametrize("content", [b"", b"\x0a", b"\xff" * 40, b"\x0a\x03\x0a\x01a", b"[]"])
def test_what_is_no_model_is_one_sentence(content: bytes) -> None:
    with pytest.raises(InputError):
        subwords_of_model(content, "spiece.model")
