"""A command that gets SIGINT, SIGTERM or SIGHUP at any time has the right status, no traceback and no leftovers."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pocketrnn.commands.signal_handling import raise_on_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of Unix")
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
# A command that gets a signal while it imports a module.
IMPORTING = """
import os, sys

*sys.argv[1:], number, module = sys.argv[1:]

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Sender())
from pocketrnn.__main__ import main
main()
"""
WRITING = """
import sys, time
from pathlib import Path
from pocketrnn.commands.signal_handling import raise_on_signals
from pocketrnn.bundle.atomic_writing import write_whole_file, write_whole_folder

here = Path(sys.argv[1])
with (
    raise_on_signals(),
    write_whole_folder(here / "out", force=False, marker_file="classifier.json") as work,
    write_whole_file(here / "out.csv", force=False) as file,
):
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("name", "module"), [
    # In front of every command, and within one.
    ("SIGINT", "click"), ("SIGTERM", "pocketrnn.commands.cli"), ("SIGHUP", "pocketrnn.commands.inspect"),
    ("SIGINT", "pocketrnn.bundle.manifest"), ("SIGTERM", "numpy"),
])  # fmt: skip
def test_a_signal_while_python_imports_ends_a_command_without_a_traceback(name: str, module: str) -> None:
    number = getattr(signal, name)
    command = [sys.executable, "-c", IMPORTING, "inspect", "ag_news", str(int(number)), module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + number
    assert done.stderr in ("", "Interrupted.\n")


@pytest.mark.parametrize("name", ENDING[1:])
def test_a_command_that_is_told_to_end_removes_its_temporary_files(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    with subprocess.Popen([sys.executable, "-c", WRITING, tmp_path], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"writing\n"
        running.send_signal(number)
        assert running.wait(30) == 128 + number
    assert list(tmp_path.iterdir()) == []


class _Raises:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def _swallowed(number: int) -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)


def _made_another(number: int) -> None:
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise ImportError("a module that says that it cannot be imported") from error


def _in_a_finalizer(number: int) -> None:
    made = _Raises(number)
    del made
    # A dropped signal comes again, long before this is over.
    time.sleep(30)


@pytest.mark.parametrize("name", ENDING)
@pytest.mark.parametrize("code", [_swallowed, _made_another, _in_a_finalizer])
def test_a_signal_is_not_lost_whatever_code_makes_of_its_exception(
    name: str, code: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)
    before = [signal.getsignal(getattr(signal, each)) for each in ENDING], sys.unraisablehook
    with pytest.raises((SystemExit, KeyboardInterrupt)) as raised, raise_on_signals():
        code(number)
    assert name == "SIGINT" or raised.value.args == (128 + number,)
    assert ([signal.getsignal(getattr(signal, each)) for each in ENDING], sys.unraisablehook) == before
    assert capsys.readouterr().err == ""


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    # As nohup does it.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raise_on_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
