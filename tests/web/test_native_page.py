"""The page and the native engine in a real headless Chromium, against Python's answers."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bundle_maker
import numpy as np
import pytest
from web_node import Node, list_bundle_files, served
from web_texts import adversarial, real, vocabulary_of

from pocketrnn import Classifier
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.text import TextEncoder, TextRules

pytestmark = pytest.mark.slow

WEB = Path(__file__).parents[2] / "runtime" / "web"
ORT_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
ENGINES = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
TYPED = "NASA's space probe wins the cup!"
SENTENCE = "No sé on és l'estació."
# Name -> its text rules, and what makes probabilities
MADE = {
    "bigrams": (TextRules(ngrams=2, max_tokens=50, unknown_id=None, empty_id=1, padding_id=1), "softmax"),
    "cased": (TextRules(tokenizer="whitespace", lowercase=False), "sigmoid"),
    "characters": (TextRules(tokenizer="characters", max_tokens=300), "softmax"),
}
NAMES = ("ag_news-small", *MADE)
WORKER = """
import { Classifier } from "./native.js";
onmessage = async ({ data }) => postMessage(await (await Classifier.load("classifier.prnn")).classify(data));
"""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*real(300), *adversarial(200, seed=3)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> dict[str, Path]:
    """The bundles that are packed, by name."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, (rules, activation) in MADE.items():
        tokens = [TextEncoder(rules, ["<unk>"]).tokens(text) for text in texts]

        def activated(manifest: Manifest, activation: str = activation) -> Manifest:
            return bundle_maker.with_output(manifest, activation)

        bundle_maker.make(
            folder / name, name=name, vocabulary=vocabulary_of(tokens, 2000), rules=rules, embedding=32, hidden=32,
            torchscript=False, change=activated,
        )  # fmt: skip
    return {"ag_news-small": find_or_download_bundle("ag_news-small"), **{name: folder / name for name in MADE}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wasm: Path, web_modules: Path, bundles: dict[str, Path]) -> Path:
    """The folders that runtime/web/README.md tells to make: `packed` with a packed file, `bundle` with a bundle."""
    from packing_tools import packed_bundle

    folder = tmp_path_factory.mktemp("site")
    for name in ("packed", "bundle"):
        shutil.copytree(wasm, folder / name)
    for name, bundle in bundles.items():
        (folder / "packed" / f"{name}.prnn").write_bytes(packed_bundle(bundle))
    shutil.copy(folder / "packed" / "ag_news-small.prnn", folder / "packed" / "classifier.prnn")
    (folder / "packed" / "languages.prnn").write_bytes(packed_bundle(find_or_download_bundle("languages")))
    (folder / "packed" / "worker.js").write_text(WORKER)
    shutil.copytree(bundles["cased"], folder / "bundle" / "bundle")
    (folder / "bundle" / "bundle" / "text.prnn").write_bytes(list_bundle_files(bundles["cased"])["text.prnn"])
    (folder / "bundle" / "ort").mkdir()
    for name in ORT_FILES:
        shutil.copy(web_modules / "onnxruntime-web" / "dist" / name, folder / "bundle" / "ort" / name)
    return folder


