"""Load a module from a user's Python file or notebook."""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import importlib.util
import inspect
import linecache
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn

from pocketrnn.bundle.names_from_paths import choose_import_name
from pocketrnn.errors import ExportError, InputError, first_line, short_repr, suggest_similar_name
from pocketrnn_export.intake.arguments_from_weights import (
    find_code_of_global_values,
    find_parameter_values,
    write_arguments_as_plain_values,
)
from pocketrnn_export.intake.file_existence_check import check_file_exists
from pocketrnn_export.intake.folder_of_opened_files import call_where_files_are
from pocketrnn_export.intake.import_folders import add_import_folders_and_hide_options, import_package_of_file
from pocketrnn_export.intake.missing_constructor_arguments import (
    MissingArgumentsError,
    find_arguments_by_trial,
    find_values_for_missing_arguments,
    write_arguments,
)
from pocketrnn_export.intake.module_name_with_arguments import NO_VALUES, ModuleName
from pocketrnn_export.intake.settings_objects import define_and_correct_settings_of_file, find_settings_of_file
from pocketrnn_export.intake.weights_file import SavedWeights, has_tensors_of_weights
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.progress import AFTER_AN_ERROR
from pocketrnn_export.source_code.class_definitions import (
    find_class_and_call_that_instantiates_name,
    find_imported_class_of_object,
)
from pocketrnn_export.source_code.needed_code import (
    NeededNamesError,
    find_needed_statements,
    list_defined_names,
    list_statements_that_check_dunder_name,
)
from pocketrnn_export.source_code.notebook import (
    Cell,
    pretend_jupyter,
    read_notebook,
    read_python_file,
    read_python_statements_if_readable,
    replace_dunder_name_by_main,
)
from pocketrnn_export.source_code.syntax_tree_parts import find_methods
from pocketrnn_export.source_code.text_function_in_own_file import list_read_attributes
from pocketrnn_export.source_code.text_settings_in_code import find_word_ids_in_code
from pocketrnn_export.source_code.top_level_statements import Statement, list_top_level_statements
from pocketrnn_export.source_code.values_of_call_arguments import find_attribute_values
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER
from pocketrnn_export.vocabularies.words_as_vocabulary_object import WordIds, is_used_as_vocabulary, is_vocabulary_name

_log = logging.getLogger(__name__)

# The most notes and places that are shown; the others are counted.
_MOST_NOTES: Final = 2
# The names that a value on the command line may use: `--set vectors=torch.zeros(8000,300)`.
_FOR_VALUES: Final = SimpleNamespace(torch=torch, numpy=np, np=np)


def load_module(named: ModuleName, weights: SavedWeights | None = None) -> nn.Module:
    """Load a module from a Python file or notebook, which defines the module itself or a class or function that makes
    it.

    From a notebook, only the statements that define the name, directly or indirectly, are run, and they are logged. A
    Python file is run whole, with two exceptions in which it is treated like a notebook: it has a loop or `with` at its
    top level, as a training script does; or it fails, for example on a package that only the training needs.

    Args:
        named: the file, the name and the arguments.
        weights: the weights to load afterwards. Missing arguments may be taken from them, and messages name the sizes
            that they show.

    Raises:
        InputError: the file does not define the name; the name is not a module; its arguments do not fit; or it needs a
            statement that is not run.
        ExportError: the file, the class or the function raises an error.
    """
    return load_module_and_call_function(named, weights)[0]


def load_module_and_call_function(named: ModuleName, weights: SavedWeights | None = None) -> tuple[nn.Module, Any]:
    """Load the module, and the function in its file that the user named to call the module. Return a tuple (module,
    function); the function is None if the user named none.

    Raises:
        InputError, ExportError: the module cannot be loaded, or the file does not define the function.
    """
    check_file_exists(named.path)
    with add_import_folders_and_hide_options(named.path):
        try:
            file = _run_file(named, weights)
        except NeededNamesError as error:
            settings = find_settings_of_file(named.path, [*error.made_by], weights)
            if not settings:
                raise
            # The code of an object is not needed where the object is given.
            values: dict[str, Any] = {name: ast.Constant(one) for name, one in settings.items()}
            file = _run_file(replace(named, values={**values, **(named.values or {})}), weights)
        define_and_correct_settings_of_file(file, named.path, weights)
        made = _make_module(named, file, weights)
    if named.function is None:
        return made, None
    function = getattr(file, named.function, None)
    if not callable(function):
        raise InputError(
            f"{named.function} in {named.path} must be a function that calls the module, but it is not a function.",
            f"Define it in the file: def {named.function}(module, tokens, lengths): return module(tokens.t()).",
        )
    return made, function


