"""The patterns of a tokenizer.json: which of them text rules can say, and how.

They are Oniguruma's, in the syntax of Ruby. Those that many tokenizers share are known as they are written; of others,
alternatives of runs of code points are read, such as `\\p{N}{1,3}` or ` ?[^\\s]+`. All else is not understood.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from pocketrnn.bundle.packed_strings import merged_ranges
from pocketrnn.text.subword_splits import Pattern, Run, Split, SplitAt, SplitAtRuns
from pocketrnn_training.unicode_sets import other_points, points_of, ranges_of, unicode_set

__all__ = ["runs_of", "split_of"]

# The first and the last code point of each range, in order and apart.
_Set = list[tuple[int, int]]

_CONTRACTIONS: Final = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2: Final = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_CLIP: Final = rf"{_CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
_SPACES: Final = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_ANY_CASE: Final = rf"(?i:{_CONTRACTIONS})"
_CL100K: Final = (rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|", rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_SPACES}")
# With marks among the letters: what stands before letters may be a mark too, which changes nothing.
_WITH_MARKS: Final = (
    rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|",
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_SPACES}",
)
_CAPITAL, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K: Final = {
    contractions: (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITAL}*{_SMALL}+{end}|[^\r\n\p{{L}}\p{{N}}]?{_CAPITAL}+{_SMALL}*{end}|",
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_SPACES}",
    )
    for contractions, end in ((True, f"{_ANY_CASE}?"), (False, ""))
}
_DEEPSEEK: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*{_SPACES}"
).replace('\\"', '"')
_DIGITS: Final = {r"\p{N}": 1, r"\p{N}{1,2}": 2, r"\p{N}{1,3}": 3}
# What says the same in other words, where a pattern as a whole is known.
_SAME: Final = (
    (re.compile(r"'\(\?:\[sdmt\]\|ll\|ve\|re\)"), _CONTRACTIONS),
    (re.compile(r"'\(\?i:\[sdmt\]\|ll\|ve\|re\)"), _ANY_CASE),
    # What is not given back: what follows could not take it.
    (re.compile(r"(?<=[\]}])([?+])\+"), r"\1"),
    (re.compile(r"\\s\*\[\\r\\n\]\|"), r"\\s*[\\r\\n]+|"),
    (re.compile("\r"), r"\\r"),
    (re.compile("\n"), r"\\n"),
)
_PROPERTIES: Final = {
    "L": "letters", "N": "numbers", "M": "marks", "P": "punctuation_property", "S": "symbols", "Lu": "uppercase",
    "Lt": "titlecase", "Ll": "lowercase", "Nd": "decimals", "Han": "han", "Letter": "letters",
    "Punct": "punctuation_property",
}  # fmt: skip
_OF_LETTER: Final = {"s": "white_space", "d": "decimals", "w": "word_characters"}
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_QUANTIFIER: Final = re.compile(r"\+\+?(?![?*+{])|\{(\d{1,2})\}(?![?*+{])|\{(\d{1,2}),(\d{0,2})\}(?![?*+{])|(?![?*+{])")


class _NotUnderstoodError(Exception):
    """A pattern that is none of runs."""


def split_of(pattern: str, how: Any, *, inverted: bool) -> Split | None:
    """The split that `Split` with a pattern is; None if it is not understood.

    Args:
        pattern: the pattern.
        how: as in `SplitAt`.
        inverted: whether `how` is meant of what stands between the matches.

    Example:
        >>> split_of(r"[0-9]", "isolated", inverted=False)
        SplitAt(ranges=('09',), how='isolated')
    """
    if known := _known(pattern, how, inverted):
        return known
    # An empty pattern matches nothing between all code points.
    runs = runs_of(pattern) if pattern else (Run(ranges_of([(0, sys.maxunicode)]), most=1),)
    if runs is None:
        return None
    if len(runs) == 1 and not runs[0].before and not inverted:
        run = runs[0]
        if (run.least, run.most) == (1, 1) or (how == "removed" and (run.least, run.most) == (1, None)):
            return SplitAt(run.ranges, how)
        if how in ("isolated", "runs") and (run.least, run.most) == (1, None):
            return SplitAt(run.ranges, "runs")
    return SplitAtRuns(runs, how, inverted)


def _known(pattern: str, how: str, inverted: bool) -> Pattern | None:
    for other, this in _SAME:
        pattern = other.sub(this, pattern)
    letters, numbers = unicode_set("letters"), unicode_set("numbers")
    if pattern == _CLIP and (how, inverted) == ("removed", True):
        return Pattern("clip", letters, numbers)
    # Of a pattern that matches all of a text, each match is a word.
    if (how, inverted) not in (("isolated", False), ("isolated", True), ("removed", True)):
        return None
    if pattern == _GPT2:
        return Pattern("gpt2", letters, numbers)
    if pattern == _DEEPSEEK and how == "isolated":
        return Pattern("deepseek", _union("letters", "marks"), punctuation=_union("punctuation_property", "symbols"))
    if digits := _digits_between(pattern, *_CL100K):
        return Pattern("cl100k", letters, numbers, digits)
    if digits := _digits_between(pattern, *_WITH_MARKS):
        return Pattern("cl100k", _union("letters", "marks"), numbers, digits)
    for contractions, around in _O200K.items():
        if digits := _digits_between(pattern, *around):
            return Pattern(
                "o200k", letters, numbers, digits, capitals=_union("uppercase", "titlecase"),
                small=unicode_set("lowercase"), marks=unicode_set("marks"), contractions=contractions,
            )  # fmt: skip
    return None


def _digits_between(pattern: str, begin: str, end: str) -> int | None:
    """The most digits of a word, where the pattern begins and ends like that."""
    is_like = pattern.startswith(begin) and pattern.endswith(end) and len(pattern) >= len(begin) + len(end)
    return _DIGITS.get(pattern[len(begin) : -len(end)]) if is_like else None


def _union(*names: str) -> tuple[str, ...]:
    return ranges_of(merged_ranges(point for name in names for point in points_of(unicode_set(name))))


# --- Alternatives of runs ---


def runs_of(pattern: str) -> tuple[Run, ...] | None:
    """The runs that a pattern matches: its alternatives, each of code points of one class, behind one of another if one
    is there. None if it is not understood so.

    Example:
        >>> runs_of(r"[a-c]{2,3}|\\n")
        (Run(ranges=('ac',), before=(), least=2, most=3), Run(ranges=('\\n',), before=(), least=1, most=1))
        >>> runs_of("a*") is None
        True
    """
    runs: list[Run] = []
    at = 0
    try:
        while True:
            run, at = _run(pattern, at)
            runs.append(run)
            if at == len(pattern):
                return tuple(runs) if len(runs) <= 16 else None
            at += 1
    except _NotUnderstoodError:
        return None


def _run(pattern: str, at: int) -> tuple[Run, int]:
    """The alternative that begins at a place, and where it ends."""
    first, at = _one(pattern, at)
    before: _Set = []
    if pattern[at : at + 1] == "?" and pattern[at + 1 : at + 2] not in ("?", "+", "*", "{"):
        before = first
        first, at = _one(pattern, at + 1)
    least, most, at = _times(pattern, at)
    # The same once more.
    while at < len(pattern) and pattern[at] != "|":
        again, after = _one(pattern, at)
        times, limit, after = _times(pattern, after)
        if again != first or least != most:
            raise _NotUnderstoodError
        at, most, least = after, None if limit is None else least + limit, least + times
    if not first or not 1 <= least <= 64 or (most is not None and not least <= most <= 64):
        raise _NotUnderstoodError
    return Run(ranges_of(first), ranges_of(before), least, most), at


def _times(pattern: str, at: int) -> tuple[int, int | None, int]:
    found = _QUANTIFIER.match(pattern, at)
    if found is None:
        raise _NotUnderstoodError
    exactly, least, most = found.groups()
    if exactly is not None:
        return int(exactly), int(exactly), found.end()
    if least is not None:
        return int(least), int(most) if most else None, found.end()
    return 1, None if found.group() else 1, found.end()


def _one(pattern: str, at: int) -> tuple[_Set, int]:
    """What one code point is that stands there in a pattern: a character, an escape, or a class."""
    point = pattern[at : at + 1]
    if point == "[":
        return _class(pattern, at + 1)
    if point == "\\":
        some, after = _escaped(pattern, at + 1)
        if pattern[at + 1 : at + 2] in ("w", "W"):
            # Oniguruma takes these for word characters outside of brackets alone.
            wider = merged_ranges([*points_of(unicode_set("word_characters")), *((ord(c), ord(c)) for c in "²³¹¼½¾")])
            some = wider if pattern[at + 1] == "w" else other_points(wider)
        return some, after
    if point == ".":
        return other_points([(10, 10)]), at + 1
    if not point or point in "|()?*+{}^$]":
        raise _NotUnderstoodError
    return [(ord(point), ord(point))], at + 1


def _class(pattern: str, at: int) -> tuple[_Set, int]:
    is_other = pattern[at : at + 1] == "^"
    at += is_other
    found: _Set = []
    while pattern[at : at + 1] != "]" or not found:
        if at >= len(pattern) or pattern.startswith("&&", at) or pattern.startswith("[:", at) or pattern[at] == "]":
            raise _NotUnderstoodError
        if pattern[at] == "[":
            inner, at = _class(pattern, at + 1)
        elif pattern[at] == "\\":
            inner, at = _escaped(pattern, at + 1)
        else:
            inner, at = [(ord(pattern[at]), ord(pattern[at]))], at + 1
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] != "]":
            last, at = _escaped(pattern, at + 2) if pattern[at + 1 : at + 2] == "\\" else _one(pattern, at + 1)
            (start, same), (end, also) = inner[0], last[0]
            if len(inner) > 1 or len(last) > 1 or start != same or end != also or end < start:
                raise _NotUnderstoodError
            inner = [(start, end)]
        found = merged_ranges([*found, *inner])
    return other_points(found) if is_other else found, at + 1


def _escaped(pattern: str, at: int) -> tuple[_Set, int]:
    point = pattern[at : at + 1]
    if point in ("p", "P"):
        found = re.compile(r"\{(\^?)(\w+)\}").match(pattern, at + 1)
        if found is None or found[2] not in _PROPERTIES:
            raise _NotUnderstoodError
        some = points_of(unicode_set(_PROPERTIES[found[2]]))
        return other_points(some) if (point == "P") != bool(found[1]) else some, found.end()
    if point.lower() in _OF_LETTER:
        some = points_of(unicode_set(_OF_LETTER[point.lower()]))
        return other_points(some) if point.isupper() else some, at + 1
    if point in _CONTROLS:
        return [(ord(_CONTROLS[point]), ord(_CONTROLS[point]))], at + 1
    if found := re.compile(r"x\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})").match(pattern, at):
        code = int(found[1] or found[2] or found[3], 16)
        # Behind \x, two digits are a byte, and above ASCII part of a character.
        if code > sys.maxunicode or 0xD800 <= code <= 0xDFFF or (found[3] and code > 0x7F):
            raise _NotUnderstoodError
        return [(code, code)], found.end()
    if not point or not point.isascii() or point.isalnum():
        raise _NotUnderstoodError
    return [(ord(point), ord(point))], at + 1
