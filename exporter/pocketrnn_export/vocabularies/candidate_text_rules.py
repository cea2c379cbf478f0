"""List usual text rules that may be those of the owner's code: each tokenizer with usual cleaning steps. Describe text
rules in messages, and write them as `--rules` takes them: in short forms if they are usual."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from pocketrnn.text import TOKENIZERS, TextRules, make_rules_document
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import CleaningStep, ReplaceRuns, find_lowercasing_step, make_step_documents
from pocketrnn.text.code_point_patterns import Run
from pocketrnn.text.code_point_ranges import (
    complement_point_ranges,
    list_first_and_last_points,
    make_ranges_from_points,
    merge_ranges,
)
from pocketrnn_export.json_reading_and_writing import format_json_for_terminal

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
# Words that a text's first and last token may be.
_FIRST: Final = re.compile(r"(?i)<s>|[<\[{_]+(sos|bos|cls|start|go|begin|s_?start)(_token)?[>\]}_]+")
_LAST: Final = re.compile(r"(?i)</s>|[<\[{_]+(eos|sep|end|stop|s_?end)(_token)?[>\]}_]+")
_MOST_MARKS: Final = 8
_SPECIAL: Final = re.compile(r"[<\[{_].*[>\]}_]", re.DOTALL)
make_cleaning_steps: Final = functools.cache(cleaning)
STEPS_OUTSIDE_ENCODINGS: Final = tuple(make_cleaning_steps(("sub", *one)) for one in _OUTSIDE_ENCODINGS)


def list_candidate_rules(rules: TextRules, tokens: Sequence[str] = ()) -> Iterator[TextRules]:
    """Yield the text rules that are tried if the rules of the owner's code are not known: first each tokenizer without
    cleaning steps, then each usual cleaning step, then usual pairs of steps.

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


def list_rules_with_sos_and_eos(rules: TextRules, tokens: Sequence[str]) -> list[TextRules]:
    """Return copies of the text rules that put words of the vocabulary such as `<s>` and `</s>` around each text: first
    copies with both words, then with the first word alone, then with the last word alone. Return an empty list if the
    rules already add a first or a last id, or if the vocabulary has no such words.

    Args:
        rules: the text rules.
        tokens: the words of the vocabulary.
    """
    if rules.first_ids or rules.last_ids:
        return []
    firsts, lasts = ([i for i, token in enumerate(tokens) if one.fullmatch(token)] for one in (_FIRST, _LAST))
    around = [*product(firsts, lasts), *((first, None) for first in firsts), *((None, last) for last in lasts)]
    return [replace(rules, first_id=first, last_id=last) for first, last in around[:_MOST_MARKS]]


def make_short_word_steps(longest: int) -> tuple[CleaningStep, ...]:
    """Return the cleaning steps that remove words of at most `longest` letters."""
    return make_cleaning_steps(("sub", _SHORT_WORDS[longest - 1], ""))


