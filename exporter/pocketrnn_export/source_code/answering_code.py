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
from pocketrnn_export.source_code.code_and_data_files_near_module import is_named, list_files_near
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
    """A function, the methods of a class, or the other code of a file. Classes with a forward are left out.

    Attributes:
        file: the file.
        name: the name of the function or class; empty for the other code of a file.
        cells: the statements, each with its cell.
    """

    file: Path
    name: str
    cells: Sequence[tuple[Cell, ast.stmt]]

    @functools.cached_property
    def nodes(self) -> list[tuple[str, ast.AST]]:
        """The syntax nodes, each with its file and line."""
        nodes = ((cell, node) for cell, statement in self.cells for node in ast.walk(statement))
        return [(cell.describe_place(self.file, node), node) for cell, node in nodes]

    @functools.cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """The calls in the order of the lines, each with its file and line."""
        found: list[tuple[str, ast.Call]] = []
        for cell in self.cells:
            nodes = replace(self, cells=[cell]).nodes
            of_cell = [(where, node) for where, node in nodes if isinstance(node, ast.Call)]
            found += sorted(of_cell, key=lambda one: one[1].lineno)
        return found

    @functools.cached_property
    def called_names(self) -> set[str]:
        """The last names of the functions and classes that the code calls."""
        return {read_last_name(node.func) for _, node in self.nodes if isinstance(node, ast.Call)}

    @functools.cached_property
    def needed_names(self) -> set[str]:
        """The names that the code reads and that it does not bind itself."""
        return {name for _, statement in self.cells for name in list_needed_names(statement)}

    @property
    def is_answering(self) -> bool:
        """Whether the name, or the name of a method, says that the code answers texts."""
        named = [self.name, *(one.name for _, node in self.cells if isinstance(node, ast.ClassDef)
                              for one in find_methods(node))]  # fmt: skip
        return any(map(is_name_of_answering_function, named))

    @property
    def is_training(self) -> bool:
        """Whether the name of this part says that the code trains. The name of the file counts if the part has none."""
        return _TRAINS.search(self.name or self.file.stem) is not None


