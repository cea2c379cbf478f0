"""A file of word vectors is a vocabulary, whose ids the rows of the embedding show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pocketrnn.errors import DataError, InputError
from pocketrnn_export.intake.weights_file import read_weights
from pocketrnn_export.intake.word_vector_vocabulary import read_word_vector_vocabulary
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, is_word_vector_file, read_vocabulary

WORDS = [*(f"word{i}" for i in range(30)), "null", ". . .", "word1"]
VECTORS = torch.randn(len(WORDS), 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    rows = (
        f"{word} {' '.join(f'{one:.5f}' for one in row.tolist())}" for word, row in zip(WORDS, VECTORS, strict=True)
    )
    path.write_text("\n".join(rows) + "\n")
    return path


def read(file: Path, *rows: torch.Tensor) -> Vocabulary:
    torch.save({"embedding.weight": torch.cat(rows), "fc.weight": torch.zeros(2, 6)}, file.with_name("w.pt"))
    return read_word_vector_vocabulary(file, read_weights(file.with_name("w.pt")))


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 2)])
def test_the_rows_of_the_embedding_show_the_first_id(before: int, after: int, file: Path) -> None:
    assert is_word_vector_file(file)
    moved = VECTORS + 0.2 * torch.randn(VECTORS.shape, generator=torch.Generator().manual_seed(1))
    found = read(file, torch.zeros(before, 6), moved, torch.zeros(after, 6))
    assert found.tokens[before : before + 3] == ("word0", "word1", "word2")
    assert found.tokens[before + 31] == ". . ."
    assert found.tokens.count("word1") == 1
    assert found.default_index == (before - 1 if before else len(WORDS) if after else None)


@pytest.mark.parametrize(("more", "is_known"), [("", False), (", keep_default_na=False", True)])
def test_words_that_pandas_takes_for_missing_values_are_unknown(more: str, is_known: bool, file: Path) -> None:
    code = f'words = pd.read_csv(filepath_or_buffer=path, header=None, sep=" ", quoting=csv.QUOTE_NONE{more}).values'
    file.with_name("reads.py").write_text(code)
    assert ("null" in read(file, VECTORS).tokens) is is_known


def test_rows_that_are_no_vectors_of_the_file_are_guessed_and_told(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(file, torch.randn(len(WORDS) + 1, 6, generator=torch.Generator().manual_seed(2)))
    assert (found.tokens[:2], found.default_index) == (("<pad>", "word0"), 0)
    assert "--pairs" in caplog.text


def test_without_an_embedding_of_its_size_or_without_weights_it_is_refused(file: Path) -> None:
    with pytest.raises(DataError, match=r"33 words.* 6 numbers"):
        read(file, torch.zeros(50, 6))
    with pytest.raises(DataError, match="--weights"):
        read_vocabulary(file)


def test_a_file_that_cannot_be_read_and_one_in_another_encoding_have_different_remedies(file: Path) -> None:
    file.write_bytes(file.read_bytes() + "größe".encode("latin-1"))
    with pytest.raises(InputError) as refused:
        read(file, VECTORS)
    assert "UTF-8" in refused.value.remedy
    with pytest.raises(InputError) as refused:
        read(file.parent, VECTORS)
    assert "UTF-8" not in refused.value.remedy
