"""Run an ONNX graph in double precision. Its weights keep their values, and all arithmetic is in float64.

A float32 number is a float64 number too, so each weight stays exact. The results have no float32 rounding, and a
correct graph agrees with the module in double precision to about 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.answer_rows_without_padding import drop_padding_rows_of_answer
from pocketrnn_export.comparing.float64_operators import OPERATORS
from pocketrnn_export.comparing.module_and_graph_as_functions import make_graph_inputs_from_ids
from pocketrnn_export.comparing.proof_inputs import Doubles, Ids, Run64

_FLOAT: Final = int(TensorProto.FLOAT)
_DOUBLE: Final = int(TensorProto.DOUBLE)
# Attributes that name a type: in Cast, EyeLike and the random operators; in DequantizeLinear.
_TYPE_ATTRIBUTES: Final = frozenset({"to", "dtype", "output_dtype"})
# The suffix in the name of a value that must stay float32.
SINGLE: Final = ".pocketrnn.single"
# Constants of PyTorch's functions that ONNX keeps in attributes, which are always float32: those of SELU, and the 1/6
# of hardsigmoid and hardswish.
_PYTORCH_S: Final = {np.float32(number): number for number in (1.0507009873554805, 1.6732632423543772, 1 / 6)}


def make_float64_onnx_run(content: bytes, *, restores_constants: bool = False) -> Run64:
    """Return a function that computes an ONNX graph's logits in double precision from arrays of tokens and lengths.

    Args:
        content: the file's bytes, weights included; the graph's inputs are tokens and perhaps lengths, its first output
            is logits. int8 and float16 weights are used as the numbers that they stand for.
        restores_constants: whether attributes that hold a constant of PyTorch rounded to float32, such as those of
            SELU, are replaced by the exact constant.

    Raises:
        ExportError: the graph cannot be computed in double precision. The returned function may raise it, too.
    """
    return make_float64_model_run(
        convert_model_to_float64(onnx.load_from_string(content)), restores_constants=restores_constants
    )


def make_float64_model_run(model: onnx.ModelProto, *, restores_constants: bool = False) -> Run64:
    """Return a function that computes the logits of an ONNX model in float64 from arrays of tokens and lengths. With
    `restores_constants`, attributes that hold a constant of PyTorch rounded to float32 get the exact constant."""
    evaluate = make_function_of_float64_model(model, restores_constants=restores_constants)
    names = [value.name for value in model.graph.input]

    def run_graph(tokens: Ids, lengths: Ids) -> Doubles:
        given = dict(zip(names, make_graph_inputs_from_ids(names, tokens, lengths), strict=False))
        if "features" in given:
            given["features"] = given["features"].astype(np.float64)
        answer: Doubles = drop_padding_rows_of_answer(evaluate(given)[0], lengths)
        return answer

    return run_graph


def make_function_of_float64_model(
    model: onnx.ModelProto, *, restores_constants: bool = False
) -> Callable[[dict[str, npt.NDArray[Any]]], list[Doubles]]:
    """Return a function that runs an ONNX model in float64. It takes a dict of inputs and returns the list of outputs.
    With `restores_constants`, attributes that hold a constant of PyTorch rounded to float32 get the exact constant.

    Raises:
        ExportError: the evaluator does not know an operator. The returned function raises it if an operator fails or
            computes in float32.
    """
    outputs = [value.name for value in model.graph.output]
    try:
        reference = ReferenceEvaluator(model, new_ops=list(OPERATORS))
    # The evaluator raises exceptions of many classes.
    except Exception as error:
        raise _make_float64_graph_error(error) from error
    if restores_constants:
        _restore_float64_constants(reference)

    def evaluate_model(inputs: dict[str, npt.NDArray[Any]]) -> list[Doubles]:
        try:
            with np.errstate(all="ignore"):
                results = dict(reference.run(None, inputs, intermediate=True))
        except Exception as error:
            raise _make_float64_graph_error(error) from error
        single = [
            name
            for name, value in results.items()
            if getattr(value, "dtype", None) == np.float32 and not name.endswith(SINGLE)
        ]
        if single:
            raise _make_float64_graph_error(TypeError(f"{single[0]} is computed in float32"))
        return [results[name] for name in outputs]

    return evaluate_model


def _restore_float64_constants(evaluator: Any) -> None:
    """Replace each attribute that holds a constant of PyTorch rounded to float32, such as 1/6 of hardsigmoid, by the
    float64 constant. The nodes of the evaluator are changed in place."""
    for node in evaluator.rt_nodes_:
        for name in node.attributes_names_:
            value = getattr(node, name)
            if isinstance(value, np.float32):
                setattr(node, name, _PYTORCH_S.get(value, value))
        # ONNX defines some operators by others, such as HardSwish.
        if hasattr(node, "impl_"):
            _restore_float64_constants(node.impl_)


def _make_float64_graph_error(error: Exception) -> ExportError:
    return ExportError(
        f"The graph cannot be computed in double precision: {first_line(error)}.",
        "Use another operation in forward in place of the operator that this message names.",
    )


def convert_model_to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of an ONNX model that computes in float64 in place of float32, with the same weights.

    int8 and float16 weights keep their type, and are cast to float64 where the model casts them to float32. The product
    of an int8 weight and its scale is rounded to float32, since every engine computes with the rounded product.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for place, graph in enumerate(list_nested_graphs(copied.graph)):
        _give_names_to_unused_outputs(graph, place)
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == _FLOAT:
                value.type.tensor_type.elem_type = _DOUBLE
        for tensor in graph.initializer:
            _convert_tensor_to_float64(tensor)
        for node in graph.node:
            _convert_node_to_float64(node)
    _round_products_of_int8(copied.graph)
    _round_marked_values_to_float32(copied.graph)
    return copied


def _give_names_to_unused_outputs(graph: GraphProto, graph_number: int) -> None:
    """Give a name to each node output without one, since the evaluator takes an output without a name for an omitted
    input. `graph_number` makes the names unique among nested graphs."""
    for i, node in enumerate(graph.node):
        for k, name in enumerate(node.output):
            node.output[k] = name or f"pocketrnn.unused.{graph_number}.{i}.{k}"


def _round_products_of_int8(graph: GraphProto) -> None:
    """Round each product of int8 weights and their scale to float32, since the rounded product is the weight."""
    whole = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT8}
    # Only values that were cast to float: an int8 product stays an integer and belongs to the module.
    widened: set[str] = set()
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Gather" and node.input[0] in whole:
            whole.add(node.output[0])
        elif (node.op_type == "Cast" and node.input[0] in whole) or (
            node.op_type == "Gather" and node.input[0] in widened
        ):
            widened.add(node.output[0])
        elif node.op_type == "Mul" and widened.intersection(node.input):
            name = str(node.output[0])
            node.output[0] = f"{name}.pocketrnn.product"
            nodes.append(helper.make_node("Cast", [node.output[0]], [name + SINGLE], to=_FLOAT))
            nodes.append(helper.make_node("Cast", [name + SINGLE], [name], to=_DOUBLE))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _round_marked_values_to_float32(graph: GraphProto) -> None:
    """Insert casts that round some values to float32: those whose names end with SINGLE. They are Python numbers beside
    float32 tensors, which PyTorch rounds in the same way."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        if (
            node.op_type == "Cast"
            and node.output[0].endswith(SINGLE)
            and not _is_rounded_product(graph, node.output[0])
        ):
            name = node.output[0]
            nodes[-1].output[0] = f"{name}.rounded{SINGLE}"
            nodes[-1].attribute[0].i = _FLOAT
            nodes.append(helper.make_node("Cast", [nodes[-1].output[0]], [name], to=_DOUBLE))
    del graph.node[:]
    graph.node.extend(nodes)


