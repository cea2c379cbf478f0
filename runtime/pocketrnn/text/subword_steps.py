"""The cleaning steps for a text before it is split into subwords. All steps are data, with their Unicode sets.

`Replace` and `Keep` are those of `cleaning_steps.py`; the others are here. Each is defined by code points alone: a step
holds its sets as ranges, Unicode never changes the normal forms of assigned code points, and code points that were
assigned later than the tables of the tokenizer's own library are in `inert`.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.cleaning_steps import (
    Keep,
    Replace,
    chain_text_functions,
    check_step_count_and_growth,
    make_step_document,
    make_step_function,
)
from pocketrnn.text.code_point_cache import CodePointCache, make_code_point_map
from pocketrnn.text.code_point_ranges import check_ranges, make_range_test
from pocketrnn.text.sentencepiece_charsmap import Charsmap, check_charsmap
from pocketrnn.text.value_checks import check_string, convert_list_to_tuple

__all__ = [
    "BYTE_CHARACTERS",
    "LATER_CAPITALS",
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
    "build_subword_step_from_document",
    "check_subword_steps",
    "make_subword_step_document",
    "make_subword_steps_function",
    "make_test_for_any_character",
]

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
Sides = Literal["left", "right", "both"]

# Unicode's property White_Space, the same since 6.3.
WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)

_MOST_STEPS: Final = 256
_MOST_KEPT: Final = 1 << 16
# Searching a text for one character takes a hundredth of the time of looking up each of its characters in a set.
_FEW: Final = 16
# The contents of the sets of a table's clusters, with the rules of Unicode's Annex 29 that they are for.
CLUSTERS: Final = (
    "what goes on a cluster (GB9, GB9a)",
    "what the next goes on (GB9b)",
    "what stands apart (GB4, GB5)",
    "pictographs (GB11)",
    "what may stand between a pictograph and a joiner",
    "consonants (GB9c)",
    "what links them",
    "what may stand between them",
)


def _make_byte_characters() -> str:
    """Make the string of 256 printable characters with which GPT-2 writes bytes; the index of a character is its byte.
    From openai/gpt-2, src/encoder.py, bytes_to_unicode."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(0x100))


BYTE_CHARACTERS: Final = _make_byte_characters()
# GPT-2's character of each byte, by the byte's code point in Latin-1.
_OF_LATIN_1: Final = dict(enumerate(BYTE_CHARACTERS))

# Capitals that were added in Unicode 16.0 and 17.0, and their small letters: Python 3.11 has Unicode 14.0.
LATER_CAPITALS: Final[Mapping[int, int]] = {
    **{0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7CE: 0xA7CF, 0xA7D2: 0xA7D3, 0xA7D4: 0xA7D5, 0xA7DA: 0xA7DB},
    **{0xA7DC: 0x19B},
    **{code: code + 0x20 for code in range(0x10D50, 0x10D66)},
    **{code: code + 0x1B for code in range(0x16EA0, 0x16EB9)},
}


@dataclass(frozen=True)
class Normalize:
    """Convert the text to one of Unicode's normal forms.

    Attributes:
        form: NFC, NFD, NFKC or NFKD.
        inert: ranges of code points that are not changed, and across which nothing is composed or reordered. They are
            the code points that the Unicode version of the tokenizer's library does not have.

    Raises:
        InputError: the form is unknown, or a range is not valid.
    """

    form: Form
    inert: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.form not in ("NFC", "NFD", "NFKC", "NFKD"):
            raise InputError(
                f"The Unicode normal form {short_repr(self.form)} is unknown.", "Give NFC, NFD, NFKC or NFKD."
            )
        if self.inert:
            check_ranges(self.inert, "The set that a normal form leaves")


@dataclass(frozen=True)
class LowercaseEach:
    """Lower-case every code point separately, by Unicode 17.0. A sigma at the end of a word gets no special form."""


@dataclass(frozen=True)
class Surround:
    """Put `by` before and after every code point of `ranges`.

    Raises:
        InputError: a value has a wrong type or length.
    """

    ranges: tuple[str, ...]
    by: str = " "

    def __post_init__(self) -> None:
        check_string(self.by, "The text that a step puts around characters", 1)
        check_ranges(self.ranges, "The set that a step puts a text around")


