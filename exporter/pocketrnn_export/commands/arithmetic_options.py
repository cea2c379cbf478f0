"""The options of `pack` and `export` for integer arithmetic, and the data to measure its effect on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.commands.standard_streams import print_line
from pocketrnn.errors import require_module
from pocketrnn.tables.row_batches import LABEL_SEPARATOR

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn_export.integer_accuracy import AllowedChange
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LABEL_COLUMN: Final = "label"
_TEXT_COLUMN: Final = "text"
_MEASURES: Final = ("data", "max_loss", "max_changed")


def arithmetic_options(command: _Command) -> _Command:
    """Add the options for the arithmetic of a packed file, and for the number of labels that integers may change."""
    for option in reversed(
        (
            click.option("--arithmetic", type=click.Choice(["float32", "int8"]), default="float32", show_default=True,
                         help="The number format of a packed file's layers. int8 is twice as fast for wide layers, and "
                         "changes answers: how much is measured on --data, and kept in the file."),
            click.option("--max-changed", type=click.FloatRange(0, 100), metavar="PERCENT",
                         help="Write nothing if int8 changes the label or labels of more texts.  [default: 0.2]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def check_measure_options(arithmetic: str, given: Mapping[str, Any], among: Sequence[str] = _MEASURES) -> None:
    """Refuse options that measure the effect of integers, where the arithmetic is float32."""
    stated = [f"--{name.replace('_', '-')}" for name in among if given[name] is not None]
    if arithmetic == "float32" and stated:
        raise click.UsageError(f"{stated[0]} limits or measures the effect of int8: it needs --arithmetic int8.")


def read_integer_arguments(
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
    """Read the data that the options name, texts or sequences of `numbers`, and the allowed number of changed answers.
    Divide sequences into the classifier's windows.

    A file without the column `label` holds texts only, which is printed; a column that is named must be there.
    """
    for option, is_given in (
        ("--text-column", text_column != _TEXT_COLUMN),
        ("--label-separator", label_separator != LABEL_SEPARATOR),
    ):
        if numbers is not None and is_given:
            raise click.UsageError(f"{option} applies to texts, but the bundle takes sequences of numbers.")
    allowed = _make_allowed_change(data, max_loss, max_changed)
    if data is None:
        return None, allowed
    require_module("pyarrow", "train")
    from pocketrnn_training.rows.column_files import read_column_names
    from pocketrnn_training.rows.labelled_texts import read_files, read_texts
    from pocketrnn_training.rows.sequence_files import read_sequences
    from pocketrnn_training.settings.sequence_options import SequenceOptions

    if numbers is not None:
        options = SequenceOptions().of_classifier(numbers)
        return read_sequences([data], options, label_column=label_column, labels=labels), allowed
    if label_column != _LABEL_COLUMN or _LABEL_COLUMN in read_column_names(data):
        rows = read_files(
            [data],
            text_column=text_column,
            label_column=label_column,
            labels=labels,
            multi_label=several_labels,
            label_separator=label_separator,
        )
        return rows, allowed
    if max_loss is not None:
        raise click.UsageError(
            f"--max-loss needs labels: {data} has no column {_LABEL_COLUMN!r}. Name it: --label-column"
        )
    print_line(
        f"{data} has no column {_LABEL_COLUMN!r}: labels are compared, and no accuracy is measured. If another column "
        "holds the labels, name it: --label-column"
    )
    return read_texts([data], labels, text_column=text_column), allowed


def _make_allowed_change(data: Path | None, max_loss: float | None, max_changed: float | None) -> AllowedChange:
    from pocketrnn_export.integer_accuracy import MOST_CHANGED, MOST_LOST, AllowedChange

    if max_loss is not None and data is None:
        raise click.UsageError("--max-loss needs --data to be measured on.")
    return AllowedChange(
        MOST_CHANGED if max_changed is None else max_changed, MOST_LOST if max_loss is None else max_loss
    )


def format_integer_warning(manifest: Manifest) -> list[str]:
    """Return the warning about a file of integers that was measured on golden examples only; else nothing."""
    from pocketrnn.verdicts import read_integer_verdict

    verdict = read_integer_verdict(manifest)
    if verdict is None or verdict.is_data:
        return []
    return [
        f"The effect of integers was measured on {verdict.texts} golden examples only, which says little. Give "
        f"{'texts, labelled or not,' if verdict.of == 'texts' else 'labelled sequences'} to measure it: --data FILE"
    ]
