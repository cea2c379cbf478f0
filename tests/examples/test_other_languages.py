"""The programs in C, Go and Rust are built as their readers build them, and answer packed files as Python does."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from packing_tools import packed_bundle
from test_packed_text_gives_equal_ids import PIECES

from pocketrnn import Classifier, __version__
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SOURCE = ROOT / "runtime" / "native" / "src"
VECTORS = ROOT / "tests" / "vectors"
HEADLINES = [
    "Oil prices rise again",
    "Striker scores twice in cup final",
    "NASA probe nears Saturn",
    "Wall St. Bears Claw Back Into the Black (Reuters)",
]
# Probabilities are printed with four digits.
PRECISION = 6e-5


# Go does not see that a file which another includes has changed: the name says what was built.
BUILT = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))).hexdigest()
OWN_GO = {"CGO_ENABLED": "1", "GOTOOLCHAIN": "local", "CGO_CFLAGS": f"-O2 -DBUILT_OF_{BUILT}"}


def done(line: list[str | Path], folder: Path, settings: dict[str, str] | None = None) -> None:
    built = subprocess.run(
        list(map(str, line)), cwd=folder, env=os.environ | (settings or {}), capture_output=True, text=True, timeout=500
    )
    assert built.returncode == 0, built.stdout + built.stderr
    # A warning would be the reader's to puzzle over.
    assert "warning" not in built.stderr, built.stderr


def in_c(folder: Path) -> Path:
    """In standard C, under the sanitizers, which see what is not freed too."""
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-psabi",
             "-Wno-missing-field-initializers", "-Werror",
             "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]  # fmt: skip
    sources = ["classify.c", SOURCE / "pocketrnn.c"]
    done(["gcc", *flags, f"-I{SOURCE}", *sources, "-lm", "-o", folder / "classify"], EXAMPLES / "c")
    return folder / "classify"


def in_go(folder: Path) -> Path:
    settings = {**OWN_GO, "GOFLAGS": "-mod=readonly", "GOPROXY": "off"}
    done(["go", "vet", "."], EXAMPLES / "go", settings)
    done(["go", "build", "-o", folder / "classify", "."], EXAMPLES / "go", settings)
    return folder / "classify"


def in_rust(folder: Path) -> Path:
    settings = {"CARGO_TARGET_DIR": str(folder), "RUSTFLAGS": "-D warnings"}
    done(["cargo", "build", "--release", "--offline", "--locked"], EXAMPLES / "rust", settings)
    return folder / "release" / "classify"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["git", "path"])
def test_cargo_adds_the_crate(where: str, tmp_path: Path) -> None:
    for tool in ("cargo", "cc", "ar", "git"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    clone, app = tmp_path / "clone", tmp_path / "app"
    for name in ("runtime/native/src", "runtime/native/rust"):
        shutil.copytree(ROOT / name, clone / name)
    for name in ("runtime/native/Cargo.toml", "runtime/native/LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for line in (["git", "init", "-q", "-b", "main"], ["git", "add", "."], [*git, "commit", "-qm", "all"]):
        subprocess.run(line, cwd=clone, check=True)
    settings = {"CARGO_TARGET_DIR": str(tmp_path / "target"), "CARGO_HOME": str(tmp_path / "home")}
    done(["cargo", "new", "--quiet", "--vcs", "none", app], tmp_path, settings)
    source = ["--git", f"file://{clone}"] if where == "git" else ["--path", clone / "runtime" / "native"]
    done(["cargo", "add", "--quiet", "pocketrnn", *source], app, settings)
    code = 'fn main() { println!("{:?}", pocketrnn::Classifier::open(b"none").err()); }'
    (app / "src" / "main.rs").write_text(code)
    done(["cargo", "build", "--quiet"], app, settings)
    asked = subprocess.run([tmp_path / "target" / "debug" / "app"], capture_output=True, text=True, check=True)
    assert "not a packed classifier" in asked.stdout


GO_PROGRAM = """
package main

import (
	"fmt"

	"your.host/engine"
)

