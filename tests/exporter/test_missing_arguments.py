"""Arguments of a class that were not given: what the weights show is taken, and all others are asked for at once."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.intake.arguments_from_weights import find_parameter_values
from pocketrnn_export.intake.constructor_arguments_without_effect import find_values_for_arguments_without_effect
from pocketrnn_export.intake.layers_in_weights import describe_layers
from pocketrnn_export.intake.missing_constructor_arguments import MissingArgumentsError
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.weights_file import read_weights
from pocketrnn_export.option_corrections_error import OptionCorrectionsError

MODEL = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, words, dim, hidden, classes, n_layers, both, dropout, pad, last):
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(words + 1, dim, padding_idx=pad)
        self.rnn = nn.LSTM(dim, self.hidden, n_layers, bidirectional=both, dropout=dropout if n_layers > 1 else 0)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden * (1 + both), classes))
        self.last = last

    def forward(self, x):
        return self.out(self.rnn(self.embedding(x))[0][:, -self.last])


class Small(Net):
    def __init__(self, words, dim=64, both=False, kind="last"):
        super().__init__(words, dim, 4, 2, 1, both, 0.0, None, 1)
        self.embedding = nn.Embedding(words, dim)
        self.rnn = nn.LSTM(dim, 4, bidirectional=both)


class Inherited(Small):
    pass
"""
SIZES = {"words": 19, "dim": 8, "hidden": 6, "classes": 3, "n_layers": 2, "both": True}


def make(source: str, name: str, *args: Any) -> nn.Module:
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - a test's own code
    made: nn.Module = names[name](*args)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    torch.save(make(MODEL, "Net", *SIZES.values(), 0.5, 0, 1).state_dict(), "net.pt")
    torch.save(make(MODEL, "Small", 20, 8, True).state_dict(), "small.pt")
    return tmp_path


def load(source: str, weights: str) -> Any:
    named = parse_module_name(source)
    assert named is not None
    return load_module(named, read_weights(Path(weights)))


def test_all_missing_arguments_are_told_at_once_with_the_values_that_the_weights_show(folder: Path) -> None:
    with pytest.raises(MissingArgumentsError) as caught:
        load("model.py:Net", "net.pt")
    assert "needs last, but" in caught.value.problem
    shown = ", ".join(f"{name}={value}" for name, value in SIZES.items())
    assert caught.value.source == f"model.py:Net({shown}, dropout=0.0, pad=None, last=...)"
    assert "rnn: LSTM, input 8, hidden 6, 2 layers, both directions; out.1: 12 to 3" in caught.value.known
    lines = (folder / "model.py").read_text().splitlines()
    read = next(i for i, line in enumerate(lines, 1) if re.search(r"\blast\b", line) and "def " not in line)
    assert f"line {read} reads last." in caught.value.known


@pytest.mark.usefixtures("folder")
def test_without_weights_all_missing_arguments_are_told_too() -> None:
    named = parse_module_name("model.py:Net(20, dim=8)")
    assert named is not None
    with pytest.raises(MissingArgumentsError, match="--weights") as caught:
        load_module(named)
    assert "needs hidden, classes, n_layers, both, dropout, pad and last" in str(caught.value)
    assert caught.value.source.startswith("model.py:Net(20, dim=8, hidden=..., classes=...")


@pytest.mark.usefixtures("folder")
def test_what_the_weights_show_is_taken_and_told(caplog: pytest.LogCaptureFixture) -> None:
    made = load("model.py:Net(last=1)", "net.pt")
    assert (made.rnn.num_layers, made.rnn.bidirectional, made.rnn.hidden_size) == (2, True, 6)
    assert (made.embedding.num_embeddings, made.out[1].out_features) == (20, 3)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "n_layers=2, both=True" in told
    assert "dropout=0.0, pad=None" in told


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["Small", "Inherited"])
def test_a_default_that_the_weights_contradict_is_replaced(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = load(f"model.py:{name}", "small.pt")
    assert (made.embedding.embedding_dim, made.rnn.bidirectional) == (8, True)
    assert "words=20, dim=8, both=True" in caplog.text


@pytest.mark.usefixtures("folder")
def test_what_a_checkpoint_says_is_taken_for_what_is_needed_and_told_of_other_defaults(
    caplog: pytest.LogCaptureFixture,
) -> None:
    saved = {"state_dict": torch.load("net.pt"), "hparams": {"last": 2, "dim": 99}}
    torch.save(saved, "said.ckpt")
    assert load("model.py:Net", "said.ckpt").last == 2
    assert "last=2, as said.ckpt says" in caplog.text
    torch.save({"state_dict": torch.load("small.pt"), "config": {"kind": "mean"}}, "kind.ckpt")
    load("model.py:Small", "kind.ckpt")
    assert 'model.py:Small(kind="mean")' in caplog.text


def test_other_defaults_that_only_say_what_is_trained_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self, words, freeze_table=False, kind='last'):\n        super().__init__()\n"
        "        self.table, self.kind = nn.Embedding(words, 2), kind\n"
        "        self.table.weight.requires_grad_(not freeze_table)\n"
    )
    state = {"table.weight": torch.zeros(5, 2)}
    torch.save({"state_dict": state, "config": {"freeze_table": True, "kind": "mean"}}, "said.ckpt")
    load("model.py:Net", "said.ckpt")
    assert 'model.py:Net(kind="mean")' in caplog.text
    assert "freeze_table" not in caplog.text


