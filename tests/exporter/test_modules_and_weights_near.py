"""Weights with unusual names are found by their contents, and the class by the layers that they name."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from pocketrnn.commands.cli import main
from pocketrnn_export.commands.proposed_options import propose_weights
from pocketrnn_export.intake.arguments_from_weights import describe_misfit, find_parameter_values
from pocketrnn_export.source_code.class_definitions import (
    explain_why_name_cannot_be_module,
    has_recurrent_layer_by_names,
    list_classes_that_fit_weight_names,
    list_module_classes_near,
)
from pocketrnn_export.source_code.script_that_saves_vocabulary import find_code_that_makes_vocabulary
from pocketrnn_export.source_code.text_functions_in_file import list_text_functions

pytestmark = pytest.mark.usefixtures("scant_proofs")
EMBEDDING = """
from torch import nn
class embed(nn.Module):
    def __init__(self, chars, words):
        super().__init__()
        for kind, dim in {"cnn": 3, "lookup": 4}.items():
            if kind == "cnn":
                self.char_embed = self.cnn(chars, dim)
            elif kind == "lookup":
                self.word_embed = nn.Embedding(words, dim)
            else:
                self.word_embed = self.sae(words, dim)
    def forward(self, x): ...
    class cnn(nn.Module):
        def __init__(self, size, dim):
            super().__init__()
            self.embed = nn.Embedding(size, dim)
        def forward(self, x): ...
    class sae(nn.Module):
        def __init__(self, size, dim):
            super().__init__()
            self.embed = nn.Embedding(size, dim)
            self.layer = nn.Linear(dim, dim)
        def forward(self, x): ...
"""
NETS = """
import sys
from torch import nn
from embedding import embed
class {name}(nn.Module):
    def __init__(self, chars, words, labels):
        super().__init__()
        self.embed = embed(chars, words)
        self.{layer} = nn.Linear(7, labels)
    def forward(self, x): ...
"""
SHAPES = {"embed.char_embed.embed.weight": (49, 3), "embed.word_embed.weight": (49, 4), "out.weight": (6, 7),
          "out.bias": (6,)}  # fmt: skip


def make_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.rand(shape) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modules that use a third one; the weights of the second with unusual names."""
    monkeypatch.chdir(tmp_path)
    Path("embedding.py").write_text(EMBEDDING)
    for name, layer in (("cnn", "conv"), ("rnn", "out")):
        Path(name).mkdir()
        Path(name, "model.py").write_text(NETS.format(name=name, layer=layer))
    Path("data").mkdir()
    for epoch in (9, 10):
        torch.save({"state_dict": make_tensors(SHAPES), "epoch": epoch}, f"data/rnn.epoch{epoch}")
    torch.save({"words": ["a"]}, "data/words.lst")
    Path("data/texts.zip").write_bytes(b"PK\x03\x04")
    return tmp_path


def test_a_part_of_other_modules_is_not_offered(folder: Path) -> None:
    assert list_module_classes_near(Path("x.py")) == ["cnn/model.py:cnn", "rnn/model.py:rnn"]
    Path("cnn/model.py").unlink()
    Path("rnn/model.py").unlink()
    assert list_module_classes_near(Path("x.py")) == ["embedding.py:embed"]


@pytest.mark.parametrize("source", [".", "data/rnn.epoch10"])
def test_the_class_with_the_layers_of_the_weights_is_named(source: str, folder: Path) -> None:
    Path("predict.py").write_text("def predict(x):\n    model = cnn(1)\n")
    said = CliRunner().invoke(main, ["export", source, "-o", "out"]).stderr
    line = shlex.split(said.partition("Write: pocketrnn ")[2])
    assert line[1] == "rnn/model.py:rnn"
    assert "embedding.py" not in said
    assert line[line.index("--weights") + 1] == "data/rnn.epoch10"


def test_weights_with_unusual_names_are_proposed_and_show_sizes_of_inner_classes(folder: Path) -> None:
    found = propose_weights(Path("rnn/model.py"))
    assert found is not None
    # The tenth comes after the ninth.
    assert (str(found.path), [*map(str, found.others)]) == ("data/rnn.epoch10", ["data/rnn.epoch9"])
    assert propose_weights(Path("cnn/model.py")) is None
    definition = ast.parse(Path("rnn/model.py").read_text()).body[-1]
    assert isinstance(definition, ast.ClassDef)
    shown = find_parameter_values(definition, make_tensors({**SHAPES, "embed.word_embed.weight": (50, 4)}),
                                  Path("rnn/model.py"))  # fmt: skip
    assert shown == {"chars": 49, "words": 50, "labels": 6}


