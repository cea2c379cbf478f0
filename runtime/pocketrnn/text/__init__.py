"""Encode texts as token ids: text rules, tokenizers, cleaning steps.

Readers in other languages mirror this package.
"""

from typing import TYPE_CHECKING

from pocketrnn.text.added_ids_and_width import SUBWORDS
from pocketrnn.text.cleaning_from_shorthand import cleaning
from pocketrnn.text.cleaning_steps import Keep, Lowercase, Replace, ReplaceRuns
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import (
    EXTERNAL,
    AnyTextRules,
    TextRules,
    make_rules_document,
    rules_of,
)
from pocketrnn.text.tokenizers import TOKENIZERS, basic_english, make_ngrams_of

if TYPE_CHECKING:
    from pocketrnn.text.subword_rules import SubwordRules

__all__ = [
    "EXTERNAL",
    "SUBWORDS",
    "TOKENIZERS",
    "AnyTextRules",
    "Keep",
    "Lowercase",
    "Replace",
    "ReplaceRuns",
    "SubwordRules",
    "TextEncoder",
    "TextRules",
    "basic_english",
    "cleaning",
    "make_ngrams_of",
    "make_rules_document",
    "rules_of",
]

# Type checkers read the import above: with this function, they would take a misspelt name for one that is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import `SubwordRules` when it is first used."""
        if name != "SubwordRules":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pocketrnn.text.subword_rules import SubwordRules

        return SubwordRules
