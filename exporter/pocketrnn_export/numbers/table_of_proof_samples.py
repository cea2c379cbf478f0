"""The table of the rows of numbers that the sequences of a proof consist of: make it, let a module take ids that the
table replaces by its rows, and remove it from a graph, so that the graph takes samples."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.float64_graph import list_nested_graphs
from pocketrnn_export.forms.onnx.value_ranges import SAMPLES
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.module_runs.state_restoration import keep_module_unchanged, undo_changes_to_module
from pocketrnn_export.torch_internals import read_own_forward_pre_hooks

Samples = npt.NDArray[np.float32]

# The kinds of drawn numbers.
EVERYWHERE: Final = "numbers of every size"
NEAR: Final = "numbers up to 12"
POSITIVE: Final = "numbers from 0 to 1"
# How many rows are drawn. Each occurs in the proof at least three times.
_DRAWN: Final = 768
_NEAR: Final = 12.0
# The most steps of given sequences that become rows of the table.
_MOST_GIVEN: Final = 20_000
# The steps of the generated sequences, where no number of steps is given.
_MADE_STEPS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
# A module may treat the first ids as padding, so the first rows are the special ones.
_SPECIAL: Final = 8


@dataclass(frozen=True)
class SampleTable:
    """Rows of numbers, and sequences that consist of these rows. In a proof, the index of a row is its id.

    Attributes:
        rows: float32 [rows, channels]. Row 0 is the padding after a sequence.
        sequences: for each of the user's sequences, the indices of its rows.
        made: for each generated sequence, the indices of its rows.
        kind: the size of the random numbers: `EVERYWHERE`, `NEAR` or `POSITIVE`.
    """

    rows: Samples
    sequences: tuple[npt.NDArray[np.int64], ...]
    made: tuple[npt.NDArray[np.int64], ...]
    kind: str


def make_sample_table(
    channels: int,
    *,
    padding: float = 0.0,
    given_sequences: Sequence[Samples] = (),
    steps: int | None = None,
    least_steps: int = 1,
    kind: str = EVERYWHERE,
    clip: tuple[float, float] | None = None,
) -> SampleTable:
    """Make the rows of numbers, and the sequences of these rows, on which a proof compares a module of numbers with its
    graph. Most numbers are random and near 1 in size, like scaled data; some rows are zeros, constants, spikes, tiny or
    large numbers. If sequences are given, half of the random rows are similar to rows of these sequences.

    Args:
        channels: how many numbers a row has.
        padding: the number that pads a sequence after its end.
        given_sequences: the user's sequences, float32 [time, channels], as the module takes them.
        steps: how many steps every sequence has; None for any number.
        least_steps: how many steps a sequence has at least.
        kind: the size of the random numbers: `EVERYWHERE`, `NEAR` or `POSITIVE`.
        clip: the smallest and the largest number that the module can get; None for no limits.
    """
    generator = np.random.default_rng(0)
    drawn = _draw_rows(generator, channels, kind, given_sequences)
    if kind != EVERYWHERE:
        drawn = np.clip(drawn, 0 if kind == POSITIVE else -_NEAR, 1 if kind == POSITIVE else _NEAR)
    first = np.concatenate([np.full((1, channels), padding), _make_special_rows(channels)])[:_SPECIAL]
    if kind == POSITIVE:
        first[1:] = np.abs(first[1:]).clip(0, 1)
    lengths = dict.fromkeys(max(n, least_steps + n % least_steps) for n in _MADE_STEPS)
    made = [_make_signal(generator, n, channels, kind) for n in ((steps,) * 4 if steps else lengths)]
    given_sequences = _select_first_sequences_up_to_step_limit(given_sequences)
    parts: list[npt.NDArray[Any]] = [first, drawn, *given_sequences, *made]
    ends = np.cumsum([len(part) for part in parts])
    indices = [np.arange(end - len(part), end, dtype=np.int64) for part, end in zip(parts, ends, strict=True)][2:]
    # The last row is an ordinary one: every sequence of the first trials contains the highest id.
    rows = np.concatenate([*parts, drawn[:1]]).astype(np.float32)
    if clip is not None:
        rows[1:] = rows[1:].clip(*clip)
    return SampleTable(rows, tuple(indices[: len(given_sequences)]), tuple(indices[len(given_sequences) :]), kind)


def _select_first_sequences_up_to_step_limit(sequences: Sequence[Samples]) -> list[Samples]:
    """Return the first sequences, as many as have at most 20,000 steps together, but at least one sequence."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    return [s for s, end in zip(sequences, ends, strict=True) if end <= _MOST_GIVEN] or list(sequences[:1])


