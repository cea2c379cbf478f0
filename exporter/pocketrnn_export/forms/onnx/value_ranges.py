"""Compute for each value of a graph the range of its numbers, and whether it may contain NaN.

The ranges are computed from the operators, in one pass over the graph, in each value's own type. Rounding keeps the
order of numbers, so that the ends of a result's range are the rounded results for the ends of its inputs' ranges. The
result of an unknown operator may be any number.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

# The name of the layer whose weights are rows of samples; a user's samples may be of any size.
SAMPLES: Final = "pocketrnn_samples"
# The assumed largest sample: the product of two such samples overflows, and their sums do not.
_LARGEST_SAMPLE: Final = 1e20
# The largest assumed number of terms in a sum over a text, or over an axis of unknown size.
_MOST_SUMMED: Final = 2.0**20
# The assumed largest finite state of a loop, or output of a layer without a bound.
_LARGEST_STATE: Final = 1e18
# Some functions are not rounded to the nearest number; their range is widened by this share.
_ROUGH: Final = 1e-3
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
# The most passes over a loop until the range of its states no longer grows.
_ROUNDS: Final = 6


@dataclass(frozen=True)
class NumberRange:
    """The range of the numbers that a tensor may hold.

    Attributes:
        low: the smallest number, or minus infinity.
        high: the largest number, or infinity.
        nan: whether NaN may be among the numbers.
    """

    low: float
    high: float
    nan: bool = False

    @property
    def may_be_infinite(self) -> bool:
        """Whether a number may be infinite."""
        return math.isinf(self.low) or math.isinf(self.high)

    @property
    def may_be_zero(self) -> bool:
        """Whether a number may be 0."""
        return self.low <= 0 <= self.high

    @property
    def largest_magnitude(self) -> float:
        """The largest possible absolute number."""
        return max(-self.low, self.high)

    def __or__(self, other: NumberRange) -> NumberRange:
        return NumberRange(min(self.low, other.low), max(self.high, other.high), self.nan or other.nan)


# A rule: (a node, the ranges of its inputs, 0 for one left out, and its output's type) -> the range of its outputs.
_InputRanges = Sequence[NumberRange]
_Rule = Callable[[ir.Node, _InputRanges, np.dtype[Any]], NumberRange]
ANYTHING: Final = NumberRange(-math.inf, math.inf, nan=True)
_ZERO: Final = NumberRange(0.0, 0.0)
_UNIT: Final = NumberRange(-1.0, 1.0)
_SHARE: Final = NumberRange(0.0, 1.0)
_STATE: Final = NumberRange(-_LARGEST_STATE, _LARGEST_STATE)


def list_subgraphs(node: ir.Node) -> list[ir.Graph]:
    """Return the subgraphs of an If, Loop or Scan; an empty list for other nodes."""
    return [value.as_graph() for value in node.attributes.values() if value.type == ir.AttributeType.GRAPH]


def compute_ranges(graph: ir.Graph, input_range: NumberRange = _STATE) -> Mapping[ir.Value, NumberRange]:
    """Return the range of the numbers that each value of a graph and its subgraphs may hold. `input_range` is the range
    of the graph's float inputs; by default any finite number up to 1e18."""
    known = {value: _convert_range_to_dtype(input_range, _find_numpy_type(value)) for value in graph.inputs}
    _compute_graph_ranges(graph, known)
    return known


def _compute_graph_ranges(graph: ir.Graph, known_ranges: dict[ir.Value, NumberRange]) -> None:
    """Compute the ranges of all values of a graph in order, and add them to `known_ranges`, which already has those of
    the graph's inputs."""
    for value in graph.initializers.values():
        known_ranges[value] = ANYTHING if value.const_value is None else _find_array_range(value.const_value.numpy())
        if (value.name or "").endswith(f"{SAMPLES}.weight"):
            known_ranges[value] = NumberRange(-_LARGEST_SAMPLE, _LARGEST_SAMPLE)
    for node in graph:
        inside = list_subgraphs(node)
        given = [_ZERO if value is None else known_ranges.get(value, ANYTHING) for value in node.inputs]
        found = _compute_output_range_of_control_flow(given, inside, known_ranges) if inside else None
        for output_index, value in enumerate(node.outputs):
            dtype = _find_numpy_type(value)
            known_ranges[value] = _convert_range_to_dtype(
                _compute_node_range(node, given, dtype, output_index) if found is None else found, dtype
            )


