"""Find where the owner's answering code applies a softmax or sigmoid to the output of a module that ends with one
itself. For such code, the module's numbers are logits. The code is read and not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn.errors import short_repr
from pocketrnn_export.source_code.answering_code import CodePart, list_answering_code, list_code_parts
from pocketrnn_export.source_code.class_definitions import find_class_in_file_or_imports, list_module_classes_near
from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_that_import
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    find_methods,
    list_assignments,
    list_positional_parameters,
    read_last_name,
)

# The last activations of modules that give probabilities, and those that answering code applies.
_LAST: Final = frozenset(("softmax", "Softmax", "sigmoid", "Sigmoid", "sigmoid_"))
_APPLIED: Final = _LAST | {"log_softmax", "LogSoftmax", "expit"}
_MODULE: Final = re.compile(
    r"(?i)(?!load|get|make|build|create|init)(\w*model|\w*net|\w*network|\w*classifier|clf|forward)"
)
# Attributes and methods that have the same numbers.
_SAME_NUMBERS: Final = ("data", "T")
_MOVES: Final = frozenset(
    (
        *("squeeze", "unsqueeze", "view", "reshape", "flatten", "contiguous", "permute", "transpose", "t", "clone"),
        *("cpu", "cuda", "to", "detach", "numpy", "float", "double", "half", "tolist", "item"),
    )
)
# A name may get its value from another function, which may get it from a third.
_ROUNDS: Final = 3


class AppliedActivation(NamedTuple):
    """A softmax or sigmoid that answering code applies to the output of a module that ends with one.

    Attributes:
        code: the code that applies it.
        place: the file and line of this code.
    """

    code: str
    place: str

    @property
    def sentence(self) -> str:
        """A sentence that says why --gives logits is proposed."""
        return f"{self._reason}. So its output is taken for logits, as --gives logits says."

    @property
    def hint(self) -> str:
        """A sentence without its full stop for an export that takes the module's output for probabilities."""
        return (
            f"{self._reason}, but the bundle's probabilities are the module's own. If your classifier's are those of "
            "this code, give --gives logits"
        )

    @property
    def _reason(self) -> str:
        return (
            "The module's forward ends with a softmax or sigmoid, and your code applies one to its output once more "
            f"({self.place}: {self.code})"
        )


@dataclass(eq=False)
class _CodeUnit:
    """A function, a method, or the top-level code of a file, with the names that hold the module's output.

    Attributes:
        part: the code that contains it.
        function: the function; None for top-level code.
        nodes: its syntax nodes, each after its place.
        module: the class of the module; empty if the file neither is the module's nor imports it, so that `model(...)`
            is a call of another one.
        held: the names that hold the module's output.
        returns_output: whether it returns the module's output.
    """

    part: CodePart
    function: ast.FunctionDef | ast.AsyncFunctionDef | None
    nodes: Sequence[tuple[str, ast.AST]]
    module: str
    held: set[str]
    returns_output: bool = False

    @property
    def parameters(self) -> list[str]:
        """The parameters that a call gives by position."""
        names = [] if self.function is None else list_positional_parameters(self.function)
        return [name for i, name in enumerate(names) if i or name not in ("self", "cls")]


