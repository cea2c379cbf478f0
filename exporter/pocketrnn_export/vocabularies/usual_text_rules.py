"""List usual text rules that may be those of the owner's code, and write rules as `--rules` takes them, in short forms
if they are usual."""

from __future__ import annotations

import functools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from pocketrnn.text import TOKENIZERS, TextRules, make_rules_document
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import CleaningStep, ReplaceRuns, make_step_documents
from pocketrnn.text.code_point_ranges import complement_points, list_range_points, make_ranges_from_points, merge_ranges
from pocketrnn.text.code_point_runs import Run
from pocketrnn_export.json_file import write_json_line

# The most characters of a message that describe steps: the set of `\w` alone has 740 ranges.
_MOST_WRITTEN: Final = 120
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
# The pattern of what is removed, often after another step.
_REMOVALS: Final = tuple(
    product(("", "html_tags_to_space", "remove_html_tags", "remove_urls"), (r"[^a-z\s]", r"[^a-z0-9\s]"))
)
_LINE_BREAKS: Final = r"\n"
# Words up to this length may be left out for it.
LONGEST_SHORT_WORD: Final = 3
# Words of more ranges of characters are those of a script, which regular expressions of the field seldom write.
_MOST_RANGES: Final = 24
_SPECIAL: Final = re.compile(r"[<\[{_].*[>\]}_]", re.DOTALL)
_make_steps: Final = functools.cache(cleaning)


def list_candidate_rules(rules: TextRules, tokens: Sequence[str] = ()) -> Iterator[TextRules]:
    """Yield rules to try. First come rules with each tokenizer, then with each named step, then with usual pairs of
    steps, then rules that replace all characters outside words by spaces, as `re.findall` and `re.split` do. Last come
    rules that remove all characters but small letters, digits and spaces, and line breaks between characters.

    Args:
        rules: where they have steps, no others are tried.
        tokens: those of the vocabulary, whose characters are tried as those of words.
    """
    for steps in ((), *_STEPS, *_PAIRS):
        for tokenizer in _TOKENIZERS if len(steps) < 2 else ("whitespace",):
            for lowercase in (True, False) if tokenizer != "basic_english" else (True,):
                if not steps:
                    yield replace(rules, tokenizer=tokenizer, lowercase=lowercase)
                elif tokenizer != "basic_english" and not rules.steps:
                    yield replace(rules, tokenizer=tokenizer, lowercase=lowercase, steps=_make_steps(*steps))
    for pattern in () if rules.steps else (*_BETWEEN_WORDS, *_list_patterns_between_words(tokens)):
        for tokenizer, lowercase in product(("whitespace", "space"), (True, False)):
            yield replace(rules, tokenizer=tokenizer, lowercase=lowercase, steps=_make_steps(("sub", pattern, " ")))
    for removal in () if rules.steps else _REMOVALS:
        yield replace(rules, tokenizer="whitespace", lowercase=True, steps=_make_removal_steps(removal))
    for lowercase in () if rules.steps else (False, True):
        yield replace(rules, tokenizer="characters", lowercase=lowercase, steps=_make_removal_steps(("", _LINE_BREAKS)))


def add_first_and_last_ids(rules: TextRules, rows: Sequence[Sequence[int]]) -> list[TextRules]:
    """Add to the rules what the owner's ids show: a first id, a last id, and one width for all texts, with its padding.

    Args:
        rules: rules that have a width or a first or last id are kept.
        rows: the ids that the owner's pipeline gives for some texts.
    """
    rows = [row for row in rows if row]
    if len(rows) < 2 or (rules.first_id, rules.last_id, rules.max_width, rules.min_width) != (None,) * 4:
        return [rules]
    widths = {len(row) for row in rows}
    other = _find_padding_id(rows) if len(widths) == 1 else None
    tried = [rules] if other in (None, rules.padding_id) else [rules, replace(rules, padding_id=other)]
    return [one for some in tried for one in _list_framed_rules(some, rows, widths)]


