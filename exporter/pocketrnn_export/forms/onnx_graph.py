"""A module as an ONNX graph: `pocketrnn::recurrence` as ONNX's RNN, LSTM and GRU, with clean names and axes."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, CommonSubexpressionEliminationPass
from onnxscript import opset18 as op
from torch import Tensor, nn

from pocketrnn.errors import ExportError, PocketRNNError
from pocketrnn_export.tracing.recurrence import OPERATOR, add_onnx_weights, traceable_recurrence
from pocketrnn_export.tracing.restrictions import Attempt, Limits, Way, settled
from pocketrnn_export.tracing.sizes import (
    CHOOSE,
    CUT,
    CUT_TO_LONGEST,
    Question,
    Seen,
    Sizes,
    errors_in,
    note_program,
    watched,
)
from pocketrnn_export.tracing.ties import orders_in, ties_the_other_way

__all__ = ["OPSET", "STEPS", "WHOLE_TEXTS", "Names", "OnnxGraph", "onnx_graph", "token_lookups"]

# The opset that torch's exporter writes without converting; onnxruntime reads it since 1.14.
OPSET: Final = 18

_INT32: Final = int(ir.DataType.INT32)
_INT64: Final = int(ir.DataType.INT64)


@dataclass(frozen=True)
class OnnxGraph:
    """A traced module.

    Attributes:
        content: the ONNX file's bytes.
        embedding_rows: the number of ids it can take.
        nodes: how many nodes it has.
        limits: the sizes beyond which PyTorch itself fails.
        bounds: sizes on both sides of everything that forward asks about a size, for the proof; none where it asks
            nothing. Those outside the limits are among them.
        orders: the operators in it whose order of equal values PyTorch leaves undefined.
    """

    content: bytes
    embedding_rows: int
    nodes: int
    limits: Limits = field(default_factory=Limits)
    bounds: tuple[Sizes, ...] = ()
    orders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """What a graph's inputs and outputs are called."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


