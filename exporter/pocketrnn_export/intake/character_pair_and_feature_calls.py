"""Call a module of texts with features, of two texts, or of words and characters on rows of ids.

All checks call a module with rows of ids. So a text with its features is a row of ids: a mark for each feature
(`pocketrnn.text.features_beside_text`), and then the ids. A row without marks, as in all random batches, has features
that are drawn by its first id, so that rows differ in them, and a row has the same features in every batch.

Pairs are rows of ids, too. In a row with a mark (`pocketrnn.text.pairs`) the first text is before the mark, and the
second after it. A row without one, as in all random batches, is split at a place that depends only on its length; a row
of one id is both texts. For a module of words and characters, each id stands for a word with its characters
(`vocabularies/spelled_word_ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.text.features_beside_text import (
    Category,
    Features,
    Number,
    encode_numbers_as_negative_ids,
    separate_features_from_ids,
)
from pocketrnn_export.comparing.proof_inputs import choose_split_position
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# Drawn numbers are whole multiples of 1 / _STEPS, from -2 to 2.
_STEPS: Final = 1000


@dataclass(frozen=True)
class NumberInRange(Number):
    """A feature that is a number, with the range from which its random numbers are drawn.

    Attributes:
        least, most: the ends of the range.
    """

    least: float = -2.0
    most: float = 2.0


@dataclass(frozen=True)
class FeatureCall:
    """A call that takes (module, tokens, lengths), and calls another function with (module, tokens, lengths,
    features).

    Attributes:
        wrapped: the wrapped call.
        features: the features.
    """

    wrapped: Callable[[nn.Module, Tensor, Any, Mapping[str, Tensor]], Any]
    features: Features

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Any) -> Any:
        """Return the module's answer to rows of ids that contain texts and their features."""
        tokens, lengths, numbers = self.split_rows(tokens, lengths)
        return self.call_module_with_features(module, tokens, lengths, numbers)

    def call_module_with_features(self, module: nn.Module, tokens: Tensor, lengths: Any, numbers: Tensor) -> Any:
        """Return the module's answer to texts with features. `numbers` are the features, float32 [batch, features]."""
        # A copy: forward may write into what it is given.
        return self.wrapped(module, tokens, lengths, _name_feature_columns(self.features, numbers.clone()))

    def split_rows(self, tokens: Tensor, lengths: Any) -> tuple[Tensor, Any, Tensor]:
        """Split rows of ids into the texts, their lengths, and the numbers of their features. Rows without features get
        random features."""
        if int(tokens[0, 0]) >= 0:
            return tokens, lengths, derive_features_from_first_ids(self.features, tokens)
        rows = separate_features_from_ids(tokens.detach().cpu().numpy(), np.zeros(len(tokens), np.int64))
        return torch.from_numpy(rows.tokens), lengths - len(self.features), torch.from_numpy(rows.features)


def list_feature_variables(features: Features) -> tuple[str, ...]:
    """Return the names that the user's call may use for features: the name of each feature, `features` for all numbers,
    and `categories` for all categories."""
    return (*(name for name, _ in features), "features", "categories") if features else ()


def _name_feature_columns(features: Features, numbers: Tensor) -> dict[str, Tensor]:
    """Return a dict from the names that the user's call may use to columns of `numbers`: the name of each feature,
    `features` and `categories`."""
    columns = {
        name: numbers[:, i].long() if isinstance(feature, Category) else numbers[:, i]
        for i, (name, feature) in enumerate(features)
    }
    ids = [columns[name] for name, feature in features if isinstance(feature, Category)]
    plain = [columns[name] for name, feature in features if not isinstance(feature, Category)]
    columns["features"] = numbers if not ids else torch.stack(plain, 1) if plain else numbers[:, :0]
    if ids:
        columns["categories"] = torch.stack(ids, 1)
    return columns


def derive_features_from_first_ids(features: Features, tokens: Tensor) -> Tensor:
    """Make features for texts, float32 [batch, features]. They are computed from the first id of each text, so that
    equal texts get equal features.

    Args:
        features: the features' names and kinds.
        tokens: int64 [batch, sequence], without ids that encode features.
    """
    return torch.from_numpy(draw_feature_numbers(features, tokens[:, 0].detach().cpu().numpy()))


