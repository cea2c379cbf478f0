"""Add nodes to a graph, called guards, so that the graph gives NaN where PyTorch gives NaN.

A text without a word that counts has a mean of 0 / 0. Everything computed from it is NaN in PyTorch, so that the text
has no answer, or is the number of `torch.nan_to_num`. onnxruntime's ReduceMax, ReduceMin, MaxPool, ArgMax and TopK
ignore NaN, its Sign of NaN is NaN where PyTorch's is 0, and its GRU and LSTM take NaN for a number (seen in 1.27 to
1.32). Where NaN may arrive at one of these, by `value_ranges`, the graph tests for it: `x == x` is false only for NaN.
Before a graph is made into another one, a step or a packed file, these guards are removed (`remove_nan_guards`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnx_ir.tape import Tape

from pocketrnn_export.forms.onnx.value_ranges import ANYTHING, NumberRange, compute_ranges, list_subgraphs

# The prefix of a guard's name. The name ends with the guarded operator and the index of the input that the guard
# replaces.
_GUARD: Final = "nan_of_"

LAYERS: Final = frozenset({"RNN", "GRU", "LSTM"})
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_INT64: Final = int(ir.DataType.INT64)
_LARGEST: Final = float(np.finfo(np.float32).max)


def make_graph_propagate_nans(model: ir.Model) -> None:
    """Add nodes, called guards, to a graph in place that make its result NaN wherever PyTorch's result is NaN. They are
    added only where a value may be NaN although the graph's inputs are finite."""
    _guard_operators_that_lose_nan(model.graph, compute_ranges(model.graph))


def add_nan_guards_for_any_input(content: bytes) -> bytes:
    """Add nodes, called guards, to the graph of an ONNX file, so that it gives NaN wherever PyTorch gives NaN, even if
    an input contains NaN. Return the new file."""
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)))
    _guard_operators_that_lose_nan(model.graph, compute_ranges(model.graph, ANYTHING))
    made: bytes = ir.serde.serialize_model(model).SerializeToString()
    return made


def remove_nan_guards(content: bytes, operators: frozenset[str] | None = None) -> bytes:
    """Remove the guards (nodes that pass on NaN) that `make_graph_propagate_nans` added to a graph.

    Args:
        content: an ONNX file.
        operators: the types of the operators whose guards are removed, such as ReduceMax; None for all.

    Returns:
        the file without these guards, or `content` itself if it has none.
    """
    model = ir.serde.deserialize_model(onnx.load_model_from_string(content))
    is_guarded = False
    for node in list(model.graph.all_nodes()):
        if not (node.name or "").startswith(_GUARD) or node.outputs[0].is_graph_output():
            continue
        operator, index = str(node.name).removeprefix(_GUARD).split("_")[:2]
        input_without_guard = node.inputs[int(index)]
        if input_without_guard is not None and (operators is None or operator in operators):
            ir.convenience.replace_all_uses_with(node.outputs[0], input_without_guard)
            is_guarded = True
    if not is_guarded:
        return content
    passes.RemoveUnusedNodesPass()(model)
    made: bytes = ir.serde.serialize_model(model).SerializeToString()
    return made


def _guard_operators_that_lose_nan(graph: ir.Graph, ranges: Mapping[ir.Value, NumberRange]) -> None:
    """Replace each operator that would lose a NaN by nodes that keep it, if a float input of the operator may be NaN.
    Recurrent layers and max pools are also replaced if an input may be infinite."""
    for node in list(graph):
        for body in list_subgraphs(node):
            _guard_operators_that_lose_nan(body, ranges)
        guarded = _GUARDS.get(node.op_type)
        x = node.inputs[0] if node.inputs else None
        if guarded is None or node.domain or x is None or x.dtype not in _FLOATS:
            continue
        of_all = [ranges.get(value, ANYTHING) for value in node.inputs if value is not None]
        infinities = node.op_type in _OF_INFINITIES
        if any(one.nan or (infinities and one.may_be_infinite) for one in of_all):
            make = _GuardBuilder(node)
            if (made := guarded(make)) is not None:
                _replace_node(graph, make, made)


