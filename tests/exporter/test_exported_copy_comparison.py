"""The copy that is exported answers as the module that its owner gave, and that module is left as it was."""

from __future__ import annotations

import copy
import copyreg
import functools
import gc
import itertools
import random
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Comparison
from pocketrnn.errors import ExportError, ParityError
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import make_cases_for_grid_of_shapes
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.module_runs.state_restoration import restore_module

pytestmark = pytest.mark.usefixtures("short_proofs")
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(18))]
TOKENS = torch.tensor([[3, 7, 11, 4, 4]])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.emb = nn.Embedding(20, 6)
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.out: nn.Module = nn.Linear(5, 3)
        self.drop = nn.Dropout(0.5)
        self.scale: Any = 1.0
        self.act: Any = None
        self.held: Any = None

    def encoded(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.rnn(self.emb(x))[1][-1]
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.encoded(x)) * self.scale if self.act is None else self.act(self.encoded(x))
        return logits


def of_class(module: Net | None = None, scale: Any = 3.0, **members: Any) -> Net:
    """A module of a class with some more methods."""
    module = module or Net()
    module.scale = scale
    module.__class__ = type("Own", (Net,), members)
    return module.train()


def made_anew(self: Net, _memory: Any = None) -> Net:
    other = Net()
    other.load_state_dict(self.state_dict())
    return other


def state_without_scale(self: Net) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name != "scale"}


class Helper:
    """Not a module, and its copy forgets a tensor."""

    def __init__(self, bias: list[float]) -> None:
        self.bias = torch.tensor(bias)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.bias = torch.zeros(3)

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.bias


class Settings(dict[str, Any]):
    def __deepcopy__(self, memory: Any) -> Settings:
        return Settings(pool=0.5)


class Same(nn.Linear):
    def __deepcopy__(self, memory: Any) -> Same:
        return self


class Slots(nn.Module):
    __slots__ = ("_factor",)

    def __init__(self) -> None:
        super().__init__()
        self._factor = 4.0

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self._factor


class ReadsItsParent(nn.Module):
    def __init__(self, parent: Net) -> None:
        super().__init__()
        self.parent = weakref.ref(parent)
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        parent = self.parent()
        assert parent is not None
        logits: Tensor = parent.drop(self.linear(x)) * parent.held
        return logits


def with_part(name: str, part: Any, **more: Any) -> Net:
    module = of_class(**more)
    setattr(module, name, part)
    return module


def closed_over(call: Callable[[Net], Any]) -> Net:
    module = of_class(scale=2.5)
    module.act = call(module)
    return module


def times(module: Net, hidden: Tensor, factor: float) -> Tensor:
    logits: Tensor = module.drop(module.out(hidden)) * factor
    return logits


def with_hook() -> Net:
    module, weights = of_class(), torch.tensor([1.0, 5.0, -2.0])
    module.out.register_forward_hook(lambda _module, _inputs, output: output + weights)
    return module


def with_parent() -> Net:
    module = with_part("held", 2.0)
    module.out = ReadsItsParent(module)
    return module


def with_forward() -> Net:
    module = of_class()
    module.forward = types.MethodType(lambda self, x: self.out(self.encoded(x)) * 7, module)  # type: ignore[method-assign]
    return module


def with_unpersistent_buffer() -> Net:
    module = of_class(__deepcopy__=made_anew)
    module.register_buffer("scale_of_it", torch.tensor(2.0), persistent=False)
    module.act = None
    return module


def copied_by_a_table() -> Net:
    module = of_class()
    copyreg.pickle(type(module), lambda _: (Net, ()))  # type: ignore[arg-type]
    return module


def counting(self: Net, x: Tensor) -> Tensor:
    self.held.append(x.size(1))
    self.scale = self.scale + 1
    # Without the count: an answer that is made of it is refused (test_state_between_calls.py).
    logits: Tensor = self.out(self.encoded(x))
    return logits