def _list_framed_rules(rules: TextRules, rows: Sequence[Sequence[int]], widths: set[int]) -> list[TextRules]:
    """Return the rules with each combination of a first id, a last id and a width that the rows show."""
    padding, found = rules.padding_id, [rules]
    if len(widths) == 1 and any(padding in (row[0], row[-1]) for row in rows):
        (width,) = widths
        # A row of padding only, as of an empty text, shows no side.
        begun, ended = (sum(row[end] == padding for row in rows) for end in (0, -1))
        side: Any = "left" if begun > ended else "right"
        both = replace(rules, max_width=width, min_width=width, pad_side=side)
        found += [replace(both, cut_side=cut) for cut in ("right", "left")]
    elif max(widths) > 1 and sum(len(row) == max(widths) for row in rows) > 1:
        # Several texts have the largest length: they are cut there.
        found += [replace(rules, max_width=max(widths), cut_side=cut) for cut in ("right", "left")]
    cores = [core for row in rows if (core := strip_padding(row, padding))]
    firsts, lasts = ([None, *_find_usual_ids([core[end] for core in cores])] for end in (0, -1))
    return [replace(some, first_id=f, last_id=e) for f, e in product(firsts, lasts) for some in found]


def _find_padding_id(rows: Sequence[Sequence[int]]) -> int | None:
    """Return the id that stands twice in a row at an end of at least half of the rows; None if there is none."""
    ends = (row[at] for row in rows if len(row) > 1 for at, beside in ((0, 1), (-1, -2)) if row[at] == row[beside])
    return next((id_ for id_, count in Counter(ends).most_common(1) if 2 * count >= len(rows)), None)


def describe_rules(rules: TextRules) -> str:
    """Describe text rules in a few words."""
    said = [] if rules.lowercase else ["lowercase=False"]
    said += [_describe_steps(rules)] if rules.steps else []
    said += [f"{len(rules.stop_words)} stop words"] if rules.stop_words else []
    usual = TextRules()
    said += [
        f"{name}={getattr(rules, name)!r}"
        for name in ("first_id", "last_id", "max_tokens", "max_width", "min_width", "cut_side", "pad_side")
        if getattr(rules, name) != getattr(usual, name)
    ]
    return rules.tokenizer + (" with " + " and ".join(said) if said else "")


def write_nearest_rules(rules: TextRules, given: TextRules, implied: TextRules) -> str:
    """Write for a message how to give these rules: by the option `--rules`, or, if the steps are long and unchanged, by
    the members that differ from the given rules."""
    option = write_rules_option(rules, implied)
    if not rules.steps or rules.steps != given.steps or len(option) <= _MOST_WRITTEN:
        return f"--rules {shlex.quote(option)}"
    return f"the same rules with {write_rules_option(rules, given)}"


def write_rules_option(rules: TextRules, implied: TextRules, written: Sequence[Any] = ()) -> str:
    """Write the value of `--rules` for these rules: the members that differ from the rules that the vocabulary
    implies.

    Args:
        rules: the rules.
        implied: those that the vocabulary implies.
        written: their steps as `cleaning` takes them, if they were made so.
    """
    before = make_rules_document(implied)
    document = {name: value for name, value in make_rules_document(rules).items() if before.get(name, ...) != value}
    short = [step for i, step in enumerate(written) if i or step != "lowercase" or not rules.lowercase]
    if "steps" in document and rules.steps == cleaning(*short):
        document["steps"] = [_shorten_step(step) for step in short]
    elif "steps" in document:
        document["steps"] = _write_steps(rules.steps)
    return write_json_line(document)


def make_short_word_steps(longest: int) -> tuple[CleaningStep, ...]:
    """Return the cleaning steps that remove words of at most `longest` letters."""
    return _make_steps(("sub", rf"\b\w{{1,{longest}}}\b", ""))


def _write_steps(steps: tuple[CleaningStep, ...]) -> list[Any]:
    """Return cleaning steps as `--rules` takes them, in short forms if possible."""
    if names := _find_step_names(steps):
        return list(names)
    if pattern := _find_pattern_between_words(steps):
        return [{"sub": [pattern, " "]}]
    for before, removed in (*_REMOVALS, ("", _LINE_BREAKS)):
        if steps == _make_removal_steps((before, removed)):
            return [*filter(None, [before]), {"sub": [removed, ""]}]
    for longest in range(1, LONGEST_SHORT_WORD + 1):
        short = make_short_word_steps(longest)
        if steps and steps[-len(short) :] == short:
            return [*_write_steps(steps[: -len(short)]), {"sub": [rf"\b\w{{1,{longest}}}\b", ""]}]
    return make_step_documents(steps)


