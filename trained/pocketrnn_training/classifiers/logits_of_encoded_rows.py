"""Compute the logits of a module for many encoded rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import TextEncoder
from pocketrnn.text.pairs import PairEncoder
from pocketrnn_training.classifiers.architecture import AnyArchitecture, labels_tokens
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier
from pocketrnn_training.rows.encoded_rows import EncodedRows, EncodedSequences, EncodedTexts

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["compute_logits", "encode_rows", "make_batch"]

_PACKED_BATCH: Final = 256


def encode_rows(inputs: Iterable[Any], checkpoint: Checkpoint) -> EncodedRows:
    """Encode inputs for the module of a checkpoint: texts as token ids, sequences of numbers as scaled samples.

    `inputs` are texts, pairs of texts or sequences of numbers, whichever the classifier reads.
    """
    if isinstance(checkpoint.rules, NumberInput):
        return EncodedSequences.from_sequences(inputs, checkpoint.rules)
    encoder = PairEncoder if checkpoint.two_texts else TextEncoder
    return EncodedTexts.from_texts(inputs, encoder(checkpoint.rules, checkpoint.vocabulary))


def make_batch(
    encoded: EncodedRows, rows: npt.NDArray[np.int64], architecture: AnyArchitecture, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Make a padded batch of the rows whose numbers are `rows`, int64 [batch], on `device`.

    Returns:
        Token ids int64 [batch, sequence] or samples float32 [batch, time, channels]; and the lengths, int64 [batch].
    """
    inputs, lengths = encoded.batch(rows, architecture.padding_value)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(lengths).to(device)


def compute_logits(
    module: AnyClassifier, encoded: EncodedRows, batch_size_if_padded: int, fabric: Fabric | None = None
) -> Tensor:
    """Compute the logits of every row, in order, without gradients and in evaluation mode.

    A packed classifier reads rows of similar length together. If the classifier is not packed, its answers depend on
    the padding of a batch, so that the rows are read in their order, in batches of the training batch size.

    Args:
        module: the classifier; it stays in evaluation mode.
        encoded: the rows.
        batch_size_if_padded: the batch size of the training; not used for a packed classifier.
        fabric: the device of the module and the processes; None for the CPU. Each of several processes computes some
            of the logits, and all processes get all logits.

    Returns:
        float32 [rows, classes], on the CPU; if the classifier labels each token, [tokens of all rows, classes].
    """
    lengths = encoded.lengths
    packed = module.architecture.packed
    if packed:
        order, size = np.argsort(lengths, kind="stable"), _PACKED_BATCH
    else:
        order, size = np.arange(len(lengths)), batch_size_if_padded
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    device = torch.device("cpu") if fabric is None else fabric.device
    module.eval()
    of_tokens = labels_tokens(module.architecture)
    logits = torch.zeros(int(lengths.sum()) if of_tokens else len(lengths), module.architecture.classes)
    with torch.inference_mode():
        for rows in batches if fabric is None else batches[fabric.global_rank :: fabric.world_size]:
            inputs, row_lengths = make_batch(encoded, rows, module.architecture, device)
            answers = (module(inputs, row_lengths) if packed else module(inputs)).cpu()
            if of_tokens:
                steps = np.arange(answers.size(1))
                is_real = steps < lengths[rows, None]
                places, answers = (encoded.offsets[rows, None] + steps)[is_real], answers[torch.from_numpy(is_real)]
            else:
                places = rows
            logits[torch.from_numpy(places)] = answers
    if fabric is not None and fabric.world_size > 1:
        logits = fabric.all_reduce(logits.to(device), reduce_op="sum").cpu()  # type: ignore[union-attr]
    return logits.clone()
