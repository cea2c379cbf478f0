"""Propose the missing options of an export: the vocabulary, labels and weights that the owner's code names."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketrnn.errors import InputError

if TYPE_CHECKING:
    from pocketrnn_export.source_code.labels_in_code import LabelsInCode

_OF_VOCABULARIES: Final = "json|pkl|pickle|txt|pth?|bin|vocab|tsv"
_OF_WEIGHTS: Final = "pth?|bin|ckpt|tar|pkl|safetensors|model"
_LARGEST_VOCABULARY: Final = 64 * 2**20
_FEWEST_WORDS: Final = 20
_MOST_TOLD: Final = 3


def propose_vocabulary(path: Path) -> tuple[Path, str] | None:
    """Find the vocabulary file that the code of a module, or of the files near it, names. Return it with the place in
    the code; None if there is no such file, or there are several.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.progress import filter_exporter_log
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    found: list[tuple[Path, str]] = []
    for file, where in list_data_files_named_in_code(path, _OF_VOCABULARIES).items():
        with contextlib.suppress(InputError, OSError), filter_exporter_log(lambda _: False):
            is_read = file.stat().st_size <= _LARGEST_VOCABULARY and not holds_weights(file)
            if is_read and len(read_vocabulary(file).tokens) >= _FEWEST_WORDS:
                found.append((file, where))
    return found[0] if len(found) == 1 else None


def propose_weights(path: Path) -> tuple[Path, str] | None:
    """Find the file of weights that the code of a module, or of the files near it, names. Return it with the place in
    the code; None if there is no such file, or there are several.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.checkpoint_file import holds_weights

    named = list_data_files_named_in_code(path, _OF_WEIGHTS)
    found = [(file, where) for file, where in named.items() if holds_weights(file)]
    return found[0] if len(found) == 1 else None


def propose_tokenizer(path: Path) -> str:
    """Return, as file.py:name, the function that seems to split texts: one that answers them, in the file of a module
    or near it, or one that splits them in that file. Return an empty string if there is none.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.text_function_check import list_text_functions, names_answering_function

    for function in list_text_functions(path)[:1]:
        file, _, name = function.rpartition(":")
        if names_answering_function(name) or Path(file) == path:
            return function
    return ""


def describe_labels(found: Sequence[LabelsInCode]) -> str:
    """Return a sentence with the labels that code names, those to take first.

    Args:
        found: at least one.
    """
    first, *others = [f"{','.join(one.labels)} ({one.where})" for one in found[:_MOST_TOLD]]
    also = f" It also names {' and '.join(others)}." if others else ""
    return f"The labels seem to be {first}: check that their order is that of the logits.{also}"
