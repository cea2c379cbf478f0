"""One trace of a module as an ONNX graph with clean names and axes."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, CommonSubexpressionEliminationPass
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.forms.exact_rewriting import optimize
from pocketrnn_export.forms.number_translations import NUMBER_TRANSLATIONS, round_numbers
from pocketrnn_export.forms.onnx_translations import TRANSLATIONS
from pocketrnn_export.proof.whole_copy import copied_again
from pocketrnn_export.tracing.cell_recognition import NotALayer
from pocketrnn_export.tracing.conditions import Sizes
from pocketrnn_export.tracing.loop_unroll import Loop, unrolled
from pocketrnn_export.tracing.python_semantics import followed
from pocketrnn_export.tracing.recurrence import add_onnx_weights, traceable_recurrence
from pocketrnn_export.tracing.reroll import rerolled
from pocketrnn_export.tracing.restrictions import TracePlan, UntraceableError
from pocketrnn_export.tracing.size_numbers import refuse_rounded
from pocketrnn_export.tracing.sizes import Branch, TraceLog, note_program, watched
from pocketrnn_export.tracing.torch_internals import LOGGERS, of_unknown_sizes, unknown_sizes
from pocketrnn_export.tracing.unstable_sort import orders_in
from pocketrnn_export.tracing.users_code import is_users, place_of

__all__ = ["OPSET", "STEPS", "WHOLE_TEXTS", "Names", "OnnxGraph", "followed_for", "token_lookups", "traced_graph"]

# The opset that torch's exporter writes without converting; onnxruntime reads it since 1.14.
OPSET: Final = 18
# ONNX shifts the bits of unsigned numbers only.
_INTEGERS: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.UINT64, ir.DataType.UINT32})
# What moves ids about and leaves each as it is.
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
        orders: the operators in it whose order of equal values PyTorch leaves undefined.
        plan: the branches that were taken where forward asks about sizes; None for those of the example.
        cut_counted: whether what is unpacked was cut to the longest of the lengths that forward counts itself.
        loops: the lines of the loops over the steps of a text, of which a few iterations were traced.
    """

    content: bytes
    embedding_rows: int | None
    nodes: int
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    orders: tuple[str, ...] = ()
    plan: TracePlan | None = None
    cut_counted: bool = True
    loops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """What a graph's inputs and outputs are called."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


WHOLE_TEXTS: Final = Names(("tokens", "lengths"), ("logits",))
STEPS: Final = Names(("tokens", "state"), ("logits", "new_state"))


@dataclass(frozen=True)
class Wanted:
    """How a module is traced, whatever its sizes.

    Attributes:
        metadata: what the file's `metadata_props` say.
        names: of the graph's inputs and outputs.
        one_text: keep the batch of the example, which is one, and only the sequence dynamic.
    """

    metadata: Mapping[str, str]
    names: Names
    one_text: bool


def traced_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    wanted: Wanted,
    plan: TracePlan | None,
    log: TraceLog,
    *,
    cut_counted: bool,
) -> OnnxGraph:
    """Trace a module once.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: what it is traced on.
        wanted: how the graph is to look.
        plan: the branches that are taken where forward asks about sizes; None for those of the example.
        log: takes note of what forward asks.
        cut_counted: cut what is unpacked to the longest of the lengths that forward counts or clamps itself.

    Raises:
        ExportError: the module cannot be traced with dynamic axes, or holds something no ONNX operator computes.
    """
    program, loops = _program(module, example, plan, log, one_text=wanted.one_text, cut_counted=cut_counted)
    graph = _converted(program, wanted.metadata, wanted.names)
    return replace(
        graph,
        orders=tuple(orders_in(program)),
        plan=plan,
        cut_counted=cut_counted,
        loops=tuple(dict.fromkeys(loop.where for loop in loops)),
    )


def _program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    plan: TracePlan | None,
    log: TraceLog,
    *,
    one_text: bool,
    cut_counted: bool,
) -> tuple[torch.export.ExportedProgram, list[Loop]]:
    traced = copied_again(module)
    add_onnx_weights(traced)
    dynamic = torch.export.Dim.DYNAMIC
    axes = ({1: dynamic},) if one_text else ({0: dynamic, 1: dynamic}, {0: dynamic})[: len(example)]
    branches, choices = ([], []) if plan is None else plan.branches
    loops: list[Loop] = []
    with _quiet(), torch.no_grad():
        try:
            with unrolled(traced, loops), traceable_recurrence(), followed(traced, scripted=False):
                with watched(traced, log, branches, choices, cut_counted=cut_counted):
                    program = torch.export.export(traced, example, dynamic_shapes=axes, strict=False)
                    refuse_rounded(program)
                    note_program(log, program)
                log.check_answered()
                whole = rerolled(program, loops) if loops else None
            if whole is not None:
                with traceable_recurrence(), watched(whole, log, cut_counted=cut_counted):
                    program = torch.export.export(whole, example, dynamic_shapes=axes, strict=False)
                    note_program(log, program)
        except PocketRNNError:
            raise
        except NotALayer as reason:
            raise _refused_loop(loops, reason, module) from reason
        # torch.export fails with errors of many unrelated classes, among them the module's own, and sys.exit in it.
        except (Exception, SystemExit) as error:
            if cell := _stepped_cell(module):
                raise ExportError(
                    f"The module's {cell[0]}, stepped by a loop that cannot be followed: {_first_cause(error)}.",
                    cell[1],
                ) from error
            line = _line_of(error)
            advice = "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps."
            if "data-dependent" in str(error) or "data dependent" in str(error):
                advice = "Ask about no values of tensors in forward; torch.where takes one of two values for each text."
            raise UntraceableError(
                f"The module cannot be traced with a dynamic batch and sequence length{line}: {_first_cause(error)}.",
                advice,
            ) from error
    return program, loops


def followed_for(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes, log: TraceLog) -> BaseException | None:
    """Follow forward for some sizes, as a trace does, but without a program.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        inputs: of these sizes. Nothing is computed with their values.
        sizes: the sizes. One of 1 is a plain number, as it is for PyTorch.
        log: takes note of what forward asks.

    Returns:
        what forward, or PyTorch on its way, raised; None where it came to its end.
    """
    traced = copied_again(module)
    add_onnx_weights(traced)
    mode = unknown_sizes()
    # The tokens have two axes of unknown size, the lengths one.
    fakes = [of_unknown_sizes(mode, value, 1 if i else 2) for i, value in enumerate(inputs)]
    loops: list[Loop] = []
    with _quiet(), torch.no_grad():
        try:
            with unrolled(traced, loops), traceable_recurrence(), followed(traced, scripted=False):
                with watched(traced, log, [Branch(sizes)]), mode:
                    traced(*fakes)
                log.check_answered()
        except (Exception, SystemExit) as error:
            return error
    return None


def _line_of(error: BaseException) -> str:
    """The last line of the user's own code on the way to an error or to one of its causes."""
    found = ""
    current: BaseException | None = error
    while current is not None:
        frame = current.__traceback__
        while frame is not None:
            if is_users(frame.tb_frame):
                found = f", at {place_of(frame.tb_frame, frame.tb_lineno)}"
            frame = frame.tb_next
        current = current.__cause__
    return found


