"""The input of a classifier of texts: text rules and a vocabulary, which encode each text as ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.features_beside_text import FeatureEncoder, Features
from pocketrnn.text.rules import EXTERNAL, AnyTextRules, TextRules, make_rules_document
from pocketrnn.text.token_characters import Characters

__all__ = ["CharacterInput", "FeatureInput", "PairInput", "TextInput", "name_rules_against_streaming"]


@dataclass(frozen=True)
class TextInput:
    """Texts as input, and the rules that encode each text as token ids, int64 [n].

    Attributes:
        rules: the text rules.
        vocabulary: the tokens; a token's index is its id.

    Raises:
        InputError: the subword rules have ids or merges that do not fit the vocabulary.

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
            from pocketrnn.text.subword_encoder import check_rules_fit_vocabulary

            check_rules_fit_vocabulary(self.rules, self.vocabulary)

    @property
    def features(self) -> Features:
        """The features in addition to a text; empty in this class."""
        return ()

    @property
    def characters(self) -> Characters | None:
        """The characters in addition to each token; None in this class."""
        return None

    @property
    def document(self) -> dict[str, Any]:
        """The text rules as the member `text` of classifier.json, without the vocabulary.

        Example:
            >>> TextInput(TextRules(), ("<unk>",)).document["tokenizer"]
            'basic_english'
        """
        return make_rules_document(self.rules)

    def encoder(self) -> TextEncoder:
        """Make the encoder for texts.

        Example:
            >>> TextInput(TextRules(), ("<unk>", "oil")).encoder().encode("oil")
            [1]
        """
        return TextEncoder(self.rules, self.vocabulary)


@dataclass(frozen=True)
class PairInput(TextInput):
    """Pairs of texts as input, with the same rules for both texts.

    Each pair becomes one row: the ids of the first text, a negative number, and the ids of the second text.

    Example:
        >>> PairInput(TextRules(), ("<unk>", "oil", "prices")).encoder().encode(("Oil", "Prices rise"))
        [1, -1, 2, 0]
    """

    pairs: ClassVar[bool] = True

    def encoder(self) -> TextEncoder:
        """Make the encoder for pairs.

        Example:
            >>> PairInput(TextRules(), ("<unk>", "oil")).encoder().encode(("oil", "oil"))
            [1, -1, 1]
        """
        from pocketrnn.text.pairs import PairEncoder

        return PairEncoder(self.rules, self.vocabulary)


@dataclass(frozen=True)
class FeatureInput(TextInput):
    """Texts with features, which are numbers or categories, as input.

    Each text becomes one row: a negative integer for each feature, followed by the ids of the text.

    Attributes:
        features: the name of each feature, with its `Number` or `Category`.

    Example:
        >>> given = FeatureInput(TextRules(), ("<unk>", "oil"), make_features(["stars"]))
        >>> given.encoder().encode(("oil", {"stars": 0}))
        [-1, 1]
    """

    features: Features = ()  # type: ignore[override, unused-ignore]

    def encoder(self) -> TextEncoder:
        """Make the encoder for texts with their features.

        Example:
            >>> FeatureInput(TextRules(), ("<unk>",), make_features(["stars"])).encoder().features[0][0]
            'stars'
        """
        return FeatureEncoder(self.rules, self.vocabulary, self.features)


@dataclass(frozen=True)
class CharacterInput(TextInput):
    """Texts as input, with the ids of each token's characters in addition to the token's id.

    Attributes:
        characters: the characters, with their ids.

    Raises:
        InputError: `characters` is not a `Characters`, or the rules make subwords or have an external tokenizer.

    Example:
        >>> CharacterInput(TextRules(), ("<unk>", "oil"), Characters(["<pad>", "o"])).characters.width
        20
    """

    characters: Characters | None = None  # type: ignore[override, unused-ignore]

    def __post_init__(self) -> None:
        if not isinstance(self.characters, Characters):
            raise InputError(
                f"characters is {short_repr(self.characters, 40)}, but it must be a `Characters` object.",
                "Give pocketrnn.text.Characters(...).",
            )
        if not isinstance(self.rules, TextRules) or self.rules.tokenizer == EXTERNAL:
            what = "subwords" if not isinstance(self.rules, TextRules) else "an external tokenizer"
            raise InputError(
                f"The module takes the characters of each word, but the text rules use {what}.",
                "Give text rules with a tokenizer that splits texts into words: basic_english, whitespace or space.",
            )
        super().__post_init__()


def name_rules_against_streaming(rules: AnyTextRules, vocabulary: Sequence[str]) -> str:
    """Return the names of the rules that prevent streaming; empty if the rules allow it. N-grams also prevent it, but
    are not named."""
    if isinstance(rules, TextRules):
        return ", ".join(rules.beyond_plain)
    from pocketrnn.text.subword_stream_cuts import find_stream_obstacle

    return find_stream_obstacle(rules, vocabulary)
