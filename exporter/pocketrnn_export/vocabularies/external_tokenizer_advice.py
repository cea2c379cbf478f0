"""Write advice on how the owner's own code can split texts: the tokenizer `external`, with its widths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pocketrnn.text import EXTERNAL, AnyTextRules
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules


def advise_external_tokenizer(
    vocabulary: Vocabulary, nearest: AnyTextRules | None = None, condition: str = "If no rules can do this,"
) -> str:
    """Return advice to let the user's own code split texts, for the case that text rules cannot do this.

    Args:
        vocabulary: the tokens, with their special ids.
        nearest: the text rules that come nearest to the user's code. The advice repeats their widths, and their first
            and last id. None if there are none.
        condition: the first words of the advice, such as "If no rules can do this,".
    """
    frame = {} if nearest is None else collect_width_members(nearest)
    return (
        f"{condition} let your code split texts: {write_external_options(frame)} "
        f"({write_external_argument(vocabulary, frame)} in Python). The bundle then takes tokens or ids, and texts by "
        "Classifier.load(..., tokenizer=function). It cannot be packed."
    )


def write_external_argument(vocabulary: Vocabulary, widths_and_outer_ids: Mapping[str, Any]) -> str:
    """Return the Python argument `rules=TextRules('external', ...)` of `export`, for texts that the user's own code
    splits.

    Args:
        vocabulary: the tokens, with their special ids.
        widths_and_outer_ids: members of the rules that set widths, or the first and last id of each text.
    """
    rules = make_implied_rules(vocabulary, EXTERNAL)
    ids = {name: getattr(rules, name) for name in ("unknown_id", "empty_id", "padding_id")}
    members = {**ids, **widths_and_outer_ids}
    return f"rules=TextRules('external', {', '.join(f'{name}={value!r}' for name, value in members.items())})"


def collect_width_members(rules: AnyTextRules) -> dict[str, Any]:
    """Return a dict of those members of text rules that set a width, a first id or a last id. Members with their
    default value are left out."""
    names = ("max_tokens", "first_id", "last_id", "max_width", "min_width", "cut_side", "pad_side")
    found = {name: value for name in names if (value := getattr(rules, name, None)) not in (None, "right")}
    # Without padding and other ids, a width only cuts.
    return {"max_tokens": found["max_width"]} if found.keys() == {"max_width"} else found


def write_external_options(widths_and_outer_ids: Mapping[str, Any]) -> str:
    """Return the command-line options for texts that the user's own code splits, such as `--tokenizer external
    --max-tokens 64`. `widths_and_outer_ids` has the members of the rules that set widths, or the first and last id of
    each text."""
    if widths_and_outer_ids.keys() <= {"max_tokens"}:
        return "--tokenizer external" + "".join(f" --max-tokens {most}" for most in widths_and_outer_ids.values())
    return f"--rules {shlex.quote(json.dumps({'tokenizer': EXTERNAL, **widths_and_outer_ids}))}"
