"""Small packed files of subwords: rules and vocabularies that hold every model, step and split, and hostile texts."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bundle_maker
from charsmap_maker import charsmap_of
from packing_tools import packed_bundle

from pocketrnn.text import Keep, Replace, SubwordRules, TextEncoder
from pocketrnn.text.code_point_patterns import Run, RunPart
from pocketrnn.text.subword_models import Bpe, Unigram, WholeWords, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import Pattern, PrependTo, SplitAt, SplitAtRuns, SplitAtText
from pocketrnn.text.subword_steps import (
    BYTE_CHARACTERS,
    WHITE_SPACE,
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    Surround,
    Table,
)

__all__ = ["FILES", "INERT", "STREAMS", "TEXTS", "Made", "made", "streamed"]

_MARK = "\u2581"
_SPACES = (" ", "\t\r", "\u0085", "\u00a0", "\u2000\u200a", "\u2028\u2029", "\u3000")
_PUNCTUATION = ("!/", ":@", "[`", "{~", "\u00bf", "\u2010\u2027", "\u3001\u3002")
_LETTERS = ("az", "AZ", "\u00c0\u00d6", "\u00d8\u00f6", "\u00f8\u02c1", "\u0391\u03c9", "\u0410\u044f", "\u4e00\u9fff")
_NUMBERS = ("09", "\u00b2\u00b3", "\u00bc\u00be", "\u0660\u0669", "\u2160\u2188")
# Characters that normal forms leave alone here, so that the files are small: all but Latin, Greek and Hangul.
INERT = (
    *("\u0400\u10ff", "\u1200\u1dff", "\u2000\uabff", "\ud7a4\ud7ff", "\ue000\ufaff"),
    *("\ufb07\ufeff", "\uff5f\U0010ffff"),
)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(0x100))

TEXTS = (
    "The team wins the cup game, isn't it? They've 12,345 reasons.",
    "unable able unaffable unx able[SEP]able [MASK]",
    "",
    " ",
    "\t\n  a \r\n\r\n b  c   \u00a0\u3000d",
    "e\u0301te\u0301 A\u030a \u00c5 \u212b u\u0308\u0323 u\u0323\u0308",
    "\u1e9e \u0130I\u0131 \u039f\u03a3 \ufb01x \uff21\uff42",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100 \uac00\u11a8 \u11a8",
    "\ud83d\ude00 \U0001f600\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "a\ud800b \udc00\ud83d",
    "\ud83d\ud83d\ude00",
    "\u4e2d\u6587\u5b57a\u4e2d \u3042\u3044",
    "it's IT'S it'S o'clock 'll 're 'ſ 'V'vE we'Re",
    "--a---b-- -- -",
    "a\u200bb\u0000c\u0007d\ufffd\u00ad",
    "[MASK] [mask]  [MASK]a[CLS][CL[CLS]] <mask>  <mask>\n",
    "aaaaaaabababcabcabcbabcaaaab",
    "\u2581\u2581a \u2581 \u0120\u010a ##a ##able</w>",
    "x" * 700,
    "ab" * 500,
    "a\u0301\u0323" * 90,
    "1 22 333 4444 55555 \u00b2\u00b3 \u0664 \u2167",
    "a\r\n\n b\n c!!\r\n?? \n",
    "\ufb01n \ufb01\ufb01 A\u030aA \u2764\ufe0f\u200d\u2764 \u0915\u094d\u0937\u093c \u0600a",
    "u\u0323\u0308 TH\u0301  abab'sab",
)


@dataclass
class Made:
    """A packed file, and its texts with the ids and logits that must come out."""

    content: bytes = field(repr=False)
    vectors: list[dict[str, Any]]


def _words(*more: str) -> tuple[str, ...]:
    pieces = [
        "The",
        "the",
        "team",
        "win",
        "##s",
        "cup",
        "un",
        "##able",
        "able",
        "##a",
        "##ff",
        "a",
        "b",
        "c",
        "##b",
        ",",
    ]
    return ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*pieces, *more]))


def _bert() -> tuple[SubwordRules, tuple[str, ...]]:
    """As BERT's: cleaned, spaces around Chinese, accents off, lower case; white space and punctuation."""
    rules = SubwordRules(
        WordPiece(most_characters=100), unknown_id=0, padding_id=1, max_tokens=40,
        steps=(
            Replace("\0", ""), Keep((*_SPACES, " \U0010ffff"), ""), Fold(_SPACES, 1, " "),
            Surround(("\u4e00\u9fff",)), Normalize("NFD", INERT), Fold(("\u0300\u036f",), 1, ""), LowercaseEach(),
        ),
        splits=(SplitAt(_SPACES, "removed"), SplitAt(_PUNCTUATION, "isolated")),
        added=tuple(AddedToken(i, strip_left=i == 4) for i in range(5)),
        first_ids=(2,), last_ids=(3,), max_width=48, min_width=4,
    )  # fmt: skip
    return rules, _words("it", "'", "s", "##\u0131", "\u4e2d", "\u6587", "e", "##te", "\u03bf", "##\u03c3", "!", "?")


