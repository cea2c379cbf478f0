"""The code of a user's file is imported as in its project, wherever the command is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.module_file import load_module, load_text_function
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name

NET = """
from torch import nn
{imports}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(DIM, 2)
"""


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files of Python below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def name_in(path: Path, name: str) -> ModuleName:
    named = parse_module_name(f"{path}:{name}")
    assert named is not None
    return named


def test_a_tokenizer_file_imports_what_stands_beside_the_module(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "folders_rnn/model.py": NET.format(imports="DIM = 3"),
            "folders_rnn/unit_settings.py": "UNIT = 'word'",
            "cutting.py": "from unit_settings import UNIT\ndef words(text):\n    return [UNIT, *text.split()]",
        },
    )
    module = tmp_path / "folders_rnn" / "model.py"
    words = load_text_function(name_in(tmp_path / "cutting.py", "words"), module_file=module)
    assert words("a b") == ["word", "a", "b"]


def test_a_file_imports_from_the_folder_above_its_own(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"below/net_below.py": NET.format(imports="from sizes_above import DIM"), "sizes_above.py": "DIM = 3"}
    )
    assert load_module(name_in(tmp_path / "below" / "net_below.py", "Net")).fc.in_features == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("broken", [False, True], ids=["whole package", "package that needs another one"])
def test_relative_imports_are_found_in_the_package_of_the_file(broken: bool, tmp_path: Path) -> None:
    package = f"relative_{broken}"
    write_files(
        tmp_path / package,
        {
            "__init__.py": "import package_of_nobody" if broken else "",
            "sizes.py": "DIM = 5",
            "models/layers.py": "from ..sizes import DIM",
            "models/net.py": NET.format(imports="from .layers import DIM as D\nfrom ..sizes import DIM\nassert D"),
        },
    )
    assert load_module(name_in(tmp_path / package / "models" / "net.py", "Net")).fc.in_features == 5  # type: ignore[union-attr]


def test_a_relative_import_of_a_missing_file_is_named(tmp_path: Path) -> None:
    write_files(tmp_path / "lacking", {"net.py": NET.format(imports="from .nowhere import DIM")})
    with pytest.raises(ExportError, match=r"lacking\.nowhere"):
        load_module(name_in(tmp_path / "lacking" / "net.py", "Net"))
