"""What CONTRIBUTING says of adding an operation of packed files, done."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from documented import blocks_of
from operation_vectors import _TOKENS, WIDTH, _Maker

from pocketrnn_export.forms import packed_program
from pocketrnn_native import EngineError, Packed

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtime" / "native" / "src"


def test_an_operation_is_added_as_contributing_says(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, function, row = (block.content for block in blocks_of(ROOT / "CONTRIBUTING.md") if "twice" in block.content)
    source = shutil.copytree(SOURCE, tmp_path / "src")
    for name, added in (("ops.def", line), ("operations.inc", function)):
        with (source / name).open("a", encoding="ascii") as file:
            file.write(f"\n{added}")
    program = tmp_path / "classify"
    subprocess.run(
        [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-missing-field-initializers",
         str(source / "classify.c"), str(source / "pocketrnn.c"), "-o", str(program), "-lm"],
        check=True,
        timeout=300,
    )  # fmt: skip
    for name, layout in ast.literal_eval(row.strip()).items():
        monkeypatch.setitem(packed_program._LAYOUT, name, layout)
    for factor, status in ((2, 0), (3, 3)):
        maker = _Maker()
        made = maker.value(packed_program.FLOAT, _TOKENS, (0, WIDTH))
        maker.program.add("twice", [maker.x, made])
        maker.keep("twice", made, _TOKENS, WIDTH, lambda ids, f=factor, m=maker: f * m.rows(ids)[0])  # type: ignore[misc]
        content = maker.finished("twice").content
        (tmp_path / "twice.prnn").write_bytes(content)
        line_of = [str(program), "--verify", str(tmp_path / "twice.prnn")]
        assert subprocess.run(line_of, capture_output=True, timeout=60, check=False).returncode == status
        with pytest.raises(EngineError):
            Packed(content)
