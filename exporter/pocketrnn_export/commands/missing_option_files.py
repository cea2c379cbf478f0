"""Correct options that name a missing file, if the file that is meant is known: one of the same or a similar name, or
the one that the owner's code names."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.names_from_paths import find_near_file
from pocketrnn.errors import find_similar_name, short_repr
from pocketrnn_export.commands.collected_refusals import CollectedRefusals
from pocketrnn_export.commands.proposed_options import (
    UNKNOWN_FILE,
    describe_tokenizer_function,
    propose_pairs,
    propose_weights,
)
from pocketrnn_export.intake.file_existence_check import find_kind_of_text
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.source_code.code_and_data_files_near_module import is_written_by_export
from pocketrnn_export.vocabularies.checkpoint_file import holds_weights, may_be_weights_file

_OF_WEIGHTS: Final = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_OF_VOCABULARIES: Final = (".txt", ".json", ".pt", ".pth", ".pkl")
# The endings of files that an option may name.
_ENDINGS: Final = {
    "weights": _OF_WEIGHTS,
    "vocabulary": _OF_VOCABULARIES,
    "labels": (".json", ".txt", ".npy", ".pkl", ".pt"),
    "pairs": (".csv", ".jsonl", ".tsv"),
    "texts": (".txt", ".csv"),
    "characters": _OF_VOCABULARIES,
}
_CODE: Final = (".py", ".ipynb")
# The tokenizers that --tokenizer names without a file.
TOKENIZERS: Final = ("basic_english", "whitespace", "characters", "external")


def correct_missing_files(named: ModuleName | None, options: dict[str, Any], refusals: CollectedRefusals) -> None:
    """Collect a refusal for each option that names a missing file, if it is known which file the user means. Put this
    file into the options, so that one run finds errors in the other options, too.

    Args:
        named: the file and the name of the module; None if SOURCE is of another form.
        options: the options of `export`, which are changed.
        refusals: collects the refusals.
    """
    _correct_file_without_weights(named, options, refusals)
    for option, endings in _ENDINGS.items():
        if (given := options[option]) is not None and _is_missing_file(option, str(given)):
            path = Path(given)
            found = find_near_file(path, (*endings, path.suffix.lower()))
            said = f"Did you mean {found}?"
            if found is None:
                said, found = _find_file_in_folder_or_code(option, path, named, options)
            if found is not None:
                value = found if isinstance(given, Path) else str(found)
                _replace_option_and_collect_refusal(option, f"{given} is not a file.", said, value, options, refusals)
    tokenizer = options["tokenizer"] or ""
    file, colon, name = tokenizer.rpartition(":")
    if colon and Path(file).suffix in _CODE and not Path(file).exists() and (near := find_near_file(Path(file), _CODE)):
        said = f"Did you mean {near}?"
        _replace_option_and_collect_refusal(
            "tokenizer", f"{file} is not a file.", said, f"{near}:{name}", options, refusals
        )
    _correct_unknown_tokenizer_name(named, options, refusals)
    if refusals:
        # The module is not loaded, which would tell its name.
        refusals.collect(lambda: refuse_name_similar_to_defined_one(named, "source", options["source"]))


def _correct_unknown_tokenizer_name(
    named: ModuleName | None, options: dict[str, Any], refusals: CollectedRefusals
) -> None:
    """Collect a refusal for a --tokenizer that is neither a known name nor a file. Set --tokenizer to what the user may
    mean: a function of this name in the user's code, a tokenizer or function with a similar name, or the function that
    seems to split texts."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near
    from pocketrnn_export.source_code.text_functions_in_file import list_functions_of_text, list_text_functions

    given = options["tokenizer"]
    if given is None or given in TOKENIZERS or parse_module_name(given) is not None or Path(given).exists():
        return
    problem = f"{short_repr(given, 60)} is neither the name of a tokenizer nor a file."
    functions = [] if named is None else list_text_functions(named.path)
    named_so = [] if named is None else [f"{one}:{given}" for one in list_files_near(named.path)
                                         if given in list_functions_of_text(one)]  # fmt: skip
    known = {one: one for one in TOKENIZERS} | {one.name: one.option for one in functions}
    begun = [one for one in known if one.startswith(given.lower())]
    near = "".join(named_so[:1]) or known.get(find_similar_name(given, known) or "".join(begun[:1]))
    names = f"Use one of {', '.join(TOKENIZERS)}, or give the path of a tokenizer.json."
    if near is not None:
        _replace_option_and_collect_refusal("tokenizer", problem, f"Did you mean {near}?", near, options, refusals)
    elif functions:
        said = f"{names} {describe_tokenizer_function(functions[0])}"
        _replace_option_and_collect_refusal("tokenizer", problem, said, functions[0].option, options, refusals)
    else:
        _replace_option_and_collect_refusal("tokenizer", problem, names, UNKNOWN_FILE, options, refusals)
        options["tokenizer"] = None