def _words_kept() -> tuple[SubwordRules, tuple[str, ...]]:
    """Whole words, with every way to cut, and added tokens that are found behind the steps."""
    rules = SubwordRules(
        WholeWords(), unknown_id=None, empty_id=1, padding_id=1, cut_side="left", max_tokens=9, pad_side="left",
        steps=(Strip("both"), Prepend("a "), Fold((" ",), 2, " "), LowercaseEach()),
        splits=(
            SplitAtText("--", "with_previous"), SplitAtText("ab", "with_next"), SplitAtText("aa", "runs"),
            SplitAt((" ",), "removed"), SplitAt(("!", "?"), "with_previous"), SplitAt(("'",), "with_next"),
            SplitAt(("09",), "runs"), SplitAtText("cc", "isolated"), SplitAtText("[", "removed"), Replace("x", ""),
        ),
        added=(AddedToken(4, after_steps=True, strip_right=True), AddedToken(3, strip_right=True)),
        outside=(0, 2), last_ids=(3, 2), min_width=6, max_width=11,
    )  # fmt: skip
    return rules, _words(
        "--", "a--", "ab", "abab", "aa", "aaa", "'s", "isn", "'t", "it", "12", "345", "-", "mask]", "?"
    )


def _merged(tokens: tuple[str, ...], *pairs: str, prefix: str = "") -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The tokens with what merges make, and the merges' ids."""
    made = [*tokens]
    merges: list[int] = []
    for pair in pairs:
        left, right = pair.split(" ")
        merges += [made.index(left), made.index(right)]
        if left + right[len(prefix) :] not in made:
            made.append(left + right[len(prefix) :])
    return tuple(made), tuple(merges)


_PAIRS = (
    "a b",
    "ab ab",
    "ab c",
    "t h",
    "th e",
    "\u0120 the",
    "\u0120 t",
    "e a",
    "\u0120t ea",
    "\u0120tea m",
    "a a",
    "aa aa",
    "1 2",
)


def _gpt2(name: Any, *, last: bool = False) -> tuple[SubwordRules, tuple[str, ...]]:
    """Bytes as characters behind one of the patterns, merged."""
    tokens, merges = _merged((*BYTE_CHARACTERS, "<|end|>", "<mask>"), *_PAIRS)
    rules = SubwordRules(
        Bpe(merges, whole_words=name == "cl100k"), unknown_id=None, empty_id=256, padding_id=256,
        splits=(Pattern(name, _LETTERS, _NUMBERS, 2 if name == "cl100k" else 3), Bytes()),
        added=(AddedToken(256), AddedToken(257, strip_left=True, strip_right=True)),
        outside=(256, 257), last_ids=(256,) if last else (),
    )  # fmt: skip
    return rules, tokens


def _suffixed() -> tuple[SubwordRules, tuple[str, ...]]:
    """A suffix at each word's end behind NFC, as CLIP's, and a prefix inside."""
    points = ("a", "b", "c", "e", "t", "h", "\u00e9", "\u00c5", "\ud55c", "\uac01", "1", "2", "'")
    tokens = (
        "<unk>",
        *points,
        *(f"#{p}" for p in points),
        *(f"{p}</w>" for p in points),
        *(f"#{p}</w>" for p in points),
    )
    tokens, merges = _merged(tokens, "a #b", "ab #c</w>", "#b #a", "t #h", "th #e</w>", "ab #a", prefix="#")
    rules = SubwordRules(
        Bpe(merges, prefix="#", suffix="</w>"), unknown_id=0,
        steps=(Normalize("NFC", INERT), Fold(_SPACES, 1, " "), LowercaseEach()),
        splits=(Pattern("clip", _LETTERS, _NUMBERS),),
    )  # fmt: skip
    return rules, tokens


