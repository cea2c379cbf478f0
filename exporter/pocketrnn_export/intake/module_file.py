"""A module from a user's own Python file or notebook."""

from __future__ import annotations
import __future__

import ast
import contextlib
import importlib.util
import inspect
import linecache
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pocketrnn.errors import ExportError, InputError, did_you_mean, first_line, shown
from pocketrnn_export.intake.module_name import NO_VALUES, ModuleName, check_file
from pocketrnn_export.intake.shapes_of_weights import (
    arguments_by_weights,
    class_in,
    parameters_by_weights,
    values_by_weights,
)
from pocketrnn_export.intake.weights_file import SavedWeights
from pocketrnn_export.progress import AFTER_AN_ERROR
from pocketrnn_export.source_code.jupyter_environment import as_in_jupyter, with_jupyters_name
from pocketrnn_export.source_code.needed_code import asking_for_their_name, defined_names, needed_statements
from pocketrnn_export.source_code.notebook import Cell, python_file, read_notebook
from pocketrnn_export.source_code.statements import Statement, statements_of

__all__ = ["load_module", "load_module_and_function", "module_after_all_cells"]

_log = logging.getLogger(__name__)

# So many notes and places are shown; the others are counted.
_MOST_NOTES: Final = 2


# The names that a value on the command line may use: `--set vectors=torch.zeros(8000,300)`.
_FOR_VALUES: Final = SimpleNamespace(torch=torch, numpy=np, np=np)


def load_module(named: ModuleName, weights: SavedWeights | None = None) -> nn.Module:
    """A module that a Python file or a notebook defines, or what a class or a function in it returns.

    Only the statements of a notebook that define the name and what it needs are run, and that is logged. A Python file
    is run whole, unless it is a script, with a loop or `with` at its top level, or fails, such as for a package that
    only training needs: then it is read like a notebook.

    Args:
        named: the file, the name, the arguments.
        weights: the weights to load afterwards, for messages: a checkpoint can hold the arguments.

    Raises:
        InputError: there is no such name, it is not a module, its arguments do not fit, or it needs what is not run.
        ExportError: the file, the class or the function raises an error.

    Example:
        >>> module = load_module(module_name("model.py:Classifier(8000, hidden=32)"))
    """
    return load_module_and_function(named, weights)[0]


def load_module_and_function(named: ModuleName, weights: SavedWeights | None = None) -> tuple[nn.Module, Any]:
    """The same, and the function of the file that says how the module is called; None where none is named.

    Raises:
        InputError, ExportError: as `load_module` does; or there is no such function.

    Example:
        >>> module, call = load_module_and_function(replace(named, function="logits_of"))
    """
    check_file(named.path)
    with _importing_from(named.path):
        file = _namespace_of(named, weights)
        made = _made(named, file, weights)
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{named.name} in {named.path} gives a {type(made).__name__}, not a torch.nn.Module.",
            "Give the name of a class derived from nn.Module, of a module, or of a function that returns one.",
        )
    if named.function is None:
        return made, None
    function = getattr(file, named.function, None)
    if not callable(function):
        raise InputError(
            f"{named.function} in {named.path} is not a function.",
            "Write def " + named.function + "(module, tokens, lengths): return module(tokens.t())",
        )
    return made, function


def module_after_all_cells(named: ModuleName, weights: SavedWeights | None = None) -> nn.Module:
    """A module as it is after all cells of its notebook have run, in order: its training, too.

    Commands of Jupyter and of the shell are left out.

    Raises:
        InputError: there is no such notebook.
        ExportError: a cell raises, or the name is no module.

    Example:
        >>> trained = module_after_all_cells(module_name("notebook.ipynb:model"))
    """
    cells, _ = read_notebook(named.path)
    with _importing_from(named.path):
        file = _empty(named.path)
        sys.modules[file.__name__] = file
        vars(file)["get_ipython"] = _NoJupyter
        values = {name: _value(node, str(named.path), vars(_FOR_VALUES)) for name, node in (named.values or {}).items()}
        with as_in_jupyter(file):
            for statement in statements_of(cells):
                _run(statement, file, cells, named)
                vars(file).update(values)
        made = _made(named, file, weights)
    if not isinstance(made, nn.Module):
        raise ExportError(f"{named.name} in {named.path} gives no torch.nn.Module.", "Name a module, or its class.")
    return made


