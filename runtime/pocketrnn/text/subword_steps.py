"""What is done to a text before subwords are cut from it. All of it is data, and what a step needs of Unicode is in it.

`Replace` and `Keep` are those of `cleaning_steps.py`. The others are here. Each says what it does by code points alone:
sets of them stand in the step as ranges, normal forms never change for code points that are assigned, and those that
were assigned later than the tables of the tokenizer's own library stand in `inert`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, shown
from pocketrnn.text.cleaning_steps import Keep, Replace, check_growth, checked_ranges, checked_string, in_ranges

__all__ = [
    "BYTE_CHARACTERS",
    "WHITE_SPACE",
    "Bytes",
    "Fold",
    "LowercaseEach",
    "Normalize",
    "Prepend",
    "Strip",
    "SubwordStep",
    "Surround",
    "Table",
    "check_subword_steps",
    "subword_step_documents",
    "subword_steps_applied",
    "subword_steps_of",
]

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
Sides = Literal["left", "right", "both"]

# Unicode's property White_Space, the same since 6.3.
WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)

_MOST_STEPS: Final = 256
_MOST_PAIRS: Final = 1 << 16
_LONGEST: Final = 256
# How many code points of a table's key are looked at: those of nmt_nfkc have up to 5.
_LONGEST_KEY: Final = 32


def _byte_characters() -> str:
    """A printable character for each byte, as in GPT-2 (openai/gpt-2, src/encoder.py, bytes_to_unicode)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(0x100))


BYTE_CHARACTERS: Final = _byte_characters()
# What `bytes.decode("latin-1")` makes of a byte, to GPT-2's character.
_OF_LATIN_1: Final = dict(enumerate(BYTE_CHARACTERS))

# Capitals that Unicode has since 16.0 and 17.0, and their small letters: Python 3.11 has 14.0.
_LATER_CAPITALS: Final[Mapping[int, int]] = {
    **{0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7CE: 0xA7CF, 0xA7D2: 0xA7D3, 0xA7D4: 0xA7D5, 0xA7DA: 0xA7DB},
    **{0xA7DC: 0x19B},
    **{code: code + 0x20 for code in range(0x10D50, 0x10D66)},
    **{code: code + 0x1B for code in range(0x16EA0, 0x16EB9)},
}


@dataclass(frozen=True)
class Normalize:
    """One of Unicode's normal forms.

    Attributes:
        form: NFC, NFD, NFKC or NFKD.
        inert: ranges as in `Keep` of code points that are left as they are, and across which nothing is composed or
            reordered: those that the tables of the tokenizer's library do not know.

    Raises:
        InputError: the form is unknown, or a range is none.

    Example:
        >>> subword_steps_applied([Normalize("NFD")])("\\u00e9")
        'e\\u0301'
    """

    form: Form
    inert: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.form not in ("NFC", "NFD", "NFKC", "NFKD"):
            raise InputError(f"The normal form {shown(self.form)} is unknown.", "Use NFC, NFD, NFKC or NFKD.")
        if self.inert:
            checked_ranges(self.inert, "What a normal form leaves")


@dataclass(frozen=True)
class LowercaseEach:
    """Every code point by itself becomes lower-case, by Unicode 17.0: a sigma at the end of a word is no other there.

    Example:
        >>> subword_steps_applied([LowercaseEach()])("\\u039f\\u03a3"), "\\u039f\\u03a3".lower()
        ('\\u03bf\\u03c3', '\\u03bf\\u03c2')
    """


@dataclass(frozen=True)
class Surround:
    """`by` is put before and after every code point of `ranges`.

    Raises:
        InputError: a value is not of its type or length.

    Example:
        >>> subword_steps_applied([Surround(("\\u4e00\\u9fff",))])("a\\u4e00")
        'a \\u4e00 '
    """

    ranges: tuple[str, ...]
    by: str = " "

    def __post_init__(self) -> None:
        checked_string(self.by, "What a step puts around", 1)
        checked_ranges(self.ranges, "What a step puts something around")


@dataclass(frozen=True)
class Strip:
    """White space is taken off the ends of the text.

    Raises:
        InputError: the sides are unknown.

    Example:
        >>> subword_steps_applied([Strip("left")])(" a ")
        'a '
    """

    sides: Sides = "both"

    def __post_init__(self) -> None:
        if self.sides not in ("left", "right", "both"):
            raise InputError(f"The sides {shown(self.sides)} are unknown.", "Use left, right or both.")


