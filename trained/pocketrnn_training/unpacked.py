"""The outputs and gradients of packed recurrent layers, computed without packing, which is faster on a CPU.

torch computes a PackedSequence one step at a time. A padded LSTM is one call of oneDNN, and torch's own loops do less
in each step of padded rows: an LSTM trains 3.7 times as many rows/s, a GRU 1.4 times (docs/training.md).

Forwards, padding comes after all real steps and cannot change them. Backwards, each row is reversed within its length
first, so that its padding comes last there too.

A GRU whose recurrent weights are frozen is a `qrnn`: they are zeros. All its products are made at once, and what is
left for each step is a weighted sum of the state and what was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, linear, pad

__all__ = ["read"]


def read(rnn: nn.RNNBase, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs of the last layer, as of `pad_packed_sequence`, and its final hidden states.

    Args:
        rnn: layers with `batch_first` and biases, and without projections.
        embedded: float32 [batch, sequence, embedding_dim].
        lengths: int64 [batch], each from 1 to sequence.

    Returns:
        float32 [batch, sequence, directions * hidden_dim], zero after the end of a row, and
        float32 [directions, batch, hidden_dim].
    """
    steps = torch.arange(embedded.size(1), device=embedded.device)
    last = lengths.unsqueeze(1) - 1
    reversed_steps = torch.where(steps <= last, last - steps, steps).unsqueeze(2)
    directions = 2 if rnn.bidirectional else 1
    outputs = embedded
    for layer in range(rnn.num_layers):
        if layer:
            outputs = outputs * dropout(outputs.new_ones(len(outputs), 1, outputs.size(2)), rnn.dropout, rnn.training)
        weights = rnn.all_weights[layer * directions : (layer + 1) * directions]
        read = [_one_direction(rnn, outputs, weights[0])]
        if rnn.bidirectional:
            read.append(_reverse(_one_direction(rnn, _reverse(outputs, reversed_steps), weights[1]), reversed_steps))
        outputs = torch.cat(read, dim=2) if rnn.bidirectional else read[0]
    states = [read[0].gather(1, last.unsqueeze(2).expand(-1, -1, rnn.hidden_size)).squeeze(1)]
    if rnn.bidirectional:
        states.append(read[1][:, 0])
    return outputs.masked_fill((steps > last).unsqueeze(2), 0.0), torch.stack(states)


def _reverse(values: Tensor, reversed_steps: Tensor) -> Tensor:
    return values.gather(1, reversed_steps.expand(-1, -1, values.size(2)))


def _one_direction(rnn: nn.RNNBase, values: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    weights: list[Tensor] = list(parameters)
    if rnn.mode == "GRU" and not parameters[1].requires_grad:
        return _quasi_recurrent(values, weights[0][rnn.hidden_size :], weights[2][rnn.hidden_size :])
    state = values.new_zeros(1, values.size(0), rnn.hidden_size)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    choices = (True, 1, 0.0, rnn.training, False, True)
    if rnn.mode == "LSTM":
        return torch.lstm(values, (state, state), weights, *choices)[0]
    layer = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[rnn.mode]
    return layer(values, state, weights, *choices)[0]


def _quasi_recurrent(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A GRU without recurrent weights: float32 [batch, sequence, n] -> [batch, sequence, hidden_dim].

    Its weights and biases are those of the update gate, then those of the new values: the reset gate has nothing to
    act on.
    """
    keep, new = linear(values.transpose(0, 1), weight, bias).chunk(2, dim=2)
    states: Tensor = _Scan.apply(torch.sigmoid(keep), torch.tanh(new))  # type: ignore[no-untyped-call]
    return states.transpose(0, 1)


class _Scan(torch.autograd.Function):
    """state = new + keep * (state - new), step by step from a state of zeros; all are [sequence, batch, hidden_dim].

    One `torch.lerp` a step differs from torch's GRU in the last digit. As `(state - new) * keep + new` it would be the
    same bit for bit where the products are, and takes as long where batches are large.
    """

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor) -> Tensor:
        states, state = torch.empty_like(new), torch.zeros_like(new[0])
        for kept, read, made in zip(keep.unbind(), new.unbind(), states.unbind(), strict=True):
            state = torch.lerp(read, state, kept, out=made)
        ctx.save_for_backward(keep, new, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        keep, new, states = ctx.saved_tensors
        # Of a state's gradient, `keep` goes on to the state before it.
        total = gradient.clone(memory_format=torch.contiguous_format)
        steps, kept = total.unbind(), keep.unbind()
        for step in range(len(steps) - 1, 0, -1):
            steps[step - 1].addcmul_(steps[step], kept[step])
        before = pad(states, (0, 0, 0, 0, 1, 0))[:-1]
        return total * (before - new), total * (1 - keep)
