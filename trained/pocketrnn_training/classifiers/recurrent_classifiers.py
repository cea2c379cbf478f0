"""The modules of recurrent classifiers: of texts, of pairs of texts, and of sequences of numbers; also the conditional
random field (CRF) over the labels of a sentence's words.

A CRF is trained together with the layers below it. Lafferty, McCallum and Pereira, "Conditional random fields", 2001.
The runtime decodes: `pocketrnn.bundle.crf`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.bundle.crf import Crf
from pocketrnn_training.classifiers import unpacked_layers
from pocketrnn_training.classifiers.architecture import AnyArchitecture, Architecture, SequenceArchitecture
from pocketrnn_training.classifiers.linear_classifier import LinearArchitecture, LinearClassifier, LinearScores
from pocketrnn_training.classifiers.random_kernels import KernelArchitecture, KernelClassifier
from pocketrnn_training.settings.base_settings import NO_POOLING, QRNN

__all__ = [
    "AnyClassifier",
    "CrfLayer",
    "PairClassifier",
    "RecurrentClassifier",
    "SequenceClassifier",
    "append_previous_step",
    "build_classifier",
    "get_crf_layer",
    "is_recurrent_weight",
]

# All steps of a text lose the same dimensions of the embeddings. Because of this, embeddings need less dropout than a
# state.
_OF_EMBEDDINGS: Final = 0.6


class _RecurrentBase(nn.Module):
    """The base class of the recurrent classifiers: recurrent layers, pooling and a linear layer."""

    def _add_layers(self, architecture: Architecture | SequenceArchitecture) -> None:
        """Make the recurrent layers and the linear layer with random weights. A subclass makes the layers before
        them."""
        self.rnn = _make_recurrent_layers(architecture)
        self.dropout = nn.Dropout(architecture.dropout)
        self.fc = nn.Linear(architecture.pooled_dim, architecture.classes)
        self._pooling, self._bidirectional = architecture.pooling, architecture.bidirectional
        self._joins_steps = architecture.cell == QRNN

    def _compute_logits(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Compute the logits [batch, classes] of steps [batch, sequence, input_dim].

        Without pooling, they are [batch, sequence, classes].
        """
        logits: Tensor = self.fc(self.dropout(self._compute_pooled_states(steps, lengths)))
        return logits

    def _compute_pooled_states(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Compute the pooled states [batch, directions * hidden_dim] of steps.

        Without pooling, they are [batch, sequence, ...].
        """
        if self._joins_steps:
            steps = append_previous_step(steps)
        if lengths is None:
            outputs, state = self.rnn(steps)
        elif self.training and not steps.is_cuda:
            outputs, state = unpacked_layers.run_layers(self.rnn, steps, lengths)
        else:
            packed = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed_outputs, state = self.rnn(packed)
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True)
        return self._pool_outputs(outputs, state, lengths)

    def _pool_outputs(self, outputs: Tensor, state: Tensor | tuple[Tensor, Tensor], lengths: Tensor | None) -> Tensor:
        """Pool the outputs of all steps of each row, or take its final state."""
        if self._pooling == NO_POOLING:
            return outputs
        if self._pooling == "last":
            hidden = state[0] if isinstance(state, tuple) else state
            return torch.cat((hidden[-2], hidden[-1]), dim=1) if self._bidirectional else hidden[-1]
        if self._pooling == "mean":
            # After the end of a row the outputs of a packed sequence are zero, so that this sums the real steps.
            return outputs.mean(dim=1) if lengths is None else outputs.sum(dim=1) / lengths.unsqueeze(1)
        if lengths is not None:
            steps = torch.arange(outputs.size(1), device=outputs.device)
            outputs = outputs.masked_fill((steps >= lengths.unsqueeze(1)).unsqueeze(2), float("-inf"))
        return outputs.amax(dim=1)


class RecurrentClassifier(_RecurrentBase):
    """A recurrent classifier of texts: an embedding, recurrent layers, pooling and a linear layer.

    Optionally, the scores of a linear part are added.

    Pooling `last` takes the final hidden state of the last layer (of both directions, if there are two); `mean` and
    `max` are over the steps of the last layer. A packed classifier pools the real steps of each row; one that is not
    packed pools all steps of the batch, padding included.

    While it trains on a CPU, a packed classifier computes the same without packing
    (`pocketrnn_training.classifiers.unpacked_layers`).

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
        self.embedding = nn.Embedding(architecture.vocabulary_size, architecture.embedding_dim)
        self._add_layers(architecture)
        self.linear: LinearScores | None = None
        if architecture.pairs:
            self.linear = LinearScores(architecture.linear_only_architecture)
        self.crf: CrfLayer | None = CrfLayer(architecture.classes) if architecture.crf else None

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch.

        Args:
            tokens: int64 [batch, sequence].
            lengths: int64 [batch], each from 1 to sequence; None for a classifier that reads padding like text
                (`Architecture.packed` is False).
            shift: float32 [batch, sequence, embedding_dim], added to the embeddings; for adversarial training.

        Returns:
            float32 [batch, classes]; without pooling, [batch, sequence, classes].

        Raises:
            ValueError: lengths are missing, or are given to a classifier that is not packed.

        Example:
            >>> classifier(torch.tensor([[5, 7], [3, 1]]), torch.tensor([2, 1])).shape    # packed, with 4 classes
            torch.Size([2, 4])
        """
        if self.architecture.packed and lengths is None:
            raise ValueError("this classifier packs its sequences: also give lengths, how many tokens each text has")
        if lengths is not None and not self.architecture.packed:
            raise ValueError("this classifier does not pack its sequences: leave lengths out")
        embedded = self.embedding(tokens)
        if shift is not None:
            embedded = embedded + shift
        logits = self._compute_logits(self._drop_embedding_dimensions(embedded), lengths)
        if self.linear is None or lengths is None:
            return logits
        scores: Tensor = self.linear(tokens, lengths)
        return logits + scores

    def _drop_embedding_dimensions(self, embedded: Tensor) -> Tensor:
        """While training, set random dimensions of the embeddings to zero: the same ones at all steps of a text."""
        if not (self.training and self.architecture.dropout):
            return embedded
        ones = embedded.new_ones(embedded.size(0), 1, embedded.size(2))
        return embedded * dropout(ones, _OF_EMBEDDINGS * self.architecture.dropout)


class PairClassifier(RecurrentClassifier):
    """A recurrent classifier of two texts. The same layers read both texts, and their pooled states are compared.

    The linear layer reads the states u and v of both texts, |u - v| and u * v (Conneau et al. 2017, "Supervised
    learning of universal sentence representations from natural language inference data"). The embedding of a token says
    too whether the other text has the token: the accuracy on SICK's validation rows is 83.6 % with that, and 77.0 %
    without (docs/training-measurements.md).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        # These rows are added to the embeddings of tokens that the other text lacks, and of those that it has.
        self.in_other = nn.Parameter(torch.zeros(2, architecture.embedding_dim))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of pairs of texts. Each pair is one row (`pocketrnn.text.pairs`).

        Args:
            tokens: int64 [batch, sequence]: the ids of the first text, a negative id that separates the texts, and the
                ids of the second text.
            lengths: int64 [batch], the length of each row, with the separator.
            shift: must be None; it is only for classifiers of one text.

        Returns:
            float32 [batch, classes].

        Raises:
            ValueError: lengths are missing, or a shift is given.
        """
        if lengths is None or shift is not None:
            raise ValueError("a classifier of two texts needs lengths, but does not take a shift")
        return self.compare(*_split_pairs(tokens, lengths, self.architecture.padding_id))

    def compare(self, first: Tensor, second: Tensor, first_lengths: Tensor, second_lengths: Tensor) -> Tensor:
        """Compute the logits of a batch of pairs, from the first and the second texts.

        Args:
            first: int64 [batch, sequence], the first texts.
            second: int64 [batch, other sequence], the second texts.
            first_lengths: int64 [batch], each from 1.
            second_lengths: int64 [batch], each from 1.

        Returns:
            float32 [batch, classes].
        """
        u = self._compute_pooled_states_beside_other(first, first_lengths, second, second_lengths)
        v = self._compute_pooled_states_beside_other(second, second_lengths, first, first_lengths)
        logits: Tensor = self.fc(self.dropout(torch.cat((u, v, (u - v).abs(), u * v), dim=1)))
        return logits

    def _compute_pooled_states_beside_other(
        self, tokens: Tensor, lengths: Tensor, other_tokens: Tensor, other_lengths: Tensor
    ) -> Tensor:
        """Compute the pooled states of one text of each pair. The embedding of each token also says whether the other
        text has this token."""
        is_real = torch.arange(other_tokens.size(1), device=other_tokens.device) < other_lengths.unsqueeze(1)
        same = (tokens.unsqueeze(2) == other_tokens.unsqueeze(1)) & is_real.unsqueeze(1)
        embedded = self.embedding(tokens) + torch.where(
            same.any(dim=2).unsqueeze(2), self.in_other[1], self.in_other[0]
        )
        return self._compute_pooled_states(self._drop_embedding_dimensions(embedded), lengths)


def _split_pairs(tokens: Tensor, lengths: Tensor, padding_id: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split rows of pairs, int64 [batch, sequence]; return the first texts, the second texts, and the lengths of
    both."""
    first_lengths = (tokens < 0).int().argmax(dim=1)
    second_lengths = lengths - first_lengths - 1

    def cut_texts(first_steps: Tensor, text_lengths: Tensor) -> Tensor:
        steps = torch.arange(int(text_lengths.max()), device=tokens.device)
        places = (first_steps.unsqueeze(1) + steps).clamp(max=tokens.size(1) - 1)
        return tokens.gather(1, places).masked_fill(steps >= text_lengths.unsqueeze(1), padding_id)

    first, second = cut_texts(torch.zeros_like(lengths), first_lengths), cut_texts(first_lengths + 1, second_lengths)
    return first, second, first_lengths, second_lengths


class SequenceClassifier(_RecurrentBase):
    """A recurrent classifier of sequences of numbers.

    It has an optional convolution, then recurrent layers, pooling and a linear layer.

    Pooling and packing are as in `RecurrentClassifier`. The convolution reads zeros before the first step of a row and
    after its last, whatever the padding holds.
    """

    def __init__(self, architecture: SequenceArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._add_layers(architecture)
        a = architecture
        self.convolution: nn.Conv1d | None = None
        if a.convolution:
            self.convolution = nn.Conv1d(
                a.channels, a.filters, a.convolution, stride=a.stride, padding=a.convolution // 2
            )

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Args:
            samples: float32 [batch, time, channels].
            lengths: int64 [batch], each from 1 to time.

        Returns:
            float32 [batch, classes].
        """
        if self.convolution is None:
            return self._compute_logits(samples, lengths)
        steps = torch.arange(samples.size(1), device=samples.device)
        samples = samples.masked_fill((steps >= lengths.unsqueeze(1)).unsqueeze(2), 0.0)
        filtered = torch.relu(self.convolution(samples.transpose(1, 2))).transpose(1, 2)
        return self._compute_logits(filtered, (lengths - 1) // self.architecture.stride + 1)


AnyClassifier = RecurrentClassifier | LinearClassifier | SequenceClassifier | KernelClassifier


def build_classifier(architecture: AnyArchitecture) -> AnyClassifier:
    """Build the module of an architecture with random weights, which torch's global generator draws."""
    if isinstance(architecture, KernelArchitecture):
        return KernelClassifier(architecture)
    if isinstance(architecture, LinearArchitecture):
        return LinearClassifier(architecture)
    if isinstance(architecture, SequenceArchitecture):
        return SequenceClassifier(architecture)
    return PairClassifier(architecture) if architecture.two_texts else RecurrentClassifier(architecture)


def get_crf_layer(module: AnyClassifier) -> CrfLayer | None:
    """Return the CRF of a module; None without a CRF."""
    return module.crf if isinstance(module, RecurrentClassifier) else None


def append_previous_step(steps: Tensor) -> Tensor:
    """Append to each step the step before it: [batch, sequence, n] -> [batch, sequence, 2 * n].

    Zeros are appended to the first step.
    """
    return torch.cat([steps, pad(steps, (0, 0, 1, 0))[:, :-1]], 2)


def is_recurrent_weight(name: str) -> bool:
    """Return whether a weight of this name multiplies the state of the step before, or is the bias of that product."""
    return "_hh_" in name


# The torch module of each cell.
_LAYERS: Final[Mapping[str, Callable[..., nn.RNNBase]]] = {
    "rnn_tanh": partial(nn.RNN, nonlinearity="tanh"),
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    QRNN: nn.GRU,
}


def _make_recurrent_layers(a: Architecture | SequenceArchitecture) -> nn.RNNBase:
    """Make the recurrent layers of an architecture, with random weights."""
    rnn = _LAYERS[a.cell](
        a.input_dim * (2 if a.cell == QRNN else 1),
        a.hidden_dim,
        a.layers,
        batch_first=True,
        # torch warns of dropout between layers if there is only one.
        dropout=a.dropout if a.layers > 1 else 0.0,
        bidirectional=a.bidirectional,
    )
    if a.cell == QRNN:
        _freeze_recurrent_weights(rnn)
    return rnn


def _freeze_recurrent_weights(rnn: nn.RNNBase) -> None:
    """Set the recurrent weights to zero and freeze them."""
    with torch.no_grad():
        for name, weight in rnn.named_parameters():
            if is_recurrent_weight(name):
                weight.zero_().requires_grad_(False)
            else:
                # The reset gate acts on the product of the state alone: its gradient is zero, and zeros pack well.
                weight[: rnn.hidden_size].zero_()


# The first score of an order of labels that cannot be. It is far below what logits make up for, and a probability of
# such an order is still a number above 0.
_RULED_OUT: Final = -100.0
_LEAST: Final = 1e-300


class CrfLayer(nn.Module):
    """A layer with the trainable scores of a CRF: of labels that follow each other, begin a sentence, or end it.

    A sequence consists of the words of a sentence, each represented by its first piece.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.start, self.end = nn.Parameter(torch.zeros(classes)), nn.Parameter(torch.zeros(classes))
        self.transitions = nn.Parameter(torch.zeros(classes, classes))

    @property
    def crf(self) -> Crf:
        """The scores of this layer as a `Crf` of the runtime."""
        start, end, transitions = (
            scores.detach().double().cpu().tolist() for scores in (self.start, self.end, self.transitions)
        )
        return Crf(tuple(start), tuple(end), tuple(map(tuple, transitions)), over_tokens=True)

    def forbid_orders(self, forbidden: npt.NDArray[np.bool_]) -> None:
        """Give forbidden orders of labels a very low score before the training; all other orders get the score 0.

        Args:
            forbidden: bool [1 + classes, classes]. Row 0 says which labels the first word cannot have; row 1 + i,
                which labels cannot follow label i.
        """
        scores = torch.from_numpy(forbidden) * _RULED_OUT
        with torch.no_grad():
            self.start.copy_(scores[0])
            self.transitions.copy_(scores[1:])

    def compute_summed_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the negative log probability of the right labels, summed over sentences; float32 [].

        Args:
            logits: float32 [batch, sequence, classes].
            targets: int64 [batch, sequence], the right labels; negative for a step without a label. Each row has at
                least one label.
        """
        words = (targets >= 0).sum(1)
        # The steps with a target come first, in their order.
        order = (targets < 0).byte().argsort(dim=1, stable=True)[:, : int(words.max())]
        logits = logits.float().gather(1, order.unsqueeze(2).expand(-1, -1, logits.size(2)))
        targets = targets.gather(1, order)
        is_word, labels = targets >= 0, targets.clamp_min(0)
        own = logits.gather(2, labels.unsqueeze(2)).squeeze(2)
        own[:, 1:] += self.transitions[labels[:, :-1], labels[:, 1:]]
        last = labels.gather(1, words.unsqueeze(1) - 1).squeeze(1)
        scores = (own * is_word).sum(1) + self.start[labels[:, 0]] + self.end[last]
        return (self._compute_log_sums_of_all_orders(logits, is_word) - scores).sum()

    def _compute_log_sums_of_all_orders(self, logits: Tensor, is_word: Tensor) -> Tensor:
        """Compute the log sum exp of the scores of all orders of labels, float32 [batch], by the forward algorithm."""
        sums = logits[:, 0] + self.start
        for i in range(1, logits.size(1)):
            longer = (sums.unsqueeze(2) + self.transitions).logsumexp(1) + logits[:, i]
            sums = torch.where(is_word[:, i : i + 1], longer, sums)
        return (sums + self.end).logsumexp(1)

    def decode_words_as_log_probabilities(self, logits: Tensor, word_counts: npt.NDArray[np.int64]) -> Tensor:
        """Decode the label of each word with the CRF; return the log probabilities of all labels.

        The decoded label has the largest log probability of its word, so that callers can use the result as logits. If
        another label is likelier, the probabilities of the two are exchanged.

        Args:
            logits: float32 [words of all sentences, classes].
            word_counts: int64 [sentences], the number of words of each.

        Returns:
            float32 [words of all sentences, classes].
        """
        crf, found = self.crf, []
        for part in np.split(logits.double().numpy(), np.cumsum(word_counts)[:-1]):
            answers, rows = crf.probabilities(part), np.arange(len(part))
            labels, likeliest = crf.decode_labels(part), answers.argmax(1)
            answers[rows, labels], answers[rows, likeliest] = answers[rows, likeliest], answers[rows, labels]
            found.append(answers)
        return torch.from_numpy(np.log(np.concatenate(found).clip(_LEAST)).astype(np.float32))
