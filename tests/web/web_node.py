"""Scripts of this folder, run with node, and folders served to a browser."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.packed_file import encode_packed_text_rules

__all__ = ["Node", "in_base64", "list_bundle_files", "served"]


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


def list_bundle_files(folder: Path) -> dict[str, bytes]:
    """The files of a bundle that pocketrnn.js reads, by name: its text rules, packed, and its graph."""
    manifest = manifests.read_manifest(folder)
    return {
        "text.prnn": encode_packed_text_rules(manifest),
        manifest.graph.file: (folder / manifest.graph.file).read_bytes(),
    }


def in_base64(files: Mapping[str, bytes]) -> dict[str, str]:
    """Files as JSON holds them."""
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as long as it is served."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()
