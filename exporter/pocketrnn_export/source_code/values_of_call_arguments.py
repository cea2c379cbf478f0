"""Find the values that the owner's code gives the arguments of a function, and write its call as a function of a text.
No file is run."""

from __future__ import annotations

import ast
import contextlib
import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near
from pocketrnn_export.source_code.notebook import read_python_cells_if_readable, read_python_statements_if_readable
from pocketrnn_export.source_code.statements_that_code_needs import list_file_statements_that_code_needs
from pocketrnn_export.source_code.syntax_tree_parts import (
    Definition,
    Function,
    Import,
    find_defaults,
    find_first_parameter_name,
    find_keyword_arguments,
    find_methods,
    list_changed_names,
    list_imported_names,
    list_parameters,
    list_positional_parameters,
    read_last_name,
)
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

_DEEPEST: Final = 4


@dataclass(frozen=True)
class CallArguments:
    """A call of an owner's function in the owner's code.

    Attributes:
        file: the file that contains the call.
        place: the file and line of the call.
        code: the code of each argument, by its name.
        values: the value of each argument whose value is known and plain, by its name.
        unknown: the names of the wanted arguments that have no such value.
    """

    file: Path
    place: str
    code: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def write_call_of_text_function(name: str, text: str, called: CallArguments, written_name: str) -> str | None:
    """Write the code of a new file whose function calls an owner's function with the arguments that the owner's code
    passes. The new function takes a text, and a vocabulary if the owner's function takes one. Return None if an
    argument needs code that is not at the top level of the owner's file.

    Args:
        name: the owner's function.
        text: the argument of the owner's function that takes the text.
        called: the call in the owner's code.
        written_name: the name of the new function.
    """
    parameters = [text, *(one for one in called.code if is_vocabulary_name(one) and one != text)][:2]
    given = [f"{one}={one if one in parameters else called.code[one]}" for one in called.code]
    made = ast.parse(f"def {written_name}({', '.join(parameters)}):\n    return {name}({', '.join(given)})").body
    statements = read_python_statements_if_readable(called.file)
    # The owner's function of this name is another one.
    is_free = not any(written_name in list_changed_names(one) for one in statements)
    helpers = list_file_statements_that_code_needs(made, statements, called.file) if is_free else None
    if helpers is None or any(written_name in list_changed_names(one) for one in helpers):
        return None
    return f"{ast.unparse(ast.Module([*helpers, *made], []))}\n"


