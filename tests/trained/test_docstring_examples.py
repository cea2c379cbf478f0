"""The examples in the docstrings of what is public run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch

import pocketrnn_training
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.training_run import TrainingRun

PUBLIC = {name: getattr(pocketrnn_training, name) for name in pocketrnn_training.__all__}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    rows = ["good film,good", "bad film,bad", "a good one,good", "a bad one,bad"] * 5
    for name in ("reviews.csv", "test.csv"):
        (folder / name).write_text("\n".join(["text,label", *rows]) + "\n")
    pairs = ["a dog,an animal,yes", "a dog,a cat,no"] * 5
    (folder / "pairs.csv").write_text("\n".join(["premise,hypothesis,label", *pairs]) + "\n")
    people = ("Ada B-PER", "visits O", "New B-LOC", "York I-LOC", "", "")
    (folder / "people.conll").write_text("\n".join(people))
    kinds = ("Standing", "Running", "Walking", "Badminton")
    head = f"@timeStamps false\n@univariate false\n@classLabel true {' '.join(sorted(kinds))}\n@data\n"
    motions = [f"1,2,3:0,{i},1:{kinds[i // 10]}" for i in range(40)]
    (folder / "BasicMotions_TRAIN.ts").write_text(head + "\n".join(motions) + "\n")
    (folder / "folder_with_test_csv").mkdir()
    (folder / "folder_with_test_csv/test.csv").write_text('"3","Wall St. Bears","Short-sellers"\n')
    checkpoint = pocketrnn_training.train(
        pocketrnn_training.read_files([folder / "reviews.csv"]),
        pocketrnn_training.TextSettings(epochs=1, hidden_dim=8, device="cpu"),
    )
    pocketrnn_training.write_checkpoint(checkpoint, folder / "reviews.checkpoint")
    return folder


@pytest.mark.parametrize("name", [*PUBLIC, "TrainingRun"])
def test_the_example_of_every_public_name_runs(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.iterdir():
        if name == "TrainingRun" and path.suffix == ".checkpoint":
            continue
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    documented = PUBLIC.get(name, TrainingRun)
    scope = {**PUBLIC, "TrainingRun": TrainingRun, "DataSource": DataSource, "Path": Path, "np": np, "torch": torch}
    examples = doctest.DocTestFinder(recurse=False).find(documented, name, globs=scope)
    assert sum(len(example.examples) for example in examples) > 0
    for example in examples:
        report: list[str] = []
        result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
        assert result.failed == 0, "".join(report)
