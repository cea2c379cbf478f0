"""A classifier behind HTTP, with FastAPI: one text, many texts, health, metrics.

    pip install pocketrnn fastapi uvicorn prometheus-client
    uvicorn --app-dir examples fastapi_app:app
    curl localhost:8000/classify -H 'Content-Type: application/json' -d '{"text": "Où est la gare ?"}'

The environment variable POCKETRNN_BUNDLE names the bundle or the packed file; by default it is the shipped `languages`.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field

from pocketrnn import Classifier, PocketRNNError, verify

# The most that one client may ask for at once. The last is of the whole request, in bytes, before it is read as JSON.
MOST_CHARACTERS: Final = 10_000
MOST_TEXTS: Final = 256
MOST_BYTES: Final = 8 * 2**20

REQUESTS: Final = Counter("pocketrnn_requests", "Requests, by what they asked and how they ended.", ["path", "status"])
SECONDS: Final = Histogram(
    "pocketrnn_request_seconds",
    "How long a request took, its body included.",
    ["path"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
# When the shares of the labels move, so have the texts.
ANSWERS: Final = Counter("pocketrnn_answers", "Texts that were answered, by their likeliest label.", ["label"])

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class Question(BaseModel):
    """The body of a request for one text."""

    text: Text
    top: int = Field(default=1, ge=1)


class Questions(BaseModel):
    """The body of a request for many texts."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
    top: int = Field(default=1, ge=1)


class LabelProbability(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class Answer(BaseModel):
    """The likeliest labels of one text, the likeliest first."""

    top: list[LabelProbability]


class Bounded:
    """A wrapper of the application: it refuses requests of too many bytes, and counts and times every request."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, read, status = time.perf_counter(), 0, 500

        async def bounded() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise HTTPException(413, f"A request has at most {MOST_BYTES} bytes.")
            return message

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, bounded, noted)
        finally:
            # Not the path that was asked: there are as many as clients can think of.
            path = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(path, status).inc()
            SECONDS.labels(path).observe(time.perf_counter() - started)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Before the first request, read the bundle once, and check that it gives the same answers here as where it was
    made."""
    bundle = os.environ.get("POCKETRNN_BUNDLE", "languages")
    verify(bundle)
    app.state.classifier = Classifier.load(bundle)
    yield


app = FastAPI(title="pocketrnn", lifespan=lifespan)
app.add_middleware(Bounded)


def classify_and_count(request: Request, texts: Iterable[str], top: int) -> list[Answer]:
    """The answers of the classifier, counted."""
    classifier: Classifier = request.app.state.classifier
    try:
        found = [answer.top for answer in classifier.classify_all(texts, top=top) if answer is not None]
    except PocketRNNError as error:
        # A text beyond the classifier's limits, or a `top` above the number of its labels.
        raise HTTPException(422, str(error)) from None
    for labels in found:
        ANSWERS.labels(labels[0][0]).inc()
    return [Answer(top=[LabelProbability(label=label, probability=p) for label, p in labels]) for labels in found]


# `def` and not `async def`: FastAPI runs them in threads, and the server goes on meanwhile. All threads may use one
# Classifier.
@app.post("/classify")
def classify(question: Question, request: Request) -> Answer:
    """The likeliest labels of one text."""
    return classify_and_count(request, [question.text], question.top)[0]


@app.post("/batch")
def batch(questions: Questions, request: Request) -> list[Answer]:
    """The likeliest labels of each text, in the order of the texts."""
    return classify_and_count(request, questions.texts, questions.top)


@app.get("/health")
def health(request: Request) -> dict[str, object]:
    """Return the name of the classifier that answers, for a load balancer."""
    classifier: Classifier = request.app.state.classifier
    return {"classifier": classifier.name, "labels": classifier.labels}


@app.get("/metrics")
def metrics() -> Response:
    """Return the counts of this process in Prometheus' format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
