"""An output folder is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pocketrnn.bundle import atomic_writing
from pocketrnn.bundle.atomic_writing import (
    check_output_folder,
    repair_interrupted_write,
    write_whole_file,
    write_whole_folder,
)
from pocketrnn.errors import OutputError

MARK = "classifier.json"


def write(path: Path, content: str = "new", *, force: bool = False, then: BaseException | None = None) -> None:
    with write_whole_folder(path, force=force, marker_file=MARK) as work:
        (work / MARK).write_text(content)
        if then is not None:
            raise then


def content_of(path: Path) -> str:
    return (path / MARK).read_text()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write(tmp_path / "out", "old")
    return tmp_path / "out"


def test_the_folder_appears_with_its_parents_and_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "out")
    assert content_of(tmp_path / "a" / "b" / "out") == "new"
    assert os.listdir(tmp_path / "a" / "b") == ["out"]  # noqa: PTH208


def test_the_folder_has_the_rights_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_relative_path_is_kept_when_the_block_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with write_whole_folder(Path("out"), force=False, marker_file=MARK) as work:
        (work / MARK).write_text("new")
        os.chdir(tmp_path)
    assert content_of(tmp_path / "here" / "out") == "new"


def test_what_exists_is_kept(old: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write(old)
    assert content_of(old) == "old"


def test_force_replaces_what_we_wrote(old: Path) -> None:
    write(old, force=True)
    assert content_of(old) == "new"
    assert list(old.parent.iterdir()) == [old]


def test_force_leaves_what_others_wrote(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=f"no {MARK}"):
        write(tmp_path, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert content_of(tmp_path / "out") == "new"


@pytest.mark.parametrize("kind", ["file", "link", "broken link"])
@pytest.mark.parametrize("force", [True, False])
def test_a_file_or_a_link_is_not_replaced(old: Path, kind: str, force: bool) -> None:
    path = old.with_name("other")
    if kind == "file":
        path.write_text("kept")
    else:
        path.symlink_to(old if kind == "link" else old.with_name("nowhere"))
    with pytest.raises(OutputError, match=r"other .*not a folder"):
        write(path, force=force)
    assert path.is_symlink() or path.read_text() == "kept"
    assert content_of(old) == "old"


def test_a_file_among_the_parents_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"\bfile .*, not a folder"):
        write(tmp_path / "file" / "out")


@pytest.mark.parametrize("path", ["x" * 300, "y" * 300 + "/out"])
def test_a_name_that_no_disk_takes_is_said(tmp_path: Path, path: str) -> None:
    with pytest.raises(OutputError, match=os.strerror(errno.ENAMETOOLONG)):
        write(tmp_path / path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_without_rights_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=f"{tmp_path}.*rights"):
        check_output_folder(tmp_path / "out", force=False, marker_file=MARK)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interruption_in_the_middle_leaves_the_old_and_no_rest(
    tmp_path: Path, interruption: type[BaseException], force: bool
) -> None:
    out = tmp_path / "out"
    if force:
        write(out, "old")
    with pytest.raises(interruption):
        write(out, "half", force=force, then=interruption())
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if force else [])
    assert not force or content_of(out) == "old"


def test_a_full_disk_leaves_the_old_and_says_so(old: Path) -> None:
    with pytest.raises(OutputError, match=f"no room .*{old}"):
        write(old, "half", force=True, then=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert content_of(old) == "old"
    assert list(old.parent.iterdir()) == [old]


def test_an_error_of_what_is_read_is_not_laid_on_what_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        write_whole_folder(tmp_path / "out", force=False, marker_file=MARK),
    ):
        (Path(__file__).parent / "no such input").read_bytes()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_failure_in_the_exchange_puts_the_old_back(
    old: Path, failing: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_writing, "_exchange_folders", lambda *_: False)
    rename = Path.rename
    calls = 0

    def failing_rename(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        write(old, force=True)
    assert content_of(old) == "old"
    assert list(old.parent.iterdir()) == [old]


def test_an_interruption_after_the_exchange_leaves_the_new_and_no_rest(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_writing, "_exchange_folders", lambda *_: False)
    rename = Path.rename

    def interrupted_rename(self: Path, target: Path) -> Path:
        rename(self, target)
        if self.suffix == ".partial":
            raise KeyboardInterrupt
        return target

    monkeypatch.setattr(Path, "rename", interrupted_rename)
    with pytest.raises(KeyboardInterrupt):
        write(old, force=True)
    assert content_of(old) == "new"
    assert list(old.parent.iterdir()) == [old]


def test_what_comes_up_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    writing = write_whole_folder(out, force=False, marker_file=MARK)
    (writing.__enter__() / MARK).write_text("second")
    write(out, "first")
    with pytest.raises(OutputError, match="exists already"):
        writing.__exit__(None, None, None)
    assert content_of(out) == "first"
    assert list(tmp_path.iterdir()) == [out]


def test_a_block_that_removes_its_folder_leaves_the_old(old: Path) -> None:
    with (
        pytest.raises(OutputError),
        write_whole_folder(old, force=True, marker_file=MARK) as work,
    ):
        shutil.rmtree(work)
    assert content_of(old) == "old"


def test_the_folder_that_this_runs_in_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "outer" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    for path in (Path(), here, here.parent):
        with pytest.raises(OutputError, match="current folder"):
            check_output_folder(path, force=True, marker_file="classifier.json")
    check_output_folder(here / "inner", force=False, marker_file="classifier.json")


def test_a_mount_point_and_a_name_too_long_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=os.strerror(errno.ENAMETOOLONG)):
        check_output_folder(tmp_path / ("n" * 250), force=False, marker_file="classifier.json")
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(OutputError, match=f"mounted at {tmp_path}"):
        check_output_folder(tmp_path, force=True, marker_file="classifier.json")
    assert not list(tmp_path.iterdir())


# Kills a process that replaces `out` before the n-th line that it runs in atomic_writing.py, for every n, and says what
# stands there: "old", "new" or "absent". Then a later run begins, an hour later, and says the same of what it finds.
KILLED = """
import os, signal, sys
from pathlib import Path
from pocketrnn.bundle import atomic_writing
here, exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
out = here / "out"
if not exchange:
    atomic_writing._exchange_folders = lambda *_: False

