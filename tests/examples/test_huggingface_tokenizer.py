"""A module trained in front of a Hugging Face tokenizer answers the same from Python, C, Node and a Cortex-M."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pocketrnn import Classifier

pytest.importorskip("tokenizers")
pytest.importorskip("torch")

import torch
from test_microcontroller import made
from test_other_languages import PRECISION, in_c, run
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
TEXTS = (
    *(
        "A lovely ending!",
        "Dreary.",
        "",
        "I'd  watch it\n12 times",
        "\u00dcber \u4e2d\u6587 \U0001f600",
        "<s>not</s> funny",
    ),
    "it's " * 40,
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    line = [sys.executable, ROOT / "examples" / "huggingface_tokenizer.py", folder]
    done = subprocess.run(line, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "A lovely ending!\tpositive\nDreary.\tnegative\n"
    return folder


@pytest.fixture(scope="module")
def ids(folder: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in TEXTS]


@pytest.fixture(scope="module")
def logits(folder: Path, ids: Sequence[list[int]]) -> np.ndarray:
    """The module's logits for the library's ids."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from huggingface_tokenizer import Mood
    finally:
        sys.path.pop(0)
    weights = torch.load(folder / "weights.pt", weights_only=True)
    module = Mood(len(weights["embedding.weight"]))
    module.load_state_dict(weights)
    with torch.no_grad():
        return np.concatenate([module(torch.tensor([one])).numpy() for one in ids])


@pytest.mark.parametrize("file", ["mood", "mood.prnn"])
def test_python_gives_the_librarys_ids_and_the_modules_answers(
    folder: Path, file: str, ids: list[list[int]], logits: np.ndarray
) -> None:
    classifier = Classifier.load(folder / file)
    assert [classifier.encode(text) for text in TEXTS] == ids
    np.testing.assert_allclose(classifier.logits(TEXTS), logits, atol=1e-5)


def test_the_program_in_c_does(folder: Path, logits: np.ndarray, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    printed = run(in_c(tmp_path), folder / "mood.prnn", *TEXTS).stdout.decode().splitlines()
    right = np.exp(logits.max(1)) / np.exp(logits).sum(1)
    names = [("negative", "positive")[i] for i in logits.argmax(1)]
    assert [line.split("\t")[0] for line in printed] == names
    np.testing.assert_allclose([float(line.split("\t")[1]) for line in printed], right, atol=PRECISION)


@pytest.mark.parametrize("engine", ["pocketrnn.wasm", "pocketrnn-plain.wasm"])
def test_node_does(folder: Path, engine: str, ids: list[list[int]], logits: np.ndarray) -> None:
    wasm = ROOT / "runtime" / "web" / engine
    if shutil.which("node") is None or not wasm.exists():
        pytest.skip("node is not installed, or scripts/build_web was not run")
    asked = [{"file": str(folder / "mood.prnn"), "wasm": str(wasm), "texts": list(TEXTS)}]
    line = ["node", ROOT / "tests" / "web" / "native_engine_in_node.mjs"]
    done = subprocess.run(line, input=json.dumps(asked).encode(), capture_output=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["ids"] == ids
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)


def test_a_microcontroller_answers_the_golden_examples(folder: Path, tmp_path: Path) -> None:
    ran = made(tmp_path, (folder / "mood.prnn").read_bytes(), "run")
    assert ran.returncode == 0, ran.stdout
    assert "warning" not in ran.stdout, ran.stdout
    number = len(Classifier.load(folder / "mood").manifest.examples)
    assert ran.stdout.count(f"{number} golden examples are answered as they were") == 2
