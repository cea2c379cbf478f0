"""Copy a user's module for the export: in float32 and eval mode, on the CPU, with plain tensors as weights. Refuse
TorchScript with initial states of a fixed batch size.

A call of such TorchScript with another batch size may end the process. PyTorch checks an initial state in Python. A
trace has no such check: `weight.new(2, x.size(0), 10).zero_()` became a constant of the example's batch, and a run of
another batch reads beyond it (SIGSEGV, SIGBUS or SIGABRT).
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.intake.float32_conversion import convert_to_float32, find_layer_tensors
from pocketrnn_export.intake.torchscript_saving_and_loading import load_from_bytes, save_to_bytes
from pocketrnn_export.intake.traceable_torchscript import make_traceable_module
from pocketrnn_export.module_runs.complete_deep_copy import make_complete_copy
from pocketrnn_export.module_runs.quiet_cpu_run import set_eval_mode
from pocketrnn_export.module_runs.state_restoration import undo_changes_to_module
from pocketrnn_export.torch_internals import (
    get_submodule_dict,
    read_flat_weights,
    read_own_forward_pre_hooks,
    unwrap_compiled_module,
    update_flat_weights,
)


def copy_for_export(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the CPU, in float32 and eval mode. The original module is not changed.

    Weights that a parametrization computes in every run (weight norm, spectral norm) become plain ones with their
    values in eval mode.

    Raises:
        ExportError: a weight of the module has no value, or the module cannot be copied.
    """
    undo_changes_to_module()
    module = unwrap_module(module)
    _refuse_lazy_and_meta_tensors(module)
    refuse_fixed_states(module)
    try:
        with torch.no_grad():
            made = set_eval_mode(copy_module(module))
            if not isinstance(made, torch.jit.ScriptModule):
                made.requires_grad_(False)
            _refuse_outdated_weights(made)
            made = convert_to_float32(made)
            for layer in list(made.modules()):
                _replace_computed_weights(layer)
                _renormalize_embedding(layer)
                for tensor in () if isinstance(layer, torch.jit.ScriptModule) else find_layer_tensors(layer):
                    # Layers in a plain list are not children; torch.jit.trace refuses weights that need gradients.
                    tensor.requires_grad_(False)
            return made
    except PocketRNNError:
        raise
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"The module cannot be copied: {type(error).__name__}: {first_line(error)}.",
            "Remove from the module the attributes that copy.deepcopy cannot copy, such as open files.",
        ) from error


def copy_module(module: nn.Module) -> nn.Module:
    """Return a deep copy of a module. TorchScript is copied by saving and loading it, and tensors with a grad_fn are
    detached."""
    if isinstance(module, torch.jit.ScriptModule):
        # deepcopy of a ScriptModule copies its tensors under autograd, and then warns about them.
        return load_from_bytes(save_to_bytes(module))
    # The memo of `deepcopy`: objects that are copied already.
    known: dict[int, Any] = {}
    for layer in module.modules():
        if isinstance(layer, torch.jit.ScriptModule):
            known.setdefault(id(layer), None)
            known[id(layer)] = known[id(layer)] or load_from_bytes(save_to_bytes(layer))
        else:
            known |= {
                id(tensor): tensor.detach().clone()
                for tensor in find_layer_tensors(layer)
                # deepcopy refuses results of autograd.
                if not tensor.is_leaf and id(tensor) not in known
            }
    return make_complete_copy(module, known)


def has_torchscript(module: nn.Module) -> bool:
    """Return whether the module or one of its layers is TorchScript."""
    return any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules())


def replace_torchscript(module: nn.Module) -> nn.Module:
    """Return a copy of a module in which each TorchScript module is replaced by a Python module that can be traced.

    Raises:
        ExportError: the weights or the control flow of a TorchScript module depend on its input.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return make_traceable_module(module)
    module = copy_module(module)
    for layer in list(module.modules()):
        if isinstance(layer, torch.jit.ScriptModule):
            continue
        for name, part in layer.named_children():
            if isinstance(part, torch.jit.ScriptModule):
                get_submodule_dict(layer)[name] = make_traceable_module(part)
    return module


def unwrap_module(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of nn.DataParallel and torch.compile."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return unwrap_compiled_module(module)


def _refuse_lazy_and_meta_tensors(module: nn.Module) -> None:
    """Raise an ExportError if a parameter or buffer of a module has no shape yet, or no values."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(tensor):
            raise ExportError(
                f"The module's tensor {name} has no shape yet, because a lazy layer takes the shape from its first "
                "input.",
                "Run the module once, or load its weights, before the export.",
            )
        if tensor.is_meta:
            raise ExportError(
                f"The module's tensor {name} is on the meta device, where tensors have no values.",
                "Give it values first: module.to_empty(device='cpu'), then module.load_state_dict(...).",
            )


