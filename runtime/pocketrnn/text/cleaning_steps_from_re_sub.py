"""Convert a call of `re.sub` to cleaning steps that change every text in the same way, or name what no step can do.

A pattern becomes alternatives of items: sets of code points, each with the fewest and the most that it takes,
boundaries of words, and the ends of the text. An item of a step gives nothing back to the next one. A pattern is
therefore refused if `re` might have to give something back.
"""

from __future__ import annotations

import functools
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.cleaning_steps import CleaningStep, Keep, Replace, ReplaceRuns
from pocketrnn.text.code_point_patterns import LONGEST_RUN, MOST_PARTS, MOST_RUNS, Run, RunPart
from pocketrnn.text.code_point_ranges import (
    complement_point_ranges,
    find_ranges,
    list_first_and_last_points,
    make_ranges_from_points,
    merge_ranges,
)

__all__ = ["convert_sub_to_steps"]

# The first and the last code point of each range, sorted and disjoint.
_Set = list[tuple[int, int]]

_MOST_ALTERNATIVES: Final = 256
# `([.,!?])` by ` \1 ` is a replacement of each of them.
_MOST_REPLACED: Final = 256
_LONGEST: Final = 256
_OUT: Final = (
    "Use one of the patterns that docs/text-rules.md lists. Or export with --tokenizer external, and clean and split "
    "the texts in your own code; such a bundle cannot be packed."
)
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}
_QUANTIFIER: Final = re.compile(r"([?*+]|\{\d+\}|\{\d*,\d*\})([?+]?)")
_CODE: Final = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
_GROUP: Final = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
# A reference of a replacement to the whole match, or to its first group, behind an even number of backslashes.
_REFERENCE: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:g<(\w+)>|([1-9]\d?))")


_WHY_NO_ESCAPE: Final = {
    "B": "it requires a position that is not a word boundary",
    "z": "it depends on where a match is in the text",
}
# The parts of a pattern that stand for an end of the text.
_BEGINNINGS: Final = ("^", r"\A")
_ENDS: Final = ("$", r"\Z")
# In a word of all code points, boundaries are only at the two ends of the text.
_EVERYTHING: Final = ("\0\U0010ffff",)


class _NoEqualStepError(Exception):
    """A part of a pattern cannot be converted to a cleaning step. The arguments are the part and the reason."""


@dataclass(frozen=True)
class _Item:
    """A part of a pattern: it matches `least` to `most` code points of the set `points`.

    `source` is its text in the pattern. With `is_lazy`, it matches as few code points as possible. With `branches`,
    alternatives follow it, and `re` tries them for each number of code points. An item for a word boundary, or for the
    beginning or the end of the text, matches no code point.
    """

    points: _Set
    source: str
    least: int = 1
    most: int | None = 1
    is_lazy: bool = False
    branches: bool = False

    @property
    def is_single(self) -> bool:
        return (self.least, self.most) == (1, 1)

    @property
    def is_boundary(self) -> bool:
        """Whether the item is a word boundary (`\\b`), or the beginning or the end of the text."""
        return self.most == 0

    @property
    def is_text_end(self) -> bool:
        """Whether the item is the beginning or the end of the text (`^`, `\\A`, `$` or `\\Z`)."""
        return self.source in (*_BEGINNINGS, *_ENDS) and self.is_boundary

    @property
    def is_required(self) -> bool:
        """Whether each match of the pattern contains this item."""
        return self.least > 0 or self.is_boundary


_Items = list[_Item]


