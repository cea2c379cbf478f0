"""Set before anything imports torch, and handed on to the processes that tests start."""

from __future__ import annotations

import os

# Small batches, and several test processes on few cores: with two threads each, tests took up to five times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
