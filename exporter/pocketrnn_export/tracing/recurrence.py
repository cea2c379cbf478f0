"""PyTorch's recurrent layers and packing, seen as one operator that can be traced.

`torch.export` cannot follow `nn.RNN`, `nn.LSTM` and `nn.GRU` with a dynamic batch and sequence, nor packing at all: it
sees either thousands of unrolled steps, fixed sizes, or data-dependent shapes. ONNX has one operator for a whole layer,
which takes padded rows and their lengths and gives what packing gives: nothing past a row's end takes part, the final
state is the one at its end, and the outputs past it are zeros. So while a module is traced, and only then,

- a recurrent layer runs as `pocketrnn::recurrence`, one operator a layer, its weights already in ONNX's gate order;
- `pack_padded_sequence` makes a `PackedSequence` that carries the padded, time-major tensor as its `data` and the
  lengths as its `batch_sizes`, and `pad_packed_sequence` takes them out again.

They are patched, and not rules for the functions that PyTorch's own layers call: before `_VF._pack_padded_sequence` the
rows are sorted, which would be a TopK and two Gathers of the graph; and before `_VF.gru` its layer refuses data of
three axes, and makes a state of the first of the batch sizes, which is a value that no trace has.

Whatever a user's module does with such a PackedSequence that works element by element on `data` comes out right; the
proof in `pocketrnn_export.proof`, which compares with the untouched module, stops the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as torch_rnn

from pocketrnn.errors import ExportError
from pocketrnn_export.tracing.arrays import number_of, unwrapped
from pocketrnn_export.tracing.session import TraceSession, current, given_whole
from pocketrnn_export.tracing.stateless import is_stateless
from pocketrnn_export.tracing.torch_internals import (
    code_exchanged,
    methods_replaced,
    parameters_of,
    shipped_copy,
    statically_known_true,
    weight_names,
)
from pocketrnn_export.tracing.trace_operators import CUT_TO_LONGEST

__all__ = ["OPERATOR", "add_onnx_weights", "one_step", "recurrence_traced", "states_checked"]

# torch stacks the gates of a layer's weights in one order (documented with nn.LSTM and nn.GRU), ONNX in another
# (documented with its LSTM and GRU operators). The numbers are torch's positions, in ONNX's order.
_GATES: Final[dict[str, tuple[int, ...]]] = {
    "RNN_TANH": (0,),
    "RNN_RELU": (0,),
    "LSTM": (0, 3, 1, 2),  # torch i f g o, ONNX i o f c(=g)
    "GRU": (1, 0, 2),  # torch r z n, ONNX z r h(=n)
}


@torch.library.custom_op("pocketrnn::recurrence", mutates_args=())
def _recurrence(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """One recurrent layer in both its directions, as ONNX's RNN, LSTM and GRU compute it.

    Args:
        x: float [sequence, batch, features].
        w: input weights, float [directions, gates * hidden, features], gates in ONNX's order.
        r: recurrent weights, float [directions, gates * hidden, hidden].
        b: input biases, then recurrent biases, float [directions, 2 * gates * hidden]; or None.
        lengths: int64 [batch]; None where every row has the full length.
        h0, c0: initial states, float [directions, batch, hidden]; None for zeros.
        mode: RNN_TANH, RNN_RELU, LSTM or GRU, as `nn.RNNBase.mode`.

    Returns:
        outputs [sequence, batch, directions * hidden], zeros past a row's length; the final hidden state
        [directions, batch, hidden]; the final cell state likewise (zeros for a cell that has none).
    """
    if is_stateless():
        return _without_memory(x, w, r, b, lengths, h0, c0, mode)
    real = None if lengths is None else torch.arange(len(x)).unsqueeze(1) < lengths
    outputs, hidden, cells = [], [], []
    for i in range(len(r)):
        h = x.new_zeros(x.shape[1], r.shape[2]) if h0 is None else h0[i]
        c = torch.zeros_like(h) if c0 is None else c0[i]
        steps: dict[int, Tensor] = {}
        for t in reversed(range(len(x))) if i else range(len(x)):
            new_h, new_c = one_step(x[t], h, c, w[i], r[i], None if b is None else b[i], mode)
            if real is not None:
                new_h, new_c = (torch.where(real[t, :, None], new, old) for new, old in ((new_h, h), (new_c, c)))
            h, c = new_h, new_c
            steps[t] = h if real is None else torch.where(real[t, :, None], h, torch.zeros_like(h))
        outputs.append(torch.stack([steps[t] for t in range(len(x))]))
        hidden.append(h)
        cells.append(c if mode == "LSTM" else torch.zeros_like(h))
    return torch.cat(outputs, 2), torch.stack(hidden), torch.stack(cells)


def _without_memory(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """`_recurrence`, each step of which begins from the initial states; see `stateless`."""
    (sequence, batch, _), hidden = x.shape, r.shape[2]
    rows = torch.arange(batch)
    last = torch.full((batch,), sequence - 1) if lengths is None else lengths - 1
    outputs, states, cells = [], [], []
    for i in range(len(r)):
        h, c = (x.new_zeros(batch, hidden) if state is None else state[i] for state in (h0, c0))
        # The product of the states is one for all steps of a row.
        new_h, new_c = one_step(x, h, c, w[i], r[i], None if b is None else b[i], mode)
        outputs.append(new_h)
        states.append(new_h[0] if i else new_h[last, rows])
        cells.append(torch.zeros_like(states[i]) if mode != "LSTM" else new_c[0] if i else new_c[last, rows])
    steps = torch.cat(outputs, 2)
    if lengths is not None:
        steps = torch.where((torch.arange(sequence)[:, None] < lengths)[:, :, None], steps, torch.zeros_like(steps))
    return steps, torch.stack(states), torch.stack(cells)


@_recurrence.register_fake
def _(x: Tensor, w: Tensor, r: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    del w
    sequence, batch, _features = x.shape
    directions, _gates, hidden = r.shape
    state = (directions, batch, hidden)
    return x.new_empty((sequence, batch, directions * hidden)), x.new_empty(state), x.new_empty(state)


OPERATOR: Final = torch.ops.pocketrnn.recurrence.default


def one_step(
    x: Tensor, h: Tensor, c: Tensor, w: Tensor, r: Tensor, b: Tensor | None, mode: str
) -> tuple[Tensor, Tensor]:
    """One step of one direction of `pocketrnn::recurrence`: x [batch, features] and the states [batch, hidden] before
    it to those after it; the cell of a layer that has none as it came. Of x [steps, batch, features], each step by
    itself."""
    given, kept = (None, None) if b is None else b.chunk(2)
    inputs = nn.functional.linear(x, w, given)
    if mode.startswith("GRU"):
        z, reset, new = inputs.chunk(3, -1)
        if mode == "GRU":
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


@contextlib.contextmanager
def recurrence_traced(_: TraceSession) -> Iterator[None]:
    """While the block runs, a thread that traces sees recurrent layers and packing as `pocketrnn::recurrence`.

    Modules bind `pack_padded_sequence` by name (`from torch.nn.utils.rnn import ...`), so replacing it in torch's
    namespace would miss them: its code is exchanged, which every reference to the function sees. Other threads still
    run PyTorch's own code, and everything is restored when the block ends, also by an error.
    """
    _shipped["pad"] = shipped_copy(torch_rnn.pad_packed_sequence)
    unpacking = code_exchanged(torch_rnn.pad_packed_sequence, _pad_packed_sequence)
    with _layers_and_packing(_forward_while_tracing), unpacking:
        yield


@contextlib.contextmanager
def states_checked(_: TraceSession) -> Iterator[None]:
    """While the block runs, a recurrent layer of a thread that traces takes no initial state of another batch than its
    input's.

    PyTorch checks that in Python, which TorchScript's trace does not hold. A state made of the example's sizes then
    reads memory that is not its own: `weight.new(2, x.size(0), 10)` ended the process by SIGSEGV, SIGBUS or SIGABRT.
    An `expand` to the batch is in the trace, does nothing, and fails where the sizes differ. `pack_padded_sequence`
    takes lengths that `pocketrnn_export.tracing.arrays` stands for.
    """
    with _layers_and_packing(_forward_with_checked_state):
        yield


@contextlib.contextmanager
def _layers_and_packing(forward_of: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """While the block runs, recurrent layers have the forward that `forward_of` makes of theirs, and packing is
    `_packed`."""
    _shipped["pack"] = shipped_copy(torch_rnn.pack_padded_sequence)
    forwards = {(layer, "forward"): forward_of(layer.forward) for layer in (nn.RNN, nn.LSTM, nn.GRU)}
    with methods_replaced(forwards), code_exchanged(torch_rnn.pack_padded_sequence, _pack_padded_sequence):
        yield


def _forward_with_checked_state(shipped: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:  # noqa: A002
        if hx is None or current() is None:
            return shipped(self, input, hx)
        if isinstance(input, torch_rnn.PackedSequence):
            batch: Any = input.batch_sizes[0]
        else:
            batch = input.shape[0 if self.batch_first else 1]

        def checked(state: Tensor) -> Tensor:
            return state.expand(state.shape[0], batch, state.shape[2]) if state.dim() == 3 else state

        return shipped(self, input, tuple(map(checked, hx)) if self.mode == "LSTM" else checked(hx))

    return forward


# PyTorch's own functions, while their code is exchanged.
_shipped: dict[str, Callable[..., Any]] = {}


# The code of the next two runs with torch.nn.utils.rnn's globals, so that they can only name what they import.
def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:  # noqa: A002
    from pocketrnn_export.tracing.recurrence import _packed

    return _packed(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from pocketrnn_export.tracing.recurrence import _unpacked

    return _unpacked(sequence, batch_first, padding_value, total_length)


def _packed(padded: Tensor, lengths: Tensor | list[int], batch_first: bool, enforce_sorted: bool) -> Any:
    """`pack_padded_sequence` while tracing: the time-major padded tensor and its lengths, as a PackedSequence."""
    lengths = unwrapped(lengths)
    if _following() is None:
        return _shipped["pack"](padded, lengths, batch_first, enforce_sorted)
    if isinstance(lengths, list | tuple):
        lengths = _of_numbers(lengths, padded.shape[0 if batch_first else 1])
    if not isinstance(lengths, Tensor):
        raise ExportError(
            "The module packs by lengths that are a Python list, which a traced graph would freeze.",
            "Pass the tensor of lengths itself to pack_padded_sequence.",
        )
    data = padded.transpose(0, 1) if batch_first else padded
    # Nothing is sorted: the order of the rows is the order given.
    order = None if enforce_sorted else torch.arange(data.shape[1], device=data.device)
    return torch_rnn.PackedSequence(data, lengths.to(torch.int64), order, order)


def _of_numbers(lengths: Any, rows: Any) -> Any:
    """A list of lengths that are traced, as where one text a run is listed: a tensor. Any other list is given back."""
    if not lengths or not all(isinstance(n, Tensor | torch.SymInt) for n in lengths):
        return lengths
    if isinstance(rows, torch.SymInt) and all(
        isinstance(n, torch.SymInt) and statically_known_true(n == lengths[0]) for n in lengths
    ):
        # One number for every row: [x.size(1) for _ in range(x.size(0))], whose loop ran a few turns.
        return given_whole(torch.full((rows,), lengths[0], dtype=torch.int64))
    longest = [isinstance(n, torch.SymInt) or number_of(n) is not n for n in lengths]
    tensor = torch.stack([n if isinstance(n, Tensor) else torch.full((), n, dtype=torch.int64) for n in lengths])
    return given_whole(tensor) if any(longest) else tensor


def _unpacked(
    sequence: torch_rnn.PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """`pad_packed_sequence` while tracing.

    PyTorch gives the width of the longest length. That is the width of the padded tensor that was packed, for a graph
    that is run as its contract says: `sequence` is the longest of `lengths`. Lengths that the module counts from the
    tokens, or clamps, may all be shorter; then the tensor is cut.
    """
    session = _following()
    if session is None:
        padded: tuple[Tensor, Tensor] = _shipped["pad"](sequence, batch_first, padding_value, total_length)
        return padded
    data, lengths = sequence.data, sequence.batch_sizes
    if total_length is None:
        whole, data = data, cut_to_longest(data, lengths)
        if data is not whole and session.facts.of(whole).zero_past_end:
            session.facts.note(data, zero_past_end=True)
    if padding_value != 0.0 or not session.facts.of(data).zero_past_end:
        steps = torch.arange(data.shape[0], device=data.device)
        real = steps.unsqueeze(1) < lengths.unsqueeze(0)
        real = real.reshape(*real.shape, *[1] * (data.dim() - 2))
        data = torch.where(real, data, torch.full((), padding_value, dtype=data.dtype))
    if total_length is not None:
        missing = total_length - data.shape[0]
        data = nn.functional.pad(data, (0, 0) * (data.dim() - 1) + (0, missing), value=padding_value)
    return (data.transpose(0, 1) if batch_first else data), lengths


def _following() -> TraceSession | None:
    """The session for torch.export of this thread; in a trace for TorchScript, PyTorch's own layers run."""
    session = current()
    return None if session is None or session.scripted else session


def cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """While tracing, x [sequence, batch, ...] up to the longest of the lengths that a module packs by, as PyTorch cuts.

    The lengths that a module is given have the whole width for their longest, so that nothing is to be cut. Those that
    it counts from the tokens, or clamps, may all be shorter.
    """
    session = _following()
    if session is None or session.facts.of(lengths).whole:
        return x
    session.log.counted_lengths = True
    return CUT_TO_LONGEST(x, lengths) if session.cut_counted else x


def add_onnx_weights(module: nn.Module) -> None:
    """Give every recurrent layer in `module` its weights once more, in ONNX's form, as buffers named `onnx_...`.

    They become the graph's initializers. Reordering while tracing would leave a Split and a Concat a weight in it. A
    layer whose weights are computed anew in every forward (weight drop, parametrizations) is left to do it there.
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        layer._onnx_path = path
        if all(name in parameters_of(layer) for name in weight_names(layer)):
            with torch.no_grad():
                for i in range(layer.num_layers):
                    for name, weight in _named(_onnx_weights(layer, i)).items():
                        layer.register_buffer(f"onnx_{name}_{i}", weight)


@dataclass(frozen=True)
class _Weights:
    """One layer's weights in the form that `pocketrnn::recurrence` takes, and its projection, if it has one.

    `projection` is float [directions, hidden, projected]; `unprojection` its pseudo-inverse.
    """

    w: Tensor
    r: Tensor
    b: Tensor | None
    projection: Tensor | None = None
    unprojection: Tensor | None = None


def _named(weights: _Weights) -> dict[str, Tensor | None]:
    return {field.name: getattr(weights, field.name) for field in fields(weights)}


def _onnx_weights(layer: nn.RNNBase, index: int) -> _Weights:
    """The weights of one layer of a recurrent module.

    With `proj_size`, torch's LSTM hands on W_hr m instead of m = o * tanh(c), and its gates see W_hh W_hr m. That is an
    LSTM without projection whose recurrent weight is the product W_hh W_hr, and whose outputs are multiplied by W_hr
    afterwards: the same numbers, by operators that ONNX has.
    """
    gates = _GATES[layer.mode]
    suffixes = ("", "_reverse")[: _directions(layer)]

    def of_directions(kind: str) -> list[Tensor]:
        return [getattr(layer, f"{kind}_l{index}{suffix}") for suffix in suffixes]

    def reordered(weights: list[Tensor]) -> Tensor:
        rows = torch.arange(len(gates) * layer.hidden_size).view(len(gates), -1)[list(gates)].flatten()
        return torch.stack([weight.index_select(0, rows) for weight in weights])

    w, recurrent, b = reordered(of_directions("weight_ih")), of_directions("weight_hh"), None
    if layer.bias:
        b = torch.cat([reordered(of_directions("bias_ih")), reordered(of_directions("bias_hh"))], dim=1)
    if not layer.proj_size:
        return _Weights(w, reordered(recurrent), b)
    projections = of_directions("weight_hr")
    # In double precision, since the product stands in for two that PyTorch takes one after the other.
    products = [(hh.double() @ hr.double()).to(hh.dtype) for hh, hr in zip(recurrent, projections, strict=True)]
    projection = torch.stack([hr.t() for hr in projections])
    return _Weights(w, reordered(products), b, projection, torch.linalg.pinv(projection.double()).to(w.dtype))


def _directions(layer: nn.RNNBase) -> int:
    return 2 if layer.bidirectional else 1


def _forward_while_tracing(shipped: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:  # noqa: A002
        return _forward(self, input, hx) if _following() is not None else shipped(self, input, hx)

    return forward


def _forward(layer: nn.RNNBase, given: Tensor | torch_rnn.PackedSequence, hx: Any) -> tuple[Any, Any]:
    """`nn.RNN.forward`, `nn.LSTM.forward` and `nn.GRU.forward` while tracing; dropout is off, as in eval mode."""
    if isinstance(given, torch_rnn.PackedSequence):
        x, lengths = given.data, given.batch_sizes
    elif given.dim() == 2:
        return _of_one_text(layer, given, hx)
    else:
        x, lengths = (given.transpose(0, 1) if layer.batch_first else given), None
    if x.dim() != 3:
        raise ExportError(
            f"The module gives its layer {getattr(layer, '_onnx_path', '?')} an input of {x.dim()} dimensions.",
            "Give it a batch, which has three, also where the batch is a single text.",
        )
    h0, c0 = hx if layer.mode == "LSTM" and hx is not None else (hx, None)
    hidden, cell = [], []
    for i in range(layer.num_layers):
        states = slice(i * _directions(layer), (i + 1) * _directions(layer))
        x, h, c = _one_layer(
            x,
            _weights_in_trace(layer, i),
            lengths,
            None if h0 is None else h0[states],
            None if c0 is None else c0[states],
            layer.mode,
        )
        hidden.append(h)
        cell.append(c)
    if isinstance(given, torch_rnn.PackedSequence):
        if (session := _following()) is not None:
            session.facts.note(x, zero_past_end=True)
        output: Any = torch_rnn.PackedSequence(x, lengths, given.sorted_indices, given.unsorted_indices)
    else:
        output = x.transpose(0, 1) if layer.batch_first else x
    final = torch.cat(hidden) if len(hidden) > 1 else hidden[0]
    if layer.mode != "LSTM":
        return output, final
    return output, (final, torch.cat(cell) if len(cell) > 1 else cell[0])


def _of_one_text(layer: nn.RNNBase, steps: Tensor, hx: Any) -> tuple[Any, Any]:
    """A layer on the steps of one text without a batch, [sequence, features]; its states have no batch either."""
    axis = 0 if layer.batch_first else 1
    if isinstance(hx, tuple):
        hx = tuple(state.unsqueeze(1) for state in hx)
    elif hx is not None:
        hx = hx.unsqueeze(1)
    output, final = _forward(layer, steps.unsqueeze(axis), hx)
    final = tuple(state.squeeze(1) for state in final) if isinstance(final, tuple) else final.squeeze(1)
    return output.squeeze(axis), final


def _weights_in_trace(layer: nn.RNNBase, index: int) -> _Weights:
    if not hasattr(layer, f"onnx_w_{index}"):
        return _onnx_weights(layer, index)
    return _Weights(**{field.name: getattr(layer, f"onnx_{field.name}_{index}") for field in fields(_Weights)})


def _one_layer(
    x: Tensor, weights: _Weights, lengths: Tensor | None, h0: Tensor | None, c0: Tensor | None, mode: str
) -> tuple[Tensor, Tensor, Tensor]:
    if h0 is not None and weights.unprojection is not None:
        # A projected state stands for any of the states that are projected to it.
        h0 = torch.matmul(h0, weights.unprojection)
    outputs, h, c = _recurrence(x, weights.w, weights.r, weights.b, lengths, h0, c0, mode)
    if weights.projection is None:
        return outputs, h, c
    halves = outputs.chunk(len(weights.projection), dim=2)
    projected = [half @ projection for half, projection in zip(halves, weights.projection, strict=True)]
    outputs = projected[0] if len(projected) == 1 else torch.cat(projected, dim=2)
    return outputs, torch.matmul(h, weights.projection), c
