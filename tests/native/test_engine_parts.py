"""The program that measures where the time of a text goes: it builds, and its parts add up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compiled_programs import compiled_once
from packing_tools import packed_graph
from test_packed_forgetting_layers import LABELS, WORDS, graph_of_case
from test_packed_programs import vocabulary_of

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "runtime" / "native" / "src"


@pytest.mark.slow
def test_the_parts_of_a_text_are_measured_and_named(compiler: str, programs: Path, tmp_path: Path) -> None:
    packed, texts = tmp_path / "cell.prnn", tmp_path / "texts.txt"
    packed.write_bytes(packed_graph(*graph_of_case("a window"), vocabulary_of(WORDS), LABELS))
    texts.write_text("w1 w2 w3\nw4\n", encoding="utf-8")
    line = [compiler, "-std=gnu11", "-O1", "-Wno-psabi", f"-I{SOURCE}", HERE / "engine_parts.c"]
    program, built = compiled_once(line, [SOURCE, HERE / "engine_parts.c"], programs, "engine_parts")
    assert built is None or built.returncode == 0, built.stderr
    done = subprocess.run([str(program), str(packed), str(texts), "1"], capture_output=True, text=True, check=True)
    parts = [row.split("\t")[0] for row in done.stdout.splitlines()]
    assert parts[:4] == ["text to ids", "places of values", "lookup", "products of inputs"]
    assert parts[-1] == "opening"
