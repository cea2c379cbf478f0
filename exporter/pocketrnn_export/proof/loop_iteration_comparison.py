"""Check that all of the thousands of iterations of a loop over a text's steps compute the same as the first iterations.

Only the first iterations of such a loop are traced. Python may count them in any way, and a much later step may do
something else: `if t == 560: h = -h`, an entry of a list of numbers. A recurrent cell forgets such a step, or only a
rare word shows it, so answers to a few long texts do not tell. So the calls of torch functions are recorded while the
module runs: the functions, the numbers, and how many calls ago each tensor was made. If the iterations of a loop are
alike, every further token adds the same number of calls of each kind.

A step that calls another function than the others, or gives it another number, is refused. Where calls are not alike in
another way, such as numbers that grow from step to step, the answers are compared.
"""

from __future__ import annotations

import array
import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.progress import log_step
from pocketrnn_export.proof.scripted_functions_as_python import use_python_originals_of_scripted_functions
from pocketrnn_export.torch_internals import DispatchMode, FunctionMode
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATIONS
from pocketrnn_export.tracing.rules.lengths import writes_into_first_argument
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import is_within_limits
from pocketrnn_export.tracing.sizes.size_conditions import Sizes

# As long as the longest text of the proof. A GRUCell(64) and five other calls a step take 0.4 s.
MOST_STEPS: Final = 3000
# The lengths of texts that show how many calls each further token adds; they are longer than the special first steps of
# a loop.
_FIRST, _SECOND, MOST_SHORT_STEPS = 40, 41, 60
# The lengths of short texts, of which the first shows what a further token adds: all steps behind those that are traced
# must do the same. The others are for modules that fill short texts up.
_SHORT: Final = (ITERATIONS - 1, 8, 16, 32)
# A number is that of all steps, and does not depend on the step, if this many of a function's calls have it.
_USUAL: Final = 0.75
# A tensor that is used at least so often was made before the loop: a projection, the embedded text.
_OFTEN: Final = 20
# Each iteration uses positions at most this far from the last ones, and tensors made at most this many calls ago.
# An iteration of a real module makes 5 to 60 calls.
_POSITIONS, _CALLS = 20, 200
# After a step that does something else, this many further lengths are tried, since the answer may show it only later.
_AFTER: Final = 8
# The limit of processor time for recording the calls of one text.
_SECONDS: Final = 5.0
# The functions that return the same numbers: truncated backpropagation detaches its state every few steps.
_SAME: Final = frozenset(
    {Tensor.detach, Tensor.detach_, Tensor.contiguous, Tensor.clone, torch.clone, Tensor.requires_grad_, Tensor.cpu,
     Tensor.cuda}
)  # fmt: skip

_SAME_STEPS: Final = "Compute the same in every step of the loop, or use nn.RNN, nn.LSTM or nn.GRU."
_TEXTS: Final = {1: "a text", 3: "three texts"}
# Sentences for the user about what was not compared; empty if all was.
Notes = tuple[str, ...]
# How often each kind of call was made.
_Calls = Counter[Hashable]
# For each function, how often each number occurs at each place of its arguments; and for each place, whether nearly all
# calls have the same number.
_Numbers = dict[Hashable, list[Counter[Hashable]]]
_Usual = dict[Hashable, tuple[bool, ...]]


