"""The known facts about the tensors of a trace, in one table that all rules read and write.

A tensor is looked up by its id, and the table keeps its tensors alive, so that no other tensor gets the same id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor

from pocketrnn_export.torch_internals import find_base_tensor


@dataclass(frozen=True)
class Fact:
    """The known facts about a tensor: how its numbers follow from lengths, which loop iteration made it, and whether it
    is zero past the end of each row.

    Attributes:
        lengths: how the numbers follow from the given lengths: `given`, `negated`, `falling`, `rising`,
            `falling order` (the positions that sort them so), `longest`, `batch sizes` (of a packed sequence, where the
            lengths stand for them); empty for other numbers.
        whole: whether it holds lengths of which the longest equals the whole width.
        width: the width that equals the longest of these lengths, or the rows that equal the largest of batch sizes;
            None if that is not known.
        packed_by: the lengths that stand for these batch sizes.
        iteration: the loop and the iteration that made it; None outside of loops.
        zero_past_end: whether it is zero past the end of each row: the output of a packed layer.
    """

    lengths: str = ""
    whole: bool = False
    width: Any = None
    packed_by: Any = None
    iteration: tuple[int, int] | None = None
    zero_past_end: bool = False


_NOTHING: Final = Fact()


class Facts:
    """The known facts about all tensors of one trace."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, Fact]] = {}

    def find_fact(self, value: Any) -> Fact:
        """Return the known facts about a tensor. Other values have no facts."""
        known = self._known.get(id(value))
        return _NOTHING if known is None or known[0] is not value else known[1]

    def note(self, value: Any, **known: Any) -> None:
        """Set some facts about a tensor, and keep the others. Ignore a value that is not a tensor."""
        if isinstance(value, Tensor):
            self._known[id(value)] = (value, replace(self.find_fact(value), **known))

    def forget(self, value: Any) -> None:
        """Remove the facts about a tensor into which forward wrote, and about all tensors that share its memory."""
        if not isinstance(value, Tensor):
            return
        whole = find_base_tensor(value)
        shown = [key for key, (tensor, _) in self._known.items() if find_base_tensor(tensor) is whole]
        for key in (id(value), *shown):
            self._known.pop(key, None)

    @property
    def tensors_of_iterations(self) -> list[Tensor]:
        """The tensors that iterations of loops made."""
        return [tensor for tensor, fact in self._known.values() if fact.iteration is not None]
