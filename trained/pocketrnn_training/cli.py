"""The commands `train` and `evaluate`. What needs PyTorch is imported when they run, not when their help is shown."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.commands.terminal import one_line
from pocketrnn.errors import InputError, OutputError, PocketRNNError, require
from pocketrnn.folder import check_free
from pocketrnn.text import TOKENIZERS
from pocketrnn_training.settings import CELLS, CLASS_WEIGHTS, DEVICES, POOLINGS, PRECISIONS, Settings

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier
    from pocketrnn_training.checkpoint import Checkpoint
    from pocketrnn_training.data import LabelledTexts
    from pocketrnn_training.evaluation import Evaluation
    from pocketrnn_training.progress import Epoch, Notice, Progress
    from pocketrnn_training.training import State

__all__ = ["evaluate", "train"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_AG_NEWS: Final = "ag_news"
_NAME_CHARACTERS: Final = 200
# A matrix of more classes is wider than a terminal; the largest confusions are listed in its place.
_MATRIX_CLASSES: Final = 20
_CONFUSIONS_LISTED: Final = 20
_DEFAULTS: Final = Settings()


def _data_options(command: _Command) -> _Command:
    """The options that say how DATA is read."""
    for option in reversed(
        (
            click.option(
                "--text-column", default="text", show_default=True, metavar="NAME", help="The column of the texts."
            ),
            click.option(
                "--label-column", default="label", show_default=True, metavar="NAME", help="The column of the labels."
            ),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                metavar="FOLDER",
                help="The folder with train.csv and test.csv of ag_news. Without it they are downloaded to the user's "
                "cache folder, once.",
            ),
        )
    ):
        command = option(command)
    return command


def _setting(
    name: str,
    kind: click.ParamType[Any],
    help: str,  # noqa: A002
    metavar: str | None = None,
    default: str | None = None,
) -> Callable[[_Command], _Command]:
    """The option for one member of `Settings`, with its default; `default` says in words what None stands for."""
    return click.option(
        "--" + name.replace("_", "-"),
        type=kind,
        default=getattr(_DEFAULTS, name),
        show_default=default or True,
        metavar=metavar,
        help=help,
    )


def _limit(name: str, help: str) -> Callable[[_Command], _Command]:  # noqa: A002
    """The option for a member of `Settings` that may be None, which is 0 on the command line."""
    return click.option(
        "--" + name.replace("_", "-"),
        type=click.IntRange(min=0),
        default=getattr(_DEFAULTS, name) or 0,
        show_default=True,
        metavar="N",
        callback=lambda _context, _option, value: value or None,
        help=help,
    )


_COUNT: Final = click.IntRange(min=1)


@click.command(short_help="Train a classifier.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="CHECKPOINT",
    help="The folder to write the checkpoint and the report to.",
)
@click.option("--force", is_flag=True, help="Replace a checkpoint that stands there.")
@click.option("--resume", is_flag=True, help="Go on with a run that was broken off there; give the same settings.")
@click.option(
    "--export",
    "bundle",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Export the checkpoint to this folder when it is trained (see pocketrnn export).",
)
@click.option(
    "--logger",
    type=click.Choice(["tensorboard"]),
    help="Write the curves for TensorBoard too, to CHECKPOINT.tensorboard.",
)
@click.option("--name", metavar="TEXT", help="What the classifier is called.  [default: the output folder's name]")
@_data_options
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Validate with the rows of this file; may be given several times. Without it a part of DATA is held out.",
)
@_setting("validation_share", click.FloatRange(0, 1, True, True), "How much of each class is held out.", "SHARE")
@_setting("tokenizer", click.Choice(list(TOKENIZERS)), "How a text is cut into tokens.")
@_setting("ngrams", _COUNT, "Add the n-grams of the tokens, up to N.", "N")
@_limit("max_tokens", "Read the first N tokens of a text; 0 for all.")
@_setting("min_freq", _COUNT, "Keep a token in the vocabulary if it occurs N times.", "N")
@_limit("max_vocabulary", "Keep the N most frequent tokens; 0 for all.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start the embedding from these word vectors: text in GloVe's format, plain or .gz.",
)
@_setting("cell", click.Choice(CELLS), "The recurrent cell.")
@_setting("embedding_dim", _COUNT, "Numbers for a token.", "N", "those of the vectors, else 64")
@_setting("hidden_dim", _COUNT, "Numbers in a state of one layer in one direction.", "N")
@_setting("layers", _COUNT, "Recurrent layers on each other.", "N")
@click.option(
    "--bidirectional/--one-direction",
    default=_DEFAULTS.bidirectional,
    show_default=True,
    help="Read the text from both ends, or from its beginning only.",
)
@_setting("dropout", click.FloatRange(0, 1, max_open=True), "Values set to zero while training.", "SHARE")
@_setting("pooling", click.Choice(POOLINGS), "What of the last layer's states is classified.")
@click.option(
    "--packed/--padded",
    default=_DEFAULTS.packed,
    show_default=True,
    help="Read each text by its length, or read the batch's padding as if it were text (worse; to see how much).",
)
@_setting(
    "adversarial", click.FloatRange(0, 1, max_open=True), "Read each row again, moved against it so far.", "SHARE"
)
@_setting("class_weights", click.Choice(CLASS_WEIGHTS), "Count every row alike, or every class.")
@_setting("batch_size", _COUNT, "Rows a step, of each process.", "N")
@_setting("learning_rate", click.FloatRange(0, min_open=True), "Adam's first; it falls to 0 by the last epoch.", "RATE")
@_setting("epochs", _COUNT, "Epochs at most.", "N", "as many as read 250,000 rows, from 4 to 30")
@_setting("epoch_size", _COUNT, "Rows an epoch; the classifier is validated after each.", "N", "all training rows")
@_limit("patience", "Stop after N epochs without a better validation accuracy; 0 for never.")
@_setting("seed", click.IntRange(0, 2**63 - 1), "Two runs with one seed are equal on one CPU.", "N")
@_setting("device", click.Choice(DEVICES), "Where to train; auto is CUDA where there is one.")
@_setting("precision", click.Choice(PRECISIONS), "Of the products; bf16 is for GPUs.")
@_setting("processes", _COUNT, "Processes that share the work: one a CUDA device, or on the CPU.", "N")
@_setting("report_every", _COUNT, "Tell the running loss and accuracy every N rows.", "N")
@click.pass_context
def train(
    context: click.Context,
    /,
    data: tuple[str, ...],
    output: Path,
    force: bool,
    resume: bool,
    bundle: Path | None,
    logger: str | None,
    name: str | None,
    text_column: str,
    label_column: str,
    data_dir: Path | None,
    validation: tuple[Path, ...],
    vectors: Path | None,
    **choices: Any,
) -> None:
    """Train a classifier on DATA and write its best epoch as a checkpoint.

    DATA is one or more files of one data set (.csv or .tsv with a header line, .jsonl, .ndjson, .parquet; UTF-8), or
    the word ag_news. After each epoch the classifier is validated on rows that it does not train on, and written if it
    is better than before; Ctrl-C ends the training and leaves the best so far, and --resume goes on from there.

    CHECKPOINT is a folder: the weights (weights.safetensors) and all else that the classifier is (config.json), the
    history of the epochs (history.csv), and, when the run is over, report.md with its pictures: the learning curve,
    which classes are confused, accuracy by length, the worst mistakes. The probabilities are calibrated on the
    validation rows.

    A checkpoint holds up to 32 texts of the validation rows, which `pocketrnn export` copies as examples.

    \b
    Examples:
      pocketrnn train reviews.csv -o reviews.checkpoint
      pocketrnn train reviews.csv -o reviews.checkpoint --export reviews.bundle
      pocketrnn train one.tsv two.tsv -o topics --text-column title --label-column topic
      pocketrnn train ag_news -o news --vectors glove.6B.100d.txt.gz
      pocketrnn train reviews.csv -o lesson --cell lstm --one-direction --pooling last --padded
    """
    for package in ("torch", "lightning_fabric", "safetensors", "pyarrow", "rich", "sklearn", "scipy", "matplotlib"):
        require(package, "train")
    if logger is not None:
        require("tensorboard", "tensorboard")
    from pocketrnn_training import checkpoint as checkpoints
    from pocketrnn_training import report as reports
    from pocketrnn_training import run_folder
    from pocketrnn_training.data import read_files
    from pocketrnn_training.preparation import parts
    from pocketrnn_training.progress import Notice
    from pocketrnn_training.training import train as train_classifier

    settings = Settings(**choices)
    export = None if bundle is None else _export_command(context)
    if bundle is not None:
        check_free(bundle, force=force, made_by="classifier.json")
    state: State | None = None
    if resume:
        state = _state_to_resume(output, settings)
    else:
        check_free(output, force=force, made_by=checkpoints.CONFIG_JSON)
    notices: list[Notice] = []
    kept = False
    try:
        with _display() as show, _tensorboard(logger, output, force=force, resume=resume) as log:
            training_data = _read(data, text_column, label_column, data_dir, "train", None)
            given = None
            if validation:
                given = read_files(
                    validation, text_column=text_column, label_column=label_column, labels=training_data.labels
                )
            # Here and not in the training, since the report is of the validation rows too.
            training_data, validation_data = parts(training_data, given, settings)

            def report(event: Progress | Epoch | Notice) -> None:
                if isinstance(event, Notice):
                    notices.append(event)
                show(event)
                log(event)

            def keep(reached: State) -> None:
                nonlocal state, kept
                # The second and later ones replace the first of this same run.
                run_folder.keep(reached, output, force=force or resume or kept)
                state, kept = reached, True

            best = train_classifier(
                training_data,
                settings,
                name=(name or output.absolute().name or "classifier")[:_NAME_CHARACTERS],
                validation=validation_data,
                word_vectors=vectors,
                report=report,
                keep=keep,
                resume=state,
            )
            assert state is not None  # noqa: S101 - it was kept after the first epoch at the latest
            history = state.history
            run_folder.finish(
                state,
                output,
                lambda folder: reports.write(folder, best, history, validation_data, notices),
            )
    except (KeyboardInterrupt, PocketRNNError) as error:
        if state is not None and kept:
            click.echo(f"The best checkpoint so far is in {output}: {_told(state.best)}.", err=True)
        if not isinstance(error, KeyboardInterrupt | OutputError):
            raise
        if state is not None:
            click.echo("Go on with the same command and --resume.", err=True)
        else:
            click.echo("The first epoch was not over, so that nothing was kept.", err=True)
        raise
    click.echo(f"The checkpoint and its report are in {output}: {_told(best)}.")
    if export is not None:
        context.invoke(export, source=str(output), output=bundle, force=force)
    else:
        suggested = f"{output}.bundle" if output.name else "classifier.bundle"
        click.echo(f"Export it with: pocketrnn export {shlex.quote(str(output))} -o {shlex.quote(suggested)}")


def _export_command(context: click.Context) -> click.Command:
    """The command `export`, which the layer above this one brings to the same command line, if it is installed."""
    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        require(package, "export")
    group = context.find_root().command
    command = group.get_command(context.find_root(), "export") if isinstance(group, click.Group) else None
    if command is None:
        raise InputError("There is no command to export with here.", "Run this through the pocketrnn command.")
    return command


def _state_to_resume(output: Path, settings: Settings) -> State:
    from pocketrnn_training import run_folder

    if not run_folder.is_unfinished(output):
        raise InputError(
            f"No run was broken off in {output}.", "Leave --resume out to train, or give the folder of the run."
        )
    state = run_folder.read_state(output)
    for name, value in asdict(settings).items():
        before = state.best.training.get(name)
        if value != before and name not in ("device", "report_every"):
            raise InputError(
                f"The run in {output} was made with {name} {before!r}, not {value!r}.",
                "Give the settings that it was started with.",
            )
    return state


@contextmanager
def _tensorboard(
    logger: str | None, output: Path, *, force: bool, resume: bool
) -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """What writes a run's curves for TensorBoard, if that is asked for."""
    if logger is None:
        yield lambda _: None
        return
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    from pocketrnn_training.progress import Epoch, Progress

    # Beside the run's folder: that is written anew after every epoch, and these files grow.
    folder = output.absolute().with_name(f"{output.absolute().name}.tensorboard")
    for before in () if resume else sorted(folder.glob("events.out.tfevents.*")):
        if not force:
            raise OutputError(f"{folder} holds the curves of another run.", "Delete it, or replace it with --force.")
        before.unlink()
    board = TensorBoardLogger(folder.parent, name=folder.name, version="")

    def log(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Progress):
            rows = (event.epoch - 1) * event.rows + event.row
            board.log_metrics(
                {"loss": event.loss, "accuracy": event.accuracy, "rows_per_second": event.rows_per_second}, step=rows
            )
        elif isinstance(event, Epoch):
            board.log_metrics(
                {"validation/loss": event.validation_loss, "validation/accuracy": event.validation_accuracy},
                step=event.epoch,
            )

    try:
        yield log
    finally:
        board.finalize("")


