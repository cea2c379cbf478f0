"""Find the values of sizes in a class's code, such as hidden_dim, from the shapes of saved weights."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from torch import Tensor

from pocketrnn_export.intake.constructor_arguments_without_effect import find_values_for_arguments_without_effect
from pocketrnn_export.intake.layers_in_weights import GATES, count_gates, count_layers, reads_both_directions
from pocketrnn_export.source_code.class_definitions import (
    find_stored_parameters,
    list_init_defaults,
    list_init_names_and_whether_assigned,
    walk_init_without_optional_branches,
)
from pocketrnn_export.source_code.syntax_tree_parts import find_methods, read_last_name

# A layer's arguments in order, each with the weight and the axis whose size it is.
_LAYERS: Final[Mapping[str, tuple[tuple[str, str, int], ...]]] = {
    "Embedding": (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    "EmbeddingBag": (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    "Linear": (("in_features", "weight", 1), ("out_features", "weight", 0)),
    **{
        f"{cell}{kind}": (("input_size", f"weight_ih{layer}", 1), ("hidden_size", f"weight_ih{layer}", 0))
        for cell in ("RNN", "LSTM", "GRU")
        for kind, layer in (("", "_l0"), ("Cell", ""))
    },
}
# The arguments of a recurrent layer that the names of its weights show, with their positions.
_BY_NAMES: Final = (("num_layers", 2, count_layers), ("bidirectional", 6, reads_both_directions))


def find_size_expression_values(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the values that the weights show for the expressions by which a class sizes its layers, such as 64 for
    `hidden_dim`.

    Only embeddings, linear and recurrent layers of the form `self.NAME = nn.Layer(...)` are read, also in an
    nn.Sequential. An expression such as `name + 1` shows the value of `name`; `self.name` shows that of the parameter
    that it holds. An expression with two different values is left out.

    Args:
        definition: the class.
        tensors: the weights by name, where `NAME.weight` may have a prefix.
    """
    found: dict[str, set[int]] = {}
    stored = find_stored_parameters(definition)
    layers = list(_find_assigned_layers(definition))
    shown_by: dict[str, list[set[tuple[str, int]]]] = {}
    for name, layer in layers:
        gates, shown = GATES.get(read_last_name(layer.func).removesuffix("Cell")), count_gates(tensors, name)
        if gates is not None and shown not in (gates, None):
            continue
        given = _list_arguments_shown_by_weights(layer, name, tensors)
        sizes = {_solve_expression(argument, n) for argument, n in given if not isinstance(argument, ast.Constant)}
        if sizes or read_last_name(layer.func) in _LAYERS:
            # Each recurrent layer of these gates counts by itself.
            shown_by.setdefault(f"{name} {len(shown_by)}" if gates is not None else name, []).append(sizes)
    # With `if both: self.out = ... else: self.out = ...`, the weights may be those of either: what both say counts.
    for either in shown_by.values():
        for expression, size in set.intersection(*either):
            found.setdefault(stored.get(expression, expression), set()).add(size)
    return {expression: sizes.pop() for expression, sizes in found.items() if len(sizes) == 1}


def _list_arguments_shown_by_weights(
    layer: ast.Call, layer_name: str, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[ast.expr, int]]:
    """Yield each argument of a layer's call whose value the weights show, with this value."""
    kind = read_last_name(layer.func)
    if kind not in _LAYERS and not kind[:1].isupper() and count_layers(tensors, layer_name):
        # As in {"GRU": nn.GRU, "LSTM": nn.LSTM}[kind](...).
        kind = next((kind for kind, gates in GATES.items() if gates == count_gates(tensors, layer_name)), kind)
    given: dict[str | int | None, ast.expr] = {keyword.arg: keyword.value for keyword in layer.keywords}
    # The places after `*sizes` are not known.
    given |= dict(enumerate(itertools.takewhile(lambda one: not isinstance(one, ast.Starred), layer.args)))
    for place, (argument, weight, axis) in enumerate(_LAYERS.get(kind, ())):
        held = [tensor for key, tensor in tensors.items() if f".{key}".endswith(f".{layer_name}.{weight}")]
        # A layer inside may have the same name.
        held = [tensors[f"{layer_name}.{weight}"]] if f"{layer_name}.{weight}" in tensors else held
        found = given.get(place, given.get(argument))
        if len(held) == 1 and held[0].dim() == 2 and found is not None:
            parts = GATES[kind.removesuffix("Cell")] if argument == "hidden_size" else 1
            yield found, held[0].shape[axis] // parts
    if kind in GATES and count_layers(tensors, layer_name):
        for argument, place, read in _BY_NAMES:
            if (found := given.get(place, given.get(argument))) is not None:
                yield found, read(tensors, layer_name)


