"""Ask the installed pocketrnn-native for all that the packed test vectors say. It needs nothing else, and no pytest:
cibuildwheel runs it in every wheel's own environment, and emulators run it.

    python tests/native/installed_engine.py
"""

from __future__ import annotations

import array
import itertools
import json
import math
import platform
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketrnn_native import Classifier, EngineError, Packed, __version__, _engine

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PACKED = VECTORS / "packed"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def check(is_right: bool, what: object) -> None:
    if not is_right:
        sys.exit(f"Wrong: {what}")


def near(given: Sequence[float], expected: Sequence[float]) -> bool:
    return len(given) == len(expected) and all(
        abs(one - other) <= max(1e-5, 1e-5 * abs(other)) for one, other in zip(given, expected, strict=True)
    )


def logits_of_ids(engine: Packed, ids: list[int]) -> list[float]:
    """The logits of a row of ids; where labels are of tokens, those of each id, one after the other's."""
    rows = len(ids) if engine.labels_tokens() else 1
    logits, status = array.array("f", bytes(4 * rows * len(engine.labels()))), bytearray(1)
    engine.logits_of_ids(array.array("i", ids), array.array("q", [len(ids)]), logits, status)
    check(status[0] == _engine.OK, ids)
    return list(logits)


def are_tagged(engine: Packed, vector: dict[str, Any]) -> bool:
    """Whether a text is tagged as a line says, whose places are bytes."""
    text = vector["text"]
    found = [
        (*(len(text[:at].encode("utf-8", "surrogatepass")) for at in row[:2]), *row[2:]) for row in engine.tag(text)
    ]
    expected = vector["tags"]
    return len(found) == len(expected) and all(
        list(one[:3]) == other[:3] and near([one[3] or 0.0], [other[3] or 0.0])
        for one, other in zip(found, expected, strict=True)
    )


def is_refused(engine: Packed, text: str) -> bool:
    try:
        if engine.labels_tokens():
            engine.tag(text)
        else:
            engine.logits(text)
    except EngineError:
        return True
    return False


def answers_numbers(engine: Packed, vector: dict[str, Any]) -> bool:
    """Whether a sequence of numbers is refused, or answered, as a line says."""
    code = {"float32": "f", "float64": "d", "int16": "h", "int32": "i"}[vector["kind"]]
    given = [math.nan if x is None else x for row in vector["samples"] for x in row]
    samples, kind = array.array(code, given), getattr(_engine, vector["kind"].upper())
    try:
        logits = engine.logits_of_numbers(samples, kind)
    except EngineError as error:
        return bool(error.args[0] == getattr(_engine, vector.get("said", "OK")))
    prepared = array.array("f", given)
    engine.prepare(samples, kind, prepared)
    expected = array.array("f", [x for row in vector["prepared"] for x in row])[-len(prepared) :]
    return "said" not in vector and near(logits, vector["logits"]) and prepared == expected


