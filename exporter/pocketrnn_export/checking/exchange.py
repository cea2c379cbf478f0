"""The tensors that a module's forward takes in a call, and those of its answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.other_file import Array
from pocketrnn_export.comparing.cases import Case
from pocketrnn_export.intake.convention import Call, left_as_it_was
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu

__all__ = [
    "SIZES",
    "Called",
    "Exchange",
    "InOneTable",
    "Signed",
    "case_of",
    "exchange",
    "in_one_table",
    "named_inputs",
    "runs",
    "that_runs",
]


# Sizes of the first calls, (batch, tokens): two that differ in both, and others for who takes no such.
SIZES: Final = ((3, 7), (2, 11), (1, 7), (2, 29), (5, 64))


@dataclass(frozen=True)
class Called:
    """How a module is called.

    Attributes:
        module: in float32 and eval mode, on the CPU.
        line: how it is called, in words.
        function: the same, as a function of the module, ids int64 [batch, sequence] and their lengths.
        ids: how many ids there are.
        padding_id: what stands past a row's length.
        ragged: whether rows have lengths of their own.
        samples: the rows of numbers that the ids stand for, if they do.
        in_doubles: whether it can be run in double precision, as code of Python can.
        sizes: the sizes of first calls on which it runs, (batch, sequence).
        unit: what a row consists of: `tokens` or `steps`; empty where no input has a sequence.
        one_row: whether no axis of its inputs is the batch's, so that each case is its first row.
        name: what the module is called in sentences.
    """

    module: nn.Module
    line: str
    function: Call
    ids: int
    padding_id: int = 0
    ragged: bool = False
    samples: Array | None = None
    in_doubles: bool = True
    sizes: tuple[tuple[int, int], ...] = ()
    unit: str = "tokens"
    one_row: bool = False
    name: str = "the module"


@dataclass(frozen=True)
class Exchange:
    """One call of forward: what it was given by the names of its parameters, and what it gave, by names or numbers."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def exchange(called: Called, case: Case) -> Exchange:
    """Call a module, and note what its forward takes and gives; raises whatever it raises."""
    tensors = (torch.from_numpy(case.tokens), torch.from_numpy(case.lengths))
    with torch.no_grad(), quietly_on_cpu(), left_as_it_was(called.module):
        inputs, outputs = _noted(called.module, called.function, *tensors)
    return Exchange(*({n: t.detach().numpy().copy() for n, t in part.items()} for part in (inputs, outputs)))


def case_of(called: Called, rows: int, steps: int, *, ragged: bool | None = None) -> Case:
    """A case of drawn ids, with falling lengths where the module takes lengths."""
    generator = np.random.default_rng(rows * 1_000 + steps)
    low = 8 if called.samples is not None else min(2, called.ids - 1)
    tokens = generator.integers(low, called.ids, (rows, steps), dtype=np.int64)
    lengths = np.full(rows, steps, np.int64)
    if called.ragged if ragged is None else ragged:
        lengths = np.maximum(1, steps - np.arange(rows) * 2).astype(np.int64)
        tokens[np.arange(steps) >= lengths[:, None]] = called.padding_id
    return Case(f"batch {rows} x sequence {steps}", tokens, lengths)


def that_runs(called: Called, sizes: Iterable[tuple[int, int]]) -> Called | None:
    """The same call with those of some sizes on which it runs; None where it runs on none."""
    running = tuple(size for size in sizes if runs(called, *size))
    return replace(called, sizes=running) if running else None


def runs(called: Called, rows: int, steps: int, *, ragged: bool | None = None) -> bool:
    """Whether a module runs on a batch of so many rows and steps."""
    try:
        exchange(called, case_of(called, rows, steps, ragged=ragged))
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return False
    return True


def _noted(
    module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs and the outputs of the last call of a module's forward."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.clear()
        # Forward may change what it is given.
        inputs.update({name: tensor.clone() for name, tensor in named_inputs(layer, args, kwargs)})

    def after(_layer: nn.Module, _args: Any, answer: Any) -> None:
        outputs.clear()
        outputs.update(_named("", answer))

    hooks = [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
    try:
        answer = called_as(function, module, tokens, lengths)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs, outputs or dict(_named("", answer))


def named_inputs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tensors among a module's arguments, each by the name of its parameter and its place in that.

    Example:
        >>> [name for name, _ in named_inputs(module, ((tokens, lengths),), {})]
        ['x.0', 'x.1']
    """
    for name, value in inspect.signature(layer.forward).bind(*args, **kwargs).arguments.items():
        yield from _named(name, value)


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value, each by the name of what holds it and its own."""
    if isinstance(value, Tensor):
        yield name or "0", value
        return
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    elif hasattr(value, "__dict__"):
        parts = vars(value).items()
    for key, part in parts:
        yield from _named(f"{name}.{key}" if name else str(key), part)


class Signed(nn.Module):
    """A function of tensors as a module whose forward has parameters, where TorchScript or a file has none that Python
    can be asked for.

    Args:
        run: the function: a ScriptModule, or what runs a file.
        names: those of its inputs.

    Example:
        >>> Signed(script, ["tokens"])(tokens).shape
        torch.Size([3, 4])
    """

    def __init__(self, run: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.run = run
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        if all(name.isidentifier() for name in names):
            # As the intake asks for it.
            vars(self)["forward"] = _with_parameters(run, [inspect.Parameter(name, kind) for name in names])

    def forward(self, *tensors: Tensor) -> Any:
        """The outputs."""
        return self.run(*tensors)


def _with_parameters(run: Any, parameters: Sequence[inspect.Parameter]) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


class InOneTable(nn.Module):
    """A module that gives some of its outputs as one table, [batch, numbers], so that two answers are compared as those
    of a classifier are.

    Args:
        called: how the module is called.
        outputs: which of its outputs.
    """

    def __init__(self, called: Called, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module = called.module
        self.function, self.outputs = _Kept(called.function), outputs

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The table for a batch."""
        with left_as_it_was(self.module):
            _, outputs = _noted(self.module, self.function, tokens, lengths)
        table: Tensor = in_one_table([outputs[name] for name in self.outputs], len(tokens), torch)
        return table


class _Kept:
    """A user's function, which may hold anything: it is not copied with the module."""

    def __init__(self, function: Call) -> None:
        self.function = function

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return self.function(module, tokens, lengths)

    def __deepcopy__(self, _memory: dict[int, Any]) -> _Kept:
        return self


def in_one_table(outputs: list[Any], rows: int, library: Any = np) -> Any:
    """Arrays, or tensors, as one table of so many rows; each with its axis of the batch first, if it has one.

    Example:
        >>> in_one_table([np.zeros((3, 4)), np.zeros((2, 3, 5))], 3).shape
        (3, 14)
    """
    parts = []
    for output in outputs:
        if output.ndim > 1 and output.shape[0] != rows == output.shape[1]:
            output = library.swapaxes(output, 0, 1)
        flat = output.reshape(-1)
        short = -len(flat) % rows
        if short or not len(flat):
            flat = library.concatenate([flat, library.zeros(short or rows, dtype=flat.dtype)])
        parts.append(flat.reshape(rows, -1))
    return library.concatenate(parts, 1)
