"""Find arguments of a class from saved weights: sizes, such as hidden_dim, the kind of a recurrent layer, and the
matrix that initializes an embedding. Find the strings with which its code compares an argument, too: messages propose
them."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pocketrnn_export.intake.constructor_arguments_without_effect import find_values_for_arguments_without_effect
from pocketrnn_export.intake.layers_in_weights import GATES, count_gates, count_layers, reads_both_directions
from pocketrnn_export.source_code.class_definitions import (
    find_class_in_file_or_imports,
    find_first_part_of_weight_name,
    find_init_parameters_stored_in_attributes,
    list_init_defaults,
    list_init_names_and_whether_assigned,
    list_set_attributes,
    walk_init_without_optional_branches,
)
from pocketrnn_export.source_code.syntax_tree_parts import (
    find_methods,
    list_assigned_names,
    list_positional_parameters,
    read_last_name,
)

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


def find_size_expression_values(
    definition: ast.ClassDef, tensors: Mapping[str, Tensor], path: Path | None = None
) -> dict[str, int]:
    """Return the values of the expressions that set the sizes of a class's layers, such as 64 for `hidden_dim`. The
    shapes of the weights show these values.

    Only embeddings, linear and recurrent layers of the form `self.NAME = nn.Layer(...)` are read, also in an
    nn.Sequential, and in the owner's classes that the class makes. An expression such as `name + 1` shows the value of
    `name`; `self.name` shows that of the parameter that it holds. An expression with two different values is left out.

    Args:
        tensors: the weights by name. A prefix may stand before `NAME.weight`.
        path: the file of the class, from which other classes may be imported that the class uses.
    """
    found: dict[str, set[int]] = {}
    stored = find_init_parameters_stored_in_attributes(definition)
    layers = list(_find_assigned_layers(definition))
    shown_by: dict[str, list[set[tuple[str, int]]]] = {}
    for name, layer in layers:
        gates, shown = GATES.get(read_last_name(layer.func).removesuffix("Cell")), count_gates(tensors, name)
        if gates is not None and shown not in (gates, None):
            continue
        given = [*_yield_arguments_shown_by_weights(layer, name, tensors)]
        inner = _find_made_class(definition, layer, path)
        if inner is not None:
            held = _take_tensors_inside(tensors, name)
            # The weights may be those of another branch.
            if not held or not {*map(find_first_part_of_weight_name, held)} <= list_set_attributes(*inner):
                continue
            given += _yield_arguments_shown_inside(layer, inner, held)
        sizes = {_solve_expression(argument, n) for argument, n in given if not isinstance(argument, ast.Constant)}
        if sizes or read_last_name(layer.func) in _LAYERS:
            # Each recurrent layer of these gates counts by itself.
            shown_by.setdefault(f"{name} {len(shown_by)}" if gates is not None else name, []).append(sizes)
    # With `if both: self.out = ... else: self.out = ...`, the weights may be those of either: what both say counts.
    for either in shown_by.values():
        for expression, size in set.intersection(*either):
            found.setdefault(stored.get(expression, expression), set()).add(size)
    return {expression: sizes.pop() for expression, sizes in found.items() if len(sizes) == 1}


def _find_made_class(definition: ast.ClassDef, call: ast.Call, path: Path | None) -> tuple[Path, ast.ClassDef] | None:
    """Find the owner's class that a class calls, in the same file, in the imports, or inside the class, such as
    `self.Encoder(...)`. Return its file and its code. Return None if the call is of something else."""
    name = read_last_name(call.func)
    if path is None:
        return None
    if isinstance(call.func, ast.Attribute):
        nested = [one for one in definition.body if isinstance(one, ast.ClassDef) and one.name == name]
        return (path, nested[0]) if nested else None
    return find_class_in_file_or_imports(path, name) if name and name != definition.name else None


def _take_tensors_inside(tensors: Mapping[str, Tensor], layer_name: str) -> dict[str, Tensor]:
    """Return the tensors of a layer. Their names begin after the name of the layer, which may have a prefix in
    `tensors`."""
    start = f"{layer_name}."
    found = {key.removeprefix(start): one for key, one in tensors.items() if key.startswith(start)}
    return found or {
        key.partition(f".{start}")[2]: one for key, one in tensors.items() if f".{start}" in key
    }  # fmt: skip


def _yield_arguments_shown_inside(
    call: ast.Call, inner: tuple[Path, ast.ClassDef], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[ast.expr, int]]:
    """Yield each argument of a call of an owner's class, with its value, if the weights show this value."""
    path, definition = inner
    values = find_parameter_values(definition, tensors, path)
    names = [one for one in list_init_names_and_whether_assigned(definition) if one != "self"]
    given = dict(zip(names, itertools.takewhile(lambda one: not isinstance(one, ast.Starred), call.args), strict=False))
    given |= {str(one.arg): one.value for one in call.keywords}
    yield from ((given[name], value) for name, value in values.items() if name in given)


def describe_misfit(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> str:
    """Return the reason why weights cannot be those of a class, for the end of a sentence. A layer that the class
    always makes is missing; or a recurrent layer has another number of gates than in the code; or a layer has another
    size than the number in the code, or than another layer whose size has the same name. Return an empty string if none
    of these holds.

    Args:
        tensors: the weights by name. A prefix may stand before `NAME.weight`.
    """
    made = [one for method in find_methods(definition, "__init__") for one in method.body]
    always = [one.value for one in made if isinstance(one, ast.Assign)]
    changed = {name for one in made for name in list_assigned_names(one)}
    sizes: dict[str, int] = {}
    for name, layer in _find_assigned_layers(definition):
        kind = read_last_name(layer.func)
        gates, shown = GATES.get(kind.removesuffix("Cell")), count_gates(tensors, name)
        if kind in _LAYERS and layer in always and not any(f".{name}." in f".{key}" for key in tensors):
            return f"it has no {name}"
        if gates is not None and shown not in (gates, None):
            other = next((one for one, number in GATES.items() if number == shown), "another layer")
            return f"its {name} is {other}, and not {kind}"
        for argument, size in _yield_arguments_shown_by_weights(layer, name, tensors):
            if isinstance(argument, ast.Constant) and argument.value != size:
                return f"its {name} has the size {size:,}, and not {argument.value!r}"
            solved, value = _solve_expression(argument, size)
            # A branch, or a new value of the name, may explain another size.
            is_shown = layer in always and solved.isidentifier() and solved not in changed
            if is_shown and sizes.setdefault(solved, value) != value:
                return f"its {name} shows {solved}={value}, but another layer shows {sizes[solved]}"
    return ""


def _yield_arguments_shown_by_weights(
    layer: ast.Call, layer_name: str, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[ast.expr, int]]:
    """Yield each argument of the call that makes a layer, with its value, if the weights show this value."""
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
    """Find the value of a name from the value of `name + 1`, `name - 1`, `2 * name` or `int(name)`. Return the name and
    its value. For any other expression, return the expression and `value`."""
    if isinstance(expression, ast.Call) and getattr(expression.func, "id", "") == "int" and len(expression.args) == 1:
        return _solve_expression(expression.args[0], value)
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


def find_parameter_values(
    definition: ast.ClassDef, tensors: Mapping[str, Tensor], path: Path | None = None
) -> dict[str, int]:
    """Return a dict from each parameter of a class to its value, for the parameters whose values the shapes of the
    weights show. A parameter that `__init__` assigns again is left out.

    Args:
        tensors: the weights by name. A prefix may stand before `NAME.weight`.
        path: the file of the class, from which other classes may be imported that the class uses.
    """
    sizes = find_size_expression_values(definition, tensors, path)
    return {
        name: sizes[name]
        for name, stored in list_init_names_and_whether_assigned(definition).items()
        if name in sizes and not stored
    }


def find_code_of_global_values(definitions: Iterable[ast.ClassDef], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a dict from the names of globals that set the sizes of a class's layers to code for values that fit the
    weights. The user may give these values by `--set`.

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
    """Write the arguments of a call of a class as plain values: literals as they are, sizes from the weights, any value
    for an argument without effect, and `...` for an unknown value.

    Return None if the call unpacks a list or a dictionary, or has more arguments than the class has parameters.
    """
    inits = find_methods(definition, "__init__")
    names = [name for init in inits for name in list_positional_parameters(init)][1:]
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
    """Yield the name and the call of each layer that a class assigns: NAME for `self.NAME = nn.Layer(...)`. For a layer
    in an nn.Sequential, the name includes its index: `NAME.0`."""
    for node in walk_init_without_optional_branches(definition):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                    yield target.attr, node.value
                    yield from _find_layers_in_sequence(target.attr, node.value)


def _find_layers_in_sequence(attribute: str, call: ast.Call) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name and the call of each layer in the call of an nn.Sequential or an nn.ModuleList. `attribute` is the
    name of that container."""
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


# Calls that make a tensor of a matrix.
_OF_ARRAYS: Final = ("FloatTensor", "Tensor", "tensor", "from_numpy", "as_tensor")
_OF_TENSORS: Final = ("from_pretrained", "Parameter", "copy_")
_SIZES: Final = ("shape", "size", "dim")


def find_layer_kind_arguments(
    definition: ast.ClassDef, names: Collection[str], tensors: Mapping[str, Tensor]
) -> dict[str, str]:
    """Find the arguments that select the kind of a recurrent layer: the code compares them with names of layers. Return
    a dict from each of them to the value that fits the weights, such as "lstm"."""
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
    """Return a dict from each argument that only initializes an embedding to zeros in the embedding's shape. The saved
    weights replace these zeros later."""
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
    """Return how code uses a value: `array` if it makes a tensor of the value, `tensor` if it uses the value as a
    tensor, `size` if it reads the value's size. Return an empty string for any other use."""
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


_RECURRENT = ("LSTM", "GRU", "RNN")


def list_strings_compared_with_argument(definition: ast.ClassDef, argument: str) -> list[str]:
    """Return the strings with which the code of a class compares an argument, and the strings among which it looks up
    the argument.

    An attribute that is given the argument counts as the argument. If the code looks the argument up in torch.nn, the
    strings are the names of recurrent layers.
    """
    names = {argument}
    for node in ast.walk(definition):
        if isinstance(node, ast.Assign) and _write_without_method_call(node.value) == argument:
            names.update(ast.unparse(target) for target in node.targets)
    found = [value for node in ast.walk(definition) for value in _yield_strings_compared_by(node, names)]
    return list(dict.fromkeys(found))


def _write_without_method_call(node: ast.expr) -> str:
    """Return the code of an expression without a method call at its end, such as `.lower()`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        node = node.func.value
    return ast.unparse(node)


def _yield_strings_compared_by(node: ast.AST, names: set[str]) -> Iterator[str]:
    """Yield the strings with which one expression or statement compares one of the `names`, which hold the argument."""
    match node:
        case ast.Compare():
            sides = [node.left, *node.comparators]
            if any(_write_without_method_call(side) in names for side in sides):
                yield from (part for side in sides for part in _yield_strings(side))
        case ast.Subscript(value=ast.Dict() as table, slice=key) if _write_without_method_call(key) in names:
            yield from _yield_strings(table)
        case ast.Call(func=ast.Attribute(value=ast.Dict() as table, attr="get"), args=[key, *_]):
            yield from _yield_strings(table) if _write_without_method_call(key) in names else ()
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, key, *_]) if _write_without_method_call(key) in names:
            yield from _RECURRENT if ast.unparse(owner) in ("nn", "torch.nn") else ()
        case ast.Match(subject=subject, cases=cases) if _write_without_method_call(subject) in names:
            values = (
                inner.value for case in cases for inner in ast.walk(case.pattern) if isinstance(inner, ast.MatchValue)
            )
            yield from (part for value in values for part in _yield_strings(value))


def _yield_strings(node: ast.expr) -> Iterator[str]:
    """Yield the strings in an expression: a string, or the items of a list, a tuple or a set, or the keys of a dict."""
    match node:
        case ast.Constant(value=str() as value):
            yield value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
            yield from (value for part in parts if part is not None for value in _yield_strings(part))
