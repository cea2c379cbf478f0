"""pocketrnn: classify text with exported recurrent classifiers, on numpy and onnxruntime alone."""

__version__ = "0.1.0"

__all__ = ["Classifier", "PocketRNNError", "Prediction", "__version__", "verify"]

from pocketrnn.answers import Prediction
from pocketrnn.classifier import Classifier
from pocketrnn.errors import PocketRNNError
from pocketrnn.verification import verify
