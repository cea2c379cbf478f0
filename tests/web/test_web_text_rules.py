"""The browser runtime's text rules give the tokens and ids that Python's give."""

from __future__ import annotations

import base64
import hashlib
import random
import unicodedata
from typing import Any

import pytest
from sampling import examples
from web_node import Node
from web_texts import adversarial, real, vocabulary_of

from pocketrnn.text import TextEncoder, TextRules, rules_document
from pocketrnn.text.cleaning_steps import NAMED_STEPS, Keep, cleaning

RULES = (
    TextRules(),
    TextRules(ngrams=3, max_tokens=9, unknown_id=None, empty_id=1, padding_id=1),
    TextRules(tokenizer="whitespace", unknown_id=None),
    TextRules(tokenizer="whitespace", lowercase=False, ngrams=2),
    TextRules(tokenizer="characters"),
    TextRules(tokenizer="characters", lowercase=False, ngrams=2, max_tokens=40),
    *(TextRules(tokenizer="whitespace", lowercase=name != "clean_str", steps=cleaning(name)) for name in NAMED_STEPS),
    TextRules("space", lowercase=False, steps=cleaning((",", "$&"), "lowercase", ("s ", "ß"), Keep(("az",), "😀"))),
    TextRules(stop_words=("the", "a", "."), max_tokens=7, cut_side="left", first_id=1, last_id=0, min_width=9),
    TextRules(tokenizer="space", stop_words=("",), unknown_id=None, min_width=9, max_width=9, pad_side="left"),
    TextRules(tokenizer="characters", unknown_id=None, last_id=1, max_width=1, min_width=1, cut_side="left"),
)


def holds_halves(text: str) -> bool:
    """Whether it holds halves of surrogate pairs: where strings are UTF-16, a deletion can make a pair of two."""
    return any("\ud800" <= point <= "\udfff" for point in text)


@pytest.fixture(scope="module")
def code_points(node: Node) -> dict[str, Any]:
    answer: dict[str, Any] = node("code_points_in_node.mjs", None)
    return answer


@pytest.mark.slow
def test_every_code_point_is_lower_cased_as_in_python(code_points: dict[str, Any]) -> None:
    if unicodedata.unidata_version >= "16":
        pytest.skip(f"this Python has Unicode {unicodedata.unidata_version}; up to 3.13 it lower-cases as 14.0 does")
    expected = {str(i): chr(i).lower() for i in range(0x110000) if chr(i).lower() != chr(i)}
    assert code_points["lower"] == expected


@pytest.mark.slow
def test_every_code_point_beside_a_sigma_decides_its_form_as_in_python(code_points: dict[str, Any]) -> None:
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip(f"this Python has Unicode {unicodedata.unidata_version}; the format's is 14.0, that of Python 3.11")
    for got, form in zip(code_points["contexts"], ("{}Σ", "a{}Σ", "aΣ{}", "aΣ{}b"), strict=True):
        assert got == [i for i in range(0x110000) if "ς" in form.format(chr(i)).lower()], form


@pytest.mark.slow
def test_text_is_split_at_the_code_points_that_python_splits_at(code_points: dict[str, Any]) -> None:
    assert code_points["space"] == [i for i in range(0x110000) if chr(i).isspace()]


def test_texts_become_the_same_tokens_and_ids(node: Node) -> None:
    texts = [*real(examples(20, 1000)), *adversarial(examples(100, 3000))]
    cases = []
    for rules in RULES:
        tokens = [TextEncoder(rules, ["<unk>"]).tokens(text) for text in texts]
        cases.append({"rules": rules_document(rules), "vocabulary": vocabulary_of(tokens, 1500), "texts": texts})
    for case, rules, answers in zip(cases, RULES, node("encode_in_node.mjs", cases), strict=True):
        encoder = TextEncoder(rules, case["vocabulary"])  # type: ignore[arg-type]
        different = [
            (text, answer)
            for text, answer in zip(texts, answers, strict=True)
            if (answer["tokens"], answer["ids"]) != (encoder.tokens(text), encoder.encode(text))
            and not (rules.steps and holds_halves(text))
        ]
        assert different[:3] == []


def test_an_ngram_limit_beyond_any_text_costs_nothing(node: Node) -> None:
    rules = rules_document(TextRules(tokenizer="whitespace", max_tokens=10**15)) | {"ngrams": 10**12}
    ((answer,),) = node("encode_in_node.mjs", [{"rules": rules, "vocabulary": ["a b"], "texts": ["a b"]}])
    assert answer["tokens"] == ["a", "b", "a b"]


def test_the_digest_function_for_pages_without_crypto_is_sha256(node: Node) -> None:
    draw = random.Random(0)
    contents = [draw.randbytes(size) for size in [*range(200), 1000, 65536]]
    digests = node("sha256_in_node.mjs", [base64.b64encode(content).decode() for content in contents])
    assert digests == [hashlib.sha256(content).hexdigest() for content in contents]
