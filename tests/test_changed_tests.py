"""Which slow tests a change asks for: no slow test and no source is forgotten."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "changed_tests"))
chosen: Callable[..., list[str]] = SCRIPT["choose_tests"]


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        (
            ["exporter/pocketrnn_export/tracing/module_trace.py"],
            ["tests/exporter", "tests/test_documentation.py", "tests/test_imports.py"],
        ),
        (
            ["exporter/pocketrnn_export/forms/packed_file/operator_lowering.py"],
            ["tests/exporter", "tests/native", "tests/test_documentation.py", "tests/test_imports.py"],
        ),
        (
            ["trained/pocketrnn_training/training.py"],
            ["tests/test_documentation.py", "tests/test_imports.py", "tests/trained"],
        ),
        (["runtime/pocketrnn/tables/row_reader.py"], ["tests/runtime", "tests/test_documentation.py", "tests/vectors"]),
        (
            ["runtime/pocketrnn/text/rules.py"],
            ["tests/native", "tests/runtime", "tests/test_documentation.py", "tests/vectors", "tests/web"],
        ),
        (["runtime/native/src/file_opening.inc"], ["tests/native", "tests/test_installed_wheel.py", "tests/web"]),
        (["runtime/web/native.js"], ["tests/web"]),
        (["docs/proof.md", "README.md"], ["tests/test_documentation.py"]),
        (["CHANGELOG.md", "LICENSE", ".github/workflows/tests.yml"], []),
        (["tests/exporter/test_step_loops.py"], ["tests/exporter/test_step_loops.py"]),
        # A file in a folder that is asked for anyway.
        (
            ["tests/exporter/test_step_loops.py", "exporter/pocketrnn_export/bundle_export.py"],
            ["tests/exporter", "tests/test_documentation.py", "tests/test_imports.py"],
        ),
        (["tests/exporter/conftest.py"], ["tests/exporter"]),
        (["tests/conftest.py", "exporter/pocketrnn_export/bundle_export.py"], ["tests"]),
        (["tests/native/hostile.c"], ["tests/native"]),
        (["tests/vectors/words/vectors.jsonl"], ["tests/native", "tests/vectors", "tests/web"]),
        (["tests/exporter/test_that_was_deleted.py"], []),
    ],
)
def test_a_change_asks_for_the_tests_of_what_it_changed(changed: list[str], tests: list[str]) -> None:
    assert chosen(changed) == tests


def test_what_tests_share_asks_for_all_that_import_it(tmp_path: Path) -> None:
    files = {
        "exporter/shapes.py": "",
        "exporter/modules.py": "from shapes import one",
        "exporter/test_first.py": "import modules",
        "native/test_second.py": "import os\n\nfrom test_first import made",
        "native/test_third.py": "import os",
    }
    for name, content in files.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    expected = ["tests/exporter/test_first.py", "tests/native/test_second.py"]
    assert chosen(["tests/exporter/shapes.py"], tmp_path) == expected
    assert {"tests/exporter/test_user_modules.py", "tests/native/test_packed_programs.py"} <= set(
        chosen(["tests/exporter/user_modules.py"])
    )


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone")
    return listed.stdout.splitlines()


def test_every_source_asks_for_tests_and_every_slow_test_is_asked_for_by_one() -> None:
    folders = ("exporter/", "trained/", "runtime/", "examples/", "docs/", "scripts/")
    sources = [path for path in tracked() if path.startswith(folders)]
    assert [path for path in sources if not chosen([path])] == []
    asked = [ROOT / tests for tests in chosen([*sources, "pyproject.toml"])]
    forgotten = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.slow" in (text := path.read_text(encoding="utf-8"))
        or "mostly_slow" in text
        or re.search(r"\bexamples\(", text)
        if not any(path == one or one in path.parents for one in asked)
    ]
    assert forgotten == [Path(__file__).relative_to(ROOT).as_posix()]


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., str]:
    def git(*arguments: str) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *named, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(name: str) -> str:
        (tmp_path / name).touch()
        git("add", "-A")
        git("commit", "-m", name)
        return git("rev-parse", "HEAD")

    git("init", "-b", "main")
    commit("first")
    commit("second")
    return lambda *arguments: commit(arguments[0]) if len(arguments) == 1 else git(*arguments)


def test_a_branch_is_compared_with_where_it_left_main_and_main_with_its_commit_before(
    repository: Callable[..., str], tmp_path: Path
) -> None:
    assert SCRIPT["find_base_commit"](tmp_path) == "HEAD~1"
    assert SCRIPT["list_changed_paths"]("HEAD~1", tmp_path) == ["second"]
    left = repository("rev-parse", "HEAD")
    repository("checkout", "-b", "branch")
    repository("third")
    repository("fourth")
    assert SCRIPT["find_base_commit"](tmp_path) == left
    (tmp_path / "not committed").touch()
    assert sorted(SCRIPT["list_changed_paths"](left, tmp_path)) == ["fourth", "not committed", "third"]


def test_what_is_no_commit_is_said(repository: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"git diff.*nowhere"):
        SCRIPT["list_changed_paths"]("nowhere", tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script in a repository of its own, whose programs only say how they are called."""
    for name in ("scripts/test", "scripts/changed_tests"):
        copied = tmp_path / "clone" / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copied)
    root = tmp_path / "clone"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    said = {".venv/bin/pytest": 'printf "<%s>" "$@"; echo'}
    for name in ("scripts/venv", "scripts/build_native", *(f".venv/bin/{p}" for p in ("ruff", "mypy", "pytest"))):
        (root / name).write_text(f"#!/bin/sh\n{said.get(name, '')}\n")
        (root / name).chmod(0o755)
    for name in ("exporter/bundle.py", "tests/exporter/test_step_loops.py", "tests/runtime/test_streams.py", "LICENSE"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / ".gitignore").write_text(".venv\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for line in (["init", "-b", "main"], ["add", "-A"], ["commit", "-m", "first"]):
        subprocess.run([*git, *line], cwd=root, check=True, capture_output=True)
    return root


@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
def test_all_tests_of_what_changed_are_run_and_the_fast_ones_of_the_rest(clone: Path) -> None:
    def runs(*arguments: str) -> list[str]:
        done = subprocess.run([clone / "scripts" / "test", *arguments], capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line.startswith("<")]

    assert runs("-k", "a b") == ["<-n><auto><--dist><loadfile><-k><a b>"]
    assert runs("--all") == ["<-n><auto><-m><slow or not slow>"]
    (clone / "LICENSE").write_text("free")
    assert runs("--changed", "HEAD") == ["<-n><auto><--dist><loadfile>"]
    (clone / "exporter" / "bundle_export.py").write_text("more")
    both = [
        "<-n><auto><-m><slow or not slow><-x><tests/exporter>",
        "<-n><auto><--dist><loadfile><--ignore=tests/exporter><-x>",
    ]
    assert runs("--changed", "HEAD", "-x") == both
    (clone / "tests" / "conftest.py").touch()
    assert runs("--changed", "HEAD") == ["<-n><auto><-m><slow or not slow>"]
    subprocess.run(["git", "checkout", "-b", "branch"], cwd=clone, check=True, capture_output=True)
    failing = subprocess.run([clone / "scripts" / "test", "--changed"], capture_output=True, text=True, check=False)
    assert "git diff" in failing.stderr, "there is no commit before the first"
    assert failing.returncode != 0
