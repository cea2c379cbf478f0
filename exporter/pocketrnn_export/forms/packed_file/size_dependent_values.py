"""Find the values of a graph that depend only on the number of tokens, and follow one formula for all numbers of
tokens.

The engine has sizes and counts of the form a * tokens + b; for two texts, a holds both factors
(`sizes_of_two_texts.py`). The numbers a and b come from some runs of the graph; this module decides, operator by
operator from the input on, that they hold for *every* number of tokens that the graph takes: `Shape` of such a value is
such a value, so is the sum of two, and `Min` of two is one of them if the other one is never smaller. `Min(tokens,
620)` is neither where texts may have 700 tokens: the program computes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from pocketrnn_export.forms.packed_file.sizes_of_two_texts import (
    Lengths,
    are_packed_factors_divisible,
    compute_size,
    fit_size_of_two_texts,
)

# a * tokens + b
Size = tuple[int, int]
# The same, where b may be a float, or a bool with a = 0.
Affine = tuple[int, Any]
Array = npt.NDArray[Any]

_ONE: Final = (0, 1)
# The most tokens of a text: the number of its bytes must fit 31 bits.
_MOST_TOKENS: Final = (1 << 31) - 2
# The most tokens for which numbers are checked to fit their type.
_MANY_TOKENS: Final = 1 << 20
# Up to these, a type holds every integer exactly.
HOLDS: Final = {"float16": 1 << 11, "float32": 1 << 24, "float64": 1 << 53, "int32": (1 << 31) - 1}
# Arrays with more numbers than this are not sizes, and are not examined number by number.
_MOST_NUMBERS: Final = 1 << 12
# The inputs whose numbers decide the output's size of an operator, besides the sizes of all inputs.
_SIZED_BY: Final[Mapping[str, tuple[int, ...]]] = {
    "Compress": (1,), "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2),
    "Reshape": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,), "TopK": (1,),
    "Unsqueeze": (1,),
}  # fmt: skip
# The operators whose output size depends only on the sizes of their inputs. That of all others may depend on more.
_SIZED_BY_SIZES: Final = frozenset(
    {"Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip",
     "Concat", "Constant", "Conv", "Cos", "CumSum", "DepthToSpace", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp",
     "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool",
     "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
     "IsInf", "IsNaN", "LSTM",
     "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min",
     "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "RNN", "Reciprocal", "Relu", "ReverseSequence", "Round", "Shape",
     "Sigmoid", "Sign", "Sin", "Size", "Softmax", "Softplus", "Sqrt", "Sub", "Tanh", "Transpose", "Trilu", "Where",
     "Xor"}
)  # fmt: skip
_RANDOM: Final = ("Bernoulli", "Multinomial", "Random")
_COMPARISONS: Final = {
    "Less": {-1}, "LessOrEqual": {-1, 0}, "Greater": {1}, "GreaterOrEqual": {1, 0}, "Equal": {0},
}  # fmt: skip
# Operators that move numbers; their other inputs say where.
_MOVES: Final = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice",
     "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
# Moves that keep a range along one axis.
_KEEPS_A_RANGE: Final = frozenset(
    {"Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)


def read_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of an ONNX node as a dict from their names to their values."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def fit_number_as_affine_in_length(lengths: Sequence[Lengths], numbers: Sequence[Any]) -> Size | None:
    """Find integers a and b such that a * length + b equals the given number at each length. Return (a, b), or None if
    there are no such integers.

    Args:
        lengths: the numbers of tokens; for two texts, pairs of them, and a holds two factors (`sizes_of_two_texts.py`).
        numbers: the number at each length.
    """
    if any(not np.isfinite(number) or number != int(number) for number in numbers):
        return None
    whole = [int(number) for number in numbers]
    of_two = [length for length in lengths if isinstance(length, tuple)]
    if of_two:
        return fit_size_of_two_texts(of_two, whole)
    of_one, a = [length for length in lengths if isinstance(length, int)], 0
    if len(of_one) > 1:
        a, rest = divmod(whole[-1] - whole[0], of_one[-1] - of_one[0])
        if rest:
            return None
    b = whole[0] - a * of_one[0]
    agree = all(a * length + b == number for length, number in zip(of_one, whole, strict=True))
    return (a, b) if agree and max(abs(a), abs(b)) < 1 << 31 else None


def multiply_sizes(sizes: Iterable[Size]) -> Size | None:
    """Return the product of some sizes (a, b), each of which stands for a * tokens + b. Return None if more than one of
    them depends on the number of tokens."""
    a, b = 0, 1
    for more_a, more_b in sizes:
        if a and more_a:
            return None
        a, b = a * more_b + b * more_a, b * more_b
    return a, b


@dataclass
class Span:
    """The numbers of tokens that a graph takes. It decides how two sizes compare for all of these.

    Attributes:
        least, most: the fewest and the most tokens; `most` is None for any number.
        pairs: whether the graph takes two texts; `least` and `most` then hold for each.
        turns: the numbers of tokens near which a comparison of two sizes changes its result, as far as such a
            comparison was asked about.
    """

    least: int = 1
    most: int | None = None
    pairs: bool = False
    turns: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        """The largest number of tokens, also if `most` is None."""
        return _MOST_TOKENS if self.most is None else self.most

    def list_shortest_and_longest_lengths(self, most: int = _MOST_TOKENS) -> list[Lengths]:
        """Return the shortest and the longest length; for two texts, all pairs of these. One of them gives the
        smallest, and one the largest value of a size.

        Args:
            most: texts with more tokens are ignored.
        """
        ends = (self.least, min(self.end, most))
        return [*itertools.product(ends, ends)] if self.pairs else [*ends]

    def find_possible_signs_of_difference(self, left: Affine, right: Affine) -> frozenset[int] | None:
        """Return the signs, -1, 0 and 1, that left - right has for at least one number of tokens. Return None if left
        or right is not finite. The numbers of tokens near which the sign changes are added to `turns`.

        Args:
            left, right: two numbers (a, b), each of which stands for a * tokens + b.
        """
        if not (np.isfinite(left[1]) and np.isfinite(right[1])):
            return None
        a, b = left[0] - right[0], left[1] - right[1]
        ends = {int(np.sign(compute_size((a, b), lengths))) for lengths in self.list_shortest_and_longest_lengths()}
        if self.pairs:
            return frozenset(ends | ({0} if {-1, 1} <= ends else set()))
        if len(ends) == 2:
            place = floor(-b / a)
            self.turns |= {n for n in range(place - 1, place + 3) if self.least <= n <= self.end}
        # The difference may change its sign without being 0 at an integer.
        met = {0} if ends == {-1, 1} and not (isinstance(b, int) and b % a) else set()
        return frozenset(ends | met)

    def decide_comparison(self, kind: str, left: Affine, right: Affine) -> bool | None:
        """Return the result of a comparison if it is the same for every number of tokens, else None.

        Args:
            kind: ONNX's operator, such as Less.
            left, right: two numbers (a, b), each of which stands for a * tokens + b.
        """
        return _decide_comparison_by_signs(kind, self.find_possible_signs_of_difference(left, right))

    def clamp_affine_number(
        self, number: Affine, least: Affine | None = None, most: Affine | None = None
    ) -> Affine | None:
        """Return a number clamped to two bounds; None if a bound changes it for some numbers of tokens only.

        Args:
            number, least, most: the number and the bounds as (a, b), which stands for a * tokens + b; None for no
                bound.
        """
        for bound, beyond in ((least, -1), (most, 1)):
            if bound is None:
                continue
            signs = self.find_possible_signs_of_difference(number, bound)
            if signs is None or {-1, 1} <= signs:
                return None
            if beyond in signs:
                number = bound
        return number


def _decide_comparison_by_signs(kind: str, signs: frozenset[int] | None) -> bool | None:
    """Return the result of the comparison left < right (or <=, >, >=, ==), or None if it depends on the number of
    tokens.

    Args:
        kind: ONNX's operator, such as Less.
        signs: the possible signs of left - right; None if they are unknown.
    """
    if signs is None:
        return None
    wanted = _COMPARISONS[kind]
    return True if signs <= wanted else None if signs & wanted else False


@dataclass(frozen=True)
class Numbers:
    """The numbers of an array whose size is the same for all texts.

    Attributes:
        all: the numbers (a, b) in order, each of which stands for a * tokens + b; None for a constant with too many
            numbers to list.
    """

    all: tuple[Affine, ...] | None

    @property
    def numbers_with_smallest_and_largest(self) -> tuple[Affine, ...]:
        """Some numbers of the array, among which are the smallest and the largest: all of them; or NaN if there are too
        many to list."""
        return ((0, np.nan),) if self.all is None else self.all

    @property
    def numbers_if_constant(self) -> list[Any] | None:
        """The numbers of the array in order, or None if one of them depends on the number of tokens."""
        return (
            None
            if any(a for a, _ in self.numbers_with_smallest_and_largest)
            else [b for _, b in self.numbers_with_smallest_and_largest]
        )


@dataclass(frozen=True)
class AffineRange:
    """The numbers of an array whose size may depend on the number of tokens: start + step * index, where index counts
    along one axis.

    Attributes:
        start: the first number as (a, b), which stands for a * tokens + b.
        step: the difference between neighbours; 0 if all numbers are equal.
        size: the number of elements along the axis as (a, b).
    """

    start: Affine
    step: int
    size: Size

    @property
    def numbers_with_smallest_and_largest(self) -> tuple[Affine, ...]:
        """Some numbers of the array, among which are the smallest and the largest: the first and the last one, or only
        the first if all are equal."""
        if not self.step:
            return (self.start,)
        a, b = self.start
        return self.start, (a + self.step * self.size[0], b + self.step * (self.size[1] - 1))

    @property
    def numbers_if_constant(self) -> list[Any] | None:
        """A list of the one number that all elements have in all texts; None if the elements or the texts differ."""
        return [self.start[1]] if not self.step and not self.start[0] else None


Known = Numbers | AffineRange


class SizeValues:
    """The values of a graph that depend only on the number of tokens, with a formula that holds for every number of
    tokens.

    Attributes:
        span: the numbers of tokens that the graph takes.
        known: the values whose numbers are a * tokens + b, by name.
        irregular: the values whose size is not a * tokens + b for every number of tokens, each with the reason.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        lengths: Sequence[Lengths],
        values: Mapping[str, Sequence[Array]],
        of_tokens: frozenset[str],
        span: Span,
    ) -> None:
        self.span = span
        self._lengths, self._values = lengths, values
        self.known: dict[str, Known] = {}
        self.irregular: dict[str, str] = {}
        # Every number of tokens was observed.
        self._all_seen = span.most is not None and len(lengths) > span.most - span.least and not span.pairs
        read = {name for node in model.graph.node for name in node.input if name}
        made = {name for node in model.graph.node for name in node.output}
        for name in read - made - of_tokens:
            self._record_affine_numbers(name)
        for node in model.graph.node:
            self._record_numbers_or_irregularity(node, of_tokens)

    def find_sizes(self, name: str) -> list[Size] | None:
        """Return the sizes (a, b) of a value's axes, each of which stands for a * tokens + b. Return None if a size
        does not have this form for all numbers of tokens."""
        shapes = [value.shape for value in self._values[name]]
        if name in self.irregular or len({len(shape) for shape in shapes}) != 1:
            return None
        sizes = [fit_number_as_affine_in_length(self._lengths, axis) for axis in zip(*shapes, strict=True)]
        return None if any(size is None for size in sizes) else [size for size in sizes if size is not None]

    def _record_numbers_or_irregularity(self, node: onnx.NodeProto, of_tokens: frozenset[str]) -> None:
        """Record the numbers of an operator's outputs as a * tokens + b, or the reason why their sizes do not have this
        form. `of_tokens` are the names of the values that depend on the tokens themselves; their numbers are not
        recorded."""
        outputs = [name for name in node.output if name]
        drawn = node.op_type.startswith(_RANDOM)
        if (
            not drawn
            and not any(name in of_tokens for name in outputs)
            and (self._all_seen or self._has_constant_inputs(node))
        ):
            for name in outputs:
                self._record_affine_numbers(name)
            return
        why = self._explain_output_size_that_is_not_affine(node)
        if why is not None:
            self.irregular |= dict.fromkeys(outputs, why)
        elif not drawn and not of_tokens.intersection(outputs) and self._has_affine_output(node):
            for name in outputs:
                self._record_affine_numbers(name)
                if not self._is_exact_in_dtype(name):
                    del self.known[name]

    def _has_constant_inputs(self, node: onnx.NodeProto) -> bool:
        """Return whether all inputs of an operator have the same sizes and numbers in all texts."""
        for name in filter(None, node.input):
            known, sizes = self.known.get(name), self.find_sizes(name)
            if known is None or known.numbers_if_constant is None or sizes is None or any(a for a, _ in sizes):
                return False
        return True

    def _is_exact_in_dtype(self, name: str) -> bool:
        """Return whether a value's dtype can hold all its numbers a * tokens + b exactly, for up to 2^20 tokens."""
        known, most = self.known.get(name), HOLDS.get(self._values[name][0].dtype.name)
        if known is None or known.numbers_if_constant is not None or most is None:
            return True
        corners = self.span.list_shortest_and_longest_lengths(_MANY_TOKENS)
        return all(
            abs(compute_size(number, lengths)) <= most
            for number in known.numbers_with_smallest_and_largest
            for lengths in corners
        )

    def _record_affine_numbers(self, name: str) -> None:
        """Record the numbers of a value as a * tokens + b, if such a formula fits all observed runs."""
        values, sizes = self._values[name], self.find_sizes(name)
        if sizes is None:
            return
        if not any(a for a, _ in sizes):
            few = values[0].size <= _MOST_NUMBERS
            if all(v.tobytes() == values[0].tobytes() for v in values[1:]):
                self.known[name] = Numbers(tuple((0, number) for number in values[0].ravel().tolist()) if few else None)
            elif few:
                found = [
                    fit_number_as_affine_in_length(self._lengths, some)
                    for some in np.array([v.ravel() for v in values]).T.tolist()
                ]
                if all(one is not None for one in found):
                    self.known[name] = Numbers(tuple(one for one in found if one is not None))
            return
        counted = self._fit_affine_range(values, sizes)
        if counted is not None:
            self.known[name] = counted

    def _fit_affine_range(self, values: Sequence[Array], sizes: Sequence[Size]) -> AffineRange | None:
        """Return the range start + step * index that a value equals in all observed runs; None if there is none.

        Args:
            values: the value's array in each run.
            sizes: the sizes of its axes.
        """
        some = [(n, v) for n, v in zip(self._lengths, values, strict=True) if v.size]
        if not some:
            return None
        lengths, firsts = [n for n, _ in some], [v.ravel()[0].item() for _, v in some]
        if all((v == v.ravel()[0]).all() for _, v in some):
            if len(set(firsts)) == 1 and firsts[0] == firsts[0]:
                return AffineRange((0, firsts[0]), 0, _ONE)
            start = fit_number_as_affine_in_length(lengths, firsts) if some[0][1].dtype != bool else None
            return None if start is None else AffineRange(start, 0, _ONE)
        start = fit_number_as_affine_in_length(lengths, firsts)
        axes = [axis for axis, v in enumerate(some[-1][1].shape) if v > 1]
        for axis in axes if start is not None else ():
            step = np.diff(np.take(some[-1][1], [0, 1], axis).astype(np.int64), axis=axis).ravel()[0].item()
            if (
                all((v == _make_range_array(v.shape, axis, v.ravel()[0], step)).all() for _, v in some)
                and step
                and start
            ):
                return AffineRange(start, step, sizes[axis])
        return None

    def _explain_output_size_that_is_not_affine(self, node: onnx.NodeProto) -> str | None:
        """Return the reason why an operator's output sizes are not a * tokens + b for every number of tokens, or None
        if they are."""
        kind = node.op_type
        for name in node.input:
            if name in self.irregular:
                return self.irregular[name]
        if kind not in _SIZED_BY_SIZES and kind not in _SIZED_BY and not kind.startswith("Reduce"):
            return f"the output size of {kind} may depend on its input numbers"
        wanted = _SIZED_BY.get(kind, (1,) if kind.startswith("Reduce") else ())
        for index in wanted:
            name = node.input[index] if index < len(node.input) else ""
            if name and name not in self.known:
                return f"the output size depends on {name}"
        rule = _CLAMPED.get(kind)
        return None if rule is None else rule(self, node)

    def find_input_numbers(self, node: onnx.NodeProto, index: int) -> Known | None:
        """Return the numbers of the operator's input with this index, or None if they are unknown or there is no such
        input."""
        return self.known.get(node.input[index]) if index < len(node.input) else None

    def _has_affine_output(self, node: onnx.NodeProto) -> bool:
        """Return whether the numbers of an operator's output are a * tokens + b, given that those of its inputs are."""
        if node.op_type in ("Shape", "Size"):
            return True
        if any(name and name not in self.known for name in node.input):
            return False
        rule = _FOLLOWS.get(node.op_type)
        return rule is not None and rule(self, node)