def convert_sub_to_steps(pattern: str, by: str) -> tuple[CleaningStep, ...]:
    """Convert `re.sub(pattern, by, text)` to cleaning steps.

    Args:
        pattern: alternatives of characters and classes with `?`, `*`, `+` and `{...}`, in groups or not.
        by: the replacement, as in `re.sub`. `\\1` can be used if the whole pattern is one group that matches single
            characters or one string.

    Returns:
        Steps that change every text as `re.sub` does. `\\w`, `\\s` and `\\d` match what they match in this Python.

    Raises:
        InputError: the pattern is not valid, or a part of it cannot be converted.
    """
    if not isinstance(pattern, str) or not isinstance(by, str):
        raise InputError(
            f"The pattern and the replacement of a step are {short_repr([pattern, by])}, but both must be strings.",
            "Give two strings, as for re.sub.",
        )
    try:
        with warnings.catch_warnings():
            # A class such as [[] is told to mean something else one day.
            warnings.simplefilter("ignore")
            compiled = re.compile(pattern)
            compiled.sub(by, "")
    except (re.error, IndexError, OverflowError, RecursionError) as error:
        raise InputError(
            f"re.sub fails with the pattern {short_repr(pattern)} and the replacement {short_repr(by)}: {error}.",
            "Correct the pattern or the replacement.",
        ) from None
    errors: list[_NoEqualStepError] = []
    for expands in (False, True):
        try:
            return _make_steps(_Parser(pattern, expands=expands).parse_alternatives(), pattern, by)
        except _NoEqualStepError as error:
            errors.append(error)
        except RecursionError:
            errors.append(_NoEqualStepError(pattern, "it has too many nested groups"))
    part, why = errors[0].args
    raise InputError(
        f"The pattern {short_repr(pattern, 60)} cannot be converted to cleaning steps because of its part "
        f"{short_repr(part)}: {why}.",
        _OUT,
    )


