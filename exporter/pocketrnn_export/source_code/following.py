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
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pocketrnn_export.source_code.code_facts import (
    Definition,
    Function,
    Import,
    annotations_of,
    arguments_of,
    decorating,
    defaults_of,
    first_parameter,
    head_of,
    imported_names,
    is_weight,
    methods_of,
    modules_of_import,
    needs_no_call,
    root_name,
    whose_class,
    without_moves,
)
from pocketrnn_export.source_code.followed_calls import OF_BASES, FollowedCalls
from pocketrnn_export.source_code.known_code import (
    CHANGING_METHODS,
    LEAVE_ALONE,
    MAKING,
    OF_MEMBERS,
    REFLECTIVE,
    RUN_BY_PYTHON,
    SWITCHES,
    changes_tensor,
    nobody_can_change,
)
from pocketrnn_export.source_code.object_numbers import NAMES, NONE, Objects, by_statement, holding
from pocketrnn_export.source_code.scope import Scope
from pocketrnn_export.source_code.statement_findings import TooMuchError
from pocketrnn_export.source_code.used_up import may_be_used_up

__all__ = ["Following"]

# Functions that call each other are followed so far.
_DEEPEST: Final = 24
# Where the trees of `except`, and of the patterns of `match`, have the names that they give a value.
_CAPTURES: Final = ("name", "rest")


