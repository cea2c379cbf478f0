"""The input of a classifier of texts: text rules and a vocabulary make ids of each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import AnyTextRules, TextRules, rules_document

__all__ = ["PairInput", "TextInput", "held_against_streams"]


@dataclass(frozen=True)
class TextInput:
    """Texts, and how each becomes token ids, int64 [n].

    Attributes:
        rules: the text rules.
        vocabulary: the tokens; a token's place is its id.

    Raises:
        InputError: rules of subwords do not fit the vocabulary.

    Example:
        >>> TextInput(TextRules(), ("<unk>", "oil", "prices")).encoder().encode("Oil prices")
        [1, 2]
    """

    kind: ClassVar[str] = "text"
    pairs: ClassVar[bool] = False

    rules: AnyTextRules
    vocabulary: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.rules, TextRules):
            from pocketrnn.text.subwords import check_fit

            check_fit(self.rules, self.vocabulary)

    @property
    def document(self) -> dict[str, Any]:
        """The rules as classifier.json says them; the vocabulary is a member beside them.

        Example:
            >>> TextInput(TextRules(), ("<unk>",)).document["tokenizer"]
            'basic_english'
        """
        return rules_document(self.rules)

    def encoder(self) -> TextEncoder:
        """The encoder that makes ids of texts.

        Example:
            >>> TextInput(TextRules(), ("<unk>", "oil")).encoder().encode("oil")
            [1]
        """
        return TextEncoder(self.rules, self.vocabulary)


@dataclass(frozen=True)
class PairInput(TextInput):
    """Pairs of texts, and how each becomes a row of token ids: those of the first text, a mark, and those of the second
    (`pocketrnn.text.pairs`). The arguments are those of `TextInput`; the rules are of both texts.

    Example:
        >>> PairInput(TextRules(), ("<unk>", "oil", "prices")).encoder().encode(("Oil", "Prices rise"))
        [1, -1, 2, 0]
    """

    pairs: ClassVar[bool] = True

    def encoder(self) -> TextEncoder:
        """The encoder that makes ids of pairs.

        Example:
            >>> PairInput(TextRules(), ("<unk>", "oil")).encoder().encode(("oil", "oil"))
            [1, -1, 1]
        """
        from pocketrnn.text.pairs import PairEncoder

        return PairEncoder(self.rules, self.vocabulary)


def held_against_streams(rules: AnyTextRules, vocabulary: Sequence[str]) -> str:
    """The rules, beside n-grams, that keep a text from being read on; empty if none does.

    Example:
        >>> held_against_streams(TextRules(last_id=0), ["<eos>"])
        'last_id'
    """
    if isinstance(rules, TextRules):
        return ", ".join(rules.beyond_plain)
    from pocketrnn.text.subword_cuts import in_the_way

    return in_the_way(rules, vocabulary)