def _list_patterns_between_words(tokens: Sequence[str]) -> Iterator[str]:
    """Yield up to two regular expressions, such as `[^a-z']+`, for the characters between words: all characters that no
    word of the vocabulary contains. The second one does not match digits, either.

    If a word contains any of the letters a to z, all of a to z count as letters of words, since a small vocabulary may
    have no word with q. The same holds for A to Z and 0 to 9.
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
    """Return the regular expression that matches one or more characters outside the ranges `kept`. For the ranges "az"
    and "09", this is `[^a-z0-9]+`. Ranges of letters come first."""
    ordered = sorted(kept, key=lambda some: (not some[0].isalpha(), not some[0].isdigit(), some))
    return f"[^{''.join('-'.join(f'{_escape_in_class(point)}' for point in some) for some in ordered)}]+"


def _escape_in_class(point: str) -> str:
    """Return a character as a character class of a regular expression contains it, with a backslash where needed."""
    return f"\\{point}" if point in "\\]^-[&~|" else point


def find_pattern_between_words(steps: Sequence[CleaningStep]) -> str:
    """Return the regular expression that the cleaning steps replace by a space. Return an empty string if there are
    several steps, or if the only step does something else."""
    match steps:
        case [ReplaceRuns(runs=[Run(ranges=ranges)], by=" ")]:
            kept = make_ranges_from_points(complement_point_ranges(list_first_and_last_points(ranges)))
            tried = (
                (*_BETWEEN_WORDS, _write_pattern_outside_ranges(kept)) if len(kept) <= _MOST_RANGES else _BETWEEN_WORDS
            )
            return next((one for one in tried if make_cleaning_steps(("sub", one, " ")) == tuple(steps)), "")
        case _:
            return ""


# The most characters of a message that describe steps: the set of `\w` alone has 740 ranges.
_MOST_WRITTEN: Final = 120
# The most characters of a --rules option in a message.
LONGEST_OPTION: Final = 300
# The members of text rules that say how texts are split.
SPLITTING_MEMBERS: Final = ("tokenizer", "lowercase", "steps", "stop_words")


def describe_rules(rules: TextRules) -> str:
    """Describe text rules in a few words for a message, such as "whitespace with lowercase=False". The description of
    the cleaning steps says which one lower-cases."""
    said = [] if rules.lowercase or find_lowercasing_step(rules.steps) else ["lowercase=False"]
    said += [_describe_steps(rules)] if rules.steps else []
    said += [f"{len(rules.stop_words)} stop words"] if rules.stop_words else []
    usual = TextRules()
    said += [
        f"{name}={getattr(rules, name)!r}"
        for name in ("first_id", "last_id", "max_tokens", "max_width", "min_width", "cut_side", "pad_side")
        if getattr(rules, name) != getattr(usual, name)
    ]
    return rules.tokenizer + (" with " + " and ".join(said) if said else "")


def describe_long_rules_option(rules: TextRules, option: str) -> str:
    """Return the option `--rules` with its value for a message. If the value is longer than 300 characters, return a
    short description of the rules instead.

    Args:
        rules: the text rules, for the description.
        option: the value of `--rules` that sets these rules.
    """
    return f"--rules {shlex.quote(option)}" if len(option) <= LONGEST_OPTION else f"the rules {describe_rules(rules)}"


def write_rules_option_or_changed_members(rules: TextRules, given_rules: TextRules, implied: TextRules) -> str:
    """Return the phrase by which a message tells how to set `rules`, usually the option `--rules` with its value. If
    this is long and `rules` has the cleaning steps of the rules that the user gave, the phrase names only what differs
    from those.

    Args:
        rules: the text rules that the message recommends.
        given_rules: the text rules that the user gave.
        implied: the text rules that hold without `--rules`. They follow from the vocabulary.
    """
    option = write_rules_option(rules, implied)
    if not rules.steps or rules.steps != given_rules.steps or len(option) <= _MOST_WRITTEN:
        return f"--rules {shlex.quote(option)}"
    return f"the same rules with {write_rules_option(rules, given_rules)}"


def write_rules_option(rules: TextRules, implied: TextRules, steps_as_given: Sequence[Any] = ()) -> str:
    """Return the value of `--rules` that sets these rules, as JSON. It has only the members that differ from `implied`.

    Args:
        rules: the text rules.
        implied: the text rules that hold without `--rules`. They follow from the vocabulary.
        steps_as_given: the short forms from which the cleaning steps were made, as `cleaning` takes them; empty if not
            known.
    """
    before = make_rules_document(implied)
    document = {name: value for name, value in make_rules_document(rules).items() if before.get(name, ...) != value}
    short = [step for i, step in enumerate(steps_as_given) if i or step != "lowercase" or not rules.lowercase]
    if "steps" in document and rules.steps == cleaning(*short):
        document["steps"] = [_shorten_step(step) for step in short]
    elif "steps" in document:
        document["steps"] = _write_steps(rules.steps)
    return format_json_for_terminal(document)


def _write_steps(steps: tuple[CleaningStep, ...]) -> list[Any]:
    """Return cleaning steps as `--rules` takes them, in short forms if possible."""
    written: list[Any] = []
    while steps:
        for form in _list_short_forms(steps):
            made = make_cleaning_steps(form)
            if made and steps[: len(made)] == made:
                break
        else:
            form, made = make_step_documents(steps[:1])[0], steps[:1]
        written.append(form if isinstance(form, dict) else _shorten_step(form))
        steps = steps[len(made) :]
    return written


def _list_short_forms(steps: tuple[CleaningStep, ...]) -> Iterator[Any]:
    """Yield the short forms, such as "remove_urls", of the usual cleaning steps. If the first of `steps` replaces a
    pattern by a space, also yield the short form ("sub", pattern, " ") of this step."""
    yield from NAMED_STEPS
    yield from (("sub", pattern, by) for pattern, by in TRIED_PATTERNS)
    if pattern := find_pattern_between_words(steps[:1]):
        yield "sub", pattern, " "


def _shorten_step(step: Any) -> Any:
    """Return a cleaning step in the shortest form that `--rules` takes: its name, a list with its arguments, or the
    members that it has in classifier.json."""
    if isinstance(step, CleaningStep):
        return _write_steps((step,))[0]
    return step if isinstance(step, str) else {"sub": [*step[1:]]} if len(step) == 3 else [*step]


def _describe_steps(rules: TextRules) -> str:
    """Describe the cleaning steps of text rules for a message: by their names, as JSON, or by their number if the JSON
    is long."""
    steps = _write_steps(rules.steps)
    if all(isinstance(step, str) for step in steps):
        return " and ".join(steps)
    written = format_json_for_terminal(steps)
    if len(written) <= _MOST_WRITTEN:
        return f"steps={written}"
    lowercasing = find_lowercasing_step(rules.steps)
    return f"{len(rules.steps)} steps" + (f" (lower case by step {lowercasing})" if lowercasing else "")
