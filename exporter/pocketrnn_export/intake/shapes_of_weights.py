"""The sizes of layers in the code that made saved weights, read from the weights' shapes, for messages."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from torch import Tensor

__all__ = ["arguments_by_weights", "class_in", "parameters_by_weights", "sizes_by_weights", "values_by_weights"]

# A layer's arguments in their order, and for each the weight and its axis that have the size.
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
# The weights of a recurrent layer stand one below the other, so many.
_GATES: Final = {"RNN": 1, "LSTM": 4, "GRU": 3}


def sizes_by_weights(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The expressions that the layers of a class are made with, each with the size that it had, by the weights' shapes.

    Only `self.NAME = nn.Layer(...)` of embeddings, linear and recurrent layers is looked at. An expression of which two
    layers say two sizes is left out.

    Args:
        definition: the class.
        tensors: the weights by name, where `NAME.weight` may stand behind a prefix.

    Example:
        >>> sizes_by_weights(ast.parse(source).body[0], {"embedding.weight": torch.zeros(3347, 16)})
        {'len(table)': 3347, 'dim': 16}
    """
    found: dict[str, set[int]] = {}
    for name, layer in _layers_of(definition):
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


def parameters_by_weights(definition: ast.ClassDef, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Those parameters of a class whose values the shapes of its weights show.

    A parameter that `__init__` assigns anew is left out.

    Example:
        >>> parameters_by_weights(ast.parse(source).body[0], {"embedding.weight": torch.zeros(3347, 16)})
        {'words': 3347}
    """
    sizes = sizes_by_weights(definition, tensors)
    return {name: sizes[name] for name, stored in _locals_of(definition).items() if name in sizes and not stored}


def values_by_weights(definitions: Iterable[ast.ClassDef], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Global names with a value that fits the weights, as `--set` takes it.

    A name that is a size gets that number. Where only the length of a name's value is used, such as a table of words,
    any value of that length fits.

    Example:
        >>> values_by_weights(classes, {"embedding.weight": torch.zeros(3347, 16)})
        {'VOCAB_SIZE': '3347', 'table': 'torch.zeros(3347)'}
    """
    values: dict[str, str] = {}
    definitions = list(definitions)
    for definition in definitions:
        for expression, size in sizes_by_weights(definition, tensors).items():
            node = ast.parse(expression, mode="eval").body
            name = node.id if isinstance(node, ast.Name) else _length_of(node)
            if not name or name in _locals_of(definition):
                continue
            if isinstance(node, ast.Name):
                values.setdefault(name, str(size))
            elif all(_only_its_length(one, name) for one in definitions):
                values.setdefault(name, f"torch.zeros({size})")
    return values


def class_in(statements: Iterable[ast.stmt], name: str) -> tuple[ast.ClassDef, ast.Call | None] | None:
    """The class that a name stands for, the last of that name; or that of the object that `name = Class(...)` makes,
    with the call that makes it.

    Example:
        >>> class_in(ast.parse("class Net: ...\\nmodel = Net().to(device)").body, "model")[0].name
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


def arguments_by_weights(definition: ast.ClassDef, call: ast.Call, tensors: Mapping[str, Tensor]) -> str | None:
    """The arguments of a call of a class as plain values: as they are written, else by the weights' shapes, else `...`.

    None where the call unpacks a list or a dictionary, or gives more than the class has names for.

    Example:
        >>> arguments_by_weights(definition, ast.parse("Net(len(table), pool='max')", mode="eval").body, tensors)
        "words=3347, pool='max'"
    """
    names = [a.arg for method in _makers(definition) for a in (*method.args.posonlyargs, *method.args.args)][1:]
    unpacks = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    if unpacks or len(call.args) > len(names):
        return None
    given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    sizes = parameters_by_weights(definition, tensors)
    plain = {
        name: ast.unparse(value) if _is_plain(value) else str(sizes.get(name, "...")) for name, value in given.items()
    }
    return ", ".join(f"{name}={value}" for name, value in plain.items())


def _is_plain(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _makers(definition: ast.ClassDef) -> list[ast.FunctionDef]:
    return [part for part in definition.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]


def _locals_of(definition: ast.ClassDef) -> dict[str, bool]:
    """The parameters of `__init__`, and the names that it assigns; and whether it assigns them."""
    found: dict[str, bool] = {}
    for method in _makers(definition):
        arguments = method.args
        found |= {a.arg: False for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        found |= {n.id: True for n in ast.walk(method) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _layers_of(definition: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """`self.NAME = nn.Layer(...)` of the class: the name and the call."""
    for method in _makers(definition):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                        yield target.attr, node.value


def _length_of(node: ast.AST) -> str:
    """The name of which this is the length; empty if it is something else."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "len" and len(node.args) == 1:
        return getattr(node.args[0], "id", "")
    return ""


def _only_its_length(definition: ast.ClassDef, name: str) -> bool:
    uses = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == name]
    return len(uses) == sum(_length_of(node) == name for node in ast.walk(definition))
