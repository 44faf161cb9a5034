"""Waiting for a GPU's memory, with a program in the place of the driver's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from workers.machine import gpu_memory
from workers.machine.gpu_memory import await_free_memory, used_frac

_PROGRAM = """#!/bin/sh
echo "$@" >> {folder}/asked
used=$(cat {folder}/used)
printf '%s, 1000\\n0, 1000\\n' "$used"
[ "$used" -gt {least} ] && echo $((used - 300)) > {folder}/used
exit 0
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A card whose memory falls with every question, from what is written to `least`."""

    def install(used: int, least: int) -> Path:
        program = tmp_path / "nvidia-smi"
        (tmp_path / "used").write_text(str(used))
        program.write_text(_PROGRAM.format(folder=tmp_path, least=least))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        monkeypatch.setattr(gpu_memory, "_POLL_S", 0.01)
        monkeypatch.setattr(gpu_memory, "_SETTLED_S", 0.3)
        return tmp_path

    return install


def test_it_waits_until_the_memory_is_given_back(driver):
    folder = driver(used=900, least=0)
    await_free_memory()
    assert int((folder / "used").read_text()) <= 0
    asked = (folder / "asked").read_text().splitlines()
    assert len(asked) == 4
    assert all(line.endswith("-i 0,1") for line in asked)


def test_memory_that_stays_in_use_is_left_to_who_asks_for_it(driver):
    driver(used=700, least=600)
    began_s = time.monotonic()
    await_free_memory()
    assert 0.3 <= time.monotonic() - began_s < 20


def test_without_a_gpu_there_is_nothing_to_wait_for(driver, monkeypatch):
    folder = driver(used=900, least=900)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    await_free_memory()
    assert not (folder / "asked").exists()


def test_a_driver_that_does_not_tell_is_not_waited_for(tmp_path):
    silent = tmp_path / "nvidia-smi"
    silent.write_text("#!/bin/sh\necho '[N/A], [N/A]'\n")
    silent.chmod(0o755)
    assert used_frac(str(silent), "0") is None
    assert used_frac(str(tmp_path / "missing"), "0") is None
