"""Find the classes of modules in a Python file or notebook, or the class of a name, and read what the `__init__` of a
class does with its parameters. The file is not run."""

from __future__ import annotations

import ast
import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    find_file_loaded_by_from_import,
    list_files_near,
    list_imported_files,
    list_syntax_nodes_near,
)
from pocketrnn_export.source_code.notebook import (
    read_python_statements,
    read_python_statements_if_readable,
)
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    find_defaults,
    find_methods,
    list_assignments,
    list_parameters,
    read_last_name,
)


def find_class_and_call_that_instantiates_name(
    statements: Iterable[ast.stmt], name: str
) -> tuple[ast.ClassDef, ast.Call | None] | None:
    """Find the class with this name, or the class of the object with this name, as in `name = Class(...)`. Return the
    last definition of the class, and the call `Class(...)`; the call is None if the name is that of the class. Return
    None if neither is found."""
    statements = list(statements)
    classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
    if name in classes:
        return classes[name], None
    for node in reversed(statements):
        for value in (value for target, value in list_assignments([node]) if getattr(target, "id", None) == name):
            for call in ast.walk(value):
                if isinstance(call, ast.Call) and (made := classes.get(getattr(call.func, "id", ""))):
                    return made, call
    return None


def find_imported_class_of_object(statements: Iterable[ast.stmt], name: str, path: Path) -> tuple[Path, str] | None:
    """Find the class of an object that is made by `name = Class(...)`, if the class is imported from a file near
    `path`. Return the file that defines the class, and the name of the class there. Return None if there is no such
    object or import.

    Args:
        statements: the statements of the file `path`.
        name: the object.
        path: the file that makes the object.
    """
    imported: dict[str, tuple[Path, str]] = {}
    made: dict[str, str] = {}
    for node in statements:
        if isinstance(node, ast.ImportFrom) and (file := find_file_loaded_by_from_import(path, node)) is not None:
            imported |= {alias.asname or alias.name: (file, alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign):
            calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
            kinds = [kind for call in calls if (kind := getattr(call.func, "id", "")) in imported]
            made |= {target.id: kinds[0] for target in node.targets if isinstance(target, ast.Name) and kinds}
    return imported.get(made.get(name, ""))


def list_init_names_and_whether_assigned(definition: ast.ClassDef) -> dict[str, bool]:
    """Return the parameters and local variables of `__init__`, each with whether `__init__` assigns to it."""
    found = {name: False for method in find_methods(definition, "__init__") for name in list_parameters(method)}
    nodes = walk_init_without_optional_branches(definition)
    return found | {n.id: True for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def list_init_defaults(definition: ast.ClassDef) -> dict[str, ast.expr]:
    """Return a dict from each parameter of `__init__` that has a default to the code of its default."""
    methods = find_methods(definition, "__init__")
    return {name: default for method in methods for name, default in find_defaults(method).items()}


def find_init_parameters_stored_in_attributes(definition: ast.ClassDef) -> dict[str, str]:
    """Return which parameter of `__init__` each attribute or local variable stores, as code: "self.size" stores
    `args["size"]` after `self.size = args["size"]`. Attributes that `__init__` also sets to something else are left
    out."""
    stored: dict[str, set[str]] = {}
    parameters = list_init_names_and_whether_assigned(definition)
    for method in find_methods(definition, "__init__"):
        arguments = {one.arg for one in ast.walk(method.args) if isinstance(one, ast.arg)}
        for node in ast.walk(method):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                value = (
                    "" if isinstance(node, ast.AugAssign) else _write_expression_of_parameter(node.value, parameters)
                )
                for target in targets:
                    of_self = isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self"
                    if of_self or (isinstance(target, ast.Name) and target.id not in arguments):
                        stored.setdefault(ast.unparse(target), set()).add(value)
    return {name: next(iter(of)) for name, of in stored.items() if len(of) == 1 and {*of} != {""}}


def _write_expression_of_parameter(node: ast.expr, parameters: Collection[str]) -> str:
    """Return the code of an expression that is a parameter, or an item or attribute of one, such as `args["size"]`. A
    conversion to a number is removed: `int(args["size"])` also gives `args["size"]`. Return an empty string for other
    code."""
    is_member = isinstance(node, ast.Attribute) or (
        isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    )
    held = node.value if is_member and isinstance(node, ast.Attribute | ast.Subscript) else node
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("int", "float") and len(node.args) == 1:
        return _write_expression_of_parameter(node.args[0], parameters)
    return ast.unparse(node) if isinstance(held, ast.Name) and held.id in parameters else ""


def describe_code_of_layers(path: Path, name: str, layers: Collection[str]) -> list[str]:
    """Describe for each of some layers of a class: the line of `__init__` that makes the layer, the conditions for
    this, and the parameters that the line uses.

    Example:
        >>> describe_code_of_layers(Path("model.py"), "Net", ["gate"])
        ["model.py, line 9, makes gate if args['gated'], and reads args['gated'] and size for it"]
    """
    found = find_class_in_file_or_imports(path, name)
    inits = [] if found is None else find_methods(found[1], "__init__")
    said: list[str] = []
    for init in inits:
        parents = {child: node for node in ast.walk(init) for child in ast.iter_child_nodes(node)}
        values: dict[str, list[ast.expr]] = {}
        for target, value in list_assignments(ast.walk(init)):
            values.setdefault(ast.unparse(target), []).append(value)
        for node in ast.walk(init):
            targets = {ast.unparse(one) for one in node.targets} if isinstance(node, ast.Assign) else set()
            for layer in (one for one in layers if f"self.{one}" in targets):
                tests, outer = [], parents[node]
                while outer is not init:
                    tests += [outer.test] if isinstance(outer, ast.If) else []
                    outer = parents[outer]
                read = _list_read_parameters([node, *tests], values, list_parameters(init)[1:])
                place = f"{found[0] if found else path}, line {getattr(node, 'lineno', 0)}, makes {layer}"
                place += f" if {' and '.join(map(ast.unparse, tests))}" if tests else ""
                said += [f"{place}, and reads {' and '.join(read)} for it"] if read else []
    return said


def _list_read_parameters(
    nodes: Iterable[ast.AST], values: Mapping[str, Sequence[ast.expr]], parameters: Collection[str]
) -> list[str]:
    """List the parameters of `__init__`, with their items and attributes, that some code reads, directly or through
    local variables. The rate of a dropout is left out.

    Args:
        nodes: the syntax nodes of the code.
        values: the values that `__init__` assigns to each local variable.
        parameters: the parameters of `__init__`.
    """
    waiting, seen, found = [*nodes], set[str](), dict[str, None]()
    while waiting:
        node = waiting.pop(0)
        held = node
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            held = ast.Subscript(node.func.value, node.args[0])
        if isinstance(held, ast.Attribute | ast.Subscript | ast.Name) and (
            code := _write_expression_of_parameter(held, parameters)
        ):
            found |= {} if "drop" in code.lower() else {code: None}
            continue
        if isinstance(node, ast.Attribute | ast.Name) and (code := ast.unparse(node)) not in seen:
            seen.add(code)
            waiting += values.get(code, [])
        waiting += ast.iter_child_nodes(node)
    return [*found]


def walk_init_without_optional_branches(definition: ast.ClassDef) -> Iterator[ast.AST]:
    """Yield the syntax nodes of `__init__`. Branches that run only if the caller gives a parameter whose default is
    None are left out."""
    defaults = list_init_defaults(definition).items()
    absent = {name for name, value in defaults if isinstance(value, ast.Constant) and value.value is None}
    for method in find_methods(definition, "__init__"):
        yield from _walk_without_optional_branches(method, absent)


def _walk_without_optional_branches(node: ast.AST, absent: Collection[str]) -> Iterator[ast.AST]:
    """Yield a syntax node and those below it. The branch of an `if` is left out if its test only asks whether the
    caller gives one of the `absent` parameters, as in `if vectors is not None`."""
    yield node
    skipped: list[ast.stmt] = []
    if isinstance(node, ast.If):
        tests = {f"{name} is not None": node.body for name in absent} | dict.fromkeys(absent, node.body)
        tests |= {f"{name} is None": node.orelse for name in absent} | {f"not {name}": node.orelse for name in absent}
        skipped = tests.get(ast.unparse(node.test), [])
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _walk_without_optional_branches(child, absent)


# The methods by which a module gets a layer or a tensor of a name.
_SETTERS: Final = ("add_module", "register_module", "register_buffer", "register_parameter", "setattr")
_DEEPEST_BASE: Final = 4
_RECURRENT: Final = re.compile("(?i)lstm|gru|rnn")
_GIVING: Final = ast.Return | ast.Yield | ast.YieldFrom
_BESIDE_THE_CODE: Final = frozenset(("example", "examples", "test", "tests", "scripts", "docs", "benchmarks", "venv"))


def list_module_classes(path: Path) -> list[str]:
    """List the classes of a file that may be the classifier: those that have or inherit a `forward`. A class that
    another of these classes uses, as a layer or a base class, is left out, unless all classes would be.

    Args:
        path: a Python file or notebook.

    Example:
        >>> list_module_classes(Path("model.py"))
        ['Classifier']
    """
    classes = {one.name: one for one in read_python_statements(path) if isinstance(one, ast.ClassDef)}
    found: dict[str, ast.ClassDef] = {}
    for name, definition in classes.items():
        bases = {getattr(base, "id", "") for base in definition.bases}
        if bases & found.keys() or find_methods(definition, "forward"):
            found[name] = definition
    used = {
        node.id
        for name, definition in found.items()
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and node.id != name
    }
    return [name for name in found if name not in used] or [*found]


def explain_why_name_cannot_be_module(path: Path, name: str) -> str:
    """Return why a name of a file cannot be a PyTorch module or a function that returns one, in words for the end of a
    sentence. The reason is one of two: a class neither has nor inherits a method such as `forward`, or a function
    returns nothing. Return an empty string if it may be a module, such as a class with a base class from a library.

    Args:
        path: a Python file or notebook.
    """
    found = [one for one in read_python_statements(path) if getattr(one, "name", "") == name]
    match found[-1:]:
        case [ast.FunctionDef(decorator_list=[]) as function]:
            returned = [getattr(one, "value", None) for one in ast.walk(function) if isinstance(one, _GIVING)]
            return "" if any(returned) else "a function that returns nothing"
        case [ast.ClassDef() as definition]:
            return "" if _may_have_forward(path, definition) else "a class without a forward"
    return ""


def _may_have_forward(path: Path, definition: ast.ClassDef, depth: int = 0) -> bool:
    """Return whether a class has or inherits a method such as `forward`. A base class from a library is assumed to have
    one.

    Args:
        path: the file of the class.
        depth: the number of base classes between the first class and this one, by which the recursion ends.
    """
    stands_for_another = any(find_methods(definition, one) for one in ("forward", "__call__", "__new__"))
    if stands_for_another or definition.keywords or depth > _DEEPEST_BASE:
        return True
    bases = [one for one in map(read_last_name, definition.bases) if one not in ("object", "ABC")]
    held = [find_class_in_file_or_imports(path, one) for one in bases]
    return any(one is None or _may_have_forward(*one, depth + 1) for one in held)


def list_classes_that_fit_weight_names(path: Path, names: Collection[str], weight_names: Collection[str]) -> list[str]:
    """List which of some classes fit a state_dict. A class fits if it or its base classes set an attribute for each
    layer that the weights' names have: `lstm` for `lstm.weight_ih_l0`. A prefix that all weights' names share, such as
    `module.`, is ignored if the class fits without it.

    Args:
        path: a Python file or notebook.
        names: the names of the classes.
        weight_names: the names of the weights in a state_dict, such as `lstm.weight_ih_l0`.

    Example:
        >>> weight_names = ["lstm.weight_ih_l0", "attention.bias"]
        >>> list_classes_that_fit_weight_names(Path("model.py"), ["Plain", "Attentive"], weight_names)
        ['Attentive']
    """
    found = []
    for one in read_python_statements(path):
        if isinstance(one, ast.ClassDef) and one.name in names:
            attributes, rest = list_set_attributes(path, one), [*weight_names]
            is_fitting = {*map(find_first_part_of_weight_name, rest)} <= attributes
            while (
                not is_fitting
                and all("." in name for name in rest)
                and len({*map(find_first_part_of_weight_name, rest)}) == 1
            ):
                rest = [name.partition(".")[2] for name in rest]
                is_fitting = {*map(find_first_part_of_weight_name, rest)} <= attributes
            found += [one.name] * is_fitting
    return found


def find_first_part_of_weight_name(weight_name: str) -> str:
    """Return the part of a weight's name before the first dot, which is an attribute of the module: `lstm` for
    `lstm.weight_ih_l0`."""
    return weight_name.partition(".")[0]


def list_set_attributes(path: Path, definition: ast.ClassDef, depth: int = 0) -> set[str]:
    """Return the attributes that the methods of a class and of its base classes set, including tensors set by
    `register_buffer` or `register_parameter`. Base classes are looked for in the class's file and in the files from
    which this file imports.

    Args:
        path: the file of the class.
        depth: the number of base classes between the first class and this one, by which the recursion ends: 0 for the
            first class.
    """
    found = {part.attr for part in ast.walk(definition)
             if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}  # fmt: skip
    for call in ast.walk(definition):
        if isinstance(call, ast.Call) and read_last_name(call.func) in _SETTERS:
            found |= {
                one.value for one in call.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    for base in definition.bases if depth < _DEEPEST_BASE else ():
        if (held := find_class_in_file_or_imports(path, read_last_name(base))) is not None:
            found |= list_set_attributes(*held, depth + 1)
    return found


def find_class_in_file_or_imports(path: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    """Find a class in a file, or in the owner's files from which this file imports. Return the file that defines the
    class, and the class. Return None if it is not found."""
    for file in (path, *list_imported_files(path)):
        for one in reversed(read_python_statements_if_readable(file)):
            if isinstance(one, ast.ClassDef) and one.name == name:
                return file, one
    return None


def find_first_calls_of_classes(path: Path, names: Collection[str]) -> dict[str, str]:
    """Find which of some classes the code near a module calls, and where. Return the place of the first call of each
    class. Calls in the module's own file count only if no other file calls one of the classes, since this file may try
    each of its classes.

    Args:
        path: the file of the module.
        names: the names of the classes.

    Example:
        >>> find_first_calls_of_classes(Path("model.py"), ["Plain", "Attentive"])
        {'Attentive': 'predict.py, line 12'}
    """
    inside: dict[str, str] = {}
    outside: dict[str, str] = {}
    for where, node in list_syntax_nodes_near(path):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in names:
            (inside if where.startswith(f"{path}, ") else outside).setdefault(name, where)
    return outside or inside


def find_class_meant_by_name(path: Path, name: str) -> str:
    """Return the class that the user probably means by a name that is not a class or function of the file. It is the
    class of the object with this name, the class with the most similar name, or the only class. Return an empty string
    if the name is that of a class or function, or if none of the three is found.

    Args:
        path: a Python file or notebook.
        name: the name, such as `model` or a mistyped class.

    Example:
        >>> find_class_meant_by_name(Path("model.py"), "Clasifier")
        'Classifier'
    """
    statements = read_python_statements(path)
    if any(isinstance(one, Function | ast.ClassDef) and one.name == name for one in statements):
        return ""
    names = list_module_classes(path)
    for node in (one for part in statements for one in ast.walk(part) if isinstance(one, ast.Assign)):
        made = {read_last_name(one.func) for one in ast.walk(node.value) if isinstance(one, ast.Call)}
        if name in map(read_last_name, node.targets) and (found := made & {*names}):
            return found.pop()
    lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), lower, 1)
    return lower[near[0]] if near else names[0] if len(names) == 1 else ""


def has_recurrent_layer_by_names(path: Path, name: str) -> bool:
    """Return whether a class seems to have a recurrent layer. The class, or a class that it uses from its file or from
    an imported file, contains a name or attribute such as LSTM, `gru` or `rnn_cell`.

    Example:
        >>> has_recurrent_layer_by_names(Path("model.py"), "Classifier")
        True
    """
    files = (path, *list_imported_files(path))
    statements = [one for file in reversed(files) for one in read_python_statements_if_readable(file)]
    classes = {one.name: one for one in statements if isinstance(one, ast.ClassDef)}
    waiting = [name]
    while waiting:
        if (definition := classes.pop(waiting.pop(), None)) is not None:
            # `nn.utils.rnn` has functions that pad, which all kinds of classifiers use.
            nodes = (one for one in ast.walk(definition) if read_last_name(getattr(one, "value", one)) != "utils")
            names = {*map(read_last_name, nodes)}
            if any(map(_RECURRENT.search, names)):
                return True
            waiting += names
    return False


def list_module_classes_near(path: Path, *, in_scripts: bool = False) -> list[str]:
    """List the classes with a `forward` in the files near a file, each as file.py:name. A class that a class of another
    file uses, as a layer or a base class, is left out, unless all classes would be.

    Args:
        path: the file. Its own classes are left out.
        in_scripts: whether to look also in folders called `scripts`.
    """
    found: dict[tuple[Path, str], ast.ClassDef] = {}
    # These folders of a project are not where its classifier is, unless the file lies there.
    left_out = _BESIDE_THE_CODE - {*path.absolute().parts, *(["scripts"] if in_scripts else [])}
    for file in list_files_near(path):
        if file != path and left_out.isdisjoint(file.parts[:-1]):
            with contextlib.suppress(InputError):
                for name in list_module_classes(file):
                    if (held := find_class_in_file_or_imports(file, name)) is not None:
                        found[file, name] = held[1]
    used = {
        (file.resolve(), node.id)
        for (path, _), definition in found.items()
        for file in list_imported_files(path)
        for node in ast.walk(definition)
        if isinstance(node, ast.Name)
    }
    outer = [one for one in found if (one[0].resolve(), one[1]) not in used] or [*found]
    return [f"{file}:{name}" for file, name in outer]