def write(content):
    with atomic_writing.write_whole_folder(out, force=True, marker_file="classifier.json") as work:
        for name in ("classifier.json", "model.onnx"):
            (work / name).write_text(content)

def found():
    if not out.exists():
        return "absent"
    first, second = ((out / name).read_text() for name in ("classifier.json", "model.onnx"))
    return first if first == second else "half"

def killed_before(moment):
    lines = 0
    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename != atomic_writing.__file__:
            return None
        if event == "line":
            lines += 1
            if lines == moment:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write("new")
    sys.settrace(None)
    os._exit(0)

moment, status = 0, -1
while status:
    moment += 1
    write("old")
    child = os.fork()
    if not child:
        killed_before(moment)
    status = os.waitpid(child, 0)[1]
    after = found()
    for name in here.rglob("*"):
        os.utime(name, (0, 0))
    atomic_writing.check_output_folder(out, force=True, marker_file="classifier.json")
    print(after, found(), *sorted(os.listdir(here)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("way", [pytest.param("exchange", marks=pytest.mark.slow), "two renames"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_and_the_next_run_clears_up(tmp_path: Path, way: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, way], capture_output=True, text=True, check=True, timeout=120
    )
    seen = [line.split() for line in ended.stdout.splitlines()]
    assert {tuple(rest) for _, _, *rest in seen} == {("out",)}
    assert {later for _, later, *_ in seen} == {"old", "new"}
    if way == "exchange" and atomic_writing._exchange_folders(*two_folders(tmp_path)):
        assert {after for after, *_ in seen} == {"old", "new"}
    else:
        assert {after for after, *_ in seen} == {"old", "new", "absent"}


# A file that was opened in the very line is closed when its object goes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "kind", ["file", *[pytest.param(way, marks=pytest.mark.slow) for way in ("exchange", "two renames")]]
)
def test_an_interruption_at_any_line_leaves_the_old_or_the_new_and_no_rest(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 0
    if kind == "two renames":
        monkeypatch.setattr(atomic_writing, "_exchange_folders", lambda *_: False)
    out = tmp_path / "out"

    def write_out(content: str) -> None:
        if kind != "file":
            write(out, content, force=True)
            return
        with write_whole_file(out, force=True) as file:
            file.write(content.encode())

    files = {atomic_writing.__file__, contextlib.__file__, __file__}
    lines = 0

    def interrupts(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        lines += event == "line"
        # A trace function that raises is not called again.
        if lines == moment:
            raise KeyboardInterrupt
        return interrupts

    ended = False
    while not ended:
        moment, lines = moment + 1, 0
        write_out("old")
        before = sys.gettrace()
        sys.settrace(interrupts)
        try:
            write_out("new")
            ended = True
        except KeyboardInterrupt:
            atomic_writing.delete_own_temporary_siblings()
        finally:
            sys.settrace(before)
        assert os.listdir(tmp_path) == ["out"], (moment, lines)  # noqa: PTH208
        assert (out.read_text() if kind == "file" else content_of(out)) in ("old", "new")
    assert moment > 20


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a\udcff"])
def test_a_name_that_no_system_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        check_output_folder(tmp_path / name, force=True, marker_file=MARK)
    # Windows takes halves of surrogate pairs; Linux takes any bytes for a file, which is named in no other.
    if name == "a\0b" or (sys.platform != "win32" and name == "\ud800"):
        with pytest.raises(OutputError), write_whole_file(tmp_path / name, force=True):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_that_lead_nowhere_are_not_lost(tmp_path: Path) -> None:
    circle, dangling = tmp_path / "circle", tmp_path / "dangling"
    circle.symlink_to(circle)
    dangling.symlink_to(tmp_path / "target")
    for force in (False, True):
        with pytest.raises(OutputError), write_whole_file(circle, force=force):
            pass
    with write_whole_file(dangling, force=False) as file:
        file.write(b"new")
    assert circle.is_symlink()
    assert dangling.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def two_folders(parent: Path) -> tuple[Path, Path]:
    (parent / "a" / "was a").mkdir(parents=True)
    (parent / "b").mkdir()
    return parent / "a", parent / "b"


def test_two_folders_are_exchanged_or_left(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    exchanged = atomic_writing._exchange_folders(a, b)
    assert (b / "was a").exists() == exchanged
    assert (a / "was a").exists() != exchanged
    assert not atomic_writing._exchange_folders(a, tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_leftover_goes_after_an_hour_without_a_write_in_it(tmp_path: Path, kind: str) -> None:
    left, others = tmp_path / ".out.abcdefgh.partial", tmp_path / ".out.2.abcdefgh.partial"
    for path in (left, others):
        if kind == "folder":
            path.mkdir()
            (path / "model.onnx").write_text("half")
            os.utime(path, (0, 0))
        else:
            path.write_text("half")

    def write_out() -> None:
        if kind == "folder":
            write(tmp_path / "out", force=True)
        else:
            with write_whole_file(tmp_path / "out", force=True) as file:
                file.write(b"new")

    write_out()
    assert left.exists()
    long_ago = time.time() - 3700
    for path in tmp_path.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    write_out()
    assert not left.exists()
    assert others.exists()


def test_a_folder_that_was_moved_aside_returns_before_its_path_is_asked(old: Path) -> None:
    aside = old.with_name(".out.abcdefgh.old")
    aside.mkdir()
    old.rename(aside / "out")
    with pytest.raises(OutputError, match="exists already"):
        check_output_folder(old, force=False, marker_file=MARK)
    assert content_of(old) == "old"
    repair_interrupted_write(old)
    assert list(old.parent.iterdir()) == [old]
