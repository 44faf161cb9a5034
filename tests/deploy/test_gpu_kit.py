"""The kit for a GPU: parts of wheels, and steps that can be taken up again."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

KIT = Path(__file__).resolve().parents[2] / "gpu"
DOOR_BYTES = 60 * 2**20


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", KIT / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A file of seven parts and the way to call the script on it."""
    parts = _module("parts")
    monkeypatch.setattr(parts, "PART_BYTES", 1000)
    file = tmp_path / "some.whl"
    file.write_bytes(bytes(n % 251 for n in range(6500)))
    entry = parts.split(file, tmp_path / "parts")
    (tmp_path / "parts.json").write_text(json.dumps({file.name: entry}))

    def join() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, KIT / "parts.py", "join"),
                *("--parts", tmp_path / "parts", "--wheels", tmp_path / "wheels"),
                *("--manifest", tmp_path / "parts.json"),
            ],
            capture_output=True,
            text=True,
        )

    return tmp_path, file, join


def test_parts_that_arrive_one_by_one_make_the_same_file(cut):
    folder, file, join = cut
    away = folder / "away"
    (folder / "parts").rename(away)
    (folder / "parts").mkdir()
    for number, part in enumerate(sorted(away.iterdir())):
        part.rename(folder / "parts" / part.name)
        done = join()
        assert done.returncode == (0 if number == 6 else 1), done.stdout
    assert (folder / "wheels" / file.name).read_bytes() == file.read_bytes()
    assert list((folder / "parts").iterdir()) == []
    assert join().returncode == 0  # nothing is left to do


def test_a_joining_that_was_cut_short_begins_its_part_again(cut):
    folder, file, join = cut
    (folder / "wheels").mkdir()
    (folder / "wheels" / f"{file.name}.part").write_bytes(file.read_bytes()[:1500])
    assert join().returncode == 0
    assert (folder / "wheels" / file.name).read_bytes() == file.read_bytes()


def test_a_part_that_changed_on_its_way_is_refused(cut):
    folder, _, join = cut
    part = folder / "parts" / "some.whl.003"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    done = join()
    assert done.returncode == 1
    assert "some.whl.003 is not the part" in done.stderr


def test_what_is_written_down_fits_through_the_door_and_adds_up():
    manifest = json.loads((KIT / "parts.json").read_text())
    assert any(name.startswith("vllm-") for name in manifest)
    for entry in manifest.values():
        assert sum(part["bytes"] for part in entry["parts"]) == entry["bytes"]
        assert all(part["bytes"] <= DOOR_BYTES for part in entry["parts"])
        assert all(re.fullmatch("[0-9a-f]{64}", part["sha256"]) for part in entry["parts"])


def test_the_wheel_in_the_manifest_is_the_locked_one():
    version = _module("fetch_vllm").locked_version()
    names = json.loads((KIT / "parts.json").read_text())
    assert any(name.startswith(f"vllm-{version}-") for name in names)


def test_every_step_names_a_test_that_is_there_and_ends_within_ten_minutes():
    kit = _module("kit")
    for step in (step for steps in kit.STEPS.values() for step in steps):
        assert step.longest_s < 600
        if step.test:
            file, _, name = step.test.partition("::")
            text = (KIT.parent / file).read_text()
            assert f"def {name.partition('[')[0]}(" in text or not name


def test_a_step_that_has_passed_is_not_done_again_and_one_without_time_is_left(
    tmp_path, monkeypatch, capsys
):
    kit = _module("kit")
    monkeypatch.setattr(kit, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["kit.py", "a", "--only", "machine"])
    assert kit.main() == 0
    file = tmp_path / "kit-a-machine.json"
    record = json.loads(file.read_text())
    assert record["machine"]["python"] == sys.version.split()[0]
    stamp = file.stat().st_mtime_ns
    assert kit.main() == 0
    assert file.stat().st_mtime_ns == stamp
    monkeypatch.setattr(sys, "argv", ["kit.py", "a", "--only", "engine", "--seconds", "-1"])
    assert kit.main() == 1
    assert "left for the next call" in capsys.readouterr().out