def _make_special_rows(channels: int) -> npt.NDArray[np.float64]:
    """Return seven rows [7, channels] of unusual numbers: zeros, constants, rows in which one channel is far from the
    others, and alternating signs."""
    rows = np.zeros((7, channels))
    rows[1], rows[2], rows[3] = 1.0, -1.0, 1e-3
    rows[4, 0], rows[5, -1] = 8.0, -8.0
    rows[6] = np.where(np.arange(channels) % 2, 1.0, -1.0)
    return rows


def _draw_rows(
    generator: np.random.Generator, channels: int, kind: str, given_sequences: Sequence[Samples]
) -> npt.NDArray[np.float64]:
    """Draw rows of random numbers [rows, channels]: normal and uniform ones, and for the kind `EVERYWHERE` also very
    large and very small ones. If sequences are given, the first half of the rows is similar to rows of these sequences.

    Args:
        generator: the random generator.
        channels: how many numbers a row has.
        kind: the size of the numbers: `EVERYWHERE`, `NEAR` or `POSITIVE`.
        given_sequences: the user's sequences, as the module takes them.
    """

    def draw_normal_numbers(rows: int, size: float) -> npt.NDArray[np.float64]:
        return generator.normal(0, size, (rows, channels))

    parts = [
        draw_normal_numbers(300, 1.0),
        generator.uniform(-1, 1, (100, channels)),
        generator.uniform(0, 1, (100, channels)),
        draw_normal_numbers(100, 3.0),
        draw_normal_numbers(40, 1e-3),
        draw_normal_numbers(40, 2.0) * (generator.random((40, channels)) < 1 / channels),
        generator.integers(-3, 4, (40, channels)).astype(float),
        draw_normal_numbers(24, 10.0),
    ]
    if kind == EVERYWHERE:
        # Spikes, numbers far outside of any scale, and those below the smallest that float32 holds in full.
        parts += [draw_normal_numbers(12, 100.0), draw_normal_numbers(6, 1e4), draw_normal_numbers(6, 1e-40)]
    rows = np.concatenate(parts)[:_DRAWN]
    if given_sequences:
        real = np.concatenate(given_sequences).astype(float)
        like = real[generator.integers(0, len(real), len(rows) // 2)]
        rows[: len(like)] = (
            like + draw_normal_numbers(len(like), 1.0) * real.std(0) * (generator.random((len(like), 1)) < 0.5) * 0.3
        )
    return rows


def _make_signal(generator: np.random.Generator, steps: int, channels: int, kind: str) -> npt.NDArray[np.float64]:
    """Make a sequence [steps, channels] that looks like a measured signal: sine waves with noise. Its numbers lie
    between about -1.5 and 1.5, or for the kind `POSITIVE` around 0.5."""
    time = np.arange(steps)[:, None]
    waves = np.sin(time * generator.uniform(0.02, 0.5, channels) + generator.uniform(0, 6, channels))
    signal: npt.NDArray[np.float64] = waves + generator.normal(0, 0.2, (steps, channels))
    return (signal + 2.5) / 5 if kind == POSITIVE else signal


# --- A module of numbers takes ids: the table replaces each id before forward runs ---

# The axes of forward's input: b for the batch, t for time, c for channels. Time may come before the batch, which is
# found out as for texts.
Layout = Literal["btc", "bct", "bt"]
LAYOUTS: Final[dict[str, str]] = {
    "btc": "[batch, time, channels]",
    "bct": "[batch, channels, time]",
    "bt": "[batch, time], without an axis for the one channel",
}
# The attribute of the module that holds the table.
TABLE: Final = SAMPLES
# The code put before an owner's line so that it takes ids.
LOOKUP: Final = f"samples = x = module.{TABLE}(tokens); "


class _LookupModule(nn.Module):
    """A wrapper of a module of numbers: it takes ids, and calls the module with the samples that the ids stand for. It
    is used where the module's own class cannot be extended."""

    def __init__(self, module: nn.Module, layout: Layout | None) -> None:
        super().__init__()
        self.module = module
        self.layout = layout

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Replace the ids in the first argument by samples, and return the module's answer."""
        return self.module(*_replace_ids_in_arguments(getattr(self, TABLE), self.layout, args), **kwargs)


@contextlib.contextmanager
def make_module_take_ids(module: nn.Module, rows_of_ids: Samples, layout: Layout | None) -> Iterator[nn.Module]:
    """While the block runs, make a module take ids in place of samples: it looks up the sample of each id in a table.
    Yield the module, or a wrapper of it. After the block, the module is unchanged.

    Args:
        module: the user's module. It gets a subclass of its class, so that its methods and attributes stay available.
        rows_of_ids: float32 [rows, channels], the table.
        layout: the order of the axes of forward's input; None if the user's call of the module looks up the samples.

    Raises:
        ExportError: the module's class cannot have a subclass.
    """
    undo_changes_to_module()
    table = nn.Embedding(
        rows_of_ids.shape[0], rows_of_ids.shape[1], _weight=torch.from_numpy(rows_of_ids.copy()), _freeze=True
    )
    first = next((t for t in module.parameters() if t.is_floating_point()), None)
    if first is not None:
        table = table.to(device=first.device, dtype=first.dtype)
    kind = type(module)
    # nn.Sequential would run the table, TorchScript has no Python class, and a pre-hook would see the ids.
    apart = (
        isinstance(module, nn.Sequential | torch.jit.ScriptModule)
        or "forward" in vars(module)
        or bool(read_own_forward_pre_hooks(module))
    )
    if apart:
        wrapped = _make_wrapper_class(module)(module, layout)
        wrapped.add_module(TABLE, table)
        wrapped.training = getattr(module, "training", False)
        yield wrapped
        return
    own = kind.forward

    @functools.wraps(own)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        lookup = getattr(self, TABLE)
        if layout is not None and not args and kwargs:
            name = next(iter(kwargs))
            kwargs = {**kwargs, name: _replace_ids_in_arguments(lookup, layout, (kwargs[name],))[0]}
        return own(self, *_replace_ids_in_arguments(lookup, layout, args), **kwargs)

    members = {"forward": forward, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        extended = type(kind.__name__, (kind,), members)
        module.__class__ = extended
    except TypeError as error:
        raise ExportError(
            f"The proof of a module of numbers needs a subclass of {kind.__name__}, but none can be made: {error}.",
            "Change the class so that it can have subclasses; for example, delete its __slots__.",
        ) from error
    try:
        module.add_module(TABLE, table)
        with keep_module_unchanged(module):
            yield module
    finally:
        delattr(module, TABLE)
        module.__class__ = kind


def _make_wrapper_class(module: nn.Module) -> type[_LookupModule]:
    """Return a subclass of _LookupModule whose forward has the same parameters as the module's forward."""
    if isinstance(module, torch.jit.ScriptModule):
        names = [argument.name for argument in module.forward.schema.arguments[1:]]  # type: ignore[attr-defined]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    else:
        parameters = list(inspect.signature(module.forward).parameters.values())

    def forward(self: _LookupModule, *args: Any, **kwargs: Any) -> Any:
        return _LookupModule.forward(self, *args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    return type("Lookup", (_LookupModule,), {"forward": forward, "__module__": __name__})


def _replace_ids_in_arguments(table: nn.Embedding, layout: Layout | None, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a call of forward with ids in the first argument replaced by samples from `table`, with
    their axes in the order of `layout`. If `layout` is None or the first argument holds no ids, return them
    unchanged."""
    if layout is None or not args:
        return args
    first, rest = args[0], args[1:]
    if isinstance(first, PackedSequence) and not first.data.is_floating_point():
        return first._replace(data=_look_up_samples(table, first.data, layout)), *rest
    if isinstance(first, Tensor) and not first.is_floating_point():
        return _look_up_samples(table, first, layout), *rest
    return args


def _look_up_samples(table: nn.Embedding, ids: Tensor, layout: Layout) -> Tensor:
    """Return the samples that some ids stand for, with their axes in the order of `layout`."""
    samples: Tensor = table(ids)
    if layout == "bct":
        return samples.transpose(-1, -2)
    return samples.squeeze(-1) if layout == "bt" else samples


def rewrite_call_for_ids(call: str | Call) -> str | Call:
    """Rewrite the user's call of a module, which takes samples, to a call that takes ids and looks up their samples.
    For a line of Python, return a line of Python; for a function, return a function.

    Args:
        call: a line of Python with the names `module`, `samples` (or `x`) and `lengths`, or a function of these three.
            `samples` are [batch, time, channels].
    """
    if isinstance(call, str):
        compile_call(call)
        return f"{LOOKUP}{call}"

    def call_on_samples(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return call(module, getattr(module, TABLE)(tokens), lengths)

    call_on_samples.__name__ = getattr(call, "__name__", "call")
    return call_on_samples


# --- The table is removed: the graph takes samples instead of ids ---

_SAMPLES_INPUT: Final = "samples"
_SUFFIX: Final = ".samples"
# The operators that may move or cut ids before the look-up. On samples they work with one more axis, the last one, for
# the channels.
_MOVES: Final = frozenset({"Transpose", "Identity", "Gather", "Slice", "Unsqueeze", "Squeeze"})
# More operators that only select among ids, so that each id can be replaced by the position of its sample.
_PICKS: Final = _MOVES | {
    "Cast",
    "Pad",
    "Reshape",
    "Flatten",
    "Expand",
    "Split",
    "Compress",
    "GatherElements",
    "GatherND",
}


def replace_ids_by_samples(content: bytes, table: str, channels: int) -> bytes:
    """Turn a graph that takes ids, and looks up the sample of each id in a table, into a graph that takes the samples
    themselves.

    Args:
        content: the ONNX file, whose first input is `tokens` int64 [batch, sequence].
        table: the end of the name of the table, an initializer float32 [rows, channels].
        channels: how many numbers a row of the table has.

    Returns:
        the ONNX file of the new graph, whose first input is `samples` float32 [batch, sequence, channels].

    Raises:
        ExportError: the graph uses the ids for more than to look up samples.
    """
    try:
        return _apply_operators_to_samples_in_place_of_ids(content, table, channels)
    except _NoSampleOperatorError as error:
        return _make_samples_the_table_of_graph(content, table, channels, error.operator)


def _apply_operators_to_samples_in_place_of_ids(content: bytes, table: str, channels: int) -> bytes:
    """Turn a graph that takes ids of samples into a graph that takes the samples, by applying each operator on ids to
    the samples. Return the new ONNX file. Raise a _NoSampleOperatorError if an operator cannot be applied to samples.

    Args:
        content: the ONNX file of the graph that takes ids.
        table: the end of the name of the table of samples.
        channels: how many numbers a sample has.
    """
    model = onnx.load_model_from_string(content)
    every = list(list_nested_graphs(model.graph))
    names = {name for graph in every for name in _find_table_names(graph, table)} - {""}
    constants = {t.name: t for graph in every for t in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for graph in every for node in graph.node
                  if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"}  # fmt: skip
    ids = {model.graph.input[0].name: _SAMPLES_INPUT}
    for graph in every:
        nodes = [made for node in graph.node for made in _convert_node_to_samples(node, ids, names, constants)]
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
        left = [value for value in graph.value_info if value.name not in ids]
        del graph.value_info[:]
        graph.value_info.extend(left)
    graph = model.graph
    tensors = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    _declare_samples_input(graph, channels)
    used = {name for inner in every for node in inner.node for name in node.input}
    if used & (set(ids) | names):
        raise _NoSampleOperatorError(sorted(used & (set(ids) | names))[0])
    made: bytes = model.SerializeToString()
    return made


def _make_samples_the_table_of_graph(content: bytes, table: str, channels: int, refused_operator: str) -> bytes:
    """Turn a graph that takes ids of samples into a graph that takes the samples, and return the new ONNX file. In the
    new graph, the samples are the table in which ids are looked up, after a row 0 of padding, and the ids are the
    positions 1, 2, ... in this table.

    Args:
        content: the ONNX file of the graph that takes ids.
        table: the end of the name of the old table.
        channels: how many numbers a sample has.
        refused_operator: the operator to name in the error.

    Raises:
        ExportError: the graph uses the ids for more than to select or to look up samples.
    """
    model = onnx.load_model_from_string(content)
    every, tokens = list(list_nested_graphs(model.graph)), model.graph.input[0].name
    names = {name for graph in every for name in _find_table_names(graph, table)} - {""}
    constants = {t.name: t for graph in every for t in graph.initializer}
    ids = {tokens}
    for node in (node for graph in every for node in graph.node):
        read = [at for at, name in enumerate(node.input) if name in ids]
        if not read or node.op_type == "Shape" or (node.op_type == "Gather" and node.input[0] in names):
            continue
        filled = constants.get(node.input[2]) if node.op_type == "Pad" and len(node.input) > 2 else None
        if read != [0] or node.op_type not in _PICKS or (filled is not None and numpy_helper.to_array(filled).any()):
            raise _make_other_use_error(refused_operator)
        ids.update(node.output)
    if len(names) != 1:
        raise _make_other_use_error(refused_operator)
    (name,) = names
    rows = next(t for t in model.graph.initializer if t.name == name)
    padding = numpy_helper.from_array(numpy_helper.to_array(rows)[:1], "places.padding")
    model.graph.initializer.remove(rows)
    ends = {"flat": [-1, channels], "first": 1}
    model.graph.initializer.append(padding)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"places.{key}") for key, value in ends.items()
    )
    nodes = [
        helper.make_node("Reshape", [_SAMPLES_INPUT, "places.flat"], ["places.steps"]),
        helper.make_node("Concat", ["places.padding", "places.steps"], [name], axis=0),
        helper.make_node("Shape", [_SAMPLES_INPUT], ["places.shape"], end=2),
        helper.make_node("ReduceProd", ["places.shape"], ["places.count"], keepdims=0),
        helper.make_node("Add", ["places.count", "places.first"], ["places.end"]),
        helper.make_node("Range", ["places.first", "places.end", "places.first"], ["places.all"]),
        helper.make_node("Reshape", ["places.all", "places.shape"], [tokens]),
    ]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    _declare_samples_input(model.graph, channels)
    made: bytes = model.SerializeToString()
    return made


def _declare_samples_input(graph: GraphProto, channels: int) -> None:
    """Replace the graph's first input, ids [batch, sequence], by `samples` float32 [batch, sequence, channels]."""
    first = graph.input[0].type.tensor_type.shape.dim
    batch, sequence = (d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in first[:2])
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info(_SAMPLES_INPUT, TensorProto.FLOAT, [batch, sequence, channels])
    )


def _find_table_names(graph: GraphProto, table: str) -> set[str]:
    """Return the names of the graph's initializers that end with the name `table`."""
    return {tensor.name for tensor in graph.initializer if tensor.name.endswith(table)}


def _convert_node_to_samples(
    node: NodeProto, samples_of_ids: dict[str, str], table_names: set[str], constants: Mapping[str, TensorProto]
) -> list[NodeProto]:
    """Return the nodes that do on samples what a node does on ids, or the node itself if it does not take ids. Raise a
    _NoSampleOperatorError if the node's operator cannot be applied to samples.

    Args:
        node: the node.
        samples_of_ids: a dict from the name of each tensor of ids to the name of the tensor of its samples. The outputs
            of the node are added to it.
        table_names: the names of the tables of samples.
        constants: the constants of the graph by name.
    """
    if node.op_type == "Gather" and node.input[0] in table_names:
        if node.input[1] not in samples_of_ids:
            raise _NoSampleOperatorError(node.input[1])
        return [helper.make_node("Identity", [samples_of_ids[node.input[1]]], list(node.output), name=node.name)]
    if not node.input or node.input[0] not in samples_of_ids:
        return [node]
    samples, made = samples_of_ids[node.input[0]], NodeProto()
    made.CopyFrom(node)
    made.input[0] = samples
    if node.op_type == "Shape":
        _exclude_channel_axis(made)
        return [made]
    if node.op_type == "Cast":
        samples_of_ids[node.output[0]] = samples
        return []
    if node.op_type not in _MOVES or not _moves_samples_as_it_moves_ids(made, constants):
        raise _NoSampleOperatorError(node.op_type)
    if node.op_type == "Transpose":
        (order,) = made.attribute
        order.ints.append(len(order.ints))
    samples_of_ids[node.output[0]] = made.output[0] = node.output[0] + _SUFFIX
    return [made]


def _exclude_channel_axis(node: NodeProto) -> None:
    """Change a Shape node so that it leaves out the last axis of its input, the channels, which samples have and ids
    have not."""
    bounds = {attribute.name: attribute for attribute in node.attribute}
    if "end" not in bounds:
        node.attribute.append(helper.make_attribute("end", -1))
    elif bounds["end"].i < 0:
        bounds["end"].i -= 1
    if "start" in bounds and bounds["start"].i < 0:
        bounds["start"].i -= 1


def _moves_samples_as_it_moves_ids(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Return whether a node that moves ids would also move samples correctly. It would not if it counts an axis from
    the end, since samples have one more axis at the end. `constants` has the constants of the graph by name."""
    if node.op_type in {"Slice", "Unsqueeze", "Squeeze"}:
        at = 3 if node.op_type == "Slice" else 1
        axes = constants.get(node.input[at]) if len(node.input) > at else None
        return axes is not None and bool((numpy_helper.to_array(axes) >= 0).all())
    if node.op_type == "Gather":
        return all(attribute.i >= 0 for attribute in node.attribute if attribute.name == "axis")
    return True


class _NoSampleOperatorError(Exception):
    """Raised for an operator on ids that cannot be applied to samples. `operator` is its type."""

    def __init__(self, operator: str) -> None:
        super().__init__(operator)
        self.operator = operator


def _make_other_use_error(operator: str) -> ExportError:
    return ExportError(
        f"The graph may use the ids of the proof only to look up their samples, but uses them in {operator} too.",
        "This is a fault of pocketrnn. Report it with the module.",
    )
