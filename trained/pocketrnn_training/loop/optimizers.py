"""Make the optimizers of a classifier; store and restore their state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier, RecurrentClassifier

__all__ = ["RowAdam", "copy_state_tensors", "make_optimizers", "restore_state_tensors"]


_WEIGHT_DECAY: Final = 0.01


class RowAdam(torch.optim.Optimizer):
    """Adam without momentum, for a sparse gradient: it changes only the rows that a batch used.

    It computes the same as SparseAdam with betas of (0, `beta`), but sorts the ids of a batch only once, where
    SparseAdam makes several sparse tensors in each step and sorts again for some of them.
    """

    def __init__(self, weight: Tensor, lr: float, beta: float = 0.999, eps: float = 1e-8) -> None:
        """Prepare to optimize `weight`, which has sparse gradients, with the learning rate `lr`."""
        super().__init__([weight], {"lr": lr, "beta": beta, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update the rows that have a gradient. `closure` is not used."""
        group = self.param_groups[0]
        (weight,) = group["params"]
        state = self.state[weight]
        if not state:
            state |= {"step": torch.tensor(0.0), "exp_avg_sq": torch.zeros_like(weight)}
        state["step"] += 1
        ids, of_row = weight.grad._indices()[0].unique(return_inverse=True)  # `indices()` would sort them too
        values = weight.grad._values()
        gradient = values.new_zeros(len(ids), values.size(1)).index_add_(0, of_row, values)
        squares = state["exp_avg_sq"].index_select(0, ids)
        squares.mul_(group["beta"]).addcmul_(gradient, gradient, value=1 - group["beta"])
        state["exp_avg_sq"].index_copy_(0, ids, squares)
        rate = group["lr"] * (1 - group["beta"] ** state["step"].item()) ** 0.5
        rows = weight.index_select(0, ids).addcdiv_(gradient, squares.sqrt_().add_(group["eps"]), value=-rate)
        weight.index_copy_(0, ids, rows)


def make_optimizers(module: AnyClassifier, learning_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Make the optimizers: `RowAdam` for each table of the embedding, AdamW for all other weights."""
    if not isinstance(module, RecurrentClassifier):
        return (_make_adamw(list(module.parameters()), learning_rate),)
    # A batch of 64 texts reads some 900 of 15,000 rows of the embedding; Adam over all rows takes most of a step.
    #
    # The embedding has no momentum. Momentum spreads the update of a row over the ten steps after it was read, but a
    # sparse optimizer skips the steps that do not read the row, so that rare words hardly learn. Figures in
    # docs/training.md.
    module.embedding.sparse = True
    others = [parameter for name, parameter in module.named_parameters() if not name.startswith("embedding.")]
    dense = _make_adamw(others, learning_rate)
    return *(RowAdam(table, learning_rate) for table in module.embedding.parameters()), dense


def _make_adamw(parameters: list[torch.nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=_WEIGHT_DECAY, fused=True)


def copy_state_tensors(module: AnyClassifier, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Copy the weights and the state of the optimizers to the CPU, by name. `restore_state_tensors` restores them."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{parameter}.{name}": torch.as_tensor(v) for name, v in state.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def restore_state_tensors(
    tensors: Mapping[str, Tensor], module: AnyClassifier, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Restore the weights and the state of the optimizers from the tensors of `copy_state_tensors`."""
    module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                parameter, member = name.split(".", 3)[2:]
                state.setdefault(int(parameter), {})[member] = tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
