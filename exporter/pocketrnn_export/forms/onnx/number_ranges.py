"""The range of the numbers that each value of a graph may hold, and whether NaN may be among them.

It is reckoned from the operators, once over the graph, in each value's own type. Rounding keeps order, so that the ends
of a range are what the operator makes of the ends of its inputs' ranges, rounded as it rounds: where they overflow or
become 0, the numbers between them may. Where an operator is not known, a value may be any number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

__all__ = ["ANYTHING", "SAMPLES", "NumberRange", "bodies", "ranges_in"]

# The name of the layer that has rows of samples, of which users' may be of any size.
SAMPLES: Final = "pocketrnn_samples"
# Samples are taken for no larger: the product of two of them overflows, and their sums do not.
_LARGEST_SAMPLE: Final = 1e20
# More numbers are not added up: those of a text, or of an axis of unknown size.
_MOST_SUMMED: Final = 2.0**20
# The states of a loop, and the outputs of a layer without a bound of its own, are taken for no larger, if finite.
_LARGEST_STATE: Final = 1e18
# Some functions are not rounded to the nearest number; an end is moved by this share.
_ROUGH: Final = 1e-3
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
# A loop's states are reckoned until they are held by what is taken for them.
_ROUNDS: Final = 6


@dataclass(frozen=True)
class NumberRange:
    """The numbers that a value may hold.

    Attributes:
        low: none is less; minus infinity where that may be among them.
        high: none is more.
        nan: whether NaN may be among them.

    Example:
        >>> NumberRange(0.0, 1.0) | NumberRange(-1.0, math.inf)
        NumberRange(low=-1.0, high=inf, nan=False)
    """

    low: float
    high: float
    nan: bool = False

    @property
    def infinite(self) -> bool:
        """Whether one of both infinities may be."""
        return math.isinf(self.low) or math.isinf(self.high)

    @property
    def zero(self) -> bool:
        """Whether 0 may be."""
        return self.low <= 0 <= self.high

    @property
    def largest(self) -> float:
        """No number's size is more."""
        return max(-self.low, self.high)

    def __or__(self, other: NumberRange) -> NumberRange:
        return NumberRange(min(self.low, other.low), max(self.high, other.high), self.nan or other.nan)


# A node, the ranges of its inputs (0 for one that is left out), and its numbers' type -> the range of its outputs.
_Inputs = Sequence[NumberRange]
_Rule = Callable[[ir.Node, _Inputs, np.dtype[Any]], NumberRange]
ANYTHING: Final = NumberRange(-math.inf, math.inf, nan=True)
_ZERO: Final = NumberRange(0.0, 0.0)
_UNIT: Final = NumberRange(-1.0, 1.0)
_SHARE: Final = NumberRange(0.0, 1.0)
_STATE: Final = NumberRange(-_LARGEST_STATE, _LARGEST_STATE)


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs that an If, Loop or Scan holds."""
    return [value.as_graph() for value in node.attributes.values() if value.type == ir.AttributeType.GRAPH]


def ranges_in(graph: ir.Graph, given: NumberRange = _STATE) -> Mapping[ir.Value, NumberRange]:
    """The range of every value of a graph, and of the graphs inside it; of the floats among its inputs it is given."""
    known = {value: _of_type(given, _type_of(value)) for value in graph.inputs}
    _reckon(graph, known)
    return known


def _reckon(graph: ir.Graph, known: dict[ir.Value, NumberRange]) -> None:
    for value in graph.initializers.values():
        known[value] = ANYTHING if value.const_value is None else _of_array(value.const_value.numpy())
        if (value.name or "").endswith(f"{SAMPLES}.weight"):
            known[value] = NumberRange(-_LARGEST_SAMPLE, _LARGEST_SAMPLE)
    for node in graph:
        inside = bodies(node)
        given = [_ZERO if value is None else known.get(value, ANYTHING) for value in node.inputs]
        found = _of_bodies(given, inside, known) if inside else None
        for place, value in enumerate(node.outputs):
            kind = _type_of(value)
            known[value] = _of_type(_of_node(node, given, kind, place) if found is None else found, kind)


def _of_bodies(given: _Inputs, inside: Sequence[ir.Graph], known: dict[ir.Value, NumberRange]) -> NumberRange:
    """The range of what an If, Loop or Scan gives: any of its inputs may stand for any input of its bodies, and any
    output of these may come back as a state."""
    taken = _union(given)
    for _ in range(_ROUNDS):
        for body in inside:
            known.update({value: _of_type(taken, _type_of(value)) for value in body.inputs})
            _reckon(body, known)
        made = taken | _union(known.get(value, ANYTHING) for body in inside for value in body.outputs)
        made = NumberRange(_stopped(made.low), _stopped(made.high), made.nan)
        if made == taken:
            return taken
        taken = made
    return ANYTHING


def _stopped(end: float) -> float:
    """The end of a loop's range: it grows to 0, a state's largest number or infinity, so that it comes to rest."""
    return end if math.isinf(end) or end == 0 else math.copysign(max(abs(end), _LARGEST_STATE), end)


def _union(ranges: Iterable[NumberRange]) -> NumberRange:
    found: NumberRange | None = None
    for one in ranges:
        found = one if found is None else found | one
    return _ZERO if found is None else found


def _of_array(array: Any) -> NumberRange:
    if array.dtype.kind not in "fiub":
        # bfloat16 and its like.
        array = array.astype(np.float32)
    if not array.size:
        return _ZERO
    numbers = array[~np.isnan(array)] if array.dtype.kind == "f" else array
    if not numbers.size:
        return replace(_ZERO, nan=True)
    return NumberRange(float(numbers.min()), float(numbers.max()), numbers.size < array.size)


def _type_of(value: ir.Value) -> np.dtype[Any]:
    """The type of a value's numbers; float32 where it is not known, and for those of 16 bits that numpy has not."""
    kind = value.dtype
    if kind is None or kind in (ir.DataType.BFLOAT16, ir.DataType.STRING):
        return np.dtype(np.float32)
    return np.dtype(kind.numpy())