class _NoJupyter:
    """Stands for Jupyter where its commands are left out: all of them give nothing."""

    def __getattr__(self, command: str) -> Callable[..., list[str]]:
        return lambda *_, **__: []


@contextmanager
def _importing_from(path: Path) -> Iterator[None]:
    """While the block runs, imports look in the file's folder first, and in the working folder; and a file that parses
    the command line finds no options: those that are there are for the export."""
    folders = list(dict.fromkeys([str(path.absolute().parent), str(Path.cwd())]))
    sys.path[:0] = folders
    here, options = Path.cwd(), sys.argv
    sys.argv = [str(path)]
    try:
        yield
    finally:
        sys.argv = options
        # The user's code may go elsewhere, and the paths of the command line are meant from here.
        os.chdir(here)
        for folder in folders:
            if folder in sys.path:
                sys.path.remove(folder)


def _namespace_of(named: ModuleName, weights: SavedWeights | None) -> ModuleType:
    """The file as a module that has been run, whole or as far as it is needed."""
    path = named.path
    if named.is_notebook:
        cells, unreadable = read_notebook(path)
        return _run_needed(named, cells, unreadable, weights)
    if named.values:
        return _run_needed(named, [python_file(path)], [], weights)
    try:
        cell = python_file(path)
    except InputError:
        # Whether it is missing or no Python, importing it says so better.
        cell = None
    if cell is not None and any(isinstance(node, ast.For | ast.While | ast.With) for node in cell.statements):
        # A script, which would begin to train.
        return _run_needed(named, [cell], [], weights)
    file = _empty(path)
    spec = importlib.util.spec_from_file_location(file.__name__, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.", "Give the Python file that defines the module.")
    try:
        file = sys.modules[file.__name__] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(file)
    # Whatever a user's code raises, a call of sys.exit included.
    except (Exception, SystemExit) as error:
        problem = f"{path} cannot be imported; it raises {_said(error)}"
        if cell is None or named.name not in defined_names([cell]):
            raise ExportError(problem, "Run it with Python by itself, and correct it.") from error
        _log.warning("%s", problem.removesuffix("."))
        return _run_needed(named, [cell], [], weights)
    for name in _wanted(named):
        if not hasattr(file, name):
            names = [known for known, value in vars(file).items() if _can_be_named(value, file)]
            raise _no_such_name(path, name, names, [])
    if cell is not None:
        # Code that its owner ran, and an import does not.
        try:
            found = needed_statements([cell], _wanted(named), str(path), set())
        except InputError:
            _tell_what_asks(named, asking_for_their_name([cell]))
        else:
            _tell_what_is_not_run(found.alone, [])
            _tell_what_asks(named, found.asks)
    return file


def _wanted(named: ModuleName) -> list[str]:
    """The names that a file must define."""
    return [named.name, *([named.function] if named.function else [])]


def _run_needed(
    named: ModuleName, cells: list[Cell], unreadable: list[str], weights: SavedWeights | None
) -> ModuleType:
    """The namespace of the statements that define a name and what it needs."""
    path = named.path
    values = {name: _value(node, str(path), vars(_FOR_VALUES)) for name, node in (named.values or {}).items()}
    known = defined_names(cells)
    for name in _wanted(named):
        if name not in known:
            raise _no_such_name(path, name, known, unreadable)
    arguments = (*named.args, *(named.kwargs or {}).values())
    in_arguments = {n.id for node in arguments for n in ast.walk(node) if isinstance(n, ast.Name)}
    statements = [node for cell in cells for node in cell.statements]
    tensors = {} if weights is None else weights.tensors
    likely = values_by_weights([node for node in statements if isinstance(node, ast.ClassDef)], tensors)
    try:
        found = needed_statements(cells, [*_wanted(named), *sorted(in_arguments)], str(path), values.keys(), likely)
    except InputError as error:
        instead = _class_instead(named, cells, weights)
        raise InputError(error.problem, f"{error.remedy}{instead}") from None
    needed = found.statements
    by_cell: dict[str, list[str]] = {}
    for statement in needed:
        by_cell.setdefault(statement.where, []).append(statement.title)
    told = "; ".join(f"{cell}: {', '.join(titles)}" for cell, titles in by_cell.items())
    _log.info("Only the code of %s that %s needs is run: %s", path, named.name, told)
    _tell_what_is_not_run(found.notes, unreadable)
    _tell_what_asks(named, found.asks)
    file = _empty(path)
    sys.modules[file.__name__] = file
    vars(file).update(values)
    with as_in_jupyter(file) if named.is_notebook else contextlib.nullcontext():
        for statement in needed:
            _run(statement, file, cells, named)
            vars(file).update(values)
    return file


def _class_instead(named: ModuleName, cells: Sequence[Cell], weights: SavedWeights | None) -> str:
    """Where a name stands for an object that needs what is not run, and its class does not: to name the class."""
    found = class_in((node for cell in cells for node in cell.statements), named.name)
    if weights is None or found is None or found[1] is None:
        return ""
    definition = found[0]
    try:
        needed_statements(cells, [definition.name], str(named.path), frozenset())
    except InputError:
        return ""
    given = arguments_by_weights(definition, found[1], weights.tensors)
    if given is None:
        return ""
    sizes = " The sizes are those of the weights." * bool(parameters_by_weights(definition, weights.tensors))
    return f" Or name its class: {shlex.quote(f'{named.path}:{definition.name}({given})')}.{sizes}"


def _tell_what_is_not_run(notes: Sequence[str], unreadable: Sequence[str]) -> None:
    if notes:
        _log.warning("Not run, though it may change what is run: %s", _few(notes), extra=AFTER_AN_ERROR)
    if unreadable:
        _log.warning("Not Python 3, and so not read: %s", _few(unreadable, 10, ", "), extra=AFTER_AN_ERROR)


def _tell_what_asks(named: ModuleName, places: Sequence[str]) -> None:
    if places:
        where = "it runs in Jupyter or Colab" if named.is_notebook else "its file is run by itself"
        _log.warning("Asks whether %s, and is answered no: %s", where, _few(places), extra=AFTER_AN_ERROR)


def _few(said: Sequence[str], most: int = _MOST_NOTES, between: str = "; ") -> str:
    more = f"{between}and {len(said) - most} more" if len(said) > most else ""
    return between.join(said[:most]) + more


def _run(statement: Statement, file: ModuleType, cells: Sequence[Cell], named: ModuleName) -> None:
    cell, path, name = statement.cell, named.path, named.name
    # So that a traceback, and a refusal by line, can show the line. Without a time, it is never looked up on a disk.
    linecache.cache[cell.file] = (len(cell.source), None, cell.source.splitlines(keepends=True), cell.file)
    later = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        for one in cells
        for node in one.statements
    )
    flags = __future__.annotations.compiler_flag if later else 0
    node = with_jupyters_name(statement.node) if cell.name else statement.node
    code = compile(ast.Module([node], []), cell.file, "exec", flags, dont_inherit=True)
    try:
        exec(code, vars(file))  # noqa: S102 - the user's own code, which he asks to export
    except ImportError as error:
        raise ExportError(
            f"{statement.where} of {path} runs `{statement.title}`, which raises {_said(error)}",
            f"Write a file beside the folder {path.absolute().parent.name} with the line `from "
            f"{path.absolute().parent.name}.{path.stem} import {name}`, and name it there."
            if getattr(statement.node, "level", 0)
            else "Install that package, or copy the class to a Python file without it.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"{statement.where} of {path} runs `{statement.title}`, which raises {_said(error)}",
            "Correct it, or copy the class to a Python file.",
        ) from error


