"""Translate the operators of an ONNX graph that need several operations in a packed file."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from pocketrnn.bundle.packed_enums import Binary, Reduction
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering, register_translation_of
from pocketrnn_export.forms.packed_file.program import (
    FLOAT,
    NONE,
    UnsupportedOperatorError,
    convert_float_to_bits,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import Size, read_attributes

_ONE: Final = (0, 1)
_LARGEST: Final = float(np.finfo(np.float32).max)
# Bit masks of the axes [1, outer, middle, inner] of an elementwise operation.
_ALL, _WITHOUT_MIDDLE, _MIDDLE = 14, 10, 4


def _add_float_operand(lowering: Lowering, name: str) -> int:
    """Return the index of the program's value that holds a float input. Add the value if the program does not have it
    yet. Raise an UnsupportedOperatorError for an input of another type."""
    if lowering.find_type(name) != FLOAT:
        raise UnsupportedOperatorError(
            f"The native engine computes this operator only for floats, but the input {name} has another type.",
            "Convert the input to float in forward, x.float(); or use the bundle with onnxruntime.",
        )
    return lowering.find_or_add_whole_value(name)


def _add_elementwise_operation(
    lowering: Lowering,
    kind: int,
    operands: tuple[int, int],
    outer_middle_inner: tuple[Size, ...],
    axis_masks: tuple[int, int],
) -> int:
    """Add an operation with two operands, such as a sum, to the packed program. Return the index of the result in the
    program.

    Args:
        kind: the operation's code in the file, a member of `Binary`.
        operands: the indices of the two operands in the program.
        outer_middle_inner: the result's sizes along three axes.
        axis_masks: for each operand the axes that it has, as a bit mask: `_ALL`, `_WITHOUT_MIDDLE` or `_MIDDLE`.
    """
    made = lowering.program.add_value(FLOAT, outer_middle_inner)
    lowering.program.add_operation("binary", [*operands, made], kind, _ONE, *outer_middle_inner, *axis_masks)
    return made


@register_translation_of("HardSwish")
def _lower_hard_swish(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a HardSwish node, x * hard_sigmoid(x), into two operations of the packed program: a HardSigmoid and a
    product."""
    value, sizes = _add_float_operand(lowering, node.input[0]), lowering.find_sizes(node.input[0])
    share = lowering.program.add_value(FLOAT, sizes)
    lowering.add_unary_operation("HardSigmoid", value, share, 1 / 6, 0.5)
    _, words = lowering.find_elementwise_operands_and_parameters([node.input[0]], node.output[0])
    lowering.program.add_operation(
        "binary", [value, share, lowering.add_value(node.output[0])], Binary.MUL, *words, words[-1]
    )