@pytest.mark.parametrize(
    ("names", "fitting"),
    [
        (["module.out.weight", "module.embed.word_embed.weight"], ["rnn", "heir"]),
        (["model.net.out.weight", "model.net.embed.word_embed.weight"], ["rnn", "heir"]),
        (["out.weight", "more.weight", "table"], ["heir"]),
        (["out.weight", "other.weight"], []),
        (["weight", "bias"], []),
    ],
)
def test_layers_of_base_classes_and_prefixes_are_seen(names: list[str], fitting: list[str], folder: Path) -> None:
    made = "self.add_module('more', 1)\n        setattr(self, 'table', 1)\n"
    heir = f"class heir(rnn):\n    def __init__(self):\n        {made}"
    Path("rnn/model.py").write_text(NETS.format(name="rnn", layer="out") + heir)
    assert list_classes_that_fit_weight_names(Path("rnn/model.py"), ["rnn", "heir"], names) == fitting


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        *[("nn.LSTM(7, 5)", True), ("nn.GRU(7, 5)", False), ("nn.LSTM(7, hidden)", True), ("nn.LSTM(8, 5)", False)],
        ("nn.LSTM(hidden + 2, hidden)", True),
        ("nn.LSTM(hidden, hidden)", False),
        # The name has another value before, or the other branch made the layer.
        ("nn.LSTM(hidden, hidden)\n        hidden = 3", True),
        ("nn.LSTM(hidden, 5)\n        if hidden: self.out = nn.Linear(hidden, 2)", True),
        # The weights have no such layer.
        ("nn.LSTM(7, 5)\n        self.out = nn.Linear(5, 2)", False),
    ],
)
def test_gates_and_numbers_tell_one_class_from_another(layer: str, *, fits: bool) -> None:
    code = f"class A(nn.Module):\n    def __init__(self, hidden):\n        self.rnn = {layer}\n"
    (definition,) = ast.parse(code).body
    assert isinstance(definition, ast.ClassDef)
    tensors = make_tensors({"rnn.weight_ih_l0": (20, 7), "rnn.weight_hh_l0": (20, 5)})
    assert (not describe_misfit(definition, tensors)) == fits


def test_the_class_of_safetensors_is_found_by_its_header(folder: Path) -> None:
    save_file(make_tensors(SHAPES), "data/best.safetensors")
    said = CliRunner().invoke(main, ["export", "data/best.safetensors", "-o", "out"]).stderr
    assert "Write: pocketrnn export rnn/model.py:rnn -o out --weights data/best.safetensors" in said
    Path("data/best.safetensors").write_bytes(b"\xff" * 7 + json.dumps({}).encode())
    said = CliRunner().invoke(main, ["export", "data/best.safetensors", "-o", "out"]).stderr
    assert "Traceback" not in said


def test_each_of_two_classes_gets_its_own_weights(folder: Path) -> None:
    kinds = {"Gru": "nn.GRU(7, 5)", "Lstm": "nn.LSTM(7, 5)"}
    classes = [f"class {name}(nn.Module):\n    def __init__(self):\n        self.rnn = {layer}\n"
               "    def forward(self, x): ...\n" for name, layer in kinds.items()]  # fmt: skip
    Path("two.py").write_text("\n".join(classes))
    for name, gates in (("a.pt", 3), ("b.pt", 4)):
        sizes = {"rnn.weight_ih_l0": (5 * gates, 7), "rnn.weight_hh_l0": (5 * gates, 5)}
        torch.save(make_tensors(sizes), name)
    for name, weights in (("Gru", "a.pt"), ("Lstm", "b.pt")):
        found = propose_weights(Path("two.py"), name)
        assert found is not None
        assert (str(found.path), found.others) == (weights, ())
        said = CliRunner().invoke(main, ["export", weights, "-o", "out"]).stderr
        assert f"Write: pocketrnn export two.py:{name} -o out --weights {weights}" in said


