"""AG News, a data set of news texts: download its two files once, and read them as torchtext does."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.errors import DataError, OutputError, short_repr
from pocketrnn_training.rows.class_labels import convert_codes_to_targets
from pocketrnn_training.rows.disk_backed_data import ByteBuffer, StoredTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.table_files import open_as_utf8, read_delimited

__all__ = ["AG_NEWS_LABELS", "ag_news"]

# torchtext/datasets/ag_news.py: where the two files are, their md5, and the names of the classes 1 to 4.
AG_NEWS_LABELS: Final = ("World", "Sports", "Business", "Sci/Tech")
_URL: Final = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/"
_MD5: Final = {"train.csv": "b1a00f826fdfbd249f79597b59e1dc12", "test.csv": "d52ea96a97a2d943681189a97654912d"}


def ag_news(part: str, data_dir: Path | None = None, *, labels: tuple[str, ...] | None = None) -> LabelledTexts:
    """Read the data set AG News (Zhang, Zhao and LeCun 2015) as `torchtext.datasets.AG_NEWS` does.

    The files `train.csv` and `test.csv` have no header line, and the columns class (1 to 4), title and description. A
    text is the title, a space and the description.

    Args:
        part: `train` or `test`.
        data_dir: a folder that holds the files, which need not be the official ones. Without it the official file is
            read from the user's cache folder, and downloaded to it the first time.
        labels: the classes and their order; without it, World, Sports, Business, Sci/Tech.

    Raises:
        DataError: the file is missing, damaged or cannot be downloaded; a class in it is not a number from 1 to 4; or
            `labels` lacks the name of one of the four classes.

    Example:
        >>> data = ag_news("test", Path("folder_with_test_csv"))
        >>> data.labels
        ('World', 'Sports', 'Business', 'Sci/Tech')
    """
    file_name = f"{part}.csv"
    path = _find_or_download_file(file_name) if data_dir is None else data_dir / file_name
    names = {str(number): label for number, label in enumerate(AG_NEWS_LABELS, start=1)}
    codes = ByteBuffer()

    def read_texts_and_store_codes() -> Iterator[list[str]]:
        before = 0
        columns = ("class", "title", "description")
        for classes, titles, descriptions in read_delimited(path, columns, ",", names_without_header=columns):
            for row, number in enumerate(classes, start=before + 1):
                if number not in names:
                    raise DataError(
                        f"Row {row} of {path} begins with {short_repr(number, 40)}, but each row of AG News must begin "
                        "with its class, 1 to 4, and there is no header line.",
                        "To train on a file of your own, give its path in place of ag_news.",
                    )
            before += len(classes)
            codes.write(array("q", [int(number) - 1 for number in classes]).tobytes())
            yield [f"{title} {description}" for title, description in zip(titles, descriptions, strict=True)]

    source, labels = f"AG News, {file_name}", labels or AG_NEWS_LABELS
    texts = StoredTexts.from_chunks(read_texts_and_store_codes())
    return LabelledTexts(
        texts=texts,
        targets=convert_codes_to_targets(codes.numbers(np.int64), AG_NEWS_LABELS, labels, source),
        labels=labels,
        source=source,
        licence="research and other non-commercial use",
    )


def _find_or_download_file(file_name: str) -> Path:
    """Return the path of the official file in the user's cache folder, and download the file if it is not there."""
    # https://specifications.freedesktop.org/basedir-spec: an XDG_CACHE_HOME that is not absolute is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    path = (cache if cache.is_absolute() else Path.home() / ".cache") / "pocketrnn" / "ag_news" / file_name
    if not path.exists():
        _download(_URL + file_name, _MD5[file_name], path)
        return path
    with open_as_utf8(path) as file:
        content = file.read()
    if not _has_md5(content, _MD5[file_name]):
        raise DataError(
            f"{path} is not the official file of AG News: its md5 differs.",
            "Delete the file, and run the command again: it downloads the official file.",
        )
    return path


def _download(url: str, md5: str, path: Path) -> None:
    """Download the file at `url` to `path`. Nothing is written unless the file is complete and has the right md5."""
    elsewhere = "Download the file in another way, and give its folder as --data-dir, or as `data_dir` in Python."
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the two addresses are fixed, and https
            content = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise DataError(f"{url} cannot be downloaded: {error}.", elsewhere) from None
    if not _has_md5(content, md5):
        raise DataError(f"The file from {url} is not the official one of AG News: its md5 differs.", elsewhere)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Replace it: another process may have downloaded the same file meanwhile.
        with write_whole_file(path, force=True) as file:
            file.write(content)
    except OutputError as error:
        raise DataError(error.problem, elsewhere) from None
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}.", elsewhere) from None


def _has_md5(content: bytes, md5: str) -> bool:
    """Return whether the content has this MD5, in hexadecimal digits."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
