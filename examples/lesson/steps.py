"""The steps of the lesson with each classifier: train, test, export with its proof, pack, ask, time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from chapter import CHAPTER, Curve, Row, train_like_the_chapter

from pocketrnn import Classifier
from pocketrnn.benchmark import make_one_by_one_run, measure_interleaved
from pocketrnn.errors import MissingExtraError, PocketRNNError, first_line
from pocketrnn.text import TextEncoder
from pocketrnn_export import export
from pocketrnn_export.checkpoint_export import read_export_arguments_from_checkpoint
from pocketrnn_export.packing import pack
from pocketrnn_training import Checkpoint, LabelledTexts, evaluate, train, write_checkpoint
from pocketrnn_training.training_events import Epoch, Notice, Progress

__all__ = ["Result", "choose_headlines", "compute_result", "read_saved_result"]

# `scripts/lesson` asks these where the labels are those of AG News; else it asks the first test rows.
HEADLINES = (
    "NASA probe nears Saturn",
    "Oil prices rise again",
    "Striker scores twice in cup final",
    "Peace talks resume in Geneva",
)
_TIMED_TEXTS = 200
_ROUNDS = 5


@dataclass(frozen=True)
class Result:
    """The result of one row of the table.

    Attributes:
        name: the name of the row.
        source: where the training rows come from, in words.
        rows: how many training rows there were.
        words: the size of the vocabulary.
        seconds: how long the training took.
        curves: the running accuracy of each epoch: rows read so far, and the share of them that was answered right.
        test_rows: how many test rows there were.
        test_in_batches: the share of test rows answered right by PyTorch, in the batches of the training.
        test: the same by the exported bundle, which reads each text as if it stood alone.
        parity: the proof of the export, a line for each comparison.
        inputs: the names of the graph's inputs.
        operators: the types of the graph's operators, in its order.
        bundle_bytes: the size of classifier.json and model.onnx.
        packed_bytes: the size of the packed file, or None if the native engine is not installed.
        not_packed: why there is no packed file, or None.
        pytorch_us: the median time that PyTorch takes to answer one text, in microseconds.
        bundle_us: the same of the bundle.
        packed_us: the same of the packed file.
        answers: texts, and the labels that the bundle gives them.
    """

    name: str
    source: str
    rows: int
    words: int
    seconds: float
    curves: list[Curve]
    test_rows: int
    test_in_batches: float
    test: float
    parity: list[dict[str, Any]]
    inputs: list[str]
    operators: list[str]
    bundle_bytes: int
    packed_bytes: int | None
    not_packed: str | None
    pytorch_us: float
    bundle_us: float
    packed_us: float | None
    answers: list[tuple[str, str]]


def read_saved_result(folder: Path) -> Result | None:
    """Return the result that an earlier run left in a row's folder, or None."""
    file = folder / "result.json"
    return Result(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def choose_headlines(test: LabelledTexts) -> list[str]:
    """Return the texts that each classifier is asked."""
    return list(HEADLINES) if "Sci/Tech" in test.labels else list(test.texts[:4])


def compute_result(
    row: Row,
    data: LabelledTexts,
    test: LabelledTexts,
    folder: Path,
    say: Callable[[str], None],
    vectors: Path | None = None,
) -> Result:
    """Take one row of the table through all steps, and save its results in its folder.

    Args:
        row: the row.
        data: the training rows.
        test: the test rows, with the same labels.
        folder: where the checkpoint, the bundle, the packed file and `result.json` go.
        say: called with a line of progress.
        vectors: word vectors for the default recipe.
    """
    start = time.perf_counter()
    checkpoint, curves = _train_row(row, data, say, vectors)
    seconds = time.perf_counter() - start
    write_checkpoint(checkpoint, folder / "checkpoint", force=True)

    say("test rows in PyTorch, in the batches of the training")
    in_batches = evaluate(checkpoint, test).accuracy
    say("export and proof")
    module, description = read_export_arguments_from_checkpoint(folder / "checkpoint")
    manifest = export(module, folder / "bundle", **description, torchscript=False, force=True)
    packed, why_not = _pack_row(folder, say)

    say("test rows by the bundle")
    classifier = Classifier.load(folder / "bundle")
    accuracy = evaluate(classifier, test).accuracy
    say("time of one text")
    times = _measure_times(checkpoint, folder / "bundle", packed, test.texts[:_TIMED_TEXTS])
    graph = onnx.load(folder / "bundle" / manifest.graph.file).graph
    asked = choose_headlines(test)
    result = Result(
        name=row.name,
        source=data.source,
        rows=len(data),
        words=len(checkpoint.vocabulary),
        seconds=round(seconds, 1),
        curves=curves,
        test_rows=len(test),
        test_in_batches=in_batches,
        test=accuracy,
        parity=[asdict(line) for line in manifest.parity.comparisons],
        inputs=list(manifest.graph.inputs),
        operators=[node.op_type for node in graph.node],
        bundle_bytes=sum((folder / "bundle" / file).stat().st_size for file in ("classifier.json", "model.onnx")),
        packed_bytes=None if packed is None else packed.stat().st_size,
        not_packed=why_not,
        pytorch_us=times["PyTorch"],
        bundle_us=times["bundle"],
        packed_us=times.get("packed"),
        answers=list(zip(asked, classifier.predict(asked), strict=True)),
    )
    written = json.dumps(asdict(result), indent=1, ensure_ascii=False)
    partial = folder / "result.json.partial"
    partial.write_text(written + "\n", encoding="utf-8")
    partial.replace(folder / "result.json")
    return result


def _train_row(
    row: Row, data: LabelledTexts, say: Callable[[str], None], vectors: Path | None
) -> tuple[Checkpoint, list[Curve]]:
    """Return the classifier of a row, and the running accuracy of each of its epochs."""
    if row.settings.epochs == CHAPTER.epochs:

        def told(read: int, running: float) -> None:
            say(f"{read:,} of {len(data):,} rows, running accuracy {running:.3f}")

        checkpoint, curve = train_like_the_chapter(data, row.settings, row.name, told)
        return checkpoint, [curve]

    curves: list[Curve] = []

    def heard(event: Progress | Epoch | Notice) -> None:
        if not isinstance(event, Progress):
            return
        if len(curves) < event.epoch:
            curves.append([])
        read, running = curves[-1][-1] if curves[-1] else (0, 0.0)
        # An event tells of the rows since the last one; the chapter tells of all rows so far.
        right = read * running + (event.row - read) * event.accuracy
        curves[-1].append((event.row, right / event.row))
        say(f"epoch {event.epoch}: {event.row:,} of {event.rows:,} rows, running accuracy {right / event.row:.3f}")

    return train(data, row.settings, name=row.name, word_vectors=vectors, report=heard), curves


def _pack_row(folder: Path, say: Callable[[str], None]) -> tuple[Path | None, str | None]:
    """Return the packed file, or the reason why there is none."""
    say("packed file")
    file = folder / "packed.prnn"
    try:
        pack(folder / "bundle", file, force=True)
    except MissingExtraError:
        return None, "the native engine is not installed: pip install ./runtime/native"
    except PocketRNNError as error:
        return None, first_line(error)
    return file, None


def _measure_times(checkpoint: Checkpoint, bundle: Path, packed: Path | None, texts: Sequence[str]) -> dict[str, float]:
    """Measure the microseconds from a text to its label: the median over the texts, on one thread. The classifiers take
    turns."""
    encoder, module = TextEncoder(checkpoint.text_rules, checkpoint.vocabulary), checkpoint.module

    def in_pytorch(text: str) -> str:
        tokens = torch.from_numpy(encoder.encode_row(text))
        lengths = torch.tensor([tokens.shape[1]]) if checkpoint.architecture.packed else None
        with torch.inference_mode():
            return checkpoint.labels[int(module(tokens, lengths).argmax())]

    runs = {
        "PyTorch": make_one_by_one_run(in_pytorch, texts),
        "bundle": make_one_by_one_run(Classifier.load(bundle).classify, texts),
    }
    if packed is not None:
        runs["packed"] = make_one_by_one_run(Classifier.load(packed).classify, texts)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        speeds = measure_interleaved(runs, len(texts), _ROUNDS)
    finally:
        torch.set_num_threads(threads)
    return {speed.name: round(speed.p50 or speed.mean, 1) for speed in speeds}
