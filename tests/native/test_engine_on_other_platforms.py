"""The engine, built by other compilers and for other machines, answers as it does here; emulators run it."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import test_all_configurations as family
from packing_tools import graph_of, packed_bundle, packed_graph
from test_packed_programs import LABELS
from test_packed_text_gives_equal_ids import PIECES

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.weight_quantization import Storage

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "runtime" / "native"
SOURCE = NATIVE / "src"
VECTORS = HERE.parent / "vectors"
BUNDLES = ("words", "trigrams", "characters", "cleaned", "int8", "keras", "padded", "cased", "bigrams-dropped")
WITH_EXAMPLES = {*BUNDLES, "half", "news"}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wno-psabi", "-Wno-missing-field-initializers", "-Werror"]
PRECISION = 1e-5


@dataclass(frozen=True)
class Platform:
    """How the engine is built for a machine, and run on it."""

    name: str
    compiler: str
    emulator: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


HOST = Platform("x86-64 glibc", "gcc")
MUSL = Platform("x86-64 musl", "musl-gcc", (), ("-static",))
ARMHF = Platform("armhf", "arm-linux-gnueabihf-gcc", ("qemu-arm",), ("-static",))
ARM64 = Platform("arm64", "aarch64-linux-gnu-gcc", ("qemu-aarch64",), ("-static",))
PLATFORMS = [
    MUSL,
    Platform("x86-64 clang", "clang"),
    Platform("x86-64 without AVX-512", "gcc", (), ("-DPRNN_AVX2_ONLY",)),
    Platform("x86-64 without AVX2", "gcc", (), ("-DPRNN_BASE_ONLY",)),
    Platform("C11 without GNU C's vectors", "gcc", (), ("-DPRNN_PLAIN", "-std=c11", "-pedantic")),
    ARMHF,
    Platform("armhf without NEON's fused operations", ARMHF.compiler, ("qemu-arm", "-cpu", "cortex-a9"), ("-static",)),
    # A trap where something is read that is not aligned as its type asks for.
    Platform("armhf that traps unaligned access", ARMHF.compiler, ARMHF.emulator,
             ("-static", "-fsanitize=alignment", "-fsanitize-trap=alignment")),
    ARM64,
    Platform("riscv64", "riscv64-linux-gnu-gcc", ("qemu-riscv64",), ("-static",)),
]  # fmt: skip
WINDOWS = Platform("Windows x86-64, by mingw-w64 in wine", "x86_64-w64-mingw32-gcc", ("wine",), ("-static",))
BIG_ENDIAN = Platform("s390x", "s390x-linux-gnu-gcc", ("qemu-s390x",), ("-static",))


def found(program: str) -> str:
    """A program of this machine, also where it has a version in its name; else the test is skipped."""
    for name in (program, f"{program}-19"):
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip(f"{program} is not installed")


def built(platform: Platform, source: Path, folder: Path) -> list[str]:
    """A program with the engine, as a command."""
    emulator = [found(platform.emulator[0]), *platform.emulator[1:]] if platform.emulator else []
    program = folder / source.stem
    line = [found(platform.compiler), "-std=gnu11", "-O2", "-ffp-contract=fast", *WARNINGS, *platform.flags,
            "-D_GNU_SOURCE", f"-I{SOURCE}", str(source), str(SOURCE / "pocketrnn.c"), "-lm",
            "-o", str(program)]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [*emulator, str(program)]


def printed(command: list[str], *arguments: Path | str) -> str:
    """The standard output of a Windows program; wine may print on standard error."""
    line = [*command[:-1], f"{command[-1]}.exe", *map(str, arguments)]
    return subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=500, check=True).stdout


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wine with a folder of its own, which is made before anything runs, and silent."""
    folder = tmp_path_factory.mktemp("wine")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WINEPREFIX", folder / "prefix"), ("XDG_RUNTIME_DIR", folder), ("WINEDEBUG", "-all")):
            patch.setenv(name, str(value))
        line = [found("wine"), "cmd", "/c", "exit"]
        subprocess.run(line, capture_output=True, timeout=300, check=False)
        yield