@register_translation_of("PRelu")
def _lower_prelu(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a PRelu node into operations of the packed program that compute max(x, 0) + slope * min(x, 0)."""
    x, slope, out = node.input[0], node.input[1], node.output[0]
    value, zero = _add_float_operand(lowering, x), lowering.program.add_constant(np.zeros(1, np.float32))
    (_, factor), (*sizes, of_x, of_slope) = lowering.find_elementwise_operands_and_parameters([x, slope], out)
    below, sloped, above = (lowering.program.add_value(FLOAT, lowering.find_sizes(out)) for _ in range(3))
    lowering.program.add_operation("binary", [value, zero, below], Binary.MIN, *sizes, of_x, 0)
    lowering.program.add_operation("binary", [below, factor, sloped], Binary.MUL, *sizes, of_x, of_slope)
    lowering.add_unary_operation("Relu", value, above)
    lowering.program.add_operation("binary", [above, sloped, lowering.add_value(out)], Binary.ADD, *sizes, of_x, of_x)


@register_translation_of("ReduceLogSumExp")
def _lower_log_sum_exp(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a ReduceLogSumExp node into operations of the packed program that compute max(x) + log(sum(exp(x -
    max(x))))."""
    source, out, program = node.input[0], node.output[0], lowering.program
    axes, rank = read_attributes(node).get("axes"), len(lowering.find_sizes(source))
    if name := lowering.find_input_name_or_none(node, 1):
        axes = lowering.read_constant(name).ravel().tolist()
    if not axes or len(axes) != 1:
        raise UnsupportedOperatorError(
            "The operator reduces several axes, but the native engine can reduce only one axis with log-sum-exp.",
            "Reduce one axis after the other, torch.logsumexp(torch.logsumexp(x, 2), 1); or use the bundle with "
            "onnxruntime.",
        )
    view = lowering.find_outer_middle_inner_sizes(source, axes[0] % rank, axes[0] % rank)
    left = (view[0], _ONE, view[2])
    value = _add_float_operand(lowering, source)
    largest, finite, total, logarithm = (program.add_value(FLOAT, left) for _ in range(4))
    program.add_operation("reduce", [value, largest], Reduction.LARGEST, *view)
    # Infinity minus infinity would be NaN.
    lowering.add_unary_operation("Clip", largest, finite, -_LARGEST, _LARGEST)
    below = _add_elementwise_operation(lowering, Binary.SUB, (value, finite), view, (_ALL, _WITHOUT_MIDDLE))
    raised = program.add_value(FLOAT, view)
    lowering.add_unary_operation("Exp", below, raised)
    program.add_operation("reduce", [raised, total], Reduction.SUM, *view)
    lowering.add_unary_operation("Log", total, logarithm)
    lowering.record_existing_value_for(
        out, _add_elementwise_operation(lowering, Binary.ADD, (finite, logarithm), left, (_ALL, _ALL))
    )


@register_translation_of("InstanceNormalization")
def _lower_instance_norm(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an InstanceNormalization node into operations of the packed program: a layer norm of each channel, a
    product with the scale, and a sum with the bias. PyTorch's group norms become such nodes, too."""
    source, program = node.input[0], lowering.program
    outer, channels, inner = lowering.find_outer_middle_inner_sizes(source, 1, 1)
    value = _add_float_operand(lowering, source)
    if outer != _ONE or channels[0]:
        raise UnsupportedOperatorError(
            "The native engine computes this normalization only for inputs of the shape [1, channels, ...] with a "
            "fixed number of channels, but here the input has another shape.",
            "Use another normalization, such as nn.LayerNorm; or use the bundle with onnxruntime.",
        )
    normal = program.add_value(FLOAT, lowering.find_sizes(source))
    epsilon = convert_float_to_bits(read_attributes(node).get("epsilon", 1e-5))
    program.add_operation("norm", [value, NONE, NONE, normal], channels, inner, epsilon)
    for kind, name in ((Binary.MUL, node.input[1]), (Binary.ADD, node.input[2])):
        operand = program.add_constant(lowering.read_constant(name))
        normal = _add_elementwise_operation(
            lowering, kind, (normal, operand), (outer, channels, inner), (_ALL, _MIDDLE)
        )
    lowering.record_existing_value_for(node.output[0], normal)


@register_translation_of("TopK")
def _lower_top_k(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a TopK node with k = 1 into two operations of the packed program: one finds the largest or smallest
    number along an axis, the other the first index of this number."""
    attributes, source = read_attributes(node), node.input[0]
    if lowering.read_constant(node.input[1]).tolist() != [1]:
        raise UnsupportedOperatorError(
            "The operator TopK finds more than one number, but the native engine supports only k = 1.",
            "Use x.max(dim) or other operations in forward; or use the bundle with onnxruntime.",
        )
    sizes = lowering.find_sizes(source)
    axis = attributes.get("axis", -1) % len(sizes)
    if sizes[axis] == _ONE and all(not a for a, _ in sizes):
        # The one number, at index 0: texts are sorted by their lengths, and a program has one text.
        lowering.record_existing_value_for(node.output[0], lowering.find_or_add_whole_value(source))
        zeros = np.zeros([b for _, b in sizes], np.int64)
        lowering.record_existing_value_for(
            node.output[1], lowering.program.add_constant(zeros if zeros.ndim == 2 else zeros.reshape(-1))
        )
        return
    view, is_least = lowering.find_outer_middle_inner_sizes(source, axis, axis), not attributes.get("largest", 1)
    value = _add_float_operand(lowering, source)
    for name, operation, kind in (
        (node.output[0], "reduce", Reduction.SMALLEST if is_least else Reduction.LARGEST),
        (node.output[1], "argmax", int(is_least)),
    ):
        if name:
            lowering.program.add_operation(operation, [value, lowering.add_value(name)], kind, *view)
