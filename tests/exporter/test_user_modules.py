"""Modules as people write them: exported right, or refused with a reason; left as they were in either case."""

from __future__ import annotations

import contextlib
import copy
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import refused_modules
import size_modules
import torch
import user_modules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples, mostly_slow
from torch import nn
from torch.nn.utils import rnn

from pocketrnn import Classifier, verify
from pocketrnn.errors import ExportError, ParityError, PocketRNNError
from pocketrnn_export import export
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.export_lock_and_exceptions import run_one_export_on_one_core
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(user_modules.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]
# Their logits are chosen among two, or added up of those of every token.
WITHOUT_EMBEDDINGS = (user_modules.BranchesOnValues, user_modules.BiasOnPackedData)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind()


# In the fast suite, test_python_semantics.py has such a module, test_modules_in_unusual_states.py one that must stay
# as it was, and runtime/test_embeddings.py asks what is before the last layer.
@pytest.mark.slow
@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("kind", user_modules.EXPORTED, ids=lambda kind: kind.__name__)
def test_a_module_as_people_write_it_is_exported_and_answers_as_it_does(kind: type[nn.Module], tmp_path: Path) -> None:
    module = made(kind).train()
    before = copy.deepcopy(module.state_dict())
    manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)

    assert module.training, "the module comes back in the mode it came in"
    after = module.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)

    assert max(c.largest_difference for c in manifest.parity.comparisons if c.spreads is None) <= 1e-5
    assert all(c.labels_differing == 0 for c in manifest.parity.comparisons)
    verify(tmp_path / "bundle")
    classifier = Classifier.load(tmp_path / "bundle")
    alone = copy.deepcopy(module).eval().float()
    generator = np.random.default_rng(5)
    for length in (1, 4, 31):
        ids = generator.integers(2, len(VOCABULARY), length)
        inputs = [torch.tensor(ids)[None], torch.tensor([length])][: len(manifest.graph.inputs)]
        text = " ".join(VOCABULARY[i] for i in ids)
        with torch.no_grad(), before_the_last_layer(alone) as before_it:
            expected = alone(*inputs).numpy()
        given = classifier.logits([text])
        np.testing.assert_allclose(given, expected, atol=1e-5, rtol=1e-6)
        if kind not in WITHOUT_EMBEDDINGS and before_it[-1].shape[:-1].numel() == 1:
            np.testing.assert_allclose(classifier.embed([text])[0], before_it[-1].flatten(), atol=1e-5)


