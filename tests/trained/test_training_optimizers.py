"""The optimizer of the embedding: only rows that were read change, as SparseAdam would change them."""

from __future__ import annotations

import torch

from pocketrnn_training.loop.training_step import RowAdam


def test_rows_change_as_by_sparse_adam_without_momentum_and_others_stay() -> None:
    start = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    batches = [torch.tensor([3, 7, 3, 0]), torch.tensor([7]), torch.tensor([19, 3, 3, 3, 5])]
    weights = []
    for kind in ("ours", "torch"):
        embedding = torch.nn.Embedding.from_pretrained(start.clone(), freeze=False, sparse=True)
        optimizer = (
            RowAdam(embedding.weight, 0.01)
            if kind == "ours"
            else torch.optim.SparseAdam([embedding.weight], lr=0.01, betas=(0.0, 0.999))
        )
        for ids in batches:
            optimizer.zero_grad()
            embedding(ids).pow(2).sum().backward()
            optimizer.step()
        weights.append(embedding.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    read = torch.cat(batches).unique()
    unread = torch.ones(20, dtype=torch.bool).index_fill(0, read, value=False)
    assert torch.equal(weights[0][unread], start[unread])
    assert (weights[0][read] != start[read]).all()
