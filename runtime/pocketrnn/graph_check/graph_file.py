"""A graph's file as a stranger may have made it: read once, and looked through before onnxruntime sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.bundle.manifest import checked_bytes
from pocketrnn.graph_check.allow_list import Found
from pocketrnn.graph_check.onnx_wire import walk_onnx
from pocketrnn.graph_check.ort_flatbuffer import walk_ort

__all__ = ["ORT_SUFFIX", "check_graph", "read_graph"]

ORT_SUFFIX: Final = ".ort"


def read_graph(path: Path, sha256: str, *, trusted: bool = False) -> bytes:
    """The bytes of a graph's file, read once, checked against its digest, and looked through.

    Whoever opens a session must make it of these bytes, and must say which of the two formats they are: onnxruntime
    takes either for the other, whatever the file's name.

    Args:
        path: the file: of onnxruntime's own format if its name ends in `.ort`, else an ONNX file.
        sha256: its digest, as classifier.json says it.
        trusted: allow all operators: for a bundle that one made oneself.

    Raises:
        BundleError: the file is missing, no regular file, larger than 2 GiB, or a byte of it was changed; or as in
            `check_graph`.
    """
    content = checked_bytes(path, sha256)
    check_graph(content, path, trusted=trusted)
    return content


def check_graph(content: bytes, path: Path, *, trusted: bool = False) -> None:
    """Refuse a graph that may do more than answer texts.

    Args:
        content: the file's bytes.
        path: the file's name, for the message and the format.
        trusted: allow all operators, graphs inside them, and functions. The rest is held to all the same.

    Raises:
        BundleError: it is not a graph; it keeps weights in further files; it holds an operator that
            `graph_limits.OPERATORS` has not, or a field that inference has no use for; or it is larger than a
            classifier can be, or makes too much of constants.

    Example:
        >>> check_graph(b"not a graph", Path("model.onnx"))
        Traceback (most recent call last):
            ...
        pocketrnn.errors.BundleError: model.onnx is not an ONNX file that a classifier may have: ...
    """
    found = Found(path, trusted)
    walk = walk_ort if path.name.endswith(ORT_SUFFIX) else walk_onnx
    walk(content, found)
    found.check(len(content))
