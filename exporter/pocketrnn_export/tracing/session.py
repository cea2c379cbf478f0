"""One trace of a module: the surroundings of its forward meanwhile, and the facts found on the way.

A `TraceSession` wraps forward once and enters one `TorchFunctionMode`. Every function of torch that forward calls goes
through the topics of the session in their order (loops, lengths and their like, device, sizes), and in each through its
rules. A `Rule` is the names of functions, when it may hold, and how it rewrites such a call: it gives the result, or
declines and says why. The calls in a rule's rewrite go to the topics after its own, so that no rule meets itself.

All that is changed outside of the mode (names of the user's files, methods of sizes, layers of torch) are patches: on
one ExitStack, under one lock, in force for the tracing thread only. Other threads see no session.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_frames import users_line
from pocketrnn_export.module_runs.cpu_run import silent
from pocketrnn_export.module_runs.kept_attributes import attributes_kept
from pocketrnn_export.torch_internals import (
    FunctionMode,
    buffer_hooks_aside,
    environment_of,
    expression_of,
    hint_of,
    methods_replaced,
    symbol_of,
)
from pocketrnn_export.tracing.facts import Facts
from pocketrnn_export.tracing.sizes.conditions import USUAL, Condition, Sizes, renamed_sizes
from pocketrnn_export.tracing.sizes.not_implemented import no_truth_of_not_implemented
from pocketrnn_export.tracing.sizes.questions import Branch, TraceLog
from pocketrnn_export.tracing.trace_operators import KEEP, SIZE
from pocketrnn_export.tracing.used_rules import is_left_out, note_use

__all__ = [
    "Call",
    "Declined",
    "Loop",
    "Rule",
    "Topic",
    "TraceSession",
    "always",
    "current",
    "declined",
    "environment_in",
    "exporting",
    "given_whole",
    "in_a_loop",
    "of_two_texts",
    "on_a_branch",
    "rule",
    "scripting",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declined:
    """Why a rule does not hold for a call."""

    reason: str


def declined(reason: str) -> Declined:
    """A rule's result where it does not hold: the reason."""
    return Declined(reason)


