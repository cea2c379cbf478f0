"""The lesson: its page, its notebook and its pictures are current; the notebook and the script run on a few rows."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketrnn.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "lesson.ipynb"
WORDS = {"sport": "team wins cup final striker goal", "money": "oil prices shares profit bank rise"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `train.csv` and `test.csv`: a few rows of two classes that are easy to tell apart."""
    rng = np.random.default_rng(0)
    for name, rows in (("train.csv", 160), ("test.csv", 40)):
        lines = ["text,label"]
        for i in range(rows):
            label = ("sport", "money")[i % 2]
            lines.append(f"{' '.join(rng.choice(WORDS[label].split(), rng.integers(3, 12)))},{label}")
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "lesson"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, lesson: None) -> Callable[..., None]:
    """Run a script in this process, which has imported torch already."""

    def run_script(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")

    return run_script


@pytest.mark.parametrize("script", ["draw_lesson", "make_lesson"])
def test_what_a_script_makes_is_current(script: str, run: Callable[..., None]) -> None:
    # It exits, with the names of what is out of date, which fails this test.
    run(script, "--check")


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    scope: dict[str, Any] = {}
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), scope)  # noqa: S102 - our own notebook
    printed = capsys.readouterr().out
    for title in ("RNN, mean of all states, padded", "GRU, last state, packed"):
        assert f"{title}: running accuracy" in printed
    assert "'LSTM'" in printed
    assert (folder / "news" / "classifier.json").exists()


def test_the_notebook_is_a_notebook_without_outputs() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in document["cells"]]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for cell in document["cells"]:
        for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", "".join(cell["source"])):
            assert (NOTEBOOK.parent / target.partition("#")[0]).exists(), target


@pytest.mark.slow
def test_the_script_takes_a_row_through_all_steps_and_does_it_once(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("train.csv", "--test", "test.csv", "-o", "made", "--only", "lstm-last-packed")
    run("lesson", *arguments)
    printed = capsys.readouterr().out
    assert "160 training rows and 40 test rows" in printed
    assert "| LSTM, last state, packed | 0.815 |" in printed
    (result,) = json.loads(Path("made/results.json").read_text(encoding="utf-8")).values()
    assert result["inputs"] == ["tokens", "lengths"]
    assert result["operators"].count("LSTM") == 1
    ElementTree.parse("made/curves.svg")  # noqa: S314 - written just now, by ourselves
    made = Path("made/lstm-last-packed/bundle/classifier.json").stat().st_mtime_ns
    run("lesson", *arguments)
    assert "finished before" in capsys.readouterr().out
    assert Path("made/lstm-last-packed/bundle/classifier.json").stat().st_mtime_ns == made
    with pytest.raises(SystemExit, match=r"\b160 rows"):
        run("lesson", *arguments, "--rows", "100")
    with pytest.raises(SystemExit, match=r"train.csv.+cannot be made"):
        run("lesson", "train.csv", "-o", "train.csv")


@pytest.mark.slow
def test_without_the_native_engine_the_script_says_why_no_file_is_packed(
    folder: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import steps

    def missing(*_: object, **__: object) -> None:
        raise MissingExtraError("no engine", "install it")

    monkeypatch.setattr(steps, "pack", missing)
    run("lesson", "train.csv", "--test", "test.csv", "-o", "made", "--only", "rnn-mean-padded")
    printed = capsys.readouterr().out
    assert "Not every classifier was packed: the native engine is not installed: pip install ./runtime" in printed


def test_the_running_accuracy_is_of_the_rows_read_so_far(folder: Path, lesson: None) -> None:
    from chapter import CHAPTER, train_like_the_chapter

    from pocketrnn_training import read_files

    data = read_files([Path("train.csv")])
    settings = CHAPTER.__class__(**{**vars(CHAPTER), "report_every": 48})
    heard: list[tuple[int, float]] = []
    _, curve = train_like_the_chapter(data, settings, "x", lambda read, right: heard.append((read, right)))
    assert heard == curve
    assert [read for read, _ in curve] == [48, 96, 144, 160]
    right = [round(read * accuracy, 6) for read, accuracy in curve]
    assert right == [round(count) for count in right]
    assert right == sorted(right)


def test_a_row_is_trained_to_the_same_weights_each_time_and_leaves_torchs_generator_alone(
    folder: Path, lesson: None
) -> None:
    import torch
    from chapter import find_row, train_like_the_chapter

    from pocketrnn_training import read_files

    data, row = read_files([Path("train.csv")]), find_row("gru-last-packed")
    before = torch.get_rng_state()
    first, _ = train_like_the_chapter(data, row.settings, row.name)
    second, _ = train_like_the_chapter(data, row.settings, row.name)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_rows_have_the_chapters_settings(lesson: None) -> None:
    from chapter import CHAPTER, ROWS

    assert [row.chapter for row in ROWS] == [0.812, 0.704, 0.815, None, None, None, None]
    for row in ROWS[:-1]:
        differing = {name for name, value in vars(CHAPTER).items() if vars(row.settings)[name] != value}
        assert differing <= {"cell", "pooling", "packed", "bidirectional", "layers"}


def test_every_picture_is_whole_and_stays_in_its_frame(lesson: None) -> None:
    files = sorted((ROOT / "docs" / "lesson").glob("*.svg"))
    assert len(files) == 8
    for file in files:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own files
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        assert root.find("{*}title") is not None
        for element in root.iter():
            for name, limit in (("x", width), ("x2", width), ("y", height), ("y2", height)):
                assert 0 <= float(element.attrib.get(name, 0)) <= limit, (file.name, element.attrib)


def test_the_code_of_the_page_is_python() -> None:
    page = (ROOT / "docs" / "lesson.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 3
    assert all(ast.parse(block).body for block in blocks)
