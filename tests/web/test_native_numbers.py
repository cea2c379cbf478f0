"""Sequences of numbers in WebAssembly, in Node: the answers of Python, and the same refusals in the same words."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_node import Node, served

from pocketrnn import Classifier
from pocketrnn.errors import PocketRNNError

PACKED = Path(__file__).parents[1] / "vectors" / "packed"
NAMES = ("numbers-gesture", "numbers-load", "numbers-plain", "numbers-carried", "numbers-integers")
ENGINES = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
KINDS = {"Float32Array": np.float32, "Float64Array": np.float64, "Int16Array": np.int16, "Int32Array": np.int32}
OF_VECTORS = {kind.__name__: name for name, kind in KINDS.items()}
# Windows of each file, and pieces in which a recording of so many steps arrives.
WINDOWS = {
    "numbers-gesture": (None, None),
    "numbers-load": (4, 3),
    "numbers-plain": (5, 7),
    "numbers-carried": (None, None),
    "numbers-integers": (None, None),
}
PIECES = (1, 1, 14, 3, 30, 2, 60)


def array_of(sequence: dict[str, Any], channels: int) -> Any:
    """The input of Node, in Python's form."""
    if sequence["kind"] == "rows":
        return sequence["samples"]
    flat = [np.nan if x is None else float(x) for row in sequence["samples"] for x in row]
    return np.array(flat).astype(KINDS[sequence["kind"]]).reshape(-1, channels)


def sequences_of(name: str, *, refused: bool) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (PACKED / f"{name}.jsonl").read_text(encoding="ascii").splitlines()]
    return [
        {"kind": OF_VECTORS[line["kind"]], "samples": line["samples"]} for line in lines if ("said" in line) is refused
    ]


def refused_of(name: str, channels: int) -> list[dict[str, Any]]:
    """The inputs that no classifier of so many channels takes, each by the rules of the file or by its shape."""
    row = [0.5] * channels
    infinite = [row, ["inf", *row[1:]], ["inf", *row[1:]]]
    shapes = [
        {"kind": "rows", "samples": samples}
        for samples in ("abc", [], [[]], [[*row, 1.0]], [row, [*row, 2.0]], [["a"] * channels], [row, [row]], [[row]])
    ]
    if channels > 1:
        shapes.append({"kind": "rows", "samples": row})
    return [{"kind": "Float64Array", "samples": infinite}, *shapes, *sequences_of(name, refused=True)]


