"""List the inputs of a forward, also the keys that it reads from *args and **kwargs, and write a call with them: as
arguments, a tuple, a dict or an object.

Keys are found in the code, since forward does not fail without a key that it looks up by `get` or `in`.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import inspect
import itertools
import keyword
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch import nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import list_forward_parameters
from pocketrnn_export.intake.call_discovery.parameter_roles import Role, find_role, is_text_name
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments

# The most inputs that are tried for a forward of *args or a tuple.
_NAMELESS: Final = 3
# The most names that are tried for functions to which forward passes its **kwargs, and the most masks or lengths that
# are tried together.
_MOST_FURTHER: Final = 8
_MOST_ALIKE: Final = 3


# For each input of forward, by its index: the code of the values to try.
CodesByInput: TypeAlias = dict[int, list[str]]


@dataclass(frozen=True)
class Slot:
    """One input of a forward: its name, its role, such as text or lengths, and its default.

    Attributes:
        name: the name of the parameter, key or field; for an input without a name its place, such as `args[0]`.
        required: whether it has no default.
        role: the role that its name shows.
        named: whether it has a name of its own.
        default: its value if it is left out.
        no_count: whether its annotation is bool, float or str, so that it cannot be a count.
    """

    name: str
    required: bool = True
    role: Role = "other"
    named: bool = True
    default: Any = None
    no_count: bool = False


@dataclass(frozen=True)
class Signature:
    """The inputs of a forward, and a function that writes a line of Python that calls forward.

    Attributes:
        slots: the inputs; exactly one has the role `tokens`.
        write: writes the line that calls the module, from the code of a value for each input; None leaves an input out.
        plain: whether the inputs are arguments, and not in a tuple or a dict.
        more: phrases for further inputs that forward may read, but not by a constant name or index.
    """

    slots: tuple[Slot, ...]
    write: Callable[[Sequence[str | None]], str]
    plain: bool = False
    more: tuple[str, ...] = ()


def list_signatures(module: nn.Module) -> Iterator[Signature]:
    """Yield the possible signatures of a module's forward, that is, its inputs with their roles, likely ones first."""
    parameters = list(list_forward_parameters(module))
    kinds = inspect.Parameter
    own = [p for p in parameters if p.kind not in {kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD}]
    more = next((p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL), None)
    keys = _find_required_keywords(module, own) if any(p.kind is kinds.VAR_KEYWORD for p in parameters) else []
    reads = (
        ReadInputs() if isinstance(module, torch.jit.ScriptModule) else find_inputs_read_from_args_and_kwargs(module)
    )
    optional = _find_optional_keywords(module, own, keys, reads)
    alone = bool(own or keys or any(is_text_name(name) for name in optional))
    for extra in range(0 if alone else 1, _NAMELESS + (0 if own else 1) if more is not None else 1):
        nameless = [Slot(f"{more}[{i}]", named=False) for i in range(extra)]
        first = [p for p in own if p.kind is not kinds.KEYWORD_ONLY]
        last = [p for p in own if p.kind is kinds.KEYWORD_ONLY]
        slots = [
            *map(_make_slot, first),
            *nameless,
            *map(_make_slot, last),
            *(Slot(name) for name in keys),
            *(Slot(name, required=False) for name in optional),
        ]
        positional = len(first) + extra
        if slots:
            write = functools.partial(_write_call_with_arguments, tuple(slots), positional)
            beside = _describe_inputs_not_given(more or "", extra, bool(keys), reads)
            yield from (replace(signature, plain=True, more=beside) for signature in _assign_roles(slots, write))
    required = [_make_slot(p) for p in own if p.default is p.empty]
    targets = [replace(slot, role="targets") for slot in required[1:] if find_role(slot.name) == "targets"]
    if required and len(targets) == len(required) - 1 and not isinstance(module, torch.jit.ScriptModule):
        yield from (
            _add_target_inputs(signature, targets) for signature in _yield_signatures_of_one_argument(module, targets)
        )
    elif len(own) == 1:
        yield from _yield_tuple_signatures()


def _make_slot(parameter: inspect.Parameter) -> Slot:
    """Make the `Slot` of a parameter of forward. It has the parameter's name, its default, and whether it is
    required."""
    required = parameter.default is parameter.empty
    no_count = parameter.annotation in (bool, float, str, "bool", "float", "str")
    return Slot(parameter.name, required, default=None if required else parameter.default, no_count=no_count)


