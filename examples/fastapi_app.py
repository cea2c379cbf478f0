"""A classifier behind HTTP, with FastAPI.

    pip install pocketrnn fastapi uvicorn
    uvicorn --app-dir examples fastapi_app:app
    curl localhost:8000/classify -H 'Content-Type: application/json' -d '{"texts": ["Oil prices rise again"]}'

The environment variable POCKETRNN_BUNDLE names the bundle or the packed file; by default it is the shipped `languages`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from pocketrnn import Classifier, PocketRNNError

# Bounds of a request: what one client may ask for at once.
Text = Annotated[str, Field(max_length=10_000)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=256)]


class Question(BaseModel):
    """The body of a request."""

    texts: Texts
    top: int = Field(default=1, ge=1)


class LabelProbability(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class Answer(BaseModel):
    """The likeliest labels of one text, the likeliest first."""

    top: list[LabelProbability]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Read the bundle once, before the first request."""
    app.state.classifier = Classifier.load(os.environ.get("POCKETRNN_BUNDLE", "languages"))
    yield


app = FastAPI(title="pocketrnn", lifespan=lifespan)


# `def` and not `async def`: FastAPI runs it in a thread, and the server goes on meanwhile. All threads may use one
# Classifier.
@app.post("/classify")
def classify(question: Question, request: Request) -> list[Answer]:
    """The likeliest labels of each text, in the order of the texts."""
    classifier: Classifier = request.app.state.classifier
    try:
        answers = list(classifier.classify_all(question.texts, top=question.top))
    except PocketRNNError as error:
        # A text beyond the classifier's limits, or a `top` above the number of its labels.
        raise HTTPException(422, str(error)) from None
    return [
        Answer(top=[LabelProbability(label=label, probability=p) for label, p in answer.top])
        for answer in answers
        if answer is not None
    ]


@app.get("/health")
def health(request: Request) -> dict[str, object]:
    """Which classifier answers, for a load balancer."""
    classifier: Classifier = request.app.state.classifier
    return {"classifier": classifier.name, "labels": classifier.labels}
