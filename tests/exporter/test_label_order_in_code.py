"""The order of labels that the owner's answers name is read in code whose names say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketrnn_export.commands.proposed_options import propose_labels, read_labels
from pocketrnn_export.source_code.labels_in_code import find_labels_in_code, find_order_of_known_labels

KNOWN = ("bad", "good")
IN_ORDER = [
    "x = 'good' if tahmin == 1 else 'bad'",
    "x = 'good' if durum else 'bad'",
    "x = ['bad', 'good'][tahmin]",
    "etiketler = ['bad', 'good']\nx = etiketler[torch.argmax(cikis)]",
    "etiketler = ['good', 'bad']\nx = {0: 'bad', 1: 'good'}[k]",
    "x = {'bad': 0, 'good': 1}",
    "x = dict(enumerate(['bad', 'good']))",
    "x = 'good' if olasilik > 50 else 'bad'",
    "x = 'good' if net(t) > 0 else 'bad'",
    "esik = 0.4\nx = 'good' if p >= esik else 'bad'",
    "x = 'good' if prediction >= self.esik else 'bad'",
    "x = 'bad' if z[0, 0].item() > z[0, 1].item() else 'good'",
    "x = np.where(z > 0.5, 'good', 'bad')",
    "x = p > 0.5 and 'good' or 'bad'",
    "x = 'bad'\nif tahmin == 1:\n    x = 'good'",
    "YES, NO = 'good', 'bad'\nIYI = 'good'\nKOTU = 'bad'\nx = IYI if tahmin == 1 else KOTU",
    "match tahmin:\n case 0:\n  x = 'bad'\n case _:\n  x = 'good'",
    "def f(k):\n if k == 1:\n  return {'durum': 'good', 'p': p}\n return {'durum': 'bad', 'p': p}",
    "def f(k):\n if k == 1:\n  return jsonify(durum='good')\n return jsonify(durum='bad')",
    "class Durum(Enum):\n BAD = 0\n GOOD = 1",
    "class Durum(enum.IntEnum):\n BAD = auto()\n GOOD = auto()",
    "y = 1 if row['durum'] == 'good' else 0",
    "if row['durum'] == 'bad':\n y = 0\nelse:\n y = 1",
    "y = (frame['durum'].str.lower() == 'good').astype(int)",
    "encoder.fit(['good', 'bad'])",
    "encoder = LabelEncoder()",
    "return_ = {'bad': p[0][0].item(), 'good': p[0][1].item()}",
    "return_ = {'good': p, 'bad': 1 - p}",
    "bad, good = p[0].tolist()",
    "for name, one in zip(('bad', 'good'), p): ...",
    "x = 'Good ' if tahmin == 1 else ' BAD'",
]


@pytest.mark.parametrize("code", IN_ORDER)
def test_the_order_of_known_labels_is_that_of_the_numbers_in_code(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code)
    for known in (KNOWN, KNOWN[::-1]):
        assert [one.labels for one in find_order_of_known_labels(tmp_path / "a.py", known)] == [KNOWN]


@pytest.mark.parametrize(
    "code",
    [
        "x = 'good' if p_bad < 0.5 else 'bad'",
        "x = 'good' if olumlu > olumsuz else 'bad'",
        "x = 'good' if tahmin == 1 else 'fair'",
        "x = 'good'\nif tahmin == 1:\n    y = 'bad'",
        "y = 1 if row['durum'] == 'good' else row['y']",
    ],
)
def test_code_that_numbers_other_things_shows_no_order(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code)
    assert find_order_of_known_labels(tmp_path / "a.py", KNOWN) == []


@pytest.mark.parametrize(("outputs", "labels"), [(1, ("bad", "good")), (2, ("good", "bad"))])
def test_the_first_of_two_outputs_is_that_of_the_first_label(tmp_path: Path, outputs: int, labels: list[str]) -> None:
    (tmp_path / "a.py").write_text("x = 'good' if p[0] > 0.5 else 'bad'")
    assert [one.labels for one in find_order_of_known_labels(tmp_path / "a.py", KNOWN, outputs)] == [labels]


def test_names_that_hold_a_prediction_need_no_english_name(tmp_path: Path) -> None:
    code = "tahmin = torch.argmax(cikis, dim=1)\nsayi = int(tahmin[0])\ndurum = 'Olumlu' if sayi == 1 else 'Olumsuz'"
    (tmp_path / "a.py").write_text(f"{code}\nkip = 'a' if sayac == 1 else 'b'")
    assert [one.labels for one in find_labels_in_code(tmp_path / "a.py")] == [("Olumsuz", "Olumlu")]


@pytest.mark.parametrize(
    ("code", "proposed", "said"),
    [
        ("durum = 'Olumlu' if tahmin == 1 else 'Olumsuz'", "Olumsuz,Olumlu", "net.py, line 1"),
        ("if k == 1: print('Olumlu')\nelse: print('Olumsuz')", "Olumsuz,Olumlu", "net.py, line 1"),
        ("x = ['Olumlu', 'Olumsuz'][k]\ny = 'Olumlu' if k == 1 else 'Olumsuz'", "Olumsuz,Olumlu", "net.py, line 2"),
        ("x = {0: 'Olumlu', 1: 'Olumsuz'}\ny = {1: 'Olumlu', 0: 'Olumsuz'}", "Olumlu,Olumsuz", "or else"),
        ("", "Olumlu,Olumsuz", "neither your code nor this file"),
    ],
)
def test_labels_of_answers_are_proposed_in_the_order_of_the_code(
    code: str, proposed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(code)
    rows = "".join(f"film {i},{('Olumlu', 'Olumsuz')[i % 2]}\n" for i in range(8))
    Path("answers.csv").write_text(f"text,label\n{rows}")
    found = propose_labels(Path("net.py"), None, None, multi_label=False)
    assert found.value == proposed
    assert said in found.sentence


@pytest.mark.parametrize(
    ("code", "labels", "option"),
    [
        ("langs = ['English', 'French ', 'Spanish']\nx = langs[y.argmax()]", ("English", "French ", "Spanish"), True),
        ("print('It is' + (' good' if prediction == 1 else ' bad'))", ("bad", "good"), False),
    ],
)
def test_a_blank_of_one_label_is_kept_and_the_option_reads_it_back(
    code: str, labels: tuple[str, ...], option: bool, tmp_path: Path
) -> None:
    file = tmp_path / "net.py"
    file.write_text(code)
    assert [one.labels for one in find_labels_in_code(file)] == [labels]
    value = propose_labels(file, None, None, multi_label=False).value
    assert value.startswith("[") == option
    assert read_labels(value) == [*labels]
