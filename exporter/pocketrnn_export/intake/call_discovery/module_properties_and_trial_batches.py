"""Facts about a module that are known before it is called, and the batches for trial calls."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# Tokens int64 [rows, width], and the lengths of the rows, int64 [rows].
Batch: TypeAlias = tuple[Tensor, Tensor]
# Widths of the batches that a module is tried on, in pairs. A convolution needs the longer ones.
_WIDTHS: Final = ((5, 7), (29, 31))
# Lengths that show whether an output grows with the tokens. At one token, squeeze() gives another shape.
_LENGTHS: Final = (2, 3, 4, 5, 7, 29, 31)


@dataclass(frozen=True)
class ModuleFacts:
    """The facts about a module that are known before it is called.

    Attributes:
        module: in eval mode, on the CPU; calls leave its state unchanged.
        ids: how many token ids there are.
        padding_id: the id that pads a row after its length.
        classes: how many labels there are.
        multi_label: whether each label has a probability of its own.
        lengths: whether forward is given lengths; None to find out.
        one_text: whether the module is called with one text at a time from the start.
        gives: `logits` or `probabilities`, if the user says so.
        widths: how many tokens a text can have.
        values: whether the module's numbers are values, and not logits of labels.
        samples: whether the ids stand for rows of samples. No id is then a length, and the module does not determine
            how many ids there are.
        of_tokens: whether the module gives the numbers of the labels for each token.
        two_texts: whether the module takes two texts; the rows of a batch then stand for pairs.
        heads: the labels of each of several heads; `classes` counts the labels of all heads. Empty for one set of
            labels.
        features: the features that the module takes with a text; each row of a batch then contains features, too.
        spellings: the words and characters that the ids stand for, if the module also takes the characters of words.
        labels_are_words: whether the labels may be the words of the ids, as for a module that predicts the next token.
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
    heads: Mapping[str, LabelOutput] = field(default_factory=dict, hash=False)
    features: Features = ()
    spellings: Spellings | None = None
    labels_are_words: bool = True

    def compile(self, line: str) -> Call:
        """Compile a line of code to a function that calls the module. The line may use the module's features and
        characters."""
        return compile_call(line, self.features, self.spellings)

    def make_facts_for_head(self, name: str) -> ModuleFacts:
        """Return a copy of these facts for one head of the module: its labels, and no other heads."""
        head = self.heads[name]
        return replace(self, classes=len(head.labels), multi_label=head.activation == "sigmoid", heads={})

    @property
    def trial_widths(self) -> list[tuple[int, ...]]:
        """The widths (tokens in a row) of the batches for trial calls: one tuple of widths for each trial, the shortest
        first."""
        if self.widths.least == 1 and self.widths.most is None:
            return list(_WIDTHS)
        more = self.widths.least - 1
        return list(dict.fromkeys(tuple(sorted({self.widths.clip(n + more) for n in pair})) for pair in _WIDTHS))

    def list_further_lengths(self, tried: Collection[int], *, from_least_width: bool) -> list[int]:
        """Return more lengths of texts, for trials that show how the size of an output depends on the length.

        Args:
            tried: the lengths of the earlier trials.
            from_least_width: whether to leave out lengths below the shortest possible text.
        """
        longest = max(tried)
        lengths = {*_LENGTHS, longest + 1, longest + 4}
        return sorted(n for n in lengths - set(tried) if n >= self.widths.least or not from_least_width)

    def draw_batch(self, rows: int, width: int) -> Batch:
        """Return random tokens [rows, width] without the padding id, and their lengths. Each row has the highest id,
        unless that is the padding id."""
        generator = torch.Generator().manual_seed(1000 * rows + width)
        # Without the first ids where there are others: a module may treat them as padding.
        low = 8 if self.ids > 16 else 2 if self.ids > 4 else 0
        tokens = torch.randint(low, self.ids, (rows, width), generator=generator)
        tokens[tokens == self.padding_id] = self.ids - 1 if self.padding_id != self.ids - 1 else low
        if self.padding_id != self.ids - 1:
            # The last id is put into each row: a module may treat it as padding, and its answers may depend on the
            # longest text of the batch.
            tokens[:, width // 2] = self.ids - 1
            if rows > 1:
                # The last id is also put at both ends: a module that counts by a row's first or last id then fails for
                # every draw.
                tokens[0, 0] = tokens[-1, -1] = self.ids - 1
        return tokens, torch.full((rows,), width)

    def make_batches(self, rows: int, widths: Sequence[int]) -> list[Batch]:
        """Return batches of texts with `widths` tokens. If the text rules pad short texts, one more batch has padded
        rows, with the lengths of the texts in them."""
        full = [self.draw_batch(rows, width) for width in widths]
        if self.widths.least == 1 or not self.widths.filled:
            return full
        tokens, lengths = self.draw_batch(rows, self.widths.least)
        for row in range(rows):
            lengths[row] = max(1, self.widths.least * (rows - row) // (rows + 1))
            gone = self.widths.least - int(lengths[row])
            if self.widths.pad_left:
                tokens[row] = torch.cat([tokens[row, :gone] * 0 + self.padding_id, tokens[row, gone:]])
            else:
                tokens[row, -gone:] = self.padding_id
        return [*full, (tokens, lengths)]

    def replace_highest_id(self, tokens: Tensor) -> Tensor | None:
        """Return the tokens with another id in place of the highest one, which a module may treat as padding. Return
        None if the highest id is the padding id, or if there is no other id."""
        highest = self.ids - 1
        other = next((i for i in range(highest - 1, -1, -1) if i != self.padding_id), None)
        if other is None or highest == self.padding_id:
            return None
        return torch.where(tokens == highest, other, tokens)

    @property
    def activation(self) -> str | tuple[tuple[str, int], ...]:
        """The function that turns logits into probabilities: `softmax` or `sigmoid`. With several heads, the
        function and the number of labels of each head."""
        if self.heads:
            return tuple((head.activation, len(head.labels)) for head in self.heads.values())
        return "sigmoid" if self.multi_label else "softmax"

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """The number of labels of each head, if there are several heads."""
        return tuple(len(head.labels) for head in self.heads.values())

    @property
    def number_word(self) -> str:
        """The word for the module's numbers in messages: values or labels."""
        return "values" if self.values else "labels"

    @property
    def trial_rows(self) -> int:
        """The number of texts in a trial batch. It differs from the numbers of labels, so that these axes of an answer
        cannot be mistaken for each other."""
        taken = {self.classes, len(self.heads), *self.head_sizes}
        return next(rows for rows in itertools.count(3) if rows not in taken)


def list_forward_parameters(module: nn.Module) -> list[inspect.Parameter]:
    """Return the parameters of forward, without `self`."""
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        kind = inspect.Parameter.POSITIONAL_ONLY
        return [
            inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else inspect._empty)
            for a in arguments
        ]
    return list(inspect.signature(module.forward).parameters.values())
