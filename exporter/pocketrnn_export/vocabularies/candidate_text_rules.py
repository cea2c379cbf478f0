"""List usual text rules that may be those of the owner's code: each tokenizer with usual cleaning steps."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from pocketrnn.text import TOKENIZERS, TextRules
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import CleaningStep, ReplaceRuns
from pocketrnn.text.code_point_ranges import (
    complement_point_ranges,
    list_first_and_last_points,
    make_ranges_from_points,
    merge_ranges,
)
from pocketrnn.text.code_point_runs import Run

# The format's tokenizers, tried first without steps before them.
_TOKENIZERS: Final = (*TOKENIZERS, "space")
# basic_english as a step is the tokenizer of that name.
_STEPS: Final = tuple((name,) for name in NAMED_STEPS if name not in ("basic_english", "lowercase"))
_PAIRS: Final = tuple(
    product(
        ("remove_urls", "remove_html_tags", "html_tags_to_space", "remove_mentions"),
        ("remove_punctuation", "punctuation_to_space", "letters", "letters_and_digits", "word_characters"),
    )
)
# The spaces of re.findall(r"\\w+", text) and of words with apostrophes.
_BETWEEN_WORDS: Final = (r"\W+", r"[^\w']+")
# Patterns of what is removed, often after another step.
_BEFORE_REMOVAL: Final = ((), ("html_tags_to_space",), ("remove_html_tags",), ("remove_urls",))
_REMOVED: Final = (r"[^a-z\s]", r"[^a-z0-9\s]")
_LINE_BREAKS: Final = r"\n"
# Words up to this length may be left out for it.
LONGEST_SHORT_WORD: Final = 3
_SHORT_WORDS: Final = tuple(rf"\b\w{{1,{longest}}}\b" for longest in range(1, LONGEST_SHORT_WORD + 1))
# text.encode("latin-1", errors="replace"), and the like.
_OUTSIDE_ENCODINGS: Final = tuple(product((r"[^\x00-\xff]", r"[^\x00-\x7f]"), ("?", "")))
# All that `re.sub` is tried to do, but for what stands between words.
TRIED_PATTERNS: Final = (*((one, "") for one in (*_REMOVED, _LINE_BREAKS, *_SHORT_WORDS)), *_OUTSIDE_ENCODINGS)
# Words of more ranges of characters are those of a script, which regular expressions of the field seldom write.
_MOST_RANGES: Final = 24
_SPECIAL: Final = re.compile(r"[<\[{_].*[>\]}_]", re.DOTALL)
make_cleaning_steps: Final = functools.cache(cleaning)
STEPS_OUTSIDE_ENCODINGS: Final = tuple(make_cleaning_steps(("sub", *one)) for one in _OUTSIDE_ENCODINGS)


def list_candidate_rules(rules: TextRules, tokens: Sequence[str] = ()) -> Iterator[TextRules]:
    """Yield text rules to try, if the right ones are not known: first each tokenizer without a cleaning step, then each
    named step and usual pairs of steps.

    Rules follow that replace all characters outside words by spaces, as `re.findall` and `re.split` do, then rules that
    remove all characters but small letters, digits and spaces. The last rules cut a text into characters and drop line
    breaks.

    Args:
        rules: the rules to begin with. If they have cleaning steps, no other steps are tried.
        tokens: the words of the vocabulary. The characters in them are tried as those of words.
    """
    for steps in ((), *_STEPS, *_PAIRS):
        for tokenizer in _TOKENIZERS if len(steps) < 2 else ("whitespace",):
            for lowercase in (True, False) if tokenizer != "basic_english" else (True,):
                if not steps:
                    yield replace(rules, tokenizer=tokenizer, lowercase=lowercase)
                elif tokenizer != "basic_english" and not rules.steps:
                    yield replace(rules, tokenizer=tokenizer, lowercase=lowercase, steps=make_cleaning_steps(*steps))
    for pattern in () if rules.steps else (*_BETWEEN_WORDS, *_list_patterns_between_words(tokens)):
        for tokenizer, lowercase in product(("whitespace", "space"), (True, False)):
            yield replace(
                rules, tokenizer=tokenizer, lowercase=lowercase, steps=make_cleaning_steps(("sub", pattern, " "))
            )
    for before, pattern in () if rules.steps else product(_BEFORE_REMOVAL, _REMOVED):
        removal = make_cleaning_steps(*before, ("sub", pattern, ""))
        yield replace(rules, tokenizer="whitespace", lowercase=True, steps=removal)
    for lowercase in () if rules.steps else (False, True):
        removal = make_cleaning_steps(("sub", _LINE_BREAKS, ""))
        yield replace(rules, tokenizer="characters", lowercase=lowercase, steps=removal)


def make_short_word_steps(longest: int) -> tuple[CleaningStep, ...]:
    """Return the cleaning steps that remove words of at most `longest` letters."""
    return make_cleaning_steps(("sub", _SHORT_WORDS[longest - 1], ""))


def _list_patterns_between_words(tokens: Sequence[str]) -> Iterator[str]:
    """Yield regular expressions for all characters that the vocabulary's words do not contain. In one of them, digits
    count as contained.

    If the words contain one small letter of ASCII, all of them count as contained, since a vocabulary may lack a q; so
    do capitals and digits.
    """
    held = {ord(point) for token in tokens if len(token) < 2 or not _SPECIAL.fullmatch(token) for point in token}
    words = [(code, code) for code in held if not chr(code).isspace() and not 0xD800 <= code <= 0xDFFF]
    whole = [(ord(some[0]), ord(some[1])) for some in ("09", "AZ", "az")]
    full = [some for some in whole if any(some[0] <= code <= some[1] for code in held)]
    for added in (full, [*full, whole[0]]) if full else ():
        ranges = make_ranges_from_points(merge_ranges([*words, *added]))
        if len(ranges) <= _MOST_RANGES:
            yield _write_pattern_outside_ranges(ranges)


def _write_pattern_outside_ranges(kept: Sequence[str]) -> str:
    """Write the regular expression for all characters outside some ranges, with letters first: [^a-z0-9']+."""
    ordered = sorted(kept, key=lambda some: (not some[0].isalpha(), not some[0].isdigit(), some))
    return f"[^{''.join('-'.join(f'{_escape_in_class(point)}' for point in some) for some in ordered)}]+"


def _escape_in_class(point: str) -> str:
    return f"\\{point}" if point in "\\]^-[&~|" else point


def find_pattern_between_words(steps: Sequence[CleaningStep]) -> str:
    """Return the pattern between words, if replacing it by a space is the only step. Else return an empty string."""
    match steps:
        case [ReplaceRuns(runs=[Run(ranges=ranges)], by=" ")]:
            kept = make_ranges_from_points(complement_point_ranges(list_first_and_last_points(ranges)))
            tried = (
                (*_BETWEEN_WORDS, _write_pattern_outside_ranges(kept)) if len(kept) <= _MOST_RANGES else _BETWEEN_WORDS
            )
            return next((one for one in tried if make_cleaning_steps(("sub", one, " ")) == tuple(steps)), "")
        case _:
            return ""
