"""Which kinds of numbers may be among the values of a graph: NaN, infinities, zeros, negative ones.

It is reckoned from the operators, once over the graph; where an operator is not known, all of them may be. Overflow of
float32 counts for exponentials, and of large numbers, such as samples may be, for products, powers and float16: not for
their sums, and products with weights, which overflow where samples are near the largest number themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

__all__ = ["ANYTHING", "SAMPLES", "Kinds", "bodies", "kinds_in"]

# The name of the layer that has rows of samples, of which users' may be of any size.
SAMPLES: Final = "pocketrnn_samples"
# From here on a number is large: its product with another large one overflows.
_LARGE: Final = 1e19


@dataclass(frozen=True)
class Kinds:
    """The kinds of numbers that a value may hold.

    Attributes:
        nan: NaN.
        more: plus infinity.
        less: minus infinity.
        zero: zero.
        negative: numbers below zero.
        large: finite numbers of which a square overflows.
    """

    nan: bool = False
    more: bool = False
    less: bool = False
    zero: bool = True
    negative: bool = True
    large: bool = False

    @property
    def infinite(self) -> bool:
        """Whether one of both infinities may be."""
        return self.more or self.less

    def __or__(self, other: Kinds) -> Kinds:
        return Kinds(
            self.nan or other.nan,
            self.more or other.more,
            self.less or other.less,
            self.zero or other.zero,
            self.negative or other.negative,
            self.large or other.large,
        )


# A node, and the kinds of its inputs -> those of its outputs.
_Rule = Callable[[ir.Node, Sequence[Kinds]], Kinds]
ANYTHING: Final = Kinds(nan=True, more=True, less=True, large=True)
_FINITE: Final = Kinds()
_NONE: Final = Kinds(zero=False, negative=False)
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
# A loop's states are reckoned until nothing is added: each kind is added once.
_ROUNDS: Final = 6


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs that an If, Loop or Scan holds."""
    return [value.as_graph() for value in node.attributes.values() if value.type == ir.AttributeType.GRAPH]


def kinds_in(graph: ir.Graph, given: Kinds = _FINITE) -> Mapping[ir.Value, Kinds]:
    """The kinds of numbers of every value of a graph, and of the graphs inside it; of its inputs they are given."""
    known: dict[ir.Value, Kinds] = dict.fromkeys(graph.inputs, given)
    _reckon(graph, known)
    return known


def _reckon(graph: ir.Graph, known: dict[ir.Value, Kinds]) -> None:
    for value in graph.initializers.values():
        known[value] = ANYTHING if value.const_value is None else _of_array(value.const_value.numpy())
        if (value.name or "").endswith(f"{SAMPLES}.weight"):
            known[value] = Kinds(large=True)
    for node in graph:
        inside = bodies(node)
        if inside:
            found = _of_bodies(node, inside, known)
        else:
            found = _of_node(node, [_FINITE if v is None else known.get(v, _FINITE) for v in node.inputs])
        for value in node.outputs:
            is_number = value.dtype is None or value.dtype in _FLOATS
            known[value] = found if is_number else replace(found, nan=False, more=False, less=False)


def _of_bodies(node: ir.Node, inside: Sequence[ir.Graph], known: dict[ir.Value, Kinds]) -> Kinds:
    """The kinds of numbers that an If, Loop or Scan gives: any of its inputs may stand for any input of its bodies, and
    any output of these may come back as a state."""
    given = _union(known.get(value, _FINITE) for value in node.inputs if value is not None)
    for _ in range(_ROUNDS):
        for body in inside:
            known.update(dict.fromkeys(body.inputs, given))
            _reckon(body, known)
        after = given | _union(known.get(value, _FINITE) for body in inside for value in body.outputs)
        if after == given:
            return given
        given = after
    return ANYTHING


def _union(kinds: Iterable[Kinds]) -> Kinds:
    found = _NONE
    for one in kinds:
        found |= one
    return found


