"""Find the statements of a file that may change the code that a module needs. Names show what a statement may change.

A name that is assigned from a needed name is needed, too, and a statement that mentions a function is assumed to call
it. Nothing is followed further: a statement that may change a needed name is run, or reported.

Packages and files may be changed, too, also through the Python files in the notebook's folder. The files are parsed,
not run. `import setup` may set something in another file, and so may `setup.configure()`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.known_side_effects import (
    ALIVE,
    REACH_ANYTHING,
    RUN_BY_A_PICKLE,
    SETS_STATE,
    SWITCHES,
    UNPICKLE,
)
from pocketrnn_export.source_code.names_and_object_flow import FileNames, Mentions, find_top, is_weight
from pocketrnn_export.source_code.notebook import read_python_file
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_defaults,
    find_methods,
    read_last_name,
)
from pocketrnn_export.source_code.top_level_statements import (
    Statement,
    collect_imported_and_defined_names,
    find_bound_names,
    list_top_level_statements,
)

# Kinds of names, by the statements that bind them.
_PLAIN, _FLAT, _OBJECT, _CODE = "plain", "flat", "object", "code"
# Attributes by which any function may be changed, and functions that read or set attributes.
_OF_FUNCTIONS: Final = frozenset(
    ("__builtins__", "__closure__", "__code__", "__defaults__", "__dict__", "__globals__", "__kwdefaults__")
)
_READ_ATTRIBUTES: Final = frozenset(("delattr", "getattr", "hasattr", "setattr", "vars"))


@dataclass(frozen=True)
class Needed:
    """The names, objects and packages that the statements selected for running need.

    Attributes:
        bound: the names that the selected statements define.
        names: the names of the needed objects, functions and classes, and all names and paths, such as `config.size`,
            that may refer to these objects.
        instances: the names and paths that may refer to instances of the needed classes. Changes of their weights do
            not count.
        models: the part of `instances` that may refer to the wanted object, or to an instance of the wanted class.
        packages: the packages and files that the selected statements import.
    """

    bound: Set[str]
    names: Set[str]
    instances: Set[str]
    models: Set[str]
    packages: Set[str]


class ChangeFinder:
    """Find which names each statement of a file may change.

    Args:
        statements: all top-level statements of the file.
        beside: a function that takes the names of modules and returns the facts about the Python files with these names
            in the folder of the file.
    """

    def __init__(self, statements: Sequence[Statement], beside: Callable[[Iterable[str]], FileFacts]) -> None:
        self._all, self._beside = statements, beside
        self._names = collect_imported_and_defined_names(one.node for one in statements)
        self._binding: dict[str, list[Statement]] = {}
        self._holding: dict[str, list[Statement]] = {}
        self._flows: dict[str, set[str]] = {}
        for statement in statements:
            for name in statement.binds:
                self._binding.setdefault(name, []).append(statement)
            for name in {*statement.binds, *map(find_top, statement.now.writes)}:
                self._holding.setdefault(name, []).append(statement)
            for holder, path in statement.now.flows | statement.later.flows:
                self._flows.setdefault(holder, set()).add(path)
        alone = {name for one in statements if one.alone for name in find_bound_names(one.node)}
        self._of_main = alone - self._binding.keys()
        self._methods = [method for one in statements if isinstance(one.node, ast.ClassDef)
                         for method in find_methods(one.node)]  # fmt: skip
        parts = [part for one in statements for part in ast.walk(one.node)]
        self._with_attributes = {read_last_name(one.value) for one in parts if isinstance(one, ast.Attribute)}
        self._with_attributes |= {one.attr for one in parts if isinstance(one, ast.Attribute)} & _OF_FUNCTIONS
        self._with_attributes |= {
            read_last_name(one.args[0]) for one in parts
            if isinstance(one, ast.Call) and one.args and read_last_name(one.func) in _READ_ATTRIBUTES
        }  # fmt: skip
        self._code: dict[str, Mentions] = {}
        self._kinds = self._find_kinds_of_defined_names()
        self.totals = {one.index: self._collect_total_mentions(one) for one in statements}
        self._alive = self.add_holders(
            {
                find_top(name)
                for one in statements
                for name in (*one.binds, *one.now.writes)
                if _is_changed_by_reading(getattr(one.node, "value", None)) or _has_caching_decorator(one.node)
            }
        )
        self.binding: dict[str, list[Statement]] = {}
        for statement in statements:
            for name in () if statement.alone else statement.binds | self.totals[statement.index].binds:
                self.binding.setdefault(name, []).append(statement)

    # --- facts about names

    def _find_kinds_of_defined_names(self) -> dict[str, str]:
        """Return the kind of each name that the file defines: plain value, flat container (a list or dict of plain
        values), other object, or code."""
        plain: set[str] = set()
        kinds: dict[str, str] = {}
        set_by_functions = {name for s in self._all for name in s.now.binds | s.later.binds}
        for name, given in ((n, self._binding[n]) for s in self._all for n in s.binds):
            nodes = [one.node for one in given]
            values = [getattr(node, "value", None) for node in nodes]
            simple = all(map(_is_simple_assignment, nodes)) and name not in set_by_functions
            if any(isinstance(node, ast.ClassDef | Function | Import) for node in nodes):
                kinds[name] = _CODE
            elif simple and all(_is_number_or_string(value, plain) for value in values):
                kinds[name] = _PLAIN
                plain.add(name)
            else:
                kinds[name] = _FLAT if simple and all(_is_flat_container(value, plain) for value in values) else _OBJECT
        return kinds

    def _collect_total_mentions(self, statement: Statement) -> Mentions:
        """Return the names that a statement mentions itself or through the functions that it mentions."""
        total = Mentions()
        total.add(statement.now)
        # Python calls the methods of an Enum while it defines the class.
        is_enum = isinstance(statement.node, ast.ClassDef) and "Enum" in "".join(map(ast.unparse, statement.node.bases))
        if is_enum or not isinstance(statement.node, ast.ClassDef | Function):
            total.add(statement.later)
        for name in set(map(find_top, total.loads)):
            total.add(self._collect_mentions_of_functions(name))
        return total

    def _collect_mentions_of_functions(self, name: str) -> Mentions:
        """Return the names that functions use. The functions are those to which `name` refers, or which the object
        called `name` holds."""
        if name not in self._code:
            self._code[name] = total = Mentions()
            waiting, seen = [name], set[str]()
            while waiting:
                one = waiting.pop().removesuffix("()")
                if one in seen:
                    continue
                seen.add(one)
                waiting += map(find_top, self._flows.get(one, set()))
                for statement in self._holding.get(one, ()):
                    total.add(statement.later)
                    waiting += map(find_top, statement.later.loads)
                    if isinstance(statement.node, ast.ClassDef | Function):
                        waiting += map(find_top, statement.now.loads)
        return self._code[name]

    def list_undefined_names_of_star_imports(self, packages: Set[str]) -> set[str]:
        """Return the names that the file uses but does not define, if the file has `from package import *` for one of
        `packages`: this import may define them. Return an empty set if there is no such import."""
        stars = [s for s in self._all if s.is_star and {one.split(".")[0] for one in s.now.modules} & packages]
        mentioned = {find_top(name) for s in self._all if stars for name in s.now.loads | s.now.writes}
        mentioned -= self._of_main
        return {name for name in mentioned if name not in self._binding and not hasattr(builtins, name)}

    def find_names_needed_by(self, statements: Sequence[Statement], wanted: Set[str]) -> Needed:
        """Find the names, objects and packages that some statements need.

        Args:
            wanted: the names that the user asks for. Changes of the weights of these objects do not count, since their
                weights are loaded later.
        """
        given = {name for s in statements for name in s.binds | self.totals[s.index].binds}
        modules = {one for s in statements for one in s.now.modules | s.later.modules}
        beside = self._beside(modules).imports
        packages = {"builtins", "sys.path", *(one.split(".")[0] for one in modules), *beside}
        packages |= {"os.chdir"} if beside else set()
        classes = {name for s in statements if isinstance(s.node, ast.ClassDef) for name in s.binds}
        # `df.apply(clean)` makes `df` a holder of `clean`, through which nobody changes this function.
        fixed = {name for name in given | wanted if self._is_function_without_changeable_parts(name)}
        models = fixed & wanted
        models |= self.add_holders(f"{name}()" if name in self._names.classes else name for name in wanted - models)
        instances = models | self.add_holders(f"{name}()" for name in classes)
        changeable = {name for name in given if self._kinds.get(name) != _PLAIN and name not in models}
        names = self.add_holders((changeable - fixed) | self.list_undefined_names_of_star_imports(packages)) | (
            changeable & fixed
        )
        return Needed(given, names - models, instances, models, packages)

    def _is_function_without_changeable_parts(self, name: str) -> bool:
        """Return whether a name is a function that code can change only by binding the name again. It has no decorator,
        its defaults are constants, and no code uses one of its attributes."""
        nodes = [one.node for one in self._binding.get(name, ())]
        functions = [one for one in nodes if isinstance(one, Function) and not one.decorator_list]
        return (
            0 < len(functions) == len(nodes)
            and name not in self._with_attributes
            and not self._with_attributes & _OF_FUNCTIONS
            and all(isinstance(one, ast.Constant) for node in functions for one in find_defaults(node).values())
        )

    def add_holders(self, names: Iterable[str]) -> set[str]:
        """Return `names` and all other names that may refer to the same objects, or to objects that contain them."""
        found = set(names)
        while True:
            more = {
                holder
                for holder, paths in self._flows.items()
                if holder not in found
                and holder not in self._names.imports
                and self._kinds.get(holder) != _PLAIN
                and any(self._may_refer_to_object(path, found) for path in paths)
            }
            if not more:
                return found
            found |= more

    def _may_refer_to_object(self, path: str, found: Set[str]) -> bool:
        """Return whether a path may refer to an object named in `found`, or to an object that contains one. A path is a
        name such as `x`, or `x.` for a part of the object `x`."""
        top = find_top(path)
        return top in found and (path == top or self._kinds.get(top) not in (_PLAIN, _FLAT, _CODE))

    # --- changes by a statement

    def may_change_directly(self, statement: Statement, name: str) -> bool:
        """Return whether a statement may itself change the object called `name`. Changes by functions that the
        statement calls do not count."""
        return any(find_top(one) == name and not one.endswith(".?") for one in statement.now.writes)

    def find_changed_names(self, statement: Statement, needed: Needed) -> list[str]:
        """Return the needed names that a statement may change.

        A statement under `if __name__ == "__main__"` often also runs the needed code. For such a statement, only two
        kinds of names are returned: names that the statement itself changes, and global names to which the functions
        that it calls assign."""
        total = self.totals[statement.index]
        direct = statement.now if statement.alone else total
        written = {*map(find_top, total.writes)} - self._names.imports.keys()
        loads = set(map(find_top, direct.loads))
        found = written & needed.names
        found |= {top for one in total.writes if (top := find_top(one)) in needed.instances and not is_weight(one)}
        found |= {one for one in direct.touches & needed.names if self._kinds.get(one) != _CODE}
        found |= loads & self._alive & needed.names
        if statement.alone:
            # The names of local variables have a star.
            found = {one for one in found if "*" not in one} - self._of_main
        named = found & self._binding.keys()
        if found and found <= needed.models:
            named = (named | loads) & needed.models
        elif found and not named:
            every = needed.names | needed.instances
            named = set(map(find_top, statement.now.loads)) & every or loads & every
        packages = self._find_changed_packages(total, may_use_stars=not statement.alone) & {*needed.packages, ANY}
        return sorted(named or found) + ["any package" if one == ANY else one for one in sorted(packages)]

    def _find_changed_packages(self, total: Mentions, *, may_use_stars: bool) -> set[str]:
        """Return the packages and files that code may change, itself or through files that it imports.

        Args:
            total: the names that the code mentions.
            may_use_stars: whether names that the file does not define may come from `from package import *`.
        """
        changed = find_written_packages(total, self._names) | self._beside(total.modules).changes
        stars = self._binding.get("*", []) if may_use_stars else []
        tops = {name for name in map(find_top, total.loads) if not hasattr(builtins, name) or name in self._binding}
        given = (one for name in tops for one in self._binding.get(name, stars))
        sources = {module for one in given if one.is_import for module in one.now.modules}
        return changed | self._beside(sources).changes_later

    def may_change_anything(self, statement: Statement) -> bool:
        """Return whether a statement may change any object, even one that its code does not name, as `exec` may."""
        total = self.totals[statement.index]
        unpickles = any(one.name in RUN_BY_A_PICKLE for one in self._methods)
        return bool(find_code_that_may_change_anything(total, self._names)) or (
            unpickles and bool(UNPICKLE & set(map(self._names.find_full_name, total.loads)))
        )


def _has_caching_decorator(node: ast.stmt) -> bool:
    """Return whether a function or class has a decorator that caches results for later calls, such as `lru_cache`."""
    return any("cache" in ast.unparse(one) for one in getattr(node, "decorator_list", ()))


def _is_changed_by_reading(node: ast.AST | None) -> bool:
    """Return whether a value changes when it is read, as an iterator does."""
    if isinstance(node, ast.Call):
        return read_last_name(node.func) in ALIVE
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
        return any(_is_changed_by_reading(getattr(node, part, None)) for part in ("elt", "value"))
    return isinstance(node, ast.GeneratorExp) or any(
        map(_is_changed_by_reading, ast.iter_child_nodes(node) if node else ())
    )


def _is_simple_assignment(node: ast.stmt) -> bool:
    """Return whether a statement assigns an expression to names only, not to attributes or items."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(
        isinstance(t, ast.Name) for t in targets
    )