def refuse_loop_with_unequal_steps(
    module: nn.Module,
    limits: Limits,
    loop: str,
    inputs_of: Callable[[Sizes], tuple[Tensor, ...]],
    agree: Callable[[Sizes], bool] | None,
    *,
    one_text: bool,
    sizes_near_conditions: Sequence[Sizes] = (),
) -> Notes:
    """Refuse a module whose loop over the steps of a text computes something else in one of the first 3,000 steps than
    in the others. Return a note on the steps that were not checked, or an empty tuple if all were.

    The check runs a batch of one text and, unless `one_text`, a batch of three.

    Args:
        module: in eval mode, on the CPU; it is copied.
        limits: the limits of the program's sizes.
        loop: the description of the loop's line, for the error.
        inputs_of: a function that makes random inputs of some sizes, as the module takes them.
        agree: a function that returns whether the module and the exported program give the same answer at some sizes.
            It is asked where a step makes other calls of torch functions than the steps before it. If `agree` is None,
            a module with such a step is refused.
        one_text: whether the batch size is always 1.
        sizes_near_conditions: sizes near each condition on a size in forward, where it may do something else.

    Raises:
        ExportError: a step computes something else.
    """
    log_step("Comparing the steps of the module's loop")
    looked_at: list[int] = []
    for rows in (1,) if one_text else (1, 3):
        if not all(is_within_limits(limits, Sizes(rows, tokens)) for tokens in (_FIRST, MOST_SHORT_STEPS)):
            break
        calls = _CallCounter(module, lambda tokens, rows=rows: inputs_of(Sizes(rows, tokens)))  # type: ignore[misc]
        most = limits.max_tokens or MOST_STEPS
        longest = min(MOST_STEPS, most, int(_SECONDS / calls.seconds_per_token))
        if (
            tokens := calls.find_shortest_text_with_other_calls(
                longest, [size.tokens for size in sizes_near_conditions]
            )
        ) is not None:
            raise ExportError(
                f"In the module's loop over the steps of a text, {loop}, one of the steps for {_TEXTS[rows]} of "
                f"{tokens} tokens calls another function, or passes another number, than the steps for shorter texts.",
                _SAME_STEPS,
            )
        if not calls.adds_same_calls_with_each_token(MOST_SHORT_STEPS):
            if agree is None:
                raise ExportError(_write_unchecked_steps_note(loop, 0)[0], _SAME_STEPS)
            looked_at.append(0)
            continue
        if limits.max_tokens is None or longest < most:
            looked_at.append(longest)
        if longest <= MOST_SHORT_STEPS or calls.adds_same_calls_with_each_token(longest):
            continue
        alike, other = MOST_SHORT_STEPS, longest
        while other - alike > 1:
            middle = (alike + other) // 2
            alike, other = (middle, other) if calls.adds_same_calls_with_each_token(middle) else (alike, middle)
        for tokens in range(other, min(other + _AFTER, longest) + 1):
            if agree is None or not agree(Sizes(rows, tokens)):
                raise ExportError(
                    f"The module's loop over the steps of a text, {loop}, computes something else for {_TEXTS[rows]} "
                    f"of {other} tokens than for shorter texts: for {tokens} tokens, a graph that repeats the first "
                    "steps gives another answer than the module.",
                    _SAME_STEPS,
                )
    return _write_unchecked_steps_note(loop, min(looked_at)) if looked_at else ()


def loops_over_steps(module: nn.Module, inputs_of: Callable[[Sizes], tuple[Tensor, ...]]) -> bool:
    """Return whether a module seems to loop over the steps of a text: it calls more torch functions for a text of 41
    tokens than for one of 40. Return False if the module fails on such a text."""
    logs = [_log_calls(module, inputs_of(Sizes(1, tokens))) for tokens in (_FIRST, _SECOND)]
    shorter, longer = (0 if log is None else log.count_calls_by_kind().total() for log in logs)
    return 0 < shorter < longer


def _write_unchecked_steps_note(loop: str, steps: int) -> Notes:
    """Return a note on a loop, whose line is `loop`: only its first `steps` steps were compared with each other. If
    `steps` is 0, the note says that even the first steps differ, so that only the proof's texts can show a wrong
    step."""
    if steps:
        return (
            f"The steps of the module's loop over a text, {loop}, were compared up to step {steps}. If a later step "
            "computes something else, the proof does not show it.",
        )
    return (
        f"The first {MOST_SHORT_STEPS} steps of the module's loop over a text, {loop}, differ from each other. If a "
        "later step computes something else, only the texts of the proof can show it.",
    )


