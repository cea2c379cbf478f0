"""How fast a bundle answers on this machine, beside the bare graph in onnxruntime.

All contestants take their turns in every round, so that what else the machine does falls on all alike; figures are
medians over the rounds, and what can be compared between two machines or two days is their ratio.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn.classifier import Classifier
from pocketrnn.errors import InputError
from pocketrnn.shipped import bundle_folder

__all__ = [
    "BARE",
    "Speed",
    "all_at_once",
    "bare_session",
    "bench",
    "interleaved",
    "markdown",
    "one_by_one",
    "ready_ids",
]

BARE = "onnxruntime, bare `session.run` on ready ids"

Run = Callable[[], NDArray[np.float64]]


@dataclass(frozen=True)
class Speed:
    """One contestant's medians over the rounds.

    Attributes:
        name: what was measured.
        p50: microseconds, which half of the answers took at most; None for what answers many texts at once.
        p99: microseconds, which 99 of 100 answers took at most; None likewise.
        mean: microseconds a text, of all texts together.
        ratio: `mean` against the first contestant's, the median of the rounds' ratios.
    """

    name: str
    p50: float | None
    p99: float | None
    mean: float
    ratio: float

    @property
    def texts_a_second(self) -> float:
        """How many texts were answered in a second."""
        return 1e6 / self.mean


def one_by_one(answer: Callable[[Any], object], items: Sequence[Any]) -> Run:
    """A contestant that answers one item after the other; gives the seconds of each, float64 [items]."""

    def run() -> NDArray[np.float64]:
        clock = time.perf_counter
        times = [clock()]
        for item in items:
            answer(item)
            times.append(clock())
        return np.diff(times)

    return run


def all_at_once(answer: Callable[[Any], object], items: Sequence[Any]) -> Run:
    """A contestant that answers all items in one call; gives the seconds it took, float64 [1]."""

    def run() -> NDArray[np.float64]:
        start = time.perf_counter()
        answer(items)
        return np.array([time.perf_counter() - start])

    return run


def interleaved(contestants: Mapping[str, Run], texts: int, rounds: int) -> list[Speed]:
    """Run every contestant once in every round, after one that does not count.

    Args:
        contestants: names and runs; the first is what the others' ratios are to.
        texts: how many texts a run answers.
        rounds: how many rounds count.

    Returns:
        one Speed a contestant, in their order.
    """
    seconds: dict[str, list[NDArray[np.float64]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            taken = run()
            if turn:
                seconds[name].append(taken)
    first = [taken.sum() for taken in next(iter(seconds.values()))]
    return [_speed(name, taken, first, texts) for name, taken in seconds.items()]


def _speed(name: str, taken: list[NDArray[np.float64]], first: list[float], texts: int) -> Speed:
    single = len(taken[0]) == texts

    def percentile(q: int) -> float | None:
        return statistics.median(float(np.percentile(t, q)) for t in taken) * 1e6 if single else None

    return Speed(
        name=name,
        p50=percentile(50),
        p99=percentile(99),
        mean=statistics.median(float(t.sum()) for t in taken) / texts * 1e6,
        ratio=statistics.median(float(t.sum() / f) for t, f in zip(taken, first, strict=True)),
    )


def markdown(speeds: Sequence[Speed]) -> str:
    """A Markdown table of what `interleaved` measured."""
    lines = [
        "| | one text, p50, us | p99, us | texts a second | time against the first |",
        "|---|---:|---:|---:|---:|",
    ]
    for speed in speeds:
        p50 = "" if speed.p50 is None else f"{speed.p50:.1f}"
        p99 = "" if speed.p99 is None else f"{speed.p99:.1f}"
        lines.append(f"| {speed.name} | {p50} | {p99} | {speed.texts_a_second:,.0f} | {speed.ratio:.2f} |")
    return "\n".join(lines)


def bare_session(path: str | os.PathLike[str], threads: int = 1) -> onnxruntime.InferenceSession:
    """The graph as one would open it without pocketrnn, with onnxruntime's own settings but for its threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def ready_ids(classifier: Classifier, texts: Sequence[str]) -> list[dict[str, NDArray[np.int64]]]:
    """What the graph is fed for each text: `tokens` int64 [1, sequence], and `lengths` int64 [1] if it takes them."""
    rows = [classifier.encode(text) for text in texts]
    inputs = classifier.manifest.graph.inputs
    return [
        {"tokens": np.array([row], np.int64), "lengths": np.array([len(row)], np.int64)}
        if "lengths" in inputs
        else {"tokens": np.array([row], np.int64)}
        for row in rows
    ]


def bench(bundle: str | os.PathLike[str], texts: Sequence[str], *, rounds: int = 5, threads: int = 2) -> list[Speed]:
    """Measure a bundle: one text at a time and many at once, beside the bare graph.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        texts: what to classify; some hundreds, of the lengths that will be met.
        rounds: how often each contestant takes its turn.
        threads: how many cores `predict` may use in its second measurement; 1 leaves that out.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        InputError: there is no text, or `rounds` or `threads` is less than 1.
    """
    if not texts or rounds < 1:
        raise InputError("There is nothing to measure.", "Give at least one text and one round.")
    folder = bundle_folder(bundle)
    classifier = Classifier.load(folder)
    feeds = ready_ids(classifier, texts)
    session = bare_session(folder / classifier.manifest.graph.file)
    contestants = {
        BARE: one_by_one(lambda feed: session.run(["logits"], feed), feeds),
        "pocketrnn, `classify` from text": one_by_one(classifier.classify, texts),
        "pocketrnn, `predict`, 1 thread": all_at_once(classifier.predict, texts),
    }
    if threads > 1:
        several = Classifier.load(folder, threads=threads)
        contestants[f"pocketrnn, `predict`, {threads} threads"] = all_at_once(several.predict, texts)
    return interleaved(contestants, len(texts), rounds)
