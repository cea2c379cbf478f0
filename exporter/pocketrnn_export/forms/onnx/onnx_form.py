"""Export a module as an ONNX graph that is right for every batch size and sequence length, or refuse the module."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.errors import BundleError, ExportError
from pocketrnn.graph_check.graph_file import check_graph
from pocketrnn_export.comparing.float64_graph import make_float64_onnx_run
from pocketrnn_export.comparing.float64_module import make_float64_copy
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run, open_session
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.forms.onnx.onnx_conversion import (
    OPSET,
    OnnxGraph,
    convert_program,
    describe_first_known_user_line,
    name_graph_inputs,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_export.intake.user_code_lines_for_messages import find_random_draw_line
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.proof.fresh_copies_and_random_inputs import resize_example
from pocketrnn_export.proof.operator_comparison import refuse_operators_that_differ_in_onnx
from pocketrnn_export.proof.padding_and_tied_values import MOVES
from pocketrnn_export.proof.program_runs_and_nodes import RunnableProgram, read_operator_name
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes
from pocketrnn_export.tracing.module_trace import TracedProgram, trace_program
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import is_within_limits
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog
from pocketrnn_export.tracing.trace_session import record_longest_is_full_width

_log = logging.getLogger(__name__)

ONNX_FILE: Final = "model.onnx"
# Operators that return some of their input numbers, or round each of them once.
_EXACT_IN_HALVES: Final = MOVES | {"abs", "amax", "amin", "convert_element_type", "max", "min", "neg", "relu", "where"}
# The inputs on which a classifier of one text at a time is traced: one text, not real tokens.
ONE_TEXT: Final = (torch.zeros(1, 7, dtype=torch.int64),)


class SingleTextModule(nn.Module):
    """A module that answers one text at a time, without padding. It computes the lengths itself, and calls the
    classifier with them. Its input is tokens [1, sequence], a pair of texts, or a text with features."""

    def __init__(self, classifier: nn.Module, *, takes_lengths: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.takes_lengths = takes_lengths

    def forward(self, tokens: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the classifier's logits [1, classes].

        Args:
            tokens: int64 [1, sequence], the text.
            beside: int64 [1, sequence], the second text of a pair; or float32 [1, features], the features; or None.
        """
        given = (tokens,) if beside is None else (tokens, beside)
        texts, features = [[t for t in given if t.is_floating_point() == floats] for floats in (False, True)]
        whole = [torch.full((1,), text.shape[1], dtype=torch.int64) for text in texts]
        lengths = map(record_longest_is_full_width, whole) if self.takes_lengths else ()
        logits: Tensor = self.classifier(*texts, *lengths, *features)
        return logits


def wrap_onnx_graph_as_form(content: bytes, graph: Graph) -> Form:
    """Return an ONNX graph as a form, a file with the functions that run it in the proof: with and without
    onnxruntime's graph optimizations.

    Args:
        graph: the file's entry in classifier.json, to which its digest is added.

    Raises:
        ExportError: a bundle must not contain the graph, for example because it draws random numbers.
    """
    try:
        check_graph(content, Path(ONNX_FILE))
    except BundleError as error:
        raise ExportError(
            f"The ONNX graph of the module cannot be part of a bundle: {error.problem}",
            _make_replacement_advice(error.problem),
        ) from error
    runs = {
        "onnx": make_onnx_run(content, optimized=True),
        "onnx as written": make_onnx_run(content, optimized=False),
    }
    return Form(
        replace(graph, sha256=sha256(content)),
        "graph",
        content,
        runs,
        float64_run=lambda: make_float64_onnx_run(content),
    )


def _make_replacement_advice(problem: str) -> str:
    """Return advice on how to replace an operator in forward. `problem` is the error message of `check_graph`, which
    names the operator that a bundle must not contain."""
    if "'Resize'" in problem:
        return "Replace F.interpolate by indexing: x[:, torch.arange(n) * x.size(1) // n]."
    if _names_random_operator(problem):
        return (
            "Draw random numbers in training only: F.dropout(x, training=self.training), and others if self.training."
        )
    if "'DFT'" in problem:
        return (
            "Replace torch.fft along an axis of n numbers by products with two buffers that __init__ makes: the parts "
            "real and imag of torch.fft.fft(torch.eye(n))."
        )
    if "Sequence" in problem:
        return "Replace that operation in forward by others: torch.split by slices, for example."
    return "Replace that operation in forward by other operations."


def _names_random_operator(problem: str) -> bool:
    """Return whether the operator that the error message `problem` names draws random numbers, as Dropout does."""
    return any(f"'{name}" in problem for name in ("Dropout", "Random", "Bernoulli", "Multinomial"))


