"""Describe the layers in a file of weights in words, from the names and shapes of the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from torch import Tensor

# The number of gates of a recurrent layer, whose weights are stacked in one matrix.
GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}
_KINDS: Final = {count: kind for kind, count in GATES.items()}
_MOST: Final = 8
# Parts of the names of matrices that give no logits.
_INNER: Final = re.compile(r"emb|att|conv|norm|(^|\.)weight_", re.IGNORECASE)


def describe_layers(tensors: Mapping[str, Tensor]) -> str:
    """Describe the embeddings, the recurrent layers and the linear layers that saved weights belong to. Return an empty
    string if there are none."""
    found = list(_describe_each_layer(tensors))
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(f"{name}: {said}" for name, said in found[:_MOST]) + more


def describe_other_layers(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Describe the layers that have other sizes in the saved weights `saved` than in the module's weights `own`, or
    that only one of the two has. Return a dict from the name of each such layer to a phrase."""
    held, made = dict(_describe_each_layer(saved)), dict(_describe_each_layer(own))
    return {
        name: f"{name}: {held.get(name, 'not there')} in the file, but {made.get(name, 'not there')} in the module"
        for name in dict.fromkeys([*held, *made]) if held.get(name) != made.get(name)
    }  # fmt: skip


def find_last_layer(tensors: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Return the name of the layer that seems to give the logits, and the number of its outputs. It is the last matrix
    whose outputs no other matrix can take. Return None if there is none.

    Example:
        >>> find_last_layer({"emb.weight": torch.zeros(90, 8), "fc.weight": torch.zeros(5, 8)})
        ('fc', 5)
    """
    biased = {key: key.removesuffix("weight") + "bias" in tensors for key in tensors}
    # The transitions of a CRF are square, and read nothing.
    sizes = {
        key: one.shape for key, one in tensors.items() if one.dim() == 2 and (biased[key] or len({*one.shape}) > 1)
    }
    outer = [
        key for key, (rows, _) in sizes.items()
        if not _INNER.search(key) and not any(other != key and columns == rows for other, (_, columns) in sizes.items())
    ]  # fmt: skip
    # Tables of features have no bias, and the scores of an attention are one number a token.
    for is_likelier in (lambda key: biased[key], lambda key: sizes[key][0] > 1):
        outer = [*filter(is_likelier, outer)] or outer
    return (outer[-1].removesuffix(".weight"), sizes[outer[-1]][0]) if outer else None


def count_layers(tensors: Mapping[str, Tensor], layer_name: str) -> int:
    """Return how many stacked layers the recurrent layer `layer_name` has. The names of its weights show this; a prefix
    may stand before them."""
    count = 0
    while _has_weight(tensors, f"{layer_name}.weight_ih_l{count}"):
        count += 1
    return count


def count_gates(tensors: Mapping[str, Tensor], layer_name: str) -> int | None:
    """Return how many gates the recurrent layer `layer_name` has, by the shapes of its weights: 1 for an RNN, 3 for a
    GRU, 4 for an LSTM. Return None if the weights do not show it."""
    # Where an LSTM projects its state, the shape shows something else.
    if _has_weight(tensors, f"{layer_name}.weight_hr_l0"):
        return None
    for layer in ("_l0", ""):
        held = [tensor for key, tensor in tensors.items() if f".{key}".endswith(f".{layer_name}.weight_hh{layer}")]
        if len(held) == 1 and held[0].dim() == 2 and held[0].shape[1]:
            return held[0].shape[0] // held[0].shape[1]
    return None


def reads_both_directions(tensors: Mapping[str, Tensor], layer_name: str) -> bool:
    """Return whether the recurrent layer `layer_name` has weights for both directions."""
    return _has_weight(tensors, f"{layer_name}.weight_ih_l0_reverse")


def _has_weight(tensors: Mapping[str, Tensor], weight_name: str) -> bool:
    return sum(f".{key}".endswith(f".{weight_name}") for key in tensors) == 1


def _describe_each_layer(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield the name of each embedding, recurrent layer and linear layer, with its sizes in words."""
    for key, tensor in tensors.items():
        name, _, weight = key.rpartition(".")
        if weight in ("weight_ih_l0", "weight_ih") and tensor.dim() == 2:
            yield name or key, _describe_recurrent_layer(tensors, key, tensor)
        elif weight == "weight" and tensor.dim() == 2:
            rows, columns = tensor.shape
            if "emb" in name.lower():
                yield name, f"{rows} rows of {columns}"
            else:
                yield name, f"{columns} to {rows}" if f"{name}.bias" in tensors else f"{rows} x {columns}"


def _describe_recurrent_layer(tensors: Mapping[str, Tensor], key: str, tensor: Tensor) -> str:
    """Describe a recurrent layer: its kind and sizes, how many layers are stacked, and whether both directions are
    read."""
    recurrent = tensors.get(key.replace("weight_ih", "weight_hh"))
    projected = tensors.get(key.replace("weight_ih", "weight_hr"))
    # Where an LSTM projects its state, the recurrent weights have as many columns as the projection has rows.
    hidden = projected if projected is not None else recurrent
    if hidden is None or hidden.dim() != 2 or not hidden.shape[1] or tensor.shape[0] % hidden.shape[1]:
        return f"a recurrent layer of input {tensor.shape[1]}"
    size = hidden.shape[1]
    kind = _KINDS.get(tensor.shape[0] // size, "recurrent layer")
    said = f"{kind}, input {tensor.shape[1]}, hidden {size}"
    if not key.endswith("_l0"):
        return f"a cell of {said}"
    layers = count_layers(tensors, key.removesuffix(".weight_ih_l0"))
    both = reads_both_directions(tensors, key.removesuffix(".weight_ih_l0"))
    return f"{said}, {layers} {'layer' if layers == 1 else 'layers'}, {'both directions' if both else 'one direction'}"
