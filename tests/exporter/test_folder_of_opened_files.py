"""Code that opens a file by a relative path is run in the folder from which this path is right."""

import json
from pathlib import Path

import pytest

from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name

NET = """\
import json
from torch import nn
class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        with open({name!r}) as file:
            self.ids = json.load(file)
        self.table = nn.Embedding(len(self.ids), width)
    def forward(self, ids):
        return self.table(ids).sum(1)
"""
AT_TOP = """\
from pathlib import Path
import json
from torch import nn
IDS = json.loads(Path({name!r}).read_text())
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(len(IDS), 4)
    def forward(self, ids):
        return self.table(ids).sum(1)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for one in ("nets", "service/data"):
        Path(one).mkdir(parents=True)
        Path(one, "notes.txt").touch()
    return tmp_path


def load_net(code: str, name: str) -> int:
    Path("nets/net.py").write_text(code.format(name=name))
    named = parse_module_name("nets/net.py:Net")
    assert named is not None
    return int(load_module(named).table.num_embeddings)  # type: ignore[union-attr, arg-type]


def write_ids(place: str, count: int = 3) -> None:
    Path(place).write_text(json.dumps({f"w{i}": i for i in range(count)}))


@pytest.mark.parametrize("code", [NET, AT_TOP])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("service/ids.json", "ids.json"),
        ("service/data/ids.json", "data/ids.json"),
        ("service/data/ids.json", "./ids.json"),
        ("service/ids.json", "../ids.json"),
    ],
)
def test_code_is_run_where_its_relative_path_is_right(
    code: str, place: str, name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ids(place)
    assert load_net(code, name) == 3
    assert "ids.json from another folder: it is run in service" in caplog.text
    assert Path.cwd() == folder


def test_a_path_that_is_right_here_is_opened_here(caplog: pytest.LogCaptureFixture) -> None:
    write_ids("ids.json", 5)
    write_ids("service/ids.json")
    assert load_net(NET, "ids.json") == 5
    assert not caplog.text


def test_copies_of_a_file_in_several_folders_are_one_file() -> None:
    write_ids("service/ids.json")
    write_ids("nets/ids.json")
    assert load_net(NET, "ids.json") == 3


def test_files_that_differ_are_refused_by_their_names() -> None:
    write_ids("service/ids.json")
    write_ids("nets/ids.json", 4)
    with pytest.raises(InputError, match="these files differ") as refusal:
        load_net(NET, "ids.json")
    assert str(Path("nets/ids.json")) in str(refusal.value)


@pytest.mark.parametrize("code", [NET, AT_TOP])
@pytest.mark.parametrize("name", ["/content/drive/ids.json", "C:\\\\data\\\\ids.json", "vocabulary/ids.json"])
def test_a_path_of_another_machine_opens_the_file_here(code: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    write_ids("service/ids.json")
    assert load_net(code, name) == 3
    assert f"which is not here: {Path('service/ids.json')} is taken" in caplog.text


@pytest.mark.parametrize("name", ["out/ids.json", "/content/out/ids.json"])
def test_code_that_writes_a_file_overwrites_no_other(name: str) -> None:
    Path("service/out").mkdir()
    write_ids("service/out/ids.json")
    before = Path("service/out/ids.json").read_text()
    with pytest.raises(ExportError):
        load_net(NET.replace("open({name!r})", "open({name!r}, 'w')"), name)
    assert Path("service/out/ids.json").read_text() == before


def test_a_missing_file_is_not_told_as_missing_arguments() -> None:
    with pytest.raises(ExportError, match=r"ids\.json") as refusal:
        load_net(NET, "ids.json")
    assert "Give its arguments" not in str(refusal.value)
