"""Find the line of the owner's code at which a module draws random numbers."""

from __future__ import annotations

import contextlib
import random
import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pocketrnn_export.intake.user_frames import describe_line, is_installed_file, is_user_frame, read_line, trace_frames

# A generator without a seed, whose numbers differ each time.
_MADE_ANEW: Final = re.compile(r"\b(default_rng|RandomState|Random|SystemRandom)\(\s*\)|\burandom\(|\bsecrets\.")


def read_generator_states() -> dict[str, bytes]:
    """Return the states of the global random generators of Python, numpy and torch by name. A changed state shows a
    draw."""
    numbers: Any = np.random.get_state()
    return {
        "Python's random": repr(random.getstate()).encode(),
        "numpy's": bytes(numbers[1]) + repr(numbers[2:]).encode(),
        "torch's": bytes(torch.get_rng_state().numpy()),
    }


def find_random_draw_line(module: nn.Module, run: Callable[[], object]) -> str:
    """Return the first line of the owner's code that draws a random number. The generator may be global, in the
    module, in the module's file, or new. Return an empty string if no line is found, as in TorchScript.

    Every line is traced, which is slow: use it only for the message where a module is refused.
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
    """Return the states of the global generators, and of the generators `held` by a module. A changed state shows a
    draw."""
    return [read_generator_states(), *map(_read_generator_state, held)]


def _read_generator_state(generator: Any) -> Any:
    """Return a value that changes when the generator draws a number."""
    if isinstance(generator, torch.Generator):
        return bytes(generator.get_state().numpy())
    return repr(generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.getstate())


def _find_held_generators(module: nn.Module) -> Iterator[Any]:
    """Yield the random generators that a layer holds, or that the file of its forward holds."""
    for layer in module.modules():
        forward = getattr(type(layer), "forward", None)
        for value in [*vars(layer).values(), *getattr(forward, "__globals__", {}).values()]:
            if isinstance(value, torch.Generator | np.random.Generator | random.Random):
                yield value
