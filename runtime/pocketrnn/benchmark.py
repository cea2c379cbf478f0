"""Measure how fast a bundle answers on this machine, compared with its graph in onnxruntime without pocketrnn.

All contestants take their turns in every round, so that other work on the machine slows all of them alike. Figures are
medians over the rounds. Between two machines or two days, compare ratios only.
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

from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.packed_file import is_packed_file
from pocketrnn.classifier import Classifier
from pocketrnn.errors import InputError
from pocketrnn.text.text_row_encoder import Text

__all__ = [
    "BARE",
    "Speed",
    "bench",
    "encode_graph_inputs",
    "format_speed_table",
    "make_all_at_once_run",
    "make_one_by_one_run",
    "measure_interleaved",
    "open_bare_session",
]

BARE = "onnxruntime, bare `session.run` on ready ids"

TimedRun = Callable[[], NDArray[np.float64]]


@dataclass(frozen=True)
class Speed:
    """The speed of one contestant of a measurement, such as the bundle, or its graph in onnxruntime without pocketrnn.
    All numbers are medians over the rounds.

    Attributes:
        name: the name of the contestant.
        p50: the median time of one answer, in microseconds; None if many texts are answered at once.
        p99: the 99th percentile of the time of one answer, in microseconds; None if many texts are answered at once.
        mean: the time for all texts, divided by their number, in microseconds.
        ratio: this contestant's time divided by the time of the first contestant.
    """

    name: str
    p50: float | None
    p99: float | None
    mean: float
    ratio: float

    @property
    def texts_per_second(self) -> float:
        """The number of texts that were answered per second."""
        return 1e6 / self.mean


def make_one_by_one_run(answer: Callable[[Any], object], items: Sequence[Any]) -> TimedRun:
    """Make a function that calls `answer` for one item after the other, and returns the seconds that each call took,
    float64 [items]."""

    def time_each_item() -> NDArray[np.float64]:
        clock = time.perf_counter
        times = [clock()]
        for item in items:
            answer(item)
            times.append(clock())
        return np.diff(times)

    return time_each_item


def make_all_at_once_run(answer: Callable[[Any], object], items: Sequence[Any]) -> TimedRun:
    """Make a function that calls `answer` once with all items, and returns the seconds that the call took, float64
    [1]."""

    def time_all_items() -> NDArray[np.float64]:
        start = time.perf_counter()
        answer(items)
        return np.array([time.perf_counter() - start])

    return time_all_items


def measure_interleaved(contestants: Mapping[str, TimedRun], text_count: int, rounds: int) -> list[Speed]:
    """Measure the speed of several contestants: in every round, each contestant runs once. A first round, which does
    not count, warms up the machine.

    Args:
        contestants: the function to run for each contestant's name. Ratios compare with the first contestant.
        text_count: how many texts a run answers.
        rounds: how many rounds count.

    Returns:
        one Speed for each contestant, in the order of `contestants`.
    """
    seconds: dict[str, list[NDArray[np.float64]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            taken = run()
            if turn:
                seconds[name].append(taken)
    first_totals = [taken.sum() for taken in next(iter(seconds.values()))]
    return [_compute_median_speed(name, taken, first_totals, text_count) for name, taken in seconds.items()]


def _compute_median_speed(
    name: str, seconds_by_round: list[NDArray[np.float64]], first_contestant_totals: list[float], text_count: int
) -> Speed:
    """Compute a contestant's speed from its times in all rounds.

    Args:
        seconds_by_round: for each round, the seconds of each call, float64 [calls].
        first_contestant_totals: for each round, the seconds that the first contestant took in all.
        text_count: how many texts a round answers.
    """
    is_single = len(seconds_by_round[0]) == text_count

    def compute_percentile_in_microseconds(q: int) -> float | None:
        return statistics.median(float(np.percentile(t, q)) for t in seconds_by_round) * 1e6 if is_single else None

    return Speed(
        name=name,
        p50=compute_percentile_in_microseconds(50),
        p99=compute_percentile_in_microseconds(99),
        mean=statistics.median(float(t.sum()) for t in seconds_by_round) / text_count * 1e6,
        ratio=statistics.median(
            float(t.sum() / f) for t, f in zip(seconds_by_round, first_contestant_totals, strict=True)
        ),
    )


def format_speed_table(speeds: Sequence[Speed]) -> str:
    """Format the speeds as a Markdown table with one row for each contestant."""
    lines = [
        "| | one text, p50, us | p99, us | texts a second | time against the first |",
        "|---|---:|---:|---:|---:|",
    ]
    for speed in speeds:
        p50 = "" if speed.p50 is None else f"{speed.p50:.1f}"
        p99 = "" if speed.p99 is None else f"{speed.p99:.1f}"
        lines.append(f"| {speed.name} | {p50} | {p99} | {speed.texts_per_second:,.0f} | {speed.ratio:.2f} |")
    return "\n".join(lines)


def open_bare_session(path: str | os.PathLike[str], threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a graph in onnxruntime on the CPU, with `threads` threads and without log messages, and without
    pocketrnn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def encode_graph_inputs(classifier: Classifier, texts: Sequence[Text]) -> list[dict[str, NDArray[np.int64]]]:
    """Encode each text as the inputs of the graph, by their names: `tokens` int64 [1, sequence]; and, if the graph
    takes lengths, `lengths` int64 [1]."""
    rows = [classifier.encode(text) for text in texts]
    inputs = classifier.manifest.graph.inputs
    return [
        {"tokens": np.array([row], np.int64), "lengths": np.array([len(row)], np.int64)}
        if "lengths" in inputs
        else {"tokens": np.array([row], np.int64)}
        for row in rows
    ]


def bench(bundle: str | os.PathLike[str], texts: Sequence[Text], *, rounds: int = 5, threads: int = 2) -> list[Speed]:
    """Measure how fast a bundle answers texts, one at a time and all at once. For comparison, measure how fast plain
    onnxruntime runs the bundle's graph, one text at a time.

    Args:
        bundle: a bundle's folder, the name of a shipped classifier, or a packed file. A packed file has no graph to
            compare with.
        texts: some hundred texts of the lengths that your texts usually have. Each is a string, or a list of tokens or
            ids.
        rounds: how often each contestant is measured.
        threads: how many cores `predict` may use in a second measurement of `predict`; 1 omits that measurement.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        InputError: `texts` is empty, or `rounds` or `threads` is less than 1.
    """
    if not texts:
        raise InputError("The list of texts to measure is empty.", "Give at least one text.")
    for name, number in (("rounds", rounds), ("threads", threads)):
        if number < 1:
            raise InputError(f"{name} is {number}, but it must be 1 or more.", "Give a whole number of 1 or more.")
    folder = find_or_download_bundle(bundle)
    classifier = Classifier.load(folder)
    contestants: dict[str, TimedRun] = {}
    if not is_packed_file(folder):
        feeds = encode_graph_inputs(classifier, texts)
        session = open_bare_session(folder / classifier.manifest.graph.file)
        contestants[BARE] = make_one_by_one_run(lambda feed: session.run(["logits"], feed), feeds)
    contestants |= {
        "pocketrnn, `classify` from text": make_one_by_one_run(classifier.classify, texts),
        "pocketrnn, `predict`, 1 thread": make_all_at_once_run(classifier.predict, texts),
    }
    if threads > 1:
        several = Classifier.load(folder, threads=threads)
        contestants[f"pocketrnn, `predict`, {threads} threads"] = make_all_at_once_run(several.predict, texts)
    return measure_interleaved(contestants, len(texts), rounds)
