"""A proof that has refused names the line that decides, and does without a rule of ours that is wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import diagnosis, export
from pocketrnn_export.diagnosis import find_branching_line
from pocketrnn_export.forms.onnx.accurate_operator_translations import FUNCTION_TRANSLATIONS
from pocketrnn_export.tracing.module_trace import PYTHON
from pocketrnn_export.tracing.trace_session import TraceSession, rule

pytestmark = pytest.mark.usefixtures("short_proofs")
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(18))]


class Squashes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        words = nn.functional.softplus(torch.tanh(self.embedding(tokens)))
        return self.fc(words.mean(1))  # type: ignore[no-any-return]


class Turns(Squashes):
    def forward(self, tokens: Tensor) -> Tensor:
        logits = super().forward(tokens)
        if tokens.size(1) == 5 and tokens[0, 0] == 3:
            return -logits
        return logits


class Odd(Squashes):
    def forward(self, tokens: Tensor) -> Tensor:
        n, special = tokens.size(1), 5
        return super().forward(tokens) * (-1 if n is special else 1)


def ids(*row: int) -> tuple[Tensor]:
    return (torch.tensor([row]),)


def exported(module: nn.Module, path: Path) -> Classifier:
    export(module, path, labels=["a", "b"], vocabulary=WORDS, tokenizer="whitespace", torchscript=False)
    return Classifier.load(path)


@rule("tanh")
def cut(_: TraceSession, x: Tensor) -> Tensor:
    """A wrong rule."""
    return x.clamp(-1, 1)


def rectified(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """A wrong translation."""
    del beta, threshold
    return op.Relu(x)


@pytest.mark.parametrize("wrong", [pytest.param("a rule", marks=pytest.mark.slow), "a translation"])
def test_a_module_is_exported_without_the_rule_of_ours_that_is_wrong(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(diagnosis, "SECONDS", 600.0)
    if wrong == "a rule":
        monkeypatch.setitem(PYTHON.rules_by_function_name, "tanh", [cut])
    else:
        monkeypatch.setitem(FUNCTION_TRANSLATIONS, torch.ops.aten.softplus.default, rectified)  # type: ignore[arg-type]
    module = Squashes().eval()
    with caplog.at_level(logging.WARNING, "pocketrnn_export"):
        classifier = exported(module, tmp_path / "b")
    named = "test_diagnosis_after_refusal.cut" if wrong == "a rule" else "aten.softplus.default"
    told = [record.getMessage() for record in caplog.records]
    assert sum(named in one for one in told) == 1
    assert len(told) == len(set(told))
    expected = module(torch.tensor([[5, 9, 2]])).detach().numpy()
    np.testing.assert_allclose(classifier.logits(["w3 w7 w0"]), expected, atol=1e-5)


# In the fast suite, a module of numbers has such a fault.
@pytest.mark.slow
def test_a_fault_that_no_rule_of_ours_has_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "SECONDS", 600.0)
    with pytest.raises(ExportError, match=r"\b5 tokens.*test_diagnosis_after_refusal.py:\d+: `.*n is special"):
        exported(Odd().eval(), tmp_path / "b")
    assert not (tmp_path / "b").exists()


class OddNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, numbers: Tensor) -> Tensor:
        n, special = numbers.size(1), 5
        return self.fc(numbers.mean(1)) * (-1 if n is special else 1)  # type: ignore[no-any-return]


def test_a_module_of_numbers_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"\b5 steps.*test_diagnosis_after_refusal.py:\d+: `.*n is special"):
        export(OddNumbers().eval(), tmp_path / "b", labels=["a", "b"], channels=3)


def test_the_line_is_that_at_which_two_ways_part() -> None:
    module = Turns().eval()
    said = find_branching_line(module, ids(3, 4, 5, 6, 7), [ids(4, 4, 5, 6, 7), ids(3, 4)])
    assert "if tokens.size(1) == 5 and tokens[0, 0] == 3" in said
    assert said.startswith(__file__)
    assert find_branching_line(module, ids(4, 4), [ids(5, 6, 7), ids(3)]) == ""
