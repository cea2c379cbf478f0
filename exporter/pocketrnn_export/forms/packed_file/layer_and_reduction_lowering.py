"""Translate the operators of an ONNX graph that compute with whole rows or matrices: recurrent layers, products,
sums, softmax, normalization, convolutions. `operator_lowering.py` translates other operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from pocketrnn.bundle.packed_enums import Binary, Layer, Pooling, Reduction
from pocketrnn_export.forms.packed_file.float32_in_place_of_double import MOST_WHOLE
from pocketrnn_export.forms.packed_file.operator_lowering import (
    Lowering,
    compute_outer_middle_inner_sizes,
    multiply_sizes_or_refuse,
    register_translation_of,
)
from pocketrnn_export.forms.packed_file.program import (
    COMPUTE_IN_FLOAT32,
    FLOAT,
    NONE,
    USE_OTHER_OPERATIONS,
    UnsupportedOperatorError,
    convert_float_to_bits,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import Size, multiply_sizes, read_attributes

Array = npt.NDArray[Any]
# The engine's vectors have 8 numbers.
_VECTOR: Final = 8
_KINDS: Final = {"RNN": Layer.RNN_TANH, "LSTM": Layer.LSTM, "GRU": Layer.GRU}
# The order of ONNX's gates in the file: an LSTM's are i, o, f, c, and become i, f, o, c.
_GATES: Final = {"RNN": (0,), "LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2)}
_DEFAULTS: Final = {"RNN": ("tanh",), "LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
_USE_TORCH_LAYER: Final = "Use nn.RNN, nn.GRU or nn.LSTM with its usual arguments; or use the bundle with onnxruntime."
_REDUCED: Final = {
    "ReduceSum": Reduction.SUM,
    "ReduceMean": Reduction.MEAN,
    "ReduceMax": Reduction.LARGEST,
    "ReduceMin": Reduction.SMALLEST,
    "ReduceProd": Reduction.PRODUCT,
}


def pad_columns_of_each_gate(matrix: Array, gates: int = 1) -> Array:
    """Pad the columns of a matrix with zeros, so that each gate of a recurrent layer has a multiple of 8 columns.

    Args:
        matrix: [rows, gates * columns].
        gates: the number of gates; 1 for other matrices.
    """
    rows, columns = matrix.shape
    each = columns // gates
    width = -(-each // _VECTOR) * _VECTOR
    made = np.zeros((rows, gates, width), np.float32)
    made[:, :, :each] = matrix.reshape(rows, gates, each)
    return made.reshape(rows, gates * width)


@register_translation_of("RNN", "LSTM", "GRU")
def _lower_recurrent(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an RNN, LSTM or GRU node into a recurrent layer of the packed program. A GRU whose gates do not depend
    on its state becomes a FORGET layer, which is faster."""
    attributes = read_attributes(node)
    kind, directions = _find_layer_kind_and_direction(lowering, node, attributes)
    sizes = lowering.find_sizes(node.input[0])
    hidden, steps = int(attributes["hidden_size"]), sizes[0]
    states = []
    for index in (5, 6):
        name = lowering.find_input_name_or_none(node, index) if index == 5 or node.op_type == "LSTM" else None
        zero = (
            name is not None
            and lowering.depends_only_on_token_count(name)
            and not any(v.any() for v in lowering.graph.values[name])
        )
        states.append(NONE if name is None or zero else lowering.find_or_add_whole_value(name))
    x = lowering.find_or_add_whole_value(node.input[0])
    made = [lowering.add_value(name) if name else NONE for name in [*node.output, "", "", ""][:3]]
    layers = [
        _read_layer_weights(lowering, node, direction, hidden) for direction in range(2 if directions == 3 else 1)
    ]
    if kind == Layer.GRU and all(layer.has_gates_without_state for layer in layers):
        kind = Layer.FORGET
        layers = [layer.without_reset_gate for layer in layers]
    weights: list[int] = []
    for layer in layers:
        weights += [NONE if some is None else lowering.program.add_constant(some) for some in layer]
    weights += [NONE] * (8 - len(weights))
    lowering.program.add_operation(
        "recurrent", [x, *states, *made], kind, directions, sizes[2][1], hidden, steps, weights=weights
    )


