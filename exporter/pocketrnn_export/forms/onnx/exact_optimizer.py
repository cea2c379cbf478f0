"""onnxscript's optimizer, changed so that it compares constants exactly; constants with PyTorch's rounding, and
sigmoids whose small results matter.

Its rules for `x + 0`, `x - 0`, `x * 1` and `x / 1` take a constant for 0 within 1e-8 and for 1 within 1e-5, so that the
`a / (a.sum(1) + 1e-10)` of many attentions loses its 1e-10, and `x * 1.000009` its factor. Here these four rules match
the exact number. The other rules move nodes about and compare whole numbers only. Folded constants are computed in
double precision, see below.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes import common as passes
from onnx_ir.tape import Tape
from onnxscript import optimizer, rewriter
from onnxscript.rewriter import pattern

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.float64_graph import convert_model_to_float64, make_function_of_float64_model
from pocketrnn_export.forms.onnx.nan_propagation import make_graph_propagate_nans
from pocketrnn_export.forms.onnx.value_ranges import ANYTHING, NumberRange, compute_ranges, list_subgraphs
from pocketrnn_export.torch_internals import list_default_rewrite_rules, list_unsound_rewrite_rules

# As often as onnxscript goes over a graph.
_ROUNDS: Final = 2


def optimize_exactly(model: ir.Model) -> None:
    """Fold constants and simplify nodes in place, by the steps of `onnxscript.optimizer.optimize` but with exact
    comparisons of constants. Then rewrite the nodes in which onnxruntime would lose NaN, or the small results of a
    sigmoid."""
    passes.InlinePass()(model)
    exact = compute_constants_with_rounding_of_pytorch(model)
    for _ in range(_ROUNDS):
        # An overflow in float32 is infinity, as it is where the graph runs: no warning is needed.
        with np.errstate(all="ignore"):
            folded = optimizer.fold_constants_ir(model, onnx_shape_inference=True)
        rewritten = rewriter.RewritePass(REWRITE_RULES)(model)
        optimizer.remove_unused_nodes(model)
        passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass()(model)
        if not folded.modified and not rewritten.modified:
            break
    _rename_duplicate_constants(model.graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    replace_folded_constants(model, exact)
    # Join a sigmoid that forward computes twice, so that it is rewritten once.
    passes.CommonSubexpressionEliminationPass()(model)
    expand_sigmoids_whose_small_results_matter(model)
    make_graph_propagate_nans(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for last in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        last(model)


def _rename_duplicate_constants(graph: ir.Graph) -> None:
    """Give each constant a name of its own, since onnxscript's rule that joins two Clips gives two equal bounds the
    same name."""
    for node in graph:
        for value in node.inputs:
            if value is None or value.const_value is None or value.producer() is not None:
                continue
            if graph.initializers.get(value.name or "") is not value:
                numbers = (f"{value.name}.{i}" for i in itertools.count())
                value.name = next(name for name in numbers if name not in graph.initializers)
                graph.initializers[value.name] = value


_ZERO, _ONE = (pattern.Constant(number, rel_tol=0.0, abs_tol=0.0) for number in (0, 1))


def _replace_by_identity(op: Any, x: Any, **_: Any) -> Any:
    return op.Identity(x)


def _is_lookup_in_constant_table(_: Any, table: ir.Value, axes: ir.Value, **__: Any) -> bool:
    """Return whether a GatherND of unsqueezed ids is a lookup of rows: its table is constant, and the ids have one new
    axis at the end."""
    return table.const_value is not None and axes.const_value is not None and axes.const_value.numpy().tolist() == [-1]


_TIMES_ONE: Final = pattern.RewriteRule(lambda op, x: op.Mul(x, _ONE), _replace_by_identity, name="TimesOne")
_PLUS_ZERO: Final = pattern.RewriteRule(lambda op, x: op.Add(x, _ZERO), _replace_by_identity, name="PlusZero")
_UNSOUND: Final = frozenset(id(rule) for rule in list_unsound_rewrite_rules())

# onnxscript's rules: those that match within a tolerance are replaced by exact ones, and unsound ones are left out.
REWRITE_RULES: Final[tuple[pattern.RewriteRule, ...]] = (
    *_TIMES_ONE.commute(),
    *_PLUS_ZERO.commute(),
    pattern.RewriteRule(lambda op, x: op.Div(x, _ONE), _replace_by_identity, name="ByOne"),
    pattern.RewriteRule(lambda op, x: op.Sub(x, _ZERO), _replace_by_identity, name="MinusZero"),
    # `self.embedding.weight[tokens]` is a lookup, as `self.embedding(tokens)` is.
    pattern.RewriteRule(
        lambda op, table, ids, axes: op.GatherND(table, op.Unsqueeze(ids, axes), batch_dims=0),
        lambda op, table, ids, **_: op.Gather(table, ids, axis=0),
        _is_lookup_in_constant_table,
        name="Lookup",
    ),
    *(rule for rule in list_default_rewrite_rules() if id(rule) not in _UNSOUND),
)


# --- Folded constant rounding ---
# Compute the constants of a graph with the rounding of PyTorch: after each operation. Results of functions such as
# sine are rounded only once.
#
# A module that computes its frequencies in forward, `torch.exp(torch.arange(0, 12, 2) * -0.77)`, leaves them to the
# folding of constants. onnxscript folds in float32, where each step rounds: `exp` came out five float32 numbers from
# the right one, and the sine of a frequency times the 257th position 1e-5 off. The same constants are computed here
# first.
#
# For other constants more digits are worse: in `share >= 1 - torch.arange(1, 10) / 10` PyTorch has 0.10000002, and
# with 0.1 a text of ten words has another answer. These constants are rounded after each operation. For sums,
# products and quotients this gives exactly PyTorch's bits.

# As many numbers as onnxscript folds at most.
_MOST_NUMBERS: Final = 512 * 512
# Operators that are not computed here: random ones, and those whose result is as large as a number among their inputs.
_LEFT_OUT: Final = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "Dropout",
     "Pad", "Resize", "Upsample", "OneHot", "HannWindow", "HammingWindow", "BlackmanWindow", "If", "Loop", "Scan"}
)  # fmt: skip
# Operators with a jump in their result: a change in the last digit of an input can give another number.
_STEPS: Final = frozenset(
    {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Floor", "Ceil", "Round", "Sign", "Mod", "ArgMax",
     "ArgMin", "TopK", "Unique", "NonZero"}
)  # fmt: skip
_WHOLE: Final = frozenset(
    {ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.BOOL}
)
# Functions whose argument a graph may multiply by hundreds, as positions multiply frequencies. Their inputs and results
# are kept as exact as float32 can be, unless a step operator uses them.
_CURVED: Final = frozenset({"Sin", "Cos", "Tan", "Exp", "Log", "Pow"})
# The search for uses of a constant ends at a recurrent layer.
_LAYERS: Final = frozenset({"GRU", "LSTM", "RNN"})


def compute_constants_with_rounding_of_pytorch(model: ir.Model) -> Mapping[str, npt.NDArray[np.float32]]:
    """Compute the float32 values of a graph that depend only on constants, with PyTorch's rounding. Return them by
    name.

    Each operation rounds its result to float32. Functions such as exp and sine, and what is computed with their
    results, are computed in float64 and rounded once. This exception does not hold where an operator with jumps, such
    as Floor or a comparison, uses the result.

    Args:
        model: a model without functions. A value that cannot be computed in float64 is left out, and so is each value
            that depends on it.
    """
    known: dict[ir.Value, npt.NDArray[Any]] = {}
    singles: dict[ir.Value, npt.NDArray[Any]] = {}
    curved: set[ir.Value] = set()
    found: dict[str, npt.NDArray[np.float32]] = {}
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        if (
            node.domain
            or node.op_type in _LEFT_OUT
            or not all(_add_initializer_to_known_values(value, known) for value in inputs)
        ):
            continue
        singles |= {value: known[value] for value in inputs if value not in singles}
        made = _compute_node_in_float64(node, known, model)
        rounded = (
            _compute_node_in_float64(node, singles, model) if any(singles[v] is not known[v] for v in inputs) else made
        )
        made = rounded if _has_discontinuous_result(node) else made
        if node.op_type in _CURVED or not curved.isdisjoint(inputs):
            curved.update(node.outputs)
        for value, array, single in zip(node.outputs, made, rounded, strict=False):
            known[value] = singles[value] = array
            # A value that onnxscript adds, such as the Unsqueeze of `torch.stack`, may have no type.
            if value.dtype not in (ir.DataType.FLOAT, None) or array.dtype != np.float64:
                continue
            with np.errstate(over="ignore"):
                singles[value] = single.astype(np.float32).astype(np.float64)
                if value.name and value.dtype is not None:
                    chosen = array if _is_rounded_once(value, curved) else singles[value]
                    found[value.name] = chosen.astype(np.float32)
    return found


def _is_rounded_once(value: ir.Value, curved: Collection[ir.Value]) -> bool:
    """Return whether a value is computed in float64 and rounded to float32 once: a function such as exp or sine makes
    or uses the value, and no operator with jumps, such as Floor or a comparison, uses the value.

    Args:
        value: the value.
        curved: the values that functions such as exp and sine make, also indirectly.
    """
    met = list(_yield_downstream_operators(value))
    is_curved = value in curved or any(node.op_type in _CURVED for node in met)
    return is_curved and not any(map(_has_discontinuous_result, met))


def _yield_downstream_operators(value: ir.Value) -> Iterator[ir.Node]:
    """Yield the operators that use a value, directly or through other operators. The search does not go beyond a
    recurrent layer or a function such as exp or sine."""
    waiting, seen = [value], {value}
    while waiting:
        for node, _ in waiting.pop().uses():
            yield node
            if node.op_type not in _CURVED | _LAYERS:
                waiting += [made for made in node.outputs if made not in seen]
                seen.update(node.outputs)


def _has_discontinuous_result(node: ir.Node) -> bool:
    """Return whether a small change of an operator's input can change its result by a whole number, as in Floor, a
    comparison or a cast to integers."""
    return node.op_type in _STEPS or (node.op_type == "Cast" and node.outputs[0].dtype in _WHOLE)


def replace_folded_constants(model: ir.Model, rounded_constants: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Replace the values of constants in a model, in place, if the shapes are equal. `rounded_constants` are the new
    values by name, from `compute_constants_with_rounding_of_pytorch`."""
    graph = model.graph
    for name, array in rounded_constants.items():
        value = graph.initializers.get(name)
        if value is not None and value.const_value is not None and tuple(value.const_value.shape) == array.shape:
            value.const_value = ir.tensor(array, name=name)


