"""An ONNX graph in double precision: its numbers as they are, and all arithmetic in float64.

A weight of the graph keeps its value: a float32 number is a float64 number too. Numbers computed from it are then free
of float32's rounding, so that a right graph agrees with the module in double precision to about 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pocketrnn.errors import ExportError, first_line
from pocketrnn.text.pairs import pair_inputs
from pocketrnn_export.comparing.cases import answer_rows
from pocketrnn_export.comparing.float64_operators import OPERATORS

__all__ = [
    "SINGLE",
    "Doubles",
    "Ids",
    "Run64",
    "evaluator",
    "float64_run_of_onnx",
    "graph_inputs",
    "in_float64",
    "perturbable",
    "run_in_float64",
]

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
# (tokens int64 [batch, sequence], lengths int64 [batch]) -> logits float64 [batch, classes]
Run64 = Callable[[Ids, Ids], Doubles]

_FLOAT: Final = int(TensorProto.FLOAT)
_DOUBLE: Final = int(TensorProto.DOUBLE)
# Attributes that name a type: of Cast, EyeLike and the random operators; of DequantizeLinear.
_TYPE_ATTRIBUTES: Final = frozenset({"to", "dtype", "output_dtype"})
# The suffix in the name of a value that is meant to be float32.
SINGLE: Final = ".pocketrnn.single"
# Numbers inside PyTorch's own functions that ONNX keeps in attributes, which are float32 always: those of SELU, and the
# sixth of hardsigmoid and hardswish.
_PYTORCH_S: Final = {np.float32(number): number for number in (1.0507009873554805, 1.6732632423543772, 1 / 6)}


def float64_run_of_onnx(content: bytes, *, unrounded: bool = False) -> Run64:
    """An ONNX file that answers whole texts, as a run on arrays in double precision.

    Args:
        content: the file's bytes, with its weights inside; inputs tokens and perhaps lengths, the first output logits.
            Weights stored as int8 or float16 count as what they stand for.
        unrounded: take attributes that hold one of PyTorch's own constants for that constant, before its rounding.

    Raises:
        ExportError: the graph holds something that cannot be computed in double precision; when it is called, too.

    Example:
        >>> run = float64_run_of_onnx(Path("bundle/model.onnx").read_bytes())  # doctest: +SKIP
        >>> run(tokens, lengths).dtype  # doctest: +SKIP
        dtype('float64')
    """
    return run_in_float64(in_float64(onnx.load_from_string(content)), unrounded=unrounded)


def run_in_float64(model: onnx.ModelProto, *, unrounded: bool = False) -> Run64:
    """A model that `in_float64` gave, as a run on arrays."""
    evaluate = evaluator(model, unrounded=unrounded)
    names = [value.name for value in model.graph.input]

    def run(tokens: Ids, lengths: Ids) -> Doubles:
        given = dict(zip(names, graph_inputs(names, tokens, lengths), strict=False))
        answer: Doubles = answer_rows(evaluate(given)[0], lengths)
        return answer

    return run


def graph_inputs(names: Sequence[str], tokens: Ids, lengths: Ids) -> tuple[Ids, ...]:
    """The inputs of a graph, in the order of their names: rows of ids and lengths, or where it takes two texts the ids
    and the lengths of both.

    Args:
        names: of its inputs.
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].

    Example:
        >>> len(graph_inputs(["tokens", "second_tokens"], np.array([[5, -1, 6]]), np.array([3])))
        4
    """
    return pair_inputs(tokens, lengths) if "second_tokens" in names else (tokens, lengths)


def evaluator(
    model: onnx.ModelProto, *, unrounded: bool = False
) -> Callable[[dict[str, npt.NDArray[Any]]], list[Doubles]]:
    """A model that `in_float64` gave, as a function from its inputs to its outputs.

    Raises:
        ExportError: an operator is not known; when it is called, an operator failed or computed in float32.
    """
    outputs = [value.name for value in model.graph.output]
    try:
        reference = ReferenceEvaluator(model, new_ops=list(OPERATORS))
    # It raises errors of many classes.
    except Exception as error:
        raise _not_computed(error) from error
    if unrounded:
        _unround(reference)

    def evaluate(inputs: dict[str, npt.NDArray[Any]]) -> list[Doubles]:
        try:
            with np.errstate(all="ignore"):
                results = dict(reference.run(None, inputs, intermediate=True))
        except Exception as error:
            raise _not_computed(error) from error
        single = [
            name
            for name, value in results.items()
            if getattr(value, "dtype", None) == np.float32 and not name.endswith(SINGLE)
        ]
        if single:
            raise _not_computed(TypeError(f"{single[0]} is computed in float32"))
        return [results[name] for name in outputs]

    return evaluate


def _unround(reference: Any) -> None:
    """Give operators PyTorch's own constants in float64, where their attributes, or defaults, hold them in float32."""
    for node in reference.rt_nodes_:
        for name in node.attributes_names_:
            value = getattr(node, name)
            if isinstance(value, np.float32):
                setattr(node, name, _PYTORCH_S.get(value, value))
        # An operator that ONNX defines by others, such as HardSwish.
        if hasattr(node, "impl_"):
            _unround(node.impl_)


