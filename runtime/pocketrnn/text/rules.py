"""Text rules for words and characters, and the documents of all text rules.

Text rules and the vocabulary determine the ids of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.added_ids_and_width import SUBWORDS, FrameRules, Side, check_frame_rules
from pocketrnn.text.cleaning_steps import (
    CleaningStep,
    build_steps_from_documents,
    check_step_count_and_growth,
    make_step_documents,
)
from pocketrnn.text.tokenizers import SPLITS, TOKENIZERS

__all__ = [
    "EXTERNAL",
    "AnyTextRules",
    "TextRules",
    "make_rules_document",
    "rules_of",
]

# The tokenizer of a bundle whose texts are split outside, by its owner's code: it takes tokens or ids.
EXTERNAL: Final = "external"
# A text of 10,000 tokens becomes 160,000 with 16; classifiers in use have up to 6.
_MOST_NGRAMS: Final = 16
_MOST_STOP_WORDS: Final = 1 << 16


@dataclass(frozen=True)
class TextRules(FrameRules):
    """Text rules for words or characters: everything that determines a text's ids, except the vocabulary.

    Attributes:
        tokenizer: a name in `TOKENIZERS`; or `space`, which is text.split(" ") and may give empty tokens; or
            `external`: your own code splits the texts, and they are given as tokens or ids.
        lowercase: lower-case the text first; `basic_english` always does, `external` never.
        ngrams: 1 for single tokens; n to add n-grams of 2 to n tokens.
        max_tokens: the largest number of tokens that are kept of a text, before n-grams are made; None for all.
        unknown_id: the id of a token that is not in the vocabulary, or None to drop such tokens.
        empty_id: the single id of a text for which the other rules give no id.
        padding_id: the id that pads the rows of a batch to one width, and every text to `min_width`.
        steps: the cleaning steps before the text is split; `cleaning` makes them from names and pairs.
        stop_words: tokens that are dropped before `max_tokens` is applied. A list or a set becomes a tuple in which
            each token occurs once.
        first_id: an id that is put before the ids of each text, such as the id of "<sos>", or None.
        last_id: an id that is put after the ids of each text, such as the id of "<eos>", or None.
        max_width: a text with more ids, `first_id` and `last_id` included, is cut to so many; None for no limit.
        min_width: a text with fewer ids is padded with `padding_id` to so many ids; None for 1. The module gets this
            padding like any other ids.
        cut_side: the side on which `max_tokens` and `max_width` cut.
        pad_side: the side on which `min_width` pads.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> rules = TextRules(tokenizer="whitespace", max_tokens=100, unknown_id=None)
        >>> rules.lowercase, rules.ngrams, rules.highest_id
        (True, 1, 0)
        >>> from pocketrnn.text import cleaning
        >>> rules = TextRules("space", steps=cleaning("keras_filters"), stop_words=("",), unknown_id=None,
        ...                   min_width=200, max_width=200, pad_side="left", cut_side="left")    # Keras' defaults
    """

    tokenizer: str = "basic_english"
    lowercase: bool = True
    ngrams: int = 1
    max_tokens: int | None = None
    unknown_id: int | None = 0
    empty_id: int = 0
    padding_id: int = 0
    steps: tuple[CleaningStep, ...] = ()
    stop_words: tuple[str, ...] = ()
    first_id: int | None = None
    last_id: int | None = None
    max_width: int | None = None
    min_width: int | None = None
    cut_side: Side = "right"
    pad_side: Side = "right"

    def __post_init__(self) -> None:
        if self.tokenizer not in (*SPLITS, EXTERNAL):
            raise InputError(
                f"The tokenizer {self.tokenizer!r} is unknown.",
                f"Give one of these names: {', '.join((*SPLITS, EXTERNAL))}.",
            )
        if self.tokenizer == EXTERNAL:
            # It does not get texts that could be lower-cased.
            object.__setattr__(self, "lowercase", False)
            if self.steps:
                raise InputError(
                    "Cleaning steps cannot be used with the tokenizer external: each text is already given as tokens "
                    "or ids.",
                    "Leave the steps out, and clean the texts in the code that splits them.",
                )
        if self.tokenizer == "basic_english" and not self.lowercase:
            raise InputError(
                "`lowercase` is False, but the tokenizer basic_english always lower-cases a text.",
                "Set `lowercase` to True, or use the tokenizer whitespace to keep the case.",
            )
        if not 1 <= self.ngrams <= _MOST_NGRAMS:
            raise InputError(
                f"ngrams is {self.ngrams}, but it must be a whole number from 1 to {_MOST_NGRAMS}.",
                "Give 1 for single tokens only, or 2 to add pairs of neighbouring tokens.",
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(
                f"max_tokens is {self.max_tokens}, but it must be a whole number of 1 or more.",
                "Give such a number, or leave it out for no limit.",
            )
        for name in ("unknown_id", "empty_id", "padding_id"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but token ids are whole numbers of 0 or more.",
                    "Give such an id.",
                )
        if isinstance(self.stop_words, list | set | frozenset | tuple):
            # A set has no order of its own; a list of stop words often names one twice.
            ordered = (
                self.stop_words if isinstance(self.stop_words, list | tuple) else sorted(self.stop_words, key=repr)
            )
            object.__setattr__(self, "stop_words", tuple(dict.fromkeys(ordered)))
        if not self.is_plain:
            self._check_steps_and_stop_words()
            check_frame_rules(self)

    def _check_steps_and_stop_words(self) -> None:
        """Raise an InputError if the cleaning steps or the stop words are not valid."""
        if not isinstance(self.steps, tuple) or not all(isinstance(s, CleaningStep) for s in self.steps):
            raise InputError(
                f"steps is {short_repr(self.steps)}, but it must be a tuple of cleaning steps.",
                "Make it with pocketrnn.text.cleaning(...).",
            )
        check_step_count_and_growth(self.steps)
        words = self.stop_words
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise InputError(
                f"stop_words is {short_repr(words)}, but it must be a tuple, a list or a set of strings.",
                'Give a collection such as ("the", "a").',
            )
        if len(words) > _MOST_STOP_WORDS:
            raise InputError(
                f"There are {len(words):,} stop words, but at most {_MOST_STOP_WORDS:,} are allowed.", "Give fewer."
            )

    @property
    def is_plain(self) -> bool:
        """Whether the rules only split a text into tokens and look up the ids of these."""
        return not self.beyond_plain

    @property
    def beyond_plain(self) -> list[str]:
        """The names of the rules that do more than split a text into tokens and look up the ids of these.

        Example:
            >>> TextRules("space", min_width=9).beyond_plain
            ['the tokenizer space', 'min_width']
        """
        tokenizer = [] if self.tokenizer in TOKENIZERS else [f"the tokenizer {self.tokenizer}"]
        return [*tokenizer, *(name for name, default in _MAY_BE_MISSING.items() if getattr(self, name) != default)]

    @property
    def first_ids(self) -> tuple[int, ...]:  # type: ignore[override]
        """The ids that the rules add before the ids of the text."""
        return () if self.first_id is None else (self.first_id,)

    @property
    def last_ids(self) -> tuple[int, ...]:  # type: ignore[override]
        """The ids that the rules add after the ids of the text."""
        return () if self.last_id is None else (self.last_id,)

    @property
    def tokens_for_max(self) -> int | None:
        """The largest number of ids that `max_tokens` tokens and their n-grams give."""
        if self.max_tokens is None:
            return None
        return sum(max(0, self.max_tokens - n) for n in range(self.ngrams))

    @property
    def highest_id(self) -> int:
        """The highest id that the rules themselves can add."""
        return max(self.unknown_id or 0, self.empty_id, self.padding_id, self.first_id or 0, self.last_id or 0)


# The members of `text` that may be missing, and their defaults.
_MAY_BE_MISSING: Final[dict[str, Any]] = {
    member.name: member.default for member in fields(TextRules)[[f.name for f in fields(TextRules)].index("steps") :]
}


# The classes for `text` of classifier.json. Its member `tokenizer` decides: `subwords` is SubwordRules, all others are
# TextRules: `basic_english`, `whitespace` and `space` split words, `characters` code points, `external` does not split.
# SubwordRules is imported where it is needed: with its parts it takes a tenth of the import of pocketrnn.
if TYPE_CHECKING:
    from pocketrnn.text.subword_rules import SubwordRules

    AnyTextRules = TextRules | SubwordRules
else:
    AnyTextRules = TextRules


def make_rules_document(rules: AnyTextRules) -> dict[str, Any]:
    """Convert the rules to the member `text` of classifier.json. Rules with their default value are left out.

    Example:
        >>> make_rules_document(TextRules(first_id=2))["first_id"], "last_id" in make_rules_document(TextRules())
        (2, False)
    """
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_rules import make_subword_rules_document

        return make_subword_rules_document(rules)
    members = {member.name: getattr(rules, member.name) for member in fields(rules)}
    members = {name: value for name, value in members.items() if value != _MAY_BE_MISSING.get(name, ...)}
    if rules.steps:
        members["steps"] = make_step_documents(rules.steps)
    return members


def rules_of(document: Mapping[str, Any]) -> AnyTextRules:
    """Build the rules from the member `text` of classifier.json. A missing rule gets its default value.

    Raises:
        InputError: a value has a wrong type or is out of its range, or a cleaning step is not valid.

    Example:
        >>> rules_of({"tokenizer": "whitespace", "steps": [{"replace": ",", "by": " "}]}).steps
        (Replace(what=',', by=' '),)
    """
    if document["tokenizer"] == SUBWORDS:
        from pocketrnn.text.subword_rules import build_subword_rules_from_document

        return build_subword_rules_from_document(document)
    # JSON Schema counts 1.0 as an integer; Python's `range` does not take it.
    members: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in document.items()
    }
    if "steps" in members:
        members["steps"] = build_steps_from_documents(members["steps"])
    if members["tokenizer"] == EXTERNAL and members.get("lowercase"):
        raise InputError(
            "`lowercase` is true, but the tokenizer external cannot lower-case texts, because it does not get them.",
            "Set `lowercase` to false, or leave it out.",
        )
    if isinstance(members.get("stop_words"), list):
        members["stop_words"] = tuple(members["stop_words"])
    return TextRules(**members)