def _add_initializer_to_known_values(value: ir.Value, known: dict[ir.Value, npt.NDArray[Any]]) -> bool:
    """Add the numbers of a value to `known` in float64, if the value is an initializer that is not too large. Return
    whether `known` has the value now."""
    if value in known:
        return True
    if not value.is_initializer() or value.const_value is None or value.const_value.size > _MOST_NUMBERS:
        return False
    array = value.const_value.numpy()
    known[value] = array.astype(np.float64) if array.dtype == np.float32 else array
    return True


def _compute_node_in_float64(
    node: ir.Node, known: Mapping[ir.Value, npt.NDArray[Any]], model: ir.Model
) -> list[npt.NDArray[Any]]:
    """Compute one node in double precision. Return its outputs; an empty list if the node fails, or if an output would
    be too large.

    Args:
        known: the numbers of its inputs.
        model: the model that contains it, which states the opsets.
    """
    if _compute_largest_output_size(node, [known[value] for value in node.inputs if value is not None]) > _MOST_NUMBERS:
        return []
    proto: Any = ir.serde.serialize_node(node)
    names = [f"output{i}" for i in range(len(node.outputs))]
    proto.input[:] = [f"input{i}" if value is not None else "" for i, value in enumerate(node.inputs)]
    proto.output[:] = names
    tensors = [
        numpy_helper.from_array(known[value], f"input{i}") for i, value in enumerate(node.inputs) if value is not None
    ]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in names]
    opsets = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    single = helper.make_model(helper.make_graph([proto], "constant", [], outputs, tensors), opset_imports=opsets)
    try:
        made = make_function_of_float64_model(convert_model_to_float64(single))({})
    except ExportError:
        return []
    # A sequence is a list, of tensors that may have several shapes.
    return [] if any(isinstance(one, list) for one in made) else [np.asarray(one) for one in made]


