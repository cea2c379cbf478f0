"""Propose the missing options of an export: the vocabulary, labels and weights that the owner's code names, and a
file of the owner's answers; read labels that an option names in the owner's code."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from pocketrnn.errors import InputError
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.option_corrections_error import OptionCorrectionsError

if TYPE_CHECKING:
    from pocketrnn_export.source_code.activation_of_module_output import AppliedActivation
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode
    from pocketrnn_export.source_code.text_functions_in_file import TextFunction
    from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence
    from pocketrnn_export.vocabularies.owner_texts_and_answers import Answer
    from pocketrnn_export.vocabularies.vocabulary import Vocabulary

# Some of 600 rules agree with a few texts by chance.
TEXTS_TO_DECIDE_BY: Final = 20
_TO_IDS: Final = r"\w+_?(?:to|2)_?(?:idx|ids?|index)"
_OF_VOCABULARIES: Final = f"json|pkl|pickle|joblib|txt|pth?|bin|vocab|dict|words|[ct]sv|npy|vec|gz|{_TO_IDS}"
_OF_LABELS: Final = f"json|pkl|pickle|joblib|txt|npy|pth?|{_TO_IDS}"
_OF_WEIGHTS: Final = "pth?|bin|ckpt|tar|pkl|safetensors|model"
_IN_TOKENIZER_FOLDERS: Final = ("tokenizer.json", "tokenizer_config.json")
# The folder to which the user saves a tokenizer that code loads by a name.
_SAVED_TOKENIZER: Final = "tokenizer"
# The endings of files that are not looked at for a vocabulary, unless code names them.
_NOT_VOCABULARIES: Final = re.compile(
    r"(?i)\.(py[cx]?|ipynb|md|rst|html|jsonl|png|jpe?g|gif|pdf|sh|toml|cfg|ini|ya?ml|log)"
)
_LARGEST_NEAR: Final = 2**23
# Reading a file of word vectors of this size takes some seconds.
_LARGEST_VECTORS: Final = 2**28
_MOST_NEAR: Final = 60
_FEWEST_WORDS: Final = 20
# An embedding may have more rows than the vocabulary has tokens, as with a largest number of words.
_MOST_ROWS_PER_WORD: Final = 4
_NAMES_TOKENIZER: Final = re.compile(r"\w*Tokenizer\w*\.from_pretrained$")
# A file with another name may hold the true labels.
_NAMES_OF_ANSWERS: Final = ("answer", "predict", "preds", "output", "result", "pairs")
_LARGEST_ANSWERS: Final = 2**24
_MOST_TOLD: Final = 3
# Longer labels are named in the owner's code, if they have a name there.
_LONGEST_LABELS: Final = 100
_OF_TEXT_RULES: Final = ("rules", "max_tokens", "tokenizer")
# In place of a file that is not known.
UNKNOWN_FILE: Final = "FILE"
# The files of weights that are compared with the given one: reading one of this size takes a second.
_LARGEST_WEIGHTS: Final = 2**29
_MOST_WEIGHTS: Final = 6


class ProposedOption(NamedTuple):
    """An option that a message recommends.

    Attributes:
        option: the name of the option.
        sentence: a sentence that says why.
        value: the value to give.
    """

    option: str
    sentence: str
    value: str


class FileNamedInCode(NamedTuple):
    """A file that the user's code names.

    Attributes:
        path: the file.
        place_in_code: the file and line of the code that names it.
        others: other files that may be meant instead.
        alike: further files of weights with tensors of the same shapes.
        note: a sentence on the file; often empty.
    """

    path: Path
    place_in_code: str
    others: tuple[Path, ...] = ()
    alike: tuple[Path, ...] = ()
    note: str = ""

    @property
    def description(self) -> str:
        """A phrase that names the file, the place in the code and the other files. It has no full stop, so that it can
        end a sentence."""
        others = f", or else {' or '.join(map(str, self.others[:_MOST_TOLD]))}" if self.others else ""
        told = " and ".join(map(str, self.alike[:_MOST_TOLD]))
        alike = f". {told} {'has' if len(self.alike) == 1 else 'have'} tensors of the same shapes" if told else ""
        said = ": check which of them you use" if others or alike else ""
        return f"{self.path} ({self.place_in_code}){others}{alike}{said}"


class ProposedPairs(NamedTuple):
    """A file that seems to hold the answers of the user's classifier.

    Attributes:
        file: the file.
        answer_count: the number of answers in the file.
        others: other files that seem to hold answers, too.
    """

    file: str
    answer_count: int
    others: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """A sentence that names the file, and the other files."""
        others = f"; answers are also in {', '.join(self.others[:_MOST_TOLD])}" if self.others else ""
        return f"Your classifier's answers seem to be in {self.file}{others}."

    def complete(self, corrected: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the options to change in the next command: `corrected`, and --pairs with this file. If the file has
        many answers, text rules in `corrected` are left out unless the user gave them, since the answers show the
        rules."""
        context = click.get_current_context(silent=True)
        given = {} if context is None else context.params
        tokenizer = corrected.get("tokenizer") or given.get("tokenizer")
        if tokenizer or given.get("rules") or self.answer_count < TEXTS_TO_DECIDE_BY:
            return {**corrected, "pairs": self.file}
        kept = {option: value for option, value in corrected.items() if option not in _OF_TEXT_RULES}
        return {**kept, "pairs": self.file}


