"""The commands that messages advise fit how the package was installed."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from pathlib import Path

import pytest

from pocketrnn import install_commands
from pocketrnn.errors import MissingExtraError, require_module

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Installed:
    """importlib.metadata's answer for a distribution."""

    def __init__(self, direct_url: str | None) -> None:
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.direct_url


def installed(monkeypatch: pytest.MonkeyPatch, direct_url: object) -> None:
    text = direct_url if direct_url is None or isinstance(direct_url, str) else json.dumps(direct_url)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed(text))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    (folder / "runtime" / "native").mkdir(parents=True)
    for part in (".", "runtime/native"):
        (folder / part / "pyproject.toml").touch()
    return folder


def said() -> list[list[str]]:
    commands = (install_commands.make_extra_install_command("train"), install_commands.make_native_install_command())
    return [shlex.split(command) for command in commands]


@pytest.mark.parametrize("editable", [True, False])
def test_from_a_clone_the_clone_is_installed_from(
    monkeypatch: pytest.MonkeyPatch, sources: Path, editable: bool
) -> None:
    installed(monkeypatch, {"url": sources.as_uri(), "dir_info": {"editable": editable}})
    assert said() == [
        ["pip", "install", f"{sources}[train]"],
        ["pip", "install", str(sources / "runtime" / "native")],
    ]


@pytest.mark.parametrize(
    "direct_url",
    [
        # pip keeps the file of what is not from an index only.
        None,
        # A wheel in a folder of downloads, and a clone that is gone.
        {"url": "file:///downloads/pocketrnn-1.0-py3-none-any.whl", "archive_info": {}},
        {"url": "https://example.org/pocketrnn-1.0-py3-none-any.whl", "archive_info": {}},
        {"url": "file:///no/longer/here", "dir_info": {}},
        # Texts that are not JSON, or not pip's.
        "{",
        "[]",
        "3",
    ],
)
def test_elsewhere_the_index_is_installed_from(monkeypatch: pytest.MonkeyPatch, direct_url: object) -> None:
    installed(monkeypatch, direct_url)
    assert said() == [
        ["pip", "install", "pocketrnn[train]"],
        ["pip", "install", "pocketrnn-native"],
    ]


def test_from_a_repository_the_same_revision_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://example.org/pocketrnn.git"
    installed(monkeypatch, {"url": url, "vcs_info": {"vcs": "git", "commit_id": COMMIT}})
    assert said() == [
        ["pip", "install", f"pocketrnn[train] @ git+{url}@{COMMIT}"],
        ["pip", "install", f"pocketrnn-native @ git+{url}@{COMMIT}#subdirectory=runtime/native"],
    ]


def test_imported_from_its_sources_without_installing_the_sources_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    root = Path(__file__).parents[2]
    assert said()[0] == ["pip", "install", f"{root}[train]"]


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, sources: Path) -> None:
    installed(monkeypatch, {"url": sources.as_uri(), "dir_info": {}})
    with pytest.raises(MissingExtraError) as raised:
        require_module("pocketrnn_is_not_this", "train")
    assert shlex.quote(f"{sources}[train]") in raised.value.remedy
