"""Whether a module answers as it does after its whole notebook has run, all cells in order, training included.

Only where the user asks for it: the notebook may be a stranger's, and may take an hour.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from typing import Any

import torch
from torch import nn

from pocketrnn.errors import InputError, PocketRNNError, first_line
from pocketrnn_export.intake.made_twice import answer_to_a_probe, same_answers
from pocketrnn_export.intake.module_file import module_after_all_cells
from pocketrnn_export.intake.module_name import ModuleName
from pocketrnn_export.intake.own_process import given_apart
from pocketrnn_export.intake.weights_file import SavedWeights

__all__ = ["check_whole_run"]

_log = logging.getLogger(__name__)


def check_whole_run(named: ModuleName, module: nn.Module, weights: SavedWeights | None, seconds: float) -> None:
    """Refuse a module that answers otherwise once all cells of its notebook have run, with the same weights.

    The cells run in a process of their own.

    Args:
        named: how the module was made.
        module: the module, with its weights.
        weights: what was loaded into it.
        seconds: how long the cells may run.

    Raises:
        InputError: the answers differ, a cell raises or ends the process, or the time is over.

    Example:
        >>> check_whole_run(named, load_module(named), None, seconds=3600)
    """
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    try:
        answer = given_apart(_answer_after_all_cells, named, weights, state, seconds=seconds)
    except TimeoutError:
        raise InputError(
            f"The cells of {named.path} have not run within {seconds:g} seconds.",
            "Give more with --run-notebook SECONDS, or shorten the training: the weights are not compared.",
        ) from None
    except EOFError:
        raise InputError(
            f"A cell of {named.path} ends the process.", "Correct it, or export without --run-notebook."
        ) from None
    if isinstance(answer, PocketRNNError):
        raise answer
    own = answer_to_a_probe(module)
    if own is None or answer is None:
        _log.warning("All cells of %s have run, but %s was not compared: it takes no tokens", named.path, named.name)
    elif not same_answers(own, answer):
        raise InputError(
            f"{named.path}:{named.name} answers otherwise after all cells have run, with the same weights.",
            "See which cells set what it reads: give plain values with --set NAME=VALUE, or ask for the object itself "
            "in place of its class.",
        )


def _answer_after_all_cells(named: ModuleName, weights: SavedWeights | None, state: dict[str, torch.Tensor]) -> Any:
    """The answer of the module to the probe once all cells have run, or the error."""
    # Threads of the process that was forked are not there.
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    # No window waits for its user.
    os.environ["MPLBACKEND"] = "Agg"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            made = module_after_all_cells(named, weights)
            made.load_state_dict(state)
        return answer_to_a_probe(made)
    except PocketRNNError as error:
        return InputError(error.problem, error.remedy)
    # Whatever the user's code raises.
    except BaseException as error:
        return InputError(
            f"{named.path}:{named.name} does not take the weights after all cells have run: "
            f"{type(error).__name__}: {first_line(error)}.",
            "Correct the notebook, or export without --run-notebook.",
        )