def _make_range_array(shape: Sequence[int], axis: int, start: Any, step: int) -> Array:
    """Return an array of this shape whose numbers are start + step * index along an axis."""
    ranks = [-1 if i == axis else 1 for i in range(len(shape))]
    return np.broadcast_to(start + step * np.arange(shape[axis]).reshape(ranks), shape)


def _find_integer_constants(known: Known | None) -> list[int] | None:
    return (
        None
        if known is None or known.numbers_if_constant is None
        else [int(number) for number in known.numbers_if_constant]
    )


def _explain_slice_size_that_is_not_affine(values: SizeValues, node: onnx.NodeProto) -> str | None:
    """Return the reason why the size of a Slice's output is not a * tokens + b for every number of tokens, or None if
    it is. `values` says what is known of the node's inputs."""
    span, sizes = values.span, values.find_sizes(node.input[0])
    starts, ends = values.find_input_numbers(node, 1), values.find_input_numbers(node, 2)
    axes, steps = (_find_integer_constants(values.find_input_numbers(node, index)) for index in (3, 4))
    if sizes is None or starts is None or ends is None:
        return "the start or end of the slice is not known"
    axes, steps = (
        axes or [*range(len(starts.numbers_with_smallest_and_largest))],
        steps or [1] * len(starts.numbers_with_smallest_and_largest),
    )
    for start, end, axis, step in zip(
        starts.numbers_with_smallest_and_largest, ends.numbers_with_smallest_and_largest, axes, steps, strict=True
    ):
        a, b = sizes[axis % len(sizes)]
        # With a negative step, the end may be the index before the first.
        first, last = ((0, 0), (a, b)) if step > 0 else ((0, -1), (a, b - 1))
        places = []
        for place in (start, end):
            below = span.decide_comparison("Less", place, (0, 0))
            if below:
                place = (place[0] + a, place[1] + b)
            nearest = None if below is None else span.clamp_affine_number(place, first, last)
            if nearest is None:
                return "the slice begins or ends at an index that only some texts have"
            places.append(nearest)
        left = (places[1][0] - places[0][0], places[1][1] - places[0][1])
        longer = span.decide_comparison("GreaterOrEqual" if step > 0 else "LessOrEqual", left, (0, 0))
        if longer is None or (longer and not are_packed_factors_divisible(left[0], step)):
            return "the size of the slice is not a * tokens + b for fixed a and b"
    return None


