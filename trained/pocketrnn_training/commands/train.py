"""The command `train`. It imports PyTorch when it runs, not when its help is shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.bundle.atomic_writing import check_output_folder
from pocketrnn.bundle.names_from_paths import choose_default_bundle_folder
from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.errors import InputError, OutputError, PocketRNNError, require_module
from pocketrnn.tags import has_span_prefixes
from pocketrnn_training.classifiers.checkpoint_file_names import (
    CONFIG_JSON,
    check_run_can_write_folder,
    read_checkpoint_file,
)
from pocketrnn_training.commands.data_options import data_options, split_option_value_at_commas
from pocketrnn_training.commands.progress_display import show_progress
from pocketrnn_training.rows.data_source import LABELS_OF, DataSource
from pocketrnn_training.settings.settings_from_options import (
    find_default_of_setting_in_any_kind,
    make_settings_from_values_by_name,
)
from pocketrnn_training.settings.settings_of_all_runs import (
    CELLS,
    CLASS_WEIGHTS,
    DEVICES,
    METRICS,
    POOLINGS,
    PRECISIONS,
)
from pocketrnn_training.settings.text_settings import BPE, SPLITS

if TYPE_CHECKING:
    from pocketrnn_training.classifiers.checkpoint import Checkpoint
    from pocketrnn_training.training_events import Epoch, Notice, Progress
    from pocketrnn_training.training_run import TrainingRun

__all__ = ["train"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _make_setting_option(
    name: str,
    kind: click.ParamType[Any],
    help: str,  # noqa: A002
    metavar: str | None = None,
    default: str | None = None,
) -> Callable[[_Command], _Command]:
    """Make the click option of one setting of a run; its default is that of the setting.

    Args:
        name: the name of the setting.
        kind: the type of the option.
        help: the help text.
        metavar: what the help shows in place of a value.
        default: what the help shows as the default, for a setting whose default is None.
    """
    return click.option(
        "--" + name.replace("_", "-"),
        type=kind,
        default=find_default_of_setting_in_any_kind(name),
        show_default=default or True,
        metavar=metavar,
        help=help,
    )


def _make_option_with_0_for_none(name: str, help: str) -> Callable[[_Command], _Command]:  # noqa: A002
    """Make the click option of a setting that may be None. On the command line, 0 means None."""
    return click.option(
        "--" + name.replace("_", "-"),
        type=click.IntRange(min=0),
        default=find_default_of_setting_in_any_kind(name) or 0,
        show_default=True,
        metavar="N",
        callback=lambda _context, _option, value: value or None,
        help=help,
    )


def _parse_integer_scale_option(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Parse the value of --integer-scale as numbers with commas between them; None without a value."""
    try:
        return None if value is None else tuple(map(float, value.split(",")))
    except ValueError:
        raise click.UsageError(
            f"--integer-scale is {value!r}, but it must be a number, or numbers with commas between them: give 0.001 "
            "or 0.001,0.01."
        ) from None


_COUNT: Final = click.IntRange(min=1)
# The options by the headings of the help.
_GROUPS: Final = {
    "Options": (
        *("output", "vectors", "shipped_vectors", "epochs", "validation", "before", "bundle", "text_column"),
        *("second_text_column", "label_column", "multi_label", "labels_of", "label_separator", "encoding"),
        *("no_examples", "resume", "force"),
    ),
    "The classifier": ("cell", "bidirectional", "layers", "hidden_dim", "embedding_dim", "pooling", "packed", "linear"),
    "How a text becomes ids": (
        *("tokenizer", "vocabulary_size", "ngrams", "max_tokens", "min_freq", "max_vocabulary", "vector_words"),
        *("spelling",),
    ),
    "Sequences of numbers": (
        *("channels", "sequence_column", "time_column", "channels_first", "window", "hop", "missing"),
        *("integer_scale", "units", "rate", "kernels", "convolution", "stride", "filters", "jitter", "scaling"),
        *("time_masking",),
    ),
    "How it is trained": (
        *("learning_rate", "batch_size", "dropout", "class_weights", "adversarial", "piece_dropout", "word_dropout"),
        *("label_smoothing", "epoch_size", "patience", "metric", "none_of_these", "outside", "validation_share"),
        *("folds", "final_fit", "seed"),
    ),
    "Learn from a teacher": ("teachers", "unlabelled", "teacher_weight", "teacher_temperature", "teacher_logits"),
    "The machine": ("device", "precision", "processes", "threads"),
    "Rare options": ("name", "data_dir", "logger", "quiet", "report_every"),
}