def list_code_parts(path: Path) -> list[CodePart]:
    """List the parts of a module's code: the functions, the classes and the other code of its file, and then those of
    the Python files near it.

    Args:
        path: the file of the module.
    """
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
    """List the parts that answer texts, in groups: the answering functions; the code that these call; the code that
    calls these, such as a script, and what it calls.

    Args:
        parts: the parts of the code, from `list_code_parts`.
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
    """List the parts that some parts call, directly or not, and the statements outside of functions that make what they
    read, such as `model = load_model()`. Parts that train are left out."""
    found, waiting, seen = [*first], [*first], set[int]()
    while waiting:
        part = waiting.pop(0)
        called = [one for one in parts if one.name in part.called_names and one not in found and not one.is_training]
        outside = next(one for one in parts if not one.name and one.file == part.file)
        made = [(cell, one) for cell, one in outside.cells
                if part.name and id(one) not in seen and _assigns_call(one, part.needed_names)]  # fmt: skip
        seen |= {id(one) for _, one in made}
        called += [replace(outside, cells=made)] if made and outside not in found else []
        found += called
        waiting += called
    return found[len(first) :]


def _assigns_call(statement: ast.stmt, names: Collection[str]) -> bool:
    """Return whether a statement assigns the result of a call to one of some names."""
    is_made = isinstance(statement, ast.Assign) and any(isinstance(one, ast.Call) for one in ast.walk(statement.value))
    return is_made and bool(list_assigned_names(statement) & {*names})


class MadeClass(NamedTuple):
    """A class that code makes.

    Attributes:
        name: its name.
        maker: the function, class or file that makes it.
        file: the file of this code.
        place: where, as a file and a line.
        is_only: whether the code answers texts, and makes no other of the classes.
        others: the other classes that code which answers texts makes.
    """

    name: str
    maker: str
    file: Path
    place: str
    is_only: bool
    others: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """A sentence that says where the class is made, and which others are."""
        others = f", and the code with it also {', '.join(self.others)}" if self.others else ""
        return f"{self.maker} makes {self.name} ({self.place}){others}."


def find_class_of_answering_code(path: Path, names: Collection[str]) -> MadeClass | None:
    """Find the class that the answering code near a module makes; if it makes none, the one that the training code
    makes. Return None if neither makes one.

    Args:
        path: the file of the module.
        names: the names of the classes to choose from.

    Example:
        >>> find_class_of_answering_code(Path("model.py"), ["Plain", "Attentive"]).sentence
        'predict_texts makes Attentive (model.py, line 9).'
    """
    parts = list_code_parts(path)
    answering = [_list_made_classes(group, names) for group in list_answering_code(parts)]
    for at, group in enumerate(answering):
        if group:
            # The answering functions and the code that they call belong together.
            made = {one.name for some in answering[: max(at + 1, 2)] for one in some}
            same = [one for one in group if one.maker == group[0].maker and one.file == group[0].file]
            most = max(same, key=_count_calls_and_commented_calls)
            return most._replace(is_only=len(made) == 1, others=(*sorted(made - {most.name}),))
    trained = _list_made_classes([one for one in parts if one.is_training], names)
    return trained[0] if trained else None


def _count_calls_and_commented_calls(made: MadeClass) -> int:
    """Return how often the file that makes a class has a call of it, in comments, too: these show what it made
    before."""
    return len(re.findall(rf"\b{re.escape(made.name)}\(", made.file.read_text("utf-8", errors="replace")))


def _list_made_classes(parts: Sequence[CodePart], names: Collection[str]) -> list[MadeClass]:
    """List the classes among `names` that parts of the code make, in the order of the code."""
    return [
        MadeClass(made, part.name or part.file.name, part.file, where, is_only=False)
        for part in parts for where, node in part.nodes
        if isinstance(node, ast.Call) and (made := read_last_name(node.func)) in names
    ]  # fmt: skip


def find_module_of_answering_code(modules: Sequence[str]) -> tuple[str, MadeClass] | None:
    """Find the first of some modules that code which answers texts makes. The code is looked for near the file of each
    module. If several files define the class, the definition that the code uses counts. Return the module, and where it
    is made; None if such code makes none of them.

    Args:
        modules: the modules, each as file.py:name.
    """
    named = [one.rpartition(":") for one in modules]
    for file in dict.fromkeys(file for file, _, _ in named):
        if made := find_class_of_answering_code(Path(file), [name for other, _, name in named if other == file]):
            # The same code may make modules of several files.
            of_all = find_class_of_answering_code(Path(file), [name for _, _, name in named])
            if of_all is not None and (of_all.maker, of_all.file) == (made.maker, made.file):
                made = of_all
            used = find_class_in_file_or_imports(made.file, made.name)
            same = [other for other, _, name in named if name == made.name]
            meant = [other for other in same if used is not None and Path(other).resolve() == used[0].resolve()]
            return f"{(meant or [file])[0]}:{made.name}", made
    return None


def find_module_made_by(path: Path, name: str, modules: Sequence[str]) -> tuple[str, MadeClass] | None:
    """Find the first of some modules that a function or class makes, itself or by the code that it calls. Return the
    module, and where it is made; None if it makes none of them.

    Args:
        path: the file of the function or class.
        name: its name.
        modules: the modules, each as file.py:name.
    """
    parts = list_code_parts(path)
    own = [one for one in parts if one.file == path and one.name == name]
    of_names = {one.rpartition(":")[2]: one for one in reversed(modules)}
    made = _list_made_classes([*own, *_list_called_parts(own, parts)], of_names)
    return (of_names[made[0].name], made[0]) if made else None


def list_used_files(path: Path, files: Sequence[Path]) -> list[dict[Path, str]]:
    """List those of some files with which the code near a module answers texts. The result has a dict for each group of
    `list_answering_code`, and then one for each other file of code, with the last file that it uses. Each dict maps a
    file to the place in the code.

    Code answers texts with the files that it loads. But code that loads a file and saves another one later goes on with
    a training: then the file that it saves last counts. A file that is saved in a loop is one of several checkpoints,
    and does not count.

    Args:
        path: the file of the module.
        files: the files that may be used, such as those of weights.

    Example:
        >>> list_used_files(Path("model.py"), [Path("first.pt"), Path("best.pt")])
        [{PosixPath('best.pt'): 'model.py, line 12'}, {}, {}]
    """
    parts = list_code_parts(path)
    answering = list_answering_code(parts)
    groups = [_order_files_in_use(group, parts, files) for group in answering]
    others = [one for one in parts if not any(one in group for group in answering)]
    for code in dict.fromkeys(one.file for one in others):
        used = [_list_files_in_use(one, parts, files) for one in others if one.file == code]
        groups += [dict(each[-1:]) for each in used if each][-1:]
    return groups


def _order_files_in_use(group: Sequence[CodePart], parts: Sequence[CodePart], files: Sequence[Path]) -> dict[Path, str]:
    """Return those of some files that a group of code parts uses at its end, in a dict from each file to the place in
    the code. The files that the module's own code uses come first; for each file of code, the last used file comes
    first."""
    found: dict[Path, str] = {}
    for code in dict.fromkeys(one.file for one in group):
        used = [one for part in group if part.file == code for one in _list_files_in_use(part, parts, files)]
        found |= {file: where for file, where in reversed(used) if file not in found}
    return found


def _list_files_in_use(part: CodePart, parts: Sequence[CodePart], files: Sequence[Path]) -> list[tuple[Path, str]]:
    """List those of some files that a part of the code uses at its end, each with the place in the code. These are the
    files that it loads after it last saved one; if there are none, the file that it saves last, unless it does so in a
    loop."""
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
        found = [(file, where) for name in names for file in reversed(files) if is_named(file, name)]
        if is_save and found:
            loaded, saved = [], saved if id(node) in in_loops else found
        else:
            loaded += found
    return loaded or saved


def _list_strings(
    value: ast.expr, part: CodePart, parts: Sequence[CodePart], seen: set[tuple[str, CodePart]]
) -> Iterator[str]:
    """Yield the strings in an expression, and those in the values of its names. `seen` collects the names that were
    looked up, each with the part of the code that uses it."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name | ast.Attribute) and (read_last_name(node), part) not in seen:
            seen.add((read_last_name(node), part))
            for inner, where in _list_values(read_last_name(node), part, parts):
                yield from _list_strings(inner, where, parts, seen)


