"""Find out which traced program is right for which sizes.

The questions about sizes in a trace (see `tracing/python_semantics/size_condition_answers.py`) divide all sizes into
regions. Within a region the module does the same; in another it may do something else. So the module itself is run on
both sides of every question, and the traced programs are compared with its answers there:

- a program that agrees everywhere is exported;
- if PyTorch itself fails beyond a number of tokens or rows, that number is a stated limit;
- all other modules are refused, with the line of the module's code.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np
import sympy

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import (
    AnswerJudge,
    Logits,
    ProgramAttempt,
    describe_sizes,
)
from pocketrnn_export.tracing.sizes.size_conditions import (
    USUAL,
    Condition,
    Sizes,
    join_by_and,
    join_by_or,
    make_all_sizes,
)
from pocketrnn_export.tracing.sizes.size_question_log import Question, UntraceableError
from pocketrnn_export.tracing.sizes.size_regions import (
    FollowedRun,
    Regions,
    divide_sizes_into_regions,
    find_sizes_where_condition_changes,
    list_boundary_sizes,
)
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import TracePlan

Traced = TypeVar("Traced")
# A part of the sizes with the same way through forward: its region, and the answers to questions of operations.
Part = tuple[int, tuple[bool, ...]]

# An operator by which forward chooses and a number that it is given, or None; or a weight that forward reads.
Choice = tuple[str, float | None]

# The processor time after which no further plan is tried.
_SECONDS: Final = 60
# The most tokens of a batch on which the values of a program are compared one by one.
_MOST_COMPARED: Final = 4_096
# The number of traces to try before a module is refused. A trace of a small module takes about a second.
_ATTEMPTS: Final = 8


@dataclass(frozen=True)
class ProgramWithLimits(Generic[Traced]):
    """The program to export.

    Attributes:
        traced: the program.
        limits: the limits of the sizes that the module accepts.
        bounds: sizes around every condition of forward, at which the proof compares the program with the module.
    """

    traced: Traced
    limits: Limits
    bounds: tuple[Sizes, ...]


def find_program_for_all_sizes(
    plain: ProgramAttempt[Traced] | ExportError,
    questions: Sequence[Question],
    follow: Callable[[Sizes], FollowedRun],
    trace: Callable[[TracePlan], ProgramAttempt[Traced]],
    reference: Callable[[Sizes], Logits],
    in_doubles: Callable[[Sizes], Any],
    *,
    batch: int | None = None,
    non_forgetting: AnswerJudge | None = None,
    choices: Callable[[Sizes], frozenset[Choice]] = lambda _: frozenset(),
    computes_values: Callable[[Traced, Sizes, Sizes], bool] = lambda *_: True,
) -> ProgramWithLimits[Traced]:
    """Find a program that agrees with the module for all sizes. Forward may take another branch at some sizes, so
    several traces are tried, each for a region of sizes in which all of forward's conditions have the same results.

    Args:
        plain: the program of an ordinary trace, or the error of this trace.
        questions: the conditions on sizes that forward tested in this trace.
        follow: a function that runs forward for some sizes without making a program, and records the conditions that it
            tests.
        trace: a function that traces the module for the sizes of a plan; may raise anything.
        reference: a function that returns the module's own logits for a batch of some sizes; may raise anything.
        in_doubles: the same function in double precision.
        batch: the batch size of every run, if it is fixed.
        non_forgetting: the judge that compares programs with the module, both with weights by which recurrent layers
            forget nothing; or None.
        choices: a function that returns for some sizes the operators by which forward makes choices, such as
            comparisons and clamps.
        computes_values: a function that takes a program, the sizes for which it was traced, and other sizes; returns
            whether the program computes each value that forward computes at the other sizes.

    Raises:
        ExportError: there is no such program; the message names the condition and the line of the module's code.
    """
    judge = AnswerJudge(reference, in_doubles, batch)
    regions = divide_sizes_into_regions(follow, batch)
    search = _Search(judge, regions, trace, [*questions, *regions.questions], non_forgetting, choices, computes_values)
    if isinstance(plain, ProgramAttempt):
        search.attempts.append(plain)
        search.periods |= plain.log.periods
    else:
        judge.errors.append(plain)
    found = search.find_program_right_for_all_sizes()
    if found is None:
        raise make_size_refusal_error(search.known, search.attempts, search.answered_cases, judge, batch)
    return ProgramWithLimits(found.traced, judge.find_limits_of_accepted_sizes(search.cases), tuple(search.cases))


class _Search(Generic[Traced]):
    """The search for a program that is right for all sizes. Its arguments are those of `find_program_for_all_sizes`,
    with the regions of sizes and the judge that compares answers."""

    def __init__(
        self,
        judge: AnswerJudge,
        regions: Regions,
        trace: Callable[[TracePlan], ProgramAttempt[Traced]],
        questions: Sequence[Question],
        non_forgetting: AnswerJudge | None,
        choices: Callable[[Sizes], frozenset[Choice]],
        computes_values: Callable[[Traced, Sizes, Sizes], bool],
    ) -> None:
        self.non_forgetting, self.choices, self.computes_values = non_forgetting, choices, computes_values
        self._choices: dict[int, frozenset[Choice] | None] = {}
        self._computed: dict[tuple[int, Sizes], bool] = {}
        self.judge, self.regions, self.trace = judge, regions, trace
        self.known: list[Question] = []
        self.periods: set[int] = set()
        self.attempts: list[ProgramAttempt[Traced]] = []
        self.cases: list[Sizes] = []
        self.started = time.process_time()
        self._part: dict[Sizes, Part] = {}
        self._gone: set[Part] = set()
        self._record_questions(questions)

    @property
    def answered_cases(self) -> list[Sizes]:
        """The sizes to compare at which the module runs without an exception."""
        return [case for case in self.cases if self.judge.is_answered_at(case)]

    def find_program_right_for_all_sizes(self) -> ProgramAttempt[Traced] | None:
        """Return a program that is right for all sizes: one of the traces so far, one for the sizes of another region,
        or several in one graph. Return None if there is no such program."""
        self._update_sizes_to_compare()
        self._refuse_choices_by_batch()
        for attempt in self.attempts:
            if self._is_right_for_cases(attempt, self.answered_cases):
                return attempt
        while (plan := self._choose_next_plan()) is not None:
            while (tried := self._trace_plan(plan)) is not None:
                if self._is_right_for_cases(tried, self.answered_cases):
                    return tried
                if plan.pads_from_zero or not tried.log.pads:
                    break
                plan = replace(plan, pads_from_zero=True)
        together = self._plan_graph_of_several_programs()
        tried = None if together is None else self._trace_plan(together)
        return tried if tried is not None and self._is_right_for_cases(tried, self.answered_cases) else None

    def _choose_next_plan(self) -> TracePlan | None:
        """Return a plan for a trace at sizes for which no program so far is right. Return None if there are no such
        sizes, or after too many attempts or too much time."""
        if len(self._gone) >= _ATTEMPTS or time.process_time() - self.started > _SECONDS:
            return None
        parts = self._divide_cases_by_region()
        for part, cases in parts.items():
            right = any(self._is_right_for_cases(attempt, cases) for _, attempt in self._list_attempts_with_plans())
            if part not in self._gone and not right:
                self._gone.add(part)
                sizes = self._choose_typical_sizes(part, cases)
                return TracePlan(sizes, most=1 if sizes.tokens == 1 else None)
        return None

    def _divide_cases_by_region(self) -> dict[Part, list[Sizes]]:
        """Divide the sizes at which the module runs into parts. Within a part, all conditions of forward and of the
        PyTorch operations in it have the same results.

        The first part contains the longest text, whose program is most often right for other parts too. The second part
        contains a text of ordinary length, if that is in another part.
        """
        answered = self.answered_cases
        longest = max(answered, key=lambda case: (case.batch >= 2, case.tokens), default=None)
        first = [longest, Sizes(self.regions.batch or USUAL.batch, USUAL.tokens)]
        parts: dict[Part, list[Sizes]] = {}
        for case in (*(case for case in first if case in answered), *answered):
            parts.setdefault(self._find_part_of_case(case), []).append(case)
        return parts

    def _find_part_of_case(self, case: Sizes) -> Part:
        """Return the part of all sizes to which the sizes `case` belong: their region, and the results of the
        conditions that PyTorch operations test."""
        if case not in self._part:
            asked = tuple(question.holds(case) for question in self.known if not question.branch)
            self._part[case] = (self.regions.find_region(case), asked)
        return self._part[case]

    def _choose_typical_sizes(self, part: Part, cases: list[Sizes]) -> Sizes:
        """Return the sizes with which to trace a program for a part of all sizes: typical sizes of its region, if they
        belong to the part, or else the middle one of `cases`, the part's sizes to compare."""
        typical = self.regions.choose_typical_sizes(part[0])
        several = [case for case in cases if case.batch > 1 and case.tokens > 1] or cases
        return typical if self._find_part_of_case(typical) == part else several[len(several) // 2]

    def _list_attempts_with_plans(self) -> list[tuple[TracePlan, ProgramAttempt[Traced]]]:
        """Return the attempts that were traced for chosen sizes, each with its plan."""
        return [(attempt.plan, attempt) for attempt in self.attempts if attempt.plan is not None]

    def _trace_plan(self, plan: TracePlan) -> ProgramAttempt[Traced] | None:
        """Trace a program for the sizes of a plan, and record the conditions that forward tested in this trace. Return
        the program, or None if the trace fails."""
        try:
            attempt = self.trace(plan)
        # A user's module may raise anything on sizes of another branch, and some programs have no form in ONNX.
        except Exception as error:
            self.judge.errors.append(error)
            return None
        self.attempts.append(attempt)
        self.periods |= attempt.log.periods
        self._record_questions(attempt.log.questions)
        self._update_sizes_to_compare()
        return attempt

    def _record_questions(self, questions: Sequence[Question]) -> None:
        """Add the conditions on sizes that are not known yet. They divide the sizes into more parts."""
        for question in questions:
            if all(question.condition != known.condition for known in self.known):
                self.known.append(question)
                self._part.clear()

    def _update_sizes_to_compare(self) -> None:
        """List the sizes again at which programs are compared, by the conditions that are known now."""
        self.cases = list_boundary_sizes(self.known, self.regions, self.periods)

    def _is_right_for_cases(self, attempt: ProgramAttempt[Traced], cases: Iterable[Sizes]) -> bool:
        """Return whether a program passes all comparisons with the module at these sizes."""
        return all(
            self._makes_same_choices_as_traced(attempt, case)
            and self.judge.agrees_with_module(attempt, case)
            # With normal weights, a recurrent layer hides an error that lies a few dozen steps back.
            and (
                self.non_forgetting is None
                or not self.non_forgetting.differs_from_module_without_forgetting(attempt, case)
            )
            and self._computes_all_values_of_forward(attempt, case)
            for case in cases
        )

    def _makes_same_choices_as_traced(self, attempt: ProgramAttempt[Traced], case: Sizes) -> bool:
        """Return whether forward makes choices, such as comparisons and clamps, by the same operators at the sizes
        `case` as at the sizes for which a program was traced. If not, the two may differ only for a rare word or a
        large number."""
        if attempt.plan is not None and attempt.plan.others:
            return True
        traced = self._find_sizes_of_trace(attempt)
        return self._have_regions_same_choices(self.regions.find_region(traced), self.regions.find_region(case))

    def _find_sizes_of_trace(self, attempt: ProgramAttempt[Traced]) -> Sizes:
        """Return the sizes for which a program's trace answered the conditions of forward. The tensors in the trace may
        be larger."""
        usual = Sizes(self.regions.batch or USUAL.batch, USUAL.tokens)
        return usual if attempt.plan is None else attempt.plan.sizes

    def _computes_all_values_of_forward(self, attempt: ProgramAttempt[Traced], case: Sizes) -> bool:
        """Return whether a program computes each value that forward computes at the sizes `case`. Return True for sizes
        in the region for which the program was traced, and for a batch with too many tokens to compare."""
        if (attempt.plan is not None and attempt.plan.others) or case.batch * case.tokens > _MOST_COMPARED:
            return True
        traced = self._find_sizes_of_trace(attempt)
        if self.regions.find_region(traced) == self.regions.find_region(case):
            return True
        if (id(attempt), case) not in self._computed:
            self._computed[id(attempt), case] = self.computes_values(attempt.traced, traced, case)
        return self._computed[id(attempt), case]

    def _have_regions_same_choices(self, one_region: int, other_region: int) -> bool:
        """Return whether forward makes choices, such as comparisons and clamps, by the same operators in two regions of
        sizes. Numbers that equal a size which is fixed in a region, or are next to it, are ignored."""
        if one_region == other_region:
            return True
        lists = [self._list_choice_operators_of_region(region) for region in (one_region, other_region)]
        if lists[0] is None or lists[1] is None:
            return True
        apart = lists[0] ^ lists[1]
        sizes = [self.regions.list_sample_sizes(region) for region in (one_region, other_region)]
        every = [{getattr(size, axis) for size in some} for some in sizes for axis in ("batch", "tokens")]
        fixed = {size + near for some in every if len(some) == 1 for size in some for near in (-1, 0, 1)}
        return all(number in fixed for _, number in apart)

    def _refuse_choices_by_batch(self) -> None:
        """Raise an ExportError if forward makes choices, such as comparisons and clamps, by other operators when only
        the number of texts changes."""
        for one, other in itertools.combinations(self.answered_cases, 2):
            if one.tokens == other.tokens and not self._have_regions_same_choices(
                self.regions.find_region(one), self.regions.find_region(other)
            ):
                raise ExportError(
                    f"Forward compares or clamps other values for {describe_sizes(one)} than for "
                    f"{describe_sizes(other)}, so a text's answer may depend on the number of texts in its batch.",
                    "Do not test the number of texts, x.size(0), in forward: compute the same for any number.",
                )

    def _list_choice_operators_of_region(self, region: int) -> frozenset[Choice] | None:
        """Return the operators by which forward makes choices, such as comparisons and clamps, at all sizes that are
        tried of a region. Return None if forward fails at all of them."""
        if region not in self._choices:
            some = [
                self.choices(sizes)
                for sizes in self.regions.list_sample_sizes(region)
                if self.judge.is_answered_at(sizes)
            ]
            self._choices[region] = frozenset.intersection(*some) if some else None
        return self._choices[region]

    def _plan_graph_of_several_programs(self) -> TracePlan | None:
        """Return a plan for one graph of several programs, each used under a condition on the sizes, which together are
        right for all sizes. Return None if there are no such programs."""
        parts = self._divide_cases_by_region()
        right = [{part for part, cases in parts.items() if self._is_right_for_cases(attempt, cases)}
                 for _, attempt in self._list_attempts_with_plans()]  # fmt: skip
        left, chosen = set(parts), list[tuple[int, set[Part]]]()
        while left:
            best = max(range(len(right)), key=lambda i: len(right[i] & left), default=None)
            if best is None or not right[best] & left or len(chosen) >= TOGETHER:
                return None
            chosen.append((best, right[best] & left))
            left -= right[best]
        plans = [self._list_attempts_with_plans()[i][0] for i, _ in chosen]
        choices = [self._make_condition_to_use_program(wanted, right[i], parts) for i, wanted in chosen[1:]]
        others = [
            self._add_token_range_of_condition_to_plan(plan, choice)
            for plan, choice in zip(plans[1:], choices, strict=True)
        ]
        first = self._add_token_range_of_condition_to_plan(plans[0], join_by_or(choices).negated)
        return replace(first, others=tuple(zip(choices, others, strict=True)))

    def _make_condition_to_use_program(
        self, wanted_parts: set[Part], right_parts: set[Part], parts: Mapping[Part, list[Sizes]]
    ) -> Condition:
        """Return a condition on sizes under which a program is used.

        Args:
            wanted_parts: the parts of all sizes in which the condition must be true.
            right_parts: the parts for which the program is right. In all others of `parts`, the condition must be
                false.
            parts: the sizes to compare, by part.
        """
        which, wrong = self.regions.which, set(parts) - right_parts
        here, there = {part[0] for part in wanted_parts}, {part[0] for part in wrong}
        inside, outside = np.isin(which, list(here - there)), np.isin(which, list(there - here))
        cases = [(case, part in wanted_parts) for part in (*wanted_parts, *wrong) for case in parts[part]]
        for question in self.known:
            for condition in (question.condition, question.condition.negated):
                holds = condition.evaluate_on_all_sizes(self.regions.batch)
                elsewhere = not holds[inside].all() or holds[outside].any()
                if not elsewhere and all(condition.holds(case) == is_wanted for case, is_wanted in cases):
                    return condition
        return join_by_or([self._make_condition_of_part(part) for part in sorted(wanted_parts)])

    def _make_condition_of_part(self, part: Part) -> Condition:
        """Return the condition that is true in one part of all sizes and false in the others."""
        region, asked = part
        questions = [question.condition for question in self.known if not question.branch]
        conditions = (one if answer else one.negated for one, answer in zip(questions, asked, strict=True))
        return join_by_and([self.regions.conditions[region], *conditions])

    def _add_token_range_of_condition_to_plan(self, plan: TracePlan, condition: Condition) -> TracePlan:
        """Return a plan with the range of tokens in which a condition may be true. Return the plan unchanged if the
        condition does not depend on tokens alone."""
        if condition.size_names != {"tokens"}:
            return plan
        every = make_all_sizes(self.regions.batch)
        tokens = every.tokens[condition.evaluate_on_all_sizes(self.regions.batch)]
        least, most = int(tokens.min()), int(tokens.max())
        return replace(plan, least=least if least > 1 else None, most=most if most <= LARGEST // 2 else None)


# --- The error for a module that does not have one right program for all sizes: it names the condition and its line ---

# The most programs in one graph that the sizes choose from.
TOGETHER: Final = 4


def make_size_refusal_error(
    known: Sequence[Question],
    attempts: Sequence[ProgramAttempt[Any]],
    cases: Sequence[Sizes],
    judge: AnswerJudge,
    batch: int | None,
) -> ExportError:
    """Return the error for a module for which no program is right for all sizes. It names a condition of forward that
    is the likely cause: the result at sizes for which programs are wrong is not the usual one.

    Args:
        known: the conditions on sizes that forward tests.
        attempts: the programs that were traced.
        cases: the sizes at which the module runs.
        judge: the object that compares the programs with the module.
        batch: the batch size of every run, if it is fixed.
    """
    usual = Sizes(batch or USUAL.batch, USUAL.tokens)
    branches = {tuple(q.holds(case) for q in known if q.branch) for case in cases}
    # A program that agrees everywhere may choose by other operators than forward, or differ with weights that forget
    # nothing.
    wrong = [
        next((case for case in cases if not judge.agrees_with_module(attempt, case)), None) for attempt in attempts
    ]
    failures = [case for case in wrong if case is not None]
    for attempt, case in zip(attempts, wrong, strict=True):
        if case is not None and (rounding := judge.find_rounding_that_explains_difference(attempt, case)):
            return ExportError(
                f"For {describe_sizes(case)}, the module's answers in float32 and float64 differ by {rounding:.1e}. "
                "With such a difference, no graph can be compared with the module.",
                "Train the module before you export it, and look for weights that make numbers grow from layer to "
                "layer.",
            )
    for case in failures:
        # A question of the module's own code tells more than one of an operation.
        blamed = [q for q in known if q.holds(case) != q.holds(usual)]
        for question in sorted(blamed, key=lambda q: (not q.branch, not q.line)):
            return _make_error_for_condition(
                question,
                _describe_sizes_of_same_result(question, case, usual),
                len(branches) if len(attempts) > TOGETHER else 0,
            )
    if judge.errors and not failures:
        for question in known:
            if _fixes_size_to_number(question) and question.line:
                size = "number of tokens" if "tokens" in question.condition.size_names else "number of texts"
                return UntraceableError(
                    "torch.export cannot trace the module for batches of any size and texts of any length: it uses the "
                    f"{size} as a plain number, {question.where}.",
                    "Compute only with arithmetic of sizes. Do not loop over a size, and do not pass it to int() or "
                    "range().",
                )
        if isinstance(first := judge.errors[0], ExportError):
            return first
        return UntraceableError(
            "torch.export cannot trace the module for batches of any size and texts of any length: "
            f"{first_line(first)}.",
            "Compute sizes from the shapes of tensors and not from their values. Avoid loops over the steps of a text.",
        )
    question = next((q for q in known if q.branch), known[0])
    case = failures[0] if failures else usual
    return _make_error_for_condition(question, f"for {describe_sizes(case)}")


def _fixes_size_to_number(question: Question) -> bool:
    """Return whether a condition requires one number for a size, because an operation such as `range` made a constant
    of it."""
    relation = question.condition.relation
    return not question.branch and isinstance(relation, sympy.Eq) and relation.lhs.is_Symbol and relation.rhs.is_Integer


def _make_error_for_condition(question: Question, region_in_words: str, number_of_branches: int = 0) -> ExportError:
    """Return the error for a condition on sizes that makes forward differ between sizes.

    Args:
        question: the condition.
        region_in_words: the unusual sizes, such as "for texts of more than 512 tokens".
        number_of_branches: how many branches forward has; 0 if they are few or not counted.
    """
    where = region_in_words[0].upper() + region_in_words[1:]
    if question.branch and number_of_branches > TOGETHER:
        return ExportError(
            f"Forward has {number_of_branches} branches for different sizes of its input, but a graph can have at most "
            f"{TOGETHER}: {question.where}.",
            "Compute the numbers that differ: the next width as -(-n // 16) * 16, the bucket of a length as "
            "(torch.tensor(widths) < n).sum(). Or let the text rules pad and cut (min_width, max_width), outside of "
            "forward.",
        )
    if question.branch:
        return ExportError(
            f"{where}, forward takes another branch than for other sizes, but an ONNX graph computes the same for all "
            f"sizes: {question.where}.",
            "Do not branch on a size: cut with x[:, :n], pad with F.pad(x, (0, max(0, n - x.size(1)))), or "
            "compute both sides and choose with torch.where.",
        )
    return ExportError(
        f"{where}, a PyTorch operation in forward computes something else than for other sizes, but an ONNX graph "
        f"computes the same for all sizes: {question.where}.",
        "Use an operation that is the same for every size: cut with x[:, :n], do not use a fixed number of chunks or "
        "windows, and do not use a size as a plain number.",
    )


def _describe_sizes_of_same_result(question: Question, case: Sizes, usual: Sizes) -> str:
    """Describe the sizes at which a condition has the same result as for `case`, such as "for texts of more than 512
    tokens". `usual` are the sizes of an ordinary batch."""
    for name, noun in (("tokens", "texts of {} tokens"), ("batch", "batches of {} texts")):
        if question.condition.size_names == {name}:
            numbers, at = np.arange(1, LARGEST + 1), getattr(case, name)
            usually = {size: np.full_like(numbers, number) for size, number in asdict(usual).items()}
            edges = find_sizes_where_condition_changes(
                question.condition.evaluate_on_sizes(**{**usually, name: numbers})
            )
            which = str(at) if len(edges) != 1 else f"more than {edges[0]}" if at > edges[0] else f"at most {edges[0]}"
            return "for " + noun.format(which)
    return f"where {question.condition} is {question.holds(case)}"
