"""Find the sizes that a class's code names, such as hidden_dim, from the shapes of its saved weights, for messages."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from torch import Tensor

__all__ = ["find_class", "find_global_values", "find_layer_sizes", "find_parameter_values", "write_arguments"]

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
# The number of gates, whose weights are stacked in one matrix.
_GATES: Final = {"RNN": 1, "LSTM": 4, "GRU": 3}


def find_layer_sizes(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the expressions for the sizes of a class's layers, each with its value by the shapes of the weights.

    Only `self.NAME = nn.Layer(...)` of embeddings, linear and recurrent layers is used. An expression with two
    different values is left out.

    Args:
        definition: the class.
        tensors: the weights by name, where `NAME.weight` may have a prefix.

    Example:
        >>> find_layer_sizes(ast.parse(source).body[0], {"embedding.weight": torch.zeros(3347, 16)})
        {'len(table)': 3347, 'dim': 16}
    """
    found: dict[str, set[int]] = {}
    for name, layer in _find_assigned_layers(definition):
        kind = layer.func.attr if isinstance(layer.func, ast.Attribute) else getattr(layer.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in layer.keywords}
        for place, (argument, weight, axis) in enumerate(_LAYERS.get(kind, ())):
            expression = layer.args[place] if place < len(layer.args) else given.get(argument)
            held = [tensor for key, tensor in tensors.items() if f".{key}".endswith(f".{name}.{weight}")]
            if len(held) != 1 or held[0].dim() != 2 or expression is None or isinstance(expression, ast.Constant):
                continue
            parts = _GATES[kind.removesuffix("Cell")] if argument == "hidden_size" else 1
            found.setdefault(ast.unparse(expression), set()).add(held[0].shape[axis] // parts)
    return {expression: sizes.pop() for expression, sizes in found.items() if len(sizes) == 1}


def find_parameter_values(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the parameters of a class whose values the shapes of its weights show.

    A parameter that `__init__` assigns again is left out.

    Example:
        >>> find_parameter_values(ast.parse(source).body[0], {"embedding.weight": torch.zeros(3347, 16)})
        {'words': 3347}
    """
    sizes = find_layer_sizes(definition, tensors)
    return {name: sizes[name] for name, stored in _list_init_names(definition).items() if name in sizes and not stored}


def find_global_values(definitions: Iterable[ast.ClassDef], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return values for global names that fit the weights, as `--set` takes them.

    A name that is a size gets that number. Where only the length of a name's value is used, such as a table of words,
    any value of that length fits.

    Example:
        >>> find_global_values(classes, {"embedding.weight": torch.zeros(3347, 16)})
        {'VOCAB_SIZE': '3347', 'table': 'torch.zeros(3347)'}
    """
    values: dict[str, str] = {}
    definitions = list(definitions)
    for definition in definitions:
        for expression, size in find_layer_sizes(definition, tensors).items():
            node = ast.parse(expression, mode="eval").body
            name = node.id if isinstance(node, ast.Name) else _read_name_in_len(node)
            if not name or name in _list_init_names(definition):
                continue
            if isinstance(node, ast.Name):
                values.setdefault(name, str(size))
            elif all(_is_only_length_used(one, name) for one in definitions):
                values.setdefault(name, f"torch.zeros({size})")
    return values


def find_class(statements: Iterable[ast.stmt], name: str) -> tuple[ast.ClassDef, ast.Call | None] | None:
    """Find the last class with a name; or the class of the object that `name = Class(...)` makes, with that call.

    Example:
        >>> find_class(ast.parse("class Net: ...\\nmodel = Net().to(device)").body, "model")[0].name
        'Net'
    """
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
    """Write the arguments of a class's call as plain values: the literals, else values from the weights, else `...`.

    None where the call unpacks a list or a dictionary, or gives more than the class has names for.

    Example:
        >>> write_arguments(definition, ast.parse("Net(len(table), pool='max')", mode="eval").body, tensors)
        "words=3347, pool='max'"
    """
    names = [a.arg for method in _find_init_methods(definition) for a in (*method.args.posonlyargs, *method.args.args)][
        1:
    ]
    unpacks = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    if unpacks or len(call.args) > len(names):
        return None
    given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    sizes = find_parameter_values(definition, tensors)
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
    """Return the parameters and local names of `__init__`, each with whether `__init__` assigns it."""
    found: dict[str, bool] = {}
    for method in _find_init_methods(definition):
        arguments = method.args
        found |= {a.arg: False for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        found |= {n.id: True for n in ast.walk(method) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _find_assigned_layers(definition: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name and the call of each `self.NAME = nn.Layer(...)` of the class."""
    for method in _find_init_methods(definition):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                        yield target.attr, node.value


def _read_name_in_len(node: ast.AST) -> str:
    """Return NAME for the expression `len(NAME)`; empty for others."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "len" and len(node.args) == 1:
        return getattr(node.args[0], "id", "")
    return ""


def _is_only_length_used(definition: ast.ClassDef, name: str) -> bool:
    uses = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == name]
    return len(uses) == sum(_read_name_in_len(node) == name for node in ast.walk(definition))
