"""Float64 versions of ONNX operators that onnx's reference evaluator lacks, computes in float32, or runs too slowly.

The reasons: its RNN, LSTM and GRU ignore `sequence_lens`; Erf always computes in float32; GatherElements uses
`numpy.choose`, which takes 64 arrays at most; ScatterElements, ScatterND and GatherND loop over single numbers, Conv
over the positions of its kernel, and MaxPool over windows: with two axes, these took longer than the rest of a proof.
The equations are those of https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_max_pool import MaxPool as EvaluatorsMaxPool

Doubles = npt.NDArray[np.float64]
# (gates of the input [rows, gates * hidden], state) -> new state; a state is (hidden,) or (hidden, cell).
CellFunction = Callable[[Doubles, tuple[Doubles, ...]], tuple[Doubles, ...]]


def _multiply_matrices(a: Doubles, b: Doubles) -> Doubles:
    # torch computes it, since numpy's OpenBLAS spreads products of this size over threads that then spin while they
    # wait: 3.2 s of processor time on two cores for the 36 shapes of a GRU(64 -> 96), against 0.5 s here.
    product: Doubles = torch.mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return product


def _compute_sigmoid(x: Doubles) -> Doubles:
    # By tanh, which never overflows; the error is 1e-16 at most.
    half: Doubles = 0.5 * np.tanh(0.5 * x) + 0.5
    return half


_ACTIVATIONS: Final[dict[str, Callable[[Doubles], Doubles]]] = {
    "Tanh": np.tanh,
    "Sigmoid": _compute_sigmoid,
    "Relu": lambda x: np.maximum(x, 0.0),
    # The factor is 1 and the offset 0: `_refuse_unsupported_options` rejects all others.
    "Affine": lambda x: x,
}


class _Operator(OpRun):
    """The base class of the operators, which are in ONNX's own domain."""

    op_domain = ""


