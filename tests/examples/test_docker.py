"""The images of examples/docker: what they copy is there, and the program in C answers where there is nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packing_tools import packed_bundle

from pocketrnn import Classifier
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "docker"
TEXTS = ["Oil prices rise again", "Striker scores twice in cup final"]
# Made beforehand, as the file's first lines say.
MADE = {"classifier.prnn"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.Dockerfile")), ids=lambda path: path.name)
def test_what_an_image_copies_is_in_the_repository(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    copied = re.findall(r"(?m)^COPY (?!--from)(\S+) ", text)
    assert copied
    for name in copied:
        assert name in MADE or (ROOT / name).exists(), name
    # Whoever breaks in is nobody.
    assert re.search(r"(?m)^USER 65534:65534$", text)
    assert f"-f examples/docker/{file.name}" in text


def test_the_server_has_what_the_example_says_it_needs() -> None:
    told = re.search(r"pip install pocketrnn (.+)", (FOLDER.parent / "fastapi_app.py").read_text(encoding="utf-8"))
    assert told is not None
    installed = re.search(r"pip install --no-cache-dir /source (.+)", (FOLDER / "server.Dockerfile").read_text())
    assert installed is not None
    assert sorted(told[1].split()) == sorted(installed[1].split())


@pytest.mark.slow
def test_the_static_program_answers_in_an_empty_root(tmp_path: Path) -> None:
    if not all(map(shutil.which, ("musl-gcc", "make", "bwrap"))):
        pytest.skip("musl-tools, make or bubblewrap is not installed")
    root = tmp_path / "root"
    root.mkdir()
    line = re.search(r"(?m)^RUN make -C /native (.+) OUT=", (FOLDER / "static.Dockerfile").read_text(encoding="utf-8"))
    assert line is not None
    native = ROOT / "runtime" / "native"
    subprocess.run(["make", "-C", native, *line[1].split(), f"OUT={root / 'pocketrnn-classify'}"], check=True)
    (root / "classifier.prnn").write_bytes(packed_bundle(find_or_download_bundle("ag_news-small")))
    program = ["bwrap", "--unshare-all", "--ro-bind", root, "/", "/pocketrnn-classify"]
    tried = subprocess.run([*program, "--verify", "/classifier.prnn"], capture_output=True, text=True)
    if "bwrap:" in tried.stderr:
        pytest.skip(f"No sandbox can be made here: {tried.stderr}")
    assert tried.returncode == 0, tried.stderr
    done = subprocess.run([*program, "/classifier.prnn"], input="\n".join(TEXTS), capture_output=True, text=True)
    labels = [row.split("\t")[0] for row in done.stdout.splitlines()]
    assert labels == Classifier.load("ag_news-small").predict(TEXTS)
    # The size that the page names.
    assert (root / "pocketrnn-classify").stat().st_size < 220_000
