"""Find the frames and lines of the user's own code, for messages."""

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

# Stands for a line of the user's code in a message, where torch does not tell the line.
UNKNOWN_LINE: Final = "in a line that PyTorch does not name"
_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_TORCH: Final = f"{TORCH_FOLDER}{os.sep}"
_LIBRARY: Final = f"{os.sep}site-packages{os.sep}"
_PYTHON: Final = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))


def is_user_frame(frame: FrameType) -> bool:
    """Return whether a frame runs the user's code, and not the code of torch or of this package."""
    return is_user_file(frame.f_code.co_filename)


def is_user_file(file: str) -> bool:
    """Return whether a file contains code of the user, or of a library other than torch and this package."""
    return not file.startswith((_TORCH, "<")) and not is_file_of_this_package(file)


def is_file_of_this_package(file: str) -> bool:
    """Return whether a file belongs to this package. The file that runs a user's TorchScript does not count."""
    return file.startswith(_OURS) and file != traceable_torchscript.__file__


def run_user_call(
    call: Callable[[nn.Module, Tensor, Tensor], Any], module: nn.Module, tokens: Tensor, lengths: Tensor
) -> Any:
    """Call the user's module, and return its answer. All user code is called by this function, so its frame marks where
    the user's frames in a stack begin."""
    return call(module, tokens, lengths)


def list_call_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the user's code on the stack, from `frame` out to the call of the user's module, the
    innermost first. Frames of torch and of this package are left out."""
    while frame is not None and frame.f_code is not run_user_call.__code__:
        if not frame.f_code.co_filename.startswith(_TORCH) and not is_file_of_this_package(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def find_size_reading_frame(frame: FrameType | None) -> FrameType | None:
    """Go out from a frame inside the reading of a tensor's size, and return the first frame of the code that reads it.
    Three kinds of frames are skipped: methods of PyTorch's sizes; files of this package with `ASKS_FOR_ITS_CALLER`,
    which replace Python functions; and code without a file, such as a dataclass's `__repr__`."""
    while frame is not None and (
        frame.f_code.co_filename == TORCH_FILE
        or frame.f_code.co_filename.startswith("<")
        or "ASKS_FOR_ITS_CALLER" in frame.f_globals
    ):
        frame = frame.f_back
    return frame


def find_frame_outside_package(frame: FrameType) -> FrameType:
    """Go out from a frame inside this package, and return the first frame outside it."""
    while frame.f_back is not None and is_file_of_this_package(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def is_installed_file(file: str) -> bool:
    """Return whether a file belongs to Python or to an installed library."""
    return _LIBRARY in file or file.startswith((*_PYTHON, "<"))


def is_library_frame(frame: FrameType) -> bool:
    """Return whether a frame runs an installed library, such as einops."""
    return _LIBRARY in frame.f_code.co_filename


def read_line_of_module_code(frame: FrameType) -> tuple[str, int, str]:
    """Go out from a frame to the first frame that runs the module's own code, and return the file, number and text of
    its line. If there is none, return those of the given frame's line."""
    caller: FrameType | None = frame
    while caller is not None and (is_installed_file(caller.f_code.co_filename) or not is_user_frame(caller)):
        caller = caller.f_back
    return read_line(frame if caller is None else caller)


def read_line(frame: FrameType, number: int | None = None) -> tuple[str, int, str]:
    """Return the file, number and text of a frame's current line, or of line `number` of its file."""
    file, line = frame.f_code.co_filename, frame.f_lineno if number is None else number
    return file, line, linecache.getline(file, line, frame.f_globals).strip()


def parse_file(file: str) -> ast.Module | None:
    """Parse the source of a file. Return None if the source is not available."""
    return _parse_source("".join(linecache.getlines(file)))


@functools.lru_cache(maxsize=64)
def _parse_source(source: str) -> ast.Module | None:
    try:
        return ast.parse(source) if source else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def describe_user_line(frame: FrameType | None) -> str:
    """Describe the line of the user's code that called a frame, for messages. Say that the line is not known if none is
    found."""
    return describe_user_line_if_known(frame) or UNKNOWN_LINE


def describe_user_line_if_known(frame: FrameType | None) -> str:
    """Describe the line of the user's code that called a frame: its file, number and text. Return an empty string for
    an unknown line."""
    while frame is not None and not is_user_frame(frame):
        frame = frame.f_back
    return "" if frame is None else describe_line(frame)


def describe_line(frame: FrameType, number: int | None = None) -> str:
    """Return a string for messages with the file, number and text of a frame's current line, or of line `number` of its
    file."""
    file, line, source = read_line(frame, number)
    return f"{file}:{line}: `{source}`"


@contextlib.contextmanager
def trace_frames(look: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """While the block runs, call `look` for each new frame, as `sys.settrace` does."""
    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def describe_user_line_of_node(node: torch.fx.Node) -> str:
    """Describe the line of the user's code that made a node of a trace, for messages. Return an empty string for an
    unknown line."""
    return describe_last_user_line(str(node.meta.get("stack_trace", "")))


def describe_last_user_line(stack: str) -> str:
    """Describe the last line of the user's code in a stack trace: its file, number and text. Return an empty string if
    there is none."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', stack)
    users = [frame for frame in frames if is_user_file(frame[0])]
    return "{}:{}: `{}`".format(*users[-1]) if users else ""