def propose_vocabulary(
    path: Path, weights: Path | None = None, *, may_be_unclear: bool = False
) -> FileNamedInCode | None:
    """Find the vocabulary file that the code of a module, or the code of the files near it, names. Return it with the
    place in the code. Return None if there is no such file, or if there are several.

    Args:
        path: the file of the module.
        weights: the weights of the module; None if they are not known. A file with as many words as the embedding has
            rows is preferred. A file with more words, with far fewer words, or with the labels is left out.
        may_be_unclear: whether to accept a file whose numbers may be counts of words and not ids.
    """
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.code_and_data_files_near_module import (
        Nearness,
        is_below,
        keep_nearest,
        list_data_files_named_in_code,
    )

    sizes = read_weight_sizes(weights)
    labels = _find_label_files(path, sizes)
    found: dict[FileNamedInCode, tuple[str, ...]] = {}
    without_rows: dict[Path, int] = {}

    def add_if_it_fits(file: Path, where: str, *, is_named: bool) -> None:
        with contextlib.suppress(InputError, OSError), hide_log_records():
            # Any dict with gaps would have as many words as the embedding has rows.
            evidence = make_id_evidence(weights if is_named else None, are_trusted=is_named and may_be_unclear)
            vocabulary = _read_vocabulary_near(file, weights, evidence)
            tokens, words, without_rows[file] = vocabulary.tokens, [*vocabulary.word_ids], len(vocabulary.left_out)
            # A pickled object of text processing may hold both.
            is_of_labels = file in labels and {*words} <= {*labels[file].labels}
            # The lines of a file of texts have blanks.
            is_of_texts = 2 * sum(" " in word.strip() for word in words) >= len(words)
            fits = sizes.may_have_words(len(tokens)) if is_named else len(tokens) in sizes.table_rows
            if fits and not is_of_labels and not is_of_texts:
                found[FileNamedInCode(file, where)] = tokens

    for file, where in list_data_files_named_in_code(path, _OF_VOCABULARIES).items():
        add_if_it_fits(file, where, is_named=True)
    for file in [] if found else _list_small_files_near(path):
        add_if_it_fits(file, f"a file near {path.name}, with as many words as the embedding has rows", is_named=False)
    exact = {one: tokens for one, tokens in found.items()
             if len(tokens) in sizes.table_rows and not without_rows[one.path]}  # fmt: skip
    places = {one: one.place_in_code for one in exact or found}
    best = {one: found[one] for one in keep_nearest(path, places, within=Nearness.ELSEWHERE)}
    nearest = {one: tokens for one, tokens in best.items() if is_below(one.path, path.parent)} or best
    nearest = {one: nearest[one] for one in keep_nearest(path, {one: places[one] for one in nearest})}
    others = tuple(one.path for one, tokens in best.items() if tokens not in nearest.values())
    if exact and len({*nearest.values()}) == 1:
        # The words of a module that reads characters are these, too.
        return min(nearest, key=lambda one: "char" in one.path.name.lower())._replace(others=others)
    if exact or len(nearest) != 1:
        return None
    ((one, tokens),) = nearest.items()
    one = one._replace(others=others)
    if more := without_rows[one.path]:
        return one._replace(note=f" The embedding has no row of its own for {more:,} of its words.")
    rows = f"{len(tokens):,} words, but the embedding has {sizes.embedding_rows:,} rows"
    return one._replace(note=f" It has {rows}." if sizes.embedding_rows else "")


def _read_vocabulary_near(file: Path, weights: Path | None, evidence: IdEvidence) -> Vocabulary:
    """Read a file that may be a vocabulary or, with weights, may hold word vectors. `evidence` shows whether numbers in
    it are ids. Raise an InputError for a file that is too large or holds weights."""
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights
    from pocketrnn_export.vocabularies.vocabulary import LARGEST_FILE, is_word_vector_file, read_vocabulary

    size = file.stat().st_size
    if weights is not None and size <= _LARGEST_VECTORS and is_word_vector_file(file):
        from pocketrnn_export.intake.weights_file import read_weights
        from pocketrnn_export.intake.word_vector_vocabulary import read_word_vector_vocabulary

        return read_word_vector_vocabulary(file, read_weights(weights))
    largest = _LARGEST_NEAR if file.suffix.lower() in (".csv", ".tsv") else LARGEST_FILE
    if size > largest or holds_weights(file):
        raise InputError(
            f"{file} is not a vocabulary: it is too large, or holds weights.", "Give a file of the vocabulary."
        )
    return read_vocabulary(file, evidence)