def _compute_largest_output_size(node: ir.Node, inputs: list[npt.NDArray[Any]]) -> float:
    """Return an upper bound of the number of elements in an operator's largest output, from the numbers of its
    inputs."""
    shapes = [value.shape for value in node.outputs]
    static = [shape.numpy() for shape in shapes if shape is not None and shape.is_static()]
    if len(static) == len(shapes):
        return max(map(math.prod, static))
    if node.op_type == "Range":
        start, limit, step = (float(array) for array in inputs)
        return abs(limit - start) / max(abs(step), 1e-9)
    sizes = math.prod(max(array.size, 1) for array in inputs)
    if node.op_type in {"ConstantOfShape", "Expand", "Tile"}:
        sizes *= math.prod(max(int(size), 1) for size in inputs[-1])
    return sizes


# --- Small sigmoid values ---
# Rewrite sigmoids whose small results matter. onnxruntime's Sigmoid rounds small results to 0.
#
# onnxruntime's Sigmoid is within 1e-8 of the right number, and 0 below -18, where PyTorch has 1.5e-8 down to 1e-38.
# That does not matter for a gate. It matters where forward takes the logarithm of such a number or divides by it:
# `torch.log(torch.sigmoid(x))`, `p / (1 - p)`, `a / a.sum(1)` of a text whose words all have small weights,
# `F.normalize(F.silu(x))`. There the graph computes 1 / (1 + exp(-x)), as PyTorch does. That takes four nodes, so
# gates keep the Sigmoid.

