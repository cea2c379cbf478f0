"""Find the frames and lines of the user's own code, for messages: also the line that draws random numbers, and the line
that makes an answer NaN or infinite."""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import os
import random
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.intake import traceable_torchscript
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.torch_internals import TORCH_FILE, TORCH_FOLDER, FunctionMode

# Stands for a line of the user's code in a message, where torch does not tell the line.
UNKNOWN_LINE: Final = "in a line that PyTorch does not name"
_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_TORCH: Final = f"{TORCH_FOLDER}{os.sep}"
_LIBRARY: Final = f"{os.sep}site-packages{os.sep}"
# The end of the name that a cell's code has as its file.
_CELL: Final = re.compile(r", cell \d+( \[\d+\])?$")
_PYTHON: Final = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))


def is_user_frame(frame: FrameType) -> bool:
    """Return whether a frame runs the user's code, and not the code of torch or of this package."""
    return is_user_file(frame.f_code.co_filename)


def is_user_file(file: str) -> bool:
    """Return whether a file has code of the user, or of a library other than torch and this package."""
    return not file.startswith((_TORCH, "<")) and not is_file_of_this_package(file)


def is_file_of_this_package(file: str) -> bool:
    """Return whether a file belongs to this package. The file that runs a user's TorchScript counts as the user's."""
    return file.startswith(_OURS) and file != traceable_torchscript.__file__


def run_user_call(
    call: Callable[[nn.Module, Tensor, Tensor], Any], module: nn.Module, tokens: Tensor, lengths: Tensor
) -> Any:
    """Call the user's module, and return its answer. All calls of the user's module go through this function: its frame
    in a stack marks where the user's code begins."""
    return call(module, tokens, lengths)


def list_call_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the user's code on the stack, from `frame` outwards to the call of the user's module. Frames
    of torch and of this package are left out."""
    while frame is not None and frame.f_code is not run_user_call.__code__:
        if not frame.f_code.co_filename.startswith(_TORCH) and not is_file_of_this_package(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def find_size_reading_frame(frame: FrameType | None) -> FrameType | None:
    """Find the code that reads a tensor's size: go outwards from `frame`, which lies inside the reading, and return the
    first frame of another kind than these: methods of PyTorch's sizes; files of this package with
    `ASKS_FOR_ITS_CALLER`, which replace Python functions; and code without a file, such as a dataclass's `__repr__`."""
    while frame is not None and (
        frame.f_code.co_filename == TORCH_FILE
        or frame.f_code.co_filename.startswith("<")
        or "ASKS_FOR_ITS_CALLER" in frame.f_globals
    ):
        frame = frame.f_back
    return frame


def find_frame_outside_package(frame: FrameType) -> FrameType:
    """Return the frame that called into this package: the first frame from `frame` outwards that does not belong to the
    package."""
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
    """Return the file, number and text of a line of the module's own code. It is the current line of the first frame
    from `frame` outwards that runs such code; if there is none, the current line of `frame` itself."""
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
    """Describe the line of the user's code that called a frame, for messages. If no line is found, say that it is not
    known."""
    return describe_user_line_if_known(frame) or UNKNOWN_LINE


def describe_user_line_if_known(frame: FrameType | None) -> str:
    """Describe the line of the user's code that called a frame: its file, number and text. Return an empty string if
    the line is not known."""
    while frame is not None and not is_user_frame(frame):
        frame = frame.f_back
    return "" if frame is None else describe_line(frame)


def describe_line(frame: FrameType, number: int | None = None) -> str:
    """Describe the current line of a frame, or line `number` of its file, for messages: its file, number and text."""
    file, line, source = read_line(frame, number)
    return f"{write_place(file, line)}: `{source}`"


def write_place(file: str, line: int | str) -> str:
    """Return the place of a line for messages: `model.py:18`, or `net.ipynb, cell 3 [2], line 18` for a line of a
    cell."""
    return f"{file}, line {line}" if _CELL.search(file) else f"{file}:{line}"


