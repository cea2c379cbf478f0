"""Read the arguments of `export` that turn texts into ids: vocabulary, tokenizer and rules. One argument may contain
another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import AnyTextRules, SubwordRules, TextRules
from pocketrnn.text.text_row_encoder import Tokenizer
from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence
from pocketrnn_export.vocabularies.owner_function_call import find_how_to_call_owner_function
from pocketrnn_export.vocabularies.subword_tokenizer_files import is_library_tokenizer, read_tokenizer
from pocketrnn_export.vocabularies.tokenizer_json import Subwords
from pocketrnn_export.vocabularies.tokenizer_width_rules import add_widths_to_tokenizer_rules
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, VocabularySource, log_doubtful_lines, read_vocabulary

_FILES: Final = (".json", ".model", ".txt", ".pt", ".pth")


@dataclass(frozen=True)
class TextArguments:
    """The vocabulary, the tokenizer and the text rules in the arguments of `export`.

    Attributes:
        vocabulary: the tokens.
        tokenizer: the name of a tokenizer, or the owner's function; None if neither is given.
        rules: the text rules that were given, or that belong to the subword tokenizer; None if there are none.
        subwords: the subword tokenizer that was given; None if there is none.
    """

    vocabulary: Vocabulary
    tokenizer: str | Tokenizer | None = None
    rules: AnyTextRules | None = None
    subwords: Subwords | None = None


def read_text_arguments(
    vocabulary: VocabularySource | None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None,
    rules: AnyTextRules | Subwords | Mapping[str, Any] | None,
    evidence: IdEvidence | None = None,
) -> TextArguments:
    """Read the arguments `vocabulary`, `tokenizer` and `rules` of `export`. `evidence` has facts that show whether the
    numbers in the vocabulary are ids.

    Raises:
        InputError: there is no vocabulary; a vocabulary or rules are given beside a subword tokenizer, which contains
            both; an argument has a wrong type; or it names a file that cannot be read.
    """
    if isinstance(tokenizer, os.PathLike) or _is_subword_tokenizer(tokenizer):
        if vocabulary is not None:
            raise InputError(
                "Both `vocabulary` and a subword tokenizer are given, but the tokenizer has a vocabulary of its own.",
                "Leave out the argument `vocabulary`.",
            )
        if not isinstance(rules, Mapping | None):
            raise InputError(
                "Both `rules` and a subword tokenizer are given, but the tokenizer has text rules of its own.",
                "Leave out the argument `rules`. If your code cuts or pads the tokenizer's ids, give only the widths: "
                "rules={'min_width': 200, 'max_width': 200}.",
            )
        source = "The tokenizer" if is_library_tokenizer(tokenizer) else str(tokenizer)
        found = read_tokenizer(tokenizer)
        tokenizer, rules = None, add_widths_to_tokenizer_rules(found, rules, source) if rules else found
    if isinstance(rules, Subwords):
        tokens = rules.tokens if vocabulary is None else vocabulary
        return TextArguments(read_vocabulary(tokens), tokenizer, rules.rules, rules)
    if not isinstance(rules, TextRules | SubwordRules | None):
        raise InputError(
            f"`rules` is of type {type(rules).__name__}, but must be a TextRules or the result of read_tokenizer.",
            "Write rules=TextRules(...) or rules=read_tokenizer(FILE).",
        )
    if vocabulary is None:
        raise InputError(
            "No vocabulary is given, but a classifier of texts needs one.",
            "Give vocabulary=FILE, or tokenizer=FILE with a tokenizer.json that has a vocabulary. For a classifier of "
            "numbers, give channels=.",
        )
    known = read_vocabulary(vocabulary, evidence or IdEvidence())
    if isinstance(vocabulary, str | os.PathLike):
        log_doubtful_lines(known, Path(vocabulary))
    return TextArguments(
        known, find_how_to_call_owner_function(tokenizer, known) if callable(tokenizer) else tokenizer, rules
    )


def _is_subword_tokenizer(tokenizer: Any) -> bool:
    """Return whether an argument is the path of a subword tokenizer, or a tokenizer object of a library. Raise an
    InputError if it looks like the path of a file that does not exist."""
    if not isinstance(tokenizer, str):
        return is_library_tokenizer(tokenizer)
    path = Path(tokenizer)
    # A folder may be named like a tokenizer, such as "characters"; only a longer path means the folder.
    if path.suffix not in _FILES and path.name == tokenizer:
        return False
    if not path.exists():
        raise InputError(
            f"`tokenizer` is {short_repr(tokenizer)}, which is neither the name of a tokenizer nor a file that exists.",
            "Give the name of a tokenizer, the path of a tokenizer.json, or a function.",
        )
    return True
