"""Complete a SOURCE that is a Python file or notebook without the name of a module, and refuse other files that hold no
module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pocketrnn.commands.standard_streams import print_line
from pocketrnn.errors import InputError
from pocketrnn_export.commands.missing_option_files import correct_missing_source
from pocketrnn_export.commands.proposed_options import (
    list_classes_that_fit,
    list_modules_that_fit,
    list_weight_files_near,
    propose_weights,
)
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.pytorch_file_memory_check import is_torchscript
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.vocabularies.checkpoint_file import is_checkpoint, list_weight_names

if TYPE_CHECKING:
    from pocketrnn_export.source_code.answering_code import MadeClass

_MOST_NAMED: Final = 8


def complete_source(source: str) -> str:
    """Add the name of a module class to a SOURCE that is only a Python file or notebook, and return it. The class is
    the only one of the file, or the only one with the layers of the weights. Return any other SOURCE, such as a folder,
    unchanged.

    Raises:
        InputError: the file is missing, or defines several such classes, or none; a folder is no checkpoint, but holds
            code; or a name is not that of a module. `OptionCorrectionsError` gives the right SOURCE.
    """
    correct_missing_source(source)
    _refuse_name_without_module(source)
    path = Path(source)
    if path.is_dir() and not (path / "config.json").exists():
        _refuse_folder_of_code(path)
    is_code = path.suffix in (".py", ".ipynb")
    if not path.is_file() or (not is_code and is_torchscript(path)):
        return source
    from pocketrnn_export.source_code.class_definitions import find_calls_of_classes, list_module_classes

    names = list_module_classes(path) if is_code else []
    parameters = click.get_current_context().params
    proposed = propose_weights(path) if len(names) > 1 else None
    weights = parameters["weights"] or (None if proposed is None or proposed.others else proposed.path)
    layers = list_weight_names(weights) if weights is not None and len(names) > 1 and weights.is_file() else []
    fitting = list_classes_that_fit(path, names, weights) if layers and weights is not None else names
    calls = find_calls_of_classes(path, fitting) if len(fitting) > 1 else {}
    if len(fitting) == 1 or len(calls) == 1:
        ((name, where),) = calls.items() or [(fitting[0], "")]
        completed = f"{path}:{name}"
        why = f"has the layers in {weights}" if layers else "" if where else "is not part of another one"
        why += f"{' and ' * bool(layers)}is made in {where}" if where else ""
        print_line(f"Note: {path} is taken as {completed}, the only module there that {why}.", err=True)
        parameters["source"] = completed
        return completed
    found = [f"{path}:{name}" for name in names]
    if names:
        ordered, likeliest, made = choose_module([f"{path}:{name}" for name in fitting] or found, [], path.parent)
        likeliest = likeliest if made is not None else next((f"{path}:{name}" for name in calls), likeliest)
    else:
        files = list_weight_files_near(path) if is_code and weights is None else [weights or path]
        ordered, likeliest, made = choose_module(_list_modules_made_or_near(path), files, path.parent)
        found = ordered
    if names and made is not None and made.is_only:
        others = [one for one in found if one != likeliest]
        print_line(
            f"Note: {likeliest} is taken, which {made.maker} makes ({made.place}); name another as "
            f"{' or '.join(others)}.",
            err=True,
        )
        parameters["source"] = likeliest
        return likeliest
    changes: dict[str, str | None] = {"source": likeliest or "file.py:name"}
    problem = f"{path} defines {'several modules' if names else 'no module, that is, no class with a forward'}."
    if not is_code:
        may_be_weights = path.suffix == ".safetensors" or is_checkpoint(path)
        problem = f"{path} is neither the code of a module nor a complete TorchScript file."
        problem += " A file of weights needs the module's code." * may_be_weights
        changes |= {"weights": source} if may_be_weights else {}
    if not found:
        given = f", and give --weights {path}" if "weights" in changes else ""
        other = f"Name the Python file or notebook with the module, such as model.py{given}."
        raise InputError(problem, f"Name what makes the module, as in {path}:make." if is_code else other)
    raise OptionCorrectionsError(problem, f"Name one of them: {_describe_choice(found, made)}", changes)


def choose_module(
    modules: Sequence[str], weights: Iterable[Path], folder: Path
) -> tuple[list[str], str, MadeClass | None]:
    """Choose the likeliest of several modules: one that fits a file of weights, if any does; a recurrent one, if there
    is any; and of these the one that the code which answers texts makes.

    Args:
        modules: the modules, each as file.py:name.
        weights, folder: as in `list_modules_that_fit`.

    Returns:
        the modules that may be meant, the recurrent ones first; the likeliest, or an empty string; and where code makes
        it, or None.
    """
    from pocketrnn_export.source_code.answering_code import find_module_of_answering_code
    from pocketrnn_export.source_code.class_definitions import is_recurrent

    found = list_modules_that_fit(modules, weights, folder) or [*modules]
    named = {one: one.rpartition(":") for one in found}
    recurrent = [one for one, (file, _, name) in named.items() if is_recurrent(Path(file), name)]
    found = [*dict.fromkeys([*recurrent, *found])]
    chosen = find_module_of_answering_code(recurrent or found)
    return (found, *chosen) if chosen is not None else (found, next(iter(found), ""), None)


def _list_modules_made_or_near(path: Path) -> list[str]:
    """Return the modules in the files near a file that its own code makes or, if it makes none, all of them."""
    from pocketrnn_export.source_code.class_definitions import list_module_classes_near
    from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
    from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

    near = list_module_classes_near(path)
    code = read_python_statements_if_readable(path) if path.suffix in (".py", ".ipynb") else []
    nodes = (node for one in code for node in ast.walk(one))
    made = {read_last_name(node.func) for node in nodes if isinstance(node, ast.Call)}
    return [one for one in near if one.rpartition(":")[2] in made] or near


def _describe_choice(modules: Sequence[str], made: MadeClass | None) -> str:
    """Write the modules to choose from, and where code makes the likeliest."""
    more = len(modules) - _MOST_NAMED
    named = f"{', '.join(modules[:_MOST_NAMED])}{f', and {more} more' if more > 0 else ''}."
    return named if made is None else f"{named} {made.sentence}"


def _refuse_name_without_module(source: str) -> None:
    """Raise an error if a SOURCE file.py:name names a method, a class without a forward, or the part of an object. The
    error, an InputError or an OptionCorrectionsError, proposes the module class that the named code makes."""
    from pocketrnn_export.source_code.answering_code import find_module_made_by
    from pocketrnn_export.source_code.class_definitions import (
        is_class_without_forward,
        list_module_classes,
        list_module_classes_near,
    )

    found = re.fullmatch(r"(?s)(.+\.(?:py|ipynb)):\s*([A-Za-z_]\w*)(.*)", source)
    if found is None or not Path(found[1]).is_file():
        return
    path, name, rest = Path(found[1]), found[2], found[3]
    if is_class_without_forward(path, name):
        problem = f"{name} in {path} is a class without a forward, and not a module."
    elif not rest or (
        rest[0] == "(" and rest[-1] == ")" and (parsed := parse_module_name(source)) and not parsed.method
    ):
        return
    else:
        problem = f"{source} names a part of an object or a method, and not a module."
    own = [f"{path}:{one}" for one in list_module_classes(path)]
    modules = [*own, *list_module_classes_near(path)]
    remedy = "Name a class, a module, or a function that makes a module."
    if f"{path}:{name}" in modules:
        raise OptionCorrectionsError(problem, remedy, {"source": f"{path}:{name}"})
    if not modules:
        raise InputError(problem, remedy)
    if (found_made := find_module_made_by(path, name, modules)) is not None:
        likeliest, made = found_made
        raise OptionCorrectionsError(problem, f"{made.sentence} Name it: {likeliest}.", {"source": likeliest})
    ordered, likeliest, made_near = choose_module(modules, list_weight_files_near(path), path.parent)
    raise OptionCorrectionsError(
        problem, f"Name one of them: {_describe_choice(ordered, made_near)}", {"source": likeliest}
    )


def _refuse_folder_of_code(folder: Path) -> None:
    """Raise an OptionCorrectionsError for a folder whose Python files define modules, or whose notebooks define a
    module that fits the weights. The error names these modules."""
    from pocketrnn_export.source_code.class_definitions import list_module_classes_near

    inside = folder / "__init__.py"
    near = list_module_classes_near(inside) or list_module_classes_near(inside, in_scripts=True)
    found = [one for one in near if Path(one).resolve().is_relative_to(folder.resolve())]
    given = click.get_current_context().params["weights"]
    weights = list_weight_files_near(inside) if given is None else [given]
    named, source, made = choose_module(found, weights, folder)
    if named:
        raise OptionCorrectionsError(
            f"{folder} holds no config.json, so that it is not a folder that `pocketrnn train` wrote, but holds code.",
            f"Name one of its modules: {_describe_choice(named, made)}",
            {"source": source},
        )
