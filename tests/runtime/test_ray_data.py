"""A corpus on Ray Data: the answers of one process, whatever dies in between."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest

from pocketrnn import Classifier
from pocketrnn.errors import InputError, MissingExtraError, TextError
from pocketrnn.ray_data import _load_classifier, _read_bundle_files, add_answer_columns, classify_dataset

COLUMNS = ("text", "label", "probability")
TEXTS = [f"{'the ' * (i % 9)}{bundle_maker.WORDS[i % 30]} {bundle_maker.WORDS[i % 7]}" for i in range(60_000)]


def test_a_table_keeps_its_columns_and_gets_the_answers(classifier: Classifier) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"id": arrow.array(range(100), arrow.int8()), "text": TEXTS[:100]})
    answered = add_answer_columns(table, classifier, COLUMNS, "raise")
    assert answered.select(["id", "text"]).equals(table)
    assert answered.column("label").to_pylist() == classifier.predict(TEXTS[:100])
    expected = classifier.predict_proba(TEXTS[:100]).max(1)
    np.testing.assert_allclose(answered.column("probability").to_numpy(), expected, atol=1e-6)
    assert add_answer_columns(table.slice(0, 0), classifier, COLUMNS, "raise").schema == answered.schema


def test_a_row_without_a_text_is_refused_or_gets_null(classifier: Classifier) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"text": ["the oil", None, ""]})
    with pytest.raises(TextError, match="position 1 "):
        add_answer_columns(table, classifier, COLUMNS, "raise")
    answered = add_answer_columns(table, classifier, COLUMNS, "skip")
    assert answered.column("label").is_null().to_pylist() == [False, True, False]
    assert answered.column("probability").is_null().to_pylist() == [False, True, False]


def test_columns_that_are_missing_or_taken_are_named(classifier: Classifier) -> None:
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"'text'.*words"):
        add_answer_columns(arrow.table({"words": ["a"]}), classifier, COLUMNS, "raise")
    with pytest.raises(InputError, match="'label'"):
        add_answer_columns(arrow.table({"text": ["a"], "label": [1]}), classifier, COLUMNS, "raise")


def test_a_classifier_is_made_from_what_is_sent_and_needs_no_file_then(
    padded: Path, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sent = _read_bundle_files(padded)
    assert sorted(sent) == ["classifier.json", "model.onnx"]
    assert _load_classifier(sent, 1).predict(TEXTS[:100]) == classifier.predict(TEXTS[:100])
    assert list(tmp_path.iterdir()) == []


def test_without_ray_the_extra_is_named(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[ray\]"):
        classify_dataset(None, padded, workers=2)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster on this machine, without a dashboard: a processor for each of two workers, one for what feeds them."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'pocketrnn[ray]'")
    pytest.importorskip("ray.data")
    # The workers find the code and these tests where this process found them.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    ray.init(num_cpus=3, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def rows_of(dataset: Any) -> Iterator[dict[str, Any]]:
    for batch in dataset.iter_batches(batch_size=1000, batch_format="pyarrow"):
        yield from batch.to_pylist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_workers_give_the_answers_of_one_process(ray: Any, padded: Path, classifier: Classifier) -> None:
    data = ray.data.from_items([{"id": i, "text": text} for i, text in enumerate(TEXTS)], override_num_blocks=16)
    rows = sorted(rows_of(classify_dataset(data, padded, workers=2)), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(len(TEXTS)))
    assert [row["text"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == classifier.predict(TEXTS)
    np.testing.assert_allclose([row["probability"] for row in rows], classifier.predict_proba(TEXTS).max(1), atol=1e-6)


def workers() -> list[int]:
    """The processes that answer."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"_Worker" in (folder / "cmdline").read_bytes() and b"ray::" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def slowly(batch: Any) -> Any:
    time.sleep(0.5)
    return batch


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_lost_when_a_worker_is_killed_in_the_middle(ray: Any, padded: Path, classifier: Classifier) -> None:
    data = ray.data.from_items([{"id": i, "text": text} for i, text in enumerate(TEXTS)], override_num_blocks=16)
    # Slowed down, so that there is a middle.
    data = data.map_batches(slowly, batch_format="pyarrow", num_cpus=0.1)
    answered = rows_of(classify_dataset(data, padded, workers=2))
    rows = [next(answered)]
    victim, other = workers()
    os.kill(victim, signal.SIGKILL)
    rows += answered
    assert victim not in workers()
    assert other != victim
    rows.sort(key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(len(TEXTS)))
    assert [row["label"] for row in rows] == classifier.predict(TEXTS)
