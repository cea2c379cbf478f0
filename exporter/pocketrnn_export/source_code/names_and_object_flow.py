"""Collect the names in a piece of a user's code, and where the objects of these names go. Nothing is run.

An object is written as a path: `config`, `config.sizes`, `config.[]` for an item, `f()` for the result of a call of f,
`K()` for an object of the class K, `config.get()` for the result of a method. `f*x` is the parameter or local variable
x of the function f, and `f*` any of its parameters; `@m*` and `@m()` are those and the results of all methods m.
`K@x` is the attribute x of objects of the class K, as its methods set it.
"""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from pocketrnn_export.source_code.known_side_effects import (
    CHANGING_METHODS,
    FRESH_BUILTINS,
    HARMLESS_MAGICS,
    HARMLESS_METHODS,
    HOLDING_BUILTINS,
    LEAVE_ALONE,
    PURE_METHODS,
    REACH_ANY,
    READING,
    REFLECTIVE,
    WRITING,
)
from pocketrnn_export.source_code.syntax_tree_parts import (
    Definition,
    Function,
    Import,
    find_defaults,
    find_first_parameter_name,
    find_methods,
    list_assigned_names,
    list_head_expressions,
    list_imported_modules,
    list_imported_names,
    takes_class_as_first_argument,
)

_JUPYTERS = frozenset({"_", "__", "In", "Out", "get_ipython"})
_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.Tuple, ast.BoolOp, ast.IfExp)
_LOOK_UPS = frozenset({"dir", "globals", "locals", "vars"})
# These reach any name only without arguments, or under another name.
_SAFE_WITH_ARGUMENTS = frozenset({"delattr", "setattr", "vars"})


@dataclass
class Mentions:
    """The names in a piece of code, by the way in which the code uses them.

    Attributes:
        loads: the names that it uses, and parts of them, as `sys.modules`.
        binds: the global names that it binds by `global`.
        imports: the names that it imports, with their full names.
        modules: the modules that it imports.
        writes: the paths that it assigns to, or whose objects a called method changes.
        flows: pairs of a name, or the first part of a path, and the path of an object that it may hold from now on.
        passes: paths of objects that it passes to a function of a package, each with the full name of this function;
            `?` for a function that is not known by its name.
        methods: the paths of objects whose methods it calls, each with a method that may change the object.
        anything: an expression in it that may reach any name or object; empty if there is none.
    """

    loads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    flows: set[tuple[str, str]] = field(default_factory=set)
    passes: set[tuple[str, str]] = field(default_factory=set)
    methods: set[tuple[str, str]] = field(default_factory=set)
    anything: str = ""

    def add(self, other: Mentions) -> None:
        """Add the names in another piece of code."""
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, mine or others if isinstance(mine, str) else mine | others)


@dataclass(frozen=True)
class FileNames:
    """The imports of a file with their full names; its functions and its classes with the names of the parameters of
    each."""

    imports: Mapping[str, str]
    functions: Mapping[str, Sequence[str]]
    classes: Mapping[str, Sequence[str]]

    def find_full_name(self, name: str) -> str:
        """Return the full name of an imported name: `torch.nn` for `nn`. Another name is returned unchanged."""
        top, *rest = name.split(".", 1)
        return ".".join([self.imports.get(top, top), *rest])


def collect_mentions_now_and_in_calls(node: ast.stmt, names: FileNames) -> tuple[Mentions, Mentions]:
    """Return two objects: the names that a top-level statement uses when it runs, and the names that the functions in
    it use when they are called."""
    reader = _MentionReader(names)
    reader.read_statement(node)
    return reader.now, reader.later


def find_top(path: str) -> str:
    """Return the first part of a path: `torch` for `torch.nn`."""
    return path.split(".", 1)[0]


def is_part(path: str) -> bool:
    """Return whether a path names a part of another object, as `config.size` does, and not a whole object."""
    return "." in path or "@" in path


def is_weight(path: str) -> bool:
    """Return whether a path is a layer's weight, or a part of the weight. Only attribute names are read."""
    parts = [one for one in path.split(".")[:0:-1] if one.isidentifier() or one == "parameters()"]
    inner, last = parts[1:], parts[:1]
    return bool(
        {"data", "weight", "bias", "grad"} & set(inner) or {"grad", "requires_grad", "parameters()"} & set(last)
    ) or (len(parts) > 1 and bool({"data", "weight", "bias"} & set(last)))