def said(command: list[str], *arguments: Path | str, status: int = 0) -> str:
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == status, done.stdout[-500:] + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def packed_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """ag_news-small (int8), the bundles of the test vectors, one of them with float16, and layers of every kind."""
    folder = tmp_path_factory.mktemp("platforms")
    compress(VECTORS / "words", folder / "half", storage=Storage("float16"))
    contents = {name: packed_bundle(VECTORS / name) for name in BUNDLES}
    contents["half"] = packed_bundle(folder / "half")
    contents["news"] = packed_bundle(find_or_download_bundle("ag_news-small"))
    for configuration in family.CONFIGURATIONS[3::9]:
        content, graph = graph_of(family.classifier(*configuration), tuple(family.VOCABULARY), LABELS)
        contents[family.named(configuration)] = packed_graph(content, graph, tuple(family.VOCABULARY), LABELS)
    for name, content in contents.items():
        (folder / f"{name}.prnn").write_bytes(content)
    return [folder / f"{name}.prnn" for name in contents]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts drawn from what the rules treat in special ways, from words, and from all of Unicode."""
    drawn, path = random.Random(3), tmp_path_factory.mktemp("texts") / "texts"
    words = (
        manifests.read_manifest(VECTORS / "words").text.vocabulary
        + manifests.read_manifest(find_or_download_bundle("ag_news-small")).text.vocabulary
    )
    made = ["", "oil " * 300]
    for turn in range(120):
        pieces = [drawn.choice(PIECES if drawn.random() < 0.4 else words) + " " * drawn.randrange(2) for _ in range(30)]
        if turn % 5 == 0:
            pieces = [chr(drawn.randrange(drawn.choice([0x110000, 0x600]))) for _ in range(40)]
        made.append("".join(pieces[: drawn.randrange(31)]))
    encoded = [text.encode("utf-8", "surrogatepass") for text in made]
    path.write_bytes(b"".join(struct.pack("<I", len(text)) + text for text in encoded))
    return path


def same(here: str, there: str) -> None:
    """Ids and labels are equal, probabilities to 1e-5; where two labels are as likely, the label may be either."""
    first, second = here.splitlines(), there.splitlines()
    assert len(first) == len(second) > 100
    for one, other in zip(first, second, strict=True):
        if not one[0].isdigit():
            assert one == other
            continue
        numbers, others = np.array(one.split(), float), np.array(other.split(), float)
        assert numbers[:2].tolist() == others[:2].tolist()
        np.testing.assert_allclose(numbers[3:], others[3:], atol=PRECISION, rtol=0)
        likeliest = np.sort(numbers[3:])[-2:]
        assert numbers[2] == others[2] or likeliest[1] - likeliest[0] < PRECISION


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_the_engine_answers_there_as_it_does_here(
    platform: Platform, packed_files: list[Path], texts: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = built(HOST, HERE / "answers.c", tmp_path / "here")
    there = built(platform, HERE / "answers.c", tmp_path)
    program = built(platform, SOURCE / "classify.c", tmp_path)
    for file in packed_files:
        if file.stem in WITH_EXAMPLES:
            assert said(program, "--verify", file).startswith("OK: ")
        same(said(here, file, texts), said(there, file, texts))


@pytest.mark.slow
def test_the_engine_answers_on_windows_as_it_does_here(
    wine: None, packed_files: list[Path], texts: Path, tmp_path: Path
) -> None:
    # Not pocketrnn-classify, which maps its file as POSIX has it; examples/c is the program there.
    (tmp_path / "here").mkdir()
    here, there = built(HOST, HERE / "answers.c", tmp_path / "here"), built(WINDOWS, HERE / "answers.c", tmp_path)
    for file in packed_files:
        same(said(here, file, texts), printed(there, file, texts))
    example = built(WINDOWS, HERE.parents[1] / "examples" / "c" / "classify.c", tmp_path)
    news = next(file for file in packed_files if file.stem == "news")
    answered = printed(example, news, "Oil prices rise again")
    assert re.fullmatch(r"Business\t0\.9\d+\n", answered)


def test_sources_for_clang_push_and_pop_attributes_in_pairs() -> None:
    # gcc ignores these lines, and most machines that run the tests have no clang.
    for source in [*SOURCE.glob("*.inc"), *SOURCE.glob("*.c"), *SOURCE.glob("*.h")]:
        said = re.findall(r"#pragma clang attribute (\w+)", source.read_text(encoding="utf-8"))
        assert said == ["push", "pop"] * (len(said) // 2), source.name


@pytest.mark.slow
def test_clang_reads_the_engine_as_microsofts_compiler_would_without_a_warning() -> None:
    # Microsoft's headers cannot be had here; the few that the engine includes are written for WebAssembly too.
    line = [found("clang-cl"), "-fsyntax-only", "/W4", "/WX", "/std:c11", "-U__SSE2__", f"-I{NATIVE / 'wasm'}", "--",
            str(SOURCE / "pocketrnn.c")]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
def test_a_big_endian_machine_refuses_a_packed_file_with_a_sentence(packed_files: list[Path], tmp_path: Path) -> None:
    program = built(BIG_ENDIAN, SOURCE / "classify.c", tmp_path)
    assert "This machine is big-endian" in said(program, packed_files[0], status=2)


@pytest.mark.slow
def test_a_static_program_of_the_size_that_the_page_states_classifies_from_the_shell(
    packed_files: list[Path], tmp_path: Path
) -> None:
    program = tmp_path / "pocketrnn-classify"
    line = ["make", "-s", "-C", str(NATIVE), "static", f"CC={found('musl-gcc')}", f"OUT={program}"]
    subprocess.run(line, check=True, timeout=300)
    page = (SOURCE.parents[2] / "docs" / "platforms.md").read_text(encoding="utf-8")
    stated = re.search(r"`make static CC=musl-gcc` \| ([\d,]+) \|", page)
    # Another release of the compiler makes it a little larger or smaller.
    assert stated is not None
    assert program.stat().st_size <= 1.03 * int(stated[1].replace(",", ""))
    assert "statically linked" in said([found("file")], program)
    news = next(file for file in packed_files if file.stem == "news")
    done = subprocess.run(
        [str(program), str(news)], input="Oil prices rise again\nStriker scores twice in cup final\n",
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["Business", "Sports"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "kernel", "instruction"),
    [
        (ARMHF, "neon_product", r"vfma\.f32\s+q"),
        (ARMHF, "neon_gru", r"vfma\.f32\s+q"),
        (ARM64, "base_product", r"fmla\s+v\d+\.4s"),
        (ARM64, "base_gru", r"fmla\s+v\d+\.4s"),
        (HOST, "avx2_product", r"vfmadd\d+ps.*%ymm"),
    ],
)
def test_the_kernels_are_made_of_the_machines_vectors(
    platform: Platform, kernel: str, instruction: str, tmp_path: Path
) -> None:
    dump = found(platform.compiler.replace("gcc", "objdump"))
    compiled = tmp_path / "engine.o"
    line = [found(platform.compiler), "-std=gnu11", "-O2", "-ffp-contract=fast", "-Wno-psabi", "-c",
            str(SOURCE / "pocketrnn.c"), "-o", str(compiled)]  # fmt: skip
    subprocess.run(line, check=True, timeout=300)
    code = re.search(rf"<{kernel}>:\n(.*?)\n\n", said([dump, "-d"], compiled) + "\n\n", re.DOTALL)
    assert code is not None
    assert len(re.findall(instruction, code[1])) >= 10
