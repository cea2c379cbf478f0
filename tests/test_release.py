"""What a release is made of: one version, the same licence, the workflows, and what scripts/release refuses."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest

from pocketrnn import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "release"))


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_the_version_has_one_home(release: dict[str, Any]) -> None:
    assert release["declared_version"]() == __version__
    for file in ("pyproject.toml", "runtime/native/pyproject.toml"):
        project = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]
        assert "version" not in project, file
        assert "version" in project["dynamic"], file
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_native_package_says_its_version_or_that_it_was_never_installed() -> None:
    native = pytest.importorskip("pocketrnn_native")
    assert native.__version__ in (__version__, "unknown")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = native.nothing


def test_the_native_package_has_the_same_licence() -> None:
    assert (ROOT / "runtime" / "native" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_release_has_a_source_distribution_and_a_wheel_of_each_package(
    release: dict[str, Any], tmp_path: Path
) -> None:
    names = ("a-1.0-py3-none-any.whl", "a-1.0.tar.gz", "b-1.0-cp311-abi3-linux_x86_64.whl", "b-1.0.tar.gz")
    folder = written(tmp_path, *names)
    assert [file.name for file in release["check_files"](folder, ["a", "b"], "1.0")] == sorted(names)


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("a-1.0.tar.gz",),
        ("a-1.0.tar.gz", "a-1.0.zip"),
        ("a-1.0.tar.gz", "a-1.1-py3-none-any.whl"),
        ("a-1.0-cp311-any.whl", "a-1.0-cp312-any.whl"),
        ("a-1.0.tar.gz", "a-1.0-py3-none-any.whl", "b-1.0.tar.gz"),
    ],
    ids=str,
)
def test_a_missing_or_another_file_ends_a_release(
    release: dict[str, Any], tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit, match="Expected a source distribution and a wheel"):
        release["check_files"](written(tmp_path, *names), ["a"], "1.0")


def test_the_native_wheel_is_asked_what_pytorch_answered(release: dict[str, Any]) -> None:
    assert release["PACKED"].exists()
    assert release["expected_of_packed"]() == "Sports"


def test_the_workflows_test_every_python_that_the_package_takes() -> None:
    (tests,) = (file for file in WORKFLOWS if file.stem == "tests")
    found = re.search(r"system: \[(.+)\]\n +python: \[(.+)\]", tests.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1].split(", ") == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert found[2] == '"3.11", "3.12", "3.13", "3.14"'
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"


def test_the_workflows_follow_githubs_schema() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflows_have_no_known_weakness() -> None:
    # Actions pinned to commits, no rights that are not needed, no text of a stranger in a shell's line.
    program = shutil.which("zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("zizmor is not installed")
    checked = subprocess.run([program, "--offline", "--quiet", ROOT / ".github"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_package_index_shows_the_readme_without_links_to_files(monkeypatch: pytest.MonkeyPatch) -> None:
    # hatchling, which calls it, is only there while a package is built.
    interface = types.ModuleType("interface")
    monkeypatch.setattr(interface, "MetadataHookInterface", object, raising=False)
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", interface)
    scope = runpy.run_path(str(ROOT / "scripts" / "long_description.py"))
    shown = scope["without_links_to_files"]
    assert shown("![a](docs/a.png)\n\n[the proof](docs/proof.md#x), [`a.md`](docs/a.md)") == (
        "the proof (`docs/proof.md`), `docs/a.md`"
    )
    assert shown("[a](https://a.org/b), [c](#d)") == "[a](https://a.org/b), [c](#d)"
    readme = shown((ROOT / "README.md").read_text(encoding="utf-8"))
    assert re.findall(r"\]\((?!https:|#).*", readme) == []
    assert "[smaller bundles](" not in readme
    assert "smaller bundles (`docs/compression.md`)" in readme


@pytest.mark.slow
def test_a_release_is_built_checked_installed_and_asked(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "release", "--dirty", "--output", tmp_path / "dist"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "dist").iterdir())) == 4