def _shorten_step(step: Any) -> Any:
    """Return a cleaning step as `--rules` takes it: its name, a short form, or its members in classifier.json."""
    if isinstance(step, CleaningStep):
        name = next((name for name in NAMED_STEPS if _make_steps(name) == (step,)), "")
        return name or make_step_documents([step])[0]
    return step if isinstance(step, str) else {"sub": [*step[1:]]} if len(step) == 3 else [*step]


def strip_padding(row: Sequence[int], padding: int) -> list[int]:
    """Return a row of ids without the padding at both ends."""
    kept = [i for i, id_ in enumerate(row) if id_ != padding]
    return list(row[kept[0] : kept[-1] + 1]) if kept else []


def _find_usual_ids(ids: Sequence[int]) -> list[int]:
    """Return a list of the id that is at least half of the given ids; an empty list if there is none. A text that was
    cut may lack a first or last id."""
    return [number for number, count in Counter(ids).most_common(1) if 2 * count >= len(ids)]


@functools.cache
def _make_removal_steps(removal: tuple[str, str]) -> tuple[CleaningStep, ...]:
    before, pattern = removal
    return cleaning(*filter(None, [before]), ("sub", pattern, ""))


def _list_patterns_between_words(tokens: Sequence[str]) -> Iterator[str]:
    """Yield patterns of all characters that the vocabulary's words do not contain. Digits count as characters of
    words in some patterns.

    A vocabulary may lack a word with a q: letters and digits of ASCII are taken together.
    """
    held = {ord(point) for token in tokens if len(token) < 2 or not _SPECIAL.fullmatch(token) for point in token}
    words = [(code, code) for code in held if not chr(code).isspace() and not 0xD800 <= code <= 0xDFFF]
    whole = [(ord(some[0]), ord(some[1])) for some in ("09", "AZ", "az")]
    full = [some for some in whole if any(some[0] <= code <= some[1] for code in held)]
    for added in (full, [*full, whole[0]]) if full else ():
        ranges = make_ranges_from_points(merge_ranges([*words, *added]))
        if len(ranges) <= _MOST_RANGES:
            yield _write_pattern(ranges)


def _write_pattern(kept: Sequence[str]) -> str:
    """Write the regular expression for all characters outside some ranges, with letters first: [^a-z0-9']+."""
    ordered = sorted(kept, key=lambda some: (not some[0].isalpha(), not some[0].isdigit(), some))
    return f"[^{''.join('-'.join(f'{_escape(point)}' for point in some) for some in ordered)}]+"


def _escape(point: str) -> str:
    return f"\\{point}" if point in "\\]^-[&~|" else point


def _find_pattern_between_words(steps: Sequence[CleaningStep]) -> str:
    """Return the pattern between words, if replacing it by a space is the only step. Else return an empty string."""
    match steps:
        case [ReplaceRuns(runs=[Run(ranges=ranges)], by=" ")]:
            kept = make_ranges_from_points(complement_points(list_range_points(ranges)))
            tried = (*_BETWEEN_WORDS, _write_pattern(kept)) if len(kept) <= _MOST_RANGES else _BETWEEN_WORDS
            return next((one for one in tried if _make_steps(("sub", one, " ")) == tuple(steps)), "")
        case _:
            return ""


def _find_step_names(steps: Sequence[CleaningStep]) -> tuple[str, ...]:
    return next((names for names in (*_STEPS, *_PAIRS) if steps and steps == _make_steps(*names)), ())


def _describe_steps(rules: TextRules) -> str:
    if names := _find_step_names(rules.steps):
        return " and ".join(names)
    written = write_json_line(_write_steps(rules.steps))
    return f"steps={written}" if len(written) <= _MOST_WRITTEN else f"{len(rules.steps)} steps"