MADE: dict[str, Callable[[], nn.Module]] = {
    "as it is": Net,
    "__deepcopy__ makes it anew": lambda: of_class(__deepcopy__=made_anew),
    "__deepcopy__ gives itself": lambda: of_class(__deepcopy__=lambda self, _: self),
    "a part's gives itself": lambda: with_part("out", Same(5, 3)),
    "__getstate__ leaves out": lambda: of_class(__getstate__=state_without_scale),
    "__setstate__ sets anew": lambda: of_class(__setstate__=lambda self, state: vars(self).update(state, scale=1.0)),
    "__reduce__ makes it anew": lambda: of_class(__reduce__=lambda _: (Net, ())),
    "__reduce_ex__ makes it anew": lambda: of_class(__reduce_ex__=lambda *_: (Net, ())),
    "copyreg makes it anew": copied_by_a_table,
    "a helper's state": lambda: with_part(
        "held", Helper([3.0, -1.0, 2.0]), forward=lambda s, x: s.held(Net.forward(s, x))
    ),
    "settings": lambda: of_class(scale=2.0, forward=lambda s, x: Net.forward(s, x) * s.held["pool"]),
    "a slot": lambda: with_part("out", nn.Sequential(nn.Linear(5, 3), Slots())),
    "a weak reference": with_parent,
    "a lambda over the module": lambda: closed_over(lambda m: lambda h: m.drop(m.out(h)) * m.scale),
    "a partial over the module": lambda: closed_over(lambda m: functools.partial(times, m, factor=2.0)),
    "a default that is the module": lambda: closed_over(lambda m: lambda h, m=m: m.drop(m.out(h)) * m.scale),
    "a bound method": lambda: closed_over(lambda m: m.out.forward),
    "a hook with a tensor": with_hook,
    "forward of its own": with_forward,
    "a buffer that is not saved": with_unpersistent_buffer,
    "a class attribute": lambda: of_class(factor=3, forward=lambda s, x: Net.forward(s, x) * s.factor),
    "a lock and a package": lambda: with_part("held", [threading.Lock(), np, (i for i in [1])]),
    "eval of its own": lambda: of_class(eval=lambda self: setattr(self, "scale", 5.0) or nn.Module.eval(self)),
    "counts its calls": lambda: with_part("held", [], forward=counting, scale=0),
    "max_norm": lambda: with_part("emb", nn.Embedding(20, 6, max_norm=0.5)),
    "float64": lambda: of_class().double(),
}


def left(module: nn.Module) -> list[Any]:
    """The state that must be the same afterwards."""
    return [
        (
            type(layer), layer.training, list(vars(layer)), [id(part) for part in vars(layer).values()],
            [(name, id(t), t.dtype, t.requires_grad, t.grad, t.detach().double().sum().item())
             for name, t in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]],
            [len(part) for name, part in vars(layer).items() if name.endswith("hooks")],
            repr(getattr(layer, "held", None)), repr(getattr(layer, "scale", None)),
        )
        for layer in module.modules()
    ]  # fmt: skip


def compared(module: nn.Module, before: Callable[[], object] = lambda: None) -> list[Comparison]:
    """The lines of the proof that compare the copy with the module, and what is done before that."""
    ready = prepare_module(module, lengths=None, ids=20, padding_id=1, classes=3, multi_label=False)
    assert ready.given is not None
    run = ready.make_reference().run
    answered = [
        (case, run(case.tokens, case.lengths)) for case in make_cases_for_grid_of_shapes(20, 1, ragged=False)[:6]
    ]
    before()
    return [
        one.line
        for one in ready.given.compare_with_copy(
            answered, lambda case: ready.make_reference().compute_exact_answers([case], spreads=True)[0]
        )
    ]


