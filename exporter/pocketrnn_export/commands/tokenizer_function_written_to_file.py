"""Write the --tokenizer function to a file of its own: the part that splits texts, if the function answers them or
cannot be loaded; the whole, if `classify` could not load it without PyTorch or by its name alone."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.bundle.names_from_paths import choose_python_file_beside_bundle
from pocketrnn.commands.standard_streams import (
    get_lines_to_print_at_end,
    print_at_end_if_command_runs,
    print_line,
)
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.intake.import_folders import list_folders_to_add
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    FOLDER_OF_WRITTEN_FILE,
    is_unchanged_since_export,
    read_copied_function_of_exported_file,
    write_first_line_of_exported_file,
)
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.text_function_in_own_file import PLAIN_CALL, write_text_function
from pocketrnn_export.source_code.torchtext_tokenizers import replace_torchtext_tokenizers

if TYPE_CHECKING:
    from pocketrnn_export.source_code.splitting_part_of_function import WrittenTokenizer
    from pocketrnn_export.vocabularies.keras_tokenizer_split import KerasSplit
    from pocketrnn_export.vocabularies.owner_function_call import OwnersFunction

_MOST_FILES: Final = 20
# The keys in a click context's `meta` for the files that a command has written, each with its content before; and for
# the --tokenizer functions in them, each with the owner's function in whose place it is taken.
_WRITTEN_FILES: Final = "pocketrnn.written_files"
_TAKEN_FUNCTIONS: Final = "pocketrnn.taken_functions"


@contextlib.contextmanager
def remove_written_files_if_command_fails() -> Iterator[None]:
    """Return a context manager. If its block raises an error, it removes or restores the files that `write_code_file`
    wrote in the block, so that a later command does not take them for the user's own. Files that the error names are
    kept. Where the error names a function in a removed file, it then names the user's function."""
    try:
        yield
    except BaseException as error:
        context = click.get_current_context()
        for taken, given in context.meta.get(_TAKEN_FUNCTIONS, {}).items():
            if isinstance(error, PocketRNNError):
                error.problem, error.remedy = (
                    one.replace(f"--tokenizer {shlex.quote(taken)}", f"--tokenizer {shlex.quote(given)}").replace(
                        taken, given
                    )
                    for one in (error.problem, error.remedy)
                )
                error.args = (f"{error.problem} {error.remedy}",)
        for path in context.meta.get(_WRITTEN_FILES, {}):
            if str(path) not in str(error):
                _undo_written_file(path)
        raise


def _undo_written_file(path: Path) -> None:
    """Restore what a file contained before this command wrote it, or remove the file if it did not exist. Also drop the
    notes on this file that were to be printed at the end of the command."""
    context = click.get_current_context()
    kept = get_lines_to_print_at_end(context)
    kept[:] = [one for one in kept if one[1] != str(path)]
    before = context.meta[_WRITTEN_FILES][path]
    with contextlib.suppress(OSError):
        path.unlink() if before is None else path.write_bytes(before)


def remove_tokenizer_file_that_bundle_replaces(options: dict[str, Any]) -> None:
    """Remove the file that was written for the --tokenizer function, since the bundle's text rules split texts in the
    same way. Set --tokenizer to the user's own function again, also in the commands that messages suggest."""
    context, taken = click.get_current_context(), options["tokenizer"]
    given = context.meta.get(_TAKEN_FUNCTIONS, {}).get(taken)
    named = parse_module_name(taken or "")
    if given is not None and named is not None:
        options["tokenizer"] = context.params["tokenizer"] = given
        _undo_written_file(named.path)


def _set_tokenizer_to_written_function(options: dict[str, Any], path: Path, said: str) -> None:
    """Set --tokenizer to the function `words` in a written file, also in the commands that messages suggest. A note
    that says so is printed when the command ends.

    Args:
        said: the first part of the note, which ends with "and --tokenizer ... is taken."
    """
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME

    context, taken, given = click.get_current_context(), f"{path}:{WRITTEN_NAME}", options["tokenizer"]
    functions = context.meta.setdefault(_TAKEN_FUNCTIONS, {})
    functions[taken] = functions.get(given, given)
    options["tokenizer"] = context.params["tokenizer"] = taken
    print_at_end_if_command_runs(f"Note: {said}, and --tokenizer {taken} is taken.", str(path))


