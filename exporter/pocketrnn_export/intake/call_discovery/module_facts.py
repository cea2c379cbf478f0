"""The facts about a module before it is called, and the batches that it is tried on."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.comparing.cases import Widths

__all__ = ["ModuleFacts", "parameters_of"]

# Sizes of the batches that a module is tried on: two widths each. A convolution needs the longer ones.
_WIDTHS: Final = ((5, 7), (29, 31))
# Lengths at which counts that follow the number of tokens differ. With one token, squeeze() leaves another shape.
_LENGTHS: Final = (2, 3, 4, 5, 7, 29, 31)


@dataclass(frozen=True)
class ModuleFacts:
    """The facts about a module before it is called.

    Attributes:
        module: in eval mode, on the CPU; its state is the same afterwards.
        ids: how many token ids there are.
        padding_id: the token past a row's length.
        classes: how many labels there are.
        multi_label: whether each label has a probability of its own.
        lengths: whether forward is given lengths; None to find out.
        one_text: whether it is asked one text at a time from the first.
        gives: `logits` or `probabilities`, if its owner says so.
        widths: how many tokens a text can have.
        values: whether its numbers are values, and not logits of labels.
        samples: whether its ids stand for rows of samples, so that none is a length, and none is told by the module.
        of_tokens: whether it gives the numbers of the labels for each token.
        two_texts: whether it takes two texts; the rows of a batch are then pairs (`intake/pair_call.py`).
    """

    module: nn.Module
    ids: int
    padding_id: int
    classes: int
    multi_label: bool = False
    lengths: bool | None = None
    one_text: bool = False
    gives: str | None = None
    widths: Widths = field(default_factory=Widths)
    values: bool = False
    samples: bool = False
    of_tokens: bool = False
    two_texts: bool = False

    @property
    def tried_widths(self) -> list[tuple[int, ...]]:
        """The widths of the batches that a module is tried on."""
        if self.widths.least == 1 and self.widths.most is None:
            return list(_WIDTHS)
        more = self.widths.least - 1
        return list(dict.fromkeys(tuple(sorted({self.widths.clip(n + more) for n in pair})) for pair in _WIDTHS))

    def further_lengths(self, tried: Collection[int], *, within: bool) -> list[int]:
        """The lengths at which a module that holds is asked how many numbers it gives: also those that no text has.

        Args:
            tried: at which it is known.
            within: none that is shorter than each text.
        """
        longest = max(tried)
        lengths = {*_LENGTHS, longest + 1, longest + 4}
        return sorted(n for n in lengths - set(tried) if n >= self.widths.least or not within)

    def batch(self, rows: int, width: int) -> tuple[Tensor, Tensor]:
        """Random real tokens [rows, width], each row another, with the highest id among them, and their lengths."""
        generator = torch.Generator().manual_seed(1000 * rows + width)
        # Without the first ones where there are others: a module may take these for padding.
        low = 8 if self.ids > 16 else 2 if self.ids > 4 else 0
        tokens = torch.randint(low, self.ids, (rows, width), generator=generator)
        tokens[tokens == self.padding_id] = self.ids - 1 if self.padding_id != self.ids - 1 else low
        if self.padding_id != self.ids - 1:
            # In each row: a module may take it for padding, and answer a text by the longest of its batch.
            tokens[:, width // 2] = self.ids - 1
            if rows > 1:
                # At an end too: a module that counts by a row's first or last number fails on it, whatever is drawn.
                tokens[0, 0] = tokens[-1, -1] = self.ids - 1
        return tokens, torch.full((rows,), width)

    def batches(self, rows: int, widths: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Batches of these widths; and where the rules pad, one whose rows are padded, with their real lengths."""
        full = [self.batch(rows, width) for width in widths]
        if self.widths.least == 1 or not self.widths.filled:
            return full
        tokens, lengths = self.batch(rows, self.widths.least)
        for row in range(rows):
            lengths[row] = max(1, self.widths.least * (rows - row) // (rows + 1))
            gone = self.widths.least - int(lengths[row])
            if self.widths.pad_left:
                tokens[row] = torch.cat([tokens[row, :gone] * 0 + self.padding_id, tokens[row, gone:]])
            else:
                tokens[row, -gone:] = self.padding_id
        return [*full, (tokens, lengths)]

    def without_highest(self, tokens: Tensor) -> Tensor | None:
        """Tokens with another id in the place of the highest, which a module may take for padding; None where there is
        none to take."""
        highest = self.ids - 1
        other = next((i for i in range(highest - 1, -1, -1) if i != self.padding_id), None)
        if other is None or highest == self.padding_id:
            return None
        return torch.where(tokens == highest, other, tokens)

    @property
    def names(self) -> str:
        """The word for the meanings of the numbers."""
        return "values" if self.values else "labels"

    @property
    def rows(self) -> int:
        """How many texts a batch has: a number that is not that of the labels."""
        return 4 if self.classes == 3 else 3


def parameters_of(module: nn.Module) -> list[inspect.Parameter]:
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        kind = inspect.Parameter.POSITIONAL_ONLY
        return [
            inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else inspect._empty)
            for a in arguments
        ]
    return list(inspect.signature(module.forward).parameters.values())
