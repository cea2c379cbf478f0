"""A module of numbers that is given ids: each is looked up in a table of rows of numbers before forward sees it."""

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
from pocketrnn_export.forms.onnx.number_ranges import SAMPLES
from pocketrnn_export.intake.convention import Call, compiled
from pocketrnn_export.numbers.sample_table import Samples
from pocketrnn_export.torch_internals import forward_pre_hooks_of

__all__ = ["LAYOUTS", "LOOKUP", "TABLE", "Layout", "call_on_samples", "given_ids", "written_for_samples"]

# The axes of what forward takes: b for the sequences of a batch, t for the time, c for the channels. Time may come
# before the batch, which is found out as it is for texts.
Layout = Literal["btc", "bct", "bt"]
LAYOUTS: Final[dict[str, str]] = {
    "btc": "[batch, time, channels]",
    "bct": "[batch, channels, time]",
    "bt": "[batch, time], without an axis for the one channel",
}
# The attribute of the module that holds the table.
TABLE: Final = SAMPLES
# The code before an owner's line that makes it a line on ids.
LOOKUP: Final = f"samples = x = module.{TABLE}(tokens); "


class _Lookup(nn.Module):
    """A module behind its table, where the module's own class cannot be extended."""

    def __init__(self, module: nn.Module, layout: Layout | None) -> None:
        super().__init__()
        self.module = module
        self.layout = layout

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's answer to the samples of the ids."""
        return self.module(*_looked_up(getattr(self, TABLE), self.layout, args), **kwargs)


@contextlib.contextmanager
def given_ids(module: nn.Module, rows: Samples, layout: Layout | None) -> Iterator[nn.Module]:
    """The module, for the block, as one that takes ids; afterwards it is as it was.

    Args:
        module: the owner's. Its class is extended, so that its methods and attributes stay where they are.
        rows: float32 [rows, channels], what the ids stand for.
        layout: of what forward takes; None where its owner's call looks the samples up (`call_on_samples`), and whole
            numbers that it gives to forward are not ids.

    Raises:
        ExportError: the module cannot be given ids.

    Example:
        >>> with given_ids(module, table.rows, "btc") as of_ids:
        ...     of_ids(torch.tensor([[8, 9, 10]])).shape
        torch.Size([1, 6])
    """
    table = nn.Embedding(rows.shape[0], rows.shape[1], _weight=torch.from_numpy(rows.copy()), _freeze=True)
    first = next((t for t in module.parameters() if t.is_floating_point()), None)
    if first is not None:
        table = table.to(device=first.device, dtype=first.dtype)
    kind = type(module)
    # A container runs all that it holds, TorchScript has no class of Python, and a hook sees what forward is given.
    apart = (
        isinstance(module, nn.Sequential | torch.jit.ScriptModule)
        or "forward" in vars(module)
        or bool(forward_pre_hooks_of(module))
    )
    if apart:
        wrapped = _signed(module)(module, layout)
        wrapped.add_module(TABLE, table)
        wrapped.train(getattr(module, "training", False))
        yield wrapped
        return
    own = kind.forward

    @functools.wraps(own)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        lookup = getattr(self, TABLE)
        if layout is not None and not args and kwargs:
            name = next(iter(kwargs))
            kwargs = {**kwargs, name: _looked_up(lookup, layout, (kwargs[name],))[0]}
        return own(self, *_looked_up(lookup, layout, args), **kwargs)

    members = {"forward": forward, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        extended = type(kind.__name__, (kind,), members)
        module.__class__ = extended
    except TypeError as error:
        raise ExportError(
            f"{kind.__name__} cannot be given a table of numbers: {error}.", "Export a class without __slots__."
        ) from error
    try:
        module.add_module(TABLE, table)
        yield module
    finally:
        delattr(module, TABLE)
        module.__class__ = kind


def _signed(module: nn.Module) -> type[_Lookup]:
    """A class of wrappers whose forward has the parameters of a module's."""
    if isinstance(module, torch.jit.ScriptModule):
        names = [argument.name for argument in module.forward.schema.arguments[1:]]  # type: ignore[attr-defined]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    else:
        parameters = list(inspect.signature(module.forward).parameters.values())

    def forward(self: _Lookup, *args: Any, **kwargs: Any) -> Any:
        return _Lookup.forward(self, *args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    return type("Lookup", (_Lookup,), {"forward": forward, "__module__": __name__})


def _looked_up(table: nn.Embedding, layout: Layout | None, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, with the samples in the place of ids in the first."""
    if layout is None or not args:
        return args
    first, rest = args[0], args[1:]
    if isinstance(first, PackedSequence) and not first.data.is_floating_point():
        return first._replace(data=_samples(table, first.data, layout)), *rest
    if isinstance(first, Tensor) and not first.is_floating_point():
        return _samples(table, first, layout), *rest
    return args


def _samples(table: nn.Embedding, ids: Tensor, layout: Layout) -> Tensor:
    samples: Tensor = table(ids)
    if layout == "bct":
        return samples.transpose(-1, -2)
    return samples.squeeze(-1) if layout == "bt" else samples


def call_on_samples(call: str | Call) -> str | Call:
    """The call that an owner wrote for samples, as one for ids.

    Args:
        call: a line of Python on `module`, `samples` and `lengths` (and `x`, which is `samples`), or a function of
            these three. `samples` are [batch, time, channels].

    Example:
        >>> call_on_samples("module(samples)[0]")
        'samples = x = module.pocketrnn_samples(tokens); module(samples)[0]'
    """
    if isinstance(call, str):
        compiled(call)
        return f"{LOOKUP}{call}"

    def of_ids(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return call(module, getattr(module, TABLE)(tokens), lengths)

    of_ids.__name__ = getattr(call, "__name__", "call")
    return of_ids


def written_for_samples(line: str) -> str:
    """A line that calls a module on ids, as one on samples, for whoever reads it.

    Example:
        >>> written_for_samples("module(tokens.t(), lengths)[0]")
        'module(samples.transpose(0, 1), lengths)[0]'
    """
    line = line.removeprefix(LOOKUP)
    return line.replace("tokens.t()", "samples.transpose(0, 1)").replace("tokens", "samples")
