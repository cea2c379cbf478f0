"""Scripts of this folder, run with node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Node"]


class Node:
    """Runs a script, hands it a value as JSON, and gives the value that it prints."""

    def __init__(self) -> None:
        path = shutil.which("node")
        if path is None:
            pytest.skip("node is not installed (20 or newer is needed)")
        self._path = path

    def __call__(self, script: str, question: object, *, timeout: float = 120) -> Any:
        done = subprocess.run(
            [self._path, str(Path(__file__).with_name(script))],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return json.loads(done.stdout)
