"""The programs that tests of the browser runtime need beside Python, and how to get them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "runtime"), str(HERE.parent / "native"), str(ROOT / "runtime" / "native")]

from web_node import Node  # noqa: E402  (the line above is what lets it be found)


@pytest.fixture(scope="session")
def node() -> Node:
    return Node()


@pytest.fixture(scope="session")
def wasm() -> Path:
    """The folder with pocketrnn.wasm and pocketrnn-plain.wasm, built where they are out of date."""
    build = str(ROOT / "scripts" / "build_web")
    checked = subprocess.run([build, "--check"], capture_output=True, text=True, timeout=60, check=False)
    if checked.returncode:
        pytest.skip(checked.stderr.strip())
    subprocess.run([build], check=True, timeout=300)
    if importlib.util.find_spec("pocketrnn_native._engine") is None:
        pytest.skip("the native engine is not built, which the packed files are made with; run: scripts/build_native")
    return ROOT / "runtime" / "web"


@pytest.fixture(scope="session")
def web_modules() -> Path:
    """The folder node_modules that holds onnxruntime-web and playwright-core."""
    folder = Path(os.environ.get("POCKETRNN_WEB_MODULES", ROOT / ".venv-web" / "node_modules"))
    missing = [name for name in ("onnxruntime-web", "playwright-core") if not (folder / name).is_dir()]
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not installed; "
            "run: npm install --prefix .venv-web onnxruntime-web playwright-core"
        )
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium of the system's; playwright-core brings none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium), and CHROMIUM does not name it")
    return path
