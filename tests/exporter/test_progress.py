"""What a command shows of long work."""

from __future__ import annotations

import logging

import pytest

from pocketrnn_export.commands import stages
from pocketrnn_export.proof.progress import each


def test_long_work_says_how_far_it_is_and_short_work_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, *(0.5 * i for i in range(30))])
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(seconds))
    exporter = logging.getLogger("pocketrnn_export.bundle")
    with stages.stages_on_stderr():
        exporter.info("Proving")
        assert list(each(range(12), "Comparing onnx")) == list(range(12))
        exporter.warning("A note")
        list(each(range(9), "Comparing torchscript"))
    list(each(range(9), "Nobody looks"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Proving ...", "  Comparing onnx: 9 of 12 ...", "Note: A note"]
    assert logging.getLogger("pocketrnn_export.progress").level == logging.NOTSET