def list_named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name to which a piece of code gives a value, with the code of the value. Names are variables,
    attributes, parameters with defaults, options of argparse, keyword arguments and keys of dicts."""
    pairs: list[tuple[Any, ast.expr]] = []
    if isinstance(node, ast.Dict):
        pairs += [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, ast.Call):
        pairs += [(k.arg, k.value) for k in node.keywords]
    yield from _list_pairs_with_names(pairs)
    yield from list_assigned_values(node)


def list_assigned_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each variable, attribute, parameter with a default, and option of argparse to which a piece of code gives a
    value, with the code of the value."""
    pairs: list[tuple[Any, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        pairs += [(read_last_name(target), node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs.append((read_last_name(node.target), node.value))
    elif isinstance(node, Definition):
        pairs += find_defaults(node).items()
    elif isinstance(node, ast.Call) and read_last_name(node.func) == "add_argument":
        default = next((k.value for k in node.keywords if k.arg == "default"), None)
        pairs += [(getattr(a, "value", None), default) for a in node.args]
    yield from _list_pairs_with_names(pairs)


def _list_pairs_with_names(pairs: Iterable[tuple[Any, ast.expr | None]]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the pairs that have both a name and a value. Hyphens in a name, as in options, become underscores."""
    for name, value in pairs:
        if isinstance(name, str) and value is not None:
            yield name.lstrip("-").replace("-", "_"), value


def find_call_arguments(
    files: Sequence[Path], file: Path, function: Function, names: Collection[str], is_preferred: Callable[[str], bool]
) -> CallArguments | None:
    """Find the call of a function in the owner's code, and the values of its arguments. Return None if there is no
    call.

    Args:
        files: the files to search for calls.
        file: the file that defines the function.
        function: the definition of the function.
        names: the wanted arguments. The value of an argument that may have several values is unknown.
        is_preferred: a function that takes the name of a function or class, and returns whether calls inside it are
            preferred.

    Example:
        >>> find_call_arguments([Path("api.py")], Path("text.py"), encode, ["most"], "predict".__eq__)
        CallArguments(file=PosixPath('api.py'), place='api.py, line 9', code={'text': 'text', 'most': 'MOST'},
                      values={'most': 50}, unknown=())
    """
    found: list[tuple[int, CallArguments]] = []
    for one in files:
        cells = read_python_cells_if_readable(one)
        trees = [ast.Module([*cell.statements], []) for cell in cells]
        if one != file and not any(_imports_function_or_its_file(tree, file, function.name) for tree in trees):
            continue
        for cell, tree in zip(cells, trees, strict=True):
            for call, around in _list_calls(tree, function.name, ()):
                if function in around:
                    continue
                place = cell.describe_place(one, call)
                scopes: list[Sequence[ast.AST]] = [[*ast.walk(scope)] for scope in around[::-1]]
                scopes.append([node for each in trees for node in ast.walk(each)])
                rank = not any(is_preferred(scope.name) for scope in around)
                found.append((rank, _read_arguments(call, function, names, scopes, files, (one, place))))
    return min(found, key=lambda each: (each[0], len(each[1].unknown)))[1] if found else None


def find_attribute_values(path: Path, class_name: str, names: Collection[str]) -> dict[str, Any]:
    """Find the plain values of an object's attributes from code, without making the object.

    An attribute is found if `__init__` sets it once, to a constant, or to a parameter for which the owner's code passes
    a plain value or which has a plain default. Other attributes are left out.

    Example:
        >>> find_attribute_values(Path("text.py"), "Processor", ["max_length", "model"])
        {'max_length': 60}
    """
    statements = read_python_statements_if_readable(path)
    found: dict[str, Any] = {}
    for definition in (one for one in statements if isinstance(one, ast.ClassDef) and one.name == class_name):
        for init in find_methods(definition, "__init__"):
            given = _find_arguments_of_init(path, class_name, init)
            assigned: dict[str, list[ast.expr]] = {}
            for node in (one for one in ast.walk(init) if isinstance(one, ast.Assign)):
                for target in node.targets:
                    pairs = [(target, node.value)]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = [*zip(target.elts, node.value.elts, strict=False)]
                    for one, value in pairs:
                        assigned.setdefault(ast.unparse(one), []).append(value)
            for name in names:
                values = assigned.get(f"{find_first_parameter_name(init)}.{name}", [])
                # Another assignment may change it.
                for value in values if len(values) == 1 else ():
                    with contextlib.suppress(ValueError, LookupError, TypeError):
                        is_given = isinstance(value, ast.Name)
                        found[name] = given[ast.unparse(value)] if is_given else ast.literal_eval(value)
    return found


def _find_arguments_of_init(path: Path, class_name: str, init: Function) -> dict[str, Any]:
    """Return the plain value of each parameter of a class's `__init__` that the owner's code passes, or else its
    default."""
    found: dict[str, Any] = {}
    for name, default in find_defaults(init).items():
        with contextlib.suppress(ValueError, TypeError):
            found[name] = ast.literal_eval(default)
    arguments = copy.copy(init.args)
    arguments.args = init.args.args[1:]
    maker = ast.FunctionDef(class_name, arguments, [], [])
    names = list_parameters(maker)
    called = find_call_arguments(list_files_near(path), path, maker, names, lambda _: False)
    if called is None:
        return found
    return {name: value for name, value in (found | called.values).items() if name not in called.unknown}


def _imports_function_or_its_file(tree: ast.AST, file: Path, name: str) -> bool:
    """Return whether some code imports the function `name` from a file, or imports the whole file."""
    imports = (node for node in ast.walk(tree) if isinstance(node, Import))
    named = [full.split(".") for node in imports for _, full in list_imported_names(node)]
    return any(parts[-1] == file.stem or parts[-2:] in ([file.stem, name], [file.stem, "*"]) for parts in named)


def _list_calls(
    node: ast.AST, name: str, around: tuple[Function | ast.ClassDef, ...]
) -> Iterator[tuple[ast.Call, tuple[Function | ast.ClassDef, ...]]]:
    """Yield each call of a function with this name. With each call, yield the functions and classes that contain it,
    the outermost first.

    Args:
        around: the functions and classes that contain `node`.
    """
    if isinstance(node, ast.Call) and read_last_name(node.func) == name:
        yield node, around
    inside = (*around, node) if isinstance(node, Function | ast.ClassDef) else around
    for child in ast.iter_child_nodes(node):
        yield from _list_calls(child, name, inside)


def _read_arguments(
    call: ast.Call,
    function: Function,
    names: Collection[str],
    scopes: Sequence[Sequence[ast.AST]],
    files: Sequence[Path],
    file_and_place: tuple[Path, str],
) -> CallArguments:
    """Read the values of the arguments in one call of a function.

    Args:
        function: the called function.
        names: the wanted arguments.
        scopes: the syntax nodes of each function or class around the call, the innermost first, and then those of the
            file.
        files: the files in which other values are looked up.
        file_and_place: the file of the call, and its file and line for messages.
    """
    given = dict(zip(list_positional_parameters(function), call.args, strict=False)) | find_keyword_arguments(call)
    defaults = find_defaults(function)
    values, unknown = dict[str, Any](), list[str]()
    for name in names:
        if name not in given and name in defaults:
            continue
        try:
            values[name] = _find_value(given[name], scopes, files, _DEEPEST)
        except (LookupError, ValueError):
            unknown.append(name)
    return CallArguments(
        *file_and_place, {name: ast.unparse(value) for name, value in given.items()}, values, tuple(unknown)
    )


def _find_value(node: ast.expr, scopes: Sequence[Sequence[ast.AST]], files: Sequence[Path], steps_left: int) -> Any:
    """Return the plain value of an expression, such as `12` or `args.max_len`. A variable has the value that the
    innermost scope assigns; if no scope does, the value that one of the files assigns.

    Args:
        node: the expression.
        scopes: the syntax nodes of each function or class around the expression, the innermost first, and then those of
            its file.
        files: the files in which settings, such as `args.max_len`, are looked up.
        steps_left: how many further variables may be looked up.

    Raises:
        LookupError: the name has no value, or several.
        ValueError: the expression is not a variable or literal, or too many variables had to be looked up.
    """
    with contextlib.suppress(ValueError, TypeError):
        return ast.literal_eval(node)
    is_member = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    name = str(node.slice.value) if is_member else read_last_name(node)  # type: ignore[attr-defined]
    if not name or not steps_left:
        raise ValueError(ast.unparse(node))
    statements = (each for one in files for each in read_python_statements_if_readable(one))
    everywhere = (part for each in statements for part in ast.walk(each))
    for scope in (*scopes, everywhere):
        found: list[Any] = []
        for part in scope:
            for given, value in list_named_values(part):
                if given == name and ast.unparse(value) != ast.unparse(node):
                    with contextlib.suppress(LookupError, ValueError):
                        found.append(_find_value(value, scopes, files, steps_left - 1))
        if found:
            if any(one != found[0] for one in found):
                raise LookupError(name)
            return found[0]
    raise LookupError(name)
