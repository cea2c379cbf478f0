"""Conditions on the sizes of an input: relations of sympy, solved by trying all sizes, and computed in a graph.

A question such as `n % 7 == 3` reaches this package as the relation that PyTorch makes of it while it traces. One
visitor computes such a relation, of numpy arrays as well as of tensors: on `every_size` it tells for which sizes the
relation holds, and on the sizes of a graph's input it becomes operators.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sympy
import torch
from sympy.logic.boolalg import BooleanFalse, BooleanTrue

from pocketrnn_export.comparing.cases import EXAMPLE_ROWS, EXAMPLE_STEPS, LARGEST
from pocketrnn_export.torch_internals import size_functions as of_torch

__all__ = [
    "BATCH",
    "LARGEST",
    "TOKENS",
    "USUAL",
    "Condition",
    "EverySize",
    "Sizes",
    "UnsolvableError",
    "all_of",
    "either",
    "every_size",
    "renamed_sizes",
    "value_at",
    "values_over",
]

# A graph computes with 64 bits. Python does not end there.
_BITS: Final = 2.0**62
# The bits of a size that can be masked.
_MASKED: Final = 17

BATCH: Final = sympy.Symbol("batch", integer=True, positive=True)
TOKENS: Final = sympy.Symbol("tokens", integer=True, positive=True)
# The tokens of a second text, where forward takes two.
SECOND: Final = sympy.Symbol("second", integer=True, positive=True)
# Sizes of both texts at which a relation of them is looked at: each beside each.
_OF_TWO: Final = (*range(1, 34), 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300, 512, 513, 1_000, 1_024, 5_000)

Whole = npt.NDArray[np.int64]


class UnsolvableError(ArithmeticError):
    """A relation holds something that is not computed here, or exceeds 64 bits."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of an input: rows, and steps a row."""

    batch: int
    tokens: int


# The sizes of the usual example.
USUAL: Final = Sizes(EXAMPLE_ROWS, EXAMPLE_STEPS)


@dataclass(frozen=True)
class EverySize:
    """All sizes of at most `LARGEST` tokens, the cheapest first: int64 [sizes] each."""

    batch: Whole
    tokens: Whole

    def __len__(self) -> int:
        return len(self.batch)

    def at(self, index: int) -> Sizes:
        """The sizes at a position."""
        return Sizes(int(self.batch[index]), int(self.tokens[index]))