def make_graph_limits(graph: OnnxGraph, prepared: ExportableModule) -> Limits | None:
    """Return the limits of the texts that a graph takes, as classifier.json stores them; None for a graph that takes
    all texts.

    Args:
        graph: the traced graph, whose limits are part of the result.
        prepared: the module, which may need a minimum number of tokens, or one fixed number.

    Raises:
        ExportError: a module of two texts fails on texts of one token. classifier.json has no such limit for two texts.
    """
    if prepared.two_texts and prepared.least > 1:
        raise ExportError(
            "A module of two texts must answer texts of every length, but for two texts of one token each, it "
            "fails or gives NaN or infinity.",
            "Leave out operations that need more steps, such as a standard deviation; or pad short texts in forward.",
        )
    limits, width = graph.limits, prepared.widths.fixed
    # The graph for one width is right for that width only.
    if width is not None:
        limits = Limits(width, width, limits.max_batch)
    if prepared.needs_real_token:
        limits = replace(limits, real_token=True)
    if prepared.least > (limits.min_tokens or 1):
        limits = replace(limits, min_tokens=prepared.least)
    return None if limits == Limits() else limits


def list_sizes_around_conditions(graph: OnnxGraph) -> tuple[tuple[int, int], ...]:
    """Return the sizes (batch, sequence) just below, at and above every size that a condition in forward compares with.
    Sizes that the graph does not take are left out."""
    return tuple((sizes.batch, sizes.tokens) for sizes in graph.bounds if is_within_limits(graph.limits, sizes))


def make_onnx_form(prepared: ExportableModule, metadata: Mapping[str, str], *, ids: int) -> Form:
    """Trace a module as an ONNX graph. Return the graph as a form, a file with the functions that run it in the proof.

    Args:
        ids: the number of token ids; not used if the graph itself limits the ids by the rows of an embedding.

    Raises:
        ExportError: there is no graph of the module that is right for every batch size and sequence length, or for
            those up to a limit that classifier.json can state.
    """
    one_text = prepared.one_text
    # The lengths of a single text follow from its ids.
    example = tuple(value for value in prepared.example if value.dim() > 1) if one_text else prepared.example

    def wrap_for_trace(module: nn.Module) -> nn.Module:
        return SingleTextModule(module, takes_lengths=prepared.takes_lengths) if one_text else module

    made = trace_onnx_graph(wrap_for_trace(prepared.module), example, metadata, one_text=one_text)
    tells = made.padding_tells
    if prepared.takes_lengths and prepared.padding and tells:
        _log.info("Only texts of equal length share a batch, because padding may change an answer, %s", *tells.values())
    graph = Graph(
        file=ONNX_FILE,
        sha256="",
        opset=OPSET,
        inputs=name_graph_inputs(example),
        padding=prepared.padding and not tells,
        embedding_rows=made.embedding_rows or ids,
        batch=1 if one_text else None,
        limits=make_graph_limits(made, prepared),
        alone=tuple(sorted({*prepared.ids_run_alone, *([] if prepared.takes_lengths else tells)})),
    )

    def retrace_graph() -> bytes:
        module = wrap_for_trace(make_float64_copy(prepared.module))
        return retrace_in_float64(module, example, metadata, made, one_text=one_text).content

    try:
        form = wrap_onnx_graph_as_form(made.content, graph)
    except ExportError as error:
        line = (
            find_random_draw_line(prepared.module, lambda: prepared.module(*example))
            if _names_random_operator(error.problem)
            else ""
        )
        if "'DFT'" in error.problem:
            program = _trace_with_decisions_of_earlier_graph(
                wrap_for_trace(prepared.module), example, made, one_text=one_text
            ).program
            line = describe_first_known_user_line(node for node in program.graph.nodes if "fft_" in str(node.target))
        if not line:
            raise
        raise ExportError(f"{error.problem.rstrip('.')}, at {line}.", error.remedy) from error
    return replace(
        form,
        retraced=retrace_graph,
        bounds=list_sizes_around_conditions(made),
        notes=(*made.notes, *prepared.notes),
        one_row=one_text,
        program=made.program,
    )


ONNX: Final = FormKind(
    "ONNX",
    lambda prepared, description, _: make_onnx_form(prepared, description.metadata, ids=description.token_id_count),
)


