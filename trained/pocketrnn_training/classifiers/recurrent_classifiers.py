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
from pocketrnn_training.classifiers.random_kernel_classifier import KernelArchitecture, KernelClassifier
from pocketrnn_training.settings.settings_of_all_runs import NO_POOLING, QRNN

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
    """The layers that all recurrent classifiers have: recurrent layers, pooling and a linear layer."""

    def _add_layers(self, architecture: Architecture | SequenceArchitecture) -> None:
        """Add the recurrent layers, the dropout and the linear layer to the module, with random weights.

        A subclass itself adds the layers that come before, such as an embedding.
        """
        self.rnn = _make_recurrent_layers(architecture)
        self.dropout = nn.Dropout(architecture.dropout)
        self.fc = nn.Linear(architecture.pooled_dim, architecture.classes)
        self._pooling, self._bidirectional = architecture.pooling, architecture.bidirectional
        self._joins_steps = architecture.cell == QRNN

    def _compute_logits(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Compute the logits of a batch from the input of the recurrent layers.

        Args:
            steps: float32 [batch, sequence, input_dim].
            lengths: int64 [batch], the number of real steps of each row; None to read padding like other steps.

        Returns:
            float32 [batch, classes]; without pooling, [batch, sequence, classes].
        """
        logits: Tensor = self.fc(self.dropout(self._compute_pooled_states(steps, lengths)))
        return logits

    def _compute_pooled_states(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Run the recurrent layers over a batch, and pool their outputs.

        Args:
            steps: float32 [batch, sequence, input_dim].
            lengths: int64 [batch], the number of real steps of each row; None to read padding like other steps.

        Returns:
            float32 [batch, directions * hidden_dim]; without pooling, [batch, sequence, directions * hidden_dim].
        """
        if self._joins_steps:
            steps = append_previous_step(steps)
        if lengths is None:
            outputs, state = self.rnn(steps)
        elif self.training and not steps.is_cuda:
            outputs, state = unpacked_layers.run_recurrent_layers_without_packing(self.rnn, steps, lengths)
        else:
            packed = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed_outputs, state = self.rnn(packed)
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True)
        return self._pool_outputs(outputs, state, lengths)

    def _pool_outputs(self, outputs: Tensor, state: Tensor | tuple[Tensor, Tensor], lengths: Tensor | None) -> Tensor:
        """Return one vector for each row: the mean or maximum of the outputs of its steps, or its final state.

        If the architecture's `pooling` is `none`, return the outputs unchanged.
        """
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

    If the architecture has a linear part, its scores are added to the logits.

    The pooling `last` takes the final hidden state of the last layer, in both directions if there are two; `mean` and
    `max` are taken over the outputs of the last layer. They leave out padding if the architecture is `packed`;
    otherwise they include it. In training on a CPU, a packed classifier computes the same without packed sequences,
    which is faster (`pocketrnn_training.classifiers.unpacked_layers`).

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
            lengths: int64 [batch], each from 1 to sequence; None if `Architecture.packed` is False, so that padding is
                read like text.
            shift: float32 [batch, sequence, embedding_dim], added to the embeddings in adversarial training; None to
                add nothing.

        Returns:
            float32 [batch, classes]; without pooling, [batch, sequence, classes].

        Raises:
            ValueError: `Architecture.packed` is True and `lengths` is None, or it is False and `lengths` are given.

        Example:
            >>> classifier(torch.tensor([[5, 7], [3, 1]]), torch.tensor([2, 1])).shape    # packed, with 4 classes
            torch.Size([2, 4])
        """
        if self.architecture.packed and lengths is None:
            raise ValueError(
                "this classifier packs its sequences: also give `lengths`, the number of tokens of each row"
            )
        if lengths is not None and not self.architecture.packed:
            raise ValueError("this classifier does not pack its sequences: leave out the argument `lengths`")
        embedded = self.embedding(tokens)
        if shift is not None:
            embedded = embedded + shift
        logits = self._compute_logits(self._drop_embedding_dimensions(embedded), lengths)
        if self.linear is None or lengths is None:
            return logits
        scores: Tensor = self.linear(tokens, lengths)
        return logits + scores

    def _drop_embedding_dimensions(self, embedded: Tensor) -> Tensor:
        """In training mode, set random dimensions of a text's embeddings to zero, the same ones at all of its steps."""
        if not (self.training and self.architecture.dropout):
            return embedded
        ones = embedded.new_ones(embedded.size(0), 1, embedded.size(2))
        return embedded * dropout(ones, _OF_EMBEDDINGS * self.architecture.dropout)