def _refuse_outdated_weights(module: nn.Module) -> None:
    """Raise an ExportError if a recurrent layer still computes with the weights from before a parametrization, such as
    weight_norm, was added or changed."""
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase) or not parametrize.is_parametrized(layer):
            continue
        for name, used in read_flat_weights(layer):
            given = getattr(layer, name)
            if isinstance(used, Tensor) and not torch.allclose(used.to(given.device), given, rtol=1e-5, atol=1e-6):
                raise ExportError(
                    f"The module's layer {path or 'forward'} computes with an outdated {name}: a parametrization, "
                    "such as weight_norm, was added or changed later.",
                    "Call module.cpu(), so that PyTorch reads the new weights, and check the module's answers again.",
                )


def _renormalize_embedding(layer: nn.Module) -> None:
    """Scale every row of an embedding with `max_norm` to that norm, as PyTorch does when it looks up a row."""
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
        rows = torch.arange(layer.num_embeddings)
        torch.embedding_renorm_(layer.weight, rows, float(layer.max_norm), float(layer.norm_type))
        layer.max_norm = None


def _replace_computed_weights(layer: nn.Module) -> None:
    """Replace the weights that a parametrization or a hook computes by plain weights with the same values, in place."""
    if isinstance(layer, torch.jit.ScriptModule):
        return
    registered = read_own_forward_pre_hooks(layer)
    hooks = {key: hook for key, hook in registered.items() if isinstance(hook, WeightNorm | SpectralNorm)}
    values: dict[str, Tensor] = {}
    if parametrize.is_parametrized(layer):
        names = list(layer.parametrizations)  # type: ignore[arg-type]
        values = {name: getattr(layer, name).detach().clone() for name in names}
        if not all(torch.equal(value, getattr(layer, name)) for name, value in values.items()):
            # The weights are random in each call: the check for reproducible answers reports it.
            return
        # Not remove_parametrizations: it removes the property from a class that the user's module shares.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
    for key, hook in hooks.items():
        del registered[key]
        hook.remove(layer)
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
    if (hooks or values) and isinstance(layer, nn.RNNBase):
        update_flat_weights(layer)
    layer.requires_grad_(False)


# Operators with an initial state: their second input, or the third for packed rows, after the batch sizes.
_LAYERS: Final = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})


def refuse_fixed_states(module: nn.Module) -> None:
    """Raise an ExportError if a TorchScript module, or a part of it, has an initial state that does not depend on an
    input: such a state works for one batch size only."""
    for path, layer in module.named_modules():
        if not isinstance(layer, torch.jit.ScriptModule) or not hasattr(layer, "inlined_graph"):
            continue
        try:
            graph = layer.inlined_graph
        # A part without a forward of its own.
        except RuntimeError:
            continue
        own = next(iter(graph.inputs()), None)
        for kind in _LAYERS:
            for node in graph.findAllNodes(kind, True):  # type: ignore[attr-defined]
                states = list(node.inputs())[2 if "batch_sizes" in node.schema() else 1]
                if not _depends_on_input(states, own):
                    raise ExportError(
                        f"The {kind.removeprefix('aten::').upper()} in the TorchScript {path or 'module'} has an "
                        "initial state for a fixed number of texts. With another number, it reads memory beyond "
                        "this state, and may end the process.",
                        "Export the Python module. Or trace it again with a state of torch.zeros for x.size(0) texts.",
                    )


def _depends_on_input(value: Any, module_value: Any) -> bool:
    """Return whether a value in a graph is computed from an input. `module_value`, the module itself, does not count as
    an input."""
    waiting, met = [value], set[str]()
    while waiting:
        current = waiting.pop()
        if current.debugName() in met:
            continue
        met.add(current.debugName())
        node = current.node()
        if module_value is not None and current.debugName() == module_value.debugName():
            continue
        # An input, or the output of a loop or a branch: not followed.
        if node.kind() in {"prim::Param", "prim::If", "prim::Loop", "prim::CallMethod"}:
            return True
        waiting += node.inputs()
    return False