class _Recurrent(_Operator):
    """The base class of the operators RNN, LSTM and GRU: it handles directions, lengths, initial states and the
    layout."""

    gates: int
    states: int
    default_activations: tuple[str, ...]

    def _make_step_function(
        self, r: Doubles, b: Doubles, activations: Sequence[Callable[[Doubles], Doubles]]
    ) -> CellFunction:
        """Return the function that computes one step of one direction: it takes the products of the input with its
        weights, and the old state, and returns the new state.

        Args:
            r: the recurrent weights of this direction.
            b: the recurrent biases that are added in each step.
            activations: the activation functions, in ONNX's order.
        """
        raise NotImplementedError

    def _count_recurrent_biases_added_to_inputs(self, hidden: int) -> int:
        """Return how many of the recurrent biases, for a hidden size of `hidden`, are added to the products of the
        inputs once before the loop over the steps. The others are added in each step."""
        return self.gates * hidden

    def _run(self, x: Doubles, w: Doubles, r: Doubles, *more: Any, **attributes: Any) -> tuple[Doubles, ...]:
        """Compute the operator in float64, with ONNX's arguments, and return ONNX's results: the outputs and the final
        states."""
        self._refuse_unsupported_options(attributes, more)
        b, lengths, *initial = [*more, *[None] * (2 + self.states - len(more))][: 2 + self.states]
        batch_first = bool(attributes.get("layout"))
        if batch_first:
            x, initial = x.swapaxes(0, 1), [None if s is None else s.swapaxes(0, 1) for s in initial]
        directions, hidden = len(r), r.shape[2]
        if attributes.get("hidden_size") not in (None, hidden):
            raise NotImplementedError(
                f"{type(self).__name__} has the attribute hidden_size={attributes['hidden_size']}, but its weights are "
                f"for a hidden size of {hidden}"
            )
        steps, batch = x.shape[:2]
        if b is None:
            b = np.zeros((directions, 2 * self.gates * hidden))
        full = lengths is None or bool((lengths == steps).all())
        order = np.arange(batch) if full else np.argsort(-lengths, kind="stable")
        # Rows are sorted by falling length, so the rows that a step changes come first.
        reached = np.full(steps, batch) if full else (lengths[None, :] > np.arange(steps)[:, None]).sum(1)
        outputs = np.zeros((steps, directions, batch, hidden))
        finals = [np.zeros((directions, batch, hidden)) for _ in range(self.states)]
        names = attributes.get("activations") or self.default_activations * directions
        for d, backward in enumerate(
            self._list_backward_flags(str(attributes.get("direction") or "forward"), directions)
        ):
            each = len(self.default_activations)
            early = self._count_recurrent_biases_added_to_inputs(hidden)
            input_b, recurrent_b = np.split(b[d], 2)
            step = self._make_step_function(
                r[d], recurrent_b[early:], [_ACTIVATIONS[name] for name in names[d * each : (d + 1) * each]]
            )
            flat = x[:, order].reshape(steps * batch, -1)
            gates = _multiply_matrices(flat, w[d].T.copy()).reshape(steps, batch, -1) + input_b
            gates[:, :, :early] += recurrent_b[:early]
            state = [np.zeros((batch, hidden)) if s is None else s[d][order] for s in initial]
            for t in range(steps - 1, -1, -1) if backward else range(steps):
                n = reached[t]
                new = step(gates[t, :n], tuple(s[:n] for s in state))
                for old, s in zip(state, new, strict=True):
                    old[:n] = s
                outputs[t, d, :n] = new[0]
            for final, s in zip(finals, state, strict=True):
                final[d, order] = s
        if not full:
            outputs[:, :, order] = outputs.copy()
        results = (outputs, *finals)
        if batch_first:
            results = (outputs.transpose(2, 0, 1, 3), *(final.swapaxes(0, 1) for final in finals))
        return results[: len(self.onnx_node.output)]

    @staticmethod
    def _list_backward_flags(direction: str, direction_count: int) -> tuple[bool, ...]:
        backward = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
        if len(backward) != direction_count:
            raise ValueError(
                f"a recurrent layer has the attribute direction={direction!r}, but weights for {direction_count} "
                "directions"
            )
        return backward

    @staticmethod
    def _has_identity_affine_activations(attributes: dict[str, Any]) -> bool:
        """Return whether a layer has Affine activations, all with factor 1 and offset 0, and no other option."""
        return (
            "Affine" in (attributes.get("activations") or ())
            and set(attributes.get("activation_alpha") or ()) == {1.0}
            and set(attributes.get("activation_beta") or ()) == {0.0}
            and not attributes.get("clip")
            and not attributes.get("input_forget")
        )

    def _refuse_unsupported_options(self, attributes: dict[str, Any], optional_inputs: tuple[Any, ...]) -> None:
        # Peepholes come after an LSTM's initial states. Our exporter writes none of these.
        names = ("clip", "input_forget", "activation_alpha", "activation_beta")
        unknown = [
            name for name in names if attributes.get(name) and not self._has_identity_affine_activations(attributes)
        ]
        if unknown or any(value is not None for value in optional_inputs[2 + self.states :]):
            raise NotImplementedError(
                f"{type(self).__name__} has attributes or inputs that pocketrnn does not compute in double precision: "
                f"{', '.join(unknown) or 'peephole weights'}"
            )


class RNN(_Recurrent):
    """The operator RNN: Elman's network."""

    gates, states, default_activations = 1, 1, ("Tanh",)

    def _make_step_function(
        self, r: Doubles, _b: Doubles, activations: Sequence[Callable[[Doubles], Doubles]]
    ) -> CellFunction:
        (f,), recurrent = activations, r.T.copy()

        def compute_rnn_step(gates: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, ...]:
            return (f(gates + _multiply_matrices(state[0], recurrent)),)

        return compute_rnn_step


