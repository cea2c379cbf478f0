"""Tags, which are tokens with their labels; and spans, the consecutive tokens that labels mark as one entity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, overload

__all__ = ["Span", "Tag", "Tags", "has_span_prefixes", "may_follow_label", "select_text_between", "spans_of"]

# B-PER or I_LOC of BIO; with E and S of IOBES, L and U of BILOU, M of BMES.
_PREFIXED: Final = re.compile(r"^([BIESLUM])[-_](.+)$")
# The labels of tokens outside every span, and of special tokens such as padding.
_OUTSIDE: Final = re.compile(r"^(O|<.*>|\[.*\]|pad)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """One token with its label.

    Attributes:
        token: the token as it is in the text.
        label: the likeliest label of the token; with a CRF, its label in the likeliest sequence of labels.
        probability: the probability of this label.
        start, end: the position of the token in the original text, in code points; `end` is the index after the token.
            If the text was given as a list of tokens, they count tokens.

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
    """Consecutive tokens that form one entity, such as a name.

    Attributes:
        label: the label without its prefix: `LOC` for `B-LOC`.
        start, end: the position in the original text, in code points, or in tokens if the text was given as a list;
            `end` is the index after the entity.
        text: the part of the text at this position.

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
    """The tags of one text, as a sequence of `Tag`.

    Attributes:
        tags: one tag for each token that the module answers.
        text: the original text: a string, or a list of tokens.
        untagged: the tokens without a tag, each as (token, start, end): those that the text rules cut off or drop.

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
        """The entities that the labels mark, in the order of the text."""
        return spans_of(self.tags, self.text)


def spans_of(tags: Iterable[Tag], text: str | Sequence[str]) -> list[Span]:
    """Find the entities (spans of tokens) that labels mark.

    Labels with prefixes, such as B-PER and I-PER, are read as BIO or IOBES (or BILOU). Labels without a prefix, such as
    O, are then outside every span. A label with I, M, E or L continues a span of the same kind; if there is no such
    span directly before it, it begins one, as in conlleval. If no label has a prefix, consecutive tokens with the same
    label are one span, and O is outside every span.

    Args:
        tags: the tags of one text, in order.
        text: the original text, from which each span gets its text.

    Example:
        >>> spans_of([Tag("New", "B-LOC", 0.9, 0, 3), Tag("York", "I-LOC", 0.8, 4, 8)], "New York")
        [Span(label='LOC', start=0, end=8, text='New York')]
    """
    tags = list(tags)
    is_plain = not any(_PREFIXED.match(tag.label) for tag in tags)
    found: list[tuple[str, int, int]] = []
    open_label = None
    for tag in tags:
        prefix, label = _split_label_into_prefix_and_kind(tag.label, is_plain=is_plain)
        if label is None:
            open_label = None
            continue
        if label == open_label and prefix in "IMEL":
            found[-1] = (label, found[-1][1], tag.end)
        else:
            found.append((label, tag.start, tag.end))
        open_label = None if prefix in "ESLU" else label
    return [Span(*place, select_text_between(text, *place[1:])) for place in found]


def has_span_prefixes(labels: Iterable[str]) -> bool:
    """Return whether any label has a prefix that begins a span: B, S or U, as in BIO, IOBES and BILOU."""
    return any(label.startswith(("B", "S", "U")) and _PREFIXED.match(label) for label in labels)


def may_follow_label(label: str, before: str | None) -> bool:
    """Return whether a label may follow the label `before`, or begin a text if `before` is None.

    I, M, E and L must continue a span of the same kind: `before` has the prefix B, I or M. All other labels may stand
    anywhere.
    """
    prefix, name = _split_label_into_prefix_and_kind(label, is_plain=False)
    if prefix not in "IMEL":
        return True
    return (
        before is not None
        and before[0] in "BIM"
        and _split_label_into_prefix_and_kind(before, is_plain=False)[1] == name
    )


def _split_label_into_prefix_and_kind(label: str, *, is_plain: bool) -> tuple[str, str | None]:
    """Split a label such as B-PER into its prefix, B, and its kind, PER. The kind is None for a label outside all
    spans.

    With `is_plain`, labels have no prefixes: a label is its own kind, and its prefix counts as I.
    """
    if is_plain:
        return "I", None if _OUTSIDE.match(label) else label
    found = _PREFIXED.match(label)
    return (found[1], found[2]) if found else ("O", None)


def select_text_between(text: str | Sequence[str], start: int, end: int) -> str:
    """Return a part of a text: the characters from `start` to `end` of a string, or the words of a list from `start` to
    `end`, joined by spaces."""
    return text[start:end] if isinstance(text, str) else " ".join(text[start:end])
