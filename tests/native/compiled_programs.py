"""Programs in C that tests run, compiled once for all workers and runs: each takes 3 to 15 seconds of a processor."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["compiled_once"]


def compiled_once(
    line: Sequence[str | Path], read: Iterable[Path], cache: Path, name: str
) -> tuple[Path, subprocess.CompletedProcess[str] | None]:
    """A program, and what the compiler said where it was asked.

    Args:
        line: the compiler, its options and files, without `-o`.
        read: the folders and files that it reads; where one changes, the program is compiled anew.
        cache: a folder that stays.
        name: what the program is called there.
    """
    said = subprocess.run([line[0], "--version"], capture_output=True, check=True, timeout=60).stdout
    digest = hashlib.sha256(said + repr([Path(part).name for part in line]).encode())
    for path in sorted(file for one in read for file in (one.iterdir() if one.is_dir() else [one])):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    program = cache / f"{name}-{digest.hexdigest()[:16]}"
    if program.exists():
        return program, None
    # Another worker may make the same: each writes its own file, and renames it.
    own = program.with_name(f"{program.name}.{os.getpid()}")
    done = subprocess.run([*line, "-o", own, "-lm"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 0:
        for old in cache.glob(f"{name}-*"):
            if old.suffix == "" and old != program:
                old.unlink(missing_ok=True)
        shutil.move(own, program)
    return program, done
