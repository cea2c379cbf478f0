"""All that this project uses of PyTorch's and onnxscript's private parts: this file touches them, and no other does.

A private part may change with any release, and nothing announces it. Here each has a name, what it is for, and what
goes wrong without it ("Without:"), so that a reader of a new release knows where to look. `tests/test_imports.py` holds
that no other file of the three packages names a private module, function or attribute of torch, onnxscript or onnx_ir.

All of it was looked at, and tests of tracing were run, with the releases of `RELEASES` and with 2.13: all fast tests of
the exporter with 2.12 and 2.13, those of kernels, sizes, numbers and streams with 2.15. Where a release differs, its
difference is one function here that asks for the release, and the function's name and docstring stay as they are. With
2.12 a cut at a count that may be negative, `x[:, : int(torch.sign(x).sum(1).max())]`, is refused needlessly. Older ones
were tried: 2.11.0 does so, too, 2.10.0 besides loses digits of `celu`, `logaddexp` and others, and 2.9.0 has no
`torch.fx.traceback.annotate`, which `tracing/python_semantics/loop_unroll.py` marks loops with.

The file imports nothing of this project, so that every part of the exporter may import it. Its functions mostly return
`Any`: torch annotates little of this.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch._export import utils as _export_operators
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.export import exported_program
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
    statically_known_true,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._sympy import functions as size_functions

__all__ = [
    "HASH_OF_TENSOR",
    "LOGGERS",
    "MODULE_TABLES",
    "RELEASES",
    "TEXT_FILES",
    "TORCH_FILE",
    "TORCH_FOLDER",
    "TRACED_TENSORS",
    "BatchNorm",
    "DispatchMode",
    "FunctionMode",
    "buffer_hooks_aside",
    "buffers_of",
    "called_plainly",
    "code_exchanged",
    "compiled_from",
    "default_rewrite_rules",
    "encoder_layer_goes_fast",
    "environment_of",
    "expression_of",
    "flat_weights",
    "flattened",
    "folded",
    "forward_pre_hooks_of",
    "functions_that_tell",
    "guards_of",
    "hint_of",
    "in_one_memory",
    "lists_of_traced",
    "made_at",
    "methods_replaced",
    "of_unknown_sizes",
    "operators_given",
    "operators_known",
    "operators_read_once",
    "overload_name",
    "parameters_of",
    "parsed_schema",
    "parts_of",
    "past_function_modes",
    "place_in_memory",
    "relation_of",
    "renew_flat_weights",
    "restricted_to",
    "scripted_from",
    "size_functions",
    "statically_known_true",
    "sym_float",
    "sym_int",
    "sym_ite",
    "sym_max",
    "sym_min",
    "sym_sqrt",
    "symbol_of",
    "truths_of_sizes",
    "unknown_sizes",
    "unsound_rewrite_rules",
    "values_of",
    "weight_names",
    "whole_of",
    "with_state",
    "without_dispatch_modes",
    "writes_to",
    "written_by",
]

# The releases of torch with which this was run, the first of which is the least that pyproject.toml asks for.
RELEASES: Final = ("2.12", "2.15")
# Devices that no trace is on.
_DEVICES: Final = frozenset(
    {"CUDA", "XLA", "Lazy", "IPU", "XPU", "MPS", "HPU", "PrivateUse1", "PrivateUse2", "PrivateUse3"}
)
# The code that is torch's own, and the file that defines what a size can do.
TORCH_FILE: Final = str(torch.__file__)
TORCH_FOLDER: Final = str(Path(torch.__file__).parent)
# Where torch makes the text of a tensor, and hands functions to a mode.
TEXT_FILES: Final = frozenset(
    str(Path(TORCH_FOLDER) / name) for name in ("_tensor.py", "_tensor_str.py", "overrides.py")
)


# --- Sizes: what a trace knows of a torch.SymInt, SymFloat or SymBool -------------------------------------------------


# `size_functions` has the functions that torch writes into a size's expression and sympy does not have: FloorDiv, Mod,
# PythonMod, Min, Max, the Int- and FloatTrueDiv, ... `tracing/sizes/conditions.py` has a table of all that are known.
# Without: a relation holds a function of no known class, and the module is refused with the function's name.

# `statically_known_true(size >= 0)`: whether a relation holds for all sizes; it asks nothing of the trace, and so
# restricts none. Without: what is known already would be a restriction of the graph.

# The square root of a size, also as the operator that a trace holds. The others are public; torch annotates none.
sym_sqrt: Final[Callable[..., Any]] = torch._sym_sqrt  # type: ignore[attr-defined]
sym_float: Final[Callable[..., Any]] = torch.sym_float
sym_int: Final[Callable[..., Any]] = torch.sym_int
sym_ite: Final[Callable[..., Any]] = torch.sym_ite
sym_max: Final[Callable[..., Any]] = torch.sym_max
sym_min: Final[Callable[..., Any]] = torch.sym_min


def expression_of(size: Any) -> Any:
    """The expression, of sympy, that a size is: `s27 + 1`; that of a truth is a relation.

    Symbols whose value is known by now are replaced. Without: no question about sizes is understood.
    """
    return size.node.expr


def symbol_of(size: Any) -> str:
    """The name that a size of an input was given first, which `expression_of` has until it is restricted."""
    return str(size.node._expr)


def hint_of(size: Any) -> int:
    """The number that a size has in the example that is traced. Without: a trace has no path of its own."""
    return int(size.node.hint)


def environment_of(size: Any) -> Any:
    """The environment in which a trace keeps all its sizes; each trace has one."""
    return size.node.shape_env


def guards_of(environment: Any) -> list[Any]:
    """The restrictions that a trace has made so far, in their order; none where there is no environment.

    Without: what a graph is restricted to is only seen where its answers differ.
    """
    guards: list[Any] = [] if environment is None else environment.guards
    return guards


def relation_of(guard: Any) -> Any:
    """The relation, of sympy, that a restriction is."""
    return guard.expr


def made_at(guard: Any) -> tuple[str, int]:
    """The file and line at which a restriction was made; ("", 0) where that is not known."""
    frame = guard.sloc.framework_loc
    return (frame.filename, frame.lineno) if hasattr(frame, "filename") else ("", 0)


def restricted_to(relation: Any, told: str) -> None:
    """Restrict a trace to the sizes for which a relation holds; an error that says `told` where none is traced.

    Without: a text that is too short for an operation is answered with numbers of nothing.
    """
    torch._check(relation, lambda: told)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def methods_replaced(changes: Mapping[Any, Any]) -> Iterator[None]:
    """While the block runs, classes of torch have other methods, and files of it other functions.

    Args:
        changes: (class or file, name of the method): what is there meanwhile. A class that has the method by
            inheritance, or not at all, is given it and loses it again.
    """
    missing = object()
    shipped = {(kind, name): vars(kind).get(name, missing) for kind, name in changes}
    try:
        for (kind, name), value in changes.items():
            setattr(kind, name, value)
        yield
    finally:
        for (kind, name), value in shipped.items():
            if value is not missing:
                setattr(kind, name, value)
            elif name in vars(kind):
                delattr(kind, name)


def truths_of_sizes(answer: Callable[[Any, Callable[[Any], bool]], bool]) -> contextlib.AbstractContextManager[None]:
    """While the block runs, `bool(size > 512)` is answered by `answer`, which is given the truth that is asked for and
    torch's own method, and is called by the method itself: two frames below the one that asks.

    Without: a branch on a size is that of the example, with no word about it.
    """
    shipped: Callable[[Any], bool] = torch.SymBool.__bool__

    def answered(self: Any) -> bool:
        return answer(self, shipped)

    return methods_replaced({(torch.SymBool, "__bool__"): answered})


# --- Tensors of a trace -----------------------------------------------------------------------------------------------


# The classes of tensors that stand for a module's inputs while it is traced. Without: `type(x)` of the user's is one.
HASH_OF_TENSOR: Final[Callable[[Tensor], int]] = Tensor.__hash__
TRACED_TENSORS: Final[tuple[type, ...]] = (FakeTensor, FunctionalTensor)


def unknown_sizes() -> FakeTensorMode:
    """A mode in which a forward runs without computing anything, each size that is unknown of its own: also where two
    are equal."""
    return FakeTensorMode(shape_env=ShapeEnv(duck_shape=False), allow_non_fake_inputs=True)


def of_unknown_sizes(mode: FakeTensorMode, value: Tensor, axes: int) -> Tensor:
    """A tensor of such a mode in the place of `value`: its first `axes` axes unknown, but one of size 1, which is a
    plain number as it is for PyTorch."""
    kinds = [DimDynamic.DYNAMIC if i < axes and n > 1 else DimDynamic.STATIC for i, n in enumerate(value.shape)]
    context: Any = StatelessSymbolicContext(dynamic_sizes=kinds, constraint_sizes=[None] * value.dim())
    return mode.from_tensor(value, symbolic_context=context)


def lists_of_traced(tolist: Callable[[Any, Callable[[Any], Any]], Any]) -> contextlib.AbstractContextManager[None]:
    """While the block runs, `tolist` of a traced tensor is `tolist`, which is given torch's own beside. No
    TorchFunctionMode sees the method of a FakeTensor.

    Without: `lengths.tolist()` asks for values, and the module is refused.
    """
    shipped: Callable[[Any], Any] = FakeTensor.tolist
    return methods_replaced({(FakeTensor, "tolist"): lambda self: tolist(self, shipped)})


def values_of(tensor: Tensor) -> list[Any]:
    """`tensor.tolist()`, past every TorchFunctionMode."""
    with past_function_modes():
        values: list[Any] = tensor.tolist()
    return values


# Runs a block past every TorchFunctionMode: each function of torch would pass all that are entered.
past_function_modes = torch._C.DisableTorchFunction


def whole_of(tensor: Tensor) -> Tensor:
    """The tensor that a view shows a part of; one that is not a view, itself. Without: what is known of lengths would
    outlive a write into a slice of them."""
    return tensor if tensor._base is None else tensor._base


def writes_to(tensor: Tensor) -> int:
    """How often something has been written into a tensor in place, by which autograd sees that it has changed."""
    return tensor._version


def place_in_memory(tensor: Tensor) -> int:
    """Where the numbers of a tensor stand that has memory, those of its views too; 0 for one without numbers."""
    return tensor.untyped_storage().data_ptr()


# The methods of a tensor that torch wrote in Python, but for those that were replaced before this file was read.
_METHODS: Final[dict[str, Any]] = {
    name: value
    for name, value in vars(Tensor).items()
    if str(getattr(value, "__module__", "torch")).startswith("torch")
}


def torchs_own(function: Any) -> Any:
    """The method of a tensor that ran, in the place of what replaces it (`torch.Tensor.squeeze = mine`).

    torch's C code looks a method up by its name to hand it to a mode, and finds the replacement, which has run already.
    Every other function is given back as it is.

    Example:
        >>> torchs_own(torch.Tensor.squeeze) is torch.Tensor.squeeze
        True
    """
    if type(function) in _OF_C:
        return function
    # A property is handed over as its `__get__` or `__set__`.
    accessor = function.__name__ if isinstance(function, MethodWrapperType) else ""
    replacement = function.__self__ if accessor else function
    code = replacement.fget if isinstance(replacement, property) else replacement
    if str(getattr(code, "__module__", "torch")).startswith("torch"):
        return function
    for name, value in vars(Tensor).items():
        if value is replacement:
            own = _METHODS.get(name) or getattr(torch._C.TensorBase, name, function)
            return getattr(own, accessor) if accessor else own
    return function


_OF_C: Final = frozenset({MethodDescriptorType, WrapperDescriptorType, BuiltinFunctionType})


class FunctionMode(TorchFunctionMode):
    """A TorchFunctionMode that is handed the functions that ran.

    Without: the wrapper that a repository puts around a method of a tensor runs twice.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        handled: Any = cls.__torch_function__

        @functools.wraps(handled)
        def handle(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return handled(self, torchs_own(func), types, args, kwargs)

        cls.__torch_function__ = handle  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        # Nearly no repository replaces a method: a call less for each function, of which a loop calls thousands.
        if _are_torchs_own():
            own = type(self).__torch_function__.__wrapped__  # type: ignore[attr-defined]
            vars(self)["__torch_function__"] = MethodType(own, self)
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: object) -> None:
        vars(self).pop("__torch_function__", None)
        super().__exit__(*error)  # type: ignore[no-untyped-call]


