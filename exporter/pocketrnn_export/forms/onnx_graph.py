"""A module as an ONNX graph that is right for every batch and sequence length, or is refused."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx
import sympy
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.errors import BundleError, ExportError
from pocketrnn.graph_check.graph_file import check_graph
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.forms.onnx_trace import (
    OPSET,
    STEPS,
    WHOLE_TEXTS,
    Names,
    OnnxGraph,
    Wanted,
    token_lookups,
    traced_graph,
)
from pocketrnn_export.intake.description import Description
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.intake.user_frames import is_users
from pocketrnn_export.proof.comparing import run_of_onnx, session_of
from pocketrnn_export.proof.cpu_run import answer_of, quietly_on_cpu
from pocketrnn_export.proof.float64_graph import float64_run_of_onnx
from pocketrnn_export.proof.float64_module import doubled
from pocketrnn_export.proof.whole_copy import copied_again
from pocketrnn_export.tracing.conditions import Sizes
from pocketrnn_export.tracing.questions import TraceLog
from pocketrnn_export.tracing.restrictions import Attempt, TracePlan, UntraceableError, inside, settled
from pocketrnn_export.tracing.session import given_whole
from pocketrnn_export.tracing.size_regions import Followed
from pocketrnn_export.tracing.trace import errors_in, followed_for
from pocketrnn_export.tracing.unstable_sort import ties_the_other_way

__all__ = [
    "ONE_TEXT",
    "ONNX",
    "ONNX_FILE",
    "OPSET",
    "STEPS",
    "WHOLE_TEXTS",
    "Names",
    "OnnxGraph",
    "SingleText",
    "bounds_of",
    "limits_of",
    "onnx_form",
    "onnx_graph",
    "token_lookups",
    "traced_alike",
    "whole_numbers_of",
]

ONNX_FILE: Final = "model.onnx"
# A constant of more numbers is a weight.
_SMALL: Final = 64
# What a classifier of one text at a time is traced on: real tokens are not needed, one text is.
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
            f"The graph cannot be part of a bundle: {error.problem}",
            "Write that operation of forward by others, such as slices in place of torch.split.",
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


def limits_of(made: OnnxGraph, prepared: ExportableModule) -> Limits | None:
    """What classifier.json says of the texts that a graph takes."""
    limits, width = made.limits, prepared.widths.fixed
    # The graph of one width is right for that one.
    if width is not None:
        limits = Limits(width, width, limits.max_batch)
    if prepared.real_token:
        limits = replace(limits, real_token=True)
    return None if limits == Limits() else limits


def bounds_of(made: OnnxGraph) -> tuple[tuple[int, int], ...]:
    """(batch, sequence) on both sides of everything that forward asks about a size, within the limits."""
    return tuple((sizes.batch, sizes.tokens) for sizes in made.bounds if inside(made.limits, sizes))


def _make(prepared: ExportableModule, description: Description) -> Form:
    one_text = prepared.one_text
    example = prepared.example[:1] if one_text else prepared.example

    def to_trace(module: nn.Module) -> nn.Module:
        return SingleText(module, takes_lengths=prepared.takes_lengths) if one_text else module

    made = onnx_graph(to_trace(prepared.module), example, description.metadata, one_text=one_text)
    graph = Graph(
        file=ONNX_FILE,
        sha256="",
        opset=OPSET,
        inputs=WHOLE_TEXTS.inputs[: len(example)],
        padding=prepared.padding,
        embedding_rows=made.embedding_rows or description.ids,
        batch=1 if one_text else None,
        limits=limits_of(made, prepared),
        alone=prepared.stated_alone(description.rules),
    )

    def retraced() -> bytes:
        module = to_trace(doubled(prepared.module))
        return traced_alike(module, example, description.metadata, made, one_text=one_text).content

    form = onnx_form(made.content, graph)
    return replace(form, retraced=retraced, bounds=bounds_of(made), one_row=one_text)


ONNX: Final = FormKind("ONNX", _make)


def onnx_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    *,
    names: Names = WHOLE_TEXTS,
    one_text: bool = False,
) -> OnnxGraph:
    """Trace a module with every batch and sequence axis dynamic.

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
    wanted = Wanted(metadata, Names(names.inputs[: len(example)], names.outputs), one_text)
    run_of_graph = functools.lru_cache(_run_of_graph)
    log = TraceLog()
    plain = _plain_trace(module, example, wanted, log)
    _refuse_counting(log)
    if isinstance(plain, OnnxGraph):
        _check_caught(module, log, example)
        run = _run_of_module(module)
        if log.counted_lengths:
            _check_counted(run, run_of_graph(plain), example, _ids_of(module, plain))
        if plain.loops and not log.questions:
            _check_loops(run, run_of_graph(plain), example, plain, _ids_of(module, plain))
        if plain.orders:
            _check_ties(run, example, plain, _ids_of(module, plain))
        if not log.questions:
            return plain
    ids = _ids_of(module, plain if isinstance(plain, OnnxGraph) else None)

    def attempt(graph: OnnxGraph, asked: TraceLog, *, is_plain: bool) -> Attempt[OnnxGraph]:
        def run(sizes: Sizes) -> Any:
            # onnxruntime ends the process for a recurrent layer without a step.
            if not all(question.holds(sizes) for question in asked.steps):
                raise ExportError("A recurrent layer has no step to run.", "Give it one.")
            return run_of_graph(graph)(_inputs_of(example, sizes, ids))

        return Attempt(graph, asked, run, plain=is_plain)

    def trace(plan: TracePlan) -> Attempt[OnnxGraph]:
        asked = TraceLog()
        of_plan = _example_of(example, plan.example)
        return attempt(traced_graph(module, of_plan, wanted, plan, asked, cut_counted=True), asked, is_plain=False)

    reference, in_doubles = _run_of_module(module), _run_of_module(module, doubles=True)

    found = settled(
        attempt(plain, log, is_plain=True) if isinstance(plain, OnnxGraph) else plain,
        log.questions,
        _follower(module, example, reference, ids, trace),
        trace,
        lambda sizes: reference(_inputs_of(example, sizes, ids)),
        lambda sizes: in_doubles(_inputs_of(example, sizes, ids)),
        batch=1 if one_text else None,
    )
    return replace(found.traced, limits=found.limits, bounds=found.bounds)