def _explain_pad_size_that_is_not_affine(values: SizeValues, node: onnx.NodeProto) -> str | None:
    """Return the reason why the size of a Pad's output is not a * tokens + b for every number of tokens, or None if it
    is. `values` says what is known of the node's inputs."""
    pads = values.find_input_numbers(node, 1)
    if pads is None or any(
        values.span.decide_comparison("Less", pad, (0, 0)) is None for pad in pads.numbers_with_smallest_and_largest
    ):
        return "the operator pads some texts and cuts others"
    return None


def _explain_range_size_that_is_not_affine(values: SizeValues, node: onnx.NodeProto) -> str | None:
    """Return the reason why the size of a Range's output is not a * tokens + b for every number of tokens, or None if
    it is. `values` says what is known of the node's inputs."""
    found = [values.find_input_numbers(node, index) for index in range(3)]
    step = found[2].numbers_if_constant if found[2] is not None else None
    if found[0] is None or found[1] is None or step is None or not step[0]:
        return "the step depends on the tokens"
    (a, b), (c, d) = found[0].numbers_with_smallest_and_largest[0], found[1].numbers_with_smallest_and_largest[0]
    longer = values.span.decide_comparison("GreaterOrEqual" if step[0] > 0 else "LessOrEqual", (c - a, d - b), (0, 0))
    if longer is None or (longer and not are_packed_factors_divisible(c - a, step[0])):
        return "the number of elements is not a * tokens + b for fixed a and b"
    return None