def _solve_expression(expression: ast.expr, value: int) -> tuple[str, int]:
    """Find the value of the name in `name + 1`, `name - 1` or `2 * name` from the value of the whole expression. Return
    the name and its value. Return any other expression with `value`."""
    if isinstance(expression, ast.BinOp):
        left, right = expression.left, expression.right
        if isinstance(left, ast.Constant) and isinstance(expression.op, ast.Add | ast.Mult):
            left, right = right, left
        if isinstance(right, ast.Constant) and type(right.value) is int:
            number = right.value
            if isinstance(expression.op, ast.Add):
                return _solve_expression(left, value - number)
            if isinstance(expression.op, ast.Sub):
                return _solve_expression(left, value + number)
            if isinstance(expression.op, ast.Mult) and number and value % number == 0:
                return _solve_expression(left, value // number)
    return ast.unparse(expression), value


def find_parameter_values(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the parameters of a class whose values the shapes of the weights show, with these values.

    A parameter that `__init__` assigns again is left out.
    """
    sizes = find_size_expression_values(definition, tensors)
    return {
        name: sizes[name]
        for name, stored in list_init_names_and_whether_assigned(definition).items()
        if name in sizes and not stored
    }


def find_code_of_global_values(definitions: Iterable[ast.ClassDef], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a dict from names of globals that size the layers of classes to code of values that fit the weights. The
    user may give these values by `--set`.

    A global that is a size gets this number. A global of which only the length is read, such as a table of words, gets
    a tensor of that length; so does a part of it, as in `len(TEXT.vocab)`.
    """
    values: dict[str, str] = {}
    definitions = list(definitions)
    for definition in definitions:
        sizes = find_size_expression_values(definition, tensors)
        # The default of a parameter has the size that its layer has.
        defaults = {name: default for name, default in list_init_defaults(definition).items() if name in sizes}
        for expression, size in {**sizes, **{ast.unparse(d): sizes[n] for n, d in defaults.items()}}.items():
            node = ast.parse(expression, mode="eval").body
            name = node.id if isinstance(node, ast.Name) else _read_name_in_len(node)
            if not name or name.split(".")[0] in list_init_names_and_whether_assigned(definition) | {"self": True}:
                continue
            if isinstance(node, ast.Name):
                values.setdefault(name, str(size))
            elif all(_is_only_length_used(one, name) for one in definitions):
                values.setdefault(name, f"torch.zeros({size})")
    return values


def write_arguments_as_plain_values(
    definition: ast.ClassDef, call: ast.Call, tensors: Mapping[str, Tensor]
) -> str | None:
    """Write the arguments of a class's call as plain values: literals as they are, sizes from the weights, any value
    for an argument without effect, and `...` for an unknown value.

    Return None if the call unpacks a list or a dictionary, or has more arguments than the class has parameters.
    """
    arguments = [method.args for method in find_methods(definition, "__init__")]
    names = [a.arg for one in arguments for a in (*one.posonlyargs, *one.args)][1:]
    unpacks = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    if unpacks or len(call.args) > len(names):
        return None
    given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    sizes: dict[str, float | None] = {**find_parameter_values(definition, tensors)}
    # An inherited method may read an argument, too.
    if {ast.unparse(base) for base in definition.bases} <= {"nn.Module", "torch.nn.Module"}:
        sizes = find_values_for_arguments_without_effect(definition) | sizes
    plain = {
        name: ast.unparse(value) if _is_literal(value) else str(sizes.get(name, "...")) for name, value in given.items()
    }
    return ", ".join(f"{name}={value}" for name, value in plain.items())


def _is_literal(node: ast.expr) -> bool:
    """Return whether an expression is a literal of Python, such as a number or a list of strings."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _find_assigned_layers(definition: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name and the call of each `self.NAME = nn.Layer(...)` of the class. A layer in an nn.Sequential has
    its index in the name: `NAME.0`."""
    for node in walk_init_without_optional_branches(definition):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                    yield target.attr, node.value
                    yield from _find_layers_in_sequence(target.attr, node.value)


def _find_layers_in_sequence(attribute: str, call: ast.Call) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name and the call of each layer that an nn.Sequential or an nn.ModuleList is made with."""
    kind, parts = read_last_name(call.func), call.args
    if kind == "ModuleList" and len(parts) == 1 and isinstance(parts[0], ast.List | ast.Tuple):
        parts = parts[0].elts
    elif kind != "Sequential" or any(isinstance(part, ast.Starred) for part in parts):
        return
    for place, part in enumerate(parts):
        if isinstance(part, ast.Call):
            yield f"{attribute}.{place}", part


def _read_name_in_len(node: ast.AST) -> str:
    """Return NAME for the expression `len(NAME)`, and NAME.part for `len(NAME.part)`. Return an empty string for
    other code."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "len" or len(node.args) != 1:
        return ""
    written = ast.unparse(node.args[0])
    return written if all(part.isidentifier() for part in written.split(".")) else ""


def _is_only_length_used(definition: ast.ClassDef, name: str) -> bool:
    """Return whether a class uses a name only in `len(NAME)`."""
    first = name.split(".")[0]
    uses = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == first]
    return len(uses) == sum(_read_name_in_len(node) == name for node in ast.walk(definition))
