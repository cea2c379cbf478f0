"""Find the sizes with names in a class's code, such as hidden_dim, from the shapes of saved weights. Messages show
them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Final

from torch import Tensor

from pocketrnn_export.intake.layers_in_weights import GATES, count_gates, count_layers, reads_both_directions

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


def _spell_names(folders: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{folder}.{name}" for folder, name in product(folders, names))


# Parts of a layer that say nothing of these arguments.
_HARMLESS_PARTS: Final = frozenset(
    {"weight", "bias", "flatten_parameters", "hidden_size", "num_layers", "embedding_dim"}
)
# Arguments without effect in eval mode: the position, the name and the kind, for PyTorch's layers and functions as they
# are usually written. A class of the owner's may be called Dropout, too.
_NN: Final = ("nn", "torch.nn")
_KINDS_OF_DROPOUT: Final = ("", "1d", "2d", "3d")
_WITHOUT_EFFECT: Final = {
    _spell_names(_NN, [f"Dropout{kind}" for kind in _KINDS_OF_DROPOUT]): (0, "p", "dropout"),
    _spell_names(("F", "nn.functional"), [f"dropout{kind}" for kind in _KINDS_OF_DROPOUT]): (1, "p", "dropout"),
    _spell_names(_NN, GATES): (5, "dropout", "dropout"),
    _spell_names(_NN, ["Embedding"]): (2, "padding_idx", "padding"),
}


def find_layer_sizes(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the expressions for the sizes of a class's layers, each with the value that the weights show.

    Only `self.NAME = nn.Layer(...)` of embeddings, linear and recurrent layers is used, also in an nn.Sequential. The
    number of layers and the directions are those of the weights' names. For `name + 1` and the like, the value is that
    of the name, and for `self.name`, which holds a parameter, that of the parameter. An expression with two different
    values is left out.

    Args:
        definition: the class.
        tensors: the weights by name, where `NAME.weight` may have a prefix.
    """
    found: dict[str, set[int]] = {}
    stored = _find_stored_parameters(definition)
    layers = list(_find_assigned_layers(definition))
    shown_by: dict[str, list[set[tuple[str, int]]]] = {}
    for name, layer in layers:
        gates, shown = GATES.get(_read_called_name(layer).removesuffix("Cell")), count_gates(tensors, name)
        if gates is not None and shown not in (gates, None):
            continue
        given = _list_shown_arguments(layer, name, tensors)
        sizes = {_solve_expression(argument, n) for argument, n in given if not isinstance(argument, ast.Constant)}
        if sizes or _read_called_name(layer) in _LAYERS:
            # Each recurrent layer of these gates counts by itself.
            shown_by.setdefault(f"{name} {len(shown_by)}" if gates is not None else name, []).append(sizes)
    # With `if both: self.out = ... else: self.out = ...`, the weights may be those of either: what both say counts.
    for either in shown_by.values():
        for expression, size in set.intersection(*either):
            found.setdefault(stored.get(expression, expression), set()).add(size)
    return {expression: sizes.pop() for expression, sizes in found.items() if len(sizes) == 1}


def _list_shown_arguments(layer: ast.Call, name: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[ast.expr, int]]:
    """Yield each argument of a layer's call whose value the weights show, with this value."""
    kind = _read_called_name(layer)
    if kind not in _LAYERS and not kind[:1].isupper() and count_layers(tensors, name):
        # As in {"GRU": nn.GRU, "LSTM": nn.LSTM}[kind](...).
        kind = next((kind for kind, gates in GATES.items() if gates == count_gates(tensors, name)), kind)
    given: dict[str | int | None, ast.expr] = {keyword.arg: keyword.value for keyword in layer.keywords}
    given |= dict(enumerate(layer.args))
    for place, (argument, weight, axis) in enumerate(_LAYERS.get(kind, ())):
        held = [tensor for key, tensor in tensors.items() if f".{key}".endswith(f".{name}.{weight}")]
        found = given.get(place, given.get(argument))
        if len(held) == 1 and held[0].dim() == 2 and found is not None:
            parts = GATES[kind.removesuffix("Cell")] if argument == "hidden_size" else 1
            yield found, held[0].shape[axis] // parts
    if kind in GATES and count_layers(tensors, name):
        for argument, place, read in _BY_NAMES:
            if (found := given.get(place, given.get(argument))) is not None:
                yield found, read(tensors, name)