class LSTM(_Recurrent):
    """The operator LSTM, with the gates i, o, f, c."""

    gates, states, default_activations = 4, 2, ("Sigmoid", "Tanh", "Tanh")

    def _make_step_function(
        self, r: Doubles, _b: Doubles, activations: Sequence[Callable[[Doubles], Doubles]]
    ) -> CellFunction:
        (f, g, h), recurrent, hidden = activations, r.T.copy(), r.shape[1]

        def compute_lstm_step(gates: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, ...]:
            summed = gates + _multiply_matrices(state[0], recurrent)
            # Slices, since `np.split` took a fifth of the time of a small layer.
            i_o_forget = f(summed[:, : 3 * hidden])
            i, o, forget = i_o_forget[:, :hidden], i_o_forget[:, hidden : 2 * hidden], i_o_forget[:, 2 * hidden :]
            cell = forget * state[1] + i * g(summed[:, 3 * hidden :])
            return o * h(cell), cell

        return compute_lstm_step


class GRU(_Recurrent):
    """The operator GRU, with the gates z, r, h."""

    gates, states, default_activations = 3, 1, ("Sigmoid", "Tanh")
    linear_before_reset: int

    def _count_recurrent_biases_added_to_inputs(self, hidden: int) -> int:
        # The proposed state multiplies its recurrent bias by the reset gate first.
        return 2 * hidden

    def _make_step_function(
        self, r: Doubles, b: Doubles, activations: Sequence[Callable[[Doubles], Doubles]]
    ) -> CellFunction:
        (f, g), hidden, gated = activations, r.shape[1], 2 * r.shape[1]
        after, recurrent = bool(self.linear_before_reset), r.T.copy()
        of_gates, of_proposed = recurrent[:, :gated].copy(), recurrent[:, gated:].copy()

        def compute_gru_step(gates: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, ...]:
            (h,) = state
            product = _multiply_matrices(h, recurrent if after else of_gates)
            z_reset = f(gates[:, :gated] + product[:, :gated])
            z, reset = z_reset[:, :hidden], z_reset[:, hidden:]
            proposed = reset * (product[:, gated:] + b) if after else _multiply_matrices(reset * h, of_proposed) + b
            new = g(gates[:, gated:] + proposed)
            return ((1.0 - z) * new + z * h,)

        return compute_gru_step


class Erf(_Operator):
    """The operator Erf, the error function, in float64."""

    _erf = staticmethod(np.vectorize(math.erf, otypes=[np.float64]))

    def _run(self, x: Doubles) -> tuple[Doubles]:
        return (self._erf(x),)


class GatherElements(_Operator):
    """GatherElements by `numpy.take_along_axis`. It also counts negative indices from the end."""

    def _run(self, data: Any, indices: Any, axis: int | None = None) -> tuple[Any]:
        axis = axis or 0
        # In ONNX, the other axes of the indices may be shorter than those of the data.
        some = tuple(slice(None) if i == axis % data.ndim else slice(size) for i, size in enumerate(indices.shape))
        return (np.take_along_axis(data[some], indices, axis),)


class ScatterElements(_Operator):
    """ScatterElements by `numpy.put_along_axis`, with or without a reduction."""

    def _run(
        self, data: Any, indices: Any, updates: Any, axis: int | None = None, reduction: str | None = None
    ) -> tuple[Any]:
        axis = (axis or 0) % data.ndim
        positions = list(np.indices(indices.shape, sparse=True))
        positions[axis] = np.where(indices < 0, indices + data.shape[axis], indices)
        return (_scatter_updates(data, tuple(positions), updates, reduction),)


class ScatterND(_Operator):
    """ScatterND by indexing with the last axis of `indices`."""

    def _run(self, data: Any, indices: Any, updates: Any, reduction: str | None = None) -> tuple[Any]:
        return (_scatter_updates(data, tuple(np.moveaxis(indices, -1, 0)), updates, reduction),)


def _scatter_updates(data: Any, positions: tuple[Any, ...], updates: Any, reduction: str | None) -> Any:
    """Return a copy of `data` in which each update is combined with the number at its position, by `reduction`. Without
    a reduction, the update replaces the number.

    Args:
        data: the array.
        positions: an index array for each axis.
        updates: the numbers to write.
        reduction: "add", "mul", "min" or "max", as in ONNX; "none" or None for no reduction.
    """
    result = data.copy()
    if reduction in (None, "none"):
        result[positions] = updates
    else:
        numpy_s: Any = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}[str(reduction)]
        numpy_s.at(result, positions, updates)
    return result


