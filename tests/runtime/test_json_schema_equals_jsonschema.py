"""The dependency-free checker says what the jsonschema library says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn.bundle.json_schema_check import find_first_fault
from pocketrnn.bundle.manifest import load_manifest_schema

jsonschema = pytest.importorskip("jsonschema")

Steps = tuple[str | int, ...]


@pytest.fixture(scope="module", params=["texts", "numbers"])
def document(request: pytest.FixtureRequest, padded: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((padded / "classifier.json").read_bytes())
    loaded["vocabulary"] = loaded["vocabulary"][:4]
    loaded["examples"] = loaded["examples"][:2]
    return loaded if request.param == "texts" else of_numbers(loaded)


def of_numbers(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a classifier of numbers that gives values."""
    made = {name: value for name, value in document.items() if name not in ("text", "vocabulary", "torchscript")}
    graph = {name: value for name, value in document["graph"].items() if name != "embedding_rows"}
    return {
        **made,
        "activation": "values",
        "value_units": ["m"] * len(made["labels"]),
        "numbers": {"channels": ["x", "y"], "mean": [0.5, 1], "training_range": [[0, 1], [0, 2.5]]},
        "graph": {**graph, "inputs": ["samples"], "limits": {"max_tokens": 9}},
        "examples": [{"samples": [[0.5, 1]], "logits": [1.5, 0, 0, 0]}],
    }


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([0.0, 1.0, 1.5, -1.0, 1e300, 2**70, float("inf")]),
    st.sampled_from(["", "x", "softmax", "tokens", "lengths", "0" * 64, "0" * 63, "../x", "a/b", ".", "model.onnx"]),
    st.sampled_from(
        [[], {}, ["x"], ["x", "x"], ["tokens"], ["lengths", "tokens"], [1, 1], [True, 1], {"x": 1}, "y" * 201]
    ).map(copy.deepcopy),  # a second change must not reach what a later example is given
)


def paths_in(value: Any, at: Steps = ()) -> list[Steps]:
    if isinstance(value, dict):
        return [at, *(p for name, member in value.items() for p in paths_in(member, (*at, name)))]
    if isinstance(value, list):
        return [at, *(p for i, member in enumerate(value) for p in paths_in(member, (*at, i)))]
    return [at]


def altered(document: dict[str, Any], data: st.DataObject) -> Any:
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from([p for p in paths_in(document) if p]))
        place: Any = document
        for step in parents:
            place = place[step]
        match data.draw(st.sampled_from(["replace", "delete", "repeat", "add"])):
            case "replace":
                place[last] = data.draw(VALUES)
            case "delete":
                del place[last]
            case "repeat" if isinstance(place, list):
                place.append(copy.deepcopy(place[last]))
            case "add" if isinstance(place, dict):
                place[data.draw(st.sampled_from(["extra", "unknown_id", "type", "text", "alone"]))] = data.draw(VALUES)
        if not isinstance(document, dict) or not document:
            break
    return document


@settings(max_examples=examples(50, 2000), deadline=None)
@given(data=st.data())
def test_the_checker_and_the_jsonschema_library_agree(document: dict[str, Any], data: st.DataObject) -> None:
    changed = altered(document, data)
    library = jsonschema.Draft202012Validator(load_manifest_schema())
    assert (find_first_fault(changed, load_manifest_schema()) is None) == library.is_valid(changed)


def test_the_schema_itself_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(load_manifest_schema())


def test_a_whole_document_is_valid(document: dict[str, Any]) -> None:
    assert find_first_fault(document, load_manifest_schema()) is None


@pytest.mark.parametrize("member", ["text", "numbers"])
def test_a_member_of_the_other_kind_of_input_is_refused(member: str, document: dict[str, Any]) -> None:
    whole = {"tokenizer": "external"} if member == "text" else {"channels": ["x"]}
    added = document if member in document else {**document, member: whole}
    assert (find_first_fault(added, load_manifest_schema()) is None) == (member in document)


def test_a_line_break_does_not_slip_past_the_end_of_a_pattern() -> None:
    assert find_first_fault("model.onnx\n", {"type": "string", "pattern": "^[a-z.]*$"}) is not None


def test_a_keyword_the_checker_does_not_know_is_no_silent_pass() -> None:
    with pytest.raises(NotImplementedError, match="maxProperties"):
        find_first_fault([], {"maxProperties": 1})