func main() {
	classifier, err := pocketrnn.Open("packed.prnn")
	if err == nil {
		defer classifier.Close()
		label, _, err := classifier.Classify("Oil prices rise again")
		fmt.Println(label, err)
	}
}
"""


@pytest.mark.slow
def test_go_gets_the_package_from_a_proxy_and_from_a_vendored_copy(tmp_path: Path) -> None:
    for tool in ("go", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    made = [sys.executable, ROOT / "scripts" / "package_go", tmp_path / "proxy", "--module", "your.host/engine"]
    done(made, tmp_path)
    app, modules = tmp_path / "app", tmp_path / "modules"
    app.mkdir()
    (app / "main.go").write_text(GO_PROGRAM)
    (app / "packed.prnn").write_bytes(packed_bundle(find_or_download_bundle("ag_news-small")))
    # Modules that were got are written so that they cannot be removed; the last option lets pytest do so.
    settings = {**OWN_GO, "GOMODCACHE": str(modules), "GONOSUMDB": "your.host", "GOFLAGS": "-modcacherw"}
    proxy = {"GOPROXY": (tmp_path / "proxy").as_uri()}
    done(["go", "mod", "init", "app"], app, settings)
    done(["go", "get", f"your.host/engine@v{__version__}"], app, settings | proxy)
    for place in ("modules", "vendor"):
        if place == "vendor":
            done(["go", "mod", "vendor"], app, settings | proxy)
            shutil.rmtree(modules)
        done(["go", "build", "-o", place + ".out", "."], app, settings | {"GOPROXY": "off"})
        asked = subprocess.run([app / f"{place}.out"], cwd=app, capture_output=True, text=True, check=True)
        assert asked.stdout == "Business <nil>\n", place


def test_a_module_path_without_a_dot_is_refused_by_what_packages_for_go(tmp_path: Path) -> None:
    line = [sys.executable, ROOT / "scripts" / "package_go", tmp_path / "proxy", "--module", "engine"]
    refused = subprocess.run(line, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "engine is not a path of a module." in refused.stderr
    assert not (tmp_path / "proxy").exists()


@dataclass(frozen=True)
class Language:
    name: str
    needs: tuple[str, ...]
    build: Callable[[Path], Path]


LANGUAGES = [
    pytest.param(Language("C", ("gcc",), in_c), id="c", marks=pytest.mark.slow),
    pytest.param(Language("Go", ("go", "gcc"), in_go), id="go", marks=pytest.mark.slow),
    pytest.param(Language("Rust", ("cargo", "cc", "ar"), in_rust), id="rust", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=LANGUAGES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    language: Language = request.param
    for tool in language.needs:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool}, which the example in {language.name} needs, is not installed")
    return language.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "words.prnn"
    path.write_bytes(packed_bundle(VECTORS / "words"))
    return path


def run(program: Path, *arguments: Path | str | bytes, lines: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], input=lines, capture_output=True, timeout=200)


def assert_refused(run: subprocess.CompletedProcess[bytes], reason: str) -> None:
    """One line of what is wrong, on stderr, and status 1."""
    assert (run.returncode, run.stdout) == (1, b""), run.stderr
    message = run.stderr.decode()
    assert message.startswith("Error: "), message
    assert message.count("\n") == 1, message
    assert message.endswith("\n"), message
    assert reason.lower() in message.lower()


def assert_same_answers(printed: bytes, texts: list[str], classifier: Classifier) -> None:
    """Labels and probabilities are Python's; where two labels are as likely, it may be either."""
    lines = printed.decode().splitlines()
    assert len(lines) == len(texts)
    for line, row in zip(lines, classifier.predict_proba(texts), strict=True):
        label, probability = line.split("\t")
        assert abs(float(probability) - max(row)) < PRECISION
        assert row[classifier.labels.index(label)] > max(row) - PRECISION


def drawn_texts(vocabulary: Sequence[str]) -> list[str]:
    """Texts of what the rules treat in special ways, of words, and of all of Unicode but ends of lines."""
    drawn, texts = random.Random(7), ["", "   ", "\0", "Größe 😀 Ελλάς", *HEADLINES, *PIECES, "oil prices " * 20_000]
    for turn in range(150):
        pieces = [
            drawn.choice(PIECES if drawn.random() < 0.4 else vocabulary) + " " * drawn.randrange(2) for _ in range(25)
        ]
        if turn % 5 == 0:
            # No letters that were added to Unicode after this Python's tables.
            pieces = [chr(drawn.randrange(0x20, drawn.choice([0x3000, 0x600]))) for _ in range(40)]
        texts.append("".join(pieces[: drawn.randrange(26)]))
    return [text.replace("\n", " ").replace("\r", " ") for text in texts]


@pytest.mark.parametrize("bundle", ["words", "trigrams", "characters", "ag_news-small"])
def test_every_line_is_answered_as_python_answers_it(program: Path, bundle: str, tmp_path: Path) -> None:
    folder = find_or_download_bundle(bundle) if bundle == "ag_news-small" else VECTORS / bundle
    (tmp_path / "packed.prnn").write_bytes(packed_bundle(folder))
    classifier = Classifier.load(folder)
    texts = drawn_texts(manifests.read_manifest(folder).text.vocabulary)
    for end in (b"\n", b"\r\n"):
        lines = b"".join(text.encode("utf-8", "surrogatepass") + end for text in texts)
        answered = run(program, tmp_path / "packed.prnn", lines=lines)
        assert (answered.returncode, answered.stderr) == (0, b"")
        assert_same_answers(answered.stdout, texts, classifier)


def test_every_argument_is_a_text(program: Path, words: Path) -> None:
    texts = ["", *HEADLINES, "Größe 😀", "oil " * 20_000]
    answered = run(program, words, *texts)
    assert (answered.returncode, answered.stderr) == (0, b"")
    assert_same_answers(answered.stdout, texts, Classifier.load(VECTORS / "words"))


def test_without_texts_and_lines_nothing_is_printed(program: Path, words: Path) -> None:
    answered = run(program, words)
    assert (answered.returncode, answered.stdout, answered.stderr) == (0, b"", b"")


def test_a_last_line_without_an_end_is_answered(program: Path, words: Path) -> None:
    assert_same_answers(
        run(program, words, lines=b"oil\nprices").stdout, ["oil", "prices"], Classifier.load(VECTORS / "words")
    )


def test_a_text_that_is_not_utf8_is_refused(program: Path, words: Path) -> None:
    assert_refused(run(program, words, b"oil \xff"), "The text is not UTF-8.")
    assert_refused(run(program, words, lines=b"oil \xc3\n"), "The text is not UTF-8.")


def test_a_missing_file_is_told_and_so_is_a_folder(program: Path, tmp_path: Path) -> None:
    assert_refused(run(program, tmp_path / "nowhere.prnn", "oil"), "nowhere.prnn: no such file or directory")
    assert_refused(run(program, tmp_path, "oil"), str(tmp_path))


def test_a_file_that_is_cut_short_or_changed_is_refused(program: Path, words: Path, tmp_path: Path) -> None:
    whole, damaged = words.read_bytes(), tmp_path / "damaged.prnn"
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for content, reason in [
        (b"", "This is not a packed classifier."),
        (b"PRNN", "This is not a packed classifier."),
        (b"Oil prices rise again. " * 50, "This is not a packed classifier."),
        *((whole[:length], "is cut short") for length in (256, len(whole) // 2, len(whole) - 4, len(whole) - 1)),
        (bytes(changed), "was changed after it was made"),
    ]:
        damaged.write_bytes(content)
        assert_refused(run(program, damaged, "oil"), f"damaged.prnn: {reason}" if content[:4] != whole[:4] else reason)


def test_without_a_file_the_usage_is_told(program: Path) -> None:
    told = run(program)
    assert (told.returncode, told.stdout) == (2, b"")
    assert told.stderr.startswith(b"Usage: classify FILE.prnn")


def test_sources_are_formatted_as_their_languages_tools_do() -> None:
    checked = 0
    for line in (
        ["gofmt", "-l", EXAMPLES / "go", SOURCE],
        ["rustfmt", "--check", "--edition", "2021", *EXAMPLES.glob("rust/**/*.rs")],
    ):
        if shutil.which(str(line[0])):
            formatted = subprocess.run(list(map(str, line)), capture_output=True, text=True)
            assert (formatted.returncode, formatted.stdout) == (0, "")
            checked += 1
    if not checked:
        pytest.skip("neither gofmt nor rustfmt is installed")


def test_constants_that_rust_repeats_are_the_headers() -> None:
    header, rust = (SOURCE / "pocketrnn.h").read_text(), (SOURCE.parent / "rust" / "lib.rs").read_text()
    statuses = header.partition("PRNN_OK = 0,")[2].split("PRNN_")
    assert statuses[1].startswith("MEMORY,")
    assert "const OK: c_int = 0;\nconst MEMORY: c_int = 1;" in rust
