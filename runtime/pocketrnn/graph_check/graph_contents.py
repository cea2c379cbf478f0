"""The operators that a bundle's graph may contain. Those of a graph's file and its small tensors are counted and
checked against the limits of a classifier's graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pocketrnn.errors import BundleError, short_repr

__all__ = ["KNOWN_VALUES", "LARGEST_ALLOCATION", "OPERATORS", "TRUST_OR_EXPORT", "GraphContents", "Node", "Values"]

# How many numbers one operator may create from constants alone: 64 MiB of float32.
LARGEST_ALLOCATION: Final = 1 << 24
# The bytes of everything except the weights. One byte takes up to some 100 bytes in onnxruntime; the tests' graphs have
# up to 60,000.
_LARGEST_STRUCTURE: Final = 1 << 24
# Fields of the file that are read, which takes up to a second. The graphs of the tests have up to some thousand.
_MOST_FIELDS: Final = 1 << 18
# Each takes some kilobytes in onnxruntime. The graphs of the tests have up to 300.
_MOST_OPERATORS: Final = 1 << 14
# Sizes are short lists of numbers. A longer list is data and is not followed.
KNOWN_VALUES: Final = 64
TRUST_OR_EXPORT: Final = "If you made the bundle yourself, load it with trust=True. Otherwise, export it again."
_DOMAINS: Final = ("", "ai.onnx")
_SAME_VALUES: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
Values = tuple[float, ...]


@dataclass
class Node:
    """An operator of a graph, with its domain, inputs and outputs. Only attributes that are integers or small tensors
    are kept. `holds_graphs` is True if an attribute is a graph, such as the body of a loop."""

    domain: str = ""
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Values] = field(default_factory=dict)
    holds_graphs: bool = False


@dataclass
class GraphContents:
    """The operators and small tensors of a graph's file, and counts that are compared with the limits.

    Attributes:
        path: the file, for messages.
        trusted: whether all operators, graphs inside operators, and functions are allowed.
        nodes: the operators in the order of the file, with those inside graphs and functions.
        constants: the numbers of small tensors, by the tensors' names.
        fields: how many fields of the file were read.
        weights: how many bytes of the file are tensor data.
    """

    path: Path
    trusted: bool
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Values] = field(default_factory=dict)
    fields: int = 0
    weights: int = 0

    def make_refusal(self, fault: str, remedy: str = "Export the bundle again.") -> BundleError:
        """Make the error for a graph with a fault.

        Args:
            fault: the end of a sentence that begins with the graph's file: `holds no operator`.
            remedy: what to do, as a sentence.
        """
        return BundleError(f"The graph {self.path} {fault}.", remedy)

    def count_field_or_refuse(self) -> None:
        """Count one more field of the file. Raise a BundleError if the file has too many fields."""
        self.fields += 1
        if self.fields > _MOST_FIELDS:
            raise self.make_refusal(f"has more than {_MOST_FIELDS:,} parts, which is the limit")

    def add_node(self, node: Node) -> None:
        """Add an operator to `nodes`. Raise a BundleError if the graph has too many operators."""
        self.nodes.append(node)
        if len(self.nodes) > _MOST_OPERATORS:
            raise self.make_refusal(f"has more than {_MOST_OPERATORS:,} operators, which is the limit")

    def check_limits(self, file_size: int) -> None:
        """Check that a file of `file_size` bytes contains only allowed operators, and is not larger than a classifier's
        graph can be. Raise a BundleError if an operator is not allowed, the file has none, or something is too
        large."""
        if file_size - self.weights > _LARGEST_STRUCTURE:
            raise self.make_refusal(f"holds more than {_LARGEST_STRUCTURE >> 20} MiB in addition to its weights")
        if not self.nodes:
            raise self.make_refusal("holds no operator, so that it cannot compute anything")
        if self.trusted:
            return
        for node in self.nodes:
            if node.domain not in _DOMAINS or node.operator not in OPERATORS:
                name = f"{node.domain}.{node.operator}" if node.domain not in _DOMAINS else node.operator
                raise self.make_refusal(
                    f"holds the operator {short_repr(name)}, which a classifier's graph does not need", TRUST_OR_EXPORT
                )
            if node.holds_graphs:
                raise self.make_refusal(
                    f"holds a graph inside the operator {node.operator}, which a classifier does not need",
                    TRUST_OR_EXPORT,
                )
        self._refuse_operators_that_enlarge_data()

    def _refuse_operators_that_enlarge_data(self) -> None:
        """Raise a BundleError if an operator would create too much data from constants of the file, such as `Expand` to
        a huge size.

        The numbers of constants stay known through operators that only pass numbers on, such as `Identity`. All other
        numbers are unknown. In a list of sizes, only the known numbers count.
        """
        known = dict(self.constants)
        for node in self.nodes:
            given = [known.get(name, ()) for name in node.inputs]
            if node.operator == "Constant":
                made = next(iter(node.attributes.values()), ())
            elif node.operator in _SAME_VALUES:
                made = given[0] if given else ()
            elif node.operator == "Concat":
                # Cut after each input: a list that is joined to itself 30 times would fill the memory otherwise.
                made = ()
                for values in given:
                    made = (made + values)[: KNOWN_VALUES + 1]
            else:
                made = ()
            if made and len(made) <= KNOWN_VALUES:
                known.update(dict.fromkeys(node.outputs, made))
            size = _compute_growth_shown_by_constants(node, given)
            # NaN, too, is not within the limit.
            if not size <= LARGEST_ALLOCATION:
                raise self.make_refusal(
                    f"has an operator {node.operator} that makes more than {LARGEST_ALLOCATION:,} numbers from "
                    "constants, as a hostile file does to use up the memory",
                    TRUST_OR_EXPORT,
                )


def _compute_growth_shown_by_constants(node: Node, input_values: Sequence[Values]) -> float:
    """Compute from an operator's constant inputs how many numbers the operator makes, or by which factor it enlarges
    its input. Return 1 if the constant inputs do not show this, and NaN for a range with the step 0.

    Args:
        input_values: for each input its numbers, if they are known constants; else an empty tuple.
    """
    input_values = [*input_values, (), (), ()]
    padding = _compute_padding_growth(node.attributes.get("pads", ()))
    match node.operator:
        case "ConstantOfShape":
            return _multiply_sizes(input_values[0])
        case "Expand" | "Tile":
            return _multiply_sizes(input_values[1])
        case "Pad":
            return max(padding, _compute_padding_growth(input_values[1]))
        case "OneHot":
            return _multiply_sizes(input_values[1])
        case "Range" if input_values[1]:
            start, step = (*input_values[0], 0)[0], (*input_values[2], 1)[0]
            return (input_values[1][0] - start) / step if step else math.nan
    return padding


def _multiply_sizes(sizes: Values) -> float:
    """Return the product of sizes, in which numbers below 1 count as 1."""
    return math.prod(max(1, size) for size in sizes)


def _compute_padding_growth(pads: Values) -> float:
    """Compute the largest factor by which padding can enlarge an input. `pads` has the padding at the beginning of each
    axis, then the padding at the end of each axis."""
    half = (len(pads) + 1) // 2
    added = [pads[i] + (*pads, 0)[i + half] for i in range(half)]
    return math.prod(1 + max(0, number) for number in added)


# The operators that our exporter writes, and those of recurrent, convolutional and attention classifiers. The list
# leaves out loops (Loop, Scan), branches (If), random numbers (Random..., Bernoulli, Multinomial, Dropout), sequences,
# optionals, strings, and operators for signals or images with a large output from a small input (Resize,
# ConvTranspose, DFT, ...).
OPERATORS: Final = frozenset(
    {"Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "Attention",
     "AveragePool", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
     "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat", "Constant", "ConstantOfShape", "Conv",
     "Cos", "Cosh", "CumSum", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf",
     "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
     "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid",
     "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LSTM", "LayerNormalization",
     "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul",
     "MatMulInteger", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg",
     "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
     "RMSNormalization", "RNN", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
     "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
     "ReverseSequence", "RotaryEmbedding", "Round", "Scatter", "ScatterElements", "ScatterND", "Selu", "Shape",
     "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt",
     "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu",
     "Unique", "Unsqueeze", "Where", "Xor"}
)  # fmt: skip
