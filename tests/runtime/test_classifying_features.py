"""Features beside a text: how they become the inputs of a graph, many rows, files of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from row_files import write_rows

from pocketrnn import Category, Classifier, FeatureInput, Number, verify
from pocketrnn.bundle.hub_download import parse_hub_address
from pocketrnn.bundle.manifest import Limits, encode_json_with_digest, read_manifest
from pocketrnn.bundle.texts_beyond_limits import mark_texts_beyond_limits
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, LimitError, PocketRNNError, TextError
from pocketrnn.hub_upload import _format_card_lines
from pocketrnn.text import TextRules
from pocketrnn.text.features_beside_text import (
    build_features_from_document,
    encode_numbers_as_negative_ids,
    encode_values,
    make_features,
    make_features_document,
    separate_features_from_ids,
)
from pocketrnn.text.text_input import TextInput

FEATURES = make_features({"price": Number(3.0, 2.0), "kind": Category(["book", "film"], unknown=7), "user": {"ada": 5}})
TEXTS: list[tuple[str, Any]] = [
    ("Wall St. Bears", {"price": 3.5, "kind": "film", "user": "ada"}),
    ("oil", {"price": -1, "kind": "opera", "user": "ada"}),
    ("", {"price": 1e30, "kind": "book", "user": "ada"}),
    ("oil", {"price": 0.0, "kind": "book", "user": "ada"}),
]
ROW = {"price": 3.5, "kind": "film", "user": "ada"}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    golden = [(text, tuple(values.items())) for text, values in [*TEXTS[:2], TEXTS[3]]]
    folder = tmp_path_factory.mktemp("features") / "sales"
    return bundle_maker.make(folder, features=FEATURES, torchscript=False, texts=golden)


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


def run(*arguments: str, exit_code: int = 0, input: str | None = None) -> Result:  # noqa: A002 - as click names it
    done = CliRunner().invoke(main, arguments, input=input)
    assert done.exit_code == exit_code, done.stderr
    return done


floats = st.floats(width=32, allow_nan=False)


@given(st.lists(st.tuples(st.tuples(floats, floats), st.lists(st.integers(0, 9), min_size=1)), min_size=1, max_size=5))
def test_a_row_of_ids_keeps_every_number_as_it_is(rows: list[tuple[tuple[float, float], list[int]]]) -> None:
    marked = [[*encode_numbers_as_negative_ids(np.array(numbers, np.float32)).tolist(), *ids] for numbers, ids in rows]
    lengths = np.array([len(row) for row in marked])
    tokens = np.zeros((len(rows), lengths.max()), np.int64)
    for made, row in zip(tokens, marked, strict=True):
        made[: len(row)] = row
    found = separate_features_from_ids(tokens, lengths)
    assert (tokens[:, :2] < 0).all()
    expected = np.array([numbers for numbers, _ in rows], np.float32)
    assert np.array_equal(found.features.view(np.uint32), expected.view(np.uint32))
    assert [row[:n].tolist() for row, n in zip(found.tokens, found.lengths, strict=True)] == [ids for _, ids in rows]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_text_with_features_is_answered_alone_as_among_others(tmp_path: Path, lengths: bool) -> None:
    golden = [(text, tuple(values.items())) for text, values in TEXTS]
    folder = bundle_maker.make(
        tmp_path / "sales", features=FEATURES, torchscript=False, texts=golden, lengths=lengths, hidden=3
    )
    classifier, model = Classifier.load(folder), bundle_maker.weights(len(bundle_maker.WORDS), hidden=3)
    expected = np.array([bundle_maker.feature_logits(model, classifier.encode(one)) for one in TEXTS])
    together, alone = classifier.logits(TEXTS), np.concatenate([classifier.logits([one]) for one in TEXTS])
    assert np.allclose(together, expected, rtol=1e-5, atol=1e-5)
    assert np.allclose(alone, expected, rtol=1e-5, atol=1e-5)
    # With other features, a text has another answer.
    assert not np.allclose(together[1], together[3], atol=1e-3)
    assert verify(folder).replays[0].examples == len(TEXTS)


def test_numbers_are_scaled_and_categories_become_ids() -> None:
    assert encode_values(FEATURES, {"price": 7, "kind": "opera", "user": "ada"}).tolist() == [2.0, 7.0, 5.0]
    assert encode_values(FEATURES, {"price": np.float32(3), "kind": "film", "user": "ada"}).tolist() == [0.0, 1.0, 5.0]
    users = make_features({"user": [17, 25]})
    assert encode_values(users, {"user": 25}).tolist() == encode_values(users, {"user": "25"}).tolist() == [1.0]
    assert encode_values(users, {"user": np.int64(17)}).tolist() == [0.0]
    assert build_features_from_document(json.loads(json.dumps(make_features_document(FEATURES)))) == FEATURES


def test_a_refusal_of_an_unknown_value_lists_the_nearest_and_the_first_values() -> None:
    known = make_features({"user": [f"user{i}" for i in range(12)] + ["w" * 200], "kind": ["book", "film"]})
    for values, told in (
        ({"user": "User11", "kind": "book"}, ["user11?", "user0, ", "user9 and 3 more"]),
        ({"user": "user1", "kind": "opera"}, ["book, film"]),
        ({"usr": "user1", "kind": "film"}, ["user?", "user, kind"]),
    ):
        with pytest.raises(TextError) as caught:
            encode_values(known, values)
        assert [word for word in told if word not in caught.value.remedy] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "film", "user": "ada"}, "price"),
        ({**ROW, "price": None}, "price"),
        ({**ROW, "colour": 3}, "colour"),
        ({**ROW, "price": True}, "price=True"),
        ({**ROW, "price": "3"}, "price='3'"),
        ({**ROW, "price": float("nan")}, "price=nan"),
        ({**ROW, "price": float("inf")}, "price=inf"),
        ({**ROW, "price": 1e39}, "price=1e"),
        ({**ROW, "price": 10**400}, "price=1"),
        ({**ROW, "kind": 3.0}, "kind=3.0"),
        ({**ROW, "kind": False}, "kind=False"),
        ({**ROW, "user": "adb"}, "user='adb'"),
    ],
)
def test_a_feature_that_a_text_cannot_have_is_refused_by_its_name(
    classifier: Classifier, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(TextError, match=said):
        classifier.classify(("oil", values))
    with pytest.raises(TextError, match="position 1"):
        classifier.predict([TEXTS[0], ("oil", values)])
    assert classifier.predict([TEXTS[0], ("oil", values)], on_error="skip")[1] is None


def test_the_nearest_value_or_name_is_proposed(classifier: Classifier) -> None:
    for values, near in (({**ROW, "user": "adda"}, "ada"), ({**ROW, "prise": 3}, "price")):
        with pytest.raises(TextError) as refused:
            classifier.classify(("oil", values))
        assert near in refused.value.remedy


@pytest.mark.parametrize("item", ["oil", ("oil",), ("oil", "film"), ("oil", [3.5]), {"text": "oil", **ROW}, None, 7])
def test_a_text_without_a_map_of_features_is_refused(classifier: Classifier, item: object) -> None:
    with pytest.raises(TextError, match="features"):
        classifier.classify(item)


def test_the_text_may_be_tokens_or_ids(classifier: Classifier) -> None:
    whole = classifier.encode(("Wall St.", ROW))
    assert classifier.encode((["wall", "st", "."], ROW)) == whole
    assert classifier.encode((whole[3:], ROW)) == whole
    assert Classifier.load(classifier._folder, tokenizer=str.split).encode(("oil", ROW))[3:] == [17]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("price", "price"),
        ([], "0 features"),
        (7, "7"),
        (["price", "price"], "price"),
        (["text"], "text"),
        (["tokens"], "tokens"),
        (["_price"], "_price"),
        (["the price"], "the price"),
        (["class"], "class"),
        ([3], "3"),
        ({"kind": []}, "kind"),
        ({"kind": ["a", "a"]}, "'a'"),
        ({"kind": ["1", 1]}, "'1'"),
        ({"kind": [True]}, "True"),
        ({"kind": [None]}, "None"),
        ({"kind": {"a": -1}}, "-1"),
        ({"kind": {"a": 1.0}}, "1.0"),
        ({"kind": {"a": 1 << 24}}, "16777216"),
        ({"kind": 3}, "kind"),
        ({"kind": "book"}, "book"),
    ],
)
def test_features_that_cannot_be_meant_are_refused(features: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_features(features)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Number(scale=0),
        lambda: Number(scale=float("nan")),
        lambda: Number(mean=float("inf")),
        lambda: Number(mean="3"),
        lambda: Number(scale=True),
        lambda: Category(["a"], unknown=-1),
    ],
)
def test_a_mean_scale_or_id_that_cannot_be_meant_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize(
    "asked",
    [
        lambda c: c.stream(),
        lambda c: c.explain(TEXTS[0]),
        lambda c: c.embed(TEXTS),
        lambda c: c.manifest.require_single_text("a packed file"),
        lambda c: c.tag("oil"),
        lambda c: c.predict("oil"),
    ],
)
def test_methods_for_a_text_alone_are_refused(classifier: Classifier, asked: Callable[[Classifier], object]) -> None:
    with pytest.raises(PocketRNNError):
        asked(classifier)


def test_limits_count_the_ids_of_the_text_only(tmp_path: Path) -> None:
    limits, rules = Limits(min_tokens=2, max_tokens=3, real_token=True), TextRules(padding_id=1)
    golden = [("oil oil", tuple(ROW.items()))]
    folder = bundle_maker.make(
        tmp_path / "sales", features=FEATURES, torchscript=False, texts=golden, limits=limits, rules=rules
    )
    classifier = Classifier.load(folder)
    # The word whose id is that of the padding.
    for text in ("oil", "oil oil oil oil", "the the"):
        with pytest.raises(LimitError) as refused:
            classifier.classify((text, ROW))
        assert text == "the the" or f"{len(text.split())} token id" in refused.value.problem
        assert classifier.predict([("oil oil", ROW), (text, ROW)], on_error="skip")[1] is None
    ids = np.array([-1, -7, 5, 5, -2, -1, 1, 1, -1, -1, 5])
    assert mark_texts_beyond_limits(limits, ids, np.array([4, 4, 3]), 1).tolist() == [False, True, True]


def test_a_bundle_says_its_features_and_the_parts_must_agree(bundle: Path) -> None:
    document = json.loads((bundle / "classifier.json").read_bytes())
    assert [one["name"] for one in document["features"]] == ["price", "kind", "user"]
    assert document["examples"][0]["features"] == ROW
    assert document["examples"][0]["text"] == "Wall St. Bears"
    assert min(document["examples"][0]["ids"]) >= 0
    assert document["graph"]["inputs"] == ["tokens", "lengths", "features"]
    manifest = read_manifest(bundle)
    assert manifest.features == FEATURES
    assert manifest.golden_texts[0].text == ("Wall St. Bears", tuple(ROW.items()))
    assert "price, kind, user" in repr(Classifier.load(bundle))
    text = manifest.text
    with pytest.raises(BundleError, match="features"):
        replace(manifest, input=TextInput(text.rules, text.vocabulary))
    with pytest.raises(BundleError):
        replace(manifest, input=FeatureInput(text.rules, text.vocabulary, FEATURES[:2]))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["features"][0].update(scale=0),
        lambda document: document["features"][0].update(mean="3"),
        lambda document: document["features"][0].update(name="kind"),
        lambda document: document["features"][0].update(name="the price"),
        lambda document: document["features"][1]["values"].update(film=-1),
        lambda document: document["features"][1]["values"].update(film=1 << 24),
        lambda document: document["features"][1].update(values={}),
        lambda document: document["features"][1].update(unknown=0.5),
        lambda document: document.update(features=[]),
        lambda document: document.update(texts=2),
        lambda document: document.update(labels_of="tokens"),
        lambda document: document["features"].pop(),
        lambda document: document["examples"][0].pop("features"),
        lambda document: document["examples"][0]["features"].update(price="3"),
        lambda document: document["examples"][0]["features"].update(price=1e39),
        lambda document: document["examples"][0]["features"].update(user="eve"),
        lambda document: document["examples"][0]["features"].update(colour=3),
    ],
)
def test_a_damaged_document_of_features_is_refused(
    tmp_path: Path, bundle: Path, change: Callable[[Any], object]
) -> None:
    document = json.loads((bundle / "classifier.json").read_bytes())
    change(document)
    del document["digest"]
    (tmp_path / "classifier.json").write_bytes(encode_json_with_digest(document))
    with pytest.raises(BundleError, match=r"classifier\.json"):
        read_manifest(tmp_path)


def test_a_graph_of_another_number_of_features_is_refused(tmp_path: Path) -> None:
    golden = [("oil", tuple(ROW.items()))]

    def one_less(proto: Any) -> None:
        proto.graph.input[-1].type.tensor_type.shape.dim[1].dim_value = 2
        weights = next(one for one in proto.graph.initializer if one.name == "feature_weights")
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[:2], "feature_weights"))

    folder = bundle_maker.make(
        tmp_path / "sales", features=FEATURES, torchscript=False, texts=golden, change_graph=one_less
    )
    with pytest.raises(BundleError, match="features"):
        Classifier.load(folder)


def test_the_command_line_takes_each_feature_once(bundle: Path, classifier: Classifier) -> None:
    answer = classifier.classify(TEXTS[0])
    given = ("--feature", "price=3.5", "--feature", "kind=film", "--feature", "user=ada")
    line = f"{answer.label}\t{answer.probability:.4f}\tWall St. Bears\n"
    assert run("classify", "-b", str(bundle), *given, "Wall St. Bears").stdout == line
    assert run("classify", "-b", str(bundle), *given, input="Wall St. Bears\n").stdout == line
    assert run("classify", "-b", str(bundle), *given, "--tokens", '["oil"]').stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oil"], "--feature price=VALUE"),
        (["--feature", "price", "oil"], "'price'"),
        (["--feature", "price=1", "--feature", "price=2", "oil"], "a second time"),
        (["--feature", "price=a", "--feature", "kind=film", "--feature", "user=ada", "oil"], "price='a'"),
        (["--feature", "price=nan", "--feature", "kind=film", "--feature", "user=ada", "oil"], "price=nan"),
        (["--feature", "price=1_0", "--feature", "kind=film", "--feature", "user=ada", "oil"], "price='1_0'"),
        (["--feature", "price=1", "--feature", "kind=film", "--feature", "user=eve", "oil"], "user='eve'"),
        (["--feature", "price=1", "--input", "rows.csv"], "column"),
    ],
)
def test_the_command_line_refuses_features_that_are_wrong(bundle: Path, arguments: list[str], said: str) -> None:
    assert said in run("classify", "-b", str(bundle), *arguments, exit_code=2).stderr


def test_a_classifier_of_texts_takes_no_feature(tmp_path: Path) -> None:
    one = bundle_maker.make(tmp_path / "one", torchscript=False)
    assert "small" in run("classify", "-b", str(one), "--feature", "price=3", "oil", exit_code=2).stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_of_its_name_holds_each_feature(
    tmp_path: Path, bundle: Path, classifier: Classifier, kind: str
) -> None:
    rows = [{"text": text, **values, "price": float(values["price"])} for text, values in TEXTS]
    file, out = write_rows(tmp_path / f"rows.{kind}", rows), tmp_path / "out.jsonl"
    run("classify", "-b", str(bundle), "--input", str(file), "-o", str(out))
    answered = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in answered] == classifier.predict(TEXTS)
    without = write_rows(tmp_path / f"rows.{kind}", [{"text": "oil", "price": 1.0, "kind": "film"}])
    assert "user" in run("classify", "-b", str(bundle), "--input", str(without), exit_code=2).stderr


@pytest.mark.parametrize("wrong", [{"price": None}, {"price": "much"}, {"user": "eve"}, {"price": True}])
def test_a_row_with_a_wrong_feature_is_refused_or_passed_over(
    tmp_path: Path, bundle: Path, wrong: dict[str, Any]
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"text": "oil", **ROW}, {"text": "oil", **ROW, **wrong}])
    said = run("classify", "-b", str(bundle), "--input", str(file), exit_code=2).stderr
    assert "Row 2" in said
    assert next(iter(wrong)) in said
    done = run("classify", "-b", str(bundle), "--input", str(file), "--on-error", "skip")
    assert [bool(json.loads(line)["label"]) for line in done.stdout.splitlines()] == [True, False]
    assert "1 of 2 rows skipped: 0 without a text, 0 left out, 1 with a missing or wrong feature." in done.stderr


def test_inspect_verify_and_the_page_know_features(tmp_path: Path, bundle: Path) -> None:
    said = run("inspect", str(bundle)).stdout
    assert "(number - 3) / 2" in said
    assert "book, film" in said
    run("verify", "--html", str(tmp_path / "proof.html"), str(bundle))
    assert "Wall St. Bears | price=3.5" in (tmp_path / "proof.html").read_text()
    assert "price" in run("bench", str(bundle), exit_code=2).stderr
    card = "\n".join(_format_card_lines(read_manifest(bundle), parse_hub_address("hf://me/sales"), []))
    assert "--feature price=3.0" in card
