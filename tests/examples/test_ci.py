"""The recipes of examples/ci: valid for the programs that read them; what they run finds a bundle that was changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.commands.cli import main

FOLDER = Path(__file__).parents[2] / "examples" / "ci"
WORKFLOW, HOOKS = FOLDER / "verify.yml", FOLDER / "pre-commit-config.yaml"


def test_the_workflow_is_one_of_github_and_asks_for_no_rights() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    program = shutil.which("zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is not None:
        command = [program, "--offline", "--no-progress", "--min-severity", "low", str(WORKFLOW)]
        checked = subprocess.run(command, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def commands() -> list[str]:
    (hook,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"][0]["hooks"]
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["verify"]["steps"] if "run" in step]
    return [hook["entry"], *(step for step in steps if step.startswith("pocketrnn "))]


@pytest.mark.parametrize("command", commands())
def test_what_they_run_passes_a_bundle_and_stops_one_that_was_changed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(find_or_download_bundle("ag_news-small"), "news")
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 0
    Path("proof.html").unlink(missing_ok=True)
    graph = Path("news/model.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 2


@pytest.mark.slow
def test_pre_commit_refuses_a_commit_that_damages_the_bundle(tmp_path: Path) -> None:
    if shutil.which("pre-commit") is None or shutil.which("pocketrnn") is None:
        pytest.skip("pre-commit is not installed")
    (tmp_path / ".pre-commit-config.yaml").write_bytes(HOOKS.read_bytes())
    shutil.copytree(find_or_download_bundle("ag_news-small"), tmp_path / "news")

    def ran(*line: str) -> int:
        return subprocess.run(
            line, cwd=tmp_path, env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home")}
        ).returncode

    assert ran("git", "init", "-q") == ran("git", "add", "news", ".pre-commit-config.yaml") == 0
    assert ran("pre-commit", "run") == 0
    json = tmp_path / "news" / "classifier.json"
    json.write_text(re.sub('"name": "[^"]*"', '"name": "other"', json.read_text(encoding="utf-8"), count=1))
    assert ran("git", "add", "news") == 0
    assert ran("pre-commit", "run") == 1
