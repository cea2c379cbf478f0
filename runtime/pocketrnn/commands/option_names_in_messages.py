"""Translate messages for users of Python to the command line: arguments become the options that set them."""

from __future__ import annotations

import re
from typing import Final

import click

__all__ = ["translate_to_options"]

# The argument in Python that a message names after the option: `--call, or call=`, `--gives logits (gives=...)`.
_ALSO_IN_PYTHON: Final = re.compile(
    r"""(--[a-z][a-z-]*(?:\ [a-z]+|\ "[^"]*")?)     # the option, and perhaps its value
        (?:,?\ or\ \w+=(?:\w+)?|,\ in\ Python\ \w+=|,\ \w+=(?=\))|\ \(\w+=(?:[^()]|\([^()]*\))*\))(?=[.;,)\ ]|$)""",
    re.VERBOSE,
)


def translate_to_options(message: str, command: click.Command | None) -> str:
    """Replace the names of Python arguments in a message by the options of a command: `min_freq` becomes `--min-freq`.

    Args:
        command: the command that has these options; None if it is not known.
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
