"""A module that is compared with its program, and the random inputs of all sizes on which the two are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pocketrnn_export.comparing.float64_module import make_float64_copy
from pocketrnn_export.intake.character_pair_and_feature_calls import derive_features_from_first_ids
from pocketrnn_export.intake.wrappers_for_trace import FeatureModule
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.proof.every_size_comparison import APART
from pocketrnn_export.proof.ids_that_cases_must_contain import (
    find_ids_that_program_compares_words_with,
    write_phrases_into_rows,
)
from pocketrnn_export.proof.program_runs_and_nodes import Answers, compute_answer_or_none
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import compute_largest_difference
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.trace_session import takes_lengths, takes_two_texts


@dataclass(frozen=True)
class FreshCopyModule:
    """A module that starts every run from the same state, because each run uses a new copy of it.

    Attributes:
        module: in eval mode, on the CPU; copies of it are run.
        example: example inputs.
        ids: the number of ids in random inputs.
        compared_ids: the ids with which the program compares words; two of every four random texts contain them.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    ids: int
    compared_ids: tuple[int, ...] = ()

    def add_compared_ids(self, program: ExportedProgram) -> FreshCopyModule:
        """Return this module with `compared_ids` set to the ids with which a program of it compares words: random texts
        then contain them. Ids that may be padding are left out."""
        maybe_padding = {0, 1, int(self.example[0][-1, -1])}
        return replace(
            self,
            compared_ids=tuple(
                i for i in find_ids_that_program_compares_words_with(program, self.ids) if i not in maybe_padding
            ),
        )

    @property
    def one_text(self) -> bool:
        """Whether the module takes one text at a time."""
        return len(self.example[0]) == 1

    def draw_inputs(self, sizes: Sizes) -> tuple[Tensor, ...]:
        """Draw random inputs of these sizes, as the module takes them: texts, and perhaps second texts, lengths,
        features or a state.

        The first length is the number of tokens, and the others decrease. A second text has 9 tokens more than the
        first if the number of tokens is odd, and half as many if it is even.
        """
        generator = torch.Generator().manual_seed(sizes.batch * 1_000_003 + sizes.tokens)
        # Without 0 and 1 if there are other ids: a module may take these for padding, and refuse a text of padding.
        texts = [self._draw_tokens(sizes, generator)]
        if takes_two_texts(self.example):
            second = sizes.tokens + 9 if sizes.tokens % 2 else sizes.tokens // 2
            texts.append(self._draw_tokens(replace(sizes, tokens=second), generator))
        if len(self.example) == len(texts):
            return tuple(texts)
        of_features = getattr(self.module, "classifier", self.module)
        if isinstance(of_features, FeatureModule):
            more = (
                (self._write_padding_after_random_lengths(texts[0], generator),) if takes_lengths(self.example) else ()
            )
            return (texts[0], *more, derive_features_from_first_ids(of_features.features, texts[0]))
        if self.example[-1].dim() > 1:
            state = torch.rand((sizes.batch, *self.example[1].shape[1:]), generator=generator)
            return texts[0], state.to(self.example[1].dtype)
        return (*texts, *(self._write_padding_after_random_lengths(text, generator) for text in texts))

    def draw_batch(self, rows: int, tokens: int) -> tuple[Tensor, ...]:
        """Draw random inputs for a batch of `rows` texts of `tokens` tokens."""
        return self.draw_inputs(Sizes(rows, tokens))

    def draw_inputs_of_two_texts(self, batch: int, first: int, second: int) -> tuple[Tensor, ...]:
        """Draw random inputs for a module that takes two texts: `batch` first texts of `first` tokens, as many second
        texts of `second` tokens, and their lengths if the module takes lengths."""
        generator = torch.Generator().manual_seed(batch * 1_000_003 + first * 1_009 + second)
        texts = [self._draw_tokens(Sizes(batch, tokens), generator) for tokens in (first, second)]
        if len(self.example) == len(texts):
            return tuple(texts)
        return (*texts, *(self._write_padding_after_random_lengths(text, generator) for text in texts))

    def _draw_tokens(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        low = 2 if self.ids > 4 else 0
        tokens = torch.randint(low, self.ids, (sizes.batch, sizes.tokens), generator=generator)
        return write_phrases_into_rows(tokens, self.compared_ids)

    def _write_padding_after_random_lengths(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a random length for each row, the longest first. Write padding into `tokens` after each length, and
        return the lengths."""
        rows, width = tokens.shape
        lengths = torch.randint(1, width + 1, (rows,), generator=generator)
        lengths[0] = width
        lengths = lengths.sort(descending=True).values
        # The last id of the example is past the end of its shortest row, so it is the padding id.
        tokens[torch.arange(width) >= lengths[:, None]] = self.example[0][-1, -1]
        return lengths

    def __call__(self, inputs: tuple[Tensor, ...]) -> Any:
        """Compute the logits for some inputs as an array. The module may raise any error."""
        return _compute_logits(copy_without_comparison(self.module), inputs)

    def compute_float64_logits(self, sizes: Sizes) -> Any:
        """Compute the logits in double precision for inputs of these sizes. The module may raise any error."""
        inputs = tuple(value.double() if value.is_floating_point() else value for value in self.draw_inputs(sizes))
        return _compute_logits(make_float64_copy(self.module), inputs)

    def agrees(self, graph: Answers, inputs: tuple[Tensor, ...]) -> bool:
        """Return whether the answer of `graph` to some inputs differs from the module's by at most 1e-4. Return True if
        the module fails on these inputs, and False if only the graph fails."""
        if (expected := compute_answer_or_none(self, inputs)) is None:
            return True
        given = compute_answer_or_none(graph, inputs)
        return (
            given is not None and given.shape == expected.shape and compute_largest_difference(given, expected) <= APART
        )


def is_text(value: Tensor) -> bool:
    """Return whether an input of a module contains the token ids of texts: integers of two axes [batch, sequence]."""
    return value.dim() == 2 and not value.is_floating_point()


def set_lengths_to_full_width(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return a module's inputs with all lengths among them set to the full number of tokens."""
    texts = 2 if takes_two_texts(inputs) else 1
    return tuple(
        torch.full_like(value, inputs[i - texts].shape[1]) if value.dim() == 1 else value
        for i, value in enumerate(inputs)
    )


def _compute_logits(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    answer = compute_answer(module, inputs)
    return (answer[0] if isinstance(answer, tuple) else answer).numpy()


def resize_example(example: tuple[Tensor, ...], sizes: Sizes) -> tuple[Tensor, ...]:
    """Make example inputs of these sizes from the example of a module. Every token is the first id of `example`; each
    length is the number of tokens; each row of another input, such as a state, is the example's first row of it. If the
    example has only one text, the result has one text, too, whatever the batch size in `sizes`."""
    sizes = sizes if len(example[0]) > 1 else replace(sizes, batch=1)
    tokens = example[0][:1, :1].expand(sizes.batch, sizes.tokens).contiguous()
    more = (
        torch.full((sizes.batch,), sizes.tokens, dtype=value.dtype)
        if value.dim() == 1
        else value[:1].expand(sizes.batch, *value.shape[1:]).contiguous()
        for value in example[1:]
    )
    return (tokens, *more)
