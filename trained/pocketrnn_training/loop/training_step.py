"""One training step: read a batch of rows, compute its gradient, and update the weights. Make the optimizers of a
classifier, and store and restore their state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pocketrnn_training.classifiers.architecture import AnyArchitecture, Architecture
from pocketrnn_training.classifiers.logits_of_encoded_rows import make_batch
from pocketrnn_training.classifiers.recurrent_classifiers import (
    AnyClassifier,
    RecurrentClassifier,
    build_classifier,
    get_crf_layer,
)
from pocketrnn_training.measures.logit_measures import compute_label_log_odds
from pocketrnn_training.preparation.distillation import TeacherBatch, compute_summed_student_loss
from pocketrnn_training.preparation.prepared_data import IGNORED, Task
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.texts import word_vectors
from pocketrnn_training.texts.spelling_embedding import SpelledEmbedding

__all__ = [
    "Learner",
    "LossAndLogits",
    "RowAdam",
    "TrainingBatch",
    "copy_state_tensors",
    "make_optimizers",
    "read_batch_of_this_process",
    "restore_state_tensors",
]


@dataclass(frozen=True)
class TrainingBatch:
    """The rows of one batch that this process trains on, on its device.

    Attributes:
        inputs: tokens int64 [rows, sequence], or samples float32 [rows, time, channels].
        lengths: int64 [rows], or None if the classifier does not read them.
        targets: int64 [rows], or bool [rows, labels]; for a tagger, int64 [rows * sequence], with -100 for a token
            without a target.
        lesson: a teacher's answers for the rows; None without a teacher.
        rows: the number of rows of the whole batch, over all processes.
        answers: the number of targets of the whole batch: one for each row, or one for each token with a target.
        scale: the factor by which the summed loss of these rows is multiplied, so that the average of the gradients of
            all processes is the gradient of the mean loss of the whole batch; 0 if the rows do not count.
    """

    inputs: Tensor
    lengths: Tensor | None
    targets: Tensor
    lesson: TeacherBatch | None
    rows: int
    answers: int
    scale: float


def read_batch_of_this_process(task: Task, rows: npt.NDArray[np.int64], fabric: Fabric) -> TrainingBatch:
    """Select from a batch the rows that this process trains on, and move them with their targets to its device.

    Args:
        task: the prepared data.
        rows: int64, the row numbers of the whole batch, for all processes.
        fabric: the processes and the device of this one.
    """
    # A batch has fewer rows than processes only at the end of an epoch. A process without rows then computes one row
    # whose result does not count.
    part = rows[fabric.global_rank :: fabric.world_size]
    counts = len(part) > 0
    part = part if counts else rows[:1]
    inputs, lengths = make_batch(task.rows, part, task.architecture, fabric.device)
    targets, teaching = task.select_batch_targets(rows), task.teaching
    if task.several_labels:
        weights = np.ones(len(rows), dtype=np.float32)
    elif teaching is None:
        targets = targets[targets != IGNORED]
        weights = task.class_weights[targets]
    else:
        weights = teaching.row_weights(rows, targets, task.class_weights)
    return TrainingBatch(
        inputs=inputs,
        lengths=lengths if task.architecture.packed else None,
        targets=torch.from_numpy(task.select_batch_targets(part)).to(fabric.device),
        lesson=None if teaching is None else teaching.select_teacher_batch(part, fabric.device),
        rows=len(rows),
        answers=len(targets),
        scale=counts * fabric.world_size / float(weights.sum()),
    )


class LossAndLogits(NamedTuple):
    """The summed loss of the rows of a batch, float32 [], and their logits, float32 [rows, classes].

    The logits of a tagger are [rows * sequence, classes].
    """

    loss: Tensor
    logits: Tensor


class Learner:
    """A classifier in training and its optimizers, on the device of this process.

    The initial weights are those of `task.weights`, or random by the seed. The constructor sets the seed of torch's
    global generator.
    """

    def __init__(
        self, task: Task, settings: Settings, fabric: Fabric, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Build the module and its optimizers.

        `tensors` are the weights and optimizer states of an earlier learner to continue from; None to start anew.
        """
        torch.manual_seed(settings.seed)
        self.module = build_classifier(_remove_linear_part_from_architecture(task.architecture))
        if task.weights is not None:
            self.module.load_state_dict(task.weights)
        elif isinstance(self.module, RecurrentClassifier):
            _initialize_embedding(self.module, task.vectors)
            if task.several_labels:
                _set_bias_to_label_log_odds(self.module, task.targets)
        self._crf = get_crf_layer(self.module)
        if self._crf is not None and task.ruled_out is not None:
            self._crf.forbid_orders(task.ruled_out)
        if task.spelling is not None and isinstance(self.module, RecurrentClassifier):
            self.module.embedding = SpelledEmbedding(self.module.embedding, task.spelling)
        self.module.to(fabric.device)
        self._optimizers = make_optimizers(self.module, settings.learning_rate)
        if tensors is not None:
            restore_state_tensors(tensors, self.module, self._optimizers)
        self._fabric = fabric
        # The module and the optimizers as Fabric runs them: on several devices, in the precision asked for.
        self._fabric_module, *self._fabric_optimizers = fabric.setup(self.module, *self._optimizers)
        self._class_weights = torch.from_numpy(task.class_weights).to(fabric.device)
        self._changes, self._adversarial = task.changes, task.adversarial
        assert settings.label_smoothing is not None  # noqa: S101 - it was decided
        self._smoothing = settings.label_smoothing

    def start_epoch(self, seed: int) -> None:
        """Put the module into training mode, and set the seed of torch's global generator, which draws the dropout."""
        torch.manual_seed(seed)
        self._fabric_module.train()

    def step(self, batch: TrainingBatch, learning_rate: float) -> LossAndLogits:
        """Update the weights with one batch; return the loss and the logits that the batch had before the update."""
        for optimizer in self._fabric_optimizers:
            optimizer.param_groups[0]["lr"] = learning_rate
            optimizer.zero_grad()
        if self._changes is not None:
            batch = replace(batch, inputs=self._changes.augment_batch(batch.inputs, batch.lengths))
        if self._adversarial and isinstance(self.module, RecurrentClassifier):
            loss, logits = self._backpropagate_with_adversarial_shift(batch, self.module)
        else:
            loss, logits = self._backpropagate(batch, None)
        for optimizer in self._fabric_optimizers:
            optimizer.step()
        return LossAndLogits(loss, logits)

    def tensors(self) -> dict[str, Tensor]:
        """Copy the weights and the states of the optimizers to the CPU; return the tensors by name."""
        return copy_state_tensors(self.module, self._optimizers)

    def _backpropagate(self, batch: TrainingBatch, embedding_shift: Tensor | None) -> LossAndLogits:
        """Compute the loss of a batch, and add the gradients of the loss to those of the weights.

        `embedding_shift`, float32 [rows, sequence, embedding_dim], is added to the embeddings; None for no shift.
        """
        more = () if embedding_shift is None else (embedding_shift,)
        logits = self._fabric_module(batch.inputs, batch.lengths, *more)
        flat = logits.flatten(0, -2)
        if self._crf is None:
            loss = compute_summed_student_loss(flat, batch.targets, batch.lesson, self._class_weights, self._smoothing)
        else:
            loss = self._crf.compute_summed_loss(logits, batch.targets.view(logits.shape[:2]))
        self._fabric.backward(loss * batch.scale)
        return LossAndLogits(loss, flat)

    def _backpropagate_with_adversarial_shift(self, batch: TrainingBatch, module: RecurrentClassifier) -> LossAndLogits:
        """Add the gradients of two losses of a batch: of its embeddings, and of embeddings moved to raise the loss.

        Return the loss and the logits of the batch with its own embeddings.

        Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text classification", 2017: the
        direction that raises the loss the most is the gradient of the loss by the embeddings.
        """
        embedding_dim = module.architecture.embedding_dim
        shift = torch.zeros(*batch.inputs.shape, embedding_dim, device=self._fabric.device, requires_grad=True)
        loss, logits = self._backpropagate(batch, shift)
        gradient = shift.grad
        assert gradient is not None  # noqa: S101 - backward has just set it
        with torch.no_grad():
            is_padding = (batch.inputs == module.architecture.padding_id).unsqueeze(2)
            length = module.embedding(batch.inputs).masked_fill(is_padding, 0.0).flatten(1).norm(dim=1)
            steepness = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
            against = gradient * (self._adversarial * length / steepness).view(-1, 1, 1)
        self._backpropagate(batch, against)
        return LossAndLogits(loss, logits)


