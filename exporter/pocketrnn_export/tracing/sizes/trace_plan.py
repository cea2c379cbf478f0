"""How a module is traced in general: by the branches that forward takes for some sizes."""

from __future__ import annotations

from dataclasses import dataclass

from pocketrnn_export.tracing.sizes.conditions import USUAL, Condition, Sizes
from pocketrnn_export.tracing.sizes.questions import Branch

__all__ = ["TracePlan"]


@dataclass(frozen=True)
class TracePlan(Branch):
    """How to trace a module in general: a branch, and what is computed beside it.

    Attributes:
        others: further plans, each with the condition for which its answer is taken: all are computed.
    """

    others: tuple[tuple[Condition, TracePlan], ...] = ()

    @property
    def branches(self) -> tuple[list[Branch], list[Condition]]:
        """The branches to trace, and the conditions for which each but the first is taken."""
        return [self, *(other for _, other in self.others)], [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """Sizes to trace with: below 2, torch.export takes a size for a constant."""
        # The longest of all: what PyTorch's own operations restrict, they restrict from there on.
        longest = max(self.branches[0], key=lambda branch: branch.sizes.tokens * branch.sizes.batch).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )
