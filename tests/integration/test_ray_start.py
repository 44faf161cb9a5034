"""Ray and engines that do not start: tried again, and nothing of them stays."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import ray

from essa.errors import ClusterError, EngineStartError
from essa.spec import Precision, TransformersEngineSpec
from workers.cluster.placement import Node, plan_placement
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import connect, ray_cluster
from workers.engines.build import EngineBuild

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield
    ray.shutdown()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its sockets need a shorter name than pytest's folders have."""
    with tempfile.TemporaryDirectory(prefix="essa-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def processes_of_ray() -> list[str]:
    return [
        child.name()
        for child in psutil.Process().children(recursive=True)
        if child.name() in ("gcs_server", "raylet") and child.status() != psutil.STATUS_ZOMBIE
    ]


class Unblock(logging.Handler):
    """Takes a file away when a failed try is told."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())
        self._file.unlink()


def test_ray_is_started_again_once_what_was_in_its_way_has_gone(folder: Path) -> None:
    blocked = folder / "ray"
    blocked.write_text("a file where Ray wants a folder")
    handler = Unblock(blocked)
    logger = logging.getLogger("workers.cluster.ray_cluster")
    logger.addHandler(handler)
    try:
        connect(
            None,
            [0.1, 0.1],
            address="local",
            include_dashboard=False,
            num_cpus=1,
            _temp_dir=str(blocked),
        )
    finally:
        logger.removeHandler(handler)
    assert len(handler.told) == 1
    assert str(blocked) in handler.told[0]
    assert ray.cluster_resources()["CPU"] == 1


def test_what_a_failed_start_has_started_is_ended(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(ClusterError, match="no Ray cluster at this machine"):
            connect(
                None,
                (),
                address="local",
                include_dashboard=False,
                num_cpus=1,
                # Ray looks for it when its first process is up.
                _plasma_directory=str(folder / "missing"),
            )
        assert not ray.is_initialized()
        assert processes_of_ray() == []


def test_a_process_in_a_cluster_is_not_given_another() -> None:
    with ray_cluster():
        with pytest.raises(ClusterError, match="in a Ray cluster already"), ray_cluster():
            pass
        assert ray.is_initialized()


def build(model: str | Path) -> EngineBuild:
    return EngineBuild(
        spec=TransformersEngineSpec(precision=Precision.FP32, workers=1),
        model_path=str(model),
        max_population=2,
        rank=4,
        target_modules=("q_proj",),
        has_core=True,
        seed=0,
    )


def start(model: str | Path, nodes: list[Node]) -> EnginePool:
    made = build(model)
    pool = EnginePool(made, plan_placement(made.spec, nodes))
    pool.start()
    return pool


def test_engines_that_do_not_start_leave_room_for_those_that_do(tiny_model, folder: Path) -> None:
    with ray_cluster() as nodes, pytest.raises(EngineStartError, match="has no folder"):
        start(folder / "missing", nodes)
    assert not ray.is_initialized()
    with ray_cluster() as nodes:
        with pytest.raises(EngineStartError, match="has no folder"):
            start(folder / "missing", nodes)
        # The engine takes all cores of the cluster: those of the lost one are free again.
        pool = start(tiny_model("llama"), nodes)
        assert len(pool.health()) == 1
        pool.close()
        pool.close()
