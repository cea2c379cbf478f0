"""Where a module can be called in two ways, the answers of the owner's classifier decide; else the message says where
the two differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import convention_modules as zoo
import pytest
import torch

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(2, zoo.WORDS))]
LABELS = [f"label {i}" for i in range(zoo.CLASSES)]
PLAIN, HOLDING = ("w2 w3 w4", [2, 3, 4]), ("w5 <pad> w6 <pad> <pad>", [5, 0, 6, 0, 0])


def made() -> zoo.CountsWithoutLengths:
    torch.manual_seed(3)
    return zoo.CountsWithoutLengths().eval()


def answer(ids: list[int], *, lengths: bool) -> list[float]:
    tokens = torch.tensor([ids])
    with torch.no_grad():
        logits = made()(tokens, torch.tensor([len(ids)])) if lengths else made()(tokens)
    return logits[0].softmax(0).tolist()  # type: ignore[no-any-return]


def exported(path: Path, examples: list[Any]) -> Any:
    return export(
        made(), path, labels=LABELS, vocabulary=WORDS, rules=TextRules("whitespace", unknown_id=1), torchscript=False,
        example_ids=examples,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lengths", "has_ids"), [pytest.param(True, True, marks=pytest.mark.slow), (False, False)], ids=["ids", "texts"]
)
def test_the_owners_answers_decide_between_two_calls(
    lengths: bool, has_ids: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples: list[Any] = [(*one, answer(one[1], lengths=lengths)) for one in (PLAIN, HOLDING)]
    if not has_ids:
        examples = [OwnersText(text, answer=given) for text, _, given in examples]
    exported(tmp_path / "b", examples)
    line = "module(tokens, lengths)" if lengths else "module(tokens)"
    assert f'"{line}" is used' in caplog.text
    found = Classifier.load(tmp_path / "b").predict_proba([HOLDING[0]])[0].tolist()
    assert found == pytest.approx(answer(HOLDING[1], lengths=lengths), abs=1e-5)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        pytest.param([], "--pairs", marks=pytest.mark.slow),
        pytest.param([PLAIN], "--pairs", marks=pytest.mark.slow),
        ([(*PLAIN, answer(PLAIN[1], lengths=True))], "None of your texts"),
        ([(*PLAIN, [0.25] * zoo.CLASSES)], "None of them"),
    ],
)
def test_where_no_answer_decides_the_inputs_that_differ_are_named(
    examples: list[Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        exported(tmp_path / "b", examples)
    assert 'call "module(tokens)"' in str(caught.value)
    assert "the id 0" in str(caught.value)
    assert said in str(caught.value)
    assert not (tmp_path / "b").exists()
