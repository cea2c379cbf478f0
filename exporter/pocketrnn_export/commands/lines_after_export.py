"""Print the last lines of `export`, `compress` and `pack`: the verdicts on the graph and the text rules, a note on the
texts in the bundle, and the next command."""

from __future__ import annotations

import contextlib
import json
import keyword
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.bundle.output_kinds import decides_between_two_labels
from pocketrnn.commands.standard_streams import print_line
from pocketrnn.commands.terminal_text import align_columns, escape_line
from pocketrnn_export.commands.collected_refusals import write_command_to_copy
from pocketrnn_export.commands.proposed_options import find_library_of_tokenizer_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketrnn.bundle.manifest import Manifest, Parity
    from pocketrnn.text import AnyTextRules

# The most ids that the next command shows.
_SHOWN_IDS: Final = 30
# A smaller TorchScript file needs no line, in bytes.
_LARGE: Final = 500_000
# Libraries that read data that is installed beside them.
_WITH_DATA: Final = ("nltk", "spacy", "stanza")
# The advice printed in place of `TextVerdict.remedy`, for users who have the pipeline.
_COMPARE: Final = {
    "not compared": "Compare them: --pairs FILE, with texts, the ids that your pipeline gives and your classifier's "
    "answers (docs/your-files.md).",
    "external": 'Compare it: --pairs FILE, with the tokens that your code makes from each text (the member "tokens") '
    "and your classifier's answer (docs/your-files.md).",
}


def print_verdicts(manifest: Manifest, summary: str = "", answers: str = "") -> None:
    """Print the verdict on the graph and the verdict on the text rules. If the verdict on the text rules is not final
    yet, also print a note on what would decide it.

    Args:
        summary: a sentence about the proof, which follows the verdict on the graph.
        answers: a sentence on the file that seems to hold the answers of the user's classifier; empty for none.
    """
    from pocketrnn.verdicts import describe_graph_proof, read_text_verdict

    verdict = read_text_verdict(manifest)
    print_line(f"Graph: {escape_line(describe_graph_proof(manifest))} {summary}".rstrip())
    print_line(f"Text rules: {verdict.sentence}")
    if not verdict.is_open:
        return
    remedy = _COMPARE.get(verdict.kind, f"{verdict.remedy}.")
    remedy = f"{remedy[:1].upper()}{remedy[1:]}"
    if answers:
        remedy = f"{escape_line(answers)} If so, the last line compares them."
    print_line(f"Note: {remedy}", err=True)


def describe_empty_texts(manifest: Manifest, module: Any = None, tokenizer: Any = None) -> list[str]:
    """Return a list with a sentence that says which tokens the bundle reads in place of a text in which the rules find
    no token. A second sentence says if the user's code raises an error on such a text, and how to choose another
    answer. Return an empty list if a subword tokenizer splits the texts.

    Args:
        manifest: the description of the bundle.
        module: the user's module; None if it is not known.
        tokenizer: the user's function that splits a text; None if there is none.
    """
    from pocketrnn.text import TextEncoder, TextRules

    rules, tokens = manifest.text.rules, manifest.text.vocabulary
    if not isinstance(rules, TextRules):
        return []
    ids = TextEncoder(rules, tokens).encode_tokens([])
    ids = ids[:1] if len({*ids}) == 1 else ids
    raised = _find_error_on_empty_text(manifest, module, tokenizer)
    raised += " For another answer, give another id, --rules '{\"empty_id\": ID}', or look for such texts before." * (
        bool(raised) and not _has_ids_around_text(rules)
    )
    if ids == [rules.unknown_id]:
        said = f"A text without a token is answered as one unknown word, which has the id {rules.unknown_id}."
        return [f"{said}{raised}"]
    said = " ".join(repr(tokens[id_]) if id_ < len(tokens) else f"the id {id_}" for id_ in ids[:8])
    kind = "the token" if len(ids) == 1 and ids[0] < len(tokens) else "a text of" if len(ids) > 1 else ""
    said = f"{f'{kind} {escape_line(said)}'.strip()}{' ...' * (len(ids) > 8)}"
    return [f"A text without a token is answered as {said}.{raised}"]


def _has_ids_around_text(rules: AnyTextRules) -> bool:
    """Return whether a text without a token has ids by these rules, so that `empty_id` has no effect."""
    return bool(rules.first_ids or rules.last_ids or rules.min_width)


