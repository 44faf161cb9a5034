"""Checkpoints survive crashes, notice damage and never lose the last good one."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from essa.errors import CheckpointCorruptError, CheckpointError, CheckpointIncompatibleError
from essa.storage import checkpoint
from essa.storage.checkpoint import (
    checkpoint_exists,
    load_checkpoint,
    previous_path,
    save_checkpoint,
)


def save(path: Path, number: int) -> None:
    save_checkpoint(path, {"x": np.full(50, float(number))}, {"generation": number})


def generation(path: Path) -> int:
    arrays, meta = load_checkpoint(path)
    assert np.all(arrays["x"] == meta["generation"])
    return meta["generation"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoint.npz"


def test_what_is_saved_comes_back(path: Path) -> None:
    arrays = {
        "search/mean": np.random.default_rng(0).standard_normal((3, 4)),
        "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 7)),
        "flags": np.array([True, False]),
        "names": np.array(["q_proj", "v_proj"]),
        "swapped": np.arange(3, dtype=">i8"),
        "odd": np.array([np.nan, np.inf, -0.0]),
    }
    meta = {"rng": {"state": 2**127 + 1}, "text": "größer", "none": None, "list": [1, 2.5]}
    save_checkpoint(path, arrays, meta)
    loaded = load_checkpoint(path)
    assert loaded.meta == meta
    assert loaded.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].shape == array.shape
    assert loaded.arrays["transposed"].flags.f_contiguous
    loaded.arrays["odd"][0] = 1.0


def test_numpy_opens_a_checkpoint(path: Path) -> None:
    save(path, 3)
    with np.load(path, allow_pickle=False) as content:
        np.testing.assert_array_equal(content["arrays/x"], np.full(50, 3.0))
        assert json.loads(content["meta.json"])["meta"] == {"generation": 3}


def test_the_checkpoint_before_is_kept(path: Path) -> None:
    for number in (1, 2, 3):
        save(path, number)
    assert generation(path) == 3
    assert generation(previous_path(path)) == 2
    assert {entry.name for entry in path.parent.iterdir()} == {
        "checkpoint.npz",
        "checkpoint.npz.prev",
    }


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused_with_its_name(path: Path, kept: float) -> None:
    save(path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(CheckpointCorruptError, match=r"checkpoint\.npz") as caught:
        load_checkpoint(path)
    assert "delete it" in caught.value.message
    assert caught.value.detail["path"] == str(path)


def test_a_changed_byte_is_noticed_or_harmless(path: Path) -> None:
    """Every byte in turn: only bytes outside the contents (dates, padding) may pass."""
    save_checkpoint(path, {"x": np.arange(4.0)}, {"generation": 1})
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            arrays, meta = load_checkpoint(path)
        except CheckpointCorruptError:
            refused += 1
        else:
            np.testing.assert_array_equal(arrays["x"], np.arange(4.0))
            assert meta == {"generation": 1}
    assert refused > 0.6 * len(whole)


def test_an_exchanged_member_fails_the_checksum(path: Path, tmp_path: Path) -> None:
    """Well-formed zips whose parts stem from two checkpoints."""
    save(path, 1)
    save(tmp_path / "other", 2)
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(tmp_path / "other") as other:
        parts = {name: one.read(name) for name in one.namelist()}
        parts["arrays/x.npy"] = other.read("arrays/x.npy")
    with zipfile.ZipFile(path, "w") as mixed:
        for name, content in parts.items():
            mixed.writestr(name, content)
    with pytest.raises(CheckpointCorruptError, match="checksum"):
        load_checkpoint(path)


def test_a_damaged_file_falls_back_to_the_one_before_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(path, 1)
    save(path, 2)
    path.write_bytes(path.read_bytes()[:-7])
    notices: list[str] = []
    arrays, meta = load_checkpoint(path, notices.append)
    assert meta == {"generation": 1}
    assert arrays["x"][0] == 1.0
    assert len(notices) == 1
    assert str(path) in notices[0]
    assert str(previous_path(path)) in notices[0]
    assert caplog.records == []
    load_checkpoint(path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_intact_file_gives_no_notice(path: Path) -> None:
    save(path, 1)
    save(path, 2)
    notices: list[str] = []
    assert load_checkpoint(path, notices.append).meta == {"generation": 2}
    assert notices == []


def test_two_damaged_files_are_an_error(path: Path) -> None:
    save(path, 1)
    save(path, 2)
    for file in (path, previous_path(path)):
        file.write_bytes(b"PK")
    with pytest.raises(CheckpointCorruptError, match="prev"):
        load_checkpoint(path)


@pytest.mark.parametrize("failing_call", [1, 2])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_dying_inside_a_save_leaves_a_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failing_call: int
) -> None:
    """The process ends at the first or second fsync or rename: generation 2 or 3 is loadable."""
    save(path, 1)
    save(path, 2)
    owner: Any = os if step == "fsync" else Path
    original, calls = getattr(owner, step), []

    def dying(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dying)
        with pytest.raises(KeyboardInterrupt):
            save(path, 3)
    assert checkpoint_exists(path)
    assert generation(path) in (2, 3)
    save(path, 4)
    assert generation(path) == 4
    assert not list(path.parent.glob("*.tmp"))


def test_a_full_disk_keeps_the_old_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left"):
            save(path, 2)
    assert generation(path) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.npz"]


def test_no_checkpoint_is_not_a_corrupt_one(path: Path) -> None:
    assert not checkpoint_exists(path)
    with pytest.raises(CheckpointError, match="no checkpoint") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CheckpointCorruptError)


def test_objects_are_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(CheckpointError, match="'bad'"):
        save_checkpoint(path, {"bad": np.array([{}], dtype=object)}, {})
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(path, {}, {"bad": object()})
    assert not path.parent.exists()


def test_a_pickle_inside_is_never_loaded(path: Path) -> None:
    path.parent.mkdir()
    arrays: dict[str, Any] = {"arrays/x": np.array([print], dtype=object)}
    np.savez(path, **arrays)
    with pytest.raises(CheckpointCorruptError):
        load_checkpoint(path)


def test_a_newer_format_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        save(path, 1)
    with pytest.raises(CheckpointIncompatibleError, match="format 2"):
        load_checkpoint(path)
