from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slow_case_sampling import SLOW_TOO


@pytest.fixture
def fine_pictures() -> None:
    """Pictures of a report as its reader gets them, for a test of what is drawn."""


@pytest.fixture(scope="session", autouse=True)
def entry_points_are_read_once() -> Iterator[None]:
    """Lightning looks through all installed packages twice in a run: a tenth of the time of a small one."""
    if importlib.util.find_spec("lightning_fabric") is None:
        yield
        return
    registry = importlib.import_module("lightning_fabric.utilities.registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
        yield


# A picture of one dot.
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(autouse=True)
def rough_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, which are half of the time of a small run; where slow tests run too, some of few dots, whose parts
    are not fitted to each other."""
    if "fine_pictures" in request.fixturenames:
        return
    figures = pytest.importorskip("matplotlib.figure")
    whole = figures.Figure.savefig

    def savefig(figure: Any, path: Path, **options: Any) -> None:
        if SLOW_TOO in os.environ:
            figure.set_layout_engine("none")
            whole(figure, path, **{**options, "dpi": 10})
        else:
            path.write_bytes(DOT)

    monkeypatch.setattr(figures.Figure, "savefig", savefig)


@pytest.fixture(autouse=True)
def no_shipped_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a test choose as they do where no word vectors are installed, and no classifier tells their
    language."""
    if importlib.util.find_spec("torch") is not None:
        found = importlib.import_module("pocketrnn_training.texts.installed_vectors")
        monkeypatch.setattr(found, "find_installed_vectors", lambda _texts, _report: None)


@pytest.fixture(autouse=True)
def rough_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a run takes, told by one step in place of three: those steps are a third of a run of a few rows."""
    if importlib.util.find_spec("torch") is not None:
        monkeypatch.setattr(importlib.import_module("pocketrnn_training.loop.duration_estimate"), "_TIMED_STEPS", 1)
