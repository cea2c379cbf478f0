"""Check that a module from a user's file is the same each time it is made, apart from its weights, and that it gives
the same answers after all cells of its notebook have run, with the training.

All cells are run only if the user asks for it: the notebook may be a stranger's, and may take an hour.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import logging
import multiprocessing
import os
import random
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, PocketRNNError, first_line
from pocketrnn_export.intake.module_file import load_module, run_all_cells
from pocketrnn_export.intake.module_name_with_arguments import ModuleName
from pocketrnn_export.intake.weights_file import SavedWeights, load_weights
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu, set_eval_mode
from pocketrnn_export.module_runs.state_restoration import find_global_names_read, restore_module

# How deep lists of tensors are searched.
_DEEPEST: Final = 3


def refuse_random_construction(named: ModuleName, module: nn.Module, weights: SavedWeights | None = None) -> None:
    """Raise an InputError if a module has random numbers that the weights do not replace. To find out, the module is
    made again with another seed, and the numbers and answers of both are compared. Seeds that the user's own code sets
    have no effect then, since they would hide the difference.

    Args:
        named: the class or function that made the module, and its arguments.
        module: the module, with its weights.
        weights: the weights that were loaded into it. Tensors that they do not contain, such as those of layers in a
            plain list, are compared, too.
    """
    again, answer = _compute_digests_and_answer_in_new_process(named, weights)
    for name, digest in _compute_digests(module).items():
        if again.get(name) != digest:
            raise InputError(
                f"{named.path}:{named.name} has random weights: when it is made twice, {name} differs.",
                "Give its trained weights with --weights FILE, or ask for random ones with --random-weights."
                if weights is None
                else f"{weights.path} does not hold {name}: make it a parameter, a layer or a buffer, and save the "
                "weights again; or ask for random ones with --random-weights.",
            )
    own = compute_probe_answer(module)
    if own is not None and answer is not None and not are_near_answers(own, answer):
        raise InputError(
            f"{named.path}:{named.name} gives other answers each time it is made, with the same weights. It has "
            "random numbers, or numbers that depend on the time.",
            "Make these numbers constants; or make them parameters or buffers, and save the weights again. If "
            "random weights are enough, give --random-weights.",
        )


def compute_probe_answer(module: nn.Module) -> Any:
    """Return the module's answer to a few fixed tokens as an array, or None if the module takes neither tokens nor
    tokens with lengths. The random generators have a fixed state during the call, and the module is not changed."""
    rows = min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=2)
    tokens = torch.randint(rows, (3, 9), generator=torch.Generator().manual_seed(0))
    for arguments in ((tokens,), (tokens, torch.tensor([9, 7, 4]))):
        with contextlib.suppress(Exception, SystemExit), restore_module(module), torch.no_grad(), run_quietly_on_cpu():
            set_eval_mode(module)
            # torch.manual_seed and the like may be replaced.
            torch.default_generator.manual_seed(0)
            np.random.set_state(np.random.RandomState(0).get_state())
            random.setstate(random.Random(0).getstate())  # noqa: S311
            answer = module(*arguments)
            while isinstance(answer, tuple | list):
                answer = answer[0]
            return answer.detach().double().numpy()
    return None


def are_near_answers(one: Any, other: Any) -> bool:
    """Return whether two answers, as arrays, have the same shape and are equal up to rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


def _compute_digests(module: nn.Module) -> dict[str, str]:
    """Return the digests, by name, of all tensors and numbers that a module holds or that its code reads."""
    return {
        name: _digest_tensor(tensor)
        for name, tensor in {**_find_global_numbers(module), **_find_tensors(module)}.items()
    }


def _digest_tensor(tensor: Tensor) -> str:
    """Return a digest of the shape and the numbers of a tensor."""
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    # A tensor without dense storage, such as a sparse one.
    except (RuntimeError, TypeError):
        content = repr(tensor).encode()
    return hashlib.sha256(repr((tensor.dtype, tuple(tensor.shape))).encode() + content).hexdigest()


def _compute_digests_and_answer_in_new_process(
    named: ModuleName, weights: SavedWeights | None
) -> tuple[dict[str, str], Any]:
    """Make the module again in a new process with another seed. Return the digests of its tensors and numbers, and its
    answer to fixed tokens.

    A new process is used because the file may change PyTorch, for example by a hook on all modules, and would do so a
    second time in this process.
    """
    try:
        answer = run_in_process(_compute_digests_and_answer_with_new_seed, named, weights)
    except EOFError:
        raise InputError(
            f"{named.path} is run a second time, to find random numbers in the module. There, it ends the process, "
            "or needs more memory than there is.",
            "Give --random-weights in addition to --weights FILE. The code is then run only once.",
        ) from None
    if isinstance(answer, PocketRNNError):
        raise answer
    made: tuple[dict[str, str], Any] = answer
    return made


