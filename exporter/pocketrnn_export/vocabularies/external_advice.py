"""Write how to leave texts to the owner's own code, for messages: the tokenizer `external`, with its widths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pocketrnn.text import EXTERNAL, AnyTextRules
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules


def advise_external(vocabulary: Vocabulary, nearest: AnyTextRules | None = None) -> str:
    """Return the advice if no rules can do the same as the owner's code; with the widths of the nearest rules."""
    frame = {} if nearest is None else list_widths(nearest)
    return (
        f"If no rules can do what your code does, leave it to your code: {write_external_options(frame)} "
        f"({write_external_argument(vocabulary, frame)} in Python) makes a bundle that takes tokens or ids, and "
        "Classifier.load(..., tokenizer=function); it cannot be packed."
    )


def write_external_argument(vocabulary: Vocabulary, frame: Mapping[str, Any]) -> str:
    """Write the argument of `export` that corresponds to the options for an external tokenizer.

    Args:
        vocabulary: the tokens, with their special ids.
        frame: the widths, and the first and last id.
    """
    rules = make_implied_rules(vocabulary, EXTERNAL)
    ids = {name: getattr(rules, name) for name in ("unknown_id", "empty_id", "padding_id")}
    return f"rules=TextRules('external', {', '.join(f'{name}={value!r}' for name, value in {**ids, **frame}.items())})"


def list_widths(rules: AnyTextRules) -> dict[str, Any]:
    """Return the widths, and the first and last id, that rules have beside the defaults."""
    names = ("max_tokens", "first_id", "last_id", "max_width", "min_width", "cut_side", "pad_side")
    found = {name: value for name in names if (value := getattr(rules, name, None)) not in (None, "right")}
    # Without padding and other ids, a width only cuts.
    return {"max_tokens": found["max_width"]} if found.keys() == {"max_width"} else found


def write_external_options(frame: Mapping[str, Any]) -> str:
    """Write how to leave texts to the owner's code, with these widths, on the command line."""
    if frame.keys() <= {"max_tokens"}:
        return "--tokenizer external" + "".join(f" --max-tokens {most}" for most in frame.values())
    return f"--rules {shlex.quote(json.dumps({'tokenizer': EXTERNAL, **frame}))}"
