"""What calls do that a statement makes: of functions and classes of the file, of builtins, packages and methods."""

from __future__ import annotations

import ast
import builtins
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pocketrnn_export.source_code.code_facts import (
    Definition,
    arguments_of,
    first_parameter,
    is_weight,
    keeps_state,
    methods_of,
    root_name,
    whose_class,
)
from pocketrnn_export.source_code.known_code import (
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
    MAY_DO_ANYTHING,
    NOT_MODULES,
    OF_JUPYTER,
    PURE_METHODS,
    REACH_ANY,
    RUN_BY_A_PICKLE,
    RUN_BY_PYTHON,
    RUN_TEXT,
    SETS_STATE,
    UNPICKLE,
    WRITING,
    gives_what_it_is_given,
    inputs_of_ufunc,
    is_method_of_class,
)
from pocketrnn_export.source_code.object_numbers import NAMES, NONE, Objects, by_statement, object_of_class
from pocketrnn_export.source_code.scope import Scope
from pocketrnn_export.source_code.statement_findings import StatementFindings

__all__ = ["OF_BASES", "FollowedCalls"]

# Attributes of a class by which those above it are reached.
OF_BASES: Final = ("__base__", "__bases__", "__mro__")


@dataclass(frozen=True)
class _Call:
    """A call, where it stands, and what it is given: by position, by name, and in all."""

    node: ast.Call
    scope: Scope
    given: Sequence[Objects]
    named: Mapping[str, Objects]
    everything: Objects

    @property
    def text(self) -> str:
        """What the call is called in messages."""
        return f"`{ast.unparse(self.node)[:60]}`"


