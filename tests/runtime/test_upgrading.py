"""A bundle of an earlier version is verified, and written as this version writes it, or nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import pytest
from click.testing import CliRunner, Result

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.commands.cli import main
from pocketrnn.text import TextRules
from pocketrnn.upgrading import upgrade

VECTORS = Path(__file__).parents[1] / "vectors"
# Of each version that is kept as files: those that earlier commits wrote, and the test vectors of readers.
KEPT = sorted(
    path.parent
    for path in (*VECTORS.glob("version-1/*/*/classifier.json"), *VECTORS.glob("*/classifier.json"))
    if path.parent.name != "refused"
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in ("upgrade", *arguments)])


def versioned(folder: Path, version: int) -> Path:
    """A bundle that needs the version."""
    if version == 1:
        return bundle_maker.make(folder)
    if version == 2:
        return bundle_maker.make(folder, rules=TextRules(min_width=9))
    return bundle_maker.make(folder, change=lambda manifest: replace(manifest, thresholds=(0.5, 0.5, 0.25, 0.125)))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("bundle", KEPT, ids=lambda path: path.relative_to(VECTORS).as_posix())
def test_a_bundle_of_an_earlier_version_gives_the_same_numbers(bundle: Path, tmp_path: Path) -> None:
    before = files_in(bundle)
    done = upgrade(bundle, tmp_path / "new")
    after = files_in(tmp_path / "new")
    assert done.before == json.loads(before["classifier.json"])["version"] >= done.after
    assert {name: content for name, content in after.items() if name != "classifier.json"} == {
        name: content for name, content in before.items() if name != "classifier.json"
    }
    assert done.changed == (after["classifier.json"] != before["classifier.json"])
    assert manifests.read(tmp_path / "new") == manifests.read(bundle)
    assert files_in(bundle) == before


@pytest.mark.parametrize("version", [1, 2, 5])
def test_the_version_is_the_oldest_that_says_what_is_inside(version: int, tmp_path: Path) -> None:
    done = upgrade(versioned(tmp_path / "old", version), tmp_path / "new")
    assert (done.before, done.after, done.changed) == (version, version, False)


def test_a_version_that_is_newer_than_needed_becomes_the_oldest(tmp_path: Path) -> None:
    old = bundle_maker.make(tmp_path / "old")
    rewritten(old, version=3)
    result = run(old, "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert re.search(r"version 1 .*of 3\.", result.stdout)
    assert Classifier.load(tmp_path / "new").labels == bundle_maker.LABELS


def rewritten(folder: Path, **members: Any) -> None:
    """classifier.json with other members, and the digest that belongs to them."""
    path = folder / "classifier.json"
    document = {**json.loads(path.read_bytes()), **members, "digest": "0" * 64}
    content = json.dumps(document, ensure_ascii=False).encode()
    digest = manifests._digest_of(content)
    path.write_bytes(re.sub(rb"0{64}(?=\"\s*}\s*\Z)", digest.encode(), content))


def test_a_newer_version_is_refused_with_its_number(tmp_path: Path) -> None:
    old = bundle_maker.make(tmp_path / "old")
    rewritten(old, version=manifests.VERSION + 1)
    result = run(old, "-o", tmp_path / "new")
    assert result.exit_code == 2
    assert f"version {manifests.VERSION + 1}" in result.stderr
    assert f"up to version {manifests.VERSION}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def other_logits(manifest: manifests.Manifest) -> manifests.Manifest:
    """A bundle that was made where it answered otherwise."""
    examples = tuple(replace(one, logits=tuple(0.5 + x for x in one.logits)) for one in manifest.examples)
    return replace(manifest, examples=examples)


@pytest.mark.parametrize(("how", "status"), [("graph", 2), ("json", 2), ("script", 2), ("answers", 3)])
def test_what_is_damaged_or_answers_otherwise_is_written_nowhere(how: str, status: int, tmp_path: Path) -> None:
    old = bundle_maker.make(tmp_path / "old", change=other_logits if how == "answers" else None)
    damaged = {"graph": "model.onnx", "json": "classifier.json", "script": "model.torchscript.pt"}.get(how)
    if damaged is not None:
        content = (old / damaged).read_bytes()
        (old / damaged).write_bytes(content.replace(b"e", b"f", 1))
    result = run(old, "-o", tmp_path / "new")
    assert result.exit_code == status, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_what_is_there_is_replaced_only_if_that_is_asked(tmp_path: Path) -> None:
    old, new = bundle_maker.make(tmp_path / "old", name="old"), bundle_maker.make(tmp_path / "new", name="new")
    assert run(old, "-o", new).exit_code == 2
    assert manifests.read(new).name == "new"
    assert run(old, "-o", new, "--force").exit_code == 0
    assert manifests.read(new).name == "old"
    # In place, too: it is written beside, and moved there when it is verified.
    assert run(new, "-o", new, "--force").exit_code == 0
    assert files_in(new) == files_in(old)


def test_a_packed_file_is_refused_and_can_be_asked_as_it_is(tmp_path: Path) -> None:
    (packed, *_) = sorted(VECTORS.glob("version-1/*/*.prnn"))
    result = run(packed, "-o", tmp_path / "new")
    assert result.exit_code == 2
    assert "pocketrnn pack" in result.stderr
    assert not list(tmp_path.iterdir())
