"""Files of recordings that a web page opens."""

from __future__ import annotations

from typing import Any

import pytest
from web_node import Node


@pytest.mark.parametrize(
    ("rows", "scale", "expected"),
    [
        ("2,4\n6,8\n", [0.5, 0.25], ["Int32Array", [2, 4, 6, 8]]),
        ("2,4\n,8\n", [0.5, 0.25], ["Float64Array", [1, 1, "gap", 2]]),
        ("2,4\nNaN,8\n", None, ["Float64Array", [2, 4, "gap", 8]]),
        ("2,4\n3,8.5\n", [0.5, 1], ["Float64Array", [1, 4, 1.5, 8.5]]),
        ("2,4\n3,8.5\n", [0.5, 0.25], ["Float64Array", [2, 4, 3, 8.5]]),
    ],
)
def test_whole_numbers_are_a_sensors_beside_empty_fields(
    rows: str, scale: list[float] | None, expected: list[Any]
) -> None:
    assert Node()("recording_file_in_node.mjs", [f"ax,ay\n{rows}", ["ax", "ay"], scale]) == expected