class _Parser:
    """Parses a valid pattern into alternatives of items, in the order in which `re` tries them.

    Args:
        expands: whether a limited repetition becomes alternatives: `a{1,3}` becomes `aaa|aa|a`.
    """

    def __init__(self, pattern: str, *, expands: bool) -> None:
        self._pattern, self._expands, self._at = pattern, expands, 0

    def parse_alternatives(self) -> list[_Items]:
        """Parse the alternatives up to the end of the group or pattern."""
        found = self._parse_sequence()
        while self._peek_characters() == "|":
            self._at += 1
            found += self._parse_sequence()
        return found

    def _parse_sequence(self) -> list[_Items]:
        """Parse one alternative of the pattern. Return several alternatives if it has optional parts."""
        found: list[_Items] = [[]]
        while self._peek_characters() not in ("", "|", ")"):
            start = self._at
            alternatives = self._apply_quantifier(self._parse_atom(), start)
            if len(alternatives) > 1:
                found = [[replace(item, branches=True) for item in before] for before in found]
            found = [
                [*before, *one]
                for before in found
                for alternative in alternatives
                for one in _split_optional_first_item(before, alternative)
            ]
            if len(found) > _MOST_ALTERNATIVES:
                raise _NoEqualStepError(
                    self._pattern[start : self._at], f"it makes more than {_MOST_ALTERNATIVES} alternatives"
                )
            if len(found[0]) > _LONGEST:
                raise _NoEqualStepError(
                    self._pattern[start:], f"it comes after {_LONGEST} other parts, which is the limit"
                )
        return found

    def _peek_characters(self, length: int = 1) -> str:
        return self._pattern[self._at : self._at + length]

    def _parse_atom(self) -> list[_Items]:
        """Parse a character, a class or a group, without its quantifier."""
        start, point = self._at, self._peek_characters()
        if point == "(":
            opened = _GROUP.match(self._pattern, start)
            if opened is None:
                raise _NoEqualStepError(self._peek_characters(4), "it is a lookahead or lookbehind, or it sets flags")
            self._at = opened.end()
            found = self.parse_alternatives()
            self._at += 1
            return found
        self._at += 1
        if point in "^$":
            return [[_Item([], point, 0, 0)]]
        if point == "[":
            points = self._parse_class()
        elif point == "\\" and self._peek_characters() in ("b", "A", "Z"):
            self._at += 1
            return [[_Item([], self._pattern[start : self._at], 0, 0)]]
        elif point == "\\":
            points = self._parse_escape(in_class=False)
        elif point == ".":
            points = complement_point_ranges([(10, 10)])
        else:
            points = [(ord(point), ord(point))]
        return [[_Item(points, self._pattern[start : self._at])]]

    def _apply_quantifier(self, alternatives: list[_Items], start: int) -> list[_Items]:
        """Apply the quantifier at the current position to the item or group that begins at `start`."""
        if len(alternatives) > 1 and all(
            len(alternative) == 1 and alternative[0].is_single for alternative in alternatives
        ):
            points = merge_ranges(point for alternative in alternatives for point in alternative[0].points)
            alternatives = [[_Item(points, self._pattern[start : self._at])]]
        found = _QUANTIFIER.match(self._pattern, self._at)
        if found is None:
            return alternatives
        self._at = found.end()
        sign, more = found.groups()
        source = self._pattern[start : self._at]
        if more == "+":
            raise _NoEqualStepError(source, "possessive quantifiers (?+, *+, ++) are not supported")
        if sign == "?":
            if more:
                raise _NoEqualStepError(source, "the lazy quantifier ?? is not supported")
            is_item = len(alternatives) == 1 and len(alternatives[0]) == 1 and alternatives[0][0].is_single
            return [[replace(alternatives[0][0], least=0)]] if is_item and not self._expands else [*alternatives, []]
        least, most = _parse_repetition(sign)
        if (least, most, more) in ((0, None, ""), (1, None, "")):
            alternatives = _drop_contained_alternatives(alternatives)
        if not all(len(alternative) == 1 and alternative[0].is_single for alternative in alternatives):
            raise _NoEqualStepError(source, "it repeats a group that is not a single character")
        if max(least, most or 0) > LONGEST_RUN:
            raise _NoEqualStepError(source, f"it has a number above {LONGEST_RUN}, which is the limit")
        if more and most is not None and most > least:
            raise _NoEqualStepError(source, "a lazy quantifier with a largest number is not supported")
        points = merge_ranges(point for alternative in alternatives for point in alternative[0].points)
        item = _Item(points, source, least, most, is_lazy=bool(more) and most is None)
        if most is None or (least != most and not self._expands):
            return [[item]]
        return [[replace(item, least=n, most=n)] if n else [] for n in range(most, least - 1, -1)]

    def _parse_class(self) -> _Set:
        """Parse a class after its opening bracket, and return its code points."""
        is_other = self._peek_characters() == "^"
        self._at += is_other
        found, first = list[tuple[int, int]](), self._at
        while self._peek_characters() != "]" or self._at == first:
            inner = self._parse_class_item()
            if self._peek_characters() == "-" and self._peek_characters(2) != "-]":
                self._at += 1
                inner = [(inner[0][0], self._parse_class_item()[0][0])]
            found += inner
        self._at += 1
        merged = merge_ranges(found)
        return complement_point_ranges(merged) if is_other else merged

    def _parse_class_item(self) -> _Set:
        point = self._peek_characters()
        self._at += 1
        return self._parse_escape(in_class=True) if point == "\\" else [(ord(point), ord(point))]

    def _parse_escape(self, *, in_class: bool) -> _Set:
        """Parse an escape after its backslash, and return its code points."""
        point = self._peek_characters()
        if point.lower() in _UNICODE:
            self._at += 1
            found = _find_points_of_escape(point.lower())
            return complement_point_ranges(found) if point.isupper() else found
        if code := _CODE.match(self._pattern, self._at):
            self._at = code.end()
            number = int(code[1] or code[2] or code[3], 16)
            return [(number, number)]
        if point == "b" and in_class:
            point = "\b"
        elif point in _CONTROLS:
            point = _CONTROLS[point]
        elif point.isalnum() and point.isascii():
            raise _NoEqualStepError(
                f"\\{point}",
                _WHY_NO_ESCAPE.get(
                    point,
                    "it is a reference to a group" if point.isdigit() else "it names a character by its Unicode name",
                ),
            )
        self._at += 1
        return [(ord(point), ord(point))]


