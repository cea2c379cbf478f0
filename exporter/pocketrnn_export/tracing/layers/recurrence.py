"""PyTorch's recurrent layers in a trace, as one operator, `pocketrnn::recurrence`.

`torch.export` cannot follow `nn.RNN`, `nn.LSTM` and `nn.GRU` with a dynamic batch and sequence, nor packing at all: it
sees either thousands of unrolled steps, fixed sizes, or data-dependent shapes. ONNX has one operator for a whole layer.
It takes padded rows and their lengths and gives the results of packing: steps past a row's end do not count, the final
state is the one at its end, and the outputs past it are zeros. So while a module is traced, and only then,

- a recurrent layer runs as `pocketrnn::recurrence`, one operator a layer, its weights already in ONNX's gate order;
- `pack_padded_sequence` makes a `PackedSequence` that carries the padded, time-major tensor as its `data` and the
  lengths as its `batch_sizes`, and `pad_packed_sequence` takes them out again.

They are patched, instead of rules for the functions that PyTorch's own layers call: before `_VF._pack_padded_sequence`
the rows are sorted, which would add a TopK and two Gathers to the graph; and before `_VF.gru` the layer refuses data of
three axes, and makes a state from the first of the batch sizes, whose value a trace does not have.

Elementwise operations of a user's module on the `data` of such a PackedSequence are right; the proof in
`pocketrnn_export.proof`, which compares with the original module, refuses the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as torch_rnn

from pocketrnn.errors import ExportError
from pocketrnn_export.torch_internals import replace_function_code, replace_methods, statically_known_true
from pocketrnn_export.tracing.layers.memoryless_layers import are_layers_memoryless
from pocketrnn_export.tracing.layers.weights_in_onnx_gate_order import (
    LayerWeights,
    count_directions,
    read_layer_weights,
)
from pocketrnn_export.tracing.operators_right_for_every_size import CUT_TO_LONGEST
from pocketrnn_export.tracing.python_semantics.traced_arrays import replace_largest_length_by_width, unwrap_arrays
from pocketrnn_export.tracing.trace_session import (
    TraceSession,
    find_current_export_session,
    find_current_session,
    record_longest_is_full_width,
)


@torch.library.custom_op("pocketrnn::recurrence", mutates_args=())
def _run_recurrent_layer(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one recurrent layer in one or two directions, as ONNX's RNN, LSTM and GRU do.

    Args:
        x: float [sequence, batch, features].
        w: input weights, float [directions, gates * hidden, features], gates in ONNX's order.
        r: recurrent weights, float [directions, gates * hidden, hidden].
        b: input biases, then recurrent biases, float [directions, 2 * gates * hidden]; or None.
        lengths: int64 [batch]; None if every row has the full length.
        h0, c0: initial states, float [directions, batch, hidden]; None for zeros.
        mode: RNN_TANH, RNN_RELU, LSTM or GRU, as in `nn.RNNBase.mode`; or RNN_SIGMOID, RNN_LINEAR, GRU_RESET_BEFORE
            (the reset gate is applied before the product with the state) or GRU_LINEAR (no reset gate, and a proposed
            state that is affine in the input, as in SRU and minGRU).

    Returns:
        The outputs [sequence, batch, directions * hidden], zeros past a row's length; the final hidden state
            [directions, batch, hidden]; the final cell state of the same shape (zeros in modes other than LSTM).
    """
    if are_layers_memoryless():
        return _run_recurrent_layer_without_memory(x, w, r, b, lengths, h0, c0, mode)
    if lengths is None and mode in _WHOLE_LAYERS and len(x) > _FEW_STEPS and x.shape[1]:
        return _run_layer_by_torch_function(x, w, r, b, h0, c0, mode)
    real = None if lengths is None else (torch.arange(len(x)).unsqueeze(1) < lengths).unsqueeze(2)
    given, there = x.unbind(), None if real is None else real.unbind()
    outputs, hidden, cells = [], [], []
    for i in range(len(r)):
        h = x.new_zeros(x.shape[1], r.shape[2]) if h0 is None else h0[i]
        c = torch.zeros_like(h) if c0 is None else c0[i]
        steps: dict[int, Tensor] = {}
        for t in reversed(range(len(x))) if i else range(len(x)):
            new_h, new_c = compute_recurrent_step(given[t], h, c, w[i], r[i], None if b is None else b[i], mode)
            if there is not None:
                new_h = torch.where(there[t], new_h, h)
                new_c = torch.where(there[t], new_c, c) if mode == "LSTM" else c
            h, c = new_h, new_c
            steps[t] = h
        outputs.append(torch.stack([steps[t] for t in range(len(x))]))
        hidden.append(h)
        cells.append(c if mode == "LSTM" else torch.zeros_like(h))
    every = torch.cat(outputs, 2)
    every = every if real is None else torch.where(real, every, torch.zeros_like(every))
    return every, torch.stack(hidden), torch.stack(cells)


