"""Convert one traced program of a module to an ONNX graph, and name the graph's axes and layers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, CommonSubexpressionEliminationPass

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn.text.features_beside_text import FEATURE_INPUTS
from pocketrnn.text.pairs import PAIR_INPUTS
from pocketrnn_export.forms.onnx.accurate_operator_translations import FUNCTION_TRANSLATIONS
from pocketrnn_export.forms.onnx.exact_optimizer import optimize_exactly
from pocketrnn_export.forms.onnx.size_and_layer_translations import (
    NUMBER_TRANSLATIONS,
    TRANSLATIONS,
    round_size_numbers_to_float32,
)
from pocketrnn_export.intake.user_code_lines_for_messages import describe_last_user_line, describe_user_line_of_node
from pocketrnn_export.progress import log_step
from pocketrnn_export.torch_internals import cache_onnx_registry, decompose_where_needed
from pocketrnn_export.tracing.module_trace import TracedProgram, hide_exporter_messages, read_message_of_first_cause
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.trace_session import takes_lengths, takes_two_texts
from pocketrnn_export.tracing.used_and_left_out_rules import is_rule_left_out, record_rule_use

# The opset that torch's exporter writes without converting; onnxruntime reads it since 1.14.
OPSET: Final = 18
# ONNX shifts the bits of unsigned numbers only.
_WIDE: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.UINT64, ir.DataType.UINT32})
# In these types, an id may become another: 300 is 44 in 8 bits.
_NARROW: Final = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})
# The operators that move ids without changing them.
_MOVES: Final = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape",
     "ReverseSequence", "SequenceAt", "Slice", "Split", "SplitToSequence", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip


@dataclass(frozen=True)
class OnnxGraph:
    """A traced module as an ONNX file.

    Attributes:
        content: the ONNX file's bytes.
        embedding_rows: the number of ids that the graph takes; None if it looks up only numbers computed from the ids,
            such as hashes.
        nodes: the number of nodes.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: the sizes just below, at and above each size that a condition in forward compares with, also those
            outside the limits; empty without such conditions.
        notes: sentences on the parts that were not compared with the module.
        padding_tells: the padding ids that may change a text's answer if they follow the text in a batch, each with the
            line of forward that reads them.
        operators: the program in PyTorch's core operators, whose node names are the names of the graph's values; None
            after it was checked.
        program: the program as `torch.export` traced it.
        traced: `program` with the decisions of its trace, so that the module can be traced again in the same way.
    """

    content: bytes
    embedding_rows: int | None
    nodes: int
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    notes: tuple[str, ...] = ()
    padding_tells: Mapping[int, str] = field(default_factory=dict)
    operators: torch.export.ExportedProgram | None = None
    program: torch.export.ExportedProgram | None = None
    traced: TracedProgram | None = None


def name_graph_inputs(inputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
    """Return the names of a graph's inputs, given the inputs of the module: one text, two texts, or a text with
    features, each with or without lengths."""
    names: tuple[str, ...] = ("tokens", "lengths")
    if takes_two_texts(inputs):
        names = PAIR_INPUTS[1]
    elif len(inputs) > 1 and inputs[-1].is_floating_point():
        names = FEATURE_INPUTS[takes_lengths(inputs)]
    return names[: len(inputs)]


def convert_program(
    traced: TracedProgram, metadata: Mapping[str, str], input_names: tuple[str, ...], *, in_doubles: bool = False
) -> OnnxGraph:
    """Convert a traced program to an ONNX graph.

    Args:
        input_names: the names of the graph's inputs.
        in_doubles: whether the module was converted to double precision for the proof. Numbers that ONNX rounds to
            float32 are then allowed, since the proof measures their effect.

    Raises:
        ExportError: the program has an operation without an ONNX operator.
    """
    log_step(f"Converting a program of {len(traced.program.graph.nodes):,} operations to ONNX")
    every = {**FUNCTION_TRANSLATIONS, **TRANSLATIONS, **NUMBER_TRANSLATIONS}
    translations = {
        operator: made for operator, made in every.items() if not is_rule_left_out(_make_translation_title(operator))
    }
    with hide_exporter_messages(), torch.no_grad(), cache_onnx_registry(translations), decompose_where_needed():
        try:
            exported = torch.onnx.export(
                traced.program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=translations,
                input_names=input_names,
                output_names=("logits",),
                optimize=False,
                verbose=False,
            )
            assert exported is not None  # noqa: S101 - it is None for the deprecated exporter only
            taken_apart = exported.exported_program or traced.program
            for node in taken_apart.graph.nodes:
                if node.target in translations:
                    record_rule_use(_make_translation_title(node.target))
            round_size_numbers_to_float32(exported.model)
            held = find_numbers_stored_in_float32(exported.model.graph)
            optimize_exactly(exported.model)
            if not in_doubles:
                refuse_doubles_rounded_to_float32(exported.model.graph, held)
        except ExportError:
            raise
        except Exception as error:
            raise _make_unsupported_error(traced.program, read_message_of_first_cause(error)) from error
    graph = _make_onnx_graph(exported.model, metadata, input_names)
    return replace(graph, operators=exported.exported_program, traced=traced)


def _make_translation_title(operator: Any) -> str:
    return f"the translation of {operator}"


def _make_unsupported_error(program: torch.export.ExportedProgram, cause: str) -> ExportError:
    """Return the error for an operation that ONNX does not have, with the operation's name and its line in forward.

    Args:
        program: the program with the operation.
        cause: the exporter's message.
    """
    named = re.search(r"op='\w+\.(\w+)'|aten::(\w+)\(\)", cause)
    name = "" if named is None else named[1] or named[2]
    # PyTorch renames some operators when it decomposes them: special_i0e, bessel_i0e.
    nodes = [
        node
        for node in program.graph.nodes
        if name and _read_last_word_of_operator_name(str(node.target)) == _read_last_word_of_operator_name(name)
    ]
    where = describe_first_known_user_line(nodes or _find_operator_in_decomposed_program(name, program))
    if drawn := describe_first_known_user_line(
        node for node in program.graph.nodes if node.kwargs.get("generator") is not None
    ):
        return ExportError(
            f"The module draws random numbers with a torch.Generator, {drawn}, but ONNX has no generators.",
            "If the numbers are the same in each call, draw them once in __init__, into a buffer. Otherwise, draw them "
            "only if self.training is true.",
        )
    if name and where:
        return ExportError(
            f"ONNX has no operator for {name}, {where}.", "Use other operations of torch on that line of forward."
        )
    return ExportError(
        f"The module was traced, but its program cannot be converted to ONNX: {cause}.",
        "Replace the operation that the message names by operations that ONNX has.",
    )


def describe_first_known_user_line(nodes: Iterable[torch.fx.Node]) -> str:
    """Describe the line of user code that made a node, for the first of the nodes whose line is known. Return "" if
    there is no such node."""
    return next(filter(None, map(describe_user_line_of_node, nodes)), "")


def _find_operator_in_decomposed_program(operator: str, program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """Return the nodes with this operator after the program was decomposed to simpler operators, as copysign is
    decomposed to signbit and others. Return [] for an empty operator."""
    parts = program.run_decompositions().graph.nodes if operator else ()
    return [node for node in parts if f".{operator}." in str(node.target)]


def _read_last_word_of_operator_name(operator: str) -> str:
    """Return the last word of an operator's name: `i0e` for `aten.special_i0e.default`."""
    return operator.removeprefix("aten.").partition(".")[0].rpartition("_")[2]


