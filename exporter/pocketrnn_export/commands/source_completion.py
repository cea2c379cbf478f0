"""Complete a SOURCE that is a Python file or notebook without the name of a module."""

from __future__ import annotations

from pathlib import Path

import click

from pocketrnn.commands.command_with_changes import format_command_with_changes
from pocketrnn.commands.standard_streams import print_line
from pocketrnn.errors import InputError


def complete_source(source: str) -> str:
    """Return SOURCE with the name of the only module class of the file, if it is a Python file or notebook without a
    name. The command that a message suggests has the name, too. Return any other SOURCE as it is.

    Raises:
        InputError: the file defines several such classes, or none.
    """
    path = Path(source)
    if path.suffix not in (".py", ".ipynb") or not path.is_file():
        return source
    from pocketrnn_export.source_code.module_classes import list_module_classes, list_module_classes_near

    names = list_module_classes(path)
    if len(names) == 1:
        (name,) = names
        completed = f"{path}:{name}"
        print_line(f"Note: {path} is taken as {completed}, its only module that no other one there contains.", err=True)
        click.get_current_context().params["source"] = completed
        return completed
    found = [f"{path}:{name}" for name in names] or list_module_classes_near(path)
    if not found:
        raise InputError(f"{path} defines no class with a forward.", f"Name what makes the module, as in {path}:make.")
    problem = f"{path} defines {'several modules' if names else 'no module'}."
    line = format_command_with_changes({"source": found[-1] if names else found[0]})
    raise InputError(problem, f"Name one of them: {', '.join(found)}. Write: {line}")
