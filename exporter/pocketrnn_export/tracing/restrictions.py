"""Which traced program is right for which sizes: no restriction of a trace is dropped.

The questions that a trace asked about sizes (see `pocketrnn_export.tracing.sizes`) part all sizes into regions. In each
the module does one thing; between them it may do another. So the module itself is run on both sides of every
question, and the traced programs are held to its answers there:

- a program that agrees everywhere is exported: the restriction is honoured;
- where PyTorch itself fails beyond a number of tokens or rows, that number is a stated limit;
- what is left is refused, with the line of the module's code.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import ExportError, first_line
from pocketrnn.manifest import Limits
from pocketrnn_export.tracing.sizes import Path, Question, Seen, Sizes, sizes_in

__all__ = ["Attempt", "Settled", "UntraceableError", "Way", "boundary_sizes", "inside", "settled"]

Logits = npt.NDArray[np.float32]
Traced = TypeVar("Traced")

# Tokens of the largest input that is tried. A GRU of 100 takes about 10 s for as many steps of one text.
_LARGEST: Final = 50_000
# No further way is tried after this.
_SECONDS: Final = 60
# Of the inputs above so many tokens, so many are tried: a module of many bounds would take minutes.
_SMALL: Final = 5_000
_LARGE_CASES: Final = 24
_SCALE: Final = (*range(1, 129), *(2**i for i in range(8, 21)))
# Traces to try before a module is refused. A trace of a small module takes about a second.
_ATTEMPTS: Final = 6
# Logits nearer than this are one answer. A program without one token of 31 was only 2e-4 off, so that more is allowed
# only to a module whose own rounding is large: to the distance from its answer in double precision, times this.
_NEAR: Final = 1e-5
_ROUNDINGS: Final = 30


class UntraceableError(ExportError):
    """There is no program of a module for batches of any size; there may be one for a single text."""


def inside(limits: Limits, sizes: Sizes) -> bool:
    """Whether PyTorch takes a batch of these sizes.

    Example:
        >>> inside(Limits(max_tokens=300), Sizes(batch=3, tokens=301))
        False
    """
    return limits.allow(sizes.tokens) and sizes.batch <= (limits.max_batch or sys.maxsize)


@dataclass(frozen=True)
class Way:
    """How to trace a module in general.

    Attributes:
        sizes: those whose branches are taken.
        pads_from_zero: whether a pad by a size does nothing where that is negative, instead of cutting.
        unless: a second path, and the question that chooses it where it holds: both are computed.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    unless: tuple[Question, Way] | None = None

    @property
    def paths(self) -> tuple[list[Path], Question | None]:
        """The paths to trace, and the question for which the second is taken."""
        own = Path(self.sizes, self.pads_from_zero)
        if self.unless is None:
            return [own], None
        question, other = self.unless
        paths = [own, Path(other.sizes, other.pads_from_zero)]
        edges = [] if "batch" in question.condition else _changes(_SCALE, lambda n: question.holds(Sizes(3, n)))
        if len(edges) == 1:
            low = int(question.holds(Sizes(3, edges[0])))
            paths[low] = replace(paths[low], most=edges[0])
            paths[1 - low] = replace(paths[1 - low], least=edges[0] + 1)
        return paths, question

    @property
    def example(self) -> Sizes:
        """Sizes to trace with: below 2, torch.export takes a size for a constant."""
        if self.unless is not None:
            # The longer of the two: what PyTorch's own operations restrict, they restrict from there on.
            own, other = replace(self, unless=None).example, self.unless[1].example
            return max(own, other, key=lambda sizes: sizes.tokens * sizes.batch)
        return Sizes(self.sizes.batch if self.sizes.batch > 1 else 3, self.sizes.tokens if self.sizes.tokens > 1 else 7)


