"""A corpus scored by Ray Data: every worker holds one Classifier, and needs no file but what it is sent.

`pip install 'pocketrnn[ray]'` brings Ray, which is imported when a data set is classified; the workers need pocketrnn
installed, and no shared disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketrnn import manifest as manifests
from pocketrnn.answers import Answers
from pocketrnn.classifier import Classifier
from pocketrnn.errors import InputError, require
from pocketrnn.incoming import OnError
from pocketrnn.shipped import bundle_folder

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

__all__ = ["classify_dataset"]

# As many texts as a Classifier answers at once by itself: runs of the graph are shaped as well from these as from more.
_BATCH: Final = 4096


def classify_dataset(
    dataset: Dataset,
    bundle: str | os.PathLike[str],
    *,
    workers: int,
    threads: int = 1,
    text_column: str = "text",
    label_column: str = "label",
    probability_column: str = "probability",
    on_error: OnError = "raise",
) -> Dataset:
    """Every row of a Ray data set with two columns more: its likeliest label and that label's probability.

    Nothing is read or answered before the result is consumed or written. Ray starts an actor again whose process dies,
    and gives its batches to another: no row is lost and none comes twice.

    Args:
        dataset: the rows.
        bundle: a bundle's folder on this machine, or a shipped classifier's name. classifier.json and the graph are put
            into Ray's object store, from where each worker takes them once.
        workers: how many actors answer; each holds one Classifier.
        threads: how many processor cores each of them uses, and asks Ray for.
        text_column: the column that holds the texts.
        label_column: the column to write labels to, a string.
        probability_column: the column to write probabilities to, float32.
        on_error: `raise` fails the job at a row whose text is null or no string; `skip` gives it null twice.

    Raises:
        MissingExtraError: Ray is not installed.
        BundleError: there is no such bundle, or it is damaged.
        InputError: `workers` or `threads` is not a number from 1, or `text_column` is also the name of a new column.
            A column that the rows lack, or that is there already, is found in the worker: Ray raises its own error
            then, with the sentence in it.
    """
    ray = require("ray", "ray")
    ray_data = require("ray.data", "ray")
    for name, number in (("workers", workers), ("threads", threads)):
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{name} is {number!r}.", "Use a whole number from 1.")
    if len({text_column, label_column, probability_column}) < 3:
        raise InputError(
            "text_column, label_column and probability_column are not three different names.", "Rename the new columns."
        )
    files = ray.put(_files(bundle_folder(bundle)))
    classified: Dataset = dataset.map_batches(
        _Worker,
        fn_constructor_kwargs={
            # In a list, so that Ray hands over the reference: each worker fetches the bytes itself.
            "files": [files],
            "threads": threads,
            "columns": (text_column, label_column, probability_column),
            "on_error": on_error,
        },
        compute=ray_data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
        batch_size=_BATCH,
        batch_format="pyarrow",
    )
    return classified


def _files(folder: Path) -> dict[str, bytes]:
    """What a worker needs of a bundle: names and contents."""
    manifest = manifests.read(folder)
    graph = manifests.checked_bytes(folder / manifest.graph.file, manifest.graph.sha256)
    return {manifests.CLASSIFIER_JSON: (folder / manifests.CLASSIFIER_JSON).read_bytes(), manifest.graph.file: graph}


class _Worker:
    """One of Ray's actors."""

    def __init__(self, files: list[Any], threads: int, columns: tuple[str, str, str], on_error: OnError) -> None:
        import ray

        self._classifier = _classifier(ray.get(files[0]), threads)
        self._columns = columns
        self._on_error = on_error

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return with_answers(table, self._classifier, self._columns, self._on_error)


def _classifier(files: Mapping[str, bytes], threads: int) -> Classifier:
    # A session is made from bytes, so that the files may go as soon as it stands.
    with tempfile.TemporaryDirectory(prefix="pocketrnn-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return Classifier.load(folder, threads=threads)


def with_answers(
    table: pyarrow.Table, classifier: Classifier, columns: tuple[str, str, str], on_error: OnError
) -> pyarrow.Table:
    """A table of pyarrow with the two columns more.

    Args:
        table: the rows.
        classifier: who answers.
        columns: the names of the column of texts, and of those of labels and probabilities.
        on_error: as in `classify_dataset`.

    Raises:
        InputError: the column of texts is missing, or a new one is there already.
        TextError: a row's text is no string.
    """
    import pyarrow

    text_column, *added = columns
    if text_column not in table.column_names:
        raise InputError(
            f"The rows have no column {text_column!r}; they have {', '.join(table.column_names) or 'none'}.",
            "Name the column with the texts: text_column=...",
        )
    if taken := [name for name in added if name in table.column_names]:
        raise InputError(
            f"The rows have a column {taken[0]!r} already.", "Name the new ones: label_column=, probability_column=..."
        )
    logits = classifier.logits(table.column(text_column).to_pylist(), on_error=on_error)
    skipped = np.isnan(logits[:, 0])
    best = logits.argmax(1)
    labels = [classifier.labels[i] for i in best.tolist()]
    probabilities = Answers.of(classifier.manifest).probabilities(logits)[np.arange(len(best)), best]
    return table.append_column(added[0], pyarrow.array(labels, pyarrow.string(), mask=skipped)).append_column(
        added[1], pyarrow.array(probabilities, pyarrow.float32(), mask=skipped)
    )
