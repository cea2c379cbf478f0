"""A Classifier in scikit-learn: scores, a pipeline that cleans texts first, and a threshold for unsure answers.

    pip install pocketrnn scikit-learn
    python examples/scikit_learn.py

scikit-learn 1.6 or newer.
"""

from __future__ import annotations

from collections.abc import Iterable

from sklearn.frozen import FrozenEstimator
from sklearn.metrics import classification_report, get_scorer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from pocketrnn import Classifier

TEXTS = [
    "NASA probe nears Saturn",
    "Oil prices rise again",
    "Striker scores twice in cup final",
    "Peace talks resume in Geneva",
    "<b>Chip maker</b> raises its forecast",
    "New telescope sees a distant galaxy",
]
LABELS = ["Sci/Tech", "Business", "Sports", "World", "Business", "Sci/Tech"]


def remove_tags(texts: Iterable[str]) -> list[str]:
    """Remove from the texts two tags that the training rows did not have."""
    return [text.replace("<b>", " ").replace("</b>", " ") for text in texts]


def pipeline(bundle: str = "ag_news") -> Pipeline:
    """Make a pipeline that cleans texts and classifies them.

    FrozenEstimator says that the classifier is trained: `fit`, which cross-validation calls too, leaves it as it is.
    """
    steps = [
        ("clean", FunctionTransformer(remove_tags)),
        ("classify", FrozenEstimator(Classifier.load(bundle))),
    ]
    return Pipeline(steps)


def main() -> None:
    """Print scikit-learn's measures of the classifier on a few texts."""
    classifier = Classifier.load("ag_news")
    # Scorers and displays take the Classifier as it is: it has classes_, predict and predict_proba.
    for score in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        print(f"{score:>13}: {get_scorer(score)(classifier, TEXTS, LABELS):.3f}")

    cleaned = pipeline().fit(TEXTS, LABELS)
    print(classification_report(LABELS, cleaned.predict(TEXTS), zero_division=0.0))


if __name__ == "__main__":
    main()
