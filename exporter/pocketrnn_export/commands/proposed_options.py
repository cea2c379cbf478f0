"""Propose the missing options of an export: the vocabulary, labels and weights that the owner's code names, and a file
of the owner's answers."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pocketrnn.errors import InputError
from pocketrnn_export.commands.export_with_rules_from_answers import TEXTS_TO_DECIDE_BY

if TYPE_CHECKING:
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode

_OF_VOCABULARIES: Final = "json|pkl|pickle|joblib|txt|pth?|bin|vocab|tsv|gz"
_OF_LABELS: Final = "json|pkl|pickle|joblib|txt|npy"
_OF_WEIGHTS: Final = "pth?|bin|ckpt|tar|pkl|safetensors|model"
_IN_TOKENIZER_FOLDERS: Final = ("tokenizer.json", "tokenizer_config.json")
_FEWEST_WORDS: Final = 20
# An embedding may have more rows than the vocabulary has tokens, as with a largest number of words.
_MOST_ROWS_PER_WORD: Final = 4
_NAMES_TOKENIZER: Final = re.compile(r"\w*Tokenizer\w*\.from_pretrained$")
# A file with another name may hold the true labels.
_NAMES_OF_ANSWERS: Final = ("answer", "predict", "preds", "output", "result", "pairs")
_LARGEST_ANSWERS: Final = 2**24
_MOST_TOLD: Final = 3


class ProposedOption(NamedTuple):
    """An option to give, a sentence on it, and its value."""

    option: str
    sentence: str
    value: str


class FileNamedInCode(NamedTuple):
    """A file that code names, and the place in the code."""

    path: Path
    place_in_code: str


class ProposedPairs(NamedTuple):
    """A file of the owner's answers, and the number of answers."""

    file: str
    answer_count: int

    def complete(self, corrected: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the options of the next command: --pairs with this file, and those in `corrected`. If the file has
        many answers, --rules and --max-tokens are left out, and so is --tokenizer unless it calls a library: the
        answers show the text rules better than code does."""
        if self.answer_count < TEXTS_TO_DECIDE_BY:
            return {**corrected, "pairs": self.file}
        kept = {option: value for option, value in corrected.items() if option not in ("rules", "max_tokens")}
        if ":" in (tokenizer := corrected.get("tokenizer") or ""):
            del kept["tokenizer"]
            of_function = make_options_of_tokenizer_function(tokenizer)
            # It calls a library.
            kept |= of_function if "rules" in of_function else {}
        return {**kept, "pairs": self.file}


def propose_vocabulary(path: Path, weights: Path | None = None) -> FileNamedInCode | None:
    """Find the vocabulary file that the code of a module, or of the files near it, names. Return it with the place in
    the code; None if there is no such file, or there are several.

    Args:
        path: the file of the module.
        weights: its weights. A file with far fewer tokens than the embedding has rows, or with as many labels as there
            are logits, is not a vocabulary.
    """
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights
    from pocketrnn_export.vocabularies.vocabulary import LARGEST_FILE, read_vocabulary

    sizes = read_weight_sizes(weights)
    labels = _find_label_files(path, sizes)
    found: list[FileNamedInCode] = []
    for file, where in list_data_files_named_in_code(path, _OF_VOCABULARIES).items():
        with contextlib.suppress(InputError, OSError), hide_log_records():
            is_read = file.stat().st_size <= LARGEST_FILE and not holds_weights(file)
            tokens = read_vocabulary(file).tokens if is_read else ()
            is_enough = len(tokens) >= max(_FEWEST_WORDS, sizes.embedding_rows // _MOST_ROWS_PER_WORD)
            # A pickled object of text processing may hold both.
            is_enough = is_enough and not (file in labels and {*tokens} <= {*labels[file].labels})
            # The lines of a file of texts have blanks.
            if is_enough and 2 * sum(" " in token.strip() for token in tokens) < len(tokens):
                found.append(FileNamedInCode(file, where))
    return found[0] if len(found) == 1 else None


def propose_labels(path: Path | None, weights: Path | None, pairs: Path | None, *, multi_label: bool) -> ProposedOption:
    """Return a sentence on the missing labels, and what to give as --labels: labels, or a file of labels, that the code
    of a module or the files near it name. If there are several, only those are proposed that occur in the answers of
    the user's classifier.

    Args:
        path: the file of the module; None for another source.
        weights: its weights. Labels of another number than its outputs are left out.
        pairs: the file of the answers. By default, one in the working folder is looked for.
        multi_label: whether a text may have several labels.
    """
    from pocketrnn_export.source_code.labels_in_code import find_labels_in_code

    sizes = read_weight_sizes(weights)
    files = {} if path is None else _find_label_files(path, sizes)
    found = {labels.labels: (labels, str(file)) for file, labels in files.items()}
    for one in [] if path is None else find_labels_in_code(path):
        if len(one.labels) == sizes.labels or not sizes.labels:
            found.setdefault(one.labels, (one, ",".join(one.labels)))

    answered = [one for one in found if len(found) > 1 and propose_pairs(one, multi_label=multi_label, given=pairs)]
    fitting = answered or ([*found][:1] if len(files) == 1 else [*found])
    fitting = [*{"\n".join(one).casefold(): one for one in reversed(fitting)}.values()][::-1]
    if len(fitting) == 1:
        labels, value = found[fitting[0]]
        said = f"The labels seem to be {','.join(labels.labels)} ({labels.where}): check that their order is that of "
        return ProposedOption("labels", f"{said}the logits.", value)
    told = [
        f"{','.join(one[:_MOST_TOLD])}{',...' * (len(one) > _MOST_TOLD)} ({found[one][0].where})" for one in fitting
    ]
    more = [f"{len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    said = f" Your code names {' and '.join([*told[:_MOST_TOLD], *more])}." if told else ""
    said = f"The labels are a,b,c in the order of the logits, or a file. {sizes.describe_label_count()}{said}"
    return ProposedOption("labels", said, "a,b,c")


def _find_label_files(path: Path, sizes: WeightSizes) -> dict[Path, LabelsInCode]:
    """Find the files of labels that the code of a module, or of the files near it, names. Return a dict from each file
    to its labels and the place in the code. Files with another number of labels than the weights are left out."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
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


class WeightSizes(NamedTuple):
    """Sizes of a classifier, from its weights.

    Attributes:
        embedding_rows: the number of rows of the embedding; 0 if it has another name.
        last_layer: the layer that gives the logits; empty if it is not known.
        outputs: the number of its outputs.
    """

    embedding_rows: int = 0
    last_layer: str = ""
    outputs: int = 0

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
    """Read the sizes of a classifier from its weights. They are 0 if the file cannot be read."""
    if weights is None:
        return WeightSizes()
    from pocketrnn_export.intake.layers_in_weights import find_last_layer
    from pocketrnn_export.intake.weights_file import read_weights
    from pocketrnn_export.progress import hide_log_records

    with contextlib.suppress(InputError), hide_log_records():
        tensors = read_weights(weights).tensors
        rows = [len(one) for name, one in tensors.items() if one.dim() == 2 and "emb" in name.lower()]
        return WeightSizes(max(rows, default=0), *(find_last_layer(tensors) or ()))
    return WeightSizes()


def propose_tokenizer(path: Path) -> FileNamedInCode | None:
    """Find the tokenizer of subwords that the code of a module, or of the files near it, names: a tokenizer.json, a
    .model, or a folder of `save_pretrained`. Return it with the place in the code; None if there is no such file or
    folder, or there are several.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
    from pocketrnn_export.vocabularies.vocabulary import LARGEST_FILE

    found: list[FileNamedInCode] = []
    for file, where in list_data_files_named_in_code(path, "json|model", _IN_TOKENIZER_FOLDERS).items():
        with contextlib.suppress(InputError, OSError):
            if file.stat().st_size <= LARGEST_FILE and read_tokenizer(file).tokens:
                found.append(FileNamedInCode(file, where))
    return found[0] if len(found) == 1 else None


def propose_named_tokenizer(path: Path) -> ProposedOption | None:
    """Find the tokenizer of transformers that the code of a module, or of the files near it, loads by its name. Return
    a sentence on how to save it to a folder, and this folder as --tokenizer; None if there is none.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.files_near_module import list_syntax_nodes_near

    for where, node in list_syntax_nodes_near(path):
        called = _NAMES_TOKENIZER.search(ast.unparse(node.func)) if isinstance(node, ast.Call) and node.args else None
        name = getattr(node.args[0], "value", None) if called and isinstance(node, ast.Call) else None
        if called and isinstance(name, str):
            save = f'{called[0]}({name!r}).save_pretrained("tokenizer")'
            said = f"Texts seem to be split by {name} ({where}): save it, {save}."
            return ProposedOption("tokenizer", said, "tokenizer")
    return None


def propose_weights(path: Path) -> FileNamedInCode | None:
    """Find the file of weights that the code of a module, or of the files near it, names. Return it with the place in
    the code; None if there is no such file, or there are several.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    named = list_data_files_named_in_code(path, _OF_WEIGHTS)
    found = [FileNamedInCode(file, where) for file, where in named.items() if holds_weights(file)]
    return found[0] if len(found) == 1 else None


def propose_tokenizer_function(path: Path) -> str:
    """Find the function of the user's code that seems to split texts, and return it as file.py:name. Return an empty
    string if there is none. A function that only cleans texts counts if it is in the file of the module.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.text_functions_in_file import (
        is_name_of_cleaning_function,
        is_of_class_with_arguments,
        list_text_functions,
    )

    for function in list_text_functions(path)[:1]:
        file, _, name = function.rpartition(":")
        is_splitting = not is_name_of_cleaning_function(name) or Path(file) == path
        if is_splitting and not is_of_class_with_arguments(Path(file), name):
            return function
    return ""


def make_options_of_tokenizer_function(function: str) -> dict[str, str | None]:
    """Return the option --tokenizer for a function that splits texts. If it calls a library, also return --rules that
    leave the splitting to the function, since text rules cannot imitate a library.

    Args:
        function: the function, as file.py:name; empty for none.
    """
    from pocketrnn.text import EXTERNAL

    if not function:
        return {}
    library = find_library_of_tokenizer_function(function)
    return {"tokenizer": function, **({"rules": json.dumps({"tokenizer": EXTERNAL})} if library else {})}


def find_library_of_tokenizer_function(function: str) -> str:
    """Return the library by which a function, as file.py:name, splits or changes words; an empty string for none."""
    from pocketrnn_export.source_code.text_functions_in_file import find_text_library

    file, _, name = function.rpartition(":")
    return find_text_library(Path(file), name)


def describe_tokenizer_function(function: str) -> str:
    """Return a sentence on a function that seems to split texts, with the library that it calls.

    Args:
        function: the function, as file.py:name.
    """
    library = find_library_of_tokenizer_function(function)
    return f"Texts seem to be split by {function}{f', which calls {library}' if library else ''}."


def propose_pairs(labels: Sequence[str], *, multi_label: bool, given: Path | None = None) -> ProposedPairs | None:
    """Return the .csv or .jsonl file in the working folder that holds answers of the owner's classifier to texts, by
    its name and its contents. Return None if there is no such file, or there are several.

    Args:
        labels: the labels, in the order of the logits.
        multi_label: whether a text may have several labels.
        given: the only file to look at; by default, all files in the working folder.
    """
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.owner_texts_and_answers import map_answers_to_labels, read_pairs

    found: list[ProposedPairs] = []
    files = [one for one in Path().iterdir() if one.suffix in (".csv", ".jsonl")] if given is None else [given]
    for file in files:
        is_named_so = given is not None or any(name in file.stem.lower() for name in _NAMES_OF_ANSWERS)
        with contextlib.suppress(InputError, OSError), hide_log_records():
            if is_named_so and file.stat().st_size <= _LARGEST_ANSWERS:
                pairs = read_pairs(file, labels, multi_label=multi_label)
                count = len(map_answers_to_labels(pairs, labels, multi_label=multi_label))
                found += [ProposedPairs(str(file), count)] if count else []
    return found[0] if len(found) == 1 else None
