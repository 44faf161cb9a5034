"""How much memory a job has had: its process and what it started."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.narrowing import present
from workers.cluster.memory_watch import MemoryWatch

MIB = 2**20
HOLDER = """
import sys
held = bytearray(b"x") * (200 * 2**20)
print("ready", flush=True)
sys.stdin.read()
"""


def hold() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert present(child.stdout).readline() == b"ready\n"
    return child


def wait_past(watch: MemoryWatch, least: float) -> None:
    ends_s = time.monotonic() + 30
    while (watch.peak_bytes or 0) < least and time.monotonic() < ends_s:
        time.sleep(0.01)


def test_memory_of_children_counts_and_the_peak_stays() -> None:
    with MemoryWatch(every_s=0.01) as watch:
        wait_past(watch, 1)
        alone = present(watch.peak_bytes)
        with hold() as child:
            wait_past(watch, alone + 190 * MIB)
            present(child.stdin).close()
    more = present(watch.peak_bytes) - alone
    assert more >= 190 * MIB
    # What a process shares with another counts once: two of them are not twice of ours.
    assert more < 260 * MIB


def test_a_watch_ends_with_its_block() -> None:
    with MemoryWatch(every_s=0.01) as watch:
        wait_past(watch, 1)
    peak = present(watch.peak_bytes)
    with hold() as child:
        present(child.stdin).close()
    assert watch.peak_bytes == peak > 0