def _compute_output_range_of_control_flow(
    given: _InputRanges, subgraphs: Sequence[ir.Graph], known_ranges: dict[ir.Value, NumberRange]
) -> NumberRange:
    """Return one range for all outputs of an If, Loop or Scan. It is assumed that each input may reach each output.

    Args:
        given: the ranges of the node's inputs.
        subgraphs: the node's subgraphs.
        known_ranges: gets the ranges of the values in the subgraphs.
    """
    taken = _join_ranges(given)
    for _ in range(_ROUNDS):
        for body in subgraphs:
            known_ranges.update(
                {value: _convert_range_to_dtype(taken, _find_numpy_type(value)) for value in body.inputs}
            )
            _compute_graph_ranges(body, known_ranges)
        made = taken | _join_ranges(known_ranges.get(value, ANYTHING) for body in subgraphs for value in body.outputs)
        made = NumberRange(
            _widen_end_of_loop_state_range(made.low), _widen_end_of_loop_state_range(made.high), made.nan
        )
        if made == taken:
            return taken
        taken = made
    return ANYTHING


def _widen_end_of_loop_state_range(end: float) -> float:
    """Round an end of a range away from 0, to 0, 1e18 or infinity, so that the range of a Loop's state stops growing
    after few passes through the Loop's body."""
    return end if math.isinf(end) or end == 0 else math.copysign(max(abs(end), _LARGEST_STATE), end)


def _join_ranges(ranges: Iterable[NumberRange]) -> NumberRange:
    """Return the smallest range that contains all of some ranges; [0, 0] if there are none."""
    found = list(ranges)
    return functools.reduce(operator.or_, found) if found else _ZERO


def _find_array_range(array: Any) -> NumberRange:
    """Return the range of the numbers in an array, with `nan` true if the array contains NaN."""
    if array.dtype.kind not in "fiub":
        # bfloat16 and similar types.
        array = array.astype(np.float32)
    if not array.size:
        return _ZERO
    numbers = array[~np.isnan(array)] if array.dtype.kind == "f" else array
    if not numbers.size:
        return replace(_ZERO, nan=True)
    return NumberRange(float(numbers.min()), float(numbers.max()), numbers.size < array.size)


def _find_numpy_type(value: ir.Value) -> np.dtype[Any]:
    """Return the numpy dtype of a value: float32 if the dtype is unknown, bfloat16 (which numpy lacks) or string."""
    dtype = value.dtype
    if dtype is None or dtype in (ir.DataType.BFLOAT16, ir.DataType.STRING):
        return np.dtype(np.float32)
    return np.dtype(dtype.numpy())


def _convert_range_to_dtype(found: NumberRange, dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of numbers after a conversion to a dtype. Integers are never NaN or infinite; where they may
    overflow, the result is the dtype's whole range."""
    if dtype.kind == "b":
        return _SHARE
    if dtype.kind not in "iu":
        return found
    least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if found.nan or found.low < least or found.high > most:
        return NumberRange(least, most)
    return NumberRange(float(math.trunc(found.low)), float(math.trunc(found.high)))


def _compute_node_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any], output_index: int) -> NumberRange:
    """Return the range of one output of an operator; any number for an operator without a rule. `output_index` is the
    output's index."""
    compute_range = _RULES.get(node.op_type)
    if node.domain or compute_range is None:
        return ANYTHING
    with np.errstate(all="ignore"):
        found = compute_range(node, given, dtype)
    # The cells of an LSTM are sums, unlike its states.
    return replace(_STATE, nan=found.nan) if output_index == 2 and node.op_type == "LSTM" else found


def _make_range_from_ends(numbers: Iterable[Any], *, nan: bool) -> NumberRange:
    """Return the smallest range that contains some results of an operator.

    Args:
        numbers: the results at the ends of the inputs' ranges. NaN among them is ignored.
        nan: whether the operator's result may be NaN.
    """
    made = [float(number) for number in numbers]
    left = [number for number in made if not math.isnan(number)]
    return NumberRange(min(left), max(left), nan) if left else replace(ANYTHING, nan=nan)


