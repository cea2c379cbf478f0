"""The arguments of a class that were not given: those that its weights show are taken, and all others are asked for."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import logging
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pocketrnn.errors import InputError, first_line
from pocketrnn_export.intake.layers_in_weights import describe_layers
from pocketrnn_export.intake.module_name import ModuleName
from pocketrnn_export.intake.sizes_from_weights import find_class, find_parameter_values, find_values_without_effect
from pocketrnn_export.intake.weights_file import SavedWeights
from pocketrnn_export.source_code.notebook import read_notebook, read_python_file

__all__ = ["MissingArgumentsError", "complete_arguments"]

_log = logging.getLogger(__name__)

_TYPES_OF_SIZES = (int, bool, float, type(None))


class MissingArgumentsError(InputError):
    """A class needs arguments that were not given.

    Args:
        problem, remedy: as for every error.
        known: what is known of the arguments, as sentences.
        source: the name of the module with all its arguments; `...` stands for those that are not known.
    """

    def __init__(self, problem: str, remedy: str, known: str = "", source: str = "") -> None:
        super().__init__(problem, remedy)
        self.known, self.source = known, source


def complete_arguments(
    found: Any, args: Sequence[Any], kwargs: Mapping[str, Any], named: ModuleName, weights: SavedWeights | None
) -> dict[str, Any]:
    """Return the arguments of a class that were not given and that its weights show; they are logged.

    Args:
        found: the class, or a function.
        args, kwargs: the arguments that were given.
        named: the file and the name.
        weights: the weights that are loaded afterwards.

    Raises:
        MissingArgumentsError: there are others that it needs; the message has all of them.
        InputError: it does not take the given ones.

    Example:
        >>> complete_arguments(Classifier, [], {"dim": 16}, named, read_weights(Path("weights.pt")))
        {'words': 5}
    """
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        return {}
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise InputError(
            f"{named.name}{str(signature)[:300]} in {named.path}: {first_line(error)}.",
            "Give the arguments that it takes.",
        ) from None
    takes = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name not in given and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    required = [name for name, parameter in takes.items() if parameter.default is parameter.empty]
    definition = None if weights is None or not inspect.isclass(found) else _find_definition(found, named)
    shown: dict[str, Any] = {}
    if definition is not None and weights is not None:
        shown = find_parameter_values(definition, weights.tensors)
    stated = {} if weights is None else {name: weights.arguments[name] for name in takes if name in weights.arguments}
    unused = find_values_without_effect(definition) if definition is not None and _has_own_code_only(found) else {}
    taken = {name: shown[name] for name, parameter in takes.items() if name in shown and _differs(parameter, shown)}
    # Shapes are facts; a name in a checkpoint is its owner's word.
    said = {name: stated[name] for name in required if name in stated and name not in taken}
    idle = {name: unused[name] for name in required if name in unused and name not in taken | said}
    found_values = {**taken, **said, **idle}
    if missing := [name for name in required if name not in found_values]:
        values = {name: found_values.get(name, ...) for name in takes if name in found_values or name in missing}
        _refuse_missing_arguments(named, signature, missing, values, weights)
    if weights is not None:
        _log_taken_values(named, weights, takes, taken, said, idle, stated)
    return found_values


def _has_own_code_only(found: type) -> bool:
    """Return whether all methods of a class but PyTorch's are its own: an inherited one may read an argument, too."""
    return [kind for kind in found.__mro__ if kind.__module__.split(".")[0] not in ("torch", "builtins")] == [found]


def _log_taken_values(
    named: ModuleName,
    weights: SavedWeights,
    takes: Mapping[str, inspect.Parameter],
    taken: Mapping[str, Any],
    said: Mapping[str, Any],
    idle: Mapping[str, Any],
    stated: Mapping[str, Any],
) -> None:
    how = [
        (taken, f"by the shapes in {weights.path}"),
        (said, f"as {weights.path} says"),
        (idle, "without effect on its answers"),
    ]
    if told := "; ".join(f"{_write_values(values)}, {why}" for values, why in how if values):
        _log.warning("%s is made with %s", named.name, told)
    if other := {
        name: value
        for name, value in stated.items()
        if name not in taken and name not in said and takes[name].default is not None and takes[name].default != value
    }:
        _log.warning(
            "%s says %s, and %s has other defaults, which are taken. If the weights were trained with that, give it: "
            "%s:%s(%s)",
            weights.path, _write_values(other), named.name, named.path, named.name, _write_values(other),
        )  # fmt: skip


def _differs(parameter: inspect.Parameter, shown: Mapping[str, Any]) -> bool:
    """Return whether a parameter has no default, or a plain one that is not the value that the weights show."""
    default = parameter.default
    return default is parameter.empty or (type(default) in _TYPES_OF_SIZES and default != shown[parameter.name])


def _refuse_missing_arguments(
    named: ModuleName,
    signature: inspect.Signature,
    missing: Sequence[str],
    values: Mapping[str, Any],
    weights: SavedWeights | None,
) -> None:
    known = []
    if weights is None:
        known.append("With --weights FILE, the sizes that its tensors show are taken.")
    else:
        if shown := {name: value for name, value in values.items() if name not in missing}:
            known.append(f"{weights.path} shows {_write_values(shown)}.")
        layers = describe_layers(weights.tensors) or weights.beginning
        known.append(f"It holds {layers}." if shown else f"{weights.path} holds {layers}.")
        if said := ", ".join(f"{name}={value!r}" for name, value in list(weights.arguments.items())[:20]):
            known.append(f"It was made with: {said}.")
    # Positional arguments that were given stand before these.
    given = [*map(ast.unparse, named.args), *(f"{k}={ast.unparse(v)}" for k, v in (named.kwargs or {}).items())]
    call = ", ".join([*given, _write_values(values)])
    said, source = " ".join(known), f"{named.path}:{named.name}({call})"
    raise MissingArgumentsError(
        f"{named.name}{str(signature)[:300]} in {named.path} needs {_join(missing)}, which "
        f"{'is' if len(missing) == 1 else 'are'} not given.",
        f"{said} Write {shlex.quote(source)}.",
        said,
        source,
    )


def _write_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_write_value(value)}" for name, value in values.items())


def _write_value(value: Any) -> str:
    """Return a value in Python, with quotation marks that stand inside a shell's single ones."""
    if value is ...:
        return "..."
    return json.dumps(value) if isinstance(value, str) and value.isprintable() and value.isascii() else repr(value)


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _find_definition(found: type, named: ModuleName) -> ast.ClassDef | None:
    """Return the code of the class whose `__init__` makes the module: in the file, or where it imports the class."""
    owner = next((kind for kind in found.__mro__ if "__init__" in vars(kind)), found)
    statements: Iterable[ast.stmt] = ()
    with contextlib.suppress(InputError):
        cells = read_notebook(named.path)[0] if named.is_notebook else [read_python_file(named.path)]
        statements = [node for cell in cells for node in cell.statements]
    if (inside := find_class(statements, owner.__name__)) is not None:
        return inside[0]
    # The source may be missing, or be another one than was run.
    with contextlib.suppress(OSError, TypeError, SyntaxError, IndexError):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        return node if isinstance(node, ast.ClassDef) else None
    return None
