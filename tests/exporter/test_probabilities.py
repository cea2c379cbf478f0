"""Whether a module gives logits or probabilities is seen in its numbers: converted where one activation explains them,
asked about where that cannot be told, and never taken for logits in silence."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import convention_modules as zoo
import pytest
import rare_word_modules as rare
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn
from torch.nn import functional

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module

TOKENS = torch.arange(2, 26).reshape(4, 6)


class Ends(zoo.Base):
    """A classifier whose forward ends in a function of its last layer."""

    def __init__(self, end: Callable[[Tensor], Tensor] | nn.Module, classes: int = zoo.CLASSES) -> None:
        super().__init__(classes)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.fc(self.last(x)))


class _Sigmoid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class Mixture(zoo.Base):
    """Shares of three experts, multiplied by what each says: a product of matrices that gives a probability."""

    def __init__(self) -> None:
        super().__init__(3)
        self.gate = nn.Linear(zoo.HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        last = self.last(x)
        shares = torch.softmax(self.gate(last), 1).unsqueeze(1)
        return torch.bmm(shares, torch.special.expit(self.fc(last)).unsqueeze(2)).view(-1, 1)


class OfTogether(zoo.Base):
    """Sigmoids, multiplied by weights above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.together = nn.Parameter(torch.rand(zoo.CLASSES, zoo.CLASSES) / zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.expit(self.fc(self.last(x))) @ self.together


def byhand(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


# Functions of each number by itself, with results of one sign.
ONE_SIGN: dict[str, Callable[[Tensor], Tensor]] = {
    "clip": lambda z: (z + 0.5).clip(0, 1),
    "by hand": byhand,
    "relu, tiny": lambda z: torch.relu(z + 0.2) * 0.05,
    "scaled sigmoid": lambda z: torch.sigmoid(z) * 0.98 + 0.01,
    "minimum and maximum": lambda z: torch.minimum(torch.maximum(z + 0.5, torch.zeros(())), torch.ones(())),
    "Hardtanh": lambda z: nn.Hardtanh(0, 1)(z + 0.5),
    "hardsigmoid": functional.hardsigmoid,
    "tanh": lambda z: (torch.tanh(z) + 1) / 2,
    "erf": lambda z: 0.5 * (1 + torch.erf(z)),
    "ndtr": torch.special.ndtr,
    "atan": lambda z: torch.atan(z) / 3.2 + 0.5,
    "softsign": lambda z: (functional.softsign(z) + 1) / 2,
    "exp": lambda z: 1 - torch.exp(-torch.exp(z)),
    "the other label": lambda z: 1 - torch.special.expit(z),
    "logsigmoid": functional.logsigmoid,
    "softplus": lambda z: -functional.softplus(-z),
    "scripted": torch.jit.script(_Sigmoid()),
    "traced": torch.jit.trace(_Sigmoid(), torch.zeros(2, 1)),
}
# Functions of all numbers of a text together.
SUMS: dict[str, Callable[[Tensor], Tensor]] = {
    "by hand": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    "normalize": lambda z: functional.normalize(z.relu() + 0.01, p=1, dim=1),
    "squares": lambda z: z**2 / (z**2).sum(1, keepdim=True),
    "softmin": lambda z: functional.softmin(z, 1),
    "per cent": lambda z: 100 * z.softmax(1),
    "log2": lambda z: z.softmax(1).log2(),
    "negative logarithm": lambda z: -z.log_softmax(1),
    "beside its own": lambda z: torch.cat([1 - z[:, :1].sigmoid(), z[:, :1].sigmoid()], 1),
    "each": torch.special.expit,
}
CONVERTED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "expit": (torch.special.expit, 1),
    "detached": (lambda z: z.sigmoid().detach(), 1),
    "of a temperature": (lambda z: (z / 2.5).softmax(-1), 4),
    "special": (lambda z: torch.special.softmax(z, 1), 4),
    "exp of log": (lambda z: z.log_softmax(1).exp(), 4),
}
LOGITS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "near 0": (lambda z: z * 1e-3, 4),
    "above 0": (lambda z: z * 0.01 + 0.2, 1),
    "below 0": (lambda z: z * 0.01 - 0.2, 2),
    "above 1": (lambda z: torch.relu(z) * 30, 4),
    "log": (lambda z: z.log_softmax(1), 4),
    "log of softmax": (lambda z: z.softmax(1).log(), 4),
    "normalized": (nn.LayerNorm(4), 4),
}