class TopK(_Operator):
    """The operator TopK, with sorted results. The lower index comes first among equal values, as ONNX requires.

    The evaluator's own operator does not do this.
    """

    def _run(
        self, x: Any, k: Any, axis: int | None = None, largest: int | None = None, **_sorted: Any
    ) -> tuple[Any, Any]:
        axis = (-1 if axis is None else axis) % x.ndim
        # Sort the reversed row and count from its end: this gives falling order with the lower index first.
        if largest == 0:
            order = np.argsort(x, axis=axis, kind="stable")
        else:
            order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        first = np.take(order, np.arange(int(np.asarray(k).reshape(()))), axis=axis)
        return np.take_along_axis(x, first, axis), first


class GatherND(_Operator):
    """GatherND by indexing with the last axis of `indices`, after `batch_dims` shared axes."""

    def _run(self, data: Any, indices: Any, batch_dims: int | None = None) -> tuple[Any]:
        shared = batch_dims or 0
        positions = np.moveaxis(indices, -1, 0)
        beside = np.indices(indices.shape[:shared], sparse=True)
        each = tuple(b.reshape(b.shape + (1,) * (positions[0].ndim - shared)) for b in beside)
        return (data[(*each, *positions)],)


class Conv(_Operator):
    """The operator Conv, by torch in float64. The tests compare it with sums by numpy."""

    def _run(self, x: Doubles, w: Doubles, b: Doubles | None = None, **attributes: Any) -> tuple[Doubles]:
        """Compute the convolution in float64, with ONNX's arguments."""
        axes = w.ndim - 2
        before, after = _compute_padding_sizes(x.shape[2:], w.shape[2:], attributes)
        if any(before) or any(after):
            x = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
        function = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}.get(axes)
        if function is None:
            raise NotImplementedError(f"Conv has {axes} spatial axes, but only 1 to 3 are supported")
        found: torch.Tensor = function(
            _make_writable_tensor(x),
            _make_writable_tensor(w),
            None if b is None else _make_writable_tensor(b),
            stride=list(attributes.get("strides") or [1] * axes),
            dilation=list(attributes.get("dilations") or [1] * axes),
            groups=int(attributes.get("group") or 1),
        )
        return (found.numpy(),)


def _make_writable_tensor(x: Doubles) -> torch.Tensor:
    """Convert an array to a tensor. Copy the array first if it is not contiguous, or if it is read-only, since torch
    warns of read-only arrays."""
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