def _describe_inputs_not_given(
    args_name: str, given_count: int, gives_keywords: bool, reads: ReadInputs
) -> tuple[str, ...]:
    """Return phrases, such as "*args" and "more of **kwargs", for the inputs that forward may read (`reads`) but a call
    does not give. The call gives `given_count` positional arguments, and keyword arguments if `gives_keywords` is
    set."""
    found = []
    if args_name and (reads.rest or reads.places > given_count):
        found.append(f"{'more of ' * bool(given_count)}*{args_name}")
    if reads.keywords:
        found.append(f"{'more of ' * gives_keywords}**{reads.keywords}")
    return tuple(found)


def _write_call_with_arguments(slots: Sequence[Slot], positional_count: int, values: Sequence[str | None]) -> str:
    """Write the line that calls the module with these values. The first `positional_count` values are given by
    position, the others by name. A value None leaves its argument out, and all arguments after it are given by name."""
    arguments, in_order = [], True
    for i, (slot, value) in enumerate(zip(slots, values, strict=True)):
        if value is None:
            in_order = False
        elif in_order and i < positional_count:
            arguments.append(value)
        else:
            arguments.append(f"{slot.name}={value}")
    return f"module({', '.join(arguments)})"


def _assign_roles(slots: Sequence[Slot], write: Callable[[Sequence[str | None]], str]) -> Iterator[Signature]:
    """Yield signatures in which each input has the role, such as lengths or a mask, that its name shows. If no required
    input has a name, the text is the first input in one signature, and the second input in another. `write` writes the
    call with values for the inputs."""
    required = [slot for slot in slots if slot.required]
    if required and not any(slot.named for slot in required):
        for at in range(min(2, len(required))):
            roles = [find_role(s.name, required=s.required) if s.named else "other" for s in slots]
            roles[slots.index(required[at])] = "tokens"
            yield Signature(tuple(replace(slot, role=role) for slot, role in zip(slots, roles, strict=True)), write)
        return
    at = _find_tokens_slot(slots)
    text = slots[at].name
    roles = [find_role(s.name, text_name=text, required=s.required) if s.named else "other" for s in slots]
    # The first of two that may be the lengths or the mask is taken.
    for role in ("lengths", "mask"):
        alike = [i for i, found in enumerate(roles) if found == role]
        for again in {*[i for i in alike if slots[i].required][1:], *alike[_MOST_ALIKE:]}:
            roles[again] = "other"
    yield Signature(
        tuple(replace(slot, role="tokens" if i == at else roles[i]) for i, slot in enumerate(slots)),
        write,
    )


def _find_tokens_slot(slots: Sequence[Slot]) -> int:
    """Return the index of the input that takes the text. Only inputs without another role are considered, and only
    required ones if there are any. Among these, the first one whose name means a text is taken, or else the first
    one."""
    open_ = [i for i, slot in enumerate(slots) if find_role(slot.name, required=slot.required) == "other"]
    wanted = [i for i in open_ if slots[i].required] or open_
    said = [i for i in wanted if is_text_name(slots[i].name)]
    return (said or wanted or [0])[0]


# --- everything in one argument


def _add_target_inputs(signature: Signature, targets: Sequence[Slot]) -> Signature:
    """Return the signature with further inputs for target labels, which a call gives by name after all others."""
    if not targets:
        return signature

    def write_call(values: Sequence[str | None]) -> str:
        given = zip(targets, values[-len(targets) :], strict=True)
        return ", ".join([signature.write(values[: -len(targets)])[:-1], *(f"{t.name}={v}" for t, v in given)]) + ")"

    return replace(signature, slots=(*signature.slots, *targets), write=write_call)


def _yield_signatures_of_one_argument(module: nn.Module, targets: Sequence[Slot]) -> Iterator[Signature]:
    """Yield the signatures of a forward whose single argument holds all inputs: a dict, an object or a tuple."""
    by_name = False
    for keys in (True, False):
        names, more = _record_names_read_by_forward(module, targets, by_key=keys)
        slots = [Slot(name, required) for name, required in names.items()]
        if not slots or not all(keys or slot.name.isidentifier() for slot in slots):
            continue
        by_name = True

        def write(values: Sequence[str | None], slots: Sequence[Slot] = slots, keys: bool = keys) -> str:
            given = [(slot.name, value) for slot, value in zip(slots, values, strict=True) if value is not None]
            if keys:
                # Without double quotes: messages put them around the line.
                return "module({" + ", ".join(f"{name!r}: {value}" for name, value in given) + "})"
            return f"module(SimpleNamespace({', '.join(f'{name}={value}' for name, value in given)}))"

        def write_with_lengths(values: Sequence[str | None], write: Callable[..., str] = write) -> str:
            # torchtext's batch, whose field is a pair with the lengths.
            return write([f"({v}, lengths)" if v in {"tokens", "tokens.t()"} else v for v in values])

        yield from (replace(signature, more=more) for signature in _assign_roles(slots, write))
        if not keys:
            yield from _assign_roles(slots, write_with_lengths)
    if parts := _find_unpacked_names(module):
        yield from _assign_roles([Slot(name) for name in parts], _write_call_with_tuple)
    elif not by_name:
        yield from _yield_tuple_signatures()


def _write_call_with_tuple(values: Sequence[str | None]) -> str:
    return f"module(({', '.join(map(str, values))}))"


def _find_unpacked_names(module: nn.Module) -> list[str]:
    """Return the names to which forward assigns the parts of its first argument: `tokens` and `mask` for
    `tokens, mask = inputs`."""
    # A forward without Python code, or whose file is gone.
    with contextlib.suppress(OSError, TypeError, SyntaxError, IndexError):
        first = list_forward_parameters(module)[0].name
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(module.forward)))):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == first:
                parts = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple | ast.List) else []
                if len(parts) > 1 and all(isinstance(part, ast.Name) for part in parts):
                    return [part.id for part in parts if isinstance(part, ast.Name)]
    return []


def _yield_tuple_signatures() -> Iterator[Signature]:
    """Yield the signatures of a forward whose single argument is a tuple or a list of inputs."""
    for n in range(2, _NAMELESS + 1):
        slots = [Slot(f"input[{i}]", named=False) for i in range(n)]
        yield from _assign_roles(slots, _write_call_with_tuple)
        if n == 2:
            yield from _assign_roles(slots, lambda values: f"module([{', '.join(map(str, values))}])")


class _RecordingDict(dict[str, Any]):
    """A dict that records the keys that forward reads, the keys that forward needs, and whether forward iterates over
    the dict.

    Args:
        give: returns the value of a key.
        present: whether the dict seems to have every key. Otherwise, it has the text, and the keys without which
            forward fails.
    """

    def __init__(self, give: Callable[[str], Any], *, present: bool) -> None:
        super().__init__()
        self._give, self._present = give, present
        self.asked: dict[str, bool] = {}
        self.more = False

    def __missing__(self, key: object) -> Any:
        if not isinstance(key, str):
            # A number is a place in a tuple: `inputs[0]`.
            raise KeyError(key)
        # If forward first tests whether the key is there, it does not need it.
        self.asked[key] = self.asked.get(key, True) or not self._present
        return self._give(key)

    def __contains__(self, key: object) -> bool:
        self.asked.setdefault(str(key), False)
        return self._present or is_text_name(str(key))

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


class _RecordingFields:
    """An object that records the attributes that forward reads, such as `batch.text` of a torchtext batch."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        self._give = give
        self.asked: dict[str, bool] = {}
        self.more = False

    def __getattr__(self, name: str) -> Any:
        # An attribute of tensors shows that forward expects a tensor.
        if name.startswith("_") or (hasattr(torch.Tensor, name) and not is_text_name(name)):
            raise AttributeError(name)
        self.asked[name] = True
        return self._give(name)


class _NamesRead(NamedTuple):
    """The names that forward reads from its single argument, each with whether forward fails without the name; and
    phrases for further names that forward may read."""

    is_needed: dict[str, bool]
    more: tuple[str, ...]


def _record_names_read_by_forward(module: nn.Module, targets: Sequence[Slot], *, by_key: bool) -> _NamesRead:
    """Run forward with a recording object as its single argument. Return the names that forward reads from it: keys of
    a dict with `by_key`, and attributes otherwise."""
    names: dict[str, bool] = {}
    more = False
    for present, (text, other) in itertools.product(
        (True, False), _yield_trial_texts_and_other_values(text_with_lengths_too=not by_key)
    ):
        if not present and (not by_key or all(names.values())):
            # It needs every key.
            break
        give = functools.partial(_make_trial_value, text=text, other=other)
        batch = _RecordingDict(give, present=present) if by_key else _RecordingFields(give)
        with contextlib.suppress(Exception, SystemExit), run_quietly_and_undo_assignments(module):
            module(batch, **{slot.name: None for slot in targets})
        names.update({name: needed for name, needed in batch.asked.items() if needed or name not in names})
        more = more or batch.more
    return _NamesRead(names, ("further keys",) if more else ())


def _yield_trial_texts_and_other_values(*, text_with_lengths_too: bool) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of values for trial calls: one for the text, and one for each input that takes neither the text nor
    lengths nor a mask. With `text_with_lengths_too`, some of the texts are tuples of a text and its lengths."""
    one, lengths = torch.full((3, 5), 2), torch.full((3,), 5)
    for other in (one, torch.zeros(3, dtype=torch.long), torch.zeros(3, 5), torch.zeros(()), None):
        yield one, other
        if text_with_lengths_too:
            yield (one, lengths), other


