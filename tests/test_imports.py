"""How the code is laid out: which file may import which, how long a function may be, and where an example must be.

The source is parsed and never imported. An import counts wherever it is: at the top of a file, inside of a function, or
under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From left to right: a package imports only from itself and from those to its left.
PACKAGES = {"pocketrnn": "runtime", "pocketrnn_training": "trained", "pocketrnn_export": "exporter"}
# The same within the exporter. `bundle` writes every bundle; `compression`, `packing` and `mobile` make something of
# a bundle, and `c_array` a file of C of a packed one.
WINGS = ("proof", "intake", "tracing", "forms", "bundle", "compression", "c_array", "packing", "mobile", "commands")
TERMINAL = {"click", "rich"}
LONGEST = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


def sources() -> dict[str, ast.Module]:
    """Every module of the three packages by its full name; a package by that of its folder."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


SOURCES = sources()


def imports_of(name: str) -> set[str]:
    """The modules that a module imports, of this project and of others."""
    found = set()
    for node in ast.walk(SOURCES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import in line {node.lineno}."
            module = str(node.module)
            # `from pocketrnn_export.intake import module_file` imports a module, named by its last word.
            full = {f"{module}.{alias.name}" for alias in node.names}
            found |= (full & SOURCES.keys()) | ({module} if full - SOURCES.keys() else set())
    return found - {name}


IMPORTS = {name: imports_of(name) for name in SOURCES}


def package_of(name: str) -> str:
    return name.partition(".")[0]


def modules_of(package: str) -> list[str]:
    return [name for name in SOURCES if package_of(name) == package]


def in_commands(name: str) -> bool:
    return name.split(".")[1:2] == ["commands"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_those_to_its_left(package: str) -> None:
    order = list(PACKAGES)
    to_its_right = set(order[order.index(package) + 1 :])
    wrong = [
        (name, other) for name in modules_of(package) for other in IMPORTS[name] if package_of(other) in to_its_right
    ]
    assert wrong == []


def test_a_wing_of_the_exporter_imports_only_from_those_to_its_left() -> None:
    package = "pocketrnn_export"
    modules = [name for name in modules_of(package) if name != package]
    wings = {name: name.split(".")[1] for name in modules}
    assert set(wings.values()) <= set(WINGS), "A new wing needs its position in WINGS."
    wrong = [
        (name, other)
        for name in modules
        for other in IMPORTS[name] & wings.keys()
        if WINGS.index(wings[other]) > WINGS.index(wings[name])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_only_commands_know_a_terminal(package: str) -> None:
    # `python -m pocketrnn` starts the command line and does nothing else.
    modules = [name for name in modules_of(package) if not in_commands(name) and name != "pocketrnn.__main__"]
    wrong = [
        (name, other)
        for name in modules
        for other in IMPORTS[name]
        if package_of(other) in TERMINAL or (package_of(other) in PACKAGES and in_commands(other))
    ]
    assert wrong == []


def test_no_imports_run_in_a_circle() -> None:
    circle: list[str] = []
    try:
        TopologicalSorter({name: imported & SOURCES.keys() for name, imported in IMPORTS.items()}).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def lines_of(function: Function) -> int:
    """The lines from `def` to the end, without the docstring; decorators stand before `def`."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_has_at_most_sixty_lines_or_says_why_not(package: str) -> None:
    long = [
        (name, node.name, lines)
        for name in modules_of(package)
        for node in ast.walk(SOURCES[name])
        if isinstance(node, Function)
        and (lines := lines_of(node)) > LONGEST
        and not re.search(r"^Long because ", ast.get_docstring(node) or "", re.MULTILINE)
    ]
    assert long == []


def public_names(package: str) -> list[str]:
    for node in SOURCES[package].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    pytest.fail(f"{package} has no __all__.")


def definition_of(module: str, name: str) -> Definition | None:
    """The function or class that a module has under a name, also when it imports it; None for another value."""
    for node in SOURCES[module].body:
        if isinstance(node, Definition) and node.name == name:
            return node
    for imported in ast.walk(SOURCES[module]):
        if isinstance(imported, ast.ImportFrom) and imported.module in SOURCES:
            for alias in imported.names:
                if (alias.asname or alias.name) == name:
                    return definition_of(imported.module, alias.name)
    assigned = (ast.unparse(node.targets[0]) for node in SOURCES[module].body if isinstance(node, ast.Assign))
    assert name in assigned, f"{module} does not define {name}."
    return None


def methods_of(definition: ast.ClassDef) -> Iterator[Function]:
    """The public methods of a class, without properties and the signatures of overloads."""
    others = {"property", "functools.cached_property", "cached_property", "overload", "typing.overload"}
    for node in definition.body:
        if not isinstance(node, Function) or node.name.startswith("_"):
            continue
        if not {ast.unparse(decorator) for decorator in node.decorator_list} & others:
            yield node


def public_functions(package: str) -> Iterator[tuple[str, Function]]:
    """The functions in the package's `__all__`, and the methods of the classes there."""
    for name in public_names(package):
        found = definition_of(package, name)
        if isinstance(found, ast.ClassDef):
            yield from ((f"{name}.{method.name}", method) for method in methods_of(found))
        elif found is not None:
            yield name, found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_shows_an_example(package: str) -> None:
    functions = dict(public_functions(package))
    assert functions
    without = [
        name
        for name, function in functions.items()
        if not re.search(r"^Examples?:\n+ +>>> ", ast.get_docstring(function) or "", re.MULTILINE)
    ]
    assert without == []