def _make_onnx_graph(model: ir.Model, metadata: Mapping[str, str], input_names: tuple[str, ...]) -> OnnxGraph:
    """Remove the notes of torch's exporter from a model, name its axes and layers, and encode it as a file.

    Args:
        model: the ONNX model, which is changed.
        input_names: the names that the inputs must have.

    Raises:
        ExportError: the model does not use all inputs, or does not have logits as its only output.
    """
    graph = model.graph
    # The exporter stores the source line of every node: local paths, and a third of a small file.
    ClearMetadataAndDocStringPass()(model)
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    CommonSubexpressionEliminationPass()(model)
    given = tuple(value.name for value in graph.inputs)
    if given != input_names:
        unused = " and ".join(name for name in input_names if name not in given) or "one of its inputs"
        raise ExportError(
            f"forward has the argument {unused}, but the logits do not depend on it.",
            "Use this argument in forward, or remove it from forward.",
        )
    _name_axes(graph)
    _name_layers(graph)
    logits = graph.outputs[0].shape
    whole = logits is not None and len(logits) in (2, 3) and isinstance(logits[-1], int)
    if len(graph.outputs) != 1 or not whole:
        raise ExportError(
            "forward must return exactly one tensor, the logits [batch, classes], but the graph has "
            f"{len(graph.outputs)} outputs, and the first has the shape {logits}.",
            "Return one tensor of logits [batch, classes] from forward.",
        )
    model.producer_name, model.producer_version = "pocketrnn", None
    graph.name = "classifier"
    model.metadata_props.update(metadata)
    content = ir.serde.serialize_model(model).SerializeToString()
    return OnnxGraph(content=content, embedding_rows=_count_embedding_rows(graph), nodes=len(graph))


