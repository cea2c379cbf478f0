"""A module in double precision: its weights as they are, and all arithmetic in float64.

`module.double()` alone is not enough. A forward that says `torch.zeros(2, n, 10)`, `.float()` or `dtype=torch.float32`
makes float32 tensors, which a layer in double precision refuses or rounds by. While a run in double precision lasts,
its own thread sees these as float64; nothing of the process changes, but for a module that takes numbers out of torch.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.cases import answer_rows
from pocketrnn_export.comparing.float64_graph import Doubles, Ids, Run64
from pocketrnn_export.module_runs.cpu_run import answer_of
from pocketrnn_export.module_runs.function_caches import caches_of, with_fresh_caches
from pocketrnn_export.module_runs.kept_attributes import attributes_kept
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.torch_internals import FunctionMode, operators_given

__all__ = ["Float64Mode", "doubled", "float64_run_of", "run_of_doubled"]

# The largest float32. `torch.finfo(x.dtype).min` of a double x stands for the float32 one.
_LARGEST: Final = float(np.finfo(np.float32).max)
# The functions that make a tensor of given numbers: these are rounded to float32, as in the module's own run.
_OF_NUMBERS: Final = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.full})
_DTYPE: Final = Tensor.dtype.__get__  # type: ignore[attr-defined]
_TYPES: Final[dict[Any, Any]] = {
    torch.float32: torch.float64,
    "torch.FloatTensor": "torch.DoubleTensor",
    torch.FloatTensor: torch.DoubleTensor,
}


class Float64Mode(FunctionMode):
    """While it is entered, this thread computes in float64 what PyTorch would compute in float32.

    - `.float()`, `.to(torch.float32)`, `dtype=torch.float32` mean float64.
    - Tensors that are made (`zeros`, `arange`, `tensor`, ...) are float64 where they would be float32, and so are
      results of integers (`lengths / 2`).
    - A float64 tensor says that it is float32: `x.dtype` is asked for `torch.finfo(x.dtype).eps`.
    - A Python number is rounded to float32 first: `x * 0.1` in float32 multiplies by the float32 nearest to 0.1, and so
      does every graph that is made of it.
    - `torch.Tensor(hidden.numpy())` is not seen by a mode, and makes what the whole process makes of numbers: once
      forward has taken numbers out of torch, that is float64 until the mode is left.
    """

    def __enter__(self) -> Any:
        self._usual = torch.get_default_dtype()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if torch.get_default_dtype() != self._usual:
            torch.set_default_dtype(self._usual)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func == _DTYPE:
            # `torch.finfo(x.dtype).eps` is the one of float32, which x stands for.
            return torch.float32 if args[0].dtype == torch.float64 else args[0].dtype
        if func is Tensor.float:
            return args[0].double()
        if func is Tensor.numpy and args[0].dtype == torch.float64:
            torch.set_default_dtype(torch.float64)
        if func in _OF_NUMBERS and not any(isinstance(a, Tensor) for a in args[:1]):
            return _wide(func(*args, **kwargs))
        # Tensors that no `.double()` reached, such as a plain attribute of the module; not where an attribute of a
        # tensor is read or set.
        if getattr(func, "__name__", "") not in {"__get__", "__set__"}:
            args = tuple(_converted(value) for value in args)
            kwargs = {name: _converted(value) for name, value in kwargs.items()}
        if func is multi_head_attention_forward:
            # It computes 1 / sqrt(size of a head) itself, where no mode of functions sees it.
            with operators_given(_converted_number):
                return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            return _again(func, args, kwargs, result)
        return result


def _converted_number(value: Any) -> Any:
    return _converted(value) if isinstance(value, float) else value


def _converted(value: Any) -> Any:
    """An argument, as a computation in float64 takes it."""
    if isinstance(value, float):
        return value if not np.isfinite(value) else float(np.float32(min(max(value, -_LARGEST), _LARGEST)))
    if isinstance(value, Tensor):
        return value.double() if value.dtype == torch.float32 else value
    if type(value) in (list, tuple):
        return type(value)(_converted(item) for item in value)
    if isinstance(value, (str, torch.dtype, type(torch.FloatTensor))):
        return _TYPES.get(value, value)
    return value


def _again(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Tensor:
    """A result that came out in float32 of no float32 tensor, computed once more, in float64."""

    def wide(value: Any) -> Any:
        if isinstance(value, Tensor) and not value.is_floating_point() and value.dtype != torch.bool:
            return value.double()
        return type(value)(map(wide, value)) if type(value) in (list, tuple) else value

    if any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
        more = {name: wide(value) for name, value in kwargs.items()}
        again = (tuple(map(wide, args)), more)
    else:
        again = (args, {**kwargs, "dtype": torch.float64})
    try:
        computed: Tensor = func(*again[0], **again[1])
    # A function that takes no double in that argument, or no dtype: bool masks, from_numpy.
    except (TypeError, RuntimeError, IndexError):
        return result.double()
    return computed if computed.dtype == torch.float64 else result.double()


def _wide(result: Any) -> Any:
    return result.double() if isinstance(result, Tensor) and result.dtype == torch.float32 else result


def doubled(module: nn.Module) -> nn.Module:
    """A copy of a module whose forward computes in double precision; its weights keep their values.

    The copy's class is one of its own that inherits the module's, so that the copy can be copied and traced.

    Raises:
        ExportError: it is TorchScript, whose code holds numbers and types of its own.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            "A TorchScript module cannot be run in double precision: its code holds float32 constants and types.",
            "Give the Python module that it was made from.",
        )
    copied = copied_again(module).double()
    caches = caches_of(copied)

    @contextlib.contextmanager
    def in_doubles(run: nn.Module) -> Iterator[None]:
        """Float64Mode, with nothing kept in one precision for a run in the other."""
        with with_fresh_caches(caches), attributes_kept(run), Float64Mode():
            yield

    own = vars(copied).get("forward")
    if own is not None:
        # Set on the module itself, where it goes before that of its class.
        def of_instance(*inputs: Any, **named: Any) -> Any:
            with in_doubles(copied):
                return own(*inputs, **named)

        vars(copied)["forward"] = of_instance
        return copied
    shipped = type(copied).forward

    # Only around forward: PyTorch's own code, such as that which traces, is not to see the mode.
    @functools.wraps(shipped)
    def forward(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        with in_doubles(self):
            return shipped(self, *inputs, **named)

    copied.__class__ = type(type(copied).__name__, (type(copied),), {"forward": forward})
    return copied


def float64_run_of(module: nn.Module, *, takes_lengths: bool) -> Run64:
    """A module as a run on arrays in double precision. Rows are given by falling length, as in `comparing.run_of`.

    Args:
        module: in eval mode, on the CPU; it is copied, not changed.
        takes_lengths: whether forward is given lengths.

    Raises:
        ExportError: the module is TorchScript; when it is called, it cannot compute in double precision.
    """
    return run_of_doubled(doubled(module), takes_lengths=takes_lengths)


def run_of_doubled(module: nn.Module, *, takes_lengths: bool) -> Run64:
    """A module that `doubled` gave, itself and not a copy, as a run on arrays."""

    def run(tokens: Ids, lengths: Ids) -> Doubles:
        order = np.argsort(-lengths, kind="stable")
        inputs = [torch.from_numpy(tokens[order])]
        if takes_lengths:
            inputs.append(torch.from_numpy(lengths[order]))
        try:
            answer = answer_of(module, inputs)
        # Whatever a user's module raises, a call of sys.exit included.
        except (Exception, SystemExit) as error:
            raise _not_computed(first_line(error)) from error
        if answer.dtype != torch.float64:
            raise _not_computed(f"it gives {answer.dtype}")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        logits: Doubles = answer_rows(answer.numpy()[back], lengths)
        return logits

    return run


def _not_computed(why: str) -> ExportError:
    return ExportError(
        f"The module cannot be run in double precision: {why}.",
        "Let forward take its types from the tensors it is given.",
    )