def _find_error_on_empty_text(manifest: Manifest, module: Any, tokenizer: Any) -> str:
    """Return a sentence that says which error the user's code raises on a text without a token: the function of
    --tokenizer, or the module, if it is called with no ids as it is called with one. Return an empty string if it
    raises none, or if this is not known."""
    import torch

    from pocketrnn_export.intake.call_discovery.trial_answers import call_and_restore_state
    from pocketrnn_export.intake.compiled_call_line import compile_call
    from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
    from pocketrnn_export.vocabularies.owner_function_call import OwnersFunction

    # A call that worked before shows that the error is of this text.
    if isinstance(tokenizer, OwnersFunction) and tokenizer.results:
        try:
            with run_quietly_on_cpu():
                tokenizer("")
        # Whatever the user's code raises.
        except (Exception, SystemExit) as error:
            return f" Your tokenizer raises {type(error).__name__} on an empty text."
    if module is None or manifest.features or _has_ids_around_text(manifest.text.rules):
        return ""
    with contextlib.suppress(Exception, SystemExit):
        call = compile_call(str(manifest.provenance["call"]))
        module.eval()
        one = torch.full((1, 1), manifest.text.rules.empty_id)
        call_and_restore_state(module, call, one, torch.tensor([1]))
        try:
            call_and_restore_state(module, call, one[:, :0], torch.tensor([0]))
        except (Exception, SystemExit) as error:
            return f" Your module raises {type(error).__name__} if it gets no ids."
    return ""


def describe_torchscript(manifest: Manifest, bundle: Path) -> list[str]:
    """Return a list with a sentence on the TorchScript file of a bundle: its size, what it is for, and the option that
    leaves it out. Return an empty list if the file is smaller than 0.5 MB, or if there is none. `bundle` is the folder
    of the bundle."""
    if manifest.torchscript is None or (size := (bundle / manifest.torchscript.file).stat().st_size) < _LARGE:
        return []
    whole = sum(one.stat().st_size for one in bundle.iterdir())
    said = f"{manifest.torchscript.file} is {size / 1e6:.1f} of the bundle's {whole / 1e6:.1f} MB"
    return [f"{said}: only programs with PyTorch need it, and --no-torchscript leaves it out."]


def format_proof_summary(manifest: Manifest, rows_called: str, bundle: str) -> str:
    """Return a sentence with the number of rows on which the bundle was compared, and the largest difference. Return an
    empty string if the bundle's graph was not compared with the module directly, as for rounded weights.

    Args:
        rows_called: the name of a row: `texts` or `sequences`.
        bundle: the path of the bundle.
    """
    from pocketrnn.verdicts import find_graph_name_in_proof

    lines = [line for line in manifest.parity.comparisons if line.candidate == find_graph_name_in_proof(manifest)]
    if not lines or any(line.measures_rounding or line.measures_integer_arithmetic for line in lines):
        return ""
    differing, largest = sum(line.labels_differing for line in lines), max(line.largest_difference for line in lines)
    kind = "values" if manifest.output.activation == "values" else "logits"
    labels = "" if kind == "values" else (
        f"the same labels{f' but for {differing} that are equally likely' if differing else ''}, and "
    )  # fmt: skip
    return (
        f"On {sum(line.rows for line in lines):,} {rows_called}, most of them drawn, it gives {labels}{kind} within "
        f"{largest:.1e}. Each comparison: pocketrnn inspect {shlex.quote(bundle)}."
    )


def format_proof_table(parity: Parity, rows_called: str, *, of_labels: bool = True) -> list[str]:
    """Return the comparisons of a proof as the lines of a table, with a header.

    Args:
        parity: the proof.
        rows_called: the name of a row: `texts` or `sequences`.
        of_labels: whether to show the number of labels that differ.
    """
    rows = [("compared", "on", "cases", rows_called, "largest difference", "labels differing")]
    rows += [
        (f"{c.candidate} with {c.reference}", c.inputs, str(c.cases), str(c.rows), f"{c.largest_difference:.1e}",
         str(c.labels_differing))
        for c in parity.comparisons
    ]  # fmt: skip
    return align_columns(rows if of_labels else [row[:-1] for row in rows])


def format_example_note(manifest: Manifest) -> list[str]:
    """Return a list with a note that the bundle contains texts or sequences of the user, which everybody who has the
    bundle can read. Return an empty list if it contains none."""
    origin, _, rows_called = str(manifest.provenance.get("golden_examples")).partition(" ")
    if origin != "given":
        return []
    return [
        f"Inside are {len(manifest.examples)} golden examples, which are {rows_called} of yours: whoever has the "
        "bundle can read them. Leave them out with --no-examples."
    ]


