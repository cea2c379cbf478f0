"""Small packed files of what classifiers take and give beside one text and one set of labels; and their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.answers_by_head import build_answers
from pocketrnn.bundle.manifest import Comparison, Example, Graph, Manifest, Parity
from pocketrnn.bundle.output_kinds import HeadsOutput, LabelOutput, Output
from pocketrnn.bundle.packed_file import encode_packed_file, make_manifest_entry_of_program
from pocketrnn.text import TextRules
from pocketrnn.text.features_beside_text import Category, Number, freeze_text_with_features, make_features
from pocketrnn.text.text_input import FeatureInput, PairInput, TextInput
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.forms.onnx.onnx_form import ONNX
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.packing import make_bundle_program

__all__ = ["FEATURES", "FILES", "HEADS", "PAIRS", "TEXTS", "WITH_FEATURES", "Made", "made"]

WORDS = ("<unk>", "<pad>", "oil", "prices", "rise", "the", "cup", "final", "na\u00efve", ".")
RULES = TextRules(padding_id=1, max_tokens=7)
TOPICS, MOODS = ("economy", "sports", "other"), ("sad", "long")
HEADS = HeadsOutput(
    {"topic": LabelOutput(TOPICS), "m\u00f3od": LabelOutput(MOODS, "sigmoid", thresholds=(0.4, 0.75))},
)
TEXTS: tuple[Any, ...] = ("Oil prices rise.", "", "the cup final", "na\u00efve \U0001f600 oil", "the " * 9)


FEATURES = make_features(
    {
        "price": Number(mean=25.0, scale=15.0),
        "kind": ["book", "film", "na\u00efve", ""],
        "user": Category({"ada": 3, "eve": 7, "17": 1}, unknown=0),
        "stars": Number(),
    }
)
WITH_FEATURES: tuple[Any, ...] = (
    ("Oil prices rise.", {"price": 9.5, "kind": "film", "user": "ada", "stars": 4}),
    ("", {"price": -0.1, "kind": "", "user": 17, "stars": 0}),
    ("the cup final", {"price": 1e6 + 0.1, "kind": "na\u00efve", "user": "nobody", "stars": 1 / 3}),
    ("the " * 9, {"price": 25, "kind": "book", "user": "eve", "stars": -2.5}),
)

PAIRS: tuple[Any, ...] = (
    ("Oil prices rise.", "the cup"),
    ("", "the cup final na\u00efve \U0001f600 oil"),
    ("na\u00efve", ""),
    ("the " * 9, "oil " * 3),
    ("cup", "final"),
)


class Encoder(nn.Module):
    """A layer that reads both ways, with weights that stand for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 3)
        self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)

    def last(self, tokens: Tensor) -> Tensor:
        states = self.rnn(self.embedding(tokens))[1]
        return torch.cat([states[0], states[1]], 1)


