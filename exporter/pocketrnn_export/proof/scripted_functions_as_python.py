"""Run a module's files with Python functions in place of scripted ones, which PyTorch's modes cannot look into."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from pocketrnn_export.module_runs.temporary_dict_values import Entry, replace_dict_values
from pocketrnn_export.torch_internals import unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_globals


def use_python_originals_of_scripted_functions(module: nn.Module) -> AbstractContextManager[None]:
    """While a `with` block runs, replace the scripted functions in a module's files by the Python functions from which
    `torch.jit.script` made them. A torch function mode does not see the calls inside scripted functions."""
    return replace_dict_values(list_replacements_of_global_functions(module, unwrap_scripted_function))


def list_replacements_of_global_functions(module: nn.Module, find_replacement: Callable[[Any], Any]) -> list[Entry]:
    """List the global functions in a module's files for which there is a replacement, each as a tuple: the dict of
    globals, the function's name, and the replacement.

    Args:
        module: its classes' files are searched.
        find_replacement: a function that returns the replacement of a global value, or None for a value that stays.
    """
    return [
        (names, name, function)
        for names in find_users_globals(module)
        for name, value in names.items()
        if (function := find_replacement(value)) is not None
    ]
