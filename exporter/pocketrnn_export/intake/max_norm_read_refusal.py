"""Refuse a module whose forward reads the weight of an embedding with `max_norm` other than by look-up.

PyTorch renormalizes a row in the weight itself when it is looked up. The copy for the export has all rows renormalized
from the start: look-ups give the same. Code that reads the weight directly depends on earlier texts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.user_frames import run_user_call
from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.torch_internals import DispatchMode, flatten_tree, read_memory_address

# The rounding of a row that was renormalized.
_ROUNDING: Final = 1e-5
_LOOK_UPS: Final = frozenset({"_embedding_bag", "_embedding_bag_forward_only", "embedding", "embedding_bag"})


def find_exceeded_max_norms(module: nn.Module) -> dict[str, float]:
    """Return the `max_norm` of each embedding that has rows with a larger norm. The keys of this dict are the paths of
    the embeddings."""
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
    """Refuse a module that reads the weight of an embedding other than by look-up, if rows of this weight have a larger
    norm than the embedding's `max_norm`.

    Args:
        facts: the module, which is left as it was.
        convention: how it is called.
        exceeded_norms: the embeddings with such rows, as `find_exceeded_max_norms` returns them.
        sizes: more sizes (texts, tokens) to try.
    """
    usual = [(facts.trial_rows, width) for pair in facts.trial_batch_widths for width in pair]
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
                f"forward reads {name} directly. The max_norm of this embedding changes a row in place when a text "
                "first holds its word, so the answer depends on earlier texts.",
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
