"""The argument DATA and the options for reading it. `train` and `evaluate` share them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from pocketrnn.commands.grouped_help_and_shared_options import Text, make_column_option, make_encoding_option
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.settings.sequence_reading_options import SequenceOptions

__all__ = ["data_options", "split_option_value_at_commas"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _refuse_empty_value(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option. Raise a click.BadParameter if it is empty."""
    if value == "":
        raise click.BadParameter("the value is empty: give a value, or leave out the option.")
    return value


def split_option_value_at_commas(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Split the value of an option at its commas into names: "ax, ay" becomes ("ax", "ay"). None stays None."""
    return None if value is None else tuple(name.strip() for name in value.split(","))


def _remove_options_that_are_fields(
    options: dict[str, Any], fields_of: type[DataSource] | type[SequenceOptions]
) -> dict[str, Any]:
    """Remove from `options` those that are fields of the dataclass `fields_of`, and return them by name."""
    return {one.name: options.pop(one.name) for one in fields(fields_of) if one.name in options}


_OPTIONS: Final = (
    click.argument("data", nargs=-1, required=True, metavar="DATA..."),
    make_column_option("text", "The column that holds the texts."),
    click.option(
        "--second-text-column",
        type=Text(),
        metavar="NAME",
        callback=_refuse_empty_value,
        help="The column that holds the second texts, where a row is two texts that are compared.",
    ),
    make_column_option("label", "The column that holds the labels."),
    click.option(
        "--label-separator",
        type=Text(),
        default=LABEL_SEPARATOR,
        show_default=True,
        metavar="TEXT",
        callback=_refuse_empty_value,
        help="The separator of the labels of a text with several, where they are not a list: sad|long.",
    ),
    make_encoding_option(
        "How files of texts are encoded: cp1252, utf-16, gb18030, ...; not Parquet, nor a teacher's files."
    ),
    click.option(
        "--outside",
        type=Text(),
        metavar="LABEL",
        callback=_refuse_empty_value,
        help="Rows with this label belong to none of the classes; a threshold is chosen or measured with them.",
    ),
    click.option(
        "--join-labels",
        is_flag=True,
        help="Labels that differ only in case or spaces are one class: Access, access.",
    ),
    click.option(
        "--drop-unlabelled",
        is_flag=True,
        help="Leave rows without a label out.  [default: they are counted and refused]",
    ),
    click.option(
        "--channels",
        type=Text(),
        metavar="NAMES",
        callback=split_option_value_at_commas,
        help="The rows are steps of sequences of numbers, and these columns hold their channels: ax,ay,az. For .ts and "
        ".npz files, these are the names of the channels.",
    ),
    click.option(
        "--sequence-column",
        type=Text(),
        metavar="NAME",
        help="The column that names the sequence of each step.  [default: each file is one recording]",
    ),
    click.option(
        "--time-column",
        type=Text(),
        metavar="NAME",
        help="The column with the time of each step: a number, or a date and time. Steps are sorted by it.  [default: "
        "rows are in order]",
    ),
    click.option(
        "--channels-first",
        is_flag=True,
        help="x of .npz files is [sequences, channels, time], as aeon has it.",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="The folder with train.csv and test.csv of ag_news. Without it they are downloaded once, to the user's "
        "cache folder.",
    ),
)


def data_options(command: _Command) -> _Command:
    """Add the argument DATA and its options to a command. The command receives them as `source`, a `DataSource`."""

    @functools.wraps(command)
    def with_source(*arguments: Any, data: tuple[str, ...], **options: Any) -> Any:
        context = click.get_current_context()
        given = (name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE)
        numbers = SequenceOptions(**_remove_options_that_are_fields(options, SequenceOptions))
        source = DataSource(
            data, numbers=numbers, said=frozenset(given), **_remove_options_that_are_fields(options, DataSource)
        )
        return command(*arguments, source=source, **options)

    for option in reversed(_OPTIONS):
        with_source = option(with_source)
    return with_source  # type: ignore[return-value]
