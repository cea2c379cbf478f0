"""Run or trace a user's forward on the CPU, in eval mode, and without output on stdout.

Forward in notebooks calls `.cuda()`, `device="cuda"` and `print(x.shape)`. The exported copy is on the CPU, so all
tensors that it makes must be there too; and its prints would mix with the output of a command.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import FunctionMode

# `torch.cuda.FloatTensor(2, 3)` cannot be intercepted: without CUDA, these names are replaced by the CPU's types.
_TYPES: Final = tuple(
    name
    for name in ("FloatTensor", "DoubleTensor", "HalfTensor", "LongTensor", "IntTensor", "ShortTensor", "CharTensor",
                 "ByteTensor", "BoolTensor")
    if name in vars(torch.cuda)
)  # fmt: skip
_OF_CPU: Final[dict[str, Any]] = {name: getattr(torch, name) for name in _TYPES}
# The largest allowed difference between the answer to a text alone and its answer in a batch with a copy of itself.
_NEAR: Final = 1e-4


@contextlib.contextmanager
def run_quietly_on_cpu() -> Iterator[None]:
    """While the block runs, make this thread create all tensors on the CPU, write nothing to stdout and show no
    warnings. Layers of torch.nn with a fast path for runs without gradients use it, as in the user's own runs."""
    with (
        replace_gpu_tensor_types_by_cpu_types(),
        _CpuMode(),
        silence_stdout_of_thread(),
        _allow_fast_paths(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def set_eval_mode(module: nn.Module) -> nn.Module:
    """Put a module into eval mode by a call of its eval(), and return the module.

    If a class defines a `train` or `eval` of its own, so that eval() fails or does nothing, `training` is set to False
    in the module's layers. A layer that eval() leaves in training mode on purpose, such as a dropout that is always
    active, stays in this mode. Frozen TorchScript, which is always in eval mode, is returned unchanged.
    """
    if not hasattr(module, "training"):
        return module
    other = [module]
    # A user's module may raise anything.
    with contextlib.suppress(Exception, SystemExit):
        module.eval()
        shipped = nn.Module.train, nn.Module.eval
        other += [layer for layer in module.modules() if (type(layer).train, type(layer).eval) != shipped]
    for layer in other:
        for inner in layer.modules() if getattr(layer, "training", False) else ():
            if getattr(inner, "training", False):
                inner.training = False
    return module


def compute_answer(module: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    """Compute a module's answer without gradients, on the CPU and without output.

    If forward fails on a batch of one text or returns [classes], its `squeeze()` may have removed the batch axis. The
    module is then called again with the text twice, and the answer to one of the two rows is returned, [1, classes]. If
    its numbers differ from those of the first call, the answer of the first call is returned.

    Args:
        module: the module, in eval mode.
        inputs: the inputs of the module; the first axis of each is the batch.
    """
    with torch.no_grad(), run_quietly_on_cpu():
        if len(inputs[0]) != 1:
            return module(*inputs)
        try:
            alone = module(*inputs)
        # A user's module may raise anything.
        except Exception:
            beside = _compute_answer_to_text_beside_its_copy(module, inputs)
            if beside is None:
                raise
            return beside
        if not isinstance(alone, Tensor) or alone.dim() != 1:
            return alone
        beside = _compute_answer_to_text_beside_its_copy(module, inputs)
        same = beside is not None and beside.numel() == alone.numel() and _is_near(beside.reshape(-1), alone)
        return beside if same else alone


def _is_near(first: Tensor, second: Tensor) -> bool:
    return bool(torch.allclose(first, second, rtol=_NEAR, atol=_NEAR, equal_nan=True))


def _compute_answer_to_text_beside_its_copy(module: Callable[..., Any], inputs: Sequence[Tensor]) -> Tensor | None:
    """Call a module with a batch of two equal rows, the text in `inputs` twice. Return the answer to the first row,
    [1, classes]. Return None if the module fails, gives another shape, or answers the two rows differently."""
    try:
        answer = module(*(torch.cat([value, value]) for value in inputs))
    except Exception:
        return None
    both = isinstance(answer, Tensor) and answer.dim() == 2 and len(answer) == 2
    return answer[:1] if both and _is_near(answer[0], answer[1]) else None


@contextlib.contextmanager
def replace_gpu_tensor_types_by_cpu_types() -> Iterator[None]:
    """While the block runs on a machine without a GPU, `torch.cuda.FloatTensor` and similar types stand for the types
    of the CPU."""
    there = vars(torch.cuda)
    if not _TYPES or there[_TYPES[0]] is getattr(torch, _TYPES[0]) or torch.cuda.is_available():
        yield
        return
    stand_ins: dict[str, Any] = {name: there[name] for name in _TYPES}
    there.update(_OF_CPU)
    try:
        yield
    finally:
        there.update(stand_ins)


# The functions that move a tensor to a device without `device=`.
_TO_A_DEVICE: Final = frozenset({Tensor.cuda, Tensor.to, Tensor.type})
# The functions of recurrent layers.
_OF_LAYERS: Final = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})
_LOOKED_AT: Final = _TO_A_DEVICE | _OF_LAYERS


def _refuse_states_of_other_batch_size(args: Sequence[Any]) -> None:
    """Raise a RuntimeError if the initial state of a recurrent layer has another batch size than the packed sequence.
    torch 2.13 does not check this, and may crash the process. `args` are the arguments of the layer's function, such as
    `torch.gru`."""
    if len(args) < 3 or not (isinstance(args[1], Tensor) and args[1].dim() == 1 and len(args[1])):
        return
    rows = int(args[1][0])
    for state in args[2] if isinstance(args[2], list | tuple) else [args[2]]:
        if isinstance(state, Tensor) and state.dim() == 3 and state.shape[1] != rows:
            wanted = (state.shape[0], rows, state.shape[2])
            raise RuntimeError(f"Expected hidden[0] size {wanted}, got {list(state.shape)}")


class _CpuMode(FunctionMode):
    """Calls every function of torch with the CPU as its device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # The fast way for most calls: a run of a small layer makes dozens.
        kwargs = kwargs or {}
        if "device" not in kwargs and func not in _LOOKED_AT:
            return func(*args, **kwargs)
        if func in _OF_LAYERS:
            _refuse_states_of_other_batch_size(args)
            return func(*args, **kwargs)
        return call_on_cpu(func, args, kwargs, lambda func, args, kwargs: func(*args, **kwargs))


class _ThreadDepth(threading.local):
    """How many blocks of a context manager a thread has entered."""

    depth = 0


_fast_here, _silent_here = _ThreadDepth(), _ThreadDepth()


@contextlib.contextmanager
def _allow_fast_paths() -> Iterator[None]:
    """While the block runs, encoders and attention layers of torch.nn use their fast path, as in the user's own runs.
    Otherwise torch avoids the fast path inside a function mode, and for subclasses of tensors."""
    overrides: Any = torch.overrides
    shipped: Callable[[Any], bool] = overrides.has_torch_function

    def has_other_types(values: Any) -> bool:
        if not _fast_here.depth:
            return bool(shipped(values))
        return any(value is not None and type(value) not in (Tensor, torch.nn.Parameter) for value in values)

    overrides.has_torch_function = has_other_types if _fast_here.depth == 0 else shipped
    _fast_here.depth += 1
    try:
        yield
    finally:
        _fast_here.depth -= 1
        if overrides.has_torch_function is has_other_types:
            overrides.has_torch_function = shipped


def call_on_cpu(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Callable[..., Any]) -> Any:
    """Return `run(func, args, kwargs)` for a function of torch `func`, after each GPU in the arguments is replaced by
    the CPU, so that `func` makes tensors on the CPU. If the call would only move a tensor to a GPU, return this
    tensor."""
    kwargs = dict(kwargs)
    if func is Tensor.cuda:
        return args[0]
    if "device" in kwargs and _is_gpu(kwargs["device"]):
        kwargs["device"] = "cpu"
    if func is Tensor.to and len(args) > 1 and _is_gpu(args[1]):
        # to(device, dtype): without the device there is a dtype left, or nothing to do.
        kinds = [value for value in (*args[2:3], kwargs.get("dtype")) if isinstance(value, torch.dtype)]
        return run(Tensor.to, (args[0], kinds[0]), {}) if kinds else args[0]
    if func is Tensor.type and len(args) > 1 and isinstance(args[1], str):
        args = (args[0], args[1].replace("torch.cuda.", "torch."), *args[2:])
    return run(func, args, kwargs)


def _is_gpu(device: Any) -> bool:
    """Return whether an argument for a device, such as 0 or "cuda:1", names a GPU or a similar device."""
    if isinstance(device, bool):
        return False
    # An int is the index of a GPU; `tensor.get_device()` is -1 on the CPU.
    if isinstance(device, int):
        return True
    if isinstance(device, str):
        return device.split(":")[0] in {"cuda", "mps", "xpu", "hip"}
    return isinstance(device, torch.device) and device.type not in {"cpu", "meta"}


class _SilencedOutput(io.TextIOBase):
    """A stdout that drops the output of threads that run a user's forward. The output of other threads is printed."""

    def __init__(self, shipped: Any) -> None:
        self.shipped = shipped

    def write(self, text: str) -> int:
        return len(text) if _silent_here.depth else self.shipped.write(text)

    def flush(self) -> None:
        if not _silent_here.depth:
            self.shipped.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["shipped"], name)


@contextlib.contextmanager
def silence_stdout_of_thread() -> Iterator[None]:
    """While the block runs, drop what this thread writes to stdout."""
    shipped = sys.stdout
    _silent_here.depth += 1
    mine = None
    if not isinstance(shipped, _SilencedOutput):
        mine = sys.stdout = _SilencedOutput(shipped)
    try:
        yield
    finally:
        _silent_here.depth -= 1
        if mine is not None and sys.stdout is mine:
            sys.stdout = shipped