def _list_small_files_near(path: Path) -> list[Path]:
    """List the first small files in and below the working folder and the folder of `path` that may be vocabularies.
    Code, tables and documents are left out."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_near

    named = [
        one for one in list_data_files_near(path) if not _NOT_VOCABULARIES.fullmatch(one.suffix) and one.name[0] != "."
    ]
    return [one for one in named if one.stat().st_size <= _LARGEST_NEAR][:_MOST_NEAR]


def propose_labels(path: Path | None, weights: Path | None, pairs: Path | None, *, multi_label: bool) -> ProposedOption:
    """Propose a value for the missing option --labels, with a sentence that says where it comes from. The value is the
    labels, or a file of labels, that the code of a module or of the files near it names. If the code names several, the
    answers of the user's classifier decide. If nothing is found, the value is a placeholder.

    Args:
        path: the file of the module; None if the module has no file of code.
        weights: the weights of the module. Lists with another number of labels than the module has outputs are left
            out.
        pairs: the file of the user's answers; None to look for one in the working folder.
        multi_label: whether a text may have several labels.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import Nearness, keep_nearest
    from pocketrnn_export.source_code.label_choices_in_code import BY_PREDICTION
    from pocketrnn_export.source_code.labels_in_code import find_labels_in_code, find_name_of_labels, join_first_labels
    from pocketrnn_export.vocabularies.labels import write_labels

    sizes = read_weight_sizes(weights)
    files = {} if path is None else _find_label_files(path, sizes)
    answers = _list_answer_files(pairs, path)
    in_answers = _find_labels_of_answers(answers, sizes, multi_label=multi_label)
    if in_answers is not None and not any({*one.labels} == {*in_answers.labels} for one in files.values()):
        ordered = _propose_order_in_code(path, in_answers, sizes, multi_label=multi_label)
        if ordered is not None:
            return ordered
    found = {labels.labels: (labels, str(file)) for file, labels in files.items()}
    if not found and path is not None and (one := _find_labels_with_empty_last_one(path, sizes)) is not None:
        found[one.labels] = one, write_labels(one.labels)
    # Notebooks often repeat what the Python files say, or are older.
    for in_notebooks in (False, True):
        is_read = path is not None and not (in_notebooks and found)
        for one in find_labels_in_code(path, in_notebooks=in_notebooks) if path is not None and is_read else ():
            if len(one.labels) == sizes.labels or not sizes.labels:
                found.setdefault(one.labels, (one, write_labels(one.labels)))

    fitting = [one for one in found if any(_answers_fit_order(file, one, multi_label=multi_label) for file in answers)]
    if in_answers is not None and not fitting:
        named, first = write_labels(in_answers.labels), join_first_labels(in_answers.labels)
        open_order = "" if in_answers.labels[0] == "0" else ", but neither your code nor this file shows their order"
        said = f"The labels seem to be {first}, those in {in_answers.where}{open_order}. A comparison with its answers"
        return ProposedOption("labels", f"{said}, by --pairs, shows whether this is the order of the logits.", named)
    if path is not None:
        # A file of labels is as near as the code that names it.
        near = {one: found[one][0].where.removeprefix(f"{found[one][1]}, ") for one in fitting or found}
        near = keep_nearest(path, near, within=Nearness.ELSEWHERE)
        near = {one: near[one] for one in {"\n".join(one).casefold(): one for one in reversed(near)}.values()}
        by_prediction = [one for one in near if found[one][0].evidence == BY_PREDICTION]
        of_file = [one.labels for one in files.values() if len(files) == 1 and one.labels in near and not fitting]
        chosen = of_file or (by_prediction if len(by_prediction) == 1 else keep_nearest(path, near))
        fitting = [one for one in found if one in chosen]
    if len(fitting) == 1:
        labels, value = found[fitting[0]]
        if path is not None and len(value) > _LONGEST_LABELS:
            value = find_name_of_labels(path, labels.labels) or value
        file = next(
            (one for one in answers if _answers_fit_order(one, labels.labels, multi_label=multi_label)),
            None,
        )
        said = f"The labels seem to be {labels.description}. {_describe_order_check(labels.labels, file, sizes)}"
        return ProposedOption("labels", said, value)
    told = [
        f"{','.join(one[:_MOST_TOLD])}{',...' * (len(one) > _MOST_TOLD)} ({found[one][0].where})" for one in fitting
    ]
    more = [f"{len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    said = f" Your code names {' and '.join([*told[:_MOST_TOLD], *more])}." if told else ""
    unknown = make_placeholder_labels(sizes.labels or 3)
    first = join_first_labels(unknown.split(","))
    said = f"The labels are {first} in the order of the logits, or a file. {sizes.describe_label_count()}{said}"
    return ProposedOption("labels", said, unknown)


def make_placeholder_labels(count: int) -> str:
    """Return placeholders for `count` labels that are not known, `LABEL0,LABEL1`, for a command to complete.
    `read_labels` refuses them."""
    return ",".join(f"LABEL{number}" for number in range(count))


def _propose_order_in_code(
    path: Path | None, in_answers: LabelsInCode, sizes: WeightSizes, *, multi_label: bool
) -> ProposedOption | None:
    """Propose the labels that occur in the user's answers as --labels, in the order that the code of a module or of the
    files near it shows. Return None if the code shows no order, if the answers contradict it, or if the labels are
    numbers."""
    from pocketrnn_export.source_code.labels_in_code import find_order_of_known_labels
    from pocketrnn_export.vocabularies.labels import write_labels

    if path is None or all(one.isdecimal() for one in in_answers.labels):
        return None
    file = Path(in_answers.where)
    orders = [
        one
        for one in find_order_of_known_labels(path, in_answers.labels, sizes.outputs)
        if _answers_fit_order(file, one.labels, multi_label=multi_label)
    ]
    if not orders:
        return None
    told = [one.description for one in orders[:_MOST_TOLD]]
    said = f"The labels seem to be {', or else '.join(told)}, those in {in_answers.where}."
    shows = _describe_order_check(orders[0].labels, file, sizes)
    return ProposedOption("labels", f"{said} {shows}", write_labels(orders[0].labels))


def _describe_order_check(labels: Sequence[str], answers: Path | None, sizes: WeightSizes) -> str:
    """Return a sentence that tells the user how to check the order of the proposed labels: by the file `answers` of the
    user's answers, or, without it, by the meaning of the module's outputs."""
    if answers is not None:
        return f"--pairs {answers} checks their order."
    if sizes.outputs == 1:
        return f"Check that a high number of the module means {labels[1]}."
    return "Check that their order is that of the logits."


def _find_label_files(path: Path, sizes: WeightSizes) -> dict[Path, LabelsInCode]:
    """Find the files of labels that the code of a module, or of the files near it, names. Return a dict from each file
    to its labels and the place in the code. Files with another number of labels than the weights have are left out."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode
    from pocketrnn_export.vocabularies.labels import read_labels
    from pocketrnn_export.vocabularies.vocabulary import LARGEST_FILE

    found: dict[Path, LabelsInCode] = {}
    for file, where in list_data_files_named_in_code(path, _OF_LABELS).items() if sizes.labels else ():
        with contextlib.suppress(InputError, OSError), hide_log_records():
            labels = read_labels(str(file)) if file.stat().st_size <= LARGEST_FILE else []
            # A file of the labels of rows has most of them several times.
            if len({*labels}) == len(labels) == sizes.labels:
                found[file] = LabelsInCode(f"{file}, {where}", tuple(labels))
    return found


def _find_labels_with_empty_last_one(path: Path, sizes: WeightSizes) -> LabelsInCode | None:
    """Find the labels in a text file that has one label fewer than the module has outputs, because the code near the
    module splits the file's text at line breaks and so gets an empty label at the end. Give the empty label a name.
    Return None if there is no such file."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_syntax_nodes_near
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode

    split = re.compile(r"\.read\(\)\.split\('\\n'\)|\.read_text\([^()]*\)\.split\('\\n'\)")
    files = _find_label_files(path, sizes._replace(outputs=sizes.labels - 1)) if sizes.outputs > 2 else {}
    places = [where for where, node in list_syntax_nodes_near(path)
              if isinstance(node, ast.Call) and split.search(ast.unparse(node))] if files else []  # fmt: skip
    for file, one in files.items() if places else ():
        if file.suffix != ".json" and file.read_bytes().endswith(b"\n") and not any("," in name for name in one.labels):
            name = next(name for name in ("none", "unnamed", "") if name not in one.labels)
            said = (
                f"{one.where}; the weights have {sizes.outputs} outputs: split('\\n') ({places[0]}) gives an empty "
                f"label after line {len(one.labels)}, the last one of the file, which is {name} here"
            )
            return LabelsInCode(said, (*one.labels, name))
    return None


def _find_labels_of_answers(answers: Iterable[Path], sizes: WeightSizes, *, multi_label: bool) -> LabelsInCode | None:
    """Return the labels that occur in the user's answers, with the file of the answers. There must be as many as the
    module has labels; if they are numbers of classes, missing ones are added. Return None if there are no such labels,
    or if several files have different labels."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode
    from pocketrnn_export.vocabularies.owner_texts_and_answers import list_labels_of_answers

    found: dict[tuple[str, ...], Path] = {}
    for file in answers:
        with contextlib.suppress(InputError, OSError), hide_log_records():
            labels = list_labels_of_answers(file, multi_label=multi_label)
            if labels and all(one.isdecimal() for one in labels):
                labels += map(str, range(len(labels), sizes.labels))
            if len(labels) > 1 and len(labels) == (sizes.labels or len(labels)):
                found.setdefault(tuple(labels), file)
    return LabelsInCode(str(next(iter(found.values()))), next(iter(found))) if len(found) == 1 else None


class WeightSizes(NamedTuple):
    """Sizes of a classifier, from its weights.

    Attributes:
        embedding_rows: the number of rows of the embedding; 0 if the embedding is not found by its name.
        table_rows: the numbers of rows of all matrices without a bias. One of these may be the embedding.
        last_layer: the layer that gives the logits; empty if it is not known.
        outputs: the number of outputs of the last layer; 0 if it is not known.
    """

    embedding_rows: int = 0
    table_rows: frozenset[int] = frozenset()
    last_layer: str = ""
    outputs: int = 0

    def may_have_words(self, count: int) -> bool:
        """Return whether a vocabulary may have so many words: not many more or fewer than the embedding has rows."""
        fewest = max(_FEWEST_WORDS, self.embedding_rows // _MOST_ROWS_PER_WORD)
        return count in self.table_rows or fewest <= count <= (self.embedding_rows or count)

    @property
    def labels(self) -> int:
        """The number of labels; 0 if it is not known. A module with one output has two labels."""
        return max(2, self.outputs) if self.outputs else 0

    def describe_label_count(self) -> str:
        """Return a sentence for a message that says how many labels the last layer of the weights needs."""
        if self.outputs > 1:
            return f"The last layer of the weights, {self.last_layer}, has {self.outputs} outputs: give as many labels."
        has_one = f"The last layer of the weights, {self.last_layer}, has one output" if self.outputs else ""
        return f"{has_one or 'For a module with one number a text'}: two labels, and the number is the second label's."


def read_weight_sizes(weights: Path | None) -> WeightSizes:
    """Read the sizes of a classifier from a file of weights. All sizes are 0 or empty if the file is None or cannot be
    read."""
    if weights is None:
        return WeightSizes()
    from pocketrnn_export.intake.layers_in_weights import find_last_layer
    from pocketrnn_export.intake.weights_file import read_weights
    from pocketrnn_export.progress import hide_log_records

    with contextlib.suppress(InputError), hide_log_records():
        tensors = read_weights(weights).tensors
        layer, outputs = find_last_layer(tensors) or ("", 0)
        tables = {
            name: len(one) for name, one in tensors.items()
            if one.dim() == 2 and name.endswith("weight") and name.removesuffix("weight") + "bias" not in tensors
            and name != f"{layer}.weight"
        }  # fmt: skip
        named = [len(one) for name, one in tensors.items() if one.dim() == 2 and "emb" in name.lower()]
        rows = max(named or (tables.values() if len(tables) == 1 else ()), default=0)
        return WeightSizes(rows, frozenset(tables.values()), layer, outputs)
    return WeightSizes()


def make_id_evidence(weights: Path | None, *, are_trusted: bool = False) -> IdEvidence:
    """Make the evidence on whether the numbers beside words are ids, from the embedding in a file of weights. The file
    is read only when the number of rows is needed.

    Args:
        weights: the file; None if it is not known.
        are_trusted: whether the user's answers will show that numbers are ids.
    """
    from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence

    return IdEvidence(functools.cache(lambda: read_weight_sizes(weights).embedding_rows), are_trusted=are_trusted)


def propose_tokenizer(path: Path) -> FileNamedInCode | None:
    """Find the subword tokenizer that the code of a module, or of the files near it, names: a tokenizer.json, a
    sentencepiece .model, or a folder of `save_pretrained`. Return it with the place in the code. Return None if there
    is none, or if there are several. `path` is the file of the module."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import (
        keep_nearest,
        list_data_files_named_in_code,
    )
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
    from pocketrnn_export.vocabularies.vocabulary import LARGEST_FILE

    found: list[FileNamedInCode] = []

    def add_if_it_is_read(file: Path, where: str) -> None:
        with contextlib.suppress(InputError, OSError):
            if file.stat().st_size <= LARGEST_FILE and read_tokenizer(file).tokens:
                found.append(FileNamedInCode(file, where))

    for file, where in list_data_files_named_in_code(path, "json|model", _IN_TOKENIZER_FOLDERS).items():
        add_if_it_is_read(file, where)
    # An earlier proposal may have said to save it there.
    is_saved = any(Path(_SAVED_TOKENIZER, name).is_file() for name in _IN_TOKENIZER_FOLDERS)
    if is_saved and not found and (loaded := _find_tokenizer_loaded_by_name(path)) is not None:
        add_if_it_is_read(Path(_SAVED_TOKENIZER), f"{loaded[2]}, loads {loaded[1]}")
    nearest = [*keep_nearest(path, {one: one.place_in_code for one in found})]
    return nearest[0] if len(nearest) == 1 else None