# Operators whose results do not depend on how small an input is: shares of a sum, sums with a large number.
_HIDES: Final = frozenset(
    {"Constant", "ConstantOfShape", "Exp", "HardSigmoid", "LogSoftmax", "Shape", "Sigmoid", "Size", "Softmax"}
)  # fmt: skip
# Operators whose results depend on how small an input is: comparisons, logarithms, signs, ranks.
_ASKS: Final = frozenset(
    {"Log", "Reciprocal", "Sqrt", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "ArgMax", "ArgMin",
     "TopK", "NonZero", "Sign", "Ceil", "Floor", "Round", "ReduceLogSum", "LayerNormalization",
     "InstanceNormalization", "LpNormalization", "Mod"}
)  # fmt: skip
_SIZE_TYPES: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32})
_MOVES: Final = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Expand", "Clip", "Identity", "Transpose", "Slice"})
_PRODUCTS: Final = frozenset({"Mul", "MatMul", "Gemm", "Conv", "Einsum", "BatchNormalization", "PRelu",
                              "GRU", "LSTM", "RNN"})  # fmt: skip
# A factor, or a product of factors, above this makes 1e-8 large enough to matter.
_LARGE: Final = 64.0


def expand_sigmoids_whose_small_results_matter(model: ir.Model) -> None:
    """Replace a Sigmoid by 1 / (1 + exp(-x)), in place, wherever later results would change if its small results were
    rounded to 0, as onnxruntime's Sigmoid may do."""
    nodes = list(model.graph.all_nodes())
    outer = {graph: node for node in nodes for graph in list_subgraphs(node)}
    ranges = compute_ranges(model.graph)
    for node in nodes:
        if (
            node.op_type == "Sigmoid"
            and not node.domain
            and _changes_later_result_if_rounded_to_zero(node.outputs[0], outer, ranges)
        ):
            _expand_sigmoid(node)


def _changes_later_result_if_rounded_to_zero(
    value: ir.Value, nodes_of_subgraphs: dict[ir.Graph, ir.Node], ranges: Mapping[ir.Value, NumberRange]
) -> bool:
    """Return whether a later result of the graph changes if the small numbers in a value are rounded to 0.

    Args:
        value: the output of a Sigmoid.
        nodes_of_subgraphs: the If, Loop or Scan that contains each subgraph.
    """
    # For each other value, the factor by which the first value was multiplied on its way there.
    scales = {value: 1.0}
    reached = [value]

    def visit_users(scale: float, *values: ir.Value) -> None:
        for one in values:
            if scale > scales.get(one, 0.0):
                scales[one] = scale
                reached.append(one)

    while reached:
        one = reached.pop()
        for node, index in one.uses():
            factor = _find_largest_factor(node, index, ranges)
            if scales[one] * factor > _LARGE or _is_sensitive_to_size_of_small_input(node, index):
                return True
            # In a subgraph, the value can be any of the inputs.
            for body in list_subgraphs(node):
                visit_users(scales[one], *body.inputs)
            if not _is_insensitive_to_small_inputs(node):
                visit_users(scales[one] * max(1.0, factor), *node.outputs)
        for graph, node in nodes_of_subgraphs.items():
            if one in graph.outputs:
                visit_users(scales[one], *node.outputs, *graph.inputs)
    return False


