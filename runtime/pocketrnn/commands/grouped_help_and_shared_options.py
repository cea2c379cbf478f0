"""A command whose help shows its options in groups, and the options that several commands share.

The help begins with examples and common options; the text and the rare options follow.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from pocketrnn.tables.encodings import UTF8, check_encoding

__all__ = [
    "Command",
    "Text",
    "list_command_examples",
    "make_column_option",
    "make_encoding_option",
]

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

_EXAMPLES: Final = "Examples:"


class Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """The type of a command-line argument that is a text and not a path.

    Bytes that the locale could not decode are decoded as UTF-8, in every locale. Bytes that are not UTF-8 are refused.
    """

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert an argument to text; fail with click's own error if it is not UTF-8."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            try:
                return os.fsencode(text).decode()
            except UnicodeDecodeError as error:
                self.fail(f"{text!a} is not UTF-8 (byte {error.start + 1}). Convert it, as with iconv.", param, ctx)
            # A lone surrogate, which can be typed on Windows.
            except UnicodeEncodeError:
                return text
        return text


def make_column_option(name: str, help: str) -> Callable[[_Decorated], _Decorated]:  # noqa: A002
    """Make the option for the name of a column of a file. For the name `text`, the option is `--text-column`, and its
    default is `text`."""
    return click.option(f"--{name}-column", type=Text(), default=name, show_default=True, metavar="NAME", help=help)


def make_encoding_option(help: str) -> Callable[[_Decorated], _Decorated]:  # noqa: A002
    """Make the option `--encoding` for the encoding of text files, with UTF-8 as the default. `help` is its help
    text."""
    return click.option(
        "--encoding",
        type=Text(),
        default=UTF8,
        show_default=True,
        metavar="NAME",
        callback=lambda _context, _option, value: check_encoding(value),
        help=help,
    )


class Command(click.Command):
    """A command with its options in groups.

    Args:
        groups: the title of each group and the names of its options, in the order of the help. The last group also
            gets the option `help` and every option that no group names.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = dict(groups or {"Options": ()})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. If click raises a usage error without a context, give it the context of this command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help_text(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first paragraph of the help and the examples. `format_options` writes the other paragraphs after
        the common options."""
        first = _make_help_without_examples(self).partition("\n\n")[0]
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(first)
        if examples := list_command_examples(self):
            with formatter.section(_EXAMPLES.removesuffix(":")):
                formatter.write_text("\b\n" + "\n".join(examples))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the common options first, then the other paragraphs of the help, then the other groups of options."""
        rest = _make_help_without_examples(self).partition("\n\n")[2]
        for place, (title, parameters) in enumerate(self.list_options_by_group(ctx).items()):
            records = [record for p in parameters if (record := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
            if place == 0 and rest:
                with formatter.indentation():
                    formatter.write_paragraph()
                    formatter.write_text(rest)

    def list_options_by_group(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """Return a dict from the title of each group to its options, in the order of the help."""
        by_name = {p.name: p for p in self.get_params(ctx) if isinstance(p, click.Option)}
        found = {title: [by_name.pop(name) for name in names] for title, names in self.groups.items()}
        found[list(found)[-1]] += by_name.values()
        return found


def list_command_examples(command: click.Command) -> list[str]:
    """List the lines of the examples in a command's help, as a user types them."""
    examples = _dedent_help(command).partition(f"{_EXAMPLES}\n")[2]
    return [line[2:] for line in examples.splitlines()]


def _make_help_without_examples(command: click.Command) -> str:
    """Return a command's help text without its examples."""
    return _dedent_help(command).partition(f"\b\n{_EXAMPLES}\n")[0].strip()


def _dedent_help(command: click.Command) -> str:
    """Return a command's help text without indentation; an empty string if there is none."""
    return inspect.cleandoc(command.help or "")
