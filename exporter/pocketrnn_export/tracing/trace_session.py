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

from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line
from pocketrnn_export.module_runs.attribute_changes import restore_attributes
from pocketrnn_export.module_runs.quiet_cpu_run import silence_stdout_of_thread
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
from pocketrnn_export.tracing.operators_right_for_every_size import KEEP, SIZE
from pocketrnn_export.tracing.sizes.number_methods_called_with_sizes import refuse_not_implemented_truth
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Condition, Sizes, rename_size_symbols_to_ours
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import Branch
from pocketrnn_export.tracing.used_and_left_out_rules import is_rule_left_out, record_rule_use

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeclinedRule:
    """The reason why a rule does not apply to a call."""

    reason: str


def decline_call(reason: str) -> DeclinedRule:
    """Return the object that a rule returns to decline a call. The call then goes to the next rule, and `reason` to the
    debug log."""
    return DeclinedRule(reason)


@dataclass(frozen=True)
class Call:
    """A call of a torch function: the function and its arguments."""

    func: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name under which rules are registered for the function: `view` for `Tensor.view`, and `data.__get__` for
        `x.data`."""
        name = getattr(self.func, "__name__", "")
        return f"{getattr(self.func.__self__, '__name__', '')}.__get__" if name == "__get__" else name

    @property
    def call_with_positional_input(self) -> Call:
        """The same call, with an `input` or `tensor` that was passed by keyword as the first positional argument:
        `torch.narrow(input=x, dim=0, ...)` becomes `torch.narrow(x, dim=0, ...)`."""
        name = next((name for name in ("input", "tensor") if name in self.kwargs), None)
        if self.args or name is None:
            return self
        others = {key: value for key, value in self.kwargs.items() if key != name}
        return Call(self.func, (self.kwargs[name],), others)

    def run(self) -> Any:
        """Call the function with the arguments, and return its result."""
        return self.func(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Rule:
    """A rule that rewrites calls of some torch functions.

    Attributes:
        names: the names of the functions.
        rewrite: a function that takes (session, *args, **kwargs) of the call; returns the new result, or
            `decline_call(reason)`.
        decline: a function that takes a session; returns the reason why the rule declines every call now, or "" if it
            may apply.
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
        return decline_call(why_not) if why_not else self.rewrite(session, *args, **kwargs)


def decline_never(_: TraceSession) -> str:
    """Return "": a rule with this `decline` may apply in every trace."""
    return ""


def decline_for_torchscript(session: TraceSession) -> str:
    """Return the reason to decline in a trace for TorchScript, where a size is a tensor. Return "" in a trace for
    `torch.export`, where a size is a `torch.SymInt`: there the rule may apply."""
    return "the trace is for TorchScript" if session.scripted else ""


def decline_outside_loop(session: TraceSession) -> str:
    """Return the reason to decline while forward runs outside of loops over a size, such as
    `for t in range(x.size(1))`. Return "" while an iteration of such a loop runs: there the rule may apply."""
    return "" if session.running else "no loop over a size runs"


def decline_unless_sizes_are_chosen(session: TraceSession) -> str:
    """Return the reason to decline in a plain trace, where conditions on sizes are answered for the example. Return ""
    in a trace that answers them for chosen sizes (a `Branch`): there the rule may apply."""
    return "conditions on sizes are answered for the example" if session.branch is None else ""


def rule(*names: str, decline: Callable[[TraceSession], str] = decline_never) -> Callable[[Callable[..., Any]], Rule]:
    """Return a decorator that makes a function the rule for the torch functions with these names.

    Args:
        names: the names, such as "median".
        decline: a function that takes the session, and returns why the rule does not apply in this session, or "" if it
            may apply.
    """
    return lambda rewrite: Rule(names, rewrite, decline)


