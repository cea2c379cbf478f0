"""Set before anything imports torch, and handed on to the processes that tests start."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from hypothesis import settings
from proof_sizes import (
    fewer_sizes_are_asked,
    scant_proofs,
    short_proofs,
    short_proofs_in_one_test,
    usual_proofs,
    whole_proofs,
)
from slow_case_sampling import SLOW_TOO

__all__ = [
    "fewer_sizes_are_asked",
    "scant_proofs",
    "short_proofs",
    "short_proofs_in_one_test",
    "usual_proofs",
    "whole_proofs",
]

# Small batches, and several test processes on few cores: with two threads each, tests took up to five times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where the address sanitizer keeps the frames of functions that have returned, gcc before 14 puts vectors of 64 bytes
# into them unaligned, and a machine with AVX-512 stops there (gcc's bug 110027).
os.environ.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=0")


# No time is asserted: on a busy machine, 20 ms were 260 once, where hypothesis allows 200.
settings.register_profile("without_deadline", deadline=None, max_examples=30)
settings.register_profile("many", deadline=None)
settings.load_profile("without_deadline")


def pytest_configure(config: pytest.Config) -> None:
    # Before the tests are imported, which ask for it.
    if config.getoption("markexpr") != "not slow":
        os.environ[SLOW_TOO] = "1"
        settings.load_profile("many")
    # A shell starts what it puts into the background with Ctrl-C ignored, and so would every command that the tests
    # start and mean to interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # All modules, classes and test items live to the end. Without this, Python looks through them again and again for
    # cycles: 14 % of a test that exports, 4 % with it.
    gc.freeze()
    # And what an export makes lives as long as it takes: three exports take 2.7 s, and 2.9 to 3.1 with 50,000.
    gc.set_threshold(300_000, 20, 100)