LSTM = """
from torch import nn
class Lstm(nn.Module):
    def __init__(self, words, layers):
        super().__init__()
        self.embed = nn.Embedding(words, 7)
        self.rnn = nn.LSTM(7, 5, layers)
    def forward(self, x): ...
"""


def test_weights_of_another_class_are_not_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lstm.py").write_text(LSTM)
    # A file beside the module, which no code names; the names of its layers are those of the module.
    torch.save(make_tensors({"embed.weight": (9, 7), "rnn.weight_ih_l0": (15, 7), "rnn.weight_hh_l0": (15, 5)}), "g.pt")
    Path("words.json").write_text(json.dumps([*"abcdefghi"]))
    assert propose_weights(Path("lstm.py"), "Lstm") is None
    said = CliRunner().invoke(main, ["export", "lstm.py", "-o", "out"]).stderr
    assert "its rnn is GRU, and not LSTM" in said
    assert "--weights FILE" in said.partition("Write: ")[2]
    Path("gru.py").write_text(LSTM.replace("LSTM", "GRU").replace("Lstm", "Gru"))
    given = ["--weights", "g.pt", "--vocabulary", "words.json", "--labels", "a,b"]
    for options in ([], given):
        refused = CliRunner().invoke(main, ["export", "lstm.py", "-o", "out", *options])
        assert refused.exit_code == 2
        line = refused.stderr.partition("Write: ")[2].split()
        assert line[2] == "gru.py:Gru"
        assert line[line.index("--weights") + 1] == "g.pt"


TRAINER = """
import abc
from nets import FILTER
from base import Settings
open("imported", "w")
class Trainer(Settings, abc.ABC):
    def __init__(self):
        open("made", "w")
        self.model = FILTER["lstm"]()
def train(epochs=1):
    open("made", "w")
    FILTER["gru"]()
def make():
    return FILTER["lstm"](9, 1)
"""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that trains one of twelve modules, which a dict has; the weights are those of one of them."""
    monkeypatch.chdir(tmp_path)
    Path("base.py").write_text("class Settings(object):\n    words = 9\n")
    classes = [LSTM.replace("Lstm", f"Net{n:02}").replace("rnn", f"rnn{n}") for n in range(12)]
    Path("nets.py").write_text("\n".join(classes) + "\nFILTER = {'lstm': Net07, 'gru': Net01}\n")
    Path("main.py").write_text(TRAINER)
    shapes = {"embed.weight": (9, 7), "rnn7.weight_ih_l0": (20, 7), "rnn7.weight_hh_l0": (20, 5)}
    torch.save(make_tensors(shapes), "saved.pt")


@pytest.mark.usefixtures("trainer")
@pytest.mark.parametrize(
    "source", ["main.py:Trainer", "main.py:Trainer()", "main.py:train", "main.py:train(2)", "main.py"]
)
def test_what_gives_no_module_is_told_before_it_is_run(source: str) -> None:
    refused = CliRunner().invoke(main, ["export", source, "-o", "out"])
    assert refused.exit_code == 2
    assert refused.stderr.partition("Write: ")[2].split()[2] == "nets.py:Net07"
    assert not Path("imported").exists()


@pytest.mark.usefixtures("trainer")
def test_the_module_of_a_folder_is_taken_by_the_weights_and_a_long_list_of_modules_is_counted() -> None:
    folder = CliRunner().invoke(main, ["export", ".", "-o", "out"]).stderr
    assert "Note: . is taken as nets.py:Net07" in folder
    # Neither a folder beside the code nor a wrong path of the weights changes the choice.
    Path("data").mkdir()
    for arguments in (["data"], [".", "--weights", "absent.pt"]):
        said = CliRunner().invoke(main, ["export", *arguments, "-o", "out"]).stderr
        assert said.partition("Write: ")[2].split()[2] == "nets.py:Net07"
    Path("saved.pt").unlink()
    for source in (".", "main.py", "nets.py"):
        said = CliRunner().invoke(main, ["export", source, "-o", "out"]).stderr
        assert "nets.py:Net07 and 4 more." in said
        assert said.partition("Write: ")[2].split()[2] == "nets.py:Net00"


@pytest.mark.usefixtures("trainer")
def test_a_class_or_function_that_may_give_a_module_is_not_refused_by_its_code() -> None:
    Path("other.py").write_text(
        "import torch\nfrom nets import Net07\nclass Sub(Net07): ...\nclass Library(torch.nn.GRU): ...\n"
        "class Maker:\n    def __new__(cls): ...\n@staticmethod\ndef decorated(): ...\n"
    )
    for name in ("Sub", "Library", "Maker", "decorated", "missing"):
        assert not explain_why_name_cannot_be_module(Path("other.py"), name)
    assert not explain_why_name_cannot_be_module(Path("main.py"), "make")
    Path("settings.py").write_text("@dataclass\nclass Settings:\n    words: int = 9\ndef run():\n    return\n")
    for name, kind in (("Settings", "class"), ("run", "function")):
        assert kind in explain_why_name_cannot_be_module(Path("settings.py"), name)


def test_a_bundle_is_refused_before_pytorch_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocketrnn_export.commands.export._load_pytorch", lambda: pytest.fail("PyTorch is loaded"))
    (tmp_path / "classifier.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path, "is a bundle"), (tmp_path / "empty", "config.json")):
        refused = CliRunner().invoke(main, ["export", str(folder), "-o", str(tmp_path / "out")])
        assert (refused.exit_code, said in refused.stderr) == (2, True)


CLASSES = """
from torch import nn
class {name}(nn.Module):
    def __init__(self, words, labels):
        super().__init__()
        self.embed = nn.Embedding(words, 4)
        self.{layer} = nn.{kind}(4, 4)
        self.out = nn.Linear(4, labels)
    def forward(self, x):
        return nn.utils.rnn.pad_sequence(x)
