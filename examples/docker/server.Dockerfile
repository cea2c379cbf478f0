# examples/fastapi_app.py with `languages`, in python:slim.
#
#   docker build -f examples/docker/server.Dockerfile -t classifier .
#   docker run --rm -p 8000:8000 --read-only classifier
#   curl localhost:8000/classify -H 'Content-Type: application/json' -d '{"text": "Où est la gare ?"}'
#
# The context is the root of this repository. A classifier of yours: docker run -v "$PWD/news:/news:ro"
# -e POCKETRNN_BUNDLE=/news ...
FROM python:3.13-slim AS build
COPY . /source
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir /source fastapi prometheus-client uvicorn

FROM python:3.13-slim
COPY --from=build /venv /venv
COPY examples/fastapi_app.py /app/fastapi_app.py
ENV POCKETRNN_BUNDLE=languages PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
EXPOSE 8000
HEALTHCHECK CMD ["/venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/health')"]
CMD ["/venv/bin/uvicorn", "--app-dir", "/app", "--host", "0.0.0.0", "fastapi_app:app"]