def replace_tokenizer_by_its_splitting_part(options: dict[str, Any]) -> bool:
    """Find the part of the --tokenizer function that splits texts, write it to a file beside the output, and set
    --tokenizer to the function in this file. If the part splits texts as basic_english does, set --tokenizer to this
    name. Return whether such a part was found. `options` are the options of `export`."""
    from pocketrnn_export.source_code.splitting_part_of_function import (
        WRITTEN_NAME,
        uses_only_basic_english_tokenizer,
        write_tokenizer_of_function,
    )
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members

    named = parse_module_name(options["tokenizer"])
    if named is None or named.name == WRITTEN_NAME:
        return False
    keras = _read_keras_split_of_vocabulary(options["vocabulary"])
    name = named.function_name
    parameters = click.get_current_context().params
    source = parse_module_name(parameters.get("source") or "")
    module_file = None if source is None else source.path
    if (written := write_tokenizer_of_function(named.path, name, keras=keras, module_file=module_file)) is None:
        return False
    if written.fields:
        _refuse_several_fields(named, Path(parameters["output"]), written)
    if written.later_changes:
        lines = escape_line("; ".join(written.later_changes))
        whether = "whether the bundle does the same"
        ask = f"--pairs shows {whether}" if options["pairs"] else f"Give your answers by --pairs to see {whether}"
        print_line(f"Note: after the split, {named} changes the ids of a text ({lines}). {ask}.", err=True)
    if written.leaves_out:
        print_line(
            f"Note: {named} leaves out words that the vocabulary has not, and so does the bundle: "
            f"{escape_line(written.leaves_out)}.",
            err=True,
        )
    if written.unknown is not None:
        number, line = written.unknown
        print_line(f"Note: {named} gives unknown words the id {number} ({line}), and so does the bundle.", err=True)
    if uses_only_basic_english_tokenizer(written.code):
        # Lines to copy keep the owner's function, which may change.
        options["tokenizer"] = "basic_english"
        stated = None if written.unknown is None else written.unknown[0]
        if written.leaves_out or written.unknown:
            options["rules"] = json.dumps({"unknown_id": stated, **list_given_rule_members(options["rules"])})
        print_line(f"Note: {named} splits texts by torchtext's basic_english, which is taken.", err=True)
        return True
    path = write_code_file(Path(parameters["output"]), "words", written.code, named)
    _set_tokenizer_to_written_function(
        options, path, f"The lines of {named} that split a text are now a function in {path}"
    )
    if both := write_tokenizer_with_changed_text(named):
        said = f"Note: {both[0]} If your classifier does so, too, give --tokenizer {both[1]}."
        print_at_end_if_command_runs(said, both[1].rpartition(":")[0])
    return True


