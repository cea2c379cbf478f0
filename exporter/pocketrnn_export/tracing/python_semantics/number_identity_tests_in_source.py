"""Find out whether a module's code may test the identity of a number: `n is special`, `id(n)`, `operator.is_`.

Python keeps one object for each number up to 256, so such a comparison may be true in a run. A size of a trace is
another object.
"""

from __future__ import annotations

import ast
import functools

from torch import nn

from pocketrnn_export.intake.user_frames import parse_file
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_files


def compares_identity(module: nn.Module) -> bool:
    """Return whether a file with a module's code may compare numbers by identity: by `is` or `id`."""
    return any(map(_compares_identity, find_users_files(module)))


@functools.lru_cache(maxsize=256)
def _compares_identity(file: str) -> bool:
    """Return whether a file's code compares objects by identity, as by `is`, or cannot be parsed."""
    tree = parse_file(file)
    return tree is None or any(
        (isinstance(node, ast.Name) and node.id in ("id", "is_", "is_not"))
        or (isinstance(node, ast.Attribute) and node.attr in ("is_", "is_not"))
        or (isinstance(node, ast.Compare) and _compares_objects(node))
        for node in ast.walk(tree)
    )


def _compares_objects(node: ast.Compare) -> bool:
    """Return whether `is` compares two values of which neither is a constant."""
    pairs = zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
    return any(
        isinstance(operator, ast.Is | ast.IsNot) and not any(isinstance(one, ast.Constant) for one in operands)
        for operator, *operands in pairs
    )
