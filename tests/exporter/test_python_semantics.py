"""Python's and old PyTorch's idioms in forward: traced right, in the tracing thread only, and left as they were."""

from __future__ import annotations

import builtins
import copy
import inspect
import logging
import os
import threading
import warnings
from pathlib import Path
from typing import ClassVar

import idiom_modules
import numpy as np
import pytest
import torch
from slow_case_sampling import SLOW_TOO, mostly_slow
from torch import nn

from pocketrnn import Classifier
from pocketrnn.errors import PocketRNNError
from pocketrnn_export import export
from pocketrnn_export.forms.torchscript_form import trace_torchscript
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer, run_quietly_on_cpu
from pocketrnn_export.tracing.module_trace import make_export_session
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(idiom_modules.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


ALONE = [kind for kind in idiom_modules.EXPORTED if kind is not idiom_modules.SeveralAtOnce]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [idiom_modules.SeveralAtOnce, *ALONE])
def test_an_idiom_of_notebooks_is_exported_in_all_forms(
    kind: type[nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    module = made(kind)
    with caplog.at_level(logging.WARNING):
        manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    with_asserts = (idiom_modules.SeveralAtOnce, idiom_modules.AssertsAndPrints)
    assert ("assert of forward" in caplog.text) == (kind in with_asserts)
    assert manifest.torchscript is not None
    assert manifest.graph.limits is None
    assert capfd.readouterr().out == ""
    assert idiom_modules.__dict__.get("len") is None, "the stand-ins are gone"
    assert idiom_modules.torch is torch
    assert idiom_modules.np is np

    answers_as_its_module(tmp_path / "bundle", module)


def answers_as_its_module(bundle: Path, module: nn.Module) -> None:
    classifier = Classifier.load(bundle)
    alone = copy.deepcopy(module).eval()
    takes = len(inspect.signature(module.forward).parameters)
    generator = np.random.default_rng(5)
    texts, expected = [], []
    for length in (1, 4, 31):
        ids = generator.integers(2, len(VOCABULARY), length)
        inputs = [torch.tensor(ids)[None], torch.tensor([length])][:takes]
        with torch.no_grad(), run_quietly_on_cpu():
            expected.append(alone(*inputs).numpy().reshape(-1))
        texts.append(" ".join(VOCABULARY[i] for i in ids))
    np.testing.assert_allclose(classifier.logits(texts), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(idiom_modules.ROW_BY_ROW, 7))
def test_a_list_of_numbers_of_the_texts_is_exported_for_one_text_at_a_time(
    kind: type[nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    module = made(kind)
    torchscript = None if SLOW_TOO in os.environ else False  # above, one is written
    with caplog.at_level(logging.WARNING, logger="pocketrnn_export"):
        export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=torchscript)
    assert "one text at a time" in caplog.text
    assert "idiom_modules.py" in caplog.text
    assert capfd.readouterr().err == ""
    answers_as_its_module(tmp_path / "bundle", module)


class SumsOneByOne(idiom_modules.LenOfTheBatch):
    """Values in numpy, which no text at a time helps."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        weights = np.log1p(lengths.numpy())
        return self.fc(self.rnn(self.embedding(x))[0].sum(1) * torch.from_numpy(weights)[:, None].float())


@pytest.mark.slow
def test_values_given_to_python_are_refused_by_their_line_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(PocketRNNError) as refused:
        export(made(SumsOneByOne), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    assert "np.log1p" in refused.value.problem
    assert "test_python_semantics.py" in refused.value.problem
    assert "out[torch.arange(len(lengths)), lengths - 1]" in str(refused.value)


@pytest.mark.parametrize("kind", [idiom_modules.NewFromAWeight, idiom_modules.SqueezesAll, idiom_modules.PackedByNumpy])
def test_a_torchscript_copy_keeps_no_size_of_its_example(kind: type[nn.Module]) -> None:
    module = made(kind).eval()
    lengths = (torch.tensor([7, 5, 3]),) if kind is idiom_modules.PackedByNumpy else ()
    _, script = trace_torchscript(module, (torch.full((3, 7), 2), *lengths))
    for rows, steps in ((1, 1), (1, 9), (2, 7), (40, 3)):
        tokens = torch.randint(2, idiom_modules.WORDS, (rows, steps))
        inputs = (tokens, torch.arange(steps, steps - rows, -1).clamp(min=1))[: 1 + len(lengths)]
        with torch.no_grad():
            expected = compute_answer(module, inputs).reshape(rows, -1)
            assert torch.allclose(script(*inputs), expected, atol=1e-6)


class KeepsABatch(nn.Module):
    """An initial state by numpy, whose sizes no trace can see."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 12)
        self.rnn = nn.LSTM(12, 10, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.from_numpy(np.zeros((1, x.size(0), 10), np.float32))
        return self.fc(self.rnn(self.embedding(x), (h, h))[0][:, -1])


def test_a_baked_state_is_an_error_of_the_copy_and_not_the_end_of_the_process() -> None:
    _, script = trace_torchscript(KeepsABatch().eval(), (torch.full((3, 7), 2),))
    for rows in (1, 2, 64):
        with pytest.raises(RuntimeError, match="expand"):
            script(torch.full((rows, 7), 2))


@pytest.mark.slow
def test_what_training_left_on_a_module_is_copied(tmp_path: Path) -> None:
    class Nested(idiom_modules.KeepsItsAttention):
        pass

    module = made(Nested)
    module(torch.full((5, 3), 4))
    module.history = [[module.hidden], {"first": (module.attention, None)}]
    export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=False)
    assert module.hidden[0].grad_fn is not None


def test_other_threads_and_other_files_keep_their_python() -> None:
    module = made(idiom_modules.LenOfTheBatch).eval()
    found: list[object] = []

    def look() -> None:
        found.extend([idiom_modules.len([1, 2]), idiom_modules.torch.FloatTensor(2, 3).shape])  # type: ignore[attr-defined]
        found.append(idiom_modules.int("3"))  # type: ignore[attr-defined]

    with make_export_session(module, TraceLog()):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert builtins.len is len
        assert len(torch.zeros(3, 2)) == 3
    assert found == [2, torch.Size([2, 3]), 3]
    assert "len" not in vars(idiom_modules)
    assert "forward" not in vars(module)


class Raises(idiom_modules.LenOfTheBatch):
    """Fails once it has been asked so often."""

    error: BaseException = RecursionError("too deep")
    most = 0
    runs: ClassVar[list[int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs.append(1)
        if sum(self.runs) > self.most:
            raise copy.copy(self.error)
        return super().forward(x)


@pytest.mark.parametrize("most", mostly_slow([0, 60], 2, first=1))
@pytest.mark.parametrize(
    "error", mostly_slow([RecursionError("too deep"), MemoryError("no more"), SystemExit(3)], 3), ids=repr
)
def test_whatever_a_module_raises_is_a_sentence(error: BaseException, most: int, tmp_path: Path) -> None:
    module = made(Raises)
    Raises.runs.clear()
    module.error, module.most = error, most
    with pytest.raises(PocketRNNError, match=type(error).__name__):
        export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    assert not (tmp_path / "bundle").exists()


def test_a_keyboard_interrupt_stays_one(tmp_path: Path) -> None:
    module = made(Raises)
    Raises.runs.clear()
    module.error, module.most = KeyboardInterrupt(), 60
    with pytest.raises(KeyboardInterrupt):
        export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)


def test_a_batch_of_one_that_loses_its_axis_is_asked_beside_itself() -> None:
    module = made(idiom_modules.SqueezesAll).eval()
    tokens = torch.tensor([[4, 5, 6]])
    assert module(tokens).shape == (4,)
    assert torch.allclose(compute_answer(module, [tokens])[0], module(tokens))


def test_prints_of_other_threads_are_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with run_quietly_on_cpu():
        print("mine")
        thread = threading.Thread(target=lambda: print("another's"))
        thread.start()
        thread.join()
    print("after")
    assert capsys.readouterr().out == "another's\nafter\n"


@pytest.mark.parametrize("kind", mostly_slow([idiom_modules.NewGru, idiom_modules.NewFromAWeight], 2))
def test_torchscript_with_a_state_of_one_batch_is_refused_before_it_runs(kind: type[nn.Module], tmp_path: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch.jit.trace says of sizes
        script = torch.jit.trace(made(kind).eval(), (torch.full((3, 7), 2),), check_trace=False)
    with pytest.raises(PocketRNNError, match=r"(GRU|LSTM) .*TorchScript .*x\.size\(0\)"):
        export(script, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
