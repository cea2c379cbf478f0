"""Describe text rules in messages, and write them as `--rules` takes them: in short forms if they are usual."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.text import TextRules, make_rules_document
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import CleaningStep, make_step_documents
from pocketrnn_export.json_file import write_json_line
from pocketrnn_export.vocabularies.candidate_text_rules import (
    LINE_BREAKS,
    LONGEST_SHORT_WORD,
    REMOVALS,
    find_pattern_between_words,
    find_step_names,
    make_cleaning_steps,
    make_removal_steps,
    make_short_word_steps,
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
    """Write for a message how to give these rules: by the option `--rules`, or, if the steps are long and unchanged, by
    the members that differ from the given rules."""
    option = write_rules_option(rules, implied)
    if not rules.steps or rules.steps != given_rules.steps or len(option) <= _MOST_WRITTEN:
        return f"--rules {shlex.quote(option)}"
    return f"the same rules with {write_rules_option(rules, given_rules)}"


def write_rules_option(rules: TextRules, implied: TextRules, steps_as_given: Sequence[Any] = ()) -> str:
    """Write the value of `--rules` for these rules: the members that differ from the rules that the vocabulary
    implies.

    Args:
        rules: the rules.
        implied: those that the vocabulary implies.
        steps_as_given: their steps as `cleaning` takes them, if they were made so.
    """
    before = make_rules_document(implied)
    document = {name: value for name, value in make_rules_document(rules).items() if before.get(name, ...) != value}
    short = [step for i, step in enumerate(steps_as_given) if i or step != "lowercase" or not rules.lowercase]
    if "steps" in document and rules.steps == cleaning(*short):
        document["steps"] = [_shorten_step(step) for step in short]
    elif "steps" in document:
        document["steps"] = _write_steps(rules.steps)
    return write_json_line(document)


def _write_steps(steps: tuple[CleaningStep, ...]) -> list[Any]:
    """Return cleaning steps as `--rules` takes them, in short forms if possible."""
    if names := find_step_names(steps):
        return list(names)
    if pattern := find_pattern_between_words(steps):
        return [{"sub": [pattern, " "]}]
    for before, removed in (*REMOVALS, ("", LINE_BREAKS)):
        if steps == make_removal_steps((before, removed)):
            return [*filter(None, [before]), {"sub": [removed, ""]}]
    for longest in range(1, LONGEST_SHORT_WORD + 1):
        short = make_short_word_steps(longest)
        if steps and steps[-len(short) :] == short:
            return [*_write_steps(steps[: -len(short)]), {"sub": [rf"\b\w{{1,{longest}}}\b", ""]}]
    return make_step_documents(steps)


def _shorten_step(step: Any) -> Any:
    """Return a cleaning step as `--rules` takes it: its name, a short form, or its members in classifier.json."""
    if isinstance(step, CleaningStep):
        name = next((name for name in NAMED_STEPS if make_cleaning_steps(name) == (step,)), "")
        return name or make_step_documents([step])[0]
    return step if isinstance(step, str) else {"sub": [*step[1:]]} if len(step) == 3 else [*step]


def _describe_steps(rules: TextRules) -> str:
    if names := find_step_names(rules.steps):
        return " and ".join(names)
    written = write_json_line(_write_steps(rules.steps))
    return f"steps={written}" if len(written) <= _MOST_WRITTEN else f"{len(rules.steps)} steps"
