"""Run recurrent layers without memory: each step starts from the initial state. One matrix product then computes all
steps.

The effect of the number of tokens or texts on forward does not depend on the states of its layers. So a module and its
program can be compared at hundreds of lengths: a bidirectional GRU(64 -> 96) takes a ninth of its time for 512 tokens.
If the two differ, the real layers are run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import linear

from pocketrnn_export.torch_internals import FunctionMode

_stateless: ContextVar[bool] = ContextVar("stateless", default=False)
# The equations of one step: (x @ w + bias [n, gates * hidden], h @ r + bias [n, gates * hidden], states before the step
# [n, hidden] each) -> the states after the step.
StepEquations = Callable[[Tensor, Tensor, list[Tensor]], list[Tensor]]


def are_layers_memoryless() -> bool:
    """Return whether `use_memoryless_layers` is active. If it is, recurrent layers start each step from the initial
    state."""
    return _stateless.get()


@contextlib.contextmanager
def use_memoryless_layers() -> Iterator[None]:
    """While the block runs, recurrent layers start each step from the initial state instead of the state before. This
    holds for `nn.RNN`, `nn.LSTM`, `nn.GRU` and `pocketrnn::recurrence`. A layer that is called in another way, such as
    in TorchScript, keeps its memory."""
    before = _stateless.set(True)
    try:
        with _MemorylessLayers():
            yield
    finally:
        _stateless.reset(before)


def _compute_gru_step(input_gates: Tensor, recurrent_gates: Tensor, states: list[Tensor]) -> list[Tensor]:
    """Return a list of one tensor: the state of a GRU after one step.

    Args:
        input_gates: the products of the input and its weights, with the bias, [n, 3 * hidden], in torch's order r, z,
            n.
        recurrent_gates: the products of the state before the step and the recurrent weights, with the bias, in the same
            form.
        states: a list of the state before the step, [n, hidden].
    """
    given_r, given_z, given_n = input_gates.chunk(3, 1)
    kept_r, kept_z, kept_n = recurrent_gates.chunk(3, 1)
    update = torch.sigmoid(given_z + kept_z)
    return [(1 - update) * torch.tanh(given_n + torch.sigmoid(given_r + kept_r) * kept_n) + update * states[0]]


def _compute_lstm_step(input_gates: Tensor, recurrent_gates: Tensor, states: list[Tensor]) -> list[Tensor]:
    """Return the hidden state and the cell state of an LSTM after one step.

    Args:
        input_gates: the products of the input and its weights, with the bias, [n, 4 * hidden], in torch's order i, f,
            g, o.
        recurrent_gates: the products of the hidden state before the step and the recurrent weights, with the bias, in
            the same form.
        states: the hidden state and the cell state before the step, [n, hidden] each.
    """
    i, f, g, o = (input_gates + recurrent_gates).chunk(4, 1)
    cell = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(cell), cell]


# The equations are those of torch.nn.GRU and torch.nn.LSTM.
STEP_EQUATIONS: Final[dict[Any, StepEquations]] = {
    torch.gru: _compute_gru_step,
    torch.lstm: _compute_lstm_step,
    torch.rnn_tanh: lambda given, kept, _: [torch.tanh(given + kept)],
    torch.rnn_relu: lambda given, kept, _: [torch.relu(given + kept)],
}


class _MemorylessLayers(FunctionMode):
    """A torch function mode in which PyTorch's recurrent layers start each step from the initial state. Other functions
    run unchanged."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in STEP_EQUATIONS and not kwargs:
            answer = _run_memoryless_layer(STEP_EQUATIONS[func], args)
            if answer is not None:
                return answer
        return func(*args, **(kwargs or {}))


def _run_memoryless_layer(compute_states: StepEquations, args: tuple[Any, ...]) -> tuple[Tensor, ...] | None:
    """Run a recurrent layer in which each step starts from the initial state. Return the outputs and final states, or
    None for a layer in training mode, with projections, or without steps.

    Args:
        compute_states: the equations of one step of the layer.
        args: the arguments of `torch.gru`, `torch.lstm` or a similar function, packed or not.
    """
    if len(args) != 9:
        return None
    # (data, batch_sizes, hx, weights, ...) of packed steps, or (input, hx, weights, ..., batch_first).
    is_packed = isinstance(args[3], list | tuple)
    if is_packed:
        steps, batch_sizes, hx, weights, has_biases, layers, _dropout, train, both_ways = args
        row_of_step, last = _find_rows_and_last_entries(batch_sizes)
        shape = None
    else:
        given, hx, weights, has_biases, layers, _dropout, train, both_ways, batch_first = args
        by_time = given.transpose(0, 1) if batch_first else given
        shape = by_time.shape[:2]
        steps = by_time.reshape(shape[0] * shape[1], -1)
        row_of_step = torch.arange(shape[1]).repeat(shape[0])
        last = torch.arange(shape[1]) + (shape[0] - 1) * shape[1]
    initial = list(hx) if isinstance(hx, list | tuple) else [hx]
    a_direction = 4 if has_biases else 2
    ways = 2 if both_ways else 1
    # An LSTM with projections has a fifth weight; a layer needs at least one step.
    if train or len(weights) != a_direction * ways * layers or not len(steps):
        return None
    first = torch.arange(len(last))
    finals: list[list[Tensor]] = [[] for _ in initial]
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            i = layer * ways + way
            w, r, *biases = weights[i * a_direction : (i + 1) * a_direction]
            given_b, kept_b = biases or (None, None)
            # All steps of a row share the product of the initial state; those of a single row need no copies of it.
            kept, states = linear(initial[0][i], r, kept_b), [state[i] for state in initial]
            if len(last) > 1:
                kept, states = kept[row_of_step], [state[row_of_step] for state in states]
            new = compute_states(linear(steps, w, given_b), kept, states)
            outputs.append(new[0])
            for final, state in zip(finals, new, strict=True):
                final.append(state[first if way else last])
        steps = torch.cat(outputs, 1)
    if shape is not None:
        steps = steps.reshape(*shape, -1)
        steps = steps.transpose(0, 1) if batch_first else steps
    return (steps, *(torch.stack(final) for final in finals))


def _find_rows_and_last_entries(batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return two index tensors for the data of a PackedSequence with these batch sizes: the batch row of each entry,
    and the index of the last entry of each row."""
    rows = torch.arange(int(batch_sizes[0]))
    is_there = batch_sizes[:, None] > rows
    begins = batch_sizes.cumsum(0) - batch_sizes
    return is_there.nonzero()[:, 1], begins[is_there.sum(0) - 1] + rows