def _read_keras_split_of_vocabulary(file: Path | None) -> KerasSplit | None:
    """Return the settings by which the Keras Tokenizer that was saved in a file splits texts. Return None for another
    file, or if `file` is None."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    # A file that cannot be read is refused where its words are read.
    with contextlib.suppress(InputError), hide_log_records():
        return None if file is None else read_vocabulary(file).keras
    return None


def replace_tokenizer_that_cleans_before_keras(options: dict[str, Any], keras: KerasSplit) -> bool:
    """If the --tokenizer function only cleans texts and a Keras Tokenizer splits the cleaned string, write a function
    that does both to a file beside the output, and set --tokenizer to it. Return False if the code that the function
    needs is not found. `keras` are the settings by which the Keras Tokenizer splits a text."""
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME

    named = parse_module_name(options["tokenizer"])
    if named is None or named.name == WRITTEN_NAME or named.method or named.args or named.kwargs:
        return False
    code, bound = write_text_function(named.path, named.name), f"{WRITTEN_NAME} = {named.name}\n"
    if code is None or bound not in code:
        return False
    code = code.replace(bound, "")
    code += f"\ndef {WRITTEN_NAME}(text):\n    return {keras.write_tokens(f'{named.name}(text)')}\n"
    path = write_code_file(Path(click.get_current_context().params["output"]), WRITTEN_NAME, code, named)
    said = f"{named} gives a string, and {options['vocabulary']} splits it: {path} does both"
    _set_tokenizer_to_written_function(options, path, said)
    return True


def complete_tokenizer_by_owner_call(options: dict[str, Any]) -> bool:
    """Give the --tokenizer function the values of its further arguments with which the user's code calls it, and set
    --tokenizer accordingly. If the function classifies texts, set --tokenizer to the function to which it passes its
    text. Return False if a value is not known."""
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME
    from pocketrnn_export.source_code.text_functions_in_file import complete_text_function

    named = parse_module_name(options["tokenizer"])
    found = None if named is None or named.kwargs else complete_text_function(named.path, named.function_name)
    if named is None or found is None:
        return False
    parameters = click.get_current_context().params
    is_called = "" if found.called is None else f", as {found.called.place}, calls it"
    if found.code:
        path = write_code_file(Path(parameters["output"]), WRITTEN_NAME, found.code, named)
        _set_tokenizer_to_written_function(options, path, f"{path} calls {named}{is_called}")
        return True
    options["tokenizer"] = parameters["tokenizer"] = found.option
    print_line(f"Note: --tokenizer {named} is taken as {found.option}{is_called}.", err=True)
    return True


def refuse_answering_function(named: ModuleName, output: Path) -> NoReturn:
    """Raise an error for a --tokenizer function that classifies texts in place of splitting them, if no part of it that
    splits texts is found. Its lines that read the text are written to a file beside the output, which the user
    completes.

    Args:
        named: the function.
        output: the output of the command.
    """
    from pocketrnn_export.source_code.splitting_function_from_answering_code import write_skeleton_of_tokenizer_function
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME

    skeleton = write_skeleton_of_tokenizer_function(named.path, named.function_name)
    path = write_code_file(output, WRITTEN_NAME, skeleton.code, named)
    lines = f"its lines that read the text are copied there ({escape_line('; '.join(skeleton.lines))})"
    lines = lines if skeleton.lines else "none of its lines seems to read the text"
    needs = f". It needs {', '.join(skeleton.missing)}" if skeleton.missing else ""
    tokenizer = f"{path}:{WRITTEN_NAME}"
    raise OptionCorrectionsError(
        f"{named} returns an answer to a text, but the --tokenizer function must return the tokens or the ids of "
        "one text.",
        f"Complete the function {WRITTEN_NAME} in {path}: {lines}{needs}. Then give --tokenizer {tokenizer}.",
        {"tokenizer": tokenizer},
    )


def _refuse_several_fields(named: ModuleName, output: Path, written: WrittenTokenizer) -> NoReturn:
    """Raise an error for a function that joins several fields of a request, such as a title and a body, to the text
    that it splits. Its lines are written to a file beside the output, and the error says how the user completes this
    file to a function of one text."""
    from pocketrnn_export.source_code.splitting_part_of_function import NAME_WITH_FIELDS, WRITTEN_NAME

    path = write_code_file(output, "words", written.code, named)
    fields, example = ", ".join(written.fields), ", ".join(["text", *["''"] * (len(written.fields) - 1)])
    raise InputError(
        f"{named} makes its text of {len(written.fields)} fields of a request ({fields}), but the --tokenizer "
        "function must take one text.",
        f"Its lines are now in {path}, as {NAME_WITH_FIELDS}({fields}). Add a function there that makes these "
        f"fields from your text, such as: def {WRITTEN_NAME}(text): return {NAME_WITH_FIELDS}({example}). "
        f"Then give --tokenizer {path}:{WRITTEN_NAME}.",
    )


# How a text is given to a function, and its tokens or ids are taken, so that `classify` reads them.
_CALLS: Final[Mapping[str, Callable[[Callable[[Any], Any], str], Any]]] = {
    PLAIN_CALL: lambda function, text: function(text),
    "{}([text])[0]": lambda function, text: function([text])[0],
    "{}(text)[0]": lambda function, text: function(text)[0],
    "{}(text)[0][0]": lambda function, text: function(text)[0][0],
    "{}([text])[0][0]": lambda function, text: function([text])[0][0],
}


def replace_tokenizer_by_own_file(
    options: dict[str, Any], function: Any, saved_attributes: Mapping[str, Any], adapted: OwnersFunction
) -> bool:
    """Copy the --tokenizer function, with the code and the vocabulary that it needs, to a file beside the output, and
    set --tokenizer to the copy. This is done only if `classify` could not load the function without PyTorch, or could
    not call it with only a text. Return whether the function was copied.

    Args:
        function: the loaded function.
        saved_attributes: if the function is a method, the attributes of its object as a file has them.
        adapted: the function of one text by which the export calls `function`.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import imports_torch_directly_or_indirectly
    from pocketrnn_export.vocabularies.checkpoint_text_settings import is_plain_value

    named = parse_module_name(options["tokenizer"])
    plain = getattr(function, "func", function)
    held = getattr(plain, "__self__", plain)
    if named is None:
        return False
    given, of_method = (
        [*map(ast.unparse, named.args), *_write_by_name(named.kwargs)],
        _write_by_name(named.method_kwargs),
    )
    vocabulary = {name: dict(ids) for name, ids in adapted.arguments.items()}
    call = _find_call_that_classify_reads_equally(functools.partial(function, **vocabulary), adapted)
    is_called_otherwise = bool(vocabulary) or call != PLAIN_CALL
    if not (
        named.is_notebook
        or named.method
        or given
        or is_called_otherwise
        or imports_torch_directly_or_indirectly(named.path)
    ):
        return False
    calls_init = False
    # A class that needs more than the given arguments was made without its `__init__`.
    with contextlib.suppress(TypeError, ValueError):
        calls_init = not saved_attributes and bool(
            inspect.signature(type(held)).bind(*named.args, **(named.kwargs or {}))
        )
    attributes = {name: value for name, value in getattr(held, "__dict__", {}).items() if is_plain_value(value)}
    words = [f"{name}={ids!r}" for name, ids in vocabulary.items()]
    code = write_text_function(
        named.path, named.name, named.method, ", ".join([*given, *words * (not named.method)]), attributes,
        calls_init=calls_init, method_arguments=", ".join([*of_method, *words]), call=call or PLAIN_CALL,
    )  # fmt: skip
    parameters = click.get_current_context().params
    if code is None and not (named.is_notebook or named.method or imports_torch_directly_or_indirectly(named.path)):
        code = _write_code_that_imports_function(
            named, Path(parameters["output"]), [*given, *words], call or PLAIN_CALL
        )
    if code is None or call is None:
        return False
    path = write_code_file(Path(parameters["output"]), "words", code, named, options["tokenizer"])
    also = ", with the words of the vocabulary" if vocabulary else ""
    without = "" if imports_torch_directly_or_indirectly(path) else ", without PyTorch"
    _set_tokenizer_to_written_function(options, path, f"{named} is now also in {path}{without}{also}")
    return True


