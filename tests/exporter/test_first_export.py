"""A first export shows the verdict before the details, and all that must be known before the long work."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_export.commands.export import export as export_command
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.checks_of_module_made_again import refuse_random_construction
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.proof import proof_duration
from pocketrnn_export.proof.proof_duration import describe_duration_of_long_work, estimate_proof_seconds
from pocketrnn_export.vocabularies.answer_distances import AnsweredText
from pocketrnn_export.vocabularies.owner_answer_comparison import list_labels_that_no_answer_names
from pocketrnn_export.vocabularies.owner_id_comparison import refuse_other_ids
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")

WORDS = ["<unk>", "<pad>", "oil", "war", "cup"]
MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.rnn = nn.GRU(4, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)

    def forward(self, tokens):
        return self.fc(self.rnn(self.embedding(tokens))[1][-1])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(MODEL, names)  # noqa: S102 - a test's own code
    module = names["Net"]().eval()
    torch.save({"model": module.state_dict(), "labels": ["bad", "good"]}, "model.pt")
    Path("vocab.txt").write_text("\n".join(WORDS))
    rows = []
    for text, ids in [("oil war", [2, 3]), ("cup", [4]), ("oil war", [2, 3])]:
        given = module(torch.tensor([ids])).softmax(1)[0].tolist()
        rows.append({"text": text, "ids": ids, "probabilities": given})
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def run_export(*options: str) -> Result:
    given = ["export", "model.py:Net", "--weights", "model.pt", "--vocabulary", "vocab.txt", "--labels", "model.pt"]
    return CliRunner().invoke(main, [*given, "-o", "made", "--no-torchscript", *options])


@pytest.mark.usefixtures("folder")
def test_the_verdict_comes_first_and_notes_that_matter_come_before_the_proof() -> None:
    result = run_export("--pairs", "pairs.jsonl")
    assert result.exit_code == 0, result.output
    shown = result.stdout.splitlines()
    assert shown[0] == "Wrote made: made, 2 labels."
    assert shown[1].startswith("Graph: proven equal to the PyTorch module. On ")
    assert shown[1].endswith("pocketrnn inspect made.")
    assert not any("with pytorch" in line for line in shown)
    before = result.stderr.partition("Tracing the module")[0]
    assert "golden examples" not in result.stderr
    assert result.stdout.count("golden examples") == result.stdout.count("--no-examples") == 1
    assert any(line.startswith("The text rules: ") and "inspect made" in line for line in shown)
    assert "are lists without names" in before
    # The text that is given twice counts once, everywhere.
    assert "2 texts have the same ids" in before
    assert shown[2].startswith("Text rules: ")
    assert "on 2 texts: the same ids." in shown[2]
    assert "On 2 texts it answers" in shown[2]
    table = run_export("--report", "report.json", "--force")
    assert "onnx with pytorch" in table.stdout
    assert "golden examples" not in table.output


def test_a_warning_of_the_owners_code_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    loud = "import warnings\nfrom torch import nn\nclass Net(nn.Identity):\n    def __init__(self):\n"
    Path("loud.py").write_text(f"{loud}        super().__init__()\n        warnings.warn('heard')\n")
    named = parse_module_name("loud.py:Net")
    assert named is not None
    with pytest.warns(UserWarning, match="heard"):
        module = load_module(named)
    refuse_random_construction(named, module)
    assert "heard" not in capfd.readouterr().err


def test_labels_that_no_answer_names_are_found_before_the_proof() -> None:
    labels = ["a", "b", "c"]
    numbers = AnsweredText("x", "x", {"a": 0.2, "b": 0.3, "c": 0.5}, names=False)
    assert list_labels_that_no_answer_names([numbers], labels) == ("a", "b", "c")
    assert list_labels_that_no_answer_names([numbers, AnsweredText("y", "y", ("b",))], labels) == ("a", "c")
    labelled = AnsweredText("x", "x", numbers.answer, names=False, label=("c",))
    assert list_labels_that_no_answer_names([labelled], labels) == ("a", "b")
    assert list_labels_that_no_answer_names([AnsweredText("y", "y", {"a": 0.1, "b": 0.2})], labels) == ()


def test_the_advice_on_a_tokenizer_elsewhere_has_the_widths_in_python_too() -> None:
    vocabulary = read_vocabulary(WORDS)
    pairs = [("oil, war", [4, 2, 2, 1, 1]), ("cup and cup", [3, 3, 3, 1, 1]), ("war", [4, 4, 4, 4, 4])]
    with pytest.raises(InputError, match="external") as caught:
        refuse_other_ids(vocabulary, make_implied_rules(vocabulary), pairs)
    said = str(caught.value)
    assert "--max-tokens 5" in said.partition("TextRules(")[0]
    assert "max_tokens=5" in said.partition("TextRules(")[2].partition(")")[0]


def test_the_length_of_a_proof_is_estimated_from_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "texts": [Case("one", np.zeros((1, 10), np.int64), np.array([10]))] * 10,
        "shapes": [Case("two", np.zeros((2, 5), np.int64), np.array([5, 5]))] * 30,
    }
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(proof_duration.time, clock, functools.partial(next, itertools.count(0.0, 0.5)))

    def run(tokens: Any, _lengths: Any) -> Any:
        return np.zeros((len(tokens), 2))

    def fail(_tokens: Any, _lengths: Any) -> Any:
        raise ValueError

    # Three forms, the module and its copy on 40 cases; in double precision three runs, and eight draws of ten texts.
    assert estimate_proof_seconds(Reference("pytorch", run), cases, [run] * 3) == pytest.approx(40 * 0.5 * 5)
    assert estimate_proof_seconds(Reference("pytorch", run, run), cases, [run] * 3) == pytest.approx(
        40 * 0.5 * (5 + 3 + 2)
    )
    joined = estimate_proof_seconds(Reference("pytorch", run, run), cases, [run] * 3, rows_alone=True)
    assert joined == pytest.approx(40 * 0.5 * (5 + 3) + 8 * 0.5)
    assert estimate_proof_seconds(Reference("pytorch", fail), cases, [fail]) == 0
    assert estimate_proof_seconds(Reference("pytorch", run), {}, [run]) == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, ""), (44, ", which takes about 40 seconds if "), (131, ", which takes about 2 minutes if ")],
)
def test_a_long_proof_says_how_long_it_takes(seconds: float, said: str) -> None:
    # The estimate is of processor time: on a machine with other work, the proof takes longer.
    found = describe_duration_of_long_work(seconds)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_the_help_has_what_most_exports_need_on_its_first_screen() -> None:
    shown = CliRunner().invoke(main, ["export", "--help"]).output
    first, _, rest = shown.partition("SOURCE is")
    assert len(first.splitlines()) <= 45
    assert all(
        f"--{name}" in first for name in ("weights", "vocabulary", "labels", "pairs", "tokenizer", "no-examples")
    )
    assert all(option in shown for parameter in export_command.params for option in parameter.opts if "--" in option)
    assert "Other kinds of classifiers:" in rest
