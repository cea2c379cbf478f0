"""Refuse modules with replaced layers, batch statistics or sparse tensors before they are called, and find weights that
are not finite. Refuse a module whose forward reads the weight of an embedding with `max_norm` other than by look-up.

PyTorch renormalizes a row in the weight itself when it is looked up. The copy for the export has all rows renormalized
from the start: look-ups give the same. Code that reads the weight directly depends on earlier texts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.torch_internals import BatchNorm, DispatchMode, flatten_tree, read_memory_address

# Layers that the exporter knows by their class.
_LAYERS: Final = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Embedding", "EmbeddingBag", "Linear")

# The most rows of a weight that a message names.
_MOST_ROWS: Final = 5


def refuse_unsafe_layers(module: nn.Module) -> None:
    """Raise an error if a class of torch.nn was replaced, if a layer computes with all texts of the batch, or if a
    tensor is sparse.

    Raises:
        ExportError: a class of torch.nn is replaced; a batch normalisation has no running statistics; or a tensor is
            sparse.
    """
    _refuse_replaced_layers()
    _refuse_batch_statistics(module)
    _refuse_sparse_tensors(module)


def _refuse_replaced_layers() -> None:
    """Raise an ExportError if the user's code has replaced a class of torch.nn, as in `nn.GRU = MyGRU`."""
    for name in _LAYERS:
        kind = getattr(nn, name)
        if kind.__module__.partition(".")[0] != "torch":
            raise ExportError(
                f"torch.nn.{name} is no longer PyTorch's class: your code has replaced it by {kind.__name__}.",
                f"Use {kind.__name__} by its own name where the module is made, and do not assign to torch.nn.{name}.",
            )


def _refuse_batch_statistics(module: nn.Module) -> None:
    """Raise an ExportError for a batch normalisation without running statistics: it computes with all texts of the
    batch."""
    for path, layer in module.named_modules():
        if isinstance(layer, BatchNorm) and layer.running_mean is None:
            raise ExportError(
                f"The module's {path or 'forward'} is a {type(layer).__name__} without running statistics, so the "
                "module answers a text differently beside other texts in its batch.",
                "Train it with track_running_stats=True, or use nn.LayerNorm in its place.",
            )


def _refuse_sparse_tensors(module: nn.Module) -> None:
    """Raise an ExportError if a module holds a sparse tensor."""
    for path, layer in module.named_modules():
        own = {} if isinstance(layer, torch.jit.ScriptModule) else vars(layer)
        weights = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, value in [*own.items(), *weights]:
            if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
                raise ExportError(
                    f"The module's {path}{'.' * bool(path)}{name} is a sparse tensor, but ONNX has only dense ones.",
                    f"Convert it to a dense tensor, {name}.to_dense(), before the export.",
                )


def list_nonfinite_weights(module: nn.Module) -> list[str]:
    """Return a phrase for each weight that has infinite numbers or NaN: its name, with the rows in which they are."""
    found = []
    for name, weight in module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            # A single number has one row.
            odd = ~torch.isfinite(weight.detach().reshape(weight.shape or (1,)))
            rows = odd.reshape(len(odd), -1).any(1).nonzero().flatten().tolist()
            shown = ", ".join(map(str, rows[:_MOST_ROWS])) + ", ..." * (len(rows) > _MOST_ROWS)
            found.append(f"{name} (in {len(rows):,} of its {len(odd):,} rows, from 0: {shown})")
    return found


def set_nonfinite_weights_to_zero(module: nn.Module) -> list[str]:
    """Set infinite numbers and NaN in weights to 0. Return a phrase for each of these weights: its name, with the rows
    that had such numbers."""
    found = list_nonfinite_weights(module)
    for weight in module.parameters() if found else ():
        if weight.is_floating_point():
            weight.data.copy_(torch.nan_to_num(weight.data, 0.0, 0.0, 0.0))
    return found


