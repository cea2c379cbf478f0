"""Let a module of numbers take ids: a table replaces each id by a row of numbers before forward runs."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pocketrnn.errors import ExportError
from pocketrnn_export.forms.onnx.value_ranges import SAMPLES
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.module_runs.state_restoration import keep_module_unchanged, undo_changes_to_module
from pocketrnn_export.numbers.proof_sample_table import Samples
from pocketrnn_export.torch_internals import read_own_forward_pre_hooks

# The axes of forward's input: b for the batch, t for time, c for channels. Time may come before the batch, which is
# found out as for texts.
Layout = Literal["btc", "bct", "bt"]
LAYOUTS: Final[dict[str, str]] = {
    "btc": "[batch, time, channels]",
    "bct": "[batch, channels, time]",
    "bt": "[batch, time], without an axis for the one channel",
}
# The attribute of the module that holds the table.
TABLE: Final = SAMPLES
# The code put before an owner's line so that it takes ids.
LOOKUP: Final = f"samples = x = module.{TABLE}(tokens); "


class _LookupModule(nn.Module):
    """A wrapper that replaces ids by samples, for a module whose own class cannot be extended."""

    def __init__(self, module: nn.Module, layout: Layout | None) -> None:
        super().__init__()
        self.module = module
        self.layout = layout

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Replace the ids by samples, and return the module's answer to the samples."""
        return self.module(*_replace_ids_in_arguments(getattr(self, TABLE), self.layout, args), **kwargs)


@contextlib.contextmanager
def make_module_take_ids(module: nn.Module, rows_of_ids: Samples, layout: Layout | None) -> Iterator[nn.Module]:
    """While the block runs, a module takes ids instead of samples. After the block, the module is unchanged.

    Args:
        module: the owner's module. Its class is extended, so that its methods and attributes stay available.
        rows_of_ids: float32 [rows, channels], the samples that the ids stand for.
        layout: the layout of forward's input; None if the owner's call looks up the samples
            (`rewrite_call_for_ids`), so that whole numbers given to forward are not ids.

    Raises:
        ExportError: the module cannot take ids.
    """
    undo_changes_to_module()
    table = nn.Embedding(
        rows_of_ids.shape[0], rows_of_ids.shape[1], _weight=torch.from_numpy(rows_of_ids.copy()), _freeze=True
    )
    first = next((t for t in module.parameters() if t.is_floating_point()), None)
    if first is not None:
        table = table.to(device=first.device, dtype=first.dtype)
    kind = type(module)
    # nn.Sequential would run the table, TorchScript has no Python class, and a pre-hook would see the ids.
    apart = (
        isinstance(module, nn.Sequential | torch.jit.ScriptModule)
        or "forward" in vars(module)
        or bool(read_own_forward_pre_hooks(module))
    )
    if apart:
        wrapped = _make_wrapper_class(module)(module, layout)
        wrapped.add_module(TABLE, table)
        wrapped.training = getattr(module, "training", False)
        yield wrapped
        return
    own = kind.forward

    @functools.wraps(own)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        lookup = getattr(self, TABLE)
        if layout is not None and not args and kwargs:
            name = next(iter(kwargs))
            kwargs = {**kwargs, name: _replace_ids_in_arguments(lookup, layout, (kwargs[name],))[0]}
        return own(self, *_replace_ids_in_arguments(lookup, layout, args), **kwargs)

    members = {"forward": forward, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        extended = type(kind.__name__, (kind,), members)
        module.__class__ = extended
    except TypeError as error:
        raise ExportError(
            f"A table of numbers cannot be added to {kind.__name__}: {error}.",
            "Export a class that can have subclasses, without __slots__.",
        ) from error
    try:
        module.add_module(TABLE, table)
        with keep_module_unchanged(module):
            yield module
    finally:
        delattr(module, TABLE)
        module.__class__ = kind


def _make_wrapper_class(module: nn.Module) -> type[_LookupModule]:
    """Make a wrapper class whose forward has the same parameters as the module's forward."""
    if isinstance(module, torch.jit.ScriptModule):
        names = [argument.name for argument in module.forward.schema.arguments[1:]]  # type: ignore[attr-defined]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    else:
        parameters = list(inspect.signature(module.forward).parameters.values())

    def forward(self: _LookupModule, *args: Any, **kwargs: Any) -> Any:
        return _LookupModule.forward(self, *args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    return type("Lookup", (_LookupModule,), {"forward": forward, "__module__": __name__})


def _replace_ids_in_arguments(table: nn.Embedding, layout: Layout | None, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a call, with samples in place of the ids in the first argument."""
    if layout is None or not args:
        return args
    first, rest = args[0], args[1:]
    if isinstance(first, PackedSequence) and not first.data.is_floating_point():
        return first._replace(data=_look_up_samples(table, first.data, layout)), *rest
    if isinstance(first, Tensor) and not first.is_floating_point():
        return _look_up_samples(table, first, layout), *rest
    return args


def _look_up_samples(table: nn.Embedding, ids: Tensor, layout: Layout) -> Tensor:
    samples: Tensor = table(ids)
    if layout == "bct":
        return samples.transpose(-1, -2)
    return samples.squeeze(-1) if layout == "bt" else samples


def rewrite_call_for_ids(call: str | Call) -> str | Call:
    """Rewrite the owner's call, which takes samples, so that it takes ids.

    Args:
        call: a line of Python on `module`, `samples` and `lengths` (and `x`, which is `samples`), or a function of
            these three. `samples` are [batch, time, channels].
    """
    if isinstance(call, str):
        compile_call(call)
        return f"{LOOKUP}{call}"

    def call_on_samples(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return call(module, getattr(module, TABLE)(tokens), lengths)

    call_on_samples.__name__ = getattr(call, "__name__", "call")
    return call_on_samples
