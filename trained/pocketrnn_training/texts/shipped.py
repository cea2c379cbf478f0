"""Word vectors that are installed, and whether they are of the language of some texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.classifier import Classifier
from pocketrnn_training.progress import Notice, Step
from pocketrnn_training.texts.vectors import TABLE

__all__ = ["language_of", "tables", "vectors_for"]

_PACKAGE: Final = "pocketrnn_words"
# The languages of its tables, for where it is not installed.
_LANGUAGES: Final = {"en": "English"}
_SAMPLE: Final = 200
_CHARACTERS: Final = 500
# How many of the sample have to be in one language.
_MOST: Final = 0.8


def tables() -> Mapping[str, Path]:
    """The tables of word vectors that are installed, by their language; none without `pocketrnn-words`.

    Example:
        >>> all(path.exists() for path in tables().values())
        True
    """
    if find_spec(_PACKAGE) is None:
        return {}
    folder = Path(str(files(_PACKAGE)))
    return {path.stem: path for path in sorted(folder.glob(f"*{TABLE}"))}


def language_of(texts: Sequence[str]) -> str | None:
    """The language of four fifths of a sample of the texts at least, as the classifier `languages` says; else None.

    Example:
        >>> language_of(["Where is the station?", "the best film of the year"])
        'en'
    """
    sample = [texts[i][:_CHARACTERS] for i in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))]
    # As often as each language is written on the web: a short text says little.
    said = Classifier.load("languages", prior="web").predict(sample)
    ((language, count),) = Counter(said).most_common(1)
    return language if count >= _MOST * len(sample) else None


def vectors_for(texts: Sequence[str], report: Callable[[Notice], None]) -> Path | None:
    """The installed table of the language of these texts, or None.

    Args:
        texts: the training texts.
        report: told of the language, and where a table that is not installed would help.
    """
    language = language_of(texts)
    if language is None:
        return None
    name, found = _LANGUAGES.get(language), tables().get(language)
    if found is not None:
        said = f"Most rows are in {name or language}: its word vectors are tried; --no-vectors leaves them out."
        report(Step(said))
    elif name is not None:
        more = "pip install ./trained/words, in a clone"
        said = f"Word vectors of {name} are not installed, with which a classifier of few rows is better: {more}."
        report(Notice(said))
    return found
