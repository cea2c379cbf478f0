"""Find the calls of a class in its own file, and the arguments that these calls give."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from pocketrnn_export.source_code.notebook import Cell

# The longest expression that a note has whole.
_LONGEST: Final = 40


@dataclass(frozen=True)
class GivenByCalls:
    """The arguments that the calls of a class in its own file give to one parameter.

    Attributes:
        values: the value of each call: a literal, or the value of a name or a setting. It is empty if the value of one
            call is unknown, or if one call leaves the parameter out.
        written: the expression of each call, as in the file; `nothing` for a call that leaves the parameter out.
        places: the cell or the line of each call.
    """

    values: tuple[Any, ...]
    written: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def is_one_literal(self) -> bool:
        """Whether all calls give the same known value."""
        return bool(self.values) and len({(type(value), repr(value)) for value in self.values}) == 1

    def confirms(self, default: Any) -> bool:
        """Return whether all calls give the default of the parameter, or leave the parameter out."""
        if self.is_one_literal:
            return (type(self.values[0]), repr(self.values[0])) == (type(default), repr(default))
        return set(self.written) == {"nothing"}

    @property
    def places_with_verb(self) -> str:
        """The places of the calls, with a verb: `cell 7 calls` or `lines 3, 9 call`."""
        places = list(dict.fromkeys(self.places))
        if len(places) == 1:
            return f"{places[0]} calls"
        if places[0].endswith(")"):
            # Several files: `train.py (line 3), predict.py (line 9) call`.
            return f"{', '.join(places)} call"
        kind = places[0].split()[0]
        return f"{kind}s {', '.join(place.removeprefix(f'{kind} ') for place in places)} call"

    @property
    def listed_values(self) -> str:
        """The different values that the calls give, as a phrase."""
        return ", ".join(one if len(one) <= _LONGEST else f"{one[:_LONGEST]}..." for one in dict.fromkeys(self.written))


@dataclass(frozen=True)
class _Call:
    """A call of the class: its place, the syntax trees of its arguments, whether it unpacks further arguments from a
    list or dict, and the literals of the names that it may use."""

    place: str
    given: Mapping[str, ast.expr]
    unpacks: bool
    known: Mapping[str, Any]


def find_constructor_arguments(
    cells: Sequence[Cell],
    class_name: str,
    signature: inspect.Signature,
    find_setting: Callable[[Sequence[str]], Any] = lambda _: ...,
) -> dict[str, GivenByCalls]:
    """Find the calls of a class in its file. Return a dict from each parameter of the class to the arguments that these
    calls give to it.

    If the file defines the name more than once, only the calls after the last definition are used. A call that does not
    fit the signature is left out.

    Args:
        cells: the code of the file.
        class_name: the name of the class or function.
        signature: its signature.
        find_setting: returns the value of a setting, `...` for an unknown one. It is given the names in the setting's
            code: config, model and dim for `config["model"]["dim"]`.
    """
    calls: list[_Call] = []
    literals, times = _find_named_literals(cells), 0
    for cell in cells:
        for statement in cell.statements:
            if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == class_name:
                times += 1
                if times > 1:
                    calls.clear()
            hidden = {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
            known = {one: value for one, value in literals.items() if one not in hidden}
            for call in ast.walk(statement):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == class_name:
                    args = list(takewhile(lambda a: not isinstance(a, ast.Starred), call.args))
                    unpacks = len(args) < len(call.args) or any(k.arg is None for k in call.keywords)
                    try:
                        given = signature.bind_partial(*args, **{k.arg: k.value for k in call.keywords if k.arg})
                    except TypeError:
                        continue
                    calls.append(_Call(cell.name or f"line {call.lineno}", given.arguments, unpacks, known))
    return (
        {
            parameter: _collect_arguments_of_parameter(parameter, calls, find_setting)
            for parameter in signature.parameters
        }
        if calls
        else {}
    )


def _find_named_literals(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return a dict from each name to which a file assigns a literal at its top level to this literal. Names to which
    the file assigns anything else anywhere are left out."""
    statements = [statement for cell in cells for statement in cell.statements]
    given = Counter(
        node.id for statement in statements for node in ast.walk(statement)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )  # fmt: skip
    found = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            (target,) = statement.targets
            if isinstance(target, ast.Name) and given[target.id] == 1:
                with contextlib.suppress(ValueError, TypeError):
                    found[target.id] = ast.literal_eval(statement.value)
    return found


def join_given_values(first: GivenByCalls, second: GivenByCalls) -> GivenByCalls:
    """Join the values that the calls in two files give to the same parameter, with the places of all these calls."""
    return GivenByCalls(
        (*first.values, *second.values), (*first.written, *second.written), (*first.places, *second.places)
    )


def _read_parts_of_dotted_name(expression: ast.expr | None) -> list[str]:
    """Return the parts of a name: config, model and dim for `config.model.dim`, `config["model"]["dim"]` or
    `config.get("model", "dim")`. Return an empty list for other code."""
    last: list[str]
    match expression:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=held, attr=name):
            last = [name]
        case ast.Subscript(value=held, slice=ast.Constant(value=value)):
            last = [str(value)]
        case ast.Call(func=ast.Attribute(value=held, attr="get" | "getint" | "getfloat" | "getboolean"), args=args):
            last = [str(one.value) for one in args if isinstance(one, ast.Constant)]
        case _:
            return []
    parts = _read_parts_of_dotted_name(held)
    return [*parts, *last] if parts else []


_KINDS: Final = {"int": int, "float": float, "str": str}


def _evaluate(
    expression: ast.expr | None, known: Mapping[str, Any], find_setting: Callable[[Sequence[str]], Any]
) -> Any:
    """Return the value of a literal, a name or a setting, of a conversion of one of these, such as
    `int(config["dim"])`, or of a comparison such as `config["both"] == "True"`. Return `...` for other code."""
    match expression:
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Call(func=ast.Name(id=kind), args=[part], keywords=[]) if kind in _KINDS:
            with contextlib.suppress(ValueError, TypeError):
                return ... if (value := _evaluate(part, known, find_setting)) is ... else _KINDS[kind](value)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as operator], comparators=[right]):
            pair = [_evaluate(one, known, find_setting) for one in (left, right)]
            # A setting that is compared with a string is read as one.
            pair = [*map(str, pair)] if any(isinstance(one, str) for one in pair) and ... not in pair else pair
            return ... if ... in pair else (pair[0] == pair[1]) is isinstance(operator, ast.Eq)
        case ast.expr():
            if len(parts := _read_parts_of_dotted_name(expression)) > 1:
                return find_setting(parts)
            with contextlib.suppress(ValueError, TypeError):
                return ast.literal_eval(expression)
    return ...


def _collect_arguments_of_parameter(
    parameter: str, calls: Sequence[_Call], find_setting: Callable[[Sequence[str]], Any]
) -> GivenByCalls:
    """Return the arguments that the calls give to one parameter, with the places of the calls."""
    values, written = [], []
    for call in calls:
        expression = call.given.get(parameter)
        if expression is None:
            written.append("an unpacked argument" if call.unpacks else "nothing")
            continue
        code, value = ast.unparse(expression), _evaluate(expression, call.known, find_setting)
        is_literal = code == repr(value) or isinstance(expression, ast.Constant | ast.List | ast.Dict | ast.Tuple)
        written.append(code if value is ... or is_literal else f"{code}={value!r}")
        values += [] if value is ... else [value]
    places = tuple(call.place for call in calls)
    return GivenByCalls(tuple(values) if len(values) == len(calls) else (), tuple(written), places)