def _are_torchs_own() -> bool:
    """Whether no method of tensors was replaced."""
    there = vars(Tensor)
    return len(there) == len(_METHODS) and all(map(operator.is_, there.values(), _METHODS.values()))


# Sees every operator that runs, below the functions of torch that call several.
DispatchMode = TorchDispatchMode
# Runs a block as where no such mode was entered. Without: a recurrent layer is noted step by step, for seconds.
without_dispatch_modes = _disable_current_modes


def written_by(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that a call of an operator writes into; none for a function that is not an operator.

    Without: a state that is written in place would keep its old value.
    """
    return _given_as(operator, args, kwargs, lambda alias: bool(alias.is_write))


def in_one_memory(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that a call of an operator returns views of, or writes into."""
    return _given_as(operator, args, kwargs, lambda _: True)


def _given_as(
    operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], wanted: Callable[[Any], bool]
) -> list[Any]:
    every, aliases = _arguments_of(operator)
    names = [name for name, alias in aliases.items() if wanted(alias)]
    if not names:
        return []
    given = {**dict(zip(every, args, strict=False)), **kwargs}
    return [value for name in names for value in _pytree.tree_leaves(given.get(name)) if value is not None]


@functools.cache
def _arguments_of(operator: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of an operator's arguments, and what is said of those that share memory with its results."""
    arguments = getattr(getattr(operator, "_schema", None), "arguments", ())
    aliases = {one.name: one.alias_info for one in arguments if one.alias_info is not None}
    return tuple(one.name for one in arguments), aliases


def flattened(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of nested lists, tuples and dicts in one list, and the nesting."""
    return _pytree.tree_flatten(tree)


def folded(leaves: list[Any], form: Any) -> Any:
    """The nesting that `flattened` took apart, with other leaves."""
    return _pytree.tree_unflatten(leaves, form)


def overload_name(target: Any) -> str:
    """`Tensor` of `aten.add.Tensor`; empty for what is not an operator."""
    return str(getattr(target, "_overloadname", ""))


def parsed_schema(text: str) -> Any:
    """The name, the overload and the arguments of an operator, from its schema in TorchScript's writing."""
    return torch._C.parse_schema(text)


# --- What is put aside while a module is traced -----------------------------------------------------------------------


@contextlib.contextmanager
def buffer_hooks_aside() -> Iterator[None]:
    """While the block runs, torch.export is not told of the buffers that a module registers.

    Without: a buffer that forward assigns is taken for an output of the program.
    """
    hooks = nn.modules.module._global_buffer_registration_hooks
    aside = {key: hook for key, hook in hooks.items() if hook.__module__.startswith(("torch.export", "torch._"))}
    for key in aside:
        del hooks[key]
    try:
        yield
    finally:
        hooks.update(aside)


# The functions that tell a module that it is traced, by their modules, and what each says where nothing is. Some are
# one function of two names. A release that lacks one is passed over; one that has another would be believed by a
# module, whose export the proof then compares with the module as it runs.
_TELLING: Final[tuple[tuple[str, str, Any], ...]] = (
    ("torch.compiler", "is_compiling", False),
    ("torch.compiler", "is_dynamo_compiling", False),
    ("torch.compiler", "is_exporting", False),
    ("torch._dynamo", "is_compiling", False),
    ("torch._dynamo.external_utils", "is_compiling", False),
    ("torch._utils", "is_compiling", False),
    ("torch.jit", "is_tracing", False),
    ("torch.onnx", "is_in_onnx_export", False),
    ("torch._C", "_get_tracing_state", None),
    ("torch._C", "_is_tracing", False),
)


def functions_that_tell() -> list[tuple[ModuleType, str, Callable[..., Any], Any]]:
    """The functions that tell a module whether it is traced: module, name, the function, its answer outside of one."""
    modules = [(importlib.import_module(module), name, answer) for module, name, answer in _TELLING]
    return [(module, name, getattr(module, name), answer) for module, name, answer in modules if hasattr(module, name)]


@contextlib.contextmanager
def operators_known() -> Iterator[None]:
    """While the block runs, a program on the CPU is decomposed with the operators that torch knew when it began.

    Without, as in a release that has other names for it: torch asks its dispatcher for them once for each of 29
    namespaces, twice a decomposition, 80 ms; and it sets 500 operators aside for each of 25 kinds of devices, of which
    a trace meets the CPU's and the meta device's, 60 ms.
    """
    changed: dict[Any, Any] = {}
    if hasattr(_export_operators, "_materialize_cpp_cia_ops"):
        _export_operators._materialize_cpp_cia_ops()
        changed[_export_operators, "_materialize_cpp_cia_ops"] = lambda: None
    for name in ("_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE", "_BACKEND_KEYS_TO_OVERRIDE"):
        keys = getattr(exported_program, name, None)
        if keys is not None:
            met = [key for key in keys if key.name.removeprefix("Autograd") not in _DEVICES]
            changed[exported_program, name] = met
    with methods_replaced(changed):
        yield


# Where the exporters log what a user cannot do anything about. A logger of a name that is gone is simply silent.
LOGGERS: Final = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "torch.export._trace",
    "torch._export.non_strict_utils",
    "torch._functorch._aot_autograd.graph_capture",
)


# --- Functions that are bound by name ---------------------------------------------------------------------------------


@contextlib.contextmanager
def code_exchanged(function: Any, stand_in: Any) -> Iterator[Callable[..., Any]]:
    """While the block runs, a function of torch's runs the code of another, for every thread and under every name that
    it was imported by; gives one with its own code. The code sees the globals of torch's file, so that it can only name
    what it imports.

    Modules bind `pack_padded_sequence` by name, which a change of torch's namespace would miss. A TorchFunctionMode
    does not see it either: it is Python, sorts the rows, and calls `torch._VF._pack_padded_sequence` only then.
    """
    shipped = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    shipped.__kwdefaults__ = function.__kwdefaults__
    function.__code__ = stand_in.__code__
    try:
        yield shipped
    finally:
        function.__code__ = shipped.__code__


# --- Modules and recurrent layers -------------------------------------------------------------------------------------


# The tables in which an nn.Module keeps its parts. Without: what forward assigns would not be given back.
MODULE_TABLES: Final = ("_parameters", "_buffers", "_modules")
# The class of all layers of batch normalisation.
BatchNorm: Final = nn.modules.batchnorm._BatchNorm


def parameters_of(layer: nn.Module) -> dict[str, nn.Parameter | None]:
    """A layer's own table of parameters, to be read: with those that are None, and one under each of its names."""
    return layer._parameters


def operators_given(changed: Callable[[Any], Any]) -> contextlib.AbstractContextManager[Any]:
    """For the block, operators are given what `changed` makes of each argument, also those that PyTorch's own functions
    call.

    Without: a number that such a function computes, as attention does 1 / sqrt(size), is not the one of the graph.

    Example:
        >>> with operators_given(lambda value: 0.5 if isinstance(value, float) else value):
        ...     torch.tensor([1.0]) * 0.3
        tensor([0.5000])
    """
    return _Changed(changed)


class _Changed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, changed: Callable[[Any], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._changed = changed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return func(*map(self._changed, args), **(kwargs or {}))


def buffers_of(layer: nn.Module) -> dict[str, Tensor | None]:
    """A layer's own table of buffers, to be read or written."""
    return layer._buffers


def parts_of(layer: nn.Module) -> dict[str, nn.Module | None]:
    """A layer's own table of layers, to be read or written: `setattr` would take what a class has under that name."""
    return layer._modules


@contextlib.contextmanager
def called_plainly() -> Iterator[None]:
    """While the block runs, layers of users' classes without hooks are called by their forward itself, so that an
    exception may leave them. Without: a trace keeps a stack of the layers that are called, takes none off it where a
    call raises, and fails at the next end of a call.

    Example:
        >>> with called_plainly():
        ...     module(tokens)
    """
    own = nn.Module.__call__

    def call(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if type(layer).__module__.startswith("torch.") or layer._forward_hooks or layer._forward_pre_hooks:
            return own(layer, *args, **kwargs)
        return layer.forward(*args, **kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = own  # type: ignore[method-assign]


def forward_pre_hooks_of(layer: nn.Module) -> dict[int, Callable[..., Any]]:
    """A layer's own table of what runs before its forward, such as the hooks of the old weight_norm."""
    return layer._forward_pre_hooks


def compiled_from(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` wraps; any other as it is."""
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def scripted_from(value: Any) -> Any:
    """The function of Python that `torch.jit.script` was given; None where it is not scripted, or was loaded.

    Without: a scripted function is followed at the sizes of the example only.
    """
    return getattr(value, "_torchdynamo_inline", None) if isinstance(value, torch.jit.ScriptFunction) else None


def weight_names(layer: nn.RNNBase) -> Sequence[str]:
    """The names of a recurrent layer's weights in the order in which PyTorch's kernels take them."""
    return layer._flat_weights_names


def flat_weights(layer: nn.RNNBase) -> list[tuple[str, Any]]:
    """The weights that a recurrent layer runs with, by their names. After a parametrization was added they may be
    older than the attributes of those names."""
    return list(zip(layer._flat_weights_names, layer._flat_weights, strict=True))


def renew_flat_weights(layer: nn.RNNBase) -> None:
    """Let a recurrent layer run with the weights that are its attributes now."""
    layer._init_flat_weights()


def with_state(program: torch.export.ExportedProgram, state: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    """A program with other weights, by the names of its own. Without: a form is compared with its own weights only."""
    made = copy.copy(program)
    made._state_dict = {
        name: nn.Parameter(state.get(name, own), own.requires_grad)
        if isinstance(own, nn.Parameter)
        else state.get(name, own)
        for name, own in program.state_dict.items()
    }
    return made


# --- onnxscript -------------------------------------------------------------------------------------------------------

# Imported where it is used: what only traces does not need it. Looked at: 0.7.2.


@contextlib.contextmanager
def operators_read_once() -> Iterator[None]:
    """While the block runs, `torch.onnx.export` knows its 500 operators by their names alone, the same ones in every
    call. It reads the source of the few that a graph holds, where it needs that.

    Without, as in a release that keeps them otherwise: each call reads the source of all of them, 0.5 seconds.
    """
    from torch.onnx._internal.exporter import _registration

    shipped = _registration.ONNXRegistry.from_torchlib

    def from_torchlib(opset_version: int = _registration.ONNXRegistry().opset_version) -> Any:
        try:
            # A library that is imported later, such as one of quantization, brings operators that are translated too.
            operators = _operators_of(opset_version, len(torch._C._dispatch_get_all_op_names()))
        except (AttributeError, ImportError, TypeError):
            return shipped(opset_version)
        registry = _registration.ONNXRegistry()
        registry._opset_version = opset_version
        # A call adds its own translations.
        registry.functions = {target: list(known) for target, known in operators.items()}
        return registry

    changed = {(_registration.ONNXRegistry, "from_torchlib"): staticmethod(from_torchlib)}
    with methods_replaced(changed), operators_known():
        yield


@functools.cache
def _operators_of(opset_version: int, registered: int) -> dict[Any, list[Any]]:
    """The operators that torch's exporter and onnxscript translate, as `ONNXRegistry.from_torchlib` finds them, where
    so many operators are registered."""
    del registered
    from onnxscript.function_libs.torch_lib import ops, registration
    from torch.onnx._internal.exporter import _registration
    from torch.onnx._internal.exporter._torchlib import _torchlib_registry

    # Importing it fills the registry.
    del ops
    registry = _registration.ONNXRegistry()
    registry._opset_version = opset_version
    for known in _torchlib_registry.get_torchlib_ops():
        registry._register(known.fx_target, known)
    for name, translations in registration.default_registry.items():
        target = None if name.startswith("internal::") else _registration._get_overload(name)
        if target is None:
            continue
        for functions, is_complex in ((translations.overloads, False), (translations.complex, True)):
            for function in functions:
                known = _registration.OnnxDecompMeta(
                    function, target, None, is_complex=is_complex, skip_signature_inference=True
                )
                registry._register(target, known)
    registry._cleanup_registry_based_on_opset_version()
    return registry.functions


def default_rewrite_rules() -> Sequence[Any]:
    """The rules that `onnxscript.optimizer.optimize` rewrites a graph by."""
    from onnxscript import rewriter

    return rewriter._DEFAULT_REWRITE_RULES


def unsound_rewrite_rules() -> list[Any]:
    """Those of them that take a constant near 0 or 1 for 0 or 1; the one that drops a slice whose result has the axes
    of what is sliced, as `x[:, -100:]` of an example of 7 tokens; and those that make one clamp of two, whose bounds
    may lie apart. Without: such a constant, slice or clamp is lost, which the proof sees where it changes answers to
    drawn texts."""
    from onnxscript.rewriter.rules.common import _fuse_relus_clips, _min_max_to_clip, _no_op, collapse_slice2_rule

    exact = (_no_op.dropout_zero_rule, _no_op.dropout_inference_rule)
    clamps = (*_fuse_relus_clips.rules, *_min_max_to_clip.rules)
    return [collapse_slice2_rule, *clamps, *(rule for rule in _no_op.rules if rule not in exact)]


# --- Encoders of torch.nn ---------------------------------------------------------------------------------------------


def encoder_layer_goes_fast(layer: nn.TransformerEncoderLayer) -> bool:
    """Whether PyTorch runs a layer of an encoder by other code where gradients are not recorded, if it is given a batch
    of three axes: the conditions of `TransformerEncoderLayer.forward`.

    Without: masks are taken for what they are in the code that is traced, which the proof sees.
    """
    attention = layer.self_attn
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in layer.modules())
    return (
        not layer.training
        and attention.batch_first
        and attention.in_proj_bias is not None
        and attention._qkv_same_embed_dim
        and bool(layer.activation_relu_or_gelu)
        and layer.norm1.eps == layer.norm2.eps
        and attention.num_heads % 2 == 0
        and not hooked
    )
