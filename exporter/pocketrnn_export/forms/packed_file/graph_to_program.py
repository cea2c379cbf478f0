"""Make the program of a packed file from the graph of a bundle. docs/packed-format.md describes packed files."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pocketrnn.bundle.manifest import Graph
from pocketrnn.errors import ExportError, first_line
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.forms.packed_file import composed_operator_lowering, layer_and_reduction_lowering
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering
from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import list_token_dependent_names, observe_graph

# These modules register handlers for operators when they are imported.
_OPERATORS: Final = (composed_operator_lowering, layer_and_reduction_lowering)


def translate_graph_into_program(
    content: bytes,
    graph: Graph,
    *,
    numbers: NumberInput | None = None,
    state_size: int = 0,
    padding_id: int | None = None,
    features: Features = (),
    equal_lengths: bool = False,
) -> Lowering:
    """Translate an ONNX graph into the program of a packed file for one text or sequence. Return the translation, whose
    attribute `program` is the result.

    Args:
        graph: its entry in classifier.json; for a step graph, the entry of the graph for whole texts.
        numbers: the channels and steps of the sequences, for a graph that takes sequences of numbers; None for texts.
        state_size: the number of floats in the state, for a step graph; else 0.
        padding_id: the padding id of the text rules, if the graph does not take texts of padding only; else None.
        features: the features that the graph takes beside a text.
        equal_lengths: whether two texts always have the same number of tokens; only for comparisons of operators.

    Raises:
        ExportError: the engine has no operation for an operator; the message names the operator and its place.
    """
    with _convert_graph_errors_to_export_error():
        content = content if numbers is not None else _convert_tables_to_float32(onnx.load_from_string(content))
        content = rewrite_layers_without_lengths(content, list_token_dependent_names)
        seen = observe_graph(
            content, graph, numbers=numbers, state_size=state_size, padding_id=padding_id, features=features,
            equal_lengths=equal_lengths,
        )  # fmt: skip
    lowering = Lowering(seen)
    lowering.lower_operators()
    return lowering


@contextmanager
def _convert_graph_errors_to_export_error() -> Iterator[None]:
    """While the block runs, convert errors of onnx and numpy about a malformed graph to an ExportError."""
    try:
        yield
    # onnx's own errors, and numpy's for malformed tensors, have no common base class.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ExportError(
            f"The graph cannot be packed, because it is malformed: {first_line(error)}.",
            "Use the bundle with onnxruntime.",
        ) from error


def _is_float32_cast(node: onnx.NodeProto) -> bool:
    to = next((a.i for a in node.attribute if a.name == "to"), None)
    return node.op_type == "Cast" and len(node.input) == 1 and to == onnx.TensorProto.FLOAT


def _convert_tables_to_float32(model: onnx.ModelProto) -> bytes:
    """Convert the int8 and float16 embedding tables of a model to float32, and remove the cast and the scaling after
    each lookup. Return the new file."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}

    def find_table_and_indices_of_lookup(name: str) -> tuple[str, str] | None:
        node = made.get(name)
        if node is None or node.op_type != "Gather" or len(node.input) != 2 or node.input[0] not in tensors:
            return None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return (node.input[0], node.input[1]) if axis == 0 else None

    def read_array(name: str) -> Any:
        return onnx.numpy_helper.to_array(tensors[name])

    for node in model.graph.node:
        if node.op_type == "Mul" and len(node.input) == 2:
            cast, scaled = made.get(node.input[0]), find_table_and_indices_of_lookup(node.input[1])
            stored = (
                None if cast is None or not _is_float32_cast(cast) else find_table_and_indices_of_lookup(cast.input[0])
            )
            if stored is None or scaled is None or stored[1] != scaled[1] or read_array(stored[0]).dtype != np.int8:
                continue
            table = read_array(stored[0]).astype(np.float32) * read_array(scaled[0])
        elif _is_float32_cast(node):
            stored = find_table_and_indices_of_lookup(node.input[0])
            if stored is None or read_array(stored[0]).dtype != np.float16:
                continue
            table = read_array(stored[0]).astype(np.float32)
        else:
            continue
        name = f"{stored[0]}.as float32"
        if name not in tensors:
            tensors[name] = onnx.numpy_helper.from_array(table, name)
            model.graph.initializer.append(tensors[name])
        plain = onnx.helper.make_node("Gather", [name, stored[1]], list(node.output), name=node.name, axis=0)
        node.CopyFrom(plain)
    content: bytes = model.SerializeToString()
    return content


# --- Layer length removal ---
# Remove the lengths of recurrent layers whose lengths are counted from the ids. The new layers read all steps.
#
# `pack_padded_sequence(x, (tokens != 0).sum(1), ...)` reads too few steps where the padding id is inside a text. The
# engine's layers read all steps. In a forward layer, later steps do not change earlier outputs: the state after n
# steps is the n-th output of a layer that reads all, and the reverse direction is a forward layer that takes the
# first n steps in reverse.

_LAYERS: Final = frozenset({"GRU", "LSTM", "RNN"})
# The inputs of a layer.
_X, _W, _R, _B, _LENGTHS, _H, _C, _PEEPHOLES = range(8)
_OF_DIRECTIONS: Final = (_W, _R, _B, _PEEPHOLES)
_STATES: Final = (_H, _C)


