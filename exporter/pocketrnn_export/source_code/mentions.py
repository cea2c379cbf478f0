"""The names that a piece of a user's code mentions, and its use of them, as far as the code itself says it.

Nothing is run, and nothing is followed: `f(config)` gives `config` to `f`, whatever `f` does with it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, fields

from pocketrnn_export.source_code.code_facts import (
    Definition,
    Function,
    Import,
    arguments_of,
    first_parameter,
    head_of,
    imported_names,
    is_given_its_class,
    is_weight,
    modules_of_import,
    only_new,
)
from pocketrnn_export.source_code.known_code import (
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

__all__ = ["Mentions", "mentions_of"]

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_JUPYTERS = frozenset({"_", "__", "In", "Out", "get_ipython"})


@dataclass
class Mentions:
    """The use that some code makes of names.

    Attributes:
        loads: the names that it uses, and parts of them, as `sys.modules`.
        binds: the names of the file that it gives a value as `global`.
        imports: the names that it imports, with what they stand for.
        modules: the modules that it imports.
        writes: what it writes to, as `config` of `config["a"] = 3` and `F.relu` of `F.relu = f`.
        weights: what it writes to that is a weight by its name, as `model` of `model.fc.weight.data[0] = 3`.
        through: functions, classes and methods to whose result it writes, as `get` of `get()["a"] = 3`.
        hands: the names that it gives to other names (to "") or to a call, with the name that is called, and whether
            it gives a part, as of `config["sizes"]`.
        aliases: the names that it gives what another name stands for, or what a call gives that is given that name:
            `c` of `c = config` and `c = f(config)`, with what `hands` has.
        made: the names that it gives what a call gives, with what is called, as `Net` or `net.layers`.
        mixes: the names that it gives to a call beside another name: that name, and as `hands`.
        methods: the methods that it calls and that are not known, each with its object, `net` or `net.layers`.
        calls: the names that it calls.
        returns_given: whether it gives a parameter itself.
        writes_given: whether it writes to what a parameter or a loop gives it.
        sets_given: whether it sets an attribute of that, and no weight.
        anything: what in it may reach any name or object; empty if nothing.
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
        """Add what other code does."""
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, mine or others if isinstance(mine, bool | str) else mine | others)


def mentions_of(node: ast.stmt, packages: Set[str]) -> tuple[Mentions, Mentions]:
    """The effects of a top-level statement when it is run, and of the functions in it when they are called.

    Args:
        node: the statement.
        packages: names that stand for packages or parts of them.

    Example:
        >>> now, later = mentions_of(ast.parse("def f(c=config):\\n    c.clear(); names.append(3)").body[0], set())
        >>> now.hands, later.writes, later.writes_given
        ({('config', '', False)}, {'names'}, True)
    """
    reader = _Reader(packages)
    reader.statement(node)
    return reader.now, reader.later