class _CallCounter:
    """Counts a module's calls of each kind for texts of different lengths."""

    def __init__(self, module: nn.Module, inputs_of: Callable[[int], tuple[Tensor, ...]]) -> None:
        self._module, self._inputs_of = module, inputs_of
        self._logs: dict[int, _CallLog | None] = {}
        started = time.process_time()
        self._first, self._second = self._count_calls_of_text(_FIRST), self._count_calls_of_text(_SECOND)
        self.seconds_per_token = max((time.process_time() - started) / (_FIRST + _SECOND), 1e-6)

    def _log_calls_of_text(self, tokens: int) -> _CallLog | None:
        if tokens not in self._logs:
            self._logs[tokens] = _log_calls(self._module, self._inputs_of(tokens))
        return self._logs[tokens]

    def _count_calls_of_text(self, tokens: int) -> _Calls | None:
        log = self._log_calls_of_text(tokens)
        return None if log is None else log.count_calls_by_kind()

    def find_shortest_text_with_other_calls(self, longest: int, lengths_with_conditions: Iterable[int]) -> int | None:
        """Find the shortest text in which one step calls another torch function, or passes another number, than the
        steps before it. Return the number of tokens of this text, or None if all steps make the same calls.

        Args:
            longest: the most tokens of a text.
            lengths_with_conditions: text lengths at which a condition on a size may change what forward does. Only
                texts between two such lengths are compared with each other.
        """
        logs = [self._log_calls_of_text(tokens) for tokens in (_FIRST, _SECOND, MOST_SHORT_STEPS)]
        if any(log is None for log in logs):
            return None
        usual = _find_places_of_constant_numbers(
            [log.count_numbers_by_argument_position() for log in logs if log is not None]
        )

        def count_calls(tokens: int) -> _Calls | None:
            log = self._log_calls_of_text(tokens)
            return None if log is None else log.count_calls_by_function(usual)

        below = max((tokens for tokens in lengths_with_conditions if tokens <= _FIRST), default=0)
        above = min((tokens for tokens in lengths_with_conditions if tokens > _FIRST), default=longest + 1)
        for short in (*(tokens for tokens in _SHORT if tokens >= below), max(below, _FIRST)):
            first, second = count_calls(short), count_calls(short + 1)
            if first is None or second is None or first == second:
                continue
            added = _subtract_counts(second, first)
            for last in sorted({min(MOST_SHORT_STEPS, above - 1), min(longest, above - 1)}):
                if last > short + 1 and not _adds_same_calls(first, added, last - short, count_calls(last)):
                    alike, other = short + 1, last
                    while other - alike > 1:
                        middle = (alike + other) // 2
                        same = _adds_same_calls(first, added, middle - short, count_calls(middle))
                        alike, other = (middle, other) if same else (alike, middle)
                    return other
            return None
        return None

    def adds_same_calls_with_each_token(self, tokens: int) -> bool:
        """Return whether each token of a text of `tokens` tokens, from the 42nd on, adds the same calls as the 41st
        token does. If the module fails, return True."""
        first, second, found = self._first, self._second, self._count_calls_of_text(tokens)
        if first is None or second is None or found is None:
            return True
        kinds = first.keys() | second.keys() | found.keys()
        return all(found[k] == first[k] + (tokens - _FIRST) * (second[k] - first[k]) for k in kinds)


def _find_places_of_constant_numbers(numbers_by_text: Sequence[_Numbers]) -> _Usual:
    """Find the numbers in the arguments of torch functions that are the same in nearly all calls, such as the axis of
    a sum, and unlike the index of a step. Return for each function a tuple of bools: whether the number at each
    position of its arguments is constant.

    Args:
        numbers_by_text: for texts of several lengths, how often each number occurs at each position.
    """
    usual: _Usual = {}
    for key in set.intersection(*(set(one) for one in numbers_by_text)):
        places = zip(*(one[key] for one in numbers_by_text), strict=True)
        usual[key] = tuple(
            len({next(iter(values.most_common(1)))[0] for values in place}) == 1
            and all(values.most_common(1)[0][1] >= _USUAL * values.total() for values in place)
            for place in places
        )
    return usual


def _subtract_counts(more: _Calls, fewer: _Calls) -> dict[Hashable, int]:
    """Return the difference of two counts of calls, `more` minus `fewer`, for each kind of call where it is not 0."""
    apart = {kind: more[kind] - fewer[kind] for kind in more.keys() | fewer.keys()}
    return {kind: number for kind, number in apart.items() if number}


def _adds_same_calls(
    shorter_calls: _Calls, calls_per_token: Mapping[Hashable, int], most_times: int, longer_calls: _Calls | None
) -> bool:
    """Return whether a longer text makes the calls of a shorter text plus a multiple of the calls for one token.

    Args:
        shorter_calls: the calls of the shorter text, counted by kind.
        calls_per_token: how many calls of each kind one token adds.
        most_times: the largest multiple; the module may skip tokens, so it may be smaller.
        longer_calls: the calls of the longer text. None, for a module that fails on this text, returns True.
    """
    if longer_calls is None:
        return True
    more = _subtract_counts(longer_calls, shorter_calls)
    times = {number / calls_per_token[kind] if kind in calls_per_token else -1 for kind, number in more.items()}
    return not more or (more.keys() == calls_per_token.keys() and len(times) == 1 and 0 <= min(times) <= most_times)


def _log_calls(module: nn.Module, inputs: tuple[Tensor, ...]) -> _CallLog | None:
    """Run a module on these inputs, and log the torch functions that it calls. Return None if the module fails."""
    log = _CallLog()
    mode = _OperatorLogger(log) if any(isinstance(one, torch.jit.ScriptModule) for one in module.modules()) else None
    try:
        with use_python_originals_of_scripted_functions(module), mode or _FunctionLogger(log):
            log.keep_only_calls_that_reach_answer(compute_answer(copy_without_comparison(module), inputs))
    # A user's module may raise anything.
    except Exception:
        return None
    return log


