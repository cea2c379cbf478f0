"""The cleaning steps of a text before it is split: replacements, sets of kept characters, lower-casing; all as data.

There are no regular expressions, so that every reader of a bundle, in any language, does the same. A step works on code
points only, and the set of a `Keep` is in the bundle as ranges, so that a reader's Unicode version does not matter.
"""

from __future__ import annotations

import functools
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pocketrnn.errors import InputError, short_repr

__all__ = [
    "NAMED_STEPS",
    "CleaningStep",
    "Keep",
    "Lowercase",
    "Replace",
    "check_growth",
    "check_ranges",
    "check_string",
    "cleaning",
    "cleaning_function",
    "in_ranges",
    "list_as_tuple",
    "step_documents",
    "steps_of",
]

# The longest list found in public notebooks replaces 300 misspellings.
MOST_STEPS: Final = 4096
# word_characters has 770 ranges.
MOST_RANGES: Final = 4096
LONGEST: Final = 256
# Spaces around a mark make 3 code points of one, an emoji's name 40. Steps that keep doubling would fill any memory.
MOST_GROWTH: Final = 64

# string.punctuation, and what Keras' Tokenizer filters.
_PUNCTUATION: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_KERAS_FILTERS: Final = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


@dataclass(frozen=True)
class Replace:
    """Replace every occurrence of `what`, from left to right, by `by`, in which this step does not search again.

    Attributes:
        what: 1 to 256 code points.
        by: up to 256 code points; "" deletes.

    Raises:
        InputError: a value is not of its type or length, or holds half of a UTF-16 surrogate pair.

    Example:
        >>> cleaning_function([Replace("'s", " 's")])("Nasa's probe")
        "Nasa 's probe"
    """

    packed_kind: ClassVar = 0
    what: str
    by: str

    def __post_init__(self) -> None:
        check_string(self.what, "The text that a step replaces", 1)
        check_string(self.by, "The replacement of a step", 0)


@dataclass(frozen=True)
class Keep:
    """Replace every code point outside `ranges` by `by`.

    Attributes:
        ranges: each one code point, or two: the first and the last of a range.
        by: up to 256 code points; "" deletes.

    Raises:
        InputError: a value has a wrong type or length, a range ends before it begins, or something holds half of a
            UTF-16 surrogate pair.

    Example:
        >>> cleaning_function([Keep(("az", "AZ", "'"), " ")])("It's 5 o'clock!")
        "It's   o'clock "
    """

    packed_kind: ClassVar = 1
    ranges: tuple[str, ...]
    by: str = ""

    def __post_init__(self) -> None:
        check_string(self.by, "The replacement of a step", 0)
        check_ranges(self.ranges, "The set that a step keeps")


@dataclass(frozen=True)
class Lowercase:
    """Lower-case the text at this step, and not before all steps.

    Example:
        >>> cleaning_function([Replace("US", "usa"), Lowercase()])("US and us")
        'usa and us'
    """

    packed_kind: ClassVar = 2


# A packed file stores the kind of a step and, where the step has them, its `what` or `ranges`, and its `by`.
CleaningStep = Replace | Keep | Lowercase


def cleaning(*steps: str | tuple[str, str] | CleaningStep) -> tuple[CleaningStep, ...]:
    """Make cleaning steps from names, from pairs (text, replacement), or from steps.

    Args:
        steps: in the order in which they are applied; docs/text-rules.md explains the names in `NAMED_STEPS`.

    Raises:
        InputError: a name is unknown, or a pair is not valid.

    Example:
        >>> cleaning_function(cleaning("lowercase", ("<br />", " "), "remove_punctuation"))("Good,<br />Bad!")
        'good bad'
    """
    made: list[CleaningStep] = []
    for step in steps:
        if isinstance(step, CleaningStep):
            made.append(step)
        elif isinstance(step, str):
            made += _steps_by_name(step)
        elif isinstance(step, tuple | list) and len(step) == 2:
            made.append(Replace(*step))
        else:
            raise InputError(
                f"{short_repr(step)} is not a step.", "Give a name, or a pair: what is replaced, and by what."
            )
    return tuple(made)


