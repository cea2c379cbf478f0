"""Evaluate conditions on the sizes of an input. A condition is a sympy relation. It is solved by trying all sizes, or
computed in a graph.

A condition such as `n % 7 == 3` reaches this package as the relation that PyTorch makes from it in a trace. One visitor
computes such a relation, on numpy arrays as well as on tensors: on `make_all_sizes` it gives the sizes for which the
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

from pocketrnn_export.comparing.proof_inputs import EXAMPLE_ROWS, EXAMPLE_STEPS, LARGEST
from pocketrnn_export.torch_internals import size_functions as of_torch

# A graph computes with 64 bits; Python's integers have no limit.
_BITS: Final = 2.0**62
# The number of low bits of a size that a mask may use.
_MASKED: Final = 17
# A whole power up to this exponent is computed as a product.
_MOST_FACTORS: Final = 8

BATCH: Final = sympy.Symbol("batch", integer=True, positive=True)
TOKENS: Final = sympy.Symbol("tokens", integer=True, positive=True)
# The tokens of a second text, if forward takes two.
SECOND: Final = sympy.Symbol("second", integer=True, positive=True)
# The sizes of each text at which a relation of both is evaluated, in all combinations.
_OF_TWO: Final = (*range(1, 34), 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300, 512, 513, 1_000, 1_024, 5_000)

Whole = npt.NDArray[np.int64]


class UnsolvableError(ArithmeticError):
    """A relation cannot be evaluated: it has an unsupported function, a number of more than 62 bits, a negative power
    or a division by zero."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of an input: the number of rows, and the number of tokens in each row."""

    batch: int
    tokens: int


# The sizes of the usual example.
USUAL: Final = Sizes(EXAMPLE_ROWS, EXAMPLE_STEPS)


@dataclass(frozen=True)
class AllSizes:
    """All sizes of at most `LARGEST` tokens in a batch, in order of cost, as two arrays int64 [sizes]."""

    batch: Whole
    tokens: Whole

    def __len__(self) -> int:
        return len(self.batch)

    def get_sizes(self, index: int) -> Sizes:
        """Return the batch size and number of tokens at this index."""
        return Sizes(int(self.batch[index]), int(self.tokens[index]))


