"""Check that thousands of iterations of a loop over a text's steps do the same as the first ones.

Only the first iterations of such a loop are traced. Python may count them in any way, and a much later step may do
something else: `if t == 560: h = -h`, an entry of a list of numbers. A recurrent cell forgets such a step, so answers
to a few long texts do not show it. So the calls of torch functions are recorded while the module runs: the functions,
the numbers, and how many calls ago each tensor was made. If the iterations of a loop are alike, every further token
adds the same number of calls of each kind.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.module_runs.cpu_run import compute_answer, list_tensors_in
from pocketrnn_export.module_runs.whole_copy import copy_again
from pocketrnn_export.torch_internals import DispatchMode, FunctionMode, unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics.users_globals import find_users_globals
from pocketrnn_export.tracing.sizes.conditions import Sizes
from pocketrnn_export.tracing.sizes.module_answers import is_within_limits

__all__ = ["MOST_STEPS", "check_every_step", "use_unscripted_functions"]

# As long as the longest text of the proof. A GRUCell(64) and five other calls a step take 0.4 s.
MOST_STEPS: Final = 3000
# The lengths of texts that show how many calls each further token adds; they are longer than the special first steps of
# a loop.
_FIRST, _SECOND, _THIRD = 40, 41, 60
# A tensor that is used at least so often was made before the loop: a projection, the embedded text.
_OFTEN: Final = 20
# Each iteration uses positions at most so far from the last ones, and tensors that were made at most so many calls ago.
# An iteration of a real module makes 5 to 60 calls.
_POSITIONS, _CALLS = 20, 200
# After a step that does something else, this many further lengths are tried, since the answer may show it only later.
_AFTER: Final = 8
# The limit of processor time for recording the calls of one text.
_SECONDS: Final = 5.0
# The functions that return the same numbers: truncated backpropagation detaches its state every so many steps.
_SAME: Final = frozenset(
    {Tensor.detach, Tensor.detach_, Tensor.contiguous, Tensor.clone, torch.clone, Tensor.requires_grad_, Tensor.cpu,
     Tensor.cuda}
)  # fmt: skip

_TEXTS: Final = {1: "a text", 3: "three texts"}
# How often each kind of call was made.
_Calls = Counter[Hashable]


def check_every_step(
    module: nn.Module,
    limits: Limits,
    loop: str,
    inputs_of: Callable[[Sizes], tuple[Tensor, ...]],
    agree: Callable[[Sizes], bool],
    *,
    one_text: bool,
) -> tuple[str, ...]:
    """Refuse a module whose loop over the steps of a text does something else in one of 3,000 steps, if the program's
    answer differs.

    The check runs a batch of one text and a batch of three.

    Args:
        module: in eval mode, on the CPU; it is copied.
        limits: the limits of the program.
        loop: the line of the loop.
        inputs_of: makes random inputs of some sizes, as the module takes them.
        agree: whether the module and the exported program give the same answer at some sizes.
        one_text: whether the batch size is always 1.

    Returns:
        a sentence on the steps that were not checked; empty if all were.

    Raises:
        ExportError: its answer differs from the program's after such a step; the message names the step.
    """
    looked_at: list[int] = []
    for rows in (1,) if one_text else (1, 3):
        if not all(is_within_limits(limits, Sizes(rows, tokens)) for tokens in (_FIRST, _THIRD)):
            break
        calls = _CallCounter(module, lambda tokens, rows=rows: inputs_of(Sizes(rows, tokens)))  # type: ignore[misc]
        most = limits.max_tokens or MOST_STEPS
        longest = min(MOST_STEPS, most, calls.reached(_SECONDS))
        if not calls.makes_same_calls(_THIRD):
            looked_at.append(0)
            continue
        if limits.max_tokens is None or longest < most:
            looked_at.append(longest)
        if longest <= _THIRD or calls.makes_same_calls(longest):
            continue
        alike, other = _THIRD, longest
        while other - alike > 1:
            middle = (alike + other) // 2
            alike, other = (middle, other) if calls.makes_same_calls(middle) else (alike, middle)
        for tokens in range(other, min(other + _AFTER, longest) + 1):
            if not agree(Sizes(rows, tokens)):
                raise ExportError(
                    f"The module's loop over the steps of a text, {loop}, does something else in {_TEXTS[rows]} of "
                    f"{other} tokens than in shorter ones: at {tokens} tokens the graph of its first steps gives "
                    "another answer.",
                    "Do the same in every step, whatever its number is; or use nn.RNN, nn.LSTM or nn.GRU.",
                )
    return _write_unchecked_steps_note(loop, min(looked_at)) if looked_at else ()


def _write_unchecked_steps_note(loop: str, steps: int) -> tuple[str, ...]:
    if steps:
        return (
            f"The steps of the module's loop over a text, {loop}, are compared up to step {steps}: a later step that "
            "does something else is not seen.",
        )
    return (
        f"The first {_THIRD} steps of the module's loop over a text, {loop}, are not alike: a later step that does "
        "something else is seen on the texts of the proof only.",
    )


class _CallCounter:
    """The number of calls of each kind, by the length of a text."""

    def __init__(self, module: nn.Module, inputs_of: Callable[[int], tuple[Tensor, ...]]) -> None:
        self._module, self._inputs_of = module, inputs_of
        started = time.process_time()
        self._first, self._second = self._count_calls_of_text(_FIRST), self._count_calls_of_text(_SECOND)
        self._a_token = (time.process_time() - started) / (_FIRST + _SECOND)

    def _count_calls_of_text(self, tokens: int) -> _Calls | None:
        return _count_calls(self._module, self._inputs_of(tokens))

    def reached(self, seconds: float) -> int:
        """How many tokens of a text can be checked in that time."""
        return int(seconds / max(self._a_token, 1e-6))

    def makes_same_calls(self, tokens: int) -> bool:
        """Whether a text makes the calls of a shorter one, plus those of each further token; true if the module
        fails."""
        first, second, found = self._first, self._second, self._count_calls_of_text(tokens)
        if first is None or second is None or found is None:
            return True
        kinds = first.keys() | second.keys() | found.keys()
        return all(found[k] == first[k] + (tokens - _FIRST) * (second[k] - first[k]) for k in kinds)


def _count_calls(module: nn.Module, inputs: tuple[Tensor, ...]) -> _Calls | None:
    """Count the calls that a module makes for some inputs; None if it fails."""
    log = _CallLog()
    mode = _OperatorLogger(log) if any(isinstance(one, torch.jit.ScriptModule) for one in module.modules()) else None
    try:
        with use_unscripted_functions(module), mode or _FunctionLogger(log):
            compute_answer(copy_again(module), inputs)
    # A user's module may raise anything.
    except Exception:
        return None
    return log.kinds()


@contextlib.contextmanager
def use_unscripted_functions(module: nn.Module) -> Iterator[None]:
    """Replace scripted functions in a module's files by their Python originals while the block runs: a mode does not
    see the calls inside of scripted ones.

    Example:
        >>> with use_unscripted_functions(module):
        ...     module(tokens)
    """
    found = [
        (names, name, value)
        for names in find_users_globals(module)
        for name, value in names.items()
        if unwrap_scripted_function(value) is not None
    ]
    for names, name, value in found:
        names[name] = unwrap_scripted_function(value)
    try:
        yield
    finally:
        for names, name, value in found:
            names[name] = value


class _FunctionLogger(FunctionMode):
    """A mode that logs every call of a torch function."""

    def __init__(self, log: _CallLog) -> None:
        super().__init__()
        self._log = log

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SAME and isinstance(result, Tensor) and isinstance(args[0], Tensor):
            self._log.record_equal_tensor(result, args[0])
        # An attribute of a tensor, such as its shape, is not a tensor.
        elif getattr(func, "__name__", "") != "__get__" or isinstance(result, Tensor):
            self._log.record_function_call(func, (*args, *(kwargs or {}).items()), result)
        return result


class _OperatorLogger(DispatchMode):  # type: ignore[no-untyped-call]
    """A mode that logs every operator that runs: nothing else of scripted layers can be seen."""

    def __init__(self, log: _CallLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._log.record_function_call(func, (*args, *(kwargs or {}).items()), result)
        return result


class _CallLog:
    """The calls with their arguments, and the index of the call that made each tensor."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any]] = []
        # The last call that made a tensor, by the tensor's id; tensors are kept, so that no id is used twice.
        self._made: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._kept: list[Tensor] = []

    def record_equal_tensor(self, tensor: Tensor, as_before: Tensor) -> None:
        """Record a tensor that holds the same numbers as another."""
        self._note(tensor, self._place(as_before))

    def record_function_call(self, func: Any, given: Iterable[Any], result: Any) -> None:
        """Record a call with its arguments and result."""
        self._calls.append((func, [self._argument(value) for value in given]))
        for value in list_tensors_in(result):
            self._note(value, len(self._calls) - 1)

    def _note(self, tensor: Tensor, place: int) -> None:
        if id(tensor) not in self._made:
            self._kept.append(tensor)
        self._made[id(tensor)] = place

    def _place(self, tensor: Tensor) -> int:
        """The index of the call that made a tensor; a negative number if it was made before the first call."""
        if id(tensor) in self._made:
            return self._made[id(tensor)]
        if id(tensor) not in self._given:
            self._kept.append(tensor)
        return -1 - self._given.setdefault(id(tensor), len(self._given))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return _CallIndex(self._place(value))
        if isinstance(value, list | tuple):
            return tuple(self._argument(one) for one in value)
        if isinstance(value, slice):
            return ("slice", value.start, value.stop, value.step)
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or isinstance(value, bool | int | float | complex | str):
            return value
        if hasattr(value, "__array__") or isinstance(value, bytes | bytearray | memoryview | array.array):
            # An array of numpy, a column of pandas, or bytes: their numbers count, as those of a list do.
            numbers = np.asarray(value)
            return ("array", numbers.dtype.str, numbers.shape, numbers.tobytes())
        if isinstance(value, Mapping):
            return tuple((self._argument(key), self._argument(one)) for key, one in value.items())
        return repr(value) if isinstance(value, torch.dtype | torch.device) else type(value)

    def kinds(self) -> _Calls:
        """Count the calls of each kind.

        A tensor counts by how many calls ago it was made, or, if it was used often, by its number among such tensors;
        an integer by its distance from the previous one at its place, which is 1 for positions.
        """
        uses = Counter(place for _, arguments in self._calls for place in _find_used_calls(arguments))
        often = {place: i for i, place in enumerate(sorted(p for p, n in uses.items() if n >= _OFTEN))}
        before: dict[Hashable, list[int]] = {}
        found: _Calls = Counter()
        for call, (func, arguments) in enumerate(self._calls):
            numbers: list[int] = []
            kind = (func, _classify_argument(arguments, call, often, numbers))
            last = before.get(kind, numbers)
            before[kind] = numbers
            found[kind, tuple(_normalize_distance(n - b, _POSITIONS) for n, b in zip(numbers, last, strict=True))] += 1
        return found