class FollowedCalls(StatementFindings, ABC):
    """Follows calls. What their arguments are, and what a function of the file does inside, `following.py` says."""

    @abstractmethod
    def value(self, node: ast.expr | None, scope: Scope) -> Objects:
        """The objects that a value may be, or hold; after what computing it does."""

    @abstractmethod
    def _call(
        self,
        node: Definition,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: Scope,
        itself: Objects | None = None,
    ) -> Objects:
        """Follow a call of a function, and give what it gives."""

    @abstractmethod
    def _set_in(self, target: ast.Attribute | ast.Subscript, value: Objects, scope: Scope) -> None:
        """An attribute or an item gets a value."""

    def _called(self, node: ast.Call, scope: Scope) -> Objects:
        given = [self.value(argument, scope) for argument in node.args]
        named = {keyword.arg or "**": self.value(keyword.value, scope) for keyword in node.keywords}
        everything = NONE.union(*given, *named.values())
        function = scope.function(node.func)
        if isinstance(node.func, ast.Name):
            self.effects.makes |= scope.objects_of(node.func.id) & self.file.definitions
        if function is not None:
            if isinstance(node.func, ast.Name):
                self._used(scope.objects_of(node.func.id))
            if any(isinstance(part, ast.Yield | ast.YieldFrom | ast.Await) for part in ast.walk(function)):
                # It runs when somebody asks for its next value, who may be of another statement.
                self.belongs.append(self.file.callers)
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
        held = self._called_of_others(_Call(node, scope, given, named, everything))
        return self.file.with_held(held | self._classes_of(node, held))

    def _attribute_asked_for(self, node: ast.Call, scope: Scope) -> ast.Attribute | None:
        """x.pool of `getattr(x, "pool")`; None for anything else."""
        if getattr(node.func, "id", "") != "getattr" or scope.is_defined("getattr") or len(node.args) < 2:
            return None
        name = node.args[1]
        if scope.dotted(node.args[0]) or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return None
        return ast.copy_location(ast.Attribute(node.args[0], name.value, ast.Load()), node)

    def _called_of_others(self, call: _Call) -> Objects:
        """A call of what is no function or class of the file by its name."""
        called, scope = call.node.func, call.scope
        dotted = scope.dotted(called)
        if dotted is not None:
            self.effects.loads.add(dotted)
            self.packages_loaded |= scope.objects_of(root_name(called) or "") & self.file.of_package.keys()
            return self._imported_called(dotted, call)
        if isinstance(called, ast.Name):
            return self._builtin_called(called.id, call)
        if isinstance(called, ast.Attribute):
            return self._method_called(called, call)
        held = self.value(called, scope)
        self._may_change(held | (call.everything - self.file.definitions))
        return held | call.everything

    def _made(
        self, node: ast.ClassDef, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope
    ) -> Objects:
        """What an object of a class of the file holds when it is made."""
        held = self._name_loaded(node.name, scope)
        itself = self.classes.new_objects(node)
        for name in ("__new__", "__init__"):
            held |= self._method_of(node, name, [itself, *given], named, scope) or NONE
        self._method_of(node, "__post_init__", [held.union(*given, *named.values())], {}, scope)
        held -= self.file.definitions
        # A class may give an object that exists already, or one that shares what it has.
        return held | self.classes.giving_old_ones(node, scope) | itself

    def _builtin_called(self, name: str, call: _Call) -> Objects:
        node, scope, everything = call.node, call.scope, call.everything
        own = self._name_loaded(name, scope)
        if own:
            # A value that is called: a module, or what a function gave.
            known = scope.instance(name)
            if known is not None and keeps_state(known):
                self.effects.keeps |= by_statement(own) - self.file.definitions
            elif known is None and (own & self.file.callers or not self._running):
                self._may_change(own | (everything if own & self.file.callers else NONE))
            return everything.union(map(object_of_class, own & self.classes.every))
        if name in ("exec", "eval", "execfile", "get_ipython", "run_path"):
            self._anything(call.text)
        elif name in ("globals", "locals", "vars") and not node.args:
            return frozenset({NAMES}) if name == "globals" or scope.outer is None else NONE
        elif name in ("setattr", "delattr") and node.args:
            key = node.args[1] if len(node.args) > 1 else None
            constant = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "some_attribute"
            target = ast.Attribute(node.args[0], constant, ast.Store())
            self._set_in(ast.copy_location(target, node), everything, scope)
        elif name == "next" and call.given:
            self._change(call.given[0])
        elif name == "__import__" and (asked := scope.package_asked_for(node)):
            self._asked_for(asked, call)
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
        return found is None and self.file.stars <= LEAVE_ALONE

    def _asked_for(self, package: str, call: _Call) -> None:
        """Note that a package is imported, or looked for, by its name."""
        if package == "__main__":
            self._anything(call.text)
        self.effects.imports.add(package)

    def _imported_called(self, dotted: str, call: _Call) -> Objects:
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        given, everything = call.given, call.everything
        if package == "builtins" and dotted.count(".") == 1:
            return self._builtin_called(last, call)
        if package == "builtins" and given:
            return self._unbound(last, call)
        self._reaching_others(dotted, call)
        if dotted in UNPICKLE:
            # Which classes of the file a pickle holds is not known.
            for method in (one for name in RUN_BY_A_PICKLE for one in self.classes.methods.get(name, ())):
                self.reached.setdefault(method, self.file.names)
            if any(isinstance(argument, ast.Constant) for argument in call.node.args):
                self._anything(call.text)
        if dotted in CALLERS or any(keyword.arg == "inplace" for keyword in call.node.keywords):
            self.belongs.append(self.file.callers)
        if dotted == "collections.defaultdict":
            self.belongs.append(self.file.filling)
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
        for keyword in call.node.keywords:
            if (keyword.arg == "copy" and getattr(keyword.value, "value", None) is False) or keyword.arg in WRITING:
                self._change(everything)
            if keyword.arg == "out":
                self._change(self.value(keyword.value, call.scope))
        of_objects = any(
            k.arg == "dtype" and ast.unparse(k.value)[-7:].strip("'_") in ("object", "O") for k in call.node.keywords
        )
        return everything if of_objects or gives_what_it_is_given(dotted) else NONE

    def _reaching_others(self, dotted: str, call: _Call) -> None:
        """Note a function of a package that reaches what it is not given, or that may run later what it is given."""
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        node, scope = call.node, call.scope
        if asked := scope.package_asked_for(node):
            self._asked_for(asked, call)
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
            or NAMES in call.everything
            # Here, that is another file.
            or package == "__main__"
            or (dotted.startswith(("<file>.__dict__", "sys.modules.")) and last in CHANGING_METHODS)
        ):
            self._anything(call.text)

    def _is_code(self, node: ast.expr, scope: Scope) -> bool:
        """Whether an argument is code of the file, or an object that holds some."""
        if isinstance(node, ast.Lambda) or scope.function(node) is not None:
            return True
        if isinstance(node, ast.Call):
            return self.classes.named(node.func) is not None or any(self._is_code(a, scope) for a in arguments_of(node))
        if isinstance(node, ast.Name):
            return bool(scope.objects_of(node.id) & (self.file.code.keys() | self.file.callers))
        return isinstance(node, ast.Attribute) and node.attr in CHANGING_METHODS

    def _method_called(self, called: ast.Attribute, call: _Call) -> Objects:
        """A method of a value. What a class of the file defines under that name is followed."""
        name, root = called.attr, called.value
        node, scope, given, named, everything = call.node, call.scope, call.given, call.named, call.everything
        if name == "__subclasses__":
            self._anything(call.text)
        if isinstance(root, ast.Call) and ast.unparse(root) == "get_ipython()" and name in OF_JUPYTER:
            asked = " ".join(str(getattr(a, "value", "")) for a in node.args)
            if "magic" in name and asked.split(" ")[0].lstrip("%") not in HARMLESS_MAGICS:
                self._anything(f"`%{asked[:60]}`")
            return NONE
        held = self.value(root, scope)
        if isinstance(root, ast.Name) and root.id in ("dict", "list", "set", "object", "type", "OrderedDict") and given:
            return self._unbound(name, call)
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
            self._anything(call.text)
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
            return self.file.items(root, held, scope) | gives
        if name in HARMLESS_METHODS:
            return held | gives
        if not of_file and node is self._own_call:
            self._change(held)
        if not of_file:
            self._may_change(self.file.with_held(held | everything))
            self.file.put(held, everything)
        return held | everything | gives

    def _unbound(self, name: str, call: _Call) -> Objects:
        """A method of a builtin class that is given its object: `list.append(x, 3)`."""
        if name not in PURE_METHODS:
            changed = call.given[0]
            self._change(changed)
            self.file.put(changed, call.everything)
            if NAMES in changed:
                self._anything(call.text)
        return call.everything

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
            self._name_set(key, f"`{ast.unparse(node)[:60]}`")

    def _method_of(
        self, node: ast.ClassDef, name: str, given: Sequence[Objects], named: Mapping[str, Objects], scope: Scope
    ) -> Objects | None:
        """What a method of a class gives, or what it leaves in an object that it makes; None if there is none."""
        own = methods_of(node, name)
        held = NONE
        first = given[0] if given else NONE
        itself = self.file.objects_of(node, first) if own and given else NONE
        for part in own:
            # A property has a function to read it, and one to set it.
            self._methods_of.append((node, first))
            held |= self._call(part, given, named, scope, itself | self.classes.class_given(part))
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
            itself = first_parameter(running)
            scope.objects[itself] = scope.objects.get(itself, NONE) | held
        return held

    def _runs_what_is_seen(self, node: ast.Call, scope: Scope) -> bool:
        """Whether a function that runs a text is given functions, which are followed."""
        values = [*node.args, *(k.value for k in node.keywords if k.arg not in ("number", "repeat"))]
        return all(isinstance(v, ast.Lambda | ast.Attribute) or scope.function(v) is not None for v in values)

    def _loaded_of_others(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        """Note what of a package or of Python is loaded, and whether it gives or changes more than it is given."""
        dotted = scope.dotted(node)
        if dotted in ALL_OBJECTS:
            self._anything(f"`{ast.unparse(node)}`")
        if not isinstance(node.ctx, ast.Load):
            return
        if dotted is not None:
            self.effects.loads.add(dotted)
            if dotted.startswith("__main__"):
                # Here, that is another file.
                self._anything(f"`{ast.unparse(node)[:60]}`")
        elif isinstance(node, ast.Name) and not scope.is_defined(node.id):
            dotted = node.id
        builtin = (dotted or "").removeprefix("builtins.")
        if builtin in REACH_ANY:
            # Whoever is given it may call it.
            self._anything(f"`{builtin}` has another name")

    def _of_names(self, held: Objects, key: object) -> Objects:
        """What an item of globals() is: that of a name, or any."""
        if isinstance(key, str):
            return self._name_loaded(key, self.file.names)
        return (held - {NAMES}).union(*self.file.names.objects.values())

    def _classes_of(self, node: ast.expr, held: Objects) -> Objects:
        """What else an expression may give that gives a class: the bases of classes, or the class of a package."""
        if isinstance(node, ast.Attribute) and node.attr in OF_BASES:
            named = (self.file.names.objects.get(name, NONE) for name in self.classes.names_above())
            return self.classes.every.union(*named)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("getmro", "mro"):
            return self._classes_of(ast.Attribute(node.func, "__mro__", ast.Load()), held)
        if whose_class(node) is None:
            return NONE
        return NONE.union(self.packages_loaded, *(self.file.packages_loaded.get(i, NONE) for i in held))


def _outputs(dotted: str, given: Sequence[Objects]) -> Objects:
    """What a function of numpy writes to, of what it is given by position: `np.exp(x, x)`, `np.add.at(x, 0, 1)`."""
    name, _, method = dotted.rpartition(".")
    if method == "at" and inputs_of_ufunc(name) is not None:
        return given[0] if given else NONE
    inputs = inputs_of_ufunc(dotted)
    return NONE.union(*given[inputs:]) if inputs is not None else NONE
