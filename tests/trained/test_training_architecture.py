"""The modules: packing and pooling compute the documented values."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_data import SMALL

from pocketrnn.errors import InputError
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier
from pocketrnn_training.settings.settings_of_all_runs import CELLS, POOLINGS

LENGTHS = torch.tensor([3, 7, 1, 5])
EVERY = [
    replace(SMALL, cell=cell, layers=layers, bidirectional=bidirectional, pooling=pooling, packed=packed)
    for cell, layers, bidirectional, pooling, packed in itertools.product(
        CELLS, (1, 2), (False, True), POOLINGS, (False, True)
    )
]


def tokens() -> Tensor:
    drawn = torch.randint(2, 11, (4, 7), generator=torch.Generator().manual_seed(0))
    return drawn.masked_fill(torch.arange(7) >= LENGTHS.unsqueeze(1), 1)


def module(architecture: Architecture) -> RecurrentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RecurrentClassifier(architecture).eval()


@pytest.mark.parametrize("architecture", [a for a in EVERY if a.packed])
def test_packed_answers_do_not_depend_on_padding_or_neighbours(architecture: Architecture) -> None:
    classifier = module(architecture)
    logits = classifier(tokens(), LENGTHS)
    assert logits.shape == (4, 3)
    assert logits.dtype == torch.float32
    for row, length in enumerate(LENGTHS.tolist()):
        alone = classifier(tokens()[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(alone[0], logits[row])
        wider = torch.nn.functional.pad(tokens()[row : row + 1], (0, 5), value=1)
        torch.testing.assert_close(classifier(wider, torch.tensor([length]))[0], logits[row])


# A maximum that stands in the text hides the padding after it.
@pytest.mark.parametrize("architecture", [a for a in EVERY if not a.packed and a.pooling != "max"])
def test_unpacked_answers_depend_on_padding(architecture: Architecture) -> None:
    classifier = module(architecture)
    logits = classifier(tokens())
    assert logits.shape == (4, 3)
    assert (logits[0] - classifier(tokens()[:1, :3])[0]).abs().max() > 1e-4
    torch.testing.assert_close(logits[1], classifier(tokens()[1:2])[0])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_pooling_is_what_it_says(bidirectional: bool) -> None:
    text = tokens()[1:2]
    for pooling in POOLINGS:
        classifier = module(replace(SMALL, cell="lstm", bidirectional=bidirectional, pooling=pooling))
        outputs, (hidden, _) = classifier.rnn(classifier.embedding(text))
        pooled = {"last": torch.cat(tuple(hidden), dim=1), "mean": outputs.mean(dim=1), "max": outputs.amax(dim=1)}
        torch.testing.assert_close(classifier(text, torch.tensor([7])), classifier.fc(pooled[pooling]))


def test_lengths_are_given_if_and_only_if_packed() -> None:
    with pytest.raises(ValueError, match="also give `lengths`"):
        module(SMALL)(tokens())
    with pytest.raises(ValueError, match=r"leave out .*`lengths`"):
        module(replace(SMALL, packed=False))(tokens(), LENGTHS)


def test_the_weights_have_the_notebooks_names() -> None:
    assert list(module(replace(SMALL, cell="lstm")).state_dict()) == [
        "embedding.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "rnn.bias_ih_l0",
        "rnn.bias_hh_l0",
        "fc.weight",
        "fc.bias",
    ]


def test_dropout_acts_in_training_only() -> None:
    classifier = module(replace(SMALL, dropout=0.5))
    assert torch.equal(classifier(tokens(), LENGTHS), classifier(tokens(), LENGTHS))
    classifier.train()
    assert not torch.equal(classifier(tokens(), LENGTHS), classifier(tokens(), LENGTHS))


@pytest.mark.parametrize("packed", [True, False])
def test_one_mask_of_dropout_is_for_all_steps_of_a_text_and_another_for_the_next(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = module(replace(SMALL, embedding_dim=64, dropout=0.5, packed=packed)).train()
    torch.nn.init.ones_(classifier.embedding.weight)
    read: list[Tensor] = []
    layers = type(classifier.rnn).forward

    def forward(self: torch.nn.RNNBase, values: Tensor, *arguments: object) -> object:
        read.append(values)
        return layers(self, values, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(classifier.rnn), "forward", forward)
    monkeypatch.setattr(
        "pocketrnn_training.classifiers.unpacked_layers.run_recurrent_layers_without_packing",
        lambda rnn, values, _: rnn(values),
    )
    classifier(tokens(), LENGTHS if packed else None)
    values = read[0].detach()
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert torch.equal(values, values[:, :1].expand_as(values))
    assert not torch.equal(values[0], values[1])


@pytest.mark.parametrize(
    "change",
    [
        {"cell": "sru"},
        {"pooling": "first"},
        {"vocabulary_size": 0},
        {"embedding_dim": 0},
        {"hidden_dim": -1},
        {"layers": 0},
        {"classes": 1},
        {"dropout": 1.0},
        {"dropout": float("nan")},
        {"padding_id": 11},
        {"padding_id": -1},
    ],
)
def test_a_value_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(SMALL, **change)