def _list_values(name: str, part: CodePart, parts: Sequence[CodePart]) -> Iterator[tuple[ast.expr, CodePart]]:
    """Yield the values that code gives to a name: in the same part, or as an argument of its function, or else in the
    code outside of functions."""
    own = [one for one in _list_assigned_values(name, part) if read_last_name(one) != name]
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
            yield from ((value, other) for value in _list_assigned_values(name, other))


def _list_values_of_parameter(
    name: str, parameters: Sequence[str], part: CodePart, parts: Sequence[CodePart]
) -> Iterator[tuple[ast.expr, CodePart]]:
    """Yield the values that calls of a function, or of a class, give to one of its parameters, each with the part of
    the code that calls it."""
    for caller in parts:
        for _, node in caller.nodes:
            if isinstance(node, ast.Call) and read_last_name(node.func) == part.name:
                given = dict(zip(parameters, node.args, strict=False)) | find_keyword_arguments(node)
                if name in given:
                    yield given[name], caller


def _list_assigned_values(name: str, part: CodePart) -> Iterator[ast.expr]:
    """Yield the values that a part of the code assigns to a name or an attribute, and the defaults of parameters and
    of options of a command line with this name."""
    for _, node in part.nodes:
        yield from (value for assigned, value in list_assigned_values(node) if assigned == name)