def _split_optional_first_item(items_before: _Items, alternative: _Items) -> list[_Items]:
    """Split an alternative that is a single optional item after `items_before`, if these are all boundaries. Return an
    alternative in which the item is required, and one without it. This is needed because a run must begin with a code
    point. Return any other alternative unchanged."""
    if not all(item.is_boundary for item in items_before) or len(alternative) != 1 or alternative[0].is_required:
        return [alternative]
    there: list[_Items] = [[replace(alternative[0], least=1)], []]
    return there[::-1] if alternative[0].is_lazy else there


def _split_optional_items_before_boundaries(items: _Items, item_before: _Item | None = None) -> list[_Items]:
    """Split an alternative at each item before a boundary that may match nothing: into one alternative in which the
    item is required, and one without it.

    An item after one of its own kind, such as `\\d*` in `\\d\\d*\\b`, needs no split: no boundary can be between two
    characters of the same kind.
    """
    if not items:
        return [[]]
    first, *rest = items
    found = _split_optional_items_before_boundaries(rest, first)
    end = next((item for item in rest if item.is_required), first)
    made = [[replace(first, branches=first.branches or len(found) > 1), *one] for one in found]
    if (
        first.is_required
        or not end.is_boundary
        or (item_before and _is_boundary_impossible_within(end, item_before, first))
    ):
        return made
    there, without = (
        [[replace(one[0], least=1), *one[1:]] for one in made],
        _split_optional_items_before_boundaries(rest, item_before),
    )
    if len(there) + len(without) > _MOST_ALTERNATIVES:
        raise _NoEqualStepError(first.source, r"with \b after it, it makes too many alternatives")
    return [*without, *there] if first.is_lazy else [*there, *without]


def _drop_contained_alternatives(alternatives: list[_Items]) -> list[_Items]:
    """Drop alternatives of which every character is an alternative by itself: `(?:[%a-f]|%[a-f])+` becomes `[%a-f]+`.
    This is only allowed in a group that is repeated without a limit."""
    ones = [alternative for alternative in alternatives if len(alternative) == 1 and alternative[0].is_single]
    points = merge_ranges(point for alternative in ones for point in alternative[0].points)

    def is_contained(alternative: _Items) -> bool:
        return any(item.least for item in alternative) and not any(
            _subtract_points(item.points, points) for item in alternative
        )

    return [alternative for alternative in alternatives if alternative in ones or not is_contained(alternative)]


def _parse_repetition(sign: str) -> tuple[int, int | None]:
    """Parse `*`, `+` or `{...}`: return the smallest and the largest number of repetitions; None for no limit."""
    if sign in "*+":
        return int(sign == "+"), None
    least, comma, most = sign[1:-1].partition(",")
    return int(least or 0), int(most) if most else None if comma else int(least)


# The classes of `re`, by what it asks of a character.
_UNICODE: Final[dict[str, Callable[[str], bool]]] = {
    "w": lambda point: point.isalnum() or point == "_",
    "s": str.isspace,
    "d": str.isdecimal,
}


@functools.cache
def _find_points_of_escape(letter: str) -> _Set:
    """Find the code points of `\\w`, `\\s` or `\\d` in this Python's version of Unicode. The first call takes 0.2 s."""
    return list_first_and_last_points(find_ranges(_UNICODE[letter], range(sys.maxunicode + 1)))


# --- From alternatives to steps ---


