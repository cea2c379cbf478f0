"""Read the argument `characters` of `export`, and compare it with the owner's texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.token_characters import Characters, add_character_ids, make_characters
from pocketrnn.text.token_positions import locate_text_tokens
from pocketrnn_export.export_arguments import refuse_options
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

# The characters as `export` takes them: `Characters`, or its vocabulary, or the path of its file.
CharactersGiven: TypeAlias = Characters | Mapping[str, int] | Sequence[str] | Path


def read_characters(given: CharactersGiven) -> Characters:
    """Read the argument `characters` of `export`.

    Args:
        given: `Characters`; a list of characters, or a map character -> id; or the path of a file that holds one, as
            `read_vocabulary` takes it.

    Raises:
        DataError: the file holds no vocabulary.
        InputError: as `Characters`.
    """
    if isinstance(given, str | Path):
        return Characters({entry: i for i, entry in enumerate(read_vocabulary(Path(given)).tokens)})
    return make_characters(given)


def refuse_options_with_characters(*, of_tokens: bool, **options: bool) -> None:
    """Refuse options that a bundle with characters cannot have: labels of texts, and each of `options`.

    Args:
        of_tokens: whether the labels are of tokens.
        options: as for `refuse_options`.
    """
    what = "The module takes the characters of each word"
    if not of_tokens:
        raise InputError(f"{what}, but the labels are of texts.", "Leave characters out, or say labels_of='tokens'.")
    refuse_options(what, **options)


def separate_characters_from_texts(given: Iterable[Any]) -> tuple[list[Any], list[tuple[str, Any]]]:
    """Separate the characters from example texts (text, ids, characters). Return a list of all texts without them, and
    a list of pairs (text, the ids of the characters of each token)."""
    pairs, spelled = [], []
    for item in given:
        third = item[2] if isinstance(item, tuple | list) and len(item) == 3 else None
        rows: Any = third.tolist() if third is not None and hasattr(third, "tolist") else third
        if isinstance(rows, list | tuple) and rows and all(isinstance(row, list | tuple) for row in rows):
            pairs.append((item[0], item[1]))
            spelled.append((item[0], rows))
        else:
            pairs.append(item)
    return pairs, spelled


def compare_characters_for_provenance(
    text_input: TextInput, characters: Characters, owners_characters: Sequence[tuple[str, Any]]
) -> str:
    """Refuse `characters` if the owner's texts have other ids of characters. Return a phrase for the provenance: how
    many texts were compared.

    Args:
        text_input: the text rules and the vocabulary.
        characters: the characters.
        owners_characters: texts with the ids of the characters of each token; padding at the ends does not count.

    Raises:
        InputError: they differ; the message has the first difference.
    """
    encoder = TextEncoder(text_input.rules, text_input.vocabulary)
    for text, rows in owners_characters:
        own = add_character_ids(characters, locate_text_tokens(encoder, text))[:, 1:].tolist()
        for i, (ours, theirs) in enumerate(zip(own, rows, strict=False)):
            if _strip_character_padding(ours, characters) != _strip_character_padding(theirs, characters):
                raise InputError(
                    f"The ids of the characters of token {i} in {short_repr(text, 40)} are {ours} by the argument "
                    f"characters, but {list(theirs)} in example_ids.",
                    "Give characters the vocabulary, the width and the ids of padding and unknown characters of your "
                    "pipeline; and lowercase=True if it spells words in lower case.",
                )
        if len(own) != len(rows):
            raise InputError(
                f"{short_repr(text, 40)} has {len(own)} tokens by the rules, but example_ids has the characters of "
                f"{len(rows)}.",
                "Give one row of characters for each token of the text.",
            )
    return (
        f"compared: {len(owners_characters)} text{'s' * (len(owners_characters) > 1)}"
        if owners_characters
        else "not compared"
    )


def _strip_character_padding(row: Sequence[int], characters: Characters) -> list[int]:
    ids = [int(i) for i in row]
    while ids and ids[-1] == characters.padding:
        ids.pop()
    return ids
