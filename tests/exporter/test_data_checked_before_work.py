"""Errors in the texts of `--data` are told before the work that the texts measure."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pocketrnn.commands.cli import main
from pocketrnn_training import fit

TEXTS = ["so good", "so bad", "a good film", "a bad film"] * 8


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews") / "c"
    fit(TEXTS, ["good", "bad"] * 16, epochs=1, hidden_dim=8, embedding_dim=8, final_fit=False).save(folder)
    return folder


@pytest.fixture
def nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr("pocketrnn_export.bundle_export.export", export)


@pytest.mark.usefixtures("nothing_is_exported")
@pytest.mark.parametrize(
    "command",
    [
        ("export", "--compress", "-o", "out"),
        ("export", "--profile", "packed", "--arithmetic", "int8", "-o", "out.prnn"),
        ("compress", "-o", "out"),
    ],
    ids=["export --compress", "export int8", "compress"],
)
@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "does not exist"), ("text,label\nx,other\n", "'other'"), ("words,label\nx,good\n", "--text-column")],
)
def test_a_file_that_cannot_be_used_is_told_at_once(
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    content: str | None,
    named: str,
) -> None:
    if "packed" in command:
        pytest.importorskip("pocketrnn_native")
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "data.csv").write_text(content)
    done = run(command[0], reviews, *command[1:], "--data", "data.csv")
    assert done.exit_code == 2, done.output
    assert named in done.stderr


@pytest.mark.usefixtures("nothing_is_exported")
def test_data_of_a_classifier_of_several_labels_is_read_before_anything_is_made(tmp_path: Path) -> None:
    labels = [["good"], ["bad", "short"], ["good", "short"], []] * 8
    fit(TEXTS, labels, epochs=1, hidden_dim=8, embedding_dim=8, final_fit=False).save(tmp_path / "c")
    (tmp_path / "data.csv").write_text("text,label\nx,good|other\n")
    done = run("compress", tmp_path / "c", "-o", tmp_path / "out", "--data", tmp_path / "data.csv")
    assert done.exit_code == 2
    assert "other" in done.stderr