def _make_trial_value(name: str, text: Any, other: Any) -> Any:
    """Return a value for an input in a trial call. The input's name decides whether it is lengths, a mask, `text`, or
    `other`."""
    role = find_role(name)
    if role == "lengths":
        return torch.full((3,), 5)
    if role == "mask":
        return torch.ones(3, 5)
    return text if is_text_name(name) else other


def _find_required_keywords(module: nn.Module, parameters: Sequence[inspect.Parameter]) -> list[str]:
    """Run forward on trial values. Return the keys that forward requires in its **kwargs, that is, the keys for which
    it otherwise raises a KeyError."""
    names: list[str] = []
    for text, other in _yield_trial_texts_and_other_values(text_with_lengths_too=False):
        for _ in range(8):
            given = {
                n: _make_trial_value(n, text, other)
                for n in [*names, *(p.name for p in parameters if p.default is p.empty)]
            }
            try:
                with run_quietly_and_undo_assignments(module):
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


def _find_optional_keywords(
    module: nn.Module, parameters: Sequence[inspect.Parameter], required_keywords: Sequence[str], reads: ReadInputs
) -> list[str]:
    """Return the optional keys that forward, or a function to which forward passes its **kwargs, reads from these.
    Names of `parameters` and required keywords are left out."""
    taken = {*required_keywords, *(p.name for p in parameters)}
    names = [name for name in reads.names if name not in taken]
    if not reads.keywords:
        return names
    required = [*required_keywords, *(p.name for p in parameters if p.default is p.empty)]
    further = [name for name in list_optional_keyword_names(module) if name not in taken | set(names)]
    return [*names, *[name for name in further if _runs_with_none_for_keyword(module, required, name)][:_MOST_FURTHER]]


def _runs_with_none_for_keyword(module: nn.Module, required: Sequence[str], name: str) -> bool:
    """Return whether a module runs if the keyword argument `name` is None and the `required` ones have trial values."""
    for text, other in _yield_trial_texts_and_other_values(text_with_lengths_too=False):
        with contextlib.suppress(Exception, SystemExit), run_quietly_and_undo_assignments(module):
            module(**{n: _make_trial_value(n, text, other) for n in required}, **{name: None})
            return True
    return False


# The methods of dict that look up one key.
_LOOKS_UP: Final = frozenset({"get", "pop", "setdefault", "__getitem__", "__contains__"})
# The instructions that compute nothing.
_SILENT: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"})


@dataclass(frozen=True)
class ReadInputs:
    """The inputs that forward reads from its *args and **kwargs.

    Attributes:
        names: the constant names that it looks up in **kwargs.
        keywords: the name of its **kwargs, if it also uses them as a whole, for example passes them on; else empty.
        places: how many of *args it reads by index.
        rest: the name of its *args, if it also uses them as a whole, for example tests whether they are empty; else
            empty.
    """

    names: tuple[str, ...] = ()
    keywords: str = ""
    places: int = 0
    rest: str = ""


def find_inputs_read_from_args_and_kwargs(module: nn.Module) -> ReadInputs:
    """Return the inputs that a module's forward reads from its *args and **kwargs."""
    functions = _unwrap_functions(module.forward)
    if not functions:
        # Without Python code it is not known what it reads.
        kinds = {p.kind: p.name for p in inspect.signature(module.forward).parameters.values()}
        return ReadInputs(
            (), kinds.get(inspect.Parameter.VAR_KEYWORD, ""), 0, kinds.get(inspect.Parameter.VAR_POSITIONAL, "")
        )
    reads = [_find_inputs_read_by(function.__code__) for function in functions]
    # A wrapper passes everything on to forward: only the names that it looks up itself are added.
    return replace(reads[-1], names=tuple(dict.fromkeys(name for one in reads for name in one.names)))


def list_optional_keyword_names(module: nn.Module) -> list[str]:
    """Return the names of optional parameters to which forward may pass its **kwargs: parameters of its class's
    methods, of its layers' forwards, and of functions that these mention."""
    found: list[Any] = [layer.forward for layer in module.modules() if not _is_torch_class(type(layer))]
    for kind in [kind for kind in type(module).__mro__ if not _is_torch_class(kind)]:
        found += [method for name, method in vars(kind).items() if not name.startswith("__")]
    functions = [function for one in found for function in _unwrap_functions(one)]
    for function in list(functions):
        for name in function.__code__.co_names:
            functions += _unwrap_functions(function.__globals__.get(name))
    names: list[str] = []
    for function in dict.fromkeys(functions):
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
        names += [p.name for p in parameters if p.default is not p.empty]
        names += _find_inputs_read_by(function.__code__).names
    return list(dict.fromkeys(names))


def _is_torch_class(kind: type) -> bool:
    return kind.__module__.startswith("torch.")


def _unwrap_functions(called: Any) -> list[FunctionType]:
    """Return the Python function that a function or method stands for, and the functions that it wraps
    (`__wrapped__`)."""
    found = []
    while isinstance(called, FunctionType | MethodType):
        function = called.__func__ if isinstance(called, MethodType) else called
        if isinstance(function, FunctionType):
            found.append(function)
        called = getattr(function, "__wrapped__", None)
    return found


def _find_inputs_read_by(code: CodeType) -> ReadInputs:
    """Return the inputs that a function reads from its own *args and **kwargs."""
    at = code.co_argcount + code.co_kwonlyargcount
    rest = code.co_varnames[at] if code.co_flags & inspect.CO_VARARGS else ""
    keywords = code.co_varnames[at + bool(rest)] if code.co_flags & inspect.CO_VARKEYWORDS else ""
    names = list(_find_looked_up_keys(code, keywords)) if keywords else []
    places = list(_find_looked_up_keys(code, rest)) if rest else []
    usual = [key for key in names if isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)]
    known = [key for key in places if isinstance(key, int) and key >= 0]
    return ReadInputs(
        tuple(dict.fromkeys(usual)),
        keywords if len(usual) < len(names) else "",
        max(known, default=-1) + 1,
        rest if len(known) < len(places) else "",
    )


def _find_looked_up_keys(code: CodeType, variable: str) -> Iterator[str | int | None]:
    """Yield the constant keys that code looks up in a local variable. Yield None for any other use of the variable."""
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _SILENT]
    for at, one in enumerate(instructions):
        # For a name that an inner function shares, LOAD_FAST passes on the cell and does not read it.
        if ("LOAD_DEREF" if variable in (*code.co_cellvars, *code.co_freevars) else "LOAD_FAST") not in one.opname:
            continue
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
        if variable in names:
            # Where one instruction loads two names, the next instruction uses the second.
            yield from (
                _find_keys_at_load(instructions[max(0, at - 1) : at + 6], min(at, 1))
                if names[-1] == variable
                else [None]
            )
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and variable in inner.co_freevars:
            yield from _find_looked_up_keys(inner, variable)


def _find_keys_at_load(instructions: Sequence[dis.Instruction], load_index: int) -> Iterator[str | int | None]:
    """Yield the constant keys that code looks up in a variable's value, after the instruction with the index
    `load_index` has loaded it. Yield None for any other use of the value."""
    before = instructions[0] if load_index else None
    after = [*instructions[load_index + 1 :], *[instructions[-1]] * 5]
    if after[0].opname in ("LOAD_ATTR", "LOAD_METHOD") and after[0].argval in _LOOKS_UP and _loads_constant(after[1]):
        yield after[1].argval
        # The constant is the key only if the call takes it alone or with a default; else it is a part of the key.
        if not any(one.opname.startswith("CALL") and one.arg == n for n, one in ((1, after[2]), (2, after[3]))):
            yield None
    elif _loads_constant(after[0]) and (after[1].opname == "BINARY_SUBSCR" or after[1].argrepr == "[]"):
        yield after[0].argval
    elif before is not None and _loads_constant(before) and after[0].opname == "CONTAINS_OP":
        yield before.argval
    elif after[0].opname == "UNPACK_SEQUENCE":
        yield from range(after[0].argval)
    else:
        yield None


def _loads_constant(instruction: dis.Instruction) -> bool:
    return instruction.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")) and type(instruction.argval) in (str, int)