@dataclass(frozen=True)
class Attempt(Generic[Traced]):
    """A program, what its trace asked, and how it is run: on sizes, to logits [batch, classes].

    `plain` is set for an ordinary trace, which is right for the sizes of its example only until it is proven.
    """

    traced: Traced
    seen: Seen
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
    trace: Callable[[Way], Attempt[Traced]],
    reference: Callable[[Sizes], Logits],
    in_doubles: Callable[[Sizes], Any],
    *,
    batch: int | None = None,
) -> Settled[Traced]:
    """Find a program that gives the module's answers on both sides of every question.

    Args:
        plain: the program of an ordinary trace, or why there is none.
        questions: what it asked.
        trace: traces the module another way; may raise anything.
        reference: the module itself; may raise anything.
        in_doubles: the module in double precision; may raise anything.
        batch: the batch that every run has, where that is fixed.

    Raises:
        ExportError: there is none; names the question, and the line of the module's code.
    """
    known, judge = list(questions), _Judge(reference, in_doubles, batch)
    attempts: list[tuple[Way, Attempt[Traced]]] = []
    if isinstance(plain, Attempt):
        attempts.append((Way(Sizes(batch or 3, 7)), plain))
    else:
        judge.errors.append(plain)
        # A loop over the steps would be unrolled for thousands of them.
        if any(_is_plain_number(question) for question in known):
            raise _refusal(known, attempts, [], judge, batch)
    ways: list[Way] = []
    started = time.monotonic()
    while True:
        cases = boundary_sizes(known, batch=batch)
        for _, attempt in attempts[-1:] if len(cases) == len(judge.cases) else attempts:
            if all(judge.agrees(attempt, case) for case in cases if judge.answers(case)):
                return Settled(attempt.traced, judge.limits(cases), tuple(cases))
        judge.cases = cases
        if time.monotonic() - started > _SECONDS:
            break
        way = _next_way(ways, attempts, [c for c in cases if judge.answers(c)], known)
        if way is None:
            break
        ways.append(way)
        try:
            attempt = trace(way)
        # Whatever a user's module raises on a path that is not its own, and whatever has no form in ONNX.
        except Exception as error:
            judge.errors.append(error)
            continue
        known += [q for q in attempt.seen.questions if all(q.condition != k.condition for k in known)]
        attempts.append((way, attempt))
    answered = [case for case in cases if judge.answers(case)]
    for both in _pairs(attempts, judge, answered, known):
        try:
            attempt = trace(both)
        except Exception as error:
            judge.errors.append(error)
            continue
        if all(judge.agrees(attempt, case) for case in answered):
            return Settled(attempt.traced, judge.limits(cases), tuple(cases))
    raise _refusal(known, attempts, answered, judge, batch)


def _next_way(
    ways: Sequence[Way],
    attempts: Sequence[tuple[Way, Attempt[Any]]],
    cases: Sequence[Sizes],
    known: Sequence[Question],
) -> Way | None:
    """First the path of the longest text, then that of an ordinary one, then one of every region of sizes.

    After a path that pads comes the same with pads that do not cut.
    """
    if len(ways) >= _ATTEMPTS:
        return None
    if ways and attempts and attempts[-1][0] is ways[-1] and attempts[-1][1].seen.pads and not ways[-1].pads_from_zero:
        return replace(ways[-1], pads_from_zero=True)
    regions: dict[tuple[bool, ...], Sizes] = {}
    longest = max(cases, key=lambda c: (c.batch >= 2, c.tokens), default=None)

    def preferred(case: Sizes) -> tuple[bool, bool, bool, int]:
        """The middle of a region is better than its edge, where sizes that matter are 0 or 1."""
        return case != longest, case.tokens < 2 or case.batch < 2, (case.batch, case.tokens) != (3, 7), -case.tokens

    for case in sorted(cases, key=preferred):
        regions.setdefault(tuple(q.holds(case) for q in known), case)
    gone = {tuple(q.holds(way.sizes) for q in known) for way in ways}
    return next((Way(sizes) for region, sizes in regions.items() if region not in gone), None)


def _pairs(
    attempts: Sequence[tuple[Way, Attempt[Any]]], judge: _Judge, cases: Sequence[Sizes], known: Sequence[Question]
) -> list[Way]:
    """Two programs, of which one is right where a question holds and the other where it does not."""
    pairs = []
    general = [(way, attempt) for way, attempt in attempts if not attempt.plain]
    for (way, first), (other, second) in itertools.permutations(general, 2):
        for question in known:
            if question.counts_only and all(
                judge.agrees(second if question.holds(case) else first, case) for case in cases
            ):
                pairs.append(replace(way, unless=(question, other)))
    return pairs[:2]


class _Judge:
    """Holds programs to the module's own answers, each of which is computed once."""

    def __init__(
        self, reference: Callable[[Sizes], Logits], in_doubles: Callable[[Sizes], Any], batch: int | None
    ) -> None:
        self.reference, self.in_doubles, self.batch = reference, in_doubles, batch
        self.known: dict[Sizes, Logits | Exception] = {}
        self.errors: list[Exception] = []
        self.verdicts: dict[tuple[int, Sizes], bool] = {}
        self.cases: list[Sizes] = []

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
        apart = float(np.abs(given - expected).max())
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