def propose_to_save_transformers_tokenizer(path: Path) -> ProposedOption | None:
    """Find the tokenizer of transformers that the code of a module, or of the files near it, loads by a name such as
    "bert-base-uncased". Return a sentence that tells how to save it to a folder, with this folder as --tokenizer.
    Return None if there is none. `path` is the file of the module."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import is_place_in_code_of_another_module
    from pocketrnn_export.source_code.script_that_saves_vocabulary import find_code_that_makes_vocabulary

    found = _find_tokenizer_loaded_by_name(path)
    if found is None:
        return None
    called, name, where = found
    if is_place_in_code_of_another_module(where) and find_code_that_makes_vocabulary(path):
        return None
    save = f'{called}({name!r}).save_pretrained("{_SAVED_TOKENIZER}")'
    said = f"Texts seem to be split by {name} ({where}): save it, {save}."
    return ProposedOption("tokenizer", said, _SAVED_TOKENIZER)


def _find_tokenizer_loaded_by_name(path: Path) -> tuple[str, str, str] | None:
    """Find the first call by which the code of a module, or of the files near it, loads a tokenizer of transformers.
    Return the called method, the name that it loads, and the place of the call. Return None if there is none."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_syntax_nodes_near

    for where, node in list_syntax_nodes_near(path):
        called = _NAMES_TOKENIZER.search(ast.unparse(node.func)) if isinstance(node, ast.Call) and node.args else None
        name = getattr(node.args[0], "value", None) if called and isinstance(node, ast.Call) else None
        if called and isinstance(name, str):
            return called[0], name, where
    return None


