"""Small tokenizers of the families that people have, trained with Hugging Face's library, and texts to compare on."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, processors, trainers
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s|\p{{N}}%s"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
)
# The three of DeepSeek V3, one after the other.
DEEPSEEK = (
    r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)  # fmt: skip
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SENTENCES = (
    "The quick brown fox jumps over the lazy dog, isn't it? They've 12,345 reasons; we'll see 67.8% of them.",
    'Oil prices rise as traders weigh supply. "Markets don\'t wait", he said (twice) -- and left...',
    "def forward(self, tokens, lengths):\n\treturn self.linear(hidden[-1])  # 2 layers, 64 -> 96",
    "Übergrößenträger schließen die Straße früh; Äpfel und Öl kosten 3,50 €.",
    "Η γλώσσα είναι ΜΕΓΑΛΟΣ ΣΟΦΟΣ. Ο Σίσυφος κυλούσε τον βράχο.",
    "这是一个测试，看看中文分词。北京大学的学生很多。",
    "これは日本語の文です。テストカタカナ、ｶﾞｷﾞ。",
    "한국어 문장입니다 그리고 더 많은 단어가 있습니다.",
    "Это русское предложение, ёлка и съезд. Йод?",
    "هذه جملة عربية تجريبية مع حَرَكَات",
    "यह हिन्दी वाक्य है क्षेत्र ज्ञान",
    "ภาษาไทยไม่มีช่องว่าง แต่มีวรรณยุกต์",
    "Đây là tiếng Việt có dấu thanh đầy đủ",
    "İstanbul'da ığdır şöyle; Iğdır DIŞ",
    "Ça coûte 12,50 € à l'été, naïve café résumé e\u0301te\u0301 A\u030a",
    "👩‍👩‍👧 emoji 👍🏽 test 🇩🇪 ❤️",
    "ﬁne ﬂow ① Ⅷ ½ ㎏ ﷺ ｆｕｌｌ",
)
# The characters that odd texts are mixed of.
POOLS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    " \t\n\r\u00a0\u3000\u2028\x85\x0b\x1c",
    "0123456789٣४Ⅷ½²",
    "'\"-.,!?()[]{}<>/\\|@#$%^&*_+=~`",
    "'s't're've'm'll'd'S'T'ſ'RE",
    "éàüößñçÉÀÜẞİıſ",
    "αβγσςΣΟΦ",
    "йёжЖЁ",
    "中文字汉漢字々〇",
    "ひらがなカタカナｶﾞ",
    "한국어각",
    "ا ل ع َ ُ",
    "क्षिन्दी",
    "\u0301\u0308\u0323\u0327\u0334\u0316\u0898",
    "\u200b\u200c\u200d\ufeff\u00ad\u2060\ufffd\x00\x07",
    "😀👩‍🇩🇪🏽",
    "▁▁▁ĠĊ##</w>",
    "ﬁ①㎏ﷺ½",
    "\u1c89\ua7cb\U00010d50",
    *(
        "  ",
        "[UNK]",
        "[CLS]",
        "<s>",
        " <mask>  ",
        "<|endoftext|>",
        "Added Word",
        "ADDED word",
        "  strip  ",
        "``''",
        "--",
    ),
)


def texts(number: int, seed: int) -> Iterator[str]:
    """Ordinary and hostile texts: sentences in many languages, code points of all of Unicode, and odd mixtures."""
    rng = random.Random(seed)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    yield from ("", " ", "  a", "a ", "\n", "[CLS]", "<mask>", " <mask> a", "a" * 300)
    for _ in range(number):
        kind = rng.random()
        if kind < 0.3:
            yield " ".join(rng.choice(words) for _ in range(rng.randrange(30)))
        elif kind < 0.4:
            yield f"{rng.choice(SENTENCES)} {rng.choice(SENTENCES)}"
        elif kind < 0.7:
            codes = [rng.randrange(0x110000 if kind < 0.55 else 0x3000) for _ in range(rng.randrange(16))]
            yield "".join(chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF)
        else:
            pools = [rng.choice(POOLS) for _ in range(rng.randrange(12))]
            yield "".join(
                pool if rng.random() < 0.3 else "".join(rng.choices(pool, k=rng.randrange(1, 5))) for pool in pools
            )


def _trained(tokenizer: Tokenizer, trainer: Any, corpus: Sequence[str] = SENTENCES) -> Tokenizer:
    tokenizer.train_from_iterator([*corpus] * 3, trainer)
    return tokenizer


def _bpe(pre: Any, norm: Any = None, special: Sequence[str] = SPECIAL, size: int = 700, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if norm is not None:
        tokenizer.normalizer = norm
    affixes = {k: v for k, v in options.items() if k in ("continuing_subword_prefix", "end_of_word_suffix") and v}
    alphabet = p.ByteLevel.alphabet() if "ByteLevel" in f"{pre}{norm}" else []
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), show_progress=False, initial_alphabet=alphabet, **affixes
    )
    return _trained(tokenizer, trainer)


def _bert(norm: Any, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **options))
    tokenizer.normalizer, tokenizer.pre_tokenizer = norm, p.BertPreTokenizer()
    _trained(tokenizer, trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return tokenizer


def _unigram(pre: Any, norm: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre
    if norm is not None:
        tokenizer.normalizer = norm
    special = ["<unk>", "<pad>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token="<unk>", show_progress=False)
    return _trained(tokenizer, trainer)


def _changed(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | parts))


def _roberta() -> Tokenizer:
    tokenizer = _bpe(p.ByteLevel(add_prefix_space=True), special=["<s>", "<pad>", "</s>", "<unk>"])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.enable_truncation(20)
    return tokenizer


def _llama() -> Tokenizer:
    special = ["<unk>", "<s>", "</s>", *BYTES]
    made = _bpe(p.Metaspace(), special=special, size=900, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    added = [t for t in json.loads(made.to_str())["added_tokens"] if not t["content"].startswith("<0x")]
    return _changed(made, added_tokens=added)


def _words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = n.Lowercase()
    tokenizer.pre_tokenizer = p.Sequence(
        [p.Punctuation("merged_with_previous"), p.CharDelimiterSplit(" "), p.Split("--", "merged_with_next"),
         p.Split("ab", "contiguous")]
    )  # fmt: skip
    _trained(tokenizer, trainers.WordLevelTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    tokenizer.add_tokens(["Added Word", "x", AddedToken("  strip", lstrip=True, rstrip=True, normalized=True)])
    return tokenizer


def _odd_unigram() -> Tokenizer:
    return _changed(
        _unigram(p.Metaspace()),
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "Nmt"}, {"type": "Strip", "strip_left": True, "strip_right": False}]},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [
            {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": False},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]},
    )  # fmt: skip


def _metaspace(scheme: str, *, split: bool) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


# Added tokens of white space, beside it and with it inside, and what marks it in pieces.
_ADDED = (
    "\n",
    " ",
    "  ",
    "\n\n",
    "\n \n",
    " a",
    "b ",
    "\na",
    "a\n",
    "a",
    "b",
    "ab",
    "a b",
    "\t",
    "<m>",
    "\u2003",
    "\u00c9",
    "A",
    "\ufb01",
    "\u2581",
    "\u0120",
    ".",
)
_AROUND = (*" \n\t\u2003\x85\u3000\x0b\x1c\u200b", "a", "b", "A", "c", ".")


def with_added_tokens(seed: int) -> tuple[Tokenizer, list[str]]:
    """A drawn tokenizer of few pieces with one to four added tokens, and texts of these and of white space."""
    rng = random.Random(seed)
    pieces = ("[UNK]", "a", "b", "ab", "c", "\u2581a", "\u2581", "\u0120", "\u0120a", "\u00e9", "A", "\u010a", ".")
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [("a", "b"), ("\u2581", "a"), ("\u0120", "a")]
    made = Tokenizer(
        models.WordLevel(vocab, unk_token="[UNK]")
        if rng.random() < 0.5
        else models.BPE(vocab, merges, unk_token="[UNK]")
    )
    steps = (n.Lowercase(), n.NFKC(), n.Strip(), n.Replace(" ", "\u2581"), n.Prepend("\u2581"), n.BertNormalizer())
    splits = (p.Whitespace(), p.WhitespaceSplit(), p.ByteLevel(), p.Metaspace(), p.BertPreTokenizer())
    if rng.random() < 0.8:
        made.normalizer = rng.choice(steps)
    if rng.random() < 0.8:
        made.pre_tokenizer = rng.choice(splits)
    added = rng.sample(_ADDED, rng.randrange(1, 5))
    for text in added:
        flags = {name: rng.random() < 0.5 for name in ("lstrip", "rstrip", "normalized")}
        (made.add_special_tokens if rng.random() < 0.4 else made.add_tokens)([AddedToken(text, **flags)])
    pools = (added, added, _ADDED, _AROUND, _AROUND)
    asked = ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(9))) for _ in range(60)]
    return made, [*(token * times for token in added for times in (1, 2, 3)), *asked]


def _isolated(pattern: str) -> Any:
    return p.Split(Regex(pattern), "isolated")


def families() -> dict[str, Tokenizer]:
    """The tokenizers by what they are like, each the caller's own."""
    return {name: Tokenizer.from_str(document) for name, document in _documents().items()}


