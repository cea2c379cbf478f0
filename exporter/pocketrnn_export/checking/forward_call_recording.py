"""Call a module on drawn cases, as `check` does, and record the tensors that forward takes and gives."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.exported_file import Array
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call

# The size of a batch: its rows, and their steps.
RowsAndSteps = tuple[int, int]

# The sizes of the first calls, (batch, tokens): two sizes that differ in both numbers, then other sizes for modules
# that refuse these.
SIZES: Final = ((3, 7), (2, 11), (1, 7), (2, 29), (5, 64))


@dataclass(frozen=True)
class ModuleCall:
    """A module, and how `check` calls it.

    Attributes:
        module: in float32 and eval mode, on the CPU.
        line: how it is called, in words.
        function: the call, as a function of the module, ids int64 [batch, sequence] and their lengths.
        ids: how many ids there are.
        padding_id: the id that pads a row after its length.
        ragged: whether rows have lengths of their own.
        samples: the rows of numbers that the ids stand for; None if they are ids of tokens.
        in_doubles: whether the module can run in double precision, as Python code can and a file cannot.
        sizes: the sizes (batch, sequence) of first calls on which the module runs.
        unit: what a row consists of: `tokens` or `steps`; empty if no input has a sequence.
        one_row: whether the inputs have no batch axis, so that only the first row of each case is used.
        name: the name of the module in sentences.
        numbers: the range to which the module's inputs were limited, if it has no finite answers to other numbers.
        only_these: the sizes of the inputs in all cases, if the module also runs on other sizes; else empty.
        unequal: for each of several inputs with a sequence, a function that gives this input half as many steps as the
            others.
    """

    module: nn.Module
    line: str
    function: Call
    ids: int
    padding_id: int = 0
    ragged: bool = False
    samples: Array | None = None
    in_doubles: bool = True
    sizes: tuple[RowsAndSteps, ...] = ()
    unit: str = "tokens"
    one_row: bool = False
    name: str = "the module"
    numbers: str = ""
    only_these: str = ""
    unequal: tuple[Call, ...] = ()


@dataclass(frozen=True)
class RecordedCall:
    """One recorded call of forward: its inputs by the names of the parameters, and its outputs."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def record_call(called: ModuleCall, case: Case) -> RecordedCall:
    """Call a module on a batch of ids (case), and return the inputs and outputs of its forward, by name. Exceptions of
    the module are not caught."""
    inputs: dict[str, Tensor] = {}
    outputs = _record_tensors(called, case, inputs)
    return RecordedCall(*({n: t.detach().numpy().copy() for n, t in part.items()} for part in (inputs, outputs)))


def record_calls(called: ModuleCall, cases: Iterable[Case]) -> list[RecordedCall] | None:
    """Call a module on batches of ids (cases), and return the inputs and outputs of its forward for each. Return None
    if the module fails on one of the batches."""
    try:
        return [record_call(called, case) for case in cases]
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return None


