"""From a job's engine specification to an engine. Picklable recipes; engines are built later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.errors import SpecError
from essa.number_format import Activations
from essa.spec.engine import EngineSpec, Precision, VllmEngineSpec
from workers.engines.base import Engine
from workers.engines.vllm_settings import RUNNER_ENVIRONMENT
from workers.machine.native_format import native_activations

_CPU_MALLOC = {
    # By default glibc gives every large activation back to the kernel and takes it again, page by
    # page. Keeping them made the base 2 to 6 % faster (SmolLM2, one core).
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Huge pages where the kernel leaves it to the program: 1 % for the base, 2 % for a population.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class EngineBuild:
    """Everything an actor needs to build its engine.

    `model_path` is the folder to load: for vLLM the checkpoint already in the wanted precision.
    """

    spec: EngineSpec
    model_path: str
    max_population: int
    rank: int
    target_modules: tuple[str, ...]
    has_core: bool
    seed: int
    activations: Activations | None = None
    """None takes what is fast on the machine where the engine is built."""

    @property
    def capacity(self) -> int:
        """Sequences one engine decodes together."""
        if isinstance(self.spec, VllmEngineSpec):
            return self.spec.max_num_seqs
        return self.spec.max_batch


def build_engine(build: EngineBuild) -> Engine:
    """Start the engine; blocks until its model is loaded.

    Raises:
        EngineStartError: the engine could not be built.
    """
    spec = build.spec
    activations = build.activations or native_activations(spec.precision)
    if isinstance(spec, VllmEngineSpec):
        from workers.engines.vllm_engine import VllmEngine
        from workers.engines.vllm_settings import VllmSettings

        return VllmEngine(
            VllmSettings(
                model_path=build.model_path,
                dtype=activations,
                max_population=build.max_population,
                rank=build.rank,
                target_modules=build.target_modules,
                has_core=build.has_core,
                max_num_seqs=spec.max_num_seqs,
                max_model_len=spec.max_model_len,
                kv_cache_gib=spec.kv_cache_gib,
                gpu_memory_utilization=spec.gpu_memory_utilization,
                tensor_parallel=spec.tensor_parallel,
                enforce_eager=spec.enforce_eager,
                seed=build.seed,
            )
        )
    from workers.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        build.model_path,
        precision=spec.precision,
        activations=activations,
        max_batch=spec.max_batch,
        max_population=build.max_population,
    )


def settled_precision(spec: EngineSpec) -> Precision:
    """The precision of a specification whose job has settled what it computes in.

    Raises:
        SpecError: it is still `auto`.
    """
    if spec.precision == "auto":
        raise SpecError(
            "engine.precision is auto and nothing has been taken for it; set it to "
            f"{', '.join(Precision)}",
            field="engine.precision",
        )
    return spec.precision


def process_environment(spec: EngineSpec, cores: Sequence[int]) -> dict[str, str]:
    """Environment of an engine's process; must be set before torch is imported there.

    vLLM's default binding leaves half of a small machine idle, so every CPU engine is told its
    cores; which those are only the process itself can tell (`EngineActor`).
    """
    environment = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if cores:
        environment |= {"OMP_NUM_THREADS": str(len(cores) // spec.ranks), **_CPU_MALLOC}
    if isinstance(spec, VllmEngineSpec):
        environment |= RUNNER_ENVIRONMENT
        if spec.ranks == 1:
            environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return environment
