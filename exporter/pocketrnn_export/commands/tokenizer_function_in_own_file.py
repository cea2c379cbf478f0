"""Write the --tokenizer function to a file of its own: the part that splits texts, if the function answers them or
cannot be loaded; the whole, if `classify` could not load it without PyTorch or by its name alone."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.commands.standard_streams import print_line
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name

if TYPE_CHECKING:
    from pocketrnn_export.source_code.splitting_part_of_function import WrittenTokenizer

_MOST_FILES: Final = 20


def replace_tokenizer_by_its_splitting_part(options: dict[str, Any]) -> bool:
    """Find the part of the --tokenizer function that splits texts, write it to a file beside the output, and set
    --tokenizer to it. If the part does the same as basic_english, set --tokenizer to that. Commands in later messages
    have the new value, too. Return False if no such part is found.

    Args:
        options: the options of `export`.
    """
    from pocketrnn_export.source_code.splitting_part_of_function import (
        WRITTEN_NAME,
        uses_only_basic_english_tokenizer,
        write_tokenizer_of_function,
    )

    named = parse_module_name(options["tokenizer"])
    if named is None or named.name == WRITTEN_NAME:
        return False
    if (written := write_tokenizer_of_function(named.path, named.name)) is None:
        return False
    parameters = click.get_current_context().params
    if written.fields:
        _refuse_several_fields(named, Path(parameters["output"]), written)
    if written.later_changes:
        print_line(
            f"Note: {named.path}:{named.name} changes the ids of a text afterwards, and only --rules and --pairs, or a "
            f"--tokenizer function that gives these ids, show that: {escape_line('; '.join(written.later_changes))}.",
            err=True,
        )
    if uses_only_basic_english_tokenizer(written.code):
        options["tokenizer"] = parameters["tokenizer"] = "basic_english"
        print_line(
            f"Note: {named.path}:{named.name} splits texts by torchtext's basic_english, which is taken.", err=True
        )
        return True
    path = find_or_write_code_file(Path(parameters["output"]), "words", written.code)
    options["tokenizer"] = parameters["tokenizer"] = f"{path}:{WRITTEN_NAME}"
    print_line(
        f"Note: The lines of {named.path}:{named.name} that split a text are now a function in {path}, and --tokenizer "
        f"{path}:{WRITTEN_NAME} is taken.",
        err=True,
    )
    if both := write_tokenizer_with_changed_text(named):
        print_line(f"Note: {both[0]} If your classifier does so, too, give --tokenizer {both[1]}.", err=True)
    return True


def _refuse_several_fields(named: ModuleName, output: Path, written: WrittenTokenizer) -> NoReturn:
    """Write the lines of a function that splits several fields of a request to a file, and raise an error. The error
    says how the user completes the file to a tokenizer of one text."""
    from pocketrnn_export.source_code.splitting_part_of_function import NAME_WITH_FIELDS, WRITTEN_NAME

    path = find_or_write_code_file(output, "words", written.code)
    fields, example = ", ".join(written.fields), ", ".join(["text", *["''"] * (len(written.fields) - 1)])
    raise InputError(
        f"{named.path}:{named.name} joins {len(written.fields)} fields of a request ({fields}) to one text.",
        f"Its lines are now {NAME_WITH_FIELDS}({fields}) in {path}. Add there how your text becomes these fields, such "
        f"as: def {WRITTEN_NAME}(text): return {NAME_WITH_FIELDS}({example}). "
        f"Then give --tokenizer {path}:{WRITTEN_NAME}.",
    )


def replace_tokenizer_by_own_file(options: dict[str, Any], function: Any, saved_attributes: Mapping[str, Any]) -> bool:
    """Copy the --tokenizer function, with the code that it needs, to a file beside the output, and set --tokenizer to
    the copy. This is done if `classify` could not load the function from its own file without PyTorch or further
    arguments. Return False if nothing was copied.

    Args:
        options: the options of `export`.
        function: the function, as it was loaded.
        saved_attributes: the attributes of its object that were saved.
    """
    from pocketrnn_export.source_code.files_near_module import loads_torch
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME
    from pocketrnn_export.source_code.text_function_in_own_file import write_text_function
    from pocketrnn_export.vocabularies.checkpoint_text_settings import is_plain_value

    named = parse_module_name(options["tokenizer"])
    plain = getattr(function, "func", function)
    held = getattr(plain, "__self__", plain)
    if named is None:
        return False
    kwargs = named.kwargs or {}
    given = [*map(ast.unparse, named.args), *(f"{name}={ast.unparse(one)}" for name, one in kwargs.items())]
    if not (named.is_notebook or named.method or given or loads_torch(named.path)):
        return False
    calls_init = False
    # A class that needs more than the given arguments was made without its `__init__`.
    with contextlib.suppress(TypeError, ValueError):
        calls_init = not saved_attributes and bool(inspect.signature(type(held)).bind(*named.args, **kwargs))
    attributes = {name: value for name, value in getattr(held, "__dict__", {}).items() if is_plain_value(value)}
    code = write_text_function(
        named.path, named.name, named.method, ", ".join(given), attributes, calls_init=calls_init
    )
    if code is None:
        return False
    parameters = click.get_current_context().params
    path = find_or_write_code_file(Path(parameters["output"]), "words", code)
    options["tokenizer"] = parameters["tokenizer"] = f"{path}:{WRITTEN_NAME}"
    print_line(f"Note: {named} is now also in {path}, without PyTorch, and --tokenizer {path}:{WRITTEN_NAME} is taken.",
               err=True)  # fmt: skip
    return True


def write_tokenizer_with_changed_text(function: ModuleName) -> tuple[str, str] | None:
    """Write a tokenizer to a file: it changes a text as the user's code does before a call of `function`, then splits
    it as `function` does. Return a sentence on it, and the tokenizer as file.py:words; None if the user's code changes
    nothing.

    Args:
        function: the function of the user's code, which answers or splits a text.
    """
    from pocketrnn_export.source_code.splitting_part_of_function import (
        WRITTEN_NAME,
        find_changed_text,
        write_tokenizer_of_function,
    )

    changed = find_changed_text(function.path, function.name)
    both = None if changed is None else write_tokenizer_of_function(function.path, function.name, changed)
    if changed is None or both is None:
        return None
    path = find_or_write_code_file(Path(click.get_current_context().params["output"]), "words", both.code)
    said = f"{changed.place}, calls {function.name} with {changed.code}; {path} does both."
    return escape_line(said), f"{path}:{WRITTEN_NAME}"


def find_or_write_code_file(output: Path, kind: str, code: str) -> Path:
    """Write code to a new file beside the output, unless such a file already holds the same code. Return the file.

    Args:
        output: the output of the command, whose name begins the file's name.
        kind: the second part of the file's name, such as `words`.
        code: the Python code to write.
    """
    for number in range(1, _MOST_FILES):
        path = output.with_name(f"{output.name}-{kind}{number if number > 1 else ''}.py")
        if not path.exists():
            with write_whole_file(path, force=False) as file:
                file.write(code.encode())
            return path
        if path.is_file() and path.read_bytes() == code.encode():
            return path
    return path