def find_activation_applied_to_output(path: Path, name: str) -> AppliedActivation | None:
    """Find the code near a module that answers texts and applies a softmax or sigmoid to the module's output, if the
    module itself returns the result of a softmax or sigmoid. Return None if there is no such code.

    Args:
        path: the file of the module.
        name: the class of the module.

    Example:
        >>> find_activation_applied_to_output(Path("model.py"), "Net").code
        'F.softmax(outputs, dim=1)'
    """
    found = find_class_in_file_or_imports(path, name)
    if found is None or not _returns_activation(found[1]):
        return None
    parts = list_code_parts(path)
    others = {one.rpartition(":")[2] for one in list_module_classes_near(path)} - {name}
    own_files = [path, *list_files_that_import(path), *list_files_that_import(found[0])]
    own_files += [file for one in own_files for file in list_files_that_import(one)]
    near = {file.resolve() for file in own_files}
    answering = [one for group in list_answering_code(parts) for one in group]
    if not any(one.file.resolve() in near for one in answering):
        # A script may answer without a name that says so.
        answering = [one for one in parts if not one.is_training and one.file.resolve() in near]
    units = [
        unit
        for part in answering
        for unit in _yield_functions_and_top_level_code(part, name * (part.file.resolve() in near))
    ]
    variables = _find_variables_of_modules(parts, name, others)
    for _ in range(_ROUNDS):
        for unit in units:
            _add_names_that_hold_output(unit, units, variables)
    for unit in units:
        for where, node in unit.nodes:
            if isinstance(node, ast.Call) and any(
                _holds_output(one, unit, units, variables) for one in _list_activated_values(node, unit)
            ):
                return AppliedActivation(short_repr(ast.unparse(node), 60).strip("'\""), where)
    return None


def _returns_activation(definition: ast.ClassDef) -> bool:
    """Return whether the `forward` of a class returns the result of a softmax or sigmoid, alone or first in a tuple."""
    made = {read_last_name(target): value for target, value in list_assignments(ast.walk(definition))}
    for forward in find_methods(definition, "forward"):
        assigned = {**made, **{read_last_name(one): value for one, value in list_assignments(ast.walk(forward))}}
        for node in ast.walk(forward):
            if isinstance(node, ast.Return) and node.value is not None:
                value = node.value.elts[0] if isinstance(node.value, ast.Tuple) and node.value.elts else node.value
                if _is_activation(value, assigned):
                    return True
    return False


def _is_activation(value: ast.expr, assigned: dict[str, ast.expr], depth: int = _ROUNDS) -> bool:
    """Return whether an expression is the result of a softmax or sigmoid, or of a `Sequential` that ends with one.

    Args:
        value: the expression.
        assigned: the last value that the class assigns to each variable or attribute.
        depth: how many variables may be looked up.
    """
    value = _strip_moves(value)
    if isinstance(value, ast.Name | ast.Attribute):
        inner = assigned.get(read_last_name(value))
        return depth > 0 and inner is not None and _is_activation(inner, assigned, depth - 1)
    if not isinstance(value, ast.Call):
        return False
    name = read_last_name(value.func)
    if name == "Sequential" and value.args:
        return _is_activation(value.args[-1], assigned, depth)
    inner = assigned.get(name)
    is_layer = isinstance(inner, ast.Call) and read_last_name(inner.func) in {*_LAST, "Sequential"}
    return name in _LAST or (is_layer and depth > 0 and inner is not None and _is_activation(inner, {}, 1))


def _strip_moves(node: ast.expr) -> ast.expr:
    """Return the code whose numbers an expression only indexes, reshapes or converts: `x` for
    `x[0].squeeze(1).detach().cpu().numpy()`."""
    while True:
        if (isinstance(node, ast.Subscript) and _may_be_first_output(node.slice)) or (
            isinstance(node, ast.Attribute) and node.attr in _SAME_NUMBERS
        ):
            node = node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _MOVES
            and isinstance(node.func.value, ast.Call | ast.Name | ast.Subscript | ast.Attribute)
            and all(isinstance(one, ast.Constant | ast.UnaryOp) for one in node.args)
        ):
            node = node.func.value
        else:
            return node


def _may_be_first_output(index: ast.expr) -> bool:
    """Return whether an index may select rows, or the first of several outputs, and surely not another output: `0`,
    `i` or `:, 1`, but not `1` or `-1`."""
    return not isinstance(index, ast.UnaryOp) and not (isinstance(index, ast.Constant) and index.value != 0)


