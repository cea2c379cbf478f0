"""The inputs of a forward, one by one, and how a call of it is written: as arguments, in a tuple, by keys or fields."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.intake.call_discovery.further_inputs import Reads, handed_on, reads_of
from pocketrnn_export.intake.call_discovery.module_facts import parameters_of
from pocketrnn_export.intake.call_discovery.roles import Role, is_of_texts, role_of
from pocketrnn_export.intake.convention import left_as_it_was
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu

__all__ = ["Signature", "Slot", "signatures_of"]

# A forward that takes what it is given (*args, a tuple) takes so many inputs at most.
_NAMELESS: Final = 3
# So many names are given to the functions that forward hands its **kwargs on to, and so many masks or lengths are tried
# together.
_MOST_FURTHER: Final = 8
_MOST_ALIKE: Final = 3


@dataclass(frozen=True)
class Slot:
    """One input of a forward.

    Attributes:
        name: of the parameter, key or field; of an input without a name, where it stands.
        required: whether it has no default.
        role: what its name says that it is.
        named: whether it has a name that says something.
        default: what it is if it is left out.
        no_count: whether its annotation is of a switch, a fraction or a name.
    """

    name: str
    required: bool = True
    role: Role = "other"
    named: bool = True
    default: Any = None
    no_count: bool = False


@dataclass(frozen=True)
class Signature:
    """The inputs of a forward.

    Attributes:
        slots: one by one; just one has the role `tokens`.
        write: the line that calls the module with values for these; None leaves one out.
        plain: whether they are arguments, and not in a tuple or by keys.
        more: what forward may take beside them and reads otherwise than by a name or a place that its code says.
    """

    slots: tuple[Slot, ...]
    write: Callable[[Sequence[str | None]], str]
    plain: bool = False
    more: tuple[str, ...] = ()

    @property
    def tokens_at(self) -> int:
        """Which slot is the text."""
        return next(i for i, slot in enumerate(self.slots) if slot.role == "tokens")


def signatures_of(module: nn.Module) -> Iterator[Signature]:
    """The inputs that a forward may take, the likely first."""
    parameters = list(parameters_of(module))
    kinds = inspect.Parameter
    own = [p for p in parameters if p.kind not in {kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD}]
    more = next((p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL), None)
    keys = _keywords(module, own) if any(p.kind is kinds.VAR_KEYWORD for p in parameters) else []
    reads = Reads() if isinstance(module, torch.jit.ScriptModule) else reads_of(module)
    optional = _optional(module, own, keys, reads)
    alone = bool(own or keys or any(is_of_texts(name) for name in optional))
    for extra in range(0 if alone else 1, _NAMELESS + (0 if own else 1) if more is not None else 1):
        nameless = [Slot(f"{more}[{i}]", named=False) for i in range(extra)]
        first = [p for p in own if p.kind is not kinds.KEYWORD_ONLY]
        last = [p for p in own if p.kind is kinds.KEYWORD_ONLY]
        slots = [
            *map(_slot, first),
            *nameless,
            *map(_slot, last),
            *(Slot(name) for name in keys),
            *(Slot(name, required=False) for name in optional),
        ]
        positional = len(first) + extra
        if slots:
            write = functools.partial(_arguments, tuple(slots), positional)
            beside = _more(more or "", extra, bool(keys), reads)
            yield from (replace(signature, plain=True, more=beside) for signature in _with_tokens(slots, write))
    required = [_slot(p) for p in own if p.default is p.empty]
    targets = [_as(slot, "targets") for slot in required[1:] if role_of(slot.name) == "targets"]
    if required and len(targets) == len(required) - 1 and not isinstance(module, torch.jit.ScriptModule):
        yield from (_beside(signature, targets) for signature in _in_one_argument(module, targets))
    elif len(own) == 1:
        yield from _tuples()


def _slot(parameter: inspect.Parameter) -> Slot:
    required = parameter.default is parameter.empty
    no_count = parameter.annotation in (bool, float, str, "bool", "float", "str")
    return Slot(parameter.name, required, default=None if required else parameter.default, no_count=no_count)


def _more(rest: str, given: int, keys: bool, reads: Reads) -> tuple[str, ...]:
    """The *args of which so many are given, and the **kwargs, where forward may read more of them."""
    found = []
    if rest and (reads.rest or reads.places > given):
        found.append(f"{'more of ' * bool(given)}*{rest}")
    if reads.keywords:
        found.append(f"{'more of ' * keys}**{reads.keywords}")
    return tuple(found)


def _arguments(slots: Sequence[Slot], positional: int, values: Sequence[str | None]) -> str:
    arguments, in_order = [], True
    for i, (slot, value) in enumerate(zip(slots, values, strict=True)):
        if value is None:
            in_order = False
        elif in_order and i < positional:
            arguments.append(value)
        else:
            arguments.append(f"{slot.name}={value}")
    return f"module({', '.join(arguments)})"


def _with_tokens(slots: Sequence[Slot], write: Callable[[Sequence[str | None]], str]) -> Iterator[Signature]:
    """With one of the slots as the text, and the roles of the others. Without names, the first or the second is it."""
    required = [slot for slot in slots if slot.required]
    if required and not any(slot.named for slot in required):
        for at in range(min(2, len(required))):
            roles = [role_of(s.name, required=s.required) if s.named else "other" for s in slots]
            roles[slots.index(required[at])] = "tokens"
            yield Signature(tuple(_as(slot, role) for slot, role in zip(slots, roles, strict=True)), write)
        return
    at = _tokens_at(slots)
    text = slots[at].name
    roles = [role_of(s.name, text=text, required=s.required) if s.named else "other" for s in slots]
    # The first of two that may be the lengths, or the mask, is taken.
    for role in ("lengths", "mask"):
        alike = [i for i, found in enumerate(roles) if found == role]
        for again in {*[i for i in alike if slots[i].required][1:], *alike[_MOST_ALIKE:]}:
            roles[again] = "other"
    yield Signature(
        tuple(_as(slot, "tokens" if i == at else roles[i]) for i, slot in enumerate(slots)),
        write,
    )


def _as(slot: Slot, role: Role) -> Slot:
    return replace(slot, role=role)


def _tokens_at(slots: Sequence[Slot]) -> int:
    """The input that is the text: the first whose name says so; else the first whose name says nothing else."""
    open_ = [i for i, slot in enumerate(slots) if role_of(slot.name, required=slot.required) == "other"]
    wanted = [i for i in open_ if slots[i].required] or open_
    said = [i for i in wanted if is_of_texts(slots[i].name)]
    return (said or wanted or [0])[0]


# --- everything in one argument


def _beside(signature: Signature, targets: Sequence[Slot]) -> Signature:
    """With targets behind the one argument that has the rest."""
    if not targets:
        return signature

    def write(values: Sequence[str | None]) -> str:
        given = zip(targets, values[-len(targets) :], strict=True)
        return ", ".join([signature.write(values[: -len(targets)])[:-1], *(f"{t.name}={v}" for t, v in given)]) + ")"

    return replace(signature, slots=(*signature.slots, *targets), write=write)


def _in_one_argument(module: nn.Module, targets: Sequence[Slot]) -> Iterator[Signature]:
    by_name = False
    for keys in (True, False):
        names, more = _names_asked(module, targets, keys=keys)
        slots = [Slot(name, required) for name, required in names.items()]
        if not slots or not all(keys or slot.name.isidentifier() for slot in slots):
            continue
        by_name = True

        def write(values: Sequence[str | None], slots: Sequence[Slot] = slots, keys: bool = keys) -> str:
            given = [(slot.name, value) for slot, value in zip(slots, values, strict=True) if value is not None]
            if keys:
                # Without double quotes, which stand around the line in messages.
                return "module({" + ", ".join(f"{name!r}: {value}" for name, value in given) + "})"
            return f"module(SimpleNamespace({', '.join(f'{name}={value}' for name, value in given)}))"

        def with_lengths(values: Sequence[str | None], write: Callable[..., str] = write) -> str:
            # torchtext's batch, whose field is a pair with the lengths.
            return write([f"({v}, lengths)" if v in {"tokens", "tokens.t()"} else v for v in values])

        yield from (replace(signature, more=more) for signature in _with_tokens(slots, write))
        if not keys:
            yield from _with_tokens(slots, with_lengths)
    if parts := _unpacked(module):
        yield from _with_tokens([Slot(name) for name in parts], _tuple)
    elif not by_name:
        yield from _tuples()


def _tuple(values: Sequence[str | None]) -> str:
    return f"module(({', '.join(map(str, values))}))"


def _unpacked(module: nn.Module) -> list[str]:
    """The names of what forward takes out of its first argument at once, as in `tokens, mask = inputs`."""
    # A forward without code of Python, or whose file is gone.
    with contextlib.suppress(OSError, TypeError, SyntaxError, IndexError):
        first = parameters_of(module)[0].name
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(module.forward)))):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == first:
                parts = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple | ast.List) else []
                if len(parts) > 1 and all(isinstance(part, ast.Name) for part in parts):
                    return [part.id for part in parts if isinstance(part, ast.Name)]
    return []


def _tuples() -> Iterator[Signature]:
    for n in range(2, _NAMELESS + 1):
        slots = [Slot(f"input[{i}]", named=False) for i in range(n)]
        yield from _with_tokens(slots, _tuple)
        if n == 2:
            yield from _with_tokens(slots, lambda values: f"module([{', '.join(map(str, values))}])")


class _Keys(dict[str, Any]):
    """A batch that notes which keys forward takes from it, whether it can do without, and whether it reads it by
    something else than its keys.

    Args:
        give: the value of a key.
        present: whether it has whatever is asked for; else it has the text, and a key without which forward fails.
    """

    def __init__(self, give: Callable[[str], Any], *, present: bool) -> None:
        super().__init__()
        self._give, self._present = give, present
        self.asked: dict[str, bool] = {}
        self.more = False

    def __missing__(self, key: str) -> Any:
        # Where it was asked first whether there is such a key, it can do without.
        self.asked[str(key)] = self.asked.get(str(key), True) or not self._present
        return self._give(str(key))

    def __contains__(self, key: object) -> bool:
        self.asked.setdefault(str(key), False)
        return self._present or is_of_texts(str(key))

    def get(self, key: str, default: Any = None) -> Any:
        return self._give(str(key)) if key in self else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        return self.get(key, *default) if default else self[key]

    def __iter__(self) -> Iterator[str]:
        self.more = True
        return super().__iter__()

    def __len__(self) -> int:
        self.more = True
        return super().__len__()

    def keys(self) -> Any:
        self.more = True
        return super().keys()

    def values(self) -> Any:
        self.more = True
        return super().values()

    def items(self) -> Any:
        self.more = True
        return super().items()


class _Fields:
    """A batch that notes which attributes forward takes from it: `batch.text`, as torchtext's."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        self._give = give
        self.asked: dict[str, bool] = {}
        self.more = False

    def __getattr__(self, name: str) -> Any:
        # A name that tensors have shows that a tensor is wanted.
        if name.startswith("_") or (hasattr(torch.Tensor, name) and not is_of_texts(name)):
            raise AttributeError(name)
        self.asked[name] = True
        return self._give(name)


