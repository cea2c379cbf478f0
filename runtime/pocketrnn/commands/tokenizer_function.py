"""Load the user's function that splits texts, from a Python file that an option names."""

from __future__ import annotations

import ast
import contextlib
import glob
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.names_from_paths import choose_import_name, choose_python_file_beside_bundle, suggest_near_file
from pocketrnn.errors import InputError, first_line
from pocketrnn.text.text_row_encoder import write_remedy_of_missing_file

# The function of a file that `pocketrnn export` writes.
_WRITTEN: Final = "words"
_MOST_NAMED: Final = 3


def _list_probable_tokenizer_functions(path: Path) -> list[str]:
    """Return the names of the functions in a Python file that the user may mean as tokenizer: `words`, the name that
    `pocketrnn export` writes, or else the file's first three functions. Return an empty list if the file is not
    Python."""
    if path.suffix != ".py" or not path.is_file():
        return []
    with contextlib.suppress(SyntaxError, ValueError, OSError):
        statements = ast.parse(path.read_bytes()).body
        made = {target.id for one in statements if isinstance(one, ast.Assign)
                for target in one.targets if isinstance(target, ast.Name)}  # fmt: skip
        found = [one.name for one in statements if isinstance(one, ast.FunctionDef)]
        return [_WRITTEN] if _WRITTEN in {*found, *made} else found[:_MOST_NAMED]
    return []


def _suggest_files_with_longer_names(path: Path) -> str:
    """Return a sentence that suggests files whose names end in the name of a missing file, such as model_words.py for
    words.py; an empty string if there are none."""
    found = sorted(path.parent.glob(f"*_{glob.escape(path.name)}"))[:_MOST_NAMED]
    return f"Did you mean {' or '.join(map(str, found))}?" if found else ""


def load_tokenizer_function(file_and_function: str) -> Callable[[str], Any]:
    """Run a Python file, and return one of its functions. While the file runs, its imports are looked up first in the
    file's own folder; later imports are looked up there last.

    Args:
        file_and_function: the file and the function, as `file.py:function`; or a method, as `file.py:Class.method` or
            `file.py:object.method`. A class is called without arguments first.

    Raises:
        InputError: there is no such file or function, or the file raises an error.
    """
    file, colon, name = file_and_function.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        named = ", ".join(
            f"{file_and_function}:{one}" for one in _list_probable_tokenizer_functions(Path(file_and_function))
        )
        raise InputError(
            f"--tokenizer {file_and_function} does not have the form FILE.PY:FUNCTION.",
            f"Write --tokenizer {named or 'split.py:words'}.",
        )
    if not path.is_file():
        near = suggest_near_file(path) or _suggest_files_with_longer_names(path)
        raise InputError(
            f"The file {path} of --tokenizer does not exist.",
            near or "Give the path of the Python file with the function.",
        )
    spec = importlib.util.spec_from_file_location(choose_import_name(path), path)
    if spec is None or spec.loader is None:
        raise InputError(
            f"The file {path} of --tokenizer cannot be imported as Python.", "Give a file whose name ends in .py."
        )
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
            f"{path} raises {type(error).__name__} when it is imported: {first_line(error)}.",
            write_remedy_of_missing_file(error)
            or "Run the file with Python and correct it, or copy the function to a file of its own.",
        ) from error
    finally:
        # A file there may be named like a library that is imported later.
        sys.path.remove(folder)
        sys.path.append(folder)
    if not callable(function):
        near = " or ".join(f"{path}:{one}" for one in _list_probable_tokenizer_functions(path))
        raise InputError(
            f"{path} has no function {name}.",
            f"Did you mean {near}?" if near else "Name the function that returns the tokens or ids of a text.",
        )
    found: Callable[[str], Any] = function
    return found


def find_tokenizer_function_beside_bundle(bundle: Path) -> str:
    """Return the tokenizer function that `pocketrnn export` wrote beside a bundle, in the form `file.py:words`; an
    empty string if there is none."""
    path = choose_python_file_beside_bundle(bundle, _WRITTEN)
    return f"{path}:{_WRITTEN}" if _WRITTEN in _list_probable_tokenizer_functions(path) else ""
