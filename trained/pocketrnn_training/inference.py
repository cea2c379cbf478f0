"""The logits of a module for many encoded texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn_training.architecture import Architecture, RecurrentClassifier
from pocketrnn_training.batches import EncodedTexts

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["batch_of", "logits_of"]

_PACKED_BATCH: Final = 256


def batch_of(
    texts: EncodedTexts, rows: npt.NDArray[np.int64], architecture: Architecture, device: torch.device
) -> tuple[Tensor, Tensor]:
    """One batch of rows on `device`: tokens int64 [batch, sequence], lengths int64 [batch]."""
    tokens, lengths = texts.batch(rows, architecture.padding_id)
    return torch.from_numpy(tokens).to(device), torch.from_numpy(lengths).to(device)


def logits_of(
    module: RecurrentClassifier, texts: EncodedTexts, batch_size: int, fabric: Fabric | None = None
) -> Tensor:
    """The logits of every row, in the order of the rows, without gradients and in evaluation mode.

    A packed classifier reads rows of similar length together, which changes no answer. One that is not packed is run
    as it was trained: batches of `batch_size` rows, in the order of the rows, each padded to its longest. This shows
    what padding does to its answers.

    Args:
        module: the classifier; left in evaluation mode.
        texts: the rows.
        batch_size: the batch size of the training; not used for a packed classifier.
        fabric: the device of the module, if it is not the CPU. Each of several processes computes a part, and all get
            the result.

    Returns:
        float32 [rows, classes], on the CPU.
    """
    lengths = texts.lengths
    packed = module.architecture.packed
    if packed:
        order, size = np.argsort(lengths, kind="stable"), _PACKED_BATCH
    else:
        order, size = np.arange(len(lengths)), batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    device = torch.device("cpu") if fabric is None else fabric.device
    module.eval()
    logits = torch.zeros(len(lengths), module.architecture.classes)
    with torch.inference_mode():
        for rows in batches if fabric is None else batches[fabric.global_rank :: fabric.world_size]:
            tokens, row_lengths = batch_of(texts, rows, module.architecture, device)
            logits[torch.from_numpy(rows)] = (module(tokens, row_lengths) if packed else module(tokens)).cpu()
    if fabric is not None and fabric.world_size > 1:
        logits = fabric.all_reduce(logits.to(device), reduce_op="sum").cpu()  # type: ignore[union-attr]
    return logits.clone()