def _of_type(found: NumberRange, kind: np.dtype[Any]) -> NumberRange:
    """A range in a type: whole numbers begin anew beyond the largest one, and are none of NaN and infinities."""
    if kind.kind == "b":
        return _SHARE
    if kind.kind not in "iu":
        return found
    least, most = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    if found.nan or found.low < least or found.high > most:
        return NumberRange(least, most)
    return NumberRange(float(math.trunc(found.low)), float(math.trunc(found.high)))


def _of_node(node: ir.Node, given: _Inputs, kind: np.dtype[Any], place: int) -> NumberRange:
    reckoned = _RULES.get(node.op_type)
    if node.domain or reckoned is None:
        return ANYTHING
    with np.errstate(all="ignore"):
        found = reckoned(node, given, kind)
    # The cells of an LSTM are sums, unlike its states.
    return replace(_STATE, nan=found.nan) if place == 2 and node.op_type == "LSTM" else found


def _ends(numbers: Iterable[Any], *, nan: bool) -> NumberRange:
    """The range of what an operator makes of ends; what is NaN of them is told otherwise."""
    made = [float(number) for number in numbers]
    left = [number for number in made if not math.isnan(number)]
    return NumberRange(min(left), max(left), nan) if left else replace(ANYTHING, nan=nan)


def _pairs(function: Callable[[Any, Any], Any], a: NumberRange, b: NumberRange, kind: np.dtype[Any], *, nan: bool) -> (
    NumberRange
):  # fmt: skip
    """The range of the results of a function that is monotone in each of two numbers."""
    made = kind.type if kind.kind == "f" else np.float64
    corners = [function(made(x), made(y)) for x, y in itertools.product((a.low, a.high), (b.low, b.high))]
    return _ends(corners, nan=nan or a.nan or b.nan)


