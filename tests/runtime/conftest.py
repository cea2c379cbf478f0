from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bundle_maker
import pytest

from pocketrnn import Classifier


@pytest.fixture(scope="session")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph takes lengths and may be padded. Tests that change a bundle make or copy their own."""
    return bundle_maker.make(tmp_path_factory.mktemp("padded") / "bundle")


@pytest.fixture(scope="session")
def unpadded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph takes no lengths."""
    return bundle_maker.make(tmp_path_factory.mktemp("unpadded") / "bundle", lengths=False)


@pytest.fixture(scope="session")
def classifier(padded: Path) -> Classifier:
    return Classifier.load(padded)


@pytest.fixture
def packed_bundle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bytes]:
    """A function that packs a bundle's folder. Its tests are skipped where the native engine is not built."""
    pytest.importorskip("pocketrnn_native._engine")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "native"))
    import packing_tools

    return packing_tools.packed_bundle
