"""A module from a user's own Python file or notebook."""

from __future__ import annotations
import __future__

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import linecache
import logging
import multiprocessing
import os
import random
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, InputError, PocketRNNError, did_you_mean, first_line, shown
from pocketrnn_export.intake.as_given import names_read, untouched
from pocketrnn_export.intake.jupyter_names import as_in_jupyter, with_jupyters_name
from pocketrnn_export.intake.module_name import NO_VALUES, ModuleName, check_file
from pocketrnn_export.intake.needed_code import Statement, asking_for_their_name, defined_names, needed_statements
from pocketrnn_export.intake.notebook import Cell, python_file, read_notebook
from pocketrnn_export.intake.shapes_of_weights import (
    arguments_by_weights,
    class_in,
    parameters_by_weights,
    values_by_weights,
)
from pocketrnn_export.intake.weights_file import SavedWeights, load_weights
from pocketrnn_export.proof.cpu_run import quietly_on_cpu

__all__ = ["check_not_random", "load_module", "load_module_and_function"]

_log = logging.getLogger(__name__)

# Lists of lists of tensors are looked into so far.
_DEEPEST: Final = 3
# So many statements that are not run are named in a note.
_MOST_NOTES: Final = 8


# What a value on the command line may call: `--set vectors=torch.zeros(8000,300)`.
_FOR_VALUES: Final = SimpleNamespace(torch=torch, numpy=np, np=np)


