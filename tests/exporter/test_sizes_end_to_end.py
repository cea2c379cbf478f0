"""Modules that use the sizes of their input, from `export` to the answers of the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn
from torch.nn import functional

from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, LimitError
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(38))]


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(len(VOCABULARY), 8)
        self.rnn = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 3)

    def answer(self, embedded: Tensor) -> Any:
        _, (h, _) = self.rnn(embedded)
        return self.out(torch.cat([h[0], h[1]], 1))


class Truncates(Bidirectional):
    def forward(self, x: Tensor) -> Any:
        return self.answer(self.emb(x[:, :512]))


class PadsShortTexts(Bidirectional):
    def forward(self, x: Tensor) -> Any:
        if x.size(1) < 32:
            x = functional.pad(x, (0, 32 - x.size(1)), value=1)
        return self.answer(self.emb(x))


class HasPositions(Bidirectional):
    def __init__(self, positions: int = 300) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, 8)

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.emb(x) + self.positions(torch.arange(x.size(1))))


class NeedsFive(Bidirectional):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.conv(self.emb(x).transpose(1, 2)).transpose(1, 2))


class LooksAtTheBatch(Bidirectional):
    def forward(self, x: Tensor) -> Any:
        embedded = self.emb(x)
        return self.answer(embedded * 0.5 if x.size(0) * x.size(1) > 10_000 else embedded)


def exported(kind: Callable[[], nn.Module], path: Path) -> tuple[nn.Module, Classifier]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind().eval()
    export(module, path, labels=list("abc"), vocabulary=VOCABULARY, tokenizer="whitespace", torchscript=False)
    verify(path)
    return module, Classifier.load(path)


def read_texts(lengths: list[int]) -> tuple[list[str], list[Tensor]]:
    generator = np.random.default_rng(0)
    ids = [generator.integers(0, len(VOCABULARY), (1, length)) for length in lengths]
    return [" ".join(VOCABULARY[i] for i in row[0]) for row in ids], [torch.from_numpy(row) for row in ids]


def compute_largest_difference(module: nn.Module, classifier: Classifier, lengths: list[int]) -> float:
    texts, tokens = read_texts(lengths)
    with torch.no_grad():
        expected = np.concatenate([module(row).numpy() for row in tokens])
    return float(np.abs(classifier.logits(texts) - expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Truncates, PadsShortTexts])
def test_cuts_and_pads_hold_for_every_length(kind: type[nn.Module], tmp_path: Path) -> None:
    module, classifier = exported(kind, tmp_path / "b")
    lengths = [1, 2, 31, 32, 33, 257, 511, 512, 513, *[600] * 20, 2000]
    assert compute_largest_difference(module, classifier, lengths) < 1e-5
    assert classifier.manifest.graph.limits is None


# In the fast suite, test_right_programs.py finds such limits, and runtime/test_texts_beyond_limits.py keeps them.
@pytest.mark.slow
def test_a_size_that_pytorch_cannot_take_is_a_limit_that_the_runtime_keeps(tmp_path: Path) -> None:
    module, classifier = exported(HasPositions, tmp_path / "b")
    assert classifier.manifest.graph.limits == Limits(max_tokens=300)
    assert compute_largest_difference(module, classifier, [1, 299, 300]) < 1e-5
    (too_long,), _ = read_texts([301])
    with pytest.raises(LimitError, match=r"\b301 .*\b300\b"):
        classifier.classify(too_long)


@pytest.mark.parametrize("positions", mostly_slow([63, 40, 16, 7], 4, first=2))
def test_a_module_that_takes_few_tokens_is_asked_so_few(positions: int) -> None:
    # Texts beside others are of 17 and 64 tokens where a module answers such.
    asked: dict[str, Any] = {"lengths": None, "padding_id": 1, "classes": 3, "multi_label": False}
    prepared = prepare_module(HasPositions(positions).eval(), ids=len(VOCABULARY), **asked)
    assert (prepared.takes_lengths, prepared.padding, prepared.alone) == (False, False, {})


@pytest.mark.slow
def test_a_table_that_is_shorter_than_the_texts_of_the_search_is_told_with_its_size() -> None:
    module = HasPositions(4).eval()
    asked: dict[str, Any] = {"ids": len(VOCABULARY), "lengths": None, "padding_id": 1, "classes": 3}
    with pytest.raises(ExportError, match=r'more than 4 tokens.*test_sizes_end_to_end\.py:\d+.*"max_width": 4'):
        prepare_module(module, multi_label=False, **asked)
    assert prepare_module(module, multi_label=False, widths=Widths(most=4), **asked).convention.line == "module(tokens)"


def test_a_module_that_takes_few_tokens_and_mixes_its_texts_is_refused() -> None:
    class Mixes(HasPositions):
        def forward(self, x: Tensor) -> Any:
            answers = super().forward(x)
            return answers - answers.mean(0)

    with pytest.raises(ExportError, match="beside other texts"):
        prepare_module(Mixes(40).eval(), lengths=None, ids=len(VOCABULARY), padding_id=1, classes=3, multi_label=False)


@pytest.mark.slow
@pytest.mark.parametrize("positions", [63, 40, 16, 7])
def test_few_tokens_are_a_limit_that_the_runtime_keeps(positions: int, tmp_path: Path) -> None:
    module, classifier = exported(lambda: HasPositions(positions), tmp_path / "b")
    assert classifier.manifest.graph.limits == Limits(max_tokens=positions)
    assert compute_largest_difference(module, classifier, [1, 2, positions - 1, positions]) < 1e-5
    (too_long,), _ = read_texts([positions + 1])
    with pytest.raises(LimitError, match=rf"\b{positions + 1} .*\b{positions}\b"):
        classifier.classify(too_long)


@pytest.mark.slow
def test_texts_that_are_too_short_for_pytorch_are_beyond_a_limit(tmp_path: Path) -> None:
    module, classifier = exported(NeedsFive, tmp_path / "b")
    assert classifier.manifest.graph.limits == Limits(min_tokens=5)
    assert compute_largest_difference(module, classifier, [5, 6, 100]) < 1e-5
    with pytest.raises(LimitError, match="at least 5"):
        classifier.classify("w1 w2")


@pytest.mark.slow
def test_a_branch_on_the_size_of_the_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"\d+ x \d+ "):
        exported(LooksAtTheBatch, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
