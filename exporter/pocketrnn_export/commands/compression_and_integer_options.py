"""The options that `compress`, `pack` and `export` share: for measuring a smaller bundle, for integer arithmetic and
the data that measures its effect; and the writing of a smaller bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.packed_file import is_packed_file
from pocketrnn.commands.grouped_help_and_shared_options import Text, make_column_option
from pocketrnn.commands.standard_streams import print_line
from pocketrnn.errors import require_module
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn_export.commands.printed_stages import print_stages

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn_export.forms.weight_quantization import Storage
    from pocketrnn_export.integer_accuracy import AllowedChange
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

# The options that say how the data is read.
COLUMNS: Final = ("text_column", "label_column", "label_separator")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def check_is_bundle(path_or_name: str | Path) -> None:
    """Raise an InputError if a path is neither a bundle nor a packed file. This is checked before PyTorch is loaded,
    which takes seconds."""
    folder = find_or_download_bundle(path_or_name)
    if not is_packed_file(folder):
        manifests.read_manifest(folder)


def data_options(command: _Command) -> _Command:
    """Add the options that name the labelled texts on which a smaller bundle is measured."""
    for option in reversed(
        (
            click.option("--data", type=click.Path(path_type=Path), metavar="FILE",
                         help="Labelled texts to measure the loss on: .csv, .tsv, .jsonl or .parquet. For --arithmetic "
                         "int8, they need no labels. For a bundle of numbers, labelled sequences, also .ts or .npz."),
            click.option("--max-loss", type=click.FloatRange(0, 100), metavar="POINTS",
                         help="Write nothing if the accuracy on the data falls by more percentage points."),
            make_column_option("text", "The data's column of texts."),
            make_column_option("label", "The data's column of labels."),
            click.option("--label-separator", type=Text(), default=LABEL_SEPARATOR, show_default=True, metavar="TEXT",
                         help="The separator between several labels of a text, if they are not a list."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def write_compressed_bundle(
    bundle: str | Path,
    output: Path,
    storage: Storage,
    *,
    name: str | None,
    force: bool,
    rows: LabelledTexts | None,
    max_loss: float | None,
) -> Manifest:
    """Write a compressed copy of a bundle, and print its size and accuracy after each step of the compression. Return
    its manifest. `storage` says how weights are stored, and `rows` are labelled texts to measure the accuracy on."""
    from pocketrnn.bundle.atomic_writing import check_output_folder
    from pocketrnn_export.compression import compress as compress_bundle
    from pocketrnn_export.compression import format_steps_table

    check_output_folder(output, force=force, marker_file="classifier.json")
    with print_stages():
        made = compress_bundle(bundle, output, storage=storage, data=rows, max_loss=max_loss, name=name, force=force)
    for line in format_steps_table(made.steps).split("\n"):
        print_line(line)
    if rows is None and made.manifest.text.rules.tokenizer != "external":
        print_line(
            f"The labels were compared on only {made.steps[0].texts} golden examples, which says little. To measure "
            "the loss of accuracy, give labelled texts: --data FILE"
        )
    return made.manifest


def read_rows_to_measure(
    labels: Sequence[str],
    *,
    data: Path | None,
    max_loss: float | None,
    text_column: str,
    label_column: str,
    label_separator: str,
    several_labels: bool,
) -> LabelledTexts | None:
    """Read the labelled texts that --data names, on which a loss of accuracy is measured. Return None without --data.
    Raise a UsageError for --max-loss without --data."""
    if max_loss is not None and data is None:
        raise click.UsageError(
            "--max-loss limits the loss of accuracy, but there are no rows to measure it on. Give --data FILE, "
            "too, or leave --max-loss out."
        )
    if data is None:
        return None
    require_module("pyarrow", "train")
    from pocketrnn_training.rows.text_files import read_files

    return read_files(
        [data],
        text_column=text_column,
        label_column=label_column,
        labels=tuple(labels),
        multi_label=several_labels,
        label_separator=label_separator,
    )


_LABEL_COLUMN: Final = "label"
_TEXT_COLUMN: Final = "text"
_MEASURES: Final = ("data", "max_loss", "max_changed")


def arithmetic_options(command: _Command) -> _Command:
    """Add the options that choose the arithmetic of a packed file and limit the share of changed labels."""
    for option in reversed(
        (
            click.option("--arithmetic", type=click.Choice(["float32", "int8"]), default="float32", show_default=True,
                         help="The number format of a packed file's layers. int8 is twice as fast for wide layers, but "
                         "changes some answers. How many is measured on --data and kept in the file."),
            click.option("--max-changed", type=click.FloatRange(0, 100), metavar="PERCENT",
                         help="Write nothing if int8 changes the labels of more than this share of the texts.  "
                         "[default: 0.2]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def refuse_measure_options_for_float32(
    arithmetic: str, given: Mapping[str, Any], among: Sequence[str] = _MEASURES
) -> None:
    """Raise a UsageError if the arithmetic is float32 and one of the options `among`, which measure the effect of
    integer arithmetic, is given. `given` has the values of all options."""
    stated = [f"--{name.replace('_', '-')}" for name in among if given[name] is not None]
    if arithmetic == "float32" and stated:
        raise click.UsageError(
            f"{stated[0]} measures the effect of int8, but --arithmetic is float32. Give --arithmetic int8, too, "
            f"or leave {stated[0]} out."
        )


def read_int8_measure_arguments(
    labels: tuple[str, ...],
    *,
    data: Path | None,
    max_loss: float | None,
    max_changed: float | None,
    text_column: str,
    label_column: str,
    label_separator: str,
    several_labels: bool = False,
    numbers: NumberInput | None = None,
) -> tuple[LabelledTexts | LabelledSequences | None, AllowedChange]:
    """Read the rows of --data on which the effect of integer arithmetic is measured. Return a tuple: the rows, or None
    without --data; and the change that --max-loss and --max-changed allow.

    If --data has no column `label` and no other column is named, the rows are texts without labels, and a note says so.
    If the classifier takes sequences (`numbers`), they are cut into its windows.
    """
    for option, is_given in (
        ("--text-column", text_column != _TEXT_COLUMN),
        ("--label-separator", label_separator != LABEL_SEPARATOR),
    ):
        if numbers is not None and is_given:
            raise click.UsageError(
                f"{option} applies to texts, but the bundle takes sequences of numbers. Leave {option} out."
            )
    from pocketrnn_export.integer_accuracy import MOST_CHANGED, MOST_LOST, AllowedChange

    allowed = AllowedChange(
        MOST_CHANGED if max_changed is None else max_changed, MOST_LOST if max_loss is None else max_loss
    )
    read_labelled_texts = functools.partial(
        read_rows_to_measure, labels, data=data, max_loss=max_loss, text_column=text_column,
        label_column=label_column, label_separator=label_separator, several_labels=several_labels,
    )  # fmt: skip
    if data is None:
        return read_labelled_texts(), allowed
    require_module("pyarrow", "train")
    from pocketrnn_training.rows.sequence_files import read_sequences
    from pocketrnn_training.rows.table_files import read_column_names
    from pocketrnn_training.rows.text_files import read_texts
    from pocketrnn_training.settings.sequence_reading_options import SequenceOptions

    if numbers is not None:
        options = SequenceOptions().of_classifier(numbers)
        return read_sequences([data], options, label_column=label_column, labels=labels), allowed
    if label_column != _LABEL_COLUMN or _LABEL_COLUMN in read_column_names(data):
        return read_labelled_texts(), allowed
    if max_loss is not None:
        raise click.UsageError(
            f"--max-loss needs labels, but {data} does not have a column {_LABEL_COLUMN!r}. Name the column with "
            "the labels: --label-column NAME."
        )
    print_line(
        f"{data} has no column {_LABEL_COLUMN!r}. The labels from the bundle and the packed file are compared, but no "
        "accuracy is measured. If another column holds the labels, name it: --label-column"
    )
    return read_texts([data], labels, text_column=text_column), allowed


def format_int8_warning(manifest: Manifest) -> list[str]:
    """Return a list with a warning if the effect of integer arithmetic was measured only on golden examples. Return an
    empty list otherwise."""
    from pocketrnn.verdicts import read_integer_verdict

    verdict = read_integer_verdict(manifest)
    if verdict is None or verdict.is_data:
        return []
    return [
        f"The effect of int8 was measured on only {verdict.texts} golden examples, which says little. To measure it, "
        f"give {'texts, labelled or not,' if verdict.of == 'texts' else 'labelled sequences'} with --data FILE"
    ]