@pytest.mark.usefixtures("folder")
def test_a_name_that_the_class_does_not_take_is_refused_with_those_that_it_takes() -> None:
    with pytest.raises(InputError, match="'size'") as caught:
        load("model.py:Net(size=3)", "net.pt")
    assert "Net(words, dim, hidden, classes" in str(caught.value)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("self.d = nn.Dropout(p)", {"p": 0.0}),
        ("self.p = p", {}),
        ("self.d = nn.Dropout(p); self.scale = 1 - p", {}),
        ("self.d = Dropout(p)", {}),
        ("self.d = nn.Dropout(1 - p)", {}),
        ("self.d = nn.Dropout(p) if p > 0 else None", {}),
        ("self.rnn = nn.GRU(2, 2, dropout=p)", {"p": 0.0}),
        # The layer shows whether it reads both directions, but not its padding or its rate, unless these are read.
        ("self.rnn = nn.GRU(2, 2, dropout=p); self.both = self.rnn.bidirectional", {"p": 0.0}),
        ("self.rnn = nn.GRU(2, 2, dropout=p); self.rate = self.rnn.dropout", {}),
        ("self.e = nn.Embedding(4, 2, p)", {"p": None}),
        ("self.e = nn.EmbeddingBag(4, 2, padding_idx=p)", {}),
        ("self.e = nn.Embedding.from_pretrained(torch.zeros(4, 2), freeze=p)", {"p": None}),
        ("p = p or 0.1; self.d = nn.Dropout(p)", {}),
    ],
)
def test_only_rates_of_dropout_and_the_padding_and_freezing_of_an_embedding_are_without_effect(
    init: str, expected: dict[str, float | None]
) -> None:
    (definition,) = ast.parse(f"class Net(nn.Module):\n def __init__(self, p): {init}").body
    assert isinstance(definition, ast.ClassDef)
    assert find_values_for_arguments_without_effect(definition) == expected


@pytest.mark.usefixtures("folder")
def test_what_an_inherited_method_may_read_has_an_effect() -> None:
    Path("sub.py").write_text(f"{MODEL}\n\nclass Sub(Net):\n    pass\n")
    with pytest.raises(MissingArgumentsError) as caught:
        load("sub.py:Sub", "net.pt")
    assert "needs dropout, pad and last, but" in caught.value.problem


@pytest.mark.parametrize(
    ("forward", "is_idle"),
    [
        ("return self.e(x)", True),
        ("self.e.weight.data; return self.e(x)", True),
        ("return self.e(x) * (x != self.e.padding_idx)", False),
        ("return self.e(x) * mask(x, self.e)", False),
        ("return run(self, x)", False),
    ],
)
def test_padding_that_forward_may_read_from_its_layer_has_an_effect(forward: str, *, is_idle: bool) -> None:
    init = "super(Net, self).__init__()\n  self.e = nn.Embedding(4, 2, p)"
    code = f"class Net:\n def __init__(self, p):\n  {init}\n def forward(self, x): {forward}"
    (definition,) = ast.parse(code).body
    assert isinstance(definition, ast.ClassDef)
    assert find_values_for_arguments_without_effect(definition) == ({"p": None} if is_idle else {})


def test_a_stored_rate_counts_by_its_own_uses() -> None:
    code = "class Net:\n def __init__(self, p): self.p = p\n def forward(self, x): return {}"
    for used, expected in (("F.dropout(x, self.p, self.training)", {"p": 0.0}), ("x * self.p", {})):
        (definition,) = ast.parse(code.format(used)).body
        assert isinstance(definition, ast.ClassDef)
        assert find_values_for_arguments_without_effect(definition) == expected


