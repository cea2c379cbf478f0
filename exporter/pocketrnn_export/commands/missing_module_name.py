"""Complete a SOURCE that is a Python file or notebook without the name of a module, and refuse other files that hold no
module."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

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
    from pocketrnn_export.source_code.answering_code import find_module_of_answering_code
    from pocketrnn_export.source_code.class_definitions import (
        find_calls_of_classes,
        list_module_classes,
        list_module_classes_near,
    )

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
    if not found:
        near = list_module_classes_near(path)
        found = list_modules_that_fit(near, [] if is_code else [path], path.parent) or near
    chosen = find_module_of_answering_code([f"{path}:{name}" for name in fitting] or found)
    if names and chosen is not None and chosen[1].is_only:
        others = [one for one in found if one != chosen[0]]
        print_line(
            f"Note: {chosen[0]} is taken, which {chosen[1].maker} makes ({chosen[1].place}); name another as "
            f"{' or '.join(others)}.",
            err=True,
        )
        parameters["source"] = chosen[0]
        return chosen[0]
    first = [f"{path}:{name}" for name in [*calls, *fitting]] or [*found, "file.py:name"]
    changes: dict[str, str | None] = {"source": first[0] if chosen is None else chosen[0]}
    why = "" if chosen is None else chosen[1].sentence
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
    said = f"Name one of them: {', '.join(found[:_MOST_NAMED])}.{f' {why}' if why else ''}"
    raise OptionCorrectionsError(problem, said, changes)


def _refuse_name_without_module(source: str) -> None:
    """Raise an error if a SOURCE file.py:name names a method, a class without a forward, or the part of an object. The
    error, an InputError or an OptionCorrectionsError, proposes the module class that the named code makes."""
    from pocketrnn_export.source_code.answering_code import find_module_made_by, find_module_of_answering_code
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
    if (made := find_module_made_by(path, name, modules) or find_module_of_answering_code(modules)) is not None:
        raise OptionCorrectionsError(problem, f"{made[1].sentence} Name it: {made[0]}.", {"source": made[0]})
    if modules:
        raise OptionCorrectionsError(problem, f"Name one of them: {', '.join(modules)}.", {"source": modules[0]})
    raise InputError(problem, remedy)


def _refuse_folder_of_code(folder: Path) -> None:
    """Raise an OptionCorrectionsError for a folder whose Python files define modules, or whose notebooks define a
    module that fits the weights. The error names these modules."""
    from pocketrnn_export.source_code.answering_code import find_module_of_answering_code
    from pocketrnn_export.source_code.class_definitions import list_module_classes_near

    inside = folder / "__init__.py"
    near = list_module_classes_near(inside) or list_module_classes_near(inside, in_scripts=True)
    found = [one for one in near if Path(one).resolve().is_relative_to(folder.resolve())]
    given = click.get_current_context().params["weights"]
    weights = list_weight_files_near(inside) if given is None else [given]
    if found := list_modules_that_fit(found, weights, folder) or found:
        chosen = find_module_of_answering_code(found)
        why, source = ("", found[0]) if chosen is None else (f" {chosen[1].sentence}", chosen[0])
        raise OptionCorrectionsError(
            f"{folder} holds no config.json, so that it is not a folder that `pocketrnn train` wrote, but holds code.",
            f"Name one of its modules: {', '.join(found[:_MOST_NAMED])}.{why}",
            {"source": source},
        )