def _write_code_that_imports_function(named: ModuleName, output: Path, arguments: Sequence[str], call: str) -> str:
    """Return Python code for a file beside the output. The code loads the function `named` from its own file and
    defines `words(text)`, which calls it. `call` is a template for the call, and `arguments` are its further
    arguments."""
    folder = os.path.relpath(named.path.absolute().parent, output.absolute().parent)
    called = f"functools.partial(_named, {', '.join(arguments)})" if arguments else "_named"
    return (
        "import functools\nimport runpy\nimport sys\nfrom pathlib import Path\n\n"
        f"_folder = Path(__file__).absolute().parent / {folder!r}\nsys.path.insert(0, str(_folder))\n"
        f"_named = runpy.run_path(str(_folder / {named.path.name!r}))[{named.name!r}]\n_called = {called}\n\n"
        f"def words(text):\n    return {call.format('_called')}\n"
    )


def _find_call_that_classify_reads_equally(function: Callable[[Any], Any], adapted: OwnersFunction) -> str | None:
    """Return the template of a call of a function, such as "{}(text)", from whose result `classify` reads the same
    tokens or ids as the export. Return None if no known call has such a result."""
    for written, call in _CALLS.items():
        # Whatever the owner's function raises.
        with contextlib.suppress(Exception):
            if all(
                _read_result_as_classify_does(call(function, text)) == found for text, found in adapted.results.items()
            ):
                return written
    return None


def _read_result_as_classify_does(given: Any) -> list[Any] | None:
    """Return the tokens or ids that `classify` would read from `given`, the result of a tokenizer function. Return None
    if `classify` would refuse the result."""
    given = given.split() if isinstance(given, str) else given
    given = given.tolist() if getattr(given, "ndim", 0) == 1 else given
    return [*given] if isinstance(given, list | tuple) else None


def _write_by_name(arguments: Mapping[str, ast.expr] | None) -> list[str]:
    """Return a string such as "size=3" for each keyword argument. Return an empty list for None."""
    return [f"{name}={ast.unparse(one)}" for name, one in (arguments or {}).items()]


