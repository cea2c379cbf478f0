"""One trace of a module as an ONNX graph with clean names and axes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, CommonSubexpressionEliminationPass

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn.text.pairs import PAIR_INPUTS
from pocketrnn_export.forms.onnx.exact_rewriting import optimize
from pocketrnn_export.forms.onnx.function_translations import (
    FUNCTION_TRANSLATIONS,
    refuse_rounded_doubles,
    single_numbers,
)
from pocketrnn_export.forms.onnx.number_translations import NUMBER_TRANSLATIONS, round_numbers
from pocketrnn_export.forms.onnx.onnx_translations import TRANSLATIONS
from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.torch_internals import operators_read_once
from pocketrnn_export.tracing.sizes.conditions import Sizes
from pocketrnn_export.tracing.sizes.trace_plan import TracePlan
from pocketrnn_export.tracing.trace import TracedProgram, first_cause, quiet
from pocketrnn_export.tracing.used_rules import is_left_out, note_use

__all__ = ["OPSET", "PAIRS", "WHOLE_TEXTS", "Names", "OnnxGraph", "converted", "token_lookups"]

# The opset that torch's exporter writes without converting; onnxruntime reads it since 1.14.
OPSET: Final = 18
# ONNX shifts the bits of unsigned numbers only.
_WIDE: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.UINT64, ir.DataType.UINT32})
# In these, an id may become another: 300 is 44 in 8 bits.
_NARROW: Final = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})
# The operators that move ids about and leave each as it is.
_MOVES: Final = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape",
     "ReverseSequence", "SequenceAt", "Slice", "Split", "SplitToSequence", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip


@dataclass(frozen=True)
class OnnxGraph:
    """A traced module.

    Attributes:
        content: the ONNX file's bytes.
        embedding_rows: how many ids it can take; None where the ids are looked up as other numbers, such as hashes.
        nodes: how many nodes it has.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: sizes on both sides of everything that forward asks about a size, for the proof; none where it asks
            nothing. Those outside the limits are among them.
        notes: what was not compared with the module.
        orders: the operators in it whose order of equal values PyTorch leaves undefined.
        plan: the branches that were taken where forward asks about sizes; None for those of the example.
        cut_counted: whether what is unpacked was cut to the longest of the lengths that forward counts itself.
        loops: the lines of the loops over the steps of a text, of which a few iterations were traced.
        padding_tells: the ids of padding of which what stands after a text may reach its answer in a batch, each with
            the line where; see `proof/padded_steps.py`.
        operators: the program, operator by operator, by whose names the values of the graph go.
        program: as the module was traced.
    """

    content: bytes
    embedding_rows: int | None
    nodes: int
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    notes: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    plan: TracePlan | None = None
    cut_counted: bool = True
    loops: tuple[str, ...] = ()
    padding_tells: Mapping[int, str] = field(default_factory=dict)
    operators: torch.export.ExportedProgram | None = None
    program: torch.export.ExportedProgram | None = None


@dataclass(frozen=True)
class Names:
    """The names of a graph's inputs and outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


WHOLE_TEXTS: Final = Names(("tokens", "lengths"), ("logits",))
PAIRS: Final = Names(PAIR_INPUTS[1], ("logits",))


def converted(
    traced: TracedProgram, metadata: Mapping[str, str], names: Names, *, in_doubles: bool = False
) -> OnnxGraph:
    """A traced program as an ONNX graph.

    Args:
        traced: the program.
        metadata: what the file's `metadata_props` say.
        names: of the graph's inputs and outputs.
        in_doubles: whether the whole module was made one of doubles, for the proof: its numbers may be rounded, and
            the proof sees by how much.

    Raises:
        ExportError: it holds something that no ONNX operator computes.
    """
    every = {**FUNCTION_TRANSLATIONS, **TRANSLATIONS, **NUMBER_TRANSLATIONS}
    translations = {operator: made for operator, made in every.items() if not is_left_out(_title(operator))}
    with quiet(), torch.no_grad(), operators_read_once():
        try:
            exported = torch.onnx.export(
                traced.program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=translations,
                input_names=names.inputs,
                output_names=names.outputs,
                optimize=False,
                verbose=False,
            )
            assert exported is not None  # noqa: S101 - it is None for the deprecated exporter only
            taken_apart = exported.exported_program or traced.program
            for node in taken_apart.graph.nodes:
                if node.target in translations:
                    note_use(_title(node.target))
            round_numbers(exported.model)
            held = single_numbers(exported.model.graph)
            optimize(exported.model)
            if not in_doubles:
                refuse_rounded_doubles(exported.model.graph, held)
        except ExportError:
            raise
        except Exception as error:
            raise _without_form(traced.program, first_cause(error)) from error
    graph = _cleaned(exported.model, metadata, names)
    return replace(
        graph,
        orders=traced.orders,
        plan=traced.plan,
        cut_counted=traced.cut_counted,
        loops=traced.loops,
        operators=exported.exported_program,
    )


def _title(operator: Any) -> str:
    return f"the translation of {operator}"


