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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.tracing.sizes import Question, Seen, Sizes, sizes_in

__all__ = ["Attempt", "Limits", "Settled", "Way", "boundary_sizes", "settled"]

Logits = npt.NDArray[np.float32]
Traced = TypeVar("Traced")

# Traces to try before a module is refused. A trace of a small module takes about a second.
_ATTEMPTS: Final = 8
# Logits further apart are another answer; ordinary rounding over 2,000 steps stays below 1e-5 on small modules.
_APART: Final = 1e-4


@dataclass(frozen=True)
class Limits:
    """The sizes that PyTorch takes: the least and the most tokens of a text, and the most rows of a batch.

    None where there is no limit. Beyond a limit the module itself fails, so that a runtime has to refuse.
    """

    min_tokens: int | None = None
    max_tokens: int | None = None
    max_batch: int | None = None

    def __contains__(self, sizes: Sizes) -> bool:
        return (
            (self.min_tokens is None or sizes.tokens >= self.min_tokens)
            and (self.max_tokens is None or sizes.tokens <= self.max_tokens)
            and (self.max_batch is None or sizes.batch <= self.max_batch)
        )


@dataclass(frozen=True)
class Way:
    """How to trace: the sizes of the example, whose branches are taken, and whether pads count from zero."""

    sizes: Sizes
    pads_from_zero: bool = False


@dataclass(frozen=True)
class Attempt(Generic[Traced]):
    """A program, what its trace asked, and how it is run: on sizes, to logits [batch, classes]."""

    traced: Traced
    seen: Seen
    run: Callable[[Sizes], Logits]


@dataclass(frozen=True)
class Settled(Generic[Traced]):
    """The program to export, what PyTorch refuses, and sizes for the proof: on both sides of every bound."""

    traced: Traced
    limits: Limits
    bounds: tuple[Sizes, ...]


def settled(
    plain: Attempt[Traced] | None,
    questions: Sequence[Question],
    trace: Callable[[Way], Attempt[Traced]],
    reference: Callable[[Sizes], Logits],
    *,
    batch: int | None = None,
) -> Settled[Traced]:
    """Find a program that gives the module's answers on both sides of every question.

    Args:
        plain: the program of an ordinary trace; None if that failed.
        questions: what it asked.
        trace: traces the module another way; may raise anything.
        reference: the module itself; may raise anything.
        batch: the batch that every run has, where that is fixed.

    Raises:
        ExportError: there is none; names the question, and the line of the module's code.
    """
    known, tried, failures = list(questions), [] if plain is None else [plain], []
    judge = _Judge(reference, batch)
    ways: list[Way] = []
    for _ in range(_ATTEMPTS + 1):
        cases = boundary_sizes(known, batch=batch)
        for attempt in tried:
            failing = judge.failing(attempt, cases)
            if failing is None:
                return Settled(attempt.traced, judge.limits(known, cases), tuple(cases))
            failures.append((attempt, failing))
        way = _next_way(ways, tried, [c for c in cases if judge.answers(c)], known)
        if way is None:
            break
        ways.append(way)
        try:
            attempt = trace(way)
        # Whatever a user's module raises on a path that is not its own, and whatever has no form in ONNX.
        except Exception as error:  # noqa: BLE001
            judge.errors.append(error)
            tried = []
            continue
        known += [q for q in attempt.seen.questions if all(q.condition != k.condition for k in known)]
        tried = [attempt]
    raise _refusal(known, failures, judge, batch)


def _next_way(
    ways: Sequence[Way], tried: Sequence[Attempt[Any]], cases: Sequence[Sizes], known: Sequence[Question]
) -> Way | None:
    """First the longest text, then the shortest, then one of every region; after a pad, the same with pads from zero."""
    if ways and tried and tried[-1].seen.pads and not ways[-1].pads_from_zero:
        return Way(ways[-1].sizes, pads_from_zero=True)
    if len(ways) >= _ATTEMPTS:
        return None
    regions: dict[tuple[bool, ...], Sizes] = {}
    # Sizes below 2 are constants to torch.export; an example of them would be traced as one.
    wide = [c for c in cases if c.tokens >= 2 and c.batch >= 2] or [c for c in cases if c.tokens >= 2]
    for case in sorted(wide, key=lambda c: (c.batch != 3, -c.tokens)):
        regions.setdefault(tuple(q.holds(case) for q in known), case)
    gone = {tuple(q.holds(way.sizes) for q in known) for way in ways}
    return next((Way(sizes) for region, sizes in regions.items() if region not in gone), None)


class _Judge:
    """Holds programs to the module's own answers, each of which is computed once."""

    def __init__(self, reference: Callable[[Sizes], Logits], batch: int | None) -> None:
        self.reference, self.batch = reference, batch
        self.known: dict[Sizes, Logits | Exception] = {}
        self.errors: list[Exception] = []

    def answer(self, sizes: Sizes) -> Logits | Exception:
        if sizes not in self.known:
            try:
                self.known[sizes] = self.reference(sizes)
            # Whatever a user's module raises.
            except Exception as error:  # noqa: BLE001
                self.known[sizes] = error
        return self.known[sizes]

    def answers(self, sizes: Sizes) -> bool:
        return not isinstance(self.answer(sizes), Exception)

    def failing(self, attempt: Attempt[Any], cases: Sequence[Sizes]) -> Sizes | None:
        """The first case that the module answers, and the program otherwise."""
        for case in cases:
            expected = self.answer(case)
            if isinstance(expected, Exception):
                continue
            try:
                given = attempt.run(case)
            # Engines raise classes of their own.
            except Exception:  # noqa: BLE001
                return case
            if given.shape != expected.shape or not np.abs(given - expected).max() <= _APART:
                return case
        return None

    def limits(self, known: Sequence[Question], cases: Sequence[Sizes]) -> Limits:
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
        most = None if highest == largest else self._edge(highest, self._above(cases, highest), lambda n: Sizes(rows, n))
        ordinary = lowest if least is not None else min(highest, 7)
        batches = [b for b in sorted({c.batch for c in cases}) if self.answers(Sizes(b, ordinary))]
        highest_batch, largest_batch = max(batches, default=rows), max(c.batch for c in cases)
        above = min((c.batch for c in cases if c.batch > highest_batch), default=highest_batch)
        batch = None
        if highest_batch != largest_batch:
            batch = self._edge(highest_batch, above, lambda n: Sizes(n, ordinary))
        limits = Limits(least, most, batch)
        for case in cases:
            if (case in limits) != self.answers(case):
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
    if batch is not None:
        found = {Sizes(batch, sizes.tokens) for sizes in found}
    return sorted(found, key=lambda s: (s.batch * s.tokens, s.tokens))


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
    known: Sequence[Question], failures: Sequence[tuple[Attempt[Any], Sizes]], judge: _Judge, batch: int | None
) -> ExportError:
    """The error that names the question whose other side no program gets right."""
    usual = Sizes(batch or 3, 7)
    for _, case in failures:
        # A question of the module's own code says more than what an operation makes of it.
        blamed = [q for q in known if q.holds(case) != q.holds(usual)]
        for question in sorted(blamed, key=lambda q: (not q.branch, not q.line)):
            return _refused(question, _region(question, case, usual))
    if judge.errors and not failures:
        return ExportError(
            f"The module cannot be traced with a dynamic batch and sequence length: {first_line(judge.errors[0])}",
            "Compute sizes from tensors' shapes rather than from their values, and avoid loops over steps.",
        )
    question = next((q for q in known if q.branch), known[0])
    case = failures[0][1] if failures else usual
    return _refused(question, f"for {_batch(case)}")


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
