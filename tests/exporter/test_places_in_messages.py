"""Messages name a line in one way: that of a notebook by its cell, whoever finds it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pocketrnn_export.intake.last_activation_removal import _find_call_stack_and_line
from pocketrnn_export.intake.user_code_lines_for_messages import describe_last_user_line, find_nonfinite_line
from pocketrnn_export.source_code.notebook import Cell, name_cell

CODE = "def run():\n    found.append(look(sys._getframe()))\n    return torch.log(torch.zeros(1) - 1)\n"


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (f"net.ipynb, {name_cell(3, 2)}", "net.ipynb, cell 3 [2], line 2"),
        (f"net.ipynb, {name_cell(3, None)}", "net.ipynb, cell 3, line 2"),
        ("net.py", "net.py:2"),
        ("a cell 3.py", "a cell 3.py:2"),
    ],
)
def test_a_line_of_a_running_cell_is_named_as_a_line_of_a_read_cell(file: str, place: str) -> None:
    names: dict[str, Any] = {"found": [], "look": _find_call_stack_and_line, "sys": sys, "torch": torch}
    exec(compile(CODE, file, "exec"), names)  # noqa: S102 - this file
    assert find_nonfinite_line(names["run"]).startswith(f"{place[:-1]}3: ")
    assert names["found"][0][1] == place
    stack = f'File "{file}", line 2, in run\n    torch.log(x)\n'
    assert describe_last_user_line(stack) == f"{place}: `torch.log(x)`"


def test_a_read_cell_names_its_line_so() -> None:
    cell = Cell(name_cell(3, 2), "net.ipynb, cell 3 [2]", CODE, tuple(ast.parse(CODE).body))
    assert cell.describe_place(Path("net.ipynb"), cell.statements[0]) == "net.ipynb, cell 3 [2], line 1"