def _compute_digests_and_answer_with_new_seed(named: ModuleName, weights: SavedWeights | None) -> Any:
    """Make a module with another seed. Return the digests of its tensors and numbers, and its answer to fixed tokens.
    If this fails, return the error."""
    # The forked process does not have the threads of its parent.
    torch.set_num_threads(1)
    # The first time has shown them, and the lines that the user's file prints.
    logging.disable(logging.WARNING)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    warnings.simplefilter("ignore")
    seed = int(torch.initial_seed() % 2**31) + 1
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed = torch.random.manual_seed = lambda seed: torch.default_generator  # noqa: ARG005
    np.random.seed, random.seed = (lambda *_: None), (lambda *_, **__: None)
    try:
        made = load_module(named, weights)
        if weights is not None:
            load_weights(made, weights)
        return _compute_digests(made), compute_probe_answer(made)
    except PocketRNNError as error:
        return InputError(error.problem, error.remedy)
    # Whatever the user's code raises, the second time only.
    except BaseException as error:
        return InputError(
            f"{named.path} fails when its code is run a second time: {type(error).__name__}: {first_line(error)}.",
            "Let the file change neither other files nor global state when it is imported.",
        )


def _find_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a dict from names to all tensors that a module holds: parameters, buffers, and tensors in attributes,
    lists and dicts."""
    found: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def collect_tensors(name: str, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            found.setdefault(name, value)
        elif isinstance(value, nn.Module):
            found.update((f"{name}.{inner}", tensor) for inner, tensor in _find_tensors(value).items())
        elif isinstance(value, list | tuple) and depth < _DEEPEST:
            for i, item in enumerate(value):
                collect_tensors(f"{name}[{i}]", item, depth + 1)
        elif isinstance(value, dict) and depth < _DEEPEST:
            for key, item in value.items():
                collect_tensors(f"{name}[{key!r}]", item, depth + 1)

    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                collect_tensors(f"{path}.{name}" if path else name, value, 0)
    return found


def _find_global_numbers(module: nn.Module) -> dict[str, Tensor]:
    """Return a dict of the global tensors, arrays, numbers and lists of numbers that a module's code reads, by their
    names."""
    found: dict[str, Tensor] = {}
    for kind in {kind for layer in module.modules() for kind in type(layer).__mro__}:
        if kind.__module__.split(".")[0] in ("torch", "builtins"):
            continue
        # Methods that initialize the module are left out: its weights hold their result.
        methods = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
        waiting = [value for name, value in methods.items() if not re.match(r"_*(init|new|reset)", name)]
        met = set[int]()
        while waiting:
            function = waiting.pop()
            if id(function) in met:
                continue
            met.add(id(function))
            for name in find_global_names_read(function.__code__) & function.__globals__.keys():
                value = function.__globals__[name]
                if inspect.isfunction(value) and value.__globals__ is function.__globals__:
                    waiting.append(value)
                elif isinstance(value, Tensor | np.ndarray | int | float | list | tuple):
                    with contextlib.suppress(TypeError, ValueError, RuntimeError):
                        found[name] = torch.as_tensor(value)
    return found


def run_in_process(function: Callable[..., Any], *args: Any, seconds: float | None = None) -> Any:
    """Run a function with these arguments in a new process, and return its result. `seconds` is how long it may take;
    None is no limit.

    Raises:
        EOFError: the new process ended before it gave a result.
        TimeoutError: the function took longer than `seconds`.
    """
    # fork is only safe on Linux; starting a new interpreter takes two seconds.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, args))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        # Python warns that a fork loses this process's threads. The new one does not need them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TimeoutError
        return receiver.recv()
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send_result(sender: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    sender.send(function(*args))


_log = logging.getLogger(__name__)


def refuse_other_answers_after_all_cells(
    named: ModuleName, module: nn.Module, weights: SavedWeights | None, seconds: float
) -> None:
    """Raise an InputError if a module, with the same weights, answers otherwise after all cells of its notebook have
    run than after only the needed statements. The cells run in a new process.

    Raises:
        InputError: the answers differ; a cell raises an exception or ends the process; or the cells take longer than
            `seconds`.
    """
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    try:
        answer = run_in_process(_run_cells_and_answer, named, weights, state, seconds=seconds)
    except TimeoutError:
        raise InputError(
            f"The cells of {named.path} did not finish within {seconds:g} seconds.",
            "Give more seconds: --run-notebook SECONDS. Or shorten the training in the notebook; its weights are "
            "not compared.",
        ) from None
    except EOFError:
        raise InputError(
            f"A cell of {named.path} ends the process, or the cells need more memory than there is.",
            "Remove the line that ends the process from the cell, or export without --run-notebook.",
        ) from None
    if isinstance(answer, PocketRNNError):
        raise answer
    own = compute_probe_answer(module)
    if own is None or answer is None:
        _log.warning("All cells of %s have run, but %s was not compared: it takes no tokens", named.path, named.name)
    elif not are_near_answers(own, answer):
        raise InputError(
            f"{named.path}:{named.name} gives other answers after all cells have run than after only the needed "
            "ones, with the same weights.",
            f"A cell changes values that {named.name} reads. Give these values with --set NAME=VALUE, or name the "
            "object that the notebook makes in place of its class.",
        )


def _run_cells_and_answer(named: ModuleName, weights: SavedWeights | None, state_dict: dict[str, torch.Tensor]) -> Any:
    """Run all cells of the notebook. Return the module's answer to fixed tokens. If a cell fails, return the error."""
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
