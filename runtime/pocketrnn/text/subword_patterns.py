"""The patterns by which well-known tokenizers split a text into words: of GPT-2, CLIP, GPT-4, GPT-4o and DeepSeek.

They are code, because readers in some languages have no regular expressions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.code_point_cache import CodePointCache
from pocketrnn.text.code_point_ranges import check_ranges, make_range_test
from pocketrnn.text.subword_steps import WHITE_SPACE
from pocketrnn.text.value_checks import convert_list_to_tuple

__all__ = ["Pattern", "build_pattern_from_document", "make_pattern_document", "make_pattern_function"]

Name = Literal["gpt2", "clip", "cl100k", "o200k", "deepseek"]

# The sets that each pattern needs, in the order of docs/format.md; a code point belongs to the first set that holds it.
_SETS: Final[dict[str, tuple[str, ...]]] = {
    "gpt2": ("letters", "numbers"),
    "clip": ("letters", "numbers"),
    "cl100k": ("letters", "numbers"),
    "o200k": ("capitals", "small", "letters", "marks", "numbers"),
    "deepseek": ("letters", "punctuation"),
}
_WITH_DIGITS: Final = ("cl100k", "o200k")


@dataclass(frozen=True)
class Pattern:
    """A split of a text into words by the regular expression of a well-known tokenizer.

    Attributes:
        name: `gpt2`, the pattern of GPT-2 (openai/gpt-2, src/encoder.py); `clip`, that of CLIP, which drops text that
            it does not match; `cl100k`, that of GPT-4 and Llama 3; `o200k`, that of GPT-4o, Llama 4 and Mistral's
            Tekken; `deepseek`, the last of the three patterns of DeepSeek V3.
        letters: ranges of the letters (`\\p{L}`); for `deepseek`, of the letters and marks.
        numbers: ranges of the digits (`\\p{N}`); empty for `deepseek`.
        digits: the largest number of digits of a word; only for `cl100k` and `o200k`.
        capitals: ranges of the capital and titlecase letters; only for `o200k`.
        small: ranges of the small letters; only for `o200k`.
        marks: ranges of the marks (`\\p{M}`); only for `o200k`.
        punctuation: ranges of punctuation and symbols; only for `deepseek`.
        contractions: whether endings such as 's belong to the word before; False is allowed only for `o200k`.

    Raises:
        InputError: a value has a wrong type or is out of its range.
    """

    name: Name
    letters: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    digits: int = 3
    capitals: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    punctuation: tuple[str, ...] = ()
    contractions: bool = True

    def __post_init__(self) -> None:
        if self.name not in _SETS:
            raise InputError(
                f"The split pattern {short_repr(self.name)} is unknown.", f"Give one of these: {', '.join(_SETS)}."
            )
        for name in _SETS[self.name]:
            check_ranges(getattr(self, name), f"A pattern's {name}")
        others = {name for names in _SETS.values() for name in names} - set(_SETS[self.name])
        if more := [name for name in sorted(others) if getattr(self, name)]:
            raise InputError(
                f"The split pattern {self.name} cannot have the set `{more[0]}`.", f"Leave `{more[0]}` out."
            )
        if type(self.digits) is not int or not 1 <= self.digits <= 3:
            raise InputError(
                f"`digits` of a split pattern is {short_repr(self.digits)}, but it must be 1, 2 or 3.",
                "Give the largest number of digits in a word.",
            )
        if not isinstance(self.contractions, bool) or (not self.contractions and self.name != "o200k"):
            raise InputError(
                f"`contractions` of the split pattern {self.name} is {short_repr(self.contractions)}, but it must be "
                "true. Only the pattern o200k also allows false.",
                "Leave `contractions` out.",
            )

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """The sets of code points that the pattern needs, in the order of docs/format.md."""
        return tuple(getattr(self, name) for name in _SETS[self.name])


_OTHER, _LETTER, _NUMBER, _SPACE = range(4)
# The further kinds of `o200k`.
_CAPITAL, _SMALL, _UNCASED, _MARK = range(4, 8)
_PUNCTUATION: Final = 8


# The kind of each code point for a pattern.
_CharacterKinds = CodePointCache[str, int]


def _make_character_kinds(*kinds_and_ranges: tuple[int, tuple[str, ...]]) -> _CharacterKinds:
    """Make a dict that gives the kind of a code point: _SPACE for white space; else the kind of the first ranges that
    contain the code point; else _OTHER."""
    tests = [(kind, make_range_test(ranges)) for kind, ranges in kinds_and_ranges]

    def find_kind(point: str) -> int:
        return next((kind for kind, inside in tests if inside(ord(point))), _OTHER)

    return CodePointCache(find_kind, dict.fromkeys(WHITE_SPACE, _SPACE))


def make_pattern_function(split: Pattern) -> Callable[[str], list[str]]:
    """Make a function that cuts a word into parts. The word must not be empty; a part may be empty."""
    letters, numbers, digits = (_LETTER, split.letters), (_NUMBER, split.numbers), split.digits
    if split.name == "deepseek":
        kinds = _make_character_kinds(letters, (_PUNCTUATION, split.punctuation))
        return lambda word: _cut_deepseek(word, kinds)
    if split.name == "o200k":
        cased = (_CAPITAL, split.capitals), (_SMALL, split.small)
        kinds = _make_character_kinds(*cased, (_UNCASED, split.letters), (_MARK, split.marks), numbers)
        return lambda word: _cut_o200k(word, kinds, digits, split.contractions)
    kinds = _make_character_kinds(letters, numbers)
    if split.name == "gpt2":
        return lambda word: _cut_gpt2(word, kinds)
    if split.name == "clip":
        return lambda word: _cut_clip(word, kinds)
    return lambda word: _cut_cl100k(word, kinds, digits)


def _find_run_end(word: str, start: int, kinds: _CharacterKinds, most: int = sys.maxsize) -> int:
    """Find the end of the run that begins at `start`: at most `most` code points of one kind."""
    kind, end, stop = kinds[word[start]], start + 1, min(len(word), start + most)
    while end < stop and kinds[word[end]] == kind:
        end += 1
    return end


def _find_contraction_length(word: str, start: int) -> int:
    """Return the length of the contraction at `start`: 's, 't, 're, 've, 'm, 'll or 'd; 0 without one."""
    if word[start + 1 : start + 2] in ("s", "t", "m", "d"):
        return 2
    return 3 if word[start + 1 : start + 3] in ("re", "ve", "ll") else 0


