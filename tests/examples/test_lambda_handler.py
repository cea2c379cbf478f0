"""The Lambda handler answers requests as API Gateway hands them on, and refuses what it does not understand."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pocketrnn import Classifier

ROOT = Path(__file__).parents[2]
PACKED = ROOT / "tests" / "vectors" / "packed" / "words.prnn"
TEXTS = ["Oil prices rise again", "Striker scores twice in cup final"]


@pytest.fixture
def lambda_handler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.delenv("POCKETRNN_BUNDLE", raising=False)
    import lambda_handler

    return lambda_handler


def answers_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    assert response["statusCode"] == 200
    answers: list[dict[str, Any]] = json.loads(response["body"])
    return answers


def test_a_request_is_answered_as_the_classifier_answers(lambda_handler: ModuleType) -> None:
    event = {"version": "2.0", "body": json.dumps({"texts": TEXTS}), "isBase64Encoded": False}
    answers = answers_of(lambda_handler.handler(event, None))
    assert [answer["label"] for answer in answers] == Classifier.load("languages").predict(TEXTS)
    assert all(0 < answer["probability"] <= 1 for answer in answers)


def test_a_body_in_base64_is_read(lambda_handler: ModuleType) -> None:
    body = base64.b64encode(json.dumps({"texts": TEXTS}).encode()).decode()
    assert len(answers_of(lambda_handler.handler({"body": body, "isBase64Encoded": True}, None))) == 2


def test_no_text_has_no_answer(lambda_handler: ModuleType) -> None:
    assert answers_of(lambda_handler.handler({"body": '{"texts": []}'}, None)) == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"body": None},
        {"body": "not JSON"},
        {"body": "[" * 100_000},
        {"body": '["a list"]'},
        {"body": '{"texts": "one string"}'},
        {"body": '{"texts": [1, null]}'},
        {"body": json.dumps({"texts": ["a"] * 257})},
        {"body": "!!!", "isBase64Encoded": True},
        {"body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True},
        {"body": {"texts": ["not a string"]}},
    ],
    ids=lambda event: str(event)[:30],
)
def test_what_is_no_request_is_refused_with_a_reason(lambda_handler: ModuleType, event: dict[str, Any]) -> None:
    response = lambda_handler.handler(event, None)
    assert response["statusCode"] == 400
    assert json.loads(response["body"])["error"]


def test_a_packed_file_is_answered_without_numpy() -> None:
    pytest.importorskip("pocketrnn_native._engine")
    code = (
        "import json, sys, lambda_handler\n"
        "print(lambda_handler.handler({'body': json.dumps({'texts': ['Oil prices rise.']})})['body'])\n"
        "print(sorted({'numpy', 'onnxruntime', 'pocketrnn'} & sys.modules.keys()))"
    )
    paths = [str(ROOT / "examples"), str(ROOT / "runtime" / "native")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True, text=True, check=True, timeout=60, env={"POCKETRNN_BUNDLE": str(PACKED)},
    )  # fmt: skip
    answer, modules = done.stdout.splitlines()
    assert json.loads(answer)[0]["label"] == "Sports"
    assert modules == "[]"


@pytest.mark.slow
def test_the_cold_start_is_measured(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "measure_cold_start", "--rounds", "1", "--packed", PACKED],
        capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert "| Python alone |" in done.stdout
    assert "| bundle `ag_news` |" in done.stdout