def print_next_step(
    manifest: Manifest, output: Path, corrected_options: Mapping[str, str | None] | None = None, tokenizer: str = ""
) -> None:
    """Print the command that the user may run next. It classifies a text with the written file, or writes the file
    again with corrected options.

    Args:
        manifest: the description of the written file.
        output: the written file or folder.
        corrected_options: options to change in the running command before it is run again; None if it need not run
            again.
        tokenizer: the user's function that splits a text, as file.py:function; empty for none.
    """
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn.text.features_beside_text import write_example_feature_options
    from pocketrnn.verdicts import read_text_verdict

    where, calls = shlex.quote(str(output)), []
    if isinstance(manifest.input, NumberInput):
        print_line(f"Next: pocketrnn classify --bundle {where} --input recording.csv")
        return
    is_external = manifest.text.rules.tokenizer == "external"
    text = f"--tokens '{_format_example_ids(manifest)}'" if is_external else '"a text"'
    if is_external and tokenizer:
        text = f'--tokenizer {shlex.quote(tokenizer)} "a text"'
    given = (
        '"a text" "another text"' if manifest.has_two_texts else write_example_feature_options(manifest.features) + text
    )
    packed = output.suffix == ".prnn"
    load = f"Classifier.load({json.dumps(str(output), ensure_ascii=False)}"
    if is_external and not packed and not manifest.has_two_texts and not print_import_of_tokenizer(load, tokenizer):
        calls.append(
            f"{load}, tokenizer=words) takes texts, of which your function words(text) gives the tokens or ids"
        )
    if manifest.output.activation == "sigmoid" and not manifest.heads:
        keeps = manifest.output.thresholds is not None
        calls.append(
            f"{load}).predict_labels(texts{'' if keeps else ', 0.5'}) gives each text the labels that reach "
            f"{'their thresholds' if keeps else '0.5'}; predict, as classify --top 1, gives only the likeliest label"
        )
    if manifest.output.activation == "softmax" and decides_between_two_labels(manifest.output.thresholds):
        calls.append(
            f"{load}).predict_labels(texts) gives each text the label that reaches its threshold; predict gives the "
            "likelier label"
        )
    for call in calls:
        print_line(f"In Python, {call}.")
    if corrected_options:
        print_line(f"Next: {write_command_to_copy(corrected_options)}")
        return
    answers = read_text_verdict(manifest).answers
    top = " --top 1" * (answers is not None and answers.of_likeliest)
    print_line(f"Next: pocketrnn classify --bundle {where}{top} {given}")


def print_import_of_tokenizer(load: str, tokenizer: str) -> bool:
    """Print lines of Python that load a bundle with the user's function that splits texts, and the files and libraries
    that this function needs. If Python cannot import the function by its name, print nothing and return False.

    Args:
        load: the beginning of the call that loads the bundle.
        tokenizer: the function, as file.py:function or file.py:Class.method.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_imported_libraries
    from pocketrnn_export.source_code.text_functions_in_file import needs_no_values_to_make_object

    path, _, name = tokenizer.rpartition(":")
    file, (imported, _, method) = Path(path), name.partition(".")
    if not (file.stem.isidentifier() and imported.isidentifier()) or keyword.iskeyword(file.stem):
        return False
    if method and not needs_no_values_to_make_object(file, imported):
        return False
    function = f"{imported}().{method}" if method else imported
    folder = "" if file.parent == Path() else f", with {escape_line(str(file.parent))} in sys.path"
    print_line(f"In Python{folder}:")
    print_line("  from pocketrnn import Classifier")
    print_line(f"  from {file.stem} import {imported}")
    print_line(f"  classifier = {load}, tokenizer={function})")
    print_line('  print(classifier.predict(["a text"]))')
    libraries = [f"{one} with its data" if one in _WITH_DATA else one for one in list_imported_libraries(file)]
    code, data = list_files_of_tokenizer(file, name)
    needs = [*(one.name for one in code), *libraries]
    # No text rules imitate a library.
    tries = "" if find_library_of_tokenizer_function(tokenizer) else (
        " If text rules can do the same, an export without --rules finds them, and its bundle can be packed."
    )  # fmt: skip
    print_line(f"To answer a text, Python needs {' and '.join(needs)}. Such a bundle cannot be packed.{tries}")
    if data:
        named = " and ".join(escape_line(str(one)) for one in data)
        print_line(f"The code also names {named}: copy what it reads, and run Python where these paths hold.")
    return True


def list_files_of_tokenizer(file: Path, name: str) -> tuple[list[Path], list[Path]]:
    """Return a tuple of two lists for a function that splits texts: the files of code that it needs, beginning with its
    own file, and the data files that this code names. `file` and `name` are those of the function."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import (
        list_data_files_of_function,
        list_imported_files,
    )

    code = [file, *(one for one in list_imported_files(file) if one != file)]
    return code, list_data_files_of_function(file, name)


def _format_example_ids(manifest: Manifest) -> str:
    """Return the ids of a golden example as JSON, for a command that the user can copy. If there are no such ids,
    return a list of two tokens."""
    from pocketrnn.bundle.manifest import Example

    ids = [one.ids for one in manifest.examples if isinstance(one, Example) and one.ids]
    shown: list[int] | list[str] = ["a", "text"]
    if ids and not manifest.has_two_texts:
        shown = [*next((one for one in ids if len(one) <= _SHOWN_IDS), ids[0])][:_SHOWN_IDS]
    return json.dumps(shown)
