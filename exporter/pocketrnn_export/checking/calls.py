"""How a module is called that is beside a file: as `export` finds it out, else as the inputs of the file say."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.checking.exchange import Called, exchange
from pocketrnn_export.checking.other_file import OtherFile, Port, rows_looked_up
from pocketrnn_export.comparing.cases import Case
from pocketrnn_export.intake.call_discovery.asked import Asked, parameters_of
from pocketrnn_export.intake.call_discovery.search import asked_convention
from pocketrnn_export.intake.convention import Call, compiled
from pocketrnn_export.numbers.sample_table import EVERYWHERE, NEAR, POSITIVE, sample_table
from pocketrnn_export.progress import records_filtered

__all__ = ["SIZES", "called_for", "case_of"]

_log = logging.getLogger(__name__)
# Sizes of the first calls, (batch, tokens): two that differ in both, and others for who takes no such.
SIZES: Final = ((3, 7), (2, 11), (1, 7), (2, 29), (5, 64))
# So many ways to give the file's inputs sizes are tried.
_MOST_WAYS: Final = 400
# So many sizes of layers are taken for those of a file's axes.
_MOST_SIZES: Final = 6
_LENGTHS: Final = ("len", "size")
_USUAL_IDS: Final = 100


def called_for(
    module: nn.Module,
    file: OtherFile,
    *,
    call: str | Call | None,
    ids: int | None,
    padding_id: int | None,
    channels: int | None,
) -> Called:
    """Find how a module is called with what a file takes.

    Args:
        module: in float32 and eval mode, on the CPU.
        file: what was made of it.
        call: how its owner calls it: a line of `module`, `tokens` (or `samples`) and `lengths`, or a function of these.
        ids: how many token ids there are; None to find out.
        padding_id: the id past a row's length; None for that of the module's table.
        channels: the numbers of a step, where `call` takes samples.

    Raises:
        InputError: it can be called in no such way.
    """
    table = next((layer for layer in module.modules() if isinstance(layer, nn.Embedding)), None)
    if padding_id is None:
        padding_id = 0 if table is None or table.padding_idx is None else table.padding_idx
    # A call may make numbers of the ids itself.
    numbers = channels is not None or ((call is None or ids is None) and _takes_numbers(file, table))
    known = ids or _ids_of(file, module)
    if call is not None:
        return _as_told(module, call, known, padding_id, (channels or _channels_of(file)) if numbers else None)
    if not numbers:
        for classes, of_tokens in itertools.product(_classes(file, module), (False, True)):
            asked = Asked(module, known, padding_id, classes, values=True, of_tokens=of_tokens)
            try:
                with records_filtered(lambda _record: False):
                    found = asked_convention(asked)
            except PocketRNNError as error:
                _log.debug("Not called with %d numbers: %s", classes, error.problem)
                continue
            called = Called(module, found.line, found.function, known, padding_id, found.takes_lengths)
            if (running := _that_runs(called, SIZES)) is not None:
                return running
    return _by_inputs(module, file, known, padding_id)


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


def _takes_numbers(file: OtherFile, table: nn.Embedding | None) -> bool:
    kinds = [port.kind for port in file.inputs if port.axes is None or len(port.axes) > 1]
    if any(kind is None for kind in kinds):
        return table is None
    whole = any(np.dtype(kind).kind in "iu" for kind in kinds)
    # Keras writes ids as float32.
    return not whole and (table is None or any(port.axes is not None and len(port.axes) > 2 for port in file.inputs))


def _ids_of(file: OtherFile, module: nn.Module) -> int:
    found = [rows_looked_up(file, port.name) for port in file.inputs]
    rows = [count for count in found if count is not None]
    tables = [layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)]
    # One-hot vectors are as long as a recurrent layer is wide.
    wide = next((layer.input_size for layer in module.modules() if isinstance(layer, nn.RNNBase)), _USUAL_IDS)
    return min(rows, default=max(tables, default=wide))


def _classes(file: OtherFile, module: nn.Module) -> list[int]:
    """How many numbers a module may give a text or a token, the likeliest first."""
    last = [port.axes[-1] for port in file.outputs if port.axes]
    layers = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    return list(dict.fromkeys([*(size for size in last if isinstance(size, int)), *layers[-1:]]))


def _as_told(module: nn.Module, call: str | Call, ids: int, padding_id: int, channels: int | None) -> Called:
    line = call.strip() if isinstance(call, str) else getattr(call, "__name__", "call")
    tables: list[Any] = [None]
    if channels is not None:
        tables = [sample_table(channels, kind=kind).rows for kind in (EVERYWHERE, NEAR, POSITIVE)]
        call = f"samples = x = tokens; {call}" if isinstance(call, str) else call
    function = compiled(call) if isinstance(call, str) else call
    for rows in tables:
        looked_up = function if rows is None else _on_samples(function, rows)
        count, unit = (ids, "tokens") if rows is None else (len(rows), "steps")
        made = Called(module, line, looked_up, count, padding_id, samples=rows, unit=unit)
        if (called := _that_runs(made, SIZES)) is not None:
            ragged = any(_runs(called, *size, ragged=True) for size in called.sizes) and _reads_lengths(called)
            return replace(called, ragged=ragged)
    raise _cannot_be_called(f"The module does not run as {line}")


def _channels_of(file: OtherFile) -> int:
    last = next((port.axes[-1] for port in file.inputs if port.axes and len(port.axes) > 2), 1)
    return last if isinstance(last, int) else 1


def _reads_lengths(called: Called) -> bool:
    """Whether the lengths that a call is given reach forward's inputs or answer."""
    for size in called.sizes:
        full = case_of(called, *size, ragged=False)
        short = Case(full.name, full.tokens, case_of(called, *size, ragged=True).lengths)
        if (full.lengths == short.lengths).all():
            continue
        try:
            one, other = exchange(called, full), exchange(called, short)
        except (Exception, SystemExit):  # noqa: S112 - a module may not take such sizes
            continue
        return any(
            not np.array_equal(value, other.inputs[name], equal_nan=value.dtype.kind == "f")
            for name, value in one.inputs.items()
        )
    return False