def _is_number_or_string(node: ast.AST | None, plain_names: Set[str]) -> bool:
    """Return whether an expression is certainly a number, a string or a similar value, as the variables `plain_names`
    are."""
    if isinstance(node, ast.UnaryOp | ast.BinOp | ast.IfExp):
        parts = [getattr(node, part, None) for part in ("operand", "left", "right", "body", "orelse")]
        return all(_is_number_or_string(part, plain_names) for part in parts if part is not None)
    made = ("bool", "device", "float", "int", "is_available", "len", "round", "str")
    return (
        isinstance(node, ast.Constant | ast.Compare | ast.JoinedStr)
        or (isinstance(node, ast.Name) and node.id in plain_names)
        or (isinstance(node, ast.Call) and read_last_name(node.func) in made)
    )


def _is_flat_container(node: ast.expr | None, plain_names: Set[str]) -> bool:
    """Return whether an expression is a list, dict or namespace of numbers, strings and similar values only."""
    values: Sequence[ast.expr | None] = [None]
    if isinstance(node, ast.Dict):
        values = node.values if None not in node.keys else [None]
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        values = node.elts
    elif isinstance(node, ast.Call) and not node.args:
        made = read_last_name(node.func)
        if made in ("dict", "Namespace", "SimpleNamespace") and all(keyword.arg for keyword in node.keywords):
            values = [keyword.value for keyword in node.keywords]
    return all(_is_number_or_string(value, plain_names) for value in values)