@dataclass(frozen=True)
class Topic:
    """Rules about one topic, such as slicing. The first rule of a topic that does not decline a call of a torch
    function computes the call's result. If all decline, the call goes to the next topic.

    Attributes:
        rules: the rules, in the order in which they are asked.
        around: a function that takes (session, call, proceed), runs for every call, and returns the call's result.
            `proceed(call)` asks the rules of this topic, and then the later topics.
        after: a function that takes (session, call, result) of a call that no rule of this topic rewrote, and records
            facts about the result.
    """

    rules: Sequence[Rule] = ()
    around: Callable[[TraceSession, Call, Callable[[Call], Any]], Any] = lambda _, call, proceed: proceed(call)
    after: Callable[[TraceSession, Call, Any], None] = lambda _session, _call, _result: None

    @functools.cached_property
    def rules_by_function_name(self) -> dict[str, list[Rule]]:
        """A dict from the name of each torch function to the rules of the topic for this function."""
        found: dict[str, list[Rule]] = {}
        for each in self.rules:
            for name in each.names:
                found.setdefault(name, []).append(each)
        return found


@dataclass(frozen=True)
class Loop:
    """A loop of forward whose number of iterations is a size of the input, such as `for t in range(x.size(1))`.

    Attributes:
        count: the number of iterations, a torch.SymInt.
        where: the line of the loop in the module's code, formatted for error messages.
    """

    count: Any
    where: str


class _ThreadState(threading.local):
    session: TraceSession | None = None


_here: Final = _ThreadState()
# Patches change the whole process, though they act only in the tracing thread.
_LOCK: Final = threading.RLock()


def find_current_session() -> TraceSession | None:
    """Return the session of the trace that this thread runs, or None if this thread does not trace."""
    return _here.session


def find_current_export_session() -> TraceSession | None:
    """Return the session of the trace for `torch.export` that this thread runs. Return None if this thread does not
    trace, or traces for TorchScript."""
    return None if _here.session is None or _here.session.scripted else _here.session


def is_torchscript_trace() -> bool:
    """Return whether this thread now traces for TorchScript, where a size is a tensor."""
    session = _here.session
    return session is not None and session.scripted


