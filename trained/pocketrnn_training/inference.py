"""What a module answers for many encoded texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn_training.architecture import RecurrentClassifier
from pocketrnn_training.batches import EncodedTexts

__all__ = ["answer", "logits_of"]

_PACKED_BATCH = 256


def answer(module: RecurrentClassifier, texts: EncodedTexts, rows: npt.NDArray[np.int64], device: str) -> Tensor:
    """The logits of one batch of rows, float32 [batch, classes], on `device`."""
    tokens, lengths = texts.batch(rows, module.architecture.padding_id)
    on_device = torch.from_numpy(tokens).to(device)
    if not module.architecture.packed:
        logits: Tensor = module(on_device)
    else:
        logits = module(on_device, torch.from_numpy(lengths).to(device))
    return logits


def logits_of(module: RecurrentClassifier, texts: EncodedTexts, batch_size: int, device: str = "cpu") -> Tensor:
    """The logits of every row, in the order of the rows, without gradients and in evaluation mode.

    A packed classifier reads rows of similar length together, which changes no answer. One that is not packed is asked
    as it was trained: batches of `batch_size` rows in the order they stand in, each padded to its longest, so that what
    padding does to its answers shows.

    Args:
        module: the classifier; left in evaluation mode.
        texts: the rows.
        batch_size: how many rows a batch had when the classifier was trained; a packed one does not need it.
        device: where the module is.

    Returns:
        float32 [rows, classes], on the CPU.
    """
    lengths = texts.lengths
    if module.architecture.packed:
        order, size = np.argsort(lengths, kind="stable"), _PACKED_BATCH
    else:
        order, size = np.arange(len(lengths)), batch_size
    module.eval()
    logits = torch.empty(len(lengths), module.architecture.classes)
    with torch.inference_mode():
        for rows in _in_pieces(order, size):
            logits[torch.from_numpy(rows)] = answer(module, texts, rows, device).cpu()
    return logits


def _in_pieces(rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
