"""A user's module, copied to export it: in float32 and eval mode, on the CPU, its weights plain tensors."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.intake.as_given import brought_to_float32
from pocketrnn_export.intake.torchscript_file import read_back, saved
from pocketrnn_export.intake.torchscript_states import refuse_fixed_states
from pocketrnn_export.intake.traceable_torchscript import module_of
from pocketrnn_export.module_runs.cpu_run import in_eval_mode
from pocketrnn_export.module_runs.whole_copy import whole_copy
from pocketrnn_export.torch_internals import (
    compiled_from,
    flat_weights,
    forward_pre_hooks_of,
    parts_of,
    renew_flat_weights,
)

__all__ = [
    "copied",
    "copied_for_export",
    "holds_torchscript",
    "kept_tensors",
    "unwrapped",
    "with_traceable_parts",
]


def copied_for_export(module: nn.Module) -> nn.Module:
    """A copy in float32 and eval mode, on the CPU. The module is left as it was.

    Weights that a reparametrization computes anew for every run (weight norm, spectral norm) become plain ones, of the
    values that they have in eval mode.

    Raises:
        ExportError: the module holds a weight without a value, or cannot be copied.

    Example:
        >>> copied_for_export(module).training
        False
    """
    module = unwrapped(module)
    _refuse_missing_values(module)
    refuse_fixed_states(module)
    try:
        with torch.no_grad():
            made = in_eval_mode(copied(module))
            if not isinstance(made, torch.jit.ScriptModule):
                made.requires_grad_(False)
            _refuse_old_weights(made)
            made = brought_to_float32(made, kept_tensors)
            for layer in list(made.modules()):
                _make_weights_plain(layer)
                _renormalise(layer)
                for tensor in () if isinstance(layer, torch.jit.ScriptModule) else kept_tensors(layer):
                    # Layers in a plain list are not children, and a trace for TorchScript takes no such weight.
                    tensor.requires_grad_(False)
            return made
    except PocketRNNError:
        raise
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"The module cannot be copied: {type(error).__name__}: {first_line(error)}.",
            "Keep in the module only what copy.deepcopy can copy.",
        ) from error


def copied(module: nn.Module) -> nn.Module:
    """A deep copy. TorchScript in it is copied by way of its file, and a tensor with a gradient's history without it.

    Example:
        >>> copied(module) is module
        False
    """
    if isinstance(module, torch.jit.ScriptModule):
        # torch copies the tensors of a ScriptModule within autograd, and then warns of what it did.
        return read_back(saved(module))
    # The objects that `deepcopy` takes as copied already.
    known: dict[int, Any] = {}
    for layer in module.modules():
        if isinstance(layer, torch.jit.ScriptModule):
            known.setdefault(id(layer), None)
            known[id(layer)] = known[id(layer)] or read_back(saved(layer))
        else:
            known |= {id(tensor): tensor.detach().clone() for tensor in _computed(layer) if id(tensor) not in known}
    return whole_copy(module, known)


def holds_torchscript(module: nn.Module) -> bool:
    """Whether the module is TorchScript, or a part of it is."""
    return any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules())


def with_traceable_parts(module: nn.Module) -> nn.Module:
    """A copy whose TorchScript, all or parts, is read back as modules that can be traced.

    Raises:
        ExportError: a part's weights or control flow are not known before it runs.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return module_of(module)
    module = copied(module)
    for layer in list(module.modules()):
        if isinstance(layer, torch.jit.ScriptModule):
            continue
        for name, part in layer.named_children():
            if isinstance(part, torch.jit.ScriptModule):
                parts_of(layer)[name] = module_of(part)
    return module


def unwrapped(module: nn.Module) -> nn.Module:
    """The module in what nn.DataParallel and torch.compile put around it."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return compiled_from(module)


def _refuse_missing_values(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(tensor):
            raise ExportError(
                f"The module's {name} has no shape yet: its layer takes it from the first input.",
                "Run the module once, or load its weights, and export it then.",
            )
        if tensor.is_meta:
            raise ExportError(
                f"The module's {name} is on the meta device, where tensors have no values.",
                "Give it values first: module.to_empty(device='cpu'), then module.load_state_dict(...).",
            )


def _refuse_old_weights(module: nn.Module) -> None:
    """Refuse a recurrent layer that PyTorch runs with other weights than those that its parametrizations give."""
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase) or not parametrize.is_parametrized(layer):
            continue
        for name, used in flat_weights(layer):
            given = getattr(layer, name)
            if isinstance(used, Tensor) and not torch.allclose(used.to(given.device), given, rtol=1e-5, atol=1e-6):
                raise ExportError(
                    f"The module's layer {path or 'forward'} still runs with the {name} from before its "
                    "parametrization was added or changed.",
                    "Call module.cpu() and check the module's answers: PyTorch takes the weights anew then.",
                )


def _computed(layer: nn.Module) -> Iterator[Tensor]:
    """The tensors in a layer that autograd computed, which `deepcopy` refuses: a state that training left on the module
    is often a tuple or a list of tuples."""
    return (tensor for tensor in kept_tensors(layer) if not tensor.is_leaf)


def kept_tensors(layer: nn.Module) -> Iterator[Tensor]:
    """The tensors on a layer, in whatever holds them, such as a plain list of layers; not those of its children."""
    waiting, met = [value for value in vars(layer).values() if value is not parts_of(layer)], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
            waiting += vars(value).values()
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset | deque):
            waiting += value
        elif dataclasses.is_dataclass(value) or type(value) is SimpleNamespace:
            waiting += vars(value).values() if hasattr(value, "__dict__") else ()


def _renormalise(layer: nn.Module) -> None:
    """Apply `max_norm` to every row of an embedding at once. PyTorch does it in place to the rows that it looks up, in
    eval mode too, and a row that has been brought to the norm stays as it is."""
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
        rows = torch.arange(layer.num_embeddings)
        torch.embedding_renorm_(layer.weight, rows, float(layer.max_norm), float(layer.norm_type))
        layer.max_norm = None


def _make_weights_plain(layer: nn.Module) -> None:
    if isinstance(layer, torch.jit.ScriptModule):
        return
    registered = forward_pre_hooks_of(layer)
    hooks = {key: hook for key, hook in registered.items() if isinstance(hook, WeightNorm | SpectralNorm)}
    values: dict[str, Tensor] = {}
    if parametrize.is_parametrized(layer):
        names = list(layer.parametrizations)  # type: ignore[arg-type]
        values = {name: getattr(layer, name).detach().clone() for name in names}
        if not all(torch.equal(value, getattr(layer, name)) for name, value in values.items()):
            # Drawn anew each time: the check that answers are reproducible says so.
            return
        # Not remove_parametrizations: it takes the property off a class that the user's module shares.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
    for key, hook in hooks.items():
        del registered[key]
        hook.remove(layer)
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
    if (hooks or values) and isinstance(layer, nn.RNNBase):
        renew_flat_weights(layer)
    layer.requires_grad_(False)
