"""The command `pocketrnn check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.standard_streams import format_json_line, print_line_if_slow, print_text
from pocketrnn.commands.terminal_text import align_columns, escape_line
from pocketrnn.errors import ExportError, InputError, require_module
from pocketrnn_export.commands.collected_refusals import CollectedRefusals
from pocketrnn_export.commands.export import load_module_and_call, parse_source
from pocketrnn_export.commands.printed_stages import print_stages
from pocketrnn_export.commands.source_without_module_name import complete_source

if TYPE_CHECKING:
    from pocketrnn_export.checking.verdict import Verdict

_OF_MODULE: Final = ("weights", "random_weights", "set", "call", "padding_id", "channels")


@click.command(
    cls=Command,
    short_help="Is an exported file right? ONNX, TorchScript or .pt2.",
    groups={
        "Options": ("onnx", "weights", "inputs", "as_json", "page", "force"),
        "How the module is made and called": ("set", "random_weights", "call", "ids", "padding_id", "channels"),
        "Two files": ("max_changed",),
    },
)
@click.argument("source")
@click.argument("after", required=False, type=click.Path(path_type=Path))
@click.option("--onnx", type=click.Path(path_type=Path), metavar="FILE",
              help="The file to check: ONNX, TorchScript, or a .pt2 of torch.export.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE",
              help="The weights of the module: .safetensors, or a saved state_dict.")  # fmt: skip
@click.option("--input", "inputs", type=Text(), multiple=True, metavar="NAME=INPUT",
              help="An input of the module and the same input of the file, if names, types and axes do not show "
                   "which it is; repeatable.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Also write the verdict as a page."
)
@click.option("--force", is_flag=True, help="Replace an existing page.")
@click.option("--set", type=Text(), multiple=True, metavar="NAME=VALUE",
              help="A value for a name in the module's file, instead of the file's value; repeatable.")  # fmt: skip
@click.option("--random-weights", is_flag=True, help="Take the module with random weights, without --weights.")
@click.option("--call", type=Text(), metavar="LINE",
              help='The call of the module, if pocketrnn does not find it: "module(tokens.t(), lengths)".')  # fmt: skip
@click.option("--ids", type=click.IntRange(min=1), metavar="N",
              help="The number of token ids.  [default: the number of rows of the embedding]")  # fmt: skip
@click.option("--padding-id", type=click.IntRange(min=0), metavar="ID",
              help="The padding id.  [default: padding_idx of the module's embedding, else 0]")  # fmt: skip
@click.option("--channels", type=click.IntRange(min=1), metavar="N",
              help="The number of channels, if --call takes samples.")  # fmt: skip
@click.option("--max-changed", type=click.FloatRange(min=0, max=1), default=0.0, metavar="SHARE",
              help="The share of rows whose label may change between two files. If the answers may be values: the "
              "largest difference, as a share of the largest value.  [default: 0]")  # fmt: skip
def check(source: str, after: Path | None, onnx: Path | None, page: Path | None, **options: Any) -> None:
    """Find out whether an exported file gives the same answers as its module.

    SOURCE is the module: path/to/file.py:name, notebook.ipynb:name, or a TorchScript file. --onnx is the file. Both
    are run on many batch sizes and lengths, every id and random numbers; the verdict lists them. Or SOURCE and AFTER
    are two files, such as a graph before and after a quantisation: how much do their answers differ?

    The exit status is 0 if the file is right for every compared size. It is 3 if the file is wrong for some sizes, and
    2 if it cannot be compared. The code of SOURCE is run, and so is the code in a TorchScript file or a .pt2.

    \b
    Examples:
      pocketrnn check model.py:Net --weights weights.pt --onnx theirs.onnx
      pocketrnn check model.py:Net --weights weights.pt --onnx theirs.onnx --input tokens=input_ids --json
      pocketrnn check model.onnx model.int8.onnx --max-changed 0.01
    """
    if (after is None) == (onnx is None):
        raise click.UsageError(
            "There is no file to check. Give the exported file of the module with --onnx FILE, or give two files: "
            "before and after."
        )
    if page is not None:
        from pocketrnn.bundle.atomic_writing import check_output_file

        check_output_file(page, force=options["force"])
    with print_line_if_slow("Loading PyTorch ..."):
        for package in ("torch", "onnx", "onnxscript"):
            require_module(package, "export")
    with print_stages():
        found = (
            _check_file_of_module(source, onnx, options)
            if onnx is not None
            else _check_two_files(source, after, options)
        )
    if page is not None:
        from pocketrnn.bundle.atomic_writing import write_whole_file
        from pocketrnn_export.checking.verdict import make_verdict_page

        with write_whole_file(page, force=options["force"]) as file:
            file.write(make_verdict_page(found).encode("utf-8"))
    lines = [*map(escape_line, found.lines), *(align_columns(found.table) if found.comparisons else [])]
    print_text(format_json_line(found.document) if options["as_json"] else "\n".join(lines))
    raise click.exceptions.Exit(found.exit_status)


def _check_file_of_module(source: str, onnx: Path, options: dict[str, Any]) -> Verdict:
    """Compare an exported file with the module that SOURCE names, and return the verdict. If the module cannot be
    loaded, raise an InputError, so that the exit status is 2."""
    from pocketrnn_export.checking.check import check as check_module

    refusals = CollectedRefusals(Path())
    completed = refusals.collect(lambda: complete_source(source))
    refusals.raise_collected()
    source = completed or source
    named = parse_source(source, options)
    try:
        module, call = load_module_and_call(source, named, {**options, "run_notebook": None})
    except ExportError as error:
        # Without a module, nothing is compared: that is an exit status of 2, and not a failed export.
        raise InputError(error.problem, error.remedy) from error
    told = {name: options[name] for name in ("ids", "padding_id", "channels")}
    return check_module(module, onnx, inputs=_parse_inputs(options["inputs"]), call=call, **told)


def _check_two_files(source: str, after: Path | None, options: dict[str, Any]) -> Verdict:
    """Compare two exported files, SOURCE and AFTER, and return the verdict. Raise a click.UsageError for options that
    apply only to a module."""
    from pocketrnn_export.checking.check import check_files

    if given := [f"--{name.replace('_', '-')}" for name in _OF_MODULE if options[name] not in (None, False, ())]:
        raise click.UsageError(
            f"{given[0]} applies only to a module, but SOURCE and AFTER are two exported files. Leave {given[0]} "
            f"out. If {source} is a module, give the other file with --onnx."
        )
    if ":" in Path(source).name and not Path(source).exists():
        raise click.UsageError(
            f"{source} names a module, not an exported file. To compare {after} with it, write --onnx {after}."
        )
    return check_files(
        source,
        str(after),
        inputs=_parse_inputs(options["inputs"]),
        ids=options["ids"],
        max_changed=options["max_changed"],
    )


def _parse_inputs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, equals, value in pairs if not (name and equals and value)]:
        raise InputError(
            f"--input is {wrong[0]}, but must be NAME=INPUT.",
            "Write the name of the module's input, an equals sign, and the name of the file's input: tokens=input_ids.",
        )
    return {name: value for name, _, value in pairs}
