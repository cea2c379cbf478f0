"""The first use of the command line: wrong names, wrong files, and the help."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from pocketrnn.bundle.names_from_paths import make_classifier_name
from pocketrnn.classifier import Classifier
from pocketrnn.commands import cli
from pocketrnn.commands.cli import main
from pocketrnn.commands.grouped_help_and_shared_options import Command, list_command_examples
from pocketrnn.commands.option_names_in_messages import translate_to_options
from pocketrnn.errors import BundleError, InputError, PocketRNNError
from pocketrnn_training import TextSettings
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.training_run import TrainingRun

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "trained" / "pocketrnn_zoo" / "ag_news" / "checkpoint"
CONTEXT = click.Context(main, info_name="pocketrnn")
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}


def refusal(*arguments: object, status: int = 2) -> str:
    """The one line that a refused command writes."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("trian", "train"), ("Exprot", "export"), ("clasify", "classify"), ("import_vocab", "import-vocab")],
)
def test_a_mistyped_command_is_helped_whichever_package_brings_it(wrong: str, right: str) -> None:
    assert refusal(wrong) == f"No such command {wrong!r}. Did you mean {right}? See pocketrnn --help."


def test_a_command_is_suggested_whose_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cli, "_OTHER_PACKAGES_COMMANDS", {"train": ("pocketrnn_no_such_package.commands.train", "train")}
    )
    assert "Did you mean train?" in refusal("trian")


def test_wrong_usage_is_said_in_one_line() -> None:
    assert refusal("zzzz") == "No such command 'zzzz'. See pocketrnn --help."
    assert refusal("\x1b[31m").startswith("No such command '\\x1b[31m'")
    assert refusal("classify", "--tpo", "2", "a") == (
        "No such option --tpo. Did you mean --top? See pocketrnn classify --help."
    )
    assert refusal("train") == "Missing argument 'DATA...'. See pocketrnn train --help."
    assert refusal("--no-such") == "No such option --no-such. See pocketrnn --help."


def test_the_command_line_alone_shows_its_help() -> None:
    assert CliRunner().invoke(main, []).output.startswith("Usage: pocketrnn ")


@pytest.mark.parametrize("command", ["verify", "inspect", "bench", "pack"])
def test_a_checkpoint_in_place_of_a_bundle_is_said_with_how_to_export_it(command: str, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "x.prnn") if command == "pack" else ()
    assert refusal(command, CHECKPOINT, *output) == (
        f"{CHECKPOINT} is a checkpoint, not a bundle. "
        f"Export it: pocketrnn export {CHECKPOINT} -o {CHECKPOINT.parent}/checkpoint.bundle"
    )


def test_classify_says_what_a_checkpoint_is_and_quotes_its_name(tmp_path: Path) -> None:
    spaced = tmp_path / "my reviews.ckpt"
    shutil.copytree(CHECKPOINT, spaced)
    line = refusal("classify", "--bundle", spaced, "oil")
    assert line.endswith(f"Export it: pocketrnn export '{spaced}' -o '{tmp_path}/my reviews.bundle'")


def test_a_folder_is_no_checkpoint_for_a_strange_config(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 10, b'{"format": "other"}'):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(BundleError, match=r"holds no classifier\.json"):
            Classifier.load(tmp_path)


def test_a_bundle_in_place_of_a_checkpoint_is_said(tmp_path: Path) -> None:
    bundle = CHECKPOINT.with_name("bundle")
    assert refusal("export", bundle, "-o", tmp_path / "x").startswith(f"{bundle} is a bundle, not a checkpoint.")


def test_a_file_of_a_bundle_in_place_of_its_folder_is_said() -> None:
    bundle = CHECKPOINT.with_name("bundle")
    assert refusal("verify", bundle / "model.onnx").endswith(f"Give its folder: {bundle}")


def test_what_is_no_bundle_may_be_a_folder_or_a_packed_file(tmp_path: Path) -> None:
    for line in (refusal("verify", tmp_path), refusal("verify", tmp_path / "none"), refusal("verify", "zzzz")):
        assert "the folder that `pocketrnn export` wrote" in line
        assert "a packed file" in line
    assert refusal("verify", "ag_nwes").endswith("Did you mean ag_news?")