EITHER = """
from torch import nn
class Net(nn.Module):
    def __init__(self, hidden=9, kind="gru", both=False):
        super().__init__()
        self.hidden = hidden
        if kind == "gru":
            self.rnn = nn.GRU(3, self.hidden, bidirectional=both)
        else:
            self.rnn = nn.LSTM(3, self.hidden, bidirectional=both)
        if both:
            self.out = nn.Linear(2 * self.hidden, 1)
        else:
            self.out = nn.Linear(self.hidden, 1)
"""


def test_of_two_layers_under_one_name_only_the_one_counts_that_fits_the_weights() -> None:
    (definition,) = ast.parse(EITHER).body[1:]
    assert isinstance(definition, ast.ClassDef)
    for kind in ("gru", "lstm"):
        tensors = make(EITHER, "Net", 5, kind, True).state_dict()
        assert find_parameter_values(definition, tensors) == {"hidden": 5, "both": True}


def test_a_size_is_shown_by_the_layer_of_the_class_itself_where_one_inside_has_its_name() -> None:
    source = """
from torch import nn
class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
class Net(nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.inner, self.fc = Inner(), None
        self.fc = nn.Linear(4, labels)
"""
    definition = ast.parse(source).body[-1]
    assert isinstance(definition, ast.ClassDef)
    assert find_parameter_values(definition, make(source, "Net", 2).state_dict()) == {"labels": 2}


def test_layers_are_described_by_their_weights() -> None:
    cell, projected = nn.LSTMCell(3, 5), nn.LSTM(3, 5, proj_size=2)
    assert describe_layers(cell.state_dict(prefix="cell.")) == "cell: a cell of LSTM, input 3, hidden 5"
    assert describe_layers(projected.state_dict(prefix="rnn.")).startswith("rnn: LSTM, input 3, hidden 5, 1 layer")
    assert describe_layers(nn.GRU(3, 5).state_dict(prefix="rnn.")).startswith("rnn: GRU, input 3, hidden 5")


def test_the_command_line_to_copy_has_every_option_that_was_given(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(["<pad>", "<unk>", "oil"]))
    given = ["export", "model.py:Net", "--weights", "net.pt", "--vocabulary", "vocab.json", "--labels", "a b,c,d"]
    result = CliRunner().invoke(main, [*given, "-o", "made", "--no-torchscript", "--force"])
    assert result.exit_code == 2
    shown = "--weights net.pt --vocabulary vocab.json --labels 'a b,c,d' --force --no-torchscript"
    assert "export 'model.py:Net(words=19, dim=8" in result.output
    assert all(part in result.output for part in (*shown.split(" --"), "-o made"))


LEGACY = """
from torch import nn
TEXT = Field(tokenize="moses")
class Old(nn.Module):
    def __init__(self, words=len(TEXT.vocab), dim=4):
        super().__init__()
        self.words = words
        self.embedding = nn.Embedding(self.words, dim)
"""


@pytest.mark.parametrize("first", ["", "import nowhere.fields as TEXT\n"])
def test_a_part_of_an_object_whose_length_is_asked_can_be_set_as_the_weights_show(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.py").write_text(first + (LEGACY.replace("TEXT = Field", "# ") if first else LEGACY))
    torch.save({"embedding.weight": torch.zeros(31, 4)}, "old.pt")
    with pytest.raises(PocketRNNError, match=r"--set [\"']TEXT\.vocab=torch\.zeros\(31\)"):
        load("old.py:Old", "old.pt")
    named = parse_module_name("old.py:Old", ["TEXT.vocab=torch.zeros(31)"])
    assert named is not None
    assert load_module(named).embedding.num_embeddings == 31  # type: ignore[union-attr]


def test_an_object_of_an_imported_class_is_refused_with_the_file_of_the_class(folder: Path) -> None:
    (folder / "nets").mkdir()
    (folder / "nets" / "small.py").write_text(MODEL)
    (folder / "main.py").write_text(
        "import pandas as pd\nfrom nets.small import Small\nwords = pd.read_csv('w.csv')\n"
        "model = Small(len(words)).to('cpu')\nfor _ in range(3): model.fit()\n"
    )
    with pytest.raises(InputError, match=r"nets/small\.py:Small"):
        load("main.py:model", "small.pt")
    assert load("nets/small.py:Small", "small.pt").embedding.num_embeddings == 20


VOCABULARY = """
from torch import nn
class Words:
    def __init__(self, stoi): self.stoi = stoi
class Net(nn.Module):
    def __init__(self, table{annotation}, hidden):
        super().__init__()
        self.embedding = nn.Embedding(len({length}), hidden)
"""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("annotation", "length"), [(": Words", "table"), ("", "table.stoi")])
def test_for_an_argument_that_is_an_object_a_file_that_makes_the_module_is_advised(
    annotation: str, length: str
) -> None:
    Path("vocab.py").write_text(VOCABULARY.format(annotation=annotation, length=length))
    torch.save({"embedding.weight": torch.zeros(7, 3)}, "vocab.pt")
    with pytest.raises(MissingArgumentsError) as caught:
        load("vocab.py:Net", "vocab.pt")
    assert caught.value.source == "made.py:make"
    assert "returns Net(table=..., hidden=3)" in caught.value.known
    for call in ("vocab.py:Net(open(3), 3)", "vocab.py:Net(Words(4 + 5), 3)"):
        with pytest.raises(InputError, match=r"made\.py:make"):
            load(call, "vocab.pt")


TRAINED = """
import data
TEXT = data.Field(lower=True)
pad = TEXT.vocab.stoi["<pad>"]
class Old(nn.Module):
    def __init__(self, words, dim, pad, first=False):
        super().__init__()
        self.embedding = nn.Embedding(words, dim, padding_idx=pad)
model = Old(len(TEXT.vocab), 4, pad, True)
"""


@pytest.mark.usefixtures("folder")
def test_for_arguments_that_need_code_that_is_not_run_the_whole_call_is_proposed() -> None:
    cells = ["from torch import nn", TRAINED]
    notebook = {"cells": [{"cell_type": "code", "source": source} for source in cells]}
    Path("n.ipynb").write_text(json.dumps(notebook))
    torch.save({"embedding.weight": torch.zeros(31, 4)}, "old.pt")
    call = "n.ipynb:Old(words=31, dim=4, pad=None, first=True)"
    for name in ("n.ipynb:Old(len(TEXT.vocab), 4, pad, True)", "n.ipynb:model"):
        with pytest.raises(InputError) as caught:
            load(name, "old.pt")
        assert f"'{call}'" in str(caught.value)
    named = parse_module_name("n.ipynb:Old(len(TEXT.vocab), 4, 1, first=True)")
    assert named is not None
    with pytest.raises(InputError, match=r"TEXT\. .*--weights"):
        load_module(named)
    assert load(call, "old.pt").embedding.num_embeddings == 31


SHOWN = """
import numpy as np
import torch
from torch import nn


class Pretrained(nn.Module):
    def __init__(self, words, dim=100, hidden=9, classes=2, pretrained=None):
        super().__init__()
        if pretrained is not None:
            self.embedding = nn.Embedding.from_pretrained(pretrained)
            dim = pretrained.shape[1]
        else:
            self.embedding = nn.Embedding(words, dim)
        self.lstm = nn.LSTM(dim, hidden)
        self.fc = nn.Linear(hidden, classes)


class Any(nn.Module):
    def __init__(self, rnn_type, words, dim, hidden, num_layers, classes, matrix, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.embedding.weight = nn.Parameter(MAKE(matrix))
        cell = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}[rnn_type]
        self.rnn = cell(input_size=dim, hidden_size=hidden, num_layers=num_layers)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][-1])


class Named(nn.Module):
    def __init__(self, matrix, kind="lstm"):
        super().__init__()
        rows, dim = matrix.shape
        self.embedding = nn.Embedding.from_pretrained(matrix)
        self.rnn = nn.GRU(dim, 4) if kind == "gru" else nn.LSTM(dim, 4)
"""


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("Pretrained", (31, 8, 6, 3), "words=31, dim=8, hidden=6, classes=3"),
        (
            "Any",
            ("GRU", 31, 8, 6, 2, 3, np.zeros((31, 8))),
            'words=31, dim=8, hidden=6, num_layers=2, classes=3, rnn_type="GRU", matrix=zeros(31, 8)',
        ),
        ("Named", (torch.zeros(31, 8), "gru"), 'kind="gru", matrix=zeros(31, 8)'),
    ],
)
@pytest.mark.parametrize("made_by", ["torch.FloatTensor", "torch.from_numpy", "torch.tensor"])
def test_kinds_of_layers_and_first_matrices_are_shown_by_weights_too(
    name: str, given: tuple[Any, ...], said: str, made_by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = SHOWN.replace("MAKE", made_by)
    file, weights = tmp_path / "net.py", tmp_path / "net.pt"
    file.write_text(source)
    given = tuple(one.astype(np.float32) if isinstance(one, np.ndarray) else one for one in given)
    torch.save(make(source, name, *given).state_dict(), weights)
    named = parse_module_name(f"{file}:{name}")
    assert named is not None
    made = load_module(named, read_weights(weights))
    made.load_state_dict(torch.load(weights))
    assert f"{name} is made with {said}, by the shapes" in caplog.text


def test_a_matrix_that_is_used_otherwise_and_a_kind_of_no_weights_are_asked_for(tmp_path: Path) -> None:
    source = SHOWN.replace("MAKE", "torch.tensor").replace("self.fc(", "self.fc(matrix * ")
    file, weights = tmp_path / "net.py", tmp_path / "net.pt"
    file.write_text(source.replace('"GRU": nn.GRU', '"gated": nn.GRU'))
    torch.save(make(source, "Any", "GRU", 31, 8, 6, 2, 3, np.zeros((31, 8), np.float32)).state_dict(), weights)
    named = parse_module_name(f"{file}:Any")
    assert named is not None
    with pytest.raises(MissingArgumentsError, match=r"needs rnn_type and matrix") as refused:
        load_module(named, read_weights(weights))
    assert "num_layers=2" in refused.value.source


NAMED = """
import torch
from torch import nn

SIZE = 3
rate = 0.5
rate = 0.25


class Net(nn.Module):
    def __init__(self, words, dim, vectors, steps, rate, other):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.embedding.vectors = nn.Parameter(vectors, requires_grad=False)
        self.out = nn.Linear(dim, 2)
        self.steps = steps, rate, other

    def forward(self, x):
        return self.out(self.embedding(x).sum(1)) * self.steps[0]


def train(other):
    return Net(words, dim, table, SIZE, rate, other)


other = 4
"""


def test_a_name_that_the_file_gives_one_literal_is_that_literal(folder: Path) -> None:
    Path("named.py").write_text(NAMED)
    torch.save(make(NAMED, "Net", 9, 4, torch.zeros(7, 4), 3, 0.5, 4).state_dict(), "named.pt")
    with pytest.raises(MissingArgumentsError) as caught:
        load("named.py:Net", "named.pt")
    # `rate` is given two, and `other` is that of the function.
    assert "needs rate and other, but" in caught.value.problem
    made = load("named.py:Net(rate=0.25, other=1)", "named.pt")
    assert made.steps == (3, 0.25, 1)
    assert made.embedding.vectors.shape == (7, 4)
    assert (folder / "named.py").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("TEXT = Field()\nTEXT.build_vocab(rows)", r"line 2 makes TEXT\.vocab.*json\.dump\(TEXT\.vocab\.itos, "),
        ("vocab = build_vocab_from_iterator(rows)", r"line 1 makes vocab.*vocab\.get_itos\(\)"),
        ("words = dict(rows)", r"makes it.*json\.dump\("),
    ],
)
def test_the_line_that_saves_a_vocabulary_is_told_where_none_is_given(code: str, said: str, folder: Path) -> None:
    Path("trains.py").write_text(f"{code}\n{MODEL}")
    result = CliRunner().invoke(main, ["export", "trains.py:Small", "--weights", "small.pt", "--labels", "a,b",
                                       "-o", "out"])  # fmt: skip
    assert result.exit_code == 2
    assert re.search(f"(?s)needs --vocabulary.*{said}", result.stderr)
    assert (folder / "trains.py").exists()


def test_a_dict_of_the_checkpoint_is_named_for_an_object_that_it_does_not_fill(folder: Path) -> None:
    made = (
        "class Made(Small):\n    def __init__(self, words, config):\n        super().__init__(words, config.make())\n"
    )
    Path("with_config.py").write_text(f"{MODEL}\n\n{made}")
    state = {"model_state_dict": make(MODEL, "Small", 20, 8, True).state_dict()}
    torch.save({**state, "config": {"size": 8, "layers": {"rnn": 1}}}, "config.pt")
    with pytest.raises(MissingArgumentsError, match=r'"config\.pt"\)\["config"\].*size, layers'):
        load("with_config.py:Made", "config.pt")
    assert (folder / "with_config.py").exists()


BRANCHES = """
from torch import nn


class Both(nn.Module):
    def __init__(self, words, size):
        super().__init__()
        self.rnn = nn.GRU(size, 6, bidirectional=True)


class Head(nn.Module):
    def __init__(self, size, classes):
        super().__init__()
        layers = [nn.Linear(size, 5), nn.Linear(5, classes)]
        self.model = nn.Sequential(*layers)


class Branches(nn.Module):
    def __init__(self, bag, both, words, kind="a", wide=False, layers=1, classes=9):
        super().__init__()
        if bag == True and both == False:
            self.vectors = nn.EmbeddingBag(words, 4)
        elif bag == False and both == True:
            made = nn.Embedding(words, 4)
            self.vectors = nn.Sequential(made, Both(words, 4))
        self.head = Head(24 if wide else 12, classes)
        self.more = nn.ModuleList(nn.Linear(3, 3) for _ in range(layers))


class Flags(nn.Module):
    def __init__(self, words, frozen, heads, both):
        super().__init__()
        self.table = nn.Embedding(*(words, 4 if both else 8))
        self.table.weight.requires_grad = not frozen
        self.heads = heads
"""


def save_branches(folder: Path, name: str, *args: Any) -> Any:
    (folder / "net.py").write_text(BRANCHES)
    torch.save(make(BRANCHES, name, *args).state_dict(), folder / "net.pt")
    return read_weights(folder / "net.pt")


def test_arguments_that_alone_give_the_tensors_of_the_weights_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = save_branches(tmp_path, "Branches", False, True, 31, "a", True, 3, 7)
    for given in ("", "(both=True, bag=False, words=31)"):
        named = parse_module_name(f"{tmp_path / 'net.py'}:Branches{given}")
        assert named is not None
        load_module(named, weights).load_state_dict(torch.load(tmp_path / "net.pt"))
        for said in (
            "wide=True",
            "layers=3",
            "classes=7",
            *(() if given else ("bag=False, both=True, wide=True, words=31",)),
        ):
            assert said in caplog.text
        caplog.clear()


def test_arguments_that_the_weights_contradict_are_refused_with_those_that_fit(tmp_path: Path) -> None:
    weights = save_branches(tmp_path, "Branches", False, True, 31)
    named = parse_module_name(f"{tmp_path / 'net.py'}:Branches(True, False, words=31, kind='b')")
    assert named is not None
    with pytest.raises(OptionCorrectionsError, match=r"bag=True, both=False.*net\.pt") as refused:
        load_module(named, weights)
    assert refused.value.changes == {"source": f"{named}(words=31, kind='b', bag=False, both=True)"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("runs/net.ini", "[FILES]\nmodel_path=../saved/net.pt\n[MODEL]\nfrozen=False\nheads=3  # of 2\n"),
        ("saved/config.json", '{"model": {"frozen": "False", "heads": 3}}'),
        ("saved/hparams.yaml", "model:\n  frozen: False\n  heads: 3\nname: x\n"),
        ("params.toml", '[model]\nfrozen = false\nheads = 3\n[files]\nout = "saved/net.pt"'),
    ],
)
@pytest.mark.parametrize(
    "code", ["", "Flags(31, frozen=config['frozen'] == 'True', heads=int(config['heads']), both=1)"]
)
def test_settings_files_that_belong_to_the_weights_show_what_the_weights_do_not(
    file: str,
    content: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("saved", "runs"):
        (tmp_path / folder).mkdir()
    # That of another file of weights.
    Path("runs/old.ini").write_text("model_path=../saved/other_net.pt\nfrozen=True\nheads=9\n")
    save_branches(tmp_path, "Flags", 31, True, 2, True)
    weights = read_weights(Path("net.pt").rename("saved/net.pt"))
    Path(file).write_text(content)
    Path("train.py").write_text(f"config = read()\nmodel = {code}\n" if code else "")
    named = parse_module_name("net.py:Flags")
    assert named is not None
    made = load_module(named, weights)
    assert (made.heads, made.table.weight.requires_grad) == (3, True)
    assert "heads=3, as" in caplog.text
    assert file in caplog.text or "train.py" in caplog.text


def test_arguments_that_change_no_tensor_are_asked_for(tmp_path: Path) -> None:
    weights = save_branches(tmp_path, "Flags", 31, True, 2, True)
    named = parse_module_name(f"{tmp_path / 'net.py'}:Flags")
    assert named is not None
    with pytest.raises(MissingArgumentsError, match="frozen and heads") as refused:
        load_module(named, weights)
    assert refused.value.source.endswith("Flags(words=31, frozen=..., heads=..., both=True)")