def _find_layer_kind_and_direction(
    lowering: Lowering, node: onnx.NodeProto, attributes: dict[str, Any]
) -> tuple[int, int]:
    """Return two codes of the packed file format: one for the kind of a recurrent layer, and one for its direction.
    Raise an UnsupportedOperatorError for a layer that the native engine does not have."""
    named = attributes.get("direction", b"forward")
    directions = {b"forward": 1, b"reverse": 2, b"bidirectional": 3}.get(named, 0)
    if not directions:
        raise UnsupportedOperatorError(
            f"The layer's direction is {named.decode(errors='replace')}, but must be forward, reverse or "
            "bidirectional.",
            USE_OTHER_OPERATIONS,
        )
    each = 2 if directions == 3 else 1
    activations = [a.decode(errors="replace").lower() for a in attributes.get("activations", [])] or [
        *_DEFAULTS[node.op_type]
    ] * each
    kind = _KINDS[node.op_type]
    if node.op_type == "RNN" and set(activations) == {"relu"}:
        kind = Layer.RNN_RELU
    elif activations != [*_DEFAULTS[node.op_type]] * each:
        raise UnsupportedOperatorError(
            f"The native engine does not have recurrent layers with the activations {', '.join(activations)}.",
            _USE_TORCH_LAYER,
        )
    if attributes.get("activation_alpha") or attributes.get("activation_beta"):
        raise UnsupportedOperatorError(
            "The layer sets alpha or beta of its activations, but the native engine does not have these attributes.",
            _USE_TORCH_LAYER,
        )
    if unknown := [name for name in ("clip", "input_forget", "layout") if attributes.get(name)]:
        raise UnsupportedOperatorError(
            f"The layer has the attribute {unknown[0]}, which the native engine does not have.", _USE_TORCH_LAYER
        )
    if node.op_type == "GRU" and not attributes.get("linear_before_reset"):
        raise UnsupportedOperatorError(
            "The GRU applies its reset gate before the matrix product, but the native engine applies it after the "
            "product.",
            _USE_TORCH_LAYER,
        )
    if (peepholes := lowering.find_input_name_or_none(node, 7)) and lowering.read_constant(peepholes).any():
        raise UnsupportedOperatorError(
            "The native engine does not have LSTM layers with peephole weights.", _USE_TORCH_LAYER
        )
    sizes = lowering.find_sizes(node.input[0])
    if sizes[1] != (0, 1) or sizes[2][0]:
        raise UnsupportedOperatorError(
            "The recurrent layer reads several sequences for one text, but the native engine can read only one.",
            USE_OTHER_OPERATIONS,
        )
    if lengths := lowering.find_input_name_or_none(node, 4):
        whole = all(
            (given == x.shape[0]).all()
            for given, x in zip(lowering.graph.values[lengths], lowering.graph.values[node.input[0]], strict=True)
        )
        if not lowering.depends_only_on_token_count(lengths) or not whole:
            raise UnsupportedOperatorError(
                "The recurrent layer reads only a part of the text, but the native engine can read only whole texts.",
                USE_OTHER_OPERATIONS,
            )
    return kind, directions


class _LayerWeights(NamedTuple):
    """The weights of one direction of a recurrent layer. `width` is the hidden size, rounded up to a multiple of 8.

    Attributes:
        input: [inputs, gates * width], the weights of the inputs.
        state: [hidden, gates * width], the weights of the states; None if they are zeros.
        bias: [gates * width], which is added to the product of the inputs.
        state_bias: [gates * width], which is added to the product of the states; None if it is part of `bias`.
    """

    input: Array
    state: Array | None
    bias: Array
    state_bias: Array | None

    @property
    def has_gates_without_state(self) -> bool:
        """Whether a GRU's gates depend on the inputs only, and not on its state. Such a GRU needs no reset gate."""
        return self.state is None and self.state_bias is not None and not self.state_bias.reshape(3, -1)[2].any()

    @property
    def without_reset_gate(self) -> _LayerWeights:
        """The weights of a GRU without its reset gate, for a GRU whose gates depend on the inputs only."""
        width = self.bias.size // 3
        kept = np.r_[:width, 2 * width : 3 * width]
        bias = self.bias if self.state_bias is None else self.bias + self.state_bias
        return _LayerWeights(np.ascontiguousarray(self.input[:, kept]), None, bias[kept], None)