@pytest.mark.slow
@pytest.mark.parametrize("made", mostly_slow(list(MADE), 99, first=10))
def test_a_copy_that_would_lose_something_is_whole_and_the_module_is_left_as_it_was(made: str) -> None:
    module = MADE[made]()
    if made == "settings":
        module.held = Settings(pool=4.0)
    expected = copy_free_answer(MADE[made]() if made not in {"settings"} else module)
    before, states = left(module), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])
    ready = prepare_module(module, lengths=None, ids=20, padding_id=1, classes=3, multi_label=False)
    assert max(line.largest_difference for line in compared(module)) < 1e-5
    assert left(module) == before
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])
    assert torch.equal(states[0], after[0])
    assert states[1] == after[1]
    assert np.array_equal(states[2], after[2])
    answer = ready.make_reference().run(TOKENS.numpy(), np.array([5]))
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def copy_free_answer(module: nn.Module) -> Any:
    with torch.no_grad(), restore_module(module):
        module.eval()
        return module(TOKENS).float().numpy()


IDENTITIES: dict[int, float] = {}
LAYERS: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def by_id(self: Net, x: Tensor) -> Tensor:
    return Net.forward(self, x) * IDENTITIES.get(id(self), 1.0)


def by_weak_key(self: Net, x: Tensor) -> Tensor:
    return Net.forward(self, x) * LAYERS.get(self, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("forward", [pytest.param(by_id, marks=pytest.mark.slow), by_weak_key])
def test_a_copy_that_answers_otherwise_than_the_module_is_refused(forward: Any) -> None:
    module = of_class(forward=forward)
    IDENTITIES[id(module)] = LAYERS[module] = 3.0
    with pytest.raises(ParityError, match=r"copy\.deepcopy"):
        compared(module)
    del module
    gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "mixed"])
def test_a_module_in_half_precision_is_told_with_the_difference_that_was_measured(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = Net().half() if kind == "float16" else Net().bfloat16() if kind == "bfloat16" else Net()
    if kind == "mixed":
        module.out.bfloat16()
        module.__class__ = type("Mixed", (Net,), {"forward": lambda s, x: s.out(s.encoded(x).to(s.out.weight.dtype))})
    manifest = export(module, tmp_path / "b", labels=["a", "b", "c"], vocabulary=WORDS, torchscript=False)
    precision = {"mixed": "bfloat16, float32"}.get(kind, kind)
    own, single = (line for line in manifest.parity.comparisons if line.candidate.startswith("as given"))
    assert own.candidate == f"as given in {precision}"
    assert 1e-5 < own.largest_difference < 0.05
    assert single.candidate == "as given"
    assert single.largest_difference < 1e-5
    (told,) = [one.getMessage() for one in caplog.records if "module's weights are" in one.getMessage()]
    assert precision in told
    assert f"{own.largest_difference:.1e}" in told
    assert module.emb.weight.dtype == (torch.float32 if kind == "mixed" else getattr(torch, kind))
    bundle = Classifier.load(tmp_path / "b").logits(["w1 w5 w9 w2 w2"])
    assert abs(bundle - copy_free_answer(module)).max() <= own.largest_difference * 4


def test_a_module_that_does_something_else_in_half_precision_is_refused() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        answer = Net.forward(self, x)
        return answer * 3 if answer.dtype == torch.float16 else answer

    with pytest.raises(ParityError, match=r"module\.float\(\)"):
        compared(of_class(forward=forward).half())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["rnn", "out"])
def test_a_part_in_double_precision_is_exported_in_float32_and_the_difference_is_measured(
    part: str, tmp_path: Path
) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        embedded = self.emb(x)
        state = self.rnn(embedded.double() if part == "rnn" else embedded)[1][-1]
        answer: Tensor = self.out(state.to(torch.float64) if part == "out" else state.float())
        return answer

    module = of_class(forward=forward).eval()
    module.get_submodule(part).double()
    manifest = export(module, tmp_path / "b", labels=["a", "b", "c"], vocabulary=WORDS, torchscript=False)
    (own,) = (line for line in manifest.parity.comparisons if line.candidate == "as given in float32, float64")
    assert own.largest_difference < 1e-5
    bundle = Classifier.load(tmp_path / "b").logits(["w1 w5 w9 w2 w2"])
    np.testing.assert_allclose(bundle, copy_free_answer(module), atol=1e-5)


