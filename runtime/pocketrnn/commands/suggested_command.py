"""Write the running command again with other values, as a suggestion to the user."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

import click
from click.core import ParameterSource

__all__ = ["format_command_with_changes"]


def format_command_with_changes(changed: Mapping[str, str | Sequence[str] | None]) -> str:
    """Format the running command as a user would type it, quoted for a shell, with other values for some parameters.

    Args:
        changed: the new values by the names of the parameters: a list for a parameter that takes several values, None
            for a parameter to leave out.
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
            parts += [part for one in values for part in (parameter.opts[0], _convert_json_to_printable_line(str(one)))]
        else:
            parts += map(str, values)
    return f"{context.command_path} {' '.join(map(_quote_for_shell, parts))}"


def _quote_for_shell(part: str) -> str:
    """Quote an argument for a shell. Unprintable characters become escapes that Bash and Zsh understand."""
    if part.isprintable():
        return shlex.quote(part)
    shown = (f"\\{one}" if one in "\\'" else one if one.isprintable() else f"\\U{ord(one):08x}" for one in part)
    return f"$'{''.join(shown)}'"


def _convert_json_to_printable_line(value: str) -> str:
    """Convert JSON that has line breaks or other unprintable characters to one line of ASCII. Return any other value
    unchanged."""
    if value.isprintable():
        return value
    try:
        return json.dumps(json.loads(value))
    except ValueError:
        return value
