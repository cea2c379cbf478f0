"""The session of one trace: the rules and patches that are active while forward runs, and the facts that the trace
found.

A `TraceSession` wraps forward once and enters one `TorchFunctionMode`. Every torch function that forward calls goes
through the topics of the session in order (loops, lengths and the like, device, sizes), and in each through its rules.
A `Rule` has the names of functions, a condition, and a function that rewrites such a call: it returns the result, or
declines with a reason. The calls in a rule's rewrite go to the topics after its own, so a rule never meets itself.

All changes outside of the mode (names of the user's files, methods of sizes, layers of torch) are patches: on one
ExitStack, under one lock, active in the tracing thread only. Other threads have no session.
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
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_frames import describe_user_line
from pocketrnn_export.module_runs.attribute_changes import restore_attributes
from pocketrnn_export.module_runs.quiet_cpu_run import silence_output
from pocketrnn_export.torch_internals import (
    FunctionMode,
    find_base_tensor,
    find_shape_environment,
    read_size_expression,
    read_size_hint,
    read_size_symbol,
    remove_export_buffer_hooks,
    replace_methods,
)
from pocketrnn_export.tracing.sizes.not_implemented_truth import refuse_not_implemented_truth
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Condition, Sizes, rename_size_symbols
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog
from pocketrnn_export.tracing.sizes.trace_branches import Branch
from pocketrnn_export.tracing.trace_operators import KEEP, SIZE
from pocketrnn_export.tracing.used_and_left_out_rules import is_rule_left_out, record_rule_use

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeclinedRule:
    """The reason why a rule does not apply to a call."""

    reason: str


def declined(reason: str) -> DeclinedRule:
    """Return the result by which a rule declines a call, with the reason."""
    return DeclinedRule(reason)


@dataclass(frozen=True)
class Call:
    """A call of a torch function: the function and its arguments."""

    func: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The function's name in the rules: `view` for `Tensor.view`, and `data.__get__` for `x.data`."""
        name = getattr(self.func, "__name__", "")
        return f"{getattr(self.func.__self__, '__name__', '')}.__get__" if name == "__get__" else name

    @property
    def call_with_input_first(self) -> Call:
        """The same call with a keyword input as the first argument: `torch.narrow(input=x, ...)`."""
        name = next((name for name in ("input", "tensor") if name in self.kwargs), None)
        if self.args or name is None:
            return self
        others = {key: value for key, value in self.kwargs.items() if key != name}
        return Call(self.func, (self.kwargs[name],), others)

    def run(self) -> Any:
        """Call the function with the arguments."""
        return self.func(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Rule:
    """A rule that rewrites calls of some torch functions.

    Attributes:
        names: the names of the functions.
        rewrite: takes (session, *args, **kwargs) of the call; returns the new result, or `declined(reason)`.
        decline: takes a session; returns the reason why the rule declines every call now, or "" if it may apply.
    """

    names: tuple[str, ...]
    rewrite: Callable[..., Any]
    decline: Callable[[TraceSession], str]

    @functools.cached_property
    def title(self) -> str:
        """The rule's file and function name, such as `type_promotion.rewrite_sum_of_bools`."""
        return f"{str(self.rewrite.__module__).rpartition('.')[2]}.{self.rewrite.__name__}"

    def __call__(self, session: TraceSession, *args: Any, **kwargs: Any) -> Any:
        why_not = self.decline(session)
        return declined(why_not) if why_not else self.rewrite(session, *args, **kwargs)


def decline_never(_: TraceSession) -> str:
    """Return "", for a rule that may apply in every trace."""
    return ""


def decline_for_torchscript(session: TraceSession) -> str:
    """Return "" in a trace for `torch.export`, where a size is a `torch.SymInt` and a rule may apply. In a trace for
    TorchScript, return the reason why the rule declines."""
    return "the trace is for TorchScript" if session.scripted else ""


def decline_outside_loop(session: TraceSession) -> str:
    """Return "" while an iteration of a loop over a size runs, so that a rule may apply. Outside of such loops, return
    the reason why the rule declines."""
    return "" if session.running else "no loop over a size runs"


def decline_outside_branch(session: TraceSession) -> str:
    """Return "" in a trace for chosen sizes, in which a rule may apply. In a trace that takes the branches of the
    example, return the reason why the rule declines."""
    return "the trace is that of the example" if session.branch is None else ""


def rule(*names: str, decline: Callable[[TraceSession], str] = decline_never) -> Callable[[Callable[..., Any]], Rule]:
    """Make the decorated function the rule for the torch functions with these names. `decline` returns why the rule
    does not apply in a session, or "" if it does."""
    return lambda rewrite: Rule(names, rewrite, decline)


@dataclass(frozen=True)
class Topic:
    """Rules about one topic, such as slicing. The first rule of a topic that does not decline a call of torch rewrites
    it; if all decline, the call is passed to the next topic.

    Attributes:
        rules: the rules, in order; the first that does not decline rewrites the call.
        around: takes (session, call, proceed) and runs for every call: `proceed(call)` returns the result of the rules,
            or else of the topics after this one.
        after: notes facts about the result of a call that no rule of this topic rewrote.
    """

    rules: Sequence[Rule] = ()
    around: Callable[[TraceSession, Call, Callable[[Call], Any]], Any] = lambda _, call, proceed: proceed(call)
    after: Callable[[TraceSession, Call, Any], None] = lambda _session, _call, _result: None

    @functools.cached_property
    def rules_by_function_name(self) -> dict[str, list[Rule]]:
        """The rules of the topic, in a dict by the names of the torch functions."""
        found: dict[str, list[Rule]] = {}
        for each in self.rules:
            for name in each.names:
                found.setdefault(name, []).append(each)
        return found


@dataclass(frozen=True)
class Loop:
    """A loop of forward over a size of the input.

    Attributes:
        count: the number of its iterations, a torch.SymInt.
        where: its line in the module's code, as an error shows it.
    """

    count: Any
    where: str


class _ThreadState(threading.local):
    session: TraceSession | None = None


_here: Final = _ThreadState()
# Patches change the whole process, though they act only in the tracing thread.
_LOCK: Final = threading.RLock()


def find_current_session() -> TraceSession | None:
    """Return the session of this thread, or None if this thread is not tracing."""
    return _here.session


def find_current_export_session() -> TraceSession | None:
    """Return the session of this thread's trace for torch.export, or None if there is no such trace."""
    return None if _here.session is None or _here.session.scripted else _here.session


def is_torchscript_trace() -> bool:
    """Return whether this thread traces for TorchScript, where a size is a tensor."""
    session = _here.session
    return session is not None and session.scripted


class TraceSession:
    """A context in which a module's forward is traced: rules rewrite calls of torch, and facts and conditions are
    recorded.

    Args:
        module: a copy to trace; its `forward` is wrapped, and restored afterwards.
        topics: the rules, in order.
        patches: functions from the session to further context managers.
        log: records forward's conditions on sizes.
        scripted: whether the trace is for TorchScript, where a size is a tensor.
        branches: the branches to compute, of which the first is the usual one; or none, to trace as torch.export does.
            Each further branch gives the answer if its condition in `choices` holds.
        choices: the conditions of all branches but the first, in their order.
        cut_counted: whether unpacked tensors are cut to the longest of the lengths that forward counts itself.

    Attributes:
        facts: the known facts about tensors.
        loops: the loops over a size that ran; `running`: the loop and iteration that run now, the innermost last.
        branch: the branch that is traced now.
        widths: the number of tokens of each text that forward takes, which equals the longest of its lengths; empty if
            that is not known.
        names: the symbols of the batch size and of each text's number of tokens; None before forward is called.
        example: the sizes of the example.
        environment: torch's environment of all sizes in the trace.
        told: the lines of the module whose dropped asserts were already logged.
        reasons: how often a rule declined, by the name of the function and the reason.
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
        self._modes = [_TopicMode(self, level) for level in range(len(topics))]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_LOCK)
            stack.callback(setattr, _here, "session", _here.session)
            _here.session = self
            stack.enter_context(replace_methods({(self.module, "forward"): self._wrap_forward(self.module.forward)}))
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

    def make_condition(self, relation: Any) -> Condition | None:
        """Return a relation of torch as a condition on batch and tokens, or None if it has other symbols."""
        renamed = rename_size_symbols(relation, self.names or {})
        return None if renamed is None else Condition(renamed)

    def express_size_by_batch_and_tokens(self, size: Any) -> Any:
        """Return a size as an expression of batch and tokens, or None if it has other symbols."""
        if not isinstance(size, torch.SymInt):
            return None
        return rename_size_symbols(read_size_expression(size), self.names or {})

    def dispatch(self, call: Call, topic_index: int = 0) -> Any:
        """Return the result of a call of torch in the trace. The first rule that does not decline the call computes it;
        if all decline, PyTorch does. Only the topics, the groups of rules, from `topic_index` on are asked."""
        if topic_index == len(self.topics):
            return call.run()
        topic = self.topics[topic_index]
        return topic.around(self, call, lambda changed: self._apply_rules(topic, changed, topic_index))

    def _apply_rules(self, topic: Topic, call: Call, topic_index: int) -> Any:
        """Return the result of a call of torch from the first rule of a topic, a group of rules, that does not decline
        it. If all decline, ask the later topics."""
        named = call.call_with_input_first
        for each in topic.rules_by_function_name.get(call.name, ()):
            if is_rule_left_out(each.title):
                continue
            with self._modes[topic_index + 1] if topic_index + 1 < len(self.topics) else contextlib.nullcontext():
                result = each(self, *named.args, **named.kwargs)
            if not isinstance(result, DeclinedRule):
                record_rule_use(each.title)
                return result
            self.reasons[call.name, result.reason] += 1
        result = self.dispatch(call, topic_index + 1)
        topic.after(self, named, result)
        return result

    def _wrap_forward(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def call_forward(*args: Any, **kwargs: Any) -> Any:
            return self._run_forward_on_branches(forward, args, kwargs)

        return call_forward

    def _run_forward_on_branches(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run forward once for the sizes of each branch, and return one answer: in the graph, a `torch.where` selects
        the answer of the branch whose condition is true."""
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not self.scripted:
            self.names, self.environment = _name_size_symbols(inputs), find_size_environment(inputs)
            if inputs and inputs[0].dim() > 1:
                self.example = Sizes(
                    *(read_size_hint(n) if isinstance(n, torch.SymInt) else n for n in inputs[0].shape[:2])
                )
        answers = []
        for branch in self.branches or (None,):
            self.branch = branch
            fitted = args
            if branch is not None and (branch.least is not None or branch.most is not None):
                fitted = branch.fit_inputs_to_token_range(args)
            self._record_input_facts([value for value in (*fitted, *kwargs.values()) if isinstance(value, Tensor)])
            with (
                restore_attributes(self.module),
                remove_export_buffer_hooks(),
                silence_output(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                with self._modes[0], refuse_not_implemented_truth(self.log):
                    answers.append(self._attach_iteration_results(forward(*fitted, **kwargs)))
        answer = answers[0]
        if self.choices:
            batch, tokens = SIZE(inputs[0], 0), SIZE(inputs[0], 1)
            for condition, other in zip(self.choices, answers[1:], strict=True):
                answer = torch.where(condition.evaluate_on_sizes(batch, tokens), other, answer)
        return answer

    def _record_input_facts(self, inputs: Sequence[Tensor]) -> None:
        """Record which of forward's inputs contain lengths, and the padded width of each text, which equals its largest
        length. An input with one axis after the texts contains lengths."""
        texts = inputs[:2] if takes_two_texts(inputs) else inputs[:1]
        known = not self.scripted and bool(inputs) and inputs[0].dim() >= 2
        self.widths = tuple(text.shape[1] for text in texts) if known else ()
        for i, value in enumerate(inputs[len(texts) :][: len(texts)]):
            width = self.widths[i] if known else None
            self.facts.note(value, whole=True, lengths="given" if value.dim() == 1 else "", width=width)

    def _attach_iteration_results(self, answer: Any) -> Any:
        """Return forward's answer, with the results of all iterations attached, so that the graph keeps them."""
        made = self.facts.tensors_of_iterations if self.loops else []
        if not made:
            return answer
        if isinstance(answer, (tuple, list)) and answer and isinstance(answer[0], Tensor):
            return type(answer)([KEEP(answer[0], made), *answer[1:]])
        return KEEP(answer, made) if isinstance(answer, Tensor) else answer


class _TopicMode(FunctionMode):
    """A torch function mode that passes every call to the topics of a session, beginning with the topic at `level`."""

    def __init__(self, session: TraceSession, level: int) -> None:
        super().__init__()
        self.session, self.level = session, level

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.session.log.refuse_long_trace(lambda: describe_user_line(sys._getframe(2)))
        return self.session.dispatch(Call(func, args, kwargs or {}), self.level)


def mark_full_width(lengths: Tensor) -> Tensor:
    """Record in a trace that the largest of `lengths` equals the width of the padded batch. Return `lengths`."""
    if (session := find_current_session()) is not None:
        session.facts.note(lengths, whole=True)
    return lengths


def find_size_environment(values: Iterable[Any]) -> Any:
    """Return torch's environment of symbolic sizes from some tensors, or None if no tensor has a symbolic size."""
    for value in values:
        if isinstance(value, Tensor):
            for size in value.shape:
                if isinstance(size, torch.SymInt):
                    return find_shape_environment(size)
    return None


def _name_size_symbols(inputs: Sequence[Tensor]) -> dict[str, str]:
    """Return a dict from the name of each of torch's size symbols to `batch` for first axes, and to `tokens` or
    `second` for the second axes of the texts."""
    names: dict[str, str] = {}
    second = inputs[1:2] if takes_two_texts(inputs) else []
    for axis, name, values in ((0, "batch", inputs), (1, "tokens", inputs[:1]), (1, "second", second)):
        for value in values:
            size = value.shape[axis] if value.dim() > axis else None
            if isinstance(size, torch.SymInt):
                names[read_size_symbol(size)] = name
    return names


def takes_lengths(inputs: Sequence[Tensor]) -> bool:
    """Return whether a module's inputs contain the lengths of texts, int64 [batch]."""
    return any(value.dim() == 1 for value in inputs[1:])


def takes_two_texts(inputs: Sequence[Tensor]) -> bool:
    """Return whether a module's inputs are two texts, int64 [batch, sequence] each. Lengths may follow them."""
    return len(inputs) > 1 and inputs[1].dim() == 2 and not inputs[1].is_floating_point()


# --- Facts about tensors ---
# The known facts about the tensors of a trace, in one table that all rules read and write.
#
# A tensor is looked up by its id, and the table keeps its tensors alive, so that no other tensor gets the same id.


@dataclass(frozen=True)
class Fact:
    """The known facts about a tensor: how its numbers follow from lengths, which loop iteration made it, and whether it
    is zero past the end of each row.

    Attributes:
        lengths: how the numbers follow from the given lengths: `given`, `negated`, `falling`, `rising`,
            `falling order` (the positions that sort them so), `longest`, `batch sizes` (of a packed sequence, where the
            lengths stand for them); empty for other numbers.
        whole: whether it holds lengths of which the longest equals the whole width.
        width: the width that equals the longest of these lengths, or the rows that equal the largest of batch sizes;
            None if that is not known.
        packed_by: the lengths that stand for these batch sizes.
        iteration: the loop and the iteration that made it; None outside of loops.
        zero_past_end: whether it is zero past the end of each row: the output of a packed layer.
    """

    lengths: str = ""
    whole: bool = False
    width: Any = None
    packed_by: Any = None
    iteration: tuple[int, int] | None = None
    zero_past_end: bool = False


_NOTHING: Final = Fact()


class Facts:
    """The known facts about all tensors of one trace."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, Fact]] = {}

    def find_fact(self, value: Any) -> Fact:
        """Return the known facts about a tensor. Other values have no facts."""
        known = self._known.get(id(value))
        return _NOTHING if known is None or known[0] is not value else known[1]

    def note(self, value: Any, **known: Any) -> None:
        """Set some facts about a tensor, and keep the others. Ignore a value that is not a tensor."""
        if isinstance(value, Tensor):
            self._known[id(value)] = (value, replace(self.find_fact(value), **known))

    def forget(self, value: Any) -> None:
        """Remove the facts about a tensor into which forward wrote, and about all tensors that share its memory."""
        if not isinstance(value, Tensor):
            return
        whole = find_base_tensor(value)
        shown = [key for key, (tensor, _) in self._known.items() if find_base_tensor(tensor) is whole]
        for key in (id(value), *shown):
            self._known.pop(key, None)

    @property
    def tensors_of_iterations(self) -> list[Tensor]:
        """The tensors that iterations of loops made."""
        return [tensor for tensor, fact in self._known.values() if fact.iteration is not None]