def _compute_range_from_corners(
    function: Callable[[Any, Any], Any], a: NumberRange, b: NumberRange, dtype: np.dtype[Any], *, nan: bool
) -> NumberRange:
    """Return the range of a function of two numbers that is monotone in each of them.

    Args:
        a, b: the ranges of the two numbers. The function is computed for each pair of their ends.
        dtype: the dtype in which it is computed.
        nan: whether the result may be NaN even if neither number is.
    """
    made = dtype.type if dtype.kind == "f" else np.float64
    corners = [function(made(x), made(y)) for x, y in itertools.product((a.low, a.high), (b.low, b.high))]
    return _make_range_from_ends(corners, nan=nan or a.nan or b.nan)


def _make_range_rule_of_increasing_function(function: Callable[[Any], Any], *, rough: bool = False) -> _Rule:
    """Return a rule for a function of one number that never decreases. A rule computes the range of an operator's
    output from the ranges of its inputs.

    Args:
        function: the function, in numpy.
        rough: whether engines may compute it with a small error, so that the range must be a little wider.
    """

    def compute_range(_: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
        made = dtype.type if dtype.kind == "f" else np.float64
        ends = _make_range_from_ends([function(made(given[0].low)), function(made(given[0].high))], nan=given[0].nan)
        return _widen_range(ends, dtype) if rough else ends

    return compute_range


def _widen_range(found: NumberRange, dtype: np.dtype[Any]) -> NumberRange:
    """Return a range that is wider by a thousandth, for a function that engines compute with a small error."""
    return _round_range(
        NumberRange(found.low - _ROUGH * abs(found.low), found.high + _ROUGH * abs(found.high), found.nan), dtype
    )


def _negate_range(_: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
    return NumberRange(-given[0].high, -given[0].low, given[0].nan)


def _add_ranges(_: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    a, b = given
    cancels = (math.isinf(a.high) and math.isinf(b.low)) or (math.isinf(a.low) and math.isinf(b.high))
    return _compute_range_from_corners(lambda x, y: x + y, a, b, dtype, nan=cancels)


def _multiply_ranges(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    a, b = given
    nan = (a.may_be_infinite and b.may_be_zero) or (b.may_be_infinite and a.may_be_zero)
    found = _compute_range_from_corners(lambda x, y: x * y, a, b, dtype, nan=nan)
    # Near 0 a product may be 0. Infinity times 0 is NaN, and the other products are still possible.
    found = found | _ZERO if a.may_be_zero or b.may_be_zero else found
    return replace(found, low=max(found.low, 0.0)) if node.inputs[0] is node.inputs[1] else found


def _divide_ranges(_: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    a, b = given
    nan = (a.may_be_zero and b.may_be_zero) or (a.may_be_infinite and b.may_be_infinite)
    if b.may_be_zero:
        return replace(ANYTHING, nan=nan or a.nan or b.nan)
    found = _compute_range_from_corners(lambda x, y: x / y, a, b, dtype, nan=nan)
    return found | _ZERO if a.may_be_zero or b.may_be_infinite else found


def _compute_matmul_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the output of a MatMul, Gemm, Conv or Einsum. If one of the summed products may be infinite,
    the sum may be NaN."""
    factors = given if node.op_type == "Einsum" else given[:2]
    largest = _MOST_SUMMED * math.prod(one.largest_magnitude for one in factors)
    for place, value in enumerate(node.inputs[:2]):
        if value is not None and value.const_value is not None and len(factors) == 2:
            weights = np.abs(value.const_value.numpy().astype(np.float64))
            largest = _compute_largest_weight_sum(node, place, weights) * given[1 - place].largest_magnitude
    # alpha and beta of a Gemm.
    scales = [abs(value.as_float()) for value in node.attributes.values() if value.name in ("alpha", "beta")]
    largest *= max([1.0, *scales])
    found = _round_range(NumberRange(-largest if any(one.low < 0 for one in factors) else 0.0, largest), dtype)
    for more in given[len(factors) :]:
        found = _add_ranges(node, (found, more if not scales else more | _ZERO), dtype)
    return replace(
        found, nan=_join_ranges(given).nan or found.may_be_infinite or any(one.may_be_infinite for one in given)
    )


def _compute_largest_weight_sum(
    node: ir.Node, input_index: int, weights: np.ndarray[Any, np.dtype[np.float64]]
) -> float:
    """Return the largest sum of absolute weights that enters one number of a product's result.

    Args:
        node: the MatMul, Gemm, Conv or Einsum.
        input_index: the index of the input that holds the weights, 0 or 1.
        weights: the absolute weights.
    """
    if node.op_type == "Conv":
        weights = weights.reshape(len(weights), -1).sum(1)
    elif node.op_type != "Einsum" and weights.ndim > 1:
        turned = node.attributes.get("transA" if input_index == 0 else "transB")
        is_turned = turned is not None and bool(turned.as_int())
        weights = weights.sum(-1 if (input_index == 0) != is_turned else -2)
    else:
        weights = weights.sum()
    return float(weights.max(initial=0.0))


def _round_range(found: NumberRange, dtype: np.dtype[Any]) -> NumberRange:
    if dtype.kind != "f":
        return found
    return NumberRange(float(dtype.type(found.low)), float(dtype.type(found.high)), found.nan)


def _compute_pad_range(node: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the output of a Pad or Trilu: the input's numbers and the padding value, which is 0 by
    default and for a Trilu. `given` are the ranges of its inputs."""
    return given[0] | (given[2] if node.op_type == "Pad" and len(given) > 2 else _ZERO)


def _compute_scatter_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    how = node.attributes.get("reduction")
    data, _, updates = given[:3]
    if how is None or how.as_string() in ("none", "max", "min"):
        return data | updates
    if how.as_string() != "add":
        return ANYTHING
    return data | _add_ranges(node, (data, _round_range(_compute_sum_range(updates), dtype)), dtype)


def _compute_sum_range(x: NumberRange) -> NumberRange:
    """Return the range of a sum of 1 to 2^20 numbers, each in the range `x`."""
    cancels = math.isinf(x.low) and math.isinf(x.high)
    return NumberRange(min(x.low, x.low * _MOST_SUMMED), max(x.high, x.high * _MOST_SUMMED), x.nan or cancels)


def _compute_reduce_sum_range(_: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    return _round_range(_compute_sum_range(given[0]), dtype)


def _compute_mean_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    # The sum may overflow before it is divided.
    total = _compute_reduce_sum_range(node, given, dtype)
    if total.may_be_infinite:
        return total
    moved = _widen_range(given[0], dtype)
    return moved | _ZERO if node.op_type == "AveragePool" else moved


def _compute_max_range(_: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
    return NumberRange(max(one.low for one in given), max(one.high for one in given), any(one.nan for one in given))


def _compute_min_range(_: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
    return NumberRange(min(one.low for one in given), min(one.high for one in given), any(one.nan for one in given))


def _compute_clip_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    bounds = [given[i] if len(node.inputs) > i and node.inputs[i] is not None else None for i in (1, 2)]
    found = given[0]
    if bounds[0] is not None:
        found = _compute_max_range(node, (found, bounds[0]), dtype)
    return found if bounds[1] is None else _compute_min_range(node, (found, bounds[1]), dtype)


def _read_constant_exponent(node: ir.Node) -> float | None:
    value = node.inputs[1]
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return float(value.const_value.numpy().reshape(()))


def _make_range_rule_of_bounded_function(bounds: NumberRange) -> _Rule:
    """Return a rule for a function whose results lie within `bounds`, or are NaN for NaN. A rule computes the range of
    an operator's output from the ranges of its inputs."""

    def compute_range(_: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
        return replace(bounds, nan=given[0].nan)

    return compute_range


def _compute_leaky_relu_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the output of a LeakyRelu, Elu, Selu or Celu. `given` are the ranges of its inputs."""
    x, alpha = given[0], node.attributes.get("alpha")
    times = 2.0 if alpha is None else max(2.0, abs(alpha.as_float()))
    below = min(x.low, 0.0) * times
    above = max(max(x.high, 0.0) * 2, -below if alpha is not None and alpha.as_float() < 0 else 0.0)
    return _round_range(NumberRange(below, above, x.nan), dtype) | _ZERO


def _compute_log_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    x = given[0]
    above = NumberRange(max(x.low, 0.0), max(x.high, 0.0), x.nan or x.low < 0)
    return _make_range_rule_of_increasing_function(np.log, rough=True)(node, (above,), dtype)


def _compute_sqrt_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    x = given[0]
    above = NumberRange(max(x.low, 0.0), max(x.high, 0.0), x.nan or x.low < 0)
    return _make_range_rule_of_increasing_function(np.sqrt)(node, (above,), dtype)


def _compute_pow_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    x, exponent = given[0], _read_constant_exponent(node)
    if exponent is None or not math.isfinite(exponent):
        return ANYTHING
    made = dtype.type if dtype.kind == "f" else np.float64
    is_whole = exponent == round(exponent)
    below = x.low < 0
    if exponent < 0 and x.may_be_zero:
        return replace(ANYTHING, nan=x.nan or (below and not is_whole))
    ends = [np.power(made(end), made(exponent)) for end in (x.low, x.high)]
    if below and not is_whole:
        ends[0] = made(0.0)
    found = _make_range_from_ends([*ends, *([0.0] if x.may_be_zero else [])], nan=x.nan or (below and not is_whole))
    return _widen_range(found, dtype)


def _compute_log_softmax_range(_: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    x = given[0]
    return _round_range(NumberRange(-2 * x.largest_magnitude - 100, 0.0, x.nan or x.may_be_infinite), dtype)


def _compute_normalization_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the output of a layer that subtracts a mean and divides by a standard deviation. `given` are
    the ranges of its inputs. The result for n numbers is at most the root of n. Without an epsilon, equal numbers give
    NaN. A BatchNormalization divides by a stored deviation, so its range is wider."""
    x = _join_ranges(given)
    epsilon = node.attributes.get("epsilon")
    if node.op_type == "LpNormalization" or (epsilon is not None and np.float32(epsilon.as_float()) == 0):
        x = replace(x, nan=True)
    if node.op_type == "BatchNormalization":
        return replace(
            _round_range(NumberRange(-x.largest_magnitude * 1e6, x.largest_magnitude * 1e6), dtype),
            nan=x.nan or x.may_be_infinite,
        )
    others = [one.largest_magnitude for one in given[1:]]
    most = math.sqrt(_MOST_SUMMED) * max(others[:1], default=1.0) + max(others[1:2], default=0.0)
    return NumberRange(-most, most, x.nan or x.may_be_infinite)


def _compute_magnitude_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the output of an Abs, a norm (ReduceL1, ReduceL2) or a ReduceSumSquare. `given` are the
    ranges of its inputs."""
    x = given[0]
    size = NumberRange(0.0 if x.may_be_zero else min(abs(x.low), abs(x.high)), x.largest_magnitude, x.nan)
    if node.op_type == "Abs":
        return size
    if node.op_type == "ReduceL1":
        return _round_range(_compute_sum_range(size), dtype)
    squares = _compute_sum_range(_compute_range_from_corners(lambda a, b: a * b, size, size, dtype, nan=False))
    if node.op_type == "ReduceSumSquare":
        return _round_range(squares, dtype)
    return _compute_sqrt_range(node, (_round_range(squares, dtype),), dtype)


def _compute_relu_range(node: ir.Node, given: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    found = _compute_max_range(node, (given[0], _ZERO), dtype)
    return found if node.op_type == "Relu" else replace(found, low=0.0, high=found.high + 1)


def _compute_constant_range(node: ir.Node, _: _InputRanges, dtype: np.dtype[Any]) -> NumberRange:
    value = next(iter(node.attributes.values()), None)
    if value is None:
        return _ZERO
    if value.type == ir.AttributeType.TENSOR:
        return _find_array_range(value.as_tensor().numpy())
    return _find_array_range(np.asarray(value.value)) if dtype.kind in "fiub" else ANYTHING


def _has_bounded_activations(node: ir.Node) -> bool:
    """Return whether all activations of a recurrent layer have bounded results: Sigmoid, Tanh or HardSigmoid."""
    value = node.attributes.get("activations")
    return value is None or all(one in ("Sigmoid", "Tanh", "HardSigmoid") for one in value.as_strings())


def _compute_recurrent_range(node: ir.Node, given: _InputRanges, _dtype: np.dtype[Any]) -> NumberRange:
    """Return the range of the outputs of an RNN, GRU or LSTM. Finite inputs give finite outputs; infinite inputs may
    give NaN. `given` are the ranges of its inputs."""
    lengths, initial = 4, 5
    x = _join_ranges(one for i, one in enumerate(given) if i != lengths)
    state = given[initial] if len(given) > initial else _ZERO
    found = _UNIT | replace(state, nan=False) if _has_bounded_activations(node) else _STATE
    return replace(found, nan=x.nan or x.may_be_infinite)


_OPERATORS: Final[Mapping[_Rule, str]] = {
    _add_ranges: "Add",
    lambda node, given, dtype: _add_ranges(node, (given[0], _negate_range(node, given[1:], dtype)), dtype): "Sub",
    _multiply_ranges: "Mul",
    _divide_ranges: "Div",
    lambda node, given, dtype: _divide_ranges(node, (NumberRange(1.0, 1.0), given[0]), dtype): "Reciprocal",
    _negate_range: "Neg",
    _compute_matmul_range: "MatMul Gemm Conv Einsum",
    lambda _node, given, _dtype: _join_ranges(given): "Concat",
    _compute_pad_range: "Pad Trilu",
    lambda _node, given, _dtype: given[2]: "OneHot",
    _compute_scatter_range: "ScatterElements ScatterND",
    # The numbers, or their indices.
    lambda _node, given, _dtype: given[0] | NumberRange(0.0, float(_MOST_SUMMED)): "TopK",
    lambda _node, given, _dtype: given[
        0
    ]: "Gather GatherElements GatherND Slice Split Squeeze Unsqueeze Reshape Flatten "
    "Transpose Expand Tile Identity ReverseSequence Compress DepthToSpace Dropout ReduceMax ReduceMin MaxPool "
    "GlobalMaxPool",
    _compute_leaky_relu_range: "LeakyRelu Elu Selu Celu",
    _make_range_rule_of_increasing_function(np.floor): "Floor",
    _make_range_rule_of_increasing_function(np.ceil): "Ceil",
    _make_range_rule_of_increasing_function(np.round): "Round",
    _compute_reduce_sum_range: "ReduceSum CumSum",
    _compute_mean_range: "ReduceMean AveragePool GlobalAveragePool",
    _compute_max_range: "Max",
    _compute_min_range: "Min",
    _compute_clip_range: "Clip",
    lambda _node, given, dtype: _round_range(given[0], dtype): "Cast CastLike",
    _make_range_rule_of_bounded_function(_SHARE): "Sigmoid HardSigmoid",
    _make_range_rule_of_bounded_function(_UNIT): "Tanh Erf Sign Softsign",
    lambda _node, given, _dtype: replace(_UNIT, nan=given[0].nan or given[0].may_be_infinite): "Sin Cos",
    _make_range_rule_of_increasing_function(np.exp, rough=True): "Exp",
    _compute_log_range: "Log",
    _compute_sqrt_range: "Sqrt",
    _compute_pow_range: "Pow",
    # The softmax of nothing but minus infinities is NaN.
    lambda _node, given, _dtype: replace(_SHARE, nan=given[0].nan or given[0].may_be_infinite): "Softmax",
    _compute_log_softmax_range: "LogSoftmax",
    _compute_normalization_range: "LayerNormalization InstanceNormalization BatchNormalization GroupNormalization "
    "LpNormalization",
    _compute_magnitude_range: "Abs ReduceL1 ReduceL2 ReduceSumSquare",
    _compute_relu_range: "Relu Softplus",
    lambda _node, given, _dtype: given[1] | given[2]: "Where",
    _compute_constant_range: "ConstantOfShape Constant",
    _compute_recurrent_range: "RNN GRU LSTM",
    lambda _node, given, _dtype: _join_ranges(given[:2]): "Range",
    # Sizes, indices and booleans.
    lambda _node, _given, _dtype: NumberRange(
        0.0, 2.0**40
    ): "Shape Size NonZero ArgMax ArgMin EyeLike IsNaN IsInf Not And Or Xor Equal Less "
    "LessOrEqual Greater GreaterOrEqual",
}
_RULES: Final = {name: rule for rule, names in _OPERATORS.items() for name in names.split()}
