"""Mean and scale out of the file of a scaler, of which nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from pocketrnn.errors import InputError
from pocketrnn_export.numbers.number_arguments import make_number_rules
from pocketrnn_export.numbers.scaler_file import find_mean_and_scale, read_scaler

NUMBERS = np.random.default_rng(0).normal([3, -1, 50], [1, 5, 0.1], (60, 3))
SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-1, 1)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
]


@pytest.mark.parametrize("how", ["joblib", "pickle", "protocol 2", "object"])
@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_a_scaler_of_scikit_learn_is_read_as_it_scales(scaler: Any, how: str, tmp_path: Path) -> None:
    scaler.fit(NUMBERS)
    path = tmp_path / f"scaler.{how[:3]}"
    if how == "joblib":
        joblib.dump(scaler, path)
    else:
        path.write_bytes(pickle.dumps(scaler, protocol=2 if how == "protocol 2" else None))
    mean, scale = find_mean_and_scale(scaler) if how == "object" else read_scaler(path)
    assert np.allclose((NUMBERS - mean) / scale, scaler.transform(NUMBERS), atol=1e-12)


@pytest.mark.parametrize("how", ["file", "object"])
@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=str)
def test_a_scaler_of_a_table_scales_each_channel_by_the_column_of_its_name(
    scaler: Any, how: str, tmp_path: Path
) -> None:
    table = pd.DataFrame(NUMBERS, columns=["az", "ax", "speed"])
    given: Any = scaler.fit(table)
    if how == "file":
        joblib.dump(scaler, given := tmp_path / "scaler.joblib")
    scaled = scaler.transform(table)[:, [1, 0]]
    rules = make_number_rules(["ax", "az"], given, {})
    assert np.allclose(rules.prepared(NUMBERS[:, [1, 0]]), scaled, atol=1e-5)
    with pytest.raises(InputError, match="'ay'"):
        make_number_rules(["ax", "ay", "az"], given, {})
    # Other names say nothing: the order is that of the channels.
    assert np.allclose(make_number_rules(3, given, {}).prepared(NUMBERS), scaler.transform(table), atol=1e-5)


@pytest.mark.parametrize("how", ["arguments", "scaler", "dicts"])
def test_numbers_of_a_tables_columns_are_those_of_the_channels_of_these_names(how: str) -> None:
    table = pd.DataFrame(NUMBERS, columns=["az", "ax", "ay"])
    numbers: Any = {"mean": table.mean(), "scale": table.std()}
    if how == "dicts":
        numbers = {name: value.to_dict() for name, value in numbers.items()}
    scaler, rules = (numbers, {}) if how == "scaler" else (None, numbers)
    made = make_number_rules(["ax", "ay", "az"], scaler, rules)
    order = [1, 2, 0]
    assert np.allclose(made.mean, NUMBERS.mean(0)[order])
    assert np.allclose(made.scale, NUMBERS.std(0, ddof=1)[order])
    with pytest.raises(InputError, match="'gx'"):
        make_number_rules(["ax", "ay", "gx"], scaler, rules)


def test_plain_numbers_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"mean": [1, 2], "std": [3, 4]}))
    np.savez(tmp_path / "s.npz", mean=[1.0, 2.0], scale=[3.0, 4.0])
    assert read_scaler(tmp_path / "s.json") == read_scaler(tmp_path / "s.npz") == ((1.0, 2.0), (3.0, 4.0))


class Standardised:
    """A scaler of one's own."""

    def __init__(self, *, logarithm: bool = False, tensors: bool = False) -> None:
        self.mean, self.std, self.logarithm, self.tensors = [1.0, 2.0], [3.0, 4.0], logarithm, tensors

    def transform(self, numbers: Any) -> Any:
        if self.tensors:
            return torch.sub(numbers, torch.tensor(self.mean)) / torch.tensor(self.std)
        numbers = np.log1p(np.abs(numbers)) if self.logarithm else numbers
        return (numbers - np.array(self.mean)) / np.array(self.std)


def test_a_scaler_that_does_more_than_to_scale_is_refused(tmp_path: Path) -> None:
    for scaler in (Standardised(), Standardised(tensors=True)):
        assert find_mean_and_scale(scaler) == ((1.0, 2.0), (3.0, 4.0))
    with pytest.raises(InputError, match=r"transform` gives -0\.102\d* for 1, not 0"):
        find_mean_and_scale(Standardised(logarithm=True))
    clipping = MinMaxScaler(clip=True).fit(NUMBERS)
    path = tmp_path / "clipping.pkl"
    path.write_bytes(pickle.dumps(clipping))
    # scikit-learn has it from 1.8 on.
    largest = MaxAbsScaler().fit(NUMBERS)
    largest.clip = True
    (tmp_path / "largest.pkl").write_bytes(pickle.dumps(largest))
    for given in (clipping, largest):
        with pytest.raises(InputError, match="clip=True"):
            find_mean_and_scale(given)
    for file in (path, tmp_path / "largest.pkl"):
        with pytest.raises(InputError, match="clip=True"):
            read_scaler(file)


@pytest.mark.parametrize("more", [{"std": [3.0], "scale": [2.0]}, {"means": [2.0], "std": [1.0]}])
def test_a_mapping_that_says_one_thing_twice_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"under (std and scale|scale and std|mean and means)"):
        find_mean_and_scale({"mean": [1.0], **more})
    assert find_mean_and_scale({"mean": [1.0], "mean_": [1.0], "std": [2.0]}) == ((1.0,), (2.0,))


@pytest.mark.parametrize("more", [{"var": [9.0]}, {"std": [3.0], "log": True}, {"scale_": [3.0], "min_": [0.5]}])
def test_what_a_mapping_says_beside_mean_and_scale_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"contains .(var|log|min_)."):
        find_mean_and_scale({"mean": [1.0], **more})
    standard = vars(StandardScaler().fit(NUMBERS))
    assert find_mean_and_scale(standard) == find_mean_and_scale(StandardScaler().fit(NUMBERS))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo executed > executed",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pkl", pickle.dumps(Evil())),
        ("a.pkl", pickle.dumps({"mean": np.array([object()], dtype=object)})),
        ("a.pkl", b""),
        ("a.pkl", b"\x80\x04garbage"),
        ("a.pkl", pickle.dumps({"mean": [1.0, float("nan")]})),
        ("a.pkl", pickle.dumps(5)),
        # Memory by a size alone.
        ("a.pkl", b"cbuiltins\nbytearray\n(I1000000000000\ntR."),
        ("a.pkl", b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I100000000000\ntS'd'\ntR."),
        ("a.joblib", b"PK"),
        ("a.json", b"{"),
        ("a.json", b"[1]"),
        ("a.json", b'{"mean": "abc"}'),
        ("a.json", b'{"mean": [1e999]}'),
        ("a.npz", b"PK\x03\x04"),
    ],
)
def test_what_is_no_scaler_is_refused_and_not_executed(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_scaler(Path(name))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz"):
        read_scaler(tmp_path / "none.npz")
