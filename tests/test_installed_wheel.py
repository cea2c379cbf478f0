"""The wheel, installed as a user installs it, into an environment without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_wheel_classifies_with_the_shipped_bundle_without_pytorch(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["PYTHON"] = sys.executable
    subprocess.run([ROOT / "scripts" / "venv", tmp_path / "env", "--runtime"], check=True, env=environment)
    python = tmp_path / "env" / "bin" / "python"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [python, *arguments], check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
        ).stdout

    listed = run("-m", "pip", "list", "--format=freeze").lower()
    assert not any(line.split("==")[0] in {"torch", "onnx", "onnxscript", "torchtext"} for line in listed.split())
    assert run("-m", "pocketrnn", "classify", "Où est la gare ?").startswith("fr\t")
    assert "OK: languages" in run("-m", "pocketrnn", "verify", "languages")
    found = run(
        "-c", "import pocketrnn; print(pocketrnn.Classifier.load('languages').predict(['Wo ist der Bahnhof?']))"
    )
    assert found == "['de']\n"

    def refusal(*arguments: str) -> tuple[int, str]:
        command = [python, "-m", "pocketrnn", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        return done.returncode, done.stderr

    # A missing file would be named before a missing extra.
    (tmp_path / "net.py").touch()
    status, said = refusal("export", "net.py:Net", "-o", "y")
    assert status == 1
    assert said.endswith(("[export]'\n", "[export]\n"))
    # Its data is for non-commercial use: it is a distribution of its own.
    status, said = refusal("verify", "ag_news")
    assert status == 2
    assert "pip install ./trained" in said
    run("-m", "pip", "install", "--quiet", "--no-deps", str(ROOT / "trained"))
    assert "OK: ag_news" in run("-m", "pocketrnn", "verify", "ag_news")
    assert "OK: languages" in run("-m", "pocketrnn", "verify", "languages")


@pytest.mark.slow
def test_the_demo_runs_from_any_folder_and_again(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    for _ in range(2):
        demo = subprocess.run([clone / "scripts" / "demo"], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert "Graph: proven equal" in demo.stdout
        assert "torch, onnx and onnxscript are not installed here." in demo.stdout
        assert demo.stdout.count("Sports\t") == 1


@pytest.mark.slow
def test_the_wheel_holds_the_bundles_and_no_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(command, check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    shipped = {name for name in files if name.startswith("pocketrnn_zoo/")}
    names = ("README.md", "bundle/classifier.json", "bundle/model.onnx")
    assert shipped == {f"pocketrnn_zoo/languages/{name}" for name in names}
    assert wheel.stat().st_size < 2_500_000


@pytest.mark.slow
def test_word_vectors_are_a_distribution_of_their_own(tmp_path: Path) -> None:
    folder = ROOT / "trained" / "words"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, folder]
    subprocess.run(command, check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert files == {"pocketrnn_words/__init__.py", "pocketrnn_words/en.npz"}


@pytest.mark.slow
def test_the_classifiers_of_news_are_a_distribution_of_their_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT / "trained"]
    subprocess.run(command, check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = [f"pocketrnn_zoo/{name}" for name in ("ag_news", "ag_news-small")]
    bundles = {f"{folder}/bundle/{name}" for folder in folders for name in ("classifier.json", "model.onnx")}
    assert files == bundles | {f"{folder}/README.md" for folder in folders}
