"""Where the labelled rows of a run come from.

They are files of texts, sequences of numbers or tagged sentences; or AG News.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.errors import InputError, require_module
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.pair_settings import PairSettings
from pocketrnn_training.settings.sequence_reading_options import NOTHING_SAID, OF_NUMBERS, SequenceOptions
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.settings.text_settings import TextSettings

if TYPE_CHECKING:
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn_training.rows.labelled_rows import LabelledRows
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts
    from pocketrnn_training.rows.tagged_sentences import TaggedSentences

__all__ = ["AG_NEWS", "LABELS_OF", "DataSource"]

# The items that have labels: whole texts, or each of their words.
LABELS_OF: Final = ("texts", "tokens")

AG_NEWS: Final = "ag_news"
# The options of the training rows that later rows are read with, too, with their types: those of all rows, and those of
# steps.
_REMEMBERED: Final[dict[str, type]] = {
    **dict.fromkeys(("text_column", "second_text_column", "label_column", "label_separator", "labels_of"), str),
    "join_labels": bool,
}
_OF_STEPS: Final[dict[str, type]] = dict.fromkeys(("sequence_column", "time_column"), str)


@dataclass(frozen=True)
class DataSource:
    """The rows that a user names, and the options for reading them.

    Attributes:
        names: files of one data set, or `ag_news` alone.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        data_dir: the folder with the files of AG News; without it they are downloaded.
        multi_label: whether a text can have any number of labels.
        label_separator: the separator between the labels of a text, if they are a string.
        numbers: the options of sequences of numbers.
        encoding: the encoding of files of text, by its name in Python in lower case.
        outside: the label of rows that belong to none of the classes; None if there are no such rows.
        join_labels: whether labels that differ only in case or spaces count as one label.
        drop_unlabelled: whether rows without a label are left out.
        labels_of: `texts` if each text has a label, `tokens` if each word of a text has one.
        second_text_column: the name of the column that holds the second texts, for rows that are pairs of texts; None
            for rows of one text.
        said: the names of the options that the user gave; `add_remembered_options` does not replace their values.
    """

    names: tuple[str, ...]
    text_column: str = "text"
    label_column: str = "label"
    data_dir: Path | None = None
    multi_label: bool = False
    label_separator: str = LABEL_SEPARATOR
    numbers: SequenceOptions = NOTHING_SAID
    encoding: str = UTF8
    outside: str | None = None
    join_labels: bool = False
    drop_unlabelled: bool = False
    said: frozenset[str] = frozenset()
    labels_of: str = LABELS_OF[0]
    second_text_column: str | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether each word of a row has its own label, as in training data for taggers."""
        return self.labels_of == "tokens"

    @property
    def columns(self) -> dict[str, Any]:
        """The options that a checkpoint stores to read later rows: {"text_column": "body"}. Defaults are left out."""
        own = {name: getattr(self, name) for name in _REMEMBERED if getattr(self, name) != getattr(type(self), name)}
        return own | {name: value for name in _OF_STEPS if (value := getattr(self.numbers, name)) is not None}

    def add_remembered_options(self, remembered: Mapping[str, Any]) -> DataSource:
        """Return the source with the reading options of a classifier's training rows, unless the user gave others.

        Args:
            remembered: the options that the classifier stores, by name (`columns`); unknown names are ignored.
        """
        known: dict[str, Any] = {
            name: value
            for name, value in remembered.items()
            if name not in self.said and type(value) is (_REMEMBERED | _OF_STEPS).get(name)
        }
        steps: dict[str, Any] = {name: known[name] for name in _OF_STEPS if name in known}
        rows: dict[str, Any] = {name: known[name] for name in _REMEMBERED if name in known}
        return replace(self, numbers=replace(self.numbers, **steps), **rows)

    @property
    def has_number_rows(self) -> bool:
        """Whether the rows are sequences of numbers: channels are named, or all files end in `.ts` or `.npz`.

        Raises:
            InputError: only some of the files hold numbers; or the files hold texts, but an option is for numbers.
        """
        by_ending = [Path(name).suffix.lower() in OF_NUMBERS for name in self.names]
        if self.numbers.channels is not None or all(by_ending):
            return True
        if any(by_ending):
            other = self.names[by_ending.index(False)]
            raise InputError(
                f"{self.names[by_ending.index(True)]} holds sequences of numbers, but {other} may hold texts.",
                f"If {other} holds sequences of numbers, too, name the columns of its channels: --channels ax,ay,az. "
                "Otherwise leave out one of the two files.",
            )
        for option in _list_given_options(self.numbers):
            raise InputError(
                f"{option} is for sequences of numbers, but the data holds texts.",
                f"Leave out {option}; or, if the files hold sequences of numbers, name the columns of the channels: "
                "--channels ax,ay,az.",
            )
        return False

    @property
    def settings(self) -> type[TextSettings] | type[NumberSettings] | type[TagSettings]:
        """The class of the training settings for rows of this kind, such as `TextSettings`.

        Raises:
            InputError: some files hold numbers and others texts; or an option is given that does not apply to this kind
                of rows, such as a column of second texts to AG News.
        """
        if self.of_tokens:
            self._refuse_options_not_for_tags()
            return TagSettings
        if self.second_text_column is not None:
            self._refuse_second_texts_of_other_rows()
            return PairSettings
        return NumberSettings if self.has_number_rows else TextSettings

    def check_files(self, validation: Iterable[Path] = (), unlabelled: Iterable[Path] = ()) -> None:
        """Check that the files can be opened and that files of texts have the columns. Only their beginnings are read.

        Args:
            validation: further files with the same columns.
            unlabelled: further files, which need no column of labels.

        Raises:
            DataError: a file is missing, of another kind or in another encoding; a column is missing.
            InputError: some files hold numbers and others texts; or an option is given that does not apply to this kind
                of rows, such as an encoding to AG News.
            MissingExtraError: pyarrow is not installed.
        """
        require_module("pyarrow", "train")
        from pocketrnn_training.rows.table_files import COLUMN_REMEDY, open_as_utf8, read_columns
        from pocketrnn_training.rows.text_files import SECOND_COLUMN_REMEDY

        if self.of_tokens:
            self._refuse_options_not_for_tags()
            for path in (*map(Path, self.names), *validation):
                with open_as_utf8(path):
                    pass
            return
        both: tuple[str, ...]
        both, text, remedy = (self.text_column, self.label_column), (self.text_column,), COLUMN_REMEDY
        if self.second_text_column is not None:
            self._refuse_second_texts_of_other_rows()
            both, remedy = (self.text_column, self.second_text_column, self.label_column), SECOND_COLUMN_REMEDY
        named = () if AG_NEWS in self.names else tuple(map(Path, self.names))
        self._refuse_text_file_options_for_other_rows()
        if self.has_number_rows:
            for path in (*named, *validation):
                with open_as_utf8(path):
                    pass
            return
        for columns, paths in ((both, (*named, *validation)), (text, unlabelled)):
            for path in paths:
                next(read_columns(path, columns, remedy, self.encoding), None)

    def _refuse_second_texts_of_other_rows(self) -> None:
        """Raise an InputError if a column of second texts is given, but the rows are AG News or sequences of
        numbers."""
        if AG_NEWS in self.names or self.has_number_rows:
            what = "ag_news" if AG_NEWS in self.names else "sequences of numbers"
            raise InputError(
                f"--second-text-column is for pairs of texts, but DATA is {what}.", "Leave out --second-text-column."
            )

    def _refuse_options_not_for_tags(self) -> None:
        """Raise an InputError if an option is given that does not apply to sentences with a label for each word."""
        own = ("names", "labels_of", "encoding", "said", "numbers")
        for option in (*_list_given_options(self, own), *_list_given_options(self.numbers)):
            raise InputError(
                f"{option} cannot be used with --labels-of tokens, where each word has a label.",
                f"Leave out {option} or --labels-of.",
            )
        if AG_NEWS in self.names:
            raise InputError(
                "--labels-of tokens needs a label for each word, but the words of ag_news have no labels.",
                "Give files in which each word has a label, or leave out --labels-of.",
            )

    def read_tags(self, paths: tuple[Path, ...], labels: tuple[str, ...] | None = None) -> TaggedSentences:
        """Read files of sentences with a label for each word.

        Args:
            paths: the files, in CoNLL-U or with a word and its label on each line.
            labels: the labels and their order; None for the labels that occur, sorted.

        Raises:
            DataError: a file cannot be read, a line is not a word with a label, or a label is not one of `labels`.
            InputError: the user gave an option that does not apply to such rows, such as a text column.
        """
        from pocketrnn_training.rows.conll_files import read_tagged

        self._refuse_options_not_for_tags()
        return read_tagged(paths, labels, encoding=self.encoding)

    def _refuse_text_file_options_for_other_rows(self) -> None:
        """Raise an InputError if an option for files of texts is given, such as an encoding, but the rows are AG News
        or sequences of numbers."""
        for option, value, default in (
            ("--encoding", self.encoding, UTF8),
            ("--outside", self.outside, None),
            ("--join-labels", self.join_labels, False),
            ("--drop-unlabelled", self.drop_unlabelled, False),
        ):
            if value != default and (self.has_number_rows or AG_NEWS in self.names):
                what = "sequences of numbers" if self.has_number_rows else "ag_news"
                raise InputError(
                    f"{option} is for your own files of texts, but DATA is {what}.", f"Leave out {option}."
                )

    def read_numbers(
        self, paths: tuple[Path, ...], labels: tuple[str, ...] | None = None, rules: NumberInput | None = None
    ) -> LabelledSequences:
        """Read files of sequences of numbers.

        Args:
            paths: the files.
            labels: the classes and their order; without it, the labels that occur.
            rules: the channels, the windows and the other number rules of the classifier that will get the rows; None
                to use the user's options alone.

        Raises:
            DataError: a file cannot be read, or a label is not one of `labels`.
            InputError: an option is for texts, or contradicts `rules`.
        """
        from pocketrnn_training.rows.sequence_files import read_sequences

        if self.multi_label or self.data_dir is not None:
            said = "--multi-label" if self.multi_label else "--data-dir"
            raise InputError(f"{said} is for texts, but DATA holds sequences of numbers.", f"Leave out {said}.")
        options = self.numbers
        if rules is not None:
            options = options.of_classifier(rules)
        return read_sequences(paths, options, label_column=self.label_column, labels=labels)

    def read(self) -> LabelledTexts | LabelledSequences | TaggedSentences:
        """Read the training rows of the kind that the files hold.

        Raises:
            InputError: an option does not apply to the kind of rows.
            DataError: a file or a row cannot be read.
        """
        if self.of_tokens:
            return self.read_tags(tuple(map(Path, self.names)))
        return self.read_numbers(tuple(map(Path, self.names))) if self.has_number_rows else self.read_texts("train")

    def read_more(
        self, paths: tuple[Path, ...], data: LabelledRows
    ) -> LabelledTexts | LabelledSequences | TaggedSentences:
        """Read other files, such as validation files, with the reading options and the labels of the rows `data`.

        Raises:
            DataError: a file cannot be read, or a label is not one of `data.labels`.
        """
        from pocketrnn_training.rows.labelled_sequences import LabelledSequences

        if isinstance(data, LabelledSequences):
            return self.read_numbers(paths, data.labels, data.rules)
        if self.of_tokens:
            return self.read_tags(paths, data.labels)
        return self.read_files(paths, data.labels)

    def read_texts(
        self, ag_news_part: str, labels: tuple[str, ...] | None = None, *, blank_labels: bool = False
    ) -> LabelledTexts:
        """Read the labelled texts of the files that the user names, or of a part of AG News.

        Args:
            ag_news_part: the part of AG News to read, `train` or `test`; not used for files.
            labels: the classes and their order; without it, those of AG News, or the labels that occur in the files.
            blank_labels: whether to keep the rows of files that have no label; otherwise such a row is an error.

        Raises:
            InputError: AG News and files are mixed, `data_dir` is given with files, or `multi_label` with AG News.
            DataError: a file cannot be read or downloaded, or a row has no text or no label.
        """
        # Imported here: the command line shows its help without pyarrow.
        from pocketrnn_training.rows.ag_news_files import ag_news

        if AG_NEWS in self.names:
            if len(self.names) > 1:
                raise InputError(
                    "DATA names ag_news together with other data, but only one of the two can be read.",
                    "Give only ag_news, or only files.",
                )
            if self.multi_label:
                raise InputError(
                    "--multi-label is for texts with any number of labels, but each text of ag_news has one.",
                    "Leave out --multi-label.",
                )
            return ag_news(ag_news_part, self.data_dir, labels=labels)
        if self.data_dir is not None:
            raise InputError(
                "--data-dir is for ag_news only, but DATA names files.",
                "Leave out --data-dir, and give the whole paths of the files.",
            )
        return self.read_files(tuple(map(Path, self.names)), labels, blank_labels=blank_labels)

    def read_files(
        self, paths: tuple[Path, ...], labels: tuple[str, ...] | None = None, *, blank_labels: bool = False
    ) -> LabelledTexts:
        """Read files of texts, or of pairs if the user names a column of second texts, with the user's reading options.

        Args:
            paths: the files.
            labels: the classes and their order; None for the labels that occur, sorted.
            blank_labels: whether to keep rows without a label; otherwise such a row is an error.

        Raises:
            DataError: a file cannot be read, a row has no text or no label, or a label is not one of `labels`.
        """
        from pocketrnn_training.rows.text_files import read_files, read_pairs

        second = self.second_text_column
        reader = read_files if second is None else partial(read_pairs, second_text_column=second)
        return reader(
            paths,
            text_column=self.text_column,
            label_column=self.label_column,
            labels=labels,
            blank_labels=blank_labels,
            multi_label=self.multi_label,
            label_separator=self.label_separator,
            encoding=self.encoding,
            outside=self.outside,
            join_labels=self.join_labels,
            drop_unlabelled=self.drop_unlabelled and not blank_labels,
        )


def _list_given_options(options: DataSource | SequenceOptions, left_out: tuple[str, ...] = ()) -> list[str]:
    """List the command-line options whose values differ from their defaults, such as `--text-column`.

    Args:
        options: the values of the options.
        left_out: the names of attributes of `options` that are not listed.
    """
    given = (one.name for one in fields(options) if getattr(options, one.name) != one.default)
    return [f"--{name.replace('_', '-')}" for name in given if name not in left_out]
