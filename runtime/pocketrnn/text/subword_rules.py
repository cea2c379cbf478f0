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
        after_steps: whether the token is searched after the cleaning steps. The steps are applied to the token, too.
        as_it_stands: whether the steps are not applied to the token itself, as for sentencepiece's user-defined pieces.
            Only with `after_steps`.
        strip_left: whether white space before the token is dropped.
        strip_right: whether white space after the token is dropped.

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
            raise InputError(
                f"The id of an added token is {short_repr(self.id)}, but it must be a whole number of 0 or more.",
                "Give the index of the token in the vocabulary.",
            )
        check_flags(self, *_FLAGS)
        if self.as_it_stands and not self.after_steps:
            raise InputError(
                "An added token has `as_it_stands`, which is only allowed together with `after_steps`.",
                "Leave `as_it_stands` out, or add `after_steps`.",
            )


@dataclass(frozen=True)
class SubwordRules(FrameRules):
    """Text rules for subwords: everything that determines a text's ids, except the vocabulary.

    Attributes:
        model: the model that splits a word into pieces.
        unknown_id: the id of an unknown piece, or None to drop it.
        empty_id: the single id of a text for which the other rules give no id.
        padding_id: the id that pads the rows of a batch to one width, and every text to `min_width`.
        max_tokens: the largest number of pieces that are kept, `first_ids` and `last_ids` not counted; None for all.
        steps: the cleaning steps before the text is split.
        splits: the splits that cut the text into words; empty to keep the text as one word.
        added: the tokens that are searched in the text before it is split.
        outside: the ids that the model cannot produce: those of added tokens, and unused ids.
        first_ids: the ids that are put before the ids of each text, such as the id of "[CLS]".
        last_ids: the ids that are put after the ids of each text, such as the id of "[SEP]".
        max_width: a text with more ids, `first_ids` and `last_ids` included, is cut to so many; None for no limit.
        min_width: a text with fewer ids is padded with `padding_id` to so many; None for 1.
        cut_side, pad_side: the side on which ids are cut off or padded, "left" or "right".

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
            raise InputError(
                f"`model` is {short_repr(self.model)}, but it must be a model of pocketrnn.text.subword_models.",
                "Give Bpe(...), WordPiece(...), Unigram(...) or WholeWords().",
            )
        check_subword_steps(self.steps)
        check_splits(self.splits)
        if not isinstance(self.added, tuple) or not all(isinstance(token, AddedToken) for token in self.added):
            raise InputError(
                f"`added` is {short_repr(self.added)}, but it must be a tuple of AddedToken.",
                "Give a tuple such as (AddedToken(0),).",
            )
        _check_unique_ids("added", [token.id for token in self.added], _MOST_ADDED)
        _check_unique_ids("outside", self.outside, LARGEST)
        for name in ("first_ids", "last_ids"):
            ids = getattr(self, name)
            if not isinstance(ids, tuple) or len(ids) > _MOST_FRAME or not all(map(_is_id, ids)):
                raise InputError(
                    f"{name} is {short_repr(ids)}, but it must be a tuple of at most {_MOST_FRAME} ids.",
                    "Give such a tuple. An id is a whole number of 0 or more.",
                )
        for name in ("empty_id", "padding_id", *(["unknown_id"] if self.unknown_id is not None else [])):
            if not _is_id(getattr(self, name)):
                raise InputError(
                    f"{name} is {short_repr(getattr(self, name))}, but it must be a whole number of 0 or more.",
                    "Give the id of a token.",
                )
        if self.max_tokens is not None and (type(self.max_tokens) is not int or not 1 <= self.max_tokens <= LARGEST):
            raise InputError(
                f"max_tokens is {short_repr(self.max_tokens)}, but it must be a whole number of 1 or more.",
                "Give such a number, or leave it out for no limit.",
            )
        if self.unknown_id is None and isinstance(self.model, Unigram):
            raise InputError(
                "`unknown_id` is not set, but a unigram model needs an unknown piece.",
                "Set `unknown_id` to the id of the unknown piece.",
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
        raise InputError(
            f"`{name}` is {short_repr(ids)}, but it must be a tuple of at most {most:,} ids.",
            "Give such a tuple. An id is a whole number of 0 or more.",
        )
    if len(set(ids)) != len(ids):
        raise InputError(f"`{name}` contains an id twice.", "Give each id once.")


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
    """Build subword rules from the member `text` of classifier.json, whose `tokenizer` is "subwords".

    Raises:
        InputError: a value has a wrong type or is out of its range, or a kind of model, step or split is unknown.
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
