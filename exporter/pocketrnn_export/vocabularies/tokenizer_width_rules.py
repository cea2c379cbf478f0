"""Add widths from the owner's own code to the rules of a subword tokenizer, if its file states no widths.

A notebook often cuts and pads the ids that a tokenizer gives by hand: `ids[:200] + [0] * (200 - len(ids))`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import SubwordRules, TextEncoder
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair
from pocketrnn_export.vocabularies.tokenizer_json import PADDING_NAMES, Subwords

_log = logging.getLogger(__name__)

_MEMBERS: Final = ("max_tokens", "max_width", "min_width", "cut_side", "pad_side", "padding_id")
_GIVE: Final = (
    f"Leave it out: beside a tokenizer, rules may contain only {', '.join(_MEMBERS[:-1])} and {_MEMBERS[-1]}."
)


def add_widths_to_tokenizer_rules(subwords: Subwords, width_members: Mapping[str, Any], source: str) -> Subwords:
    """Add widths, sides and padding to the text rules of a tokenizer.

    Args:
        subwords: the text rules and tokens of the tokenizer.
        width_members: some of `max_tokens`, `max_width`, `min_width`, `cut_side`, `pad_side` and `padding_id`, as in
            `TextRules`; `padding_id` may be a token.
        source: the tokenizer's name in messages.

    Raises:
        InputError: `width_members` has a member with another name; a value is not valid; the tokenizer's file states
            another value; or texts are padded, but no padding id is known.
    """
    if others := [str(name) for name in width_members if name not in _MEMBERS]:
        raise InputError(
            f"The rules have {short_repr(', '.join(others), 80)}, but {source} already decides this.",
            _GIVE,
        )
    widths = {name: value for name, value in width_members.items() if value is not None}
    if isinstance(token := widths.get("padding_id"), str):
        if token not in subwords.tokens:
            raise InputError(
                f"`padding_id` is {short_repr(token)}, which is not a token of {source}.",
                "Give the id as a number, or a token of this tokenizer.",
            )
        widths["padding_id"] = subwords.tokens.index(token)
    for name, value in _list_rule_members_in_tokenizer_file(subwords).items():
        if widths.get(name, value) != value:
            raise InputError(
                f"{source} has {name}={short_repr(value)}, but your rules have {name}={short_repr(widths[name])}.",
                f"Leave `{name}` out of the rules, or change the tokenizer's file: call enable_truncation or "
                "enable_padding of your tokenizer, and save it again.",
            )
    rules = replace(subwords.rules, **widths)
    if rules.min_width is not None and "padding_id" not in widths:
        if not _names_padding_token(subwords):
            raise InputError(
                f"Texts are padded to `min_width` {rules.min_width}, but {source} does not say with which token.",
                'Add the id with which your pipeline pads to the rules, such as "padding_id": 0.',
            )
        if subwords.rules.min_width is None:
            _log.warning(
                "Texts are padded with the id %d (%s) of %s. If your pipeline uses another id, give padding_id.",
                rules.padding_id, short_repr(subwords.tokens[rules.padding_id]), source,
            )  # fmt: skip
    return replace(subwords, rules=rules, file_rules=subwords.file_rules or subwords.rules)


def write_agreeing_widths(rules: SubwordRules, tokens: Sequence[str], pairs: Sequence[Pair]) -> str:
    """Return a value of `--rules` with widths and padding with which a subword tokenizer gives the owner's ids to all
    texts. Return an empty string if there is none, or if the rules already set a width.

    Args:
        rules: the text rules of the tokenizer.
        tokens: the tokens of the tokenizer.
        pairs: texts with the ids that the owner's pipeline gives.
    """
    rows = [ids for _, ids in pairs if len(ids)]
    if not rows or rules.max_width is not None or rules.min_width is not None:
        return ""
    most, ends = max(map(len, rows)), sorted({row[end] for row in rows for end in (0, -1)})
    padded = [{"min_width": most, "padding_id": i, "pad_side": side} for side in ("right", "left") for i in ends]
    for cut, padding in product(("right", "left"), ({}, *padded) if len(set(map(len, rows))) == 1 else ({},)):
        widths: dict[str, Any] = {"max_width": most, **padding, "cut_side": cut}
        encoder = TextEncoder(replace(rules, **widths), tokens)
        if all(encoder.encode(text) == list(ids) for text, ids in pairs if len(ids)):
            return json.dumps({name: value for name, value in widths.items() if value != "right"})
    return ""


def _list_rule_members_in_tokenizer_file(subwords: Subwords) -> dict[str, Any]:
    """Return a dict of the members of text rules, such as `max_tokens`, whose values the tokenizer's file states."""
    rules = subwords.rules
    stated: dict[str, Any] = {}
    if rules.max_tokens is not None:
        stated |= {"max_tokens": rules.max_tokens, "cut_side": rules.cut_side}
    if rules.min_width is not None:
        stated |= {"min_width": rules.min_width, "pad_side": rules.pad_side}
    if _has_padding_part(subwords):
        stated["padding_id"] = rules.padding_id
    return stated


def _has_padding_part(subwords: Subwords) -> bool:
    """Return whether the tokenizer comes from a tokenizer.json whose member `padding` is set."""
    return isinstance(subwords.content, str) and json.loads(subwords.content).get("padding") is not None


def _names_padding_token(subwords: Subwords) -> bool:
    """Return whether the tokenizer's file shows the padding id, by a token with a name such as [PAD] or by its member
    `padding`. If not, the padding id of the rules is only a default."""
    padding = subwords.rules.padding_id
    return (
        subwords.tokens[padding : padding + 1] in [(name,) for name in PADDING_NAMES]
        or (subwords.library == "tokenizers" and padding != 0)
        or _has_padding_part(subwords)
    )