@click.command(
    cls=Command,
    short_help="Train a classifier.",
    groups=_GROUPS,
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="CHECKPOINT",
    help="The folder to write the checkpoint and the report to.",
)
@click.option("--force", is_flag=True, help="Replace a checkpoint in that folder.")
@click.option(
    "--from",
    "before",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Go on from this checkpoint, with its tokenizer and shape; new words and new labels are added.",
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in that folder; give the same settings.")
@click.option(
    "--no-examples",
    is_flag=True,
    help="Put none of your texts into the checkpoint, nor into the bundles that are made from it.",
)
@click.option(
    "--export",
    "bundle",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Export the checkpoint to this folder after the training (see pocketrnn export).",
)
@click.option(
    "--logger",
    type=click.Choice(["tensorboard"]),
    help="Also write the curves for TensorBoard, to CHECKPOINT.tensorboard.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no notes; the report has the notes.")
@click.option(
    "--name",
    type=Text(),
    metavar="TEXT",
    help="The name of the classifier.  [default: the output folder's name, without .checkpoint or .ckpt]",
)
@click.option(
    "--multi-label",
    is_flag=True,
    help="A text can have several labels, or none: a list in JSON Lines and Parquet, sad|long in CSV. A threshold is "
    "chosen for each label, and kept.",
)
@click.option(
    "--labels-of",
    type=click.Choice(LABELS_OF),
    default=LABELS_OF[0],
    show_default=True,
    help="The items that have labels. With tokens, a tagger is trained, from files with a word and its label on each "
    "line (CoNLL's columns, .conllu).",
)
@data_options
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Validate with the rows of this file; may be given several times. Without it a part of DATA is held out.",
)
@_make_setting_option(
    "validation_share", click.FloatRange(0, 1, True, True), "The share of each class that is held out.", "SHARE"
)
@_make_setting_option(
    "tokenizer",
    click.Choice(SPLITS),
    "How a text is split into tokens; bpe: into pieces of words, which are learnt from the training rows.",
    default="basic_english or bpe, as the rows choose",
)
@_make_setting_option(
    "vocabulary_size", click.IntRange(min=8), "Learn N pieces at most; with bpe.", "N", "4000 with bpe"
)
@_make_setting_option("ngrams", _COUNT, "Add the n-grams of the tokens, up to N.", "N")
@_make_option_with_0_for_none("max_tokens", "Read the first N tokens of a text; 0 for all.")
@_make_setting_option(
    "min_freq",
    _COUNT,
    "Keep a token in the vocabulary if it occurs N times; of bpe, a character or a merge.",
    "N",
    "2, and 1 of words in fewer than 1,000 rows",
)
@_make_option_with_0_for_none("max_vocabulary", "Keep the N most frequent tokens; 0 for all. Not with bpe.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start from these word vectors: text in GloVe's format, plain or .gz, or a table of scripts/make_words.",
)
@click.option(
    "--no-vectors",
    "shipped_vectors",
    flag_value=False,
    default=True,
    help="Do not try the word vectors that are installed (pocketrnn-words).",
)
@_make_setting_option(
    "vector_words", click.IntRange(min=0), "Add up to N words that only the word vectors know; none with bpe.", "N"
)
@click.option(
    "--spelling/--no-spelling",
    default=None,
    help="Let words that are spelt alike learn from each other, by their fragments of 3 to 5 characters.  "
    "[default: with words as tokens and fewer than 20,000 rows]",
)
@click.option(
    "--linear/--no-linear",
    default=None,
    help="Fit a linear part, too: scores of words, of pairs of words and of their characters, which are added to the "
    "logits.  [default: with one label a text, words or bpe as tokens, both directions, fewer than 20,000 rows, and no "
    "teacher]",
)
@click.option(
    "--compare/--no-compare",
    default=None,
    help="Before the training, let four folds of the rows choose between words and pieces, and the weights of the "
    "recurrent and the linear part; without this choice a run takes a third of the time.  [default: with a "
    "linear part and from 100 to 10,000 rows]",
)
@click.option(
    "--teacher",
    "teachers",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="TEACHER",
    help="Learn from this teacher, too: a file of probabilities, a checkpoint or a bundle. Several are averaged.",
)
@click.option("--teacher-logits", is_flag=True, help="The files of teachers hold logits, not probabilities.")
@_make_setting_option(
    "teacher_weight",
    click.FloatRange(0, 1),
    "How much of the loss of a row is that of the teacher's answer, if the row has a label, too.",
    "SHARE",
)
@_make_setting_option(
    "teacher_temperature",
    click.FloatRange(1, 100, max_open=True),
    "Compare student and teacher with their logits divided by this.",
    "NUMBER",
)
@click.option(
    "--unlabelled",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Learn the teacher's answers to the texts of this file, too; may be given several times.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    metavar="N",
    help="Learn from windows of N steps; in the bundle, a recording is answered in such windows.  [default: whole "
    "sequences]",
)
@click.option(
    "--hop",
    type=click.IntRange(min=1),
    metavar="N",
    help="The next window begins N steps later.  [default: the window]",
)
@click.option(
    "--missing",
    type=float,
    metavar="NUMBER",
    help="The value of a missing sample, in the channel's own unit.  [default: such a sequence is refused]",
)
@click.option(
    "--integer-scale",
    type=Text(),
    metavar="NUMBERS",
    callback=_parse_integer_scale_option,
    help="The factor for whole numbers of each channel, such as those of a sensor, here and in the bundle: 0.001 for "
    "all, or 0.001,0.001,0.01.",
)
@click.option(
    "--units",
    type=Text(),
    metavar="UNITS",
    callback=split_option_value_at_commas,
    help="The unit of each channel, for information only: g,g,m/s.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="NUMBER",
    help="Samples a second, for information only.",
)
@_make_setting_option(
    "kernels",
    click.IntRange(min=0),
    "How many random kernels a linear layer reads, in place of recurrent layers; 0 for recurrent layers.",
    "N",
    "1008, or 0 if an option of recurrent layers is given",
)
@_make_setting_option(
    "convolution",
    click.IntRange(min=0),
    "The steps that a filter of the convolution before the recurrent layers sees, an odd number; 0 for none.",
    "N",
)
@_make_setting_option(
    "stride",
    _COUNT,
    "Apply the filters at every N-th step, so that the recurrent layers read fewer steps; above 1, it cannot be "
    "packed.",
    "N",
)
@_make_setting_option("filters", _COUNT, "How many filters there are.", "N")
@_make_setting_option(
    "jitter", click.FloatRange(0), "The standard deviation of noise that is added while training.", "NUMBER"
)
@_make_setting_option(
    "scaling",
    click.FloatRange(0),
    "The standard deviation of factors by which channels are multiplied while training.",
    "NUMBER",
)
@_make_setting_option(
    "time_masking",
    click.FloatRange(0, 1, max_open=True),
    "The largest share of the steps of a sequence that are hidden while training.",
    "SHARE",
)
@_make_setting_option("cell", click.Choice(CELLS), "The recurrent cell; qrnn is a GRU without recurrent weights.")
@_make_setting_option(
    "embedding_dim", _COUNT, "The size of the embedding of a token.", "N", "those of the vectors, else 64"
)
@_make_setting_option(
    "hidden_dim",
    _COUNT,
    "The size of the state of one layer in one direction.",
    "N",
    "96, 128 of a qrnn; 64 with numbers",
)
@_make_setting_option("layers", _COUNT, "The number of stacked recurrent layers.", "N")
@click.option(
    "--bidirectional/--one-direction",
    default=find_default_of_setting_in_any_kind("bidirectional"),
    show_default=True,
    help="Read the text in both directions, or only forwards.",
)
@_make_setting_option(
    "dropout",
    click.FloatRange(0, 1, max_open=True),
    "The share of values set to zero while training.",
    "SHARE",
    "0.5, 0.3 with --multi-label, less for a small state of texts, 0 for one epoch of them",
)
@_make_setting_option("pooling", click.Choice(POOLINGS), "How the states of the last layer become one vector.")
@click.option(
    "--packed/--padded",
    default=find_default_of_setting_in_any_kind("packed"),
    show_default=True,
    help="Read each text without padding, or read the padding of a batch like text, which is worse.",
)
@_make_setting_option(
    "adversarial",
    click.FloatRange(0, 1, max_open=True),
    "Adversarial training: train each row a second time, with its embeddings changed by this share of their length in "
    "the direction that raises its loss.",
    "SHARE",
)
@_make_setting_option(
    "piece_dropout",
    click.FloatRange(0, 1, max_open=True),
    "The share of merges of bpe that are skipped while training, anew in every epoch; 0 for the same pieces in all.",
    "SHARE",
)
@_make_setting_option(
    "word_dropout",
    click.FloatRange(0, 1, max_open=True),
    "The share of tokens that are made unknown while training.",
    "SHARE",
)
@_make_setting_option(
    "label_smoothing",
    click.FloatRange(0, 1, max_open=True),
    "Label smoothing: the share of a row's weight that is spread over all classes.",
    "SHARE",
    "0.05; 0 with --multi-label",
)
@_make_setting_option("class_weights", click.Choice(CLASS_WEIGHTS), "Give every row the same weight, or every class.")
@_make_setting_option(
    "batch_size",
    _COUNT,
    "Rows in a step, for each process.",
    "N",
    "64, or 128 from 20,000 rows on; 16 for fewer than 2,000 sequences of numbers",
)
@_make_setting_option(
    "learning_rate",
    click.FloatRange(0, min_open=True),
    "The highest learning rate of AdamW, which rises to it and falls to 0.",
    "RATE",
)
@_make_setting_option(
    "epochs", _COUNT, "The largest number of epochs.", "N", "by the rows and the classes, from 4 up; 10 with numbers"
)
@_make_setting_option(
    "epoch_size",
    _COUNT,
    "Rows in an epoch; the classifier is validated after each epoch.",
    "N",
    "all training rows; of numbers, 480 at least",
)
@_make_option_with_0_for_none("patience", "Stop after N epochs without a better validation; 0 for never.")
@_make_setting_option(
    "none_of_these",
    click.FloatRange(0, 1, min_open=True),
    "Keep a threshold that this share of the right validation answers reaches, such as 0.95: `classify` gives no label "
    "to texts below it.",
    "SHARE",
    "no threshold",
)
@_make_setting_option(
    "metric",
    click.Choice(METRICS),
    "The measure that chooses the best epoch: accuracy, or the mean F1 of all classes.",
    default="accuracy; with --multi-label f1, of all answers together",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="K",
    help="Cross-validate, too, after the training: train K times more, each time on all rows but a K-th part, which is "
    "measured.",
)
@click.option(
    "--final-fit/--no-final-fit",
    default=None,
    help="At the end, fit the classifier once more on all rows, also on those that were held out; or do not.  "
    "[default: with fewer than 20,000 rows, and without --validation and --teacher]",
)
@_make_setting_option(
    "seed", click.IntRange(0, 2**63 - 1), "Two runs with the same seed are equal on the same CPU.", "N"
)
@_make_setting_option("device", click.Choice(DEVICES), "Where to train; auto is CUDA where there is one.")
@_make_setting_option("precision", click.Choice(PRECISIONS), "The precision of matrix products; bf16 is for GPUs.")
@_make_setting_option(
    "processes", _COUNT, "Processes that share the work, each on a CUDA device of its own or on the CPU.", "N"
)
@_make_setting_option(
    "threads", _COUNT, "Processor cores for each process; see docs/training.md before you use more.", "N"
)
@_make_setting_option(
    "report_every",
    _COUNT,
    "Show the running loss and accuracy every N rows.",
    "N",
    "1000; where there is no terminal, each epoch",
)
@click.pass_context
def train(
    context: click.Context,
    /,
    source: DataSource,
    output: Path,
    force: bool,
    resume: bool,
    no_examples: bool,
    bundle: Path | None,
    logger: str | None,
    quiet: bool,
    name: str | None,
    validation: tuple[Path, ...],
    vectors: Path | None,
    teachers: tuple[Path, ...],
    teacher_logits: bool,
    unlabelled: tuple[Path, ...],
    before: Path | None,
    folds: int | None,
    **choices: Any,
) -> None:
    """Train a classifier on DATA and write it as a checkpoint.

    DATA is one or more files of one data set (.csv or .tsv with a header line, .jsonl, .ndjson, .parquet), files of
    fastText (.txt: lines of __label__NAME and a text), or the word ag_news. Or files of sequences of numbers: .ts,
    .npz, or any of these tables with a row for each step and --channels (docs/numbers.md).

    After each epoch the classifier is validated on rows that it does not train on. With fewer than 20,000 rows, the
    last epoch counts, and then the classifier is fitted once more, on all rows (--final-fit); else the best epoch is
    kept. Ctrl-C ends the training and leaves what is kept so far; --resume goes on from there.

    CHECKPOINT is a folder: the weights (weights.safetensors), everything else about the classifier (config.json), the
    history of the epochs (history.csv) and, at the end of the run, report.html, and report.md with its pictures: the
    learning curve, which classes are confused, accuracy by length, the worst mistakes. The probabilities are calibrated
    on the validation rows.

    With --from, training goes on from a checkpoint with new rows. Its tokenizer, its shape and its labels stay; words
    and labels that it lacks are added. It forgets what DATA does not show, unless you give the old rows, too.

    With --second-text-column, a row is two texts, such as a premise and a hypothesis: both are read by the same layers,
    and compared (docs/pairs.md). There is no linear part and no teacher then.

    With --multi-label, each label is a question of its own, and its threshold is chosen on the validation rows for the
    highest F1. The report and the last line have F1 of all answers together (micro) and the mean of all labels (macro).

    With --outside, rows with that label belong to none of the classes, and are not trained on. The threshold below
    which `classify` gives no label is the one that separates them best from the validation rows; with --none-of-these,
    they only measure it.

    With --folds 5, the training is then repeated five times, each time on four fifths of the rows, and measured on the
    last fifth, like the linear model. The result is the mean and the spread of five measurements, which cover all rows,
    where the validation rows alone are few. The checkpoint is that of the first training, as without the option.

    A teacher is a file with a row for each row of DATA, in its order, and then of the files of --unlabelled: a column
    for each label, named by it, or a column `probabilities` or `logits` with lists in the order of the labels, which
    are sorted. A row whose values are all empty has no answer. Rows of DATA that a teacher answers may have an empty
    label. If the file has the column of texts, they are compared with those of DATA. Or it is the folder of a
    checkpoint or a bundle, which is run on the texts. See docs/from-a-transformer.md.

    A checkpoint holds up to 32 texts of the validation rows, of which `pocketrnn export` copies some into the bundle as
    golden examples. Whoever has them can read these texts. With --no-examples, they are made of words of the vocabulary
    instead. The report shows texts, too: those of the worst mistakes.

    For sequences of numbers, the mean and the scale of each channel are learnt from the training rows, and are data in
    the bundle. Where --window divides a recording, all its windows are training rows, or all validation rows. By
    default, the classifier consists of random kernels and a linear layer. It is fitted in seconds, and with few rows
    its accuracy is measured by five folds; with --kernels 0, or an option of recurrent layers, it is recurrent.

    With --labels-of tokens, DATA is files of sentences with a word and its label in each line: .conllu (Universal
    Dependencies; FORM and UPOS), or columns with the word first and its label last; an empty line ends a sentence.
    Words are cut into pieces, which are learnt from DATA (docs/tags.md, "Train a tagger").

    \b
    Examples:
      pocketrnn train reviews.csv -o reviews.checkpoint
      pocketrnn train reviews.csv -o reviews.checkpoint --export reviews.bundle
      pocketrnn train tags.jsonl -o tags.checkpoint --multi-label
      pocketrnn train one.tsv two.tsv -o topics --text-column title --label-column topic
      pocketrnn train reviews.csv -o reviews.checkpoint --tokenizer bpe --vocabulary-size 8000
      pocketrnn train nli.csv -o nli.checkpoint --text-column premise --second-text-column hypothesis
      pocketrnn train ag_news -o news --vectors glove.6B.100d.txt.gz
      pocketrnn train reviews.csv -o small --teacher probabilities.parquet --unlabelled more.csv
      pocketrnn train reviews.csv new.csv -o newer.checkpoint --from reviews.checkpoint
      pocketrnn train BasicMotions_TRAIN.ts -o motions.checkpoint
      pocketrnn train en-train.conllu -o words --labels-of tokens --validation en-dev.conllu
      pocketrnn train walks.csv -o steps --channels ax,ay,az --sequence-column walk --window 50 --hop 25
      pocketrnn train reviews.csv -o lesson --cell lstm --one-direction --pooling last --padded
    """
    # Mistakes that can be found without PyTorch are reported first, before it is loaded.
    settings = make_settings_from_values_by_name(source.settings, choices)
    check_run_can_write_folder(output, force=force, resume=resume)
    if bundle is not None:
        check_output_folder(bundle, force=force, marker_file="classifier.json")
    if before is not None:
        read_checkpoint_file(before, CONFIG_JSON)
    source.check_files(validation, unlabelled)
    with nullcontext() if quiet else print_line_if_slow("Loading PyTorch ..."):
        export = None if bundle is None else _find_export_command_of_command_line(context)
        _require_packages(logger, BPE if source.of_tokens else choices["tokenizer"])
        from pocketrnn_training.training_run import TrainingRun

    run = TrainingRun(
        source,
        output,
        settings,
        name=name,
        validation=validation,
        word_vectors=vectors,
        teachers=teachers,
        teacher_logits=teacher_logits,
        unlabelled=unlabelled,
        before=before,
        force=force,
        resume=resume,
        examples=not no_examples,
        folds=folds,
    )
    best = _train_with_progress(run, logger, quiet=quiet)
    _print_result(run, best)
    if export is not None:
        context.invoke(export, source=str(output), output=bundle, force=force)
    else:
        print_line(
            f"Export it with: pocketrnn export {shlex.quote(str(output))} -o "
            f"{shlex.quote(str(choose_default_bundle_folder(output)))}"
        )


