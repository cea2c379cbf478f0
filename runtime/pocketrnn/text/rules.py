"""The text rules: everything but the vocabulary that decides how a text becomes ids; and `text` of classifier.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.errors import InputError, shown
from pocketrnn.text.cleaning_steps import CleaningStep, check_growth, step_documents, steps_of
from pocketrnn.text.framing import SUBWORDS, Framed, Side, check_frame
from pocketrnn.text.tokenizers import SPLITS, TOKENIZERS

__all__ = [
    "EXTERNAL",
    "AnyTextRules",
    "TextRules",
    "rules_document",
    "rules_of",
]

# The tokenizer of a bundle whose texts are split outside of it, by its owner's code: it is given tokens or ids.
EXTERNAL: Final = "external"
# A text of 10,000 tokens becomes 160,000 with 16; classifiers in use have up to 6.
_MOST_NGRAMS: Final = 16
_MOST_STOP_WORDS: Final = 1 << 16


@dataclass(frozen=True)
class TextRules(Framed):
    """Rules by words or characters: everything but the vocabulary that decides how a text becomes ids.

    Attributes:
        tokenizer: a name in `TOKENIZERS`, or `space`: text.split(" "), whose tokens may be empty. Or `external`: texts
            are split by their owner's code, and come as tokens or ids.
        lowercase: lower-case the text first; `basic_english` always does, `external` never.
        ngrams: 1 for tokens alone, n for n-grams up to n beside them.
        max_tokens: how many of the tokenizer's tokens are read (n-grams are made from these), or None for all.
        unknown_id: the id of a token that the vocabulary does not hold, or None to drop such tokens.
        empty_id: the id that stands for a text with no id left.
        padding_id: the id that fills the rows of a batch up to one width, and every text up to `min_width`.
        steps: what is done to the text before it is split; `cleaning` makes them from names and pairs.
        stop_words: tokens that are dropped, before `max_tokens` counts them.
        first_id: the id before those of the text, such as that of "<sos>", or None.
        last_id: the id after them, such as that of "<eos>", or None.
        max_width: the most ids of a text, `first_id` and `last_id` among them; the rest is cut off. None: all.
        min_width: the fewest ids of a text; `padding_id` fills it up, and the module sees it like any id. None: 1.
        cut_side: the side on which `max_tokens` and `max_width` cut.
        pad_side: the side on which `min_width` fills up.

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
                f"The tokenizer {self.tokenizer!r} is unknown.", f"Use one of: {', '.join((*SPLITS, EXTERNAL))}."
            )
        if self.tokenizer == EXTERNAL:
            # There is no text that could be lower-cased.
            object.__setattr__(self, "lowercase", False)
            if self.steps:
                raise InputError(
                    "The tokenizer external is given tokens or ids, so that no step can be done before it.",
                    "Leave the steps out, and clean texts where you split them.",
                )
        if self.tokenizer == "basic_english" and not self.lowercase:
            raise InputError("basic_english always lower-cases.", "Use the tokenizer whitespace to keep the case.")
        if not 1 <= self.ngrams <= _MOST_NGRAMS:
            raise InputError(
                f"ngrams is {self.ngrams}.", f"Use 1 for single tokens, 2 for pairs beside them, up to {_MOST_NGRAMS}."
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}.", "Use a number from 1, or none for no limit.")
        if min(self.unknown_id or 0, self.empty_id, self.padding_id) < 0:
            raise InputError("A token id is negative.", "Token ids count from 0.")
        if not self.is_plain:
            self._check_words()
            check_frame(self)

    def _check_words(self) -> None:
        if not isinstance(self.steps, tuple) or not all(isinstance(s, CleaningStep) for s in self.steps):
            raise InputError(f"steps is {shown(self.steps)}.", "Make them with pocketrnn.text.cleaning(...).")
        check_growth(self.steps)
        words = self.stop_words
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise InputError(f"stop_words is {shown(words)}.", "Give a tuple of strings.")
        if len(words) > _MOST_STOP_WORDS:
            raise InputError(f"There are {len(words):,} stop words.", f"Use at most {_MOST_STOP_WORDS:,}.")

    @property
    def is_plain(self) -> bool:
        """Whether a text is only cut into tokens and looked up: see `beyond_plain`."""
        return not self.beyond_plain

    @property
    def beyond_plain(self) -> list[str]:
        """The rules that do more than to cut a text into tokens and to look these up.

        Example:
            >>> TextRules("space", min_width=9).beyond_plain
            ['the tokenizer space', 'min_width']
        """
        tokenizer = [] if self.tokenizer in TOKENIZERS else [f"the tokenizer {self.tokenizer}"]
        return [*tokenizer, *(name for name, default in _MAY_BE_MISSING.items() if getattr(self, name) != default)]

    @property
    def first_ids(self) -> tuple[int, ...]:  # type: ignore[override]
        """The ids before those of the text."""
        return () if self.first_id is None else (self.first_id,)

    @property
    def last_ids(self) -> tuple[int, ...]:  # type: ignore[override]
        """The ids after those of the text."""
        return () if self.last_id is None else (self.last_id,)

    @property
    def tokens_for_max(self) -> int | None:
        """How many ids `max_tokens` tokens give at most, with their n-grams."""
        if self.max_tokens is None:
            return None
        return sum(max(0, self.max_tokens - n) for n in range(self.ngrams))

    @property
    def highest_id(self) -> int:
        """The highest id that the rules themselves can give, in ids of the vocabulary's numbering."""
        return max(self.unknown_id or 0, self.empty_id, self.padding_id, self.first_id or 0, self.last_id or 0)