def _make_steps(alternatives: Sequence[_Items], pattern: str, by: str) -> tuple[CleaningStep, ...]:
    """Make the steps that replace each match of the alternatives by `by`."""
    found: list[_Items] = []
    at_ends = _check_whether_boundaries_are_text_ends(alternatives, pattern)
    for items in map(
        _make_items_possessive, chain.from_iterable(map(_split_optional_items_before_boundaries, alternatives))
    ):
        if by == "" and all(item.is_boundary for item in items):
            # After it has deleted nothing, `re` looks for another match at the same position.
            continue
        if not any(item.least for item in items):
            raise _NoEqualStepError(pattern, "it can match the empty string")
        # If both match one code point, their order does not matter.
        if found and [len(items), len(found[-1])] == [1, 1] and items[0].is_single and found[-1][0].is_single:
            before = found.pop()[0]
            items = [_Item(merge_ranges([*before.points, *items[0].points]), f"{before.source}|{items[0].source}")]
        if items not in found:
            found.append(items)
    if not found:
        return ()
    if _REFERENCE.search(by):
        return _make_steps_that_keep_match(found, pattern, by)
    # The replacement has escapes, such as \n.
    by = re.compile("x").sub(by, "x")
    if len(found) == 1:
        if what := _find_only_string(found[0]):
            return (Replace(what, by),)
        item = found[0][0]
        others = complement_point_ranges(item.points)
        # Deleting a run is deleting each of its code points.
        is_each = item.is_single or (by == "" and (item.least, item.most) == (1, None))
        if len(found[0]) == 1 and is_each and others and not _has_half_surrogate(others):
            return (Keep(_convert_points_to_ranges(others, item.source), by),)
    if len(found) > MOST_RUNS:
        raise _NoEqualStepError(pattern, f"it has more than {MOST_RUNS} alternatives, which is the limit")
    runs = tuple(map(_make_run, found))
    word: tuple[str, ...] = ()
    if any(run.needs_word_boundaries for run in runs):
        word = _EVERYTHING if at_ends else make_ranges_from_points(_find_points_of_escape("w"))
    return (ReplaceRuns(runs, by, word),)


def _check_whether_boundaries_are_text_ends(alternatives: Sequence[_Items], pattern: str) -> bool:
    """Return whether the boundaries of a pattern are the beginning or the end of the text. Raise a _NoEqualStepError
    for a pattern that also has word boundaries, or for a `^` or `$` that cannot be converted."""
    found = [item for items in alternatives for item in items if item.is_boundary]
    if not any(item.is_text_end for item in found):
        return False
    if not all(item.is_text_end for item in found):
        raise _NoEqualStepError(pattern, r"it has both \b and a sign for the beginning or the end of the text")
    for items in alternatives:
        for i, item in enumerate(items):
            if item.is_boundary and any(
                not other.is_boundary for other in (items[:i], items[i + 1 :])[item.source in _ENDS]
            ):
                end = "end" if item.source in _ENDS else "beginning"
                raise _NoEqualStepError(item.source, f"it may stand only at the {end} of an alternative")
            before = items[i - 1] if i else item
            takes_line_breaks = (
                before.most is None and not before.is_lazy and _has_common_points(before.points, [(10, 10)])
            )
            if item.source == "$" and item.is_boundary and not before.is_boundary and not takes_line_breaks:
                raise _NoEqualStepError(
                    "$", r"it also matches before a line break at the end of the text; use \Z, which does not"
                )
    return True


def _make_run(items: _Items) -> Run:
    """Convert the items of an alternative to a run."""
    ends = [*(item.is_boundary for item in items[1:]), False]
    taking = [(item, end) for item, end in zip(items, ends, strict=True) if not item.is_boundary]
    if len(taking) > MOST_PARTS + 1:
        raise _NoEqualStepError(
            "".join(item.source for item in items), f"it has more than {MOST_PARTS + 1} parts, which is the limit"
        )
    first, *parts = [
        RunPart(_convert_points_to_ranges(item.points, item.source), item.least, item.most, to_boundary)
        for item, to_boundary in taking
    ]
    return Run(
        first.ranges, least=first.least, most=first.most, then=tuple(parts), from_boundary=items[0].is_boundary,
        to_boundary=first.to_boundary,
    )  # fmt: skip


