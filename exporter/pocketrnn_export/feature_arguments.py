"""Read the features of `export`, choose texts with features for a proof, and refuse options that do not work with
features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pocketrnn.errors import DataError, InputError, TextError
from pocketrnn.text.features_beside_text import (
    Category,
    FeatureRow,
    Features,
    Number,
    encode_values,
    freeze_text_with_features,
)
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.proof_inputs import choose_texts_for_proof
from pocketrnn_export.export_arguments import refuse_options_with_pairs_or_features
from pocketrnn_export.json_reading_and_writing import parse_json
from pocketrnn_export.proof.feature_cases import make_example_features
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

# The features as `export` takes them: names of numbers; or for each name a number or a category, or its values.
FeaturesGiven: TypeAlias = Sequence[str] | Mapping[str, Number | Category | Iterable[str | int] | Mapping[Any, int]]


def read_features(given: str) -> FeaturesGiven:
    """Read the features that the user names on the command line, or describes in a JSON file.

    Args:
        given: names of numbers, `a,b,c`; or the path of a JSON file: a list of names, or an object that has for each
            name `{"mean": 3.1, "scale": 2.0}`, a list of the values of a category, or
            `{"values": {"book": 0}, "unknown": 1}`.

    Raises:
        DataError: the file cannot be read, or holds something else.
        InputError: as `Number` and `Category`.
    """
    path = Path(given)
    if path.suffix != ".json":
        return [name.strip() for name in given.split(",")]
    remedy = 'Write {"price": {"mean": 3.1, "scale": 2.0}, "kind": ["book", "film"]}, or a list of names.'
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{given} cannot be read: {getattr(error, 'strerror', None) or error}.", remedy) from None
    document = parse_json(text, given, remedy)
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise DataError(f"{given} is neither a list nor an object.", remedy)
    return {name: _read_feature(name, members, given, remedy) for name, members in document.items()}


def _read_feature(name: str, members: Any, file: str, remedy: str) -> Number | Category:
    """Make the number or the category that the JSON members of a feature describe."""
    if isinstance(members, list):
        return Category(members)
    if isinstance(members, dict) and members.keys() <= {"mean", "scale"}:
        return Number(**members)
    if isinstance(members, dict) and members.keys() - {"unknown"} == {"values"}:
        return Category(members["values"], members.get("unknown"))
    raise DataError(f"In {file}, {name} is neither a number nor a category.", remedy)


def freeze_texts_with_features(texts: Sequence[Any], features: Features) -> list[tuple[str, FeatureRow]]:
    """Check the example texts with their features, and return them as tuples that a set can hold.

    Raises:
        InputError: one is not a tuple of a string and its features, or a feature is refused.
    """
    found = []
    for i, item in enumerate(texts):
        which = f"The example at position {i} (counted from 0)"
        try:
            text, values = freeze_text_with_features(item, which)
            encode_values(features, dict(values), which)
        except TextError as error:
            raise InputError(error.problem, f"{error.remedy} Give example_texts as [(text, features), ...].") from None
        if not isinstance(text, str):
            raise InputError(
                f"{which} has a text that is not a string.", "Give example_texts as [(text, features), ...]."
            )
        found.append((text, values))
    return found


def choose_texts_with_features(
    given: Sequence[tuple[str, FeatureRow]], description: Description, *, made_too: bool
) -> list[tuple[str, FeatureRow]]:
    """Choose the texts of a proof with their features: the given texts, random texts if there are none or with
    `made_too`, and texts without a known token.

    Args:
        given: as from `freeze_texts_with_features`.
        description: the bundle's description.
        made_too: add random texts even if the user gave texts.
    """
    source = description.text
    made = choose_texts_for_proof([], source.vocabulary, source.rules)
    if given and not made_too:
        made = made[-2:]
    rows = [tuple(values.items()) for values in make_example_features(source.features, len(made))]
    drawn = list(zip(made, rows, strict=True))
    # Texts that may be shown come first where the given ones must not be.
    return [*drawn, *given] if made_too else [*given, *drawn]


def refuse_options_with_features(description: Description, pairs: Sequence[OwnersText], **options: bool) -> None:
    """Refuse options that a bundle with features cannot have.

    Arguments are those of `refuse_options_with_pairs_or_features`.
    """
    what = f"The module takes {', '.join(name for name, _ in description.text.features)} beside a text"
    refuse_options_with_pairs_or_features(what, description, pairs, "classify((tokens, features))", **options)