def _names_asked(module: nn.Module, targets: Sequence[Slot], *, keys: bool) -> tuple[dict[str, bool], tuple[str, ...]]:
    """The keys or fields that forward takes from its one argument, as far as it comes with what it is given; each with
    whether it needs it. And what else it may read of it."""
    names: dict[str, bool] = {}
    more = False
    for present, (text, other) in itertools.product((True, False), _dummies(pairs=not keys)):
        if not present and (not keys or all(names.values())):
            # There is nothing that it can do without.
            break
        give = functools.partial(_dummy, text=text, other=other)
        batch = _Keys(give, present=present) if keys else _Fields(give)
        with contextlib.suppress(Exception, SystemExit), torch.no_grad(), quietly_on_cpu(), left_as_it_was(module):
            module(batch, **{slot.name: None for slot in targets})
        names.update({name: needed for name, needed in batch.asked.items() if needed or name not in names})
        more = more or batch.more
    return names, ("further keys",) if more else ()


def _dummies(*, pairs: bool) -> Iterator[tuple[Any, Any]]:
    """The values that forward is given for the text, and for every input that is neither text, lengths nor mask."""
    one, lengths = torch.full((3, 5), 2), torch.full((3,), 5)
    for other in (one, torch.zeros(3, dtype=torch.long), torch.zeros(3, 5), torch.zeros(()), None):
        yield one, other
        if pairs:
            yield (one, lengths), other


