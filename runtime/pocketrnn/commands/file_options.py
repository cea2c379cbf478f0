"""The options of `pocketrnn classify` for files of rows, and the names of the columns that it adds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar, get_args

import click

from pocketrnn.commands.grouped_help_and_shared_options import Text, make_column_option, make_encoding_option
from pocketrnn.errors import InputError
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.file_kinds import KINDS, Kind
from pocketrnn.text.chunks_of_checked_texts import OnError

__all__ = [
    "DECIMALS",
    "SECOND_TEXT",
    "FileOptions",
    "add_file_options",
    "choose_unused_answer_columns",
    "name_answer_columns",
]

# A probability or a value is a float32, which has about six exact decimals. Writing all its digits would take twice the
# space.
DECIMALS: Final = 6

# The default name of the column of second texts, and of their member in JSON.
SECOND_TEXT: Final = "second_text"

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class FileOptions:
    """The values of the options of `pocketrnn classify` for files of rows. Each attribute has the name of its option;
    `pocketrnn classify --help` explains them."""

    input: str | None
    output: str | None
    encoding: str
    input_format: Kind | None
    output_format: Kind | None
    text_column: str
    second_text_column: str | None
    label_column: str
    probability_column: str
    on_error: OnError
    force: bool

    @property
    def asks_for_file(self) -> bool:
        """Whether the user asks to classify the rows of a file."""
        return any((self.input, self.output, self.input_format, self.output_format, self.encoding != UTF8))


def name_answer_columns(files: FileOptions, top: int, head: str = "") -> list[tuple[str, str]]:
    """Return the names of the new columns: for each of the `top` likeliest labels a pair, the column of labels and the
    column of their probabilities.

    With several heads, the name of the head follows: `label_topic`, `probability_topic`.

    Args:
        files: the options with the names of the first two columns.
        top: how many labels are written for each row.
        head: the name of the head; empty without heads.

    Raises:
        InputError: two columns would have the same name.
    """
    ends = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    of_head = f"_{head}" if head else ""
    names = [(files.label_column + of_head + end, files.probability_column + of_head + end) for end in ends]
    flat = [name for pair in names for name in pair]
    if len(set(flat)) < len(flat):
        raise InputError(
            f"With --label-column {files.label_column} and --probability-column {files.probability_column}, two new "
            "columns would have the same name.",
            "Choose other names, such as label and probability.",
        )
    return names


def choose_unused_answer_columns(files: FileOptions, taken: Collection[str]) -> dict[str, str]:
    """Choose names for the new columns that no column of the file has. Return a dict from the option for each name,
    such as `label_column`, to the name.

    Args:
        files: the options with the names that are taken.

    Example:
        >>> choose_unused_answer_columns(files, taken=["text", "label"])
        {'label_column': 'predicted_label', 'probability_column': 'predicted_probability'}
    """
    prefix = "predicted_"
    while any(one.startswith(prefix) for one in taken):
        prefix += "again_"
    names = {"label_column": files.label_column, "probability_column": files.probability_column}
    return {option: prefix + name for option, name in names.items()}


def add_file_options(command: _Command) -> _Command:
    """Add the options for files to a command function. The function then gets their values as one argument, `files`."""

    @functools.wraps(command)
    def call_with_file_options(**options: Any) -> Any:
        files = FileOptions(**{member.name: options.pop(member.name) for member in fields(FileOptions)})
        return command(files=files, **options)

    for option in reversed(_OPTIONS):
        call_with_file_options = option(call_with_file_options)
    return call_with_file_options  # type: ignore[return-value]


_OPTIONS: Final = (
    click.option(
        "-i",
        "--input",
        metavar="FILE",
        help="Classify the rows of this file: .csv, .tsv (with a header line), .jsonl, .ndjson, .parquet; - is "
        "standard input.",
    ),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write the rows to this file, which is written as a whole or not at all.  [default: standard output]",
    ),
    click.option(
        "--input-format", type=click.Choice(KINDS), help="The format of the input.  [default: by the end of its name]"
    ),
    click.option(
        "--output-format",
        type=click.Choice(KINDS),
        help="The format of the output.  [default: by the end of its name, else that of the input]",
    ),
    make_encoding_option("How the input is encoded: cp1252, utf-16, gb18030, ...; not Parquet. The output is UTF-8."),
    make_column_option("text", "The column that holds the texts."),
    click.option(
        "--second-text-column",
        type=Text(),
        metavar="NAME",
        help="The column that holds the second texts, for a bundle that takes two texts.  [default: second_text]",
    ),
    make_column_option("label", "The column to write labels to."),
    make_column_option("probability", "The column to write probabilities to."),
    click.option(
        "--on-error",
        type=click.Choice(get_args(OnError)),
        default="raise",
        show_default=True,
        help="raise stops at the first row that cannot be read, or whose text cannot be classified. skip leaves out "
        "rows that cannot be read, and leaves the label empty if the text is missing or cannot be classified.",
    ),
    click.option("--force", is_flag=True, help="Replace the output file if it exists."),
)