def _not_computed(error: Exception) -> ExportError:
    return ExportError(
        f"The graph cannot be computed in double precision: {first_line(error)}.",
        "Replace the operation that the message names by another in forward.",
    )


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model in which everything float32 is float64; values do not change.

    int8 and float16 weights stay, and are brought to float64 where the graph brought them to float32. The product of an
    int8 weight and its scale is rounded to float32, which is what the weight stands for in every engine.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for place, graph in enumerate(graphs(copied.graph)):
        _name_unused_outputs(graph, place)
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == _FLOAT:
                value.type.tensor_type.elem_type = _DOUBLE
        for tensor in graph.initializer:
            _double(tensor)
        for node in graph.node:
            _double_node(node)
    _round_products_of_int8(copied.graph)
    _round_singles(copied.graph)
    return copied


def _name_unused_outputs(graph: GraphProto, place: int) -> None:
    """Name each output without a name: the evaluator keeps its value under the empty name, and then takes that for an
    input that is left out."""
    for i, node in enumerate(graph.node):
        for k, name in enumerate(node.output):
            node.output[k] = name or f"pocketrnn.unused.{place}.{i}.{k}"


def _round_products_of_int8(graph: GraphProto) -> None:
    whole = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT8}
    # Only what is a float by now: a product of int8 is whole, and is the module's own.
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


def _round_singles(graph: GraphProto) -> None:
    """Round what is called so: numbers that Python makes of sizes in float64, and PyTorch rounds to float32 where they
    meet a tensor."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        if node.op_type == "Cast" and node.output[0].endswith(SINGLE) and not _goes_on(graph, node.output[0]):
            name = node.output[0]
            nodes[-1].output[0] = f"{name}.rounded{SINGLE}"
            nodes[-1].attribute[0].i = _FLOAT
            nodes.append(helper.make_node("Cast", [nodes[-1].output[0]], [name], to=_DOUBLE))
    del graph.node[:]
    graph.node.extend(nodes)


def _goes_on(graph: GraphProto, name: str) -> bool:
    """Whether a value is one that `_round_products_of_int8` has rounded."""
    return any(node.op_type == "Cast" and node.output[0] == name.removesuffix(SINGLE) for node in graph.node)


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all that its If, Loop and Scan hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])):
                yield from graphs(inner)


def _double_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _double(attribute.t)
        elif attribute.name in _TYPE_ATTRIBUTES and attribute.i == _FLOAT:
            attribute.i = _DOUBLE
        elif node.op_type == "Constant" and attribute.name in {"value_float", "value_floats"}:
            numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.array(numbers, float))))
    # Without a value it is a float32 zero.
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _double(tensor: TensorProto) -> None:
    if tensor.data_type == _FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def perturbable(model: onnx.ModelProto) -> list[TensorProto]:
    """The weights of a model that `in_float64` gave: its float64 initializers, but for those of inner graphs."""
    return [tensor for tensor in model.graph.initializer if tensor.data_type == _DOUBLE]
