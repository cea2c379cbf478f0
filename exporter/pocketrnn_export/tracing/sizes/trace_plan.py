"""How a module is traced in general: by the branches that forward takes for some sizes."""

from __future__ import annotations

from dataclasses import dataclass

from pocketrnn_export.tracing.sizes.conditions import USUAL, Condition, Sizes
from pocketrnn_export.tracing.sizes.questions import Branch

__all__ = ["TracePlan"]


@dataclass(frozen=True)
class TracePlan:
    """How to trace a module in general.

    Attributes:
        sizes: those whose branches are taken.
        pads_from_zero: whether a pad by a size does nothing where that is negative, instead of cutting.
        others: further plans, each with the condition for which its answer is taken: all are computed.
        least, most: the tokens of the sizes that follow this plan, where others are computed beside it.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    others: tuple[tuple[Condition, TracePlan], ...] = ()
    least: int | None = None
    most: int | None = None

    @property
    def branches(self) -> tuple[list[Branch], list[Condition]]:
        """The branches to trace, and the conditions for which each but the first is taken."""
        plans = [self, *(other for _, other in self.others)]
        branches = [Branch(plan.sizes, plan.pads_from_zero, plan.least, plan.most) for plan in plans]
        return branches, [condition for condition, _ in self.others]

    @property
    def example(self) -> Sizes:
        """Sizes to trace with: below 2, torch.export takes a size for a constant."""
        # The longest of all: what PyTorch's own operations restrict, they restrict from there on.
        longest = max((self, *(other for _, other in self.others)), key=lambda w: w.sizes.tokens * w.sizes.batch).sizes
        return Sizes(
            longest.batch if longest.batch > 1 else USUAL.batch, longest.tokens if longest.tokens > 1 else USUAL.tokens
        )
