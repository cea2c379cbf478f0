"""Collect all refusals of a command's options, and show them together with the corrected command."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from pocketrnn.bundle.atomic_writing import check_output_file, check_output_folder, write_whole_file
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, read_manifest
from pocketrnn.bundle.names_from_paths import make_classifier_name
from pocketrnn.bundle.packed_file import is_packed_file, map_file, read_packed_document
from pocketrnn.commands.suggested_command import format_command_with_changes
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import ExportError, InputError, OutputError, PocketRNNError
from pocketrnn_export.commands.proposed_options import (
    complete_rules_beside_tokenizer_function,
    propose_pairs_of_command,
)
from pocketrnn_export.option_corrections_error import MissingOptionsError, OptionCorrectionsError

_Made = TypeVar("_Made")
_MOST_FILES: Final = 20
# How deep below the working folder files with the same name are looked for.
_DEEPEST: Final = 3
# The member of a bundle's provenance for the SOURCE of its export.
SOURCE: Final = "source"
# The key in a click context's `meta` for the command as it was typed, and as it runs with completed options.
_COMMANDS: Final = "pocketrnn.commands"


class CollectedRefusals:
    """Collects the errors of an export's options, so that the user sees all of them at once.

    Args:
        output: the bundle's folder. Text rules that are too long for a message are written to a file beside it.

    Attributes:
        output: the bundle's folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._found: list[PocketRNNError] = []
        self._proposed: list[str] = []
        self._proposed_changes: dict[str, str | None] = {}

    def __bool__(self) -> bool:
        """Return whether an error was collected."""
        return bool(self._found)

    @property
    def are_final(self) -> bool:
        """Whether an error is already known to remain whatever the module is, so that the module need not be loaded:
        the numbers of the vocabulary cannot be ids."""
        from pocketrnn_export.vocabularies.vocabulary import UnclearIdsError

        return any(isinstance(one, UnclearIdsError) for one in self._found)

    @property
    def changes(self) -> dict[str, str | None]:
        """The options to give or to change so that no collected error remains: a dict from the name of an option to its
        value. The value None means to leave the option out."""
        corrected = [one.changes for one in self._found if isinstance(one, OptionCorrectionsError)]
        return {option: value for one in (*corrected, self._proposed_changes) for option, value in one.items()}

    def propose(self, sentences: Sequence[str], changes: Mapping[str, str | None]) -> None:
        """Add recommended options that no error asks for to the message of the errors: a sentence for each, and the
        options with their values."""
        self._proposed += sentences
        self._proposed_changes |= changes

    def collect(self, make: Callable[[], _Made]) -> _Made | None:
        """Call a function, and return its result. If the function raises an error, keep the error and return None."""
        try:
            return make()
        except PocketRNNError as error:
            # A file may be read twice.
            if str(error) not in map(str, self._found):
                self._found.append(error)
        return None

    def raise_collected(self) -> None:
        """Raise one error that contains all collected errors. Do nothing if there are none.

        Raises:
            InputError: several errors were collected, or a single one that is not an ExportError.
            ExportError: only this error was collected.
        """
        if not self._found:
            return
        changes, line = self.changes, ""
        for error in self._found:
            if isinstance(error, OptionCorrectionsError) and error.nearest:
                near = _write_rules_to_file(self.output, error.nearest)
                line += f" The nearest rules are in {near}." if near else ""
        line += write_line_to_copy(changes) if changes else ""
        if len(self._found) == 1:
            (error,) = self._found
            kind = ExportError if isinstance(error, ExportError) else InputError
            more = "".join(f" {one}" for one in self._proposed)
            corrected = kind(error.problem, f"{error.remedy}{more}{line}")
            corrected.of_lines, corrected.heading = error.of_lines, error.heading
            raise corrected from None
        said = [f"({number}) {_escape_lines(error)}" for number, error in enumerate(self._found, 1)]
        lines = "\n".join([*said, *map(escape_line, self._proposed), line.strip()]).rstrip()
        # Each problem begins on a line of its own.
        all_of_them = InputError(f"There are {len(said)} problems.", f"\n{lines}")
        all_of_them.of_lines = True
        if all(isinstance(one, MissingOptionsError) for one in self._found):
            all_of_them.heading = MissingOptionsError.heading
        raise all_of_them from None