def set_values_of_vocabulary_and_weights(
    named: ModuleName, error: InputError, tokens: Sequence[str], left_out: Iterable[tuple[str, int]] = ()
) -> ModuleName:
    """Find values for names or arguments that a module needs and that have no value yet. They are found in the
    vocabulary, which the file may use for them, or in the weights. Return `named` with these values added.

    Args:
        error: the error of an earlier try to load the module. It has the names or the arguments.
        tokens: the words of the vocabulary, in the order of their ids.
        left_out: words that the vocabulary leaves out, with the ids that its source gives them.

    Raises:
        InputError: no value is found; this is `error` itself.
    """
    words = WordIds({token: i for i, token in enumerate(tokens) if not token.startswith(PLACEHOLDER)})
    words.update(left_out)
    if isinstance(error, MissingArgumentsError):
        # A caller tries again with each new value: a value that did not help ends that.
        if not words or {*error.vocabularies} <= {*(named.kwargs or {})}:
            raise error
        _log.warning("%s gets the words of --vocabulary as %s", named.name, ", ".join(error.vocabularies))
        arguments: dict[str, Any] = {name: ast.Constant(words) for name in error.vocabularies}  # type: ignore[arg-type]
        return replace(named, kwargs={**(named.kwargs or {}), **arguments})
    if not isinstance(error, NeededNamesError):
        raise error
    code = {**error.made_by, **error.made_from}
    ids = find_word_ids_in_code(code, tokens)
    made = [ast.parse(text) for text in code.values()]
    used = {*code, *(one.id for tree in made for one in ast.walk(tree) if isinstance(one, ast.Name))}
    statements = read_python_statements_if_readable(named.path)
    # Other code makes the vocabulary.
    uses = [*(one for one in statements if isinstance(one, ast.ClassDef)), *map(ast.parse, error.made_from.values())]
    given = {*ids, *(named.values or {})}
    held = [one for one in sorted(used - given) if words and is_used_as_vocabulary(uses, one)]
    likely = {name: text for name, text in error.likely.items() if name.partition(".")[0] not in {*ids, *held}}
    if {*ids, *held, *likely} <= {*(named.values or {})}:
        raise error
    told = [f"the words of --vocabulary as {', '.join(held)}"] if held else []
    for values_by_name, why in ((ids, "by the words of the vocabulary"), (likely, "by the weights")):
        said = ", ".join(f"{name} = {value}" for name, value in values_by_name.items())
        told += [f"{said}, {why}"] if said else []
    _log.warning("%s gets %s", named.path, "; ".join(told))
    values: dict[str, Any] = {name: ast.Constant(number) for name, number in ids.items()}
    values |= {name: ast.Constant(words) for name in held}  # type: ignore[arg-type]
    values |= {name: ast.parse(text, mode="eval").body for name, text in likely.items()}
    return replace(named, values={**values, **(named.values or {})})