# Layers that a Python loop steps, one token at a time, and the layer that does it by itself.
_CELLS: Final = {nn.RNNCell: "nn.RNN", nn.LSTMCell: "nn.LSTM", nn.GRUCell: "nn.GRU"}


def _stepped_cell(module: nn.Module) -> tuple[str, str] | None:
    """Of the first cell in a module, what it is and what to use in its stead; None where there is none."""
    for path, layer in module.named_modules():
        for cell, whole in _CELLS.items():
            if isinstance(layer, cell):
                return f"{path or 'forward'} is an nn.{cell.__name__}", (
                    f"Use {whole} instead: weight_ih, weight_hh, bias_ih and bias_hh become weight_ih_l0, "
                    "weight_hh_l0, bias_ih_l0 and bias_hh_l0, unchanged."
                )
    return None


def _refused_loop(loops: list[Loop], reason: NotALayer, module: nn.Module) -> ExportError:
    cell = _stepped_cell(module)
    advice = "Write it as an nn.RNN, nn.LSTM or nn.GRU; or, where it hands nothing on, for all steps at once."
    return UntraceableError(
        f"The module loops over the steps of a text, {loops[reason.loop or 0].where}, and {reason}.",
        advice if cell is None else cell[1],
    )


def _converted(program: torch.export.ExportedProgram, metadata: Mapping[str, str], names: Names) -> OnnxGraph:
    with _quiet(), torch.no_grad():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table={**TRANSLATIONS, **NUMBER_TRANSLATIONS},
                input_names=names.inputs,
                output_names=names.outputs,
                optimize=False,
                verbose=False,
            )
            assert exported is not None  # noqa: S101 - it is None for the deprecated exporter only
            round_numbers(exported.model)
            optimize(exported.model)
        except Exception as error:
            raise ExportError(
                f"The module was traced, but has no form in ONNX: {_first_cause(error)}.",
                "Replace the operation that the message names by one that ONNX has.",
            ) from error
    return _cleaned(exported.model, metadata, names)


def _cleaned(model: ir.Model, metadata: Mapping[str, str], names: Names) -> OnnxGraph:
    graph = model.graph
    # The exporter notes the source line of every node: branches of the machine it ran on, and a third of a small file.
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
    if len(graph.outputs) != len(names.outputs) or logits is None or len(logits) != 2 or not isinstance(logits[1], int):
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
        if found := re.fullmatch(r"(?:(.*)\.)?onnx_(w|r|b|projection|unprojection)_(\d+)", name):
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
    reached = [(graph.inputs[0], False)]
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
            # A shape, a count or a comparison of ids is no id.
            if node.op_type not in {"Shape", "Size", "NonZero", "ReduceSum", "CumSum", "ArgMax"}:
                further = is_computed or node.op_type not in _MOVES
                ids = [(v, further) for v in node.outputs if v.dtype in _INTEGERS and (v, further) not in seen]
                seen.update(ids)
                reached.extend(ids)
    return direct, [node for node in computed if node not in direct], compared


def _first_cause(error: BaseException) -> str:
    """The first line of the error that the others were raised from."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error)


class _WithoutGraphs(io.TextIOBase):
    """Standard error, without the graph so far, which torch.export prints there where it fails."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if "def forward(self, arg" in text else int(self.stream.write(text) or 0)

    def flush(self) -> None:
        self.stream.flush()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' own messages: deprecations, a missing torchvision, what they cannot fold."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(_WithoutGraphs(sys.stderr)):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
