"""The branch that a general trace follows for chosen sizes, and the plan of a trace with one or several branches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import sym_max
from pocketrnn_export.tracing.operators_right_for_every_size import CUT
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Condition, Sizes


@dataclass(frozen=True)
class Branch:
    """The sizes, and other assumptions, for which a general trace is made: conditions that the module's own code tests
    get the results that they have for these sizes.

    Attributes:
        sizes: conditions on a size are answered for these sizes, without a restriction.
        pads_from_zero: treat the amounts of `F.pad` as at least 0. Inside `if size < n` they are, and on longer texts
            the pad then does nothing, as in the module.
        least, most: the range of tokens for which this branch is taken. If several branches are computed and one answer
            is taken, each gets tokens within its own range, since it may fail on others.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    least: int | None = None
    most: int | None = None

    def fit_inputs_to_token_range(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return a module's inputs with the tokens padded to at least `least` steps and cut to at most `most`, and
        lengths limited to `most`."""
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
    """The plan of a general trace: a branch, and plans for further branches, which the graph computes as well.

    Attributes:
        others: further plans, each with the condition under which its answer is taken; all are computed.
    """

    others: tuple[tuple[Condition, TracePlan], ...] = ()

    @property
    def branches_and_conditions(self) -> tuple[list[Branch], list[Condition]]:
        """Two lists: the branches to trace, and the conditions under which the answers of all branches except the first
        are taken."""
        return [self, *(other for _, other in self.others)], [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """The sizes of the example with which the plan is traced. torch.export treats a size below 2 as a constant."""
        # Take the longest of all: restrictions by PyTorch's operations then hold from there on.
        longest = max(
            self.branches_and_conditions[0], key=lambda branch: branch.sizes.tokens * branch.sizes.batch
        ).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )
