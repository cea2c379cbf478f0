"""Record the input and output tensors of a call of a module."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.exported_file import Array
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.assignment_undoing import undo_assignments
from pocketrnn_export.intake.call_line import Call
from pocketrnn_export.intake.user_frames import run_user_call
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu

# The sizes of the first calls, (batch, tokens): two sizes that differ in both numbers, then other sizes for modules
# that refuse these.
SIZES: Final = ((3, 7), (2, 11), (1, 7), (2, 29), (5, 64))
# One step of a float32 number below 1 is 2**-24 of the power of two above it. Multiples of 1/16 are not rounded.
_BITS: Final = 24
_EXACT: Final = 16


@dataclass(frozen=True)
class ModuleCall:
    """A module, and how `check` calls it.

    Attributes:
        module: in float32 and eval mode, on the CPU.
        line: how it is called, in words.
        function: the same, as a function of the module, ids int64 [batch, sequence] and their lengths.
        ids: how many ids there are.
        padding_id: the id that pads a row after its length.
        ragged: whether rows have lengths of their own.
        samples: the rows of numbers that the ids stand for; None if they are ids of tokens.
        in_doubles: whether it can run in double precision, as Python code can and a file cannot.
        sizes: the sizes of first calls on which it runs, (batch, sequence).
        unit: what a row consists of: `tokens` or `steps`; empty if no input has a sequence.
        one_row: whether its inputs have no batch axis: each case is then only its first row.
        name: what the module is called in sentences.
        numbers: what its numbers were limited to, if it has no finite answers to others.
        only_these: the sizes of the inputs of such a case, if the module runs on others, too.
        unequal: for each of several inputs with a sequence, the function that gives it half as many steps as the
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
    sizes: tuple[tuple[int, int], ...] = ()
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
    """Call a module, and record the inputs and outputs of forward. It raises whatever the module raises."""
    inputs: dict[str, Tensor] = {}
    outputs = _record_tensors(called, case, inputs)
    return RecordedCall(*({n: t.detach().numpy().copy() for n, t in part.items()} for part in (inputs, outputs)))


def _record_tensors(called: ModuleCall, case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = (torch.from_numpy(case.tokens), torch.from_numpy(case.lengths))
    with torch.no_grad(), run_quietly_on_cpu(), undo_assignments(called.module):
        return _record_forward(called.module, called.function, *tensors, inputs)


def gives_same_answers_again(called: ModuleCall, case: Case) -> bool:
    """Return whether a second call gives the same answers. The first call may have changed the module."""
    tensors = (torch.from_numpy(case.tokens), torch.from_numpy(case.lengths))
    with torch.no_grad(), run_quietly_on_cpu(), undo_assignments(called.module):
        one, other = (_record_forward(called.module, called.function, *tensors, {}) for _ in range(2))
        return all(torch.allclose(one[name], other[name], equal_nan=True) for name in one)


def record_inputs(called: ModuleCall, case: Case) -> Mapping[str, Array]:
    """Record the inputs of forward for a case, even if forward fails.

    Return an empty dict if the call fails before forward.
    """
    inputs: dict[str, Tensor] = {}
    with contextlib.suppress(Exception, SystemExit):
        _record_tensors(called, case, inputs)
    return {name: tensor.detach().numpy().copy() for name, tensor in inputs.items()}


def draw_case(called: ModuleCall, rows: int, steps: int, *, ragged: bool | None = None) -> Case:
    """Draw a case of random ids. If the module takes lengths, the lengths decrease from row to row."""
    generator = np.random.default_rng(rows * 1_000 + steps)
    low = 8 if called.samples is not None else min(2, called.ids - 1)
    tokens = generator.integers(low, called.ids, (rows, steps), dtype=np.int64)
    lengths = np.full(rows, steps, np.int64)
    if called.ragged if ragged is None else ragged:
        lengths = np.maximum(1, steps - np.arange(rows) * 2).astype(np.int64)
        tokens[np.arange(steps) >= lengths[:, None]] = called.padding_id
    return Case(f"batch {rows} x sequence {steps}", tokens, lengths)


def select_running_sizes(called: ModuleCall, sizes: Iterable[tuple[int, int]]) -> ModuleCall | None:
    """Return the call with only the sizes on which it runs; None if it runs on no size."""
    running = tuple(size for size in sizes if can_run_on_size(called, *size))
    return replace(called, sizes=running) if running else None


def list_sizes_of_steps(steps: int) -> tuple[tuple[int, int], ...]:
    """List sizes for first calls: different numbers of rows, and this number of steps."""
    return tuple((rows, steps) for rows in (3, 2, 1, 4) if rows != steps)[:3]


def can_run_on_size(called: ModuleCall, rows: int, steps: int, *, ragged: bool | None = None) -> bool:
    """Return whether a module runs on this number of rows and steps."""
    try:
        record_call(called, draw_case(called, rows, steps, ragged=ragged))
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return False
    return True


def can_take_ids_below(called: ModuleCall, count: int, *, draws: int = 1) -> bool:
    """Return whether a module accepts the largest ids below `count`.

    The `draws` largest are tried, in batches of one id only.
    """
    shape = called.sizes[0]
    for last in range(draws):
        tokens = np.full(shape, (count - 1 - last) % count)
        try:
            record_call(called, Case("the last ids", tokens, np.full(shape[0], shape[1], np.int64)))
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            return False
    return True


def _record_forward(
    module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor, inputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Run the module; record the inputs of the last call of forward in `inputs`, and return its outputs."""
    outputs: dict[str, Tensor] = {}

    def record_inputs_of_call(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.clear()
        # Forward may change what it is given.
        inputs.update({name: tensor.clone() for name, tensor in list_named_inputs(layer, args, kwargs)})

    def record_outputs_of_call(_layer: nn.Module, _args: Any, answer: Any) -> None:
        outputs.clear()
        outputs.update(_list_named_tensors("", answer))

    hooks = [
        module.register_forward_pre_hook(record_inputs_of_call, with_kwargs=True),
        module.register_forward_hook(record_outputs_of_call),
    ]
    try:
        answer = run_user_call(function, module, tokens, lengths)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs or dict(_list_named_tensors("", answer))


def list_named_inputs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in a module's arguments, each with its parameter's name and its place in the argument."""
    for name, value in inspect.signature(layer.forward).bind(*args, **kwargs).arguments.items():
        yield from _list_named_tensors(name, value)


def _list_named_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in a value. Each name is the path to the tensor."""
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
        yield from _list_named_tensors(f"{name}.{key}" if name else str(key), part)


class ModuleWithSignature(nn.Module):
    """A module with named parameters that calls a function of tensors.

    Python cannot read the parameters of TorchScript or of a file.

    Args:
        run: the function: a ScriptModule, or what runs a file.
        names: the names of its inputs.
    """

    def __init__(self, run: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.run = run
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        if all(name.isidentifier() for name in names):
            # The intake reads this signature.
            vars(self)["forward"] = _add_signature(run, [inspect.Parameter(name, kind) for name in names])

    def forward(self, *tensors: Tensor) -> Any:
        """Call the function on the tensors."""
        return self.run(*tensors)


def _add_signature(run: Any, parameters: Sequence[inspect.Parameter]) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


class JoinedOutputModule(nn.Module):
    """A module that joins some of its outputs into one table, [batch, numbers].

    The table is compared in the same way as a classifier's logits.

    Args:
        called: how the module is called.
        outputs: which of its outputs.
        scales: the numbers that the columns of an output are divided by; an output without them stays as it is.
    """

    def __init__(self, called: ModuleCall, outputs: tuple[str, ...], scales: Mapping[str, Array] | None = None) -> None:
        super().__init__()
        self.module = called.module
        self.function, self.outputs, self.scales = _SharedFunction(called.function), outputs, scales or {}

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Compute the table of joined outputs for a batch."""
        with undo_assignments(self.module):
            outputs = _record_forward(self.module, self.function, tokens, lengths, {})
        scaled = [
            outputs[name] / torch.from_numpy(broadcast_scale(self.scales[name], tuple(outputs[name].shape)))
            if name in self.scales
            else outputs[name]
            for name in self.outputs
        ]
        table: Tensor = join_outputs(scaled, len(tokens), torch)
        return table


def perturb_number_inputs(function: Call) -> Call:
    """Return a call whose input numbers are each moved by one float32 step, up or down.

    `make_perturbed_module_runs` moves weights in this way. If a row is divided by its own deviation, the answer depends
    on the last digits of the row's numbers, and moved weights do not show that.
    """
    generator = torch.Generator().manual_seed(0)

    def perturb_value(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            step = torch.ldexp(torch.ones_like(value), torch.frexp(value).exponent - _BITS)
            sign = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
            is_rounded = value.isfinite() & (value * _EXACT != (value * _EXACT).round())
            return torch.where(is_rounded, value + sign * step, value)
        if type(value) in (list, tuple):
            return type(value)(map(perturb_value, value))
        return {name: perturb_value(one) for name, one in value.items()} if type(value) is dict else value

    def call_with_moved_inputs(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        hook = module.register_forward_pre_hook(
            lambda _layer, args, kwargs: (perturb_value(args), perturb_value(kwargs)), with_kwargs=True
        )
        try:
            return function(module, tokens, lengths)
        finally:
            hook.remove()

    return call_with_moved_inputs


def broadcast_scale(scale: Array, shape: tuple[int, ...]) -> Array:
    """Return a scale for each column of an array.

    If there are more or fewer scales than columns, the largest scale is for all of them.
    """
    return scale if shape[-1:] == scale.shape else np.asarray(scale.max())


class _SharedFunction:
    """A user's function that deepcopy of the module does not copy: it may hold any object."""

    def __init__(self, function: Call) -> None:
        self.function = function

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return self.function(module, tokens, lengths)

    def __deepcopy__(self, _memory: dict[int, Any]) -> _SharedFunction:
        return self


def join_outputs(outputs: list[Any], rows: int, library: Any = np) -> Any:
    """Join arrays or tensors into one table of `rows` rows. The batch axis of each becomes the first."""
    parts = []
    for output in outputs:
        if output.ndim > 1 and output.shape[0] != rows == output.shape[1]:
            output = library.swapaxes(output, 0, 1)
        flat = output.reshape(-1)
        flat = flat * 1 if flat.dtype in (np.dtype(bool), torch.bool) else flat
        short = -len(flat) % rows
        if short or not len(flat):
            flat = library.concatenate([flat, library.zeros(short or rows, dtype=flat.dtype)])
        parts.append(flat.reshape(rows, -1))
    return library.concatenate(parts, 1)