class _FunctionLogger(FunctionMode):
    """A torch function mode that logs every call of a torch function."""

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
    """A torch dispatch mode that logs every operator that runs. In scripted layers, only operators are visible."""

    def __init__(self, log: _CallLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._log.record_function_call(func, (*args, *(kwargs or {}).items()), result)
        return result


class _CallLog:
    """The logged calls with their arguments, and for each tensor the index of the call that made it."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any]] = []
        self._needed: list[tuple[Any, Any]] = []
        # The last call that made a tensor, by the tensor's id; tensors are kept, so that no id is used twice.
        self._made: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._kept: list[Tensor] = []

    def record_equal_tensor(self, tensor: Tensor, as_before: Tensor) -> None:
        """Record that a tensor has the same numbers as the tensor `as_before`. From now on, `tensor` counts as the
        result of the call that made `as_before`."""
        self._set_call_index(tensor, self._find_call_index(as_before))

    def record_function_call(self, func: Any, arguments: Iterable[Any], result: Any) -> None:
        """Record a call with its arguments and result."""
        self._calls.append((func, [self._make_comparable_argument(value) for value in arguments]))
        for value in list_tensors_in(result):
            self._set_call_index(value, len(self._calls) - 1)

    def _set_call_index(self, tensor: Tensor, place: int) -> None:
        if id(tensor) not in self._made:
            self._kept.append(tensor)
        self._made[id(tensor)] = place

    def _find_call_index(self, tensor: Tensor) -> int:
        """Return the index of the call that made a tensor, or a negative number for a weight or an input, which no call
        made."""
        if id(tensor) in self._made:
            return self._made[id(tensor)]
        if id(tensor) not in self._given:
            self._kept.append(tensor)
        return -1 - self._given.setdefault(id(tensor), len(self._given))

    def _make_comparable_argument(self, value: Any) -> Any:
        """Return the argument of a call in a form that can be compared and hashed. A tensor becomes the index of the
        call that made it."""
        if isinstance(value, Tensor):
            return _CallIndex(self._find_call_index(value))
        if isinstance(value, list | tuple):
            return tuple(self._make_comparable_argument(one) for one in value)
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
            return tuple(
                (self._make_comparable_argument(key), self._make_comparable_argument(one)) for key, one in value.items()
            )
        return repr(value) if isinstance(value, torch.dtype | torch.device) else type(value)

    def keep_only_calls_that_reach_answer(self, answer: Any) -> None:
        """Drop the logged calls on whose results the module's answer does not depend, such as those for a print."""
        kept = {self._made[id(one)] for one in list_tensors_in(answer) if self._made.get(id(one), -1) >= 0}
        if kept:
            # An operator of a dispatch mode has its overload in its name: `add_.Tensor`.
            names = [str(getattr(func, "__name__", func)).split(".")[0] for func, _ in self._calls]
            kept |= {call for call, name in enumerate(names) if writes_into_first_argument(name)}
            left = list(kept)
            while left:
                found = {
                    place
                    for place in _list_calls_whose_results_are_arguments(
                        self._calls[left.pop()][1], include_long_lists=True
                    )
                    if place >= 0
                }
                found -= kept
                kept |= found
                left += found
        self._needed = [self._calls[call] for call in sorted(kept)] if kept else self._calls
        self._made, self._given, self._kept = {}, {}, []

    def count_numbers_by_argument_position(self) -> _Numbers:
        """Return, for each torch function, a list with a counter for each position of a number in its arguments: how
        often each number occurs there."""
        found: _Numbers = {}
        for func, arguments in self._needed:
            numbers: list[Hashable] = []
            key = (func, _split_off_numbers(arguments, numbers))
            for place, number in zip(found.setdefault(key, [Counter() for _ in numbers]), numbers, strict=True):
                place[number] += 1
        return found

    def count_calls_by_function(self, constant_places: _Usual) -> _Calls:
        """Return how often each torch function is called.

        Args:
            constant_places: for each function, whether the number at each position of its arguments is the same in
                nearly all calls. Calls with different numbers at such a position are counted separately.
        """
        found: _Calls = Counter()
        for func, arguments in self._needed:
            numbers: list[Hashable] = []
            key = (func, _split_off_numbers(arguments, numbers))
            same = constant_places.get(key, (False,) * len(numbers))
            found[key, tuple(number if one else None for number, one in zip(numbers, same, strict=True))] += 1
        return found

    def count_calls_by_kind(self) -> _Calls:
        """Return how often calls of each kind occur: the same function with the same kinds of arguments.

        Two tensors are of the same kind if they were made equally many calls ago; a tensor that many calls use is a
        kind of its own. The kind of an integer is its difference from the integer in the previous such call: 1 for the
        index of a step.
        """
        uses = Counter(
            place for _, arguments in self._calls for place in _list_calls_whose_results_are_arguments(arguments)
        )
        often = {place: i for i, place in enumerate(sorted(p for p, n in uses.items() if n >= _OFTEN))}
        before: dict[Hashable, list[int]] = {}
        found: _Calls = Counter()
        for call, (func, arguments) in enumerate(self._calls):
            numbers: list[int] = []
            kind = (func, _classify_argument(arguments, call, often, numbers))
            last = before.get(kind, numbers)
            before[kind] = numbers
            found[
                kind,
                tuple(_replace_large_distance_by_far(n - b, _POSITIONS) for n, b in zip(numbers, last, strict=True)),
            ] += 1
        return found


class _CallIndex(int):
    """The index of the call that made a tensor."""


def _split_off_numbers(argument: Any, numbers: list[Hashable]) -> Hashable:
    """Append the numbers in an argument to the list `numbers`, and return the argument with their types in their
    places. A list of numbers is appended as one tuple. Tensors, and lists of tensors, are replaced by `Tensor`."""
    if isinstance(argument, _CallIndex):
        return Tensor
    if isinstance(argument, bytes | int | float | complex) and not isinstance(argument, bool):
        numbers.append(argument)
        return type(argument).__name__
    if isinstance(argument, list | tuple):
        if argument and all(isinstance(one, _CallIndex) for one in argument):
            return Tensor
        if argument and all(isinstance(one, int | float) and not isinstance(one, _CallIndex) for one in argument):
            numbers.append(tuple(argument))
            return tuple
        return tuple(_split_off_numbers(one, numbers) for one in argument)
    return argument  # type: ignore[no-any-return]


def _replace_large_distance_by_far(apart: int, most: int) -> Hashable:
    """Return the distance `apart` between two calls or positions, or "far" if it exceeds `most`. So two iterations of a
    loop compare as equal even if they are not equally far from the start of the text."""
    return apart if abs(apart) <= most else "far"


def _classify_argument(
    argument: Any, call_index: int, numbers_of_often_used_calls: dict[int, int], found_integers: list[int]
) -> Hashable:
    """Return the kind of a call's argument, which is equal for the arguments of two iterations that are alike: a tensor
    is given by how many calls ago it was made, an integer by its type only.

    Args:
        argument: the argument; tensors are given by the indices of the calls that made them.
        call_index: the index of the call.
        numbers_of_often_used_calls: a number for each call whose result many calls use.
        found_integers: the list to which the argument's integers are appended.
    """
    if isinstance(argument, _CallIndex):
        if argument < 0:
            return ("given", int(argument))
        return (
            ("often", numbers_of_often_used_calls[argument])
            if argument in numbers_of_often_used_calls
            else ("made", _replace_large_distance_by_far(call_index - argument, _CALLS))
        )
    if isinstance(argument, list | tuple):
        if len(argument) > _OFTEN and all(isinstance(one, _CallIndex) for one in argument):
            # The results of all iterations: a longer text has more.
            return (
                "many",
                frozenset(_replace_large_distance_by_far(b - a, _CALLS) for a, b in itertools.pairwise(argument)),
            )
        return tuple(
            _classify_argument(one, call_index, numbers_of_often_used_calls, found_integers) for one in argument
        )
    if isinstance(argument, int) and not isinstance(argument, bool):
        found_integers.append(argument)
        return int
    return (type(argument), argument) if isinstance(argument, float | complex) else argument


def _list_calls_whose_results_are_arguments(arguments: Any, *, include_long_lists: bool = False) -> Iterable[int]:
    """Yield the indices of the calls whose results are among the arguments of a call. Lists of more than 20 results,
    one of each iteration of a loop, are skipped unless `include_long_lists`."""
    for argument in arguments:
        if isinstance(argument, _CallIndex):
            yield argument
        elif isinstance(argument, tuple) and (include_long_lists or len(argument) <= _OFTEN):
            yield from _list_calls_whose_results_are_arguments(argument, include_long_lists=include_long_lists)
