"""Find the classes of modules in a Python file or notebook. The file is not run."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.files_near_module import list_files_near, list_syntax_nodes_near
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.parts_of_functions_and_classes import find_methods

_MOST_NAMED: Final = 8
_BESIDE_THE_CODE: Final = frozenset(("example", "examples", "test", "tests", "scripts", "docs", "benchmarks", "venv"))


def list_module_classes(path: Path) -> list[str]:
    """List the names of the classes in a file that may be the classifier: they have or inherit a `forward`. Classes
    that another of them uses, as a layer or a base class, are left out, unless no others remain.

    Args:
        path: a Python file or notebook.

    Example:
        >>> list_module_classes(Path("model.py"))
        ['Classifier']
    """
    classes: dict[str, ast.ClassDef] = {}
    for cell in read_python_cells(path):
        classes |= {one.name: one for one in cell.statements if isinstance(one, ast.ClassDef)}
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


def list_classes_with_layers(path: Path, names: Collection[str], weight_names: Collection[str]) -> list[str]:
    """List the classes among `names` that fit a state_dict: they set an attribute for each layer that its weights name.

    Args:
        path: a Python file or notebook.
        names: the names of the classes.
        weight_names: the names of the weights in a state_dict, such as `lstm.weight_ih_l0`.

    Example:
        >>> list_classes_with_layers(Path("model.py"), ["Plain", "Attentive"], ["lstm.weight_ih_l0", "attention.bias"])
        ['Attentive']
    """
    layers = {name.partition(".")[0] for name in weight_names}
    found = []
    for one in (one for cell in read_python_cells(path) for one in cell.statements):
        if isinstance(one, ast.ClassDef) and one.name in names:
            parts = [part for part in ast.walk(one) if isinstance(part, ast.Attribute)]
            if layers <= {part.attr for part in parts if isinstance(part.ctx, ast.Store)}:
                found.append(one.name)
    return found


def find_calls_of_classes(path: Path, names: Collection[str]) -> dict[str, str]:
    """Find out which classes the code near a module calls, to tell the one in use. Return a dict from each class to the
    place of its first call. Calls in the module's own file count only if there are no others, since it may try all its
    classes.

    Args:
        path: the file of the module.
        names: the names of the classes.

    Example:
        >>> find_calls_of_classes(Path("model.py"), ["Plain", "Attentive"])
        {'Attentive': 'predict.py, line 12'}
    """
    inside: dict[str, str] = {}
    outside: dict[str, str] = {}
    for where, node in list_syntax_nodes_near(path):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in names:
            (inside if where.startswith(f"{path}, ") else outside).setdefault(name, where)
    return outside or inside


def list_module_classes_near(path: Path, *, in_scripts: bool = False) -> list[str]:
    """List the classes with a forward in the files near a file, each as file.py:name.

    Args:
        path: the file, whose own classes are left out.
        in_scripts: whether to look in folders with the name scripts, too.
    """
    found: list[str] = []
    # These folders of a project are not where its classifier is, unless the file lies there.
    left_out = _BESIDE_THE_CODE - {*path.absolute().parts, *(["scripts"] if in_scripts else [])}
    for file in list_files_near(path):
        if file != path and left_out.isdisjoint(file.parts[:-1]):
            with contextlib.suppress(InputError):
                found += [f"{file}:{name}" for name in list_module_classes(file)]
    return found[:_MOST_NAMED]