def _find_cut_before_last_space(word: str, start: int, end: int) -> int:
    """Find the index at which the white space from `start` to `end` is cut: before its last character, so that this
    begins the next word. If it is a single character, or the text ends after it, return `end`."""
    return end if end == len(word) or end == start + 1 else end - 1


def _cut_gpt2(word: str, kinds: _CharacterKinds) -> list[str]:
    """Cut a word into the matches of GPT-2's pattern:
    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"""
    made, start, size = [], 0, len(word)
    while start < size:
        first = word[start]
        length = _find_contraction_length(word, start) if first == "'" else 0
        body = start + 1 if first == " " else start
        if length:
            end = start + length
        elif body < size and kinds[word[body]] != _SPACE:
            end = _find_run_end(word, body, kinds)
        else:
            end = _find_cut_before_last_space(word, start, _find_run_end(word, start, kinds))
        made.append(word[start:end])
        start = end
    return made


def _cut_clip(word: str, kinds: _CharacterKinds) -> list[str]:
    """Cut a word into the matches of CLIP's pattern, without the text between them:
    's|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"""
    made, start = [], 0
    while start < len(word):
        kind = kinds[word[start]]
        length = _find_contraction_length(word, start) if word[start] == "'" else 0
        end = start + length if length else start + 1 if kind == _NUMBER else _find_run_end(word, start, kinds)
        if kind != _SPACE:
            made.append(word[start:end])
        start = end
    return made


def _cut_cl100k(word: str, kinds: _CharacterKinds, most_digits: int) -> list[str]:
    """Cut a word into the matches of GPT-4's pattern:
    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|
    \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"""
    made, start, size = [], 0, len(word)
    while start < size:
        first = word[start]
        kind = kinds[first]
        length = _find_any_case_contraction_length(word, start) if first == "'" else 0
        body = start + 1 if first == " " else start
        if length:
            end = start + length
        elif kind == _LETTER:
            end = _find_run_end(word, start, kinds)
        elif kind != _NUMBER and first not in "\r\n" and start + 1 < size and kinds[word[start + 1]] == _LETTER:
            end = _find_run_end(word, start + 1, kinds)
        elif kind == _NUMBER:
            end = _find_run_end(word, start, kinds, most_digits)
        elif body < size and kinds[word[body]] == _OTHER:
            end = _find_points_end(word, _find_run_end(word, body, kinds), "\r\n")
        else:
            end = _find_line_end_or_cut_before_last_space(word, start, kinds)
        made.append(word[start:end])
        start = end
    return made


def _find_any_case_contraction_length(word: str, start: int) -> int:
    """Return the length of the contraction at `start`, in small letters or capitals; 0 without one."""
    # The long s is an s in any case.
    return _find_contraction_length(word[start : start + 3].lower().replace("\u017f", "s"), 0)


def _find_points_end(word: str, start: int, points: str) -> int:
    """Find the end of the run that begins at `start` and has only these code points."""
    while start < len(word) and word[start] in points:
        start += 1
    return start


def _find_line_end_or_cut_before_last_space(word: str, start: int, kinds: _CharacterKinds) -> int:
    """Find the end of the part that begins with the white space at `start`: \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"""
    end = _find_run_end(word, start, kinds)
    line_end = max(word.rfind("\n", start, end), word.rfind("\r", start, end)) + 1
    return line_end or _find_cut_before_last_space(word, start, end)


