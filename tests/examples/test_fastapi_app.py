"""The FastAPI example, over a real connection to a server in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pocketrnn import Classifier

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = ["Where is the railway station?", "Wo ist der Bahnhof?", "Dov'è la stazione ferroviaria?"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # Port 0: the system chooses one that is free, and uvicorn says which.
    command = [sys.executable, "-m", "uvicorn", "--app-dir", EXAMPLES, "fastapi_app:app", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = []
            for line in server.stderr:
                said.append(line)
                if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                    yield found[1]
                    break
            else:
                pytest.fail(f"The server ended: {''.join(said)}")
        finally:
            server.terminate()


def asked(address: str, body: object) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/classify", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_texts_are_answered_as_the_classifier_answers(address: str) -> None:
    status, answers = asked(address, {"texts": TEXTS, "top": 2})
    assert status == 200
    expected = [Classifier.load("languages").classify(text, top=2).top for text in TEXTS]
    assert [[one["label"] for one in answer["top"]] for answer in answers] == [
        [label for label, _ in top] for top in expected
    ]
    for answer, top in zip(answers, expected, strict=True):
        assert [one["probability"] for one in answer["top"]] == pytest.approx([p for _, p in top], abs=1e-5)


def test_many_clients_are_answered_at_once(address: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: asked(address, {"texts": [TEXTS[i % 3]]}), range(48)))
    assert [answer[0]["top"][0]["label"] for _, answer in answers] == ["en", "de", "it"] * 16


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        {},
        {"texts": "one string"},
        {"texts": []},
        {"texts": [1]},
        {"texts": ["a"], "top": 0},
        {"texts": ["a"], "top": 500},
        {"texts": ["a" * 10_001]},
        {"texts": ["a"] * 257},
    ],
    ids=lambda body: str(body)[:30],
)
def test_what_is_no_question_is_refused_with_a_reason(address: str, body: object) -> None:
    status, answer = asked(address, body)
    assert status == 422
    assert answer["detail"]


def test_the_server_says_which_classifier_answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        assert json.load(answer)["classifier"] == "languages"