def _empty(path: Path) -> ModuleType:
    # Under its own name, as messages and pickles have it, but for a notebook, beside which a file may have that name.
    name = f"{path.stem}_ipynb" if path.suffix == ".ipynb" else path.stem
    taken = name in sys.modules or not name.isidentifier()
    file = ModuleType(f"exported_{abs(hash(path))}" if taken else name)
    file.__file__, file.__package__ = str(path), ""
    return file


def _made(named: ModuleName, file: ModuleType, weights: SavedWeights | None) -> Any:
    """The module: what the name stands for, or what it returns when it is called with the arguments."""
    found = getattr(file, named.name, None)
    if isinstance(found, nn.Module):
        if named.args or named.kwargs:
            raise InputError(f"{named.name} in {named.path} is a module already.", "Name it without arguments.")
        return found
    where = f"{named.path}:{named.name}"
    args = [_value(node, str(named.path), vars(file)) for node in named.args]
    kwargs = {name: _value(node, str(named.path), vars(file)) for name, node in (named.kwargs or {}).items()}
    if callable(found):
        _check_arguments(found, args, kwargs, named, weights)
    try:
        return found(*args, **kwargs)  # type: ignore[misc]  # what cannot be called says so
    # Whatever a user's code raises, a call of sys.exit included.
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"{named.path}: {named.name} raises {_said(error)}",
            f"Give its arguments, as in {where}(8000, dim=64), or a function that takes none.",
        ) from error


