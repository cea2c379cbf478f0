"""Where a module draws random numbers while it answers: the line of its owner's code."""

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

from pocketrnn_export.intake.user_frames import frames_followed, is_installed_file, is_users, line_of, place_of

__all__ = ["drawing_line", "generators"]

# A generator that is given no seed, whose numbers are others each time.
_MADE_ANEW: Final = re.compile(r"\b(default_rng|RandomState|Random|SystemRandom)\(\s*\)|\burandom\(|\bsecrets\.")


def generators() -> dict[str, bytes]:
    """The states of the generators of random numbers that all code shares, by whose they are.

    Example:
        >>> list(generators())
        ["Python's random", "numpy's", "torch's"]
    """
    numbers: Any = np.random.get_state()
    return {
        "Python's random": repr(random.getstate()).encode(),
        "numpy's": bytes(numbers[1]) + repr(numbers[2:]).encode(),
        "torch's": bytes(torch.get_rng_state().numpy()),
    }


def drawing_line(module: nn.Module, run: Callable[[], object]) -> str:
    """The first line of the owner's code at which a run of a module draws a random number, by a generator that all code
    shares, by one that the module or its file holds, or by one that the line makes anew; empty where none is found, as
    in TorchScript.

    Each line is followed, so that it is asked where a module is refused or told of, and not before.

    Example:
        >>> drawing_line(module, lambda: module(tokens))
        'model.py:12: `x = F.dropout(x, 0.5)`'
    """
    own = list(_generators_held(module))
    found, at = "", sys._getframe()
    line, last = 0, _states(own)

    def follow(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal found, at, line, last
        if found or not _is_followed(frame):
            return None
        if (now := _states(own)) != last:
            found, last = (place_of(at, line) if line else ""), now
        # A draw after the end of a function belongs to the line that called it.
        caller: FrameType | None = frame
        if event == "return":
            caller = frame.f_back
            while caller is not None and not _is_followed(caller):
                caller = caller.f_back
        at, line = (frame, 0) if caller is None else (caller, caller.f_lineno)
        if event == "line" and _MADE_ANEW.search(line_of(frame)[2]):
            found = place_of(frame)
        return follow

    # Whatever a user's module raises was met, and told, before.
    with frames_followed(follow), contextlib.suppress(Exception, SystemExit):
        run()
    return found


def _is_followed(frame: FrameType) -> bool:
    return is_users(frame) and not is_installed_file(frame.f_code.co_filename)


def _states(own: list[Any]) -> list[Any]:
    return [generators(), *map(_state_of, own)]


def _state_of(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return bytes(generator.get_state().numpy())
    return repr(generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.getstate())


def _generators_held(module: nn.Module) -> Iterator[Any]:
    for layer in module.modules():
        forward = getattr(type(layer), "forward", None)
        for value in [*vars(layer).values(), *getattr(forward, "__globals__", {}).values()]:
            if isinstance(value, torch.Generator | np.random.Generator | random.Random):
                yield value