def cleaning_function(steps: Iterable[CleaningStep]) -> Callable[[str], str]:
    """Make a function that applies the steps to a text, one after the other."""
    functions = [_step_function(step) for step in steps]

    def do(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return do


def check_growth(steps: Sequence[CleaningStep]) -> None:
    """Refuse steps that are too many, or that could make a text more than 64 times as long.

    Computed backwards from the last step: how many code points one code point can become from that step on. The code
    points of a match share the length of its replacement. `rest` is the number for every code point without a larger
    number in `weights`.

    Raises:
        InputError: the steps are refused.

    Example:
        >>> check_growth([Replace("a", "aa")] * 7)
        Traceback (most recent call last):
        ...
        pocketrnn.errors.InputError: The steps can make a text grow more than 64 times. ...
    """
    if len(steps) > MOST_STEPS:
        raise InputError(f"There are {len(steps):,} steps.", f"Use at most {MOST_STEPS:,}.")
    weights: dict[str, float] = {}
    rest = largest = 1.0
    for step in reversed(steps):
        if isinstance(step, Lowercase):
            # U+0130 becomes two code points. The factor 2 holds for all, so that readers do not need a table.
            rest, weights, grown = 2 * largest, {}, 2 * largest
        else:
            grown = sum(max(weights.get(point, 0.0), rest) for point in step.by)
            if isinstance(step, Keep):
                rest = max(rest, grown)
            else:
                grown /= len(step.what)
                for point in step.what:
                    weights[point] = max(weights.get(point, 0.0), rest, grown)
        largest = max(largest, grown)
        if largest > MOST_GROWTH:
            raise InputError(
                f"The steps can make a text grow more than {MOST_GROWTH} times.", "Use fewer or shorter replacements."
            )


def step_documents(steps: Iterable[CleaningStep]) -> list[dict[str, Any]]:
    """The steps as documents for classifier.json.

    Example:
        >>> step_documents([Replace("'", ""), Keep(("az",), " "), Lowercase()])
        [{'replace': "'", 'by': ''}, {'keep': ['az'], 'by': ' '}, {'lowercase': True}]
    """
    return [
        {"replace": step.what, "by": step.by}
        if isinstance(step, Replace)
        else {"keep": list(step.ranges), "by": step.by}
        if isinstance(step, Keep)
        else {"lowercase": True}
        for step in steps
    ]


def steps_of(documents: Iterable[Any]) -> tuple[CleaningStep, ...]:
    """Build steps from documents of classifier.json, or from names.

    Raises:
        InputError: a document is not a step.

    Example:
        >>> steps_of([{"replace": "'", "by": ""}])
        (Replace(what="'", by=''),)
    """
    return tuple(step for document in documents for step in _steps_of_document(document))


def _steps_of_document(document: Any) -> tuple[CleaningStep, ...]:
    if isinstance(document, str):
        return _steps_by_name(document)
    members = set(document) if isinstance(document, Mapping) else set()
    if members == {"lowercase"} and document["lowercase"] is True:
        return (Lowercase(),)
    if members == {"replace", "by"}:
        return (Replace(document["replace"], document["by"]),)
    if members == {"keep", "by"} and isinstance(document["keep"], list | tuple):
        return (Keep(tuple(document["keep"]), document["by"]),)
    raise InputError(
        f"{short_repr(document)} is not a step.",
        'Give {"replace": "...", "by": "..."}, {"keep": ["az"], "by": "..."} or {"lowercase": true}.',
    )


def check_ranges(ranges: Any, what: str) -> None:
    """Check that a value is a tuple of ranges: each one code point, or two, the first and the last.

    Raises:
        InputError: a value is not of its type or length, a range ends before it begins, or holds half of a surrogate
            pair.
    """
    if not isinstance(ranges, tuple) or not 1 <= len(ranges) <= MOST_RANGES:
        raise InputError(
            f"{what} is {short_repr(ranges)}.", f"Give a tuple of 1 to {MOST_RANGES:,} ranges such as 'az'."
        )
    for some in ranges:
        check_string(some, "A range", 1, 2)
        if some[0] > some[-1]:
            raise InputError(f"{what} has the range {some!r}, which ends before it begins.", f"Write {some[::-1]!r}.")


def list_as_tuple(value: Any) -> tuple[Any, ...]:
    """Convert a list of classifier.json to a tuple. A string is refused: it would become a tuple of its characters.

    Raises:
        InputError: the value is not a list.

    Example:
        >>> list_as_tuple(["az", "AZ"])
        ('az', 'AZ')
    """
    if not isinstance(value, list):
        raise InputError(f"{short_repr(value)} is not a list.", "docs/format.md says where a list is needed.")
    return tuple(value)


def in_ranges(ranges: Iterable[str]) -> Callable[[int], bool]:
    """Make a function that tells whether a code point is in one of the ranges.

    Example:
        >>> in_ranges(("az", "-"))(ord("b"))
        True
    """
    starts, ends = _merge_ranges(ranges)

    def inside(code: int) -> bool:
        index = bisect_right(starts, code) - 1
        return index >= 0 and code <= ends[index]

    return inside


def _merge_ranges(ranges: Iterable[str]) -> tuple[list[int], list[int]]:
    """Merge ranges that touch, and return the starts and the ends of the merged ranges, in order."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted((ord(some[0]), ord(some[-1])) for some in ranges):
        if ends and start <= ends[-1] + 1:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends


def check_string(value: Any, what: str, least: int, most: int = LONGEST) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} is {short_repr(value)}, which is not a string.", "Give a string.")
    if not least <= len(value) <= most:
        raise InputError(f"{what} has {len(value)} characters.", f"Give {least} to {most} characters.")
    if any("\ud800" <= point <= "\udfff" for point in value):
        # In languages with UTF-16 strings it would match half of a character.
        raise InputError(f"{what} holds half of a surrogate pair.", "Give whole characters.")


def _step_function(step: CleaningStep) -> Callable[[str], str]:
    if isinstance(step, Lowercase):
        return str.lower
    if isinstance(step, Replace):
        return lambda text: text.replace(step.what, step.by)
    table = _KeptCodes(step)
    return lambda text: text.translate(table)


class _KeptCodes(dict[int, int | str]):
    """A table for `str.translate` with the replacement of each code point. It stores nothing and is thread-safe."""

    def __init__(self, step: Keep) -> None:
        super().__init__()
        self._by = step.by
        self._starts, self._ends = _merge_ranges(step.ranges)

    def __missing__(self, code: int) -> int | str:
        index = bisect_right(self._starts, code) - 1
        return code if index >= 0 and code <= self._ends[index] else self._by


def _find_ranges(belongs: Callable[[str], bool], codes: Iterable[int]) -> tuple[str, ...]:
    """Find the ranges of the code points for which `belongs` is true; no range begins or ends with a surrogate."""
    ranges: list[list[int]] = []
    for code in codes:
        if not 0xD800 <= code <= 0xDFFF and belongs(chr(code)):
            if ranges and ranges[-1][1] in (code - 1, 0xD7FF if code == 0xE000 else -1):
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return tuple(chr(a) if a == b else chr(a) + chr(b) for a, b in ranges)


def _ranges_without(points: str) -> tuple[str, ...]:
    """The ranges of all code points except some ASCII characters."""
    *most, last = _find_ranges(lambda point: point not in points, range(0x80))
    return (*most, last[0] + chr(sys.maxunicode))


@functools.cache
def _keep_word_characters() -> tuple[CleaningStep, ...]:
    """Keep the characters of \\w and \\s in Python's `re`, by this Python's Unicode version. Takes 0.3 s, once."""
    kept = _find_ranges(lambda p: p.isalnum() or p == "_" or p.isspace(), range(sys.maxunicode + 1))
    return (Keep(kept),)


# torchtext 0.18, torchtext/data/utils.py, `_basic_english_normalize`, after lower-casing.
_BASIC_ENGLISH: Final = cleaning(
    ("'", " '  "), ('"', ""), (".", " . "), ("<br />", " "), (",", " , "), ("(", " ( "), (")", " ) "), ("!", " ! "),
    ("?", " ? "), (";", " "), (":", " "),
)  # fmt: skip
# The function `clean_str` in Kim's code for "Convolutional Neural Networks for Sentence Classification" (2014), which
# is often copied. It puts a backslash before brackets and question marks.
_CLEAN_STR: Final = cleaning(
    Keep(("AZ", "az", "09", "(", ")", ",", "!", "?", "'", "`"), " "),
    *((end, f" {end}") for end in ("'s", "'ve", "n't", "'re", "'d", "'ll")),
    (",", " , "), ("!", " ! "), ("(", " \\( "), (")", " \\) "), ("?", " \\? "), Lowercase(),
)  # fmt: skip
NAMED_STEPS: Final[Mapping[str, Callable[[], tuple[CleaningStep, ...]]]] = {
    "lowercase": lambda: (Lowercase(),),
    "remove_punctuation": lambda: (Keep(_ranges_without(_PUNCTUATION)),),
    "punctuation_to_space": lambda: (Keep(_ranges_without(_PUNCTUATION), " "),),
    "space_around_punctuation": lambda: tuple(Replace(point, f" {point} ") for point in _PUNCTUATION),
    "remove_digits": lambda: (Keep(_ranges_without("0123456789")),),
    "letters": lambda: (Keep(("AZ", "az"), " "),),
    "letters_and_digits": lambda: (Keep(("AZ", "az", "09"), " "),),
    "word_characters": _keep_word_characters,
    "keras_filters": lambda: (Keep(_ranges_without(_KERAS_FILTERS), " "),),
    "basic_english": lambda: _BASIC_ENGLISH,
    "clean_str": lambda: _CLEAN_STR,
}


def _steps_by_name(name: str) -> tuple[CleaningStep, ...]:
    if name not in NAMED_STEPS:
        raise InputError(f"There is no step {name!r:.60}.", f"Use one of: {', '.join(NAMED_STEPS)}.")
    return NAMED_STEPS[name]()
