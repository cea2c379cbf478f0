"""The command `evaluate`. It imports PyTorch when it runs, not when its help is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pocketrnn.commands.file_options import SECOND_TEXT
from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.commands.terminal_text import align_columns, escape_line
from pocketrnn.errors import DataError, TextError, require_module
from pocketrnn_training.commands.data_options import data_options
from pocketrnn_training.rows.data_source import DataSource

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier
    from pocketrnn.text.features_beside_text import Features
    from pocketrnn_training.classifiers.checkpoint import Checkpoint
    from pocketrnn_training.measures.evaluation import Evaluation
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

__all__ = ["evaluate"]

# A matrix of more classes is wider than a terminal; the largest confusions are listed instead.
_MATRIX_CLASSES: Final = 20
_CONFUSIONS_LISTED: Final = 20


@click.command(cls=Command, short_help="Measure a classifier on labelled rows.")
@click.argument("classifier", metavar="CLASSIFIER")
@data_options
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N", help="Processor cores to use."
)
@click.option("--head", type=Text(), metavar="NAME", help="The head that DATA labels, for a bundle with several.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def evaluate(
    classifier: str,
    source: DataSource,
    threads: int,
    head: str | None,
    as_json: bool,
) -> None:
    """Classify DATA, and show accuracy, precision, recall and F1 of each class, and the classes that are confused.

    CLASSIFIER is the folder of a checkpoint, which PyTorch runs, or the folder of a bundle or the name of one that
    ships with pocketrnn, which the runtime runs. DATA is as for `pocketrnn train`; ag_news is its test part.

    A multi-label classifier gives the labels that reach its thresholds or, if it has none, 0.5. DATA is then as for
    `pocketrnn train --multi-label`. F1 is that of all answers together (micro) and the mean of all labels (macro).

    With --outside, rows with that label belong to none of the classes. The effect of the classifier's threshold is then
    shown, too: how many of these rows get no label, and how many other rows get their right label.

    For a tagger, DATA is as for `pocketrnn train --labels-of tokens`, and a row is a word. Where labels are those of
    spans (BIO, IOBES), precision, recall and F1 of the spans are shown first.

    For a bundle that takes numbers or categories beside a text, each is in the column of its name.

    For a classifier that takes two texts, the second of each row is in the column --second-text-column, which is
    second_text unless `train` was told another.

    DATA is read with the columns that were given to `train` (--text-column and the like), unless you name others.

    For sequences of numbers, the windows, the value of a missing sample and the columns of the channels are those of
    the classifier.

    A checkpoint that is not packed is run as it was trained: batches of the training batch size, in the order of the
    rows, each padded to its longest. This shows what padding does to its answers; its bundle never pads.

    \b
    Examples:
      pocketrnn evaluate reviews.checkpoint test.csv
      pocketrnn evaluate --json ag_news test.csv
      pocketrnn evaluate motions.checkpoint BasicMotions_TEST.ts
      pocketrnn evaluate words.checkpoint en-test.conllu
    """
    # Mistakes that can be found without PyTorch are reported first, before it is loaded; a wrong classifier name comes
    # before the others.
    source = source.add_remembered_options(_read_remembered_options(classifier))
    # A packed file does not say before it is loaded whether its labels are of tokens.
    if Path(classifier).is_dir():
        source.check_files()
    with print_line_if_slow("Loading PyTorch ..."):
        for package in ("torch", "safetensors", "sklearn"):
            require_module(package, "train")
        from pocketrnn_training.loop.thread_limit import limit_threads
        from pocketrnn_training.measures.evaluation import evaluate as evaluate_classifier
        from pocketrnn_training.measures.evaluation import (
            find_number_rules,
            gives_several_labels,
            labels_each_token_or_word,
            takes_two_texts,
        )

    loaded = _load_classifier(classifier, threads, head)
    with limit_threads(threads):
        labels, rules = tuple(loaded.labels), find_number_rules(loaded)
        what = "words" if labels_each_token_or_word(loaded) else "rows"
        if labels_each_token_or_word(loaded):
            rows: Any = replace(source, labels_of="tokens").read_tags(tuple(map(Path, source.names)), labels)
        elif rules is not None:
            rows = source.read_numbers(tuple(map(Path, source.names)), labels, rules)
        elif source.has_number_rows:
            raise DataError(
                f"{classifier} classifies texts, but DATA holds sequences of numbers.",
                "Give files of texts, and leave out --channels.",
            )
        else:
            source = replace(source, multi_label=gives_several_labels(loaded))
            if takes_two_texts(loaded):
                source = replace(source, second_text_column=source.second_text_column or SECOND_TEXT)
            elif source.second_text_column is not None:
                said = f"--second-text-column is given, but {loaded.name} reads single texts: leave out the option."
                raise click.UsageError(said)
            rows = source.read_texts("test", labels)
            if features := _get_features_beside_text(loaded):
                rows = _add_features_from_columns(rows, source, features)
        result = evaluate_classifier(loaded, rows)
    for line in [json.dumps(asdict(result))] if as_json else _format_evaluation(result, what):
        print_line(line)


def _get_features_beside_text(classifier: Classifier | Checkpoint) -> Features:
    """Return the features that a classifier takes beside a text, such as a price; empty if it takes only texts."""
    manifest = getattr(classifier, "manifest", None)
    return () if manifest is None else manifest.features


def _add_features_from_columns(rows: LabelledTexts, source: DataSource, features: Features) -> LabelledTexts:
    """Return the rows with the features that a classifier takes beside a text, read from the columns of their names.

    Args:
        rows: the rows with their texts.
        source: the files.
        features: the features of the classifier.

    Raises:
        DataError: a column is missing, or a row has a value that its feature cannot have.
        click.UsageError: --outside is given.
    """
    from pocketrnn.text.features_beside_text import encode_values, parse_feature_values_from_strings
    from pocketrnn_training.rows.table_files import read_columns

    if source.outside is not None:
        raise click.UsageError(
            "--outside cannot be used with a classifier that takes features beside a text: leave out --outside."
        )
    names = [name for name, _ in features]
    remedy = f"A row has a column for each feature: {', '.join(names)}."
    given: list[Any] = []
    for name in source.names:
        before = len(given)
        chunks = read_columns(Path(name), names, remedy, source.encoding)
        written = Path(name).suffix.lower() in {".csv", ".tsv"}
        values = (dict(zip(names, row, strict=True)) for columns in chunks for row in zip(*columns, strict=True))
        for row in values:
            given.append(parse_feature_values_from_strings(features, row) if written else row)
            try:
                encode_values(features, given[-1], f"Row {len(given) - before} of {name}")
            except TextError as error:
                raise DataError(error.problem, error.remedy) from None
    if len(given) != len(rows.texts):
        raise DataError(
            f"The files have {len(given):,} rows, but only {len(rows.texts):,} of the rows have a label.",
            "Write a label in each row, or delete the rows without a label.",
        )
    texts: Any = list(zip(rows.texts, given, strict=True))
    return replace(rows, texts=texts)


def _read_remembered_options(path_or_name: str) -> dict[str, Any]:
    """Read the options, such as column names, with which the training rows of a classifier were read.

    They are in the JSON file of its folder. Return an empty dict if it has none, or if it cannot be read.
    """
    for file in ("config.json", "classifier.json"):
        try:
            document = json.loads((Path(path_or_name) / file).read_bytes())
            if document.get("labels_of") == "tokens":
                return {"labels_of": "tokens"}
            data = document["data"] if file == "config.json" else document["provenance"]["data"]
            return dict(data["columns"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return {}


def _load_classifier(path_or_name: str, threads: int, head: str | None) -> Classifier | Checkpoint:
    """Load a checkpoint from its folder, or a bundle and one of its heads.

    Args:
        path_or_name: the folder of a checkpoint or a bundle, or the name of a bundle.
        threads: how many threads run a bundle.
        head: the name of the head of a bundle that has several; None for the only one.

    Raises:
        InputError: the bundle has no head of this name, or has several and `head` is None.
    """
    from pocketrnn.classifier import Classifier, get_answers_of_chosen_labels
    from pocketrnn_training.classifiers import checkpoint as checkpoints

    folder = Path(path_or_name)
    if (folder / checkpoints.CONFIG_JSON).is_file():
        if head is not None:
            raise click.UsageError(f"{path_or_name} is a checkpoint, which has one head: leave out --head.")
        return checkpoints.read(folder)
    loaded = Classifier.load(path_or_name, threads=threads)
    loaded = loaded if head is None else loaded.head(head)
    get_answers_of_chosen_labels(loaded).require_single_head("pocketrnn evaluate")
    return loaded


def _format_evaluation(result: Evaluation, row_word: str) -> Iterator[str]:
    """Yield the lines that show an evaluation. `row_word` is what its rows are called, such as "rows"."""
    if (spans := result.spans) is not None:
        yield from align_columns(
            [("spans", "precision", "recall", "F1", "true spans")]
            + [
                (escape_line(s.label or "all"), f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}", f"{s.spans:,}")
                for s in (spans.all, *spans.labels)
            ],
            left_aligned=1,
        )
        yield ""
    if result.confusion:
        yield f"accuracy {result.accuracy:.2%} of {result.rows:,} {row_word}, mean F1 {result.macro_f1:.2%}"
        if (outside := result.outside) is not None:
            yield (
                f"by the threshold: {outside.right:.2%} of these rows are given their label, {outside.none:.2%} of "
                f"{outside.rows:,} rows of none of the classes are given none"
            )
    else:
        f1 = f"micro F1 {result.micro_f1:.2%}, macro F1 {result.macro_f1:.2%}"
        yield f"{f1}, all labels right in {result.accuracy:.2%} of {result.rows:,} rows"
    yield ""
    yield from align_columns(
        [("", "class", "precision", "recall", "F1", "rows")]
        + [
            (f"{i}", escape_line(c.label), f"{c.precision:.2%}", f"{c.recall:.2%}", f"{c.f1:.2%}", f"{c.rows:,}")
            for i, c in enumerate(result.classes, start=1)
        ],
        left_aligned=2,
    )
    if not result.confusion:
        return
    yield ""
    labels = [escape_line(c.label) for c in result.classes]
    if len(labels) <= _MATRIX_CLASSES:
        yield from _format_matrix(result, labels)
    else:
        yield from _format_confusions(result, labels)


def _format_matrix(result: Evaluation, labels: list[str]) -> Iterator[str]:
    """Yield the lines that show the confusion matrix. `labels` are the names of the classes, ready for display."""
    yield "Confusion: a line for each true class, a column for each class given."
    yield from align_columns(
        [("", "class", *(f"{i}" for i in range(1, len(labels) + 1)))]
        + [
            (f"{i}", label, *(f"{count:,}" for count in counts))
            for i, (label, counts) in enumerate(zip(labels, result.confusion, strict=True), start=1)
        ],
        left_aligned=2,
    )


def _format_confusions(result: Evaluation, labels: list[str]) -> Iterator[str]:
    """Yield the lines that list the classes that are confused most often. `labels` are their names, for display."""
    import numpy as np

    from pocketrnn_training.measures.evaluation import list_confusions_by_frequency

    confused = list_confusions_by_frequency(np.array(result.confusion))
    yield f"The largest of {len(confused):,} confusions; --json gives the whole matrix."
    yield from align_columns(
        [("true class", "class given", "rows")]
        + [(labels[i], labels[j], f"{count:,}") for count, i, j in confused[:_CONFUSIONS_LISTED]],
        left_aligned=2,
    )