def _follower(
    module: nn.Module,
    example: tuple[Tensor, ...],
    reference: Callable[..., Any],
    ids: int,
    trace: Callable[[TracePlan], Attempt[OnnxGraph]],
) -> Callable[[Sizes], Followed]:
    """What follows forward for some sizes, without a program where that is possible."""

    def follow(sizes: Sizes) -> Followed:
        asked = TraceLog()
        error = followed_for(module, _example_of(example, sizes), sizes, asked)
        if error is None or asked.refused:
            asked.check_answered()
            return Followed(asked)
        if _answer_if_any(reference, _inputs_of(example, sizes, ids)) is None:
            return Followed(asked, fails=not _raised_by_user(error))
        # A program can be traced more ways than forward can be followed.
        return Followed(trace(TracePlan(sizes)).log)

    return follow


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
    of_plan = example if like.plan is None else _example_of(example, like.plan.example)
    wanted = Wanted(metadata, Names(WHOLE_TEXTS.inputs[: len(example)], WHOLE_TEXTS.outputs), one_text)
    return traced_graph(module, of_plan, wanted, like.plan, TraceLog(), cut_counted=like.cut_counted)


def _plain_trace(
    module: nn.Module, example: tuple[Tensor, ...], wanted: Wanted, log: TraceLog
) -> OnnxGraph | ExportError:
    """The ordinary trace, which is right for all sizes if forward asks nothing about them; or why there is none.

    Raises:
        ExportError: there is none, and no size is to blame.
    """
    try:
        return traced_graph(module, example, wanted, None, log, cut_counted=True)
    except ExportError as error:
        # An error of ours says what is wrong; one of torch.export may be about a size.
        if error.__cause__ is None:
            raise
        if log.counted_lengths:
            with contextlib.suppress(ExportError):
                return traced_graph(module, example, wanted, None, log, cut_counted=False)
        if not log.questions:
            raise
        return error


