"""Every kind of engine: its constructor, and the environment of its process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from essa.errors import EngineStartError
from essa.spec.engine import EngineSpec
from workers.engines.base import Engine
from workers.engines.build import EngineBuild, settled_precision
from workers.engines.vllm_settings import bound_to, vllm_environment
from workers.machine.native_format import native_activations

_CPU_MALLOC = {
    # By default glibc returns the memory of every large activation to the kernel and gets it again,
    # page by page. Keeping the memory made the base 2 to 6 % faster (SmolLM2, one core).
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Huge pages, if the kernel lets the program choose: 1 % for the base, 2 % for a population.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def _nothing(spec: EngineSpec, cores: Sequence[int]) -> dict[str, str]:
    return {}


def _vllm(build: EngineBuild) -> Engine:
    from workers.engines.vllm_engine import VllmEngine
    from workers.engines.vllm_settings import vllm_settings

    return VllmEngine(vllm_settings(build))


def _transformers(build: EngineBuild) -> Engine:
    from workers.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        build.model_path,
        precision=settled_precision(build.spec),
        activations=build.activations,
        max_batch=build.spec.capacity,
        max_population=build.max_population,
    )


@dataclass(frozen=True)
class EngineKind:
    """One `engine.kind`.

    Attributes:
        create: function that starts an engine and imports its library.
        environment: variables of the engine's process beside those of all kinds, set at its start.
        bound: variables set once the process knows its own cores, before the library loads.
    """

    create: Callable[[EngineBuild], Engine]
    environment: Callable[[EngineSpec, Sequence[int]], dict[str, str]] = _nothing
    bound: Callable[[EngineSpec, Sequence[int]], dict[str, str]] = _nothing


ENGINES = {
    "vllm": EngineKind(_vllm, vllm_environment, bound_to),
    "transformers": EngineKind(_transformers),
}


def engine_kind(spec: EngineSpec) -> EngineKind:
    """Return the kind that is registered for a specification.

    Raises:
        EngineStartError: no such kind is registered; names the kinds that are.
    """
    found = ENGINES.get(spec.kind)
    if found is None:
        raise EngineStartError(
            f"engine.kind is {spec.kind!r}, which is not registered; use one of "
            f"{', '.join(sorted(ENGINES))}"
        )
    return found


def build_engine(build: EngineBuild) -> Engine:
    """Start the engine; blocks until its model is loaded.

    Raises:
        EngineStartError: the engine could not be built.
    """
    activations = build.activations or native_activations(build.spec.precision)
    return engine_kind(build.spec).create(replace(build, activations=activations))


def process_environment(spec: EngineSpec, cores: Sequence[int]) -> dict[str, str]:
    """Return the environment of an engine's process, to be set before torch is imported there.

    Only the process itself knows the ids of its cores: see `EngineKind.bound`.
    """
    environment = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if cores:
        environment |= {"OMP_NUM_THREADS": str(len(cores) // spec.ranks), **_CPU_MALLOC}
    return environment | engine_kind(spec).environment(spec, cores)
