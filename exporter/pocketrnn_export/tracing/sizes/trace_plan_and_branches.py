"""The sizes for which a trace answers forward's conditions, and the plan of a trace for one or several of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import sym_max
from pocketrnn_export.tracing.operators_right_for_every_size import CUT
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Condition, Sizes


@dataclass(frozen=True)
class Branch:
    """The sizes for which a trace is made. If the module's own code tests a condition on sizes, the trace takes the
    branch that the module takes for these sizes.

    Attributes:
        sizes: the sizes. The answers do not restrict the sizes for which the program can run.
        pads_from_zero: whether negative amounts of `F.pad` are replaced by 0. Inside `if size < n`, no amount is
            negative; on longer texts, the pad does nothing, as in the module.
        least, most: the range of tokens for which the answer of this branch is taken; None without a limit. A graph of
            several branches always computes all of them, and each gets tokens within its own range.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    least: int | None = None
    most: int | None = None

    def fit_inputs_to_token_range(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return a module's inputs with the tokens padded to at least `least` steps and cut to at most `most` steps,
        and lengths limited to `most`."""
        tokens, *second = inputs
        if self.most == 1:
            # A slice to one step has a size of 1, not a symbol: `squeeze()` takes the step away as it does in PyTorch.
            tokens, rows = tokens[:, :1], tokens.shape[:1]
            second = [torch.ones(rows, dtype=value.dtype) if value.dim() == 1 else value for value in second]
        elif self.most is not None:
            tokens = CUT(tokens, 1, 0, self.most, 1)
            second = [value.clamp(max=self.most) if value.dim() == 1 else value for value in second]
        if self.least is not None:
            tokens = nn.functional.pad(tokens, (0, sym_max(self.least - tokens.shape[1], 0)))
        return (tokens, *second)


@dataclass(frozen=True)
class TracePlan(Branch):
    """The plan of a trace: a branch, and further branches that the same graph computes.

    Attributes:
        others: the plans of the further branches, each with the condition on sizes under which its answer is taken.
    """

    others: tuple[tuple[Condition, TracePlan], ...] = ()

    @property
    def branches_and_conditions(self) -> tuple[list[Branch], list[Condition]]:
        """Two lists: the branches to trace, and for each of them but the first the condition under which its answer is
        taken."""
        return [self, *(other for _, other in self.others)], [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """The sizes of the example with which the plan is traced: those of its largest branch, but not below 2, since
        torch.export treats a size below 2 as a constant."""
        # Take the longest of all: restrictions by PyTorch's operations then hold from there on.
        longest = max(
            self.branches_and_conditions[0], key=lambda branch: branch.sizes.tokens * branch.sizes.batch
        ).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )
