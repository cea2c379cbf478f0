"""A classifier works inside an application: threads, forks, columns and generators, repeated loading."""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest

from pocketrnn import Classifier
from pocketrnn.engines.batching import MAX_TOKENS
from pocketrnn.engines.worker_threads import Workers
from pocketrnn.errors import InputError, TextError
from pocketrnn.text import chunks_of_checked_texts

TEXTS = [f"{'the ' * (i % 7)}{bundle_maker.WORDS[i % 30]}" for i in range(9000)]


@pytest.fixture(scope="module")
def on_two(padded: Path) -> Classifier:
    return Classifier.load(padded, threads=2)


def test_eight_threads_that_share_a_classifier_get_the_answers_of_one(on_two: Classifier) -> None:
    some = TEXTS[:300]
    labels, answers = on_two.predict(some), [on_two.classify(text) for text in some]

    def ask(i: int) -> bool:
        if i % 2:
            return on_two.predict(some) == labels
        return [on_two.classify(text).label for text in some] == [answer.label for answer in answers]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(12)))


def test_two_threads_answer_in_the_texts_order(classifier: Classifier, on_two: Classifier) -> None:
    expected = classifier.logits(TEXTS)
    np.testing.assert_allclose(on_two.logits(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(on_two.logits(iter(TEXTS)), expected, atol=1e-6)
    assert on_two.predict(TEXTS) == classifier.predict(TEXTS)


def test_columns_of_pandas_and_numpy_are_texts(classifier: Classifier) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS[:50], "other": 1}, index=range(100, 150))
    expected = classifier.predict(TEXTS[:50])
    assert classifier.predict(frame["text"]) == expected
    assert classifier.predict(frame["text"].astype("category")) == expected
    assert classifier.predict(np.array(TEXTS[:50], object)) == expected
    with pytest.raises(TextError, match=r"position 3 .* float"):
        classifier.predict(frame["text"].where(frame.index != 103, np.nan))


def test_what_has_two_dimensions_or_no_order_is_refused(classifier: Classifier) -> None:
    pandas = pytest.importorskip("pandas")
    for wrong in (pandas.DataFrame({"text": ["a"]}), np.array([["a"]]), np.array("a")):
        with pytest.raises(TextError, match="One column"):
            classifier.predict(wrong)
    for wrong in ({"a": 1}, {"a"}):
        with pytest.raises(TextError, match="order"):
            classifier.predict(wrong)


def test_a_wrong_item_of_a_generator_is_named_by_its_place_among_all(on_two: Classifier) -> None:
    with pytest.raises(TextError, match="position 8999 "):
        on_two.predict(itertools.chain(TEXTS[:8999], [None], ["the"]))  # type: ignore[list-item]


