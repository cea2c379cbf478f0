"""The methods and attributes that scikit-learn's tools expect of a classifier. They work without scikit-learn, too.

https://scikit-learn.org/stable/developers/develop.html explains them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError

__all__ = ["TrainedEstimator"]


class TrainedEstimator:
    """A trained classifier that works with scikit-learn's scorers, displays and pipelines.

    It cannot be trained further. If a tool calls `fit`, as `Pipeline.fit` and cross-validation do, wrap the classifier:
    `sklearn.frozen.FrozenEstimator(classifier)`.
    """

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the columns of `predict_proba`."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads; empty if the classifier has a single set of labels."""
        return ()

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels as scikit-learn expects them: an array of strings [labels], in the order of `labels`.

        Raises:
            InputError: there are several heads.

        Example:
            >>> Classifier.load("ag_news").classes_.tolist()
            ['World', 'Sports', 'Business', 'Sci/Tech']
        """
        if self.heads:
            raise InputError(
                f"The classifier has the heads {', '.join(self.heads)}, but scikit-learn works only with one head.",
                f"Choose a head, such as classifier.head({self.heads[0]!r}).",
            )
        return np.array(self.labels)

    def fit(self, texts: object, labels: object = None) -> NoReturn:  # noqa: ARG002 - scikit-learn gives both
        """Raise an error: the classifier is already trained. scikit-learn requires this method of every estimator.

        Args:
            texts: ignored.
            labels: ignored.

        Raises:
            InputError: always.

        Example:
            >>> from sklearn.frozen import FrozenEstimator
            >>> FrozenEstimator(classifier).fit(texts, labels) is not None    # in place of classifier.fit(...)
            True
        """
        raise InputError(
            "This classifier is already trained, so it cannot be fitted again.",
            "Wrap it in sklearn.frozen.FrozenEstimator, or train a new classifier with `pocketrnn train`.",
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn calls this, from version 1.6 on.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, string=True),
        )