@dataclass(frozen=True)
class Prepend:
    """`text` is put before a text that is not empty.

    Raises:
        InputError: it is no string of 1 to 256 code points.

    Example:
        >>> subword_steps_applied([Prepend("_")])("a")
        '_a'
    """

    text: str

    def __post_init__(self) -> None:
        checked_string(self.text, "What a step puts before", 1)


@dataclass(frozen=True)
class Fold:
    """Every longest run of at least `least` code points of `ranges` becomes `by`.

    Raises:
        InputError: a value is not of its type or length.

    Example:
        >>> subword_steps_applied([Fold((" ",), 2, " ")])("a   b c")
        'a b c'
    """

    ranges: tuple[str, ...]
    least: int
    by: str

    def __post_init__(self) -> None:
        checked_string(self.by, "What a step puts in place", 0)
        checked_ranges(self.ranges, "What a step folds")
        if self.least not in (1, 2) or isinstance(self.least, bool):
            raise InputError(f"A step folds runs of {shown(self.least)}.", "Use 1 or 2.")


@dataclass(frozen=True)
class Bytes:
    """Every byte of the text's UTF-8 becomes a printable character, as in GPT-2.

    Example:
        >>> subword_steps_applied([Bytes()])("a \\u00e9")
        'a\\u0120\\u00c3\\u00a9'
    """


@dataclass(frozen=True)
class Table:
    """What sentencepiece's table of a model says: a string becomes another.

    From the left, the longest key that stands there is replaced, or one code point stays (`clusters` is empty). With
    `clusters`, as in Hugging Face's `Precompiled`: a grapheme cluster of less than six bytes becomes what its shortest
    beginning does that is a key, if there is one; else each of its code points becomes what it does by itself.

    Attributes:
        pairs: what becomes what, each key once.
        clusters: ranges, as in `Keep`: code points that go on a cluster; those that begin one which the next goes on;
            and those between which and anything else there is a boundary. Empty, or three sets.

    Raises:
        InputError: a value is not of its type or length, or a key stands twice.

    Example:
        >>> subword_steps_applied([Table((("\\ufb01", "fi"),))])("\\ufb01x")
        'fix'
    """

    pairs: tuple[tuple[str, str], ...]
    clusters: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.pairs, tuple) or not 1 <= len(self.pairs) <= _MOST_PAIRS:
            raise InputError(f"A table has {shown(self.pairs)}.", f"Give a tuple of 1 to {_MOST_PAIRS:,} pairs.")
        for what, by in self.pairs:
            checked_string(what, "A key of a table", 1, _LONGEST_KEY)
            checked_string(by, "What a table puts in place", 0, _LONGEST)
        if len(dict(self.pairs)) != len(self.pairs):
            raise InputError("A key stands in a table twice.", "Give each once.")
        if self.clusters and len(self.clusters) != 3:
            raise InputError(f"A table has {len(self.clusters)} sets for clusters.", "Give none or three.")
        for ranges in self.clusters:
            checked_ranges(ranges, "A set of a table's clusters")


SubwordStep = Replace | Keep | Normalize | LowercaseEach | Surround | Strip | Prepend | Fold | Bytes | Table
_KINDS: Final = (Replace, Keep, Normalize, LowercaseEach, Surround, Strip, Prepend, Fold, Bytes, Table)


def check_subword_steps(steps: Sequence[SubwordStep]) -> None:
    """Refuse what are no steps, too many, or steps that could make a text more than 64 times as long.

    Normal forms, lower case, bytes and tables are not counted: one code point becomes at most 18, 2, 4 or 256.

    Raises:
        InputError: they are, or could.
    """
    if not isinstance(steps, tuple) or not all(isinstance(step, _KINDS) for step in steps):
        raise InputError(f"steps is {shown(steps)}.", "Make them of the classes in pocketrnn.text.subword_steps.")
    if len(steps) > _MOST_STEPS:
        raise InputError(f"There are {len(steps):,} steps.", f"Use at most {_MOST_STEPS}.")
    if sum(isinstance(step, Bytes) for step in steps) > 1:
        raise InputError("Two steps make bytes of the text.", "Use one.")
    grown = 1
    counted: list[Replace | Keep] = []
    for step in steps:
        if isinstance(step, Replace | Keep):
            counted.append(step)
        elif isinstance(step, Surround):
            grown *= 1 + 2 * len(step.by)
        elif isinstance(step, Fold):
            grown *= max(1, len(step.by))
    check_growth(counted)
    if grown > 64:
        raise InputError("The steps can make a text grow more than 64 times.", "Put less around and between.")


