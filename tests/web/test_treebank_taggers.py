"""A tagger that is trained on a treebank answers the same in Python, in C and in JavaScript, at the same places."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from web_node import Node

pytest.importorskip("pocketrnn_training")

from pocketrnn_export import export_trained
from pocketrnn_export.packing import pack
from pocketrnn_training import train
from pocketrnn_training.rows.conll_files import read_tagged
from pocketrnn_training.settings.tag_settings import TagSettings

ROOT = Path(__file__).parents[2]
COMPARE, OTHER = ROOT / "scripts" / "compare_taggers", ROOT / "tests" / "vectors" / "packed" / "tags.prnn"
SENTENCES = (
    "Zoe\u0301/PROPN lives/VERB in/ADP Z\u00fcrich/PROPN ./PUNCT",
    "The/DET caf\u00e9/NOUN \U0001f600/SYM opens/VERB now/ADV !/PUNCT",
    "\U00010330\U00010331/X and/CCONJ na\u00efve/ADJ words/NOUN ,/PUNCT \U0001f469\u200d\U0001f467/SYM",
)


def treebank(file: Path) -> Path:
    """A treebank of CoNLL-U, each sentence with its text."""
    blocks = []
    for sentence in SENTENCES * 8:
        words = [word.rsplit("/", 1) for word in sentence.split()]
        rows = [f"{i}\t{form}\t_\t{upos}" + "\t_" * 6 for i, (form, upos) in enumerate(words, 1)]
        blocks.append("\n".join([f"# text = {' '.join(form for form, _ in words)}", *rows]))
    file.write_text("\n\n".join(blocks) + "\n\n", encoding="utf-8")
    return file


def made(file: Path, folder: Path) -> tuple[Path, Path]:
    """A tagger of the treebank, as a bundle and as a packed file."""
    settings = TagSettings(epochs=2, hidden_dim=8, embedding_dim=8, device="cpu", final_fit=False)
    export_trained(train(read_tagged((file,)), settings), folder / "bundle")
    pack(folder / "bundle", folder / "tagger.prnn")
    return folder / "bundle", folder / "tagger.prnn"


def compared(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, COMPARE, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("wasm")
def test_a_tagger_of_a_treebank_answers_alike_in_python_c_and_javascript(tmp_path: Path, node: Node) -> None:
    assert node
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    file = treebank(tmp_path / "a.conllu")
    bundle, packed = made(file, tmp_path)
    for marks in ([], ["--marks"]):
        run = compared(bundle, packed, file, *marks)
        assert run.returncode == 0, run.stdout + run.stderr
        assert run.stdout.count("0 of 24 texts differ") == 3
    # Another tagger has other labels.
    run = compared(bundle, OTHER, file, "--most", "3")
    assert run.returncode == 1
    assert run.stdout.count("3 of 3 texts differ") == 3
    assert ", not [(" in run.stderr