def find_activation_after_module(named: ModuleName | None, options: Mapping[str, Any]) -> AppliedActivation | None:
    """Find the code that answers texts and applies a softmax or sigmoid to the output of a module that ends with one
    itself. Return None if there is no such code, or if --gives says what the module gives.

    Args:
        named: the file and the name of the module.
        options: the options of `export`.
    """
    from pocketrnn_export.source_code.activation_of_module_output import find_activation_applied_to_output

    if named is None or options["gives"] is not None or options["head"]:
        return None
    path, name = _find_class_that_function_makes(named.path, named.name)
    return find_activation_applied_to_output(path, name)


def propose_to_take_output_for_logits(
    named: ModuleName | None, options: Mapping[str, Any], labels: str | None
) -> list[str]:
    """Return a list with a sentence that proposes --gives logits, if the code that answers texts applies a softmax or
    sigmoid to probabilities of the module. Return an empty list if there is no such code, or if probabilities in the
    user's answers are too near 0 or 1 for it.

    Args:
        named: the file and the name of the module.
        options: the options of `export`.
        labels: the value of --labels, given or proposed.
    """
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.answer_distances import are_within_reach, find_reach_of_probabilities_as_logits

    found = find_activation_after_module(named, options)
    if found is None or named is None:
        return []
    with contextlib.suppress(InputError), hide_log_records():
        known = read_labels(str(labels))
        _, answers = read_answers_in_near_folders(known, named.path)
        reach = find_reach_of_probabilities_as_logits(len(known), multi_label=bool(options["multi_label"]))
        if not are_within_reach([answer for _, answer in answers], reach):
            return []
    return [found.sentence]


def propose_weights(path: Path, name: str = "") -> FileNamedInCode | None:
    """Find the file of weights of a module. Return it with the place in the code that names it, and with other files
    that may be meant. Return None if there is no such file.

    Files that the code of the module, or of the files near it, names and that have the module's layers come first, then
    files near the module with its layers, then files beside it that may have them. Among several, the file is chosen
    that the code for answering texts loads, or that code saves last.

    Args:
        path: the file of the module.
        name: the class of the module; by default, any class of the file.
    """
    from pocketrnn_export.source_code.answering_code import list_files_that_answering_code_loads
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    path, name = _find_class_that_function_makes(path, name)
    named = list_data_files_named_in_code(path, _OF_WEIGHTS)
    found = [FileNamedInCode(file, where) for file, where in named.items() if holds_weights(file)]
    # Other modules have other layers.
    names = _list_classes_of_module(path, name)
    fitting = [one for one in found if list_classes_that_fit(path, names, one.path)]
    if not fitting:
        near = [one for one in list_weight_files_near(path) if list_classes_that_fit(path, names, one)]
        only = f"{'the only' if len(near) == 1 else 'a'} file near {path.name} with the layers of its module"
        fitting = [FileNamedInCode(one, only) for one in near]
    found = fitting or [one for one in found if _may_weights_fit_module(path, name, one.path)]
    for group in list_files_that_answering_code_loads(path, [one.path for one in found]) if len(found) > 1 else ():
        if group:
            found = [FileNamedInCode(file, where) for file, where in group.items()]
            break
    if not found:
        beside = [one for one in _list_weight_files_in_folder(path.parent) if _may_weights_fit_module(path, name, one)]
        only = "the only file" if len(beside) == 1 else "a file"
        found = [FileNamedInCode(one, f"{only} of weights beside {path.name}") for one in beside]
    if not found:
        return None
    others = tuple(one.path for one in found[1:])
    alike = tuple(one for one in list_weights_of_same_shapes(path, found[0].path) if one not in others)
    return found[0]._replace(others=others, alike=alike)


def _find_class_that_function_makes(path: Path, name: str) -> tuple[Path, str]:
    """Return the file and name of the module class that a function of a file makes, if that class is near the file. If
    `name` is a class itself, or makes no such class, return `path` and `name`."""
    from pocketrnn_export.source_code.answering_code import find_first_module_that_function_instantiates
    from pocketrnn_export.source_code.class_definitions import find_class_in_file_or_imports, list_module_classes_near

    if not name or find_class_in_file_or_imports(path, name) is not None:
        return path, name
    made = find_first_module_that_function_instantiates(path, name, list_module_classes_near(path))
    file, _, of_class = ("", "", "") if made is None else made[0].rpartition(":")
    return (Path(file), of_class) if of_class else (path, name)


def _list_classes_of_module(path: Path, name: str) -> list[str]:
    """Return a list with `name` if this is a class of a file. Otherwise, return the names of all module classes of the
    file."""
    from pocketrnn_export.source_code.class_definitions import find_class_in_file_or_imports, list_module_classes

    return [name] if find_class_in_file_or_imports(path, name) is not None else list_module_classes(path)


def _may_weights_fit_module(path: Path, name: str, weights: Path) -> bool:
    """Return whether weights may be those of a module: their layers do not contradict its code, and do not fit another
    class near it better."""
    is_misfit = _describe_why_weights_fit_no_class(path, _list_classes_of_module(path, name), weights)
    return not is_misfit and propose_class_of_weights(path, name, weights) is None