def remember_command() -> None:
    """Remember the running command with its present options, so that no message proposes the same command again."""
    click.get_current_context().meta.setdefault(_COMMANDS, set()).add(format_command_with_changes({}))


def write_line_to_copy(changes: Mapping[str, str | None]) -> str:
    """Return " Write: " and the running command with changed options, as the end of a message. Return an empty string
    if this is the command that was just refused. If a file near the module seems to have answers of the user's
    classifier, the command also has --pairs with this file, and a sentence says so.

    Args:
        changes: a dict from the names of the options to change to their values. The value None means to leave the
            option out.
    """
    # As it runs after its options were completed.
    remember_command()
    if write_command_to_copy(changes) in click.get_current_context().meta[_COMMANDS]:
        return ""
    pairs, said = propose_pairs_of_command(changes), ""
    if pairs is not None:
        said, changes = f" {pairs.sentence} --pairs compares the bundle with them.", pairs.complete(changes)
    return f"{said} Write: {write_command_to_copy(changes)}"


def write_command_to_copy(changes: Mapping[str, str | None]) -> str:
    """Return the running `export` command with changed options. All other options that the user gave are kept. The
    command has --force if it replaces an earlier bundle of the same module, but never because another file is in the
    way.

    Args:
        changes: a dict from the names of the options to change to their values. The value None means to leave the
            option out.
    """
    parameters = {**click.get_current_context().params, **changes}
    output = _find_output_for_options(parameters)
    changes = move_long_rules_to_file(output, complete_rules_beside_tokenizer_function(changes))
    changes = {option: value for option, value in changes.items() if option != "force"}
    is_packed = parameters.get("profile") == "packed"
    is_replaced = _is_bundle(output, is_packed=is_packed)
    is_replaced = is_replaced and not find_other_module_of_output(output, str(parameters.get("source") or ""))
    return format_command_with_changes(changes | ({"force": "given"} if is_replaced else {}))


def _find_output_for_options(parameters: Mapping[str, Any]) -> Path:
    """Return the path of the output for a command with these options. It is the running --output if the user gave it,
    or else the default for the SOURCE in `parameters`."""
    is_given = click.get_current_context().get_parameter_source("output") is ParameterSource.COMMANDLINE
    if is_given or not parameters.get("source"):
        return Path(parameters.get("output") or "")
    return choose_default_output(str(parameters["source"]), parameters.get("profile"))


def set_default_output_of_source(source: str) -> Path:
    """Set --output to the default for a SOURCE, unless the user gave --output. Return the output. `source` is the
    SOURCE of the export, after its module was added."""
    parameters = click.get_current_context().params
    parameters["output"] = _find_output_for_options({**parameters, "source": source})
    return Path(parameters["output"])


def choose_default_output(source: str, profile: str | None) -> Path:
    """Return the output of an export without --output: a folder or file in the current folder, named like the SOURCE,
    such as `model.bundle` for model.py:Net. If other files with this name define modules, the name of the folder comes
    before it, as in `rnn_model.bundle`. A name under which another module was exported is not returned.

    Args:
        source: the SOURCE.
        profile: the value of --profile.
    """
    path, module = _split_source(source)
    # A name that a shell takes without quotes.
    names = [re.sub(r"[^\w.+-]+", "_", one) for one in _list_names_of_output(path, module)]
    end = ".prnn" if profile == "packed" else ".bundle"
    outputs = [Path(f"{one or 'classifier'}{end}") for one in names]
    outputs += [outputs[0].with_name(f"{outputs[0].stem}_{number}{end}") for number in range(2, _MOST_FILES)]
    return next((one for one in outputs if not find_other_module_of_output(one, source)), outputs[0])


def _split_source(source: str) -> tuple[Path, str]:
    """Return the file or folder of a SOURCE, and the name of its class or function; an empty string without one."""
    found = re.fullmatch(r"(?s)(.*?\.(?:py|ipynb)):\s*(\w*).*", source)
    return (Path(source), "") if found is None else (Path(found[1]), found[2])