# The members of `text` that may be missing, and what their absence means.
_MAY_BE_MISSING: Final[dict[str, Any]] = {
    member.name: member.default for member in fields(TextRules)[[f.name for f in fields(TextRules)].index("steps") :]
}


# `text` of classifier.json. Its member `tokenizer` says which: `basic_english`, `whitespace` and `space` cut words,
# `characters` code points, `external` is somebody else's code; `subwords` are the other class.
# The class for subwords is read where it is needed: it and its parts take a tenth of the import of pocketrnn.
if TYPE_CHECKING:
    from pocketrnn.text.subword_rules import SubwordRules

    AnyTextRules = TextRules | SubwordRules
else:
    AnyTextRules = TextRules


def rules_document(rules: AnyTextRules) -> dict[str, Any]:
    """The rules as `text` of classifier.json, without the members whose absence means the same.

    Example:
        >>> rules_document(TextRules(first_id=2))["first_id"], "last_id" in rules_document(TextRules())
        (2, False)
    """
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_rules import subword_rules_document

        return subword_rules_document(rules)
    members = {member.name: getattr(rules, member.name) for member in fields(rules)}
    members = {name: value for name, value in members.items() if value != _MAY_BE_MISSING.get(name, ...)}
    if rules.steps:
        members["steps"] = step_documents(rules.steps)
    return members


def rules_of(document: Mapping[str, Any]) -> AnyTextRules:
    """The rules that `text` of classifier.json says; a member that is missing is the default.

    Raises:
        InputError: a value is out of its range, or a step is none.

    Example:
        >>> rules_of({"tokenizer": "whitespace", "steps": [{"replace": ",", "by": " "}]}).steps
        (Replace(what=',', by=' '),)
    """
    if document["tokenizer"] == SUBWORDS:
        from pocketrnn.text.subword_rules import subword_rules_of

        return subword_rules_of(document)
    # JSON Schema counts 1.0 as an integer; a range does not.
    members: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in document.items()
    }
    if "steps" in members:
        members["steps"] = steps_of(members["steps"])
    if members["tokenizer"] == EXTERNAL and members.get("lowercase"):
        raise InputError("The tokenizer external cannot lower-case.", "Say that lowercase is false.")
    if isinstance(members.get("stop_words"), list):
        members["stop_words"] = tuple(members["stop_words"])
    return TextRules(**members)