def _print_result(run: TrainingRun, best: Checkpoint) -> None:
    """Print where the checkpoint is, its scores, and how many of the user's rows it holds as examples."""
    print_line(f"The checkpoint and its report are in {run.output}: {_describe_result(best)}.")
    if run.cross_validation is not None:
        print_line(f"Cross-validation: {run.cross_validation.summary}")
    if best.examples and run.examples:
        what = "sentences" if run.source.of_tokens else "texts" if best.vocabulary else "sequences"
        what = "pairs of texts" if best.two_texts else what
        print_line(
            f"Inside are {len(best.examples)} of your {what}, as examples; every bundle made of it shows some. Leave "
            "them out with --no-examples."
        )


def _require_packages(logger: str | None, tokenizer: str) -> None:
    """Raise a MissingExtraError if a package that a run with this logger and this tokenizer needs is not installed."""
    for package in ("torch", "lightning_fabric", "safetensors", "pyarrow", "rich", "sklearn", "scipy", "matplotlib"):
        require_module(package, "train")
    if tokenizer == BPE:
        require_module("tokenizers", "train")
    if logger is not None:
        require_module("tensorboard", "tensorboard")


def _train_with_progress(run: TrainingRun, logger: str | None, *, quiet: bool) -> Checkpoint:
    """Run the training, and show on standard error its progress and, if it ends early, what was saved.

    Args:
        run: the run.
        logger: `tensorboard` to write curves for TensorBoard, too; or None.
        quiet: whether to show no progress.
    """
    try:
        with ExitStack() as stack:
            every = run.settings.report_every != find_default_of_setting_in_any_kind("report_every")
            listeners = [stack.enter_context(show_progress(quiet=quiet, every_event=every))]
            if logger is not None:
                from pocketrnn_training.report.tensorboard import yield_function_that_writes_tensorboard_curves

                listeners.append(
                    stack.enter_context(
                        yield_function_that_writes_tensorboard_curves(run.output, force=run.force, resume=run.resume)
                    )
                )

            def report(event: Progress | Epoch | Notice) -> None:
                for listener in listeners:
                    listener(event)

            best = run.train(report)
    except (KeyboardInterrupt, PocketRNNError) as error:
        if run.state is not None and run.has_kept:
            print_line(f"The checkpoint so far is in {run.output}: {_describe_result(run.state.best)}.", err=True)
        if not isinstance(error, KeyboardInterrupt | OutputError):
            raise
        if run.state is not None:
            print_line("Go on with the same command and --resume.", err=True)
        elif isinstance(error, KeyboardInterrupt):
            print_line("The first epoch was not over, so that nothing was kept.", err=True)
        raise
    return best


