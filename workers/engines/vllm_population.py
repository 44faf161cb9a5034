"""The shared-basis population LoRA inside vLLM's worker process. The only module that patches vLLM.

vLLM gives every token the slot of its adapter. Here all adapters share one frozen basis per layer
and differ only in a row of scales, so a slot is a row of one float32 table:

    delta = ((x @ shrink) * first[slot]) @ core * second[slot] @ expand

The table is one contiguous buffer for the whole model; each layer reads a view of its columns.
Its last row is zero and serves tokens without an adapter. Replacing the population is one write
into that table. Everything in the forward pass is a torch operation on buffers that never move,
with no host synchronisation.

`vllm_extension` installs the patches in each worker process, before the model is built.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from vllm import _custom_ops as ops
from vllm import envs
from vllm.lora.layers import base_linear, column_parallel_linear
from vllm.lora.layers import utils as lora_utils
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_base import PunicaWrapperBase
from vllm.lora.worker_manager import WorkerLoRAManager
from vllm.platforms import current_platform

from essa.errors import EngineError, EngineStartError
from workers.engines.vllm_cpu_kernels import STEADY_ROWS, steady_rows
from workers.engines.vllm_settings import CONFIG_KEY

logger = logging.getLogger(__name__)

if TYPE_CHECKING:

    class PopulationManager(LoRAModelManager):
        """vLLM's manager with the attribute that `_with_buffers` adds."""

        essa_table: torch.Tensor


