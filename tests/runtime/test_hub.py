"""Classifiers on a model hub: pushed, downloaded by their address, and what goes wrong there in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import Hub, served_hub

from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.hub_download import HubAddress, parse_hub_address
from pocketrnn.errors import InputError, MissingExtraError

pytest.importorskip("huggingface_hub")

VECTORS = Path(__file__).parents[1] / "vectors"
ANSWER = "Größe\t0.3922\ta b\n"
OTHER = {"HF_TOKEN": "hf_other"}
Said = tuple[int, str, str]
Run = Callable[..., list[Said]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served_hub() as hub:
        yield hub


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """Runs commands in one process of its own, whose library knows the hub and keeps what it downloads in the test's
    folder. A command is its arguments, or a pair of these and variables for it and those after it."""

    def run(*commands: list[str] | tuple[list[str], dict[str, str]]) -> list[Said]:
        variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": "hf_owner"}
        pairs = [command if isinstance(command, tuple) else (command, {}) for command in commands]
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("run_commands.py"))],
            env={**os.environ, **variables}, input=json.dumps(pairs), capture_output=True, encoding="utf-8",
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [(status, out, err) for status, out, err in json.loads(done.stdout)]

    return run


def refusal(said: Said) -> str:
    status, out, err = said
    (line,) = (line for line in err.splitlines() if line.startswith("Error: "))
    assert (status, out, "Traceback" in err) == (2, "", False), err
    return line


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("hf://a/b", HubAddress("a/b")),
        ("a/b@v1.2", HubAddress("a/b", "v1.2")),
        ("hf://a/b@refs/pr/3", HubAddress("a/b", "refs/pr/3")),
    ],
)
def test_an_address_names_a_repository_and_a_revision(given: str, address: HubAddress) -> None:
    assert parse_hub_address(given) == address
    assert parse_hub_address(str(address)) == address


@pytest.mark.parametrize(
    "given", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a/../b", "hf://a/b@../x", "hf://á/b"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"hf://user/name"):
        find_or_download_bundle(given)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match="hub"):
        find_or_download_bundle("hf://a/b")


@pytest.mark.slow
def test_a_bundle_is_pushed_and_answers_by_its_address(hub: Hub, run: Run) -> None:
    address = f"hf://some/one@{hub.commit_id('some/one', 1)}"
    classify = [["classify", "-b", name, "a b"] for name in ("hf://some/one", address)]
    (status, out, err), *said = run(
        ["push", str(VECTORS / "limits"), "hf://some/one"], *classify, ["verify", address]
    )  # fmt: skip
    assert (status, out.strip()) == (0, address), err
    files = hub.commits["some/one"][-1]
    assert sorted(files) == ["README.md", "classifier.json", "model.onnx"]
    assert 'Classifier.load("hf://some/one")' in files["README.md"].decode()
    assert [out for _, out, _ in said[:2]] == [ANSWER, ANSWER]
    assert said[2][0] == 0
    # A downloaded bundle answers without the hub.
    hub.asked.clear()
    assert run((classify[1], {"HF_HUB_OFFLINE": "1"}))[0][1] == ANSWER
    assert not [asked for asked in hub.asked if asked.startswith("GET /some")]


# In the fast suite, a bundle of a folder is pushed.
@pytest.mark.slow
def test_what_an_address_names_is_pushed_as_it_was_verified(
    hub: Hub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = (
        {path: (VECTORS / name / path).read_bytes() for path in ("classifier.json", "model.onnx")}
        for name in ("limits", "words")
    )
    hub.commits["some/one"] = [first, later]
    found = hub.found

    def moving(name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The repository's newest commit is the later one as soon as the first one's graph was asked for."""
        moved = any(asked.startswith("GET /some/one/") and asked.endswith("/model.onnx") for asked in hub.asked)
        newest = (name, revision) == ("some/one", "main")
        return found(name, hub.commit_id(name, int(moved)) if newest else revision)

    monkeypatch.setattr(hub, "found", moving)
    ((status, _, err),) = run(["push", "hf://some/one", "hf://some/two"])
    assert status == 0, err
    assert {path: content for path, content in hub.commits["some/two"][-1].items() if path != "README.md"} == first


# In the fast suite, a bundle of a folder is pushed and answers.
@pytest.mark.slow
def test_a_packed_file_is_pushed_and_answers(
    hub: Hub, run: Run, tmp_path: Path, packed_bundle: Callable[[Path], bytes]
) -> None:
    (tmp_path / "news.prnn").write_bytes(packed_bundle(VECTORS / "limits"))
    said = run(
        ["push", str(tmp_path / "news.prnn"), "some/packed"], ["classify", "-b", "hf://some/packed", "a b"]
    )  # fmt: skip
    assert [(status, out) for status, out, _ in said[1:]] == [(0, ANSWER)]
    assert sorted(hub.commits["some/packed"][-1]) == ["README.md", "news.prnn"]


@pytest.mark.slow
def test_a_card_that_is_there_stays(hub: Hub, run: Run) -> None:
    hub.commits["some/one"] = [{"README.md": b"mine"}]
    assert run(["push", str(VECTORS / "limits"), "hf://some/one"])[0][0] == 0
    assert hub.commits["some/one"][-1]["README.md"] == b"mine"


@pytest.mark.slow
def test_a_new_repository_may_be_private(run: Run) -> None:
    inspect = ["inspect", "hf://some/one"]
    said = run(
        ["push", str(VECTORS / "limits"), "hf://some/one", "--private"],
        inspect,
        (["inspect", "hf://some/one@x"], OTHER),
    )
    assert [status for status, _, _ in said[:2]] == [0, 0]
    assert "hf auth login" in refusal(said[2])


def test_what_the_hub_refuses_is_one_sentence(hub: Hub, run: Run) -> None:
    hub.commits |= {"some/one": [{"classifier.json": b"{}"}], "some/empty": [{"a.txt": b""}], "some/gated": [{}]}
    hub.commits["some/two"] = [{"a.prnn": b"PRNN", "b.prnn": b"PRNN"}]
    hub.gated.add("some/gated")
    named = {
        "hf://no/body": "hf://no/body", "hf://some/one@nowhere": "revision", "hf://some/one": "classifier.json",
        "hf://some/empty": "packed file", "hf://some/two": "2 packed files", "hf://some/gated": "Ask for access",
    }  # fmt: skip
    limits = str(VECTORS / "limits")
    *inspected, with_revision, of_another = run(
        *(["inspect", name] for name in named),
        ["push", limits, "hf://some/one@main"],
        (["push", limits, "hf://some/new"], OTHER),
    )
    for said, part in zip(inspected, named.values(), strict=True):
        assert part in refusal(said)
    assert "revision" in refusal(with_revision)
    assert "hf://some/new" in refusal(of_another)
    assert "some/new" not in hub.commits


def test_a_damaged_bundle_is_not_pushed(hub: Hub, run: Run, tmp_path: Path) -> None:
    for name in ("classifier.json", "model.onnx"):
        (tmp_path / name).write_bytes((VECTORS / "limits" / name).read_bytes()[:-1])
    assert "classifier.json" in refusal(run(["push", str(tmp_path), "hf://some/one"])[0])
    assert "POST /api/repos/create" not in hub.asked


# The library tries again for 12 seconds each.
@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_sentence(hub: Hub, run: Run) -> None:
    hub.address = "http://127.0.0.1:9"
    for said in run(["inspect", "hf://some/one"], ["push", str(VECTORS / "limits"), "hf://some/one"]):
        assert "hf://some/one" in refusal(said)