class PairClassifier(RecurrentClassifier):
    """A recurrent classifier of pairs of texts: the same layers read both texts, and a linear layer compares them.

    The linear layer reads the pooled states u and v of the two texts, |u - v| and u * v (Conneau et al. 2017,
    "Supervised learning of universal sentence representations from natural language inference data"). The embedding of
    a token also says whether the other text has the token, too: this raises the accuracy on SICK's validation rows from
    77.0 % to 83.6 % (docs/training-measurements.md).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        # These rows are added to the embeddings of tokens that the other text lacks, and of those that it has.
        self.in_other = nn.Parameter(torch.zeros(2, architecture.embedding_dim))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of pairs of texts, where the two texts of a pair are joined to one row.

        Args:
            tokens: int64 [batch, sequence]; a row is the ids of the first text, one negative id, and the ids of the
                second text.
            lengths: int64 [batch], the length of each row, including the negative id.
            shift: must be None; it is only for classifiers of single texts.

        Returns:
            float32 [batch, classes].

        Raises:
            ValueError: `lengths` is None, or `shift` is not None.
        """
        if lengths is None or shift is not None:
            raise ValueError("a classifier of pairs of texts needs `lengths`, and does not take `shift`: leave it out")
        return self.compare(*_split_rows_into_first_and_second_texts(tokens, lengths, self.architecture.padding_id))

    def compare(self, first: Tensor, second: Tensor, first_lengths: Tensor, second_lengths: Tensor) -> Tensor:
        """Compute the logits of a batch of pairs, given their first texts and their second texts as two batches.

        Args:
            first: int64 [batch, sequence], the first texts.
            second: int64 [batch, other sequence], the second texts.
            first_lengths: int64 [batch], the number of tokens of each first text, at least 1.
            second_lengths: int64 [batch], the number of tokens of each second text, at least 1.

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
        """Compute the pooled states of one text of each pair.

        The embedding of each token also says whether the other text of the pair has this token.

        Args:
            tokens: int64 [batch, sequence], the text to read.
            lengths: int64 [batch].
            other_tokens: int64 [batch, other sequence], the other text of each pair.
            other_lengths: int64 [batch].

        Returns:
            float32 [batch, directions * hidden_dim].
        """
        is_real = torch.arange(other_tokens.size(1), device=other_tokens.device) < other_lengths.unsqueeze(1)
        same = (tokens.unsqueeze(2) == other_tokens.unsqueeze(1)) & is_real.unsqueeze(1)
        embedded = self.embedding(tokens) + torch.where(
            same.any(dim=2).unsqueeze(2), self.in_other[1], self.in_other[0]
        )
        return self._compute_pooled_states(self._drop_embedding_dimensions(embedded), lengths)


def _split_rows_into_first_and_second_texts(
    tokens: Tensor, lengths: Tensor, padding_id: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split rows of two texts, which a negative id separates, into a batch of first and a batch of second texts.

    Args:
        tokens: int64 [batch, sequence].
        lengths: int64 [batch], the length of each row, including the negative id.
        padding_id: the id that pads the results.

    Returns:
        The first texts and the second texts, int64 [batch, longest text] each; then the lengths of the first and of the
        second texts, int64 [batch] each.
    """
    first_lengths = (tokens < 0).int().argmax(dim=1)
    second_lengths = lengths - first_lengths - 1

    def cut_texts(first_steps: Tensor, text_lengths: Tensor) -> Tensor:
        steps = torch.arange(int(text_lengths.max()), device=tokens.device)
        places = (first_steps.unsqueeze(1) + steps).clamp(max=tokens.size(1) - 1)
        return tokens.gather(1, places).masked_fill(steps >= text_lengths.unsqueeze(1), padding_id)

    first, second = cut_texts(torch.zeros_like(lengths), first_lengths), cut_texts(first_lengths + 1, second_lengths)
    return first, second, first_lengths, second_lengths