def _read_layer_weights(lowering: Lowering, node: onnx.NodeProto, direction: int, hidden: int) -> _LayerWeights:
    """Read the weights of one direction of a recurrent layer. Return them as the packed file stores them, with its
    order of the gates and its padding."""
    order = _GATES[node.op_type]
    gates = len(order)
    matrices = []
    for name in node.input[1:3]:
        matrix = lowering.read_constant(name)[direction].reshape(gates, hidden, -1)[list(order)]
        matrices.append(np.ascontiguousarray(pad_columns_of_each_gate(matrix.reshape(gates * hidden, -1).T, gates)))
    bias_name = lowering.find_input_name_or_none(node, 3)
    biases = np.zeros((2, gates, hidden), np.float32)
    if bias_name is not None:
        biases[:] = lowering.read_constant(bias_name)[direction].reshape(2, gates, hidden)[:, list(order)]
    rows = [pad_columns_of_each_gate(bias.reshape(1, -1), gates).reshape(-1) for bias in biases]
    return _LayerWeights(matrices[0], matrices[1] if matrices[1].any() else None, *rows)


def _add_linear_layer(lowering: Lowering, x: str, matrix: Array, bias: Array | None, out: str) -> None:
    """Add a linear layer, out = x @ matrix + bias, to the program.

    Args:
        x, out: the names of the graph values that are its input and output.
        matrix: [inputs, outputs], the same for every text.
        bias: [outputs] or one number; None for no bias.
    """
    inner, outer = matrix.shape
    rows = multiply_sizes_or_refuse(lowering.find_sizes(x)[:-1])
    weight = lowering.program.add_constant(np.ascontiguousarray(pad_columns_of_each_gate(matrix)))
    added = NONE
    if bias is not None and bias.any():
        added = lowering.program.add_constant(
            pad_columns_of_each_gate(np.broadcast_to(bias.reshape(1, -1), (1, outer))).reshape(-1)
        )
    read = lowering.find_or_add_whole_value(x)
    lowering.program.add_operation("linear", [read, weight, added, lowering.add_value(out)], rows, inner, outer)


@register_translation_of("Gemm")
def _lower_gemm(lowering: Lowering, node: onnx.NodeProto) -> None:
    attributes = read_attributes(node)
    x, weight, out, bias_name = node.input[0], node.input[1], node.output[0], lowering.find_input_name_or_none(node, 2)
    if attributes.get("transA"):
        raise UnsupportedOperatorError(
            "The attribute transA is set, but the native engine cannot transpose the first operand of a Gemm.",
            "Transpose the input in forward before the product; or use the bundle with onnxruntime.",
        )
    matrix = lowering.read_constant(weight) * np.float32(attributes.get("alpha", 1.0))
    if attributes.get("transB"):
        matrix = matrix.T
    bias = None
    if bias_name is not None:
        bias = lowering.read_constant(bias_name) * np.float32(attributes.get("beta", 1.0))
        if bias.size not in (1, matrix.shape[1]):
            raise UnsupportedOperatorError(
                f"The bias has {bias.size} numbers, but the native engine adds 1 or {matrix.shape[1]} numbers, the "
                "same to every row.",
                "Add the bias in forward after the product; or use the bundle with onnxruntime.",
            )
    _add_linear_layer(lowering, x, matrix, bias, out)