WHOLE_TEXTS: Final = Names(("tokens", "lengths"), ("logits",))
STEPS: Final = Names(("tokens", "state"), ("logits", "new_state"))


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
    """

    def trace(way: Way | None, seen: Seen | None = None, *, cut_counted: bool = True) -> Attempt[OnnxGraph]:
        seen = Seen() if seen is None else seen
        of_way = example if way is None else _example_of(example, way.example)
        program = _program(module, of_way, way, seen, one_text=one_text, cut_counted=cut_counted)
        graph = _converted(program, metadata, Names(names.inputs[: len(example)], names.outputs))
        graph = replace(graph, orders=tuple(orders_in(program)))

        def run(sizes: Sizes) -> Any:
            if not all(question.holds(sizes) for question in seen.steps):
                raise ExportError("A recurrent layer has no step to run.", "Give it one.")
            return run_of_graph(graph)(_inputs_of(example, sizes, ids))

        return Attempt(graph, seen, run, plain=way is None)

    run_of_graph = functools.lru_cache(_run_of_graph)
    seen = Seen()
    plain: Attempt[OnnxGraph] | ExportError
    try:
        plain = trace(None, seen)
    except ExportError as error:
        # An error of ours says what is wrong; one of torch.export may be about a size.
        if error.__cause__ is None:
            raise
        plain = error
        if seen.counted_lengths:
            with contextlib.suppress(ExportError):
                plain = trace(None, seen, cut_counted=False)
        if isinstance(plain, ExportError) and not seen.questions:
            raise
    if isinstance(plain, Attempt):
        _check_caught(module, seen, example)
        run = _run_of_module(module)
        if seen.counted_lengths:
            _check_counted(run, run_of_graph(plain.traced), example, plain.traced.embedding_rows)
        if plain.traced.orders:
            _check_ties(run, example, plain.traced)
        if not seen.questions:
            return plain.traced
    # Before there is a graph, every table's ids are fewer than the smallest table's rows.
    tables = [layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)]
    ids = plain.traced.embedding_rows if isinstance(plain, Attempt) else min(tables, default=1)
    reference, in_doubles = _run_of_module(module), _run_of_module(module, doubles=True)
    found = settled(
        plain,
        seen.questions,
        trace,
        lambda sizes: reference(_inputs_of(example, sizes, ids)),
        lambda sizes: in_doubles(_inputs_of(example, sizes, ids)),
        batch=1 if one_text else None,
    )
    return replace(found.traced, limits=found.limits, bounds=found.bounds)


def _check_caught(module: nn.Module, seen: Seen, example: tuple[Tensor, ...]) -> None:
    """Refuse a forward that went on after an error that it meets while it is traced, and not when it runs.

    Raises:
        ExportError: it did; the trace holds what it does then, and not what it does otherwise.
    """
    if not seen.raised:
        return
    met = errors_in(copy.deepcopy(module), _inputs_of(example, Sizes(len(example[0]), example[0].shape[1]), 1))
    if caught := [place for place in seen.raised if place not in met]:
        raise ExportError(
            f"The module catches an error that only tracing raises, and then does something else: {caught[0]}.",
            "Read no values of tensors in forward, such as by .item(), and catch no errors of it.",
        )


def _check_counted(
    reference: Callable[..., Any], graph: Callable[..., Any], example: tuple[Tensor, ...], ids: int
) -> None:
    """Hold a graph of a module that packs by lengths of its own to the module, on rows that such lengths cut short.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = torch.Generator().manual_seed(7)
    edges = torch.tensor([0, 1, int(example[0][-1, -1]), ids - 1])
    for batch, width in ((1, 6), (3, 9), (4, 40), (2, 700)):
        tokens, *second = _inputs_of(example, Sizes(batch, width), ids)
        special = torch.rand((batch, width), generator=generator) < 0.3
        special[:, 0] = False
        tokens = torch.where(special, edges[torch.randint(len(edges), (batch, width), generator=generator)], tokens)
        inputs = (tokens, *second)
        try:
            expected = reference(inputs)
        # PyTorch fails on such a text, and any graph is as good as another.
        except Exception:  # noqa: S112
            continue
        given = graph(inputs)
        if given.shape != expected.shape or not abs(given - expected).max() <= 1e-4:
            raise ExportError(
                "The module packs by lengths that it counts or clamps itself, and the graph answers otherwise where "
                "these are shorter than the rows.",
                "Pack by the lengths that forward is given, or give pad_packed_sequence total_length=x.size(1).",
            )