def _yield_functions_and_top_level_code(part: CodePart, module_class: str) -> Iterator[_CodeUnit]:
    """Yield the functions of a piece of code, and the methods of a class. Top-level code is one unit. `module_class`
    is the class of the module; empty if the file is of another one."""
    for cell, statement in part.cells:
        functions = find_methods(statement) if isinstance(statement, ast.ClassDef) else [statement]
        for one in functions:
            if isinstance(one, Function):
                nodes = [(cell.describe_place(part.file, node), node) for node in ast.walk(one)]
                yield _CodeUnit(part, one, nodes, module_class, set())
    if not part.name:
        yield _CodeUnit(part, None, part.nodes, module_class, set())


def _find_variables_of_modules(
    parts: Sequence[CodePart], own: str, others: Collection[str]
) -> dict[tuple[Path, str], bool]:
    """Find the variables to which code assigns a new object of a module class. Return for each file and variable
    whether the class is `own` and none of `others`."""
    found: dict[tuple[Path, str], bool] = {}
    for part in parts:
        for target, value in list_assignments(node for _, node in part.nodes):
            made = {read_last_name(one.func) for one in ast.walk(value) if isinstance(one, ast.Call)}
            if made & {own, *others}:
                key = part.file, read_last_name(target)
                found[key] = found.get(key, True) and not made & {*others}
    return found


def _add_names_that_hold_output(
    unit: _CodeUnit, units: Sequence[_CodeUnit], variables: Mapping[tuple[Path, str], bool]
) -> None:
    """Add to a unit the names that its code gives the module's output, and to the functions that it calls the
    parameters that take this output."""
    for target, value in list_assignments(node for _, node in unit.nodes):
        if _holds_output(value, unit, units, variables):
            targets = target.elts[:1] if isinstance(target, ast.Tuple) else [target]
            unit.held.update(filter(None, map(read_last_name, targets)))
    for _, node in unit.nodes:
        if isinstance(node, ast.Return) and node.value is not None:
            unit.returns_output |= _holds_output(node.value, unit, units, variables)
        elif isinstance(node, ast.Call):
            for other in units:
                if other.function is not None and other.function.name == read_last_name(node.func):
                    given = zip(other.parameters, node.args, strict=False)
                    other.held.update(name for name, one in given if _holds_output(one, unit, units, variables))


def _holds_output(
    value: ast.expr, unit: _CodeUnit, units: Sequence[_CodeUnit], variables: Mapping[tuple[Path, str], bool]
) -> bool:
    """Return whether an expression is the module's output, or a part of it: a name that holds the output, a call of the
    module, or a call of a function that returns the output."""
    value = _strip_moves(value)
    name = read_last_name(value)
    if isinstance(value, ast.Name | ast.Attribute):
        return name in unit.held
    if not isinstance(value, ast.Call):
        return False
    called = read_last_name(value.func)
    owner = read_last_name(value.func.value) if isinstance(value.func, ast.Attribute) and called == "forward" else ""
    functions = [one for one in units if one.function is not None and one.function.name == called]
    if functions:
        return any(one.returns_output for one in functions)
    if not unit.module or not (value.args or value.keywords):
        return False
    if isinstance(value.func, ast.Call):
        return read_last_name(value.func.func) == unit.module
    return variables.get((unit.part.file, owner or called), _MODULE.fullmatch(called) is not None)


def _list_activated_values(call: ast.Call, unit: _CodeUnit) -> list[ast.expr]:
    """Return a list with the value to which a call applies a softmax or sigmoid: `x` for `F.softmax(x, 1)`,
    `x.softmax(1)` and `nn.Softmax(1)(x)`. Return an empty list for another call."""
    made = {read_last_name(target): value for target, value in list_assignments(node for _, node in unit.nodes)}
    function = made.get(read_last_name(call.func), call.func)
    if isinstance(function, ast.Call) and read_last_name(function.func) in _APPLIED:
        return call.args[:1]
    if read_last_name(call.func) not in _APPLIED:
        return []
    if isinstance(call.func, ast.Attribute) and not call.args[:1]:
        return [call.func.value]
    is_method = isinstance(call.func, ast.Attribute) and isinstance(call.args[0], ast.Constant | ast.UnaryOp)
    return [call.func.value] if is_method and isinstance(call.func, ast.Attribute) else call.args[:1]