def _on_samples(function: Call, rows: Any) -> Call:
    table = torch.from_numpy(rows)
    return lambda module, tokens, lengths: function(module, table[tokens], lengths)


def _cannot_be_called(problem: str) -> InputError:
    return InputError(
        f"{problem}.",
        "Say how it is called, and how many ids there are: --call LINE, --ids N (call= and ids= in Python).",
    )


def _by_inputs(module: nn.Module, file: OtherFile, ids: int, padding_id: int) -> Called:
    """A module called with what the file declares: each axis that may change is the batch's or the sequence's."""
    names = [parameter.name for parameter in parameters_of(module)]
    ports = sorted(file.inputs, key=lambda port: names.index(port.name)) if {
        port.name for port in file.inputs
    } <= set(names) else file.inputs  # fmt: skip
    if not any(isinstance(layer, nn.Embedding) for layer in module.modules()):
        ports = [replace(port, kind=port.kind or "float32") for port in ports]
    # The size of what the first layers take is the second of their weights'.
    sizes = list(dict.fromkeys(int(weight.shape[1]) for weight in module.parameters() if weight.dim() > 1))
    every = itertools.product(*(list(_roles(port, sizes[:_MOST_SIZES])) for port in ports))
    ways = sorted(itertools.islice(every, 20_000), key=lambda way: _likely(ports, way))
    # First those that run whatever the sizes; a module may take none but those that its file declares.
    for first, way in itertools.product((True, False), ways[:_MOST_WAYS]):
        for kind in (EVERYWHERE, NEAR, POSITIVE):
            made = _called_in(module, ports, way, ids, padding_id, kind)
            if (first and not _runs(made, *SIZES[0])) or not (called := _that_runs(made, _tried_sizes(ports, way))):
                break
            if _answers_in_numbers(called):
                return called
    shapes = ", ".join(f"{port.name} {list(port.axes or ())}" for port in file.inputs)
    raise _cannot_be_called(f"The module does not run on what the file takes ({shapes})")


def _that_runs(called: Called, sizes: Iterable[tuple[int, int]]) -> Called | None:
    """The same call with those of some sizes on which it runs; None where it runs on none."""
    running = tuple(size for size in sizes if _runs(called, *size))
    return replace(called, sizes=running) if running else None


def _tried_sizes(ports: Sequence[Port], way: Sequence[_Roles]) -> list[tuple[int, int]]:
    """The sizes of first calls, with those that the file declares: a module may take no others."""
    declared: dict[str | int, int] = {}
    for port, roles in zip(ports, way, strict=True):
        pairs = zip(port.axes or (), roles, strict=False)
        declared |= {role: size for size, role in pairs if isinstance(size, int) and not isinstance(role, int)}
    (rows, steps), *others = SIZES
    steps = declared.get("s", steps)
    return list(dict.fromkeys([SIZES[0], (declared.get("b", rows), steps), (rows, steps), (1, steps), *others]))


# The meaning of each axis of an input: "b" for the batch, "s" for the sequence, or a size.
_Roles = tuple[str | int, ...]


def _roles(port: Port, sizes: Sequence[int]) -> Iterator[_Roles]:
    """The meanings that the axes of an input may have; `sizes` are those of the module's layers, for a file that says
    nothing of its axes."""
    if port.axes is None:
        yield from (("b", "s"), ("b", "s", 1), ("b",))
        for size in sizes if _is_float(port) else ():
            yield from (("b", "s", size), ("b", size, "s"), ("b", size))
        return
    each: list[_Roles] = [("b", "s", n) if isinstance(n, int) else ("b", "s") for n in port.axes]
    for roles in itertools.product(*each):
        if roles.count("b") <= 1 and roles.count("s") <= 1:
            yield roles