def load_text_function(
    named: ModuleName,
    words_file: str = "",
    ids_of_words: Mapping[str, int] | None = None,
    module_file: Path | None = None,
    saved_attributes: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[..., Any]:
    """Load a function that takes a text, such as a tokenizer, from a Python file or notebook.

    Args:
        named: the file, and the name of a function, of an object that can be called, or of a method. The function gets
            the arguments in `named` after the text. For a method, its class gets them; an argument of the class with a
            name like `vocab` gets `ids_of_words`.
        words_file, ids_of_words: the name of a vocabulary file, and the ids of its words. Where the code opens this
            file to make a variable, the variable gets these ids, and that code is not run.
        module_file: the file of the module. The function's file may also import from its folders.
        saved_attributes: the attributes of a saved object of the class. They replace those of the new object.

    Raises:
        InputError: the file does not define the name, or the name is not a function.
        ExportError: the file raises an error.
    """
    check_file_exists(named.path)
    with add_import_folders_and_hide_options(named.path, [] if module_file is None else [module_file]):
        try:
            file = _run_file(named, None)
        except NeededNamesError as error:
            read = [name for name, code in error.made_by.items() if words_file and words_file in code]
            if not read:
                raise _say_that_text_function_needs_names(named, error) from None
            _log.warning("%s of %s is used as a dict from the words of %s to their ids", ", ".join(read), named.path,
                         words_file)  # fmt: skip
            # Parsing the code of a large dict would take seconds.
            made = {name: ast.Constant(dict(ids_of_words or {})) for name in read}  # type: ignore[arg-type]
            file = _run_file(replace(named, values={**(named.values or {}), **made}), None)
        found = getattr(file, named.name, None)
        args, kwargs = _evaluate_arguments(named, file)
        if isinstance(found, type) and not issubclass(found, str):
            found = _make_text_object(found, named, args, kwargs, ids_of_words or {}, saved_attributes)
            args, kwargs = [], {}
        if named.method:
            found = getattr(found, named.method, None)
            kwargs = {**kwargs, **_evaluate_by_name(named.method_kwargs, named, file)}
    where = str(named)
    if not callable(found):
        raise InputError(
            f"{where} is not a function.",
            "Name a function that takes a text and returns its tokens or ids.",
        )
    if args:
        raise InputError(
            f"The arguments of {where} are given without names.", f"Write each as name=value: {where}(most=200)."
        )
    return functools.partial(found, **kwargs) if kwargs else found


def _say_that_text_function_needs_names(named: ModuleName, error: NeededNamesError) -> NeededNamesError:
    """Return the same error with a message that says that the text function needs these names, and not the module. The
    option `--set`, which the other message proposes, gives values only to names that the module needs."""
    remedy = error.remedy
    if remedy.startswith("Give plain values on the command line"):
        remedy = (
            f"--set gives values to the module only. Copy the lines of {named.name} that make tokens or ids of a text "
            "to a function in a Python file of its own, and name that: file.py:encode."
        )
    problem = f"{named}, which takes texts, cannot be loaded. {error.problem}"
    return NeededNamesError(problem, remedy, error.made_by, error.made_from)


def _make_text_object(
    made: type,
    named: ModuleName,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ids_of_words: Mapping[str, int],
    saved_attributes: Mapping[str, Any],
) -> Any:
    """Make an object of the user's class, one of whose methods takes a text. The object gets the attributes of a saved
    object, and a vocabulary that lacks words is replaced by one with all words. If arguments of the class are unknown,
    the object is made without a call of `__init__`, and gets only the attributes that the method reads. Raise an
    InputError if one of these attributes is unknown, too."""
    missing: list[str] = []
    read = list_read_attributes(named.path, named.name, named.method or "__call__")
    try:
        signature = inspect.signature(made)
        given = signature.bind_partial(*args, **kwargs).arguments
        plain = [one for one in signature.parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
        missing = [one.name for one in plain if one.default is one.empty and one.name not in given]
        held = {one: WordIds(ids_of_words) for one in missing if is_vocabulary_name(one)}
        settings = find_values_for_missing_arguments(made, args, {**kwargs, **held}, named, None)
        found: Any = made(*args, **kwargs, **held, **settings)
        defaults = {one.name: one.default for one in plain if one.name not in {**given, **held, **settings}}
    # A user's code may raise any exception.
    except Exception as error:
        words: dict[str, Any] = {one: WordIds(ids_of_words) for one in read or () if is_vocabulary_name(one)}
        plain_values = find_attribute_values(named.path, named.name, [one for one in read or () if one not in words])
        words |= plain_values
        unknown = {
            one: line
            for one, line in (read or {}).items()
            if one not in {**words, **saved_attributes} and not hasattr(made, one)
        }
        refused = _make_text_object_error(named, missing, error, unknown)
        # An `__init__` that fails may have changed more than the object.
        if read is None or unknown or not isinstance(error, MissingArgumentsError):
            raise refused from None
        try:
            found, defaults = cast("Any", made).__new__(made), {}
            found.__dict__.update(words)
        # A class with slots or with a `__new__` of its own.
        except Exception:
            raise refused from None
        read_ones = [f"{one}={plain_values[one]!r}" if one in plain_values else one for one in read]
        known = f", but with {', '.join(read_ones)}" if read_ones else ""
        _log.warning("%s of %s is made without __init__%s, as %s reads no more", named.name, named.path, known, named)
    changed = getattr(found, "__dict__", {})
    changed.update({} if args or kwargs else saved_attributes)
    _complete_vocabularies(changed, named, ids_of_words)
    if taken := {
        name: value for name, value in defaults.items() if name in (read or ()) and changed.get(name) == value
    }:
        written = ", ".join(f"{name}={value!r}" for name, value in taken.items())
        _log.warning(
            "%s of %s is made with %s, by default. If your classifier has others, give them: --tokenizer '%s:%s(%s)%s'",
            named.name, named.path, written, named.path, named.name, written, f".{named.method}" * bool(named.method),
        )  # fmt: skip
    return found


def _complete_vocabularies(attributes: dict[str, Any], named: ModuleName, ids_of_words: Mapping[str, int]) -> None:
    """Replace each vocabulary among the attributes of a user's object that lacks some of the words, and log this. The
    new vocabulary has all words."""
    for name, value in attributes.items():
        if is_vocabulary_name(name) and isinstance(value, dict) and ids_of_words.keys() - value.keys():
            _log.warning(
                "%s.%s of %s lacks words of the vocabulary, and is replaced by all of them",
                named.name, name, named.path,
            )  # fmt: skip
            attributes[name] = WordIds(ids_of_words)


def _make_text_object_error(
    named: ModuleName, missing: Sequence[str], error: Exception, unknown_attributes: Mapping[str, int]
) -> InputError:
    """Make the error for a tokenizer class that no object can be made of, because arguments are missing or its code
    raises an exception. The message names the missing arguments, and those attributes that the method reads and whose
    values are unknown."""
    problem = f"{named.name} of {named.path} raises {_describe_error(error)}"
    if isinstance(error, MissingArgumentsError):
        problem = f"{named.name} of {named.path} is not made without {', '.join(missing)}."
    where = [f"self.{name} in line {line}" for name, line in unknown_attributes.items()]
    read = f"{named.name}.{named.method or '__call__'} reads {', '.join(where)}. " if where else ""
    called = f"{named.name}({', '.join(f'{one}=...' for one in missing)})"
    method = f".{named.method}" if named.method else ""
    return InputError(
        problem,
        f"{read}Give its arguments, --tokenizer '{named.path}:{called}{method}'. Or write a file split.py beside it, "
        f"from {named.path.stem} import {named.name}; made = {called}; def words(text): return made{method}(text), and "
        "give --tokenizer split.py:words.",
    )


def run_all_cells(named: ModuleName, weights: SavedWeights | None = None) -> nn.Module:
    """Run all cells of a notebook in order, including the training, and return the module. Jupyter and shell commands
    are left out.

    Raises:
        InputError: the notebook does not exist, or the name is not that of a module.
        ExportError: a cell raises an exception.
    """
    cells, _ = read_notebook(named.path)
    with add_import_folders_and_hide_options(named.path):
        file = _make_empty_python_module(named.path)
        sys.modules[file.__name__] = file
        vars(file)["get_ipython"] = _JupyterStandIn
        values = _evaluate_values_for_names(named)
        with pretend_jupyter(file):
            for statement in list_top_level_statements(cells):
                _run_statement(statement, file, cells, named)
                vars(file).update(values)
        return _make_module(named, file, weights)


class _JupyterStandIn:
    """A stand-in for IPython's shell in a notebook that is run without Jupyter. Each Jupyter command returns an empty
    list."""

    def __getattr__(self, command: str) -> Callable[..., list[str]]:
        return lambda *_, **__: []


def _run_file(named: ModuleName, weights: SavedWeights | None) -> ModuleType:
    """Run the whole file, or only the statements that the wanted names need. Return a Python module that has these
    names."""
    path = named.path
    if named.is_notebook:
        cells, unreadable = read_notebook(path)
        return _run_needed_statements(named, cells, unreadable, weights)
    if named.values:
        return _run_needed_statements(named, [read_python_file(path)], [], weights)
    try:
        cell = read_python_file(path)
    except InputError:
        # If it is missing or not Python, the import below raises a better error.
        cell = None
    if cell is not None and any(isinstance(node, ast.For | ast.While | ast.With) for node in cell.statements):
        # A script, which would begin to train.
        return _run_needed_statements(named, [cell], [], weights)
    file = _make_empty_python_module(path)
    spec = importlib.util.spec_from_file_location(file.__name__, path)
    if spec is None or spec.loader is None:
        raise InputError(
            f"{path} cannot be imported: it is not a Python file.", "Give the .py file that defines the module."
        )
    try:
        file = sys.modules[file.__name__] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(file)
    # A user's code may raise any exception, and call sys.exit.
    except (Exception, SystemExit) as error:
        problem = f"{path} cannot be imported; it raises {_describe_error(error)}"
        opened = error.filename if isinstance(error, FileNotFoundError) else None
        if isinstance(opened, str) and (beside := path.parent / opened).exists():
            problem = f"{problem} It lies at {beside}, and a relative name is looked for in the working folder."
        if cell is None or named.name not in list_defined_names([cell]):
            raise ExportError(problem, "Run the file with Python, and correct the errors that Python shows.") from error
        _refuse_missing_library(error, problem, named, cell)
        _log.warning("%s", problem.removesuffix("."))
        try:
            return _run_needed_statements(named, [cell], [], weights)
        except NeededNamesError as needed:
            if not isinstance(error, FileNotFoundError):
                raise
            # The names that are needed may be made from the file.
            file = sys.modules[file.__name__] = importlib.util.module_from_spec(spec)
            _import_where_files_are(spec.loader, file, path, needed)
    for name in _list_wanted_names(named):
        if not hasattr(file, name):
            names = [known for known, value in vars(file).items() if _is_module_or_maker(value, file)]
            raise _make_no_such_name_error(path, name, names, [])
    if cell is not None:
        # An import does not run code under `__main__`.
        try:
            found = find_needed_statements([cell], _list_wanted_names(named), str(path), set())
        except InputError:
            _warn_of_checks_for_jupyter_or_main(named, list_statements_that_check_dunder_name([cell]))
        else:
            _warn_of_code_not_run(found.alone, [])
            _warn_of_checks_for_jupyter_or_main(named, found.asks)
    return file


def _import_where_files_are(loader: Any, file: ModuleType, path: Path, needed: NeededNamesError) -> None:
    """Run a whole file again, in the folder that its relative paths refer to. If it fails again, raise `needed`, the
    error of the first run."""
    try:
        call_where_files_are(lambda: loader.exec_module(file), path, str(path))
    except InputError:
        raise
    # A user's code may raise any exception, and call sys.exit.
    except (Exception, SystemExit):
        raise needed from None


def _refuse_missing_library(error: BaseException, problem: str, named: ModuleName, cell: Cell) -> None:
    """Raise an ExportError that says to install a library, if importing it failed and a wanted name needs it in a
    statement that is not run by itself, such as `nlp = spacy.load("en_core_web_sm")`. Otherwise, do nothing."""
    library = str(getattr(error, "name", "")).partition(".")[0]
    if not isinstance(error, ModuleNotFoundError):
        return
    try:
        find_needed_statements([cell], _list_wanted_names(named), str(named.path), set())
    except NeededNamesError as needed:
        made = "\n".join((*needed.made_by.values(), *needed.made_from.values()))
        imports = [one for one in cell.statements if isinstance(one, ast.Import | ast.ImportFrom)]
        own = [one for one in imports if re.search(rf"\b{re.escape(library)}\b", ast.unparse(one))]
        if any(re.search(rf"\b{re.escape(name.asname or name.name)}\b", made) for one in own for name in one.names):
            raise ExportError(
                problem,
                f"The module needs {library}. Install it, or add its folder to the environment variable PYTHONPATH.",
            ) from error
    except InputError:
        return


def _list_wanted_names(named: ModuleName) -> list[str]:
    """Return the names that the file must define: the name of the module, and the name of the function that calls the
    module, if the user gave one."""
    return [named.name, *([named.function] if named.function else [])]


def _run_needed_statements(
    named: ModuleName, cells: list[Cell], unreadable: list[str], weights: SavedWeights | None
) -> ModuleType:
    """Run only the statements that the wanted names need. Return a Python module that has the names these statements
    define."""
    path = named.path
    values = _evaluate_values_for_names(named)
    known = list_defined_names(cells)
    for name in _list_wanted_names(named):
        if name not in known:
            raise _make_no_such_name_error(path, name, known, unreadable)
    arguments = (*named.args, *(named.kwargs or {}).values(), *(named.method_kwargs or {}).values())
    in_arguments = {n.id for node in arguments for n in ast.walk(node) if isinstance(n, ast.Name)}
    statements = [node for cell in cells for node in cell.statements]
    tensors = {} if weights is None else weights.tensors
    likely = find_code_of_global_values([node for node in statements if isinstance(node, ast.ClassDef)], tensors)
    try:
        found = find_needed_statements(
            cells, [*_list_wanted_names(named), *sorted(in_arguments)], str(path), values.keys(), likely, [named.method]
        )
    except InputError as error:
        instead = _suggest_class(named, cells, weights)
        if in_arguments and _are_needed_statements_safe(named, cells, _list_wanted_names(named), values.keys()):
            # It is a name in the arguments that needs more.
            raise InputError(
                error.problem,
                f"Write plain values, such as numbers, in place of {', '.join(sorted(in_arguments & {*known}))}"
                ""
                f"{instead or ('.' if weights else '. With --weights FILE, its sizes are proposed.')}",
            ) from None
        code = (error.made_by, error.made_from, error.likely) if isinstance(error, NeededNamesError) else ({}, {}, {})
        raise NeededNamesError(error.problem, f"{error.remedy}{instead}", *code) from None
    needed = found.statements
    by_cell: dict[str, list[str]] = {}
    for statement in needed:
        by_cell.setdefault(statement.cell_or_line, []).append(statement.title)
    told = "; ".join(f"{cell}: {', '.join(titles)}" for cell, titles in by_cell.items())
    counted = " (cells of text are counted, and [n] is the number in Jupyter)" if named.is_notebook else ""
    _log.info("Only the code of %s that %s needs is run%s: %s", path, named.name, counted, told)
    _warn_of_code_not_run(found.notes, unreadable)
    _warn_of_checks_for_jupyter_or_main(named, found.asks)
    file = _make_empty_python_module(path)
    sys.modules[file.__name__] = file
    vars(file).update(values)
    with pretend_jupyter(file) if named.is_notebook else contextlib.nullcontext():
        for statement in needed:
            _run_statement(statement, file, cells, named, likely)
            vars(file).update(values)
    return file


def _evaluate_values_for_names(named: ModuleName) -> dict[str, Any]:
    """Evaluate the values that the user gives to names of the file by --set. A value for a name with a dot, such as
    `config.vocab`, becomes the attribute `vocab` of an object `config`."""
    values: dict[str, Any] = {}
    for name, node in (named.values or {}).items():
        first, *parts = name.split(".")
        value = _evaluate_argument(node, str(named.path), vars(_FOR_VALUES))
        if not parts:
            values[first] = value
            continue
        holder = values.setdefault(first, SimpleNamespace())
        for part in parts[:-1]:
            if not hasattr(holder, part):
                setattr(holder, part, SimpleNamespace())
            holder = getattr(holder, part)
        setattr(holder, parts[-1], value)
    return values


def _are_needed_statements_safe(
    named: ModuleName, cells: Sequence[Cell], names: Sequence[str], known_values: Set[str]
) -> bool:
    """Return whether all statements that define `names`, directly or indirectly, are safe to run by themselves."""
    try:
        find_needed_statements(cells, names, str(named.path), known_values)
    except InputError:
        return False
    return True


def _suggest_class(named: ModuleName, cells: Sequence[Cell], weights: SavedWeights | None) -> str:
    """Return advice to give the class and not an object of it, if only the object needs code that is not run.
    Otherwise, return an empty string."""
    statements = [node for cell in cells for node in cell.statements]
    found = find_class_and_call_that_instantiates_name(statements, named.name)
    keywords = [ast.keyword(name, value) for name, value in (named.kwargs or {}).items()]
    is_class = found is not None and found[1] is None and bool(named.args or keywords)
    if found is not None and is_class:
        found = found[0], ast.Call(ast.Name(named.name), [*named.args], keywords)
    if weights is None or found is None or found[1] is None:
        imported = find_imported_class_of_object(statements, named.name, named.path)
        return "" if imported is None else f" Or name its class: {shlex.quote(':'.join(map(str, imported)))}."
    definition = found[0]
    if not _are_needed_statements_safe(named, cells, [definition.name], frozenset()):
        return ""
    given = write_arguments_as_plain_values(definition, found[1], weights.tensors)
    if given is None:
        return ""
    sizes = " The sizes are those of the weights." * bool(find_parameter_values(definition, weights.tensors))
    before = ":" if is_class else " Or name its class:"
    return f"{before} {shlex.quote(f'{named.path}:{definition.name}({given})')}.{sizes}"


def _warn_of_code_not_run(notes: Sequence[str], unreadable: Sequence[str]) -> None:
    """Log those statements that are not run but may matter, and the cells that are not valid Python 3."""
    if notes:
        _log.warning(
            "These statements are not run, but may change the code that is run: %s",
            _join_first_notes(notes),
            extra={AFTER_AN_ERROR: ""},
        )
    if unreadable:
        _log.warning(
            "Cells that are not Python 3 are not read: %s",
            _join_first_notes(unreadable, 10, ", "),
            extra={AFTER_AN_ERROR: ""},
        )


def _warn_of_checks_for_jupyter_or_main(named: ModuleName, places: Sequence[str]) -> None:
    """Log the statements that check whether they run in Jupyter, or whether their file is the main program. The export
    may run another branch there than the user's training did."""
    if places:
        where = "it runs in Jupyter or Colab" if named.is_notebook else "its file is run by itself"
        _log.warning(
            "These statements check whether %s. The answer is no: %s",
            where,
            _join_first_notes(places),
            extra={AFTER_AN_ERROR: ""},
        )


def _join_first_notes(notes: Sequence[str], most: int = _MOST_NOTES, between: str = "; ") -> str:
    more = f"{between}and {len(notes) - most} more" if len(notes) > most else ""
    return between.join(notes[:most]) + more


def _run_statement(
    statement: Statement,
    file: ModuleType,
    cells: Sequence[Cell],
    named: ModuleName,
    likely_values: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run a statement of the file. If it raises an exception, raise an ExportError that proposes `likely_values`, which
    are the values of names that fit the weights."""
    cell, path, name = statement.cell, named.path, named.name
    # Lets tracebacks and messages show the line. An entry without a time is never checked against the disk.
    linecache.cache[cell.file] = (len(cell.source), None, cell.source.splitlines(keepends=True), cell.file)
    later = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        for one in cells
        for node in one.statements
    )
    flags = __future__.annotations.compiler_flag if later else 0
    node = replace_dunder_name_by_main(statement.node) if cell.name else statement.node
    code = compile(ast.Module([node], []), cell.file, "exec", flags, dont_inherit=True)
    try:
        # The user's own code, which he asks to export.
        call_where_files_are(lambda: exec(code, vars(file)), path, str(path))  # noqa: S102
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        instead = _suggest_set_options(statement, likely_values)
        if not isinstance(error, ImportError):
            remedy = "Install that package anew" if statement.is_import else "Correct it"
            remedy += f", or copy the class to a Python file{' without it' * statement.is_import}.{instead}"
        elif getattr(statement.node, "level", 0) and file.__package__:
            remedy = f"Put the file that it imports into the folder that {path} names, or write the class without it."
        elif getattr(statement.node, "level", 0):
            folder = path.absolute().parent.name
            remedy = (
                f"Write a file beside the folder {folder} with the line `from {folder}.{path.stem} import {name}`, "
            )
            remedy += "and give that file's name."
        else:
            remedy = (
                "Install that package, add its folder to PYTHONPATH, or copy the class to a Python file without it."
            )
            remedy += instead
        raise ExportError(
            f"{statement.cell_or_line} of {path} runs `{statement.title}`, which raises {_describe_error(error)}",
            remedy,
        ) from error


def _suggest_set_options(statement: Statement, likely_values: Mapping[str, str]) -> str:
    """Return --set options that give values to the names of an import that fails, if the weights show these values.
    Otherwise, return an empty string."""
    options = [
        f"--set {shlex.quote(f'{name}={likely_values[name]}')}"
        for name in likely_values
        if name.split(".")[0] in statement.binds
    ]
    return f" Or give the values that are used of it: {' '.join(options)} (which fits the weights)." if options else ""


def _make_empty_python_module(path: Path) -> ModuleType:
    """Make an empty Python module with the name and the path of a file, so that statements of the file can be run in
    it."""
    package = import_package_of_file(path)
    file = ModuleType(choose_import_name(path, package))
    file.__file__, file.__package__ = str(path), package
    return file


def _make_module(named: ModuleName, file: ModuleType, weights: SavedWeights | None) -> nn.Module:
    """Return the object that the user names, if it is a module. If it is a class or function, call it with the user's
    arguments, and return the result."""
    found = getattr(file, named.name, None)
    if isinstance(found, nn.Module):
        if named.args or named.kwargs:
            raise InputError(
                f"{named.name} in {named.path} is already a module, so it takes no arguments here.",
                f"Give the name without arguments: {named.path}:{named.name}.",
            )
        return found
    where = f"{named.path}:{named.name}"
    args, kwargs = _evaluate_arguments(named, file)
    if callable(found):
        kwargs |= find_values_for_missing_arguments(found, args, kwargs, named, weights)
    absolute = replace(named, path=named.path.absolute())

    def make() -> Any:
        made = found(*args, **kwargs)  # type: ignore[misc]  # what cannot be called says so
        if weights is not None and isinstance(made, nn.Module) and not has_tensors_of_weights(made, weights):
            placed = named if named.path.exists() else absolute
            made = _make_module_that_fits(found, args, kwargs, placed, weights) or made
        return made

    try:
        made = call_where_files_are(make, named.path, named.name)
    except InputError:
        raise
    # A user's code may raise any exception, and call sys.exit.
    except (Exception, SystemExit) as error:
        arguments = f"Give its arguments, as in {where}(8000, dim=64), or a function that takes none."
        missing = isinstance(error, FileNotFoundError)
        raise ExportError(
            f"{named.name} in {named.path} raises {_describe_error(error)}",
            "Put the file at this path, or change the path in the code." if missing else arguments,
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{named.name} in {named.path} gives a {type(made).__name__}, but must give a torch.nn.Module.",
            "Give the name of a class derived from nn.Module, of a module, or of a function that returns a module.",
        )
    return made


def _make_module_that_fits(
    maker: Any, args: Sequence[Any], kwargs: Mapping[str, Any], named: ModuleName, weights: SavedWeights
) -> Any:
    """Find arguments with which the module has the shapes of the weights, and make the module with them. Return None if
    none are found. Raise an OptionCorrectionsError if they differ from arguments that the user gave."""
    try:
        signature = inspect.signature(maker)
    except (ValueError, TypeError):
        return None
    own = {**signature.bind_partial(*named.args).arguments, **(named.kwargs or {})}
    given = {**signature.bind_partial(*args).arguments, **kwargs}
    if found := find_arguments_by_trial(maker, given, named, weights, given.keys() - own.keys()):
        _log.warning("%s is made with %s, by the shapes in %s", named.name, write_arguments(found), weights.path)
        return maker(**{**given, **found})
    if found := find_arguments_by_trial(maker, given, named, weights, given.keys()):
        kept = [f"{name}={ast.unparse(one)}" for name, one in own.items() if name not in found]
        said = write_arguments(found)
        raise OptionCorrectionsError(
            f"With {write_arguments({name: given[name] for name in own if name in found})}, the tensors of {named} "
            f"have other shapes than those in {weights.path}.",
            f"The shapes in that file show {said}. Give these arguments.",
            {"source": f"{named}({', '.join([*kept, said])})"},
        )
    return None


def _evaluate_arguments(named: ModuleName, file: ModuleType) -> tuple[list[Any], dict[str, Any]]:
    """Evaluate the arguments that the user gives. Return a list of those by position and a dict of those by name."""
    path, names = str(named.path), vars(file)
    args = [_evaluate_argument(node, path, names) for node in named.args]
    return args, _evaluate_by_name(named.kwargs, named, file)


def _evaluate_by_name(given: Mapping[str, ast.expr] | None, named: ModuleName, file: ModuleType) -> dict[str, Any]:
    """Evaluate the arguments that are given by name. Return a dict of their values."""
    return {name: _evaluate_argument(node, str(named.path), vars(file)) for name, node in (given or {}).items()}


def _evaluate_argument(node: ast.expr, path: str, names: Mapping[str, Any]) -> Any:
    """Evaluate the code of an argument. The code may use literals, and names, attributes and calls of objects in the
    user's file. `names` are these objects, and `path` is the path of the file, for messages."""

    def evaluate_part(part: ast.expr) -> Any:
        if isinstance(part, ast.Name):
            if part.id == "SimpleNamespace" and part.id not in names:
                return SimpleNamespace
            if part.id not in names:
                raise InputError(f"The arguments use the name {part.id}, but {path} does not define it.", NO_VALUES)
            return names[part.id]
        if isinstance(part, ast.Attribute):
            return getattr(evaluate_part(part.value), part.attr)
        if isinstance(part, ast.Call):
            return evaluate_part(part.func)(
                *map(evaluate_part, part.args), **{str(k.arg): evaluate_part(k.value) for k in part.keywords}
            )
        if isinstance(part, ast.List | ast.Tuple | ast.Set):
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(part)]
            return kind(map(evaluate_part, part.elts))
        if isinstance(part, ast.Dict):
            return {
                evaluate_part(key): evaluate_part(value)
                for key, value in zip(part.keys, part.values, strict=True)
                if key is not None
            }
        return ast.literal_eval(part)

    try:
        return evaluate_part(node)
    except InputError:
        raise
    # Whatever the user's code raises.
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The argument {short_repr(ast.unparse(node))} raises {_describe_error(error)}", NO_VALUES
        ) from error


def _is_module_or_maker(value: Any, file: ModuleType) -> bool:
    """Return whether a value is a module, a class of modules that is not PyTorch's, or a function that the file
    defines."""
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, type):
        return issubclass(value, nn.Module) and not value.__module__.startswith("torch.")
    return inspect.isfunction(value) and value.__module__ == file.__name__


def _make_no_such_name_error(
    path: Path, name: str, defined_names: Sequence[str], unreadable: Sequence[str]
) -> InputError:
    """Make the error for a name that a file does not define. The error proposes a similar name, and lists the names in
    the file."""
    # A method is named with its class.
    owners = [
        one.name
        for one in read_python_statements_if_readable(path)
        if isinstance(one, ast.ClassDef) and find_methods(one, name)
    ]
    if owners:
        return InputError(
            f"{path} defines no {name}.", f"Did you mean {' or '.join(f'{one}.{name}' for one in owners)}?"
        )
    remedy = [suggest_similar_name(name, defined_names)]
    remedy += (
        [f"It defines: {', '.join(defined_names[:20])}{', ...' if len(defined_names) > 20 else '.'}"]
        if defined_names
        else []
    )
    remedy += [f"Cells that are not Python 3 are not read: {', '.join(unreadable[:10])}."] if unreadable else []
    said = " ".join(filter(None, remedy)) or "Give the name of a class or a module in it."
    return InputError(f"{path} defines no {name}.", said)


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}."
