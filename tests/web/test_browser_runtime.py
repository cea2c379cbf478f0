"""The page and the browser runtime in a real headless Chromium, against Python's answers."""

from __future__ import annotations

import json
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
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.text import TextEncoder, TextRules

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
ORT_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
TYPED = "NASA's space probe wins the cup!"
# bundle name -> its text rules, whether its graph takes lengths, and what makes probabilities
BUNDLES = {
    "words": (TextRules(unknown_id=0, empty_id=0, padding_id=1), True, "softmax"),
    "bigrams": (TextRules(ngrams=2, max_tokens=50, unknown_id=None, empty_id=1, padding_id=1), True, "softmax"),
    "cased": (TextRules(tokenizer="whitespace", lowercase=False), False, "sigmoid"),
    "characters": (TextRules(tokenizer="characters", max_tokens=300), False, "softmax"),
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*real(300), *adversarial(200, seed=2)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, web_modules: Path, wasm: Path, texts: list[str]) -> Path:
    """The folder that runtime/web/README.md tells to make."""
    folder = tmp_path_factory.mktemp("site") / "web"
    shutil.copytree(wasm, folder)
    (folder / "ort").mkdir()
    for name in ORT_FILES:
        shutil.copy(web_modules / "onnxruntime-web" / "dist" / name, folder / "ort" / name)
    for name, (rules, lengths, activation) in BUNDLES.items():
        tokens = [TextEncoder(rules, ["<unk>"]).tokens(text) for text in texts]

        def activated(manifest: Manifest, activation: str = activation) -> Manifest:
            return bundle_maker.with_output(manifest, activation)

        vocabulary = vocabulary_of(tokens, 2000)
        made = bundle_maker.make(
            folder / name, name=name, vocabulary=vocabulary, rules=rules, lengths=lengths, embedding=32, hidden=32,
            torchscript=False, change=activated,
        )  # fmt: skip
        (made / "text.prnn").write_bytes(list_bundle_files(made)["text.prnn"])
    for bundle in vector_bundles():
        (folder / "vectors" / bundle.name).mkdir(parents=True)
        for file, content in list_bundle_files(bundle).items():
            (folder / "vectors" / bundle.name / file).write_bytes(content)
    return folder


def vector_bundles() -> list[Path]:
    return sorted(path.parent for path in VECTORS.glob("*/classifier.json"))