# Stands for any package.
ANY: Final = "*"


def find_code_that_may_change_anything(code: Mentions, names: FileNames) -> str:
    """Return the code, such as `exec`, that may change any object, even one that is not named. Return an empty string
    if there is none."""
    mentioned = {*map(names.find_full_name, code.loads | code.writes), *code.imports.values()}
    return code.anything or next((one for one in sorted(mentioned) if one.startswith(REACH_ANYTHING)), "")


def find_written_packages(code: Mentions, names: FileNames) -> set[str]:
    """Return the packages and files that code may change itself. `sys.path` and `os.chdir` stand for a change of the
    folders in which files are found."""
    full = set(map(names.find_full_name, code.writes | code.loads))
    changed = {one.split(".")[0] for one in full if one.startswith(SETS_STATE)} | ({"os.chdir"} & full)
    for name in (names.find_full_name(path) for path in code.writes if find_top(path) in names.imports):
        if not name.startswith(SWITCHES):
            changed.add("sys.path" if name.startswith("sys.path") else name.split(".")[0])
    return changed


@dataclass
class FileFacts:
    """What a Python file in the notebook's folder imports, and what it may change. Only the first part of a dotted name
    is kept: `torch` for `torch.nn`.

    Attributes:
        imports: the file itself, its imports, and the imports of the imported files beside it.
        changes: the names that importing the file may change; `ANY` if it may change everything.
        changes_later: the names that a call of its functions or classes may change. These may include the file's own
            name.
    """

    imports: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    changes_later: set[str] = field(default_factory=set)

    def add(self, other: FileFacts) -> None:
        """Add the facts about another file."""
        self.imports |= other.imports
        self.changes |= other.changes
        self.changes_later |= other.changes_later


