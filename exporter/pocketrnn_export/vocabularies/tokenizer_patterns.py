"""The patterns of a tokenizer.json: which of them text rules can say, and how.

They are Oniguruma's, in the syntax of Ruby. Those that many tokenizers share are known as they are written; of others,
alternatives of runs of code points are read, such as `\\p{N}{1,3}` or ` ?[^\\s]+`. All else is not understood.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.bundle.packed_strings import merged_ranges
from pocketrnn.text.subword_splits import LONGEST_RUN, Part, Pattern, Run, Split, SplitAt, SplitAtRuns
from pocketrnn_training.texts.unicode_sets import other_points, points_of, ranges_of, unicode_set

__all__ = ["runs_of", "split_of"]

# The first and the last code point of each range, in order and apart.
_Set = list[tuple[int, int]]

_CONTRACTIONS: Final = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2: Final = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_CLIP: Final = rf"{_CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
_SPACES: Final = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_ANY_CASE: Final = rf"(?i:{_CONTRACTIONS})"
# The long s is an s in any case.
_ANY_CASE_BY_LETTER: Final = "'[sS\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
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
# Spellings of the same patterns, where a pattern as a whole is known.
_SAME: Final = (
    (re.compile(r"'\(\?:\[sdmt\]\|ll\|ve\|re\)"), _CONTRACTIONS),
    (re.compile(r"'\(\?i:\[sdmt\]\|ll\|ve\|re\)"), _ANY_CASE),
    # A possessive quantifier: the part that follows could not take what it gives back.
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
_QUANTIFIER: Final = re.compile(
    r"(?P<sign>[+?*])(?![?*+{])|(?P<all>\+\+)(?![?*+{])|\{(?P<exactly>\d{1,2})\}(?![?*+{])"
    r"|\{(?P<least>\d{1,2}),(?P<most>\d{0,2})\}(?![?*+{])|(?![?*+{])"
)
_REPEATS: Final = ("?", "*", "+", "{")
_MOST_ALTERNATIVES: Final = 256


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
    if not pattern:
        # It matches nothing, between all code points: these are words, unless just what is between is dropped.
        return SplitAt(ranges_of([(0, sys.maxunicode)]), "removed" if inverted and how == "removed" else "isolated")
    runs = runs_of(pattern)
    if runs is None:
        return None
    if len(runs) == 1 and runs[0] == Run(runs[0].ranges, (), runs[0].least, runs[0].most) and not inverted:
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
    # Each match of a pattern that matches all of a text is a word.
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
    """The runs that a pattern matches: its alternatives, each of code points of some classes one after the other, where
    what each takes can be said without trying. None if it is not understood so.

    Example:
        >>> runs_of(r"[a-c]{2,3}|\\n")
        (Run(ranges=('ac',), before=(), least=2, most=3, ends_at=(), not_before=(), then=()), \
Run(ranges=('\\n',), before=(), least=1, most=1, ends_at=(), not_before=(), then=()))
        >>> runs_of("a*") is None
        True
    """
    try:
        runs: list[Run] = []
        for alternative in _alternatives(_by_letter(pattern)):
            run = _parse_run(alternative)
            # Where both are one code point long, their order does not matter.
            if runs and _is_one(run) and _is_one(runs[-1]):
                run = Run(ranges_of(merged_ranges([*points_of(runs.pop().ranges), *points_of(run.ranges)])), most=1)
            runs.append(run)
    except _NotUnderstoodError:
        return None
    return tuple(runs) if len(runs) <= 16 else None


def _is_one(run: Run) -> bool:
    return run == Run(run.ranges, most=1)


def _by_letter(pattern: str) -> str:
    """Contractions in any case, by their letters; no other text that takes any case is understood."""
    return pattern.replace(_ANY_CASE, _ANY_CASE_BY_LETTER)


def _alternatives(pattern: str) -> list[str]:
    """The alternatives of a pattern, without the groups in it: `a(b|c)` is `ab` or `ac`."""
    cuts, depth, opened = [-1], 0, -1
    group: tuple[int, int] | None = None
    at = 0
    while at < len(pattern):
        point = pattern[at]
        if point == "\\":
            at += 1
        elif point == "[":
            at = _class(pattern, at + 1)[1] - 1
        elif point == "(":
            if depth == 0:
                opened = at
            depth += 1
            at += 2 if pattern.startswith(("?:", "?!"), at + 1) else 0
        elif point == ")":
            depth -= 1
            if depth < 0:
                raise _NotUnderstoodError
            if depth == 0 and group is None and not pattern.startswith("(?!", opened):
                group = (opened, at)
        elif point == "|" and depth == 0:
            cuts.append(at)
        at += 1
    if depth:
        raise _NotUnderstoodError
    if len(cuts) > 1:
        parts = [pattern[start + 1 : stop] for start, stop in zip(cuts, [*cuts[1:], len(pattern)], strict=True)]
        return [made for part in parts for made in _alternatives(part)]
    if group is None:
        return [pattern]
    start, stop = group
    if pattern[stop + 1 : stop + 2] in _REPEATS:
        raise _NotUnderstoodError
    inside = pattern[start + 1 : stop].removeprefix("?:")
    if inside[:1] == "?":
        raise _NotUnderstoodError
    made = [pattern[:start] + one + pattern[stop + 1 :] for one in _alternatives(inside)]
    if len(made) > _MOST_ALTERNATIVES:
        raise _NotUnderstoodError
    return [one for each in made for one in _alternatives(each)]


# An item of a pattern: the code points of one class, how many at least, and how many at most.
_Taken = tuple[_Set, int, int | None]


def _parse_run(pattern: str) -> Run:
    """The run that an alternative is."""
    pattern, not_before = _ahead(pattern)
    taken: list[_Taken] = []
    at = 0
    while at < len(pattern):
        some, at = _parse_item(pattern, at)
        least, most, at = _times(pattern, at)
        taken.append((some, least, most))
    before: _Set = []
    if len(taken) > 1 and taken[0][1:] == (0, 1):
        before = taken.pop(0)[0]
    if not taken:
        raise _NotUnderstoodError
    ends_at: _Set = []
    if len(taken) == 2 and _is_end_of(taken[0], taken[1]):
        ends_at = taken.pop()[0]
        taken[0] = (taken[0][0], 1, None)
    taken = _joined(taken)
    (first, least, most), then = taken[0], taken[1:]
    for i, one in enumerate(taken):
        _check_goes_on(one, taken[i + 1 :])
    if not_before and (then or ends_at or _meet(first, not_before) or least != 1 or most is not None):
        raise _NotUnderstoodError
    if not first or not 1 <= least <= LONGEST_RUN or len(then) > 31 or not all(some for some, _, _ in then):
        raise _NotUnderstoodError
    for _, fewest, limit in taken:
        if fewest > LONGEST_RUN or (limit is not None and not max(fewest, 1) <= limit <= LONGEST_RUN):
            raise _NotUnderstoodError
    parts = tuple(Part(ranges_of(some), least, most) for some, least, most in then)
    return Run(ranges_of(first), ranges_of(before), least, most, ranges_of(ends_at), ranges_of(not_before), parts)


def _ahead(pattern: str) -> tuple[str, _Set]:
    """The part before `(?!...)` at the end of a pattern, and the class in it; without it, the pattern and none."""
    start = pattern.find("(?!")
    if start < 0 or not pattern.endswith(")"):
        return pattern, []
    some, at = _parse_item(pattern, start + 3)
    if at != len(pattern) - 1 or not some:
        raise _NotUnderstoodError
    return pattern[:start], some


def _is_end_of(first: _Taken, second: _Taken) -> bool:
    """Whether the first takes all that the second does, and gives back what is behind the last of these."""
    within = not _meet(second[0], other_points(first[0]))
    return first[1:] == (0, None) and second[1:] in ((1, None), (1, 1)) and within


def _joined(taken: Sequence[_Taken]) -> list[_Taken]:
    """The same with neighbours of one class as one, where the first takes so many and no more."""
    made: list[_Taken] = []
    for some, least, most in taken:
        if made and made[-1][0] == some and made[-1][1] == made[-1][2]:
            _, before, _ = made.pop()
            least, most = least + before, None if most is None else most + before
        made.append((some, least, most))
    return made


def _check_goes_on(one: _Taken, behind: Sequence[_Taken]) -> None:
    """Refuse one that might have to give something back for what is behind it."""
    some, least, most = one
    if least == most or all(fewest == 0 for _, fewest, _ in behind):
        return
    for other, fewest, _ in behind:
        if _meet(some, other):
            raise _NotUnderstoodError
        if fewest:
            return


def _meet(some: _Set, others: _Set) -> bool:
    """Whether two classes have a code point together."""
    return bool(other_points(merged_ranges([*other_points(some), *other_points(others)])))


def _times(pattern: str, at: int) -> tuple[int, int | None, int]:
    found = _QUANTIFIER.match(pattern, at)
    if found is None:
        raise _NotUnderstoodError
    said = found.groupdict()
    if said["sign"] or said["all"]:
        least, most = {"?": (0, 1), "*": (0, None)}.get(said["sign"] or "+", (1, None))
    elif said["exactly"]:
        least = most = int(said["exactly"])
    elif said["least"]:
        least, most = int(said["least"]), int(said["most"]) if said["most"] else None
    else:
        least = most = 1
    return least, most, found.end()


def _parse_item(pattern: str, at: int) -> tuple[_Set, int]:
    """The code points of the item at this place in a pattern (a character, an escape or a class), and its end."""
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
    if not point or point in "|()?*+{}^$":
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
            last, at = _escaped(pattern, at + 2) if pattern[at + 1 : at + 2] == "\\" else _parse_item(pattern, at + 1)
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