def _check_arguments(
    found: Any, args: Sequence[Any], kwargs: Mapping[str, Any], named: ModuleName, weights: SavedWeights | None
) -> None:
    """Refuse arguments that do not fit, with all that is known of the right ones."""
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        sizes = _sizes_of(named, weights)
        required = [
            f"{name}={sizes.get(name, '...')}"
            for name, parameter in signature.parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        remedy = f'Write "{named.path}:{named.name}({", ".join(required)})", in quotes.'
        if weights is not None:
            said = ", ".join(f"{name}={value!r}" for name, value in list(weights.arguments.items())[:20])
            remedy += f" {weights.path} begins with: {weights.beginning}"
            remedy += f"; and it was made with: {said}." if said else "."
        raise InputError(
            f"{named.name}{str(signature)[:300]} in {named.path}: {first_line(error)}.",
            remedy,
        ) from None


def _sizes_of(named: ModuleName, weights: SavedWeights | None) -> dict[str, int]:
    """Those parameters of a class of a file whose values the weights show."""
    if weights is None:
        return {}
    with contextlib.suppress(InputError):
        cells = read_notebook(named.path)[0] if named.is_notebook else [python_file(named.path)]
        found = class_in((node for cell in cells for node in cell.statements), named.name)
        if found is not None:
            return parameters_by_weights(found[0], weights.tensors)
    return {}


def _value(node: ast.expr, path: str, names: Mapping[str, Any]) -> Any:
    """The value of an argument, which may name, read and call what the file defines."""

    def of(part: ast.expr) -> Any:
        if isinstance(part, ast.Name):
            if part.id not in names:
                raise InputError(f"The arguments name {part.id}, which {path} does not define.", NO_VALUES)
            return names[part.id]
        if isinstance(part, ast.Attribute):
            return getattr(of(part.value), part.attr)
        if isinstance(part, ast.Call):
            return of(part.func)(*map(of, part.args), **{str(k.arg): of(k.value) for k in part.keywords})
        if isinstance(part, ast.List | ast.Tuple | ast.Set):
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(part)]
            return kind(map(of, part.elts))
        if isinstance(part, ast.Dict):
            return {of(key): of(value) for key, value in zip(part.keys, part.values, strict=True) if key is not None}
        return ast.literal_eval(part)

    try:
        return of(node)
    except InputError:
        raise
    # Whatever the user's code raises.
    except (Exception, SystemExit) as error:
        raise InputError(f"The argument {shown(ast.unparse(node))} raises {_said(error)}", NO_VALUES) from error


def _can_be_named(value: Any, file: ModuleType) -> bool:
    """Whether a value of a file makes a module or is one, and is the file's own."""
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, type):
        return issubclass(value, nn.Module)
    return inspect.isfunction(value) and value.__module__ == file.__name__


def _no_such_name(path: Path, name: str, known: Sequence[str], unreadable: Sequence[str]) -> InputError:
    remedy = [did_you_mean(name, known)]
    remedy += [f"It defines: {', '.join(known[:20])}{', ...' if len(known) > 20 else '.'}"] if known else []
    remedy += [f"Not Python 3, and so not read: {', '.join(unreadable[:10])}."] if unreadable else []
    said = " ".join(filter(None, remedy)) or "Give the name of a class or a module in it."
    return InputError(f"{path} defines no {name}.", said)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}."
