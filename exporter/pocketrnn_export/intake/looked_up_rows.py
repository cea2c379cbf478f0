"""Embeddings with `max_norm` whose weight forward reads beside their own look-up.

PyTorch brings a row to the norm when it is looked up, in the weight itself. The copy to export has all rows at the norm
from the start: look-ups are the same. Code that reads the weight otherwise depends on the texts before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.convention import Convention
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu
from pocketrnn_export.module_runs.operations import GIVES_NO_NUMBERS
from pocketrnn_export.module_runs.untouched import untouched
from pocketrnn_export.torch_internals import DispatchMode, flattened, place_in_memory

__all__ = ["refuse_weight_beside_its_look_up", "rows_beyond_their_norm"]

# Rounding of a row that has been brought to its norm.
_ROUNDING: Final = 1e-5
_LOOK_UPS: Final = frozenset({"_embedding_bag", "_embedding_bag_forward_only", "embedding", "embedding_bag"})


def rows_beyond_their_norm(module: nn.Module) -> dict[str, float]:
    """By the path of each embedding that will still change its rows the norm that it brings them to.

    Example:
        >>> rows_beyond_their_norm(nn.Sequential(nn.Embedding(9, 4, max_norm=0.1)))
        {'0': 0.1}
    """
    found = {}
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
            norms = layer.weight.detach().float().norm(float(layer.norm_type), dim=1)
            if bool((norms > layer.max_norm * (1 + _ROUNDING)).any()):
                found[path] = float(layer.max_norm)
    return found


def refuse_weight_beside_its_look_up(
    asked: ModuleFacts, convention: Convention, norms: Mapping[str, float], sizes: Iterable[tuple[int, int]] = ()
) -> None:
    """Refuse a module that reads the weight of such an embedding by anything but its look-up.

    Args:
        asked: the module, which is left as it was.
        convention: how it is called.
        norms: `rows_beyond_their_norm` of the module as it was given.
        sizes: further sizes (texts, tokens) to ask it for.

    Raises:
        ExportError: it does; names the weight.

    Example:
        >>> refuse_weight_beside_its_look_up(asked, convention, rows_beyond_their_norm(module))
    """
    usual = [(asked.rows, width) for pair in asked.tried_widths for width in pair]
    for rows, width in [*usual, *sizes] if norms else []:
        batch = asked.batch(1 if convention.one_text else rows, asked.widths.clip(width))
        with untouched(asked.module):
            layers = {path: asked.module.get_submodule(path) for path in norms}
            for path, layer in layers.items():
                layer.max_norm = norms[path]  # type: ignore[assignment]
            reads = _Reads({place_in_memory(layer.weight): path for path, layer in layers.items()})  # type: ignore[arg-type]
            # A module that fails here is met again, and told, by the proof.
            with contextlib.suppress(Exception, SystemExit), torch.no_grad(), quietly_on_cpu(), reads:
                called_as(convention.function, asked.module, *batch)
        for path in reads.found:
            name = f"{path}.weight".lstrip(".")
            raise ExportError(
                f"forward reads {name} beside the look-up of its embedding, whose max_norm changes a row in place when "
                "a text first holds its word: the answer depends on the texts before.",
                f"Bring all rows to the norm before the export: torch.embedding_renorm_(module.{name}.data, "
                f"torch.arange(len(module.{name})), {norms[path]!r}, {layers[path].norm_type!r}).",
            )


class _Reads(DispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, notes which of the weights an operator reads that is not their look-up.

    Args:
        weights: by their places in memory the paths of their embeddings.
    """

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights, self._brought = weights, set[int]()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        name = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
        given = _places((args, kwargs)) & self._weights.keys()
        result = func(*args, **(kwargs or {}))
        if name == "embedding_renorm_":
            self._brought |= given
        elif name in _LOOK_UPS and given <= self._brought:
            # Each look-up brings its rows to the norm first.
            self._brought -= given
        # A view is read by what reads the view.
        elif not name.startswith(GIVES_NO_NUMBERS) and not given & _places(result):
            self.found += [self._weights[place] for place in sorted(given)]
        return result


def _places(values: Any) -> set[int]:
    tensors = (value for value in flattened(values)[0] if isinstance(value, Tensor))
    return {place_in_memory(tensor) for tensor in tensors if tensor.layout is torch.strided}