def _compute_padding_sizes(
    sizes: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """Return two lists with the padding of a convolution or pooling: before each axis, and after each axis.

    Args:
        sizes: the sizes of the axes.
        kernel: the sizes of the kernel.
        attributes: those of the ONNX node, such as `pads` and `auto_pad`.
    """
    axes = len(kernel)
    kind = attributes.get("auto_pad") or "NOTSET"
    if kind in ("NOTSET", "VALID"):
        pads = list(attributes.get("pads") or [0] * (2 * axes)) if kind == "NOTSET" else [0] * (2 * axes)
        return pads[:axes], pads[axes:]
    strides, dilations = (list(attributes.get(name) or [1] * axes) for name in ("strides", "dilations"))
    whole = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less, more = [n // 2 for n in whole], [n - n // 2 for n in whole]
    return (less, more) if kind == "SAME_UPPER" else (more, less)


class MaxPool(EvaluatorsMaxPool):
    """MaxPool over all windows at once. If indices are wanted too, the evaluator's own slower operator runs."""

    op_domain = ""

    def _run(self, x: Doubles, **attributes: Any) -> tuple[Doubles, ...]:  # type: ignore[override]
        """Compute the largest number of each window in float64, with ONNX's arguments."""
        if len(self.output) > 1 or attributes.get("auto_pad") not in (None, "NOTSET", "VALID"):
            return super()._run(x, **attributes)  # type: ignore[no-untyped-call, no-any-return]
        kernel = list(attributes["kernel_shape"])
        before, after = _compute_padding_sizes(x.shape[2:], kernel, attributes)
        strides, dilations = (list(attributes.get(name) or [1] * len(kernel)) for name in ("strides", "dilations"))
        # One axis after the other: the maximum of a window is the maximum of its rows' maxima.
        for i, (size, step, apart) in enumerate(zip(kernel, strides, dilations, strict=True)):
            axis = i + 2
            reach = (size - 1) * apart + 1
            left = x.shape[axis] + before[i] + after[i] - reach
            count = (-(-left // step) if attributes.get("ceil_mode") else left // step) + 1
            # A window that would start past the end of the numbers does not count.
            if attributes.get("ceil_mode") and (count - 1) * step >= x.shape[axis] + before[i]:
                count -= 1
            more = max(after[i], (count - 1) * step + reach - x.shape[axis] - before[i])
            widths = [(before[i], more) if other == axis else (0, 0) for other in range(x.ndim)]
            padded = np.pad(x, widths, constant_values=-np.inf)
            rows = np.arange(count) * step
            x = np.max([padded.take(rows + k * apart, axis=axis) for k in range(size)], axis=0)
        return (x,)


class ReduceLogSumExp(_Operator):
    """The operator ReduceLogSumExp, the logarithm of a sum of exponentials, also for infinite numbers.

    It is -inf for numbers that are all -inf, and inf if one is inf; the evaluator's own gives NaN.
    """

    def _run(self, x: Doubles, axes: Any = None, keepdims: int = 1, **_: Any) -> tuple[Doubles]:
        along = None if axes is None else tuple(int(axis) for axis in np.atleast_1d(axes))
        largest = x.max(axis=along, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(largest), largest, 0.0)
        found = np.log(np.exp(x - shift).sum(axis=along, keepdims=True)) + shift
        return (found if keepdims else np.squeeze(found, axis=along),)


class LogSoftmax(_Operator):
    """The operator LogSoftmax, computed without a softmax. The evaluator's own operator gives -inf for a number that is
    745 below the largest."""

    def _run(self, x: Doubles, axis: int | None = None) -> tuple[Doubles]:
        along = -1 if axis is None else axis
        largest = x.max(axis=along, keepdims=True, initial=-np.inf)
        lower = x - np.where(np.isfinite(largest), largest, 0.0)
        return ((lower - np.log(np.exp(lower).sum(axis=along, keepdims=True))).astype(x.dtype),)


class Pad(_Operator):
    """The operator Pad, also for chosen axes. A negative pad crops, which the evaluator's own operator does not
    support."""

    def _run(self, data: Any, pads: Any, value: Any = None, axes: Any = None, mode: str | None = None) -> tuple[Any]:
        chosen = list(range(data.ndim)) if axes is None else [int(axis) % data.ndim for axis in axes]
        begins, ends = np.zeros(data.ndim, np.int64), np.zeros(data.ndim, np.int64)
        begins[chosen], ends[chosen] = np.asarray(pads).reshape(2, -1)
        cut = tuple(slice(-min(b, 0), n + min(e, 0)) for b, e, n in zip(begins, ends, data.shape, strict=True))
        widths = [(max(b, 0), max(e, 0)) for b, e in zip(begins, ends, strict=True)]
        kind = mode or "constant"
        if kind != "constant":
            return (np.pad(data[cut], widths, mode=kind),)  # type: ignore[call-overload]
        filled = 0 if value is None else np.asarray(value).reshape(()).astype(data.dtype)
        return (np.pad(data[cut], widths, constant_values=filled),)


OPERATORS: Final[tuple[type[OpRun], ...]] = (
    RNN, LSTM, GRU, Erf, GatherElements, ScatterElements, ScatterND, TopK, GatherND, Conv, MaxPool, ReduceLogSumExp,
    LogSoftmax, Pad
)  # fmt: skip
