"""Turn TorchScript into a module that can be traced.

`torch.export` cannot trace a ScriptModule. But its frozen graph is a list of operators on constants and a few Python
values, so a module that runs them one by one in Python computes the same and can be traced like any other. Its
recurrent operators (`aten::lstm` and so on) and its packing become calls of `nn.LSTM` and `torch.nn.utils.rnn`, which
the exporter knows. The proof shows whether the result is the same: its reference is the ScriptModule itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.torch_internals import list_weight_names, parse_operator_schema

_LAYERS: Final[dict[str, tuple[type[nn.RNNBase], dict[str, str]]]] = {
    "aten::lstm": (nn.LSTM, {}),
    "aten::gru": (nn.GRU, {}),
    "aten::rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "aten::rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
}

# Nodes whose value is known before the graph runs.
_STORED: Final = frozenset({"prim::Constant", "prim::GetAttr"})
# Operators on Python values, which torch.ops does not offer for symbolic sizes.
_PYTHON: Final[dict[str, Callable[..., Any]]] = {
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: items,
    "prim::NumToTensor": lambda number: number,
    "prim::device": lambda tensor: tensor.device,
    "prim::dtype": lambda tensor: tensor.dtype,
    "aten::Int": lambda number: number,
    "aten::IntImplicit": lambda number: number,
    "aten::ScalarImplicit": lambda number: number,
    "aten::size": lambda tensor, *axis: tensor.shape[axis[0]] if axis else list(tensor.shape),
    "aten::numel": lambda tensor: tensor.numel(),
    "aten::dim": lambda tensor: tensor.dim(),
    "aten::len": len,
    "aten::__getitem__": operator.getitem,
    "aten::__not__": operator.not_,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
}
_ON_NUMBERS: Final[dict[str, Callable[..., Any]]] = {
    "aten::add": lambda a, b, alpha=1: a + b * alpha,
    "aten::sub": lambda a, b, alpha=1: a - b * alpha,
    "aten::mul": operator.mul,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::neg": operator.neg,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
}
# In a graph, a dtype is its number in c10/core/ScalarType.h.
_DTYPES: Final = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32,
    7: torch.float64, 11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip
# And a memory format is its number in c10/core/MemoryFormat.h.
_MEMORY_FORMATS: Final = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)


def make_traceable_module(script: torch.jit.ScriptModule) -> nn.Module:
    """Make a module that computes the same as a ScriptModule in eval mode, one operator after the other.

    Raises:
        ExportError: the weights or the control flow of the ScriptModule depend on its input.
    """
    try:
        return _InterpretedModule(script)
    # torch.jit.freeze raises this for a module with an overloaded `forward`, such as a scripted nn.LSTM.
    except RuntimeError as error:
        raise _make_untraceable_error(f"a part that torch.jit.freeze fails on ({first_line(error)})") from error


@dataclass(frozen=True)
class _BatchSizesStandIn:
    """A stand-in for the batch sizes of a packed sequence: the sequence, the number of its rows, and the number of its
    steps.

    A graph reads only the number of rows (the first batch size) and of steps (how many there are), and passes them to
    the recurrent layers.
    """

    packed: PackedSequence
    rows: Any
    steps: Any


class _FrozenScript:
    """A frozen ScriptModule. It never changes, so copies of a module share it."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        # A module that was frozen before it was saved has lost its attribute `training`.
        self.script = (
            torch.jit.freeze(script.eval(), optimize_numerics=False) if hasattr(script, "training") else script
        )
        self.graph: Any = self.script.graph

    def __deepcopy__(self, _: dict[int, Any]) -> _FrozenScript:
        return self


