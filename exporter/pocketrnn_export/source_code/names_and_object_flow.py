"""Collect the names in a piece of a user's code, and which names may refer to the same objects. Nothing is run.

Only names are compared: a name that is assigned from another holds its object, and a name of a function's own counts as
a global one. `x.` is a part of the object of `x`. A function holds what it returns, and `f*` stands for the arguments
of the function f. `@m` and `@m*` are those of all methods m of the file.
"""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from pocketrnn_export.source_code.known_side_effects import (
    CHANGING_METHODS,
    FRESH_BUILTINS,
    GIVING_METHODS,
    HARMLESS_MAGICS,
    HARMLESS_METHODS,
    HOLDING_BUILTINS,
    LEAVE_ALONE,
    MAKING,
    PURE_METHODS,
    REACH_ANY,
    READING,
    REFLECTIVE,
    WEIGHT_METHODS,
    WRITING,
)
from pocketrnn_export.source_code.syntax_tree_parts import (
    Definition,
    Function,
    Import,
    find_defaults,
    find_first_parameter_name,
    list_assigned_names,
    list_imported_modules,
    list_imported_names,
    takes_class_as_first_argument,
)

_LOOK_UPS = frozenset({"dir", "globals", "locals", "vars"})
# These reach any name only without arguments, or under another name.
_SAFE_WITH_ARGUMENTS = frozenset({"delattr", "setattr", "vars"})
_ANYTHING = REACH_ANY | {"_", "__", "In", "Out", "get_ipython"}
_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.Tuple, ast.BoolOp, ast.IfExp)


@dataclass
class Mentions:
    """The names in a piece of code, by the way in which the code uses them.

    Attributes:
        loads: the names that it reads, and parts of objects that it reads, such as `sys.modules`.
        binds: the global names that it binds inside functions, by `global`.
        imports: the full name of each name that it imports: `torch.nn` for `nn`.
        modules: the modules that it imports.
        writes: the objects that it changes, each by its name and the changed part, such as `config.size`.
        touches: the names of objects whose weights it changes, or that it passes to code which is not known.
        flows: pairs of names: the first may from now on refer to the object of the second.
        anything: a part of the code, such as `exec`, that may read or change any object; empty if there is none.
    """

    loads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    touches: set[str] = field(default_factory=set)
    flows: set[tuple[str, str]] = field(default_factory=set)
    anything: str = ""

    def add(self, other: Mentions) -> None:
        """Add the names in another piece of code."""
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, mine or others if isinstance(mine, str) else mine | others)


@dataclass(frozen=True)
class FileNames:
    """The names that a file imports or defines.

    Attributes:
        imports: the full name of each imported name: `torch.nn` for `nn`.
        functions: the parameters of each function and class of the file.
        classes: the names of the classes.
        methods: the names of all methods, each with whether a method of this name sets an attribute.
        shared: the attributes that class bodies set, so that all objects share them, each with its classes.
    """

    imports: Mapping[str, str]
    functions: Mapping[str, Sequence[str]]
    classes: Set[str]
    methods: Mapping[str, bool]
    shared: Mapping[str, Set[str]]

    def find_full_name(self, name: str) -> str:
        """Return the full name of an imported name: `torch.nn` for `nn`. Another name is returned unchanged."""
        top, *rest = name.split(".", 1)
        return ".".join([self.imports.get(top, top), *rest])


def find_top(name: str) -> str:
    """Return the first part of a dotted name: `torch` for `torch.nn`."""
    return name.split(".", 1)[0]


def collect_mentions_now_and_in_calls(node: ast.stmt, names: FileNames) -> tuple[Mentions, Mentions]:
    """Collect the names that a top-level statement mentions. Return two objects: the mentions of code that runs with
    the statement, and those of function bodies, which run when the functions are called."""
    now, later = _Reader(names), _Reader(names)
    _collect_mentions(node, now, later)
    return now.found, later.found