def _record_tensors(called: ModuleCall, case: Case, inputs_to_fill: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = (torch.from_numpy(case.tokens), torch.from_numpy(case.lengths))
    with run_quietly_and_undo_assignments(called.module):
        return record_forward(called.module, called.function, *tensors, inputs_to_fill)


def gives_same_answers_again(called: ModuleCall, case: Case) -> bool:
    """Return whether a module gives the same answers in two calls in a row on the same batch. A module that keeps a
    state may not."""
    tensors = (torch.from_numpy(case.tokens), torch.from_numpy(case.lengths))
    with run_quietly_and_undo_assignments(called.module):
        one, other = (record_forward(called.module, called.function, *tensors, {}) for _ in range(2))
        return all(torch.allclose(one[name], other[name], equal_nan=True) for name in one)


def record_inputs(called: ModuleCall, case: Case) -> Mapping[str, Array]:
    """Call a module on a batch of ids (case), and return the inputs that forward got, by name, even if forward then
    failed. Return an empty dict if the call fails before forward."""
    inputs: dict[str, Tensor] = {}
    with contextlib.suppress(Exception, SystemExit):
        _record_tensors(called, case, inputs)
    return {name: tensor.detach().numpy().copy() for name, tensor in inputs.items()}


def draw_case(called: ModuleCall, rows: int, steps: int, *, ragged: bool | None = None) -> Case:
    """Draw a batch (case) of `rows` rows with `steps` random ids. With `ragged`, the lengths decrease from row to row,
    and padding follows; None means that they do if the module takes lengths."""
    generator = np.random.default_rng(rows * 1_000 + steps)
    low = 8 if called.samples is not None else min(2, called.ids - 1)
    tokens = generator.integers(low, called.ids, (rows, steps), dtype=np.int64)
    lengths = np.full(rows, steps, np.int64)
    if called.ragged if ragged is None else ragged:
        lengths = np.maximum(1, steps - np.arange(rows) * 2).astype(np.int64)
        tokens[np.arange(steps) >= lengths[:, None]] = called.padding_id
    return Case(f"batch {rows} x sequence {steps}", tokens, lengths)


def limit_call_to_running_sizes(called: ModuleCall, sizes: Iterable[RowsAndSteps]) -> ModuleCall | None:
    """Return `called` with those of `sizes` (rows, steps) on which the module runs. Return None if it runs on none of
    them."""
    running = tuple(size for size in sizes if can_run_on_size(called, *size))
    return replace(called, sizes=running) if running else None


def list_sizes_with_different_rows(steps: int) -> tuple[RowsAndSteps, ...]:
    """List three sizes (rows, steps) with this number of steps and with different numbers of rows, none of them equal
    to `steps`."""
    return tuple((rows, steps) for rows in (3, 2, 1, 4) if rows != steps)[:3]


def can_run_on_size(called: ModuleCall, rows: int, steps: int, *, ragged: bool | None = None) -> bool:
    """Return whether a module runs on a random batch of this number of rows and steps. With `ragged`, the rows have
    different lengths; None means that they do if the module takes lengths."""
    return record_calls(called, [draw_case(called, rows, steps, ragged=ragged)]) is not None


def can_take_ids_below(called: ModuleCall, id_limit: int, *, tried_ids: int = 1) -> bool:
    """Return whether a module runs on each of the `tried_ids` largest ids below `id_limit`, each in a batch of only
    this id. An embedding with fewer rows raises an error."""
    rows, steps = called.sizes[0]
    every = [np.full((rows, steps), (id_limit - 1 - last) % id_limit) for last in range(tried_ids)]
    cases = (Case("the last ids", tokens, np.full(rows, steps, np.int64)) for tokens in every)
    return record_calls(called, cases) is not None


def record_forward(
    module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor, inputs_to_fill: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Call `function` with the module, tokens and lengths, and return the tensors in the output of the module's
    forward, by path. The inputs of forward are stored in the dict `inputs_to_fill`. If forward runs several times, the
    last run counts."""
    outputs: dict[str, Tensor] = {}

    def record_inputs_of_call(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs_to_fill.clear()
        # Forward may change what it is given.
        inputs_to_fill.update({name: tensor.clone() for name, tensor in list_named_inputs(layer, args, kwargs)})

    def record_outputs_of_call(_layer: nn.Module, _args: Any, answer: Any) -> None:
        outputs.clear()
        outputs.update(_yield_named_tensors("", answer))

    hooks = [
        module.register_forward_pre_hook(record_inputs_of_call, with_kwargs=True),
        module.register_forward_hook(record_outputs_of_call),
    ]
    try:
        answer = run_user_call(function, module, tokens, lengths)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs or dict(_yield_named_tensors("", answer))


def list_named_inputs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield a pair (path, tensor) for each tensor in the arguments of a call of a module. A path is the parameter's
    name and, in a list or dict, the index or key, such as `state.0`."""
    for name, value in inspect.signature(layer.forward).bind(*args, **kwargs).arguments.items():
        yield from _yield_named_tensors(name, value)


def _yield_named_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield a pair (path, tensor) for each tensor in a value with the path `name`: `state.0` for the first tensor of a
    tuple `state`. The value may be a list, a tuple, a dict or an object with attributes, however nested."""
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
        yield from _yield_named_tensors(f"{name}.{key}" if name else str(key), part)
