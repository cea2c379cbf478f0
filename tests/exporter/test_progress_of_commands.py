"""The progress of long work that a command, and a call from Python, show."""

from __future__ import annotations

import logging

import pytest

from pocketrnn.commands.standard_streams import print_line_if_slow
from pocketrnn_export import progress
from pocketrnn_export.commands import progress_lines
from pocketrnn_export.progress import log_item_progress, show_progress


def test_long_work_says_how_far_it_is_and_short_work_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, *(0.5 * i for i in range(30))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    exporter = logging.getLogger("pocketrnn_export.bundle_export")
    with progress_lines.print_stages():
        exporter.info("Proving")
        assert list(log_item_progress(range(12), "Comparing onnx")) == list(range(12))
        exporter.warning("A note")
        list(log_item_progress(range(9), "Comparing torchscript"))
    list(log_item_progress(range(9), "Nobody looks"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Proving ...", "  Comparing onnx: 9 of 12 ...", "Note: A note"]
    assert logging.getLogger("pocketrnn_export.progress").level == logging.NOTSET


@pytest.mark.parametrize(
    ("wanted", "is_set_up", "expected"),
    [
        (True, False, ["A note", "Proving ...", "  Comparing onnx: 10 of 12 ..."]),
        (False, False, ["A note"]),
        (True, True, []),
    ],
)
def test_python_says_what_it_does_once_it_has_taken_two_seconds_unless_logging_is_set_up(
    *,
    wanted: bool,
    is_set_up: bool,
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("pocketrnn_export")
    # pytest sets logging up.
    monkeypatch.setattr(logger, "propagate", is_set_up)
    seconds = iter([0.0, *(0.6 * i for i in range(30))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    exporter = logging.getLogger("pocketrnn_export.bundle_export")
    with show_progress(wanted):
        exporter.info("Tracing")
        exporter.info("Proving")
        exporter.warning("A note")
        list(log_item_progress(range(12), "Comparing onnx"))
        logging.getLogger("pocketrnn_export.verdicts").info("Proven")
    assert capsys.readouterr().err.splitlines() == expected
    assert logger.handlers == []


def test_a_line_is_said_while_slow_work_runs_and_not_for_quick_work(capsys: pytest.CaptureFixture[str]) -> None:
    with print_line_if_slow("Quick ...", 600):
        pass
    said = ""
    with print_line_if_slow("Slow ...", 0):
        while not said.endswith("\n"):
            said += capsys.readouterr().err
    assert said == "Slow ...\n"
