"""The engine in C makes the ids that the Python text rules make, and answers the test vectors."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from packing_tools import packed_bundle
from slow_case_sampling import examples

from pocketrnn.bundle import manifest as manifests
from pocketrnn.text import TextEncoder
from pocketrnn_native import Classifier, Packed

VECTORS = Path(__file__).parents[1] / "vectors"
BUNDLES = sorted(path.parent for path in VECTORS.glob("*/classifier.json"))
# Pieces that the rules treat in ways that are easy to get wrong.
PIECES = (
    "Σ", "ΑΣ", "ς", "ʰ", "İ", "ẞ", "\u0307", "'", '"', "<br />", '<b"r />', "<BR />", "<br", "/>", ".", ",", "(", ")",
    "!", "?", ";", ":", " ", "  ", "\t", "\x1c", "\x85", "\u2003", "\u200b", "\ufeff", "a", "Z", "PRICES", "\ud800",
    "😀", "é", "É", "Ⱥ", "K", "Ω", "\u1680", "\0", "x" * 30, "A", "2", ".5", "n't", "'s", "\U00010400", "\u1e9e",
)  # fmt: skip


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_engine_answers_the_test_vectors_as_they_say(bundle: Path) -> None:
    engine = Packed(packed_bundle(bundle))
    for file in ("vectors.jsonl", "unicode-14.jsonl", "surrogates.jsonl"):
        for line in (bundle / file).read_text(encoding="ascii").splitlines():
            vector = json.loads(line)
            assert engine.encode(vector["text"]) == vector["ids"], vector["text"]
            logits = engine.logits(vector["text"])
            np.testing.assert_allclose(logits, vector["logits"], atol=1e-5)
            np.testing.assert_allclose(engine.probabilities(logits), vector["probabilities"], atol=1e-5)


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python lower-cases by other tables")
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_engine_and_the_python_rules_give_the_same_ids_for_random_texts(bundle: Path) -> None:
    drawn, manifest = random.Random(5), manifests.read_manifest(bundle)
    reference, engine = TextEncoder(manifest.text.rules, manifest.text.vocabulary), Packed(packed_bundle(bundle))
    for turn in range(examples(500, 1500)):
        words = [
            drawn.choice(PIECES if drawn.random() < 0.6 else manifest.text.vocabulary) + drawn.choice(["", " ", ""])
            for _ in range(drawn.randrange(25))
        ]
        if turn % 5 == 0:
            words = [chr(drawn.randrange(drawn.choice([0x110000, 0x600]))) for _ in range(20)]
        text = "".join(words)
        assert engine.encode(text) == reference.encode(text), ascii(text)


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python lower-cases by other tables")
def test_every_code_point_is_lower_cased_and_split_as_in_python() -> None:
    engine = Packed(packed_bundle(VECTORS / "characters"))
    manifest = manifests.read_manifest(VECTORS / "characters")
    reference = TextEncoder(manifest.text.rules, manifest.text.vocabulary)
    whole = Packed(packed_bundle(VECTORS / "trigrams"))
    trigrams = manifests.read_manifest(VECTORS / "trigrams")
    split = TextEncoder(trigrams.text.rules, trigrams.text.vocabulary)
    word = next(word for word in trigrams.text.vocabulary if word.isascii() and word.isalpha())
    for start in range(0, sys.maxunicode + 1, 8):
        text = "".join(map(chr, range(start, start + 8)))
        # In the fast suite, of what has neither case nor parts nor a place between words every twentieth.
        if {*map(unicodedata.category, text)} <= {"Cn", "Co", "Cs", "Lo", "So"} and start % (8 * examples(20, 1)):
            continue
        assert engine.encode(text) == reference.encode(text), hex(start)
        spaced = "".join(f"{word}{chr(code)}" for code in range(start, start + 8))
        assert whole.encode(spaced) == split.encode(spaced), hex(start)


def test_a_long_text_and_an_empty_one_are_answered() -> None:
    engine = Packed(packed_bundle(VECTORS / "words"))
    assert len(engine.encode("")) == 1
    assert len(engine.encode("oil " * 100_000)) == 100_000
    assert len(engine.logits("oil " * 100_000)) == len(engine.labels())


EMPTY = """
#include <stdio.h>
#include <stdlib.h>
#include "pocketrnn.h"
int main(int count, char **arguments)
{
    static uint32_t file[1 << 16];
    static uint8_t memory[1 << 20], work[1 << 16];
    FILE *stream = fopen(arguments[count - 1], "rb");
    size_t bytes = fread(file, 1, sizeof file, stream), size = sizeof memory, work_size = sizeof work, done = 0;
    const prnn *classifier;
    float logits[2][64];
    fclose(stream);
    struct prnn_text texts[] = {{NULL, 0, logits[0], 9}, {NULL, 0, logits[1], 9}};
    if (prnn_open(&classifier, file, bytes, memory, &size) ||
        prnn_classify(classifier, NULL, 0, logits[0], work, &work_size) ||
        prnn_classify_many(classifier, texts, 2, &done, work, &work_size))
        return 1;
    return done == 2 && !texts[0].status && !texts[1].status ? 0 : 1;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["words", "cleaned"])
def test_a_text_of_no_bytes_may_be_a_null_pointer(bundle: str, tmp_path: Path) -> None:
    # Go and C++ give such pointers, and C does not define a sum of NULL and 0; clang's sanitizer sees it.
    clang = shutil.which("clang") or shutil.which("clang-19")
    if clang is None:
        pytest.skip("clang is not installed")
    (tmp_path / "packed.prnn").write_bytes(packed_bundle(VECTORS / bundle))
    (tmp_path / "empty.c").write_text(EMPTY)
    program, source = tmp_path / "empty", Path(__file__).parents[2] / "runtime" / "native" / "src"
    flags = ["-std=gnu11", "-w", "-fsanitize=undefined", "-fno-sanitize-recover=all", f"-I{source}"]
    line = [clang, *flags, tmp_path / "empty.c", source / "pocketrnn.c", "-lm", "-o", program]
    subprocess.run(list(map(str, line)), check=True, timeout=300)
    done = subprocess.run([program, tmp_path / "packed.prnn"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_no_text_is_refused() -> None:
    engine = Packed(packed_bundle(VECTORS / "words"))
    for wrong in (None, b"oil", 5, ["oil"]):
        with pytest.raises(TypeError, match="a string"):
            engine.logits(wrong)  # type: ignore[arg-type]


def test_the_package_alone_answers_as_the_engine_does(tmp_path: Path) -> None:
    path = tmp_path / "words.prnn"
    path.write_bytes(packed_bundle(VECTORS / "words"))
    classifier = Classifier.load(path)
    vectors = [json.loads(line) for line in (VECTORS / "words" / "vectors.jsonl").read_text().splitlines()]
    texts = [vector["text"] for vector in vectors]
    assert classifier.predict(texts) == [vector["label"] for vector in vectors]
    np.testing.assert_allclose(
        classifier.predict_proba(texts), [vector["probabilities"] for vector in vectors], atol=1e-5
    )
    answer = classifier.classify(texts[0], top=2)
    assert answer.label == vectors[0]["label"]
    assert len(answer.top) == 2
    with pytest.raises(ValueError, match="top is 0"):
        classifier.classify("oil", top=0)
    with pytest.raises(TypeError, match="list of texts"):
        classifier.predict("oil")
