"""Find where an arriving text may be cut with subword rules: later text must not change the ids before the cut.

A cut is before a space that follows another character than white space: most tokenizers cut there, whatever comes.
Whether given rules do is found by following the space through every step and every split; rules for which that is not
certain are refused, and the message names the obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn.text.cleaning_steps import Keep, Replace
from pocketrnn.text.code_point_ranges import make_range_test
from pocketrnn.text.subword_encoder import SubwordEncoder
from pocketrnn.text.subword_models import SPACE_MARK, never_merges_across_marks
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

__all__ = ["MOST_WAITING", "SubwordCuts", "find_stream_obstacle"]

_SPACE: Final = " "
# The largest number of characters that wait for a space: they are read again with each fragment.
MOST_WAITING: Final = 1 << 16


class _CannotCutError(Exception):
    """The rules do not allow to cut a text at spaces; the message names the part of the rules that prevents it."""


def find_stream_obstacle(rules: SubwordRules, vocabulary: Sequence[str]) -> str:
    """Return the name of the part of the rules that prevents streaming; empty if the rules allow it."""
    try:
        _find_whether_cuts_look_back_and_space_mark(rules, vocabulary)
    except _CannotCutError as error:
        return str(error)
    return ""


class SubwordCuts:
    """Finds where an arriving text may be cut.

    Args:
        rules: rules for which `find_stream_obstacle` returns an empty string.
        pieces: an encoder with these rules.
    """

    def __init__(self, rules: SubwordRules, vocabulary: Sequence[str], pieces: SubwordEncoder) -> None:
        self._looks_back, self._mark = _find_whether_cuts_look_back_and_space_mark(rules, vocabulary)
        self._added = tuple({text for token in rules.added if (text := vocabulary[token.id])})
        self._pieces = pieces

    def find_last_cut(self, text: str) -> int:
        """Find the last index at which the text may be cut, so that text that arrives later cannot change the ids
        before the cut. Return 0 if the text cannot be cut yet.

        Args:
            text: the text that has arrived since the last cut.

        Raises:
            InputError: the text has more than 65,536 characters, and still cannot be cut.
        """
        cut = text.rfind(_SPACE)
        while cut > 0 and not self._may_cut_at(text, cut):
            cut = text.rfind(_SPACE, 0, cut)
        cut = max(cut, 0)
        if len(text) - cut > MOST_WAITING:
            raise InputError(
                f"The stream has received more than {MOST_WAITING:,} characters without a space, so that the text "
                "cannot be cut into words.",
                "Classify such a text as a whole, without a stream.",
            )
        return cut

    def _may_cut_at(self, text: str, cut: int) -> bool:
        """Return whether the text may be cut before the space at `cut`: neither white space nor an added token comes
        directly before it, and the cleaning steps leave a character before it if the ids depend on that."""
        if text[cut - 1] in WHITE_SPACE or text.endswith(self._added, 0, cut):
            return False
        if not self._looks_back:
            return True
        made = self._pieces.apply_steps_to_continuing_text(text[text.rfind(_SPACE, 0, cut) + 1 : cut])
        return bool(made) and made[-1] not in WHITE_SPACE and made[-1] != self._mark


def _find_whether_cuts_look_back_and_space_mark(rules: SubwordRules, vocabulary: Sequence[str]) -> tuple[bool, str]:
    """Return whether a cut before a space depends on the text before the space, and the character that stands for a
    space after the cleaning steps and splits. Raise a _CannotCutError if the rules do not cut every text at spaces."""
    _check_frame_and_added_tokens(rules, vocabulary)
    dropped = _find_first_dropping_split(rules.splits)
    mark = _SPACE
    for step in rules.steps:
        mark = _apply_step_to_space(step, mark, dropped)
    for split in rules.splits:
        match split:
            case PrependTo(text, first):
                if not first and text != mark:
                    raise _CannotCutError("a step that puts something before each text")
            case Replace() | Bytes():
                mark = _apply_step_to_space(split, mark, dropped)
            case SplitAt(ranges, how) if make_range_test(ranges)(ord(mark)):
                if how not in ("removed", "isolated", "with_next"):
                    raise _CannotCutError(
                        "a split at spaces that keeps the space at a word's end, or joins it with other characters"
                    )
                return False, mark
            case SplitAtText(text, how) if text == mark and how in ("removed", "isolated", "with_next"):
                return False, mark
            case Pattern() if mark == _SPACE:
                return True, mark
            # This split cuts before the space, or keeps the space inside a word that a later split cuts there.
            case SplitAt(ranges) if not make_range_test(ranges)(ord(mark)):
                pass
            case SplitAtText(text) if mark not in text:
                pass
            case SplitAtRuns(runs) if not any(
                make_range_test(ranges)(ord(mark)) for run in runs for ranges in run.sets
            ):
                pass
            case SplitAtText() | Pattern() | SplitAtRuns():
                raise _CannotCutError("a split that does not cut at each space")
    outside = set(rules.outside)
    pieces = [token for i, token in enumerate(vocabulary) if i not in outside]
    if mark == _SPACE or not never_merges_across_marks(rules.model, pieces, mark):
        raise _CannotCutError("a model that takes the whole text for one word")
    return True, mark


def _check_frame_and_added_tokens(rules: SubwordRules, vocabulary: Sequence[str]) -> None:
    """Raise a _CannotCutError if the rules have `min_width` or `max_width`, cut texts on the left, or have an added
    token that a cut at a space could divide."""
    if rules.cut_side == "left" or rules.max_width is not None or rules.min_width is not None:
        raise _CannotCutError("`min_width`, `max_width` or `cut_side` left")
    for token in rules.added:
        if token.after_steps:
            raise _CannotCutError("added tokens that are found only after the steps")
        if _SPACE in vocabulary[token.id]:
            raise _CannotCutError("an added token with a space in it")


def _find_first_dropping_split(splits: Sequence[Split]) -> SplitAt | None:
    """Return the first split if it cuts at all white space and drops it; else None."""
    first = splits[0] if splits else None
    if isinstance(first, SplitAt) and first.how == "removed":
        inside = make_range_test(first.ranges)
        return first if all(inside(ord(point)) for point in WHITE_SPACE) else None
    return None


def _apply_step_to_space(step: SubwordStep | Split, space: str, dropping_split: SplitAt | None) -> str:
    """Return the character that stands for a space after a step; before the step, it is `space`. Raise a
    _CannotCutError if the step may combine the texts before and after the space."""
    match step:
        case Replace(what, by):
            if what == space and len(by) == 1:
                return by
            if space in what:
                raise _CannotCutError("a step that replaces a space with other characters, or removes it")
            return space
        case Keep(ranges, by):
            made = space if make_range_test(ranges)(ord(space)) else by
            if len(made) != 1:
                raise _CannotCutError("a step that removes spaces")
            return made
        case Prepend():
            return space
        case LowercaseEach() | Normalize() if space in (_SPACE, SPACE_MARK):
            return space
        case Bytes() if space == _SPACE:
            return BYTE_CHARACTERS[ord(_SPACE)]
        case Surround(ranges) if not make_range_test(ranges)(ord(space)):
            return space
        case Fold(ranges, _, by) if not make_range_test(ranges)(ord(space)) or (
            dropping_split and _drops_all_points(ranges, dropping_split) and by == space
        ):
            return space
        case Strip(_, "") if dropping_split:
            return space
    names = {"Table": "a table of sentencepiece's normalization", "Strip": "a step that strips the text's ends"}
    raise _CannotCutError(names.get(type(step).__name__, f"the step {type(step).__name__}, which may change spaces"))


def _drops_all_points(ranges: Sequence[str], dropping_split: SplitAt) -> bool:
    """Return whether the split drops all code points of the ranges."""
    inside = make_range_test(dropping_split.ranges)
    return all(inside(code) for some in ranges for code in range(ord(some[0]), ord(some[-1]) + 1))
