"""Settings that code contains, as defaults of a command line or as a class `Config`, are read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketrnn_export.source_code.argparse_and_config_settings import read_settings_in_code


def _read(folder: Path, **files: str) -> dict[str, object]:
    paths = []
    for name, code in files.items():
        paths.append(folder / f"{name}.py")
        paths[-1].write_text(code, encoding="utf-8")
    return {name: value for one in read_settings_in_code(paths) for name, value in one.values.items()}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("class Config:\n    dim = 8\n    rate: float = 0.5\n    device = torch.device('cpu')",
         {"dim": 8, "rate": 0.5}),
        ("class Args(object):\n    def __init__(self, dim=8, file=None):\n        self.dim = dim\n"
         "        self.layers = 2",
         {"dim": 8, "layers": 2}),
        ("class Config:\n    dim = 8\n    def __init__(self):\n        self.dim = 16", {"dim": 16}),
        ("class Config:\n    def __init__(self, big):\n        if big:\n            self.dim = 64\n"
         "        else:\n            self.dim = 8\n        self.n = 3", {"n": 3}),
        ("class Config:\n    def __init__(self):\n        self.dim = self.n = 4\n        self.words = len(VOCAB)",
         {"dim": 4, "n": 4}),
        # A module with such a name is not a class of settings.
        ("class ConfigurableNet(nn.Module):\n    dim = 3\n    def forward(self, x): ...", {}),
        ("class Reader:\n    dim = 3", {}),
    ],
)  # fmt: skip
def test_plain_values_of_a_class_of_settings_are_read(tmp_path: Path, code: str, expected: dict[str, object]) -> None:
    name = code.split()[1].split("(")[0].rstrip(":")
    assert _read(tmp_path, a=code, b=f"made = a.{name}()") == expected


def test_a_value_that_code_sets_later_counts_or_is_not_known(tmp_path: Path) -> None:
    own = "class Config:\n    def __init__(self):\n        self.dim = 8\n        self.words = 0\n        self.width = 3"
    later = "cfg = Config()\ncfg.dim = 16\ncfg.words = len(vocab)\nself.config = own.Config()\nself.config.width = 5"
    assert _read(tmp_path, a=own, b=later) == {"dim": 16, "width": 5}
    (found,) = read_settings_in_code([tmp_path / "a.py", tmp_path / "b.py"])
    assert found.users == (tmp_path / "b.py",)
    assert [*found.later] == ["words"]
    assert "line 3" in found.later["words"]


def test_two_values_that_code_sets_later_are_not_known(tmp_path: Path) -> None:
    own = "class Config:\n    dim = 8\n    n = 1"
    assert _read(tmp_path, a=own, b="c = Config()\nc.dim = 16", c="c = Config()\nc.dim = 32") == {"n": 1}


def test_a_file_that_cannot_be_read_has_no_settings(tmp_path: Path) -> None:
    assert _read(tmp_path, a="class Config(", b="class Config:\n    dim = 8\nConfig()\nc = Config()") == {"dim": 8}


def test_a_class_of_which_no_object_is_made_says_nothing(tmp_path: Path) -> None:
    assert _read(tmp_path, a="class Config:\n    dim = 8") == {}
