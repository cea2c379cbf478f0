"""Format the explanations of `pocketrnn classify --explain`: coloured words on a terminal, else JSON."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from pocketrnn.commands.standard_streams import format_json_line
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.explanation import Explanation, Fragment

__all__ = ["format_explanation_as_coloured_line", "format_explanation_as_json"]

# Words with at least this share of the strongest word's effect are bold; words below the smaller share have no colour.
_STRONG: Final = 0.5
_WEAK: Final = 0.1


def format_explanation_as_json(text: str, explanation: Explanation) -> str:
    """Format an explanation as a JSON object on one line. Infinite log-odds become null, since JSON has no infinity."""
    fragments = [
        {
            "text": fragment.text,
            "start": fragment.start,
            "end": fragment.end,
            "log_odds": fragment.log_odds if math.isfinite(fragment.log_odds) else None,
            "probability": fragment.probability,
        }
        for fragment in explanation.fragments
    ]
    answer: dict[str, Any] = {"text": text, "label": explanation.label, "probability": explanation.probability}
    return format_json_line({**answer, "fragments": fragments})


def format_explanation_as_coloured_line(text: str, explanation: Explanation) -> str:
    """Format an explanation as one line for a terminal: the label, its probability and the coloured text, with tabs
    between them.

    Words that raise the label's probability are green; words that lower it are red and underlined. Words with little
    effect have no colour, and those with the strongest effects are bold.
    """
    strongest = max((abs(fragment.log_odds) for fragment in explanation.fragments), default=0.0)
    shown, end = [], 0
    for fragment in explanation.fragments:
        shown += [escape_line(text[end : fragment.start]), _colour_word(fragment, strongest)]
        end = fragment.end
    line = "".join([*shown, escape_line(text[end:])])
    return f"{escape_line(explanation.label)}\t{explanation.probability:.4f}\t{line}"


def _colour_word(fragment: Fragment, strongest: float) -> str:
    """Return a word, escaped, in the colour of its effect. `strongest` is the largest effect of any word of the text,
    in log-odds."""
    word, share = escape_line(fragment.text), abs(fragment.log_odds) / strongest if strongest else 0.0
    if not share >= _WEAK:
        return word
    against = fragment.log_odds < 0
    return click.style(word, fg="red" if against else "green", underline=against or None, bold=share >= _STRONG or None)
