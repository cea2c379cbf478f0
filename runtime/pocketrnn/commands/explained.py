"""Explanations for `pocketrnn classify --explain`: coloured words on a terminal, else JSON."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from pocketrnn.commands.standard_streams import json_line
from pocketrnn.commands.terminal import one_line
from pocketrnn.explanation import Explanation, Fragment

__all__ = ["coloured_line", "explanation_as_json"]

# Words that did at least this share of what the strongest one did are bold; those below the smaller one have no colour.
_STRONG: Final = 0.5
_WEAK: Final = 0.1


def explanation_as_json(text: str, explanation: Explanation) -> str:
    """An explanation as one JSON object on one line. A number that is infinite, which JSON has not got, is null."""
    fragments = [
        {
            "text": fragment.text,
            "start": fragment.start,
            "end": fragment.end,
            "log_odds": _finite(fragment.log_odds),
            "probability": fragment.probability,
        }
        for fragment in explanation.fragments
    ]
    answer: dict[str, Any] = {"text": text, "label": explanation.label, "probability": explanation.probability}
    return json_line({**answer, "fragments": fragments})


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def coloured_line(text: str, explanation: Explanation) -> str:
    """Label, probability and text with tabs between them. Words that speak for the label are green, those that speak
    against it red and underlined; the strongest are bold."""
    strongest = max((abs(fragment.log_odds) for fragment in explanation.fragments), default=0.0)
    shown, end = [], 0
    for fragment in explanation.fragments:
        shown += [one_line(text[end : fragment.start]), _coloured(fragment, strongest)]
        end = fragment.end
    line = "".join([*shown, one_line(text[end:])])
    return f"{one_line(explanation.label)}\t{explanation.probability:.4f}\t{line}"


def _coloured(fragment: Fragment, strongest: float) -> str:
    word, share = one_line(fragment.text), abs(fragment.log_odds) / strongest if strongest else 0.0
    if not share >= _WEAK:
        return word
    against = fragment.log_odds < 0
    return click.style(word, fg="red" if against else "green", underline=against or None, bold=share >= _STRONG or None)