def boundary_sizes(questions: Sequence[Question], *, batch: int | None = None) -> list[Sizes]:
    """Sizes on both sides of every question: the last before it, the first after, one more, and twice as many.

    Beside them one row, several rows and 200 rows, and 600 and 2,000 tokens. In order of their cost.
    """
    found = set(_ordinary())
    numbers = range(1, 65)
    limits = {n for sizes in sizes_in(list(questions)) for n in (sizes.tokens, sizes.batch)}
    scale = sorted({*numbers, 100, 128, 200, 256, 300, 512, 600, 1000, 1024, 2000, *limits})
    for question in questions:
        for rows in (1, 2, 3, 40):
            for edge in _changes(scale, lambda n, q=question, r=rows: q.holds(Sizes(r, n))):  # type: ignore[misc]
                found |= {Sizes(rows, n) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
                found |= {Sizes(2, edge), Sizes(2, edge + 1)}
        for tokens in (1, 2, 7, 64):
            for edge in _changes(scale, lambda n, q=question, t=tokens: q.holds(Sizes(n, t))):  # type: ignore[misc]
                if tokens in (1, 7) or edge * tokens <= 20_000:
                    found |= {Sizes(n, tokens) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
    found = {sizes for sizes in found if sizes.batch * sizes.tokens <= _LARGEST}
    if batch is not None:
        found = {Sizes(batch, sizes.tokens) for sizes in found}
    ordered = sorted(found, key=lambda s: (s.batch * s.tokens, s.tokens))
    small = [sizes for sizes in ordered if sizes.batch * sizes.tokens <= _SMALL]
    return small + ordered[len(small) :][:_LARGE_CASES]


def _ordinary() -> list[Sizes]:
    pairs = itertools.chain(itertools.product((1, 2, 3), (1, 2, 3, 7, 20)), ((40, 9), (200, 5), (3, 600), (2, 2000)))
    return [Sizes(*pair) for pair in pairs]


def _changes(scale: Sequence[int], holds: Callable[[int], bool]) -> list[int]:
    """The numbers after which an answer changes; the first few and last few where it changes all the time."""
    answers = [holds(n) for n in scale]
    edges = []
    for (low, before), (high, after) in itertools.pairwise(zip(scale, answers, strict=True)):
        if before != after:
            good, bad = low, high
            while bad - good > 1:
                middle = (good + bad) // 2
                good, bad = (middle, bad) if holds(middle) == before else (good, middle)
            edges.append(good)
    return edges if len(edges) <= 8 else edges[:5] + edges[-3:]


def _batch(sizes: Sizes) -> str:
    rows = "one text" if sizes.batch == 1 else f"{sizes.batch} texts"
    return f"{rows} of {sizes.tokens} {'token' if sizes.tokens == 1 else 'tokens'}"


def _refusal(
    known: Sequence[Question],
    attempts: Sequence[tuple[Way, Attempt[Any]]],
    cases: Sequence[Sizes],
    judge: _Judge,
    batch: int | None,
) -> ExportError:
    """The error that names the question whose other side no program gets right."""
    usual = Sizes(batch or 3, 7)
    failures = [next(case for case in cases if not judge.agrees(attempt, case)) for _, attempt in attempts]
    for case in failures:
        # A question of the module's own code says more than what an operation makes of it.
        blamed = [q for q in known if q.holds(case) != q.holds(usual)]
        for question in sorted(blamed, key=lambda q: (not q.branch, not q.line)):
            return _refused(question, _region(question, case, usual))
    if judge.errors and not failures:
        for question in known:
            if _is_plain_number(question) and question.line:
                size = "number of tokens" if "tokens" in question.condition else "number of texts"
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
    return not question.branch and re.fullmatch(r"(tokens|batch) == \d+", question.condition) is not None


def _untraceable(error: Exception) -> ExportError:
    return UntraceableError(
        f"The module cannot be traced with a dynamic batch and sequence length: {first_line(error)}",
        "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps.",
    )


def _refused(question: Question, region: str) -> ExportError:
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
    for name, axis in (("tokens", 1), ("batch", 0)):
        other = "batch" if name == "tokens" else "tokens"
        if other in question.condition or name not in question.condition:
            continue
        at = (case.tokens, usual.tokens) if axis else (case.batch, usual.batch)
        noun = "texts of {} tokens" if axis else "batches of {} texts"

        def holds(n: int, axis: int = axis) -> bool:
            return question.holds(Sizes(usual.batch, n) if axis else Sizes(n, usual.tokens))

        edges = _changes(sorted({1, *range(1, 65), *at, 2 * max(at), 10**6}), holds)
        if len(edges) == 1:
            more = at[0] > edges[0]
            return "for " + noun.format(f"more than {edges[0]}" if more else f"at most {edges[0]}")
        return "for " + noun.format(str(at[0]))
    return f"where {question.condition} is {question.holds(case)}"