class _InterpretedModule(nn.Module):
    """A module that runs the operators of a frozen ScriptModule one by one."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._frozen = _FrozenScript(script)
        self._names: dict[str, str] = {}
        for node in self._frozen.graph.nodes():
            self._add_weights(node)

    def _add_weights(self, node: Any) -> None:
        """Add the weights that a node of the graph uses to this module: a recurrent layer, or a constant tensor."""
        kind, name = node.kind(), next((value.debugName() for value in node.outputs()), "")
        if kind in _LAYERS:
            self._names[name] = own = f"recurrence_{len(self._names)}"
            self.add_module(own, _make_layer(node, self._frozen.script))
        elif kind in _STORED and isinstance(_read_stored_value(node.output(), self._frozen.script), Tensor):
            readable = name.removeprefix("self.").replace(".", "_")
            own = (
                readable if readable.isidentifier() and not hasattr(self, readable) else f"constant_{len(self._names)}"
            )
            self._names[name] = own
            self.register_buffer(own, _read_stored_value(node.output(), self._frozen.script).detach())

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        names = [value.debugName() for value in self._frozen.graph.inputs()][1:]
        known: dict[str, Any] = dict(zip(names, (tokens, lengths), strict=False))
        self._run_block(self._frozen.graph, known)
        logits: Tensor = known[next(self._frozen.graph.outputs()).debugName()]
        return logits

    def _run_block(self, block: Any, known: dict[str, Any]) -> None:
        """Run the operators of a block of the graph one after the other. Add their results by name to `known`."""
        for node in block.nodes():
            names = [value.debugName() for value in node.outputs()]
            if node.kind() == "prim::If":
                condition = known[node.input().debugName()]
                branch = list(node.blocks())[0 if condition else 1]
                self._run_block(branch, known)
                results: Sequence[Any] = [known[value.debugName()] for value in branch.outputs()]
            else:
                results = self._compute_results(node, known)
            known.update(zip(names, results, strict=True))

    def _compute_results(self, node: Any, known: dict[str, Any]) -> Sequence[Any]:
        """Run the operator of a node, and return its results. `known` has the results of earlier operators by name."""
        kind = node.kind()
        if kind in _STORED:
            own = self._names.get(node.output().debugName())
            return (getattr(self, own) if own is not None else _read_stored_value(node.output(), self._frozen.script),)
        inputs = [known[value.debugName()] for value in node.inputs()]
        if kind in {"prim::TupleUnpack", "prim::ListUnpack"}:
            return list(inputs[0])
        if kind in _LAYERS:
            return _run_layer(getattr(self, self._names[next(node.outputs()).debugName()]), node, inputs)
        if kind == "aten::_pack_padded_sequence":
            return _pack_rows(*inputs)
        if kind == "aten::_pad_packed_sequence":
            return _pad_rows(*inputs)
        if inputs and isinstance(inputs[0], _BatchSizesStandIn):
            if kind == "aten::select" and inputs[1:] == [0, 0]:
                return (inputs[0].rows,)
            if kind == "aten::size" and inputs[1:] == [0]:
                return (inputs[0].steps,)
            raise _make_untraceable_error(f"{kind} of a packed sequence's batch sizes")
        if kind == "aten::_convolution":
            # Its further arguments choose among implementations.
            return (torch.ops.aten.convolution.default(*inputs[:9]),)
        if kind in _PYTHON:
            return (_PYTHON[kind](*inputs),)
        if kind in _ON_NUMBERS and not any(isinstance(value, Tensor) for value in inputs):
            return (_ON_NUMBERS[kind](*inputs),)
        return _run_operator(node, inputs)


def _make_layer(node: Any, script: torch.jit.ScriptModule) -> nn.RNNBase:
    """Make the recurrent layer for an operator in a frozen graph. Its weights and sizes are constants of the graph."""
    kind, given = node.kind(), [_read_stored_value(value, script) for value in node.inputs()]
    packed = _is_packed_node(node)
    weights, has_biases, layers, _, _, bidirectional = given[3:9] if packed else given[2:8]
    if not isinstance(weights, list) or not all(isinstance(weight, Tensor) for weight in weights):
        raise _make_untraceable_error("a recurrent layer whose weights are computed")
    cls, options = _LAYERS[kind]
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[cls]
    hidden = weights[0].shape[0] // gates
    more: dict[str, Any] = dict(options)
    if weights[1].shape[1] != hidden:
        more["proj_size"] = weights[1].shape[1]
    # A new layer draws random weights, which are replaced at once. The user's random generator must not notice.
    with torch.random.fork_rng(devices=[]):
        layer = cls(
            weights[0].shape[1], hidden, layers, bias=has_biases, batch_first=False if packed else given[8],
            bidirectional=bidirectional, **more,
        )  # fmt: skip
    for name, weight in zip(list_weight_names(layer), weights, strict=True):
        setattr(layer, name, nn.Parameter(weight.detach(), requires_grad=False))
    return layer.eval()


def _read_stored_value(value: Any, script: torch.jit.ScriptModule) -> Any:
    """Return a value that is known before the graph runs: a constant, or a frozen attribute. Return None for any other
    value."""
    node = value.node()
    if node.kind() == "prim::ListConstruct":
        return [_read_stored_value(item, script) for item in node.inputs()]
    if node.kind() == "prim::GetAttr":
        return getattr(_read_stored_value(node.input(), script), node.s("name"))
    if node.kind() == "prim::Param":
        return script
    return value.toIValue()


def _is_packed_node(node: Any) -> bool:
    """Return whether a node is a recurrent operator on packed data. It has one more input, and the second input is
    the batch sizes."""
    return str(node.schema()).split("(")[0].endswith(".data")


def _run_layer(layer: nn.RNNBase, node: Any, inputs: list[Any]) -> Sequence[Any]:
    """Run a recurrent layer on padded or packed data. Return its output and its states."""
    packed = _is_packed_node(node)
    states, index = (inputs[2], 2) if packed else (inputs[1], 1)
    hx: Any = tuple(states) if isinstance(states, list) else states
    if _is_zero_state(list(node.inputs())[index]):
        hx = None
    given: Any = inputs[0]
    if packed:
        given = PackedSequence(inputs[0], inputs[1].packed.batch_sizes, None, None)
    output, state = layer(given, hx)
    return (output.data if packed else output, *(state if isinstance(state, tuple) else (state,)))


def _is_zero_state(value: Any) -> bool:
    """Return whether initial states are zeros, which is the layer's default."""
    node = value.node()
    if node.kind() == "prim::ListConstruct":
        return all(_is_zero_state(item) for item in node.inputs())
    return bool(node.kind() == "aten::zeros")


