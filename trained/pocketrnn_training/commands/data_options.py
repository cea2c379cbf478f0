"""DATA and the options that say how it is read, which `train` and `evaluate` share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from pocketrnn.commands.command import Text, column_option
from pocketrnn.tables.rows import LABEL_SEPARATOR
from pocketrnn_training.data_source import DataSource

__all__ = ["data_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _not_empty(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("it is empty.")
    return value


_OPTIONS: Final = (
    click.argument("data", nargs=-1, required=True, metavar="DATA..."),
    column_option("text", "The column that holds the texts."),
    column_option("label", "The column that holds the labels."),
    click.option(
        "--label-separator",
        type=Text(),
        default=LABEL_SEPARATOR,
        show_default=True,
        metavar="TEXT",
        callback=_not_empty,
        help="What stands between the labels of a text with several, where they are no list: sad|long.",
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
    """Give the command these options as one argument `source`, a `DataSource`."""

    @functools.wraps(command)
    def with_source(
        *arguments: Any,
        data: tuple[str, ...],
        text_column: str,
        label_column: str,
        label_separator: str,
        data_dir: Path | None,
        multi_label: bool = False,
        **others: Any,
    ) -> Any:
        source = DataSource(data, text_column, label_column, data_dir, multi_label, label_separator)
        return command(*arguments, source=source, **others)

    for option in reversed(_OPTIONS):
        with_source = option(with_source)
    return with_source  # type: ignore[return-value]
