"""Parse the regular expressions of a tokenizer.json that text rules can express.

They are Oniguruma's, in the syntax of Ruby. Patterns that many tokenizers share are recognized as a whole; in others,
alternatives of runs of code points are parsed, such as `\\p{N}{1,3}` or ` ?[^\\s]+`. The rest is not understood.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.text.code_point_patterns import LONGEST_RUN, Run, RunPart
from pocketrnn.text.code_point_ranges import (
    complement_point_ranges,
    list_first_and_last_points,
    make_ranges_from_points,
    merge_ranges,
)
from pocketrnn.text.subword_splits import Pattern, Split, SplitAt, SplitAtRuns
from pocketrnn_training.texts.unicode_sets import find_unicode_set

# The first and the last code point of each range, sorted and disjoint.
_Set = list[tuple[int, int]]

_CONTRACTIONS: Final = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2: Final = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_CLIP: Final = rf"{_CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
_SPACES: Final = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_ANY_CASE: Final = rf"(?i:{_CONTRACTIONS})"
# Without case, the long s is an s.
_ANY_CASE_BY_LETTER: Final = "'[sS\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_CL100K: Final = (rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|", rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_SPACES}")
# With marks among the letters: the character before letters may also be a mark, which changes nothing.
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
# Other spellings of the known patterns, with the usual one.
_SAME: Final = (
    (re.compile(r"'\(\?:\[sdmt\]\|ll\|ve\|re\)"), _CONTRACTIONS),
    (re.compile(r"'\(\?i:\[sdmt\]\|ll\|ve\|re\)"), _ANY_CASE),
    # A possessive quantifier: the next part could not match what it would give back.
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
    """Raised if a regular expression cannot be expressed as runs of characters."""


def parse_split(pattern: str, behavior: Any, *, inverted: bool) -> Split | None:
    """Convert the regular expression of the pre-tokenizer `Split` in a tokenizer.json to a step of the text rules.
    Return None if text rules cannot express it.

    Args:
        pattern: the regular expression.
        behavior: what happens to the matches: "removed", "isolated" (each match becomes a word) or another behavior of
            `Split`.
        inverted: whether `behavior` applies to the text between the matches, and not to the matches.
    """
    if known := _match_known_pattern(pattern, behavior, inverted):
        return known
    if not pattern:
        # It matches between all code points: each is a word, unless the text between matches is removed.
        return SplitAt(
            make_ranges_from_points([(0, sys.maxunicode)]),
            "removed" if inverted and behavior == "removed" else "isolated",
        )
    runs = parse_runs(pattern)
    if runs is None:
        return None
    if len(runs) == 1 and runs[0] == Run(runs[0].ranges, (), runs[0].least, runs[0].most) and not inverted:
        run = runs[0]
        if (run.least, run.most) == (1, 1) or (behavior == "removed" and (run.least, run.most) == (1, None)):
            return SplitAt(run.ranges, behavior)
        if behavior in ("isolated", "runs") and (run.least, run.most) == (1, None):
            return SplitAt(run.ranges, "runs")
    return SplitAtRuns(runs, behavior, inverted)


def _match_known_pattern(pattern: str, behavior: str, inverted: bool) -> Pattern | None:
    """Return the step of the text rules for a regular expression that is known as a whole, such as that of GPT-2.
    Return None for any other expression, behavior or direction."""
    for other, this in _SAME:
        pattern = other.sub(this, pattern)
    letters, numbers = find_unicode_set("letters"), find_unicode_set("numbers")
    if pattern == _CLIP and (behavior, inverted) == ("removed", True):
        return Pattern("clip", letters, numbers)
    # These patterns match all of a text, so each match is a word.
    if (behavior, inverted) not in (("isolated", False), ("isolated", True), ("removed", True)):
        return None
    if pattern == _GPT2:
        return Pattern("gpt2", letters, numbers)
    if pattern == _DEEPSEEK and behavior == "isolated":
        return Pattern(
            "deepseek", _join_sets("letters", "marks"), punctuation=_join_sets("punctuation_property", "symbols")
        )
    if digits := _find_most_digits(pattern, *_CL100K):
        return Pattern("cl100k", letters, numbers, digits)
    if digits := _find_most_digits(pattern, *_WITH_MARKS):
        return Pattern("cl100k", _join_sets("letters", "marks"), numbers, digits)
    for contractions, around in _O200K.items():
        if digits := _find_most_digits(pattern, *around):
            return Pattern(
                "o200k", letters, numbers, digits, capitals=_join_sets("uppercase", "titlecase"),
                small=find_unicode_set("lowercase"), marks=find_unicode_set("marks"), contractions=contractions,
            )  # fmt: skip
    return None


def _find_most_digits(pattern: str, begin: str, end: str) -> int | None:
    r"""Return how many digits a word may have at most, if a regular expression consists of `begin`, a pattern for
    digits such as `\p{N}{1,3}`, and `end`. Return None for any other regular expression."""
    is_like = pattern.startswith(begin) and pattern.endswith(end) and len(pattern) >= len(begin) + len(end)
    return _DIGITS.get(pattern[len(begin) : -len(end)]) if is_like else None


def _join_sets(*names: str) -> tuple[str, ...]:
    """Return the ranges of all characters in the Unicode sets with these names, such as "letters"."""
    return make_ranges_from_points(
        merge_ranges(point for name in names for point in list_first_and_last_points(find_unicode_set(name)))
    )


# --- Alternatives of runs ---


def parse_runs(pattern: str) -> tuple[Run, ...] | None:
    """Parse a regular expression as runs, one for each of its alternatives. A run is a sequence of repeated character
    classes that can be matched without backtracking. Return None if the expression has another form.

    Example:
        >>> len(parse_runs("a+|b"))
        2
        >>> parse_runs("a*") is None
        True
    """
    try:
        runs: list[Run] = []
        # Contractions of any case, with both cases of each letter. Other patterns of any case are not supported.
        for alternative in _expand_alternatives(pattern.replace(_ANY_CASE, _ANY_CASE_BY_LETTER)):
            run = _parse_run(alternative)
            # If both match one code point, their order does not matter.
            if runs and _matches_one_code_point(run) and _matches_one_code_point(runs[-1]):
                run = Run(
                    make_ranges_from_points(
                        merge_ranges(
                            [*list_first_and_last_points(runs.pop().ranges), *list_first_and_last_points(run.ranges)]
                        )
                    ),
                    most=1,
                )
            runs.append(run)
    except _NotUnderstoodError:
        return None
    return tuple(runs) if len(runs) <= 16 else None


def _matches_one_code_point(run: Run) -> bool:
    """Return whether a run matches exactly one character."""
    return run == Run(run.ranges, most=1)


def _expand_alternatives(pattern: str) -> list[str]:
    """Return the alternatives of a regular expression, with its groups multiplied out: `ab` and `ac` for `a(b|c)`.
    Raise a _NotUnderstoodError if the groups cannot be multiplied out."""
    cuts, depth, opened = [-1], 0, -1
    group: tuple[int, int] | None = None
    index = 0
    while index < len(pattern):
        point = pattern[index]
        if point == "\\":
            index += 1
        elif point == "[":
            index = _parse_class(pattern, index + 1)[1] - 1
        elif point == "(":
            if depth == 0:
                opened = index
            depth += 1
            index += 2 if pattern.startswith(("?:", "?!"), index + 1) else 0
        elif point == ")":
            depth -= 1
            if depth < 0:
                raise _NotUnderstoodError
            if depth == 0 and group is None and not pattern.startswith("(?!", opened):
                group = (opened, index)
        elif point == "|" and depth == 0:
            cuts.append(index)
        index += 1
    if depth:
        raise _NotUnderstoodError
    if len(cuts) > 1:
        parts = [pattern[start + 1 : stop] for start, stop in zip(cuts, [*cuts[1:], len(pattern)], strict=True)]
        return [made for part in parts for made in _expand_alternatives(part)]
    if group is None:
        return [pattern]
    start, stop = group
    if pattern[stop + 1 : stop + 2] in _REPEATS:
        raise _NotUnderstoodError
    inside = pattern[start + 1 : stop].removeprefix("?:")
    if inside[:1] == "?":
        raise _NotUnderstoodError
    made = [pattern[:start] + one + pattern[stop + 1 :] for one in _expand_alternatives(inside)]
    if len(made) > _MOST_ALTERNATIVES:
        raise _NotUnderstoodError
    return [one for each in made for one in _expand_alternatives(each)]


# An item of a pattern: a class of code points, with the fewest and the most repeats.
_Item = tuple[_Set, int, int | None]


def _parse_run(pattern: str) -> Run:
    """Parse one alternative of a regular expression as a run, a sequence of repeated character classes. Raise a
    _NotUnderstoodError if matching the alternative may need backtracking."""
    pattern, not_before = _split_lookahead(pattern)
    taken: list[_Item] = []
    index = 0
    while index < len(pattern):
        some, index = _parse_item(pattern, index)
        least, most, index = _parse_quantifier(pattern, index)
        taken.append((some, least, most))
    before: _Set = []
    if len(taken) > 1 and taken[0][1:] == (0, 1):
        before = taken.pop(0)[0]
    if not taken:
        raise _NotUnderstoodError
    ends_at: _Set = []
    if len(taken) == 2 and _ends_run(taken[0], taken[1]):
        ends_at = taken.pop()[0]
        taken[0] = (taken[0][0], 1, None)
    taken = _merge_items(taken)
    (first, least, most), then = taken[0], taken[1:]
    for i, one in enumerate(taken):
        _refuse_backtracking(one, taken[i + 1 :])
    if not_before and (then or ends_at or _has_common_points(first, not_before) or least != 1 or most is not None):
        raise _NotUnderstoodError
    if not first or not 1 <= least <= LONGEST_RUN or len(then) > 31 or not all(some for some, _, _ in then):
        raise _NotUnderstoodError
    for _, fewest, limit in taken:
        if fewest > LONGEST_RUN or (limit is not None and not max(fewest, 1) <= limit <= LONGEST_RUN):
            raise _NotUnderstoodError
    parts = tuple(RunPart(make_ranges_from_points(some), least, most) for some, least, most in then)
    return Run(
        make_ranges_from_points(first),
        make_ranges_from_points(before),
        least,
        most,
        make_ranges_from_points(ends_at),
        make_ranges_from_points(not_before),
        parts,
    )


def _split_lookahead(pattern: str) -> tuple[str, _Set]:
    """Return a regular expression without the negative lookahead `(?!...)` at its end, and the characters in this
    lookahead. Without a lookahead, return the whole expression and an empty list."""
    start = pattern.find("(?!")
    if start < 0 or not pattern.endswith(")"):
        return pattern, []
    some, index = _parse_item(pattern, start + 3)
    if index != len(pattern) - 1 or not some:
        raise _NotUnderstoodError
    return pattern[:start], some


def _ends_run(first: _Item, second: _Item) -> bool:
    """Return whether the first item repeats a class of characters any number of times, and the second item needs one or
    more characters of this class, as in `[abc]*a`. The second item then only decides where the run ends."""
    within = not _has_common_points(second[0], complement_point_ranges(first[0]))
    return first[1:] == (0, None) and second[1:] in ((1, None), (1, 1)) and within


def _merge_items(taken: Sequence[_Item]) -> list[_Item]:
    """Merge neighbouring items that repeat the same class of characters, if the first item has a fixed number of
    repeats: `a{2}` and `a+` become `a{3,}`."""
    made: list[_Item] = []
    for some, least, most in taken:
        if made and made[-1][0] == some and made[-1][1] == made[-1][2]:
            _, before, _ = made.pop()
            least, most = least + before, None if most is None else most + before
        made.append((some, least, most))
    return made


def _refuse_backtracking(one: _Item, behind: Sequence[_Item]) -> None:
    """Raise a _NotUnderstoodError if the item `one` may match characters that the items after it, `behind`, need. A
    regular expression engine would then have to backtrack."""
    some, least, most = one
    if least == most or all(fewest == 0 for _, fewest, _ in behind):
        return
    for other, fewest, _ in behind:
        if _has_common_points(some, other):
            raise _NotUnderstoodError
        if fewest:
            return


def _has_common_points(some: _Set, others: _Set) -> bool:
    """Return whether two classes of characters have a character in common."""
    return bool(
        complement_point_ranges(merge_ranges([*complement_point_ranges(some), *complement_point_ranges(others)]))
    )


def _parse_quantifier(pattern: str, index: int) -> tuple[int, int | None, int]:
    """Parse the quantifier at an index of a regular expression, such as `+` or `{1,3}`. Return the smallest number of
    repeats, the largest number (None for any), and the index after the quantifier. No quantifier means one repeat."""
    found = _QUANTIFIER.match(pattern, index)
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


def _parse_item(pattern: str, index: int) -> tuple[_Set, int]:
    """Parse the character, the escape or the class in brackets at an index of a regular expression. Return the set of
    characters that it matches, and the index after it."""
    point = pattern[index : index + 1]
    if point == "[":
        return _parse_class(pattern, index + 1)
    if point == "\\":
        some, after = _parse_escape(pattern, index + 1)
        if pattern[index + 1 : index + 2] in ("w", "W"):
            # For Oniguruma these are word characters only outside of brackets.
            wider = merge_ranges(
                [
                    *list_first_and_last_points(find_unicode_set("word_characters")),
                    *((ord(c), ord(c)) for c in "²³¹¼½¾"),
                ]
            )
            some = wider if pattern[index + 1] == "w" else complement_point_ranges(wider)
        return some, after
    if point == ".":
        return complement_point_ranges([(10, 10)]), index + 1
    if not point or point in "|()?*+{}^$":
        raise _NotUnderstoodError
    return [(ord(point), ord(point))], index + 1


def _parse_class(pattern: str, index: int) -> tuple[_Set, int]:
    """Parse a class of characters, such as `[a-z]`. `index` is the place after the `[`. Return the set of characters
    that the class matches, and the index after the `]`."""
    is_other = pattern[index : index + 1] == "^"
    index += is_other
    found: _Set = []
    while pattern[index : index + 1] != "]" or not found:
        if (
            index >= len(pattern)
            or pattern.startswith("&&", index)
            or pattern.startswith("[:", index)
            or pattern[index] == "]"
        ):
            raise _NotUnderstoodError
        if pattern[index] == "[":
            inner, index = _parse_class(pattern, index + 1)
        elif pattern[index] == "\\":
            inner, index = _parse_escape(pattern, index + 1)
        else:
            inner, index = [(ord(pattern[index]), ord(pattern[index]))], index + 1
        if pattern[index : index + 1] == "-" and pattern[index + 1 : index + 2] != "]":
            last, index = (
                _parse_escape(pattern, index + 2)
                if pattern[index + 1 : index + 2] == "\\"
                else _parse_item(pattern, index + 1)
            )
            (start, same), (end, also) = inner[0], last[0]
            if len(inner) > 1 or len(last) > 1 or start != same or end != also or end < start:
                raise _NotUnderstoodError
            inner = [(start, end)]
        found = merge_ranges([*found, *inner])
    return complement_point_ranges(found) if is_other else found, index + 1


def _parse_escape(pattern: str, index: int) -> tuple[_Set, int]:
    r"""Parse an escape, such as `\s` or `\p{L}`. `index` is the place after the backslash. Return the set of characters
    that the escape matches, and the index after it."""
    point = pattern[index : index + 1]
    if point in ("p", "P"):
        found = re.compile(r"\{(\^?)(\w+)\}").match(pattern, index + 1)
        if found is None or found[2] not in _PROPERTIES:
            raise _NotUnderstoodError
        some = list_first_and_last_points(find_unicode_set(_PROPERTIES[found[2]]))
        return complement_point_ranges(some) if (point == "P") != bool(found[1]) else some, found.end()
    if point.lower() in _OF_LETTER:
        some = list_first_and_last_points(find_unicode_set(_OF_LETTER[point.lower()]))
        return complement_point_ranges(some) if point.isupper() else some, index + 1
    if point in _CONTROLS:
        return [(ord(_CONTROLS[point]), ord(_CONTROLS[point]))], index + 1
    if found := re.compile(r"x\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})").match(pattern, index):
        code = int(found[1] or found[2] or found[3], 16)
        # Two digits after \x are a byte, which above ASCII is only a part of a character.
        if code > sys.maxunicode or 0xD800 <= code <= 0xDFFF or (found[3] and code > 0x7F):
            raise _NotUnderstoodError
        return [(code, code)], found.end()
    if not point or not point.isascii() or point.isalnum():
        raise _NotUnderstoodError
    return [(ord(point), ord(point))], index + 1
