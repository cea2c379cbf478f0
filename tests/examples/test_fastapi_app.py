"""The FastAPI example, over a real connection to a server in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import runpy
import socket
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
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = ["Where is the railway station?", "Wo ist der Bahnhof?", "Dov'è la stazione ferroviaria?"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # Port 0: the system chooses one that is free, and uvicorn says which.
    with serving("-m", "uvicorn", "--app-dir", EXAMPLES, "fastapi_app:app", "--port", "0") as found:
        yield found


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said, found = "", None
            for line in server.stderr:
                said += line
                found = found or re.search(r"unning on (http://127\.0\.0\.1:\d+)", said)
                # With several processes, the line of the address comes first.
                if found and "Application startup complete" in said:
                    yield found[1]
                    break
            else:
                pytest.fail(f"The server ended: {said}")
        finally:
            server.terminate()


def asked(address: str, path: str, body: object) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}{path}", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
def test_several_processes_answer_at_one_address() -> None:
    with serving(EXAMPLES / "fastapi_processes.py", "--processes", "2", "--port", "0") as address:
        for text, label in zip(TEXTS, ["en", "de", "it"], strict=True):
            assert asked(address, "/classify", {"text": text})[1]["top"][0]["label"] == label


def test_answers_of_several_processes_wait_for_no_acknowledgement() -> None:
    # asyncio sets TCP_NODELAY on connections of such a socket only.
    with runpy.run_path(str(EXAMPLES / "fastapi_processes.py"))["open_listening_socket"]("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def metrics(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_texts_are_answered_as_the_classifier_answers(address: str) -> None:
    status, answers = asked(address, "/batch", {"texts": TEXTS, "top": 2})
    assert status == 200
    expected = [Classifier.load("languages").classify(text, top=2).top for text in TEXTS]
    assert [[one["label"] for one in answer["top"]] for answer in answers] == [
        [label for label, _ in top] for top in expected
    ]
    for answer, top in zip(answers, expected, strict=True):
        assert [one["probability"] for one in answer["top"]] == pytest.approx([p for _, p in top], abs=1e-5)
    assert asked(address, "/classify", {"text": TEXTS[0], "top": 2}) == (200, answers[0])


def test_many_clients_are_answered_at_once(address: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: asked(address, "/classify", {"text": TEXTS[i % 3]}), range(48)))
    assert [answer["top"][0]["label"] for _, answer in answers] == ["en", "de", "it"] * 16


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
    status, answer = asked(address, "/batch", body)
    assert status == 422
    assert answer["detail"]


def test_a_text_that_is_too_long_is_refused_alone_as_among_others(address: str) -> None:
    assert asked(address, "/classify", {"text": "a" * 10_000})[0] == 200
    assert asked(address, "/classify", {"text": "a" * 10_001})[0] == 422


@pytest.mark.parametrize("length", ["Content-Length", "Transfer-Encoding"])
def test_a_request_of_too_many_bytes_is_refused_before_it_is_read_whole(address: str, length: str) -> None:
    content, refused = [b" " * 2**20] * 64, 'pocketrnn_requests_total{path="/batch",status="413"}'
    before = metrics(address).get(refused, 0)
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    headers = {"Content-Type": "application/json"}
    # The server answers and hangs up while the rest is still on its way.
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        if length == "Content-Length":
            connection.request("POST", "/batch", b"".join(content), headers)
        else:
            connection.request("POST", "/batch", iter(content), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "bytes" in json.load(answer)["detail"]
    assert metrics(address)[refused] == before + 1


def test_requests_and_answers_are_counted(address: str) -> None:
    before = metrics(address)
    asked(address, "/batch", {"texts": TEXTS})
    asked(address, "/batch", {})
    asked(address, "/no/such/path", {})
    after = metrics(address)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    for name in (
        'pocketrnn_requests_total{path="/batch",status="200"}',
        'pocketrnn_requests_total{path="/batch",status="422"}',
        'pocketrnn_requests_total{path="other",status="404"}',
        'pocketrnn_answers_total{label="en"}',
        'pocketrnn_answers_total{label="it"}',
    ):
        assert grown[name] == 1, name
    assert grown['pocketrnn_request_seconds_count{path="/batch"}'] == 2


def test_the_server_says_which_classifier_answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        assert json.load(answer)["classifier"] == "languages"
