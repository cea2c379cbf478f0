"""The code that the documentation shows is run as it stands, and every command and option is documented."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas
import pytest
import torch
from click.testing import CliRunner
from documentation_code import SHOWN_ONLY, blocks_of, check_output, commands_of, run_block, run_command, written_by

from pocketrnn.commands.cli import main
from pocketrnn_export import export
from pocketrnn_export.vocabularies.text_rules_file import read_rules
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("runtime/*/README.md")),
    *sorted(ROOT.glob("examples/**/README.md")),
    *sorted(ROOT.glob("trained/pocketrnn_zoo/*/README.md")),
    ROOT / "trained" / "words" / "README.md",
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}
SAMPLES = runpy.run_path(str(ROOT / "examples" / "sample_files.py"))
MODEL = SAMPLES["CLASSIFIER"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of examples/sample_files.py, which the command lines of the pages name."""
    folder = tmp_path_factory.mktemp("samples")
    assert SAMPLES["write_samples"](folder) == []
    return folder


@pytest.fixture
def folder(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # A page imports what it saved, as from Python's prompt.
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def reviews_of_the_readme() -> None:
    (train,) = (
        line
        for block in blocks_of(ROOT / "README.md")
        for line, _ in commands_of(block.content)
        if line.startswith("pocketrnn train") and " reviews.checkpoint" in line
    )
    run_command(f"{train.partition('#')[0]} --export reviews")


def words_for_rules() -> dict[str, Any]:
    Path("vocab.txt").write_text("<unk>\n<pad>\n<sos>\n<eos>\nfilm\n")
    Path("model.py").write_text(MODEL.replace("Classifier", "Net"))
    return {"module": classifier_of(MODEL)}


def classifier_of(source: str) -> torch.nn.Module:
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(source, scope)  # noqa: S102 - our own text
    return scope["Classifier"]()


def module_with_a_task() -> dict[str, Any]:
    answer = "self.fc(self.gru(self.embedding(tokens))[0])"
    source = MODEL.replace("tokens):", "tokens, task=None):").replace(
        "self.fc(self.gru(self.embedding(tokens))[1][-1])", f'{{"scores": {answer}}} if task == "mood" else None'
    )
    return {"module": classifier_of(source), "labels": ["no", "yes"], "vocabulary": ["<unk>", "<pad>", "a", "b", "c"]}


def pipeline_of_ones_own() -> dict[str, Any]:
    return {"texts": ["a film"], "encode": lambda _text: [1, 2]}


def packed_stream() -> dict[str, Any]:
    native = pytest.importorskip("pocketrnn_native", exc_type=ImportError)
    shutil.copy(ROOT / "tests" / "vectors" / "packed" / "streams.prnn", "reviews.prnn")
    return {"Classifier": native.Classifier}


def mood_of_the_cookbook() -> dict[str, Any]:
    """README exports the module that the cookbook trains."""
    (block,) = (block for block in blocks_of(ROOT / "docs" / "cookbook.md") if "# Training, as in any" in block.content)
    scope: dict[str, Any] = {}
    exec(block.content.partition("# The export.")[0], scope)  # noqa: S102 - our own text
    return {name: scope[name] for name in ("module", "words")}


# Functions that prepare a page, beside the files of `folder`; they return names for its Python.
BEGINS_WITH: dict[str, Callable[[], dict[str, Any] | None]] = {
    "README.md": mood_of_the_cookbook,
    "docs/compression.md": reviews_of_the_readme,
    "docs/text-rules.md": words_for_rules,
    "docs/modules.md": module_with_a_task,
    "docs/your-files.md": pipeline_of_ones_own,
    "runtime/native/README.md": packed_stream,
}


# Pages do not show the findings of a proof.
pytestmark = pytest.mark.usefixtures("scant_proofs")
# Pages that train or export. A change of what they show asks for them (scripts/changed_tests).
LONG = {
    "README.md",
    "docs/check.md",
    "docs/coming-from-torchtext.md",
    "docs/compression.md",
    "docs/cookbook.md",
    "docs/features.md",
    "docs/modules.md",
    "docs/numbers.md",
    "docs/heads.md",
    "docs/pairs.md",
    "docs/python.md",
    "docs/streams.md",
    "docs/tags.md",
    "docs/text-rules.md",
    "docs/your-files.md",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=pytest.mark.slow if name_of(page) in LONG else ())
        for page in PAGES
        if any(block.runs for block in blocks_of(page))
    ],
)
def test_what_a_page_shows_runs_in_its_order(page: Path, folder: Path) -> None:
    begin = BEGINS_WITH.get(name_of(page))
    scope: dict[str, Any] = (begin() if begin else None) or {}
    for block in blocks_of(page):
        if block.runs:
            # It asserts that the block ends well and prints what the page shows.
            run_block(block, scope)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert text.count("```") == 2 * len(blocks) + 2 * sum(block.output is not None for block in blocks), "an odd fence"
    for block in blocks:
        assert block.runs or block.language in SHOWN_ONLY or block.mark.startswith("not run: "), f"line {block.line}"
        assert not block.mark.startswith("not run:") or len(block.mark) > len("not run: "), f"line {block.line}"
    # A command that no fence surrounds would not be run.
    assert not re.search(r"(?m)^    (\$ )?pocketrnn ", text)


