"""Which traced program is right for which sizes: no restriction of a trace is dropped.

The questions that a trace asked about sizes (see `pocketrnn_export.tracing.sizes`) part all sizes into regions. In each
the module does one thing; between them it may do another. So the module itself is run on both sides of every
question, and the traced programs are compared with its answers there:

- a program that agrees everywhere is exported: the restriction is honoured;
- where PyTorch itself fails beyond a number of tokens or rows, that number is a stated limit;
- what is left is refused, with the line of the module's code.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import sympy

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.tracing.conditions import LARGEST, USUAL, Condition, Sizes, all_of, either, every_size
from pocketrnn_export.tracing.questions import Branch, Question, TraceLog, UntraceableError
from pocketrnn_export.tracing.size_regions import Followed, Regions, explored

__all__ = ["Attempt", "Settled", "TracePlan", "boundary_sizes", "furthest", "inside", "settled"]

Logits = npt.NDArray[np.float32]
Traced = TypeVar("Traced")
# Sizes that go one way: their region, and the answers to what operations asked.
Part = tuple[int, tuple[bool, ...]]

# No further plan is tried after so much time of the processor.
_SECONDS: Final = 60
# Of the inputs above so many tokens, so many are tried: a module of many bounds would take minutes.
_SMALL: Final = 5_000
_LARGE_CASES: Final = 24
# Changes of an answer along one size that are all tried; of one that changes all the time the first and the last up to
# so many tokens.
_CHANGES: Final = 8
_OFTEN: Final = 2_000
# Each remainder of a division by at most this is tried.
_PERIOD: Final = 64
# Traces to try before a module is refused. A trace of a small module takes about a second.
_ATTEMPTS: Final = 8
# Programs in one graph, of which the sizes choose.
_TOGETHER: Final = 4
# Logits nearer than this are one answer. A program without one token of 31 was only 2e-4 off, so that more is allowed
# only to a module whose own rounding is large: to the distance from its answer in double precision, times this.
_NEAR: Final = 1e-5
_ROUNDINGS: Final = 30


def inside(limits: Limits, sizes: Sizes) -> bool:
    """Whether PyTorch takes a batch of these sizes.

    Example:
        >>> inside(Limits(max_tokens=300), Sizes(batch=3, tokens=301))
        False
    """
    return limits.allow(sizes.tokens) and sizes.batch <= (limits.max_batch or sys.maxsize)


@dataclass(frozen=True)
class TracePlan:
    """How to trace a module in general.

    Attributes:
        sizes: those whose branches are taken.
        pads_from_zero: whether a pad by a size does nothing where that is negative, instead of cutting.
        others: further plans, each with the condition for which its answer is taken: all are computed.
        least, most: the tokens of the sizes that follow this plan, where others are computed beside it.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    others: tuple[tuple[Condition, TracePlan], ...] = ()
    least: int | None = None
    most: int | None = None

    @property
    def branches(self) -> tuple[list[Branch], list[Condition]]:
        """The branches to trace, and the conditions for which each but the first is taken."""
        plans = [self, *(other for _, other in self.others)]
        branches = [Branch(plan.sizes, plan.pads_from_zero, plan.least, plan.most) for plan in plans]
        return branches, [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """Sizes to trace with: below 2, torch.export takes a size for a constant."""
        # The longest of all: what PyTorch's own operations restrict, they restrict from there on.
        longest = max((self, *(other for _, other in self.others)), key=lambda w: w.sizes.tokens * w.sizes.batch).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )


@dataclass(frozen=True)
class Attempt(Generic[Traced]):
    """A program, what its trace asked, and how it is run: on sizes, to logits [batch, classes].

    `plain` is set for an ordinary trace, which is right for the sizes of its example only until it is proven.
    """

    traced: Traced
    log: TraceLog
    run: Callable[[Sizes], Logits]
    plain: bool = False


@dataclass(frozen=True)
class Settled(Generic[Traced]):
    """The program to export, what PyTorch refuses, and sizes for the proof: on both sides of every bound."""

    traced: Traced
    limits: Limits
    bounds: tuple[Sizes, ...]


