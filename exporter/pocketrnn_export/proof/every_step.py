"""Checks that thousands of iterations of a loop over a text's steps do what the first ones do.

Only the first iterations of such a loop are traced. Python may count them in any way, and a much later step may do
something else: `if t == 560: h = -h`, an entry of a list of numbers. A recurrent cell forgets such a step, so that
answers to a few long texts do not show it. So the calls of torch's functions are noted while the module runs: the
functions, the numbers, and how many calls before each tensor was made. A loop whose iterations are alike makes the same
number of calls of each kind for every further token.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.module_runs.cpu_run import answer_of, tensors_in
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.torch_internals import DispatchMode, FunctionMode, scripted_from
from pocketrnn_export.tracing.python_semantics.users_globals import globals_of
from pocketrnn_export.tracing.sizes.conditions import Sizes
from pocketrnn_export.tracing.sizes.module_answers import inside

__all__ = ["MOST_STEPS", "check_every_step", "scripted_as_written"]

# As long as the longest text of the proof. A GRUCell(64) and five other calls a step take 0.4 s.
MOST_STEPS: Final = 3000
# Texts whose calls say how many there are for each further token; longer than what a loop begins with.
_FIRST, _SECOND, _THIRD = 40, 41, 60
# A tensor that is used so often was made before the loop: a projection, the embedded text.
_OFTEN: Final = 20
# Each iteration repeats positions that are at most so far apart, and tensors that were made at most so many calls ago.
# An iteration of a real module makes 5 to 60 calls.
_POSITIONS, _CALLS = 20, 200
# So many lengths are tried after the step that does something else: a state may show it a step later.
_AFTER: Final = 8
# Processor time for the calls of one text.
_SECONDS: Final = 5.0
# The functions that give the same numbers again: a truncated backpropagation detaches its state every so many steps.
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
    """Refuse a module whose loop over the steps of a text does something else at one of 3,000, if the program differs.

    One text is looked at, and three together.

    Args:
        module: in eval mode, on the CPU; it is copied.
        limits: of the program.
        loop: the line of the loop.
        inputs_of: random inputs of some sizes, as the module takes them.
        agree: whether the module and the program as it is exported give the same answer there.
        one_text: whether the batch is always one.

    Returns:
        the steps that were not looked at, in a sentence; nothing where all of the program's were.

    Raises:
        ExportError: its answer differs from the program's after such a step; names the step.
    """
    looked_at: list[int] = []
    for rows in (1,) if one_text else (1, 3):
        if not all(inside(limits, Sizes(rows, tokens)) for tokens in (_FIRST, _THIRD)):
            break
        calls = _CallsByLength(module, lambda tokens, rows=rows: inputs_of(Sizes(rows, tokens)))  # type: ignore[misc]
        most = limits.max_tokens or MOST_STEPS
        longest = min(MOST_STEPS, most, calls.reached(_SECONDS))
        if not calls.is_alike(_THIRD):
            looked_at.append(0)
            continue
        if limits.max_tokens is None or longest < most:
            looked_at.append(longest)
        if longest <= _THIRD or calls.is_alike(longest):
            continue
        alike, other = _THIRD, longest
        while other - alike > 1:
            middle = (alike + other) // 2
            alike, other = (middle, other) if calls.is_alike(middle) else (alike, middle)
        for tokens in range(other, min(other + _AFTER, longest) + 1):
            if not agree(Sizes(rows, tokens)):
                raise ExportError(
                    f"The module's loop over the steps of a text, {loop}, does something else in {_TEXTS[rows]} of "
                    f"{other} tokens than in shorter ones: at {tokens} tokens the graph of its first steps answers "
                    "otherwise.",
                    "Do the same in every step, without a look at its number; or use nn.RNN, nn.LSTM or nn.GRU.",
                )
    return _not_looked_at(loop, min(looked_at)) if looked_at else ()


def _not_looked_at(loop: str, steps: int) -> tuple[str, ...]:
    if steps:
        return (
            f"The steps of the module's loop over a text, {loop}, are compared up to step {steps}: what it does "
            "otherwise in a later one is not seen.",
        )
    return (
        f"The first {_THIRD} steps of the module's loop over a text, {loop}, are not alike: a later step that does "
        "something else is seen on the texts of the proof only.",
    )


class _CallsByLength:
    """How often each kind of call is made for texts of some length."""

    def __init__(self, module: nn.Module, inputs_of: Callable[[int], tuple[Tensor, ...]]) -> None:
        self._module, self._inputs_of = module, inputs_of
        started = time.process_time()
        self._first, self._second = self._of(_FIRST), self._of(_SECOND)
        self._a_token = (time.process_time() - started) / (_FIRST + _SECOND)

    def _of(self, tokens: int) -> _Calls | None:
        return _calls_of(self._module, self._inputs_of(tokens))

    def reached(self, seconds: float) -> int:
        """How many tokens of a text are looked at in that time."""
        return int(seconds / max(self._a_token, 1e-6))

    def is_alike(self, tokens: int) -> bool:
        """Whether a text makes the calls of a shorter one, and those of each further token. Where the module fails,
        any program is as good as another."""
        first, second, found = self._first, self._second, self._of(tokens)
        if first is None or second is None or found is None:
            return True
        kinds = first.keys() | second.keys() | found.keys()
        return all(found[k] == first[k] + (tokens - _FIRST) * (second[k] - first[k]) for k in kinds)


def _calls_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> _Calls | None:
    """The calls that a module makes for some inputs; None where it fails."""
    log = _Log()
    mode = _Operators(log) if any(isinstance(one, torch.jit.ScriptModule) for one in module.modules()) else None
    try:
        with scripted_as_written(module), mode or _Functions(log):
            answer_of(copied_again(module), inputs)
    # Whatever a user's module raises.
    except Exception:
        return None
    return log.kinds()


@contextlib.contextmanager
def scripted_as_written(module: nn.Module) -> Iterator[None]:
    """While the block runs, scripted functions of a module's files are those of Python that were scripted: what they
    call inside is seen by no mode.

    Example:
        >>> with scripted_as_written(module):
        ...     module(tokens)
    """
    found = [
        (names, name, value)
        for names in globals_of(module) for name, value in names.items() if scripted_from(value) is not None
    ]  # fmt: skip
    for names, name, value in found:
        names[name] = scripted_from(value)
    try:
        yield
    finally:
        for names, name, value in found:
            names[name] = value


class _Functions(FunctionMode):
    """Every call of a function of torch, in a log."""

    def __init__(self, log: _Log) -> None:
        super().__init__()
        self._log = log

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SAME and isinstance(result, Tensor) and isinstance(args[0], Tensor):
            self._log.note_same(result, args[0])
        # An attribute of a tensor, such as its shape, is not a tensor.
        elif getattr(func, "__name__", "") != "__get__" or isinstance(result, Tensor):
            self._log.note_call(func, (*args, *(kwargs or {}).items()), result)
        return result


class _Operators(DispatchMode):  # type: ignore[no-untyped-call]
    """Every operator that runs, in a log: of scripted layers nothing else is seen."""

    def __init__(self, log: _Log) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._log.note_call(func, (*args, *(kwargs or {}).items()), result)
        return result


class _Log:
    """Calls with their arguments, and a place in the log for each tensor."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any]] = []
        # By the id of a tensor the call that made it last; tensors are kept, so that no id is taken twice.
        self._made: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._kept: list[Tensor] = []

    def note_same(self, tensor: Tensor, as_before: Tensor) -> None:
        """Take note of a tensor that holds the numbers of another."""
        self._note(tensor, self._place(as_before))

    def note_call(self, func: Any, given: Iterable[Any], result: Any) -> None:
        """Take note of a call, with what it was given and gave."""
        self._calls.append((func, [self._argument(value) for value in given]))
        for value in tensors_in(result):
            self._note(value, len(self._calls) - 1)

    def _note(self, tensor: Tensor, place: int) -> None:
        if id(tensor) not in self._made:
            self._kept.append(tensor)
        self._made[id(tensor)] = place

    def _place(self, tensor: Tensor) -> int:
        """The call that made a tensor; of what was there before the first, a number below 0."""
        if id(tensor) in self._made:
            return self._made[id(tensor)]
        if id(tensor) not in self._given:
            self._kept.append(tensor)
        return -1 - self._given.setdefault(id(tensor), len(self._given))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return _Place(self._place(value))
        if isinstance(value, list | tuple):
            return tuple(self._argument(one) for one in value)
        if isinstance(value, slice):
            return ("slice", value.start, value.stop, value.step)
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or isinstance(value, bool | int | float | complex | str):
            return value
        return repr(value) if isinstance(value, torch.dtype | torch.device) else type(value)

    def kinds(self) -> _Calls:
        """How often each kind of call was made.

        A tensor is named by how many calls ago it was made, and one that was used often by its number among those; a
        whole number by how far it is from the one before at its place, which for positions is 1.
        """
        uses = Counter(place for _, arguments in self._calls for place in _places(arguments))
        often = {place: i for i, place in enumerate(sorted(p for p, n in uses.items() if n >= _OFTEN))}
        before: dict[Hashable, list[int]] = {}
        found: _Calls = Counter()
        for call, (func, arguments) in enumerate(self._calls):
            numbers: list[int] = []
            kind = (func, _kind(arguments, call, often, numbers))
            last = before.get(kind, numbers)
            before[kind] = numbers
            found[kind, tuple(_near(n - b, _POSITIONS) for n, b in zip(numbers, last, strict=True))] += 1
        return found


