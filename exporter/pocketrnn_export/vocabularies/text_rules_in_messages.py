"""Describe text rules in messages, and write them as `--rules` takes them: in short forms if they are usual."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pocketrnn.text import TextRules, make_rules_document
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import CleaningStep, make_step_documents
from pocketrnn_export.json_reading_and_writing import format_json_for_terminal
from pocketrnn_export.vocabularies.candidate_text_rules import (
    TRIED_PATTERNS,
    find_pattern_between_words,
    make_cleaning_steps,
)

# The most characters of a message that describe steps: the set of `\w` alone has 740 ranges.
_MOST_WRITTEN: Final = 120


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


def write_nearest_rules(rules: TextRules, given_rules: TextRules, implied: TextRules) -> str:
    """Write for a message how to give these rules, usually as the option `--rules`. If that is long, and the steps are
    those of the given rules, write only the members that differ from the given rules."""
    option = write_rules_option(rules, implied)
    if not rules.steps or rules.steps != given_rules.steps or len(option) <= _MOST_WRITTEN:
        return f"--rules {shlex.quote(option)}"
    return f"the same rules with {write_rules_option(rules, given_rules)}"


def write_rules_option(rules: TextRules, implied: TextRules, steps_as_given: Sequence[Any] = ()) -> str:
    """Write the value of `--rules` for these rules: the members that differ from the rules that the vocabulary implies.

    Args:
        rules: the rules.
        implied: those that the vocabulary implies.
        steps_as_given: the short forms, as `cleaning` takes them, from which the steps were made; empty if not known.
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
    """Yield the short forms of usual cleaning steps, as `cleaning` takes them. If the first of `steps` replaces a
    pattern between words by a space, its short form follows."""
    yield from NAMED_STEPS
    yield from (("sub", pattern, by) for pattern, by in TRIED_PATTERNS)
    if pattern := find_pattern_between_words(steps[:1]):
        yield "sub", pattern, " "


def _shorten_step(step: Any) -> Any:
    """Return a cleaning step as `--rules` takes it: its name, a short form, or its members in classifier.json."""
    if isinstance(step, CleaningStep):
        return _write_steps((step,))[0]
    return step if isinstance(step, str) else {"sub": [*step[1:]]} if len(step) == 3 else [*step]


def _describe_steps(rules: TextRules) -> str:
    steps = _write_steps(rules.steps)
    if all(isinstance(step, str) for step in steps):
        return " and ".join(steps)
    written = format_json_for_terminal(steps)
    return f"steps={written}" if len(written) <= _MOST_WRITTEN else f"{len(rules.steps)} steps"