def _collect_mentions(node: ast.AST, now: _Reader, later: _Reader) -> None:
    """Collect the names in code. Add those of code that runs at once to `now`, and those of the bodies of functions and
    generators to `later`."""
    if _is_harmless_command(node):
        return
    now.read(node)
    inner = now
    if isinstance(node, ast.ClassDef):
        inner = _Reader(now.names, now.found, node.name, local=now.local)
    elif isinstance(node, Definition | ast.GeneratorExp):
        inner = _Reader(later.names, later.found, now.owner, now.function, now.local)
        if isinstance(node, Definition):
            inner.enter(node)
    for role, child in _list_children(node):
        _collect_mentions(child, now if isinstance(node, Definition) and role != "body" else inner, later)


class _Reader:
    """Collect the names in single syntax nodes.

    Args:
        names: the names of the file.
        found: the object to which the names are added; a new one if it is None.
        owner: the class that contains the code; empty outside of classes.
        function: the function that contains the code; empty outside of functions.
        local: the local names of the function, each with the name under which it is recorded.
    """

    def __init__(
        self,
        names: FileNames,
        found: Mentions | None = None,
        owner: str = "",
        function: str = "",
        local: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.names, self.found = names, Mentions() if found is None else found
        self.owner, self.function, self.local = owner, function, local
        self._held: dict[ast.AST | None, set[str]] = {}

    def enter(self, node: Definition) -> None:
        """Register the local names of a function, before its body is read."""
        path = self.name_definition(node)
        bound = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)} | list_assigned_names(node)
        inner = [one for one in ast.walk(node) if one is not node]
        bound |= {one.name for one in inner if isinstance(one, Function | ast.ClassDef)}
        bound -= {name for one in inner if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}
        own = {name: f"{path}*{name}" for name in bound}
        is_of_class = self.owner and not self.function
        if is_of_class and isinstance(node, Function) and (first := find_first_parameter_name(node)):
            own[first] = self.owner if takes_class_as_first_argument(node) else f"{self.owner}()"
        self.function, self.local = path, {**self.local, **own}

    def name_definition(self, node: Definition) -> str:
        """Return the name under which a function is recorded: the line of a lambda, the class for a method that makes
        its objects, such as `__init__`, and one common name for all methods that operators call, such as `__add__`."""
        if isinstance(node, ast.Lambda):
            return _name_place(node)
        if not self.owner or self.function or node.name in MAKING:
            return self.owner if self.owner and not self.function else node.name
        return "@operator" if node.name.startswith("__") and node.name != "__call__" else f"@{node.name}"

    def read(self, node: ast.AST) -> None:
        """Collect the names that a syntax node mentions itself, without those of its children."""
        if isinstance(node, ast.Name):
            self.found.loads |= set() if isinstance(node.ctx, ast.Store) or node.id in self.local else {node.id}
            if node.id in _ANYTHING and isinstance(node.ctx, ast.Load):
                self.note_anything(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript):
            self.record_part(node)
        elif isinstance(node, ast.Call):
            self.read_call(node)
        elif isinstance(node, Import):
            self.found.imports.update(list_imported_names(node))
            self.found.modules |= list_imported_modules(node)
        elif isinstance(node, ast.Global):
            self.found.binds |= set(node.names)
        elif isinstance(node, ast.BinOp):
            self.add_flows(
                ["@operator*"], self.find_objects_of_expression(node.left) | self.find_objects_of_expression(node.right)
            )
        elif isinstance(node, Definition):
            self.read_definition(node)
        elif isinstance(node, ast.ClassDef):
            self.add_flows(
                [node.name], {find_top(one) for base in node.bases for one in self.find_objects_of_expression(base)}
            )
        self.read_assignment(node)

    def read_assignment(self, node: ast.AST) -> None:
        """Record which names refer to an object after a node has run, by an assignment, a loop, `with` or the like."""
        value = getattr(node, "value", None)
        held: set[str] = set()
        targets: Iterable[str] = ()
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
            targets, held = (
                [self.function if "@" in self.function else f"{self.function}()"],
                self.find_objects_of_expression(value),
            )
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            targets, held = self.list_targets(node.target), {*self.find_objects_of_items(node.iter), "@operator"}
        elif isinstance(node, ast.withitem) and node.optional_vars:
            targets, held = (
                self.list_targets(node.optional_vars),
                self.find_objects_of_expression(node.context_expr) | {"@operator"},
            )
        elif isinstance(node, ast.Raise | ast.Match):
            # They are not followed to another place.
            self.found.touches |= {
                find_top(one)
                for one in self.find_objects_of_expression(node.exc if isinstance(node, ast.Raise) else node.subject)
            }
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            every = node.targets if isinstance(node, ast.Assign) else [node.target]
            targets, held = (
                [name for one in every for name in self.list_targets(one)],
                self.find_objects_of_expression(value),
            )
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.write({node.target.id}, node, "+=")
                self.found.loads.add(node.target.id)
        if isinstance(node, ast.AnnAssign) and self.owner and not self.function:
            # An attribute of a dataclass.
            self.add_flows([f"self@{ast.unparse(node.target)}"], [f"{self.owner}()"])
        self.add_flows(targets, held)
        if self.owner and not self.function and not isinstance(node, ast.comprehension):
            self.add_flows([self.owner, f"{self.owner}()"] if targets else [], held)

    def list_targets(self, node: ast.expr) -> set[str]:
        """Return the names that refer to an object after it is assigned to an expression, such as `x`, `x.y` or `x,
        y`."""
        parts = [one for one in ast.walk(node) if isinstance(one, ast.Attribute | ast.Subscript)]
        names = {self.local.get(name, name) for name in list_assigned_names(node)}
        names |= {name for one in parts if self.is_own(one) for name in self.find_objects_of_expression(one)}
        return names | {find_top(name) for one in parts for name in self.find_objects_of_expression(one.value)}

    def is_own(self, node: ast.AST) -> bool:
        """Return whether a node is an attribute of `self`, in a method."""
        root = self.local.get(getattr(getattr(node, "value", None), "id", ""), "")
        return isinstance(node, ast.Attribute) and root == f"{self.owner}()"

    def read_definition(self, node: Definition) -> None:
        """Record two things about the definition of a function: its parameters may refer to its defaults, and its
        decorators get the function."""
        path = self.name_definition(node)
        for parameter in (one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)):
            self.add_flows([f"{path}*{parameter}"], [f"{path}*"])
        if getattr(node, "name", "") in self.local:
            self.add_flows([self.local[node.name]], [path])  # type: ignore[union-attr]
        self.add_flows(
            [f"{path}*"],
            {one for default in find_defaults(node).values() for one in self.find_objects_of_expression(default)},
        )
        for decorator in getattr(node, "decorator_list", ()):
            self.add_flows(
                [path, f"{path}()"], {f"{find_top(one)}()" for one in self.find_objects_of_expression(decorator)}
            )
            self.add_flows([f"{find_top(one)}*" for one in self.find_objects_of_expression(decorator)], [path])

    def record_part(self, node: ast.Attribute | ast.Subscript) -> None:
        """Record that code uses or changes a part of an object: `config.size`, `rows[0]`."""
        attribute = node.attr if isinstance(node, ast.Attribute) else ""
        if attribute and _is_dotted_name(node):
            self.found.loads.add(ast.unparse(node))
        if attribute in REFLECTIVE:
            self.note_anything(ast.unparse(node))
        if not isinstance(node.ctx, ast.Load) or attribute in CHANGING_METHODS:
            # Also `map(config.update, ...)`.
            self.write(self.find_objects_of_expression(node.value), node)

    def read_call(self, node: ast.Call) -> None:
        """Record what a call may change, and which names hold its arguments."""
        function = node.func
        given = {one for part in _list_arguments(node) for one in self.find_objects_of_expression(part)}
        whole = {one for one in given if not one.endswith(".")}
        called = self.find_called_function(node)
        method = function.attr if isinstance(function, ast.Attribute) else ""
        if called == "super":
            return
        # `self.layer(x)` calls an attribute.
        is_method = isinstance(function, ast.Attribute) and (method in self.names.methods or not self.is_own(function))
        receivers = self.find_objects_of_expression(function.value if is_method else function)  # type: ignore[attr-defined]
        if any(keyword.arg in WRITING for keyword in node.keywords):
            self.write(given, node)
        functions = {one for one in given if one in self.names.functions or one.startswith("lambda:")}
        self.add_flows([f"{one}*" for one in functions], given | receivers)
        if called in ("setattr", "delattr"):
            self.write(self.find_objects_of_expression(node.args[0]) if node.args else set(), node)
        elif called in ("getattr", "builtins.getattr", "vars"):
            if {getattr(one, "value", None) for one in node.args} & REFLECTIVE:
                self.note_anything(ast.unparse(node))
        elif called in self.names.functions:
            self.give_arguments(node, called)
        elif "." in called:
            self.read_package_call(called, node, given, receivers)
        elif called not in FRESH_BUILTINS | {"type"}:
            changes = method in CHANGING_METHODS or (method.endswith("_") and not method.endswith("__"))
            is_unknown = method not in HARMLESS_METHODS and method not in self.names.methods
            if changes:
                self.write(receivers or given, function)
            elif self.names.methods.get(method) or (is_unknown and not isinstance(function, ast.Name)):
                # In a function, the names of methods tell too little.
                self.write({one for one in receivers if not {"*", "@"} & {*one}}, function)
            if changes or is_unknown or method in self.names.methods:
                self.add_flows(map(find_top, receivers), given if changes else filter(_is_whole, given))
            if method in WEIGHT_METHODS | {"parameters", "named_parameters"}:
                self.found.touches |= receivers
            if not method or is_unknown:
                self.found.touches |= {find_top(one) for one in given} | (set() if method else receivers)
            elif method not in PURE_METHODS:
                self.found.touches |= whole
            self.add_flows([f"@{method or '__call__'}*", *(f"{find_top(one)}*" for one in receivers)], given)

    def read_package_call(self, called: str, node: ast.Call, given: set[str], receivers: set[str]) -> None:
        """Record what a call of a package's function or of a builtin may change."""
        last = called.rpartition(".")[2]
        if called in READING or called.removeprefix("builtins.") in HOLDING_BUILTINS:
            return
        if last in CHANGING_METHODS or (last.startswith("__") and last.endswith("__")):
            self.write(given | receivers, node)
            self.add_flows(map(find_top, receivers), given)
        elif find_top(called) not in LEAVE_ALONE and find_top(called) != "builtins":
            self.write(given, node, "?")
        parts_too = called == "builtins.map" or last.endswith("_")
        self.found.touches |= {find_top(one) for one in given if parts_too or not one.endswith(".")}

    def find_called_function(self, node: ast.Call) -> str:
        """Return the name of the called function: a full name, such as `torch.nn.Linear`; the name of a function of the
        file; or the name of a builtin that changes nothing. Return an empty string for any other call."""
        function = node.func
        root: ast.AST = function
        while isinstance(root, ast.Attribute):
            root = root.value
        top = root.id if isinstance(root, ast.Name) and root.id not in self.local else ""
        if isinstance(function, ast.Attribute):
            is_builtin = hasattr(builtins, top) and top not in self.names.functions
            return self.names.find_full_name(ast.unparse(function)) if top in self.names.imports or is_builtin else ""
        name = top if isinstance(function, ast.Name) else ""
        if name in self.names.functions or (name in _SAFE_WITH_ARGUMENTS and node.args):
            return name
        if name in self.names.imports:
            full = self.names.imports[name]
            return full if "." in full else f"{full}."
        known = FRESH_BUILTINS | {"getattr", "type", "super"}
        return name if name in known else f"builtins.{name}" if hasattr(builtins, name) else ""

    def give_arguments(self, node: ast.Call, name: str) -> None:
        """Record to which objects the parameters of a function or class of the file refer in a call."""
        known = self.names.functions[name]
        starred = any(isinstance(one, ast.Starred) for one in node.args)
        for place, one in enumerate(_list_arguments(node)):
            keyword = node.keywords[place - len(node.args)].arg if place >= len(node.args) else ""
            parameter = known[place] if place < min(len(known), len(node.args)) and not starred else keyword
            self.add_flows(
                [f"{name}*{parameter}" if parameter in known else f"{name}*"], self.find_objects_of_expression(one)
            )
            self.add_flows([f"{name}()"] if name in self.names.classes else [], self.find_objects_of_expression(one))

    # --- the names of the objects that a value may be, or hold

    def find_objects_of_expression(self, node: ast.AST | None) -> set[str]:
        """Return the names of the objects to which the value of an expression may refer, directly or as a part of it.
        Return an empty set for None."""
        if node not in self._held:
            # Each part of a long chain of calls asks for all parts before it.
            self._held[node] = self._find_held(node)
        return self._held[node]

    def _find_held(self, node: ast.AST | None) -> set[str]:
        if isinstance(node, ast.Name):
            return {self.local.get(node.id, node.id)}
        if isinstance(node, ast.Attribute):
            if node.attr in CHANGING_METHODS:
                return {find_top(one) for one in self.find_objects_of_expression(node.value)}
            if self.is_own(node):
                return {f"self@{node.attr}"} | self.names.shared.get(node.attr, set())
            more = {f"@{node.attr}"} if node.attr in self.names.methods else set[str]()
            return (
                _name_parts(self.find_objects_of_expression(node.value))
                | more
                | self.names.shared.get(node.attr, set())
            )
        if isinstance(node, ast.Subscript):
            return self.find_objects_of_items(node.value)
        if isinstance(node, ast.Call):
            return self.find_objects_of_call_result(node)
        if isinstance(node, ast.Lambda):
            return {_name_place(node)}
        is_number = isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.BitOr | ast.LShift | ast.Mult)
        if node is None or is_number or isinstance(node, ast.Compare | ast.FormattedValue | ast.UnaryOp | ast.Slice):
            return set()
        children = [node.value] if isinstance(node, ast.NamedExpr) else ast.iter_child_nodes(node)
        return {
            one
            for child in children
            if not isinstance(child, ast.comprehension)
            for one in self.find_objects_of_expression(child)
        }

    def find_objects_of_items(self, node: ast.expr) -> set[str]:
        """Return the names of all objects that may be an item of a container, whose expression is `node`: `layers` in
        `layers[i]` or in `for layer in layers`."""
        return (
            self.find_objects_of_expression(node)
            if isinstance(node, _DISPLAYS)
            else _name_parts(self.find_objects_of_expression(node))
        )

    def find_objects_of_call_result(self, node: ast.Call) -> set[str]:
        """Return the names of the objects to which the result of a call may refer, directly or as a part of it."""
        called = self.find_called_function(node)
        given = {one for part in _list_arguments(node) for one in self.find_objects_of_expression(part)}
        if called in FRESH_BUILTINS | READING or _is_harmless_command(node):
            return set()
        if called in self.names.functions:
            return {f"{called}()"} | (given if called in self.names.classes else set())
        if called == "super":
            return {f"{self.owner}()"}
        if called in ("getattr", "vars", "type"):
            return _name_parts(given)
        if "." in called:
            holds_parts = called.startswith("builtins.") or called.rpartition(".")[2][:1].isupper()
            return {one for one in given if holds_parts or _is_whole(one)}
        if not isinstance(node.func, ast.Attribute):
            return given | {f"{find_top(one)}()" for one in self.find_objects_of_expression(node.func)}
        method, receivers = node.func.attr, self.find_objects_of_expression(node.func.value)
        held = {f"@{method}"} if method in self.names.methods else set[str]()
        held |= receivers if isinstance(node.func.value, _DISPLAYS) else set()
        held |= _name_parts(receivers) if method in GIVING_METHODS or method in self.names.methods else set()
        return held | (
            {*filter(_is_whole, given)} if method not in PURE_METHODS or method in ("get", "join") else set()
        )

    # --- what is recorded

    def add_flows(self, holders: Iterable[str], held: Iterable[str]) -> None:
        """Record that each of the `holders` may refer to each of the objects `held`."""
        for holder, one in itertools.product([*holders], [*held]):
            if holder and holder != one:
                self.found.flows.add((holder, one))
                if one not in self.names.imports and not one.endswith(("()", "*", ".")):
                    # A call of the holder may call the function of this name.
                    self.found.flows |= {(f"{holder}()", f"{one}()"), (f"{one}*", f"{holder}*")}

    def write(self, holders: Iterable[str], node: ast.AST, part: str = "") -> None:
        """Record that code changes objects. A change by a method of its own object (`self`) is not recorded, except for
        values that its class shares among all objects.

        Args:
            holders: the names of the objects.
            node: the code that makes the change.
            part: the changed part of the objects; empty for the whole objects.
        """
        part = part or _name_part(node)
        changed = {find_top(one) for one in holders} - ({f"{self.owner}()"} if self.function else set())
        self.found.writes |= {f"{one}.{part}" for one in changed}

    def note_anything(self, code: str) -> None:
        """Record code that may reach any name or object, such as `exec`. Only the first such code is kept."""
        self.found.anything = self.found.anything or code[:60]