def _find_cased_word_end(word: str, start: int, kinds: _CharacterKinds) -> int:
    """Find the end of the word at `start` that may begin with capitals and ends with small letters; 0 if there is no
    such word.

    [\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+: capitals are matched first, and given back up
    to the last code point that also counts as a small letter.
    """
    size, end, last = len(word), start, 0
    while end < size and (kind := kinds[word[end]]) in (_CAPITAL, _UNCASED, _MARK):
        end += 1
        last = last if kind == _CAPITAL else end
    if end == size or kinds[word[end]] != _SMALL:
        return last
    while end < size and kinds[word[end]] in (_SMALL, _UNCASED, _MARK):
        end += 1
    return end


def _find_capitals_word_end(word: str, start: int, kinds: _CharacterKinds) -> int:
    """Find the end of the run of capitals, uncased letters and marks at `start`; 0 without one."""
    end = start
    while end < len(word) and kinds[word[end]] in (_CAPITAL, _UNCASED, _MARK):
        end += 1
    return end if end > start else 0


def _cut_o200k(word: str, kinds: _CharacterKinds, most_digits: int, contractions: bool) -> list[str]:
    """Cut a word into the matches of GPT-4o's pattern:
    [^\\r\\n\\p{L}\\p{N}]?U*W+C?|[^\\r\\n\\p{L}\\p{N}]?U+W*C?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|
    \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+; U stands for capitals, W for small letters, both also for
    letters that are neither, and C for a contraction"""
    made, start, size = [], 0, len(word)
    while start < size:
        first = word[start]
        kind = kinds[first]
        leads = kind in (_OTHER, _SPACE, _MARK) and first not in "\r\n"
        end = (leads and _find_cased_word_end(word, start + 1, kinds)) or _find_cased_word_end(word, start, kinds)
        end = (
            end
            or (leads and _find_capitals_word_end(word, start + 1, kinds))
            or _find_capitals_word_end(word, start, kinds)
        )
        body = start + 1 if first == " " else start
        if end:
            if contractions and word[end : end + 1] == "'":
                end += _find_any_case_contraction_length(word, end)
        elif kind == _NUMBER:
            end = _find_run_end(word, start, kinds, most_digits)
        elif body < size and kinds[word[body]] in (_OTHER, _MARK):
            end = body
            while end < size and kinds[word[end]] in (_OTHER, _MARK):
                end += 1
            end = _find_points_end(word, end, "\r\n/")
        else:
            end = _find_line_end_or_cut_before_last_space(word, start, kinds)
        made.append(word[start:end])
        start = end
    return made


_ASCII_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_ASCII_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _cut_deepseek(word: str, kinds: _CharacterKinds) -> list[str]:
    """Cut a word into the matches of DeepSeek's pattern, and the text between them:
    A[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+,
    where A is ASCII punctuation"""
    made, start, done, size = [], 0, 0, len(word)
    while start < size:
        first = word[start]
        kind, second = kinds[first], word[start + 1 : start + 2]
        body = start + 1 if first == " " else start
        end = 0
        if first in _ASCII_PUNCTUATION and second in _ASCII_LETTERS:
            end = start + 1
            while end < size and word[end] in _ASCII_LETTERS:
                end += 1
        elif kind == _LETTER:
            end = _find_run_end(word, start, kinds)
        elif kind != _PUNCTUATION and first not in "\r\n" and second and kinds[second] == _LETTER:
            end = _find_run_end(word, start + 1, kinds)
        elif body < size and kinds[word[body]] == _PUNCTUATION:
            end = _find_points_end(word, _find_run_end(word, body, kinds), "\r\n")
        elif kind == _SPACE:
            end = _find_line_end_or_cut_before_last_space(word, start, kinds)
        if not end:
            start += 1
            continue
        if done < start:
            made.append(word[done:start])
        made.append(word[start:end])
        start = done = end
    return [*made, word[done:]]


def make_pattern_document(split: Pattern) -> dict[str, Any]:
    """Convert the pattern to a document for classifier.json."""
    sets = {member: list(getattr(split, member)) for member in _SETS[split.name]}
    digits = {"digits": split.digits} if split.name in _WITH_DIGITS else {}
    return {"pattern": split.name, **sets, **digits, **({} if split.contractions else {"contractions": False})}


def build_pattern_from_document(document: Mapping[str, Any]) -> Pattern | None:
    """Build the pattern from a document of classifier.json; None if the document is not a pattern. Raise an InputError
    if a value has a wrong type or is out of its range."""
    name: Any = document["pattern"]
    names = _SETS.get(name, ())
    if not names or not {*names} <= document.keys() <= {"pattern", *names, "digits", "contractions"}:
        return None
    members: dict[str, Any] = {member: convert_list_to_tuple(document[member]) for member in names}
    members |= {member: document[member] for member in ("digits", "contractions") if member in document}
    return Pattern(name, **members)