def describe_weights_that_do_not_fit(path: Path, name: str) -> tuple[str, dict[str, str | None]]:
    """Return a sentence on files of weights near a module that cannot be its own, and the options to change in the next
    command: the other module that fits one of these files, or --weights with a placeholder. Return an empty string and
    an empty dict if there are no such files.

    Args:
        path: the file of the module.
        name: the name of the module in the file.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    files = [one for one in list_data_files_named_in_code(path, _OF_WEIGHTS) if holds_weights(one)]
    files = [*dict.fromkeys((*files, *list_weight_files_near(path), *_list_weight_files_in_folder(path.parent)))]
    misfits = {
        file: _describe_why_weights_fit_no_class(path, _list_classes_of_module(path, name), file) for file in files
    }
    for file, why in misfits.items():
        if other := propose_class_of_weights(path, name, file):
            reason = f": {why}" if why else ""
            said = f"{file} fits {other}, and not {name}{reason}. For {name}, give its own file as --weights."
            said += describe_module_of_other_file(path, other)
            return said, {"source": other, "weights": str(file)}
    told = [f"{file}: {why}" for file, why in misfits.items() if why][:_MOST_TOLD]
    said = f"None of the files of weights that were found fits {name} ({'; '.join(told)})."
    return (said, {"weights": UNKNOWN_FILE}) if told else ("", {})


def describe_module_of_other_file(path: Path, module: str) -> str:
    """Return a sentence that says that the next command takes a module of another file than the one that the user
    names. Return an empty string if the module is in the named file. The sentence begins with a blank.

    Args:
        path: the file of code that the user names.
        module: the module that is taken, as file.py:name.
    """
    from pocketrnn_export.source_code.class_definitions import has_recurrent_layer_by_names, list_module_classes

    if Path(module.rpartition(":")[0]).resolve() == path.resolve():
        return ""
    has_own = any(has_recurrent_layer_by_names(path, name) for name in list_module_classes(path))
    none = "" if has_own else f"{path} has no recurrent classifier: "
    return f" {none}{'The' if has_own else 'the'} line to copy takes {module}, of another file."


def list_classes_that_fit(path: Path, names: Sequence[str], weights: Path) -> list[str]:
    """List the classes among `names` whose code fits a file of weights: the same layers, of the same kinds and sizes.
    `weights` is the file of weights."""
    from pocketrnn_export.source_code.class_definitions import list_classes_that_fit_weight_names
    from pocketrnn_export.vocabularies.checkpoint_file import list_weight_names

    layers = list_weight_names(weights)
    found = list_classes_that_fit_weight_names(path, names, layers) if layers else []
    misfits = _list_reasons_against_classes(path, found, weights)
    return [name for name, why in zip(found, misfits, strict=True) if not why]


def _describe_why_weights_fit_no_class(path: Path, names: Sequence[str], weights: Path) -> str:
    """Return why weights cannot be those of any class among `names`, as the end of a sentence. It is the reason for the
    first class. Return an empty string if they may be those of some class. `weights` is the file of weights."""
    misfits = _list_reasons_against_classes(path, names, weights)
    return misfits[0] if misfits and all(misfits) else ""


def _list_reasons_against_classes(path: Path, names: Sequence[str], weights: Path) -> list[str]:
    """Return for each class why weights cannot be its own, as the end of a sentence. An empty string says that they may
    be, or that this is not known. `weights` is the file of weights."""
    if not names:
        return []
    from pocketrnn_export.intake.arguments_from_weights import describe_misfit
    from pocketrnn_export.intake.weights_file import read_weights
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.class_definitions import find_class_in_file_or_imports

    found = [find_class_in_file_or_imports(path, name) for name in names]
    with contextlib.suppress(InputError), hide_log_records():
        tensors = read_weights(weights).tensors
        return ["" if one is None else describe_misfit(one[1], tensors) for one in found]
    return [""] * len(names)


def propose_class_of_weights(path: Path, name: str, weights: Path) -> str | None:
    """Return the class in or near a module's file, as file.py:name, whose layers are those of the weights. Return None
    if the module `name` has these layers itself, or if there is no such class.

    Args:
        path: the file of the module.
        name: the name of the module in the file.
        weights: the file of weights.
    """
    from pocketrnn_export.source_code.class_definitions import list_module_classes, list_module_classes_near

    # A class from which others inherit is not listed.
    own = [f"{path}:{one}" for one in (name, *list_module_classes(path))]
    fitting = list_modules_that_fit([*own, *list_module_classes_near(path)], [weights], path.parent)
    return None if not fitting or f"{path}:{name}" in fitting else fitting[0]


def list_modules_that_fit(modules: Sequence[str], weights: Iterable[Path], folder: Path) -> list[str]:
    """List the modules, each as file.py:name, that fit the same file of weights: the first file that a recurrent module
    fits, or else the first file that any module fits. Modules in notebooks of `folder` are added. Recurrent modules
    come first.

    Args:
        modules: the modules in Python files.
        weights: the files of weights, the likeliest first.
        folder: the folder of the notebooks.
    """
    from pocketrnn_export.source_code.class_definitions import has_recurrent_layer_by_names, list_module_classes
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_notebooks_near

    named = [(Path(file), name) for file, _, name in (one.rpartition(":") for one in dict.fromkeys(modules))]
    books = [one for one in list_notebooks_near(folder / "*") if one.resolve().is_relative_to(folder.resolve())]
    named += [(file, name) for file in books for name in list_module_classes(file)]
    first: list[str] = []
    for one in weights:
        nearest = sorted(named, key=lambda found: found[0].resolve().parent != one.resolve().parent)
        fitting = [found for found in nearest if list_classes_that_fit(found[0], [found[1]], one)]
        recurrent = [found for found in fitting if has_recurrent_layer_by_names(*found)]
        ordered = [f"{file}:{name}" for file, name in dict.fromkeys([*recurrent, *fitting])]
        if recurrent:
            return ordered
        first = first or ordered
    return first


def list_weight_files_near(path: Path) -> list[Path]:
    """List the files in and below the working folder and the folder of `path` whose contents are weights. Among names
    that differ by a number, the highest number comes first. Large files are left out."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_near
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights, may_be_weights_file

    found: list[Path] = []
    for one in sorted(list_data_files_near(path), key=_get_sort_key_with_highest_number_first):
        # Only few of many data files are read whole.
        with contextlib.suppress(OSError):
            if len(found) < _MOST_WEIGHTS and one.stat().st_size <= _LARGEST_WEIGHTS and may_be_weights_file(one):
                found += [one] * holds_weights(one)
    return found


def _get_sort_key_with_highest_number_first(file: Path) -> tuple[str, list[int]]:
    """Return a key that sorts files by their folders and names, but files whose names differ only by a number from the
    highest number down."""
    return re.sub(r"\d+", "0", str(file)), [-int(one[:18]) for one in re.findall(r"\d+", file.name)]