def settled(
    plain: Attempt[Traced] | ExportError,
    questions: Sequence[Question],
    follow: Callable[[Sizes], Followed],
    trace: Callable[[TracePlan], Attempt[Traced]],
    reference: Callable[[Sizes], Logits],
    in_doubles: Callable[[Sizes], Any],
    *,
    batch: int | None = None,
) -> Settled[Traced]:
    """Find a program that gives the module's answers on both sides of every question, and in every region of sizes.

    Args:
        plain: the program of an ordinary trace, or why there is none.
        questions: what it asked.
        follow: follows forward for some sizes, without a program.
        trace: traces the module another plan; may raise anything.
        reference: the module itself; may raise anything.
        in_doubles: the module in double precision; may raise anything.
        batch: the batch that every run has, where that is fixed.

    Raises:
        ExportError: there is none; names the question, and the line of the module's code.
    """
    judge = _Judge(reference, in_doubles, batch)
    regions = explored(follow, batch)
    search = _Search(judge, regions, trace, [*questions, *regions.questions])
    if isinstance(plain, Attempt):
        search.attempts.append((TracePlan(Sizes(batch or USUAL.batch, USUAL.tokens)), plain))
        search.periods |= plain.log.periods
    else:
        judge.errors.append(plain)
    found = search.found()
    if found is None:
        raise _refusal(search.known, search.attempts, search.answered, judge, batch)
    return Settled(found.traced, judge.limits(search.cases), tuple(search.cases))


