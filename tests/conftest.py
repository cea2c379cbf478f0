"""Set before anything imports torch, and handed on to the processes that tests start."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from proof_sizes import short_proofs, whole_proofs
from sampling import SLOW_TOO

__all__ = ["fewer_sizes_are_asked", "operators_of_torch_are_read_once", "short_proofs", "whole_proofs"]

# Small batches, and several test processes on few cores: with two threads each, tests took up to five times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where the address sanitizer keeps the frames of functions that have returned, gcc before 14 puts vectors of 64 bytes
# into them unaligned, and a machine with AVX-512 stops there (gcc's bug 110027).
os.environ.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=0")


def pytest_configure(config: pytest.Config) -> None:
    # Before the tests are imported, which ask for it.
    if config.getoption("markexpr") != "not slow":
        os.environ[SLOW_TOO] = "1"
    # A shell starts what it puts into the background with Ctrl-C ignored, and so would every command that the tests
    # start and mean to interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def operators_of_torch_are_read_once() -> Iterator[None]:
    """`torch.onnx.export` reads the source of its 500 operators in every call: 0.8 of an export's 3.3 seconds."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnxscript") is None:
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read: dict[Any, ONNXRegistry] = {}
    from_torchlib = ONNXRegistry.from_torchlib

    def read_once(opset_version: Any = None) -> ONNXRegistry:
        given = () if opset_version is None else (opset_version,)
        if given not in read:
            read[given] = from_torchlib(*given)
        registry = ONNXRegistry()
        registry._opset_version = read[given]._opset_version
        registry.functions = {target: list(functions) for target, functions in read[given].functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(read_once))
        yield


@pytest.fixture(scope="session", autouse=True)
def fewer_sizes_are_asked() -> Iterator[None]:
    """Every export asks its module at each of 512 lengths, about 2 s: here at each of 40."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    from pocketrnn_export.tracing import every_size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every_size, "MOST_TOKENS", 40)
        patch.setattr(every_size, "MOST_TEXTS", 25)
        yield