def _likely(ports: Sequence[Port], way: Sequence[_Roles]) -> tuple[int, ...]:
    """A place in the order of ways: first those whose axes are called so, then those whose sizes may change in more
    axes, with the batch before the rest."""
    changing = sum(role in ("b", "s") for roles in way for role in roles)
    late = sum(roles.index("b") for roles in way if "b" in roles)
    misplaced = sum(roles.index("s") for roles in way if "s" in roles)
    named = (
        (name.lower(), role)
        for port, roles in zip(ports, way, strict=True)
        for name, role in zip(port.axes or (), roles, strict=False)
        if isinstance(name, str)
    )
    called_otherwise = sum((role == "s" and "batch" in name) or (role == "b" and "seq" in name) for name, role in named)
    return called_otherwise, -changing, late, misplaced


def _called_in(
    module: nn.Module, ports: Sequence[Port], way: Sequence[_Roles], ids: int, padding_id: int, kind: str
) -> Called:
    sizes = {_inner(roles) for port, roles in zip(ports, way, strict=True) if _is_float(port)}
    tables = {size: torch.from_numpy(sample_table(size, kind=kind).rows) for size in sizes}
    most = min((len(table) for table in tables.values()), default=ids)
    has_steps = any("s" in roles for roles in way)

    def given(port: Port, roles: _Roles, tokens: Tensor, lengths: Tensor) -> Tensor:
        of_steps, of_batch = "s" in roles, "b" in roles
        drawn = tokens if of_steps else tokens[:, :1]
        drawn = drawn if of_batch else drawn[:1]
        if _is_float(port):
            value = tables[_inner(roles)][drawn % most]
        elif not of_steps and has_steps and _is_length(port, roles):
            value = lengths[:, None]
        elif port.kind == "bool" or "mask" in port.name.lower():
            value = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(torch.int64)
        else:
            value = drawn
        if not _is_float(port):
            value = value[..., None].expand(*value.shape, _inner(roles))
        inner = [role for role in roles if isinstance(role, int)]
        value = value.reshape(value.shape[0], value.shape[1], *inner)
        axes = ["b", "s", *range(len(inner))]
        kept = [axis for axis in axes if not isinstance(axis, str) or axis in roles]
        value = value[tuple(slice(None) if axis in kept else 0 for axis in axes)]
        count = iter(range(len(inner)))
        order = [kept.index(role if isinstance(role, str) else next(count)) for role in roles]
        dtype = getattr(torch, port.kind) if port.kind else value.dtype
        return value.permute(order).to(dtype).contiguous()

    def function(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return module(*(given(port, roles, tokens, lengths) for port, roles in zip(ports, way, strict=True)))

    shapes = (f"{port.name} [{', '.join(map(_axis_named, roles))}]" for port, roles in zip(ports, way, strict=True))
    samples = next(iter(tables.values())).numpy() if tables else None
    ragged = any(_is_length(port, roles) for port, roles in zip(ports, way, strict=True))
    unit = "steps" if tables else "tokens"
    return Called(
        module, f"module({', '.join(shapes)})", function, most, 0 if tables else padding_id, ragged, samples,
        unit=unit if has_steps else "",
    )  # fmt: skip


def _axis_named(role: str | int) -> str:
    return {"b": "batch", "s": "sequence"}.get(str(role), str(role))


def _inner(roles: _Roles) -> int:
    return int(np.prod([role for role in roles if isinstance(role, int)], dtype=int))


def _is_float(port: Port) -> bool:
    return port.kind is not None and np.dtype(port.kind).kind == "f"


def _is_length(port: Port, roles: _Roles) -> bool:
    named = any(word in port.name.lower() for word in _LENGTHS)
    return roles == ("b",) and not _is_float(port) and (named or port.kind in ("int64", "int32"))


def _runs(called: Called, rows: int, steps: int, *, ragged: bool | None = None) -> bool:
    try:
        exchange(called, case_of(called, rows, steps, ragged=ragged))
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return False
    return True


def _answers_in_numbers(called: Called) -> bool:
    """Whether a module gives finite numbers for what is in the table."""
    answered: list[bool] = []
    for rows, steps in called.sizes[:2] if called.samples is None else (*called.sizes[:2], (32, called.sizes[-1][1])):
        try:
            outputs: Iterable[Any] = exchange(called, case_of(called, rows, steps)).outputs.values()
        except (Exception, SystemExit):  # noqa: S112 - it may take no such size
            continue
        answered.append(all(np.isfinite(value).all() for value in outputs if value.dtype.kind == "f"))
    return all(answered)
