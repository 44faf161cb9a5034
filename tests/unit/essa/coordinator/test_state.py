"""A run's state on disk."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from essa.coordinator.state import RunState, load_run, save_run
from essa.errors import CheckpointCorruptError, CheckpointIncompatibleError
from essa.search.registry import make_search
from essa.spec import SepCmaEsSpec
from essa.storage.checkpoint import previous_path
from tests.narrowing import present

DIGEST = "a1" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.ckpt"


def some_state(**changes) -> RunState:
    values = {
        "basis_digest": DIGEST,
        "generation": 7,
        "sigma_init": 0.3,
        "best_vector": np.random.default_rng(0).standard_normal(5),
        "best_score": 0.25,
        "best_ci95": (0.2, 0.3),
        "best_merit": (1.0, 0.25),
        "best_generation": 6,
        "tokens": 2**40,
        "elapsed_s": 12.5,
        "unreliable_streak": 2,
        "stop_reason": "",
    }
    return RunState(**values | changes)


def assert_equal(loaded: RunState, saved: RunState) -> None:
    for name, value in vars(saved).items():
        if name != "search":
            np.testing.assert_array_equal(getattr(loaded, name), value, err_msg=name)


def test_what_is_saved_comes_back(path):
    saved = some_state()
    save_run(path, saved)
    loaded = present(load_run(path, DIGEST))
    assert_equal(loaded, saved)
    assert loaded.search is None
    assert isinstance(loaded.best_ci95, tuple)


def test_the_search_comes_back_and_goes_on_alike(path):
    spec = SepCmaEsSpec(population=6)
    search = make_search(spec, 5, 0.5, seed=3)
    search.tell(search.ask().sum(axis=1))
    save_run(path, some_state(search=search.state()))
    restored = make_search(spec, 5, 0.5, seed=3)
    restored.restore(present(present(load_run(path, DIGEST)).search))
    np.testing.assert_array_equal(restored.ask(), search.ask())


def test_a_run_without_any_validation_score_comes_back(path):
    saved = some_state(
        best_score=float("-inf"), best_ci95=(float("nan"), float("nan")), best_merit=()
    )
    save_run(path, saved)
    assert_equal(present(load_run(path, DIGEST)), saved)
    with zipfile.ZipFile(path) as archive:
        # Standard JSON: any reader can take it.
        json.loads(archive.read("meta.json"), parse_constant=pytest.fail)


def test_without_a_file_there_is_no_run(path):
    assert load_run(path, DIGEST) is None


def test_other_bases_are_refused_with_both_names(path):
    save_run(path, some_state())
    with pytest.raises(CheckpointIncompatibleError, match=r"a1a1a1.*ffff.*new job"):
        load_run(path, "f" * 64)


def test_a_damaged_newest_copy_falls_back_and_tells(path):
    save_run(path, some_state(generation=6))
    save_run(path, some_state(generation=7))
    path.write_bytes(path.read_bytes()[:100])
    told: list[str] = []
    assert present(load_run(path, DIGEST, told.append)).generation == 6
    assert len(told) == 1
    assert str(previous_path(path)) in told[0]


def test_two_damaged_copies_are_an_error(path):
    save_run(path, some_state())
    save_run(path, some_state())
    path.write_bytes(b"")
    previous_path(path).write_bytes(b"PK")
    with pytest.raises(CheckpointCorruptError):
        load_run(path, DIGEST)
