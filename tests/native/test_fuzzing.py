"""scripts/fuzz_native builds and runs: the engine is fuzzed for a few seconds a target."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_native"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["file", "ways", "text", "rules"])
def test_some_seconds_of_fuzzing_find_nothing(target: str, tmp_path: Path) -> None:
    line = [sys.executable, str(SCRIPT), target, "--seconds", "5", "--corpus", str(tmp_path / "corpus")]
    done = subprocess.run(line, capture_output=True, text=True)
    if "There is no clang" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout
    assert re.search(rf"{target}: nothing found in [\d,]+ inputs; \d+ kept", done.stdout)
    assert not list(tmp_path.glob("corpus/*-*"))