@dataclass(frozen=True)
class Strip:
    """Strip characters from the left, the right or both ends of the text: those in `of`, or white space if it is empty.

    Raises:
        InputError: `sides` is not "left", "right" or "both", or `of` is not a string of at most 256 code points.
    """

    sides: Sides = "both"
    of: str = ""

    def __post_init__(self) -> None:
        check_string(self.of, "The text that a step takes off", 0)
        if self.sides not in ("left", "right", "both"):
            raise InputError(
                f"`sides` of a step is {short_repr(self.sides)}, but it must be 'left', 'right' or 'both'.",
                "Give one of these.",
            )


@dataclass(frozen=True)
class Prepend:
    """Put `text` before a text that is not empty.

    Raises:
        InputError: `text` is not a string of 1 to 256 code points.
    """

    text: str

    def __post_init__(self) -> None:
        check_string(self.text, "The text that a step puts before", 1)


@dataclass(frozen=True)
class Fold:
    """Replace every run of at least `least` code points of `ranges` by `by`. Each run is as long as possible.

    Raises:
        InputError: a value has a wrong type or length.
    """

    ranges: tuple[str, ...]
    least: int
    by: str

    def __post_init__(self) -> None:
        check_string(self.by, "The replacement of a step", 0)
        check_ranges(self.ranges, "The set that a step folds")
        if self.least not in (1, 2) or isinstance(self.least, bool):
            raise InputError(
                f"`least` of a step that folds runs is {short_repr(self.least)}, but it must be 1 or 2.",
                "Give the smallest length of a run that is replaced.",
            )


@dataclass(frozen=True)
class Bytes:
    """Replace every byte of the text's UTF-8 by a printable character, as in GPT-2."""


@dataclass(frozen=True)
class Table:
    """Replace strings by the replacement table of a sentencepiece model (`precompiled_charsmap`).

    If `clusters` is empty, go from left to right, and replace the longest key at each position. Otherwise, work as
    Hugging Face's `Precompiled`: if a grapheme cluster of less than six bytes begins with a key, put the replacement of
    the shortest such key in place of the cluster; else look up each of its code points separately.

    Attributes:
        charsmap: the table, as the bytes that sentencepiece writes.
        clusters: empty, or eight sets of ranges that define grapheme clusters; `CLUSTERS` describes them.
        kept: strings that are not changed. At each position, the longest of them is kept before any key is looked up.
            Empty with `clusters`.

    Raises:
        InputError: the table is damaged, or a value has a wrong type or length.
    """

    charsmap: bytes = field(repr=False)
    clusters: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_charsmap(self.charsmap)
        if not isinstance(self.clusters, tuple) or len(self.clusters) not in (0, len(CLUSTERS)):
            raise InputError(
                f"`clusters` of a table is {short_repr(self.clusters)}, but it must be a tuple of eight sets of "
                "ranges.",
                "Give eight sets, or an empty tuple.",
            )
        for ranges in self.clusters:
            check_ranges(ranges, "A set of a table's clusters")
        if not isinstance(self.kept, tuple) or len(self.kept) > _MOST_KEPT or (self.kept and self.clusters):
            raise InputError(
                f"`kept` of a table is {short_repr(self.kept)}, but it must be a tuple of at most {_MOST_KEPT:,} "
                "strings, and empty if `clusters` is given.",
                "Give such a tuple.",
            )
        for text in self.kept:
            check_string(text, "The text that a table keeps", 1)


SubwordStep = Replace | Keep | Normalize | LowercaseEach | Surround | Strip | Prepend | Fold | Bytes | Table
_KINDS: Final = (Replace, Keep, Normalize, LowercaseEach, Surround, Strip, Prepend, Fold, Bytes, Table)