"""


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten modules without a recurrent layer, and two with one, which main.py makes; the weights lie deep."""
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    for at in range(10):
        Path(f"nets/a{at}.py").write_text(CLASSES.format(name=f"A{at}", layer="mix", kind="Linear"))
    for name, kind in (("B", "GRU"), ("C", "LSTM")):
        Path(f"nets/{name.lower()}.py").write_text(CLASSES.format(name=name, layer="deep", kind=kind))
    Path("main.py").write_text(
        "from nets.b import B\nfrom nets.c import C\ndef run(x):\n    return C(x) if x else B(x)\n"
    )
    Path("made.py").write_text("from nets.c import C\ndef make():\n    return C(9, 2)\n")


def write_weights(folder: str) -> None:
    module = torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(9, 4), "deep": torch.nn.LSTM(4, 4), "out": torch.nn.Linear(4, 2)}
    )
    Path(folder).mkdir(parents=True)
    torch.save(module.state_dict(), f"{folder}/best.tar")


@pytest.mark.usefixtures("kinds")
def test_a_recurrent_module_comes_first_and_a_cut_list_says_how_many_more_there_are() -> None:
    assert [
        name for name in ("A0", "B", "C") if has_recurrent_layer_by_names(Path(f"nets/{name.lower()}.py"), name)
    ] == ["B", "C"]
    said = CliRunner().invoke(main, ["export", ".", "-o", "out"]).stderr
    assert "modules: nets/b.py:B, nets/c.py:C, nets/a0.py:A0" in said
    assert "and 4 more" in said
    assert "export nets/b.py:B" in said
    # The code that answers makes another one.
    Path("predict.py").write_text("from nets.a0 import A0\ndef predict(x):\n    return A0(x)\n")
    assert "export nets/b.py:B" in CliRunner().invoke(main, ["export", ".", "-o", "out"]).stderr


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("source", [".", "main.py"])
def test_the_module_that_fits_weights_in_a_deep_folder_comes_first(source: str) -> None:
    write_weights("output/news/models/rnn/1")
    said = CliRunner().invoke(main, ["export", source, "-o", "out"]).stderr
    assert "nets/b.py" not in said
    assert "export nets/c.py:C -o out --weights output/news/models/rnn/1/best.tar" in said


@pytest.mark.usefixtures("kinds")
def test_a_file_without_a_module_names_those_that_it_makes() -> None:
    said = CliRunner().invoke(main, ["export", "main.py", "-o", "out"]).stderr
    assert ": nets/b.py:B, nets/c.py:C." in said


@pytest.mark.usefixtures("kinds")
def test_the_weights_of_the_class_that_a_function_makes_are_proposed() -> None:
    write_weights("output/news")
    found = propose_weights(Path("made.py"), "make")
    assert found is not None
    assert str(found.path) == "output/news/best.tar"


