"""Whether a module of a user's file is the same each time it is made, but for its weights."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import random
import re
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, PocketRNNError, first_line
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name import ModuleName
from pocketrnn_export.intake.own_process import given_apart
from pocketrnn_export.intake.weights_file import SavedWeights, load_weights
from pocketrnn_export.module_runs.cpu_run import in_eval_mode, quietly_on_cpu
from pocketrnn_export.module_runs.untouched import names_read, untouched

__all__ = ["answer_to_a_probe", "check_not_random", "same_answers"]

# Lists of lists of tensors are looked into so far.
_DEEPEST: Final = 3


def check_not_random(named: ModuleName, module: nn.Module, weights: SavedWeights | None = None) -> None:
    """Refuse a module that holds numbers which are drawn when it is made: made again with another seed, it has others.

    Seeds that the user's own code sets are passed over meanwhile, since they would hide it.

    Args:
        named: how it was made.
        module: the module, with its weights.
        weights: the weights that were loaded into it. Tensors that they lack, such as layers in a plain list, are
            checked too.

    Raises:
        InputError: some tensor differs.

    Example:
        >>> check_not_random(named, load_module(named))
    """
    again, answer = _made_again(named, weights)
    for name, digest in _digests_of(module).items():
        if again.get(name) != digest:
            raise InputError(
                f"{named.path}:{named.name} has random weights: made twice, it has two values of {name}.",
                "Give its trained weights with --weights FILE, or ask for random ones with --random-weights."
                if weights is None
                else f"{weights.path} does not hold it: make it a parameter, a layer or a buffer, and save the weights "
                "again; or ask for random ones with --random-weights.",
            )
    own = answer_to_a_probe(module)
    if own is not None and answer is not None and not same_answers(own, answer):
        raise InputError(
            f"{named.path}:{named.name} answers otherwise each time it is made, with the same weights: it holds what "
            "is drawn, or depends on the time when it is made or its file is run.",
            "Make it a plain value, or a parameter or buffer that the weights hold; or ask for random ones with "
            "--random-weights.",
        )


def answer_to_a_probe(module: nn.Module) -> Any:
    """The module's answer to some tokens, an array; None where it is not called with tokens, with or without their
    lengths. The random numbers that forward draws are the same each time, and the module is left as it was."""
    rows = min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=2)
    tokens = torch.randint(rows, (3, 9), generator=torch.Generator().manual_seed(0))
    for arguments in ((tokens,), (tokens, torch.tensor([9, 7, 4]))):
        with contextlib.suppress(Exception, SystemExit), untouched(module), torch.no_grad(), quietly_on_cpu():
            in_eval_mode(module)
            # The functions that set seeds may be passed over.
            torch.default_generator.manual_seed(0)
            np.random.set_state(np.random.RandomState(0).get_state())
            random.setstate(random.Random(0).getstate())  # noqa: S311
            answer = module(*arguments)
            while isinstance(answer, tuple | list):
                answer = answer[0]
            return answer.detach().double().numpy()
    return None


def same_answers(one: Any, other: Any) -> bool:
    """Whether two answers to a probe are the same, but for rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


def _digests_of(module: nn.Module) -> dict[str, str]:
    """The digests of all numbers that a module holds, and of those that its code reads, by their names."""
    return {name: _digest(tensor) for name, tensor in {**_numbers_read(module), **_tensors_held(module)}.items()}


def _digest(tensor: Tensor) -> str:
    """The shape and the numbers of a tensor, as a text of one length."""
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    # A kind of tensor without plain numbers, such as a sparse one.
    except (RuntimeError, TypeError):
        content = repr(tensor).encode()
    return hashlib.sha256(repr((tensor.dtype, tuple(tensor.shape))).encode() + content).hexdigest()


def _made_again(named: ModuleName, weights: SavedWeights | None) -> tuple[dict[str, str], Any]:
    """The digests of what a module holds that is made once more, with other seeds, and its answer to a probe.

    In a process of its own: what a file does to PyTorch, such as a hook on all modules or a function wrapped in
    another, it would do a second time.

    Raises:
        InputError: it cannot be made a second time.
    """
    try:
        answer = given_apart(_make_again, named, weights)
    except EOFError:
        raise InputError(
            f"{named.path} ends the process when its code is run a second time.",
            "Give weights with --weights FILE and ask for no second time with --random-weights.",
        ) from None
    if isinstance(answer, PocketRNNError):
        raise answer
    made: tuple[dict[str, str], Any] = answer
    return made


def _make_again(named: ModuleName, weights: SavedWeights | None) -> Any:
    """Make a module with other seeds than before, and give the digests of what it holds, or the error."""
    # Threads of the process that was forked are not there.
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    seed = int(torch.initial_seed() % 2**31) + 1
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed = torch.random.manual_seed = lambda seed: torch.default_generator  # noqa: ARG005
    np.random.seed, random.seed = (lambda *_: None), (lambda *_, **__: None)
    try:
        made = load_module(named)
        if weights is not None:
            load_weights(made, weights)
        return _digests_of(made), answer_to_a_probe(made)
    except PocketRNNError as error:
        return InputError(error.problem, error.remedy)
    # Whatever the user's code raises, the second time only.
    except BaseException as error:
        return InputError(
            f"{named.path} fails when its code is run a second time: {type(error).__name__}: {first_line(error)}.",
            "Let what it does at its top level stand in no file or state that it finds changed.",
        )


def _tensors_held(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor that a module holds: parameters, buffers, and those in its attributes, in plain lists too."""
    found: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def look(name: str, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            found.setdefault(name, value)
        elif isinstance(value, nn.Module):
            found.update((f"{name}.{inner}", tensor) for inner, tensor in _tensors_held(value).items())
        elif isinstance(value, list | tuple) and depth < _DEEPEST:
            for i, item in enumerate(value):
                look(f"{name}[{i}]", item, depth + 1)
        elif isinstance(value, dict) and depth < _DEEPEST:
            for key, item in value.items():
                look(f"{name}[{key!r}]", item, depth + 1)

    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                look(f"{path}.{name}" if path else name, value, 0)
    return found


def _numbers_read(module: nn.Module) -> dict[str, Tensor]:
    """The tensors, arrays and numbers of its file that the code of a module reads by their names."""
    found: dict[str, Tensor] = {}
    for kind in {kind for layer in module.modules() for kind in type(layer).__mro__}:
        if kind.__module__.split(".")[0] in ("torch", "builtins"):
            continue
        # The methods that make the module are left out: its weights hold their result.
        methods = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
        waiting = [value for name, value in methods.items() if not re.match(r"_*(init|new|reset)", name)]
        met = set[int]()
        while waiting:
            function = waiting.pop()
            if id(function) in met:
                continue
            met.add(id(function))
            for name in names_read(function.__code__) & function.__globals__.keys():
                value = function.__globals__[name]
                if inspect.isfunction(value) and value.__globals__ is function.__globals__:
                    waiting.append(value)
                elif isinstance(value, Tensor | np.ndarray | int | float | list | tuple):
                    with contextlib.suppress(TypeError, ValueError, RuntimeError):
                        found[name] = torch.as_tensor(value)
    return found