def _list_weight_files_in_folder(folder: Path) -> list[Path]:
    """List the files of weights in a folder whose suffix is a usual one, such as .pt, or a number."""
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    usual = re.compile(rf"\.({_OF_WEIGHTS}|\D*\d+)")
    files = [one for one in folder.iterdir() if usual.fullmatch(one.suffix) and one.is_file()]
    return [one for one in sorted(files, key=_get_sort_key_with_highest_number_first) if holds_weights(one)]


def list_weights_of_same_shapes(module_file: Path, weights: Path) -> list[Path]:
    """List the files of other weights with the names and shapes of the tensors in `weights`: those that the code of a
    module, or of the files near it, names, and those beside `weights`. Large files are left out.

    Args:
        module_file: the file of the module.
        weights: the file of weights.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    near = [*_list_weight_files_in_folder(weights.parent), *list_data_files_named_in_code(module_file, _OF_WEIGHTS)]
    unique = {one.resolve(): one for one in near if one.is_file()}
    unique.pop(weights.resolve(), None)
    few = [one for one in unique.values() if one.stat().st_size <= _LARGEST_WEIGHTS and holds_weights(one)]
    if not few:
        return []
    from pocketrnn_export.intake.weights_file import list_files_of_same_shapes
    from pocketrnn_export.progress import hide_log_records

    with hide_log_records():
        return list_files_of_same_shapes(weights, few[:_MOST_WEIGHTS])


def propose_tokenizer_function(path: Path) -> TextFunction | None:
    """Return the function of the user's code that seems to split texts: one in the file of a module or near it that
    answers or splits texts, or one that only cleans texts, in that file or for a column of a table. Return None if
    there is none. `path` is the file of the module."""
    from pocketrnn_export.source_code.text_column_code_as_function import is_applied_to_text_column
    from pocketrnn_export.source_code.text_functions_in_file import (
        is_method_of_object_that_cannot_be_made,
        list_text_functions,
        only_cleans_texts,
    )

    for function in list_text_functions(path)[:1]:
        is_splitting = function.file == path or not only_cleans_texts(function.file, function.name)
        is_splitting = is_splitting or is_applied_to_text_column(path, function.name)
        if is_splitting and not is_method_of_object_that_cannot_be_made(function.file, function.name):
            return function
    return None


def make_options_of_tokenizer_function(function: str) -> dict[str, str | None]:
    """Return the option --tokenizer for a function that splits texts. If it calls a library, also return --rules that
    leave the splitting to the function, since text rules cannot imitate a library. `function` is the function, as
    file.py:name."""
    from pocketrnn.text import EXTERNAL

    library = find_library_of_tokenizer_function(function)
    return {"tokenizer": function, **({"rules": json.dumps({"tokenizer": EXTERNAL})} if library else {})}


def complete_rules_beside_tokenizer_function(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the options to change in the running command, with --rules that leave the splitting to the function of
    --tokenizer if this function calls a library. Widths in --rules are kept. If --rules already states how texts are
    split, return `changes` unchanged. `changes` are the options that the command changes."""
    from pocketrnn_export.vocabularies.candidate_text_rules import SPLITTING_MEMBERS
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members

    given = click.get_current_context().params
    tokenizer, rules = (changes.get(one, given.get(one)) for one in ("tokenizer", "rules"))
    members: Mapping[str, object] = {}
    with contextlib.suppress(InputError):
        members = list_given_rule_members(rules)
        if ":" in (tokenizer or "") and not any(one in members for one in SPLITTING_MEMBERS):
            options = make_options_of_tokenizer_function(str(tokenizer))
            if options.get("rules"):
                return {**changes, "rules": json.dumps({**json.loads(str(options["rules"])), **members})}
    return dict(changes)


def find_library_of_tokenizer_function(function: str) -> str:
    """Return the name of the library, such as nltk, by which a function file.py:name splits or changes words. Return an
    empty string if it uses none."""
    from pocketrnn_export.source_code.text_functions_in_file import find_text_library

    named = parse_module_name(function)
    return "" if named is None else find_text_library(named.path, named.function_name)


def describe_tokenizer_function(function: TextFunction) -> str:
    """Return a sentence that names the function which seems to split texts, the library that it calls, and the place
    where the user's code calls it with more arguments than a text."""
    library = find_library_of_tokenizer_function(function.option)
    called = function.called
    said = f"Texts seem to be split by {function.option}{f', which calls {library}' if library else ''}"
    said += (
        " in code of another module: check that yours splits them so."
        if function.is_place_in_code_of_another_module
        else "."
    )
    if called is None:
        return said
    values = "calls it" if function.code else "calls it with these values"
    return f"{said} {called.place}, {values}; its argument {function.text} is the text."


def propose_pairs(labels: Sequence[str], path: Path | None, *, multi_label: bool) -> ProposedPairs | None:
    """Return the .csv or .jsonl file in the working folder, or in the folder of the module, that seems to hold answers
    of the user's classifier, by its name and contents. Return None if there is none.

    If there are several, the first by its name is taken, and first those whose name begins with a word such as
    `answers`: `classify -o mine-answers.csv` writes the bundle's own answers in the same columns.

    Args:
        labels: the labels, in the order of the logits; empty if they are not known.
        path: the file of the module; None for another source.
        multi_label: whether a text may have several labels.
    """
    from pocketrnn_export.progress import hide_log_records

    found: list[ProposedPairs] = []
    for file in _list_answer_files(None, path):
        with contextlib.suppress(InputError, OSError), hide_log_records():
            try:
                number = _count_answers(file, labels, multi_label=multi_label)
            except OptionCorrectionsError as error:
                if (order := error.changes.get("labels")) is None:
                    raise
                number = _count_answers(file, read_labels(order), multi_label=multi_label)
            found += [ProposedPairs(str(file), number)] if number else []
    found.sort(key=lambda one: not Path(one.file).name.lower().startswith(_NAMES_OF_ANSWERS))
    return found[0]._replace(others=tuple(one.file for one in found[1:])) if found else None


