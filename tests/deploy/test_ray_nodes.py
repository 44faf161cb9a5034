"""Jobs on a Ray cluster of two nodes that was there before, by ESSA_RAY_ADDRESS alone."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("transformers")
pytest.importorskip("psutil")

import psutil

from essa.records.timeline import read_timeline
from workers.cluster.ray_cluster import ADDRESS_VARIABLE

pytestmark = [pytest.mark.engine, pytest.mark.cores]

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300.0
QUICK = (
    "engine.workers=2",
    "engine.cores_per_worker=1",
    "engine.gate=false",
    "warm_start.sft.epochs=1",
    "search.population=8",
    "search.sigma_init=1.0",
    "data.validation.limit=32",
    "data.test.limit=64",
    "batch_size=64",
    "budget.generations=2",
    "evaluation.every=1",
)
"""The arithmetic job in half a minute."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def ray_node(folder: Path, *arguments: str, **environment: str) -> Iterator[None]:
    """`ray start --block` with one core, until it has started."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
    options = ["--num-cpus=1", "--num-gpus=0", "--dashboard-agent-listen-port=0", "--block"]
    folder.mkdir()
    log = folder / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, f"--temp-dir={folder}"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    try:
        give_up_at = time.monotonic() + TIMEOUT_S
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Cluster:
    """Its address and the folders of its nodes."""

    address: str
    head: Path
    other: Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and another node, both with a core, behind a token."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # Below /tmp: the names of Ray's sockets must be short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        address = f"127.0.0.1:{free_port()}"
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(ADDRESS_VARIABLE, address)
        port = f"--port={address.rpartition(':')[2]}"
        client = f"--ray-client-server-port={free_port()}"
        here = ("--node-ip-address=127.0.0.1", "--include-dashboard=false")
        stack.enter_context(ray_node(folder / "head", "--head", port, client, *here))
        stack.enter_context(ray_node(folder / "other", f"--address={address}"))
        yield Cluster(address, folder / "head", folder / "other")


def engines_of(folder: Path) -> list[psutil.Process]:
    """Engine processes of the node that lives in a folder."""

    def is_ours(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            if any(word.startswith("ray::EngineActor") for word in process.cmdline()):
                raylet = process.parent()
                return raylet is not None and str(folder) in " ".join(raylet.cmdline())
        return False

    return [process for process in psutil.process_iter() if is_ours(process)]


def test_the_arithmetic_job_has_an_engine_on_each_node(cluster, tmp_path):
    run_dir = tmp_path / "run"
    changes = [word for change in QUICK for word in ("--set", change)]
    job = str(ROOT / "examples" / "arithmetic" / "job.yaml")
    command = [sys.executable, "-m", "alignment_api.cli.main", "run", job, *changes]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--home", str(tmp_path / "home"), "--run-dir", str(run_dir)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    cores: dict[Path, set[int]] = {}
    while process.poll() is None:
        for folder in (cluster.head, cluster.other):
            for engine in engines_of(folder):
                with suppress(psutil.NoSuchProcess):
                    cores[folder] = set(engine.cpu_affinity())
        time.sleep(0.5)
    assert process.returncode == 0, log.read_text()[-3000:]

    result = json.loads((run_dir / "result.json").read_text())
    assert result["test"]["aligned"]["prompts"] == 64
    spans = [span for work in read_timeline(run_dir) for span in work.spans]
    assert {span.engine for span in spans} == {0, 1}
    assert cores.keys() == {cluster.head, cluster.other}
    if len(os.sched_getaffinity(0)) > 1:
        assert [len(own) for own in cores.values()] == [1, 1]
        assert not set.intersection(*cores.values())


JOIN = """
import subprocess, sys
import ray
from workers.cluster.ray_cluster import ray_cluster

with ray_cluster() as nodes:
    print(sorted((node.cpus, node.gpus) for node in nodes), flush=True)
    if sys.argv[1:]:
        subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
    print(ray.get(ray.remote(lambda: 7).remote(), timeout=60), flush=True)
"""
"""A job that only looks around; its argument is another one to run meanwhile."""


def join(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: Ray reads mode and token when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", JOIN, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd=ROOT,
        check=False,
    )


def test_jobs_of_one_machine_bring_a_node_each_without_devices_and_take_it_away(cluster):
    ended = join(JOIN)
    assert ended.returncode == 0, ended.stderr[-2000:]
    mine = [(0, 0), (1, 0), (1, 0)]
    # The other job ends first, and this one's node is still there.
    assert ended.stdout.splitlines() == [f"{mine}", f"{[(0, 0), *mine]}", "7", "7"]


def test_a_node_with_another_version_is_named(cluster, tmp_path):
    metadata = tmp_path / "elsewhere" / "essa_service-9.9.9.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: essa-service\nVersion: 9.9.9\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place, address = Path(folder) / "old", f"--address={cluster.address}"
        with ray_node(place, address, PYTHONPATH=str(metadata.parent)):
            ended = join()
    assert re.search(r"ClusterError: .*essa-service 9\.9\.9.*the same wheel", ended.stderr)


def test_a_wrong_token_is_refused_in_words(cluster):
    ended = join(RAY_AUTH_TOKEN=secrets.token_hex(32))
    assert re.search(f"ClusterError: no Ray cluster at {cluster.address}.*token", ended.stderr)


def test_an_engine_says_that_its_machine_lacks_the_model(cluster, tmp_path):
    script = """
from workers.cluster.ray_cluster import ray_cluster
from workers.engines.build import EngineBuild
from workers.cluster.placement import plan_placement
from workers.cluster.pool import EnginePool
from essa.spec import TransformersEngineSpec

spec = TransformersEngineSpec(workers=2, cores_per_worker=1)
build = EngineBuild(spec, "/not/on/this/machine", 4, 4, ("q_proj",), True, 0)
with ray_cluster() as nodes:
    EnginePool(build, plan_placement(spec, nodes)).start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    told = r"EngineStartError: machine \S+ has no folder /not/on/this/machine.*at the same path"
    assert re.search(told, ended.stderr), ended.stderr[-2000:]
