"""The answer of a classifier that labels tokens: tags, and the spans that BIO and IOBES labels stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, overload

__all__ = ["Span", "Tag", "Tags", "are_of_spans", "spans_of", "text_between"]

# B-PER, I_LOC; E and S of IOBES, L and U of BILOU, M of BMES.
_PREFIXED: Final = re.compile(r"^([BIESLUM])[-_](.+)$")
# The label of a token that is of no span, and those that stand for no token.
_OUTSIDE: Final = re.compile(r"^(O|<.*>|\[.*\]|pad)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """One token's label.

    Attributes:
        token: as the text has it.
        label: the likeliest.
        probability: its probability.
        start, end: where the token stands: code points of the text as it was given, the end not included. For a text
            that was given as a list of tokens, numbers of tokens.

    Example:
        >>> Tag("Berlin", "B-LOC", 0.98, 11, 17).label
        'B-LOC'
    """

    token: str
    label: str
    probability: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Span:
    """Some tokens that follow each other and are one thing.

    Attributes:
        label: without its prefix.
        start, end: as those of a tag.
        text: what the text has there.

    Example:
        >>> Span("LOC", 11, 19, "New York").text
        'New York'
    """

    label: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Tags(Sequence[Tag]):
    """The tags of one text, a sequence of `Tag`.

    Attributes:
        tags: one for each token that the module has an answer to.
        text: as it was given: a string, or a list of tokens.
        untagged: the tokens without a tag, as (token, start, end): those that the rules cut off or drop.

    Example:
        >>> tags = Tags((Tag("Berlin", "B-LOC", 0.98, 0, 6),), "Berlin")
        >>> tags[0].label, tags.spans
        ('B-LOC', [Span(label='LOC', start=0, end=6, text='Berlin')])
    """

    tags: tuple[Tag, ...]
    text: str | Sequence[str]
    untagged: tuple[tuple[str, int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.tags)

    @overload
    def __getitem__(self, index: int) -> Tag: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tag, ...]: ...
    def __getitem__(self, index: int | slice) -> Tag | tuple[Tag, ...]:
        return self.tags[index]

    @property
    def spans(self) -> list[Span]:
        """The spans that the labels stand for; see `spans_of`."""
        return spans_of(self.tags, self.text)


def spans_of(tags: Iterable[Tag], text: str | Sequence[str]) -> list[Span]:
    """The spans that labels stand for.

    Labels such as B-PER and I-PER are of BIO, or, with E and S (or L and U), of IOBES; other labels among them, such as
    O, are of no span. A span goes on with I, M, E or L of its label; where these stand behind no such span they begin
    one, as conlleval reads them. Labels without such prefixes are plain: tokens of one label that follow each other are
    one span; O is of none.

    Args:
        tags: of one text, in their order.
        text: as it was given.

    Example:
        >>> spans_of([Tag("New", "B-LOC", 0.9, 0, 3), Tag("York", "I-LOC", 0.8, 4, 8)], "New York")
        [Span(label='LOC', start=0, end=8, text='New York')]
    """
    tags = list(tags)
    is_plain = not any(_PREFIXED.match(tag.label) for tag in tags)
    found: list[tuple[str, int, int]] = []
    open_label = None
    for tag in tags:
        prefix, label = _parts(tag.label, is_plain=is_plain)
        if label is None:
            open_label = None
            continue
        if label == open_label and prefix in "IMEL":
            found[-1] = (label, found[-1][1], tag.end)
        else:
            found.append((label, tag.start, tag.end))
        open_label = None if prefix in "ESLU" else label
    return [Span(*place, text_between(text, *place[1:])) for place in found]


def are_of_spans(labels: Iterable[str]) -> bool:
    """Whether some labels have the prefixes of BIO or IOBES, with which a span begins.

    Example:
        >>> are_of_spans(["O", "B-PER", "I-PER"]), are_of_spans(["NOUN", "VERB"])
        (True, False)
    """
    return any(label.startswith(("B", "S", "U")) and _PREFIXED.match(label) for label in labels)


def _parts(label: str, *, is_plain: bool) -> tuple[str, str | None]:
    """The prefix and the rest of a label; None for the rest where it is of no span. A plain label goes on."""
    if is_plain:
        return "I", None if _OUTSIDE.match(label) else label
    found = _PREFIXED.match(label)
    return (found[1], found[2]) if found else ("O", None)


def text_between(text: str | Sequence[str], start: int, end: int) -> str:
    """The part of a text, as it was given, between two places of tags.

    Example:
        >>> text_between(["in", "New", "York"], 1, 3)
        'New York'
    """
    return text[start:end] if isinstance(text, str) else " ".join(text[start:end])
