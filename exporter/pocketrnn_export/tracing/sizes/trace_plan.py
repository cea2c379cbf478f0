"""The plan of a general trace: the branches that forward takes for some sizes."""

from __future__ import annotations

from dataclasses import dataclass

from pocketrnn_export.tracing.sizes.condition_log import Branch
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Condition, Sizes


@dataclass(frozen=True)
class TracePlan(Branch):
    """The plan of a general trace: a branch, and further plans whose programs are computed as well.

    Attributes:
        others: further plans, each with the condition under which its answer is taken; all are computed.
    """

    others: tuple[tuple[Condition, TracePlan], ...] = ()

    @property
    def branches(self) -> tuple[list[Branch], list[Condition]]:
        """The branches to trace, and the conditions of all branches except the first."""
        return [self, *(other for _, other in self.others)], [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """The sizes of the example with which the plan is traced. torch.export treats a size below 2 as a constant."""
        # Take the longest of all: restrictions by PyTorch's operations then hold from there on.
        longest = max(self.branches[0], key=lambda branch: branch.sizes.tokens * branch.sizes.batch).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )
