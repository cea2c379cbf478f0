"""A command with a help in groups: the examples and the usual options first, then the text and the rare options."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from pocketrnn.tables.encodings import UTF8, check_encoding

__all__ = [
    "Command",
    "Text",
    "list_command_examples",
    "list_lines_to_print_at_end",
    "make_column_option",
    "make_encoding_option",
    "print_at_end",
    "translate_to_options",
    "write_command_again",
]

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

_EXAMPLES: Final = "Examples:"
# The argument in Python that a message names after the option: `--call, or call=`, `--gives logits (gives=...)`.
_ALSO_IN_PYTHON: Final = re.compile(
    r"""(--[a-z][a-z-]*(?:\ [a-z]+|\ "[^"]*")?)     # the option, and perhaps its value
        (?:,?\ or\ \w+=(?:\w+)?|,\ in\ Python\ \w+=|,\ \w+=(?=\))|\ \(\w+=(?:[^()]|\([^()]*\))*\))(?=[.;,)\ ]|$)""",
    re.VERBOSE,
)


# The key in a click context's `meta` for the lines that are written at the end.
_AT_THE_END: Final = "pocketrnn.lines_at_the_end"


def print_at_end(line: str) -> bool:
    """Write a line when the command ends, after its error if it fails. Return False if no command is running."""
    context = click.get_current_context(silent=True)
    if context is not None:
        list_lines_to_print_at_end(context).append(line)
    return context is not None


def list_lines_to_print_at_end(context: click.Context) -> list[str]:
    """The lines that are written when the command ends."""
    lines: list[str] = context.meta.setdefault(_AT_THE_END, [])
    return lines


class Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """An argument that is a text and not a path.

    Bytes that the locale could not decode arrive as surrogates; they are decoded as UTF-8 in every locale, or refused.
    """

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert an argument to text; raise click's own error if it is not UTF-8."""
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
    """Make the option for a column of a file, such as `--text-column`, which is `text` by default."""
    return click.option(f"--{name}-column", type=Text(), default=name, show_default=True, metavar="NAME", help=help)


def make_encoding_option(help: str) -> Callable[[_Decorated], _Decorated]:  # noqa: A002
    """Make the option `--encoding` for the encoding of text files, which is UTF-8 by default."""
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
        """Parse the arguments. A usage error of click's parser without a context gets this command's context."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help_text(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first paragraph and the examples of the help. The other paragraphs follow the usual options."""
        first = _make_help_without_examples(self).partition("\n\n")[0]
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(first)
        if examples := list_command_examples(self):
            with formatter.section(_EXAMPLES.removesuffix(":")):
                formatter.write_text("\b\n" + "\n".join(examples))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usual options first, then the text, then the other groups of options."""
        rest = _make_help_without_examples(self).partition("\n\n")[2]
        for place, (title, parameters) in enumerate(self.group_options(ctx).items()):
            records = [record for p in parameters if (record := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
            if place == 0 and rest:
                with formatter.indentation():
                    formatter.write_paragraph()
                    formatter.write_text(rest)

    def group_options(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """The options of each group, in the order of the help."""
        by_name = {p.name: p for p in self.get_params(ctx) if isinstance(p, click.Option)}
        found = {title: [by_name.pop(name) for name in names] for title, names in self.groups.items()}
        found[list(found)[-1]] += by_name.values()
        return found


def list_command_examples(command: click.Command) -> list[str]:
    """List the examples in a command's help, as a user types them."""
    examples = _clean_help(command).partition(f"{_EXAMPLES}\n")[2]
    return [line[2:] for line in examples.splitlines()]


def _make_help_without_examples(command: click.Command) -> str:
    """Make the text of a command's help without its examples."""
    return _clean_help(command).partition(f"\b\n{_EXAMPLES}\n")[0].strip()


def _clean_help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def translate_to_options(message: str, command: click.Command | None) -> str:
    """Translate a message of the library to the options of the command line: `min_freq` becomes `--min-freq`.

    Args:
        message: a message that names arguments of Python functions, perhaps beside the equal options.
        command: the command that has these options.
    """
    message = _ALSO_IN_PYTHON.sub(r"\1", message)
    for parameter in command.params if command is not None else ():
        if not isinstance(parameter, click.Option) or parameter.name is None:
            continue
        option = next((name for name in parameter.opts if name.startswith("--")), None)
        if option is None:
            continue
        # Not inside a user's name: a file, or a column in quotation marks.
        name = rf"(?<![\w./\\'\"-]){re.escape(parameter.name)}"
        if parameter.is_flag:
            message = re.sub(rf"{name}=True\b", option, message)
            for no in parameter.secondary_opts:
                message = re.sub(rf"{name}=False\b", no, message)
        message = re.sub(rf"{name}='([\w-]+)'", rf"{option} \1", message)
        if "_" in parameter.name:
            message = re.sub(rf"{name}(?![\w/\\'\"=-]|\.\w)", option, message)
        else:
            # A word like `epochs` is replaced by its option only where the message states a value for it.
            message = re.sub(rf"^{name}(?= is [\w.'-]+[.,] )", option, message)
    return message


def write_command_again(changed: Mapping[str, str | None]) -> str:
    """Write the running command again, quoted for a shell, with other values for some arguments.

    Args:
        changed: the values by the names of the parameters; None for one to leave out.
    """
    context = click.get_current_context()
    parts = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE and name not in changed:
            continue
        value = changed.get(name, context.params[name])
        if value is None:
            continue
        values = value if parameter.multiple or parameter.nargs != 1 else [value]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            parts += [(parameter.opts if value else parameter.secondary_opts)[-1]]
        elif isinstance(parameter, click.Option):
            parts += [part for one in values for part in (parameter.opts[0], _make_printable(str(one)))]
        else:
            parts += map(str, values)
    return f"{context.command_path} {' '.join(map(_quote, parts))}"


def _quote(part: str) -> str:
    """Quote an argument for a shell; with characters that a terminal does not show, as Bash and Zsh read them."""
    if part.isprintable():
        return shlex.quote(part)
    shown = (f"\\{one}" if one in "\\'" else one if one.isprintable() else f"\\U{ord(one):08x}" for one in part)
    return f"$'{''.join(shown)}'"


def _make_printable(value: str) -> str:
    """Convert JSON to one line of ASCII if it has several lines or characters that a terminal does not show."""
    if value.isprintable():
        return value
    try:
        return json.dumps(json.loads(value))
    except ValueError:
        return value
