"""Add to text rules a first id, a last id and one width for all texts, as the ids of some texts show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from pocketrnn.text import TextRules


def list_rules_with_first_and_last_ids(rules: TextRules, rows: Sequence[Sequence[int]]) -> list[TextRules]:
    """Return the rules, and the same rules with each combination of a first id, a last id, and a width with its padding
    that the owner's ids show.

    Args:
        rules: rules that have a width or a first or last id are kept.
        rows: the ids that the owner's pipeline gives for some texts.
    """
    rows = [row for row in rows if row]
    if len(rows) < 2 or (rules.first_id, rules.last_id, rules.max_width, rules.min_width) != (None,) * 4:
        return [rules]
    widths = {len(row) for row in rows}
    # Code that pads short texts may leave longer ones as they are.
    shortest = [row for row in rows if len(row) == min(widths)]
    padded = shortest if 2 * len(shortest) >= len(rows) else []
    other = _find_padding_id(padded) if padded else None
    tried = [rules] if other in (None, rules.padding_id) else [rules, replace(rules, padding_id=other)]
    return [one for some in tried for one in _list_rules_by_shown_members(some, rows, widths, padded)]


def _list_rules_by_shown_members(
    rules: TextRules, rows: Sequence[Sequence[int]], widths: set[int], padded: Sequence[Sequence[int]]
) -> list[TextRules]:
    """Return the rules with each combination of a first id, a last id and a width that the rows show. `padded` are the
    rows that may be padded to one width."""
    padding, found = rules.padding_id, [rules]
    if any(padding in (row[0], row[-1]) for row in padded):
        # A row of padding only, as of an empty text, shows no side.
        begun, ended = (sum(row[end] == padding for row in padded) for end in (0, -1))
        side: Any = "left" if begun > ended else "right"
        only_padded = replace(rules, min_width=min(widths), pad_side=side)
        both = [replace(only_padded, max_width=min(widths), cut_side=cut) for cut in ("right", "left")]
        found += both if len(widths) == 1 else [only_padded]
    elif max(widths) > 1 and sum(len(row) == max(widths) for row in rows) > 1:
        # Several texts have the largest length: they are cut there.
        found += [replace(rules, max_width=max(widths), cut_side=cut) for cut in ("right", "left")]
    cores = [core for row in rows if (core := strip_padding(row, padding))]
    firsts, lasts = ([None, *_list_id_of_at_least_half([core[end] for core in cores])] for end in (0, -1))
    return [replace(some, first_id=f, last_id=e) for f, e in product(firsts, lasts) for some in found]


def _find_padding_id(rows: Sequence[Sequence[int]]) -> int | None:
    """Return the id that is both of the first two, or both of the last two, ids of at least half of the rows. Return
    None if there is none."""
    ends = (row[at] for row in rows if len(row) > 1 for at, beside in ((0, 1), (-1, -2)) if row[at] == row[beside])
    return next((id_ for id_, count in Counter(ends).most_common(1) if 2 * count >= len(rows)), None)


def strip_padding(row: Sequence[int], padding: int) -> list[int]:
    """Return a row of ids without the padding at both ends."""
    kept = [i for i, id_ in enumerate(row) if id_ != padding]
    return list(row[kept[0] : kept[-1] + 1]) if kept else []


def _list_id_of_at_least_half(ids: Sequence[int]) -> list[int]:
    """Return a list with the id that occurs in at least half of the places of `ids`; an empty list if there is none. It
    need not be in all: a text that was cut may lack its first or last id."""
    return [number for number, count in Counter(ids).most_common(1) if 2 * count >= len(ids)]