OTHER = """
from library import Big
def build_vocab(texts):
    return {word: at for at, word in enumerate(texts)}
def big_encode(text):
    return text.split("|")
vocab = build_vocab(["a", "b"])
Big()(vocab).backward()
"""


@pytest.mark.usefixtures("kinds")
def test_functions_of_the_code_around_a_module_come_first_and_scripts_that_train_another_are_left_out() -> None:
    Path("big.py").write_text(OTHER)
    Path("texts.py").write_text("def split_words(text):\n    return text.split()\n")
    # These may belong to any module.
    assert find_code_that_makes_vocabulary(Path("nets/a0.py")) is not None
    assert [one.option for one in list_text_functions(Path("nets/a0.py"))] == [
        "texts.py:split_words",
        "big.py:big_encode",
    ]
    assert find_code_that_makes_vocabulary(Path("nets/c.py")) is None
    assert [one.option for one in list_text_functions(Path("nets/c.py"))] == ["texts.py:split_words"]
    Path("big.py").write_text(f"{OTHER}\nclass C: ...\n")
    assert find_code_that_makes_vocabulary(Path("nets/c.py")) is not None
    Path("main.py").write_text(
        f"{Path('main.py').read_text()}from big import big_encode\nfrom texts import split_words\n"
    )
    Path("big.py").write_text(OTHER)
    assert len(list_text_functions(Path("nets/c.py"))) == 2


SETTINGS = """
from torch import nn
class Inner(nn.Module):
    def __init__(self, words, dim, hidden, both):
        super().__init__()
        self.embed = nn.Embedding(words, dim)
        self.rnn = nn.GRU(dim, hidden, bidirectional=both)
    def forward(self, x):
        return self.rnn(self.embed(x))[0].mean(0)
class Net(nn.Module):
    def __init__(self, vocab, session):
        super().__init__()
        hidden = int(session["hidden"])
        both = bool(session.get("both", False))
        self.gated = session.get("gated", False)
        self.inner = Inner(len(vocab), dim=int(session["dim"]), hidden=hidden, both=both)
        self.drop = nn.Dropout(float(session.get("dropout", 0)))
        self.out = nn.Linear(hidden * (2 if both else 1), int(session["labels"]))
        if self.gated:
            self.gate = nn.Linear(hidden, hidden)
        self.size = vocab.size
    def forward(self, x):
        return self.out(self.inner(x))
"""


@pytest.mark.parametrize(("settings", "told"), [
    ('"both": True', {"gate: 4 to 4 in the file", "makes gate if self.gated", "session['gated']"}),
    ('"gated": True', {"inner.rnn: GRU, input 3, hidden 4, 1 layer", "session['both']", "session_net.py, line 16"}),
])  # fmt: skip
def test_wrong_settings_of_the_right_class_are_told_by_layers_and_do_not_lead_back_to_it(
    settings: str, told: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "class Words(list):\n    size = 0\n"
    Path("session_net.py").write_text(SETTINGS)
    plain = '"hidden": 4, "dim": 3, "labels": 2'
    Path("made.py").write_text(
        f"from session_net import Net\n{words}def make():\n    return Net(Words('abcde'), {{{plain}, {settings}}})\n"
    )
    held: dict[str, object] = {}
    exec(f"{SETTINGS}{words}", held)  # noqa: S102 - the code above
    net = held["Net"](held["Words"]("abcde"), {"hidden": 4, "dim": 3, "labels": 2, "both": True, "gated": True})  # type: ignore[operator]
    torch.save(net.state_dict(), "net.pt")
    Path("vocab.json").write_text(json.dumps([*"abcde"]))
    options = ["--weights", "net.pt", "--vocabulary", "vocab.json", "--labels", "a,b", "-o", "out"]
    said = CliRunner().invoke(main, ["export", "made.py:make", *options]).stderr
    assert {one for one in told if one in said} == told, said
    assert "Write:" not in said
    assert "dropout" not in said
    # The sizes that the weights show are filled in.
    said = CliRunner().invoke(main, ["export", "session_net.py:Net", *options]).stderr
    assert '"dim": 3, "hidden": 4, "labels": 2' in said
