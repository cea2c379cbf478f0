"""A `.model` of sentencepiece, and its table in a tokenizer.json, give the ids of the libraries that read them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from slow_case_sampling import examples, mostly_slow

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, make_rules_document, rules_of
from pocketrnn_export import read_tokenizer
from pocketrnn_export.vocabularies.sentencepiece_model import read_charsmap, read_sentencepiece
from pocketrnn_export.vocabularies.text_to_id_arguments import read_text_arguments
from pocketrnn_export.vocabularies.tokenizer_json import Subwords, read_tokenizer_json
from pocketrnn_export.vocabularies.tokenizer_library_comparison import compare_with_library

pytest.importorskip("tokenizers")
pytest.importorskip("sentencepiece")

import sentencepiece
from sentencepiece_models import MODELS, WHOLE, odd_clusters, rescored, trained, with_table
from tokenizer_families import texts


def differing(made: Subwords, encode: Any, number: int, seed: int) -> list[tuple[str, list[int], list[int]]]:
    encoder = TextEncoder(made.rules, made.tokens)
    asked = [(text, encode(text) or [made.rules.empty_id]) for text in texts(number, seed)]
    return [(text, theirs, ours) for text, theirs in asked if (ours := encoder.encode(text)) != theirs]


@pytest.mark.parametrize("name", mostly_slow(list(MODELS), 15, first=3))
def test_the_ids_are_those_of_sentencepiece(name: str, tmp_path: Path) -> None:
    content = trained(**MODELS[name])
    (tmp_path / "spiece.model").write_bytes(content)
    made = read_tokenizer(tmp_path / "spiece.model")
    assert differing(made, sentencepiece.SentencePieceProcessor(model_proto=content).encode, 400, seed=0) == []
    assert rules_of(json.loads(json.dumps(make_rules_document(made.rules)))) == made.rules
    assert compare_with_library(made, ["Oil prices"]) > 900


@pytest.mark.parametrize("name", ["T5", "user-defined", "Llama"])
def test_long_texts_get_the_same_ids(name: str) -> None:
    """Sums of some 10,000 pieces are counted anew."""
    content = trained(**MODELS[name])
    made = read_sentencepiece(content, "spiece.model")
    text = " ".join([*texts(600, seed=7)])
    ids = TextEncoder(made.rules, made.tokens).encode(text)
    assert len(ids) > 15_000
    assert ids == sentencepiece.SentencePieceProcessor(model_proto=content).encode(text)


@pytest.mark.parametrize("name", ["T5", "Llama"])
def test_widths_are_given_beside_a_model(name: str, tmp_path: Path) -> None:
    content = trained(**MODELS[name])
    (tmp_path / "spiece.model").write_bytes(content)
    widths = {"min_width": 6, "max_width": 6, "padding_id": 0, "cut_side": "left"}
    read = read_text_arguments(None, tmp_path / "spiece.model", widths).subwords
    assert read is not None
    encode = sentencepiece.SentencePieceProcessor(model_proto=content).encode

    def pad(text: str) -> list[int]:
        ids = encode(text)[-6:]
        return [*ids, *[0] * (6 - len(ids))]

    assert differing(read, pad, 100, seed=1) == []
    assert compare_with_library(read, ["Oil prices"]) > 900
    if "<pad>" not in read.tokens:
        with pytest.raises(InputError, match="padding_id"):
            read_text_arguments(None, tmp_path / "spiece.model", {"min_width": 6})


def test_pieces_of_one_score_are_merged_from_the_left() -> None:
    """As where pieces were added to a model, all with the score 0."""
    content = rescored(trained(**MODELS["Llama"]), lambda piece: float(-(len(piece) % 3)))
    made = read_sentencepiece(content, "spiece.model")
    assert len(set(made.rules.model.ranks)) == 3
    assert differing(made, sentencepiece.SentencePieceProcessor(model_proto=content).encode, 400, seed=4) == []


@pytest.mark.parametrize(("kind", "score", "named"), [("unigram", 1.0, "\\[UNK\\]"), ("bpe", None, "unused piece")])
def test_scores_and_pieces_of_odd_kinds_are_refused(kind: str, score: float | None, named: str) -> None:
    from sentencepiece import sentencepiece_model_pb2

    message = sentencepiece_model_pb2.ModelProto.FromString(trained(model_type=kind, user_defined_symbols=WHOLE))
    piece = next(piece for piece in message.pieces if piece.type == 1)
    if score is None:
        piece.type = 5
    else:
        piece.score = score
    with pytest.raises(InputError, match=named):
        read_sentencepiece(message.SerializeToString(), "spiece.model")


def test_a_piece_of_a_character_that_is_none_is_refused() -> None:
    content = trained(model_type="bpe").replace("\n\x03\u2581".encode(), "\n\x03\u2582".encode(), 1)
    with pytest.raises(InputError, match="not its character '\u2581'"):
        read_sentencepiece(content, "spiece.model")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_ids_are_those_of_sentencepiece_on_a_hundred_thousand_texts(name: str) -> None:
    content = trained(**MODELS[name])
    encode = sentencepiece.SentencePieceProcessor(model_proto=content).encode
    assert differing(read_sentencepiece(content, name), encode, 100_000, seed=1) == []


@pytest.mark.parametrize("rule", mostly_slow(["nmt_nfkc", "nmt_nfkc_cf"], 2))
def test_the_table_in_a_tokenizer_json_is_done_by_clusters(rule: str) -> None:
    tokenizer = with_table(read_charsmap(trained(normalization_rule_name=rule)))
    made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
    encoder = TextEncoder(made.rules, made.tokens)
    assert differing(made, lambda text: tokenizer.encode(text).ids, 400, seed=0) == []
    for text in odd_clusters(examples(1000, 3000)):
        assert encoder.encode(text) == (tokenizer.encode(text).ids or [made.rules.empty_id]), ascii(text)


@pytest.mark.slow
def test_the_table_in_a_tokenizer_json_is_done_so_on_a_hundred_thousand_texts() -> None:
    tokenizer = with_table(read_charsmap(trained()))
    made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
    assert differing(made, lambda text: tokenizer.encode(text).ids, 100_000, seed=1) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"model_type": "word"}, "word"),
        ({"model_type": "bpe", "control_symbols": ["Q"]}, "control piece .*'Q'"),
        ({"user_defined_symbols": ["a  b"]}, "two spaces"),
        ({"user_defined_symbols": [" b"], "remove_extra_whitespaces": False}, "space before"),
        ({"treat_whitespace_as_suffix": True}, "suffix"),
    ],
)
def test_what_the_rules_cannot_say_is_refused_by_its_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_sentencepiece(trained(**options), "spiece.model")


def test_a_damaged_model_is_one_sentence() -> None:
    content = trained()
    rng = random.Random(3)
    for _ in range(examples(60, 300)):
        changed = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        cut = bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.5 else changed)
        try:
            made = read_sentencepiece(cut, "spiece.model")
            TextEncoder(made.rules, made.tokens).encode("Oil prices \ufb01 \u00e9\u0301")
        except InputError:
            continue


@pytest.mark.parametrize("content", [b"", b"\x0a", b"\xff" * 40, b"\x0a\x03\x0a\x01a", b"[]"])
def test_what_is_no_model_is_one_sentence(content: bytes) -> None:
    with pytest.raises(InputError):
        read_sentencepiece(content, "spiece.model")