def refuse_name_similar_to_defined_one(named: ModuleName | None, option: str, value: str) -> None:
    """Refuse the value of an option if its file does not define the name in it, but a class or function with a similar
    name. No code is run.

    Args:
        named: the file and the name in the value; None if the value has another form.
        option: the name of the option.
        value: the value of the option.

    Raises:
        OptionCorrectionsError: the name is not defined. The error proposes the value with the similar name.
    """
    from pocketrnn_export.source_code.notebook import read_python_cells
    from pocketrnn_export.source_code.top_level_statements import list_top_level_statements

    if named is None or not named.path.is_file():
        return
    statements = list_top_level_statements(read_python_cells(named.path))
    near = find_similar_name(named.name, [name for one in statements if (name := getattr(one.node, "name", ""))])
    if near and not any(named.name in one.binds for one in statements):
        right = value.replace(f":{named.name}", f":{near}", 1)
        raise OptionCorrectionsError(
            f"{named.path} does not define {named.name}.", f"Did you mean {near}?", {option: right}
        )


def _correct_file_without_weights(
    named: ModuleName | None, options: dict[str, Any], refusals: CollectedRefusals
) -> None:
    """Collect a refusal for --weights with a text or another file without tensors, if the right file is known, and put
    that file into the options."""
    given = options["weights"]
    if given is None or named is None or not given.is_file() or holds_weights(given):
        return
    kind = find_kind_of_text(given)
    if (kind or not may_be_weights_file(given)) and (found := propose_weights(named.path, named.name)) is not None:
        problem = f"{given} is {kind}, and holds no weights." if kind else f"{given} holds no weights."
        said = f"The weights seem to be {found.description}."
        _replace_option_and_collect_refusal("weights", problem, said, found.path, options, refusals)


def correct_missing_source(source: str) -> None:
    """Raise an error for a SOURCE whose file is missing, if the file that the user means is known.

    Raises:
        OptionCorrectionsError: the file is missing. The error proposes a SOURCE with a similar name.
    """
    cut = max(source.find(f"{end}:") + len(end) for end in _CODE) if any(f"{end}:" in source for end in _CODE) else None
    file, rest = Path(source[:cut]), "" if cut is None else source[cut:]
    with contextlib.suppress(OSError, ValueError):
        near = (
            None
            if file.exists()
            else find_near_file(file, (*_CODE, file.suffix.lower())) or _find_code_file_whose_name_begins_so(file)
        )
        if near is not None:
            problem = f"{file} does not exist." if cut is None else f"{file} is not a file."
            raise OptionCorrectionsError(problem, f"Did you mean {near}?", {"source": f"{near}{rest}"})


def _find_code_file_whose_name_begins_so(file: Path) -> Path | None:
    """Return the only file of code in the folder of a missing file whose name begins like the missing one: nlp_texts.py
    for nlp.py. Return None if there is none, or if there are several."""
    names = [one for one in file.parent.glob(f"*{file.suffix}") if re.match(rf"{re.escape(file.stem)}[\W_]", one.stem)]
    found = [one for one in names if file.suffix in _CODE and one.is_file() and not is_written_by_export(one)]
    return found[0] if len(found) == 1 else None


def _is_missing_file(option: str, value: str) -> bool:
    """Return whether the value of an option names a file that is missing, or a folder in its place."""
    try:
        path = Path(value)
        if option == "labels" and ("," in value or not path.suffix or ".py:" in value or ".ipynb:" in value):
            return False
        # Another message says how to run the script that makes it.
        is_made_by_script = option == "vocabulary" and is_written_by_export(path.with_suffix(".py"))
        is_made_by_script = is_made_by_script and not path.with_suffix(".json").is_file()
        return not path.is_file() and not is_made_by_script and not (option == "vocabulary" and path.is_dir())
    except (OSError, ValueError):
        return False


def _find_file_in_folder_or_code(
    option: str, path: Path, named: ModuleName | None, options: dict[str, Any]
) -> tuple[str, Path | None]:
    """Find the file that an option means although its value is a folder or a missing file. Return a tuple (sentence
    that says so, file). For --weights, the file is the only file of weights in the folder, or the one that the user's
    code shows; for --pairs, a file of answers. Return an empty string and None if no file is found."""
    if option == "weights" and path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.is_file() and holds_weights(one))
        if len(inside) == 1:
            return f"It is a folder: did you mean {inside[0]}?", inside[0]
    if option == "weights" and named is not None and (weights := propose_weights(named.path)) is not None:
        return f"The weights seem to be {weights.description}.", weights.path
    code = None if named is None else named.path
    if option == "pairs" and (pairs := propose_pairs([], code, multi_label=options["multi_label"])) is not None:
        return pairs.sentence, Path(pairs.file)
    return "", None


def _replace_option_and_collect_refusal(
    option: str, problem: str, said: str, value: Path | str, options: dict[str, Any], refusals: CollectedRefusals
) -> None:
    """Set an option to `value`, and collect an error with the sentences `problem` and `said` that proposes this
    value."""

    def refuse() -> None:
        raise OptionCorrectionsError(problem, said, {option: str(value)})

    refusals.collect(refuse)
    options[option] = value
