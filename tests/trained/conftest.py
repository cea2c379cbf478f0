from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest


@pytest.fixture
def fine_pictures() -> None:
    """Pictures of a report as its reader gets them, for a test of what is drawn."""


@pytest.fixture(autouse=True)
def rough_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few dots, whose parts are not fitted to each other: two thirds of the time of a small run."""
    if "fine_pictures" in request.fixturenames:
        return
    figures = pytest.importorskip("matplotlib.figure")
    whole = figures.Figure.savefig

    def savefig(figure: Any, *args: Any, **options: Any) -> None:
        figure.set_layout_engine("none")
        whole(figure, *args, **{**options, "dpi": 10})

    monkeypatch.setattr(figures.Figure, "savefig", savefig)


@pytest.fixture(autouse=True)
def rough_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a run takes, told by one step in place of three: those steps are a third of a run of a few rows."""
    if importlib.util.find_spec("torch") is not None:
        monkeypatch.setattr(importlib.import_module("pocketrnn_training.duration"), "_TIMED_STEPS", 1)