def _has_half_surrogate(points: _Set) -> bool:
    """Return whether a range begins or ends with half of a surrogate pair."""
    return any(0xD800 <= code <= 0xDFFF for ends in points for code in ends)


def _convert_points_to_ranges(points: _Set, source: str) -> tuple[str, ...]:
    """Convert a set of code points to ranges; raise a _NoEqualStepError for an empty set, or halves of surrogate
    pairs."""
    if _has_half_surrogate(points):
        raise _NoEqualStepError(source, "one of its ranges begins or ends with half of a surrogate pair")
    if not points:
        raise _NoEqualStepError(source, "it matches no character at all")
    return make_ranges_from_points(points)


def _find_only_string(items: _Items) -> str:
    """Return the only string that the items match; empty if they match several strings or a string that is too long."""
    if not all(len(item.points) == 1 and item.points[0][0] == item.points[0][1] for item in items):
        return ""
    if not all(item.least == item.most for item in items) or _has_half_surrogate([item.points[0] for item in items]):
        return ""
    what = "".join(chr(item.points[0][0]) * item.least for item in items)
    return what if len(what) <= _LONGEST else ""


def _make_steps_that_keep_match(alternatives: Sequence[_Items], pattern: str, by: str) -> tuple[CleaningStep, ...]:
    """Make the steps for a replacement that contains the match: one step for each string that may match."""
    references = list(_REFERENCE.finditer(by))
    name = references[0][2] or references[0][3]
    is_whole = name == "0" or (name == "1" and _is_one_group(pattern))
    strings: list[str] = []
    if len(alternatives) == 1 and is_whole and len(references) == 1:
        if what := _find_only_string(alternatives[0]):
            strings = [what]
        elif (
            len(alternatives[0]) == 1
            and alternatives[0][0].is_single
            and not _has_half_surrogate(alternatives[0][0].points)
        ):
            codes = sum(end - start + 1 for start, end in alternatives[0][0].points)
            if codes <= _MOST_REPLACED:
                strings = [chr(code) for start, end in alternatives[0][0].points for code in range(start, end + 1)]
    at = references[0]
    if not strings:
        raise _NoEqualStepError(
            at[0],
            "a reference to the match works only if the whole pattern is one group, which matches either "
            "one character of a list, such as ([.!?]), or one string",
        )
    before, after = (re.compile("x").sub(part, "x") for part in (by[: at.start()] + at[1], by[at.end() :]))
    if len(strings) > 1 and set(strings) & {*before, *after}:
        raise _NoEqualStepError(at[0], "the replacement contains other characters that the pattern matches")
    return tuple(Replace(what, before + what + after) for what in strings)


def _is_one_group(pattern: str) -> bool:
    """Return whether a pattern is a single group and nothing else."""
    if not pattern.startswith("(") or pattern.startswith("(?:") or not pattern.endswith(")"):
        return False
    try:
        # If the first group ends before, its brackets do not hold a pattern.
        return re.compile(pattern[1:-1]).groups == re.compile(pattern).groups - 1
    except re.error:
        return False


# --- Items that give nothing back ---


def _make_items_possessive(items: _Items) -> _Items:
    """Convert the items of a pattern to possessive items, which take as many code points as they can and never give one
    back. The result matches the same texts without backtracking. Raise a _NoEqualStepError if no such items are known
    for a part of the pattern."""
    made: _Items = []
    for item in reversed(items):
        if item.is_boundary and made and made[0].is_boundary:
            continue
        made = [*_convert_lazy_item(item, made), *made] if item.is_lazy else [item, *made]
    for i in range(len(made) - 3, -1, -1):
        made[i : i + 3] = _remove_backtracking_around_separator(*made[i : i + 3])
    for i in range(len(made) - 2, -1, -1):
        made[i : i + 2] = _merge_overlapping_items(*made[i : i + 2])
    for i, item in enumerate(made):
        if item.least != item.most and any(other.is_required for other in made[i + 1 :]):
            _refuse_item_that_backtracks(item, made[i + 1 :])
    return made