@functools.cache
def make_all_sizes(batch: int | None = None) -> AllSizes:
    """Return all pairs of a batch size and a number of tokens at which conditions are evaluated: those with at most
    `LARGEST` tokens in the batch, for every batch size or only for `batch`."""
    batches = range(1, LARGEST + 1) if batch is None else (batch,)
    tokens = [np.arange(1, LARGEST // rows + 1, dtype=np.int64) for rows in batches]
    rows = np.repeat(np.array(batches, np.int64), [len(some) for some in tokens])
    steps = np.concatenate(tokens)
    order = np.lexsort((rows, rows * steps))
    return AllSizes(rows[order], steps[order])


@dataclass(frozen=True)
class Condition:
    """A condition on sizes, such as `tokens > 512`.

    Attributes:
        relation: a SymPy relation of the symbols `BATCH` and `TOKENS`, and `SECOND` if forward takes two texts.
    """

    relation: Any

    def holds(self, sizes: Sizes) -> bool:
        """Return whether the condition is true for these sizes."""
        return bool(compute_value_at(self.relation, sizes))

    def holds_for_two_texts(self, batch: int, tokens: int, second: int) -> bool:
        """Return whether the condition is true for a module of two texts: for this batch size, and these numbers of
        tokens of the first and of the second text."""
        return bool(compute_value_at(self.relation, Sizes(batch, tokens), second))

    @property
    def numbers(self) -> list[Any]:
        """The integers in the condition, sorted."""
        return sorted(self.relation.atoms(sympy.Integer))

    def evaluate_on_sizes(self, batch: Any, tokens: Any) -> Any:
        """Return whether the condition is true, for arrays of sizes int64 [sizes] or for tensors in a graph.

        Raises:
            UnsolvableError: the condition cannot be computed.
        """
        kind: _NumberLibrary = _ARRAYS if isinstance(batch, np.ndarray) else _TENSORS
        found = _evaluate_expression(self.relation, {BATCH: batch, TOKENS: tokens}, kind)
        return np.broadcast_to(found, batch.shape) if kind is _ARRAYS else found

    def evaluate_on_all_sizes(self, batch: int | None = None) -> npt.NDArray[np.bool_]:
        """Return bool [sizes], whether the condition is true for each pair of a batch size and a number of tokens, in
        the order of `make_all_sizes(batch)`."""
        return _evaluate_on_all_sizes_with_cache(self, batch)

    @property
    def varies(self) -> bool:
        """Whether the condition is true for some sizes and false for others."""
        holds = _evaluate_on_sizes_of_two_texts(self) if "second" in self.size_names else self.evaluate_on_all_sizes()
        return bool(holds.any() and not holds.all())

    @property
    def negated(self) -> Condition:
        """The condition that is true where this one is false."""
        return Condition(sympy.Not(self.relation))

    @property
    def size_names(self) -> frozenset[str]:
        """The names of the sizes that the condition uses: `batch`, `tokens`, `second`."""
        return frozenset(str(symbol) for symbol in self.relation.free_symbols)

    def __str__(self) -> str:
        return str(self.relation)


@functools.lru_cache(maxsize=128)
def _evaluate_on_all_sizes_with_cache(condition: Condition, batch: int | None) -> npt.NDArray[np.bool_]:
    """Return bool [sizes], whether a condition is true for each pair of a batch size and a number of tokens, in the
    order of `make_all_sizes(batch)`. The result is cached."""
    sizes = make_all_sizes(batch)
    for name in ("tokens", "batch"):
        if condition.size_names == {name}:
            # The array of one size is ten times shorter than that of all sizes.
            along = np.arange(1, LARGEST + 1, dtype=np.int64)
            others = {"batch": np.ones_like(along), "tokens": np.ones_like(along)}
            return condition.evaluate_on_sizes(**{**others, name: along})[getattr(sizes, name) - 1]  # type: ignore[no-any-return]
    return condition.evaluate_on_sizes(sizes.batch, sizes.tokens)  # type: ignore[no-any-return]


def _evaluate_on_sizes_of_two_texts(condition: Condition) -> npt.NDArray[np.bool_]:
    """Return bool [sizes]: whether a condition that uses the second text's tokens is true, for some combinations of the
    batch size and both numbers of tokens."""
    if condition.size_names == {"second"}:
        return Condition(condition.relation.xreplace({SECOND: TOKENS})).evaluate_on_all_sizes()
    along = np.array(_OF_TWO, np.int64)
    batch, tokens, second = (each.ravel() for each in np.meshgrid(along[:12], along, along))
    found = _evaluate_expression(condition.relation, {BATCH: batch, TOKENS: tokens, SECOND: second}, _ARRAYS)
    return np.broadcast_to(found, batch.shape)


def join_by_and(conditions: Iterable[Condition]) -> Condition:
    """Return the condition that is true where all of these conditions are true."""
    # In one call: sympy compares all parts each time that it makes an `And`.
    return Condition(sympy.And(*(condition.relation for condition in conditions)))


def join_by_or(conditions: list[Condition]) -> Condition:
    """Return the condition that is true where at least one of these conditions is true."""
    return Condition(sympy.Or(*(condition.relation for condition in conditions)))


def rename_size_symbols_to_ours(expression: Any, names: Mapping[str, str]) -> Any:
    """Return an expression with torch's size symbols replaced by `BATCH`, `TOKENS` and `SECOND`. Return None if it has
    no symbol, or one that `names` does not contain.

    Args:
        expression: a SymPy expression.
        names: the names "batch", "tokens" or "second" of torch's symbols.
    """
    free = {symbol: names.get(str(symbol)) for symbol in expression.free_symbols}
    if not free or None in free.values():
        return None
    ours = {"batch": BATCH, "tokens": TOKENS, "second": SECOND}
    return expression.xreplace({symbol: ours[name] for symbol, name in free.items() if name is not None})


def compute_value_at(expression: Any, sizes: Sizes, second_tokens: int = 0) -> Any:
    """Return the value of a SymPy expression for these sizes, as a Python number. `second_tokens` is the number of
    tokens of the second text, if forward takes two.

    Raises:
        UnsolvableError: the expression cannot be computed.
    """
    numbers = {BATCH: sizes.batch, TOKENS: sizes.tokens, SECOND: second_tokens}
    at = {symbol: np.array([number], np.int64) for symbol, number in numbers.items()}
    return np.broadcast_to(_evaluate_expression(expression, at, _ARRAYS), (1,))[0].item()


def compute_values_at_all_sizes(expression: Any, batch: int | None = None) -> npt.NDArray[Any]:
    """Return the values [sizes] of a SymPy expression for each pair of a batch size and a number of tokens, in the
    order of `make_all_sizes(batch)`.

    Raises:
        UnsolvableError: the expression cannot be computed.
    """
    every = make_all_sizes(batch)
    found = _evaluate_expression(expression, {BATCH: every.batch, TOKENS: every.tokens}, _ARRAYS)
    return np.broadcast_to(found, every.batch.shape)


@dataclass(frozen=True)
class _NumberLibrary:
    """The functions of numpy or torch by which an expression is evaluated on arrays or on tensors.

    Attributes:
        library: numpy or torch.
        constant: a function that makes an array or tensor of a Python number.
        real: a function that converts to floats.
        whole: a function that converts to integers.
        checked: a function that takes integers and the same numbers as floats, and returns the integers; raises an
            UnsolvableError for a number of more than 62 bits.
    """

    library: Any
    constant: Callable[[Any], Any]
    real: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    checked: Callable[[Any, Any], Any]


def _refuse_more_than_62_bits(value: Any, estimate: Any) -> Any:
    """Return an array of integers.

    Args:
        value: the array.
        estimate: the same numbers as floats, which do not overflow.

    Raises:
        UnsolvableError: a number has more than 62 bits.
    """
    if value.dtype == np.int64 and bool((np.abs(estimate) > _BITS).any()):
        raise UnsolvableError("a number of more than 62 bits")
    return value


_ARRAYS: Final = _NumberLibrary(
    np, np.asarray, lambda x: x.astype(np.float64), lambda x: x.astype(np.int64), _refuse_more_than_62_bits
)  # fmt: skip
_TENSORS: Final = _NumberLibrary(
    torch,
    lambda n: torch.full((), n, dtype=torch.int64 if type(n) is int else None),
    lambda x: x.to(torch.float64),
    lambda x: x.to(torch.int64),
    lambda value, _: value,
)


def _evaluate_expression(expression: Any, sizes: Mapping[Any, Any], number_library: _NumberLibrary) -> Any:
    """Return the value of a SymPy expression.

    Args:
        sizes: an array or tensor for each symbol.
        number_library: the functions for arrays or for tensors.

    Raises:
        UnsolvableError: the expression cannot be computed.
    """
    if expression in sizes:
        return sizes[expression]
    if isinstance(expression, BooleanTrue | BooleanFalse):
        return number_library.constant(bool(expression))
    if expression.is_Integer:
        return number_library.constant(int(expression))
    if expression.is_Number:
        return number_library.real(number_library.constant(float(expression)))
    if isinstance(expression, sympy.Piecewise):
        return _evaluate_piecewise(expression, sizes, number_library)
    if isinstance(expression, sympy.Pow) and expression.exp.is_Integer and 1 < expression.exp <= _MOST_FACTORS:
        # onnxruntime computes powers of whole numbers in doubles.
        base = _evaluate_expression(expression.base, sizes, number_library)
        with np.errstate(all="ignore"):
            return _compute_checked_product(number_library, *[base] * int(expression.exp))
    function = _FUNCTIONS.get(expression.func) or _BY_NAME.get(expression.func.__name__)
    if function is None:
        raise UnsolvableError(f"a {expression.func.__name__} of sizes")
    arguments = [_evaluate_expression(argument, sizes, number_library) for argument in expression.args]
    with np.errstate(all="ignore"):
        return function(number_library, *arguments)


def _evaluate_piecewise(expression: Any, sizes: Mapping[Any, Any], number_library: _NumberLibrary) -> Any:
    """Return the value of a `sympy.Piecewise`, whose last case has the condition True."""
    *first, (otherwise, _) = expression.args
    result = _evaluate_expression(otherwise, sizes, number_library)
    for value, condition in reversed(first):
        result = number_library.library.where(
            _evaluate_expression(condition, sizes, number_library),
            _evaluate_expression(value, sizes, number_library),
            result,
        )
    return result


def _make_folded_library_function(name: str) -> Callable[..., Any]:
    """Return a function that applies a library's function of two arguments, such as "maximum", to any number of
    values."""
    return lambda kind, *values: functools.reduce(getattr(kind.library, name), values)


def _make_function_of_floats(name: str) -> Callable[..., Any]:
    """Return a function that applies a library's function, such as "log", to a value as floats."""
    return lambda kind, value: getattr(kind.library, name)(kind.real(value))


def _make_rounding_function(name: str) -> Callable[..., Any]:
    """Return a function that applies a library's rounding function, such as "floor", and converts the result to
    integers."""
    return lambda kind, value: kind.whole(getattr(kind.library, name)(kind.real(value)))


def _compute_checked_product(number_library: _NumberLibrary, *values: Any) -> Any:
    """Return the product of some values.

    Raises:
        UnsolvableError: a product of integers has more than 62 bits.
    """
    return number_library.checked(
        functools.reduce(operator.mul, values), functools.reduce(operator.mul, (number_library.real(v) for v in values))
    )


def _compute_checked_power(number_library: _NumberLibrary, base: Any, exponent: Any) -> Any:
    """Return a power.

    Raises:
        UnsolvableError: an integer has a negative exponent, or a power of integers has more than 62 bits.
    """
    if number_library is _ARRAYS and base.dtype == np.int64 and exponent.dtype == np.int64 and (exponent < 0).any():
        raise UnsolvableError("a negative power")
    if number_library is _ARRAYS and base.dtype == np.int64 and exponent.dtype != np.int64:
        base = number_library.real(base)
    return number_library.checked(base**exponent, number_library.real(base) ** number_library.real(exponent))


def _make_checked_division(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return a function that divides by `function`, and raises an UnsolvableError for a division by zero."""

    def divide_checked(kind: _NumberLibrary, value: Any, divisor: Any) -> Any:
        if kind is _ARRAYS and (divisor == 0).any():
            raise UnsolvableError("a division by zero")
        return function(value, divisor)

    return divide_checked


def _compute_bitwise_and(number_library: _NumberLibrary, value: Any, mask: Any) -> Any:
    """Return `value & mask`. In a graph, the bits are computed by divisions, since not every engine has bit operators.

    Raises:
        UnsolvableError: a number has bits that such a graph does not compute.
    """
    if number_library is _ARRAYS:
        if bool((abs(value) >> _MASKED).any()) or bool((mask >> _MASKED).any()):
            raise UnsolvableError("bits of large numbers")
        return value & mask
    both = number_library.constant(0)
    for bit in (2**i for i in range(_MASKED)):
        both = both + (value // bit) % 2 * ((mask // bit) % 2) * bit
    return both


_FUNCTIONS: Final[dict[Any, Callable[..., Any]]] = {
    sympy.Add: lambda _, *values: functools.reduce(operator.add, values),
    sympy.Mul: _compute_checked_product,
    sympy.Pow: _compute_checked_power,
    sympy.Mod: _make_checked_division(operator.mod),
    sympy.Min: _make_folded_library_function("minimum"),
    sympy.Max: _make_folded_library_function("maximum"),
    sympy.Abs: lambda _, value: abs(value),
    sympy.floor: _make_rounding_function("floor"),
    sympy.ceiling: _make_rounding_function("ceil"),
    sympy.And: _make_folded_library_function("logical_and"),
    sympy.Or: _make_folded_library_function("logical_or"),
    sympy.Not: lambda kind, value: kind.library.logical_not(value),
    sympy.Eq: lambda _, a, b: a == b,
    sympy.Ne: lambda _, a, b: a != b,
    sympy.Lt: lambda _, a, b: a < b,
    sympy.Le: lambda _, a, b: a <= b,
    sympy.Gt: lambda _, a, b: a > b,
    sympy.Ge: lambda _, a, b: a >= b,
    sympy.ITE: lambda kind, condition, a, b: kind.library.where(condition, a, b),
    of_torch.Min: _make_folded_library_function("minimum"),
    of_torch.Max: _make_folded_library_function("maximum"),
    of_torch.FloorDiv: _make_checked_division(operator.floordiv),
    of_torch.CleanDiv: _make_checked_division(operator.floordiv),
    of_torch.Mod: _make_checked_division(operator.mod),
    of_torch.PythonMod: _make_checked_division(operator.mod),
    of_torch.ModularIndexing: lambda _, value, divisor, modulus: value // divisor % modulus,
    of_torch.LShift: lambda kind, value, by: _compute_checked_product(kind, value, 2**by),
    of_torch.RShift: lambda _, value, by: value // 2**by,
    of_torch.PowByNatural: _compute_checked_power,
    of_torch.FloatPow: lambda kind, base, exponent: kind.real(base) ** kind.real(exponent),
    of_torch.IntTrueDiv: _make_checked_division(operator.truediv),
    of_torch.FloatTrueDiv: _make_checked_division(operator.truediv),
    of_torch.ToFloat: lambda kind, value: kind.real(value),
    of_torch.FloorToInt: _make_rounding_function("floor"),
    of_torch.CeilToInt: _make_rounding_function("ceil"),
    of_torch.TruncToInt: _make_rounding_function("trunc"),
    of_torch.RoundToInt: _make_rounding_function("round"),
    of_torch.TruncToFloat: _make_function_of_floats("trunc"),
    of_torch.Identity: lambda _, value: value,
    of_torch.Where: lambda kind, condition, a, b: kind.library.where(condition, a, b),
}
# The functions that torch creates by name.
_BY_NAME: Final[dict[str, Callable[..., Any]]] = {
    "BitwiseFn_bitwise_and": _compute_bitwise_and,
    "BitwiseFn_bitwise_or": lambda kind, a, b: a + b - _compute_bitwise_and(kind, a, b),
    "BitwiseFn_bitwise_xor": lambda kind, a, b: a + b - 2 * _compute_bitwise_and(kind, a, b),
    **{
        f"OpaqueUnaryFn_{name}": _make_function_of_floats(name)
        for name in ("sqrt", "log", "log2", "exp", "sin", "cos", "tan", "tanh")
    },
}
