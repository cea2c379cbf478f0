"""The profile `edge`: a graph for small engines. The graph takes one text without lengths, and uses only old
operators."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx
import onnx_ir as ir
import onnxruntime
from onnx import version_converter
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import nn

from pocketrnn.bundle.manifest import Graph
from pocketrnn.errors import ExportError, first_line, require_module
from pocketrnn.text import AnyTextRules
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.float64_module import make_float64_copy
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.forms.form import Form, FormKind
from pocketrnn_export.forms.onnx.onnx_conversion import OPSET, OnnxGraph
from pocketrnn_export.forms.onnx.onnx_form import (
    ONE_TEXT,
    ONNX_FILE,
    SingleTextModule,
    list_sizes_around_conditions,
    make_graph_limits,
    retrace_in_float64,
    trace_onnx_graph,
    wrap_onnx_graph_as_form,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule

# Before 7, recurrent layers and broadcasting were defined differently.
_OLDEST: Final = 7
_CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan"})
_RECURRENT: Final = frozenset({"RNN", "GRU", "LSTM"})


GraphAndOpset = tuple[OnnxGraph, int]


def wrap_edge_graph_as_form(content: bytes, graph: Graph) -> Form:
    """Return a graph that takes one text at a time as a form, a file with the functions that run it in the proof: with
    onnxruntime and with tract.

    Args:
        graph: the file's entry in classifier.json, to which its digest is added.

    Raises:
        MissingExtraError: tract is not installed.
        ExportError: tract cannot open the graph.
    """
    form = wrap_onnx_graph_as_form(content, graph)
    return replace(form, runs={**form.runs, "tract": make_tract_run(content)}, one_row=True)


def _require_tract(_module: nn.Module, _rules: AnyTextRules) -> None:
    require_module("tract", "edge")


def _make_edge_form(prepared: ExportableModule, description: Description, _forms: Sequence[Form]) -> Form:
    """Trace the module as a graph for small engines, which takes one text at a time and has the lowest possible opset.
    Return the graph as a form, a file with the functions that run it in the proof. Raise an ExportError if the text
    rules pad texts, since the module would then need lengths."""
    if prepared.convention.counts is not None:
        raise ExportError(
            "The text rules pad short texts (`min_width`), so the module needs the lengths of the texts, but a "
            "graph of the profile edge does not take lengths.",
            "Leave `min_width` out of the text rules, or export without a profile.",
        )
    made, opset = trace_edge_graph(prepared.module, description.metadata, takes_lengths=prepared.takes_lengths)
    graph = Graph(
        file=ONNX_FILE,
        sha256="",
        opset=opset,
        inputs=("tokens",),
        padding=False,
        embedding_rows=made.embedding_rows or description.token_id_count,
        batch=1,
        limits=make_graph_limits(made, prepared),
    )

    def retrace_graph() -> bytes:
        single = SingleTextModule(make_float64_copy(prepared.module), takes_lengths=prepared.takes_lengths)
        alike = retrace_in_float64(single, ONE_TEXT, description.metadata, made, one_text=True)
        return _convert_for_small_engines(alike, description.metadata, opset)[0].content

    return replace(
        wrap_edge_graph_as_form(made.content, graph),
        retraced=retrace_graph,
        bounds=list_sizes_around_conditions(made),
        notes=(*made.notes, *prepared.notes),
    )


EDGE: Final = FormKind("the profile edge", _make_edge_form, _require_tract)


def trace_edge_graph(module: nn.Module, metadata: Mapping[str, str], *, takes_lengths: bool) -> GraphAndOpset:
    """Trace a classifier as a graph that takes one text, and return the graph with its opset.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        metadata: the file's `metadata_props`.
        takes_lengths: whether the module takes lengths. The graph does not take them in any case.

    Returns:
        the graph, from tokens int64 [1, sequence] to logits float32 [1, classes]; and its opset, the lowest one to
            which onnx can convert the graph and with which onnxruntime opens it.

    Raises:
        ExportError: the module cannot be traced, or its graph needs If, Loop or Scan.
    """
    single = SingleTextModule(module, takes_lengths=takes_lengths)
    return _convert_for_small_engines(trace_onnx_graph(single, ONE_TEXT, metadata, one_text=True), metadata)


def _convert_for_small_engines(
    graph: OnnxGraph, metadata: Mapping[str, str], opset: int | None = None
) -> GraphAndOpset:
    """Remove the input `lengths` of the recurrent layers of a graph, and convert the graph to `opset` or, if it is
    None, to the lowest possible opset. Return the new graph and its opset. Raise an ExportError for a graph with an If,
    Loop or Scan."""
    model = ir.serde.deserialize_model(onnx.load_from_string(graph.content))
    for node in model.graph:
        if node.op_type in _CONTROL_FLOW:
            raise ExportError(
                f"The graph of the module needs the operator {node.op_type}, but the profile edge does not allow "
                "this operator.",
                "Export the module without a profile.",
            )
        if node.op_type in _RECURRENT and len(node.inputs) > 4:
            # There is only one text, so it is as long as the sequence. tract refuses lengths that are only known when
            # it runs.
            node.replace_input_with(4, None)
        noop = node.attributes.get("noop_with_empty_axes")
        if noop is not None and not noop.value:
            # The attribute has its default value, and ReduceMax has it since opset 18 only.
            node.attributes.pop("noop_with_empty_axes")
    RemoveUnusedNodesPass()(model)
    plain = ir.serde.serialize_model(model)
    if opset is None:
        content, opset = _convert_to_lowest_opset(plain, metadata)
    else:
        content = _convert_to_opset(plain, metadata, opset)
    return replace(graph, content=content, nodes=len(model.graph)), opset


def _convert_to_lowest_opset(model: onnx.ModelProto, metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """Convert a model to the lowest opset in which onnxruntime can open it. Return the file's bytes and the opset."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for opset in range(_OLDEST, OPSET):
        # The converter and the checker raise errors of many classes; each means that this opset cannot express it.
        with contextlib.suppress(Exception):
            content = _convert_to_opset(model, metadata, opset)
            onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            return content, opset
    return model.SerializeToString(), OPSET


def _convert_to_opset(model: onnx.ModelProto, metadata: Mapping[str, str], opset: int) -> bytes:
    """Convert a model to an opset, and set its `metadata_props`. Return the file's bytes. If the opset does not have
    the model's operators, an error of any class is raised."""
    if opset != OPSET:
        model = version_converter.convert_version(model, opset)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def make_tract_run(content: bytes) -> Run:
    """Return a function that runs an ONNX file with the engine tract on one text at a time, given as arrays.

    Raises:
        MissingExtraError: tract is not installed.
        ExportError: tract cannot open the graph.
    """
    tract: Any = require_module("tract", "edge")
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        try:
            runnable = tract.onnx().load(path).into_model().into_runnable()
        except tract.TractError as error:
            raise ExportError(
                f"The engine tract {tract.version()}, which must run a graph of the profile edge, cannot open the "
                f"graph: {first_line(error)}.",
                "Export the module without a profile, or do not select positions of a text by an index in forward.",
            ) from error

    def run_with_tract(tokens: Ids, _lengths: Ids) -> Logits:
        logits: Logits = runnable.run([tokens])[0].to_numpy()
        return logits

    return run_with_tract
