"""Numbers far outside of the training range, as the page and Node find them; no engine is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pocketrnn.numbers.number_input import NumberInput

NUMBERS = Path(__file__).parents[2] / "runtime" / "web" / "numbers.js"
RULES = NumberInput(
    ("x", "y", "z"), integer_scale=(0.001, 1.0, 1.0), training_range=((-2.0, 2.0), (0.0, 0.0), (5.0, 5.0))
)


def test_what_is_far_is_far_in_javascript_too() -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed")
    rows = np.array([[18.0, 4.0, 25.0], [18.1, 0.0, 5.0], [0.0, -4.1, 5.0], [0.0, 0.0, -15.1], [np.nan, 0.0, 5.0]])
    script = (
        f"const {{ farOf }} = await import({json.dumps(NUMBERS.as_uri())});"
        f"const rules = {json.dumps(RULES.document)};"
        f"const rows = {json.dumps(rows.tolist())};"
        "const found = rows.map((row) => farOf(new Float64Array(row), rules)?.at ?? -1);"
        "const whole = [18000, 18001].map((x) => farOf(new Int16Array([x, 0, 5]), rules)?.value ?? -1);"
        "console.log(JSON.stringify([found, whole, farOf(new Float64Array([1e30]), { channels: ['x'] }) ?? null]));"
    )
    line = [node, "--input-type=module", "-e", script]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    found, whole, unknown = json.loads(done.stdout)
    far = RULES.mark_numbers_far_outside_training(rows)
    assert found == [int(row.argmax()) if row.any() else -1 for row in far] == [-1, 0, 1, 2, -1]
    assert whole == [-1, pytest.approx(18.001)]
    assert unknown is None