def trace_onnx_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    *,
    one_text: bool = False,
) -> OnnxGraph:
    """Trace a module as an ONNX graph that is right for every batch size and sequence length, or up to the limits that
    the result states.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        example: the module's inputs, as `name_graph_inputs` names them, with at least two rows and steps.
        one_text: whether the graph takes one text at a time; then the example has one row.

    Raises:
        ExportError: the module cannot be traced with dynamic axes, or has an operation without an ONNX operator.
    """
    names = name_graph_inputs(example)
    graphs: dict[torch.export.ExportedProgram, OnnxGraph] = {}

    def convert_and_wrap(traced: TracedProgram) -> RunnableProgram:
        graph = graphs[traced.program] = convert_program(traced, metadata, names)
        run = functools.cache(lambda: _make_graph_run(graph))
        return RunnableProgram(lambda inputs: run()(inputs), graph.embedding_rows)

    # Undo changes that a forward call makes to globals of the module's file.
    with restore_module(module):
        found = find_program_right_for_all_sizes(module, example, convert_and_wrap, one_text=one_text)
    # onnxruntime has no recurrent layers in double precision, so it does not run such a graph.
    if all(parameter.dtype != torch.float64 for parameter in module.parameters()):
        try:
            open_session(graphs[found.program].content)
        except ExportError as error:
            raise _add_source_line(error, found.program) from error
    graph = graphs[found.program]
    if graph.operators is not None:
        _refuse_half_precision(graph.operators)
        refuse_operators_that_differ_in_onnx(graph.operators, graph.content, example, names)
    return replace(
        graph,
        operators=None,
        program=found.program,
        limits=found.limits,
        bounds=found.bounds,
        notes=found.notes,
        padding_tells=found.padding_tells,
    )


def _has_half_dtype(node: torch.fx.Node) -> bool:
    """Return whether a node's result is float16 or bfloat16."""
    return getattr(node.meta.get("val"), "dtype", None) in (torch.bfloat16, torch.float16)


def _refuse_half_precision(program: torch.export.ExportedProgram) -> None:
    """Raise an ExportError if a program computes in float16 or bfloat16: PyTorch rounds after each operation to 16
    bits, but onnxruntime computes in float32 and rounds only the result."""
    for node in program.graph.nodes:
        if node.op == "call_function" and _has_half_dtype(node) and read_operator_name(node) not in _EXACT_IN_HALVES:
            raise _make_half_precision_error([node])


def _make_half_precision_error(nodes: Sequence[torch.fx.Node]) -> ExportError:
    where = describe_first_known_user_line(nodes)
    return ExportError(
        f"The module computes in 16 bits{where and ', '}{where}, but onnxruntime cannot do that on a CPU.",
        "Compute in float32, and leave torch.autocast to training: torch.autocast(..., enabled=self.training).",
    )


def _add_source_line(error: ExportError, program: torch.export.ExportedProgram) -> ExportError:
    """Return a clearer error for a graph that onnxruntime cannot open. It names the line of forward with the operator
    that onnxruntime does not have; for a program in float16 or bfloat16, it says that this type is the reason. If the
    line cannot be found, return the given error.

    Args:
        error: the error with onnxruntime's message.
        program: the program that the graph was made from.
    """
    if rounded := [n for n in program.graph.nodes if "autocast" in str(n.target) or _has_half_dtype(n)]:
        return _make_half_precision_error(rounded)
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
    where, of_kind = describe_first_known_user_line(nodes), "" if kind is None else f" of {kind[1]}"
    return ExportError(
        f"onnxruntime cannot compute {named[1]}{of_kind}{where and ', '}{where}.",
        "Convert the inputs of that operation to float32 or int64, or use other operations on that line.",
    )


def retrace_in_float64(
    module: nn.Module,
    example: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    like: OnnxGraph,
    *,
    one_text: bool = False,
) -> OnnxGraph:
    """Trace a module that was converted to double precision, with the same decisions at size conditions as an earlier
    trace. Return the new graph, which onnxruntime cannot run if it has recurrent layers.

    Args:
        module: the module in double precision.
        example: the module's inputs.
        like: the graph of the earlier trace.
        one_text: whether the graph takes one text at a time.
    """
    traced = _trace_with_decisions_of_earlier_graph(module, example, like, one_text=one_text)
    return convert_program(traced, metadata, name_graph_inputs(example), in_doubles=True)


def _trace_with_decisions_of_earlier_graph(
    module: nn.Module, example: tuple[Tensor, ...], like: OnnxGraph, *, one_text: bool
) -> TracedProgram:
    """Trace a module again, with the same decisions at size conditions as the trace from which the graph `like` was
    made."""
    assert like.traced is not None  # noqa: S101 - every converted program has it
    plan = like.traced.plan
    sized = example if plan is None else resize_example(example, plan.example)
    how = {"cut_counted": like.traced.cut_counted, "rolled": like.traced.rolled}
    return trace_program(module, sized, plan, TraceLog(), one_text=one_text, **how)


def _make_graph_run(graph: OnnxGraph) -> Callable[[tuple[Tensor, ...]], Any]:
    """Return a function that takes a graph's inputs as tensors, and returns the graph's first output, computed by
    onnxruntime."""
    # This runs without graph optimizations: onnxruntime would rewrite a lookup of `arange(n)` to a slice, which
    # silently cuts off an n beyond the table, and a wrong graph would seem right for every size.
    session = open_session(graph.content, optimized=False)
    names = [value.name for value in session.get_inputs()]

    def run_graph(inputs: tuple[Tensor, ...]) -> Any:
        return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]

    return run_graph