def vectors_of(bundle: Path) -> list[dict[str, Any]]:
    files = sorted(set(bundle.glob("*.jsonl")) - set(bundle.glob("beyond.jsonl")))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def seen(
    site: Path, node: Node, chromium: str, web_modules: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    with served(site) as address:
        answer = node(
            "drive_browser.mjs",
            {
                "modules": str(web_modules),
                "chromium": chromium,
                "profile": str(tmp_path_factory.mktemp("profile")),
                "url": f"{address}/index.html",
                "questions": [
                    *({"bundle": f"{name}/", "texts": texts} for name in BUNDLES),
                    *(
                        {"bundle": f"vectors/{bundle.name}/", "texts": [v["text"] for v in vectors_of(bundle)]}
                        for bundle in vector_bundles()
                    ),
                ],
                "typed": TYPED,
                "screenshot": str(tmp_path_factory.mktemp("screenshot") / "page.png"),
            },
            timeout=300,
        )
    assert isinstance(answer, dict)
    names = [*BUNDLES, *(f"vectors/{bundle.name}" for bundle in vector_bundles())]
    answer["answers"] = dict(zip(names, answer["answers"], strict=True))
    print(json.dumps({name: value for name, value in answer.items() if name in ("ready", "longMilliseconds")}))
    return answer


@pytest.mark.parametrize("name", BUNDLES)
def test_500_texts_are_answered_in_the_browser_as_in_python(
    seen: dict[str, Any], site: Path, texts: list[str], name: str
) -> None:
    classifier, answer = Classifier.load(site / name), seen["answers"][name]
    assert len(texts) == 500
    different = [t for t, ids in zip(texts, answer["ids"], strict=True) if ids != classifier.encode(t)]
    assert different[:3] == []
    differences = np.abs(np.array(answer["logits"]) - classifier.logits(texts)).max(1)
    print(f"{name}: largest logit difference {differences.max():.1e};", end=" ")
    print(f"{2 * answer['milliseconds']:.0f} us a text together, {2 * answer['millisecondsAlone']:.0f} us alone")
    assert differences.max() <= 1e-5
    np.testing.assert_allclose(answer["probabilities"], classifier.predict_proba(texts), atol=1e-5, rtol=0)
    assert answer["labels"] == classifier.predict(texts)
    for text, got in zip(texts, answer["alone"], strict=True):
        expected = classifier.classify(text, top=2)
        assert (got["label"], [e["label"] for e in got["top"]]) == (expected.label, [e[0] for e in expected.top])
        assert got["probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert answer["verified"] <= 1e-5


@pytest.mark.parametrize("bundle", vector_bundles(), ids=lambda bundle: bundle.name)
def test_the_test_vectors_are_answered_as_they_say(seen: dict[str, Any], bundle: Path) -> None:
    answer, vectors = seen["answers"][f"vectors/{bundle.name}"], vectors_of(bundle)
    assert answer["ids"] == [vector["ids"] for vector in vectors]
    assert answer["labels"] == [vector["label"] for vector in vectors]
    for member in ("logits", "probabilities"):
        np.testing.assert_allclose(answer[member], [vector[member] for vector in vectors], atol=1e-5, rtol=0)


def test_the_page_shows_the_label_and_what_each_word_contributed(seen: dict[str, Any], site: Path) -> None:
    classifier, shown = Classifier.load(site / "words"), seen["shown"]
    expected = classifier.classify(TYPED)
    assert shown["label"] == expected.label
    assert shown["figure"] == f"{100 * expected.probability:.1f} %"
    assert shown["text"] == TYPED
    words = TYPED.split()
    assert [word for word, _, _ in shown["contributions"]] == words

    def log_odds(text: str) -> float:
        row = classifier.logits([text])[0].astype(np.float64)
        k = classifier.labels.index(expected.label)
        return float(row[k] - np.log(np.exp(np.delete(row, k)).sum()))

    without = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    differences = [log_odds(TYPED) - log_odds(text) for text in without]
    np.testing.assert_allclose([c for _, c, _ in shown["contributions"]], differences, atol=3e-5)
    explained = classifier.explain(TYPED).fragments
    np.testing.assert_allclose([c for _, c, _ in shown["contributions"]], [f.log_odds for f in explained], atol=3e-5)
    assert len({colour for _, _, colour in shown["contributions"]}) > 1


def test_a_text_of_5000_words_is_coloured_in_bounded_time(seen: dict[str, Any]) -> None:
    assert seen["longMilliseconds"] < 5000


def test_digests_are_checked_without_a_secure_context_too(seen: dict[str, Any]) -> None:
    assert seen["insecure"] == "words"


def test_no_other_host_is_asked_for_anything(seen: dict[str, Any]) -> None:
    asked = [urlsplit(url) for url in seen["requests"]]
    assert {(url.scheme, url.hostname) for url in asked} <= {("http", "localhost"), ("data", None), ("blob", None)}
    assert [url.path for url in asked].count("/words/text.prnn") >= 2
    missing, other_host = seen["refused"]
    assert missing.startswith("BundleError: ")
    assert "status 404" in missing
    # The page's own policy stops a bundle's address that names another host, before it is asked.
    assert other_host.startswith("BundleError: ")
    policy = [error for error in seen["errors"] if "another-host.invalid" in error]
    assert any("Content Security Policy" in error for error in policy)
    assert [error for error in seen["errors"] if "404" not in error and error not in policy] == []
