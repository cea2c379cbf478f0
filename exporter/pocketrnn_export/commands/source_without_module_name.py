"""Complete a SOURCE that is a Python file or notebook without the name of a module, and refuse other files that hold no
module."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn

import click

from pocketrnn.bundle.manifest import CLASSIFIER_JSON
from pocketrnn.commands.standard_streams import print_line
from pocketrnn.errors import InputError
from pocketrnn_export.commands.missing_option_files import correct_missing_source
from pocketrnn_export.commands.proposed_options import (
    describe_module_of_other_file,
    list_classes_that_fit,
    list_modules_that_fit,
    list_weight_files_near,
    propose_weights,
)
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.pytorch_file_memory_check import is_torchscript
from pocketrnn_export.option_corrections_error import MissingOptionsError, OptionCorrectionsError
from pocketrnn_export.vocabularies.checkpoint_file import is_checkpoint, list_weight_names
from pocketrnn_training.classifiers.checkpoint_file_names import CONFIG_JSON, read_checkpoint_file

if TYPE_CHECKING:
    from pocketrnn_export.source_code.answering_code import MadeClass

_MOST_NAMED: Final = 8


def complete_source(source: str) -> str:
    """Complete a SOURCE that is only a Python file, a notebook or a folder of code by the name of a module class in it,
    and return the new SOURCE. The class is the only one there, the only one with the layers of the weights, or the one
    that the code for answering texts makes. Return any other SOURCE, such as a checkpoint, unchanged.

    Raises:
        InputError: the file is missing; it defines several such classes, or none; the folder is neither a checkpoint
            nor has code; or a name is not that of a module. If the error is an OptionCorrectionsError, it has the right
            SOURCE.
    """
    correct_missing_source(source)
    _refuse_name_without_module(source)
    path = Path(source)
    if path.is_dir() and not (path / CONFIG_JSON).exists():
        return _complete_folder(path)
    is_code = path.suffix in (".py", ".ipynb")
    if not path.is_file() or (not is_code and is_torchscript(path)):
        return source
    from pocketrnn_export.source_code.answering_code import find_first_module_that_answering_code_instantiates
    from pocketrnn_export.source_code.class_definitions import (
        find_first_calls_of_classes,
        list_module_classes,
    )

    names = list_module_classes(path) if is_code else []
    if not names:
        _refuse_file_without_module(path, is_code=is_code)
    parameters = click.get_current_context().params
    proposed = propose_weights(path) if len(names) > 1 else None
    weights = parameters["weights"] or (None if proposed is None or proposed.others else proposed.path)
    layers = list_weight_names(weights) if weights is not None and len(names) > 1 and weights.is_file() else []
    fitting = list_classes_that_fit(path, names, weights) if layers and weights is not None else names
    calls = find_first_calls_of_classes(path, fitting) if len(fitting) > 1 else {}
    if len(fitting) == 1 or len(calls) == 1:
        ((name, where),) = calls.items() or [(fitting[0], "")]
        why = f"has the layers in {weights}" if layers else "" if where else "is not part of another one"
        why += f"{' and ' * bool(layers)}is made in {where}" if where else ""
        return _set_source_to_module(path, f"{path}:{name}", f"the only module there that {why}")
    found = [f"{path}:{name}" for name in dict.fromkeys((*calls, *fitting, *names))]
    chosen = find_first_module_that_answering_code_instantiates([f"{path}:{name}" for name in fitting] or found)
    if not (taken := _set_source_to_only_made_module(path, found, chosen)):
        _refuse_modules(f"{path} defines several modules.", found, chosen, kind=MissingOptionsError)
    return taken


def _set_source_to_only_made_module(path: Path, modules: Sequence[str], chosen: tuple[str, MadeClass] | None) -> str:
    """Set SOURCE to the module that the user's code for answering texts makes, if this code makes only one module.
    Return the new SOURCE, or an empty string if there is no such module.

    Args:
        path: the SOURCE that the user gave.
        modules: the possible modules, each as file.py:name.
        chosen: the module that the code makes, and the place in the code; None if there is none.
    """
    if chosen is None or not chosen[1].is_only:
        return ""
    others = [one for one in modules if one != chosen[0]]
    also = f"; other modules are {_name_first_modules(others)}" if others else ""
    return _set_source_to_module(path, chosen[0], f"which {chosen[1].maker} makes ({chosen[1].place}){also}")


def _set_source_to_module(path: Path, module: str, why: str) -> str:
    """Set SOURCE to `module`, which is a file.py:name, and print a note that says why this module was chosen. Return
    the new SOURCE.

    Args:
        path: the SOURCE that the user gave.
        why: the reason, as the end of a sentence.
    """
    print_line(f"Note: {path} is taken as {module}, {why}.", err=True)
    click.get_current_context().params["source"] = module
    return module


def _refuse_file_without_module(path: Path, *, is_code: bool) -> None:
    """Raise an error for a SOURCE that is a file without a module class: a file of code, of weights or of another kind.
    The error names the modules in other files near it."""
    problem, changes = f"{path} defines no module, that is, no class with a forward.", {}
    if not is_code:
        may_be_weights = path.suffix == ".safetensors" or is_checkpoint(path)
        problem = f"{path} is neither the code of a module nor a complete TorchScript file."
        problem += " A file of weights needs the module's code." * may_be_weights
        changes = {"weights": str(path)} if may_be_weights else {}
    found, chosen = _choose_module(_list_modules_made_or_near(path), path, [] if is_code else [path])
    if found:
        other = describe_module_of_other_file(path, found[0] if chosen is None else chosen[0]) if is_code else ""
        _refuse_modules(f"{problem}{other}", found, chosen, changes)
    given = f", and give --weights {path}" if changes else ""
    other = f"Name the Python file or notebook with the module, such as model.py{given}."
    raise InputError(
        problem, f"Name the object or function in it that makes the module, such as {path}:make." if is_code else other
    )


def _list_modules_made_or_near(path: Path) -> list[str]:
    """Return the modules in the files near `path`, each as file.py:name. If the code in `path` makes some of these
    modules, return only those."""
    from pocketrnn_export.source_code.class_definitions import list_module_classes_near
    from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
    from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

    near = list_module_classes_near(path)
    code = read_python_statements_if_readable(path) if path.suffix in (".py", ".ipynb") else []
    nodes = (node for one in code for node in ast.walk(one))
    made = {read_last_name(node.func) for node in nodes if isinstance(node, ast.Call)}
    return [one for one in near if one.rpartition(":")[2] in made] or near


def _refuse_name_without_module(source: str) -> None:
    """Raise an error if a SOURCE file.py:name names a method, a class without a forward, a function that returns
    nothing, or a part of an object. The error proposes the module class that the named code makes, if there is one."""
    from pocketrnn_export.source_code.answering_code import find_first_module_that_function_instantiates
    from pocketrnn_export.source_code.class_definitions import (
        explain_why_name_cannot_be_module,
        list_module_classes,
        list_module_classes_near,
    )

    found = re.fullmatch(r"(?s)(.+\.(?:py|ipynb)):\s*([A-Za-z_]\w*)(.*)", source)
    if found is None or not Path(found[1]).is_file():
        return
    path, name, rest = Path(found[1]), found[2], found[3]
    if kind := explain_why_name_cannot_be_module(path, name):
        problem = f"{name} in {path} is {kind}, and not a module."
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
    if (made := find_first_module_that_function_instantiates(path, name, modules)) is not None:
        raise OptionCorrectionsError(problem, f"{made[1].sentence} Give this class: {made[0]}.", {"source": made[0]})
    fitting, chosen = _choose_module(modules, path)
    if fitting:
        _refuse_modules(problem, fitting, chosen)
    raise InputError(problem, remedy)


def _complete_folder(folder: Path) -> str:
    """Set SOURCE to the module in the Python files of a folder: the only one, the only one that fits a file of weights,
    or the one that the code for answering texts makes. Return the new SOURCE.

    Raises:
        OptionCorrectionsError: the folder has several modules, or has none while the folders near it do. The error
            names these modules.
        CheckpointError: there is no module, and the folder is not a checkpoint.
    """
    from pocketrnn_export.source_code.class_definitions import list_module_classes_near

    inside = folder / "__init__.py"
    is_bundle = (folder / CLASSIFIER_JSON).is_file()
    near = [] if is_bundle else list_module_classes_near(inside) or list_module_classes_near(inside, in_scripts=True)
    modules = [one for one in near if Path(one).resolve().is_relative_to(folder.resolve())]
    found, chosen = ([], None) if is_bundle else _choose_module(modules, inside)
    if not found and near:
        problem = f"{folder} holds neither a checkpoint nor the code of a module."
        _refuse_modules(problem, *_choose_module(near, inside))
    if not found:
        read_checkpoint_file(folder, CONFIG_JSON)
    if len(found) == 1:
        return _set_source_to_module(
            folder, found[0], f"the only module there{' that fits the weights' * (modules != found)}"
        )
    if not (taken := _set_source_to_only_made_module(folder, found, chosen)):
        _refuse_modules(f"{folder} has several modules.", found, chosen, kind=MissingOptionsError)
    return taken


def _choose_module(
    modules: Sequence[str], path: Path, weights: Sequence[Path] = ()
) -> tuple[list[str], tuple[str, MadeClass] | None]:
    """Choose the modules that fit a file of weights, or all modules if none fits. Return a tuple: a list of these,
    recurrent ones first; and the one of them that the user's code for answering texts makes, with the place in the
    code, or None.

    Args:
        modules: the modules, each as file.py:name.
        path: a file near which notebooks and, if needed, weights are looked for.
        weights: the files of weights; if empty, the file of --weights is used, or else those near `path`.
    """
    from pocketrnn_export.source_code.answering_code import find_first_module_that_answering_code_instantiates
    from pocketrnn_export.source_code.class_definitions import has_recurrent_layer_by_names

    given = click.get_current_context().params["weights"]
    is_given = given is not None and given.is_file()
    weights = weights or ([given] if is_given else list_weight_files_near(path))
    found = list_modules_that_fit(modules, weights, path.parent) or [*modules]
    named = {one: one.rpartition(":") for one in dict.fromkeys((*found, *modules))}
    recurrent = [one for one, (file, _, name) in named.items() if has_recurrent_layer_by_names(Path(file), name)]
    chosen = find_first_module_that_answering_code_instantiates([one for one in recurrent if one in found] or found)
    if len(weights) > 1:
        # Answering code may make several modules, and other files of weights are those of the others.
        fitting = {one for file in weights for one in list_modules_that_fit(recurrent, [file], path.parent)}
        of_all = find_first_module_that_answering_code_instantiates([one for one in recurrent if one in fitting])
        if of_all is not None and (of_all[1].others or (chosen is None and of_all[1].is_only)):
            found, chosen = [one for one in recurrent if one in fitting], of_all
    return [*dict.fromkeys([*(one for one in recurrent if one in found), *found])], chosen


def _refuse_modules(
    problem: str,
    modules: Sequence[str],
    chosen: tuple[str, MadeClass] | None,
    changes: Mapping[str, str | None] = MappingProxyType({}),
    kind: type[OptionCorrectionsError] = OptionCorrectionsError,
) -> NoReturn:
    """Raise an error that names the possible modules. It proposes the chosen module or, if there is none, the first
    one.

    Args:
        problem: the sentence that says what is wrong.
        modules: the possible modules, each as file.py:name.
        chosen: the module that the code for answering texts makes, and the place in the code; None if there is none.
        changes: further options to change in the next command.
        kind: the class of the error: MissingOptionsError if SOURCE is not wrong, but may be several modules.
    """
    first = modules[0] if chosen is None else chosen[0]
    named = _name_first_modules([first, *(one for one in modules if one != first)])
    said = "" if chosen is None else f" {chosen[1].sentence}"
    of = "the module" if len(modules) == 1 else "one of the modules"
    raise kind(problem, f"Name {of}: {named}.{said}", {"source": first, **changes})


def _name_first_modules(modules: Sequence[str]) -> str:
    """Return a phrase with the names of the first eight modules and the number of the others, such as "a.py:A, a.py:B
    and 3 more"."""
    more = len(modules) - _MOST_NAMED
    return ", ".join(modules[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
