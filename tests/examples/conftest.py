"""The tools that tests of other folders share with these."""

from __future__ import annotations

import sys
from pathlib import Path

for name in ("native", "exporter", "runtime"):
    folder = Path(__file__).parents[1] / name
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
