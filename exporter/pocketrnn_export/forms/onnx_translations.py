"""What the operators of a trace are in ONNX: recurrent layers, cuts of every length, choices between two branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import onnx_ir as ir
from onnxscript import opset18 as op

from pocketrnn_export.tracing.recurrence import OPERATOR
from pocketrnn_export.tracing.sizes import CHOOSE, CUT, CUT_TO_LONGEST, Question

__all__ = ["TRANSLATIONS"]

_INT32: Final = int(ir.DataType.INT32)
_INT64: Final = int(ir.DataType.INT64)


def _recurrence(x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, mode: str) -> tuple[Any, Any, Any]:
    """`pocketrnn::recurrence` in ONNX; see https://onnx.ai/onnx/operators for RNN, LSTM and GRU.

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
    else:
        activation = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu", "RNN_SIGMOID": "Sigmoid", "RNN_LINEAR": "Affine"}[mode]
        if activation == "Affine":
            layer |= {"activation_alpha": [1.0] * directions, "activation_beta": [0.0] * directions}
        outputs, hidden = op.RNN(x, w, r, b, lengths, h0, activations=[activation] * directions, **layer)
        cell = hidden
    if directions == 1:
        return op.Squeeze(outputs, _ints(1)), hidden, cell
    batch_before_directions = op.Transpose(outputs, perm=[0, 2, 1, 3])
    # 0 keeps an axis, -1 takes what is left.
    return op.Reshape(batch_before_directions, _ints(0, 0, -1)), hidden, cell


def _slice(x: Any, axis: int, start: Any, end: Any, step: int) -> Any:
    """`pocketrnn::cut` in ONNX: Slice clamps its ends by itself."""
    return op.Slice(x, _index(start), _index(end), _ints(axis), _ints(step))


def _slice_to_longest(x: Any, lengths: Any) -> Any:
    """`pocketrnn::cut_to_longest` in ONNX."""
    return op.Slice(x, _ints(0), op.ReduceMax(lengths, keepdims=1), _ints(0))


def _where(batch: Any, tokens: Any, chosen: Any, other: Any, condition: str) -> Any:
    """`pocketrnn::choose` in ONNX: the condition is computed from the sizes, and both answers are at hand."""
    holds = Question(condition, branch=True).of(_Size(_scalar(batch)), _Size(_scalar(tokens)))
    return op.Where(holds.value, chosen, other)


def _scalar(value: Any) -> Any:
    return op.Constant(value_int=value) if isinstance(value, int) else op.Squeeze(op.Cast(value, to=_INT64))  # type: ignore[type-var]


class _Size:
    """A size in a graph, int64 or bool [], that counts and compares as a Python number does."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def _with(self, other: Any, operator: Callable[[Any, Any], Any], *, swapped: bool = False) -> _Size:
        number = other.value if isinstance(other, _Size) else op.Constant(value_int=other)
        return _Size(operator(number, self.value) if swapped else operator(self.value, number))

    def __add__(self, other: Any) -> _Size:
        return self._with(other, op.Add)

    def __sub__(self, other: Any) -> _Size:
        return self._with(other, op.Sub)

    def __rsub__(self, other: Any) -> _Size:
        return self._with(other, op.Sub, swapped=True)

    def __mul__(self, other: Any) -> _Size:
        return self._with(other, op.Mul)

    def __mod__(self, other: Any) -> _Size:
        return self._with(other, op.Mod)

    def __floordiv__(self, other: Any) -> _Size:
        # ONNX rounds toward zero: what is left over, which Mod gives the sign of the divisor, is taken away before.
        return self._with(other, lambda a, b: op.Div(op.Sub(a, op.Mod(a, b)), b))

    def __lt__(self, other: Any) -> _Size:
        return self._with(other, op.Less)

    def __le__(self, other: Any) -> _Size:
        return self._with(other, op.LessOrEqual)

    def __gt__(self, other: Any) -> _Size:
        return self._with(other, op.Greater)

    def __ge__(self, other: Any) -> _Size:
        return self._with(other, op.GreaterOrEqual)

    def __eq__(self, other: object) -> _Size:  # type: ignore[override]
        return self._with(other, op.Equal)

    def __ne__(self, other: object) -> _Size:  # type: ignore[override]
        return _Size(op.Not((self == other).value))

    def __neg__(self) -> _Size:
        return 0 - self

    __radd__, __rmul__ = __add__, __mul__
    __hash__ = None  # type: ignore[assignment]


def _index(value: Any) -> Any:
    return _ints(value) if isinstance(value, int) else op.Reshape(op.Cast(value, to=_INT64), _ints(1))  # type: ignore[type-var]


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


# By the operator of the trace; see `pocketrnn_export.tracing`.
TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    OPERATOR: _recurrence,
    CUT: _slice,
    CHOOSE: _where,
    CUT_TO_LONGEST: _slice_to_longest,
}
