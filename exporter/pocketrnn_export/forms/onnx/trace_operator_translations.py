"""ONNX translations of the operators that a trace uses: recurrent layers, slices of any length, and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import onnx_ir as ir
from onnxscript import opset18 as op

from pocketrnn_export.tracing.layers.recurrence import OPERATOR
from pocketrnn_export.tracing.trace_operators import CUT, CUT_TO_LONGEST, SIZE

_INT32: Final = int(ir.DataType.INT32)
_INT64: Final = int(ir.DataType.INT64)


def _translate_recurrence(
    x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, mode: str
) -> tuple[Any, Any, Any]:
    """Translate `pocketrnn::recurrence` to ONNX's RNN, LSTM or GRU (https://onnx.ai/onnx/operators). Return the
    outputs, the final hidden states and the final cell states.

    The outputs [sequence, directions, batch, hidden] become [sequence, batch, directions * hidden].
    """
    directions, _, hidden_size = r.shape
    lengths = None if lengths is None else op.Cast(lengths, to=_INT32)
    layer: dict[str, Any] = {
        "hidden_size": hidden_size,
        "direction": "forward" if directions == 1 else "bidirectional",
    }
    if mode == "LSTM":
        outputs, hidden, cell = op.LSTM(x, w, r, b, lengths, h0, c0, None, **layer)
    elif mode == "GRU_RESET_BEFORE":
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, linear_before_reset=0, **layer)
        cell = hidden
    elif mode == "GRU":
        # PyTorch applies the reset gate after the recurrent product; without this attribute ONNX does it before.
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, linear_before_reset=1, **layer)
        cell = hidden
    elif mode == "GRU_LINEAR":
        layer |= {"activation_alpha": [1.0] * 2 * directions, "activation_beta": [0.0] * 2 * directions}
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, activations=["Sigmoid", "Affine"] * directions, **layer)
        cell = hidden
    else:
        activation = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu", "RNN_SIGMOID": "Sigmoid", "RNN_LINEAR": "Affine"}[mode]
        if activation == "Affine":
            layer |= {"activation_alpha": [1.0] * directions, "activation_beta": [0.0] * directions}
        outputs, hidden = op.RNN(x, w, r, b, lengths, h0, activations=[activation] * directions, **layer)
        cell = hidden
    if directions == 1:
        return op.Squeeze(outputs, _make_ints_constant(1)), hidden, cell
    batch_before_directions = op.Transpose(outputs, perm=[0, 2, 1, 3])
    # 0 keeps an axis, -1 takes the rest.
    return op.Reshape(batch_before_directions, _make_ints_constant(0, 0, -1)), hidden, cell


def _translate_cut(x: Any, axis: int, start: Any, end: Any, step: int) -> Any:
    """Translate `pocketrnn::cut`, the slice `x[start:end:step]` along an axis, to ONNX's Slice, which clamps the ends
    itself."""
    return op.Slice(
        x, _make_index_tensor(start), _make_index_tensor(end), _make_ints_constant(axis), _make_ints_constant(step)
    )


def _translate_cut_to_longest(x: Any, lengths: Any) -> Any:
    """Translate `pocketrnn::cut_to_longest`, which cuts x [sequence, batch, ...] to the largest of the lengths, to
    ONNX."""
    return op.Slice(x, _make_ints_constant(0), op.ReduceMax(lengths, keepdims=1), _make_ints_constant(0))


def _translate_size(x: Any, axis: int) -> Any:
    """Translate `pocketrnn::size`, the size of x along an axis, in ONNX: Shape of this axis, squeezed."""
    return op.Squeeze(op.Shape(x, start=axis, end=axis + 1), _make_ints_constant(0))


def _make_index_tensor(value: Any) -> Any:
    if isinstance(value, int):
        return _make_ints_constant(value)
    return op.Reshape(op.Cast(value, to=_INT64), _make_ints_constant(1))  # type: ignore[type-var]


def _make_ints_constant(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


# The translations, by the operator of the trace; see `pocketrnn_export.tracing`.
TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    OPERATOR: _translate_recurrence,
    CUT: _translate_cut,
    SIZE: _translate_size,
    CUT_TO_LONGEST: _translate_cut_to_longest,
}