def _list_arguments(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _is_whole(name: str) -> bool:
    """Return whether a recorded name stands for a whole object, and not for a part of one or a local variable of a
    method."""
    return not name.endswith(".") and "@" not in name


def _name_parts(holders: Iterable[str]) -> set[str]:
    """Return the names that stand for parts of some objects."""
    return {f"{find_top(one)}." for one in holders}


def _name_part(node: ast.AST) -> str:
    """Return the attributes in an expression as a dotted name: `fc.weight` for `model.fc.weight[0]`."""
    found: list[str] = []
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr") and node.args:
        found, node = [str(getattr(node.args[-1 if len(node.args) < 3 else 1], "value", "*"))], node.args[0]
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        found += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.func if isinstance(node, ast.Call) else node.value
    return ".".join(reversed(found))


def is_weight(path: str) -> bool:
    """Return whether a path such as `model.fc.weight.data` is the weight of a layer, by its names alone."""
    *inner, last = path.split(".")[1:]
    return bool({"data", "weight", "bias", "grad"} & {*inner}) or last in ("grad", "requires_grad") or (
        bool(inner) and last in ("data", "weight", "bias")
    )  # fmt: skip


def _name_place(node: ast.AST) -> str:
    """Return a name for a lambda, made of its line and column."""
    return f"lambda:{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)}"


def _is_harmless_command(node: ast.AST) -> bool:
    """Return whether a node is a shell command, or a Jupyter command that changes no names."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    command, magic = node.func.attr, getattr(node.args[0], "value", None) if node.args else None
    is_harmless = command in ("getoutput", "system") or (command == "run_line_magic" and magic in HARMLESS_MAGICS)
    return is_harmless and ast.unparse(node.func.value) == "get_ipython()"


def _is_dotted_name(node: ast.AST) -> bool:
    """Return whether a node is a name or attributes of a name, such as `torch.nn.Linear`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _list_children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the child nodes that may change an object or refer to one, each with its role in the parent. The name of a
    function such as `globals` is left out where the call only looks up one name, or sets an attribute of a named
    object."""
    for role, children in ast.iter_fields(node):
        for child in children if isinstance(children, list) else [children]:
            looks_up = isinstance(node, ast.Compare) and getattr(getattr(child, "func", None), "id", "") in _LOOK_UPS
            sets = role == "func" and getattr(child, "id", "") in _SAFE_WITH_ARGUMENTS and getattr(node, "args", None)
            if isinstance(child, ast.AST) and not sets and not (looks_up and not child.args):  # type: ignore[attr-defined]
                yield role, child