def _check_ties(reference: Callable[..., Any], example: tuple[Tensor, ...], graph: OnnxGraph) -> None:
    """Refuse a module whose answers change with the order of equal values, on texts that repeat their words.

    Raises:
        ExportError: they do.
    """
    for batch, width in ((1, 1), (3, 8), (4, 33)):
        tokens, *second = _inputs_of(example, Sizes(batch, width), graph.embedding_rows)
        for repeated in (tokens, tokens[:, :1].expand_as(tokens).contiguous(), tokens[:, torch.arange(width) // 2]):
            inputs = (repeated, *(torch.full_like(v, width) if v.dim() == 1 else v for v in second))
            try:
                expected = reference(inputs)
            # What the module does not answer, it is not held to.
            except Exception:  # noqa: S112
                continue
            if not abs(ties_the_other_way(reference, inputs) - expected).max() <= 1e-4:
                raise ExportError(
                    f"The module's answers hang on the order of equal values in {', '.join(graph.orders)}, which "
                    "PyTorch leaves undefined: a text that repeats a word has such.",
                    "Use the values and not their positions, or sort with stable=True.",
                )


def _program(
    module: nn.Module,
    example: tuple[Tensor, ...],
    way: Way | None,
    seen: Seen,
    *,
    one_text: bool,
    cut_counted: bool,
) -> torch.export.ExportedProgram:
    traced = copy.deepcopy(module)
    add_onnx_weights(traced)
    dynamic = torch.export.Dim.DYNAMIC
    axes = ({1: dynamic},) if one_text else ({0: dynamic, 1: dynamic}, {0: dynamic})[: len(example)]
    paths, choice = ([], None) if way is None else way.paths
    with _quiet(), torch.no_grad():
        try:
            with traceable_recurrence(), watched(traced, seen, paths, choice, cut_counted=cut_counted):
                program = torch.export.export(traced, example, dynamic_shapes=axes, strict=False)
                note_program(seen, program)
        except PocketRNNError:
            raise
        # torch.export fails with errors of many unrelated classes, among them the module's own.
        except Exception as error:
            raise ExportError(
                f"The module cannot be traced with a dynamic batch and sequence length: {_first_line(error)}",
                "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps.",
            ) from error
    return program


def _converted(program: torch.export.ExportedProgram, metadata: Mapping[str, str], names: Names) -> OnnxGraph:
    with _quiet(), torch.no_grad():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table={
                    OPERATOR: _recurrence,
                    CUT: _slice,
                    CHOOSE: _where,
                    CUT_TO_LONGEST: _slice_to_longest,
                },
                input_names=names.inputs,
                output_names=names.outputs,
                verbose=False,
            )
        except Exception as error:
            raise ExportError(
                f"The module was traced, but has no form in ONNX: {_first_line(error)}",
                "Replace the operation that the message names by one that ONNX has.",
            ) from error
    assert exported is not None  # noqa: S101 - it is None for the deprecated exporter only
    return _cleaned(exported.model, metadata, names)


def _example_of(example: tuple[Tensor, ...], sizes: Sizes) -> tuple[Tensor, ...]:
    """An example of other sizes, of the ids of the given one."""
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
    # The last id of the example stands past the end of its shortest row: the padding.
    tokens[torch.arange(sizes.tokens) >= lengths[:, None]] = example[0][-1, -1]
    return tokens, lengths


def _run_of_module(module: nn.Module, *, doubles: bool = False) -> Callable[[tuple[Tensor, ...]], Any]:
    """A module as it answers at first: what a run leaves behind in it is not seen by the next."""

    def run(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copied = copy.deepcopy(module)
            if doubles:
                copied = copied.double()
                inputs = tuple(value.double() if value.is_floating_point() else value for value in inputs)
            answer = copied(*inputs)
        return (answer[0] if isinstance(answer, tuple) else answer).numpy()

    return run


def _run_of_graph(graph: OnnxGraph) -> Callable[[tuple[Tensor, ...]], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Any:
        return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]

    return run


def _slice(x: Any, axis: int, start: Any, end: Any, step: int) -> Any:
    """`pocketrnn::cut` in ONNX: Slice clamps its ends by itself."""
    return op.Slice(x, _index(start), _index(end), _ints(axis), _ints(step))


def _slice_to_longest(x: Any, lengths: Any) -> Any:
    """`pocketrnn::cut_to_longest` in ONNX."""
    return op.Slice(x, _ints(0), op.ReduceMax(lengths, keepdims=1), _ints(0))


def _where(batch: Any, tokens: Any, chosen: Any, other: Any, condition: str) -> Any:
    """`pocketrnn::choose` in ONNX: the condition is computed from the sizes, and both answers are at hand."""
    holds = Question(condition, branch=True).of(_Size(_scalar(batch)), _Size(_scalar(tokens)))
    return op.Where(holds.value, chosen, other)


def _scalar(value: Any) -> Any:
    return op.Constant(value_int=value) if isinstance(value, int) else op.Squeeze(op.Cast(value, to=_INT64))  # type: ignore[type-var]


class _Size:
    """A size in a graph, int64 or bool [], that counts and compares as a Python number does."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def _with(self, other: Any, operator: Callable[[Any, Any], Any], *, swapped: bool = False) -> _Size:
        number = other.value if isinstance(other, _Size) else op.Constant(value_int=other)
        return _Size(operator(number, self.value) if swapped else operator(self.value, number))

    def __add__(self, other: Any) -> _Size:
        return self._with(other, op.Add)

    def __sub__(self, other: Any) -> _Size:
        return self._with(other, op.Sub)

    def __rsub__(self, other: Any) -> _Size:
        return self._with(other, op.Sub, swapped=True)

    def __mul__(self, other: Any) -> _Size:
        return self._with(other, op.Mul)

    def __mod__(self, other: Any) -> _Size:
        return self._with(other, op.Mod)

    def __floordiv__(self, other: Any) -> _Size:
        # ONNX rounds toward zero: what is left over, which Mod gives the sign of the divisor, is taken away before.
        return self._with(other, lambda a, b: op.Div(op.Sub(a, op.Mod(a, b)), b))

    def __lt__(self, other: Any) -> _Size:
        return self._with(other, op.Less)

    def __le__(self, other: Any) -> _Size:
        return self._with(other, op.LessOrEqual)

    def __gt__(self, other: Any) -> _Size:
        return self._with(other, op.Greater)

    def __ge__(self, other: Any) -> _Size:
        return self._with(other, op.GreaterOrEqual)

    def __eq__(self, other: object) -> _Size:  # type: ignore[override]
        return self._with(other, op.Equal)

    def __ne__(self, other: object) -> _Size:  # type: ignore[override]
        return _Size(op.Not((self == other).value))

    def __neg__(self) -> _Size:
        return 0 - self

    __radd__, __rmul__ = __add__, __mul__
    __hash__ = None  # type: ignore[assignment]


def _index(value: Any) -> Any:
    return _ints(value) if isinstance(value, int) else op.Reshape(op.Cast(value, to=_INT64), _ints(1))  # type: ignore[type-var]


def _recurrence(x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, mode: str) -> tuple[Any, Any, Any]:
    """`pocketrnn::recurrence` in ONNX; see https://onnx.ai/onnx/operators for RNN, LSTM and GRU.

    The outputs [sequence, directions, batch, hidden] become [sequence, batch, directions * hidden].
    """
    directions, _, hidden_size = r.shape
    lengths = None if lengths is None else op.Cast(lengths, to=_INT32)
    layer: dict[str, Any] = {
        "hidden_size": hidden_size,
        "direction": "forward" if directions == 1 else "bidirectional",
    }
    if mode == "LSTM":
        outputs, hidden, cell = op.LSTM(x, w, r, b, lengths, h0, c0, None, **layer)
    elif mode == "GRU":
        # PyTorch applies the reset gate after the recurrent product; without this attribute ONNX does it before.
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, linear_before_reset=1, **layer)
        cell = hidden
    else:
        activation = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu"}[mode]
        outputs, hidden = op.RNN(x, w, r, b, lengths, h0, activations=[activation] * directions, **layer)
        cell = hidden
    if directions == 1:
        return op.Squeeze(outputs, _ints(1)), hidden, cell
    batch_before_directions = op.Transpose(outputs, perm=[0, 2, 1, 3])
    # 0 keeps an axis, -1 takes what is left.
    return op.Reshape(batch_before_directions, _ints(0, 0, -1)), hidden, cell


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


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


def _embedding_rows(graph: ir.Graph) -> int:
    """How many ids the embedding takes: the rows of the smallest table that `tokens` index.

    Raises:
        ExportError: `tokens` index no table.
    """
    rows = [int(lookup.inputs[0].shape[0]) for lookup in token_lookups(graph)]  # type: ignore[arg-type, union-attr, index]
    if not rows:
        raise ExportError("The module looks its tokens up in no embedding.", "Begin forward with an nn.Embedding.")
    return min(rows)


def token_lookups(graph: ir.Graph) -> list[ir.Node]:
    """The Gather nodes whose table is an initializer and whose indices are the ids in `tokens`."""
    lookups: list[ir.Node] = []
    reached = [graph.inputs[0]]
    seen = set(reached)
    while reached:
        for node, place in reached.pop().uses():
            table = node.inputs[0]
            if node.op_type == "Gather" and place == 1 and table is not None and table.is_initializer():
                lookups.append(node)
                continue
            # Ids that are moved about stay ids; a shape, a count or a comparison of them is none.
            if node.op_type not in {"Shape", "Size", "NonZero", "ReduceSum", "CumSum", "ArgMax"}:
                ids = [v for v in node.outputs if v.dtype in (ir.DataType.INT64, ir.DataType.INT32) and v not in seen]
                seen.update(ids)
                reached.extend(ids)
    return lookups


def _first_line(error: Exception) -> str:
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0] if lines else type(error).__name__}".rstrip(".") + "."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporters say of themselves: deprecations, a missing torchvision, what they cannot fold."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
