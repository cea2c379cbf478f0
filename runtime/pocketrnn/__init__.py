"""pocketrnn: classify text with exported recurrent classifiers, on numpy and onnxruntime alone."""

# Not from typing, whose import takes longer than all else here; type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pocketrnn.answers import Prediction
    from pocketrnn.classifier import Classifier
    from pocketrnn.errors import PocketRNNError
    from pocketrnn.verification import verify

__version__ = "0.1.0"

__all__ = ["Classifier", "PocketRNNError", "Prediction", "__version__", "verify"]

# Where each name is from. It is imported when it is asked for, so that the command line can take care of signals before
# numpy and onnxruntime are read.
_FROM = {
    "Classifier": "pocketrnn.classifier",
    "PocketRNNError": "pocketrnn.errors",
    "Prediction": "pocketrnn.answers",
    "verify": "pocketrnn.verification",
}


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_FROM[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
