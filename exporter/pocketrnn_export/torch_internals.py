"""The only file that uses private parts of PyTorch and onnxscript.

A private part may change with any release without notice. Each has a function here, with its purpose and with the
consequence of its absence ("Without"), so that a reader of a new release knows where to look. `tests/test_imports.py`
checks that no other file of the three packages names a private module, function or attribute of torch, onnxscript or
onnx_ir.

All of it was reviewed, and the fast tests of the exporter were run, with the releases in `RELEASES` and with 2.12 and
2.13. A difference between releases goes into one function here that works with all of them, or checks the release; its
name and docstring stay the same. With 2.12 a slice to a count that may be negative,
`x[:, : int(torch.sign(x).sum(1).max())]`, is refused needlessly.

The file imports nothing of this project, so that every part of the exporter may import it. Its functions mostly return
`Any`: torch annotates little of this.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._export import utils as _export_operators
from torch._library import custom_ops
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.export import exported_program
from torch.fx import traceback as fx_traceback
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._sympy import functions as sympy_functions

# The releases of torch that this was run with; the first is the lowest that pyproject.toml allows.
RELEASES: Final = ("2.8", "2.15")
# Devices that a trace never uses.
_DEVICES: Final = frozenset(
    {"CUDA", "XLA", "Lazy", "IPU", "XPU", "MPS", "HPU", "PrivateUse1", "PrivateUse2", "PrivateUse3"}
)
# The folder of torch's own code, and its __init__.py, which defines SymInt and the like.
TORCH_FILE: Final = str(torch.__file__)
TORCH_FOLDER: Final = str(Path(torch.__file__).parent)
# The files in which torch formats a tensor as text, and passes functions to a mode.
TEXT_FILES: Final = frozenset(
    str(Path(TORCH_FOLDER) / name) for name in ("_tensor.py", "_tensor_str.py", "overrides.py")
)


# --- Sizes: torch.SymInt, SymFloat and SymBool of a trace -------------------------------------------------------------


# `size_functions` has the functions that torch writes into a size's expression and sympy lacks: FloorDiv, Mod,
# PythonMod, Min, Max, the Int- and FloatTrueDiv, ... `tracing/sizes/size_conditions.py` has a table of all known
# functions.
# Without `size_functions`, a relation would hold a function of an unknown class, and the module would be refused with
# the function's name.
size_functions = sympy_functions

# `statically_known_true(size >= 0)`: whether a relation holds for all sizes; it adds no guard to the trace. Without:
# a relation that always holds would become a restriction of the graph.
statically_known_true: Final = symbolic_shapes.statically_known_true

# The square root of a size, also as the operator that a trace holds. The others are public; torch annotates none.
sym_sqrt: Final[Callable[..., Any]] = torch._sym_sqrt  # type: ignore[attr-defined]
sym_float: Final[Callable[..., Any]] = torch.sym_float
sym_int: Final[Callable[..., Any]] = torch.sym_int
sym_ite: Final[Callable[..., Any]] = torch.sym_ite
sym_max: Final[Callable[..., Any]] = torch.sym_max
sym_min: Final[Callable[..., Any]] = torch.sym_min


def read_size_expression(size: Any) -> Any:
    """Return the sympy expression of a symbolic size, such as `s27 + 1`. For a condition on sizes (a SymBool), return
    its relation.

    Symbols whose value is known are replaced by it. Without this function, a condition on sizes cannot be understood.
    """
    return size.node.expr


def read_size_symbol(size: Any) -> str:
    """Return the first name that torch gave to the symbolic size of an input, such as `s27`."""
    return str(size.node._expr)


def read_size_hint(size: Any) -> int:
    """Return the number that a size has in the traced example. A trace needs it to choose a branch."""
    return int(size.node.hint)


def find_shape_environment(size: Any) -> Any:
    """Return the ShapeEnv of the trace to which a symbolic size belongs. It has all sizes of the trace."""
    return size.node.shape_env


def list_guards(environment: Any) -> list[Any]:
    """List the guards, which are the conditions on sizes, that a trace has made so far. Return an empty list if
    `environment` is None.

    Without this function, a restriction of a graph is found only if its answers differ.
    """
    guards: list[Any] = [] if environment is None else environment.guards
    return guards


def read_guard_relation(guard: Any) -> Any:
    """Return the sympy relation of a guard, such as `s27 > 4`. A guard is a condition on sizes that a trace has
    made."""
    return guard.expr


def find_guard_location(guard: Any) -> tuple[str, int]:
    """Return the file and the line of the code that made a guard, a condition on sizes. Return ("", 0) if these are not
    known."""
    frame = guard.sloc.framework_loc
    return (frame.filename, frame.lineno) if hasattr(frame, "filename") else ("", 0)


def restrict_sizes(relation: Any, message: str) -> None:
    """Restrict a trace to sizes for which a relation, such as `size > 2`, holds.

    Outside a trace, raise an error with `message` if the relation does not hold. Without this function, a text that is
    too short for an operation gets a meaningless answer.
    """
    torch._check(relation, lambda: message)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def replace_methods(changes: Mapping[Any, Any]) -> Iterator[None]:
    """While the block runs, replace methods of torch's classes and functions of torch's modules.

    Args:
        changes: (class or module, name) -> the replacement. A class that inherits the method, or does not have it,
            gets it and loses it again.
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


