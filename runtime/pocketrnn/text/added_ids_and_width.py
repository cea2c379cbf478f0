"""Cut and pad a text's ids, and add ids before and after them, by rules that words and subwords share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr

__all__ = [
    "LARGEST",
    "SUBWORDS",
    "FrameRules",
    "Side",
    "add_outer_ids_and_pad",
    "check_frame_rules",
    "cut_and_pad_ids",
    "cut_items",
]

Side = Literal["left", "right"]

LARGEST: Final = (1 << 31) - 1
# The value of `tokenizer` in classifier.json for subword rules.
SUBWORDS: Final = "subwords"
# The largest `min_width`, which is also the largest `min_tokens` of a graph's limits.
_LARGEST_MIN_WIDTH: Final = 1 << 16


class FrameRules:
    """The rules that add ids before and after a text's ids, and that cut and pad the ids.

    Each class of text rules is a subclass, and defines the fields.
    """

    padding_id: int
    max_tokens: int | None
    max_width: int | None
    min_width: int | None
    cut_side: Side
    pad_side: Side
    first_ids: tuple[int, ...]
    last_ids: tuple[int, ...]

    @property
    def tokens_for_max(self) -> int | None:
        """The largest number of ids that `max_tokens` tokens give."""
        return self.max_tokens

    @property
    def sizes(self) -> tuple[int, int | None]:
        """The smallest and the largest number of ids of a text by these rules. The latter is None without a limit."""
        least, most = self.min_width or 1, self.max_width
        ids = self.tokens_for_max
        if ids is not None:
            most = min(most or LARGEST, max(ids + len(self.first_ids) + len(self.last_ids), least))
        return least, most

    def explain_impossible_ids(self, ids: list[int]) -> str:
        """Return the end of a sentence that says why no text can have these ids by the rules; empty if a text can have
        them.

        A user must give all ids of a text, also those that the rules add. Otherwise the answer would differ without a
        warning.
        """
        least, most = self.sizes
        if len(ids) < least:
            return f"has {len(ids)} ids, but the rules fill every text up to {least}"
        if most is not None and len(ids) > most:
            return f"has {len(ids):,} ids, but the rules cut every text to {most:,}"
        cut_on = self.cut_side if len(ids) == self.max_width else None
        start, end = self.find_bounds_without_padding(ids)
        first, last = self.first_ids, self.last_ids
        if first and self.padding_id not in first and cut_on != "left" and tuple(ids[start:end][: len(first)]) != first:
            return f"does not begin with {_format_frame_ids(first)}, with which the rules begin every text"
        if last and self.padding_id not in last and cut_on != "right" and tuple(ids[start:end][-len(last) :]) != last:
            return f"does not end with {_format_frame_ids(last)}, with which the rules end every text"
        return ""

    def find_bounds_without_padding(self, ids: Sequence[int]) -> tuple[int, int]:
        """Find where a text's ids begin and end within their padding."""
        start, end = 0, len(ids)
        if self.min_width is not None and self.pad_side == "left":
            while start < end and ids[start] == self.padding_id:
                start += 1
        elif self.min_width is not None:
            while start < end and ids[end - 1] == self.padding_id:
                end -= 1
        return start, end


def _format_frame_ids(ids: Sequence[int]) -> str:
    return f"the id {ids[0]}" if len(ids) == 1 else f"the ids {', '.join(map(str, ids))}"


def check_frame_rules(rules: Any) -> None:
    """Check the rules `first_id`, `last_id`, `min_width`, `max_width`, `cut_side` and `pad_side`. Raise an InputError
    if a value has a wrong type or is out of its range."""
    for name, least, most in (
        ("first_id", 0, LARGEST),
        ("last_id", 0, LARGEST),
        ("max_width", 1, LARGEST),
        ("min_width", 1, _LARGEST_MIN_WIDTH),
    ):
        value = getattr(rules, name, None)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise InputError(
                f"{name} is {short_repr(value)}, but it must be a whole number from {least} to {most:,}.",
                "Give such a number, or leave the rule out.",
            )
    for name in ("cut_side", "pad_side"):
        if getattr(rules, name) not in ("left", "right"):
            raise InputError(
                f"{name} is {short_repr(getattr(rules, name))}, but it must be 'left' or 'right'.", "Give one of these."
            )
    if rules.min_width is not None and rules.max_width is not None and rules.min_width > rules.max_width:
        raise InputError(
            f"min_width is {rules.min_width}, but max_width is only {rules.max_width}.",
            "Give a min_width that is at most max_width.",
        )


def cut_items(items: list[Any], most: int, side: Side) -> None:
    """Cut a list in place to at most `most` items, at the given side."""
    if side == "right":
        del items[most:]
    else:
        del items[:-most]


def cut_and_pad_ids(ids: list[int], rules: FrameRules) -> list[int]:
    """Cut a text's ids to `max_width` and pad them to `min_width`, for rules that add no ids before or after them.
    Return the ids. Ids that were already cut and padded stay the same."""
    most, found = rules.tokens_for_max, ids[:]
    start, end = rules.find_bounds_without_padding(ids)
    is_padded = len(ids) == rules.min_width and most is not None and end - start <= most
    if most is not None and not is_padded:
        cut_items(found, most, rules.cut_side)
    return add_outer_ids_and_pad(found, rules)


def add_outer_ids_and_pad(ids: list[int], rules: FrameRules) -> list[int]:
    """Return a text's ids with the first and last ids added, cut to `max_width` and padded to `min_width`."""
    ids = [*rules.first_ids, *ids, *rules.last_ids]
    if rules.max_width is not None:
        cut_items(ids, rules.max_width, rules.cut_side)
    padding = [rules.padding_id] * ((rules.min_width or 0) - len(ids))
    return [*padding, *ids] if rules.pad_side == "left" else [*ids, *padding]
