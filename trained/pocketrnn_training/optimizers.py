"""The optimizers of a classifier, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pocketrnn_training.architecture import RecurrentClassifier

__all__ = ["optimizers_for", "restore", "state_tensors"]


def optimizers_for(module: RecurrentClassifier, learning_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Adam for the embedding, which changes only the rows that a batch read, and Adam for the other weights."""
    # A batch of 16 texts reads some 400 of 50,000 rows of the embedding: SparseAdam trains 1,300 rows/s on one core
    # where Adam over all rows trains 350.
    #
    # Without momentum on the embedding: momentum spreads the change of a row over the ten steps after it was read, and
    # SparseAdam skips steps that do not read the row, so that rare words hardly learn. Figures in docs/training.md.
    module.embedding.sparse = True
    others = [parameter for name, parameter in module.named_parameters() if not name.startswith("embedding.")]
    return (
        torch.optim.SparseAdam([module.embedding.weight], lr=learning_rate, betas=(0.0, 0.999)),
        torch.optim.Adam(others, lr=learning_rate, fused=True),
    )


def state_tensors(module: RecurrentClassifier, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Copies of the weights and of the optimizers' state, on the CPU, each under a name; `restore` takes them back."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{parameter}.{name}": torch.as_tensor(v) for name, v in state.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def restore(
    tensors: Mapping[str, Tensor], module: RecurrentClassifier, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Put the tensors of `state_tensors` back into the module and the optimizers."""
    module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor | int]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                parameter, member = name.split(".", 3)[2:]
                # SparseAdam counts its steps in a Python number, Adam in a tensor.
                is_number = isinstance(optimizer, torch.optim.SparseAdam) and member == "step"
                state.setdefault(int(parameter), {})[member] = int(tensor.item()) if is_number else tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
