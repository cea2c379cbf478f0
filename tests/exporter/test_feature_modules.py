"""Modules of a text with features: how they are called, that features are proven, and what is refused."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import feature_modules as zoo
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Category, Classifier, FeatureInput, Number, verify
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text import TextRules
from pocketrnn.text.features_beside_text import Features, make_features, separate_features_from_ids
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import make_cases_for_grid_of_shapes
from pocketrnn_export.compression import compress
from pocketrnn_export.export_arguments import read_features
from pocketrnn_export.intake.character_pair_and_feature_calls import (
    FeatureCall,
    add_feature_ids,
    derive_features_from_first_ids,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.packing import pack, read_packable_manifest
from pocketrnn_export.proof.feature_cases import add_features_and_feature_cases, make_example_features
from pocketrnn_export.standalone_text_rules_file import pack_text_rules

pytestmark = pytest.mark.usefixtures("scant_proofs")

VOCABULARY = ["<pad>", "<unk>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
LABELS = ["good", "neither", "bad"]
PRICE: Any = {"price": Number(3.0, 2.0)}
KIND: Any = {"kind": ["book", "film", "song", "game"]}
USER: Any = {"user": Category([f"u{i}" for i in range(zoo.USERS - 1)], unknown=zoo.USERS - 1)}


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: type[nn.Module], features: object, **options: Any) -> ExportableModule:
    given = {"lengths": None, "ids": zoo.WORDS, "padding_id": 0, "classes": zoo.CLASSES, **options}
    return prepare_module(made(kind), multi_label=False, features=make_features(features), **given)


def exported(kind: type[nn.Module], path: Path, features: Any, **options: Any) -> Classifier:
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "features": features, **options}
    export(made(kind), path, progress=False, **given)
    return Classifier.load(path)


# For each module: its features, the line, and the owner's own call of (module, tokens [1, n], lengths, values).
CALLS: dict[type[nn.Module], tuple[Any, str, Callable[..., Tensor]]] = {
    zoo.Priced: (PRICE, "module(tokens, price[:, None])", lambda m, x, _n, p: m(x, zoo.columns([p]))),
    zoo.FlatPrice: (PRICE, "module(tokens, price)", lambda m, x, _n, p: m(x, torch.tensor([p]))),
    zoo.Packed: (
        ["a", "b", "c"], "module(tokens, lengths, features)", lambda m, x, n, *v: m(x, n, zoo.columns(v)),
    ),
    zoo.Film: (KIND, "module(tokens, kind)", lambda m, x, _n, k: m(x, torch.tensor([k]))),
    zoo.OneHotKind: (
        KIND, "module(tokens, F.one_hot(kind, 4).float())",
        lambda m, x, _n, k: m(x, nn.functional.one_hot(torch.tensor([k]), 4).float()),
    ),
    zoo.ByNames: (
        {**PRICE, **KIND, **USER}, "module(user, price[:, None], tokens, kind)",
        lambda m, x, _n, p, k, u: m(torch.tensor([u]), zoo.columns([p]), x, torch.tensor([k])),
    ),
    zoo.ByOrder: (
        ["price", "stars"], "module(tokens, price[:, None], stars[:, None])",
        lambda m, x, _n, p, s: m(x, zoo.columns([p]), zoo.columns([s])),
    ),
    zoo.InDict: (
        PRICE, "module({'text': tokens, 'price': price[:, None]})",
        lambda m, x, _n, p: m({"text": x, "price": zoo.columns([p])}),
    ),
    zoo.NumbersAndKinds: (
        {**PRICE, "stars": Number(), "one": ["a", "b", "c"], "two": ["a", "b", "c"]},
        "module(tokens, features, categories)",
        lambda m, x, _n, p, s, i, j: m(x, zoo.columns([p, s]), torch.tensor([[i, j]])),
    ),
    zoo.MaybeMeta: (["a", "b"], "module(tokens, features)", lambda m, x, _n, *v: m(x, zoo.columns(v))),
    zoo.InMeta: (
        {**PRICE, **KIND}, "module(tokens, {'price': price, 'kind': kind})",
        lambda m, x, _n, p, k: m(x, {"price": torch.tensor([p]), "kind": torch.tensor([k])}),
    ),
    zoo.ChosenExperts: (KIND, "module(tokens, kind)", lambda m, x, _n, k: m(x, torch.tensor([k]))),
    zoo.InTime: (KIND, "module(tokens.t(), kind)", lambda m, x, _n, k: m(x.t(), torch.tensor([k]))),
}  # fmt: skip


@pytest.mark.parametrize("kind", mostly_slow(list(CALLS), 3))
def test_how_features_are_given_is_found_out(kind: type[nn.Module]) -> None:
    features, line, _ = CALLS[kind]
    found = prepared(kind, features)
    assert found.convention.line == line
    assert found.takes_lengths is found.padding is ("lengths" in line)


# How the others are called is found out above, and what categories answer is compared with `InTime`.
@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(CALLS), 13))
def test_a_bundle_answers_as_its_owners_module_does(tmp_path: Path, kind: type[nn.Module]) -> None:
    given, _, call = CALLS[kind]
    classifier, module = exported(kind, tmp_path / "sales", given), made(kind)
    features, generator = classifier.manifest.features, np.random.default_rng(0)
    items, expected = [], []
    for values in make_example_features(features, 9):
        ids = generator.integers(1, zoo.WORDS, int(generator.integers(1, 12))).tolist()
        numbers = [
            feature.values[values[name]]
            if isinstance(feature, Category)
            else (values[name] - feature.mean) / feature.scale
            for name, feature in features
        ]
        with torch.no_grad():
            expected.append(call(module, torch.tensor([ids]), torch.tensor([len(ids)]), *numbers)[0].numpy())
        items.append((ids, values))
    alone = np.concatenate([classifier.logits([item]) for item in items])
    assert np.abs(alone - expected).max() < 1e-5
    assert np.abs(classifier.logits(items) - expected).max() < 1e-5
    assert verify(tmp_path / "sales").replays[0].examples > 2
    made_of = pack(tmp_path / "sales", tmp_path / "sales.prnn")
    compared = {(line.candidate, line.inputs) for line in made_of.parity.comparisons}
    assert {("packed", "features"), ("packed, in place", "features"), ("features in C", "features")} <= compared
    packed = Classifier.load(tmp_path / "sales.prnn")
    assert packed.manifest.features == features
    assert np.abs(packed.logits(items) - expected).max() < 1e-5


def test_the_order_of_features_decides_where_names_do_not_and_is_said() -> None:
    found = prepared(zoo.ByOrder, ["stars", "price"])
    assert found.convention.line == "module(tokens, stars[:, None], price[:, None])"
    assert "a is given stars" in found.convention.provenance["assumed"]
    # Names go before the order.
    assert prepared(zoo.ByOrder, ["b", "a"]).convention.line == "module(tokens, a[:, None], b[:, None])"
    assert "assumed" not in prepared(zoo.ByOrder, ["b", "a"]).convention.provenance


@pytest.mark.slow
def test_an_input_of_lengths_has_those_of_the_text_beside_a_feature_that_is_called_like_it() -> None:
    found = prepared(zoo.Packed, ["length", "b", "c"])
    assert found.convention.line == "module(tokens, lengths, features)"


@pytest.mark.slow
def test_a_line_or_function_says_how_features_are_given(tmp_path: Path) -> None:
    line = "module(tokens, stars[:, None], price.unsqueeze(1))"
    assert prepared(zoo.ByOrder, ["price", "stars"], call=line).convention.line == line

    def owners(module: nn.Module, tokens: Tensor, lengths: Tensor, features: dict[str, Tensor]) -> Any:
        return module(tokens, features["stars"][:, None], features["price"][:, None])

    classifier, module = exported(zoo.ByOrder, tmp_path / "b", ["price", "stars"], call=owners), made(zoo.ByOrder)
    given = classifier.logits([([5, 6], {"price": 1.5, "stars": 4})])
    with torch.no_grad():
        assert np.allclose(given, module(torch.tensor([[5, 6]]), zoo.columns([4]), zoo.columns([1.5])), atol=1e-5)


@pytest.mark.parametrize("line", ["module(tokens, price[:, None])", "module(tokens)"])
def test_a_line_that_leaves_a_feature_out_is_refused(line: str) -> None:
    with pytest.raises(InputError, match=r"price|stars"):
        prepared(zoo.Priced, ["price", "stars"], call=line)


@pytest.mark.slow
def test_texts_that_are_padded_to_a_width_are_exported_with_features(tmp_path: Path) -> None:
    rules = TextRules(unknown_id=1, min_width=6, max_width=6, max_tokens=6)
    classifier = exported(zoo.Priced, tmp_path / "sales", PRICE, rules=rules)
    with torch.no_grad():
        expected = made(zoo.Priced)(torch.tensor([[4, 5, 0, 0, 0, 0]]), zoo.columns([1.0]))
    assert np.allclose(classifier.logits([("w2 w3", {"price": 5.0})]), expected, atol=1e-5)


@pytest.mark.slow
def test_lengths_that_count_the_ids_of_padded_texts_keep_the_features_of_each(tmp_path: Path) -> None:
    rules = TextRules(unknown_id=1, min_width=4)
    classifier = exported(zoo.Packed, tmp_path / "sales", ["a", "b", "c"], rules=rules)
    items = [(" ".join(["w3"] * n), {"a": n, "b": -n, "c": 0.5}) for n in (1, 4, 2, 3, 4)]
    with torch.no_grad():
        expected = [
            made(zoo.Packed)(torch.full((1, n), 5), torch.tensor([n]), zoo.columns([n, -n, 0.5]))[0]
            for n in (1, 4, 2, 3, 4)
        ]
    assert np.allclose(classifier.logits(items), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param(zoo.MeanOfBatch, "batch|texts", marks=pytest.mark.slow),
        pytest.param(zoo.BranchOnPrice, "values", marks=pytest.mark.slow),
        (zoo.OfTokens, "for each token"),
        (zoo.Blind, "same answer"),
        (zoo.OneTensor, r"feature_modules.py:\d+.*\(x\).*features"),
    ],
)
def test_a_module_whose_features_mix_or_branch_is_refused(tmp_path: Path, kind: type[nn.Module], said: str) -> None:
    features: Any = {zoo.OfTokens: ["one", "two"]}.get(kind, ["price"])
    with pytest.raises(ExportError, match=said):
        exported(kind, tmp_path / "sales", features)
    assert not (tmp_path / "sales").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "features", "said"),
    [
        pytest.param(zoo.RolledPrices, ["price"], r"price\.roll\(1, 0\)", marks=pytest.mark.slow),
        (zoo.Experts, KIND, r"out\[kind == i\] = "),
    ],
)
def test_rows_that_forward_chooses_are_answered_one_at_a_time_with_the_line_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[nn.Module], features: Any, said: str
) -> None:
    classifier = exported(kind, tmp_path / "sales", features)
    assert classifier.manifest.graph.batch == 1
    told = next(record.message for record in caplog.records if "one text at a time" in record.message)
    assert re.search(said, told)
    value = "film" if features is KIND else 7.5
    (got,) = classifier.logits([("w1 w2", {next(iter(features)): value})])
    given = torch.tensor([1]) if features is KIND else zoo.columns([7.5])
    with torch.no_grad():
        assert np.abs(got - made(kind)(torch.tensor([[3, 4]]), given)[0].numpy()).max() < 1e-5


@pytest.mark.slow
def test_a_module_that_mixes_rows_is_exported_for_one_text_at_a_time_with_its_features(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="beside other texts") as refused:
        exported(zoo.MeanOfLogits, tmp_path / "sales", {**PRICE, **KIND})
    assert "one_text=True" in refused.value.remedy
    classifier = exported(zoo.MeanOfLogits, tmp_path / "sales", {**PRICE, **KIND}, one_text=True)
    assert (classifier.manifest.graph.batch, classifier.manifest.graph.inputs) == (1, ("tokens", "features"))
    module, asked = made(zoo.MeanOfLogits), [(9.0, "song"), (1.5, "book")]
    got = classifier.logits([("w1 w2", {"price": price, "kind": kind}) for price, kind in asked])
    tokens = torch.tensor([[3, 4]])
    for row, (price, kind) in zip(got, asked, strict=True):
        numbers = zoo.columns([(price - 3.0) / 2.0])
        with torch.no_grad():
            expected = module(tokens, numbers, torch.tensor([KIND["kind"].index(kind)]))[0]
        assert np.abs(row - expected.numpy()).max() < 1e-5


RANGES = [
    (zoo.RootOfPrice, ["price"], "price.clamp(min=0)[:, None]"),
    (zoo.HourOfDay, ["hour"], "hour.clamp(min=0, max=23)[:, None]"),
    (zoo.PricePerStar, ["price", "stars"], "torch.stack([price, stars.clamp(min=1)], 1)"),
]


@pytest.mark.parametrize(("kind", "features", "kept"), mostly_slow(RANGES, 2, first=1, several=True))
def test_a_module_that_fails_on_some_numbers_is_refused_with_a_line_that_keeps_them_in_a_range(
    kind: type[nn.Module], features: list[str], kept: str
) -> None:
    line = f"module(tokens, {kept})"
    with pytest.raises(ExportError, match=f"the feature {features[-1]} is (-1|0):") as refused:
        prepared(kind, features)
    assert f'--call "{line}"' in refused.value.remedy
    assert prepared(kind, features, call=line).convention.line == line


@pytest.mark.slow
def test_a_branch_by_a_size_that_only_large_numbers_show_is_followed(tmp_path: Path) -> None:
    classifier, module = exported(zoo.CutAtNineTokens, tmp_path / "sales", ["price"]), made(zoo.CutAtNineTokens)
    for tokens in (8, 9):
        with torch.no_grad():
            expected = module(torch.full((1, tokens), 5), zoo.columns([9_000.0]))
        assert np.allclose(classifier.logits([([5] * tokens, {"price": 9_000})]), expected, atol=1e-4)


# Operators that packed files do not have.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "features"), [(zoo.Angle, ["a"]), (zoo.Clipped, ["a", "b"])])
def test_numbers_that_forward_writes_into_or_that_float32_does_not_hold_are_no_difference(
    tmp_path: Path, kind: type[nn.Module], features: list[str]
) -> None:
    classifier, module = exported(kind, tmp_path / "sales", features), made(kind)
    for number in (0.0, -0.0, 7.5, -7.5):
        with torch.no_grad():
            expected = module(torch.tensor([[5, 6]]), zoo.columns([number, 9.0][: len(features)]))
        given = classifier.logits([([5, 6], {"a": number, "b": 9.0} if len(features) > 1 else {"a": number})])
        assert np.allclose(given, expected, atol=1e-5)


def test_features_in_a_dict_are_given_by_their_names() -> None:
    assert "assumed" not in prepared(zoo.InMeta, {**PRICE, **KIND}).convention.provenance


def test_a_feature_that_changes_no_answer_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = prepared(zoo.Deaf, ["price"])
    assert "price" in found.convention.provenance["assumed"]
    assert any("price" in record.message for record in caplog.records)


@pytest.mark.parametrize("unknown", [None, 9])
def test_more_values_than_the_embedding_has_rows_are_refused_with_the_id(unknown: int | None) -> None:
    values = ["book", "film", "song", "game", *(() if unknown else ["opera", "radio"])]
    with pytest.raises(ExportError, match=str(unknown or 4)) as refused:
        prepared(zoo.Film, {"kind": Category(values, unknown=unknown)})
    assert ("unknown" if unknown else "opera") in refused.value.problem


def test_features_that_fit_no_input_are_refused_with_the_names() -> None:
    with pytest.raises(ExportError, match="price"):
        prepared(zoo.Film, {**KIND, "price": Number()})
    with pytest.raises(ExportError, match="kind"):
        prepared(zoo.Priced, {"weight": Number(), **KIND})


def test_without_features_the_refusal_names_them(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="price") as refused:
        exported(zoo.Priced, tmp_path / "sales", None)
    assert "features" in refused.value.remedy


def of_case(tokens: Any, lengths: Any) -> Any:
    return separate_features_from_ids(tokens, lengths).features


def test_the_proof_draws_every_id_and_numbers_of_many_sizes() -> None:
    features: Features = make_features({**PRICE, **USER})
    plain = {"shapes": make_cases_for_grid_of_shapes(zoo.WORDS, 0, ragged=True)}
    cases = add_features_and_feature_cases(plain, features, lambda case: case, most_rows=4)
    drawn = np.concatenate([of_case(case.tokens, case.lengths) for some in cases.values() for case in some])
    assert set(drawn[:, 1]) == set(range(zoo.USERS))
    sizes = np.abs(drawn[:, 0])
    assert sizes.min() == 0
    assert all(((sizes > low) & (sizes <= 10 * low)).any() for low in (1e-4, 1e-3, 1e-1, 1, 10, 100, 1e3))
    assert {-1.5, 1e4, -1e4} <= set(drawn[:, 0].tolist())
    assert max(len(case.lengths) for case in cases["features"]) == 4
    assert all(len(set(map(tuple, case.tokens[:, 2:].tolist()))) == 1 for case in cases["features"])
    for before, after in zip(plain["shapes"], cases["shapes"], strict=True):
        assert np.array_equal(separate_features_from_ids(after.tokens, after.lengths).tokens, before.tokens)


def test_a_row_without_marks_has_the_same_features_in_every_batch() -> None:
    features = make_features({**PRICE, **KIND})
    tokens = torch.tensor([[5, 6, 7], [8, 9, 0], [5, 1, 2]])
    numbers = derive_features_from_first_ids(features, tokens)
    assert torch.equal(numbers[0], numbers[2])
    assert not torch.equal(numbers[0], numbers[1])
    assert torch.equal(derive_features_from_first_ids(features, tokens[1:]), numbers[1:])
    call = FeatureCall(lambda _module, tokens, lengths, named: (tokens, lengths, named), features)
    given, lengths, named = call(nn.Identity(), *add_feature_ids(tokens, torch.tensor([3, 2, 3]), numbers))
    assert given.tolist() == tokens.tolist()
    assert lengths.tolist() == [3, 2, 3]
    assert torch.equal(named["price"], numbers[:, 0])
    assert named["kind"].dtype == torch.int64
    assert named["features"].shape == (3, 1)


@pytest.mark.parametrize(
    "option",
    [
        {"torchscript": True},
        {"streaming": True},
        {"edge": True},
        {"labels_of": "tokens"},
        {"two_texts": True},
        {"tokenizer": "external"},
        {"example_ids": [("w1", None, "good")]},
        {"example_texts": ["w1"]},
        {"example_texts": [("w1", {"stars": 4})]},
        {"example_texts": [(["w1"], {"price": 4})]},
        {"features": ["text"]},
        {"features": {"price": 3}},
        {"channels": 3, "vocabulary": None},
    ],
)
def test_options_that_features_cannot_have_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        exported(zoo.Priced, tmp_path / "sales", option.pop("features", PRICE), **option)


@pytest.mark.slow
def test_texts_with_their_ids_are_compared_with_the_rules(tmp_path: Path) -> None:
    manifest = exported(zoo.Priced, tmp_path / "sales", PRICE, example_ids=[("w1 w2", [3, 4])]).manifest
    assert manifest.provenance["text_rules"]["verdict"] == "compared"
    with pytest.raises(InputError, match="w1 w2"):
        exported(zoo.Priced, tmp_path / "other", PRICE, example_ids=[("w1 w2", [3, 5])])


@pytest.mark.slow
def test_given_texts_become_golden_examples_or_stay_private(tmp_path: Path) -> None:
    texts = [("w1 w2", {"price": 3.5}), ("w3", {"price": np.float64(2)})]
    shown = exported(zoo.Priced, tmp_path / "shown", PRICE, example_texts=texts)
    assert [example.text for example in shown.manifest.golden_texts[:2]] == [
        ("w1 w2", (("price", 3.5),)),
        ("w3", (("price", 2.0),)),
    ]
    hidden = exported(zoo.Priced, tmp_path / "hidden", PRICE, example_texts=texts, examples=False)
    assert all(example.text[0] not in {"w1 w2", "w3"} for example in hidden.manifest.golden_texts)


@pytest.mark.slow
def test_a_described_input_has_its_features(tmp_path: Path) -> None:
    given = FeatureInput(TextRules(unknown_id=1), tuple(VOCABULARY), make_features(PRICE))
    from pocketrnn import LabelOutput

    manifest = export(
        made(zoo.Priced), tmp_path / "sales", input=given, output=LabelOutput(tuple(LABELS)), progress=False
    )
    assert manifest.features == given.features


class PricedInTwoWays(zoo.Priced):
    def __init__(self) -> None:
        super().__init__()
        self.mood = nn.Linear(zoo.CLASSES, 2)

    def forward(self, text: Tensor, price: Tensor) -> Any:
        bought = super().forward(text, price)
        return {"bought": bought, "mood": self.mood(bought)}


@pytest.mark.slow
def test_each_of_several_heads_answers_a_text_with_its_features(tmp_path: Path) -> None:
    heads = {"bought": LABELS, "mood": ["sad", "glad"]}
    classifier = exported(PricedInTwoWays, tmp_path / "sales", PRICE, labels=None, heads=heads)
    items = [("w1 w2", {"price": 4.0}), ("w3", {"price": -7.0})]
    with torch.no_grad():
        parts = [
            made(PricedInTwoWays)(torch.tensor([ids]), torch.tensor([[price]]))
            for ids, price in (([3, 4], 0.5), ([5], -5.0))
        ]
    expected = torch.cat([torch.cat([part["bought"], part["mood"]], 1) for part in parts])
    pack(tmp_path / "sales", tmp_path / "sales.prnn")
    for one in (classifier, Classifier.load(tmp_path / "sales.prnn")):
        np.testing.assert_allclose(one.logits(items), expected, atol=1e-5)
        assert one.predict(items) == [
            {"bought": LABELS[int(part["bought"].argmax())], "mood": ["sad", "glad"][int(part["mood"].argmax())]}
            for part in parts
        ]
        assert one.head("mood").predict(items) == [answer["mood"] for answer in one.predict(items)]


@pytest.mark.slow
def test_what_takes_a_text_alone_is_refused_for_features(tmp_path: Path) -> None:
    exported(zoo.Priced, tmp_path / "sales", PRICE)
    for made_of in (
        lambda: compress(tmp_path / "sales", tmp_path / "small"),
        lambda: read_packable_manifest(tmp_path / "sales", "int8"),
        lambda: pack(tmp_path / "sales", tmp_path / "sales.prnn", streaming=True),
        lambda: pack_text_rules(tmp_path / "sales", tmp_path / "rules"),
    ):
        with pytest.raises(InputError, match="price"):
            made_of()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_evaluate_reads_features_from_the_columns_of_their_names(tmp_path: Path, kind: str) -> None:
    classifier = exported(zoo.Priced, tmp_path / "sales", PRICE)
    items = [(f"w{i} w{i + 1}", {"price": float(40 * i - 90)}) for i in range(6)]
    labels = [*classifier.predict(items)[:4], "good", "bad"]
    rows = [{"text": text, **values, "label": label} for (text, values), label in zip(items, labels, strict=True)]
    if kind == "csv":
        lines = ["text,price,label", *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    file = tmp_path / f"rows.{kind}"
    file.write_text("\n".join(lines) + "\n")
    right = np.mean([given == label for given, label in zip(classifier.predict(items), labels, strict=True)])
    given = ("evaluate", "--json", str(tmp_path / "sales"), str(file))
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(right)
    file.write_text("\n".join(lines).replace("-90.0", '"much"' if kind == "jsonl" else "much") + "\n")
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == 2
    assert "Row 1" in refused.stderr
    assert "price='much'" in refused.stderr
    assert CliRunner().invoke(main, (*given, "--outside", "bad")).exit_code == 2


@pytest.mark.slow
def test_a_bundle_with_features_has_a_mobile_form(tmp_path: Path) -> None:
    exported(zoo.ByNames, tmp_path / "sales", {**PRICE, **KIND, **USER})
    write_mobile_bundle(tmp_path / "sales", tmp_path / "mobile")
    items = [("w1 w2", {"price": 3, "kind": "film", "user": "u1"}), ("w3", {"price": 0, "kind": "song", "user": "eve"})]
    given = [Classifier.load(tmp_path / name).logits(items) for name in ("sales", "mobile")]
    assert np.abs(given[0] - given[1]).max() < 1e-5
    lines = json.loads((tmp_path / "mobile" / "classifier.json").read_bytes())["parity"]["comparisons"]
    assert "features" in {line["inputs"] for line in lines}


def test_features_are_read_from_names_or_a_file(tmp_path: Path) -> None:
    assert read_features("price, stars") == ["price", "stars"]
    file = tmp_path / "features.json"
    file.write_text('{"price": {"mean": 3.0, "scale": 2.0}, "kind": ["a"], "user": {"values": {"b": 1}, "unknown": 0}}')
    assert make_features(read_features(str(file))) == (
        ("price", Number(3.0, 2.0)), ("kind", Category(["a"])), ("user", Category({"b": 1}, unknown=0)),
    )  # fmt: skip
    file.write_text('["price"]')
    assert read_features(str(file)) == ["price"]


@pytest.mark.parametrize(
    "content", ["", "3", '{"price": 3}', '{"price": {"means": 3}}', '{"a": ["x"], "a": ["y"]}', '{"a": {"scale": NaN}}']
)
def test_a_file_of_features_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "features.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"features\.json|scale"):
        make_features(read_features(str(file)))
    with pytest.raises(InputError, match=r"missing\.json"):
        read_features(str(tmp_path / "missing.json"))


@pytest.mark.slow
def test_the_command_exports_a_module_with_features(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps(VOCABULARY))
    source = f"{Path(zoo.__file__)}:Priced"
    arguments = ("export", source, "-o", str(tmp_path / "sales"), "--vocabulary", str(tmp_path / "words.json"))
    arguments += ("--labels", ",".join(LABELS), "--random-weights", "--features", "price")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "--feature price=" in done.output
    assert Classifier.load(tmp_path / "sales").manifest.features == make_features(["price"])
    done = CliRunner().invoke(main, (*arguments, "--texts", str(tmp_path / "words.json"), "--force"))
    assert done.exit_code == 2
