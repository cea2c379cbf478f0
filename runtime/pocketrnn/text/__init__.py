"""How text becomes token ids: nothing else knows. Rules, tokenizers and cleaning here are what every reader mirrors."""

from pocketrnn.text.cleaning_steps import Keep, Lowercase, Replace, cleaning
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import (
    EXTERNAL,
    AnyTextRules,
    TextRules,
    beyond_version_1,
    beyond_version_2,
    beyond_version_3,
    rules_document,
    rules_of,
)
from pocketrnn.text.subword_rules import SUBWORDS, SubwordRules
from pocketrnn.text.tokenizers import TOKENIZERS, basic_english, ngrams_of

__all__ = [
    "EXTERNAL",
    "SUBWORDS",
    "TOKENIZERS",
    "AnyTextRules",
    "Keep",
    "Lowercase",
    "Replace",
    "SubwordRules",
    "TextEncoder",
    "TextRules",
    "basic_english",
    "beyond_version_1",
    "beyond_version_2",
    "beyond_version_3",
    "cleaning",
    "ngrams_of",
    "rules_document",
    "rules_of",
]