def replace_answers_to_size_conditions(
    answer: Callable[[Any, Callable[[Any], bool]], bool],
) -> contextlib.AbstractContextManager[None]:
    """While the block runs, let the function `answer` decide conditions on symbolic sizes, such as `bool(size > 512)`.

    `answer` is called with the SymBool and torch's own method, two frames below the caller of `bool`. Without this
    function, a branch on a size silently follows the example.
    """
    shipped: Callable[[Any], bool] = torch.SymBool.__bool__

    def answer_condition(self: Any) -> bool:
        return answer(self, shipped)

    return replace_methods({(torch.SymBool, "__bool__"): answer_condition})


# --- Tensors of a trace -----------------------------------------------------------------------------------------------


# torch's own hash of a tensor, by its identity.
HASH_OF_TENSOR: Final[Callable[[Tensor], int]] = Tensor.__hash__
# The tensor classes of a module's inputs while it is traced. Without: the user's `type(x)` would be one of them.
TRACED_TENSORS: Final[tuple[type, ...]] = (FakeTensor, FunctionalTensor)


def make_unknown_size_mode() -> FakeTensorMode:
    """Make a mode in which a module runs without data: its tensors have symbolic sizes and no numbers.

    Each unknown size has its own symbol, even if two sizes are equal.
    """
    return FakeTensorMode(shape_env=ShapeEnv(duck_shape=False), allow_non_fake_inputs=True)


@contextlib.contextmanager
def avoid_kernel_choices() -> Iterator[None]:
    """While the block runs, keep PyTorch from choosing a kernel of a convolution by the sizes of its input, as
    torch.export does.

    Without this function, such a choice in a run with unknown sizes is a condition, such as `batch >= 16`, for which a
    module may be refused.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
            # In 2.8, the plain kernel takes no unknown sizes by itself.
            stack.enter_context(enable_python_dispatcher())
        yield


def make_unknown_size_tensor(mode: FakeTensorMode, value: Tensor, first_axes: int) -> Tensor:
    """Make a tensor without numbers like `value`. The sizes of its first `first_axes` axes are symbolic.

    As in PyTorch, a size of 1 remains a number.
    """
    kinds = [DimDynamic.DYNAMIC if i < first_axes and n > 1 else DimDynamic.STATIC for i, n in enumerate(value.shape)]
    context: Any = StatelessSymbolicContext(dynamic_sizes=kinds, constraint_sizes=[None] * value.dim())
    return mode.from_tensor(value, symbolic_context=context)


def replace_tolist(tolist: Callable[[Any, Callable[[Any], Any]], Any]) -> contextlib.AbstractContextManager[None]:
    """While the block runs, let `x.tolist()` of a traced tensor call the function `tolist` in its place.

    The function is called with the tensor and torch's own method. A TorchFunctionMode does not see this method of a
    FakeTensor. Without this function, `lengths.tolist()` needs values, and the module is refused.
    """
    shipped: Callable[[Any], Any] = FakeTensor.tolist
    return replace_methods({(FakeTensor, "tolist"): lambda self: tolist(self, shipped)})


def read_tensor_values(tensor: Tensor) -> list[Any]:
    """Call `tensor.tolist()` without any TorchFunctionMode."""
    with past_function_modes():
        values: list[Any] = tensor.tolist()
    return values


# Runs a block without any TorchFunctionMode: else each torch function calls all modes that are entered.
past_function_modes = torch._C.DisableTorchFunction


def find_base_tensor(tensor: Tensor) -> Tensor:
    """Return the base tensor of a view, and any other tensor unchanged.

    Without this function, facts about lengths would still be believed after a write into a slice of them.
    """
    return tensor if tensor._base is None else tensor._base


def count_in_place_writes(tensor: Tensor) -> int:
    """Return the number of in-place writes to a tensor, as autograd counts them. Return 0 for a tensor of inference
    mode."""
    return 0 if tensor.is_inference() else tensor._version


def read_memory_address(tensor: Tensor) -> int:
    """Return the memory address of a tensor's storage, which its views share. Return 0 for a tensor without storage."""
    return tensor.untyped_storage().data_ptr()