def subword_steps_applied(steps: Iterable[SubwordStep]) -> Callable[[str], str]:
    """A function that does the steps, one after the other, to a text."""
    functions: list[Callable[[str], str]] = []
    by_character: list[SubwordStep] = []
    for step in steps:
        if _is_by_character(step):
            by_character.append(step)
        else:
            functions += _grouped(by_character)
            by_character = []
            functions.append(_function(step))
    functions += _grouped(by_character)
    if len(functions) == 1:
        return functions[0]

    def do(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return do


def _is_by_character(step: SubwordStep) -> bool:
    """Whether it does to a text of ASCII what it does to each of its characters."""
    if isinstance(step, Replace):
        return len(step.what) == 1
    return isinstance(step, Keep | LowercaseEach | Surround | Normalize | Bytes)


def _grouped(steps: Sequence[SubwordStep]) -> list[Callable[[str], str]]:
    """One function for steps that go character by character; on ASCII they are one table."""
    if not steps:
        return []
    functions = [_function(step) for step in steps]

    def one_by_one(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    table = {code: one_by_one(chr(code)) for code in range(0x80)}
    changed = {code: by for code, by in table.items() if by != chr(code)}
    if not changed:
        return [lambda text: text if text.isascii() else one_by_one(text)]
    return [lambda text: text.translate(changed) if text.isascii() else one_by_one(text)]


def _function(step: SubwordStep) -> Callable[[str], str]:
    match step:
        case Replace(what, by):
            return lambda text: text.replace(what, by)
        case Keep(ranges, by):
            inside = in_ranges(ranges)
            return _mapped(lambda code: code if inside(code) else by)
        case Surround(ranges, by):
            among = in_ranges(ranges)
            return _mapped(lambda code: f"{by}{chr(code)}{by}" if among(code) else code)
        case LowercaseEach():
            return _mapped(lambda code: _LATER_CAPITALS.get(code) or chr(code).lower())
        case Normalize():
            return _normalized(step)
        case Bytes():
            return lambda text: text.encode().decode("latin-1").translate(_OF_LATIN_1)
        case Strip(sides):
            return {
                "left": lambda text: text.lstrip(WHITE_SPACE),
                "right": lambda text: text.rstrip(WHITE_SPACE),
                "both": lambda text: text.strip(WHITE_SPACE),
            }[sides]
        case Prepend(before):
            return lambda text: before + text if text else text
        case Fold():
            return _folded(step)
        case Table(_, clusters):
            return _by_clusters(step) if clusters else _by_longest(step)


class _Remembered(dict[int, int | str]):
    """What `str.translate` asks for what becomes of a code point; it keeps the first that it was asked for."""

    def __init__(self, becomes: Callable[[int], int | str]) -> None:
        super().__init__()
        self._becomes = becomes

    def __missing__(self, code: int) -> int | str:
        value = self._becomes(code)
        if len(self) < 1 << 14:
            self[code] = value
        return value


def _mapped(becomes: Callable[[int], int | str]) -> Callable[[str], str]:
    table = _Remembered(becomes)
    return lambda text: text.translate(table)


def _normalized(step: Normalize) -> Callable[[str], str]:
    form = step.form
    inert = {chr(code) for some in step.inert for code in range(ord(some[0]), ord(some[-1]) + 1)}

    def normalize(text: str) -> str:
        if inert.isdisjoint(text):
            return unicodedata.normalize(form, text)
        made, start = [], 0
        for index, point in enumerate(text):
            if point in inert:
                made += [unicodedata.normalize(form, text[start:index]), point]
                start = index + 1
        return "".join([*made, unicodedata.normalize(form, text[start:])])

    return normalize


def _folded(step: Fold) -> Callable[[str], str]:
    inside, by, least = in_ranges(step.ranges), step.by, step.least

    def fold(text: str) -> str:
        made, start, index = [], 0, 0
        while index < len(text):
            end = index
            while end < len(text) and inside(ord(text[end])):
                end += 1
            if end - index >= least:
                made += [text[start:index], by]
                start = end
            index = max(end, index + 1)
        return "".join([*made, text[start:]])

    if step.least == 2 and step.ranges == (" ",):
        return lambda text: fold(text) if "  " in text else text
    return fold


def _by_longest(step: Table) -> Callable[[str], str]:
    table = dict(step.pairs)
    lengths: dict[str, list[int]] = {}
    for what in table:
        lengths.setdefault(what[0], []).append(len(what))
    lengths = {first: sorted(set(some), reverse=True) for first, some in lengths.items()}

    def replace(text: str) -> str:
        if lengths.keys().isdisjoint(text):
            return text
        made, index = [], 0
        while index < len(text):
            for length in lengths.get(text[index], ()):
                by = table.get(text[index : index + length])
                if by is not None:
                    made.append(by)
                    index += length
                    break
            else:
                made.append(text[index])
                index += 1
        return "".join(made)

    return replace


def _by_clusters(step: Table) -> Callable[[str], str]:
    table = dict(step.pairs)
    goes_on, begins, apart = map(in_ranges, step.clusters)
    firsts = {what[0] for what in table}

    def replace(text: str) -> str:
        if firsts.isdisjoint(text):
            return text
        made: list[str] = []
        for cluster in _clusters(text, goes_on, begins, apart):
            if len(cluster) > 1 and len(cluster.encode()) < 6:
                found = next((cluster[:n] for n in range(1, len(cluster) + 1) if cluster[:n] in table), None)
                if found is not None:
                    made.append(table[found])
                    continue
            made += [table.get(point, point) for point in cluster]
        return "".join(made)

    return replace


def _clusters(
    text: str, goes_on: Callable[[int], bool], begins: Callable[[int], bool], apart: Callable[[int], bool]
) -> Iterable[str]:
    """The grapheme clusters of a text; those of six bytes and more may be cut into such of six and more."""
    start = 0
    for index in range(1, len(text)):
        before, here = ord(text[index - 1]), ord(text[index])
        if before == 0x0D and here == 0x0A:
            continue
        if not apart(before) and not apart(here) and (goes_on(here) or begins(before)):
            continue
        yield text[start:index]
        start = index
    if text:
        yield text[start:]


def subword_step_documents(steps: Iterable[SubwordStep]) -> list[dict[str, Any]]:
    """The steps as they stand in classifier.json.

    Example:
        >>> subword_step_documents([LowercaseEach(), Strip("left")])
        [{'lowercase_each': True}, {'strip': 'left'}]
    """
    return [_document(step) for step in steps]


def _document(step: SubwordStep) -> dict[str, Any]:
    match step:
        case Replace(what, by):
            return {"replace": what, "by": by}
        case Keep(ranges, by):
            return {"keep": list(ranges), "by": by}
        case Normalize(form, inert):
            return {"normalize": form, **({"inert": list(inert)} if inert else {})}
        case LowercaseEach():
            return {"lowercase_each": True}
        case Surround(ranges, by):
            return {"surround": list(ranges), "by": by}
        case Strip(sides):
            return {"strip": sides}
        case Prepend(text):
            return {"prepend": text}
        case Fold(ranges, least, by):
            return {"fold": list(ranges), "least": least, "by": by}
        case Bytes():
            return {"bytes": True}
        case Table(pairs, clusters):
            document: dict[str, Any] = {"table": [part for pair in pairs for part in pair]}
            return document | ({"clusters": [list(ranges) for ranges in clusters]} if clusters else {})


def subword_steps_of(documents: Iterable[Any]) -> tuple[SubwordStep, ...]:
    """Steps as they stand in classifier.json.

    Raises:
        InputError: one is no step.

    Example:
        >>> subword_steps_of([{"normalize": "NFC"}])
        (Normalize(form='NFC', inert=()),)
    """
    return tuple(map(_step_of, documents))


def _step_of(document: Any) -> SubwordStep:
    match document:
        case {"replace": what, "by": by} if len(document) == 2:
            return Replace(what, by)
        case {"keep": list(ranges), "by": by} if len(document) == 2:
            return Keep(tuple(ranges), by)
        case {"normalize": form} if document.keys() <= {"normalize", "inert"}:
            return Normalize(form, tuple(document.get("inert", ())))
        case {"lowercase_each": True} if len(document) == 1:
            return LowercaseEach()
        case {"surround": list(ranges), "by": by} if len(document) == 2:
            return Surround(tuple(ranges), by)
        case {"strip": sides} if len(document) == 1:
            return Strip(sides)
        case {"prepend": text} if len(document) == 1:
            return Prepend(text)
        case {"fold": list(ranges), "least": least, "by": by} if len(document) == 3:
            return Fold(tuple(ranges), least, by)
        case {"bytes": True} if len(document) == 1:
            return Bytes()
        case {"table": list(flat)} if document.keys() <= {"table", "clusters"} and len(flat) % 2 == 0:
            clusters = tuple(map(tuple, document.get("clusters", ())))
            return Table(tuple(zip(flat[::2], flat[1::2], strict=True)), clusters)
    raise InputError(f"{shown(document)} is no step of subwords.", "docs/format.md lists the steps.")
