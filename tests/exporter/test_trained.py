"""What `pocketrnn_training` trained, exported from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocketrnn import Classifier
from pocketrnn_export import export_trained
from pocketrnn_training import fit

pytestmark = pytest.mark.usefixtures("short_proofs")
TEXTS = ["so good", "so bad", "a good film", "a bad film"] * 8


def test_a_classifier_that_was_fitted_in_python_is_exported_with_its_answers(tmp_path: Path) -> None:
    fitted = fit(TEXTS, ["good", "bad"] * 16, epochs=1, hidden_dim=8, embedding_dim=8, final_fit=False, device="cpu")
    manifest = export_trained(fitted, tmp_path / "reviews", name="films", torchscript=False)
    bundle = Classifier.load(tmp_path / "reviews")
    assert (manifest.name, bundle.name, bundle.labels) == ("films", "films", fitted.labels)
    assert bundle.predict(TEXTS) == fitted.predict(TEXTS)
    assert np.abs(bundle.predict_proba(TEXTS) - fitted.predict_proba(TEXTS)).max() < 1e-5
    export_trained(fitted.checkpoint, tmp_path / "reviews", examples=False, torchscript=False, force=True)
    assert not {example.text for example in Classifier.load(tmp_path / "reviews").manifest.examples} & set(TEXTS)