# The methods of Tensor that torch wrote in Python, without those that were replaced before this file was imported.
_METHODS: Final[dict[str, Any]] = {
    name: value
    for name, value in vars(Tensor).items()
    if str(getattr(value, "__module__", "torch")).startswith("torch")
}


def find_original_method(function: Any) -> Any:
    """Find the original method of a tensor, if a user replaced it (`torch.Tensor.squeeze = mine`).

    torch's C code looks a method up by its name to pass it to a mode, and finds the replacement, which has run already.
    Every other function is returned as it is.
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
    """A TorchFunctionMode that receives the original methods of tensors.

    Without this class, a user's wrapper around a method of a tensor runs twice.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        handled: Any = cls.__torch_function__

        @functools.wraps(handled)
        def handle(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return handled(self, find_original_method(func), types, args, kwargs)

        cls.__torch_function__ = handle  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        # Replaced methods are rare: without them this saves a call for each function, and a loop calls thousands.
        if _are_tensor_methods_original():
            own = type(self).__torch_function__.__wrapped__  # type: ignore[attr-defined]
            vars(self)["__torch_function__"] = MethodType(own, self)
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: object) -> None:
        vars(self).pop("__torch_function__", None)
        super().__exit__(*error)  # type: ignore[no-untyped-call]


def _are_tensor_methods_original() -> bool:
    """Return whether all methods of tensors are torch's own."""
    there = vars(Tensor)
    return len(there) == len(_METHODS) and all(map(operator.is_, there.values(), _METHODS.values()))


# Sees every operator that runs, also those within torch's composite functions.
DispatchMode = TorchDispatchMode
# Runs a block without any such mode. Without it, a recurrent layer would be recorded step by step, which takes seconds.
without_dispatch_modes = _disable_current_modes