def _dummy(name: str, text: Any, other: Any) -> Any:
    role = role_of(name)
    if role == "lengths":
        return torch.full((3,), 5)
    if role == "mask":
        return torch.ones(3, 5)
    return text if is_of_texts(name) else other


def _keywords(module: nn.Module, own: Sequence[inspect.Parameter]) -> list[str]:
    """The names that forward takes from its **kwargs: it says which one it misses."""
    names: list[str] = []
    for text, other in _dummies(pairs=False):
        for _ in range(8):
            given = {n: _dummy(n, text, other) for n in [*names, *(p.name for p in own if p.default is p.empty)]}
            try:
                with torch.no_grad(), quietly_on_cpu(), left_as_it_was(module):
                    module(**given)
            except KeyError as error:
                name = error.args[0] if error.args else None
                if not isinstance(name, str) or not name.isidentifier() or name in given:
                    break
                names.append(name)
            # Whatever a user's module raises.
            except (Exception, SystemExit):
                break
            else:
                break
    return names


def _optional(module: nn.Module, own: Sequence[inspect.Parameter], keys: Sequence[str], reads: Reads) -> list[str]:
    """The names that forward takes from its **kwargs and can do without: those that its code looks up; and those of the
    functions that it may hand them on to, as far as it runs with them."""
    taken = {*keys, *(p.name for p in own)}
    names = [name for name in reads.names if name not in taken]
    if not reads.keywords:
        return names
    required = [*keys, *(p.name for p in own if p.default is p.empty)]
    further = [name for name in handed_on(module) if name not in taken | set(names)]
    return [*names, *[name for name in further if _runs_with(module, required, name)][:_MOST_FURTHER]]


def _runs_with(module: nn.Module, required: Sequence[str], name: str) -> bool:
    """Whether a module runs when a further name is given None."""
    for text, other in _dummies(pairs=False):
        with contextlib.suppress(Exception, SystemExit), torch.no_grad(), quietly_on_cpu(), left_as_it_was(module):
            module(**{n: _dummy(n, text, other) for n in required}, **{name: None})
            return True
    return False