@register_translation_of("MatMul")
def _lower_matmul(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a MatMul node into a linear layer of the packed program if its right operand is a constant matrix, else
    into a product of two computed matrices."""
    left, right, out = node.input[0], node.input[1], node.output[0]
    a, b = lowering.find_sizes(left), lowering.find_sizes(right)
    if lowering.depends_only_on_token_count(right) and len(b) <= 2 and not any(size[0] for size in b):
        matrix = lowering.read_constant(right)
        _add_linear_layer(lowering, left, matrix.reshape(len(matrix), -1), None, out)
        return
    a = [(0, 1), *a] if len(a) == 1 else a
    b = [*b, (0, 1)] if len(b) == 1 else b
    batch_a, batch_b = multiply_sizes(a[:-2]), multiply_sizes(b[:-2])
    # [4, 1] and [1, 4] are both 4 matrices, and make 16: so the axes are compared, without leading axes of size 1.
    axes = [next((i for i, size in enumerate(each) if size != (0, 1)), len(each)) for each in (a[:-2], b[:-2])]
    is_one_by_one = a[axes[0] : -2] == b[axes[1] : -2]
    if batch_a is None or batch_b is None or not (is_one_by_one or (0, 1) in (batch_a, batch_b)):
        raise UnsupportedOperatorError(
            "The two operands have different batch axes. The native engine needs equal batch axes, or a single "
            "matrix as one operand.",
            "Expand the operands to equal batch axes in forward; or use the bundle with onnxruntime.",
        )
    batch = batch_b if batch_a == (0, 1) else batch_a
    operands = [lowering.find_or_add_whole_value(left), lowering.find_or_add_whole_value(right)]
    lowering.program.add_operation(
        "matmul", [*operands, lowering.add_value(out)], batch, a[-2], a[-1], b[-1],
        int(batch_a != (0, 1)), int(batch_b != (0, 1)),
    )  # fmt: skip


def _find_reduced_axes(lowering: Lowering, node: onnx.NodeProto) -> list[int]:
    """Return the indices of the axes that an operator reduces, without axes of size 1."""
    rank = lowering.graph.values[node.input[0]][0].ndim
    attributes = read_attributes(node)
    given: Sequence[int] | None = attributes.get("axes")
    if name := lowering.find_input_name_or_none(node, 1):
        given = lowering.read_constant(name).ravel().tolist()
    if not given:
        given = [] if attributes.get("noop_with_empty_axes") else range(rank)
    sizes = lowering.find_sizes(node.input[0])
    return sorted({axis % rank for axis in given if sizes[axis % rank] != (0, 1)})


@register_translation_of(*_REDUCED, "ReduceL1", "ReduceL2", "ReduceSumSquare")
def _lower_reduce(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a node that reduces axes (a sum, mean, extreme, product or norm) into operations of the packed program:
    one reduction for each group of adjacent axes."""
    source, out = node.input[0], node.output[0]
    axes = _find_reduced_axes(lowering, node)
    program, sizes = lowering.program, lowering.find_sizes(source)
    value = lowering.find_or_add_whole_value(source)
    kind = _REDUCED.get(node.op_type, Reduction.SUM)
    if node.op_type in ("ReduceL1", "ReduceL2") and lowering.find_type(source) != FLOAT:
        raise UnsupportedOperatorError(
            "The operator computes a norm of integers, but the native engine has norms of floats only.",
            "Convert the input to float in forward, x.float(); or use the bundle with onnxruntime.",
        )
    if node.op_type == "ReduceL1":
        size = program.add_value(FLOAT, sizes)
        lowering.add_unary_operation("Abs", value, size)
        value = size
    elif node.op_type not in _REDUCED:
        whole = multiply_sizes_or_refuse(sizes)
        product = program.add_value(lowering.find_type(source), sizes)
        program.add_operation("binary", [value, value, product], Binary.MUL, *[(0, 1)] * 3, whole, 8, 8)
        value = product
    # From the last axis on, so that the indices of the axes before stay the same.
    while axes:
        last = axes.pop()
        first = last
        while axes and axes[-1] == first - 1:
            first = axes.pop()
        parts = compute_outer_middle_inner_sizes(sizes, first, last)
        sizes[first : last + 1] = []
        made = program.add_value(lowering.find_type(out), sizes)
        program.add_operation("reduce", [value, made], kind, *parts)
        value = made
    if node.op_type == "ReduceL2":
        made = program.add_value(FLOAT, sizes)
        lowering.add_unary_operation("Sqrt", value, made)
        value = made
    lowering.record_existing_value_for(out, value)


@register_translation_of("Softmax", "LogSoftmax")
def _lower_softmax(lowering: Lowering, node: onnx.NodeProto) -> None:
    source, out = node.input[0], node.output[0]
    rank = lowering.graph.values[source][0].ndim
    axis = read_attributes(node).get("axis", -1 if lowering.graph.opset >= 13 else 1) % rank
    # Before opset 13, all axes from this one on are flattened.
    view = lowering.find_outer_middle_inner_sizes(source, axis, axis if lowering.graph.opset >= 13 else rank - 1)
    read = lowering.find_or_add_whole_value(source)
    lowering.program.add_operation("softmax", [read, lowering.add_value(out)], int(node.op_type == "LogSoftmax"), *view)


@register_translation_of("LayerNormalization")
def _lower_layer_norm(lowering: Lowering, node: onnx.NodeProto) -> None:
    attributes = read_attributes(node)
    source, out = node.input[0], node.output[0]
    rank = lowering.graph.values[source][0].ndim
    outer, numbers, inner = lowering.find_outer_middle_inner_sizes(source, attributes.get("axis", -1) % rank, rank - 1)
    weights = []
    for index in (1, 2):
        name = lowering.find_input_name_or_none(node, index)
        weights.append(
            NONE if name is None else lowering.program.add_constant(lowering.read_constant(name).reshape(-1))
        )
    if inner != (0, 1):
        raise UnsupportedOperatorError(
            "The operator normalizes along axes that are not the last ones, but the native engine normalizes only "
            "along the last axes.",
            "Transpose the input in forward, so that these axes are last; or use the bundle with onnxruntime.",
        )
    read = lowering.find_or_add_whole_value(source)
    epsilon = convert_float_to_bits(attributes.get("epsilon", 1e-5))
    lowering.program.add_operation("norm", [read, *weights, lowering.add_value(out)], outer, numbers, epsilon)


@register_translation_of("BatchNormalization")
def _lower_batch_norm(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a BatchNormalization node into four elementwise operations of the packed program. The mean and the
    variance are constants from training."""
    program = lowering.program
    scale, bias, mean, variance = (program.add_constant(lowering.read_constant(name)) for name in node.input[1:5])
    outer, channels, inner = lowering.find_outer_middle_inner_sizes(node.input[0], 1, 1)
    epsilon = program.add_constant(np.array([read_attributes(node).get("epsilon", 1e-5)], np.float32))
    spread, root = program.add_value(FLOAT, [channels]), program.add_value(FLOAT, [channels])
    program.add_operation("binary", [variance, epsilon, spread], Binary.ADD, *[(0, 1)] * 3, channels, 8, 0)
    lowering.add_unary_operation("Sqrt", spread, root)
    value = lowering.find_or_add_whole_value(node.input[0])
    for kind, operand in ((Binary.SUB, mean), (Binary.DIV, root), (Binary.MUL, scale), (Binary.ADD, bias)):
        made = program.add_value(FLOAT, lowering.find_sizes(node.output[0]))
        program.add_operation("binary", [value, operand, made], kind, (0, 1), outer, channels, inner, 14, 4)
        value = made
    lowering.record_existing_value_for(node.output[0], value)


def _find_channels_height_width(sizes: Sequence[Size]) -> tuple[int, Size, Size]:
    """Return the number of channels, the height and the width of an array of the shape [1, channels, height, width].
    For [1, channels, width], the height is 1. Raise an UnsupportedOperatorError for an array of another shape."""
    if len(sizes) not in (3, 4) or sizes[0] != (0, 1) or sizes[1][0]:
        raise UnsupportedOperatorError(
            "The native engine needs an input of the shape [1, channels, width] or [1, channels, height, width], "
            "with a fixed number of channels, but this input has another shape.",
            USE_OTHER_OPERATIONS,
        )
    return sizes[1][1], *([(0, 1)] if len(sizes) == 3 else []), *sizes[2:]  # type: ignore[return-value]


def _read_height_width_pair(values: Sequence[int] | None, default: int) -> tuple[int, int]:
    """Return an attribute of a convolution, such as its strides, as a pair (value for the height, value for the width).

    Args:
        values: the attribute's one or two values; None if the attribute is missing.
        default: the value for the height of a one-dimensional convolution, and for both if the attribute is missing.
    """
    given = [default, default] if values is None else list(values)
    return (default, given[0]) if len(given) == 1 else (given[0], given[1])


def _read_front_padding(attributes: dict[str, Any], rank: int) -> tuple[int, int]:
    """Return the padding before the first row and before the first column. The padding at the end follows from the size
    of the result, so it is not needed.

    Args:
        attributes: the attributes of a convolution or pooling.
        rank: the number of axes that it moves along, 1 or 2.
    """
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnsupportedOperatorError(
            "The attribute auto_pad is set, but the native engine needs the padding as numbers.",
            "Give the convolution or pooling its padding as a number; or use the bundle with onnxruntime.",
        )
    return _read_height_width_pair(list(attributes.get("pads", [0] * 2 * rank))[:rank], 0)


@register_translation_of("Conv")
def _lower_conv(lowering: Lowering, node: onnx.NodeProto) -> None:
    attributes = read_attributes(node)
    source, out, bias_name = node.input[0], node.output[0], lowering.find_input_name_or_none(node, 2)
    channels, height, width = _find_channels_height_width(lowering.find_sizes(source))
    outs, out_height, out_width = _find_channels_height_width(lowering.find_sizes(out))
    kernel = lowering.read_constant(node.input[1])
    rank = kernel.ndim - 2
    weight = lowering.program.add_constant(np.ascontiguousarray(kernel).reshape(-1))
    bias = NONE if bias_name is None else lowering.program.add_constant(lowering.read_constant(bias_name).reshape(-1))
    read = lowering.find_or_add_whole_value(source)
    lowering.program.add_operation(
        "conv", [read, weight, bias, lowering.add_value(out)], channels, height, width, outs,
        attributes.get("group", 1),
        *_read_height_width_pair(list(kernel.shape[2:]), 1), *_read_height_width_pair(attributes.get("strides"), 1),
        *_read_front_padding(attributes, rank), *_read_height_width_pair(attributes.get("dilations"), 1),
        out_height, out_width,
    )  # fmt: skip


@register_translation_of("MaxPool", "AveragePool")
def _lower_pool(lowering: Lowering, node: onnx.NodeProto) -> None:
    attributes = read_attributes(node)
    source, out = node.input[0], node.output[0]
    channels, height, width = _find_channels_height_width(lowering.find_sizes(source))
    _, out_height, out_width = _find_channels_height_width(lowering.find_sizes(out))
    dilated = any(one != 1 for one in attributes.get("dilations", []))
    if dilated or attributes.get("ceil_mode"):
        raise UnsupportedOperatorError(
            f"The pooling layer sets {'dilation' if dilated else 'ceil_mode'}, but the native engine does not have "
            "pooling with it.",
            "Leave this argument out of the pooling layer; or use the bundle with onnxruntime.",
        )
    mean = Pooling.MEAN if attributes.get("count_include_pad") else Pooling.MEAN_INSIDE
    kind = Pooling.LARGEST if node.op_type == "MaxPool" else mean
    kernel = list(attributes["kernel_shape"])
    read = lowering.find_or_add_whole_value(source)
    lowering.program.add_operation(
        "pool", [read, lowering.add_value(out)], kind, channels, height, width, *_read_height_width_pair(kernel, 1),
        *_read_height_width_pair(attributes.get("strides"), 1), *_read_front_padding(attributes, len(kernel)),
        out_height, out_width,
    )  # fmt: skip


@register_translation_of("GlobalMaxPool", "GlobalAveragePool")
def _lower_global_pool(lowering: Lowering, node: onnx.NodeProto) -> None:
    last = lowering.graph.values[node.input[0]][0].ndim - 1
    view = lowering.find_outer_middle_inner_sizes(node.input[0], 2, last)
    read = lowering.find_or_add_whole_value(node.input[0])
    kind = Reduction.LARGEST if node.op_type == "GlobalMaxPool" else Reduction.MEAN
    lowering.program.add_operation("reduce", [read, lowering.add_value(node.output[0])], kind, *view)


@register_translation_of("ArgMax", "ArgMin")
def _lower_argmax(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an ArgMax or ArgMin node into an operation of the packed program. The native engine has these
    operations only for floats, so integers are cast to float32; they must be small enough that float32 holds them
    exactly."""
    attributes = read_attributes(node)
    if attributes.get("select_last_index"):
        raise UnsupportedOperatorError(
            "If several numbers are the largest or smallest, the operator returns the index of the last, but the "
            "native engine returns the index of the first.",
            USE_OTHER_OPERATIONS,
        )
    axis = attributes.get("axis", 0) % lowering.graph.values[node.input[0]][0].ndim
    view = lowering.find_outer_middle_inner_sizes(node.input[0], axis, axis)
    read = lowering.find_or_add_whole_value(node.input[0])
    if lowering.find_type(node.input[0]) != FLOAT:
        if (bound := lowering.find_integer_bound(node.input[0])) is None:
            raise UnsupportedOperatorError(
                f"The input may contain integers above {MOST_WHOLE:,}. The native engine compares them in float32, "
                "which does not hold all larger integers exactly.",
                COMPUTE_IN_FLOAT32,
            )
        lowering.limit_text_length_so_that_integers_fit(bound, MOST_WHOLE, COMPUTE_IN_FLOAT32)
        whole, read = read, lowering.program.add_value(FLOAT, lowering.find_sizes(node.input[0]))
        lowering.add_unary_operation("Cast", whole, read)
    lowering.program.add_operation(
        "argmax", [read, lowering.add_value(node.output[0])], int(node.op_type == "ArgMin"), *view
    )


@register_translation_of("CumSum")
def _lower_cumsum(lowering: Lowering, node: onnx.NodeProto) -> None:
    attributes = read_attributes(node)
    axis = int(lowering.read_constant(node.input[1]).ravel()[0]) % lowering.graph.values[node.input[0]][0].ndim
    flags = attributes.get("exclusive", 0) | attributes.get("reverse", 0) << 1
    view = lowering.find_outer_middle_inner_sizes(node.input[0], axis, axis)
    read = lowering.find_or_add_whole_value(node.input[0])
    lowering.program.add_operation("cumsum", [read, lowering.add_value(node.output[0])], flags, *view)
