"""What the population relies on in vLLM is the same source in its CUDA wheel as in the CPU one.

Engines are tested on the CPU build. The CUDA wheel needs no GPU to be read: `python
gpu/fetch_vllm.py` unpacks it below build/gpu/, and `ESSA_VLLM_CUDA` names another folder.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CUDA = Path(os.environ.get("ESSA_VLLM_CUDA") or ROOT / "build" / "gpu" / "vllm-cuda") / "vllm"
_FOUND = importlib.util.find_spec("vllm")
HERE = Path(_FOUND.origin).parent if _FOUND and _FOUND.origin else Path("none")

pytestmark = [
    pytest.mark.skipif(
        not CUDA.is_dir(),
        reason="no sources of vLLM's CUDA wheel; python gpu/fetch_vllm.py fetches them",
    ),
    pytest.mark.skipif(not HERE.is_dir(), reason="vLLM is not installed"),
]

RELIED_ON = {
    "config/lora.py": ["LoRAConfig"],
    "config/vllm.py": [
        "VllmConfig.use_v2_model_runner",
        "VllmConfig.max_concurrent_batches",
        "VllmConfig._get_v1_model_runner_unsupported_features",
    ],
    "lora/layers/base.py": ["BaseLayerWithLoRA"],
    "lora/layers/base_linear.py": ["BaseLinearLayerWithLoRA"],
    "lora/layers/column_parallel_linear.py": [
        "ColumnParallelLinearWithLoRA",
        "MergedColumnParallelLinearWithLoRA",
        "QKVParallelLinearWithLoRA",
        "MergedQKVParallelLinearWithLoRA",
    ],
    "lora/layers/replicated_linear.py": ["ReplicatedLinearWithLoRA"],
    "lora/layers/row_parallel_linear.py": ["RowParallelLinearWithLoRA"],
    "lora/layers/utils.py": ["LoRAMapping", "_get_lora_device"],
    "lora/lora_model.py": ["LoRAModel.__init__"],
    "lora/model_manager.py": ["LoRAModelManager", "LRUCacheLoRAModelManager"],
    "lora/punica_wrapper/punica_base.py": ["PunicaWrapperBase"],
    "lora/request.py": ["LoRARequest"],
    "lora/utils.py": ["from_layer", "get_captured_lora_counts"],
    "lora/worker_manager.py": ["WorkerLoRAManager", "LRUCacheWorkerLoRAManager"],
    "outputs.py": ["RequestOutput", "CompletionOutput"],
    "sampling_params.py": ["SamplingParams"],
    "v1/core/block_pool.py": ["BlockPool.reset_prefix_cache"],
    "v1/core/kv_cache_manager.py": [
        "KVCacheManager.reset_prefix_cache",
        "KVCacheManager.get_computed_blocks",
    ],
    "v1/core/sched/scheduler.py": ["Scheduler.schedule", "Scheduler.reset_prefix_cache"],
    "v1/engine/core.py": ["EngineCore.step", "EngineCore.reset_prefix_cache"],
    "v1/engine/llm_engine.py": ["LLMEngine"],
    "v1/executor/uniproc_executor.py": ["UniProcExecutor"],
    "v1/worker/gpu_input_batch.py": ["InputBatch"],
    "v1/worker/gpu_model_runner.py": ["GPUModelRunner"],
    "v1/worker/lora_model_runner_mixin.py": ["LoRAModelRunnerMixin"],
    "v1/worker/worker_base.py": ["WorkerWrapperBase"],
}
"""Files and what of them the patches, the engine thread and the checks lean on."""


def _source(root: Path, file: str, name: str) -> str:
    """Source of `Class.function`, `Class` or `function`, without looking at comments' spacing."""
    text = (root / file).read_text()
    body: list[ast.stmt] = ast.parse(text).body
    node: ast.stmt | None = None
    for part in name.split("."):
        node = next((one for one in body if getattr(one, "name", None) == part), None)
        assert node is not None, f"{root / file} has no {name}"
        body = getattr(node, "body", [])
    assert node is not None
    return ast.unparse(node)


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, names in RELIED_ON.items() for name in names]
)
def test_it_is_the_same_source_in_both_builds(file, name):
    assert _source(CUDA, file, name) == _source(HERE, file, name)


def _version(root: Path) -> str:
    return next(
        line for line in (root / "_version.py").read_text().splitlines() if "__version__ =" in line
    ).split("'")[1]


def test_both_builds_are_of_one_version():
    assert _version(CUDA) == _version(HERE)


def test_the_patches_that_only_matter_on_cuda_meet_what_they_replace():
    """The slots of a step reach CUDA's wrapper by a method of its own, which ours replaces."""
    own = _source(CUDA, "lora/punica_wrapper/punica_gpu.py", "PunicaWrapperGPU.update_metadata")
    base = _source(CUDA, "lora/punica_wrapper/punica_base.py", "PunicaWrapperBase.update_metadata")

    def arguments(source: str) -> str:
        return source.split("(", 1)[1].split(")", 1)[0].replace("'", "")

    assert arguments(own) == arguments(base)
    assert "self.token_lora_indices" in own


def test_the_runner_that_is_asked_for_is_the_parent_of_the_one_tested_here():
    worker = (CUDA / "v1/worker/gpu_worker.py").read_text()
    assert "self.use_v2_model_runner = vllm_config.use_v2_model_runner" in worker
    runner = (HERE / "v1/worker/cpu_model_runner.py").read_text()
    assert "class CPUModelRunner(GPUModelRunner)" in runner
    # Unset, the variable would lead to the other runner wherever Triton finds a device.
    chosen = _source(CUDA, "config/vllm.py", "VllmConfig.use_v2_model_runner")
    assert "envs.VLLM_USE_V2_MODEL_RUNNER" in chosen
