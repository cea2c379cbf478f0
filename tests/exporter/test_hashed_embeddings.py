"""Embeddings of fewer rows than there are words: the module makes row numbers of the ids, by hashing or by a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier, verify
from pocketrnn.errors import PocketRNNError
from pocketrnn_export import export

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS, ROWS = 5000, 1000
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
ROW_OF_WORD = torch.arange(WORDS) * 31 % ROWS


class Hashed(nn.Module):
    def __init__(self, row_of: Callable[[Tensor], Tensor], rows: int = ROWS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.row_of = row_of
        self.embedding = nn.Embedding(rows, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.out(self.embedding(self.row_of(tokens)).mean(1))
        return logits


class WholeAndHashed(Hashed):
    """A table with a row a word, and a hashed one beside it."""

    def __init__(self) -> None:
        super().__init__(lambda ids: ids % ROWS)
        self.whole = nn.Embedding(WORDS + 7, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.whole(tokens) + self.embedding(self.row_of(tokens))
        logits: Tensor = self.out(embedded.mean(1))
        return logits


ROW_OF: dict[str, Callable[[Tensor], Tensor]] = {
    "%": lambda ids: (ids * 31) % ROWS,
    "torch.remainder": lambda ids: torch.remainder(ids * 31 + 7, ROWS),
    "torch.fmod": lambda ids: torch.fmod(ids * 31, ROWS),
    "&": lambda ids: (ids * 31) & 511,
    ">>": lambda ids: ids >> 3,
    "//": lambda ids: ids // 5,
    "clamp": lambda ids: ids.clamp(max=ROWS - 1),
    "torch.minimum": lambda ids: torch.minimum(ids, torch.tensor(ROWS - 1)),
    "torch.where": lambda ids: torch.where(ids < ROWS, ids, 0),
    "in 8 bits": lambda ids: ids.to(torch.uint8).long(),
    "in 16 bits, with a sign": lambda ids: (ids * 31).to(torch.int16).long() & 511,
    "a table of rows": lambda ids: ROW_OF_WORD[ids],
    "masked_fill": lambda ids: ids.masked_fill(ids >= ROWS, 0),
}


def answers_are_the_modules(module: nn.Module, bundle: Path) -> None:
    verify(bundle)
    classifier = Classifier.load(bundle)
    ids = np.random.default_rng(0).permutation(np.arange(2, WORDS))[:900].reshape(-1, 9)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(ids)).numpy()
    given = classifier.logits([" ".join(VOCABULARY[i] for i in row) for row in ids])
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", mostly_slow(list(ROW_OF), 99))
def test_a_vocabulary_larger_than_the_table_is_exported(how: str, tmp_path: Path) -> None:
    module = Hashed(ROW_OF[how])
    made = export(module, tmp_path / "b", labels=["a", "b"], vocabulary=VOCABULARY, torchscript=False)
    assert made.graph.embedding_rows == WORDS
    answers_are_the_modules(module, tmp_path / "b")


@pytest.mark.slow
def test_a_table_that_takes_the_ids_as_they_are_says_how_many_there_may_be(tmp_path: Path) -> None:
    module = WholeAndHashed()
    made = export(module, tmp_path / "b", labels=["a", "b"], vocabulary=VOCABULARY, torchscript=False)
    assert made.graph.embedding_rows == WORDS + 7
    answers_are_the_modules(module, tmp_path / "b")


@pytest.mark.slow
def test_the_profile_edge_takes_hashed_ids_too(tmp_path: Path) -> None:
    pytest.importorskip("tract")
    module = Hashed(ROW_OF["clamp"])
    made = export(module, tmp_path / "b", labels=["a", "b"], vocabulary=VOCABULARY, torchscript=False, edge=True)
    assert made.graph.embedding_rows == WORDS
    answers_are_the_modules(module, tmp_path / "b")


@pytest.mark.parametrize("row_of", mostly_slow([lambda ids: ids, lambda ids: ids * 31, lambda ids: ids.flip(1)], 3))
def test_a_table_that_some_words_have_no_row_in_is_still_refused(
    row_of: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    with pytest.raises(PocketRNNError):
        export(Hashed(row_of), tmp_path / "b", labels=["a", "b"], vocabulary=VOCABULARY, torchscript=False)
    assert list(tmp_path.iterdir()) == []
