"""tests/corpus.toml: it has each module that the pages of docs/ name, and says how to take, make and call it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import corpus  # noqa: E402

from pocketrnn.text import TextRules  # noqa: E402

ENTRIES = list(corpus.read_entries())
PAGES = ("modules", "number-modules", "tags", "pairs")
ROW = re.compile(r"\| ([^,|]+/[^,|]+), (.*), `([^`]*)` \| ([^|]*) \| ([^|]+(?: \| [^|]+)+) \|")
FILE = """
import a_package_that_nobody_has as missing
from torch import nn
from layers import Last

STEPS = 3 * 2
data = open("no such file")


class Net(missing.Module):
    def __init__(self, classes):
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(9, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, classes)
        self.last = Last()

    def forward(self, x, lengths):
        return self.fc(self.last(self.rnn(self.embedding(x))[0])) * SCALE
"""
LAYERS = "from torch import nn\n\n\nclass Last(nn.Module):\n    def forward(self, x):\n        return x[:, -1]\n"


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """A folder of one clone."""
    repository = tmp_path / "clones" / "owner+name"
    (repository / "a").mkdir(parents=True)
    (repository / "a" / "model.py").write_text(FILE)
    (repository / "layers.py").write_text(LAYERS)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    return repository.parent


@pytest.fixture
def entry(clones: Path) -> corpus.Entry:
    git = ["git", "-C", str(clones / "owner+name"), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return corpus.Entry(
        page="modules", repository="owner/name", path="a/model.py", name="Net", special="", commit=commit,
        results=("right", "right", "right", "right"), files=("layers.py",), before="SCALE = torch.rand(1) + 1",
        make="Net(3)", labels=3, ids=9, arguments="tokens, lengths",
    )  # fmt: skip


def rows_of(page: str) -> list[tuple[str, ...]]:
    found = (ROW.fullmatch(line) for line in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").splitlines())
    return [(*row.groups()[:4], *row[5].split(" | ")) for row in found if row]


@pytest.mark.parametrize("page", PAGES)
def test_the_rows_of_a_page_are_those_of_the_corpus(page: str) -> None:
    rows = rows_of(page)
    assert len(rows) > 40
    of_page = []
    for one in ENTRIES:
        if one.page == page:
            special = one.special + (f" (not counted: {one.not_counted})" if one.not_counted else "")
            of_page.append((one.repository, one.path, one.name, special, *one.results))
    assert of_page == rows


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_how_many_of_its_modules_can_be_and_were_run_again(page: str) -> None:
    of_page = [one for one in ENTRIES if one.page == page]
    again = [one for one in of_page if one.measured]
    text = " ".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").split())
    can = re.search(r"(\d+) of these (\d+) can be run again", text)
    were = re.search(r"was run again on (\d+) of them .*?(\d+) gave the verdicts of the table", text)
    assert can is not None
    assert were is not None
    assert [int(n) for n in can.groups()] == [sum(one.is_located for one in of_page), len(of_page)]
    assert [int(n) for n in were.groups()] == [len(again), sum(one.measured == one.results[-2:] for one in again)]


@pytest.mark.parametrize("one", [one for one in ENTRIES if one.is_located], ids=lambda one: one.title)
def test_an_entry_says_how_its_module_is_made_and_called(one: corpus.Entry) -> None:
    assert re.fullmatch("[0-9a-f]{40}", one.commit)
    assert (one.labels > 0) != (one.values > 0)
    assert len(one.measured) in (0, 2)
    for statements in (one.before, one.before_call):
        compile(statements, one.title, "exec")
    for expression in (one.make, f"({one.arguments},)" if one.arguments else "0", one.reads or "0", one.tags or "0"):
        compile(expression, one.title, "eval")
    TextRules(padding_id=one.padding, **one.rules)


def test_no_code_of_others_is_in_the_tree() -> None:
    assert not any((ROOT / one.path).exists() and one.is_located for one in ENTRIES)


def test_a_module_is_taken_from_a_clone_and_made(clones: Path, entry: corpus.Entry, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not corpus.is_fetched(entry, cache)
    folder = corpus.fetch_entry(entry, cache, clones)
    assert corpus.is_fetched(entry, cache)
    assert folder == cache / "owner" / "name" / entry.commit
    # Nobody is asked again.
    assert corpus.fetch_entry(entry, cache) == folder

    spec = corpus.make_spec(entry, folder)
    module, again = corpus.make_spec_module(spec), corpus.make_spec_module(spec)
    assert module.fc.weight.equal(again.fc.weight)
    called = spec.arguments(module, [[2, 3, 4, 1], [5, 6, 1, 1]])
    assert called[1].tolist() == [3, 2]
    assert spec.probabilities(module(*called), 2).sum(1).tolist() == pytest.approx([1, 1])
    assert corpus.make_export_arguments(spec, call=False)["vocabulary"][1] == "<pad>"
    assert "a_package_that_nobody_has" not in sys.modules


def test_a_tagger_is_asked_as_its_owner_asks_and_its_packages_are_taken_too(
    clones: Path, entry: corpus.Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"repository": "owner/name", "commit": entry.commit, "path": "layers.py"}
    monkeypatch.setattr(corpus, "_read_corpus_file", lambda: {"package": {"layers": package}})
    tags = "[module(s[None], n)[0].argmax() + 0 * s for s in sentences] if mask.any() else lengths"
    tagger = replace(entry, files=(), packages=("layers",), tags=tags)
    folder = corpus.fetch_entry(tagger, tmp_path / "cache", clones)
    assert (folder / "layers.py").exists()
    spec = corpus.make_spec(tagger, folder)
    tokens, lengths = torch.tensor([[2, 3, 4], [5, 6, 1]]), torch.tensor([3, 2])
    assert [len(labels) for labels in spec.tags(corpus.make_spec_module(spec), tokens, lengths)] == [3, 2]
    assert corpus.make_export_arguments(spec, call=False)["labels_of"] == "tokens"


def test_a_file_is_taken_from_github_at_its_commit(
    entry: corpus.Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        assert timeout > 0
        asked.append(address)
        return io.BytesIO(b"x = 1")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    folder = corpus.fetch_entry(replace(entry, path="a b/c.ipynb", files=()), tmp_path)
    assert asked == [f"https://raw.githubusercontent.com/owner/name/{entry.commit}/a%20b/c.ipynb"]
    assert (folder / "a b" / "c.ipynb").read_bytes() == b"x = 1"


def test_a_file_that_a_repository_does_not_have_is_named(clones: Path, entry: corpus.Entry, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.py at [0-9a-f]{40}"):
        corpus.fetch_entry(replace(entry, files=("gone.py",)), tmp_path / "cache", clones)
    with pytest.raises(FileNotFoundError, match="owner/other"):
        corpus.fetch_entry(replace(entry, repository="owner/other"), tmp_path / "cache", clones)


def test_two_texts_and_features_are_given_by_their_names(entry: corpus.Entry) -> None:
    pair = replace(entry, options={"two_texts": True})
    assert corpus.list_input_names(pair) == ("first", "first_lengths", "second", "second_lengths")
    assert corpus.make_export_arguments(corpus.make_spec(pair, Path()), call=False)["two_texts"] is True

    beside = corpus.make_spec(replace(entry, features={"price": "number", "kind": 3}), Path())
    assert beside.INPUTS == ("tokens", "lengths", "price", "kind")
    told = corpus.make_export_arguments(beside, call=False)["features"]
    assert told["kind"] == ["value 0", "value 1", "value 2"]
    assert told["price"].scale == 1


def test_inputs_are_what_the_owner_calls_the_module_with(clones: Path, entry: corpus.Entry, tmp_path: Path) -> None:
    features = {"price": "number", "kind": 3, "stars": "number"}
    asked = replace(entry, features=features, arguments="tokens[:, :n], numbers, kind")
    spec = corpus.make_spec(asked, corpus.fetch_entry(asked, tmp_path / "cache", clones))
    given = {"tokens": torch.ones(2, 3), "lengths": torch.tensor([3, 2]), "price": torch.tensor([0.5, 1.5])}
    given |= {"kind": torch.tensor([2, 0]), "stars": torch.tensor([4.0, 5.0])}
    tokens, numbers, kind = spec.arguments(None, given)
    assert (tokens.shape, kind.tolist()) == ((2, 2), [2, 0])
    assert numbers.tolist() == [[0.5, 4.0], [1.5, 5.0]]


def test_a_definition_may_need_names_of_before(clones: Path, entry: corpus.Entry, tmp_path: Path) -> None:
    file = clones / "owner+name" / "late.py"
    file.write_text("class Late(Base):\n    size = SIZE\n")
    git = ["git", "-C", str(file.parent), "-c", "user.name=n", "-c", "user.email=e@e"]
    for command in (["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    late = replace(entry, path="late.py", files=(), commit=commit, before="Base, SIZE = nn.Module, 3", make="Late()")
    spec = corpus.make_spec(late, corpus.fetch_entry(late, tmp_path / "cache", clones))
    assert corpus.make_spec_module(spec).size == 3


def test_a_line_and_sequences_are_told_to_export(entry: corpus.Entry) -> None:
    numbers: dict[str, Any] = {"labels": 0, "values": 2, "channels": 3, "steps": 7, "call": "module(samples)[0]"}
    spec = corpus.make_spec(replace(entry, **numbers), Path())
    without, told = (corpus.make_export_arguments(spec, call=call) for call in (False, True))
    assert (told["values"], told["channels"], told["steps"]) == (["value 0", "value 1"], 3, 7)
    assert (without.get("call"), told["call"]) == (None, "module(samples)[0]")
