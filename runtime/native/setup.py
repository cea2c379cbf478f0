"""Build the engine as a C extension: one wheel for every Python from 3.11 on, with Python's stable ABI."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import Extension, setup

# -ffp-contract lets the compiler use the processor's fused operations also where it keeps to ISO C. The C stack is
# never unwound, and the unwind tables would take 5 kB.
_GNU = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables"]
_FLAGS = ["/std:c11"] if sys.platform == "win32" else _GNU
_QUIET = [] if sys.platform == "win32" else ["-Wno-psabi"]


def _read_version() -> str:
    """Read pocketrnn's version from its source file. A source distribution lacks that file: read PKG-INFO there."""
    folder = Path(__file__).resolve().parent
    for file, pattern in (
        (folder / "PKG-INFO", r"^Version: (.+)$"),
        (folder.parent / "pocketrnn" / "__init__.py", r'^__version__ = "(.+)"$'),
    ):
        if file.exists() and (found := re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)):
            return found[1]
    raise SystemExit("The version of pocketrnn cannot be read. Build in the repository, or from a source distribution.")


setup(
    version=_read_version(),
    ext_modules=[
        Extension(
            "pocketrnn_native._engine",
            sources=["pocketrnn_native/_engine.c", "src/pocketrnn.c"],
            include_dirs=["src"],
            depends=[f"src/{path.name}" for path in sorted((Path(__file__).resolve().parent / "src").iterdir())],
            extra_compile_args=_FLAGS + _QUIET,
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