def _of_array(array: Any) -> Kinds:
    if array.dtype.kind not in "fiub":
        # bfloat16 and its like.
        array = array.astype(np.float32)
    floats = array.dtype.kind == "f"
    return Kinds(
        floats and bool(np.isnan(array).any()),
        floats and bool(np.isposinf(array).any()),
        floats and bool(np.isneginf(array).any()),
        not array.all(),
        array.dtype.kind != "b" and bool((array < 0).any()),
        floats and bool((np.abs(array[np.isfinite(array)]) > _LARGE).any()),
    )


def _of_node(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    reckoned = _RULES.get(node.op_type)
    if node.domain or reckoned is None:
        return ANYTHING
    return reckoned(node, given)


def _sum_of(a: Kinds, b: Kinds) -> Kinds:
    cancels = (a.more and b.less) or (a.less and b.more)
    negative = a.negative or b.negative
    return Kinds(
        a.nan or b.nan or cancels,
        a.more or b.more,
        a.less or b.less,
        negative or (a.zero and b.zero),
        negative,
        a.large or b.large,
    )


def _negated(x: Kinds) -> Kinds:
    # Numbers that are neither negative nor zero all become negative.
    return Kinds(x.nan, x.less, x.more, x.zero, True, x.large)


def _negative(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return _negated(given[0])


def _add(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return _sum_of(given[0], given[1])


def _subtract(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return replace(_sum_of(given[0], _negated(given[1])), zero=True)


def _times(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    a, b = given[0], given[1]
    none = (a.infinite and b.zero) or (b.infinite and a.zero)
    is_square = node.inputs[0] is node.inputs[1]
    endless = a.infinite or b.infinite or (a.large and b.large)
    negative = not is_square and (a.negative or b.negative)
    large = a.large or b.large
    return Kinds(a.nan or b.nan or none, endless, endless and negative, a.zero or b.zero, negative, large)


def _over(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    a, b = given[0], given[1]
    none = (a.zero and b.zero) or (a.infinite and b.infinite)
    negative = a.negative or b.negative
    endless = a.infinite or b.zero
    return Kinds(a.nan or b.nan or none, endless, endless and negative, a.zero or b.infinite, negative, a.large)


def _reciprocal(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    (x,) = given
    return Kinds(x.nan, x.zero, x.zero and x.negative, x.infinite, x.negative)


def _product(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    """Sums of products: of finite numbers they are finite, where not two of them are large."""
    all_given = _union(given)
    endless = all_given.infinite or sum(one.large for one in given) > 1
    return Kinds(all_given.nan or endless, endless, endless, negative=all_given.negative, large=all_given.large)


def _same(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    """An operator that only moves numbers: the kinds of all inputs. Indices and shapes among them add no other kind."""
    return _union(given)


def _first(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return given[0]


def _summed(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    x = given[0]
    return replace(x, nan=x.nan or (x.more and x.less), zero=x.zero or x.negative)


def _largest(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    # The largest of many is not negative as soon as one of the others never is.
    negative = all(one.negative for one in given)
    zero = negative or all(one.zero or one.negative for one in given)
    return Kinds(
        any(one.nan for one in given),
        any(one.more for one in given),
        all(one.less for one in given),
        zero,
        negative,
        any(one.large for one in given),
    )


def _least(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    found = _union(given)
    return replace(found, more=all(one.more for one in given))


def _clipped(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    x = given[0]
    low, high = (_number(node, i) for i in (1, 2))
    if low is not None:
        x = replace(x, less=x.less and low == -np.inf, negative=x.negative and low < 0, zero=x.zero and low <= 0)
        x = replace(x, zero=x.zero or (x.negative and low <= 0))
    if low is not None and high is not None:
        x = replace(x, large=x.large and max(-low, high) > _LARGE)
    return x if high is None else replace(x, more=x.more and high == np.inf)


def _cast(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    """Numbers above 65,504 are infinite in float16."""
    (x,), to = given, node.attributes.get("to")
    if to is None or to.as_int() != ir.DataType.FLOAT16:
        return x
    return replace(x, more=x.more or x.large, less=x.less or (x.large and x.negative), large=False)


def _number(node: ir.Node, index: int) -> float | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return float(value.const_value.numpy().reshape(()))


def _within(*, negative: bool) -> _Rule:
    """Functions whose values are finite: of NaN they are NaN."""
    return lambda _, given: Kinds(given[0].nan, negative=negative and given[0].negative)


def _wave(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return Kinds(given[0].nan or given[0].infinite)


def _exponential(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return Kinds(given[0].nan, more=True, zero=True, negative=False)


def _logarithm(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    (x,) = given
    return Kinds(x.nan or x.negative, x.more, less=x.zero)


def _root(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    (x,) = given
    return Kinds(x.nan or x.negative, x.more, zero=x.zero, negative=False)


def _power(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    x, exponent = given[0], _number(node, 1)
    if exponent is None:
        return ANYTHING
    if exponent >= 1 and exponent == round(exponent):
        even = exponent % 2 == 0
        endless = x.large and exponent > 1
        less = x.less or (endless and x.negative)
        return Kinds(x.nan, x.infinite or endless, less and not even, x.zero, x.negative and not even, x.large)
    endless = x.infinite or (x.zero and exponent < 0) or (x.large and exponent > 1)
    return Kinds(x.nan or x.negative, endless, zero=True, negative=False, large=x.large)


def _softmax(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    x = given[0]
    # The softmax of minus infinities alone is NaN.
    return Kinds(x.nan or x.infinite, negative=False)


def _log_softmax(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    x = given[0]
    return Kinds(x.nan or x.infinite, less=x.infinite)


def _normed(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    """Layers that take the mean off and divide by a deviation that is never zero."""
    x = _union(given)
    return Kinds(x.nan or x.infinite)


def _not_negative(node: ir.Node, given: Sequence[Kinds]) -> Kinds:
    endless = given[0].infinite or (given[0].large and node.op_type in ("ReduceL2", "ReduceSumSquare"))
    return replace(given[0], more=endless, less=False, negative=False)


def _from_zero_on(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return Kinds(given[0].nan, given[0].more, zero=True, negative=False, large=given[0].large)


def _whole(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    del given
    return _FINITE


def _chosen(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    return given[1] | given[2]


def _filled(node: ir.Node, _: Sequence[Kinds]) -> Kinds:
    value = node.attributes.get("value")
    return _FINITE if value is None else _of_array(value.as_tensor().numpy())


def _recurrent(_: ir.Node, given: Sequence[Kinds]) -> Kinds:
    """A layer of finite numbers gives finite ones; of infinite ones it may give NaN."""
    lengths = 4
    x = _union(one for i, one in enumerate(given) if i != lengths)
    return Kinds(x.nan or x.infinite)


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
        _same: "Concat Pad OneHot ScatterElements ScatterND",
        _first: "Gather GatherElements GatherND Slice Split Squeeze Unsqueeze Reshape Flatten Transpose Expand Tile "
        "Identity CastLike ReverseSequence Compress Trilu DepthToSpace Dropout TopK ReduceMax ReduceMin MaxPool "
        "GlobalMaxPool AveragePool GlobalAveragePool LeakyRelu Elu Selu Celu Floor Ceil Round",
        _summed: "ReduceSum ReduceMean CumSum",
        _largest: "Max",
        _least: "Min",
        _clipped: "Clip",
        _cast: "Cast",
        _within(negative=False): "Sigmoid HardSigmoid",
        _within(negative=True): "Tanh Erf Sign Softsign",
        _wave: "Sin Cos",
        _exponential: "Exp",
        _logarithm: "Log",
        _root: "Sqrt",
        _power: "Pow",
        _softmax: "Softmax",
        _log_softmax: "LogSoftmax",
        _normed: "LayerNormalization InstanceNormalization BatchNormalization GroupNormalization LpNormalization",
        _not_negative: "Abs ReduceL1 ReduceL2 ReduceSumSquare",
        _from_zero_on: "Relu Softplus",
        _chosen: "Where",
        _filled: "ConstantOfShape Constant",
        _recurrent: "RNN GRU LSTM",
        _whole: "Shape Size Range NonZero ArgMax ArgMin EyeLike IsNaN IsInf Not And Or Xor Equal Less "
        "LessOrEqual Greater GreaterOrEqual",
    }
)
