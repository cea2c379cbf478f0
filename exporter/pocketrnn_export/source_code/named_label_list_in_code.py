"""Read a list of labels from a Python file or notebook. The file is not run."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.notebook import read_python_cells

_GIVE = "Give the labels as a,b,c in the order of the logits, or give a file of labels."


def read_labels_in_file(path: Path, variable: str) -> list[str]:
    """Read the labels from a line `NAME = [...]` of a file, or `NAME = {...}` with labels and their indices.

    Raises:
        InputError: there is no such line, or it is not plain.
    """
    value: ast.expr | None = None
    for statement in (one for cell in read_python_cells(path) for one in cell.statements):
        for node in ast.walk(statement):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(node, ast.Assign | ast.AnnAssign) and variable in {getattr(one, "id", "") for one in targets}:
                value = node.value
    if value is None:
        raise InputError(f"{path} has no line {variable} = [...].", _GIVE)
    held: object = None
    with contextlib.suppress(ValueError):
        held = ast.literal_eval(value)
    if isinstance(held, dict):
        indices = held if all(type(one) is int for one in held) else {i: label for label, i in held.items()}
        held = [indices[i] for i in range(len(indices))] if set(indices) == {*range(len(held))} else None
    if not isinstance(held, list | tuple) or not held or not all(isinstance(one, str | int) for one in held):
        raise InputError(
            f"{variable} in {path} is neither a plain list of labels nor a dict of labels and their indices.", _GIVE
        )
    return [str(label) for label in held]