def texts() -> int:
    """Check ids, logits, probabilities and golden examples of every bundle and operation, opened both ways; the
    count."""
    count = 0
    for file, in_place in itertools.product(sorted(PACKED.glob("*.prnn")), (False, True)):
        engine, folder = Packed(file.read_bytes(), 0, in_place), VECTORS / file.stem
        vectors = [vector for path in sorted(folder.glob("*.jsonl")) for vector in lines_of(path)]
        if not file.stem.startswith("streams") and file.with_suffix(".jsonl").exists():
            vectors += lines_of(file.with_suffix(".jsonl"))
        for vector in vectors:
            if "samples" in vector:
                check(answers_numbers(engine, vector), (file.name, vector))
                count += 1
                continue
            if "ids" not in vector:
                continue
            if engine.takes_pairs():
                check([*map(engine.encode, vector["text"])] == vector["ids"], (file.name, vector["text"], "ids"))
                check(near(engine.logits_beside(*vector["text"]), vector["logits"]), (file.name, vector["text"]))
                count += 1
                continue
            check(engine.encode(vector["text"]) == vector["ids"], (file.name, vector["text"], "ids"))
            count += 1
            if "features" in vector:
                check(near(with_features(engine, vector), vector["logits"]), (file.name, vector["text"], "features"))
                continue
            if "said" in vector:
                check(is_refused(engine, vector["text"]), (file.name, vector["text"], vector["said"]))
                continue
            if "tags" in vector:
                check(are_tagged(engine, vector), (file.name, vector["text"], "tags"))
                continue
            logits = engine.logits(vector["text"])
            check(near(logits, vector["logits"]), (file.name, vector["text"], logits))
            if "probabilities" in vector:
                check(near(engine.probabilities(logits), vector["probabilities"]), (file.name, vector["text"]))
        for text, ids, logits in [] if engine.channels() else engine.examples():
            alone = not engine.labels_tokens() and not engine.features() and not engine.takes_pairs()
            answer = engine.logits(text) if alone else logits_of_ids(engine, ids)
            first, _, second = text.partition("\t")
            own = [*engine.encode(first), -2, *engine.encode(second)] if engine.takes_pairs() else engine.encode(text)
            made = own == ids[len(engine.features()) :]
            check(made and near(answer, logits), (file.name, text, "golden"))
            count += 1
    return count


def with_features(engine: Packed, vector: dict[str, Any]) -> list[float]:
    """The logits of a text with its features."""
    values = vector["features"]
    given = [(str(values[name]) if is_category else values[name]) for name, is_category in engine.features()]
    return engine.logits_beside(vector["text"], [engine.feature(i, value) for i, value in enumerate(given)])


def streams() -> int:
    count = 0
    for path in sorted(PACKED.glob("streams*.jsonl")):
        engine = Packed(path.with_suffix(".prnn").read_bytes())
        for vector in lines_of(path):
            stream = _engine.Stream(engine)
            fragments = vector.get("fragments") or [bytes.fromhex(one) for one in vector["hex"]]
            for fragment, logits in zip(fragments, vector["logits"], strict=True):
                check(near(stream.push(fragment), logits), (path.name, fragment, "stream"))
                stream = _engine.Stream(engine, stream.save())
            count += 1
    return count


def refused() -> int:
    """Files that must be refused, mapped as users' files are."""
    vectors = lines_of(PACKED / "refused.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        for number, vector in enumerate(vectors):
            content = bytearray((PACKED / vector["file"]).read_bytes())
            content = content[: vector["size"]] + bytes(max(0, vector["size"] - len(content)))
            for at, change in vector["changes"]:
                content[at : at + len(change) // 2] = bytes.fromhex(change)
            path = Path(folder) / f"{number}.prnn"
            path.write_bytes(content)
            try:
                Classifier.load(path).classify("the team wins")
            except EngineError:
                continue
            check(False, vector["why"])
    return len(vectors)


def threads() -> None:
    """Four threads and one classifier give the answers of one."""
    classifier = Classifier.load(PACKED / "words.prnn")
    given = [vector["text"] for vector in lines_of(VECTORS / "words" / "vectors.jsonl")] * 20
    expected, found = classifier.predict_proba(given), []
    started = [threading.Thread(target=lambda: found.append(classifier.predict_proba(given))) for _ in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    check(len(found) == 4 and all(one == expected for one in found), "threads")


def main() -> None:
    for name in ("numpy", "onnxruntime", "pocketrnn"):
        check(name not in sys.modules, f"{name} is imported")
    done = f"{texts()} texts, {streams()} streams, {refused()} files that must be refused"
    if sys.platform != "emscripten":  # where there are no threads
        threads()
    machine = getattr(sys.implementation, "_multiarch", "") or sysconfig.get_platform()
    print(f"OK: pocketrnn-native {__version__}, Python {platform.python_version()}, {machine}: {done}")


if __name__ == "__main__":
    main()
