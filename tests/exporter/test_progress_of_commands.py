"""The progress of long work that a command, and a call from Python, show."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

from pocketrnn.commands.standard_streams import print_line_if_slow
from pocketrnn_export import progress
from pocketrnn_export.commands import printed_stages
from pocketrnn_export.comparing.answer_spread_by_rounding import DRAWS, compute_exact_answers
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.progress import log_item_progress, log_step, show_progress


def test_long_work_says_how_far_it_is_and_short_work_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, *(2.5 * i for i in range(30))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    exporter = logging.getLogger("pocketrnn_export.bundle_export")
    with printed_stages.print_stages():
        exporter.info("Proving")
        assert list(log_item_progress(range(12), "Comparing onnx")) == list(range(12))
        exporter.warning("A note")
        list(log_item_progress(range(9), "Comparing torchscript"))
    list(log_item_progress(range(9), "Nobody looks"))
    lines = capsys.readouterr().err.splitlines()
    shown = ["  Comparing onnx: 3 of 12 ...", "Note: A note", "  Comparing torchscript: 3 of 9 ..."]
    assert lines == ["Proving ...", *shown]
    assert logging.getLogger("pocketrnn_export.progress").level == logging.NOTSET


def test_a_long_step_is_shown_while_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.08)
    with printed_stages.print_stages():
        logging.getLogger("pocketrnn_export.bundle_export").info("Tracing")
        log_step("Converting")
        until = time.monotonic() + 5
        while "Converting" not in (said := capsys.readouterr().err) and time.monotonic() < until:
            time.sleep(0.02)
        assert said.splitlines()[-1] == "  Converting ..."


@pytest.mark.parametrize(
    ("wanted", "is_set_up", "expected"),
    [
        (True, False, ["A note", "Proving ...", "  Comparing onnx: 18 of 30 ...", "Proven"]),
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
    seconds = iter([0.0, *(0.6 * i for i in range(60))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    exporter = logging.getLogger("pocketrnn_export.bundle_export")
    with show_progress(wanted):
        exporter.info("Tracing")
        exporter.info("Proving")
        exporter.warning("A note")
        list(log_item_progress(range(30), "Comparing onnx"))
        logging.getLogger("pocketrnn_export.verdicts").info("Proven")
    assert capsys.readouterr().err.splitlines() == expected
    assert logger.handlers == []


def test_the_count_of_a_step_only_rises_or_says_which_time_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(15.0 * i for i in range(99))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with printed_stages.print_stages():
        for _ in range(2):
            list(log_item_progress(range(3), "Comparing"))
            list(log_item_progress("a", "Answering"))
        for i in range(2):
            list(log_item_progress(range(2), "Moving", done_before=2 * i, total=4))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        *("  Comparing ...", "  Comparing: 2 of 3 ...", "  Answering ..."),
        "  Comparing, for the second time ...",
        "  Comparing, for the second time: 2 of 3 ...",
        "  Answering, for the second time ...",
        *("  Moving ...", "  Moving: 2 of 4 ..."),
    ]


def test_answers_with_moved_weights_are_counted_over_all_draws(caplog: pytest.LogCaptureFixture) -> None:
    cases = [Case(f"case {i}", np.zeros((1, 2), np.int64), np.array([2])) for i in range(3)]

    def run(tokens: Any, _lengths: Any) -> Any:
        return np.zeros((len(tokens), 2))

    with caplog.at_level(logging.DEBUG, progress.PROGRESS):
        compute_exact_answers(run, iter([run] * DRAWS), cases, "shapes")
    told = [record.getMessage() for record in caplog.records]
    # A count of none is left out.
    steps = ["Answering shapes in double precision", "Answering shapes with slightly changed weights"]
    assert [told[0], told[3]] == steps
    assert told[1:3] == [f"{steps[0]}: {i} of 3" for i in (1, 2)]
    assert told[4:] == [f"{steps[1]}: {i} of {3 * DRAWS}" for i in range(1, 3 * DRAWS)]


def test_a_step_of_one_item_has_no_count(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, progress.PROGRESS):
        list(log_item_progress(["only"], "Comparing onnx"))
    assert [record.getMessage() for record in caplog.records] == ["Comparing onnx"]


def test_a_line_is_said_while_slow_work_runs_and_not_for_quick_work(capsys: pytest.CaptureFixture[str]) -> None:
    with print_line_if_slow("Quick ...", 600):
        pass
    said = ""
    with print_line_if_slow("Slow ...", 0):
        while not said.endswith("\n"):
            said += capsys.readouterr().err
    assert said == "Slow ...\n"
