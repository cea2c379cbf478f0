"""CONTRIBUTING's steps for adding an operation of packed files work."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from compiled_programs import compiled_once
from documentation_code import blocks_of
from operation_vectors import _TOKENS, WIDTH, _Maker

from pocketrnn_native import EngineError, Packed

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtime" / "native" / "src"


# It builds the engine anew, and runs where the engine or this file changes.
@pytest.mark.slow
def test_an_operation_is_added_as_contributing_says(
    compiler: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, function, row = (block.content for block in blocks_of(ROOT / "CONTRIBUTING.md") if "twice" in block.content)
    source = shutil.copytree(SOURCE, tmp_path / "src")
    for name, added in (("ops.def", line), ("operations.inc", function)):
        with (source / name).open("a", encoding="ascii") as file:
            file.write(f"\n{added}")
    options = ["-std=gnu11", "-O0", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-missing-field-initializers"]
    compilation = [compiler, *options, source / "classify.c", source / "pocketrnn.c"]
    program, done = compiled_once(compilation, [source], programs, "twice")
    assert done is None or done.returncode == 0, done.stderr
    for name, layout in ast.literal_eval(row.strip()).items():
        monkeypatch.setitem(program._LAYOUT, name, layout)
    for factor, status in ((2, 0), (3, 3)):
        maker = _Maker()
        made = maker.value(program.FLOAT, _TOKENS, (0, WIDTH))
        maker.program.add_operation("twice", [maker.x, made])
        # A classifier has at least two labels.
        for label in ("twice", "again"):
            maker.keep(label, made, _TOKENS, WIDTH, lambda ids, f=factor, m=maker: f * m.rows(ids)[0])  # type: ignore[misc]
        content = maker.finished("twice").content
        (tmp_path / "twice.prnn").write_bytes(content)
        line_of = [str(program), "--verify", str(tmp_path / "twice.prnn")]
        assert subprocess.run(line_of, capture_output=True, timeout=60, check=False).returncode == status
        with pytest.raises(EngineError):
            Packed(content)
