"""The parts of a release: one version, the same licence, the workflows, and the refusals of scripts/release."""

from __future__ import annotations

import json
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
from slow_case_sampling import mostly_slow

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
    assert release["read_declared_version"]() == __version__
    for file in ("pyproject.toml", "runtime/native/pyproject.toml"):
        project = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]
        assert "version" not in project, file
        assert "version" in project["dynamic"], file
    assert json.loads((ROOT / "runtime/web/package.json").read_text(encoding="utf-8"))["version"] == __version__
    crate = tomllib.loads((ROOT / "runtime/native/Cargo.toml").read_text(encoding="utf-8"))
    assert crate["package"]["version"] == __version__
    assert f" v{__version__}\n" in (ROOT / "examples/go/go.mod").read_text(encoding="utf-8")
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_native_package_says_its_version_or_that_it_was_never_installed() -> None:
    native = pytest.importorskip("pocketrnn_native")
    assert native.__version__ in (__version__, "unknown")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = native.nothing


@pytest.mark.parametrize("package", ["native", "web"])
def test_the_other_packages_have_the_same_licence(package: str) -> None:
    assert (ROOT / "runtime" / package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_release_has_a_source_distribution_and_a_wheel_of_each_package(
    release: dict[str, Any], tmp_path: Path
) -> None:
    names = ("a-1.0-py3-none-any.whl", "a-1.0.tar.gz", "b-2.0-cp311-abi3-linux_x86_64.whl", "b-2.0.tar.gz")
    folder = written(tmp_path, *names)
    assert [file.name for file in release["check_files"](folder, {"a": "1.0", "b": "2.0"})] == sorted(names)


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
    with pytest.raises(SystemExit, match=r"a 1\.0, got: "):
        release["check_files"](written(tmp_path, *names), {"a": "1.0"})


def test_the_native_wheel_is_asked_a_test_vector(release: dict[str, Any]) -> None:
    assert release["PACKED"].exists()
    assert release["read_first_vector"]()["label"] == "Sports"


def test_the_workflows_test_every_python_that_the_package_takes() -> None:
    (tests,) = (file for file in WORKFLOWS if file.stem == "tests")
    found = re.search(r"system: \[(.+)\]\n +python: \[(.+)\]", tests.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1].split(", ") == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert found[2] == '"3.11", "3.12", "3.13", "3.14"'
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"


# The output of `cibuildwheel --print-build-identifiers` for these platforms and processors.
WHEELS = {
    ("linux", "x86_64,aarch64,armv7l"): {
        f"cp311-{kind}_{of}" for kind in ("manylinux", "musllinux") for of in ("x86_64", "aarch64", "armv7l")
    },
    ("macos", "x86_64,arm64"): {"cp311-macosx_x86_64", "cp311-macosx_arm64"},
    ("windows", "AMD64,ARM64"): {"cp311-win_amd64", "cp311-win_arm64"},
    ("pyodide", "wasm32"): {"cp313-pyodide_wasm32"},
}  # fmt: skip


@pytest.mark.parametrize("named", mostly_slow([*WHEELS], 3), ids=" ".join)
def test_the_native_package_says_which_wheels_it_has(named: tuple[str, str]) -> None:
    platform, processors = named
    command = shutil.which("cibuildwheel", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("cibuildwheel is not installed")
    line = [command, "--print-build-identifiers", "--platform", platform, "--archs", processors, "runtime/native"]
    # Variables set for another project's build in this shell would count too.
    settings = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    asked = subprocess.run(line, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    assert set(asked.stdout.split()) == WHEELS[platform, processors]


def test_the_release_has_a_job_for_every_wheel_and_counts_them() -> None:
    (release,) = (file for file in WORKFLOWS if file.stem == "release")
    workflow = release.read_text(encoding="utf-8")
    # The configuration has one home, which a machine of one's own reads too.
    assert "CIBW_" not in workflow
    systems = re.findall(r"\{ system: ([\w.-]+), options: \"(.*)\" \}", workflow)
    # Each Linux system makes a manylinux and a musllinux wheel, each other one wheel.
    made = sum(2 if name.startswith("ubuntu") and "pyodide" not in options else 1 for name, options in systems)
    assert made == sum(map(len, WHEELS.values()))
    found = re.search(r"find dist -type f \| wc -l\)\" -eq (\d+)", workflow)
    assert found is not None
    # 3 source distributions, and the wheels of pocketrnn and pocketrnn-words.
    assert int(found[1]) == made + 5


def test_every_wheel_is_asked_for_answers_by_a_file_that_needs_no_other_package() -> None:
    settings = tomllib.loads((ROOT / "runtime" / "native" / "pyproject.toml").read_text(encoding="utf-8"))
    command = settings["tool"]["cibuildwheel"]["test-command"]
    file = ROOT / command.removeprefix("python {project}/")
    assert file.is_file(), command
    imported = re.findall(r"(?m)^\s*(?:from|import) ([a-z_]+)", file.read_text(encoding="utf-8"))
    assert set(imported) <= set(sys.stdlib_module_names) | {"pocketrnn_native"}


def test_the_native_package_parses_no_length_by_a_format_that_pythons_take_in_two_ways() -> None:
    # A module that was compiled with the headers of Python 3.13 and has "y#" is refused by 3.11 and 3.12 when it is
    # called, though the stable ABI has the function.
    source = (ROOT / "runtime" / "native" / "pocketrnn_native" / "_engine.c").read_text(encoding="utf-8")
    formats = re.findall(r'Py(?:Arg_Parse\w*|_BuildValue)\([^;]*?"([^"]*)"', source)
    assert len(formats) > 3
    assert not [one for one in formats if "#" in one]


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
    shown = scope["replace_file_links"]
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
    assert len(list((tmp_path / "dist").iterdir())) == 6
