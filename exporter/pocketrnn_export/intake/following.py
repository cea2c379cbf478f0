"""One statement of a user's file, followed as it would run: through the functions and classes of the file that it
calls, with what they are given. Nothing is run.

Of code that is not the file's own, `known_code.py` says which leaves alone what it is given; any other may change that,
and give it again.

Code also runs where no call of it is written: by an operator, a `with`, an f-string, or a package that is given it. So
a statement may do what any function or class does that it loads, itself or in an object.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pocketrnn_export.intake.code_facts import (
    Definition,
    annotations_of,
    arguments_of,
    decorating,
    first_parameter,
    imported_names,
    is_weight,
    keeps_state,
    modules_of_import,
    needs_no_call,
    root_name,
    whose_class,
    without_moves,
)
from pocketrnn_export.intake.file_objects import Effects, FileObjects
from pocketrnn_export.intake.known_code import (
    ALL_OBJECTS,
    CALL_AT_ONCE,
    CALLERS,
    CHANGES_ANY,
    CHANGES_FIRST,
    CHANGES_MODULES,
    CHANGING_METHODS,
    FRESH_BUILTINS,
    HARMLESS_MAGICS,
    HARMLESS_METHODS,
    KNOWN_BUILTINS,
    LEAVE_ALONE,
    MAKING,
    MAY_DO_ANYTHING,
    NOT_MODULES,
    OF_JUPYTER,
    OF_MEMBERS,
    PURE_METHODS,
    PURE_MORE,
    REACH_ANY,
    REFLECTIVE,
    RUN_BY_A_PICKLE,
    RUN_BY_PYTHON,
    RUN_TEXT,
    SETS_STATE,
    SWITCHES,
    UNPICKLE,
    WRITING,
    changes_tensor,
    gives_what_it_is_given,
    inputs_of_ufunc,
    is_method_of_class,
    nobody_can_change,
)
from pocketrnn_export.intake.object_numbers import NAMES, NONE, Objects, by_statement, holding, object_of_class
from pocketrnn_export.intake.scope import Code, Scope
from pocketrnn_export.intake.used_up import may_be_used_up

__all__ = ["Following", "TooMuchError"]

# So many parts of functions are followed for one statement; more than that would take seconds.
_MOST_STEPS: Final = 60_000
# Functions that call each other are followed so far.
_DEEPEST: Final = 24
# Where the trees of `except`, and of the patterns of `match`, have the names that they give a value.
_CAPTURES: Final = ("name", "rest")
# Attributes of a class by which those above it are reached.
_OF_BASES: Final = ("__base__", "__bases__", "__mro__")
# What Jupyter showed last, and all that it showed.
_SHOWN: Final = re.compile(r"_{1,3}|_\d+|Out|_oh")


class TooMuchError(Exception):
    """There is more than can be followed."""


class Following:
    """Follows one statement as it runs."""

    def __init__(self, file: FileObjects, index: int, call: ast.expr | None) -> None:
        self.file = file
        self.classes = file.classes
        self._index = index
        # What the statement is there for, if it is a call only.
        self._own_call = call
        self.effects = Effects()
        self.given_to_names: dict[str, Objects] = {}
        # Functions and classes of the file that it loads, and where; all objects that it loads.
        self.reached: Code = {}
        self.loaded: Objects = NONE
        self.packages_loaded: Objects = NONE
        # What methods belong to that are loaded, and not called.
        self.bound: Objects = NONE
        self.makes_caller = self.makes_filling = self.makes_used_up = False
        self.gives_its_own = ""
        self._only_reached = self._only_certain = False
        self._running: list[ast.AST] = []
        # What the functions that are running were given.
        self._given_first: dict[ast.AST, tuple[Sequence[Objects], Mapping[str, Objects]]] = {}
        # The classes whose methods are running, each with what the method's object holds.
        self._methods_of: list[tuple[ast.ClassDef, Objects]] = []
        self._steps = 0

    # --- statements

    def statements(self, nodes: Iterable[ast.stmt], scope: Scope) -> None:
        for node in nodes:
            self.statement(node, scope)

    def statement(self, node: ast.AST, scope: Scope, *, top: bool = False) -> None:
        self._step()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._definition(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope, top=top)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            scope.imports.update(imported_names(node))
            self.effects.imports |= modules_of_import(node)
            if node.names[0].name == "*" and isinstance(node, ast.ImportFrom):
                self.file.stars.add((node.module or "").split(".")[0])
            for name, _ in imported_names(node):
                scope.functions.pop(name, None)
        elif isinstance(node, ast.Global):
            scope.of_file.update(node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor | ast.Delete):
            self._assignment(node, scope)
            for part in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
                self.statement(part, scope)
        elif isinstance(node, ast.Return):
            scope.gives |= self.value(node.value, scope)
        elif isinstance(node, ast.withitem):
            value = self.file.with_held(self.value(node.context_expr, scope))
            if node.optional_vars is not None:
                self._given(node.optional_vars, value, scope)
        elif isinstance(node, ast.expr):
            self.value(node, scope)
        else:
            # What is raised, or matched, is what was loaded before.
            for name in filter(None, (getattr(node, field, None) for field in _CAPTURES)):
                if isinstance(name, str) and isinstance(node, ast.ExceptHandler | ast.pattern):
                    self._named(name, self.loaded, scope)
            for part in ast.iter_child_nodes(node):
                self.statement(part, scope)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        scope.functions[node.name] = node
        scope.imports.pop(node.name, None)
        arguments = node.args
        held = NONE
        for part in (*arguments.defaults, *arguments.kw_defaults):
            held |= self.value(part, scope)
        self._union(annotations_of(node), scope)
        if node.decorator_list:
            if any(scope.keeps_something(one) for one in node.decorator_list):
                self.makes_used_up = self.makes_used_up or scope.outer is None
            annotations = [a.annotation for a in (*arguments.args, *arguments.kwonlyargs) if a.annotation]
            named = self._union([n for a in annotations for n in ast.walk(a) if isinstance(n, ast.Name)], scope)
            self.reached.setdefault(node, scope)
            for decorator in node.decorator_list:
                self._decorated(decorator, named, scope)
        self._named(node.name, held, scope)
        if scope.outer is not None:
            # A function in a function: it is called sooner or later, as a decorator's is.
            self._call(node, [], {}, scope)

    def _class(self, node: ast.ClassDef, scope: Scope, *, top: bool) -> None:
        inherited = self._union([*node.bases, *(keyword.value for keyword in node.keywords)], scope)
        for known in self.classes.above(node):
            if any(isinstance(p, ast.FunctionDef) and p.name == "__init_subclass__" for p in known.body):
                # What it registers there, the class above holds.
                self._may_change(scope.objects_of(known.name) | self.classes.by_statement(known))
        inside = Scope(outer=scope)
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                at_once = (*part.args.defaults, *part.args.kw_defaults, *annotations_of(part), *part.decorator_list)
                self._union(at_once, scope)
                if scope.outer is not None:
                    # A class in a function: its methods are called sooner or later.
                    self._call(part, [], {}, scope)
            else:
                self.statement(part, inside)
        if self.classes.is_enum(node, scope):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name in OF_MEMBERS:
                    self._call(part, [], {}, scope, first=(first_parameter(part), NONE))
        for decorator in node.decorator_list:
            self._decorated(decorator, NONE, scope)
        held = frozenset().union(*inside.objects.values())
        if scope.outer is None:
            self.classes.defined(self._index, node)
        if top:
            self.given_to_names[node.name] = held
        else:
            self._named(node.name, inherited | held, scope)
        scope.imports.pop(node.name, None)

    def _decorated(self, decorator: ast.expr, given: Objects, scope: Scope) -> None:
        """What a decorator does, and what the function does that a call of one gives."""
        called = decorating(decorator)
        if isinstance(decorator, ast.Call):
            given |= self.value(decorator, scope)
            given |= self._union([*decorator.args, *(k.value for k in decorator.keywords)], scope)
        function = scope.function(called)
        if function is not None:
            self._call(function, [given], {}, scope)
            return
        held = self.value(called, scope)
        if isinstance(called, ast.Attribute) and scope.dotted(called) is None:
            # As in `@f.register`.
            self._may_change(held)
        dotted = scope.dotted(called)
        if dotted is not None and dotted.split(".")[0] not in LEAVE_ALONE:
            self.effects.may_change |= by_statement(given)

    def _assignment(
        self, node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor | ast.Delete, scope: Scope
    ) -> None:
        if isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.value(target, scope)
                else:
                    self._given(target, NONE, scope)
            return
        if isinstance(node, ast.AnnAssign):
            self.value(node.annotation, scope)
        if isinstance(node, ast.For | ast.AsyncFor):
            value = self.file.with_held(self.value(node.iter, scope))
        else:
            value = self.value(node.value, scope)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(node, ast.AugAssign) and isinstance(target, ast.Name):
                # `x += [1]` changes the list itself, whoever else holds it.
                held = self.value(target, scope)
                self._change(held)
                self.file.put(held, value)
                if NAMES in held:
                    self._names_updated(ast.Call(target, [node.value], []))
            self._given(target, value, scope)
        made = getattr(node, "value", None)
        if not isinstance(node, ast.For | ast.AsyncFor) and may_be_used_up(made, scope, self.file):
            self._holds_what_is_used_up(targets, scope)
        if not self._running:
            self.gives_its_own = scope.own_of_package(made)
        if isinstance(node, ast.Assign) and len(targets) == 1 and isinstance(targets[0], ast.Name):
            self._kind_of(targets[0].id, made, scope)

    def _holds_what_is_used_up(self, targets: Iterable[ast.expr], scope: Scope) -> None:
        self.makes_used_up = self.makes_used_up or not self._running
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript):
                self.file.used_up |= self.value(target.value, scope) - self.file.definitions

    def _kind_of(self, name: str, value: ast.expr | None, scope: Scope) -> None:
        """Note what a name stands for: a function, an object of a class of the file, a package or a part of one."""
        for known in (scope.functions, scope.instances, scope.imports):
            known.pop(name, None)
        if isinstance(value, ast.Lambda):
            scope.functions[name] = value
        elif isinstance(value, ast.Call):
            if made := self.classes.named(without_moves(value).func):
                scope.instances[name] = made
            elif package := scope.package_asked_for(value):
                scope.imports[name] = package
        elif isinstance(value, ast.Name | ast.Attribute | ast.Subscript):
            if function := scope.function(value):
                scope.functions[name] = function
            elif isinstance(value, ast.Name) and (known_class := scope.instance(value.id)):
                scope.instances[name] = known_class
            elif dotted := scope.dotted(value):
                scope.imports[name] = dotted
            elif isinstance(value, ast.Name) and isinstance(getattr(builtins, value.id, None), type):
                scope.imports[name] = f"builtins.{value.id}"

    def _given(self, target: ast.expr, value: Objects, scope: Scope) -> None:
        """A target of an assignment gets a value."""
        if isinstance(target, ast.Name):
            if "__del__" in self.classes.methods:
                self._name_loaded(target, scope)
            self._named(target.id, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._given(part, self.file.with_held(value), scope)
        elif isinstance(target, ast.Starred):
            self._given(target.value, value, scope)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            self._set_in(target, value, scope)

    def _set_in(self, target: ast.Attribute | ast.Subscript, value: Objects, scope: Scope) -> None:
        if isinstance(target, ast.Subscript):
            self.value(target.slice, scope)
        dotted = scope.dotted(target) if isinstance(target, ast.Attribute) else None
        if isinstance(target, ast.Subscript):
            dotted = scope.dotted(target.value)
        if dotted is not None and dotted.startswith("<file>.__dict__"):
            key = getattr(target.slice, "value", None) if isinstance(target, ast.Subscript) else None
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(target)[:60]}` may be any name")
            return
        if dotted is not None:
            self._set_in_package(dotted, target, value)
            return
        holder = self._class_of_object(target.value, scope) or self.value(target.value, scope)
        if own := scope.own_of_package(target.value):
            self.effects.packages.add(own)
        if is_weight(target):
            self._change_weights(holder)
            return
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            holder = scope.itself(target.value.id, holder)
        if NAMES in holder:
            key = target.attr if isinstance(target, ast.Attribute) else getattr(target.slice, "value", None)
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(target)[:60]}` may be any name")
        self._change(holder)
        # What a statement makes and puts somewhere has its number.
        self.file.put(holder, value | {self._index})
        root = root_name(target)
        if root is not None:
            # The holder reaches from now on what it was given.
            where = scope if root in scope.objects else self.file.names
            where.objects[root] = where.objects.get(root, NONE) | holding(value)

    def _class_of_object(self, node: ast.expr, scope: Scope) -> Objects:
        """The class of the file that `type(x)` or `x.__class__` gives; none for anything else.

        Which of the bases of a class is meant is not followed: any class of the file may be, or those of packages.
        """
        bases = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(bases, ast.Attribute) and bases.attr in _OF_BASES:
            first = bases.attr != "__mro__" or getattr(getattr(node, "slice", None), "value", 0) == 1
            known = self.classes.named(bases.value)
            above = known.bases if known is not None else []
            if first and len(above) == 1 and self.classes.named(above[0]) is not None:
                return self.classes.every
            return NONE
        inner = whose_class(node)
        if isinstance(inner, ast.Name) and self._methods_of and inner.id == scope.first[0]:
            return self.classes.by_statement(self._methods_of[-1][0]) or frozenset({self._index})
        found = scope.instance(inner.id) if isinstance(inner, ast.Name) else None
        if isinstance(inner, ast.Call) and (made := self.classes.named(inner.func)) is not None:
            found = made
        return self.classes.by_statement(found)

    def _classes_of(self, node: ast.expr, held: Objects) -> Objects:
        """What else an expression may give that gives a class: the bases of classes, or the class of a package."""
        if isinstance(node, ast.Attribute) and node.attr in _OF_BASES:
            named = (self.file.names.objects.get(name, NONE) for name in self.classes.names_above())
            return self.classes.every.union(*named)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("getmro", "mro"):
            return self._classes_of(ast.Attribute(node.func, "__mro__", ast.Load()), held)
        if whose_class(node) is None:
            return NONE
        return NONE.union(self.packages_loaded, *(self.file.packages_loaded.get(i, NONE) for i in held))

    def _set_in_package(self, dotted: str, target: ast.expr, value: Objects) -> None:
        for attribute in dotted.split("."):
            self._change(self.file.package_attributes.get(attribute, NONE))
        if isinstance(target, ast.Attribute) and (held := value - self.file.definitions):
            before = self.file.package_attributes.get(target.attr, NONE)
            self.file.package_attributes[target.attr] = before | held
        if dotted.startswith("<file>."):
            self._sets(dotted.split(".")[1])
        elif dotted.startswith("__main__") or dotted in RUN_BY_PYTHON or dotted == "sys.modules":
            self._anything(f"`{ast.unparse(target)[:60]}`")
        else:
            self.effects.hands_over = True
            if not dotted.startswith(SWITCHES):
                self.effects.packages.add(dotted)

    def _named(self, name: str, value: Objects, scope: Scope) -> None:
        if scope.outer is None:
            self.given_to_names[name] = self.given_to_names.get(name, NONE) | value
            scope.objects[name] = scope.objects.get(name, NONE) | value
        elif name in scope.of_file:
            self._sets(name)
            self.file.names.objects[name] = self.file.names.objects.get(name, NONE) | value
        else:
            scope.objects[name] = scope.objects.get(name, NONE) | value

    # --- values

    def value(self, node: ast.expr | None, scope: Scope) -> Objects:
        """The objects that a value may be, or hold; after what computing it does."""
        if node is None or isinstance(node, ast.Constant):
            self._constant(node)
            return NONE
        self._step()
        if isinstance(node, ast.Name):
            self._any_object(node, scope)
            self._reaching_any(node, scope)
            self._of_package(node, scope)
            return self._name_loaded(node, scope)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            # `"google.colab" in sys.modules`
            seen = [part for part in node.comparators if scope.dotted(part) != "sys.modules"]
            self._union([node.left, *seen], scope)
            return NONE
        if isinstance(node, ast.Attribute):
            return self._attribute(node, scope)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, scope)
        if isinstance(node, ast.NamedExpr):
            held = self.value(node.value, scope)
            self._given(node.target, held, scope)
            return held
        if isinstance(node, ast.Lambda):
            self.reached.setdefault(node, scope)
            return self._call(node, [], {}, scope) | self._union(node.args.defaults, scope)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inside = Scope(outer=scope)
            for part in node.generators:
                self._given(part.target, self.file.with_held(self.value(part.iter, inside)), inside)
                self._union(part.ifs, inside)
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return self._union(parts, inside)
        held = self._union([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)], scope)
        if isinstance(node, ast.Starred):
            return self.file.with_held(held)
        if isinstance(node, ast.Yield | ast.YieldFrom):
            scope.gives |= held
            # What is sent to it.
            return self.loaded
        if isinstance(node, ast.BinOp):
            return held if isinstance(node.op, ast.Add | ast.BitOr | ast.Mult) else NONE
        return NONE if isinstance(node, ast.Compare | ast.UnaryOp | ast.JoinedStr | ast.FormattedValue) else held

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Objects:
        self._any_object(node, scope)
        self._reaching_any(node, scope)
        self._of_package(node, scope)
        if nobody_can_change(scope.dotted(node) or ""):
            return NONE
        held = self.value(node.value, scope)
        self._method_loaded(node, held, scope)
        if node.attr == "__globals__":
            return frozenset({NAMES})
        if node.attr in REFLECTIVE:
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if not node.attr.startswith("__"):
            held = self._items(node.value, held, scope)
        found = held | self._classes_of(node, held) | self.file.package_attributes.get(node.attr, NONE)
        for method in self.classes.methods.get(node.attr, ()):
            if needs_no_call(method):
                # A property gives what its function does.
                found |= self._call(method, [held], {}, scope)
        return self.file.with_held(found | self.classes.with_attribute(node.attr, held))

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Objects:
        if (asked := scope.package_asked_for(node)) not in (None, "<file>"):
            if asked == "__main__":
                self._anything(f"`{ast.unparse(node)[:60]}`")
            return NONE
        held = self.value(node.value, scope)
        key = self.value(node.slice, scope)
        if known := self.classes.named(node.value):
            self._method_of(known, "__class_getitem__", [NONE, key], {}, scope)
        if NAMES in held:
            return self._of_names(held, getattr(node.slice, "value", None))
        if isinstance(node.ctx, ast.Load):
            # What is not there, a defaultdict makes.
            self._change(held & self.file.filling)
        return self.file.with_held(self._items(node.value, held, scope))

    def _constant(self, node: ast.Constant | None) -> None:
        """Note a string that is the name of what reaches any name, as in getattr(f, "__globals__"), or of a method."""
        if node is None or not isinstance(node.value, str):
            return
        if node.value in REFLECTIVE | {"__globals__"}:
            self._anything(f"`{node.value}`")
        for method in self.classes.methods.get(node.value, ()):
            # As in getattr(x, "use")(3) and operator.methodcaller("use", 3).
            self.reached.setdefault(method, self.file.names)

    def _method_loaded(self, node: ast.Attribute, held: Objects, scope: Scope) -> None:
        """What may happen where an attribute is not called, but may be a method."""
        for method in self.classes.methods.get(node.attr, ()):
            self.reached.setdefault(method, scope)
            if any(self.file.names.keeps_something(one) for one in method.decorator_list):
                # As `functools.cached_property`.
                self._change(held | self.classes.having(method))
        if isinstance(node.ctx, ast.Load) and (node.attr in CHANGING_METHODS or changes_tensor(node.attr)):
            # Given to somebody who calls it, as in map(config.update, ...).
            self.makes_caller = True
            if (scope.dotted(node) or "").startswith(("torch.", "numpy.")):
                # A method without its object, as torch.Tensor.normal_.
                return
            self.bound |= held
            self._change(held)

    def _items(self, container: ast.expr, held: Objects, scope: Scope) -> Objects:
        """What the items or attributes of a value may be, of all that it may be or hold."""
        if (
            isinstance(container, ast.Name)
            and (container.id, held) in self.file.flat
            and scope.is_of_file(container.id)
        ):
            return self.file.with_held(held) - held
        return held

    def _union(self, nodes: Iterable[ast.expr | None], scope: Scope) -> Objects:
        held = NONE
        for node in nodes:
            held |= self.value(node, scope)
        return held

    def _of_names(self, held: Objects, key: object) -> Objects:
        """What an item of globals() is: that of a name, or any."""
        if isinstance(key, str):
            return self._name_loaded(ast.Name(key, ast.Load()), self.file.names)
        return (held - {NAMES}).union(*self.file.names.objects.values())

    # --- calls

    def _called(self, node: ast.Call, scope: Scope) -> Objects:
        given = [self.value(argument, scope) for argument in node.args]
        named = {keyword.arg or "**": self.value(keyword.value, scope) for keyword in node.keywords}
        everything = frozenset().union(*given, *named.values())
        function = scope.function(node.func)
        if isinstance(node.func, ast.Name):
            self.effects.makes |= scope.objects_of(node.func.id) & self.file.definitions
        if function is not None:
            if isinstance(node.func, ast.Name):
                self._used(scope.objects_of(node.func.id))
            if any(isinstance(part, ast.Yield | ast.YieldFrom | ast.Await) for part in ast.walk(function)):
                # It runs when somebody asks for its next value, who may be of another statement.
                self.makes_caller = True
                self.reached.setdefault(function, scope)
            return self._call(function, given, named, scope) | everything
        if asked := self._attribute_asked_for(node, scope):
            return everything | self.value(asked, scope)
        made = self.classes.named(node.func)
        if made is not None:
            return everything | self._made(made, given, named, scope)
        for argument in node.args:
            dotted = scope.dotted(argument) or ""
            if dotted in CHANGES_FIRST or (dotted.startswith("torch.") and dotted.endswith("_")):
                # As in map(numpy.copyto, arrays, arrays).
                self._change(everything)
            if isinstance(node.func, ast.Name | ast.Attribute) and (function := scope.function(argument)):
                # As in `model.apply(function)`.
                own = isinstance(node.func, ast.Attribute) and scope.dotted(node.func) is None
                held = self.value(node.func.value, scope) if own else NONE  # type: ignore[union-attr]
                self._call(function, [everything | held], {}, scope)
        held = self._called_of_others(node, given, named, scope)
        return self.file.with_held(held | self._classes_of(node, held))

    def _attribute_asked_for(self, node: ast.Call, scope: Scope) -> ast.Attribute | None:
        """x.pool of `getattr(x, "pool")`; None for anything else."""
        if getattr(node.func, "id", "") != "getattr" or scope.is_defined("getattr") or len(node.args) < 2:
            return None
        name = node.args[1]
        if scope.dotted(node.args[0]) or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return None
        return ast.copy_location(ast.Attribute(node.args[0], name.value, ast.Load()), node)

    def _called_of_others(
        self, node: ast.Call, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope
    ) -> Objects:
        """A call of what is no function or class of the file by its name."""
        everything = frozenset().union(*given, *named.values())
        dotted = scope.dotted(node.func)
        if dotted is not None:
            self.effects.loads.add(dotted)
            self.packages_loaded |= scope.objects_of(root_name(node.func) or "") & self.file.of_package.keys()
            return self._imported_called(dotted, node, given, everything, scope)
        if isinstance(node.func, ast.Name):
            return self._builtin_called(node.func.id, node, given, everything, scope)
        if isinstance(node.func, ast.Attribute):
            return self._method_called(node.func, node, given, named, scope)
        held = self.value(node.func, scope)
        self._may_change(held | (everything - self.file.definitions))
        return held | everything

    def _made(
        self, node: ast.ClassDef, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope
    ) -> Objects:
        """What an object of a class of the file holds when it is made."""
        held = self._name_loaded(ast.Name(node.name, ast.Load()), scope)
        itself = self.classes.new_objects(node)
        for name in ("__new__", "__init__"):
            held |= self._method_of(node, name, [itself, *given], named, scope) or NONE
        self._method_of(node, "__post_init__", [held.union(*given, *named.values())], {}, scope)
        held -= self.file.definitions
        # A class may give an object that exists already, or one that shares what it has.
        return held | self.classes.giving_old_ones(node, scope) | itself

    def _builtin_called(
        self, name: str, node: ast.Call, given: Sequence[Objects], everything: Objects, scope: Scope
    ) -> Objects:
        own = self._name_loaded(ast.Name(name, ast.Load()), scope)
        if own:
            # A value that is called: a module, or what a function gave.
            known = scope.instance(name)
            if known is not None and keeps_state(known):
                self.effects.keeps |= by_statement(own) - self.file.definitions
            elif known is None and (own & self.file.callers or not self._running):
                self._may_change(own | (everything if own & self.file.callers else NONE))
            return everything.union(map(object_of_class, own & self.classes.every))
        if name in ("exec", "eval", "execfile", "get_ipython", "run_path"):
            self._anything(f"`{ast.unparse(node)[:60]}`")
        elif name in ("globals", "locals", "vars") and not node.args:
            return frozenset({NAMES}) if name == "globals" or scope.outer is None else NONE
        elif name in ("setattr", "delattr") and node.args:
            key = node.args[1] if len(node.args) > 1 else None
            constant = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "some_attribute"
            target = ast.Attribute(node.args[0], constant, ast.Store())
            self._set_in(ast.copy_location(target, node), everything, scope)
        elif name == "next" and given:
            self._change(given[0])
        elif name == "__import__" and (asked := scope.package_asked_for(node)):
            self._asked_for(asked, node)
        elif not self._is_known(name, scope):
            # From a package by a star, or from a cell that stands below.
            self._may_change(everything)
        return NONE if name in FRESH_BUILTINS else everything | self._classes_of(node, everything)

    def _is_known(self, name: str, scope: Scope) -> bool:
        """Whether a function, of which no name of the file tells, leaves alone what it is given."""
        if name in KNOWN_BUILTINS or scope.is_defined(name):
            return True
        found = getattr(builtins, name, None)
        if isinstance(found, type):
            return issubclass(found, BaseException)
        return found is None and self.file.stars_are_known

    def _asked_for(self, package: str, node: ast.Call) -> None:
        """Note that a package is imported, or looked for, by its name."""
        if package == "__main__":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        self.effects.imports.add(package)

    def _imported_called(
        self, dotted: str, node: ast.Call, given: Sequence[Objects], everything: Objects, scope: Scope
    ) -> Objects:
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        if package == "builtins" and dotted.count(".") == 1:
            return self._builtin_called(last, node, given, everything, scope)
        if package == "builtins" and given:
            return self._unbound(last, node, given, everything)
        self._reaching_others(dotted, node, everything, scope)
        if dotted in UNPICKLE:
            # Which classes of the file a pickle holds is not known.
            for method in (one for name in RUN_BY_A_PICKLE for one in self.classes.methods.get(name, ())):
                self.reached.setdefault(method, self.file.names)
            if any(isinstance(argument, ast.Constant) for argument in node.args):
                self._anything(f"`{ast.unparse(node)[:60]}`")
        self.makes_caller = self.makes_caller or dotted in CALLERS
        self.makes_filling = self.makes_filling or dotted == "collections.defaultdict"
        if dotted.startswith((*SETS_STATE, "sys.path.")) or dotted == "os.chdir":
            self.effects.packages.add(dotted)
        elif last in CHANGING_METHODS and last.startswith("__"):
            # As in F.__setattr__("relu", ...).
            self.effects.packages.add(dotted.rpartition(".")[0])
        elif dotted in CHANGES_FIRST and given:
            self._change(given[0])
            self.file.put(given[0], everything)
        elif dotted in CHANGES_ANY:
            self._change(everything)
        elif given and package in LEAVE_ALONE and is_method_of_class(dotted):
            self._change(given[0])
        elif package == "numpy" and (out := _outputs(dotted, given)):
            self._change(out)
        elif package == "torch" and dotted[-1] == "_":
            self._change_weights(everything)
        elif dotted.startswith(CHANGES_MODULES) and not dotted.startswith(NOT_MODULES):
            self._change(everything)
        elif package not in LEAVE_ALONE:
            self.effects.calls.add(package)
            self._may_change(self.file.with_held(everything))
            self.file.put(everything, everything)
        elif {"environ", "__dict__"} & set(dotted.split(".")) and last in CHANGING_METHODS:
            self.effects.packages.add(dotted)
        for keyword in node.keywords:
            self.makes_caller = self.makes_caller or keyword.arg == "inplace"
            if (keyword.arg == "copy" and getattr(keyword.value, "value", None) is False) or keyword.arg in WRITING:
                self._change(everything)
            if keyword.arg == "out":
                self._change(self.value(keyword.value, scope))
        of_objects = any(
            k.arg == "dtype" and ast.unparse(k.value)[-7:].strip("'_") in ("object", "O") for k in node.keywords
        )
        return everything if of_objects or gives_what_it_is_given(dotted) else NONE

    def _reaching_others(self, dotted: str, node: ast.Call, everything: Objects, scope: Scope) -> None:
        """Note a function of a package that reaches what it is not given, or that may run later what it is given."""
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        if asked := scope.package_asked_for(node):
            self._asked_for(asked, node)
        for attribute in dotted.split("."):
            self._may_change(self.file.package_attributes.get(attribute, NONE))
        if package not in CALL_AT_ONCE and any(self._is_code(argument, scope) for argument in arguments_of(node)):
            self.effects.hands_over = True
        if (
            dotted.startswith(MAY_DO_ANYTHING)
            or dotted in ALL_OBJECTS | RUN_BY_PYTHON
            or dotted.endswith(".__subclasses__")
            or (dotted.startswith(RUN_TEXT) and not self._runs_what_is_seen(node, scope))
            # Who has the names of the file may change any of them.
            or NAMES in everything
            # Here, that is another file.
            or package == "__main__"
            or (dotted.startswith(("<file>.__dict__", "sys.modules.")) and last in CHANGING_METHODS)
        ):
            self._anything(f"`{ast.unparse(node)[:60]}`")

    def _is_code(self, node: ast.expr, scope: Scope) -> bool:
        """Whether an argument is code of the file, or an object that holds some."""
        if isinstance(node, ast.Lambda) or scope.function(node) is not None:
            return True
        if isinstance(node, ast.Call):
            return self.classes.named(node.func) is not None or any(self._is_code(a, scope) for a in arguments_of(node))
        if isinstance(node, ast.Name):
            return bool(scope.objects_of(node.id) & (self.file.code.keys() | self.file.callers))
        return isinstance(node, ast.Attribute) and node.attr in CHANGING_METHODS

    def _method_called(
        self,
        called: ast.Attribute,
        node: ast.Call,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: Scope,
    ) -> Objects:
        """A method of a value. What a class of the file defines under that name is followed."""
        name, root = called.attr, called.value
        if name == "__subclasses__":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if isinstance(root, ast.Call) and ast.unparse(root) == "get_ipython()" and name in OF_JUPYTER:
            asked = " ".join(str(getattr(a, "value", "")) for a in node.args)
            if "magic" in name and asked.split(" ")[0].lstrip("%") not in HARMLESS_MAGICS:
                self._anything(f"`%{asked[:60]}`")
            return NONE
        held = self.value(root, scope)
        everything = frozenset().union(*given, *named.values())
        if isinstance(root, ast.Name) and root.id in ("dict", "list", "set", "object", "type", "OrderedDict") and given:
            return self._unbound(name, node, given, everything)
        if given and whose_class(root) is not None:
            # A method without its object: x.__class__.append(lst, 3).
            self._may_change(given[0])
        if name.startswith(("add", "register")) and any(self._is_code(one, scope) for one in arguments_of(node)):
            self.effects.hands_over = True
        if any(keyword.arg in WRITING for keyword in node.keywords):
            self._change(held)
        if known := self.classes.named(root):
            self._method_of(known, name, given, named, scope)
        if isinstance(root, ast.Call) and getattr(root.func, "id", "") == "super" and self._methods_of:
            return everything | self._inherited(name, given, named, scope)
        known_class = scope.instance(root.id) if isinstance(root, ast.Name) else None
        if known_class is not None:
            given_back = self._method_of(known_class, name, [held, *given], named, scope)
            if given_back is not None:
                return held | everything | given_back
        if NAMES in held and name in ("update", "setdefault", "__ior__", "__setitem__"):
            self._names_updated(node)
        elif NAMES in held and name in CHANGING_METHODS and name != "pop":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if NAMES in held and name in ("get", "items", "pop", "values"):
            return self._of_names(held, getattr(node.args[0], "value", None) if node.args else None)
        of_file = [m for m in self.classes.methods.get(name, ()) if known_class is None]
        gives = NONE.union(*(self._call(method, [held, *given], named, scope) for method in of_file))
        if (name in CHANGING_METHODS or (name[-1] == "_" and name[0] != "_")) and name not in HARMLESS_METHODS:
            (self._change_weights if is_weight(called) else self._change)(held)
            self.file.put(held, everything | {self._index} if arguments_of(node) else NONE)
            return held | everything | gives
        if name in ("load_state_dict", "step"):
            self._change_weights(held)
        if name in ("get", "items", "keys", "values"):
            return self._items(root, held, scope) | gives
        if name in PURE_METHODS | HARMLESS_METHODS | PURE_MORE:
            return held | gives
        if not of_file and node is self._own_call:
            self._change(held)
        if not of_file:
            self._may_change(self.file.with_held(held | everything))
            self.file.put(held, everything)
        return held | everything | gives

    def _unbound(self, name: str, node: ast.Call, given: Sequence[Objects], everything: Objects) -> Objects:
        """A method of a builtin class that is given its object: `list.append(x, 3)`."""
        if name not in PURE_METHODS:
            self._change(given[0])
            self.file.put(given[0], everything)
            if NAMES in given[0]:
                self._anything(f"`{ast.unparse(node)[:60]}`")
        return everything

    def _names_updated(self, node: ast.Call) -> None:
        keys: list[object] = [keyword.arg for keyword in node.keywords]
        for argument in node.args:
            if isinstance(argument, ast.Dict):
                keys += [getattr(key, "value", None) for key in argument.keys]
            elif isinstance(argument, ast.Constant):
                keys.append(argument.value)
            elif not keys:
                keys.append(None)
        for key in keys:
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(node)[:60]}`")

    def _method_of(
        self, node: ast.ClassDef, name: str, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope
    ) -> Objects | None:
        """What a method of a class gives, or what it leaves in an object that it makes; None if there is none."""
        own = [p for p in node.body if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef) and p.name == name]
        held = NONE
        first = given[0] if given else NONE
        itself = self.file.objects_of(node, first) if own and given else NONE
        for part in own:
            # A property has a function to read it, and one to set it.
            self._methods_of.append((node, first))
            of_class = self.classes.class_given(part)
            held |= self._call(part, given, named, scope, first=(first_parameter(part), itself | of_class))
            self._methods_of.pop()
        if own:
            return held
        for known in self.classes.bases(node):
            found = self._method_of(known, name, given, named, scope)
            if found is not None:
                return found
        return None

    def _inherited(self, name: str, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope) -> Objects:
        """What `super().name(...)` gives, or leaves in the object."""
        node, first = self._methods_of[-1]
        held = NONE
        for known in self.classes.bases(node):
            held |= self._method_of(known, name, [first, *given], named, scope) or NONE
        running = self._running[-1]
        if isinstance(running, Definition) and running.args.args and name in ("__init__", "__new__"):
            itself = running.args.args[0].arg
            scope.objects[itself] = scope.objects.get(itself, NONE) | held
        return held

    def _runs_what_is_seen(self, node: ast.Call, scope: Scope) -> bool:
        """Whether a function that runs a text is given functions, which are followed."""
        values = [*node.args, *(k.value for k in node.keywords if k.arg not in ("number", "repeat"))]
        return all(isinstance(v, ast.Lambda | ast.Attribute) or scope.function(v) is not None for v in values)

    def _of_package(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        dotted = scope.dotted(node)
        if dotted is not None and isinstance(node.ctx, ast.Load):
            self.effects.loads.add(dotted)
            if dotted.startswith("__main__"):
                # Here, that is another file.
                self._anything(f"`{ast.unparse(node)[:60]}`")

    def _any_object(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        """Note what gives objects by another way than by their names."""
        if scope.dotted(node) in ALL_OBJECTS:
            self._anything(f"`{ast.unparse(node)}`")

    def _reaching_any(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        """Note that a builtin gets another name, or is given to somebody who calls it."""
        if not isinstance(node.ctx, ast.Load):
            return
        if isinstance(node, ast.Name) and (scope.is_defined(node.id) or scope.dotted(node)):
            found = (scope.dotted(node) or "").removeprefix("builtins.")
        elif isinstance(node, ast.Name):
            found = node.id
        else:
            package, _, found = (scope.dotted(node) or "").partition(".")
            found = found if package == "builtins" else ""
        if found in REACH_ANY:
            self._anything(f"`{found}` has another name")

    # --- code that is run by another syntax than a call's, or by somebody else

    def _name_loaded(self, node: ast.Name, scope: Scope) -> Objects:
        """What a name reaches. Whoever has it may run the code of the file that it reaches."""
        if _SHOWN.fullmatch(node.id) and not scope.is_defined(node.id):
            self._anything(f"`{node.id}` is what Jupyter showed")
        objects = scope.objects_of(node.id)
        function = scope.function(node)
        self.loaded |= objects - self.file.definitions
        self.packages_loaded |= objects & self.file.of_package.keys()
        if function is not None:
            self.reached.setdefault(function, scope)
        if known := self.classes.named(node):
            self._class_reached(known)
        self._used(objects)
        return objects

    def _used(self, objects: Objects) -> None:
        """Whoever has some objects may run the code in them, and use up what others find there."""
        self._change(objects & self.file.used_up)
        for index in objects:
            for code, where in self.file.code.get(index, {}).items():
                self.reached.setdefault(code, where)

    def _class_reached(self, node: ast.ClassDef) -> None:
        if node not in self.reached:
            self.reached[node] = self.file.names
            for base in self.classes.bases(node):
                self._class_reached(base)

    def run_what_is_reached(self) -> None:
        """Follow what the statement loads of the file's code: its functions, and of its classes what has no call.

        That is what operators, statements and builtins call, as `__eq__`, `__enter__` and `__str__`, and properties.
        Who calls them, and with what, is not known: any object that the statement loads. Of other methods, which a
        package may call that is given the object, what they do to other objects counts.
        """
        done: set[ast.AST] = set()
        self._only_reached = True
        while found := [code for code in self.reached if code not in done]:
            done.update(found)
            for code in found:
                if isinstance(code, ast.ClassDef):
                    self._run_class(code)
                else:
                    self._call(code, [], {"**": self.loaded}, self.reached[code])

    def _run_class(self, node: ast.ClassDef) -> None:
        itself = frozenset(i for i in self.loaded if node in self.file.code.get(i, {}))
        for part in node.body:
            if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            self._methods_of.append((node, self.loaded))
            self._only_certain = not needs_no_call(part)
            if part.name in MAKING or self._only_certain:
                self._call(part, [], {}, self.file.names, first=(first_parameter(part), NONE))
            else:
                new = self.classes.new_objects(node)
                self._call(part, [], {"**": self.loaded | new}, self.file.names, first=(first_parameter(part), itself))
            self._methods_of.pop()
        self._only_certain = False

    def _call(
        self,
        node: Definition,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: Scope,
        first: tuple[str, Objects] = ("", NONE),
    ) -> Objects:
        """Follow a call of a function, and give what it gives; of `__init__`, what it leaves in its object."""
        if node in self._running:
            if not self._only_reached:
                # It calls itself, perhaps with something else.
                before, named_before = self._given_first[node]
                for i, objects in enumerate(given):
                    self._may_change(objects - (before[i] if i < len(before) else NONE))
                for name, objects in named.items():
                    self._may_change(objects - named_before.get(name, NONE))
            return NONE
        if len(self._running) > _DEEPEST:
            raise TooMuchError
        self._given_first[node] = given, named
        arguments = node.args
        inside = Scope(outer=scope if scope.outer is not None else self.file.names, first=first)
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        own = self.file.names.objects.get(getattr(node, "name", ""), NONE) | self.classes.class_of(node)
        defaults = dict(zip(names[len(names) - len(arguments.defaults) :], arguments.defaults, strict=True))
        defaults |= {
            a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
        }
        rest = frozenset().union(*given[len(names) :], named.get("**", NONE))
        for name in (*names, *(a.arg for a in arguments.kwonlyargs)):
            inside.objects[name] = named.get(name, named.get("**", NONE))
        for name, value in zip(names, given, strict=False):
            inside.objects[name] = value
        if given or named:
            first_name = first_parameter(node)
            inside.objects[first_name] = inside.objects.get(first_name, NONE) | self.classes.class_given(node)
        for name, default in defaults.items():
            if not isinstance(default, ast.Constant) and not inside.objects[name]:
                # A list as a default is the function's own, from call to call.
                inside.objects[name] = own | self.value(default, scope)
        for star in filter(None, (arguments.vararg, arguments.kwarg)):
            inside.objects[star.arg] = rest.union(*named.values())
        self._running.append(node)
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body, inside)
            inside.of_file = set(self.file.global_names(node))
            self.statements(node.body, inside)
            return inside.gives | (inside.objects[names[0]] if node.name == "__init__" and names else NONE)
        finally:
            self._running.pop()

    # --- names

    # --- what is found

    def _change(self, objects: Objects) -> None:
        # In a function that is followed, it is the function that does it.
        found = self.effects.may_change if self._running else self.effects.changes
        found |= by_statement(objects)
        if self._only_reached:
            self.effects.later |= by_statement(objects)

    def _change_weights(self, objects: Objects) -> None:
        # What is being made has its weights from whoever makes it.
        if not self._only_reached and all(getattr(one, "name", "") != "__init__" for one in self._running):
            self.effects.weights |= by_statement(objects)

    def _may_change(self, objects: Objects) -> None:
        if not self._only_certain:
            if NAMES in objects:
                self._anything("it is given the names of the file")
            self.effects.may_change |= by_statement(objects)
            if self._only_reached:
                self.effects.later |= by_statement(objects)

    def _sets(self, name: str) -> None:
        (self.effects.may_set if self._only_reached else self.effects.sets).add(name)

    def _anything(self, why: str) -> None:
        self.effects.anything = self.effects.anything or why

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooMuchError


def _outputs(dotted: str, given: Sequence[Objects]) -> Objects:
    """What a function of numpy writes to, of what it is given by position: `np.exp(x, x)`, `np.add.at(x, 0, 1)`."""
    name, _, method = dotted.rpartition(".")
    if method == "at" and inputs_of_ufunc(name) is not None:
        return given[0] if given else NONE
    inputs = inputs_of_ufunc(dotted)
    return NONE.union(*given[inputs:]) if inputs is not None else NONE