@contextlib.contextmanager
def before_the_last_layer(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """The inputs of a module's linear layers while the block runs, the last layer's last."""
    given: list[torch.Tensor] = []
    linear = [layer for layer in module.modules() if type(layer) is nn.Linear]
    hooks = [layer.register_forward_hook(lambda _layer, inputs, _: given.append(inputs[0])) for layer in linear]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.slow
def test_only_models_that_padding_does_not_change_are_run_padded(tmp_path: Path) -> None:
    right, wrong = made(user_modules.MaskedAttention), made(user_modules.MeanOverPadding)
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False}
    assert export(right, tmp_path / "right", **given).graph.padding
    assert not export(wrong, tmp_path / "wrong", **given).graph.padding
    texts = ["w1", "w2 w3 w4 w5", "w6 w7", "w8 w9 w10 w11 w12 w13 w14"]
    classifier = Classifier.load(tmp_path / "wrong")
    together, alone = classifier.logits(texts), np.concatenate([classifier.logits([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("case", mostly_slow(refused_modules.REFUSED, 17), ids=lambda case: case[0].__name__)
def test_a_module_that_cannot_be_exported_right_is_refused_with_the_reason(
    case: tuple[type[nn.Module], type[PocketRNNError], str], tmp_path: Path
) -> None:
    kind, error, reason = case
    with pytest.raises(error, match=reason):
        export(made(kind), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=True)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.slow
def test_a_torchscript_copy_that_answers_otherwise_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = made(refused_modules.OtherwiseInTorchScript)
    manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    assert manifest.torchscript is None
    assert re.search(r"model\.torchscript\.pt is left out: .*answers", caplog.text)
    verify(tmp_path / "bundle")


@pytest.mark.slow
def test_a_refused_module_leaves_the_old_bundle_as_it_was(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False}
    export(made(user_modules.PackedLastState), bundle, **given)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(ParityError):
        export(made(refused_modules.OtherwiseInOnnx), bundle, **given, force=True)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.slow
def test_torch_is_as_it_was_after_success_and_after_failure(tmp_path: Path) -> None:
    functions = (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward)
    codes = (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__)
    export(made(user_modules.PackedLastState), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    with pytest.raises(ExportError):
        export(made(size_modules.LoopOverWindows), tmp_path / "none", labels=LABELS, vocabulary=VOCABULARY)
    assert (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward) == functions
    assert (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__) == codes


@pytest.mark.slow
def test_another_thread_sees_pytorch_as_it_is_while_one_exports(tmp_path: Path) -> None:
    module, tokens, lengths = (
        made(user_modules.MaskedAttention).eval(),
        torch.ones(3, 9, dtype=torch.int64),
        torch.tensor([9, 4, 2]),
    )
    with torch.no_grad():
        expected = module(tokens, lengths)
    exporting, different = threading.Event(), []

    def watch() -> None:
        exporting.wait()
        while exporting.is_set():
            with torch.no_grad():
                different.append(not torch.equal(module(tokens, lengths), expected))

    watcher = threading.Thread(target=watch)
    watcher.start()
    exporting.set()
    try:
        export(made(user_modules.PackedLastState), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    finally:
        exporting.clear()
        watcher.join()
    assert len(different) > 10
    assert not any(different)


@pytest.mark.slow
def test_an_export_waits_for_that_of_another_thread(tmp_path: Path) -> None:
    # A file: an export undoes what forward appends to a list.
    asked = tmp_path / "asked"

    class ModuleFacts(user_modules.PackedLastState):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            asked.touch()
            raise ValueError

    def refused() -> None:
        with pytest.raises(ExportError):
            export(made(ModuleFacts), tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY)

    thread = threading.Thread(target=refused)
    with run_one_export_on_one_core():
        thread.start()
        thread.join(0.2)
        assert not asked.exists()
    thread.join()
    assert asked.exists()


@pytest.mark.slow
def test_exports_from_several_threads_all_succeed(tmp_path: Path) -> None:
    kinds = (user_modules.PackedLastState, user_modules.TimeMajorSorted)
    threads = [
        threading.Thread(
            target=export,
            args=(made(kind), tmp_path / kind.__name__),
            kwargs={"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False},
        )
        for kind in kinds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name for path in tmp_path.iterdir()} == {kind.__name__ for kind in kinds}


@pytest.fixture(scope="module")
def packed_module_and_graph() -> tuple[nn.Module, onnxruntime.InferenceSession]:
    module = made(user_modules.MaskedAttention).eval()
    example = torch.full((3, 7), 2), torch.tensor([7, 5, 3])
    return module, open_session(trace_onnx_graph(module, example, {}).content)


# In the fast suite, test_streaming.py draws texts for a graph with lengths, and every proof has drawn batches.
@pytest.mark.slow
@settings(max_examples=examples(20, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_a_drawn_batch_is_answered_by_the_graph_as_by_the_module(
    packed_module_and_graph: tuple[nn.Module, onnxruntime.InferenceSession], lengths: list[int], seed: int
) -> None:
    module, session = packed_module_and_graph
    tokens = np.random.default_rng(seed).integers(0, user_modules.WORDS, (len(lengths), max(lengths)))
    sizes = np.array(lengths, dtype=np.int64)
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens), torch.from_numpy(sizes)).numpy()
    given_logits = session.run(["logits"], {"tokens": tokens, "lengths": sizes})[0]
    np.testing.assert_allclose(given_logits, expected, atol=1e-5)