class SequenceClassifier(_RecurrentBase):
    """A recurrent classifier of sequences of numbers: an optional convolution, recurrent layers, pooling, linear layer.

    The convolution reads zeros before the first step of a row and after its last step, whatever values the padding has.
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
    """Build the module of an architecture, with random weights from torch's global generator."""
    if isinstance(architecture, KernelArchitecture):
        return KernelClassifier(architecture)
    if isinstance(architecture, LinearArchitecture):
        return LinearClassifier(architecture)
    if isinstance(architecture, SequenceArchitecture):
        return SequenceClassifier(architecture)
    return PairClassifier(architecture) if architecture.two_texts else RecurrentClassifier(architecture)


def get_crf_layer(module: AnyClassifier) -> CrfLayer | None:
    """Return the CRF layer of a classifier; None if it has none."""
    return module.crf if isinstance(module, RecurrentClassifier) else None


def append_previous_step(steps: Tensor) -> Tensor:
    """Append to each step the step before it: [batch, sequence, n] -> [batch, sequence, 2 * n].

    Zeros are appended to the first step.
    """
    return torch.cat([steps, pad(steps, (0, 0, 1, 0))[:, :-1]], 2)


def is_recurrent_weight(name: str) -> bool:
    """Return whether a weight of this name acts on the hidden state, such as `weight_hh_l0` and `bias_hh_l0`."""
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
    """Turn a GRU into the cell `qrnn`: set the weights that act on its hidden state to zero, and keep them so."""
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
    """The trainable scores of a CRF: for each label after each other label, and for each first and each last label.

    Its sequences are the words of a sentence; the logits of a word are those of its first piece.
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
        """Set the scores before training: a very low score for forbidden orders of labels, and 0 for all other orders.

        Args:
            forbidden: bool [1 + classes, classes]. Row 0 says for each label whether the first word cannot have it; row
                1 + i says for each label whether it cannot follow label i.
        """
        scores = torch.from_numpy(forbidden) * _RULED_OUT
        with torch.no_grad():
            self.start.copy_(scores[0])
            self.transitions.copy_(scores[1:])

    def compute_summed_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the negative log probability of the correct labels, summed over sentences; float32 [].

        Args:
            logits: float32 [batch, sequence, classes].
            targets: int64 [batch, sequence], the correct labels; a step with a negative target is skipped. Each row has
                at least one label.
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
        return (self._compute_log_partition_of_label_sequences(logits, is_word) - scores).sum()

    def _compute_log_partition_of_label_sequences(self, logits: Tensor, is_word: Tensor) -> Tensor:
        """Compute the log partition function: the logsumexp of the scores of all label sequences, float32 [batch].

        Args:
            logits: float32 [batch, words, classes].
            is_word: bool [batch, words], False for padding after the last word.
        """
        sums = logits[:, 0] + self.start
        for i in range(1, logits.size(1)):
            longer = (sums.unsqueeze(2) + self.transitions).logsumexp(1) + logits[:, i]
            sums = torch.where(is_word[:, i : i + 1], longer, sums)
        return (sums + self.end).logsumexp(1)

    def decode_words_as_log_probabilities(self, logits: Tensor, word_counts: npt.NDArray[np.int64]) -> Tensor:
        """Decode the label of each word with the CRF, and return log probabilities whose argmax is the decoded label.

        If the CRF makes another label of a word likelier than the decoded one, their probabilities are swapped.

        Args:
            logits: float32 [words of all sentences, classes].
            word_counts: int64 [sentences], the number of words of each sentence.

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
