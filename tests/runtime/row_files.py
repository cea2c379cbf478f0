"""Files of rows in the formats that `classify` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

__all__ = ["write_rows"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows to a file of CSV, JSON Lines or Parquet, as its suffix says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        cells = ([f'"{"" if value is None else value}"' for value in row.values()] for row in rows)
        path.write_text("\n".join([",".join(rows[0]), *map(",".join, cells)]) + "\n")
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path
