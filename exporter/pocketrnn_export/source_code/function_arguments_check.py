"""Refuse a function of a file that needs more arguments than a text and a vocabulary. The file is not run."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.vocabularies.owner_function_call import find_vocabulary_argument, make_arguments_error


def check_takes_text_alone(path: Path, name: str, given: Collection[str]) -> None:
    """Refuse a function of a file that needs more arguments than a text, a vocabulary and the given ones. Other objects
    pass.

    Args:
        path: the file.
        name: the function's name.
        given: the names of arguments that are given to it.

    Raises:
        InputError: it needs others.
    """
    statements = [one for cell in read_python_cells(path) for one in cell.statements]
    found = [one for one in statements if getattr(one, "name", None) == name]
    if not found or not isinstance(function := found[-1], ast.FunctionDef) or function.decorator_list:
        return
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    needed = [one.arg for one in plain[: len(plain) - len(arguments.defaults)] if one.arg not in given]
    # Without any that it needs, whether it can be called with one is seen when it is loaded.
    if len(needed) > 1 and find_vocabulary_argument(needed) is None:
        raise make_arguments_error(f"{path}:{name}", needed)