def _find_largest_factor(node: ir.Node, input_index: int, ranges: Mapping[ir.Value, NumberRange]) -> float:
    """Return the largest absolute number by which a node multiplies its input with the index `input_index`, or
    infinity."""
    others = [
        ranges.get(value, ANYTHING) for i, value in enumerate(node.inputs) if i != input_index and value is not None
    ]
    if node.op_type == "Div" and input_index == 0:
        # An integer divisor is at least 1, or the quotient is not finite.
        least = 0.0 if others[0].may_be_zero else min(abs(others[0].low), abs(others[0].high))
        return 1.0 if _is_integer_divisor(node.inputs[1]) else math.inf if least == 0 else 1.0 / least
    if node.op_type == "BatchNormalization":
        epsilon = node.attributes.get("epsilon")
        least = max(others[3].low, 0.0) + (1e-5 if epsilon is None else epsilon.as_float())
        return others[0].largest_magnitude / math.sqrt(least) if least > 0 else math.inf
    if node.op_type == "Pow" and input_index == 0:
        return others[0].largest_magnitude
    alpha = node.attributes.get("alpha")
    scaled = 1.0 if alpha is None or node.op_type not in {"Gemm", "LeakyRelu"} else abs(alpha.as_float())
    if node.op_type not in _PRODUCTS:
        return max(1.0, scaled)
    return scaled * math.prod(
        one.largest_magnitude for one in (others[:1] if node.op_type in {"Gemm", "Conv", *_LAYERS} else others)
    )


def _is_sensitive_to_size_of_small_input(node: ir.Node, input_index: int) -> bool:
    """Return whether a node's result depends on how small its input with this index is, as for a logarithm: 1e-30 must
    not become 0 there."""
    if node.op_type in _ASKS:
        return True
    if node.op_type == "Cast":
        return bool(node.outputs[0].dtype == ir.DataType.BOOL)
    if node.op_type == "Div":
        return input_index == 1
    if node.op_type == "Pow":
        exponent = _read_constant_array(node.inputs[1])
        whole = exponent is not None and bool(((exponent >= 1) & (exponent == np.round(exponent))).all())
        return input_index == 1 or not whole
    # In a sum with a number that is not small, as `1 + p`, it does not matter how small p is. But only a constant is
    # known to be not small, and a difference may cancel. So sums are not in this list.
    return False


def _is_integer_divisor(divisor: ir.Value | None) -> bool:
    """Return whether a divisor is computed from an integer, such as the number of words in a text. None is not."""
    while divisor is not None and (producer := divisor.producer()) is not None:
        divisor = producer.inputs[0]
        if producer.op_type == "Cast" and divisor is not None and divisor.dtype in _SIZE_TYPES:
            return True
        if producer.op_type not in _MOVES:
            return False
    return False


def _is_insensitive_to_small_inputs(node: ir.Node) -> bool:
    """Return whether a node's result is about the same for all small inputs, as for a sum with a bias. Small inputs may
    become 0 there."""
    if node.op_type in _LAYERS:
        weights = _read_constant_array(node.inputs[1])
        return weights is not None and bool(np.abs(weights).max() <= _LARGE)
    if node.op_type not in {"Gemm", "Conv"}:
        return node.op_type in _HIDES
    bias = _read_constant_array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
    return bias is None or bool(bias.any())


def _read_constant_array(value: ir.Value | None) -> Any:
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array if array.dtype.kind in "fiu" else None


def _expand_sigmoid(node: ir.Node) -> None:
    """Replace a Sigmoid in its graph by the nodes of 1 / (1 + exp(-x))."""
    x, result = node.inputs[0], node.outputs[0]
    assert x is not None and result.dtype is not None and node.graph is not None  # noqa: S101, PT018 - a Sigmoid has them
    tape = Tape()
    one = tape.op("Constant", [], attributes={"value": ir.tensor(1.0, dtype=result.dtype)})
    total = tape.op("Add", [tape.op("Exp", [tape.op("Neg", [x])]), one])
    kept = tape.op("Reciprocal", [total])
    for value in (total, kept):
        value.dtype, value.shape = result.dtype, result.shape
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], list(tape.nodes), [result], [kept])