class _Place(int):
    """The place of the call that made a tensor."""


def _near(apart: int, most: int) -> Hashable:
    """A distance, where it can be one that each iteration repeats; how far the begin of a text is grows with it."""
    return apart if abs(apart) <= most else "far"


def _kind(argument: Any, call: int, often: dict[int, int], numbers: list[int]) -> Hashable:
    if isinstance(argument, _Place):
        if argument < 0:
            return ("given", int(argument))
        return ("often", often[argument]) if argument in often else ("made", _near(call - argument, _CALLS))
    if isinstance(argument, list | tuple):
        if len(argument) > _OFTEN and all(isinstance(one, _Place) for one in argument):
            # The results of all iterations, which are more in longer texts.
            return ("many", frozenset(_near(b - a, _CALLS) for a, b in itertools.pairwise(argument)))
        return tuple(_kind(one, call, often, numbers) for one in argument)
    if isinstance(argument, int) and not isinstance(argument, bool):
        numbers.append(argument)
        return int
    return (type(argument), argument) if isinstance(argument, float | complex) else argument


def _places(arguments: Any) -> Iterable[int]:
    for argument in arguments:
        if isinstance(argument, _Place):
            yield argument
        # A list of what each iteration made uses each once, at the end.
        elif isinstance(argument, tuple) and len(argument) <= _OFTEN:
            yield from _places(argument)
