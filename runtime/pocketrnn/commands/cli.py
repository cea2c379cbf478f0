"""The `pocketrnn` command.

The commands that need more than the runtime live beside what they do, in `pocketrnn_training.commands` and
`pocketrnn_export.commands`, and are imported when they are asked for.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Final

import click

from pocketrnn import __version__
from pocketrnn.commands.classify_file import FileOptions, classify_file, file_options
from pocketrnn.commands.terminal import one_line
from pocketrnn.errors import (
    CompressionError,
    InputError,
    MissingExtraError,
    OutputError,
    ParityError,
    PocketRNNError,
    require,
)

if TYPE_CHECKING:
    from pocketrnn.answers import Prediction
    from pocketrnn.classifier import Classifier
    from pocketrnn.manifest import Graph, Manifest

__all__ = ["main"]

# A command that another package brings, the module that holds it under the same name, and the extra for its needs.
_BROUGHT: Final = {
    "train": ("pocketrnn_training.commands.train", "train"),
    "evaluate": ("pocketrnn_training.commands.evaluate", "train"),
    "export": ("pocketrnn_export.commands.export", "export"),
    "compress": ("pocketrnn_export.commands.compress", "export"),
    "import-vocab": ("pocketrnn_export.commands.import_vocab", "export"),
}
# What a shell reports of a command that Ctrl-C (SIGINT, 2) or a closed pipe (SIGPIPE, 13) ended: 128 + the signal.
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
# Standard input is read in pieces of at most this size, each answered before the next is read: a slow pipe is answered
# at once, a fast one gives 64 KiB, some 270 news texts, and a file some 4,000, for 33 us a text instead of 35.
_PIECE: Final = 1 << 20


class _Failed(click.ClickException):
    """A PocketRNNError as click shows its own: `Error: ...` on stderr, no traceback."""

    def __init__(self, error: PocketRNNError) -> None:
        # Broken parity and what compression costs are told as a table, line by line; everything else in one.
        lines = str(error).split("\n") if isinstance(error, (CompressionError, ParityError)) else [str(error)]
        super().__init__("\n".join(map(one_line, lines)))
        self.exit_code = error.exit_status  # type: ignore[misc]


class _Commands(click.Group):
    """The commands that live here, and those of the packages that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        brought = [name for name, (module, _) in _BROUGHT.items() if _is_installed(module)]
        return sorted([*super().list_commands(ctx), *brought])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _BROUGHT:
            return super().get_command(ctx, cmd_name)
        module, extra = _BROUGHT[cmd_name]
        try:
            command: click.Command = getattr(require(module, extra), cmd_name.replace("-", "_"))
        except MissingExtraError as error:
            raise _Failed(error) from None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PocketRNNError as error:
            raise _Failed(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _give_up_stdout()
            raise click.exceptions.Exit(_PIPE_CLOSED) from None
        except OSError as error:
            # Without a file's name it is the standard output that could not be written.
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            _give_up_stdout()
            raise _Failed(OutputError("There is no room to write the answer.", "Free some space.")) from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pocketrnn %(version)s")
def main() -> None:
    """Recurrent text classifiers: trained in PyTorch, exported with a proof, run without PyTorch.

    \b
    Examples:
      pocketrnn classify "Wall St. Bears Claw Back Into the Black"
      pocketrnn COMMAND --help
    """


@main.command(short_help="Classify texts, or lines of standard input.")
@click.argument("texts", nargs=-1)
@click.option(
    "-b",
    "--bundle",
    default="ag_news",
    show_default=True,
    metavar="PATH_OR_NAME",
    help="The bundle's folder, or the name of a classifier that ships with pocketrnn.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, metavar="K", help="Give the K likeliest labels."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Give every label whose probability reaches P, which may be none: for multi-label classifiers.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a text.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Use up to N processor cores.",
)
@click.option("--stream", "as_stream", is_flag=True, help="Take all for one text that arrives in pieces.")
@file_options
def classify(
    texts: tuple[str, ...],
    bundle: str,
    top: int,
    threshold: float | None,
    as_json: bool,
    threads: int,
    as_stream: bool,
    files: FileOptions,
) -> None:
    """Classify TEXTS, or the lines of standard input when none are given, or the rows of a file.

    Answers come a line a text, in the texts' order: label, probability and text, with tabs between them; --top adds a
    label and a probability for each further label before the text. Control characters are shown as escapes.

    Standard input is UTF-8, a text a line; an empty line is an empty text. Lines are answered as they arrive.

    With --stream, TEXTS or standard input are the pieces of one text, and each piece is answered for all the text so
    far; a piece of standard input is what has arrived of a line. The bundle must be exported with --streaming.

    With --input, or with --input-format for standard input, rows of CSV, TSV, JSON Lines or Parquet are read, and
    written with all their columns and two more, label and probability; --top adds label_2, probability_2 and so on.
    Rows are counted from 1, without the header. The output file is written whole or not at all.

    \b
    Examples:
      pocketrnn classify "Wall St. Bears Claw Back Into the Black"
      pocketrnn classify --top 2 --json "NASA probe nears Saturn" "Oil prices rise again"
      pocketrnn classify -b ag_news < headlines.txt
      pocketrnn classify --input headlines.csv --output labelled.csv
      pocketrnn classify --input-format jsonl --text-column headline < headlines.jsonl
    """
    from pocketrnn.answers import Answers
    from pocketrnn.classifier import Classifier

    if files.are_given and (texts or as_json or as_stream or threshold is not None):
        raise click.UsageError(
            "TEXTS, --json, --stream and --threshold are not for files; see --output-format and --top."
        )
    classifier = Classifier.load(bundle, threads=threads)
    if files.are_given:
        classify_file(classifier, files, top)
        return
    if threshold is not None:
        if threshold != threshold:
            raise click.UsageError("--threshold is not a number.")
        if top != 1:
            raise click.UsageError("--top and --threshold exclude each other.")
        top = len(classifier.labels)
    Answers.of(classifier.manifest).check_top(top)
    if as_stream:
        _write_stream(classifier, texts, top, threshold, as_json)
        return
    if texts:
        _write_answers(classifier, texts, top, threshold, as_json)
        return
    if sys.stdin is None:
        raise InputError("No text is given and standard input is closed.", "Give texts as arguments, or lines to read.")
    stdin = sys.stdin.buffer
    if stdin.isatty():
        _say("Reading texts, one a line, until Ctrl-D.", err=True)
    for lines in _lines(stdin):
        _write_answers(classifier, lines, top, threshold, as_json)


@main.command(short_help="Check a bundle and replay its examples.")
@click.argument("bundle", metavar="PATH_OR_NAME")
def verify(bundle: str) -> None:
    """Check a bundle's digests and replay its golden examples, without PyTorch.

    PATH_OR_NAME is the bundle's folder, or the name of a classifier that ships with pocketrnn. The exit status is 0 if
    all is right, 2 if the bundle is damaged, 3 if it answers differently here than where it was made.

    \b
    Examples:
      pocketrnn verify ag_news
    """
    from pocketrnn.verification import verify as verified

    result = verified(bundle)
    rows = [("file", name, "sha256 as stated") for name in result.files]
    rows += [
        (
            "golden examples",
            f"{replay.examples}, {replay.how}",
            f"largest logit difference {replay.largest_difference:.1e}",
        )
        for replay in result.replays
    ]
    _say("\n".join(_table(rows)))
    _say(f"OK: {one_line(result.name)} answers here as it did when it was made (tolerance {result.tolerance:g}).")


@main.command(short_help="Show what a bundle is.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, without vocabulary and golden examples.")
def inspect(bundle: str, as_json: bool) -> None:
    """Show what a bundle is: labels, text rules, graph, sizes, proof and provenance.

    PATH_OR_NAME is the bundle's folder, or the name of a classifier that ships with pocketrnn. Only classifier.json is
    read; `pocketrnn verify` checks the other files.

    \b
    Examples:
      pocketrnn inspect ag_news
      pocketrnn inspect --json ag_news
    """
    from pocketrnn import manifest as manifests
    from pocketrnn.shipped import bundle_folder

    folder = bundle_folder(bundle)
    manifest = manifests.read(folder)
    names = [manifests.CLASSIFIER_JSON, manifest.graph.file]
    if manifest.torchscript is not None:
        names.append(manifest.torchscript.file)
    if manifest.stream is not None:
        names.append(manifest.stream.file)
    sizes = {name: manifests.size_of(folder / name) for name in names}
    if as_json:
        _say(_json_line(_described(manifest, sizes)))
        return
    _say("\n".join(_shown(manifest, sizes)))


@main.command(short_help="Measure how fast a bundle answers here.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.argument("texts", type=click.File("rb"), required=False)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds that count.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Measure predict on N processor cores too.",
)
def bench(bundle: str, texts: IO[bytes] | None, rounds: int, threads: int) -> None:
    """Measure how fast a bundle answers here, beside the bare graph in onnxruntime.

    PATH_OR_NAME is the bundle's folder, or the name of a classifier that ships with pocketrnn. TEXTS is a file with a
    text a line, or - for standard input; without it, the bundle's golden examples are used, some hundred times over.
    The table is Markdown.

    \b
    Examples:
      pocketrnn bench ag_news
      pocketrnn bench ag_news headlines.txt
    """
    from pocketrnn import manifest as manifests
    from pocketrnn.benchmark import bench as measured
    from pocketrnn.benchmark import markdown
    from pocketrnn.shipped import bundle_folder

    if texts is None:
        examples = [example.text for example in manifests.read(bundle_folder(bundle)).examples]
        given = examples * max(1, 1000 // max(1, len(examples)))
    else:
        given = [text for some in _lines(texts) for text in some]
    _say(markdown(measured(bundle, given, rounds=rounds, threads=threads)))


def _write_stream(
    classifier: Classifier, pieces: Sequence[str], top: int, threshold: float | None, as_json: bool
) -> None:
    from pocketrnn.commands.live import arriving

    stream, write = classifier.stream(), _as_json if as_json else _as_columns
    for piece in pieces or arriving(sys.stdin):
        _say(write(piece, _reaching(stream.push(piece, top), threshold)))


def _reaching(prediction: Prediction, threshold: float | None) -> Prediction:
    """The prediction with those of its labels only whose probability reaches the threshold."""
    if threshold is None:
        return prediction
    return replace(prediction, top=tuple(pair for pair in prediction.top if pair[1] >= threshold))


def _write_answers(
    classifier: Classifier, texts: Sequence[str], top: int, threshold: float | None, as_json: bool
) -> None:
    write = _as_json if as_json else _as_columns
    rows = classifier.logits(texts).tolist()
    from pocketrnn.answers import Answers

    stand_for = Answers.of(classifier.manifest)
    predictions = [_reaching(stand_for.prediction(row, top), threshold) for row in rows]
    answers = list(map(write, texts, predictions))
    # One write: click flushes after each.
    if answers:
        _say("\n".join(answers))


def _as_columns(text: str, prediction: Prediction) -> str:
    answers = (f"{one_line(label)}\t{probability:.4f}" for label, probability in prediction.top)
    return "\t".join((*answers, one_line(text)))


def _as_json(text: str, prediction: Prediction) -> str:
    top = [{"label": label, "probability": probability} for label, probability in prediction.top]
    return _json_line({"text": text, "label": prediction.label, "probability": prediction.probability, "top": top})


def _lines(stream: IO[bytes]) -> Iterator[list[str]]:
    """The lines that have arrived, each time some have, without their ends.

    Raises:
        InputError: a line is not UTF-8; the lines before it have been given.
    """
    number = 0
    begun: list[bytes] = []
    while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]
        whole, newline, rest = piece.rpartition(b"\n")
        if not newline:
            begun.append(piece)
            continue
        lines = b"".join([*begun, whole]).split(b"\n")
        begun = [rest] if rest else []
        yield from _decoded(lines, number)
        number += len(lines)
    if begun:
        yield from _decoded([b"".join(begun)], number)


def _decoded(lines: Iterable[bytes], number: int) -> Iterator[list[str]]:
    texts: list[str] = []
    for line in lines:
        number += 1
        try:
            # A file from Windows may begin with a byte order mark.
            texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            if texts:
                yield texts
            raise InputError(
                f"Line {number} of standard input is not UTF-8 (byte {error.start + 1} of the line).",
                "Convert the input, for instance with: iconv -f ISO-8859-1 -t UTF-8",
            ) from None
    yield texts


def _described(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, Any]:
    from dataclasses import asdict

    described = asdict(manifest)
    described["vocabulary_size"] = len(described.pop("vocabulary"))
    described["examples"] = len(manifest.examples)
    return {**described, "bytes": dict(sizes)}


def _shown(manifest: Manifest, sizes: Mapping[str, int]) -> Iterator[str]:
    graph, text = manifest.graph, manifest.text
    unknown = "dropped" if text.unknown_id is None else f"id {text.unknown_id}"
    facts = [
        ("name", manifest.name),
        ("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels)}"),
        ("probabilities", f"{manifest.activation} of the logits"),
        ("tokenizer", text.tokenizer + ("" if text.lowercase else ", case kept")),
        ("n-grams", f"up to {text.ngrams}" if text.ngrams > 1 else "none"),
        ("tokens read", "all" if text.max_tokens is None else f"the first {text.max_tokens}"),
        ("unknown word", unknown),
        ("empty text", f"id {text.empty_id}"),
        ("vocabulary", f"{len(manifest.vocabulary):,} tokens; {graph.embedding_rows:,} embedding rows"),
        ("graph", f"opset {graph.opset}; inputs {', '.join(graph.inputs)}"),
        *(() if manifest.stream is None else [("streams", f"yes; a state of {manifest.stream.state_size:,} numbers")]),
        ("batches", _batches(graph)),
        *((name, f"{size:,} bytes") for name, size in sizes.items()),
        ("golden examples", f"{len(manifest.examples)}"),
    ]
    yield from _table([(name, one_line(value)) for name, value in facts])
    yield ""
    yield f"Parity: largest logit difference allowed {manifest.parity.tolerance:g}"
    head = ("reference", "candidate", "inputs", "runs", "texts", "difference", "labels differing")
    rows = [
        (
            c.reference,
            c.candidate,
            c.inputs,
            f"{c.cases}",
            f"{c.rows}",
            f"{c.largest_difference:.1e}",
            f"{c.labels_differing}",
        )
        for c in manifest.parity.comparisons
    ]
    yield from (f"  {line}" for line in _table([head, *(tuple(map(one_line, row)) for row in rows)]))
    if manifest.provenance:
        yield ""
        yield "Provenance"
        yield from _outline(manifest.provenance)


def _batches(graph: Graph) -> str:
    if graph.batch == 1:
        return "of one text"
    return "padded" if graph.padding else "of one length, since padding would change the answers"


def _outline(members: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    for name, value in members.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{one_line(name)}:"
            yield from _outline(value, indent + "  ")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{indent}{one_line(name)}: {one_line(shown)}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _json_line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(_encoding(sys.stdout))
    except UnicodeEncodeError:
        # A JSON escape is read back as what it stood for, a lone surrogate too; Python's own escapes would not be.
        return json.dumps(value, allow_nan=False)
    return text


def _encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "ascii"


def _say(text: str, *, err: bool = False) -> None:
    """Write `text` and a line's end; what the stream's encoding lacks is escaped."""
    encoding = _encoding(sys.stderr if err else sys.stdout)
    try:
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        _give_up_stdout()
        raise OutputError(
            f"The answer cannot be written: {error.strerror or error}.", "Free some space, or write it elsewhere."
        ) from error


def _give_up_stdout() -> None:
    # What is still buffered goes nowhere; else Python would try to write it when it ends, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