def _pack_rows(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, _BatchSizesStandIn]:
    """Pack padded rows. Return the packed data, and an object that replaces the batch sizes in the graph."""
    packed = pack_padded_sequence(padded, lengths, batch_first)
    rows, steps = padded.shape[:2] if batch_first else reversed(padded.shape[:2])
    return packed.data, _BatchSizesStandIn(packed, rows, steps)


def _pad_rows(
    data: Tensor, sizes: _BatchSizesStandIn, batch_first: bool, padding_value: float, total_length: Any
) -> tuple[Tensor, Tensor]:
    """Pad packed data. Return the rows and their lengths."""
    packed = PackedSequence(data, sizes.packed.batch_sizes, None, None)
    wider = None if total_length is sizes.steps else total_length
    return pad_packed_sequence(packed, batch_first, padding_value, wider)


def _run_operator(node: Any, inputs: list[Any]) -> Sequence[Any]:
    """Run the ATen operator and overload that a node names on `inputs`. Return its results."""
    kind, text = node.kind(), str(node.schema())
    if not kind.startswith("aten::") or text == "(no schema)":
        raise _make_untraceable_error(kind)
    schema = parse_operator_schema(text)
    overloads = getattr(torch.ops.aten, schema.name.removeprefix("aten::"))
    positional, by_name = [], {}
    for argument, value in zip(schema.arguments, inputs, strict=True):
        if str(argument.real_type) in {"ScalarType", "Optional[ScalarType]"} and isinstance(value, int):
            value = _DTYPES[value]
        elif str(argument.real_type) in {"Layout", "Optional[Layout]"} and value == 0:
            value = torch.strided
        elif str(argument.real_type) in {"MemoryFormat", "Optional[MemoryFormat]"} and isinstance(value, int):
            value = _MEMORY_FORMATS[value]
        if argument.kwarg_only:
            by_name[argument.name] = value
        else:
            positional.append(value)
    result = getattr(overloads, schema.overload_name or "default")(*positional, **by_name)
    return result if isinstance(result, tuple) and node.outputsSize() > 1 else (result,)


def _make_untraceable_error(held_part: str) -> ExportError:
    """Make the error for TorchScript that cannot be traced because of a part in it. `held_part` describes this part."""
    return ExportError(
        f"The TorchScript module holds {held_part}, which cannot be traced again.",
        "Export the nn.Module that it was made from.",
    )