class _GuardBuilder:
    """Builds the nodes that replace one operator, so that its result is NaN where PyTorch's result is NaN."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.x: Any = node.inputs[0]
        self.tape = Tape()

    def add_node(self, kind: str, *inputs: Any, **attributes: Any) -> Any:
        return self.tape.op(kind, list(inputs), attributes=attributes)

    def add_guard(self, kind: str, *inputs: Any, input_without_guard: int, output_index: int = 0) -> Any:
        """Add a guard (a node that puts NaN into a result), and return its output.

        Args:
            kind: the guard's operator.
            inputs: the guard's inputs.
            input_without_guard: the index of the input that holds the result without NaN; `remove_nan_guards` puts this
                input in the guard's place.
            output_index: the index of the replaced operator's output that the guard's output stands for.
        """
        name = f"{_GUARD}{self.node.op_type}_{input_without_guard}_{self.node.outputs[output_index].name}"
        # A MaxPool has two guards: onnxruntime refuses two nodes of one name.
        name += "_again" * any(node.name == name for node in self.tape.nodes)
        return self.tape.op(kind, list(inputs), name=name)

    def copy_node_with_first_input(self, first: Any) -> Any:
        """Copy the replaced operator with another first input. Return the first output of the copy."""
        return self.copy_node_and_get_all_outputs(first)[0]

    def copy_node_and_get_all_outputs(self, first: Any) -> tuple[Any, ...]:
        """Copy the replaced operator with another first input. Return all outputs of the copy."""
        inputs = [first, *self.node.inputs[1:]]
        attributes = dict(self.node.attributes.items())
        count = len(self.node.outputs)
        return tuple(self.tape.op_multi_out(self.node.op_type, inputs, attributes=attributes, num_outputs=count))

    def add_float_constant(self, value: float) -> Any:
        return self.add_node("Constant", value=ir.tensor(value, dtype=self.x.dtype))

    def add_integer_constant(self, value: int | list[int]) -> Any:
        return self.add_node("Constant", value=ir.tensor(value, dtype=ir.DataType.INT64))

    def add_nan_addend(self, x: Any) -> Any:
        """Add nodes that make a tensor which is NaN where x is NaN, and 0 elsewhere. Return this tensor."""
        return self.add_node("Where", self.add_node("Equal", x, x), self.add_float_constant(0.0), x)

    def replace_nan_by_infinity(self, infinity: float) -> Any:
        """Add nodes that replace each NaN in the operator's first input by `infinity`, and each number equal to
        `infinity` by the finite number nearest to it. So NaN becomes the largest number or, for minus infinity, the
        smallest. Return the new tensor."""
        bound = self.add_float_constant(_LARGEST if infinity > 0 else -_LARGEST)
        within = self.add_node("Min" if infinity > 0 else "Max", self.x, bound)
        return self.add_node("Where", self.add_node("Equal", self.x, self.x), within, self.add_float_constant(infinity))


def _replace_node(graph: ir.Graph, builder: _GuardBuilder, new_outputs: tuple[ir.Value, ...]) -> None:
    old = list(builder.node.outputs)
    for before, after in zip(old, new_outputs, strict=True):
        after.shape = before.shape
        if before.dtype is not None:
            after.dtype = before.dtype
    ir.convenience.replace_nodes_and_values(
        graph, builder.node, [builder.node], list(builder.tape.nodes), old, list(new_outputs)
    )


def _guard_reduce(builder: _GuardBuilder) -> tuple[Any, ...]:
    """Build the nodes that replace a ReduceMax or ReduceMin: the result is NaN if one of the reduced numbers is NaN.
    Return the new output."""
    inputs = [builder.add_nan_addend(builder.x), *builder.node.inputs[1:]]
    found = builder.tape.op("ReduceSum", inputs, attributes=dict(builder.node.attributes.items()))
    return (builder.add_guard("Add", builder.copy_node_with_first_input(builder.x), found, input_without_guard=0),)


def _guard_max_pool(builder: _GuardBuilder) -> tuple[Any, ...]:
    """Build the nodes that replace a MaxPool or GlobalMaxPool: the result is NaN if the window contains NaN, and minus
    infinity if all numbers of the window are minus infinity. Return the new outputs."""
    one, zero = builder.add_float_constant(1.0), builder.add_float_constant(0.0)
    flags = builder.add_node("Where", builder.add_node("Equal", builder.x, builder.x), zero, one)
    found = builder.copy_node_and_get_all_outputs(flags)[0]
    values, *places = builder.copy_node_and_get_all_outputs(builder.x)
    is_least = builder.add_node("LessOrEqual", values, builder.add_float_constant(-_LARGEST))
    values = builder.add_guard("Where", is_least, builder.add_float_constant(-np.inf), values, input_without_guard=2)
    return (
        builder.add_guard(
            "Where",
            builder.add_node("Greater", found, zero),
            builder.add_float_constant(np.nan),
            values,
            input_without_guard=2,
        ),
        *places,
    )


def _make_guard_of_argmax_or_argmin(largest: bool) -> Callable[[_GuardBuilder], tuple[Any, ...]]:
    """Return a function that builds the nodes that replace an ArgMax or ArgMin: if there are NaNs, the result is the
    index of the first one.

    Args:
        largest: true for ArgMax, false for ArgMin.
    """
    return lambda builder: (
        builder.copy_node_with_first_input(builder.replace_nan_by_infinity(np.inf if largest else -np.inf)),
    )


def _guard_top_k(builder: _GuardBuilder) -> tuple[Any, ...]:
    """Build the nodes that replace a TopK: NaN counts as larger than all other numbers. Return the new outputs."""
    axis = builder.node.attributes.get("axis")
    _, places = builder.copy_node_and_get_all_outputs(builder.replace_nan_by_infinity(np.inf))
    places.dtype, places.shape = ir.DataType.INT64, builder.node.outputs[1].shape
    return builder.add_node("GatherElements", builder.x, places, axis=-1 if axis is None else axis.as_int()), places


def _guard_sign(builder: _GuardBuilder) -> tuple[Any, ...]:
    """Build the nodes that replace a Sign: the result for NaN is 0, as in PyTorch. Return the new output."""
    return (
        builder.add_node(
            "Where",
            builder.add_node("Equal", builder.x, builder.x),
            builder.copy_node_with_first_input(builder.x),
            builder.add_float_constant(0.0),
        ),
    )


def _guard_scatter(builder: _GuardBuilder) -> tuple[Any, ...] | None:
    """Build the nodes that replace a ScatterElements or ScatterND with a maximum or minimum: the result is NaN if one
    of the compared numbers is NaN. Return the new output; None for other reductions, which need no guard."""
    kind = builder.node.attributes.get("reduction")
    if kind is None or kind.as_string() not in ("max", "min"):
        return None
    data, places, updates = builder.node.inputs
    attributes = {**dict(builder.node.attributes.items()), "reduction": "add"}
    found = builder.add_node(
        builder.node.op_type, builder.add_nan_addend(data), places, builder.add_nan_addend(updates), **attributes
    )
    return (builder.add_node("Add", builder.copy_node_with_first_input(builder.x), found),)


def _guard_recurrent_layer(builder: _GuardBuilder) -> tuple[Any, ...]:
    """Build the nodes that replace an RNN, GRU or LSTM: the results are NaN from the first step at which an input of a
    gate is NaN. Return the new outputs."""
    x, w, _, _, lengths, *states = [*builder.node.inputs, *[None] * 7][:7]
    name = builder.node.attributes.get("direction")
    direction = "forward" if name is None else name.as_string()
    assert w is not None and w.shape is not None  # noqa: S101, PT018 - weights are initializers
    # [directions, gates, input] -> [input, all gates]; infinite inputs of both signs make NaN here, as they do there.
    flat = builder.add_node("Reshape", w, builder.add_integer_constant([-1, w.shape.numpy()[2]]))
    gates = builder.add_node("MatMul", x, builder.add_node("Transpose", flat, perm=[1, 0]))
    found = builder.add_node("ReduceSum", builder.add_nan_addend(gates), builder.add_integer_constant([2]), keepdims=0)
    valid = None
    if lengths is not None:
        steps = builder.add_node(
            "Squeeze", builder.add_node("Shape", x, start=0, end=1), builder.add_integer_constant([0])
        )
        each = builder.add_node(
            "Unsqueeze",
            builder.add_node("Range", builder.add_integer_constant(0), steps, builder.add_integer_constant(1)),
            builder.add_integer_constant([1]),
        )
        valid = builder.add_node("Less", each, builder.add_node("Cast", lengths, to=_INT64))
        found = builder.add_node("Where", valid, found, builder.add_float_constant(0.0))
    total = builder.add_node(
        "Unsqueeze",
        builder.add_node("ReduceSum", found, builder.add_integer_constant([0]), keepdims=0),
        builder.add_integer_constant([0, 2]),
    )
    given = [
        builder.add_node("ReduceSum", builder.add_nan_addend(state), builder.add_integer_constant([2]), keepdims=1)
        for state in states
        if state is not None
    ]
    for state in given:
        total = builder.add_node("Add", total, state)
    ways = []
    for backward in (False, True) if direction == "bidirectional" else (direction == "reverse",):
        so_far = builder.add_node("CumSum", found, builder.add_integer_constant(0), reverse=int(backward))
        if valid is not None:
            so_far = builder.add_node("Where", valid, so_far, builder.add_float_constant(0.0))
        ways.append(builder.add_node("Unsqueeze", so_far, builder.add_integer_constant([1, 3])))
    each_step = ways[0] if len(ways) == 1 else builder.add_node("Concat", *ways, axis=1)
    for state in given:
        each_step = builder.add_node("Add", each_step, state)
    outputs = builder.copy_node_and_get_all_outputs(x)
    every = zip(outputs, (each_step, *[total] * (len(outputs) - 1)), strict=True)
    return tuple(
        builder.add_guard("Add", given, nans, input_without_guard=0, output_index=i)
        for i, (given, nans) in enumerate(every)
    )


# Operators that need a guard for infinities too.
_OF_INFINITIES: Final = LAYERS | {"MaxPool", "GlobalMaxPool"}
_GUARDS: Final[Mapping[str, Callable[[_GuardBuilder], tuple[Any, ...] | None]]] = {
    "ReduceMax": _guard_reduce,
    "ReduceMin": _guard_reduce,
    "MaxPool": _guard_max_pool,
    "GlobalMaxPool": _guard_max_pool,
    "ArgMax": _make_guard_of_argmax_or_argmin(largest=True),
    "ArgMin": _make_guard_of_argmax_or_argmin(largest=False),
    "TopK": _guard_top_k,
    "Sign": _guard_sign,
    "ScatterElements": _guard_scatter,
    "ScatterND": _guard_scatter,
    **dict.fromkeys(LAYERS, _guard_recurrent_layer),
}
