"""A classifier as an AWS Lambda function, behind a function URL or API Gateway.

The handler is `lambda_handler.handler`. The environment variable POCKETRNN_BUNDLE names a bundle's folder, a shipped
classifier, or a packed file (`pocketrnn pack`): one that ends in .prnn is answered by pocketrnn-native alone, which
needs neither numpy nor onnxruntime, and has the shortest cold start. `scripts/measure_cold_start` measures it.

    POST {"texts": ["Oil prices rise again"]}  ->  [{"label": "Business", "probability": 0.98}]
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pocketrnn
    import pocketrnn_native

_MOST_TEXTS = 256


def load_classifier(bundle: str) -> pocketrnn.Classifier | pocketrnn_native.Classifier:
    """The classifier of a bundle or of a packed file, by the package that needs the least."""
    if bundle.endswith(".prnn"):
        from pocketrnn_native import Classifier as PackedClassifier

        return PackedClassifier.load(bundle)
    from pocketrnn import Classifier

    return Classifier.load(bundle)


# Here and not in the handler: Lambda runs this once for each instance, before the first request.
classifier = load_classifier(os.environ.get("POCKETRNN_BUNDLE", "languages"))


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001 - Lambda gives it
    """Answer one request.

    Args:
        event: an event of the payload format 2.0 (or 1.0), whose body is JSON with a list of strings in `texts`.
        context: Lambda's own, not used.

    Returns:
        the response, whose body is a JSON list with `label` and `probability` of each text; status 400 and `error`
        where the request is not understood.
    """
    try:
        texts = read_texts(event)
    except ValueError as error:
        return make_response(400, {"error": str(error)})
    answers = [classifier.classify(text) for text in texts]
    return make_response(200, [{"label": answer.label, "probability": answer.probability} for answer in answers])


def read_texts(event: Mapping[str, Any]) -> list[str]:
    """The texts of a request.

    Raises:
        ValueError: there is no such list, or it is too long.
    """
    body = event.get("body")
    try:
        if event.get("isBase64Encoded"):
            body = base64.b64decode(body or "", validate=True).decode("utf-8")
        document = json.loads(body or "")
    except (binascii.Error, UnicodeDecodeError, json.JSONDecodeError, RecursionError, TypeError):
        raise ValueError("The body is not JSON.") from None
    texts = document.get("texts") if isinstance(document, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('The body has no list of strings in "texts".')
    if len(texts) > _MOST_TEXTS:
        raise ValueError(f"There are {len(texts)} texts; at most {_MOST_TEXTS} are answered at once.")
    return texts


def make_response(status: int, body: object) -> dict[str, Any]:
    """A response as Lambda takes it."""
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
