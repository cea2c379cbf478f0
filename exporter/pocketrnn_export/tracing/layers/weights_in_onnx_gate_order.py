"""The weights of PyTorch's recurrent layers, with their gates in ONNX's order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import list_weight_names, read_own_parameters

# torch stacks the gates in a layer's weights in one order (see nn.LSTM and nn.GRU), ONNX in another (see its LSTM and
# GRU operators). The numbers are torch's positions, in ONNX's order.
_GATES: Final[dict[str, tuple[int, ...]]] = {
    "RNN_TANH": (0,),
    "RNN_RELU": (0,),
    "LSTM": (0, 3, 1, 2),  # torch i f g o, ONNX i o f c(=g)
    "GRU": (1, 0, 2),  # torch r z n, ONNX z r h(=n)
}


def add_onnx_weights(module: nn.Module) -> None:
    """Add to every recurrent layer of a module copies of its weights with the gates in ONNX's order, as buffers named
    `onnx_...`.

    The buffers become initializers of the graph. A reordering in the trace would add a Split and a Concat to the graph
    for each weight. A layer that computes its weights in every forward (weight drop, parametrizations) gets no buffers:
    the trace reorders its weights.
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        layer._onnx_path = path
        if all(name in read_own_parameters(layer) for name in list_weight_names(layer)):
            with torch.no_grad():
                for i in range(layer.num_layers):
                    for name, weight in vars(_make_onnx_weights(layer, i)).items():
                        layer.register_buffer(f"onnx_{name}_{i}", weight)


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one recurrent layer, as `pocketrnn::recurrence` takes them, and its projection if it has one.

    Attributes:
        w: input weights, float [directions, gates * hidden, features], gates in ONNX's order.
        r: recurrent weights, float [directions, gates * hidden, hidden].
        b: input biases, then recurrent biases, float [directions, 2 * gates * hidden]; None without biases.
        projection: float [directions, hidden, projected], by which outputs are multiplied; None without `proj_size`.
        unprojection: the pseudo-inverse of `projection` in float32, by which initial states are multiplied.
        unprojection_rest: the rounding error of `unprojection`. Without it, some states were more than 2 ulps off.
    """

    w: Tensor
    r: Tensor
    b: Tensor | None
    projection: Tensor | None = None
    unprojection: Tensor | None = None
    unprojection_rest: Tensor | None = None


def read_layer_weights(layer: nn.RNNBase, index: int) -> LayerWeights:
    """Return the weights of layer number `index` of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, with the gates in ONNX's order:
    from the buffers that `add_onnx_weights` made, or else computed now."""
    if not hasattr(layer, f"onnx_w_{index}"):
        return _make_onnx_weights(layer, index)
    return LayerWeights(**{field.name: getattr(layer, f"onnx_{field.name}_{index}") for field in fields(LayerWeights)})


def _make_onnx_weights(layer: nn.RNNBase, index: int) -> LayerWeights:
    """Return the weights of layer number `index` of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, with the gates in ONNX's order.

    With `proj_size`, torch's LSTM outputs W_hr m instead of m = o * tanh(c), and its gates see W_hh W_hr m. An LSTM
    without projection gives the same numbers if its recurrent weight is the product W_hh W_hr, and its outputs are
    multiplied by W_hr afterwards. ONNX has operators for this form.
    """
    gates = _GATES[layer.mode]
    suffixes = ("", "_reverse")[: count_directions(layer)]

    def list_direction_weights(kind: str) -> list[Tensor]:
        return [getattr(layer, f"{kind}_l{index}{suffix}") for suffix in suffixes]

    def reorder_gates(weights: list[Tensor]) -> Tensor:
        rows = torch.arange(len(gates) * layer.hidden_size).view(len(gates), -1)[list(gates)].flatten()
        return torch.stack([weight.index_select(0, rows) for weight in weights])

    w, recurrent, b = reorder_gates(list_direction_weights("weight_ih")), list_direction_weights("weight_hh"), None
    if layer.bias:
        b = torch.cat(
            [reorder_gates(list_direction_weights("bias_ih")), reorder_gates(list_direction_weights("bias_hh"))], dim=1
        )
    if not layer.proj_size:
        return LayerWeights(w, reorder_gates(recurrent), b)
    projections = list_direction_weights("weight_hr")
    # In double precision, since one product replaces two that PyTorch computes one after the other.
    products = [(hh.double() @ hr.double()).to(hh.dtype) for hh, hr in zip(recurrent, projections, strict=True)]
    projection = torch.stack([hr.t() for hr in projections])
    inverse = torch.linalg.pinv(projection.double())
    single = inverse.float()
    rest = (inverse - single.double()).to(w.dtype)
    return LayerWeights(w, reorder_gates(products), b, projection, single.to(w.dtype), rest)


def count_directions(layer: nn.RNNBase) -> int:
    """Return 2 for a bidirectional `nn.RNN`, `nn.LSTM` or `nn.GRU`, else 1."""
    return 2 if layer.bidirectional else 1