def _explain_strided_size_that_is_not_affine(values: SizeValues, node: onnx.NodeProto) -> str | None:
    """Return the reason why the output size of a convolution or pooling is not a * tokens + b for every number of
    tokens, or None if it is: the stride does not divide the factor a of the input's size. `values` says what is known
    of the node's inputs."""
    attributes, sizes = read_attributes(node), values.find_sizes(node.input[0])
    strides = attributes.get("strides") or []
    if sizes is None:
        return "the size of the input is not known"
    if not all(are_packed_factors_divisible(a, stride) for (a, _), stride in zip(sizes[2:], strides, strict=False)):
        return f"the stride is {max(strides)}"
    return None


def _is_single_number_or_range(known: Known | None) -> bool:
    """Return whether all numbers of a value are equal, or form a range start + step * index. Return False for None."""
    return isinstance(known, AffineRange) or (known is not None and known.all is not None and len({*known.all}) == 1)


def _is_sum_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether the results of an elementwise sum are a * tokens + b for every number of tokens, given that its
    operands are. They are for arrays whose size is the same for all texts, and for single numbers and ranges. `values`
    says what is known of the node's inputs."""
    inputs = [values.find_input_numbers(node, index) for index in range(len(node.input))]
    return all(isinstance(one, Numbers) for one in inputs) or all(map(_is_single_number_or_range, inputs))