@dataclass(frozen=True)
class Call:
    """A call of a function of torch: the function, the name by which rules know it, and what it is given."""

    func: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`view` of `Tensor.view`; `data.__get__` of the attribute `x.data`."""
        name = getattr(self.func, "__name__", "")
        return f"{getattr(self.func.__self__, '__name__', '')}.__get__" if name == "__get__" else name

    @property
    def input_first(self) -> Call:
        """The same with its input in the first place also where it is named, as in `torch.narrow(input=x, ...)`."""
        name = next((name for name in ("input", "tensor") if name in self.kwargs), None)
        if self.args or name is None:
            return self
        others = {key: value for key, value in self.kwargs.items() if key != name}
        return Call(self.func, (self.kwargs[name],), others)

    def run(self) -> Any:
        """The result of the function."""
        return self.func(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Rule:
    """How calls of some functions are rewritten.

    Attributes:
        names: of the functions.
        rewrite: of (session, *args, **kwargs) of the call: what it gives in the call's place, or `declined(reason)`.
        when: of a session: why the rule holds for no call of it at present; empty where it may hold.

    Example:
        >>> narrow(session, x, 1, 0, 5)
        Declined(reason='no size of the input is in it')
    """

    names: tuple[str, ...]
    rewrite: Callable[..., Any]
    when: Callable[[TraceSession], str]

    @functools.cached_property
    def title(self) -> str:
        """Its file and function, as `order_statistics.median`."""
        return f"{str(self.rewrite.__module__).rpartition('.')[2]}.{self.rewrite.__name__}"

    def __call__(self, session: TraceSession, *args: Any, **kwargs: Any) -> Any:
        why_not = self.when(session)
        return declined(why_not) if why_not else self.rewrite(session, *args, **kwargs)


def always(_: TraceSession) -> str:
    """Rules that hold in every trace."""
    return ""


def exporting(session: TraceSession) -> str:
    """Rules for `torch.export`, which sees a size as a `torch.SymInt`."""
    return "in a trace for TorchScript" if session.scripted else ""


def in_a_loop(session: TraceSession) -> str:
    """Rules for what an iteration of a loop over a size does."""
    return "" if session.running else "no loop over a size runs"


def on_a_branch(session: TraceSession) -> str:
    """Rules that make a program general, for a trace on chosen sizes."""
    return "the trace is that of the example" if session.branch is None else ""


def rule(*names: str, when: Callable[[TraceSession], str] = always) -> Callable[[Callable[..., Any]], Rule]:
    """Make a function the rule for functions of these names.

    Example:
        >>> @rule("logdet", when=exporting)
        ... def logdet(session, x):
        ...     return torch.linalg.slogdet(x)[1] if x.dim() == 2 else declined("a batch of matrices")
    """
    return lambda rewrite: Rule(names, rewrite, when)


def _as_it_is(_: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    return proceed(call)


def _nothing(_: TraceSession, _call: Call, _result: Any) -> None:
    """Nothing is noted of a result."""


@dataclass(frozen=True)
class Topic:
    """Rules about one thing.

    Attributes:
        rules: in their order; the first that does not decline rewrites the call.
        around: of (session, call, proceed), runs for every call: `proceed(call)` gives what the rules, or else the
            topics after this one, make of it.
        after: notes what is known of the result of a call that no rule of this topic rewrote.
    """

    rules: Sequence[Rule] = ()
    around: Callable[[TraceSession, Call, Callable[[Call], Any]], Any] = _as_it_is
    after: Callable[[TraceSession, Call, Any], None] = _nothing

    @functools.cached_property
    def by_name(self) -> dict[str, list[Rule]]:
        """The rules by the names of functions."""
        found: dict[str, list[Rule]] = {}
        for each in self.rules:
            for name in each.names:
                found.setdefault(name, []).append(each)
        return found


@dataclass(frozen=True)
class Loop:
    """A loop over a size of the input.

    Attributes:
        count: how many iterations it has, a torch.SymInt.
        where: its line in the module's code, as one shows it in an error.
    """

    count: Any
    where: str


class _Here(threading.local):
    session: TraceSession | None = None


_here: Final = _Here()
# Patches are of the process, though only the tracing thread is answered otherwise.
_LOCK: Final = threading.RLock()


def current() -> TraceSession | None:
    """The session of this thread; None where it traces nothing."""
    return _here.session


def scripting() -> bool:
    """Whether this thread traces for TorchScript, where a size is a tensor."""
    session = _here.session
    return session is not None and session.scripted


class TraceSession:
    """While it is entered, forward of a module is traced by rules.

    Args:
        module: a copy to be traced; its `forward` is wrapped, and given back after.
        topics: the rules, in order.
        patches: what else is changed meanwhile, each given the session.
        log: takes note of what forward asks about sizes.
        scripted: whether it is traced for TorchScript, where a size is a tensor.
        branches: one branch to trace in general; several, of which each but the first is taken where its choice holds;
            or none, to trace as torch.export does.
        choices: what chooses each branch but the first.
        cut_counted: whether what is unpacked is cut to the longest of the lengths that forward counts itself.

    Attributes:
        facts: what is known of tensors.
        loops: the loops over a size that ran; `running`: the loop and iteration that run now, the innermost last.
        branch: the one that is traced now.
        widths: the number of tokens of each text that forward takes, which is the longest of its lengths; empty where
            that is not known.
        names: which symbols are the batch, the tokens and those of a second text; None before forward is called.
        example: the sizes of the example.
        environment: what the trace knows of all its sizes.
        told: lines of the module whose asserts are known to be dropped.
        reasons: how often a rule declined, by the name of the function and why.

    Example:
        >>> with TraceSession(module, topics, log=log) as session:
        ...     program = torch.export.export(module, example, dynamic_shapes=axes, strict=False)
    """

    def __init__(
        self,
        module: nn.Module,
        topics: Sequence[Topic] = (),
        patches: Sequence[Callable[[TraceSession], contextlib.AbstractContextManager[Any]]] = (),
        *,
        log: TraceLog | None = None,
        scripted: bool = False,
        branches: Sequence[Branch] = (),
        choices: Sequence[Condition] = (),
        cut_counted: bool = True,
    ) -> None:
        self.module, self.topics, self.patches = module, topics, patches
        self.log = TraceLog() if log is None else log
        self.scripted, self.branches, self.choices, self.cut_counted = scripted, branches, choices, cut_counted
        self.facts = Facts()
        self.loops: list[Loop] = []
        self.running: list[tuple[int, int]] = []
        self.branch: Branch | None = None
        self.widths: tuple[Any, ...] = ()
        self.names: dict[str, str] | None = None
        self.example = USUAL
        self.environment: Any = None
        self.told: set[str] = set()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self._modes = [_Mode(self, level) for level in range(len(topics))]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_LOCK)
            stack.callback(setattr, _here, "session", _here.session)
            _here.session = self
            stack.enter_context(methods_replaced({(self.module, "forward"): self._wrapped(self.module.forward)}))
            for patch in self.patches:
                stack.enter_context(patch(self))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for (name, reason), times in self.reasons.items():
            _log.debug("Not rewritten: %s, %s (%d times)", name, reason, times)
        self._stack.__exit__(kind, error, trace)

    def condition(self, relation: Any) -> Condition | None:
        """A relation of torch's as one of batch and tokens; None where it depends on something else, or on none."""
        renamed = renamed_sizes(relation, self.names or {})
        return None if renamed is None else Condition(renamed)

    def renamed(self, size: Any) -> Any:
        """A size as an expression of batch and tokens; None where it is none, or depends on something else."""
        return renamed_sizes(expression_of(size), self.names or {}) if isinstance(size, torch.SymInt) else None

    def dispatch(self, call: Call, level: int = 0) -> Any:
        """The result of a call after the topics from a level on."""
        if level == len(self.topics):
            return call.run()
        topic = self.topics[level]
        return topic.around(self, call, lambda changed: self._by_rules(topic, changed, level))

    def _by_rules(self, topic: Topic, call: Call, level: int) -> Any:
        named = call.input_first
        for each in topic.by_name.get(call.name, ()):
            if is_left_out(each.title):
                continue
            with self._modes[level + 1] if level + 1 < len(self.topics) else contextlib.nullcontext():
                result = each(self, *named.args, **named.kwargs)
            if not isinstance(result, Declined):
                note_use(each.title)
                return result
            self.reasons[call.name, result.reason] += 1
        result = self.dispatch(call, level + 1)
        topic.after(self, named, result)
        return result

    def _wrapped(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return self._forward(forward, args, kwargs)

        return wrapped

    def _forward(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Forward on each branch, and of their answers the one whose choice holds."""
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not self.scripted:
            self.names, self.environment = _names_of_sizes(inputs), environment_in(inputs)
            if inputs and inputs[0].dim() > 1:
                self.example = Sizes(*(hint_of(n) if isinstance(n, torch.SymInt) else n for n in inputs[0].shape[:2]))
        answers = []
        for branch in self.branches or (None,):
            self.branch = branch
            fitted = args
            if branch is not None and (branch.least is not None or branch.most is not None):
                fitted = branch.fitted(args)
            self._take([value for value in (*fitted, *kwargs.values()) if isinstance(value, Tensor)])
            with attributes_kept(self.module), buffer_hooks_aside(), silent(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with self._modes[0], no_truth_of_not_implemented(self.log):
                    answers.append(self._with_iterations(forward(*fitted, **kwargs)))
        answer = answers[0]
        if self.choices:
            batch, tokens = SIZE(inputs[0], 0), SIZE(inputs[0], 1)
            for condition, other in zip(self.choices, answers[1:], strict=True):
                answer = torch.where(condition.over(batch, tokens), other, answer)
        return answer

    def _take(self, inputs: Sequence[Tensor]) -> None:
        """Note what is known of the inputs: after the texts, those of one axis are their lengths."""
        texts = inputs[:2] if of_two_texts(inputs) else inputs[:1]
        known = not self.scripted and bool(inputs) and inputs[0].dim() >= 2
        self.widths = tuple(text.shape[1] for text in texts) if known else ()
        for i, value in enumerate(inputs[len(texts) :][: len(texts)]):
            width = self.widths[i] if known else None
            self.facts.note(value, whole=True, lengths="given" if value.dim() == 1 else "", width=width)

    def _with_iterations(self, answer: Any) -> Any:
        """The answer of forward, with all that iterations made kept in the graph, so that they look alike."""
        made = self.facts.made_in_loops if self.loops else []
        if not made:
            return answer
        if isinstance(answer, (tuple, list)) and answer and isinstance(answer[0], Tensor):
            return type(answer)([KEEP(answer[0], made), *answer[1:]])
        return KEEP(answer, made) if isinstance(answer, Tensor) else answer


class _Mode(FunctionMode):
    """Gives every function of torch that is called to the topics of a session from a level on."""

    def __init__(self, session: TraceSession, level: int) -> None:
        super().__init__()
        self.session, self.level = session, level

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.session.log.check_time(lambda: users_line(sys._getframe(2)))
        return self.session.dispatch(Call(func, args, kwargs or {}), self.level)


def given_whole(lengths: Tensor) -> Tensor:
    """While tracing, take `lengths` for lengths of which the longest is the whole width; gives them back."""
    if (session := current()) is not None:
        session.facts.note(lengths, whole=True)
    return lengths


def environment_in(values: Iterable[Any]) -> Any:
    """The environment with the sizes of the trace of some tensors; None where none has a size of a trace."""
    for value in values:
        if isinstance(value, Tensor):
            for size in value.shape:
                if isinstance(size, torch.SymInt):
                    return environment_of(size)
    return None


def _names_of_sizes(inputs: Sequence[Tensor]) -> dict[str, str]:
    """Which symbols are the batch and the tokens: every input's first axis is the batch, the tokens' second theirs."""
    names: dict[str, str] = {}
    second = inputs[1:2] if of_two_texts(inputs) else []
    for axis, name, values in ((0, "batch", inputs), (1, "tokens", inputs[:1]), (1, "second", second)):
        for value in values:
            size = value.shape[axis] if value.dim() > axis else None
            if isinstance(size, torch.SymInt):
                names[symbol_of(size)] = name
    return names


def of_two_texts(inputs: Sequence[Tensor]) -> bool:
    """Whether a module takes two texts: the ids of both, int64 [batch, sequence], and after them perhaps their lengths.

    Example:
        >>> of_two_texts([torch.zeros(3, 7, dtype=torch.int64), torch.zeros(3, 5, dtype=torch.int64)])
        True
    """
    return len(inputs) > 1 and inputs[1].dim() == 2 and not inputs[1].is_floating_point()
