"""Subword rules, which cut a text into pieces of words. With the vocabulary, they determine the ids of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.added_ids_and_width import LARGEST, SUBWORDS, FrameRules, Side, check_frame_rules
from pocketrnn.text.subword_models import (
    Bpe,
    Model,
    Unigram,
    WholeWords,
    WordPiece,
    build_model_from_document,
    make_model_document,
)
from pocketrnn.text.subword_splits import Split, build_splits_from_documents, check_splits, make_split_documents
from pocketrnn.text.subword_steps import (
    SubwordStep,
    build_subword_step_from_document,
    check_subword_steps,
    make_subword_step_document,
)
from pocketrnn.text.value_checks import check_flags

__all__ = ["AddedToken", "SubwordRules", "build_subword_rules_from_document", "make_subword_rules_document"]

_MOST_ADDED: Final = 1 << 16
_MOST_FRAME: Final = 64
_FLAGS: Final = ("after_steps", "strip_left", "strip_right", "as_it_stands")


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before the text is split.

    Attributes:
        id: its id; the vocabulary holds its text.
        after_steps: whether it is searched in the text after the steps; the steps are applied to the token, too.
        as_it_stands: whether it is searched there without applying the steps to it, like sentencepiece's user-defined
            pieces.
        strip_left: whether white space before it is dropped.
        strip_right: whether white space after it is dropped.

    Raises:
        InputError: a value has a wrong type or is out of its range.
    """

    id: int
    after_steps: bool = False
    strip_left: bool = False
    strip_right: bool = False
    as_it_stands: bool = False

    def __post_init__(self) -> None:
        if type(self.id) is not int or not 0 <= self.id <= LARGEST:
            raise InputError(f"The id of an added token is {short_repr(self.id)}.", "Ids are whole numbers from 0.")
        check_flags(self, *_FLAGS)
        if self.as_it_stands and not self.after_steps:
            raise InputError(
                "An added token has as_it_stands without after_steps.", "Leave as_it_stands out, or add after_steps."
            )


@dataclass(frozen=True)
class SubwordRules(FrameRules):
    """Text rules for subwords: everything that determines a text's ids, except the vocabulary.

    Attributes:
        model: the model that splits a word into pieces.
        unknown_id: the id of an unknown piece, or None to drop it.
        empty_id: the id of a text that has no id left.
        padding_id: the id that pads the rows of a batch to one width, and every text to `min_width`.
        max_tokens: how many of the pieces are read, without `first_ids` and `last_ids`; None for all.
        steps: the cleaning steps before the text is split.
        splits: the splits that cut it into words; without any, it is one word.
        added: the tokens that are searched in the text before all that.
        outside: the ids that the model cannot produce: those of added tokens, and unused ids.
        first_ids: the ids before those of the text, such as that of "[CLS]".
        last_ids: the ids after them.
        max_width, min_width, cut_side, pad_side: as in `TextRules`; `cut_side` is for `max_tokens`, too.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> rules = SubwordRules(WordPiece(), unknown_id=0, first_ids=(1,), last_ids=(2,))
        >>> rules.tokenizer, rules.highest_id
        ('subwords', 2)
    """

    model: Model
    unknown_id: int | None
    empty_id: int = 0
    padding_id: int = 0
    max_tokens: int | None = None
    steps: tuple[SubwordStep, ...] = ()
    splits: tuple[Split, ...] = ()
    added: tuple[AddedToken, ...] = ()
    outside: tuple[int, ...] = ()
    first_ids: tuple[int, ...] = ()
    last_ids: tuple[int, ...] = ()
    max_width: int | None = None
    min_width: int | None = None
    cut_side: Side = "right"
    pad_side: Side = "right"

    tokenizer: ClassVar[str] = SUBWORDS
    # Pieces are more than tokens that are looked up.
    is_plain: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, Bpe | WordPiece | Unigram | WholeWords):
            raise InputError(f"The model is {short_repr(self.model)}.", "Use one of pocketrnn.text.subword_models.")
        check_subword_steps(self.steps)
        check_splits(self.splits)
        if not isinstance(self.added, tuple) or not all(isinstance(token, AddedToken) for token in self.added):
            raise InputError(f"added is {short_repr(self.added)}.", "Give a tuple of AddedToken.")
        _check_unique_ids("added", [token.id for token in self.added], _MOST_ADDED)
        _check_unique_ids("outside", self.outside, LARGEST)
        for name in ("first_ids", "last_ids"):
            ids = getattr(self, name)
            if not isinstance(ids, tuple) or len(ids) > _MOST_FRAME or not all(map(_is_id, ids)):
                raise InputError(f"{name} is {short_repr(ids)}.", f"Give a tuple of at most {_MOST_FRAME} ids.")
        for name in ("empty_id", "padding_id", *(["unknown_id"] if self.unknown_id is not None else [])):
            if not _is_id(getattr(self, name)):
                raise InputError(f"{name} is {short_repr(getattr(self, name))}.", "Ids are whole numbers from 0.")
        if self.max_tokens is not None and (type(self.max_tokens) is not int or not 1 <= self.max_tokens <= LARGEST):
            raise InputError(
                f"max_tokens is {short_repr(self.max_tokens)}.", "Use a number from 1, or none for no limit."
            )
        if self.unknown_id is None and isinstance(self.model, Unigram):
            raise InputError(
                "unknown_id is missing, but a unigram model needs an unknown piece.",
                "Give the id of its unknown piece.",
            )
        check_frame_rules(self)

    @property
    def highest_id(self) -> int:
        """The highest id that the rules themselves can add."""
        added = max((token.id for token in self.added), default=0)
        return max(self.unknown_id or 0, self.empty_id, self.padding_id, added, *self.first_ids, *self.last_ids, 0)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _check_unique_ids(name: str, ids: Sequence[int], most: int) -> None:
    """Raise an InputError if the rule `name` has more than `most` ids, or one of them twice."""
    if not isinstance(ids, tuple | list) or len(ids) > most or not all(map(_is_id, ids)):
        raise InputError(f"{name} is {short_repr(ids)}.", f"Give at most {most:,} ids, which are whole numbers from 0.")
    if len(set(ids)) != len(ids):
        raise InputError(f"{name} contains an id twice.", "Give each id once.")