@contextlib.contextmanager
def trace_frames(look: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """While the block runs, call `look` for each new frame, as the function that is given to `sys.settrace` is
    called."""
    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def describe_user_line_of_node(node: torch.fx.Node) -> str:
    """Describe the line of the user's code that made a node of a trace, for messages. Return an empty string if the
    line is not known."""
    return describe_last_user_line(str(node.meta.get("stack_trace", "")))


def describe_last_user_line(stack: str) -> str:
    """Describe the last line of the user's code in a stack trace: its file, number and text. Return an empty string if
    there is none."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', stack)
    users = [frame for frame in frames if is_user_file(frame[0])]
    return f"{write_place(*users[-1][:2])}: `{users[-1][2]}`" if users else ""


def find_nonfinite_line(run: Callable[[], object]) -> str:
    """Find the last line of the user's code that computes NaN or infinity from finite numbers, and describe it. Return
    an empty string if no such line is found, as in TorchScript.

    Earlier lines of this kind are seldom the cause: attention writes minus infinity for masked scores, and its softmax
    turns these into zeros.
    """
    watched = _NonfiniteResultMode()
    # An exception of the user's module was already reported.
    with watched, contextlib.suppress(Exception, SystemExit):
        run()
    return watched.line


class _NonfiniteResultMode(FunctionMode):
    """Records which results inside the block contain NaN or infinity.

    Attributes:
        line: the last line that computed such a result from results that have none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = ""
        # Kept, so that no other tensor gets the identity of one of them.
        self._infinite: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # `out[:, 2] = -math.inf` returns nothing.
        made = args[0] if result is None and args else result
        if isinstance(made, Tensor) and made.is_floating_point() and not bool(torch.isfinite(made).all()):
            if not any(id(value) in self._infinite for value in list_tensors_in((*args, *kwargs.values()))):
                self.line = describe_user_line_if_known(sys._getframe(1)) or self.line
            self._infinite[id(made)] = made
        return result


# A generator without a seed, whose numbers differ each time.
_MADE_ANEW: Final = re.compile(r"\b(default_rng|RandomState|Random|SystemRandom)\(\s*\)|\burandom\(|\bsecrets\.")


def read_generator_states() -> dict[str, bytes]:
    """Return the states of the global random generators of Python, numpy and torch by name. A changed state shows that
    a random number was drawn."""
    numbers: Any = np.random.get_state()
    return {
        "Python's random": repr(random.getstate()).encode(),
        "numpy's": bytes(numbers[1]) + repr(numbers[2:]).encode(),
        "torch's": bytes(torch.get_rng_state().numpy()),
    }


def find_random_draw_line(module: nn.Module, run: Callable[[], object]) -> str:
    """Find the first line of the user's code that draws a random number, and describe it. The generator may be global,
    in the module, in the module's file, or new. Return an empty string if no line is found, as in TorchScript.

    Every line is traced, which is slow, so this is used only for the message of an error.
    """
    held = list(_find_held_generators(module))
    found, at = "", sys._getframe()
    line, last = 0, _list_generator_states(held)

    def trace_frame(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal found, at, line, last
        if found or not _runs_owners_file(frame):
            return None
        if (now := _list_generator_states(held)) != last:
            found, last = (describe_line(at, line) if line else ""), now
        # A draw seen after the end of a function belongs to the line that called it.
        caller: FrameType | None = frame
        if event == "return":
            caller = frame.f_back
            while caller is not None and not _runs_owners_file(caller):
                caller = caller.f_back
        at, line = (frame, 0) if caller is None else (caller, caller.f_lineno)
        if event == "line" and _MADE_ANEW.search(read_line(frame)[2]):
            found = describe_line(frame)
        return trace_frame

    # An exception of the user's module was already reported.
    with trace_frames(trace_frame), contextlib.suppress(Exception, SystemExit):
        run()
    return found


def _runs_owners_file(frame: FrameType) -> bool:
    """Return whether a frame runs the owner's code, and not an installed library."""
    return is_user_frame(frame) and not is_installed_file(frame.f_code.co_filename)


def _list_generator_states(held: list[Any]) -> list[Any]:
    """Return the states of the global generators and of the generators `held`, which the module holds. A changed state
    shows that a random number was drawn."""
    return [read_generator_states(), *map(_read_generator_state, held)]


def _read_generator_state(generator: Any) -> Any:
    """Return a value that changes when the generator draws a number."""
    if isinstance(generator, torch.Generator):
        return bytes(generator.get_state().numpy())
    return repr(generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.getstate())


def _find_held_generators(module: nn.Module) -> Iterator[Any]:
    """Yield the random generators among the attributes of layers, and in the files that define their forward."""
    for layer in module.modules():
        forward = getattr(type(layer), "forward", None)
        for value in [*vars(layer).values(), *getattr(forward, "__globals__", {}).values()]:
            if isinstance(value, torch.Generator | np.random.Generator | random.Random):
                yield value
