"""The recurrent classifiers: one module, built from an `Architecture`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.errors import InputError
from pocketrnn_training import unpacked
from pocketrnn_training.settings import CELLS, POOLINGS

__all__ = ["Architecture", "RecurrentClassifier"]

# Far more than a recurrent classifier needs, and small enough that a larger value gives an error and not a crash.
_LARGEST_DIM: Final = 65_536
_MOST_LAYERS: Final = 64
# All steps of a text lack the same numbers of the embeddings, so that they bear less of it than a state.
_OF_EMBEDDINGS: Final = 0.6


@dataclass(frozen=True)
class Architecture:
    """The shape of a classifier's weights, and what it computes with them.

    Attributes:
        cell: a name in `settings.CELLS`: Elman RNN with tanh or relu, LSTM, or GRU, as PyTorch defines them.
        vocabulary_size: the rows of the embedding.
        embedding_dim: the size of the embedding of a token.
        hidden_dim: the size of the state of one layer in one direction.
        layers: the number of stacked recurrent layers.
        bidirectional: read the text in both directions.
        dropout: the share of values set to zero while training: of the pooled state and between layers; of the
            embeddings, three fifths of this share. The same ones at all steps of a text (Gal and Ghahramani 2016).
        pooling: a name in `settings.POOLINGS`: how the states of the last layer become the input of the linear layer.
        packed: read each row by its length, so that padding is never read. Without it padding is read like text, and
            an answer depends on how much padding the row has in its batch.
        classes: the number of logits.
        padding_id: the token id that fills the rows of a batch.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> Architecture(
        ...     cell="gru", vocabulary_size=1000, embedding_dim=64, hidden_dim=32, layers=1, bidirectional=True,
        ...     dropout=0.5, pooling="max", packed=True, classes=4, padding_id=1,
        ... ).cell
        'gru'
    """

    cell: str
    vocabulary_size: int
    embedding_dim: int
    hidden_dim: int
    layers: int
    bidirectional: bool
    dropout: float
    pooling: str
    packed: bool
    classes: int
    padding_id: int

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise InputError(f"The cell {self.cell!r} is unknown.", f"Use one of: {', '.join(CELLS)}.")
        if self.pooling not in POOLINGS:
            raise InputError(f"The pooling {self.pooling!r} is unknown.", f"Use one of: {', '.join(POOLINGS)}.")
        for name in ("vocabulary_size", "embedding_dim", "hidden_dim", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}.", "Use a number from 1.")
        if max(self.embedding_dim, self.hidden_dim) > _LARGEST_DIM or self.layers > _MOST_LAYERS:
            raise InputError(
                f"{self.layers} layers of {self.embedding_dim} -> {self.hidden_dim} numbers are too large.",
                f"Use at most {_MOST_LAYERS} layers and {_LARGEST_DIM} numbers.",
            )
        if self.classes < 2:
            raise InputError(f"classes is {self.classes}.", "A classifier needs at least two.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}.", "Use a share from 0 up to, but not including, 1.")
        if not 0 <= self.padding_id < self.vocabulary_size:
            raise InputError(
                f"padding_id is {self.padding_id}, but the embedding has {self.vocabulary_size} rows.",
                "Use the id of a token of the vocabulary.",
            )


class RecurrentClassifier(nn.Module):
    """Embedding, recurrent layers, pooling, a linear layer.

    Pooling `last` takes the final hidden state of the last layer (of both directions, if there are two); `mean` and
    `max` are over the steps of the last layer. A packed classifier pools the real steps of each row; one that is not
    packed pools all steps of the batch, padding included.

    While it trains on a CPU, a packed classifier computes the same without packing (`pocketrnn_training.unpacked`).

    The weights are drawn from torch's global generator, as in every torch module.

    Example:
        >>> module = read_checkpoint(Path("reviews.checkpoint")).module
        >>> tokens, lengths = torch.tensor([[2, 3, 4], [2, 1, 1]]), torch.tensor([3, 1])
        >>> module(tokens, lengths).shape
        torch.Size([2, 2])
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        a = architecture
        self.embedding = nn.Embedding(a.vocabulary_size, a.embedding_dim)
        self.rnn = _recurrent_layers(a)
        self.dropout = nn.Dropout(a.dropout)
        self.fc = nn.Linear(a.hidden_dim * (2 if a.bidirectional else 1), a.classes)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """The logits of a batch.

        Args:
            tokens: int64 [batch, sequence].
            lengths: int64 [batch], each from 1 to sequence; for a packed classifier, and only for one.
            shift: float32 [batch, sequence, embedding_dim], added to the embeddings; for adversarial training.

        Returns:
            float32 [batch, classes].

        Raises:
            ValueError: lengths are missing, or given to a classifier that does not read them.

        Example:
            >>> classifier(torch.tensor([[5, 7], [3, 1]]), torch.tensor([2, 1])).shape    # a packed one of 4 classes
            torch.Size([2, 4])
        """
        if self.architecture.packed != (lengths is not None):
            raise ValueError("lengths are given if and only if the classifier is packed")
        embedded = self.embedding(tokens)
        if shift is not None:
            embedded = embedded + shift
        if self.training and self.architecture.dropout:
            ones = embedded.new_ones(embedded.size(0), 1, embedded.size(2))
            embedded = embedded * dropout(ones, _OF_EMBEDDINGS * self.architecture.dropout)
        if lengths is None:
            outputs, state = self.rnn(embedded)
            pooled = self._pool(outputs, state, None)
        elif self.training and not embedded.is_cuda:
            outputs, state = unpacked.read(self.rnn, embedded, lengths)
            pooled = self._pool(outputs, state, lengths)
        else:
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed_outputs, state = self.rnn(packed)
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True)
            pooled = self._pool(outputs, state, lengths)
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits

    def _pool(self, outputs: Tensor, state: Tensor | tuple[Tensor, Tensor], lengths: Tensor | None) -> Tensor:
        if self.architecture.pooling == "last":
            hidden = state[0] if isinstance(state, tuple) else state
            return torch.cat((hidden[-2], hidden[-1]), dim=1) if self.architecture.bidirectional else hidden[-1]
        if self.architecture.pooling == "mean":
            # After the end of a row the outputs of a packed sequence are zero, so that this sums the real steps.
            return outputs.mean(dim=1) if lengths is None else outputs.sum(dim=1) / lengths.unsqueeze(1)
        if lengths is not None:
            steps = torch.arange(outputs.size(1), device=outputs.device)
            outputs = outputs.masked_fill((steps >= lengths.unsqueeze(1)).unsqueeze(2), float("-inf"))
        return outputs.amax(dim=1)


def _recurrent_layers(a: Architecture) -> nn.RNN | nn.LSTM | nn.GRU:
    # torch warns of dropout between layers if there is only one.
    dropout = a.dropout if a.layers > 1 else 0.0
    if a.cell == "lstm":
        return nn.LSTM(
            a.embedding_dim, a.hidden_dim, a.layers, batch_first=True, dropout=dropout, bidirectional=a.bidirectional
        )
    if a.cell == "gru":
        return nn.GRU(
            a.embedding_dim, a.hidden_dim, a.layers, batch_first=True, dropout=dropout, bidirectional=a.bidirectional
        )
    return nn.RNN(
        a.embedding_dim,
        a.hidden_dim,
        a.layers,
        nonlinearity=a.cell.removeprefix("rnn_"),
        batch_first=True,
        dropout=dropout,
        bidirectional=a.bidirectional,
    )
