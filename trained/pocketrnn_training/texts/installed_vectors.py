"""Find the word vectors of an installed package for the language of the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.classifier import Classifier
from pocketrnn_training.texts.word_vectors import TABLE
from pocketrnn_training.training_events import Notice, StageNotice

__all__ = ["detect_language", "find_installed_vector_tables", "find_installed_vectors"]

_PACKAGE: Final = "pocketrnn_words"
# The languages of the package's tables, to name them where it is not installed.
_LANGUAGES: Final = {"en": "English"}
_SAMPLE: Final = 200
_CHARACTERS: Final = 500
# The share of the sample that must be in one language.
_MOST: Final = 0.8


def find_installed_vector_tables() -> Mapping[str, Path]:
    """Find the installed tables of word vectors, by language; empty if `pocketrnn-words` is not installed."""
    if find_spec(_PACKAGE) is None:
        return {}
    folder = Path(str(files(_PACKAGE)))
    return {path.stem: path for path in sorted(folder.glob(f"*{TABLE}"))}


def detect_language(texts: Sequence[str]) -> str | None:
    """Detect the language of the texts, with the classifier `languages` on a sample of them.

    Return the code of the language, such as "en"; None if less than 80 % of the sample is in one language.
    """
    sample = [texts[i][:_CHARACTERS] for i in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))]
    # The prior is how frequent each language is on the web, since short texts are ambiguous.
    said = Classifier.load("languages", prior="web").predict(sample)
    ((language, count),) = Counter(said).most_common(1)
    return language if count >= _MOST * len(sample) else None


def find_installed_vectors(texts: Sequence[str], report: Callable[[Notice], None]) -> Path | None:
    """Find the installed word vectors for the language of the texts; None if there are none.

    Args:
        texts: the training texts.
        report: the function to call with a notice of the language, or of a table that would help but is not installed.
    """
    language = detect_language(texts)
    if language is None:
        return None
    name, found = _LANGUAGES.get(language), find_installed_vector_tables().get(language)
    if found is not None:
        said = f"Most rows are in {name or language}: its word vectors are tried; --no-vectors leaves them out."
        report(StageNotice(said))
    elif name is not None:
        more = "pip install ./trained/words, in a clone"
        said = f"Word vectors of {name} are not installed. With them, a classifier of few rows is better: {more}."
        report(Notice(said))
    return found