def list_written_arguments(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """List the arguments that a call of an operator writes into. Return an empty list for a function that is not an
    operator.

    Without this function, a state that is written in place would keep its old value.
    """
    return _select_arguments(operator, args, kwargs, lambda alias: bool(alias.is_write))


def writes_in_place(operator: Any) -> bool:
    """Return whether a call of an operator may write into its arguments. Return True for an operator without a schema,
    such as one that runs a subgraph."""
    if not hasattr(operator, "_schema"):
        # Functions of sizes, and an item of a list.
        return callable(operator) and getattr(operator, "__module__", "") not in {"_operator", "math", "torch"}
    return any(alias.is_write for alias in _read_argument_aliases(operator)[1].values())


def list_aliased_arguments(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """List the arguments that share memory with a call's results, or that the call writes into."""
    return _select_arguments(operator, args, kwargs, lambda _: True)


def _select_arguments(
    operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], wanted: Callable[[Any], bool]
) -> list[Any]:
    """Return the values of the arguments whose alias information the function `wanted` accepts. Values inside lists and
    dicts are returned one by one."""
    every, aliases = _read_argument_aliases(operator)
    names = [name for name, alias in aliases.items() if wanted(alias)]
    if not names:
        return []
    given = {**dict(zip(every, args, strict=False)), **kwargs}
    return [value for name in names for value in _pytree.tree_leaves(given.get(name)) if value is not None]


@functools.cache
def _read_argument_aliases(operator: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of an operator's arguments, and a dict with the alias information of those that share memory
    with a result or are written."""
    arguments = getattr(getattr(operator, "_schema", None), "arguments", ())
    aliases = {one.name: one.alias_info for one in arguments if one.alias_info is not None}
    return tuple(one.name for one in arguments), aliases


def flatten_tree(tree: Any) -> tuple[list[Any], Any]:
    """Return the items of nested lists, tuples and dicts in one list, and the structure, for `unflatten_tree`."""
    return _pytree.tree_flatten(tree)


def unflatten_tree(leaves: list[Any], form: Any) -> Any:
    """Rebuild nested lists, tuples and dicts from a list of items and the structure `form` that `flatten_tree`
    returned."""
    return _pytree.tree_unflatten(leaves, form)


def read_overload_name(target: Any) -> str:
    """Return the name of the overload of an operator, such as `Tensor` for `aten.add.Tensor`. Return an empty string
    for anything else."""
    return str(getattr(target, "_overloadname", ""))


def parse_operator_schema(text: str) -> Any:
    """Parse the name, the overload and the arguments of an operator from its TorchScript schema."""
    return torch._C.parse_schema(text)


# --- Parts that are disabled while a module is traced -----------------------------------------------------------------


def find_custom_operator_function(target: Any, namespace: str) -> Any:
    """Return the Python function of an operator of a namespace that was made by `torch.library.custom_op`. Return any
    other target of a node unchanged.

    A call of the operator goes through torch's dispatcher three times, which takes as long as the function for a small
    layer. Without: run the operator."""
    name = str(target._schema.name) if isinstance(target, torch._ops.OpOverload) else ""
    definition = custom_ops.OPDEFS.get(name) if name.startswith(f"{namespace}::") else None
    return target if definition is None else definition._init_fn


@contextlib.contextmanager
def remove_export_buffer_hooks() -> Iterator[None]:
    """While the block runs, remove torch.export's hooks on registered buffers.

    Without this function, a buffer that forward assigns becomes an output of the program.
    """
    hooks = nn.modules.module._global_buffer_registration_hooks
    aside = {key: hook for key, hook in hooks.items() if hook.__module__.startswith(("torch.export", "torch._"))}
    for key in aside:
        del hooks[key]
    try:
        yield
    finally:
        hooks.update(aside)


# The functions that tell a module that it is traced, by module, and their results outside of a trace. Some are one
# function with two names. A function that a release lacks is skipped. A new function of a later release could change a
# traced module, but the proof compares the export with the module as it runs.
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


class TracingQuery(NamedTuple):
    """A function of PyTorch by which a module asks whether it is traced, and its answer outside of a trace."""

    module: ModuleType
    name: str
    function: Callable[..., Any]
    untraced_answer: Any


def list_functions_that_tell_of_tracing() -> list[TracingQuery]:
    """List the functions of PyTorch by which a module can ask whether it is being traced, such as
    `torch.jit.is_tracing`, each with its answer outside of a trace."""
    modules = [(importlib.import_module(module), name, answer) for module, name, answer in _TELLING]
    return [
        TracingQuery(module, name, getattr(module, name), answer)
        for module, name, answer in modules
        if hasattr(module, name)
    ]


@contextlib.contextmanager
def annotate_operators(marks: Mapping[str, Any]) -> Iterator[None]:
    """While the block runs, write the `marks` into `meta["custom"]` of each operator that is traced.

    It is `torch.fx.traceback.annotate`, which releases before 2.9 do not have.
    """
    current = fx_traceback.current_meta
    before = current.get("custom")
    current["custom"] = {**(before or {}), **marks}
    try:
        yield
    finally:
        if before is None:
            current.pop("custom", None)
        else:
            current["custom"] = before


@contextlib.contextmanager
def cache_known_operators() -> Iterator[None]:
    """While the block runs, decompose programs on the CPU only, and with the operators that torch knows at its
    beginning.

    Without this function, torch queries its dispatcher for each of 29 namespaces, twice a decomposition, which takes 80
    ms. It also overrides 500 operators for each of 25 kinds of devices, which takes 60 ms, though a trace uses only the
    CPU and the meta device.
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
    with replace_methods(changed):
        yield


# The loggers whose messages do not help a user. A name that a release lacks is ignored.
LOGGERS: Final = (
    "torch.onnx._internal.exporter._registration",
    "torch.onnx._internal.exporter._schemas",
    "onnxscript",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "torch.export._trace",
    "torch._export.non_strict_utils",
    "torch._functorch._aot_autograd.graph_capture",
)


# --- Functions that are bound by name ---------------------------------------------------------------------------------


@contextlib.contextmanager
def replace_function_code(function: Any, stand_in: Any) -> Iterator[Callable[..., Any]]:
    """While the block runs, every call of torch's `function` runs the code of `stand_in`.

    This holds in every thread and under every imported name. Yield a copy of the function with the original code. The
    code sees the globals of torch's file, so it must import everything that it uses.

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


# The dicts in which an nn.Module keeps its parts. Without: assignments in forward would not be undone.
MODULE_TABLES: Final = ("_parameters", "_buffers", "_modules")
# The class of all layers of batch normalisation.
BatchNorm: Final = nn.modules.batchnorm._BatchNorm


def read_own_parameters(layer: nn.Module) -> dict[str, nn.Parameter | None]:
    """Return the dict of a layer's own parameters. It includes parameters that are None, and a shared parameter under
    each of its names."""
    return layer._parameters


def change_operator_arguments(change: Callable[[Any], Any]) -> contextlib.AbstractContextManager[Any]:
    """While the block runs, replace each argument of every operator by the result of the function `change`.

    Operators inside PyTorch's own functions are included. Without this function, a number that such a function
    computes, as attention does 1 / sqrt(size), differs from the graph's.
    """
    return _ArgumentChanger(change)


class _ArgumentChanger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, changed: Callable[[Any], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._changed = changed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*map(self._changed, args), **(kwargs or {}))


def read_own_buffers(layer: nn.Module) -> dict[str, Tensor | None]:
    """Return the dict of a layer's own buffers, for reading and writing."""
    return layer._buffers


def get_submodule_dict(layer: nn.Module) -> dict[str, nn.Module | None]:
    """Return the dict of a layer's own submodules by name, for reading and writing.

    `setattr` would use a class attribute of that name.
    """
    return layer._modules


@contextlib.contextmanager
def call_forward_directly() -> Iterator[None]:
    """While the block runs, let calls of users' layers without hooks run `forward` itself, and not
    `nn.Module.__call__`. Then a call may raise an error without breaking the trace.

    In `__call__`, a trace keeps a stack of the called layers. If a call raises an error, the stack keeps the layer, and
    the trace fails at the end of the next call.
    """
    own = nn.Module.__call__

    def call_layer(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if type(layer).__module__.startswith("torch.") or layer._forward_hooks or layer._forward_pre_hooks:
            return own(layer, *args, **kwargs)
        return layer.forward(*args, **kwargs)

    nn.Module.__call__ = call_layer  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = own  # type: ignore[method-assign]


def read_own_forward_pre_hooks(layer: nn.Module) -> dict[int, Callable[..., Any]]:
    """Return the dict of a layer's own forward pre-hooks. The old weight_norm is such a hook."""
    return layer._forward_pre_hooks


def unwrap_compiled_module(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wraps. Return any other module unchanged."""
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def unwrap_scripted_function(value: Any) -> Any:
    """Return the Python function that `torch.jit.script` compiled. Return None for any other function, and for one that
    was loaded from a file.

    Without this function, a scripted function is traced only at the sizes of the example.
    """
    return getattr(value, "_torchdynamo_inline", None) if isinstance(value, torch.jit.ScriptFunction) else None


def list_weight_names(layer: nn.RNNBase) -> Sequence[str]:
    """List the names of a recurrent layer's weights, in the order of the arguments of PyTorch's kernels."""
    return layer._flat_weights_names


def read_flat_weights(layer: nn.RNNBase) -> list[tuple[str, Any]]:
    """Return pairs (name, weight) of the weights that a recurrent layer really uses when it runs.

    After a parametrization was added, they may be older than the attributes with these names.
    """
    return list(zip(layer._flat_weights_names, layer._flat_weights, strict=True))


def update_flat_weights(layer: nn.RNNBase) -> None:
    """Make a recurrent layer run with the current values of its weight attributes."""
    layer._init_flat_weights()


def replace_program_weights(
    program: torch.export.ExportedProgram, state: Mapping[str, Tensor]
) -> torch.export.ExportedProgram:
    """Return a copy of an exported program with other weights, which `state` gives by name.

    Without this copy, a form would be compared with its own weights only. A copy is also needed because a second
    conversion of the same program fails: the first leaves sizes that an operator made, such as a longest length, as
    pending.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, Tensor) else ():
            if isinstance(size, torch.SymInt):
                size.node.shape_env.pending_fresh_unbacked_symbols.clear()
    made = copy.copy(program)
    made._state_dict = {
        name: nn.Parameter(state.get(name, own), own.requires_grad)
        if isinstance(own, nn.Parameter)
        else state.get(name, own)
        for name, own in program.state_dict.items()
    }
    return made


# --- onnxscript -------------------------------------------------------------------------------------------------------

# Imported in the functions, since tracing alone does not need it. Reviewed: 0.7.2.


@contextlib.contextmanager
def cache_onnx_registry(translated: Collection[Any] = ()) -> Iterator[None]:
    """While the block runs, let `torch.onnx.export` take its translations of operators from a cache, and read the
    source of only those that a graph needs.

    There are 500 translated operators, which stay in the cache for later calls. In a release that stores them
    differently, each call reads the source of all of them, which takes 0.5 seconds.

    Args:
        translated: the operators that the caller translates itself; torch's own translations of these are left out.
            Before 2.12, torch takes its own translation if the caller's has other names of parameters than the
            operator.
    """
    from torch.onnx._internal.exporter import _registration

    shipped = _registration.ONNXRegistry.from_torchlib
    overload: Any = torch._ops.OpOverload
    # The registry's keys.
    own = {target.name() if isinstance(target, overload) else target for target in translated}

    def from_torchlib(opset_version: int = _registration.ONNXRegistry().opset_version) -> Any:
        try:
            # A library that is imported later, such as one for quantization, registers further operators.
            operators = _read_onnx_translations(opset_version, len(torch._C._dispatch_get_all_op_names()))
        except (AttributeError, ImportError, TypeError):
            return shipped(opset_version)
        registry = _registration.ONNXRegistry()
        registry._opset_version = opset_version
        # A call adds its own translations.
        registry.functions = {
            target: [one for one in known if one.is_complex or target not in own] for target, known in operators.items()
        }
        return registry

    changed = {(_registration.ONNXRegistry, "from_torchlib"): staticmethod(from_torchlib)}
    with replace_methods(changed), cache_known_operators():
        yield


@contextlib.contextmanager
def decompose_where_needed() -> Iterator[None]:
    """While the block runs, let `torch.onnx.export` decompose only programs that need it.

    Most programs need no decomposition, except for conversions of types, and are only copied. Without this function,
    each program is traced once more, which takes 0.15 seconds.
    """
    try:
        from torch._export.utils import _is_cia_op, _is_preservable_cia_op
        from torch.onnx._internal.exporter import _decomp, _fx_passes

        shipped = _fx_passes.decompose_with_registry
        list_translated = _decomp.get_onnx_implemented_overloads
    except (AttributeError, ImportError):
        yield
        return

    def decompose_program(program: torch.export.ExportedProgram, registry: Any) -> torch.export.ExportedProgram:
        graph, translated = _copy_without_conversions(program.graph), set(list_translated(registry))
        for node in graph.nodes:
            overload, is_operator = node.target, isinstance(node.target, torch._ops.OpOverload)
            if (
                node.op == "get_attr"
                or (is_operator and overload not in translated)
                or (node.op == "call_function" and writes_in_place(overload))
                or (is_operator and is_always_decomposed(overload))
            ):
                return shipped(program, registry)
        made = copy.copy(program)
        made._graph_module = torch.fx.GraphModule(program.graph_module, graph)
        return made

    def is_always_decomposed(overload: Any) -> bool:
        # `contiguous` is nothing, or a copy, which has no node in ONNX either.
        is_copy = overload is torch.ops.aten.contiguous.default
        return _is_cia_op(overload) and not _is_preservable_cia_op(overload) and not is_copy

    with replace_methods({(_fx_passes, "decompose_with_registry"): decompose_program}):
        yield


def _copy_without_conversions(graph: torch.fx.Graph) -> torch.fx.Graph:
    """Copy a program's graph without operators that change nothing: assertions, unused operators, dropouts.

    `x.to(dtype)` is the operator that it is decomposed to, or nothing if x has this type. A node whose value is an
    output stays, since the program's signature names it.
    """
    aten, copied = torch.ops.aten, copy.deepcopy(graph)
    # A copy renames what is called as one of Python's functions, such as an argument `input`, and the program's
    # signature does not.
    for node, original in zip(copied.nodes, graph.nodes, strict=True):
        node.name, node.target = original.name, original.target
    converts = {getattr(aten.to, name) for name in ("dtype", "dtype_layout", "device", "other")}
    drops = {aten.dropout.default, aten.feature_dropout.default}
    answers = {node for last in copied.nodes if last.op == "output" for node in last.all_input_nodes}
    for node in list(copied.nodes):
        if not node.users and ("_assert" in str(node.target) or "sym_constrain_range" in str(node.target)):
            copied.erase_node(node)
        elif node.target in drops and node.args[2] is False and node not in answers:
            node.replace_all_uses_with(node.args[0])
            copied.erase_node(node)
        elif node.target in converts and node not in answers:
            given, dtype = node.args[0], node.meta["val"].dtype
            if dtype != given.meta["val"].dtype:
                with copied.inserting_before(node):
                    given = copied.call_function(aten._to_copy.default, (given,), {"dtype": dtype})
                given.meta = dict(node.meta)
            node.replace_all_uses_with(given)
    copied.eliminate_dead_code()
    return copied


@functools.cache
def _read_onnx_translations(opset_version: int, registered_count: int) -> dict[Any, list[Any]]:
    """Return a dict from each operator to the functions of torch's exporter and of onnxscript that translate it to
    ONNX.

    `ONNXRegistry.from_torchlib` finds the same. `registered_count`, the number of registered operators, is a key of the
    cache.
    """
    del registered_count
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


def list_default_rewrite_rules() -> Sequence[Any]:
    """List the rewrite rules of `onnxscript.optimizer.optimize`."""
    from onnxscript import rewriter

    return rewriter._DEFAULT_REWRITE_RULES


def list_unsound_rewrite_rules() -> list[Any]:
    """List the rewrite rules that may change answers.

    Some treat a constant near 0 or 1 as 0 or 1. One removes a slice if its result has the sizes of its input in the
    example, as `x[:, -100:]` for 7 tokens. Others join two clamps whose bounds may not overlap. With these rules, such
    a constant, slice or clamp would be lost, and the proof would find that only if it changes answers to random texts.
    """
    from onnxscript.rewriter.rules.common import _fuse_relus_clips, _min_max_to_clip, _no_op, collapse_slice2_rule

    exact = (_no_op.dropout_zero_rule, _no_op.dropout_inference_rule)
    clamps = (*_fuse_relus_clips.rules, *_min_max_to_clip.rules)
    return [collapse_slice2_rule, *clamps, *(rule for rule in _no_op.rules if rule not in exact)]


# --- Encoders of torch.nn ---------------------------------------------------------------------------------------------


def uses_encoder_fast_path(layer: nn.TransformerEncoderLayer) -> bool:
    """Return whether PyTorch runs an encoder layer by its fast path, if gradients are off and the input has three axes.

    The conditions are those in `TransformerEncoderLayer.forward`. Without this function, masks get the meaning that
    they have in the traced code, which differs, and the proof finds that.
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