def check_subword_steps(steps: Sequence[SubwordStep]) -> None:
    """Check steps: their types, their number, and that they make a text at most 64 times as long. Raise an InputError
    if they are refused.

    `Normalize`, `Table`, lower-casing and `Bytes`, which make at most 18, 18, 2 and 4 code points of one, do not count.
    """
    if not isinstance(steps, tuple) or not all(isinstance(step, _KINDS) for step in steps):
        raise InputError(
            f"steps is {short_repr(steps)}, but it must be a tuple of steps.",
            "Make them with the classes in pocketrnn.text.subword_steps.",
        )
    if len(steps) > _MOST_STEPS:
        raise InputError(f"There are {len(steps):,} steps, but at most {_MOST_STEPS} are allowed.", "Give fewer steps.")
    if sum(isinstance(step, Bytes) for step in steps) > 1:
        raise InputError("`steps` converts the text to bytes more than once.", "Give `Bytes` once.")
    grown = 1
    counted: list[Replace | Keep] = []
    for step in steps:
        if isinstance(step, Replace | Keep):
            counted.append(step)
        elif isinstance(step, Surround):
            grown *= 1 + 2 * len(step.by)
        elif isinstance(step, Fold):
            grown *= max(1, len(step.by))
    check_step_count_and_growth(counted)
    if grown > 64:
        raise InputError(
            "The steps can make a text grow more than 64 times in length.",
            "Give shorter texts in the steps that insert or replace text.",
        )


def make_subword_steps_function(steps: Iterable[SubwordStep]) -> Callable[[str], str]:
    """Make a function that applies the cleaning steps to a text, in their order."""
    functions: list[Callable[[str], str]] = []
    by_character: list[SubwordStep] = []
    for step in steps:
        if _changes_ascii_characters_separately(step):
            by_character.append(step)
        else:
            functions += _combine_character_steps(by_character)
            by_character = []
            functions.append(_make_step_function(step))
    functions += _combine_character_steps(by_character)
    return chain_text_functions(functions)


def _changes_ascii_characters_separately(step: SubwordStep) -> bool:
    """Return whether the step changes each character of an ASCII text whatever its neighbours are."""
    if isinstance(step, Replace):
        return len(step.what) == 1
    return isinstance(step, Keep | LowercaseEach | Surround | Normalize | Bytes)


def _combine_character_steps(steps: Sequence[SubwordStep]) -> list[Callable[[str], str]]:
    """Combine steps that change each character separately into one function, which uses a single table for ASCII texts.
    Return a list of this function, or an empty list if there are no steps."""
    if not steps:
        return []
    functions = [_make_step_function(step) for step in steps]
    if len(steps) == 1 and isinstance(steps[0], Replace):
        # It takes a fifth of the time of a table.
        return functions
    apply_to_characters = chain_text_functions(functions)
    table = {code: apply_to_characters(chr(code)) for code in range(0x80)}
    changed = {code: by for code, by in table.items() if by != chr(code)}
    if not changed:
        return [lambda text: text if text.isascii() else apply_to_characters(text)]
    return [lambda text: text.translate(changed) if text.isascii() else apply_to_characters(text)]


def _make_step_function(step: SubwordStep) -> Callable[[str], str]:
    match step:
        case Replace() | Keep():
            return make_step_function(step)
        case Surround(ranges, by):
            among = make_range_test(ranges)
            return make_code_point_map(lambda code: f"{by}{chr(code)}{by}" if among(code) else code)
        case LowercaseEach():
            return make_code_point_map(lambda code: LATER_CAPITALS.get(code) or chr(code).lower())
        case Normalize():
            return _make_normalize_function(step)
        case Bytes():
            return lambda text: text.encode().decode("latin-1").translate(_OF_LATIN_1)
        case Strip(sides, of):
            strip = {"left": str.lstrip, "right": str.rstrip, "both": str.strip}[sides]
            points = of or WHITE_SPACE
            return lambda text: strip(text, points)
        case Prepend(before):
            return lambda text: before + text if text else text
        case Fold():
            return _make_fold_function(step)
        case Table(_, clusters):
            return _make_replace_clusters_function(step) if clusters else _make_replace_longest_function(step)


def _make_normalize_function(step: Normalize) -> Callable[[str], str]:
    """Make a function that normalizes a text, but leaves the code points in `step.inert` unchanged."""
    form = step.form
    # Looked up when they occur: a set of all, such as the 830,000 unassigned code points, took 0.4 s to make.
    inside = make_range_test(step.inert)
    inert = CodePointCache(inside)

    def normalize(text: str) -> str:
        codes = list(map(ord, text))
        if not any(map(inert.__getitem__, codes)):
            return unicodedata.normalize(form, text)
        made, start = [], 0
        for index, point in enumerate(text):
            if inert[codes[index]]:
                made += [unicodedata.normalize(form, text[start:index]), point]
                start = index + 1
        return "".join([*made, unicodedata.normalize(form, text[start:])])

    return normalize