@pytest.mark.parametrize("threads", [1, 2])
def test_skip_answers_what_is_no_text_with_none_and_everything_else_as_before(
    padded: Path, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.load(padded, threads=threads)
    dirty: list[Any] = [*TEXTS[:700], None, b"the", 3, float("nan"), *TEXTS[700:1400]]
    clean = classifier.predict(TEXTS[:1400])
    with caplog.at_level(logging.WARNING, "pocketrnn"):
        assert classifier.predict(dirty, on_error="skip") == [*clean[:700], *[None] * 4, *clean[700:]]
    assert [record.message for record in caplog.records] == ["small skipped 4 items that are not texts"]
    rows = classifier.predict_proba(iter(dirty), on_error="skip")
    assert np.flatnonzero(np.isnan(rows).all(1)).tolist() == [700, 701, 702, 703]
    assert np.isnan(rows).any(1).sum() == 4
    assert classifier.predict_labels(dirty, on_error="skip")[701] == ()
    streamed = [answer and answer.label for answer in classifier.classify_all(dirty, on_error="skip")]
    assert streamed == classifier.predict(dirty, on_error="skip")
    assert all(item is not None for item in (dirty[0], dirty[-1]))
    assert dirty[701] == b"the", "the list that was given is left as it was"


def test_another_meaning_of_errors_is_refused(classifier: Classifier) -> None:
    with pytest.raises(InputError, match="'raise' or 'skip'"):
        classifier.predict(["the"], on_error="ignore")  # type: ignore[call-overload]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_is_read_no_further_than_a_few_pieces_ahead(padded: Path, threads: int) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "the oil"

    answers = Classifier.load(padded, threads=threads).classify_all(endless())
    assert next(answers) is not None
    answers.close()  # type: ignore[attr-defined]
    assert read <= 5 * 4096


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_stream_leaves_the_answers_before_it(padded: Path, threads: int) -> None:
    def broken() -> Iterator[str]:
        yield from TEXTS[:5000]
        raise OSError("gone")

    answers = Classifier.load(padded, threads=threads).classify_all(broken())
    assert len(list(itertools.islice(answers, 4096))) == 4096
    with pytest.raises(OSError, match="gone"):
        next(answers)


@pytest.mark.parametrize(
    ("threads", "piece"), [(1, 256), *(pytest.param(n, 4096, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_the_memory_of_a_stream_does_not_grow_with_its_length(
    padded: Path, threads: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How many texts of a stream are read at once.
    monkeypatch.setattr(chunks_of_checked_texts, "_LARGEST", piece)
    classifier = Classifier.load(padded, threads=threads)

    def peak(number: int) -> int:
        tracemalloc.start()
        for _ in classifier.classify_all(f"the oil {i % 50}" for i in range(number)):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    # A few pieces are read ahead.
    few = peak(5 * piece)
    assert peak(10 * piece) < 1.2 * few


def test_a_run_holds_no_more_tokens_than_asked_for(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(padded, max_batch_tokens=100)
    seen: list[tuple[int, int]] = []
    run = classifier._engine._compute_logits_of_run

    def watched(tokens: Any, lengths: Any) -> Any:
        seen.append(tokens.shape)
        return run(tokens, lengths)

    monkeypatch.setattr(classifier._engine, "_compute_logits_of_run", watched)
    texts = [*TEXTS[:300], "the " * 500]
    assert classifier.predict(texts) == Classifier.load(padded).predict(texts)
    assert [shape for shape in seen if shape[0] * shape[1] > 100] == [(1, 500)]


@pytest.mark.parametrize("most", [0, -1, 1.5, "4096", None])
def test_a_bound_that_cannot_be_is_refused(padded: Path, most: Any) -> None:
    with pytest.raises(InputError, match="max_batch_tokens"):
        Classifier.load(padded, max_batch_tokens=most)


def test_a_provider_that_onnxruntime_lacks_is_named_with_those_it_has(padded: Path) -> None:
    assert Classifier.load(padded, providers=["CPUExecutionProvider"]).predict(["oil"])
    with pytest.raises(InputError, match=r"'NoSuchProvider'.*CPUExecutionProvider"):
        Classifier.load(padded, providers=["NoSuchProvider", "CPUExecutionProvider"])
    for wrong in ("CPUExecutionProvider", []):
        with pytest.raises(InputError, match=re.escape(f"providers is {wrong!r}")):
            Classifier.load(padded, providers=wrong)


def test_a_pickled_classifier_comes_back_with_its_options(padded: Path) -> None:
    again = pickle.loads(pickle.dumps(Classifier.load(padded, threads=2, max_batch_tokens=77)))  # noqa: S301
    assert (again._workers.threads, again._options.max_batch_tokens) == (2, 77)
    assert Classifier.load(padded)._options.max_batch_tokens == MAX_TOKENS


def answered_in_a_process(classifier: Classifier) -> list[str]:
    return classifier.predict(TEXTS[:1000])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_classifier_answers_after_a_fork(on_two: Classifier) -> None:
    expected = answered_in_a_process(on_two)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        # Not handed over but inherited: the child's memory holds the parent's session.
        answers = [pool.apply_async(_inherited, (id(on_two),)) for _ in range(2)]
        assert [answer.get(60) for answer in answers] == [expected] * 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("children", [10, 100])
def test_children_that_are_forked_under_load_answer_too(padded: Path, children: int) -> None:
    classifier = Classifier.load(padded)
    expected = classifier.classify(TEXTS[0]), classifier.predict(TEXTS[:50])
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            classifier.classify(TEXTS[1])
            classifier.predict(TEXTS[:20])

    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        # One by one: a child that hangs is found by its time, and the load goes on meanwhile.
        for _ in range(children):
            child = os.fork()
            if not child:
                answered = classifier.classify(TEXTS[0]), classifier.predict(TEXTS[:50])
                os._exit(0 if answered == expected else 1)
            assert _ended(child) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert (classifier.classify(TEXTS[0]), classifier.predict(TEXTS[:50])) == expected


def _ended(child: int) -> int | None:
    """The exit status of a child; None for one that hangs, which is killed."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _inherited(identity: int) -> list[str]:
    (classifier,) = (o for o in gc.get_objects() if type(o) is Classifier and id(o) == identity)
    return answered_in_a_process(classifier)


def test_a_classifier_is_handed_to_a_spawned_process(on_two: Classifier) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(answered_in_a_process, (on_two,)).get(120) == answered_in_a_process(on_two)


@pytest.mark.slow
def test_two_classifiers_of_one_bundle_share_no_state(padded: Path) -> None:
    first, second = Classifier.load(padded), Classifier.load(padded)
    assert first._engine._session is not second._engine._session
    del first
    gc.collect()
    assert second.predict(["the oil"])


def test_nothing_is_printed(padded: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Classifier.load(padded, threads=2).predict(["a", None, *TEXTS[:2000]], on_error="skip")  # type: ignore[list-item]
    assert capfd.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_thousand_loads_leave_nothing_behind(padded: Path) -> None:
    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def load(times: int) -> None:
        for _ in range(times):
            Classifier.load(padded, threads=2).classify("the oil")

    load(2_000)
    before, files = resident(), len(list(Path("/proc/self/fd").iterdir()))
    load(8_000)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    # 8,000 loads of 1 KB each left behind would be 8 MB.
    assert resident() - before < 8_000_000


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pocketrnn")}


@pytest.mark.slow
def test_the_threads_of_a_classifier_are_started_once_and_end_with_it(padded: Path) -> None:
    others = workers()
    classifier = Classifier.load(padded, threads=2)
    classifier.classify("the oil")
    assert workers() <= others
    some = TEXTS[:3000]
    classifier.predict(some)
    own = workers() - others
    assert 1 <= len(own) <= 2
    classifier.predict(some), classifier.embed(some)
    # The second of two threads is started where the first was busy.
    assert own <= workers() - others
    own = workers() - others
    assert len(own) <= 2
    del classifier
    gc.collect()
    for thread in own:
        thread.join(timeout=10)
    assert workers() <= others


def test_an_iteration_that_is_left_early_leaves_no_work_behind(padded: Path) -> None:
    begun: list[int] = []
    mapped = Workers(2).map_in_order(begun.append, iter(range(100)))
    next(mapped)
    mapped.close()  # type: ignore[attr-defined]
    count = len(begun)
    assert count <= 3
    time.sleep(0.01)
    assert len(begun) == count


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "ask", [pytest.param("classifier.classify(text)", marks=pytest.mark.slow), "classifier.embed([text])"]
)
def test_a_very_long_text_leaves_no_memory_behind(padded: Path, ask: str) -> None:
    """In a process of its own: a long one before it would leave room that it then takes."""
    code = """
import sys
from pocketrnn import Classifier

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

classifier = Classifier.load(sys.argv[1])
text = "the oil " * 300_000
ask = compile(sys.argv[2], "ask", "eval")
classifier.encode(text), eval(ask, {"classifier": classifier, "text": "the oil " * 10_000})
before = resident()
eval(ask, {"classifier": classifier, "text": text})
print(resident() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(padded), ask], capture_output=True, text=True, timeout=60, check=True
    )
    # 70 MiB where onnxruntime's arena is not emptied after it.
    assert float(done.stdout) < 30
