"""Find the code near a module that answers texts, the classes that it makes, and the files that it loads. No file is
run."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.class_definitions import find_class_in_file_or_imports
from pocketrnn_export.source_code.code_and_data_files_near_module import is_string_the_end_of_file_name, list_files_near
from pocketrnn_export.source_code.functions_that_answer_or_split import is_name_of_answering_function
from pocketrnn_export.source_code.notebook import Cell, read_python_cells
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    find_keyword_arguments,
    find_methods,
    list_assigned_names,
    list_needed_names,
    list_positional_parameters,
    read_last_name,
)
from pocketrnn_export.source_code.values_of_call_arguments import list_assigned_values

_TRAINS: Final = re.compile(r"train|(^|_)fit|epoch", re.IGNORECASE)
_LOADS: Final = re.compile(r"load|load_(state_dict|file|model|checkpoint|weights)")
_SAVES: Final = re.compile(r"save|save_(state_dict|file|model|checkpoint|weights)")


@dataclass(frozen=True, eq=False)
class CodePart:
    """A function, a class without a `forward`, or all top-level code of a file outside of functions and classes.

    Attributes:
        file: the file that contains the code.
        name: the name of the function or class; empty for the top-level code.
        cells: the statements, each with its notebook cell. A Python file is one cell.
    """

    file: Path
    name: str
    cells: Sequence[tuple[Cell, ast.stmt]]

    @functools.cached_property
    def nodes(self) -> list[tuple[str, ast.AST]]:
        """The syntax nodes of this code, as pairs (place, node). A place is a string such as `model.py, line 9`."""
        nodes = ((cell, node) for cell, statement in self.cells for node in ast.walk(statement))
        return [(cell.describe_place(self.file, node), node) for cell, node in nodes]

    @functools.cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """The calls in this code, sorted by line, as pairs (place, call). A place is such as `model.py, line 9`."""
        found: list[tuple[str, ast.Call]] = []
        for cell in self.cells:
            nodes = replace(self, cells=[cell]).nodes
            of_cell = [(where, node) for where, node in nodes if isinstance(node, ast.Call)]
            found += sorted(of_cell, key=lambda one: one[1].lineno)
        return found

    @functools.cached_property
    def called_names(self) -> set[str]:
        """The last names of the functions and classes that this code calls: `Linear` for `nn.Linear(2, 2)`."""
        return {read_last_name(node.func) for _, node in self.nodes if isinstance(node, ast.Call)}

    @functools.cached_property
    def needed_names(self) -> set[str]:
        """The names that this code reads and does not bind itself."""
        return {name for _, statement in self.cells for name in list_needed_names(statement)}

    @property
    def is_answering(self) -> bool:
        """Whether the name of the function, the class or one of its methods says that the code predicts, such as
        `predict`."""
        named = [self.name, *(one.name for _, node in self.cells if isinstance(node, ast.ClassDef)
                              for one in find_methods(node))]  # fmt: skip
        return any(map(is_name_of_answering_function, named))

    @property
    def is_training(self) -> bool:
        """Whether the name says that the code trains, such as `train`. Top-level code counts by the name of its
        file."""
        return _TRAINS.search(self.name or self.file.stem) is not None


def list_code_parts(path: Path) -> list[CodePart]:
    """List the functions, the classes without a `forward` and the top-level code of a module's file, and then those of
    the Python files near this file. Files that cannot be read are left out."""
    found: list[CodePart] = []
    for file in list_files_near(path):
        with contextlib.suppress(InputError, OSError):
            others: list[tuple[Cell, ast.stmt]] = []
            for cell in read_python_cells(file):
                for one in cell.statements:
                    if isinstance(one, Function) or (
                        isinstance(one, ast.ClassDef) and not find_methods(one, "forward")
                    ):
                        found.append(CodePart(file, one.name, [(cell, one)]))
                    elif not isinstance(one, ast.ClassDef):
                        others.append((cell, one))
            found.append(CodePart(file, "", others))
    return found


def list_answering_code(parts: Sequence[CodePart]) -> list[list[CodePart]]:
    """List the code that answers texts (computes predictions for them), in three groups.

    The first group is the functions and classes with a name such as `predict`. The second group is the code that the
    first group calls. The third group is the code that calls the first group, such as a script, and its other calls.

    Args:
        parts: all code near the module, from `list_code_parts`.
    """
    answering = [one for one in parts if one.is_answering]
    # A script that answers has the name of its file.
    answering += [one for one in parts if not one.name and is_name_of_answering_function(one.file.stem)
                  and not one.is_training and not any(other.file == one.file for other in answering)]  # fmt: skip
    inner = _list_called_parts(answering, parts)
    names = {one.name for one in answering if one.name}
    callers = [one for one in parts if one.called_names & names and one not in answering and not one.is_training]
    outer = [one for one in callers if one not in inner]
    return [answering, inner, [*outer, *_list_called_parts([*outer, *answering, *inner], parts)]]


def _list_called_parts(first: Sequence[CodePart], parts: Sequence[CodePart]) -> list[CodePart]:
    """List the code that the parts in `first` call, directly or through other code. Top-level assignments such as
    `model = load_model()`, whose names this code reads, are included. Code that trains is left out.

    Args:
        first: the parts where the search starts. The result does not contain them.
        parts: all code near the module.
    """
    found, waiting, seen = [*first], [*first], set[int]()
    while waiting:
        part = waiting.pop(0)
        called = [one for one in parts if one.name in part.called_names and one not in found and not one.is_training]
        outside = next(one for one in parts if not one.name and one.file == part.file)
        unseen = [(cell, one) for cell, one in outside.cells if part.name and id(one) not in seen]
        made = [(cell, one) for cell, one in unseen if _assigns_result_of_call_to_name(one, part.needed_names)]
        seen |= {id(one) for _, one in made}
        called += [replace(outside, cells=made)] if made and outside not in found else []
        found += called
        waiting += called
    return found[len(first) :]


def _assigns_result_of_call_to_name(statement: ast.stmt, names: Collection[str]) -> bool:
    """Return whether a statement assigns an expression with a call to one of `names`, as in `model = load_model()`."""
    is_made = isinstance(statement, ast.Assign) and any(isinstance(one, ast.Call) for one in ast.walk(statement.value))
    return is_made and bool(list_assigned_names(statement) & {*names})


class MadeClass(NamedTuple):
    """A class that a piece of code instantiates, as in `model = Attentive(100)`.

    Attributes:
        name: the name of the class.
        maker: the name of the function, class or file that contains the call.
        file: the file that contains the call.
        place: the file and line of the call.
        is_only: whether code that predicts contains the call, and instantiates none of the other classes.
        others: the other classes that such code instantiates.
    """

    name: str
    maker: str
    file: Path
    place: str
    is_only: bool
    others: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """A sentence that says where the class is instantiated, and which other classes are."""
        others = f", and the code with it also {', '.join(self.others)}" if self.others else ""
        return f"{self.maker} makes {self.name} ({self.place}){others}."


def find_class_that_answering_code_instantiates(path: Path, names: Collection[str]) -> MadeClass | None:
    """Find the class that code near a module instantiates to answer texts (compute predictions). If no such code is
    found, find the class that the training code instantiates. Return None if neither is found.

    Args:
        path: the file of the module.
        names: the classes to choose from.

    Example:
        >>> find_class_that_answering_code_instantiates(Path("model.py"), ["Plain", "Attentive"]).sentence
        'predict_texts makes Attentive (model.py, line 9).'
    """
    parts = list_code_parts(path)
    answering = [_list_instantiated_classes(group, names) for group in list_answering_code(parts)]
    for at, group in enumerate(answering):
        if group:
            # The answering functions and the code that they call belong together.
            made = {one.name for some in answering[: max(at + 1, 2)] for one in some}
            same = [one for one in group if one.maker == group[0].maker and one.file == group[0].file]
            most = max(same, key=_count_calls_and_commented_calls)
            return most._replace(is_only=len(made) == 1, others=(*sorted(made - {most.name}),))
    trained = _list_instantiated_classes([one for one in parts if one.is_training], names)
    return trained[0] if trained else None


def _count_calls_and_commented_calls(made: MadeClass) -> int:
    """Count the calls of a class, such as `Attentive(`, in the file that instantiates it. Calls in comments count,
    since they show the class that the file used before.

    Args:
        made: the class and its file.
    """
    return len(re.findall(rf"\b{re.escape(made.name)}\(", made.file.read_text("utf-8", errors="replace")))


def _list_instantiated_classes(parts: Sequence[CodePart], names: Collection[str]) -> list[MadeClass]:
    """List the calls by which some code instantiates one of the classes `names`, in the order of the code."""
    return [
        MadeClass(made, part.name or part.file.name, part.file, where, is_only=False)
        for part in parts for where, node in part.nodes
        if isinstance(node, ast.Call) and (made := read_last_name(node.func)) in names
    ]  # fmt: skip


def find_first_module_that_answering_code_instantiates(modules: Sequence[str]) -> tuple[str, MadeClass] | None:
    """Find the first of some modules that code near its file instantiates to answer texts (compute predictions). Return
    the module as file.py:name, and the call that instantiates it. Return None if no module is found.

    If several files define a class with this name, the returned file is the one that the code imports.

    Args:
        modules: the modules to choose from, each as file.py:name.
    """
    named = [one.rpartition(":") for one in modules]
    for file in dict.fromkeys(file for file, _, _ in named):
        if made := find_class_that_answering_code_instantiates(
            Path(file), [name for other, _, name in named if other == file]
        ):
            # The same code may make modules of several files.
            of_all = find_class_that_answering_code_instantiates(Path(file), [name for _, _, name in named])
            if of_all is not None and (of_all.maker, of_all.file) == (made.maker, made.file):
                made = of_all
            used = find_class_in_file_or_imports(made.file, made.name)
            same = [other for other, _, name in named if name == made.name]
            meant = [other for other in same if used is not None and Path(other).resolve() == used[0].resolve()]
            return f"{(meant or [file])[0]}:{made.name}", made
    return None


def find_first_module_that_function_instantiates(
    path: Path, name: str, modules: Sequence[str]
) -> tuple[str, MadeClass] | None:
    """Find the first of some modules that a function or class instantiates, itself or through the code that it calls.
    Return the module as file.py:name, and the call that instantiates it. Return None if no module is found.

    Args:
        path: the file of the function or class.
        name: the name of the function or class.
        modules: the modules to choose from, each as file.py:name.
    """
    parts = list_code_parts(path)
    own = [one for one in parts if one.file == path and one.name == name]
    of_names = {one.rpartition(":")[2]: one for one in reversed(modules)}
    made = _list_instantiated_classes([*own, *_list_called_parts(own, parts)], of_names)
    return (of_names[made[0].name], made[0]) if made else None


def list_files_that_answering_code_loads(path: Path, files: Sequence[Path]) -> list[dict[Path, str]]:
    """List which of some files, such as weights, the code near a module uses to answer texts (compute predictions).

    The result has one dict for each of the three groups of `list_answering_code`. Then comes one dict for each other
    code file, with only the last file that it uses. Each dict maps a used file to the file and line of the code.

    A file is used if the code loads it. If the code loads one file and later saves another one, it continues a
    training, and the file that it saves last is the used one. A file that is saved in a loop is one of several
    checkpoints, and is not used.

    Args:
        path: the file of the module.
        files: the files to look for, such as files of weights.

    Example:
        >>> list_files_that_answering_code_loads(Path("model.py"), [Path("first.pt"), Path("best.pt")])
        [{PosixPath('best.pt'): 'model.py, line 12'}, {}, {}]
    """
    parts = list_code_parts(path)
    answering = list_answering_code(parts)
    groups = [_find_files_in_use_at_end_of_group(group, parts, files) for group in answering]
    others = [one for one in parts if not any(one in group for group in answering)]
    for code in dict.fromkeys(one.file for one in others):
        used = [_list_files_in_use_at_end(one, parts, files) for one in others if one.file == code]
        groups += [dict(each[-1:]) for each in used if each][-1:]
    return groups


def _find_files_in_use_at_end_of_group(
    group: Sequence[CodePart], parts: Sequence[CodePart], files: Sequence[Path]
) -> dict[Path, str]:
    """Return which of `files` are in use at the end of some code, mapped to the file and line of the code. Files that
    the module's own code uses come first. Among the files that one code file uses, the last used comes first.

    Args:
        group: the code.
        parts: all code near the module, in which the values of names are looked up.
        files: the files to look for.
    """
    found: dict[Path, str] = {}
    for code in dict.fromkeys(one.file for one in group):
        used = [one for part in group if part.file == code for one in _list_files_in_use_at_end(part, parts, files)]
        found |= {file: where for file, where in reversed(used) if file not in found}
    return found


def _list_files_in_use_at_end(
    part: CodePart, parts: Sequence[CodePart], files: Sequence[Path]
) -> list[tuple[Path, str]]:
    """List which of `files` are in use at the end of one piece of code, each with the file and line of the code. These
    are the files that the code loads after its last save. If there are none, it is the file that the code saves last,
    unless this save is in a loop.

    Args:
        part: the piece of code.
        parts: all code near the module, in which the values of names are looked up.
        files: the files to look for.
    """
    loops = [node for _, node in part.nodes if isinstance(node, ast.For | ast.While)]
    in_loops = {id(inner) for loop in loops for inner in ast.walk(loop)}
    loaded: list[tuple[Path, str]] = []
    saved: list[tuple[Path, str]] = []
    for where, node in part.calls:
        called = read_last_name(node.func)
        is_load, is_save = _LOADS.fullmatch(called) is not None, _SAVES.fullmatch(called) is not None
        values = [*node.args, *(keyword.value for keyword in node.keywords)] if is_load or is_save else []
        written = [text for one in values for text in _list_strings(one, part, parts, set())]
        names = [one.replace("\\", "/").rpartition("/")[2] for one in written]
        # A name that several folders have is that of the first file.
        found = [
            (file, where) for name in names for file in reversed(files) if is_string_the_end_of_file_name(file, name)
        ]
        if is_save and found:
            loaded, saved = [], saved if id(node) in in_loops else found
        else:
            loaded += found
    return loaded or saved


def _list_strings(
    value: ast.expr, part: CodePart, parts: Sequence[CodePart], seen: set[tuple[str, CodePart]]
) -> Iterator[str]:
    """Yield the strings in an expression, and the strings in the values of its variables.

    Args:
        value: the expression.
        part: the code that contains the expression.
        parts: all code near the module, in which the values of variables are looked up.
        seen: the variables that were looked up already, each with the code that uses it. The function adds to this set.
    """
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name | ast.Attribute) and (read_last_name(node), part) not in seen:
            seen.add((read_last_name(node), part))
            for inner, where in _list_values_of_variable(read_last_name(node), part, parts):
                yield from _list_strings(inner, where, parts, seen)


def _list_values_of_variable(
    name: str, part: CodePart, parts: Sequence[CodePart]
) -> Iterator[tuple[ast.expr, CodePart]]:
    """Yield the values that code gives to a variable, each with the code that gives it. They come from assignments in
    `part`; if there are none and the variable is a parameter, from calls of its function; else from top-level code.

    Args:
        part: the code that uses the variable.
        parts: all code near the module.
    """
    own = [one for one in _list_values_assigned_in_part(name, part) if read_last_name(one) != name]
    yield from ((value, part) for value in own)
    for _, one in part.cells if not own else ():
        functions = find_methods(one, "__init__") if isinstance(one, ast.ClassDef) else [one]
        for function in (each for each in functions if isinstance(each, Function)):
            parameters = list_positional_parameters(function)[isinstance(one, ast.ClassDef) :]
            if name in parameters:
                yield from _list_values_of_parameter(name, parameters, part, parts)
                return
    for other in parts if not own else ():
        if not other.name or any(isinstance(one, ast.ClassDef) for _, one in other.cells):
            yield from ((value, other) for value in _list_values_assigned_in_part(name, other))


def _list_values_of_parameter(
    name: str, parameters: Sequence[str], part: CodePart, parts: Sequence[CodePart]
) -> Iterator[tuple[ast.expr, CodePart]]:
    """Yield the values that calls give to one parameter of a function or class, each with the code that contains the
    call.

    Args:
        name: the parameter.
        parameters: all positional parameters, in order.
        part: the function or class.
        parts: all code near the module.
    """
    for caller in parts:
        for _, node in caller.nodes:
            if isinstance(node, ast.Call) and read_last_name(node.func) == part.name:
                given = dict(zip(parameters, node.args, strict=False)) | find_keyword_arguments(node)
                if name in given:
                    yield given[name], caller


def _list_values_assigned_in_part(name: str, part: CodePart) -> Iterator[ast.expr]:
    """Yield the values that one piece of code assigns to a variable or attribute. The default of a parameter, or of a
    command-line option, with this name counts as assigned."""
    for _, node in part.nodes:
        yield from (value for assigned, value in list_assigned_values(node) if assigned == name)
