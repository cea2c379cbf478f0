"""A module as it is asked beside its program: on random inputs of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pocketrnn_export.module_runs.cpu_run import answer_of
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.proof.asked_ids import asked_ids, with_phrases
from pocketrnn_export.proof.every_size import APART, Answers, answer_if_any
from pocketrnn_export.tracing.session import of_two_texts
from pocketrnn_export.tracing.sizes.conditions import Sizes
from pocketrnn_export.tracing.sizes.module_answers import furthest

__all__ = ["AskedModule", "example_of", "is_text", "tokens_of_second", "with_whole_lengths"]


@dataclass(frozen=True)
class AskedModule:
    """A module, asked as it is at first: what a run leaves behind in it is not seen by the next.

    Attributes:
        module: in eval mode, on the CPU; copies of it are asked.
        example: what it takes.
        ids: how many ids it is asked with.
        phrase: the ids that its program compares words with, of which every other text has some.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    ids: int
    phrase: tuple[int, ...] = ()

    def knowing(self, program: ExportedProgram) -> AskedModule:
        """Asked also with texts of the ids that its program compares words with, but for those that may be padding."""
        maybe_padding = {0, 1, int(self.example[0][-1, -1])}
        return replace(self, phrase=tuple(i for i in asked_ids(program, self.ids) if i not in maybe_padding))

    @property
    def one_text(self) -> bool:
        """Whether it takes one text at a time."""
        return len(self.example[0]) == 1

    def inputs(self, sizes: Sizes) -> tuple[Tensor, ...]:
        """Random ids and, beside them, falling lengths from the whole width down, or a random state. A second text has
        another number of tokens, more or fewer by turns."""
        generator = torch.Generator().manual_seed(sizes.batch * 1_000_003 + sizes.tokens)
        # Without 0 and 1 where there are others: a module may take these for padding, and refuse a text of padding
        # only.
        texts = [self._tokens(sizes, generator)]
        if of_two_texts(self.example):
            texts.append(self._tokens(replace(sizes, tokens=tokens_of_second(sizes.tokens)), generator))
        if len(self.example) == len(texts):
            return tuple(texts)
        if self.example[-1].dim() > 1:
            state = torch.rand((sizes.batch, *self.example[1].shape[1:]), generator=generator)
            return texts[0], state.to(self.example[1].dtype)
        return (*texts, *(self._cut_short(text, generator) for text in texts))

    def inputs_of_both(self, batch: int, first: int, second: int) -> tuple[Tensor, ...]:
        """The same of two texts of these numbers of tokens."""
        generator = torch.Generator().manual_seed(batch * 1_000_003 + first * 1_009 + second)
        texts = [self._tokens(Sizes(batch, tokens), generator) for tokens in (first, second)]
        if len(self.example) == len(texts):
            return tuple(texts)
        return (*texts, *(self._cut_short(text, generator) for text in texts))

    def _tokens(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        low = 2 if self.ids > 4 else 0
        tokens = torch.randint(low, self.ids, (sizes.batch, sizes.tokens), generator=generator)
        return with_phrases(tokens, self.phrase)

    def _cut_short(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Falling lengths of the rows of tokens, after which these become the padding."""
        rows, width = tokens.shape
        lengths = torch.randint(1, width + 1, (rows,), generator=generator)
        lengths[0] = width
        lengths = lengths.sort(descending=True).values
        # The last id of the example is after the end of its shortest row: the padding.
        tokens[torch.arange(width) >= lengths[:, None]] = self.example[0][-1, -1]
        return lengths

    def __call__(self, inputs: tuple[Tensor, ...]) -> Any:
        """Its logits as an array; raises what it raises."""
        return _logits(copied_again(self.module), inputs)

    def in_doubles(self, sizes: Sizes) -> Any:
        """Its logits in double precision for inputs of some sizes; raises what it raises."""
        inputs = tuple(value.double() if value.is_floating_point() else value for value in self.inputs(sizes))
        return _logits(copied_again(self.module).double(), inputs)

    def agrees(self, graph: Answers, inputs: tuple[Tensor, ...]) -> bool:
        """Whether a graph runs and gives the module's answer; True where the module has none."""
        if (expected := answer_if_any(self, inputs)) is None:
            return True
        given = answer_if_any(graph, inputs)
        return given is not None and given.shape == expected.shape and furthest(given, expected) <= APART


def is_text(value: Tensor) -> bool:
    """Whether an input is the ids of texts, int64 [batch, sequence].

    Example:
        >>> is_text(torch.zeros(3, 7))
        False
    """
    return value.dim() == 2 and not value.is_floating_point()


def with_whole_lengths(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs of a module with the lengths, where there are such, as long as the texts are wide.

    Example:
        >>> with_whole_lengths([torch.zeros(2, 7, dtype=torch.int64), torch.tensor([7, 3])])[1].tolist()
        [7, 7]
    """
    texts = 2 if of_two_texts(inputs) else 1
    return tuple(
        torch.full_like(value, inputs[i - texts].shape[1]) if value.dim() == 1 else value
        for i, value in enumerate(inputs)
    )


def tokens_of_second(tokens: int) -> int:
    """How many tokens the second text has that stands beside a first one of so many.

    Example:
        >>> [tokens_of_second(tokens) for tokens in (1, 2, 7, 64)]
        [10, 1, 16, 32]
    """
    return tokens + 9 if tokens % 2 else tokens // 2


def _logits(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    answer = answer_of(module, inputs)
    return (answer[0] if isinstance(answer, tuple) else answer).numpy()


def example_of(example: tuple[Tensor, ...], sizes: Sizes) -> tuple[Tensor, ...]:
    """An example of other sizes, of the ids of the given one; one text stays one text."""
    sizes = sizes if len(example[0]) > 1 else replace(sizes, batch=1)
    tokens = example[0][:1, :1].expand(sizes.batch, sizes.tokens).contiguous()
    if len(example) == 1:
        return (tokens,)
    second = example[1]
    if second.dim() == 1:
        return tokens, torch.full((sizes.batch,), sizes.tokens, dtype=second.dtype)
    return tokens, second[:1].expand(sizes.batch, *second.shape[1:]).contiguous()