def _read_called_name(call: ast.Call) -> str:
    """Return the name of a called class: `LSTM` for `nn.LSTM(...)` and `LSTM(...)`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _solve_expression(expression: ast.expr, value: int) -> tuple[str, int]:
    """Return the name in `name + 1`, `name - 1` or `2 * name` with its value. Return another expression with the
    whole value."""
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


def _find_stored_parameters(definition: ast.ClassDef) -> dict[str, str]:
    """Return `self.NAME` for each parameter NAME that `__init__` stores only under this name."""
    stored: dict[str, set[str]] = {}
    parameters = _list_init_names(definition)
    for method in _find_init_methods(definition):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                        stored.setdefault(ast.unparse(target), set()).add(ast.unparse(node.value))
    return {name: next(iter(of)) for name, of in stored.items() if len(of) == 1 and next(iter(of)) in parameters}


def find_parameter_values(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the parameters of a class whose values the shapes of the weights show, with these values.

    A parameter that `__init__` assigns again is left out.
    """
    sizes = find_layer_sizes(definition, tensors)
    return {name: sizes[name] for name, stored in _list_init_names(definition).items() if name in sizes and not stored}


def find_values_without_effect(definition: ast.ClassDef) -> dict[str, float | None]:
    """Return the parameters of a class that change no answer in eval mode, with a value for each.

    They are rates of dropout, and the id that an nn.Embedding leaves out in training. Every use of such a parameter is
    an argument of such a layer, or stores it under an attribute of which that is true; and the layer is only called, so
    that no code reads it again, as in `tokens != self.embedding.padding_idx`.
    """
    parents = {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}
    stored = _find_stored_parameters(definition)
    found: dict[str, float | None] = {}
    for name, is_assigned in _list_init_names(definition).items():
        attributes = {attribute for attribute, parameter in stored.items() if parameter == name}
        uses = [
            node
            for node in ast.walk(definition)
            if (isinstance(node, ast.Name) and node.id == name) or ast.unparse(node) in attributes
        ]
        uses = [node for node in uses if not _is_stored(node, parents, attributes)]
        kinds = {_find_kind_of_use(node, parents) for node in uses}
        kinds |= {""} if any(_may_be_read_again(node, parents) for node in uses) else set()
        if uses and len(kinds) == 1 and not is_assigned and (kind := kinds.pop()):
            found[name] = 0.0 if kind == "dropout" else None
    return found


def _is_stored(node: ast.AST, parents: Mapping[ast.AST, ast.AST], attributes: Collection[str]) -> bool:
    """Return whether a node is a side of the assignment `self.NAME = name`."""
    parent = parents[node]
    return isinstance(parent, ast.Assign) and any(ast.unparse(target) in attributes for target in parent.targets)


