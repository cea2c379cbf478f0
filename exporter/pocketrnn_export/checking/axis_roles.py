"""How a module is called with the inputs that a file declares: what each of their axes may mean."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError
from pocketrnn_export.checking.exchange import SIZES, Called, case_of, exchange, runs, that_runs
from pocketrnn_export.checking.other_file import OtherFile, Port
from pocketrnn_export.intake.call_discovery.module_facts import parameters_of
from pocketrnn_export.numbers.sample_table import EVERYWHERE, NEAR, POSITIVE, sample_table

__all__ = ["UncallableError", "called_by_axes"]

# So many ways to give the file's inputs sizes are tried, within so much processor time.
_MOST_WAYS: Final = 400
_SECONDS: Final = 30.0
# And so many are put into an order.
_MOST_ROLES: Final = 10_000
# So many sizes of layers are taken for those of a file's axes.
_MOST_SIZES: Final = 6
# A table of rows larger than this has no more numbers than that.
_LARGE: Final = 4_096
_MOST_NUMBERS: Final = 1 << 24
_LENGTHS: Final = ("len", "size")


class UncallableError(InputError):
    """A module runs in no way that was tried."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}.",
            "Say how it is called, and how many ids there are: --call LINE, --ids N (call= and ids= in Python).",
        )


def called_by_axes(module: nn.Module, file: OtherFile, ids: int, padding_id: int) -> Called:
    """A module called with what the file declares: each axis that may change is the batch's or the sequence's."""
    names = [parameter.name for parameter in parameters_of(module)]
    ports = sorted(file.inputs, key=lambda port: names.index(port.name)) if {
        port.name for port in file.inputs
    } <= set(names) else file.inputs  # fmt: skip
    if not any(isinstance(layer, nn.Embedding) for layer in module.modules()):
        ports = [replace(port, kind=port.kind or "float32") for port in ports]
    # The size of what the first layers take is the second of their weights'.
    taken = list(dict.fromkeys(int(weight.shape[1]) for weight in module.parameters() if weight.dim() > 1))
    ways = _ways(ports, taken[:_MOST_SIZES])
    # First those that run whatever the sizes; a module may take none but those that its file declares.
    started = time.process_time()
    of_any, of_declared = (itertools.product([sizes], ways[:_MOST_WAYS]) for sizes in (SIZES[:2], ()))
    for sizes, way in itertools.chain(of_any, (((), way) for way in _fixed(ports)), of_declared):
        if "b" in itertools.chain(*way) and time.process_time() - started > _SECONDS:
            continue
        for kind in (EVERYWHERE, NEAR, POSITIVE):
            made = _called_in(module, ports, way, ids, padding_id, kind)
            if not all(runs(made, *size) for size in sizes):
                break
            if (called := that_runs(made, _tried_sizes(ports, way))) is None:
                break
            if _answers_in_numbers(called):
                return called
    shapes = ", ".join(f"{port.name} {list(port.axes or ())}" for port in file.inputs)
    raise UncallableError(f"The module does not run on what the file takes ({shapes})")


def _tried_sizes(ports: Sequence[Port], way: Sequence[_Roles]) -> list[tuple[int, int]]:
    """The sizes of first calls, with those that the file declares: a module may take no others."""
    if "b" not in itertools.chain(*way):
        return [(1, SIZES[0][1])]
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


def _ways(ports: Sequence[Port], sizes: Sequence[int]) -> list[tuple[_Roles, ...]]:
    """The meanings that the axes of all inputs may have, the likeliest first: inputs with the same axes, as states have
    them, have the same."""
    alike = {(port.axes, _is_float(port)): port for port in ports}
    every = itertools.product(*(list(_roles(port, sizes)) for port in alike.values()))
    chosen = (dict(zip(alike, roles, strict=True)) for roles in itertools.islice(every, _MOST_ROLES))
    same = [tuple(way[port.axes, _is_float(port)] for port in ports) for way in chosen]
    others = itertools.islice(itertools.product(*(list(_roles(port, sizes)) for port in ports)), _MOST_ROLES)
    in_order = (sorted(ways, key=lambda way: _likely(ports, way)) for ways in (same, others))
    return [way for way in dict.fromkeys(itertools.chain(*in_order)) if "b" in itertools.chain(*way)]


def _fixed(ports: Sequence[Port]) -> list[tuple[_Roles, ...]]:
    """The way in which each axis has the size that the file declares, where it declares all."""
    declared = [(None,) if port.axes is None else port.axes for port in ports]
    return [tuple(declared)] if all(isinstance(n, int) for axes in declared for n in axes) else []  # type: ignore[arg-type]


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
    tables = {size: _table(size, kind) for size in sizes}
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
        unit=unit if has_steps else "", one_row="b" not in itertools.chain(*way),
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _table(size: int, kind: str) -> Tensor:
    """Rows of so many numbers; few, of repeated ones, where these are as many as a picture has."""
    rows = sample_table(min(size, _LARGE), kind=kind).rows
    if size > _LARGE:
        rows = np.stack([np.resize(row, size) for row in rows[:: -(-len(rows) * size // _MOST_NUMBERS)]])
    return torch.from_numpy(rows)


def _axis_named(role: str | int) -> str:
    return {"b": "batch", "s": "sequence"}.get(str(role), str(role))


def _inner(roles: _Roles) -> int:
    return int(np.prod([role for role in roles if isinstance(role, int)], dtype=int))


def _is_float(port: Port) -> bool:
    return port.kind is not None and np.dtype(port.kind).kind == "f"


def _is_length(port: Port, roles: _Roles) -> bool:
    named = any(word in port.name.lower() for word in _LENGTHS)
    return roles == ("b",) and not _is_float(port) and (named or port.kind in ("int64", "int32"))


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
