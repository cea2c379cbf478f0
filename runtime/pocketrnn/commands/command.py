"""A command whose help has its examples first, then its usual options, then the rare ones in groups."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from pocketrnn.tables.encodings import UTF8, check_encoding

__all__ = [
    "Command",
    "Text",
    "as_options",
    "column_option",
    "encoding_option",
    "examples_of",
    "lines_at_the_end",
    "told_at_the_end",
]

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

_EXAMPLES: Final = "Examples:"
# The argument in Python that a message names after the option: `--call, or call=`, `--gives logits (gives=...)`.
_ALSO_IN_PYTHON: Final = re.compile(
    r"""(--[a-z][a-z-]*(?:\ [a-z]+|\ "[^"]*")?)     # the option, and perhaps its value
        (?:,?\ or\ \w+=(?:\w+)?|,\ in\ Python\ \w+=|,\ \w+=(?=\))|\ \(\w+=[^)]*\))(?=[.;,)\ ]|$)""",
    re.VERBOSE,
)


# Where a context of click keeps the lines that are told at the end.
_AT_THE_END: Final = "pocketrnn.lines_at_the_end"


def told_at_the_end(line: str) -> bool:
    """Have a line told when the command ends, after its error where it has one; False where no command is run.

    Example:
        >>> told_at_the_end("Note: cell 3 is not run")
        False
    """
    context = click.get_current_context(silent=True)
    if context is not None:
        lines_at_the_end(context).append(line)
    return context is not None


def lines_at_the_end(context: click.Context) -> list[str]:
    """The lines that are told when the command ends.

    Example:
        >>> lines_at_the_end(click.Context(click.Command("export")))
        []
    """
    lines: list[str] = context.meta.setdefault(_AT_THE_END, [])
    return lines


class Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """An argument that is text and no path. Bytes that the locale could not decode stand in it as surrogates: they are
    read as UTF-8, whatever the locale, or refused."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text that was typed; click's own error where it is not UTF-8."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            try:
                return os.fsencode(text).decode()
            except UnicodeDecodeError as error:
                self.fail(f"{text!a} is not UTF-8 (byte {error.start + 1}). Convert it, as with iconv.", param, ctx)
            # Half of a surrogate pair, which Windows lets be typed.
            except UnicodeEncodeError:
                return text
        return text


def column_option(name: str, help: str) -> Callable[[_Decorated], _Decorated]:  # noqa: A002
    """The option that names a column of a file: `--text-column`, by default `text`."""
    return click.option(f"--{name}-column", type=Text(), default=name, show_default=True, metavar="NAME", help=help)


def encoding_option(help: str) -> Callable[[_Decorated], _Decorated]:  # noqa: A002
    """The option that names the encoding of files of text: `--encoding`, by default UTF-8."""
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
        groups: the title of each group and the names of its options, in the order of the help. The option `help`
            stands with the last group. An option that no group names is added to the last one too.

    Example:
        >>> command = Command("classify", params=[click.Option(["--top"])], groups={"Options": ["top"]})
        >>> list(command.groups)
        ['Options']
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = dict(groups or {"Options": ()})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Wrong usage names this command's help, also where click's parser does not know the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help_text(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first paragraph, the examples, and the rest."""
        first, _, rest = _prose(self).partition("\n\n")
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(first)
        if examples := examples_of(self):
            with formatter.section(_EXAMPLES.removesuffix(":")):
                formatter.write_text("\b\n" + "\n".join(examples))
        if rest:
            with formatter.indentation():
                formatter.write_paragraph()
                formatter.write_text(rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, group by group."""
        for title, parameters in self.grouped(ctx).items():
            records = [record for p in parameters if (record := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def grouped(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """The options of each group, in the order of the help."""
        by_name = {p.name: p for p in self.get_params(ctx) if isinstance(p, click.Option)}
        found = {title: [by_name.pop(name) for name in names] for title, names in self.groups.items()}
        found[list(found)[-1]] += by_name.values()
        return found


def examples_of(command: click.Command) -> list[str]:
    """The lines of a command's examples, as they are typed."""
    examples = _help(command).partition(f"{_EXAMPLES}\n")[2]
    return [line[2:] for line in examples.splitlines()]


def _prose(command: click.Command) -> str:
    """The help without its examples."""
    return _help(command).partition(f"\b\n{_EXAMPLES}\n")[0].strip()


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def as_options(message: str, command: click.Command | None) -> str:
    """A message of the library in the words of the command line: `--min-freq` for `min_freq`.

    Args:
        message: names arguments of Python's functions, perhaps beside the options that are the same.
        command: whose options are meant.

    Example:
        >>> command = Command("train", params=[click.Option(["--min-freq"])])
        >>> as_options("min_freq is 0. Use a number from 1.", command)
        '--min-freq is 0. Use a number from 1.'
    """
    message = _ALSO_IN_PYTHON.sub(r"\1", message)
    for parameter in command.params if command is not None else ():
        if not isinstance(parameter, click.Option) or parameter.name is None:
            continue
        option = next((name for name in parameter.opts if name.startswith("--")), None)
        if option is None:
            continue
        # Not within a name of the user's: a file, a column in quotation marks.
        name = rf"(?<![\w./\\'\"-]){re.escape(parameter.name)}"
        if parameter.is_flag:
            message = re.sub(rf"{name}=True\b", option, message)
            for no in parameter.secondary_opts:
                message = re.sub(rf"{name}=False\b", no, message)
        message = re.sub(rf"{name}='([\w-]+)'", rf"{option} \1", message)
        if "_" in parameter.name:
            message = re.sub(rf"{name}(?![\w/\\'\"=-]|\.\w)", option, message)
        else:
            # A word like `epochs` is only a name where a value of it is stated.
            message = re.sub(rf"^{name}(?= is [\w.'-]+[.,] )", option, message)
    return message
