"""scripts/record_exports: which modules it records, what it says of one, and how two records are compared."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import user_modules
from torch import nn

pytestmark = pytest.mark.usefixtures("short_proofs")
SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
SCRIPT: dict[str, Any] = runpy.run_path(str(SCRIPTS / "record_exports"))
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(user_modules.WORDS - 2))]


def arguments() -> dict[str, Any]:
    return {"labels": list("abcd"), "vocabulary": WORDS, "torchscript": False}


def written(path: Path, **records: Any) -> Path:
    path.write_text("".join(json.dumps({"name": name, **record}) + "\n" for name, record in records.items()))
    return path


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_each_file_of_modules_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETRNN_CORPUS", str(tmp_path))
    import recorded_modules

    files = {path.stem for path in recorded_modules.list_module_files()}
    assert {"user_modules", "number_modules", "packed_size_modules"} <= files
    every = list(recorded_modules.list_recorded_modules())
    assert len({one.name for one in every}) == len(every) > 600
    assert files <= {type(one.made()).__module__ for one in every}


@pytest.mark.slow
def test_a_second_export_gives_the_same_record() -> None:
    first, again = (SCRIPT["make_record"](user_modules.PackedLastState, arguments) for _ in range(2))
    assert not SCRIPT["find_differences"](first, again, [])
    assert first["outcome"] == "exported"
    assert first["provenance"]["call"] == "module(tokens, lengths)"
    assert {"graph", "limits", "manifest", "messages"} <= first.keys()
    assert {"version", "operations", "weights"} <= first["packed"].keys()


def test_a_refusal_and_an_error_are_recorded() -> None:
    refused = SCRIPT["make_record"](user_modules.PackedLastState, lambda: arguments() | {"labels": ["a", "b"]})
    assert (refused["outcome"], refused["error"].split(":")[0]) == ("refused", "ExportError")

    def fails() -> nn.Module:
        raise ZeroDivisionError("no module")

    failed = SCRIPT["make_record"](fails, arguments)
    assert failed["outcome"] == "failed"
    assert failed["error"].startswith("ZeroDivisionError at test_record_exports.py, fails")


def test_two_records_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = {"outcome": "exported", "graph": "aa", "manifest": {"version": 2}, "messages": ["x"], "seconds": 1}
    before = written(tmp_path / "before", kept=same, changed=same, gone=same)
    changed = same | {"graph": "bb", "manifest": {"version": 1}, "messages": ["x", "y"], "seconds": 3}
    after = written(tmp_path / "after", kept=same | {"seconds": 2}, changed=changed, new=same)

    assert SCRIPT["compare_records"](before, after, []) == 1
    said = capsys.readouterr().out.splitlines()
    assert said.index("Different:") == said.index("  changed") - 1
    for field, *values in (("graph", "- aa", "+ bb"), ("manifest.version", "- 2", "+ 1"), ("messages", "+ y")):
        place = said.index(f"    {field}")
        assert [line.strip() for line in said[place + 1 : place + 1 + len(values)]] == values
    assert "  gone" in said
    assert "  new" in said
    assert "graph: another in 1" in said
    assert said[-1].startswith("1 of 2 are the same; 1 differ")


def test_what_is_left_out_is_not_compared(tmp_path: Path) -> None:
    before = written(tmp_path / "before", a={"manifest": {"version": 2}, "manifesto": 1})
    after = written(tmp_path / "after", a={"manifest": {"version": 1}, "manifesto": 1})
    assert SCRIPT["compare_records"](before, after, ["manifest"]) == 0
    assert SCRIPT["compare_records"](before, after, ["manifest.vers"]) == 1


def test_a_refusal_is_compared_by_what_it_says() -> None:
    exported = {"outcome": "exported", "graph": "aa"}
    assert SCRIPT["find_differences"](exported, {"outcome": "refused", "error": "no"}, []) == {
        "outcome": ("exported", "refused"),
        "error": (None, "no"),
    }


def test_some_modules_are_compared(tmp_path: Path) -> None:
    before = written(
        tmp_path / "before", a={"family": "x", "graph": 1}, b={"family": "y", "graph": 1}, c={"family": "y"}
    )
    after = written(tmp_path / "after", a={"family": "x", "graph": 1}, b={"family": "y", "graph": 2})
    assert SCRIPT["compare_records"](before, after, [], ["x"]) == 0
    assert SCRIPT["compare_records"](before, after, [], ["y"]) == 1


def test_a_line_that_is_not_whole_is_exported_again(tmp_path: Path) -> None:
    file = written(tmp_path / "record", a={}, b={})
    file.write_text(file.read_text()[:-4])
    assert list(SCRIPT["read_records"](file)) == ["a"]
