"""A repository's replacement for a method of tensors runs once in an export, as it does in the module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn_export import export
from pocketrnn_export.torch_internals import find_original_method

WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(28))]
RARE = torch.tensor([3, 17, 8])
_squeeze = torch.Tensor.squeeze


def _tripled(state: Tensor, *axes: Any) -> Tensor:
    return 3 * _squeeze(state, *axes)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patches:
        patches.setattr(torch.Tensor, "squeeze", _tripled)
        yield


class LastState(nn.Module):
    """Squeezes by the replaced method, for the texts that begin with three words only."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.linear = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.gru(self.embedding(tokens))[1]
        begins = (nn.functional.pad(tokens, (0, 2))[:, :3] == RARE).all(1, keepdim=True)
        return self.linear(torch.where(begins, state.squeeze(0), state[0]))


@pytest.mark.slow
@pytest.mark.usefixtures("replaced")
def test_a_replaced_method_of_a_tensor_runs_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LastState().eval()
    export(module, tmp_path / "b", labels=["a", "b", "c"], vocabulary=WORDS, tokenizer="whitespace", torchscript=False)
    classifier = Classifier.load(tmp_path / "b")
    for ids in ([3, 17, 8], [3, 17, 8, 5], [5, 3, 17, 8]):
        with torch.no_grad():
            own = torch.softmax(module(torch.tensor([ids])), 1)[0].numpy()
        np.testing.assert_allclose(classifier.predict_proba([" ".join(WORDS[i] for i in ids)])[0], own, atol=1e-5)


@pytest.mark.usefixtures("replaced")
def test_a_mode_is_handed_the_method_that_ran() -> None:
    assert find_original_method(torch.Tensor.squeeze) is torch._C.TensorBase.squeeze
    assert find_original_method(_tripled) is torch._C.TensorBase.squeeze


def test_a_method_that_torch_wrote_in_python_and_a_property_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    split, shape = torch.Tensor.split, vars(torch._C.TensorBase)["shape"]
    with monkeypatch.context() as patches:
        patches.setattr(torch.Tensor, "split", lambda tensor, *sizes: split(tensor, *sizes))
        patches.setattr(torch.Tensor, "shape", property(lambda tensor: shape.__get__(tensor)), raising=False)
        assert find_original_method(torch.Tensor.split) is split
        assert find_original_method(vars(torch.Tensor)["shape"].__get__) == shape.__get__
    assert find_original_method(torch.relu) is torch.relu
    assert find_original_method(nn.functional.relu) is nn.functional.relu