_EXPECTED_SIGNATURES = {
    (BaseLinearLayerWithLoRA, "_apply_sync"): ("self", "x", "bias"),
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
    (PunicaWrapperBase, "update_metadata"): (
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

    Laid out for row vectors: shrink (in, n*R), core (n*R, n*R) block diagonal, expand (n*R, out)
    block diagonal; first and second: views (slots + 1, n*R) of the model's table. R is the basis's
    own rank, not the larger one that vLLM rounds it up to.
    """

    shrink: torch.Tensor
    core: torch.Tensor | None
    expand: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor | None
    rank: int
    steady_rows: int = STEADY_ROWS
    """Rows from which on both products are summed in one order, on CPU."""
    packed: Any = None
    """oneDNN's own copy of `shrink`, on CPU in bf16: it halves the cost of calls on few rows."""

    def pack(self) -> None:
        """Copy `shrink` for oneDNN; must be called after `shrink` was filled.

        If oneDNN has no such product, as in bf16 without AVX-512, torch's is used from then on.
        """
        if self.shrink.device.type != "cpu" or self.shrink.dtype != torch.bfloat16:
            return
        try:
            self.packed = ops.create_onednn_mm(self.shrink)
        except RuntimeError as error:
            logger.warning("adapters are multiplied by torch: %s", error)

    def shrunk(self, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Return the adapter's hidden state (T, n*R) for inputs (T, in) and table rows (T,)."""
        rows = len(x)
        # The device first: a condition on a size restricts the sizes that torch.compile covers.
        if self.shrink.device.type == "cpu" and rows < self.steady_rows:
            x = F.pad(x, (0, 0, 0, self.steady_rows - rows))
            slots = F.pad(slots, (0, self.steady_rows - rows))
        if self.packed is None:
            hidden = torch.mm(x, self.shrink)
        else:
            hidden = ops.onednn_mm(self.packed, x, None)
        hidden = hidden * self.first.index_select(0, slots)
        if self.core is not None and self.second is not None:
            hidden = torch.mm(hidden, self.core).mul_(self.second.index_select(0, slots))
        return hidden[:rows].to(x.dtype)

    def expand_into(self, output: torch.Tensor, hidden: torch.Tensor) -> None:
        """Add the expanded hidden state (T, n*R) to the layer's output (T, out), in place."""
        output.addmm_(hidden, self.expand)


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
    BaseLinearLayerWithLoRA._apply_sync = _apply_with_base
    BaseLinearLayerWithLoRA._apply_lora_to_output = _apply_after_base
    LoRAModelManager._create_lora_modules = _with_buffers(LoRAModelManager._create_lora_modules)
    LoRAModelManager._create_merged_loras_inplace = _unless_empty(
        LoRAModelManager._create_merged_loras_inplace
    )
    WorkerLoRAManager._load_adapter = _empty_adapter
    patch_lora_device()
    # The mark is on vLLM's class, not in this module: the class must not be patched twice.
    BaseLinearLayerWithLoRA.essa_patched = True  # pyright: ignore[reportAttributeAccessIssue]


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
        vars(module)["_get_lora_device"] = device_of


def _check_internals() -> None:
    if envs.VLLM_LORA_ENABLE_DUAL_STREAM:
        raise EngineStartError(
            "VLLM_LORA_ENABLE_DUAL_STREAM leads past the population's forward pass; unset it"
        )
    for (cls, method), expected in _EXPECTED_SIGNATURES.items():
        found = getattr(cls, method, None)
        names = tuple(inspect.signature(found).parameters) if found else None
        if names != expected:
            from vllm import __version__ as version

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
        """Do nothing: slots have no weights of their own."""

    return unchanged


def _empty_adapter(self: WorkerLoRAManager, lora_request: Any) -> LoRAModel:
    return LoRAModel(lora_request.lora_int_id, self.lora_config.max_lora_rank, {})


def _unless_empty(stock: Any) -> Any:
    def create_merged_loras(self: LoRAModelManager, lora_model: LoRAModel) -> None:
        if lora_model.loras:
            stock(self, lora_model)

    return create_merged_loras


def _write_slots(
    self: PunicaWrapperBase,
    mapping: Any,
    lora_index_to_id: list[int | None],
    max_loras: int,
    vocab_size: int,
    **kwargs: Any,
) -> None:
    """Write the table row of every token of the next step, and nothing else.

    The stock method loops over the tokens in Python, and sorts them for kernels that never run.

    Raises:
        EngineError: an adapter of this step has no slot, or slots have changed since the table
            was written. Checked here because a compiled forward pass reads row -1 as the last
            row, which is the base's.
    """
    written = getattr(self, "essa_slots", lora_index_to_id)
    if written != lora_index_to_id:
        moved = [old for old, new in zip(written, lora_index_to_id, strict=True) if old != new]
        raise EngineError(
            f"vLLM gave slots out anew after the population was written (before, the adapters "
            f"{moved[:5]} had them); their tokens would run as others"
        )
    held = np.array([number or 0 for number in lora_index_to_id])
    wanted = np.asarray(mapping.index_mapping, dtype=np.int64)
    row_of = np.full(max(int(held.max()), int(wanted.max(initial=0))) + 1, -1, dtype=np.int64)
    row_of[held] = np.arange(len(held))
    row_of[0] = len(held)
    rows = row_of[wanted]
    if rows.min(initial=0) < 0:
        raise EngineError(
            f"vLLM runs the adapters {sorted(set(wanted[rows < 0].tolist()))[:5]}, which hold none "
            f"of its {len(held)} slots; their tokens would run as the base"
        )
    self._token_lora_indices[: len(rows)].copy_(torch.from_numpy(rows), non_blocking=True)
    self.indices_len[0] = len(rows)


def _apply_with_base(
    self: BaseLinearLayerWithLoRA, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    # The adapter reads x before the base does: afterwards x has left the CPU's caches.
    hidden = _shrunk(self, x)
    output = self._get_quant_method().apply(self.base_layer, x, bias)
    self.essa_buffers.expand_into(output.view(-1, output.shape[-1]), hidden)
    return output


def _apply_after_base(
    self: BaseLinearLayerWithLoRA, x: torch.Tensor, output: torch.Tensor
) -> torch.Tensor:
    self.essa_buffers.expand_into(output.view(-1, output.shape[-1]), _shrunk(self, x))
    return output


def _shrunk(layer: BaseLinearLayerWithLoRA, x: torch.Tensor) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1])
    return layer.essa_buffers.shrunk(flat, layer.punica_wrapper._token_lora_indices[: len(flat)])


def _with_buffers(stock: Any) -> Any:
    def create_lora_modules(self: PopulationManager) -> None:
        stock(self)
        self.essa_table = _attach_buffers(self)

    return create_lora_modules


def _attach_buffers(manager: LoRAModelManager) -> torch.Tensor:
    """Give every wrapped layer its buffers; return their table (slots + 1, columns)."""
    from vllm.config import get_current_vllm_config

    # The dictionary of `engine_arguments`.
    additional = cast("dict[str, Any]", get_current_vllm_config().additional_config or {})
    settings = additional.get(CONFIG_KEY, {})
    has_core = bool(settings.get("has_core", True))
    config = manager.lora_config
    _check_layers(manager)
    for wrapper in manager.punica_wrapper_mapping.values():
        type(wrapper).update_metadata = _write_slots
        # vLLM leaves them uninitialised; a profiling run may read them before a mapping is set.
        wrapper._token_lora_indices.fill_(config.max_loras)
    rank = int(settings.get("rank", config.max_lora_rank))
    layers = list(linear_layers(manager).values())
    widths = [layer.n_slices * rank for layer in layers]
    columns = sum(widths) * (2 if has_core else 1)
    device = layers[0].device
    # By now vLLM has replaced `auto` by the format of the model.
    dtype = cast("torch.dtype", config.lora_dtype)
    # One row per slot and a last row that stays zero for tokens without an adapter.
    table = torch.zeros(config.max_loras + 1, columns, dtype=torch.float32, device=device)
    start = 0
    for layer, width in zip(layers, widths, strict=True):
        options = {"dtype": dtype, "device": device}
        # torch's types allow only tensors and modules here.
        layer.essa_buffers = LayerBuffers(  # pyright: ignore[reportArgumentType]
            shrink=torch.zeros(layer.input_size, width, **options),
            core=torch.zeros(width, width, device=device) if has_core else None,
            expand=torch.zeros(width, sum(layer.output_slices), **options),
            first=table[:, start : start + width],
            second=table[:, start + width : start + 2 * width] if has_core else None,
            rank=rank,
            steady_rows=max(STEADY_ROWS, steady_rows(dtype)),
        )
        start += width * (2 if has_core else 1)
    return table


def _check_layers(manager: LoRAModelManager) -> None:
    """Refuse layers whose forward pass would run vLLM's own kernels, whose metadata is not set."""
    if manager.lora_config.fully_sharded_loras:
        raise EngineStartError("vLLM's fully_sharded_loras leads past the population; turn it off")
    foreign = {
        name: type(module).__name__
        for name, module in manager.modules.items()
        if not isinstance(module, BaseLinearLayerWithLoRA)
    }
    if foreign:
        name, kind = next(iter(foreign.items()))
        raise EngineStartError(
            f"{name} is a {kind}, not a linear layer, and cannot hold a population; take "
            f"{name.rsplit('.', 1)[-1]!r} out of warm_start.lora.target_modules"
        )


def linear_layers(manager: LoRAModelManager) -> dict[str, BaseLinearLayerWithLoRA]:
    """Return wrapped layers by vLLM's module name, in the order of the table's columns."""
    return {
        name: module
        for name, module in manager.modules.items()
        if isinstance(module, BaseLinearLayerWithLoRA)
    }