def _name_axes(graph: ir.Graph) -> None:
    """Name the dynamic axes of all values `batch`, `sequence` and, for two texts, `second_sequence`, in place of the
    tracer's names such as s27."""
    shapes = [value.shape for value in graph.inputs]
    assert shapes[0] is not None  # noqa: S101 - inputs always have a shape
    names = {str(shape[0]): "batch" for shape in shapes if shape is not None}
    names[str(shapes[0][1])] = "sequence"
    if graph.inputs[1:] and graph.inputs[1].name == PAIR_INPUTS[1][1] and shapes[1] is not None:
        names[str(shapes[1][1])] = "second_sequence"
    for value in (*graph.inputs, *graph.outputs, *(value for node in graph for value in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape(
                [n if isinstance(n, int) else ir.SymbolicDim(names.get(str(n), n.value)) for n in value.shape]
            )


def _name_layers(graph: ir.Graph) -> None:
    """Name recurrent nodes and their weights by the layer's path in the module: lstm.layer0.w is a weight, and
    lstm.layer0.run2 is the node of the layer's second call."""
    runs: Counter[str] = Counter()
    for name, value in list(graph.initializers.items()):
        if found := re.fullmatch(r"(?:(.*)\.)?onnx_(w|r|b|projection|unprojection|unprojection_rest)_(\d+)", name):
            path, kind, layer = found.groups()
            value.name = f"{path or 'recurrence'}.layer{layer}.{kind}"
    for node in graph:
        weight = node.inputs[1] if node.op_type in {"RNN", "LSTM", "GRU"} else None
        if weight is not None and weight.name is not None and weight.name.endswith(".w"):
            name = weight.name.removesuffix(".w")
            runs[name] += 1
            node.name = name if runs[name] == 1 else f"{name}.run{runs[name]}"


def _count_embedding_rows(graph: ir.Graph) -> int | None:
    """Return the number of ids that a graph takes: the rows of the smallest table in which it looks up the ids
    themselves. Return None if it looks up only numbers that are computed from the ids. Raise an ExportError if the
    graph neither looks up nor compares ids."""
    direct, computed, compared = _find_uses_of_ids(graph)
    if not direct and not computed and not compared:
        raise ExportError(
            "The module's forward does not look up its tokens in an embedding, so they cannot be used as token ids.",
            "Begin forward with an nn.Embedding of the token ids. If the module also takes other numbers, make "
            "them an argument of their own.",
        )
    rows = [int(lookup.inputs[0].shape[0]) for lookup in direct]  # type: ignore[arg-type, union-attr, index]
    return min(rows, default=None)


def find_token_lookups(graph: ir.Graph) -> list[ir.Node]:
    """Return the Gather nodes that look up the unchanged ids of `tokens` in a constant table."""
    return _find_uses_of_ids(graph).direct


class _IdUses(NamedTuple):
    """The nodes of a graph that use the ids in `tokens`.

    Attributes:
        direct: the Gather nodes that look up the unchanged ids in a constant table.
        computed: the Gather nodes that look up numbers computed from the ids.
        compared: the Equal nodes that compare the ids.
    """

    direct: list[ir.Node]
    computed: list[ir.Node]
    compared: list[ir.Node]


def _find_uses_of_ids(graph: ir.Graph) -> _IdUses:
    """Find the nodes that look up the ids of `tokens`, look up numbers computed from the ids, or compare the ids.

    The rows of a table limit the ids only if the ids themselves are looked up: `table[(tokens * 31) % 1000]` takes any
    id.
    """
    direct: list[ir.Node] = []
    computed: list[ir.Node] = []
    compared: list[ir.Node] = []
    reached = [(value, False) for value in graph.inputs if value.name in PAIR_INPUTS[1][:2]]
    reached = reached or [(graph.inputs[0], False)]
    seen = set(reached)
    while reached:
        value, is_computed = reached.pop()
        for node, index in value.uses():
            table = node.inputs[0]
            if node.op_type == "Gather" and index == 1 and table is not None and table.is_initializer():
                (computed if is_computed else direct).append(node)
                continue
            if node.op_type == "Equal":
                compared.append(node)
            # A shape, a count or a comparison of ids is not an id.
            if node.op_type not in {"Shape", "Size", "NonZero", "ReduceSum", "CumSum", "ArgMax"}:
                # A number that is looked up at the ids, such as a character of a word, is not an id.
                at_ids = index > 0 and node.op_type.startswith("Gather")
                made = is_computed or at_ids or node.op_type not in _MOVES
                ids = [(v, made or v.dtype in _NARROW) for v in node.outputs if v.dtype in _WIDE | _NARROW]
                reached.extend(found for found in ids if found not in seen)
                seen.update(ids)
    return _IdUses(direct, [node for node in computed if node not in direct], compared)


# --- Rounded doubles ---
# Refuse a graph that computes in double precision with a number that ONNX holds in float32, such as an attribute.


def find_numbers_stored_in_float32(graph: ir.Graph) -> frozenset[float]:
    """Return the numbers that a graph stores in float32 although it may compute with them in double precision:
    attributes, constants that are cast to double later, and the ends of ranges. Tensors that are float32 in forward,
    too, are left out. `graph` is the translated graph, before its constants are folded."""
    found: set[float] = set()
    for node in graph.all_nodes():
        found |= {float(a.value) for a in node.attributes.values() if a.type == ir.AttributeType.FLOAT}
        to = node.attributes.get("to")
        if node.op_type == "CastLike" or (node.op_type == "Cast" and to is not None and to.value == ir.DataType.DOUBLE):
            found |= set(_read_float32_constant(node.inputs[0]))
        if node.op_type == "Range":
            ends = [number for value in node.inputs for number in _read_float32_constant(value)]
            found |= {*ends, sum(ends[::2])}
    with np.errstate(over="ignore"):
        return frozenset(float(np.float32(number)) for number in found)


def _read_float32_constant(value: ir.Value | None) -> list[float]:
    """Return a list with the number of a float32 or int64 constant of one element, whether it is cast or not. Return an
    empty list for any other value."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "Cast":
        maker = None if maker.inputs[0] is None else maker.inputs[0].producer()
    if maker is None or maker.op_type != "Constant" or "value" not in maker.attributes:
        return []
    tensor = maker.attributes["value"].as_tensor()
    is_single = tensor.size == 1 and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.INT64)
    return [float(tensor.numpy().reshape(()))] if is_single else []


def refuse_doubles_rounded_to_float32(graph: ir.Graph, float32_numbers: Collection[float]) -> None:
    """Raise an ExportError if a graph computes in double precision with a number that ONNX stores only in float32, such
    as the slope of a LeakyRelu. The error of such a number can change an integer that forward computes from the result.

    Args:
        graph: the graph, after its constants were folded.
        float32_numbers: the result of `find_numbers_stored_in_float32` before the folding.
    """
    for node in graph.all_nodes():
        given = [value for value in node.inputs if value is not None]
        numbers = [number for value in given for number in _read_float64_constant_if_exact_in_float32(value)]
        if any(value.dtype == ir.DataType.DOUBLE for value in (*given, *node.outputs)):
            # An epsilon that is off in its eighth digit moves no result by 1e-12.
            singles = [a for a in node.attributes.values() if a.type == ir.AttributeType.FLOAT and a.name != "epsilon"]
            numbers += [float(np.float32(single.value)) for single in singles]
        if (
            rounded := next((n for n in numbers if n in float32_numbers and _looks_rounded_to_float32(n)), None)
        ) is not None:
            line = describe_last_user_line(node.metadata_props.get("pkg.torch.onnx.stack_trace", ""))
            raise ExportError(
                f"ONNX rounds the number {rounded:.7g} to single precision, but the module computes with it in "
                f"double precision{line and ', '}{line}.",
                "On that line, use sums, products and quotients, such as x * 0.57, which keep the number. Or "
                "compute in single precision.",
            )


def _read_float64_constant_if_exact_in_float32(value: ir.Value) -> list[float]:
    """Return the numbers of a float64 constant if all of them are also float32 numbers; otherwise an empty list."""
    maker, constant = value.producer(), value.const_value
    if constant is None and maker is not None and maker.op_type == "Constant" and "value" in maker.attributes:
        constant = maker.attributes["value"].as_tensor()
    if constant is None or constant.dtype != ir.DataType.DOUBLE:
        return []
    numbers = constant.numpy().ravel()
    with np.errstate(over="ignore"):
        return [] if (numbers.astype(np.float32) != numbers).any() else numbers.tolist()


def _looks_rounded_to_float32(number: float) -> bool:
    """Return whether a float64 number looks like a decimal that was rounded to float32: it is also a float32 number,
    but its shortest decimal in float32 (0.1) is another float64 number."""
    with np.errstate(over="ignore"):
        single = np.float32(number)
    return math.isfinite(number) and float(single) == number and float(str(single)) != number
