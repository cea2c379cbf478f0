"""Modules in an unusual state: exported with the answers that they give, or refused in one sentence of each kind."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import user_modules
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils.rnn import pack_sequence

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(user_modules.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]
TOKENS = torch.tensor([[5, 9, 3, 7]])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.emb = nn.Embedding(user_modules.WORDS, 12)
        self.rnn = nn.GRU(12, 10, batch_first=True)
        self.out: nn.Module = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.rnn(self.emb(x))[1][-1])
        return logits


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x)) + x.size(0) * 0


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 10, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _output, hidden = self.rnn(x)
        return hidden[-1]


class WithEncoder(Plain):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.rnn = encoder  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.rnn(self.emb(x)))
        return logits


def with_norm(norm: Callable[..., nn.Module], *names: str, run: bool) -> nn.Module:
    module = Plain()
    for name in names:
        norm(module.rnn, name)
    norm(module.out)
    if run:
        module.cpu()
        module(TOKENS).sum().backward()
    return module


def scripted_head() -> nn.Module:
    module = Plain()
    module.out = torch.jit.script(Head())
    return module


@torch.compile
def doubled(x: Tensor) -> Tensor:
    return 2 * x


class OfCompiledParts(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.emb = torch.compile(self.emb)  # type: ignore[assignment]
        self.half = torch.compile(self._half)

    def _half(self, x: Tensor) -> Tensor:
        return x / 2

    def forward(self, x: Tensor) -> Tensor:
        return doubled(self.half(super().forward(x)))


def several() -> nn.Module:
    module = OfCompiledParts()
    module.out = torch.jit.script(Head())
    parametrizations.weight_norm(module.rnn, "weight_hh_l0")
    return torch.compile(module)  # type: ignore[return-value]


# The first is the fast one.
MADE: dict[str, Callable[[], nn.Module]] = {
    "torch.compile of compiled parts, a weight norm and a scripted head": several,
    "scripted head": scripted_head,
    "scripted encoder": lambda: WithEncoder(torch.jit.script(Encoder())),
    "traced encoder": lambda: WithEncoder(torch.jit.trace(Encoder(), torch.zeros(2, 3, 12))),
    "torch.compile": lambda: torch.compile(Plain()),  # type: ignore[dict-item, return-value]
    "nn.DataParallel": lambda: nn.DataParallel(Plain()),
    "weight norm": lambda: with_norm(parametrizations.weight_norm, "weight_hh_l0", "weight_ih_l0", run=False),
    "weight norm, trained": lambda: with_norm(parametrizations.weight_norm, "weight_hh_l0", run=True),
    "old weight norm": lambda: with_norm(weight_norm, "weight_hh_l0", run=False),
    "old weight norm, trained": lambda: with_norm(weight_norm, "weight_hh_l0", "weight_ih_l0", run=True),
    "spectral norm": lambda: with_norm(parametrizations.spectral_norm, "weight_hh_l0", run=True),
    "old spectral norm": lambda: with_norm(spectral_norm, "weight_hh_l0", run=True),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", list(MADE))
def test_an_unusual_module_is_exported_and_left_as_it_was(made: str, tmp_path: Path) -> None:
    module = MADE[made]()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    kinds, training = [type(layer) for layer in module.modules()], module.training
    export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)

    assert [type(layer) for layer in module.modules()] == kinds
    assert module.training == training
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)

    module.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        expected = module(TOKENS).numpy()
    given = Classifier.load(tmp_path / "bundle").logits([" ".join(VOCABULARY[i] for i in TOKENS[0])])
    np.testing.assert_allclose(given, expected, atol=1e-5, rtol=1e-6)


class FailsOnLongTexts(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() and x.shape[1] > 64:
            raise RuntimeError("no such position\nmore of it")
        return super().forward(x)


@pytest.mark.slow
def test_a_length_that_fails_only_outside_of_a_trace_is_a_stated_limit(tmp_path: Path) -> None:
    manifest = export(FailsOnLongTexts(), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    assert manifest.graph.limits.max_tokens == 64


class Exits(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 7:
            sys.exit(3)
        return super().forward(x)


class ExitsAtOnce(Plain):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(x.shape[0] + 1)


class GivesAListOnceInAWhile(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.shape[0] == 2 else [super().forward(x)]  # type: ignore[return-value]


class Labels(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).long()


class StatisticsOfABatch(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.BatchNorm1d(10, track_running_stats=False), nn.Linear(10, 4))


def meta() -> nn.Module:
    with torch.device("meta"):
        return Plain()


def lazy() -> nn.Module:
    module = Plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.out = nn.LazyLinear(4)
    return module


def with_old_weights() -> nn.Module:
    module = Plain()
    parametrizations.spectral_norm(module.rnn, "weight_hh_l0")
    return module


def with_scripted_layer() -> nn.Module:
    module = Plain()
    module.rnn = torch.jit.script(module.rnn)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (meta, r"emb\.weight .*meta device.*to_empty"),
        (lazy, r"out\.weight .*no shape.*Run"),
        (with_old_weights, r"layer rnn .*weight_hh_l0.*module\.cpu\(\)"),
        pytest.param(
            with_scripted_layer, r"torch\.jit\.freeze fails on.*Export the nn\.Module", marks=pytest.mark.slow
        ),
        (StatisticsOfABatch, r"out\.0 is a BatchNorm1d without running statistics.*LayerNorm"),
        (Exits, r"fails on batch 7 x sequence 17.*SystemExit: 3\. "),
        pytest.param(
            ExitsAtOnce,
            r"fails at test_modules_in_unusual_states\.py:\d+: SystemExit: 4, .*module\(tokens\).*torch\.randint",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            GivesAListOnceInAWhile,
            r"fails on 2 texts of 1 token: RuntimeError: shape '\[2, 4\]' is invalid",
            marks=pytest.mark.slow,
        ),
        pytest.param(Labels, r"tensor of torch\.int64.*not labels", marks=pytest.mark.slow),
    ],
)
def test_what_a_module_raises_is_one_sentence(made: Callable[[], nn.Module], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        export(made(), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_that_are_loaded_into_a_weight_norm_are_those_that_the_layer_runs_with(
    tmp_path: Path, *, exported: bool
) -> None:
    from pocketrnn_export.intake.weights_file import SavedWeights, load_weights

    module = with_norm(parametrizations.weight_norm, "weight_hh_l0", run=False)
    state = {name: tensor * 1.5 for name, tensor in module.state_dict().items()}
    load_weights(module, SavedWeights(tmp_path / "weights.pt", state, {}))
    with torch.no_grad():
        expected = module.eval()(TOKENS).numpy()
    if exported:
        export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=False)
        given = Classifier.load(tmp_path / "bundle").logits([" ".join(VOCABULARY[i] for i in TOKENS[0])])
    else:
        found = prepare_module(module, lengths=None, ids=len(VOCABULARY), padding_id=1, classes=4, multi_label=False)
        given = found.make_reference().run(TOKENS.numpy(), np.array([TOKENS.shape[1]]))
    np.testing.assert_allclose(given, expected, atol=1e-5, rtol=1e-6)


class CannotBeListed(Plain):
    """Its parts cannot be listed any more once it has been copied."""

    def named_modules(self, *_args, **_kwargs):
        raise ZeroDivisionError("no parts")


def test_what_is_raised_elsewhere_is_one_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"CannotBeListed.*ZeroDivisionError: no parts") as caught:
        export(CannotBeListed(), tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_of_another_batch_beside_packed_rows_is_an_error_and_does_not_end_the_process(
    kind: type[nn.RNNBase],
) -> None:
    layer, rows = kind(4, 6), pack_sequence([torch.ones(5, 4), torch.ones(2, 4)])
    for batch in (1, 2, 3):
        state = torch.zeros(1, batch, 6)
        with run_quietly_on_cpu():
            if batch == 2:
                layer(rows, (state, state) if kind is nn.LSTM else state)
                continue
            with pytest.raises(RuntimeError, match=rf"\(1, 2, 6\).*\[1, {batch}, 6\]"):
                layer(rows, (state, state) if kind is nn.LSTM else state)