def make_nonfinite_weights_error(weights: Sequence[str]) -> ExportError:
    """Make the error for a module that reads weights which are infinite or NaN."""
    return ExportError(
        f"The module's weight {weights[0]} holds a number that is not finite.",
        "Train the module again, or correct the weight; if minus infinity marks what is not allowed, use -1e4.",
    )


# The rounding of a row that was renormalized.
_ROUNDING: Final = 1e-5
_LOOK_UPS: Final = frozenset({"_embedding_bag", "_embedding_bag_forward_only", "embedding", "embedding_bag"})


def find_exceeded_max_norms(module: nn.Module) -> dict[str, float]:
    """Find the embeddings that have rows with a norm larger than their `max_norm`. Return a dict from the path of each
    such embedding to its `max_norm`."""
    found = {}
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
            norms = layer.weight.detach().float().norm(float(layer.norm_type), dim=1)
            if bool((norms > layer.max_norm * (1 + _ROUNDING)).any()):
                found[path] = float(layer.max_norm)
    return found


def refuse_direct_weight_reads(
    facts: ModuleFacts,
    convention: Convention,
    exceeded_norms: Mapping[str, float],
    sizes: Iterable[tuple[int, int]] = (),
) -> None:
    """Raise an ExportError if a module reads the weight of an embedding directly, and not only by look-ups, and rows of
    this weight have a larger norm than the embedding's `max_norm`.

    Args:
        facts: the module, which is not changed.
        convention: how the module is called.
        exceeded_norms: a dict from the path of each embedding with such rows to its `max_norm`.
        sizes: more sizes (texts, tokens) to try.
    """
    usual = [(facts.trial_rows, width) for pair in facts.trial_widths for width in pair]
    for rows, width in [*usual, *sizes] if exceeded_norms else []:
        batch = facts.draw_batch(1 if convention.one_text else rows, facts.widths.clip(width))
        with restore_module(facts.module):
            layers = {path: facts.module.get_submodule(path) for path in exceeded_norms}
            for path, layer in layers.items():
                layer.max_norm = exceeded_norms[path]  # type: ignore[assignment]
            reads = _WeightReadRecorder({read_memory_address(layer.weight): path for path, layer in layers.items()})  # type: ignore[arg-type]
            # A module that fails here also fails in the proof, which reports it.
            with contextlib.suppress(Exception, SystemExit), torch.no_grad(), run_quietly_on_cpu(), reads:
                run_user_call(convention.function, facts.module, *batch)
        for path in reads.found:
            name = f"{path}.weight".lstrip(".")
            raise ExportError(
                f"forward reads {name} directly, but `max_norm` changes a row of it in place when a text first "
                "contains its word. The answer thus depends on earlier texts.",
                f"Limit all rows to the norm before the export: torch.embedding_renorm_(module.{name}.data, "
                f"torch.arange(len(module.{name})), {exceeded_norms[path]!r}, {layers[path].norm_type!r}).",
            )


class _WeightReadRecorder(DispatchMode):  # type: ignore[no-untyped-call]
    """Records the weights that an operator other than the look-up reads inside the block.

    Args:
        weights: the paths of the embeddings, by the memory places of their weights.
    """

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights, self._brought = weights, set[int]()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
        given = _list_memory_addresses((args, kwargs)) & self._weights.keys()
        result = func(*args, **(kwargs or {}))
        if name == "embedding_renorm_":
            self._brought |= given
        elif name in _LOOK_UPS and given <= self._brought:
            # Each look-up renormalizes its rows first.
            self._brought -= given
        # Making a view does not read the weight.
        elif not name.startswith(GIVES_NO_NUMBERS) and not given & _list_memory_addresses(result):
            self.found += [self._weights[place] for place in sorted(given)]
        return result


def _list_memory_addresses(values: Any) -> set[int]:
    tensors = (value for value in flatten_tree(values)[0] if isinstance(value, Tensor))
    return {read_memory_address(tensor) for tensor in tensors if tensor.layout is torch.strided}
