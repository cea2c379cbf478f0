"""The microcontroller's program is built for a Cortex-M4F and an M7, and answers its golden examples in an emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from packing_tools import packed_bundle
from torch import Tensor, nn

from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn_export import export
from pocketrnn_export.integer_accuracy import AllowedChange
from pocketrnn_export.microcontroller import compute_required_memory, convert_to_c_array
from pocketrnn_export.packing import Arithmetic, pack

EXAMPLE = Path(__file__).parents[2] / "examples" / "microcontroller"
SOURCE = Path(__file__).parents[2] / "runtime" / "native" / "src"
# How the engine is compiled in the example's Makefile, as far as it decides which instructions there are.
M4 = ["-std=gnu11", "-Os", "-DPRNN_SINGLE", "-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]


class Gestures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 32, batch_first=True)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[1][-1])  # type: ignore[no-any-return]


def found(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def made(folder: Path, content: bytes, *target: str) -> subprocess.CompletedProcess[str]:
    """The output of `make`, with the packed file as the header that the program includes."""
    found("make", "arm-none-eabi-gcc", "qemu-system-arm")
    (folder / "news.h").write_text(convert_to_c_array(content, "news"))
    line = ["make", "-C", str(EXAMPLE), f"BUILD={folder}", *target]
    # The emulator writes what the program says on standard error where that is no terminal.
    return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)


@pytest.mark.slow
def test_golden_examples_are_answered_in_1_mb_of_flash_and_64_kb_of_ram(tmp_path: Path) -> None:
    ran = made(tmp_path, packed_bundle(find_or_download_bundle("ag_news-small")), "run")
    assert ran.returncode == 0, ran.stdout
    assert "warning" not in ran.stdout, ran.stdout
    assert len(re.findall(r"(?m)^12 golden examples are answered as they were$", ran.stdout)) == 2
    assert len(re.findall(r"(?m)^64 words: Business, working memory \d+ bytes, stack \d+ bytes$", ran.stdout)) == 2
    # The linker's own figures; RAM is with the stack and the working memory.
    flash = [int(used) for used in re.findall(r"FLASH: +(\d+) B", ran.stdout)]
    ram = [int(used) for used in re.findall(r"RAM: +(\d+) B", ran.stdout)]
    assert len(flash) == len(ram) == 2
    assert max(flash) < 1_000_000
    assert max(ram) < 64_000


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_64_words_take_few_instructions(tmp_path: Path, arithmetic: Arithmetic) -> None:
    # Some golden examples are a small sample of the changes by integers: one label is more than is allowed.
    allowed = AllowedChange(labels=20) if arithmetic == "int8" else None
    pack(find_or_download_bundle("ag_news-small"), tmp_path / "news.prnn", arithmetic=arithmetic, allowed=allowed)
    ran = made(tmp_path, (tmp_path / "news.prnn").read_bytes(), "count")
    assert ran.returncode == 0, ran.stdout
    assert len(re.findall(r"(?m)^12 golden examples are answered as they were$", ran.stdout)) == 2
    counts = [int(count) for count in re.findall(r"(?m)^(\d+) thousand instructions$", ran.stdout)]
    # One for each word and unit of the layers at least.
    assert len(counts) == 2
    assert all(1_000 < count < 7_500 for count in counts)


@pytest.mark.slow
def test_a_changed_array_is_refused_with_a_sentence(tmp_path: Path) -> None:
    content = bytearray(packed_bundle(find_or_download_bundle("ag_news-small")))
    content[len(content) // 2] ^= 1
    ran = made(tmp_path, bytes(content), "run")
    assert ran.returncode != 0
    assert "news: The file was changed after it was made, or is cut short." in ran.stdout


def packed_gestures(folder: Path, arithmetic: Arithmetic = "float32", **rules: Any) -> bytes:
    torch.manual_seed(0)
    export(
        Gestures(), folder / "gesture", channels=["ax", "ay", "az", "gx", "gy", "gz"],
        labels=["rest", "swipe", "circle", "tap"], integer_scale=[1 / 2048] * 3 + [1 / 16.4] * 3,
        mean=[0, 0, 1, 0, 0, 0], scale=[0.5] * 3 + [90.0] * 3, **rules,
    )  # fmt: skip
    # A module that learnt nothing is sure of nothing: any label may change.
    allowed = AllowedChange(labels=100) if arithmetic == "int8" else None
    made = pack(folder / "gesture", folder / "gesture.prnn", arithmetic=arithmetic, allowed=allowed)
    content = (folder / "gesture.prnn").read_bytes()
    needed = compute_required_memory(made, content)
    assert needed is not None
    (folder / "gesture.h").write_text(convert_to_c_array(content, "gesture", needed.format_definitions("gesture")))
    return content


@pytest.mark.slow
@pytest.mark.parametrize(("arithmetic", "most"), [("float32", 32_000), ("int8", 25_000)])
def test_a_state_is_carried_from_sample_to_sample_in_4_kb_of_ram(
    arithmetic: Arithmetic, most: int, tmp_path: Path, scant_proofs: None
) -> None:
    content = packed_gestures(tmp_path, arithmetic, streaming=True)
    ran = made(tmp_path, b"", "count-carried")
    assert ran.returncode == 0, ran.stdout
    assert "warning" not in ran.stdout, ran.stdout
    assert re.search(r"(?m)^[1-9]\d* golden examples are answered as they were$", ran.stdout)
    opened, stream, work, stack = map(int, re.findall(r"(\d+) bytes", ran.stdout))
    assert opened + stream + work < 4_096
    assert stack < 2_000
    (answering,) = map(int, re.findall(r"(\d+) instructions for", ran.stdout))
    assert 96 * 38 < answering < 35_000
    assert len(content) < most


@pytest.mark.slow
def test_a_sensors_samples_are_answered_window_by_window_from_flash(tmp_path: Path, scant_proofs: None) -> None:
    content = packed_gestures(tmp_path, window=64, hop=16)
    ran = made(tmp_path, b"", "count-gesture")
    assert ran.returncode == 0, ran.stdout
    assert "warning" not in ran.stdout, ran.stdout
    assert re.search(r"(?m)^[1-9]\d* golden examples are answered as they were$", ran.stdout)
    assert "13 windows" in ran.stdout
    opened, window, work, stack = map(int, re.findall(r"(\d+) bytes", ran.stdout))
    assert opened + window + work + stack < 8_000
    preparing, answering = map(int, re.findall(r"(\d+) (?:instructions prepare|answer each)", ran.stdout))
    assert preparing < 5_000
    assert 96 * 38 < answering < 25_000
    (flash,) = map(int, re.findall(r"FLASH: +(\d+) B", ran.stdout))
    assert len(content) < 32_000
    assert flash - len(content) < 60_000


@pytest.mark.slow
def test_the_engine_uses_no_double_arithmetic_and_no_heap(tmp_path: Path) -> None:
    found("arm-none-eabi-gcc", "arm-none-eabi-nm", "arm-none-eabi-objdump")
    compiled = tmp_path / "engine.o"
    line = ["arm-none-eabi-gcc", *M4, "-ffp-contract=fast", "-c", SOURCE / "pocketrnn.c", "-o", compiled]
    subprocess.run(line, check=True, timeout=300)
    named = subprocess.run(["arm-none-eabi-nm", "-u", compiled], check=True, capture_output=True, text=True).stdout
    called = {line.split()[-1] for line in named.splitlines()}
    assert "expf" in called
    assert not called & {"malloc", "calloc", "realloc", "free", "exp", "tanh", "sqrt", "erf"}
    code = subprocess.run(["arm-none-eabi-objdump", "-dr", compiled], check=True, capture_output=True, text=True).stdout
    # Arithmetic on doubles and conversions from and to them, as the ABI names what it does in software: in sums of a
    # unigram model's scores alone, and where these are checked; and for a sensor's samples.
    parts = re.split(r"(?m)^[0-9a-f]+ <([\w.]+)>:$", code)[1:]
    doubles = {
        name.partition(".")[0]
        for name, body in zip(parts[::2], parts[1::2], strict=True)
        if re.search(r"__aeabi_(d|c?d|f2d|i2d|ui2d|l2d|ul2d)", body)
    }
    sums = {
        "keep_better_path",
        "find_best_path",
        "encode_unigram",
        "encode_as_32_bit_words",
        "add_way",
        "is_model_sound",
        "read_subwords",
    }
    samples = {
        "read_sample",
        "scale_sample",
        "find_sample_fault",
        "prepare_samples",
        "is_far_outside_training",
        "prnn_check_range",
    }
    assert doubles <= {*sums, *samples}
    assert "vmul.f32" in code or "vfma.f32" in code
    assert ".f64" not in code
