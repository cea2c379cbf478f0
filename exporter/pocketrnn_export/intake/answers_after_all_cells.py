"""Check that a module gives the same answers after all cells of its notebook have run, with the training.

This is done only if the user asks for it: the notebook may be a stranger's, and may take an hour.
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
from pocketrnn_export.intake.function_in_new_process import run_in_process
from pocketrnn_export.intake.module_file import run_all_cells
from pocketrnn_export.intake.module_name_with_arguments import ModuleName
from pocketrnn_export.intake.random_construction_refusal import are_near_answers, compute_probe_answer
from pocketrnn_export.intake.weights_file import SavedWeights

_log = logging.getLogger(__name__)


def refuse_other_answers_after_all_cells(
    named: ModuleName, module: nn.Module, weights: SavedWeights | None, seconds: float
) -> None:
    """Refuse a module whose answers change after all cells of its notebook have run. Both times it has the same
    weights.

    The cells run in a new process, for at most `seconds`.

    Raises:
        InputError: the answers differ, a cell raises or ends the process, or the time is over.
    """
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    try:
        answer = run_in_process(_run_cells_and_answer, named, weights, state, seconds=seconds)
    except TimeoutError:
        raise InputError(
            f"The cells of {named.path} did not finish within {seconds:g} seconds.",
            "Give more seconds with --run-notebook, or shorten the training in the notebook, whose weights are not "
            "compared.",
        ) from None
    except EOFError:
        raise InputError(
            f"A cell of {named.path} ends the process, or the cells need more memory than there is.",
            "Take the line that ends the process out of the cell, or export without --run-notebook.",
        ) from None
    if isinstance(answer, PocketRNNError):
        raise answer
    own = compute_probe_answer(module)
    if own is None or answer is None:
        _log.warning("All cells of %s have run, but %s was not compared: it takes no tokens", named.path, named.name)
    elif not are_near_answers(own, answer):
        raise InputError(
            f"{named.path}:{named.name} gives other answers after all cells have run, with the same weights.",
            f"A cell changes values that {named.name} reads: give these values with --set NAME=VALUE, or name the "
            "object that the notebook makes in place of its class.",
        )


def _run_cells_and_answer(named: ModuleName, weights: SavedWeights | None, state_dict: dict[str, torch.Tensor]) -> Any:
    """Run all cells, and return the module's answer to fixed tokens, or the error."""
    # The forked process does not have the threads of its parent.
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    # Plots must not open a window and wait.
    os.environ["MPLBACKEND"] = "Agg"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            made = run_all_cells(named, weights)
            made.load_state_dict(state_dict)
        return compute_probe_answer(made)
    except PocketRNNError as error:
        return InputError(error.problem, error.remedy)
    # Whatever the user's code raises.
    except BaseException as error:
        return InputError(
            f"{named.path}:{named.name} does not take the weights after all cells have run: "
            f"{type(error).__name__}: {first_line(error)}.",
            "Correct the notebook, or export without --run-notebook.",
        )
