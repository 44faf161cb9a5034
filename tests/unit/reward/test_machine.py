"""Quotas and memory limits, from folders that look as the kernel lays them out."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from reward.machine import MemoryLimit, cpu_quota, memory_limit, usable_cores

GIB = 2**30
ALL = sorted(os.sched_getaffinity(0))


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def own(folder: Path, *lines: str) -> Path:
    file = folder / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_version_2_takes_the_tightest_of_a_group_and_those_above_it(tmp_path: Path) -> None:
    write(tmp_path / "pod", cpu__max="150000 100000")
    write(tmp_path / "pod" / "box", cpu__max="max 100000")
    write(tmp_path / "other", cpu__max="1000 100000")
    assert cpu_quota(tmp_path, own(tmp_path, "0::/pod/box")) == 1.5
    write(tmp_path / "pod" / "box", cpu__max="50000 100000")
    assert cpu_quota(tmp_path, own(tmp_path, "0::/pod/box")) == 0.5


def test_version_1_reads_quota_and_period(tmp_path: Path) -> None:
    write(tmp_path / "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    lines = ("5:cpu,cpuacct:/docker/a", "4:memory:/docker/a", "1:name=systemd:/docker/a", "0::/")
    assert cpu_quota(tmp_path, own(tmp_path, *lines)) is None
    write(
        tmp_path / "cpu,cpuacct" / "docker" / "a",
        cpu__cfs_quota_us="250000",
        cpu__cfs_period_us="100000",
    )
    assert cpu_quota(tmp_path, own(tmp_path, *lines)) == 2.5


def test_a_container_that_reads_the_path_of_its_host_finds_its_group_at_the_mount(
    tmp_path: Path,
) -> None:
    write(tmp_path / "cpu", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cpu_quota(tmp_path, own(tmp_path, "3:cpu:/docker/0123456789ab")) == 2
    assert cpu_quota(tmp_path, own(tmp_path, "3:cpu:/../outside")) == 2


def test_version_2_beside_version_1_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "unified" / "box", cpu__max="300000 100000")
    assert cpu_quota(tmp_path, own(tmp_path, "2:memory:/box", "0::/box")) == 3


@pytest.mark.parametrize(
    ("quota", "count"), [(0.2, 1), (1.0, 1), (1.4, 1), (1.5, 2), (2.4, 2), (999.0, len(ALL))]
)
def test_cores_are_as_many_as_the_quota_comes_to(tmp_path: Path, quota: float, count: int) -> None:
    write(tmp_path, cpu__max=f"{round(quota * 100000)} 100000")
    cores = usable_cores(tmp_path, own(tmp_path, "0::/"))
    assert len(cores) == min(count, len(ALL))
    assert cores == sorted(set(cores))
    assert set(cores) <= set(ALL)


def test_without_a_quota_or_groups_all_cores_of_the_affinity_count(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "missing") == ALL
    write(tmp_path, cpu__max="max 100000")
    assert usable_cores(tmp_path, own(tmp_path, "0::/")) == ALL


def test_containers_of_a_large_host_do_not_all_take_its_first_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    write(tmp_path, cpu__max="400000 100000")
    group = own(tmp_path, "0::/")
    taken = set()
    for number in range(12):
        monkeypatch.setattr("platform.node", lambda name=f"box-{number}": name)
        cores = usable_cores(tmp_path, group)
        assert len(cores) == 4
        assert cores == usable_cores(tmp_path, group)
        taken.update(cores)
    assert len(taken) > 16


def test_memory_of_version_2_counts_files_that_can_go_as_free(tmp_path: Path) -> None:
    write(
        tmp_path / "box",
        memory__max=str(2 * GIB),
        memory__current=str(GIB),
        memory__stat=f"anon 5\ninactive_file {GIB // 2}",
    )
    write(tmp_path, memory__max="max", memory__current="7")
    assert memory_limit(tmp_path, own(tmp_path, "0::/box")) == MemoryLimit(2 * GIB, GIB * 3 // 2)


def test_memory_of_version_1_without_a_limit_is_a_number_beyond_the_machine(tmp_path: Path) -> None:
    group = own(tmp_path, "4:memory:/box")
    write(
        tmp_path / "memory" / "box",
        memory__limit_in_bytes="9223372036854771712",
        memory__usage_in_bytes="5",
    )
    assert memory_limit(tmp_path, group) is None
    write(
        tmp_path / "memory",
        memory__limit_in_bytes=str(GIB),
        memory__usage_in_bytes=str(GIB + 5),
        memory__stat="inactive_file 0\ntotal_inactive_file 3",
    )
    assert memory_limit(tmp_path, group) == MemoryLimit(GIB, 0)


def test_no_group_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path, tmp_path / "missing") is None


def test_a_real_group_limits_the_process_that_is_in_it() -> None:
    name = f"essa-test-{uuid.uuid4().hex[:8]}"
    cpu, memory = (Path("/sys/fs/cgroup") / kind / name for kind in ("cpu", "memory"))
    try:
        cpu.mkdir()
        memory.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups of version 1 can be made here: {error}")
    try:
        (cpu / "cpu.cfs_quota_us").write_text("100000")
        (memory / "memory.limit_in_bytes").write_text(str(GIB))
        asked = (
            "import os, sys\n"
            "for file in sys.argv[1:]: open(file, 'w').write(str(os.getpid()))\n"
            "from reward.machine import *\n"
            "print(len(usable_cores()), cpu_quota(), memory_limit().total)"
        )
        groups = [str(folder / "cgroup.procs") for folder in (cpu, memory)]
        answer = subprocess.run(
            [sys.executable, "-c", asked, *groups], capture_output=True, text=True, check=True
        )
        assert answer.stdout.split() == ["1", "1.0", str(GIB)]
    finally:
        cpu.rmdir()
        memory.rmdir()
