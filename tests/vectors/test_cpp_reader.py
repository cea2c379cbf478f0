"""The reader in C++ (examples/cpp) is built, and answers the test vectors as they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.packed_file import encode_packed_text_rules
from pocketrnn.errors import BundleError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "examples" / "cpp" / "classify.cpp"
ENGINE = ROOT / "runtime" / "native" / "src"
BUNDLES = sorted(path.parent for path in HERE.glob("*/classifier.json"))
EXTERNAL = HERE / "external" / "words"
VECTORS_OF_REFUSED = [json.loads(line) for line in (HERE / "refused" / "refused.jsonl").read_text().splitlines()]
LIBRARIES = ("libonnxruntime", "nlohmann_json", "libcrypto")


def has_text_rules(folder: Path) -> bool:
    """Whether there is something to pack: where classifier.json is refused, there is not."""
    try:
        manifests.read_manifest(folder)
    except BundleError:
        return False
    return True


REFUSED = [vector for vector in VECTORS_OF_REFUSED if has_text_rules(HERE / "refused" / vector["bundle"])]


@pytest.fixture(scope="session")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compilers = [shutil.which(name) or shutil.which(other) for name, other in (("gcc", "clang"), ("g++", "clang++"))]
    pkg_config = shutil.which("pkg-config")
    if None in compilers or pkg_config is None:
        pytest.skip("compilers of C and C++ or pkg-config are not installed")
    flags = subprocess.run([pkg_config, "--cflags", "--libs", *LIBRARIES], capture_output=True, text=True, check=False)
    if flags.returncode != 0:
        pytest.skip(
            "the libraries of examples/cpp are not installed (Debian: libonnxruntime-dev nlohmann-json3-dev libssl-dev)"
        )
    folder = tmp_path_factory.mktemp("cpp")
    program, engine = folder / "classify", folder / "pocketrnn.o"
    strict = ["-Wall", "-Wextra", "-Werror", f"-I{ENGINE}"]
    for command in (
        [compilers[0], "-O1", "-Wno-psabi", "-c", ENGINE / "pocketrnn.c", "-o", engine],
        [compilers[1], "-std=c++17", *strict, SOURCE, engine, "-o", program, *flags.stdout.split()],
    ):
        built = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
        assert built.returncode == 0, built.stderr
    return program


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """A function from a bundle to a folder with its graph and its text rules for the engine."""

    @cache
    def made(bundle: Path) -> Path:
        manifest = manifests.read_manifest(bundle)
        folder = tmp_path_factory.mktemp("site")
        (folder / "text.prnn").write_bytes(encode_packed_text_rules(manifest))
        shutil.copy(bundle / manifest.graph.file, folder)
        return folder

    return made


def run(program: Path, *arguments: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    # Debian's build of onnxruntime prints "Schema error" lines on stderr at every start; they mean nothing here.
    return subprocess.run(
        [str(program), *map(str, arguments)],
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("file", ["vectors.jsonl", "unicode-14.jsonl"])
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_cpp_reader_answers_the_vectors_as_they_say(
    classify: Path, site: Callable[[Path], Path], bundle: Path, file: str
) -> None:
    done = run(classify, site(bundle), bundle / file)
    number = len((bundle / file).read_text(encoding="ascii").splitlines())
    assert done.stdout == f"{number} of {number} test vectors right\n"
    assert done.returncode == 0


def test_the_cpp_reader_takes_texts_that_are_split_already(classify: Path, site: Callable[[Path], Path]) -> None:
    vectors = (EXTERNAL / "vectors.jsonl").read_text(encoding="ascii").splitlines()
    done = run(classify, site(EXTERNAL), EXTERNAL / "vectors.jsonl")
    assert done.stdout == f"{len(vectors)} of {len(vectors)} test vectors right\n"
    for line in (EXTERNAL / "refused.jsonl").read_text(encoding="ascii").splitlines():
        vector = json.loads(line)
        refused = run(classify, site(EXTERNAL), given=json.dumps(vector["text"]) + "\n")
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert vector["said"] in refused.stderr or "nor a list of tokens or ids" in refused.stderr


@pytest.mark.parametrize("bundle", ["limits", "real-token"])
def test_the_cpp_reader_refuses_texts_beyond_a_bundles_limits(
    classify: Path, site: Callable[[Path], Path], bundle: str
) -> None:
    for line in (HERE / bundle / "beyond.jsonl").read_text(encoding="ascii").splitlines():
        vector = json.loads(line)
        if "\n" in vector["text"]:
            continue  # it reads lines
        done = run(classify, site(HERE / bundle), given=f"{vector['text']}\n")
        assert (done.returncode, done.stdout) == (2, ""), vector
        assert vector["said"] in done.stderr


def test_the_cpp_reader_notices_a_vector_that_is_not_met(
    classify: Path, site: Callable[[Path], Path], tmp_path: Path
) -> None:
    lines = (
        (HERE / "words" / "vectors.jsonl").read_text(encoding="ascii").replace('"label": "Sports"', '"label": "World"')
    )
    (tmp_path / "wrong.jsonl").write_text(lines, encoding="ascii")
    done = run(classify, site(HERE / "words"), tmp_path / "wrong.jsonl")
    assert "Answered differently" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize("file", ["text.prnn", "model.onnx"])
def test_the_cpp_reader_refuses_a_changed_bundle(
    classify: Path, site: Callable[[Path], Path], tmp_path: Path, file: str
) -> None:
    folder = shutil.copytree(site(HERE / "words"), tmp_path / "changed")
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content.replace(b"World", b"Wirld"))
    assert (folder / file).read_bytes() != content
    done = run(classify, folder, given="the cup\n")
    assert "changed after it was made" in done.stderr
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["bundle"])
def test_the_cpp_reader_refuses_what_must_be_refused(
    classify: Path, site: Callable[[Path], Path], vector: dict[str, str]
) -> None:
    done = run(classify, site(HERE / "refused" / vector["bundle"]), given="the cup\n")
    assert vector["said"] in done.stderr
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("file", ["text.prnn", "model.onnx"])
def test_the_cpp_reader_refuses_what_is_no_regular_file(
    classify: Path, site: Callable[[Path], Path], tmp_path: Path, file: str
) -> None:
    folder = shutil.copytree(site(HERE / "words"), tmp_path / "changed")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    done = run(classify, folder, given="the cup\n")
    assert "no regular file" in done.stderr
    assert done.returncode == 2
