"""The options for measuring a smaller bundle, and the writing of one: what `compress`, `pack` and `export --compress`
share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    from pocketrnn_export.forms.weight_quantization import Storage
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

# The options that say how the data is read.
COLUMNS: Final = ("text_column", "label_column", "label_separator")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def check_is_bundle(path_or_name: str | Path) -> None:
    """Refuse a path that is neither a bundle nor a packed file. The check runs before PyTorch is loaded, which takes
    seconds."""
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
    """Write a compressed copy of a bundle, and print the size and the accuracy after each step."""
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
    """Read the labelled texts that --data names, on which a loss of accuracy is measured. Return None without --data,
    and then refuse --max-loss."""
    if max_loss is not None and data is None:
        raise click.UsageError("--max-loss needs the rows on which the loss is measured. Give --data FILE, too.")
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