def make_subword_rules_document(rules: SubwordRules) -> dict[str, Any]:
    """Convert the rules to the member `text` of classifier.json. Rules with their default value are left out."""
    document: dict[str, Any] = {
        "tokenizer": SUBWORDS,
        "max_tokens": rules.max_tokens,
        "unknown_id": rules.unknown_id,
        "empty_id": rules.empty_id,
        "padding_id": rules.padding_id,
    }
    more: dict[str, Any] = {
        "steps": list(map(make_subword_step_document, rules.steps)),
        "splits": make_split_documents(rules.splits),
        "added": [{"id": token.id, **{name: True for name in _FLAGS if getattr(token, name)}} for token in rules.added],
        "outside": list(rules.outside),
        "first_ids": list(rules.first_ids),
        "last_ids": list(rules.last_ids),
        "max_width": rules.max_width,
        "min_width": rules.min_width,
        "cut_side": rules.cut_side if rules.cut_side != "right" else None,
        "pad_side": rules.pad_side if rules.pad_side != "right" else None,
    }
    return (
        document | {name: value for name, value in more.items() if value} | {"model": make_model_document(rules.model)}
    )


def build_subword_rules_from_document(document: Mapping[str, Any]) -> SubwordRules:
    """Build the rules from the member `text` of classifier.json if its tokenizer is `subwords`.

    Raises:
        InputError: a value is out of its range, or a kind is unknown.
    """
    # JSON Schema counts 1.0 as an integer; the checks of types here do not.
    members: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in document.items()
        if name != "tokenizer"
    }
    members["model"] = build_model_from_document(members["model"])
    if "steps" in members:
        members["steps"] = tuple(map(build_subword_step_from_document, members["steps"]))
    if "splits" in members:
        members["splits"] = build_splits_from_documents(members["splits"])
    if "added" in members:
        members["added"] = tuple(AddedToken(**{**token, "id": int(token["id"])}) for token in members["added"])
    for name in ("outside", "first_ids", "last_ids"):
        if name in members:
            members[name] = tuple(map(int, members[name]))
    return SubwordRules(**members)