class _MentionReader:
    """Collects the names in a top-level statement, or in the body of a function.

    Args:
        names: the names of the file.
        local: the function's own names with their paths.
        owner: the class of the method.
    """

    def __init__(
        self, names: FileNames, local: Mapping[str, str] = MappingProxyType({}), owner: ast.ClassDef | None = None
    ) -> None:
        self.names, self.local, self.owner = names, local, owner
        self.attributes = _list_attributes(owner) if owner else set[str]()
        self.now, self.later = Mentions(), Mentions()
        self.returned: set[str] = set()
        # The class whose body is read.
        self.inside = ""

    # --- statements

    def read_statement(self, node: ast.AST) -> None:
        """Collect the names in a statement."""
        if isinstance(node, Function):
            if node.name in self.local:
                self.add_flows([self.local[node.name]], {node.name})
            self.read_head(node, node.name)
            self.read_body(node, node.name)
        elif isinstance(node, ast.ClassDef):
            self.read_class(node)
        elif isinstance(node, Import):
            self.now.imports.update(list_imported_names(node))
            self.now.modules |= list_imported_modules(node)
        elif isinstance(node, ast.Global):
            self.now.binds |= set(node.names)
        elif isinstance(node, ast.Return):
            self.returned |= self.read(node.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            held = self.read(node.value)
            self.read(getattr(node, "annotation", None))
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(node, ast.AugAssign) and isinstance(target, ast.Name):
                    self.now.writes |= {f"{path}.+=" for path in self.read(ast.Name(target.id, ast.Load()))}
                self.assign(target, held)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self.assign(target, set())
                self.read(target)
        else:
            self.read_block(node)

    def read_block(self, node: ast.AST) -> None:
        """Collect the names in a statement with blocks, or in any other statement."""
        if isinstance(node, ast.For | ast.AsyncFor):
            self.assign(node.target, {*self.read_items(node.iter), "@__op__()"})
        elif isinstance(node, ast.withitem) and node.optional_vars:
            self.assign(node.optional_vars, {*self.read(node.context_expr), "@__op__()"})
        elif isinstance(node, ast.Raise):
            self.add_flows(["?raised"], self.read(node.exc))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.assign(ast.Name(node.name, ast.Store()), {"?raised"})
        elif isinstance(node, ast.Match):
            held = self.read(node.subject)
            names = (getattr(one, "name", getattr(one, "rest", None)) for case in node.cases for one in ast.walk(case))
            for name in filter(None, names):
                self.assign(ast.Name(name, ast.Store()), held)
        for one in ast.iter_child_nodes(node):
            if isinstance(one, ast.expr):
                if not isinstance(getattr(one, "ctx", None), ast.Store):
                    self.read(one)
            else:
                self.read_statement(one)

    def read_class(self, node: ast.ClassDef) -> None:
        """Collect the names in a class. An object of the class may be used wherever one of its base classes is."""
        for base in self.read_all(list_head_expressions(node)):
            if base in self.names.classes:
                self.add_flows([f"{node.name}()"], {f"{base}()"})
                self.add_flows([f"{base}()"], {f"{node.name}()"})
                self.add_flows([f"{base}*"], {f"{node.name}*"})
        if node.name in self.local:
            self.add_flows([self.local[node.name]], {node.name})
        outside, self.inside = self.inside, node.name
        for part in node.body:
            if isinstance(part, Function):
                makes = part.name in ("__init__", "__new__")
                is_operator = part.name.startswith("__") and not makes and part.name != "__call__"
                path = node.name if makes else "@__op__" if is_operator else f"@{part.name}"
                self.read_head(part, path)
                self.read_body(part, path, node)
            else:
                self.read_statement(part)
        self.inside = outside

    def read_head(self, node: Function, path: str) -> None:
        """Collect the names in the decorators, defaults and annotations of a function, which Python evaluates when it
        defines the function. `path` is the function's name in the records."""
        self.read_all(list_head_expressions(node))
        self.add_flows([f"{path}*"], self.read_all(find_defaults(node).values()))
        self.add_flows([path], {f"{one}()" for one in self.read_all(node.decorator_list) if not is_part(one)})

    def read_body(self, node: Definition, path: str, owner: ast.ClassDef | None = None) -> None:
        """Collect the names in the body of a function, which runs only when the function is called. `path` is the
        function's name in the records; `owner` is the class of a method."""
        parameters = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        stored = (part for part in ast.walk(node) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load))
        bound = {part.id for part in stored}
        bound |= {
            part.name for part in ast.walk(node) if part is not node and isinstance(part, Function | ast.ClassDef)
        }
        bound -= {name for part in ast.walk(node) if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
        local = {**self.local, **{name: f"{path}*{name}" for name in bound | parameters}}
        if owner and isinstance(node, Function) and (first := find_first_parameter_name(node)):
            local[first] = owner.name if takes_class_as_first_argument(node) else f"{owner.name}()"
            parameters.discard(first)
        inner = _MentionReader(self.names, local, owner or self.owner)
        for name in parameters:
            inner.add_flows([local[name]], {f"{path}*"})
        if isinstance(node, ast.Lambda):
            inner.returned = inner.read(node.body)
        else:
            for statement in node.body:
                inner.read_statement(statement)
        inner.add_flows([f"{path}()"], inner.returned)
        self.later.add(inner.now)
        self.later.add(inner.later)

    def assign(self, target: ast.expr, held: Set[str]) -> None:
        """Record that an assignment lets its target refer to the objects with the paths `held`."""
        if isinstance(target, ast.Tuple | ast.List):
            for one in target.elts:
                self.assign(one, held)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, held)
        elif isinstance(target, ast.Name):
            if self.inside:
                self.add_flows([self.inside, f"{self.inside}()"], held)
            else:
                self.add_flows([self.local.get(target.id, target.id)], held)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            paths = self.read(target)
            own = {path for path in paths if "@" in path and "." not in path}
            self.now.writes |= paths - own
            self.add_flows({find_top(path) for path in paths}, held)
            if own and self.owner:
                self.add_flows([f"{self.owner.name}()"], held)

    # --- expressions: the paths of the objects that the value may be, or hold

    def read_all(self, nodes: Iterable[ast.AST | None]) -> set[str]:
        """Collect the names in expressions. Return the paths of the objects that their values may hold."""
        return {path for node in nodes for path in self.read(node)}

    def read(self, node: ast.AST | None) -> set[str]:
        """Collect the names in an expression. Return the paths of the objects that its value may hold."""
        if isinstance(node, ast.Name):
            return self.read_name(node.id)
        if isinstance(node, ast.Attribute | ast.Subscript):
            return self.read_attribute_or_item(node)
        if isinstance(node, ast.Call):
            return self.read_call(node)
        if isinstance(node, ast.Lambda):
            self.add_flows([f"{_name_function(node)}*"], self.read_all([*node.args.defaults, *node.args.kw_defaults]))
            self.read_body(node, _name_function(node))
            return {_name_function(node)}
        if isinstance(node, ast.GeneratorExp):
            # It runs later than the statement that makes it.
            inner = _MentionReader(self.names, self.local, self.owner)
            held = inner.read_comprehension(node)
            self.later.add(inner.now)
            self.later.add(inner.later)
            self.read(node.generators[0].iter)
            return held
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
            return self.read_comprehension(node)
        if isinstance(node, ast.NamedExpr):
            held = self.read(node.value)
            self.assign(node.target, held)
            return held
        if isinstance(node, ast.Compare):
            every = [node.left, *node.comparators]
            self.read_all(one for one in every if not _looks_up_names(one))
            return set()
        held = self.read_all(ast.iter_child_nodes(node)) if node is not None else set()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            self.returned |= held
        if isinstance(node, ast.BinOp):
            self.add_flows(["@__op__*"], held)
        is_number = isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.BitOr | ast.LShift | ast.Mult)
        return set() if is_number or isinstance(node, ast.FormattedValue | ast.UnaryOp | ast.Slice) else held

    def read_name(self, name: str) -> set[str]:
        """Record the use of a name. Return its path."""
        if name in self.local:
            return {self.local[name]}
        self.now.loads.add(name)
        if name in REACH_ANY | _JUPYTERS:
            self.note_anything(name)
        return {name}

    def read_attribute_or_item(self, node: ast.Attribute | ast.Subscript) -> set[str]:
        """Record the names in `a.b` or `a[b]`. Return its paths."""
        if isinstance(node, ast.Subscript):
            self.read(node.slice)
            return self.read_items(node.value)
        if node.attr in REFLECTIVE:
            self.note_anything(ast.unparse(node))
        objects = self.read(node.value)
        paths = {f"{path}.{node.attr}" for path in objects}
        if self.owner and f"{self.owner.name}()" in objects and node.attr in self.attributes:
            paths = {f"{self.owner.name}@{node.attr}"}
        if isinstance(node.ctx, ast.Load) and node.attr in CHANGING_METHODS:
            # `map(config.update, ...)`
            self.write(objects, node.attr)
            return objects
        self.now.loads |= {path for path in paths if find_top(path) in self.now.loads}
        return paths

    def read_items(self, node: ast.expr) -> set[str]:
        """Collect the names in an expression. Return the paths of the items of its value."""
        paths = self.read(node)
        if isinstance(node, _DISPLAYS):
            return paths
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(builtins, node.func.id):
            return {path for argument in node.args for path in self.read_items(argument)}
        return {f"{path}.[]" for path in paths}

    def read_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> set[str]:
        """Collect the names in a comprehension. Its own variables are local."""
        before = self.local
        own = {name for one in node.generators for name in list_assigned_names(one.target)}
        self.local = {**before, **{name: f"{_name_function(node)}*{name}" for name in own}}
        for generator in node.generators:
            self.assign(generator.target, self.read_items(generator.iter))
            self.read_all(generator.ifs)
        held = self.read_all([getattr(node, name, None) for name in ("elt", "key", "value")])
        self.local = before
        return held

    def read_call(self, node: ast.Call) -> set[str]:
        """Record a call: its function, its arguments, the objects that it changes. Return the paths of its result."""
        function = node.func
        name = function.id if isinstance(function, ast.Name) else ""
        if _is_harmless_command(node):
            return set()
        called = set() if isinstance(function, ast.Attribute) or name in _SAFE_WITH_ARGUMENTS else self.read(function)
        if name == "super" and name not in self.local:
            return {f"{self.owner.name}()"} if self.owner else set()
        receivers = self.read(function.value) if isinstance(function, ast.Attribute) else set()
        if name in _SAFE_WITH_ARGUMENTS and not node.args:
            self.read(function)
        held = [self.read(argument) for argument in (*node.args, *(keyword.value for keyword in node.keywords))]
        given = {path for one in held for path in one}
        if any(keyword.arg in WRITING for keyword in node.keywords):
            self.write(given)
        if isinstance(function, ast.Attribute):
            return self.read_method_call(function, receivers, given)
        if name in self.local or not name:
            self.add_flows({f"{find_top(path)}*" for path in called}, given)
            self.now.methods |= {(path, "__call__") for path in called if self.is_of_file(path)}
            self.pass_on(given, "?")
            return given | {f"{find_top(path)}()" for path in called}
        if name in ("setattr", "delattr"):
            self.now.writes |= {f"{path}.{name}" for path in (held[0] if held else ())}
            return set()
        if name in self.names.imports:
            return self.read_package_call(self.names.imports[name], given)
        if name in self.names.classes or name in self.names.functions:
            self.give_arguments(node, name, held)
            if name in self.names.classes:
                self.add_flows([f"{name}()"], given)
            return {f"{name}()"}
        if name in ("vars", "getattr", "type", "dir"):
            if any(getattr(one, "value", None) in REFLECTIVE for one in node.args):
                self.note_anything(ast.unparse(node))
            return {f"{path}.__class__" if name == "type" else f"{path}.[]" for path in (held[0] if held else ())}
        if name in FRESH_BUILTINS:
            return set()
        if hasattr(builtins, name):
            return self.read_package_call(f"builtins.{name}", given)
        self.now.methods.add((name, "__call__"))
        self.add_flows([f"{name}*"], given)
        self.pass_on(given, f"?{name}")
        return {*given, f"{name}()"}

    def give_arguments(self, node: ast.Call, name: str, held: Sequence[Set[str]]) -> None:
        """Record which objects the parameters of the file's function or class `name` get in a call. `held` has the
        paths of the objects of each argument."""
        known = (self.names.functions.get(name) or self.names.classes.get(name)) or ()
        for place, paths in enumerate(held):
            is_keyword = place >= len(node.args)
            parameter = node.keywords[place - len(node.args)].arg if is_keyword else ""
            if not is_keyword and place < len(known) and not any(isinstance(a, ast.Starred) for a in node.args):
                parameter = known[place]
            self.add_flows([f"{name}*{parameter if parameter in known else ''}"], paths)

    def read_package_call(self, called: str, given: set[str]) -> set[str]:
        """Record a call of a package's function with the objects of the paths `given`. Return the paths of the objects
        that its result may hold."""
        if called in READING:
            return set()
        self.pass_on(given if called.removeprefix("builtins.") not in HOLDING_BUILTINS else (), called)
        holds_parts = called.startswith("builtins.") or called.rpartition(".")[2][:1].isupper()
        holds_whole = called.split(".")[0] in LEAVE_ALONE
        held = {path for path in given if holds_parts or (holds_whole and not is_part(path))}
        return held | self.call_given_functions(given, given)

    def read_method_call(self, function: ast.Attribute, receivers: set[str], given: set[str]) -> set[str]:
        """Record a call `object.method(...)`, such as `config.update(...)`, or of a package's function, such as
        `np.copyto(...)`. Return the paths of the objects that its result may hold."""
        method = function.attr
        self.now.loads |= {f"{path}.{method}" for path in receivers if find_top(path) in self.now.loads}
        if method in REFLECTIVE:
            self.note_anything(ast.unparse(function))
        changes = method in CHANGING_METHODS or (method.endswith("_") and not method.endswith("__"))
        root: ast.AST = function
        while isinstance(root, ast.Attribute):
            root = root.value
        top = root.id if isinstance(root, ast.Name) and root.id not in self.local else ""
        if top in self.names.imports or (top and hasattr(builtins, top) and top not in self.names.functions):
            if changes or method.startswith("__"):
                self.write(given)
                if method.startswith("__") or (method in CHANGING_METHODS and function.value is not root):
                    self.write(receivers, method)
                    self.add_flows(map(find_top, receivers), given)
            return self.read_package_call(self.names.find_full_name(ast.unparse(function)), given)
        if changes:
            # `{}.__class__.update(config)` has no receiver.
            self.write(receivers or given, method)
        elif method not in PURE_METHODS:
            self.now.methods |= {(path, method) for path in receivers if self.is_of_file(path)}
            self.pass_on(given, f"?{top}.{method}")
        if changes or method not in HARMLESS_METHODS:
            self.add_flows(map(find_top, receivers), given)
        self.add_flows([f"@{method}*"], given)
        self.add_flows({f"{find_top(path)}*" for path in receivers}, given)
        if method in ("parameters", "named_parameters"):
            self.write(receivers, "parameters")
        results = self.call_given_functions(given, receivers | given)
        results |= {f"{path}.{method}()" for path in receivers} or {f"@{method}()"}
        results |= receivers if isinstance(function.value, _DISPLAYS) else set()
        whole = {path for path in given if not is_part(path)}
        return results | (whole if method not in PURE_METHODS or method in ("get", "join") else set())

    # --- what is recorded

    def add_flows(self, holders: Iterable[str], held: Iterable[str]) -> None:
        """Record that each of the `holders`, which are names or first parts of paths, may refer to each of the objects
        `held`."""
        for holder, path in itertools.product([*holders], [*held]):
            if holder == path:
                continue
            self.now.flows.add((holder, path))
            if path not in self.names.imports and not is_part(path) and not path.endswith(("()", "*")):
                # A call of the holder may call the function of this name.
                self.now.flows |= {(f"{holder}()", f"{path}()"), (f"{path}*", f"{holder}*")}

    def call_given_functions(self, functions: Set[str], given: Iterable[str]) -> set[str]:
        """Record that other code gets some functions and may call them with some objects. Return the paths of their
        results."""
        called = {path for path in functions if path in self.names.functions or path.startswith("lambda:")}
        self.add_flows({f"{path}*" for path in called}, given)
        return {f"{path}()" for path in called}

    def pass_on(self, given: Iterable[str], called: str) -> None:
        """Record that the code passes objects to the function `called`, whose code is not known."""
        self.now.passes |= {(path, called) for path in given if self.is_of_file(path)}

    def is_of_file(self, path: str) -> bool:
        """Return whether a path begins with a global name of the file, and not with a local name of a function."""
        return find_top(path).removesuffix("()") in self.now.loads

    def write(self, paths: Iterable[str], method: str = "") -> None:
        """Record that the code changes the objects of some paths, by an assignment or by this method. A method of a
        class may change its own object, which is not recorded."""
        own = f"{self.owner.name}()" if self.owner else ""
        self.now.writes |= {f"{path}.{method}()" for path in paths if path != own}

    def note_anything(self, code: str) -> None:
        """Record code that may reach any name or object, such as `exec`. Only the first such code is kept."""
        self.now.anything = self.now.anything or code[:60]


def _list_attributes(node: ast.ClassDef) -> set[str]:
    """Return the attributes that the methods of a class set in their object."""
    return {
        one.attr
        for method in find_methods(node)
        for one in ast.walk(method)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and getattr(one.value, "id", "") == find_first_parameter_name(method)
    }


def _name_function(node: ast.AST) -> str:
    """Return the name of a function. For a lambda or a comprehension, the name is its place."""
    return getattr(node, "name", "") or f"lambda:{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)}"


def _is_harmless_command(node: ast.Call) -> bool:
    """Return whether a call is a shell command, or a Jupyter command that changes no names."""
    if not isinstance(node.func, ast.Attribute) or ast.unparse(node.func.value) != "get_ipython()":
        return False
    command, magic = node.func.attr, getattr(node.args[0], "value", None) if node.args else None
    return command in ("getoutput", "system") or (command == "run_line_magic" and magic in HARMLESS_MAGICS)


def _looks_up_names(node: ast.expr) -> bool:
    """Return whether an expression is a call such as `globals()` without arguments."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in _LOOK_UPS and not node.args
