"""Tokenizers of odd settings, drawn and trained with Hugging Face's library: the same ids, or a refusal with a name."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder
from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json

pytest.importorskip("tokenizers")

from tokenizer_families import SENTENCES, texts, with_added_tokens
from tokenizers import AddedToken, Regex, Tokenizer, models, processors, trainers
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
HOW = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
REPLACED = (r"\s+", " {2,}", "[^a-z]", r"\d", r"\p{Punct}+", r"^\s+", "a|b", r"[^\w\s]")
CUT_AT = (
    *(
        r"\w+|[^\w\s]+",
        r"\s+",
        r"[^\s]+",
        r" ?\w+",
        r"\p{N}{1,3}",
        "",
        ".",
        r"<\d+>",
        r"[a-z]+ ?",
        r"http|\S",
        r"\b\w+\b",
    ),
    r"'s|'t| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"[A-Z]?[a-z]+|[A-Z]+|\d+|\s+|[^\w\s]",
)
ADDED = ("Added Word", "<mask>", "the", "\u00e9", "  strip  ", "ADDED", "un", "'s", "</s>", "12", "[PAD]", "\u2581x")


class Drawn:
    """Parts of a tokenizer, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def sometimes(self) -> bool:
        return self.rng.random() < 0.4

    def normalizer(self, depth: int = 0) -> Any:
        if depth < 2 and self.rng.random() < 0.3:
            return n.Sequence([self.normalizer(depth + 1) for _ in range(self.rng.randrange(4))])
        by = self.rng.choice(("", " ", "-"))
        return self.rng.choice(
            (
                *(n.NFC(), n.NFD(), n.NFKC(), n.NFKD(), n.Lowercase(), n.StripAccents(), n.Nmt(), n.ByteLevel()),
                *(n.Strip(self.sometimes(), self.sometimes()), n.Prepend(self.rng.choice(("\u2581", " ", "ab")))),
                n.Replace(self.rng.choice((" ", "a", "``")), self.rng.choice(("", "\u2581", "xyz"))),
                n.Replace(Regex(self.rng.choice(REPLACED)), by),
                n.BertNormalizer(self.sometimes(), self.sometimes(), None, self.sometimes()),
            )
        )

    def pre_tokenizer(self, depth: int = 0) -> Any:
        if depth < 2 and self.rng.random() < 0.3:
            return p.Sequence([self.pre_tokenizer(depth + 1) for _ in range(self.rng.randrange(4))])
        how, mark = self.rng.choice(HOW), self.rng.choice(("\u2581", "_", " "))
        scheme = self.rng.choice(("always", "never", "first"))
        return self.rng.choice(
            (
                p.ByteLevel(add_prefix_space=self.sometimes(), trim_offsets=False, use_regex=self.sometimes()),
                *(
                    p.BertPreTokenizer(),
                    p.Whitespace(),
                    p.WhitespaceSplit(),
                    p.Punctuation(how),
                    p.Digits(self.sometimes()),
                ),
                *(p.CharDelimiterSplit(self.rng.choice(" a\u00e9")), p.Metaspace(mark, scheme, self.sometimes())),
                p.Split(self.rng.choice((" ", "ab", "")), how, self.sometimes()),
                p.Split(Regex(self.rng.choice(CUT_AT)), how, self.sometimes()),
                p.FixedLength(self.rng.choice((1, 3, 7))),
            )
        )

    def model(self) -> tuple[Any, Any]:
        options: dict[str, Any] = {"special_tokens": SPECIAL, "show_progress": False}
        kind = self.rng.randrange(5)
        if kind == 0:
            most = self.rng.choice((100, 4))
            return models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=most), trainers.WordPieceTrainer(
                vocab_size=500, **options
            )
        if kind == 1:
            return models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(vocab_size=200, **options)
        if kind == 2:
            return models.Unigram(), trainers.UnigramTrainer(vocab_size=400, unk_token="[UNK]", **options)
        flags: dict[str, Any] = {flag: self.sometimes() for flag in ("fuse_unk", "byte_fallback", "ignore_merges")}
        affixes: dict[str, Any] = {}
        if self.sometimes():
            affixes = self.rng.choice(({"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}))
        if flags["byte_fallback"]:
            options["special_tokens"] = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
        unknown = "[UNK]" if self.sometimes() else None
        trainer = trainers.BpeTrainer(vocab_size=600, limit_alphabet=self.rng.choice((60, 1000)), **affixes, **options)
        return models.BPE(unk_token=unknown, **flags, **affixes), trainer

    def tokenizer(self) -> Tokenizer:
        model, trainer = self.model()
        made = Tokenizer(model)
        if self.rng.random() < 0.7:
            made.normalizer = self.normalizer()
        if self.rng.random() < 0.85:
            made.pre_tokenizer = self.pre_tokenizer()
        made.train_from_iterator([*SENTENCES] * 2, trainer)
        for text in self.rng.sample(ADDED, self.rng.randrange(3)):
            flags = {name: self.sometimes() for name in ("lstrip", "rstrip", "normalized")}
            made.add_tokens([AddedToken(text, single_word=self.rng.random() < 0.1, **flags)])
        if self.sometimes():
            ends = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
            made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        if self.rng.random() < 0.15:
            made.enable_truncation(self.rng.choice((3, 5, 10)), direction=self.rng.choice(("left", "right")))
        if self.rng.random() < 0.15:
            made.enable_padding(
                direction=self.rng.choice(("left", "right")), pad_id=1, length=self.rng.choice((None, 20))
            )
        return made


def outcome(seed: int) -> str:
    """Whether the rules give the library's ids, or are refused; where the library itself fails, nothing is compared."""
    try:
        tokenizer = Tokenizer.from_str(Drawn(seed).tokenizer().to_str())
    except BaseException as error:
        # A panic of the library is no Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "the library fails"
    try:
        made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
    except InputError as error:
        return "refused" if error.problem.startswith("tokenizer.json") else f"refused without the file: {error}"
    # Its output is read once more: a number may change each time.
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    encoder = TextEncoder(made.rules, made.tokens)
    added = [made.tokens[token.id] for token in made.rules.added]
    for text in (*SENTENCES, *texts(60, seed), *(f"a {token}{token} b{token}" for token in added)):
        assert encoder.encode(text) == (tokenizer.encode(text).ids or [made.rules.empty_id]), ascii(text)
    return "the same ids"


@pytest.mark.parametrize("tens", range(3))
def test_odd_tokenizers_give_the_ids_of_the_library_or_are_refused(tens: int) -> None:
    outcomes = [outcome(seed) for seed in range(10 * tens, 10 * tens + 10)]
    assert outcomes.count("the same ids") >= 3
    assert set(outcomes) <= {"the same ids", "refused", "the library fails"}


@pytest.mark.slow
@pytest.mark.parametrize("hundreds", range(1, 11))
def test_a_thousand_odd_tokenizers_do(hundreds: int) -> None:
    outcomes = [outcome(seed) for seed in range(100 * hundreds, 100 * hundreds + 100)]
    assert outcomes.count("the same ids") >= 50
    assert set(outcomes) <= {"the same ids", "refused", "the library fails"}


def compared_on_added(seeds: range) -> int:
    """How many texts of drawn tokenizers with added tokens were compared; those that the library panics on are not."""
    compared = 0
    for seed in seeds:
        tokenizer, asked = with_added_tokens(seed)
        try:
            made = read_tokenizer_json(tokenizer.to_str(), "tokenizer.json")
        except InputError:
            continue
        encoder = TextEncoder(made.rules, made.tokens)
        for text in asked:
            if (theirs := ids_by_the_library(tokenizer, text)) is not None:
                assert encoder.encode(text) == (theirs or [made.rules.empty_id]), (ascii(text), made.rules.added)
                compared += 1
    return compared


def ids_by_the_library(tokenizer: Tokenizer, text: str) -> list[int] | None:
    try:
        return list(tokenizer.encode(text).ids)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None


def test_white_space_that_several_added_tokens_take_is_theirs_as_in_the_library() -> None:
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    made.add_tokens([AddedToken("\n", lstrip=True, rstrip=True), AddedToken("\n\n\t", rstrip=True)])
    rules = read_tokenizer_json(made.to_str(), "tokenizer.json")
    encoder = TextEncoder(rules.rules, rules.tokens)
    for text, expected in (("\n\n", [3]), ("\n\n\n", [3]), ("\n\n\t\n", [4]), ("a\n \n", [1, 3])):
        assert encoder.encode(text) == made.encode(text).ids == expected
    # A token that is cut off at a text's end is not taken for the longer one.
    assert encoder.encode("\n\n\t\n\n") == made.encode("\n\n\t\n\n").ids
    assert compared_on_added(range(60)) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("thousands", range(1, 4))
def test_added_tokens_are_found_as_in_the_library(thousands: int) -> None:
    assert compared_on_added(range(1000 * thousands, 1000 * thousands + 1000)) > 40_000