def rewrite_layers_without_lengths(
    content: bytes, list_dependent_names: Callable[[onnx.ModelProto], Container[str]]
) -> bytes:
    """Rewrite a graph for one text so that its recurrent layers take no lengths, since the engine's layers have no such
    input. The layers' outputs stay the same. Return the new file, or the same bytes if no layer has lengths that depend
    on the tokens.

    An LSTM whose final cell state is used is not changed.

    Args:
        list_dependent_names: returns the names of a model's values that depend on the tokens.
    """
    model = onnx.load_from_string(content)
    graph, depend = model.graph, list_dependent_names(model)
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes, changed = list[onnx.NodeProto](), False
    for node in graph.node:
        inputs = [*node.input, *[""] * 8][:8]
        cells = len(node.output) > 2 and node.output[2] in read
        counted = node.op_type in _LAYERS and inputs[_LENGTHS] in depend
        if not counted or cells or not all(inputs[i] in weights for i in _OF_DIRECTIONS if inputs[i]):
            nodes.append(node)
            continue
        made = _RewrittenLayer(node, inputs, weights)
        nodes += made.nodes
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in made.constants.items())
        changed = True
    if not changed:
        return content
    del graph.node[:]
    graph.node.extend(nodes)
    made_of: bytes = model.SerializeToString()
    return made_of


class _DirectionOutputs(NamedTuple):
    """The names of the outputs of one direction of a layer.

    Attributes:
        every: the output of all steps [steps, 1, 1, hidden].
        last: the output of the last step that the layer reads.
    """

    every: str
    last: str


class _RewrittenLayer:
    """The nodes and constants that replace a recurrent layer with lengths by layers that read all steps."""

    def __init__(self, node: onnx.NodeProto, inputs: list[str], weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self._node, self._inputs, self._weights = node, inputs, weights
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        direction = attributes.pop("direction", b"forward").decode()
        self._attributes = attributes
        self._add_reverse_indices_and_read_mask()
        reversed_ones = [False, True] if direction == "bidirectional" else [direction == "reverse"]
        self._join_directions(
            [self._add_direction(i, len(reversed_ones), is_reverse=one) for i, one in enumerate(reversed_ones)]
        )

    def _add_node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self._node.name}.whole.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _add_constant(self, array: Any) -> str:
        name = f"{self._node.name}.constant.{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def _add_int64_constant(self, *numbers: int) -> str:
        return self._add_constant(np.array(numbers, np.int64))

    def _add_reverse_indices_and_read_mask(self) -> None:
        """Add nodes that compute from the lengths: the index of each step in reverse order, whether the layer reads a
        step, and the index of the last step that the layer reads."""
        size = self._add_node("Shape", self._inputs[_X])
        steps = self._add_node(
            "Squeeze", self._add_node("Gather", size, self._add_int64_constant(0)), self._add_int64_constant(0)
        )
        zero, one = self._add_constant(np.int64(0)), self._add_constant(np.int64(1))
        places = self._add_node("Range", zero, steps, one)
        count = self._add_node("Cast", self._inputs[_LENGTHS], to=onnx.TensorProto.INT64)
        self._last = self._add_node("Sub", count, self._add_int64_constant(1))
        read = self._add_node("Less", places, count)
        self._read = self._add_node("Reshape", read, self._add_int64_constant(-1, 1, 1, 1))
        self._back = self._add_node("Max", self._add_node("Sub", self._last, places), self._add_int64_constant(0))

    def _add_direction(self, i: int, direction_count: int, *, is_reverse: bool) -> _DirectionOutputs:
        """Add the nodes of one direction of the layer. Return the names of their outputs.

        Args:
            i: the index of the direction in the layer's weights.
            direction_count: the number of directions.
            is_reverse: whether this direction reads the steps in reverse.
        """
        inputs = list(self._inputs)
        inputs[_LENGTHS] = ""
        for place in _OF_DIRECTIONS:
            if inputs[place]:
                inputs[place] = self._add_constant(self._weights[inputs[place]][i : i + 1])
        for place in _STATES:
            if inputs[place]:
                inputs[place] = self._add_node("Gather", inputs[place], self._add_int64_constant(i), axis=0)
        if is_reverse:
            inputs[_X] = self._add_node("Gather", inputs[_X], self._back, axis=0)
        while not inputs[-1]:
            inputs.pop()
        attributes = dict(self._attributes)
        for name in ("activations", "activation_alpha", "activation_beta"):
            if name in attributes:
                each = len(attributes[name]) // direction_count
                attributes[name] = attributes[name][i * each : (i + 1) * each]
        every = self._add_node(self._node.op_type, *inputs, direction="forward", **attributes)
        last = self._add_node("Gather", every, self._last, axis=0)
        every = self._add_node("Gather", every, self._back, axis=0) if is_reverse else every
        return _DirectionOutputs(every, last)

    def _join_directions(self, directions: list[_DirectionOutputs]) -> None:
        """Add nodes that join the outputs of all directions, and give the results the names of the layer's own
        outputs."""
        outputs = [*self._node.output, "", ""][:2]
        if outputs[0]:
            every = self._add_node("Concat", *(one.every for one in directions), axis=1)
            kept = self._add_node("Where", self._read, every, self._add_constant(np.float32(0)))
            self.nodes.append(helper.make_node("Identity", [kept], [outputs[0]], name=f"{self._node.name}.outputs"))
        if outputs[1]:
            last = self._add_node("Concat", *(one.last for one in directions), axis=1)
            self.nodes.append(
                helper.make_node(
                    "Squeeze", [last, self._add_int64_constant(0)], [outputs[1]], name=f"{self._node.name}.last"
                )
            )
