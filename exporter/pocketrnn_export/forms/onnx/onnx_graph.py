"""A module as an ONNX graph that is right for every batch and sequence length, or is refused."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.errors import BundleError, ExportError
from pocketrnn.graph_check.graph_file import check_graph
from pocketrnn_export.comparing.comparing import run_of_onnx, session_of
from pocketrnn_export.comparing.float64_graph import float64_run_of_onnx
from pocketrnn_export.comparing.float64_module import doubled
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.forms.onnx.onnx_trace import (
    OPSET,
    PAIRS,
    WHOLE_TEXTS,
    Names,
    OnnxGraph,
    converted,
    token_lookups,
)
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.intake.random_draws import drawing_line
from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.module_runs.untouched import untouched
from pocketrnn_export.proof.asked_module import example_of
from pocketrnn_export.proof.each_operator import refuse_other_numbers
from pocketrnn_export.proof.hidden_differences import MOVES
from pocketrnn_export.proof.pytorch_run import Runnable
from pocketrnn_export.proof.right_program import right_program
from pocketrnn_export.proof.what_of_words import name_of_node
from pocketrnn_export.tracing.session import given_whole, of_two_texts
from pocketrnn_export.tracing.sizes.module_answers import inside
from pocketrnn_export.tracing.sizes.questions import TraceLog
from pocketrnn_export.tracing.trace import TracedProgram, traced_program

__all__ = [
    "ONE_TEXT",
    "ONNX",
    "ONNX_FILE",
    "OPSET",
    "WHOLE_TEXTS",
    "Names",
    "OnnxGraph",
    "SingleText",
    "bounds_of",
    "form_of_module",
    "limits_of",
    "onnx_form",
    "onnx_graph",
    "token_lookups",
    "traced_alike",
    "whole_numbers_of",
]

_log = logging.getLogger(__name__)

ONNX_FILE: Final = "model.onnx"
# A constant of more numbers is a weight.
_SMALL: Final = 64
# Operators that give numbers that they were given, or round each of them once.
_EXACT_IN_HALVES: Final = MOVES | {"abs", "amax", "amin", "convert_element_type", "max", "min", "neg", "relu", "where"}
# The inputs on which a classifier of one text at a time is traced: one text, not real tokens.
ONE_TEXT: Final = (torch.zeros(1, 7, dtype=torch.int64),)


class SingleText(nn.Module):
    """A classifier of one text, tokens [1, sequence], all of which are the text's."""

    def __init__(self, classifier: nn.Module, *, takes_lengths: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.takes_lengths = takes_lengths

    def forward(self, tokens: Tensor) -> Tensor:
        whole = torch.full((1,), tokens.shape[1], dtype=torch.int64)
        lengths = (given_whole(whole),) if self.takes_lengths else ()
        logits: Tensor = self.classifier(tokens, *lengths)
        return logits


def whole_numbers_of(content: bytes) -> list[int]:
    """The whole numbers among a graph's small constants, each with those beside it (`x > 3` is true of 4): what forward
    may compare ids with.

    Args:
        content: the file's bytes.
    """
    graph = onnx.load_model_from_string(content).graph
    tensors = [*graph.initializer, *(a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute)]
    small = (onnx.numpy_helper.to_array(tensor).ravel() for tensor in tensors if math.prod(tensor.dims) <= _SMALL)
    numbers = (float(number) for array in small if array.dtype.kind in "iuf" for number in array)
    found = [int(number) for number in numbers if 0 <= number < 1 << 31 and number == int(number)]
    return list(dict.fromkeys([*found, *(n + 1 for n in found), *(n - 1 for n in found if n)]))


def onnx_form(content: bytes, graph: Graph) -> Form:
    """An ONNX graph as a form: run by onnxruntime in two ways, with its graph rewriting and without.

    Args:
        content: the file's bytes.
        graph: what classifier.json says of it; the digest is set here.
    """
    try:
        check_graph(content, Path(ONNX_FILE))
    except BundleError as error:
        raise ExportError(
            f"The graph cannot be part of a bundle: {error.problem}", _in_place_of(error.problem)
        ) from error
    runs = {
        "onnx": run_of_onnx(content, optimized=True),
        "onnx as written": run_of_onnx(content, optimized=False),
    }
    return Form(
        replace(graph, sha256=sha256(content)),
        "graph",
        content,
        runs,
        float64_run=lambda: float64_run_of_onnx(content),
    )


def _in_place_of(problem: str) -> str:
    """The advice on how to write an operation that no bundle may hold."""
    if "'Resize'" in problem:
        return "Take steps by their places in place of F.interpolate: x[:, torch.arange(n) * x.size(1) // n]."
    if _draws(problem):
        return "It draws random numbers, in eval mode too: F.dropout needs training=self.training, and others an if."
    if "'DFT'" in problem:
        return (
            "In place of torch.fft along an axis of n numbers, multiply by two buffers that __init__ makes: the parts "
            "real and imag of torch.fft.fft(torch.eye(n))."
        )
    if "Sequence" in problem:
        return "Write that operation of forward by others, such as slices in place of torch.split."
    return "Write that operation of forward by others."


def _draws(problem: str) -> bool:
    """Whether the operation that no bundle may hold draws random numbers."""
    return any(f"'{name}" in problem for name in ("Dropout", "Random", "Bernoulli", "Multinomial"))


def limits_of(made: OnnxGraph, prepared: ExportableModule) -> Limits | None:
    """The limits in classifier.json of the texts that a graph takes.

    Raises:
        ExportError: it takes two texts, and not those of one token each: there is no such limit of pairs.
    """
    if prepared.two_texts and prepared.least > 1:
        raise ExportError(
            "The module has no finite answer to two texts of one token each.",
            "Leave out what needs more steps, such as a standard deviation; or fill short texts up in forward.",
        )
    limits, width = made.limits, prepared.widths.fixed
    # The graph of one width is right for that one.
    if width is not None:
        limits = Limits(width, width, limits.max_batch)
    if prepared.real_token:
        limits = replace(limits, real_token=True)
    if prepared.least > (limits.min_tokens or 1):
        limits = replace(limits, min_tokens=prepared.least)
    return None if limits == Limits() else limits


def bounds_of(made: OnnxGraph) -> tuple[tuple[int, int], ...]:
    """(batch, sequence) on both sides of everything that forward asks about a size, within the limits."""
    return tuple((sizes.batch, sizes.tokens) for sizes in made.bounds if inside(made.limits, sizes))


def _make(prepared: ExportableModule, description: Description, _forms: Sequence[Form]) -> Form:
    return form_of_module(prepared, description.metadata, ids=description.ids)


def form_of_module(prepared: ExportableModule, metadata: Mapping[str, str], *, ids: int) -> Form:
    """A module that takes ids as its ONNX form.

    Args:
        prepared: the module.
        metadata: what the file's `metadata_props` say.
        ids: how many token ids there are, where the graph does not say how many it takes.

    Raises:
        ExportError: there is no graph that is right for every batch and sequence length, or up to a stated limit.
    """
    one_text = prepared.one_text
    example = prepared.example[:1] if one_text else prepared.example

    def to_trace(module: nn.Module) -> nn.Module:
        return SingleText(module, takes_lengths=prepared.takes_lengths) if one_text else module

    names = PAIRS if prepared.two_texts else WHOLE_TEXTS
    made = onnx_graph(to_trace(prepared.module), example, metadata, names=names, one_text=one_text)
    tells = made.padding_tells
    if prepared.takes_lengths and prepared.padding and tells:
        _log.info("Texts share a batch with those of their length: padding may reach an answer, %s", *tells.values())
    graph = Graph(
        file=ONNX_FILE,
        sha256="",
        opset=OPSET,
        inputs=names.inputs[: len(example)],
        padding=prepared.padding and not tells,
        embedding_rows=made.embedding_rows or ids,
        batch=1 if one_text else None,
        limits=limits_of(made, prepared),
        alone=tuple(sorted({*prepared.stated_alone, *([] if prepared.takes_lengths else tells)})),
    )

    def retraced() -> bytes:
        module = to_trace(doubled(prepared.module))
        return traced_alike(module, example, metadata, made, one_text=one_text).content

    try:
        form = onnx_form(made.content, graph)
    except ExportError as error:
        line = drawing_line(prepared.module, lambda: prepared.module(*example)) if _draws(error.problem) else ""
        if "'DFT'" in error.problem:
            like = {"one_text": one_text, "cut_counted": made.cut_counted}
            program = traced_program(to_trace(prepared.module), example, made.plan, TraceLog(), **like).program
            nodes = [node for node in program.graph.nodes if "fft_" in str(node.target)]
            line = next(filter(None, map(line_of_node, nodes)), "")
        if not line:
            raise
        raise ExportError(f"{error.problem.rstrip('.')}, at {line}.", error.remedy) from error
    return replace(
        form,
        retraced=retraced,
        bounds=bounds_of(made),
        notes=(*made.notes, *prepared.notes),
        one_row=one_text,
        program=made.program,
    )


ONNX: Final = FormKind("ONNX", _make)


def onnx_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    *,
    names: Names = WHOLE_TEXTS,
    one_text: bool = False,
) -> OnnxGraph:
    """The graph of the program that is right for every batch and sequence, or up to a stated limit.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: what the module takes: token ids int64 [batch, sequence], and perhaps a second tensor [batch, ...]; of
            at least two rows and steps.
        metadata: what the file's `metadata_props` say.
        names: of the graph's inputs, as many as the example has, and outputs, the first of which are the logits.
        one_text: keep the batch of the example, which is one, and only the sequence dynamic.

    Raises:
        ExportError: the module cannot be traced with dynamic axes, or holds something no ONNX operator computes.

    Example:
        >>> graph = onnx_graph(module.eval(), (torch.zeros(3, 7, dtype=torch.int64),), {})
        >>> Path("model.onnx").write_bytes(graph.content)
    """
    names = Names(names.inputs[: len(example)], names.outputs)
    graphs: dict[torch.export.ExportedProgram, OnnxGraph] = {}

    def judged(traced: TracedProgram) -> Runnable:
        graph = graphs[traced.program] = converted(traced, metadata, names)
        run = functools.cache(lambda: _run_of_graph(graph))
        return Runnable(lambda inputs: run()(inputs), graph.embedding_rows)

    # Changes that a text of some size makes to names of the module's file are undone.
    with untouched(module):
        found = right_program(module, example, judged, one_text=one_text)
    # In double precision onnxruntime has no recurrent layers: such a graph is not run by it.
    if all(parameter.dtype != torch.float64 for parameter in module.parameters()):
        try:
            session_of(graphs[found.program].content)
        except ExportError as error:
            raise _with_its_line(error, found.program) from error
    graph = graphs[found.program]
    if graph.operators is not None:
        _refuse_halves(graph.operators)
        refuse_other_numbers(graph.operators, graph.content, example, names.inputs)
    return replace(
        graph,
        operators=None,
        program=found.program,
        limits=found.limits,
        bounds=found.bounds,
        notes=found.notes,
        padding_tells=found.padding_tells,
    )