class _Reader:
    """Reads code: a statement of the file, or with `local` names the body of a function."""

    def __init__(self, packages: Set[str]) -> None:
        self.packages = packages
        self.now = Mentions()
        self.later = Mentions()
        # The functions whose results are handed on.
        self.returned: set[str] = set()
        # The class whose body is read.
        self.holder = ""
        self.local: Set[str] = frozenset()
        self.fresh: Set[str] = frozenset()
        self.parameters: Set[str] = frozenset()
        # For a method: its first parameter, its class, and whether it is given the class in place of an object.
        self.itself = ""
        self.of_class: ast.ClassDef | None = None
        self.gets_class = False

    # --- statements

    def statement(self, node: ast.AST) -> None:
        if isinstance(node, Function):
            self.all(head_of(node), "")
            self.body(node, None)
        elif isinstance(node, ast.ClassDef):
            for one in head_of(node):
                self.given(one, "", {node.name})
            for part in node.body:
                if isinstance(part, Function):
                    self.all(head_of(part), "")
                    self.body(part, node)
                else:
                    self.holder = node.name
                    self.statement(part)
                    self.holder = ""
        elif isinstance(node, Import):
            self.now.imports.update(imported_names(node))
            self.now.modules |= modules_of_import(node)
        elif isinstance(node, ast.Return):
            every = [node.value, *getattr(node.value, "elts", ())]
            self.now.returns_given |= any(isinstance(one, ast.Name) and one.id in self.parameters for one in every)
            self.value(node.value, "")
        elif isinstance(node, ast.Global):
            self.now.binds |= set(node.names)
        elif isinstance(node, ast.Expr):
            self.value(node.value, None)
        elif isinstance(node, ast.Assert | ast.If | ast.While):
            self.value(node.test, None)
            for part in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
                self.statement(part)
        else:
            self.assignment(node)

    def assignment(self, node: ast.AST) -> None:
        """Any other statement: its targets, and what it has in them."""
        given = [*getattr(node, "targets", ()), getattr(node, "target", None), getattr(node, "optional_vars", None)]
        targets = {self.holder}
        for target in filter(None, given):
            for one in ast.walk(target):
                if isinstance(one, ast.Attribute | ast.Subscript) and not isinstance(one.ctx, ast.Load):
                    self.write(one, one)
                    self.value(one.value, None)
                    self.value(getattr(one, "slice", None), None)
                    targets.add(_dotted(one).split(".")[0])
                elif isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
                    targets.add(one.id)
                    if isinstance(node, ast.AugAssign | ast.Delete):
                        self.name(one.id, None)
                    if isinstance(node, ast.AugAssign):
                        self.write(one, one)
        value = getattr(node, "value", getattr(node, "iter", getattr(node, "context_expr", None)))
        if isinstance(value, ast.expr):
            self.given(value, "", targets)
        for name, part in ast.iter_fields(node):
            if name not in ("targets", "target", "optional_vars", "value", "iter", "context_expr"):
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, ast.expr):
                        self.value(one, "")
                    elif isinstance(one, ast.AST):
                        self.statement(one)

    def given(self, value: ast.expr | None, to: str | None, targets: Set[str]) -> None:
        """A value that some names, or what they stand for, are given."""
        before, self.now.hands = self.now.hands, set()
        made, self.returned = self.returned, set()
        self.value(value, to)
        targets = {target for target in targets if target and target not in self.local}
        self.now.aliases |= {(target, *handed) for handed in self.now.hands for target in targets}
        self.now.made |= {(target, name) for name in self.returned for target in targets}
        self.now.hands |= before
        self.returned |= made

    def body(self, node: Definition | ast.GeneratorExp, of_class: ast.ClassDef | None) -> None:
        """The part that runs later: the body of a function."""
        inner = _Reader(self.packages)
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
        inner.fresh = only_new(node) - parameters
        if isinstance(node, Function) and of_class is not None:
            inner.itself = first_parameter(node)
            inner.of_class, inner.gets_class = of_class, is_given_its_class(node)
        else:
            inner.itself, inner.of_class, inner.gets_class = self.itself, self.of_class, self.gets_class
        if isinstance(node, ast.GeneratorExp):
            inner.comprehension(node)
        elif isinstance(node, ast.Lambda):
            inner.value(node.body, "")
        else:
            for statement in node.body:
                inner.statement(statement)
        self.later.add(inner.now)
        self.later.add(inner.later)

    # --- expressions; `to` is who is given the value: a call, "" for a name, None where it is only read

    def all(self, nodes: Iterable[ast.expr | None], to: str | None) -> None:
        for node in nodes:
            self.value(node, to)

    def value(self, node: ast.AST | None, to: str | None) -> None:
        if isinstance(node, ast.Name):
            self.name(node.id, to)
        elif isinstance(node, ast.Attribute | ast.Subscript):
            self.part(node, to)
        elif isinstance(node, ast.Call):
            self.call(node, to)
        elif isinstance(node, ast.Lambda):
            self.all([*node.args.defaults, *node.args.kw_defaults], "")
            self.body(node, None)
        elif isinstance(node, ast.GeneratorExp):
            self.value(node.generators[0].iter, "")
            self.body(node, None)
        elif isinstance(node, _Comprehension):
            self.comprehension(node)
        elif isinstance(node, ast.Compare):
            self.all([node.left, *node.comparators], "" if isinstance(node.ops[0], ast.In | ast.NotIn) else None)
        elif isinstance(node, ast.FormattedValue | ast.UnaryOp) or (
            isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.BitOr | ast.LShift | ast.Mult)
        ):
            self.all([one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)], None)
        elif isinstance(node, ast.NamedExpr):
            self.given(node.value, "", {node.target.id})
        elif isinstance(node, ast.IfExp):
            self.value(node.test, None)
            self.all([node.body, node.orelse], to)
        elif node is not None:
            for one in ast.iter_child_nodes(node):
                if isinstance(one, ast.expr):
                    self.value(one, to or "")

    def comprehension(self, node: _Comprehension) -> None:
        before = self.local
        self.local = before | {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        for generator in node.generators:
            self.value(generator.iter, "")
            self.all(generator.ifs, None)
        self.all([getattr(node, name, None) for name in ("elt", "key", "value")], "")
        self.local = before

    def name(self, name: str, to: str | None) -> None:
        if name in self.local:
            return
        self.now.loads.add(name)
        if name in REACH_ANY or name in _JUPYTERS:
            self.reaches(name)
        if to is not None:
            self.now.hands.add((name, to, False))

    def part(self, node: ast.Attribute | ast.Subscript, to: str | None) -> None:
        if any(isinstance(one, ast.Attribute) and one.attr in REFLECTIVE for one in _chain(node)):
            self.reaches(ast.unparse(node))
        if isinstance(node, ast.Subscript):
            self.value(node.slice, None)
        elif node.attr in CHANGING_METHODS and to is not None:
            # `map(config.update, ...)`
            self.write(node, node.value)
        root = _root(node)
        if not isinstance(root, ast.Name):
            self.value(root, "" if to is None else to)
        elif root.id not in self.local:
            self.name(root.id, None)
            self.now.loads.add(_dotted(node))
            if (to is not None or isinstance(node, ast.Subscript)) and not is_weight(node):
                self.now.hands.add((root.id, to or "", True))

    def call(self, node: ast.Call, to: str | None) -> None:
        called, arguments = node.func, arguments_of(node)
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) == "get_ipython()" and _is_known(node):
            return
        root = _root(called)
        name = root.id if isinstance(root, ast.Name) else ""
        if isinstance(called, ast.Name) and name not in self.local:
            self.now.calls.add(name)
            self.returned |= {name} if to is not None else set()
        given: str | None = _dotted(called) or "()"
        if isinstance(called, ast.Name):
            if called.id in ("vars", "getattr", "type", "dir") and arguments:
                # `vars(config)["a"]` is a part of it.
                if any(getattr(one, "value", None) in REFLECTIVE for one in arguments):
                    self.reaches(ast.unparse(node))
                self.all(arguments, to or "")
                return
            if called.id == "super":
                return
            if called.id in ("setattr", "delattr"):
                self.write(node, arguments[0] if arguments else node)
                self.all(arguments, None)
                return
            self.name(called.id, None)
            given = None if called.id in FRESH_BUILTINS else "" if called.id in HOLDING_BUILTINS else given
        elif isinstance(called, ast.Attribute):
            self.method(called, arguments, name, to)
        else:
            self.value(called, "")
        for keyword in node.keywords:
            if keyword.arg == "out" or keyword.arg in WRITING:
                self.writes_to([keyword.value, *node.args])
        roots = {one: one_root.id for one in arguments if isinstance(one_root := _root(one), ast.Name)}
        receiver = {name} if isinstance(called, ast.Attribute) and called.attr not in HARMLESS_METHODS else set()
        for argument in arguments:
            self.given(argument, given, set() if given is None else receiver)
            if given is not None and name not in self.local:
                others = {one for part, one in roots.items() if part is not argument} - self.local
                before = {one for one in self.now.hands if one[1] == given}
                self.now.mixes |= {(other, *handed) for handed in before for other in others}

    def method(self, called: ast.Attribute, arguments: list[ast.expr], root: str, to: str | None) -> None:
        """`config.update(...)`, and `dict.update(config, ...)`."""
        method, of = called.attr, called.value
        changes = method in CHANGING_METHODS or (method.endswith("_") and not method.endswith("__"))
        self.value(called, None)
        if method == "apply":
            self.value(of, "apply")
        if method in ("named_parameters", "parameters") and to is not None and root not in self.local:
            self.now.weights.add(root)
        if to is not None and method in GIVING_METHODS:
            if root and root not in self.local and method not in GIVE_THEMSELVES:
                self.now.hands.add((root, to, True))
            else:
                self.value(of, to)
        elif to is not None and root and root not in self.local:
            self.returned.add(f"{root}.{method}")
        if changes:
            of_package = root in self.packages and root not in self.local
            if not of_package or method.startswith("__") or (method in CHANGING_METHODS and of is not _root(of)):
                self.write(called, of)
            if of_package or not root or hasattr(builtins, root):
                # `dict.update(config, ...)`, `nn.init.zeros_(layer.weight)`
                self.writes_to(arguments)
        elif method not in PURE_METHODS and root and root not in self.local:
            self.now.methods.add((_dotted(of), method))

    # --- what is written to

    def writes_to(self, nodes: Iterable[ast.expr]) -> None:
        for node in nodes:
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.List | ast.Starred):
                self.write(node, node)

    def write(self, target: ast.expr, node: ast.expr) -> None:
        """Code writes to what an expression gives: by `target`, which is the expression, or a call of its method."""
        chain = list(_chain(node))
        root, depth = chain[-1], len(chain) - (target is node)
        sets = isinstance(target, ast.Call) or (isinstance(target, ast.Attribute) and _is_set(target))
        weight = is_weight(node)
        if not isinstance(root, ast.Name):
            parts: list[ast.AST] = [*ast.iter_child_nodes(root)]
            if isinstance(root, ast.Call):
                called, of = _dotted(root.func), root.func
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
                self.write_name(name, name, depth + 1, weight=weight, sets=sets)
            return
        self.write_name(root.id, _dotted(node), depth, weight=weight, sets=sets)

    def write_name(self, name: str, dotted: str, depth: int, *, weight: bool, sets: bool) -> None:
        if name not in self.local:
            (self.now.weights if weight else self.now.writes).add(dotted)
            return
        attribute = dotted.split(".")[1:2]
        if name == self.itself and self.of_class is not None:
            if self.gets_class or "__class__" in attribute or (depth > 1 and not attribute):
                self.now.writes.add(self.of_class.name)
                return
            if depth < 2 or not attribute or f".{attribute[0]}" in only_new(self.of_class):
                return
            self.now.writes.add(self.of_class.name)
        elif name in self.fresh and depth < 2:
            return
        self.now.writes_given = True
        self.now.sets_given |= sets and not weight

    def reaches(self, what: str) -> None:
        self.now.anything = self.now.anything or what[:60]


def _is_known(node: ast.Call) -> bool:
    """Whether it is a command of the shell, or a magic that leaves names alone."""
    command = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    magic = getattr(node.args[0], "value", None) if node.args else None
    return command in ("getoutput", "system") or (command == "run_line_magic" and magic in HARMLESS_MAGICS)


def _chain(node: ast.AST) -> Iterator[ast.AST]:
    """An expression, what it is a part of, and so on: `a.b[0]`, `a.b` and `a`."""
    yield node
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
        yield node


def _dotted(node: ast.AST) -> str:
    """`a.b` of `a.b[0].c`."""
    *parts, root = _chain(node)
    dotted = getattr(root, "id", "")
    for part in reversed(parts):
        if not isinstance(part, ast.Attribute):
            break
        dotted += f".{part.attr}"
    return dotted


def _is_set(node: ast.Attribute) -> bool:
    """Whether it is an attribute that gets a value, or a method that gives a module one."""
    return not isinstance(node.ctx, ast.Load) or node.attr.startswith(("__setattr__", "add_module", "register_"))


def _root(node: ast.AST) -> ast.AST:
    return list(_chain(node))[-1]