def _monotone(function: Callable[[Any], Any], *, rough: bool = False) -> _Rule:
    """A function that never falls, of one number."""

    def reckoned(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
        made = kind.type if kind.kind == "f" else np.float64
        ends = _ends([function(made(given[0].low)), function(made(given[0].high))], nan=given[0].nan)
        return _moved(ends, kind) if rough else ends

    return reckoned


def _moved(found: NumberRange, kind: np.dtype[Any]) -> NumberRange:
    """A range whose ends stand a little further out."""
    return _rounded(
        NumberRange(found.low - _ROUGH * abs(found.low), found.high + _ROUGH * abs(found.high), found.nan), kind
    )


def _negative(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return NumberRange(-given[0].high, -given[0].low, given[0].nan)


def _add(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    a, b = given
    cancels = (math.isinf(a.high) and math.isinf(b.low)) or (math.isinf(a.low) and math.isinf(b.high))
    return _pairs(lambda x, y: x + y, a, b, kind, nan=cancels)


def _subtract(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    return _add(node, (given[0], _negative(node, given[1:], kind)), kind)


def _times(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    a, b = given
    nan = (a.infinite and b.zero) or (b.infinite and a.zero)
    found = _pairs(lambda x, y: x * y, a, b, kind, nan=nan)
    # Near 0 on both sides, a product may be 0; infinity times 0 is NaN, beside which there are products of others.
    found = found | _ZERO if a.zero or b.zero else found
    return replace(found, low=max(found.low, 0.0)) if node.inputs[0] is node.inputs[1] else found


def _over(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    a, b = given
    nan = (a.zero and b.zero) or (a.infinite and b.infinite)
    if b.zero:
        return replace(ANYTHING, nan=nan or a.nan or b.nan)
    found = _pairs(lambda x, y: x / y, a, b, kind, nan=nan)
    return found | _ZERO if a.zero or b.infinite else found


def _reciprocal(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    return _over(node, (NumberRange(1.0, 1.0), given[0]), kind)


def _product(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """Sums of products: infinite numbers among them make NaN."""
    factors = given if node.op_type == "Einsum" else given[:2]
    largest = _MOST_SUMMED * math.prod(one.largest for one in factors)
    for place, value in enumerate(node.inputs[:2]):
        if value is not None and value.const_value is not None and len(factors) == 2:
            weights = np.abs(value.const_value.numpy().astype(np.float64))
            largest = _summed(node, place, weights) * given[1 - place].largest
    # alpha and beta of a Gemm.
    scales = [abs(value.as_float()) for value in node.attributes.values() if value.name in ("alpha", "beta")]
    largest *= max([1.0, *scales])
    found = _rounded(NumberRange(-largest if any(one.low < 0 for one in factors) else 0.0, largest), kind)
    for more in given[len(factors) :]:
        found = _add(node, (found, more if not scales else more | _ZERO), kind)
    return replace(found, nan=_union(given).nan or found.infinite or any(one.infinite for one in given))


def _summed(node: ir.Node, place: int, weights: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The largest sum of the sizes of the weights at a place of a product, of those for one of its results."""
    if node.op_type == "Conv":
        weights = weights.reshape(len(weights), -1).sum(1)
    elif node.op_type != "Einsum" and weights.ndim > 1:
        turned = node.attributes.get("transA" if place == 0 else "transB")
        is_turned = turned is not None and bool(turned.as_int())
        weights = weights.sum(-1 if (place == 0) != is_turned else -2)
    else:
        weights = weights.sum()
    return float(weights.max(initial=0.0))


def _rounded(found: NumberRange, kind: np.dtype[Any]) -> NumberRange:
    if kind.kind != "f":
        return found
    return NumberRange(float(kind.type(found.low)), float(kind.type(found.high)), found.nan)


def _same(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """An operator that only moves numbers of all inputs."""
    del kind
    return _union(given)


def _padded(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """The first input's numbers, among others of one value, 0 unless it is given."""
    del kind
    value = {"Pad": 2}.get(node.op_type, len(given))
    return given[0] | (given[value] if len(given) > value else _ZERO)


def _one_hot(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return given[2]


def _first(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return given[0]


def _topmost(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """The numbers, or their places."""
    del kind
    return given[0] | NumberRange(0.0, float(_MOST_SUMMED))


def _scattered(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    how = node.attributes.get("reduction")
    data, _, updates = given[:3]
    if how is None or how.as_string() in ("none", "max", "min"):
        return data | updates
    if how.as_string() != "add":
        return ANYTHING
    return data | _add(node, (data, _rounded(_summed_up(updates, _MOST_SUMMED), kind)), kind)


def _summed_up(x: NumberRange, count: float) -> NumberRange:
    """The range of sums of one to so many numbers."""
    cancels = math.isinf(x.low) and math.isinf(x.high)
    return NumberRange(min(x.low, x.low * count), max(x.high, x.high * count), x.nan or cancels)


def _sum(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    return _rounded(_summed_up(given[0], _MOST_SUMMED), kind)


def _mean(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    # The sum, of which the mean is a share, may overflow.
    total = _sum(node, given, kind)
    if total.infinite:
        return total
    moved = _moved(given[0], kind)
    return moved | _ZERO if node.op_type == "AveragePool" else moved


def _largest(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return NumberRange(max(one.low for one in given), max(one.high for one in given), any(one.nan for one in given))


def _least(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return NumberRange(min(one.low for one in given), min(one.high for one in given), any(one.nan for one in given))


def _clipped(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    bounds = [given[i] if len(node.inputs) > i and node.inputs[i] is not None else None for i in (1, 2)]
    found = given[0]
    if bounds[0] is not None:
        found = _largest(node, (found, bounds[0]), kind)
    return found if bounds[1] is None else _least(node, (found, bounds[1]), kind)


def _cast(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    return _rounded(given[0], kind)


def _number(node: ir.Node, index: int) -> float | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return float(value.const_value.numpy().reshape(()))


def _within(bounds: NumberRange) -> _Rule:
    """Functions whose values are between two numbers: of NaN they are NaN."""

    def reckoned(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
        del kind
        return replace(bounds, nan=given[0].nan)

    return reckoned


def _wave(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return replace(_UNIT, nan=given[0].nan or given[0].infinite)


def _bent(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """LeakyRelu, Elu, ...: above 0 the number itself, or a little more; below 0 a part or some times of it, which may
    be above 0 then."""
    x, alpha = given[0], node.attributes.get("alpha")
    times = 2.0 if alpha is None else max(2.0, abs(alpha.as_float()))
    below = min(x.low, 0.0) * times
    above = max(max(x.high, 0.0) * 2, -below if alpha is not None and alpha.as_float() < 0 else 0.0)
    return _rounded(NumberRange(below, above, x.nan), kind) | _ZERO


def _logarithm(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    x = given[0]
    above = NumberRange(max(x.low, 0.0), max(x.high, 0.0), x.nan or x.low < 0)
    return _monotone(np.log, rough=True)(node, (above,), kind)


def _root(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    x = given[0]
    above = NumberRange(max(x.low, 0.0), max(x.high, 0.0), x.nan or x.low < 0)
    return _monotone(np.sqrt)(node, (above,), kind)


def _power(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    x, exponent = given[0], _number(node, 1)
    if exponent is None or not math.isfinite(exponent):
        return ANYTHING
    made = kind.type if kind.kind == "f" else np.float64
    is_whole = exponent == round(exponent)
    below = x.low < 0
    if exponent < 0 and x.zero:
        return replace(ANYTHING, nan=x.nan or (below and not is_whole))
    ends = [np.power(made(end), made(exponent)) for end in (x.low, x.high)]
    if below and not is_whole:
        ends[0] = made(0.0)
    found = _ends([*ends, *([0.0] if x.zero else [])], nan=x.nan or (below and not is_whole))
    return _moved(found, kind)


def _softmax(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    # The softmax of minus infinities alone is NaN.
    return replace(_SHARE, nan=given[0].nan or given[0].infinite)


def _log_softmax(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    x = given[0]
    return _rounded(NumberRange(-2 * x.largest - 100, 0.0, x.nan or x.infinite), kind)


def _normed(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """Layers that take the mean off and divide by a deviation that is never zero: of n numbers none is beyond the root
    of n then. Without an epsilon, equal numbers give NaN. A BatchNormalization has the deviation of other numbers."""
    x = _union(given)
    epsilon = node.attributes.get("epsilon")
    if node.op_type == "LpNormalization" or (epsilon is not None and np.float32(epsilon.as_float()) == 0):
        x = replace(x, nan=True)
    if node.op_type == "BatchNormalization":
        return replace(_rounded(NumberRange(-x.largest * 1e6, x.largest * 1e6), kind), nan=x.nan or x.infinite)
    others = [one.largest for one in given[1:]]
    most = math.sqrt(_MOST_SUMMED) * max(others[:1], default=1.0) + max(others[1:2], default=0.0)
    return NumberRange(-most, most, x.nan or x.infinite)


def _sizes(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    x = given[0]
    size = NumberRange(0.0 if x.zero else min(abs(x.low), abs(x.high)), x.largest, x.nan)
    if node.op_type == "Abs":
        return size
    if node.op_type == "ReduceL1":
        return _rounded(_summed_up(size, _MOST_SUMMED), kind)
    squares = _summed_up(_pairs(lambda a, b: a * b, size, size, kind, nan=False), _MOST_SUMMED)
    if node.op_type == "ReduceSumSquare":
        return _rounded(squares, kind)
    return _root(node, (_rounded(squares, kind),), kind)


def _positive(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    found = _largest(node, (given[0], _ZERO), kind)
    return found if node.op_type == "Relu" else replace(found, low=0.0, high=found.high + 1)


def _of_sizes(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """Whole numbers of places and sizes, and truths."""
    del given, kind
    return NumberRange(0.0, 2.0**40)


def _counted(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return _union(given[:2])


def _chosen(_: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    del kind
    return given[1] | given[2]


def _filled(node: ir.Node, _: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    value = next(iter(node.attributes.values()), None)
    if value is None:
        return _ZERO
    if value.type == ir.AttributeType.TENSOR:
        return _of_array(value.as_tensor().numpy())
    return _of_array(np.asarray(value.value)) if kind.kind in "fiub" else ANYTHING


def _is_bounded(node: ir.Node) -> bool:
    """Whether a recurrent layer has the usual activations."""
    value = node.attributes.get("activations")
    return value is None or all(one in ("Sigmoid", "Tanh", "HardSigmoid") for one in value.as_strings())


def _recurrent(node: ir.Node, given: _Inputs, kind: np.dtype[Any]) -> NumberRange:
    """A layer of finite numbers gives finite ones; of infinite ones it may give NaN."""
    del kind
    lengths, initial = 4, 5
    x = _union(one for i, one in enumerate(given) if i != lengths)
    state = given[initial] if len(given) > initial else _ZERO
    found = _UNIT | replace(state, nan=False) if _is_bounded(node) else _STATE
    return replace(found, nan=x.nan or x.infinite)


def _table(rules: Mapping[_Rule, str]) -> dict[str, _Rule]:
    return {name: reckoned for reckoned, names in rules.items() for name in names.split()}


_RULES: Final[Mapping[str, _Rule]] = _table(
    {
        _add: "Add",
        _subtract: "Sub",
        _times: "Mul",
        _over: "Div",
        _reciprocal: "Reciprocal",
        _negative: "Neg",
        _product: "MatMul Gemm Conv Einsum",
        _same: "Concat",
        _padded: "Pad Trilu",
        _one_hot: "OneHot",
        _scattered: "ScatterElements ScatterND",
        _topmost: "TopK",
        _first: "Gather GatherElements GatherND Slice Split Squeeze Unsqueeze Reshape Flatten Transpose Expand Tile "
        "Identity ReverseSequence Compress DepthToSpace Dropout ReduceMax ReduceMin MaxPool GlobalMaxPool",
        _bent: "LeakyRelu Elu Selu Celu",
        _monotone(np.floor): "Floor",
        _monotone(np.ceil): "Ceil",
        _monotone(np.round): "Round",
        _sum: "ReduceSum CumSum",
        _mean: "ReduceMean AveragePool GlobalAveragePool",
        _largest: "Max",
        _least: "Min",
        _clipped: "Clip",
        _cast: "Cast CastLike",
        _within(_SHARE): "Sigmoid HardSigmoid",
        _within(_UNIT): "Tanh Erf Sign Softsign",
        _wave: "Sin Cos",
        _monotone(np.exp, rough=True): "Exp",
        _logarithm: "Log",
        _root: "Sqrt",
        _power: "Pow",
        _softmax: "Softmax",
        _log_softmax: "LogSoftmax",
        _normed: "LayerNormalization InstanceNormalization BatchNormalization GroupNormalization LpNormalization",
        _sizes: "Abs ReduceL1 ReduceL2 ReduceSumSquare",
        _positive: "Relu Softplus",
        _chosen: "Where",
        _filled: "ConstantOfShape Constant",
        _recurrent: "RNN GRU LSTM",
        _counted: "Range",
        _of_sizes: "Shape Size NonZero ArgMax ArgMin EyeLike IsNaN IsInf Not And Or Xor Equal Less "
        "LessOrEqual Greater GreaterOrEqual",
    }
)