def _make_fold_function(step: Fold) -> Callable[[str], str]:
    """Make a function that replaces each run of at least `step.least` code points of `step.ranges` by `step.by`."""
    inside, by, least = make_range_test(step.ranges), step.by, step.least

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
        return _merge_repeated_spaces if by == " " else lambda text: fold(text) if "  " in text else text
    return fold


def _merge_repeated_spaces(text: str) -> str:
    while "  " in text:
        text = text.replace("  ", " ")
    return text


def make_test_for_any_character(points: Iterable[str]) -> Callable[[str], bool]:
    """Make a function that returns whether a text contains one of the given characters. If there are few of these, the
    function searches for each of them in turn."""
    some = frozenset(points)
    if len(some) > _FEW:
        return lambda text: not some.isdisjoint(text)
    few = tuple(some)
    return lambda text: any(point in text for point in few)


def _make_replace_longest_function(step: Table) -> Callable[[str], str]:
    """Make a function that replaces the longest key of a table at each position, but leaves the strings `step.kept`
    unchanged."""
    table = Charsmap(step.charsmap)
    kept: dict[str, list[str]] = {}
    for string in sorted(set(step.kept), key=len, reverse=True):
        kept.setdefault(string[0], []).append(string)
    holds_kept = make_test_for_any_character(kept)

    def replace_longest_keys(text: str) -> str:
        keeps = holds_kept(text)
        if table.of_ascii is not None and text.isascii() and not keeps:
            return text.translate(table.of_ascii)
        made, index = [], 0
        while index < len(text):
            if keeps and (whole := next((one for one in kept.get(text[index], ()) if text.startswith(one, index)), "")):
                made.append(whole)
                index += len(whole)
                continue
            found = table.find_longest_key(text, index)
            made.append(text[index] if found is None else found[1])
            index = index + 1 if found is None else found[0]
        return "".join(made)

    return replace_longest_keys


def _make_replace_clusters_function(step: Table) -> Callable[[str], str]:
    """Make a function that replaces each grapheme cluster of a text that begins with a key of the step's table."""
    table = Charsmap(step.charsmap)
    sets = [_list_code_points(ranges) for ranges in step.clusters]
    # Without these characters, a cluster is one code point, or has at least six bytes.
    in_short_ones = sets[0] | sets[1] | {"\r"}
    alone = make_code_point_map(lambda code: table.replace_code_point(chr(code)))

    def replace_grapheme_clusters(text: str) -> str:
        if in_short_ones.isdisjoint(text):
            return alone(text)
        made: list[str] = []
        for cluster in _split_grapheme_clusters(text, sets):
            found = (
                table.find_replacement_of_shortest_key(cluster)
                if len(cluster) > 1 and len(cluster.encode()) < 6
                else None
            )
            made += map(table.replace_code_point, cluster) if found is None else (found,)
        return "".join(made)

    return replace_grapheme_clusters


def _list_code_points(ranges: Iterable[str]) -> frozenset[str]:
    return frozenset(chr(code) for some in ranges for code in range(ord(some[0]), ord(some[-1]) + 1))


def _split_grapheme_clusters(text: str, cluster_sets: Sequence[frozenset[str]]) -> Iterable[str]:
    """Split a text into grapheme clusters.

    The two halves of a flag stay separate: together they have eight bytes, and only clusters of fewer than six bytes
    are looked up.
    """
    goes_on, begins, apart, pictographs, between, consonants, linkers, inner = cluster_sets
    start = 0
    # 1: after a pictograph, or a consonant, and characters that may follow it; 2: after a joiner, or a linker, as well.
    picture = consonant = 0
    before = ""
    for index, here in enumerate(text):
        if index and not (
            before == "\r" and here == "\n"
            if before in apart or here in apart
            else here in goes_on
            or before in begins
            or (picture == 2 and here in pictographs)
            or (consonant == 2 and here in consonants)
            or _belong_to_one_hangul_syllable(before, here)
        ):
            yield text[start:index]
            start = index
        if here in pictographs:
            picture = 1
        elif picture:
            picture = 2 if here == "\u200d" and picture == 1 else picture if here in between and picture == 1 else 0
        if here in consonants:
            consonant = 1
        elif consonant:
            consonant = 2 if here in linkers else consonant if here in inner else 0
        before = here
    if text:
        yield text[start:]