def test_no_two_pages_write_to_one_place() -> None:
    # Who types one page after the other in one folder would be asked for --force.
    written: dict[str, str] = {}
    for page in PAGES:
        for name in {name for block in blocks_of(page) if block.runs for name in written_by(block)}:
            assert written.setdefault(name, name_of(page)) == name_of(page), name


def test_a_block_that_prints_something_else_is_seen() -> None:
    check_output("a  1.00\nb\n", "a 1.001\nb\n", "")
    check_output("loss 3e-8\nmore\nmore", "loss 5e-08\n...\n", "")
    for given, shown in [("a", "b"), ("a 1.0", "a 1.5"), ("a\nb", "a"), ("a", "a\nb"), ("loss 0.1", "loss 1e-8x")]:
        with pytest.raises(AssertionError):
            check_output(given, shown, "")
    with pytest.raises(AssertionError, match="mark the block"):
        run_command("rm -r /nowhere")


def test_the_rules_that_the_page_gives_are_read() -> None:
    vocabulary = read_vocabulary(["<unk>", "<pad>", "<sos>", "<eos>", "film"])
    blocks = [block for block in blocks_of(ROOT / "docs" / "text-rules.md") if block.language == "json"]
    assert len(blocks) > 2
    for block in blocks:
        read_rules(block.content, vocabulary)


# Measurements and formats have longer lines.
READ_FIRST = ("README", "cookbook", "python", "coming-from-torchtext", "your-files", "modules", "text-rules", "proof",
              "compression", "scoring-a-corpus", "lesson", "streams", "explanations", "tags", "check")  # fmt: skip


@pytest.mark.parametrize("page", [ROOT / "README.md", *(ROOT / "docs" / f"{n}.md" for n in READ_FIRST)], ids=name_of)
def test_lines_of_the_pages_that_are_read_first_are_not_long(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", lambda fence: "\n" * fence[0].count("\n"), page.read_text(encoding="utf-8"))
    for number, line in enumerate(text.splitlines(), 1):
        assert len(line) <= 100 or line.startswith(("|", "<!-- ")), f"line {number}"


def test_the_function_for_spark_answers_frames_of_pandas_as_one_process_does() -> None:
    (block,) = [b for b in blocks_of(ROOT / "docs" / "scoring-a-corpus.md") if "def classified" in b.content]
    scope: dict[str, Any] = {}
    run_block(block, scope)
    texts = [f"Oil prices rise {i}" if i % 3 else f"The team wins {i}" for i in range(40)]
    frames = [pandas.DataFrame({"id": range(i, i + 10), "text": texts[i : i + 10]}) for i in range(0, 40, 10)]
    frames.insert(1, frames[0].iloc[:0])
    frames.append(pandas.DataFrame({"id": [40], "text": [None]}))
    together = pandas.concat(list(scope["classified"](iter(frames))))
    assert together["id"].tolist() == list(range(41))
    assert together["label"].tolist() == [*scope["loaded"]("ag_news").predict(texts), None]
    assert together["probability"].isna().tolist() == [False] * 40 + [True]


@pytest.mark.parametrize("name", ["classify", "verify", "inspect"])
def test_the_examples_in_the_runtimes_help_run(name: str, folder: Path) -> None:
    lines = [line.strip() for line in (COMMANDS[name].help or "").splitlines() if line.strip().startswith("pocketrnn ")]
    assert lines
    for line in lines:
        run_command(line)


def test_every_command_and_option_has_help() -> None:
    assert set(COMMANDS) == {
        "bench",
        "check",
        "classify",
        "compress",
        "evaluate",
        "export",
        "import-vocab",
        "inspect",
        "pack",
        "push",
        "train",
        "verify",
    }
    for name, command in COMMANDS.items():
        assert command is not None
        assert command.help, name
        assert "Examples:" in command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def headings_of(page: Path) -> set[str]:
    """The names by which GitHub and the site know the headings of a page."""
    found = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in found)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^):\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not heading or heading in headings_of(linked), target