def test_a_mistyped_bundle_is_helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, file in (("reviews", "classifier.json"), ("news.checkpoint", "config.json"), ("tweets", "notes.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    (tmp_path / "films.prnn").touch()
    for given in ("review", tmp_path / "review"):
        assert refusal("verify", given).endswith("Did you mean reviews?")
    assert refusal("classify", "-b", "film.prnn", "oil").endswith("Did you mean films.prnn?")
    assert refusal("evaluate", "news.chekpoint", "test.csv").endswith("Did you mean news.checkpoint?")
    assert refusal("export", "news.chekpoint", "-o", "x").endswith("Did you mean news.checkpoint?")
    assert "Did you mean" not in refusal("verify", "tweet")


@pytest.mark.parametrize(("end", "between"), [("csv", ","), ("tsv", "\t")])
def test_a_file_without_a_header_line_is_asked_for_one(end: str, between: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{end}"
    file.write_text(f"A good film{between}positive\nA bad film{between}negative\n")
    trained = refusal("train", file, "-o", tmp_path / "c")
    assert "its columns are 'A good film', 'positive'" in trained
    assert trained.endswith(f"put a header line before it: {between.join(('text', 'label'))!r}.")
    assert "put a header line before it: " in refusal("classify", "-i", file, "-o", tmp_path / f"o.{end}")


def test_a_mistyped_column_is_helped(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("Text,label\na,b\n")
    said = CliRunner().invoke(main, ["classify", "-i", str(file), "-o", str(tmp_path / "o.csv")]).stderr
    assert "Did you mean Text? Name the column with the texts with --text-column." in said
    assert "--text-column Text" in said.partition("Write: ")[2]
    assert "Did you mean Text? Name the columns" in refusal("train", file, "-o", tmp_path / "c")


@pytest.mark.parametrize("option", ["--weights", "--vocabulary", "--labels", "--rules", "--pairs", "--texts"])
def test_a_mistyped_file_of_an_export_is_helped(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "--weights": "weights.pt", "--vocabulary": "vocab.txt", "--labels": "labels.json", "--rules": "rules.json",
        "--pairs": "pairs.jsonl", "--texts": "texts.txt",
    }  # fmt: skip
    code = "from torch import nn\n\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(4, 2)\n"
    Path("model.py").write_text(code, encoding="utf-8")
    torch.save({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "weights.pt")
    Path("vocab.txt").write_text("<unk>\n<pad>\na\n", encoding="utf-8")
    Path("labels.json").write_text('["no", "yes"]', encoding="utf-8")
    Path("rules.json").write_text("{}", encoding="utf-8")
    Path("pairs.jsonl").write_text('{"text": "a", "ids": [2]}\n', encoding="utf-8")
    Path("texts.txt").write_text("a\n", encoding="utf-8")
    mistyped = given | {option: f"x{given[option]}"}
    arguments = ("export", "model.py:Net", *(part for pair in mistyped.items() for part in pair), "-o", "out")
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert f"Did you mean {given[option]}?" in refused.stderr
    # The line to copy has the file that is meant.
    written = refused.stderr.partition("Write: ")[2]
    assert not written or f"{option} {given[option]}" in written


def test_wrong_usage_names_the_commands_own_help(tmp_path: Path) -> None:
    assert (
        refusal("verify", "ag_news", "--html") == "Option '--html' requires an argument. See pocketrnn verify --help."
    )
    assert ". See pocketrnn bench --help." in refusal("bench", "ag_news", tmp_path / "none.txt")


def test_a_mistyped_file_is_helped(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n")
    (tmp_path / "reviews.txt").write_text("")
    assert refusal("train", tmp_path / "revews.csv", "-o", tmp_path / "c").endswith("Did you mean reviews.csv?")
    assert refusal("classify", "-i", tmp_path / "Review.CSV", "-o", tmp_path / "o.csv").endswith(
        "Did you mean reviews.csv?"
    )
    assert refusal("train", tmp_path / "other.csv", "-o", tmp_path / "c").endswith("Check the path of the file.")


def test_a_long_text_in_place_of_a_column_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"{'long ' * 1000},positive\n")
    assert len(refusal("train", file, "-o", tmp_path / "c")) < 500 + 2 * len(str(file))


def test_messages_name_options_as_the_command_line_does(tmp_path: Path) -> None:
    command = COMMANDS["train"]
    assert (
        translate_to_options("min_freq is 0. Use a number from 1.", command) == "--min-freq is 0. Use a number from 1."
    )
    assert translate_to_options("epochs is 0. Use a number from 1.", command).startswith("--epochs is 0.")
    export = COMMANDS["export"]
    for given, shown in [
        ("Export it so: --one-text, or one_text=True.", "Export it so: --one-text."),
        ('Say it: --call "module(tokens)", or call=.', 'Say it: --call "module(tokens)".'),
        ("With --gives logits (gives='logits').", "With --gives logits."),
        ("--tokenizer external (rules=TextRules('external', 1) in Python) is it.", "--tokenizer external is it."),
        ("Without it: --no-torchscript, or torchscript=False.", "Without it: --no-torchscript."),
        ("The signature is (one_text=3).", "The signature is (one_text=3)."),
    ]:
        assert translate_to_options(given, export) == shown
    assert (
        translate_to_options("Pass over it with on_error='skip'.", COMMANDS["classify"])
        == "Pass over it with --on-error skip."
    )


def test_names_of_the_users_own_stay_as_they_are() -> None:
    for message in ("min_freq.csv is empty.", "'min_freq' is no column.", "a/min_freq does not exist.", "my_min_freq"):
        assert translate_to_options(message, COMMANDS["train"]) == message


def test_an_error_that_comes_from_below_reaches_the_user_in_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise InputError("max_vocabulary is -1.", "Use a number from 1.")

    monkeypatch.setattr("pocketrnn_training.training_run.TrainingRun.__init__", refused)
    (tmp_path / "x.csv").write_text("label,text\na,b\n")
    assert refusal("train", tmp_path / "x.csv", "-o", tmp_path / "c") == "--max-vocabulary is -1. Use a number from 1."


def library_messages() -> Iterator[str]:
    """Every string of the packages that tells of an option: `--name`."""
    for package in ("runtime/pocketrnn", "trained/pocketrnn_training", "exporter/pocketrnn_export"):
        for file in sorted((ROOT / package).rglob("*.py")):
            if "commands" not in file.parts:
                yield from re.findall(r'"[^"\n]*--[a-z][^"\n]*"', file.read_text(encoding="utf-8"))


def test_every_option_that_a_message_names_is_there() -> None:
    known = {
        name for c in COMMANDS.values() if c is not None for p in c.params for name in (*p.opts, *p.secondary_opts)
    }
    elsewhere = {"--include_ops_by_config", "--input_name", "--input_shape"}
    for message in library_messages():
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", message):
            assert option in known | elsewhere, message


def test_a_classifier_is_called_by_its_path_without_what_the_kind_of_file_is(tmp_path: Path) -> None:
    names = ["snips.ckpt", "snips.checkpoint", "snips.bundle", "snips.checkpoint.bundle", "snips.prnn", "snips"]
    assert {make_classifier_name(tmp_path / name) for name in names} == {"snips"}
    assert make_classifier_name(tmp_path / ".ckpt") == ".ckpt"
    assert make_classifier_name(tmp_path / "v1.2") == "v1.2"
    assert make_classifier_name(Path("/")) == ""


def test_what_is_trained_to_snips_ckpt_is_called_snips(tmp_path: Path) -> None:
    rows = ["text,label", *["good film,good", "bad film,bad"] * 20]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    settings = TextSettings(epochs=1, hidden_dim=4, embedding_dim=4, device="cpu")
    run = TrainingRun(DataSource((str(tmp_path / "rows.csv"),)), tmp_path / "snips.ckpt", settings)
    assert run.train().name == "snips"


def test_a_shipped_classifier_that_cannot_stream_says_how_to_make_one_that_can() -> None:
    line = refusal("classify", "--stream", "Wall St.")
    assert "`pocketrnn pack BUNDLE --streaming -o FILE.prnn`" in line
    assert "`pocketrnn train DATA --one-direction`" in line


def test_ctrl_c_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "load", interrupted)
    result = CliRunner().invoke(main, ["classify", "oil"])
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


# The help


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_shows_the_examples_before_the_options_and_each_option_once(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, Command)
    shown = CliRunner().invoke(main, [name, "--help"]).output
    assert shown.count("Examples:") == 1
    first = shown.index("Examples:")
    assert first < shown.index("\nOptions:")
    assert first < 400
    before = ""
    for line in list_command_examples(command):
        assert f"\n  {line}\n" in shown
        # One backslash in the docstring joins two lines into one, with the second one's indentation inside.
        assert "  " not in line.strip()
        assert line.startswith(" ") == before.endswith("\\")
        before = line
    with command.make_context(name, [], resilient_parsing=True) as context:
        grouped = [p.name for options in command.list_options_by_group(context).values() for p in options]
        expected = [p.name for p in command.get_params(context) if isinstance(p, click.Option)]
    assert sorted(grouped, key=str) == sorted(expected, key=str)


def test_the_usual_options_come_first() -> None:
    for name, options in {
        "train": ["-o", "--vectors"],
        "export": ["-o", "--weights"],
        "classify": ["-b", "--top"],
    }.items():
        shown = CliRunner().invoke(main, [name, "--help"]).output.partition("\nOptions:\n")[2]
        assert re.findall(r"^  (--?[\w-]+)", shown, re.MULTILINE)[:2] == options


def test_an_option_that_no_group_names_is_shown_in_the_last() -> None:
    made = Command("x", params=[click.Option(["--a"]), click.Option(["--b"])], groups={"First": ["b"], "Last": []})
    with click.Context(made) as context:
        shown = made.get_help(context)
    assert shown.index("--b") < shown.index("Last:") < shown.index("--a") < shown.index("--help")


def test_the_command_lines_help_parts_what_uses_from_what_makes() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    uses, _, makes = shown.partition("Make one:")
    assert "  classify " in uses
    assert "  train " in makes
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_every_error_of_the_family_is_one_line_on_the_command_line() -> None:
    module = importlib.import_module("pocketrnn.errors")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, PocketRNNError)]
    for kind in kinds:
        assert "\n" not in cli._CommandError(kind("Wrong.", "Do this.")).message
