"""The form seam: whatever runs a form has, each is proven on all the cases that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import user_modules
from slow_case_sampling import mostly_slow

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.errors import ExportError, ParityError
from pocketrnn.text import TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_proof import ProofPlan
from pocketrnn_export.bundle_writer import write_bundle
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.comparing.proof_inputs import Ids, Logits
from pocketrnn_export.forms.form import Form
from pocketrnn_export.forms.onnx.onnx_form import ONNX, trace_onnx_graph
from pocketrnn_export.forms.torchscript_form import TORCHSCRIPT
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = user_modules.WORDS
DESCRIPTION = Description(
    name="news",
    input=TextInput(
        TextRules(unknown_id=0, empty_id=0, padding_id=1), ("<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2)))
    ),
    output=LabelOutput(("World", "Sports", "Business", "Sci/Tech")),
    provenance={},
)


@pytest.fixture(scope="module")
def prepared() -> ExportableModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = user_modules.PackedLastState()
    return prepare_module(module, lengths=None, ids=WORDS, padding_id=1, classes=4, multi_label=False)


@pytest.fixture(scope="module")
def form(prepared: ExportableModule) -> Form:
    return ONNX.make(prepared, DESCRIPTION, ())


@pytest.fixture
def plan(prepared: ExportableModule) -> ProofPlan:
    return ProofPlan(
        prepared.make_reference(),
        choose_cases_for_text_rules(DESCRIPTION.text.rules, ids=WORDS, ragged=True),
        ["w1 w2", "w3"],
    )


def with_run(form: Form, name: str, change: Callable[[Logits], Logits], *, one_row: bool = False) -> Form:
    def run(tokens: Ids, lengths: Ids) -> Logits:
        assert not one_row or (len(tokens) == 1 and tokens.shape[1] == lengths[0])
        return change(form.runs["onnx"](tokens, lengths))

    return replace(form, runs={**form.runs, name: run}, one_row=one_row)


def test_a_run_that_answers_otherwise_is_named_and_nothing_is_written(
    form: Form, plan: ProofPlan, tmp_path: Path
) -> None:
    wrong = with_run(form, "another engine", lambda logits: logits + np.float32(0.5))
    with pytest.raises(ParityError, match="another engine"):
        write_bundle(tmp_path / "b", DESCRIPTION, [wrong], plan)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_is_named_with_the_case_and_nothing_is_written(
    form: Form, plan: ProofPlan, tmp_path: Path
) -> None:
    def fails(_: Logits) -> Logits:
        raise ValueError("it ran out of registers.\nand more")

    with pytest.raises(ParityError, match=r"batch 1 x sequence 1\).*another engine .*registers"):
        write_bundle(tmp_path / "b", DESCRIPTION, [with_run(form, "another engine", fails)], plan)
    assert list(tmp_path.iterdir()) == []


def test_a_form_of_one_row_is_run_on_each_row_alone(form: Form, plan: ProofPlan, tmp_path: Path) -> None:
    alone = with_run(form, "another engine", lambda logits: logits, one_row=True)
    written = write_bundle(tmp_path / "b", DESCRIPTION, [alone], plan)
    lines = {(line.candidate, line.inputs): line for line in written.parity.comparisons}
    for inputs, cases in plan.cases.items():
        line = lines["another engine", inputs]
        assert line.cases == line.rows == sum(len(case.lengths) for case in cases)


class RareSums(torch.nn.Module):
    """Does something else for texts whose ids have a rare sum, which no text of a proof has."""

    def __init__(self, rare: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embedding, self.rare = torch.nn.Embedding(WORDS, 4), rare

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        is_rare = (tokens * tokens).sum(1, keepdim=True) % 9_973 == 17
        steps = self.embedding(tokens)
        return torch.where(is_rare, self.rare(steps), steps.mean(1))


def torchscript_of(rare: Callable[[torch.Tensor], torch.Tensor], *forms: Form) -> Form:
    made = prepare_module(RareSums(rare), lengths=None, ids=WORDS, padding_id=1, classes=4, multi_label=False)
    return TORCHSCRIPT.make(made, DESCRIPTION, forms)


def test_torchscript_that_holds_a_size_of_its_trace_is_refused() -> None:
    with pytest.raises(ExportError, match="11 tokens"):
        torchscript_of(lambda x: torch.stack([part.mean(1) for part in x.split(5, 1)]).amax(0))


def test_torchscript_is_traced_on_both_sides_of_what_forward_asks(form: Form) -> None:
    assert torchscript_of(lambda x: x.amax(1) * x.size(1), form).content
    with pytest.raises(ExportError, match="texts of 3 tokens"):
        torchscript_of(lambda x: x.amax(1) if x.size(1) > 3 else x.sum(1), replace(form, bounds=((2, 4), (2, 3))))


class Occurs(torch.nn.Module):
    def __init__(self, occurs: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 4)
        self.occurs = occurs

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.embedding(tokens).mean(1) * (self.occurs(tokens > 2).float().reshape(-1, 1) + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "occurs",
    mostly_slow(
        [
            lambda is_it: is_it.any(1, True),
            lambda is_it: is_it.any(dim=-1, keepdim=True).any(1),
            lambda is_it: torch.any(is_it.unsqueeze(2), (1, 2), True).squeeze(2),
            lambda is_it: torch.any(is_it.unsqueeze(2), (1, 2)),
            lambda is_it: is_it.all(1, True),
        ],
        5,
        first=2,
    ),
)
def test_an_axis_that_any_or_all_keeps_is_kept(occurs: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module = Occurs(occurs).eval()
    graph = trace_onnx_graph(module, (torch.randint(1, 6, (3, 7)),), {})
    run = make_onnx_run(graph.content, optimized=True)
    for shape in ((1, 1), (2, 1), (3, 7), (5, 3)):
        tokens = torch.randint(0, 6, shape)
        np.testing.assert_allclose(
            run(tokens.numpy(), np.full(shape[0], shape[1])), module(tokens).detach().numpy(), atol=1e-5
        )