def replace_tokenizer_by_code_with_present_names(options: dict[str, Any]) -> bool:
    """If the --tokenizer function uses names that libraries have removed, write a copy with their present names to a
    file beside the output, and set --tokenizer to it. Return whether this was needed."""
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME
    from pocketrnn_export.source_code.text_function_in_own_file import replace_removed_names

    named = parse_module_name(options["tokenizer"])
    if named is None or named.name == WRITTEN_NAME or named.args or named.kwargs or named.method_kwargs:
        return False
    code = write_text_function(named.path, named.name, named.method)
    if code is None or replace_removed_names(code)[0] == code:
        return False
    parameters = click.get_current_context().params
    path = write_code_file(Path(parameters["output"]), WRITTEN_NAME, code, named)
    _set_tokenizer_to_written_function(options, path, f"{named} cannot be loaded as it stands")
    return True


def write_tokenizer_with_changed_text(function: ModuleName) -> tuple[str, str] | None:
    """Write a tokenizer to a file that changes a text as the user's code does before it calls `function`, and then
    splits the text as `function` does. Return a sentence that says so, and the tokenizer as file.py:words. Return None
    if the user's code does not change the text. `function` is the function of the user's code, which classifies or
    splits a text."""
    from pocketrnn_export.source_code.splitting_part_of_function import (
        WRITTEN_NAME,
        find_changed_text,
        write_tokenizer_of_function,
    )

    changed = find_changed_text(function.path, function.name)
    both = None if changed is None else write_tokenizer_of_function(function.path, function.name, changed)
    if changed is None or both is None:
        return None
    # The file of the function alone stays.
    output = Path(click.get_current_context().params["output"])
    path = write_code_file(output, "changed_words", both.code, function.path)
    said = f"{changed.place}, calls {function.name} with {changed.code}; {path} does both."
    return escape_line(said), f"{path}:{WRITTEN_NAME}"


def write_tokenizer_of_script_to_file(path: Path) -> tuple[str, str] | None:
    """Copy statements that split a text and stand outside of functions, in a file or near it, to a file beside the
    output, as a function of a text. Return a sentence that says so, and the tokenizer as file.py:words. Return None if
    there are no such statements. `path` is the file of the module."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_code_files_of_module
    from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function

    for file in list_code_files_of_module(path):
        with contextlib.suppress(InputError):
            if (answering := write_tokenizer_of_function(file, "")) is not None:
                later = "; ".join(answering.later_changes)
                return _write_copied_code(answering.code, f"The lines of {file} that split a text are", later)
    return None


def write_tokenizer_of_columns_to_file(path: Path) -> tuple[str, str] | None:
    """Copy the steps by which code processes a column of texts in a table to a file beside the output, as a function of
    one text. Return a sentence that says so, and the tokenizer as file.py:words. Return None if there is no such code.
    `path` is the file of the module."""
    from pocketrnn_export.source_code.text_column_code_as_function import write_tokenizer_of_columns

    code = write_tokenizer_of_columns(path)
    return None if code is None else _write_copied_code(code, f"The steps of {path} on a column of texts are", "")


def _write_copied_code(code: str, subject: str, later_changes: str) -> tuple[str, str]:
    """Write code with a function `words` to a file beside the output. Return a sentence that says so and begins with
    `subject`, and the tokenizer as file.py:words. `later_changes` describes what later lines of the user's code do to
    the ids; it may be empty."""
    from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME

    written = write_code_file(Path(click.get_current_context().params["output"]), WRITTEN_NAME, code)
    later = f" Later lines change the ids: {later_changes}." if later_changes else ""
    return f"{subject} copied to {written}, for one text.{later}", f"{written}:{WRITTEN_NAME}"


def write_code_file(
    output: Path, kind: str, code: str, copied: ModuleName | Path | None = None, option: str = ""
) -> Path:
    """Write code to a Python file beside the output, and return the file. Its first line says that this command wrote
    it. Names that libraries have removed are replaced by their present names, and copied lines get a comment with their
    place in the user's file.

    A file that an earlier export wrote is replaced, unless the user has changed it, or it belongs to an output that
    this command does not replace.

    Args:
        output: the output of the command, whose name begins the file's name.
        kind: the second part of the file's name, such as `words`.
        copied: the user's function, from which a later export writes the file again; or only the file of the code.
        option: the function with its arguments, as --tokenizer has it; by default that of `copied`.
    """
    from pocketrnn_export.source_code.text_function_in_own_file import replace_removed_names

    code, changes = replace_removed_names(replace_torchtext_tokenizers(code))
    origin = ""
    if isinstance(copied, ModuleName):
        rest = (option or str(copied)).split(f"{copied.path.suffix}:", 1)[1]
        folder = os.path.relpath(copied.path.absolute(), output.absolute().parent)
        origin = read_copied_function_of_exported_file(copied.path) or f"{folder}:{rest}"
    if copied is not None:
        owners = copied.path if isinstance(copied, ModuleName) else copied
        code = _add_places_of_copied_lines(code, owners)
        code = _add_import_folders(code, output.absolute().parent, owners)
    content = f"{write_first_line_of_exported_file(code, origin)}{code}".encode()
    path = _choose_code_file(output, kind, content)
    if (context := click.get_current_context(silent=True)) is not None:
        before = path.read_bytes() if path.exists() else None
        context.meta.setdefault(_WRITTEN_FILES, {}).setdefault(path, before)
    with write_whole_file(path, force=True) as file:
        file.write(content)
    for change in changes:
        print_line(f"Note: In {path}, {escape_line(change)}", err=True)
    return path


def _add_import_folders(code: str, place: Path, file: Path) -> str:
    """Add lines to code that make the user's files importable from the folder `place`, where the code will be written.
    `file` is the user's file from which the code was copied. Return the code."""
    context = click.get_current_context(silent=True)
    source = None if context is None else parse_module_name(context.params.get("source") or "")
    folders = list_folders_to_add(code, place, [file, *([] if source is None else [source.path])])
    lines = [f"sys.path.append(str({FOLDER_OF_WRITTEN_FILE} / {one!r}))\n" for one in folders]
    return "".join(["import sys\nfrom pathlib import Path\n\n", *lines, "\n"] * bool(lines)) + code


