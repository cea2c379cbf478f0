"""The module of a linear classifier of texts, which is a part of a recurrent classifier or stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from pocketrnn.errors import InputError
from pocketrnn_training.texts.linear_part import compute_hash_codes_for_token_pairs

__all__ = [
    "CODES_OF_JOINTS",
    "LINEAR",
    "SIZES",
    "LinearArchitecture",
    "LinearClassifier",
    "LinearScores",
    "check_pair_and_joint_table_rows",
]

# The prefix of the names of the linear part's weights.
LINEAR: Final = "linear."
CODES_OF_JOINTS: Final = f"{LINEAR}joint_codes"
SIZES: Final = f"{LINEAR}sizes"
_MOST_PAIRS: Final = 1 << 24


def check_pair_and_joint_table_rows(pair_rows: int, joint_rows: int) -> None:
    """Check the numbers of rows of two weight tables of a linear part: those of its settings `pairs` and `joints`.

    Args:
        pair_rows: the rows of the table of pairs of tokens; 0 for no table.
        joint_rows: the rows of the table of joints, the characters where two pieces of words meet; 0 for no table.

    Raises:
        InputError: a number is negative, 1 or too large; or there is a table of joints, but no table of pairs.
    """
    for name, rows in (("pairs", pair_rows), ("joints", joint_rows)):
        if not 0 <= rows <= _MOST_PAIRS or rows == 1:
            raise InputError(
                f"`{name}` is {rows}, but it must be 0 or from 2 to {_MOST_PAIRS:,}: it is the number of rows of a "
                "table of the linear part.",
                f"Set `{name}` to 0 for no such table, or to a number in this range.",
            )
    if joint_rows and not pair_rows:
        raise InputError(
            f"`joints` is {joint_rows} (weights for the characters where two pieces of words meet), but `pairs` is 0 "
            "(no weights for pairs of tokens). The first kind of weights needs the second.",
            "Set `joints` to 0, or set `pairs` to 2 or more.",
        )


@dataclass(frozen=True)
class LinearArchitecture:
    """The sizes of the weights of a classifier that has only a linear part.

    Attributes:
        vocabulary_size: the rows of the table of tokens.
        classes: the number of logits.
        padding_id: the token id that fills the rows of a batch.
        pairs: the rows of the table of pairs of tokens; 0 for no such table.
        joints: the rows of the table of the characters where two pieces of words meet; 0 for no such table.

    Raises:
        InputError: a value is out of its range.
    """

    # Whether each row is read by its length.
    packed: ClassVar[bool] = True

    vocabulary_size: int
    classes: int
    padding_id: int
    pairs: int
    joints: int = 0

    def __post_init__(self) -> None:
        check_pair_and_joint_table_rows(self.pairs, self.joints)
        if self.classes < 2:
            raise InputError(f"`classes` is {self.classes}, but it must be 2 or more.", "Give the number of classes.")
        if not 0 <= self.padding_id < self.vocabulary_size:
            raise InputError(
                f"`padding_id` is {self.padding_id}, but it must be at least 0 and less than {self.vocabulary_size}, "
                "the number of tokens.",
                "Set `padding_id` to the id of a token of the vocabulary.",
            )

    @property
    def padding_value(self) -> int:
        """The value that pads the rows of a batch."""
        return self.padding_id

    @property
    def summary(self) -> str:
        """A phrase for a report: how many tokens and classes the linear model has."""
        tokens = f"{self.vocabulary_size:,} tokens, their characters and pairs"
        return f"A linear model of {tokens}, {self.classes} classes"


class LinearScores(nn.Module):
    """A module that sums the scores of a text's tokens and of its pairs of neighbouring tokens for each class.

    It computes the same scores as `LinearPart`, which is made of numpy arrays.

    Attributes:
        words: float32 [vocabulary_size, classes], the scores of each token.
        pairs: float32 [pairs, classes], the scores of pairs of tokens.
        joints: float32 [joints, classes], the scores of the characters where two pieces meet; None without this table.
        bias: float32 [classes].
        joint_codes: int64 [vocabulary_size, 2]. The row in `joints` of two neighbouring tokens is the first number of
            the first token plus the second number of the second token.
        sizes: float32 [vocabulary_size, 1]. The scores of a text are divided by the square root of the sum of the sizes
            of its tokens.
    """

    codes: Tensor
    joint_codes: Tensor
    sizes: Tensor

    def __init__(self, architecture: LinearArchitecture) -> None:
        super().__init__()
        a = architecture
        self.padding_id = a.padding_id
        self.words = nn.Parameter(torch.zeros(a.vocabulary_size, a.classes))
        self.pairs = nn.Parameter(torch.zeros(a.pairs, a.classes))
        self.bias = nn.Parameter(torch.zeros(a.classes))
        self.joints: nn.Parameter | None = None
        if a.joints:
            self.joints = nn.Parameter(torch.zeros(a.joints, a.classes))
            self.register_buffer("joint_codes", torch.zeros(a.vocabulary_size, 2, dtype=torch.int64))
        self.register_buffer("sizes", torch.ones(a.vocabulary_size, 1))
        # Not stored: the codes follow from the numbers of tokens and pairs.
        self.register_buffer(
            "codes", torch.from_numpy(compute_hash_codes_for_token_pairs(a.vocabulary_size, a.pairs)), persistent=False
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Compute the score of each class for a batch of texts.

        Args:
            tokens: int64 [batch, sequence], the ids of the texts, padded.
            lengths: int64 [batch], the number of tokens of each text.

        Returns:
            float32 [batch, classes].
        """
        padding = (torch.arange(tokens.size(1), device=tokens.device) >= lengths.unsqueeze(1)).unsqueeze(2)
        before = pad(tokens, (1, 0), value=self.padding_id)[:, :-1]

        def sum_scores(row_numbers: Tensor, table: Tensor) -> Tensor:
            return embedding(row_numbers, table).masked_fill(padding, 0.0).sum(dim=1)

        def add_neighbour_codes(codes: Tensor) -> Tensor:
            return embedding(before, codes)[:, :, 0] + embedding(tokens, codes)[:, :, 1]

        scores = sum_scores(tokens, self.words) + sum_scores(add_neighbour_codes(self.codes), self.pairs)
        if self.joints is not None:
            scores = scores + sum_scores(add_neighbour_codes(self.joint_codes), self.joints)
        return self.bias + scores / sum_scores(tokens, self.sizes).sqrt()


class LinearClassifier(nn.Module):
    """A linear classifier of texts: the logits are the scores that `LinearScores` sums."""

    def __init__(self, architecture: LinearArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.linear = LinearScores(architecture)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Args:
            tokens: int64 [batch, sequence].
            lengths: int64 [batch], each from 1 to sequence.

        Returns:
            float32 [batch, classes].
        """
        scores: Tensor = self.linear(tokens, lengths)
        return scores
