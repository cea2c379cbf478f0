"""The operators of torch that the owner's own module runs, beside those of the copy that is traced.

A copy is another object: `self is MODEL`, `SETTINGS[self.fc]` and a `WeakKeyDictionary` by layers find nothing for it.
A scripted function is traced as the function of Python that was scripted, where `torch.jit.is_scripting()` is false and
helpers are today's; a function with a cache as it computes today. Where that shows on rare texts only, the operators
show it: both programs are noted, before any rule of a trace, and have to be the same.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.cases import Case
from pocketrnn_export.comparing.float64_operators import owners_threads
from pocketrnn_export.intake.as_given import AsGiven, brought_to_float32, precision_of
from pocketrnn_export.intake.user_frames import users_line
from pocketrnn_export.module_runs.cpu_run import in_eval_mode, quietly_on_cpu
from pocketrnn_export.module_runs.function_caches import entries_replaced
from pocketrnn_export.module_runs.operations import Operations, Program, first_difference, plain_program
from pocketrnn_export.module_runs.untouched import random_state_kept, untouched
from pocketrnn_export.torch_internals import methods_replaced, scripted_from
from pocketrnn_export.tracing.python_semantics.caches import without_cache
from pocketrnn_export.tracing.python_semantics.users_globals import globals_of

__all__ = ["refuse_other_operators"]

_TEXT: Final = "text"


class _Noted(Operations):  # type: ignore[no-untyped-call]
    """The operators, each with the line of the owner's code that calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _add(self, step: Any) -> int:
        self.lines.append(users_line(sys._getframe()))
        return super()._add(step)


class _Ran:
    """A program, with the line of each of its operators."""

    def __init__(self, program: Program, lines: Sequence[str]) -> None:
        self.program, self.lines = program, lines

    def plain(self) -> _Ran:
        """The same as Python and TorchScript both write it."""
        program, places = plain_program(self.program)
        return _Ran(program, [self.lines[place] for place in places])

    def name(self, place: int) -> str:
        """The operator at a place."""
        return self.program[place][0].partition(".")[0] if place < len(self.program) else "no further operator"

    def line(self, place: int) -> str:
        """The line that calls it, or the last one."""
        return self.lines[min(place, len(self.lines) - 1)] if self.lines else "a line that is not known"


def refuse_other_operators(given: AsGiven, cases: Iterable[Case]) -> None:
    """Refuse a module of which a copy runs other operators than itself, or which does so where scripted functions and
    functions with a cache run as the functions of Python that are traced in their place.

    Args:
        given: the owner's module.
        cases: the inputs.

    Raises:
        ExportError: it does; it names the first operator that differs.
    """
    for case in cases:
        inputs = [torch.from_numpy(case.tokens), *([torch.from_numpy(case.lengths)] if given.takes_lengths else [])]
        with untouched(given.module), owners_threads():
            own = _ran(given, given.module, inputs)
        if own is None:
            return
        _compare(
            own, _ran(given, given.copied(given.module), inputs),
            "A copy of the module, which is what is exported, runs other operators than the module itself",
            "Look nothing up by the identity of the module or of a layer (`self is`, id(self), a dict or a "
            "WeakKeyDictionary with layers as keys, a method under functools.lru_cache), nor by the number of threads: "
            "let the module hold it as an attribute.",
        )  # fmt: skip
        for replaced, what, advice in (
            (_scripted, "as the function of Python that torch.jit.script was given, which is what is traced,",
             "Take torch.jit.script off that function, and see that the module answers as it should; or let the "
             "function do the same in both: no torch.jit.is_scripting(), and no helper that was defined anew since."),
            (_uncached, "without its cache, as it is traced,",
             "Let a function with a cache depend on what it is given, and on nothing that may change; or hold what it "
             "gave as an attribute of the module."),
        ):  # fmt: skip
            copied = given.copied(given.module)
            with replaced(copied) as is_any:
                if is_any:
                    _compare(
                        own.plain(), (_ran(given, copied, inputs) or own).plain(),
                        f"A function of the module's file runs other operators {what} than as the module calls it",
                        advice,
                    )  # fmt: skip


def _compare(own: _Ran, other: _Ran | None, problem: str, advice: str) -> None:
    place = None if other is None else first_difference(own.program, other.program)
    if other is None or place is None:
        return
    names = own.name(place), other.name(place)
    apart = f"{names[0]} is given other numbers" if len(set(names)) == 1 else f"{names[1]} in place of {names[0]}"
    raise ExportError(f"{problem}: {apart}, {own.line(place)}.", advice)


def _ran(given: AsGiven, module: nn.Module, inputs: Sequence[Tensor]) -> _Ran | None:
    """The operators that a module runs on inputs; None where it fails, which is reported elsewhere."""
    noted = _Noted()
    inputs = [value.clone() for value in inputs]
    noted.label(_TEXT, *inputs)
    # Whatever a user's module raises.
    with contextlib.suppress(Exception, SystemExit), torch.no_grad(), random_state_kept(), quietly_on_cpu():
        in_eval_mode(module)
        if precision_of(module) is not None or any(t.device.type != "cpu" for t in module.parameters()):
            brought_to_float32(module, given.kept)
        with torch.jit.optimized_execution(False), noted:  # type: ignore[attr-defined]
            answer = given.called(module)(*inputs)
        steps = noted.steps_of(answer)
        lines = [noted.lines[step] for step in noted.needed_by(steps, _TEXT)]
        return _Ran(noted.program_of(steps, _TEXT), lines)
    return None


def _scripted(module: nn.Module) -> contextlib.AbstractContextManager[bool]:
    return _in_place_of(module, scripted_from)


def _uncached(module: nn.Module) -> contextlib.AbstractContextManager[bool]:
    return _in_place_of(module, without_cache)


@contextlib.contextmanager
def _in_place_of(module: nn.Module, function_of: Callable[[Any], Any]) -> Any:
    """While the block runs, the owner's files and classes have other functions; gives whether there are any."""
    entries = [
        (names, name, function)
        for names in globals_of(module)
        for name, value in names.items()
        if (function := function_of(value)) is not None
    ]
    methods = {
        (kind, name): function
        for kind in {kind for layer in module.modules() for kind in type(layer).__mro__}
        for name, value in list(vars(kind).items())
        if (function := function_of(value)) is not None
    }
    with entries_replaced(entries), methods_replaced(methods):
        yield bool(entries or methods)