class Heads(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.topic, self.mood = nn.Linear(8, len(TOPICS)), nn.Linear(8, len(MOODS))

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        last = self.last(tokens)
        return {"topic": self.topic(last), "m\u00f3od": self.mood(last)}


class Features(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.kinds, self.users = nn.Embedding(4, 2), nn.Embedding(8, 3)
        self.fc = nn.Linear(15, len(TOPICS))

    def forward(self, tokens: Tensor, price: Tensor, kind: Tensor, user: Tensor, stars: Tensor) -> Tensor:
        beside = [price / 100, self.kinds(kind), self.users(user), stars]
        answer: Tensor = self.fc(torch.cat([self.last(tokens), *beside], 1))
        return answer


class FeaturesHeads(Features):
    def __init__(self) -> None:
        super().__init__()
        self.mood = nn.Linear(len(TOPICS), len(MOODS))

    def forward(  # type: ignore[override]
        self, tokens: Tensor, price: Tensor, kind: Tensor, user: Tensor, stars: Tensor
    ) -> dict[str, Tensor]:
        topic = super().forward(tokens, price, kind, user, stars)
        return {"topic": topic, "m\u00f3od": self.mood(topic)}


class Pairs(Encoder):
    """Each word beside those of the other text, and one text after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(24, len(TOPICS))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        u, v = (self.rnn(self.embedding(tokens))[0] for tokens in (first, second))
        beside = (u @ v.transpose(1, 2)).softmax(2) @ v
        found = [(u * beside).amax(1), v.mean(1), self.last(torch.cat([second, first], 1))]
        answer: Tensor = self.fc(torch.cat(found, 1))
        return answer


@dataclass(frozen=True)
class _Kind:
    """A module, what it takes and gives, and what it is asked; `options` are those of `prepare_module`."""

    module: Callable[[], nn.Module]
    input: TextInput
    output: Output
    items: tuple[Any, ...]
    options: dict[str, Any]


FILES: dict[str, _Kind] = {
    "heads": _Kind(Heads, TextInput(RULES, WORDS), HEADS, TEXTS, {"heads": HEADS.heads}),
    "features": _Kind(
        Features, FeatureInput(RULES, WORDS, FEATURES), LabelOutput(TOPICS), WITH_FEATURES, {"features": FEATURES}
    ),
    "features-heads": _Kind(
        FeaturesHeads,
        FeatureInput(RULES, WORDS, FEATURES),
        HEADS,
        WITH_FEATURES,
        {"features": FEATURES, "heads": HEADS.heads},
    ),
    "pairs": _Kind(Pairs, PairInput(RULES, WORDS), LabelOutput(TOPICS), PAIRS, {"two_texts": True}),
}


@dataclass(frozen=True)
class Made:
    """A file, and what it answers."""

    content: bytes
    vectors: list[dict[str, Any]]


def made(name: str) -> Made:
    """The file of a name, with the ids, logits and probabilities of its texts."""
    kind = FILES[name]
    module = kind.module()
    for parameter in module.parameters():
        numbers = torch.arange(parameter.numel()) * 37 % 29 / 16 - 0.875
        parameter.data = numbers.reshape(parameter.shape)
    rules, labels = kind.input.rules, kind.output.labels
    prepared = prepare_module(
        module.eval(), lengths=None, ids=len(WORDS), padding_id=rules.padding_id, classes=len(labels),
        multi_label=False, **kind.options,
    )  # fmt: skip
    form = ONNX.make(prepared, Description(name, kind.input, kind.output, {}), ())
    assert isinstance(form.entry, Graph)
    encoder, run = kind.input.encoder(), next(iter(form.runs.values()))
    examples = []
    for item in kind.items:
        ids = encoder.encode(item)
        logits = run(np.array([ids]), np.array([len(ids)]))[0]
        examples.append(Example(_frozen(item), tuple(ids), tuple(float(str(one)) for one in logits)))
    manifest = Manifest(
        name=name,
        input=kind.input,
        output=kind.output,
        graph=form.entry,
        torchscript=None,
        examples=tuple(examples[:2]),
        parity=Parity(1e-5, (Comparison("packed", "onnx", "nothing", 1, 1, 0.0, 0),)),
    )
    program = make_bundle_program(manifest, form.content, None)
    content = encode_packed_file(replace(manifest, graph=make_manifest_entry_of_program(form.entry, program)), program)
    return Made(content, [_line(manifest, example) for example in examples])


def _frozen(item: Any) -> Any:
    return freeze_text_with_features(item) if isinstance(item, tuple) and isinstance(item[1], dict) else item


def _line(manifest: Manifest, example: Example) -> dict[str, Any]:
    probabilities = build_answers(manifest).probabilities(np.array([example.logits], np.float32))
    each = probabilities.values() if isinstance(probabilities, dict) else [probabilities]
    flat = [round(float(one), 7) for some in each for one in some[0]]
    line = {"text": example.text, "ids": list(example.ids), "logits": list(example.logits), "probabilities": flat}
    if manifest.features:
        text, values = example.text
        line |= {"text": text, "features": dict(values), "ids": list(example.ids[len(manifest.features) :])}
    if manifest.has_two_texts:
        mark = example.ids.index(min(example.ids))
        line |= {"ids": [list(example.ids[:mark]), list(example.ids[mark + 1 :])]}
    return line
