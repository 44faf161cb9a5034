"""The shared-basis population LoRA inside vLLM's worker process. The only module that patches vLLM.

vLLM gives every token the slot of its adapter. Here all adapters share one frozen basis per layer
and differ only in a row of scales, so a slot is a row of one float32 table:

    delta = ((x @ shrink.T) * first[slot]) @ core.T * second[slot] @ expand.T

The table is one contiguous buffer for the whole model; each layer reads a view of its columns and
row -1 is zero, which is the index that vLLM gives to tokens without an adapter. Replacing the
population is one write into that table. Everything in the forward pass is a torch operation on
buffers that never move, with no host synchronisation.

`vllm_extension` installs it in each worker process, before the model is built.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from vllm.lora.layers import base_linear, column_parallel_linear
from vllm.lora.layers import utils as lora_utils
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.lora.worker_manager import WorkerLoRAManager
from vllm.platforms import current_platform

from essa.errors import EngineStartError
from workers.engines.vllm_settings import CONFIG_KEY

_EXPECTED_SIGNATURES = {
    (BaseLinearLayerWithLoRA, "_apply_lora_to_output"): ("self", "x", "output"),
    (BaseLinearLayerWithLoRA, "create_lora_weights"): (
        "self",
        "max_loras",
        "lora_config",
        "model_config",
    ),
    (BaseLinearLayerWithLoRA, "set_lora"): ("self", "index", "lora_a", "lora_b"),
    (BaseLinearLayerWithLoRA, "reset_lora"): ("self", "index"),
    (WorkerLoRAManager, "_load_adapter"): ("self", "lora_request"),
    (LoRAModelManager, "_create_lora_modules"): ("self",),
    (LoRAModelManager, "_create_merged_loras_inplace"): ("self", "lora_model"),
    (PunicaWrapperCPU, "update_metadata"): (
        "self",
        "mapping",
        "lora_index_to_id",
        "max_loras",
        "vocab_size",
        "kwargs",
    ),
}


@dataclass
class LayerBuffers:
    """Static buffers of one wrapped layer with n slices (q, k, v), padded to rank R each.

    shrink (n*R, in), core (n*R, n*R) block diagonal, expand (out, n*R) block diagonal,
    first and second: views (slots + 1, n*R) of the model's table.
    """

    shrink: torch.Tensor
    core: torch.Tensor | None
    expand: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor | None
    rank: int


def install_patches() -> None:
    """Replace vLLM's per-slot adapter weights by the shared basis. Idempotent.

    Raises:
        EngineStartError: vLLM's internals differ from what was tested.
    """
    if getattr(BaseLinearLayerWithLoRA, "essa_patched", False):
        return
    _check_internals()
    for cls in _subclasses(BaseLinearLayerWithLoRA):
        for method, wrap in (
            ("create_lora_weights", _allocate_one_slot),
            ("set_lora", _keep_basis),
            ("reset_lora", _keep_basis),
        ):
            if method in vars(cls):
                setattr(cls, method, wrap(vars(cls)[method]))
    BaseLinearLayerWithLoRA._apply_lora_to_output = _apply_population
    LoRAModelManager._create_lora_modules = _with_buffers(LoRAModelManager._create_lora_modules)
    LoRAModelManager._create_merged_loras_inplace = _unless_empty(
        LoRAModelManager._create_merged_loras_inplace
    )
    WorkerLoRAManager._load_adapter = _empty_adapter
    PunicaWrapperCPU.update_metadata = _token_slots_only
    patch_lora_device()
    BaseLinearLayerWithLoRA.essa_patched = True


def patch_lora_device() -> None:
    """Let LoRA wrap W8A8 layers on CPU, whose weight the oneDNN path has released.

    Stock vLLM reads the device of a weight that is None there and stops.
    """
    stock = lora_utils._get_lora_device

    def device_of(base_layer: torch.nn.Module) -> torch.device:
        try:
            return stock(base_layer)
        except (AttributeError, ValueError):
            for tensor in (*base_layer.parameters(), *base_layer.buffers()):
                return tensor.device
            return torch.device(current_platform.device_type)

    for module in (base_linear, lora_utils):
        module._get_lora_device = device_of


def _check_internals() -> None:
    for (cls, method), expected in _EXPECTED_SIGNATURES.items():
        found = getattr(cls, method, None)
        names = tuple(inspect.signature(found).parameters) if found else None
        if names != expected:
            from vllm.version import __version__ as version

            raise EngineStartError(
                f"vLLM {version} is not supported: {cls.__name__}.{method} takes {names}, "
                f"expected {expected}; install the vLLM of deploy/requirements",
                version=version,
            )


def _subclasses(cls: type) -> list[type]:
    # column_parallel_linear and its siblings must be imported for their classes to be listed.
    _ = column_parallel_linear
    found = [cls]
    for child in cls.__subclasses__():
        found.extend(_subclasses(child))
    return found


def _allocate_one_slot(stock: Any) -> Any:
    def create_lora_weights(
        self: Any, max_loras: int, lora_config: Any, model_config: Any = None
    ) -> None:
        stock(self, 1, lora_config, model_config)

    return create_lora_weights


def _keep_basis(stock: Any) -> Any:
    def unchanged(self: Any, index: int, *weights: Any) -> None:
        """Slots have no weights of their own."""

    return unchanged


def _empty_adapter(self: WorkerLoRAManager, lora_request: Any) -> LoRAModel:
    return LoRAModel(lora_request.lora_int_id, self.lora_config.max_lora_rank, {})


def _unless_empty(stock: Any) -> Any:
    def create_merged_loras(self: LoRAModelManager, lora_model: LoRAModel) -> None:
        if lora_model.loras:
            stock(self, lora_model)

    return create_merged_loras


def _token_slots_only(
    self: PunicaWrapperCPU,
    mapping: Any,
    lora_index_to_id: list[int | None],
    max_loras: int,
    vocab_size: int,
    **kwargs: Any,
) -> None:
    # The stock method also sorts tokens into segments for its own kernels and synchronises on it.
    self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
    self.is_prefill = False


def _apply_population(
    self: BaseLinearLayerWithLoRA, x: torch.Tensor, output: torch.Tensor
) -> torch.Tensor:
    buffers: LayerBuffers = self.essa_buffers
    flat_x = x.reshape(-1, x.shape[-1])
    flat_output = output.view(-1, output.shape[-1])
    slots = self.punica_wrapper._token_lora_indices[: flat_x.shape[0]]
    hidden = (flat_x @ buffers.shrink.T) * buffers.first[slots]
    if buffers.core is not None:
        hidden = (hidden @ buffers.core.T) * buffers.second[slots]
    flat_output.addmm_(hidden.to(flat_output.dtype), buffers.expand.T)
    return output


def _with_buffers(stock: Any) -> Any:
    def create_lora_modules(self: LoRAModelManager) -> None:
        stock(self)
        self.essa_table = _attach_buffers(self)

    return create_lora_modules


def _attach_buffers(manager: LoRAModelManager) -> torch.Tensor:
    """Give every wrapped layer its buffers; return the table they share."""
    from vllm.config import get_current_vllm_config

    settings = (get_current_vllm_config().additional_config or {}).get(CONFIG_KEY, {})
    has_core = bool(settings.get("has_core", True))
    for wrapper in manager.punica_wrapper_mapping.values():
        # vLLM leaves it uninitialised; a profiling run may read it before any mapping is set.
        wrapper._token_lora_indices.fill_(-1)
    config = manager.lora_config
    rank = config.max_lora_rank
    layers = list(linear_layers(manager).values())
    widths = [layer.n_slices * rank for layer in layers]
    columns = sum(widths) * (2 if has_core else 1)
    device = layers[0].device
    # One row per slot and a last row that stays zero for tokens without an adapter.
    table = torch.zeros(config.max_loras + 1, columns, dtype=torch.float32, device=device)
    start = 0
    for layer, width in zip(layers, widths, strict=True):
        options = {"dtype": config.lora_dtype, "device": device}
        layer.essa_buffers = LayerBuffers(
            shrink=torch.zeros(width, layer.input_size, **options),
            core=torch.zeros(width, width, device=device) if has_core else None,
            expand=torch.zeros(sum(layer.output_slices), width, **options),
            first=table[:, start : start + width],
            second=table[:, start + width : start + 2 * width] if has_core else None,
            rank=rank,
        )
        start += width * (2 if has_core else 1)
    return table


def linear_layers(manager: LoRAModelManager) -> dict[str, BaseLinearLayerWithLoRA]:
    """Wrapped layers by vLLM's module name, in the order of the table's columns."""
    return {
        name: module
        for name, module in manager.modules.items()
        if isinstance(module, BaseLinearLayerWithLoRA)
    }