def hostile_files(content: bytes) -> list[bytes]:
    cut = [content[:length] for length in (0, 3, 255, 256, len(content) // 2, len(content) - 4)]
    changed = []
    for place in range(70, len(content), len(content) // 25):
        other = bytearray(content)
        other[place] ^= 0x40
        changed.append(bytes(other))
    return [*cut, *changed, b"<!doctype html>" * 100]


@pytest.fixture(scope="module")
def seen(
    site: Path, node: Node, chromium: str, web_modules: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    cases = [(name, engine) for name in NAMES for engine in ENGINES]
    with served(site) as address:
        answer = node(
            "drive_native.mjs",
            {
                "modules": str(web_modules),
                "chromium": chromium,
                "profile": str(tmp_path_factory.mktemp("profile")),
                "url": f"{address}/packed/index.html",
                "bundleUrl": f"{address}/bundle/index.html",
                "questions": [{"file": f"{name}.prnn", "wasm": engine, "texts": texts} for name, engine in cases],
                "hostile": [
                    base64.b64encode(file).decode()
                    for file in hostile_files((site / "packed" / "cased.prnn").read_bytes())
                ],
                "typed": TYPED,
                "languagesUrl": f"{address}/packed/index.html?bundle=languages.prnn",
                "sentence": SENTENCE,
            },
            timeout=500,
        )
    assert isinstance(answer, dict)
    answer["answers"] = dict(zip(cases, answer["answers"], strict=True))
    print(json.dumps({name: answer[name] for name in ("readyBytes", "longMilliseconds")}))
    return answer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_500_texts_are_answered_by_the_native_engine_as_in_python(
    seen: dict[str, Any], bundles: dict[str, Path], texts: list[str], name: str, engine: str
) -> None:
    classifier, answer = Classifier.load(bundles[name]), seen["answers"][name, engine]
    assert len(texts) == 500
    different = [t for t, ids in zip(texts, answer["ids"], strict=True) if ids != classifier.encode(t)]
    assert different[:3] == []
    np.testing.assert_allclose(answer["logits"], classifier.logits(texts), atol=1e-5, rtol=0)
    np.testing.assert_allclose(answer["probabilities"], classifier.predict_proba(texts), atol=1e-5, rtol=0)
    assert answer["labels"] == classifier.predict(texts)
    for text, got in zip(texts, answer["alone"], strict=True):
        expected = classifier.classify(text, top=2)
        assert (got["label"], [e["label"] for e in got["top"]]) == (expected.label, [e[0] for e in expected.top])
        assert got["probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert answer["verified"] <= 1e-5


def test_the_page_is_ready_with_ag_news_small_in_a_megabyte(seen: dict[str, Any]) -> None:
    assert seen["readyBytes"] < 1 << 20
    files = sorted(urlsplit(url).path.rpartition("/")[2] for url in seen["readyRequests"] if url.startswith("http"))
    assert files == [
        "answers.js", "classifier.prnn", "word_contributions.js", "engine.js", "index.html", "native.js", "page.css",
        "page.js", "pocketrnn.wasm", "answers_while_typing.js", "tags.js", "texts.js",
    ]  # fmt: skip


def test_the_page_shows_the_label_and_the_numbers_of_python(seen: dict[str, Any]) -> None:
    explanation, shown = Classifier.load("ag_news-small").explain(TYPED), seen["shown"]
    assert shown["label"] == explanation.label
    assert shown["figure"] == f"{100 * explanation.probability:.1f} %"
    assert shown["text"] == TYPED
    assert [word for word, _ in shown["contributions"]] == TYPED.split()
    expected = [fragment.log_odds for fragment in explanation.fragments]
    np.testing.assert_allclose([number for _, number in shown["contributions"]], expected, atol=3e-5)
    assert seen["longMilliseconds"] < 5000


def so_far(classifier: Classifier, text: str, ends: list[int]) -> list[list[Any]]:
    """The page's lines behind the words after which the likeliest label changes."""
    said: list[list[Any]] = []
    for end in ends:
        answer = classifier.classify(text[:end])
        if not said or said[-1][1].split()[0] != answer.label:
            said.append([end, f"{answer.label} {100 * answer.probability:.0f} %"])
    return said


def test_the_page_shows_what_the_answer_was_after_each_word(seen: dict[str, Any]) -> None:
    ends = [5 + 1, 12, 18, 23, 27, len(TYPED)]
    assert [TYPED[:end].split()[-1] for end in ends] == TYPED.split()
    assert seen["shown"]["soFar"] == so_far(Classifier.load("ag_news-small"), TYPED, ends)


def test_with_languages_the_page_says_which_language_it_is_so_far(seen: dict[str, Any]) -> None:
    classifier, languages = Classifier.load("languages"), seen["languages"]
    expected = classifier.classify(SENTENCE, top=5).top
    assert [(name, figure) for name, _, figure in languages["labels"]] == [
        (label, f"{100 * probability:.1f} %") for label, probability in expected
    ]
    places = [match.end() for match in re.finditer(r"\S+", SENTENCE)]
    assert languages["soFar"] == so_far(classifier, SENTENCE, places)
    assert len(languages["soFar"]) > 1


def test_the_address_of_the_page_names_the_labels_to_choose_among(seen: dict[str, Any]) -> None:
    expected = Classifier.load("languages").among(["en", "de", "-und"]).classify(SENTENCE, top=2).top
    assert seen["among"] == [f"{label}{100 * probability:.1f} %" for label, probability in expected]


def test_the_page_shows_no_label_where_nothing_is_written(seen: dict[str, Any]) -> None:
    assert seen["labelsOfNothing"] == 0


def test_a_worker_answers_too(seen: dict[str, Any]) -> None:
    expected = Classifier.load("ag_news-small").classify(TYPED)
    assert seen["inWorker"]["label"] == expected.label
    assert seen["inWorker"]["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_hostile_files_are_refused_and_the_page_answers_on(seen: dict[str, Any]) -> None:
    assert [sentence for sentence in seen["said"] if not str(sentence).startswith("BundleError: ")] == []
    assert seen["shown"]["label"]


def test_a_page_without_a_secure_context_replays_the_examples_too(seen: dict[str, Any]) -> None:
    assert seen["insecure"] <= 1e-5


def test_a_page_without_a_packed_file_opens_the_bundle_with_onnxruntime_web(seen: dict[str, Any]) -> None:
    assert seen["bundle"] == "cased"


def test_the_page_says_how_to_build_the_engine_where_it_is_missing(seen: dict[str, Any]) -> None:
    assert "scripts/build_web" in seen["withoutEngine"]
    assert "missing.prnn cannot be read: status 404" in seen["withoutFile"]


def test_no_other_host_is_asked_for_anything(seen: dict[str, Any]) -> None:
    asked = [urlsplit(url) for url in seen["requests"]]
    assert {(url.scheme, url.hostname) for url in asked} <= {("http", "localhost"), ("data", None)}
    assert seen["errors"] == []
