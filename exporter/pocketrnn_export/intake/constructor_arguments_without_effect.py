"""Find the arguments of a class that change no answer in eval mode: rates of dropout, padding ids and freezing of
embeddings, and arguments that the class does not read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

from pocketrnn_export.intake.layers_in_weights import GATES
from pocketrnn_export.source_code.class_definitions import (
    find_init_parameters_stored_in_attributes,
    list_init_names_and_whether_assigned,
)
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

# The parts of a layer from which code cannot learn these arguments again.
_HARMLESS_PARTS: Final = frozenset(
    {
        "weight", "bias", "flatten_parameters", "hidden_size", "num_layers", "embedding_dim", "num_embeddings",
        "input_size", "bidirectional", "batch_first", "in_features", "out_features",
    }
)  # fmt: skip
# Functions that read local names or attributes without naming them.
_READ_ALL: Final = frozenset({"locals", "vars", "getattr", "eval", "exec", "inspect", "sys"})
# Calls of PyTorch's layers and functions, each with its argument without effect: position, name and kind. A class of
# the owner's may be called Dropout, too.
_WITHOUT_EFFECT: Final = {
    **{f"{nn}.Dropout{kind}": (0, "p", "dropout") for nn in ("nn", "torch.nn") for kind in ("", "1d", "2d", "3d")},
    **{f"{f}.dropout{kind}": (1, "p", "dropout") for f in ("F", "nn.functional") for kind in ("", "1d", "2d", "3d")},
    **{f"{nn}.{layer}": (5, "dropout", "dropout") for nn in ("nn", "torch.nn") for layer in GATES},
    **{f"{nn}.Embedding": (2, "padding_idx", "padding") for nn in ("nn", "torch.nn")},
    **{f"{nn}.Embedding.from_pretrained": (1, "freeze", "freezing") for nn in ("nn", "torch.nn")},
}


def find_values_for_arguments_without_effect(definition: ast.ClassDef) -> dict[str, float | None]:
    """Find the parameters of a class that do not change its answers in eval mode, such as the rate of a dropout. Return
    a dict from each of these to a value that a call may give to it."""
    parents = {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}
    stored = find_init_parameters_stored_in_attributes(definition)
    reads_by_other_names = any(isinstance(node, ast.Name) and node.id in _READ_ALL for node in ast.walk(definition))
    found: dict[str, float | None] = {}
    for name, is_assigned in list_init_names_and_whether_assigned(definition).items():
        attributes = {attribute for attribute, parameter in stored.items() if parameter == name}
        uses = [
            node
            for node in ast.walk(definition)
            if (isinstance(node, ast.Name) and node.id == name) or ast.unparse(node) in attributes
        ]
        # Not a side of the assignment `self.NAME = name`.
        uses = [
            node
            for node in uses
            if not isinstance(up := parents[node], ast.Assign) or not attributes & {*map(ast.unparse, up.targets)}
        ]
        kinds = {_find_kind_of_use_without_effect(node, parents) for node in uses}
        kinds |= {""} if any(_may_layer_argument_be_read_again(node, parents) for node in uses) else set()
        if not uses and not attributes and not is_assigned and name != "self" and not reads_by_other_names:
            found[name] = None
        if uses and len(kinds) == 1 and not is_assigned and (kind := kinds.pop()):
            found[name] = 0.0 if kind == "dropout" else None
    return found


def _may_layer_argument_be_read_again(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Return whether other code may read an argument that is passed to a layer: from an attribute of the layer, or from
    the module as a whole."""
    up = node
    while up in parents and not isinstance(up, ast.Assign):
        up = parents[up]
    made = {ast.unparse(target) for target in up.targets} if isinstance(up, ast.Assign) else set()
    for other in parents:
        parent = parents[other]
        if isinstance(other, ast.Attribute) and ast.unparse(other) in made and isinstance(other.ctx, ast.Load):
            called = isinstance(parent, ast.Call) and parent.func is other
            if not called and not (isinstance(parent, ast.Attribute) and parent.attr in _HARMLESS_PARTS):
                return True
        # The module itself, given to other code.
        if isinstance(other, ast.Name) and other.id == "self" and not isinstance(parent, ast.Attribute):
            in_super = isinstance(parent, ast.Call) and read_last_name(parent.func) == "super"
            if not in_super:
                return True
    return False


def _find_kind_of_use_without_effect(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return the way in which code uses a value, if this use has no effect on answers: `dropout` for the rate of a
    dropout, `padding` for a padding id, `freezing` for the flag that freezes an embedding. Return an empty string for
    any other use."""
    argument, parent = node, parents[node]
    # In `p if layers > 1 else 0.0` it is a rate, too, but not in the condition.
    while isinstance(parent, ast.IfExp) and argument is not parent.test:
        argument, parent = parent, parents[parent]
    keyword = parent.arg if isinstance(parent, ast.keyword) else None
    if isinstance(parent, ast.keyword):
        argument, parent = parent, parents[parent]
    if not isinstance(parent, ast.Call) or argument is parent.func:
        return ""
    place = parent.args.index(argument) if argument in parent.args else None
    position, name, kind = _WITHOUT_EFFECT.get(ast.unparse(parent.func), (None, None, ""))
    is_this = (place is not None and place == position) or (keyword is not None and keyword == name)
    return kind if is_this else ""