def pieces_of(channels: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    pieces = [{"kind": "Float64Array", "samples": generator.normal(0, 2, (n, channels)).tolist()} for n in PIECES]
    # A refused piece is not part of the recording.
    return [*pieces[:3], {"kind": "Float64Array", "samples": [["inf"] * channels]}, *pieces[3:]]


@pytest.fixture(scope="module")
def answers(node: Node, wasm: Path) -> dict[tuple[str, str], dict[str, Any]]:
    cases = [*itertools.product(NAMES, ENGINES)]
    questions = []
    for name, engine in cases:
        channels = len(Classifier.load(PACKED / f"{name}.prnn").channels)
        window, hop = WINDOWS[name]
        questions.append({
            "file": str(PACKED / f"{name}.prnn"), "wasm": str(wasm / engine),
            "sequences": sequences_of(name, refused=False), "refused": refused_of(name, channels),
            "pieces": pieces_of(channels), "window": window, "hop": hop,
        })  # fmt: skip
    return dict(zip(cases, node("numbers_in_node.mjs", questions), strict=True))


def error_of(ask: Any) -> list[str | None]:
    try:
        ask()
    except PocketRNNError as error:
        return [type(error).__name__, error.problem]
    return [None, None]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_samples_as_a_sensor_gives_them_are_answered_as_in_python(
    answers: dict[tuple[str, str], dict[str, Any]], name: str, engine: str
) -> None:
    answer, classifier = answers[name, engine], Classifier.load(PACKED / f"{name}.prnn")
    channels: list[str] = list(classifier.channels)
    sequences = [array_of(one, len(channels)) for one in sequences_of(name, refused=False)]
    assert len(sequences) > 3
    assert (answer["kind"], answer["name"], answer["channels"]) == (True, name, channels)
    assert answer["verified"] <= 1e-5
    np.testing.assert_allclose(answer["logits"], classifier.logits(sequences), atol=1e-6)
    for sequence, found in zip(sequences, answer["prepared"], strict=True):
        # Bit by bit.
        assert np.array(found, np.float32).tobytes() == classifier.prepared(sequence).tobytes()  # type: ignore[attr-defined]
    if name == "numbers-load":
        assert answer["predicted"] == answer["logits"] == answer["values"][1]
        assert answer["classified"] == error_of(lambda: classifier.classify(sequences[0]))
        assert answer["probabilities"] == answer["reached"] == error_of(lambda: classifier.predict_proba(sequences))
        return
    assert answer["predicted"] == classifier.predict(sequences)
    assert answer["classified"][1]["label"] == classifier.classify(sequences[0]).label
    np.testing.assert_allclose(answer["probabilities"][1], classifier.predict_proba(sequences), atol=1e-6)
    assert [tuple(labels) for labels in answer["reached"][1]] == classifier.predict_labels(sequences, 0.3)
    assert answer["values"][0] == "InputError"
    assert answer["top"][1] == "top is 99."


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_sequence_is_refused_in_the_words_of_python(
    answers: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    answer, classifier = answers[name, ENGINES[0]], Classifier.load(PACKED / f"{name}.prnn")
    channels = len(classifier.channels)
    refused = refused_of(name, channels)
    for one, found in zip(refused, answer["refused"], strict=True):
        array = array_of(one, channels) if one["samples"] != "abc" else "abc"
        kind, problem = error_of(lambda array=array: classifier.logits([array]))  # type: ignore[misc]
        assert kind == found[0] == "SequenceError", (one, found)
        shown = problem.split(" is not a sequence of numbers")
        if len(shown) == 1:
            assert found[1] == problem
        else:
            assert found[1].endswith(f" is not a sequence of numbers{shown[1]}")
    assert answer["noList"] == ["SequenceError", '"abc" is not a list of sequences.']
    assert answer["saved"][0] == "InputError"
    assert answer["noWindow"] == ["InputError", "window is 0."]
    assert answer["short"][1].endswith("fewer than a window of 1,000.")
    assert answer["released"] == ["InputError", f"{name} was released."]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_that_arrives_is_answered_window_by_window_as_in_python(
    answers: dict[tuple[str, str], dict[str, Any]], name: str, engine: str
) -> None:
    classifier: Any = Classifier.load(PACKED / f"{name}.prnn")
    window, hop = WINDOWS[name]
    stream, count = classifier.stream(window=window, hop=hop), 0
    pieces = pieces_of(len(classifier.channels))
    for piece, (kind, found) in zip(pieces, answers[name, engine]["windows"], strict=True):
        array = array_of(piece, len(classifier.channels))
        if kind is not None:
            assert [kind, found] == error_of(lambda array=array: stream.push(array))  # type: ignore[misc]
            continue
        expected = stream.push(array)
        count += len(expected)
        assert [(one["start"], one["stop"]) for one in found] == [(one.start, one.stop) for one in expected]
        for one, other in zip(found, expected, strict=True):
            if name == "numbers-load":
                np.testing.assert_allclose([*one["answer"].values()], other.answer, atol=1e-6)
            else:
                assert one["answer"]["label"] == other.answer.label
                assert one["answer"]["probability"] == pytest.approx(other.answer.probability, abs=1e-6)
    assert count > 5


def test_plain_arrays_are_refused_where_whole_numbers_are_scaled(node: Node, wasm: Path) -> None:
    path = PACKED / "numbers-gesture.prnn"
    sequences = sequences_of("numbers-gesture", refused=False)
    base = {"file": str(path), "wasm": str(wasm / ENGINES[0]), "pieces": [], "sequences": sequences}
    refused = [
        {"kind": "rows", "samples": [[1, 2, 3]]},
        {"kind": "BigInt64Array", "samples": [[1, 2, 3]]},
        {"kind": "Uint32Array", "samples": [[1, 2, 3e9]]},
    ]
    (answer,) = node("numbers_in_node.mjs", [{**base, "refused": refused}])
    plain, big, large = (problem for _, problem in answer["alone"])
    assert plain.startswith("Whether the numbers are a sensor's whole numbers is not known")
    assert "is not a sequence of numbers" in big
    assert large == "3000000000 has more than 32 bits."


def csv_of(samples: np.ndarray, names: list[str]) -> str:
    lines = (",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in samples)
    return "\r\n".join([",".join(["time", *names]), *(f"{i},{line}" for i, line in enumerate(lines)), ""])


@pytest.mark.slow
def test_the_page_answers_recordings_and_the_motion_sensor_as_python(
    node: Node, wasm: Path, web_modules: Path, chromium: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(wasm, site)
    for name in NAMES:
        shutil.copy(PACKED / f"{name}.prnn", site)
    gesture: Any = Classifier.load(PACKED / "numbers-gesture.prnn")
    load: Any = Classifier.load(PACKED / "numbers-load.prnn")
    samples = np.random.default_rng(1).normal(0, 1.5, (40, 3))
    samples[3, 1] = np.nan
    whole = "ax,ay,az\n" + "".join(f"{i * 700 - 9000},{i},{-i * 300}\n" for i in range(20))
    # Events are 25 ms apart, and steps 20 ms, so that some events are read twice.
    events = [{"time": 1000 + 25 * i, "acceleration": dict(zip("xyz", row, strict=True))}
              for i, row in enumerate((np.sin(np.arange(60).reshape(20, 3)) * 9.80665).tolist())]  # fmt: skip
    with served(site) as address:
        seen = node("drive_numbers.mjs", {
            "modules": str(web_modules), "chromium": chromium, "profile": str(tmp_path / "profile"),
            "url": f"{address}/index.html", "events": events,
            "recordings": [
                {"file": "numbers-gesture.prnn", "csv": csv_of(samples, ["ax", "ay", "az"]), "waits": "Answered: 40"},
                {"file": "numbers-gesture.prnn", "csv": whole, "waits": "Answered: 20"},
                {"file": "numbers-load.prnn", "csv": "load\n" + "1.5\n" * 9, "waits": "Answered: 9"},
                {"file": "numbers-gesture.prnn", "csv": "ax,ay\n1,2\n", "waits": "The recording has no column"},
                {"file": "numbers-plain.prnn", "csv": "x,y\n1,two\n", "waits": "Line 2 of the recording"},
            ],
        })  # fmt: skip
    first, second, third, *refused = seen["answers"]
    assert first["windows"] == said_of(gesture.recording(samples))
    assert first["now"][0][0] == gesture.recording(samples)[-1].answer.label
    assert first["channels"] == "Channels: ax (g), ay (g), az (g), 50 samples a second."
    integers = np.array([line.split(",") for line in whole.split()[1:]]).astype(np.int16)
    assert second["windows"] == said_of(gesture.recording(integers))
    values = load.values([np.full((9, 1), 1.5)])[0]
    np.testing.assert_allclose([float(figure) for _, figure in third["now"]], values, rtol=1e-4)
    assert [one["isError"] for one in refused] == [True, True]
    times = np.arange(1000, 1000 + 25 * 19 + 1, 20)
    read = np.array([[*events[int(np.ceil((time - 1000) / 25))]["acceleration"].values()] for time in times])
    assert seen["sensor"]["windows"] == said_of(gesture.recording(read / 9.80665))
    assert seen["stopped"] == "Read this device\u2019s motion sensor"
    assert seen["errors"] == []


def said_of(windows: list[Any]) -> list[str]:
    return [
        f"{one.start} to {one.stop - 1}: {one.answer.label} {100 * one.answer.probability:.1f} %" for one in windows
    ]
