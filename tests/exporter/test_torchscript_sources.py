"""A TorchScript file as the source of a bundle."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import user_modules
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export import export
from pocketrnn_export.intake.torchscript_saving_and_loading import load_torchscript
from pocketrnn_export.intake.traceable_torchscript import make_traceable_module

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(user_modules.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]
TEXTS = ["w1 w2 w3", "w9", "w3 w3 w30 w31 w8 w2"]
# torch.jit.trace unrolls a loop for the example's length, and takes the branch of its values.
COPIED = [
    kind
    for kind in user_modules.EXPORTED
    if kind.__name__ not in ("StepsACell", "LoopsByHand", "BranchesOnValues", "OneTextAtATime", "LengthsAsList")
]


def torchscript_copy(kind: type[nn.Module], path: Path) -> nn.Module:
    """Save a module's TorchScript copy, and return the module."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind().eval().float()
    takes_lengths = kind.forward.__code__.co_argcount == 3
    example = (torch.zeros(3, 7, dtype=torch.int64), torch.tensor([7, 5, 3]))[: 1 + takes_lengths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch.jit.trace says of sizes
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), path)
    return module


OTHERS = [kind for kind in COPIED if kind is not user_modules.PackedLastState]
READ = [user_modules.PackedLastState, *mostly_slow(OTHERS, 18)]


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_what_a_torchscript_copy_is_read_as_answers_as_its_module(kind: type[nn.Module], tmp_path: Path) -> None:
    module = torchscript_copy(kind, tmp_path / "copy.pt")
    read = make_traceable_module(load_torchscript(tmp_path / "copy.pt"))
    for lengths in ([7, 5, 3], [4, 1], [9]):
        tokens = torch.randint(2, user_modules.WORDS, (len(lengths), lengths[0]))
        inputs = (tokens, torch.tensor(lengths))[: module.forward.__code__.co_argcount - 1]
        with torch.no_grad():
            torch.testing.assert_close(read(*inputs), module(*inputs))


# In the fast suite, the command exports one, below.
@pytest.mark.slow
@pytest.mark.parametrize("kind", COPIED, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_torchscript_copy_is_exported_as_its_module_is(kind: type[nn.Module], tmp_path: Path) -> None:
    module = torchscript_copy(kind, tmp_path / "copy.pt")
    manifest = export(load_torchscript(tmp_path / "copy.pt"), tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY)
    assert all(
        (c.largest_difference <= 1e-5 or c.spreads) and not c.labels_differing for c in manifest.parity.comparisons
    )
    check_answers(module, tmp_path / "b")


def check_answers(module: nn.Module, bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    for text in TEXTS:
        ids = classifier.encode(text)
        inputs = [torch.tensor([ids]), torch.tensor([len(ids)])][: len(classifier.manifest.graph.inputs)]
        with torch.no_grad():
            expected = module(*inputs).numpy()
        np.testing.assert_allclose(classifier.logits([text]), expected, atol=1e-5, rtol=1e-6)


class Scripted(nn.Module):
    """For torch.jit.script, with a branch that is decided by the sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(user_modules.WORDS, 8)
        self.gru = nn.GRU(8, 6, batch_first=True)
        self.fc = nn.Linear(6, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dim() == 1:
            tokens = tokens.unsqueeze(0)
        outputs, _ = self.gru(self.embedding(tokens))
        return self.fc(outputs[:, -1])


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_a_scripted_module_and_one_frozen_before_it_was_saved_are_exported(frozen: bool, tmp_path: Path) -> None:
    source = torch.jit.script(Scripted().eval())
    if frozen:
        torch.jit.save(torch.jit.freeze(source), tmp_path / "frozen.pt")
        source = load_torchscript(tmp_path / "frozen.pt")
    manifest = export(source, tmp_path / "b", torchscript=False, labels=LABELS, vocabulary=VOCABULARY)
    assert max(c.largest_difference for c in manifest.parity.comparisons if c.spreads is None) <= 1e-5


class Loops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(user_modules.WORDS, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(tokens.size(0), 8)
        for step in range(tokens.size(1)):
            state = torch.tanh(state + self.embedding(tokens[:, step]))
        return self.fc(state)


@pytest.mark.slow
def test_a_scripted_loop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="prim::Loop"):
        export(torch.jit.script(Loops().eval()), tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_exports_a_torchscript_file(tmp_path: Path) -> None:
    module = torchscript_copy(user_modules.OneHot, tmp_path / "copy.pt")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    arguments = [str(tmp_path / "copy.pt"), "--vocabulary", str(tmp_path / "vocab.txt"), "--labels", ",".join(LABELS)]
    result = CliRunner().invoke(main, ["export", *arguments, "-o", str(tmp_path / "b")])
    assert result.exit_code == 0, result.output
    assert Classifier.load(tmp_path / "b").labels == tuple(LABELS)
    check_answers(module, tmp_path / "b")


def test_a_damaged_torchscript_file_is_said_so(tmp_path: Path) -> None:
    torchscript_copy(user_modules.PackedLastState, tmp_path / "copy.pt")
    content = (tmp_path / "copy.pt").read_bytes()
    (tmp_path / "copy.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"copy\.pt is not .*TorchScript"):
        load_torchscript(tmp_path / "copy.pt")


def test_a_torchscript_file_that_is_cut_short_is_named_by_the_command(tmp_path: Path) -> None:
    torchscript_copy(user_modules.PackedLastState, tmp_path / "copy.pt")
    content = (tmp_path / "copy.pt").read_bytes()
    (tmp_path / "copy.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    arguments = [str(tmp_path / "copy.pt"), "--vocabulary", str(tmp_path / "vocab.txt"), "--labels", ",".join(LABELS)]
    result = CliRunner().invoke(main, ["export", *arguments, "-o", str(tmp_path / "b")])
    assert result.exit_code == 2
    assert re.search(r"copy\.pt .*nor a complete TorchScript [^~]*--weights .*copy", result.output)
    assert not (tmp_path / "b").exists()
