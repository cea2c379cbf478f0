"""Find arguments of a class by making its module with several values: those with which its tensors have the names and
shapes of the saved weights.

This also finds what the code of the class does not show by itself: layers that are local names, in branches, or made by
other classes.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.intake.arguments_from_weights import list_strings_compared_with_argument
from pocketrnn_export.intake.weights_file import SavedWeights, add_or_remove_prefix
from pocketrnn_export.progress import hide_log_records
from pocketrnn_export.source_code.class_definitions import find_init_parameters_stored_in_attributes

_Shapes = Mapping[str, tuple[int, ...]]

# In place of an unknown size; the second one may be divided by more numbers of heads.
_SIZES: Final = (8, 96)
# Numbers of layers, which change the names of the tensors.
_COUNTS: Final = (1, 2, 3, 4, 5, 6)
_MOST_COMBINATIONS: Final = 32
# A class that reads files when it is made takes this long after a few trials.
_MOST_SECONDS: Final = 20.0


def find_fitting_arguments(
    make: Callable[..., Any],
    missing: Iterable[str],
    changeable: Mapping[str, Any],
    definition: ast.ClassDef | None,
    weights: SavedWeights,
) -> dict[str, Any]:
    """Find arguments with which a class makes a module that fits the saved weights.

    A missing argument is tried with the values with which the code of the class compares it, or else with sizes. Known
    values are changed only if no values of the missing arguments fit, and then as few as possible.

    Args:
        make: makes the module from the arguments `missing` and `changeable`.
        missing: the names of the arguments without a value.
        changeable: the other arguments and their values, which may be changed: whole numbers, bools and strings.
        definition: the code of the class, if it is known.

    Returns:
        those of the missing and changed arguments that have the same value in all choices that fit. The weights do not
            show the values of the others.
    """
    trials = _Trials(make, weights, time.monotonic() + _MOST_SECONDS)
    choices = {name: _list_choices(definition, name) for name in missing}
    sizes = [name for name, some in choices.items() if not some]
    chosen = {name: some for name, some in choices.items() if some}
    others = {
        name: [value, *(one for one in _list_choices(definition, name) if one != value)]
        for name, value in changeable.items()
        if isinstance(value, bool | str)
    }
    numbers = {name: value for name, value in changeable.items() if type(value) is int}
    for varied in ({}, {name: some for name, some in others.items() if len(some) > 1}):
        fitting: dict[int, list[dict[str, Any]]] = {}
        for combination in _yield_combinations({**chosen, **varied}):
            changed = {name: combination[name] for name in varied if combination[name] != changeable[name]}
            found = trials.solve({**changeable, **combination}, sizes, numbers)
            if found is not None:
                given = {name: combination[name] for name in chosen}
                fitting.setdefault(len(changed), []).append({**given, **changed, **found})
        if fitting:
            fewest = [{name: (type(value), value) for name, value in one.items()} for one in fitting[min(fitting)]]
            shown = {name for name, value in fewest[0].items() if all(one.get(name) == value for one in fewest)}
            # Without one of the changed values, the others do not fit.
            is_open = any(name in changeable and name not in shown for one in fewest for name in one)
            return {} if is_open else {name: fewest[0][name][1] for name in fewest[0] if name in shown}
    return {}


def _yield_combinations(choices: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield all combinations of choices, up to a limit."""
    for values in itertools.islice(itertools.product(*choices.values()), _MOST_COMBINATIONS):
        yield dict(zip(choices, values, strict=True))


