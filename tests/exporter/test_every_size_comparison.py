"""A difference at one size only, by a question that no trace sees, is found by runs at every size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError, PocketRNNError
from pocketrnn_export import export
from pocketrnn_export.diagnosis import add_first_difference_to_error
from pocketrnn_export.proof import every_size_comparison, mixed_length_batches
from pocketrnn_export.proof.fresh_copies_and_random_inputs import FreshCopyModule
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes
from pocketrnn_export.tracing.layers.memoryless_layers import use_memoryless_layers

EXAMPLE = (torch.randint(2, 40, (3, 7)),)


def sentiment(asks: Callable[[Any], bool], axis: int = 1) -> nn.Module:
    """A classifier that turns its answer around where a size is an odd one."""

    class Sentiment(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(40, 6)
            self.gru = nn.GRU(6, 5, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(10, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            hidden = torch.cat(list(self.gru(self.embedding(tokens))[1]), 1)
            return self.fc(-hidden if asks(tokens.size(axis)) else hidden)  # type: ignore[no-any-return]

    return Sentiment().eval()


@dataclass(frozen=True)
class Key:
    tokens: int


def unseen(size: Any) -> bool:
    """Asks only where nothing is traced, which a module can find out."""
    return torch._C._len_torch_dispatch_stack() == 0 and int(size) == 23


@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize(
    ("axis", "said"), [(1, "a text of 23 tokens"), pytest.param(0, "a batch of 23 texts", marks=pytest.mark.slow)]
)
def test_an_odd_size_is_found_and_named_where_no_question_was_seen(axis: int, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        find_program_right_for_all_sizes(sentiment(unseen, axis), EXAMPLE)


def by_the_text_of_a_dataclass(size: Any) -> bool:
    return repr(Key(size)) == "Key(tokens=23)"


@pytest.mark.slow
@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize(
    "asks", [pytest.param(lambda size: id(size) == id(23), marks=pytest.mark.slow), by_the_text_of_a_dataclass]
)
def test_one_odd_length_is_never_lost(asks: Callable[[Any], bool]) -> None:
    module = sentiment(asks)
    try:
        traced = find_program_right_for_all_sizes(module, EXAMPLE)
    except PocketRNNError:
        return
    tokens = torch.randint(2, 40, (1, 23))
    np.testing.assert_allclose(make_runnable_program(traced).run((tokens,)), module(tokens).detach(), atol=1e-5)


def test_a_batch_of_as_many_texts_as_python_keeps_numbers_is_asked_where_one_is_compared_by_its_object() -> None:
    special = 200

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(40, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            n = tokens.size(0)
            return self.embedding(tokens).sum(1) * (2 if n is special else 1)  # type: ignore[no-any-return]

    with (
        pytest.raises(ExportError, match=r"\b200 texts.*test_every_size_comparison.py:\d+: `.*n is special"),
        add_first_difference_to_error(),
    ):
        find_program_right_for_all_sizes(Sums().eval(), EXAMPLE)


@pytest.mark.slow
def test_a_text_that_a_longer_neighbour_changes_is_answered_without_padding(tmp_path: Path) -> None:
    class ByWidth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(40, 6, padding_idx=0)
            self.gru = nn.GRU(6, 5, batch_first=True)
            self.fc = nn.Linear(5, 2)

        def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            steps = nn.utils.rnn.pack_padded_sequence(
                self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
            )
            hidden = self.gru(steps)[1][-1]
            return self.fc(-hidden if 20 < tokens.size(1) < 30 else hidden)  # type: ignore[no-any-return]

    module = ByWidth().eval()
    words = ["<pad>", "<unk>", *map(str, range(38))]
    assert not export(module, tmp_path / "b", labels=["a", "b"], vocabulary=words).graph.padding
    given = [torch.randint(2, 40, (1, length)) for length in (3, 25, 40)]
    texts = [" ".join(words[number] for number in tokens[0].tolist()) for tokens in given]
    with torch.no_grad():
        expected = [module(tokens, torch.tensor([tokens.size(1)]))[0].numpy() for tokens in given]
    np.testing.assert_allclose(Classifier.load(tmp_path / "b").logits(texts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("asks", "bounds", "numbers"),
    [
        (lambda lengths: lengths.max() > 700, [(2, 700), (2, 701)], []),
        (lambda lengths: lengths.max() > 700, [], [699, 700, 701]),
        (lambda lengths: 700 < lengths.max() < 703, [(3, 700), (3, 701), (3, 703), (1, 704)], []),
        # A text that is itself short is not asked about.
        (lambda lengths: lengths.max() > 1900 and lengths.min() > 1000, [], [1000, 1001, 1900, 1901]),
    ],
)
def test_a_text_stands_beside_others_on_both_sides_of_what_is_asked_beyond_512_tokens(
    asks: Callable[[Any], bool], bounds: Any, numbers: Any
) -> None:
    def run(tokens: Any, lengths: Any) -> Any:
        # Alone, a text is on one side of the question by its own length.
        asked = asks(lengths) if len(lengths) > 1 else False
        return np.full((len(tokens), 2), 2.0 if asked else 1.0)

    given: Any = {"ragged": True, "bounds": bounds, "numbers": numbers}
    with pytest.raises(ExportError, match=r"2 texts, padded to \d+ tokens.*one_text=True"):
        mixed_length_batches.refuse_answers_that_depend_on_batch(run, range(2, 40), 0, None, **given)
    mixed_length_batches.refuse_answers_that_depend_on_batch(
        lambda tokens, _: np.ones((len(tokens), 2)), range(2, 40), 0, None, **given
    )


@pytest.mark.slow
def test_a_module_that_fails_beyond_a_length_is_asked_below_it() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.positions = nn.Embedding(40, 6), nn.Embedding(25, 6)
            self.gru, self.fc = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            steps = self.embedding(tokens) + self.positions(torch.arange(tokens.size(1)))
            return self.fc(self.gru(steps)[1][-1])  # type: ignore[no-any-return]

    module = Positions().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, EXAMPLE)).run
    for count in (1, 24, 25):
        tokens = torch.randint(2, 40, (1, count))
        np.testing.assert_allclose(run((tokens,)), module(tokens).detach(), atol=1e-5)


def test_every_length_and_every_small_batch_is_asked_once() -> None:
    sizes = list(every_size_comparison.list_sizes_to_try(every_size_comparison.MOST_TEXTS, one_text=False))
    lengths = {s.tokens for s in sizes if s.batch == 1}
    assert lengths == set(range(1, every_size_comparison.MOST_TOKENS + 1))
    assert {s.batch for s in sizes} == set(range(1, every_size_comparison.MOST_TEXTS + 1))
    assert len(sizes) == len(set(sizes))


CONFIGURATIONS = list(itertools.product((nn.RNN, nn.LSTM, nn.GRU), (False, True), (1, 2), (False, True), (False, True)))


@pytest.mark.parametrize(("kind", "both_ways", "layers", "packed", "bias"), CONFIGURATIONS)
def test_a_layer_without_memory_answers_each_step_as_a_text_of_its_own(
    kind: Any, both_ways: bool, layers: int, packed: bool, bias: bool
) -> None:
    layer = kind(3, 4, layers, bidirectional=both_ways, batch_first=True, bias=bias).eval()
    steps, lengths = torch.randn(5, 6, 3), torch.tensor([6, 3, 6, 1, 2])
    given = nn.utils.rnn.pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad(), use_memoryless_layers():
        outputs, state = layer(given if packed else steps)
    with torch.no_grad():
        each = layer(steps.reshape(30, 1, 3))[0].reshape(5, 6, -1)
    last = torch.full((5,), 5)
    if packed:
        outputs, last = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0], lengths - 1
        each = torch.where((torch.arange(6) < lengths[:, None])[:, :, None], each, 0.0)
    torch.testing.assert_close(outputs, each)
    hidden = state[0] if isinstance(state, tuple) else state
    torch.testing.assert_close(hidden[-2 if both_ways else -1], each[torch.arange(5), last, :4])
    if both_ways:
        torch.testing.assert_close(hidden[-1], each[:, 0, 4:])


@pytest.mark.slow
@pytest.mark.parametrize("packed", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("kind", mostly_slow([nn.GRU, nn.LSTM, nn.RNN], 3))
def test_a_program_without_memory_answers_as_its_module_without_memory(kind: Any, packed: bool) -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(40, 6), kind(6, 5, 2, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(20, 2)

        def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            steps = self.embedding(tokens)
            if packed:
                steps = nn.utils.rnn.pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
            outputs, state = self.rnn(steps)
            if packed:
                outputs = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
            hidden = state[0] if isinstance(state, tuple) else state
            return self.fc(torch.cat([outputs.sum(1), hidden[-1], hidden[-2]], 1))  # type: ignore[no-any-return]

    module, asked = Classifier().eval(), []

    def agree(sizes: Any) -> bool:
        asked.append(sizes)
        return True

    example = (*EXAMPLE, torch.tensor([7, 5, 3]))
    traced = find_program_right_for_all_sizes(module, example)
    inputs_of = FreshCopyModule(module, example, 40).draw_inputs
    every_size_comparison.refuse_differences_at_any_size(
        module, make_runnable_program(traced).run, traced.limits, inputs_of, agree, one_text=False
    )
    assert asked == []
