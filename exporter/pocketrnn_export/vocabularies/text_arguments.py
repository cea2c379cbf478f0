"""The arguments of `export` for how text becomes ids: a vocabulary, a tokenizer and rules, or one that holds the
others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError, shown
from pocketrnn.text import AnyTextRules, SubwordRules, TextRules
from pocketrnn.text.pretokenized import Tokenizer
from pocketrnn_export.vocabularies.tokenizer_files import is_library_tokenizer, read_tokenizer
from pocketrnn_export.vocabularies.tokenizer_json import Subwords
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, VocabularySource, read_vocabulary

__all__ = ["TextArguments", "read_text_arguments"]

_FILES: Final = (".json", ".model", ".txt")


@dataclass(frozen=True)
class TextArguments:
    """The three arguments, read.

    Attributes:
        vocabulary: the tokens.
        tokenizer: a name, or the owner's own function.
        rules: the text rules, where they were given or read.
        subwords: what the rules and the tokens were read from, where that is a tokenizer of subwords.
    """

    vocabulary: Vocabulary
    tokenizer: str | Tokenizer | None = None
    rules: AnyTextRules | None = None
    subwords: Subwords | None = None


def read_text_arguments(
    vocabulary: VocabularySource | None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None,
    rules: AnyTextRules | Subwords | None,
) -> TextArguments:
    """Read the three as `export` takes them.

    Raises:
        InputError: there is no vocabulary; or a tokenizer of subwords holds what another argument would say; or one is
            of no type, or a file that cannot be read, as `read_tokenizer` and `read_vocabulary` say.

    Example:
        >>> read_text_arguments(["<unk>", "oil"], "whitespace", None).vocabulary.tokens
        ('<unk>', 'oil')
    """
    if isinstance(tokenizer, os.PathLike) or _is_of_subwords(tokenizer):
        given = {"vocabulary": vocabulary, "rules": rules}
        if others := " and ".join(name for name, argument in given.items() if argument is not None):
            raise InputError(f"The tokenizer holds what {others} would say.", f"Leave out {others}.")
        tokenizer, rules = None, read_tokenizer(tokenizer)
    if isinstance(rules, Subwords):
        tokens = rules.tokens if vocabulary is None else vocabulary
        return TextArguments(read_vocabulary(tokens), tokenizer, rules.rules, rules)
    if not isinstance(rules, TextRules | SubwordRules | None):
        raise InputError(f"rules is of type {type(rules).__name__}.", "Give TextRules, or what read_tokenizer gave.")
    if vocabulary is None:
        raise InputError(
            "No vocabulary is given.",
            "Give vocabulary=, or tokenizer= a tokenizer.json, which holds it; for sequences of numbers, channels=.",
        )
    return TextArguments(read_vocabulary(vocabulary), tokenizer, rules)


def _is_of_subwords(tokenizer: Any) -> bool:
    """Whether it is the path of a tokenizer, as a string, or one of a library.

    Raises:
        InputError: it looks like the path of a file, and there is none.
    """
    if not isinstance(tokenizer, str):
        return is_library_tokenizer(tokenizer)
    path = Path(tokenizer)
    # A folder may have a tokenizer's name, such as "characters"; a path to it says that it is meant.
    if path.suffix not in _FILES and path.name == tokenizer:
        return False
    if not path.exists():
        raise InputError(
            f"There is no tokenizer {shown(tokenizer)}, and no such file.",
            "Give its name, the path of a tokenizer.json, or a function.",
        )
    return True
