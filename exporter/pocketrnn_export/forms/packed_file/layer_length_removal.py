"""Remove the lengths of recurrent layers whose lengths are counted from the ids. The new layers read all steps.

`pack_padded_sequence(x, (tokens != 0).sum(1), ...)` reads too few steps where the padding id is inside a text. The
engine's layers read all steps. In a forward layer, later steps do not change earlier outputs: the state after n steps
is the n-th output of a layer that reads all, and the reverse direction is a forward layer that takes the first n steps
in reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

_LAYERS: Final = frozenset({"GRU", "LSTM", "RNN"})
# The inputs of a layer.
_X, _W, _R, _B, _LENGTHS, _H, _C, _PEEPHOLES = range(8)
_OF_DIRECTIONS: Final = (_W, _R, _B, _PEEPHOLES)
_STATES: Final = (_H, _C)


def rewrite_layers_without_lengths(
    content: bytes, list_dependent_names: Callable[[onnx.ModelProto], Container[str]]
) -> bytes:
    """Rewrite a graph for one text so that its recurrent layers take no lengths, since the engine's layers have no such
    input. The outputs stay the same.

    An LSTM whose final cell state is used is not changed. `list_dependent_names` lists the values that depend on the
    tokens.
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
    """The names of the outputs of one direction: of all steps [steps, 1, 1, hidden], and of the last step."""

    every: str
    last: str


class _RewrittenLayer:
    """The nodes that replace a recurrent layer with lengths by one that reads all steps, and their constants."""

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
        """Add nodes that compute for each step its index in reverse order, and whether the layer reads it; also the
        index of the last step that it reads."""
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
        """Add the nodes of one direction of the layer, which has the index `i` in the layer's weights. Return the names
        of its outputs."""
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
        """Add nodes that join the outputs of all directions, for all steps and for the last step, under the names of
        the layer's own outputs."""
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