def _is_rounded_product(graph: GraphProto, name: str) -> bool:
    """Return whether the value `name` is a product of int8 weights and their scale that a cast rounds to float32."""
    return any(node.op_type == "Cast" and node.output[0] == name.removesuffix(SINGLE) for node in graph.node)


def list_nested_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the inner graphs of its If, Loop and Scan nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])):
                yield from list_nested_graphs(inner)


def _convert_node_to_float64(node: NodeProto) -> None:
    """Convert the constants and the type attributes of a node to float64, in place."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _convert_tensor_to_float64(attribute.t)
        elif attribute.name in _TYPE_ATTRIBUTES and attribute.i == _FLOAT:
            attribute.i = _DOUBLE
        elif node.op_type == "Constant" and attribute.name in {"value_float", "value_floats"}:
            numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.array(numbers, float))))
    # The default value is a float32 zero.
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _convert_tensor_to_float64(tensor: TensorProto) -> None:
    if tensor.data_type == _FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def list_perturbable_weights(model: onnx.ModelProto) -> list[TensorProto]:
    """List the weights of a model, converted to float64, that can be changed a little to measure the effect of
    rounding: its float64 weights, but not those of inner graphs (of If, Loop and Scan)."""
    return [tensor for tensor in model.graph.initializer if tensor.data_type == _DOUBLE]
