"""`inspect` shows each cleaning step of the text rules, as the last lines of an export promise."""

from __future__ import annotations

import json

import pytest

from pocketrnn.commands.inspect import _describe_cleaning_steps, _describe_tokenizer
from pocketrnn.text import TextRules, cleaning


def test_each_cleaning_step_is_shown_and_a_long_one_says_where_it_is_whole() -> None:
    rules = TextRules(tokenizer="whitespace", steps=cleaning(("<br />", " "), ("sub", r"[^a-z0-9' ]", " ")))
    shown = [json.loads(one) for one in _describe_cleaning_steps(rules)]
    assert shown == [{"replace": "<br />", "by": " "}, {"keep": [" ", "'", "09", "az"], "by": " "}]
    (words,) = _describe_cleaning_steps(TextRules(steps=cleaning(("sub", r"[^\w]", " "))))
    assert "--json" in words
    assert len(words) < 400


@pytest.mark.parametrize(
    ("steps", "said"),
    [((), "whitespace, case kept"), (("letters", "lowercase"), "whitespace, lower case by cleaning step 2")],
)
def test_the_case_is_not_called_kept_if_a_step_lower_cases(steps: tuple[str, ...], said: str) -> None:
    assert _describe_tokenizer(TextRules("whitespace", lowercase=False, steps=cleaning(*steps))) == said