def _may_be_read_again(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Return whether code may read an argument of a layer again, from the layer or from the whole module."""
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
            in_super = isinstance(parent, ast.Call) and _read_called_name(parent) == "super"
            if not in_super:
                return True
    return False


def _find_kind_of_use(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return `dropout` or `padding` for a value that is used only as the rate of a dropout or as a padding id. Else
    return an empty string."""
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
    for known, (at, name, kind) in _WITHOUT_EFFECT.items():
        if ast.unparse(parent.func) in known and (place == at or keyword == name):
            return kind
    return ""


def find_global_values(definitions: Iterable[ast.ClassDef], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return values for globals that fit the weights, in the form of `--set`.

    A name that is a size gets that number. Where only the length of a name's value is used, such as a table of words,
    any value of that length fits; so it does for a part of a value, as in `len(TEXT.vocab)`.
    """
    values: dict[str, str] = {}
    definitions = list(definitions)
    for definition in definitions:
        sizes = find_layer_sizes(definition, tensors)
        # The default of a parameter has the size that its layer has.
        defaults = {name: default for name, default in _list_defaults(definition).items() if name in sizes}
        for expression, size in {**sizes, **{ast.unparse(d): sizes[n] for n, d in defaults.items()}}.items():
            node = ast.parse(expression, mode="eval").body
            name = node.id if isinstance(node, ast.Name) else _read_name_in_len(node)
            if not name or name.split(".")[0] in _list_init_names(definition) | {"self": True}:
                continue
            if isinstance(node, ast.Name):
                values.setdefault(name, str(size))
            elif all(_is_only_length_used(one, name) for one in definitions):
                values.setdefault(name, f"torch.zeros({size})")
    return values


def _list_defaults(definition: ast.ClassDef) -> dict[str, ast.expr]:
    """Return each parameter of `__init__` that has a default, with the default."""
    found: dict[str, ast.expr] = {}
    for method in _find_init_methods(definition):
        names = [*method.args.posonlyargs, *method.args.args]
        after = zip(reversed(names), reversed(method.args.defaults), strict=False)
        found |= {argument.arg: default for argument, default in after}
        only = zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)
        found |= {argument.arg: default for argument, default in only if default is not None}
    return found


def find_imported_class(statements: Iterable[ast.stmt], name: str, folder: Path) -> tuple[Path, str] | None:
    """Find the class of the object that `name = Class(...)` makes in another file of `folder`. Return the file and
    the class; None if the class is not imported from such a file."""
    imported: dict[str, tuple[Path, str]] = {}
    made: dict[str, str] = {}
    for node in statements:
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level < 2:
            file = folder.joinpath(*node.module.split(".")).with_suffix(".py")
            imported |= {alias.asname or alias.name: (file, alias.name) for alias in node.names if file.is_file()}
        elif isinstance(node, ast.Assign):
            calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
            kinds = [kind for call in calls if (kind := getattr(call.func, "id", "")) in imported]
            made |= {target.id: kinds[0] for target in node.targets if isinstance(target, ast.Name) and kinds}
    return imported.get(made.get(name, ""))


def find_class(statements: Iterable[ast.stmt], name: str) -> tuple[ast.ClassDef, ast.Call | None] | None:
    """Return the last class with a name. For the name of an object that `name = Class(...)` makes, return the class
    and this call."""
    statements = list(statements)
    classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
    if name in classes:
        return classes[name], None
    for node in reversed(statements):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in {getattr(t, "id", None) for t in targets}:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and (made := classes.get(getattr(call.func, "id", ""))):
                    return made, call
    return None


def write_arguments(definition: ast.ClassDef, call: ast.Call, tensors: Mapping[str, Tensor]) -> str | None:
    """Write the arguments of a class's call as plain values. Literals stay. The weights give other values. A value
    without effect can be any, and `...` stands for unknown values.

    None if the call unpacks a list or a dictionary, or gives more than the class has names for.
    """
    names = [a.arg for method in _find_init_methods(definition) for a in (*method.args.posonlyargs, *method.args.args)][
        1:
    ]
    unpacks = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    if unpacks or len(call.args) > len(names):
        return None
    given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    sizes: dict[str, float | None] = {**find_parameter_values(definition, tensors)}
    # An inherited method may read an argument, too.
    if {ast.unparse(base) for base in definition.bases} <= {"nn.Module", "torch.nn.Module"}:
        sizes = find_values_without_effect(definition) | sizes
    plain = {
        name: ast.unparse(value) if _is_literal(value) else str(sizes.get(name, "...")) for name, value in given.items()
    }
    return ", ".join(f"{name}={value}" for name, value in plain.items())


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _find_init_methods(definition: ast.ClassDef) -> list[ast.FunctionDef]:
    return [part for part in definition.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]


def _list_init_names(definition: ast.ClassDef) -> dict[str, bool]:
    """Return the parameters and local names of `__init__`, and whether `__init__` assigns to each."""
    found: dict[str, bool] = {}
    for method in _find_init_methods(definition):
        arguments = method.args
        found |= {a.arg: False for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        walked = _walk_usual_code(method, _list_absent(definition))
        found |= {n.id: True for n in walked if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _list_absent(definition: ast.ClassDef) -> set[str]:
    """Return the parameters of `__init__` whose default is None."""
    defaults = _list_defaults(definition).items()
    return {name for name, value in defaults if isinstance(value, ast.Constant) and value.value is None}


def _walk_usual_code(node: ast.AST, absent: Collection[str]) -> Iterator[ast.AST]:
    """Yield the nodes of code, without branches that run only if one of the absent parameters is given."""
    yield node
    skipped: list[ast.stmt] = []
    if isinstance(node, ast.If):
        tests = {f"{name} is not None": node.body for name in absent} | dict.fromkeys(absent, node.body)
        tests |= {f"{name} is None": node.orelse for name in absent} | {f"not {name}": node.orelse for name in absent}
        skipped = tests.get(ast.unparse(node.test), [])
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _walk_usual_code(child, absent)


def _find_assigned_layers(definition: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name and the call of each `self.NAME = nn.Layer(...)` of the class. A layer in an nn.Sequential has
    its index in the name: `NAME.0`."""
    for method in _find_init_methods(definition):
        for node in _walk_usual_code(method, _list_absent(definition)):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                        yield target.attr, node.value
                        yield from _find_layers_in_sequence(target.attr, node.value)


def _find_layers_in_sequence(name: str, call: ast.Call) -> Iterator[tuple[str, ast.Call]]:
    kind, parts = _read_called_name(call), call.args
    if kind == "ModuleList" and len(parts) == 1 and isinstance(parts[0], ast.List | ast.Tuple):
        parts = parts[0].elts
    elif kind != "Sequential" or any(isinstance(part, ast.Starred) for part in parts):
        return
    for place, part in enumerate(parts):
        if isinstance(part, ast.Call):
            yield f"{name}.{place}", part


def _read_name_in_len(node: ast.AST) -> str:
    """Return NAME for the expression `len(NAME)`, and NAME.part for `len(NAME.part)`. Return an empty string for
    other code."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "len" or len(node.args) != 1:
        return ""
    written = ast.unparse(node.args[0])
    return written if all(part.isidentifier() for part in written.split(".")) else ""


def _is_only_length_used(definition: ast.ClassDef, name: str) -> bool:
    first = name.split(".")[0]
    uses = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == first]
    return len(uses) == sum(_read_name_in_len(node) == name for node in ast.walk(definition))