def _without_form(program: torch.export.ExportedProgram, cause: str) -> ExportError:
    """The error that names the operation which has no form in ONNX, and its line."""
    named = re.search(r"op='\w+\.(\w+)'|aten::(\w+)\(\)", cause)
    name = "" if named is None else named[1] or named[2]
    # An operator that PyTorch takes apart has another name before: special_i0e, bessel_i0e.
    nodes = [node for node in program.graph.nodes if name and _last_word(str(node.target)) == _last_word(name)]
    where = next((line for line in map(line_of_node, nodes or _parts_called(name, program)) if line), "")
    drawing = [node for node in program.graph.nodes if node.kwargs.get("generator") is not None]
    if drawn := next((line for line in map(line_of_node, drawing) if line), ""):
        return ExportError(
            f"The module draws random numbers by a generator of its own, {drawn}, which ONNX cannot.",
            "If they are the same in each call, draw them once, in __init__, into a buffer; else draw none where "
            "self.training is false.",
        )
    if name and where:
        return ExportError(
            f"No ONNX operator computes {name}, {where}.", "Write that line by other operations of torch."
        )
    return ExportError(
        f"The module was traced, but has no form in ONNX: {cause}.",
        "Replace the operation that the message names by one that ONNX has.",
    )


def _parts_called(name: str, program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The operators of a name that a program's own are made of: signbit, of copysign."""
    parts = program.run_decompositions().graph.nodes if name else ()
    return [node for node in parts if f".{name}." in str(node.target)]


def _last_word(operator: str) -> str:
    """`i0e` of `aten.special_i0e.default`."""
    return operator.removeprefix("aten.").partition(".")[0].rpartition("_")[2]


def _cleaned(model: ir.Model, metadata: Mapping[str, str], names: Names) -> OnnxGraph:
    graph = model.graph
    # The exporter notes the source line of every node: paths of the machine it ran on, and a third of a small file.
    ClearMetadataAndDocStringPass()(model)
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    CommonSubexpressionEliminationPass()(model)
    if tuple(value.name for value in graph.inputs) != names.inputs:
        raise ExportError(
            "The traced graph lost one of its inputs.", "Use the lengths in forward, or do not take them."
        )
    _name_axes(graph)
    _name_layers(graph)
    logits = graph.outputs[0].shape
    whole = logits is not None and len(logits) in (2, 3) and isinstance(logits[-1], int)
    if len(graph.outputs) != len(names.outputs) or not whole:
        raise ExportError(
            f"The traced graph gives {len(graph.outputs)} outputs, the first of shape {logits}.",
            "Return one tensor of logits [batch, classes] from forward.",
        )
    model.producer_name, model.producer_version = "pocketrnn", None
    graph.name = "classifier"
    model.metadata_props.update(metadata)
    content = ir.serde.serialize_model(model).SerializeToString()
    return OnnxGraph(content=content, embedding_rows=_embedding_rows(graph), nodes=len(graph))


def _name_axes(graph: ir.Graph) -> None:
    """Give the axes their names instead of the tracer's s27 and s52."""
    shapes = [value.shape for value in graph.inputs]
    assert shapes[0] is not None  # noqa: S101 - inputs always have a shape
    names = {str(shape[0]): "batch" for shape in shapes if shape is not None}
    names[str(shapes[0][1])] = "sequence"
    if graph.inputs[1:] and graph.inputs[1].name == PAIRS.inputs[1] and shapes[1] is not None:
        names[str(shapes[1][1])] = "second_sequence"
    for value in (*graph.inputs, *graph.outputs, *(value for node in graph for value in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([_named(dimension, names) for dimension in value.shape])


def _named(dimension: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | ir.SymbolicDim:
    return dimension if isinstance(dimension, int) else ir.SymbolicDim(names.get(str(dimension), dimension.value))


def _name_layers(graph: ir.Graph) -> None:
    """Name recurrent nodes and their weights by their place in the module: lstm.layer0, lstm.layer0.w.

    A layer that runs more than once gives lstm.layer0, lstm.layer0.run2, and so on.
    """
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


def _embedding_rows(graph: ir.Graph) -> int | None:
    """How many ids the embedding takes: the rows of the smallest table that `tokens` index; None for no limit.

    Raises:
        ExportError: `tokens` index no table, and are compared with no ids, as one-hot vectors are.
    """
    direct, computed, compared = _lookups(graph)
    if not direct and not computed and not compared:
        raise ExportError("The module looks its tokens up in no embedding.", "Begin forward with an nn.Embedding.")
    rows = [int(lookup.inputs[0].shape[0]) for lookup in direct]  # type: ignore[arg-type, union-attr, index]
    return min(rows, default=None)


def token_lookups(graph: ir.Graph) -> list[ir.Node]:
    """The Gather nodes whose table is an initializer and whose indices are the ids in `tokens`, as they are."""
    return _lookups(graph)[0]


def _lookups(graph: ir.Graph) -> tuple[list[ir.Node], list[ir.Node], list[ir.Node]]:
    """The Gather nodes that look up the ids in `tokens` as they are, and those that look up numbers made of them; and
    the Equal nodes that compare them.

    The rows of the first limit the ids. Those of the second do not: `(tokens * 31) % 1000` takes any id.
    """
    direct: list[ir.Node] = []
    computed: list[ir.Node] = []
    compared: list[ir.Node] = []
    reached = [(value, False) for value in graph.inputs if value.name in PAIRS.inputs[:2]]
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
    return direct, [node for node in computed if node not in direct], compared