def _refuse_counting(log: TraceLog) -> None:
    """Refuse a forward that asks about a size in every iteration of a loop: `while t < x.size(1)`.

    Each way to trace it would be unrolled, for thousands of steps where a text has so many.

    Raises:
        ExportError: it does.
    """
    lines: dict[str, set[int]] = {}
    for question in log.questions:
        relation = question.condition.relation
        if question.branch and not isinstance(relation, sympy.Eq | sympy.Ne):
            lines.setdefault(question.where, set()).update(map(int, relation.atoms(sympy.Integer)))
    for where, numbers in lines.items():
        # The example has 7 tokens. Kernels of all these sizes are not tried in one line.
        if numbers >= set(range(2, 7)):
            raise ExportError(
                f"The module asks about a size in every iteration of a loop, {where}, which a trace freezes at one "
                "length.",
                "Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU.",
            )


def _check_caught(module: nn.Module, log: TraceLog, example: tuple[Tensor, ...]) -> None:
    """Refuse a forward that went on after an error that it meets while it is traced, and not when it runs.

    Raises:
        ExportError: it did; the trace holds what it does then, and not what it does otherwise.
    """
    if not log.raised:
        return
    with torch.no_grad(), quietly_on_cpu():
        met = errors_in(copied_again(module), _inputs_of(example, Sizes(len(example[0]), example[0].shape[1]), 1))
    if caught := [line for line in log.raised if line not in met]:
        raise ExportError(
            f"The module catches an error that only tracing raises, and then does something else: {caught[0]}.",
            "Read no values of tensors in forward, such as by .item(), and catch no errors of it.",
        )


def _raised_by_user(error: BaseException) -> bool:
    """Whether a line of forward raised an error, rather than an operation that it called."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and is_users(frame.tb_frame)


def _answer_if_any(reference: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
    """The module's answer; None where it fails: there any graph is as good as another. Whether it may fail on such
    inputs is for the proof to say, which refuses a module that fails on its cases."""
    try:
        return reference(inputs)
    # Whatever a user's module raises.
    except Exception:
        return None


def _answers_so(graph: Callable[..., Any], inputs: tuple[Tensor, ...], expected: Any) -> bool:
    """Whether a graph runs and gives the module's answer."""
    given = _answer_if_any(graph, inputs)
    return given is not None and given.shape == expected.shape and bool(abs(given - expected).max() <= 1e-4)


