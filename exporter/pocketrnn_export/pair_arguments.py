"""Read the example pairs of `export` with `two_texts`, and refuse options that a bundle of pairs cannot have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pocketrnn.errors import InputError, TextError
from pocketrnn.text.pairs import check_pair
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.export_arguments import refuse_options_with_pairs_or_features
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText


def flatten_pairs(pairs: Sequence[Any]) -> list[str]:
    """Return all texts of the pairs in one list, to compare text rules on them.

    Raises:
        InputError: one is not a pair of strings.
    """
    texts: list[str] = []
    for i, pair in enumerate(pairs):
        try:
            both = check_pair(pair, f"The example at position {i} (counted from 0)")
        except TextError as error:
            raise InputError(error.problem, "Give example_texts as [(first, second), ...].") from None
        if not all(isinstance(text, str) for text in both):
            raise InputError(
                f"The pair at position {i} of example_texts holds something that is not a string.", "Give strings."
            )
        texts += both
    return texts


def refuse_options_with_two_texts(description: Description, pairs: Sequence[OwnersText], **options: bool) -> None:
    """Refuse options that a bundle for two texts cannot have.

    Arguments are those of `refuse_options_with_pairs_or_features`.
    """
    rules, what = description.text.rules, "The module takes two texts"
    call = "classify((first_tokens, second_tokens))"
    refuse_options_with_pairs_or_features(what, description, pairs, call, **options)
    if (rules.min_width or 1) > 1:
        raise InputError(
            f"{what}, but the rules pad each text to {rules.min_width} tokens (min_width).",
            "Leave min_width out of the rules: each text is answered at its own length.",
        )
