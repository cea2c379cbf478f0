"""Where a text of subwords may be cut while it is still arriving, so that what follows changes nothing before it.

Before a space that stands behind another character than white space: most tokenizers cut there, whatever comes. Whether
these rules do is found by following what becomes of the space, step by step and split by split; where that is not
certain, they are refused by the name of what stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn.text.cleaning_steps import Keep, Replace, in_ranges
from pocketrnn.text.subword_models import Bpe
from pocketrnn.text.subword_rules import SubwordRules
from pocketrnn.text.subword_splits import Pattern, PrependTo, Split, SplitAt, SplitAtRuns, SplitAtText
from pocketrnn.text.subword_steps import (
    BYTE_CHARACTERS,
    WHITE_SPACE,
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    SubwordStep,
    Surround,
)
from pocketrnn.text.subwords import SubwordIds

__all__ = ["MOST_WAITING", "SubwordCuts", "in_the_way"]

_SPACE: Final = " "
# sentencepiece's mark of a space.
_MARK: Final = "\u2581"
# So many characters wait for a space at most: what waits is read again with each fragment.
MOST_WAITING: Final = 1 << 16


class _InTheWayError(Exception):
    """A text cannot be cut at spaces, for the reason in the message."""


def in_the_way(rules: SubwordRules, vocabulary: Sequence[str]) -> str:
    """The part of these rules that keeps texts from being read on, as a noun; empty if nothing does.

    Example:
        >>> in_the_way(SubwordRules(WordPiece(), 0, splits=(SplitAt((" ",), "removed"),)), ["[UNK]"])
        ''
    """
    try:
        _followed(rules, vocabulary)
    except _InTheWayError as error:
        return str(error)
    return ""


class SubwordCuts:
    """Finds where an arriving text may be cut.

    Args:
        rules: such as nothing is in the way of.
        vocabulary: their tokens.
        pieces: what makes ids of texts by them.
    """

    def __init__(self, rules: SubwordRules, vocabulary: Sequence[str], pieces: SubwordIds) -> None:
        self._looks_back, self._mark = _followed(rules, vocabulary)
        self._added = tuple({text for token in rules.added if (text := vocabulary[token.id])})
        self._pieces = pieces

    def last(self, text: str) -> int:
        """The last place before which nothing changes, whatever follows; 0 if there is none behind the first character.

        Args:
            text: what has arrived, from the text's begin or from such a place on.

        Raises:
            InputError: more than 65,536 characters wait.
        """
        cut = text.rfind(_SPACE)
        while cut > 0 and not self._is_one(text, cut):
            cut = text.rfind(_SPACE, 0, cut)
        cut = max(cut, 0)
        if len(text) - cut > MOST_WAITING:
            raise InputError(
                f"More than {MOST_WAITING:,} characters have no space to cut them at.",
                "Classify such a text as a whole.",
            )
        return cut

    def _is_one(self, text: str, cut: int) -> bool:
        behind = text[cut - 1] not in WHITE_SPACE and not text.endswith(self._added, 0, cut)
        return behind and self._ends(text, cut)

    def _ends(self, text: str, cut: int) -> bool:
        """Whether the steps leave another character than white space before the space."""
        if not self._looks_back:
            return True
        made = self._pieces.steps_done(text[text.rfind(_SPACE, 0, cut) + 1 : cut])
        return bool(made) and made[-1] not in WHITE_SPACE and made[-1] != self._mark


def _followed(rules: SubwordRules, vocabulary: Sequence[str]) -> tuple[bool, str]:
    """Whether what stands before the space matters, and what the space has become where the text is cut.

    Raises:
        _InTheWayError: it is not certain that the text is cut there.
    """
    _check_frame_and_added(rules, vocabulary)
    dropped = _dropped_first(rules.splits)
    mark = _SPACE
    for step in rules.steps:
        mark = _behind_step(step, mark, dropped)
    for split in rules.splits:
        match split:
            case PrependTo(text, first):
                if not first and text != mark:
                    raise _InTheWayError("something that is put before each text")
            case Replace() | Bytes():
                mark = _behind_step(split, mark, dropped)
            case SplitAt(ranges, how) if in_ranges(ranges)(ord(mark)):
                if how not in ("removed", "isolated", "with_next"):
                    raise _InTheWayError("words that end in the space behind them, or runs of it with others")
                return False, mark
            case SplitAtText(text, how) if text == mark and how in ("removed", "isolated", "with_next"):
                return False, mark
            case Pattern() if mark == _SPACE:
                return True, mark
            # It cuts between the two, or leaves both in one word, which a later one cuts there.
            case SplitAt(ranges) if not in_ranges(ranges)(ord(mark)):
                pass
            case SplitAtText(text) if mark not in text:
                pass
            case SplitAtRuns(runs) if not any(in_ranges(ranges)(ord(mark)) for run in runs for ranges in run.sets):
                pass
            case SplitAtText() | Pattern() | SplitAtRuns():
                raise _InTheWayError("a split that does not cut at each space")
    outside = set(rules.outside)
    pieces = [token for i, token in enumerate(vocabulary) if i not in outside]
    model = rules.model
    plain = isinstance(model, Bpe) and not (model.prefix or model.suffix or model.whole_words)
    if not plain or mark == _SPACE or mark not in pieces or any(mark in piece.lstrip(mark) for piece in pieces):
        raise _InTheWayError("a model that takes the whole text for one word")
    return True, mark


def _check_frame_and_added(rules: SubwordRules, vocabulary: Sequence[str]) -> None:
    if rules.cut_side == "left" or rules.max_width is not None or rules.min_width is not None:
        raise _InTheWayError("a width, or texts that are cut on the left")
    for token in rules.added:
        if token.after_steps:
            raise _InTheWayError("added tokens that are looked for behind the steps")
        if _SPACE in vocabulary[token.id]:
            raise _InTheWayError("an added token with a space in it")


def _dropped_first(splits: Sequence[Split]) -> SplitAt | None:
    """The first split, where it drops all white space."""
    first = splits[0] if splits else None
    if isinstance(first, SplitAt) and first.how == "removed":
        inside = in_ranges(first.ranges)
        return first if all(inside(ord(point)) for point in WHITE_SPACE) else None
    return None


def _behind_step(step: SubwordStep | Split, mark: str, dropped: SplitAt | None) -> str:
    """The space's form after a step that leaves the texts before and after it apart.

    Raises:
        _InTheWayError: the step does not.
    """
    match step:
        case Replace(what, by):
            if what == mark and len(by) == 1:
                return by
            if mark in what:
                raise _InTheWayError("a replacement of a space with others, or by nothing")
            return mark
        case Keep(ranges, by):
            made = mark if in_ranges(ranges)(ord(mark)) else by
            if len(made) != 1:
                raise _InTheWayError("a step that drops spaces")
            return made
        case Prepend():
            return mark
        case LowercaseEach() | Normalize() if mark in (_SPACE, _MARK):
            return mark
        case Bytes() if mark == _SPACE:
            return BYTE_CHARACTERS[ord(_SPACE)]
        case Surround(ranges) if not in_ranges(ranges)(ord(mark)):
            return mark
        case Fold(ranges, _, by) if not in_ranges(ranges)(ord(mark)) or (
            dropped and _only(ranges, dropped) and by == mark
        ):
            return mark
        case Strip(_, "") if dropped:
            return mark
    names = {"Table": "a table of sentencepiece's normalization", "Strip": "a step that strips the text's ends"}
    raise _InTheWayError(names.get(type(step).__name__, f"the step {type(step).__name__} where spaces stand"))


def _only(ranges: Sequence[str], dropped: SplitAt) -> bool:
    """Whether the split drops all code points of some ranges."""
    inside = in_ranges(dropped.ranges)
    return all(inside(code) for some in ranges for code in range(ord(some[0]), ord(some[-1]) + 1))