def _describe_result(checkpoint: Checkpoint) -> str:
    """Return the validation scores of a checkpoint, and on how many rows it was fitted, as a part of a sentence."""
    from pocketrnn_training.classifiers.checkpoint import FITTED_ROWS
    from pocketrnn_training.measures.fold_scores import FoldScores

    metrics, rows = checkpoint.metrics, checkpoint.data["validation_rows"]
    if checkpoint.activation == "sigmoid":
        f1 = f"micro F1 {metrics['validation_micro_f1']:.1%}, macro F1 {metrics['validation_macro_f1']:.1%}"
        found = f"{f1} on {rows:,} validation rows"
    elif checkpoint.measured_by_folds:
        found = FoldScores.from_metrics(metrics, rows).summary
    elif (words := checkpoint.data.get("validation_words")) is not None:
        of_spans = f"F1 of spans {metrics['validation_f1']:.1%}, " if has_span_prefixes(checkpoint.labels) else ""
        found = f"{of_spans}accuracy {metrics['validation_accuracy']:.1%} on {words:,} words of {rows:,} sentences"
    else:
        found = f"accuracy {metrics['validation_accuracy']:.1%} on {rows:,} validation rows"
    if checkpoint.is_linear:
        found = f"a linear model, which the folds chose, {found}"
    said = f"{found}, after epoch {metrics['epoch']}" if "epoch" in metrics else found
    fitted = checkpoint.data.get(FITTED_ROWS)
    return said if fitted is None else f"{said}; then fitted once more, on all {fitted:,} rows"


def _find_export_command_of_command_line(context: click.Context) -> click.Command:
    """Find the command `export` in the command line that is running; the exporter adds it if it is installed.

    Raises:
        MissingExtraError: a package that the export needs is not installed.
        InputError: this command line has no command `export`.
    """
    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        require_module(package, "export")
    group = context.find_root().command
    command = group.get_command(context.find_root(), "export") if isinstance(group, click.Group) else None
    if command is None:
        raise InputError(
            "--export needs the command `export`, but the program that you run does not have it.",
            "Run `pocketrnn train`; or leave out --export, and export the checkpoint later.",
        )
    return command