def _remove_linear_part_from_architecture(architecture: AnyArchitecture) -> AnyArchitecture:
    """Return the architecture without its linear part, which is already fitted and not trained by gradient steps."""
    return architecture.without_linear_part if isinstance(architecture, Architecture) else architecture


def _set_bias_to_label_log_odds(module: RecurrentClassifier, targets: npt.NDArray[np.bool_]) -> None:
    """Set the bias of the last layer so that each label's initial probability is its frequency (Lin et al. 2017).

    With an initial probability of 0.5, most of a run goes into learning that labels are rare: on 5,431 rows with 77
    labels, micro F1 after 13 epochs is 25.6 %, and 72.6 % with the frequencies (docs/training.md).
    """
    with torch.no_grad():
        module.fc.bias.copy_(compute_label_log_odds(targets))


def _initialize_embedding(module: RecurrentClassifier, vectors: word_vectors.Vectors | None) -> None:
    """Give the random embedding a smaller standard deviation than torch's 1, and copy the word vectors into it.

    `vectors` is None without word vectors.
    """
    weight = module.embedding.weight
    with torch.no_grad():
        if vectors is None:
            # A rare word that starts large stays noise: TREC 83.2 % right with 1, 88.8 % with 0.1 (docs/training.md).
            weight.mul_(0.1)
        else:
            weight.mul_(vectors.scale)
            weight[torch.from_numpy(vectors.ids)] = torch.from_numpy(vectors.values)


_WEIGHT_DECAY: Final = 0.01


class RowAdam(torch.optim.Optimizer):
    """Adam without momentum for an embedding with sparse gradients: it changes only the rows that a batch used.

    It computes the same as SparseAdam with betas of (0, `beta`), but is faster: it sorts the ids of a batch only once.
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
    """Make the optimizers of a module: Adam for sparse gradients for the embedding, AdamW for all other weights."""
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
    """Copy the weights of a module and the states of its optimizers to the CPU; return the tensors by name."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{parameter}.{name}": torch.as_tensor(v) for name, v in state.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def restore_state_tensors(
    tensors: Mapping[str, Tensor], module: AnyClassifier, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Load the weights of a module and the states of its optimizers from tensors that `copy_state_tensors` returned."""
    module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                parameter, member = name.split(".", 3)[2:]
                state.setdefault(int(parameter), {})[member] = tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
