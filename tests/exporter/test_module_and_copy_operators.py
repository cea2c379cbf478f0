"""A copy of a module runs what the module runs, operator by operator, or is refused; also where a scripted function
runs as Python."""

from __future__ import annotations

from pathlib import Path

import misleading_copy_modules as zoo
import pytest
import torch
from proof_sizes import short_sizes
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import make_cases_of_given_sizes
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.proof.operators_of_original_and_copy import refuse_copy_that_runs_other_operators

WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]


def compared(module: nn.Module) -> None:
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "multi_label": False}
    prepared = prepare_module(module.eval(), classes=zoo.CLASSES, **known)
    assert prepared.given is not None
    cases = make_cases_of_given_sizes([(3, 7), (1, 1)], zoo.WORDS, 1, ragged=False)
    refuse_copy_that_runs_other_operators(prepared.given, cases)


@pytest.mark.parametrize("kind", mostly_slow(zoo.OTHERS, 7), ids=lambda kind: kind.__name__)
def test_what_runs_other_operators_than_the_module_is_refused_with_the_line(kind: type[zoo.Base]) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match="operators") as refusal:
        compared(kind())
    assert zoo.OTHERS[kind] in str(refusal.value)
    assert "misleading_copy_modules.py:" in refusal.value.problem


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(zoo.ALIKE, 6), ids=lambda kind: kind.__name__)
def test_what_runs_the_same_operators_is_not_refused(kind: type[zoo.Base]) -> None:
    torch.manual_seed(0)
    compared(kind())


@pytest.mark.slow
def test_an_export_compares_them_on_the_threads_of_its_owner(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with short_sizes(), pytest.raises(ExportError, match="threads"):
            export(zoo.OfThreads().eval(), tmp_path / "b", labels=["a", "b", "c"], vocabulary=WORDS,
                   tokenizer="whitespace", torchscript=False)  # fmt: skip
    finally:
        torch.set_num_threads(before)