def _llama() -> tuple[SubwordRules, tuple[str, ...]]:
    """A whole text is one word, its spaces marked; unknown ones are their bytes."""
    tokens, merges = _merged(
        ("<unk>", "<s>", "</s>", *_BYTES, _MARK, *"abcdeghimnstwT"),
        "a b", "ab ab", "ab c", f"{_MARK} t", "h e", f"{_MARK}t he", f"{_MARK} {_MARK}", "e a", "i n", "a a", "aa aa",
    )  # fmt: skip
    rules = SubwordRules(
        Bpe(merges, fuse_unknown=True, byte_fallback=True), unknown_id=0, steps=(Prepend(_MARK), Replace(" ", _MARK)),
        added=(AddedToken(1), AddedToken(2)), first_ids=(1,),
    )  # fmt: skip
    return rules, tokens


def _pieces(*more: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    some = [
        _MARK,
        "a",
        "b",
        "c",
        "ab",
        "abc",
        "aa",
        "aaa",
        "e",
        "t",
        "he",
        "th",
        "the",
        f"{_MARK}the",
        f"{_MARK}t",
        "s",
    ]
    some += ["\u00e9", "\u4e2d", "\u6587", "\u4e2d\u6587", "fi", "x", "xx", "1", "12", "\U0001f600", *more]
    return ("<unk>", "<pad>", "</s>", *some), (0.0, 0.0, 0.0, *(-1.5 - ((7 * i) % 11) / 4 for i in range(len(some))))


def _t5() -> tuple[SubwordRules, tuple[str, ...]]:
    """A mark before every word, and sums in double precision."""
    tokens, scores = _pieces("<mask>")
    rules = SubwordRules(
        Unigram(scores), unknown_id=0, padding_id=1,
        steps=(Strip("right"), Strip("left", "-\t\u00a0"), Fold((" ",), 2, " ")),
        splits=(SplitAt((" ",), "removed"), PrependTo(_MARK)), outside=(1, 2),
        added=(AddedToken(2), AddedToken(len(tokens) - 1, strip_left=True)), last_ids=(2,),
    )  # fmt: skip
    return rules, tokens


def _looked_up() -> tuple[SubwordRules, tuple[str, ...]]:
    """The same without a trie, as files were first written, and still are where a piece has the byte 0."""
    rules, tokens = _t5()
    return replace(rules, model=Unigram((*rules.model.scores, -2.0))), (*tokens, "a\0")


def _sentence_pieces() -> tuple[SubwordRules, tuple[str, ...]]:
    """One word a text, the first marked, behind NFKC; sums in single precision, and unknown ones are their bytes."""
    tokens, scores = _pieces(*_BYTES)
    rules = SubwordRules(
        Unigram(scores, byte_fallback=True, exact=False), unknown_id=0, padding_id=1,
        steps=(Normalize("NFKC", INERT), Replace("---", "\u4e2d"), Replace("T", "t")),
        splits=(Replace(" ", _MARK), PrependTo(_MARK, first=True), SplitAt((_MARK,), "with_next")),
        added=(AddedToken(2),), first_ids=(2, 2), last_ids=(2,), max_width=600,
    )  # fmt: skip
    return rules, tokens


_BECOMES = {
    **{"\ufb01": "fi", "\ufb01n": "x", "\uff21": "a", "\u00a0": " ", "\t": " ", "\n": " ", "\u200b": "", "\x07": ""},
    **{
        "A": "a",
        "A\u030a": "\u00e5",
        "e\u0301": "\u00e9",
        "u\u0323\u0308": "b",
        "\u1112\u1161": "\ud558",
        "'s": "s",
        "\r\n": "t",
    },
    **{"\u0301": "", "\u00c5": "A\u030a", "\U0001f600": "\u4e2d\u6587", "TH": "the" * 6},
}
# By the rules of clusters, as much of them as there is in TEXTS.
_CLUSTERS = (
    ("\u0300\u036f", "\u200c\u200d", "\ufe0f", "\U0001f3fb\U0001f3ff"), ("\u0600\u0605",),
    ("\0\x1f", "\x7f\x9f", "\u200b", "\u2028\u2029"), ("\u2764", "\U0001f300\U0001faff"), ("\u0300\u036f", "\ufe0f"),
    ("\u0915\u0939",), ("\u094d",), ("\u093c", "\u200d"),
)  # fmt: skip


def _gemma() -> tuple[SubwordRules, tuple[str, ...]]:
    """Merges of one rank are done from the left; user-defined pieces stay, behind a table that leaves them."""
    tokens, merges = _merged(
        ("<unk>", "</s>", "ab", "abc", "\ufb01", f"{_MARK}{_MARK}", "\u0301", *_BYTES, _MARK, *"acetxbhs\u00e9"),
        "a a", "aa aa", "a aa", "aa a", "t h", "th e", "h e", "t he", f"{_MARK} the", "c a",
    )  # fmt: skip
    whole = tuple(range(2, 7))
    rules = SubwordRules(
        Bpe(merges, fuse_unknown=True, byte_fallback=True, ranks=(0, 1, 1, 1, 2, 3, 3, 3, 4, 4)), unknown_id=0,
        steps=(Prepend(" "), Table(charsmap_of(_BECOMES), kept=tuple(tokens[i] for i in whole)), Replace(" ", _MARK)),
        added=(*(AddedToken(i, after_steps=True, as_it_stands=True) for i in whole), AddedToken(1)),
        outside=(0, 1, *whole),
    )  # fmt: skip
    return rules, tokens


def _xlm_r() -> tuple[SubwordRules, tuple[str, ...]]:
    """A table by grapheme clusters, before a mark is put before every word."""
    tokens, scores = _pieces("\u00e5", "A", "\ud558")
    rules = SubwordRules(
        Unigram(scores), unknown_id=0, padding_id=1,
        steps=(Table(charsmap_of(_BECOMES), _CLUSTERS), Fold((" ",), 2, " ")),
        splits=(SplitAt((" ",), "removed"), PrependTo(_MARK)), outside=(1, 2), first_ids=(2,), last_ids=(2,),
    )  # fmt: skip
    return rules, tokens


_CAPITALS, _SMALL = (
    ("AZ", "\u00c0\u00d6", "\u00d8\u00de", "\u0391\u03a9"),
    ("az", "\u00df\u00f6", "\u00f8\u00ff", "\u03b1\u03c9"),
)
_MARKS = ("\u0300\u036f", "\u064b\u0652", "\u093c", "\u094d")


def _gpt4o() -> tuple[SubwordRules, tuple[str, ...]]:
    """Capitals and small letters are told apart, with contractions, and in what that leaves without them."""
    rules, tokens = _gpt2("gpt2")
    cased = {"capitals": _CAPITALS, "small": _SMALL, "marks": _MARKS}
    splits = tuple(
        Pattern("o200k", _LETTERS, _NUMBERS, digits, contractions=with_them, **cased)
        for digits, with_them in ((3, True), (2, False))
    )
    return replace(rules, splits=(*splits, Bytes())), tokens


def _runs() -> tuple[SubwordRules, tuple[str, ...]]:
    """Runs, as of Bloom and Falcon, each way to cut at them, and the three splits of DeepSeek V3."""
    rules, tokens = _gpt2("gpt2")
    marks = (*_PUNCTUATION, "\u0964", "\u2581")
    splits = (
        SplitAtRuns((Run(_NUMBERS, most=3), Run(("--",), least=2)), "isolated"),
        SplitAtRuns((Run(("\u4e00\u9fff", "\u3040\u30ff")),), "runs"),
        Pattern("deepseek", (*_LETTERS, *_MARKS), punctuation=marks),
        SplitAtRuns((Run(("ac",), (" ", "t"), 2, 4), Run(("x",), least=3, most=3)), "with_previous"),
        SplitAtRuns((Run(("b",), ("a",)),), "with_next", inverted=True),
        SplitAtRuns((Run(("\0\x08", "[]")),), "removed"),
    )
    return replace(rules, splits=(*splits, Bytes())), tokens


def _longer_runs() -> tuple[SubwordRules, tuple[str, ...]]:
    """Runs with what follows, what they end at, and what they do not stand before."""
    rules, tokens = _bert()
    any_letter = RunPart(("az",), 0, None)
    splits = (
        SplitAtRuns((Run((" ", "\n"), ends_at=("\n",)), Run((" ",), not_before=("!\uffff",))), "isolated"),
        SplitAtRuns(
            (Run(("<",), most=1, then=(RunPart(("az", "|"), 1, None), RunPart((">",)))), Run(("[",))), "isolated"
        ),
        SplitAtRuns(
            (Run(("'",), ("a",), then=(RunPart(("t",)), any_letter)), Run(("b",), then=(RunPart(("c",)),))), "removed"
        ),
        SplitAt((" ", "\n"), "removed"),
    )
    return replace(rules, splits=splits), tokens


FILES = {
    "subwords-wordpiece": _bert(),
    "subwords-words": _words_kept(),
    "subwords-gpt2": _gpt2("gpt2"),
    "subwords-cl100k": _gpt2("cl100k", last=True),
    "subwords-clip": _suffixed(),
    "subwords-bytes": _llama(),
    "subwords-unigram": _t5(),
    "subwords-unigram-bytes": _sentence_pieces(),
    "subwords-unigram-looked-up": _looked_up(),
    "subwords-ranks": _gemma(),
    "subwords-clusters": _xlm_r(),
    "subwords-o200k": _gpt4o(),
    "subwords-runs": _runs(),
    "subwords-longer-runs": _longer_runs(),
}


def _bert_streamed() -> tuple[SubwordRules, tuple[str, ...]]:
    """As BERT's, with all of Unicode's white space, in no width."""
    rules, tokens = _bert()
    spaces = tuple(WHITE_SPACE)
    steps = tuple(replace(step, ranges=spaces) if step == Fold(_SPACES, 1, " ") else step for step in rules.steps)
    splits = (SplitAt(spaces, "removed"), *rules.splits[1:])
    return replace(rules, steps=steps, splits=splits, max_width=None, min_width=None), tokens


# Rules that a stream follows: a split cuts at spaces, or none does, and pieces do not go across them.
STREAMS = {
    "streams-wordpiece": _bert_streamed(),
    "streams-merges": _llama(),
}
# Fragments of texts, and what is hard about them.
_FRAGMENTS = (
    ["The te", "am win", "s the c", "up, ", "un", "able", "!"],
    ["", "un", " ", "", "able ", "  ", "able"],
    ["a [MA", "SK]", " ", "able [SEP", "] [SEP]", " b"],
    ["a<", "s>", " the", "</s", "> the", " <s> a b"],
    ["e", "\u0301 ", "\u0301", " \u00a0", " \u4e2d", "\u4e2d a"],
    ["\u2581the", " \u2581", "the", " \u2581\u2581 ", "ab"],
    ["\ud83d", "\ude00 a", " \ud83d", " \ude00"],
    ["ab" * 20, "ab" * 20 + " ", "the " * 30, "end"],
)
# UTF-8 that is cut inside of characters, the last of which is never whole.
_IN_BYTES = "the \u00c9\u4e2d\U0001f600 ab \u0301 team \u4e2d".encode()[:-1]


def streamed(name: str) -> Made:
    """The file of a name, with a step, and what it answers after each fragment, of text or of bytes as hexadecimal."""
    rules, tokens = STREAMS[name]
    content = _packed(name, rules, tokens, stream=True)
    encoder, model = TextEncoder(rules, tokens), bundle_maker.weights(len(tokens), embedding=2, hidden=2)

    def line(member: str, given: list[str], so_far: list[str]) -> dict[str, Any]:
        ids = [encoder.encode(text) for text in so_far]
        return {member: given, "ids": ids, "logits": [_logits(model, some) for some in ids]}

    lines = []
    for fragments in _FRAGMENTS:
        so_far = ["".join(fragments[: i + 1]) for i in range(len(fragments))]
        lines.append(line("fragments", fragments, so_far))
    for width in (1, 3):
        cuts = [_IN_BYTES[at : at + width].hex() for at in range(0, len(_IN_BYTES), width)]
        so_far = [_IN_BYTES[: at + width].decode(errors="ignore") for at in range(0, len(_IN_BYTES), width)]
        lines.append(line("hex", cuts, so_far))
    return Made(content, lines)


def made(name: str) -> Made:
    """The file of a name, and what it answers."""
    rules, tokens = FILES[name]
    content = _packed(name, rules, tokens, lengths=False)
    encoder, model = TextEncoder(rules, tokens), bundle_maker.weights(len(tokens), embedding=2, hidden=2)
    given = [(text, encoder.encode(text)) for text in TEXTS]
    return Made(content, [{"text": text, "ids": ids, "logits": _logits(model, ids)} for text, ids in given])


def _packed(name: str, rules: SubwordRules, tokens: tuple[str, ...], **kind: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_maker.make(
            Path(folder) / name, name=name, rules=rules, vocabulary=tokens, torchscript=False, texts=TEXTS[:2],
            embedding=2, hidden=2, **kind,
        )  # fmt: skip
        return packed_bundle(bundle)


def _logits(model: bundle_maker.Weights, ids: list[int]) -> list[float]:
    # The shortest digits that give the float32.
    return [float(str(one)) for one in bundle_maker.reference_logits(model, ids)]