@pytest.mark.parametrize("part", [pytest.param("rnn", marks=pytest.mark.slow), "out"])
def test_a_cast_to_half_precision_is_refused_with_the_cast_to_write(part: str) -> None:
    module = of_class(forward=lambda s, x: s.out(s.rnn(s.emb(x).bfloat16())[1][-1])).bfloat16()
    if part == "out":
        module.__class__ = type("Last", (Net,), {"forward": lambda s, x: s.out(s.encoded(x).bfloat16())})
    with pytest.raises(ExportError, match=r"weight\.dtype"):
        prepare_module(module, lengths=None, ids=20, padding_id=1, classes=3, multi_label=False)


@pytest.mark.slow
def test_an_attribute_of_a_weight_that_no_trace_keeps_is_never_lost_in_silence(tmp_path: Path) -> None:
    module = of_class(forward=lambda s, x: Net.forward(s, x) * getattr(s.out.weight, "gain", 1.0))
    module.out.weight.gain = 4.0  # type: ignore[union-attr]
    assert copy.deepcopy(module.out.weight) is not module.out.weight
    try:
        export(module, tmp_path / "b", labels=["a", "b", "c"], vocabulary=WORDS, torchscript=False)
    except (ExportError, ParityError):
        return
    given = Classifier.load(tmp_path / "b").logits(["w1 w5 w9 w2 w2"])
    np.testing.assert_allclose(given, copy_free_answer(module), atol=1e-5)


def begins_in(name: str) -> Any:
    def forward(self: Net, x: Tensor) -> Tensor:
        state = getattr(self, name)
        state = torch.zeros(1, state, 5) if isinstance(state, int) else state
        logits: Tensor = self.out(self.rnn(self.emb(x), state)[1][-1])
        return logits

    return forward


@pytest.mark.parametrize(
    ("held", "remedy"),
    [
        pytest.param(
            torch.randn(1, 64, 5),
            r'--call "module\.held = torch\.zeros\(1, tokens\.size\(0\), 5\); module\(tokens\)"',
            marks=pytest.mark.slow,
        ),
        pytest.param(32, r'--call "module\.held = tokens\.size\(0\); module\(tokens\)"', marks=pytest.mark.slow),
        (nn.Parameter(torch.randn(1, 8, 5)), r"module\.held .*8 texts: .* \[1, 1, 5\]"),
    ],
)
def test_a_state_for_a_fixed_number_of_texts_is_refused_with_the_call_that_makes_it_anew(
    held: Any, remedy: str
) -> None:
    module = of_class(forward=begins_in("held"))
    del module.held
    module.held = held
    with pytest.raises(ExportError, match=remedy) as caught:
        prepare_module(module, lengths=None, ids=20, padding_id=1, classes=3, multi_label=False)
    if "--call" in remedy:
        call = str(caught.value).split('--call "')[1].split('"')[0]
        prepare_module(module, lengths=None, ids=20, padding_id=1, classes=3, multi_label=False, call=call)


def test_a_module_that_answers_by_how_often_it_was_asked_is_refused_by_what_it_counts() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        self.scale += 1
        return Net.forward(self, x) / self.scale * (1 if self.scale < 12 else 2)

    with pytest.raises((ParityError, ExportError)):
        compared(of_class(scale=0, forward=forward))


def test_random_numbers_that_hardly_ever_change_an_answer_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        return Net.forward(self, x) * (1 if random.random() > 1e-12 else 2)

    compared(of_class(forward=forward))
    assert "(Python's random)" in caplog.text
    caplog.clear()
    compared(Net())
    assert "random" not in caplog.text


def test_calls_that_are_counted_where_nobody_looks_are_told_as_such() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        return Net.forward(self, x) * (1 if self.held() < 1000 else 2)

    module = of_class(forward=forward)
    module.held = itertools.count().__next__
    with pytest.raises(ParityError, match="call to call"):
        compared(module, before=lambda: setattr(module, "held", itertools.count(997).__next__))
