"""Find two kinds of arguments from saved weights: the kind of a recurrent layer, and the matrix that initializes an
embedding."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pocketrnn_export.intake.layers_in_weights import GATES, count_gates
from pocketrnn_export.intake.strings_compared_with_arguments import list_strings_compared_with_argument
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

# Calls that make a tensor of a matrix.
_OF_ARRAYS: Final = ("FloatTensor", "Tensor", "tensor", "from_numpy", "as_tensor")
_OF_TENSORS: Final = ("from_pretrained", "Parameter", "copy_")
_SIZES: Final = ("shape", "size", "dim")


def find_layer_kind_arguments(
    definition: ast.ClassDef, names: Collection[str], tensors: Mapping[str, Tensor]
) -> dict[str, str]:
    """Return a dict from arguments that select a kind of recurrent layer to the value that fits the weights, such as
    "lstm". These are the arguments that the code compares with names of layers."""
    layers = {key.rpartition(".")[0] for key in tensors if key.endswith(("weight_hh_l0", "weight_hh"))}
    counts = {count_gates(tensors, layer) for layer in layers if layer}
    kinds = [kind for kind, gates in GATES.items() if counts == {gates}]
    found = {}
    for name in names:
        fitting = [one for one in list_strings_compared_with_argument(definition, name) if [one.upper()] == kinds]
        if len(fitting) == 1:
            found[name] = fitting[0]
    return found


def make_zeros_for_initial_matrices(
    definition: ast.ClassDef, names: Collection[str], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return a dict from each argument that only initializes an embedding to zeros of the embedding's shape in the
    saved weights. Loading the weights then replaces the zeros."""
    parents = {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}
    found: dict[str, Any] = {}
    for name in names:
        uses = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == name]
        kinds = {use: _find_use_as_array_tensor_or_size(use, parents) for use in uses}
        layers = {_find_initialized_layer(use, parents) for use, kind in kinds.items() if kind in ("array", "tensor")}
        shapes = {
            tuple(tensor.shape) for layer in layers for key, tensor in tensors.items()
            if layer and f".{key}".endswith((f".{layer}.weight", f".{layer}"))
        }  # fmt: skip
        if "" not in kinds.values() and "" not in layers and len(shapes) == 1:
            (shape,) = shapes
            # A function of arrays takes no tensor, as from_numpy, and the reverse.
            is_array = "array" in kinds.values()
            found[name] = np.zeros(shape, np.float32) if is_array else torch.zeros(shape)
    return found


def _find_use_as_array_tensor_or_size(use: ast.Name, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return `array` if code makes a tensor of a value, `tensor` if it uses the value as a tensor, and `size` if it
    reads the value's size. Return an empty string for another use."""
    parent = parents[use]
    if isinstance(parent, ast.Attribute):
        return "size" if parent.attr in _SIZES else ""
    if isinstance(parent, ast.Call) and use in parent.args:
        called = read_last_name(parent.func)
        return "array" if called in _OF_ARRAYS else "tensor" if called in _OF_TENSORS else (
            "size" if called == "len" else ""
        )  # fmt: skip
    return ""


def _find_initialized_layer(use: ast.Name, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return the name of the layer or tensor that a statement initializes with a matrix: NAME for `self.NAME =
    nn.Embedding.from_pretrained(matrix)`, `self.NAME.weight = nn.Parameter(matrix)`,
    `self.NAME.weight.data.copy_(matrix)` and `self.NAME = nn.Parameter(matrix)`. Return an empty string for other
    code."""
    node: ast.AST = use
    while not isinstance(node, ast.stmt):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy_":
            return _read_layer_name_of_attribute(node.func.value)
        node = parents[node]
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return _read_layer_name_of_attribute(node.targets[0])
    return ""


def _read_layer_name_of_attribute(node: ast.expr) -> str:
    """Return NAME for `self.NAME`, `self.NAME.weight` and `self.NAME.weight.data`; an empty string for other code."""
    parts = ast.unparse(node).removesuffix(".data").removesuffix(".weight").split(".")
    return ".".join(parts[1:]) if parts[0] == "self" and all(map(str.isidentifier, parts)) else ""
