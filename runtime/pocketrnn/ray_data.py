"""Classify a corpus with Ray Data. Every worker has its own Classifier.

`pip install 'pocketrnn[ray]'` installs Ray, which is imported when a data set is classified. The workers need
pocketrnn, but no shared disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.checked_files import read_checked_bytes
from pocketrnn.classifier import Classifier, get_answers_of_chosen_labels
from pocketrnn.errors import BundleError, InputError, require_module
from pocketrnn.text.chunks_of_checked_texts import OnError
from pocketrnn.text.text_input import TextInput

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

__all__ = ["classify_dataset"]

# A Classifier divides a longer list into chunks of this size: larger batches would not be faster.
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
    """Return a Ray data set with two more columns: each row's likeliest label, and the probability of that label.

    The work starts when the result is consumed or written. If the process of an actor dies, Ray starts the actor again
    and gives the actor's batches to another one. No row is lost or duplicated.

    Args:
        dataset: the rows.
        bundle: a bundle's folder on this machine, or the name of a shipped classifier. classifier.json and the graph go
            to Ray's object store, and each worker fetches them once.
        workers: how many actors answer; each holds one Classifier.
        threads: how many processor cores each actor uses; Ray reserves as many for it.
        text_column: the column that holds the texts.
        label_column: the column to write labels to, as strings.
        probability_column: the column to write probabilities to, as float32.
        on_error: what to do with a row whose text is null, not a string, or beyond the graph's limits: `raise` lets the
            job fail, `skip` makes both new columns null in that row.

    Raises:
        MissingExtraError: Ray is not installed.
        BundleError: there is no such bundle, it is damaged, or it takes sequences of numbers.
        InputError: `workers` or `threads` is not a whole number of 1 or more; two of the three columns have the same
            name; or the bundle takes pairs or features, or has several heads. A missing text column, or an existing
            column with a new name, is found only by a worker: Ray then raises its own error, which quotes the
            InputError.

    Example:
        >>> import ray.data
        >>> news = ray.data.read_parquet("s3://corpus/news/")
        >>> labelled = classify_dataset(news, "ag_news", workers=8, text_column="headline")
        >>> labelled.write_parquet("s3://corpus/labelled/")
    """
    ray = require_module("ray", "ray")
    ray_data = require_module("ray.data", "ray")
    for name, number in (("workers", workers), ("threads", threads)):
        if not isinstance(number, int) or number < 1:
            raise InputError(
                f"{name} is {number!r}, but it must be a whole number of 1 or more.", "Give such a number."
            )
    names = (text_column, label_column, probability_column)
    if len(set(names)) < 3:
        raise InputError(
            f"text_column, label_column and probability_column must have different names, but they have "
            f"{', '.join(map(repr, names))}.",
            "Give three different names.",
        )
    files = ray.put(_read_bundle_files(find_or_download_bundle(bundle)))
    classified: Dataset = dataset.map_batches(
        _ClassifierActor,
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


def _read_bundle_files(folder: Path) -> dict[str, bytes]:
    """Read classifier.json and the graph of a bundle; return their contents by their names. Raise an error for a bundle
    that does not give one label to a single text."""
    manifest = manifests.read_manifest(folder)
    if not isinstance(manifest.input, TextInput):
        raise BundleError(f"{folder} takes sequences of numbers, not texts.", manifests.TAKES_NUMBERS)
    manifest.require_single_text("classify_dataset()")
    manifest.require_single_head("classify_dataset()")
    graph = read_checked_bytes(folder / manifest.graph.file, manifest.graph.sha256)
    return {manifests.CLASSIFIER_JSON: (folder / manifests.CLASSIFIER_JSON).read_bytes(), manifest.graph.file: graph}


class _ClassifierActor:
    """An actor of Ray Data. It holds a Classifier, and adds answers to batches of rows, which are tables of pyarrow."""

    def __init__(self, files: list[Any], threads: int, columns: tuple[str, str, str], on_error: OnError) -> None:
        import ray

        self._classifier = _load_classifier(ray.get(files[0]), threads)
        self._columns = columns
        self._on_error = on_error

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return add_answer_columns(table, self._classifier, self._columns, self._on_error)


def _load_classifier(files: Mapping[str, bytes], threads: int) -> Classifier:
    """Load a classifier from the contents of its files, by their names."""
    # The Classifier reads the files when it is loaded; they can be deleted afterwards.
    with tempfile.TemporaryDirectory(prefix="pocketrnn-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return Classifier.load(folder, threads=threads)


def add_answer_columns(
    table: pyarrow.Table,
    classifier: Classifier,
    text_label_and_probability_columns: tuple[str, str, str],
    on_error: OnError,
) -> pyarrow.Table:
    """Return a table of pyarrow with two more columns: the likeliest label of each row, and the probability of that
    label.

    Args:
        table: the rows.
        classifier: the classifier that gives the labels.
        text_label_and_probability_columns: the names of the column of texts and of the two new columns.
        on_error: what to do with a text that is null, not a string, or beyond the graph's limits: `raise` raises an
            error, `skip` makes both new columns null.

    Raises:
        InputError: the column of texts is missing, or the table has one of the new columns already.
        TextError: a text is not a string, and `on_error` is `raise`.
        LimitError: a text is beyond the graph's limits, and `on_error` is `raise`.
    """
    import pyarrow

    text_column, *added = text_label_and_probability_columns
    if text_column not in table.column_names:
        raise InputError(
            f"The rows have no column {text_column!r}; their columns are {', '.join(table.column_names) or 'none'}.",
            "Name the column with the texts: text_column=...",
        )
    if taken := [name for name in added if name in table.column_names]:
        raise InputError(
            f"The rows already have a column {taken[0]!r}, so that no new column can have this name.",
            "Give the new columns other names: label_column=..., probability_column=...",
        )
    logits = classifier.logits(table.column(text_column).to_pylist(), on_error=on_error)
    skipped = np.isnan(logits[:, 0])
    best = logits.argmax(1)
    labels = [classifier.labels[i] for i in best.tolist()]
    probabilities = get_answers_of_chosen_labels(classifier).probabilities(logits)[np.arange(len(best)), best]
    return table.append_column(added[0], pyarrow.array(labels, pyarrow.string(), mask=skipped)).append_column(
        added[1], pyarrow.array(probabilities, pyarrow.float32(), mask=skipped)
    )
