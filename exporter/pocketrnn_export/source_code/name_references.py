"""Collect the names in a piece of a user's code, and how the code uses each name.

Nothing is run, and calls are not followed: `f(config)` passes `config` to `f`, whatever `f` does with it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, fields

from pocketrnn_export.source_code.expression_kinds import (
    find_names_assigned_only_new_objects,
    is_weight_access,
    list_arguments,
)
from pocketrnn_export.source_code.import_statements import (
    Import,
    list_imported_modules,
    list_imported_names,
)
from pocketrnn_export.source_code.known_function_effects import (
    CHANGING_METHODS,
    FRESH_BUILTINS,
    GIVE_THEMSELVES,
    GIVING_METHODS,
    HARMLESS_MAGICS,
    HARMLESS_METHODS,
    HOLDING_BUILTINS,
    PURE_METHODS,
    REACH_ANY,
    REFLECTIVE,
    WRITING,
)
from pocketrnn_export.source_code.parts_of_functions_and_classes import (
    Definition,
    Function,
    find_first_parameter_name,
    list_head_expressions,
    takes_class_as_first_argument,
)

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_JUPYTERS = frozenset({"_", "__", "In", "Out", "get_ipython"})


@dataclass
class Mentions:
    """The names in a piece of code, by the way in which the code uses them.

    Attributes:
        loads: the names that it uses, and parts of them, as `sys.modules`.
        binds: the global names that it binds by `global`.
        imports: the names that it imports, with their full names.
        modules: the modules that it imports.
        writes: the objects that it writes to: `config` in `config["a"] = 3`, and `F.relu` in `F.relu = f`.
        weights: the objects whose weights, by their names, it writes to: `model` in `model.fc.weight.data[0] = 3`.
        through: functions, classes and methods to whose result it writes: `get` in `get()["a"] = 3`.
        hands: the names that it assigns to names ("") or passes to a call, each with the name of the call, and whether
            only a part is passed, as in `config["sizes"]`.
        aliases: the names that it assigns another name's object, or the result of a call with that name as argument:
            `c` in `c = config` and `c = f(config)`, with the members of `hands`.
        made: the names that it assigns the result of a call, with the called name, `Net` or `net.layers`.
        mixes: the names that it passes to a call together with another name: the latter, and as in `hands`.
        methods: the unknown methods that it calls, each with its object, `net` or `net.layers`.
        calls: the names that it calls.
        returns_given: whether it returns a parameter.
        writes_given: whether it writes to the object of a parameter or of a loop variable.
        sets_given: whether it sets an attribute of such an object that is not a weight.
        anything: an expression in it that may reach any name or object; empty if there is none.
    """

    loads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)
    through: set[str] = field(default_factory=set)
    hands: set[tuple[str, str, bool]] = field(default_factory=set)
    aliases: set[tuple[str, str, str, bool]] = field(default_factory=set)
    made: set[tuple[str, str]] = field(default_factory=set)
    mixes: set[tuple[str, str, str, bool]] = field(default_factory=set)
    methods: set[tuple[str, str]] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    returns_given: bool = False
    writes_given: bool = False
    sets_given: bool = False
    anything: str = ""

    def add(self, other: Mentions) -> None:
        """Add the names in another piece of code."""
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, mine or others if isinstance(mine, bool | str) else mine | others)


def collect_mentions_now_and_in_calls(node: ast.stmt, packages: Set[str]) -> tuple[Mentions, Mentions]:
    """Return two objects: the names that a top-level statement uses when it runs, and the names that the functions in
    it use when they are called."""
    reader = _MentionReader(packages)
    reader.read_statement(node)
    return reader.now, reader.later


class _MentionReader:
    """Collects the names in a top-level statement, or in the body of a function. `local` are the function's own
    names."""

    def __init__(self, packages: Set[str]) -> None:
        self.packages = packages
        self.now = Mentions()
        self.later = Mentions()
        # The functions whose results are used.
        self.returned: set[str] = set()
        # The class whose body is read.
        self.holder = ""
        self.local: Set[str] = frozenset()
        self.fresh: Set[str] = frozenset()
        self.parameters: Set[str] = frozenset()
        # For a method: its first parameter, its class, and whether that parameter is the class and not an object.
        self.itself = ""
        self.of_class: ast.ClassDef | None = None
        self.gets_class = False

    # --- statements

    def read_statement(self, node: ast.AST) -> None:
        """Collect the names in a statement."""
        if isinstance(node, Function):
            self.read_values(list_head_expressions(node), "")
            self.read_later_body(node, None)
        elif isinstance(node, ast.ClassDef):
            for one in list_head_expressions(node):
                self.read_value_for_targets(one, "", {node.name})
            for part in node.body:
                if isinstance(part, Function):
                    self.read_values(list_head_expressions(part), "")
                    self.read_later_body(part, node)
                else:
                    self.holder = node.name
                    self.read_statement(part)
                    self.holder = ""
        elif isinstance(node, Import):
            self.now.imports.update(list_imported_names(node))
            self.now.modules |= list_imported_modules(node)
        elif isinstance(node, ast.Return):
            every = [node.value, *getattr(node.value, "elts", ())]
            self.now.returns_given |= any(isinstance(one, ast.Name) and one.id in self.parameters for one in every)
            self.read_value_expression(node.value, "")
        elif isinstance(node, ast.Global):
            self.now.binds |= set(node.names)
        elif isinstance(node, ast.Expr):
            self.read_value_expression(node.value, None)
        elif isinstance(node, ast.Assert | ast.If | ast.While):
            self.read_value_expression(node.test, None)
            for part in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
                self.read_statement(part)
        else:
            self.read_assignment(node)

    def read_assignment(self, node: ast.AST) -> None:
        """Collect the names in an assignment, with the names whose objects it writes to. Any other kind of statement
        can be given, too."""
        given = [*getattr(node, "targets", ()), getattr(node, "target", None), getattr(node, "optional_vars", None)]
        targets = {self.holder}
        for target in filter(None, given):
            for one in ast.walk(target):
                if isinstance(one, ast.Attribute | ast.Subscript) and not isinstance(one.ctx, ast.Load):
                    self.record_object_write(one, one)
                    self.read_value_expression(one.value, None)
                    self.read_value_expression(getattr(one, "slice", None), None)
                    targets.add(_make_dotted_name(one).split(".")[0])
                elif isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
                    targets.add(one.id)
                    if isinstance(node, ast.AugAssign | ast.Delete):
                        self.read_variable(one.id, None)
                    if isinstance(node, ast.AugAssign):
                        self.record_object_write(one, one)
        value = getattr(node, "value", getattr(node, "iter", getattr(node, "context_expr", None)))
        if isinstance(value, ast.expr):
            self.read_value_for_targets(value, "", targets)
        for name, part in ast.iter_fields(node):
            if name not in ("targets", "target", "optional_vars", "value", "iter", "context_expr"):
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, ast.expr):
                        self.read_value_expression(one, "")
                    elif isinstance(one, ast.AST):
                        self.read_statement(one)

    def read_value_for_targets(self, value: ast.expr | None, passed_to: str | None, targets: Set[str]) -> None:
        """Collect the names in a value that code assigns to the names `targets`, or passes to the function
        `passed_to`."""
        before, self.now.hands = self.now.hands, set()
        made, self.returned = self.returned, set()
        self.read_value_expression(value, passed_to)
        targets = {target for target in targets if target and target not in self.local}
        self.now.aliases |= {(target, *handed) for handed in self.now.hands for target in targets}
        self.now.made |= {(target, name) for name in self.returned for target in targets}
        self.now.hands |= before
        self.returned |= made

    def read_later_body(self, node: Definition | ast.GeneratorExp, of_class: ast.ClassDef | None) -> None:
        """Collect the names in the body of a function. The body runs only when the function is called."""
        inner = _MentionReader(self.packages)
        bound, parameters = set[str](), set[str]()
        for part in ast.walk(node):
            if isinstance(part, ast.arg):
                parameters.add(part.arg)
            elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                bound.add(part.id)
            elif isinstance(part, Function | ast.ClassDef) and part is not node:
                bound.add(part.name)
        of_file = {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
        inner.local = (self.local | bound | parameters) - of_file
        inner.parameters = parameters
        inner.fresh = find_names_assigned_only_new_objects(node) - parameters
        if isinstance(node, Function) and of_class is not None:
            inner.itself = find_first_parameter_name(node)
            inner.of_class, inner.gets_class = of_class, takes_class_as_first_argument(node)
        else:
            inner.itself, inner.of_class, inner.gets_class = self.itself, self.of_class, self.gets_class
        if isinstance(node, ast.GeneratorExp):
            inner.read_comprehension(node)
        elif isinstance(node, ast.Lambda):
            inner.read_value_expression(node.body, "")
        else:
            for statement in node.body:
                inner.read_statement(statement)
        self.later.add(inner.now)
        self.later.add(inner.later)

    # --- expressions; `passed_to` is the receiver of the value: a call, "" for a name, None if it is only read

    def read_values(self, nodes: Iterable[ast.expr | None], passed_to: str | None) -> None:
        """Collect the names in expressions. `passed_to` is the function that is called with their values: "" for an
        assignment, None if nothing keeps the values."""
        for node in nodes:
            self.read_value_expression(node, passed_to)

    def read_value_expression(self, node: ast.AST | None, passed_to: str | None) -> None:
        """Collect the names in an expression. `passed_to` is the function that is called with its value: "" for an
        assignment, None if nothing keeps the value."""
        if isinstance(node, ast.Name):
            self.read_variable(node.id, passed_to)
        elif isinstance(node, ast.Attribute | ast.Subscript):
            self.read_attribute_or_item(node, passed_to)
        elif isinstance(node, ast.Call):
            self.read_call_expression(node, passed_to)
        elif isinstance(node, ast.Lambda):
            self.read_values([*node.args.defaults, *node.args.kw_defaults], "")
            self.read_later_body(node, None)
        elif isinstance(node, ast.GeneratorExp):
            self.read_value_expression(node.generators[0].iter, "")
            self.read_later_body(node, None)
        elif isinstance(node, _Comprehension):
            self.read_comprehension(node)
        elif isinstance(node, ast.Compare):
            self.read_values(
                [node.left, *node.comparators], "" if isinstance(node.ops[0], ast.In | ast.NotIn) else None
            )
        elif isinstance(node, ast.FormattedValue | ast.UnaryOp) or (
            isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.BitOr | ast.LShift | ast.Mult)
        ):
            self.read_values([one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)], None)
        elif isinstance(node, ast.NamedExpr):
            self.read_value_for_targets(node.value, "", {node.target.id})
        elif isinstance(node, ast.IfExp):
            self.read_value_expression(node.test, None)
            self.read_values([node.body, node.orelse], passed_to)
        elif node is not None:
            for one in ast.iter_child_nodes(node):
                if isinstance(one, ast.expr):
                    self.read_value_expression(one, passed_to or "")

    def read_comprehension(self, node: _Comprehension) -> None:
        """Collect the names in a comprehension. Its own variables are local."""
        before = self.local
        self.local = before | {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        for generator in node.generators:
            self.read_value_expression(generator.iter, "")
            self.read_values(generator.ifs, None)
        self.read_values([getattr(node, name, None) for name in ("elt", "key", "value")], "")
        self.local = before

    def read_variable(self, name: str, passed_to: str | None) -> None:
        """Record the use of a name, and that its object is passed to the function `passed_to`, unless this is None."""
        if name in self.local:
            return
        self.now.loads.add(name)
        if name in REACH_ANY or name in _JUPYTERS:
            self.record_unlimited_change(name)
        if passed_to is not None:
            self.now.hands.add((name, passed_to, False))

    def read_attribute_or_item(self, node: ast.Attribute | ast.Subscript, passed_to: str | None) -> None:
        """Record the names in `a.b` or `a[b]`, and that a part of the object `a` is passed to the function
        `passed_to`."""
        if any(isinstance(one, ast.Attribute) and one.attr in REFLECTIVE for one in _walk_to_base_object(node)):
            self.record_unlimited_change(ast.unparse(node))
        if isinstance(node, ast.Subscript):
            self.read_value_expression(node.slice, None)
        elif node.attr in CHANGING_METHODS and passed_to is not None:
            # `map(config.update, ...)`
            self.record_object_write(node, node.value)
        root = _find_base_object(node)
        if not isinstance(root, ast.Name):
            self.read_value_expression(root, "" if passed_to is None else passed_to)
        elif root.id not in self.local:
            self.read_variable(root.id, None)
            self.now.loads.add(_make_dotted_name(node))
            if (passed_to is not None or isinstance(node, ast.Subscript)) and not is_weight_access(node):
                self.now.hands.add((root.id, passed_to or "", True))

    def read_call_expression(self, node: ast.Call, passed_to: str | None) -> None:
        """Record a call: the function, its arguments, and the objects that it writes to. The result of the call is
        passed to the function `passed_to`."""
        called, arguments = node.func, list_arguments(node)
        if (
            isinstance(called, ast.Attribute)
            and ast.unparse(called.value) == "get_ipython()"
            and _is_harmless_command(node)
        ):
            return
        root = _find_base_object(called)
        name = root.id if isinstance(root, ast.Name) else ""
        if isinstance(called, ast.Name) and name not in self.local:
            self.now.calls.add(name)
            self.returned |= {name} if passed_to is not None else set()
        given: str | None = _make_dotted_name(called) or "()"
        if isinstance(called, ast.Name):
            if called.id in ("vars", "getattr", "type", "dir") and arguments:
                # `vars(config)["a"]` is a part of it.
                if any(getattr(one, "value", None) in REFLECTIVE for one in arguments):
                    self.record_unlimited_change(ast.unparse(node))
                self.read_values(arguments, passed_to or "")
                return
            if called.id == "super":
                return
            if called.id in ("setattr", "delattr"):
                self.record_object_write(node, arguments[0] if arguments else node)
                self.read_values(arguments, None)
                return
            self.read_variable(called.id, None)
            given = None if called.id in FRESH_BUILTINS else "" if called.id in HOLDING_BUILTINS else given
        elif isinstance(called, ast.Attribute):
            self.read_method_call(called, arguments, name, passed_to)
        else:
            self.read_value_expression(called, "")
        for keyword in node.keywords:
            if keyword.arg == "out" or keyword.arg in WRITING:
                self.record_writes([keyword.value, *node.args])
        roots = {one: one_root.id for one in arguments if isinstance(one_root := _find_base_object(one), ast.Name)}
        receiver = {name} if isinstance(called, ast.Attribute) and called.attr not in HARMLESS_METHODS else set()
        for argument in arguments:
            self.read_value_for_targets(argument, given, set() if given is None else receiver)
            if given is not None and name not in self.local:
                others = {one for part, one in roots.items() if part is not argument} - self.local
                before = {one for one in self.now.hands if one[1] == given}
                self.now.mixes |= {(other, *handed) for handed in before for other in others}

    def read_method_call(
        self, called: ast.Attribute, arguments: list[ast.expr], root: str, passed_to: str | None
    ) -> None:
        """Record a method call, such as `config.update(...)` or `dict.update(config, ...)`."""
        method, of = called.attr, called.value
        changes = method in CHANGING_METHODS or (method.endswith("_") and not method.endswith("__"))
        self.read_value_expression(called, None)
        if method == "apply":
            self.read_value_expression(of, "apply")
        if method in ("named_parameters", "parameters") and passed_to is not None and root not in self.local:
            self.now.weights.add(root)
        if passed_to is not None and method in GIVING_METHODS:
            if root and root not in self.local and method not in GIVE_THEMSELVES:
                self.now.hands.add((root, passed_to, True))
            else:
                self.read_value_expression(of, passed_to)
        elif passed_to is not None and root and root not in self.local:
            self.returned.add(f"{root}.{method}")
        if changes:
            of_package = root in self.packages and root not in self.local
            if (
                not of_package
                or method.startswith("__")
                or (method in CHANGING_METHODS and of is not _find_base_object(of))
            ):
                self.record_object_write(called, of)
            if of_package or not root or hasattr(builtins, root):
                # `dict.update(config, ...)`, `nn.init.zeros_(layer.weight)`
                self.record_writes(arguments)
        elif method not in PURE_METHODS and root and root not in self.local:
            self.now.methods.add((_make_dotted_name(of), method))

    # --- writes

    def record_writes(self, nodes: Iterable[ast.expr]) -> None:
        """Record a write to the object of each variable, attribute, item or list."""
        for node in nodes:
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.List | ast.Starred):
                self.record_object_write(node, node)

    def record_object_write(self, target: ast.expr, node: ast.expr) -> None:
        """Record a write to the object of an expression. `target` is the expression, or a call of the object's
        method."""
        chain = list(_walk_to_base_object(node))
        root, depth = chain[-1], len(chain) - (target is node)
        sets = isinstance(target, ast.Call) or (isinstance(target, ast.Attribute) and _sets_attribute(target))
        weight = is_weight_access(node)
        if not isinstance(root, ast.Name):
            parts: list[ast.AST] = [*ast.iter_child_nodes(root)]
            if isinstance(root, ast.Call):
                called, of = _make_dotted_name(root.func), root.func
                if called in HOLDING_BUILTINS | {"getattr", "super", "type", "vars"}:
                    parts = [*root.args]
                elif called.split(".")[0] in self.local or (
                    isinstance(of, ast.Attribute) and of.attr in GIVING_METHODS
                ):
                    parts = [of.value if isinstance(of, ast.Attribute) else of]
                else:
                    self.now.through.add(called)
                    parts = []
            for name in (n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)):
                self.record_write(name, name, depth + 1, is_weight=weight, sets_attribute=sets)
            return
        self.record_write(root.id, _make_dotted_name(node), depth, is_weight=weight, sets_attribute=sets)

    def record_write(self, name: str, dotted: str, depth: int, *, is_weight: bool, sets_attribute: bool) -> None:
        """Record a write to a name of the file, or to an object that a function is given. `depth` counts the attributes
        and items between the name and the object."""
        if name not in self.local:
            (self.now.weights if is_weight else self.now.writes).add(dotted)
            return
        attribute = dotted.split(".")[1:2]
        if name == self.itself and self.of_class is not None:
            if self.gets_class or "__class__" in attribute or (depth > 1 and not attribute):
                self.now.writes.add(self.of_class.name)
                return
            if depth < 2 or not attribute or f".{attribute[0]}" in find_names_assigned_only_new_objects(self.of_class):
                return
            self.now.writes.add(self.of_class.name)
        elif name in self.fresh and depth < 2:
            return
        self.now.writes_given = True
        self.now.sets_given |= sets_attribute and not is_weight

    def record_unlimited_change(self, code: str) -> None:
        """Record code that may reach any name or object, such as `exec`. Only the first such code is kept."""
        self.now.anything = self.now.anything or code[:60]


def _is_harmless_command(node: ast.Call) -> bool:
    """Return whether a call is a shell command, or a Jupyter command that changes no names."""
    command = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    magic = getattr(node.args[0], "value", None) if node.args else None
    return command in ("getoutput", "system") or (command == "run_line_magic" and magic in HARMLESS_MAGICS)


def _walk_to_base_object(node: ast.AST) -> Iterator[ast.AST]:
    """Yield an expression and the objects that contain it: `a.b[0]`, `a.b` and `a`."""
    yield node
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
        yield node


def _make_dotted_name(node: ast.AST) -> str:
    """Return the dotted name at the start of an expression: `a.b` for `a.b[0].c`."""
    *parts, root = _walk_to_base_object(node)
    dotted = getattr(root, "id", "")
    for part in reversed(parts):
        if not isinstance(part, ast.Attribute):
            break
        dotted += f".{part.attr}"
    return dotted


def _sets_attribute(node: ast.Attribute) -> bool:
    """Return whether code assigns to an attribute, or calls a method that sets an attribute of a module."""
    return not isinstance(node.ctx, ast.Load) or node.attr.startswith(("__setattr__", "add_module", "register_"))


def _find_base_object(node: ast.AST) -> ast.AST:
    """Return the expression at the start of attributes and items: `a` for `a.b[0]`."""
    return list(_walk_to_base_object(node))[-1]