def _belong_to_one_hangul_syllable(before: str, here: str) -> bool:
    """Return whether two code points belong to one Hangul syllable (GB6 to GB8)."""
    first, second = _find_hangul_kind(before), _find_hangul_kind(here)
    return (first, second) in {
        *(("L", part) for part in ("L", "V", "LV", "LVT")),
        *(("LV", "V"), ("LV", "T"), ("V", "V"), ("V", "T"), ("LVT", "T"), ("T", "T")),
    }


def _find_hangul_kind(point: str) -> str:
    """Find the kind of a Hangul code point: L, V, T, LV or LVT; empty for any other code point."""
    if "\uac00" <= point <= "\ud7a3":
        return "LVT" if (ord(point) - 0xAC00) % 28 else "LV"
    for part, first, last in (
        *(("L", "\u1100", "\u115f"), ("L", "\ua960", "\ua97c"), ("V", "\u1160", "\u11a7")),
        *(("V", "\ud7b0", "\ud7c6"), ("T", "\u11a8", "\u11ff"), ("T", "\ud7cb", "\ud7fb")),
    ):
        if first <= point <= last:
            return part
    return ""


def make_subword_step_document(step: SubwordStep) -> dict[str, Any]:
    """Convert a step to a document for classifier.json."""
    match step:
        case Replace() | Keep():
            return make_step_document(step)
        case Normalize(form, inert):
            return {"normalize": form, **({"inert": list(inert)} if inert else {})}
        case LowercaseEach():
            return {"lowercase_each": True}
        case Surround(ranges, by):
            return {"surround": list(ranges), "by": by}
        case Strip(sides, of):
            return {"strip": sides, **({"of": of} if of else {})}
        case Prepend(text):
            return {"prepend": text}
        case Fold(ranges, least, by):
            return {"fold": list(ranges), "least": least, "by": by}
        case Bytes():
            return {"bytes": True}
        case Table(charsmap, clusters, kept):
            document: dict[str, Any] = {"table": base64.b64encode(charsmap).decode("ascii")}
            document |= {"clusters": [list(ranges) for ranges in clusters]} if clusters else {}
            return document | ({"kept": list(kept)} if kept else {})


def build_subword_step_from_document(document: Any) -> SubwordStep:
    """Build a step from a document of classifier.json. Raise an InputError if the document is not a step."""
    match document:
        case {"replace": what, "by": by} if len(document) == 2:
            return Replace(what, by)
        case {"keep": list(ranges), "by": by} if len(document) == 2:
            return Keep(tuple(ranges), by)
        case {"normalize": form} if document.keys() <= {"normalize", "inert"}:
            return Normalize(form, convert_list_to_tuple(document.get("inert", [])))
        case {"lowercase_each": True} if len(document) == 1:
            return LowercaseEach()
        case {"surround": list(ranges), "by": by} if len(document) == 2:
            return Surround(tuple(ranges), by)
        case {"strip": sides} if document.keys() <= {"strip", "of"}:
            return Strip(sides, document.get("of", ""))
        case {"prepend": text} if len(document) == 1:
            return Prepend(text)
        case {"fold": list(ranges), "least": least, "by": by} if len(document) == 3:
            return Fold(tuple(ranges), least, by)
        case {"bytes": True} if len(document) == 1:
            return Bytes()
        case {"table": str(table)} if document.keys() <= {"table", "clusters", "kept"}:
            clusters = tuple(map(convert_list_to_tuple, convert_list_to_tuple(document.get("clusters", []))))
            return Table(_decode_base64_table(table), clusters, convert_list_to_tuple(document.get("kept", [])))
    raise InputError(
        f"{short_repr(document)} is not a cleaning step for subwords.",
        "Give an object with the members that docs/format.md lists for such a step.",
    )


def _decode_base64_table(table: str) -> bytes:
    try:
        return base64.b64decode(table, validate=True)
    except ValueError:
        raise InputError(
            "The table of character replacements (precompiled_charsmap of sentencepiece) is not in base64.",
            "The file was changed or damaged: export the bundle again.",
        ) from None
