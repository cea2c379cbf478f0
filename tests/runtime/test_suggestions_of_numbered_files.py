"""The files that the error about a missing, numbered file suggests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketrnn.bundle.names_from_paths import suggest_near_file


@pytest.mark.parametrize(
    ("present", "suggested"),
    [
        (["rnn.epoch10", "rnn.epoch20", "train.txt"], ["rnn.epoch10", "rnn.epoch20"]),
        (["rnn.epoch10", "train.txt"], ["rnn.epoch10"]),
        (["train.txt"], []),
    ],
)
def test_numbered_files_beside_a_missing_one_are_suggested(
    tmp_path: Path, present: list[str], suggested: list[str]
) -> None:
    for name in present:
        (tmp_path / name).touch()
    sentence = suggest_near_file(tmp_path / "rnn.epoch2", (".pt", ".epoch2"))
    assert [name for name in present if name in sentence] == suggested


def test_only_the_first_of_many_numbered_files_are_listed(tmp_path: Path) -> None:
    for number in range(10, 20):
        (tmp_path / f"model{number}.pt").touch()
    sentence = suggest_near_file(tmp_path / "model2.pt")
    assert "model13.pt, ..." in sentence
    assert "model14.pt" not in sentence