class TraceSession:
    """A context in which a module's forward is traced. Rules rewrite calls of torch functions, and the session records
    facts about tensors and the conditions on sizes that forward tests.

    Args:
        module: a copy to trace; its `forward` is wrapped, and restored afterwards.
        topics: the groups of rules, in the order in which they are asked.
        patches: functions that take the session and return a context manager, which is active during the trace.
        log: the record of the conditions on sizes that forward tests.
        scripted: whether the trace is for TorchScript, where a size is a tensor.
        branches: chosen sizes for which forward is run, one after the other. The graph computes all their answers.
            Empty to run forward once, for the example.
        choices: one condition on sizes for each branch except the first. The graph returns the answer of the branch
            whose condition is true, or else that of the first branch.
        cut_counted: whether `pad_packed_sequence` cuts the tensor to the longest length if forward computes the lengths
            itself, such as by `(x != 0).sum(1)`.

    Attributes:
        facts: the known facts about tensors.
        loops: the loops over a size that forward ran.
        running: the index in `loops` and the iteration of each loop that runs now, the innermost loop last.
        branch: the branch that is traced now; None for the example.
        widths: the number of tokens of each text that forward takes, which equals the longest of its lengths; empty if
            the width is not known.
        names: our name of each size symbol of torch: `batch`, `tokens` or `second`; None before forward is called.
        example: the sizes of the example.
        environment: the `ShapeEnv` of the trace, torch's registry of symbolic sizes.
        told: the lines of the module with an assert that the graph leaves out, for which a warning was already logged.
        reasons: how often rules declined a call, by the name of the torch function and the reason.
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

    def make_condition_on_sizes(self, relation: Any) -> Condition | None:
        """Return a relation between torch's size symbols as a condition on the batch size and the numbers of tokens.
        Return None if the relation has other symbols."""
        renamed = rename_size_symbols_to_ours(relation, self.names or {})
        return None if renamed is None else Condition(renamed)

    def express_size_by_batch_and_tokens(self, size: Any) -> Any:
        """Return a symbolic size as a SymPy expression of the batch size and the numbers of tokens. Return None for a
        plain number, or for a size with other symbols."""
        if not isinstance(size, torch.SymInt):
            return None
        return rename_size_symbols_to_ours(read_size_expression(size), self.names or {})

    def answer_call_by_rules_or_torch(self, call: Call, topic_index: int = 0) -> Any:
        """Return the result of a call of a torch function: from the first rule that does not decline the call, or else
        from PyTorch. Only the topics from the index `topic_index` on are asked."""
        if topic_index == len(self.topics):
            return call.run()
        topic = self.topics[topic_index]
        return topic.around(self, call, lambda changed: self._apply_rules_of_topic(topic, changed, topic_index))

    def _apply_rules_of_topic(self, topic: Topic, call: Call, topic_index: int) -> Any:
        """Return the result of a call from the first rule of a topic that does not decline the call. If all rules
        decline, ask the topics after `topic_index`, the index of this topic, and then PyTorch."""
        named = call.call_with_positional_input
        for each in topic.rules_by_function_name.get(call.name, ()):
            if is_rule_left_out(each.title):
                continue
            with self._modes[topic_index + 1] if topic_index + 1 < len(self.topics) else contextlib.nullcontext():
                result = each(self, *named.args, **named.kwargs)
            if not isinstance(result, DeclinedRule):
                record_rule_use(each.title)
                return result
            self.reasons[call.name, result.reason] += 1
        result = self.answer_call_by_rules_or_torch(call, topic_index + 1)
        topic.after(self, named, result)
        return result

    def _wrap_forward(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with the arguments of forward that runs it once for each branch."""

        @functools.wraps(forward)
        def call_forward(*args: Any, **kwargs: Any) -> Any:
            return self._run_forward_on_each_branch(forward, args, kwargs)

        return call_forward

    def _run_forward_on_each_branch(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run forward once for each branch, the chosen sizes for which conditions are answered, and return one answer.
        In the graph, `torch.where` selects the answer of the branch whose condition is true."""
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not self.scripted:
            self.names, self.environment = _name_size_symbols(inputs), find_shape_environment_of_tensors(inputs)
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
            self._record_lengths_and_widths_of_inputs(
                [value for value in (*fitted, *kwargs.values()) if isinstance(value, Tensor)]
            )
            with (
                restore_attributes(self.module),
                remove_export_buffer_hooks(),
                silence_stdout_of_thread(),
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

    def _record_lengths_and_widths_of_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Record which of forward's inputs are lengths, and the padded width of each text. The width equals the largest
        of the text's lengths. An input [batch] after the texts contains lengths."""
        texts = inputs[:2] if takes_two_texts(inputs) else inputs[:1]
        known = not self.scripted and bool(inputs) and inputs[0].dim() >= 2
        self.widths = tuple(text.shape[1] for text in texts) if known else ()
        for i, value in enumerate(inputs[len(texts) :][: len(texts)]):
            width = self.widths[i] if known else None
            self.facts.record_facts(value, whole=True, lengths="given" if value.dim() == 1 else "", width=width)

    def _attach_iteration_results(self, answer: Any) -> Any:
        """Return forward's answer, to which the results of all loop iterations are attached by an operator, so that
        torch.export does not remove their computation from the graph."""
        made = self.facts.tensors_made_by_loop_iterations if self.loops else []
        if not made:
            return answer
        if isinstance(answer, (tuple, list)) and answer and isinstance(answer[0], Tensor):
            return type(answer)([KEEP(answer[0], made), *answer[1:]])
        return KEEP(answer, made) if isinstance(answer, Tensor) else answer


class _TopicMode(FunctionMode):
    """A torch function mode that sends every call to the topics of a session, from the topic with the index `level`
    on."""

    def __init__(self, session: TraceSession, level: int) -> None:
        super().__init__()
        self.session, self.level = session, level

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.session.log.refuse_long_trace(lambda: describe_user_line(sys._getframe(2)))
        return self.session.answer_call_by_rules_or_torch(Call(func, args, kwargs or {}), self.level)


def record_longest_is_full_width(lengths: Tensor) -> Tensor:
    """Return `lengths`, after recording in the current trace, if there is one, that the largest of them equals the
    width of the padded batch."""
    if (session := find_current_session()) is not None:
        session.facts.record_facts(lengths, whole=True)
    return lengths


def find_shape_environment_of_tensors(values: Iterable[Any]) -> Any:
    """Return the `ShapeEnv`, torch's registry of symbolic sizes, of the first tensor that has a symbolic size. Return
    None if no value has one."""
    for value in values:
        if isinstance(value, Tensor):
            for size in value.shape:
                if isinstance(size, torch.SymInt):
                    return find_shape_environment(size)
    return None


def _name_size_symbols(inputs: Sequence[Tensor]) -> dict[str, str]:
    """Return a dict from each of torch's size symbols in the inputs to our name for the size: `batch` for first axes,
    and `tokens` or `second` for the second axis of the first or the second text."""
    names: dict[str, str] = {}
    second = inputs[1:2] if takes_two_texts(inputs) else []
    for axis, name, values in ((0, "batch", inputs), (1, "tokens", inputs[:1]), (1, "second", second)):
        for value in values:
            size = value.shape[axis] if value.dim() > axis else None
            if isinstance(size, torch.SymInt):
                names[read_size_symbol(size)] = name
    return names


def takes_lengths(inputs: Sequence[Tensor]) -> bool:
    """Return whether the inputs of a module contain lengths of texts, int64 [batch], after the first input."""
    return any(value.dim() == 1 for value in inputs[1:])


def takes_two_texts(inputs: Sequence[Tensor]) -> bool:
    """Return whether the first two inputs of a module are texts, int64 [batch, sequence] each. Lengths may follow."""
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
        lengths: how the numbers follow from the lengths that forward is given: `given` (the lengths themselves),
            `negated`, `falling` or `rising` (sorted), `falling order` (the indices that sort them in falling order),
            `longest`, or `batch sizes` (of a packed sequence, in which the trace stores the lengths); empty for other
            numbers.
        whole: whether the tensor holds lengths, the longest of which equals the padded width.
        width: the padded width, which equals the longest of these lengths; for `batch sizes`, the number of rows, which
            equals the largest of them; None if it is not known.
        packed_by: for `batch sizes`, the tensor of lengths by which the sequence was packed.
        iteration: the index of the loop and the number of the iteration that made the tensor; None outside of loops.
        zero_past_end: whether the tensor is zero past the end of each row, as the output of a layer on packed data.
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
        """Return the known facts about a tensor. For a tensor without known facts, or another value, return an empty
        `Fact`."""
        known = self._known.get(id(value))
        return _NOTHING if known is None or known[0] is not value else known[1]

    def record_facts(self, value: Any, **known: Any) -> None:
        """Set some facts about a tensor, such as `lengths="given"`, and keep its other facts. Ignore a value that is
        not a tensor."""
        if isinstance(value, Tensor):
            self._known[id(value)] = (value, replace(self.find_fact(value), **known))

    def forget_tensor_and_its_views(self, value: Any) -> None:
        """Remove the facts about a tensor into which forward wrote, and about all tensors that share its memory. Ignore
        a value that is not a tensor."""
        if not isinstance(value, Tensor):
            return
        whole = find_base_tensor(value)
        shown = [key for key, (tensor, _) in self._known.items() if find_base_tensor(tensor) is whole]
        for key in (id(value), *shown):
            self._known.pop(key, None)

    @property
    def tensors_made_by_loop_iterations(self) -> list[Tensor]:
        """The tensors that were computed in iterations of loops over a size."""
        return [tensor for tensor, fact in self._known.values() if fact.iteration is not None]
