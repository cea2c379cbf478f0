"""Run a graph on one text, and observe which values depend on the tokens and which depend only on the number of tokens.
For a sequence of numbers, "tokens" means samples.

A graph for batches is full of sizes, masks and indices that depend only on the number of tokens of the one text.
`size_dependent_values.py` finds those that are a * tokens + b for every number of tokens, from its operators; a and b
come from runs at some lengths. A size without this form is refused, and all else is computed by the program.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.errors import ExportError, first_line
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.forms.packed_file.size_dependent_values import Size, SizeValues, Span
from pocketrnn_export.forms.packed_file.sizes_of_two_texts import OF_SECOND, Lengths
from pocketrnn_export.intake.character_pair_and_feature_calls import draw_feature_numbers

Array = npt.NDArray[Any]

# 1 and 2 tokens are the usual special cases; the others are not multiples of one another.
_LENGTHS: Final = (1, 2, 3, 7, 13, 22)
# Lengths of two texts, such that none follows from the other.
_PAIRS: Final = ((1, 1), (1, 2), (2, 1), (2, 7), (3, 1), (7, 3), (1, 13), (13, 7), (7, 22), (22, 13))
# With fewer possible lengths than this, all are observed.
_FEW: Final = 8


@dataclass(frozen=True)
class ObservedGraph:
    """A graph for one text, with the arrays that it computed in runs on texts of several lengths. If the graph takes
    sequences of numbers, "tokens" are their samples.

    Attributes:
        model: the graph, with only the nodes that the logits (or the new state) need.
        lengths: the number of tokens in each run.
        values: for the name of each value, its arrays, one for each run.
        of_tokens: the names of the values that depend on the tokens themselves, the state or the features.
        size_values: the values that depend only on the number of tokens.
        opset: the graph's opset.
        feed: a function that makes the graph's inputs for a number of tokens.
        ids: the number of token ids; 0 if the graph takes sequences of numbers.
        state_size: the number of floats in a step's state; 0 if the graph takes whole texts.
        channels: the number of channels of the sequences of numbers; 0 if the graph takes texts.
        features: the number of features that the graph takes beside a text.
        second: the number of tokens of a second text as a size (a, b); None if the graph takes one text.
    """

    model: onnx.ModelProto
    lengths: tuple[Lengths, ...]
    values: dict[str, list[Array]]
    of_tokens: frozenset[str]
    size_values: SizeValues
    opset: int
    feed: Callable[[Any], dict[str, Array]]
    ids: int = 0
    state_size: int = 0
    channels: int = 0
    features: int = 0
    second: Size | None = None

    def compute_all_values_at_lengths(self, lengths: Sequence[Lengths]) -> dict[str, list[Array]]:
        """Run the graph on one text of each of these lengths. Return a dict from each value's name to its arrays, one
        for each length."""
        return _compute_all_values(self.model, [self.feed(length) for length in lengths])

    def find_sizes(self, name: str) -> list[Size]:
        """Return the sizes of a value's axes, each as (a, b), which stands for a * tokens + b.

        Raises:
            ExportError: a size is not a * tokens + b.
        """
        sizes = self.size_values.find_sizes(name)
        if sizes is None:
            because = f" ({why})" if (why := self.size_values.irregular.get(name)) else ""
            raise ExportError(
                f"The size of {name} is not a * tokens + b with constant a and b, but the native engine can "
                f"compute only such sizes{because}.",
                "Use the bundle with onnxruntime. Or leave this operation out of forward, and let the text rules "
                "cut or pad texts: max_width, min_width.",
            )
        return sizes


def observe_graph(
    content: bytes,
    graph: Graph,
    *,
    numbers: NumberInput | None = None,
    state_size: int = 0,
    padding_id: int | None = None,
    features: Features = (),
    equal_lengths: bool = False,
) -> ObservedGraph:
    """Run a graph on one text or sequence of each of several lengths. Return the graph with the arrays of all its
    values.

    Args:
        graph: its entry in classifier.json; for a step graph, the entry of the graph for whole texts.
        numbers: the channels and steps of the sequences, for a graph that takes sequences of numbers; None for texts.
        state_size: the number of floats in the state, for a step graph; else 0.
        padding_id: the padding id of the text rules, if the graph does not take texts of padding only; else None.
        features: the features that the graph takes beside a text.
        equal_lengths: whether two texts have the same number of tokens in each run; only for comparisons of operators.

    Raises:
        ExportError: onnxruntime cannot run the graph.
    """
    model, limits = _drop_unneeded_nodes(onnx.load_from_string(content)), graph.limits or Limits()
    steps, channels = (None, 0) if numbers is None else (numbers.steps, len(numbers.channels))
    least, most = steps or limits.min_tokens or 1, steps or limits.max_tokens
    # A step may read a single token.
    of_two = "second_tokens" in graph.inputs
    span = Span(1 if state_size else least, most, of_two and not equal_lengths)
    lengths: tuple[Lengths, ...] = _PAIRS if span.pairs else _choose_lengths_of_runs(least, most)
    generator = np.random.default_rng(0)

    def make_inputs(lengths: Lengths) -> dict[str, Array]:
        length, second = lengths if isinstance(lengths, tuple) else (lengths, lengths)
        if numbers is not None:
            # Not negative, since a module may take the logarithm of its input.
            made: dict[str, Array] = {"samples": generator.random((1, length, channels), np.float32)}
        else:
            made = {"tokens": generator.integers(0, graph.embedding_rows, (1, length))}
            if limits.real_token and (made["tokens"] == padding_id).all():
                made["tokens"][0, 0] = (made["tokens"][0, 0] + 1) % graph.embedding_rows
        if state_size:
            made["state"] = generator.normal(size=(1, state_size)).astype(np.float32)
        elif "lengths" in graph.inputs:
            made["lengths"] = np.array([length], np.int64)
        if of_two:
            made["second_tokens"] = generator.integers(0, graph.embedding_rows, (1, second))
            made["second_lengths"] = np.array([second], np.int64)
        if features:
            made["features"] = draw_feature_numbers(features, generator.integers(0, 1 << 40, 1))
        return made

    return _run_and_observe_graph(
        model, span, lengths, make_inputs, graph.opset, ids=graph.embedding_rows, state_size=state_size,
        channels=channels, features=len(features), second=(1 if equal_lengths else OF_SECOND, 0) if of_two else None,
    )  # fmt: skip


def find_values_that_depend_only_on_token_count(model: onnx.ModelProto, most_tokens: int | None) -> SizeValues:
    """Find the values of a graph that depend only on the number of tokens, and not on the tokens themselves.

    Args:
        model: a graph for whole texts or sequences of numbers.
        most_tokens: the most tokens that the graph takes; None for any number.

    Raises:
        ExportError: onnxruntime cannot run the graph on one text.
    """
    first = model.graph.input[0]
    kind = onnx.helper.tensor_dtype_to_np_dtype(first.type.tensor_type.elem_type)
    more = [axis.dim_value for axis in first.type.tensor_type.shape.dim[2:]]
    lengths = _choose_lengths_of_runs(1, most_tokens)

    def make_inputs(length: int) -> dict[str, Array]:
        return {first.name: np.zeros((1, length, *more), kind), "lengths": np.array([length], np.int64)}

    return _run_and_observe_graph(model, Span(1, most_tokens), lengths, make_inputs, 0).size_values


def _choose_lengths_of_runs(least: int, most: int | None) -> tuple[int, ...]:
    """Return the lengths of the texts on which a graph is run: all lengths that it takes, if they are few.

    Args:
        least, most: the fewest and the most tokens that the graph takes; `most` is None for any number.
    """
    if most is not None and most - least < _FEW:
        return tuple(range(least, most + 1))
    return tuple(sorted({min(least + length - 1, most or least + length) for length in _LENGTHS}))


def _run_and_observe_graph(
    model: onnx.ModelProto,
    span: Span,
    lengths: tuple[Lengths, ...],
    feed: Callable[[Any], dict[str, Array]],
    opset: int,
    **more: Any,
) -> ObservedGraph:
    """Run a graph on one text of each length. Return the graph with the arrays of all its values.

    Args:
        model: the graph.
        span: the numbers of tokens that the graph takes.
        lengths: the numbers of tokens of the texts.
        feed: makes the graph's inputs for a number of tokens.
        opset: the graph's opset, if the model itself states none.
        more: further attributes of the result.
    """
    values = _compute_all_values(model, [feed(length) for length in lengths])
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), opset)
    depend = list_token_dependent_names(model)
    size_values = SizeValues(model, lengths, values, depend, span)
    return ObservedGraph(model, lengths, values, depend, size_values, opset, feed, **more)


def _compute_all_values(model: onnx.ModelProto, feeds: Sequence[dict[str, Array]]) -> dict[str, list[Array]]:
    """Run a graph on several inputs, and collect all its values, also the inner ones. Return a dict from each value's
    name to its arrays, one for each of the `feeds`."""
    names = [name for node in model.graph.node for name in node.output if name]
    every = onnx.ModelProto()
    every.CopyFrom(model)
    del every.graph.output[:]
    every.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    runs = _run_model(every, names, feeds)
    values = {name: [run[i] for run in runs] for i, name in enumerate(names)}
    for name in feeds[0]:
        values[name] = [feed[name] for feed in feeds]
    for tensor in model.graph.initializer:
        values[tensor.name] = [onnx.numpy_helper.to_array(tensor)] * len(feeds)
    return values


def compute_node_outputs(node: onnx.NodeProto, opset: int, feed: dict[str, Array]) -> list[Array]:
    """Compute the outputs of one operator by onnxruntime.

    Args:
        opset: the opset that defines it.
        feed: its inputs by name.

    Raises:
        ExportError: onnxruntime cannot compute it.
    """
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feed.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    (made,) = _run_model(model, [output.name for output in outputs], [feed])
    return made


def _run_model(model: onnx.ModelProto, names: list[str], feeds: Iterable[dict[str, Array]]) -> list[list[Array]]:
    """Run a model by onnxruntime without optimizations on each of the `feeds`. Return for each run the outputs with
    these names. Raise an ExportError if onnxruntime cannot run the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        taken = {node.name for node in session.get_inputs()}
        return [session.run(names, {k: v for k, v in feed.items() if k in taken}) for feed in feeds]
    # onnxruntime's errors have no common base class.
    except Exception as error:
        raise ExportError(
            f"The graph cannot be run on one text by onnxruntime, as packing needs it: {first_line(error)}.",
            "Use the bundle with onnxruntime.",
        ) from error


def _drop_unneeded_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the nodes and weights that neither the logits nor the new state of a step need, in place. Return the
    model."""
    outputs = ("logits", "new_state")
    kept = select_nodes_needed_for_outputs(model.graph.node, outputs)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    read = {*outputs, *(name for node in kept for name in node.input)}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    return model


def select_nodes_needed_for_outputs(
    nodes: Sequence[onnx.NodeProto], outputs: Iterable[str], *, given: Container[str] = ()
) -> list[onnx.NodeProto]:
    """Return those of the nodes that the outputs need, in their order.

    Args:
        nodes: the nodes of a graph.
        outputs: the names of the outputs.
        given: the names of values that are known already, so that no node is needed for them.
    """
    needed, kept = {name for name in outputs if name not in given}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= {name for name in node.input if name not in given}
            kept.append(node)
    return kept[::-1]


def list_token_dependent_names(model: onnx.ModelProto) -> frozenset[str]:
    """Return the names of a model's values that depend on the tokens, the samples, the state or the features, and not
    only on the number of tokens."""
    found = {"tokens", "second_tokens", "samples", "state", "features"}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and found & set(node.input):
            found |= {name for name in node.output if name}
    return frozenset(found)
