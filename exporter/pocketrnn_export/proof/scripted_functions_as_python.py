"""Run a module's files with Python functions in place of scripted ones, which PyTorch's modes cannot look into."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from pocketrnn_export.module_runs.temporary_dict_values import Entry, replace_dict_values
from pocketrnn_export.torch_internals import unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_globals


def use_unscripted_functions(module: nn.Module) -> AbstractContextManager[None]:
    """While the block runs, replace scripted functions in a module's files by the Python functions from which they were
    made. A torch function mode does not see the calls inside scripted functions."""
    return replace_dict_values(list_global_replacements(module, unwrap_scripted_function))


def list_global_replacements(module: nn.Module, find_replacement: Callable[[Any], Any]) -> list[Entry]:
    """List the global functions in a module's files for which `find_replacement` returns another function and not None.
    Return the dict of globals, the name and the other function of each, as `replace_dict_values` takes them."""
    return [
        (names, name, function)
        for names in find_users_globals(module)
        for name, value in names.items()
        if (function := find_replacement(value)) is not None
    ]
