"""Run a module in double precision. Its weights keep their values, and all arithmetic is in float64.

`module.double()` alone is not enough. A forward with `torch.zeros(2, n, 10)`, `.float()` or `dtype=torch.float32`
makes float32 tensors, which a float64 layer refuses or which round the result. During a run in double precision, its
thread makes them float64. The rest of the process does not change, unless the module takes numbers out of torch.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward, rms_norm

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.answer_rows_without_padding import drop_padding_rows_of_answer
from pocketrnn_export.comparing.module_and_graph_as_functions import compute_answer_with_rows_sorted_by_length
from pocketrnn_export.comparing.proof_inputs import Doubles, Ids, Run64
from pocketrnn_export.module_runs.attribute_changes import restore_attributes
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.function_caches import find_cached_functions, use_fresh_caches
from pocketrnn_export.torch_internals import FunctionMode, change_operator_arguments

# The largest float32. In a module that runs in float64, `torch.finfo(x.dtype).min` must still be the float32 minimum.
_LARGEST: Final = float(np.finfo(np.float32).max)
# The functions that make a tensor from numbers: the numbers are rounded to float32, as in the module's own run.
_OF_NUMBERS: Final = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.full})
# The position of an argument whose default is the smallest relative step of the input's type.
_EPS_OF_TYPE: Final[dict[Any, int]] = {rms_norm: 3, torch.rms_norm: 3}
_EPS: Final = float(np.finfo(np.float32).eps)
_DTYPE: Final = Tensor.dtype.__get__  # type: ignore[attr-defined]
_TYPES: Final[dict[Any, Any]] = {
    torch.float32: torch.float64,
    "torch.FloatTensor": "torch.DoubleTensor",
    torch.FloatTensor: torch.DoubleTensor,
}


class Float64Mode(FunctionMode):
    """A mode in which this thread computes in float64 where PyTorch would compute in float32.

    - `.float()`, `.to(torch.float32)`, `dtype=torch.float32` mean float64.
    - New tensors (`zeros`, `arange`, `tensor`, ...) are float64 where they would be float32, and so are results of
      integers (`lengths / 2`).
    - The dtype of a float64 tensor reads as float32, for code such as `torch.finfo(x.dtype).eps`.
    - A Python number is rounded to float32 first: `x * 0.1` in float32 multiplies by the float32 nearest to 0.1, and so
      does every graph that is exported from it.
    - The `eps` that `rms_norm` takes for float32, where none is given, is that of float32.
    - A mode does not see `torch.Tensor(hidden.numpy())`, which uses the default dtype of the process. So once forward
      has called `.numpy()`, the default is float64 until the mode is left.
    """

    def __enter__(self) -> Any:
        self._usual = torch.get_default_dtype()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if torch.get_default_dtype() != self._usual:
            torch.set_default_dtype(self._usual)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == _DTYPE:
            # `torch.finfo(x.dtype).eps` must be that of float32, since x stands for a float32 tensor.
            return torch.float32 if args[0].dtype == torch.float64 else args[0].dtype
        if func is Tensor.float:
            return args[0].double()
        if func is Tensor.numpy and args[0].dtype == torch.float64:
            torch.set_default_dtype(torch.float64)
        if func in _OF_NUMBERS and not any(isinstance(a, Tensor) for a in args[:1]):
            result = func(*args, **kwargs)
            return result.double() if isinstance(result, Tensor) and result.dtype == torch.float32 else result
        # Convert tensors that `.double()` did not reach, such as a plain attribute of the module; but not when an
        # attribute of a tensor is read or set.
        if getattr(func, "__name__", "") not in {"__get__", "__set__"}:
            args = tuple(_convert_argument_for_float64_run(value) for value in args)
            kwargs = {name: _convert_argument_for_float64_run(value) for name, value in kwargs.items()}
        if func in _EPS_OF_TYPE and kwargs.get("eps") is None and args[_EPS_OF_TYPE[func] :] in ((), (None,)):
            args, kwargs["eps"] = args[: _EPS_OF_TYPE[func]], _EPS
        if func is multi_head_attention_forward:
            # It computes 1 / sqrt(head_dim) itself, where a function mode does not see it.
            with change_operator_arguments(
                lambda value: _convert_argument_for_float64_run(value) if isinstance(value, float) else value
            ):
                return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            return _recompute_in_float64(func, args, kwargs, result)
        return result


def _convert_argument_for_float64_run(value: Any) -> Any:
    """Return an argument of a torch function for a run in float64: float32 tensors and dtypes become float64, and
    Python floats are rounded to float32."""
    if isinstance(value, float):
        return value if not np.isfinite(value) else float(np.float32(min(max(value, -_LARGEST), _LARGEST)))
    if isinstance(value, Tensor):
        return value.double() if value.dtype == torch.float32 else value
    if type(value) in (list, tuple):
        return type(value)(_convert_argument_for_float64_run(item) for item in value)
    if isinstance(value, (str, torch.dtype, type(torch.FloatTensor))):
        return _TYPES.get(value, value)
    return value


def _recompute_in_float64(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Tensor:
    """Call a torch function again so that it computes in float64, and return the result. The first call gave the
    float32 tensor `result` from arguments without float32, such as two integers. If the function cannot compute in
    float64, return `result` converted to float64."""

    def widen_value(value: Any) -> Any:
        if isinstance(value, Tensor) and not value.is_floating_point() and value.dtype != torch.bool:
            return value.double()
        return type(value)(map(widen_value, value)) if type(value) in (list, tuple) else value

    if any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
        more = {name: widen_value(value) for name, value in kwargs.items()}
        again = (tuple(map(widen_value, args)), more)
    else:
        again = (args, {**kwargs, "dtype": torch.float64})
    try:
        computed: Tensor = func(*again[0], **again[1])
    # The function may refuse float64 in that argument, or take no dtype: bool masks, from_numpy.
    except (TypeError, RuntimeError, IndexError):
        return result.double()
    return computed if computed.dtype == torch.float64 else result.double()


def make_float64_copy(module: nn.Module) -> nn.Module:
    """Copy a module so that the copy's forward computes in double precision. The weights keep their values. The copy
    has a new class, which inherits the module's class, so that it can be copied and traced.

    Raises:
        ExportError: the module is TorchScript, whose code holds float32 numbers and types.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            "A TorchScript module cannot be run in double precision, since its code has fixed float32 types.",
            "Give the Python module from which the TorchScript was compiled.",
        )
    copied = copy_without_comparison(module).double()
    caches = find_cached_functions(copied)

    @contextlib.contextmanager
    def compute_in_float64(run: nn.Module) -> Iterator[None]:
        """While the block runs, torch computes in float64. Function caches, and attributes that `run` sets, are
        restored after it."""
        with use_fresh_caches(caches), restore_attributes(run), Float64Mode():
            yield

    own = vars(copied).get("forward")
    if own is not None:
        # The module has its own `forward`, which Python calls in place of its class's.
        def forward_in_float64(*inputs: Any, **named: Any) -> Any:
            with compute_in_float64(copied):
                return own(*inputs, **named)

        vars(copied)["forward"] = forward_in_float64
        return copied
    shipped = type(copied).forward

    # Only around forward: PyTorch's own code, such as the tracer, must not see the mode.
    @functools.wraps(shipped)
    def forward(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        with compute_in_float64(self):
            return shipped(self, *inputs, **named)

    copied.__class__ = type(type(copied).__name__, (type(copied),), {"forward": forward})
    return copied


def make_float64_module_run(module: nn.Module, *, takes_lengths: bool, sorts_rows: bool = True) -> Run64:
    """Return a function that computes a module's logits in double precision from arrays of tokens and lengths.

    Args:
        module: the module, in eval mode and on the CPU. It is copied and not changed.
        takes_lengths: whether forward takes lengths.
        sorts_rows: whether the module gets the rows sorted by decreasing length. Give False if a row's answer may
            depend on other rows.

    Raises:
        ExportError: the module is TorchScript. The returned function raises it if the module cannot compute in double
            precision.
    """
    return make_float64_copy_run(make_float64_copy(module), takes_lengths=takes_lengths, sorts_rows=sorts_rows)


def make_float64_copy_run(float64_copy: nn.Module, *, takes_lengths: bool, sorts_rows: bool = True) -> Run64:
    """Return a function that computes the logits of `float64_copy`, a module whose forward computes in double
    precision, from arrays of tokens and lengths. With `sorts_rows`, the module gets the rows sorted by decreasing
    length; give False if a row's answer may depend on other rows."""

    def run_module(tokens: Ids, lengths: Ids) -> Doubles:
        try:
            answer = compute_answer_with_rows_sorted_by_length(
                float64_copy, tokens, lengths, takes_lengths=takes_lengths, sorts_rows=sorts_rows
            )
        # A user's module may raise anything, also by a call of sys.exit.
        except (Exception, SystemExit) as error:
            raise _make_float64_module_error(first_line(error)) from error
        if answer.dtype != torch.float64:
            raise _make_float64_module_error(f"its answer has the type {answer.dtype}")
        logits: Doubles = drop_padding_rows_of_answer(answer.numpy(), lengths)
        return logits

    return run_module


def _make_float64_module_error(why: str) -> ExportError:
    return ExportError(
        f"The module cannot be run in double precision: {why}.",
        "Write forward so that each dtype comes from a tensor, as in torch.zeros(n, dtype=h.dtype).",
    )