def _is_move_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether the results of an operator that moves numbers are a * tokens + b, given that its input is, and can
    be recorded: as an array of fixed size, equal numbers, or a range. `values` says what is known of the node's
    inputs."""
    known = values.find_input_numbers(node, 0)
    others = [values.find_input_numbers(node, index) for index in range(1, len(node.input)) if node.input[index]]
    if node.op_type.startswith("Gather") and any(one is None or one.numbers_if_constant is None for one in others):
        return False
    if isinstance(known, Numbers) and all(
        not a for name in node.output for a, _ in values.find_sizes(name) or [(1, 0)]
    ):
        return True
    if isinstance(known, AffineRange) and known.step:
        return node.op_type in _KEEPS_A_RANGE
    return _is_single_number_or_range(known) or (isinstance(known, Numbers) and node.op_type in _KEEPS_A_RANGE)


def _is_product_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    constant = [
        known is not None and known.numbers_if_constant is not None for known in map(values.known.get, node.input)
    ]
    return any(constant) and _is_sum_affine(values, node)


def _is_quotient_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether the results of a Div or Mod of integers are a * tokens + b, given that its operands are: the
    divisor divides each factor a of the dividend, or the quotient is the same for all texts. `values` says what is
    known of the node's inputs."""
    left, right = values.find_input_numbers(node, 0), values.find_input_numbers(node, 1)
    if left is None or right is None or right.numbers_if_constant is None or not _is_sum_affine(values, node):
        return False
    divisors = {*right.numbers_if_constant}
    if len(divisors) != 1 or not isinstance(divisor := divisors.pop(), int) or divisor < 1:
        return False
    if node.op_type == "Mod" and read_attributes(node).get("fmod"):
        return False
    numbers, span = left.numbers_with_smallest_and_largest, values.span
    if any(not isinstance(b, int) or not span.decide_comparison("GreaterOrEqual", (a, b), (0, 0)) for a, b in numbers):
        return False
    step = left.step if isinstance(left, AffineRange) else 0
    if step % divisor == 0 and all(are_packed_factors_divisible(a, divisor) for a, _ in numbers):
        return True
    # Or the quotient is the same for all texts and indices.
    quotients = {
        compute_size(number, lengths) // divisor
        for number in numbers
        for lengths in span.list_shortest_and_longest_lengths()
    }
    return len(quotients) == 1


