"""Training without packing gives what packing gives: logits, and the gradient of every weight."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples
from torch.nn.functional import cross_entropy
from training_data import SMALL

from pocketrnn_training import RecurrentClassifier
from pocketrnn_training.settings.settings_of_all_runs import CELLS, POOLINGS


def logits_and_gradients(
    module: RecurrentClassifier, tokens: torch.Tensor, lengths: torch.Tensor
) -> dict[str, torch.Tensor]:
    module.zero_grad()
    logits = module(tokens, lengths)
    cross_entropy(logits, torch.arange(len(tokens)) % 3).backward()
    return {"logits": logits.detach()} | {
        name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad
    }


@settings(deadline=None, max_examples=examples(25, 300))
@given(
    cell=st.sampled_from(CELLS),
    pooling=st.sampled_from(POOLINGS),
    bidirectional=st.booleans(),
    layers=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    beyond=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)
def test_training_gives_the_packed_logits_and_gradients(
    cell: str, pooling: str, bidirectional: bool, layers: int, lengths: list[int], beyond: int, seed: int
) -> None:
    torch.manual_seed(seed)
    module = RecurrentClassifier(
        dataclasses.replace(SMALL, cell=cell, pooling=pooling, bidirectional=bidirectional, layers=layers)
    )
    # Padding of any token: what stands there may not matter.
    tokens = torch.randint(SMALL.vocabulary_size, (len(lengths), max(lengths) + beyond))
    packed = logits_and_gradients(module.eval(), tokens, torch.tensor(lengths))
    unpacked = logits_and_gradients(module.train(), tokens, torch.tensor(lengths))
    assert packed.keys() == unpacked.keys()
    for name, values in packed.items():
        torch.testing.assert_close(
            unpacked[name], values, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )
