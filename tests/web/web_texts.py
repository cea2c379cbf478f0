"""Texts that an implementation in another language is likely to read differently, and real ones where they are here."""

from __future__ import annotations

import csv
import random
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

DATA = Path(__file__).parents[2].parent / "shared" / "data"
WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
PIECES = (
    *"'\".,()!?;:<>/\\ -#$&0aZ",
    *WHITE_SPACE,
    # White space in one language or another, but not in Python's.
    *"\ufeff\u180e\u200b\u2060\u200c\u200d\x00\x1b\x7f\x84\x86\u2800\u3164",
    # Lower-casing that depends on its neighbours, grows, or is not one to one.
    *"ΣσςİIıiẞßŉǰΐԵΈﬁﬀÉéÅKΩϴᏣꭰꮿᲐაǅǄǆ\u0345ʰ\u00ad\u0301\u0307\u0358",
    "ΑΣ", "ΑΣ.", "ΣΑΣ", "ΑΣ'Α", "Α\u00adΣ", "Σ\u0301Α", "1Σ", "ΌΔΟΣ ΟΔΌΣ", "ΑΣʰ", "ʰΣ", "a\U0001d6b9Σ",
    "ʕΣ", "\U0001171eΣ", "a\U0001171eΣ",
    # Beyond 16 bits, halves of such, sequences of several code points.
    *"😀中\U00010400\U00010428\U0001e900\U0010ffff\U0001d400", "\ud800", "\udfff", "\ud83d", "e\u0301",
    "👩\u200d💻", "🇩🇪",
    # Capitals of Unicode 16 and 17, and a case-ignorable code point of 15.
    "\u1c89\ua7cb\ua7da", "\U00010d50", "\U00016ea0", "\ua7ce", "Α\u0eceΣ",
    "<br />", "<BR />", "<br/>", "<br  />", "<b\"r />", "b\u0130r", "'s", "...", "Wall St.", "constructor", "__proto__",
    "toString", "hasOwnProperty",
)  # fmt: skip
# Characters that Unicode 15 and later changed; Python's answers for these depend on its version.
NEWER_THAN_14 = frozenset("\u1c89\ua7cb\ua7da\U00010d50\U00016ea0\ua7ce\u0ece")


def as_utf16(text: str) -> str:
    """`text` with two halves of a surrogate pair that stand together made one code point, as every UTF-16 string is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def adversarial(number: int, seed: int = 0) -> list[str]:
    """Random strings of the pieces above and of any code points at all."""
    draw = random.Random(seed)
    is_14 = unicodedata.unidata_version == "14.0.0"
    pieces = PIECES if is_14 else [p for p in PIECES if not NEWER_THAN_14.intersection(p)]
    highest = 0x3000 if is_14 else 0x800
    texts = ["", " ", "\n", "Σ", "\ufeff", "\ud800"]
    while len(texts) < number:
        chosen = [draw.choice(pieces) for _ in range(draw.randint(1, 30))]
        if draw.random() < 0.2:
            chosen += [chr(draw.randrange(highest)) for _ in range(10)]
        texts.append(as_utf16("".join(chosen)))
    return texts[:number]


def real(number: int) -> list[str]:
    """Texts of the data sets, in turn; where these are not here, made ones of like length."""
    texts: list[str] = []
    for path in sorted(DATA.glob("*/test.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row, _ in zip(csv.DictReader(file), range(number), strict=False)]
    draw = random.Random(1)
    if not texts:
        words = ["the", "Wall", "St.", "bears", "claw", "back", "oil", "prices,", "cup!", "(space)", "NASA's", "talks?"]
        texts = [" ".join(draw.choices(words, k=draw.randint(1, 120))) for _ in range(number)]
    draw.shuffle(texts)
    return texts[:number]


def vocabulary_of(texts: Sequence[Sequence[str]], size: int) -> tuple[str, ...]:
    """The commonest tokens, after `<unk>` and `<pad>`."""
    counts: dict[str, int] = {}
    for tokens in texts:
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    common = sorted(counts, key=lambda token: (-counts[token], token))
    return ("<unk>", "<pad>", *[token for token in common if token not in ("<unk>", "<pad>")][: size - 2])
