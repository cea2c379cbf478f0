"""The runtime needs numpy and onnxruntime, its command line click, and nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bundle_maker
import pytest

import pocketrnn
from pocketrnn import Classifier

RUNTIME = Path(pocketrnn.__file__).parent


def installed_with(*distributions: str) -> set[Path]:
    """The paths at the top of site-packages from these distributions and from all that they require."""
    found: set[Path] = set()
    seen: set[str] = set()
    todo = list(distributions)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on another system only
        required = [r for r in distribution.requires or [] if "extra ==" not in r]
        todo += [re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0] for r in required]
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}
        found |= {Path(str(distribution.locate_file(top))) for top in tops}
    return found


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for the site-packages of a machine with numpy, onnxruntime and click alone."""
    folder = tmp_path_factory.mktemp("edge")
    for path in installed_with("numpy", "onnxruntime", "click"):
        (folder / path.name).symlink_to(path)
    (folder / "pocketrnn").symlink_to(RUNTIME)
    return folder


def python(edge: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(edge)!r})\n"
    # -I -S: neither the environment nor site-packages.
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", start + code, *arguments],
        capture_output=True, text=True, timeout=60, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip


def commands(edge: Path, *lines: list[str]) -> list[tuple[int, str, str]]:
    """The status, the output and the errors of each command line there, one after the other in one process."""
    code = """
import json
from click.testing import CliRunner
from pocketrnn.commands.cli import main
done = [CliRunner().invoke(main, line, prog_name="pocketrnn") for line in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in done]))
"""
    result = python(edge, code, json.dumps(lines))
    assert result.stderr == ""
    return [tuple(one) for one in json.loads(result.stdout)]


def test_torch_and_onnx_cannot_be_imported_there(edge: Path) -> None:
    code = """
import importlib.util
names = ("torch", "onnx", "onnxscript", "pocketrnn_training", "rich")
print([name for name in names if importlib.util.find_spec(name)])
"""
    assert python(edge, code).stdout == "[]\n"


@pytest.mark.parametrize("which", ["padded", pytest.param("unpadded", marks=pytest.mark.slow)])
def test_a_bundle_classifies_there(edge: Path, which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    code = """
import json
from pocketrnn import Classifier, verify
verify(sys.argv[1])
print(json.dumps(Classifier.load(sys.argv[1]).predict(json.loads(sys.argv[2]))))
"""
    result = python(edge, code, str(folder), json.dumps(bundle_maker.TEXTS))
    assert result.stderr == ""
    assert json.loads(result.stdout) == Classifier.load(folder).predict(bundle_maker.TEXTS)


def test_the_command_line_runs_there(edge: Path, padded: Path) -> None:
    code = "from pocketrnn.commands.cli import main\nmain(prog_name='pocketrnn')"
    result = python(edge, code, "classify", "-b", str(padded), "oil prices")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("\toil prices\n")
    verified, helped, refused, apart = commands(
        edge, ["verify", str(padded)], ["--help"], ["train"], ["classify", "-b", "ag_news", "oil"]
    )
    assert verified[0] == 0
    assert re.findall(r"^  (\w+)", helped[1].split("Use a classifier:")[1], re.MULTILINE) == [
        "classify",
        "verify",
        "inspect",
        "bench",
        "push",
    ]
    assert refused[0] == 1
    assert re.search(r"pip install .*\[train\]", refused[2])
    assert apart[0] == 2
    assert "'ag_news' is not installed" in apart[2]
    assert "pip install ./trained" in apart[2]


def test_files_are_classified_there_but_for_parquet(edge: Path, padded: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,n\nthe oil,1\n")
    classify = ["classify", "-b", str(padded)]
    lines = [[*classify, "-i", str(tmp_path / "in.csv"), "-o", "x.parquet"]]
    for given, output in (("in.csv", "1.jsonl"), ("1.jsonl", "2.csv")):
        names = ["--label-column", output, "--probability-column", f"p{output}"]
        lines.append([*classify, *names, "-i", str(tmp_path / given), "-o", str(tmp_path / output)])
    refused, *done = commands(edge, *lines)
    assert [(status, errors) for status, _, errors in done] == [(0, "")] * 2
    assert (tmp_path / "2.csv").read_text().startswith("text,n,1.jsonl,p1.jsonl,2.csv,p2.csv\nthe oil,1,")
    assert refused[0] == 1
    assert re.search(r"pip install .*\[parquet\]", refused[2])


def test_importing_pocketrnn_imports_no_click_torch_or_onnx() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pocketrnn import Classifier"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert {"pocketrnn", "numpy"} <= imported
    assert not imported & {
        # A bundle that is loaded brings it; a packed file does without.
        "onnxruntime",
        "click",
        "torch",
        "onnx",
        "onnxscript",
        "torchtext",
        "pocketrnn_training",
        "pocketrnn_export",
    }


def test_the_public_names_are_these() -> None:
    assert sorted(pocketrnn.__all__) == [
        "Category", "CharacterInput", "Characters", "Classifier", "FeatureInput", "HeadsOutput", "LabelOutput",
        "Number", "NumberInput", "PairInput", "PocketRNNError", "Prediction", "Span", "Tag",
        "TagOutput", "Tags", "TextInput", "ValueOutput", "__version__", "spans_of", "verify",
    ]  # fmt: skip
    assert all(hasattr(pocketrnn, name) for name in pocketrnn.__all__)


def test_a_module_of_the_package_is_an_attribute_whether_or_not_anybody_imported_it() -> None:
    code = """
import sys
import pocketrnn
assert issubclass(pocketrnn.errors.InputError, pocketrnn.PocketRNNError)
assert "numpy" not in sys.modules
assert pocketrnn.commands.__name__ == "pocketrnn.commands"
assert pocketrnn.classifier.Classifier is pocketrnn.Classifier
for name in ("nothing", "Clasifier", "a.b", "", "_private", "__wrapped__"):
    assert not hasattr(pocketrnn, name), name
from pocketrnn import *
assert not {"errors", "classifier"} & {*globals()}
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.slow
def test_type_checkers_see_the_names_and_no_others(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pocketrnn\n\nlabels: list[str] = pocketrnn.Classifier.load('a').predict(['b'])\n"
        "error: type[Exception] = pocketrnn.errors.InputError\n"
        "wrong = pocketrnn.Clasifier\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", program],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "MYPYPATH": str(RUNTIME.parent)},
    )  # fmt: skip
    assert checked.returncode == 1
    (line, _) = checked.stdout.splitlines()
    assert "program.py:5:" in line
    assert "Clasifier" in line