@functools.cache
def _documents() -> dict[str, str]:
    # Trained once: four files of tests ask for them as they are imported, 0.4 s each time.
    return {name: tokenizer.to_str() for name, tokenizer in _made().items()}


def _made() -> dict[str, Tokenizer]:
    llama, unigram = _llama(), _unigram(p.Metaspace())
    marks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    legacy = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, marks]}
    bytes_only = p.ByteLevel(add_prefix_space=False, use_regex=False)
    quotes = [n.Replace("``", '"'), n.Replace("''", '"')]
    return {
        "BERT uncased": _bert(n.BertNormalizer()),
        "BERT cased": _bert(n.BertNormalizer(lowercase=False)),
        "BERT with accents off alone": _bert(
            n.BertNormalizer(clean_text=False, strip_accents=True, lowercase=False, handle_chinese_chars=False),
            max_input_chars_per_word=10,
        ),
        "GPT-2": _bpe(p.ByteLevel(add_prefix_space=False), special=["<|endoftext|>"]),
        "RoBERTa": _roberta(),
        "Llama 3": _bpe(p.Sequence([p.Split(Regex(CL100K % r"\p{N}{1,3}"), "isolated"), bytes_only]),
                        special=["<|endoftext|>"], ignore_merges=True),
        "Qwen 2": _bpe(p.Sequence([p.Split(Regex(CL100K % r"\p{N}"), "isolated"), bytes_only]), n.NFC(),
                       special=["<|endoftext|>"]),
        "CLIP": _bpe(p.Sequence([p.Split(Regex(CLIP), "removed", invert=True), p.ByteLevel(add_prefix_space=False)]),
                     n.Sequence([n.NFC(), n.Replace(Regex(r"\s+"), " "), n.Lowercase()]),
                     special=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>",
                     unk_token="<|endoftext|>"),
        "StarCoder": _bpe(p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)]),
                          special=["<|endoftext|>"]),
        "GPT-4o": _bpe(p.Sequence([_isolated(O200K % (f"{ANY_CASE}?", f"{ANY_CASE}?", "{1,3}")), bytes_only]),
                       special=["<|endoftext|>"], ignore_merges=True),
        "Mistral's Tekken": _bpe(p.Sequence([_isolated(O200K % ("", "", "")), bytes_only]), special=["<s>"]),
        "DeepSeek V3": _bpe(p.Sequence([*map(_isolated, DEEPSEEK), bytes_only]), special=["<s>"]),
        "Bloom": _bpe(p.Sequence([_isolated(BLOOM), bytes_only]), special=["<unk>", "<s>"]),
        "Falcon": _bpe(p.Sequence([p.Punctuation("contiguous"), p.ByteLevel(add_prefix_space=False), p.Digits(),
                                   _isolated("[0-9][0-9][0-9]")]), special=["<|endoftext|>"]),
        "BpeTrainer's defaults": _bpe(p.Whitespace(), unk_token="[UNK]"),
        "BPE that drops what is unknown": _bpe(p.Whitespace()),
        "BPE that fuses what is unknown": _bpe(p.WhitespaceSplit(), n.NFKC(), unk_token="[UNK]", fuse_unk=True),
        "BPE with a prefix": _bpe(p.Whitespace(), n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()]),
                                  unk_token="[UNK]", continuing_subword_prefix="##"),
        "BPE with a suffix": _bpe(p.BertPreTokenizer(), n.Sequence([n.NFKD(), n.Lowercase()]), unk_token="[UNK]",
                                  end_of_word_suffix="</w>"),
        "bytes as a normalizer": _bpe(p.Split("Ġ", "merged_with_next"), n.ByteLevel(), special=["<s>"]),
        "Llama": _changed(llama, normalizer=legacy, pre_tokenizer=None),
        "Llama, new": _changed(llama, pre_tokenizer=_metaspace("first", split=False)),
        "Unigram": unigram,
        "Unigram of a whole text": _changed(unigram, pre_tokenizer=_metaspace("always", split=False)),
        "Unigram behind NFKC": _unigram(p.Sequence([p.WhitespaceSplit(), p.Metaspace()]),
                                        n.Sequence([n.NFKC(), n.Replace(Regex(" {2,}"), " ")])),
        "ALBERT without its table": _unigram(
            p.Sequence([p.WhitespaceSplit(), p.Metaspace()]),
            n.Sequence([*quotes, n.NFKD(), n.StripAccents(), n.Lowercase()])),
        "Unigram of many parts": _odd_unigram(),
        "whole words": _words(),
    }  # fmt: skip
