"""The native engine: built where it lies, if there is a C compiler; else these tests are left out, and that is said."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_programs import compiled_once

from pocketrnn import Classifier
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "runtime" / "native"

subprocess.run([str(ROOT / "scripts" / "build_native"), sys.executable], check=True, timeout=300)
for folder in (NATIVE, ROOT / "tests" / "exporter", ROOT / "tests" / "runtime"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

if importlib.util.find_spec("pocketrnn_native._engine") is None:
    collect_ignore_glob = ["test_*.py"]
    sys.stderr.write("The native engine is not built here: its tests are left out.\n")
else:
    from packing_tools import packed_bundle

    import pocketrnn_native


@pytest.fixture(scope="module", autouse=True)
def exports_are_short(scant_proofs: None) -> None:
    """Exports have short proofs: the exporter's own tests check modules, and these tests pack graphs."""


@pytest.fixture(scope="module")
def alone(request: pytest.FixtureRequest) -> pocketrnn_native.Classifier:
    """The packed file that the test module names FILE, in the package of the engine alone."""
    return pocketrnn_native.Classifier.load(request.module.FILE)


@pytest.fixture(scope="module")
def runtime(request: pytest.FixtureRequest) -> Classifier:
    """The same file in the runtime."""
    return Classifier.load(request.module.FILE)


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C compiler that knows the sanitizers."""
    found = shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("there is neither gcc nor clang")
    return found


@pytest.fixture(scope="session")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ag_news-small, whose weights are int8, packed without a proof."""
    path = tmp_path_factory.mktemp("packed") / "news.prnn"
    path.write_bytes(packed_bundle(find_or_download_bundle("ag_news-small")))
    return path


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs that `compiled_once` makes; one that stays, where pytest has such."""
    cache = pytestconfig.cache
    return tmp_path_factory.mktemp("programs") if cache is None else cache.mkdir("programs")


@pytest.fixture(scope="session")
def program(compiler: str, programs: Path) -> Path:
    """The program for machines without Python."""
    source = NATIVE / "src"
    line = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi",
            "-Wno-missing-field-initializers", source / "classify.c", source / "pocketrnn.c"]  # fmt: skip
    built, done = compiled_once(line, [source], programs, "classify")
    assert done is None or done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="session")
def engine_object(compiler: str, programs: Path) -> Path:
    """The engine compiled, for programs of tests to be linked with."""
    source = NATIVE / "src"
    line = [compiler, "-std=gnu11", "-O1", "-w", "-c", source / "pocketrnn.c"]
    built, done = compiled_once(line, [source], programs, "engine")
    assert done is None or done.returncode == 0, done.stderr
    return built