def propose_pairs_of_command(changes: Mapping[str, str | None]) -> ProposedPairs | None:
    """Return the file that seems to hold answers of the user's classifier, for the running `export` with changed
    options. Return None if there is none, if --pairs is given or changed, or if the module takes two texts or numbers,
    has several heads, or labels tokens. `changes` are the options that the command changes."""
    from pocketrnn_export.progress import hide_log_records

    given: dict[str, Any] = {**click.get_current_context().params, **changes}
    others = ("pairs", "two_texts", "head", "channels")
    if "pairs" in changes or "pairs" not in given or any(given.get(one) for one in others):
        return None
    if given["labels_of"] == "tokens":
        return None
    known: list[str] = []
    with contextlib.suppress(InputError), hide_log_records():
        known = [] if given["labels"] is None else read_labels(given["labels"])
    with contextlib.suppress(InputError):
        named = parse_module_name(given["source"] or "")
        return propose_pairs(known, None if named is None else named.path, multi_label=bool(given["multi_label"]))
    return None


def read_answers_in_near_folders(labels: Sequence[str], path: Path | None) -> tuple[str, list[tuple[str, Answer]]]:
    """Read the answers of the user's classifier from a file in the working folder or in the folder of the module.
    Return the file, and pairs (text, answer), with an answer as labels or as a dict from labels to probabilities.
    Return an empty string and list if there is no such file, or if its answers do not name labels.

    Args:
        labels: the labels, perhaps in another order than that of the logits.
        path: the file of the module; None for another source.
    """
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.label_order_in_pairs import read_pairs_in_label_order
    from pocketrnn_export.vocabularies.owner_texts_and_answers import (
        list_labels_of_answers,
        map_answers_to_labels,
        read_pairs,
    )

    found = propose_pairs(labels, path, multi_label=False)
    with contextlib.suppress(InputError, OSError), hide_log_records():
        # Numbers of classes have the order that they are given.
        if found is not None and {*labels} & {*list_labels_of_answers(Path(found.file))}:
            try:
                pairs = read_pairs_in_label_order(Path(found.file), labels)
            except OptionCorrectionsError as error:
                labels = read_labels(str(error.changes["labels"]))
                pairs = read_pairs(Path(found.file), labels)
            return found.file, [(one.text, answer) for one, answer in map_answers_to_labels(pairs, labels)]
    return "", []


def describe_label_order(path: Path | None, labels: Sequence[str], weights: Path | None) -> str:
    """Return a warning, as a sentence without its full stop, if the user's code does not show the order of the labels
    in --labels. Return an empty string if the code shows this order.

    Args:
        path: the file of the module; None for another source.
        weights: the weights of the module.
    """
    from pocketrnn_export.source_code.labels_in_code import find_order_of_known_labels

    orders = [] if path is None else find_order_of_known_labels(path, labels, read_weight_sizes(weights).outputs)
    given = ",".join(labels)
    if not orders:
        return f"Labels, not compared: their order, {given}, is taken from --labels alone"
    if any(one.labels == tuple(labels) for one in orders):
        return ""
    shown = f"{','.join(orders[0].labels)} ({orders[0].where})"
    return f"Labels, not compared: their order in --labels is {given}, but your code seems to have {shown}"


def list_labels_of_pairs(file: Path, *, multi_label: bool) -> list[str] | None:
    """List the labels that occur in a file of answers; an empty list if they are not clear. Return None if the file
    cannot be read."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.owner_texts_and_answers import list_labels_of_answers, read_pairs

    with hide_log_records():
        try:
            read_pairs(file)
        except (InputError, OSError):
            return None
        with contextlib.suppress(InputError):
            return list_labels_of_answers(file, multi_label=multi_label)
    return []


def _count_answers(file: Path, labels: Sequence[str], *, multi_label: bool) -> int:
    """Return the number of texts in a file that have an answer. Without labels, return the number of all texts in the
    file.

    Raises:
        InputError: the file cannot be read, or contradicts the labels; `OptionCorrectionsError` gives another order.
    """
    from pocketrnn_export.vocabularies.label_order_in_pairs import read_pairs_in_label_order
    from pocketrnn_export.vocabularies.owner_texts_and_answers import map_answers_to_labels

    pairs = read_pairs_in_label_order(file, labels, multi_label=multi_label)
    return len(map_answers_to_labels(pairs, labels, multi_label=multi_label) if labels else pairs)


def _answers_fit_order(file: Path, labels: Sequence[str], *, multi_label: bool) -> bool:
    """Return whether a file has answers, and none of them contradicts the order of `labels`."""
    from pocketrnn_export.progress import hide_log_records

    with contextlib.suppress(InputError, OSError), hide_log_records():
        return _count_answers(file, labels, multi_label=multi_label) > 0
    return False


def _list_answer_files(given: Path | None, path: Path | None) -> list[Path]:
    """List the .csv and .jsonl files in the folder of `path`, in the working folder and at the top of its project whose
    names suggest answers of a classifier. If `given` is not None, list only this file. Large files are left out."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_search_folders

    folders = [Path()] if path is None else list_search_folders(path)
    folders = [one for i, one in enumerate(folders) if one.resolve() not in [each.resolve() for each in folders[:i]]]
    folders.sort(key=lambda one: path is not None and one.resolve() != path.parent.resolve())
    named = [
        one
        for folder in folders
        for one in sorted(folder.iterdir())
        if one.suffix in (".csv", ".jsonl") and any(name in one.stem.lower() for name in _NAMES_OF_ANSWERS)
    ]
    files = named if given is None else [given]
    return [one for one in files if one.is_file() and one.stat().st_size <= _LARGEST_ANSWERS]


def read_labels(given: str, head: str = "") -> list[str]:
    """Read the labels that `--labels` names: `a,b,c`, a file of labels, or `file.py:NAME` for a list in code.

    Args:
        given: the value of `--labels`.
        head: the name of the module's head that these labels belong to; empty for a module with one set of labels.

    Raises:
        InputError: the labels cannot be read, or they are still the placeholders of a proposed command.
    """
    from pocketrnn_export.source_code.labels_in_code import read_labels_of_variable_in_file
    from pocketrnn_export.vocabularies.labels import read_labels as read_plain_labels

    if given == make_placeholder_labels(given.count(",") + 1):
        raise InputError(
            f"The value of --labels, {given}, is only a placeholder from a proposed command.",
            "Write your own labels in its place, in the order of the logits.",
        )
    named = parse_module_name(given) if "," not in given else None
    return read_plain_labels(given, head) if named is None else read_labels_of_variable_in_file(named.path, named.name)