def draw_feature_numbers(features: Features, row_keys: Any) -> Any:
    """Draw the features of rows, float32 [rows, features]. `row_keys` has a whole number for each row, which decides
    the features of the row, so that equal numbers give equal features."""
    drawn = np.empty((len(row_keys), len(features)), np.float32)
    for i, (_, feature) in enumerate(features):
        mixed = _mix_bits(row_keys.astype(np.uint64) + np.uint64(1_000_003 * (i + 1)))
        if isinstance(feature, Category):
            drawn[:, i] = np.array(feature.ids, np.float32)[(mixed % np.uint64(len(feature.ids))).astype(np.int64)]
        else:
            drawn[:, i] = (mixed % np.uint64(4 * _STEPS + 1)).astype(np.float32) / _STEPS - 2
            if isinstance(feature, NumberInRange):
                drawn[:, i] = feature.least + (drawn[:, i] + 2) / 4 * (feature.most - feature.least)
    return drawn


def _mix_bits(keys: Any) -> Any:
    """Mix the bits of whole numbers so that the results of neighbouring numbers look unrelated, by splitmix64 (Steele,
    Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))


def add_feature_ids(tokens: Tensor, lengths: Tensor, numbers: Any) -> tuple[Tensor, Tensor]:
    """Put the features of each text, encoded as negative ids, before its tokens. Return the longer rows and their
    lengths.

    Args:
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].
        numbers: the features, float32 [batch, features].
    """
    marks = torch.from_numpy(encode_numbers_as_negative_ids(np.asarray(numbers, np.float32)))
    return torch.cat([marks, tokens], 1), lengths + marks.shape[1]


# The names of the two texts in a line that calls a module, and of their lengths.
PAIR_NAMES = ("first", "second", "first_lengths", "second_lengths")


@dataclass(frozen=True)
class PairCall:
    """A call that takes (module, tokens, lengths), and calls another function with (module, first, second,
    first_lengths, second_lengths)."""

    wrapped: Callable[[nn.Module, Tensor, Tensor, Any, Any], Any]

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        """Return the module's answer to rows of ids that contain pairs."""
        return self.wrapped(module, *split_pairs(tokens, lengths))


def split_pairs(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split each row into its two texts. Return the first texts, the second texts, and the lengths of each. All first
    texts are padded to the longest of them, and so are all second texts.

    Args:
        tokens: int64 [pairs, sequence].
        lengths: int64 [pairs], the number of ids of each row before the padding.

    Returns:
        int64 [pairs, longest first], int64 [pairs, longest second], and int64 [pairs] of each.
    """
    rows, whole = tokens.detach().cpu().tolist(), lengths.tolist()
    marks = [next((i for i, number in enumerate(row) if number < 0), None) for row in rows]
    shortest = whole.index(min(whole))
    padding_id = rows[shortest][-1] if marks[0] is None else ~rows[0][marks[0]]
    firsts = [choose_split_position(n) if at is None else at for at, n in zip(marks, whole, strict=True)]
    starts = [0 if n == 1 else k if at is None else k + 1 for at, k, n in zip(marks, firsts, whole, strict=True)]
    seconds = [n - start for n, start in zip(whole, starts, strict=True)]
    first = _slice_rows(tokens, [0] * len(rows), firsts, padding_id)
    second = _slice_rows(tokens, starts, seconds, padding_id)
    return first, second, torch.tensor(firsts), torch.tensor(seconds)


def _slice_rows(tokens: Tensor, starts: list[int], lengths: list[int], padding_id: int) -> Tensor:
    """Return a part of each row, followed by padding. The part begins at the row's index in `starts` and has the row's
    number of ids in `lengths`."""
    width = max(lengths)
    if len(set(starts)) == 1 and min(lengths) == width:
        return tokens[:, starts[0] : starts[0] + width].contiguous()
    across = torch.arange(width)
    places = (torch.tensor(starts)[:, None] + across).clamp(max=tokens.shape[1] - 1)
    inside = across < torch.tensor(lengths)[:, None]
    return torch.where(inside, torch.gather(tokens, 1, places), torch.full((), padding_id))


# The name of the characters in a line that calls a module.
CHARACTERS: Final = "characters"


@dataclass(frozen=True)
class CharacterCall:
    """A call that takes (module, tokens, lengths), and calls another function with (module, tokens, lengths,
    characters).

    Attributes:
        wrapped: the wrapped call.
        spellings: what ids stand for.
    """

    wrapped: Callable[[nn.Module, Tensor, Any, Tensor], Any]
    spellings: Spellings

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Any) -> Any:
        """Return the module's answer to rows of ids. Each id stands for a word with its characters."""
        words, characters = torch.from_numpy(self.spellings.words), torch.from_numpy(self.spellings.spelled)
        return self.wrapped(module, words[tokens], lengths, characters[tokens])
