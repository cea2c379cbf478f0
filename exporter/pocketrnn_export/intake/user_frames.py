"""Which code is the user's, and which line of it one speaks of."""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.torch_internals import TORCH_FILE, TORCH_FOLDER

__all__ = [
    "asking",
    "called_as",
    "code_line_of",
    "frames_followed",
    "frames_of_call",
    "is_installed_file",
    "is_library",
    "is_ours",
    "is_users",
    "is_users_file",
    "line_of",
    "line_of_node",
    "line_of_stack",
    "outside",
    "place_of",
    "place_of_user",
    "source_of",
    "users_line",
]

_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_TORCH: Final = f"{TORCH_FOLDER}{os.sep}"
_LIBRARY: Final = f"{os.sep}site-packages{os.sep}"
_PYTHON: Final = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))


def is_users(frame: FrameType) -> bool:
    """Whether a frame runs code of the user's, and not torch's, Python's or ours.

    Example:
        >>> is_users(sys._getframe())
        True
    """
    return is_users_file(frame.f_code.co_filename)


def is_users_file(file: str) -> bool:
    """Whether a file holds code of the user's, or of a library that is neither torch nor this package."""
    return not file.startswith((_TORCH, "<")) and not is_ours(file)


def is_ours(file: str) -> bool:
    """Whether a file is one of this package; but for the one whose code is a user's TorchScript."""
    return file.startswith(_OURS) and file != traceable_torchscript.__file__


def called_as(
    call: Callable[[nn.Module, Tensor, Tensor], Any], module: nn.Module, tokens: Tensor, lengths: Tensor
) -> Any:
    """The result of a call: all code of the user is called from here, so that the user's frames end at this one."""
    return call(module, tokens, lengths)


def frames_of_call(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from one up to `called_as`, but for torch's and ours: the innermost first.

    Example:
        >>> [frame.f_code.co_name for frame in frames_of_call(sys._getframe())]
        ['attention', 'forward', 'call']
    """
    while frame is not None and frame.f_code is not called_as.__code__:
        if not frame.f_code.co_filename.startswith(_TORCH) and not is_ours(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def asking(frame: FrameType | None) -> FrameType | None:
    """The frame that asks something of a size: methods of sizes are PyTorch's or ours, and so is what stands in for a
    function of Python's. A file of ours that does so says `ASKS_FOR_ITS_CALLER`. Code without a file, such as the
    `__repr__` of a dataclass and what `eval` runs, asks for who called it."""
    while frame is not None and (
        frame.f_code.co_filename == TORCH_FILE
        or frame.f_code.co_filename.startswith("<")
        or "ASKS_FOR_ITS_CALLER" in frame.f_globals
    ):
        frame = frame.f_back
    return frame


def outside(frame: FrameType) -> FrameType:
    """The frame that called into our code, from one that is in it."""
    while frame.f_back is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def is_installed_file(file: str) -> bool:
    """Whether a file is Python's own or one of an installed library."""
    return _LIBRARY in file or file.startswith((*_PYTHON, "<"))


def is_library(frame: FrameType) -> bool:
    """Whether a frame runs code that is installed, such as einops."""
    return _LIBRARY in frame.f_code.co_filename


def code_line_of(frame: FrameType) -> tuple[str, int, str]:
    """The line of the module's code that a frame of Python's or of a library's was called from; else its own."""
    caller: FrameType | None = frame
    while caller is not None and (is_installed_file(caller.f_code.co_filename) or not is_users(caller)):
        caller = caller.f_back
    return line_of(frame if caller is None else caller)


def line_of(frame: FrameType, number: int | None = None) -> tuple[str, int, str]:
    """The file, number and text of the line that a frame is at, or of another one of its file."""
    file, line = frame.f_code.co_filename, frame.f_lineno if number is None else number
    return file, line, linecache.getline(file, line, frame.f_globals).strip()


def source_of(file: str) -> ast.Module | None:
    """The source of a file, parsed; None where it is not at hand."""
    return _parsed("".join(linecache.getlines(file)))


@functools.lru_cache(maxsize=64)
def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source) if source else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def users_line(frame: FrameType | None) -> str:
    """The line of the module's own code that a frame was called from, as one shows it in an error."""
    return place_of_user(frame) or "a line that is not known"


def place_of_user(frame: FrameType | None) -> str:
    """The same, or nothing where no line of the user's is known."""
    while frame is not None and not is_users(frame):
        frame = frame.f_back
    return "" if frame is None else place_of(frame)


def place_of(frame: FrameType, number: int | None = None) -> str:
    """The line that a frame is at, or another one of its file, as one shows it in an error.

    Example:
        >>> place_of(sys._getframe())
        'model.py:12: `x = x.view(32, -1)`'
    """
    file, line, source = line_of(frame, number)
    return f"{file}:{line}: `{source}`"


@contextlib.contextmanager
def frames_followed(look: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """While the block runs, Python calls a function for each frame that begins, as `sys.settrace` says.

    Example:
        >>> with frames_followed(lambda frame, event, argument: None):
        ...     module(tokens)
    """
    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def line_of_node(node: torch.fx.Node) -> str:
    """The line of the module's own code that made a node of a trace, as one shows it in an error; empty where that is
    not known."""
    return line_of_stack(str(node.meta.get("stack_trace", "")))


def line_of_stack(stack: str) -> str:
    """The last line of the module's own code in a stack that is written out; empty where it has none."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', stack)
    users = [frame for frame in frames if is_users_file(frame[0])]
    return "{}:{}: `{}`".format(*users[-1]) if users else ""