def _list_names_of_output(path: Path, module: str) -> list[str]:
    """List the names for the bundle of a file, without an ending, the preferred one first."""
    from pocketrnn_export.source_code.class_definitions import list_module_classes

    folder = path.absolute().parent
    is_below = folder.is_relative_to(Path.cwd())
    folders = [*(folder.relative_to(Path.cwd()) if is_below else folder.relative_to(folder.anchor)).parts]
    stem = Path(make_classifier_name(path)).stem
    depths = range(_DEEPEST + 1) if path.suffix == ".py" else ()
    alike = [one for depth in depths for one in Path().glob(f"{'*/' * depth}{glob.escape(path.name)}")]
    alike = [one for one in alike if one.resolve() != path.resolve() and one.is_file()]
    others = [one.parent.parts for one in alike if list_module_classes(one)]
    count = 0
    while count < len(folders) and any(
        one[len(one) - count :] == (*folders,)[len(folders) - count :] for one in others
    ):
        count += 1
    first = "_".join([*folders[len(folders) - count :], stem])
    return [first, *([f"{first}_{module}"] if module else []), *(["_".join([*folders, stem])] if folders else [])]


def name_source_of_output(source: str, output: Path) -> str:
    """Return the name by which a bundle states the SOURCE of its export: the file relative to the folder of the bundle,
    and the class or function. Only the names of the file and its folder are kept of a file elsewhere."""
    path, module = _split_source(source)
    place = Path(os.path.relpath(path.absolute(), output.absolute().parent))
    place = Path(*path.absolute().parts[-2:]) if ".." in place.parts else place
    return f"{place.as_posix()}{f':{module}' if module else ''}"


def find_other_module_of_output(output: Path, source: str) -> str:
    """Return the SOURCE of the bundle or packed file at `output`, if it was exported from another one than `source`.
    Return an empty string if it was not, or if this is not known."""
    held: object = ""
    with contextlib.suppress(PocketRNNError, OSError):
        if is_packed_file(output):
            held = read_packed_document(map_file(output), output).get("provenance", {}).get(SOURCE, "")
        elif (output / CLASSIFIER_JSON).is_file():
            held = read_manifest(output).provenance.get(SOURCE, "")
    return held if isinstance(held, str) and held != name_source_of_output(source, output) else ""


def check_output(output: Path, *, is_packed: bool, force: bool) -> None:
    """Raise an OutputError if an export cannot write its output.

    Raises:
        OutputError: something is already at `output`, or it cannot be written. With `force`, an earlier bundle is
            allowed.
    """
    if is_packed:
        check_output_file(output, force=force)
    else:
        check_output_folder(output, force=force, marker_file=CLASSIFIER_JSON)


def _is_bundle(output: Path, *, is_packed: bool) -> bool:
    """Return whether an output exists, and is a bundle or packed file that --force replaces."""
    try:
        check_output(output, is_packed=is_packed, force=True)
        return is_packed_file(output) if is_packed else (output / CLASSIFIER_JSON).is_file()
    except (PocketRNNError, OSError):
        return False


def _escape_lines(error: PocketRNNError) -> str:
    """Return the message of an error for a terminal. If the error consists of several lines, they are kept."""
    lines = str(error).split("\n") if error.of_lines else [str(error)]
    return "\n".join(escape_line(one.rstrip()) for one in lines)


def move_long_rules_to_file(output: Path, changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """If options hold long text rules, write the rules to a file beside the output. Return the options with the name of
    the file in place of the rules."""
    from pocketrnn_export.vocabularies.candidate_text_rules import LONGEST_OPTION

    rules = changes.get("rules")
    if rules is None or len(rules) <= LONGEST_OPTION:
        return dict(changes)
    return {**changes, "rules": _write_rules_to_file(output, rules) or rules}


def _write_rules_to_file(output: Path, rules: str) -> str:
    """Write text rules to a file beside the output, unless such a file holds the same rules. Return the file's path, or
    an empty string if writing fails."""
    content = rules.encode() + b"\n"
    for number in range(1, _MOST_FILES):
        path = output.with_name(f"{make_classifier_name(output)}-rules{number if number > 1 else ''}.json")
        try:
            if path.is_file() and path.read_bytes() == content:
                return str(path)
            with write_whole_file(path, force=False) as file:
                file.write(content)
        except (OutputError, OSError):
            continue
        return str(path)
    return ""
