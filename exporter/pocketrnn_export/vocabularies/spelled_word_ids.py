"""Define ids that stand for a word and its characters, for the proof of a module that takes both.

All checks call a module with rows of ids. An id of the vocabulary is that word with its own characters; further ids are
words that the vocabulary lacks, or that a text spells otherwise. `Spellings` has the word and the characters of each
id.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.token_characters import Characters, add_character_ids, make_row_without_characters
from pocketrnn.text.token_positions import locate_text_tokens

# How many spellings are drawn at least.
_DRAWN: Final = 64


@dataclass(frozen=True, eq=False)
class Spellings:
    """The word and the characters of each id in a proof.

    Attributes:
        characters: the characters.
        rows: int64 [ids, 1 + width], the id of each word, and then those of its characters.
        places: the id of each row.
    """

    characters: Characters
    rows: NDArray[np.int64]
    places: Mapping[tuple[int, ...], int]

    @functools.cached_property
    def words(self) -> NDArray[np.int64]:
        """The word ids, int64 [ids]: for each id in a proof, the id of the word that it stands for."""
        return np.ascontiguousarray(self.rows[:, 0])

    @functools.cached_property
    def spelled(self) -> NDArray[np.int64]:
        """The character ids, int64 [ids, width]: for each id in a proof, the characters of the word that it stands
        for."""
        return np.ascontiguousarray(self.rows[:, 1:])


class SpelledEncoder(TextEncoder):
    """Encodes texts as ids that stand for words with their characters.

    Args:
        text_input: the text rules and the vocabulary.
        spellings: the words and characters that ids stand for, with those of each text that is encoded.
    """

    def __init__(self, text_input: TextInput, spellings: Spellings) -> None:
        super().__init__(text_input.rules, text_input.vocabulary)
        self._plain, self._spellings = TextEncoder(text_input.rules, text_input.vocabulary), spellings

    def encode(self, text: Any) -> list[int]:
        """Return the ids of a text, one for each of its words with its characters."""
        steps = add_character_ids(self._spellings.characters, locate_text_tokens(self._plain, text))
        return [self._spellings.places[tuple(step)] for step in steps.tolist()]


def make_spellings_for_proof(text_input: TextInput, characters: Characters, texts: Sequence[str]) -> Spellings:
    """Make the words, with their characters, for which the ids in a proof stand. The order is: the words of the
    vocabulary; words of random characters, which include every character; an unknown word without characters; the words
    of the given texts.

    Args:
        text_input: the text rules and the vocabulary.
        characters: the characters.
        texts: the texts of the proof.
    """
    rules, vocabulary = text_input.rules, text_input.vocabulary
    framed = {rules.padding_id, *rules.first_ids, *rules.last_ids}
    count = max(len(vocabulary), rules.highest_id + 1)
    rows = [
        [i, *characters.encode(vocabulary[i])]
        if i < len(vocabulary) and i not in framed
        else make_row_without_characters(characters, i)
        for i in range(count)
    ]
    unknown = rules.empty_id if rules.unknown_id is None else rules.unknown_id
    others = [i for i in range(count) if i not in framed] or [unknown]
    generator = np.random.default_rng(8)
    for i, spelling in enumerate(_draw_spellings(characters, generator)):
        # A word of the vocabulary may be spelled otherwise in a text, too.
        word = unknown if i % 2 else int(generator.choice(others))
        rows.append([word, *spelling])
    rows.append(make_row_without_characters(characters, unknown))
    plain = TextEncoder(rules, vocabulary)
    for text in texts:
        rows += add_character_ids(characters, locate_text_tokens(plain, text)).tolist()
    # Each once, in this order: the ids of the vocabulary stay what they are.
    places = {row: i for i, row in enumerate(dict.fromkeys(map(tuple, rows)))}
    return Spellings(characters, np.array([*places], np.int64), places)


def _draw_spellings(characters: Characters, generator: np.random.Generator) -> list[list[int]]:
    """Draw characters for words of all lengths. The first words include every character; the others are random."""
    known = [i for i in characters.ids if i != characters.padding]
    if not known:
        return []
    width, order = characters.width, generator.permutation(known).tolist()
    parts = [order[at : at + width] for at in range(0, len(order), width)]
    while len(parts) < _DRAWN:
        parts.append(generator.choice(known, int(generator.integers(1, width + 1))).tolist())
    return [part + [characters.padding] * (width - len(part)) for part in parts]