def _refuse_item_that_backtracks(item: _Item, items_after: _Items) -> None:
    """Raise a _NoEqualStepError if an item may have to give back code points so that the items after it match."""
    for i, other in enumerate(items_after):
        if other.is_boundary:
            # At its end, a run gives back up to a boundary.
            is_end = not i and not item.branches and not any(more.is_required for more in items_after[1:])
            if not is_end and not _is_boundary_impossible_within(other, item):
                raise _NoEqualStepError(
                    item.source + other.source,
                    r"its first part may have to give back characters until \b matches, and a step cannot backtrack",
                )
        elif _has_common_points(item.points, other.points):
            raise _NoEqualStepError(
                item.source + other.source,
                "its first part also matches characters with which its second part begins, and a step cannot backtrack",
            )
        if other.is_required:
            break


def _is_boundary_impossible_within(boundary: _Item, *items: _Item) -> bool:
    """Return whether a boundary can never match between two code points of the items: because it is the beginning or
    the end of the text, or because all or none of the code points are word characters."""
    if boundary.is_text_end:
        return True
    word, points = _find_points_of_escape("w"), merge_ranges(point for item in items for point in item.points)
    return not _subtract_points(points, word) or not _has_common_points(points, word)


def _convert_lazy_item(item: _Item, items_after: _Items) -> _Items:
    """Convert a lazy item, such as `.*?`, to items that stop at the first code point that can follow."""
    fewest = [replace(item, most=item.least, is_lazy=False)] if item.least else []
    if not items_after:
        return fewest
    end, *rest = items_after
    if end.is_boundary and _is_boundary_impossible_within(end, item):
        return [replace(item, is_lazy=False)]
    is_free = not any(other.is_required for other in rest)
    if item.branches:
        raise _NoEqualStepError(item.source, "it is lazy, and alternatives follow it")
    if end.least != 1 or (_has_common_points(item.points, end.points) and not is_free):
        raise _NoEqualStepError(
            item.source + "".join(other.source for other in items_after),
            "its lazy part must be followed by exactly one character at which it stops",
        )
    before = _subtract_points(item.points, end.points)
    return [*fewest, *([replace(item, points=before, least=0, is_lazy=False)] if before else [])]


def _remove_backtracking_around_separator(first: _Item, separator: _Item, last: _Item) -> _Items:
    """Convert three items such as `\\S+@\\S+` to items that need no backtracking: `\\S[^\\s@]*@\\S+`.

    Both match the same part of a text. Only the @ that counts as the separator may differ.
    """
    is_same = first.points == last.points and (first.most, last.most) == (None, None) and not first.branches
    if (
        not is_same
        or separator.least != 1
        or separator.most not in (1, None)
        or _subtract_points(separator.points, first.points)
    ):
        return [first, separator, last]
    others = _subtract_points(first.points, separator.points)
    fewest = [replace(first, most=first.least)] if first.least else []
    return [*fewest, *([replace(first, points=others, least=0)] if others else []), replace(separator, most=1), last]


def _merge_overlapping_items(first: _Item, second: _Item) -> _Items:
    """Merge two items into one, such as `s*\\S+` into `\\S+`: the second item matches all that the first matches."""
    if (
        first.branches
        or second.most is not None
        or first.least == first.most
        or _subtract_points(first.points, second.points)
    ):
        return [first, second]
    return [*([replace(first, most=first.least)] if first.least else []), second]


def _subtract_points(points: _Set, others: _Set) -> _Set:
    return complement_point_ranges(merge_ranges([*complement_point_ranges(points), *others]))


def _has_common_points(points: _Set, others: _Set) -> bool:
    """Return whether two sets have a common code point."""
    return _subtract_points(points, others) != points