def _computes_in_halves(node: torch.fx.Node) -> bool:
    """Whether it gives floats of 16 bits, or is what `torch.autocast` surrounds."""
    return "autocast" in str(node.target) or _is_in_halves(node)


def _is_in_halves(node: torch.fx.Node) -> bool:
    return getattr(node.meta.get("val"), "dtype", None) in (torch.bfloat16, torch.float16)


def _refuse_halves(program: torch.export.ExportedProgram) -> None:
    """Refuse what computes in 16 bits: onnxruntime computes in float32 on a CPU, and rounds at the end only.

    Raises:
        ExportError: an operator does more in 16 bits than to move numbers.
    """
    for node in program.graph.nodes:
        if node.op == "call_function" and _is_in_halves(node) and name_of_node(node) not in _EXACT_IN_HALVES:
            raise _in_halves([node])


def _in_halves(nodes: Sequence[torch.fx.Node]) -> ExportError:
    where = next((f", {line}" for line in map(line_of_node, nodes) if line), "")
    return ExportError(
        f"The module computes in 16 bits{where}, which onnxruntime does not on a CPU.",
        "Compute in float32, and leave torch.autocast to training: torch.autocast(..., enabled=self.training).",
    )


def _with_its_line(error: ExportError, program: torch.export.ExportedProgram) -> ExportError:
    """The error of an engine that has no such operator for such numbers, with the line of forward that needs it."""
    if rounded := [node for node in program.graph.nodes if _computes_in_halves(node)]:
        return _in_halves(rounded)
    said = str(error)
    named = re.search(r"operator \((\w+)\) in node \((?:node_)?(\w+)\)", said) or re.search(
        r"for (\w+)\(\d+\) node with name '(?:node_)?(\w+)'", said
    )
    if named is None:
        return error
    kind = re.search(r"tensor\((\w+)\)", said)
    nodes = [node for node in program.graph.nodes if node.name == named[2]] or [
        node for node in program.graph.nodes if named[1].lower() in str(node.target).replace("_", "")
    ]
    where = next((f", {line}" for line in map(line_of_node, nodes) if line), "")
    of_kind = "" if kind is None else f" of {kind[1]}"
    return ExportError(
        f"onnxruntime computes no {named[1]}{of_kind}{where}.",
        "Convert its inputs to float32 or int64 before it, or write that line by other operations.",
    )


def traced_alike(
    module: nn.Module,
    example: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    like: OnnxGraph,
    *,
    one_text: bool = False,
) -> OnnxGraph:
    """Trace a module as another was traced, with no look at its sizes: one in double precision, which onnxruntime has
    no recurrent layers for."""
    of_plan = example if like.plan is None else example_of(example, like.plan.example)
    names = PAIRS if of_two_texts(example) else WHOLE_TEXTS
    names = Names(names.inputs[: len(example)], names.outputs)
    traced = traced_program(module, of_plan, like.plan, TraceLog(), one_text=one_text, cut_counted=like.cut_counted)
    return converted(traced, metadata, names, in_doubles=True)


def _run_of_graph(graph: OnnxGraph) -> Callable[[tuple[Tensor, ...]], Any]:
    # As it is written: onnxruntime rewrites a lookup of `arange(n)` to a slice, which cuts an n beyond the table, and
    # the graph seemed right for every size.
    session = session_of(graph.content, optimized=False)
    names = [value.name for value in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Any:
        return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]

    return run