class _CallIndex(int):
    """The index of the call that made a tensor."""


def _normalize_distance(apart: int, most: int) -> Hashable:
    """A distance that each iteration may repeat, or "far": the distance to the start of a text grows with it."""
    return apart if abs(apart) <= most else "far"


def _classify_argument(argument: Any, call: int, often: dict[int, int], numbers: list[int]) -> Hashable:
    if isinstance(argument, _CallIndex):
        if argument < 0:
            return ("given", int(argument))
        return (
            ("often", often[argument]) if argument in often else ("made", _normalize_distance(call - argument, _CALLS))
        )
    if isinstance(argument, list | tuple):
        if len(argument) > _OFTEN and all(isinstance(one, _CallIndex) for one in argument):
            # The results of all iterations: a longer text has more.
            return ("many", frozenset(_normalize_distance(b - a, _CALLS) for a, b in itertools.pairwise(argument)))
        return tuple(_classify_argument(one, call, often, numbers) for one in argument)
    if isinstance(argument, int) and not isinstance(argument, bool):
        numbers.append(argument)
        return int
    return (type(argument), argument) if isinstance(argument, float | complex) else argument


def _find_used_calls(arguments: Any) -> Iterable[int]:
    for argument in arguments:
        if isinstance(argument, _CallIndex):
            yield argument
        # Leave out a list of all iterations' results, which uses each once, at the end.
        elif isinstance(argument, tuple) and len(argument) <= _OFTEN:
            yield from _find_used_calls(argument)
