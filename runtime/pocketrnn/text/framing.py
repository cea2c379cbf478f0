"""The ids that are added around a text's, their most and fewest, and the padding: the same for all text rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, shown

__all__ = ["LARGEST", "SUBWORDS", "Framed", "Side", "check_frame", "cut", "framed"]

Side = Literal["left", "right"]

LARGEST: Final = (1 << 31) - 1
# The value of `tokenizer` in classifier.json for rules of subwords.
SUBWORDS: Final = "subwords"
# Every text becomes at least so many ids: the largest is that of `min_tokens` of a graph's limits.
_LARGEST_MIN_WIDTH: Final = 1 << 16


class Framed:
    """The part of all text rules on the ids around a text and on its width; the fields are the dataclasses'."""

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
        """How many ids `max_tokens` tokens give at most."""
        return self.max_tokens

    @property
    def sizes(self) -> tuple[int, int | None]:
        """The fewest and the most ids that the rules give for any text; None where there is no limit.

        Example:
            >>> TextRules(max_tokens=5, last_id=3).sizes, TextRules(min_width=9, max_width=9).sizes
            ((1, 6), (9, 9))
        """
        least, most = self.min_width or 1, self.max_width
        ids = self.tokens_for_max
        if ids is not None:
            most = min(most or LARGEST, max(ids + len(self.first_ids) + len(self.last_ids), least))
        return least, most

    def fault_of(self, ids: list[int]) -> str:
        """Why the rules give these ids for no text, as the end of a sentence; empty if they may.

        Whoever gives ids gives all of a text's, with what stands around them: were something left out, the answer would
        be another one, and nobody would see it.

        Example:
            >>> TextRules(min_width=9).fault_of([4, 17])
            'has 2 ids, and the rules fill every text up to 9'
        """
        least, most = self.sizes
        if len(ids) < least:
            return f"has {len(ids)} ids, and the rules fill every text up to {least}"
        if most is not None and len(ids) > most:
            return f"has {len(ids):,} ids, and the rules cut every text to {most:,}"
        cut_on = self.cut_side if len(ids) == self.max_width else None
        start, end = self._without_padding(ids)
        first, last = self.first_ids, self.last_ids
        if first and self.padding_id not in first and cut_on != "left" and tuple(ids[start:end][: len(first)]) != first:
            return f"does not begin with {_named(first)}, with which the rules begin every text"
        if last and self.padding_id not in last and cut_on != "right" and tuple(ids[start:end][-len(last) :]) != last:
            return f"does not end with {_named(last)}, with which the rules end every text"
        return ""

    def _without_padding(self, ids: Sequence[int]) -> tuple[int, int]:
        """Where the ids begin and end without those that fill a text up."""
        start, end = 0, len(ids)
        if self.min_width is not None and self.pad_side == "left":
            while start < end and ids[start] == self.padding_id:
                start += 1
        elif self.min_width is not None:
            while start < end and ids[end - 1] == self.padding_id:
                end -= 1
        return start, end


def _named(ids: Sequence[int]) -> str:
    return f"the id {ids[0]}" if len(ids) == 1 else f"the ids {', '.join(map(str, ids))}"


def check_frame(rules: Any) -> None:
    """Refuse ids around a text, and widths, that cannot be.

    Raises:
        InputError: a value is not of its type or out of its range.
    """
    for name, least, most in (
        ("first_id", 0, LARGEST),
        ("last_id", 0, LARGEST),
        ("max_width", 1, LARGEST),
        ("min_width", 1, _LARGEST_MIN_WIDTH),
    ):
        value = getattr(rules, name, None)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise InputError(f"{name} is {shown(value)}.", f"Use a whole number from {least} to {most:,}, or none.")
    for name in ("cut_side", "pad_side"):
        if getattr(rules, name) not in ("left", "right"):
            raise InputError(f"{name} is {shown(getattr(rules, name))}.", "Use left or right.")
    if rules.min_width is not None and rules.max_width is not None and rules.min_width > rules.max_width:
        raise InputError(
            f"min_width is {rules.min_width}, but max_width {rules.max_width}.", "Use the same for one fixed width."
        )


def cut(items: list[Any], most: int, side: Side) -> None:
    """Leave at most so many items.

    Example:
        >>> items = [1, 2, 3]
        >>> cut(items, 2, "left")
        >>> items
        [2, 3]
    """
    if side == "right":
        del items[most:]
    else:
        del items[:-most]


def framed(ids: list[int], rules: Framed) -> list[int]:
    """The ids of a text with what stands around them, cut to `max_width` and filled up to `min_width`.

    Example:
        >>> framed([7], TextRules(first_id=2, min_width=3))
        [2, 7, 0]
    """
    ids = [*rules.first_ids, *ids, *rules.last_ids]
    if rules.max_width is not None:
        cut(ids, rules.max_width, rules.cut_side)
    padding = [rules.padding_id] * ((rules.min_width or 0) - len(ids))
    return [*padding, *ids] if rules.pad_side == "left" else [*ids, *padding]
