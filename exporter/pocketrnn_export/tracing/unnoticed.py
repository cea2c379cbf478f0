"""What a module is told when it asks whether it is being traced: no, as where it runs.

A forward that asks, and then does something else, would be exported as what it does while nobody looks. So the
functions that tell answer the module's own code as they do outside of a trace, and PyTorch's code as they are.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from pocketrnn_export.tracing.users_code import is_users

__all__ = ["UNNOTICED", "unnoticed"]

# By their modules. Some are one function of two names.
_TELLING: Final = (
    ("torch.compiler", "is_compiling"),
    ("torch.compiler", "is_dynamo_compiling"),
    ("torch.compiler", "is_exporting"),
    ("torch._dynamo", "is_compiling"),
    ("torch._dynamo.external_utils", "is_compiling"),
    ("torch._utils", "is_compiling"),
    ("torch.jit", "is_tracing"),
    ("torch.onnx", "is_in_onnx_export"),
    ("torch._C", "_get_tracing_state"),
    ("torch._C", "_is_tracing"),
)


def _answering(shipped: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(shipped)
    def answering(*args: Any, **kwargs: Any) -> Any:
        if is_users(sys._getframe(1)):
            return None if shipped.__name__ == "_get_tracing_state" else False
        return shipped(*args, **kwargs)

    return answering


def _found() -> list[tuple[Any, str, Any]]:
    modules = [(importlib.import_module(module), name) for module, name in _TELLING]
    return [(module, name, getattr(module, name)) for module, name in modules if hasattr(module, name)]


# What stands in for a function that a file took by its name: (the function, its stand-in).
UNNOTICED: Final = tuple((shipped, _answering(shipped)) for _, _, shipped in _found())


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """While the block runs, the user's code is told that it is not traced.

    Example:
        >>> with unnoticed():
        ...     torch.compiler.is_compiling()
        False
    """
    changed = _found()
    try:
        for module, name, shipped in changed:
            setattr(module, name, _answering(shipped))
        yield
    finally:
        for module, name, shipped in changed:
            setattr(module, name, shipped)