class _Trials:
    """Makes modules and compares their tensors with saved weights.

    Args:
        make: makes a module from arguments by name.
        latest: the time after which no more modules are made.
    """

    def __init__(self, make: Callable[..., Any], weights: SavedWeights, latest: float) -> None:
        self._make, self._weights, self._latest = make, weights, latest
        self._made: dict[Hashable, _Shapes | None] = {}

    def solve(
        self, given: Mapping[str, Any], sizes: Sequence[str], numbers: Mapping[str, int]
    ) -> dict[str, int] | None:
        """Return the sizes, and the known numbers that must change, with which the module fits the weights. Sizes that
        change no shape are left out. Return None if no sizes fit.

        Args:
            given: the values of all other arguments.
            sizes: the names of the unknown sizes.
            numbers: the known numbers.
        """
        for base in _SIZES if sizes else _SIZES[:1]:
            values = {**given, **dict.fromkeys(sizes, base)}
            shapes = self._list_shapes(values)
            if shapes is None:
                continue
            solved: dict[str, int] = {}
            for names in (sizes, [*sizes, *numbers]):
                values |= solved
                found = self._solve_names(values, names)
                found |= self._solve_shapes({**values, **found}, [one for one in names if one not in found])
                solved |= found
                if self._count_differences({**values, **solved}) == 0:
                    return {name: n for name, n in solved.items() if name in sizes or n != numbers[name]}
        return None

    def _solve_names(self, values: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
        """Return the numbers of layers (`names`) with which the module's tensors have the same names as the weights."""
        found: dict[str, int] = {}
        for name in names:
            least = self._count_other_names({**values, **found})
            for count in _COUNTS if least else ():
                if (other := self._count_other_names({**values, **found, name: count})) < least:
                    least = other
                    found[name] = count
        return found

    def _solve_shapes(self, values: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
        """Return the sizes (`names`) that the shapes of the weights show. A dimension that depends on only one size
        shows this size."""
        shapes, wanted = self._list_shapes(values), self._list_wanted_shapes(values)
        if shapes is None or wanted is None:
            return {}
        by_dimension: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for name in names:
            other = self._list_shapes({**values, name: 2 * values[name]})
            for key, shape in (other or {}).items():
                for axis, pair in enumerate(zip(shapes.get(key, ()), shape, strict=False)):
                    if pair[0] != pair[1]:
                        by_dimension.setdefault((key, axis), []).append((name, pair[1] - pair[0]))
        found: dict[str, set[int]] = {}
        for (key, axis), changes in by_dimension.items():
            if len(changes) == 1 and len(wanted.get(key, ())) > axis:
                ((name, step),) = changes
                # The dimension grows by `step` where the size grows by its own value.
                more = (wanted[key][axis] - shapes[key][axis]) * values[name]
                found.setdefault(name, set()).add(values[name] + more // step if more % step == 0 else 0)
        return {name: min(some) for name, some in found.items() if len(some) == 1 and min(some) > 0}

    def _count_other_names(self, values: Mapping[str, Any]) -> int:
        """Return how many names of tensors only the module or only the weights have."""
        shapes, wanted = self._list_shapes(values), self._list_wanted_shapes(values)
        return (
            len(self._weights.tensors) + 1 if shapes is None or wanted is None else len(shapes.keys() ^ wanted.keys())
        )

    def _count_differences(self, values: Mapping[str, Any]) -> int:
        """Return how many tensors only the module or only the weights have, or both with different shapes."""
        shapes, wanted = self._list_shapes(values), self._list_wanted_shapes(values)
        return -1 if shapes is None or wanted is None else len(shapes.items() ^ wanted.items())

    def _list_wanted_shapes(self, values: Mapping[str, Any]) -> _Shapes | None:
        """Return a dict from the names that the module uses for the weights to the shapes of the weights."""
        shapes = self._list_shapes(values)
        if shapes is None:
            return None
        with hide_log_records():
            return {name: tuple(one.shape) for name, one in add_or_remove_prefix(self._weights, shapes).items()}

    def _list_shapes(self, values: Mapping[str, Any]) -> _Shapes | None:
        """Return the shapes of the module's tensors by name; None if it cannot be made."""
        # True equals 1.
        key = frozenset((name, type(value), value) for name, value in values.items())
        if key not in self._made:
            self._made[key] = self._make_shapes(values)
        return self._made[key]

    def _make_shapes(self, values: Mapping[str, Any]) -> _Shapes | None:
        # The numbers of the tensors, which the first device leaves out, are not needed.
        for device in ("meta", "cpu"):
            if time.monotonic() > self._latest:
                return None
            # A user's code may raise any exception, and call sys.exit.
            with (
                contextlib.suppress(Exception, SystemExit),
                contextlib.redirect_stdout(io.StringIO()),
                torch.random.fork_rng(devices=[]),
                torch.device(device),
            ):
                made = self._make(**values)
                if isinstance(made, nn.Module):
                    return {name: tuple(one.shape) for name, one in made.state_dict().items()}
        return None


def _list_choices(definition: ast.ClassDef | None, argument: str) -> list[Any]:
    """Return the values among which the code of a class chooses by an argument: strings, True and False, or None.
    Return an empty list if the code does not choose by this argument."""
    if definition is None:
        return []
    if strings := list_strings_compared_with_argument(definition, argument):
        return [*strings]
    names = {
        argument,
        *(one for one, of in find_init_parameters_stored_in_attributes(definition).items() if of == argument),
    }
    found = {
        kind
        for node in ast.walk(definition)
        for tested, kind in _yield_tested_expressions(node)
        if ast.unparse(tested) in names
    }
    return [False, True] if bool in found else [None] if None in found else []


def _yield_tested_expressions(node: ast.AST) -> Iterator[tuple[ast.expr, type | None]]:
    """Yield pairs (expression, type) for each expression that code tests: the type is `bool` if the code tests whether
    it is true, and None if the code compares it with None."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) | ast.UnaryOp(op=ast.Not(), operand=test):
            yield test, bool
        case ast.BoolOp(values=values):
            yield from ((one, bool) for one in values)
        case ast.Compare(left=left, comparators=[ast.Constant(value=bool() | None as value)]):
            yield left, None if value is None else bool