def _run_layer_by_torch_function(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, h0: Tensor | None, c0: Tensor | None, mode: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer whose rows all have the full length by torch's own function, such as `torch.gru`, which takes 4 ms
    instead of 10 for 400 steps. Return the outputs, the final hidden states and the final cell states.

    Args:
        x: float [sequence, batch, features].
        w, r, b: the weights, with gates in ONNX's order and a first axis of directions; b may be None.
        h0, c0: initial states, float [directions, batch, hidden]; None for zeros.
        mode: RNN_TANH, RNN_RELU, LSTM or GRU.
    """
    call, gates = _WHOLE_LAYERS[mode]
    state = (len(r), x.shape[1], r.shape[2])
    h, c = (x.new_zeros(state) if given is None else given.expand(state).contiguous() for given in (h0, c0))
    weights = []
    for i in range(len(r)):
        biases = () if b is None else b[i].chunk(2)
        weights += [torch.cat([part.chunk(len(gates))[gate] for gate in gates]) for part in (w[i], r[i], *biases)]
    states = [h, c] if mode == "LSTM" else h
    outputs, hidden, *cells = call(x, states, weights, b is not None, 1, 0.0, False, len(r) > 1, False)
    return outputs, hidden, cells[0] if cells else torch.zeros_like(hidden)


def _run_recurrent_layer_without_memory(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one recurrent layer, but start each step from the initial state instead of the state before it. Return the
    outputs, the final hidden states and the final cell states.

    Args:
        x: float [sequence, batch, features].
        w, r, b: the weights, with gates in ONNX's order and a first axis of directions; b may be None.
        lengths: int64 [batch]; None if every row has the full length.
        h0, c0: initial states, float [directions, batch, hidden]; None for zeros.
        mode: the kind of the layer, such as "GRU".
    """
    (sequence, batch, _), hidden = x.shape, r.shape[2]
    # torch multiplies steps one by one if they are not contiguous, which takes four times as long for a small layer.
    x, rows = x.contiguous(), torch.arange(batch)
    last = torch.full((batch,), sequence - 1) if lengths is None else lengths - 1
    outputs, states, cells = [], [], []
    for i in range(len(r)):
        h, c = (x.new_zeros(batch, hidden) if state is None else state[i] for state in (h0, c0))
        # All steps of a row share the product of the states.
        new_h, new_c = compute_recurrent_step(x, h, c, w[i], r[i], None if b is None else b[i], mode)
        outputs.append(new_h)
        states.append(new_h[0] if i else new_h[last, rows])
        cells.append(torch.zeros_like(states[i]) if mode != "LSTM" else new_c[0] if i else new_c[last, rows])
    steps = torch.cat(outputs, 2)
    if lengths is not None:
        steps = torch.where((torch.arange(sequence)[:, None] < lengths)[:, :, None], steps, torch.zeros_like(steps))
    return steps, torch.stack(states), torch.stack(cells)


@_run_recurrent_layer.register_fake
def _infer_shape_of_run_recurrent_layer(x: Tensor, w: Tensor, r: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    del w
    sequence, batch, _features = x.shape
    directions, _gates, hidden = r.shape
    state = (directions, batch, hidden)
    return x.new_empty((sequence, batch, directions * hidden)), x.new_empty(state), x.new_empty(state)


OPERATOR: Final = torch.ops.pocketrnn.recurrence.default


def compute_recurrent_step(
    x: Tensor, h: Tensor, c: Tensor, w: Tensor, r: Tensor, b: Tensor | None, mode: str
) -> tuple[Tensor, Tensor]:
    """Return the hidden state and the cell state of a recurrent layer after one step, in one direction.

    Args:
        x: the input, float [batch, features]; or [steps, batch, features], to compute each step from the same states.
        h, c: the hidden state and the cell state before the step, [batch, hidden]. In modes other than LSTM, c is
            returned unchanged.
        w: input weights, float [gates * hidden, features], gates in ONNX's order.
        r: recurrent weights, float [gates * hidden, hidden].
        b: input biases, then recurrent biases, float [2 * gates * hidden]; or None.
        mode: the mode of `pocketrnn::recurrence`, such as "GRU".
    """
    given, kept = (None, None) if b is None else b.chunk(2)
    inputs = nn.functional.linear(x, w, given)
    if mode.startswith("GRU"):
        z, reset, new = inputs.chunk(3, -1)
        if mode == "GRU_LINEAR":
            kept_z, _, kept_new = nn.functional.linear(h, r, kept).chunk(3, -1)
            new = new + kept_new
        elif mode == "GRU":
            kept_z, kept_reset, kept_new = nn.functional.linear(h, r, kept).chunk(3, -1)
            new = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
        else:
            weights, biases = r.chunk(3), (None,) * 3 if kept is None else kept.chunk(3)
            kept_z, kept_reset = (nn.functional.linear(h, weights[i], biases[i]) for i in range(2))
            reset_h = torch.sigmoid(reset + kept_reset) * h
            new = torch.tanh(new + nn.functional.linear(reset_h, weights[2], biases[2]))
        update = torch.sigmoid(z + kept_z)
        return (1 - update) * new + update * h, c
    gates = inputs + nn.functional.linear(h, r, kept)
    if mode == "LSTM":
        i, o, f, g = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    return _ACTIVATIONS[mode](gates), c


_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "RNN_TANH": torch.tanh,
    "RNN_RELU": torch.relu,
    "RNN_SIGMOID": torch.sigmoid,
    "RNN_LINEAR": torch.clone,
}
# torch's functions of whole layers, and the places in ONNX's order of the gates in torch's order.
_WHOLE_LAYERS: Final[dict[str, tuple[Callable[..., Any], tuple[int, ...]]]] = {
    "RNN_TANH": (torch.rnn_tanh, (0,)),
    "RNN_RELU": (torch.rnn_relu, (0,)),
    "LSTM": (torch.lstm, (0, 2, 3, 1)),
    "GRU": (torch.gru, (1, 0, 2)),
}
# For fewer steps, ordering the weights takes longer than the steps.
_FEW_STEPS: Final = 3


@contextlib.contextmanager
def run_recurrent_layers_as_one_operator(_: TraceSession) -> Iterator[None]:
    """While the block runs, `nn.RNN`, `nn.LSTM` and `nn.GRU` in the tracing thread run as one operator for each layer,
    `pocketrnn::recurrence`, also on packed sequences. Other threads still run PyTorch's own code."""
    with (
        _replace_layer_forwards_and_packing(_make_forward_that_runs_one_operator),
        take_padded_tensor_from_packed_sequence(),
    ):
        yield


def refuse_initial_states_of_other_batch_sizes(_: TraceSession) -> contextlib.AbstractContextManager[None]:
    """While the block runs, recurrent layers in the tracing thread fail for an initial state whose batch size is
    neither 1 nor that of the input.

    PyTorch checks this in Python, so a trace for TorchScript does not contain the check. A state with the example's
    sizes then reads foreign memory: `weight.new(2, x.size(0), 10)` ended the process by SIGSEGV, SIGBUS or SIGABRT.
    Here, an `expand` of the state to the batch size is traced, which fails if the sizes differ.
    """
    return _replace_layer_forwards_and_packing(_make_state_expanding_forward)


@contextlib.contextmanager
def _replace_layer_forwards_and_packing(
    make_forward: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Iterator[None]:
    """While the block runs, replace the `forward` of PyTorch's recurrent layers, and replace `pack_padded_sequence` by
    a function that keeps the padded tensor. `make_forward` takes the old `forward` and returns the new one."""
    forwards = {(layer, "forward"): make_forward(layer.forward) for layer in (nn.RNN, nn.LSTM, nn.GRU)}
    with replace_methods(forwards), keep_padded_tensor_in_packed_sequence():
        yield


def _make_state_expanding_forward(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `forward` that expands the initial states to the batch size of the input, and then calls `shipped`, the
    layer's own `forward`. It fails for states whose batch size is neither 1 nor that of the input."""

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:  # noqa: A002
        if hx is None or find_current_session() is None:
            return shipped(self, input, hx)
        if isinstance(input, torch_rnn.PackedSequence):
            batch: Any = input.batch_sizes[0]
        else:
            batch = input.shape[0 if self.batch_first else 1]

        def expand_state(state: Tensor) -> Tensor:
            return state.expand(state.shape[0], batch, state.shape[2]) if state.dim() == 3 else state

        return shipped(self, input, tuple(map(expand_state, hx)) if self.mode == "LSTM" else expand_state(hx))

    return forward


def _make_forward_that_runs_one_operator(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `forward` that runs a layer as `pocketrnn::recurrence` in a trace for torch.export. Elsewhere it calls
    `shipped`, the layer's own `forward`."""

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:  # noqa: A002
        if find_current_export_session() is None:
            return shipped(self, input, hx)
        return _run_forward_in_trace(self, input, hx)

    return forward


def _run_forward_in_trace(layer: nn.RNNBase, given: Tensor | torch_rnn.PackedSequence, hx: Any) -> tuple[Any, Any]:
    """Run an `nn.RNN`, `nn.LSTM` or `nn.GRU` in a trace, and return what its own `forward` returns: the output and the
    final states. Dropout is off, as in eval mode."""
    if isinstance(given, torch_rnn.PackedSequence):
        x, lengths = given.data, read_packed_lengths(given)
    elif given.dim() == 2:
        return _run_layer_on_one_text(layer, given, hx)
    else:
        x, lengths = (given.transpose(0, 1) if layer.batch_first else given), None
    if x.dim() != 3:
        raise ExportError(
            f"The module calls its layer {getattr(layer, '_onnx_path', '?')} with an input of {x.dim()} dimensions, "
            "but a recurrent layer takes exactly 3, or 2 for a single text.",
            "Call the layer with a tensor [batch, sequence, features], also for a single text.",
        )
    h0, c0 = hx if layer.mode == "LSTM" and hx is not None else (hx, None)
    hidden, cell = [], []
    for i in range(layer.num_layers):
        states = slice(i * count_directions(layer), (i + 1) * count_directions(layer))
        x, h, c = _run_layer_and_project(
            x,
            read_layer_weights(layer, i),
            lengths,
            None if h0 is None else h0[states],
            None if c0 is None else c0[states],
            layer.mode,
        )
        hidden.append(h)
        cell.append(c)
    if isinstance(given, torch_rnn.PackedSequence):
        if (session := find_current_export_session()) is not None:
            session.facts.record_facts(x, zero_past_end=True)
        output: Any = torch_rnn.PackedSequence(x, given.batch_sizes, given.sorted_indices, given.unsorted_indices)
    else:
        output = x.transpose(0, 1) if layer.batch_first else x
    final = torch.cat(hidden) if len(hidden) > 1 else hidden[0]
    if layer.mode != "LSTM":
        return output, final
    return output, (final, torch.cat(cell) if len(cell) > 1 else cell[0])


def _run_layer_on_one_text(layer: nn.RNNBase, steps: Tensor, hx: Any) -> tuple[Any, Any]:
    """Run a layer on one text without a batch axis, [sequence, features]. Return the output and the final states, also
    without a batch axis."""
    axis = 0 if layer.batch_first else 1
    if isinstance(hx, tuple):
        hx = tuple(state.unsqueeze(1) for state in hx)
    elif hx is not None:
        hx = hx.unsqueeze(1)
    output, final = _run_forward_in_trace(layer, steps.unsqueeze(axis), hx)
    final = tuple(state.squeeze(1) for state in final) if isinstance(final, tuple) else final.squeeze(1)
    return output.squeeze(axis), final


def _run_layer_and_project(
    x: Tensor, weights: LayerWeights, lengths: Tensor | None, h0: Tensor | None, c0: Tensor | None, mode: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer, and multiply its outputs and hidden states by its projection, if it has one. Return the outputs,
    the final hidden states and the final cell states."""
    if h0 is not None and weights.unprojection is not None and weights.unprojection_rest is not None:
        # Any state that is projected to the given one will do, such as this one.
        h0 = torch.matmul(h0, weights.unprojection) + torch.matmul(h0, weights.unprojection_rest)
    outputs, h, c = _run_recurrent_layer(x, weights.w, weights.r, weights.b, lengths, h0, c0, mode)
    if weights.projection is None:
        return outputs, h, c
    halves = outputs.chunk(len(weights.projection), dim=2)
    projected = [half @ projection for half, projection in zip(halves, weights.projection, strict=True)]
    outputs = projected[0] if len(projected) == 1 else torch.cat(projected, dim=2)
    return outputs, torch.matmul(h, weights.projection), c


# --- Packed sequences ---
# Packed sequences in a trace. The `data` of a PackedSequence is the padded, time-major tensor, and its `batch_sizes`
# are the lengths.

# PyTorch's own functions, while their code is replaced.
_shipped: dict[str, Callable[..., Any]] = {}


@contextlib.contextmanager
def keep_padded_tensor_in_packed_sequence() -> Iterator[None]:
    """While the block runs, `pack_padded_sequence` in a trace returns a PackedSequence that keeps the padded tensor as
    its data, and the lengths as its batch sizes."""
    with replace_function_code(torch_rnn.pack_padded_sequence, _pack_padded_sequence) as _shipped["pack"]:
        yield


@contextlib.contextmanager
def take_padded_tensor_from_packed_sequence() -> Iterator[None]:
    """While the block runs, `pad_packed_sequence` in a trace returns the padded tensor and the lengths that
    `keep_padded_tensor_in_packed_sequence` stored in the PackedSequence."""
    with replace_function_code(torch_rnn.pad_packed_sequence, _pad_packed_sequence) as _shipped["pad"]:
        yield


# The code of the next two functions runs with the globals of torch.nn.utils.rnn, so they import what they use.
def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:  # noqa: A002
    from pocketrnn_export.tracing.layers.recurrence import _pack_padded_in_trace

    return _pack_padded_in_trace(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from pocketrnn_export.tracing.layers.recurrence import _pad_packed_in_trace

    return _pad_packed_in_trace(sequence, batch_first, padding_value, total_length)


def _pack_padded_in_trace(padded: Tensor, lengths: Tensor | list[int], batch_first: bool, enforce_sorted: bool) -> Any:
    """Return a PackedSequence, in place of `pack_padded_sequence`, that keeps the padded time-major tensor as its data,
    and the lengths as its batch sizes. Outside of a trace, call PyTorch's function."""
    lengths, session = unwrap_arrays(lengths), find_current_export_session()
    if session is None:
        return _shipped["pack"](padded, lengths, batch_first, enforce_sorted)
    if isinstance(lengths, list | tuple):
        lengths = _convert_list_of_traced_lengths_to_tensor(lengths, padded.shape[0 if batch_first else 1])
    if not isinstance(lengths, Tensor):
        raise ExportError(
            "The module calls pack_padded_sequence with a list of plain numbers as the lengths, so the exported graph "
            "would use the lengths of one batch for all batches.",
            "Pass the lengths to pack_padded_sequence as a tensor.",
        )
    data = padded.transpose(0, 1) if batch_first else padded
    # Nothing is sorted: the rows keep their order.
    order = None if enforce_sorted else torch.arange(data.shape[1], device=data.device)
    lengths = lengths.to(torch.int64)
    # The largest of the batch sizes is the number of rows, and these may be asked for it.
    sizes = lengths.clone()
    session.facts.record_facts(sizes, lengths="batch sizes", width=data.shape[1], packed_by=lengths)
    return torch_rnn.PackedSequence(data, sizes, order, order)


def read_packed_lengths(sequence: torch_rnn.PackedSequence) -> Tensor:
    """Return the lengths of the rows of a PackedSequence that was packed in a trace."""
    session, sizes = find_current_session(), sequence.batch_sizes
    packed_by: Tensor | None = None if session is None else session.facts.find_fact(sizes).packed_by
    return sizes if packed_by is None else packed_by


def _convert_list_of_traced_lengths_to_tensor(lengths: Any, batch_size: Any) -> Any:
    """Return a list of lengths, which are tensors or symbolic sizes, as one tensor. Return any other list unchanged.

    A list of one repeated size, such as `[x.size(1)] * n`, becomes a tensor with that size for each of `batch_size`
    rows.
    """
    if not lengths or not all(isinstance(n, Tensor | torch.SymInt) for n in lengths):
        return lengths
    if isinstance(batch_size, torch.SymInt) and all(
        isinstance(n, torch.SymInt) and statically_known_true(n == lengths[0]) for n in lengths
    ):
        # One number for every row: [x.size(1) for _ in range(x.size(0))], whose loop ran only a few iterations.
        return record_longest_is_full_width(torch.full((batch_size,), lengths[0], dtype=torch.int64))
    longest = [isinstance(n, torch.SymInt) or replace_largest_length_by_width(n) is not n for n in lengths]
    tensor = torch.stack([n if isinstance(n, Tensor) else torch.full((), n, dtype=torch.int64) for n in lengths])
    return record_longest_is_full_width(tensor) if any(longest) else tensor


def _pad_packed_in_trace(
    sequence: torch_rnn.PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """Return the padded tensor and the lengths of a PackedSequence, in place of `pad_packed_sequence`. Outside of a
    trace, call PyTorch's function.

    PyTorch pads to the longest length. This is the width of the tensor that was packed, since a graph requires that
    `sequence` is the longest of the lengths that it is given. Lengths that the module counts from the tokens, or
    clamps, may all be shorter; then the tensor is cut.
    """
    session = find_current_export_session()
    if session is None:
        padded: tuple[Tensor, Tensor] = _shipped["pad"](sequence, batch_first, padding_value, total_length)
        return padded
    data, lengths = sequence.data, read_packed_lengths(sequence)
    if total_length is None:
        whole, data = data, cut_to_longest(data, lengths)
        if data is not whole and session.facts.find_fact(whole).zero_past_end:
            session.facts.record_facts(data, zero_past_end=True)
    if padding_value != 0.0 or not session.facts.find_fact(data).zero_past_end:
        steps = torch.arange(data.shape[0], device=data.device)
        real = steps.unsqueeze(1) < lengths.unsqueeze(0)
        real = real.reshape(*real.shape, *[1] * (data.dim() - 2))
        data = torch.where(real, data, torch.full((), padding_value, dtype=data.dtype))
    if total_length is not None:
        missing = total_length - data.shape[0]
        if missing < 0:
            # As PyTorch does. The condition limits the number of tokens of a graph.
            raise ValueError("Expected total_length to be at least the length of the longest sequence in input")
        data = nn.functional.pad(data, (0, 0) * (data.dim() - 1) + (0, missing), value=padding_value)
    return (data.transpose(0, 1) if batch_first else data), lengths


def cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """Return x [sequence, batch, ...], cut in a trace to the largest of the lengths by which the module packs, as
    PyTorch does.

    The longest of the lengths that a module is given equals the padded width, so nothing is cut. Lengths that the
    module counts from the tokens, or clamps, may all be shorter.
    """
    session = find_current_export_session()
    if session is None or session.facts.find_fact(lengths).whole:
        return x
    session.log.counted_lengths = True
    return CUT_TO_LONGEST(x, lengths) if session.cut_counted else x