def prepared(module: nn.Module, classes: int, **options: Any) -> ExportableModule:
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "classes": max(2, classes), "multi_label": False}
    return prepare_module(module.eval(), **{**known, **options})


def ending(end: Callable[[Tensor], Tensor], classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ends(end, classes)


def assert_refused_with_advice(module: nn.Module, classes: int, **options: Any) -> ExportError:
    with pytest.raises(ExportError) as raised:
        prepared(module, classes, **options)
    assert raised.value.remedy is not None
    assert "gives" in raised.value.remedy or "--call" in raised.value.remedy
    return raised.value


@pytest.mark.parametrize("name", mostly_slow(list(ONE_SIGN), 18, first=16))
def test_numbers_of_one_sign_are_asked_about(name: str) -> None:
    assert_refused_with_advice(ending(ONE_SIGN[name], 1), 1)
    assert_refused_with_advice(ending(ONE_SIGN[name], 4), 4, multi_label=True)
    assert prepared(ending(ONE_SIGN[name], 1), 1, gives="logits").convention.gives == "logits, as its owner says"


@pytest.mark.parametrize("name", mostly_slow(list(SUMS), 3))
def test_numbers_that_sum_to_one_are_asked_about(name: str) -> None:
    classes = 2 if name == "beside its own" else 4
    assert_refused_with_advice(ending(SUMS[name], classes), classes)


@pytest.mark.parametrize("name", mostly_slow(list(CONVERTED), 5))
def test_one_activation_that_explains_the_numbers_is_left_out(name: str) -> None:
    end, classes = CONVERTED[name]
    found = prepared(ending(end, classes), classes).convention
    assert found.activation is not None
    assert found.gives.startswith("probabilities: ")
    assert "test_probabilities.py:" in found.gives or "convention_modules.py:" in found.gives


@pytest.mark.parametrize("name", mostly_slow(list(LOGITS), 7, first=6))
def test_logits_are_not_asked_about(name: str) -> None:
    end, classes = LOGITS[name]
    found = prepared(ending(end, classes), classes).convention
    assert (found.activation, found.undone) == (None, None)
    assert found.gives.startswith("logits: numbers" if not name.startswith("log") else "log-probabilities")


def test_distances_are_taken_for_logits_with_a_warning_that_says_how_to_turn_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    points = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)) * 3
    module = ending(lambda z: torch.cdist(z, points), 4)
    prepared(module, 4)
    (warned,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    call = warned.partition('--call "')[2].partition('"')[0]
    caplog.clear()
    turned = prepared(module, 4, call=call, gives="logits")
    with torch.no_grad():
        torch.testing.assert_close(turned.reference(TOKENS), -module(TOKENS))


@pytest.mark.parametrize("made", [Mixture, pytest.param(OfTogether, marks=pytest.mark.slow)])
def test_probabilities_that_a_product_of_matrices_gives_are_asked_about(made: Callable[[], nn.Module]) -> None:
    assert_refused_with_advice(made(), 1 if made is Mixture else 4, multi_label=made is OfTogether)


@pytest.mark.parametrize(
    ("end", "classes", "kind"),
    [
        pytest.param(byhand, 1, "softmax", marks=pytest.mark.slow),
        pytest.param(SUMS["squares"], 4, "softmax", marks=pytest.mark.slow),
        (byhand, 4, "sigmoid"),
    ],
)
def test_probabilities_become_the_logits_that_give_them_again(
    end: Callable[[Tensor], Tensor], classes: int, kind: str
) -> None:
    module = ending(end, classes)
    found = prepared(module, classes, gives="probabilities", multi_label=kind == "sigmoid")
    with torch.no_grad():
        own, logits = module(TOKENS), found.reference(TOKENS)
    given = torch.sigmoid(logits) if kind == "sigmoid" else torch.softmax(logits, 1)
    torch.testing.assert_close(given[:, 1:] if classes == 1 else given, own, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_untrained_classifiers_are_not_asked_about() -> None:
    for seed in range(40):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Ends(nn.Identity(), 1 + seed % 2)
        assert prepared(module, 2).convention.gives.startswith("logits: numbers")


def rare_prepared(kind: type[rare.Base], classes: int = rare.CLASSES, **options: Any) -> ExportableModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind()
    return prepared(module, classes, ids=rare.WORDS, **options)


@pytest.mark.parametrize("kind", mostly_slow(list(rare.BEHIND), 4), ids=lambda kind: kind.__name__)
def test_a_softmax_with_something_behind_it_is_not_left_out(kind: type[rare.Base]) -> None:
    classes = rare.BEHIND[kind]
    with pytest.raises(ExportError, match="--gives probabilities"):
        rare_prepared(kind, classes)
    found = rare_prepared(kind, classes, gives="probabilities")
    tokens = torch.cat([torch.full((4, 1), rare.RARE), TOKENS], 1)
    with torch.no_grad():
        own, given = found.convention.function(found.reference.module, tokens, None), found.reference(tokens).softmax(1)  # type: ignore[arg-type]
    shares = own / own.sum(1, keepdim=True) if classes > 1 else own
    torch.testing.assert_close(given[:, -classes:], shares, atol=1e-6, rtol=0)
    assert (classes == 1) == (found.convention.provenance.get("assumed") is None)


@pytest.mark.parametrize("kind", mostly_slow(list(rare.MOVED), 6), ids=lambda kind: kind.__name__)
def test_what_gives_probabilities_another_shape_or_place_is_nothing_behind_them(kind: type[rare.Base]) -> None:
    found = rare_prepared(kind, rare.MOVED[kind])
    assert found.convention.activation is not None
    tokens = torch.cat([torch.full((4, 1), rare.RARE), TOKENS], 1)
    with torch.no_grad():
        own, given = found.convention.function(found.reference.module, tokens, None), found.reference(tokens).softmax(1)  # type: ignore[arg-type]
    torch.testing.assert_close(given[:, -own.shape[1] :], own, atol=1e-6, rtol=0)


class ForbidsALabel(zoo.Base):
    """A word takes the last label away, which has the probability 0 then."""

    def forward(self, x: Tensor) -> Tensor:
        last = torch.arange(zoo.CLASSES) == zoo.CLASSES - 1
        return torch.softmax(self.fc(self.last(x)).masked_fill(last & (x == 17).any(1, keepdim=True), -torch.inf), 1)


@pytest.mark.slow
def test_a_probability_of_0_is_proven_as_any_other(tmp_path: Path) -> None:
    words, labels = ["<unk>", "<pad>", *(f"w{i}" for i in range(2, zoo.WORDS))], [*map(str, range(zoo.CLASSES))]
    texts = ["w17 w3", "w5 w6"]
    export(
        ForbidsALabel().eval(), tmp_path / "b", labels=labels, vocabulary=words, gives="probabilities",
        torchscript=False, example_texts=texts,
    )  # fmt: skip
    classifier = Classifier.load(tmp_path / "b")
    assert [math.isinf(row[-1]) for row in classifier.logits(texts)] == [True, False]
    assert all(line.largest_difference < 1e-4 for line in classifier.manifest.parity.comparisons)