@functools.cache
def every_size(batch: int | None = None) -> EverySize:
    """All sizes that are looked at: those of one batch, or of any.

    Example:
        >>> len(every_size(1))
        50000
    """
    batches = range(1, LARGEST + 1) if batch is None else (batch,)
    tokens = [np.arange(1, LARGEST // rows + 1, dtype=np.int64) for rows in batches]
    rows = np.repeat(np.array(batches, np.int64), [len(some) for some in tokens])
    steps = np.concatenate(tokens)
    order = np.lexsort((rows, rows * steps))
    return EverySize(rows[order], steps[order])


@dataclass(frozen=True)
class Condition:
    """Something that holds for some sizes and not for others.

    Attributes:
        relation: of sympy, of the symbols `BATCH` and `TOKENS`, and of `SECOND` where forward takes two texts.
    """

    relation: Any

    def holds(self, sizes: Sizes) -> bool:
        """Whether it holds for these sizes.

        Example:
            >>> Condition(sympy.Gt(TOKENS, 512)).holds(Sizes(batch=1, tokens=600))
            True
        """
        return bool(value_at(self.relation, sizes))

    def holds_for_both(self, batch: int, tokens: int, second: int) -> bool:
        """Whether it holds for a batch of two texts of these numbers of tokens.

        Example:
            >>> Condition(sympy.Gt(TOKENS, SECOND)).holds_for_both(batch=1, tokens=7, second=5)
            True
        """
        sizes = {BATCH: batch, TOKENS: tokens, SECOND: second}
        at = {symbol: np.array([size], np.int64) for symbol, size in sizes.items()}
        return bool(np.broadcast_to(_value(self.relation, at, _ARRAYS), (1,))[0])

    @property
    def numbers(self) -> list[Any]:
        """The whole numbers in it."""
        return sorted(self.relation.atoms(sympy.Integer))

    def over(self, batch: Any, tokens: Any) -> Any:
        """For which of many sizes it holds: arrays int64 [sizes] to bool [sizes]; or the same of tensors, in a graph.

        Raises:
            UnsolvableError: that cannot be computed.
        """
        kind: _Numbers = _ARRAYS if isinstance(batch, np.ndarray) else _TENSORS
        found = _value(self.relation, {BATCH: batch, TOKENS: tokens}, kind)
        return np.broadcast_to(found, batch.shape) if kind is _ARRAYS else found

    def over_all(self, batch: int | None = None) -> npt.NDArray[np.bool_]:
        """For which of `every_size` it holds, bool [sizes]."""
        return _over_all(self, batch)

    @property
    def varies(self) -> bool:
        """Whether it holds for some sizes and not for others."""
        holds = _over_two_texts(self) if "second" in self.of else self.over_all()
        return bool(holds.any() and not holds.all())

    @property
    def negated(self) -> Condition:
        """The condition that holds where this one does not."""
        return Condition(sympy.Not(self.relation))

    @property
    def of(self) -> frozenset[str]:
        """The names of the sizes that it asks about: `batch`, `tokens`, `second`."""
        return frozenset(str(symbol) for symbol in self.relation.free_symbols)

    def __str__(self) -> str:
        return str(self.relation)


@functools.lru_cache(maxsize=128)
def _over_all(condition: Condition, batch: int | None) -> npt.NDArray[np.bool_]:
    sizes = every_size(batch)
    for name in ("tokens", "batch"):
        if condition.of == {name}:
            # One array is shorter by ten than all sizes.
            along = np.arange(1, LARGEST + 1, dtype=np.int64)
            others = {"batch": np.ones_like(along), "tokens": np.ones_like(along)}
            return condition.over(**{**others, name: along})[getattr(sizes, name) - 1]  # type: ignore[no-any-return]
    return condition.over(sizes.batch, sizes.tokens)  # type: ignore[no-any-return]


def _over_two_texts(condition: Condition) -> npt.NDArray[np.bool_]:
    """For which of some sizes of batches of two texts it holds, bool [sizes]; for which of all, where it asks about the
    second text alone."""
    if condition.of == {"second"}:
        return Condition(condition.relation.xreplace({SECOND: TOKENS})).over_all()
    along = np.array(_OF_TWO, np.int64)
    batch, tokens, second = (each.ravel() for each in np.meshgrid(along[:12], along, along))
    found = _value(condition.relation, {BATCH: batch, TOKENS: tokens, SECOND: second}, _ARRAYS)
    return np.broadcast_to(found, batch.shape)


def all_of(conditions: Iterable[Condition]) -> Condition:
    """The condition that holds where all of them do."""
    # At once: sympy compares all parts of an `and` whenever one is made.
    return Condition(sympy.And(*(condition.relation for condition in conditions)))


def either(conditions: list[Condition]) -> Condition:
    """The condition that holds where one of them does."""
    return Condition(sympy.Or(*(condition.relation for condition in conditions)))


def renamed_sizes(expression: Any, names: Mapping[str, str]) -> Any:
    """An expression of PyTorch's symbols as one of `BATCH`, `TOKENS` and `SECOND`; None where it depends on others too,
    or on none.

    Args:
        expression: of sympy.
        names: `batch`, `tokens` or `second`, by the name of the symbol.
    """
    free = {symbol: names.get(str(symbol)) for symbol in expression.free_symbols}
    if not free or None in free.values():
        return None
    ours = {"batch": BATCH, "tokens": TOKENS, "second": SECOND}
    return expression.xreplace({symbol: ours[name] for symbol, name in free.items() if name is not None})


def value_at(expression: Any, sizes: Sizes) -> Any:
    """The value of an expression for these sizes: a number of Python.

    Raises:
        UnsolvableError: that cannot be computed.

    Example:
        >>> value_at(BATCH * TOKENS, Sizes(batch=3, tokens=7))
        21
    """
    at = {BATCH: np.array([sizes.batch], np.int64), TOKENS: np.array([sizes.tokens], np.int64)}
    return np.broadcast_to(_value(expression, at, _ARRAYS), (1,))[0].item()


def values_over(expression: Any, batch: int | None = None) -> npt.NDArray[Any]:
    """The value of an expression for each of `every_size`: [sizes].

    Raises:
        UnsolvableError: that cannot be computed.
    """
    every = every_size(batch)
    found = _value(expression, {BATCH: every.batch, TOKENS: every.tokens}, _ARRAYS)
    return np.broadcast_to(found, every.batch.shape)


@dataclass(frozen=True)
class _Numbers:
    """The functions of numpy or torch that the visitor needs beside operators."""

    library: Any
    constant: Callable[[Any], Any]
    real: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    checked: Callable[[Any, Any], Any]


def _within_bits(value: Any, estimate: Any) -> Any:
    if value.dtype == np.int64 and bool((np.abs(estimate) > _BITS).any()):
        raise UnsolvableError("a number of more than 62 bits")
    return value


_ARRAYS: Final = _Numbers(
    np, np.asarray, lambda x: x.astype(np.float64), lambda x: x.astype(np.int64), _within_bits
)  # fmt: skip
_TENSORS: Final = _Numbers(
    torch,
    lambda n: torch.full((), n, dtype=torch.int64 if type(n) is int else None),
    lambda x: x.to(torch.float64),
    lambda x: x.to(torch.int64),
    lambda value, _: value,
)


def _value(expression: Any, sizes: Mapping[Any, Any], kind: _Numbers) -> Any:
    """An expression, computed from the leaves up."""
    if expression in sizes:
        return sizes[expression]
    if isinstance(expression, BooleanTrue | BooleanFalse):
        return kind.constant(bool(expression))
    if expression.is_Integer:
        return kind.constant(int(expression))
    if expression.is_Number:
        return kind.real(kind.constant(float(expression)))
    if isinstance(expression, sympy.Piecewise):
        return _piecewise(expression, sizes, kind)
    function = _FUNCTIONS.get(expression.func) or _BY_NAME.get(expression.func.__name__)
    if function is None:
        raise UnsolvableError(f"a {expression.func.__name__} of sizes")
    arguments = [_value(argument, sizes, kind) for argument in expression.args]
    with np.errstate(all="ignore"):
        return function(kind, *arguments)


def _piecewise(expression: Any, sizes: Mapping[Any, Any], kind: _Numbers) -> Any:
    *first, (otherwise, _) = expression.args
    result = _value(otherwise, sizes, kind)
    for value, condition in reversed(first):
        result = kind.library.where(_value(condition, sizes, kind), _value(value, sizes, kind), result)
    return result


def _each(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function of two as one of any number."""
    return lambda _, *values: functools.reduce(function, values)


def _library(name: str) -> Callable[..., Any]:
    return lambda kind, *values: functools.reduce(getattr(kind.library, name), values)


def _real(name: str) -> Callable[..., Any]:
    return lambda kind, value: getattr(kind.library, name)(kind.real(value))


def _rounded(name: str) -> Callable[..., Any]:
    return lambda kind, value: kind.whole(getattr(kind.library, name)(kind.real(value)))


def _product(kind: _Numbers, *values: Any) -> Any:
    return kind.checked(
        functools.reduce(operator.mul, values), functools.reduce(operator.mul, (kind.real(v) for v in values))
    )


def _power(kind: _Numbers, base: Any, exponent: Any) -> Any:
    if kind is _ARRAYS and base.dtype == np.int64 and exponent.dtype == np.int64 and (exponent < 0).any():
        raise UnsolvableError("a negative power")
    if kind is _ARRAYS and base.dtype == np.int64 and exponent.dtype != np.int64:
        base = kind.real(base)
    return kind.checked(base**exponent, kind.real(base) ** kind.real(exponent))


def _divided(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def divided(kind: _Numbers, value: Any, divisor: Any) -> Any:
        if kind is _ARRAYS and (divisor == 0).any():
            raise UnsolvableError("a division by zero")
        return function(value, divisor)

    return divided


def _bits_in(kind: _Numbers, value: Any, mask: Any) -> Any:
    """`value & mask`, by division: not every engine has operators of bits. Only the bits of sizes are looked at."""
    if kind is _ARRAYS:
        if bool((abs(value) >> _MASKED).any()) or bool((mask >> _MASKED).any()):
            raise UnsolvableError("bits of large numbers")
        return value & mask
    both = kind.constant(0)
    for bit in (2**i for i in range(_MASKED)):
        both = both + (value // bit) % 2 * ((mask // bit) % 2) * bit
    return both


_FUNCTIONS: Final[dict[Any, Callable[..., Any]]] = {
    sympy.Add: _each(operator.add),
    sympy.Mul: _product,
    sympy.Pow: _power,
    sympy.Mod: _divided(operator.mod),
    sympy.Min: _library("minimum"),
    sympy.Max: _library("maximum"),
    sympy.Abs: lambda _, value: abs(value),
    sympy.floor: _rounded("floor"),
    sympy.ceiling: _rounded("ceil"),
    sympy.And: _library("logical_and"),
    sympy.Or: _library("logical_or"),
    sympy.Not: lambda kind, value: kind.library.logical_not(value),
    sympy.Eq: lambda _, a, b: a == b,
    sympy.Ne: lambda _, a, b: a != b,
    sympy.Lt: lambda _, a, b: a < b,
    sympy.Le: lambda _, a, b: a <= b,
    sympy.Gt: lambda _, a, b: a > b,
    sympy.Ge: lambda _, a, b: a >= b,
    sympy.ITE: lambda kind, condition, a, b: kind.library.where(condition, a, b),
    of_torch.Min: _library("minimum"),
    of_torch.Max: _library("maximum"),
    of_torch.FloorDiv: _divided(operator.floordiv),
    of_torch.CleanDiv: _divided(operator.floordiv),
    of_torch.Mod: _divided(operator.mod),
    of_torch.PythonMod: _divided(operator.mod),
    of_torch.ModularIndexing: lambda _, value, divisor, modulus: value // divisor % modulus,
    of_torch.LShift: lambda kind, value, by: _product(kind, value, 2**by),
    of_torch.RShift: lambda _, value, by: value // 2**by,
    of_torch.PowByNatural: _power,
    of_torch.FloatPow: lambda kind, base, exponent: kind.real(base) ** kind.real(exponent),
    of_torch.IntTrueDiv: _divided(operator.truediv),
    of_torch.FloatTrueDiv: _divided(operator.truediv),
    of_torch.ToFloat: lambda kind, value: kind.real(value),
    of_torch.FloorToInt: _rounded("floor"),
    of_torch.CeilToInt: _rounded("ceil"),
    of_torch.TruncToInt: _rounded("trunc"),
    of_torch.RoundToInt: _rounded("round"),
    of_torch.TruncToFloat: _real("trunc"),
    of_torch.Identity: lambda _, value: value,
    of_torch.Where: lambda kind, condition, a, b: kind.library.where(condition, a, b),
}
# Functions that torch makes anew for each name.
_BY_NAME: Final[dict[str, Callable[..., Any]]] = {
    "BitwiseFn_bitwise_and": _bits_in,
    "BitwiseFn_bitwise_or": lambda kind, a, b: a + b - _bits_in(kind, a, b),
    "BitwiseFn_bitwise_xor": lambda kind, a, b: a + b - 2 * _bits_in(kind, a, b),
    **{f"OpaqueUnaryFn_{name}": _real(name) for name in ("sqrt", "log", "log2", "exp", "sin", "cos", "tan", "tanh")},
}