def _find_possible_signs_of_input_difference(
    values: SizeValues, node: onnx.NodeProto
) -> list[frozenset[int] | None] | None:
    """Return the possible signs of the difference of a node's two inputs: for arrays of fixed size, a set of signs for
    each pair of elements; for numbers and ranges, one set for all elements. A set is None if it is unknown. Return None
    for other inputs."""
    left, right = values.find_input_numbers(node, 0), values.find_input_numbers(node, 1)
    shapes = [values.find_sizes(name) for name in node.input]
    if left is None or right is None or None in shapes:
        return None
    span = values.span
    if isinstance(left, Numbers) and isinstance(right, Numbers):
        arrays = [np.empty([b for _, b in shape or ()], object) for shape in shapes]
        for array, known in zip(arrays, (left, right), strict=True):
            if known.all is None:
                return None
            array.ravel()[:] = [*map(_AffineBox, known.all)]
        return [span.find_possible_signs_of_difference(one.pair, other.pair) for one, other in np.broadcast(*arrays)]
    if not (_is_single_number_or_range(left) and _is_single_number_or_range(right)):
        return None
    if left == right and shapes[0] == shapes[1]:
        return [
            span.find_possible_signs_of_difference(
                left.numbers_with_smallest_and_largest[0], right.numbers_with_smallest_and_largest[0]
            )
        ]
    reached: set[int] = set()
    for pair in itertools.product(left.numbers_with_smallest_and_largest, right.numbers_with_smallest_and_largest):
        signs = span.find_possible_signs_of_difference(*pair)
        if signs is None:
            return [None]
        reached |= signs
    # Between two ends, the numbers may be equal.
    return [frozenset(reached | {0} if {-1, 1} <= reached else reached)]