class ImportableFiles:
    """The Python files that a notebook may import from its folder. A file is parsed when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A module outside the folder has no facts. In a circular import, those known so far are used.
        self._files: dict[str, FileFacts] = {}

    def merge_facts(self, modules: Iterable[str]) -> FileFacts:
        """Return the merged facts about several modules. Modules whose file is not in the folder are left out."""
        found = FileFacts()
        for module in modules:
            parts = module.split(".")
            # The packages that contain a file are imported with it.
            for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
                if name not in self._files:
                    self._files[name] = FileFacts()
                    with contextlib.suppress(InputError, OSError, ValueError):
                        self._collect_file_facts(name, self._files[name])
                found.add(self._files[name])
        return found

    def _collect_file_facts(self, name: str, facts: FileFacts) -> None:
        """Read the file of a module, and add to `facts` what its import and its functions may change. For a package,
        read its `__init__.py`. Do nothing if the module has no file in the folder."""
        beginning, top = self._folder / name.replace(".", "/"), name.split(".")[0]
        paths = [path for path in (beginning / "__init__.py", Path(f"{beginning}.py")) if path.is_file()]
        if not top or not paths:
            return
        facts.imports.add(top)
        statements = [one for one in list_top_level_statements([read_python_file(paths[0])]) if not one.alone]
        names = collect_imported_and_defined_names(one.node for one in statements)
        inside = name if paths[0].name == "__init__.py" else name.rpartition(".")[0]
        now, every = Mentions(), Mentions()
        for one in statements:
            now.add(one.now)
            every.add(one.now)
            every.add(one.later)
        defined = {*names.functions, *names.classes}
        if any(one.now.loads & defined for one in statements if not isinstance(one.node, ast.ClassDef | Function)):
            # It may call any function of the file.
            now = every
        modules = {_make_absolute_name(module, inside) for module in every.modules}
        imported = self.merge_facts(modules)
        facts.imports |= imported.imports | {one.split(".")[0] for one in modules}
        mentioned = {names.imports[one] for one in {"*", *map(find_top, every.loads)} if one in names.imports}
        used = self.merge_facts(_make_absolute_name(one, inside) for one in mentioned)
        given = {names.imports[path].split(".")[0] for _, path in every.flows if path in names.imports}
        for code, changes in ((now, facts.changes), (every, facts.changes_later)):
            changes |= {ANY} if find_code_that_may_change_anything(code, names) else find_written_packages(code, names)
            changes |= given if code.writes else set()
            changes |= imported.changes | (used.changes_later if code is every else set())
        facts.changes_later |= {top} if every.writes else set()


def _make_absolute_name(module: str, inside: str) -> str:
    """Return the absolute name of a module: `package.inner` for `.inner` in `package`."""
    level = len(module) - len(module.lstrip("."))
    above = inside.split(".")
    return ".".join(filter(None, [*above[: len(above) - level + 1], module[level:]])) if level else module
