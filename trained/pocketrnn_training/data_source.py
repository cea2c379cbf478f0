"""Where the labelled rows of a run come from: files of one data set, or AG News."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketrnn.errors import InputError
from pocketrnn.tables.rows import LABEL_SEPARATOR

if TYPE_CHECKING:
    from pocketrnn_training.data import LabelledTexts

__all__ = ["AG_NEWS", "DataSource"]

AG_NEWS: Final = "ag_news"


@dataclass(frozen=True)
class DataSource:
    """The rows that a user names.

    Attributes:
        names: files of one data set, or `ag_news` alone.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        data_dir: the folder with the files of AG News; without it they are downloaded.
        multi_label: whether a text can have any number of labels.
        label_separator: what stands between them where they are a string.
    """

    names: tuple[str, ...]
    text_column: str = "text"
    label_column: str = "label"
    data_dir: Path | None = None
    multi_label: bool = False
    label_separator: str = LABEL_SEPARATOR

    def read(self, part: str, labels: tuple[str, ...] | None = None, *, blank_labels: bool = False) -> LabelledTexts:
        """Read the rows.

        Args:
            part: `train` or `test`, of AG News; files are read whole.
            labels: the classes and their order; without it, those of AG News, or those that occur in the files.
            blank_labels: keep rows of files without a label.

        Raises:
            InputError: AG News and files are mixed, a folder for AG News is given with files, or several labels are
                asked of AG News.
            DataError: the rows cannot be read; see `read_files` and `ag_news`.
        """
        # Here and not above: the command line shows its help without pyarrow.
        from pocketrnn_training.ag_news_files import ag_news

        if AG_NEWS in self.names:
            if len(self.names) > 1:
                raise InputError("ag_news stands beside other data.", "Give ag_news alone, or files alone.")
            if self.multi_label:
                raise InputError("Each text of ag_news has one label.", "Leave --multi-label out.")
            return ag_news(part, self.data_dir, labels=labels)
        if self.data_dir is not None:
            raise InputError("--data-dir is for ag_news only.", "Give the files by their names.")
        return self.read_files(tuple(map(Path, self.names)), labels, blank_labels=blank_labels)

    def read_files(
        self, paths: tuple[Path, ...], labels: tuple[str, ...] | None = None, *, blank_labels: bool = False
    ) -> LabelledTexts:
        """Read other files with the same columns, such as validation rows.

        Raises:
            DataError: the rows cannot be read; see `pocketrnn_training.read_files`.
        """
        from pocketrnn_training.data import read_files

        return read_files(
            paths,
            text_column=self.text_column,
            label_column=self.label_column,
            labels=labels,
            blank_labels=blank_labels,
            multi_label=self.multi_label,
            label_separator=self.label_separator,
        )