def load_module(named: ModuleName, weights: SavedWeights | None = None) -> nn.Module:
    """A module that a Python file or a notebook defines, or what a class or a function in it returns.

    Of a notebook, only the statements that define the name and what it needs are run, and that is logged. A Python file
    is run whole, unless it is a script, with a loop or `with` at its top level, or that fails, such as for a package
    that only training needs: then it is read as a notebook is.

    Args:
        named: the file, the name, the arguments.
        weights: what is going to be loaded, for messages: a checkpoint can hold the arguments.

    Raises:
        InputError: there is no such name, it is no module, its arguments do not fit, or it needs what is not run.
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
            f"{named.function} in {named.path} is no function.",
            "Write def " + named.function + "(module, tokens, lengths): return module(tokens.t())",
        )
    return made, function


def check_not_random(named: ModuleName, module: nn.Module, weights: SavedWeights | None = None) -> None:
    """Refuse a module that holds numbers which are drawn when it is made: made again with another seed, it has others.

    Seeds that the user's own code sets are passed over meanwhile, since they would hide it.

    Args:
        named: how it was made.
        module: the module, with its weights.
        weights: what was loaded into it. What they do not hold, such as layers in a plain list, is looked at still.

    Raises:
        InputError: some tensor differs.

    Example:
        >>> check_not_random(named, load_module(named))
    """
    again, answer = _made_again(named, weights)
    for name, digest in _digests_of(module).items():
        if again.get(name) != digest:
            raise InputError(
                f"{named.path}:{named.name} has random weights: made twice, it has two values of {name}.",
                "Give its trained weights with --weights FILE, or ask for random ones with --random-weights."
                if weights is None
                else f"{weights.path} does not hold it: make it a parameter, a layer or a buffer, and save the weights "
                "again; or ask for random ones with --random-weights.",
            )
    own = _answer_to_a_probe(module)
    if own is not None and answer is not None and not (
        own.shape == answer.shape and np.allclose(own, answer, rtol=1e-4, atol=1e-4, equal_nan=True)
    ):  # fmt: skip
        raise InputError(
            f"{named.path}:{named.name} answers otherwise each time it is made, with the same weights: it holds what "
            "is drawn, or hangs on the time, when it is made or its file is run.",
            "Make it a plain value, or a parameter or buffer that the weights hold; or ask for random ones with "
            "--random-weights.",
        )


def _answer_to_a_probe(module: nn.Module) -> Any:
    """What a module answers to some tokens, an array; None where it is called in another way than by these, with or
    without their lengths. What forward draws is the same each time, and the module is left as it was."""
    rows = min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=2)
    tokens = torch.randint(rows, (3, 9), generator=torch.Generator().manual_seed(0))
    for arguments in ((tokens,), (tokens, torch.tensor([9, 7, 4]))):
        with contextlib.suppress(Exception, SystemExit), untouched(module), torch.no_grad(), quietly_on_cpu():
            module.eval()
            # The functions that set seeds may be passed over.
            torch.default_generator.manual_seed(0)
            np.random.set_state(np.random.RandomState(0).get_state())
            random.setstate(random.Random(0).getstate())  # noqa: S311
            answer = module(*arguments)
            while isinstance(answer, tuple | list):
                answer = answer[0]
            return answer.detach().double().numpy()
    return None


def _digests_of(module: nn.Module) -> dict[str, str]:
    """The digests of all numbers that a module holds, and of those that its code reads, by their names."""
    return {name: _digest(tensor) for name, tensor in {**_numbers_read(module), **_tensors_held(module)}.items()}


def _digest(tensor: Tensor) -> str:
    """The shape and the numbers of a tensor, as a text of one length."""
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    # Of a kind that has no plain numbers, such as a sparse one.
    except (RuntimeError, TypeError):
        content = repr(tensor).encode()
    return hashlib.sha256(repr((tensor.dtype, tuple(tensor.shape))).encode() + content).hexdigest()


def _made_again(named: ModuleName, weights: SavedWeights | None) -> tuple[dict[str, str], Any]:
    """The digests of what a module holds that is made once more, with other seeds, and its answer to a probe.

    In a process of its own: what a file does to PyTorch, such as a hook on all modules or a function wrapped in
    another, it would do a second time.

    Raises:
        InputError: it cannot be made a second time.
    """
    # Elsewhere a fork is not safe, and a new interpreter takes two seconds.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_make_again, args=(sender, named, weights), daemon=True)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        # Of threads in this process, which the new one has not. It makes a module, and uses none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = InputError(
            f"{named.path} ends the process when its code is run a second time.",
            "Give weights with --weights FILE and ask for no second time with --random-weights.",
        )
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(answer, PocketRNNError):
        raise answer
    made: tuple[dict[str, str], Any] = answer
    return made


def _make_again(sender: Any, named: ModuleName, weights: SavedWeights | None) -> None:
    """Make a module with other seeds than before, and send the digests of what it holds, or the error."""
    # Threads of the process that was forked are not there.
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    seed = int(torch.initial_seed() % 2**31) + 1
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed = torch.random.manual_seed = lambda seed: torch.default_generator  # noqa: ARG005
    np.random.seed, random.seed = (lambda *_: None), (lambda *_, **__: None)
    try:
        made = load_module(named)
        if weights is not None:
            load_weights(made, weights)
        answer: Any = _digests_of(made), _answer_to_a_probe(made)
    except PocketRNNError as error:
        answer = InputError(error.problem, error.remedy)
    # Whatever the user's code raises, the second time only.
    except BaseException as error:
        answer = InputError(
            f"{named.path} fails when its code is run a second time: {type(error).__name__}: {first_line(error)}.",
            "Let what it does at its top level stand in no file or state that it finds changed.",
        )
    sender.send(answer)


def _tensors_held(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor that a module holds: parameters, buffers, and those in its attributes, in plain lists too."""
    found: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def look(name: str, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            found.setdefault(name, value)
        elif isinstance(value, nn.Module):
            found.update((f"{name}.{inner}", tensor) for inner, tensor in _tensors_held(value).items())
        elif isinstance(value, list | tuple) and depth < _DEEPEST:
            for i, item in enumerate(value):
                look(f"{name}[{i}]", item, depth + 1)
        elif isinstance(value, dict) and depth < _DEEPEST:
            for key, item in value.items():
                look(f"{name}[{key!r}]", item, depth + 1)

    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                look(f"{path}.{name}" if path else name, value, 0)
    return found


def _numbers_read(module: nn.Module) -> dict[str, Tensor]:
    """The tensors, arrays and numbers of its file that the code of a module reads by their names."""
    found: dict[str, Tensor] = {}
    for kind in {kind for layer in module.modules() for kind in type(layer).__mro__}:
        if kind.__module__.split(".")[0] in ("torch", "builtins"):
            continue
        # What the module is made of, its weights have.
        methods = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
        waiting = [value for name, value in methods.items() if not re.match(r"_*(init|new|reset)", name)]
        met = set[int]()
        while waiting:
            function = waiting.pop()
            if id(function) in met:
                continue
            met.add(id(function))
            for name in names_read(function.__code__) & function.__globals__.keys():
                value = function.__globals__[name]
                if inspect.isfunction(value) and value.__globals__ is function.__globals__:
                    waiting.append(value)
                elif isinstance(value, Tensor | np.ndarray | int | float | list | tuple):
                    with contextlib.suppress(TypeError, ValueError, RuntimeError):
                        found[name] = torch.as_tensor(value)
    return found


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
        # What its owner ran, and an import does not.
        try:
            found = needed_statements([cell], _wanted(named), str(path), set())
        except InputError:
            _tell_what_asks(named, asking_for_their_name([cell]))
        else:
            _tell_what_is_not_run(found.alone, [])
            _tell_what_asks(named, found.asks)
    return file


def _wanted(named: ModuleName) -> list[str]:
    """What a file must define."""
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
    _log.info("Of %s only this is run, which %s needs: %s", path, named.name, told)
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
        some = "; ".join(notes[:_MOST_NOTES]) + (f"; and {len(notes) - _MOST_NOTES} more" * (len(notes) > _MOST_NOTES))
        _log.warning("Not run, though it may change what is run: %s", some)
    if unreadable:
        _log.warning("Not Python 3, and so not read: %s", ", ".join(unreadable[:10]))


def _tell_what_asks(named: ModuleName, places: Sequence[str]) -> None:
    if places:
        where = "it runs in Jupyter or Colab" if named.is_notebook else "its file is run by itself"
        _log.warning("Asks whether %s, and is answered no: %s", where, "; ".join(places[:_MOST_NOTES]))


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
