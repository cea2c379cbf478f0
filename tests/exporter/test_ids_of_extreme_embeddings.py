"""Ids with the largest vectors are repeated in the cases of a proof: sums that no drawn text reaches."""

from __future__ import annotations

import torch
from torch import nn

from pocketrnn.text import TextRules
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules
from pocketrnn_export.proof.ids_that_cases_must_contain import find_ids_of_extreme_vectors

IDS = 30


class Weighs(nn.Module):
    """Two words weigh much, one has a long vector; a table of another size, and one of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(IDS, 4)
        self.weight = nn.Embedding(IDS, 1)
        self.other = nn.Embedding(7, 4)
        self.register_buffer("kind", torch.arange(IDS))
        self.register_buffer("minus", torch.full((IDS,), -torch.inf))
        with torch.no_grad():
            self.embedding.weight.mul_(0.01)[11] = torch.tensor([9.0, -9.0, 0.1, 0.0])
            self.weight.weight.mul_(0.01)[[17, 23]] = torch.tensor([[-3.0], [2.0]])


def test_ids_of_the_longest_vectors_and_of_the_largest_and_least_sums_are_loud() -> None:
    assert {11, 17, 23} <= set(find_ids_of_extreme_vectors(Weighs(), IDS)) <= set(range(IDS))
    assert len(find_ids_of_extreme_vectors(Weighs(), IDS)) <= 9
    assert find_ids_of_extreme_vectors(nn.Linear(2, 2), IDS) == []


def test_each_loud_id_stands_alone_and_often_in_rows_of_its_own(whole_proofs: None) -> None:
    cases = choose_cases_for_text_rules(TextRules(), ids=IDS, ragged=True, extreme_ids=[17, 23])["hazards"]
    of_loud = {case.tokens.shape[1]: case.tokens for case in cases if "large vector" in case.name}
    assert sorted(of_loud) == [1, 7, 30, 300]
    assert all((rows == torch.tensor([[17], [23]]).numpy()).all() for rows in of_loud.values())