class Following(FollowedCalls):
    """Follows one statement as it runs."""

    # --- statements

    def statements(self, nodes: Iterable[ast.stmt], scope: Scope) -> None:
        for node in nodes:
            self.statement(node, scope)

    def statement(self, node: ast.AST, scope: Scope, *, top: bool = False) -> None:
        self._step()
        if isinstance(node, Function):
            self._definition(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope, top=top)
        elif isinstance(node, Import):
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

    def _definition(self, node: Function, scope: Scope) -> None:
        scope.functions[node.name] = node
        scope.imports.pop(node.name, None)
        held = self._union(defaults_of(node).values(), scope)
        self._union(annotations_of(node), scope)
        if node.decorator_list:
            if scope.outer is None and any(scope.keeps_something(one) for one in node.decorator_list):
                self.belongs.append(self.file.used_up)
            annotations = [a.annotation for a in (*node.args.args, *node.args.kwonlyargs) if a.annotation]
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
            if methods_of(known, "__init_subclass__"):
                # What it registers there, the class above holds.
                self._may_change(scope.objects_of(known.name) | self.classes.by_statement(known))
        inside = Scope(outer=scope)
        for part in node.body:
            if isinstance(part, Function):
                self._union(head_of(part), scope)
                if scope.outer is not None:
                    # A class in a function: its methods are called sooner or later.
                    self._call(part, [], {}, scope)
            else:
                self.statement(part, inside)
        if self.classes.is_enum(node, scope):
            for method in methods_of(node, *OF_MEMBERS):
                self._call(method, [], {}, scope, NONE)
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
            given |= self.value(decorator, scope) | self._union(arguments_of(decorator), scope)
        function = scope.function(called)
        if function is not None:
            self._call(function, [given], {}, scope)
            return
        held, dotted = self.value(called, scope), scope.dotted(called)
        if dotted is None and isinstance(called, ast.Attribute):
            # As in `@f.register`.
            self._may_change(held)
        elif dotted is not None and dotted.split(".")[0] not in LEAVE_ALONE:
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
        # None of a loop.
        made = getattr(node, "value", None)
        if may_be_used_up(made, scope, self.file):
            if not self._running:
                self.belongs.append(self.file.used_up)
            for target in targets:
                if isinstance(target, ast.Attribute | ast.Subscript):
                    self.file.used_up |= self.value(target.value, scope) - self.file.definitions
        if not self._running:
            self.gives_its_own = scope.own_of_package(made)
        if isinstance(node, ast.Assign) and len(targets) == 1 and isinstance(targets[0], ast.Name):
            self._kind_of(targets[0].id, made, scope)

    def _kind_of(self, name: str, value: ast.expr | None, scope: Scope) -> None:
        """Note what a name stands for: a function, an object of a class of the file, a package or a part of one."""
        for known in (scope.functions, scope.instances, scope.imports):
            known.pop(name, None)
        if isinstance(value, ast.Call):
            if made := self.classes.named(without_moves(value).func):
                scope.instances[name] = made
            elif package := scope.package_asked_for(value):
                scope.imports[name] = package
        elif isinstance(value, ast.Lambda | ast.Name | ast.Attribute | ast.Subscript):
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
                self._name_loaded(target.id, scope)
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
            dotted, key = scope.dotted(target.value), getattr(target.slice, "value", None)
        else:
            dotted, key = scope.dotted(target), target.attr
        any_name = f"`{ast.unparse(target)[:60]}` may be any name"
        if dotted is not None and dotted.startswith("<file>.__dict__"):
            self._name_set(key if isinstance(target, ast.Subscript) else None, any_name)
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
            self._name_set(key, any_name)
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
        if isinstance(bases, ast.Attribute) and bases.attr in OF_BASES:
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
        if node is None:
            return NONE
        if isinstance(node, ast.Constant):
            self._constant(node.value)
            return NONE
        self._step()
        if isinstance(node, ast.Name):
            self._loaded_of_others(node, scope)
            return self._name_loaded(node.id, scope)
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
        self._loaded_of_others(node, scope)
        if nobody_can_change(scope.dotted(node) or ""):
            return NONE
        held = self.value(node.value, scope)
        self._method_loaded(node, held, scope)
        if node.attr == "__globals__":
            return frozenset({NAMES})
        if node.attr in REFLECTIVE:
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if not node.attr.startswith("__"):
            held = self.file.items(node.value, held, scope)
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
        return self.file.with_held(self.file.items(node.value, held, scope))

    def _constant(self, value: object) -> None:
        """Note a string that is the name of what reaches any name, as in getattr(f, "__globals__"), or of a method."""
        if not isinstance(value, str):
            return
        if value in REFLECTIVE | {"__globals__"}:
            self._anything(f"`{value}`")
        for method in self.classes.methods.get(value, ()):
            # As in getattr(x, "use")(3) and operator.methodcaller("use", 3).
            self.reached.setdefault(method, self.file.names)

    def _method_loaded(self, node: ast.Attribute, held: Objects, scope: Scope) -> None:
        """What may happen where an attribute is not called, but may be a method."""
        for method in self.classes.methods.get(node.attr, ()):
            self.reached.setdefault(method, scope)
            if any(self.file.names.keeps_something(one) for one in method.decorator_list):
                # As `functools.cached_property`.
                self._change(held | self.classes.class_of(method))
        if isinstance(node.ctx, ast.Load) and (node.attr in CHANGING_METHODS or changes_tensor(node.attr)):
            # Given to somebody who calls it, as in map(config.update, ...).
            self.belongs.append(self.file.callers)
            if (scope.dotted(node) or "").startswith(("torch.", "numpy.")):
                # A method without its object, as torch.Tensor.normal_.
                return
            self.bound |= held
            self._change(held)

    def _union(self, nodes: Iterable[ast.expr | None], scope: Scope) -> Objects:
        held = NONE
        for node in nodes:
            held |= self.value(node, scope)
        return held

    # --- code that is run by another syntax than a call's, or by somebody else

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
        for part in methods_of(node):
            self._methods_of.append((node, self.loaded))
            self._only_certain = not needs_no_call(part)
            if part.name in MAKING or self._only_certain:
                self._call(part, [], {}, self.file.names, NONE)
            else:
                new = self.classes.new_objects(node)
                self._call(part, [], {"**": self.loaded | new}, self.file.names, itself)
            self._methods_of.pop()
        self._only_certain = False

    def _call(
        self,
        node: Definition,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: Scope,
        itself: Objects | None = None,
    ) -> Objects:
        """Follow a call of a function, and give what it gives; of `__init__`, what it leaves in its object.

        In a method that nobody calls by its name, `itself` are the objects that its first parameter is.
        """
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
        arguments, first_name = node.args, first_parameter(node)
        inside = Scope(outer=scope if scope.outer is not None else self.file.names)
        if itself is not None:
            inside.first = first_name, itself
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        own = self.file.names.objects.get(getattr(node, "name", ""), NONE) | self.classes.class_of(node)
        rest = frozenset().union(*given[len(names) :], named.get("**", NONE))
        for name in (*names, *(a.arg for a in arguments.kwonlyargs)):
            inside.objects[name] = named.get(name, named.get("**", NONE))
        for name, value in zip(names, given, strict=False):
            inside.objects[name] = value
        if given or named:
            inside.objects[first_name] = inside.objects.get(first_name, NONE) | self.classes.class_given(node)
        for name, default in defaults_of(node).items():
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