def _choose_code_file(output: Path, kind: str, content: bytes) -> Path:
    """Return the first path beside the output at which no file exists, or a file with this content, or a file that an
    earlier export wrote and that may be replaced."""
    first = choose_python_file_beside_bundle(output, kind)
    context = click.get_current_context(silent=True)
    is_kept = output.exists() and not (context and context.params.get("force"))
    for number in range(1, _MOST_FILES):
        path = first.with_stem(f"{first.stem}{number if number > 1 else ''}")
        if not path.exists() or (is_unchanged_since_export(path) and (not is_kept or path.read_bytes() == content)):
            break
    return path


def _add_places_of_copied_lines(code: str, file: Path) -> str:
    """Add a comment to each line of the functions in `code` that the user's file `file` has exactly once. The comment
    names the place of the line in this file. Return the code."""
    places: dict[str, list[str]] = {}
    for cell in read_python_cells(file) if file.is_file() else ():
        for node in ast.walk(ast.Module(list(cell.statements), [])):
            if isinstance(node, ast.stmt):
                places.setdefault(ast.unparse(node).splitlines()[0], []).append(cell.describe_place(file, node))
    tree, lines = ast.parse(code), code.split("\n")
    for function in (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)):
        for node in (one for part in function.body for one in ast.walk(part) if isinstance(one, ast.stmt)):
            line = lines[node.lineno - 1]
            found = places.get(line.strip(), [])
            if len(found) == 1 and (node.lineno == node.end_lineno or line.endswith(":")):
                lines[node.lineno - 1] = f"{line}  # {found[0]}"
    changed = "\n".join(lines)
    return changed if ast.dump(ast.parse(changed)) == ast.dump(tree) else code


def set_tokenizer_to_origin_of_written_file(options: dict[str, Any]) -> None:
    """If --tokenizer names a file that an earlier export wrote from a function of the user, set --tokenizer to this
    function, which the user may have changed since. If the user has changed the written file, leave --tokenizer as it
    is."""
    given = options["tokenizer"] or ""
    # A missing file is refused later, with the file that is meant.
    named = parse_module_name(given) if Path(given.rpartition(":")[0]).is_file() else None
    origin = "" if named is None else read_copied_function_of_exported_file(named.path)
    if named is None or not origin or not is_unchanged_since_export(named.path):
        return
    folder = os.path.relpath(named.path.absolute().parent)
    taken = origin if folder == "." else os.path.join(folder, origin)  # noqa: PTH118 - a file with a function
    if Path(taken[: taken.index(":")]).is_file():
        options["tokenizer"] = click.get_current_context().params["tokenizer"] = taken