def _told(checkpoint: Checkpoint) -> str:
    accuracy, rows = checkpoint.metrics["validation_accuracy"], checkpoint.data["validation_rows"]
    return f"{accuracy:.1%} right of {rows:,} validation rows, after epoch {checkpoint.metrics['epoch']}"


@click.command(short_help="Measure a classifier on labelled texts.")
@click.argument("classifier", metavar="CLASSIFIER")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@_data_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def evaluate(
    classifier: str,
    data: tuple[str, ...],
    text_column: str,
    label_column: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Classify DATA and show accuracy, precision, recall and F1 of each class, and which classes are confused.

    CLASSIFIER is the folder of a checkpoint, which PyTorch answers for, or that of a bundle or the name of one that
    ships with pocketrnn, which the runtime answers for. DATA is as for `pocketrnn train`; ag_news is its test part.

    A checkpoint that is not packed is asked as it was trained: batches of the training batch size, in the order of the
    rows, each padded to its longest. What padding does to its answers shows here; its bundle never pads.

    \b
    Examples:
      pocketrnn evaluate reviews.checkpoint test.csv
      pocketrnn evaluate --json ag_news test.csv
    """
    for package in ("torch", "safetensors", "pyarrow", "sklearn"):
        require(package, "train")
    from pocketrnn_training.evaluation import evaluate as evaluate_classifier

    asked = _classifier(classifier)
    rows = _read(data, text_column, label_column, data_dir, "test", tuple(asked.labels))
    result = evaluate_classifier(asked, rows)
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        click.echo("\n".join(_evaluation_lines(result)))


def _classifier(path_or_name: str) -> Classifier | Checkpoint:
    from pocketrnn.classifier import Classifier
    from pocketrnn_training import checkpoint as checkpoints

    folder = Path(path_or_name)
    if (folder / checkpoints.CONFIG_JSON).is_file():
        return checkpoints.read(folder)
    return Classifier.load(path_or_name)


def _read(
    data: tuple[str, ...],
    text_column: str,
    label_column: str,
    data_dir: Path | None,
    part: str,
    labels: tuple[str, ...] | None,
) -> LabelledTexts:
    from pocketrnn_training.data import ag_news, read_files

    if _AG_NEWS in data:
        if len(data) > 1:
            raise InputError("ag_news stands beside other data.", "Give ag_news alone, or files alone.")
        return ag_news(part, data_dir, labels=labels)
    if data_dir is not None:
        raise InputError("--data-dir is for ag_news only.", "Give the files by their names.")
    return read_files(list(map(Path, data)), text_column=text_column, label_column=label_column, labels=labels)


@contextmanager
def _display() -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """What shows a run's progress on stderr: a live bar on a terminal, else plain lines."""
    from pocketrnn_training.progress import Epoch, Notice

    def told(event: Epoch | Notice) -> str:
        return f"Note: {one_line(event.text)}" if isinstance(event, Notice) else _epoch_line(event)

    def say(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Epoch | Notice):
            click.echo(told(event), err=True)
        else:
            place = f"epoch {event.epoch}/{event.epochs}  row {event.row:,}/{event.rows:,}"
            left = (event.epochs - event.epoch + 1) * event.rows - event.row
            time_left = timedelta(seconds=round(left / event.rows_per_second))
            click.echo(f"{place}  {_progress_figures(event)}  at most {time_left} left", err=True)

    if not sys.stderr.isatty():
        yield say
        return

    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading the data", total=None, figures="")

        def show(event: Progress | Epoch | Notice) -> None:
            if isinstance(event, Epoch | Notice):
                bar.console.print(told(event), highlight=False, markup=False)
                return
            bar.update(
                task,
                description=f"epoch {event.epoch}/{event.epochs}",
                total=event.epochs * event.rows,
                completed=(event.epoch - 1) * event.rows + event.row,
                figures=_progress_figures(event),
            )

        yield show


def _progress_figures(event: Progress) -> str:
    return f"loss {event.loss:.4f}  accuracy {event.accuracy:.1%}  {event.rows_per_second:,.0f} rows/s"


def _epoch_line(event: Epoch) -> str:
    best = "  best so far" if event.best else ""
    return (
        f"epoch {event.epoch}  validation loss {event.validation_loss:.4f}  "
        f"accuracy {event.validation_accuracy:.1%}{best}"
    )


def _evaluation_lines(result: Evaluation) -> Iterator[str]:
    yield f"accuracy {result.accuracy:.2%} of {result.rows:,} rows, mean F1 {result.macro_f1:.2%}"
    yield ""
    yield from _aligned(
        [("", "class", "precision", "recall", "F1", "rows")]
        + [
            (f"{i}", one_line(c.label), f"{c.precision:.2%}", f"{c.recall:.2%}", f"{c.f1:.2%}", f"{c.rows:,}")
            for i, c in enumerate(result.classes, start=1)
        ]
    )
    yield ""
    labels = [one_line(c.label) for c in result.classes]
    if len(labels) <= _MATRIX_CLASSES:
        yield "Confusion: a line for each true class, a column for each class given."
        yield from _aligned(
            [("", "class", *(f"{i}" for i in range(1, len(labels) + 1)))]
            + [
                (f"{i}", label, *(f"{count:,}" for count in counts))
                for i, (label, counts) in enumerate(zip(labels, result.confusion, strict=True), start=1)
            ]
        )
        return
    confused = sorted(
        (-count, i, j)
        for i, counts in enumerate(result.confusion)
        for j, count in enumerate(counts)
        if count and i != j
    )
    yield f"The largest of {len(confused):,} confusions; --json gives the whole matrix."
    yield from _aligned(
        [("", "true class", "class given", "rows")]
        + [("", labels[i], labels[j], f"{-count:,}") for count, i, j in confused[:_CONFUSIONS_LISTED]],
        names=3,
    )


def _aligned(rows: Sequence[Sequence[str]], names: int = 2) -> Iterator[str]:
    """Columns of one width: the first `names` to the left, the numbers after them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if i < names else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).strip(" ") if not widths[0] else "  ".join(cells).rstrip()