@pytest.mark.parametrize(
    "script", ["make_command_line_page", "make_reference_page", pytest.param("make_files_page", marks=pytest.mark.slow)]
)
def test_the_pages_that_are_made_of_the_code_are_current(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--check"])
    # Exits, and says so, where its page is not current.
    runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")


def test_every_argument_of_export_is_told_in_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in inspect.signature(export).parameters:
        assert re.search(rf"`{name}|\b{name}=|`--{name.replace('_', '-')}`", pages), name


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted(ROOT.glob("docs/*.md")):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, to_read = {ROOT / "README.md"}, [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        for target in re.findall(r"\]\(([^)#:\s]+)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            linked = linked / "README.md" if linked.is_dir() else linked
            if linked.suffix == ".md" and linked.exists() and linked not in reached:
                reached.add(linked)
                to_read.append(linked)
    assert {name_of(page) for page in PAGES} <= {name_of(page) for page in reached}


@pytest.mark.parametrize("page", ["docs/README.md", "docs/lesson.md", "docs/cookbook.md", "examples/README.md"])
def test_the_readme_links_to_where_a_reader_goes_next(page: str) -> None:
    assert f"]({page})" in README


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    found = [python for python in (sys.executable, ROOT / ".venv-docs" / "bin" / "python") if has_mkdocs(python)]
    if not found:
        pytest.skip("mkdocs-material is not installed; scripts/docs build installs them")
    built = subprocess.run(
        [found[0], "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    reference = (tmp_path / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    for name in ("classifierclassify_all", "export", "settings"):
        assert f'id="{name}"' in reference
    # The examples are code, and no quotation of Markdown.
    assert "<blockquote>" not in reference


def has_mkdocs(python: str | Path) -> bool:
    asked = [python, "-c", "import mkdocs, material"]
    return Path(python).exists() and subprocess.run(asked, capture_output=True).returncode == 0


def test_the_navigation_is_the_index_of_the_pages() -> None:
    scope = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))
    index = "[a](a.md)\n## Run\n- [b](b.md), [a](a.md), [no](x.png)\n## Train\n[c](c.md#d) [d](d.md)\n"
    expected = [{"Overview": "README.md"}, {"A": "a.md"}, {"Run": [{"B": "b.md"}]}, {"Train": [{"D": "d.md"}]}]
    assert scope["make_navigation"](index) == expected


def test_a_link_out_of_the_documentation_is_a_path_on_the_site() -> None:
    scope = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))
    changed = scope["on_page_markdown"]("[tests](../tests/vectors), [`x/y`](../x/y#z), [page](proof.md#a)")
    assert changed == "tests (`tests/vectors`), `x/y`, [page](proof.md#a)"


def test_the_overview_links_to_the_page_that_answers_as_one_types(monkeypatch: pytest.MonkeyPatch) -> None:
    change = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))["on_page_markdown"]
    overview = types.SimpleNamespace(file=types.SimpleNamespace(src_uri="README.md"))
    other = types.SimpleNamespace(file=types.SimpleNamespace(src_uri="a.md"))
    assert change("# Title\ntext", page=overview) == "# Title\ntext"
    monkeypatch.setenv("TRY_PAGE", "yes")
    assert '<a href="try/">' in change("# Title\ntext", page=overview)
    assert change("# Title\ntext", page=other) == "# Title\ntext"


@pytest.mark.slow
def test_the_size_that_a_page_states_is_what_compress_makes_of_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = ROOT / "trained" / "pocketrnn_zoo" / "ag_news" / "checkpoint"
    result = CliRunner().invoke(main, ["compress", str(checkpoint), "-o", str(tmp_path / "small")])
    assert result.exit_code == 0, result.output
    before, after = (
        int(size.replace(",", "")) for size in re.findall(r"(?m)^\| [^|]* \| ([\d,]+) \|", result.output)[::2]
    )
    page = (ROOT / "docs" / "compression.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"a bundle of ([\d.]+) MB instead of ([\d.]+) MB", page)
    assert (f"{after / 1e6:.1f}", f"{before / 1e6:.1f}") == stated


def test_a_shipped_bundle_that_is_compressed_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["compress", "ag_news", "-o", str(tmp_path / "small")])
    assert result.exit_code == 2
    assert "already compressed" in result.stderr
    assert not (tmp_path / "small").exists()


def test_the_pictures_are_small_enough_to_load_with_the_page() -> None:
    for picture in ROOT.glob("docs/*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG"), picture.name
        assert picture.stat().st_size < 150_000, picture.name


@pytest.mark.slow
def test_the_readmes_picture_can_be_taken_again(tmp_path: Path) -> None:
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    modules = Path(os.environ.get("POCKETRNN_WEB_MODULES", ROOT / ".venv-web" / "node_modules"))
    if browser is None or not (modules / "onnxruntime-web").is_dir():
        pytest.skip("needs chromium and onnxruntime-web; scripts/picture_page says how to get them")
    script = [sys.executable, ROOT / "scripts" / "picture_page", tmp_path / "page.png"]
    taken = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert taken.returncode == 0, taken.stderr
    # An empty page, before anything is answered, has 15 kB.
    assert (tmp_path / "page.png").stat().st_size > 40_000