@dataclass(frozen=True)
class _AffineBox:
    """A pair (a, b) as one object, so that numpy does not turn it into an array of two elements."""

    pair: Affine


def _is_comparison_decided(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether a comparison of numbers a * tokens + b has the same result for every number of tokens. For a Min
    or Max, return whether the same input is chosen for every number of tokens. `values` says what is known of the
    node's inputs."""
    if len(node.input) == 1:
        return True
    found = _find_possible_signs_of_input_difference(values, node) if len(node.input) == 2 else None
    if found is None or None in found:
        return False
    if node.op_type in ("Min", "Max"):
        return not any({-1, 1} <= signs for signs in found if signs)
    return all(_decide_comparison_by_signs(node.op_type, signs) is not None for signs in found)


def _is_where_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    condition, *others = (values.find_input_numbers(node, index) for index in range(3))
    if condition is None or condition.numbers_if_constant is None:
        return False
    if all(isinstance(one, Numbers) for one in (condition, *others)):
        return True
    # Where the condition is the same everywhere, the result is one of the two.
    return _is_single_number_or_range(condition) and all(map(_is_single_number_or_range, others))


def _is_clip_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    known, *bounds = (values.find_input_numbers(node, index) for index in range(3))
    if known is None or not (isinstance(known, Numbers) or _is_single_number_or_range(known)):
        return False
    ends = [None if bound is None else bound.numbers_with_smallest_and_largest[0] for bound in bounds]
    found = [values.span.clamp_affine_number(number, *ends) for number in known.numbers_with_smallest_and_largest]
    # A range is not changed, or all of it is clipped to one bound.
    return None not in found and (
        isinstance(known, Numbers) or found == [*known.numbers_with_smallest_and_largest] or len({*found}) == 1
    )


def _is_reduction_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether the results of a reduction are a * tokens + b, given that its input is: the node is a sum, reduces
    equal numbers, or reduces only one number. `values` says what is known of the node's inputs."""
    known, sizes = values.find_input_numbers(node, 0), values.find_sizes(node.input[0])
    if not isinstance(known, Numbers) or sizes is None:
        if node.op_type == "ReduceSum":
            # A constant times how many there are, as a mask that is true for all tokens.
            return sizes is not None and multiply_sizes(sizes) is not None and bool(known and known.numbers_if_constant)
        same = isinstance(known, AffineRange) and not known.step
        return same and node.op_type in ("ReduceMax", "ReduceMin", "ReduceMean")
    before, after = (np.prod([b for _, b in shape]) for shape in (sizes, values.find_sizes(node.output[0]) or [(0, 0)]))
    varying = sum(1 for a, _ in known.numbers_with_smallest_and_largest if a)
    return node.op_type == "ReduceSum" or bool(before == after) or (node.op_type == "ReduceProd" and varying <= 1)


def _is_cast_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether a cast keeps numbers a * tokens + b for every number of tokens. A cast to integers of 8 or 16 bits
    does not, and a cast from floats only does if the numbers stay below 2^24. `values` says what is known of the node's
    inputs."""
    known = values.find_input_numbers(node, 0)
    before, after = (values._values[name][0].dtype for name in (node.input[0], node.output[0]))
    if known is None or after.kind not in "iuf" or after.itemsize < 4:
        return False
    if any(not np.isfinite(b) or b != int(b) for _, b in known.numbers_with_smallest_and_largest):
        return False
    whole = before.kind != "f" or all(
        abs(compute_size(number, lengths)) < 1 << 24
        for number in known.numbers_with_smallest_and_largest
        for lengths in values.span.list_shortest_and_longest_lengths()
    )
    return before.kind == after.kind or after.kind == "f" or whole


def _is_rounding_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    known = values.find_input_numbers(node, 0)
    return known is not None and all(np.isfinite(b) and b == int(b) for _, b in known.numbers_with_smallest_and_largest)


def _is_absolute_value_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    known = values.find_input_numbers(node, 0)
    found = (
        {
            values.span.decide_comparison("GreaterOrEqual", number, (0, 0))
            for number in known.numbers_with_smallest_and_largest
        }
        if known
        else {None}
    )
    return None not in found and (isinstance(known, Numbers) or len(found) == 1)


def _is_running_sum_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    """Return whether the results of a CumSum are a range start + step * index: its input is the same constant at every
    position. `values` says what is known of the node's inputs."""
    known = values.find_input_numbers(node, 0)
    return _is_single_number_or_range(known) and known is not None and known.numbers_if_constant is not None


def _is_concat_affine(values: SizeValues, node: onnx.NodeProto) -> bool:
    inputs = [values.find_input_numbers(node, index) for index in range(len(node.input))]
    if all(isinstance(one, Numbers) for one in inputs):
        return True
    return (
        all(map(_is_single_number_or_range, inputs))
        and len({one.numbers_with_smallest_and_largest for one in inputs if one}) == 1
    )


def _has_one_element(values: SizeValues, node: onnx.NodeProto) -> bool:
    known = values.find_input_numbers(node, 0)
    return known is not None and len(known.numbers_with_smallest_and_largest) <= 1


# Operators that clamp their indices, or whose sizes are rounded.
_CLAMPED: Final[dict[str, Callable[[SizeValues, onnx.NodeProto], str | None]]] = {
    "Slice": _explain_slice_size_that_is_not_affine, "Pad": _explain_pad_size_that_is_not_affine,
    "Range": _explain_range_size_that_is_not_affine,
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool"), _explain_strided_size_that_is_not_affine),
}  # fmt: skip
# The rules that decide whether an operator gives a * tokens + b for every number of tokens.
_FOLLOWS: Final[dict[str, Callable[[SizeValues, onnx.NodeProto], bool]]] = {
    **dict.fromkeys(_MOVES, _is_move_affine),
    **dict.fromkeys(_COMPARISONS, _is_comparison_decided),
    **dict.fromkeys(("Min", "Max"), _is_comparison_decided),
    **dict.fromkeys(("Add", "Sub", "Neg"), _is_sum_affine),
    **dict.fromkeys(("Floor", "Ceil", "Round"), _is_rounding_affine),
    **dict.fromkeys(("And", "Not", "Or", "Xor"), _is_sum_affine),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _is_reduction_affine),
    **dict.fromkeys(("TopK", "ArgMax", "ArgMin"), _has_one_element),
    **dict.fromkeys(("Cast", "CastLike"), _is_cast_affine),
    **dict.fromkeys(("Range", "ConstantOfShape"), lambda _values, _node: True),
    "Abs": _is_absolute_value_affine, "Clip": _is_clip_affine, "Concat": _is_concat_affine,
    "CumSum": _is_running_sum_affine, "Div": _is_quotient_affine,
    "Mod": _is_quotient_affine, "Mul": _is_product_affine, "Where": _is_where_affine,
}  # fmt: skip
