"""A text of a tokenizer that people have may be cut at spaces while it arrives, or a stream of it is refused."""

from __future__ import annotations

import random
from functools import cache

import pytest
from slow_case_sampling import examples, mostly_slow

from pocketrnn.text.subword_encoder import SubwordEncoder
from pocketrnn.text.subword_stream_cuts import SubwordCuts, find_stream_obstacle
from pocketrnn_export.vocabularies.sentencepiece_model import read_sentencepiece
from pocketrnn_export.vocabularies.tokenizer_json import Subwords, read_tokenizer_json

pytest.importorskip("tokenizers")
pytest.importorskip("sentencepiece")

from sentencepiece_models import MODELS, trained
from tokenizer_families import families, texts

# The tokenizers that streams follow; the others are refused.
FOLLOWED = {
    *(
        "BERT uncased",
        "BERT cased",
        "BERT with accents off alone",
        "GPT-2",
        "RoBERTa",
        "Llama 3",
        "Qwen 2",
        "StarCoder",
        "GPT-4o",
        "Mistral's Tekken",
        "DeepSeek V3",
        "Falcon",
    ),
    *("BpeTrainer's defaults", "BPE that drops what is unknown", "BPE that fuses what is unknown", "BPE with a prefix"),
    *("BPE with a suffix", "Unigram", "Llama", "Llama, new", "bytes as a normalizer"),
    *("Unigram behind NFKC", "ALBERT without its table"),
}


@cache
def made(name: str) -> Subwords:
    if name in MODELS:
        return read_sentencepiece(trained(**MODELS[name]), name)
    return read_tokenizer_json(families()[name].to_str(), name)


@pytest.mark.parametrize("name", mostly_slow([*families(), *MODELS], 8))
def test_what_stands_before_a_cut_is_the_same_whatever_follows(name: str) -> None:
    rules, tokens = made(name).rules, made(name).tokens
    is_followed = not find_stream_obstacle(rules, tokens)
    assert is_followed == (name in FOLLOWED)
    if not is_followed:
        return
    pieces = SubwordEncoder(rules, tokens)
    cuts, rng, found = SubwordCuts(rules, tokens, pieces), random.Random(0), 0
    drawn = examples(500, 1500)
    for text in texts(drawn, seed=3):
        at, ids = 0, []
        for end in sorted(rng.choices(range(len(text) + 1), k=3)):
            if cut := cuts.find_last_cut(text[at:end]):
                ids += pieces.encode(text[at : at + cut], continues_text=at > 0)
                at += cut
                found += 1
        assert ids + pieces.encode(text[at:], continues_text=at > 0) == pieces.encode(text), (at, ascii(text))
    assert found > drawn // 3
