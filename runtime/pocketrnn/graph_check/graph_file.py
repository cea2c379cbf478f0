"""Read a graph's file once, and check it before onnxruntime opens it. The file may come from a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.bundle.checked_files import read_checked_bytes
from pocketrnn.graph_check.graph_contents import GraphContents
from pocketrnn.graph_check.onnx_protobuf import read_onnx_contents
from pocketrnn.graph_check.ort_flatbuffer import read_ort_contents

__all__ = ["ORT_SUFFIX", "check_graph", "read_graph"]

ORT_SUFFIX: Final = ".ort"


def read_graph(path: Path, sha256: str, *, trusted: bool = False) -> bytes:
    """Read a graph's file once, and check its sha256 and its contents.

    Open the session from the returned bytes and not from the file, and tell onnxruntime the format: it might otherwise
    take one format for the other, whatever the file's name.

    Args:
        path: the file, in onnxruntime's own format if its name ends in `.ort`, else in ONNX.
        trusted: whether to allow all operators, for a bundle that you made yourself.

    Raises:
        BundleError: the file is missing, not a regular file, larger than 2 GiB, or was changed; or it holds something
            that a classifier's graph does not need.
    """
    content = read_checked_bytes(path, sha256)
    check_graph(content, path, trusted=trusted)
    return content


def check_graph(content: bytes, path: Path, *, trusted: bool = False) -> None:
    """Refuse a graph that may do more than compute answers.

    Args:
        path: the file's path, for messages. Its ending decides the format: `.ort` is onnxruntime's own format, any
            other is ONNX.
        trusted: whether to allow all operators, graphs inside operators, and functions. Everything else is checked all
            the same.

    Raises:
        BundleError: the file is not a graph; it keeps weights in further files; it holds an operator that is not in
            `graph_contents.OPERATORS`, or a field that inference does not need; or it is larger than a classifier can
            be, or creates too much data from constants.
    """
    graph_contents = GraphContents(path, trusted)
    walk = read_ort_contents if path.name.endswith(ORT_SUFFIX) else read_onnx_contents
    walk(content, graph_contents)
    graph_contents.check_limits(len(content))