def _check_counted(
    reference: Callable[..., Any], graph: Callable[..., Any], example: tuple[Tensor, ...], ids: int
) -> None:
    """Compare a graph of a module that packs by lengths of its own with the module, on rows that such lengths cut
    short.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = torch.Generator().manual_seed(7)
    edges = torch.tensor([0, 1, int(example[0][-1, -1]), ids - 1])
    one_text = len(example[0]) == 1
    for rows, width in ((1, 6), (3, 9), (4, 40), (2, 700)):
        batch = 1 if one_text else rows
        tokens, *second = _inputs_of(example, Sizes(batch, width), ids)
        special = torch.rand((batch, width), generator=generator) < 0.3
        special[:, 0] = False
        tokens = torch.where(special, edges[torch.randint(len(edges), (batch, width), generator=generator)], tokens)
        inputs = (tokens, *second)
        if (expected := _answer_if_any(reference, inputs)) is None:
            continue
        if not _answers_so(graph, inputs, expected):
            raise ExportError(
                "The module packs by lengths that it counts or clamps itself, and the graph answers otherwise where "
                "these are shorter than the rows.",
                "Pack by the lengths that forward is given, or give pad_packed_sequence total_length=x.size(1).",
            )


def _check_loops(
    reference: Callable[..., Any], graph: Callable[..., Any], example: tuple[Tensor, ...], made: OnnxGraph, ids: int
) -> None:
    """Compare a graph whose loops were traced by their first iterations with the module, at other lengths.

    Raises:
        ExportError: it answers otherwise.
    """
    for rows, width in ((1, 1), (2, 3), (3, 9), (2, 40), (1, 300)):
        inputs = _inputs_of(example, Sizes(1 if len(example[0]) == 1 else rows, width), ids)
        if (expected := _answer_if_any(reference, inputs)) is None:
            continue
        if not _answers_so(graph, inputs, expected):
            raise UntraceableError(
                f"The module's loop over the steps of a text, {made.loops[0]}, does not do in each step what it does "
                f"in the first ones: at {width} tokens the graph of these answers otherwise.",
                "Do the same in every step, without break and without a look at the number of the step; or use "
                "nn.RNN, nn.LSTM or nn.GRU.",
            )


def _check_ties(reference: Callable[..., Any], example: tuple[Tensor, ...], graph: OnnxGraph, ids: int) -> None:
    """Refuse a module whose answers change with the order of equal values, on texts that repeat their words.

    Raises:
        ExportError: they do.
    """
    for batch, width in ((1, 1), (3, 8), (4, 33)):
        tokens, *second = _inputs_of(example, Sizes(batch, width), ids)
        for repeated in (tokens, tokens[:, :1].expand_as(tokens).contiguous(), tokens[:, torch.arange(width) // 2]):
            inputs = (repeated, *(torch.full_like(v, width) if v.dim() == 1 else v for v in second))
            if (expected := _answer_if_any(reference, inputs)) is None:
                continue
            if not abs(ties_the_other_way(reference, inputs) - expected).max() <= 1e-4:
                raise ExportError(
                    f"The module's answers depend on the order of equal values in {', '.join(graph.orders)}, which "
                    "PyTorch leaves undefined: a text that repeats a word has such.",
                    "Use the values and not their positions, or sort with stable=True.",
                )


def _ids_of(module: nn.Module, graph: OnnxGraph | None) -> int:
    """How many ids a module is tried with. Where the graph does not say, the rows of the smallest table do."""
    if graph is not None and graph.embedding_rows is not None:
        return graph.embedding_rows
    return min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=1)


def _example_of(example: tuple[Tensor, ...], sizes: Sizes) -> tuple[Tensor, ...]:
    """An example of other sizes, of the ids of the given one; one text stays one text."""
    sizes = sizes if len(example[0]) > 1 else replace(sizes, batch=1)
    tokens = example[0][:1, :1].expand(sizes.batch, sizes.tokens).contiguous()
    if len(example) == 1:
        return (tokens,)
    second = example[1]
    if second.dim() == 1:
        return tokens, torch.full((sizes.batch,), sizes.tokens, dtype=second.dtype)
    return tokens, second[:1].expand(sizes.batch, *second.shape[1:]).contiguous()


def _inputs_of(example: tuple[Tensor, ...], sizes: Sizes, ids: int) -> tuple[Tensor, ...]:
    """Random ids and, beside them, falling lengths from the whole width down, or a random state."""
    generator = torch.Generator().manual_seed(sizes.batch * 1_000_003 + sizes.tokens)
    # Without 0 and 1 where there are others: a module may take these for padding, and refuse a text of padding only.
    tokens = torch.randint(2 if ids > 4 else 0, ids, (sizes.batch, sizes.tokens), generator=generator)
    if len(example) == 1:
        return (tokens,)
    if example[1].dim() > 1:
        return tokens, torch.rand((sizes.batch, *example[1].shape[1:]), generator=generator).to(example[1].dtype)
    lengths = torch.randint(1, sizes.tokens + 1, (sizes.batch,), generator=generator)
    lengths[0] = sizes.tokens
    lengths = lengths.sort(descending=True).values
    # The last id of the example is after the end of its shortest row: the padding.
    tokens[torch.arange(sizes.tokens) >= lengths[:, None]] = example[0][-1, -1]
    return tokens, lengths


def _run_of_module(module: nn.Module, *, doubles: bool = False) -> Callable[[tuple[Tensor, ...]], Any]:
    """A module as it answers at first: what a run leaves behind in it is not seen by the next."""

    def run(inputs: tuple[Tensor, ...]) -> Any:
        copied = copied_again(module)
        if doubles:
            copied = copied.double()
            inputs = tuple(value.double() if value.is_floating_point() else value for value in inputs)
        answer = answer_of(copied, inputs)
        return (answer[0] if isinstance(answer, tuple) else answer).numpy()

    return run


def _run_of_graph(graph: OnnxGraph) -> Callable[[tuple[Tensor, ...]], Any]:
    session = session_of(graph.content)
    names = [value.name for value in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Any:
        return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]

    return run
