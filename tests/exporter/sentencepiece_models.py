"""Small models of sentencepiece, trained with its own library, tokenizers with its tables, and texts for them."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import Any

import sentencepiece
from tokenizer_families import SENTENCES, families
from tokenizers import Tokenizer

__all__ = ["MODELS", "WHOLE", "odd_clusters", "rescored", "trained", "with_table"]

# Also of what a table would change, of what begins another one, of marks, and of white space.
WHOLE = ["[UNK]", "[", "<mask>", "\ufb01", "\u00bd\u00b2", "\u0301", "\u2581\u2581", "\n", "ab", "abc", "bd", "\u4e2d"]
LLAMA = {
    **{"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    **{"split_digits": True, "allow_whitespace_only_pieces": True},
}
BYTES = {"byte_fallback": True, "vocab_size": 700, "character_coverage": 0.98}
MODELS: dict[str, dict[str, Any]] = {
    "T5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "ALBERT": {"normalization_rule_name": "nmt_nfkc_cf"},
    "NFKC without a prefix": {"normalization_rule_name": "nfkc", "add_dummy_prefix": False},
    "as it stands, every space": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "bytes": BYTES,
    "user-defined": {"user_defined_symbols": WHOLE, "remove_extra_whitespaces": False},
    "a table, a space before, and every space": {"remove_extra_whitespaces": False},
    "BPE": {"model_type": "bpe"},
    "Llama": {**LLAMA, **BYTES},
    "BPE of case-folded texts": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf", "split_digits": True},
    "Gemma": {**LLAMA, **BYTES, "add_dummy_prefix": False, "user_defined_symbols": WHOLE},
    "BPE, user-defined behind a table": {"model_type": "bpe", "user_defined_symbols": WHOLE},
    "BPE across words": {"model_type": "bpe", "split_by_whitespace": False, "control_symbols": ["<x>"]},
    "characters": {"model_type": "char", "user_defined_symbols": WHOLE},
    "characters and bytes": {"model_type": "char", **BYTES},
}


def trained(**options: Any) -> bytes:
    writer = io.BytesIO()
    usual: dict[str, Any] = {"vocab_size": 420, "character_coverage": 1.0, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*SENTENCES] * 20), model_writer=writer, minloglevel=2, **usual | options
    )
    return writer.getvalue()


def rescored(content: bytes, score: Any) -> bytes:
    """The model with `score(piece)` for those of its own."""
    from sentencepiece import sentencepiece_model_pb2

    message = sentencepiece_model_pb2.ModelProto.FromString(content)
    for piece in message.pieces:
        if piece.type == 1:
            piece.score = score(piece.piece)
    return message.SerializeToString()


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