class _Search(Generic[Traced]):
    """The search for a program that is right in every region."""

    def __init__(
        self,
        judge: _Judge,
        regions: Regions,
        trace: Callable[[TracePlan], Attempt[Traced]],
        questions: Sequence[Question],
    ) -> None:
        self.judge, self.regions, self.trace = judge, regions, trace
        self.known: list[Question] = []
        self.periods: set[int] = set()
        self.attempts: list[tuple[TracePlan, Attempt[Traced]]] = []
        self.cases: list[Sizes] = []
        self.started = time.process_time()
        self._part: dict[Sizes, Part] = {}
        self._gone: set[Part] = set()
        self._note(questions)

    @property
    def answered(self) -> list[Sizes]:
        """The cases to which PyTorch has an answer."""
        return [case for case in self.cases if self.judge.answers(case)]

    def found(self) -> Attempt[Traced] | None:
        """The program; None where there is none."""
        self._try_cases()
        for _, attempt in self.attempts:
            if self._right(attempt):
                return attempt
        while (plan := self._next_plan()) is not None:
            while (tried := self._tried(plan)) is not None:
                if self._right(tried):
                    return tried
                if plan.pads_from_zero or not tried.log.pads:
                    break
                plan = replace(plan, pads_from_zero=True)
        together = self._together()
        tried = None if together is None else self._tried(together)
        return tried if tried is not None and self._right(tried) else None

    def _next_plan(self) -> TracePlan | None:
        """The plan of the part of the sizes for which there is no right program yet; None where there is enough of
        them, or of time."""
        if len(self._gone) >= _ATTEMPTS or time.process_time() - self.started > _SECONDS:
            return None
        parts = self._parts()
        for part, cases in parts.items():
            right = any(self._right_for(attempt, cases) for _, attempt in self._general())
            if part not in self._gone and not right:
                self._gone.add(part)
                return TracePlan(self._typical(part, cases))
        return None

    def _parts(self) -> dict[Part, list[Sizes]]:
        """The cases that PyTorch answers, by region and by what operations asked: that of the longest text first, which
        holds for others most often, and that of an ordinary one after it."""
        answered = self.answered
        longest = max(answered, key=lambda case: (case.batch >= 2, case.tokens), default=None)
        first = [longest, Sizes(self.regions.batch or USUAL.batch, USUAL.tokens)]
        parts: dict[Part, list[Sizes]] = {}
        for case in (*(case for case in first if case in answered), *answered):
            parts.setdefault(self._part_of(case), []).append(case)
        return parts

    def _part_of(self, case: Sizes) -> Part:
        if case not in self._part:
            asked = tuple(question.holds(case) for question in self.known if not question.branch)
            self._part[case] = (self.regions.of(case), asked)
        return self._part[case]

    def _typical(self, part: Part, cases: list[Sizes]) -> Sizes:
        """Sizes of a part to trace with: those of its region, if they are in it, or the middle one of its cases."""
        typical = self.regions.typical(part[0])
        several = [case for case in cases if case.batch > 1 and case.tokens > 1] or cases
        return typical if self._part_of(typical) == part else several[len(several) // 2]

    def _general(self) -> list[tuple[TracePlan, Attempt[Traced]]]:
        return [(plan, attempt) for plan, attempt in self.attempts if not attempt.plain]

    def _tried(self, plan: TracePlan) -> Attempt[Traced] | None:
        try:
            attempt = self.trace(plan)
        # Whatever a user's module raises on a path that is not its own, and whatever has no form in ONNX.
        except Exception as error:
            self.judge.errors.append(error)
            return None
        self.attempts.append((plan, attempt))
        self.periods |= attempt.log.periods
        self._note(attempt.log.questions)
        self._try_cases()
        return attempt

    def _note(self, questions: Sequence[Question]) -> None:
        for question in questions:
            if all(question.condition != known.condition for known in self.known):
                self.known.append(question)
                self._part.clear()

    def _try_cases(self) -> None:
        self.cases = boundary_sizes(self.known, self.regions, self.periods)

    def _right(self, attempt: Attempt[Traced]) -> bool:
        return all(self.judge.agrees(attempt, case) for case in self.answered)

    def _right_for(self, attempt: Attempt[Traced], cases: Iterable[Sizes]) -> bool:
        return all(self.judge.agrees(attempt, case) for case in cases)

    def _together(self) -> TracePlan | None:
        """A plan of several programs, each of which is right for some of the sizes; None where there is none."""
        parts = self._parts()
        right = [{part for part, cases in parts.items() if self._right_for(attempt, cases)}
                 for _, attempt in self._general()]  # fmt: skip
        left, chosen = set(parts), list[tuple[int, set[Part]]]()
        while left:
            best = max(range(len(right)), key=lambda i: len(right[i] & left), default=None)
            if best is None or not right[best] & left or len(chosen) >= _TOGETHER:
                return None
            chosen.append((best, right[best] & left))
            left -= right[best]
        plans = [self._general()[i][0] for i, _ in chosen]
        choices = [self._condition(wanted, right[i], parts) for i, wanted in chosen[1:]]
        others = [self._fitted(plan, choice) for plan, choice in zip(plans[1:], choices, strict=True)]
        first = self._fitted(plans[0], either(choices).negated)
        return replace(first, others=tuple(zip(choices, others, strict=True)))

    def _condition(self, wanted: set[Part], allowed: set[Part], parts: Mapping[Part, list[Sizes]]) -> Condition:
        """What holds in the wanted parts, and in none where a program is wrong: one question, if one does."""
        which, wrong = self.regions.which, set(parts) - allowed
        here, there = {part[0] for part in wanted}, {part[0] for part in wrong}
        inside, outside = np.isin(which, list(here - there)), np.isin(which, list(there - here))
        cases = [(case, part in wanted) for part in (*wanted, *wrong) for case in parts[part]]
        for question in self.known:
            for condition in (question.condition, question.condition.negated):
                holds = condition.over_all(self.regions.batch)
                elsewhere = not holds[inside].all() or holds[outside].any()
                if not elsewhere and all(condition.holds(case) == is_wanted for case, is_wanted in cases):
                    return condition
        return either([self._condition_of(part) for part in sorted(wanted)])

    def _condition_of(self, part: Part) -> Condition:
        region, asked = part
        questions = [question.condition for question in self.known if not question.branch]
        conditions = (one if answer else one.negated for one, answer in zip(questions, asked, strict=True))
        return all_of([self.regions.conditions[region], *conditions])

    def _fitted(self, plan: TracePlan, condition: Condition) -> TracePlan:
        """A plan with the tokens of the sizes that it is taken for."""
        if condition.of != {"tokens"}:
            return plan
        every = every_size(self.regions.batch)
        tokens = every.tokens[condition.over_all(self.regions.batch)]
        least, most = int(tokens.min()), int(tokens.max())
        return replace(plan, least=least if least > 1 else None, most=most if most <= LARGEST // 2 else None)


def furthest(given: Logits, expected: Logits) -> float:
    """The largest difference of two answers of one shape, which have none where both are NaN, or the same infinity."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(given - expected)
    alike = (given == expected) | (np.isnan(given) & np.isnan(expected))
    return float(np.where(alike, 0.0, apart).max())


class _Judge:
    """Compares programs with the module's own answers, each of which is computed once."""

    def __init__(
        self, reference: Callable[[Sizes], Logits], in_doubles: Callable[[Sizes], Any], batch: int | None
    ) -> None:
        self.reference, self.in_doubles, self.batch = reference, in_doubles, batch
        self.known: dict[Sizes, Logits | Exception] = {}
        self.errors: list[Exception] = []
        self.verdicts: dict[tuple[int, Sizes], bool] = {}

    def answer(self, sizes: Sizes) -> Logits | Exception:
        if sizes not in self.known:
            try:
                self.known[sizes] = self.reference(sizes)
            # Whatever a user's module raises.
            except Exception as error:
                self.known[sizes] = error
        return self.known[sizes]

    def answers(self, sizes: Sizes) -> bool:
        return not isinstance(self.answer(sizes), Exception)

    def agrees(self, attempt: Attempt[Any], case: Sizes) -> bool:
        """Whether a program gives the module's answer; the module answers."""
        if (id(attempt), case) not in self.verdicts:
            self.verdicts[id(attempt), case] = self._agrees(attempt, case)
        return self.verdicts[id(attempt), case]

    def _agrees(self, attempt: Attempt[Any], case: Sizes) -> bool:
        try:
            given = attempt.run(case)
        # Engines raise classes of their own.
        except Exception:
            return False
        expected = self.answer(case)
        if isinstance(expected, Exception) or given.shape != expected.shape:
            return False
        apart = furthest(given, expected)
        return apart <= _NEAR or apart <= min(_ROUNDINGS * self._rounding(case, expected), 1e-3)

    def _rounding(self, case: Sizes, expected: Logits) -> float:
        """How far the module is from its own answer in double precision; 0 where it has none."""
        try:
            return float(np.abs(self.in_doubles(case) - expected).max())
        # Such as a forward that makes float32 zeros.
        except Exception:
            return 0.0

    def limits(self, cases: Sequence[Sizes]) -> Limits:
        """What PyTorch refuses, as limits of each size by itself.

        Raises:
            ExportError: it fails on sizes that no such limits describe.
        """
        if all(self.answers(case) for case in cases):
            return Limits()
        rows = 1 if self.batch is not None else 2
        tokens = [t for t in sorted({c.tokens for c in cases}) if self.answers(Sizes(rows, t))]
        if not tokens:
            raise self._unreadable(next(c for c in cases if not self.answers(c)))
        largest = max(c.tokens for c in cases)
        lowest, highest = tokens[0], tokens[-1]
        least = None if lowest == 1 else self._edge(lowest, 0, lambda n: Sizes(rows, n))
        most = (
            None if highest == largest else self._edge(highest, self._above(cases, highest), lambda n: Sizes(rows, n))
        )
        ordinary = lowest if least is not None else min(highest, 7)
        batches = [b for b in sorted({c.batch for c in cases}) if self.answers(Sizes(b, ordinary))]
        highest_batch, largest_batch = max(batches, default=rows), max(c.batch for c in cases)
        above = min((c.batch for c in cases if c.batch > highest_batch), default=highest_batch)
        batch = None
        if highest_batch != largest_batch:
            batch = self._edge(highest_batch, above, lambda n: Sizes(n, ordinary))
        limits = Limits(least, most, batch)
        for case in cases:
            if inside(limits, case) != self.answers(case):
                raise self._unreadable(case)
        return limits

    def _edge(self, good: int, bad: int, sizes: Callable[[int], Sizes]) -> int:
        """The last number that the module takes, going from one that it takes to one that it does not."""
        while abs(good - bad) > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self.answers(sizes(middle)) else (good, middle)
        return good

    @staticmethod
    def _above(cases: Sequence[Sizes], tokens: int) -> int:
        return min(c.tokens for c in cases if c.tokens > tokens)

    def _unreadable(self, case: Sizes) -> ExportError:
        answer = self.answer(case)
        if isinstance(answer, Exception):
            says = f"PyTorch itself fails on {_batch(case)}: {type(answer).__name__}: {first_line(answer)}"
            return ExportError(says.rstrip(".") + ".", "Let forward take a text of any length, in a batch of any size.")
        return ExportError(
            f"PyTorch takes {_batch(case)}, but neither all smaller nor all larger sizes.",
            "Let forward take a text of any length, in a batch of any size.",
        )


def boundary_sizes(questions: Sequence[Question], regions: Regions, periods: Collection[int] = ()) -> list[Sizes]:
    """Sizes on both sides of every question: the last before it, the first after, one more, and twice as many; and some
    of every region, and each remainder of a division.

    Beside them one row, several rows and 200 rows, and 600 and 2,000 tokens. In order of their cost.
    """
    batch = regions.batch
    needed = {sizes for region in range(len(regions)) for sizes in regions.members(region)}
    found = set(_ordinary())
    found |= {Sizes(2, p + rest) for p in periods if p <= _PERIOD for rest in range(p)}
    for question in questions:
        for rows in (1, 2, 3, 40) if batch is None else (batch,):
            tokens = np.arange(1, LARGEST // rows + 1)
            for edge in _changes(question.condition.over(np.full_like(tokens, rows), tokens)):
                found |= {Sizes(rows, n) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
                found |= {Sizes(2, edge), Sizes(2, edge + 1)}
        for steps in (1, 2, 7, 64) if batch is None else ():
            rows_of = np.arange(1, LARGEST // steps + 1)
            for edge in _changes(question.condition.over(rows_of, np.full_like(rows_of, steps))):
                if steps in (1, 7) or edge * steps <= 20_000:
                    found |= {Sizes(n, steps) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
    found = {sizes if batch is None else replace(sizes, batch=batch) for sizes in found}
    ordered = _by_cost(sizes for sizes in found if sizes.batch * sizes.tokens <= LARGEST)
    small = [sizes for sizes in ordered if sizes.batch * sizes.tokens <= _SMALL]
    return _by_cost({*small, *ordered[len(small) :][:_LARGE_CASES], *needed})


def _by_cost(sizes: Iterable[Sizes]) -> list[Sizes]:
    return sorted(sizes, key=lambda s: (s.batch * s.tokens, s.tokens))


def _ordinary() -> list[Sizes]:
    pairs = itertools.chain(itertools.product((1, 2, 3), (1, 2, 3, 7, 20)), ((40, 9), (200, 5), (3, 600), (2, 2000)))
    return [Sizes(*pair) for pair in pairs]


def _changes(holds: npt.NDArray[np.bool_]) -> list[int]:
    """The numbers from 1 on after which an answer changes; some of them where it changes all the time."""
    edges = [int(edge) for edge in np.flatnonzero(holds[1:] != holds[:-1]) + 1]
    if len(edges) <= _CHANGES:
        return edges
    near = [edge for edge in edges if edge <= _OFTEN] or edges
    return [*near[: _CHANGES - 3], *near[-3:]]


def _batch(sizes: Sizes) -> str:
    rows = "one text" if sizes.batch == 1 else f"{sizes.batch} texts"
    return f"{rows} of {sizes.tokens} {'token' if sizes.tokens == 1 else 'tokens'}"


def _refusal(
    known: Sequence[Question],
    attempts: Sequence[tuple[TracePlan, Attempt[Any]]],
    cases: Sequence[Sizes],
    judge: _Judge,
    batch: int | None,
) -> ExportError:
    """The error that names the question whose other side no program gets right."""
    usual = Sizes(batch or USUAL.batch, USUAL.tokens)
    asked = {tuple(q.holds(case) for q in known if q.branch) for case in cases}
    failures = [next(case for case in cases if not judge.agrees(attempt, case)) for _, attempt in attempts]
    for case in failures:
        # A question of the module's own code says more than what an operation makes of it.
        blamed = [q for q in known if q.holds(case) != q.holds(usual)]
        for question in sorted(blamed, key=lambda q: (not q.branch, not q.line)):
            return _refused(question, _region(question, case, usual), len(asked) if len(attempts) > _TOGETHER else 0)
    if judge.errors and not failures:
        for question in known:
            if _is_plain_number(question) and question.line:
                size = "number of tokens" if "tokens" in question.condition.of else "number of texts"
                return UntraceableError(
                    "The module cannot be traced with a dynamic batch and sequence length: it takes the "
                    f"{size} for a plain number, {question.where}.",
                    "Compute with sizes, but loop over none, and give none to int() or range().",
                )
        first = judge.errors[0]
        return first if isinstance(first, ExportError) else _untraceable(first)
    question = next((q for q in known if q.branch), known[0])
    case = failures[0] if failures else usual
    return _refused(question, f"for {_batch(case)}")


def _is_plain_number(question: Question) -> bool:
    """Whether an operation, such as `range`, made a size of the example a constant."""
    relation = question.condition.relation
    return not question.branch and isinstance(relation, sympy.Eq) and relation.lhs.is_Symbol and relation.rhs.is_Integer


def _untraceable(error: Exception) -> ExportError:
    return UntraceableError(
        f"The module cannot be traced with a dynamic batch and sequence length: {first_line(error)}",
        "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps.",
    )


def _refused(question: Question, region: str, ways: int = 0) -> ExportError:
    if question.branch and ways > _TOGETHER:
        return ExportError(
            f"Forward takes one of {ways} ways by the size of its input, and a graph holds at most {_TOGETHER} of "
            f"them: {question.where}.",
            "Compute what differs: the next width as -(-n // 16) * 16, the bucket of a length as "
            "(torch.tensor(widths) < n).sum(). Or let the text rules pad and cut (min_width, max_width), outside of "
            "forward.",
        )
    if question.branch:
        return ExportError(
            f"{region[0].upper()}{region[1:]} forward takes another branch than for others, which a graph cannot: "
            f"{question.where}.",
            "Write it without a branch on a size: cut with x[:, :n], pad with F.pad(x, (0, max(0, n - x.size(1)))), or "
            "compute both sides and choose with torch.where.",
        )
    return ExportError(
        f"{region[0].upper()}{region[1:]} an operation of forward does something else than for others, which a graph "
        f"cannot: {question.where}.",
        "Write it so that it is the same for every size: cut with x[:, :n], take no fixed number of chunks or windows, "
        "and do not use a size as a plain number.",
    )


def _region(question: Question, case: Sizes, usual: Sizes) -> str:
    """The sizes on the case's side of a question, in words."""
    if question.condition.of == {"tokens"}:
        holds, at, noun = _along(lambda n: Sizes(usual.batch, n), question), case.tokens, "texts of {} tokens"
    elif question.condition.of == {"batch"}:
        holds, at, noun = _along(lambda n: Sizes(n, usual.tokens), question), case.batch, "batches of {} texts"
    else:
        return f"where {question.condition} is {question.holds(case)}"
    edges = _changes(holds)
    if len(edges) == 1:
        return "for " + noun.format(f"more than {edges[0]}" if at > edges[0] else f"at most {edges[0]}")
    return "for " + noun.format(str(at))


def _along(sizes: Callable[[int], Sizes], question: Question) -> npt.NDArray[np.bool_]:
    """The answers from 1 on, of one size."""
    numbers = np.arange(1, LARGEST + 1)
    first, second = sizes(1), sizes(2)
    ones = np.ones_like(numbers)
    batch = numbers if second.batch != first.batch else ones * first.batch
    return question.condition.over(batch, numbers if second.tokens != first.tokens else ones * first.tokens)  # type: ignore[no-any-return]
