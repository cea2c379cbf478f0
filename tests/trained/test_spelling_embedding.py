"""Words of similar spelling share rows of the embedding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training_data import QUICK, easy_texts

from pocketrnn.errors import InputError
from pocketrnn_training import train
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts.spelling_embedding import SpelledEmbedding, Spelling

WORDS = ("<unk>", "<pad>", "walking", "talking", "sea", "x" * 200)


def embedding() -> SpelledEmbedding:
    torch.manual_seed(0)
    return SpelledEmbedding(nn.Embedding(len(WORDS), 4, sparse=True), Spelling.from_vocabulary(WORDS, first_word_id=2))


def test_a_word_has_the_fragments_that_another_word_has_too() -> None:
    spelling = Spelling.from_vocabulary(["<unk>", "talk", "talks"], first_word_id=1)
    shared = {"<ta", "tal", "alk", "<tal", "talk", "<talk"}
    assert spelling.size == len(shared)
    assert np.diff(spelling.offsets).tolist() == [0, len(shared), len(shared)]


@pytest.mark.parametrize("vocabulary", [["<unk>"], ["<unk>", "a", "b"], ["<unk>", "", "sea"]])
def test_words_that_share_nothing_have_no_fragments(vocabulary: list[str]) -> None:
    assert Spelling.from_vocabulary(vocabulary, first_word_id=1).size == 0


def test_the_folded_embedding_gives_the_same_rows() -> None:
    spelled = embedding()
    ids = torch.tensor([[2, 3, 1], [5, 0, 2]])
    assert torch.equal(spelled(ids), spelled.fold_embedding()[ids])
    assert torch.equal(spelled(torch.tensor([0, 1])), spelled.weight[:2])


def test_a_word_learns_from_another_that_is_spelt_alike() -> None:
    spelled = embedding()
    before = spelled.fold_embedding()
    spelled(torch.tensor([2])).sum().backward()
    assert spelled.fragments.grad is not None
    assert spelled.fragments.grad.is_sparse
    with torch.no_grad():
        spelled.fragments -= spelled.fragments.grad.to_dense()
    moved = (spelled.fold_embedding() != before).any(dim=1)
    assert moved.tolist() == [False, False, True, True, False, False]


def test_a_checkpoint_has_a_plain_embedding_and_says_how_it_was_trained() -> None:
    checkpoint = train(easy_texts(60), replace(QUICK, spelling=True))
    assert checkpoint.training["spelling"] is True
    assert type(checkpoint.module.embedding) is nn.Embedding
    assert set(checkpoint.module.state_dict()) >= {"embedding.weight", "fc.weight"}
    assert "embedding.fragments" not in checkpoint.module.state_dict()
    assert train(easy_texts(60), replace(QUICK, spelling=False)).training["spelling"] is False


@pytest.mark.parametrize(
    ("settings", "rows", "spelt"),
    [
        (TextSettings(), 5_000, True),
        (TextSettings(), 20_000, False),
        (TextSettings(spelling=True), 20_000, True),
        (TextSettings(tokenizer="whitespace"), 5_000, True),
        (TextSettings(tokenizer="characters"), 5_000, False),
        (TextSettings(tokenizer="bpe"), 5_000, False),
        (TextSettings(ngrams=2), 5_000, False),
    ],
)
def test_words_of_few_rows_are_spelt(settings: TextSettings, rows: int, spelt: bool) -> None:
    assert settings.fill_missing_values(rows, 4).spelling is spelt


def test_pieces_are_not_spelt() -> None:
    with pytest.raises(InputError, match="spelling"):
        TextSettings(tokenizer="bpe", spelling=True).check_tokens()
