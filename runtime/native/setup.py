"""Builds the extension: one wheel for every Python from 3.11 on, by the stable ABI."""

from __future__ import annotations

import sys

from setuptools import Extension, setup

# -ffp-contract lets the compiler use the processor's fused operations also where it keeps to ISO C.
_FLAGS = [] if sys.platform == "win32" else ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fvisibility=hidden"]
_QUIET = [] if sys.platform == "win32" else ["-Wno-psabi"]

setup(
    ext_modules=[
        Extension(
            "pocketrnn_native._engine",
            sources=["pocketrnn_native/_engine.c", "src/pocketrnn.c"],
            include_dirs=["src"],
            depends=[
                "src/pocketrnn.h",
                "src/kernels.h",
                "src/text.h",
                "src/program.h",
                "src/stream.h",
                "src/unicode14.h",
            ],
            extra_compile_args=_FLAGS + _QUIET,
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
