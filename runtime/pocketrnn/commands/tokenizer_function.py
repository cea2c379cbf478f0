"""Load the user's function that splits texts, from a Python file that an option names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pocketrnn.bundle.names_from_paths import choose_import_name
from pocketrnn.errors import InputError, first_line


def load_tokenizer_function(file_and_function: str) -> Callable[[str], Any]:
    """Run a Python file, and return one of its functions. The file imports from its own folder first, and what its
    function imports later is looked for there last.

    Args:
        file_and_function: the file and the function, as `file.py:function`; or a method, as `file.py:Class.method` or
            `file.py:object.method`.

    Raises:
        InputError: there is no such file or function, or the file raises an error.
    """
    file, colon, name = file_and_function.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        raise InputError(
            f"--tokenizer {file_and_function} is not of the form file.py:function.", "Write it as split.py:words."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Give the Python file that has the function.")
    spec = importlib.util.spec_from_file_location(choose_import_name(path), path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.", "Give a Python file.")
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function: Any = module
        for part in name.split("."):
            function = getattr(function, part, None)
            function = function() if isinstance(function, type) else function
    # The user's code may raise any exception, and call sys.exit.
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{path} raises {type(error).__name__}: {first_line(error)}.",
            "Run the file with Python, and correct it; or copy the function to a file of its own.",
        ) from error
    finally:
        # A file there may be named like a library that is imported later.
        sys.path.remove(folder)
        sys.path.append(folder)
    if not callable(function):
        raise InputError(f"{path} has no function {name}.", "Name the function that gives the tokens or ids of a text.")
    found: Callable[[str], Any] = function
    return found
